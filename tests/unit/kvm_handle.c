/* SPDX-License-Identifier: MIT */
/* Handles: generations, vCPU indexes, who works on what. */
#include <stdlib.h>
#include <string.h>

#include "tests/unit/fake/fake.h"

#include "kvm/handle.h"

static struct kvm_vm *vm;
static struct vcpu vcpus[2];

static int start(void **state)
{
	fake_machine_init(2);
	vm = calloc(1, sizeof(*vm));
	for (u32 i = 0; i < 2; i++) {
		vcpus[i].index = i;
		vm->vm.vcpus[i] = &vcpus[i];
	}
	return 0;
}

static int stop(void **state)
{
	free(vm);
	return 0;
}

static struct vm_slot *slot;
static struct vm *found;
static struct vcpu *vcpu;

static int enter(u32 cpu, u64 handle)
{
	slot = NULL;
	found = NULL;
	vcpu = NULL;
	return handle_enter(cpus[cpu], handle, &slot, &found, &vcpu);
}

static void remove_slot(void)
{
	spin_lock(&slot->lock);
	handle_remove(slot);
	spin_unlock(&slot->lock);
	handle_leave(cpus[0]);
}

static void test_finds_vm_and_vcpus(void **state)
{
	u64 handle;

	assert_int_equal(handle_add(&vm->vm, &handle), 0);
	assert_int_equal(handle & KEEL_HANDLE_VCPU, 0);
	assert_int_equal(enter(0, handle), 0);
	assert_ptr_equal(found, &vm->vm);
	assert_null(vcpu);
	assert_int_equal(handle_of_vcpu(slot, &vcpus[1]), handle + 2);
	handle_leave(cpus[0]);
	/* A vCPU shows only once it is complete. */
	assert_int_equal(enter(0, handle + 1), -EBADF);
	assert_null(slot);
	vm->vcpus_ready = 1;
	assert_int_equal(enter(0, handle + 1), 0);
	assert_ptr_equal(vcpu, &vcpus[0]);
	handle_leave(cpus[0]);
	assert_int_equal(enter(0, handle + 2), -EBADF);
	assert_int_equal(enter(0, handle + 0xff), -EBADF);
	assert_int_equal(enter(0, handle), 0);
	remove_slot();
}

static void test_unknown_handles(void **state)
{
	static const u64 bad[] = {
		1, 0xff, 0x100, (HANDLE_VMS + 1ull) << 8, 0xffff00, ~0ull, 1ull << 63, BIT(24),
	};

	for (u32 i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(enter(0, bad[i]), -EBADF);
}

static void test_stale_handle_after_reuse(void **state)
{
	u64 first, second;

	assert_int_equal(handle_add(&vm->vm, &first), 0);
	assert_int_equal(enter(0, first), 0);
	assert_true(handle_current(slot, first));
	remove_slot();
	assert_int_equal(enter(0, first), -EBADF);
	assert_int_equal(handle_add(&vm->vm, &second), 0);
	assert_int_not_equal(first, second);
	assert_int_equal(enter(0, first), -EBADF);
	assert_int_equal(enter(0, second | BIT(60)), -EBADF);
	assert_int_equal(enter(0, second), 0);
	assert_false(handle_current(slot, first));
	assert_true(handle_current(slot, second));
	remove_slot();
	assert_false(handle_current(slot, second));
}

static void test_remembered_vcpu(void **state)
{
	u64 handle, next;

	/* Nothing is remembered yet: a handle of zeros must not match that. */
	assert_null(handle_enter_vcpu(cpus[0], 0));
	assert_int_equal(handle_add(&vm->vm, &handle), 0);
	vm->vcpus_ready = 1;
	assert_null(handle_enter_vcpu(cpus[0], handle));
	assert_null(handle_enter_vcpu(cpus[0], handle + 2));
	assert_null(handle_enter_vcpu(cpus[0], handle + BIT(24) + 1));
	assert_int_equal(enter(0, handle), 0);
	handle_leave(cpus[0]);
	for (u32 i = 0; i < 2; i++) {
		assert_ptr_equal(handle_enter_vcpu(cpus[0], handle + 1), &vcpus[0]);
		assert_true(handle_in_use(slot, cpus[1]));
		handle_leave(cpus[0]);
		assert_false(handle_in_use(slot, cpus[1]));
		/* Another handle on the way changes nothing. */
		assert_null(handle_enter_vcpu(cpus[0], ~0ull));
	}
	slot->state = HANDLE_DYING;
	assert_null(handle_enter_vcpu(cpus[0], handle + 1));
	assert_false(handle_in_use(slot, cpus[1]));
	remove_slot();
	assert_int_equal(handle_add(&vm->vm, &next), 0);
	assert_null(handle_enter_vcpu(cpus[0], handle + 1));
	assert_ptr_equal(handle_enter_vcpu(cpus[0], next + 1), &vcpus[0]);
	handle_leave(cpus[0]);
	assert_int_equal(enter(0, next), 0);
	remove_slot();
}

static void test_in_use_by_another_cpu(void **state)
{
	struct vm_slot *s;
	u64 handle;

	assert_int_equal(handle_add(&vm->vm, &handle), 0);
	assert_int_equal(enter(0, handle), 0);
	s = slot;
	assert_false(handle_in_use(s, cpus[0]));
	assert_true(handle_in_use(s, cpus[1]));
	assert_int_equal(enter(1, handle), 0);
	assert_true(handle_in_use(s, cpus[0]));
	handle_leave(cpus[1]);
	assert_false(handle_in_use(s, cpus[0]));
	/* A handle that is not found leaves nothing behind. */
	assert_int_equal(enter(1, handle + 1), -EBADF);
	assert_false(handle_in_use(s, cpus[0]));
	slot = s;
	remove_slot();
}

static void test_dying(void **state)
{
	u64 handle;

	assert_int_equal(handle_add(&vm->vm, &handle), 0);
	assert_int_equal(enter(0, handle), 0);
	slot->state = HANDLE_DYING;
	handle_leave(cpus[0]);
	assert_int_equal(enter(0, handle), -EIO);
	assert_ptr_equal(found, &vm->vm);
	assert_true(handle_in_use(slot, cpus[1]));
	remove_slot();
}

static void test_table_full(void **state)
{
	static u64 handles[HANDLE_VMS + 1];
	u32 count = 0;

	while (count <= HANDLE_VMS && !handle_add(&vm->vm, &handles[count]))
		count++;
	/* A test that failed before this one may have left some. */
	assert_in_range(count, HANDLE_VMS - 4, HANDLE_VMS);
	assert_int_equal(handle_add(&vm->vm, &handles[count]), -ENFILE);
	for (u32 i = 0; i < count; i++) {
		assert_int_equal(enter(0, handles[i]), 0);
		remove_slot();
	}
	assert_int_equal(handle_add(&vm->vm, &handles[0]), 0);
	assert_int_equal(enter(0, handles[0]), 0);
	remove_slot();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_finds_vm_and_vcpus, start, stop),
		cmocka_unit_test_setup_teardown(test_unknown_handles, start, stop),
		cmocka_unit_test_setup_teardown(test_stale_handle_after_reuse, start, stop),
		cmocka_unit_test_setup_teardown(test_remembered_vcpu, start, stop),
		cmocka_unit_test_setup_teardown(test_in_use_by_another_cpu, start, stop),
		cmocka_unit_test_setup_teardown(test_dying, start, stop),
		cmocka_unit_test_setup_teardown(test_table_full, start, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
