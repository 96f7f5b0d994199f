/* SPDX-License-Identifier: MIT */
/* The end of a VM: steps, pages zeroed and counted, nothing left. */
#include "tests/unit/kvm_machine.h"

static u32 owned_by_keel(void)
{
	u32 count = 0;

	for (u64 page = FAKE_GUEST; page < FAKE_RAM_SIZE; page += PAGE_SIZE)
		count += frame_owner(HPA(page)) != FRAME_MANAGEMENT || frame_mappings(HPA(page));
	return count;
}

static struct vm *vm_of(u64 handle, struct vm_slot **slot)
{
	struct vcpu *vcpu;
	struct vm *vm;

	handle_enter(cpus[0], handle, slot, &vm, &vcpu);
	handle_leave(cpus[0]);
	return vm;
}

/* The guest writes a pattern, then halts. */
static void dirty_guest(struct virt_vcpu *v, struct vm_exit *e)
{
	u64 secret = 0x5ec3e75ec3e7;

	fake_guest_write(v, GPA(0x8000), &secret, sizeof(secret));
	e->reason = EXIT_HLT;
	e->insn_len = 1;
}

static u64 make_and_run(u64 base, u64 pages)
{
	s64 vm = vm_at(base, pages);
	u64 vcpu;

	assert_true(vm > 0);
	give_memory(vm, 0x200000, 0);
	vcpu = vcpu_new(vm, 0);
	vcpu_new(vm, 1);
	fake_run = dirty_guest;
	assert_int_equal(call(vcpu, KEEL_RUN, ~0ull, 0, 0), KEEL_USER);
	assert_int_equal(*(u64 *)at(GUEST_RAM + 0x8000), 0x5ec3e75ec3e7);
	return vm;
}

static void test_life_cycle_many_times(void **state)
{
	for (u32 i = 0; i < 50; i++) {
		u64 vm = make_and_run(DONATIONS + (i % 8) * PAGE_SIZE, 300 + i * 20);

		destroy(vm);
		assert_int_equal(owned_by_keel(), 0);
	}
}

static void test_several_ranges(void **state)
{
	u64 more = DONATIONS + (4ull << 20);
	u64 vm = make_and_run(DONATIONS, 400);

	donate(more, 2000);
	assert_int_equal(call(vm, KEEL_ADD_POOL, more, 0, 2000), 0);
	memset(at(more), 0xaa, 2000 * PAGE_SIZE);
	destroy(vm);
	assert_int_equal(owned_by_keel(), 0);
}

/* Any size of the first range, so that the last piece holds the VM's own pages in each way. */
static void test_pieces(void **state)
{
	for (u32 pages = 508; pages < 520; pages++) {
		destroy(make_and_run(DONATIONS, pages));
		destroy(make_and_run(DONATIONS, pages + 511));
		assert_int_equal(owned_by_keel(), 0);
	}
}

static void test_order_of_steps(void **state)
{
	struct kvm_regs regs;
	u64 vm = make_and_run(DONATIONS, VM_PAGES);
	struct vm_slot *slot;
	struct vm *v = vm_of(vm, &slot);

	assert_int_equal(call(vm, KEEL_TAKE_BACK, 0, 0, 0), -EAGAIN);
	assert_int_equal(slot->state, HANDLE_LIVE);
	/* Another CPU works on it. */
	assert_int_equal(handle_enter(cpus[1], vm + 1, &slot, &v, &(struct vcpu *){0}), 0);
	assert_int_equal(call(vm, KEEL_DESTROY, 0, 0, 0), -EAGAIN);
	handle_leave(cpus[1]);
	/* From now on it is being destroyed, whoever asks. */
	assert_int_equal(call(vm + 1, KVM_GET_REGS, ARGUMENTS, sizeof(regs), 0), -EIO);
	assert_int_equal(call(vm + 1, KEEL_RUN, ~0ull, 0, 0), -EIO);
	assert_int_equal(call(vm, KVM_GET_TSC_KHZ, 0, 0, 0), -EIO);
	assert_int_equal(call(vm, 0x12345678, 0, 0, 0), -EIO);
	assert_int_equal(call(vm, KEEL_TAKE_BACK, 0, 0, 0), -EAGAIN);
	/* A vCPU that someone still holds. */
	assert_true(vcpu_take(v->vcpus[1]));
	assert_int_equal(call(vm, KEEL_DESTROY, 0, 0, 0), -EAGAIN);
	assert_true(v->vcpus[1]->request & REQUEST_DEAD);
	vcpu_release(v->vcpus[1]);
	while (call(vm, KEEL_DESTROY, 0, 0, 0) == -EAGAIN)
		;
	assert_int_equal(slot->state, HANDLE_DEAD);
	assert_int_equal(frame_mappings(HPA(run_page(0))), 0);
	assert_int_equal(call(vm, KEEL_DESTROY, 0, 0, 0), 0);
	assert_int_equal(frame_mappings(HPA(run_page(0))), 0);
	assert_int_equal(handle_enter(cpus[1], vm, &slot, &v, &(struct vcpu *){0}), -EIO);
	assert_int_equal(call(vm, KEEL_TAKE_BACK, 0, 0, 0), -EAGAIN);
	handle_leave(cpus[1]);
	destroy(vm);
	assert_int_equal(call(vm, KEEL_DESTROY, 0, 0, 0), -EBADF);
	assert_int_equal(call(vm, KEEL_TAKE_BACK, 0, 0, 0), -EBADF);
	assert_int_equal(call(vm + 1, KEEL_RUN, ~0ull, 0, 0), -EBADF);
}

/* Each step is bounded: a guest with many small pages takes several. */
static void test_unmapping_in_steps(void **state)
{
	u64 vm = vm_new();
	struct kvm_userspace_memory_region region = {
		.memory_size = 64ull << 20,
		.userspace_addr = 0x10000000,
	};
	u32 steps = 0;

	assert_int_equal(request(vm, KVM_SET_USER_MEMORY_REGION, &region, sizeof(region)), 0);
	/* The same frame again and again: large pages cannot be used. */
	for (u64 gpa = 0; gpa < 5000 * PAGE_SIZE; gpa += PAGE_SIZE) {
		struct keel_map map = {.gpa = gpa, .hpa = GUEST_RAM, .size = PAGE_SIZE};

		assert_int_equal(request(vm, KEEL_MAP, &map, sizeof(map)), 0);
	}
	assert_int_equal(frame_mappings(HPA(GUEST_RAM)), 5000);
	while (call(vm, KEEL_DESTROY, 0, 0, 0) == -EAGAIN)
		steps++;
	assert_in_range(steps, 1, 100);
	assert_int_equal(frame_mappings(HPA(GUEST_RAM)), 0);
	destroy(vm);
}

static void test_two_vms_are_apart(void **state)
{
	u64 first = make_and_run(DONATIONS, VM_PAGES);
	u64 second = make_and_run(DONATIONS + (8ull << 20), VM_PAGES);

	assert_int_equal(frame_mappings(HPA(GUEST_RAM)), 2);
	destroy(first);
	assert_int_equal(frame_mappings(HPA(GUEST_RAM)), 1);
	assert_int_equal(call(second + 1, KEEL_RUN, ~0ull, 0, 0), KEEL_USER);
	destroy(second);
	assert_int_equal(owned_by_keel(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_life_cycle_many_times, start_two),
		cmocka_unit_test_setup(test_several_ranges, start_two),
		cmocka_unit_test_setup(test_pieces, start_two),
		cmocka_unit_test_setup(test_order_of_steps, start_two),
		cmocka_unit_test_setup(test_unmapping_in_steps, start_two),
		cmocka_unit_test_setup(test_two_vms_are_apart, start_two),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
