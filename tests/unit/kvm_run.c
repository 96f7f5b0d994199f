/* SPDX-License-Identifier: MIT */
/* KEEL_RUN: KVM_RUN's order of operations, its outcomes, and the kvm_run page. */
#include <pthread.h>

#include "devices/irqchip.h"
#include "tests/unit/fake/random.h"
#include "tests/unit/kvm_machine.h"

static u64 vm, handle;
static struct vcpu *vcpu;
static struct kvm_run *run;

static int prepare(bool irqchip, u64 id)
{
	struct vm_slot *slot;
	struct vm *m;

	if (machine_start(2))
		return -1;
	vm = vm_new();
	if (irqchip)
		assert_int_equal(call(vm, KVM_CREATE_IRQCHIP, 0, 0, 0), 0);
	handle = vcpu_new(vm, id);
	assert_int_equal(handle_enter(cpus[0], handle, &slot, &m, &vcpu), 0);
	handle_leave(cpus[0]);
	run = run_of(id);
	return 0;
}

static int start(void **state)
{
	return prepare(false, 0);
}

static int start_irqchip(void **state)
{
	return prepare(true, 0);
}

static int start_ap(void **state)
{
	return prepare(true, 1);
}

static s64 keel_run(u32 flags)
{
	return call(handle, KEEL_RUN, ~0ull, 0, flags);
}

static void push(struct vm_exit e)
{
	fake_push_exit(&e);
}

static void push_hlt(void)
{
	push((struct vm_exit){.reason = EXIT_HLT, .insn_len = 1});
}

static void push_out(u16 port, u8 size)
{
	push((struct vm_exit){
		.reason = EXIT_IO,
		.insn_len = 1,
		.io = {.port = port, .size = size},
	});
}

static void push_in(u16 port, u8 size)
{
	push((struct vm_exit){
		.reason = EXIT_IO,
		.insn_len = 1,
		.io = {.port = port, .size = size, .in = true},
	});
}

static void test_out(void **state)
{
	u64 rip = vcpu->v.rip;

	vcpu->v.gpr[GPR_RAX] = 0x12345678;
	push_out(0x3f8, 2);
	run->exit_reason = 99;
	run->flags = 7;
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(run->exit_reason, KVM_EXIT_IO);
	assert_int_equal(run->io.direction, KVM_EXIT_IO_OUT);
	assert_int_equal(run->io.size, 2);
	assert_int_equal(run->io.port, 0x3f8);
	assert_int_equal(run->io.count, 1);
	assert_int_equal(run->io.data_offset, 4096);
	assert_int_equal(*(u16 *)((char *)run + 4096), 0x5678);
	assert_int_equal(run->flags, 0);
	/* The instruction is skipped on the next run only. */
	assert_int_equal(vcpu->v.rip, rip);
	push_hlt();
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(run->exit_reason, KVM_EXIT_HLT);
	assert_int_equal(vcpu->v.rip, rip + 2);
}

static void test_in_merges(void **state)
{
	vcpu->v.gpr[GPR_RAX] = 0x1111111111111111;
	push_in(0x60, 1);
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(run->io.direction, KVM_EXIT_IO_IN);
	*((u8 *)run + 4096) = 0xab;
	push_in(0x60, 4);
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(vcpu->v.gpr[GPR_RAX], 0x11111111111111ab);
	*(u32 *)((char *)run + 4096) = 0x89abcdef;
	push_hlt();
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(vcpu->v.gpr[GPR_RAX], 0x89abcdef);
}

/* What the VMM writes into the exit's own fields changes nothing. */
static void test_scribbled_fields_are_not_read(void **state)
{
	vcpu->v.gpr[GPR_RAX] = 0;
	push_in(0x60, 1);
	assert_int_equal(keel_run(0), KEEL_USER);
	memset((char *)run + 4096, 0xff, 4096);
	run->io.size = 8;
	run->io.count = ~0u;
	run->io.data_offset = ~0ull;
	run->exit_reason = KVM_EXIT_MMIO;
	run->mmio.len = 200;
	push_hlt();
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(vcpu->v.gpr[GPR_RAX], 0xff);
}

static void test_immediate_exit_completes_io(void **state)
{
	u64 rip = vcpu->v.rip;

	push_in(0x60, 1);
	assert_int_equal(keel_run(0), KEEL_USER);
	*((u8 *)run + 4096) = 0x42;
	run->immediate_exit = 1;
	assert_int_equal(keel_run(0), KEEL_EINTR);
	assert_int_equal(vcpu->v.gpr[GPR_RAX] & 0xff, 0x42);
	assert_int_equal(vcpu->v.rip, rip + 1);
	/* exit_reason is as it was: only a signal changes it. */
	assert_int_equal(run->exit_reason, KVM_EXIT_IO);
	assert_int_equal(fake_vcpu(&vcpu->v)->entries, 1);
	run->immediate_exit = 0;
	assert_int_equal(keel_run(KEEL_RUN_IMMEDIATE), KEEL_EINTR);
	assert_int_equal(run->exit_reason, KVM_EXIT_INTR);
	assert_int_equal(fake_vcpu(&vcpu->v)->entries, 1);
}

static void test_registers_moved_by_the_vmm(void **state)
{
	push_out(0x10, 1);
	assert_int_equal(keel_run(0), KEEL_USER);
	vcpu->v.rip = 0x7000;
	push_hlt();
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(vcpu->v.rip, 0x7001);
}

static void test_cr8_without_apic(void **state)
{
	run->cr8 = 16;
	assert_int_equal(keel_run(0), -EINVAL);
	assert_int_equal(run->cr8, 0);
	run->cr8 = 5;
	push_hlt();
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(virt->get(&vcpu->v, VREG_CR8), 5);
	assert_int_equal(run->cr8, 5);
}

/* What the guest has set is not what the VMM had set before, though KVM_RUN has not ended yet. */
static void test_cr8_without_apic_interrupted(void **state)
{
	struct vm_exit e = {.reason = EXIT_CR_WRITE,
			    .insn_len = 4,
			    .mov = {.nr = 8, .gpr = GPR_RBX, .gpr_known = true}};

	run->cr8 = 5;
	vcpu->v.gpr[GPR_RBX] = 9;
	fake_push_exit(&e);
	fake_push_exit(&(struct vm_exit){.reason = EXIT_INTR});
	assert_int_equal(keel_run(0), KEEL_INTERRUPTED);
	push_hlt();
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(virt->get(&vcpu->v, VREG_CR8), 9);
	assert_int_equal(run->cr8, 9);
}

static void test_state_shown(void **state)
{
	virt->set(&vcpu->v, VREG_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
	push_hlt();
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(run->if_flag, 1);
	assert_int_equal(run->apic_base, 0xfee00900);
	assert_int_equal(run->ready_for_interrupt_injection, 1);
	virt->set(&vcpu->v, VREG_RFLAGS, RFLAGS_ONE);
	push_hlt();
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(run->if_flag, 0);
	assert_int_equal(run->ready_for_interrupt_injection, 0);
}

static void test_state_shown_with_irqchip(void **state)
{
	struct kvm_sregs sregs;

	assert_int_equal(request(handle, KVM_GET_SREGS, &sregs, sizeof(sregs)), 0);
	sregs.cr8 = 7;
	assert_int_equal(request(handle, KVM_SET_SREGS, &sregs, sizeof(sregs)), 0);
	run->cr8 = 99; /* not read */
	push((struct vm_exit){.reason = EXIT_IO, .insn_len = 1, .io = {.port = 0x99, .size = 1}});
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(run->cr8, 7);
	assert_int_equal(run->ready_for_interrupt_injection, 1);
	assert_int_equal(run->apic_base, 0xfee00900);
}

static void test_interrupt_window(void **state)
{
	struct kvm_interrupt irq = {.irq = 0x20};

	virt->set(&vcpu->v, VREG_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
	run->request_interrupt_window = 1;
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(run->exit_reason, KVM_EXIT_IRQ_WINDOW_OPEN);
	assert_int_equal(run->ready_for_interrupt_injection, 1);
	assert_int_equal(request(handle, KVM_INTERRUPT, &irq, sizeof(irq)), 0);
	run->request_interrupt_window = 0;
	push_hlt();
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(fake_vcpu(&vcpu->v)->delivered_count, 1);
	assert_int_equal(fake_vcpu(&vcpu->v)->delivered[0].vector, 0x20);
	/* Not while interrupts are off. */
	virt->set(&vcpu->v, VREG_RFLAGS, RFLAGS_ONE);
	run->request_interrupt_window = 1;
	push_hlt();
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(run->exit_reason, KVM_EXIT_HLT);
}

static void test_registers_shown(void **state)
{
	vcpu->v.gpr[GPR_RDI] = 0x1122334455667788;
	run->s.regs.regs.rdi = 1;
	push_out(0x10, 1);
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(run->s.regs.regs.rdi, 1);
	run->kvm_valid_regs = KVM_SYNC_X86_REGS;
	run->s.regs.sregs.cr0 = 99;
	push_hlt();
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(run->s.regs.regs.rdi, 0x1122334455667788);
	assert_int_equal(run->s.regs.regs.rip, vcpu->v.rip);
	assert_int_equal(run->s.regs.sregs.cr0, 99);
	/* On a way back to the driver alone they need not be; on one to the VMM they are. */
	run->kvm_valid_regs = KVM_SYNC_X86_VALID_FIELDS;
	run->s.regs.events.flags = 0;
	push((struct vm_exit){.reason = EXIT_INTR});
	assert_int_equal(keel_run(0), KEEL_INTERRUPTED);
	assert_int_equal(keel_run(KEEL_RUN_IMMEDIATE), KEEL_EINTR);
	assert_int_equal(run->s.regs.sregs.cr0, 0x60000010);
	assert_true(run->s.regs.events.flags & KVM_VCPUEVENT_VALID_SHADOW);
	/* No longer asked for, no longer shown. */
	run->kvm_valid_regs = 0;
	run->s.regs.regs.rdi = 1;
	push_hlt();
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(run->s.regs.regs.rdi, 1);
}

static void test_registers_taken(void **state)
{
	struct kvm_sregs sregs;
	struct kvm_vcpu_events events;

	assert_int_equal(request(handle, KVM_GET_SREGS, &sregs, sizeof(sregs)), 0);
	assert_int_equal(request(handle, KVM_GET_VCPU_EVENTS, &events, sizeof(events)), 0);
	run->s.regs.regs.rax = 0x77;
	run->s.regs.regs.rip = 0x500;
	run->s.regs.sregs = sregs;
	run->s.regs.sregs.cr2 = 0x1234;
	run->s.regs.events = events;
	run->s.regs.events.nmi.pending = 1;
	run->kvm_dirty_regs = KVM_SYNC_X86_VALID_FIELDS;
	push_hlt();
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(run->kvm_dirty_regs, 0);
	assert_int_equal(vcpu->v.gpr[GPR_RAX], 0x77);
	assert_int_equal(vcpu->v.rip, 0x501);
	assert_int_equal(virt->get(&vcpu->v, VREG_CR2), 0x1234);
	assert_int_equal(fake_vcpu(&vcpu->v)->delivered[0].type, EVENT_NMI);
	/* Taken once. */
	run->s.regs.regs.rip = 0x900;
	push_hlt();
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(vcpu->v.rip, 0x502);
	/* Before the answer to an exit: the instruction that it was for is not done. */
	push_in(0x60, 1);
	assert_int_equal(keel_run(0), KEEL_USER);
	*((u8 *)run + 4096) = 0x42;
	run->s.regs.regs.rip = 0x600;
	run->s.regs.regs.rax = 5;
	run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
	push_hlt();
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(vcpu->v.rip, 0x601);
	assert_int_equal(vcpu->v.gpr[GPR_RAX], 5);
}

static void test_registers_refused(void **state)
{
	struct kvm_sregs sregs;

	run->kvm_valid_regs = 8;
	assert_int_equal(keel_run(0), -EINVAL);
	run->kvm_valid_regs = 1ull << 40;
	assert_int_equal(keel_run(0), -EINVAL);
	run->kvm_valid_regs = 0;
	run->kvm_dirty_regs = 8 | KVM_SYNC_X86_REGS;
	run->s.regs.regs.rax = 0xbad;
	assert_int_equal(keel_run(0), -EINVAL);
	assert_int_not_equal(vcpu->v.gpr[GPR_RAX], 0xbad);
	/* What comes before the bad part is in force, and its bit is gone. */
	assert_int_equal(request(handle, KVM_GET_SREGS, &sregs, sizeof(sregs)), 0);
	run->s.regs.sregs = sregs;
	run->s.regs.sregs.cr4 = 1ull << 40;
	run->s.regs.regs.rax = 6;
	run->kvm_dirty_regs = KVM_SYNC_X86_VALID_FIELDS;
	assert_int_equal(keel_run(0), -EINVAL);
	assert_int_equal(vcpu->v.gpr[GPR_RAX], 6);
	assert_int_equal(run->kvm_dirty_regs, KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS);
	run->kvm_dirty_regs = KVM_SYNC_X86_EVENTS;
	run->s.regs.events.flags = 1u << 31;
	assert_int_equal(keel_run(0), -EINVAL);
	assert_int_equal(fake_vcpu(&vcpu->v)->entries, 0);
}

/* An AP's registers are set when it has left its wait for INIT and SIPI, not lost in the INIT. */
static void test_registers_of_a_waiting_ap(void **state)
{
	run->s.regs.regs.rax = 0x77;
	run->s.regs.regs.rflags = 2;
	run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
	assert_int_equal(keel_run(0), KEEL_HALTED);
	vcpu_post_init(vcpu);
	vcpu_post_sipi(vcpu, 0x9f);
	assert_int_equal(keel_run(0), KEEL_EAGAIN);
	assert_int_equal(run->kvm_dirty_regs, KVM_SYNC_X86_REGS);
	push_out(0x99, 1);
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(vcpu->v.gpr[GPR_RAX], 0x77);
}

static void test_msr_exits(void **state)
{
	struct kvm_enable_cap cap = {.cap = KVM_CAP_X86_USER_SPACE_MSR,
				     .args[0] = KVM_MSR_EXIT_REASON_UNKNOWN};
	u64 rip = vcpu->v.rip;

	assert_int_equal(request(vm, KVM_ENABLE_CAP, &cap, sizeof(cap)), 0);
	vcpu->v.gpr[GPR_RCX] = 0x12345678;
	vcpu->v.gpr[GPR_RAX] = 5;
	vcpu->v.gpr[GPR_RDX] = 6;
	memset(&run->msr, 0xff, sizeof(run->msr));
	push((struct vm_exit){.reason = EXIT_WRMSR, .insn_len = 2});
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(run->exit_reason, KVM_EXIT_X86_WRMSR);
	assert_int_equal(run->msr.error, 0);
	assert_int_equal(run->msr.reason, KVM_MSR_EXIT_REASON_UNKNOWN);
	assert_int_equal(run->msr.index, 0x12345678);
	assert_int_equal(run->msr.data, 6ull << 32 | 5);
	assert_int_equal(vcpu->v.rip, rip);
	push((struct vm_exit){.reason = EXIT_RDMSR, .insn_len = 2});
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(run->exit_reason, KVM_EXIT_X86_RDMSR);
	assert_int_equal(vcpu->v.rip, rip + 2);
	run->msr.data = 0x700000008;
	run->msr.index = 1;
	run->immediate_exit = 1;
	assert_int_equal(keel_run(0), KEEL_EINTR);
	assert_int_equal(vcpu->v.gpr[GPR_RAX], 8);
	assert_int_equal(vcpu->v.gpr[GPR_RDX], 7);
	assert_int_equal(vcpu->v.rip, rip + 4);
	run->immediate_exit = 0;
	push((struct vm_exit){.reason = EXIT_WRMSR, .insn_len = 2});
	assert_int_equal(keel_run(0), KEEL_USER);
	run->msr.error = 1;
	push_hlt();
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(fake_vcpu(&vcpu->v)->delivered[0].vector, 13);
}

static void test_shutdown(void **state)
{
	push((struct vm_exit){.reason = EXIT_TRIPLE_FAULT});
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(run->exit_reason, KVM_EXIT_SHUTDOWN);
}

static void test_fail_entry(void **state)
{
	push((struct vm_exit){.reason = EXIT_INVALID, .raw = ~0ull});
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(run->exit_reason, KVM_EXIT_FAIL_ENTRY);
	assert_int_equal(run->fail_entry.hardware_entry_failure_reason, ~0ull);
	assert_int_equal(run->fail_entry.cpu, 0);
}

static void test_internal_error(void **state)
{
	push((struct vm_exit){.reason = EXIT_UNKNOWN, .raw = 0x99});
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(run->exit_reason, KVM_EXIT_INTERNAL_ERROR);
	assert_int_equal(run->internal.suberror, KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON);
	assert_in_range(run->internal.ndata, 1, 16);
	assert_int_equal(run->internal.data[0], 0x99);
}

static void test_guest_debug_exit(void **state)
{
	struct kvm_guest_debug debug = {.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP};

	assert_int_equal(request(handle, KVM_SET_GUEST_DEBUG, &debug, sizeof(debug)), 0);
	push((struct vm_exit){.reason = EXIT_EXCEPTION, .exception = {.vector = 3}});
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(run->exit_reason, KVM_EXIT_DEBUG);
	assert_int_equal(run->debug.arch.exception, 3);
	assert_int_equal(run->debug.arch.pc, 0xfffffff0);
}

static void test_eoi_exit(void **state)
{
	vcpu->eoi_vector = 0x77;
	vcpu_set_request(vcpu, REQUEST_EOI);
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(run->exit_reason, KVM_EXIT_IOAPIC_EOI);
	assert_int_equal(run->eoi.vector, 0x77);
}

/* A level that an irqfd holds ends with the guest's EOI, of which the driver hears. */
static void test_resampled(void **state)
{
	struct kvm_irq_level level = {.irq = 5, .level = 1};
	struct irqchip *chip = vcpu->vm->devices;

	assert_int_equal(call(vm, KEEL_RESAMPLE, 5, 0, 1), 0);
	memcpy(at(ARGUMENTS), &level, sizeof(level));
	assert_int_equal(call(vm, KVM_IRQ_LINE, ARGUMENTS, sizeof(level), KEEL_LINE_RESAMPLE), 0);
	assert_int_equal(chip->ioapic.lines[5], BIT(IRQ_SOURCE_RESAMPLE));
	irqchip_acked(chip, KVM_IRQCHIP_IOAPIC, 5);
	assert_int_equal(chip->ioapic.lines[5], 0);
	irqchip_tell_resampled(chip, vcpu);
	assert_int_equal(keel_run(0), KEEL_RESAMPLED);
	assert_int_equal(result2, 5);
	/* Another vCPU has told of it. */
	vcpu_set_request(vcpu, REQUEST_RESAMPLE);
	assert_int_equal(keel_run(0), KEEL_INTERRUPTED);
}

static void push_touch(u64 gpa, bool write)
{
	push((struct vm_exit){
		.reason = EXIT_SLAT,
		.slat = {.gpa = GPA(gpa), .write = write},
	});
}

static void test_fault(void **state)
{
	struct kvm_userspace_memory_region region = {
		.memory_size = 0x10000,
		.userspace_addr = 0x7f0000000000,
	};

	assert_int_equal(request(vm, KVM_SET_USER_MEMORY_REGION, &region, sizeof(region)), 0);
	push_touch(0x3456, true);
	assert_int_equal(keel_run(0), KEEL_FAULT);
	assert_int_equal(ALIGN_DOWN(result2, PAGE_SIZE), 0x3000);
	assert_int_equal(result3, 0x7f0000003001);
	push_touch(0x4567, false);
	assert_int_equal(keel_run(0), KEEL_FAULT);
	assert_int_equal(result3, 0x7f0000004000);
}

/* MOV EAX, [BX] and MOV [BX], EAX in real mode, CS base 0, at address 0 of the guest. */
static void mmio_guest(const char *code, u32 length)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs = {.rflags = 2};

	give_memory(vm, 0x10000, 0);
	memcpy(at(GUEST_RAM), code, length);
	assert_int_equal(request(handle, KVM_GET_SREGS, &sregs, sizeof(sregs)), 0);
	sregs.cs.base = sregs.cs.selector = 0;
	sregs.ds.base = 0xd0000;
	assert_int_equal(request(handle, KVM_SET_SREGS, &sregs, sizeof(sregs)), 0);
	regs.rax = 0x12345678;
	assert_int_equal(request(handle, KVM_SET_REGS, &regs, sizeof(regs)), 0);
}

static void test_mmio_read(void **state)
{
	mmio_guest("\x8a\x07", 2); /* mov al, [bx] */
	push_touch(0xd0000, false);
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(run->exit_reason, KVM_EXIT_MMIO);
	assert_int_equal(run->mmio.phys_addr, 0xd0000);
	assert_int_equal(run->mmio.len, 1);
	assert_int_equal(run->mmio.is_write, 0);
	run->mmio.data[0] = 0x99;
	run->mmio.len = 8;
	run->mmio.phys_addr = 0;
	push_hlt();
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(run->exit_reason, KVM_EXIT_HLT);
	assert_int_equal(vcpu->v.gpr[GPR_RAX], 0x12345699);
	assert_int_equal(vcpu->v.rip, 3);
}

static void test_mmio_write(void **state)
{
	mmio_guest("\x66\x89\x07", 3); /* mov [bx], eax */
	push_touch(0xd0000, true);
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(run->exit_reason, KVM_EXIT_MMIO);
	assert_int_equal(run->mmio.len, 4);
	assert_int_equal(run->mmio.is_write, 1);
	assert_int_equal(*(u32 *)run->mmio.data, 0x12345678);
	assert_int_equal(run->mmio.data[4], 0);
	run->immediate_exit = 1;
	assert_int_equal(keel_run(0), KEEL_EINTR);
	assert_int_equal(vcpu->v.rip, 3);
}

/* Across a page: two exits for one instruction, the second from the completion of the first. */
static void test_mmio_in_fragments(void **state)
{
	mmio_guest("\x66\x8b\x87\xfe\x0f", 5); /* mov eax, [bx + 0xffe] */
	push_touch(0xd0ffe, false);
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(run->mmio.phys_addr, 0xd0ffe);
	assert_int_equal(run->mmio.len, 2);
	run->mmio.data[0] = 0x11;
	run->mmio.data[1] = 0x22;
	run->immediate_exit = 1;
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(run->mmio.phys_addr, 0xd1000);
	run->mmio.data[0] = 0x33;
	run->mmio.data[1] = 0x44;
	assert_int_equal(keel_run(0), KEEL_EINTR);
	assert_int_equal(vcpu->v.gpr[GPR_RAX], 0x44332211);
}

/* How long the VMM's thread waited goes to the guest's page, from when the guest asked for it. */
static void test_delay_is_steal_time(void **state)
{
	vcpu->msr.steal_time = 0x2001;
	push((struct vm_exit){.reason = EXIT_INTR});
	assert_int_equal(call(handle, KEEL_RUN, ~0ull, 700, 0), KEEL_INTERRUPTED);
	assert_int_equal(vcpu->delay, 0);
	push((struct vm_exit){.reason = EXIT_INTR});
	assert_int_equal(call(handle, KEEL_RUN, ~0ull, 700, KEEL_RUN_DELAYED), KEEL_INTERRUPTED);
	assert_int_equal(vcpu->delay, 700);
}

static void test_halted_with_irqchip(void **state)
{
	push_hlt();
	assert_int_equal(keel_run(0), KEEL_HALTED);
	assert_int_equal(result2, ~0ull);
	assert_int_equal(keel_run(0), KEEL_HALTED);
	assert_int_equal(fake_vcpu(&vcpu->v)->entries, 1);
	/* A signal ends it. */
	assert_int_equal(keel_run(KEEL_RUN_IMMEDIATE), KEEL_EINTR);
	assert_int_equal(run->exit_reason, KVM_EXIT_INTR);
	/* An NMI wakes it, by way of the driver. */
	vcpu_post_nmi(vcpu);
	assert_int_equal(call(vm, KVM_GET_TSC_KHZ, 0, 0, 0), 2000000);
	push_hlt();
	assert_int_equal(keel_run(0), KEEL_HALTED);
	assert_int_equal(fake_vcpu(&vcpu->v)->entries, 2);
	assert_int_equal(fake_vcpu(&vcpu->v)->delivered[0].type, EVENT_NMI);
}

static void test_ap_waits_for_sipi(void **state)
{
	assert_int_equal(keel_run(0), KEEL_HALTED);
	assert_int_equal(result2, ~0ull);
	run->immediate_exit = 1;
	assert_int_equal(keel_run(0), KEEL_EINTR);
	run->immediate_exit = 0;
	assert_int_equal(keel_run(KEEL_RUN_IMMEDIATE), KEEL_EINTR);
	assert_int_equal(run->exit_reason, KVM_EXIT_INTR);
	assert_int_equal(keel_run(0), KEEL_HALTED);
	vcpu_post_init(vcpu);
	vcpu_post_sipi(vcpu, 0x9f);
	assert_true(vm_wants_wake(vcpu->vm));
	assert_int_equal(keel_run(0), KEEL_EAGAIN);
	assert_int_equal(reply, KEEL_REPLY_WAKE);
	assert_int_equal(fake_vcpu(&vcpu->v)->entries, 0);
	push((struct vm_exit){.reason = EXIT_IO, .insn_len = 1, .io = {.port = 0x99, .size = 1}});
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(fake_vcpu(&vcpu->v)->entries, 1);
}

static void test_interrupted_by_the_host(void **state)
{
	run->exit_reason = 77;
	push((struct vm_exit){.reason = EXIT_INTR});
	assert_int_equal(keel_run(0), KEEL_INTERRUPTED);
	assert_int_equal(run->exit_reason, 77);
}

static void test_spins(void **state)
{
	run->exit_reason = 77;
	push((struct vm_exit){.reason = EXIT_PAUSE, .insn_len = 2});
	assert_int_equal(keel_run(0), KEEL_SPINS);
	assert_int_equal(run->exit_reason, 77);
	push_hlt();
	assert_int_equal(keel_run(0), KEEL_USER);
}

static void test_kick(void **state)
{
	assert_int_equal(call(handle, KEEL_KICK, 0, 0, 0), 0);
	assert_int_equal(keel_run(0), KEEL_INTERRUPTED);
	assert_int_equal(fake_vcpu(&vcpu->v)->entries, 0);
	push_hlt();
	assert_int_equal(keel_run(0), KEEL_USER);
}

static void test_timer_of_the_caller(void **state)
{
	vcpu->v.deadline = 5000;
	vcpu->mp_state = MP_RUNNABLE;
	push((struct vm_exit){.reason = EXIT_INTR});
	/* The APIC's own timers are looked at first: there is none, so nothing to arm. */
	assert_int_equal(call(handle, KEEL_RUN, 1, 0, 0), KEEL_INTERRUPTED);
}

static void test_low_memory(void **state)
{
	u64 more = DONATIONS + (8ull << 20), pages;

	while (pool_alloc(&vcpu->vm->pool, 1).v != HPA_NONE.v)
		;
	assert_int_equal(keel_run(0), KEEL_MEMORY);
	assert_in_range(result2, vcpu->vm->low_water, KEEL_DONATE_PAGES);
	pages = result2;
	donate(more, pages);
	assert_int_equal(call(vm, KEEL_ADD_POOL, more, 0, pages), 0);
	push_hlt();
	assert_int_equal(keel_run(0), KEEL_USER);
}

static void test_wake_ends_a_run(void **state)
{
	vcpu->vm->wake[0] = 2;
	push((struct vm_exit){.reason = EXIT_INTR});
	assert_int_equal(keel_run(0), KEEL_INTERRUPTED);
	assert_int_equal(reply, KEEL_REPLY_WAKE);
}

static u32 stop_scribbling;

#define IS_DIRTY_REGS(at)                                                                          \
	((at)-offsetof(struct kvm_run, kvm_dirty_regs) < sizeof(run->kvm_dirty_regs))

/*
 * Another thread of the VMM: any byte of the shared pages, at any moment; but it does not ask for
 * registers to be set, which must keep their values here.
 */
static void *scribble(void *seed)
{
	volatile u8 *bytes = (u8 *)run;
	u64 x = (u64)seed | 1;

	while (!__atomic_load_n(&stop_scribbling, __ATOMIC_RELAXED)) {
		u64 to;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		/* Mostly where the fields are. */
		to = (x & 3 ? x >> 8 & 0x7f : x >> 8) % (3 * PAGE_SIZE);
		if (!IS_DIRTY_REGS(to))
			bytes[to] = x >> 32;
	}
	return NULL;
}

/* The next exit; a device's register only where no answer is due, so that RIP may be set. */
static void push_any(bool pending)
{
	u32 kind = random_below(3);

	if (kind == 0)
		push_in(0x60, 1);
	else if (kind == 1)
		push_out(0x61, 1);
	else if (pending)
		push((struct vm_exit){.reason = EXIT_INTR});
	else
		push_touch(0xd0000, false);
}

static void test_scribbled_by_another_cpu(void **state)
{
	const u64 rax = 0x12345600;
	pthread_t thread;
	u32 ended[2] = {0};

	mmio_guest("\x8a\x07", 2); /* mov al, [bx] */
	random_begin();
	stop_scribbling = 0;
	assert_int_equal(pthread_create(&thread, NULL, scribble, (void *)random_u64()), 0);
	for (u32 i = 0; i < 20000; i++) {
		bool pending = vcpu->exit_pending;
		s64 result;

		run->cr8 = 0;
		run->immediate_exit = 0;
		run->kvm_valid_regs = 0;
		if (!pending)
			vcpu->v.rip = 0;
		if (!fake_exits_left())
			push_any(pending);
		result = keel_run(0);
		assert_true(result == KEEL_USER || result == KEEL_EINTR || result == -EINVAL ||
			    result == KEEL_INTERRUPTED);
		if (vcpu->exit_pending)
			ended[vcpu->exit.reason == USER_MMIO]++;
		/* Answers reach AL and nothing else; what Keel asked for is what it asked for. */
		assert_int_equal(vcpu->v.gpr[GPR_RAX] & ~0xffull, rax);
		if (vcpu->exit_pending && vcpu->exit.reason == USER_IO)
			assert_true(vcpu->exit.io.size == 1 && vcpu->exit.io.count == 1);
	}
	stop_scribbling = 1;
	pthread_join(thread, NULL);
	assert_true(ended[0] > 1000 && ended[1] > 1000);
}

/* On the other CPU, and back. */
static void test_migration(void **state)
{
	push_out(1, 1);
	assert_int_equal(keel_run(0), KEEL_USER);
	caller = 1;
	push((struct vm_exit){.reason = EXIT_INVALID});
	assert_int_equal(keel_run(0), KEEL_USER);
	assert_int_equal(run->fail_entry.cpu, 1);
	assert_ptr_equal(cpus[0]->loaded, &cpus[0]->management->v);
	assert_ptr_equal(cpus[1]->loaded, &cpus[1]->management->v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_out, start),
		cmocka_unit_test_setup(test_in_merges, start),
		cmocka_unit_test_setup(test_scribbled_fields_are_not_read, start),
		cmocka_unit_test_setup(test_immediate_exit_completes_io, start),
		cmocka_unit_test_setup(test_registers_moved_by_the_vmm, start),
		cmocka_unit_test_setup(test_cr8_without_apic, start),
		cmocka_unit_test_setup(test_cr8_without_apic_interrupted, start),
		cmocka_unit_test_setup(test_state_shown, start),
		cmocka_unit_test_setup(test_state_shown_with_irqchip, start_irqchip),
		cmocka_unit_test_setup(test_interrupt_window, start),
		cmocka_unit_test_setup(test_registers_shown, start),
		cmocka_unit_test_setup(test_registers_taken, start),
		cmocka_unit_test_setup(test_registers_refused, start),
		cmocka_unit_test_setup(test_registers_of_a_waiting_ap, start_ap),
		cmocka_unit_test_setup(test_msr_exits, start),
		cmocka_unit_test_setup(test_shutdown, start),
		cmocka_unit_test_setup(test_fail_entry, start),
		cmocka_unit_test_setup(test_internal_error, start),
		cmocka_unit_test_setup(test_guest_debug_exit, start),
		cmocka_unit_test_setup(test_resampled, start_irqchip),
		cmocka_unit_test_setup(test_eoi_exit, start),
		cmocka_unit_test_setup(test_fault, start),
		cmocka_unit_test_setup(test_mmio_read, start),
		cmocka_unit_test_setup(test_mmio_write, start),
		cmocka_unit_test_setup(test_mmio_in_fragments, start),
		cmocka_unit_test_setup(test_scribbled_by_another_cpu, start),
		cmocka_unit_test_setup(test_delay_is_steal_time, start_irqchip),
		cmocka_unit_test_setup(test_halted_with_irqchip, start_irqchip),
		cmocka_unit_test_setup(test_ap_waits_for_sipi, start_ap),
		cmocka_unit_test_setup(test_interrupted_by_the_host, start),
		cmocka_unit_test_setup(test_spins, start),
		cmocka_unit_test_setup(test_kick, start),
		cmocka_unit_test_setup(test_timer_of_the_caller, start),
		cmocka_unit_test_setup(test_low_memory, start),
		cmocka_unit_test_setup(test_wake_ends_a_run, start),
		cmocka_unit_test_setup(test_migration, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
