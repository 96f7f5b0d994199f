/* SPDX-License-Identifier: MIT */
/* Builds root's page tables. Pure: memory in, entries out; no UEFI. */
#pragma once

#include "lib/types.h"

enum table_flags { /* of every leaf; tables themselves allow all */
		   TABLE_WRITE = BIT(0),
		   TABLE_EXEC = BIT(1),
		   TABLE_UNCACHED = BIT(2),
};

struct tables {
	u64 next, end; /* physical: zeroed pages for tables */
	u64 offset;    /* where physical 0 stands for the builder: 0 under UEFI */
	u64 root;      /* physical; 0 before tables_init() */
	bool five_levels, pages_1g;
};

/* -ENOMEM. */
int tables_init(struct tables *t);
/*
 * Maps [virt, virt + bytes) to phys with the largest pages that alignment allows. Page aligned.
 * -ENOMEM; -EEXIST: something is mapped there.
 */
int tables_map(struct tables *t, u64 virt, u64 phys, u64 bytes, u32 flags);
