// SPDX-License-Identifier: MIT
/* The emulator's arithmetic: results and flags of the integer instructions (SDM vol. 2). */
#include "arch-x86/regs.h"
#include "core/emulate_alu.h"

#define FLAGS_RESULT (RFLAGS_PF | RFLAGS_ZF | RFLAGS_SF)
#define FLAGS_ALL    (FLAGS_RESULT | RFLAGS_CF | RFLAGS_AF | RFLAGS_OF)

static u64 top_bit(u64 value, u32 size)
{
	return value >> (8 * size - 1) & 1;
}

static u64 flag(bool set, u64 mask)
{
	return set ? mask : 0;
}

/* PF looks at the low byte only: the bit of 0x9669 says whether a nibble's parity is even. */
static u64 result_flags(u64 result, u32 size)
{
	return flag(0x9669 >> ((result ^ result >> 4) & 15) & 1, RFLAGS_PF) |
	       flag(!(result & size_mask(size)), RFLAGS_ZF) |
	       flag(top_bit(result, size), RFLAGS_SF);
}

static void set_flags(u64 *rflags, u64 mask, u64 value)
{
	*rflags = (*rflags & ~mask) | (value & mask);
}

static u64 add(u32 size, u64 a, u64 b, u64 carry, u64 *rflags)
{
	u64 mask = size_mask(size);
	u64 r = (a + b + carry) & mask;

	set_flags(rflags, FLAGS_ALL,
		  result_flags(r, size) | flag(r < a || (carry && r == a), RFLAGS_CF) |
			  ((a ^ b ^ r) & RFLAGS_AF) |
			  flag(top_bit((a ^ r) & (b ^ r), size), RFLAGS_OF));
	return r;
}

static u64 subtract(u32 size, u64 a, u64 b, u64 borrow, u64 *rflags)
{
	u64 r = (a - b - borrow) & size_mask(size);

	set_flags(rflags, FLAGS_ALL,
		  result_flags(r, size) | flag(a < b || (borrow && a == b), RFLAGS_CF) |
			  ((a ^ b ^ r) & RFLAGS_AF) |
			  flag(top_bit((a ^ b) & (a ^ r), size), RFLAGS_OF));
	return r;
}

/* AND, OR, XOR, TEST: AF is undefined; processors clear it. */
static u64 logic(u32 size, u64 r, u64 *rflags)
{
	set_flags(rflags, FLAGS_ALL, result_flags(r, size));
	return r;
}

static u64 shift(enum alu_op op, u32 size, u64 a, u32 count, u64 *rflags)
{
	u32 bits = 8 * size;
	u64 r, carry, overflow;

	if (op == ALU_SAR) {
		s64 value = (s64)sign_extend(a, size);

		r = (u64)(value >> count) & size_mask(size);
		carry = (u64)(value >> (count - 1)) & 1;
		overflow = 0;
	} else if (op == ALU_SHR) {
		r = a >> count;
		carry = a >> (count - 1) & 1;
		overflow = top_bit(a, size);
	} else {
		r = a << count & size_mask(size);
		carry = count <= bits ? a >> (bits - count) & 1 : 0;
		overflow = top_bit(r, size) ^ carry;
	}
	set_flags(rflags, FLAGS_RESULT | RFLAGS_CF | RFLAGS_OF | RFLAGS_AF,
		  result_flags(r, size) | flag(carry, RFLAGS_CF) | flag(overflow, RFLAGS_OF));
	return r;
}

static u64 rotate(enum alu_op op, u32 size, u64 a, u32 count, u64 *rflags)
{
	u32 bits = 8 * size;
	u64 r = a, carry, overflow;

	count %= bits;
	if (op == ALU_ROR)
		count = (bits - count) % bits;
	if (count)
		r = (a << count | a >> (bits - count)) & size_mask(size);
	if (op == ALU_ROL) {
		carry = r & 1;
		overflow = top_bit(r, size) ^ carry;
	} else {
		carry = top_bit(r, size);
		overflow = carry ^ (r >> (bits - 2) & 1);
	}
	set_flags(rflags, RFLAGS_CF | RFLAGS_OF,
		  flag(carry, RFLAGS_CF) | flag(overflow, RFLAGS_OF));
	return r;
}

/* A rotation of bits + 1 bits, one step at a time: at most 63. */
static u64 rotate_carry(enum alu_op op, u32 size, u64 a, u32 count, u64 *rflags)
{
	u64 carry = *rflags & RFLAGS_CF, out, overflow;

	for (; count; count--) {
		if (op == ALU_RCL) {
			out = top_bit(a, size);
			a = (a << 1 | carry) & size_mask(size);
		} else {
			out = a & 1;
			a = a >> 1 | carry << (8 * size - 1);
		}
		carry = out;
	}
	overflow = top_bit(a, size) ^ (op == ALU_RCL ? carry : a >> (8 * size - 2) & 1);
	set_flags(rflags, RFLAGS_CF | RFLAGS_OF,
		  flag(carry, RFLAGS_CF) | flag(overflow, RFLAGS_OF));
	return a;
}

static u64 group2(enum alu_op op, u32 size, u64 a, u64 b, u64 *rflags)
{
	u32 count = b & (size == 8 ? 63 : 31);

	if (!count)
		return a;
	if (op >= ALU_SHL)
		return shift(op, size, a, count, rflags);
	return op >= ALU_RCL ? rotate_carry(op, size, a, count, rflags)
			     : rotate(op, size, a, count, rflags);
}

static u64 bit_test(enum alu_op op, u32 size, u64 a, u64 b, u64 *rflags)
{
	u64 bit = 1ull << (b & (8 * size - 1));

	set_flags(rflags, RFLAGS_CF, flag(a & bit, RFLAGS_CF));
	if (op == ALU_BTS)
		return a | bit;
	if (op == ALU_BTR)
		return a & ~bit;
	return op == ALU_BTC ? a ^ bit : a;
}

/* INC and DEC keep CF. */
static u64 step(enum alu_op op, u32 size, u64 a, u64 *rflags)
{
	u64 carry = *rflags & RFLAGS_CF;
	u64 r = op == ALU_INC ? add(size, a, 1, 0, rflags) : subtract(size, a, 1, 0, rflags);

	set_flags(rflags, RFLAGS_CF, carry);
	return r;
}

u64 alu(enum alu_op op, u32 size, u64 a, u64 b, u64 *rflags)
{
	a &= size_mask(size);
	if (op >= ALU_BT && op <= ALU_BTC)
		return bit_test(op, size, a, b, rflags);
	if (op >= ALU_ROL && op <= ALU_SAR)
		return group2(op == ALU_SAL ? ALU_SHL : op, size, a, b, rflags);
	b &= size_mask(size);
	switch (op) {
	case ALU_ADD:
		return add(size, a, b, 0, rflags);
	case ALU_ADC:
		return add(size, a, b, *rflags & RFLAGS_CF, rflags);
	case ALU_SUB:
		return subtract(size, a, b, 0, rflags);
	case ALU_SBB:
		return subtract(size, a, b, *rflags & RFLAGS_CF, rflags);
	case ALU_CMP:
		subtract(size, a, b, 0, rflags);
		return a;
	case ALU_OR:
		return logic(size, a | b, rflags);
	case ALU_AND:
		return logic(size, a & b, rflags);
	case ALU_XOR:
		return logic(size, a ^ b, rflags);
	case ALU_TEST:
		logic(size, a & b, rflags);
		return a;
	case ALU_NOT:
		return ~a & size_mask(size);
	case ALU_NEG:
		return subtract(size, 0, a, 0, rflags);
	default:
		return step(op, size, a, rflags);
	}
}

u64 alu_shift_double(bool right, u32 size, u64 a, u64 b, u32 count, u64 *rflags)
{
	u32 bits = 8 * size;
	u64 r, carry;

	count &= size == 8 ? 63 : 31;
	a &= size_mask(size);
	b &= size_mask(size);
	if (!count)
		return a;
	if (count > bits) /* 16-bit operands only: undefined; as if b followed a again */
		count -= bits;
	if (right) {
		carry = a >> (count - 1) & 1;
		r = count == bits ? b : (a >> count | b << (bits - count)) & size_mask(size);
	} else {
		carry = a >> (bits - count) & 1;
		r = count == bits ? b : (a << count | b >> (bits - count)) & size_mask(size);
	}
	set_flags(rflags, FLAGS_ALL,
		  result_flags(r, size) | flag(carry, RFLAGS_CF) |
			  flag(top_bit(a ^ r, size), RFLAGS_OF));
	return r;
}

u64 alu_multiply(bool is_signed, u32 size, u64 a, u64 b, u64 *high, u64 *rflags)
{
	u64 mask = size_mask(size), low, top, fill = 0;

	if (is_signed) {
		__int128 product = (__int128)(s64)sign_extend(a, size) * (s64)sign_extend(b, size);

		low = (u64)product & mask;
		top = (u64)(product >> (8 * size)) & mask;
		fill = top_bit(low, size) ? mask : 0;
	} else {
		unsigned __int128 product = (unsigned __int128)(a & mask) * (b & mask);

		low = (u64)product & mask;
		top = (u64)(product >> (8 * size)) & mask;
	}
	if (high)
		*high = top;
	/* SF, ZF, AF and PF are undefined: set as from the low half. */
	set_flags(rflags, FLAGS_ALL,
		  result_flags(low, size) | flag(top != fill, RFLAGS_CF | RFLAGS_OF));
	return low;
}

bool alu_condition(u32 code, u64 rflags)
{
	bool sign = rflags & RFLAGS_SF, overflow = rflags & RFLAGS_OF;
	bool zero = rflags & RFLAGS_ZF, carry = rflags & RFLAGS_CF;
	bool met;

	switch (code >> 1 & 7) {
	case 0:
		met = overflow;
		break;
	case 1:
		met = carry;
		break;
	case 2:
		met = zero;
		break;
	case 3:
		met = carry || zero;
		break;
	case 4:
		met = sign;
		break;
	case 5:
		met = rflags & RFLAGS_PF;
		break;
	case 6:
		met = sign != overflow;
		break;
	default:
		met = zero || sign != overflow;
	}
	return met != (code & 1);
}
