/* SPDX-License-Identifier: MIT */
/* arch-x86/dump.c: lists of words over several lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "arch-x86/dump.h"
#include "arch-x86/log.h"
#include "arch-x86/regs.h"

static char lines[8][240];
static u32 line_count;

void log_line(enum log_level level, const char *text, ...)
{
	va_list ap;

	assert_true(line_count < ARRAY_SIZE(lines));
	va_start(ap, text);
	vsnprintf(lines[line_count++], sizeof(lines[0]), text, ap);
	va_end(ap);
}

static int setup(void **state)
{
	line_count = 0;
	return 0;
}

static void bits_are_named(void **state)
{
	dump_list_bits("CR0", CR0_PE | CR0_PG | BIT(20), dump_cr0);
	assert_int_equal(line_count, 1);
	assert_string_equal(lines[0], "  CR0: PE, PG");
}

static void an_empty_list_says_so(void **state)
{
	dump_list_bits("CR0", 0, dump_cr0);
	assert_int_equal(line_count, 1);
	assert_string_equal(lines[0], "  CR0: none");
}

static void long_lists_take_more_lines(void **state)
{
	struct dump_list list = {.head = "words"};

	for (u32 i = 0; i < 20; i++)
		dump_list_add(&list, "0123456789");
	dump_list_end(&list);
	assert_int_equal(line_count, 3);
	assert_memory_equal(lines[0], "  words: 0123456789, 0", 20);
	assert_int_equal(lines[0][strlen(lines[0]) - 1], ',');
	assert_memory_equal(lines[1], "    0123456789, ", 16);
	assert_int_equal(lines[2][strlen(lines[2]) - 1], '9');
}

static void a_word_longer_than_a_line_is_cut(void **state)
{
	struct dump_list list = {.head = "words"};
	char word[300];

	memset(word, 'w', sizeof(word) - 1);
	word[sizeof(word) - 1] = 0;
	dump_list_add(&list, "a");
	dump_list_add(&list, word);
	dump_list_add(&list, word);
	dump_list_end(&list);
	assert_int_equal(line_count, 3);
	assert_true(strlen(lines[1]) < 110);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(bits_are_named, setup),
		cmocka_unit_test_setup(an_empty_list_says_so, setup),
		cmocka_unit_test_setup(long_lists_take_more_lines, setup),
		cmocka_unit_test_setup(a_word_longer_than_a_line_is_cut, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
