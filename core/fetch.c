// SPDX-License-Identifier: MIT
/*
 * Instruction bytes of the guest, for exits whose length the hardware does not tell. The last
 * translation is kept per vCPU together with everything that it was made from, and compared with
 * all of that before it is used again: it is then what a new walk would find.
 */
#include "arch-x86/regs.h"
#include "core/decode.h"
#include "core/vm.h"
#include "lib/string.h"
#include "mm/guest_walk.h"

#define INSN_MAX 15

/* Of a struct virt_code, what a translation of CS:RIP depends on. */
#define CR0_MASK  ((u64)CR0_PG)
#define EFER_MASK ((u64)EFER_LMA)
#define CS_MASK	  (SEG_L | SEG_DB)

struct place { /* of an instruction */
	u64 linear;
	u8 mode; /* bytes: 2, 4, 8 */
};

static void ask_code(struct vcpu *vcpu, struct virt_code *code)
{
	struct segment cs;

	virt->get_segment(&vcpu->v, SEG_CS, &cs);
	code->cs_base = cs.base;
	code->cs_attr = cs.attr;
	code->efer = virt->get(&vcpu->v, VREG_EFER);
	code->cr0 = virt->get(&vcpu->v, VREG_CR0);
	code->cr3 = virt->get(&vcpu->v, VREG_CR3);
}

static struct place place_of(const struct virt_code *code, u64 rip)
{
	if (code->cs_attr & SEG_L && code->efer & EFER_LMA)
		return (struct place){rip, 8};
	return (struct place){(u32)(code->cs_base + rip), code->cs_attr & SEG_DB ? 4 : 2};
}

static inline u64 slat_generation(const struct vcpu *vcpu)
{
	return __atomic_load_n(&vcpu->vm->virt.slat_generation, __ATOMIC_ACQUIRE);
}

/* The kept bytes at RIP, if at least `count` of them are in the page; else NULL. */
static inline const u8 *kept_bytes(const struct vcpu *vcpu, const struct virt_code *code, u32 count)
{
	const struct fetch_cache *kept = &vcpu->fetch;
	u64 offset = vcpu->v.rip - kept->rip;

	if (!kept->bytes || offset > PAGE_SIZE - count)
		return NULL;
	if ((kept->code.cs_base ^ code->cs_base) | (kept->code.cr3 ^ code->cr3) |
	    ((kept->code.cr0 ^ code->cr0) & CR0_MASK) |
	    ((kept->code.efer ^ code->efer) & EFER_MASK) |
	    ((kept->code.cs_attr ^ code->cs_attr) & CS_MASK) |
	    (kept->slat_generation ^ slat_generation(vcpu)))
		return NULL;
	for (u32 i = 0; i < kept->levels; i++)
		if (__atomic_load_n(kept->entry[i], __ATOMIC_RELAXED) != kept->value[i])
			return NULL;
	return kept->bytes + offset;
}

/* Notes the four entries that translate `linear`; false: not all of them can be read. */
static bool note_entries(struct vcpu *vcpu, struct fetch_cache *kept, u64 linear)
{
	u64 table = kept->code.cr3 & PTE_ADDRESS;

	for (u32 level = 4; level >= 1; level--) {
		u64 length = sizeof(u64), value;
		u64 index = linear >> (PAGE_SHIFT + 9 * (level - 1)) & 511;
		const u64 *entry =
			guest_ptr(&vcpu->vm->mem, GPA(table + index * 8), &length, false);

		if (!entry || length < sizeof(u64))
			return false;
		value = __atomic_load_n(entry, __ATOMIC_RELAXED);
		if (!(value & PTE_P))
			return false;
		kept->entry[kept->levels] = entry;
		kept->value[kept->levels++] = value;
		table = value & PTE_ADDRESS;
		if (value & PTE_PS && level > 1)
			break;
	}
	return true;
}

/*
 * Only unpaged addresses and four-level paging are kept. Every change of CR4 drops what is kept (a
 * child's writes exit), so LA57 cannot come on while it holds.
 */
static void keep(struct vcpu *vcpu, const struct virt_code *code, struct place place, gpa_t gpa)
{
	struct fetch_cache *kept = &vcpu->fetch;
	bool paging = code->cr0 & CR0_PG;
	u64 length = PAGE_SIZE;

	kept->bytes = NULL;
	if (paging && (place.mode != 8 || virt->get(&vcpu->v, VREG_CR4) & CR4_LA57))
		return;
	kept->rip = vcpu->v.rip - (place.linear & (PAGE_SIZE - 1));
	kept->code = *code;
	kept->levels = 0;
	/* Read before the tables are: what changes in between shows at the next use. */
	kept->slat_generation = slat_generation(vcpu);
	if (paging && !note_entries(vcpu, kept, place.linear))
		return;
	kept->bytes = guest_ptr(&vcpu->vm->mem, GPA(ALIGN_DOWN(gpa.v, PAGE_SIZE)), &length, false);
	if (length != PAGE_SIZE)
		kept->bytes = NULL;
}

static u32 fail(struct vcpu *vcpu, int error)
{
	vcpu->fetch_error = error;
	return 0;
}

/* Bytes at `linear` within its page; 0 and fetch_error when there are none. */
static u32 fetch_page(struct vcpu *vcpu, u64 linear, u8 *bytes, u32 count, gpa_t *where)
{
	u32 access = WALK_EXEC | (virt->get(&vcpu->v, VREG_CPL) == 3 ? WALK_USER : 0);
	struct walk_result walk;
	struct walk_state state;
	gpa_t missing;
	int error;

	count = MIN(count, (u32)(PAGE_SIZE - (linear & (PAGE_SIZE - 1))));
	vcpu_walk_state(vcpu, &state);
	error = guest_walk(&vcpu->vm->mem, &state, GVA(linear), access, false, &walk);
	if (error == -EPERM) {
		vcpu_queue_page_fault(vcpu, linear, walk.error);
		return fail(vcpu, -EPERM);
	}
	if (error)
		return fail(vcpu, vcpu_memory_fault(vcpu, walk.missing, walk.missing_write)
					  ? -EFAULT
					  : -EIO);
	if (guest_read(&vcpu->vm->mem, walk.gpa, bytes, count, &missing))
		return fail(vcpu, vcpu_memory_fault(vcpu, missing, false) ? -EFAULT : -EIO);
	*where = walk.gpa;
	return count;
}

/* The instruction crosses into the next page only if its first part says so. */
static u32 fetch_rest(struct vcpu *vcpu, struct place place, u8 bytes[INSN_MAX], u32 got)
{
	u64 next = place.linear + got;
	struct insn insn;
	gpa_t where;
	u32 more;

	if (insn_decode(&insn, bytes, got, place.mode) != -ENODATA)
		return got;
	if (place.mode != 8)
		next = (u32)next;
	more = fetch_page(vcpu, next, bytes + got, INSN_MAX - got, &where);
	return more ? got + more : 0;
}

static u32 fetch(struct vcpu *vcpu, const struct virt_code *code, struct place place,
		 u8 bytes[INSN_MAX])
{
	u32 got = MIN((u32)(PAGE_SIZE - (place.linear & (PAGE_SIZE - 1))), INSN_MAX);
	const u8 *kept = kept_bytes(vcpu, code, got);
	gpa_t where;

	if (kept) {
		memcpy(bytes, kept, got);
	} else {
		got = fetch_page(vcpu, place.linear, bytes, INSN_MAX, &where);
		if (!got)
			return 0;
		keep(vcpu, code, place, where);
	}
	return got < INSN_MAX ? fetch_rest(vcpu, place, bytes, got) : got;
}

u32 vcpu_fetch(struct vcpu *vcpu, const struct vm_exit *e, u8 bytes[INSN_MAX])
{
	struct virt_code code;

	vcpu->fetch_error = 0;
	if (e && e->insn_bytes_len) {
		u32 count = MIN(e->insn_bytes_len, INSN_MAX);

		memcpy(bytes, e->insn_bytes, count);
		return count;
	}
	if (e && e->code_known)
		code = e->code;
	else
		ask_code(vcpu, &code);
	return fetch(vcpu, &code, place_of(&code, vcpu->v.rip), bytes);
}

#define PLAIN2(a, b)                                                                               \
	{                                                                                          \
		(a) | (b) << 8, 0xffff, 2                                                          \
	}
#define PLAIN3(a, b, c)                                                                            \
	{                                                                                          \
		(a) | (b) << 8 | (c) << 16, 0xffffff, 3                                            \
	}

/* The usual encoding of instructions that exit, without a prefix. */
static const struct {
	u32 opcode, mask;
	u32 length; /* 0: none */
} plain[EXIT_REASON_COUNT] = {
	[EXIT_CPUID] = PLAIN2(0x0f, 0xa2),	   [EXIT_RDMSR] = PLAIN2(0x0f, 0x32),
	[EXIT_WRMSR] = PLAIN2(0x0f, 0x30),	   [EXIT_HLT] = {0xf4, 0xff, 1},
	[EXIT_PAUSE] = PLAIN2(0xf3, 0x90),	   [EXIT_RDTSC] = PLAIN2(0x0f, 0x31),
	[EXIT_RDTSCP] = PLAIN3(0x0f, 0x01, 0xf9),  [EXIT_RDPMC] = PLAIN2(0x0f, 0x33),
	[EXIT_INVD] = PLAIN2(0x0f, 0x08),	   [EXIT_WBINVD] = PLAIN2(0x0f, 0x09),
	[EXIT_MONITOR] = PLAIN3(0x0f, 0x01, 0xc8), [EXIT_MWAIT] = PLAIN3(0x0f, 0x01, 0xc9),
	[EXIT_XSETBV] = PLAIN3(0x0f, 0x01, 0xd1),  [EXIT_HYPERCALL] = PLAIN3(0x0f, 0x01, 0xd9),
};

static u32 decoded_length(struct vcpu *vcpu, const struct virt_code *code)
{
	struct place place = place_of(code, vcpu->v.rip);
	u8 bytes[INSN_MAX];
	struct insn insn;
	u32 count;

	vcpu->fetch_error = 0;
	count = fetch(vcpu, code, place, bytes);
	if (!count)
		return 0;
	if (insn_decode(&insn, bytes, count, place.mode))
		return fail(vcpu, -EIO);
	return insn.length;
}

static u32 length_by_asking(struct vcpu *vcpu)
{
	struct virt_code code;

	ask_code(vcpu, &code);
	return decoded_length(vcpu, &code);
}

/* The kept bytes are compared in place: no copy is needed to see the expected instruction. */
u32 vcpu_insn_length(struct vcpu *vcpu, const struct vm_exit *e)
{
	const u8 *bytes;
	u32 word;

	if (e->insn_len)
		return e->insn_len;
	if (!e->code_known)
		return length_by_asking(vcpu);
	bytes = kept_bytes(vcpu, &e->code, sizeof(word));
	if (bytes) {
		memcpy(&word, bytes, sizeof(word));
		if ((word & plain[e->reason].mask) == plain[e->reason].opcode &&
		    plain[e->reason].length)
			return plain[e->reason].length;
	}
	return decoded_length(vcpu, &e->code);
}
