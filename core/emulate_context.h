/* SPDX-License-Identifier: MIT */
/*
 * What the emulator's files share: one attempt to execute one instruction. An attempt changes
 * registers only after its last memory access, so it can be given up and repeated at any access.
 */
#pragma once

#include "core/vcpu.h"
#include "mm/guest_walk.h"

/* Why an attempt ends early. */
enum stop {
	GO = 0,
	STOP_RAISED,  /* an exception is queued */
	STOP_USER,    /* the VMM must perform an access */
	STOP_MEMORY,  /* a guest frame needs a page */
	STOP_UNKNOWN, /* not ours */
	STOP_RETRY,   /* the guest changed things under us: the processor executes it again */
};

struct context {
	struct vcpu *vcpu;
	const struct insn *insn;
	struct walk_state walk;
	u64 rflags; /* written back when the instruction completes */
	u8 mode;    /* of the code segment: 2, 4 or 8 bytes */
	u8 cpl;
	u8 next;       /* how many of emulation.done[] this attempt has used */
	bool segments; /* protected mode: segment types count */
	bool locked;   /* LOCK, or XCHG */
	bool retired;  /* RIP and the traps are settled already */
	bool told;     /* vcpu->exit has a write of this attempt */
};

/* A memory operand, translated and checked: at most two pages. */
struct span {
	u64 linear;
	u32 size;  /* bytes, 1 to 16 */
	u32 count; /* of parts */
	struct span_part {
		gpa_t gpa;
		u8 *ram; /* NULL: MMIO */
		u32 size;
		bool rom; /* reads come from ram, writes are MMIO: a read-only slot */
	} parts[2];
};

#define ACCESS_ALIGNED BIT(16) /* beside enum walk_access: #GP when not a multiple of its size */

/* emulate_segment.c */

/* Segment and canonical checks; GO or STOP_RAISED. access: enum walk_access. */
enum stop segment_linear(struct context *c, enum seg seg, u64 offset, u32 size, u32 access,
			 u64 *linear);
bool linear_canonical(const struct context *c, u64 linear);
/* MOV to a segment register other than CS. */
enum stop segment_load(struct context *c, enum seg seg, u16 selector);
enum stop raise_error(struct context *c, u8 vector, u32 error);

/* emulate_memory.c */

/*
 * Everything that can fault, before any access: seg:offset to parts, with the guest's permissions
 * for `access`, #AC, and missing guest frames.
 */
enum stop memory_resolve(struct context *c, enum seg seg, u64 offset, u32 size, u32 access,
			 struct span *span);
/* The same for a linear address, by the processor itself (descriptor tables). */
enum stop memory_resolve_implicit(struct context *c, u64 linear, u32 size, u32 access,
				  struct span *span);
/* span->size bytes. */
enum stop memory_read(struct context *c, const struct span *span, void *out);
enum stop memory_write(struct context *c, const struct span *span, const void *in);
/* The write of a read-modify-write: atomic where the instruction is locked and all is RAM. */
enum stop memory_update(struct context *c, const struct span *span, const void *old,
			const void *value);

/* emulate_string.c: MOVS, STOS, LODS, CMPS, SCAS. */
enum stop string_execute(struct context *c);

/* emulate_vector.c: moves of XMM registers; STOP_UNKNOWN for everything else. */
enum stop vector_execute(struct context *c);

/* emulate.c */

/* The ModRM or moffs operand, which must be in memory. */
enum stop operand_resolve(struct context *c, u32 size, u32 access, struct span *span);

u64 gpr_get(const struct context *c, u32 index, u32 size);
void gpr_set(struct context *c, u32 index, u32 size, u64 value);
