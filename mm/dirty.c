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
 * With DIRTY_LOG_SET all pages are marked when the log begins, and lose no permission before they
 * are cleared.
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
	if (m->dirty_log & DIRTY_LOG_SET) {
		memset(slot->dirty, 0xff, slot->pages / 64 * 8);
		bitmap_set_range(slot->dirty, slot->pages / 64 * 64, slot->pages % 64);
	}
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

/* Clears these bits of one word and protects the pages from the first to the last of them again. */
static void word_clear(struct guest_mem *m, struct memslot *slot, u64 word, u64 bits)
{
	u64 first, pages;

	bits &= slot->dirty[word];
	if (!bits)
		return;
	slot->dirty[word] &= ~bits;
	first = (u64)__builtin_ctzll(bits);
	pages = 64 - (u64)__builtin_clzll(bits) - first;
	stage2_log_writes(&m->s2, GPA((slot->gfn + word * 64 + first) << PAGE_SHIFT),
			  pages << PAGE_SHIFT);
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
	memcpy(out, slot->dirty, size);
	for (u64 word = 0; !(m->dirty_log & DIRTY_LOG_MANUAL) && word < size / 8; word++)
		word_clear(m, slot, word, ~0ull);
	error = 0;
out:
	spin_unlock(&m->lock);
	return error;
}

static bool clear_valid(const struct memslot *slot, u64 first, u64 count)
{
	if (first > slot->pages || count > slot->pages - first)
		return false;
	return count % 64 == 0 || first + count == slot->pages;
}

int dirty_log_clear(struct guest_mem *m, u32 id, u64 first, u64 count, const u64 *bits)
{
	struct memslot *slot;
	int error = -ENOENT;

	if (first % 64)
		return -EINVAL;
	spin_lock(&m->lock);
	slot = (struct memslot *)memslot_by_id(m, id);
	if (!slot || !slot->dirty)
		goto out;
	error = clear_valid(slot, first, count) ? 0 : -EINVAL;
	for (u64 word = 0; !error && bits && word * 64 < count; word++)
		word_clear(m, slot, first / 64 + word,
			   __atomic_load_n(&bits[word], __ATOMIC_RELAXED));
out:
	spin_unlock(&m->lock);
	return error;
}
