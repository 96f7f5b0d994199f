/* SPDX-License-Identifier: MIT */
/* Between the run loop and the files that settle single exits. Private to core/. */
#pragma once

#include "core/vcpu.h"

/* An exit handler's answer: enum run_outcome, or this: enter again. */
#define RUN_CONTINUE (-1)

/* vcpu->exit becomes INTERNAL_ERROR; returns RUN_USER. */
int run_internal_error(struct vcpu *vcpu, enum internal_suberror suberror, const struct vm_exit *e);
/* After vcpu_fetch() or vcpu_insn_length() returned 0. */
int run_fetch_failed(struct vcpu *vcpu, const struct vm_exit *e);
/* Emulates the instruction at CS:RIP, whose memory operand may be MMIO. */
int run_emulate(struct vcpu *vcpu, const struct vm_exit *e);
/* 0 and negative errno of an instruction's rules become: skip, #GP, #UD, a page fault to map. */
int run_settle(struct vcpu *vcpu, int error, u32 length);

/* vcpu_skip(), for what is the usual case. */
static inline void run_skip(struct vcpu *vcpu, u32 length)
{
	u64 rip = vcpu->v.rip + length;

	if (likely(vcpu->v.quiet && !((rip ^ vcpu->v.rip) >> 16)))
		vcpu->v.rip = rip;
	else
		vcpu_skip(vcpu, length);
}

/* What linear_copy() returned, other than 0. */
int run_access_failed(struct vcpu *vcpu, int error, const struct vm_exit *e);

/*
 * core/linear.c: copies up to a page's length at a linear address, all or nothing. data NULL: only
 * checks that the access is allowed and that the pages are there. access: enum walk_access.
 * -EPERM: #PF is queued; -EFAULT: exit.memory is filled; -EIO: there is no memory.
 */
int linear_copy(struct vcpu *vcpu, u64 linear, void *data, u32 length, u32 access);

/* core/control.c */
int control_exit(struct vcpu *vcpu, const struct vm_exit *e);
/* core/io.c */
int io_exit(struct vcpu *vcpu, const struct vm_exit *e, u32 length);
/* The VMM's answer. False: a guest frame needs a page first, exit.memory is filled. */
bool io_complete(struct vcpu *vcpu);
/* core/task.c */
int task_switch(struct vcpu *vcpu, const struct vm_exit *e);
