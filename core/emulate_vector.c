// SPDX-License-Identifier: MIT
/*
 * The emulator's moves between memory and an XMM register, which copy loops of firmware use on
 * MMIO. The registers are on the processor while the vCPU is loaded, else in its XSAVE area.
 */
#include "arch-x86/insn.h"
#include "arch-x86/regs.h"
#include "core/emulate_context.h"

enum { /* SDM vol. 1, "Layout of the 64-Bit Mode FXSAVE64 Map" and "XSAVE Header" */
       FXSAVE_SIZE = 512,
       XMM_OFFSET = 160,
       XSTATE_BV_OFFSET = 512,
};

enum move_flag {
	STORE = BIT(0),
	ALIGNED = BIT(1),
	HIGH = BIT(2),	 /* the upper half */
	MERGE = BIT(3),	 /* a load keeps the other half; else it becomes zero */
	BY_REX = BIT(4), /* 8 bytes with REX.W */
};

enum prefix { NP, P66, PF3, PF2 };

/* SDM vol. 2, the instructions' own pages. */
static const struct vector_move {
	u8 map, opcode, prefix, size, flags;
} moves[] = {
	{1, 0x10, NP, 16, 0}, /* MOVUPS, MOVUPD, MOVSS, MOVSD */
	{1, 0x10, P66, 16, 0},
	{1, 0x10, PF3, 4, 0},
	{1, 0x10, PF2, 8, 0},
	{1, 0x11, NP, 16, STORE},
	{1, 0x11, P66, 16, STORE},
	{1, 0x11, PF3, 4, STORE},
	{1, 0x11, PF2, 8, STORE},
	{1, 0x12, NP, 8, MERGE}, /* MOVLPS, MOVLPD */
	{1, 0x12, P66, 8, MERGE},
	{1, 0x13, NP, 8, STORE},
	{1, 0x13, P66, 8, STORE},
	{1, 0x16, NP, 8, MERGE | HIGH}, /* MOVHPS, MOVHPD */
	{1, 0x16, P66, 8, MERGE | HIGH},
	{1, 0x17, NP, 8, STORE | HIGH},
	{1, 0x17, P66, 8, STORE | HIGH},
	{1, 0x28, NP, 16, ALIGNED}, /* MOVAPS, MOVAPD */
	{1, 0x28, P66, 16, ALIGNED},
	{1, 0x29, NP, 16, STORE | ALIGNED},
	{1, 0x29, P66, 16, STORE | ALIGNED},
	{1, 0x2b, NP, 16, STORE | ALIGNED}, /* MOVNTPS, MOVNTPD */
	{1, 0x2b, P66, 16, STORE | ALIGNED},
	{1, 0x6e, P66, 4, BY_REX}, /* MOVD, MOVQ */
	{1, 0x7e, P66, 4, STORE | BY_REX},
	{1, 0x7e, PF3, 8, 0},
	{1, 0xd6, P66, 8, STORE},
	{1, 0x6f, P66, 16, ALIGNED}, /* MOVDQA, MOVDQU */
	{1, 0x6f, PF3, 16, 0},
	{1, 0x7f, P66, 16, STORE | ALIGNED},
	{1, 0x7f, PF3, 16, STORE},
	{1, 0xe7, P66, 16, STORE | ALIGNED}, /* MOVNTDQ */
	{2, 0x2a, P66, 16, ALIGNED},	     /* MOVNTDQA */
};

/* A mandatory F2 or F3 hides 66. */
static const struct vector_move *find_move(const struct insn *insn)
{
	u32 prefix = insn->repne ? PF2 : insn->rep ? PF3 : insn->operand_override ? P66 : NP;

	for (u32 i = 0; i < ARRAY_SIZE(moves); i++)
		if (moves[i].map == insn->map && moves[i].opcode == insn->opcode &&
		    moves[i].prefix == prefix)
			return &moves[i];
	return NULL;
}

static void copy_halves(void *to, const void *from)
{
	u64 *t = to;
	const u64 *f = from;

	t[0] = f[0];
	t[1] = f[1];
}

static void xmm_get(struct vcpu *vcpu, u32 index, u64 value[2])
{
	u8 area[FXSAVE_SIZE] aligned(16);
	const u8 *from = vcpu->xsave;

	if (vcpu->v.loaded) {
		fxsave(area);
		from = area;
	}
	copy_halves(value, from + XMM_OFFSET + 16 * index);
}

static void xmm_set(struct vcpu *vcpu, u32 index, const u64 value[2])
{
	u8 area[FXSAVE_SIZE] aligned(16);

	if (vcpu->v.loaded) {
		fxsave(area);
		copy_halves(area + XMM_OFFSET + 16 * index, value);
		fxrstor(area);
		return;
	}
	copy_halves((u8 *)vcpu->xsave + XMM_OFFSET + 16 * index, value);
	*(u64 *)((u8 *)vcpu->xsave + XSTATE_BV_OFFSET) |= XCR0_SSE;
}

static enum stop raise_plain(struct context *c, u8 vector)
{
	vcpu_queue_exception(c->vcpu, vector, false, 0);
	return STOP_RAISED;
}

static enum stop move(struct context *c, const struct vector_move *m, u32 size)
{
	u32 reg = (c->insn->modrm >> 3 & 7) | (c->insn->rex & 4) << 1;
	u64 value[2] = {0}, *half = m->flags & HIGH ? &value[1] : &value[0];
	u32 access = (m->flags & STORE ? WALK_WRITE : WALK_READ) |
		     (m->flags & ALIGNED ? ACCESS_ALIGNED : 0);
	struct span span;
	enum stop stop = operand_resolve(c, size, access, &span);

	if (stop)
		return stop;
	if (m->flags & (STORE | MERGE))
		xmm_get(c->vcpu, reg, value);
	if (m->flags & STORE)
		return memory_write(c, &span, half);
	stop = memory_read(c, &span, half);
	if (!stop)
		xmm_set(c->vcpu, reg, value);
	return stop;
}

enum stop vector_execute(struct context *c)
{
	const struct vector_move *m = find_move(c->insn);

	if (!m || c->insn->vex)
		return STOP_UNKNOWN;
	if ((c->walk.cr0 & CR0_EM) || !(c->walk.cr4 & CR4_OSFXSR))
		return raise_plain(c, VECTOR_UD);
	if (c->walk.cr0 & CR0_TS)
		return raise_plain(c, VECTOR_NM);
	return move(c, m, (m->flags & BY_REX) && (c->insn->rex & 8) ? 8 : m->size);
}
