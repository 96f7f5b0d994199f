/* SPDX-License-Identifier: MIT */
/*
 * Second-level page tables (EPT or NPT) of one VM. Tables come from the VM's pool. The one radix
 * walker (mm/radix.h) does the work for the host, EPT and NPT formats.
 *
 * Lock: stage2->lock, taken after memslots' and before the pool's. Walks by root (stage2_lookup)
 * take no lock: entries are written whole, and a table page is freed only after every CPU that
 * could still read it has flushed and has gone through an entry (stage2_quiesce).
 */
#pragma once

#include "arch-x86/mtrr.h"
#include "arch-x86/virt.h"
#include "lib/spinlock.h"
#include "mm/pool.h"

enum stage2_flags {
	S2_READ = BIT(0),
	S2_WRITE = BIT(1),
	S2_EXEC = BIT(2),
	S2_RWX = S2_READ | S2_WRITE | S2_EXEC,
	S2_ZERO_PAGE = BIT(3),	/* software: this leaf shows the shared zero page (D6) */
	S2_MAY_WRITE = BIT(4),	/* software: only the dirty log holds the write permission back */
	S2_IGNORE_PAT = BIT(5), /* EPT: the guest's PAT has no say. NPT cannot */
	S2_TYPES = 7 << 6,	/* S2_TYPE() */
	/* With S2_WRITE: the processor logs the first write. Large pages get neither instead. */
	S2_CLEAN = BIT(9),
};

/* EPT: the memory type, enum memory_type. No flag: write-back. NPT leaves it to the MTRRs. */
#define S2_TYPE(type)	  ((u32)((type) ^ MEMORY_WB) << 6)
#define S2_TYPE_OF(flags) (((flags) >> 6 & 7) ^ MEMORY_WB)

struct radix_format;

/* Tables that no entry points to any more, linked through software bits of their own entries. */
struct stage2_retired {
	hpa_t first;	/* 0: none */
	u64 generation; /* once every CPU has seen it, nobody can walk them */
};

struct stage2 {
	struct spinlock lock;
	const struct radix_format *format;
	struct virt_vm *vm; /* root and generation are published here */
	struct pool *pool;
	u64 large_pages;	       /* sizes allowed: bitwise OR of SIZE_2M and SIZE_1G */
	struct stage2_retired retired; /* grows */
	struct stage2_retired waiting; /* older, its generation is fixed */
};

/* Sizes of large pages with these features (enum virt_feature): SIZE_2M and SIZE_1G, or 0. */
u64 stage2_sizes(u64 features);
/* Allocates the root table, publishes it in vm. The format is the backend's. -ENOMEM. */
int stage2_init(struct stage2 *s, struct virt_vm *vm, struct pool *pool);
/*
 * Maps [gpa, gpa + size) to [hpa, ...) in the largest pages that alignment allows, replacing what
 * was there; what has become uniform is merged into a larger page. All page aligned, S2_READ is
 * in flags. Reserves tables first: -ENOMEM changes nothing. -EINVAL: alignment or an address
 * beyond the format's width. The generation grows when a present entry lost something.
 */
int stage2_map(struct stage2 *s, gpa_t gpa, hpa_t hpa, u64 size, u32 flags);
/* The reservation alone: under an outer lock, the stage2_map that follows cannot fail. */
int stage2_reserve(struct stage2 *s, gpa_t gpa, hpa_t hpa, u64 size);
/* Every entry of [gpa, gpa + size) becomes this one 4 KiB page (the zero page). -ENOMEM. */
int stage2_map_same(struct stage2 *s, gpa_t gpa, hpa_t page, u64 size, u32 flags);
/* Clears; splits what sticks out: -ENOMEM only when a split is needed and no table is left. */
int stage2_unmap(struct stage2 *s, gpa_t gpa, u64 size);
/*
 * The next write to each page of the range is to be noticed (dirty log): takes write permission
 * from every leaf, keeping large pages whole. With VIRT_PML small pages keep it and become clean.
 */
void stage2_log_writes(struct stage2 *s, gpa_t gpa, u64 size);
/*
 * Gives a leaf with S2_MAY_WRITE its write permission: as a `whole`, or only the 4 KiB page at
 * gpa, which is split off; with VIRT_PML the others of its 2 MiB become clean small pages. 0,
 * -ENOMEM (no table for the split), -EACCES (not mapped, or without S2_MAY_WRITE).
 */
int stage2_make_writable(struct stage2 *s, gpa_t gpa, bool whole);
/*
 * VIRT_SLAT_AD: has a processor used a page of the range since it was mapped, which counts as a
 * use, or since this cleared its accessed flag? A large page has one flag. A processor need not set
 * a flag again while its TLB holds the page: with `flush` the generation grows, so that each vCPU
 * drops that at its next entry, which need not be waited for. A use beside another change of the
 * leaf may be missed.
 */
bool stage2_accessed(struct stage2 *s, gpa_t gpa, u64 size, bool clear, bool flush);

/*
 * Unmapping memory whose frames are counted (mm/frames.h), in two steps and without memory.
 * stage2_detach clears the entries but remembers their frames in them; at most `budget` pages, then
 * -EAGAIN. A large page that sticks out is split, or, without a table for that, goes as a whole.
 * stage2_collect, after every CPU has flushed, drops the frames' references and empty tables.
 */
int stage2_detach(struct stage2 *s, gpa_t gpa, u64 size, u64 budget);
void stage2_collect(struct stage2 *s, gpa_t gpa, u64 size);
/*
 * The same in one step for a VM that will never run again: from *gpa on, which it moves.
 * At most `budget` entries, then -EAGAIN; 0: nothing is left.
 */
int stage2_release(struct stage2 *s, gpa_t *gpa, u64 budget);
/* Frees tables: each CPU has entered the VM with generation `seen` or later, or does not run it. */
void stage2_quiesce(struct stage2 *s, u64 seen);

/*
 * Where is gpa? false: not mapped. *size is the leaf's size in bytes, *hpa the exact address.
 */
bool stage2_lookup(const struct stage2 *s, gpa_t gpa, hpa_t *hpa, u64 *size, u32 *flags);
/*
 * The first leaf in [*gpa, end): *gpa moves to where it begins, unless it lies inside it already.
 * False: there is none.
 */
bool stage2_next(const struct stage2 *s, gpa_t *gpa, u64 end, u64 *size, u32 *flags);
/* Tables that mapping `size` bytes at gpa may need at most: for D6's reservations. */
u64 stage2_worst_case_tables(gpa_t gpa, u64 size);
