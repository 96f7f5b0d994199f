// SPDX-License-Identifier: MIT
/* P3: what Firecracker, Cloud Hypervisor, crosvm, uhyve and gVisor need beside. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "test.h"

GUEST(out_bytes, 16, "outb %al, $0x10; outb %al, $0x11; hlt");
/* Interrupts at vector 0x40: the handler ends them. */
GUEST(apic_level, 16,
      "movl $0x1ff, %es:(0xf0); movw $handler6 - apic_level + 0x1000, (0x100); movw $0, (0x102); sti; outb %al, $0x11;"
      "1: hlt; jmp 1b;"
      "handler6: outb %al, $0x10; movl $0, %es:(0xb0); outb %al, $0x12; iret");
GUEST(msrs_of_nobody, 16,
      "movl $0x12345678, %ecx; rdmsr; outb %al, $0x10; movl $0x87654321, %eax; movl $7, %edx; wrmsr; outb %al, $0x11; hlt;");
GUEST(msrs_fault, 16,
      "movw $handler7 - msrs_fault + 0x1000, (0x34); movw $0, (0x36); movl $0x12345678, %ecx; rdmsr; outb %al, $0x10; hlt;"
      "handler7: outb %al, $0x13; hlt");

/* On SVM each interrupt of the host lets it go on. */
GUEST(halt_here, 16, "1: hlt; jmp 1b");

/* ---- the split interrupt controller ---- */

static void split(void)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry entry;
	} table = {.head.nr = 1, .entry = {.gsi = 5, .type = KVM_IRQ_ROUTING_MSI}};
	struct kvm_irq_level line = {.irq = 5, .level = 1};
	struct kvm_sregs s;

	machine(SPLIT_CHIPS);
	ROW("P3", KVM_ENABLE_CAP);
	/* Vector 0x40, level */
	table.entry.u.msi.address_lo = 0xfee00000;
	table.entry.u.msi.data = 0xc040;
	is("SPLIT_IRQCHIP: a level-triggered route", call(vm, KVM_SET_GSI_ROUTING, &table), 0);
	START(apic_level);
	s = sregs();
	s.es.base = 0xfee00000;
	call(vcpu, KVM_SET_SREGS, &s);
	is("the guest's APIC is on", next_exit(), KVM_EXIT_IO);
	complete();
	is("its interrupt", call(vm, KVM_IRQ_LINE, &line), 0);
	is("the handler runs", next_exit(), KVM_EXIT_IO);
	is_hex("port", run->io.port, 0x10);
	is("its EOI exits", next_exit(), KVM_EXIT_IOAPIC_EOI);
	is_hex("vector", run->eoi.vector, 0x40);
	is("the handler goes on", next_exit(), KVM_EXIT_IO);
	is_hex("port", run->io.port, 0x12);
	complete();
	table.entry.u.msi.data = 0x40;
	is("an edge-triggered route", call(vm, KVM_SET_GSI_ROUTING, &table), 0);
	is("its interrupt", call(vm, KVM_IRQ_LINE, &line), 0);
	is("the handler runs", next_exit(), KVM_EXIT_IO);
	is("its EOI does not exit", next_exit(), KVM_EXIT_IO);
	is_hex("port", run->io.port, 0x12);
	complete();
	table.entry.gsi = 24;
	table.entry.u.msi.data = 0xc040;
	line.irq = 24;
	is("a route beyond the 24", call(vm, KVM_SET_GSI_ROUTING, &table), 0);
	is("its interrupt", call(vm, KVM_IRQ_LINE, &line), 0);
	is("the handler runs", next_exit(), KVM_EXIT_IO);
	is("its EOI does not exit", next_exit(), KVM_EXIT_IO);
	is_hex("port", run->io.port, 0x12);
	complete();
}

static void x2apic_api(void)
{
	struct kvm_lapic_state apic;
	struct kvm_run *its_run;
	struct kvm_msi msi = {.address_lo = 0xfee00000, .address_hi = 0x100, .data = 0x40};
	uint32_t id;
	int second;

	bare_vm();
	ROW("P3", KVM_ENABLE_CAP);
	is("X2APIC_API, flags 3", enable(vm, KVM_CAP_X2APIC_API, 3), 0);
	is("KVM_CREATE_IRQCHIP", call(vm, KVM_CREATE_IRQCHIP, 0), 0);
	second = add_vcpu(3, &its_run);
	is("KVM_GET_LAPIC", call(second, KVM_GET_LAPIC, &apic), 0);
	memcpy(&id, apic.regs + 0x20, 4);
	is_hex("an xAPIC's ID stands in bits 31..24", id, 3 << 24);
	is("KVM_SIGNAL_MSI to 0x100 and 0", call(vm, KVM_SIGNAL_MSI, &msi), 0);
	msi.address_hi = 1;
	is("bits 7..0 of the upper address", call(vm, KVM_SIGNAL_MSI, &msi), -EINVAL);
}

/* ---- CPUID ---- */

static struct {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entries[256];
} cpuid;

static void get_cpuid(void)
{
	machine(NO_CHIPS);
	ROW("P3", KVM_GET_CPUID2);
	cpuid.head.nent = 256;
	is("none", call(vcpu, KVM_GET_CPUID2, &cpuid), 0);
	shown("nent", cpuid.head.nent);
	cpuid.head.nent = 2;
	cpuid.entries[0] = (struct kvm_cpuid_entry2){.function = 0, .eax = 1, .ebx = 0x11111111};
	cpuid.entries[1] = (struct kvm_cpuid_entry2){.function = 1, .eax = 0x600f12};
	is("two are set", call(vcpu, KVM_SET_CPUID2, &cpuid), 0);
	memset(&cpuid, 0, sizeof(cpuid));
	cpuid.head.nent = 1;
	is("room for one", call(vcpu, KVM_GET_CPUID2, &cpuid), -E2BIG);
	shown("nent", cpuid.head.nent);
	cpuid.head.nent = 2;
	is("room for two", call(vcpu, KVM_GET_CPUID2, &cpuid), 0);
	is_hex("the first one's EBX", cpuid.entries[0].ebx, 0x11111111);
	is_hex("the second one's EAX", cpuid.entries[1].eax, 0x600f12);
	is("EFAULT", call(vcpu, KVM_GET_CPUID2, BAD), -EFAULT);
}

/* ---- registers in kvm_run ---- */

static void sync_regs(void)
{
	struct kvm_regs r;
	struct kvm_sregs s;

	machine(NO_CHIPS);
	subject("P3", "kvm_valid_regs and kvm_dirty_regs");
	if (!offered(KVM_CAP_SYNC_REGS))
		return;
	START(out_bytes);
	run->kvm_valid_regs = 8;
	is("unknown valid bit", enter(), -EINVAL);
	run->kvm_valid_regs = 0;
	run->kvm_dirty_regs = 8;
	is("unknown dirty bit", enter(), -EINVAL);
	run->kvm_dirty_regs = 0;
	run->kvm_valid_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS;
	is("the guest runs", next_exit(), KVM_EXIT_IO);
	r = regs();
	s = sregs();
	is("registers", memcmp(&r, &run->s.regs.regs, sizeof(r)), 0);
	is("system registers", memcmp(&s, &run->s.regs.sregs, sizeof(s)), 0);
	is("events", run->s.regs.events.exception.injected, 0);
	run->s.regs.regs.rbx = 0x1234567;
	is("not dirty", complete(), -EINTR);
	is_hex("does not count", regs().rbx, 0);
	run->s.regs.regs.rbx = 0x1234567;
	run->s.regs.regs.rip = CODE + 2;
	run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
	is("dirty", next_exit(), KVM_EXIT_IO);
	is_hex("counts", regs().rbx, 0x1234567);
	is("is cleared", run->kvm_dirty_regs, 0);
	complete();
	run->s.regs.sregs.cr0 = 0x80000010;
	run->kvm_dirty_regs = KVM_SYNC_X86_SREGS;
	is("bad system registers", enter(), -EINVAL);
	run->kvm_dirty_regs = 0;
	run->kvm_valid_regs = 0;
}

static void translation(void)
{
	struct kvm_translation t = {.linear_address = 0x1234};

	machine(NO_CHIPS);
	ROW("P3", KVM_TRANSLATE);
	START(out_bytes);
	is("without paging", call(vcpu, KVM_TRANSLATE, &t), 0);
	is("valid", t.valid, 1);
	is_hex("address", t.physical_address, 0x1234);
	START_LONG(out_bytes);
	t.linear_address = 0x601234;
	is("with paging", call(vcpu, KVM_TRANSLATE, &t), 0);
	is("valid", t.valid, 1);
	is_hex("address", t.physical_address, 0x601234);
	t.linear_address = 1ul << 40;
	is("not mapped", call(vcpu, KVM_TRANSLATE, &t), 0);
	is("valid", t.valid, 0);
	is_hex("address", t.physical_address, ~0ul);
	is("EFAULT", call(vcpu, KVM_TRANSLATE, BAD), -EFAULT);
}

/* ---- attributes, devices ---- */

static void tsc_offset(void)
{
	uint64_t value = 0;
	struct kvm_device_attr attr = {.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uint64_t)&value};

	machine(NO_CHIPS);
	ROW("P3", KVM_GET_DEVICE_ATTR);
	offered(KVM_CAP_VCPU_ATTRIBUTES);
	ROW("P3", KVM_SET_DEVICE_ATTR);
	offered(KVM_CAP_VCPU_ATTRIBUTES);
	ROW("P3", KVM_HAS_DEVICE_ATTR);
	if (!offered(KVM_CAP_VCPU_ATTRIBUTES))
		return;
	is("TSC_OFFSET", call(vcpu, KVM_HAS_DEVICE_ATTR, &attr), 0);
	attr.attr = 9;
	is("unknown attribute", call(vcpu, KVM_HAS_DEVICE_ATTR, &attr), -ENXIO);
	attr.attr = KVM_VCPU_TSC_OFFSET;
	attr.group = 9;
	is("unknown group", call(vcpu, KVM_HAS_DEVICE_ATTR, &attr), -ENXIO);
	attr.group = KVM_VCPU_TSC_CTRL;
	ROW("P3", KVM_GET_DEVICE_ATTR);
	is("TSC_OFFSET", call(vcpu, KVM_GET_DEVICE_ATTR, &attr), 0);
	ROW("P3", KVM_SET_DEVICE_ATTR);
	value = (uint64_t)-1000000;
	is("TSC_OFFSET", call(vcpu, KVM_SET_DEVICE_ATTR, &attr), 0);
	value = 0;
	call(vcpu, KVM_GET_DEVICE_ATTR, &attr);
	is("is read back", (long)value == -1000000, 1);
	attr.attr = 9;
	is("unknown attribute", call(vcpu, KVM_SET_DEVICE_ATTR, &attr), -ENXIO);
	attr.attr = KVM_VCPU_TSC_OFFSET;
	attr.addr = (uint64_t)BAD;
	is("EFAULT", call(vcpu, KVM_SET_DEVICE_ATTR, &attr), -EFAULT);
}

static void devices(void)
{
	struct kvm_create_device device = {.type = 4711};

	ROW("P3", KVM_CREATE_DEVICE);
	machine(NO_CHIPS);
	if (!offered(KVM_CAP_DEVICE_CTRL))
		return;
	is("unknown type", call(vm, KVM_CREATE_DEVICE, &device), -ENODEV);
	device.flags = KVM_CREATE_DEVICE_TEST;
	is("unknown type, test", call(vm, KVM_CREATE_DEVICE, &device), -ENODEV);
	is("EFAULT", call(vm, KVM_CREATE_DEVICE, BAD), -EFAULT);
}

/* ---- MSRs of the VMM ---- */

static void user_msrs(void)
{
	machine(NO_CHIPS);
	subject("P3", "MSR exits");
	if (!offered(KVM_CAP_X86_USER_SPACE_MSR))
		return;
	is("unknown reason", enable(vm, KVM_CAP_X86_USER_SPACE_MSR, 0x80), -EINVAL);
	is("unknown MSRs exit", enable(vm, KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_UNKNOWN), 0);
	START(msrs_of_nobody);
	is("RDMSR", next_exit(), KVM_EXIT_X86_RDMSR);
	is_hex("index", run->msr.index, 0x12345678);
	is("reason", run->msr.reason, KVM_MSR_EXIT_REASON_UNKNOWN);
	run->msr.data = 0x1122334455667788;
	run->msr.error = 0;
	is("goes on", next_exit(), KVM_EXIT_IO);
	is_hex("EAX", regs().rax, 0x55667788);
	is_hex("EDX", regs().rdx, 0x11223344);
	is("WRMSR", next_exit(), KVM_EXIT_X86_WRMSR);
	is_hex("index", run->msr.index, 0x12345678);
	is_hex("data", run->msr.data, 0x787654321);
	run->msr.error = 0;
	is("goes on", next_exit(), KVM_EXIT_IO);
	is_hex("port", run->io.port, 0x11);
	complete();
	START(msrs_fault);
	is("RDMSR", next_exit(), KVM_EXIT_X86_RDMSR);
	run->msr.error = 1;
	is("an error is #GP", next_exit(), KVM_EXIT_IO);
	is_hex("port", run->io.port, 0x13);
	complete();
	is("off", enable(vm, KVM_CAP_X86_USER_SPACE_MSR, 0), 0);
	START(msrs_fault);
	is("no exit any more", next_exit(), KVM_EXIT_IO);
	is_hex("port", run->io.port, 0x13);
	complete();
}

static void disabled_exits(void)
{
	subject("P3", "X86_DISABLE_EXITS");
	if (!offered(KVM_CAP_X86_DISABLE_EXITS))
		return;
	bare_vm();
	is("unknown bit", enable(vm, KVM_CAP_X86_DISABLE_EXITS, 1 << 8), -EINVAL);
	is("HLT", enable(vm, KVM_CAP_X86_DISABLE_EXITS, KVM_X86_DISABLE_EXITS_HLT), 0);
	memory = pages(MEMORY);
	set_slot(0, 0, MEMORY, memory, 0);
	vcpu = add_vcpu(0, &run);
	START(halt_here);
	let_interrupts_in();
	is("HLT does not exit", enter_briefly(), -EINTR);
	is("exit reason", run->exit_reason, KVM_EXIT_INTR);
}

const struct group p3_groups[] = {
	{"p3 split", split}, {"p3 x2apic", x2apic_api}, {"p3 cpuid", get_cpuid}, {"p3 sync regs", sync_regs},
	{"p3 translate", translation}, {"p3 tsc offset", tsc_offset}, {"p3 devices", devices},
	{"p3 msrs", user_msrs}, {"p3 disabled exits", disabled_exits}, {},
};
