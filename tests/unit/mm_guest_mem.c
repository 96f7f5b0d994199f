/* SPDX-License-Identifier: MIT */
/* mm/guest_mem.c and mm/dirty.c: a child's mappings, root's access to guests, the dirty log. */
#include <string.h>

#include "lib/bitmap.h"
#include "mm/guest_mem.h"
#include "tests/unit/fake/fake.h"
#include "tests/unit/fake/random.h"

#define MIB  (1ull << 20)
#define HVA  0x7f0000000000ull
#define RAM  FAKE_GUEST	      /* where the slots' frames are */
#define SLOT (16 * MIB)	      /* slot 1: 8 MiB here */
#define ROM  (SLOT + 8 * MIB) /* slot 2: 2 MiB, read-only, right behind */

static struct pool pool;
static struct virt_vm vm;
static struct guest_mem mem;
static struct virt_vcpu vcpu;

static void set(u32 id, u32 flags, u64 gpa, u64 size)
{
	assert_int_equal(memslot_set(&mem, id, flags, GPA(gpa), size, HVA + gpa), 0);
	memslot_set_finish(&mem);
}

static int make(bool pml)
{
	static struct virt_ops ept_ops;

	fake_machine_init(2);
	if (pml) {
		ept_ops = fake_virt_ops;
		ept_ops.ept = true;
		virt = &ept_ops;
		virt_features |= VIRT_PML;
	}
	fake_pool(&pool, 512);
	vm = (struct virt_vm){.kind = VIRT_CHILD, .features = virt_features};
	assert_int_equal(guest_mem_init(&mem, &vm, &pool, false), 0);
	set(1, 0, SLOT, 8 * MIB);
	set(2, MEMSLOT_READONLY, ROM, 2 * MIB);
	assert_int_equal(virt->vm_init(&vm, &pool), 0);
	assert_int_equal(virt->vcpu_init(&vcpu, &vm, &pool), 0);
	virt->load(&vcpu, this_cpu());
	return 0;
}

static int setup(void **state)
{
	return make(false);
}

/* The processor logs writes. */
static int setup_pml(void **state)
{
	return make(true);
}

static int map(u64 gpa, u64 hpa, u64 size, bool writable)
{
	return guest_mem_map(&mem, GPA(gpa), HPA(hpa), size, writable);
}

static void unmap(u64 gpa, u64 size)
{
	assert_int_equal(guest_mem_unmap(&mem, GPA(gpa), size), 0);
	guest_mem_unmap_finish(&mem, GPA(gpa), size);
}

static u32 mappings(u64 hpa)
{
	return frame_mappings(HPA(hpa));
}

/* Bytes that root reaches at gpa; 0: none. */
static u64 reach(u64 gpa, u64 length, bool write)
{
	return guest_ptr(&mem, GPA(gpa), &length, write) ? length : 0;
}

static u64 leaf_size(u64 gpa)
{
	hpa_t hpa;
	u64 size;
	u32 flags;

	return stage2_lookup(&mem.s2, GPA(gpa), &hpa, &size, &flags) ? size : 0;
}

/* ---- mapping ---- */

static void test_map_counts_frames(void **state)
{
	assert_int_equal(map(SLOT, RAM, 2 * MIB, true), 0);
	assert_int_equal(leaf_size(SLOT), SIZE_2M);
	assert_int_equal(mappings(RAM), 1);
	assert_int_equal(mappings(RAM + 2 * MIB - 1), 1);
	assert_int_equal(map(SLOT + 2 * MIB, RAM, PAGE_SIZE, true), 0); /* a second mapping */
	assert_int_equal(mappings(RAM), 2);
	assert_int_equal(frames_leave(HPA(RAM), 1), -EBUSY);
	/* The same again: no reference more, whatever the rights. */
	assert_int_equal(map(SLOT, RAM, 2 * MIB, false), 0);
	assert_int_equal(map(SLOT + PAGE_SIZE, RAM + PAGE_SIZE, 2 * PAGE_SIZE, true), 0);
	assert_int_equal(mappings(RAM), 2);
	assert_int_equal(mappings(RAM + PAGE_SIZE), 1);
}

static void test_map_fills_holes(void **state)
{
	assert_int_equal(map(SLOT + PAGE_SIZE, RAM + PAGE_SIZE, PAGE_SIZE, true), 0);
	assert_int_equal(map(SLOT + 7 * PAGE_SIZE, RAM + 7 * PAGE_SIZE, 2 * PAGE_SIZE, true), 0);
	assert_int_equal(map(SLOT, RAM, 2 * MIB, true), 0);
	assert_int_equal(leaf_size(SLOT), SIZE_2M);
	for (u64 at = 0; at < 2 * MIB; at += PAGE_SIZE)
		assert_int_equal(mappings(RAM + at), 1);
}

static void test_map_errors(void **state)
{
	u64 generation = vm.slat_generation;

	assert_int_equal(map(SLOT - PAGE_SIZE, RAM, PAGE_SIZE, true), -EINVAL);
	assert_int_equal(map(SLOT - PAGE_SIZE, RAM, 2 * PAGE_SIZE, true), -EINVAL);
	assert_int_equal(map(ROM - PAGE_SIZE, RAM, 2 * PAGE_SIZE, true), -EINVAL); /* two slots */
	assert_int_equal(map(SLOT + 1, RAM, PAGE_SIZE, true), -EINVAL);
	assert_int_equal(map(SLOT, RAM + 1, PAGE_SIZE, true), -EINVAL);
	assert_int_equal(map(SLOT, RAM, 0, true), -EINVAL);
	assert_int_equal(map(SLOT, RAM, 1, true), -EINVAL);
	assert_int_equal(map(~0ull << 12, RAM, 2 * PAGE_SIZE, true), -EINVAL);
	assert_int_equal(map(SLOT, BIT(52), PAGE_SIZE, true), -EINVAL);
	assert_int_equal(map(SLOT, 0, PAGE_SIZE, true), -EBUSY);	     /* Keel's */
	assert_int_equal(map(SLOT, FAKE_RAM_SIZE, PAGE_SIZE, true), -EBUSY); /* not RAM */
	assert_int_equal(map(SLOT, RAM - PAGE_SIZE, 2 * PAGE_SIZE, true), -EBUSY);
	assert_int_equal(mappings(RAM), 0);
	assert_int_equal(map(SLOT, RAM, PAGE_SIZE, true), 0);
	assert_int_equal(map(SLOT, RAM + PAGE_SIZE, PAGE_SIZE, true), -EEXIST);
	assert_int_equal(map(SLOT, RAM + PAGE_SIZE, 2 * MIB, true), -EEXIST);
	assert_int_equal(mappings(RAM + PAGE_SIZE), 0);
	assert_int_equal(vm.slat_generation, generation);
	while (pool_free_pages(&pool))
		pool_alloc(&pool, 1);
	assert_int_equal(map(SLOT + 2 * MIB, RAM, PAGE_SIZE, true), -ENOMEM);
	assert_int_equal(mappings(RAM), 1);
}

static void test_rights(void **state)
{
	assert_int_equal(map(SLOT, RAM, PAGE_SIZE, true), 0);
	assert_int_equal(map(SLOT + PAGE_SIZE, RAM + PAGE_SIZE, PAGE_SIZE, false), 0);
	assert_int_equal(map(ROM, RAM + 2 * PAGE_SIZE, PAGE_SIZE, true), 0);
	assert_true(reach(SLOT, 1, true));
	assert_true(reach(SLOT + PAGE_SIZE, 1, false));
	assert_false(reach(SLOT + PAGE_SIZE, 1, true));
	assert_true(reach(ROM, 1, false));
	assert_false(reach(ROM, 1, true));
	/* A later fault brings the right. */
	assert_int_equal(map(SLOT + PAGE_SIZE, RAM + PAGE_SIZE, PAGE_SIZE, true), 0);
	assert_true(reach(SLOT + PAGE_SIZE, 1, true));
}

/* ---- unmapping ---- */

static void test_unmap_in_two_steps(void **state)
{
	assert_int_equal(map(SLOT, RAM, 4 * MIB, true), 0);
	assert_int_equal(guest_mem_unmap(&mem, GPA(SLOT + MIB), 2 * MIB), 0);
	assert_false(reach(SLOT + MIB, 1, false));
	assert_true(reach(SLOT + MIB - 1, 1, false));
	assert_true(reach(SLOT + 3 * MIB, 1, false));
	assert_int_equal(mappings(RAM + MIB), 1);
	assert_int_equal(map(SLOT + 6 * MIB, RAM, PAGE_SIZE, true), -EAGAIN);
	/* A second unmap, of a range that overlaps. */
	assert_int_equal(guest_mem_unmap(&mem, GPA(SLOT + 2 * MIB), 2 * MIB), 0);
	guest_mem_unmap_finish(&mem, GPA(SLOT + MIB), 2 * MIB);
	assert_int_equal(mappings(RAM + MIB), 0);
	assert_int_equal(mappings(RAM + 3 * MIB), 1);
	assert_int_equal(map(SLOT + 6 * MIB, RAM, PAGE_SIZE, true), -EAGAIN);
	guest_mem_unmap_finish(&mem, GPA(SLOT + 2 * MIB), 2 * MIB);
	assert_int_equal(mappings(RAM + 3 * MIB), 0);
	assert_int_equal(mappings(RAM), 1);
	assert_int_equal(map(SLOT + 6 * MIB, RAM, PAGE_SIZE, true), 0);
	expect_assert_failure(guest_mem_unmap_finish(&mem, GPA(SLOT), PAGE_SIZE));
}

static void test_is_mapped(void **state)
{
	assert_int_equal(map(SLOT + MIB, RAM, 2 * PAGE_SIZE, true), 0);
	assert_int_equal(guest_mem_mapped(&mem, GPA(SLOT), MIB), 0);
	assert_int_equal(guest_mem_mapped(&mem, GPA(SLOT), MIB + PAGE_SIZE), 1);
	assert_int_equal(guest_mem_mapped(&mem, GPA(SLOT + MIB + PAGE_SIZE), SIZE_1G), 1);
	assert_int_equal(guest_mem_mapped(&mem, GPA(SLOT + MIB + 2 * PAGE_SIZE), MIB), 0);
	/* What is being unmapped is not mapped. */
	assert_int_equal(guest_mem_unmap(&mem, GPA(SLOT + MIB), PAGE_SIZE), 0);
	assert_int_equal(guest_mem_mapped(&mem, GPA(SLOT), MIB + PAGE_SIZE), 0);
	guest_mem_unmap_finish(&mem, GPA(SLOT + MIB), PAGE_SIZE);
	assert_int_equal(guest_mem_mapped(&mem, GPA(SLOT), 2 * MIB), 1);
	assert_int_equal(guest_mem_mapped(&mem, GPA(1), PAGE_SIZE), -EINVAL);
	assert_int_equal(guest_mem_mapped(&mem, GPA(0), 0), -EINVAL);
	assert_int_equal(guest_mem_mapped(&mem, GPA(BIT(48)), PAGE_SIZE), -EINVAL);
}

static void test_is_accessed(void **state)
{
	assert_int_equal(map(SLOT + MIB, RAM, 2 * PAGE_SIZE, true), 0);
	assert_int_equal(guest_mem_accessed(&mem, GPA(SLOT), MIB, true, true), 0);
	assert_int_equal(guest_mem_accessed(&mem, GPA(SLOT), 2 * MIB, false, false), 1);
	assert_int_equal(guest_mem_accessed(&mem, GPA(SLOT + MIB), PAGE_SIZE, true, true), 1);
	assert_int_equal(guest_mem_accessed(&mem, GPA(SLOT + MIB), PAGE_SIZE, true, true), 0);
	assert_int_equal(guest_mem_accessed(&mem, GPA(SLOT), 2 * MIB, true, true), 1);
	assert_int_equal(guest_mem_accessed(&mem, GPA(SLOT), 2 * MIB, false, false), 0);
	assert_int_equal(mappings(RAM), 1);
	assert_int_equal(guest_mem_accessed(&mem, GPA(1), PAGE_SIZE, true, true), -EINVAL);
	assert_int_equal(guest_mem_accessed(&mem, GPA(0), 0, true, true), -EINVAL);
	assert_int_equal(guest_mem_accessed(&mem, GPA(BIT(48)), PAGE_SIZE, true, true), -EINVAL);
	assert_int_equal(guest_mem_accessed(&mem, GPA(PAGE_SIZE), ~0ull << 12, true, true),
			 -EINVAL);
}

/* A log of writes beside it, also the processor's own: neither takes the other's flag. */
static void test_is_accessed_while_logged(void **state)
{
	u64 words[8 * MIB / PAGE_SIZE / 64];

	assert_int_equal(map(SLOT, RAM, 2 * MIB, true), 0);
	set(1, MEMSLOT_DIRTY, SLOT, 8 * MIB);
	assert_int_equal(reach(SLOT, 8, true), 8);
	assert_int_equal(guest_mem_accessed(&mem, GPA(SLOT), 2 * MIB, true, true), 1);
	assert_int_equal(reach(SLOT + PAGE_SIZE, 8, true), 8);
	assert_int_equal(guest_mem_accessed(&mem, GPA(SLOT), 2 * MIB, true, true), 0);
	assert_int_equal(dirty_log_get(&mem, 1, words, sizeof(words)), 0);
	assert_int_equal(words[0], 3);
	assert_int_equal(guest_mem_accessed(&mem, GPA(SLOT), 2 * MIB, true, true), 0);
	assert_int_equal(dirty_log_get(&mem, 1, words, sizeof(words)), 0);
	assert_int_equal(words[0], 0);
	assert_int_equal(mappings(RAM + PAGE_SIZE), 1);
}

/* While another CPU unmaps, a TLB may have what the tables have not any more. */
static void test_is_used(void **state)
{
	assert_int_equal(map(SLOT + MIB, RAM, 2 * PAGE_SIZE, true), 0);
	assert_int_equal(guest_mem_used(&mem, GPA(SLOT), MIB), 0);
	assert_int_equal(guest_mem_used(&mem, GPA(SLOT), 2 * MIB), 1);
	assert_int_equal(guest_mem_unmap(&mem, GPA(SLOT + MIB), PAGE_SIZE), 0);
	assert_int_equal(guest_mem_used(&mem, GPA(SLOT), MIB + PAGE_SIZE), 1);
	guest_mem_unmap_finish(&mem, GPA(SLOT + MIB), PAGE_SIZE);
	assert_int_equal(guest_mem_used(&mem, GPA(SLOT), MIB + PAGE_SIZE), 0);
	assert_int_equal(guest_mem_used(&mem, GPA(SLOT), 2 * MIB), 1);
	assert_int_equal(guest_mem_used(&mem, GPA(1), PAGE_SIZE), -EINVAL);
}

static void test_unmap_errors(void **state)
{
	assert_int_equal(guest_mem_unmap(&mem, GPA(1), PAGE_SIZE), -EINVAL);
	assert_int_equal(guest_mem_unmap(&mem, GPA(0), 0), -EINVAL);
	assert_int_equal(guest_mem_unmap(&mem, GPA(BIT(48)), PAGE_SIZE), -EINVAL);
	assert_int_equal(guest_mem_unmap(&mem, GPA(PAGE_SIZE), ~0ull << 12), -EINVAL);
	assert_int_equal(map(SLOT, RAM, PAGE_SIZE, true), 0); /* none of them waits for a finish */
	unmap(0, BIT(48));
	assert_int_equal(mappings(RAM), 0);
}

static void test_pool_comes_back(void **state)
{
	u64 before = pool_free_pages(&pool);

	for (u32 i = 0; i < 1000; i++) {
		assert_int_equal(map(SLOT, RAM + 2 * MIB, 2 * MIB, true), 0);
		unmap(SLOT, PAGE_SIZE); /* splits */
		unmap(SLOT, 2 * MIB);
		unmap(SLOT, 2 * MIB);
		assert_in_range(pool_free_pages(&pool), before - 4, before);
	}
}

static void test_release(void **state)
{
	u32 calls = 1;

	assert_int_equal(map(SLOT, RAM, 4 * MIB, true), 0);
	assert_int_equal(map(ROM + PAGE_SIZE, RAM, 8 * PAGE_SIZE, true), 0);
	assert_int_equal(guest_mem_unmap(&mem, GPA(SLOT), MIB), 0); /* its finish never comes */
	while (guest_mem_release(&mem, 100) == -EAGAIN)
		calls++;
	assert_in_range(calls, 6, 7);
	for (u64 at = RAM; at < RAM + 4 * MIB; at += PAGE_SIZE)
		assert_int_equal(mappings(at), 0);
	assert_int_equal(frames_leave(HPA(RAM), 1024), 0);
}

/* ---- root's access ---- */

static void test_read_and_write(void **state)
{
	u8 out[3 * PAGE_SIZE], in[3 * PAGE_SIZE];
	gpa_t fault = GPA(0);

	for (u64 i = 0; i < sizeof(in); i++)
		in[i] = (u8)(i * 7);
	/* three pages, scattered */
	assert_int_equal(map(SLOT, RAM + 4 * PAGE_SIZE, PAGE_SIZE, true), 0);
	assert_int_equal(map(SLOT + PAGE_SIZE, RAM, PAGE_SIZE, true), 0);
	assert_int_equal(map(SLOT + 2 * PAGE_SIZE, RAM + 2 * PAGE_SIZE, PAGE_SIZE, true), 0);
	assert_int_equal(guest_write(&mem, GPA(SLOT), in, sizeof(in), &fault), 0);
	assert_memory_equal(phys_ptr(HPA(RAM + 4 * PAGE_SIZE)), in, PAGE_SIZE);
	assert_memory_equal(phys_ptr(HPA(RAM)), in + PAGE_SIZE, PAGE_SIZE);
	assert_int_equal(guest_read(&mem, GPA(SLOT), out, sizeof(out), NULL), 0);
	assert_memory_equal(in, out, sizeof(in));
	memset(out, 0, sizeof(out));
	assert_int_equal(guest_read(&mem, GPA(SLOT + 4000), out, 200, NULL), 0);
	assert_memory_equal(in + 4000, out, 200);
	assert_int_equal(out[200], 0);
	assert_int_equal(guest_read(&mem, GPA(0), out, 0, &fault), 0);
	assert_int_equal(fault.v, 0);
}

static void test_whole_or_not_at_all(void **state)
{
	u8 data[64], out[64] = {0};
	gpa_t fault = GPA(0);

	memset(data, 0xaa, sizeof(data));
	assert_int_equal(map(SLOT, RAM, PAGE_SIZE, true), 0);
	assert_int_equal(map(SLOT + PAGE_SIZE, RAM + PAGE_SIZE, PAGE_SIZE, false), 0);
	assert_int_equal(guest_write(&mem, GPA(SLOT + PAGE_SIZE - 32), data, 64, &fault), -EFAULT);
	assert_int_equal(fault.v, SLOT + PAGE_SIZE);
	assert_int_equal(*(u8 *)phys_ptr(HPA(RAM + PAGE_SIZE - 32)), 0);
	assert_int_equal(guest_read(&mem, GPA(SLOT + 2 * PAGE_SIZE - 32), out, 64, &fault),
			 -EFAULT);
	assert_int_equal(fault.v, SLOT + 2 * PAGE_SIZE);
	assert_int_equal(guest_read(&mem, GPA(SLOT + 2 * PAGE_SIZE + 8), out, 8, &fault), -EFAULT);
	assert_int_equal(fault.v, SLOT + 2 * PAGE_SIZE + 8);
	assert_int_equal(guest_read(&mem, GPA(~0ull - 7), out, 16, &fault), -EFAULT); /* wraps */
	assert_int_equal(fault.v, ~0ull - 7);
	assert_int_equal(guest_read(&mem, GPA(~0ull - 7), out, 16, NULL), -EFAULT);
	assert_int_equal(guest_write(&mem, GPA(SLOT + PAGE_SIZE), data, 1, NULL), -EFAULT);
}

static void test_ptr_is_cut_at_the_mapping(void **state)
{
	assert_int_equal(map(SLOT, RAM, 2 * MIB + PAGE_SIZE, true), 0);
	assert_int_equal(reach(SLOT + 16, 4 * MIB, false), 2 * MIB - 16);
	assert_int_equal(reach(SLOT + 16, 100, false), 100);
	assert_int_equal(reach(SLOT + 2 * MIB + 8, 4 * MIB, true), PAGE_SIZE - 8);
}

static void test_identity(void **state)
{
	struct guest_mem management;
	struct virt_vm management_vm = {.kind = VIRT_MANAGEMENT};
	u64 length = 100;
	u8 out[32], zero[32] = {0};

	assert_int_equal(guest_mem_init(&management, &management_vm, &pool, true), 0);
	memset(phys_ptr(HPA(RAM)), 0x77, PAGE_SIZE);
	memset(phys_ptr(HPA(RAM - PAGE_SIZE)), 0x99, PAGE_SIZE);
	assert_ptr_equal(guest_ptr(&management, GPA(RAM + 8), &length, true),
			 phys_ptr(HPA(RAM + 8)));
	assert_int_equal(length, 100);
	length = 2 * PAGE_SIZE;
	assert_non_null(guest_ptr(&management, GPA(RAM + 8), &length, false));
	assert_int_equal(length, PAGE_SIZE - 8);
	/* Keel's page reads as zeros, and is not written. */
	assert_int_equal(guest_read(&management, GPA(RAM - 16), out, 32, NULL), 0);
	assert_memory_equal(out, zero, 16);
	assert_int_equal(out[16], 0x77);
	assert_int_equal(guest_write(&management, GPA(RAM - 16), zero, 32, NULL), -EFAULT);
	assert_int_equal(*(u8 *)phys_ptr(HPA(RAM)), 0x77);
	assert_int_equal(frames_leave(HPA(RAM), 1), 0);
	assert_int_equal(guest_write(&management, GPA(RAM), zero, 4, NULL), -EFAULT);
	assert_int_equal(guest_read(&management, GPA(RAM), out, 4, NULL), 0);
	assert_memory_equal(out, zero, 4);
	assert_int_equal(guest_read(&management, GPA(FAKE_RAM_SIZE), out, 4, NULL), -EFAULT);
	assert_int_equal(guest_write(&management, GPA(FAKE_RAM_SIZE), out, 4, NULL), -EFAULT);
	assert_int_equal(guest_read(&management, GPA(BIT(63)), out, 4, NULL), -EFAULT);
	assert_int_equal(guest_mem_map(&management, GPA(RAM), HPA(RAM), PAGE_SIZE, true), -EINVAL);
	assert_int_equal(guest_mem_unmap(&management, GPA(RAM), PAGE_SIZE), -EINVAL);
	assert_int_equal(guest_mem_release(&management, 1), 0);
	assert_false(dirty_log_fault(&management, GPA(RAM)));
	assert_int_equal(dirty_log_get(&management, 0, out, 8), -ENOENT);
}

/* ---- the dirty log ---- */

static u64 log_words[32];

static void get_log(void)
{
	memset(log_words, 0xff, sizeof(log_words));
	assert_int_equal(dirty_log_get(&mem, 1, log_words, 256), 0);
}

static u64 log_count(void)
{
	u64 count = 0;

	for (u32 i = 0; i < 32; i++)
		count += (u64)__builtin_popcountll(log_words[i]);
	return count;
}

static void test_log_by_root(void **state)
{
	u8 byte = 1;

	assert_int_equal(map(SLOT, RAM, 4 * MIB, true), 0);
	set(1, MEMSLOT_DIRTY, SLOT, 8 * MIB);
	assert_int_equal(leaf_size(SLOT), SIZE_2M); /* still whole */
	get_log();
	assert_int_equal(log_count(), 0);
	assert_true(reach(SLOT + 5 * PAGE_SIZE, 1, false)); /* a read marks nothing */
	assert_int_equal(guest_write(&mem, GPA(SLOT + 5 * PAGE_SIZE), &byte, 1, NULL), 0);
	assert_int_equal(guest_write(&mem, GPA(SLOT + 5 * PAGE_SIZE), &byte, 1, NULL), 0);
	assert_int_equal(guest_write(&mem, GPA(SLOT + 70 * PAGE_SIZE - 1), "ab", 2, NULL), 0);
	assert_int_equal(leaf_size(SLOT), PAGE_SIZE);
	assert_int_equal(leaf_size(SLOT + 2 * MIB), SIZE_2M);
	get_log();
	assert_int_equal(log_count(), 3);
	assert_true(bitmap_test(log_words, 5));
	assert_true(bitmap_test(log_words, 69));
	assert_true(bitmap_test(log_words, 70));
	get_log();
	assert_int_equal(log_count(), 0); /* cleared */
	assert_int_equal(guest_write(&mem, GPA(SLOT + 5 * PAGE_SIZE), &byte, 1, NULL), 0);
	get_log();
	assert_int_equal(log_count(), 1);			       /* and protected again */
	assert_int_equal(reach(SLOT + 2 * MIB, MIB, true), PAGE_SIZE); /* one page at a time */
}

static u64 guest_writes[4];

static void writing_guest(struct virt_vcpu *v, struct vm_exit *e)
{
	hpa_t hpa;

	for (u32 i = 0; i < ARRAY_SIZE(guest_writes); i++) {
		if (!guest_writes[i])
			continue;
		if (!fake_guest_access(v, GPA(guest_writes[i]), true, false, &hpa, e))
			return;
		guest_writes[i] = 0;
	}
	e->reason = EXIT_HLT;
}

/* Runs the guest until all its writes are done, settling the log's faults; returns those. */
static u32 guest_run(void)
{
	struct vm_exit e;
	u32 faults = 0;

	fake_run = writing_guest;
	for (;;) {
		virt->run(&vcpu, &e);
		dirty_log_written(&mem, vcpu.written, vcpu.written_count);
		if (e.reason == EXIT_PML_FULL)
			continue;
		if (e.reason != EXIT_SLAT)
			return faults;
		assert_true(e.slat.write);
		if (!dirty_log_fault(&mem, e.slat.gpa))
			return ~0u;
		faults++;
	}
}

static void test_log_by_the_guest(void **state)
{
	assert_int_equal(map(SLOT, RAM, 2 * MIB, true), 0);
	guest_writes[0] = SLOT + 9 * PAGE_SIZE;
	assert_int_equal(guest_run(), 0); /* now the TLB holds a writable translation */
	set(1, MEMSLOT_DIRTY, SLOT, 8 * MIB);
	guest_writes[0] = SLOT + 9 * PAGE_SIZE;
	guest_writes[1] = SLOT + 9 * PAGE_SIZE + 8;
	guest_writes[2] = SLOT + 10 * PAGE_SIZE;
	assert_int_equal(guest_run(), 2);
	get_log();
	assert_int_equal(log_count(), 2);
	assert_true(bitmap_test(log_words, 9));
	assert_true(bitmap_test(log_words, 10));
	guest_writes[0] = SLOT + 10 * PAGE_SIZE;
	assert_int_equal(guest_run(), 1);
	get_log();
	assert_int_equal(log_count(), 1);
	guest_writes[0] = SLOT + 3 * MIB; /* not mapped: the driver's */
	assert_int_equal(guest_run(), ~0u);
	guest_writes[0] = 0;
}

static void test_log_by_the_processor(void **state)
{
	assert_int_equal(map(SLOT, RAM, 4 * MIB, true), 0);
	guest_writes[0] = SLOT + 9 * PAGE_SIZE;
	assert_int_equal(guest_run(), 0); /* now the TLB holds a dirty translation */
	set(1, MEMSLOT_DIRTY, SLOT, 8 * MIB);
	guest_writes[0] = SLOT + 9 * PAGE_SIZE;
	guest_writes[1] = SLOT + 10 * PAGE_SIZE + 8;
	assert_int_equal(guest_run(), 1); /* the large page is split, by one fault */
	assert_int_equal(leaf_size(SLOT), PAGE_SIZE);
	assert_int_equal(leaf_size(SLOT + 2 * MIB), SIZE_2M);
	assert_int_equal(guest_write(&mem, GPA(SLOT + 11 * PAGE_SIZE), "x", 1, NULL), 0);
	get_log();
	assert_int_equal(log_count(), 3);
	assert_int_equal(log_words[0], 7 << 9);
	get_log();
	assert_int_equal(log_count(), 0);
	/* The same pages again, each by the other writer. */
	guest_writes[0] = SLOT + 9 * PAGE_SIZE;
	guest_writes[1] = SLOT + 11 * PAGE_SIZE;
	assert_int_equal(guest_write(&mem, GPA(SLOT + 10 * PAGE_SIZE), "x", 1, NULL), 0);
	assert_int_equal(guest_run(), 0);
	get_log();
	assert_int_equal(log_words[0], 7 << 9);
	assert_int_equal(log_count(), 3);
	assert_true(reach(SLOT + 9 * PAGE_SIZE, MIB, false) > PAGE_SIZE - 1);
	get_log();
	assert_int_equal(log_count(), 0); /* a read marks nothing */
}

static u64 next_page, end_page;

static void sweeping_guest(struct virt_vcpu *v, struct vm_exit *e)
{
	hpa_t hpa;

	for (; next_page < end_page; next_page++)
		if (!fake_guest_access(v, GPA(SLOT + next_page * PAGE_SIZE), true, false, &hpa, e))
			return;
	e->reason = EXIT_HLT;
}

static void test_the_processors_log_is_full(void **state)
{
	struct vm_exit e;
	u32 full = 0;

	set(1, MEMSLOT_DIRTY, SLOT, 8 * MIB);
	for (u64 page = 0; page < 1300; page++) /* small pages: no faults */
		assert_int_equal(
			map(SLOT + page * PAGE_SIZE, RAM + page * PAGE_SIZE, PAGE_SIZE, true), 0);
	fake_run = sweeping_guest;
	next_page = 0;
	end_page = 1300;
	do {
		virt->run(&vcpu, &e);
		dirty_log_written(&mem, vcpu.written, vcpu.written_count);
		full += e.reason == EXIT_PML_FULL;
		assert_int_not_equal(e.reason, EXIT_SLAT);
	} while (e.reason != EXIT_HLT);
	assert_int_equal(full, 2);
	get_log();
	assert_int_equal(log_count(), 1300);
}

/* A page mapped again is clean, but not the TLB's translation: that must go with the log. */
static void test_a_page_is_mapped_again(void **state)
{
	set(1, MEMSLOT_DIRTY, SLOT, 8 * MIB);
	assert_int_equal(map(SLOT, RAM, PAGE_SIZE, true), 0);
	guest_writes[0] = SLOT;
	assert_int_equal(guest_run(), 0);
	assert_int_equal(map(SLOT, RAM, PAGE_SIZE, true), 0);
	get_log();
	assert_int_equal(log_count(), 1);
	guest_writes[0] = SLOT;
	assert_int_equal(guest_run(), 0);
	get_log();
	assert_int_equal(log_count(), 1);
}

/* The guest still writes at the slot's old place until it has left for the flush. */
static void test_log_of_a_slot_that_moves(void **state)
{
	u64 late = SLOT + 3 * PAGE_SIZE;

	set(1, MEMSLOT_DIRTY, SLOT, 8 * MIB);
	assert_int_equal(memslot_set(&mem, 1, MEMSLOT_DIRTY, GPA(64 * MIB), 8 * MIB, HVA + SLOT),
			 0);
	dirty_log_written(&mem, &late, 1);
	memslot_set_finish(&mem);
	dirty_log_written(&mem, &late, 1); /* nobody's now */
	get_log();
	assert_int_equal(log_count(), 1);
	assert_true(bitmap_test(log_words, 3));
}

/* A leaf that reaches over the border: only the logged slot's pages wait for a write. */
static void test_log_beside_another_slot(void **state)
{
	set(3, 0, 4 * MIB, MIB);
	set(4, 0, 5 * MIB, MIB);
	assert_int_equal(map(4 * MIB, RAM, MIB, true), 0);
	assert_int_equal(map(5 * MIB, RAM + MIB, MIB, true), 0);
	assert_int_equal(leaf_size(4 * MIB), SIZE_2M);
	set(3, MEMSLOT_DIRTY, 4 * MIB, MIB);
	guest_writes[0] = 5 * MIB;
	guest_writes[1] = 4 * MIB + PAGE_SIZE;
	assert_true(guest_run() > 0);
	assert_int_equal(dirty_log_get(&mem, 3, log_words, 32), 0);
	assert_int_equal(log_words[0], 2);
}

static void test_pages_mapped_while_logged(void **state)
{
	set(1, MEMSLOT_DIRTY, SLOT, 8 * MIB);
	assert_int_equal(map(SLOT, RAM, PAGE_SIZE, true), 0);
	assert_int_equal(map(SLOT + PAGE_SIZE, RAM + PAGE_SIZE, PAGE_SIZE, false), 0);
	guest_writes[0] = SLOT;
	assert_int_equal(guest_run(), virt_features & VIRT_PML ? 0 : 1);
	guest_writes[0] = SLOT + PAGE_SIZE; /* the driver gave no right to write */
	assert_int_equal(guest_run(), ~0u);
	guest_writes[0] = 0;
	get_log();
	assert_int_equal(log_count(), 1);
	assert_true(bitmap_test(log_words, 0));
}

static int clear(u64 first, u64 count, u64 bits)
{
	u64 words[32];

	memset(words, 0, sizeof(words));
	words[0] = bits;
	for (u32 i = 1; bits == ~0ull && i < 32; i++)
		words[i] = bits;
	return dirty_log_clear(&mem, 1, first, count, words);
}

/* What is read stays, until it is cleared page by page. */
static void test_manual_log(void **state)
{
	assert_int_equal(map(SLOT, RAM, 4 * MIB, true), 0);
	mem.dirty_log = DIRTY_LOG_MANUAL;
	set(1, MEMSLOT_DIRTY, SLOT, 8 * MIB);
	guest_writes[0] = SLOT + 9 * PAGE_SIZE;
	guest_writes[1] = SLOT + 10 * PAGE_SIZE;
	guest_writes[2] = SLOT + 70 * PAGE_SIZE;
	assert_in_range(guest_run(), 1, 3);
	for (u32 i = 0; i < 2; i++) {
		get_log();
		assert_int_equal(log_count(), 3);
	}
	assert_int_equal(clear(0, 64, BIT(9) | BIT(11)), 0);
	get_log();
	assert_int_equal(log_words[0], BIT(10));
	assert_int_equal(log_words[1], BIT(6));
	guest_writes[0] = SLOT + 10 * PAGE_SIZE; /* still marked, still writable */
	assert_int_equal(guest_run(), 0);
	guest_writes[0] = SLOT + 9 * PAGE_SIZE;
	assert_int_equal(guest_run(), virt_features & VIRT_PML ? 0 : 1);
	get_log();
	assert_int_equal(log_words[0], BIT(9) | BIT(10));
	assert_int_equal(clear(64, 2048 - 64, ~0ull), 0);
	get_log();
	assert_int_equal(log_count(), 2);
	assert_int_equal(clear(0, 2048, ~0ull), 0);
	get_log();
	assert_int_equal(log_count(), 0);
	assert_int_equal(guest_write(&mem, GPA(SLOT + 10 * PAGE_SIZE), "x", 1, NULL), 0);
	get_log();
	assert_int_equal(log_words[0], BIT(10));
}

/* All pages begin marked, and a large one keeps its permission until a page of it is cleared. */
static void test_log_initially_set(void **state)
{
	assert_int_equal(map(SLOT, RAM, 4 * MIB, true), 0);
	mem.dirty_log = DIRTY_LOG_MANUAL | DIRTY_LOG_SET;
	set(1, MEMSLOT_DIRTY, SLOT, 8 * MIB);
	get_log();
	assert_int_equal(log_count(), 2048);
	guest_writes[0] = SLOT + 5 * PAGE_SIZE;
	assert_int_equal(guest_run(), 0);
	assert_int_equal(clear(0, 64, BIT(5)), 0);
	guest_writes[0] = SLOT + 5 * PAGE_SIZE;
	guest_writes[1] = SLOT + 2 * MIB;
	assert_int_equal(guest_run(), 1);
	assert_int_equal(leaf_size(SLOT), PAGE_SIZE);
	assert_int_equal(leaf_size(SLOT + 2 * MIB), SIZE_2M);
	get_log();
	assert_int_equal(log_count(), 2048);
	assert_int_equal(clear(0, 2048, ~0ull), 0);
	get_log();
	assert_int_equal(log_count(), 0);
	guest_writes[0] = SLOT + 6 * PAGE_SIZE;
	guest_writes[1] = SLOT + 2 * MIB + PAGE_SIZE;
	assert_int_not_equal(guest_run(), ~0u);
	get_log();
	assert_int_equal(log_words[0], BIT(6));
	assert_int_equal(log_words[8], BIT(1));
	assert_int_equal(log_count(), 2);
	/* Of a slot that ends within a word there are no more bits than pages. */
	set(3, MEMSLOT_DIRTY, 4 * MIB, 70 * PAGE_SIZE);
	assert_int_equal(dirty_log_get(&mem, 3, log_words, 16), 0);
	assert_int_equal(log_words[0], ~0ull);
	assert_int_equal(log_words[1], 0x3f);
}

static void test_clear_errors(void **state)
{
	assert_int_equal(clear(0, 64, 1), -ENOENT); /* not logged */
	set(1, MEMSLOT_DIRTY, SLOT, 8 * MIB);
	set(3, MEMSLOT_DIRTY, 4 * MIB, 70 * PAGE_SIZE);
	assert_int_equal(dirty_log_clear(&mem, 9, 0, 64, NULL), -ENOENT);
	assert_int_equal(clear(1, 64, 1), -EINVAL);
	assert_int_equal(clear(0, 63, 1), -EINVAL);
	assert_int_equal(clear(0, 2049, 1), -EINVAL);
	assert_int_equal(clear(2048 - 64, 128, 1), -EINVAL);
	assert_int_equal(clear(2048 + 64, 0, 1), -EINVAL);
	assert_int_equal(clear(~0ull << 6, 128, 1), -EINVAL);
	assert_int_equal(clear(2048, 0, 1), 0);
	assert_int_equal(clear(0, 0, 1), 0);
	assert_int_equal(dirty_log_clear(&mem, 3, 0, 70, NULL), 0);
	assert_int_equal(dirty_log_clear(&mem, 3, 64, 6, NULL), 0);
	assert_int_equal(dirty_log_clear(&mem, 3, 64, 5, NULL), -EINVAL);
	/* A look alone clears nothing. */
	assert_int_equal(guest_write(&mem, GPA(SLOT), "x", 1, NULL), -EFAULT);
	assert_int_equal(map(SLOT, RAM, PAGE_SIZE, true), 0);
	assert_int_equal(guest_write(&mem, GPA(SLOT), "x", 1, NULL), 0);
	assert_int_equal(dirty_log_clear(&mem, 1, 0, 64, NULL), 0);
	get_log();
	assert_int_equal(log_count(), 1);
}

static void test_log_switched_off(void **state)
{
	assert_int_equal(map(SLOT, RAM, 2 * MIB, true), 0);
	set(1, MEMSLOT_DIRTY, SLOT, 8 * MIB);
	set(1, 0, SLOT, 8 * MIB);
	assert_null(memslot_by_id(&mem, 1)->dirty);
	assert_int_equal(dirty_log_get(&mem, 1, log_words, 256), -ENOENT);
	guest_writes[0] = SLOT + 100;
	guest_writes[1] = SLOT + MIB;
	assert_int_equal(guest_run(), 1); /* the large page as a whole */
	assert_int_equal(leaf_size(SLOT), SIZE_2M);
}

static void test_log_of_read_only_memory(void **state)
{
	set(2, MEMSLOT_READONLY | MEMSLOT_DIRTY, ROM, 2 * MIB);
	assert_int_equal(map(ROM, RAM, 2 * MIB, true), 0);
	guest_writes[0] = ROM;
	assert_int_equal(guest_run(), ~0u);
	guest_writes[0] = 0;
	assert_false(dirty_log_fault(&mem, GPA(4 * MIB))); /* no slot */
}

static void test_log_errors(void **state)
{
	assert_int_equal(dirty_log_get(&mem, 1, log_words, 256), -ENOENT); /* not logged */
	assert_int_equal(dirty_log_get(&mem, 9, log_words, 256), -ENOENT);
	assert_int_equal(dirty_log_get(&mem, MEMSLOT_MAX, log_words, 256), -ENOENT);
	set(1, MEMSLOT_DIRTY, SLOT, 8 * MIB);
	assert_int_equal(dirty_log_get(&mem, 1, log_words, 248), -EINVAL);
	assert_int_equal(dirty_log_get(&mem, 1, log_words, 256), 0);
	assert_int_equal(dirty_log_bytes(1), 8);
	assert_int_equal(dirty_log_bytes(64), 8);
	assert_int_equal(dirty_log_bytes(65), 16);
}

static void test_log_without_memory(void **state)
{
	assert_int_equal(map(SLOT, RAM, 2 * MIB, true), 0);
	set(1, MEMSLOT_DIRTY, SLOT, 8 * MIB);
	while (pool_free_pages(&pool))
		pool_alloc(&pool, 1);
	assert_false(dirty_log_fault(&mem, GPA(SLOT))); /* the split needs a table */
	assert_false(reach(SLOT, 1, true));
	get_log();
	assert_int_equal(log_count(), 0);
	assert_int_equal(map(SLOT, RAM, PAGE_SIZE, true), -ENOMEM); /* what the driver then hears */
	assert_int_equal(mappings(RAM), 1);
}

/* A slot whose last word is not full: protecting again stays inside. */
static void test_log_of_an_odd_slot(void **state)
{
	u64 words[2], size;
	hpa_t hpa;
	u32 flags;

	set(3, 0, 4 * MIB, 70 * PAGE_SIZE);
	set(4, 0, 4 * MIB + 70 * PAGE_SIZE, 70 * PAGE_SIZE);
	set(3, MEMSLOT_DIRTY, 4 * MIB, 70 * PAGE_SIZE);
	assert_int_equal(map(4 * MIB, RAM, 70 * PAGE_SIZE, true), 0);
	assert_int_equal(map(4 * MIB + 70 * PAGE_SIZE, RAM + MIB, PAGE_SIZE, true), 0);
	assert_int_equal(guest_write(&mem, GPA(4 * MIB + 69 * PAGE_SIZE), "x", 1, NULL), 0);
	assert_int_equal(dirty_log_get(&mem, 3, words, 16), 0);
	assert_int_equal(words[0], 0);
	assert_int_equal(words[1], BIT(5));
	assert_true(stage2_lookup(&mem.s2, GPA(4 * MIB + 70 * PAGE_SIZE), &hpa, &size, &flags));
	assert_true(flags & S2_WRITE); /* the neighbour's first page */
}

/* ---- against the TLB model ---- */

static u32 phase;

static void stale_guest(struct virt_vcpu *v, struct vm_exit *e)
{
	hpa_t hpa;

	if (phase) {
		assert_false(fake_guest_access(v, GPA(SLOT), false, false, &hpa, e));
		return;
	}
	assert_true(fake_guest_access(v, GPA(SLOT), true, false, &hpa, NULL));
	assert_int_equal(guest_mem_unmap(&mem, GPA(SLOT), PAGE_SIZE), 0);
	/* Without waiting for this guest to leave: what the contract forbids. */
	expect_assert_failure(guest_mem_unmap_finish(&mem, GPA(SLOT), PAGE_SIZE));
	mem.lock = (struct spinlock){0};
	mem.s2.lock = (struct spinlock){0};
}

static void test_frames_stay_until_the_flush(void **state)
{
	struct vm_exit e;

	phase = 0;
	assert_int_equal(map(SLOT, RAM, PAGE_SIZE, true), 0);
	fake_run = stale_guest;
	virt->run(&vcpu, &e);
	phase = 1;
	virt->run(&vcpu, &e);
	assert_int_equal(e.reason, EXIT_SLAT);
	mem.unmapping = 1;
	guest_mem_unmap_finish(&mem, GPA(SLOT), PAGE_SIZE);
	assert_int_equal(mappings(RAM), 0);
}

/* ---- the model: what is mapped, counted and dirty ---- */

#define PAGES  2048 /* of slot 1 */
#define FRAMES 2048

static u32 model_frame[PAGES]; /* + 1; 0: not mapped */
static bool model_dirty[PAGES], model_logged;

static void model_map(u64 first, u64 count, u64 frame)
{
	int error = map(SLOT + first * PAGE_SIZE, RAM + frame * PAGE_SIZE, count * PAGE_SIZE, true);

	for (u64 i = 0; i < count; i++) {
		if (model_frame[first + i] && model_frame[first + i] != frame + i + 1) {
			assert_int_equal(error, -EEXIST);
			return;
		}
	}
	assert_int_equal(error, 0);
	for (u64 i = 0; i < count; i++)
		model_frame[first + i] = (u32)(frame + i + 1);
}

static void model_write(u64 page)
{
	u8 byte = (u8)page;
	int error;

	if (random_below(2)) {
		guest_writes[0] = SLOT + page * PAGE_SIZE;
		error = guest_run() == ~0u ? -EFAULT : 0;
		guest_writes[0] = 0;
	} else {
		error = guest_write(&mem, GPA(SLOT + page * PAGE_SIZE), &byte, 1, NULL);
	}

	assert_int_equal(error, model_frame[page] ? 0 : -EFAULT);
	if (!error)
		model_dirty[page] |= model_logged;
}

static void model_step(void)
{
	u64 first = random_below(PAGES), count = 1 + random_below(8);

	if (!random_below(4)) {
		first = ALIGN_DOWN(first, 512);
		count = 512;
	}
	count = MIN(count, PAGES - first);
	switch (random_below(10)) {
	case 0:
		fake_tlb_flush_all(); /* test_frames_stay_until_the_flush is about it */
		unmap(SLOT + first * PAGE_SIZE, count * PAGE_SIZE);
		memset(&model_frame[first], 0, count * sizeof(model_frame[0]));
		break;
	case 1:
		if (random_below(20))
			break;
		model_logged = !model_logged;
		set(1, model_logged ? MEMSLOT_DIRTY : 0, SLOT, 8 * MIB);
		memset(model_dirty, 0, sizeof(model_dirty));
		break;
	case 2:
		if (!model_logged || random_below(5))
			break;
		get_log();
		for (u64 i = 0; i < PAGES; i++)
			assert_int_equal(bitmap_test(log_words, i), model_dirty[i]);
		memset(model_dirty, 0, sizeof(model_dirty));
		break;
	case 3:
	case 4:
	case 5:
		model_map(first, count, first);
		break;
	case 6:
		model_map(first, count, random_below(FRAMES - count));
		break;
	default:
		model_write(first);
	}
}

static void test_model(void **state)
{
	static u32 counts[FRAMES];

	random_begin();
	memset(model_frame, 0, sizeof(model_frame));
	memset(model_dirty, 0, sizeof(model_dirty));
	memset(counts, 0, sizeof(counts));
	model_logged = false;
	for (u32 i = 0; i < 30000; i++)
		model_step();
	for (u64 i = 0; i < PAGES; i++) {
		assert_int_equal(reach(SLOT + i * PAGE_SIZE, 1, false), model_frame[i] ? 1 : 0);
		if (model_frame[i])
			counts[model_frame[i] - 1]++;
	}
	for (u64 i = 0; i < FRAMES; i++)
		assert_int_equal(mappings(RAM + i * PAGE_SIZE), counts[i]);
	fake_tlb_flush_all();
	unmap(SLOT, 8 * MIB);
	for (u64 i = 0; i < FRAMES; i++)
		assert_int_equal(mappings(RAM + i * PAGE_SIZE), 0);
}

#define BOTH(test)                                                                                 \
	cmocka_unit_test_setup(test, setup),                                                       \
	{                                                                                          \
#test "_pml", test, setup_pml, NULL, NULL                                          \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_map_counts_frames, setup),
		cmocka_unit_test_setup(test_map_fills_holes, setup),
		cmocka_unit_test_setup(test_map_errors, setup),
		cmocka_unit_test_setup(test_rights, setup),
		cmocka_unit_test_setup(test_unmap_in_two_steps, setup),
		cmocka_unit_test_setup(test_is_mapped, setup),
		cmocka_unit_test_setup(test_is_accessed, setup),
		BOTH(test_is_accessed_while_logged),
		cmocka_unit_test_setup(test_is_used, setup),
		cmocka_unit_test_setup(test_unmap_errors, setup),
		cmocka_unit_test_setup(test_pool_comes_back, setup),
		cmocka_unit_test_setup(test_release, setup),
		cmocka_unit_test_setup(test_read_and_write, setup),
		cmocka_unit_test_setup(test_whole_or_not_at_all, setup),
		cmocka_unit_test_setup(test_ptr_is_cut_at_the_mapping, setup),
		cmocka_unit_test_setup(test_identity, setup),
		BOTH(test_log_by_root),
		cmocka_unit_test_setup(test_log_by_the_processor, setup_pml),
		cmocka_unit_test_setup(test_the_processors_log_is_full, setup_pml),
		cmocka_unit_test_setup(test_a_page_is_mapped_again, setup_pml),
		cmocka_unit_test_setup(test_log_of_a_slot_that_moves, setup_pml),
		cmocka_unit_test_setup(test_log_beside_another_slot, setup),
		cmocka_unit_test_setup(test_log_by_the_guest, setup),
		BOTH(test_pages_mapped_while_logged),
		BOTH(test_manual_log),
		BOTH(test_log_initially_set),
		BOTH(test_clear_errors),
		BOTH(test_log_switched_off),
		BOTH(test_log_of_read_only_memory),
		BOTH(test_log_errors),
		BOTH(test_log_without_memory),
		BOTH(test_log_of_an_odd_slot),
		cmocka_unit_test_setup(test_frames_stay_until_the_flush, setup),
		BOTH(test_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
