/* SPDX-License-Identifier: MIT */
/* printf's formatting, without a console. */
#pragma once

#include <stdarg.h>
#include <stddef.h>

typedef void format_sink(void *context, char c);

/*
 * Flags - + space # 0, width and precision (also *), h hh l ll z j t, and d i u x X o c s p % f F e
 * E g G. (g is printed as f or e are, without dropping zeros.) Returns the characters produced.
 */
int format_sink_to(format_sink *sink, void *context, const char *format, va_list ap);
/* At most size - 1 characters and a 0; returns how many the whole text has. */
int format_to_v(char *to, size_t size, const char *format, va_list ap);
int format_to(char *to, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
