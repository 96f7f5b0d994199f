/* SPDX-License-Identifier: MIT */
/* boot/efi/config.c: each key, wrong lines by number, load options. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "arch-x86/log.h"
#include "arch-x86/virt.h"
#include "boot/efi/config.h"

static struct config c;
static u32 wrong_count, wrong_lines[2000]; /* since config_defaults() */

static void defaults(void)
{
	config_defaults(&c);
	wrong_count = 0;
}

static int setup(void **state)
{
	memset(&c, 0xa5, sizeof(c));
	defaults();
	return 0;
}

/* Exactly as long as the text: the sanitizer sees a read behind it. */
static struct config_text exact(const char *text, u64 size)
{
	char *copy = malloc(size + !size);

	memcpy(copy, text, size);
	return (struct config_text){.start = copy, .size = size};
}

static void parse_bytes(const char *text, u64 size)
{
	struct config_text t = exact(text, size);
	const char *what;

	while ((what = config_read_file(&c, &t))) {
		assert_true(strlen(what) > 0);
		assert_true(wrong_count < ARRAY_SIZE(wrong_lines));
		wrong_lines[wrong_count++] = t.line;
	}
	assert_null(config_read_file(&c, &t));
	free((void *)t.start);
}

static void parse(const char *text)
{
	parse_bytes(text, strlen(text));
}

static void parse_options(const char *text)
{
	struct config_text t = exact(text, strlen(text));

	while (config_read_options(&c, &t))
		wrong_count++;
	assert_null(config_read_options(&c, &t));
	free((void *)t.start);
}

static void test_defaults(void **state)
{
	parse("");
	assert_string_equal(c.next, "");
	assert_string_equal(c.args, "");
	assert_int_equal(c.log_level, LOG_INFO);
	assert_int_equal(c.serial_port, 0);
	assert_false(c.stop_on_fail);
	assert_int_equal(c.max_cpus, 0);
	assert_false(c.check_entry);
	assert_false(c.check_machine);
	assert_false(c.teach);
	assert_false(c.nmi_dump);
	assert_int_equal(c.hw_off, 0);
	assert_int_equal(c.test, 0);
	assert_int_equal(wrong_count, 0);
}

static void test_each_key(void **state)
{
	parse("# a comment = with an equals sign\r\n"
	      "\n"
	      "next=\\EFI\\debian\\grubx64.efi\r\n"
	      "  args = -p \"a=b # c\"  \n"
	      "log=debug\n"
	      "serial=0x2f8\n"
	      "on-fail=stop\n"
	      "cpus=4\n"
	      "check=entry\n"
	      "nmi=dump\n"
	      "hw-off=next-rip, clean-bits\n"
	      "test=root-df");
	assert_int_equal(wrong_count, 0);
	assert_string_equal(c.next, "\\EFI\\debian\\grubx64.efi");
	assert_string_equal(c.args, "-p \"a=b # c\"");
	assert_int_equal(c.log_level, LOG_DEBUG);
	assert_int_equal(c.serial_port, 0x2f8);
	assert_true(c.stop_on_fail);
	assert_int_equal(c.max_cpus, 4);
	assert_true(c.check_entry);
	assert_false(c.check_machine);
	assert_true(c.nmi_dump);
	assert_int_equal(c.hw_off, VIRT_NEXT_RIP | VIRT_CLEAN_BITS);
	assert_int_equal(c.test, 2);
}

static void test_wrong_lines_are_named_and_skipped(void **state)
{
	static const char *const wrong[] = {
		"nonsense",	  "=",		"colour=red",	 "log=loud", "serial=com1",
		"serial=0x10000", "serial=",	"on-fail=panic", "cpus=0",   "cpus=-1",
		"check=all",	  "nmi=ignore", "hw-off=cache",	 "test=x",   "cpus=0x",
		"cpus=999999999",
	};

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		char text[100] = "log=warn\n\n";

		defaults();
		strcat(text, wrong[i]);
		strcat(text, "\nserial=760\n");
		parse(text);
		assert_int_equal(wrong_count, 1);
		assert_int_equal(wrong_lines[0], 3);
		assert_int_equal(c.log_level, LOG_WARN);
		assert_int_equal(c.serial_port, 760);
	}
}

/* However many: 1,000 wrong lines between right ones, each by its number. */
static void test_every_wrong_line_is_named(void **state)
{
	char text[8000] = "", *end = text;

	for (u32 i = 0; i < 1000; i++)
		end += sprintf(end, "x\n%s", i % 3 ? "" : "cpus=7\n");
	parse(text);
	assert_int_equal(wrong_count, 1000);
	for (u32 i = 0; i < 1000; i++)
		assert_int_equal(wrong_lines[i], 1 + i + (i + 2) / 3);
	assert_int_equal(c.max_cpus, 7);
}

static void test_too_long_values(void **state)
{
	char text[CONFIG_ARGS + 100] = "args=";
	u32 n = strlen(text);

	memset(text + n, 'x', CONFIG_ARGS - 1);
	parse(text);
	assert_int_equal(wrong_count, 0);
	assert_int_equal(strlen(c.args), CONFIG_ARGS - 1);
	memset(text + n, 'y', CONFIG_ARGS);
	parse(text);
	assert_int_equal(wrong_count, 1);
	assert_int_equal(c.args[0], 'x');
	memcpy(text, "next=", 5);
	memset(text + 5, 'z', CONFIG_PATH);
	text[5 + CONFIG_PATH] = 0;
	parse(text);
	assert_int_equal(wrong_count, 2);
	assert_string_equal(c.next, "");
}

static void test_every_byte_value(void **state)
{
	char text[256 * 3];

	for (int i = 0; i < 256; i++)
		memcpy(text + i * 3, (char[]){i, '=', i}, 3);
	parse_bytes(text, sizeof(text));
	assert_true(wrong_count > 0);
}

static void test_options_override_the_file(void **state)
{
	parse("next=\\a.efi\nlog=error\nargs=old");
	parse_options("keel.efi  log=warn next=\\b.efi\targs=-k x serial=1 ");
	assert_int_equal(wrong_count, 0);
	assert_string_equal(c.next, "\\b.efi");
	assert_int_equal(c.log_level, LOG_WARN);
	assert_string_equal(c.args, "-k x serial=1");
	assert_int_equal(c.serial_port, 0);
}

static void test_options_errors(void **state)
{
	parse_options("");
	parse_options("   ");
	parse_options("\\EFI\\keel.efi");
	assert_int_equal(wrong_count, 0);
	parse_options("keel.efi fast cpus=two cpus=2");
	assert_int_equal(wrong_count, 2);
	assert_int_equal(c.max_cpus, 2);
}

static void test_teach_is_a_level_of_the_log(void **state)
{
	parse("log=error\nlog=teach");
	assert_true(c.teach);
	assert_int_equal(c.log_level, LOG_INFO);
	parse_options("keel.efi log=warn");
	assert_false(c.teach);
	assert_int_equal(c.log_level, LOG_WARN);
	assert_int_equal(wrong_count, 0);
}

/* From the shell the program's name comes first, from a boot entry nothing does. */
static void test_the_word_check(void **state)
{
	static const char *const lines[] = {"keel.efi check", "check", "keel.efi log=warn check",
					    "check after=poweroff", "keel.efi check=machine"};

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		defaults();
		parse_options(lines[i]);
		assert_true(c.check_machine);
		assert_false(c.check_entry);
		assert_int_equal(wrong_count, 0);
	}
	defaults();
	parse_options("check.efi");
	parse_options("keel.efi args=check");
	assert_false(c.check_machine);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_defaults, setup),
		cmocka_unit_test_setup(test_each_key, setup),
		cmocka_unit_test_setup(test_wrong_lines_are_named_and_skipped, setup),
		cmocka_unit_test_setup(test_every_wrong_line_is_named, setup),
		cmocka_unit_test_setup(test_too_long_values, setup),
		cmocka_unit_test_setup(test_every_byte_value, setup),
		cmocka_unit_test_setup(test_options_override_the_file, setup),
		cmocka_unit_test_setup(test_options_errors, setup),
		cmocka_unit_test_setup(test_teach_is_a_level_of_the_log, setup),
		cmocka_unit_test_setup(test_the_word_check, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
