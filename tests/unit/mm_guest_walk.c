/* SPDX-License-Identifier: MIT */
/* mm/guest_walk.c: each mode, permission, reserved bit and error code; a random model. */
#include <string.h>

#include "arch-x86/regs.h"
#include "mm/guest_walk.h"
#include "tests/unit/fake/fake.h"
#include "tests/unit/fake/random.h"

#define MIB	  (1ull << 20)
#define SLOT_SIZE (8 * MIB) /* gpa 0 to 8 MiB is RAM; tables stand at TABLE + level * 4 KiB */
#define TABLE	  0x100000ull
#define ROM	  (16 * MIB) /* a read-only slot: one page is mapped */

#define P   1ull
#define W   2ull
#define U   4ull
#define A   0x20ull
#define D   0x40ull
#define PS  0x80ull
#define NX  BIT(63)
#define ALL (P | W | U | A | D)

#define ERR_P	 1u
#define ERR_W	 2u
#define ERR_U	 4u
#define ERR_RSVD 8u
#define ERR_I	 16u
#define ERR_PK	 32u

#define READ  WALK_READ
#define WRITE WALK_WRITE
#define EXEC  WALK_EXEC
#define USER  WALK_USER

static struct pool pool;
static struct virt_vm vm;
static struct guest_mem mem;
static struct walk_state state;
static struct walk_result result;

static int setup(void **unused)
{
	fake_machine_init(1);
	fake_pool(&pool, 512);
	vm = (struct virt_vm){.kind = VIRT_CHILD, .features = virt_features};
	assert_int_equal(guest_mem_init(&mem, &vm, &pool, false), 0);
	assert_int_equal(memslot_set(&mem, 0, 0, GPA(0), SLOT_SIZE, 0), 0);
	memslot_set_finish(&mem);
	assert_int_equal(memslot_set(&mem, 1, MEMSLOT_READONLY, GPA(ROM), MIB, 0), 0);
	memslot_set_finish(&mem);
	assert_int_equal(guest_mem_map(&mem, GPA(0), HPA(FAKE_GUEST), SLOT_SIZE, true), 0);
	assert_int_equal(
		guest_mem_map(&mem, GPA(ROM), HPA(FAKE_GUEST + SLOT_SIZE), PAGE_SIZE, true), 0);
	return 0;
}

static void put8(u64 gpa, u64 value)
{
	assert_int_equal(guest_write(&mem, GPA(gpa), &value, 8, NULL), 0);
}

static void put4(u64 gpa, u32 value)
{
	assert_int_equal(guest_write(&mem, GPA(gpa), &value, 4, NULL), 0);
}

static u64 get8(u64 gpa)
{
	u64 value = 0;

	assert_int_equal(guest_read(&mem, GPA(gpa), &value, 8, NULL), 0);
	return value;
}

static u32 get4(u64 gpa)
{
	u32 value = 0;

	assert_int_equal(guest_read(&mem, GPA(gpa), &value, 4, NULL), 0);
	return value;
}

static u64 table_at(int level)
{
	return TABLE + (u64)level * PAGE_SIZE;
}

/* Where the entry of `level` for gva stands, when the tables are at table_at(). */
static u64 slot_at(u64 gva, int level)
{
	return table_at(level) + (gva >> (12 + 9 * level) & 511) * 8;
}

/* gva -> leaf through 4 or 5 levels; upper entries grant all. The leaf stands at `level`. */
static void map_long(u64 gva, u64 leaf, int level)
{
	for (int i = 4; i > level; i--)
		put8(slot_at(gva, i), table_at(i - 1) | ALL);
	put8(slot_at(gva, level), leaf);
}

static void long_mode(void)
{
	state = (struct walk_state){.cr0 = CR0_PE | CR0_PG | CR0_WP,
				    .cr3 = table_at(3),
				    .cr4 = CR4_PAE,
				    .efer = EFER_LMA | EFER_LME | EFER_NXE,
				    .physical_bits = 40};
}

static int walk(u64 gva, u32 access)
{
	return guest_walk(&mem, &state, GVA(gva), access, false, &result);
}

#define GOES(gva, access, to)                                                                      \
	do {                                                                                       \
		assert_int_equal(walk(gva, access), 0);                                            \
		assert_int_equal(result.gpa.v, to);                                                \
	} while (0)

#define FAULTS(gva, access, code)                                                                  \
	do {                                                                                       \
		assert_int_equal(walk(gva, access), -EPERM);                                       \
		assert_int_equal(result.error, code);                                              \
	} while (0)

static const u64 gva0 = 0x7f1234567000;

static void test_no_paging(void **unused)
{
	state = (struct walk_state){.cr0 = CR0_PE, .physical_bits = 40};
	GOES(0x12345678, USER | WRITE, 0x12345678);
	assert_int_equal(result.page_size, PAGE_SIZE);
	assert_true(result.writable && result.user && result.exec);
	GOES(0x1ffffffff, READ, 0xffffffff); /* linear addresses have 32 bits */
}

static void test_long_mode_sizes(void **unused)
{
	long_mode();
	map_long(gva0, 0x5000 | ALL, 0);
	GOES(gva0 + 0x123, READ, 0x5123);
	assert_int_equal(result.page_size, PAGE_SIZE);
	map_long(gva0, 0x400000 | ALL | PS, 1);
	GOES(gva0 + 0x123, READ, 0x400000 | ((gva0 + 0x123) & (SIZE_2M - 1)));
	assert_int_equal(result.page_size, SIZE_2M);
	map_long(gva0, SIZE_1G | ALL | PS, 2);
	GOES(gva0 + 0x123, READ, SIZE_1G | ((gva0 + 0x123) & (SIZE_1G - 1)));
	assert_int_equal(result.page_size, SIZE_1G);
	/* Bit 12 of a large page is PAT, not address. */
	map_long(gva0, 0x400000 | ALL | PS | BIT(12), 1);
	GOES(gva0, READ, 0x400000 | (gva0 & (SIZE_2M - 1)));
	assert_int_equal(walk(0xffff800000000000 | (gva0 & 0x7fffffffffff), READ), -EPERM);
}

static void test_five_levels(void **unused)
{
	u64 gva = 0x00ab000000000000 | gva0;

	long_mode();
	state.cr4 |= CR4_LA57;
	state.cr3 = table_at(4);
	map_long(gva, 0x5000 | ALL, 0);
	GOES(gva + 1, READ, 0x5001);
	put8(slot_at(gva, 4), table_at(3) | ALL | PS);
	FAULTS(gva, READ, ERR_P | ERR_RSVD);
	put8(slot_at(gva, 4), 0);
	FAULTS(gva, READ, 0);
}

static void test_not_present(void **unused)
{
	long_mode();
	for (int level = 0; level < 4; level++) {
		map_long(gva0, 0x5000 | ALL, 0);
		put8(slot_at(gva0, level), get8(slot_at(gva0, level)) & ~P);
		FAULTS(gva0, READ, 0);
		FAULTS(gva0, WRITE, ERR_W);
		FAULTS(gva0, USER, ERR_U);
		FAULTS(gva0, USER | WRITE, ERR_U | ERR_W);
		FAULTS(gva0, EXEC, ERR_I);
		state.efer &= ~EFER_NXE;
		FAULTS(gva0, EXEC, 0); /* neither NX nor SMEP: no I/D bit */
		state.cr4 |= CR4_SMEP;
		FAULTS(gva0, EXEC, ERR_I);
		long_mode();
	}
}

/* Rights are the AND of all levels. */
static void test_rights_of_each_level(void **unused)
{
	for (int level = 0; level < 4; level++) {
		u64 entry;

		long_mode();
		map_long(gva0, 0x5000 | ALL, 0);
		entry = get8(slot_at(gva0, level));
		put8(slot_at(gva0, level), entry & ~W);
		FAULTS(gva0, WRITE, ERR_P | ERR_W);
		FAULTS(gva0, WRITE | USER, ERR_P | ERR_W | ERR_U);
		GOES(gva0, READ, 0x5000);
		assert_false(result.writable);
		assert_true(result.user && result.exec);
		state.cr0 &= ~CR0_WP;
		GOES(gva0, WRITE, 0x5000); /* the supervisor may */
		FAULTS(gva0, WRITE | USER, ERR_P | ERR_W | ERR_U);
		put8(slot_at(gva0, level), entry & ~U);
		FAULTS(gva0, USER, ERR_P | ERR_U);
		FAULTS(gva0, USER | EXEC, ERR_P | ERR_U | ERR_I);
		GOES(gva0, WRITE, 0x5000);
		assert_false(result.user);
		put8(slot_at(gva0, level), entry | NX);
		FAULTS(gva0, EXEC, ERR_P | ERR_I);
		FAULTS(gva0, EXEC | USER, ERR_P | ERR_I | ERR_U);
		GOES(gva0, READ, 0x5000);
		assert_false(result.exec);
		state.efer &= ~EFER_NXE; /* then the bit is reserved */
		FAULTS(gva0, READ, ERR_P | ERR_RSVD);
	}
}

static void test_smep_and_smap(void **unused)
{
	long_mode();
	map_long(gva0, 0x5000 | ALL, 0);
	GOES(gva0, EXEC, 0x5000);
	state.cr4 |= CR4_SMEP;
	FAULTS(gva0, EXEC, ERR_P | ERR_I);
	GOES(gva0, EXEC | USER, 0x5000);
	GOES(gva0, WRITE, 0x5000);
	state.cr4 |= CR4_SMAP;
	FAULTS(gva0, READ, ERR_P);
	FAULTS(gva0, WRITE, ERR_P | ERR_W);
	GOES(gva0, READ | USER, 0x5000);
	state.rflags = RFLAGS_AC;
	GOES(gva0, READ, 0x5000);
	GOES(gva0, WRITE, 0x5000);
	FAULTS(gva0, READ | WALK_IMPLICIT, ERR_P);
	state.rflags = 0;
	map_long(gva0, 0x5000 | (ALL & ~U), 0); /* supervisor's pages are not concerned */
	GOES(gva0, EXEC, 0x5000);
	GOES(gva0, WRITE, 0x5000);
}

static void test_protection_keys(void **unused)
{
	u64 key = 5;

	long_mode();
	state.cr4 |= CR4_PKE;
	map_long(gva0, 0x5000 | ALL | key << 59, 0);
	GOES(gva0, WRITE | USER, 0x5000);
	state.pkru = 2u << (key * 2); /* no writes */
	GOES(gva0, READ | USER, 0x5000);
	FAULTS(gva0, WRITE | USER, ERR_P | ERR_W | ERR_U | ERR_PK);
	FAULTS(gva0, WRITE, ERR_P | ERR_W | ERR_PK);
	state.cr0 &= ~CR0_WP;
	GOES(gva0, WRITE, 0x5000);
	FAULTS(gva0, WRITE | USER, ERR_P | ERR_W | ERR_U | ERR_PK);
	state.cr0 |= CR0_WP;
	state.pkru = 1u << (key * 2); /* no access */
	FAULTS(gva0, READ, ERR_P | ERR_PK);
	FAULTS(gva0, READ | USER, ERR_P | ERR_U | ERR_PK);
	GOES(gva0, EXEC | USER, 0x5000); /* fetches are free */
	state.pkru = ~(3u << (key * 2)); /* all keys but this one */
	GOES(gva0, WRITE | USER, 0x5000);
	state.pkru = 3u << (key * 2);
	map_long(gva0, 0x5000 | (ALL & ~U) | key << 59, 0);
	GOES(gva0, WRITE, 0x5000); /* only user pages */
	map_long(gva0, 0x400000 | ALL | PS | key << 59, 1);
	FAULTS(gva0, READ, ERR_P | ERR_PK);
	state.cr4 &= ~CR4_PKE;
	GOES(gva0, READ, 0x400000 | (gva0 & (SIZE_2M - 1)));
}

static void test_reserved_bits_long(void **unused)
{
	for (int level = 0; level < 4; level++) {
		u64 entry;

		long_mode();
		map_long(gva0, 0x5000 | ALL, 0);
		entry = get8(slot_at(gva0, level));
		for (u32 bit = 40; bit < 52; bit++) {
			put8(slot_at(gva0, level), entry | BIT(bit));
			FAULTS(gva0, READ, ERR_P | ERR_RSVD);
			FAULTS(gva0, WRITE | USER, ERR_P | ERR_RSVD | ERR_W | ERR_U);
		}
		for (u32 bit = 52; bit < 63; bit++) {
			put8(slot_at(gva0, level), entry | BIT(bit));
			GOES(gva0, READ, 0x5000);
		}
	}
	put8(slot_at(gva0, 3), table_at(2) | ALL | PS);
	FAULTS(gva0, READ, ERR_P | ERR_RSVD);
	for (u32 bit = 13; bit < 21; bit++) {
		map_long(gva0, 0x400000 | ALL | PS | BIT(bit), 1);
		FAULTS(gva0, READ, ERR_P | ERR_RSVD);
	}
	for (u32 bit = 13; bit < 30; bit++) {
		map_long(gva0, SIZE_1G | ALL | PS | BIT(bit), 2);
		FAULTS(gva0, READ, ERR_P | ERR_RSVD);
	}
	map_long(gva0, BIT(51) | ALL, 0);
	state.physical_bits = 52;
	GOES(gva0, READ, BIT(51));
	map_long(gva0, BIT(36) | ALL, 0);
	state.physical_bits = 0; /* nobody filled it in: the least that there is */
	FAULTS(gva0, READ, ERR_P | ERR_RSVD);
}

/* ---- PAE ---- */

static void pae_mode(void)
{
	state = (struct walk_state){.cr0 = CR0_PE | CR0_PG | CR0_WP,
				    .cr3 = TABLE + 0x20, /* 32-byte aligned */
				    .cr4 = CR4_PAE,
				    .efer = EFER_NXE,
				    .physical_bits = 40};
}

static void map_pae(u32 gva, u64 leaf, int level)
{
	put8(TABLE + 0x20 + (gva >> 30) * 8, (TABLE + 0x1000) | P);
	put8(TABLE + 0x1000 + (gva >> 21 & 511) * 8, (TABLE + 0x2000) | ALL);
	put8(TABLE + (level ? 0x1000 : 0x2000) + (gva >> (level ? 21 : 12) & 511) * 8, leaf);
}

static void test_pae(void **unused)
{
	u32 gva = 0xc0345678;
	u64 pointer = TABLE + 0x20 + 3 * 8;

	pae_mode();
	map_pae(gva, 0x5000 | ALL, 0);
	GOES(gva, WRITE | USER, 0x5678);
	GOES(gva | 0xff00000000, READ, 0x5678); /* 32 bits */
	map_pae(gva, 0x400000 | ALL | PS, 1);
	GOES(gva, READ, 0x545678);
	assert_int_equal(result.page_size, SIZE_2M);
	map_pae(gva, 0x5000 | ALL | NX, 0);
	FAULTS(gva, EXEC, ERR_P | ERR_I);
	map_pae(gva, 0x5000 | (ALL & ~W), 0);
	FAULTS(gva, WRITE, ERR_P | ERR_W);
	map_pae(gva, 0x5000 | ALL, 0);
	put8(pointer, 0);
	FAULTS(gva, READ, 0);
	/* Reserved in a pointer: 2..1, 8..6, 63..52 and beyond the physical width; not the accessed
	 * bit, which QEMU's walks set. */
	for (u32 bit = 1; bit < 64; bit++) {
		bool reserved = bit < 3 || (bit >= 6 && bit < 9) || bit >= 40;

		if (bit >= 12 && bit < 40)
			continue;
		put8(pointer, (TABLE + 0x1000) | P | BIT(bit));
		if (reserved)
			FAULTS(gva, READ, ERR_P | ERR_RSVD);
		else
			GOES(gva, READ, 0x5678);
	}
	put8(pointer, (TABLE + 0x1000) | P);
	for (u32 bit = 40; bit < 63; bit++) {
		map_pae(gva, 0x5000 | ALL | BIT(bit), 0);
		FAULTS(gva, READ, ERR_P | ERR_RSVD);
	}
	state.efer = 0;
	map_pae(gva, 0x5000 | ALL | NX, 0);
	FAULTS(gva, READ, ERR_P | ERR_RSVD);
	map_pae(gva, 0x5000 | ALL, 0);
	state.cr4 |= CR4_PKE; /* long mode only */
	state.pkru = ~0u;
	GOES(gva, READ | USER, 0x5678);
}

static void test_pae_pointers_in_registers(void **unused)
{
	u32 gva = 0xc0345678;

	pae_mode();
	map_pae(gva, 0x5000 | ALL, 0);
	put8(TABLE + 0x20 + 3 * 8, 0); /* memory is not looked at */
	state.pdpte_valid = true;
	state.pdpte[3] = (TABLE + 0x1000) | P;
	GOES(gva, READ, 0x5678);
	state.pdpte[3] |= A;
	FAULTS(gva, READ, ERR_P | ERR_RSVD);
	state.pdpte[3] = 0;
	FAULTS(gva, READ, 0);
	state.pdpte_valid = false;
	state.cr3 = SLOT_SIZE;
	assert_int_equal(walk(gva, READ), -EFAULT);
	assert_int_equal(result.missing.v, SLOT_SIZE + 3 * 8);
}

/* ---- 32 bits ---- */

static void legacy_mode(void)
{
	state = (struct walk_state){.cr0 = CR0_PE | CR0_PG | CR0_WP,
				    .cr3 = TABLE | 0x18, /* PCD and PWT are not address */
				    .cr4 = CR4_PSE,
				    .physical_bits = 40};
}

static void test_legacy(void **unused)
{
	u32 gva = 0xc0345678;
	u64 directory = TABLE + (gva >> 22) * 4, page = TABLE + 0x1000 + (gva >> 12 & 1023) * 4;

	legacy_mode();
	put4(directory, (u32)((TABLE + 0x1000) | ALL));
	put4(page, (u32)(0x5000 | ALL));
	GOES(gva, WRITE | USER, 0x5678);
	GOES(gva, EXEC, 0x5678); /* no NX here */
	assert_int_equal(result.page_size, PAGE_SIZE);
	put4(page, (u32)(0x5000 | P));
	FAULTS(gva, WRITE, ERR_P | ERR_W);
	FAULTS(gva, USER, ERR_P | ERR_U);
	put4(page, 0);
	FAULTS(gva, EXEC, 0);
	put4(directory, 0);
	FAULTS(gva, WRITE, ERR_W);
	/* 4 MiB pages; bits 20..13 are address bits 39..32 */
	put4(directory, (u32)(0x400000 | ALL | PS));
	GOES(gva, READ, 0x400000 | (gva & 0x3fffff));
	assert_int_equal(result.page_size, 4 * MIB);
	put4(directory, (u32)(0x400000 | ALL | PS | BIT(13) | BIT(20)));
	GOES(gva, READ, BIT(32) | BIT(39) | 0x400000 | (gva & 0x3fffff));
	put4(directory, (u32)(0x400000 | ALL | PS | BIT(21)));
	FAULTS(gva, READ, ERR_P | ERR_RSVD);
	state.physical_bits = 36;
	put4(directory, (u32)(0x400000 | ALL | PS | BIT(16)));
	GOES(gva, READ, BIT(35) | 0x400000 | (gva & 0x3fffff));
	put4(directory, (u32)(0x400000 | ALL | PS | BIT(17)));
	FAULTS(gva, READ, ERR_P | ERR_RSVD);
	state.physical_bits = 32;
	put4(directory, (u32)(0x400000 | ALL | PS | BIT(13)));
	FAULTS(gva, READ, ERR_P | ERR_RSVD);
	state.cr4 = 0; /* without PSE the bit means nothing */
	put4(directory, (u32)((TABLE + 0x1000) | ALL | PS));
	put4(page, (u32)(0x5000 | ALL));
	GOES(gva, READ, 0x5678);
	state.cr4 = CR4_SMEP;
	FAULTS(gva, EXEC, ERR_P | ERR_I);
}

/* ---- accessed and dirty bits ---- */

static void test_accessed_and_dirty(void **unused)
{
	long_mode();
	for (int level = 0; level < 4; level++)
		put8(slot_at(gva0, level), (level ? table_at(level - 1) : 0x5000) | P | W | U);
	assert_int_equal(guest_walk(&mem, &state, GVA(gva0), WRITE, true, &result), 0);
	for (int level = 0; level < 4; level++)
		assert_int_equal(get8(slot_at(gva0, level)) & (A | D), 0); /* quiet */
	GOES(gva0, READ, 0x5000);
	for (int level = 0; level < 4; level++)
		assert_int_equal(get8(slot_at(gva0, level)) & (A | D), A);
	GOES(gva0, WRITE, 0x5000);
	assert_int_equal(get8(slot_at(gva0, 0)) & (A | D), A | D);
	for (int level = 1; level < 4; level++)
		assert_int_equal(get8(slot_at(gva0, level)) & (A | D), A);
	/* A refused access leaves no trace in the leaf. */
	put8(slot_at(gva0, 0), 0x5000 | P);
	FAULTS(gva0, WRITE, ERR_P | ERR_W);
	assert_int_equal(get8(slot_at(gva0, 0)), 0x5000 | P);
	map_long(gva0, 0x400000 | P | W | PS, 1);
	GOES(gva0, WRITE, 0x400000 | (gva0 & (SIZE_2M - 1)));
	assert_int_equal(get8(slot_at(gva0, 1)), 0x400000 | P | W | PS | A | D);
	/* 4-byte entries: the neighbour stays */
	legacy_mode();
	put4(TABLE, (u32)(0x400000 | P | W | PS));
	put4(TABLE + 4, 0x12345678);
	GOES(0x1000, WRITE, 0x401000);
	assert_int_equal(get4(TABLE), 0x400000 | P | W | PS | A | D);
	assert_int_equal(get4(TABLE + 4), 0x12345678);
	/* PAE's pointers have none. */
	pae_mode();
	map_pae(0x5000, 0x5000 | P | W, 0);
	GOES(0x5000, READ, 0x5000);
	assert_int_equal(get8(TABLE + 0x20), (TABLE + 0x1000) | P);
}

static void test_missing_tables(void **unused)
{
	long_mode();
	map_long(gva0, 0x5000 | ALL, 0);
	put8(slot_at(gva0, 2), SLOT_SIZE | ALL);
	assert_int_equal(walk(gva0, READ), -EFAULT);
	assert_int_equal(result.missing.v, SLOT_SIZE + (gva0 >> 21 & 511) * 8);
	assert_false(result.missing_write);
	state.cr3 = SLOT_SIZE;
	assert_int_equal(walk(gva0, READ), -EFAULT);
	assert_int_equal(result.missing.v, SLOT_SIZE + (gva0 >> 39 & 511) * 8);
}

static void test_tables_without_write_permission(void **unused)
{
	u64 at = slot_at(gva0, 0);

	/* Mapped for reading: the driver is asked for more. */
	long_mode();
	map_long(gva0, 0x5000 | P, 0);
	put8(slot_at(gva0, 0), 0x5000 | P);
	stage2_log_writes(&mem.s2, GPA(0), SLOT_SIZE);
	assert_int_equal(guest_mem_unmap(&mem, GPA(table_at(0)), PAGE_SIZE), 0);
	guest_mem_unmap_finish(&mem, GPA(table_at(0)), PAGE_SIZE);
	assert_int_equal(guest_mem_map(&mem, GPA(table_at(0)), HPA(FAKE_GUEST + table_at(0)),
				       PAGE_SIZE, false),
			 0);
	assert_int_equal(walk(gva0, READ), -EFAULT);
	assert_int_equal(result.missing.v, at);
	assert_true(result.missing_write);
	assert_int_equal(guest_walk(&mem, &state, GVA(gva0), READ, true, &result), 0);
	/* In ROM: the bits cannot be set, and are not. */
	put8(slot_at(gva0, 1), ROM | ALL);
	memset(phys_ptr(HPA(FAKE_GUEST + SLOT_SIZE)), 0, PAGE_SIZE);
	*(u64 *)phys_ptr(HPA(FAKE_GUEST + SLOT_SIZE + (at & 0xfff))) = 0x6000 | P;
	GOES(gva0, READ, 0x6000);
	assert_int_equal(get8(ROM + (at & 0xfff)), 0x6000 | P);
}

static void test_identity_tables_in_keels_memory(void **unused)
{
	struct guest_mem management;

	assert_int_equal(guest_mem_init(&management, &vm, &pool, true), 0);
	long_mode();
	state.cr3 = FAKE_GUEST;
	*(u64 *)phys_ptr(HPA(FAKE_GUEST)) = (FAKE_GUEST - PAGE_SIZE) | ALL; /* reads as zeros */
	memset(phys_ptr(HPA(FAKE_GUEST - PAGE_SIZE)), 0xff, PAGE_SIZE);
	assert_int_equal(guest_walk(&management, &state, GVA(0), READ, false, &result), -EPERM);
	assert_int_equal(result.error, 0);
	*(u64 *)phys_ptr(HPA(FAKE_GUEST)) = FAKE_RAM_SIZE | ALL;
	assert_int_equal(guest_walk(&management, &state, GVA(0), READ, false, &result), -EFAULT);
	assert_int_equal(result.missing.v, FAKE_RAM_SIZE);
}

/* ---- the model: another walk, written from the manual's tables ---- */

struct want {
	bool fault;
	u32 error;
	u64 gpa, size;
};

static void want_fault(struct want *w, u32 error)
{
	w->fault = true;
	w->error = error;
}

/* Reserved bits by mode: m 2, 3 or 4 levels; l as 1 for the lowest. */
static bool want_reserved(int m, int l, u64 e, bool large)
{
	u32 width = state.physical_bits;

	for (u32 bit = 0; bit < (m == 2 ? 32 : 64); bit++) {
		bool bad = false;

		if (!(e >> bit & 1))
			continue;
		if (m == 2)
			bad = large &&
			      (bit == 21 || (bit >= 13 && bit < 21 && bit - 13 + 32 >= width));
		else if (bit == 63)
			bad = !(state.efer & EFER_NXE) || (m == 3 && l == 3);
		else if (bit >= 52)
			bad = m == 3;
		else if (bit >= width)
			bad = true;
		else if (large && bit >= 13)
			bad = bit < (u32)(12 + 9 * (l - 1));
		else if (bit == 7)
			bad = l == 4;
		if (m == 3 && l == 3)
			bad |= bit == 1 || bit == 2 || (bit >= 5 && bit <= 8);
		if (bad)
			return true;
	}
	return false;
}

static void want_walk(int m, u64 gva, u32 access, struct want *w)
{
	u64 table = state.cr3 & (m == 4 ? ~0xfffull : m == 3 ? 0xffffffe0 : 0xfffff000);
	u32 base = (access & WRITE ? ERR_W : 0) | (access & USER ? ERR_U : 0);
	bool nxe = m > 2 && state.efer & EFER_NXE, user = true, writable = true, nx = false;
	bool supervisor = !(access & USER), key_fault = false, fault = false;
	u32 bits = m == 2 ? 10 : 9;
	u64 e, key;
	int l;

	memset(w, 0, sizeof(*w));
	if (access & EXEC && (nxe || state.cr4 & CR4_SMEP))
		base |= ERR_I;
	for (l = m;; l--) {
		u32 shift = 12 + bits * (u32)(l - 1);
		u64 index = gva >> shift & ((1u << bits) - 1);
		bool large;

		if (m == 3 && l == 3)
			index &= 3;
		e = m == 2 ? get4(table + index * 4) : get8(table + index * 8);
		if (!(e & P)) {
			want_fault(w, base);
			return;
		}
		large = e & PS && ((m == 2 && l == 2 && state.cr4 & CR4_PSE) ||
				   (m == 3 && l == 2) || (m == 4 && (l == 2 || l == 3)));
		if (want_reserved(m, l, e, large)) {
			want_fault(w, base | ERR_P | ERR_RSVD);
			return;
		}
		if (m != 3 || l != 3) {
			user &= !!(e & U);
			writable &= !!(e & W);
			nx |= nxe && e & NX;
		}
		if (l == 1 || large) {
			w->size = 1ull << shift;
			w->gpa = (e & 0xffffffffff000 & ~(w->size - 1)) | (gva & (w->size - 1));
			if (m == 2 && large)
				w->gpa |= (e >> 13 & 255) << 32;
			break;
		}
		table = e & 0xffffffffff000;
	}
	key = state.pkru >> (e >> 59 & 15) * 2 & 3;
	if (m == 4 && state.cr4 & CR4_PKE && user && !(access & EXEC))
		key_fault = key & 1 ||
			    (key & 2 && access & WRITE && (!supervisor || state.cr0 & CR0_WP));
	if (access & EXEC) {
		fault = nx || (supervisor ? user && state.cr4 & CR4_SMEP : !user);
	} else {
		if (supervisor && user && state.cr4 & CR4_SMAP && !(state.rflags & RFLAGS_AC))
			fault = true;
		if (!supervisor && !user)
			fault = true;
		if (access & WRITE && !writable && (!supervisor || state.cr0 & CR0_WP))
			fault = true;
	}
	if (fault || key_fault)
		want_fault(w, base | ERR_P | (key_fault ? ERR_PK : 0));
}

static u64 random_entry(u64 next)
{
	u64 e = next | ALL;

	if (!random_below(12))
		e &= ~P;
	if (!random_below(4))
		e &= ~W;
	if (!random_below(4))
		e &= ~U;
	if (!random_below(4))
		e |= PS;
	if (!random_below(6))
		e |= NX;
	if (!random_below(10))
		e |= BIT(random_below(64));
	if (!random_below(2))
		e |= random_below(16) << 59;
	return e;
}

static void random_mode(int m)
{
	u32 r = (u32)random_u64();

	if (m == 4)
		long_mode();
	else if (m == 3)
		pae_mode();
	else
		legacy_mode();
	state.physical_bits = (u8)(36 + random_below(17));
	state.cr0 ^= r & 1 ? CR0_WP : 0;
	state.cr4 ^= (r & 2 ? CR4_SMEP : 0) | (r & 4 ? CR4_SMAP : 0) | (r & 8 ? CR4_PKE : 0);
	state.cr4 ^= r & 0x70 ? 0 : CR4_PSE;
	state.efer ^= r & 0x180 || m == 2 ? 0 : EFER_NXE;
	state.rflags = r & 0x200 ? RFLAGS_AC : 0;
	state.pkru = r & 0x400 ? (u32)random_u64() & (u32)random_u64() : 0;
}

static void model_once(int m)
{
	static const u32 accesses[] = {READ, WRITE, EXEC};
	u32 access = accesses[random_below(3)] | (random_below(2) ? USER : 0);
	u64 gva = random_u64() & (m == 4 ? 0x7fffffffffff : 0xffffffff);
	struct want want;
	int error;

	random_mode(m);
	for (int l = 1; l <= m; l++) {
		u64 next = l == 1 ? random_below(2048) * PAGE_SIZE : table_at(l - 1);
		u64 e = random_entry(next);

		if (m == 2)
			put4(table_at(l) + (gva >> (12 + 10 * (l - 1)) & 1023) * 4, (u32)e);
		else if (m == 3 && l == 3)
			put8(TABLE + 0x20 + (gva >> 30) * 8, random_below(8) ? next | P : e);
		else
			put8(table_at(l) + (gva >> (12 + 9 * (l - 1)) & 511) * 8, e);
	}
	state.cr3 = m == 3 ? TABLE + 0x20 : table_at(m);
	/* A stray address bit may lead out of RAM: nothing to compare then. */
	error = walk(gva, access);
	if (error == -EFAULT)
		return;
	want_walk(m, gva, access, &want);
	assert_int_equal(error, want.fault ? -EPERM : 0);
	if (want.fault) {
		assert_int_equal(result.error, want.error);
	} else {
		assert_int_equal(result.gpa.v, want.gpa);
		assert_int_equal(result.page_size, want.size);
	}
}

static void test_model(void **unused)
{
	random_begin();
	for (u32 i = 0; i < 100000; i++)
		model_once(2 + (int)(i % 3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_no_paging, setup),
		cmocka_unit_test_setup(test_long_mode_sizes, setup),
		cmocka_unit_test_setup(test_five_levels, setup),
		cmocka_unit_test_setup(test_not_present, setup),
		cmocka_unit_test_setup(test_rights_of_each_level, setup),
		cmocka_unit_test_setup(test_smep_and_smap, setup),
		cmocka_unit_test_setup(test_protection_keys, setup),
		cmocka_unit_test_setup(test_reserved_bits_long, setup),
		cmocka_unit_test_setup(test_pae, setup),
		cmocka_unit_test_setup(test_pae_pointers_in_registers, setup),
		cmocka_unit_test_setup(test_legacy, setup),
		cmocka_unit_test_setup(test_accessed_and_dirty, setup),
		cmocka_unit_test_setup(test_missing_tables, setup),
		cmocka_unit_test_setup(test_tables_without_write_permission, setup),
		cmocka_unit_test_setup(test_identity_tables_in_keels_memory, setup),
		cmocka_unit_test_setup(test_model, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
