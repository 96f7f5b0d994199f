// SPDX-License-Identifier: MIT
/* Entries: translations, tags, what load and put move, the preemption timer, the log of writes. */
#include "tests/unit/vmx.h"

#define NOW   0x1234567u
#define SHIFT 5

static int setup_timer(void **state)
{
	make_features();
	virt_features |= VIRT_PREEMPT_TIMER;
	vmx_features.misc = SHIFT;
	virt_check_entry = false;
	make_vcpu(VIRT_CHILD);
	fake_tsc_step = 0;
	fake_tsc = NOW;
	vcpu.deadline = NO_DEADLINE;
	vmx_load(&vcpu, &cpu0);
	set_exit(VMX_EXTERNAL_INTR, 0);
	return 0;
}

static bool timer_on(void)
{
	return entered_field(VMCS_PIN_CONTROLS) & PIN_PREEMPTION_TIMER;
}

/* What the timer does: 0 exits at once; else it counts each change of the TSC's bit SHIFT. */
static u64 tsc_at_exit(void)
{
	u64 count = entered_field(VMCS_PREEMPTION_TIMER);

	return count ? ((NOW >> SHIFT) + count) << SHIFT : NOW;
}

static u64 exit_for(u64 deadline)
{
	vcpu.deadline = deadline;
	enter();
	assert_true(timer_on());
	return tsc_at_exit();
}

static void a_deadline_ends_the_run(void **state)
{
	for (u64 deadline = NOW + 1; deadline < NOW + 100; deadline++)
		assert_in_range(exit_for(deadline), deadline, deadline + (1 << SHIFT) - 1);
	assert_int_equal(exit_for(NOW), NOW);
	assert_int_equal(exit_for(NOW - 1), NOW);
	assert_int_equal(exit_for(1), NOW);
	assert_int_equal(exit_for(0), NOW);
	set_exit(VMX_PREEMPTION_TIMER, 0);
	assert_int_equal(enter()->reason, EXIT_PREEMPT_TIMER);
	assert_true(!last.code_known && last.insn_len == 0);
}

static void a_far_deadline_exits_early(void **state)
{
	exit_for(NOW + (0xffffffffull << SHIFT) - (1 << SHIFT));
	assert_in_range(entered_field(VMCS_PREEMPTION_TIMER), 0xfffffffe, 0xffffffff);
	exit_for(NOW + (0x100000000ull << SHIFT));
	assert_int_equal(entered_field(VMCS_PREEMPTION_TIMER), 0xffffffff);
	exit_for(NO_DEADLINE - 1);
	assert_int_equal(entered_field(VMCS_PREEMPTION_TIMER), 0xffffffff);
}

/* The control is on while there is a deadline; without one nothing is written. */
static void no_deadline_costs_nothing(void **state)
{
	enter();
	vmwrites = 0;
	enter();
	assert_false(timer_on());
	assert_int_equal(vmwrites, 0);
	exit_for(NOW + 1000);
	vmwrites = 0;
	enter();
	assert_true(timer_on());
	assert_int_equal(vmwrites, 1); /* the value is new at each entry */
	vcpu.deadline = NO_DEADLINE;
	enter();
	assert_false(timer_on());
	vmwrites = 0;
	enter();
	assert_int_equal(vmwrites, 0);
}

static void switched_off_it_is_not_used(void **state)
{
	use_features(virt_features & ~(u64)VIRT_PREEMPT_TIMER);
	vcpu.deadline = NOW + 1000;
	enter();
	vmwrites = 0;
	enter();
	assert_false(timer_on());
	assert_int_equal(vmwrites, 0);
}

static u32 msr_writes;

void wrmsr(u32 index, u64 value)
{
	msr_writes++;
	fake_msr_set(index, value);
}

static int setup_run(void **state)
{
	setup_child(state);
	vcpu.deadline = NO_DEADLINE;
	vmx_load(&vcpu, &cpu0);
	set_exit(VMX_EXTERNAL_INTR, 0);
	return 0;
}

static void make_other(struct virt_vcpu *other, struct virt_vm *its_vm)
{
	assert_int_equal(vmx_vcpu_init(other, its_vm, NULL), 0);
	other->deadline = NO_DEADLINE;
	vmcs = fake_vmcs_at(other->hw_hpa);
	for (u32 i = VMCS_INSN_ERROR; i <= VMCS_EXIT_INSN_INFO; i += 2)
		put_field(i, 0);
	set_exit(VMX_EXTERNAL_INTR, 0);
	vmcs = fake_vmcs_at(vcpu.hw_hpa);
}

static void run_other(struct virt_vcpu *from, struct virt_vcpu *to)
{
	vmx_swap(from, to, &cpu0);
	vmx_run(to, &last);
}

/* As core/ does when a vCPU's thread goes to another processor. */
static void move(struct cpu *cpu)
{
	vmx_put(&vcpu);
	vmx_release(&vcpu);
	here = cpu;
	vmx_load(&vcpu, cpu);
}

static void guest_moves(void)
{
	put_field(VMCS_GUEST_RIP, 0x1003);
	put_field(VMCS_GUEST_RSP, 0x1ff8);
}

static void registers(void **state)
{
	vcpu.rip = 0x1000;
	vcpu.gpr[GPR_RSP] = 0x2000;
	guest = guest_moves;
	enter();
	assert_int_equal(entered_field(VMCS_GUEST_RIP), 0x1000);
	assert_int_equal(entered_field(VMCS_GUEST_RSP), 0x2000);
	assert_int_equal(vcpu.rip, 0x1003);
	assert_int_equal(vcpu.gpr[GPR_RSP], 0x1ff8);
	guest = NULL;
	vmwrites = 0;
	enter();
	assert_int_equal(vmwrites, 0);
	vcpu.rip = 0x1005;
	enter();
	assert_int_equal(entered_field(VMCS_GUEST_RIP), 0x1005);
	assert_int_equal(vmwrites, 1);
}

static void translations_are_kept(void **state)
{
	enter();
	assert_int_equal(entered_field(VMCS_VPID), 1);
	assert_int_equal(invepts, 1); /* those from before it came to this processor */
	assert_int_equal(invept_type, INVALIDATE_SINGLE);
	assert_int_equal(invept_eptp, vmx_of(&vcpu)->eptp);
	enter();
	vmx_put(&vcpu);
	vmx_load(&vcpu, &cpu0);
	enter();
	assert_int_equal(entered_field(VMCS_VPID), 1);
	assert_int_equal(invepts, 1);
	assert_int_equal(invvpids, 0);
}

static void a_changed_ept_is_flushed(void **state)
{
	enter();
	vm.slat_generation++;
	enter();
	assert_int_equal(invepts, 2);
	assert_int_equal(invept_type, INVALIDATE_SINGLE);
	enter();
	assert_int_equal(invepts, 2); /* once */
	vmx_features.ept_vpid &= ~(u64)EPT_CAP_INVEPT_SINGLE;
	vm.slat_generation++;
	enter();
	assert_int_equal(invepts, 3);
	assert_int_equal(invept_type, INVALIDATE_ALL);
	assert_int_equal(invept_eptp, 0);
	assert_int_equal(entered_field(VMCS_VPID), 1);
	assert_int_equal(invvpids, 0); /* INVEPT drops what the tags have of it too */
}

static void a_vcpus_own_flush(void **state)
{
	enter();
	vcpu.flush = true;
	enter();
	assert_false(vcpu.flush);
	assert_int_equal(invvpids, 1);
	assert_int_equal(invvpid_type, INVALIDATE_SINGLE);
	assert_int_equal(invvpid_vpid, 1);
	enter();
	assert_int_equal(invvpids, 1);
	vmx_features.ept_vpid &= ~(u64)EPT_CAP_INVVPID_SINGLE;
	vcpu.flush = true;
	enter();
	assert_int_equal(invvpids, 2);
	assert_int_equal(invvpid_type, INVALIDATE_ALL);
	assert_int_equal(invepts, 1);
}

/* Each entry flushes then: no tag is written, and no INVVPID is needed. */
static void without_vpids(void **state)
{
	use_features(virt_features & ~(u64)VIRT_VPID);
	put_field(VMCS_VPID, 0);
	enter();
	vcpu.flush = true;
	enter();
	assert_false(vcpu.flush);
	assert_int_equal(entered_field(VMCS_VPID), 0);
	assert_int_equal(invvpids, 0);
	vm.slat_generation++;
	enter();
	assert_int_equal(invepts, 2);
}

static void another_processor(void **state)
{
	enter();
	assert_int_equal(entered_field(VMCS_HOST_GDTR_BASE), (u64)tables0.gdt);
	cpu1.asid_next = 7;
	move(&cpu1);
	enter();
	assert_int_equal(entered_field(VMCS_VPID), 7);
	assert_int_equal(invepts, 2);
	assert_int_equal(entered_field(VMCS_HOST_GDTR_BASE), (u64)tables1.gdt);
	assert_int_equal(entered_field(VMCS_HOST_TR_BASE), (u64)&tables1.tss);
	move(&cpu0);
	enter();
	assert_int_equal(entered_field(VMCS_VPID), 2); /* not 1: it missed what cpu1 ran */
	assert_int_equal(invepts, 3);
	assert_int_equal(entered_field(VMCS_HOST_TR_BASE), (u64)&tables0.tss);
}

static void vpid_generations(void **state)
{
	struct virt_vcpu other = {0};

	make_other(&other, &vm);
	cpu0.asid_next = 15; /* of 16, 0 among them: the last */
	enter();
	assert_int_equal(entered_field(VMCS_VPID), 15);
	run_other(&vcpu, &other);
	assert_int_equal(entered_field(VMCS_VPID), 1);
	assert_int_equal(invvpids, 1);
	assert_int_equal(invvpid_type, INVALIDATE_ALL);
	assert_int_equal(cpu0.asid_generation, 2);
	/* One that has a tag of the old generation gets another, without a flush. */
	run_other(&other, &vcpu);
	assert_int_equal(entered_field(VMCS_VPID), 2);
	run_other(&vcpu, &other);
	assert_int_equal(entered_field(VMCS_VPID), 1);
	assert_int_equal(invvpids, 1);
	free(phys_ptr(other.hw_hpa));
}

static void release(void **state)
{
	struct virt_vcpu other = {0};

	enter();
	enter(); /* VMRESUME: the fake compares */
	vmx_put(&vcpu);
	vmclears = 0;
	vmx_release(&vcpu);
	assert_int_equal(vmclears, 1);
	assert_null(vmcs->active);
	assert_null(cpu0.current);
	vmx_release(&vcpu);
	assert_int_equal(vmclears, 1); /* once */
	vmx_load(&vcpu, &cpu0);
	enter(); /* VMLAUNCH again */
	assert_ptr_equal(vmcs->active, &cpu0);
	/* Another's is current: it stays so. */
	make_other(&other, &vm);
	vmx_put(&vcpu);
	vmx_release(&vcpu);
	assert_ptr_equal(cpu0.current, &other);
	assert_ptr_equal(fake_pointer[0], fake_vmcs_at(other.hw_hpa));
	free(phys_ptr(other.hw_hpa));
}

static void debug_registers(void **state)
{
	struct virt_vm management_vm = {.kind = VIRT_MANAGEMENT, .slat_root = HPA(0x6000)};
	struct virt_vcpu management = {0};

	assert_int_equal(vmx_vm_init(&management_vm, NULL), 0);
	make_other(&management, &management_vm);
	management.dr_live = true;
	cpu0.dr_owner = &management;
	fake_dr[0] = 0xa0;
	fake_dr[3] = 0xa3;
	fake_dr[6] = 0xffff4ff0;
	enter(); /* a child that does not use them */
	assert_int_equal(fake_dr[0], 0xa0);
	assert_ptr_equal(cpu0.dr_owner, &management);
	vcpu.dr_live = true;
	vcpu.dr[0] = 0xc0;
	vcpu.dr[3] = 0xc3;
	vmx_set(&vcpu, VREG_DR6, 0xffff0ff1);
	enter();
	assert_int_equal(fake_dr[0], 0xc0);
	assert_int_equal(fake_dr[3], 0xc3);
	assert_int_equal(fake_dr[6], 0xffff0ff1);
	assert_int_equal(management.dr[0], 0xa0);
	assert_int_equal(management.dr[3], 0xa3);
	assert_int_equal(vmx_of(&management)->dr6, 0xffff4ff0);
	fake_dr[1] = 0xc1; /* the child writes them */
	fake_dr[6] = 0xffff0ff2;
	vmx_put(&vcpu);
	assert_int_equal(vcpu.dr[1], 0xc1);
	assert_int_equal(vmx_get(&vcpu, VREG_DR6), 0xffff0ff2);
	assert_null(cpu0.dr_owner);
	vmx_load(&management, &cpu0);
	vmx_run(&management, &last);
	assert_int_equal(fake_dr[0], 0xa0);
	assert_int_equal(fake_dr[6], 0xffff4ff0);
	vmx_put(&management);
	assert_ptr_equal(cpu0.dr_owner, &management); /* its own stay */
	free(phys_ptr(management.hw_hpa));
	free(management_vm.msr_map);
}

/* What neither the VMCS nor an entry switches; only what differs is written. */
static void cr2_and_msrs(void **state)
{
	struct virt_vcpu other = {0};

	make_other(&other, &vm);
	vmx_set(&other, VREG_CR2, 0x2222);
	vmx_set(&other, VREG_LSTAR, 0x3333);
	vmx_set(&other, VREG_KERNEL_GS_BASE, 0x4444);
	assert_int_equal(fake_msr_get(MSR_LSTAR), 0); /* it is not loaded */
	fake_cr[2] = 0x5555;			      /* the guest's own changes */
	fake_msr_set(MSR_KERNEL_GS_BASE, 0x8888);     /* by SWAPGS */
	vmx_set(&vcpu, VREG_LSTAR, 0x6666);	      /* WRMSR exits */
	vmx_set(&vcpu, VREG_STAR, 0x7777);
	msr_writes = 0;
	vmx_swap(&vcpu, &other, &cpu0);
	assert_int_equal(fake_cr[2], 0x2222);
	assert_int_equal(fake_msr_get(MSR_LSTAR), 0x3333);
	assert_int_equal(fake_msr_get(MSR_KERNEL_GS_BASE), 0x4444);
	assert_int_equal(fake_msr_get(MSR_STAR), 0);
	assert_int_equal(msr_writes, 3);
	assert_int_equal(vmx_get(&vcpu, VREG_CR2), 0x5555);
	assert_int_equal(vmx_get(&vcpu, VREG_LSTAR), 0x6666);
	vmx_swap(&other, &vcpu, &cpu0);
	assert_int_equal(fake_cr[2], 0x5555);
	assert_int_equal(fake_msr_get(MSR_LSTAR), 0x6666);
	assert_int_equal(fake_msr_get(MSR_STAR), 0x7777);
	assert_int_equal(fake_msr_get(MSR_KERNEL_GS_BASE), 0x8888);
	fake_msr_set(MSR_KERNEL_GS_BASE, 0x9999);
	vmx_put(&vcpu);
	assert_int_equal(vmx_get(&vcpu, VREG_KERNEL_GS_BASE), 0x9999);
	msr_writes = 0;
	vmx_load(&vcpu, &cpu0);
	assert_int_equal(msr_writes, 0);
	free(phys_ptr(other.hw_hpa));
}

/* core/ reads it while the vCPU is not loaded. */
static void cr8_is_told_when_it_leaves(void **state)
{
	struct virt_vcpu other = {0};

	virt_features |= VIRT_TPR_SHADOW;
	make_other(&other, &vm);
	vmx_of(&vcpu)->virtual_apic[VIRTUAL_APIC_TPR] = 0x9f;
	vmx_swap(&vcpu, &other, &cpu0);
	assert_int_equal(vcpu.cr8, 9);
	vmx_of(&other)->virtual_apic[VIRTUAL_APIC_TPR] = 0x30;
	vmx_put(&other);
	assert_int_equal(other.cr8, 3);
	free(phys_ptr(other.hw_hpa));
	vmx_load(&vcpu, &cpu0);
}

/* Root took one before the entry: nothing was delivered, and core/ gets it back. */
static void an_nmi_first(void **state)
{
	struct virt_event event = {.type = EVENT_EXCEPTION, .vector = 14, .has_error = true};

	event.error = 6;
	vcpu.rip = 0x1000;
	vmx_inject(&vcpu, &event);
	cpu0.root_flags = CPU_ROOT_NMI;
	enter();
	assert_int_equal(entries, 0);
	assert_int_equal(last.reason, EXIT_NMI);
	assert_int_equal(last.insn_len, 0);
	assert_int_equal(last.vectoring.type, EVENT_EXCEPTION);
	assert_int_equal(last.vectoring.vector, 14);
	assert_true(last.vectoring.has_error);
	assert_int_equal(last.vectoring.error, 6);
	assert_int_equal(vcpu.rip, 0x1000);
	assert_false(vcpu.quiet);
	enter();
	assert_int_equal(last.vectoring.type, EVENT_NONE); /* once */
	cpu0.root_flags = 0;
	enter();
	assert_int_equal(entered_field(VMCS_ENTRY_INTR_INFO), 0);
	assert_int_equal(entered_field(VMCS_GUEST_RIP), 0x1000);
}

static void a_refused_instruction(void **state)
{
	vmx_inject(&vcpu, &(struct virt_event){.type = EVENT_INTR, .vector = 0x31});
	vcpu.rip = 0x1000;
	refusal = VMX_FAILED;
	put_field(VMCS_INSN_ERROR, 7);
	enter();
	assert_int_equal(last.reason, EXIT_INVALID);
	assert_int_equal(last.raw, 7);
	assert_int_equal(last.vectoring.type, EVENT_NONE); /* it still waits */
	assert_int_equal(vcpu.rip, 0x1000);
	refusal = 0;
	enter(); /* by VMLAUNCH */
	assert_int_equal(entered_field(VMCS_ENTRY_INTR_INFO), INTR_VALID | 0x31);
}

static void a_refused_guest_state(void **state)
{
	vmx_inject(&vcpu, &(struct virt_event){.type = EVENT_INTR, .vector = 0x31});
	set_exit(EXIT_REASON_ENTRY_FAILED | VMX_INVALID_GUEST_STATE, 0);
	assert_int_equal(enter()->reason, EXIT_INVALID);
	assert_true(vmx_of(&vcpu)->injected);
	set_exit(VMX_EXTERNAL_INTR, 0);
	assert_int_equal(enter()->reason, EXIT_INTR); /* by VMLAUNCH */
	assert_int_equal(entered_field(VMCS_ENTRY_INTR_INFO), INTR_VALID | 0x31);
	assert_false(vmx_of(&vcpu)->injected);
}

static void nmi_in_root(void **state)
{
	cpu0.sleep_begin = cpu0.sleep_end = 0;
	vmx_take_nmi(&cpu0, false);
	assert_int_equal(nmis_opened, 1);
	assert_int_equal(cpu0.sleep_begin, 0);
	vmx_take_nmi(&cpu0, true);
	assert_int_equal(nmis_opened, 1);
	assert_int_equal(cpu0.sleep_begin, (u64)vmx_check_begin);
	assert_int_equal(cpu0.sleep_end, (u64)vmx_check_end);
}

/* ---- page-modification logging ---- */

static u64 *guest_log; /* where the processor writes */

static int setup_log(void **state)
{
	make_features();
	virt_features |= VIRT_PML | VIRT_SLAT_AD;
	virt_check_entry = false;
	make_vcpu(VIRT_CHILD);
	vcpu.deadline = NO_DEADLINE;
	vmx_load(&vcpu, &cpu0);
	set_exit(VMX_EXTERNAL_INTR, 0);
	return 0;
}

static void change_logs(u32 count)
{
	vm.dirty_logs = count;
	vm.slat_generation++;
}

static bool log_on(void)
{
	bool on = entered_field(VMCS_CPU_CONTROLS2) & CPU2_PML, flags = on || vm.slat_accessed;

	assert_int_equal(entered_field(VMCS_EPTP), vm.slat_root.v | 6 | 3 << 3 | flags << 6);
	return on;
}

/* The processor logs `count` pages, from the index downwards. */
static u32 pages_to_log;

static void logging_guest(void)
{
	u16 index = field(VMCS_GUEST_PML_INDEX);

	for (u32 i = 0; i < pages_to_log; i++) {
		assert_in_range(index, 0, 511);
		guest_log[index--] = (u64)i << PAGE_SHIFT;
	}
	put_field(VMCS_GUEST_PML_INDEX, index);
}

static void the_log_is_on_while_a_slot_needs_it(void **state)
{
	enter();
	assert_false(log_on());
	change_logs(1);
	invepts = 0;
	enter();
	assert_true(log_on());
	assert_int_equal(invepts, 1);
	assert_int_equal(invept_eptp, entered_field(VMCS_EPTP));
	assert_int_equal(entered_field(VMCS_GUEST_PML_INDEX), 511);
	change_logs(2);
	vmwrites = 0;
	enter();
	assert_true(log_on());
	assert_int_equal(vmwrites, 0);
	change_logs(0);
	enter();
	assert_false(log_on());
}

/* Without a log, and on beside one that comes and goes. */
static void accessed_flags_are_on_once_looked_at(void **state)
{
	enter();
	assert_false(log_on());
	vm.slat_accessed = true;
	change_logs(0);
	invepts = 0;
	enter();
	assert_false(log_on());
	assert_int_equal(invepts, 1);
	assert_int_equal(invept_eptp, entered_field(VMCS_EPTP));
	change_logs(1);
	enter();
	assert_true(log_on());
	change_logs(0);
	enter();
	assert_false(log_on());
}

static void switched_off_accessed_flags_stay_off(void **state)
{
	free_vcpu();
	virt_features &= ~(u64)VIRT_SLAT_AD;
	make_vcpu(VIRT_CHILD);
	vcpu.deadline = NO_DEADLINE;
	vmx_load(&vcpu, &cpu0);
	set_exit(VMX_EXTERNAL_INTR, 0);
	vm.slat_accessed = true;
	change_logs(0);
	enter();
	assert_int_equal(entered_field(VMCS_EPTP), vm.slat_root.v | 6 | 3 << 3);
}

static void what_was_written_is_told(void **state)
{
	static const u32 counts[] = {1, 0, 3, 512, 511, 0, 512};

	change_logs(1);
	enter();
	assert_int_equal(vcpu.written_count, 0);
	guest_log = phys_ptr(HPA(entered_field(VMCS_PML_ADDRESS)));
	guest = logging_guest;
	for (u32 i = 0; i < ARRAY_SIZE(counts); i++) {
		u64 seen = 0;

		vcpu.written_count = 0;
		pages_to_log = counts[i];
		enter();
		assert_int_equal(entered_field(VMCS_GUEST_PML_INDEX), 511);
		assert_int_equal(vcpu.written_count, counts[i]);
		for (u32 k = 0; k < counts[i]; k++)
			seen += vcpu.written[k] >> PAGE_SHIFT;
		assert_int_equal(seen, (u64)counts[i] * (counts[i] - 1) / 2);
	}
	set_exit(VMX_PML_FULL, 0);
	assert_int_equal(enter()->reason, EXIT_PML_FULL);
}

static void a_vcpu_that_moves_takes_its_log_along(void **state)
{
	change_logs(1);
	enter();
	vmx_put(&vcpu);
	vmx_release(&vcpu);
	here = &cpu1;
	vmx_load(&vcpu, &cpu1);
	enter();
	assert_true(log_on());
	assert_int_equal(entered_field(VMCS_GUEST_PML_INDEX), 511);
}

static void switched_off_writes_are_not_logged(void **state)
{
	free_vcpu();
	virt_features &= ~(u64)VIRT_PML;
	make_vcpu(VIRT_CHILD);
	vcpu.deadline = NO_DEADLINE;
	vmx_load(&vcpu, &cpu0);
	set_exit(VMX_EXTERNAL_INTR, 0);
	change_logs(1);
	enter();
	assert_false(log_on());
}

#define LOG(f)	 cmocka_unit_test_setup_teardown(f, setup_log, teardown)
#define RUN(f)	 cmocka_unit_test_setup_teardown(f, setup_run, teardown)
#define TIMER(f) cmocka_unit_test_setup_teardown(f, setup_timer, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TIMER(a_deadline_ends_the_run),
		TIMER(a_far_deadline_exits_early),
		TIMER(no_deadline_costs_nothing),
		TIMER(switched_off_it_is_not_used),
		RUN(registers),
		RUN(translations_are_kept),
		RUN(a_changed_ept_is_flushed),
		RUN(a_vcpus_own_flush),
		RUN(without_vpids),
		RUN(another_processor),
		RUN(vpid_generations),
		RUN(release),
		RUN(debug_registers),
		RUN(cr2_and_msrs),
		RUN(cr8_is_told_when_it_leaves),
		RUN(an_nmi_first),
		RUN(a_refused_instruction),
		RUN(a_refused_guest_state),
		RUN(nmi_in_root),
		LOG(the_log_is_on_while_a_slot_needs_it),
		LOG(accessed_flags_are_on_once_looked_at),
		LOG(switched_off_accessed_flags_stay_off),
		LOG(what_was_written_is_told),
		LOG(a_vcpu_that_moves_takes_its_log_along),
		LOG(switched_off_writes_are_not_logged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
