// SPDX-License-Identifier: MIT
/*
 * The management guest rewrites an MTRR of this CPU: 1 MiB of its memory becomes uncachable and
 * write-back again. SDM vol. 3, "MTRR Considerations in MP Systems".
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define MTRRCAP	 0xfe
#define PHYSBASE 0x200
#define PHYSMASK 0x201
#define DEF_TYPE 0x2ff
#define ENABLE	 (1u << 11)
#define VALID	 (1u << 11)
#define CR0_CD	 (1ul << 30)
#define MIB	 (1ul << 20)

static uint8_t room[2 * MIB];

static uint64_t rdmsr(uint32_t index)
{
	uint32_t low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
	return (uint64_t)high << 32 | low;
}

static void wrmsr(uint32_t index, uint64_t value)
{
	__asm__ volatile("wrmsr" : : "c"(index), "a"((uint32_t)value), "d"(value >> 32) : "memory");
}

static uint32_t physical_bits(void)
{
	uint32_t a = 0x80000008, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return a & 0xff;
}

static void write_pair(uint32_t n, uint64_t base, uint64_t mask)
{
	uint64_t cr0, def_type = rdmsr(DEF_TYPE);

	__asm__ volatile("cli; mov %%cr0, %0" : "=r"(cr0));
	__asm__ volatile("mov %0, %%cr0; wbinvd" : : "r"(cr0 | CR0_CD) : "memory");
	wrmsr(DEF_TYPE, def_type & ~(uint64_t)ENABLE);
	wrmsr(PHYSBASE + 2 * n, base);
	wrmsr(PHYSMASK + 2 * n, mask);
	wrmsr(DEF_TYPE, def_type);
	__asm__ volatile("wbinvd; mov %0, %%cr0; sti" : : "r"(cr0) : "memory");
}

static int wrong_bytes(const volatile uint8_t *memory, uint8_t expected)
{
	int wrong = 0;

	for (uint64_t i = 0; i < MIB; i += 512)
		wrong += memory[i] != expected;
	return wrong;
}

int main(void)
{
	uint8_t *memory = (uint8_t *)(((uint64_t)room + MIB - 1) & ~(MIB - 1));
	uint32_t count = rdmsr(MTRRCAP) & 0xff, n = 0;
	uint64_t mask = ((1ul << physical_bits()) - 1) & ~(MIB - 1);
	int wrong;

	while (n < count && rdmsr(PHYSMASK + 2 * n) & VALID)
		n++;
	if (n == count) {
		printf("mtrr: none of %u is free\n", count);
		return 1;
	}
	memset(memory, 0x5a, MIB);
	write_pair(n, (uint64_t)memory, mask | VALID);
	wrong = wrong_bytes(memory, 0x5a);
	memset(memory, 0xa5, MIB);
	write_pair(n, 0, 0);
	wrong += wrong_bytes(memory, 0xa5);
	printf("mtrr: %p is uncachable and back, %d bytes are wrong\n", memory, wrong);
	return wrong != 0;
}
