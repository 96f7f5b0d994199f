// SPDX-License-Identifier: MIT
/*
 * The x86 instruction decoder: prefixes, opcode, ModRM, SIB, displacement and immediate, driven by
 * one attribute word per opcode. It runs on the exit path (CPUID, OUT without a next RIP from the
 * hardware), so short instructions leave early.
 */
#include "core/decode.h"

/* clang-format off */
enum attribute {
	OK = BIT(0),     /* the opcode exists */
	MODRM = BIT(1),
	BYTE = BIT(2),   /* operates on one byte */
	D64 = BIT(3),    /* 64-bit operands by default in 64-bit mode */
	F64 = BIT(4),    /* near branch: 64-bit operands in 64-bit mode whatever the prefixes */
	NO64 = BIT(5),   /* #UD in 64-bit mode */
	MEM = BIT(6),    /* #UD with a register operand */
	REG = BIT(7),    /* the mod field is ignored: always a register */
	GROUP = BIT(8),  /* some values of ModRM do not exist */
	PREFIX = BIT(9),
	ESCAPE = BIT(10),/* 0F, VEX, EVEX, XOP: maybe another opcode map */
	MAX4 = BIT(11),  /* port I/O: never 8 bytes */
	M = OK | MODRM,
};

enum immediate { /* bits 15..12 of the attribute */
	NONE = 0 << 12,
	I8 = 1 << 12,    /* one byte, zero-extended */
	S8 = 2 << 12,    /* one byte, sign-extended */
	I16 = 3 << 12,
	IZ = 4 << 12,    /* 2 or 4 bytes by operand size, sign-extended */
	IV = 5 << 12,    /* 2, 4 or 8 bytes by operand size */
	MOFFS = 6 << 12, /* an address; stands in `displacement` */
	FAR = 7 << 12,   /* IZ and a selector */
	ENTER = 8 << 12, /* 2 bytes and 1 byte */
	TEST = 9 << 12,  /* group 3: an immediate for /0 and /1 only */
	I8I8 = 10 << 12, /* EXTRQ, INSERTQ */
	I32 = 11 << 12,  /* XOP map 10 */
	KIND = 15 << 12,
};

#define ALU_ROW(base)                                                                              \
	[base] = M | BYTE, [base + 1] = M, [base + 2] = M | BYTE, [base + 3] = M,                  \
	[base + 4] = OK | BYTE | I8, [base + 5] = OK | IZ

/* SDM vol. 2, "One-Byte Opcode Map". */
static const u16 one_byte[256] = {
	ALU_ROW(0x00), ALU_ROW(0x08), ALU_ROW(0x10), ALU_ROW(0x18),
	ALU_ROW(0x20), ALU_ROW(0x28), ALU_ROW(0x30), ALU_ROW(0x38),
	[0x06 ... 0x07] = OK | NO64, [0x0e] = OK | NO64, [0x0f] = OK | ESCAPE,
	[0x16 ... 0x17] = OK | NO64, [0x1e ... 0x1f] = OK | NO64,
	[0x26] = PREFIX, [0x27] = OK | NO64, [0x2e] = PREFIX, [0x2f] = OK | NO64,
	[0x36] = PREFIX, [0x37] = OK | NO64, [0x3e] = PREFIX, [0x3f] = OK | NO64,
	[0x40 ... 0x4f] = OK,
	[0x50 ... 0x5f] = OK | D64,
	[0x60 ... 0x61] = OK | NO64, [0x62] = M | NO64 | MEM | ESCAPE, [0x63] = M,
	[0x64 ... 0x67] = PREFIX,
	[0x68] = OK | D64 | IZ, [0x69] = M | IZ, [0x6a] = OK | D64 | S8, [0x6b] = M | S8,
	[0x6c] = OK | BYTE, [0x6d] = OK | MAX4, [0x6e] = OK | BYTE, [0x6f] = OK | MAX4,
	[0x70 ... 0x7f] = OK | F64 | S8,
	[0x80] = M | BYTE | S8, [0x81] = M | IZ, [0x82] = M | BYTE | S8 | NO64, [0x83] = M | S8,
	[0x84] = M | BYTE, [0x85] = M, [0x86] = M | BYTE, [0x87] = M,
	[0x88] = M | BYTE, [0x89] = M, [0x8a] = M | BYTE, [0x8b] = M,
	[0x8c] = M | GROUP, [0x8d] = M | MEM, [0x8e] = M | GROUP, [0x8f] = M | D64 | GROUP | ESCAPE,
	[0x90 ... 0x99] = OK, [0x9a] = OK | FAR | NO64, [0x9b] = OK,
	[0x9c ... 0x9d] = OK | D64, [0x9e ... 0x9f] = OK,
	[0xa0] = OK | BYTE | MOFFS, [0xa1] = OK | MOFFS, [0xa2] = OK | BYTE | MOFFS,
	[0xa3] = OK | MOFFS, [0xa4] = OK | BYTE, [0xa5] = OK, [0xa6] = OK | BYTE, [0xa7] = OK,
	[0xa8] = OK | BYTE | I8, [0xa9] = OK | IZ, [0xaa] = OK | BYTE, [0xab] = OK,
	[0xac] = OK | BYTE, [0xad] = OK, [0xae] = OK | BYTE, [0xaf] = OK,
	[0xb0 ... 0xb7] = OK | BYTE | I8, [0xb8 ... 0xbf] = OK | IV,
	[0xc0] = M | BYTE | I8, [0xc1] = M | I8, [0xc2] = OK | F64 | I16, [0xc3] = OK | F64,
	[0xc4 ... 0xc5] = M | NO64 | MEM | ESCAPE,
	[0xc6] = M | BYTE | I8 | GROUP, [0xc7] = M | IZ | GROUP,
	[0xc8] = OK | D64 | ENTER, [0xc9] = OK | D64, [0xca] = OK | I16, [0xcb ... 0xcc] = OK,
	[0xcd] = OK | I8, [0xce] = OK | NO64, [0xcf] = OK,
	[0xd0] = M | BYTE, [0xd1] = M, [0xd2] = M | BYTE, [0xd3] = M,
	[0xd4 ... 0xd5] = OK | I8 | NO64, [0xd6] = OK | NO64, [0xd7] = OK, [0xd8 ... 0xdf] = M,
	[0xe0 ... 0xe3] = OK | F64 | S8,
	[0xe4] = OK | BYTE | I8, [0xe5] = OK | MAX4 | I8, [0xe6] = OK | BYTE | I8,
	[0xe7] = OK | MAX4 | I8, [0xe8 ... 0xe9] = OK | F64 | IZ, [0xea] = OK | FAR | NO64,
	[0xeb] = OK | F64 | S8, [0xec] = OK | BYTE, [0xed] = OK | MAX4, [0xee] = OK | BYTE,
	[0xef] = OK | MAX4,
	[0xf0] = PREFIX, [0xf1] = OK, [0xf2 ... 0xf3] = PREFIX, [0xf4 ... 0xf5] = OK,
	[0xf6] = M | BYTE | TEST, [0xf7] = M | TEST, [0xf8 ... 0xfd] = OK,
	[0xfe] = M | BYTE | GROUP, [0xff] = M | GROUP,
};

/* SDM vol. 2, "Two-byte Opcode Map"; 0E, 0F, 78 and 79 also APM vol. 3, "Opcode Maps". */
static const u16 two_byte[256] = {
	[0x00 ... 0x01] = M | GROUP, [0x02 ... 0x03] = M, [0x05 ... 0x09] = OK, [0x0b] = OK,
	[0x0d] = M, [0x0e] = OK, [0x0f] = M | I8,
	[0x10 ... 0x1f] = M, [0x20 ... 0x23] = M | REG | GROUP, [0x28 ... 0x2f] = M,
	[0x30 ... 0x35] = OK, [0x37] = OK, [0x38] = OK | ESCAPE, [0x3a] = OK | ESCAPE,
	[0x40 ... 0x6f] = M, [0x70 ... 0x73] = M | I8, [0x74 ... 0x76] = M, [0x77] = OK,
	[0x78 ... 0x79] = M, [0x7c ... 0x7f] = M,
	[0x80 ... 0x8f] = OK | F64 | IZ, [0x90 ... 0x9f] = M | BYTE,
	[0xa0 ... 0xa1] = OK | D64, [0xa2] = OK, [0xa3] = M, [0xa4] = M | I8, [0xa5 ... 0xa7] = M,
	[0xa8 ... 0xa9] = OK | D64, [0xaa] = OK, [0xab] = M, [0xac] = M | I8, [0xad ... 0xaf] = M,
	[0xb0] = M | BYTE, [0xb1] = M, [0xb2] = M | MEM, [0xb3] = M, [0xb4 ... 0xb5] = M | MEM,
	[0xb6 ... 0xb7] = M, [0xb8] = M | GROUP, [0xb9] = M, [0xba] = M | I8 | GROUP,
	[0xbb ... 0xbf] = M,
	[0xc0] = M | BYTE, [0xc1] = M, [0xc2] = M | I8, [0xc3] = M | MEM, [0xc4 ... 0xc6] = M | I8,
	[0xc7] = M | GROUP, [0xc8 ... 0xcf] = OK, [0xd0 ... 0xff] = M,
};
/* clang-format on */

struct cursor {
	const u8 *bytes;
	u32 at, count;
};

static inline int next_byte(struct cursor *c)
{
	return c->at < c->count ? c->bytes[c->at++] : -ENODATA;
}

static int take(struct cursor *c, u32 size, u64 *value)
{
	u64 v = 0;

	if (c->at + size > c->count)
		return -ENODATA;
	for (u32 i = 0; i < size; i++)
		v |= (u64)c->bytes[c->at + i] << (8 * i);
	c->at += size;
	*value = v;
	return 0;
}

/* In 64-bit mode CS, DS, ES and SS overrides are ignored, also after one of FS or GS. */
static void override_segment(struct insn *insn, int prefix, u32 mode)
{
	if (prefix >= 0x64)
		insn->segment = SEG_FS + (prefix - 0x64);
	else if (mode != 8)
		insn->segment = SEG_ES + ((prefix - 0x26) >> 3);
}

/* Returns the first opcode byte, or a negative errno. insn->segment stays SEG_COUNT without one. */
static int decode_prefixes(struct insn *insn, struct cursor *c, u32 mode)
{
	for (;;) {
		int b = next_byte(c);

		if (b < 0)
			return b;
		if ((b & 0xf0) == 0x40 && mode == 8) {
			insn->rex = b;
			continue;
		}
		if (!(one_byte[b] & PREFIX))
			return b;
		insn->rex = 0; /* REX counts only directly before the opcode */
		if (b == 0x66) {
			insn->operand_override = true;
		} else if (b == 0x67) {
			insn->address_override = true;
		} else if (b == 0xf0) {
			insn->lock = true;
		} else if (b >= 0xf2) {
			insn->repne = b == 0xf2;
			insn->rep = b == 0xf3;
		} else {
			override_segment(insn, b, mode);
		}
	}
}

/* XOP, VEX and EVEX fields become what the legacy prefixes would have set. */
static void expand_vex(struct insn *insn, u32 inverted_rxb, u32 w_pp, u32 mode)
{
	if (mode == 8)
		insn->rex = 0x40 | (w_pp & 0x80) >> 4 | (~inverted_rxb >> 5 & 7);
	insn->operand_override = (w_pp & 3) == 1;
	insn->rep = (w_pp & 3) == 2;
	insn->repne = (w_pp & 3) == 3;
	insn->vex = true;
}

/* The opcode's attributes in a VEX, EVEX or XOP map; 0: no such map. */
static u32 vex_attributes(const struct insn *insn, int kind)
{
	u32 map = insn->map;

	if (kind == 0x8f)
		return map == 8 ? M | I8 : map == 9 ? M : map == 10 ? M | I32 : 0;
	if (map == 1)
		return insn->opcode == 0x77 ? OK : M | (two_byte[insn->opcode] & KIND & I8);
	if (map == 2 || (kind == 0x62 && (map == 5 || map == 6)))
		return M;
	return map == 3 ? M | I8 : 0;
}

/* SDM vol. 2, "Intel AVX" and "Intel AVX-512" prefix formats. `kind` is C4, C5, 62 or 8F (XOP). */
static int decode_vex(struct insn *insn, struct cursor *c, int kind, u32 mode, u32 *attributes)
{
	u64 p = 0;
	int opcode;

	if (insn->lock || insn->rep || insn->repne || insn->operand_override || insn->rex)
		return -EINVAL;
	if (take(c, kind == 0xc5 ? 1 : kind == 0x62 ? 3 : 2, &p) < 0)
		return -ENODATA;
	if (kind == 0xc5) {
		insn->map = 1;
		expand_vex(insn, p | 0x60, p & 0x7f, mode);
	} else {
		insn->map = p & (kind == 0x62 ? 0xf : 0x1f);
		expand_vex(insn, p, p >> 8, mode);
	}
	if (kind == 0x62 && !(p & 0x400))
		return -EINVAL;
	opcode = next_byte(c);
	if (opcode < 0)
		return opcode;
	insn->opcode = opcode;
	*attributes = vex_attributes(insn, kind);
	return *attributes ? 0 : -EINVAL;
}

/* 0F and what follows, or a VEX-like prefix. */
static int decode_escape(struct insn *insn, struct cursor *c, u32 mode, u32 *attributes)
{
	int first = insn->opcode;
	int b;

	if (first != 0x0f) {
		/* LES, LDS, BOUND and POP r/m unless the next byte cannot be their ModRM. */
		if (c->at >= c->count)
			return -ENODATA;
		b = c->bytes[c->at];
		if (first == 0x8f ? (b & 0x1f) < 8 : mode != 8 && b < 0xc0)
			return 0;
		return decode_vex(insn, c, first, mode, attributes);
	}
	b = next_byte(c);
	if (b < 0)
		return b;
	insn->map = 1;
	*attributes = two_byte[b];
	if (*attributes & ESCAPE) {
		insn->map = b == 0x38 ? 2 : 3;
		*attributes = b == 0x38 ? M : M | I8;
		b = next_byte(c);
		if (b < 0)
			return b;
	} else if (b == 0x78 && (insn->operand_override || insn->repne)) {
		*attributes |= I8I8; /* SSE4a; without a prefix it is VMREAD */
	}
	insn->opcode = b;
	return 0;
}

static void default_segment(struct insn *insn, bool stack)
{
	if (insn->segment == SEG_COUNT)
		insn->segment = stack ? SEG_SS : SEG_DS;
}

static int decode_displacement(struct insn *insn, struct cursor *c, u32 size)
{
	u64 value = 0;

	if (!size)
		return 0;
	if (take(c, size, &value) < 0)
		return -ENODATA;
	insn->displacement = (s64)sign_extend(value, size);
	return 0;
}

static int decode_modrm(struct insn *insn, struct cursor *c, u32 mode, u32 attributes)
{
	int modrm = next_byte(c);
	u32 mod, rm, base;
	int sib;

	if (modrm < 0)
		return modrm;
	insn->has_modrm = true;
	insn->modrm = modrm;
	mod = modrm >> 6;
	rm = modrm & 7;
	if (mod == 3 || (attributes & REG))
		return mod == 3 && (attributes & MEM) ? -EINVAL : 0;
	if (insn->address_size == 2) {
		bool absolute = mod == 0 && rm == 6;

		default_segment(insn, !absolute && (rm == 2 || rm == 3 || rm == 6));
		return decode_displacement(insn, c, absolute ? 2 : mod);
	}
	base = rm;
	if (rm == 4) {
		sib = next_byte(c);
		if (sib < 0)
			return sib;
		insn->has_sib = true;
		insn->sib = sib;
		base = sib & 7;
	}
	if (mod == 0 && base == 5) {
		insn->rip_relative = rm == 5 && mode == 8;
		return decode_displacement(insn, c, 4);
	}
	default_segment(insn, (base == 4 || base == 5) && !(insn->rex & 1));
	return decode_displacement(insn, c, mod == 0 ? 0 : mod == 1 ? 1 : 4);
}

static int decode_immediate(struct insn *insn, struct cursor *c, u32 attributes)
{
	u32 z = insn->operand_size == 2 ? 2 : 4;
	u32 kind = attributes & KIND;
	bool sign = false;
	u32 size = 1;
	u64 value = 0;

	if (kind == TEST) {
		if (insn->modrm & 0x30)
			return 0;
		kind = insn->operand_size == 1 ? I8 : IZ;
	}
	if (kind == S8) {
		sign = true;
	} else if (kind == IZ) {
		size = z;
		sign = true;
	} else if (kind == IV) {
		size = insn->operand_size;
	} else if (kind == MOFFS) {
		size = insn->address_size;
	} else if (kind == FAR) {
		size = z + 2;
	} else if (kind != I8) {
		size = kind == ENTER ? 3 : kind == I32 ? 4 : 2;
	}
	if (take(c, size, &value) < 0)
		return -ENODATA;
	if (kind == MOFFS) {
		insn->displacement = (s64)value;
		return 0;
	}
	insn->immediate_size = size;
	insn->immediate = sign ? sign_extend(value, size) : value;
	return 0;
}

static void set_operand_size(struct insn *insn, u32 mode, u32 attributes)
{
	bool word = insn->operand_override && !insn->vex;
	u32 size = (mode == 2) != word ? 2 : 4;

	if (mode == 8) {
		if (insn->rex & 8)
			size = attributes & MAX4 ? 4 : 8;
		else if ((attributes & D64) && !word)
			size = 8;
		if (attributes & F64)
			size = 8;
	}
	if (attributes & BYTE)
		size = 1;
	insn->operand_size = size;
}

/* Groups whose encoding has holes, and those of their members that size their operand differently.
 */
static bool check_group(struct insn *insn, u32 mode)
{
	u32 reg = insn->modrm >> 3 & 7;
	bool memory = insn->modrm < 0xc0;

	switch (insn->map << 8 | insn->opcode) {
	case 0x8c:
		return reg < 6;
	case 0x8e:
		return reg < 6 && reg != SEG_CS;
	case 0x8f:
		return reg == 0;
	case 0xc6: /* MOV, XABORT */
	case 0xc7: /* MOV, XBEGIN */
		return reg == 0 || insn->modrm == 0xf8;
	case 0xfe:
		return reg < 2;
	case 0xff:
		if (reg == 2 || reg == 4)
			set_operand_size(insn, mode, F64);
		else if (reg == 6)
			set_operand_size(insn, mode, D64);
		return reg < 7 && (memory || (reg != 3 && reg != 5));
	case 0x100:
		return reg < 6;
	case 0x101:
		return reg != 5 || !memory || insn->rep; /* RSTORSSP */
	case 0x120 ... 0x123: /* control and debug registers: the operand size is the mode's */
		insn->operand_size = mode == 8 ? 8 : 4;
		return true;
	case 0x1b8:
		return insn->rep; /* POPCNT; without F3 it was Itanium's JMPE */
	case 0x1ba:
		return reg >= 4;
	case 0x1c7:
		return memory ? reg != 0 && reg != 2 : reg >= 6;
	}
	return true;
}

/* SDM vol. 2, "LOCK-Assert LOCK# Signal Prefix"; MOV CR8 by LOCK MOV CR0: APM vol. 3, "MOV CRn". */
static bool lock_allowed(const struct insn *insn, u32 mode)
{
	u32 reg = insn->modrm >> 3 & 7;

	if (insn->map == 1 && (insn->opcode == 0x20 || insn->opcode == 0x22))
		return reg == 0 && mode != 8;
	if (!insn->has_modrm || insn->modrm >= 0xc0)
		return false;
	switch (insn->map << 8 | insn->opcode) {
	case 0x00 ... 0x3f: /* destination in memory, not CMP */
		return !(insn->opcode & 6) && insn->opcode < 0x38;
	case 0x80 ... 0x83:
		return reg != 7;
	case 0xf6 ... 0xf7: /* NOT, NEG */
		return reg == 2 || reg == 3;
	case 0xfe ... 0xff: /* INC, DEC */
		return reg < 2;
	case 0x1ba: /* BTS, BTR, BTC */
		return reg > 4;
	case 0x1c7: /* CMPXCHG8B */
		return reg == 1;
	case 0x86 ... 0x87: /* XCHG */
	case 0x1ab:
	case 0x1b3:
	case 0x1bb:
	case 0x1b0 ... 0x1b1: /* CMPXCHG */
	case 0x1c0 ... 0x1c1: /* XADD */
		return true;
	}
	return false;
}

static int decode(struct insn *insn, struct cursor *c, u32 mode)
{
	int opcode = decode_prefixes(insn, c, mode);
	u32 attributes;
	int error;

	if (opcode < 0)
		return opcode;
	insn->opcode = opcode;
	attributes = one_byte[opcode];
	if (attributes & ESCAPE) {
		error = decode_escape(insn, c, mode, &attributes);
		if (error)
			return error;
	}
	if (!(attributes & OK) || (mode == 8 && (attributes & NO64)))
		return -EINVAL;
	insn->address_size = !insn->address_override ? mode : mode == 4 ? 2 : 4;
	set_operand_size(insn, mode, attributes);
	if (attributes & MODRM) {
		error = decode_modrm(insn, c, mode, attributes);
		if (error)
			return error;
		if ((attributes & GROUP) && !check_group(insn, mode))
			return -EINVAL;
	}
	if (attributes & KIND) {
		error = decode_immediate(insn, c, attributes);
		if (error)
			return error;
	}
	if (insn->lock && !lock_allowed(insn, mode))
		return -EINVAL;
	default_segment(insn, false);
	return 0;
}

/* CPUID, OUT and their like: no prefix, no operand bytes. False: not one of them. */
static bool decode_plain(struct insn *insn, const u8 *bytes, u32 count, u32 mode)
{
	u32 escape = count > 1 && bytes[0] == 0x0f;
	u32 opcode, attributes;

	if (!count)
		return false;
	opcode = bytes[escape];
	attributes = escape ? two_byte[opcode] : one_byte[opcode];
	if ((attributes & ~(BYTE | MAX4)) != OK || (mode == 8 && (bytes[0] & 0xf0) == 0x40))
		return false;
	*insn = (struct insn){
		.bytes = {bytes[0], escape ? opcode : 0},
		.length = escape + 1,
		.map = escape,
		.opcode = opcode,
		.segment = SEG_DS,
		.operand_size = attributes & BYTE ? 1 : MIN(mode, 4u),
		.address_size = mode,
	};
	return true;
}

/* Apart, so that the plain ones do not pay for its registers. */
static noinline int decode_any(struct insn *insn, const u8 *bytes, u32 count, u32 mode)
{
	struct cursor c = {bytes, 0, MIN(count, sizeof(insn->bytes))};
	int error;

	*insn = (struct insn){.segment = SEG_COUNT};
	error = decode(insn, &c, mode);
	if (error == -ENODATA && c.count == sizeof(insn->bytes))
		error = -EINVAL;
	if (error)
		return error;
	insn->length = c.at;
	for (u32 i = 0; i < c.at; i++)
		insn->bytes[i] = bytes[i];
	return 0;
}

int insn_decode(struct insn *insn, const u8 *bytes, u32 count, u32 mode)
{
	return decode_plain(insn, bytes, count, mode) ? 0 : decode_any(insn, bytes, count, mode);
}
