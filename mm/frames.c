/* SPDX-License-Identifier: MIT */
/* The frame table: owner and mapping count of every 4 KiB frame. Lock-free. */
#include "mm/frames.h"

#include "arch-x86/log.h"
#include "mm/phys.h"

#define OWNER_SHIFT 14

static u16 *table;
static u64 frame_count;

static u16 entry_make(enum frame_owner owner, u32 count)
{
	return (u16)(owner << OWNER_SHIFT | count);
}

static enum frame_owner entry_owner(u16 entry)
{
	return entry >> OWNER_SHIFT;
}

static u32 entry_count(u16 entry)
{
	return entry & FRAME_COUNT_MAX;
}

static u16 *entry_at(u64 frame)
{
	return frame < frame_count ? &table[frame] : NULL;
}

static u16 entry_load(hpa_t hpa)
{
	u16 *entry = entry_at(hpa.v >> PAGE_SHIFT);

	return entry ? __atomic_load_n(entry, __ATOMIC_ACQUIRE) : entry_make(FRAME_NONE, 0);
}

static bool entry_change(u16 *entry, u16 old, u16 new)
{
	return __atomic_compare_exchange_n(entry, &old, new, false, __ATOMIC_ACQ_REL,
					   __ATOMIC_RELAXED);
}

static bool range_in_table(hpa_t base, u64 pages)
{
	u64 first = base.v >> PAGE_SHIFT;

	return first < frame_count && pages <= frame_count - first;
}

void frames_init(hpa_t where, u64 frames)
{
	table = phys_ptr(where);
	frame_count = frames;
	for (u64 i = 0; i < frames; i++)
		table[i] = entry_make(FRAME_NONE, 0);
}

void frames_set(hpa_t base, u64 pages, enum frame_owner owner)
{
	u64 first = base.v >> PAGE_SHIFT;

	CHECK(range_in_table(base, pages));
	for (u64 i = first; i < first + pages; i++)
		__atomic_store_n(&table[i], entry_make(owner, 0), __ATOMIC_RELEASE);
}

enum frame_owner frame_owner(hpa_t hpa)
{
	return entry_owner(entry_load(hpa));
}

bool frame_is_ram(hpa_t hpa)
{
	return frame_owner(hpa) != FRAME_NONE;
}

u32 frame_mappings(hpa_t hpa)
{
	return entry_count(entry_load(hpa));
}

/* Moves the whole range from one owner to the next, or changes nothing. */
static bool range_move(hpa_t base, u64 pages, enum frame_owner from, enum frame_owner to)
{
	u64 first = base.v >> PAGE_SHIFT, i;

	if (!range_in_table(base, pages))
		return false;
	for (i = first; i < first + pages; i++)
		if (!entry_change(&table[i], entry_make(from, 0), entry_make(to, 0)))
			break;
	if (i == first + pages)
		return true;
	while (i-- > first)
		__atomic_store_n(&table[i], entry_make(from, 0), __ATOMIC_RELEASE);
	return false;
}

int frames_leave(hpa_t base, u64 pages)
{
	return range_move(base, pages, FRAME_MANAGEMENT, FRAME_LEAVING) ? 0 : -EBUSY;
}

int frames_take(hpa_t base, u64 pages)
{
	if (!range_move(base, pages, FRAME_LEAVING, FRAME_KEEL))
		return -EINVAL;
	fake_frames_reused(base, pages);
	return 0;
}

void frames_return(hpa_t base, u64 pages)
{
	u64 first = base.v >> PAGE_SHIFT;

	CHECK(range_in_table(base, pages));
	fake_frames_reused(base, pages);
	for (u64 i = first; i < first + pages; i++) {
		enum frame_owner owner = entry_owner(table[i]);

		CHECK(owner == FRAME_LEAVING || owner == FRAME_KEEL);
		__atomic_store_n(&table[i], entry_make(FRAME_MANAGEMENT, 0), __ATOMIC_RELEASE);
	}
}

int frame_get(hpa_t hpa)
{
	u16 *entry = entry_at(hpa.v >> PAGE_SHIFT);
	u16 old;

	if (!entry)
		return -EBUSY;
	do {
		old = __atomic_load_n(entry, __ATOMIC_RELAXED);
		if (entry_owner(old) != FRAME_MANAGEMENT || entry_count(old) == FRAME_COUNT_MAX)
			return -EBUSY;
	} while (!entry_change(entry, old, old + 1));
	return 0;
}

void frame_put(hpa_t hpa)
{
	u16 *entry = entry_at(hpa.v >> PAGE_SHIFT);
	u16 old;

	CHECK(entry);
	do {
		old = __atomic_load_n(entry, __ATOMIC_RELAXED);
		CHECK(entry_owner(old) == FRAME_MANAGEMENT && entry_count(old));
		if (entry_count(old) == 1)
			fake_frames_reused(hpa, 1);
	} while (!entry_change(entry, old, old - 1));
}

bool frames_count(hpa_t base, u64 pages, u64 *taken, u64 *mapped)
{
	*taken = *mapped = 0;
	for (u64 i = 0; i < pages; i++) {
		u16 entry = entry_load(HPA(base.v + i * PAGE_SIZE));
		enum frame_owner owner = entry_owner(entry);

		*taken += owner == FRAME_LEAVING || owner == FRAME_KEEL;
		*mapped += entry_count(entry) != 0;
	}
	return (base.v >> PAGE_SHIFT) + pages < frame_count;
}

int frames_get(hpa_t base, u64 pages)
{
	if (!range_in_table(base, pages))
		return -EBUSY;
	for (u64 i = 0; i < pages; i++) {
		if (frame_get(HPA(base.v + i * PAGE_SIZE))) {
			frames_put(base, i);
			return -EBUSY;
		}
	}
	return 0;
}

void frames_put(hpa_t base, u64 pages)
{
	for (u64 i = 0; i < pages; i++)
		frame_put(HPA(base.v + i * PAGE_SIZE));
}
