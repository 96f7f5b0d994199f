// SPDX-License-Identifier: MIT
/* What one entry writes into the VMCS: the preemption timer. */
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
	assert_true(last.code.known == false && last.insn_len == 0);
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
	virt_features &= ~(u64)VIRT_PREEMPT_TIMER;
	vcpu.deadline = NOW + 1000;
	enter();
	vmwrites = 0;
	enter();
	assert_false(timer_on());
	assert_int_equal(vmwrites, 0);
}

#define TIMER(f) cmocka_unit_test_setup_teardown(f, setup_timer, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TIMER(a_deadline_ends_the_run),
		TIMER(a_far_deadline_exits_early),
		TIMER(no_deadline_costs_nothing),
		TIMER(switched_off_it_is_not_used),

	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
