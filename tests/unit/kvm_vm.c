/* SPDX-License-Identifier: MIT */
/* Requests on a VM: each result and each errno. */
#include <pthread.h>
#include <time.h>

#include "core/msr.h"
#include "tests/unit/kvm_machine.h"

static u64 vm;

static int start(void **state)
{
	int error = machine_start(2);

	vm = error ? 0 : vm_new();
	return error;
}

static s64 region(u32 slot, u32 flags, u64 gpa, u64 size, u64 hva)
{
	struct kvm_userspace_memory_region r = {
		.slot = slot,
		.flags = flags,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = hva,
	};

	return request(vm, KVM_SET_USER_MEMORY_REGION, &r, sizeof(r));
}

static struct vm *vm_of(u64 handle)
{
	struct vm_slot *slot;
	struct vcpu *none;
	struct vm *v;

	assert_int_equal(handle_enter(cpus[0], handle, &slot, &v, &none), 0);
	handle_leave(cpus[0]);
	return v;
}

static s64 map(u32 number, u64 gpa, u64 hpa, u64 size, u64 flags)
{
	struct keel_map m = {.gpa = gpa, .hpa = hpa, .size = size, .flags = flags};

	return request(vm, number, &m, sizeof(m));
}

static void test_unknown_requests(void **state)
{
	static const u32 unknown[] = {
		0,
		~0u,
		KVM_GET_API_VERSION,
		KVM_CREATE_VCPU,
		KVM_GET_DIRTY_LOG,
		KVM_IOEVENTFD,
		KVM_IRQFD,
		KVM_CREATE_DEVICE,
		KVM_GET_REGS,
		KEEL_RUN,
		KEEL_INFO,
		KVM_SET_PMU_EVENT_FILTER,
		KVM_REGISTER_COALESCED_MMIO,
		KVM_CLEAR_DIRTY_LOG,
		KVM_CREATE_PIT,
		KVM_KVMCLOCK_CTRL,
	};

	for (u32 i = 0; i < ARRAY_SIZE(unknown); i++)
		assert_int_equal(call(vm, unknown[i], 0, 0, 0), -ENOTTY);
}

static void test_memory_regions(void **state)
{
	assert_int_equal(region(0, 0, 0, 0x100000, 0x10000000), 0);
	assert_int_equal(region(0, 0, 0, 0x100000, 0x10000000), 0);
	assert_int_equal(region(1, 0, 0xff000, 0x2000, 0x20000000), -EEXIST);
	assert_int_equal(region(1, 0, 0x100000, 0x1001, 0x20000000), -EINVAL);
	assert_int_equal(region(1, 0, 0x100001, 0x1000, 0x20000000), -EINVAL);
	assert_int_equal(region(1, 0, 0x100000, 0x1000, 0x20000001), -EINVAL);
	assert_int_equal(region(1, 4, 0x100000, 0x1000, 0x20000000), -EINVAL);
	assert_int_equal(region(1, 0, ~0xfffull, 0x2000, 0x20000000), -EINVAL);
	assert_int_equal(region(MEMSLOT_MAX, 0, 0x100000, 0x1000, 0x20000000), -EINVAL);
	assert_int_equal(region(0x10000, 0, 0x100000, 0x1000, 0x20000000), -EINVAL);
	assert_int_equal(region(0, 0, 0, 0x200000, 0x10000000), -EINVAL);
	assert_int_equal(region(0, MEMSLOT_READONLY, 0, 0x100000, 0x10000000), -EINVAL);
	assert_int_equal(region(1, 0, 0, 0, 0), -EINVAL);
	assert_int_equal(region(0, MEMSLOT_DIRTY, 0, 0x100000, 0x10000000), 0);
	assert_int_equal(region(0, MEMSLOT_DIRTY, 0x400000, 0x100000, 0x10000000), 0);
	assert_int_equal(region(0, 0, 0, 0, 0), 0);
	assert_int_equal(region(0, 0, 0, 0, 0), -EINVAL);
	assert_int_equal(call(vm, KVM_SET_USER_MEMORY_REGION, ARGUMENTS, 31, 0), -EINVAL);
	assert_int_equal(call(vm, KVM_SET_USER_MEMORY_REGION, FAKE_RAM_SIZE, 32, 0), -EFAULT);
}

static void test_map_and_unmap(void **state)
{
	assert_int_equal(map(KEEL_MAP, 0, GUEST_RAM, 0x1000, 1), -EINVAL);
	assert_int_equal(region(0, 0, 0, 0x100000, 0x10000000), 0);
	assert_int_equal(map(KEEL_MAP, 0, GUEST_RAM, 0x1000, 2), -EINVAL);
	assert_int_equal(map(KEEL_MAP, 0xff000, GUEST_RAM, 0x2000, 1), -EINVAL);
	assert_int_equal(map(KEEL_MAP, 1, GUEST_RAM, 0x1000, 1), -EINVAL);
	assert_int_equal(map(KEEL_MAP, 0, GUEST_RAM, SIZE_1G + PAGE_SIZE, 1), -E2BIG);
	/* Keel's own memory, a VM's donated memory, no memory: never mapped. */
	assert_int_equal(map(KEEL_MAP, 0, 0x100000, 0x1000, 1), -EBUSY);
	assert_int_equal(map(KEEL_MAP, 0, DONATIONS, 0x1000, 1), -EBUSY);
	assert_int_equal(map(KEEL_MAP, 0, FAKE_RAM_SIZE, 0x1000, 1), -EBUSY);
	assert_int_equal(map(KEEL_MAP, 0, ~0xfffull, 0x1000, 1), -EINVAL);
	assert_int_equal(frame_mappings(HPA(GUEST_RAM)), 0);
	assert_int_equal(map(KEEL_MAP, 0, GUEST_RAM, 0x10000, 1), 0);
	assert_int_equal(frame_mappings(HPA(GUEST_RAM + 0xf000)), 1);
	/* What a child maps cannot become Keel's. */
	assert_int_equal(call(0, KEEL_DONATE, GUEST_RAM, 0, 1), -EBUSY);
	assert_int_equal(map(KEEL_UNMAP, 0, 0, 0x8000, 0), 0);
	assert_int_equal(frame_mappings(HPA(GUEST_RAM)), 0);
	assert_int_equal(frame_mappings(HPA(GUEST_RAM + 0x8000)), 1);
	assert_int_equal(map(KEEL_UNMAP, 0, 0, SIZE_1G, 0), 0);
	assert_int_equal(frame_mappings(HPA(GUEST_RAM + 0x8000)), 0);
	assert_int_equal(map(KEEL_UNMAP, 1, 0, 0x1000, 0), -EINVAL);
	assert_int_equal(map(KEEL_UNMAP, 0, 0, 1, 0), -EINVAL);
	assert_int_equal(map(KEEL_UNMAP, ~0xfffull, 0, 0x2000, 0), -EINVAL);
	assert_int_equal(map(KEEL_UNMAP, 0, 0, SIZE_1G + PAGE_SIZE, 0), -E2BIG);
	/* Deleting a slot unmaps it. */
	assert_int_equal(map(KEEL_MAP, 0, GUEST_RAM, 0x10000, 1), 0);
	assert_int_equal(region(0, 0, 0, 0, 0), 0);
	assert_int_equal(frame_mappings(HPA(GUEST_RAM)), 0);
}

#define CLEAR KEEL_YOUNG_CLEAR
#define FLUSH KEEL_YOUNG_FLUSH

static void test_young(void **state)
{
	assert_int_equal(region(0, 0, 0, SIZE_1G, 0x10000000), 0);
	assert_int_equal(map(KEEL_MAP, 0, GUEST_RAM, 0x10000, 1), 0);
	assert_int_equal(map(KEEL_YOUNG, 0x8000, 0, 0x1000, 0), 1);
	assert_int_equal(result2, 0x9000);
	assert_int_equal(map(KEEL_YOUNG, 0, 0, 0x10000, CLEAR), 1);
	assert_int_equal(result2, 0x10000);
	assert_int_equal(map(KEEL_YOUNG, 0, 0, 0x10000, 0), 0);
	assert_int_equal(map(KEEL_YOUNG, 0, 0, 0x10000, CLEAR | FLUSH), 0);
	/* They are mapped as before. */
	assert_int_equal(frame_mappings(HPA(GUEST_RAM)), 1);
	assert_int_equal(map(KEEL_UNMAP, 0, 0, 0x10000, 0), 0);
	assert_int_equal(frame_mappings(HPA(GUEST_RAM)), 0);
}

static void test_young_in_parts(void **state)
{
	u64 far = 200ull << 20;

	assert_int_equal(region(0, 0, 0, SIZE_1G, 0x10000000), 0);
	assert_int_equal(map(KEEL_YOUNG, 0, 0, SIZE_1G, CLEAR), 0);
	assert_int_equal(result2, SIZE_1G);
	assert_int_equal(map(KEEL_MAP, far, GUEST_RAM, 0x1000, 1), 0);
	assert_int_equal(map(KEEL_YOUNG, 0, 0, SIZE_1G, CLEAR), 0);
	assert_int_equal(result2, 128ull << 20);
	assert_int_equal(map(KEEL_YOUNG, result2, 0, SIZE_1G - result2, CLEAR), 1);
	assert_int_equal(result2, 256ull << 20);
	assert_int_equal(map(KEEL_YOUNG, result2, 0, SIZE_1G - result2, CLEAR), 0);
	assert_int_equal(result2, SIZE_1G);
	assert_int_equal(map(KEEL_YOUNG, far, 0, 0x1000, 0), 0);
}

static void test_young_errors(void **state)
{
	u64 vcpu = vcpu_new(vm, 0);
	struct keel_map m = {.size = 0x1000};

	assert_int_equal(region(0, 0, 0, SIZE_1G, 0x10000000), 0);
	assert_int_equal(map(KEEL_MAP, 0, GUEST_RAM, 0x10000, 1), 0);
	assert_int_equal(map(KEEL_YOUNG, 0, 0, 0x1000, 4), -EINVAL);
	assert_int_equal(map(KEEL_YOUNG, 0, 0, 0x1000, ~0ull), -EINVAL);
	assert_int_equal(map(KEEL_YOUNG, 1, 0, 0x1000, CLEAR), -EINVAL);
	assert_int_equal(map(KEEL_YOUNG, 0, 0, 1, CLEAR), -EINVAL);
	assert_int_equal(map(KEEL_YOUNG, 0, 0, 0, CLEAR), -EINVAL);
	assert_int_equal(map(KEEL_YOUNG, 0, 0, SIZE_1G - 1, CLEAR), -EINVAL);
	assert_int_equal(map(KEEL_YOUNG, ~0xfffull, 0, 0x2000, CLEAR), -EINVAL);
	assert_int_equal(map(KEEL_YOUNG, BIT(48), 0, 0x1000, CLEAR), -EINVAL);
	assert_int_equal(map(KEEL_YOUNG, BIT(48) - 0x1000, 0, 0x2000, CLEAR), -EINVAL);
	assert_int_equal(map(KEEL_YOUNG, 0, 0, SIZE_1G + PAGE_SIZE, CLEAR), -E2BIG);
	assert_int_equal(map(KEEL_YOUNG, 0, 0, ~0xfffull, CLEAR), -E2BIG);
	assert_int_equal(request(0, KEEL_YOUNG, &m, sizeof(m)), -EINVAL);
	assert_int_equal(request(vcpu, KEEL_YOUNG, &m, sizeof(m)), -EINVAL);
	assert_int_equal(request(vm + 0x100, KEEL_YOUNG, &m, sizeof(m)), -EBADF);
	assert_int_equal(request(vm, KEEL_YOUNG, &m, sizeof(m) - 1), -EINVAL);
	assert_int_equal(call(vm, KEEL_YOUNG, FAKE_RAM_SIZE, sizeof(m), 0), -EFAULT);
	/* None of them has cleared anything. */
	for (u64 gpa = 0; gpa < 0x10000; gpa += 0x1000)
		assert_int_equal(map(KEEL_YOUNG, gpa, 0, 0x1000, 0), 1);
}

/* Then a look unmaps. */
static void test_young_without_accessed_flags(void **state)
{
	u64 used = virt_features & VIRT_HIDDEN_FEATURES;

	assert_int_equal(call(vm, KEEL_DO_WITHOUT, VIRT_SLAT_AD, 0, 0), used & ~(u64)VIRT_SLAT_AD);
	assert_int_equal(region(0, 0, 0, SIZE_1G, 0x10000000), 0);
	assert_int_equal(map(KEEL_MAP, 0, GUEST_RAM, 0x10000, 1), 0);
	assert_int_equal(map(KEEL_YOUNG, 0, 0, 0x1000, 0), 1);
	assert_int_equal(map(KEEL_YOUNG, 0, 0, 0x1000, CLEAR | FLUSH), 1);
	assert_int_equal(result2, 0x1000);
	assert_int_equal(frame_mappings(HPA(GUEST_RAM)), 0);
	assert_int_equal(frame_mappings(HPA(GUEST_RAM + 0x1000)), 1);
	assert_int_equal(map(KEEL_YOUNG, 0, 0, 0x1000, CLEAR | FLUSH), 0);
	assert_int_equal(map(KEEL_YOUNG, 0, 0, SIZE_1G, CLEAR), 1);
	assert_int_equal(frame_mappings(HPA(GUEST_RAM + 0x1000)), 0);
	assert_false(vm_of(vm)->virt.slat_accessed);
}

/* Between the two steps of an unmap, which another CPU is at. */
static void test_map_during_an_unmap(void **state)
{
	struct guest_mem *mem = &vm_of(vm)->mem;

	assert_int_equal(region(0, 0, 0, 0x100000, 0x10000000), 0);
	assert_int_equal(map(KEEL_MAP, 0, GUEST_RAM, 0x10000, 1), 0);
	assert_int_equal(guest_mem_unmap(mem, GPA(0), 0x1000), 0);
	assert_int_equal(map(KEEL_MAP, 0, GUEST_RAM + 0x20000, 0x1000, 1), -EAGAIN);
	assert_int_equal(frame_mappings(HPA(GUEST_RAM + 0x20000)), 0);
	vm_flush_wait(vm_of(vm));
	guest_mem_unmap_finish(mem, GPA(0), 0x1000);
	assert_int_equal(map(KEEL_MAP, 0, GUEST_RAM + 0x20000, 0x1000, 1), 0);
}

static void test_dirty_log(void **state)
{
	u64 *bitmap = at(BIG_ARGUMENT);

	assert_int_equal(call(vm, KEEL_GET_DIRTY_LOG, BIG_ARGUMENT, 8, MEMSLOT_MAX), -EINVAL);
	assert_int_equal(call(vm, KEEL_GET_DIRTY_LOG, BIG_ARGUMENT, 8, ~0ull), -EINVAL);
	assert_int_equal(call(vm, KEEL_GET_DIRTY_LOG, BIG_ARGUMENT, 8, 0), -ENOENT);
	assert_int_equal(region(0, 0, 0, 0x50000, 0x10000000), 0);
	assert_int_equal(call(vm, KEEL_GET_DIRTY_LOG, BIG_ARGUMENT, 16, 0), -ENOENT);
	assert_int_equal(region(0, MEMSLOT_DIRTY, 0, 0x50000, 0x10000000), 0);
	assert_int_equal(call(vm, KEEL_GET_DIRTY_LOG, BIG_ARGUMENT, 8, 0), -EINVAL);
	assert_int_equal(call(vm, KEEL_GET_DIRTY_LOG, BIG_ARGUMENT + 4, 16, 0), -EINVAL);
	assert_int_equal(call(vm, KEEL_GET_DIRTY_LOG, 0x1000, 16, 0), -EFAULT);
	assert_int_equal(call(vm, KEEL_GET_DIRTY_LOG, ~0ull - 7, 16, 0), -EFAULT);
	assert_int_equal(call(vm, KEEL_GET_DIRTY_LOG, FAKE_RAM_SIZE - 8, 16, 0), -EFAULT);
	bitmap[0] = bitmap[1] = ~0ull;
	assert_int_equal(call(vm, KEEL_GET_DIRTY_LOG, BIG_ARGUMENT, 16, 0), 0);
	assert_int_equal(bitmap[0] | bitmap[1], 0);
}

static s64 clear_log(u32 slot, u64 bitmap, u64 first, u32 pages)
{
	struct kvm_clear_dirty_log args = {.slot = slot,
					   .num_pages = pages,
					   .first_page = first,
					   .dirty_bitmap = (void *)bitmap};

	return request(vm, KEEL_CLEAR_DIRTY_LOG, &args, sizeof(args));
}

static void test_clear_dirty_log(void **state)
{
	struct kvm_enable_cap cap = {.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2};
	u64 *bitmap = at(BIG_ARGUMENT);

	for (u64 options = 0; options < 6; options++) {
		cap.args[0] = options;
		assert_int_equal(request(vm, KVM_ENABLE_CAP, &cap, sizeof(cap)),
				 options == 2 || options > 3 ? -EINVAL : 0);
	}
	assert_int_equal(clear_log(MEMSLOT_MAX, BIG_ARGUMENT, 0, 64), -EINVAL);
	assert_int_equal(clear_log(0, BIG_ARGUMENT, 0, 64), -ENOENT);
	assert_int_equal(region(0, MEMSLOT_DIRTY, 0, 0x50000, 0x10000000), 0);
	assert_int_equal(call(vm, KEEL_GET_DIRTY_LOG, BIG_ARGUMENT, 16, 0), 0);
	assert_int_equal(bitmap[0], ~0ull);
	assert_int_equal(bitmap[1], 0xffff);
	assert_int_equal(clear_log(0, BIG_ARGUMENT, 1, 64), -EINVAL);
	assert_int_equal(clear_log(0, BIG_ARGUMENT, 0, 63), -EINVAL);
	assert_int_equal(clear_log(0, BIG_ARGUMENT, 0, 81), -EINVAL);
	assert_int_equal(clear_log(0, BIG_ARGUMENT + 4, 0, 80), -EINVAL);
	assert_int_equal(clear_log(0, 0x1000, 0, 80), -EFAULT);
	assert_int_equal(clear_log(0, ~0ull - 7, 0, 80), -EFAULT);
	bitmap[0] = 1;
	assert_int_equal(clear_log(0, BIG_ARGUMENT, 64, 16), 0);
	assert_int_equal(call(vm, KEEL_GET_DIRTY_LOG, BIG_ARGUMENT, 16, 0), 0);
	assert_int_equal(bitmap[0], ~0ull);
	assert_int_equal(bitmap[1], 0xfffe);
}

/* A vCPU on another CPU, whose list of written pages is read when it leaves the guest. */
static void *leave_the_guest(void *data)
{
	static const struct timespec moment = {.tv_nsec = 20000000};
	static const u64 page = 0x3000;
	struct vcpu *vcpu = data;

	nanosleep(&moment, NULL);
	dirty_log_written(&vcpu->vm->mem, &page, 1);
	__atomic_fetch_add(&vcpu->entries, 1, __ATOMIC_SEQ_CST);
	nanosleep(&moment, NULL);
	vcpu_release(vcpu);
	return NULL;
}

static void test_dirty_log_of_a_running_vcpu(void **state)
{
	u64 *bitmap = at(BIG_ARGUMENT);
	struct vcpu *vcpu;
	pthread_t thread;

	vm_of(vm)->virt.features |= VIRT_PML;
	assert_int_equal(region(0, MEMSLOT_DIRTY, 0, 0x50000, 0x10000000), 0);
	vcpu_new(vm, 0);
	vcpu = vm_of(vm)->vcpus[0];
	assert_true(vcpu_take(vcpu));
	vcpu->cpu = cpus[1];
	assert_int_equal(pthread_create(&thread, NULL, leave_the_guest, vcpu), 0);
	assert_int_equal(call(vm, KEEL_GET_DIRTY_LOG, BIG_ARGUMENT, 16, 0), 0);
	assert_int_equal(bitmap[0], BIT(3));
	pthread_join(thread, NULL);
	vcpu->cpu = NULL;
}

static u64 leaf_size(void)
{
	u64 size = 0;
	u32 flags;
	hpa_t hpa;

	stage2_lookup(&vm_of(vm)->mem.s2, GPA(0), &hpa, &size, &flags);
	return size;
}

/* A VM without optional features of the processor, beside others that have them. */
static void test_do_without(void **state)
{
	u64 used = virt_features & VIRT_HIDDEN_FEATURES;
	static struct virt_ops ops;

	vm_of(vm)->virt.features |= VIRT_RDTSCP;
	assert_int_equal(call(vm, KEEL_DO_WITHOUT, 0, 0, 0), used);
	assert_int_equal(call(vm, KEEL_DO_WITHOUT, VIRT_RDTSCP, 0, 0), -EINVAL);
	ops = fake_virt_ops;
	ops.withholds = VIRT_RDTSCP;
	virt = &ops;
	assert_int_equal(call(vm, KEEL_DO_WITHOUT, 0, 0, 0), used | VIRT_RDTSCP);
	assert_int_equal(call(vm, KEEL_DO_WITHOUT, VIRT_RDTSCP, 0, 0), used);
	assert_int_equal(call(vm, KEEL_DO_WITHOUT, BIT(40), 0, 0), -EINVAL);
	assert_int_equal(call(vm, KEEL_DO_WITHOUT, VIRT_SLAT_2M, 0, 0), used & ~(u64)VIRT_SLAT_2M);
	assert_int_equal(call(vm, KEEL_DO_WITHOUT, 0, 0, 0), used & ~(u64)VIRT_SLAT_2M);
	assert_int_equal(region(0, MEMSLOT_DIRTY, 0, SIZE_2M, 0x10000000), 0);
	assert_int_equal(call(vm, KEEL_DO_WITHOUT, 0, 0, 0), -EBUSY);
	assert_int_equal(region(0, 0, 0, SIZE_2M, 0x10000000), 0);
	assert_int_equal(map(KEEL_MAP, 0, GUEST_RAM, SIZE_2M, KEEL_MAP_WRITE), 0);
	assert_int_equal(leaf_size(), PAGE_SIZE);
	vcpu_new(vm, 0);
	assert_false(vm_of(vm)->vcpus[0]->v.features & VIRT_SLAT_2M);
	assert_int_equal(call(vm, KEEL_DO_WITHOUT, 0, 0, 0), -EBUSY);
	assert_true(virt_features & VIRT_SLAT_2M);
	virt = &fake_virt_ops;
}

static void test_addresses_of_real_mode_helpers(void **state)
{
	u64 address = 0xfeffc000;

	assert_int_equal(call(vm, KVM_SET_TSS_ADDR, 0xfffbd000, 0, 0), 0);
	assert_int_equal(call(vm, KVM_SET_TSS_ADDR, 0xffffd000, 0, 0), 0);
	assert_int_equal(call(vm, KVM_SET_TSS_ADDR, 0xffffd001, 0, 0), -EINVAL);
	assert_int_equal(request(vm, KVM_SET_IDENTITY_MAP_ADDR, &address, 8), 0);
	assert_int_equal(call(vm, KVM_SET_BOOT_CPU_ID, 4096, 0, 0), -EINVAL);
	assert_int_equal(call(vm, KVM_SET_BOOT_CPU_ID, 0, 0, 0), 0);
	vcpu_new(vm, 0);
	assert_int_equal(request(vm, KVM_SET_IDENTITY_MAP_ADDR, &address, 8), -EINVAL);
	assert_int_equal(call(vm, KVM_SET_BOOT_CPU_ID, 0, 0, 0), -EBUSY);
	assert_int_equal(call(vm, KVM_GET_TSC_KHZ, 0, 0, 0), 2000000);
}

static void test_shadow_pages(void **state)
{
	assert_int_equal(call(vm, KVM_SET_NR_MMU_PAGES, 63, 0, 0), -EINVAL);
	assert_int_equal(call(vm, KVM_SET_NR_MMU_PAGES, 64, 0, 0), 0);
	assert_int_equal(call(vm, KVM_GET_NR_MMU_PAGES, 0, 0, 0), 64);
}

static void test_create_vcpu(void **state)
{
	struct keel_create_vcpu args = {.id = 1, .run = RUNS};

	assert_int_equal(vcpu_try(vm, 4096), -EINVAL);
	args.run = RUNS + 8;
	assert_int_equal(request(vm, KEEL_CREATE_VCPU, &args, sizeof(args)), -EINVAL);
	args.run = 0x1000;
	assert_int_equal(request(vm, KEEL_CREATE_VCPU, &args, sizeof(args)), -EFAULT);
	args.run = FAKE_RAM_SIZE - 2 * PAGE_SIZE;
	assert_int_equal(request(vm, KEEL_CREATE_VCPU, &args, sizeof(args)), -EFAULT);
	args.run = DONATIONS;
	assert_int_equal(request(vm, KEEL_CREATE_VCPU, &args, sizeof(args)), -EFAULT);
	assert_int_equal(vcpu_new(vm, 1), vm + 1);
	assert_int_equal(vcpu_new(vm, 0), vm + 2);
	assert_int_equal(vcpu_try(vm, 1), -EEXIST);
	assert_int_equal(frame_mappings(HPA(run_page(1) + 2 * PAGE_SIZE)), 1);
	assert_int_equal(call(0, KEEL_DONATE, run_page(1), 0, 1), -EBUSY);
	assert_int_equal(request(vm, KEEL_CREATE_VCPU, &args, sizeof(args) - 1), -EINVAL);
	destroy(vm);
	assert_int_equal(frame_mappings(HPA(run_page(1))), 0);
	assert_int_equal(frame_mappings(HPA(run_page(0) + 2 * PAGE_SIZE)), 0);
}

static struct virt_ops greedy;

/* Meanwhile another CPU takes the rest of the pool. */
static int last_pages(struct virt_vcpu *v, struct virt_vm *of, struct pool *pool)
{
	int error = fake_virt_ops.vcpu_init(v, of, pool);

	while (pool_alloc(pool, 1).v != HPA_NONE.v)
		;
	return error;
}

/* Other CPUs walk vcpus[] without a lock, by a count that they read before. */
static void test_failed_vcpu_stays_readable(void **state)
{
	struct vm_slot *slot;
	struct vcpu *vcpu;
	struct vm *of;

	assert_int_equal(call(vm, KVM_CREATE_IRQCHIP, 0, 0, 0), 0);
	vcpu_new(vm, 0);
	greedy = fake_virt_ops;
	greedy.vcpu_init = last_pages;
	virt = &greedy;
	assert_int_equal(vcpu_try(vm, 1), -ENOMEM);
	virt = &fake_virt_ops;
	assert_int_equal(frame_mappings(HPA(run_page(1))), 0);
	assert_int_equal(handle_enter(cpus[0], vm, &slot, &of, &vcpu), 0);
	assert_int_equal(of->vcpu_count, 1);
	assert_non_null(of->vcpus[1]);
	handle_leave(cpus[0]);
	assert_int_equal(call(vm + 2, KVM_GET_TSC_KHZ, 0, 0, 0), -EBADF);
}

static void test_vcpus_up_to_the_limit(void **state)
{
	struct keel_info info;
	s64 result;
	u32 i;

	assert_int_equal(request(0, KEEL_INFO, &info, sizeof(info)), 0);
	for (i = 0; i < 64; i++) {
		result = vcpu_try(vm, i);
		if (result == -ENOMEM) { /* the pool is the VM's own: more of it */
			u64 base = DONATIONS + (4ull << 20);

			donate(base, 2048);
			assert_int_equal(call(vm, KEEL_ADD_POOL, base, 0, 2048), 0);
			result = vcpu_try(vm, i);
		}
		assert_int_equal(result, vm + i + 1);
	}
	assert_int_equal(vcpu_try(vm, 64), -EINVAL);
}

static void test_vcpu_without_memory(void **state)
{
	struct keel_info info;
	s64 small;

	assert_int_equal(request(0, KEEL_INFO, &info, sizeof(info)), 0);
	small = vm_at(DONATIONS + (8ull << 20), info.vm_min_pages);
	assert_true(small > 0);
	for (u32 i = 0; i < 64; i++) {
		s64 result = vcpu_try(small, i);

		if (result == -ENOMEM) {
			assert_int_equal(frame_mappings(HPA(run_page(i))), 0);
			return;
		}
		assert_true(result > 0);
	}
	fail();
}

static void test_add_pool(void **state)
{
	u64 base = DONATIONS + (4ull << 20);
	u32 count = 1;

	assert_int_equal(call(vm, KEEL_ADD_POOL, base, 0, 8), -EINVAL);
	assert_true(call(0, KEEL_DONATE, base, 0, 8) > 0);
	assert_int_equal(call(vm, KEEL_ADD_POOL, base, 0, 8), -EAGAIN);
	all_cpus_flush();
	assert_int_equal(call(vm, KEEL_ADD_POOL, base, 0, 0), -EINVAL);
	assert_int_equal(call(vm, KEEL_ADD_POOL, base, 0, 8), 0);
	assert_int_equal(call(vm, KEEL_ADD_POOL, base, 0, 8), -EINVAL);
	/* Ranges that do not touch, until the table of ranges is full. */
	for (count = 2; count < POOL_RANGES; count++) {
		donate(base + count * 16 * PAGE_SIZE, 8);
		assert_int_equal(call(vm, KEEL_ADD_POOL, base + count * 16 * PAGE_SIZE, 0, 8), 0);
	}
	donate(base + count * 16 * PAGE_SIZE, 8);
	assert_int_equal(call(vm, KEEL_ADD_POOL, base + count * 16 * PAGE_SIZE, 0, 8), -ENOSPC);
	assert_int_equal(call(0, KEEL_RECLAIM, base + count * 16 * PAGE_SIZE, 0, 8), 0);
	destroy(vm);
}

static void test_irqchip(void **state)
{
	struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC};
	struct kvm_irq_level level = {.irq = 3, .level = 1};
	struct kvm_msi msi = {.address_lo = 0xfee00000, .data = 0x30};

	assert_int_equal(request(vm, KVM_GET_IRQCHIP, &chip, sizeof(chip)), -ENXIO);
	assert_int_equal(request(vm, KVM_SET_IRQCHIP, &chip, sizeof(chip)), -ENXIO);
	assert_int_equal(request(vm, KVM_IRQ_LINE, &level, sizeof(level)), -ENXIO);
	assert_int_equal(request(vm, KVM_IRQ_LINE_STATUS, &level, sizeof(level)), -ENXIO);
	assert_int_equal(request(vm, KVM_SIGNAL_MSI, &msi, sizeof(msi)), -EINVAL);
	assert_int_equal(call(vm, KEEL_RESAMPLE, 3, 0, 1), -EINVAL);
	/* The argument is not looked at. */
	assert_int_equal(call(vm, KVM_CREATE_IRQCHIP, 0xc, 0, 0), 0);
	assert_int_equal(call(vm, KEEL_RESAMPLE, 3, 0, 2), -EINVAL);
	assert_int_equal(call(vm, KEEL_RESAMPLE, 4096, 0, 1), -EINVAL);
	assert_int_equal(call(vm, KEEL_RESAMPLE, 1ull << 32, 0, 1), -EINVAL);
	assert_int_equal(call(vm, KEEL_RESAMPLE, 3, 0, 1), 0);
	assert_int_equal(call(vm, KEEL_RESAMPLE, 3, 0, 0), 0);
	assert_int_equal(call(vm, KVM_CREATE_IRQCHIP, 0, 0, 0), -EEXIST);
	vcpu_new(vm, 0);
	for (chip.chip_id = 0; chip.chip_id < 3; chip.chip_id++) {
		assert_int_equal(request(vm, KVM_GET_IRQCHIP, &chip, sizeof(chip)), 0);
		assert_int_equal(request(vm, KVM_SET_IRQCHIP, &chip, sizeof(chip)), 0);
	}
	assert_int_equal(request(vm, KVM_GET_IRQCHIP, &chip, sizeof(chip)), -EINVAL);
	assert_int_equal(request(vm, KVM_SET_IRQCHIP, &chip, sizeof(chip)), -EINVAL);
	assert_int_equal(request(vm, KVM_IRQ_LINE, &level, sizeof(level)), 0);
	assert_int_equal(request(vm, KVM_IRQ_LINE_STATUS, &level, sizeof(level)), 0);
	msi.flags = 2;
	assert_int_equal(request(vm, KVM_SIGNAL_MSI, &msi, sizeof(msi)), -EINVAL);
	/* The APIC is off after reset: the message is blocked. A device's id is taken, and not
	 * used. */
	msi.flags = KVM_MSI_VALID_DEVID;
	assert_true(request(vm, KVM_SIGNAL_MSI, &msi, sizeof(msi)) >= 0);
}

static void test_irqchip_after_vcpu(void **state)
{
	vcpu_new(vm, 0);
	assert_int_equal(call(vm, KVM_CREATE_IRQCHIP, 0, 0, 0), -EINVAL);
}

/* It takes a page and its routing's: whatever lacks, nothing is there and nothing is lost. */
static void test_irqchip_without_memory(void **state)
{
	struct kvm_pit_config config = {0};
	struct pool *pool = &vm_of(vm)->pool;
	hpa_t pages = pool_alloc(pool, 8);
	u32 returned = 0;

	while (pool_alloc(pool, 1).v != HPA_NONE.v)
		;
	while (call(vm, KVM_CREATE_IRQCHIP, 0, 0, 0) == -ENOMEM) {
		assert_int_equal(pool_free_pages(pool), returned);
		assert_int_equal(request(vm, KVM_CREATE_PIT2, &config, sizeof(config)), -ENOENT);
		assert_true(returned < 8);
		pool_free(pool, HPA(pages.v + returned++ * PAGE_SIZE), 1);
	}
	assert_in_range(returned, 2, 8);
	assert_int_equal(call(vm, KVM_CREATE_IRQCHIP, 0, 0, 0), -EEXIST);
	/* The PIT's state is in the irqchip's page. */
	assert_int_equal(pool_free_pages(pool), 0);
	assert_int_equal(request(vm, KVM_CREATE_PIT2, &config, sizeof(config)), 0);
}

static void test_pit(void **state)
{
	struct kvm_pit_config config = {0};
	struct kvm_pit_state2 pit;
	struct kvm_reinject_control control = {.pit_reinject = 1};

	assert_int_equal(request(vm, KVM_GET_PIT2, &pit, sizeof(pit)), -ENXIO);
	memset(&pit, 0, sizeof(pit));
	assert_int_equal(request(vm, KVM_SET_PIT2, &pit, sizeof(pit)), -ENXIO);
	assert_int_equal(request(vm, KVM_REINJECT_CONTROL, &control, sizeof(control)), -ENXIO);
	assert_int_equal(call(vm, KVM_CREATE_IRQCHIP, 0, 0, 0), 0);
	vcpu_new(vm, 0);
	assert_int_equal(request(vm, KVM_CREATE_PIT2, &config, sizeof(config)), 0);
	assert_int_equal(request(vm, KVM_CREATE_PIT2, &config, sizeof(config)), -EEXIST);
	assert_int_equal(request(vm, KVM_GET_PIT2, &pit, sizeof(pit)), 0);
	assert_int_equal(request(vm, KVM_SET_PIT2, &pit, sizeof(pit)), 0);
	assert_int_equal(request(vm, KVM_REINJECT_CONTROL, &control, sizeof(control)), 0);
}

/* While a vCPU runs, its buses are read without a lock: no device may come then. */
static void test_pit_while_a_vcpu_runs(void **state)
{
	struct kvm_pit_config config = {0};
	struct vm_slot *slot;
	struct vm *v;
	struct vcpu *vcpu;

	assert_int_equal(call(vm, KVM_CREATE_IRQCHIP, 0, 0, 0), 0);
	vcpu_new(vm, 0);
	vcpu_new(vm, 1);
	assert_int_equal(handle_enter(cpus[0], vm + 2, &slot, &v, &vcpu), 0);
	handle_leave(cpus[0]);
	assert_true(vcpu_take(vcpu));
	assert_int_equal(request(vm, KVM_CREATE_PIT2, &config, sizeof(config)), -EBUSY);
	assert_true(vcpu->request & REQUEST_KICK);
	assert_int_equal(v->vcpus[0]->running, 0);
	vcpu_release(vcpu);
	assert_int_equal(request(vm, KVM_CREATE_PIT2, &config, sizeof(config)), 0);
	assert_int_equal(v->vcpus[0]->running | v->vcpus[1]->running, 0);
}

static void test_gsi_routing(void **state)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry entry[4097];
	} *table = at(BIG_ARGUMENT);
	u64 bytes = sizeof(*table);

	memset(table, 0, bytes);
	assert_int_equal(call(vm, KVM_SET_GSI_ROUTING, BIG_ARGUMENT, bytes, 0), -EINVAL);
	assert_int_equal(call(vm, KVM_CREATE_IRQCHIP, 0, 0, 0), 0);
	assert_int_equal(call(vm, KVM_SET_GSI_ROUTING, BIG_ARGUMENT, bytes, 0), 0);
	table->head.flags = 1;
	assert_int_equal(call(vm, KVM_SET_GSI_ROUTING, BIG_ARGUMENT, bytes, 0), -EINVAL);
	table->head.flags = 0;
	table->head.nr = 4097;
	assert_int_equal(call(vm, KVM_SET_GSI_ROUTING, BIG_ARGUMENT, bytes, 0), -EINVAL);
	table->head.nr = 1;
	table->entry[0] = (struct kvm_irq_routing_entry){
		.gsi = 4,
		.type = KVM_IRQ_ROUTING_IRQCHIP,
		.u.irqchip = {.irqchip = KVM_IRQCHIP_IOAPIC, .pin = 23},
	};
	assert_int_equal(call(vm, KVM_SET_GSI_ROUTING, BIG_ARGUMENT, 8 + 48, 0), 0);
	assert_int_equal(call(vm, KVM_SET_GSI_ROUTING, BIG_ARGUMENT, 8 + 47, 0), -EINVAL);
	assert_int_equal(call(vm, KVM_SET_GSI_ROUTING, BIG_ARGUMENT, 7, 0), -EINVAL);
	assert_int_equal(call(vm, KVM_SET_GSI_ROUTING, FAKE_RAM_SIZE, 8, 0), -EFAULT);
	table->entry[0].u.irqchip.pin = 24;
	assert_int_equal(call(vm, KVM_SET_GSI_ROUTING, BIG_ARGUMENT, 8 + 48, 0), -EINVAL);
	table->entry[0].u.irqchip.pin = 0;
	table->entry[0].gsi = 4096;
	assert_int_equal(call(vm, KVM_SET_GSI_ROUTING, BIG_ARGUMENT, 8 + 48, 0), -EINVAL);
	/* All of them, as messages. */
	table->head.nr = 4096;
	for (u32 i = 0; i < 4096; i++)
		table->entry[i] = (struct kvm_irq_routing_entry){
			.gsi = i,
			.type = KVM_IRQ_ROUTING_MSI,
			.u.msi = {.address_lo = 0xfee00000, .data = 0x30},
		};
	assert_int_equal(call(vm, KVM_SET_GSI_ROUTING, BIG_ARGUMENT, bytes, 0), 0);
}

static void test_gsi_routing_without_memory(void **state)
{
	struct kvm_irq_routing *table = at(BIG_ARGUMENT);
	struct vm *v = vm_of(vm);

	assert_int_equal(call(vm, KVM_CREATE_IRQCHIP, 0, 0, 0), 0);
	while (pool_alloc(&v->pool, 1).v != HPA_NONE.v)
		;
	memset(table, 0, sizeof(*table));
	assert_int_equal(call(vm, KVM_SET_GSI_ROUTING, BIG_ARGUMENT, 8, 0), -ENOMEM);
}

static void test_clock(void **state)
{
	struct kvm_clock_data clock;

	memset(&clock, 0xff, sizeof(clock));
	assert_int_equal(request(vm, KVM_GET_CLOCK, &clock, sizeof(clock)), 0);
	/* What KVM_CAP_ADJUST_CLOCK promises, and what the VMM may give back. */
	assert_int_equal(clock.flags, call(vm, KVM_CHECK_EXTENSION, KVM_CAP_ADJUST_CLOCK, 0, 0));
	assert_true(clock.realtime && clock.host_tsc);
	assert_int_equal(request(vm, KVM_SET_CLOCK, &clock, sizeof(clock)), 0);
	assert_int_equal(clock.pad0, 0);
	assert_int_equal(clock.pad[3], 0);
	memset(&clock, 0, sizeof(clock));
	clock.clock = 5000000000ull;
	assert_int_equal(request(vm, KVM_SET_CLOCK, &clock, sizeof(clock)), 0);
	assert_int_equal(request(vm, KVM_GET_CLOCK, &clock, sizeof(clock)), 0);
	assert_in_range(clock.clock, 5000000000ull, 5100000000ull);
	clock.flags = BIT(20);
	assert_int_equal(request(vm, KVM_SET_CLOCK, &clock, sizeof(clock)), -EINVAL);
}

static s64 enable(u64 handle, u32 cap, u32 flags, u64 value)
{
	struct kvm_enable_cap c = {.cap = cap, .flags = flags, .args[0] = value};

	return request(handle, KVM_ENABLE_CAP, &c, sizeof(c));
}

static void test_enable_cap(void **state)
{
	u64 vcpu = vcpu_new(vm, 0);

	assert_int_equal(enable(vm, KVM_CAP_EXCEPTION_PAYLOAD, 0, 1), 0);
	assert_int_equal(enable(vm, KVM_CAP_EXCEPTION_PAYLOAD, 0, 0), 0);
	assert_int_equal(enable(vm, KVM_CAP_X86_TRIPLE_FAULT_EVENT, 0, 1), 0);
	assert_int_equal(enable(vm, KVM_CAP_EXCEPTION_PAYLOAD, 1, 1), -EINVAL);
	assert_int_equal(enable(vm, KVM_CAP_X2APIC_API, 0, 3), 0);
	assert_int_equal(enable(vm, KVM_CAP_X2APIC_API, 0, 4), -EINVAL);
	assert_int_equal(enable(vm, KVM_CAP_X86_USER_SPACE_MSR, 0, 8), -EINVAL);
	assert_int_equal(enable(vm, KVM_CAP_X86_USER_SPACE_MSR, 0, 7), 0);
	assert_int_equal(enable(vm, KVM_CAP_EXIT_ON_EMULATION_FAILURE, 0, 2), -EINVAL);
	assert_int_equal(enable(vm, KVM_CAP_EXIT_ON_EMULATION_FAILURE, 0, 1), 0);
	assert_int_equal(enable(vm, KVM_CAP_MSR_PLATFORM_INFO, 0, 0), 0);
	assert_true(vm_of(vm)->no_platform_info);
	assert_int_equal(enable(vm, KVM_CAP_MSR_PLATFORM_INFO, 0, 1), 0);
	assert_false(vm_of(vm)->no_platform_info);
	/* One client depends on these two being refused. */
	assert_int_equal(enable(vm, KVM_CAP_TSC_DEADLINE_TIMER, 0, 1), -EINVAL);
	assert_int_equal(enable(vm, KVM_CAP_IRQFD, 0, 1), -EINVAL);
	assert_int_equal(enable(vcpu, KVM_CAP_HYPERV_SYNIC, 0, 1), -EINVAL);
}

struct filter_argument {
	struct kvm_msr_filter filter;
	u64 bits[KVM_MSR_FILTER_MAX_RANGES][KVM_MSR_FILTER_MAX_BITMAP_SIZE / 8];
};

static s64 set_filter(const struct filter_argument *argument, u64 bytes)
{
	memcpy(at(BIG_ARGUMENT), argument, sizeof(*argument));
	return call(vm, KVM_X86_SET_MSR_FILTER, BIG_ARGUMENT, bytes, 0);
}

static void test_msr_filter(void **state)
{
	static struct filter_argument a;
	struct kvm_msr_filter_range *range = a.filter.ranges;
	u64 bytes = sizeof(a.filter) + 16, free;
	struct vm *v = vm_of(vm);

	free = pool_free_pages(&v->pool);
	assert_int_equal(set_filter(&a, sizeof(a.filter)), 0);
	assert_null(v->msr_filter);
	range[3] = (struct kvm_msr_filter_range){
		.flags = KVM_MSR_FILTER_READ, .nmsrs = 65, .base = 0x35, .bitmap = (void *)1};
	a.bits[0][1] = 1;
	assert_int_equal(set_filter(&a, bytes), 0);
	assert_int_equal(v->msr_filter->count, 1);
	assert_false(msr_allowed(v->msr_filter, 0x35, MSR_READ));
	assert_true(msr_allowed(v->msr_filter, 0x35 + 64, MSR_READ));
	assert_true(msr_allowed(v->msr_filter, 0x35, MSR_WRITE));
	/* What is refused changes nothing. */
	assert_int_equal(set_filter(&a, bytes - 1), -EINVAL);
	a.filter.flags = 2;
	assert_int_equal(set_filter(&a, bytes), -EINVAL);
	a.filter.flags = KVM_MSR_FILTER_DEFAULT_DENY;
	range[3].flags = 0;
	assert_int_equal(set_filter(&a, bytes), -EINVAL);
	range[3].flags = 4;
	assert_int_equal(set_filter(&a, bytes), -EINVAL);
	range[3].flags = KVM_MSR_FILTER_READ;
	range[3].nmsrs = KVM_MSR_FILTER_MAX_BITMAP_SIZE * 8 + 1;
	assert_int_equal(set_filter(&a, sizeof(a)), -EINVAL);
	range[3].nmsrs = ~0u;
	assert_int_equal(set_filter(&a, sizeof(a)), -EINVAL);
	assert_false(msr_allowed(v->msr_filter, 0x35, MSR_READ));
	assert_true(msr_allowed(v->msr_filter, 0x34, MSR_READ));
	assert_int_equal(pool_free_pages(&v->pool), free - 1);
	/* As large as it gets, and then none. */
	for (u32 i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++)
		range[i] = (struct kvm_msr_filter_range){
			.flags = KVM_MSR_FILTER_WRITE,
			.nmsrs = KVM_MSR_FILTER_MAX_BITMAP_SIZE * 8,
			.base = i * 0x10000,
		};
	a.bits[15][191] = 1ull << 63;
	assert_int_equal(set_filter(&a, sizeof(a)), 0);
	assert_true(msr_allowed(v->msr_filter, 0xf0000 + 12287, MSR_WRITE));
	assert_false(msr_allowed(v->msr_filter, 0xf0000 + 12286, MSR_WRITE));
	assert_false(msr_allowed(v->msr_filter, 0xf0000 + 12288, MSR_WRITE));
	memset(&a, 0, sizeof(a));
	a.filter.flags = KVM_MSR_FILTER_DEFAULT_DENY;
	assert_int_equal(set_filter(&a, sizeof(a.filter)), -EINVAL);
	a.filter.flags = 0;
	assert_int_equal(set_filter(&a, sizeof(a.filter)), 0);
	assert_null(v->msr_filter);
	assert_int_equal(pool_free_pages(&v->pool), free);
}

static struct cpuid_regs with_mwait(u32 leaf, u32 subleaf)
{
	if (leaf == 1)
		return (struct cpuid_regs){.ecx = BIT(3)};
	return (struct cpuid_regs){.eax = leaf == 6 ? BIT(2) : leaf ? 0 : 6};
}

static struct cpuid_regs with_nothing(u32 leaf, u32 subleaf)
{
	return (struct cpuid_regs){0};
}

static void test_disable_exits(void **state)
{
	struct vm *v = vm_of(vm);

	v->virt.features |= VIRT_PAUSE_FILTER | VIRT_PREEMPT_TIMER;
	fake_cpuid = with_nothing;
	assert_int_equal(call(0, KVM_CHECK_EXTENSION, KVM_CAP_X86_DISABLE_EXITS, 0, 0), 14);
	assert_int_equal(enable(vm, KVM_CAP_X86_DISABLE_EXITS, 0, 16), -EINVAL);
	assert_int_equal(enable(vm, KVM_CAP_X86_DISABLE_EXITS, 0, 1), 0); /* MWAIT is not there */
	assert_int_equal(v->virt.native, 0);
	fake_msr_faults(MSR_CORE_C7_RESIDENCY, true);
	assert_true(fake_msr_intercepted(&v->virt, MSR_CORE_C6_RESIDENCY, false));
	assert_int_equal(enable(vm, KVM_CAP_X86_DISABLE_EXITS, 0, 8), 0);
	assert_false(fake_msr_intercepted(&v->virt, MSR_CORE_C6_RESIDENCY, false));
	assert_true(fake_msr_intercepted(&v->virt, MSR_CORE_C6_RESIDENCY, true));
	assert_true(fake_msr_intercepted(&v->virt, MSR_CORE_C7_RESIDENCY, false));
	assert_int_equal(enable(vm, KVM_CAP_X86_DISABLE_EXITS, 0, 2), 0);
	assert_int_equal(v->virt.native, NATIVE_HLT);
	assert_true(v->virt.features & VIRT_PAUSE_FILTER);
	fake_cpuid = with_mwait;
	assert_int_equal(call(0, KVM_CHECK_EXTENSION, KVM_CAP_X86_DISABLE_EXITS, 0, 0), 15);
	assert_true(v->virt.features & VIRT_PREEMPT_TIMER);
	assert_int_equal(enable(vm, KVM_CAP_X86_DISABLE_EXITS, 0, 5), 0);
	assert_int_equal(v->virt.native, NATIVE_HLT | NATIVE_MWAIT);
	assert_false(v->virt.features & (VIRT_PAUSE_FILTER | VIRT_PREEMPT_TIMER));
	fake_cpuid = NULL;
}

static void test_max_vcpu_id(void **state)
{
	assert_int_equal(enable(vm, KVM_CAP_MAX_VCPU_ID, 0, 4097), -EINVAL);
	assert_int_equal(enable(vm, KVM_CAP_MAX_VCPU_ID, 0, 3), 0);
	assert_int_equal(enable(vm, KVM_CAP_MAX_VCPU_ID, 0, 3), 0);
	assert_int_equal(enable(vm, KVM_CAP_MAX_VCPU_ID, 0, 4), -EINVAL);
	assert_int_equal(vcpu_try(vm, 3), -EINVAL);
	assert_true(vcpu_try(vm, 2) > 0);
}

static void test_tsc_khz(void **state)
{
	assert_int_equal(call(vm, KVM_SET_TSC_KHZ, 2000501, 0, 0), -EINVAL);
	assert_int_equal(call(vm, KVM_SET_TSC_KHZ, 2000400, 0, 0), 0);
	assert_int_equal(call(vm, KVM_GET_TSC_KHZ, 0, 0, 0), 2000400);
	assert_int_equal(call(vcpu_new(vm, 0), KVM_GET_TSC_KHZ, 0, 0, 0), 2000400);
	assert_int_equal(call(vm, KVM_SET_TSC_KHZ, 0, 0, 0), 0);
	assert_int_equal(call(vm, KVM_GET_TSC_KHZ, 0, 0, 0), 2000000);
}

static void test_split_irqchip(void **state)
{
	assert_int_equal(enable(vm, KVM_CAP_SPLIT_IRQCHIP, 0, 4097), -EINVAL);
	assert_int_equal(enable(vm, KVM_CAP_SPLIT_IRQCHIP, 1, 24), -EINVAL);
	assert_int_equal(enable(vm, KVM_CAP_SPLIT_IRQCHIP, 0, 24), 0);
	assert_int_equal(enable(vm, KVM_CAP_SPLIT_IRQCHIP, 0, 24), -EEXIST);
	assert_int_equal(call(vm, KVM_CREATE_IRQCHIP, 0, 0, 0), -EEXIST);
}

static void test_split_irqchip_comes_before_vcpus(void **state)
{
	vcpu_new(vm, 0);
	assert_int_equal(enable(vm, KVM_CAP_SPLIT_IRQCHIP, 0, 24), -EEXIST);
}

static void test_take_wake(void **state)
{
	struct vm_slot *slot;
	struct vm *v;
	struct vcpu *vcpu;

	assert_int_equal(handle_enter(cpus[0], vm, &slot, &v, &vcpu), 0);
	handle_leave(cpus[0]);
	assert_int_equal(call(vm, KVM_GET_TSC_KHZ, 0, 0, 0), 2000000);
	assert_int_equal(reply, 0);
	v->wake[0] = BIT(63) | 1;
	assert_int_equal(call(vm, KVM_GET_TSC_KHZ, 0, 0, 0), 2000000);
	assert_int_equal(reply, KEEL_REPLY_WAKE);
	assert_int_equal(call(vm, KEEL_TAKE_WAKE, 0, 0, 0), 0);
	assert_int_equal(result2, BIT(63) | 1);
	assert_int_equal(reply, 0);
	assert_int_equal(call(vm, KEEL_TAKE_WAKE, 0, 0, 0), 0);
	assert_int_equal(result2, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_unknown_requests, start),
		cmocka_unit_test_setup(test_memory_regions, start),
		cmocka_unit_test_setup(test_map_and_unmap, start),
		cmocka_unit_test_setup(test_young, start),
		cmocka_unit_test_setup(test_young_in_parts, start),
		cmocka_unit_test_setup(test_young_errors, start),
		cmocka_unit_test_setup(test_young_without_accessed_flags, start),
		cmocka_unit_test_setup(test_map_during_an_unmap, start),
		cmocka_unit_test_setup(test_dirty_log, start),
		cmocka_unit_test_setup(test_clear_dirty_log, start),
		cmocka_unit_test_setup(test_dirty_log_of_a_running_vcpu, start),
		cmocka_unit_test_setup(test_do_without, start),
		cmocka_unit_test_setup(test_addresses_of_real_mode_helpers, start),
		cmocka_unit_test_setup(test_shadow_pages, start),
		cmocka_unit_test_setup(test_create_vcpu, start),
		cmocka_unit_test_setup(test_failed_vcpu_stays_readable, start),
		cmocka_unit_test_setup(test_vcpus_up_to_the_limit, start),
		cmocka_unit_test_setup(test_vcpu_without_memory, start),
		cmocka_unit_test_setup(test_add_pool, start),
		cmocka_unit_test_setup(test_irqchip, start),
		cmocka_unit_test_setup(test_irqchip_after_vcpu, start),
		cmocka_unit_test_setup(test_irqchip_without_memory, start),
		cmocka_unit_test_setup(test_pit, start),
		cmocka_unit_test_setup(test_pit_while_a_vcpu_runs, start),
		cmocka_unit_test_setup(test_gsi_routing, start),
		cmocka_unit_test_setup(test_gsi_routing_without_memory, start),
		cmocka_unit_test_setup(test_clock, start),
		cmocka_unit_test_setup(test_enable_cap, start),
		cmocka_unit_test_setup(test_msr_filter, start),
		cmocka_unit_test_setup(test_disable_exits, start),
		cmocka_unit_test_setup(test_max_vcpu_id, start),
		cmocka_unit_test_setup(test_tsc_khz, start),
		cmocka_unit_test_setup(test_split_irqchip, start),
		cmocka_unit_test_setup(test_split_irqchip_comes_before_vcpus, start),
		cmocka_unit_test_setup(test_take_wake, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
