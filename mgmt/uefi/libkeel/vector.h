/* SPDX-License-Identifier: MIT */
/* A hypercall with known contents of the vector registers: shows that Keel keeps them. */
#pragma once

#include "mgmt/uefi/libkeel/hypercall.h"

struct vector_state {
	u64 ymm[16][4];
	u32 mxcsr, pad;
};

struct vector_call {			     /* vector.asm knows this layout */
	u64 rax, rdi, rsi, rdx, rcx, r8, r9; /* in, and out */
	u64 vmcall;			     /* else VMMCALL */
	struct vector_state before, after;
};
ASSERT_OFFSET(struct vector_call, vmcall, 56);
ASSERT_OFFSET(struct vector_call, before, 64);
ASSERT_OFFSET(struct vector_call, after, 584);

extern bool vector_checking;

/* As hypercall(), with other patterns each time; counts what comes back changed. */
struct hypercall_result vector_hypercall(u64 handle, u64 request, u64 argument, u64 extra);

/* vector.asm: loads before, makes the call, stores after. */
void vector_call(struct vector_call *c);
