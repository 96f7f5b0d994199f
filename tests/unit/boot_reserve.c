// SPDX-License-Identifier: MIT
#include "boot/efi/reserve.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define GIB	BIT(30)
#define RANGES	32
#define IMAGE	150
#define HOLE_AT (2 * GIB)

static struct reserve_facts machine(u64 ram, u32 cpus, u32 bits)
{
	return (struct reserve_facts){
		.ram_pages = ram / PAGE_SIZE,
		.ram_end = ram > HOLE_AT ? ram + 2 * GIB : ram,
		.cpu_count = cpus,
		.range_count = RANGES,
		.address_bits = bits,
		.image_pages = IMAGE,
		.leaves_1g = true,
		.leaves_2m = true,
	};
}

static void test_the_budget_holds(void **state)
{
	static const u64 sizes[] = {GIB / 2, GIB, 2 * GIB, 4 * GIB, 16 * GIB, 1024 * GIB};
	static const u32 cpus[] = {1, 2, 16, 64}, bits[] = {36, 39, 40, 46, 48, 52};

	for (size_t i = 0; i < ARRAY_SIZE(sizes) * ARRAY_SIZE(cpus) * ARRAY_SIZE(bits); i++) {
		struct reserve_facts f =
			machine(sizes[i / 24], cpus[i / 6 % 4], bits[i % ARRAY_SIZE(bits)]);

		assert_true(reserve_pages(&f) <= reserve_budget(&f));
		f.leaves_1g = false;
		assert_true(reserve_pages(&f) <= reserve_budget(&f));
		f.leaves_2m = false;
		assert_true(reserve_pages(&f) <= reserve_budget(&f));
	}
}

/* 8 MiB + 512 KiB a CPU + 0.1 % of RAM; without 2 MiB leaves another 8 MiB + 0.2 %. */
static void test_the_budget(void **state)
{
	struct reserve_facts f = machine(2 * GIB, 3, 40);

	assert_int_equal(reserve_budget(&f), 2048 + 3 * 128 + 524);
	f.leaves_1g = f.leaves_2m = false;
	assert_int_equal(reserve_budget(&f), 2 * 2048 + 3 * 128 + 524 + 1048);
}

/* RAM that lies far apart needs frames for all that is between. */
static void test_far_ram_is_over_the_budget(void **state)
{
	struct reserve_facts f = machine(GIB / 2, 1, 46);

	f.ram_end = BIT(36);
	assert_true(reserve_pages(&f) > reserve_budget(&f));
}

static void test_small_leaves_need_tables(void **state)
{
	struct reserve_facts f = machine(2 * GIB, 1, 40);
	u64 large = reserve_pages(&f);

	f.leaves_1g = false;
	assert_int_equal(reserve_pages(&f), large + 512);
	f.address_bits = 39;
	assert_int_equal(reserve_pages(&f), large);
	f.leaves_2m = false;
	assert_int_equal(reserve_pages(&f), large + 2048);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_budget_holds),
		cmocka_unit_test(test_the_budget),
		cmocka_unit_test(test_far_ram_is_over_the_budget),
		cmocka_unit_test(test_small_leaves_need_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
