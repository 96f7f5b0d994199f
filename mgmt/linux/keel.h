/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * keel.ko: /dev/kvm over Keel's hypercalls. Keel checks and executes KVM's requests; this driver
 * has what only Linux can do: file descriptors, the VMM's memory, sleeping, waking.
 *
 * Locks, outermost first: vm->pit_lock, vcpu->mutex, vm->slots_lock, vm->pool_lock, keel_donation;
 * then vm->map_lock, a spinlock that the mmu notifier takes.
 */
#pragma once

#include "hypercall.h"
#include <linux/hrtimer.h>
#include <linux/interval_tree.h>
#include <linux/kvm.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>
#include <linux/signal_types.h>
#include <linux/wait.h>
#include <asm/io.h>

#define KEEL_VCPUS     64 /* Keel's own limit: one word of wake bits */
#define KEEL_RANGES    64 /* donations of one VM at most */
#define KEEL_RUN_PAGES 3  /* kvm_run, port data, the coalesced ring */

struct keel_vm;

/* What KVM_GET_STATS_FD shows beside Keel's own counts. */
struct keel_counts {
	u64 mmio_exits, signal_exits, request_irq_exits, pf_fixed;
	u64 halt_attempted_poll, halt_successful_poll, halt_wakeup;
	u64 halt_poll_success_ns, halt_poll_fail_ns, halt_wait_ns;
	u64 blocking; /* 1: it sleeps */
};

struct keel_vcpu {
	struct keel_vm *vm;
	u64 handle;
	struct mutex mutex; /* one request at a time, as on Linux's KVM */
	struct kvm_run *run;
	wait_queue_head_t wait;
	bool woken;	      /* Keel has work for it */
	struct hrtimer timer; /* the guest's deadline while it runs */
	u64 delay;	      /* ns that its thread waited for a CPU, as Keel knows it */
	u64 armed;	      /* the TSC at which the timer fires; ~0: it is not set */
	sigset_t sigset;      /* KVM_SET_SIGNAL_MASK */
	bool sigset_active;
	u32 id;
	u64 poll_ns; /* how long a halt polls before it sleeps */
	struct keel_counts counts;
};

struct keel_slot {
	struct interval_tree_node gpa; /* first and last address of the guest's */
	struct interval_tree_node hva; /* and of the VMM's */
	u64 size;
	u32 id, flags;
};

/* Pages that Keel has from us. */
struct keel_range {
	struct page *page;
	unsigned int order;
};

struct keel_vm {
	u64 handle;
	struct mm_struct *mm;
	refcount_t users;	      /* its file, and those of its vCPUs */
	struct list_head list;	      /* of all */
	bool dead;		      /* Keel has no such VM any more */
	bool lost;		      /* nor gives its pages back */
	struct rw_semaphore pit_lock; /* written while Keel takes every vCPU for itself */

	struct mutex vcpus_lock;
	u32 vcpu_count;
	struct keel_vcpu *vcpus[KEEL_VCPUS]; /* in the order of creation, as Keel's wake bits */

	struct mutex pool_lock;
	u32 range_count;
	struct keel_range ranges[KEEL_RANGES];

	struct mutex slots_lock; /* held by who changes slots */
	struct mmu_notifier notifier;
	spinlock_t map_lock; /* slots, sequence, invalidating, map; held over each KEEL_MAP and
				UNMAP */
	struct xarray slots; /* by id */
	struct rb_root_cached gpas, hvas;
	unsigned long sequence; /* grows when an invalidation ends */
	u32 invalidating;
	u64 invalid_start, invalid_end; /* around what is being invalidated */
	struct keel_map map;		/* a hypercall's argument */

	u64 unmaps, donated_pages;
	u64 poll_most_ns; /* KVM_CAP_HALT_POLL; ~0: as the module's parameter says */

	bool irqchip; /* the VM has one */
	rwlock_t io_lock;
	struct list_head ioeventfds, zones;
	u32 zone_count;
	spinlock_t ring_lock;
	struct kvm_coalesced_mmio_ring *ring; /* one page for all vCPUs */
	struct mutex irqfd_lock;	      /* held by who assigns and takes away */
	spinlock_t irqfds_lock;
	struct list_head irqfds;
	struct mutex resamplers_lock;
	struct list_head resamplers;
};

extern struct keel_info keel_info;

/* What there is now. All are 0 while there is no VM. */
struct keel_objects {
	atomic_long_t vms, vcpus, slots;
	atomic_long_t pages; /* that Keel has from us */
};
extern struct keel_objects keel_objects;

/* module.c */
struct kvm_vcpu;
extern struct kvm_vcpu *keel_no_vcpu;
long keel_check_extension(unsigned long capability);

/* donate.c: pages leave this system for a VM, and come back. */
/* Each CPU makes a hypercall, and so flushes what it knew of donated and returned pages. */
void keel_sync(void);
/* Held from keel_donate() until a VM has taken the pages. */
extern struct mutex keel_donation;
/* At least `pages`, contiguous, charged to the caller's memory cgroup: so it may take its time, and
 * holds no lock that another VM needs. -ENOMEM. */
int keel_allocate(u64 pages, struct keel_range *range);
/* -ENOMEM: they are free again. */
int keel_donate(const struct keel_range *range);
/* Donated pages that no VM took. */
void keel_reclaim(const struct keel_range *range);
/* The VM has taken these. Holds keel_donation. */
void range_add(struct keel_vm *vm, const struct keel_range *range);
/* The VM's pool gets so many pages, or as many as one allocation can have. -ENOMEM. */
int vm_grow(struct keel_vm *vm, u64 pages);
/* From now on keel_donate() answers -ENOMEM. */
void keel_donate_no_more(void);
/* Ends the VM in Keel, which has none of its pages then: its vCPUs' runs end with -EIO. */
void vm_end(struct keel_vm *vm);
/* The same, and frees its pages. No vCPU runs any more. */
void vm_take_back(struct keel_vm *vm);

/* power.c */
int power_load(void);
void power_unload(void);
/* Around the creation of a VM, which is added when it exists. -EIO: the machine restarts. */
int power_begin(void);
void power_add(struct keel_vm *vm);
void power_done(void);
/* vm_take_back() of one that was added. */
void power_take_back(struct keel_vm *vm);

/* ioctl.c */
/* Wakes the vCPUs for which Keel has work. Any context. */
void vm_take_wakes(struct keel_vm *vm);
/* A request on the VM or one of its vCPUs: wakes, and grows or calls again where Keel asks for
 * that. handle: the VM's or a vCPU's. -EINTR: a fatal signal. */
struct keel_result vm_call(struct keel_vm *vm, u64 handle, u32 request, u64 argument, u64 bytes,
			   u64 extra);
/* KVM's requests that only pass through. vm: NULL for the system. unknown: the errno of others.
 * page: the caller's, for arguments that fit; NULL: each has memory of its own. */
long keel_pass(struct keel_vm *vm, u64 handle, u32 request, unsigned long arg, long unknown,
	       void *page);

/* memory.c */
int memory_init(struct keel_vm *vm);
void memory_end(struct keel_vm *vm);
int memory_set_region(struct keel_vm *vm, const void __user *arg);
/* KVM_GET_DIRTY_LOG and KVM_CLEAR_DIRTY_LOG; bitmap: where the struct points to. */
int memory_dirty_log(struct keel_vm *vm, u32 id, void __user *bitmap);
int memory_clear_dirty_log(struct keel_vm *vm, struct kvm_clear_dirty_log *log,
			   const void __user *bitmap);
/* Maps the page that a vCPU needs. 0: run again. -EFAULT: the VMM has none. */
int memory_fault(struct keel_vm *vm, u64 gpa, bool write);

/* eventfd.c */
/* Entries that fit into the coalesced ring's page. */
#define KVM_COALESCED_MMIO_MAX                                                                     \
	((PAGE_SIZE - sizeof(struct kvm_coalesced_mmio_ring)) / sizeof(struct kvm_coalesced_mmio))
int eventfd_load(void);
void eventfd_unload(void);
int eventfd_init(struct keel_vm *vm);
void eventfd_end(struct keel_vm *vm);
/* KVM_IOEVENTFD, KVM_IRQFD, KVM_REGISTER_COALESCED_MMIO and its reverse: errors as Linux's KVM. */
int eventfd_ioeventfd(struct keel_vm *vm, const void __user *arg);
int eventfd_irqfd(struct keel_vm *vm, const void __user *arg);
int eventfd_zone(struct keel_vm *vm, const void __user *arg, bool add);
/* The guest ended this GSI's interrupt: who holds its line is told. May sleep. */
void eventfd_resampled(struct keel_vm *vm, u32 gsi);
/* No irqfd injects into this VM any more. */
void eventfd_release_irqfds(struct keel_vm *vm);
/* The exit in kvm_run: is it one that the VMM need not see, and is it done? */
bool eventfd_settles(struct keel_vm *vm, const struct kvm_run *run);

/* stats.c: KVM_GET_STATS_FD. vcpu: NULL for the VM's; id: its number. A descriptor or -errno. */
int stats_open(struct keel_vm *vm, struct keel_vcpu *vcpu, u32 id);

/* vm.c */
int vm_create(unsigned long type);
void vm_put(struct keel_vm *vm);

/* vcpu.c */
int vcpu_create(struct keel_vm *vm, u32 id);
void vcpu_free(struct keel_vcpu *vcpu);

/* exits.c */
/* The vCPU is about to end in Keel: its exits count on. */
void exits_add(const struct keel_vcpu *vcpu);
