/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The hypercall: VMMCALL or VMCALL, as the processor's vendor has it. docs/hypercalls.md. */
#pragma once

#include "kvm/abi.h"
#include <asm/processor.h>

struct keel_result {
	s64 value;  /* 0 or more, or -errno */
	u64 second; /* RDX */
	u64 third;  /* R8 */
	u32 reply;  /* enum keel_reply */
};

static inline struct keel_result hypercall(u64 handle, u32 request, u64 argument, u64 bytes,
					   u64 extra)
{
	register u64 r8 asm("r8") = extra;
	u64 rax = KEEL_CALL, rcx = bytes, rdx = argument;

	if (boot_cpu_data.x86_vendor == X86_VENDOR_AMD ||
	    boot_cpu_data.x86_vendor == X86_VENDOR_HYGON)
		asm volatile("vmmcall"
			     : "+a"(rax), "+c"(rcx), "+d"(rdx), "+r"(r8)
			     : "D"(handle), "S"((u64)request)
			     : "memory");
	else
		asm volatile("vmcall"
			     : "+a"(rax), "+c"(rcx), "+d"(rdx), "+r"(r8)
			     : "D"(handle), "S"((u64)request)
			     : "memory");
	return (struct keel_result){(s64)rax, rdx, r8, (u32)rcx};
}

static inline struct keel_result hypercall_system(u32 request, u64 argument, u64 bytes, u64 extra)
{
	return hypercall(KEEL_SYSTEM_HANDLE, request, argument, bytes, extra);
}
