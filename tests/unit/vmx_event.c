// SPDX-License-Identifier: MIT
/* Injection, windows, switchable exits, what an exit cut short, pending debug exceptions. */
#include "tests/unit/vmx.h"

static const struct virt_event none = {.type = EVENT_NONE};
static const struct virt_event intr = {.type = EVENT_INTR, .vector = 0x31};
static const struct virt_event nmi = {.type = EVENT_NMI, .vector = 2};
static const struct virt_event int80 = {.type = EVENT_SOFT_INTR, .vector = 0x80, .insn_len = 2};
static const struct virt_event int3 = {.type = EVENT_EXCEPTION, .vector = 3, .insn_len = 1};

static void load(void)
{
	vmx_load(&vcpu, &cpu0);
}

static void encoding(void **state)
{
	static const struct {
		struct virt_event event;
		u32 info, error, length;
	} cases[] = {
		{{.type = EVENT_INTR, .vector = 0x31}, 0x80000031, 0, 0},
		{{.type = EVENT_NMI, .vector = 2}, 0x80000202, 0, 0},
		{{.type = EVENT_EXCEPTION, .vector = 1}, 0x80000301, 0, 0},
		{{.type = EVENT_EXCEPTION, .vector = 6}, 0x80000306, 0, 0},
		{{.type = EVENT_EXCEPTION, .vector = 14, .has_error = true, .error = 7},
		 0x80000b0e,
		 7,
		 0},
		{{.type = EVENT_EXCEPTION, .vector = 3, .insn_len = 1}, 0x80000603, 0, 1},
		{{.type = EVENT_EXCEPTION, .vector = 4, .insn_len = 1}, 0x80000604, 0, 1},
		{{.type = EVENT_SOFT_INTR, .vector = 0x80, .insn_len = 2}, 0x80000480, 0, 2},
		/* INT 3 and INT 4 of two bytes are software interrupts. */
		{{.type = EVENT_SOFT_INTR, .vector = 3, .insn_len = 2}, 0x80000403, 0, 2},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		put_field(VMCS_ENTRY_ERROR_CODE, 0);
		put_field(VMCS_ENTRY_INSN_LEN, 0);
		vmx_inject(&vcpu, &cases[i].event);
		assert_int_equal(field(VMCS_ENTRY_INTR_INFO), cases[i].info);
		assert_int_equal(field(VMCS_ENTRY_ERROR_CODE), cases[i].error);
		assert_int_equal(field(VMCS_ENTRY_INSN_LEN), cases[i].length);
		assert_true(vmx_of(&vcpu)->injected);
	}
}

/* An error code that the entry would refuse is left out. */
static void error_codes(void **state)
{
	struct virt_event event = {
		.type = EVENT_EXCEPTION, .vector = VECTOR_CP, .has_error = true, .error = 1};

	vmx_inject(&vcpu, &event);
	assert_int_equal(field(VMCS_ENTRY_INTR_INFO), 0x80000b15);
	vmx_features.any_error_code = false;
	vmx_inject(&vcpu, &event);
	assert_int_equal(field(VMCS_ENTRY_INTR_INFO), 0x80000315);
	event.vector = VECTOR_GP;
	vmx_inject(&vcpu, &event);
	assert_int_equal(field(VMCS_ENTRY_INTR_INFO), 0x80000b0d);
}

static void taken_back(void **state)
{
	vmx_inject(&vcpu, &none);
	assert_int_equal(vmwrites, 0);
	vmx_inject(&vcpu, &intr);
	vmx_inject(&vcpu, &none);
	assert_int_equal(field(VMCS_ENTRY_INTR_INFO), 0);
	assert_int_equal(vmwrites, 2);
	vmx_inject(&vcpu, &none);
	assert_int_equal(vmwrites, 2);
}

static void consumed(void **state)
{
	load();
	vmx_inject(&vcpu, &intr);
	set_exit(VMX_CPUID, 0);
	assert_int_equal(enter()->vectoring.type, EVENT_NONE);
	assert_int_equal(entered_field(VMCS_ENTRY_INTR_INFO), 0x80000031);
	enter();
	assert_false(entered_field(VMCS_ENTRY_INTR_INFO) & INTR_VALID);
	/* Root's own NMI came first: nothing was entered, so nothing was delivered. */
	vmx_inject(&vcpu, &intr);
	cpu0.root_flags = CPU_ROOT_NMI;
	assert_int_equal(enter()->reason, EXIT_NMI);
	assert_int_equal(last.vectoring.type, EVENT_INTR);
	assert_int_equal(last.vectoring.vector, 0x31);
	assert_int_equal(field(VMCS_ENTRY_INTR_INFO), 0);
}

/* The VMCS is another processor's until it is made current. */
static void other_vmcs_current(void **state)
{
	vmx_release(&vcpu);
	vmx_inject(&vcpu, &intr);
	assert_int_equal(vmptrlds, 1);
	vmx_release(&vcpu);
	vmx_intercept(&vcpu, INTERCEPT_INTR_WINDOW);
	assert_int_equal(vmptrlds, 2);
}

static const struct virt_event *cut_short(u32 info, u32 error, u32 length)
{
	put_field(VMCS_VECTORING_INFO, info);
	put_field(VMCS_VECTORING_ERROR, error);
	put_field(VMCS_EXIT_INSN_LEN, length);
	memset(&last, 0xa5, sizeof(last));
	vmx_decode_vectoring(&vcpu, &last.vectoring);
	return &last.vectoring;
}

static void vectoring(void **state)
{
	static const struct {
		u32 info;
		u8 type, vector;
		bool has_error;
	} cases[] = {
		{0x80000031, EVENT_INTR, 0x31, false},	 {0x80000202, EVENT_NMI, 2, false},
		{0x80000b0e, EVENT_EXCEPTION, 14, true}, {0x80000306, EVENT_EXCEPTION, 6, false},
		{0x80001306, EVENT_EXCEPTION, 6, false}, /* bit 12 is undefined */
		{0x80000480, EVENT_NONE, 0, false},	 /* INT n: executes again */
		{0x80000501, EVENT_NONE, 0, false},	 /* INT1 */
		{0x80000603, EVENT_NONE, 0, false},	 /* INT3 */
		{0x80000604, EVENT_NONE, 0, false},	 /* INTO */
		{0x00000b0e, EVENT_NONE, 0, false},	 /* not valid */
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct virt_event *event = cut_short(cases[i].info, 7, 2);

		assert_int_equal(event->type, cases[i].type);
		if (event->type == EVENT_NONE)
			continue;
		assert_int_equal(event->vector, cases[i].vector);
		assert_int_equal(event->has_error, cases[i].has_error);
		assert_int_equal(event->error, cases[i].has_error ? 7 : 0);
		assert_int_equal(event->insn_len, 0);
	}
}

/* An INT n or INT3 that Keel injected comes back: the instruction need not be in memory. */
static void injected_soft_event(void **state)
{
	vmx_inject(&vcpu, &int80);
	assert_int_equal(cut_short(0x80000480, 0, 2)->type, EVENT_SOFT_INTR);
	assert_int_equal(last.vectoring.vector, 0x80);
	assert_int_equal(last.vectoring.insn_len, 2);
	vmx_inject(&vcpu, &int3);
	assert_int_equal(cut_short(0x80000603, 0, 1)->type, EVENT_EXCEPTION);
	assert_int_equal(last.vectoring.vector, 3);
	assert_int_equal(last.vectoring.insn_len, 1);
	/* The handler of an interrupt was reached, and its own INT n was cut short. */
	vmx_inject(&vcpu, &intr);
	assert_int_equal(cut_short(0x80000480, 0, 2)->type, EVENT_NONE);
}

/* Through a whole exit: run.c must still know that the event was injected. */
static void injected_soft_event_at_an_exit(void **state)
{
	load();
	vmx_inject(&vcpu, &int80);
	put_field(VMCS_VECTORING_INFO, 0x80000480);
	put_field(VMCS_EXIT_INSN_LEN, 2);
	set_exit(VMX_EPT_VIOLATION, 1);
	assert_int_equal(enter()->vectoring.type, EVENT_SOFT_INTR);
	assert_int_equal(enter()->vectoring.type, EVENT_NONE); /* now it is the guest's own */
}

static void nmi_cut_short(void **state)
{
	vmx_inject(&vcpu, &nmi);
	put_field(VMCS_GUEST_INTERRUPTIBILITY, BLOCKED_BY_NMI);
	assert_int_equal(cut_short(0x80000202, 0, 0)->type, EVENT_NMI);
	assert_int_equal(field(VMCS_GUEST_INTERRUPTIBILITY), 0);
	/* An exception inside of the NMI handler leaves it masked. */
	put_field(VMCS_GUEST_INTERRUPTIBILITY, BLOCKED_BY_NMI);
	cut_short(0x80000b0e, 0, 0);
	assert_int_equal(field(VMCS_GUEST_INTERRUPTIBILITY), BLOCKED_BY_NMI);
}

static u32 cpu_controls(void)
{
	return field(VMCS_CPU_CONTROLS);
}

static void windows(void **state)
{
	vmx_intercept(&vcpu, INTERCEPT_INTR_WINDOW);
	assert_true(cpu_controls() & CPU_INTR_WINDOW);
	assert_false(cpu_controls() & CPU_NMI_WINDOW);
	assert_false(vcpu.nmi_window);
	assert_int_equal(vcpu.intercept_set, INTERCEPT_INTR_WINDOW);
	assert_int_equal(vmwrites, 1);
	vmx_intercept(&vcpu, INTERCEPT_INTR_WINDOW);
	assert_int_equal(vmwrites, 1);
	vmx_intercept(&vcpu, INTERCEPT_NMI_WINDOW);
	assert_true(cpu_controls() & CPU_NMI_WINDOW);
	assert_false(cpu_controls() & CPU_INTR_WINDOW);
	assert_true(vcpu.nmi_window);
	assert_int_equal(vmwrites, 2);
	vmx_intercept(&vcpu, 0);
	assert_false(cpu_controls() & (CPU_NMI_WINDOW | CPU_INTR_WINDOW));
}

static void switchable(void **state)
{
	u32 always = BIT(VECTOR_DB) | BIT(VECTOR_AC) | BIT(VECTOR_MC);

	assert_true(cpu_controls() & CPU_MOV_DR); /* the DRs on the processor are not the child's */
	vcpu.dr_live = true;
	vmx_intercept(&vcpu, 0);
	assert_false(cpu_controls() & (CPU_MOV_DR | CPU_CR8_LOAD));
	assert_true(cpu_controls() & CPU_HLT);
	assert_int_equal(field(VMCS_EXCEPTION_BITMAP), always);
	vmx_intercept(&vcpu, INTERCEPT_MOV_DR | INTERCEPT_DB);
	assert_true(cpu_controls() & CPU_MOV_DR);
	assert_int_equal(field(VMCS_EXCEPTION_BITMAP), always);
	vmx_intercept(&vcpu, INTERCEPT_BP);
	assert_false(cpu_controls() & CPU_MOV_DR);
	assert_int_equal(field(VMCS_EXCEPTION_BITMAP), always | BIT(VECTOR_BP));
	vmx_intercept(&vcpu, INTERCEPT_UD);
	assert_int_equal(field(VMCS_EXCEPTION_BITMAP), always | BIT(VECTOR_UD));
	vmx_intercept(&vcpu, INTERCEPT_CR8_WRITE);
	assert_int_equal(field(VMCS_EXCEPTION_BITMAP), always);
	assert_true(cpu_controls() & CPU_CR8_LOAD);
	assert_false(cpu_controls() & CPU_CR8_STORE);
}

static void switchable_management(void **state)
{
	vmx_intercept(&vcpu, 0);
	assert_false(cpu_controls() & (CPU_MOV_DR | CPU_HLT | CPU_CR8_LOAD));
	assert_false(field(VMCS_EXCEPTION_BITMAP) & BIT(VECTOR_DB));
	assert_true(field(VMCS_PIN_CONTROLS) & PIN_NMI);
	vmx_intercept(&vcpu, INTERCEPT_NMI | INTERCEPT_DB | INTERCEPT_HLT | INTERCEPT_NMI_WINDOW);
	assert_true(cpu_controls() & CPU_HLT);
	assert_true(cpu_controls() & CPU_NMI_WINDOW);
	assert_true(field(VMCS_EXCEPTION_BITMAP) & BIT(VECTOR_DB));
	vmx_intercept(&vcpu, 0);
	assert_false(cpu_controls() & (CPU_HLT | CPU_NMI_WINDOW));
	assert_false(field(VMCS_EXCEPTION_BITMAP) & BIT(VECTOR_DB));
}

static int setup_no_tpr_shadow(void **state)
{
	make_features();
	virt_features &= ~(u64)VIRT_TPR_SHADOW;
	make_vcpu(VIRT_CHILD);
	return 0;
}

/* A child's CR8 would be the processor's. */
static void no_tpr_shadow(void **state)
{
	vmx_intercept(&vcpu, INTERCEPT_CR8_WRITE);
	vmx_intercept(&vcpu, 0);
	assert_true(cpu_controls() & CPU_CR8_LOAD);
	assert_true(cpu_controls() & CPU_CR8_STORE);
}

static int setup_soft_nmi(void **state)
{
	make_features();
	virt_features &= ~(u64)VIRT_VIRTUAL_NMI;
	make_vcpu(VIRT_CHILD);
	load();
	return 0;
}

/* What an injected NMI does to a processor without virtual NMIs, until an IRET of root's. */
static void block_nmis(void)
{
	put_field(VMCS_GUEST_INTERRUPTIBILITY, BLOCKED_BY_NMI);
}

static void soft_nmi_windows(void **state)
{
	assert_false(field(VMCS_PIN_CONTROLS) & PIN_VIRTUAL_NMIS);
	vmx_intercept(&vcpu, INTERCEPT_NMI_WINDOW);
	assert_int_equal(cpu_controls() & (CPU_INTR_WINDOW | CPU_NMI_WINDOW), CPU_INTR_WINDOW);
	vmx_intercept(&vcpu, 0);
	assert_false(cpu_controls() & (CPU_INTR_WINDOW | CPU_NMI_WINDOW));
	/* For the first exit behind an injection, which may be taken back. */
	vmx_inject(&vcpu, &nmi);
	assert_true(cpu_controls() & CPU_INTR_WINDOW);
	vmx_inject(&vcpu, &none);
	assert_false(cpu_controls() & CPU_INTR_WINDOW);
	vmx_inject(&vcpu, &intr);
	assert_false(cpu_controls() & CPU_INTR_WINDOW);
}

/* Root opens NMIs again; the guest's are masked until it can take interrupts. */
static void soft_nmi(void **state)
{
	guest = block_nmis;
	set_exit(VMX_CPUID, 0);
	vmx_inject(&vcpu, &intr);
	enter();
	assert_int_equal(nmis_opened, 0);
	vmx_inject(&vcpu, &nmi);
	assert_int_equal(vmx_get(&vcpu, VREG_NMI_MASKED), 0);
	enter();
	assert_true(entered_field(VMCS_CPU_CONTROLS) & CPU_INTR_WINDOW);
	assert_false(cpu_controls() & CPU_INTR_WINDOW);
	assert_int_equal(nmis_opened, 1);
	assert_int_equal(field(VMCS_GUEST_INTERRUPTIBILITY), 0);
	assert_int_equal(vmx_get(&vcpu, VREG_NMI_MASKED), 1);
	guest = NULL;
	enter();
	assert_int_equal(nmis_opened, 1);
	put_field(VMCS_GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
	put_field(VMCS_GUEST_INTERRUPTIBILITY, BLOCKED_BY_STI);
	assert_int_equal(vmx_get(&vcpu, VREG_NMI_MASKED), 1);
	put_field(VMCS_GUEST_INTERRUPTIBILITY, 0);
	assert_int_equal(vmx_get(&vcpu, VREG_NMI_MASKED), 0);
	put_field(VMCS_GUEST_RFLAGS, RFLAGS_ONE);
	assert_int_equal(vmx_get(&vcpu, VREG_NMI_MASKED), 0);
	/* Set from outside: the processor's own blocking stays as it is. */
	vmx_set(&vcpu, VREG_NMI_MASKED, 1);
	assert_int_equal(vmx_get(&vcpu, VREG_NMI_MASKED), 1);
	assert_int_equal(field(VMCS_GUEST_INTERRUPTIBILITY), 0);
}

static void soft_nmi_cut_short(void **state)
{
	guest = block_nmis;
	vmx_inject(&vcpu, &nmi);
	put_field(VMCS_VECTORING_INFO, 0x80000202);
	set_exit(VMX_EPT_VIOLATION, 1);
	assert_int_equal(enter()->vectoring.type, EVENT_NMI);
	assert_int_equal(vmx_get(&vcpu, VREG_NMI_MASKED), 0);
	assert_int_equal(field(VMCS_GUEST_INTERRUPTIBILITY), 0);
	assert_int_equal(nmis_opened, 1);
}

static void pending_debug_exceptions(void **state)
{
	static const struct {
		u32 interruptibility, activity;
		u64 rflags, debugctl, pending, after;
	} cases[] = {
		/* not blocked, not halted: whatever is pending stays */
		{0, 0, RFLAGS_TF, 0, 0, 0},
		{0, 0, 0, 0, DR6_BS, DR6_BS},
		{BLOCKED_BY_NMI, 0, RFLAGS_TF, 0, 0, 0},
		{BLOCKED_BY_MOV_SS, 0, RFLAGS_TF, 0, 0, DR6_BS},
		{BLOCKED_BY_MOV_SS, 0, RFLAGS_TF, 0, DR6_BS | DR6_B0, DR6_BS | DR6_B0},
		{BLOCKED_BY_MOV_SS, 0, 0, 0, DR6_BS | DR6_B1, DR6_B1},
		{BLOCKED_BY_MOV_SS, 0, RFLAGS_TF, DEBUGCTL_BTF, DR6_BS, 0},
		{BLOCKED_BY_STI, 0, RFLAGS_TF | RFLAGS_IF, 0, 0, DR6_BS},
		{BLOCKED_BY_STI, 0, RFLAGS_IF, 0, DR6_BS, 0},
		{0, ACTIVITY_HLT, RFLAGS_TF, 0, 0, DR6_BS},
		{0, ACTIVITY_HLT, 0, 0, DR6_BS, 0},
		{0, ACTIVITY_HLT, 0, 0, 0, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		put_field(VMCS_GUEST_INTERRUPTIBILITY, cases[i].interruptibility);
		put_field(VMCS_GUEST_ACTIVITY, cases[i].activity);
		put_field(VMCS_GUEST_RFLAGS, cases[i].rflags | RFLAGS_ONE);
		put_field(VMCS_GUEST_DEBUGCTL, cases[i].debugctl);
		put_field(VMCS_GUEST_PENDING_DEBUG, cases[i].pending);
		vmwrites = 0;
		vmx_debug_prepare(&vcpu);
		assert_int_equal(field(VMCS_GUEST_PENDING_DEBUG), cases[i].after);
		assert_int_equal(field(VMCS_GUEST_INTERRUPTIBILITY), cases[i].interruptibility);
		assert_int_equal(vmwrites, cases[i].pending != cases[i].after);
	}
}

/* The VMM cleared IF in the shadow of STI: the shadow stays one. */
static void sti_shadow_without_if(void **state)
{
	put_field(VMCS_GUEST_INTERRUPTIBILITY, BLOCKED_BY_STI | BLOCKED_BY_NMI);
	put_field(VMCS_GUEST_RFLAGS, RFLAGS_ONE);
	vmx_debug_prepare(&vcpu);
	assert_int_equal(field(VMCS_GUEST_INTERRUPTIBILITY), BLOCKED_BY_MOV_SS | BLOCKED_BY_NMI);
	assert_int_equal(vmx_get(&vcpu, VREG_INT_SHADOW), 1);
}

#define CHILD(f) cmocka_unit_test_setup_teardown(f, setup_child, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CHILD(encoding),
		CHILD(error_codes),
		CHILD(taken_back),
		CHILD(consumed),
		CHILD(other_vmcs_current),
		CHILD(vectoring),
		CHILD(injected_soft_event),
		CHILD(injected_soft_event_at_an_exit),
		CHILD(nmi_cut_short),
		CHILD(windows),
		CHILD(switchable),
		cmocka_unit_test_setup_teardown(switchable_management, setup_management, teardown),
		cmocka_unit_test_setup_teardown(no_tpr_shadow, setup_no_tpr_shadow, teardown),
		cmocka_unit_test_setup_teardown(soft_nmi_windows, setup_soft_nmi, teardown),
		cmocka_unit_test_setup_teardown(soft_nmi, setup_soft_nmi, teardown),
		cmocka_unit_test_setup_teardown(soft_nmi_cut_short, setup_soft_nmi, teardown),
		CHILD(pending_debug_exceptions),
		CHILD(sti_shadow_without_if),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
