/* SPDX-License-Identifier: MIT */
/*
 * The emulator's arithmetic: operands in, result and flags out, nothing else touched.
 * Sizes are 1, 2, 4 or 8 bytes; operands may have garbage above their size, results have zeros.
 * Flags that the SDM leaves undefined are left as they were or set as processors usually do.
 */
#pragma once

#include "core/decode.h" /* size_mask, sign_extend */

/* clang-format off */
enum alu_op {
	/* opcodes 00 to 3F, and group 1 */
	ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP,
	/* group 2: b is the count */
	ALU_ROL, ALU_ROR, ALU_RCL, ALU_RCR, ALU_SHL, ALU_SHR, ALU_SAL, ALU_SAR,
	/* group 8 from /4: b is the bit's number */
	ALU_BT, ALU_BTS, ALU_BTR, ALU_BTC,
	ALU_TEST, ALU_NOT, ALU_NEG, ALU_INC, ALU_DEC,
};
/* clang-format on */

/* The new value of operand a; CMP, TEST and BT give a back. */
u64 alu(enum alu_op op, u32 size, u64 a, u64 b, u64 *rflags);
/* SHLD, or SHRD where `right`: shifts a, filling it from b. */
u64 alu_shift_double(bool right, u32 size, u64 a, u64 b, u32 count, u64 *rflags);
/* The product's low half; *high (may be NULL) takes the other. Sets CF and OF. */
u64 alu_multiply(bool is_signed, u32 size, u64 a, u64 b, u64 *high, u64 *rflags);
/* Jcc, SETcc, CMOVcc: the opcode's low four bits. SDM vol. 2, "Encoding of Conditional Test". */
bool alu_condition(u32 code, u64 rflags);
