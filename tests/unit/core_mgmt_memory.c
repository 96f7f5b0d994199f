// SPDX-License-Identifier: MIT
/* The management guest's memory: identity, Keel's as zeros, first touch, donations and epochs. */
#include "tests/unit/mgmt.h"

#define BLOCK (FAKE_GUEST + SIZE_2M) /* a 2 MiB block of the guest's */

static int setup(void **state)
{
	launch(2);
	return 0;
}

static struct vm_exit fault;
static u64 touch_gpa;
static bool touch_write, touch_exec, touched;
static hpa_t touched_hpa;

static void guest(struct virt_vcpu *v, struct vm_exit *e)
{
	if (touched || hw()->delivered_count) {
		e->reason = EXIT_HYPERCALL;
		e->insn_len = 3;
		v->gpr[GPR_RAX] = MGMT_HYPERCALL;
		return;
	}
	touched = true;
	if (!fake_guest_access(v, GPA(touch_gpa), touch_write, touch_exec, &touched_hpa, e)) {
		fault = *e;
		touched_hpa = HPA_NONE;
		touched = false;
	}
}

/* The guest touches gpa until that works or an exception comes: where it went. */
static u64 touch(u64 gpa, bool write, bool exec)
{
	touch_gpa = gpa;
	touch_write = write;
	touch_exec = exec;
	touched = false;
	hw()->delivered_count = 0;
	fault = (struct vm_exit){0};
	fake_run = guest;
	mgmt_run(here());
	fake_run = NULL;
	return touched_hpa.v;
}

static void identity(void **state)
{
	static const u64 places[] = {FAKE_GUEST, FAKE_RAM_SIZE - 8, 0x80000000, 0xfec00000,
				     0xfffff000};

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		assert_int_equal(touch(places[i], true, false), places[i]);
		assert_int_equal(touch(places[i], false, true), places[i]);
		assert_int_equal(fault.reason, EXIT_NONE);
	}
	assert_int_equal(touch(MGMT_APIC_PAGE + 0x30, false, false), MGMT_APIC_PAGE + 0x30);
}

static void keel_reads_zero(void **state)
{
	assert_int_equal(touch(0, false, false), ZERO_PAGE);
	assert_int_equal(touch(FAKE_KEEL_SIZE - 1, false, false), ZERO_PAGE + 0xfff);
	assert_int_equal(hw()->delivered_count, 0);
}

static void keel_write(void **state)
{
	assert_int_equal(touch(0x5000, true, false), HPA_NONE.v);
	assert_int_equal(delivered(VECTOR_GP)->error, 0);
	assert_int_equal(mgmt_writes_refused(), 1);
	assert_int_equal(touch(0x5000, false, true), HPA_NONE.v); /* NX */
	assert_int_equal(mgmt_writes_refused(), 2);
}

static void keel_write_log_is_limited(void **state)
{
	u64 before = fake_log_count;

	for (u32 i = 0; i < 200; i++)
		touch(0x5000, true, false);
	assert_int_equal(mgmt_writes_refused(), 200);
	assert_true(fake_log_count - before < 20);
}

static void first_touch(void **state)
{
	u64 far = 0x7000001000; /* 448 GiB */

	assert_int_equal(touch(far, true, false), far);
	assert_int_equal(fault.reason, EXIT_SLAT);
	touch(far + 0x10000, true, false);
	assert_int_equal(fault.reason, EXIT_NONE); /* the same large page */
	assert_int_equal(touch(BIT(40) + 0x1000, false, false), HPA_NONE.v);
	delivered(VECTOR_GP); /* wider than the processor's addresses */
}

/* Tables of the whole address space fit in the pool that was asked for. */
static void pool_suffices(void **state)
{
	struct pool *pool = &mgmt_vm()->pool;
	u64 used = pool->total - pool_free_pages(pool);

	assert_true(used <= mgmt_pool_pages(FAKE_RAM_SIZE, 2));
	for (u64 gpa = BIT(36); gpa < BIT(40); gpa += SIZE_1G)
		assert_int_equal(touch(gpa, false, false), gpa);
	used = pool->total - pool_free_pages(pool);
	assert_true(used <= mgmt_pool_pages(FAKE_RAM_SIZE, 2));
	while (pool_free_pages(pool))
		pool_alloc(pool, 1);
	assert_int_equal(mgmt_leave(HPA(BLOCK), 1, &(u64){0}), -ENOMEM);
	assert_int_equal(frame_owner(HPA(BLOCK)), FRAME_MANAGEMENT);
}

/* Tables of ranges that are whole again go back to the pool once every CPU has flushed. */
static void tables_come_back(void **state)
{
	struct pool *pool = &mgmt_vm()->pool;
	u64 epoch, free = pool_free_pages(pool);

	for (u32 i = 0; i < 50; i++) {
		assert_int_equal(mgmt_leave(HPA(BLOCK), 1, &epoch), 0);
		mgmt_return(HPA(BLOCK), 1);
		for (u32 cpu = 0; cpu < 2; cpu++) {
			fake_cpu_set(cpu);
			touch(FAKE_GUEST, false, false);
		}
	}
	assert_true(free - pool_free_pages(pool) <= 4);
}

static void leave_and_return(void **state)
{
	u64 epoch = 0, word = 0x1122334455667788, now = mgmt_epoch();

	*(u64 *)phys_ptr(HPA(BLOCK)) = word;
	assert_int_equal(mgmt_leave(HPA(BLOCK + 1), 1, &epoch), -EINVAL);
	assert_int_equal(mgmt_leave(HPA(BLOCK), 0, &epoch), -EINVAL);
	assert_int_equal(mgmt_leave(HPA(0x5000), 1, &epoch), -EBUSY); /* Keel's */
	assert_int_equal(mgmt_epoch(), now);
	assert_int_equal(mgmt_leave(HPA(BLOCK), 3, &epoch), 0);
	assert_int_equal(epoch, now + 1);
	assert_int_equal(frame_owner(HPA(BLOCK + 0x2000)), FRAME_LEAVING);
	assert_int_equal(touch(BLOCK, false, false), ZERO_PAGE);
	assert_int_equal(touch(BLOCK, true, false), HPA_NONE.v);
	delivered(VECTOR_GP);
	assert_int_equal(touch(BLOCK + 0x3000, true, false), BLOCK + 0x3000);
	assert_int_equal(mgmt_leave(HPA(BLOCK), 1, &epoch), -EBUSY); /* twice */
	assert_int_equal(frames_take(HPA(BLOCK), 3), 0);
	mgmt_return(HPA(BLOCK), 3);
	assert_int_equal(touch(BLOCK, true, false), BLOCK);
	assert_int_equal(frame_owner(HPA(BLOCK)), FRAME_MANAGEMENT);
}

static u64 leaf_size(u64 gpa)
{
	u64 size;
	u32 flags;
	hpa_t hpa;

	assert_true(stage2_lookup(&mgmt_vm()->mem.s2, GPA(gpa), &hpa, &size, &flags));
	return size;
}

static void merges(void **state)
{
	u64 epoch;

	assert_int_equal(mgmt_leave(HPA(BLOCK), 512, &epoch), 0);
	mgmt_return(HPA(BLOCK), 256);
	assert_int_equal(leaf_size(BLOCK), PAGE_SIZE);
	mgmt_return(HPA(BLOCK + 256 * PAGE_SIZE), 256);
	assert_int_equal(leaf_size(BLOCK), SIZE_2M);
}

static void epochs(void **state)
{
	u64 epoch;

	touch(FAKE_GUEST, false, false);
	assert_int_equal(mgmt_leave(HPA(BLOCK), 1, &epoch), 0);
	assert_false(mgmt_epoch_passed(epoch));
	touch(FAKE_GUEST, false, false);
	assert_false(mgmt_epoch_passed(epoch)); /* CPU 1 has not been here */
	fake_cpu_set(1);
	touch(FAKE_GUEST, false, false);
	assert_true(mgmt_epoch_passed(epoch));
	assert_int_equal(mgmt_leave(HPA(BLOCK + PAGE_SIZE), 1, &epoch), 0);
	cpus[0]->waiting_for_sipi = true; /* in root: it flushes before it enters */
	touch(FAKE_GUEST, false, false);
	assert_true(mgmt_epoch_passed(epoch));
	assert_false(mgmt_epoch_passed(epoch + 1));
	cpus[0]->waiting_for_sipi = false;
	assert_false(mgmt_epoch_passed(epoch));
}

/* No CPU can use a donated page's old translation once the epoch has passed. */
static void nothing_cached(void **state)
{
	u64 epoch;

	assert_int_equal(touch(BLOCK, true, false), BLOCK);
	assert_int_equal(mgmt_leave(HPA(BLOCK), 1, &epoch), 0);
	touch(FAKE_GUEST, false, false);
	fake_tlb_assert_not_cached(HPA(BLOCK), PAGE_SIZE);
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(identity),		TEST(keel_reads_zero),
		TEST(keel_write),	TEST(keel_write_log_is_limited),
		TEST(first_touch),	TEST(pool_suffices),
		TEST(tables_come_back), TEST(leave_and_return),
		TEST(merges),		TEST(epochs),
		TEST(nothing_cached),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
