/* SPDX-License-Identifier: MIT */
/*
 * The one walker of radix page tables: 4 levels of 512 entries, the formats (EPT, NPT) as constant
 * data.
 *
 *   address  47..39   38..30   29..21   20..12   11..0
 *   level       3        2        1        0     offset
 *   leaf               1 GiB    2 MiB    4 KiB
 *
 * No locks of its own: changes need the owner's lock; radix_find may run beside a change, since
 * entries are written whole, and a table is filled before an entry points to it.
 */
#pragma once

#include "arch-x86/addr.h"

#define RADIX_LEVELS	  4
#define RADIX_LIMIT	  BIT(48) /* addresses end here */
#define RADIX_SPAN(level) (PAGE_SIZE << (9 * (level)))

struct radix_format {
	u64 present;	/* any of these bits: the processor uses the entry */
	u64 table;	/* the bits of an entry that points to a table: grants all */
	u64 leaf;	/* bits that every leaf has: readable */
	u64 write;	/* set when writable */
	u64 accessed;	/* the processor sets it when it uses the leaf */
	u64 dirty;	/* set when written to */
	u64 exec;	/* set when executable */
	u64 no_exec;	/* set when not executable */
	u32 type_shift; /* where three bits of memory type stand; 0: the format has none */
	u64 pat_off;	/* set to ignore the guest's PAT */
	/* Bits that the processor ignores in a present leaf. */
	u64 zero_page;
	u64 may_write;
};

extern const struct radix_format radix_ept, radix_npt;

#define RADIX_LARGE   BIT(7)
#define RADIX_ADDRESS MASK(51, 12)
/*
 * Software's mark on an entry that is not present: it was a leaf, and the frames behind its
 * address still have their references, until every CPU has flushed.
 */
#define RADIX_PENDING BIT(62)

static inline bool radix_present(const struct radix_format *f, u64 entry)
{
	return entry & f->present;
}

static inline bool radix_is_table(const struct radix_format *f, u64 entry, int level)
{
	return level && radix_present(f, entry) && !(entry & RADIX_LARGE);
}

static inline u64 radix_index(u64 address, int level)
{
	return address >> (PAGE_SHIFT + 9 * level) & 511;
}

/* Where address stands: the leaf or empty entry; *level is its level. Never NULL. */
u64 *radix_find(const struct radix_format *f, hpa_t root, u64 address, int *level);
/* What a leaf at `level` with flags (enum stage2_flags) looks like. */
u64 radix_leaf(const struct radix_format *f, hpa_t hpa, u32 flags, int level);
/* Its flags. */
u32 radix_flags(const struct radix_format *f, u64 entry);

/* An entry that is not empty. */
struct radix_cursor {
	u64 address; /* in: from here on; out: where the entry begins, or the first address of the
		      * search if that lies inside */
	u64 *entry;
	int level;
};

/*
 * Finds the next leaf or pending entry in [cursor->address, end). False: there is none. At first
 * cursor->entry is NULL; to go on, cursor->address becomes radix_behind(cursor), and no table may
 * have been taken out meanwhile.
 */
bool radix_next(const struct radix_format *f, hpa_t root, struct radix_cursor *cursor, u64 end);
/* The first address behind the cursor's entry. */
static inline u64 radix_behind(const struct radix_cursor *c)
{
	return ALIGN_DOWN(c->address, RADIX_SPAN(c->level)) + RADIX_SPAN(c->level);
}
