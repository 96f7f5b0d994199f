/* SPDX-License-Identifier: MIT */
/* Requests on the system object: what Keel is and can, donations of memory, creation of VMs. */
#include <linux/kvm.h>

#include "arch-x86/log.h"
#include "core/cpuid.h"
#include "core/mce.h"
#include "core/mgmt.h"
#include "core/msr.h"
#include "core/stats.h"
#include "core/xstate.h"
#include "devices/kvmclock.h"
#include "kvm/hypercall.h"
#include "lib/string.h"
#include "mm/frames.h"
#include "mm/phys.h"

#define MSRS_MAX       256 /* KVM's MAX_IO_MSRS */
#define FRAMES_COUNTED BIT(20)
/* The pages of struct kvm_vm, the pool's bitmap, and what the other layers take. */
#define VM_MIN_PAGES (KVM_VM_PAGES + 1 + vm_pages())

/* Held while frames are donated or change hands: a range goes to one VM or back, never both. */
static struct spinlock donation_lock;
static u64 newest_epoch;

/* ---- what Keel is and can -------------------------------------------------------------- */

static s64 get_api_version(struct call *call)
{
	return call->argument ? -EINVAL : KVM_API_VERSION;
}

static s64 get_vcpu_mmap_size(struct call *call)
{
	return call->argument ? -EINVAL : (s64)(RUN_PAGES * PAGE_SIZE);
}

s64 check_extension(struct call *call)
{
	switch (call->argument) {
	case KVM_CAP_IRQCHIP:
	case KVM_CAP_HLT:
	case KVM_CAP_USER_MEMORY:
	case KVM_CAP_SET_TSS_ADDR:
	case KVM_CAP_EXT_CPUID:
	case KVM_CAP_MP_STATE:
	case KVM_CAP_DESTROY_MEMORY_REGION_WORKS:
	case KVM_CAP_USER_NMI:
	case KVM_CAP_SET_GUEST_DEBUG:
	case KVM_CAP_REINJECT_CONTROL:
	case KVM_CAP_IRQ_INJECT_STATUS:
	case KVM_CAP_JOIN_MEMORY_REGIONS_WORKS:
	case KVM_CAP_PIT2:
	case KVM_CAP_SET_BOOT_CPU_ID:
	case KVM_CAP_PIT_STATE2:
	case KVM_CAP_SET_IDENTITY_MAP_ADDR:
	case KVM_CAP_INTERNAL_ERROR_DATA:
	case KVM_CAP_VCPU_EVENTS:
	case KVM_CAP_DEBUGREGS:
	case KVM_CAP_X86_ROBUST_SINGLESTEP:
	case KVM_CAP_XSAVE:
	case KVM_CAP_XCRS:
	case KVM_CAP_GET_TSC_KHZ:
	case KVM_CAP_TSC_DEADLINE_TIMER:
	case KVM_CAP_KVMCLOCK_CTRL:
	case KVM_CAP_SIGNAL_MSI:
	case KVM_CAP_READONLY_MEM:
	case KVM_CAP_SPLIT_IRQCHIP:
	case KVM_CAP_ENABLE_CAP_VM:
	case KVM_CAP_CHECK_EXTENSION_VM:
	case KVM_CAP_IMMEDIATE_EXIT:
	case KVM_CAP_GET_MSR_FEATURES:
	case KVM_CAP_EXCEPTION_PAYLOAD:
	case KVM_CAP_X86_TRIPLE_FAULT_EVENT:
	case KVM_CAP_ENFORCE_PV_FEATURE_CPUID:
	case KVM_CAP_CLOCKSOURCE:
	case KVM_CAP_NOP_IO_DELAY:
	case KVM_CAP_ENABLE_CAP:
	case KVM_CAP_IOAPIC_POLARITY_IGNORED:
	case KVM_CAP_VCPU_ATTRIBUTES:
	case KVM_CAP_SYS_ATTRIBUTES:
	case KVM_CAP_EXIT_ON_EMULATION_FAILURE:
	case KVM_CAP_LAST_CPU:
	case KVM_CAP_MSR_PLATFORM_INFO:
	case KVM_CAP_STEAL_TIME:
	case KVM_CAP_SREGS2:
	case KVM_CAP_X86_USER_SPACE_MSR:
	case KVM_CAP_X86_MSR_FILTER:
	case KVM_CAP_MMU_SHADOW_CACHE_CONTROL:
		return 1;
	case KVM_CAP_X86_DISABLE_EXITS:
		return KVM_X86_DISABLE_EXITS_HLT | KVM_X86_DISABLE_EXITS_PAUSE |
		       KVM_X86_DISABLE_EXITS_CSTATE |
		       (vm_native_possible() & NATIVE_MWAIT ? KVM_X86_DISABLE_EXITS_MWAIT : 0);
	case KVM_CAP_XSAVE2: /* no processor has more for what Keel carries */
		return xstate_size() <= sizeof(struct kvm_xsave) ? sizeof(struct kvm_xsave) : 0;
	case KVM_CAP_SYNC_REGS:
		return KVM_SYNC_X86_VALID_FIELDS;
	case KVM_CAP_TSC_CONTROL:
	case KVM_CAP_VM_TSC_CONTROL:
		return (virt_features & VIRT_TSC_SCALING) != 0;
	case KVM_CAP_NR_VCPUS:
		return cpu_count;
	case KVM_CAP_MAX_VCPUS:
		return VM_VCPUS;
	case KVM_CAP_MAX_VCPU_ID:
		return VCPU_ID_MAX;
	case KVM_CAP_NR_MEMSLOTS:
		return MEMSLOT_MAX;
	case KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2:
		return DIRTY_LOG_MANUAL | DIRTY_LOG_SET;
	case KVM_CAP_MCE:
		return MCE_BANKS;
	case KVM_CAP_IRQ_ROUTING:
		return IRQ_ROUTES_MAX;
	case KVM_CAP_ADJUST_CLOCK:
		return KVMCLOCK_FLAGS;
	case KVM_CAP_X2APIC_API:
		return X2APIC_API_FLAGS;
	case KVM_CAP_SET_GUEST_DEBUG2:
		return GUEST_DEBUG_FLAGS;
	}
	return 0;
}

/* The header of struct kvm_cpuid2; its entries follow. */
struct cpuid_header {
	u32 nent, padding;
};

static s64 get_supported_cpuid(struct call *call)
{
	const u32 room = CALL_DATA / sizeof(struct cpuid_entry);
	struct cpuid_header header;
	u32 count;
	int error = call_read(call, 0, &header, sizeof(header));

	if (error)
		return error;
	count = MIN(cpuid_supported(call->data, room), room);
	if (header.nent < count)
		return -E2BIG;
	header.nent = count;
	error = call_write(call, sizeof(header), call->data, count * sizeof(struct cpuid_entry));
	return error ? error : call_write(call, 0, &header, sizeof(header));
}

static s64 index_list(struct call *call, u32 (*list)(u32 *out, u32 max))
{
	const u32 room = CALL_DATA / sizeof(u32);
	u32 asked, count = MIN(list(call->data, room), room);
	int error = call_read(call, 0, &asked, sizeof(asked));

	if (!error)
		error = call_write(call, 0, &count, sizeof(count));
	if (error)
		return error;
	if (asked < count)
		return -E2BIG;
	return call_write(call, sizeof(count), call->data, count * sizeof(u32));
}

static s64 get_msr_index_list(struct call *call)
{
	return index_list(call, msr_list);
}

static s64 get_msr_feature_index_list(struct call *call)
{
	return index_list(call, msr_feature_list);
}

s64 msrs_list(struct call *call, int (*one)(struct call *call, u32 index, u64 *value), bool write)
{
	struct kvm_msrs header;
	u32 i;
	int error = call_read(call, 0, &header, sizeof(header));

	if (error)
		return error;
	if (header.nmsrs >= MSRS_MAX)
		return -E2BIG;
	for (i = 0; i < header.nmsrs; i++) {
		struct kvm_msr_entry entry;
		u64 offset = sizeof(header) + i * sizeof(entry);
		u64 value;

		error = call_read(call, offset, &entry, sizeof(entry));
		if (error)
			return error;
		value = entry.data;
		if (one(call, entry.index, &value))
			break;
		entry.data = value;
		if (!write && (error = call_write(call, offset, &entry, sizeof(entry))))
			return error;
	}
	return i;
}

static int get_feature(struct call *call, u32 index, u64 *value)
{
	return msr_feature_get(index, value);
}

static s64 get_msrs(struct call *call)
{
	return msrs_list(call, get_feature, false);
}

static s64 has_attribute(struct call *call)
{
	const struct kvm_device_attr *attribute = call->data;

	return attribute->group || attribute->attr != KVM_X86_XCOMP_GUEST_SUPP ? -ENXIO : 0;
}

static s64 get_attribute(struct call *call)
{
	struct keel_device_attr *attribute = call->data;

	attribute->value = xstate_supported();
	return has_attribute(call);
}

static s64 get_mce_cap_supported(struct call *call)
{
	*(u64 *)call->data = mce_supported();
	return 0;
}

/* The old trace interface: gone from Linux, which answers so. */
static s64 trace(struct call *call)
{
	return -EOPNOTSUPP;
}

static s64 info(struct call *call)
{
	struct keel_info *info = call->data;

	info->interface_version = KEEL_INTERFACE;
	info->cpu_count = cpu_count;
	info->tsc_khz = host_tsc_khz;
	info->keel_base = mgmt_reserved_base().v;
	info->keel_size = mgmt_reserved_pages() * PAGE_SIZE;
	info->writes_refused = mgmt_counters.keel_writes;
	info->epoch = newest_epoch;
	info->vm_min_pages = VM_MIN_PAGES;
	info->vcpu_pages = vcpu_pages();
	info->vendor = virt->ept;
	return 0;
}

static s64 kick_vector(struct call *call)
{
	if (call->argument < 32 || call->argument > 255)
		return -EINVAL;
	__atomic_store_n(&vcpu_kick_vector, (u8)call->argument, __ATOMIC_RELAXED);
	return 0;
}

/* For who looks for leaks: the table is read as it is, without a lock. */
static s64 frames(struct call *call)
{
	if (!IS_ALIGNED(call->argument, PAGE_SIZE) || call->argument > MASK(51, 0) ||
	    call->extra > FRAMES_COUNTED)
		return -EINVAL;
	return frames_count(HPA(call->argument), call->extra, &call->result2, &call->result3);
}

static s64 show_virt(struct call *call)
{
	if (call->argument > 1)
		return -EINVAL;
	mgmt_show_virt(call->argument);
	return 0;
}

static s64 log_read_out(struct call *call)
{
	u64 position = call->extra;
	u64 bytes = log_read(&position, call->data, MIN(call->length, (u64)CALL_DATA));
	int error = bytes ? call_write(call, 0, call->data, bytes) : 0;

	call->result2 = position;
	return error ? error : (s64)bytes;
}

static s64 ring_dump(struct call *call)
{
	stats_ring_dump();
	return 0;
}

/* ---- donations and VMs ----------------------------------------------------------------- */

/* A range of 1 to KEEL_DONATE_PAGES whole pages. */
static bool range_valid(u64 base, u64 pages)
{
	return IS_ALIGNED(base, PAGE_SIZE) && pages && pages <= KEEL_DONATE_PAGES &&
	       base <= MASK(51, 0) - pages * PAGE_SIZE;
}

/* Any entry into the management guest flushes what was donated before it: mgmt_epoch_passed(). */
static s64 sync(struct call *call)
{
	return 0;
}

static s64 donate(struct call *call)
{
	u64 epoch;
	int error;

	if (!range_valid(call->argument, call->extra))
		return -EINVAL;
	spin_lock(&donation_lock);
	error = mgmt_leave(HPA(call->argument), call->extra, &epoch);
	if (!error)
		newest_epoch = epoch;
	spin_unlock(&donation_lock);
	return error ? error : (s64)epoch;
}

static s64 donated(struct call *call)
{
	if (call->extra && call->argument <= mgmt_epoch())
		mgmt_epoch_push(call->cpu, call->argument);
	return mgmt_epoch_passed(call->argument);
}

int donation_take(hpa_t base, u64 pages)
{
	int error;

	if (!range_valid(base.v, pages))
		return -EINVAL;
	spin_lock(&donation_lock);
	/* Of the newest donation, so certainly of this one. */
	error = mgmt_epoch_passed(newest_epoch) ? frames_take(base, pages) : -EAGAIN;
	spin_unlock(&donation_lock);
	return error;
}

void donation_return(hpa_t base, u64 pages)
{
	memset(phys_ptr(base), 0, pages * PAGE_SIZE);
	mgmt_return(base, pages);
}

static s64 reclaim(struct call *call)
{
	hpa_t base = HPA(call->argument);
	s64 result = 0;

	if (!range_valid(base.v, call->extra))
		return -EINVAL;
	spin_lock(&donation_lock);
	for (u64 i = 0; i < call->extra; i++)
		if (frame_owner(HPA(base.v + i * PAGE_SIZE)) != FRAME_LEAVING)
			result = -EINVAL;
	if (result == 0)
		mgmt_return(base, call->extra);
	spin_unlock(&donation_lock);
	return result;
}

/* Builds a VM in pages that are Keel's already. */
static int build_vm(struct kvm_vm *kvm, const struct keel_create_vm *args)
{
	struct vm *vm = &kvm->vm;
	int error;

	memset(kvm, 0, KVM_VM_PAGES * PAGE_SIZE);
	kvm->range_count = 1;
	kvm->ranges[0] = (struct vm_range){HPA(args->base), args->pages};
	pool_init(&vm->pool);
	error = pool_add(&vm->pool, HPA(args->base + KVM_VM_PAGES * PAGE_SIZE),
			 args->pages - KVM_VM_PAGES);
	if (error)
		return error;
	error = vm_init(vm, VIRT_CHILD);
	if (error)
		return error;
	vm->wall_time_ns = args->wall_time_ns;
	return kvmclock_vm_init(vm);
}

static s64 create_vm(struct call *call)
{
	struct keel_create_vm args = *(struct keel_create_vm *)call->data;
	struct kvm_vm *kvm = phys_ptr(HPA(args.base));
	u64 handle;
	int error;

	if (args.type != 0)
		return -EINVAL;
	if (args.pages < VM_MIN_PAGES)
		return -ENOMEM;
	error = donation_take(HPA(args.base), args.pages);
	if (error)
		return error;
	error = build_vm(kvm, &args);
	if (!error)
		error = handle_add(&kvm->vm, &handle);
	if (error) {
		donation_return(HPA(args.base), args.pages);
		return error;
	}
	return handle;
}

static const struct request rows[] = {
	{KVM_GET_API_VERSION, 0, 0, 0, get_api_version},
	{KVM_CHECK_EXTENSION, 0, 0, 0, check_extension},
	{KVM_GET_VCPU_MMAP_SIZE, 0, 0, 0, get_vcpu_mmap_size},
	{KVM_GET_SUPPORTED_CPUID, 0, 0, 0, get_supported_cpuid},
	{KVM_GET_MSR_INDEX_LIST, 0, 0, 0, get_msr_index_list},
	{KVM_GET_MSR_FEATURE_INDEX_LIST, 0, 0, 0, get_msr_feature_index_list},
	{KVM_GET_MSRS, 0, 0, 0, get_msrs},
	{KVM_HAS_DEVICE_ATTR, sizeof(struct kvm_device_attr), 0, 0, has_attribute},
	{KVM_GET_DEVICE_ATTR, sizeof(struct keel_device_attr), sizeof(struct keel_device_attr), 0,
	 get_attribute},
	{KVM_X86_GET_MCE_CAP_SUPPORTED, 0, sizeof(u64), 0, get_mce_cap_supported},
	{KVM_TRACE_ENABLE, 0, 0, 0, trace},
	{KVM_TRACE_PAUSE, 0, 0, 0, trace},
	{KVM_TRACE_DISABLE, 0, 0, 0, trace},
	{KEEL_INFO, 0, sizeof(struct keel_info), 0, info},
	{KEEL_SYNC, 0, 0, 0, sync},
	{KEEL_DONATE, 0, 0, 0, donate},
	{KEEL_DONATED, 0, 0, 0, donated},
	{KEEL_RECLAIM, 0, 0, 0, reclaim},
	{KEEL_CREATE_VM, sizeof(struct keel_create_vm), 0, 0, create_vm},
	{KEEL_KICK_VECTOR, 0, 0, 0, kick_vector},
	{KEEL_LOG_READ, 0, 0, 0, log_read_out},
	{KEEL_FRAMES, 0, 0, 0, frames},
	{KEEL_SHOW_VIRT, 0, 0, 0, show_virt},
	{KEEL_RING_DUMP, 0, 0, 0, ring_dump},
};

const struct request_table system_requests = {rows, ARRAY_SIZE(rows), -EINVAL};
