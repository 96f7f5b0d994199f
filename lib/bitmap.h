/* SPDX-License-Identifier: MIT */
/* Bitmaps as arrays of 64-bit words; the plain functions are for one CPU at a time. */
#pragma once

#include "lib/types.h"

#define BITMAP_NONE (~0ull)

static inline bool bitmap_test(const u64 *map, u64 bit)
{
	return map[bit / 64] >> bit % 64 & 1;
}

static inline void bitmap_set(u64 *map, u64 bit)
{
	map[bit / 64] |= BIT(bit % 64);
}

static inline void bitmap_clear(u64 *map, u64 bit)
{
	map[bit / 64] &= ~BIT(bit % 64);
}

/* Safe against other CPUs' bitmap_set_atomic() and exchanges of whole words. */
static inline void bitmap_set_atomic(u64 *map, u64 bit)
{
	__atomic_fetch_or(&map[bit / 64], BIT(bit % 64), __ATOMIC_SEQ_CST);
}

static inline void bitmap_set_range(u64 *map, u64 first, u64 count)
{
	for (u64 i = first; i < first + count; i++)
		bitmap_set(map, i);
}

static inline void bitmap_clear_range(u64 *map, u64 first, u64 count)
{
	for (u64 i = first; i < first + count; i++)
		bitmap_clear(map, i);
}

/* The first of `count` clear bits in a row within [from, bits), or BITMAP_NONE. */
static inline u64 bitmap_find_clear(const u64 *map, u64 bits, u64 from, u64 count)
{
	u64 run = 0;

	for (u64 i = from; i < bits; i++) {
		if (!(i % 64) && map[i / 64] == ~0ull) {
			run = 0;
			i += 63;
		} else if (bitmap_test(map, i)) {
			run = 0;
		} else if (++run == count) {
			return i - count + 1;
		}
	}
	return BITMAP_NONE;
}
