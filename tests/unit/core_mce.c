/* SPDX-License-Identifier: MIT */
/* Machine checks that the VMM injects: what is recorded, what is raised, what is refused. */
#include "tests/unit/core_machine.h"

#include "core/mce.h"

#define VALID	    BIT(63)
#define OVERFLOWED  BIT(62)
#define UNCORRECTED BIT(61)
#define CORRUPT	    BIT(57)
#define MCIP	    BIT(2)
#define CTL_P	    BIT(8)
#define SER_P	    BIT(24)

static int setup(void **state)
{
	machine_init();
	set_reg(VREG_CR4, CR4_PAE | CR4_MCE);
	assert_int_equal(mce_setup(vcpu, 4 | CTL_P | SER_P), 0);
	return 0;
}

static const u64 *bank(u32 number)
{
	return &vcpu->msr.mc[4 * number];
}

static int inject(u32 number, u64 status, u64 mcg_status)
{
	return mce_inject(vcpu, &(struct machine_check){.status = status,
							.address = 0xadd0 + number,
							.misc = 0x315c,
							.mcg_status = mcg_status,
							.bank = number});
}

static void what_can_be_set_up(void **state)
{
	assert_int_equal(mce_supported(), CTL_P | SER_P);
	assert_int_equal(mce_setup(vcpu, 0), -EINVAL);
	assert_int_equal(mce_setup(vcpu, 33), -EINVAL);
	assert_int_equal(mce_setup(vcpu, 5 | BIT(60)), -EINVAL);
	assert_int_equal(mce_setup(vcpu, 5 | BIT(27)), -EINVAL);
	assert_int_equal(vcpu->msr.mcg_cap, 4 | CTL_P | SER_P);
	assert_int_equal(mce_setup(vcpu, 32 | CTL_P | SER_P | 0xff << 16), 0);
	assert_int_equal(vcpu->msr.mcg_ctl, ~0ull);
	assert_int_equal(bank(31)[0], ~0ull);
}

static void what_is_refused(void **state)
{
	assert_int_equal(inject(4, VALID, 0), -EINVAL);
	assert_int_equal(inject(255, VALID, 0), -EINVAL);
	assert_int_equal(inject(0, ~VALID, 0), -EINVAL);
	assert_int_equal(bank(0)[1], 0);
}

static void a_corrected_error_is_recorded(void **state)
{
	assert_int_equal(inject(3, VALID | 7, MCIP), 0);
	assert_int_equal(bank(3)[1], VALID | 7);
	assert_int_equal(bank(3)[2], 0xadd3);
	assert_int_equal(bank(3)[3], 0x315c);
	assert_int_equal(vcpu->msr.mcg_status, 0);
	assert_false(vcpu->events.exception.pending);
	assert_int_equal(inject(3, VALID | 8, 0), 0);
	assert_int_equal(bank(3)[1], VALID | OVERFLOWED | 8);
}

static void an_uncorrected_error_is_raised(void **state)
{
	assert_int_equal(inject(1, VALID | UNCORRECTED | CORRUPT, MCIP), 0);
	assert_int_equal(bank(1)[1], VALID | UNCORRECTED | CORRUPT);
	assert_int_equal(vcpu->msr.mcg_status, MCIP);
	assert_true(vcpu->events.exception.pending);
	assert_int_equal(vcpu->events.exception.vector, 18);
	assert_false(vcpu->request & REQUEST_TRIPLE_FAULT);
	/* A corrected one behind it does not hide it. */
	assert_int_equal(inject(1, VALID | 9, 0), 0);
	assert_int_equal(bank(1)[1], VALID | OVERFLOWED | UNCORRECTED | CORRUPT);
	/* A second one while the guest handles the first. */
	assert_int_equal(inject(2, VALID | UNCORRECTED | CORRUPT, MCIP), 0);
	assert_true(vcpu->request & REQUEST_TRIPLE_FAULT);
	assert_int_equal(bank(2)[1], 0);
}

static void a_guest_without_mce_shuts_down(void **state)
{
	set_reg(VREG_CR4, CR4_PAE);
	assert_int_equal(inject(0, VALID | UNCORRECTED, MCIP), 0);
	assert_true(vcpu->request & REQUEST_TRIPLE_FAULT);
	assert_false(vcpu->events.exception.pending);
}

static void reporting_can_be_off(void **state)
{
	vcpu->msr.mcg_ctl = 0;
	assert_int_equal(inject(0, VALID | UNCORRECTED, MCIP), 0);
	assert_int_equal(bank(0)[1], 0);
	vcpu->msr.mcg_ctl = ~0ull;
	vcpu->msr.mc[0] = 0;
	assert_int_equal(inject(0, VALID | UNCORRECTED, MCIP), 0);
	assert_int_equal(bank(0)[1], 0);
	assert_false(vcpu->events.exception.pending);
	assert_int_equal(vcpu->request & REQUEST_TRIPLE_FAULT, 0);
}

static void what_needs_no_action_is_only_recorded(void **state)
{
	assert_int_equal(inject(0, VALID | UNCORRECTED, 0), 0);
	assert_int_equal(bank(0)[1], VALID | UNCORRECTED);
	assert_false(vcpu->events.exception.pending);
	assert_int_equal(inject(0, VALID | UNCORRECTED | BIT(56), 0), 0);
	assert_true(vcpu->events.exception.pending);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(what_can_be_set_up, setup),
		cmocka_unit_test_setup(what_is_refused, setup),
		cmocka_unit_test_setup(a_corrected_error_is_recorded, setup),
		cmocka_unit_test_setup(an_uncorrected_error_is_raised, setup),
		cmocka_unit_test_setup(a_guest_without_mce_shuts_down, setup),
		cmocka_unit_test_setup(reporting_can_be_off, setup),
		cmocka_unit_test_setup(what_needs_no_action_is_only_recorded, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
