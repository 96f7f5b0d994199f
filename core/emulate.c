// SPDX-License-Identifier: MIT
/*
 * The instruction emulator for MMIO: fetches and decodes one instruction, dispatches it, and
 * completes it. Operand order is the hardware's: all checks, then reads, then writes, then
 * registers.
 */
#include "arch-x86/regs.h"
#include "core/control.h"
#include "core/emulate_alu.h"
#include "core/emulate_context.h"
#include "core/vm.h"

/* ---- registers and operands ----------------------------------------------------------------- */

/* AH, CH, DH, BH: byte registers 4 to 7 without a REX prefix. */
static bool high_byte(const struct context *c, u32 index, u32 size)
{
	return size == 1 && index >= 4 && index < 8 && !c->insn->rex;
}

/* For implied registers (RSI, ...) size is never 1, or the index below 4. */
u64 gpr_get(const struct context *c, u32 index, u32 size)
{
	if (high_byte(c, index, size))
		return c->vcpu->v.gpr[index - 4] >> 8 & 0xff;
	return c->vcpu->v.gpr[index] & size_mask(size);
}

void gpr_set(struct context *c, u32 index, u32 size, u64 value)
{
	bool high = high_byte(c, index, size);
	u64 *gpr = &c->vcpu->v.gpr[high ? index - 4 : index];
	u64 mask = size == 4 ? ~0ull : size_mask(size);

	value &= size_mask(size);
	if (high) {
		mask <<= 8;
		value <<= 8;
	}
	*gpr = (*gpr & ~mask) | value;
}

static u32 modrm_reg(const struct context *c)
{
	return (c->insn->modrm >> 3 & 7) | (c->insn->rex & 4) << 1;
}

static u32 group_op(const struct context *c)
{
	return c->insn->modrm >> 3 & 7;
}

static u64 address16(const struct context *c)
{
	static const u8 base[8] = {GPR_RBX, GPR_RBX, GPR_RBP, GPR_RBP,
				   GPR_RSI, GPR_RDI, GPR_RBP, GPR_RBX};
	static const u8 index[4] = {GPR_RSI, GPR_RDI, GPR_RSI, GPR_RDI};
	const u64 *gpr = c->vcpu->v.gpr;
	u32 rm = c->insn->modrm & 7;

	if (rm == 6 && c->insn->modrm < 0x40)
		return 0;
	return gpr[base[rm]] + (rm < 4 ? gpr[index[rm]] : 0);
}

/* SDM vol. 2, "Addressing-Mode Encoding of ModR/M and SIB Bytes". `popped`: POP adds to RSP first.
 */
static u64 effective_address(const struct context *c, u32 popped)
{
	const struct insn *insn = c->insn;
	const u64 *gpr = c->vcpu->v.gpr;
	bool no_base = insn->modrm < 0x40;
	u64 address = (u64)insn->displacement;
	u32 base = insn->modrm & 7;

	if (!insn->has_modrm)
		return address & size_mask(insn->address_size); /* moffs */
	if (insn->address_size == 2)
		return (address + address16(c)) & 0xffff;
	if (insn->has_sib) {
		u32 index = (insn->sib >> 3 & 7) | (insn->rex & 2) << 2;

		base = insn->sib & 7;
		if (index != GPR_RSP)
			address += gpr[index] << (insn->sib >> 6);
	}
	if (insn->rip_relative) {
		address += c->vcpu->v.rip + insn->length;
	} else if (!no_base || base != 5) {
		base |= (insn->rex & 1) << 3;
		address += gpr[base] + (base == GPR_RSP ? popped : 0);
	}
	return address & size_mask(insn->address_size);
}

static bool register_operand(const struct context *c)
{
	return c->insn->has_modrm && c->insn->modrm >= 0xc0;
}

/*
 * The memory operand. A register operand never leads here from an MMIO exit: another vCPU has
 * rewritten the instruction, and the processor can execute what stands there now.
 */
enum stop operand_resolve(struct context *c, u32 size, u32 access, struct span *span)
{
	if (register_operand(c))
		return STOP_RETRY;
	return memory_resolve(c, c->insn->segment, effective_address(c, 0), size, access, span);
}

static enum stop operand_read(struct context *c, u32 size, u64 *value)
{
	struct span span;
	enum stop stop = operand_resolve(c, size, WALK_READ, &span);

	*value = 0;
	return stop ? stop : memory_read(c, &span, value);
}

static enum stop operand_write(struct context *c, u32 size, u64 value)
{
	struct span span;
	enum stop stop = operand_resolve(c, size, WALK_WRITE, &span);

	return stop ? stop : memory_write(c, &span, &value);
}

/* Resolves for writing, then reads: the first half of a read-modify-write. */
static enum stop operand_begin(struct context *c, u32 size, struct span *span, u64 *value)
{
	enum stop stop = operand_resolve(c, size, WALK_WRITE, span);

	*value = 0;
	return stop ? stop : memory_read(c, span, value);
}

/* ---- arithmetic ----------------------------------------------------------------------------- */

/* memory = memory op b */
static enum stop modify(struct context *c, enum alu_op op, u64 b)
{
	u32 size = c->insn->operand_size;
	u64 flags = c->rflags, old, value;
	struct span span;
	enum stop stop;

	if (op == ALU_CMP || op == ALU_TEST || op == ALU_BT) {
		stop = operand_read(c, size, &old);
		if (!stop)
			alu(op, size, old, b, &c->rflags);
		return stop;
	}
	stop = operand_begin(c, size, &span, &old);
	if (stop)
		return stop;
	value = alu(op, size, old, b, &flags);
	stop = memory_update(c, &span, &old, &value);
	if (!stop)
		c->rflags = flags;
	return stop;
}

/* register = register op memory */
static enum stop alu_load(struct context *c, enum alu_op op)
{
	u32 size = c->insn->operand_size, reg = modrm_reg(c);
	u64 value;
	enum stop stop = operand_read(c, size, &value);

	if (stop)
		return stop;
	value = alu(op, size, gpr_get(c, reg, size), value, &c->rflags);
	if (op != ALU_CMP)
		gpr_set(c, reg, size, value);
	return GO;
}

static enum stop execute_alu(struct context *c)
{
	enum alu_op op = c->insn->opcode >> 3 & 7;

	switch (c->insn->opcode & 7) {
	case 0 ... 1:
		return modify(c, op, gpr_get(c, modrm_reg(c), c->insn->operand_size));
	case 2 ... 3:
		return alu_load(c, op);
	}
	return STOP_UNKNOWN; /* accumulator and immediate, PUSH and POP of segments, DAA, ... */
}

static enum stop multiply_load(struct context *c, u64 b)
{
	u32 size = c->insn->operand_size;
	u64 value;
	enum stop stop = operand_read(c, size, &value);

	if (!stop)
		gpr_set(c, modrm_reg(c), size,
			alu_multiply(true, size, value, b, NULL, &c->rflags));
	return stop;
}

/* MUL and IMUL with the accumulator. */
static enum stop multiply(struct context *c, bool is_signed)
{
	u32 size = c->insn->operand_size;
	u64 value, low, high;
	enum stop stop = operand_read(c, size, &value);

	if (stop)
		return stop;
	low = alu_multiply(is_signed, size, value, gpr_get(c, GPR_RAX, size), &high, &c->rflags);
	if (size == 1) {
		gpr_set(c, GPR_RAX, 2, low | high << 8);
		return GO;
	}
	gpr_set(c, GPR_RAX, size, low);
	gpr_set(c, GPR_RDX, size, high);
	return GO;
}

static enum stop group3(struct context *c)
{
	switch (group_op(c)) {
	case 0 ... 1:
		return modify(c, ALU_TEST, c->insn->immediate);
	case 2:
		return modify(c, ALU_NOT, 0);
	case 3:
		return modify(c, ALU_NEG, 0);
	case 4:
		return multiply(c, false);
	case 5:
		return multiply(c, true);
	}
	return STOP_UNKNOWN; /* DIV and IDIV */
}

/* BT and the like with a register: it indexes a bit string, in both directions, of any length. */
static enum stop bit_string(struct context *c, enum alu_op op)
{
	u32 size = c->insn->operand_size;
	u64 number = sign_extend(gpr_get(c, modrm_reg(c), size), size);
	u64 offset = (u64)((s64)number >> (size == 2 ? 4 : size == 4 ? 5 : 6)) * size;
	u64 address = (effective_address(c, 0) + offset) & size_mask(c->insn->address_size);
	u64 old = 0, value, flags = c->rflags;
	struct span span;
	enum stop stop;

	if (register_operand(c))
		return STOP_RETRY;
	stop = memory_resolve(c, c->insn->segment, address, size,
			      op == ALU_BT ? WALK_READ : WALK_WRITE, &span);
	if (!stop)
		stop = memory_read(c, &span, &old);
	if (stop)
		return stop;
	value = alu(op, size, old, number, &flags);
	if (op != ALU_BT)
		stop = memory_update(c, &span, &old, &value);
	if (!stop)
		c->rflags = flags;
	return stop;
}

static enum stop shift_double(struct context *c, u32 count)
{
	u32 size = c->insn->operand_size;
	u64 flags = c->rflags, old, value;
	struct span span;
	enum stop stop = operand_begin(c, size, &span, &old);

	if (stop)
		return stop;
	value = alu_shift_double(c->insn->opcode >= 0xac, size, old, gpr_get(c, modrm_reg(c), size),
				 count, &flags);
	stop = memory_update(c, &span, &old, &value);
	if (!stop)
		c->rflags = flags;
	return stop;
}

/* ---- exchanges ------------------------------------------------------------------------------ */

static enum stop exchange(struct context *c)
{
	u32 size = c->insn->operand_size, reg = modrm_reg(c);
	u64 value = gpr_get(c, reg, size), old;
	struct span span;
	enum stop stop;

	c->locked = true; /* with or without LOCK */
	stop = operand_begin(c, size, &span, &old);
	if (!stop)
		stop = memory_update(c, &span, &old, &value);
	if (!stop)
		gpr_set(c, reg, size, old);
	return stop;
}

static enum stop exchange_add(struct context *c)
{
	u32 size = c->insn->operand_size, reg = modrm_reg(c);
	u64 flags = c->rflags, old, value;
	struct span span;
	enum stop stop = operand_begin(c, size, &span, &old);

	if (stop)
		return stop;
	value = alu(ALU_ADD, size, old, gpr_get(c, reg, size), &flags);
	stop = memory_update(c, &span, &old, &value);
	if (stop)
		return stop;
	gpr_set(c, reg, size, old);
	c->rflags = flags;
	return GO;
}

/* Writes in both cases: the old value when the comparison fails. */
static enum stop compare_exchange(struct context *c)
{
	u32 size = c->insn->operand_size;
	u64 flags = c->rflags, old, value;
	struct span span;
	enum stop stop = operand_begin(c, size, &span, &old);

	if (stop)
		return stop;
	alu(ALU_CMP, size, gpr_get(c, GPR_RAX, size), old, &flags);
	value = flags & RFLAGS_ZF ? gpr_get(c, modrm_reg(c), size) : old;
	stop = memory_update(c, &span, &old, &value);
	if (stop)
		return stop;
	if (!(flags & RFLAGS_ZF))
		gpr_set(c, GPR_RAX, size, old);
	c->rflags = flags;
	return GO;
}

/* CMPXCHG8B, CMPXCHG16B: two registers of `half` bytes each way; ZF only. */
static enum stop compare_exchange_pair(struct context *c)
{
	u32 half = c->insn->operand_size == 8 ? 8 : 4;
	u64 mask = size_mask(half), old[2] = {0}, value[2], expected[2];
	struct span span;
	enum stop stop;
	bool equal;

	stop = operand_resolve(c, 2 * half, WALK_WRITE | (half == 8 ? ACCESS_ALIGNED : 0), &span);
	if (!stop)
		stop = memory_read(c, &span, old);
	if (stop)
		return stop;
	expected[0] = gpr_get(c, GPR_RAX, half);
	expected[1] = gpr_get(c, GPR_RDX, half);
	value[0] = gpr_get(c, GPR_RBX, half);
	value[1] = gpr_get(c, GPR_RCX, half);
	if (half == 4) {
		expected[0] |= expected[1] << 32;
		value[0] |= value[1] << 32;
	}
	equal = expected[0] == old[0] && (half == 4 || expected[1] == old[1]);
	stop = memory_update(c, &span, old, equal ? value : old);
	if (stop)
		return stop;
	c->rflags = equal ? c->rflags | RFLAGS_ZF : c->rflags & ~RFLAGS_ZF;
	if (!equal) {
		gpr_set(c, GPR_RAX, half, old[0] & mask);
		gpr_set(c, GPR_RDX, half, half == 4 ? old[0] >> 32 : old[1]);
	}
	return GO;
}

/* ---- moves ---------------------------------------------------------------------------------- */

static enum stop load(struct context *c, u32 reg)
{
	u32 size = c->insn->operand_size;
	u64 value;
	enum stop stop = operand_read(c, size, &value);

	if (!stop)
		gpr_set(c, reg, size, value);
	return stop;
}

static enum stop store(struct context *c, u32 reg)
{
	u32 size = c->insn->operand_size;

	return operand_write(c, size, gpr_get(c, reg, size));
}

/* MOVZX, MOVSX, MOVSXD: `from` bytes of memory into a wider register. */
static enum stop load_extended(struct context *c, u32 from, bool is_signed)
{
	u64 value;
	enum stop stop = operand_read(c, from, &value);

	if (!stop)
		gpr_set(c, modrm_reg(c), c->insn->operand_size,
			is_signed ? sign_extend(value, from) : value);
	return stop;
}

static enum stop move_swapped(struct context *c, bool to_memory)
{
	u32 size = c->insn->operand_size, reg = modrm_reg(c);
	u32 shift = 64 - 8 * size;
	u64 value;
	enum stop stop;

	if (c->insn->repne)
		return STOP_UNKNOWN; /* CRC32 */
	if (to_memory)
		return operand_write(c, size, __builtin_bswap64(gpr_get(c, reg, size) << shift));
	stop = operand_read(c, size, &value);
	if (!stop)
		gpr_set(c, reg, size, __builtin_bswap64(value << shift));
	return stop;
}

static enum stop load_conditional(struct context *c)
{
	u32 size = c->insn->operand_size, reg = modrm_reg(c);
	u64 value;
	enum stop stop = operand_read(c, size, &value);

	if (stop)
		return stop;
	if (!alu_condition(c->insn->opcode, c->rflags))
		value = gpr_get(c, reg, size);
	gpr_set(c, reg, size, value); /* 32 bits: zero-extends in both cases */
	return GO;
}

/*
 * Nothing traps between MOV SS and the next instruction, not even by TF: SDM vol. 3, "Masking
 * Exceptions and Interrupts When Switching Stacks".
 */
static void retire_into_shadow(struct context *c)
{
	struct virt_vcpu *v = &c->vcpu->v;
	u64 rflags = virt->get(v, VREG_RFLAGS);

	virt->set(v, VREG_RFLAGS, rflags & ~(u64)RFLAGS_TF);
	vcpu_skip(c->vcpu, c->insn->length);
	virt->set(v, VREG_RFLAGS, rflags & ~(u64)RFLAGS_RF);
	virt->set(v, VREG_INT_SHADOW, 1);
	c->retired = true;
}

static enum stop load_segment(struct context *c)
{
	enum seg seg = group_op(c);
	u64 selector;
	enum stop stop = operand_read(c, 2, &selector);

	if (!stop)
		stop = segment_load(c, seg, selector);
	if (!stop && seg == SEG_SS)
		retire_into_shadow(c);
	return stop;
}

static enum stop store_segment(struct context *c)
{
	struct segment s;

	virt->get_segment(&c->vcpu->v, group_op(c), &s);
	return operand_write(c, 2, s.selector);
}

/* LMSW and SMSW. The operand has 16 bits whatever the operand size. */
static enum stop machine_word(struct context *c)
{
	u64 word;
	enum stop stop;

	if (group_op(c) == 4) {
		if (c->cpl && c->walk.cr4 & CR4_UMIP)
			return raise_error(c, VECTOR_GP, 0);
		return operand_write(c, 2, c->walk.cr0 & 0xffff);
	}
	if (group_op(c) != 6)
		return STOP_UNKNOWN;
	if (c->cpl)
		return raise_error(c, VECTOR_GP, 0);
	stop = operand_read(c, 2, &word);
	if (stop)
		return stop;
	switch (control_lmsw(c->vcpu, word)) {
	case 0:
		return GO;
	case -EFAULT:
		return STOP_MEMORY;
	}
	return raise_error(c, VECTOR_GP, 0);
}

/* ---- stack and branches --------------------------------------------------------------------- */

static u32 stack_width(struct context *c)
{
	struct segment ss;

	if (c->mode == 8)
		return 8;
	virt->get_segment(&c->vcpu->v, SEG_SS, &ss);
	return ss.attr & SEG_DB ? 4 : 2;
}

/* RSP itself is the caller's, after the write. */
static enum stop push_resolve(struct context *c, u32 size, struct span *span)
{
	u32 width = stack_width(c);
	u64 rsp = (gpr_get(c, GPR_RSP, width) - size) & size_mask(width);

	return memory_resolve(c, SEG_SS, rsp, size, WALK_WRITE, span);
}

static void move_stack(struct context *c, u64 by)
{
	u32 width = stack_width(c);

	gpr_set(c, GPR_RSP, width, gpr_get(c, GPR_RSP, width) + by);
}

static enum stop push(struct context *c, u64 value)
{
	u32 size = c->insn->operand_size;
	struct span span;
	enum stop stop = push_resolve(c, size, &span);

	if (!stop)
		stop = memory_write(c, &span, &value);
	if (!stop)
		move_stack(c, -(u64)size);
	return stop;
}

static enum stop push_memory(struct context *c)
{
	u32 size = c->insn->operand_size;
	struct span from, to;
	u64 value = 0;
	enum stop stop = operand_resolve(c, size, WALK_READ, &from);

	if (!stop)
		stop = push_resolve(c, size, &to);
	if (!stop)
		stop = memory_read(c, &from, &value);
	if (!stop)
		stop = memory_write(c, &to, &value);
	if (!stop)
		move_stack(c, -(u64)size);
	return stop;
}

static enum stop pop_resolve(struct context *c, struct span *span)
{
	return memory_resolve(c, SEG_SS, gpr_get(c, GPR_RSP, stack_width(c)), c->insn->operand_size,
			      WALK_READ, span);
}

static enum stop pop(struct context *c)
{
	u32 reg = (c->insn->opcode & 7) | (c->insn->rex & 1) << 3;
	struct span span;
	u64 value = 0;
	enum stop stop = pop_resolve(c, &span);

	if (!stop)
		stop = memory_read(c, &span, &value);
	if (stop)
		return stop;
	move_stack(c, c->insn->operand_size);
	gpr_set(c, reg, c->insn->operand_size, value);
	return GO;
}

static enum stop pop_memory(struct context *c)
{
	u32 size = c->insn->operand_size;
	struct span from, to;
	u64 value = 0;
	enum stop stop = pop_resolve(c, &from);

	if (!stop)
		stop = memory_resolve(c, c->insn->segment, effective_address(c, size), size,
				      WALK_WRITE, &to);
	if (!stop)
		stop = memory_read(c, &from, &value);
	if (!stop)
		stop = memory_write(c, &to, &value);
	if (!stop)
		move_stack(c, size);
	return stop;
}

/* CALL and JMP through memory, near. */
static enum stop branch(struct context *c, bool call)
{
	u32 size = c->insn->operand_size;
	u64 target = 0, next = (c->vcpu->v.rip + c->insn->length) & size_mask(size);
	struct span from, to;
	struct segment cs;
	enum stop stop;

	if (c->mode == 8 && c->insn->operand_override)
		return STOP_UNKNOWN; /* processors differ on its size */
	stop = operand_resolve(c, size, WALK_READ, &from);
	if (!stop && call)
		stop = push_resolve(c, size, &to);
	if (!stop)
		stop = memory_read(c, &from, &target);
	if (stop)
		return stop;
	virt->get_segment(&c->vcpu->v, SEG_CS, &cs);
	if (c->mode == 8 ? !linear_canonical(c, target) : target > cs.limit)
		return raise_error(c, VECTOR_GP, 0);
	if (call) {
		stop = memory_write(c, &to, &next);
		if (stop)
			return stop;
		move_stack(c, -(u64)size);
	}
	c->vcpu->v.rip = target;
	vcpu_retire(c->vcpu);
	c->retired = true;
	return GO;
}

static enum stop group5(struct context *c)
{
	if (register_operand(c) && group_op(c) > 1)
		return STOP_UNKNOWN;
	switch (group_op(c)) {
	case 0:
		return modify(c, ALU_INC, 0);
	case 1:
		return modify(c, ALU_DEC, 0);
	case 2:
		return branch(c, true);
	case 4:
		return branch(c, false);
	case 6:
		return push_memory(c);
	}
	return STOP_UNKNOWN; /* far branches */
}

/* ---- dispatch ------------------------------------------------------------------------------- */

static enum stop execute_one_byte(struct context *c)
{
	const struct insn *insn = c->insn;
	u32 size = insn->operand_size;

	switch (insn->opcode) {
	case 0x00 ... 0x3f:
		return execute_alu(c);
	case 0x50 ... 0x57:
		return push(c, gpr_get(c, (insn->opcode & 7) | (insn->rex & 1) << 3, size));
	case 0x58 ... 0x5f:
		return pop(c);
	case 0x63: /* MOVSXD; ARPL outside of 64-bit mode */
		return c->mode == 8 ? load_extended(c, MIN(size, 4u), true) : STOP_UNKNOWN;
	case 0x68:
	case 0x6a:
		return push(c, insn->immediate);
	case 0x69:
	case 0x6b:
		return multiply_load(c, insn->immediate);
	case 0x80 ... 0x83:
		return modify(c, group_op(c), insn->immediate);
	case 0x84 ... 0x85:
		return modify(c, ALU_TEST, gpr_get(c, modrm_reg(c), size));
	case 0x86 ... 0x87:
		return exchange(c);
	case 0x88 ... 0x89:
		return store(c, modrm_reg(c));
	case 0x8a ... 0x8b:
		return load(c, modrm_reg(c));
	case 0x8c:
		return store_segment(c);
	case 0x8e: /* from a register: it is the descriptor table that is in MMIO */
		return register_operand(c) ? STOP_UNKNOWN : load_segment(c);
	case 0x8f:
		return register_operand(c) ? STOP_UNKNOWN : pop_memory(c);
	case 0xa0 ... 0xa1:
		return load(c, GPR_RAX);
	case 0xa2 ... 0xa3:
		return store(c, GPR_RAX);
	case 0xa4 ... 0xa7:
	case 0xaa ... 0xaf:
		return string_execute(c);
	case 0xc0 ... 0xc1:
		return modify(c, ALU_ROL + group_op(c), insn->immediate);
	case 0xc6 ... 0xc7:
		return operand_write(c, size, insn->immediate);
	case 0xd0 ... 0xd1:
		return modify(c, ALU_ROL + group_op(c), 1);
	case 0xd2 ... 0xd3:
		return modify(c, ALU_ROL + group_op(c), gpr_get(c, GPR_RCX, 1));
	case 0xf6 ... 0xf7:
		return group3(c);
	case 0xfe ... 0xff:
		return group5(c);
	}
	return STOP_UNKNOWN;
}

static enum stop execute_two_byte(struct context *c)
{
	const struct insn *insn = c->insn;

	switch (insn->opcode) {
	case 0x01:
		return machine_word(c);
	case 0x40 ... 0x4f:
		return load_conditional(c);
	case 0x90 ... 0x9f:
		return operand_write(c, 1, alu_condition(insn->opcode, c->rflags));
	case 0xa3:
	case 0xab:
	case 0xb3:
	case 0xbb:
		return bit_string(c, ALU_BT + (insn->opcode >> 3 & 3));
	case 0xba:
		return modify(c, ALU_BT + (group_op(c) & 3), insn->immediate);
	case 0xa4:
	case 0xac:
		return shift_double(c, insn->immediate);
	case 0xa5:
	case 0xad:
		return shift_double(c, gpr_get(c, GPR_RCX, 1));
	case 0xaf:
		return multiply_load(c, gpr_get(c, modrm_reg(c), insn->operand_size));
	case 0xb0 ... 0xb1:
		return compare_exchange(c);
	case 0xb6 ... 0xb7:
		return load_extended(c, (insn->opcode & 1) + 1, false);
	case 0xbe ... 0xbf:
		return load_extended(c, (insn->opcode & 1) + 1, true);
	case 0xc0 ... 0xc1:
		return exchange_add(c);
	case 0xc3: /* MOVNTI */
		return store(c, modrm_reg(c));
	case 0xc7:
		return group_op(c) == 1 ? compare_exchange_pair(c) : STOP_UNKNOWN;
	}
	return vector_execute(c);
}

static enum stop execute(struct context *c)
{
	const struct insn *insn = c->insn;

	if (insn->vex)
		return STOP_UNKNOWN;
	if (insn->map == 0)
		return execute_one_byte(c);
	if (insn->map == 1)
		return execute_two_byte(c);
	if (insn->map == 2 && (insn->opcode & 0xfe) == 0xf0)
		return move_swapped(c, insn->opcode & 1);
	return vector_execute(c);
}

/* ---- one emulation -------------------------------------------------------------------------- */

static void context_init(struct context *c, struct vcpu *vcpu, struct segment *cs)
{
	struct virt_vcpu *v = &vcpu->v;

	*c = (struct context){.vcpu = vcpu, .insn = &vcpu->emulation.insn};
	vcpu_walk_state(vcpu, &c->walk);
	virt->get_segment(v, SEG_CS, cs);
	c->rflags = vcpu_rflags(vcpu);
	c->cpl = virt->get(v, VREG_CPL);
	c->segments = (c->walk.cr0 & CR0_PE) && !(c->rflags & RFLAGS_VM);
	c->mode = cs->attr & SEG_DB ? 4 : 2;
	if ((c->walk.efer & EFER_LMA) && (cs->attr & SEG_L))
		c->mode = 8;
}

static u64 linear_rip(const struct context *c, const struct segment *cs)
{
	u64 rip = c->vcpu->v.rip;

	return c->mode == 8 ? rip : (u32)(cs->base + rip);
}

static void complete(struct context *c)
{
	if (c->retired)
		return;
	vcpu_set_rflags(c->vcpu, c->rflags);
	vcpu_skip(c->vcpu, c->insn->length);
}

static enum emulation_result unknown(struct context *c)
{
	if (!c->cpl || c->vcpu->vm->emulation_failures)
		return EMULATE_UNKNOWN;
	vcpu_inject_ud(c->vcpu); /* an application must not end its VM */
	return EMULATE_DONE;
}

/* One attempt at emulation.insn. */
static enum emulation_result attempt(struct context *c)
{
	struct emulation *em = &c->vcpu->emulation;
	enum stop stop;

	c->locked = c->insn->lock;
	stop = execute(c);
	/* Between answers of the VMM a missing frame must not make the device act twice. */
	em->active = stop == STOP_USER || (stop == STOP_MEMORY && em->active && em->count);
	if (stop == GO)
		complete(c);
	if (c->told) /* whatever came after that */
		return EMULATE_USER;
	switch (stop) {
	case STOP_USER:
		return EMULATE_USER;
	case STOP_MEMORY:
		return EMULATE_FAULT;
	case STOP_UNKNOWN:
		return unknown(c);
	default:
		return EMULATE_DONE;
	}
}

static enum emulation_result fetch_failed(struct context *c)
{
	switch (c->vcpu->fetch_error) {
	case -EFAULT:
		return EMULATE_FAULT;
	case -EIO:
		return unknown(c);
	}
	return EMULATE_DONE; /* a fault is queued, or the code changed: look again */
}

/* Fetches and decodes at CS:RIP: 0; -ENODATA: see fetch_error; -EINVAL: the bytes are kept. */
static int fetch(struct context *c, const struct vm_exit *e)
{
	struct insn *insn = &c->vcpu->emulation.insn;
	u8 bytes[15];
	u32 count = vcpu_fetch(c->vcpu, e, bytes);
	int error = insn_decode(insn, bytes, count, c->mode);

	if (error == -ENODATA && e && e->insn_bytes_len) { /* decode assists end at a page */
		count = vcpu_fetch(c->vcpu, NULL, bytes);
		error = insn_decode(insn, bytes, count, c->mode);
	}
	if (error == -EINVAL) {
		insn->length = count;
		for (u32 i = 0; i < count; i++)
			insn->bytes[i] = bytes[i];
	}
	return error;
}

enum emulation_result emulate(struct vcpu *vcpu, const struct vm_exit *e)
{
	struct emulation *em = &vcpu->emulation;
	struct segment cs;
	struct context c;
	int error;

	em->active = false;
	em->count = 0;
	context_init(&c, vcpu, &cs);
	error = fetch(&c, e);
	if (error)
		return error == -ENODATA ? fetch_failed(&c) : unknown(&c);
	em->rip = linear_rip(&c, &cs);
	return attempt(&c);
}

enum emulation_result emulate_resume(struct vcpu *vcpu)
{
	struct emulation *em = &vcpu->emulation;
	struct segment cs;
	struct context c;
	u64 data = 0;

	if (!em->active)
		return EMULATE_DONE;
	context_init(&c, vcpu, &cs);
	if (vcpu->exit.reason == USER_MMIO && !vcpu->exit.mmio.write) {
		for (u32 i = 0; i < vcpu->exit.mmio.length; i++)
			data |= (u64)vcpu->exit.mmio.data[i] << (8 * i);
		em->done[em->count++] = (struct emulation_access){
			.gpa = vcpu->exit.mmio.gpa,
			.data = data,
			.length = vcpu->exit.mmio.length,
		};
	}
	vcpu->exit.reason = USER_UNKNOWN;
	if (em->rip != linear_rip(&c, &cs)) { /* the VMM moved the vCPU: nothing to go on with */
		em->active = false;
		return EMULATE_DONE;
	}
	return attempt(&c);
}
