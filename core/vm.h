/* SPDX-License-Identifier: MIT */
/*
 * A virtual machine without a vendor.
 * Lock order: vm->lock, then mm/'s, then devices'.
 */
#pragma once

#include "core/bus.h"
#include "core/irqchip.h"
#include "core/vcpu.h"
#include "mm/guest_mem.h"

#define VM_VCPUS 64 /* KVM_CAP_MAX_VCPUS */

struct vm {
	struct spinlock lock;
	u32 handle; /* of records: never used twice; 0: the management guest */
	struct virt_vm virt;
	struct pool pool;
	struct guest_mem mem;
	u32 vcpu_count;
	u32 bsp_id;
	struct vcpu *vcpus[VM_VCPUS];
	struct bus ports, mmio, msrs;
	/* A page of each vCPU's own, asked for what nobody on the MMIO bus takes; NULL: none */
	struct bus_device *own_page;
	const struct irqchip_ops *irqchip; /* NULL: the VMM delivers interrupts */
	void *devices;			   /* devices/: the irqchip's state */
	u64 wake[VM_VCPUS / 64];   /* vCPU indexes that must be woken; taken by the driver */
	u64 boot_tsc;		   /* host TSC at creation: kvmclock's zero */
	u64 wall_time_ns;	   /* since 1970, at boot_tsc: an argument of creation */
	u32 tsc_khz;		   /* the host's */
	u32 guest_tsc_khz;	   /* of its new vCPUs */
	u64 tsc_ratio, tsc_offset; /* of its vCPUs, while their TSCs agree */
	bool split_irqchip;
	bool x2apic_ids_32bit; /* KVM_CAP_X2APIC_API's flags */
	bool x2apic_no_broadcast_quirk;
	u64 low_water; /* pages the pool must keep for one entry's worst case */
	void *clock;   /* devices/kvmclock.c's state */
	/* devices/: REQUEST_CLOCK. False: exit.memory says which page it needs first. NULL: none */
	bool (*clock_update)(struct vcpu *vcpu);
	struct msr_filter *msr_filter; /* NULL: none */
	u32 msr_exits; /* enum msr_exit_reason: accesses that go to the VMM instead of #GP */
	bool emulation_failures; /* those of user code go to the VMM, too */
	u32 vcpu_ids;		 /* kvm/: KVM_CAP_MAX_VCPU_ID; 0: not set */
	u32 mmu_pages;		 /* KVM_SET_NR_MMU_PAGES */
	bool no_platform_info;	 /* MSR_PLATFORM_INFO is #GP for guests */
	bool cstates;		 /* guests see the processor's C-state residencies */
	u64 caps;		 /* kvm/: what KVM_ENABLE_CAP switched on */
};

extern u32 host_tsc_khz; /* set by boot/ before the first VM */

/* Pages that a VM, and each vCPU, take from the pool at creation at most. */
u32 vm_pages(void);
u32 vcpu_pages(void);

/* The pool is filled already; everything of a VM lives in it. -ENOMEM. */
int vm_init(struct vm *vm, enum virt_kind kind);
/* enum virt_feature: what a VM can do without. Of what guests see, only what becomes #UD then. */
u64 vm_optional_features(void);
/*
 * The VM uses none of these optional features (enum virt_feature) of the processor. -EINVAL: not
 * one of vm_optional_features(); -EBUSY: it has vCPUs or a dirty log. The caller holds vm->lock.
 */
int vm_do_without(struct vm *vm, u64 features);
/* What this processor lets a child execute without an exit (enum virt_native). */
u32 vm_native_possible(void);
/*
 * KVM_CAP_X86_DISABLE_EXITS, of what is possible; `pause`: no exits of PAUSE loops; `cstates`: nor
 * of reads of the C-states' residencies. For vCPUs to come, as in KVM. The caller holds vm->lock.
 */
void vm_execute_natively(struct vm *vm, u32 native, bool pause, bool cstates);
/* Allocates from the pool, resets; -EEXIST id; -EINVAL too many; -ENOMEM. The caller holds
 * vm->lock. */
int vcpu_create(struct vm *vm, u32 id, struct vcpu **out);
/* NULL: no such vCPU. */
struct vcpu *vm_vcpu_by_id(struct vm *vm, u32 id);

/* For destruction: no vCPU enters again; those inside are kicked. True: none is running. */
bool vm_stop(struct vm *vm);
/*
 * After the second-level tables lost an entry (their generation grew): returns once no CPU uses
 * the old translation, neither in this VM's guest nor in root on behalf of one of its vCPUs. The
 * caller holds no lock that a run takes, and no `running` of this VM.
 */
void vm_flush_wait(struct vm *vm);
/* Is some vCPU to be woken? */
static inline bool vm_wants_wake(const struct vm *vm)
{
	return __atomic_load_n(&vm->wake[0], __ATOMIC_RELAXED) != 0;
}
_Static_assert(VM_VCPUS == 64, "one word of wake bits");
