// SPDX-License-Identifier: MIT
/*
 * The program's memory: firmware pages for mmap(), firmware pools for malloc(), all remembered so
 * that the end of the program gives everything back.
 */
#include "mgmt/uefi/libkeel/libkeel.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* In front of what malloc() returns, which is 16 bytes aligned. */
struct block {
	struct block *next, **link;
	void *pool; /* what the firmware gave */
	size_t size;
};

struct mapping {
	struct mapping *next;
	u64 base, pages;
};

static struct block *blocks;
static struct mapping *mappings;

/* ---- pages ---- */

struct pages_request {
	u64 base, pages, alignment;
};

/* The firmware aligns to 4 KiB only: asks for more and returns the ends. */
static void allocate_pages(void *arg)
{
	struct pages_request *r = arg;
	u64 more = r->alignment > PAGE_SIZE ? r->alignment / PAGE_SIZE - 1 : 0;
	EFI_PHYSICAL_ADDRESS base;
	u64 before, after;

	r->base = 0;
	if (efi_boot->AllocatePages(AllocateAnyPages, EfiLoaderData, r->pages + more, &base))
		return;
	r->base = ALIGN_UP(base, r->alignment);
	before = (r->base - base) / PAGE_SIZE;
	after = more - before;
	if (before)
		efi_boot->FreePages(base, before);
	if (after)
		efi_boot->FreePages(r->base + r->pages * PAGE_SIZE, after);
}

u64 pages_allocate(u64 pages, u64 alignment)
{
	struct pages_request r = {0, pages, MAX(alignment, PAGE_SIZE)};

	if (!pages || pages > BIT(36))
		return 0;
	on_bsp(allocate_pages, &r);
	return r.base;
}

static void free_pages(void *arg)
{
	struct pages_request *r = arg;

	efi_boot->FreePages(r->base, r->pages);
}

void pages_free(u64 base, u64 pages)
{
	struct pages_request r = {base, pages, 0};

	on_bsp(free_pages, &r);
}

/* ---- malloc ---- */

struct pool_request {
	size_t size, alignment;
	void *p;
};

static void allocate_block(void *arg)
{
	struct pool_request *r = arg;
	size_t alignment = MAX(r->alignment, 16ul);
	struct block *b;
	void *pool;

	r->p = NULL;
	if (r->size > BIT(40) ||
	    efi_boot->AllocatePool(EfiLoaderData, r->size + sizeof(*b) + alignment, &pool))
		return;
	b = (struct block *)ALIGN_UP((u64)pool + sizeof(*b), alignment) - 1;
	*b = (struct block){blocks, &blocks, pool, r->size};
	if (blocks)
		blocks->link = &b->next;
	blocks = b;
	r->p = b + 1;
}

static void free_block(void *arg)
{
	struct block *b = arg;

	*b->link = b->next;
	if (b->next)
		b->next->link = b->link;
	efi_boot->FreePool(b->pool);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	struct pool_request r = {size, alignment, NULL};

	on_bsp(allocate_block, &r);
	if (!r.p)
		errno = ENOMEM;
	return r.p;
}

void *malloc(size_t size)
{
	return aligned_alloc(16, size);
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
	*out = aligned_alloc(alignment, size);
	return *out ? 0 : ENOMEM;
}

void *calloc(size_t count, size_t size)
{
	size_t bytes;
	void *p;

	if (__builtin_mul_overflow(count, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	p = malloc(bytes);
	return p ? memset(p, 0, bytes) : NULL;
}

void free(void *p)
{
	if (p)
		on_bsp(free_block, (struct block *)p - 1);
}

void *realloc(void *old, size_t size)
{
	void *p = malloc(size);

	if (p && old) {
		memcpy(p, old, MIN(size, ((struct block *)old - 1)->size));
		free(old);
	}
	return p;
}

/* ---- mmap ---- */

static void add_mapping(void *arg)
{
	struct mapping *m = arg;

	m->next = mappings;
	mappings = m;
}

static void *map_anonymous(size_t length)
{
	u64 pages = ALIGN_UP(length, PAGE_SIZE) / PAGE_SIZE;
	struct mapping *m = malloc(sizeof(*m));
	u64 base;

	if (!m)
		return MAP_FAILED;
	base = pages_allocate(pages, length >= SIZE_2M ? SIZE_2M : PAGE_SIZE);
	if (!base) {
		free(m);
		errno = ENOMEM;
		return MAP_FAILED;
	}
	memset((void *)base, 0, pages * PAGE_SIZE);
	*m = (struct mapping){NULL, base, pages};
	on_bsp(add_mapping, m);
	return (void *)base;
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	struct object *o;
	void *run;

	if (!length || flags & MAP_FIXED || length > BIT(46)) {
		errno = EINVAL;
		return MAP_FAILED;
	}
	if (flags & MAP_ANONYMOUS)
		return map_anonymous(length);
	o = object_get(fd);
	if (!o)
		return MAP_FAILED;
	run = kvm_run_pages(o);
	if (!run || offset || length > 3 * PAGE_SIZE) {
		errno = run ? EINVAL : ENODEV;
		return MAP_FAILED;
	}
	return run;
}

struct unmap_request {
	u64 base, pages;
	struct mapping *found;
};

static void take_mapping(void *arg)
{
	struct unmap_request *r = arg;

	for (struct mapping **m = &mappings; *m; m = &(*m)->next)
		if ((*m)->base == r->base && (*m)->pages == r->pages) {
			r->found = *m;
			*m = (*m)->next;
			return;
		}
}

int munmap(void *address, size_t length)
{
	struct unmap_request r = {(u64)address, ALIGN_UP(length, PAGE_SIZE) / PAGE_SIZE, NULL};

	on_bsp(take_mapping, &r);
	if (!r.found) {
		/* A vCPU's pages live as long as the vCPU. */
		if (r.pages && r.pages <= 3)
			return 0;
		errno = EINVAL;
		return -1;
	}
	kvm_forget(r.base, r.pages * PAGE_SIZE);
	pages_free(r.base, r.pages);
	free(r.found);
	return 0;
}

int madvise(void *address, size_t length, int advice)
{
	return 0;
}

int mprotect(void *address, size_t length, int protection)
{
	return 0;
}

void memory_free_all(void)
{
	for (struct mapping *m = mappings; m; m = m->next)
		efi_boot->FreePages(m->base, m->pages);
	mappings = NULL;
	while (blocks)
		free_block(blocks);
}
