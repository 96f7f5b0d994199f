/* SPDX-License-Identifier: MIT */
/* How much memory Keel reserves for itself. */
#include "boot/efi/reserve.h"

#include "boot/info.h"

#define POOL_PAGES	   388 /* root's own: splits of large leaves, control blocks */
#define POOL_PAGES_PER_CPU 32
#define LEAF_TABLES	   512 /* 48 bits of addresses by 1 GiB leaves */
#define LEAF_TABLES_MAX	   1024

static u64 pages_of(u64 bytes)
{
	return ALIGN_UP(bytes, PAGE_SIZE) / PAGE_SIZE;
}

u64 reserve_table_pages(const struct reserve_facts *f)
{
	return 64 + 3 * (f->range_count + f->cpu_count / 32) + f->ram_end / SIZE_1G * 2;
}

/*
 * The management guest's second-level tables: without 1 GiB leaves one for each GiB that an address
 * can have, without 2 MiB leaves also one for each 2 MiB of what is mapped at launch.
 */
static u64 leaf_tables(const struct reserve_facts *f)
{
	u64 tables = LEAF_TABLES;

	if (!f->leaves_1g)
		tables = MAX(tables, MIN(BIT(MIN(f->address_bits, 48u) - 30), LEAF_TABLES_MAX));
	if (!f->leaves_2m)
		tables += ALIGN_UP(MAX(f->ram_end, BIT(32)), SIZE_1G) / SIZE_2M;
	return tables;
}

u64 reserve_pages(const struct reserve_facts *f)
{
	u64 per_cpu = CPU_BLOCK_PAGES + 1 + CPU_RING_PAGES + POOL_PAGES_PER_CPU;

	return LOG_RING_PAGES + f->image_pages + reserve_table_pages(f) +
	       pages_of(f->ram_end / PAGE_SIZE * 2) + 1 + pages_of(sizeof(struct boot_info)) +
	       f->cpu_count * per_cpu + POOL_PAGES + leaf_tables(f) + f->ram_end / SIZE_1G;
}

u64 reserve_budget(const struct reserve_facts *f)
{
	u64 pages = pages_of(8u << 20) + f->cpu_count * pages_of(512u << 10) + f->ram_pages / 1000;

	if (!f->leaves_2m)
		pages += pages_of(8u << 20) + f->ram_pages / 500;
	return pages;
}
