/* SPDX-License-Identifier: MIT */
/*
 * Second-level page tables of one VM: map, unmap, protect, look up.
 *
 * Processors and root walk the tables while they change. So a new table is filled before an entry
 * points to it, an entry is one store, and a table that was taken out keeps its contents until
 * nobody can walk it any more: only software bits of its entries serve as the list of such tables.
 */
#include "mm/stage2.h"

#include "arch-x86/log.h"
#include "mm/frames.h"
#include "mm/phys.h"
#include "mm/radix.h"

#define ENTRIES 512

/* ---- entries and tables ---------------------------------------------------------------------- */

static void entry_set(u64 *slot, u64 entry)
{
	__atomic_store_n(slot, entry, __ATOMIC_RELEASE);
}

static u64 *table_of(u64 entry)
{
	return phys_ptr(HPA(entry & RADIX_ADDRESS));
}

/* Sequentially consistent: the caller looks next at who is in guest mode. */
static void generation_grow(struct stage2 *s)
{
	__atomic_fetch_add(&s->vm->slat_generation, 1, __ATOMIC_SEQ_CST);
}

/* A frame number's 40 bits, in bits 55..52 of ten entries: ignored in every format. */
#define LINK_SHIFT   52
#define LINK_ENTRIES 10

static void link_set(u64 *table, hpa_t next)
{
	for (int i = 0; i < LINK_ENTRIES; i++) {
		u64 part = next.v >> (PAGE_SHIFT + 4 * i) & 15;

		entry_set(&table[i], (table[i] & ~(15ull << LINK_SHIFT)) | part << LINK_SHIFT);
	}
}

static hpa_t link_get(const u64 *table)
{
	u64 frame = 0;

	for (int i = 0; i < LINK_ENTRIES; i++)
		frame |= (table[i] >> LINK_SHIFT & 15) << (4 * i);
	return HPA(frame << PAGE_SHIFT);
}

static void retire_one(struct stage2 *s, u64 *table)
{
	link_set(table, s->retired.first);
	s->retired.first = ptr_phys(table);
	/* The caller makes the generation grow once it has changed every entry. */
	s->retired.generation = s->vm->slat_generation + 1;
}

/* The table behind an entry of `level` has been taken out, with all tables below it. */
static void retire(struct stage2 *s, u64 entry, int level)
{
	u64 *table = table_of(entry);

	/* Leaves stand at level 2 at the highest, so what they replace is two tables deep. */
	if (level == 2) {
		for (u32 i = 0; i < ENTRIES; i++)
			if (radix_is_table(s->format, table[i], 1))
				retire_one(s, table_of(table[i]));
	}
	retire_one(s, table);
}

static void retired_free(struct stage2 *s, struct stage2_retired *list)
{
	while (list->first.v) {
		hpa_t table = list->first;

		list->first = link_get(phys_ptr(table));
		pool_free(s->pool, table, 1);
	}
}

void stage2_quiesce(struct stage2 *s, u64 seen)
{
	spin_lock(&s->lock);
	for (int i = 0; i < 2; i++) {
		if (seen >= s->waiting.generation)
			retired_free(s, &s->waiting);
		if (!s->waiting.first.v) {
			s->waiting = s->retired;
			s->retired.first = HPA(0);
		}
	}
	spin_unlock(&s->lock);
}

/* Puts a table behind an entry at `level`: an empty one, or the pieces of the large page there. */
static bool table_add(struct stage2 *s, u64 *slot, int level)
{
	u64 entry = *slot, span = RADIX_SPAN(level - 1);
	hpa_t page = pool_alloc(s->pool, 1);
	u64 *table;

	if (page.v == HPA_NONE.v)
		return false;
	if (radix_present(s->format, entry)) {
		table = phys_ptr(page);
		if (level == 1)
			entry &= ~RADIX_LARGE;
		for (u64 i = 0; i < ENTRIES; i++)
			table[i] = entry + i * span;
	}
	entry_set(slot, page.v | s->format->table);
	return true;
}

/* The slot of address at `level`, with every table above it. NULL: no memory. */
static u64 *slot_make(struct stage2 *s, u64 address, int level)
{
	u64 *table = phys_ptr(s->vm->slat_root);

	for (int l = RADIX_LEVELS - 1;; l--) {
		u64 *slot = &table[radix_index(address, l)];

		if (l == level)
			return slot;
		if (!radix_is_table(s->format, *slot, l) && !table_add(s, slot, l))
			return NULL;
		table = table_of(*slot);
	}
}

/* Makes `address` a border between leaves. */
static bool split_at(struct stage2 *s, u64 address)
{
	int level;
	u64 *slot;

	if (address == RADIX_LIMIT)
		return true;
	for (;;) {
		slot = radix_find(s->format, s->vm->slat_root, address, &level);
		if (!radix_present(s->format, *slot) || IS_ALIGNED(address, RADIX_SPAN(level)))
			return true;
		if (!table_add(s, slot, level))
			return false;
	}
}

/* ---- mapping --------------------------------------------------------------------------------- */

u64 stage2_sizes(u64 features)
{
	/* A leaf of 1 GiB is split into such of 2 MiB. */
	if (!(features & VIRT_SLAT_2M))
		return 0;
	return features & VIRT_SLAT_1G ? SIZE_2M | SIZE_1G : SIZE_2M;
}

int stage2_init(struct stage2 *s, struct virt_vm *vm, struct pool *pool)
{
	hpa_t root = pool_alloc(pool, 1);

	if (root.v == HPA_NONE.v)
		return -ENOMEM;
	*s = (struct stage2){.format = virt->ept ? &radix_ept : &radix_npt,
			     .vm = vm,
			     .pool = pool,
			     .large_pages = stage2_sizes(vm->features)};
	vm->slat_root = root;
	vm->slat_generation = 1;
	return 0;
}

static bool range_valid(u64 address, u64 size, u64 limit)
{
	return IS_ALIGNED(address | size, PAGE_SIZE) && size && address < limit &&
	       size <= limit - address;
}

/* The largest page that the next leaf of a mapping can be. */
static int leaf_level(const struct stage2 *s, u64 gpa, u64 hpa, u64 size)
{
	for (int level = 2; level; level--) {
		u64 span = RADIX_SPAN(level);

		if (s->large_pages & span && IS_ALIGNED(gpa | hpa, span) && size >= span)
			return level;
	}
	return 0;
}

/* Could a processor that still holds `old` do what `new` does not allow, or go elsewhere? */
static bool entry_loses(const struct radix_format *f, u64 old, u64 new)
{
	u64 permissions = f->write | f->accessed | f->dirty | f->exec | f->no_exec | f->may_write;

	if (!radix_present(f, old))
		return false;
	if ((old ^ new) & ~permissions)
		return true;
	return radix_flags(f, old) & ~radix_flags(f, new) & S2_RWX;
}

/* The slot of a leaf whose tables have been reserved. */
static u64 *leaf_slot(struct stage2 *s, u64 gpa, int level)
{
	u64 *slot = slot_make(s, gpa, level);

	CHECK(slot);
	return slot;
}

/* Writes one leaf; true: the generation must grow. */
static bool leaf_write(struct stage2 *s, u64 *slot, u64 hpa, u32 flags, int level)
{
	u64 old = *slot, new;

	/* Only the first write to a leaf is logged, and the log has 4 KiB pages. */
	if (level && flags & S2_CLEAN)
		flags &= ~(u32)(S2_WRITE | S2_CLEAN);
	new = radix_leaf(s->format, HPA(hpa), flags, level);
	if (old == new)
		return false;
	entry_set(slot, new);
	if (!radix_is_table(s->format, old, level))
		return entry_loses(s->format, old, new);
	retire(s, old, level);
	return true;
}

/* The slot at `level` if there is a table behind it. */
static u64 *table_slot(struct stage2 *s, u64 address, int level)
{
	u64 *table = phys_ptr(s->vm->slat_root);

	for (int l = RADIX_LEVELS - 1;; l--) {
		u64 *slot = &table[radix_index(address, l)];

		if (!radix_is_table(s->format, *slot, l))
			return NULL;
		if (l == level)
			return slot;
		table = table_of(*slot);
	}
}

/* Are these 512 leaves of `level` one larger page, used or not? */
static bool table_uniform(const struct stage2 *s, const u64 *table, int level)
{
	u64 span = RADIX_SPAN(level), first = table[0];

	if (!radix_present(s->format, first) || radix_is_table(s->format, first, level) ||
	    radix_flags(s->format, first) & S2_CLEAN ||
	    !IS_ALIGNED(first & RADIX_ADDRESS, RADIX_SPAN(level + 1)))
		return false;
	for (u64 i = ENTRIES - 1; i; i--)
		if ((table[i] ^ (first + i * span)) & ~s->format->accessed)
			return false;
	return true;
}

/* Merges around address what has become one larger page; true: the generation must grow. */
static bool merge(struct stage2 *s, u64 address)
{
	bool merged = false;

	for (int level = 1; level <= 2 && s->large_pages & RADIX_SPAN(level); level++) {
		u64 *slot = table_slot(s, address, level);
		u64 old;

		if (!slot) /* a larger page already, or nothing */
			continue;
		if (!table_uniform(s, table_of(*slot), level - 1))
			break;
		old = *slot;
		entry_set(slot, table_of(old)[0] | s->format->accessed | RADIX_LARGE);
		retire(s, old, level);
		merged = true;
	}
	return merged;
}

static int reserve(struct stage2 *s, u64 gpa, u64 hpa, u64 size)
{
	while (size) {
		int level = leaf_level(s, gpa, hpa, size);
		u64 part = RADIX_SPAN(level);

		if (!slot_make(s, gpa, level))
			return -ENOMEM;
		if (!level) /* the same table has the small pages up to its end */
			part = MIN(size, SIZE_2M - (gpa & (SIZE_2M - 1)));
		gpa += part;
		hpa += part;
		size -= part;
	}
	return 0;
}

int stage2_reserve(struct stage2 *s, gpa_t gpa, hpa_t hpa, u64 size)
{
	int error;

	if (!range_valid(gpa.v, size, RADIX_LIMIT) || !range_valid(hpa.v, size, BIT(52)))
		return -EINVAL;
	spin_lock(&s->lock);
	error = reserve(s, gpa.v, hpa.v, size);
	spin_unlock(&s->lock);
	return error;
}

int stage2_map(struct stage2 *s, gpa_t gpa, hpa_t hpa, u64 size, u32 flags)
{
	u64 at = gpa.v, to = hpa.v, end = gpa.v + size;
	bool grow = false;
	int error;

	if (!range_valid(gpa.v, size, RADIX_LIMIT) || !range_valid(hpa.v, size, BIT(52)) ||
	    !(flags & S2_READ))
		return -EINVAL;
	spin_lock(&s->lock);
	error = reserve(s, at, to, size);
	if (error)
		goto out;
	while (at < end) {
		int level = leaf_level(s, at, to, end - at);
		u64 *slot = leaf_slot(s, at, level);

		do { /* small pages: up to the end of their table */
			grow |= leaf_write(s, slot++, to, flags, level);
			at += RADIX_SPAN(level);
			to += RADIX_SPAN(level);
		} while (!level && at < end && radix_index(at, 0));
	}
	grow |= merge(s, gpa.v);
	grow |= merge(s, end - PAGE_SIZE);
	if (grow)
		generation_grow(s);
out:
	spin_unlock(&s->lock);
	return error;
}

int stage2_map_same(struct stage2 *s, gpa_t gpa, hpa_t page, u64 size, u32 flags)
{
	u64 at, end = gpa.v + size;
	bool grow = false;
	int error = -ENOMEM;

	if (!range_valid(gpa.v, size, RADIX_LIMIT) || !range_valid(page.v, PAGE_SIZE, BIT(52)) ||
	    !(flags & S2_READ))
		return -EINVAL;
	spin_lock(&s->lock);
	for (at = gpa.v; at < end; at = ALIGN_DOWN(at, SIZE_2M) + SIZE_2M)
		if (!slot_make(s, at, 0))
			goto out;
	for (at = gpa.v; at < end; at += PAGE_SIZE)
		grow |= leaf_write(s, leaf_slot(s, at, 0), page.v, flags, 0);
	if (grow)
		generation_grow(s);
	error = 0;
out:
	spin_unlock(&s->lock);
	return error;
}

int stage2_unmap(struct stage2 *s, gpa_t gpa, u64 size)
{
	struct radix_cursor c = {.address = gpa.v};
	u64 end = gpa.v + size;
	bool grow = false;
	int error = 0;

	if (!range_valid(gpa.v, size, RADIX_LIMIT))
		return -EINVAL;
	spin_lock(&s->lock);
	if (!split_at(s, gpa.v) || !split_at(s, end)) {
		error = -ENOMEM;
		goto out;
	}
	for (; radix_next(s->format, s->vm->slat_root, &c, end); c.address = radix_behind(&c)) {
		entry_set(c.entry, 0);
		grow = true;
	}
	if (grow)
		generation_grow(s);
out:
	spin_unlock(&s->lock);
	return error;
}

void stage2_log_writes(struct stage2 *s, gpa_t gpa, u64 size)
{
	struct radix_cursor c = {.address = gpa.v};
	u64 end = gpa.v + size;
	bool grow = false;

	CHECK(range_valid(gpa.v, size, RADIX_LIMIT));
	spin_lock(&s->lock);
	for (; radix_next(s->format, s->vm->slat_root, &c, end); c.address = radix_behind(&c)) {
		u64 both = s->format->write | s->format->dirty;
		bool clean = !c.level && s->vm->features & VIRT_PML;

		/* One that is clean already may be dirty in a TLB. */
		if (!radix_present(s->format, *c.entry) || !(*c.entry & both))
			continue;
		entry_set(c.entry, *c.entry & ~(clean ? s->format->dirty : both));
		grow = true;
	}
	if (grow)
		generation_grow(s);
	spin_unlock(&s->lock);
}

/* Of a large page that was split for its log: the other small pages need no fault of their own. */
static void open_table(struct stage2 *s, u64 *table)
{
	for (u32 i = 0; i < ENTRIES; i++)
		entry_set(&table[i], table[i] | s->format->write);
}

int stage2_make_writable(struct stage2 *s, gpa_t gpa, bool whole)
{
	int level, error = -EACCES;
	u64 *slot;

	spin_lock(&s->lock);
	slot = radix_find(s->format, s->vm->slat_root, gpa.v, &level);
	if (!radix_present(s->format, *slot) || !(*slot & s->format->may_write))
		goto out;
	if (!whole)
		slot = slot_make(s, gpa.v, 0);
	if (slot && !whole && level && s->vm->features & VIRT_PML)
		open_table(s, slot - radix_index(gpa.v, 0));
	if (slot)
		entry_set(slot, *slot | s->format->write | s->format->dirty);
	error = slot ? 0 : -ENOMEM;
out:
	spin_unlock(&s->lock);
	return error;
}

/* SDM vol. 3, "Accessed and Dirty Flags for EPT": not before their EPTP says so. */
static bool accessed_flags_begin(struct stage2 *s)
{
	if (s->vm->slat_accessed)
		return false;
	s->vm->slat_accessed = true;
	return true;
}

bool stage2_accessed(struct stage2 *s, gpa_t gpa, u64 size, bool clear, bool flush)
{
	struct radix_cursor c = {.address = gpa.v};
	u64 end = gpa.v + size, accessed = s->format->accessed;
	bool found = false;

	CHECK(range_valid(gpa.v, size, RADIX_LIMIT));
	spin_lock(&s->lock);
	for (; radix_next(s->format, s->vm->slat_root, &c, end); c.address = radix_behind(&c)) {
		if (!radix_present(s->format, *c.entry) || !(*c.entry & accessed))
			continue;
		found = true;
		if (!clear)
			break;
		/* The processor may be setting the dirty flag. */
		__atomic_fetch_and(c.entry, ~accessed, __ATOMIC_RELAXED);
	}
	if (found && clear && (accessed_flags_begin(s) || flush))
		generation_grow(s);
	spin_unlock(&s->lock);
	return found;
}

/* ---- unmapping counted frames ---------------------------------------------------------------- */

static u64 leaf_pages(const struct radix_cursor *c)
{
	return RADIX_SPAN(c->level) / PAGE_SIZE;
}

static hpa_t leaf_hpa(const struct radix_cursor *c)
{
	return HPA(*c->entry & RADIX_ADDRESS);
}

int stage2_detach(struct stage2 *s, gpa_t gpa, u64 size, u64 budget)
{
	struct radix_cursor c = {.address = gpa.v};
	u64 end = gpa.v + size, done = 0;
	int error = 0;

	CHECK(range_valid(gpa.v, size, RADIX_LIMIT));
	spin_lock(&s->lock);
	split_at(s, gpa.v); /* or, without memory, the whole page goes */
	split_at(s, end);
	for (; radix_next(s->format, s->vm->slat_root, &c, end); c.address = radix_behind(&c)) {
		if (!radix_present(s->format, *c.entry))
			continue;
		if (done >= budget) {
			error = -EAGAIN;
			break;
		}
		entry_set(c.entry, (*c.entry & RADIX_ADDRESS) | RADIX_PENDING);
		done += leaf_pages(&c);
	}
	if (done)
		generation_grow(s);
	spin_unlock(&s->lock);
	return error;
}

static bool table_empty(const u64 *table)
{
	for (u32 i = 0; i < ENTRIES; i++)
		if (table[i])
			return false;
	return true;
}

/* Takes out the lowest tables that lie in [gpa, end) and have become empty. */
static bool prune(struct stage2 *s, u64 gpa, u64 end)
{
	bool pruned = false;
	u64 at = ALIGN_UP(gpa, SIZE_2M);

	while (at < end && end - at >= SIZE_2M) {
		int level;
		u64 *slot = table_slot(s, at, 1);

		if (!slot) {
			radix_find(s->format, s->vm->slat_root, at, &level);
			at = ALIGN_DOWN(at, RADIX_SPAN(level)) + RADIX_SPAN(level);
			continue;
		}
		if (table_empty(table_of(*slot))) {
			retire(s, *slot, 1);
			entry_set(slot, 0);
			pruned = true;
		}
		at += SIZE_2M;
	}
	return pruned;
}

void stage2_collect(struct stage2 *s, gpa_t gpa, u64 size)
{
	struct radix_cursor c = {.address = gpa.v};
	u64 end = gpa.v + size;

	CHECK(range_valid(gpa.v, size, RADIX_LIMIT));
	spin_lock(&s->lock);
	for (; radix_next(s->format, s->vm->slat_root, &c, end); c.address = radix_behind(&c)) {
		if (!(*c.entry & RADIX_PENDING))
			continue;
		frames_put(leaf_hpa(&c), leaf_pages(&c));
		entry_set(c.entry, 0);
	}
	if (prune(s, gpa.v, end))
		generation_grow(s);
	spin_unlock(&s->lock);
}

int stage2_release(struct stage2 *s, gpa_t *gpa, u64 budget)
{
	struct radix_cursor c = {.address = gpa->v};
	int error = 0;

	spin_lock(&s->lock);
	for (; radix_next(s->format, s->vm->slat_root, &c, RADIX_LIMIT);
	     c.address = radix_behind(&c)) {
		if (!budget--) {
			error = -EAGAIN;
			break;
		}
		frames_put(leaf_hpa(&c), leaf_pages(&c));
		entry_set(c.entry, 0);
	}
	gpa->v = c.address;
	spin_unlock(&s->lock);
	return error;
}

/* ---- looking up ------------------------------------------------------------------------------ */

bool stage2_lookup(const struct stage2 *s, gpa_t gpa, hpa_t *hpa, u64 *size, u32 *flags)
{
	const u64 present = s->format->present;
	const u64 *table = phys_ptr(s->vm->slat_root);
	int shift = PAGE_SHIFT + 9 * (RADIX_LEVELS - 1);
	u64 entry;

	if (gpa.v >= RADIX_LIMIT)
		return false;
	for (;; shift -= 9) {
		entry = __atomic_load_n(&table[gpa.v >> shift & 511], __ATOMIC_ACQUIRE);
		if (!(entry & present))
			return false;
		if (shift == PAGE_SHIFT || entry & RADIX_LARGE)
			break;
		table = phys_ptr(HPA(entry & RADIX_ADDRESS));
	}
	*size = 1ull << shift;
	*hpa = HPA((entry & RADIX_ADDRESS) + (gpa.v & (*size - 1)));
	*flags = radix_flags(s->format, entry);
	return true;
}

bool stage2_next(const struct stage2 *s, gpa_t *gpa, u64 end, u64 *size, u32 *flags)
{
	struct radix_cursor c = {.address = gpa->v};

	for (; radix_next(s->format, s->vm->slat_root, &c, end); c.address = radix_behind(&c)) {
		if (!radix_present(s->format, *c.entry))
			continue;
		*gpa = GPA(c.address);
		*size = RADIX_SPAN(c.level);
		*flags = radix_flags(s->format, *c.entry);
		return true;
	}
	return false;
}

/* Tables at one level: how many spans the range touches. */
static u64 spans_touched(u64 address, u64 size, int level)
{
	u64 span = RADIX_SPAN(level);

	return (ALIGN_DOWN(address + size - 1, span) - ALIGN_DOWN(address, span)) / span + 1;
}

u64 stage2_worst_case_tables(gpa_t gpa, u64 size)
{
	u64 tables = 0;

	for (int level = 1; level < RADIX_LEVELS; level++)
		tables += spans_touched(gpa.v, size, level);
	return tables;
}
