/* SPDX-License-Identifier: MIT */
/* The hypercall: VMMCALL or VMCALL, as the processor's vendor has it. */
#pragma once

#include "kvm/abi.h"
#include "lib/types.h"

struct hypercall_result {
	s64 value;  /* >= 0 or -errno */
	u64 second; /* RDX */
	u64 third;  /* R8 */
	u32 reply;  /* enum keel_reply */
};

extern bool hypercall_vmcall; /* Intel's instruction; else AMD's */

static inline struct hypercall_result hypercall(u64 handle, u64 request, u64 argument, u64 bytes,
						u64 extra)
{
	register u64 r8 __asm__("r8") = extra;
	u64 rax = KEEL_CALL, rcx = bytes, rdx = argument;

	if (hypercall_vmcall)
		__asm__ volatile("vmcall"
				 : "+a"(rax), "+c"(rcx), "+d"(rdx), "+r"(r8)
				 : "D"(handle), "S"(request)
				 : "memory");
	else
		__asm__ volatile("vmmcall"
				 : "+a"(rax), "+c"(rcx), "+d"(rdx), "+r"(r8)
				 : "D"(handle), "S"(request)
				 : "memory");
	return (struct hypercall_result){(s64)rax, rdx, r8, (u32)rcx};
}
