/* SPDX-License-Identifier: MIT */
/*
 * The end of a VM, in steps that are short each: its vCPUs leave the guest, its guest memory is
 * unmapped, and its donated pages go back to the management guest, zeroed. Locks: slot->lock.
 */
#include "core/mgmt.h"
#include "kvm/hypercall.h"
#include "mm/frames.h"

#define RELEASE_LEAVES	4096 /* second-level entries dropped in one step */
#define TAKE_BACK_PAGES 511  /* zeroed in one step; fits beside a page's address */

/* Unmaps a bounded part of what no vCPU can reach any more. -EAGAIN: there is more. */
static int release(struct vm_slot *slot, struct vm *vm)
{
	int error;

	/* None is entered again; were one, it would not find its old translations. */
	for (u32 i = 0; i < kvm_vm(vm)->vcpus_ready; i++)
		vm->vcpus[i]->v.flush = true;
	error = guest_mem_release(&vm->mem, RELEASE_LEAVES);
	if (error)
		return error;
	for (u32 i = 0; i < kvm_vm(vm)->vcpus_ready; i++)
		frames_put(vm->vcpus[i]->kvm_run_hpa, RUN_PAGES);
	__atomic_store_n(&slot->state, HANDLE_DEAD, __ATOMIC_RELEASE);
	return 0;
}

s64 vm_destroy(struct call *call)
{
	struct vm_slot *slot = call->slot;
	struct vm *vm = call->vm;
	s64 result;

	call->vm = NULL;
	spin_lock(&slot->lock);
	/* Another CPU may have been faster: the VM is looked at only while it is there. */
	if (!handle_current(slot, call->handle)) {
		result = -EBADF;
	} else if (slot->state == HANDLE_DEAD) {
		result = 0;
	} else {
		__atomic_store_n(&slot->state, HANDLE_DYING, __ATOMIC_SEQ_CST);
		if (!vm_stop(vm) || handle_in_use(slot, call->cpu))
			result = -EAGAIN;
		else
			result = release(slot, vm);
	}
	spin_unlock(&slot->lock);
	return result;
}

/* From the last range's end to the first one's start, where the VM itself lies. */
static s64 take_back(struct call *call, struct kvm_vm *kvm)
{
	struct vm_range *range;
	u64 pages;
	hpa_t base;

	range = &kvm->ranges[kvm->range_count - 1];
	pages = MIN(range->pages, (u64)TAKE_BACK_PAGES);
	/* Never a piece that ends inside the VM's own pages. */
	if (kvm->range_count == 1 && range->pages > pages && range->pages - pages < KVM_VM_PAGES)
		pages = range->pages - KVM_VM_PAGES;
	base = HPA(range->base.v + (range->pages - pages) * PAGE_SIZE);
	range->pages -= pages;
	if (range->pages == 0)
		kvm->range_count--;
	if (kvm->range_count == 0)
		handle_remove(call->slot);
	donation_return(base, pages);
	call->result2 = base.v | pages;
	return 1;
}

s64 vm_take_back(struct call *call)
{
	struct vm_slot *slot = call->slot;
	struct vm *vm = call->vm;
	s64 result;

	call->vm = NULL;
	spin_lock(&slot->lock);
	if (!handle_current(slot, call->handle))
		result = -EBADF;
	else if (slot->state != HANDLE_DEAD || handle_in_use(slot, call->cpu))
		result = -EAGAIN;
	else
		result = take_back(call, kvm_vm(vm));
	spin_unlock(&slot->lock);
	return result;
}
