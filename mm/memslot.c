/* SPDX-License-Identifier: MIT */
/*
 * Memslots: storage by id that is never freed while the VM lives, and an index of ids sorted by
 * guest frame. Changes hold guest_mem->lock; look-ups are lock-free: they repeat when the sequence
 * count says that a change came between.
 */
#include "mm/memslot.h"

#include "lib/string.h"
#include "mm/phys.h"

#define SLOTS_PER_PAGE (PAGE_SIZE / sizeof(struct memslot))
#define SLOT_PAGES     ((MEMSLOT_MAX + SLOTS_PER_PAGE - 1) / SLOTS_PER_PAGE)
#define IDS_PER_PAGE   (PAGE_SIZE / sizeof(u16))
#define HVA_LIMIT      BIT(47) /* the VMM is a user process: Linux's access_ok() */

_Static_assert(sizeof(struct memslot) == 64, "a slot fills one cache line");

struct memslots {
	u32 sequence; /* odd while a change is under way */
	u32 count;
	u32 capacity; /* of index[] */
	u32 hint;     /* id of the last hit */
	u16 *index;   /* ids, sorted by gfn */
	struct memslot *page[SLOT_PAGES];
};

#define MEMSLOTS_PAGES ((u32)(ALIGN_UP(sizeof(struct memslots), PAGE_SIZE) / PAGE_SIZE))

int memslots_init(struct guest_mem *m)
{
	hpa_t base = pool_alloc(m->pool, MEMSLOTS_PAGES);
	hpa_t index = pool_alloc(m->pool, 1);

	if (base.v == HPA_NONE.v || index.v == HPA_NONE.v)
		return -ENOMEM;
	m->slots = phys_ptr(base);
	m->slots->index = phys_ptr(index);
	m->slots->capacity = IDS_PER_PAGE;
	return 0;
}

/* ---- look-ups -------------------------------------------------------------------------------- */

static u32 read_begin(const struct memslots *s)
{
	u32 sequence;

	while ((sequence = __atomic_load_n(&s->sequence, __ATOMIC_ACQUIRE)) & 1)
		__builtin_ia32_pause();
	return sequence;
}

static bool read_changed(const struct memslots *s, u32 sequence)
{
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return __atomic_load_n(&s->sequence, __ATOMIC_RELAXED) != sequence;
}

static void write_begin(struct memslots *s)
{
	__atomic_store_n(&s->sequence, s->sequence + 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void write_end(struct memslots *s)
{
	__atomic_store_n(&s->sequence, s->sequence + 1, __ATOMIC_RELEASE);
}

/* An id that a race made up gives NULL or another slot; the sequence count then tells. */
static struct memslot *slot_of(const struct memslots *s, u32 id)
{
	struct memslot *page;

	if (id >= MEMSLOT_MAX)
		return NULL;
	page = __atomic_load_n(&s->page[id / SLOTS_PER_PAGE], __ATOMIC_ACQUIRE);
	return page ? &page[id % SLOTS_PER_PAGE] : NULL;
}

static bool slot_holds(const struct memslot *slot, u64 gfn)
{
	return slot && gfn - slot->gfn < slot->pages;
}

/* How many slots of index[0..count) begin at or before gfn. */
static u32 slots_before(const struct memslots *s, const u16 *index, u32 count, u64 gfn)
{
	u32 low = 0, high = count;

	while (low < high) {
		u32 middle = (low + high) / 2;
		const struct memslot *slot = slot_of(s, index[middle]);

		if (slot && slot->gfn <= gfn)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* One try: what it finds holds only if the sequence count has not changed. */
static struct memslot *search(const struct memslots *s, u64 gfn, u32 sequence)
{
	struct memslot *slot = slot_of(s, __atomic_load_n(&s->hint, __ATOMIC_RELAXED));
	const u16 *index = s->index;
	u32 count = s->count;

	if (slot_holds(slot, gfn))
		return slot;
	if (read_changed(s, sequence)) /* index and count may not belong together */
		return NULL;
	count = slots_before(s, index, count, gfn);
	if (!count)
		return NULL;
	slot = slot_of(s, index[count - 1]);
	return slot_holds(slot, gfn) ? slot : NULL;
}

static void remember(const struct guest_mem *m, const struct memslot *slot)
{
	if (slot && m->slots->hint != slot->id)
		__atomic_store_n(&m->slots->hint, slot->id, __ATOMIC_RELAXED);
}

const struct memslot *memslot_find(const struct guest_mem *m, gpa_t gpa)
{
	struct memslot *slot;
	u32 sequence;

	if (m->identity)
		return NULL;
	do {
		sequence = read_begin(m->slots);
		slot = search(m->slots, gpa.v >> PAGE_SHIFT, sequence);
	} while (read_changed(m->slots, sequence));
	remember(m, slot);
	return slot;
}

bool memslot_get(const struct guest_mem *m, gpa_t gpa, struct memslot *out)
{
	struct memslot *slot;
	u32 sequence;

	if (m->identity)
		return false;
	do {
		sequence = read_begin(m->slots);
		slot = search(m->slots, gpa.v >> PAGE_SHIFT, sequence);
		if (slot)
			*out = *slot;
	} while (read_changed(m->slots, sequence));
	remember(m, slot);
	return slot;
}

struct memslot *memslot_locked(struct guest_mem *m, gpa_t gpa)
{
	return search(m->slots, gpa.v >> PAGE_SHIFT, m->slots->sequence);
}

const struct memslot *memslot_by_id(const struct guest_mem *m, u32 id)
{
	const struct memslot *slot = m->identity ? NULL : slot_of(m->slots, id);

	return slot && slot->pages ? slot : NULL;
}

/* ---- changes --------------------------------------------------------------------------------- */

static gpa_t slot_gpa(const struct memslot *slot)
{
	return GPA(slot->gfn << PAGE_SHIFT);
}

static void index_remove(struct memslots *s, const struct memslot *slot)
{
	u32 at = slots_before(s, s->index, s->count, slot->gfn) - 1;

	memmove(&s->index[at], &s->index[at + 1], (s->count - at - 1) * sizeof(u16));
	s->count--;
}

static void index_insert(struct memslots *s, const struct memslot *slot)
{
	u32 at = slots_before(s, s->index, s->count, slot->gfn);

	memmove(&s->index[at + 1], &s->index[at], (s->count - at) * sizeof(u16));
	s->index[at] = (u16)slot->id;
	s->count++;
}

/* Storage for one more slot. Outgrown indexes stay allocated: a look-up may still read them. */
static int make_room(struct guest_mem *m, u32 id)
{
	struct memslots *s = m->slots;
	hpa_t page;

	if (!slot_of(s, id)) {
		page = pool_alloc(m->pool, 1);
		if (page.v == HPA_NONE.v)
			return -ENOMEM;
		__atomic_store_n(&s->page[id / SLOTS_PER_PAGE], phys_ptr(page), __ATOMIC_RELEASE);
	}
	if (s->count == s->capacity) {
		page = pool_alloc(m->pool, (u32)(2 * s->capacity / IDS_PER_PAGE));
		if (page.v == HPA_NONE.v)
			return -ENOMEM;
		memcpy(phys_ptr(page), s->index, s->count * sizeof(u16));
		write_begin(s);
		s->index = phys_ptr(page);
		s->capacity *= 2;
		write_end(s);
	}
	return 0;
}

/* Does [gfn, gfn + pages) touch a slot other than `id`? */
static bool overlaps(const struct memslots *s, u32 id, u64 gfn, u64 pages)
{
	u32 at = slots_before(s, s->index, s->count, gfn + pages - 1);

	/* Slots do not overlap each other, so of those that begin before the end only the last two
	 * can reach in: the last, or, if that is `id` itself, the one before. */
	for (u32 i = 0; i < 2 && at; i++) {
		const struct memslot *slot = slot_of(s, s->index[--at]);

		if (slot->id != id)
			return slot->gfn + slot->pages > gfn;
	}
	return false;
}

static bool region_valid(const struct guest_mem *m, u32 id, u32 flags, gpa_t gpa, u64 size, u64 hva)
{
	if (id >= MEMSLOT_MAX || flags & ~(MEMSLOT_DIRTY | MEMSLOT_READONLY))
		return false;
	if (!IS_ALIGNED(size | gpa.v | hva, PAGE_SIZE) || size >> PAGE_SHIFT > MEMSLOT_PAGES)
		return false;
	if (hva > HVA_LIMIT || size > HVA_LIMIT - hva)
		return false;
	return gpa.v <= m->gpa_end && size <= m->gpa_end - gpa.v;
}

static bool change_valid(const struct memslot *old, const struct memslot *next)
{
	return next->hva == old->hva && next->pages == old->pages &&
	       !((next->flags ^ old->flags) & MEMSLOT_READONLY);
}

/* Publishes `next` (pages 0: a deleted slot) in the place of the slot with its id. */
static void publish(struct memslots *s, const struct memslot *next)
{
	struct memslot *slot = slot_of(s, next->id);

	write_begin(s);
	if (slot->pages)
		index_remove(s, slot);
	*slot = *next;
	if (next->pages)
		index_insert(s, slot);
	write_end(s);
}

static void wait_for_finish(struct guest_mem *m, const struct memslot *old, bool unmapped)
{
	m->slot_pending = true;
	m->slot_id = old->id;
	m->slot_gpa = slot_gpa(old);
	m->slot_size = unmapped ? old->pages << PAGE_SHIFT : 0;
}

static int slot_delete(struct guest_mem *m, struct memslot *old)
{
	struct memslot none = {.id = old->id};
	int error = guest_mem_detach(m, slot_gpa(old), old->pages << PAGE_SHIFT);

	wait_for_finish(m, old, true);
	if (error)
		return error;
	dirty_log_stop(m, old);
	publish(m->slots, &none);
	return 0;
}

static int slot_create(struct guest_mem *m, struct memslot *next)
{
	int error;

	if (overlaps(m->slots, next->id, next->gfn, next->pages))
		return -EEXIST;
	error = make_room(m, next->id);
	if (!error && next->flags & MEMSLOT_DIRTY)
		error = dirty_log_start(m, next);
	if (!error)
		publish(m->slots, next);
	return error;
}

static int slot_change(struct guest_mem *m, struct memslot *old, struct memslot *next)
{
	bool move = next->gfn != old->gfn;
	int error;

	if (!change_valid(old, next))
		return -EINVAL;
	if (!move && next->flags == old->flags)
		return 0;
	if (move && overlaps(m->slots, next->id, next->gfn, next->pages))
		return -EEXIST;
	next->dirty = old->dirty;
	next->dirty_hpa = old->dirty_hpa;
	next->dirty_pages = old->dirty_pages;
	if (next->flags & MEMSLOT_DIRTY) {
		error = dirty_log_start(m, next);
		if (error)
			return error;
	}
	if (move) {
		error = guest_mem_detach(m, slot_gpa(old), old->pages << PAGE_SHIFT);
		wait_for_finish(m, old, true);
		if (error) {
			if (!old->dirty)
				dirty_log_stop(m, next);
			return error;
		}
	} else {
		/* Nobody maps meanwhile: no page becomes writable before the slot is logged. */
		if (next->flags & MEMSLOT_DIRTY && !(m->dirty_log & DIRTY_LOG_SET))
			stage2_log_writes(&m->s2, slot_gpa(old), old->pages << PAGE_SHIFT);
		wait_for_finish(m, old, false);
	}
	if (!(next->flags & MEMSLOT_DIRTY))
		dirty_log_stop(m, next);
	publish(m->slots, next);
	return 0;
}

int memslot_set(struct guest_mem *m, u32 id, u32 flags, gpa_t gpa, u64 size, u64 hva)
{
	struct memslot next = {.id = id,
			       .flags = flags,
			       .gfn = gpa.v >> PAGE_SHIFT,
			       .pages = size >> PAGE_SHIFT,
			       .hva = hva};
	struct memslot *old;
	int error;

	if (m->identity || !region_valid(m, id, flags, gpa, size, hva))
		return -EINVAL;
	spin_lock(&m->lock);
	old = slot_of(m->slots, id);
	if (old && !old->pages)
		old = NULL;
	if (m->slot_pending)
		error = -EAGAIN;
	else if (!size)
		error = old ? slot_delete(m, old) : -EINVAL;
	else
		error = old ? slot_change(m, old, &next) : slot_create(m, &next);
	spin_unlock(&m->lock);
	return error;
}

void memslot_set_finish(struct guest_mem *m)
{
	spin_lock(&m->lock);
	if (m->slot_pending && m->slot_size)
		guest_mem_collect(m, m->slot_gpa, m->slot_size);
	m->slot_pending = false;
	spin_unlock(&m->lock);
}
