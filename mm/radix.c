/* SPDX-License-Identifier: MIT */
/* The one walker of radix page tables, and the formats that it reads and writes. */
#include "mm/radix.h"

#include "mm/phys.h"
#include "mm/stage2.h"

/* SDM vol. 3, "4-Level Paging and 5-Level Paging"; APM vol. 2, "Long-Mode Page Translation". */
enum long_mode_bits {
	LONG_P = BIT(0),
	LONG_W = BIT(1),
	LONG_U = BIT(2),
	LONG_A = BIT(5),
	LONG_D = BIT(6),
	LONG_AVL9 = BIT(9),
	LONG_AVL10 = BIT(10),
	LONG_NX = BIT(63),
};

/* SDM vol. 3, "The Extended Page Table Mechanism (EPT)". */
enum ept_bits {
	EPT_R = BIT(0),
	EPT_W = BIT(1),
	EPT_X = BIT(2),
	EPT_IPAT = BIT(6),
	EPT_A = BIT(8),
	EPT_D = BIT(9),
	EPT_IGNORED11 = BIT(11),
	EPT_IGNORED56 = BIT(56),
};
#define EPT_TYPE_SHIFT 3 /* bits 5:3: enum memory_type */

/*
 * Nested walks are user accesses: APM vol. 2, "Nested versus Guest Page Faults, Fault Ordering".
 * In both formats accessed and dirty flags are set from the start: the processor writes an entry
 * only to set the dirty flag where its log of writes is in use (mm/dirty.c), and the accessed flag
 * of a leaf that stage2_accessed() has cleared.
 */
const struct radix_format radix_npt = {
	.present = LONG_P,
	.table = LONG_P | LONG_W | LONG_U | LONG_A,
	.leaf = LONG_P | LONG_U | LONG_A,
	.write = LONG_W,
	.accessed = LONG_A,
	.dirty = LONG_D,
	.no_exec = LONG_NX,
	.zero_page = LONG_AVL9,
	.may_write = LONG_AVL10,
};

const struct radix_format radix_ept = {
	.present = EPT_R | EPT_W | EPT_X,
	.table = EPT_R | EPT_W | EPT_X | EPT_A,
	.leaf = EPT_R | EPT_A,
	.write = EPT_W,
	.accessed = EPT_A,
	.dirty = EPT_D,
	.exec = EPT_X,
	.type_shift = EPT_TYPE_SHIFT,
	.pat_off = EPT_IPAT,
	.zero_page = EPT_IGNORED11,
	.may_write = EPT_IGNORED56,
};

u64 *radix_find(const struct radix_format *f, hpa_t root, u64 address, int *level)
{
	u64 *table = phys_ptr(root);

	for (*level = RADIX_LEVELS - 1;; --*level) {
		u64 *slot = &table[radix_index(address, *level)];
		u64 entry = __atomic_load_n(slot, __ATOMIC_ACQUIRE);

		if (!radix_is_table(f, entry, *level))
			return slot;
		table = phys_ptr(HPA(entry & RADIX_ADDRESS));
	}
}

u64 radix_leaf(const struct radix_format *f, hpa_t hpa, u32 flags, int level)
{
	u64 entry = hpa.v | f->leaf;

	if (level)
		entry |= RADIX_LARGE;
	if (flags & S2_WRITE)
		entry |= flags & S2_CLEAN ? f->write : f->write | f->dirty;
	entry |= flags & S2_EXEC ? f->exec : f->no_exec;
	if (f->type_shift)
		entry |= (u64)S2_TYPE_OF(flags) << f->type_shift;
	if (flags & S2_IGNORE_PAT)
		entry |= f->pat_off;
	if (flags & S2_ZERO_PAGE)
		entry |= f->zero_page;
	if (flags & S2_MAY_WRITE)
		entry |= f->may_write;
	return entry;
}

u32 radix_flags(const struct radix_format *f, u64 entry)
{
	u32 flags = S2_READ;

	if (entry & f->write)
		flags |= entry & f->dirty ? S2_WRITE : S2_WRITE | S2_CLEAN;
	if ((entry & f->exec) == f->exec && !(entry & f->no_exec))
		flags |= S2_EXEC;
	if (f->type_shift)
		flags |= S2_TYPE(entry >> f->type_shift & 7);
	if (entry & f->pat_off)
		flags |= S2_IGNORE_PAT;
	if (entry & f->zero_page)
		flags |= S2_ZERO_PAGE;
	if (entry & f->may_write)
		flags |= S2_MAY_WRITE;
	return flags;
}

/* From one entry to the next of the same table, without a walk. */
static bool step(const struct radix_format *f, struct radix_cursor *c)
{
	if (!c->entry || !radix_index(c->address, c->level) ||
	    radix_is_table(f, __atomic_load_n(c->entry + 1, __ATOMIC_ACQUIRE), c->level))
		return false;
	c->entry++;
	return true;
}

bool radix_next(const struct radix_format *f, hpa_t root, struct radix_cursor *cursor, u64 end)
{
	while (cursor->address < end) {
		if (!step(f, cursor))
			cursor->entry = radix_find(f, root, cursor->address, &cursor->level);
		if (*cursor->entry)
			return true;
		cursor->address = radix_behind(cursor);
	}
	return false;
}
