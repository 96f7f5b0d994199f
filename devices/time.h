/* SPDX-License-Identifier: MIT */
/* Conversions between nanoseconds and TSC ticks that can neither overflow nor divide by zero. */
#pragma once

#include "lib/types.h"

#define NS_PER_SECOND 1000000000ull
#define NS_PER_MS     1000000ull

/* a * b / c with a 128-bit product; ~0 when the result needs more than 64 bits, or c is 0. */
static inline u64 mul_div(u64 a, u64 b, u64 c)
{
	u64 low, high, remainder;

	__asm__("mulq %3" : "=a"(low), "=d"(high) : "0"(a), "r"(b) : "cc");
	if (high >= c)
		return ~0ull;
	__asm__("divq %4" : "=a"(low), "=d"(remainder) : "0"(low), "1"(high), "r"(c) : "cc");
	return low;
}

static inline u64 ns_to_tsc(u64 ns, u32 tsc_khz)
{
	return mul_div(ns, tsc_khz, NS_PER_MS);
}

static inline u64 tsc_to_ns(u64 ticks, u32 tsc_khz)
{
	return mul_div(ticks, NS_PER_MS, tsc_khz);
}

/* a + b, or ~0 (NO_DEADLINE) when that wraps. */
static inline u64 add_saturate(u64 a, u64 b)
{
	u64 sum;

	return __builtin_add_overflow(a, b, &sum) ? ~0ull : sum;
}

/* i when i < n, else 0, without a branch that the processor could mispredict (Spectre v1). */
static inline u32 index_clamp(u32 i, u32 n)
{
	u64 mask;

	__asm__("cmpq %2, %1; sbbq %0, %0" : "=r"(mask) : "r"((u64)i), "r"((u64)n) : "cc");
	return i & (u32)mask;
}
