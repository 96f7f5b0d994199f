/* SPDX-License-Identifier: MIT */
/* CPUID: what is offered, the VMM's table, KVM's matching rules, and what follows from it. */
#include "tests/unit/core_machine.h"

static int setup(void **state)
{
	machine_init();
	return 0;
}

static struct cpuid_entry entry(u32 function, u32 index, u32 flags, u32 eax)
{
	return (struct cpuid_entry){function, index, flags, eax, eax + 1, eax + 2, eax + 3, {0}};
}

static u32 eax_of(u32 function, u32 index)
{
	u32 regs[4];

	cpuid_answer(vcpu, function, index, regs);
	return regs[0];
}

static const struct cpuid_entry *offered(const struct cpuid_entry *list, u32 count, u32 function,
					 u32 index)
{
	for (u32 i = 0; i < count; i++)
		if (list[i].function == function && list[i].index == index)
			return &list[i];
	return NULL;
}

static void supported_hides_what_is_not_carried(void **state)
{
	struct cpuid_entry list[96];
	u32 count = cpuid_supported(list, ARRAY_SIZE(list));
	const struct cpuid_entry *e;

	assert_in_range(count, 25, 80);
	e = offered(list, count, 1, 0);
	assert_false(e->ecx & (BIT(3) | BIT(5) | BIT(6) | BIT(27) | BIT(24)));
	assert_true(e->ecx & BIT(31) && e->ecx & BIT(26) && e->ecx & BIT(28) && e->ecx & BIT(21));
	assert_int_equal(e->ebx >> 24, 0);
	assert_false(e->edx & BIT(28));
	e = offered(list, count, 0x80000001, 0);
	assert_false(e->ecx & (BIT(2) | BIT(12) | BIT(29))); /* SVM, SKINIT, MONITORX */
	e = offered(list, count, 7, 0);
	assert_false(e->ebx &
		     (BIT(2) | BIT(25) | BIT(16))); /* SGX, PT, AVX-512 without its state */
	assert_false(e->ebx & BIT(10));		    /* INVPCID the backend does not enable */
	assert_false(e->ecx & (BIT(16) | BIT(5) | BIT(4))); /* LA57, WAITPKG, OSPKE */
	assert_int_equal(e->eax, 1);
	e = offered(list, count, 0xd, 0);
	assert_int_equal(e->eax, 0x207);
	assert_int_equal(e->ecx, 0xa88);
	assert_false(offered(list, count, 0xd, 1)->eax & BIT(3)); /* XSAVES */
	assert_non_null(offered(list, count, 0xd, 9));
	assert_null(offered(list, count, 0x8000000a, 0));
	assert_non_null(offered(list, count, 0xa, 0));
	assert_int_equal(offered(list, count, 0x80000008, 0)->eax, 0x3028);
	assert_int_equal(offered(list, count, 0, 0)->eax, 0xd);
}

/* Instructions that the backend would have to enable. */
static void supported_follows_the_backend(void **state)
{
	struct cpuid_entry list[96];
	u32 count;

	virt_features |= VIRT_RDTSCP | VIRT_INVPCID;
	count = cpuid_supported(list, ARRAY_SIZE(list));
	assert_true(offered(list, count, 0x80000001, 0)->edx & BIT(27));
	assert_true(offered(list, count, 7, 0)->ecx & BIT(22));
	assert_true(offered(list, count, 7, 0)->ebx & BIT(10));
	virt_features &= ~(u64)(VIRT_RDTSCP | VIRT_INVPCID);
	count = cpuid_supported(list, ARRAY_SIZE(list));
	assert_false(offered(list, count, 0x80000001, 0)->edx & BIT(27));
	assert_false(offered(list, count, 7, 0)->ecx & BIT(22));
	assert_false(offered(list, count, 7, 0)->ebx & BIT(10));
}

static void supported_has_the_paravirtual_leaves(void **state)
{
	struct cpuid_entry list[96];
	u32 count = cpuid_supported(list, ARRAY_SIZE(list));
	const struct cpuid_entry *e = offered(list, count, 0x40000000, 0);

	assert_memory_equal(&e->ebx, "KVMKVMKVM\0\0\0", 12);
	assert_int_equal(e->eax, 0x40000001);
	assert_int_equal(offered(list, count, 0x40000001, 0)->eax, 0x0100007b);
}

static void supported_counts_beyond_the_room(void **state)
{
	struct cpuid_entry list[96], few[4];
	u32 count = cpuid_supported(list, ARRAY_SIZE(list));

	memset(few, 0xee, sizeof(few));
	assert_int_equal(cpuid_supported(few, 3), count);
	assert_memory_equal(few, list, 3 * sizeof(few[0]));
	assert_int_equal(few[3].function, 0xeeeeeeee);
	for (u32 i = 0; i < count; i++)
		assert_int_equal(list[i].padding[0] | list[i].padding[1] | list[i].padding[2], 0);
}

static void a_processor_without_xsave_offers_none(void **state)
{
	struct cpuid_entry list[96];
	u32 count;

	machine_no_xsave = 1;
	xstate_forget();
	xstate_init();
	count = cpuid_supported(list, ARRAY_SIZE(list));
	assert_false(offered(list, count, 1, 0)->ecx & (BIT(12) | BIT(26) | BIT(28)));
	assert_null(offered(list, count, 0xd, 0));
	assert_false(offered(list, count, 7, 0)->ebx & BIT(5));
}

/* KVM's leaves stand behind another hypervisor's, if the VMM shows the guest both. */
static void paravirtual_features_are_found_by_their_signature(void **state)
{
	struct cpuid_entry table[] = {
		entry(0x40000000, 0, 0, 0x40000001),
		entry(0x40000001, 0, 0, 8),
		entry(0x40000100, 0, 0, 0x40000101),
		entry(0x40000101, 0, 0, 1),
	};

	assert_int_equal(cpuid_set(vcpu, table, ARRAY_SIZE(table)), 0);
	assert_int_equal(vcpu->paravirtual, 0);
	assert_true(cpuid_allows(vcpu, 0));
	vcpu->enforce_cpuid = true;
	assert_false(cpuid_allows(vcpu, 0));
	memcpy(&table[2].ebx, "KVMKVMKVM\0\0", 12);
	assert_int_equal(cpuid_set(vcpu, table, ARRAY_SIZE(table)), 0);
	assert_true(cpuid_allows(vcpu, 0));
	assert_false(cpuid_allows(vcpu, 3));
	memcpy(&table[0].ebx, "KVMKVMKVM\0\0", 12);
	assert_int_equal(cpuid_set(vcpu, table, ARRAY_SIZE(table)), 0);
	assert_false(cpuid_allows(vcpu, 0));
	assert_true(cpuid_allows(vcpu, 3));
	/* A signature without its feature leaf allows nothing. */
	assert_int_equal(cpuid_set(vcpu, table, 1), 0);
	assert_false(cpuid_allows(vcpu, 3));
}

static void entries_match_by_leaf_and_significant_index(void **state)
{
	struct cpuid_entry table[] = {
		entry(4, 1, 1, 40), entry(0, 0, 0, 4),	entry(4, 0, 1, 30),
		entry(2, 7, 0, 20), entry(2, 0, 0, 21),
	};

	table[1].ebx = 0x68747541;
	assert_int_equal(cpuid_set(vcpu, table, ARRAY_SIZE(table)), 0);
	assert_int_equal(eax_of(4, 0), 30);
	assert_int_equal(eax_of(4, 1), 40);
	assert_int_equal(eax_of(4, 2), 0);
	/* Without the flag any index matches, and of equal entries the first one given. */
	assert_int_equal(eax_of(2, 0), 20);
	assert_int_equal(eax_of(2, 1234), 20);
	assert_int_equal(eax_of(3, 0), 0);
	/* The cache of last answers does not mix up leaves that share its slot. */
	for (u32 i = 0; i < 3; i++) {
		assert_int_equal(eax_of(4, 0), 30);
		assert_int_equal(eax_of(4 + 8, 0), 0);
		assert_int_equal(eax_of(0, 4), 4);
	}
}

static void leaves_out_of_range_follow_the_vendor(void **state)
{
	struct cpuid_entry table[] = {
		entry(0, 0, 0, 4),
		entry(4, 0, 1, 30),
		entry(0x80000000, 0, 0, 0x80000001),
		entry(0x40000000, 0, 0, 0x40000001),
		entry(3, 0, 0, 33),
	};

	cpuid_set(vcpu, table, ARRAY_SIZE(table));
	table[0].ebx = 0x756e6547;
	cpuid_set(vcpu, table, ARRAY_SIZE(table));
	assert_int_equal(eax_of(5, 0), 30); /* the highest basic leaf's */
	assert_int_equal(eax_of(5, 1), 0);  /* with the same index */
	assert_int_equal(eax_of(0x80000002, 0), 30);
	assert_int_equal(eax_of(0x80000001, 0), 0); /* in range, absent */
	assert_int_equal(eax_of(0x40000001, 0), 0);
	assert_int_equal(eax_of(0x40000002, 0), 30);
	assert_int_equal(eax_of(0xc0000000, 0), 30);
	assert_int_equal(eax_of(2, 0), 0);
	table[0].ebx = 0x68747541;
	cpuid_set(vcpu, table, ARRAY_SIZE(table));
	assert_int_equal(eax_of(5, 0), 0);
	assert_int_equal(eax_of(0x80000002, 0), 0);
}

static void topology_leaves_echo_the_index(void **state)
{
	struct cpuid_entry table[] = {entry(0, 0, 0, 0xb), entry(0xb, 0, 1, 1),
				      entry(0xb, 1, 1, 100)};
	u32 regs[4];

	table[0].ebx = 0x756e6547;
	cpuid_set(vcpu, table, ARRAY_SIZE(table));
	cpuid_answer(vcpu, 0xb, 0x305, regs);
	assert_int_equal(regs[0], 0);
	assert_int_equal(regs[1], 0);
	assert_int_equal(regs[2], 5);
	assert_int_equal(regs[3], 103);
}

static void bits_follow_the_state(void **state)
{
	u32 regs[4];

	machine_cpuid_all();
	cpuid_answer(vcpu, 1, 0, regs);
	assert_false(regs[2] & BIT(27));
	assert_true(regs[3] & BIT(9));
	set_reg(VREG_CR4, CR4_OSXSAVE | CR4_PKE);
	cpuid_answer(vcpu, 1, 0, regs);
	assert_true(regs[2] & BIT(27));
	cpuid_answer(vcpu, 7, 0, regs);
	assert_true(regs[2] & BIT(4));
	vcpu->msr.apic_base &= ~(u64)APIC_BASE_ENABLE;
	cpuid_answer(vcpu, 1, 0, regs);
	assert_false(regs[3] & BIT(9));
	cpuid_answer(vcpu, 0xd, 0, regs);
	assert_int_equal(regs[1], 576);
	vcpu->xcr0 = 7;
	cpuid_answer(vcpu, 0xd, 0, regs);
	assert_int_equal(regs[1], 0x340);
	assert_int_equal(regs[2], 0xa88);
	cpuid_answer(vcpu, 0xd, 1, regs);
	assert_int_equal(regs[1], 0x340);
	vcpu->xcr0 = 0x203;
	cpuid_answer(vcpu, 0xd, 0, regs);
	assert_int_equal(regs[1], 0xa88);
	cpuid_answer(vcpu, 0xd, 1, regs);
	assert_int_equal(regs[1], 0x248);
}

/* KVM_GET_CPUID2 gives what the guest sees, and after a run KVM_SET_CPUID2 takes that. */
static void the_table_that_is_read_follows_the_state(void **state)
{
	struct cpuid_entry table[] = {entry(1, 0, 0, 5), entry(0xd, 0, 0, 7)}, now[2];

	table[0].ecx = BIT(26);
	assert_int_equal(cpuid_set(vcpu, table, 2), 0);
	set_reg(VREG_CR4, CR4_OSXSAVE);
	for (u32 i = 0; i < 2; i++)
		now[i] = cpuid_current(vcpu, &vcpu->cpuid[i]);
	assert_int_equal(now[0].ecx, BIT(26) | BIT(27));
	assert_int_equal(now[0].eax, 5);
	assert_int_equal(now[1].ebx, 576);
	assert_int_equal(vcpu->cpuid[1].ebx, table[1].ebx);
	vcpu->ran = true;
	assert_int_equal(cpuid_set(vcpu, now, 2), 0);
	assert_int_equal(cpuid_set(vcpu, table, 2), 0);
}

static void a_table_is_checked(void **state)
{
	static struct cpuid_entry many[CPUID_ENTRIES + 1];
	struct cpuid_entry widths = entry(0x80000008, 0, 0, 0x2f28);

	assert_int_equal(cpuid_set(vcpu, many, CPUID_ENTRIES + 1), -E2BIG);
	assert_int_equal(cpuid_set(vcpu, many, CPUID_ENTRIES), 0);
	assert_int_equal(cpuid_set(vcpu, &widths, 1), -EINVAL);
	assert_int_equal(vcpu->cpuid_count, CPUID_ENTRIES);
	widths.eax = 0x3028;
	assert_int_equal(cpuid_set(vcpu, &widths, 1), 0);
	widths.eax = 0x3928;
	assert_int_equal(cpuid_set(vcpu, &widths, 1), 0);
	assert_int_equal(vcpu->physical_bits, 40);
	widths.eax = 0x00ff;
	assert_int_equal(cpuid_set(vcpu, &widths, 1), 0);
	assert_int_equal(vcpu->physical_bits, 52);
	widths.eax = 0x0001;
	assert_int_equal(cpuid_set(vcpu, &widths, 1), 0);
	assert_int_equal(vcpu->physical_bits, 32);
	assert_int_equal(cpuid_set(vcpu, NULL, 0), 0);
	assert_int_equal(vcpu->physical_bits, 36);
}

static void after_the_first_run_only_the_same_table(void **state)
{
	struct cpuid_entry table[] = {entry(0, 0, 0, 1), entry(1, 0, 0, 5), entry(1, 0, 0, 6)};
	struct cpuid_entry other[3];

	assert_int_equal(cpuid_set(vcpu, table, 3), 0);
	vcpu->ran = true;
	assert_int_equal(cpuid_set(vcpu, table, 3), 0);
	assert_int_equal(cpuid_set(vcpu, table, 2), -EINVAL);
	memcpy(other, table, sizeof(other));
	other[1].ecx ^= 1;
	assert_int_equal(cpuid_set(vcpu, other, 3), -EINVAL);
	other[1] = table[0];
	other[0] = table[1];
	assert_int_equal(cpuid_set(vcpu, other, 3), 0);
	assert_int_equal(eax_of(1, 0), 5);
}

static void derived_masks_need_the_processor_too(void **state)
{
	struct cpuid_entry table[] = {entry(1, 0, 0, 0), entry(7, 0, 1, 0), entry(0xd, 0, 1, 0)};

	/* Before there is a CPUID the processor alone decides. */
	assert_true(cr4_valid(vcpu, CR4_SMEP));
	assert_false(cr4_valid(vcpu, CR4_VMXE));
	cpuid_set(vcpu, table, 3);
	assert_false(cr4_valid(vcpu, CR4_SMEP));
	assert_true(cr4_valid(vcpu, CR4_PAE | CR4_PGE | CR4_OSFXSR));
	table[0].ecx = BIT(26) | BIT(17);
	table[1].ebx = BIT(0) | BIT(7) | BIT(20);
	table[1].ecx = BIT(2) | BIT(3) | BIT(16);
	table[2].eax = ~0u;
	table[2].edx = ~0u;
	cpuid_set(vcpu, table, 3);
	assert_true(cr4_valid(vcpu, CR4_SMEP | CR4_SMAP | CR4_FSGSBASE | CR4_UMIP | CR4_PKE |
					    CR4_OSXSAVE | CR4_PCIDE));
	assert_false(cr4_valid(vcpu, CR4_LA57));
	assert_false(cr4_valid(vcpu, CR4_VMXE));
	assert_int_equal(vcpu->xcr0_supported, 0x207);
	machine_no_xsave = 1;
	cpuid_set(vcpu, table, 3);
	assert_false(cr4_valid(vcpu, CR4_OSXSAVE));
}

static void faulting_makes_user_cpuid_a_gp(void **state)
{
	machine_cpuid_all();
	vcpu->msr.misc_features = 1;
	vcpu->v.gpr[GPR_RAX] = 0;
	run_insn(EXIT_CPUID, 2);
	assert_int_equal(vcpu->v.rip, CODE + 2);
	mode_cpl(3);
	run_insn(EXIT_CPUID, 2);
	assert_exception(VECTOR_GP);
	assert_int_equal(vcpu->v.rip, CODE + 2);
}

static void the_exit_fills_four_registers(void **state)
{
	struct cpuid_entry e = entry(5, 0, 0, 0x80000000);

	cpuid_set(vcpu, &e, 1);
	for (u32 i = 0; i < GPR_COUNT; i++)
		vcpu->v.gpr[i] = ~0ull;
	vcpu->v.gpr[GPR_RAX] = 0xffffffff00000005;
	run_insn(EXIT_CPUID, 2);
	assert_int_equal(vcpu->v.gpr[GPR_RAX], 0x80000000);
	assert_int_equal(vcpu->v.gpr[GPR_RBX], 0x80000001);
	assert_int_equal(vcpu->v.gpr[GPR_RCX], 0x80000002);
	assert_int_equal(vcpu->v.gpr[GPR_RDX], 0x80000003);
	assert_int_equal(vcpu->v.gpr[GPR_RSI], ~0ull);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(supported_hides_what_is_not_carried, setup),
		cmocka_unit_test_setup(supported_follows_the_backend, setup),
		cmocka_unit_test_setup(supported_has_the_paravirtual_leaves, setup),
		cmocka_unit_test_setup(supported_counts_beyond_the_room, setup),
		cmocka_unit_test_setup(a_processor_without_xsave_offers_none, setup),
		cmocka_unit_test_setup(paravirtual_features_are_found_by_their_signature, setup),
		cmocka_unit_test_setup(entries_match_by_leaf_and_significant_index, setup),
		cmocka_unit_test_setup(leaves_out_of_range_follow_the_vendor, setup),
		cmocka_unit_test_setup(topology_leaves_echo_the_index, setup),
		cmocka_unit_test_setup(bits_follow_the_state, setup),
		cmocka_unit_test_setup(the_table_that_is_read_follows_the_state, setup),
		cmocka_unit_test_setup(a_table_is_checked, setup),
		cmocka_unit_test_setup(after_the_first_run_only_the_same_table, setup),
		cmocka_unit_test_setup(derived_masks_need_the_processor_too, setup),
		cmocka_unit_test_setup(faulting_makes_user_cpuid_a_gp, setup),
		cmocka_unit_test_setup(the_exit_fills_four_registers, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
