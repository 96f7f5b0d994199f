/* SPDX-License-Identifier: MIT */
/* lib/bitmap.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "lib/bitmap.h"

static void test_single_bits(void **state)
{
	u64 map[3] = {0};

	for (u32 i = 0; i < 192; i += 7) {
		assert_false(bitmap_test(map, i));
		bitmap_set(map, i);
		assert_true(bitmap_test(map, i));
	}
	bitmap_set_atomic(map, 63);
	assert_true(bitmap_test(map, 63));
	for (u32 i = 0; i < 192; i += 7)
		bitmap_clear(map, i);
	bitmap_clear(map, 63);
	assert_int_equal(map[0] | map[1] | map[2], 0);
}

static void test_find_clear(void **state)
{
	u64 map[4];

	memset(map, 0xff, sizeof(map));
	assert_int_equal(bitmap_find_clear(map, 256, 0, 1), BITMAP_NONE);
	bitmap_clear_range(map, 60, 10); /* over a word's edge */
	assert_int_equal(bitmap_find_clear(map, 256, 0, 1), 60);
	assert_int_equal(bitmap_find_clear(map, 256, 0, 10), 60);
	assert_int_equal(bitmap_find_clear(map, 256, 0, 11), BITMAP_NONE);
	assert_int_equal(bitmap_find_clear(map, 256, 65, 5), 65);
	assert_int_equal(bitmap_find_clear(map, 256, 65, 6), BITMAP_NONE);
	assert_int_equal(bitmap_find_clear(map, 64, 0, 5), BITMAP_NONE); /* the end counts */
	bitmap_set(map, 64);
	assert_int_equal(bitmap_find_clear(map, 256, 0, 5), 65);
	/* Runs on both sides of a full word are two runs. */
	bitmap_set_range(map, 60, 10);
	bitmap_clear_range(map, 126, 2);
	bitmap_clear_range(map, 192, 2);
	assert_int_equal(bitmap_find_clear(map, 256, 0, 2), 126);
	assert_int_equal(bitmap_find_clear(map, 256, 0, 3), BITMAP_NONE);
	bitmap_clear_range(map, 192, 64);
	bitmap_set_range(map, 192, 3);
	assert_int_equal(bitmap_find_clear(map, 256, 128, 61), 195);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_single_bits),
		cmocka_unit_test(test_find_clear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
