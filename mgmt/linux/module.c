// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Loading, /dev/kvm and the requests on it. */
#include "keel.h"
#include <linux/kvm_host.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <asm/irq_vectors.h>

struct keel_info keel_info;
struct keel_objects keel_objects;
/* What Linux's entry code wants to have for its own KVM; it only counts signals there. */
struct kvm_vcpu *keel_no_vcpu;

/* Keel's leaves stand at a multiple of 0x100, since an outer hypervisor may have the first. */
static int find_keel(void)
{
	u32 a, b, c, d;

	if (!boot_cpu_has(X86_FEATURE_HYPERVISOR))
		return -ENODEV;
	for (u32 base = 0x40000000; base < 0x40010000; base += 0x100) {
		u32 name[3];

		cpuid(base, &a, &name[0], &name[1], &name[2]);
		if (memcmp(name, KEEL_CPUID_STRING, sizeof(name)))
			continue;
		cpuid(base + 1, &a, &b, &c, &d);
		if (a == KEEL_INTERFACE)
			return 0;
		pr_err("keel: Keel's interface is version %u, this module's %u\n", a,
		       KEEL_INTERFACE);
		return -ENODEV;
	}
	return -ENODEV;
}

long keel_check_extension(unsigned long capability)
{
	switch (capability) {
	case KVM_CAP_SYNC_MMU:
	case KVM_CAP_IRQFD:
	case KVM_CAP_IRQFD_RESAMPLE:
	case KVM_CAP_IOEVENTFD:
	case KVM_CAP_IOEVENTFD_NO_LENGTH:
	case KVM_CAP_IOEVENTFD_ANY_LENGTH:
	case KVM_CAP_COALESCED_PIO:
	case KVM_CAP_BINARY_STATS_FD:
	case KVM_CAP_HALT_POLL:
		return 1;
	case KVM_CAP_COALESCED_MMIO:
		return KVM_COALESCED_MMIO_PAGE_OFFSET;
	}
	return hypercall_system(KVM_CHECK_EXTENSION, capability, 0, 0).value;
}

static long system_ioctl(struct file *file, unsigned int request, unsigned long arg)
{
	switch (request) {
	case KVM_CREATE_VM:
		return vm_create(arg);
	case KVM_CHECK_EXTENSION:
		return keel_check_extension(arg);
	}
	return keel_pass(NULL, KEEL_SYSTEM_HANDLE, request, arg, -EINVAL, NULL);
}

static const struct file_operations system_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = system_ioctl,
	.compat_ioctl = system_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice device = {
	.minor = KVM_MINOR,
	.name = "kvm",
	.fops = &system_fops,
};

static int ask_keel(void)
{
	struct keel_info *info = kzalloc(sizeof(*info), GFP_KERNEL);
	int error = -ENOMEM;

	if (info)
		error = hypercall_system(KEEL_INFO, virt_to_phys(info), sizeof(*info), 0).value;
	if (!error)
		keel_info = *info;
	kfree(info);
	/* Linux's handler of this vector only acknowledges it. */
	if (!error)
		error = hypercall_system(KEEL_KICK_VECTOR, POSTED_INTR_VECTOR, 0, 0).value;
	return error;
}

static void no_vcpu_free(void)
{
	if (keel_no_vcpu)
		kfree(keel_no_vcpu->run);
	kfree(keel_no_vcpu);
}

static int no_vcpu_make(void)
{
	keel_no_vcpu = kzalloc(sizeof(*keel_no_vcpu), GFP_KERNEL);
	if (!keel_no_vcpu)
		return -ENOMEM;
	keel_no_vcpu->run = kzalloc(sizeof(struct kvm_run), GFP_KERNEL);
	return keel_no_vcpu->run ? 0 : -ENOMEM;
}

/*
 * /sys/module/keel/parameters/frames: how many frames Keel has of this system (beside its own
 * memory), and how many guests have mapped. Both are 0 while there is no VM.
 */
static int show_frames(char *text, const struct kernel_param *unused)
{
	const u64 frames = 1ull << 20;
	u64 taken = 0, mapped = 0, base = 0;
	struct keel_result r;

	do {
		r = hypercall_system(KEEL_FRAMES, base, 0, frames);
		taken += r.second;
		mapped += r.third;
		base += frames << PAGE_SHIFT;
	} while (r.value == 1);
	return sysfs_emit(text, "donated %llu mapped %llu\n",
			  taken - (keel_info.keel_size >> PAGE_SHIFT), mapped);
}

static const struct kernel_param_ops frames_ops = {.get = show_frames};
module_param_cb(frames, &frames_ops, NULL, 0400);

/* /sys/module/keel/parameters/objects: this driver's own count of them. */
static int show_objects(char *text, const struct kernel_param *unused)
{
	return sysfs_emit(
		text, "vms %ld vcpus %ld slots %ld pages %ld\n",
		atomic_long_read(&keel_objects.vms), atomic_long_read(&keel_objects.vcpus),
		atomic_long_read(&keel_objects.slots), atomic_long_read(&keel_objects.pages));
}

static const struct kernel_param_ops objects_ops = {.get = show_objects};
module_param_cb(objects, &objects_ops, NULL, 0400);

static int __init keel_load(void)
{
	int error = find_keel();

	if (error) {
		pr_err("keel: Keel does not run on this machine\n");
		return error;
	}
	error = no_vcpu_make();
	if (error)
		goto free;
	error = ask_keel();
	if (error)
		goto free;
	error = eventfd_load();
	if (error)
		goto free;
	error = power_load();
	if (error)
		goto unload;
	error = misc_register(&device);
	if (!error) {
		/* VMMs such as kvmtool look for the processor's bit before they open /dev/kvm. */
		hypercall_system(KEEL_SHOW_VIRT, 1, 0, 0);
		return 0;
	}
	pr_err("keel: /dev/kvm is taken: is the module kvm loaded?\n");
	power_unload();
unload:
	eventfd_unload();
free:
	no_vcpu_free();
	return error;
}

static void __exit keel_unload(void)
{
	hypercall_system(KEEL_SHOW_VIRT, 0, 0, 0);
	misc_deregister(&device);
	power_unload();
	eventfd_unload();
	no_vcpu_free();
}

module_init(keel_load);
module_exit(keel_unload);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("KVM's interface, from the Keel hypervisor below");
MODULE_ALIAS_MISCDEV(KVM_MINOR);
