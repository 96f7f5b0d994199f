/* SPDX-License-Identifier: MIT */
/*
 * A VM's own pages: what the management guest donated to it (design D6). Everything that a VM
 * needs in Keel comes from here, so no VM can exhaust another's memory.
 * Lock: pool->lock, a leaf.
 */
#pragma once

#include "arch-x86/addr.h"
#include "lib/spinlock.h"

#define POOL_RANGES 64

struct pool_range {
	hpa_t base;
	u32 pages;
	u32 free;
	u32 bitmap_pages; /* at the start of the range: its own bitmap, a set bit is a used page */
	u32 hint;	  /* no page before this one is free, nor ever one of the bitmap's */
};

struct pool {
	struct spinlock lock;
	u32 range_count;
	u64 free, total; /* pages */
	struct pool_range ranges[POOL_RANGES];
};

void pool_init(struct pool *pool);
/*
 * Adds `pages` pages at base, which must be Keel's already; what they held is lost. A range of one
 * page is of no use, since its bitmap would fill it: -EINVAL. -ENOSPC: too many ranges.
 */
int pool_add(struct pool *pool, hpa_t base, u64 pages);
/* `count` contiguous zeroed pages; HPA_NONE when there are none. */
hpa_t pool_alloc(struct pool *pool, u32 count);
/* What pool_alloc gave, or part of it. Anything else is a bug. */
void pool_free(struct pool *pool, hpa_t base, u32 count);
static inline u64 pool_free_pages(const struct pool *pool)
{
	return __atomic_load_n(&pool->free, __ATOMIC_RELAXED);
}
