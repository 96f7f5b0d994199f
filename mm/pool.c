/* SPDX-License-Identifier: MIT */
/* A VM's own pages: ranges with a bitmap each. Lock: pool->lock, a leaf. */
#include "mm/pool.h"

#include "arch-x86/log.h"
#include "lib/bitmap.h"
#include "lib/string.h"
#include "mm/phys.h"

#define PAGES_PER_BITMAP_PAGE (PAGE_SIZE * 8)

void pool_init(struct pool *pool)
{
	*pool = (struct pool){0};
}

int pool_add(struct pool *pool, hpa_t base, u64 pages)
{
	u64 bitmap_pages = (pages + PAGES_PER_BITMAP_PAGE - 1) / PAGES_PER_BITMAP_PAGE;
	struct pool_range *r;
	int error = 0;

	if (pages <= bitmap_pages || pages > UINT32_MAX)
		return -EINVAL;
	spin_lock(&pool->lock);
	if (pool->range_count == POOL_RANGES) {
		error = -ENOSPC;
		goto out;
	}
	memset(phys_ptr(base), 0, bitmap_pages * PAGE_SIZE);
	r = &pool->ranges[pool->range_count++];
	*r = (struct pool_range){.base = base,
				 .pages = (u32)pages,
				 .free = (u32)(pages - bitmap_pages),
				 .bitmap_pages = (u32)bitmap_pages,
				 .hint = (u32)bitmap_pages};
	pool->free += r->free;
	pool->total += pages;
out:
	spin_unlock(&pool->lock);
	return error;
}

static hpa_t range_alloc(struct pool_range *r, u32 count)
{
	u64 *map = phys_ptr(r->base);
	u64 first;

	if (r->free < count)
		return HPA_NONE;
	first = bitmap_find_clear(map, r->pages, r->hint, count);
	if (first == BITMAP_NONE)
		return HPA_NONE;
	bitmap_set_range(map, first, count);
	if (count == 1)
		r->hint = (u32)first + 1;
	r->free -= count;
	return HPA(r->base.v + first * PAGE_SIZE);
}

hpa_t pool_alloc(struct pool *pool, u32 count)
{
	hpa_t base = HPA_NONE;

	spin_lock(&pool->lock);
	for (u32 i = 0; i < pool->range_count && base.v == HPA_NONE.v; i++)
		base = range_alloc(&pool->ranges[i], count);
	if (base.v != HPA_NONE.v)
		pool->free -= count;
	spin_unlock(&pool->lock);
	if (base.v != HPA_NONE.v) {
		fake_frames_reused(base, count);
		memset(phys_ptr(base), 0, count * PAGE_SIZE);
	}
	return base;
}

static struct pool_range *range_of(struct pool *pool, hpa_t base, u32 count)
{
	for (u32 i = 0; i < pool->range_count; i++) {
		struct pool_range *r = &pool->ranges[i];
		u64 first = (base.v - r->base.v) >> PAGE_SHIFT;

		if (base.v >= r->base.v && first >= r->bitmap_pages && first < r->pages &&
		    count <= r->pages - first)
			return r;
	}
	return NULL;
}

void pool_free(struct pool *pool, hpa_t base, u32 count)
{
	struct pool_range *r;
	u64 first;

	spin_lock(&pool->lock);
	r = range_of(pool, base, count);
	CHECK(r);
	first = (base.v - r->base.v) >> PAGE_SHIFT;
	for (u64 i = first; i < first + count; i++) {
		CHECK(bitmap_test(phys_ptr(r->base), i));
		bitmap_clear(phys_ptr(r->base), i);
	}
	r->hint = MIN(r->hint, (u32)first);
	r->free += count;
	pool->free += count;
	spin_unlock(&pool->lock);
}
