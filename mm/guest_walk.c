/* SPDX-License-Identifier: MIT */
/*
 * The guest's own page walk in software.
 *
 *   2 levels   CR4.PAE=0: 4-byte entries, 4 MiB pages with CR4.PSE
 *   3 levels   CR4.PAE=1: 8-byte entries, four page-directory pointers
 *   4 levels   EFER.LMA=1; 5 with CR4.LA57
 *
 * SDM vol. 3, "Paging"; APM vol. 2, "Page Translation and Protection".
 */
#include "mm/guest_walk.h"

#include "arch-x86/regs.h"

enum guest_entry {
	ENTRY_P = BIT(0),
	ENTRY_W = BIT(1),
	ENTRY_U = BIT(2),
	ENTRY_A = BIT(5),
	ENTRY_D = BIT(6),
	ENTRY_LARGE = BIT(7),
	ENTRY_NX = BIT(63),
};

#define ENTRY_KEY_SHIFT 59 /* bits 62..59: protection key */
#define ENTRY_ADDRESS	MASK(51, 12)
#define PDPTE_RESERVED	(MASK(2, 1) | MASK(8, 5) | MASK(63, 52)) /* PAE: no permissions there */

enum fault_error { /* SDM vol. 3, "Page-Fault Exceptions" */
		   FAULT_P = BIT(0),
		   FAULT_W = BIT(1),
		   FAULT_U = BIT(2),
		   FAULT_RSVD = BIT(3),
		   FAULT_I = BIT(4),
		   FAULT_PK = BIT(5),
};

enum paging_mode { PAGING_32, PAGING_PAE, PAGING_LONG };

struct walk_step {
	gpa_t at; /* of the entry */
	u64 entry;
};

struct walk {
	struct guest_mem *m;
	const struct walk_state *state;
	struct walk_result *result;
	u64 gva;
	u32 access;
	enum paging_mode mode;
	u32 entry_size; /* bytes */
	u32 index_bits;
	u32 base_error; /* what every fault of this access reports */
	u32 steps;	/* entries walked so far */
	int level;	/* of the last one; 0 maps 4 KiB */
	struct walk_step step[5];
};

static int page_fault(struct walk *w, u32 error)
{
	w->result->error = w->base_error | error;
	return -EPERM;
}

static int table_missing(struct walk *w, gpa_t at, bool write)
{
	w->result->missing = at;
	w->result->missing_write = write;
	return -EFAULT;
}

static bool nx_enabled(const struct walk *w)
{
	return w->mode != PAGING_32 && w->state->efer & EFER_NXE;
}

static void *entry_ptr(struct walk *w, gpa_t at, bool write)
{
	u64 length = w->entry_size;

	return guest_ptr(w->m, at, &length, write);
}

static bool entry_load(struct walk *w, gpa_t at, u64 *entry)
{
	const void *p = entry_ptr(w, at, false);

	if (!p)
		return false;
	if (w->entry_size == 8)
		*entry = __atomic_load_n((const u64 *)p, __ATOMIC_RELAXED);
	else
		*entry = __atomic_load_n((const u32 *)p, __ATOMIC_RELAXED);
	return true;
}

/* Does this entry end the walk with a large page? */
static bool is_large(const struct walk *w, u64 entry, int level)
{
	if (!(entry & ENTRY_LARGE))
		return false;
	switch (w->mode) {
	case PAGING_32:
		return level == 1 && w->state->cr4 & CR4_PSE;
	case PAGING_PAE:
		return level == 1;
	default:
		return level == 1 || level == 2;
	}
}

static u64 page_span(const struct walk *w, int level)
{
	return PAGE_SIZE << (level * w->index_bits);
}

/* Bits that must be zero in a present entry. */
static u64 reserved_bits(const struct walk *w, u64 entry, int level)
{
	u32 physical = MAX(MIN(w->state->physical_bits, 52), 32);
	u64 reserved = 0;

	if (w->mode == PAGING_32) {
		if (!is_large(w, entry, level))
			return 0;
		/* PSE-36: bits 20..13 are address bits 39..32, as far as the processor has them. */
		return physical >= 40 ? BIT(21) : MASK(21, 13) & ~(BIT(physical - 32 + 13) - 1);
	}
	if (physical < 52)
		reserved |= MASK(51, physical);
	if (!nx_enabled(w))
		reserved |= ENTRY_NX;
	if (w->mode == PAGING_PAE)
		reserved |= level == 2 ? PDPTE_RESERVED : MASK(62, 52);
	if (is_large(w, entry, level))
		reserved |= (page_span(w, level) - 1) & MASK(63, 13);
	else if (w->mode == PAGING_LONG && level > 2)
		reserved |= ENTRY_LARGE;
	return reserved;
}

static u64 leaf_address(const struct walk *w, u64 entry, int level)
{
	u64 span = page_span(w, level);
	u64 base = entry & ENTRY_ADDRESS & ~(span - 1);

	if (w->mode == PAGING_32 && level == 1)
		base |= (entry >> 13 & 0xff) << 32;
	return base | (w->gva & (span - 1));
}

/* Reads the entries from the root to the leaf. */
static int descend(struct walk *w, u64 table, int level)
{
	for (;; level--) {
		u32 shift = PAGE_SHIFT + (u32)level * w->index_bits;
		u64 index = w->gva >> shift & (BIT(w->index_bits) - 1);
		struct walk_step *step = &w->step[w->steps];

		step->at = GPA(table + index * w->entry_size);
		if (!entry_load(w, step->at, &step->entry))
			return table_missing(w, step->at, false);
		w->steps++;
		w->level = level;
		if (!(step->entry & ENTRY_P))
			return page_fault(w, 0);
		if (step->entry & reserved_bits(w, step->entry, level))
			return page_fault(w, FAULT_P | FAULT_RSVD);
		if (!level || is_large(w, step->entry, level))
			return 0;
		table = step->entry & ENTRY_ADDRESS;
	}
}

/*
 * PAE: four pointers, in registers (VMX) or in memory; they grant everything. The accessed bit is
 * a reserved one, but some processors (QEMU) set it in those that they walk in memory.
 */
static int descend_pae(struct walk *w)
{
	const struct walk_state *state = w->state;
	u32 index = w->gva >> 30 & 3;
	gpa_t at = GPA((state->cr3 & MASK(31, 5)) + index * 8);
	u64 entry = state->pdpte[index];

	if (!state->pdpte_valid) {
		if (!entry_load(w, at, &entry))
			return table_missing(w, at, false);
		entry &= ~(u64)ENTRY_A;
	}
	w->level = 2;
	if (!(entry & ENTRY_P))
		return page_fault(w, 0);
	if (entry & reserved_bits(w, entry & ~ENTRY_LARGE, 2))
		return page_fault(w, FAULT_P | FAULT_RSVD);
	return descend(w, entry & ENTRY_ADDRESS, 1);
}

/* SDM vol. 3, "Protection Keys": of user pages, for data, in long mode. */
static bool key_refuses(const struct walk *w, u64 leaf)
{
	const struct walk_state *state = w->state;
	u32 rights;

	if (w->mode != PAGING_LONG || !(state->cr4 & CR4_PKE) || w->access & WALK_EXEC ||
	    !w->result->user)
		return false;
	rights = state->pkru >> (leaf >> ENTRY_KEY_SHIFT & 15) * 2;
	if (rights & 1)
		return true;
	return rights & 2 && w->access & WALK_WRITE &&
	       (w->access & WALK_USER || state->cr0 & CR0_WP);
}

static bool access_allowed(const struct walk *w)
{
	const struct walk_state *state = w->state;
	const struct walk_result *r = w->result;

	if (w->access & WALK_EXEC && !r->exec)
		return false;
	if (w->access & WALK_USER)
		return r->user && (r->writable || !(w->access & WALK_WRITE));
	if (w->access & WALK_EXEC)
		return !(r->user && state->cr4 & CR4_SMEP);
	if (r->user && state->cr4 & CR4_SMAP &&
	    (w->access & WALK_IMPLICIT || !(state->rflags & RFLAGS_AC)))
		return false;
	return r->writable || !(w->access & WALK_WRITE) || !(state->cr0 & CR0_WP);
}

static int check_access(struct walk *w)
{
	struct walk_result *r = w->result;
	bool key;

	r->writable = r->user = r->exec = true;
	for (u32 i = 0; i < w->steps; i++) {
		u64 entry = w->step[i].entry;

		r->writable &= (entry & ENTRY_W) != 0;
		r->user &= (entry & ENTRY_U) != 0;
		r->exec &= !(nx_enabled(w) && entry & ENTRY_NX);
	}
	key = key_refuses(w, w->step[w->steps - 1].entry);
	if (key || !access_allowed(w))
		return page_fault(w, FAULT_P | (key ? FAULT_PK : 0));
	return 0;
}

/* Sets bits in a table entry. -EAGAIN: the guest changed it meanwhile, walk again. */
static int entry_update(struct walk *w, struct walk_step *step, u64 bits)
{
	void *p;
	bool same;

	if ((step->entry & bits) == bits)
		return 0;
	p = entry_ptr(w, step->at, true);
	if (!p) {
		struct memslot slot;

		if (w->m->identity ||
		    (memslot_get(w->m, step->at, &slot) && slot.flags & MEMSLOT_READONLY))
			return 0;
		return table_missing(w, step->at, true);
	}
	if (w->entry_size == 8) {
		u64 old = step->entry;

		same = __atomic_compare_exchange_n((u64 *)p, &old, old | bits, false,
						   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	} else {
		u32 old = (u32)step->entry;

		same = __atomic_compare_exchange_n((u32 *)p, &old, old | (u32)bits, false,
						   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	}
	return same ? 0 : -EAGAIN;
}

static int set_accessed(struct walk *w)
{
	for (u32 i = 0; i < w->steps; i++) {
		bool leaf = i == w->steps - 1;
		u64 bits = ENTRY_A | (leaf && w->access & WALK_WRITE ? ENTRY_D : 0);
		int error = entry_update(w, &w->step[i], bits);

		if (error)
			return error;
	}
	return 0;
}

static int walk_once(struct walk *w)
{
	const struct walk_state *state = w->state;
	int error;

	w->steps = 0;
	if (w->mode == PAGING_LONG)
		error = descend(w, state->cr3 & ENTRY_ADDRESS, state->cr4 & CR4_LA57 ? 4 : 3);
	else if (w->mode == PAGING_PAE)
		error = descend_pae(w);
	else
		error = descend(w, state->cr3 & MASK(31, 12), 1);
	return error ? error : check_access(w);
}

static void walk_begin(struct walk *w)
{
	const struct walk_state *state = w->state;

	w->entry_size = 8;
	w->index_bits = 9;
	if (state->efer & EFER_LMA) {
		w->mode = PAGING_LONG;
	} else if (state->cr4 & CR4_PAE) {
		w->mode = PAGING_PAE;
	} else {
		w->mode = PAGING_32;
		w->entry_size = 4;
		w->index_bits = 10;
	}
	if (w->access & WALK_WRITE)
		w->base_error |= FAULT_W;
	if (w->access & WALK_USER)
		w->base_error |= FAULT_U;
	if (w->access & WALK_EXEC && (nx_enabled(w) || state->cr4 & CR4_SMEP))
		w->base_error |= FAULT_I;
}

/* A guest that keeps changing its entries from another CPU must not keep root busy. */
#define WALK_TRIES 8

int guest_walk(struct guest_mem *m, const struct walk_state *state, gva_t gva, u32 access,
	       bool quiet, struct walk_result *result)
{
	struct walk w = {.m = m, .state = state, .result = result, .gva = gva.v, .access = access};
	int error = 0;

	*result = (struct walk_result){0};
	if (!(state->efer & EFER_LMA))
		w.gva = (u32)gva.v;
	if (!(state->cr0 & CR0_PG)) {
		*result = (struct walk_result){.gpa = GPA(w.gva),
					       .page_size = PAGE_SIZE,
					       .writable = true,
					       .user = true,
					       .exec = true};
		return 0;
	}
	walk_begin(&w);
	for (int i = 0; i < WALK_TRIES; i++) {
		error = walk_once(&w);
		if (!error && !quiet)
			error = set_accessed(&w);
		if (error != -EAGAIN)
			break;
	}
	if (error && error != -EAGAIN)
		return error;
	result->page_size = page_span(&w, w.level);
	result->gpa = GPA(leaf_address(&w, w.step[w.steps - 1].entry, w.level));
	return 0;
}
