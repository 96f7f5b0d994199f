// SPDX-License-Identifier: MIT
/* libkeel's printf against the host's, and the terminal's translation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "mgmt/uefi/libkeel/format.h"
#include "mgmt/uefi/libkeel/terminal.h"

#define SAME(...)                                                                                  \
	do {                                                                                       \
		char ours[200], theirs[200];                                                       \
		int a = format_to(ours, sizeof(ours), __VA_ARGS__);                                \
		int b = snprintf(theirs, sizeof(theirs), __VA_ARGS__);                             \
		assert_string_equal(ours, theirs);                                                 \
		assert_int_equal(a, b);                                                            \
	} while (0)

static void integers(void **state)
{
	SAME("%d %i %u %x %X %o", -5, 7, 4000000000u, 0xbeef, 0xbeef, 0755);
	SAME("%5d|%-5d|%05d|%+d|% d|%.3d|%8.3d", 42, 42, -42, 42, 42, 7, -7);
	SAME("%#x %#X %#o %#x", 255, 255, 8, 0);
	SAME("%ld %lu %lx %lld %llx %zu %jd %td", -1l, ~0ul, ~0ul, -5ll, ~0ull, (size_t)9,
	     (intmax_t)-3, (ptrdiff_t)-4);
	SAME("%hhd %hd %hhu %hu", -1, -2, 255, 65535);
	SAME("%hhx %hx", 0x1ff, 0x1ffff);
	SAME("%ld", -9223372036854775807l - 1);
	SAME("%d", -2147483647 - 1);
	SAME("%*d|%-*d|%.*d|%*d", 6, 1, 6, 2, 4, 3, -6, 4);
	SAME("%p", (void *)0x1234);
	SAME("[%.0d] [%5.0d]|%+05d", 1, 2, 4);
}

static void strings(void **state)
{
	SAME("%s|%10s|%-10s|%.2s|%c%%", "abc", "abc", "abc", "abc", 'x');
	SAME("%5c|%-5c|", 'a', 'b');
	SAME("%.*s", 3, "abcdef");
	SAME("%.3s", (char[]){'a', 'b', 'c'}); /* not terminated */
}

static void floating(void **state)
{
	SAME("%f %.1f %.0f %10.3f %-10.2f|", 3.14159, 2.75, 7.0, -1.5, 2.25);
	SAME("%.2f %.3f", 0.999, 99.9996);
	SAME("%e %.2e %E", 12345.678, 0.00012, 1.0);
	SAME("%010.1f %+.1f", -3.5, 4.0);
	SAME("%f %F", (double)INFINITY, -(double)INFINITY);
	SAME("%10.1f ticks/op", 2200.4);
}

static void sizes(void **state)
{
	char small[4] = "zzz";

	assert_int_equal(format_to(small, sizeof(small), "%s", "abcdef"), 6);
	assert_string_equal(small, "abc");
	assert_int_equal(format_to(small, 0, "%s", "abcdef"), 6);
	assert_int_equal(format_to(small, 1, "%d", 5), 1);
	assert_string_equal(small, "");
}

/* What the compiler would warn about */
static void odd_formats(void **state)
{
	char out[40];
	const char *volatile unknown = "%y %", *volatile null = "%s",
			     *volatile both = "[%08.3d|%-05d]";

	assert_int_equal(format_to(out, sizeof(out), unknown, 1), 3);
	assert_string_equal(out, "%y ");
	format_to(out, sizeof(out), null, NULL);
	assert_string_equal(out, "(null)");
	format_to(out, sizeof(out), both, 3, 4);
	assert_string_equal(out, "[     003|4    ]");
}

static char shown[400];

static void show(const char *bytes)
{
	struct terminal_output t = {0};
	size_t n = 0;
	u16 c[2];

	for (; *bytes; bytes++)
		for (u32 i = 0, count = terminal_put(&t, (u8)*bytes, c); i < count; i++)
			n += (size_t)snprintf(shown + n, sizeof(shown) - n,
					      c[i] < 0x80 ? "%c" : "<%x>", c[i]);
	shown[n] = 0;
}

static void output(void **state)
{
	show("plain\ntext\r\b!\a\x7f");
	assert_string_equal(shown, "plain\r\ntext\r\b!");
	show("a\033[1;31mred\033[0m\033[6n\033[?25lb");
	assert_string_equal(shown, "aredb");
	show("a\033]0;title\007b\033]0;title\033\\c\033(Bd\033Me\033P1$x\033\\f");
	assert_string_equal(shown, "abcdef");
	show("\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 \xff \xc3x \x80");
	assert_string_equal(shown, "<e9> <20ac> ? ? x ?");
}

static void key(u16 scan, u16 character, const char *bytes)
{
	char out[TERMINAL_KEY_BYTES + 1] = {0};

	assert_int_equal(terminal_key(scan, character, out), strlen(bytes));
	assert_memory_equal(out, bytes, strlen(bytes));
}

static void keys(void **state)
{
	key(0, 'a', "a");
	key(0, '\r', "\r");
	key(0, 3, "\003");
	key(0, '\b', "\x7f");
	key(1, 0, "\033[A");
	key(4, 0, "\033[D");
	key(8, 0, "\033[3~");
	key(10, 0, "\033[6~");
	key(0x17, 0, "\033");
	key(0x0b, 0, "");
	key(0, 0, "");
	key(0, 0xe9, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(integers),    cmocka_unit_test(strings),
		cmocka_unit_test(floating),    cmocka_unit_test(sizes),
		cmocka_unit_test(odd_formats), cmocka_unit_test(output),
		cmocka_unit_test(keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
