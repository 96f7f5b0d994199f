// SPDX-License-Identifier: MIT
/*
 * States as core/ and VMMs set them, register by register, against the rules of the SDM's checks on
 * the guest-state area: what vmx/regs.c makes of them must be enterable on silicon.
 */
#include "arch-x86/dump.h"
#include "tests/unit/vmx.h"

static void set_real_mode(void)
{
	static const struct segment data = {.attr = SEG_P | SEG_S | 3, .limit = 0xffff};
	static const struct segment code = {.selector = 0xf000,
					    .attr = SEG_P | SEG_S | 0xb,
					    .limit = 0xffff,
					    .base = 0xffff0000};
	static const struct segment tr = {.attr = SEG_P | 0xb, .limit = 0xffff};
	static const struct segment ldtr = {.attr = SEG_P | 2, .limit = 0xffff};

	vmx_set(&vcpu, VREG_RFLAGS, RFLAGS_ONE);
	vmx_set(&vcpu, VREG_EFER, 0);
	vmx_set(&vcpu, VREG_CR0, CR0_CD | CR0_NW | CR0_ET);
	vmx_set(&vcpu, VREG_CR4, 0);
	for (u32 seg = SEG_ES; seg <= SEG_GS; seg++)
		vmx_set_segment(&vcpu, seg, seg == SEG_CS ? &code : &data);
	vmx_set_segment(&vcpu, SEG_TR, &tr);
	vmx_set_segment(&vcpu, SEG_LDTR, &ldtr);
}

static void set_long_mode(void)
{
	static const struct segment code = {
		.selector = 8, .attr = SEG_P | SEG_S | SEG_L | SEG_G | 0xa, .limit = ~0u};
	static const struct segment none = {0};

	vmx_set(&vcpu, VREG_CR4, CR4_PAE);
	vmx_set(&vcpu, VREG_EFER, EFER_LME | EFER_LMA);
	vmx_set(&vcpu, VREG_CR0, CR0_PE | CR0_PG | CR0_ET);
	for (u32 seg = SEG_ES; seg <= SEG_LDTR; seg++)
		vmx_set_segment(&vcpu, seg, seg == SEG_CS ? &code : &none);
}

static void passes(const char *what)
{
	static struct rules rules;

	memset(&rules, 0, sizeof(rules));
	vmx_broken_rules(&vcpu, &rules);
	for (u32 i = 0; i < MIN(rules.count, (u32)RULES_MAX); i++)
		if (strstr(rules.broken[i].section, "Guest")) /* others are setup.c's */
			fail_msg("%s: %s %s", what, rules.broken[i].subject, rules.broken[i].words);
}

static void reset(void **state)
{
	set_real_mode();
	passes("reset");
	vmx_set(&vcpu, VREG_INT_SHADOW, 1);
	passes("after MOV SS");
}

static void task_switch_segments(void **state)
{
	static const struct segment none = {0}, user = {.selector = 0x1b, .attr = SEG_DPL};
	static const struct segment small = {.selector = 0x28, .attr = SEG_P | 3, .limit = 0x2b};

	set_real_mode();
	vmx_set(&vcpu, VREG_CR0, CR0_PE | CR0_ET);
	for (u32 seg = SEG_ES; seg <= SEG_GS; seg++) /* core/task.c, before it loads them */
		vmx_set_segment(&vcpu, seg, seg == SEG_SS ? &user : &none);
	vmx_set_segment(&vcpu, SEG_TR, &small);
	passes("null segments");
}

static void long_mode(void **state)
{
	static const struct segment none = {0};
	static const struct segment small = {.selector = 0x28, .attr = SEG_P | 3, .limit = 0x2b};

	set_real_mode();
	vmx_set_segment(&vcpu, SEG_TR, &small);
	set_long_mode();
	passes("long mode");
	vmx_set_segment(&vcpu, SEG_TR, &none);
	passes("no TR");
	vmx_set(&vcpu, VREG_CR0, CR0_PE | CR0_ET);
	vmx_set(&vcpu, VREG_EFER, 0);
	passes("back from long mode");
}

#define BOTH(f)                                                                                    \
	cmocka_unit_test_setup_teardown(f, setup_child, teardown),                                 \
		cmocka_unit_test_setup_teardown(f, setup_management, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(reset),
		BOTH(task_switch_segments),
		BOTH(long_mode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
