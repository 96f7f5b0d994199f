/* SPDX-License-Identifier: MIT */
/* How much memory Keel reserves for itself. Pure arithmetic, no UEFI. */
#pragma once

#include "lib/types.h"

#define LOG_RING_PAGES 16

/* What the size depends on. */
struct reserve_facts {
	u64 ram_pages; /* RAM, in pages */
	u64 ram_end;   /* the physical address behind the last of it */
	u32 cpu_count;
	u32 range_count;  /* of RAM */
	u32 address_bits; /* physical ones, from 32: CPUID 8000_0008, EAX[7:0] */
	u64 image_pages;  /* the root image with its BSS */
	bool leaves_1g;	  /* what second-level tables can have */
	bool leaves_2m;	  /* without it leaves_1g is false, too */
};

/* Pages for root's own page tables: RAM in 2 MiB pages, with 4 KiB pages at each range's ends. */
u64 reserve_table_pages(const struct reserve_facts *f);
/* Pages of the whole block. */
u64 reserve_pages(const struct reserve_facts *f);
/* Pages that the block should have at most (docs/architecture.md, "Memory"). */
u64 reserve_budget(const struct reserve_facts *f);
