/* SPDX-License-Identifier: MIT */
/*
 * Handles: how the management guest names VMs and vCPUs, and what keeps a VM alive while a CPU
 * works on it.
 *
 * A CPU that works on a VM says so in its own word (a hazard pointer): nothing that KEEL_RUN
 * writes is shared between CPUs. A VM is taken apart only once it is marked and no other CPU's
 * word names it. Lock: one per VM slot, taken before vm->lock.
 */
#pragma once

#include "core/vm.h"
#include "kvm/abi.h"

#define HANDLE_VMS 1024

enum handle_state { HANDLE_FREE, HANDLE_LIVE, HANDLE_DYING, HANDLE_DEAD };

/* One donated range of a VM, as the driver gave it. */
struct vm_range {
	hpa_t base;
	u64 pages;
};

/* A VM with what kvm/ keeps of it: the start of the first range that was donated for it. */
struct kvm_vm {
	struct vm vm;
	u32 vcpus_ready; /* vCPUs complete, and so visible through handles */
	u32 range_count;
	struct vm_range ranges[POOL_RANGES];
};

#define KVM_VM_PAGES (ALIGN_UP(sizeof(struct kvm_vm), PAGE_SIZE) / PAGE_SIZE)

static inline struct kvm_vm *kvm_vm(struct vm *vm)
{
	return container_of(vm, struct kvm_vm, vm);
}

#define RUN_PAGES 3 /* behind a vCPU's mmap: kvm_run, port data, coalesced ring */

struct vm_slot {
	struct spinlock lock;
	union {
		u64 word; /* both */
		struct {
			u32 generation; /* bits 55..24 of its handles */
			u32 state;	/* enum handle_state */
		};
	};
	struct vm *vm;
};

/*
 * Looks up `handle` for `cpu`, which then works on that VM until handle_leave(). *vcpu is NULL for
 * a VM's handle. -EBADF: there is none; -EIO: it is being destroyed (then *slot and *vm are set,
 * and the CPU works on it).
 */
int handle_enter(struct cpu *cpu, u64 handle, struct vm_slot **slot, struct vm **vm,
		 struct vcpu **vcpu);
/* The same for a vCPU alone; NULL, and nothing is worked on: it is none, or not a live VM's. */
struct vcpu *handle_enter_vcpu(struct cpu *cpu, u64 handle);
void handle_leave(struct cpu *cpu);
/* Finds a slot for vm and publishes it. -ENFILE: HANDLE_VMS VMs are there already. */
int handle_add(struct vm *vm, u64 *handle);
/* Frees the slot of a dead VM: its handles are never valid again. The caller holds slot->lock. */
void handle_remove(struct vm_slot *slot);
/* Does the handle still name the slot's VM? The caller holds slot->lock. */
bool handle_current(const struct vm_slot *slot, u64 handle);
/* Does a CPU other than `cpu` work on this VM? */
bool handle_in_use(const struct vm_slot *slot, const struct cpu *cpu);
u64 handle_of_vcpu(const struct vm_slot *slot, const struct vcpu *vcpu);
