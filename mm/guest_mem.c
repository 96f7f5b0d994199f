/* SPDX-License-Identifier: MIT */
/* Mapping and unmapping a child's memory, and root's access to any guest's. */
#include "mm/guest_mem.h"

#include "arch-x86/insn.h"
#include "arch-x86/log.h"
#include "lib/string.h"
#include "mm/frames.h"
#include "mm/memslot.h"
#include "mm/phys.h"
#include "mm/radix.h"

/* Pages that one unmap call takes: the time that it may hold the locks. */
#define UNMAP_BUDGET 32768

/* How Keel's own and donated pages read in the management guest's memory (design D6). */
static const u8 zero_page[PAGE_SIZE] aligned(PAGE_SIZE);

int guest_mem_init(struct guest_mem *m, struct virt_vm *vm, struct pool *pool, bool identity)
{
	int error;

	*m = (struct guest_mem){.pool = pool, .identity = identity};
	m->gpa_end = BIT(MIN(48, cpuid(0x80000008, 0).eax & 0xff));
	error = stage2_init(&m->s2, vm, pool);
	if (!error && !identity)
		error = memslots_init(m);
	return error;
}

/* ---- mapping a child's memory ---------------------------------------------------------------- */

static bool range_valid(u64 address, u64 size, u64 limit)
{
	return IS_ALIGNED(address | size, PAGE_SIZE) && size && address < limit &&
	       size <= limit - address;
}

/* A piece of [gpa, end) that is mapped now. */
struct piece {
	u64 gpa, size;
	hpa_t hpa;
};

static bool piece_next(const struct guest_mem *m, u64 gpa, u64 end, struct piece *piece)
{
	const struct stage2 *s = &m->s2;
	struct radix_cursor c = {.address = gpa};
	u64 begin;

	if (!radix_next(s->format, s->vm->slat_root, &c, end))
		return false;
	begin = ALIGN_DOWN(c.address, RADIX_SPAN(c.level));
	piece->gpa = c.address;
	piece->size = MIN(radix_behind(&c), end) - c.address;
	piece->hpa = HPA((*c.entry & RADIX_ADDRESS) + (c.address - begin));
	return true;
}

/* Is every page of [gpa, gpa + size) unmapped, or mapped to this frame already? */
static bool mapping_fits(const struct guest_mem *m, gpa_t gpa, hpa_t hpa, u64 size)
{
	u64 end = gpa.v + size;
	struct piece p = {.gpa = gpa.v};

	while (piece_next(m, p.gpa + p.size, end, &p))
		if (p.hpa.v - hpa.v != p.gpa - gpa.v)
			return false;
	return true;
}

/* The pages that were mapped before have one reference too many now. */
static void references_settle(struct guest_mem *m, gpa_t gpa, u64 size)
{
	struct piece p = {.gpa = gpa.v};

	while (piece_next(m, p.gpa + p.size, gpa.v + size, &p))
		frames_put(p.hpa, p.size / PAGE_SIZE);
}

static u32 mapping_flags(const struct guest_mem *m, const struct memslot *slot, bool writable)
{
	/* The frames are cached memory of the management guest: no second memory type for them. */
	u32 flags = S2_READ | S2_EXEC | S2_IGNORE_PAT;

	if (writable && !(slot->flags & MEMSLOT_READONLY)) {
		flags |= S2_MAY_WRITE;
		if (!slot->dirty)
			flags |= S2_WRITE;
		else if (m->s2.vm->features & VIRT_PML)
			flags |= S2_WRITE | S2_CLEAN;
	}
	return flags;
}

static int map_locked(struct guest_mem *m, gpa_t gpa, hpa_t hpa, u64 size, bool writable)
{
	const struct memslot *slot = memslot_locked(m, gpa);
	int error;

	if (!slot || size >> PAGE_SHIFT > slot->gfn + slot->pages - (gpa.v >> PAGE_SHIFT))
		return -EINVAL;
	if (m->unmapping)
		return -EAGAIN;
	if (!mapping_fits(m, gpa, hpa, size))
		return -EEXIST;
	error = stage2_reserve(&m->s2, gpa, hpa, size);
	if (error)
		return error;
	if (frames_get(hpa, size / PAGE_SIZE))
		return -EBUSY;
	references_settle(m, gpa, size);
	error = stage2_map(&m->s2, gpa, hpa, size, mapping_flags(m, slot, writable));
	CHECK(!error);
	return 0;
}

int guest_mem_map(struct guest_mem *m, gpa_t gpa, hpa_t hpa, u64 size, bool writable)
{
	int error;

	if (m->identity || !range_valid(gpa.v, size, RADIX_LIMIT) ||
	    !range_valid(hpa.v, size, BIT(52)))
		return -EINVAL;
	spin_lock(&m->lock);
	error = map_locked(m, gpa, hpa, size, writable);
	spin_unlock(&m->lock);
	return error;
}

int guest_mem_detach(struct guest_mem *m, gpa_t gpa, u64 size)
{
	int error = stage2_detach(&m->s2, gpa, size, UNMAP_BUDGET);

	m->unmapping++;
	m->unmap_generation = m->s2.vm->slat_generation;
	return error;
}

void guest_mem_collect(struct guest_mem *m, gpa_t gpa, u64 size)
{
	CHECK(m->unmapping);
	stage2_collect(&m->s2, gpa, size);
	/* Every unmap has been flushed for, the newest too; only the last one knows that. */
	if (!--m->unmapping)
		stage2_quiesce(&m->s2, m->unmap_generation);
}

int guest_mem_unmap(struct guest_mem *m, gpa_t gpa, u64 size)
{
	int error;

	if (m->identity || !range_valid(gpa.v, size, RADIX_LIMIT))
		return -EINVAL;
	spin_lock(&m->lock);
	error = guest_mem_detach(m, gpa, size);
	spin_unlock(&m->lock);
	return error;
}

void guest_mem_unmap_finish(struct guest_mem *m, gpa_t gpa, u64 size)
{
	spin_lock(&m->lock);
	guest_mem_collect(m, gpa, size);
	spin_unlock(&m->lock);
}

static int look(struct guest_mem *m, gpa_t gpa, u64 size, bool *unmapping)
{
	gpa_t at = gpa;
	bool mapped;
	u64 leaf;
	u32 flags;

	if (m->identity || !range_valid(gpa.v, size, RADIX_LIMIT))
		return -EINVAL;
	spin_lock(&m->lock);
	mapped = stage2_next(&m->s2, &at, gpa.v + size, &leaf, &flags);
	*unmapping = m->unmapping;
	spin_unlock(&m->lock);
	return mapped;
}

int guest_mem_mapped(struct guest_mem *m, gpa_t gpa, u64 size)
{
	bool unmapping;

	return look(m, gpa, size, &unmapping);
}

int guest_mem_used(struct guest_mem *m, gpa_t gpa, u64 size)
{
	bool unmapping = false;
	int mapped = look(m, gpa, size, &unmapping);

	return mapped ?: unmapping;
}

int guest_mem_accessed(struct guest_mem *m, gpa_t gpa, u64 size, bool clear, bool flush)
{
	bool accessed;

	if (m->identity || !range_valid(gpa.v, size, RADIX_LIMIT))
		return -EINVAL;
	spin_lock(&m->lock);
	accessed = stage2_accessed(&m->s2, gpa, size, clear, flush);
	spin_unlock(&m->lock);
	return accessed;
}

int guest_mem_release(struct guest_mem *m, u64 budget)
{
	int error;

	if (m->identity)
		return 0;
	spin_lock(&m->lock);
	error = stage2_release(&m->s2, &m->release_next, budget);
	spin_unlock(&m->lock);
	return error;
}

/* ---- root's access --------------------------------------------------------------------------- */

static void *identity_ptr(gpa_t gpa, u64 *length, bool write)
{
	u64 offset = gpa.v & (PAGE_SIZE - 1);

	*length = MIN(*length, PAGE_SIZE - offset);
	switch (frame_owner(HPA(gpa.v))) {
	case FRAME_MANAGEMENT:
		return phys_ptr(HPA(gpa.v));
	case FRAME_LEAVING:
	case FRAME_KEEL:
		return write ? NULL : (void *)(zero_page + offset);
	default:
		return NULL;
	}
}

void *guest_ptr(struct guest_mem *m, gpa_t gpa, u64 *length, bool write)
{
	hpa_t hpa;
	u64 size;
	u32 flags;

	if (m->identity)
		return identity_ptr(gpa, length, write);
	if (!stage2_lookup(&m->s2, gpa, &hpa, &size, &flags))
		return NULL;
	if (write && (flags & (S2_WRITE | S2_CLEAN)) != S2_WRITE) {
		if (!(flags & S2_MAY_WRITE) || !dirty_log_fault(m, gpa))
			return NULL;
		size = PAGE_SIZE; /* the log's permissions are by page */
	}
	*length = MIN(*length, size - (gpa.v & (size - 1)));
	return phys_ptr(hpa);
}

/* The first address of [gpa, gpa + length) that root cannot access, or its end. */
static u64 accessible(struct guest_mem *m, u64 gpa, u64 length, bool write)
{
	u64 end = gpa + length;

	while (gpa < end) {
		u64 part = end - gpa;

		if (!guest_ptr(m, GPA(gpa), &part, write))
			break;
		gpa += part;
	}
	return gpa;
}

static u64 copy_part(struct guest_mem *m, u64 gpa, u8 *data, u64 length, bool write)
{
	void *p = guest_ptr(m, GPA(gpa), &length, write);

	if (!p)
		return 0;
	if (write)
		memcpy(p, data, length);
	else
		memcpy(data, p, length);
	return length;
}

static int copy(struct guest_mem *m, gpa_t gpa, u8 *data, u64 length, bool write, gpa_t *fault)
{
	u64 at = gpa.v, end = gpa.v + length, part;

	if (end < at)
		goto missing;
	/* What crosses a page must be there as a whole before its first byte moves. */
	if (length > PAGE_SIZE - (at & (PAGE_SIZE - 1))) {
		at = accessible(m, at, length, write);
		if (at != end)
			goto missing;
	}
	for (at = gpa.v; at < end; at += part, data += part) {
		part = copy_part(m, at, data, end - at, write);
		if (!part)
			goto missing;
	}
	return 0;
missing:
	if (fault)
		*fault = GPA(at);
	return -EFAULT;
}

int guest_read(struct guest_mem *m, gpa_t gpa, void *out, u64 length, gpa_t *fault)
{
	return copy(m, gpa, out, length, false, fault);
}

int guest_write(struct guest_mem *m, gpa_t gpa, const void *in, u64 length, gpa_t *fault)
{
	return copy(m, gpa, (u8 *)in, length, true, fault);
}
