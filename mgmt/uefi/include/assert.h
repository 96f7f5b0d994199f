/* SPDX-License-Identifier: MIT */
/* assert(): ends the program with the place named. */
#pragma once

void __assert_fail(const char *text, const char *file, int line) __attribute__((noreturn));

#ifdef NDEBUG
#define assert(x) ((void)0)
#else
#define assert(x) ((x) ? (void)0 : __assert_fail(#x, __FILE__, __LINE__))
#endif
#define static_assert _Static_assert
