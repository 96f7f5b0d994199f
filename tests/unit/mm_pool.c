/* SPDX-License-Identifier: MIT */
/* mm/pool.c: a VM's own pages. */
#include <string.h>

#include "tests/unit/fake/fake.h"
#include "tests/unit/fake/random.h"

static struct pool pool;
static hpa_t taken; /* not on the stack: a caught panic jumps */

static int setup(void **state)
{
	fake_machine_init(1);
	return 0;
}

static void test_gives_each_page_once(void **state)
{
	u64 seen = 0;
	hpa_t page;

	fake_pool(&pool, 64);
	assert_int_equal(pool_free_pages(&pool), 63); /* one page holds the bitmap */
	while ((page = pool_alloc(&pool, 1)).v != HPA_NONE.v) {
		u64 index = (page.v - (1 << 20)) / PAGE_SIZE;

		assert_in_range(index, 1, 63);
		assert_false(seen >> index & 1);
		seen |= BIT(index);
	}
	assert_int_equal(seen, ~1ull);
	assert_int_equal(pool_free_pages(&pool), 0);
}

static void test_pages_come_zeroed(void **state)
{
	hpa_t page;

	memset(phys_ptr(HPA(1 << 20)), 0xaa, 16 * PAGE_SIZE);
	fake_pool(&pool, 16);
	page = pool_alloc(&pool, 3);
	for (u64 i = 0; i < 3 * PAGE_SIZE; i++)
		assert_int_equal(((u8 *)phys_ptr(page))[i], 0);
	memset(phys_ptr(page), 0x55, 3 * PAGE_SIZE);
	pool_free(&pool, page, 3);
	page = pool_alloc(&pool, 3);
	for (u64 i = 0; i < 3 * PAGE_SIZE; i++)
		assert_int_equal(((u8 *)phys_ptr(page))[i], 0);
}

static void test_contiguous(void **state)
{
	hpa_t a, b, c;

	fake_pool(&pool, 16);
	a = pool_alloc(&pool, 5);
	b = pool_alloc(&pool, 5);
	c = pool_alloc(&pool, 5);
	assert_int_equal(pool_alloc(&pool, 1).v, HPA_NONE.v);
	pool_free(&pool, a, 5);
	pool_free(&pool, c, 5);
	assert_int_equal(pool_alloc(&pool, 6).v, HPA_NONE.v); /* ten are free, five in a row */
	pool_free(&pool, HPA(b.v + PAGE_SIZE), 4);
	assert_int_equal(pool_alloc(&pool, 9).v, b.v + PAGE_SIZE);
	assert_int_equal(pool_free_pages(&pool), 5);
}

static void test_more_ranges(void **state)
{
	pool_init(&pool);
	assert_int_equal(pool_alloc(&pool, 1).v, HPA_NONE.v);
	assert_int_equal(pool_add(&pool, HPA(1 << 20), 0), -EINVAL);
	assert_int_equal(pool_add(&pool, HPA(1 << 20), 1), -EINVAL);
	assert_int_equal(pool_add(&pool, HPA(1 << 20), 1ull << 32), -EINVAL);
	for (u32 i = 0; i < POOL_RANGES; i++)
		assert_int_equal(pool_add(&pool, HPA((1 << 20) + i * 4 * PAGE_SIZE), 2), 0);
	assert_int_equal(pool_add(&pool, HPA(8 << 20), 2), -ENOSPC);
	assert_int_equal(pool_free_pages(&pool), POOL_RANGES);
	assert_int_equal(pool.total, 2 * POOL_RANGES);
	assert_int_equal(pool_alloc(&pool, 2).v, HPA_NONE.v); /* ranges do not join */
	for (u32 i = 0; i < POOL_RANGES; i++)
		assert_int_not_equal(pool_alloc(&pool, 1).v, HPA_NONE.v);
	assert_int_equal(pool_alloc(&pool, 1).v, HPA_NONE.v);
	pool_free(&pool, HPA((1 << 20) + 40 * 4 * PAGE_SIZE + PAGE_SIZE), 1);
	assert_int_equal(pool_alloc(&pool, 1).v, (1 << 20) + 40 * 4 * PAGE_SIZE + PAGE_SIZE);
}

static void test_wrong_frees_are_bugs(void **state)
{
	fake_pool(&pool, 16);
	taken = pool_alloc(&pool, 2);
	pool_free(&pool, taken, 1);
	expect_assert_failure(pool_free(&pool, taken, 1)); /* twice */
	fake_pool(&pool, 16);
	expect_assert_failure(pool_free(&pool, HPA(1 << 20), 1)); /* the bitmap */
	fake_pool(&pool, 16);
	expect_assert_failure(pool_free(&pool, HPA((1 << 20) + 16 * PAGE_SIZE), 1)); /* behind */
	fake_pool(&pool, 16);
	taken = pool_alloc(&pool, 15);
	expect_assert_failure(pool_free(&pool, taken, 16)); /* sticks out */
	fake_pool(&pool, 16);
	expect_assert_failure(pool_free(&pool, HPA(0), 1));
}

/* Against a plain array. */
static void test_random(void **state)
{
	enum { PAGES = 700, HELD = 200 };
	static u8 used[PAGES];
	static struct {
		u64 first;
		u32 count;
	} held[HELD];
	u32 held_count = 0, free_pages;

	random_begin();
	memset(used, 0, sizeof(used));
	used[0] = 1;
	fake_pool(&pool, PAGES);
	free_pages = PAGES - 1;
	for (u32 step = 0; step < 20000; step++) {
		if (held_count < HELD && random_below(2)) {
			u32 count = random_below(8) ? 1 : 1 + (u32)random_below(20), run = 0;
			hpa_t page = pool_alloc(&pool, count);
			u64 first = (page.v - (1 << 20)) / PAGE_SIZE;
			bool possible = false;

			for (u32 i = 0; i < PAGES; i++) {
				run = used[i] ? 0 : run + 1;
				possible |= run >= count;
			}
			assert_int_equal(page.v != HPA_NONE.v, possible);
			if (!possible)
				continue;
			for (u64 i = first; i < first + count; i++) {
				assert_int_equal(used[i], 0);
				used[i] = 1;
			}
			held[held_count].first = first;
			held[held_count++].count = count;
			free_pages -= count;
		} else if (held_count) {
			u32 which = (u32)random_below(held_count);

			pool_free(&pool, HPA((1 << 20) + held[which].first * PAGE_SIZE),
				  held[which].count);
			memset(&used[held[which].first], 0, held[which].count);
			free_pages += held[which].count;
			held[which] = held[--held_count];
		}
		assert_int_equal(pool_free_pages(&pool), free_pages);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_gives_each_page_once, setup),
		cmocka_unit_test_setup(test_pages_come_zeroed, setup),
		cmocka_unit_test_setup(test_contiguous, setup),
		cmocka_unit_test_setup(test_more_ranges, setup),
		cmocka_unit_test_setup(test_wrong_frees_are_bugs, setup),
		cmocka_unit_test_setup(test_random, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
