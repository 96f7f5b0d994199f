/* SPDX-License-Identifier: MIT */
/* A call with known contents of the vector registers: shows that Keel keeps them. */
#pragma once

#include "mgmt/uefi/libkeel/hypercall.h"

struct vector_state {
	u64 ymm[16][4];
	u32 mxcsr, pad;
};

enum { VECTOR_VMMCALL, VECTOR_VMCALL, VECTOR_SYSCALL };

struct vector_call {			     /* vector.asm knows this layout */
	u64 rax, rdi, rsi, rdx, rcx, r8, r9; /* in, and out */
	u64 instruction;
	struct vector_state before, after;
};
ASSERT_OFFSET(struct vector_call, instruction, 56);
ASSERT_OFFSET(struct vector_call, before, 64);
ASSERT_OFFSET(struct vector_call, after, 584);

extern bool vector_checking;

/* Makes the call with other patterns each time; counts what comes back changed. */
void vector_watch(struct vector_call *c);

/* As hypercall(), watched. */
struct hypercall_result vector_hypercall(u64 handle, u64 request, u64 argument, u64 extra);

/* vector.asm: loads before, makes the call, stores after. */
void vector_call(struct vector_call *c);
