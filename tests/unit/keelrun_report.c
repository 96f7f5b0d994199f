// SPDX-License-Identifier: MIT
/* The exit table, its names against the hypervisor's reasons, and the vCPUs' CPUID. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "arch-x86/virt.h"
#include "mgmt/uefi/keelrun/cpuid.h"
#include "mgmt/uefi/keelrun/report.h"

static const char *const names[] = KEEL_STAT_NAMES;

static void names_match_the_reasons(void **state)
{
	assert_int_equal(ARRAY_SIZE(names), EXIT_REASON_COUNT);
	assert_true(EXIT_REASON_COUNT <= KEEL_STAT_REASONS);
	assert_string_equal(names[EXIT_CPUID], "CPUID");
	assert_string_equal(names[EXIT_IO], "I/O");
	assert_string_equal(names[EXIT_HLT], "HLT");
	assert_string_equal(names[EXIT_XSETBV], "XSETBV");
	assert_string_equal(names[EXIT_HYPERCALL], "hypercall");
	assert_string_equal(names[EXIT_SIPI], "SIPI");
	assert_string_equal(names[EXIT_UNKNOWN], "unknown");
}

static void most_frequent_first(void **state)
{
	static struct keel_stats sum, one;
	char text[1000];
	int n;

	one.count[EXIT_CPUID] = 10;
	one.cycles[EXIT_CPUID] = 5000;
	one.count[EXIT_IO] = 100;
	one.cycles[EXIT_IO] = 100000;
	one.histogram[EXIT_IO][9] = 100;
	report_add(&sum, &one);
	report_add(&sum, &one);
	assert_int_equal(sum.histogram[EXIT_IO][9], 200);
	n = report_format(text, sizeof(text), &sum);
	assert_int_equal(n, strlen(text));
	assert_string_equal(text, "exits by reason                   count  mean cycles\n"
				  "I/O                                 200         1000\n"
				  "CPUID                                20          500\n"
				  "all                                 220          954\n");
	assert_true(report_format(text, 30, &sum) > 30);
	assert_int_equal(strlen(text), 29);
}

static void no_exits(void **state)
{
	static struct keel_stats sum;
	char text[200];

	report_format(text, sizeof(text), &sum);
	assert_non_null(strstr(text, "all "));
}

static struct kvm_cpuid_entry2 e;

static void leaf(u32 function, u32 index, u32 id, u32 cpus, bool deadline)
{
	e = (struct kvm_cpuid_entry2){.function = function,
				      .index = index,
				      .eax = 0xfc00c121,
				      .ebx = 0xffffffff,
				      .ecx = ~(u32)(BIT(31) | BIT(24)),
				      .edx = 0xffffffff};
	cpuid_for_vcpu(&e, 1, id, cpus, deadline);
}

static void apic_ids(void **state)
{
	leaf(1, 0, 3, 6, true);
	assert_int_equal(e.ebx, 0x0306ffff);
	assert_int_equal(e.ecx, 0xffffffff);
	assert_true(e.edx & BIT(28));
	leaf(1, 0, 0, 1, false);
	assert_int_equal(e.ebx, 0x0001ffff);
	assert_false(e.ecx & BIT(24));
	assert_false(e.edx & BIT(28));
	leaf(0x8000001e, 0, 5, 8, false);
	assert_int_equal(e.eax, 5);
	assert_int_equal(e.ebx, 5);
}

static void one_package_of_cores(void **state)
{
	leaf(0xb, 0, 5, 6, false);
	assert_int_equal(e.eax, 0);
	assert_int_equal(e.ebx, 1);
	assert_int_equal(e.ecx, 0x100);
	assert_int_equal(e.edx, 5);
	leaf(0xb, 1, 5, 6, false);
	assert_int_equal(e.eax, 3);
	assert_int_equal(e.ebx, 6);
	assert_int_equal(e.ecx, 0x201);
	leaf(0xb, 2, 5, 6, false);
	assert_int_equal(e.ecx, 2);
	assert_int_equal(e.ebx, 0);
	leaf(4, 0, 0, 6, false);
	assert_int_equal(e.eax, 0x1c000121);
	leaf(0x8000001d, 0, 0, 6, false);
	assert_int_equal(e.eax, 0x0121);
	leaf(0x80000008, 0, 0, 6, false);
	assert_int_equal(e.ecx & 0xf0ff, 0x3005);
	leaf(0x80000001, 0, 0, 6, false);
	assert_true(e.ecx & 2);
	leaf(0x80000001, 0, 0, 1, false);
	assert_false(e.ecx & 2);
}

static void others_stay(void **state)
{
	leaf(7, 0, 1, 2, true);
	assert_int_equal(e.ebx, 0xffffffff);
	assert_int_equal(e.ecx, 0x7effffff);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_match_the_reasons),
		cmocka_unit_test(most_frequent_first),
		cmocka_unit_test(no_exits),
		cmocka_unit_test(apic_ids),
		cmocka_unit_test(one_package_of_cores),
		cmocka_unit_test(others_stay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
