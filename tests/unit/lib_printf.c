/* SPDX-License-Identifier: MIT */
/* lib/printf.c against the host's vsnprintf. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "lib/printf.h"

#pragma GCC diagnostic ignored "-Wformat"
#pragma GCC diagnostic ignored "-Wformat-truncation"
#pragma GCC diagnostic ignored "-Wformat-overflow"

#define SAME(...)                                                                                  \
	do {                                                                                       \
		char ours_[200], theirs_[200];                                                     \
		int length_ = format(ours_, sizeof(ours_), __VA_ARGS__);                           \
		assert_int_equal(length_, snprintf(theirs_, sizeof(theirs_), __VA_ARGS__));        \
		assert_string_equal(ours_, theirs_);                                               \
	} while (0)

static void test_integers(void **state)
{
	static const char *const flags[] = {"", "0", "-", "3", "08", "-8", "12", "024", "-24"};
	static const u64 values[] = {0,
				     1,
				     9,
				     10,
				     255,
				     0x7fffffff,
				     0x80000000,
				     0xffffffff,
				     0x7fffffffffffffff,
				     0x8000000000000000,
				     ~0ull};
	static const char *const conversions[] = {"d", "i", "u", "x", "X"};
	char fmt[32];

	for (u32 i = 0; i < ARRAY_SIZE(flags); i++) {
		for (u32 k = 0; k < ARRAY_SIZE(values); k++) {
			for (u32 c = 0; c < ARRAY_SIZE(conversions); c++) {
				snprintf(fmt, sizeof(fmt), "<%%%s%s>", flags[i], conversions[c]);
				SAME(fmt, (u32)values[k]);
				snprintf(fmt, sizeof(fmt), "<%%%sl%s>", flags[i], conversions[c]);
				SAME(fmt, values[k]);
				snprintf(fmt, sizeof(fmt), "<%%%sll%s>", flags[i], conversions[c]);
				SAME(fmt, values[k]);
				snprintf(fmt, sizeof(fmt), "<%%%sz%s>", flags[i], conversions[c]);
				SAME(fmt, values[k]);
			}
		}
	}
	SAME("%#x %#10x %#010x", 0x12u, 0x12u, 0x12u);
	SAME("%*d|%-*d|%*d", 6, 42, 6, 42, -6, 42);
	SAME("%hx %hhu", 0x12, 7);
}

static void test_text(void **state)
{
	SAME("%s|%10s|%-10s|%.2s|%.*s|%10.1s", "abc", "abc", "abc", "abc", 1, "abc", "abc");
	SAME("%c%c|%3c|%-3c|", 'x', 'y', 'z', 'w');
	SAME("100%% plain");
	SAME("%p %20p", (void *)0x1234, (void *)0xffff800000000000);
	SAME("%.3s", "ab");
}

static void test_size_is_kept(void **state)
{
	char buf[8];

	memset(buf, '#', sizeof(buf));
	assert_int_equal(format(buf, 4, "abcdef"), 6);
	assert_string_equal(buf, "abc");
	assert_int_equal(buf[4], '#');
	assert_int_equal(format(buf, 1, "abc"), 3);
	assert_int_equal(buf[0], 0);
	memset(buf, '#', sizeof(buf));
	assert_int_equal(format(buf, 0, "abc"), 3);
	assert_int_equal(buf[0], '#');
	assert_int_equal(format(NULL, 0, "%d", 12345), 5);
}

static void test_odd_input(void **state)
{
	char buf[32];
	const char *volatile null = NULL; /* the compiler must not see it */

	format(buf, sizeof(buf), "%q %");
	assert_string_equal(buf, "%q ");
	format(buf, sizeof(buf), "%s", null);
	assert_string_equal(buf, "(null)");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_integers),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_size_is_kept),
		cmocka_unit_test(test_odd_input),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
