/* SPDX-License-Identifier: MIT */
/*
 * The dirty log: pages of a logged slot are mapped without write permission; the first write to
 * each, the guest's or root's, gives it back and marks the page. So a page that is writable is
 * marked already, and a write to it needs no look at the log.
 *
 * With VIRT_PML the first write to a small page that is writable but clean sets its dirty flag, and
 * the processor puts it on the vCPU's list, which marks it after the next exit; root's first write
 * does both here. A plain store to an entry may take back a dirty flag that the processor sets
 * meanwhile: the page is on its list all the same.
 *
 * Bitmaps belong to guest_mem->lock.
 */
#include "lib/bitmap.h"
#include "lib/string.h"
#include "mm/memslot.h"
#include "mm/phys.h"

/* The caller makes every CPU leave the VM: until then a vCPU may run with its list off. */
static void count_logs(struct guest_mem *m, int change)
{
	struct virt_vm *vm = m->s2.vm;

	vm->dirty_logs += (u32)change;
	if (vm->features & VIRT_PML)
		__atomic_fetch_add(&vm->slat_generation, 1, __ATOMIC_SEQ_CST);
}

int dirty_log_start(struct guest_mem *m, struct memslot *slot)
{
	u64 pages = ALIGN_UP(dirty_log_bytes(slot->pages), PAGE_SIZE) / PAGE_SIZE;

	if (slot->dirty)
		return 0;
	slot->dirty_hpa = pool_alloc(m->pool, (u32)pages);
	if (slot->dirty_hpa.v == HPA_NONE.v)
		return -ENOMEM;
	slot->dirty = phys_ptr(slot->dirty_hpa);
	slot->dirty_pages = (u32)pages;
	count_logs(m, 1);
	return 0;
}

void dirty_log_stop(struct guest_mem *m, struct memslot *slot)
{
	if (!slot->dirty)
		return;
	pool_free(m->pool, slot->dirty_hpa, slot->dirty_pages);
	count_logs(m, -1);
	slot->dirty = NULL;
	slot->dirty_pages = 0;
}

/* Leaves reach across slots where frames follow each other; the other slot may be logged. */
static bool holds_leaf(const struct guest_mem *m, const struct memslot *slot, gpa_t gpa)
{
	u64 size, first;
	u32 flags;
	hpa_t hpa;

	if (!stage2_lookup(&m->s2, gpa, &hpa, &size, &flags))
		return false;
	first = ALIGN_DOWN(gpa.v, size) >> PAGE_SHIFT;
	return first >= slot->gfn && first + size / PAGE_SIZE <= slot->gfn + slot->pages;
}

bool dirty_log_fault(struct guest_mem *m, gpa_t gpa)
{
	struct memslot *slot;
	bool whole, settled = false;

	if (m->identity)
		return false;
	spin_lock(&m->lock);
	slot = memslot_locked(m, gpa);
	/* After the log was switched off, pages get their permission back in the same way. */
	whole = slot && !slot->dirty && holds_leaf(m, slot, gpa);
	if (slot && !stage2_make_writable(&m->s2, gpa, whole)) {
		if (slot->dirty)
			bitmap_set(slot->dirty, (gpa.v >> PAGE_SHIFT) - slot->gfn);
		settled = true;
	}
	spin_unlock(&m->lock);
	return settled;
}

static void mark(struct memslot *slot, u64 page)
{
	if (slot && slot->dirty && page < slot->pages)
		bitmap_set(slot->dirty, page);
}

void dirty_log_written(struct guest_mem *m, const u64 *gpas, u32 count)
{
	spin_lock(&m->lock);
	for (u32 i = 0; i < count; i++) {
		struct memslot *slot = memslot_locked(m, GPA(gpas[i]));

		if (slot)
			mark(slot, (gpas[i] >> PAGE_SHIFT) - slot->gfn);
		/* Of a slot that moves, and the guest wrote at its old place. */
		if (m->slot_pending && m->slot_size)
			mark((struct memslot *)memslot_by_id(m, m->slot_id),
			     (gpas[i] - m->slot_gpa.v) >> PAGE_SHIFT);
	}
	spin_unlock(&m->lock);
}

/* Moves one word of the bitmap to out and protects its pages again. */
static void word_get(struct guest_mem *m, struct memslot *slot, u64 word, u8 *out)
{
	u64 first = slot->gfn + word * 64;
	u64 pages = MIN(64, slot->pages - word * 64);

	memcpy(out + word * 8, &slot->dirty[word], 8);
	if (!slot->dirty[word])
		return;
	slot->dirty[word] = 0;
	stage2_log_writes(&m->s2, GPA(first << PAGE_SHIFT), pages << PAGE_SHIFT);
}

int dirty_log_get(struct guest_mem *m, u32 id, void *out, u64 size)
{
	struct memslot *slot;
	int error = -ENOENT;

	spin_lock(&m->lock);
	slot = (struct memslot *)memslot_by_id(m, id);
	if (!slot || !slot->dirty)
		goto out;
	error = -EINVAL;
	if (size != dirty_log_bytes(slot->pages))
		goto out;
	for (u64 word = 0; word < size / 8; word++)
		word_get(m, slot, word, out);
	error = 0;
out:
	spin_unlock(&m->lock);
	return error;
}
