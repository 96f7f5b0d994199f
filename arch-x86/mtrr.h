/* SPDX-License-Identifier: MIT */
/* Memory types, and what the memory type range registers make of an address. */
#pragma once

#include "lib/types.h"

/* SDM vol. 3, "Memory Types That Can Be Encoded in MTRRs"; EPT's are the same. */
enum memory_type {
	MEMORY_UC = 0,
	MEMORY_WC = 1,
	MEMORY_WT = 4,
	MEMORY_WP = 5,
	MEMORY_WB = 6,
};

#define MTRR_VARIABLE_MAX 40 /* pairs of MSRs until the fixed ones begin */
#define MTRR_FIXED_COUNT  11
#define MTRR_FIXED_END	  0x100000ull

struct mtrrs {
	u64 def_type;		     /* enum mtrr_def_type, and the default type */
	u64 fixed[MTRR_FIXED_COUNT]; /* one of 64 KiB ranges, two of 16 KiB, eight of 4 KiB */
	u64 base[MTRR_VARIABLE_MAX], mask[MTRR_VARIABLE_MAX];
	u32 count;
	u32 physical_bits;
};

enum mtrr_def_type {
	MTRR_DEF_FIXED = BIT(10),
	MTRR_DEF_ENABLE = BIT(11),
};

/* Those of this CPU. A processor without MTRRs is all write-back. Padding is zero: memcmp works. */
void mtrrs_read(struct mtrrs *m);
/*
 * The type at a physical address. *end: up to there, exclusive, nothing else comes. Where the
 * manual says that overlapping types are undefined: uncached. SDM vol. 3, "MTRR Precedences".
 */
enum memory_type mtrrs_type(const struct mtrrs *m, u64 address, u64 *end);
