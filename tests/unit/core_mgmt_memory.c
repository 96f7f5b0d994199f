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

/* Without 1 GiB leaves a table for each GiB, without 2 MiB leaves one for each 2 MiB at launch. */
static void pool_for_small_leaves(void **state)
{
	u64 large = mgmt_pool_pages(FAKE_RAM_SIZE, 2), used = virt_features;

	virt_features = used & ~(u64)VIRT_SLAT_1G;
	assert_int_equal(mgmt_pool_pages(FAKE_RAM_SIZE, 2), large - 2 + 1024);
	virt_features = used & ~(u64)VIRT_SLAT_2M;
	assert_int_equal(mgmt_pool_pages(FAKE_RAM_SIZE, 2), large - 2 + 1024 + 2048);
	assert_int_equal(mgmt_pool_pages(6 * SIZE_1G, 2), large - 2 + 1024 + 3072 + 6);
	virt_features = used;
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

/* A CPU that the guest does not run is brought out by an NMI, and flushes as it goes back. */
static void push(void **state)
{
	u64 epoch;

	touch(FAKE_GUEST, false, false);
	assert_int_equal(mgmt_leave(HPA(BLOCK), 1, &epoch), 0);
	touch(FAKE_GUEST, false, false);
	mgmt_epoch_push(cpus[0], epoch);
	assert_int_equal(nmis[0], 0);
	assert_int_equal(nmis[1], 1);
	mgmt_epoch_push(cpus[0], epoch); /* it is on its way already */
	assert_int_equal(nmis[1], 1);
	fake_cpu_set(1);
	mgmt_nmi(here());
	assert_int_equal(cpus[1]->kick_pending, 0);
	touch(FAKE_GUEST, false, false);
	assert_true(mgmt_epoch_passed(epoch));
	mgmt_epoch_push(cpus[0], epoch);
	assert_int_equal(nmis[1], 0);
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

/* ---- memory types ---- */

#define WB 6

static void set_range(u32 i, u64 base, u64 size, u8 type)
{
	fake_msr_set(MSR_MTRR_PHYSBASE0 + 2 * i, base | type);
	fake_msr_set(MSR_MTRR_PHYSMASK0 + 2 * i, (MASK(39, 12) & ~(size - 1)) | BIT(11));
}

/* Write-back RAM, an uncached gap below 4 GiB, and the usual holes below 1 MiB. */
static void uncached_gap(void)
{
	ops.ept = true;
	fake_leaf[0].edx = BIT(12);
	fake_msr_set(MSR_MTRRCAP, BIT(8) | 8);
	fake_msr_set(MSR_MTRR_DEF_TYPE, 0xc00 | WB);
	fake_msr_set(MSR_MTRR_FIX64K_00000, 0x0606060606060606);
	fake_msr_set(MSR_MTRR_FIX16K_80000, 0x0606060606060606);
	for (u32 i = 0; i < 8; i++)
		fake_msr_set(MSR_MTRR_FIX4K_C0000 + i, 0x0505050505050505);
	set_range(0, 0xc0000000, SIZE_1G, MEMORY_UC);
	set_range(1, 0xd0000000, SIZE_2M * 4, MEMORY_WC);
}

static int setup_ept(void **state)
{
	before_launch = uncached_gap;
	launch(2);
	before_launch = NULL;
	return 0;
}

static u32 type_at(u64 gpa, u64 *size)
{
	hpa_t hpa;
	u32 flags;

	assert_true(stage2_lookup(&mgmt_vm()->mem.s2, GPA(gpa), &hpa, size, &flags));
	return S2_TYPE_OF(flags);
}

static void expect_type(u64 gpa, u32 type, u64 size)
{
	u64 found;

	assert_int_equal(type_at(gpa, &found), type);
	assert_int_equal(found, size);
}

static void types_at_launch(void **state)
{
	expect_type(0x80000000, MEMORY_WB, SIZE_1G);
	expect_type(0xc0000000, MEMORY_UC, SIZE_2M);
	expect_type(0xd0000000, MEMORY_UC, SIZE_2M); /* overlapping: uncached wins */
	expect_type(MGMT_APIC_PAGE, MEMORY_UC, PAGE_SIZE);
	expect_type(FAKE_GUEST, MEMORY_WB, SIZE_2M);
	expect_type(0x5000, MEMORY_WB, PAGE_SIZE); /* Keel's zero page */
}

static void write_msr(u32 index, u64 value)
{
	assert_int_equal(mgmt_wrmsr(here(), index, value), 0);
	assert_int_equal(fake_msr_get(index), value);
}

static u64 generation(void)
{
	return mgmt_vm()->virt.slat_generation;
}

/* In the SDM's order: off, the registers, on again. */
static void types_are_rewritten(void **state)
{
	u64 before = generation(), free_before;

	write_msr(MSR_MTRR_DEF_TYPE, WB);
	write_msr(MSR_MTRR_PHYSBASE0, 0x80000000 | MEMORY_WT);
	write_msr(MSR_MTRR_PHYSBASE0 + 2, 0xc0100000 | MEMORY_WC);
	write_msr(MSR_MTRR_PHYSMASK0 + 2, MASK(39, 20) | BIT(11));
	assert_int_equal(generation(), before);
	expect_type(0x80000000, MEMORY_WB, SIZE_1G);
	write_msr(MSR_MTRR_DEF_TYPE, 0xc00 | WB);
	assert_true(generation() > before); /* every CPU flushes */
	expect_type(0x80000000, MEMORY_WT, SIZE_1G);
	expect_type(0xc0000000, MEMORY_WB, PAGE_SIZE); /* a large page has one type */
	expect_type(0xc0100000, MEMORY_WC, PAGE_SIZE);
	expect_type(0xc0200000, MEMORY_WB, SIZE_2M);
	expect_type(MGMT_APIC_PAGE, MEMORY_UC, PAGE_SIZE);
	assert_int_equal(touch(0x5000, false, false), ZERO_PAGE + 0x0); /* still hidden */
	/* The other CPU writes the same: nothing changes. */
	before = generation();
	fake_cpu_set(1);
	write_msr(MSR_MTRR_DEF_TYPE, WB);
	write_msr(MSR_MTRR_DEF_TYPE, 0xc00 | WB);
	assert_int_equal(generation(), before);
	fake_cpu_set(0);
	/* Uniform again: one large page. */
	free_before = pool_free_pages(&mgmt_vm()->pool);
	write_msr(MSR_MTRR_PHYSMASK0 + 2, 0);
	expect_type(0xc0100000, MEMORY_WB, SIZE_2M);
	assert_true(pool_free_pages(&mgmt_vm()->pool) >= free_before);
}

/* Whatever is written over and over, tables do not run out. */
static void rewriting_needs_no_memory(void **state)
{
	u64 least = ~0ull;

	for (u32 round = 0; round < 200; round++) {
		write_msr(MSR_MTRR_PHYSBASE0, (round % 3 << 31) | MEMORY_WT);
		write_msr(MSR_MTRR_PHYSBASE0 + 2, (0xc0000000 + round * 0x3000) | MEMORY_WC);
		write_msr(MSR_MTRR_PHYSMASK0 + 2, MASK(39, 12) | BIT(11));
		touch(FAKE_GUEST, true, false); /* each CPU enters, and flushes */
		fake_cpu_set(1);
		touch(FAKE_GUEST, true, false);
		fake_cpu_set(0);
		if (round == 20)
			least = pool_free_pages(&mgmt_vm()->pool);
		assert_true(round <= 20 || pool_free_pages(&mgmt_vm()->pool) + 16 > least);
	}
}

static void types_of_a_first_touch(void **state)
{
	u64 far = 0x7000000000;

	set_range(2, far + 0x40000000, SIZE_1G, MEMORY_UC);
	mgmt_memory_types();
	touch(far, false, false);
	touch(far + SIZE_1G, false, false);
	expect_type(far, MEMORY_WB, SIZE_1G);
	expect_type(far + SIZE_1G, MEMORY_UC, SIZE_1G);
	/* And what was touched follows a change. */
	set_range(2, far, SIZE_1G, MEMORY_UC);
	mgmt_memory_types();
	expect_type(far, MEMORY_UC, SIZE_1G);
	expect_type(far + SIZE_1G, MEMORY_WB, SIZE_1G);
}

static void types_come_back_with_a_donation(void **state)
{
	u64 epoch;

	set_range(1, BLOCK + 0x100000, 0x100000, MEMORY_WT);
	mgmt_memory_types();
	assert_int_equal(mgmt_leave(HPA(BLOCK), 512, &epoch), 0);
	expect_type(BLOCK + 0x100000, MEMORY_WB, PAGE_SIZE);
	mgmt_return(HPA(BLOCK), 512);
	expect_type(BLOCK, MEMORY_WB, PAGE_SIZE);
	expect_type(BLOCK + 0x100000, MEMORY_WT, PAGE_SIZE);
}

static void no_mtrrs(void **state)
{
	fake_leaf[0].edx = 0;
	mgmt_memory_types();
	expect_type(0xc0000000, MEMORY_WB, SIZE_2M);
}

/* NPT: the processor looks at the MTRRs itself, and the guest writes them itself. */
static void npt_leaves_types_alone(void **state)
{
	struct virt_vm *vm = &mgmt_vm()->virt;
	u64 before = generation();

	assert_false(fake_msr_intercepted(vm, MSR_MTRR_DEF_TYPE, true));
	assert_false(fake_msr_intercepted(vm, MSR_MTRR_PHYSBASE0, true));
	write_msr(MSR_MTRR_DEF_TYPE, 0xc00);
	assert_int_equal(generation(), before);
}

static void mtrrs_are_intercepted(void **state)
{
	struct virt_vm *vm = &mgmt_vm()->virt;
	static const u32 msrs[] = {0x200, 0x24f, 0x250, 0x258, 0x259, 0x268, 0x26f, 0x2ff};
	static const u32 others[] = {0x277, 0x280, 0x2fe, 0x260};

	for (size_t i = 0; i < ARRAY_SIZE(msrs); i++) {
		assert_true(fake_msr_intercepted(vm, msrs[i], true));
		assert_false(fake_msr_intercepted(vm, msrs[i], false));
	}
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		assert_false(fake_msr_intercepted(vm, others[i], true));
	fake_msr_faults(MSR_MTRR_DEF_TYPE, true); /* a reserved type */
	assert_int_equal(mgmt_wrmsr(here(), MSR_MTRR_DEF_TYPE, 0x802), -EINVAL);
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(identity),
		TEST(keel_reads_zero),
		TEST(keel_write),
		TEST(keel_write_log_is_limited),
		TEST(first_touch),
		TEST(pool_suffices),
		TEST(pool_for_small_leaves),
		TEST(tables_come_back),
		TEST(leave_and_return),
		TEST(merges),
		TEST(epochs),
		TEST(push),
		TEST(nothing_cached),
		cmocka_unit_test_setup(types_at_launch, setup_ept),
		cmocka_unit_test_setup(types_are_rewritten, setup_ept),
		cmocka_unit_test_setup(rewriting_needs_no_memory, setup_ept),
		cmocka_unit_test_setup(types_of_a_first_touch, setup_ept),
		cmocka_unit_test_setup(types_come_back_with_a_donation, setup_ept),
		cmocka_unit_test_setup(no_mtrrs, setup_ept),
		cmocka_unit_test_setup(mtrrs_are_intercepted, setup_ept),
		TEST(npt_leaves_types_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
