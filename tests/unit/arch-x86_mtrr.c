// SPDX-License-Identifier: MIT
/* Memory types against a model that asks each register about each page. */
#include "arch-x86/mtrr.h"

#include <stdlib.h>
#include <string.h>

#include "arch-x86/msr.h"
#include "tests/unit/fake/fake.h"

#define BITS  26 /* of physical addresses in the model's machine */
#define PAGES (1u << (BITS - 12))
#define SPAN  BIT(BITS)
#define VALID BIT(11)

static struct mtrrs m;

static void machine(u64 def_type)
{
	memset(&m, 0, sizeof(m));
	m.def_type = def_type;
	m.physical_bits = BITS;
}

static void range(u64 base, u64 size, u8 type)
{
	m.base[m.count] = base | type;
	m.mask[m.count++] = ((SPAN - 1) & ~(size - 1)) | VALID;
}

static u8 type_at(u64 address)
{
	u64 end;

	return mtrrs_type(&m, address, &end);
}

static u64 end_at(u64 address)
{
	u64 end;

	mtrrs_type(&m, address, &end);
	return end;
}

static void disabled_is_uncached(void **state)
{
	machine(MEMORY_WB);
	range(0, SPAN, MEMORY_WB);
	assert_int_equal(type_at(0x1000), MEMORY_UC);
	assert_int_equal(end_at(0x1000), ~0ull);
}

static void default_type(void **state)
{
	machine(MTRR_DEF_ENABLE | MEMORY_WT);
	m.base[0] = MEMORY_UC; /* not valid */
	m.count = 1;
	assert_int_equal(type_at(0), MEMORY_WT);
	assert_int_equal(end_at(0), ~0ull);
}

static void fixed_ranges(void **state)
{
	static const struct {
		u64 address, end;
		u32 reg, byte;
	} places[] = {
		{0, 0x10000, 0, 0},	  {0x7ffff, 0x80000, 0, 7}, {0x80000, 0x84000, 1, 0},
		{0x9c000, 0xa0000, 1, 7}, {0xa0000, 0xa4000, 2, 0}, {0xbffff, 0xc0000, 2, 7},
		{0xc0000, 0xc1000, 3, 0}, {0xc8123, 0xc9000, 4, 0}, {0xfffff, 0x100000, 10, 7},
	};

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		machine(MTRR_DEF_ENABLE | MTRR_DEF_FIXED | MEMORY_UC);
		range(0, SPAN, MEMORY_WB); /* has no say below 1 MiB */
		m.fixed[places[i].reg] = (u64)MEMORY_WP << 8 * places[i].byte;
		assert_int_equal(type_at(places[i].address), MEMORY_WP);
		assert_int_equal(end_at(places[i].address), places[i].end);
	}
	assert_int_equal(type_at(0x100000), MEMORY_WB);
	m.def_type &= ~(u64)MTRR_DEF_FIXED;
	assert_int_equal(type_at(0), MEMORY_WB);
}

static void overlaps(void **state)
{
	static const struct {
		u8 a, b, result;
	} pairs[] = {
		{MEMORY_WB, MEMORY_WB, MEMORY_WB}, {MEMORY_WB, MEMORY_UC, MEMORY_UC},
		{MEMORY_UC, MEMORY_WC, MEMORY_UC}, {MEMORY_WT, MEMORY_WB, MEMORY_WT},
		{MEMORY_WB, MEMORY_WT, MEMORY_WT}, {MEMORY_WC, MEMORY_WB, MEMORY_UC},
		{MEMORY_WP, MEMORY_WT, MEMORY_UC},
	};

	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		machine(MTRR_DEF_ENABLE | MEMORY_WC);
		range(0x200000, 0x200000, pairs[i].a);
		range(0x300000, 0x100000, pairs[i].b);
		assert_int_equal(type_at(0x3fffff), pairs[i].result);
		assert_int_equal(type_at(0x2fffff), pairs[i].a);
		assert_int_equal(type_at(0x400000), MEMORY_WC);
		assert_int_equal(end_at(0), 0x200000);
		assert_int_equal(end_at(0x200000), 0x300000);
		assert_int_equal(end_at(0x300000), 0x400000);
	}
}

/* Straight from "MTRR Precedences". */
static u8 model(u64 address)
{
	bool seen[8] = {0};
	u32 kinds = 0;
	u8 type = 0;

	if (!(m.def_type & BIT(11)))
		return 0;
	if (m.def_type & BIT(10) && address < 0x100000) {
		const u8 *bytes = (const u8 *)m.fixed;

		if (address < 0x80000)
			return bytes[address / 0x10000];
		if (address < 0xc0000)
			return bytes[8 + (address - 0x80000) / 0x4000];
		return bytes[24 + (address - 0xc0000) / 0x1000];
	}
	for (u32 i = 0; i < m.count; i++) {
		u64 mask = m.mask[i] & (SPAN - 1) & ~0xfffull;

		if (!(m.mask[i] & VALID) || (address & mask) != (m.base[i] & mask))
			continue;
		type = m.base[i] & 0xff;
		kinds += !seen[type];
		seen[type] = true;
	}
	if (!kinds)
		return m.def_type & 0xff;
	if (kinds == 1)
		return type;
	return kinds == 2 && seen[4] && seen[6] ? 4 : 0;
}

static u8 any_type(void)
{
	static const u8 types[] = {0, 1, 4, 5, 6, 6, 6};

	return types[rand() % ARRAY_SIZE(types)];
}

static void random_machine(void)
{
	u32 count = rand() % 6;

	machine((rand() % 8 ? MTRR_DEF_ENABLE : 0) | (rand() % 2 ? MTRR_DEF_FIXED : 0) |
		any_type());
	for (u32 i = 0; i < sizeof(m.fixed); i++)
		((u8 *)m.fixed)[i] = any_type();
	for (u32 i = 0; i < count; i++) {
		u64 size = BIT(12 + rand() % (BITS - 11));

		range(ALIGN_DOWN(rand() % SPAN, size), size, any_type());
		if (rand() % 5 == 0) /* a gap */
			m.mask[i] &= ~BIT(12 + rand() % (BITS - 12));
		if (rand() % 8 == 0)
			m.mask[i] &= ~VALID;
	}
}

static void agrees_with_the_model(void **state)
{
	static u8 types[PAGES];

	srand(1);
	for (u32 round = 0; round < 300; round++) {
		u64 until = 0, steps = 0;
		u8 type = 0;

		random_machine();
		for (u32 page = 0; page < PAGES; page++)
			types[page] = model((u64)page << 12);
		for (u32 page = 0; page < PAGES; page++) {
			u64 address = (u64)page << 12, end;

			assert_int_equal(mtrrs_type(&m, address, &end), types[page]);
			assert_true(end > address && (end == ~0ull || IS_ALIGNED(end, PAGE_SIZE)));
			if (address < until) /* what was said of it before holds */
				assert_int_equal(types[page], type);
			if (address >= until) {
				until = end;
				type = types[page];
				steps++;
			}
		}
		assert_true(steps > 0);
	}
}

static struct cpuid_regs with_mtrrs(u32 leaf, u32 subleaf)
{
	return leaf == 1 ? (struct cpuid_regs){.edx = BIT(12)} : (struct cpuid_regs){.eax = 0x3027};
}

static struct cpuid_regs without(u32 leaf, u32 subleaf)
{
	return (struct cpuid_regs){.eax = 0x3027};
}

static void registers(void **state)
{
	fake_hw_reset();
	fake_cpuid = with_mtrrs;
	fake_msr_set(MSR_MTRRCAP, BIT(10) | BIT(8) | 2);
	fake_msr_set(MSR_MTRR_DEF_TYPE, 0xc06);
	fake_msr_set(0x250, 0x11);
	fake_msr_set(0x258, 0x22);
	fake_msr_set(0x259, 0x33);
	fake_msr_set(0x268, 0x44);
	fake_msr_set(0x26f, 0x55);
	fake_msr_set(0x200, 0x80000000);
	fake_msr_set(0x201, 0x7f80000800);
	fake_msr_set(0x203, 0x7f00000800);
	fake_msr_set(0x205, 0x7e00000800); /* beyond the count */
	mtrrs_read(&m);
	assert_int_equal(m.def_type, 0xc06);
	assert_int_equal(m.count, 2);
	assert_int_equal(m.physical_bits, 39);
	assert_int_equal(m.fixed[0], 0x11);
	assert_int_equal(m.fixed[1], 0x22);
	assert_int_equal(m.fixed[2], 0x33);
	assert_int_equal(m.fixed[3], 0x44);
	assert_int_equal(m.fixed[10], 0x55);
	assert_int_equal(m.base[0], 0x80000000);
	assert_int_equal(m.mask[0], 0x7f80000800);
	assert_int_equal(m.mask[1], 0x7f00000800);
	assert_int_equal(m.mask[2], 0);
	fake_cpuid = without;
	mtrrs_read(&m);
	assert_int_equal(type_at(0x1000), MEMORY_WB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(disabled_is_uncached),	 cmocka_unit_test(default_type),
		cmocka_unit_test(fixed_ranges),		 cmocka_unit_test(overlaps),
		cmocka_unit_test(agrees_with_the_model), cmocka_unit_test(registers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
