// SPDX-License-Identifier: MIT
/* keelrun's command line, and load options as argc and argv. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include "mgmt/uefi/keelrun/options.h"
#include "mgmt/uefi/libkeel/arguments.h"

static struct options o;
static char error[120];

static int parse(const char *line)
{
	static char text[400];
	char *argv[32];
	int argc = 0;

	strcpy(text, line);
	for (char *w = strtok(text, " "); w; w = strtok(NULL, " "))
		argv[argc++] = w;
	error[0] = 0;
	return options_parse(&o, argc, argv, error, sizeof(error));
}

static void defaults(void **state)
{
	assert_int_equal(parse("keelrun -k bzImage"), 0);
	assert_string_equal(o.kernel, "bzImage");
	assert_null(o.initrd);
	assert_string_equal(o.params, "console=ttyS0");
	assert_int_equal(o.memory, 256 << 20);
	assert_int_equal(o.cpus, 1);
	assert_false(o.power_off || o.help || o.exit_port);
}

static void short_and_long(void **state)
{
	assert_int_equal(
		parse("keelrun run -k K -i I -p quiet -m 512 -c 2 --poweroff --exit-port 0xf4"), 0);
	assert_string_equal(o.kernel, "K");
	assert_string_equal(o.initrd, "I");
	assert_string_equal(o.params, "quiet");
	assert_int_equal(o.memory, 512ull << 20);
	assert_int_equal(o.cpus, 2);
	assert_true(o.power_off);
	assert_int_equal(o.exit_port, 0xf4);
	assert_int_equal(parse("lkvm run --kernel=K --initrd=I --params= --mem=4G --cpus 8"), 0);
	assert_string_equal(o.params, "");
	assert_int_equal(o.memory, 4ull << 30);
	assert_int_equal(o.cpus, 8);
	assert_int_equal(parse("keelrun -kK -m 64M -c1"), 0);
	assert_string_equal(o.kernel, "K");
	assert_int_equal(o.memory, 64 << 20);
	assert_int_equal(parse("keelrun -k K --check-vectors"), 0);
	assert_true(o.check_vectors && !o.power_off);
	assert_int_equal(parse("keelrun -h"), 0);
	assert_true(o.help);
}

static void wrong(const char *line, const char *message)
{
	assert_int_equal(parse(line), -EINVAL);
	if (!strstr(error, message))
		fail_msg("'%s': '%s' does not say '%s'", line, error, message);
}

static void errors(void **state)
{
	wrong("keelrun", "no kernel");
	wrong("keelrun -k", "'-k' needs a value");
	wrong("keelrun --kernel", "needs a value");
	wrong("keelrun -k K --frob 3", "'--frob'");
	wrong("keelrun -k K -x", "'-x'");
	wrong("keelrun -k K -", "'-'");
	wrong("keelrun -k K stray", "'stray'");
	wrong("keelrun -k K --poweroff=1", "'--poweroff=1'");
	wrong("keelrun -k K --kern K", "'--kern'");
	wrong("keelrun -k K -c 0", "'0' is no value for --cpus");
	wrong("keelrun -k K -c 9", "cpus");
	wrong("keelrun -k K -c 2x", "cpus");
	wrong("keelrun -k K -c 0x", "cpus");
	wrong("keelrun -k K -m 0", "mem");
	wrong("keelrun -k K -m -5", "mem");
	wrong("keelrun -k K -m 5T", "mem");
	wrong("keelrun -k K -m 5MM", "mem");
	wrong("keelrun -k K -m 99999999999999999999999", "mem");
	wrong("keelrun -k K --exit-port 65536", "exit-port");
}

static struct arguments a;

static int options(const char *line)
{
	u16 text[5000];
	u32 n = 0;

	for (; line[n]; n++)
		text[n] = (u8)line[n];
	text[n++] = 0;
	return arguments_parse(&a, "p.efi", text, n * 2);
}

static void words(void **state)
{
	assert_int_equal(options("  -p \"a b\" \t-x \"\" y\"z w\"v"), 0);
	assert_int_equal(a.count, 6);
	assert_string_equal(a.values[0], "p.efi");
	assert_string_equal(a.values[1], "-p");
	assert_string_equal(a.values[2], "a b");
	assert_string_equal(a.values[3], "-x");
	assert_string_equal(a.values[4], "");
	assert_string_equal(a.values[5], "yz wv");
	assert_null(a.values[6]);
}

static void program_from_the_shell(void **state)
{
	assert_int_equal(options("FS0:\\keelrun.EFI -h other.efi"), 0);
	assert_int_equal(a.count, 3);
	assert_string_equal(a.values[0], "FS0:\\keelrun.EFI");
	assert_string_equal(a.values[1], "-h");
	assert_string_equal(a.values[2], "other.efi");
}

static void no_text(void **state)
{
	static const u16 guid[8] = {0x8108, 0x4eac, 0x9f11, 0x59d4, 0x0e85, 0x1a85, 0x6d96, 0x0e1b};

	assert_int_equal(arguments_parse(&a, "p", guid, sizeof(guid)), 0);
	assert_int_equal(a.count, 1);
	assert_int_equal(arguments_parse(&a, "p", NULL, 0), 0);
	assert_int_equal(a.count, 1);
	assert_int_equal(arguments_parse(&a, "p", (u16[]){'a', 'b'}, 3), 0);
	assert_int_equal(a.count, 1);
	assert_int_equal(arguments_parse(&a, "p", (u16[]){'a', 'b'}, 4), 0); /* not terminated */
	assert_string_equal(a.values[1], "ab");
}

static void too_much(void **state)
{
	char line[4900];

	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 1] = 0;
	assert_int_equal(options(line), -E2BIG);
	assert_int_equal(a.count, 1);
	for (u32 i = 1; i < sizeof(line) - 1; i += 2)
		line[i] = ' ';
	assert_int_equal(options(line), -E2BIG);
	assert_int_equal(a.count, ARGUMENTS_MAX);
	assert_null(a.values[ARGUMENTS_MAX]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),
		cmocka_unit_test(short_and_long),
		cmocka_unit_test(errors),
		cmocka_unit_test(words),
		cmocka_unit_test(program_from_the_shell),
		cmocka_unit_test(no_text),
		cmocka_unit_test(too_much),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
