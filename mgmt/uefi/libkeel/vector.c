// SPDX-License-Identifier: MIT
/*
 * Watches over the vector registers that Keel switches between this program and its VMs: YMM and
 * MXCSR hold another pattern at every KEEL_RUN, and are compared after it.
 */
#include "mgmt/uefi/libkeel/vector.h"
#include "mgmt/uefi/libkeel/libkeel.h"
#include <errno.h>
#include <string.h>

enum { CPUID_XSAVE = BIT(26), CPUID_AVX = BIT(28), CR4_OSXSAVE = BIT(18), XCR0_AVX = 7 };
enum { MXCSR_FLAGS = 0x3f, MXCSR_MASKS = 0x1f80, MXCSR_ROUNDING = 13, MXCSR_FLUSH = BIT(15) };

bool vector_checking;
static u64 runs, wrong;

/* Firmware leaves AVX off; it stays on afterwards, which changes nothing for firmware. */
static void enable_avx(void)
{
	u64 cr4;

	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	if (cr4 & CR4_OSXSAVE)
		return;
	__asm__ volatile("mov %0, %%cr4" ::"r"(cr4 | CR4_OSXSAVE));
	__asm__ volatile("xsetbv" ::"c"(0), "a"(XCR0_AVX), "d"(0));
}

static void fill(struct vector_state *s, u64 seed)
{
	u64 x = (seed + 1) * 0x9e3779b97f4a7c15ull;

	for (u32 i = 0; i < 64; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		s->ymm[i / 4][i % 4] = x;
	}
	/* The exceptions stay masked. */
	s->mxcsr = MXCSR_MASKS | (x & MXCSR_FLAGS) | (x >> 8 & 3) << MXCSR_ROUNDING |
		   (x >> 10 & 1 ? MXCSR_FLUSH : 0);
	s->pad = 0;
}

struct hypercall_result vector_hypercall(u64 handle, u64 request, u64 argument, u64 extra)
{
	struct vector_call c = {KEEL_CALL, handle, request,	     argument,	    0,
				extra,	   0,	   hypercall_vmcall, .after.pad = 0};
	u64 run = __atomic_fetch_add(&runs, 1, __ATOMIC_RELAXED);

	enable_avx();
	fill(&c.before, run);
	vector_call(&c);
	if (memcmp(&c.before, &c.after, sizeof(c.before)))
		__atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
	return (struct hypercall_result){(s64)c.rax, c.rdx, c.r8, (u32)c.rcx};
}

int keel_vectors_check(void)
{
	u32 a = 1, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	if ((c & CPUID_XSAVE) && (c & CPUID_AVX)) {
		vector_checking = true;
		return 0;
	}
	errno = EOPNOTSUPP;
	return -1;
}

void keel_vectors_result(uint64_t *run_count, uint64_t *wrong_count)
{
	*run_count = runs;
	*wrong_count = wrong;
}
