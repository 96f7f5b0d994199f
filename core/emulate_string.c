// SPDX-License-Identifier: MIT
/*
 * MOVS, STOS, LODS, CMPS and SCAS. Each iteration is complete in itself: registers are consistent
 * after it, so that the instruction can be left between any two of them.
 */
#include "arch-x86/regs.h"
#include "core/emulate_alu.h"
#include "core/emulate_context.h"

/* Iterations of one emulation; then the guest is entered again, so that interrupts get in. */
#define STRING_ITERATIONS 64

struct string_operands {
	struct span source, target;
	u64 from, to; /* values */
};

/* The opcode without its width bit. */
enum string_op { MOVS = 0xa4, CMPS = 0xa6, STOS = 0xaa, LODS = 0xac, SCAS = 0xae };

static enum stop resolve_operands(struct context *c, enum string_op op, struct string_operands *o)
{
	const struct insn *insn = c->insn;
	u32 size = insn->operand_size, address = insn->address_size;
	enum stop stop = GO;

	if (op == MOVS || op == CMPS || op == LODS)
		stop = memory_resolve(c, insn->segment, gpr_get(c, GPR_RSI, address), size,
				      WALK_READ, &o->source);
	if (!stop && op != LODS)
		stop = memory_resolve(c, SEG_ES, gpr_get(c, GPR_RDI, address), size,
				      op == MOVS || op == STOS ? WALK_WRITE : WALK_READ,
				      &o->target);
	return stop;
}

/* The accesses; the values to compare are left in *o. */
static enum stop access_operands(struct context *c, enum string_op op, struct string_operands *o)
{
	enum stop stop = GO;

	o->from = gpr_get(c, GPR_RAX, c->insn->operand_size);
	if (op == MOVS || op == CMPS || op == LODS)
		stop = memory_read(c, &o->source, &o->from);
	if (stop)
		return stop;
	if (op == MOVS || op == STOS)
		return memory_write(c, &o->target, &o->from);
	return op == LODS ? GO : memory_read(c, &o->target, &o->to);
}

static void advance(struct context *c, u32 index)
{
	u32 size = c->insn->address_size;
	u64 step = c->insn->operand_size;

	if (c->rflags & RFLAGS_DF)
		step = -step;
	gpr_set(c, index, size, gpr_get(c, index, size) + step);
}

static enum stop iterate(struct context *c, enum string_op op)
{
	struct string_operands o = {0};
	enum stop stop = resolve_operands(c, op, &o);

	if (!stop)
		stop = access_operands(c, op, &o);
	if (stop)
		return stop;
	if (op == LODS)
		gpr_set(c, GPR_RAX, c->insn->operand_size, o.from);
	else if (op == CMPS || op == SCAS)
		alu(ALU_CMP, c->insn->operand_size, o.from, o.to, &c->rflags);
	if (op == MOVS || op == CMPS || op == LODS)
		advance(c, GPR_RSI);
	if (op != LODS)
		advance(c, GPR_RDI);
	return GO;
}

/* After an iteration of a repeated instruction: true when it was the last. */
static bool finished(struct context *c, enum string_op op)
{
	u32 size = c->insn->address_size;
	u64 count = gpr_get(c, GPR_RCX, size) - 1;
	bool zero = c->rflags & RFLAGS_ZF;

	gpr_set(c, GPR_RCX, size, count);
	if (!(count & size_mask(size)))
		return true;
	return (op == CMPS || op == SCAS) && (c->insn->rep ? !zero : zero);
}

enum stop string_execute(struct context *c)
{
	enum string_op op = c->insn->opcode & ~1u;
	/* Also the VMM's single step, which vcpu_rflags() hides. */
	bool step = virt->get(&c->vcpu->v, VREG_RFLAGS) & RFLAGS_TF;
	enum stop stop = GO;
	bool done = false;

	if (!c->insn->rep && !c->insn->repne)
		return iterate(c, op);
	if (!gpr_get(c, GPR_RCX, c->insn->address_size))
		return GO;
	for (u32 n = 0; n < STRING_ITERATIONS && !done; n++) {
		stop = iterate(c, op);
		if (stop)
			return stop;
		done = finished(c, op);
		vcpu_set_rflags(c->vcpu, c->rflags);
		c->vcpu->emulation.count = 0;
		c->next = 0;
		if (step || c->told)
			break;
	}
	if (done)
		return GO;
	/* SDM vol. 3, "Instruction-Breakpoint Exception Condition": RF stays set between
	 * iterations. */
	vcpu_retire(c->vcpu);
	vcpu_set_rflags(c->vcpu, c->rflags | RFLAGS_RF);
	c->retired = true;
	return GO;
}
