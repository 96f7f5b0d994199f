/* SPDX-License-Identifier: MIT */
/*
 * log=teach: one launch, told as it happens: each field of CPU 0's first control block when Keel
 * has written it, then the first exits. A backend has the words (its teach.c), and a way to print a
 * field; when what is told is here.
 */
#pragma once

#include "arch-x86/virt.h"

/* By whom a field of the state is written: enum virt_reg for set(), and these. */
#define TEACH_SEGMENT(seg) (VREG_COUNT + (seg)) /* set_segment() */
#define TEACH_INTERCEPTS   (VREG_COUNT + SEG_COUNT)

struct teach_note {
	u16 field;		   /* the backend's number of it */
	u8 by;			   /* of `state` */
	const char *why, *section; /* why NULL: the list ends */
};

struct teach_script {
	const char *block, *entry, *manual; /* "VMCB", "VMRUN (...)", "APM vol. 2" */
	const char *init, *run;		    /* where the first and the last part are written */
	const struct teach_note *lasting, *state, *each_entry;
	/* Prints a field's name and value; false: this processor does not have it. */
	bool (*field)(struct virt_vcpu *v, u32 field);
};

/* The vCPU has been created on `cpu`; what follows is the machine's state, by virt's operations. */
void teach_begin(struct virt_vcpu *v, const struct cpu *cpu);
/* Before an entry: if it is that vCPU's first, tells the last part. */
void teach_entry(struct virt_vcpu *v);
/* After an exit of CPU 0's, decoded as *e: tells it, while there are some left. `name`: its code's.
 */
void teach_exit(const struct virt_vcpu *v, const struct vm_exit *e, const char *name, u64 info2);
