/* SPDX-License-Identifier: MIT */
/*
 * Formatted text without a C library: %d %i %u %x %X %p %s %c %%, with l, ll, z and h lengths, a
 * field width (also *), 0 and - flags, # before x, and a precision for %s (also .*).
 */
#pragma once

#include <stdarg.h>

#include "lib/types.h"

/*
 * Writes at most size bytes, the closing NUL included; size 0 writes nothing. Returns the length
 * that the whole text would have, as vsnprintf does. An unknown conversion is copied as it stands.
 */
int format_string(char *buf, size_t size, const char *fmt, va_list ap);
int format(char *buf, size_t size, const char *fmt, ...) printf_like(3);
