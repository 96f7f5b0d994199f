/* SPDX-License-Identifier: MIT */
/*
 * KVM_X86_SET_MSR_FILTER. The ranges' bitmaps follow the struct, each in whole 64-bit words and in
 * the order of the ranges; the addresses in it are the driver's and are not looked at.
 */
#include <linux/kvm.h>

#include "core/msr.h"
#include "kvm/hypercall.h"
#include "mm/phys.h"

_Static_assert((int)MSR_READ == KVM_MSR_FILTER_READ && (int)MSR_WRITE == KVM_MSR_FILTER_WRITE &&
		       MSR_FILTER_RANGES == KVM_MSR_FILTER_MAX_RANGES,
	       "core's numbers are KVM's");
_Static_assert((int)MSR_EXIT_INVALID == KVM_MSR_EXIT_REASON_INVAL &&
		       (int)MSR_EXIT_UNKNOWN == KVM_MSR_EXIT_REASON_UNKNOWN &&
		       (int)MSR_EXIT_FILTER == KVM_MSR_EXIT_REASON_FILTER,
	       "core's numbers are KVM's");

static u64 bitmap_bytes(const struct kvm_msr_filter_range *range)
{
	return ALIGN_UP((u64)range->nmsrs, 64) / 8;
}

/* The bytes of all bitmaps, or -EINVAL. */
static s64 check(const struct kvm_msr_filter *filter)
{
	u64 bytes = 0;

	if (filter->flags & ~(u32)KVM_MSR_FILTER_DEFAULT_DENY)
		return -EINVAL;
	for (u32 i = 0; i < MSR_FILTER_RANGES; i++) {
		const struct kvm_msr_filter_range *range = &filter->ranges[i];

		if (!range->nmsrs)
			continue;
		if (!range->flags ||
		    range->flags & ~(u32)(KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE) ||
		    bitmap_bytes(range) > KVM_MSR_FILTER_MAX_BITMAP_SIZE)
			return -EINVAL;
		bytes += bitmap_bytes(range);
	}
	/* Without a range there is no filter. */
	return !bytes && filter->flags ? -EINVAL : (s64)bytes;
}

static int fill(struct call *call, struct msr_filter *to, const struct kvm_msr_filter *from)
{
	u64 offset = sizeof(*from);
	u8 *bits = (u8 *)(to + 1);

	to->default_deny = from->flags & KVM_MSR_FILTER_DEFAULT_DENY;
	for (u32 i = 0; i < MSR_FILTER_RANGES; i++) {
		const struct kvm_msr_filter_range *range = &from->ranges[i];
		u64 bytes = bitmap_bytes(range);
		int error;

		if (!range->nmsrs)
			continue;
		error = call_read(call, offset, bits, bytes);
		if (error)
			return error;
		to->range[to->count++] = (struct msr_filter_range){
			.first = range->base,
			.count = range->nmsrs,
			.access = range->flags,
			.allowed = bits,
		};
		offset += bytes;
		bits += bytes;
	}
	return 0;
}

static void give_back(struct vm *vm, struct msr_filter *filter)
{
	if (filter)
		pool_free(&vm->pool, ptr_phys(filter), filter->pages);
}

/* Holds vm->lock. */
s64 vm_set_msr_filter(struct call *call)
{
	const struct kvm_msr_filter *from = call->data;
	struct msr_filter *filter = NULL;
	s64 bytes = check(from);
	int error;

	if (bytes < 0)
		return bytes;
	if (bytes) {
		u32 pages = ALIGN_UP(sizeof(*filter) + bytes, PAGE_SIZE) / PAGE_SIZE;
		hpa_t hpa = pool_alloc(&call->vm->pool, pages);

		if (hpa.v == HPA_NONE.v)
			return -ENOMEM;
		filter = phys_ptr(hpa);
		filter->pages = pages;
		error = fill(call, filter, from);
		if (error) {
			give_back(call->vm, filter);
			return error;
		}
	}
	filter = msr_filter_replace(call->vm, filter);
	vm_flush_wait(call->vm);
	give_back(call->vm, filter);
	return 0;
}
