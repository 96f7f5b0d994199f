/* SPDX-License-Identifier: MIT */
/* boot/efi/tables.c: what root's page tables say, read back by a walk of their own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "arch-x86/regs.h"
#include "boot/efi/tables.h"

#define ARENA 0x10000000ull /* the tables' physical address */
#define PAGES 64

static u8 *memory;
static struct tables t;

static int setup(void **state)
{
	memory = aligned_alloc(PAGE_SIZE, PAGES * PAGE_SIZE);
	memset(memory, 0, PAGES * PAGE_SIZE);
	t = (struct tables){
		.next = ARENA,
		.end = ARENA + PAGES * PAGE_SIZE,
		.offset = (u64)memory - ARENA,
		.pages_1g = true,
	};
	return 0;
}

static int teardown(void **state)
{
	free(memory);
	return 0;
}

/* The leaf that translates virt, or 0; *size: bytes that it maps. */
static u64 walk(u64 virt, u64 *size)
{
	u64 table = t.root, entry;
	u32 level = t.five_levels ? 5 : 4;

	for (;; level--) {
		assert_in_range(table, ARENA, t.end - 1);
		entry = ((u64 *)(table + t.offset))[virt >> (12 + 9 * (level - 1)) & 511];
		if (!(entry & PTE_P))
			return 0;
		if (level == 1 || entry & PTE_PS)
			break;
		/* Upper levels allow all; only leaves restrict. */
		assert_int_equal(entry & (PTE_W | PTE_NX | PTE_U), PTE_W);
		table = entry & PTE_ADDRESS;
	}
	*size = 1ull << (12 + 9 * (level - 1));
	return entry;
}

static void expect_page(u64 virt, u64 phys, u64 size, u64 bits)
{
	u64 found, entry = walk(virt, &found);

	assert_int_equal(found, size);
	assert_int_equal(entry & PTE_ADDRESS & ~(size - 1), phys & ~(size - 1));
	assert_int_equal(entry & (PTE_W | PTE_NX | PTE_PCD | PTE_PWT | PTE_U | PTE_G), bits);
	assert_true(entry & PTE_A && entry & PTE_D);
}

static void test_kinds_of_leaf(void **state)
{
	u64 base = 0xffffffff80000000ull;

	assert_int_equal(tables_init(&t), 0);
	assert_int_equal(tables_map(&t, base, 0x5000, PAGE_SIZE, TABLE_EXEC), 0);
	assert_int_equal(tables_map(&t, base + 0x1000, 0x6000, PAGE_SIZE, 0), 0);
	assert_int_equal(tables_map(&t, base + 0x2000, 0x7000, PAGE_SIZE, TABLE_WRITE), 0);
	assert_int_equal(
		tables_map(&t, base + 0x4000, 0xfee00000, PAGE_SIZE, TABLE_WRITE | TABLE_UNCACHED),
		0);
	expect_page(base, 0x5000, PAGE_SIZE, 0);
	expect_page(base + 0x1fff, 0x6000, PAGE_SIZE, PTE_NX);
	expect_page(base + 0x2000, 0x7000, PAGE_SIZE, PTE_NX | PTE_W);
	expect_page(base + 0x4000, 0xfee00000, PAGE_SIZE, PTE_NX | PTE_W | PTE_PCD | PTE_PWT);
	assert_int_equal(walk(base + 0x3000, &(u64){0}), 0); /* a guard page */
	assert_int_equal(walk(0, &(u64){0}), 0);
}

static void test_largest_pages(void **state)
{
	u64 base = 0xffff800000000000ull, start = 0x3ffff000ull;

	assert_int_equal(tables_init(&t), 0);
	/* 4 KiB, 1 GiB, 2 MiB, 4 KiB */
	assert_int_equal(tables_map(&t, base + start, start,
				    PAGE_SIZE + SIZE_1G + SIZE_2M + 2 * PAGE_SIZE, TABLE_WRITE),
			 0);
	expect_page(base + start, start, PAGE_SIZE, PTE_NX | PTE_W);
	expect_page(base + SIZE_1G + 0x12345678, SIZE_1G, SIZE_1G, PTE_NX | PTE_W);
	expect_page(base + 2 * SIZE_1G, 2 * SIZE_1G, SIZE_2M, PTE_NX | PTE_W);
	expect_page(base + 2 * SIZE_1G + SIZE_2M, 2 * SIZE_1G + SIZE_2M, PAGE_SIZE, PTE_NX | PTE_W);
	assert_int_equal(walk(base + 2 * SIZE_1G + SIZE_2M + 2 * PAGE_SIZE, &(u64){0}), 0);
	assert_int_equal(walk(base + start - 1, &(u64){0}), 0);
}

static void test_without_1g_pages(void **state)
{
	t.pages_1g = false;
	assert_int_equal(tables_init(&t), 0);
	assert_int_equal(tables_map(&t, 0xffff800040000000ull, SIZE_1G, SIZE_1G, TABLE_WRITE), 0);
	expect_page(0xffff80007ffff000ull, SIZE_1G + 0x3ffff000, SIZE_2M, PTE_NX | PTE_W);
}

static void test_unlike_offsets_need_small_pages(void **state)
{
	assert_int_equal(tables_init(&t), 0);
	assert_int_equal(tables_map(&t, 0xffff800000000000ull, 0x1000, SIZE_2M, TABLE_WRITE), 0);
	expect_page(0xffff800000000000ull, 0x1000, PAGE_SIZE, PTE_NX | PTE_W);
	expect_page(0xffff8000001ff000ull, 0x200000, PAGE_SIZE, PTE_NX | PTE_W);
}

static void test_nothing_is_mapped_twice(void **state)
{
	assert_int_equal(tables_init(&t), 0);
	assert_int_equal(tables_map(&t, SIZE_1G, SIZE_1G, SIZE_1G, 0), 0);
	assert_int_equal(tables_map(&t, SIZE_1G + 0x1000, 0x1000, PAGE_SIZE, 0), -EEXIST);
	assert_int_equal(tables_map(&t, 0x1000, 0x1000, PAGE_SIZE, 0), 0);
	assert_int_equal(tables_map(&t, 0x1000, 0x2000, PAGE_SIZE, 0), -EEXIST);
	assert_int_equal(tables_map(&t, 0, 0, SIZE_2M, 0), -EEXIST);
}

static void test_the_arena_ends(void **state)
{
	int error = tables_init(&t);

	for (u64 i = 0; i < PAGES && !error; i++)
		error = tables_map(&t, i * SIZE_1G, 0, PAGE_SIZE, 0);
	assert_int_equal(error, -ENOMEM);
	assert_int_equal(t.next, t.end);
	t.next = t.end;
	assert_int_equal(tables_init(&t), -ENOMEM);
}

static void test_five_levels(void **state)
{
	t.five_levels = true;
	assert_int_equal(tables_init(&t), 0);
	assert_int_equal(tables_map(&t, 0xffffffff80000000ull, 0x5000, PAGE_SIZE, TABLE_EXEC), 0);
	assert_int_equal(tables_map(&t, 0xffff800000000000ull, 0, SIZE_1G, TABLE_WRITE), 0);
	assert_int_equal(tables_map(&t, 0x7000, 0x7000, PAGE_SIZE, TABLE_EXEC), 0);
	expect_page(0xffffffff80000000ull, 0x5000, PAGE_SIZE, 0);
	expect_page(0xffff800000000000ull, 0, SIZE_1G, PTE_NX | PTE_W);
	expect_page(0x7000, 0x7000, PAGE_SIZE, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_kinds_of_leaf, setup, teardown),
		cmocka_unit_test_setup_teardown(test_largest_pages, setup, teardown),
		cmocka_unit_test_setup_teardown(test_without_1g_pages, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unlike_offsets_need_small_pages, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_nothing_is_mapped_twice, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_arena_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(test_five_levels, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
