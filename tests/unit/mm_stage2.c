/* SPDX-License-Identifier: MIT */
/* mm/stage2.c and mm/radix.c: second-level tables of both formats, each rule and a random model. */
#include <string.h>

#include "mm/radix.h"
#include "mm/stage2.h"
#include "tests/unit/fake/fake.h"
#include "tests/unit/fake/random.h"

#define RX  (S2_READ | S2_EXEC)
#define RWX S2_RWX

static struct pool pool;
static struct virt_vm vm;
static struct stage2 s2;
static struct virt_ops ept_ops;
static struct virt_vcpu vcpu;

static void make(bool ept, u64 pages)
{
	fake_machine_init(2);
	if (ept) {
		ept_ops = fake_virt_ops;
		ept_ops.ept = true;
		virt = &ept_ops;
	}
	fake_pool(&pool, pages);
	vm = (struct virt_vm){.kind = VIRT_CHILD, .features = virt_features};
	assert_int_equal(stage2_init(&s2, &vm, &pool), 0);
}

static int setup_npt(void **state)
{
	make(false, 512);
	return 0;
}

static int setup_ept(void **state)
{
	make(true, 512);
	return 0;
}

/* The leaf's size in bytes where gpa goes to hpa; 0 where it goes elsewhere or nowhere. */
static u64 maps_to(u64 gpa, u64 hpa)
{
	hpa_t found;
	u64 size;
	u32 flags;

	if (!stage2_lookup(&s2, GPA(gpa), &found, &size, &flags) || found.v != hpa)
		return 0;
	return size;
}

static bool mapped(u64 gpa)
{
	hpa_t found;
	u64 size;
	u32 flags;

	return stage2_lookup(&s2, GPA(gpa), &found, &size, &flags);
}

static u32 flags_at(u64 gpa)
{
	hpa_t found;
	u64 size;
	u32 flags = 0;

	stage2_lookup(&s2, GPA(gpa), &found, &size, &flags);
	return flags;
}

static u64 tables_used(void)
{
	return 511 - pool_free_pages(&pool);
}

static u64 entry_at(u64 gpa)
{
	int level;

	return *radix_find(s2.format, vm.slat_root, gpa, &level);
}

static void test_init(void **state)
{
	struct stage2 other;
	struct virt_vm other_vm = {0};

	assert_int_not_equal(vm.slat_root.v, 0);
	assert_false(mapped(0));
	assert_ptr_equal(s2.format, virt->ept ? &radix_ept : &radix_npt);
	while (pool_free_pages(&pool))
		pool_alloc(&pool, 1);
	assert_int_equal(stage2_init(&other, &other_vm, &pool), -ENOMEM);
}

static void test_entry_bits_npt(void **state)
{
	u64 table;

	assert_int_equal(stage2_map(&s2, GPA(0x5000), HPA(0x123456789000), PAGE_SIZE, RWX), 0);
	assert_int_equal(entry_at(0x5000), 0x123456789000 | 0x67); /* P W U A D */
	assert_int_equal(stage2_map(&s2, GPA(0x6000), HPA(0x7000), PAGE_SIZE, S2_READ), 0);
	assert_int_equal(entry_at(0x6000), BIT(63) | 0x7000 | 0x25);
	assert_int_equal(stage2_map(&s2, GPA(SIZE_2M), HPA(SIZE_2M), SIZE_2M, RX | S2_ZERO_PAGE),
			 0);
	assert_int_equal(entry_at(SIZE_2M), SIZE_2M | 0xa5 | BIT(9));
	assert_int_equal(stage2_map(&s2, GPA(0), HPA(0), PAGE_SIZE, RX | S2_MAY_WRITE), 0);
	assert_int_equal(entry_at(0), 0x25 | BIT(10));
	assert_int_equal(
		stage2_map(&s2, GPA(0), HPA(0), PAGE_SIZE, RX | S2_TYPE(MEMORY_UC) | S2_IGNORE_PAT),
		0);
	assert_int_equal(entry_at(0), 0x25); /* NPT leaves memory types to PAT and MTRRs */
	table = *(u64 *)phys_ptr(vm.slat_root);
	assert_int_equal(table & ~RADIX_ADDRESS, 0x27); /* P W U A */
}

static void test_entry_bits_ept(void **state)
{
	u64 table;

	assert_int_equal(stage2_map(&s2, GPA(0x5000), HPA(0x123456789000), PAGE_SIZE, RWX), 0);
	assert_int_equal(entry_at(0x5000), 0x123456789000 | 0x337); /* R W X, WB, A D */
	assert_int_equal(stage2_map(&s2, GPA(0x6000), HPA(0x7000), PAGE_SIZE, S2_READ), 0);
	assert_int_equal(entry_at(0x6000), 0x7000 | 0x131);
	for (u32 type = MEMORY_UC; type <= MEMORY_WB; type++) {
		u32 flags = S2_READ | S2_TYPE(type);

		assert_int_equal(stage2_map(&s2, GPA(0), HPA(0), PAGE_SIZE, flags), 0);
		assert_int_equal(entry_at(0), 0x101 | type << 3);
		assert_int_equal(flags_at(0), flags);
	}
	assert_int_equal(stage2_map(&s2, GPA(0), HPA(0), PAGE_SIZE,
				    S2_READ | S2_IGNORE_PAT | S2_ZERO_PAGE | S2_MAY_WRITE),
			 0);
	assert_int_equal(entry_at(0), 0x171 | BIT(11) | BIT(56));
	assert_int_equal(stage2_map(&s2, GPA(SIZE_1G), HPA(SIZE_1G), SIZE_1G, RX), 0);
	assert_int_equal(entry_at(SIZE_1G), SIZE_1G | 0x1b5);
	table = *(u64 *)phys_ptr(vm.slat_root);
	assert_int_equal(table & ~RADIX_ADDRESS, 0x107); /* R W X A, no memory type */
}

static void test_flags_come_back(void **state)
{
	for (u32 flags = 0; flags < 512; flags++) {
		u32 want = flags | S2_READ;

		assert_int_equal(stage2_map(&s2, GPA(0x5000), HPA(0x5000), PAGE_SIZE, want), 0);
		if (!virt->ept)
			want &= ~(u32)(S2_TYPES | S2_IGNORE_PAT);
		assert_int_equal(flags_at(0x5000), want);
	}
}

/*
 * SDM vol. 3, "EPT Misconfigurations"; APM vol. 2, "Page-Translation-Table Entry Fields": what no
 * entry may be, read from the manuals and not from mm/radix.c.
 */
static bool entry_allowed(u64 entry, int level, bool leaf)
{
	u64 type = entry >> 3 & 7;
	u64 address = entry & MASK(51, 12);

	if (leaf && address & (RADIX_SPAN(level) - 1))
		return false;
	if (leaf != (!level || (entry & BIT(7)) != 0))
		return false;
	if (!virt->ept) /* present, a user's page as nested walks are, accessed */
		return (entry & 0x25) == 0x25 && (leaf || !(entry & BIT(63)));
	if (!(entry & BIT(0))) /* write without read; execute alone may not be supported */
		return false;
	return leaf ? type != 2 && type != 3 && type != 7 : !(entry & MASK(7, 3));
}

static void test_no_entry_is_misconfigured(void **state)
{
	for (u32 i = 0; i < 3 * 512; i++) {
		u32 flags = i / 3 | S2_READ, type = S2_TYPE_OF(flags);
		int leaf = (int)(i % 3);
		u64 at = RADIX_SPAN(leaf);
		hpa_t table = vm.slat_root;

		if (type == 2 || type == 3 || type == 7)
			continue;
		assert_int_equal(stage2_map(&s2, GPA(at), HPA(3 * at), at, flags), 0);
		for (int level = RADIX_LEVELS - 1; level >= leaf; level--) {
			u64 entry = *((u64 *)phys_ptr(table) + radix_index(at, level));

			assert_true(entry_allowed(entry, level, level == leaf));
			table = HPA(entry & RADIX_ADDRESS);
		}
		assert_int_equal(table.v, 3 * at);
	}
}

static void test_lookup(void **state)
{
	assert_int_equal(stage2_map(&s2, GPA(SIZE_2M), HPA(6 * SIZE_2M), SIZE_2M, RX), 0);
	assert_int_equal(maps_to(SIZE_2M, 6 * SIZE_2M), SIZE_2M);
	assert_int_equal(maps_to(2 * SIZE_2M - 1, 7 * SIZE_2M - 1), SIZE_2M);
	assert_int_equal(flags_at(SIZE_2M + 5), RX);
	assert_false(mapped(SIZE_2M - 1));
	assert_false(mapped(2 * SIZE_2M));
	assert_false(mapped(SIZE_2M + BIT(48))); /* beyond the tables' reach, not wrapped */
	assert_false(mapped(SIZE_2M + BIT(52)));
	assert_int_equal(stage2_map(&s2, GPA(BIT(48) - PAGE_SIZE), HPA(0x3000), PAGE_SIZE, RWX), 0);
	assert_int_equal(maps_to(BIT(48) - 1, 0x3fff), PAGE_SIZE);
}

static void test_largest_pages(void **state)
{
	/* 4 KiB below 1 GiB to 2 GiB + 2 MiB + 4 KiB */
	u64 begin = SIZE_1G - PAGE_SIZE, size = SIZE_1G + SIZE_2M + 2 * PAGE_SIZE;

	assert_int_equal(stage2_map(&s2, GPA(begin), HPA(begin), size, RWX), 0);
	assert_int_equal(maps_to(begin, begin), PAGE_SIZE);
	assert_int_equal(maps_to(SIZE_1G, SIZE_1G), SIZE_1G);
	assert_int_equal(maps_to(2 * SIZE_1G, 2 * SIZE_1G), SIZE_2M);
	assert_int_equal(maps_to(2 * SIZE_1G + SIZE_2M, 2 * SIZE_1G + SIZE_2M), PAGE_SIZE);
	assert_false(mapped(begin - 1));
	assert_false(mapped(begin + size));
	/* An address that is not aligned as its target allows only small pages. */
	assert_int_equal(stage2_map(&s2, GPA(8 * SIZE_1G), HPA(PAGE_SIZE), SIZE_2M, RWX), 0);
	assert_int_equal(maps_to(8 * SIZE_1G + 5, PAGE_SIZE + 5), PAGE_SIZE);
	assert_int_equal(stage2_map(&s2, GPA(9 * SIZE_1G), HPA(SIZE_2M), SIZE_1G, RWX), 0);
	assert_int_equal(maps_to(9 * SIZE_1G, SIZE_2M), SIZE_2M);
	s2.large_pages = SIZE_2M;
	assert_int_equal(stage2_map(&s2, GPA(16 * SIZE_1G), HPA(0), SIZE_1G, RWX), 0);
	assert_int_equal(maps_to(16 * SIZE_1G, 0), SIZE_2M);
	s2.large_pages = 0;
	assert_int_equal(stage2_map(&s2, GPA(24 * SIZE_1G), HPA(0), SIZE_2M, RWX), 0);
	assert_int_equal(maps_to(24 * SIZE_1G, 0), PAGE_SIZE);
}

static void test_large_only_where_supported(void **state)
{
	vm.features = VIRT_SLAT_2M;
	fake_pool(&pool, 600);
	assert_int_equal(stage2_init(&s2, &vm, &pool), 0);
	assert_int_equal(stage2_map(&s2, GPA(0), HPA(0), SIZE_1G, RWX), 0);
	assert_int_equal(maps_to(0, 0), SIZE_2M);
	vm.features = VIRT_SLAT_1G;
	fake_pool(&pool, 600);
	assert_int_equal(stage2_init(&s2, &vm, &pool), 0);
	assert_int_equal(stage2_map(&s2, GPA(0), HPA(0), SIZE_1G, RWX), 0);
	assert_int_equal(maps_to(0, 0), PAGE_SIZE);
	assert_int_equal(maps_to(SIZE_1G - 1, SIZE_1G - 1), PAGE_SIZE);
}

static void test_bad_ranges(void **state)
{
	static const struct {
		u64 gpa, hpa, size;
	} bad[] = {
		{1, 0, PAGE_SIZE},
		{0, 1, PAGE_SIZE},
		{0, 0, PAGE_SIZE + 1},
		{0, 0, 0},
		{BIT(48), 0, PAGE_SIZE},
		{BIT(48) - PAGE_SIZE, 0, 2 * PAGE_SIZE},
		{PAGE_SIZE, 0, ~0ull << PAGE_SHIFT},
		{0, BIT(52), PAGE_SIZE},
		{0, BIT(52) - PAGE_SIZE, 2 * PAGE_SIZE},
	};

	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		gpa_t gpa = GPA(bad[i].gpa);
		hpa_t hpa = HPA(bad[i].hpa);

		assert_int_equal(stage2_map(&s2, gpa, hpa, bad[i].size, RWX), -EINVAL);
		assert_int_equal(stage2_reserve(&s2, gpa, hpa, bad[i].size), -EINVAL);
		if (i != 1 && i != 7)
			assert_true(bad[i].hpa || stage2_unmap(&s2, gpa, bad[i].size) == -EINVAL);
		if (i < 8)
			assert_int_equal(stage2_map_same(&s2, gpa, hpa, bad[i].size, RWX), -EINVAL);
	}
	assert_int_equal(stage2_map(&s2, GPA(0), HPA(0), PAGE_SIZE, S2_WRITE), -EINVAL);
	assert_int_equal(stage2_map_same(&s2, GPA(0), HPA(0), PAGE_SIZE, S2_WRITE), -EINVAL);
	assert_int_equal(tables_used(), 1);
	expect_assert_failure(stage2_log_writes(&s2, GPA(1), PAGE_SIZE));
}

static void test_split_keeps_the_rest(void **state)
{
	u64 at = SIZE_1G + 3 * SIZE_2M + 7 * PAGE_SIZE;

	assert_int_equal(stage2_map(&s2, GPA(SIZE_1G), HPA(SIZE_1G), SIZE_1G, RX), 0);
	assert_int_equal(stage2_map(&s2, GPA(at), HPA(0x9000), PAGE_SIZE, RWX), 0);
	assert_int_equal(maps_to(at, 0x9000), PAGE_SIZE);
	assert_int_equal(flags_at(at), RWX);
	assert_int_equal(maps_to(at - 1, at - 1), PAGE_SIZE);
	assert_int_equal(maps_to(at + PAGE_SIZE, at + PAGE_SIZE), PAGE_SIZE);
	assert_int_equal(flags_at(at - 1), RX);
	assert_int_equal(maps_to(SIZE_1G, SIZE_1G), SIZE_2M);
	assert_int_equal(maps_to(2 * SIZE_1G - 1, 2 * SIZE_1G - 1), SIZE_2M);
}

static void test_merges_when_whole(void **state)
{
	u64 used;

	for (u64 i = 0; i < 512; i++) {
		u64 at = SIZE_2M + i * 5 % 512 * PAGE_SIZE; /* in a scattered order */

		assert_int_equal(stage2_map(&s2, GPA(at), HPA(at), PAGE_SIZE, RWX), 0);
		assert_int_equal(maps_to(at, at), i == 511 ? SIZE_2M : PAGE_SIZE);
	}
	/* Then as a part of 1 GiB; the tables come back once everybody has flushed. */
	assert_int_equal(stage2_map(&s2, GPA(0), HPA(0), SIZE_2M, RWX), 0);
	assert_int_equal(
		stage2_map(&s2, GPA(2 * SIZE_2M), HPA(2 * SIZE_2M), SIZE_1G - 2 * SIZE_2M, RWX), 0);
	assert_int_equal(maps_to(SIZE_2M, SIZE_2M), SIZE_1G);
	used = tables_used();
	stage2_quiesce(&s2, vm.slat_generation);
	assert_int_equal(tables_used(), used - 2);
	assert_int_equal(tables_used(), 2);
}

static void test_does_not_merge_what_differs(void **state)
{
	/* another permission at the end, in the middle; a hole; another target; no alignment */
	for (u32 kind = 0; kind < 5; kind++) {
		u64 base = (kind + 1) * SIZE_1G, to = kind == 4 ? PAGE_SIZE : 0;

		for (u64 i = 0; i < 512; i++) {
			bool odd = i == (kind ? 100 : 511);
			u64 hpa = to + i * PAGE_SIZE + (kind == 3 && odd ? SIZE_1G : 0);

			if (kind == 2 && odd)
				continue;
			assert_int_equal(stage2_map(&s2, GPA(base + i * PAGE_SIZE), HPA(hpa),
						    PAGE_SIZE, kind < 2 && odd ? RX : RWX),
					 0);
		}
		assert_int_equal(maps_to(base, to), PAGE_SIZE);
	}
}

static void test_large_page_replaces_tables(void **state)
{
	/* a whole 1 GiB of 2 MiB pages with one split into 4 KiB, and one empty */
	s2.large_pages = SIZE_2M;
	assert_int_equal(stage2_map(&s2, GPA(0), HPA(0), SIZE_1G, RX), 0);
	assert_int_equal(stage2_map(&s2, GPA(0), HPA(SIZE_1G), PAGE_SIZE, RX), 0);
	assert_int_equal(stage2_map(&s2, GPA(SIZE_1G - PAGE_SIZE), HPA(0), PAGE_SIZE, RX), 0);
	assert_int_equal(stage2_unmap(&s2, GPA(5 * SIZE_2M), SIZE_2M), 0);
	assert_int_equal(tables_used(), 5);
	s2.large_pages = SIZE_2M | SIZE_1G;
	assert_int_equal(stage2_map(&s2, GPA(0), HPA(SIZE_1G), SIZE_1G, RWX), 0);
	assert_int_equal(maps_to(123, SIZE_1G + 123), SIZE_1G);
	assert_int_equal(tables_used(), 5); /* somebody may still walk them */
	stage2_quiesce(&s2, vm.slat_generation - 1);
	assert_int_equal(tables_used(), 5);
	stage2_quiesce(&s2, vm.slat_generation);
	assert_int_equal(tables_used(), 2);
}

static void test_retired_tables_keep_their_contents(void **state)
{
	u64 *table, copy[512];
	int level;

	assert_int_equal(stage2_map(&s2, GPA(0), HPA(PAGE_SIZE), SIZE_2M, RWX), 0);
	table = radix_find(s2.format, vm.slat_root, 0, &level);
	memcpy(copy, table, PAGE_SIZE);
	assert_int_equal(stage2_map(&s2, GPA(0), HPA(0), SIZE_2M, RWX), 0);
	for (u32 i = 0; i < 512; i++) /* but for bits that hardware ignores */
		assert_int_equal((table[i] ^ copy[i]) & ~MASK(55, 52), 0);
}

/* Two generations wait: the older one is freed although new tables keep retiring. */
static void test_quiesce_in_two_steps(void **state)
{
	u64 first;

	assert_int_equal(stage2_map(&s2, GPA(0), HPA(PAGE_SIZE), SIZE_2M, RWX), 0);
	assert_int_equal(stage2_map(&s2, GPA(0), HPA(0), SIZE_2M, RWX), 0);
	first = vm.slat_generation;
	stage2_quiesce(&s2, first - 1); /* from here on the first one waits by itself */
	assert_int_equal(stage2_map(&s2, GPA(SIZE_2M), HPA(PAGE_SIZE), SIZE_2M, RWX), 0);
	assert_int_equal(stage2_map(&s2, GPA(SIZE_2M), HPA(SIZE_2M), SIZE_2M, RWX), 0);
	assert_int_equal(tables_used(), 5);
	stage2_quiesce(&s2, first);
	assert_int_equal(tables_used(), 4);
	stage2_quiesce(&s2, vm.slat_generation);
	assert_int_equal(tables_used(), 3);
}

static void test_next(void **state)
{
	gpa_t at = GPA(0x1000);
	u64 size;
	u32 flags;

	assert_false(stage2_next(&s2, &at, BIT(48), &size, &flags));
	assert_int_equal(stage2_map(&s2, GPA(0x5000), HPA(0x7000), PAGE_SIZE, RX), 0);
	assert_int_equal(stage2_map(&s2, GPA(SIZE_1G), HPA(0), SIZE_1G, RWX), 0);
	assert_true(stage2_next(&s2, &at, BIT(48), &size, &flags));
	assert_int_equal(at.v, 0x5000);
	assert_int_equal(size, PAGE_SIZE);
	assert_int_equal(flags, RX);
	at = GPA(0x6000);
	assert_false(stage2_next(&s2, &at, SIZE_1G, &size, &flags));
	assert_true(stage2_next(&s2, &at, SIZE_1G + 1, &size, &flags));
	assert_int_equal(at.v, SIZE_1G);
	assert_int_equal(size, SIZE_1G);
	at = GPA(SIZE_1G + SIZE_2M); /* inside it */
	assert_true(stage2_next(&s2, &at, BIT(48), &size, &flags));
	assert_int_equal(at.v, SIZE_1G + SIZE_2M);
	assert_int_equal(stage2_detach(&s2, GPA(SIZE_1G), SIZE_1G, ~0ull), 0);
	assert_false(stage2_next(&s2, &at, BIT(48), &size, &flags)); /* gone, though not empty */
}

static void test_no_memory_changes_nothing(void **state)
{
	u64 generation;
	hpa_t held[512];
	u32 count = 0;

	assert_int_equal(stage2_map(&s2, GPA(0), HPA(0), 2 * SIZE_1G, RX), 0);
	while (pool_free_pages(&pool) > 1)
		held[count++] = pool_alloc(&pool, 1);
	generation = vm.slat_generation;
	/* One table for the beginning is there, the one for the end is not. */
	assert_int_equal(stage2_map(&s2, GPA(SIZE_2M), HPA(SIZE_2M), SIZE_1G, RWX), -ENOMEM);
	assert_int_equal(stage2_reserve(&s2, GPA(SIZE_2M), HPA(SIZE_2M), SIZE_1G), -ENOMEM);
	assert_int_equal(stage2_map_same(&s2, GPA(SIZE_2M), HPA(0), SIZE_1G, RWX), -ENOMEM);
	assert_int_equal(stage2_unmap(&s2, GPA(SIZE_2M), SIZE_1G), -ENOMEM);
	assert_int_equal(vm.slat_generation, generation);
	for (u64 at = 0; at < 2 * SIZE_1G; at += SIZE_2M) {
		assert_true(maps_to(at + 5, at + 5));
		assert_int_equal(flags_at(at), RX);
	}
	while (count)
		pool_free(&pool, held[--count], 1);
	assert_int_equal(stage2_reserve(&s2, GPA(SIZE_2M), HPA(SIZE_2M), SIZE_1G), 0);
	while (pool_free_pages(&pool))
		pool_alloc(&pool, 1);
	assert_int_equal(stage2_map(&s2, GPA(SIZE_2M), HPA(SIZE_2M), SIZE_1G, RWX), 0);
	assert_int_equal(flags_at(SIZE_1G), RWX);
}

static void test_generation_grows_when_something_is_lost(void **state)
{
	u64 g = vm.slat_generation;

#define GROWS(by, call)                                                                            \
	do {                                                                                       \
		assert_int_equal(call, 0);                                                         \
		assert_int_equal(vm.slat_generation - g, by);                                      \
		g = vm.slat_generation;                                                            \
	} while (0)
	GROWS(0, stage2_map(&s2, GPA(0), HPA(0), PAGE_SIZE, S2_READ));
	GROWS(0, stage2_map(&s2, GPA(0), HPA(0), PAGE_SIZE, S2_READ));
	GROWS(0, stage2_map(&s2, GPA(0), HPA(0), PAGE_SIZE, RX)); /* more rights */
	GROWS(0, stage2_map(&s2, GPA(0), HPA(0), PAGE_SIZE, RWX));
	GROWS(1, stage2_map(&s2, GPA(0), HPA(0), PAGE_SIZE, RX)); /* fewer */
	GROWS(1, stage2_map(&s2, GPA(0), HPA(0), PAGE_SIZE, S2_READ | S2_WRITE));
	GROWS(1, stage2_map(&s2, GPA(0), HPA(PAGE_SIZE), PAGE_SIZE, RWX)); /* elsewhere */
	GROWS(1, stage2_unmap(&s2, GPA(0), PAGE_SIZE));
	GROWS(0, stage2_unmap(&s2, GPA(0), PAGE_SIZE));
	GROWS(1, stage2_map(&s2, GPA(0), HPA(0), SIZE_2M, RWX)); /* a table is taken out */
	GROWS(0, stage2_map_same(&s2, GPA(SIZE_1G), HPA(0), PAGE_SIZE, S2_READ));
	GROWS(1, stage2_map_same(&s2, GPA(SIZE_1G), HPA(PAGE_SIZE), PAGE_SIZE, S2_READ));
#undef GROWS
	stage2_log_writes(&s2, GPA(0), SIZE_2M);
	assert_int_equal(vm.slat_generation, g + 1);
	stage2_log_writes(&s2, GPA(0), 2 * SIZE_1G);
	assert_int_equal(vm.slat_generation, g + 1);
}

static void test_unmap_splits(void **state)
{
	u64 at = 3 * SIZE_2M + PAGE_SIZE;

	assert_int_equal(stage2_map(&s2, GPA(0), HPA(0), SIZE_1G, RWX), 0);
	assert_int_equal(stage2_unmap(&s2, GPA(at), SIZE_2M), 0);
	assert_false(mapped(at));
	assert_false(mapped(at + SIZE_2M - 1));
	assert_int_equal(maps_to(at - 1, at - 1), PAGE_SIZE);
	assert_int_equal(maps_to(at + SIZE_2M, at + SIZE_2M), PAGE_SIZE);
	assert_int_equal(maps_to(0, 0), SIZE_2M);
	assert_int_equal(stage2_unmap(&s2, GPA(0), BIT(48)), 0); /* everything */
	assert_false(mapped(0));
	assert_false(mapped(SIZE_1G - 1));
}

static void test_map_same(void **state)
{
	assert_int_equal(stage2_map(&s2, GPA(0), HPA(0), 2 * SIZE_2M, RWX), 0);
	assert_int_equal(stage2_map_same(&s2, GPA(SIZE_2M - PAGE_SIZE), HPA(0x7000),
					 SIZE_2M + PAGE_SIZE, S2_READ | S2_ZERO_PAGE),
			 0);
	assert_int_equal(maps_to(0, 0), PAGE_SIZE);
	for (u64 at = SIZE_2M - PAGE_SIZE; at < 2 * SIZE_2M; at += PAGE_SIZE) {
		assert_int_equal(maps_to(at + 9, 0x7009), PAGE_SIZE);
		assert_int_equal(flags_at(at), S2_READ | S2_ZERO_PAGE);
	}
	/* Given back, the range is whole again. */
	assert_int_equal(stage2_map(&s2, GPA(SIZE_2M - PAGE_SIZE), HPA(SIZE_2M - PAGE_SIZE),
				    SIZE_2M + PAGE_SIZE, RWX),
			 0);
	assert_int_equal(maps_to(0, 0), SIZE_2M);
	assert_int_equal(maps_to(SIZE_2M, SIZE_2M), SIZE_2M);
}

static void test_write_protect_keeps_large_pages(void **state)
{
	assert_int_equal(stage2_map(&s2, GPA(0), HPA(0), SIZE_1G, RWX), 0);
	assert_int_equal(stage2_map(&s2, GPA(SIZE_1G), HPA(SIZE_1G), 2 * PAGE_SIZE, RWX), 0);
	stage2_log_writes(&s2, GPA(0), SIZE_1G + PAGE_SIZE);
	assert_int_equal(maps_to(0, 0), SIZE_1G);
	assert_int_equal(flags_at(0), RX);
	assert_int_equal(flags_at(SIZE_1G), RX);
	assert_int_equal(flags_at(SIZE_1G + PAGE_SIZE), RWX);
}

static void test_make_writable(void **state)
{
	u32 logged = RX | S2_MAY_WRITE;

	assert_int_equal(stage2_map(&s2, GPA(0), HPA(0), SIZE_2M, logged), 0);
	assert_int_equal(stage2_map(&s2, GPA(SIZE_2M), HPA(SIZE_2M), SIZE_2M, RX), 0);
	assert_int_equal(stage2_make_writable(&s2, GPA(SIZE_2M), true), -EACCES);
	assert_int_equal(stage2_make_writable(&s2, GPA(SIZE_1G), true), -EACCES);
	assert_int_equal(stage2_make_writable(&s2, GPA(PAGE_SIZE + 5), false), 0);
	assert_int_equal(maps_to(PAGE_SIZE, PAGE_SIZE), PAGE_SIZE);
	assert_int_equal(flags_at(PAGE_SIZE), logged | S2_WRITE);
	assert_int_equal(flags_at(0), logged);
	assert_int_equal(flags_at(2 * PAGE_SIZE), logged);
	assert_int_equal(stage2_map(&s2, GPA(SIZE_1G), HPA(SIZE_1G), SIZE_1G, logged), 0);
	assert_int_equal(stage2_make_writable(&s2, GPA(SIZE_1G + 5), true), 0);
	assert_int_equal(flags_at(SIZE_1G), logged | S2_WRITE);
	assert_int_equal(maps_to(SIZE_1G, SIZE_1G), SIZE_1G);
	stage2_log_writes(&s2, GPA(SIZE_1G), SIZE_1G);
	while (pool_free_pages(&pool) > 1)
		pool_alloc(&pool, 1);
	assert_int_equal(stage2_make_writable(&s2, GPA(SIZE_1G), false), -ENOMEM);
	assert_int_equal(flags_at(SIZE_1G), logged);
}

/* ---- counted frames ---- */

static u32 mappings(u64 hpa)
{
	return frame_mappings(HPA(hpa));
}

static void map_counted(u64 gpa, u64 hpa, u64 size)
{
	assert_int_equal(frames_get(HPA(hpa), size / PAGE_SIZE), 0);
	assert_int_equal(stage2_map(&s2, GPA(gpa), HPA(hpa), size, RWX), 0);
}

static void test_detach_and_collect(void **state)
{
	u64 g, frame = FAKE_GUEST;

	map_counted(SIZE_2M, frame, SIZE_2M);
	map_counted(2 * SIZE_2M, frame + SIZE_2M, 2 * PAGE_SIZE);
	g = vm.slat_generation;
	assert_int_equal(stage2_detach(&s2, GPA(SIZE_2M), SIZE_2M + PAGE_SIZE, 1000), 0);
	assert_int_equal(vm.slat_generation, g + 1);
	assert_false(mapped(SIZE_2M));
	assert_false(mapped(2 * SIZE_2M));
	assert_true(mapped(2 * SIZE_2M + PAGE_SIZE));
	assert_int_equal(mappings(frame), 1); /* until everybody has flushed */
	assert_int_equal(mappings(frame + SIZE_2M), 1);
	assert_int_equal(stage2_detach(&s2, GPA(SIZE_2M), SIZE_2M + PAGE_SIZE, 0), 0);
	assert_int_equal(vm.slat_generation, g + 1); /* nothing was left */
	stage2_collect(&s2, GPA(SIZE_2M), SIZE_2M + PAGE_SIZE);
	assert_int_equal(mappings(frame), 0);
	assert_int_equal(mappings(frame + SIZE_2M - 1), 0);
	assert_int_equal(mappings(frame + SIZE_2M), 0);
	assert_int_equal(mappings(frame + SIZE_2M + PAGE_SIZE), 1);
	stage2_collect(&s2, GPA(0), SIZE_1G); /* what is still mapped stays */
	assert_int_equal(mappings(frame + SIZE_2M + PAGE_SIZE), 1);
	assert_true(mapped(2 * SIZE_2M + PAGE_SIZE));
}

static void test_detach_needs_no_memory(void **state)
{
	map_counted(0, FAKE_GUEST, 2 * SIZE_2M);
	while (pool_free_pages(&pool) > 1)
		pool_alloc(&pool, 1);
	/* one end is split, the other one goes as a whole */
	assert_int_equal(stage2_detach(&s2, GPA(SIZE_2M - PAGE_SIZE), 2 * PAGE_SIZE, 10000), 0);
	assert_true(mapped(SIZE_2M - 2 * PAGE_SIZE));
	assert_false(mapped(SIZE_2M - PAGE_SIZE));
	assert_false(mapped(SIZE_2M));
	assert_false(mapped(2 * SIZE_2M - 1));
	stage2_collect(&s2, GPA(SIZE_2M - PAGE_SIZE), 2 * PAGE_SIZE);
	assert_int_equal(mappings(FAKE_GUEST + SIZE_2M - 2 * PAGE_SIZE), 1);
	assert_int_equal(mappings(FAKE_GUEST + SIZE_2M - PAGE_SIZE), 0);
	assert_int_equal(mappings(FAKE_GUEST + 2 * SIZE_2M - PAGE_SIZE), 0);
}

static void test_detach_is_bounded(void **state)
{
	for (u32 i = 0; i < 100; i++) /* scattered, so that nothing merges */
		map_counted(i * PAGE_SIZE, FAKE_GUEST + i * 2 * PAGE_SIZE, PAGE_SIZE);
	assert_int_equal(stage2_detach(&s2, GPA(0), SIZE_2M, 60), -EAGAIN);
	assert_false(mapped(59 * PAGE_SIZE));
	assert_true(mapped(60 * PAGE_SIZE));
	assert_int_equal(stage2_detach(&s2, GPA(0), SIZE_2M, 60), 0);
	stage2_collect(&s2, GPA(0), SIZE_2M);
	for (u32 i = 0; i < 100; i++)
		assert_int_equal(mappings(FAKE_GUEST + i * 2 * PAGE_SIZE), 0);
}

static void test_collect_prunes_empty_tables(void **state)
{
	map_counted(SIZE_2M, FAKE_GUEST, PAGE_SIZE);
	map_counted(2 * SIZE_2M, FAKE_GUEST + 2 * PAGE_SIZE, PAGE_SIZE);
	map_counted(3 * SIZE_2M, FAKE_GUEST + 4 * PAGE_SIZE, PAGE_SIZE);
	assert_int_equal(tables_used(), 6);
	/* the first one only in part, the third one not quite */
	assert_int_equal(stage2_detach(&s2, GPA(SIZE_2M), 2 * SIZE_2M, 10), 0);
	stage2_collect(&s2, GPA(SIZE_2M + PAGE_SIZE), 2 * SIZE_2M);
	assert_int_equal(mappings(FAKE_GUEST), 1); /* not in the range */
	assert_int_equal(tables_used(), 6);
	stage2_quiesce(&s2, vm.slat_generation);
	assert_int_equal(tables_used(), 5);
	stage2_collect(&s2, GPA(0), 4 * SIZE_1G);
	stage2_quiesce(&s2, vm.slat_generation);
	assert_int_equal(tables_used(), 4);
	assert_true(mapped(3 * SIZE_2M));
}

static void test_release(void **state)
{
	gpa_t at = GPA(0);
	u32 calls = 1;

	map_counted(0, FAKE_GUEST, SIZE_2M);
	for (u32 i = 0; i < 10; i++)
		map_counted(SIZE_1G + i * PAGE_SIZE, FAKE_GUEST + i * 2 * PAGE_SIZE, PAGE_SIZE);
	assert_int_equal(stage2_detach(&s2, GPA(SIZE_1G), PAGE_SIZE, 1), 0); /* never collected */
	while (stage2_release(&s2, &at, 3) == -EAGAIN)
		calls++;
	assert_int_equal(calls, 4);
	for (u64 hpa = FAKE_GUEST; hpa < FAKE_GUEST + SIZE_2M; hpa += PAGE_SIZE)
		assert_int_equal(mappings(hpa), 0);
	assert_int_equal(stage2_release(&s2, &at, 3), 0);
}

/* ---- accessed flags ---- */

static bool accessed(u64 gpa, u64 size)
{
	return stage2_accessed(&s2, GPA(gpa), size, false, false);
}

static bool clear_accessed(u64 gpa, u64 size)
{
	return stage2_accessed(&s2, GPA(gpa), size, true, false);
}

static void test_what_is_mapped_is_accessed(void **state)
{
	u64 before;

	assert_int_equal(stage2_map(&s2, GPA(0), HPA(0), 4 * PAGE_SIZE, RWX), 0);
	assert_int_equal(stage2_map(&s2, GPA(SIZE_2M), HPA(SIZE_2M), SIZE_2M, RX), 0);
	assert_true(accessed(3 * PAGE_SIZE, PAGE_SIZE));
	assert_false(accessed(4 * PAGE_SIZE, SIZE_2M - 4 * PAGE_SIZE));
	assert_true(clear_accessed(PAGE_SIZE, 2 * PAGE_SIZE));
	assert_false(clear_accessed(PAGE_SIZE, 2 * PAGE_SIZE));
	assert_true(accessed(0, PAGE_SIZE));
	assert_true(accessed(3 * PAGE_SIZE, PAGE_SIZE));
	/* A large page is one, whichever part of it. */
	assert_true(clear_accessed(SIZE_2M + PAGE_SIZE, PAGE_SIZE));
	assert_false(accessed(SIZE_2M, SIZE_2M));
	assert_int_equal(maps_to(SIZE_2M, SIZE_2M), SIZE_2M);
	assert_int_equal(flags_at(SIZE_2M), RX);
	/* Nothing else changes, and mapping the same again is a use that costs no flush. */
	assert_int_equal(flags_at(PAGE_SIZE), RWX);
	before = vm.slat_generation;
	assert_int_equal(stage2_map(&s2, GPA(PAGE_SIZE), HPA(PAGE_SIZE), PAGE_SIZE, RWX), 0);
	assert_int_equal(vm.slat_generation, before);
	assert_true(accessed(PAGE_SIZE, PAGE_SIZE));
	assert_false(accessed(2 * PAGE_SIZE, PAGE_SIZE));
}

static void test_what_is_going_is_not_accessed(void **state)
{
	map_counted(0, FAKE_GUEST, PAGE_SIZE);
	assert_int_equal(stage2_detach(&s2, GPA(0), PAGE_SIZE, 1), 0);
	assert_false(clear_accessed(0, PAGE_SIZE));
	stage2_collect(&s2, GPA(0), PAGE_SIZE);
	assert_int_equal(mappings(FAKE_GUEST), 0);
}

static void test_splits_and_merges_keep_a_use(void **state)
{
	u64 last = SIZE_2M - PAGE_SIZE;

	assert_int_equal(stage2_map(&s2, GPA(0), HPA(0), SIZE_2M, RWX), 0);
	assert_true(clear_accessed(0, PAGE_SIZE));
	assert_int_equal(stage2_unmap(&s2, GPA(last), PAGE_SIZE), 0);
	assert_false(accessed(0, SIZE_2M));
	/* Old pages and a new one are one large page, which is used. */
	assert_int_equal(stage2_map(&s2, GPA(last), HPA(last), PAGE_SIZE, RWX), 0);
	assert_int_equal(maps_to(0, 0), SIZE_2M);
	assert_true(accessed(0, PAGE_SIZE));
	/* Its pieces are, too: each for itself. */
	assert_int_equal(stage2_unmap(&s2, GPA(last), PAGE_SIZE), 0);
	assert_true(clear_accessed(PAGE_SIZE, PAGE_SIZE));
	assert_false(accessed(PAGE_SIZE, PAGE_SIZE));
	assert_true(accessed(0, PAGE_SIZE));
	assert_int_equal(stage2_map(&s2, GPA(last), HPA(last), PAGE_SIZE, RWX), 0);
	assert_int_equal(maps_to(0, 0), SIZE_2M);
}

/* The first look switches the processor's flags on; then only a flush makes the generation grow. */
static void test_a_look_flushes_when_it_must(void **state)
{
	u64 before = vm.slat_generation;

	assert_false(clear_accessed(0, SIZE_1G));
	assert_int_equal(stage2_map(&s2, GPA(0), HPA(0), 4 * PAGE_SIZE, RWX), 0);
	assert_true(accessed(0, PAGE_SIZE));
	assert_false(vm.slat_accessed);
	assert_int_equal(vm.slat_generation, before);
	assert_true(clear_accessed(0, PAGE_SIZE));
	assert_true(vm.slat_accessed);
	assert_int_equal(vm.slat_generation, before + 1);
	assert_true(clear_accessed(PAGE_SIZE, PAGE_SIZE));
	assert_int_equal(vm.slat_generation, before + 1);
	assert_true(stage2_accessed(&s2, GPA(2 * PAGE_SIZE), PAGE_SIZE, true, true));
	assert_int_equal(vm.slat_generation, before + 2);
	assert_false(stage2_accessed(&s2, GPA(2 * PAGE_SIZE), PAGE_SIZE, true, true));
	assert_int_equal(vm.slat_generation, before + 2);
}

/* ---- against the TLB model ---- */

static u32 part;

static void flush_guest(struct virt_vcpu *v, struct vm_exit *e)
{
	hpa_t hpa;

	if (part == 0) {
		assert_true(fake_guest_access(v, GPA(0x5000), true, false, &hpa, NULL));
		assert_int_equal(hpa.v, FAKE_GUEST);
		/* Another CPU unmaps while we run: what we cached stays usable, so the frame is
		 * still counted. */
		assert_int_equal(stage2_detach(&s2, GPA(0x5000), PAGE_SIZE, 10), 0);
		assert_true(fake_guest_access(v, GPA(0x5000), true, false, &hpa, NULL));
		assert_int_equal(mappings(FAKE_GUEST), 1);
	} else {
		assert_false(fake_guest_access(v, GPA(0x5000), false, false, &hpa, e));
		assert_int_equal(e->slat.gpa.v, 0x5000);
	}
}

static void early_collector(struct virt_vcpu *v, struct vm_exit *e)
{
	hpa_t hpa;

	assert_true(fake_guest_access(v, GPA(0x5000), true, false, &hpa, NULL));
	assert_int_equal(stage2_detach(&s2, GPA(0x5000), PAGE_SIZE, 10), 0);
	expect_assert_failure(stage2_collect(&s2, GPA(0x5000), PAGE_SIZE));
}

static void run_guest(void (*guest)(struct virt_vcpu *v, struct vm_exit *e))
{
	struct vm_exit e;

	fake_run = guest;
	virt->run(&vcpu, &e);
}

static void start_guest(void)
{
	assert_int_equal(virt->vm_init(&vm, &pool), 0);
	assert_int_equal(virt->vcpu_init(&vcpu, &vm, &pool), 0);
	virt->load(&vcpu, this_cpu());
}

static void test_unmap_flushes(void **state)
{
	start_guest();
	map_counted(0x5000, FAKE_GUEST, PAGE_SIZE);
	part = 0;
	run_guest(flush_guest);
	part = 1;
	run_guest(flush_guest); /* the new generation makes the entry flush */
	stage2_collect(&s2, GPA(0x5000), PAGE_SIZE);
	assert_int_equal(mappings(FAKE_GUEST), 0);
}

static void test_collect_before_the_flush_is_caught(void **state)
{
	start_guest();
	map_counted(0x5000, FAKE_GUEST, PAGE_SIZE);
	run_guest(early_collector);
}

static void touching_guest(struct virt_vcpu *v, struct vm_exit *e)
{
	hpa_t hpa;

	assert_true(fake_guest_access(v, GPA(0x5000), false, false, &hpa, NULL));
}

static void test_a_processor_sets_the_flag_again(void **state)
{
	start_guest();
	map_counted(0x5000, FAKE_GUEST, 2 * PAGE_SIZE);
	run_guest(touching_guest);
	assert_true(stage2_accessed(&s2, GPA(0), SIZE_2M, true, true));
	assert_false(accessed(0, SIZE_2M));
	run_guest(touching_guest);
	assert_true(accessed(0x5000, PAGE_SIZE));
	assert_false(accessed(0x6000, PAGE_SIZE));
	/* Without a flush the TLB has it. */
	assert_true(clear_accessed(0, SIZE_2M));
	run_guest(touching_guest);
	assert_false(accessed(0, SIZE_2M));
	assert_int_equal(mappings(FAKE_GUEST), 1);
}

static void merging_guest(struct virt_vcpu *v, struct vm_exit *e)
{
	hpa_t hpa;

	assert_true(fake_guest_access(v, GPA(SIZE_2M), true, false, &hpa, NULL));
	/* The table that this translation came through is replaced by a large page. */
	assert_int_equal(stage2_map(&s2, GPA(SIZE_2M), HPA(FAKE_GUEST), SIZE_2M, RWX), 0);
	for (u32 i = 0; i < 400; i++) /* each page that the pool gives is checked against TLBs */
		assert_int_not_equal(pool_alloc(&pool, 1).v, HPA_NONE.v);
}

static void test_tables_in_use_are_not_reused(void **state)
{
	start_guest();
	assert_int_equal(stage2_map(&s2, GPA(SIZE_2M), HPA(FAKE_GUEST), PAGE_SIZE, RWX), 0);
	run_guest(merging_guest);
}

/* ---- the model ---- */

#define MODEL_PAGES (2 * SIZE_1G / PAGE_SIZE)

static u64 *model; /* hpa | flags; 0: not mapped */
static u64 model_generation;

static void model_check_page(u64 page)
{
	u64 gpa = page * PAGE_SIZE;
	u64 want = model[page];

	if (!want) {
		assert_false(mapped(gpa + 1));
		return;
	}
	assert_true(maps_to(gpa + 1, (want & RADIX_ADDRESS) + 1));
	assert_int_equal(flags_at(gpa), want & 0xfff);
}

static void model_check(u64 first, u64 count, bool lost)
{
	static const s64 near[] = {-513, -512, -1, 0, 1, 511, 512};

	if (lost)
		assert_true(vm.slat_generation > model_generation);
	model_generation = vm.slat_generation;
	for (u32 i = 0; i < ARRAY_SIZE(near); i++) {
		if (first + near[i] < MODEL_PAGES)
			model_check_page(first + near[i]);
		if (first + count + near[i] < MODEL_PAGES)
			model_check_page(first + count + near[i]);
	}
	for (u32 i = 0; i < 40; i++)
		model_check_page(random_below(MODEL_PAGES));
	for (u32 i = 0; i < 40; i++)
		model_check_page(first + random_below(count));
}

/* Writes the model; true when a page lost something. */
static bool model_set(u64 page, u64 value)
{
	u64 old = model[page];

	model[page] = value;
	return old && ((old ^ value) & ~(u64)S2_RWX || old & ~value & S2_RWX);
}

static void random_range(u64 *first, u64 *count)
{
	static const u64 unit[] = {1, 1, 1, 512, 512, 512 * 512};
	u64 u = unit[random_below(ARRAY_SIZE(unit))];

	*first = random_below(MODEL_PAGES / u) * u;
	*count = u;
	if (u < 512 * 512)
		*count += random_below(4) * u;
	if (u > 1 && random_below(2)) { /* not quite aligned */
		*first += random_below(3);
		*count -= random_below(3);
	}
	*count = MIN(*count, MODEL_PAGES - *first);
}

static void model_step(void)
{
	static const u32 rights[] = {S2_READ, RX, RWX, S2_READ | S2_WRITE};
	u32 flags = rights[random_below(ARRAY_SIZE(rights))];
	u64 first, count, hpa;
	bool lost = false;
	gpa_t gpa;

	random_range(&first, &count);
	gpa = GPA(first * PAGE_SIZE);
	if (!random_below(3))
		stage2_accessed(&s2, gpa, count * PAGE_SIZE, true, random_below(2));
	switch (random_below(8)) {
	case 0:
		count = MIN(count, 1500);
		assert_int_equal(stage2_map_same(&s2, gpa, HPA(0x4000), count * PAGE_SIZE,
						 flags | S2_ZERO_PAGE),
				 0);
		for (u64 i = 0; i < count; i++)
			lost |= model_set(first + i, 0x4000 | flags | S2_ZERO_PAGE);
		break;
	case 1:
		assert_int_equal(stage2_unmap(&s2, gpa, count * PAGE_SIZE), 0);
		for (u64 i = 0; i < count; i++)
			lost |= model_set(first + i, 0);
		break;
	default: /* mostly one-to-one with equal rights, so that pages merge */
		hpa = random_below(4) ? gpa.v + SIZE_1G : random_below(1000) * PAGE_SIZE;
		flags = random_below(3) ? RWX : flags;
		assert_int_equal(stage2_map(&s2, gpa, HPA(hpa), count * PAGE_SIZE, flags), 0);
		for (u64 i = 0; i < count; i++)
			lost |= model_set(first + i, (hpa + i * PAGE_SIZE) | flags);
	}
	model_check(first, count, lost);
	if (!random_below(3))
		stage2_quiesce(&s2, vm.slat_generation);
}

static u64 tables_below(hpa_t table, int level)
{
	u64 count = 1;

	for (u32 i = 0; level && i < 512; i++) {
		u64 entry = ((u64 *)phys_ptr(table))[i];

		if (radix_is_table(s2.format, entry, level))
			count += tables_below(HPA(entry & RADIX_ADDRESS), level - 1);
	}
	return count;
}

static void model_run(bool ept)
{
	random_begin();
	make(ept, 2048);
	model = calloc(MODEL_PAGES, sizeof(u64));
	model_generation = vm.slat_generation;
	for (u32 i = 0; i < 1500; i++)
		model_step();
	for (u64 page = 0; page < MODEL_PAGES; page++)
		model_check_page(page);
	stage2_quiesce(&s2, vm.slat_generation);
	assert_int_equal(tables_below(vm.slat_root, 3), 2047 - pool_free_pages(&pool));
	free(model);
}

static void test_model_npt(void **state)
{
	model_run(false);
}

static void test_model_ept(void **state)
{
	model_run(true);
}

static void test_worst_case(void **state)
{
	random_begin();
	assert_int_equal(stage2_worst_case_tables(GPA(0), PAGE_SIZE), 3);
	assert_int_equal(stage2_worst_case_tables(GPA(SIZE_1G - PAGE_SIZE), 2 * PAGE_SIZE), 5);
	assert_int_equal(stage2_worst_case_tables(GPA(0), SIZE_1G), 512 + 1 + 1);
	for (u32 i = 0; i < 200; i++) {
		u64 gpa = random_below(BIT(36) - 20000) * PAGE_SIZE;
		u64 size = (1 + random_below(random_below(2) ? 4 : 20000)) * PAGE_SIZE;

		make(false, 512);
		assert_int_equal(stage2_map(&s2, GPA(gpa), HPA(PAGE_SIZE), size, RWX), 0);
		assert_true(tables_used() - 1 <= stage2_worst_case_tables(GPA(gpa), size));
	}
}

/* Each format in turn, under one name. */
static void both(void **state)
{
	void (*test)(void **state) = *state;

	setup_npt(NULL);
	test(NULL);
	setup_ept(NULL);
	test(NULL);
}

#define BOTH(test)                                                                                 \
	{                                                                                          \
#test, both, NULL, NULL, test                                                      \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_init),
		cmocka_unit_test_setup(test_entry_bits_npt, setup_npt),
		cmocka_unit_test_setup(test_entry_bits_ept, setup_ept),
		cmocka_unit_test_setup(test_next, setup_ept),
		BOTH(test_flags_come_back),
		BOTH(test_no_entry_is_misconfigured),
		BOTH(test_lookup),
		BOTH(test_largest_pages),
		cmocka_unit_test_setup(test_large_only_where_supported, setup_npt),
		cmocka_unit_test_setup(test_bad_ranges, setup_npt),
		BOTH(test_split_keeps_the_rest),
		BOTH(test_merges_when_whole),
		BOTH(test_does_not_merge_what_differs),
		BOTH(test_large_page_replaces_tables),
		BOTH(test_retired_tables_keep_their_contents),
		BOTH(test_quiesce_in_two_steps),
		BOTH(test_no_memory_changes_nothing),
		BOTH(test_generation_grows_when_something_is_lost),
		BOTH(test_unmap_splits),
		BOTH(test_map_same),
		BOTH(test_write_protect_keeps_large_pages),
		BOTH(test_make_writable),
		BOTH(test_detach_and_collect),
		BOTH(test_detach_needs_no_memory),
		BOTH(test_detach_is_bounded),
		BOTH(test_collect_prunes_empty_tables),
		BOTH(test_release),
		BOTH(test_what_is_mapped_is_accessed),
		BOTH(test_what_is_going_is_not_accessed),
		BOTH(test_splits_and_merges_keep_a_use),
		BOTH(test_a_look_flushes_when_it_must),
		BOTH(test_a_processor_sets_the_flag_again),
		BOTH(test_unmap_flushes),
		BOTH(test_collect_before_the_flush_is_caught),
		BOTH(test_tables_in_use_are_not_reused),
		cmocka_unit_test(test_model_npt),
		cmocka_unit_test(test_model_ept),
		cmocka_unit_test(test_worst_case),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
