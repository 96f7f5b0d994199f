/* SPDX-License-Identifier: MIT */
/* The run loop, and a vCPU's life: reset, kicks, sleep, deadlines, and every exit reason. */
#include "tests/unit/core_machine.h"

#include <pthread.h>
#include <sched.h>

static int waiting;
static u64 next_deadline, timer_calls, chip_cr8, chip_resets;

static int chip_pending(struct vcpu *v)
{
	return waiting;
}

static int chip_acknowledge(struct vcpu *v)
{
	int vector = waiting;

	waiting = -1;
	return vector;
}

static u64 chip_timers(struct vcpu *v, u64 now)
{
	timer_calls++;
	if (next_deadline <= now) {
		next_deadline = NO_DEADLINE;
		waiting = 0xec;
	}
	return next_deadline;
}

static void chip_set_cr8(struct vcpu *v, u64 cr8)
{
	chip_cr8 = cr8;
}

static u64 chip_get_cr8(struct vcpu *v)
{
	return chip_cr8;
}

static void chip_reset(struct vcpu *v)
{
	chip_resets++;
}

static bool chip_accepts_extint(struct vcpu *v)
{
	return true;
}

static const struct irqchip_ops chip = {chip_pending,	    chip_acknowledge, chip_timers,
					chip_set_cr8,	    chip_get_cr8,     chip_reset,
					chip_accepts_extint};

static int setup(void **state)
{
	machine_init();
	waiting = -1;
	next_deadline = NO_DEADLINE;
	timer_calls = chip_cr8 = chip_resets = 0;
	return 0;
}

static void use_chip(void)
{
	machine_vm->irqchip = &chip;
}

static int segment_is(enum seg seg, u16 selector, u64 base, u32 limit, u16 attr)
{
	struct segment s;

	virt->get_segment(&vcpu->v, seg, &s);
	return s.selector == selector && s.base == base && s.limit == limit && s.attr == attr;
}

static void power_on_state(void **state)
{
	vcpu->v.gpr[GPR_RSI] = 5;
	set_reg(VREG_CR3, 0x1000);
	vcpu_reset(vcpu, false);
	assert_int_equal(vcpu->v.rip, 0xfff0);
	assert_int_equal(vcpu->v.gpr[GPR_RDX], 0x600);
	assert_int_equal(vcpu->v.gpr[GPR_RSI], 0);
	assert_int_equal(reg(VREG_RFLAGS), 2);
	assert_int_equal(reg(VREG_CR0), 0x60000010);
	assert_int_equal(reg(VREG_CR3), 0);
	assert_int_equal(reg(VREG_EFER), 0);
	assert_int_equal(reg(VREG_DR6), DR6_INIT);
	assert_int_equal(reg(VREG_DR7), DR7_INIT);
	assert_int_equal(reg(VREG_PAT), 0x0007040600070406);
	assert_true(segment_is(SEG_CS, 0xf000, 0xffff0000, 0xffff, 0x9b));
	assert_true(segment_is(SEG_SS, 0, 0, 0xffff, 0x93));
	assert_true(segment_is(SEG_TR, 0, 0, 0xffff, 0x8b));
	assert_true(segment_is(SEG_LDTR, 0, 0, 0xffff, 0x82));
	assert_true(segment_is(SEG_IDTR, 0, 0, 0xffff, 0));
	assert_int_equal(vcpu->xcr0, 1);
	machine_cpuid_all();
	vcpu_reset(vcpu, false);
	assert_int_equal(vcpu->v.gpr[GPR_RDX], 0x800f12);
}

static void init_keeps_what_the_manual_says(void **state)
{
	set_reg(VREG_CR0, CR0_PE | CR0_ET | CR0_CD);
	set_reg(VREG_LSTAR, 77);
	vcpu->xcr0 = 7;
	vcpu->emulation.active = true;
	vcpu->exit_pending = true;
	vcpu_reset(vcpu, true);
	assert_int_equal(reg(VREG_CR0), CR0_ET | CR0_CD);
	assert_int_equal(reg(VREG_LSTAR), 77);
	assert_int_equal(vcpu->xcr0, 7);
	assert_false(vcpu->emulation.active);
	assert_false(vcpu->exit_pending);
	assert_true(vcpu->v.flush);
}

static void creation_rules(void **state)
{
	struct vcpu *v;
	u64 before = pool_free_pages(&machine_vm->pool);

	assert_int_equal(vcpu_create(machine_vm, 0, &v), -EEXIST);
	for (u32 i = 1; i < 8; i++) {
		before = pool_free_pages(&machine_vm->pool);
		assert_int_equal(vcpu_create(machine_vm, i * 10, &v), 0);
		assert_true(before - pool_free_pages(&machine_vm->pool) <= vcpu_pages());
		assert_int_equal(v->index, i);
		assert_ptr_equal(vm_vcpu_by_id(machine_vm, i * 10), v);
	}
	assert_null(vm_vcpu_by_id(machine_vm, 5));
	machine_vm->vcpu_count = VM_VCPUS;
	for (u32 i = 0; i < VM_VCPUS; i++)
		machine_vm->vcpus[i] = v;
	assert_int_equal(vcpu_create(machine_vm, 999, &v), -EINVAL);
	machine_vm->vcpu_count = 1;
	machine_vm->vcpus[0] = vcpu;
	before = pool_free_pages(&machine_vm->pool);
	assert_true(pool_alloc(&machine_vm->pool, before - vcpu_pages() + 1).v != HPA_NONE.v);
	assert_int_equal(vcpu_create(machine_vm, 1000, &v), -ENOMEM);
}

static void a_small_pool_makes_no_vm(void **state)
{
	for (u32 pages = 2; pages < vm_pages(); pages++) {
		struct vm *vm = phys_ptr(HPA(24ull << 20));

		memset(vm, 0, sizeof(*vm));
		pool_init(&vm->pool);
		pool_add(&vm->pool, HPA((24ull << 20) + 0x10000), pages);
		if (vm_init(vm, VIRT_CHILD) == 0)
			return;
	}
}

static void a_run_switches_worlds(void **state)
{
	struct fake_vcpu *mine = fake_vcpu(&vcpu->v);
	struct fake_vcpu *theirs = fake_vcpu(&cpus[1]->management->v);
	u32 loads = theirs->loads;

	push(EXIT_INTR, 0);
	assert_int_equal(run_on(1, NO_DEADLINE), RUN_INTERRUPTED);
	assert_int_equal(mine->loads, 1);
	assert_int_equal(theirs->loads, loads + 1);
	assert_null(vcpu->cpu);
	assert_true(vcpu->ran);
	assert_false(vcpu->v.loaded);
}

static void interruptions_end_a_run(void **state)
{
	static const u8 reasons[] = {EXIT_INTR, EXIT_NMI, EXIT_INIT, EXIT_SMI};

	for (u32 i = 0; i < ARRAY_SIZE(reasons); i++) {
		push(reasons[i], 0);
		assert_int_equal(run(), RUN_INTERRUPTED);
	}
	push(EXIT_NONE, 0);
	push(EXIT_NONE, 0);
	push(EXIT_INTR, 0);
	assert_int_equal(run(), RUN_INTERRUPTED);
	assert_int_equal(fake_exits_left(), 0);
}

/* The management vCPU's next entry tells of it: mgmt_nmi() finds out whose it was. */
static void an_nmi_stays_the_management_guests(void **state)
{
	cpus[0]->root_flags = CPU_ROOT_NMI;
	push(EXIT_NMI, 0);
	assert_int_equal(run(), RUN_INTERRUPTED);
	assert_int_equal(cpus[0]->root_flags, CPU_ROOT_NMI);
	assert_int_equal(vcpu->events.nmi_queued, 0);
	cpus[0]->root_flags = 0;
}

/* A vCPU that nobody works on may be taken by any CPU. */
static void a_new_vcpu_is_released(void **state)
{
	struct vcpu *other;

	assert_int_equal(vcpu_create(machine_vm, 9, &other), 0);
	assert_null(fake_vcpu(&other->v)->active);
	assert_int_equal(other->running, 0);
	assert_true(vcpu_take(other));
	vcpu_code_mode(other);
	assert_ptr_equal(fake_vcpu(&other->v)->active, cpus[0]);
	vcpu_release(other);
	assert_null(fake_vcpu(&other->v)->active);
}

static void a_machine_check_is_the_management_guests(void **state)
{
	struct vcpu *management = cpus[0]->management;

	/* Also when an exception of its own waits: a single step over the hypercall. */
	event_queue_debug(management, DR6_BS);
	push(EXIT_MCE, 0);
	assert_int_equal(run(), RUN_INTERRUPTED);
	assert_true(event_prepare(management));
	assert_int_equal(fake_vcpu(&management->v)->injected.type, EVENT_EXCEPTION);
	assert_int_equal(fake_vcpu(&management->v)->injected.vector, VECTOR_MC);
	assert_true(management->request & REQUEST_EVENT);
}

static void a_bad_entry_is_told_and_dumped(void **state)
{
	u32 dumps = fake_vcpu(&vcpu->v)->dumps;

	fake_push_exit(&(struct vm_exit){.reason = EXIT_INVALID, .raw = 0x80000021});
	assert_int_equal(run(), RUN_USER);
	assert_int_equal(vcpu->exit.reason, USER_FAIL_ENTRY);
	assert_int_equal(vcpu->exit.fail_entry.hardware_reason, 0x80000021);
	assert_int_equal(fake_vcpu(&vcpu->v)->dumps, dumps + 1);
}

static void unlisted_exits_are_internal_errors(void **state)
{
	static const u8 listed[] = {
		EXIT_NONE,	   EXIT_INTR,	     EXIT_NMI,		 EXIT_MCE,
		EXIT_INIT,	   EXIT_INTR_WINDOW, EXIT_NMI_WINDOW,	 EXIT_EXCEPTION,
		EXIT_TRIPLE_FAULT, EXIT_TASK_SWITCH, EXIT_CPUID,	 EXIT_RDMSR,
		EXIT_WRMSR,	   EXIT_IO,	     EXIT_SLAT,		 EXIT_CR_READ,
		EXIT_CR_WRITE,	   EXIT_CR_OTHER,    EXIT_DR_READ,	 EXIT_DR_WRITE,
		EXIT_HLT,	   EXIT_PAUSE,	     EXIT_MWAIT,	 EXIT_MONITOR,
		EXIT_INVD,	   EXIT_WBINVD,	     EXIT_INVLPG,	 EXIT_RDTSC,
		EXIT_RDTSCP,	   EXIT_RDPMC,	     EXIT_XSETBV,	 EXIT_HYPERCALL,
		EXIT_VIRT_INSN,	   EXIT_INVALID,     EXIT_PREEMPT_TIMER, EXIT_TPR_BELOW,
		EXIT_SMI,	   EXIT_PML_FULL,
	};
	bool known[EXIT_REASON_COUNT] = {false};

	for (u32 i = 0; i < ARRAY_SIZE(listed); i++)
		known[listed[i]] = true;
	for (u32 i = 0; i < EXIT_REASON_COUNT; i++) {
		if (known[i])
			continue;
		fake_push_exit(&(struct vm_exit){.reason = i, .insn_len = 2, .raw = 0x1000 + i});
		assert_int_equal(run(), RUN_USER);
		assert_int_equal(vcpu->exit.reason, USER_INTERNAL_ERROR);
		assert_int_equal(vcpu->exit.internal.suberror, INTERNAL_UNEXPECTED_EXIT);
		assert_int_equal(vcpu->exit.internal.count, 2);
		assert_int_equal(vcpu->exit.internal.data[0], 0x1000 + i);
	}
}

static void simple_instructions_are_skipped(void **state)
{
	static const u8 reasons[] = {EXIT_MWAIT, EXIT_MONITOR, EXIT_INVD, EXIT_WBINVD, EXIT_INVLPG};

	for (u32 i = 0; i < ARRAY_SIZE(reasons); i++) {
		vcpu->v.rip = CODE;
		set_reg(VREG_INT_SHADOW, 1);
		set_reg(VREG_RFLAGS, RFLAGS_ONE | RFLAGS_RF);
		run_insn(reasons[i], 3);
		assert_int_equal(vcpu->v.rip, CODE + 3);
		assert_int_equal(reg(VREG_INT_SHADOW), 0);
		assert_int_equal(reg(VREG_RFLAGS), RFLAGS_ONE);
	}
	assert_int_equal(events_delivered(), 0);
}

static void a_guest_that_spins_lets_others_run(void **state)
{
	u32 entries = fake_vcpu(&vcpu->v)->entries;

	push(EXIT_PAUSE, 2);
	assert_int_equal(run(), RUN_SPINS);
	assert_int_equal(fake_vcpu(&vcpu->v)->entries, entries + 1);
	assert_int_equal(vcpu->v.rip, CODE + 2);
	push(EXIT_HLT, 1);
	assert_int_equal(run(), RUN_USER);
	assert_int_equal(vcpu->v.rip, CODE + 3);
}

static void the_time_stamp_counter(void **state)
{
	fake_tsc_step = 0;
	vcpu->tsc_offset = 0x500000000;
	vcpu->msr.tsc_aux = 9;
	vcpu->v.gpr[GPR_RCX] = ~0ull;
	run_insn(EXIT_RDTSC, 2);
	assert_int_equal(vcpu->v.gpr[GPR_RAX], (u32)fake_tsc);
	assert_int_equal(vcpu->v.gpr[GPR_RDX], 5);
	assert_int_equal(vcpu->v.gpr[GPR_RCX], ~0ull);
	run_insn(EXIT_RDTSCP, 3);
	assert_int_equal(vcpu->v.gpr[GPR_RCX], 9);
}

static void forbidden_instructions_fault(void **state)
{
	run_insn(EXIT_VIRT_INSN, 3);
	assert_exception(VECTOR_UD);
	run_insn(EXIT_RDPMC, 2);
	assert_exception(VECTOR_GP);
	assert_int_equal(vcpu->v.rip, CODE);
}

static void hypercalls(void **state)
{
	vcpu->v.gpr[GPR_RAX] = 0xdeadbeef00000001;
	run_insn(EXIT_HYPERCALL, 3);
	assert_int_equal(vcpu->v.gpr[GPR_RAX], 0);
	vcpu->v.gpr[GPR_RAX] = 99;
	run_insn(EXIT_HYPERCALL, 3);
	assert_int_equal(vcpu->v.gpr[GPR_RAX], (u32)-1000);
	mode_cpl(3);
	vcpu->v.gpr[GPR_RAX] = 1;
	run_insn(EXIT_HYPERCALL, 3);
	assert_int_equal(vcpu->v.gpr[GPR_RAX], (u32)-1);
	mode_long();
	vcpu->v.gpr[GPR_RAX] = 0xdeadbeef00000001;
	run_insn(EXIT_HYPERCALL, 3);
	assert_int_equal(vcpu->v.gpr[GPR_RAX], -1000ull);
	assert_int_equal(events_delivered(), 0);
}

static struct vm_exit undefined(u64 rip, const char *bytes, u32 count)
{
	memcpy(guest_at(rip), bytes, count);
	vcpu->v.rip = rip;
	return (struct vm_exit){.reason = EXIT_EXCEPTION, .exception = {.vector = VECTOR_UD}};
}

/* VMCALL and VMMCALL are both answered, whichever the processor has. */
static void the_other_vendors_hypercall(void **state)
{
	static const char *const insns[] = {"\x0f\x01\xc1", "\x0f\x01\xd9"};

	assert_true(fake_vcpu(&vcpu->v)->intercepts & INTERCEPT_UD);
	assert_false(fake_vcpu(&cpus[0]->management->v)->intercepts & INTERCEPT_UD);
	for (u32 i = 0; i < ARRAY_SIZE(insns); i++) {
		mode_flat();
		vcpu->v.gpr[GPR_RAX] = 0xdeadbeef00000001;
		run_exit(undefined(CODE, insns[i], 3));
		assert_int_equal(vcpu->v.gpr[GPR_RAX], 0);
		assert_int_equal(vcpu->v.rip, CODE + 3);
		vcpu->v.gpr[GPR_RAX] = 99;
		run_exit(undefined(CODE, insns[i], 3));
		assert_int_equal(vcpu->v.gpr[GPR_RAX], (u32)-1000);
		mode_cpl(3);
		vcpu->v.gpr[GPR_RAX] = 1;
		run_exit(undefined(CODE, insns[i], 3));
		assert_int_equal(vcpu->v.gpr[GPR_RAX], (u32)-1);
		mode_long();
		vcpu->v.gpr[GPR_RAX] = 99;
		run_exit(undefined(0x1ffe, insns[i], 3)); /* across a page */
		assert_int_equal(vcpu->v.gpr[GPR_RAX], -1000ull);
		assert_int_equal(vcpu->v.rip, 0x2001);
	}
	assert_int_equal(events_delivered(), 0);
}

static void other_undefined_instructions_fault(void **state)
{
	static const char insns[][4] = {
		"\x0f\x0b\x01\xc1", /* UD2 */
		"\x0f\x01\xc2",	    /* VMLAUNCH, and VMRUN */
		"\x0f\x01\xd8",	    "\x0f\x02\xc1",	"\x0e\x01\xc1",
		"\x66\x0f\x01\xc1", "\xf2\x0f\x01\xd9", /* as the manuals say: without a prefix */
		"\xf3\x0f\x01\xc1", "\xf0\x0f\x01\xd9",
	};
	u64 *pt = guest_at(TABLES + 0x3000);

	mode_long();
	vcpu->v.gpr[GPR_RAX] = 1;
	for (u32 i = 0; i < ARRAY_SIZE(insns); i++) {
		run_exit(undefined(CODE, insns[i], 4));
		assert_exception(VECTOR_UD);
		assert_int_equal(events_delivered(), i + 1);
		assert_int_equal(vcpu->v.rip, CODE);
	}
	/* PUSH ES is whole: nothing is read behind it. */
	pt[2] = 0;
	run_exit(undefined(0x1fff, "\x06", 1));
	assert_exception(VECTOR_UD);
	assert_int_equal(vcpu->v.gpr[GPR_RAX], 1);
}

static void an_undefined_instruction_that_cannot_be_read(void **state)
{
	u64 *pt = guest_at(TABLES + 0x3000);
	struct vm_exit e;

	mode_long();
	pt[2] = 0;
	run_exit(undefined(0x1ffe, "\x0f\x01", 2));
	assert_exception(VECTOR_PF);
	assert_int_equal(reg(VREG_CR2), 0x2000);
	assert_int_equal(vcpu->v.rip, 0x1ffe);
	mode_flat();
	assert_int_equal(memslot_set(&machine_vm->mem, 1, 0, GPA(0x800000), 0x10000, 0x5000000), 0);
	memslot_set_finish(&machine_vm->mem);
	e = undefined(CODE, "", 0);
	vcpu->v.rip = 0x801000;
	fake_push_exit(&e);
	assert_int_equal(run(), RUN_FAULT);
	assert_int_equal(vcpu->exit.memory.gpa.v, 0x801000);
	vcpu->v.rip = 0xd0000000;
	fake_push_exit(&e);
	assert_int_equal(run(), RUN_USER);
	assert_int_equal(vcpu->exit.reason, USER_INTERNAL_ERROR);
	assert_int_equal(vcpu->exit.internal.suberror, INTERNAL_EMULATION);
	assert_int_equal(vcpu->exit.internal.data[0], 0);
	assert_int_equal(events_delivered(), 1);
}

static void rip_wraps_as_the_mode_demands(void **state)
{
	vcpu->v.rip = 0xfffffffe;
	run_insn(EXIT_CPUID, 2);
	assert_int_equal(vcpu->v.rip, 0);
	mode_real(0);
	vcpu->v.rip = 0xfffe;
	run_insn(EXIT_CPUID, 2);
	assert_int_equal(vcpu->v.rip, 0);
	mode_long();
	vcpu->v.rip = 0xfffffffe;
	run_insn(EXIT_CPUID, 2);
	assert_int_equal(vcpu->v.rip, 0x100000000);
	vcpu->v.rip = 0x7ffffffffffe; /* the guest's fetch faults, not the entry */
	run_insn(EXIT_CPUID, 2);
	assert_int_equal(vcpu->v.rip, 0x800000000000);
}

/*
 * Each instruction that is skipped, as the last one before the non-canonical hole: RIP goes there,
 * the entry is made, and the guest's own fetch faults.
 */
static void each_skip_at_the_edge_of_the_hole(void **state)
{
	static const u16 reasons[] = {
		EXIT_CPUID,    EXIT_RDMSR,     EXIT_WRMSR,   EXIT_RDTSC,
		EXIT_RDTSCP,   EXIT_MWAIT,     EXIT_MONITOR, EXIT_INVD,
		EXIT_WBINVD,   EXIT_INVLPG,    EXIT_XSETBV,  EXIT_CR_READ,
		EXIT_CR_WRITE, EXIT_HYPERCALL, EXIT_DR_READ, EXIT_DR_WRITE,
	};
	const u64 hole = 0x800000000000;
	struct vm_exit e = {.insn_len = 3, .mov = {.nr = 3, .gpr = GPR_RBX, .gpr_known = true}};

	mode_long();
	vcpu->debug.control = DEBUG_HW_BREAKPOINT; /* MOV DR is emulated then */
	for (u32 i = 0; i < ARRAY_SIZE(reasons); i++) {
		vcpu->v.rip = hole - 3;
		vcpu->v.gpr[GPR_RAX] = reasons[i] == EXIT_XSETBV ? XCR0_X87 : 0;
		vcpu->v.gpr[GPR_RDX] = 0;
		vcpu->v.gpr[GPR_RCX] = reasons[i] == EXIT_XSETBV ? 0 : MSR_KERNEL_GS_BASE;
		vcpu->v.gpr[GPR_RBX] = TABLES;
		e.reason = reasons[i];
		run_exit(e);
		assert_int_equal(vcpu->v.rip, hole);
	}
	vcpu->v.rip = hole - 2;
	push(EXIT_PAUSE, 2);
	assert_int_equal(run(), RUN_SPINS);
	assert_int_equal(vcpu->v.rip, hole);
	vcpu->v.rip = hole - 1;
	push(EXIT_HLT, 1);
	assert_int_equal(run(), RUN_USER);
	assert_int_equal(vcpu->v.rip, hole);
	vcpu->v.rip = hole - 2;
	fake_push_exit(&(struct vm_exit){
		.reason = EXIT_IO, .insn_len = 2, .io = {.port = 0x80, .size = 1}});
	assert_int_equal(run(), RUN_USER);
	vcpu_complete_exit(vcpu);
	assert_int_equal(vcpu->v.rip, hole);
	assert_int_equal(events_delivered(), 0);
}

static void a_stepping_guest_gets_its_trap(void **state)
{
	set_reg(VREG_RFLAGS, RFLAGS_ONE | RFLAGS_TF);
	run_insn(EXIT_CPUID, 2);
	assert_exception(VECTOR_DB);
	assert_int_equal(reg(VREG_DR6), DR6_INIT | DR6_BS);
	assert_int_equal(vcpu->v.rip, CODE + 2);
}

static void exceptions_that_exit_are_delivered(void **state)
{
	run_exit((struct vm_exit){.reason = EXIT_EXCEPTION,
				  .exception = {.vector = VECTOR_AC, .has_error = true}});
	assert_exception(VECTOR_AC);
	run_exit((struct vm_exit){
		.reason = EXIT_EXCEPTION,
		.exception = {
			.vector = VECTOR_PF, .has_error = true, .error = 2, .payload = 0x1234}});
	assert_exception(VECTOR_PF);
	assert_int_equal(reg(VREG_CR2), 0x1234);
	run_exit((struct vm_exit){.reason = EXIT_EXCEPTION,
				  .exception = {.vector = VECTOR_DB, .payload = DR6_B1}});
	assert_exception(VECTOR_DB);
	assert_int_equal(reg(VREG_DR6), DR6_INIT | DR6_B1);
	run_exit((struct vm_exit){.reason = EXIT_EXCEPTION, .exception = {.vector = VECTOR_BP}});
	assert_exception(VECTOR_BP);
}

static void halt_without_a_chip_is_the_vmms(void **state)
{
	push(EXIT_HLT, 1);
	assert_int_equal(run(), RUN_USER);
	assert_int_equal(vcpu->exit.reason, USER_HLT);
	assert_int_equal(vcpu->v.rip, CODE + 1);
	assert_int_equal(vcpu->mp_state, MP_RUNNABLE);
}

static void an_eoi_is_told_to_the_vmm(void **state)
{
	vcpu->eoi_vector = 0x41;
	vcpu_set_request(vcpu, REQUEST_EOI);
	assert_int_equal(run(), RUN_USER);
	assert_int_equal(vcpu->exit.reason, USER_IOAPIC_EOI);
	assert_int_equal(vcpu->exit.eoi.vector, 0x41);
	assert_int_equal(fake_vcpu(&vcpu->v)->entries, 0);
	push(EXIT_INTR, 0);
	assert_int_equal(run(), RUN_INTERRUPTED);
}

static void a_resampled_line_is_told_to_the_driver(void **state)
{
	vcpu_set_request(vcpu, REQUEST_RESAMPLE);
	assert_int_equal(run(), RUN_RESAMPLE);
	assert_int_equal(fake_vcpu(&vcpu->v)->entries, 0);
	push(EXIT_INTR, 0);
	assert_int_equal(run(), RUN_INTERRUPTED);
}

static void halt_with_a_chip_sleeps(void **state)
{
	use_chip();
	set_reg(VREG_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
	push(EXIT_HLT, 1);
	assert_int_equal(run(), RUN_HALTED);
	assert_int_equal(vcpu->mp_state, MP_HALTED);
	assert_int_equal(vcpu->v.rip, CODE + 1);
	assert_int_equal(machine_vm->wake[0], 0);
	waiting = 0x30;
	vcpu_kick(vcpu, REQUEST_EVENT);
	assert_int_equal(machine_vm->wake[0], 1);
	push(EXIT_INTR, 0);
	assert_int_equal(run(), RUN_INTERRUPTED);
	assert_int_equal(machine_vm->wake[0], 0);
	assert_int_equal(vcpu->mp_state, MP_RUNNABLE);
	assert_int_equal(last_event().vector, 0x30);
}

/* The interrupt comes while HLT exits. */
static void interrupted_halt(struct virt_vcpu *v, struct vm_exit *e)
{
	e->reason = fake_vcpu(v)->entries == 1 ? EXIT_HLT : EXIT_INTR;
	e->insn_len = 1;
	if (e->reason == EXIT_HLT)
		waiting = 0x30;
}

static void a_halt_with_work_goes_on(void **state)
{
	use_chip();
	set_reg(VREG_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
	fake_run = interrupted_halt;
	assert_int_equal(run(), RUN_INTERRUPTED);
	assert_int_equal(last_event().vector, 0x30);
	assert_int_equal(fake_vcpu(&vcpu->v)->entries, 2);
}

static void interrupts_off_halt_for_good(void **state)
{
	use_chip();
	waiting = 0x30;
	push(EXIT_HLT, 1);
	assert_int_equal(run(), RUN_HALTED);
	vcpu_kick(vcpu, REQUEST_EVENT);
	assert_int_equal(run(), RUN_HALTED);
	vcpu_post_nmi(vcpu); /* but for an NMI */
	push(EXIT_INTR, 0);
	assert_int_equal(run(), RUN_INTERRUPTED);
	assert_int_equal(last_event().type, EVENT_NMI);
}

static void deadlines_arm_the_callers_timer(void **state)
{
	use_chip();
	next_deadline = fake_tsc + 5000000;
	vcpu_set_request(vcpu, REQUEST_TIMER);
	assert_int_equal(run_on(0, NO_DEADLINE), RUN_ARM);
	assert_int_equal(vcpu->v.deadline, next_deadline);
	push(EXIT_INTR, 0);
	assert_int_equal(run_on(0, next_deadline), RUN_INTERRUPTED);
	assert_int_equal(timer_calls, 1);
	/* It has come: the timer fires before the entry. */
	fake_tsc = next_deadline + 1;
	set_reg(VREG_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
	push(EXIT_INTR, 0);
	assert_int_equal(run(), RUN_INTERRUPTED);
	assert_int_equal(last_event().vector, 0xec);
	assert_int_equal(vcpu->v.deadline, NO_DEADLINE);
}

static void the_backends_timer(struct virt_vcpu *v, struct vm_exit *e)
{
	if (v->deadline == NO_DEADLINE) {
		e->reason = EXIT_INTR;
		return;
	}
	e->reason = EXIT_PREEMPT_TIMER;
	if (fake_vcpu(v)->entries > 1) /* the first exit is early, as with one too far away */
		fake_tsc = v->deadline;
}

/* The timer's exit stays inside: nobody else's timer is needed. */
static void the_backends_timer_stands_for_the_callers(void **state)
{
	vcpu->v.features |= VIRT_PREEMPT_TIMER;
	use_chip();
	set_reg(VREG_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
	next_deadline = fake_tsc + 5000000;
	vcpu_set_request(vcpu, REQUEST_TIMER);
	fake_run = the_backends_timer;
	assert_int_equal(run_on(0, NO_DEADLINE), RUN_INTERRUPTED);
	assert_int_equal(timer_calls, 3);
	assert_int_equal(fake_vcpu(&vcpu->v)->entries, 3);
	assert_int_equal(last_event().vector, 0xec);
	/* Halted, it still needs the caller's. */
	fake_run = NULL;
	next_deadline = fake_tsc + 5000000;
	vcpu_set_request(vcpu, REQUEST_TIMER);
	push(EXIT_HLT, 1);
	assert_int_equal(run_on(0, NO_DEADLINE), RUN_HALTED);
	assert_int_equal(vcpu->v.deadline, next_deadline);
}

static void a_halted_vcpu_tells_its_deadline(void **state)
{
	use_chip();
	set_reg(VREG_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
	next_deadline = fake_tsc + 5000000;
	vcpu_set_request(vcpu, REQUEST_TIMER);
	push(EXIT_HLT, 1);
	assert_int_equal(run_on(0, next_deadline), RUN_HALTED);
	assert_int_equal(vcpu->v.deadline, next_deadline);
	fake_tsc = next_deadline;
	push(EXIT_INTR, 0);
	assert_int_equal(run(), RUN_INTERRUPTED);
	assert_int_equal(last_event().vector, 0xec);
}

static u32 clock_updates;
static bool clock_unmapped;

static bool clock_update(struct vcpu *v)
{
	clock_updates++;
	return !clock_unmapped;
}

static void the_clock_is_updated_on_request(void **state)
{
	clock_updates = 0;
	machine_vm->clock_update = clock_update;
	vcpu->request = REQUEST_CLOCK | REQUEST_FLUSH;
	push(EXIT_INTR, 0);
	run();
	assert_int_equal(clock_updates, 1);
	assert_int_equal(vcpu->request, 0);
	push(EXIT_INTR, 0);
	run();
	assert_int_equal(clock_updates, 1);
}

static void a_clock_without_its_page_asks_for_it(void **state)
{
	clock_updates = 0;
	clock_unmapped = true;
	machine_vm->clock_update = clock_update;
	vcpu->request = REQUEST_CLOCK;
	assert_int_equal(run(), RUN_FAULT);
	assert_int_equal(fake_vcpu(&vcpu->v)->entries, 0);
	assert_int_equal(vcpu->request, REQUEST_CLOCK);
	assert_int_equal(run(), RUN_FAULT);
	clock_unmapped = false;
	push(EXIT_INTR, 0);
	assert_int_equal(run(), RUN_INTERRUPTED);
	assert_int_equal(clock_updates, 3);
	assert_int_equal(vcpu->request, 0);
}

static void pdptes_are_loaded_before_an_entry(void **state)
{
	u64 *pdpte = guest_at(0x8000);

	set_reg(VREG_CR0, CR0_PE | CR0_PG);
	set_reg(VREG_CR4, CR4_PAE);
	set_reg(VREG_CR3, 0x8000);
	pdpte[0] = 0x5001;
	vcpu->request = REQUEST_PDPTES;
	push(EXIT_INTR, 0);
	assert_int_equal(run(), RUN_INTERRUPTED);
	assert_int_equal(reg(VREG_PDPTE0), 0x5001);
	/* Bad ones leave the old in force. */
	pdpte[0] = 0x6001 | BIT(1);
	vcpu->request = REQUEST_PDPTES;
	push(EXIT_INTR, 0);
	assert_int_equal(run(), RUN_INTERRUPTED);
	assert_int_equal(reg(VREG_PDPTE0), 0x5001);
	/* A slot without its page: it is asked for. */
	assert_int_equal(memslot_set(&machine_vm->mem, 1, 0, GPA(0x800000), 0x10000, 0x5000000), 0);
	memslot_set_finish(&machine_vm->mem);
	set_reg(VREG_CR3, 0x801000);
	vcpu->request = REQUEST_PDPTES;
	assert_int_equal(run(), RUN_FAULT);
	assert_int_equal(vcpu->exit.memory.gpa.v, 0x801000);
	assert_int_equal(vcpu->request, REQUEST_PDPTES);
	/* Not with other paging. */
	set_reg(VREG_CR0, CR0_PE);
	push(EXIT_INTR, 0);
	assert_int_equal(run(), RUN_INTERRUPTED);
}

static void a_flush_request_flushes(void **state)
{
	u32 flushes;

	push(EXIT_INTR, 0);
	run();
	flushes = fake_vcpu(&vcpu->v)->flushes;
	push(EXIT_INTR, 0);
	run();
	assert_int_equal(fake_vcpu(&vcpu->v)->flushes, flushes);
	vcpu_kick(vcpu, REQUEST_FLUSH);
	push(EXIT_INTR, 0);
	run();
	assert_int_equal(fake_vcpu(&vcpu->v)->flushes, flushes + 1);
}

static void application_processors_wait(void **state)
{
	struct segment cs;

	use_chip();
	vcpu->id = 3;
	vcpu->mp_state = MP_UNINITIALIZED;
	assert_int_equal(run(), RUN_HALTED);
	vcpu_post_sipi(vcpu, 9); /* without an INIT before: dropped */
	assert_int_equal(run(), RUN_HALTED);
	assert_int_equal(vcpu->request & REQUEST_SIPI, 0);
	vcpu_post_init(vcpu);
	assert_true(machine_vm->wake[0]);
	assert_int_equal(run(), RUN_HALTED);
	assert_int_equal(vcpu->mp_state, MP_INIT_RECEIVED);
	assert_int_equal(chip_resets, 1);
	vcpu_post_nmi(vcpu); /* an NMI does not start it */
	assert_int_equal(run(), RUN_HALTED);
	vcpu_post_sipi(vcpu, 0x9a);
	push(EXIT_INTR, 0);
	assert_int_equal(run(), RUN_INTERRUPTED);
	assert_int_equal(vcpu->mp_state, MP_RUNNABLE);
	assert_int_equal(vcpu->v.rip, 0);
	virt->get_segment(&vcpu->v, SEG_CS, &cs);
	assert_int_equal(cs.selector, 0x9a00);
	assert_int_equal(cs.base, 0x9a000);
	vcpu_post_sipi(vcpu, 0x11); /* running: dropped */
	push(EXIT_INTR, 0);
	assert_int_equal(run(), RUN_INTERRUPTED);
	virt->get_segment(&vcpu->v, SEG_CS, &cs);
	assert_int_equal(cs.selector, 0x9a00);
}

static void init_of_the_boot_processor_restarts_it(void **state)
{
	use_chip();
	vcpu_post_sipi(vcpu, 5);
	vcpu_post_init(vcpu); /* cancels the SIPI */
	push(EXIT_INTR, 0);
	assert_int_equal(run(), RUN_INTERRUPTED);
	assert_int_equal(vcpu->v.rip, 0xfff0);
	assert_int_equal(vcpu->mp_state, MP_RUNNABLE);
}

static void accept_init_without_an_entry(void **state)
{
	use_chip();
	vcpu->id = 3;
	vcpu->mp_state = MP_UNINITIALIZED;
	assert_false(vcpu_accept_init(vcpu));
	vcpu_post_init(vcpu);
	assert_false(vcpu_accept_init(vcpu));
	assert_int_equal(vcpu->mp_state, MP_INIT_RECEIVED);
	vcpu_post_sipi(vcpu, 1);
	assert_true(vcpu_accept_init(vcpu));
}

static void a_kick_in_the_guest(struct virt_vcpu *v, struct vm_exit *e)
{
	if (fake_vcpu(v)->entries == 1) {
		/* From another CPU, while the guest runs on CPU 0. */
		fake_cpu_set(1);
		vcpu_kick(vcpu, REQUEST_KICK);
		fake_cpu_set(0);
		e->reason = EXIT_CPUID;
		e->insn_len = 2;
		return;
	}
	fail();
}

static void kicks_reach_the_guest(void **state)
{
	vcpu_kick(vcpu, REQUEST_KICK);
	assert_int_equal(ipis, 0); /* it is not in the guest */
	assert_int_equal(run(), RUN_INTERRUPTED);
	assert_int_equal(fake_vcpu(&vcpu->v)->entries, 0);
	fake_run = a_kick_in_the_guest;
	cpus[0]->apic_id = 0x21;
	assert_int_equal(run(), RUN_INTERRUPTED);
	assert_int_equal(ipis, 1);
	assert_int_equal(ipi_apic_id, 0x21);
	assert_int_equal(ipi_vector, 0xf2);
	assert_int_equal(vcpu->request, 0);
}

static void self_kick(struct virt_vcpu *v, struct vm_exit *e)
{
	vcpu_kick(vcpu, REQUEST_EVENT);
	e->reason = EXIT_INTR;
}

static void no_interrupt_to_oneself_or_without_a_vector(void **state)
{
	fake_run = self_kick;
	run();
	assert_int_equal(ipis, 0);
	vcpu_kick_vector = 0;
	fake_run = a_kick_in_the_guest;
	fake_vcpu(&vcpu->v)->entries = 0;
	run();
	assert_int_equal(ipis, 0);
}

static void someone_else_must_wake(struct virt_vcpu *v, struct vm_exit *e)
{
	struct vcpu *sleeper = machine_vm->vcpus[1];

	vcpu_kick(sleeper, REQUEST_EVENT);
	e->reason = EXIT_CPUID;
	e->insn_len = 2;
}

static void waking_another_ends_the_run(void **state)
{
	struct vcpu *other;

	use_chip();
	assert_int_equal(vcpu_create(machine_vm, 1, &other), 0);
	other->sleeping = 1;
	fake_run = someone_else_must_wake;
	assert_int_equal(run(), RUN_INTERRUPTED);
	assert_int_equal(machine_vm->wake[0], 2);
	assert_int_equal(fake_vcpu(&vcpu->v)->entries, 1);
}

static void a_stopped_vm_does_not_run(void **state)
{
	assert_true(vm_stop(machine_vm));
	assert_int_equal(run(), RUN_DEAD);
	assert_int_equal(fake_vcpu(&vcpu->v)->entries, 0);
}

static void stop_in_guest(struct virt_vcpu *v, struct vm_exit *e)
{
	fake_cpu_set(1);
	assert_false(vm_stop(machine_vm));
	fake_cpu_set(0);
	e->reason = EXIT_CPUID;
	e->insn_len = 2;
}

static void stopping_ends_a_run(void **state)
{
	fake_run = stop_in_guest;
	assert_int_equal(run(), RUN_DEAD);
	assert_int_equal(ipis, 1);
	assert_true(vm_stop(machine_vm));
	assert_int_equal(run(), RUN_DEAD);
}

static void a_low_pool_says_memory(void **state)
{
	u64 most = pool_free_pages(&machine_vm->pool) - machine_vm->low_water;

	assert_true(pool_alloc(&machine_vm->pool, most).v != HPA_NONE.v);
	push(EXIT_INTR, 0);
	assert_int_equal(run(), RUN_INTERRUPTED);
	assert_true(pool_alloc(&machine_vm->pool, 1).v != HPA_NONE.v);
	assert_int_equal(run(), RUN_MEMORY);
}

static void requests_without_end_do_not_hold_the_cpu(void **state);

/* Every look at the TSC offset of a timer brings another request. */
static u64 busy_timers(struct vcpu *v, u64 now)
{
	vcpu_set_request(v, REQUEST_TIMER);
	return NO_DEADLINE;
}

static void requests_without_end_do_not_hold_the_cpu(void **state)
{
	static struct irqchip_ops busy;

	busy = chip;
	busy.timers = busy_timers;
	machine_vm->irqchip = &busy;
	vcpu_set_request(vcpu, REQUEST_TIMER);
	assert_int_equal(run(), RUN_INTERRUPTED);
	assert_int_equal(fake_vcpu(&vcpu->v)->entries, 0);
}

static struct vm_exit slat(u64 gpa, bool write)
{
	return (struct vm_exit){.reason = EXIT_SLAT, .slat = {.gpa = GPA(gpa), .write = write}};
}

static int own_read(struct bus_device *d, struct vcpu *v, u64 offset, u32 size, u64 *value)
{
	if (offset >> PAGE_SHIFT != 0x700)
		return -EOPNOTSUPP;
	*value = 0x1234;
	return 0;
}

static u64 own_written;

static int own_write(struct bus_device *d, struct vcpu *v, u64 offset, u32 size, u64 value)
{
	own_written = value;
	return 0;
}

/* A vCPU's own page, such as a moved local APIC's: asked behind memory and the bus. */
static void a_page_of_its_own(void **state)
{
	static struct bus_device own = {0, ~0ull, own_read, own_write};

	machine_vm->own_page = &own;
	vcpu->v.gpr[GPR_RBX] = 0x700010;
	memcpy(guest_at(CODE), "\x8b\x03\x89\x03\x8b\x03", 6); /* mov eax, [ebx]; back; again */
	run_exit(slat(0x700010, false));
	assert_int_equal(vcpu->v.gpr[GPR_RAX], 0x1234);
	run_exit(slat(0x700010, true));
	assert_int_equal(own_written, 0x1234);
	vcpu->v.gpr[GPR_RBX] = 0x701010;
	fake_push_exit(&(struct vm_exit){.reason = EXIT_SLAT, .slat = {.gpa = GPA(0x701010)}});
	assert_int_equal(run(), RUN_USER);
	assert_int_equal(vcpu->exit.reason, USER_MMIO);
}

static void faults_go_to_the_management_guest(void **state)
{
	struct vm_exit e = slat(0x801234, true);

	assert_int_equal(memslot_set(&machine_vm->mem, 1, 0, GPA(0x800000), 0x10000, 0x5000000), 0);
	memslot_set_finish(&machine_vm->mem);
	fake_push_exit(&e);
	assert_int_equal(run(), RUN_FAULT);
	assert_int_equal(vcpu->exit.memory.gpa.v, 0x801000);
	assert_int_equal(vcpu->exit.memory.hva, 0x5001000);
	assert_true(vcpu->exit.memory.write);
	assert_false(vcpu->exit_pending);
	e = slat(0x80ffff, false);
	fake_push_exit(&e);
	assert_int_equal(run(), RUN_FAULT);
	assert_int_equal(vcpu->exit.memory.hva, 0x500f000);
	assert_false(vcpu->exit.memory.write);
}

static void a_dirty_log_fault_is_settled_inside(void **state)
{
	struct vm_exit e = slat(0x801234, true);
	u64 bitmap = 0;

	assert_int_equal(
		memslot_set(&machine_vm->mem, 1, MEMSLOT_DIRTY, GPA(0x800000), 0x10000, 0x5000000),
		0);
	memslot_set_finish(&machine_vm->mem);
	assert_int_equal(guest_mem_map(&machine_vm->mem, GPA(0x800000),
				       HPA(FAKE_GUEST + (4ull << 20)), 0x10000, true),
			 0);
	run_exit(e);
	assert_int_equal(dirty_log_get(&machine_vm->mem, 1, &bitmap, 8), 0);
	assert_int_equal(bitmap, 2);
}

static const u64 written_page = 0x803000;

static void guest_that_writes(struct virt_vcpu *v, struct vm_exit *e)
{
	fake_vcpu(v)->log[0] = written_page;
	fake_vcpu(v)->log_count = fake_vcpu(v)->entries == 1;
	e->reason = fake_vcpu(v)->entries == 1 ? EXIT_PML_FULL : EXIT_INTR;
}

static void what_the_processor_logged_is_dirty(void **state)
{
	u64 bitmap = 0;

	assert_int_equal(
		memslot_set(&machine_vm->mem, 1, MEMSLOT_DIRTY, GPA(0x800000), 0x10000, 0x5000000),
		0);
	memslot_set_finish(&machine_vm->mem);
	fake_run = guest_that_writes;
	assert_int_equal(run(), RUN_INTERRUPTED);
	assert_int_equal(fake_vcpu(&vcpu->v)->entries, 2);
	assert_int_equal(vcpu->v.written_count, 0);
	assert_int_equal(dirty_log_get(&machine_vm->mem, 1, &bitmap, 8), 0);
	assert_int_equal(bitmap, BIT(3));
}

/* mov [0xd0000000], eax */
static void mmio_write_code(void)
{
	static const u8 code[] = {0xa3, 0x00, 0x00, 0x00, 0xd0};

	memcpy(guest_at(CODE), code, sizeof(code));
}

static void no_slot_is_mmio(void **state)
{
	struct vm_exit e = slat(0xd0000000, true);

	mmio_write_code();
	vcpu->v.gpr[GPR_RAX] = 0x12345678;
	fake_push_exit(&e);
	assert_int_equal(run(), RUN_USER);
	assert_int_equal(vcpu->exit.reason, USER_MMIO);
	assert_int_equal(vcpu->exit.mmio.gpa.v, 0xd0000000);
	assert_true(vcpu->exit.mmio.write);
	assert_int_equal(vcpu->exit.mmio.length, 4);
	assert_memory_equal(vcpu->exit.mmio.data, "\x78\x56\x34\x12", 4);
	/* A write is complete at the exit: whatever the VMM does next, it happens once. */
	assert_false(vcpu->exit_pending);
	assert_int_equal(vcpu->v.rip, CODE + 5);
	push(EXIT_INTR, 0);
	assert_int_equal(run(), RUN_INTERRUPTED);
	assert_int_equal(vcpu->v.rip, CODE + 5);
}

/* VIRT_PML makes writes of all walks, and nothing in the way needs to be written. */
static void tables_in_read_only_memory(void **state)
{
	struct vm_exit e = slat(0x801234, true);

	e.slat.table_walk = true;
	assert_int_equal(memslot_set(&machine_vm->mem, 1, MEMSLOT_READONLY, GPA(0x800000), 0x10000,
				     0x5000000),
			 0);
	memslot_set_finish(&machine_vm->mem);
	mmio_write_code();
	fake_push_exit(&e);
	assert_int_equal(run(), RUN_USER);
	assert_int_equal(vcpu->exit.reason, USER_MMIO);
	assert_int_equal(vcpu->exit.mmio.gpa.v, 0xd0000000);
}

static void an_mmio_read_takes_the_answer(void **state)
{
	static const u8 code[] = {0xa1, 0x10, 0x00, 0x00, 0xd0}; /* mov eax, [0xd0000010] */
	struct vm_exit e = slat(0xd0000010, false);

	memcpy(guest_at(CODE), code, sizeof(code));
	fake_push_exit(&e);
	assert_int_equal(run(), RUN_USER);
	assert_false(vcpu->exit.mmio.write);
	memcpy(vcpu->exit.mmio.data, "\x01\x02\x03\x04", 4);
	assert_false(vcpu_complete_exit(vcpu));
	assert_int_equal(vcpu->v.gpr[GPR_RAX], 0x04030201);
	assert_int_equal(vcpu->v.rip, CODE + 5);
	assert_false(vcpu_complete_exit(vcpu));
}

static void read_only_slots(void **state)
{
	struct vm_exit e = slat(0x800000, true);

	assert_int_equal(memslot_set(&machine_vm->mem, 1, MEMSLOT_READONLY, GPA(0x800000), 0x10000,
				     0x5000000),
			 0);
	memslot_set_finish(&machine_vm->mem);
	memcpy(guest_at(CODE), "\xa3\x00\x00\x80\x00", 5);
	/* The emulator looks at what is there: read-only is how it asks for the page. */
	fake_push_exit(&e);
	assert_int_equal(run(), RUN_FAULT);
	assert_false(vcpu->exit.memory.write);
	assert_int_equal(guest_mem_map(&machine_vm->mem, GPA(0x800000),
				       HPA(FAKE_GUEST + (4ull << 20)), 0x1000, false),
			 0);
	fake_push_exit(&e);
	assert_int_equal(run(), RUN_USER);
	assert_int_equal(vcpu->exit.reason, USER_MMIO);
	assert_int_equal(vcpu->exit.mmio.gpa.v, 0x800000);
	vcpu->exit_pending = false;
	vcpu->emulation.active = false;
	e = slat(0x801000, false);
	fake_push_exit(&e);
	assert_int_equal(run(), RUN_FAULT);
	assert_false(vcpu->exit.memory.write);
}

static void what_cannot_be_emulated_is_told(void **state)
{
	struct vm_exit e = slat(0xd0000000, true);

	memcpy(guest_at(CODE), "\x0f\x01\x00", 3); /* sgdt [eax] */
	fake_push_exit(&e);
	assert_int_equal(run(), RUN_USER);
	assert_int_equal(vcpu->exit.reason, USER_INTERNAL_ERROR);
	assert_int_equal(vcpu->exit.internal.suberror, INTERNAL_EMULATION);
	assert_int_equal(vcpu->exit.internal.data[0], 1);
	assert_int_equal(vcpu->exit.internal.data[1] >> 8 & 0xffffff, 0x00010f);
	/* Page tables of the guest outside of its memory */
	e.slat.table_walk = true;
	fake_push_exit(&e);
	assert_int_equal(run(), RUN_USER);
	assert_int_equal(vcpu->exit.internal.suberror, INTERNAL_EMULATION);
	/* An event whose delivery needs MMIO */
	e.slat.table_walk = false;
	e.vectoring = (struct virt_event){.type = EVENT_INTR, .vector = 0x20};
	fake_push_exit(&e);
	assert_int_equal(run(), RUN_USER);
	assert_int_equal(vcpu->exit.internal.suberror, INTERNAL_DELIVERY_EV);
	assert_true(vcpu->events.interrupt.injected); /* and it is not lost */
}

/* User code cannot end its VM with what cannot be emulated. */
static void user_code_that_cannot_be_emulated_faults(void **state)
{
	struct vm_exit e = slat(0xd0000000, true);

	memcpy(guest_at(CODE), "\x0f\x01\x00", 3); /* sgdt [eax] */
	fake_push_exit(&e);
	assert_int_equal(run(), RUN_USER);
	assert_int_equal(vcpu->events.exception.vector, VECTOR_UD); /* beside the exit */
	vcpu->events.exception.pending = false;
	set_seg(SEG_SS, 0x1b, 0, 0xffffffff, SEG_P | SEG_S | SEG_DPL | 3 | SEG_DB | SEG_G);
	fake_push_exit(&e);
	push(EXIT_INTR, 0);
	assert_int_equal(run(), RUN_INTERRUPTED);
	assert_int_equal(last_event().vector, VECTOR_UD);
	machine_vm->emulation_failures = true;
	fake_push_exit(&e);
	assert_int_equal(run(), RUN_USER);
	assert_int_equal(vcpu->exit.internal.suberror, INTERNAL_EMULATION);
	assert_int_equal(events_delivered(), 1);
	assert_false(vcpu->events.exception.pending);
}

static void every_exit_is_counted_and_timed(void **state)
{
	static struct exit_ring ring;
	u32 histogram[STAT_BUCKETS];
	u64 count, cycles, buckets = 0;

	memset(&ring, 0, sizeof(ring));
	cpus[0]->ring = &ring;
	for (u32 i = 0; i < 300; i++)
		push(EXIT_CPUID, 0 * i + 2);
	push(EXIT_INTR, 0);
	run();
	stats_copy(vcpu, EXIT_CPUID, &count, &cycles, histogram);
	assert_int_equal(count, 300);
	assert_true(cycles >= 300 && cycles < 30000);
	for (u32 i = 0; i < STAT_BUCKETS; i++)
		buckets += histogram[i];
	assert_int_equal(buckets, 300);
	stats_copy(vcpu, EXIT_INTR, &count, &cycles, histogram);
	assert_int_equal(count, 1);
	assert_int_equal(ring.next, 301);
	assert_int_equal(ring.entry[300 % EXIT_RING_ENTRIES].reason, EXIT_INTR);
	assert_int_equal(ring.entry[299 % EXIT_RING_ENTRIES].reason, EXIT_CPUID);
	assert_int_equal(ring.entry[299 % EXIT_RING_ENTRIES].vm, machine_vm->handle);
	for (u32 i = 0; i < EXIT_REASON_COUNT; i++)
		assert_string_not_equal(exit_reason_name(i), "?");
	assert_string_equal(exit_reason_name(EXIT_REASON_COUNT), "?");
}

static void the_chips_cr8_and_the_processors(void **state)
{
	use_chip();
	set_reg(VREG_CR8, 5); /* the guest wrote it without an exit */
	push(EXIT_INTR, 0);
	run();
	assert_int_equal(chip_cr8, 5);
	chip_cr8 = 9; /* by MMIO, say */
	vcpu->v.gpr[GPR_RCX] = MSR_TSC_AUX;
	set_reg(VREG_CR8, 9);
	run_insn(EXIT_WRMSR, 2);
	assert_int_equal(reg(VREG_CR8), 9);
}

/* ---- two threads ---- */

static u32 guest_rounds;
static bool stop_guest;

static void busy_guest(struct virt_vcpu *v, struct vm_exit *e)
{
	__atomic_fetch_add(&guest_rounds, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&ipis, __ATOMIC_SEQ_CST) &&
	       !__atomic_load_n(&stop_guest, __ATOMIC_SEQ_CST))
		sched_yield();
	__atomic_store_n(&ipis, 0, __ATOMIC_SEQ_CST);
	e->reason = EXIT_INTR;
}

static void *run_vcpu_until_stopped(void *unused)
{
	fake_cpu_set(1);
	while (!vcpu_take(vcpu))
		;
	while (!__atomic_load_n(&stop_guest, __ATOMIC_SEQ_CST))
		vcpu_run(vcpu, cpus[1], NO_DEADLINE);
	vcpu_release(vcpu);
	return NULL;
}

static void flush_wait_sees_every_cpu_leave(void **state)
{
	pthread_t thread;

	fake_run = busy_guest;
	guest_rounds = stop_guest = 0;
	virt->release(&vcpu->v); /* setup() looked at it on CPU 0 */
	pthread_create(&thread, NULL, run_vcpu_until_stopped, NULL);
	while (!__atomic_load_n(&guest_rounds, __ATOMIC_SEQ_CST))
		sched_yield();
	for (u32 i = 0; i < 200; i++) {
		u32 before;

		while (!__atomic_load_n(&vcpu->in_guest, __ATOMIC_SEQ_CST))
			sched_yield();
		before = __atomic_load_n(&vcpu->entries, __ATOMIC_SEQ_CST);
		vm_flush_wait(machine_vm);
		assert_int_not_equal(__atomic_load_n(&vcpu->entries, __ATOMIC_SEQ_CST), before);
	}
	__atomic_store_n(&stop_guest, true, __ATOMIC_SEQ_CST);
	pthread_join(thread, NULL);
	/* Nobody runs: nothing to wait for. */
	vm_flush_wait(machine_vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(power_on_state, setup),
		cmocka_unit_test_setup(init_keeps_what_the_manual_says, setup),
		cmocka_unit_test_setup(creation_rules, setup),
		cmocka_unit_test_setup(a_small_pool_makes_no_vm, setup),
		cmocka_unit_test_setup(a_run_switches_worlds, setup),
		cmocka_unit_test_setup(interruptions_end_a_run, setup),
		cmocka_unit_test_setup(an_nmi_stays_the_management_guests, setup),
		cmocka_unit_test_setup(a_new_vcpu_is_released, setup),
		cmocka_unit_test_setup(a_machine_check_is_the_management_guests, setup),
		cmocka_unit_test_setup(a_bad_entry_is_told_and_dumped, setup),
		cmocka_unit_test_setup(unlisted_exits_are_internal_errors, setup),
		cmocka_unit_test_setup(simple_instructions_are_skipped, setup),
		cmocka_unit_test_setup(a_guest_that_spins_lets_others_run, setup),
		cmocka_unit_test_setup(the_time_stamp_counter, setup),
		cmocka_unit_test_setup(forbidden_instructions_fault, setup),
		cmocka_unit_test_setup(hypercalls, setup),
		cmocka_unit_test_setup(the_other_vendors_hypercall, setup),
		cmocka_unit_test_setup(other_undefined_instructions_fault, setup),
		cmocka_unit_test_setup(an_undefined_instruction_that_cannot_be_read, setup),
		cmocka_unit_test_setup(rip_wraps_as_the_mode_demands, setup),
		cmocka_unit_test_setup(each_skip_at_the_edge_of_the_hole, setup),
		cmocka_unit_test_setup(a_stepping_guest_gets_its_trap, setup),
		cmocka_unit_test_setup(exceptions_that_exit_are_delivered, setup),
		cmocka_unit_test_setup(halt_without_a_chip_is_the_vmms, setup),
		cmocka_unit_test_setup(an_eoi_is_told_to_the_vmm, setup),
		cmocka_unit_test_setup(a_resampled_line_is_told_to_the_driver, setup),
		cmocka_unit_test_setup(halt_with_a_chip_sleeps, setup),
		cmocka_unit_test_setup(a_halt_with_work_goes_on, setup),
		cmocka_unit_test_setup(interrupts_off_halt_for_good, setup),
		cmocka_unit_test_setup(deadlines_arm_the_callers_timer, setup),
		cmocka_unit_test_setup(the_backends_timer_stands_for_the_callers, setup),
		cmocka_unit_test_setup(a_halted_vcpu_tells_its_deadline, setup),
		cmocka_unit_test_setup(the_clock_is_updated_on_request, setup),
		cmocka_unit_test_setup(a_clock_without_its_page_asks_for_it, setup),
		cmocka_unit_test_setup(pdptes_are_loaded_before_an_entry, setup),
		cmocka_unit_test_setup(a_flush_request_flushes, setup),
		cmocka_unit_test_setup(application_processors_wait, setup),
		cmocka_unit_test_setup(init_of_the_boot_processor_restarts_it, setup),
		cmocka_unit_test_setup(accept_init_without_an_entry, setup),
		cmocka_unit_test_setup(kicks_reach_the_guest, setup),
		cmocka_unit_test_setup(no_interrupt_to_oneself_or_without_a_vector, setup),
		cmocka_unit_test_setup(waking_another_ends_the_run, setup),
		cmocka_unit_test_setup(a_stopped_vm_does_not_run, setup),
		cmocka_unit_test_setup(stopping_ends_a_run, setup),
		cmocka_unit_test_setup(a_low_pool_says_memory, setup),
		cmocka_unit_test_setup(requests_without_end_do_not_hold_the_cpu, setup),
		cmocka_unit_test_setup(a_page_of_its_own, setup),
		cmocka_unit_test_setup(faults_go_to_the_management_guest, setup),
		cmocka_unit_test_setup(a_dirty_log_fault_is_settled_inside, setup),
		cmocka_unit_test_setup(what_the_processor_logged_is_dirty, setup),
		cmocka_unit_test_setup(no_slot_is_mmio, setup),
		cmocka_unit_test_setup(tables_in_read_only_memory, setup),
		cmocka_unit_test_setup(an_mmio_read_takes_the_answer, setup),
		cmocka_unit_test_setup(read_only_slots, setup),
		cmocka_unit_test_setup(what_cannot_be_emulated_is_told, setup),
		cmocka_unit_test_setup(user_code_that_cannot_be_emulated_faults, setup),
		cmocka_unit_test_setup(every_exit_is_counted_and_timed, setup),
		cmocka_unit_test_setup(the_chips_cr8_and_the_processors, setup),
		cmocka_unit_test_setup(flush_wait_sees_every_cpu_leave, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
