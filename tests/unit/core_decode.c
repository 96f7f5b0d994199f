// SPDX-License-Identifier: MIT
/* Compares the decoder with libzydis on random bytes; directed cases for what Zydis cannot say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include <Zydis/Zydis.h>

#include "core/decode.h"

static u64 random_state;

static u64 next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state * 0x2545f4914f6cdd1dull;
}

static u64 number_from(const char *name, u64 otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

/* ---- directed ------------------------------------------------------------------------------- */

static int decode_bytes(struct insn *insn, u32 mode, u32 count, const char *bytes)
{
	return insn_decode(insn, (const u8 *)bytes, count, mode);
}
#define DECODE(insn, mode, bytes) decode_bytes(insn, mode, sizeof(bytes) - 1, bytes)

static void test_fields(void **state)
{
	struct insn i;

	assert_int_equal(DECODE(&i, 8, "\x0f\xa2"), 0);
	assert_int_equal(i.length, 2);
	assert_int_equal(i.map, 1);
	assert_int_equal(i.opcode, 0xa2);
	assert_memory_equal(i.bytes, "\x0f\xa2\0\0", 4);

	/* lock add %r9d, %fs:0x12345678(%rbx,%rcx,4) */
	assert_int_equal(DECODE(&i, 8, "\x64\xf0\x44\x01\x8c\x8b\x78\x56\x34\x12"), 0);
	assert_int_equal(i.segment, SEG_FS);
	assert_true(i.lock && i.has_modrm && i.has_sib);
	assert_int_equal(i.rex, 0x44);
	assert_int_equal(i.displacement, 0x12345678);
	assert_int_equal(i.operand_size, 4);

	/* rep stosq; the override of a destination is not a choice, but its field is recorded */
	assert_int_equal(DECODE(&i, 8, "\xf3\x48\xab"), 0);
	assert_true(i.rep && !i.repne);
	assert_int_equal(i.operand_size, 8);

	/* mov $imm64, moffs, ENTER, a far pointer */
	assert_int_equal(DECODE(&i, 8, "\x48\xb8\1\2\3\4\5\6\7\x88"), 0);
	assert_int_equal(i.immediate, 0x8807060504030201ull);
	assert_int_equal(DECODE(&i, 8, "\xa1\1\2\3\4\5\6\7\x88"), 0);
	assert_int_equal((u64)i.displacement, 0x8807060504030201ull);
	assert_int_equal(DECODE(&i, 4, "\xc8\x34\x12\x56"), 0);
	assert_int_equal(i.immediate, 0x561234);
	assert_int_equal(DECODE(&i, 2, "\xea\x34\x12\x00\xf0"), 0);
	assert_int_equal(i.immediate, 0xf0001234);

	/* 16-bit addressing: (%bp,%di) takes SS, an absolute address DS */
	assert_int_equal(DECODE(&i, 2, "\x8b\x43\xfe"), 0);
	assert_int_equal(i.segment, SEG_SS);
	assert_int_equal(i.displacement, -2);
	assert_int_equal(DECODE(&i, 2, "\x8b\x06\x34\x12"), 0);
	assert_int_equal(i.segment, SEG_DS);

	/* near branches and stack operations in 64-bit mode */
	assert_int_equal(DECODE(&i, 8, "\xff\x10"), 0);
	assert_int_equal(i.operand_size, 8);
	assert_int_equal(DECODE(&i, 8, "\x66\xff\x30"), 0);
	assert_int_equal(i.operand_size, 2);
	/* OUT never moves more than 4 bytes */
	assert_int_equal(DECODE(&i, 8, "\x48\xef"), 0);
	assert_int_equal(i.operand_size, 4);
}

static void test_prefixes(void **state)
{
	struct insn i;

	/* REX counts only directly before the opcode */
	assert_int_equal(DECODE(&i, 8, "\x48\x66\x89\x00"), 0);
	assert_int_equal(i.rex, 0);
	assert_int_equal(i.operand_size, 2);
	/* in 64-bit mode DS does not take FS back; in 32-bit mode the last override counts */
	assert_int_equal(DECODE(&i, 8, "\x64\x3e\x8b\x00"), 0);
	assert_int_equal(i.segment, SEG_FS);
	assert_int_equal(DECODE(&i, 4, "\x64\x3e\x8b\x00"), 0);
	assert_int_equal(i.segment, SEG_DS);
	/* of REP and REPNE the last */
	assert_int_equal(DECODE(&i, 4, "\xf3\xf2\xa6"), 0);
	assert_true(i.repne && !i.rep);
	/* 15 bytes, not 16 */
	assert_int_equal(
		DECODE(&i, 4, "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x90"), 0);
	assert_int_equal(i.length, 15);
	assert_int_equal(
		DECODE(&i, 4, "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x90"),
		-EINVAL);
	assert_int_equal(DECODE(&i, 4, "\x66\x66"), -ENODATA);
	assert_int_equal(DECODE(&i, 4, ""), -ENODATA);
}

static void test_invalid(void **state)
{
	static const struct {
		u32 mode, count;
		const char *bytes;
	} cases[] = {
		{8, 1, "\x06"},
		{8, 1, "\x60"},
		{8, 2, "\xd5\x0a"},
		{8, 5, "\x9a\0\0\0\0"},
		{8, 3, "\x82\x00\x00"},
		{8, 2, "\x0f\x0a"},
		{8, 2, "\xfe\x10"},
		{8, 2, "\xff\x38"},
		{4, 2, "\x8d\xc0"},
		{4, 2, "\x8e\xc8"},
		{4, 3, "\xf0\x89\x00"},
		{4, 3, "\xf0\x01\xc0"},
		{4, 3, "\xf0\x3b\x00"},
		{8, 4, "\xf0\x0f\xa3\x00"},
		{8, 4, "\x66\xc5\xf8\x77"},
		{8, 4, "\x48\xc5\xf8\x77"},
		{8, 4, "\x0f\xba\x10\x01"},
		{8, 3, "\x0f\xb8\xc0"},
	};
	struct insn i;

	for (u32 n = 0; n < ARRAY_SIZE(cases); n++)
		if (decode_bytes(&i, cases[n].mode, cases[n].count, cases[n].bytes) != -EINVAL)
			fail_msg("case %u was accepted", n);
	assert_int_equal(DECODE(&i, 4, "\x06"), 0);
	assert_int_equal(DECODE(&i, 4, "\xf0\x01\x00"), 0);
	assert_int_equal(DECODE(&i, 4, "\xc4\x00"), 0); /* LES, not VEX */
	assert_int_equal(DECODE(&i, 4, "\x8f\x00"), 0); /* POP, not XOP */
}

/* ---- against libzydis ----------------------------------------------------------------------- */

static const struct {
	u32 mode;
	ZydisMachineMode machine;
	ZydisStackWidth stack;
} modes[] = {
	{2, ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16},
	{4, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32},
	{8, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64},
};

static u32 random_instruction(u8 bytes[15])
{
	static const u8 prefixes[] = {0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x36,
				      0x3e, 0x26, 0x64, 0x65, 0x40, 0x48, 0x4f};
	static const u8 leads[] = {0x0f, 0x0f, 0x0f, 0xc4, 0xc5, 0x62, 0x8f};
	u64 r = next_random();
	u32 at = 0;

	for (u32 i = 0; i < 15; i++)
		bytes[i] = next_random() >> 32;
	for (u32 count = r & 15 ? (r >> 4) % 4 : (r >> 4) % 15; at < count; at++)
		bytes[at] = prefixes[next_random() % sizeof(prefixes)];
	if (at < 13 && (r >> 16 & 1)) {
		bytes[at++] = leads[(r >> 20) % sizeof(leads)];
		if (bytes[at - 1] == 0x0f && (r >> 32 & 1))
			bytes[at++] = r >> 33 & 1 ? 0x38 : 0x3a;
	}
	return at;
}

/*
 * Where the decoder differs from libzydis 4.0 on purpose, accepting more: the emulator asks only
 * for the length of x87, vector, system-table and hint opcodes, so their inner holes (a reserved
 * ModRM, VEX.vvvv, EVEX.b, a mandatory prefix) are not tabulated.
 */
static bool length_only(const struct insn *i)
{
	if (i->vex || i->map >= 2)
		return true;
	if (i->map == 0)
		return i->opcode >= 0xd8 && i->opcode <= 0xdf;
	switch (i->opcode) {
	case 0x00 ... 0x0f: /* system, 3DNow! suffixes */
	case 0x10 ... 0x1f:
	case 0x20 ... 0x23: /* control registers that no processor has */
	case 0x28 ... 0x2f:
	case 0x30 ... 0x37:
	case 0x50 ... 0x7f:
	case 0xa6 ... 0xa7: /* PadLock */
	case 0xae:
	case 0xc2 ... 0xc7:
	case 0xd0 ... 0xff:
		return true;
	}
	return false;
}

/* The other intentional differences, each with its reason. */
static bool excused(const struct insn *i, const ZydisDecodedInstruction *z)
{
	/* Knights Corner's own encodings: no processor that Keel runs on has them. */
	if (z->encoding == ZYDIS_INSTRUCTION_ENCODING_MVEX || z->mnemonic == ZYDIS_MNEMONIC_JKZD ||
	    z->mnemonic == ZYDIS_MNEMONIC_JKNZD)
		return true;
	/* 3E before an indirect branch: Zydis says NOTRACK only, it is still DS too. */
	return z->attributes & ZYDIS_ATTRIB_HAS_NOTRACK;
}

static bool same_immediate(const struct insn *i, const ZydisDecodedInstruction *z)
{
	u32 size = z->raw.imm[0].size / 8;
	u64 value = z->raw.imm[0].value.u;

	if (z->raw.imm[1].size) { /* ENTER, far pointers, EXTRQ: one number to us */
		value = (value & (~0ull >> (64 - 8 * size))) | z->raw.imm[1].value.u << (8 * size);
		size += z->raw.imm[1].size / 8;
	}
	if (size != i->immediate_size)
		return false;
	return !size || ((value ^ i->immediate) & (~0ull >> (64 - 8 * size))) == 0;
}

static u32 operand_segment(ZydisRegister reg)
{
	switch (reg) {
	case ZYDIS_REGISTER_ES:
		return SEG_ES;
	case ZYDIS_REGISTER_CS:
		return SEG_CS;
	case ZYDIS_REGISTER_SS:
		return SEG_SS;
	case ZYDIS_REGISTER_FS:
		return SEG_FS;
	case ZYDIS_REGISTER_GS:
		return SEG_GS;
	default:
		return SEG_DS;
	}
}

/*
 * x87 and XABORT have no operand size; INS and OUTS move at most 4 bytes, where Zydis says 64 bits
 * for REX.W.
 */
static bool width_differs(const struct insn *i)
{
	if (i->opcode == 0xc6)
		return i->modrm == 0xf8;
	return (i->opcode >= 0xd8 && i->opcode <= 0xdf) || i->opcode == 0x6d || i->opcode == 0x6f;
}

/* MPX (a hint where it is off) and SGX leaves force their address size: not our business. */
static bool address_differs(const struct insn *i)
{
	return i->map == 1 && (i->opcode == 0x01 || i->opcode == 0x1a || i->opcode == 0x1b);
}

static const char *compare(const struct insn *i, const ZydisDecodedInstruction *z,
			   const ZydisDecodedOperand *operands)
{
	bool modrm = z->attributes & ZYDIS_ATTRIB_HAS_MODRM;
	bool sib = z->attributes & ZYDIS_ATTRIB_HAS_SIB;
	u32 raw_modrm = z->raw.modrm.mod << 6 | z->raw.modrm.reg << 3 | z->raw.modrm.rm;
	u64 displacement = (u64)z->raw.disp.value;

	if (i->length != z->length)
		return "length";
	if (i->opcode != z->opcode && z->encoding != ZYDIS_INSTRUCTION_ENCODING_3DNOW)
		return "opcode";
	if (i->has_modrm != modrm)
		return "has_modrm";
	if (modrm && (i->modrm & 0x3f) != (raw_modrm & 0x3f))
		return "modrm";
	if (i->has_sib != sib)
		return "has_sib";
	if (sib && i->sib != (z->raw.sib.scale << 6 | z->raw.sib.index << 3 | z->raw.sib.base))
		return "sib";
	if (!address_differs(i) && i->address_size * 8 != z->address_width)
		return "address_size";
	if (i->map == 0 && i->opcode >= 0xa0 && i->opcode <= 0xa3) /* an address: not signed */
		displacement &= ~0ull >> (64 - z->raw.disp.size);
	if ((u64)i->displacement != (z->raw.disp.size ? displacement : 0))
		return "displacement";
	if (z->encoding != ZYDIS_INSTRUCTION_ENCODING_3DNOW && !same_immediate(i, z))
		return "immediate";
	for (u32 n = 0; n < z->operand_count_visible; n++) {
		const ZydisDecodedOperand *o = &operands[n];

		if (o->type != ZYDIS_OPERAND_TYPE_MEMORY || !modrm)
			continue;
		if (o->mem.type == ZYDIS_MEMOP_TYPE_MEM &&
		    i->segment != operand_segment(o->mem.segment))
			return "segment";
		if (i->rip_relative !=
		    (o->mem.base == ZYDIS_REGISTER_RIP || o->mem.base == ZYDIS_REGISTER_EIP))
			return "rip_relative";
	}
	if (z->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
	    z->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && !width_differs(i) &&
	    i->operand_size * 8 != z->operand_width)
		return "operand_size";
	return NULL;
}

static void report(const char *what, const u8 *bytes, u32 mode, int ours, const struct insn *i,
		   const ZydisDecodedInstruction *z)
{
	fprintf(stderr, "mode %u:", mode * 8);
	for (u32 n = 0; n < 15; n++)
		fprintf(stderr, " %02x", bytes[n]);
	fail_msg("%s: we say %d length %u map %u opcode %02x operand %u imm %llx, Zydis length %u "
		 "%s width %u",
		 what, ours, i->length, i->map, i->opcode, i->operand_size,
		 (unsigned long long)i->immediate, z->length, ZydisMnemonicGetString(z->mnemonic),
		 z->operand_width);
}

#define VALID_AT_LEAST	2000000u
#define SECONDS_AT_MOST 60

/* For 15 seconds and two million instructions, or for KEEL_SECONDS. */
static void test_against_zydis(void **state)
{
	u64 seed = number_from("KEEL_SEED", (u64)time(NULL) << 16 | clock());
	u64 least = getenv("KEEL_SECONDS") ? 0 : VALID_AT_LEAST;
	time_t start = time(NULL), end = start + (time_t)number_from("KEEL_SECONDS", 15);
	u64 count = 0, valid = 0, excuses = 0;
	ZydisDecoder decoders[3];

	printf("decode: KEEL_SEED=%#llx\n", (unsigned long long)seed);
	random_state = seed | 1;
	for (u32 m = 0; m < 3; m++)
		ZydisDecoderInit(&decoders[m], modes[m].machine, modes[m].stack);
	while ((count & 0xffff) || time(NULL) < end ||
	       (valid < least && time(NULL) < start + SECONDS_AT_MOST)) {
		ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
		ZydisDecodedInstruction z = {0};
		u8 bytes[15];
		const char *wrong;
		struct insn i;
		u32 m = count++ % 3;
		bool zydis;
		int ours;

		random_instruction(bytes);
		ours = insn_decode(&i, bytes, sizeof(bytes), modes[m].mode);
		zydis = ZYAN_SUCCESS(
			ZydisDecoderDecodeFull(&decoders[m], bytes, sizeof(bytes), &z, operands));
		if (excused(&i, &z)) {
			excuses++;
			continue;
		}
		if (!zydis) {
			if (ours == 0 && !length_only(&i))
				report("accepted what Zydis refuses", bytes, modes[m].mode, ours,
				       &i, &z);
			continue;
		}
		valid++;
		if (ours < 0)
			report("refused", bytes, modes[m].mode, ours, &i, &z);
		wrong = compare(&i, &z, operands);
		if (wrong)
			report(wrong, bytes, modes[m].mode, ours, &i, &z);
		for (u32 n = 0; n < i.length; n++) {
			struct insn cut;

			if (insn_decode(&cut, bytes, n, modes[m].mode) != -ENODATA)
				report("cut short", bytes, modes[m].mode, ours, &i, &z);
		}
	}
	printf("decode: %llu random strings, %llu instructions, %llu excused\n",
	       (unsigned long long)count, (unsigned long long)valid, (unsigned long long)excuses);
	assert_true(valid > count / 4);
	assert_true(valid >= least);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_prefixes),
		cmocka_unit_test(test_invalid),
		cmocka_unit_test(test_against_zydis),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
