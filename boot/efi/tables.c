/* SPDX-License-Identifier: MIT */
/* Builds root's page tables. APM vol. 2, "Long-Mode Page Translation". */
#include "boot/efi/tables.h"

enum entry_bits {
	ENTRY_P = BIT(0),
	ENTRY_RW = BIT(1),
	ENTRY_PWT = BIT(3),
	ENTRY_PCD = BIT(4),
	ENTRY_A = BIT(5),
	ENTRY_D = BIT(6),
	ENTRY_PS = BIT(7),
	ENTRY_NX = BIT(63),
};

#define ENTRY_ADDRESS MASK(51, 12)

static u64 *table_at(const struct tables *t, u64 phys)
{
	return (u64 *)(phys + t->offset);
}

static u64 take_page(struct tables *t)
{
	u64 page = t->next;

	if (page + PAGE_SIZE > t->end)
		return 0;
	t->next += PAGE_SIZE;
	return page;
}

int tables_init(struct tables *t)
{
	u64 level4 = take_page(t);

	if (!level4)
		return -ENOMEM;
	t->root = level4;
	if (!t->five_levels)
		return 0;
	/* The same four levels in both halves of the address space. */
	t->root = take_page(t);
	if (!t->root)
		return -ENOMEM;
	table_at(t, t->root)[0] = level4 | ENTRY_P | ENTRY_RW;
	table_at(t, t->root)[511] = level4 | ENTRY_P | ENTRY_RW;
	return 0;
}

static u64 leaf(u64 phys, u32 level, u32 flags)
{
	u64 entry = phys | ENTRY_P | ENTRY_A | ENTRY_D;

	if (level > 1)
		entry |= ENTRY_PS;
	if (flags & TABLE_WRITE)
		entry |= ENTRY_RW;
	if (!(flags & TABLE_EXEC))
		entry |= ENTRY_NX;
	if (flags & TABLE_UNCACHED)
		entry |= ENTRY_PCD | ENTRY_PWT;
	return entry;
}

static int map_one(struct tables *t, u64 virt, u64 phys, u32 level, u32 flags)
{
	u64 table = t->root;

	for (u32 at = t->five_levels ? 5 : 4;; at--) {
		u64 *entry = &table_at(t, table)[virt >> (12 + 9 * (at - 1)) & 511];

		if (at == level) {
			if (*entry)
				return -EEXIST;
			*entry = leaf(phys, level, flags);
			return 0;
		}
		if (!*entry) {
			u64 page = take_page(t);

			if (!page)
				return -ENOMEM;
			*entry = page | ENTRY_P | ENTRY_RW;
		} else if (*entry & ENTRY_PS) {
			return -EEXIST;
		}
		table = *entry & ENTRY_ADDRESS;
	}
}

int tables_map(struct tables *t, u64 virt, u64 phys, u64 bytes, u32 flags)
{
	u64 done = 0;

	while (done < bytes) {
		u64 left = bytes - done, both = (virt + done) | (phys + done), size = PAGE_SIZE;
		u32 level = 1;
		int error;

		if (t->pages_1g && IS_ALIGNED(both, SIZE_1G) && left >= SIZE_1G) {
			size = SIZE_1G;
			level = 3;
		} else if (IS_ALIGNED(both, SIZE_2M) && left >= SIZE_2M) {
			size = SIZE_2M;
			level = 2;
		}
		error = map_one(t, virt + done, phys + done, level, flags);
		if (error)
			return error;
		done += size;
	}
	return 0;
}
