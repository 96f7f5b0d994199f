/* SPDX-License-Identifier: MIT */
/* mm/memslot.c: KVM's rules for memory regions, look-ups, and a random model. */
#include <string.h>

#include "mm/guest_mem.h"
#include "tests/unit/fake/fake.h"
#include "tests/unit/fake/random.h"

#define MIB (1ull << 20)
#define HVA 0x7f0000000000ull

static struct pool pool;
static struct virt_vm vm;
static struct guest_mem mem;

static void make(u64 pages)
{
	fake_machine_init(1);
	fake_pool(&pool, pages);
	vm = (struct virt_vm){.kind = VIRT_CHILD, .features = virt_features};
	assert_int_equal(guest_mem_init(&mem, &vm, &pool, false), 0);
	mem.gpa_end = BIT(48); /* whatever processor this runs on */
}

static int setup(void **state)
{
	make(2048);
	return 0;
}

/* As kvm/ does it: again and again until nothing waits. */
static int set(u32 id, u32 flags, u64 gpa, u64 size, u64 hva)
{
	int error;

	do {
		error = memslot_set(&mem, id, flags, GPA(gpa), size, hva);
		if (!error || error == -EAGAIN)
			memslot_set_finish(&mem);
	} while (error == -EAGAIN);
	return error;
}

static u32 id_at(u64 gpa)
{
	const struct memslot *slot = memslot_find(&mem, GPA(gpa));
	struct memslot copy;

	assert_int_equal(memslot_get(&mem, GPA(gpa), &copy), slot != NULL);
	if (!slot)
		return ~0u;
	assert_memory_equal(slot, &copy, sizeof(copy));
	return slot->id;
}

static void test_bad_arguments(void **state)
{
	assert_int_equal(set(0, 4, 0, MIB, HVA), -EINVAL); /* unknown flag */
	assert_int_equal(set(MEMSLOT_MAX, 0, 0, MIB, HVA), -EINVAL);
	assert_int_equal(set(0x10000, 0, 0, MIB, HVA), -EINVAL); /* another address space */
	assert_int_equal(set(0, 0, 1, MIB, HVA), -EINVAL);
	assert_int_equal(set(0, 0, 0, MIB + 1, HVA), -EINVAL);
	assert_int_equal(set(0, 0, 0, MIB, HVA + 1), -EINVAL);
	assert_int_equal(set(0, 0, ~0ull << 12, MIB, HVA), -EINVAL); /* wraps */
	assert_int_equal(set(0, 0, BIT(48) - MIB, 2 * MIB, HVA), -EINVAL);
	assert_int_equal(set(0, 0, BIT(50), MIB, HVA), -EINVAL);
	assert_int_equal(set(0, 0, 0, MIB, BIT(47)), -EINVAL); /* not a user's address */
	assert_int_equal(set(0, 0, 0, MIB, BIT(63)), -EINVAL);
	assert_int_equal(set(0, 0, 0, 2 * MIB, BIT(47) - MIB), -EINVAL);
	assert_int_equal(set(0, 0, 0, 1ull << 43, 0), -EINVAL); /* 2^31 pages */
	assert_int_equal(set(0, 0, 0, 0, HVA), -EINVAL);	/* deletes what is not there */
	assert_int_equal(set(5, 0, BIT(48) - MIB, MIB, BIT(47) - MIB), 0);
	assert_int_equal(set(MEMSLOT_MAX - 1, 0, 0, MEMSLOT_PAGES * PAGE_SIZE, 0), 0);
	assert_int_equal(id_at(BIT(48) - 1), 5);
	assert_int_equal(id_at(MEMSLOT_PAGES * PAGE_SIZE - 1), MEMSLOT_MAX - 1);
	assert_int_equal(id_at(MEMSLOT_PAGES * PAGE_SIZE), ~0u);
	mem.gpa_end = BIT(40); /* a processor with fewer bits of address */
	assert_int_equal(set(6, 0, BIT(40), MIB, HVA), -EINVAL);
	assert_int_equal(set(6, 0, BIT(40) - MIB, 2 * MIB, HVA), -EINVAL);
}

static void test_rules_of_change(void **state)
{
	assert_int_equal(set(3, 0, 16 * MIB, MIB, HVA), 0);
	assert_int_equal(set(3, 0, 16 * MIB, MIB, HVA), 0); /* the same again */
	assert_int_equal(set(3, 0, 16 * MIB, 2 * MIB, HVA), -EINVAL);
	assert_int_equal(set(3, 0, 16 * MIB, MIB, HVA + MIB), -EINVAL);
	assert_int_equal(set(3, MEMSLOT_READONLY, 16 * MIB, MIB, HVA), -EINVAL);
	assert_int_equal(set(4, 0, 17 * MIB, MIB, HVA), 0);
	assert_int_equal(set(3, 0, 17 * MIB, MIB, HVA), -EEXIST); /* moves onto another */
	assert_int_equal(id_at(16 * MIB), 3);
	assert_int_equal(set(3, 0, 20 * MIB, MIB, HVA), 0);
	assert_int_equal(id_at(16 * MIB), ~0u);
	assert_int_equal(id_at(20 * MIB), 3);
	assert_int_equal(memslot_by_id(&mem, 3)->gfn, 20 * MIB / PAGE_SIZE);
	assert_int_equal(set(3, 0, 20 * MIB + PAGE_SIZE, MIB, HVA), 0); /* onto itself */
	assert_int_equal(id_at(20 * MIB), ~0u);
	assert_int_equal(id_at(21 * MIB), 3);
	assert_int_equal(set(3, 0, 0, 0, 0), 0);
	assert_null(memslot_by_id(&mem, 3));
	assert_int_equal(id_at(21 * MIB), ~0u);
	assert_int_equal(set(3, 0, 0, 0, 0), -EINVAL);
	assert_int_equal(set(3, MEMSLOT_READONLY, 0, MIB, HVA), 0); /* anew, differently */
	assert_int_equal(set(3, 0, 0, MIB, HVA), -EINVAL);
	assert_null(memslot_by_id(&mem, 4000));
	assert_null(memslot_by_id(&mem, MEMSLOT_MAX));
}

static void test_overlaps(void **state)
{
	assert_int_equal(set(1, 0, 4 * MIB, 2 * MIB, HVA), 0);
	assert_int_equal(set(2, 0, 8 * MIB, 2 * MIB, HVA), 0);
	assert_int_equal(set(3, 0, 5 * MIB, 2 * MIB, HVA), -EEXIST);
	assert_int_equal(set(3, 0, 3 * MIB, 2 * MIB, HVA), -EEXIST);
	assert_int_equal(set(3, 0, 3 * MIB, 9 * MIB, HVA), -EEXIST);
	assert_int_equal(set(3, 0, 4 * MIB + PAGE_SIZE, PAGE_SIZE, HVA), -EEXIST);
	assert_int_equal(set(3, 0, 6 * MIB - PAGE_SIZE, 3 * MIB, HVA), -EEXIST);
	assert_int_equal(set(3, 0, 6 * MIB, 2 * MIB, HVA), 0);
	assert_int_equal(set(4, 0, 0, 4 * MIB, HVA), 0);
	assert_int_equal(set(3, 0, 5 * MIB, 2 * MIB, HVA), -EEXIST);
	assert_int_equal(set(3, 0, 7 * MIB, 2 * MIB, HVA), -EEXIST);
	assert_int_equal(set(2, 0, 7 * MIB, 2 * MIB, HVA), -EEXIST);
}

static void test_edges(void **state)
{
	assert_int_equal(id_at(0), ~0u);
	assert_int_equal(set(7, 0, 4 * MIB, 2 * MIB, HVA), 0);
	assert_int_equal(id_at(4 * MIB - 1), ~0u);
	assert_int_equal(id_at(4 * MIB), 7);
	assert_int_equal(id_at(6 * MIB - 1), 7);
	assert_int_equal(id_at(6 * MIB), ~0u);
	assert_int_equal(id_at(~0ull), ~0u);
	assert_int_equal(id_at(BIT(52) + 4 * MIB), ~0u);
}

static void test_all_slots(void **state)
{
	make(7000);
	/* Backwards, so that each one is inserted before the rest. */
	for (u32 i = 0; i < MEMSLOT_MAX; i++)
		assert_int_equal(set(i, 0, (MEMSLOT_MAX - i) * MIB, MIB / 2, HVA), 0);
	for (u32 i = 0; i < MEMSLOT_MAX; i += 7) {
		assert_int_equal(id_at((MEMSLOT_MAX - i) * MIB), i);
		assert_int_equal(id_at((MEMSLOT_MAX - i) * MIB + MIB / 2), ~0u);
	}
	for (u32 i = 0; i < MEMSLOT_MAX; i += 3)
		assert_int_equal(set(i, 0, 0, 0, 0), 0);
	for (u32 i = 0; i < MEMSLOT_MAX; i++)
		assert_int_equal(id_at((MEMSLOT_MAX - i) * MIB), i % 3 ? i : ~0u);
}

static void test_no_memory(void **state)
{
	hpa_t held = HPA_NONE;
	u32 id = 0;

	while (pool_free_pages(&pool)) {
		hpa_t page = pool_alloc(&pool, 1);

		if (held.v == HPA_NONE.v)
			held = page;
	}
	assert_int_equal(set(0, 0, 0, MIB, HVA), -ENOMEM); /* no room for the slot */
	assert_int_equal(id_at(0), ~0u);
	pool_free(&pool, held, 1);
	assert_int_equal(set(0, MEMSLOT_DIRTY, 0, MIB, HVA), -ENOMEM); /* for the bitmap */
	assert_int_equal(id_at(0), ~0u);
	assert_int_equal(set(0, 0, 0, MIB, HVA), 0);
	assert_int_equal(set(0, MEMSLOT_DIRTY, 0, MIB, HVA), -ENOMEM);
	assert_int_equal(memslot_by_id(&mem, 0)->flags, 0);
	assert_int_equal(set(0, MEMSLOT_DIRTY, 4 * MIB, MIB, HVA), -ENOMEM);
	assert_int_equal(id_at(0), 0);
	/* The index cannot grow: only the slots that are there fit. */
	make(2 + 2 + 1 + 1 + 64);
	while (set(id, 0, id * MIB, MIB, HVA) == 0)
		id++;
	assert_int_equal(set(id, 0, id * MIB, MIB, HVA), -ENOMEM);
	assert_int_equal(id_at((id - 1) * MIB), id - 1);
	assert_int_equal(id_at(id * MIB), ~0u);
}

static void test_init_needs_memory(void **state)
{
	struct guest_mem other;

	for (u32 pages = 2; pages < 6; pages++) {
		fake_pool(&pool, pages);
		assert_int_equal(guest_mem_init(&other, &vm, &pool, false),
				 pages < 5 ? -ENOMEM : 0);
	}
}

static void test_the_management_guest_has_none(void **state)
{
	struct guest_mem management;
	struct memslot copy;

	assert_int_equal(guest_mem_init(&management, &vm, &pool, true), 0);
	assert_int_equal(memslot_set(&management, 0, 0, GPA(0), MIB, HVA), -EINVAL);
	assert_null(memslot_find(&management, GPA(0)));
	assert_false(memslot_get(&management, GPA(0), &copy));
	assert_null(memslot_by_id(&management, 0));
}

static void map(u64 gpa, u64 hpa, u64 size)
{
	assert_int_equal(guest_mem_map(&mem, GPA(gpa), HPA(hpa), size, true), 0);
}

static bool is_mapped(u64 gpa)
{
	u64 length = 1;

	return guest_ptr(&mem, GPA(gpa), &length, false);
}

static void test_deleting_unmaps(void **state)
{
	assert_int_equal(set(0, 0, 2 * MIB, 2 * MIB, HVA), 0);
	assert_int_equal(set(1, 0, 4 * MIB, 2 * MIB, HVA), 0);
	map(2 * MIB, FAKE_GUEST, 2 * MIB);
	map(4 * MIB, FAKE_GUEST + 2 * MIB, PAGE_SIZE);
	assert_int_equal(memslot_set(&mem, 0, 0, GPA(0), 0, 0), 0);
	assert_false(is_mapped(2 * MIB));
	assert_true(is_mapped(4 * MIB));
	assert_int_equal(frame_mappings(HPA(FAKE_GUEST)), 1);
	/* Until the finish nothing else changes. */
	assert_int_equal(memslot_set(&mem, 2, 0, GPA(8 * MIB), MIB, HVA), -EAGAIN);
	assert_int_equal(
		guest_mem_map(&mem, GPA(4 * MIB + PAGE_SIZE), HPA(FAKE_GUEST), PAGE_SIZE, true),
		-EAGAIN);
	memslot_set_finish(&mem);
	assert_int_equal(frame_mappings(HPA(FAKE_GUEST)), 0);
	assert_int_equal(frame_mappings(HPA(FAKE_GUEST + 2 * MIB - 1)), 0);
	assert_int_equal(memslot_set(&mem, 2, 0, GPA(8 * MIB), MIB, HVA), 0);
	memslot_set_finish(&mem);
	memslot_set_finish(&mem);
	map(4 * MIB + PAGE_SIZE, FAKE_GUEST, PAGE_SIZE);
}

static void test_bitmaps_go_back(void **state)
{
	u64 before;

	assert_int_equal(set(0, 0, 2 * MIB, 2 * MIB, HVA), 0);
	before = pool_free_pages(&pool);
	for (u32 i = 0; i < 3; i++) {
		assert_int_equal(set(0, 0, 0, 0, 0), 0);
		assert_int_equal(set(0, MEMSLOT_DIRTY, 2 * MIB, 2 * MIB, HVA), 0);
	}
	assert_int_equal(pool_free_pages(&pool), before - 1);
	assert_int_equal(set(0, 0, 0, 0, 0), 0);
	assert_int_equal(pool_free_pages(&pool), before);
}

static void test_moving_unmaps(void **state)
{
	assert_int_equal(set(0, MEMSLOT_DIRTY, 2 * MIB, 2 * MIB, HVA), 0);
	map(2 * MIB, FAKE_GUEST, 2 * MIB);
	assert_int_equal(set(0, MEMSLOT_DIRTY, 8 * MIB, 2 * MIB, HVA), 0);
	assert_false(is_mapped(2 * MIB));
	assert_false(is_mapped(8 * MIB));
	assert_int_equal(frame_mappings(HPA(FAKE_GUEST)), 0);
	assert_non_null(memslot_by_id(&mem, 0)->dirty);
	/* Moved, and no longer logged: the bitmap goes back. */
	assert_int_equal(set(0, 0, 16 * MIB, 2 * MIB, HVA), 0);
	assert_null(memslot_by_id(&mem, 0)->dirty);
	/* Moved and logged at once. */
	assert_int_equal(set(0, MEMSLOT_DIRTY, 2 * MIB, 2 * MIB, HVA), 0);
	assert_non_null(memslot_by_id(&mem, 0)->dirty);
}

/* More pages than one call may unmap: parts, and the slot stays as it was until the last. */
static void test_deleting_is_bounded(void **state)
{
	u64 pages = 40000, left;

	make(3000);
	/* The same two frames again and again: nothing merges, and 64 MiB of RAM suffice. */
	assert_int_equal(set(0, 0, 0, pages * PAGE_SIZE, HVA), 0);
	for (u64 i = 0; i < pages; i++)
		map(i * PAGE_SIZE, FAKE_GUEST + i % 4 * PAGE_SIZE, PAGE_SIZE);
	left = pool_free_pages(&pool);
	assert_int_equal(
		memslot_set(&mem, 0, MEMSLOT_DIRTY, GPA(256 * MIB), pages * PAGE_SIZE, HVA),
		-EAGAIN);
	assert_int_equal(pool_free_pages(&pool), left); /* the bitmap is not kept */
	memslot_set_finish(&mem);
	assert_int_equal(
		memslot_set(&mem, 0, MEMSLOT_DIRTY, GPA(256 * MIB), pages * PAGE_SIZE, HVA), 0);
	memslot_set_finish(&mem);
	assert_int_equal(set(0, 0, 0, 0, 0), 0);
	assert_int_equal(set(0, MEMSLOT_DIRTY, 0, pages * PAGE_SIZE, HVA), 0);
	for (u64 i = 0; i < pages; i++)
		map(i * PAGE_SIZE, FAKE_GUEST + i % 4 * PAGE_SIZE, PAGE_SIZE);
	assert_int_equal(memslot_set(&mem, 0, 0, GPA(0), 0, 0), -EAGAIN);
	assert_int_equal(id_at(0), 0);
	assert_false(is_mapped(0));
	assert_true(is_mapped((pages - 1) * PAGE_SIZE));
	memslot_set_finish(&mem);
	assert_int_equal(memslot_set(&mem, 0, 0, GPA(0), 0, 0), 0);
	assert_int_equal(id_at(0), ~0u);
	memslot_set_finish(&mem);
	for (u32 i = 0; i < 4; i++)
		assert_int_equal(frame_mappings(HPA(FAKE_GUEST + i * PAGE_SIZE)), 0);
}

/* ---- the model ---- */

#define MODEL_IDS 300

static struct {
	u64 gfn, pages;
	u32 flags;
} model[MODEL_IDS];

static bool model_overlaps(u32 id, u64 gfn, u64 pages)
{
	for (u32 i = 0; i < MODEL_IDS; i++)
		if (i != id && model[i].pages && gfn < model[i].gfn + model[i].pages &&
		    model[i].gfn < gfn + pages)
			return true;
	return false;
}

static u32 model_at(u64 gfn)
{
	for (u32 i = 0; i < MODEL_IDS; i++)
		if (gfn - model[i].gfn < model[i].pages)
			return i;
	return ~0u;
}

static int model_set(u32 id, u32 flags, u64 gfn, u64 pages)
{
	if (!pages && !model[id].pages)
		return -EINVAL;
	if (pages && model[id].pages &&
	    (pages != model[id].pages || (flags ^ model[id].flags) & MEMSLOT_READONLY))
		return -EINVAL;
	if (pages && (!model[id].pages || gfn != model[id].gfn) && model_overlaps(id, gfn, pages))
		return -EEXIST;
	model[id].gfn = gfn;
	model[id].pages = pages;
	model[id].flags = flags;
	return 0;
}

static void test_model(void **state)
{
	random_begin();
	memset(model, 0, sizeof(model));
	for (u32 step = 0; step < 20000; step++) {
		u32 id = (u32)random_below(MODEL_IDS), flags = (u32)random_below(4);
		u64 gfn = random_below(4000), pages = 1 + random_below(40);

		if (!random_below(4))
			pages = 0;
		else if (random_below(2) && model[id].pages) /* so that changes succeed */
			pages = model[id].pages;
		if (random_below(2))
			flags &= ~MEMSLOT_READONLY;
		assert_int_equal(set(id, flags, gfn * PAGE_SIZE, pages * PAGE_SIZE, HVA),
				 model_set(id, flags, gfn, pages));
		for (u32 i = 0; i < 10; i++) {
			u64 at = random_below(4100);

			assert_int_equal(id_at(at * PAGE_SIZE + 17), model_at(at));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_bad_arguments, setup),
		cmocka_unit_test_setup(test_rules_of_change, setup),
		cmocka_unit_test_setup(test_overlaps, setup),
		cmocka_unit_test_setup(test_edges, setup),
		cmocka_unit_test_setup(test_all_slots, setup),
		cmocka_unit_test_setup(test_no_memory, setup),
		cmocka_unit_test_setup(test_init_needs_memory, setup),
		cmocka_unit_test_setup(test_the_management_guest_has_none, setup),
		cmocka_unit_test_setup(test_deleting_unmaps, setup),
		cmocka_unit_test_setup(test_bitmaps_go_back, setup),
		cmocka_unit_test_setup(test_moving_unmaps, setup),
		cmocka_unit_test_setup(test_deleting_is_bounded, setup),
		cmocka_unit_test_setup(test_model, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
