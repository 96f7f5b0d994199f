/* SPDX-License-Identifier: MIT */
/* Exceptions in root mode: all are Keel's bugs, except NMI, #MC, #SX and those with a fix-up. */
#pragma once

#include "lib/types.h"

struct exception_frame { /* as exception.asm pushes it */
	u64 r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
	u64 vector, error;
	u64 rip, cs, rflags, rsp, ss;
};

struct exception_fixup {
	u64 at, target; /* #GP at `at` goes on at `target` */
};

#define EXCEPTION_ENTRY_SIZE 16

extern const char exception_entries[];
extern const struct exception_fixup exception_fixups[], exception_fixups_end[];

void exception_handler(struct exception_frame *frame);
/* Loads CS, SS, DS, ES with root's selectors and FS, GS with NULL. */
void desc_reload_segments(void);
