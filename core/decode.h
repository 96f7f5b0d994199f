/* SPDX-License-Identifier: MIT */
/*
 * The x86 instruction decoder: lengths of everything that a guest can execute (legacy, VEX, EVEX,
 * XOP), operands of what the emulator executes. Pure: bytes in, struct out.
 * For x87, vector and system opcodes it knows the length but not every hole in their encoding.
 * SDM vol. 2, "Instruction Format" and the opcode maps; APM vol. 3.
 */
#pragma once

#include "arch-x86/virt.h"

struct insn {
	u8 bytes[15];
	u8 length;
	u8 map; /* 0: one byte, 1: 0F, 2: 0F 38, 3: 0F 3A; VEX, EVEX, XOP: their own */
	u8 opcode;
	u8 modrm, sib;
	bool has_modrm, has_sib, lock, rep, repne, operand_override, address_override;
	bool vex, rip_relative; /* vex: also XOP, EVEX; pp stands in operand_override, rep, repne */
	u8 rex;			/* 0x4x, or 0; of VEX and the like: their R, X, B, W */
	u8 segment;		/* enum seg: of the memory operand, default or overridden */
	u8 operand_size;	/* bytes, of the instruction: 1, 2, 4, 8 */
	u8 address_size;	/* bytes: 2, 4, 8 */
	u8 immediate_size;
	u64 immediate;	  /* sign-extended where the instruction does */
	s64 displacement; /* also the address of MOV moffs (not extended) */
};

/*
 * mode is the code segment's default: 2 (16-bit), 4 (32-bit) or 8 (64-bit) bytes.
 * 0; -ENODATA: more than `count` bytes are needed; -EINVAL: not an instruction (#UD), or longer
 * than 15 bytes.
 */
int insn_decode(struct insn *insn, const u8 *bytes, u32 count, u32 mode);

/* Operand sizes are 1 to 8 bytes. */
static inline u64 size_mask(u32 size)
{
	return ~0ull >> (64 - 8 * size);
}

static inline u64 sign_extend(u64 value, u32 size)
{
	u32 shift = 64 - 8 * size;

	return (u64)((s64)(value << shift) >> shift);
}
