// SPDX-License-Identifier: MIT
/*
 * Watches over the vector registers that Keel switches between this program and its VMs: YMM and
 * MXCSR hold another pattern at every call, and are compared after it.
 */
#include "mgmt/uefi/libkeel/vector.h"
#include "mgmt/uefi/include/keel.h"
#include <string.h>

enum { MXCSR_FLAGS = 0x3f, MXCSR_MASKS = 0x1f80, MXCSR_ROUNDING = 13, MXCSR_FLUSH = BIT(15) };

static u64 runs, wrong;

static void fill(struct vector_state *s, u64 seed)
{
	u64 x = (seed + 1) * 0x9e3779b97f4a7c15ull;

	for (u32 i = 0; i < 64; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		s->ymm[i / 4][i % 4] = x;
	}
	/* The exceptions stay masked. */
	s->mxcsr = MXCSR_MASKS | (x & MXCSR_FLAGS) | (x >> 8 & 3) << MXCSR_ROUNDING |
		   (x >> 10 & 1 ? MXCSR_FLUSH : 0);
	s->pad = 0;
}

void vector_watch(struct vector_call *c)
{
	fill(&c->before, __atomic_fetch_add(&runs, 1, __ATOMIC_RELAXED));
	c->after.pad = 0;
	vector_call(c);
	if (memcmp(&c->before, &c->after, sizeof(c->before)))
		__atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
}

void keel_vectors_result(uint64_t *run_count, uint64_t *wrong_count)
{
	*run_count = runs;
	*wrong_count = wrong;
}
