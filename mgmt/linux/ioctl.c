// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * KVM's requests that Keel executes: their arguments are copied in, the hypercall made, results
 * copied out. The sizes stand here, since a request's number tells neither the direction nor how
 * long its list is.
 */
#include "keel.h"
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#define GROW_PAGES 512 /* what a request gets that lacks memory */
#define GROW_TRIES 16

enum direction { NONE, VALUE, IN, OUT, INOUT };

struct row {
	u32 request;
	u8 direction;
	u16 bytes; /* of the struct; 0: as the number says */
	u16 entry; /* bytes of each element of the list behind it; 0: there is none */
	u16 most;  /* elements, or the request is E2BIG anyway */
	u8 list;   /* enum direction, of the list */
};

#define CPUID_LIST(way) .entry = sizeof(struct kvm_cpuid_entry2), .most = 256, .list = way
#define INDEX_LIST	.entry = sizeof(u32), .most = 1023, .list = OUT
#define MSR_LIST(way)	.entry = sizeof(struct kvm_msr_entry), .most = 255, .list = way

static const struct row system_rows[] = {
	{KVM_GET_API_VERSION, VALUE},
	{KVM_GET_VCPU_MMAP_SIZE, VALUE},
	{KVM_GET_SUPPORTED_CPUID, INOUT, CPUID_LIST(OUT)},
	{KVM_GET_MSR_INDEX_LIST, INOUT, INDEX_LIST},
	{KVM_GET_MSR_FEATURE_INDEX_LIST, INOUT, INDEX_LIST},
	{KVM_GET_MSRS, IN, MSR_LIST(INOUT)},
	{KVM_X86_GET_MCE_CAP_SUPPORTED, OUT},
	{KVM_TRACE_ENABLE, NONE},
	{KVM_TRACE_PAUSE, NONE},
	{KVM_TRACE_DISABLE, NONE},
	{},
};

static const struct row vm_rows[] = {
	{KVM_ENABLE_CAP, IN},
	{KVM_SET_TSS_ADDR, VALUE},
	{KVM_SET_IDENTITY_MAP_ADDR, IN},
	{KVM_SET_BOOT_CPU_ID, VALUE},
	{KVM_SET_NR_MMU_PAGES, VALUE},
	{KVM_GET_NR_MMU_PAGES, NONE},
	{KVM_CREATE_IRQCHIP, NONE},
	{KVM_GET_IRQCHIP, INOUT},
	{KVM_SET_IRQCHIP, IN},
	{KVM_GET_PIT2, OUT},
	{KVM_SET_PIT2, IN},
	{KVM_REINJECT_CONTROL, IN, sizeof(struct kvm_reinject_control)},
	{KVM_IRQ_LINE, IN},
	{KVM_IRQ_LINE_STATUS, INOUT},
	{KVM_SIGNAL_MSI, IN},
	{KVM_SET_GSI_ROUTING, IN, .entry = sizeof(struct kvm_irq_routing_entry), .most = 4096,
	 .list = IN},
	{KVM_GET_CLOCK, OUT},
	{KVM_SET_CLOCK, IN},
	{KVM_GET_TSC_KHZ, NONE},
	{KVM_SET_TSC_KHZ, VALUE},
	{},
};

static const struct row vcpu_rows[] = {
	{KVM_GET_REGS, OUT},
	{KVM_SET_REGS, IN},
	{KVM_GET_SREGS, OUT},
	{KVM_SET_SREGS, IN},
	{KVM_GET_SREGS2, OUT},
	{KVM_SET_SREGS2, IN},
	{KVM_GET_FPU, OUT},
	{KVM_SET_FPU, IN},
	{KVM_GET_XSAVE, OUT},
	{KVM_GET_XSAVE2, OUT},
	{KVM_SET_XSAVE, IN},
	{KVM_GET_XCRS, OUT},
	{KVM_SET_XCRS, IN},
	{KVM_GET_MSRS, IN, MSR_LIST(INOUT)},
	{KVM_SET_MSRS, IN, MSR_LIST(IN)},
	{KVM_SET_CPUID, IN, .entry = sizeof(struct kvm_cpuid_entry), .most = 256, .list = IN},
	{KVM_SET_CPUID2, IN, CPUID_LIST(IN)},
	{KVM_GET_CPUID2, INOUT, CPUID_LIST(OUT)},
	{KVM_GET_LAPIC, OUT},
	{KVM_SET_LAPIC, IN},
	{KVM_GET_MP_STATE, OUT},
	{KVM_SET_MP_STATE, IN},
	{KVM_GET_VCPU_EVENTS, OUT},
	{KVM_SET_VCPU_EVENTS, IN},
	{KVM_GET_DEBUGREGS, OUT},
	{KVM_SET_DEBUGREGS, IN},
	{KVM_SET_GUEST_DEBUG, IN},
	{KVM_INTERRUPT, IN},
	{KVM_NMI, NONE},
	{KVM_X86_SETUP_MCE, IN},
	{KVM_X86_SET_MCE, IN},
	{KVM_GET_TSC_KHZ, NONE},
	{KVM_SET_TSC_KHZ, VALUE},
	{KVM_ENABLE_CAP, IN},
	{KVM_KVMCLOCK_CTRL, NONE},
	{KVM_TPR_ACCESS_REPORTING, INOUT},
	{KVM_SET_VAPIC_ADDR, IN},
	{KEEL_STATS, OUT, sizeof(struct keel_stats)},
	{},
};

static const struct row *find(const struct row *rows, u32 request)
{
	for (; rows->request; rows++)
		if (rows->request == request)
			return rows;
	return NULL;
}

void vm_take_wakes(struct keel_vm *vm)
{
	u64 indexes = hypercall(vm->handle, KEEL_TAKE_WAKE, 0, 0, 0).second;

	for (; indexes; indexes &= indexes - 1) {
		struct keel_vcpu *vcpu = READ_ONCE(vm->vcpus[__ffs64(indexes)]);

		if (!vcpu)
			continue;
		WRITE_ONCE(vcpu->woken, true);
		wake_up(&vcpu->wait);
	}
}

struct keel_result vm_call(struct keel_vm *vm, u64 handle, u32 request, u64 argument, u64 bytes,
			   u64 extra)
{
	struct keel_result r;

	for (int grown = 0;;) {
		r = hypercall(handle, request, argument, bytes, extra);
		if (r.reply & KEEL_REPLY_WAKE)
			vm_take_wakes(vm);
		if (r.value == -ENOMEM && grown++ < GROW_TRIES) {
			if (vm_grow(vm, GROW_PAGES))
				return r;
		} else if (r.value != -EAGAIN) {
			return r;
		}
		if (fatal_signal_pending(current)) {
			r.value = -EINTR;
			return r;
		}
		cond_resched();
	}
}

static struct keel_result call(struct keel_vm *vm, u64 handle, u32 request, u64 argument, u64 bytes)
{
	if (vm)
		return vm_call(vm, handle, request, argument, bytes, 0);
	return hypercall(handle, request, argument, bytes, 0);
}

/* Elements that the caller has room for, or brings, as the struct's first word says. */
static int list_bytes(const struct row *row, const void __user *arg, size_t *bytes)
{
	u32 count;

	*bytes = 0;
	if (!row->entry)
		return 0;
	if (get_user(count, (const u32 __user *)arg))
		return -EFAULT;
	/* Keel refuses a list that is too long before it looks at it: nor is it copied. */
	if (count > row->most && row->list != OUT)
		return 0;
	*bytes = (size_t)min_t(u32, count, row->most) * row->entry;
	return 0;
}

static long pass_struct(struct keel_vm *vm, u64 handle, const struct row *row, void __user *arg,
			void *page)
{
	size_t bytes = row->bytes ?: _IOC_SIZE(row->request), list, in, out;
	bool reads = row->direction == IN || row->direction == INOUT;
	bool writes = row->direction == OUT || row->direction == INOUT;
	long result = list_bytes(row, arg, &list);
	void *data;

	if (result)
		return result;
	if (bytes + list > PAGE_SIZE)
		page = NULL;
	data = page ?: kmalloc(bytes + list, GFP_KERNEL_ACCOUNT);
	if (!data)
		return -ENOMEM;
	memset(data, 0, bytes + list);
	in = row->list == IN || row->list == INOUT ? bytes + list : bytes;
	result = -EFAULT;
	if (reads && copy_from_user(data, arg, in))
		goto out;
	/* What was looked at before it was copied may be another number now: the copy counts. */
	result = call(vm, handle, row->request, virt_to_phys(data), bytes + list).value;
	if (result < 0 && result != -E2BIG)
		goto out;
	out = writes ? bytes : 0;
	if (result >= 0 && row->list == OUT)
		out = bytes + min_t(size_t, list, (size_t) * (u32 *)data * row->entry);
	if (result >= 0 && row->list == INOUT)
		out = bytes + list;
	if (copy_to_user(arg, data, out))
		result = -EFAULT;
out:
	if (!page)
		kfree(data);
	return result;
}

/* The value goes behind the struct. An unknown attribute is told before a bad address is. */
static long device_attr(struct keel_vm *vm, u64 handle, u32 request, void __user *arg)
{
	struct keel_device_attr *data = kzalloc(sizeof(*data), GFP_KERNEL_ACCOUNT);
	void __user *value;
	long result = -EFAULT;

	if (!data)
		return -ENOMEM;
	if (copy_from_user(data, arg, sizeof(struct kvm_device_attr)))
		goto out;
	value = u64_to_user_ptr(data->addr);
	result = call(vm, handle, KVM_HAS_DEVICE_ATTR, virt_to_phys(data), sizeof(*data)).value;
	if (result || request == KVM_HAS_DEVICE_ATTR)
		goto out;
	result = -EFAULT;
	if (request == KVM_SET_DEVICE_ATTR &&
	    copy_from_user(&data->value, value, sizeof(data->value)))
		goto out;
	result = call(vm, handle, request, virt_to_phys(data), sizeof(*data)).value;
	if (!result && request == KVM_GET_DEVICE_ATTR &&
	    copy_to_user(value, &data->value, sizeof(data->value)))
		result = -EFAULT;
out:
	kfree(data);
	return result;
}

static bool is_device_attr(u32 request)
{
	return request == KVM_HAS_DEVICE_ATTR || request == KVM_GET_DEVICE_ATTR ||
	       request == KVM_SET_DEVICE_ATTR;
}

long keel_pass(struct keel_vm *vm, u64 handle, u32 request, unsigned long arg, long unknown,
	       void *page)
{
	const struct row *rows = !vm ? system_rows : handle == vm->handle ? vm_rows : vcpu_rows;
	const struct row *row = find(rows, request);

	if (is_device_attr(request) && rows != vm_rows)
		return device_attr(vm, handle, request, (void __user *)arg);
	if (!row)
		return unknown;
	if (row->direction == NONE || row->direction == VALUE)
		return call(vm, handle, request, row->direction == VALUE ? arg : 0, 0).value;
	return pass_struct(vm, handle, row, (void __user *)arg, page);
}
