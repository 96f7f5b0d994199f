/* SPDX-License-Identifier: MIT */
/* Requests on the system object: each result and each errno. */
#include "tests/unit/kvm_machine.h"

#include "core/cpuid.h"
#include "core/msr.h"
#include "core/xstate.h"

static void test_api_version_and_mmap_size(void **state)
{
	assert_int_equal(call(0, KVM_GET_API_VERSION, 0, 0, 0), 12);
	assert_int_equal(call(0, KVM_GET_API_VERSION, 1, 0, 0), -EINVAL);
	assert_int_equal(call(0, KVM_GET_VCPU_MMAP_SIZE, 0, 0, 0), 12288);
	assert_int_equal(call(0, KVM_GET_VCPU_MMAP_SIZE, 1, 0, 0), -EINVAL);
}

static void test_unknown_requests(void **state)
{
	static const u32 unknown[] = {
		0,
		~0u,
		KVM_CREATE_VM,
		KVM_GET_EMULATED_CPUID,
		KVM_RUN,
		KEEL_RUN,
		KEEL_MAP,
		KVM_CREATE_VCPU,
		KVM_GET_SUPPORTED_HV_CPUID,
		KVM_X86_SETUP_MCE,
		KVM_IRQ_LINE,
		KVM_GET_REGS,
	};

	for (u32 i = 0; i < ARRAY_SIZE(unknown); i++)
		assert_int_equal(call(0, unknown[i], 0, 0, 0), -EINVAL);
	/* The whole number counts, and nothing above 32 bits. */
	assert_int_equal(call(0, KVM_GET_API_VERSION | BIT(32), 0, 0, 0), -EINVAL);
	assert_int_equal(call(0, KVM_GET_API_VERSION | BIT(31), 0, 0, 0), -EINVAL);
	assert_int_equal(call(1, KVM_GET_API_VERSION, 0, 0, 0), -EBADF);
	assert_int_equal(call(~0ull, KVM_GET_API_VERSION, 0, 0, 0), -EBADF);
}

static void test_machine_check_capability(void **state)
{
	u64 cap = 0;

	assert_int_equal(request(0, KVM_X86_GET_MCE_CAP_SUPPORTED, &cap, sizeof(cap)), 0);
	assert_int_equal(cap, BIT(8) | BIT(24));
}

static void test_device_attributes(void **state)
{
	struct keel_device_attr a = {.attr = KVM_X86_XCOMP_GUEST_SUPP};

	assert_int_equal(request(0, KVM_HAS_DEVICE_ATTR, &a, sizeof(struct kvm_device_attr)), 0);
	assert_int_equal(request(0, KVM_GET_DEVICE_ATTR, &a, sizeof(a)), 0);
	assert_int_equal(a.value, xstate_supported());
	assert_int_equal(request(0, KVM_SET_DEVICE_ATTR, &a, sizeof(a)), -EINVAL);
	a.attr = 1;
	assert_int_equal(request(0, KVM_GET_DEVICE_ATTR, &a, sizeof(a)), -ENXIO);
	a.attr = 0;
	a.group = 1;
	assert_int_equal(request(0, KVM_HAS_DEVICE_ATTR, &a, sizeof(a)), -ENXIO);
}

static void test_trace_is_not_supported(void **state)
{
	assert_int_equal(call(0, KVM_TRACE_ENABLE, 0, 0, 0), -EOPNOTSUPP);
	assert_int_equal(call(0, KVM_TRACE_PAUSE, 0, 0, 0), -EOPNOTSUPP);
	assert_int_equal(call(0, KVM_TRACE_DISABLE, 0, 0, 0), -EOPNOTSUPP);
}

static void test_check_extension(void **state)
{
	static const u32 one[] = {
		KVM_CAP_IRQCHIP,
		KVM_CAP_HLT,
		KVM_CAP_USER_MEMORY,
		KVM_CAP_SET_TSS_ADDR,
		KVM_CAP_EXT_CPUID,
		KVM_CAP_MP_STATE,
		KVM_CAP_DESTROY_MEMORY_REGION_WORKS,
		KVM_CAP_USER_NMI,
		KVM_CAP_IRQ_INJECT_STATUS,
		KVM_CAP_JOIN_MEMORY_REGIONS_WORKS,
		KVM_CAP_PIT2,
		KVM_CAP_PIT_STATE2,
		KVM_CAP_SET_IDENTITY_MAP_ADDR,
		KVM_CAP_VCPU_EVENTS,
		KVM_CAP_DEBUGREGS,
		KVM_CAP_XSAVE,
		KVM_CAP_XCRS,
		KVM_CAP_GET_TSC_KHZ,
		KVM_CAP_TSC_DEADLINE_TIMER,
		KVM_CAP_KVMCLOCK_CTRL,
		KVM_CAP_SIGNAL_MSI,
		KVM_CAP_READONLY_MEM,
		KVM_CAP_SPLIT_IRQCHIP,
		KVM_CAP_ENABLE_CAP_VM,
		KVM_CAP_CHECK_EXTENSION_VM,
		KVM_CAP_IMMEDIATE_EXIT,
		KVM_CAP_SET_GUEST_DEBUG,
		KVM_CAP_ENFORCE_PV_FEATURE_CPUID,
		KVM_CAP_SREGS2,
		KVM_CAP_X86_USER_SPACE_MSR,
		KVM_CAP_X86_MSR_FILTER,
		KVM_CAP_CLOCKSOURCE,
		KVM_CAP_NOP_IO_DELAY,
		KVM_CAP_ENABLE_CAP,
		KVM_CAP_IOAPIC_POLARITY_IGNORED,
		KVM_CAP_VCPU_ATTRIBUTES,
		KVM_CAP_SYS_ATTRIBUTES,
		KVM_CAP_MSR_PLATFORM_INFO,
		KVM_CAP_STEAL_TIME,
		KVM_CAP_EXIT_ON_EMULATION_FAILURE,
		KVM_CAP_MMU_SHADOW_CACHE_CONTROL,
	};
	static const u32 zero[] = {
		KVM_CAP_COALESCED_MMIO,
		KVM_CAP_SYNC_MMU,
		KVM_CAP_IRQFD,
		KVM_CAP_IOEVENTFD,
		KVM_CAP_TSC_CONTROL,
		KVM_CAP_VM_TSC_CONTROL,
		KVM_CAP_X86_SMM,
		KVM_CAP_NESTED_STATE,
		KVM_CAP_VAPIC,
		KVM_CAP_MULTI_ADDRESS_SPACE,
		100000,
		~0u,
	};

	for (u32 i = 0; i < ARRAY_SIZE(one); i++)
		assert_int_equal(call(0, KVM_CHECK_EXTENSION, one[i], 0, 0), 1);
	for (u32 i = 0; i < ARRAY_SIZE(zero); i++)
		assert_int_equal(call(0, KVM_CHECK_EXTENSION, zero[i], 0, 0), 0);
	assert_int_equal(call(0, KVM_CHECK_EXTENSION, ~0ull, 0, 0), 0);
	assert_int_equal(call(0, KVM_CHECK_EXTENSION, KVM_CAP_NR_VCPUS, 0, 0), 2);
	assert_int_equal(call(0, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS, 0, 0), 64);
	assert_int_equal(call(0, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPU_ID, 0, 0), 4096);
	assert_int_equal(call(0, KVM_CHECK_EXTENSION, KVM_CAP_MCE, 0, 0), 32);
	assert_int_equal(call(0, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS, 0, 0), 32764);
	assert_int_equal(call(0, KVM_CHECK_EXTENSION, KVM_CAP_IRQ_ROUTING, 0, 0), 4096);
	assert_int_equal(call(0, KVM_CHECK_EXTENSION, KVM_CAP_SET_GUEST_DEBUG2, 0, 0), 0x1f0003);
	assert_int_equal(call(0, KVM_CHECK_EXTENSION, KVM_CAP_ADJUST_CLOCK, 0, 0),
			 KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC);
	assert_int_equal(call(0, KVM_CHECK_EXTENSION, KVM_CAP_X2APIC_API, 0, 0), 3);
	assert_int_equal(call(0, KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS, 0, 0), 7);
	assert_int_equal(call(0, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2, 0, 0), 4096);
	/* The same on a VM. */
	assert_int_equal(call(vm_new(), KVM_CHECK_EXTENSION, KVM_CAP_IRQ_ROUTING, 0, 0), 4096);
}

static void test_supported_cpuid(void **state)
{
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entries[100];
	} *cpuid = at(ARGUMENTS);
	u32 count;

	for (u32 nent = 0; nent < 8; nent++) {
		cpuid->head.nent = nent;
		assert_int_equal(call(0, KVM_GET_SUPPORTED_CPUID, ARGUMENTS, sizeof(*cpuid), 0),
				 -E2BIG);
		assert_int_equal(cpuid->head.nent, nent);
	}
	cpuid->head.nent = 100;
	assert_int_equal(call(0, KVM_GET_SUPPORTED_CPUID, ARGUMENTS, sizeof(*cpuid), 0), 0);
	count = cpuid->head.nent;
	/* Clients with room for 80 must be served. */
	assert_in_range(count, 9, 80);
	assert_int_equal(cpuid->entries[0].function, 0);
	/* Exactly as many as there are is enough; one less is not. */
	cpuid->head.nent = count;
	assert_int_equal(call(0, KVM_GET_SUPPORTED_CPUID, ARGUMENTS, sizeof(*cpuid), 0), 0);
	cpuid->head.nent = count - 1;
	assert_int_equal(call(0, KVM_GET_SUPPORTED_CPUID, ARGUMENTS, sizeof(*cpuid), 0), -E2BIG);
	/* The length that the driver states is a bound too. */
	cpuid->head.nent = 100;
	assert_int_equal(call(0, KVM_GET_SUPPORTED_CPUID, ARGUMENTS, 8 + 40, 0), -EINVAL);
	assert_int_equal(call(0, KVM_GET_SUPPORTED_CPUID, ARGUMENTS, 7, 0), -EINVAL);
	assert_int_equal(call(0, KVM_GET_SUPPORTED_CPUID, FAKE_RAM_SIZE, sizeof(*cpuid), 0),
			 -EFAULT);
}

static void test_msr_lists(void **state)
{
	static const u32 lists[] = {KVM_GET_MSR_INDEX_LIST, KVM_GET_MSR_FEATURE_INDEX_LIST};

	for (u32 i = 0; i < 2; i++) {
		u32 *list = at(ARGUMENTS);
		u32 count;

		list[0] = 0;
		assert_int_equal(call(0, lists[i], ARGUMENTS, 4, 0), -E2BIG);
		count = list[0];
		assert_in_range(count, 1, 256);
		memset(list + 1, 0xff, 4 * count + 4);
		assert_int_equal(call(0, lists[i], ARGUMENTS, 4 + 4 * count, 0), 0);
		assert_int_equal(list[0], count);
		assert_int_not_equal(list[count], ~0u);
		assert_int_equal(list[count + 1], ~0u);
		list[0] = count - 1;
		assert_int_equal(call(0, lists[i], ARGUMENTS, 4 + 4 * count, 0), -E2BIG);
		list[0] = count;
		assert_int_equal(call(0, lists[i], ARGUMENTS, 4, 0), -EINVAL);
		assert_int_equal(call(0, lists[i], ARGUMENTS, 3, 0), -EINVAL);
		assert_int_equal(call(0, lists[i], 0, 4096, 0), -EFAULT);
	}
}

static void test_get_feature_msrs(void **state)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry[4];
	} *msrs = at(ARGUMENTS);
	u32 list[256], count = msr_feature_list(list, 256);

	assert_true(count > 0);
	memset(msrs, 0, sizeof(*msrs));
	msrs->head.nmsrs = 2;
	msrs->entry[0].index = list[0];
	msrs->entry[1].index = 0x12345678;
	assert_int_equal(call(0, KVM_GET_MSRS, ARGUMENTS, sizeof(*msrs), 0), 1);
	msrs->entry[0].index = 0x12345678;
	assert_int_equal(call(0, KVM_GET_MSRS, ARGUMENTS, sizeof(*msrs), 0), 0);
	msrs->head.nmsrs = 0;
	assert_int_equal(call(0, KVM_GET_MSRS, ARGUMENTS, sizeof(*msrs), 0), 0);
	msrs->head.nmsrs = 256;
	assert_int_equal(call(0, KVM_GET_MSRS, ARGUMENTS, sizeof(*msrs), 0), -E2BIG);
	msrs->head.nmsrs = 2;
	msrs->entry[0].index = list[0];
	assert_int_equal(call(0, KVM_GET_MSRS, ARGUMENTS, 8 + 16 + 15, 0), -EINVAL);
	assert_int_equal(call(0, KVM_GET_MSRS, ARGUMENTS, 7, 0), -EINVAL);
}

static void test_info(void **state)
{
	struct keel_info info;

	memset(&info, 0xff, sizeof(info));
	assert_int_equal(request(0, KEEL_INFO, &info, sizeof(info)), 0);
	assert_int_equal(info.interface_version, KEEL_INTERFACE);
	assert_int_equal(info.cpu_count, 2);
	assert_int_equal(info.tsc_khz, 2000000);
	assert_int_equal(info.keel_base, FAKE_KEEL_BASE);
	assert_int_equal(info.keel_size, FAKE_KEEL_SIZE);
	assert_int_equal(info.writes_refused, 0);
	assert_int_equal(info.pad, 0);
	assert_true(info.vm_min_pages > 2 && info.vcpu_pages > 2);
	assert_int_equal(call(0, KEEL_INFO, ARGUMENTS, sizeof(info) - 1, 0), -EINVAL);
	/* Not RAM, Keel's, wrapping. */
	assert_int_equal(call(0, KEEL_INFO, FAKE_RAM_SIZE, sizeof(info), 0), -EFAULT);
	assert_int_equal(call(0, KEEL_INFO, 0x1000, sizeof(info), 0), -EFAULT);
	assert_int_equal(call(0, KEEL_INFO, ~0ull - 8, sizeof(info), 0), -EFAULT);
	assert_int_equal(call(0, KEEL_INFO, FAKE_RAM_SIZE - 8, sizeof(info), 0), -EFAULT);
}

static void test_kick_vector(void **state)
{
	assert_int_equal(call(0, KEEL_KICK_VECTOR, 31, 0, 0), -EINVAL);
	assert_int_equal(call(0, KEEL_KICK_VECTOR, 256, 0, 0), -EINVAL);
	assert_int_equal(call(0, KEEL_KICK_VECTOR, 0xf2, 0, 0), 0);
	assert_int_equal(vcpu_kick_vector, 0xf2);
	vcpu_kick_vector = 0;
}

static void test_frames(void **state)
{
	u64 before;

	assert_int_equal(call(0, KEEL_FRAMES, 0, 0, FAKE_RAM_SIZE / PAGE_SIZE), 0);
	before = result2;
	assert_int_equal(result3, 0);
	assert_true(call(0, KEEL_DONATE, DONATIONS, 0, 3) > 0);
	assert_int_equal(frames_get(HPA(DONATIONS + 16 * PAGE_SIZE), 2), 0);
	assert_int_equal(call(0, KEEL_FRAMES, 0, 0, FAKE_RAM_SIZE / PAGE_SIZE), 0);
	assert_int_equal(result2, before + 3);
	assert_int_equal(result3, 2);
	frames_put(HPA(DONATIONS + 16 * PAGE_SIZE), 2);
	assert_int_equal(call(0, KEEL_FRAMES, DONATIONS, 0, 2), 1);
	assert_int_equal(result2, 2);
	assert_int_equal(call(0, KEEL_FRAMES, 1, 0, 1), -EINVAL);
	assert_int_equal(call(0, KEEL_FRAMES, BIT(52), 0, 1), -EINVAL);
	assert_int_equal(call(0, KEEL_FRAMES, 0, 0, BIT(20) + 1), -EINVAL);
	assert_int_equal(call(0, KEEL_FRAMES, BIT(51), 0, BIT(20)), 0);
	assert_int_equal(result2 + result3, 0);
}

static void test_show_virt(void **state)
{
	assert_int_equal(call(0, KEEL_SHOW_VIRT, 2, 0, 0), -EINVAL);
	assert_int_equal(call(0, KEEL_SHOW_VIRT, 1, 0, 0), 0);
	assert_int_equal(call(0, KEEL_SHOW_VIRT, 0, 0, 0), 0);
}

/* A ring of eight bytes, of which the first two are gone. */
u64 log_read(u64 *position, char *out, u64 size)
{
	u64 bytes;

	*position = MAX(*position, 2ull);
	bytes = *position < 8 ? MIN(size, 8 - *position) : 0;
	memcpy(out, "01234567" + MIN(*position, 8ull), bytes);
	*position += bytes;
	return bytes;
}

static void test_log_read(void **state)
{
	assert_int_equal(call(0, KEEL_LOG_READ, ARGUMENTS, 4, 0), 4);
	assert_memory_equal(at(ARGUMENTS), "2345", 4);
	assert_int_equal(result2, 6);
	assert_int_equal(call(0, KEEL_LOG_READ, ARGUMENTS, ~0ull, result2), 2);
	assert_int_equal(call(0, KEEL_LOG_READ, ARGUMENTS, 4096, result2), 0);
	assert_int_equal(call(0, KEEL_LOG_READ, 0x1000, 4, 0), -EFAULT);
	assert_int_equal(call(0, KEEL_RING_DUMP, 0, 0, 0), 0);
}

static void test_donation(void **state)
{
	s64 epoch;

	assert_int_equal(call(0, KEEL_SYNC, 0, 0, 0), 0);
	assert_int_equal(call(0, KEEL_DONATE, DONATIONS + 1, 0, 1), -EINVAL);
	assert_int_equal(call(0, KEEL_DONATE, DONATIONS, 0, 0), -EINVAL);
	assert_int_equal(call(0, KEEL_DONATE, DONATIONS, 0, 8193), -EINVAL);
	assert_int_equal(call(0, KEEL_DONATE, ~0xfffull, 0, 1), -EINVAL);
	assert_int_equal(call(0, KEEL_DONATE, 0x1000, 0, 1), -EBUSY);
	assert_int_equal(call(0, KEEL_DONATE, FAKE_RAM_SIZE, 0, 1), -EBUSY);
	epoch = call(0, KEEL_DONATE, DONATIONS, 0, 16);
	assert_true(epoch > 0);
	/* It passes only when every CPU has been through its guest. */
	assert_int_equal(call(0, KEEL_DONATED, epoch, 0, 0), 0);
	mgmt_epoch_seen(cpus[0]);
	assert_int_equal(call(0, KEEL_DONATED, epoch, 0, 0), 0);
	assert_int_equal(cpus[1]->kick_pending, 0);
	/* One that has not is pushed, but not for an epoch that nobody has begun. */
	assert_int_equal(call(0, KEEL_DONATED, epoch + 1, 0, 1), 0);
	assert_int_equal(cpus[1]->kick_pending, 0);
	assert_int_equal(call(0, KEEL_DONATED, epoch, 0, 1), 0);
	assert_int_equal(cpus[1]->kick_pending, 1);
	mgmt_epoch_seen(cpus[1]);
	assert_int_equal(call(0, KEEL_DONATED, epoch, 0, 0), 1);
	/* Not twice, and not as an argument. */
	assert_int_equal(call(0, KEEL_DONATE, DONATIONS, 0, 1), -EBUSY);
	assert_int_equal(call(0, KEEL_INFO, DONATIONS, sizeof(struct keel_info), 0), -EFAULT);
	/* Back, all or nothing. */
	assert_int_equal(call(0, KEEL_RECLAIM, DONATIONS, 0, 17), -EINVAL);
	assert_int_equal(call(0, KEEL_RECLAIM, DONATIONS + 1, 0, 1), -EINVAL);
	assert_int_equal(call(0, KEEL_RECLAIM, DONATIONS, 0, 16), 0);
	assert_int_equal(call(0, KEEL_RECLAIM, DONATIONS, 0, 16), -EINVAL);
	assert_int_equal(call(0, KEEL_INFO, DONATIONS, sizeof(struct keel_info), 0), 0);
}

static void test_create_vm(void **state)
{
	struct keel_create_vm args = {.base = DONATIONS, .pages = VM_PAGES};
	s64 handle;

	args.type = 1;
	assert_int_equal(request(0, KEEL_CREATE_VM, &args, sizeof(args)), -EINVAL);
	args.type = 0;
	assert_int_equal(request(0, KEEL_CREATE_VM, &args, sizeof(args) - 1), -EINVAL);
	args.pages = 4;
	assert_int_equal(request(0, KEEL_CREATE_VM, &args, sizeof(args)), -ENOMEM);
	args.pages = VM_PAGES;
	assert_int_equal(request(0, KEEL_CREATE_VM, &args, sizeof(args)), -EINVAL);
	args.base = 0x10000;
	assert_int_equal(request(0, KEEL_CREATE_VM, &args, sizeof(args)), -EINVAL);
	args.base = DONATIONS;
	assert_true(call(0, KEEL_DONATE, DONATIONS, 0, VM_PAGES) > 0);
	assert_int_equal(request(0, KEEL_CREATE_VM, &args, sizeof(args)), -EAGAIN);
	all_cpus_flush();
	args.base = DONATIONS + 1;
	assert_int_equal(request(0, KEEL_CREATE_VM, &args, sizeof(args)), -EINVAL);
	args.base = DONATIONS;
	args.pages = VM_PAGES + 1;
	assert_int_equal(request(0, KEEL_CREATE_VM, &args, sizeof(args)), -EINVAL);
	args.pages = VM_PAGES;
	memset(at(DONATIONS), 0xff, VM_PAGES * PAGE_SIZE);
	handle = request(0, KEEL_CREATE_VM, &args, sizeof(args));
	assert_true(handle > 0);
	assert_int_equal(frame_owner(HPA(DONATIONS)), FRAME_KEEL);
	/* Twice the same pages: no. And they cannot be reclaimed. */
	assert_int_equal(request(0, KEEL_CREATE_VM, &args, sizeof(args)), -EINVAL);
	assert_int_equal(call(0, KEEL_RECLAIM, DONATIONS, 0, VM_PAGES), -EINVAL);
	destroy(handle);
}

static void test_create_vm_table_full(void **state)
{
	static u64 handles[HANDLE_VMS];
	static struct kvm_vm dummy;
	struct vm_slot *slot;
	struct vm *vm;
	struct vcpu *vcpu;
	u32 count = 0;

	while (!handle_add(&dummy.vm, &handles[count]))
		count++;
	assert_int_equal(vm_at(DONATIONS, VM_PAGES), -ENFILE);
	/* The pages came back. */
	assert_int_equal(frame_owner(HPA(DONATIONS)), FRAME_MANAGEMENT);
	while (count--) {
		assert_int_equal(handle_enter(cpus[0], handles[count], &slot, &vm, &vcpu), 0);
		handle_remove(slot);
		handle_leave(cpus[0]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_api_version_and_mmap_size, start_two),
		cmocka_unit_test_setup(test_unknown_requests, start_two),
		cmocka_unit_test_setup(test_device_attributes, start_two),
		cmocka_unit_test_setup(test_trace_is_not_supported, start_two),
		cmocka_unit_test_setup(test_machine_check_capability, start_two),
		cmocka_unit_test_setup(test_check_extension, start_two),
		cmocka_unit_test_setup(test_supported_cpuid, start_two),
		cmocka_unit_test_setup(test_msr_lists, start_two),
		cmocka_unit_test_setup(test_get_feature_msrs, start_two),
		cmocka_unit_test_setup(test_info, start_two),
		cmocka_unit_test_setup(test_kick_vector, start_two),
		cmocka_unit_test_setup(test_frames, start_two),
		cmocka_unit_test_setup(test_show_virt, start_two),
		cmocka_unit_test_setup(test_log_read, start_two),
		cmocka_unit_test_setup(test_donation, start_two),
		cmocka_unit_test_setup(test_create_vm, start_two),
		cmocka_unit_test_setup(test_create_vm_table_full, start_two),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
