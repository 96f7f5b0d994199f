/* SPDX-License-Identifier: MIT */
/*
 * Look-ups beside changes: two threads play CPUs in root mode, which look slots and pages up and
 * read guest memory; a third one deletes, moves, maps, merges, splits and unmaps. The readers
 * keep mm/'s contract: what they looked up they use only until their next pass, and the changer
 * waits for a pass of each between an unmap's two steps.
 */
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "lib/bitmap.h"
#include "mm/guest_mem.h"
#include "tests/unit/fake/fake.h"
#include "tests/unit/fake/random.h"

#define MIB	   (1ull << 20)
#define HVA	   0x7f0000000000ull
#define READERS	   2
#define SLOTS	   40
#define SLOT_BYTES (2 * MIB)
#define POISON	   0xdeaddeaddeaddeadull
#define ROUNDS	   1500

static struct pool pool;
static struct virt_vm vm;
static struct guest_mem mem;

static u32 passes[READERS];
static bool stop;
static const char *complaint; /* the readers may not use cmocka */
static u64 hits, misses;

static u64 random_of(u64 *seed)
{
	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	return *seed >> 33;
}

/* Each frame's words say which frame it is, while it is mapped; else they are poison. */
static void frames_fill(u64 base, u64 size, bool poison)
{
	for (u64 at = base; at < base + size; at += PAGE_SIZE)
		__atomic_store_n((u64 *)phys_ptr(HPA(at)), poison ? POISON : at, __ATOMIC_RELAXED);
}

static const char *check_slot(u64 gpa)
{
	struct memslot slot;

	memslot_find(&mem, GPA(gpa));
	if (!memslot_get(&mem, GPA(gpa), &slot))
		return NULL;
	if (slot.gfn > gpa >> PAGE_SHIFT || slot.gfn + slot.pages <= gpa >> PAGE_SHIFT)
		return "a slot that does not hold the address";
	if (slot.pages != SLOT_BYTES / PAGE_SIZE || slot.hva != HVA + slot.id * SLOT_BYTES)
		return "a slot whose fields do not belong together";
	return NULL;
}

static const char *check_page(u64 gpa)
{
	u64 length = 8, word, size;
	hpa_t hpa;
	u32 flags;
	const u64 *p;

	if (stage2_lookup(&mem.s2, GPA(gpa), &hpa, &size, &flags) &&
	    (hpa.v < FAKE_GUEST || hpa.v >= FAKE_RAM_SIZE))
		return "a translation to somewhere else";
	p = guest_ptr(&mem, GPA(gpa), &length, false);
	if (!p) {
		__atomic_fetch_add(&misses, 1, __ATOMIC_RELAXED);
		return NULL;
	}
	sched_yield(); /* time for the changer to go wrong */
	word = __atomic_load_n(p, __ATOMIC_RELAXED);
	__atomic_fetch_add(&hits, 1, __ATOMIC_RELAXED);
	if (word == POISON)
		return "a frame after its last reference was dropped";
	if (word < FAKE_GUEST || word >= FAKE_RAM_SIZE || word & (PAGE_SIZE - 1))
		return "not a frame's own word";
	return NULL;
}

static void *reader(void *arg)
{
	u64 index = (u64)arg, seed = index + 1;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		u64 gpa = ALIGN_DOWN(random_of(&seed) % (SLOTS * SLOT_BYTES), PAGE_SIZE);
		const char *wrong = check_slot(gpa);

		if (!wrong)
			wrong = check_page(gpa);
		if (wrong)
			__atomic_store_n(&complaint, wrong, __ATOMIC_RELAXED);
		__atomic_fetch_add(&passes[index], 1, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

/* What core does: every other CPU has gone through an entry since. */
static void wait_for_passes(void)
{
	u32 before[READERS];

	for (u32 i = 0; i < READERS; i++)
		before[i] = __atomic_load_n(&passes[i], __ATOMIC_SEQ_CST);
	for (u32 i = 0; i < READERS; i++)
		while (__atomic_load_n(&passes[i], __ATOMIC_SEQ_CST) == before[i])
			sched_yield();
}

static u64 slot_of(u32 id)
{
	return id * SLOT_BYTES;
}

static void slot_set(u32 id, bool present)
{
	u64 size = present ? SLOT_BYTES : 0;

	assert_int_equal(memslot_set(&mem, id, 0, GPA(slot_of(id)), size, HVA + id * SLOT_BYTES),
			 0);
	wait_for_passes();
	memslot_set_finish(&mem);
}

/* Each slot has its own frames, as far as RAM goes: 14 slots are mapped at times. */
static u64 frames_of(u32 id)
{
	return FAKE_GUEST + id % 14 * SLOT_BYTES;
}

static void change(u32 id)
{
	u64 gpa = slot_of(id), hpa = frames_of(id), part = random_below(512) * PAGE_SIZE;

	slot_set(id, true);
	frames_fill(hpa, SLOT_BYTES, false);
	/* In pieces that merge, or as a whole that is split. */
	if (random_below(2)) {
		assert_int_equal(guest_mem_map(&mem, GPA(gpa), HPA(hpa), SIZE_2M, true), 0);
	} else {
		for (u64 at = 0; at < SIZE_2M; at += 16 * PAGE_SIZE)
			assert_int_equal(guest_mem_map(&mem, GPA(gpa + at), HPA(hpa + at),
						       16 * PAGE_SIZE, true),
					 0);
	}
	assert_int_equal(guest_mem_unmap(&mem, GPA(gpa + part), PAGE_SIZE), 0);
	wait_for_passes();
	guest_mem_unmap_finish(&mem, GPA(gpa + part), PAGE_SIZE);
	frames_fill(hpa + part, PAGE_SIZE, true);
	frames_fill(hpa + part, PAGE_SIZE, false);
	assert_int_equal(guest_mem_map(&mem, GPA(gpa + part), HPA(hpa + part), PAGE_SIZE, true), 0);
	/* The slot goes, and its pages with it. */
	slot_set(id, false);
	assert_int_equal(frame_mappings(HPA(hpa)), 0);
	frames_fill(hpa, SLOT_BYTES, true);
	/* What was freed is used for something else at once. */
	for (u32 i = 0; i < 3; i++) {
		hpa_t page = pool_alloc(&pool, 1);

		memset(phys_ptr(page), 0x5a, PAGE_SIZE);
		pool_free(&pool, page, 1);
	}
}

/* ---- slots alone, as fast as they change ---- */

#define FIXED 8	     /* slots that are always there; others come and go between them */
#define LOOKS 400000 /* of each reader, beside changes */

static u64 fixed_at(u64 i)
{
	return (4 * i + 1) * MIB;
}

static void *slot_reader(void *arg)
{
	u64 index = (u64)arg, seed = index + 1;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		u64 gpa = fixed_at(random_of(&seed) % FIXED);
		const struct memslot *found = memslot_find(&mem, GPA(gpa));
		const char *wrong = NULL;
		struct memslot slot;

		if (!found || found->gfn != gpa >> PAGE_SHIFT)
			wrong = "a slot was not found that was there all the time";
		/* Before a fixed slot the moving one may stand; hva says where it is. */
		for (u32 i = 0; i < FIXED; i++)
			if (memslot_get(&mem, GPA(fixed_at(i) - MIB), &slot) &&
			    slot.hva != HVA + slot.gfn * PAGE_SIZE)
				wrong = "a copy of a slot whose fields do not belong together";
		if (wrong)
			__atomic_store_n(&complaint, wrong, __ATOMIC_RELAXED);
		__atomic_fetch_add(&passes[index], 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void place(u32 id, u64 gpa, u64 size)
{
	assert_int_equal(memslot_set(&mem, id, 0, GPA(gpa), size, HVA + gpa), 0);
	memslot_set_finish(&mem);
}

static void test_slots_beside_changes(void **state)
{
	pthread_t thread[READERS];

	random_begin();
	fake_machine_init(1);
	fake_pool(&pool, 512);
	vm = (struct virt_vm){.kind = VIRT_CHILD, .features = virt_features};
	assert_int_equal(guest_mem_init(&mem, &vm, &pool, false), 0);
	stop = false;
	complaint = NULL;
	for (u32 i = 0; i < FIXED; i++)
		place(i, fixed_at(i), MIB);
	for (u64 i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, slot_reader, (void *)i), 0);
	while (!complaint && (__atomic_load_n(&passes[0], __ATOMIC_RELAXED) < LOOKS ||
			      __atomic_load_n(&passes[1], __ATOMIC_RELAXED) < LOOKS)) {
		place(FIXED, fixed_at(random_below(FIXED)) - MIB, MIB / 2);
		place(FIXED, 0, 0);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (u32 i = 0; i < READERS; i++)
		pthread_join(thread[i], NULL);
	if (complaint)
		fail_msg("%s", complaint);
}

static void test_lookups_beside_changes(void **state)
{
	pthread_t thread[READERS];

	random_begin();
	fake_machine_init(1);
	fake_pool(&pool, 512);
	vm = (struct virt_vm){.kind = VIRT_CHILD, .features = virt_features};
	assert_int_equal(guest_mem_init(&mem, &vm, &pool, false), 0);
	stop = false;
	complaint = NULL;
	for (u64 i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, reader, (void *)i), 0);
	/* Some stay, so that the readers find something; the others come and go. */
	for (u32 id = 0; id < 7; id++) {
		slot_set(id, true);
		frames_fill(frames_of(id), SLOT_BYTES, false);
		assert_int_equal(
			guest_mem_map(&mem, GPA(slot_of(id)), HPA(frames_of(id)), SLOT_BYTES, true),
			0);
	}
	for (u32 i = 0; i < ROUNDS && !complaint; i++)
		change(7 + 14 * (u32)random_below(2) + (u32)random_below(7));
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (u32 i = 0; i < READERS; i++)
		pthread_join(thread[i], NULL);
	if (complaint)
		fail_msg("%s", complaint);
	assert_true(hits > 100);
	assert_true(misses > 100);
}

/* ---- a log beside writes: a migration ---- */

#define LOGGED	512 /* pages */
#define PASSES	3000
#define AT_ONCE 16 /* writes of one run */

static struct virt_vcpu vcpu;
static u64 writer_seed;
static u64 copied[LOGGED];

static void writing_guest(struct virt_vcpu *v, struct vm_exit *e)
{
	hpa_t hpa;

	e->reason = EXIT_INTR;
	for (u32 i = 0; i < AT_ONCE; i++) {
		u64 gpa = random_of(&writer_seed) % LOGGED * PAGE_SIZE;

		if (!fake_guest_access(v, GPA(gpa), true, false, &hpa, e))
			return;
		__atomic_fetch_add((u64 *)phys_ptr(hpa), 1, __ATOMIC_RELAXED);
	}
}

/* Runs the guest; now and then root writes for it. */
static void *writer(void *unused)
{
	struct vm_exit e;

	fake_cpu_set(1);
	virt->load(&vcpu, this_cpu());
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		u64 length = 8, gpa = random_of(&writer_seed) % LOGGED * PAGE_SIZE, *word;

		virt->run(&vcpu, &e);
		dirty_log_written(&mem, vcpu.written, vcpu.written_count);
		if (e.reason == EXIT_SLAT && !dirty_log_fault(&mem, e.slat.gpa))
			__atomic_store_n(&complaint, "a fault that is not the log's",
					 __ATOMIC_RELAXED);
		word = guest_ptr(&mem, GPA(gpa), &length, true);
		sched_yield();
		if (word)
			__atomic_fetch_add(word, 1, __ATOMIC_RELAXED);
		__atomic_fetch_add(&passes[0], 1, __ATOMIC_SEQ_CST);
	}
	virt->put(&vcpu);
	return NULL;
}

static void wait_for_writer(void)
{
	u32 before = __atomic_load_n(&passes[0], __ATOMIC_SEQ_CST);

	while (__atomic_load_n(&passes[0], __ATOMIC_SEQ_CST) == before)
		sched_yield();
}

static u64 word_of(u64 page)
{
	return __atomic_load_n((u64 *)phys_ptr(HPA(FAKE_GUEST + page * PAGE_SIZE)),
			       __ATOMIC_RELAXED);
}

static u64 copy_what_is_dirty(void)
{
	static u64 words[LOGGED / 64];
	u64 count = 0;

	assert_int_equal(dirty_log_get(&mem, 0, words, sizeof(words)), 0);
	if (!stop)
		wait_for_writer();
	for (u64 i = 0; i < LOGGED; i++) {
		if (!bitmap_test(words, i))
			continue;
		copied[i] = word_of(i);
		count++;
	}
	return count;
}

static void log_beside_writes(bool pml)
{
	static struct virt_ops ept_ops;
	u64 dirty = 0, i;
	pthread_t thread;

	random_begin();
	writer_seed = random_below(1u << 30);
	fake_machine_init(2);
	ept_ops = fake_virt_ops;
	ept_ops.ept = true;
	virt = &ept_ops;
	if (pml)
		virt_features |= VIRT_PML;
	fake_run = writing_guest;
	fake_pool(&pool, 512);
	vm = (struct virt_vm){.kind = VIRT_CHILD, .features = virt_features};
	assert_int_equal(guest_mem_init(&mem, &vm, &pool, false), 0);
	assert_int_equal(virt->vm_init(&vm, &pool), 0);
	assert_int_equal(virt->vcpu_init(&vcpu, &vm, &pool), 0);
	virt->release(&vcpu);
	place(0, 0, LOGGED * PAGE_SIZE);
	assert_int_equal(guest_mem_map(&mem, GPA(0), HPA(FAKE_GUEST), LOGGED * PAGE_SIZE, true), 0);
	stop = false;
	complaint = NULL;
	assert_int_equal(pthread_create(&thread, NULL, writer, NULL), 0);
	wait_for_writer();
	assert_int_equal(memslot_set(&mem, 0, MEMSLOT_DIRTY, GPA(0), LOGGED * PAGE_SIZE, HVA), 0);
	wait_for_writer();
	memslot_set_finish(&mem);
	for (i = 0; i < LOGGED; i++)
		copied[i] = word_of(i);
	for (i = 0; i < PASSES && !complaint; i++)
		dirty += copy_what_is_dirty();
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	dirty += copy_what_is_dirty();
	if (complaint)
		fail_msg("%s", complaint);
	for (i = 0; i < LOGGED; i++)
		assert_int_equal(copied[i], word_of(i));
	assert_in_range(dirty, PASSES, PASSES * (LOGGED - 1));
}

static void test_log_beside_writes(void **state)
{
	log_beside_writes(false);
}

static void test_processors_log_beside_writes(void **state)
{
	log_beside_writes(true);
}

/* ---- accessed flags beside a guest, and beside changes ---- */

#define LOOKED 300

/* A page that is missing for a moment is none of its business. */
static void touching_guest(struct virt_vcpu *v, struct vm_exit *e)
{
	hpa_t hpa;

	e->reason = EXIT_INTR;
	for (u32 i = 0; i < AT_ONCE; i++) {
		u64 gpa = random_of(&writer_seed) % LOGGED * PAGE_SIZE;

		if (fake_guest_access(v, GPA(gpa), true, false, &hpa, NULL))
			__atomic_fetch_add((u64 *)phys_ptr(hpa), 1, __ATOMIC_RELAXED);
	}
}

static void *toucher(void *unused)
{
	struct vm_exit e;

	fake_cpu_set(1);
	virt->load(&vcpu, this_cpu());
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		virt->run(&vcpu, &e);
		sched_yield();
		__atomic_fetch_add(&passes[0], 1, __ATOMIC_SEQ_CST);
	}
	virt->put(&vcpu);
	return NULL;
}

/* The large page is split, and merged again. */
static void replace(u64 page)
{
	gpa_t gpa = GPA(page * PAGE_SIZE);

	assert_int_equal(guest_mem_unmap(&mem, gpa, PAGE_SIZE), 0);
	wait_for_writer();
	guest_mem_unmap_finish(&mem, gpa, PAGE_SIZE);
	assert_int_equal(frame_mappings(HPA(FAKE_GUEST + page * PAGE_SIZE)), 0);
	assert_int_equal(
		guest_mem_map(&mem, gpa, HPA(FAKE_GUEST + page * PAGE_SIZE), PAGE_SIZE, true), 0);
}

/* The pages that the guest used since the look before; *idle of them seemed not to be. */
static u64 look_for_used(u64 *idle)
{
	u64 used = 0;

	for (u64 i = 0; i < LOGGED; i++) {
		if (word_of(i) == copied[i])
			continue;
		used++;
		*idle += !guest_mem_accessed(&mem, GPA(i * PAGE_SIZE), PAGE_SIZE, false, false);
	}
	return used;
}

static void test_accessed_flags_beside_a_guest(void **state)
{
	u64 used = 0, idle = 0, unused = 0;
	pthread_t thread;

	random_begin();
	writer_seed = random_below(1u << 30);
	fake_machine_init(2);
	fake_run = touching_guest;
	fake_pool(&pool, 512);
	vm = (struct virt_vm){.kind = VIRT_CHILD, .features = virt_features};
	assert_int_equal(guest_mem_init(&mem, &vm, &pool, false), 0);
	assert_int_equal(virt->vm_init(&vm, &pool), 0);
	assert_int_equal(virt->vcpu_init(&vcpu, &vm, &pool), 0);
	virt->release(&vcpu);
	place(0, 0, LOGGED * PAGE_SIZE);
	assert_int_equal(guest_mem_map(&mem, GPA(0), HPA(FAKE_GUEST), LOGGED * PAGE_SIZE, true), 0);
	stop = false;
	assert_int_equal(pthread_create(&thread, NULL, toucher, NULL), 0);
	for (u64 i = 0; i < LOOKED; i++) {
		u64 page = random_below(LOGGED);

		replace(page);
		/* Small pages again, whose flags are their own. */
		assert_int_equal(guest_mem_unmap(&mem, GPA(page * PAGE_SIZE), PAGE_SIZE), 0);
		wait_for_writer();
		guest_mem_unmap_finish(&mem, GPA(page * PAGE_SIZE), PAGE_SIZE);
		guest_mem_accessed(&mem, GPA(0), LOGGED * PAGE_SIZE, true, true);
		wait_for_writer(); /* from the next run on its TLB is empty */
		for (u64 k = 0; k < LOGGED; k++)
			copied[k] = word_of(k);
		wait_for_writer();
		used += look_for_used(&idle);
		for (u64 k = 0; k < LOGGED; k++)
			unused += !guest_mem_accessed(&mem, GPA(k * PAGE_SIZE), PAGE_SIZE, false,
						      false);
		assert_int_equal(guest_mem_map(&mem, GPA(page * PAGE_SIZE),
					       HPA(FAKE_GUEST + page * PAGE_SIZE), PAGE_SIZE, true),
				 0);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	assert_int_equal(idle, 0);
	assert_true(used > LOOKED);
	assert_true(unused > LOOKED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slots_beside_changes),
		cmocka_unit_test(test_lookups_beside_changes),
		cmocka_unit_test(test_log_beside_writes),
		cmocka_unit_test(test_processors_log_beside_writes),
		cmocka_unit_test(test_accessed_flags_beside_a_guest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
