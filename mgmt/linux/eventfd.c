// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * eventfds and the coalesced ring: exits that need no VMM, and interrupts that need no ioctl.
 *
 * Locks: io_lock (ioeventfds and zones; read for each exit to the VMM), ring_lock inside of it. Of
 * an irqfd: vm->irqfds_lock for the list; its wake-up runs under the eventfd's own lock, in any
 * context. vm->resamplers_lock, inside of irqfd_lock, is held while eventfds are signalled, so none
 * of the locks that a wake-up takes may be held around it.
 */
#include "keel.h"
#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/list.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>

#define IO_DEVICES 1000 /* coalesced zones: as many devices as Linux's KVM has on a bus */
#define IOEVENTFDS 4096 /* Linux has no bound; each write to the VMM looks at all */

enum io_bus { BUS_MMIO, BUS_PIO, BUS_CCW /* nobody on this architecture writes there */ };

/* A guest's write that is on its way to the VMM. */
struct io_write {
	enum io_bus bus;
	u64 address;
	u32 length;
	u64 value;
};

/* ---- ioeventfd ---- */

struct ioeventfd {
	struct list_head list;
	struct eventfd_ctx *eventfd;
	enum io_bus bus;
	u64 address, datamatch;
	u32 length; /* 0: any */
	bool wildcard;
};

static u64 cut(u64 value, u32 length)
{
	return length < 8 ? value & ((1ull << 8 * length) - 1) : value;
}

static bool ioeventfd_hears(const struct ioeventfd *e, const struct io_write *w)
{
	if (e->bus != w->bus || e->address != w->address)
		return false;
	if (!e->length)
		return true;
	return e->length == w->length &&
	       (e->wildcard || cut(e->datamatch, e->length) == cut(w->value, w->length));
}

/* Would a write concern both? */
static bool ioeventfd_collides(const struct ioeventfd *a, const struct ioeventfd *b)
{
	return a->bus == b->bus && a->address == b->address &&
	       (!a->length || !b->length ||
		(a->length == b->length &&
		 (a->wildcard || b->wildcard || a->datamatch == b->datamatch)));
}

static bool ioeventfd_same(const struct ioeventfd *a, const struct ioeventfd *b)
{
	return a->bus == b->bus && a->address == b->address && a->eventfd == b->eventfd &&
	       a->length == b->length && a->wildcard == b->wildcard &&
	       (a->wildcard || a->datamatch == b->datamatch);
}

static bool ioeventfd_valid(const struct kvm_ioeventfd *args)
{
	bool match = args->flags & KVM_IOEVENTFD_FLAG_DATAMATCH;

	switch (args->len) {
	case 0:
	case 1:
	case 2:
	case 4:
	case 8:
		break;
	default:
		return false;
	}
	return args->addr + args->len >= args->addr &&
	       !(args->flags & ~KVM_IOEVENTFD_VALID_FLAG_MASK) && !(match && !args->len);
}

static void ioeventfd_free(struct ioeventfd *e)
{
	eventfd_ctx_put(e->eventfd);
	kfree(e);
}

static int ioeventfd_add(struct keel_vm *vm, struct ioeventfd *e)
{
	struct ioeventfd *other;
	u32 count = 0;
	int error = 0;

	write_lock(&vm->io_lock);
	list_for_each_entry(other, &vm->ioeventfds, list)
	{
		count++;
		if (ioeventfd_collides(other, e))
			error = -EEXIST;
	}
	if (!error && count >= IOEVENTFDS)
		error = -ENOSPC;
	if (!error)
		list_add_tail(&e->list, &vm->ioeventfds);
	write_unlock(&vm->io_lock);
	return error;
}

static int ioeventfd_remove(struct keel_vm *vm, const struct ioeventfd *like)
{
	struct ioeventfd *e, *found = NULL;

	write_lock(&vm->io_lock);
	list_for_each_entry(e, &vm->ioeventfds, list) if (ioeventfd_same(e, like)) found = e;
	if (found)
		list_del(&found->list);
	write_unlock(&vm->io_lock);
	if (!found)
		return -ENOENT;
	ioeventfd_free(found);
	return 0;
}

int eventfd_ioeventfd(struct keel_vm *vm, const void __user *arg)
{
	struct kvm_ioeventfd args;
	struct ioeventfd *e;
	int error;

	if (copy_from_user(&args, arg, sizeof(args)))
		return -EFAULT;
	if (!ioeventfd_valid(&args))
		return -EINVAL;
	e = kzalloc(sizeof(*e), GFP_KERNEL_ACCOUNT);
	if (!e)
		return -ENOMEM;
	e->eventfd = eventfd_ctx_fdget(args.fd);
	if (IS_ERR(e->eventfd)) {
		error = PTR_ERR(e->eventfd);
		kfree(e);
		return error;
	}
	e->bus = args.flags & KVM_IOEVENTFD_FLAG_PIO		     ? BUS_PIO
		 : args.flags & KVM_IOEVENTFD_FLAG_VIRTIO_CCW_NOTIFY ? BUS_CCW
								     : BUS_MMIO;
	e->address = args.addr;
	e->length = args.len;
	e->wildcard = !(args.flags & KVM_IOEVENTFD_FLAG_DATAMATCH);
	e->datamatch = e->wildcard ? 0 : args.datamatch;
	if (args.flags & KVM_IOEVENTFD_FLAG_DEASSIGN) {
		error = ioeventfd_remove(vm, e);
		ioeventfd_free(e);
		return error;
	}
	error = ioeventfd_add(vm, e);
	if (error)
		ioeventfd_free(e);
	return error;
}

/* ---- the coalesced ring ---- */

struct io_zone {
	struct list_head list;
	struct kvm_coalesced_mmio_zone range;
};

static bool zone_holds(const struct kvm_coalesced_mmio_zone *z, u64 address, u64 length)
{
	return address + length >= address && address >= z->addr &&
	       address + length <= z->addr + z->size;
}

int eventfd_zone(struct keel_vm *vm, const void __user *arg, bool add)
{
	struct kvm_coalesced_mmio_zone range;
	struct io_zone *zone, *next;
	bool room;

	if (copy_from_user(&range, arg, sizeof(range)))
		return -EFAULT;
	if (range.pio > 1)
		return -EINVAL;
	if (add) {
		zone = kzalloc(sizeof(*zone), GFP_KERNEL_ACCOUNT);
		if (!zone)
			return -ENOMEM;
		zone->range = range;
		write_lock(&vm->io_lock);
		room = vm->zone_count < IO_DEVICES;
		if (room) {
			list_add_tail(&zone->list, &vm->zones);
			vm->zone_count++;
		}
		write_unlock(&vm->io_lock);
		if (!room)
			kfree(zone);
		return room ? 0 : -ENOSPC;
	}
	write_lock(&vm->io_lock);
	list_for_each_entry_safe(zone, next, &vm->zones,
				 list) if (zone->range.pio == range.pio &&
					   zone_holds(&zone->range, range.addr, range.size))
	{
		list_del(&zone->list);
		vm->zone_count--;
		kfree(zone);
	}
	write_unlock(&vm->io_lock);
	return 0;
}

/* The VMM can write to the ring as it likes: each index is read once and checked. */
static bool ring_put(struct keel_vm *vm, const struct io_write *w)
{
	struct kvm_coalesced_mmio_ring *ring = vm->ring;
	struct kvm_coalesced_mmio *entry;
	u32 last, next;
	bool room;

	spin_lock(&vm->ring_lock);
	last = READ_ONCE(ring->last);
	next = (last + 1) % KVM_COALESCED_MMIO_MAX;
	room = last < KVM_COALESCED_MMIO_MAX && next != READ_ONCE(ring->first);
	if (room) {
		entry = &ring->coalesced_mmio[last];
		entry->phys_addr = w->address;
		entry->len = w->length;
		memcpy(entry->data, &w->value, w->length);
		entry->pio = w->bus == BUS_PIO;
		smp_store_release(&ring->last, next);
	}
	spin_unlock(&vm->ring_lock);
	return room;
}

/* ---- exits ---- */

/* One write. True: nobody else has to hear of it. */
static bool write_settled(struct keel_vm *vm, const struct io_write *w)
{
	struct ioeventfd *e;
	struct io_zone *zone;

	list_for_each_entry(e, &vm->ioeventfds, list) if (ioeventfd_hears(e, w))
	{
		eventfd_signal(e->eventfd, 1);
		return true;
	}
	list_for_each_entry(
		zone, &vm->zones,
		list) if (zone->range.pio == (w->bus == BUS_PIO) &&
			  zone_holds(&zone->range, w->address, w->length)) return ring_put(vm, w);
	return false;
}

/*
 * The exit stands in memory that the VMM may change: what is read here is only compared and copied,
 * and its length is bounded first.
 */
static bool exit_write(const struct kvm_run *run, struct io_write *w)
{
	switch (READ_ONCE(run->exit_reason)) {
	case KVM_EXIT_IO:
		*w = (struct io_write){BUS_PIO, READ_ONCE(run->io.port), READ_ONCE(run->io.size)};
		if (READ_ONCE(run->io.direction) != KVM_EXIT_IO_OUT ||
		    READ_ONCE(run->io.count) != 1 || w->length > 4)
			return false;
		memcpy(&w->value, (const u8 *)run + PAGE_SIZE, w->length);
		return true;
	case KVM_EXIT_MMIO:
		*w = (struct io_write){BUS_MMIO, READ_ONCE(run->mmio.phys_addr),
				       READ_ONCE(run->mmio.len)};
		if (!READ_ONCE(run->mmio.is_write) || w->length > 8)
			return false;
		memcpy(&w->value, run->mmio.data, w->length);
		return true;
	}
	return false;
}

bool eventfd_settles(struct keel_vm *vm, const struct kvm_run *run)
{
	struct io_write w;
	bool settled;

	if (list_empty(&vm->ioeventfds) && list_empty(&vm->zones))
		return false;
	if (!exit_write(run, &w))
		return false;
	read_lock(&vm->io_lock);
	settled = write_settled(vm, &w);
	read_unlock(&vm->io_lock);
	return settled;
}

/* ---- irqfd ---- */

struct irqfd {
	struct list_head list; /* of the VM, until it is shut down */
	struct keel_vm *vm;
	struct eventfd_ctx *eventfd;
	u32 gsi;
	wait_queue_entry_t wait;
	poll_table table;
	struct work_struct shutdown;
	struct kvm_irq_level raise, lower; /* arguments of hypercalls */
	struct eventfd_ctx *resample;	   /* NULL: an edge */
	struct list_head resamplers;	   /* of the VM */
};

static struct workqueue_struct *shutdowns;

static void set_line(struct keel_vm *vm, struct kvm_irq_level *level, u64 source)
{
	struct keel_result r =
		hypercall(vm->handle, KVM_IRQ_LINE, virt_to_phys(level), sizeof(*level), source);

	if (r.reply & KEEL_REPLY_WAKE)
		vm_take_wakes(vm);
}

/* An edge: up and down; with resampling a level, which the guest's EOI ends. Any context. */
static void irqfd_inject(struct irqfd *irqfd)
{
	set_line(irqfd->vm, &irqfd->raise, irqfd->resample ? KEEL_LINE_RESAMPLE : 0);
	if (!irqfd->resample)
		set_line(irqfd->vm, &irqfd->lower, 0);
}

/* Holds resamplers_lock. */
static bool gsi_resamples(struct keel_vm *vm, u32 gsi)
{
	struct irqfd *irqfd;

	list_for_each_entry(irqfd, &vm->resamplers, resamplers) if (irqfd->gsi == gsi) return true;
	return false;
}

static int resample_begin(struct irqfd *irqfd, int fd)
{
	struct keel_vm *vm = irqfd->vm;
	int error = 0;

	irqfd->resample = eventfd_ctx_fdget(fd);
	if (IS_ERR(irqfd->resample))
		return PTR_ERR(irqfd->resample);
	mutex_lock(&vm->resamplers_lock);
	if (!gsi_resamples(vm, irqfd->gsi))
		error = hypercall(vm->handle, KEEL_RESAMPLE, irqfd->gsi, 0, 1).value;
	if (!error)
		list_add_tail(&irqfd->resamplers, &vm->resamplers);
	mutex_unlock(&vm->resamplers_lock);
	if (error)
		eventfd_ctx_put(irqfd->resample);
	return error;
}

static void resample_end(struct irqfd *irqfd)
{
	struct keel_vm *vm = irqfd->vm;

	mutex_lock(&vm->resamplers_lock);
	list_del(&irqfd->resamplers);
	if (!gsi_resamples(vm, irqfd->gsi))
		hypercall(vm->handle, KEEL_RESAMPLE, irqfd->gsi, 0, 0);
	mutex_unlock(&vm->resamplers_lock);
	eventfd_ctx_put(irqfd->resample);
}

void eventfd_resampled(struct keel_vm *vm, u32 gsi)
{
	struct irqfd *irqfd;

	mutex_lock(&vm->resamplers_lock);
	list_for_each_entry(irqfd, &vm->resamplers, resamplers) if (irqfd->gsi == gsi)
		eventfd_signal(irqfd->resample, 1);
	mutex_unlock(&vm->resamplers_lock);
}

/* Once, by whoever took it off the VM's list. */
static void irqfd_shut_down(struct work_struct *work)
{
	struct irqfd *irqfd = container_of(work, struct irqfd, shutdown);
	u64 count;

	eventfd_ctx_remove_wait_queue(irqfd->eventfd, &irqfd->wait, &count);
	if (irqfd->resample)
		resample_end(irqfd);
	eventfd_ctx_put(irqfd->eventfd);
	kfree(irqfd);
}

/* Holds irqfds_lock. */
static void irqfd_take_off(struct irqfd *irqfd)
{
	list_del_init(&irqfd->list);
	queue_work(shutdowns, &irqfd->shutdown);
}

static int irqfd_wake(wait_queue_entry_t *wait, unsigned int mode, int sync, void *key)
{
	struct irqfd *irqfd = container_of(wait, struct irqfd, wait);
	__poll_t events = key_to_poll(key);
	unsigned long flags;
	u64 count;

	if (events & EPOLLIN) {
		eventfd_ctx_do_read(irqfd->eventfd, &count);
		irqfd_inject(irqfd);
	}
	if (events & EPOLLHUP) { /* its last descriptor is closed */
		spin_lock_irqsave(&irqfd->vm->irqfds_lock, flags);
		if (!list_empty(&irqfd->list))
			irqfd_take_off(irqfd);
		spin_unlock_irqrestore(&irqfd->vm->irqfds_lock, flags);
	}
	return events & EPOLLIN ? 1 : 0;
}

static void irqfd_queue(struct file *file, wait_queue_head_t *head, poll_table *table)
{
	add_wait_queue_priority(head, &container_of(table, struct irqfd, table)->wait);
}

static bool irqfd_taken(struct keel_vm *vm, const struct eventfd_ctx *eventfd)
{
	struct irqfd *irqfd;

	list_for_each_entry(irqfd, &vm->irqfds, list) if (irqfd->eventfd == eventfd) return true;
	return false;
}

static int irqfd_assign(struct keel_vm *vm, const struct kvm_irqfd *args)
{
	struct irqfd *irqfd = kzalloc(sizeof(*irqfd), GFP_KERNEL_ACCOUNT);
	struct fd f;
	int error;

	if (!irqfd)
		return -ENOMEM;
	*irqfd = (struct irqfd){.vm = vm,
				.gsi = args->gsi,
				.raise = {.irq = args->gsi, .level = 1},
				.lower = {.irq = args->gsi}};
	INIT_LIST_HEAD(&irqfd->list);
	INIT_WORK(&irqfd->shutdown, irqfd_shut_down);
	init_waitqueue_func_entry(&irqfd->wait, irqfd_wake);
	init_poll_funcptr(&irqfd->table, irqfd_queue);
	f = fdget(args->fd);
	if (!f.file) {
		error = -EBADF;
		goto free;
	}
	irqfd->eventfd = eventfd_ctx_fileget(f.file);
	if (IS_ERR(irqfd->eventfd)) {
		error = PTR_ERR(irqfd->eventfd);
		goto put_file;
	}
	if (args->flags & KVM_IRQFD_FLAG_RESAMPLE) {
		error = resample_begin(irqfd, args->resamplefd);
		if (error)
			goto put_eventfd;
	}
	spin_lock_irq(&vm->irqfds_lock);
	if (irqfd_taken(vm, irqfd->eventfd)) {
		spin_unlock_irq(&vm->irqfds_lock);
		if (irqfd->resample)
			resample_end(irqfd);
		error = -EBUSY;
		goto put_eventfd;
	}
	list_add_tail(&irqfd->list, &vm->irqfds);
	spin_unlock_irq(&vm->irqfds_lock);
	/* What was signalled before counts. The file is held: no end comes before this one's. */
	if (vfs_poll(f.file, &irqfd->table) & EPOLLIN)
		irqfd_inject(irqfd);
	fdput(f);
	return 0;
put_eventfd:
	eventfd_ctx_put(irqfd->eventfd);
put_file:
	fdput(f);
free:
	kfree(irqfd);
	return error;
}

static int irqfd_deassign(struct keel_vm *vm, const struct kvm_irqfd *args)
{
	struct eventfd_ctx *eventfd = eventfd_ctx_fdget(args->fd);
	struct irqfd *irqfd, *next;

	if (IS_ERR(eventfd))
		return PTR_ERR(eventfd);
	spin_lock_irq(&vm->irqfds_lock);
	list_for_each_entry_safe(irqfd, next, &vm->irqfds,
				 list) if (irqfd->eventfd == eventfd && irqfd->gsi == args->gsi)
		irqfd_take_off(irqfd);
	spin_unlock_irq(&vm->irqfds_lock);
	eventfd_ctx_put(eventfd);
	/* Nothing of it is injected once this has returned. */
	flush_workqueue(shutdowns);
	return 0;
}

int eventfd_irqfd(struct keel_vm *vm, const void __user *arg)
{
	struct kvm_irqfd args;
	int error = -EINVAL;

	if (copy_from_user(&args, arg, sizeof(args)))
		return -EFAULT;
	if (args.flags & ~(KVM_IRQFD_FLAG_DEASSIGN | KVM_IRQFD_FLAG_RESAMPLE))
		return -EINVAL;
	mutex_lock(&vm->irqfd_lock);
	if (args.flags & KVM_IRQFD_FLAG_DEASSIGN)
		error = irqfd_deassign(vm, &args);
	else if (READ_ONCE(vm->irqchip))
		error = irqfd_assign(vm, &args);
	mutex_unlock(&vm->irqfd_lock);
	return error;
}

void eventfd_release_irqfds(struct keel_vm *vm)
{
	struct irqfd *irqfd, *next;

	spin_lock_irq(&vm->irqfds_lock);
	list_for_each_entry_safe(irqfd, next, &vm->irqfds, list) irqfd_take_off(irqfd);
	spin_unlock_irq(&vm->irqfds_lock);
	flush_workqueue(shutdowns);
}

/* ---- beginning and end ---- */

int eventfd_init(struct keel_vm *vm)
{
	mutex_init(&vm->irqfd_lock);
	rwlock_init(&vm->io_lock);
	spin_lock_init(&vm->ring_lock);
	spin_lock_init(&vm->irqfds_lock);
	INIT_LIST_HEAD(&vm->ioeventfds);
	INIT_LIST_HEAD(&vm->zones);
	INIT_LIST_HEAD(&vm->irqfds);
	mutex_init(&vm->resamplers_lock);
	INIT_LIST_HEAD(&vm->resamplers);
	vm->ring = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	return vm->ring ? 0 : -ENOMEM;
}

void eventfd_end(struct keel_vm *vm)
{
	struct ioeventfd *e, *next_e;
	struct io_zone *zone, *next_zone;

	eventfd_release_irqfds(vm);
	list_for_each_entry_safe(e, next_e, &vm->ioeventfds, list) ioeventfd_free(e);
	list_for_each_entry_safe(zone, next_zone, &vm->zones, list) kfree(zone);
	free_page((unsigned long)vm->ring);
}

int eventfd_load(void)
{
	shutdowns = alloc_workqueue("keel-irqfd", 0, 0);
	return shutdowns ? 0 : -ENOMEM;
}

void eventfd_unload(void)
{
	destroy_workqueue(shutdowns);
}
