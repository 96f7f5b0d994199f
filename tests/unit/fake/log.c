/* SPDX-License-Identifier: MIT */
/* The log on standard error, and panic() as a failed assertion. */
#include "tests/unit/fake/fake.h"

#include <stdio.h>
#include <stdlib.h>

bool fake_log_print;
u64 fake_log_count;
char fake_log_last[256];

__attribute__((constructor)) static void fake_log_init(void)
{
	fake_log_print = getenv("KEEL_TEST_LOG") != NULL;
}

__attribute__((weak)) void log_line(enum log_level level, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(fake_log_last, sizeof(fake_log_last), format, ap);
	va_end(ap);
	fake_log_count++;
	if (fake_log_print)
		fprintf(stderr, "[%u] %s\n", level, fake_log_last);
}

__attribute__((weak)) bool log_allowed(struct log_limit *limit)
{
	return ++limit->count <= 10;
}

__attribute__((weak)) void panic(const char *format, ...)
{
	static char text[256];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	mock_assert(0, text, "panic", 0);
	abort();
}
