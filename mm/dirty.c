/* SPDX-License-Identifier: MIT */
/*
 * The dirty log: pages of a logged slot are mapped without write permission; the first write to
 * each, the guest's or root's, gives it back and marks the page. So a page that is writable is
 * marked already, and a write to it needs no look at the log.
 *
 * Bitmaps belong to guest_mem->lock.
 */
#include "lib/bitmap.h"
#include "lib/string.h"
#include "mm/memslot.h"
#include "mm/phys.h"

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
	return 0;
}

void dirty_log_stop(struct guest_mem *m, struct memslot *slot)
{
	if (slot->dirty)
		pool_free(m->pool, slot->dirty_hpa, slot->dirty_pages);
	slot->dirty = NULL;
	slot->dirty_pages = 0;
}

bool dirty_log_fault(struct guest_mem *m, gpa_t gpa)
{
	struct memslot *slot;
	bool settled = false;

	if (m->identity)
		return false;
	spin_lock(&m->lock);
	slot = memslot_locked(m, gpa);
	/* After the log was switched off, pages get their permission back in the same way. */
	if (slot && !stage2_make_writable(&m->s2, gpa, slot->dirty == NULL)) {
		if (slot->dirty)
			bitmap_set(slot->dirty, (gpa.v >> PAGE_SHIFT) - slot->gfn);
		settled = true;
	}
	spin_unlock(&m->lock);
	return settled;
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
	stage2_write_protect(&m->s2, GPA(first << PAGE_SHIFT), pages << PAGE_SHIFT);
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
