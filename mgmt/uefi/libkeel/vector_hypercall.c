// SPDX-License-Identifier: MIT
/* Every KEEL_RUN with its vector registers watched. */
#include "mgmt/uefi/libkeel/vector.h"
#include <errno.h>
#include <keel.h>

enum { CPUID_XSAVE = BIT(26), CPUID_AVX = BIT(28), CR4_OSXSAVE = BIT(18), XCR0_AVX = 7 };

bool vector_checking;

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

struct hypercall_result vector_hypercall(u64 handle, u64 request, u64 argument, u64 extra)
{
	struct vector_call c = {.rax = KEEL_CALL,
				.rdi = handle,
				.rsi = request,
				.rdx = argument,
				.r8 = extra,
				.instruction = hypercall_vmcall ? VECTOR_VMCALL : VECTOR_VMMCALL};

	enable_avx();
	vector_watch(&c);
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
