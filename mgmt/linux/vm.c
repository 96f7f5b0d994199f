// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A VM's file: its life, and the requests on it. */
#include "keel.h"
#include <linux/anon_inodes.h>
#include <linux/compat.h>
#include <linux/file.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

static void vm_free(struct keel_vm *vm)
{
	mmdrop(vm->mm);
	kfree(vm);
	atomic_long_dec(&keel_objects.vms);
}

void vm_put(struct keel_vm *vm)
{
	if (!refcount_dec_and_test(&vm->users))
		return;
	eventfd_end(vm);
	memory_end(vm);
	for (u32 i = 0; i < vm->vcpu_count; i++)
		exits_add(vm->vcpus[i]);
	power_take_back(vm);
	for (u32 i = 0; i < vm->vcpu_count; i++)
		vcpu_free(vm->vcpus[i]);
	vm_free(vm);
}

static int vm_release(struct inode *inode, struct file *file)
{
	struct keel_vm *vm = file->private_data;

	eventfd_release_irqfds(vm);
	vm_put(vm);
	return 0;
}

/* While it takes them, no other request may find a vCPU busy. */
static long create_pit2(struct keel_vm *vm, const void __user *arg)
{
	struct kvm_pit_config *config = memdup_user(arg, sizeof(*config));
	long result;

	if (IS_ERR(config))
		return PTR_ERR(config);
	down_write(&vm->pit_lock);
	do {
		result = vm_call(vm, vm->handle, KVM_CREATE_PIT2, virt_to_phys(config),
				 sizeof(*config), 0)
				 .value;
		cond_resched();
	} while (result == -EBUSY && !fatal_signal_pending(current));
	up_write(&vm->pit_lock);
	kfree(config);
	return result;
}

/* Whether a VM has an interrupt controller is asked of Keel: its lines can be set only then. */
static long may_create_irqchip(struct keel_vm *vm, unsigned int request, unsigned long arg)
{
	struct kvm_irq_level *none = kzalloc(sizeof(*none), GFP_KERNEL);
	long result;

	if (!none)
		return -ENOMEM;
	result = keel_pass(vm, vm->handle, request, arg, -ENOTTY, NULL);
	/* Before there is one no line is up, which this would let down. */
	if (!READ_ONCE(vm->irqchip) &&
	    hypercall(vm->handle, KVM_IRQ_LINE, virt_to_phys(none), sizeof(*none), 0).value !=
		    -ENXIO)
		WRITE_ONCE(vm->irqchip, true);
	kfree(none);
	return result;
}

static long enable_cap(struct keel_vm *vm, unsigned long arg)
{
	struct kvm_enable_cap cap;

	if (copy_from_user(&cap, (const void __user *)arg, sizeof(cap)))
		return -EFAULT;
	if (cap.cap != KVM_CAP_HALT_POLL)
		return may_create_irqchip(vm, KVM_ENABLE_CAP, arg);
	if (cap.flags || cap.args[0] != (u32)cap.args[0])
		return -EINVAL;
	WRITE_ONCE(vm->poll_most_ns, cap.args[0]);
	return 0;
}

/* A 32-bit VMM's structs differ in this alone: the upper half of a pointer's room says nothing. */
static void __user *pointer(void __user *p)
{
	return in_compat_syscall() ? compat_ptr((unsigned long)p) : p;
}

static long get_dirty_log(struct keel_vm *vm, const void __user *arg)
{
	struct kvm_dirty_log log;

	if (copy_from_user(&log, arg, sizeof(log)))
		return -EFAULT;
	return memory_dirty_log(vm, log.slot, pointer(log.dirty_bitmap));
}

static long clear_dirty_log(struct keel_vm *vm, const void __user *arg)
{
	/* Argument of a hypercall: not on the stack. */
	struct kvm_clear_dirty_log *log = memdup_user(arg, sizeof(*log));
	long result;

	if (IS_ERR(log))
		return PTR_ERR(log);
	result = memory_clear_dirty_log(vm, log, pointer(log->dirty_bitmap));
	kfree(log);
	return result;
}

struct compat_msr_filter {
	u32 flags;
	struct {
		u32 flags, nmsrs, base;
		compat_uptr_t bitmap;
	} ranges[KVM_MSR_FILTER_MAX_RANGES];
};

#define COMPAT_SET_MSR_FILTER _IOW(KVMIO, 0xc6, struct compat_msr_filter)

/* A 32-bit VMM's, with shorter ranges. True: it cannot be read. */
static bool compat_filter(struct kvm_msr_filter *filter, const struct compat_msr_filter __user *arg)
{
	struct compat_msr_filter from;

	if (copy_from_user(&from, arg, sizeof(from)))
		return true;
	filter->flags = from.flags;
	for (int i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++)
		filter->ranges[i] =
			(struct kvm_msr_filter_range){.flags = from.ranges[i].flags,
						      .nmsrs = from.ranges[i].nmsrs,
						      .base = from.ranges[i].base,
						      .bitmap = compat_ptr(from.ranges[i].bitmap)};
	return false;
}

/* The ranges' bitmaps go behind the struct: Keel does not follow its pointers. */
static long set_msr_filter(struct keel_vm *vm, const void __user *arg, bool compat)
{
	size_t bytes = sizeof(struct kvm_msr_filter), size;
	struct kvm_msr_filter *filter =
		kzalloc(bytes + KVM_MSR_FILTER_MAX_RANGES * KVM_MSR_FILTER_MAX_BITMAP_SIZE,
			GFP_KERNEL_ACCOUNT);
	long result = -EFAULT;

	if (!filter)
		return -ENOMEM;
	if (compat ? compat_filter(filter, arg) : copy_from_user(filter, arg, bytes))
		goto out;
	for (int i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++) {
		const struct kvm_msr_filter_range *range = &filter->ranges[i];

		size = ALIGN((u64)range->nmsrs, 64) / 8;
		if (size > KVM_MSR_FILTER_MAX_BITMAP_SIZE)
			break; /* Keel refuses it by its number */
		if (copy_from_user((char *)filter + bytes, range->bitmap, size))
			goto out;
		bytes += size;
	}
	result = vm_call(vm, vm->handle, KVM_X86_SET_MSR_FILTER, virt_to_phys(filter), bytes, 0)
			 .value;
out:
	kfree(filter);
	return result;
}

static long vm_ioctl(struct file *file, unsigned int request, unsigned long arg)
{
	struct keel_vm *vm = file->private_data;
	void __user *user = (void __user *)arg;

	if (vm->mm != current->mm || READ_ONCE(vm->dead))
		return -EIO;
	switch (request) {
	case KVM_CREATE_VCPU:
		return vcpu_create(vm, arg);
	case KVM_SET_USER_MEMORY_REGION:
		return memory_set_region(vm, user);
	case KVM_GET_DIRTY_LOG:
		return get_dirty_log(vm, user);
	case KVM_CLEAR_DIRTY_LOG:
		return clear_dirty_log(vm, user);
	case KVM_CREATE_PIT2:
		return create_pit2(vm, user);
	case KVM_CHECK_EXTENSION:
		return keel_check_extension(arg);
	case KVM_IOEVENTFD:
		return eventfd_ioeventfd(vm, user);
	case KVM_IRQFD:
		return eventfd_irqfd(vm, user);
	case KVM_REGISTER_COALESCED_MMIO:
	case KVM_UNREGISTER_COALESCED_MMIO:
		return eventfd_zone(vm, user, request == KVM_REGISTER_COALESCED_MMIO);
	case KVM_X86_SET_MSR_FILTER:
		return set_msr_filter(vm, user, false);
	case COMPAT_SET_MSR_FILTER:
		return in_compat_syscall() ? set_msr_filter(vm, user, true) : -ENOTTY;
	case KVM_ENABLE_CAP:
		return enable_cap(vm, arg);
	case KVM_GET_STATS_FD:
		return stats_open(vm, NULL, 0);
	case KVM_CREATE_IRQCHIP:
		return may_create_irqchip(vm, request, arg);
	}
	return keel_pass(vm, vm->handle, request, arg, -ENOTTY, NULL);
}

static const struct file_operations vm_fops = {
	.owner = THIS_MODULE,
	.release = vm_release,
	.unlocked_ioctl = vm_ioctl,
	.compat_ioctl = vm_ioctl,
	.llseek = noop_llseek,
};

/* The VM in Keel, in its first donated range. */
static int create_in_keel(struct keel_vm *vm, unsigned long type)
{
	struct keel_create_vm *args = kzalloc(sizeof(*args), GFP_KERNEL);
	struct keel_range range, *first = &range;
	s64 handle;
	int error;

	if (!args)
		return -ENOMEM;
	error = keel_allocate(keel_info.vm_min_pages, first);
	if (error)
		goto free;
	mutex_lock(&keel_donation);
	error = keel_donate(first);
	if (error)
		goto out;
	*args = (struct keel_create_vm){.base = page_to_phys(first->page),
					.pages = 1ull << first->order,
					.wall_time_ns = ktime_get_real_ns(),
					.type = type};
	handle = hypercall_system(KEEL_CREATE_VM, virt_to_phys(args), sizeof(*args), 0).value;
	if (handle < 0) {
		keel_reclaim(first);
		error = handle;
		goto out;
	}
	vm->handle = handle;
	range_add(vm, first);
out:
	mutex_unlock(&keel_donation);
free:
	kfree(args);
	return error;
}

int vm_create(unsigned long type)
{
	struct keel_vm *vm = kzalloc(sizeof(*vm), GFP_KERNEL_ACCOUNT);
	int error, fd;

	if (!vm)
		return -ENOMEM;
	atomic_long_inc(&keel_objects.vms);
	refcount_set(&vm->users, 1);
	init_rwsem(&vm->pit_lock);
	mutex_init(&vm->vcpus_lock);
	mutex_init(&vm->pool_lock);
	vm->poll_most_ns = ~0ull;
	vm->mm = current->mm;
	mmgrab(vm->mm);
	error = power_begin();
	if (error)
		goto drop;
	error = create_in_keel(vm, type);
	if (error)
		goto done;
	error = eventfd_init(vm);
	if (error)
		goto take_back;
	error = memory_init(vm);
	if (error)
		goto end;
	power_add(vm);
	power_done();
	fd = anon_inode_getfd("kvm-vm", &vm_fops, vm, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		vm_put(vm);
	return fd;
end:
	eventfd_end(vm);
take_back:
	vm_take_back(vm);
done:
	power_done();
drop:
	vm_free(vm);
	return error;
}
