/* SPDX-License-Identifier: MIT */
/* Random numbers whose seed is printed: KEEL_SEED=N repeats a run. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "lib/types.h"

static u64 random_state;

static inline void random_begin(void)
{
	const char *seed = getenv("KEEL_SEED");

	random_state = seed ? strtoull(seed, NULL, 0) : (u64)time(NULL) * 2654435761u | 1;
	printf("KEEL_SEED=%llu\n", (unsigned long long)random_state);
}

static inline u64 random_u64(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state * 0x2545f4914f6cdd1dull;
}

/* 0 to limit - 1 */
static inline u64 random_below(u64 limit)
{
	return (random_u64() >> 16) % limit;
}
