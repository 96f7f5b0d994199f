// SPDX-License-Identifier: MIT
/* Memory type range registers: SDM vol. 3, "Memory Type Range Registers (MTRRs)". */
#include "arch-x86/mtrr.h"

#include "arch-x86/insn.h"
#include "arch-x86/msr.h"
#include "lib/string.h"

#define CPUID_MTRR   BIT(12) /* leaf 1, EDX */
#define CAP_COUNT    0xff
#define CAP_FIXED    BIT(8)
#define MASK_VALID   BIT(11)
#define TYPE	     0xff
#define FIXED_16K    0x80000ull
#define FIXED_4K     0xc0000ull
#define EVERYTHING   (~0ull)
#define REGISTER_16K 1 /* in mtrrs.fixed */
#define REGISTER_4K  3

static void read_fixed(struct mtrrs *m)
{
	m->fixed[0] = rdmsr(MSR_MTRR_FIX64K_00000);
	m->fixed[REGISTER_16K] = rdmsr(MSR_MTRR_FIX16K_80000);
	m->fixed[REGISTER_16K + 1] = rdmsr(MSR_MTRR_FIX16K_A0000);
	for (u32 i = 0; REGISTER_4K + i < MTRR_FIXED_COUNT; i++)
		m->fixed[REGISTER_4K + i] = rdmsr(MSR_MTRR_FIX4K_C0000 + i);
}

void mtrrs_read(struct mtrrs *m)
{
	u64 cap;

	memset(m, 0, sizeof(*m));
	m->def_type = MTRR_DEF_ENABLE | MEMORY_WB;
	m->physical_bits = cpuid(0x80000008, 0).eax & 0xff;
	if (!(cpuid(1, 0).edx & CPUID_MTRR))
		return;
	cap = rdmsr(MSR_MTRRCAP);
	m->count = MIN(cap & CAP_COUNT, MTRR_VARIABLE_MAX);
	m->def_type = rdmsr(MSR_MTRR_DEF_TYPE);
	if (cap & CAP_FIXED)
		read_fixed(m);
	for (u32 i = 0; i < m->count; i++) {
		m->base[i] = rdmsr(MSR_MTRR_PHYSBASE0 + 2 * i);
		m->mask[i] = rdmsr(MSR_MTRR_PHYSMASK0 + 2 * i);
	}
}

/* A byte of a register for each range. */
static enum memory_type fixed_type(const struct mtrrs *m, u64 address, u64 *end)
{
	u32 shift = 16, first = 0;
	u64 start = 0, range;

	if (address >= FIXED_4K) {
		shift = 12;
		first = REGISTER_4K;
		start = FIXED_4K;
	} else if (address >= FIXED_16K) {
		shift = 14;
		first = REGISTER_16K;
		start = FIXED_16K;
	}
	range = (address - start) >> shift;
	*end = start + ((range + 1) << shift);
	return m->fixed[first + range / 8] >> range % 8 * 8 & TYPE;
}

static enum memory_type overlap(enum memory_type a, enum memory_type b)
{
	if (a == b)
		return a;
	if ((a == MEMORY_WT && b == MEMORY_WB) || (a == MEMORY_WB && b == MEMORY_WT))
		return MEMORY_WT;
	return MEMORY_UC;
}

/* Where what a variable range says of addresses from `address` on may change. */
static u64 range_change(u64 base, u64 mask, u32 physical_bits, u64 address)
{
	u64 size = mask & -mask, start = base & mask;

	if (!mask)
		return EVERYTHING;
	/* A mask with gaps makes many ranges of that size. */
	if (mask + size != BIT(physical_bits))
		return ALIGN_DOWN(address, size) + size;
	if (address < start)
		return start;
	return address - start < size ? start + size : EVERYTHING;
}

static enum memory_type variable_type(const struct mtrrs *m, u64 address, u64 *end)
{
	enum memory_type type = m->def_type & TYPE;
	bool found = false;

	for (u32 i = 0; i < m->count; i++) {
		u64 mask = m->mask[i] & MASK(m->physical_bits - 1, 12);

		if (!(m->mask[i] & MASK_VALID))
			continue;
		*end = MIN(*end, range_change(m->base[i], mask, m->physical_bits, address));
		if ((address ^ m->base[i]) & mask)
			continue;
		type = found ? overlap(type, m->base[i] & TYPE) : m->base[i] & TYPE;
		found = true;
	}
	return type;
}

enum memory_type mtrrs_type(const struct mtrrs *m, u64 address, u64 *end)
{
	*end = EVERYTHING;
	if (!(m->def_type & MTRR_DEF_ENABLE))
		return MEMORY_UC;
	if (m->def_type & MTRR_DEF_FIXED && address < MTRR_FIXED_END)
		return fixed_type(m, address, end);
	return variable_type(m, address, end);
}
