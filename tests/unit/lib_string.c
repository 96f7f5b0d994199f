/* SPDX-License-Identifier: MIT */
/* lib/string.c against the host's C library. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/string.h"

#define SIZE 96

static u8 ours[SIZE], theirs[SIZE];

static void fill(void)
{
	for (u32 i = 0; i < SIZE; i++)
		ours[i] = theirs[i] = (u8)(i * 37 + 1);
}

static void test_copy_and_set(void **state)
{
	u8 source[SIZE];

	for (u32 i = 0; i < SIZE; i++)
		source[i] = (u8)(255 - i);
	for (u32 n = 0; n < 40; n++) {
		for (u32 at = 0; at < 16; at++) {
			fill();
			assert_ptr_equal(keel_memcpy(ours + at, source + 3, n), ours + at);
			memcpy(theirs + at, source + 3, n);
			assert_memory_equal(ours, theirs, SIZE);
			assert_ptr_equal(keel_memset(ours + at, 0x1a5, n), ours + at);
			memset(theirs + at, 0x1a5, n);
			assert_memory_equal(ours, theirs, SIZE);
		}
	}
}

static void test_move_overlapping(void **state)
{
	for (u32 n = 0; n < 30; n++) {
		for (u32 from = 0; from < 40; from++) {
			fill();
			assert_ptr_equal(keel_memmove(ours + 20, ours + from, n), ours + 20);
			memmove(theirs + 20, theirs + from, n);
			assert_memory_equal(ours, theirs, SIZE);
		}
	}
}

static int sign(int x)
{
	return (x > 0) - (x < 0);
}

static void test_compare(void **state)
{
	static const char *const text[] = {"",	  "a",	  "b",	   "ab",   "abc",
					   "abd", "\xff", "a\xff", "a\x7f"};

	for (u32 i = 0; i < ARRAY_SIZE(text); i++) {
		assert_int_equal(keel_strlen(text[i]), strlen(text[i]));
		for (u32 k = 0; k < ARRAY_SIZE(text); k++) {
			size_t both = MIN(strlen(text[i]), strlen(text[k])) + 1;

			assert_int_equal(sign(keel_strcmp(text[i], text[k])),
					 sign(strcmp(text[i], text[k])));
			assert_int_equal(sign(keel_memcmp(text[i], text[k], both)),
					 sign(memcmp(text[i], text[k], both)));
			for (size_t n = 0; n < 5; n++)
				assert_int_equal(sign(keel_strncmp(text[i], text[k], n)),
						 sign(strncmp(text[i], text[k], n)));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_copy_and_set),
		cmocka_unit_test(test_move_overlapping),
		cmocka_unit_test(test_compare),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
