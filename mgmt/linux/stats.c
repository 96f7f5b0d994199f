// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * KVM_GET_STATS_FD: a file that describes itself (Linux's Documentation/virt/kvm/api.rst,
 * "KVM_GET_STATS_FD"), with KVM's names for what Keel or this driver counts.
 */
#include "keel.h"
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/slab.h>

#define NAME_BYTES 48 /* as in Linux */

enum {
	COUNT = KVM_STATS_TYPE_CUMULATIVE | KVM_STATS_UNIT_NONE | KVM_STATS_BASE_POW10,
	TIME = KVM_STATS_TYPE_CUMULATIVE | KVM_STATS_UNIT_SECONDS | KVM_STATS_BASE_POW10,
	STATE = KVM_STATS_TYPE_INSTANT | KVM_STATS_UNIT_BOOLEAN | KVM_STATS_BASE_POW10,
	LEVEL = KVM_STATS_TYPE_INSTANT | KVM_STATS_UNIT_NONE | KVM_STATS_BASE_POW10,
};

#define NANOSECONDS (-9) /* the power of ten */
#define ALL	    ""

struct number {
	const char *name;
	u32 kind;
	const char *exits; /* what Keel counts under this name (KEEL_STAT_NAMES), or all */
	u16 offset;	   /* else where the driver has it */
};

#define EXITS(name, reason)                                                                        \
	{                                                                                          \
		name, COUNT, reason                                                                \
	}
#define VCPU(name, kind)                                                                           \
	{                                                                                          \
#name, kind, NULL, offsetof(struct keel_vcpu, counts.name)                         \
	}
#define VM(name, kind, from)                                                                       \
	{                                                                                          \
#name, kind, NULL, offsetof(struct keel_vm, from)                                  \
	}

static const char *const exit_names[] = KEEL_STAT_NAMES;

static const struct number vcpu_stats[] = {
	EXITS("exits", ALL),
	EXITS("io_exits", "I/O"),
	VCPU(mmio_exits, COUNT),
	VCPU(signal_exits, COUNT),
	EXITS("irq_exits", "interrupt"),
	EXITS("irq_window_exits", "interrupt window"),
	EXITS("nmi_window_exits", "NMI window"),
	VCPU(request_irq_exits, COUNT),
	EXITS("halt_exits", "HLT"),
	EXITS("pf_taken", "nested page fault"),
	VCPU(pf_fixed, COUNT),
	EXITS("invlpg", "INVLPG"),
	EXITS("hypercalls", "hypercall"),
	VCPU(halt_attempted_poll, COUNT),
	VCPU(halt_successful_poll, COUNT),
	VCPU(halt_wakeup, COUNT),
	VCPU(halt_poll_success_ns, TIME),
	VCPU(halt_poll_fail_ns, TIME),
	VCPU(halt_wait_ns, TIME),
	VCPU(blocking, STATE),
};

static const struct number vm_stats[] = {
	VM(remote_tlb_flush, COUNT, unmaps),
	VM(donated_pages, LEVEL, donated_pages),
};

struct stats_file {
	struct keel_vm *vm;
	struct keel_vcpu *vcpu; /* NULL: the VM's own */
	char id[NAME_BYTES];
};

static u64 exits(const struct keel_stats *stats, const char *name)
{
	u64 sum = 0;

	for (u32 i = 0; i < KEEL_STAT_REASONS; i++)
		if (!*name || (i < ARRAY_SIZE(exit_names) && !strcmp(exit_names[i], name)))
			sum += stats->count[i];
	return sum;
}

/* The numbers of now. -ENOMEM. */
static int numbers(const struct stats_file *f, const struct number *stats, u32 count, u64 *out)
{
	const void *from = f->vcpu ? (void *)f->vcpu : f->vm;
	struct keel_stats *keel = kzalloc(sizeof(*keel), GFP_KERNEL);

	if (!keel)
		return -ENOMEM;
	if (f->vcpu)
		hypercall(f->vcpu->handle, KEEL_STATS, virt_to_phys(keel), sizeof(*keel), 0);
	for (u32 i = 0; i < count; i++)
		out[i] = stats[i].exits ? exits(keel, stats[i].exits)
					: READ_ONCE(*(const u64 *)(from + stats[i].offset));
	kfree(keel);
	return 0;
}

static void describe(const struct number *stat, u32 index, struct kvm_stats_desc *out)
{
	*out = (struct kvm_stats_desc){
		.flags = stat->kind,
		.exponent = stat->kind == TIME ? NANOSECONDS : 0,
		.size = 1,
		.offset = index * sizeof(u64),
	};
	strscpy(out->name, stat->name, NAME_BYTES);
}

/* The whole file is made for each read: the header, the id, what there is, and the numbers. */
static ssize_t stats_read(struct file *file, char __user *to, size_t size, loff_t *position)
{
	const struct stats_file *f = file->private_data;
	const struct number *stats = f->vcpu ? vcpu_stats : vm_stats;
	u32 count = f->vcpu ? ARRAY_SIZE(vcpu_stats) : ARRAY_SIZE(vm_stats);
	size_t one = sizeof(struct kvm_stats_desc) + NAME_BYTES;
	struct kvm_stats_header *header;
	ssize_t result;
	size_t bytes;
	void *all;

	bytes = sizeof(*header) + NAME_BYTES + count * (one + sizeof(u64));
	all = kzalloc(bytes, GFP_KERNEL);
	if (!all)
		return -ENOMEM;
	header = all;
	*header = (struct kvm_stats_header){
		.name_size = NAME_BYTES,
		.num_desc = count,
		.id_offset = sizeof(*header),
		.desc_offset = sizeof(*header) + NAME_BYTES,
		.data_offset = sizeof(*header) + NAME_BYTES + count * one,
	};
	memcpy(all + header->id_offset, f->id, NAME_BYTES);
	for (u32 i = 0; i < count; i++)
		describe(&stats[i], i, all + header->desc_offset + i * one);
	result = numbers(f, stats, count, all + header->data_offset);
	if (!result)
		result = simple_read_from_buffer(to, size, position, all, bytes);
	kfree(all);
	return result;
}

static int stats_release(struct inode *inode, struct file *file)
{
	struct stats_file *f = file->private_data;

	vm_put(f->vm);
	kfree(f);
	return 0;
}

static const struct file_operations stats_fops = {
	.owner = THIS_MODULE,
	.read = stats_read,
	.release = stats_release,
	.llseek = noop_llseek,
};

int stats_open(struct keel_vm *vm, struct keel_vcpu *vcpu, u32 id)
{
	struct stats_file *f = kzalloc(sizeof(*f), GFP_KERNEL_ACCOUNT);
	struct file *file;
	int fd;

	_Static_assert(sizeof(struct kvm_stats_desc) == 16 && sizeof(struct kvm_stats_header) == 24,
		       "KVM's layout");
	if (!f)
		return -ENOMEM;
	f->vm = vm;
	f->vcpu = vcpu;
	if (vcpu)
		snprintf(f->id, NAME_BYTES, "kvm-%d/vcpu-%u", task_pid_nr(current), id);
	else
		snprintf(f->id, NAME_BYTES, "kvm-%d", task_pid_nr(current));
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		goto free;
	file = anon_inode_getfile(vcpu ? "kvm-vcpu-stats" : "kvm-vm-stats", &stats_fops, f,
				  O_RDONLY);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		fd = PTR_ERR(file);
		goto free;
	}
	refcount_inc(&vm->users);
	file->f_mode |= FMODE_PREAD;
	fd_install(fd, file);
	return fd;
free:
	kfree(f);
	return fd;
}
