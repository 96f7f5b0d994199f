// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Pages for Keel: donated in two phases (docs/hypercalls.md, "Donation"), charged to the VMM's
 * memory cgroup, and freed once Keel has given them back zeroed and every CPU has flushed.
 */
#include "keel.h"
#include <linux/delay.h>
#include <linux/gfp.h>
#include <linux/sched/signal.h>
#include <linux/smp.h>

#define BLOCK_ORDER 9			      /* 2 MiB: Keel splits no large page then */
#define MOST_PAGES  (1ull << (MAX_ORDER - 1)) /* of one allocation */
#define LEAST_PAGES 8			      /* a VM has few ranges; Linux can always find these */
#define PUSHES	    1000		      /* 50 us each, until an offline CPU has flushed */

/*
 * Keel takes pages only when the newest donation's epoch has passed: so there is one at a time,
 * from keel_donate() until they are taken.
 */
DEFINE_MUTEX(keel_donation);
static bool no_more; /* guarded by it */

void keel_donate_no_more(void)
{
	mutex_lock(&keel_donation);
	no_more = true;
	mutex_unlock(&keel_donation);
}

static void sync_cpu(void *unused)
{
	hypercall_system(KEEL_SYNC, 0, 0, 0);
}

void keel_sync(void)
{
	on_each_cpu(sync_cpu, NULL, 1);
}

int keel_allocate(u64 pages, struct keel_range *range)
{
	unsigned int least = get_order(pages << PAGE_SHIFT);

	for (range->order = max(least, BLOCK_ORDER + 0u);; range->order--) {
		gfp_t more = range->order == least ? 0 : __GFP_NORETRY;

		range->page = alloc_pages(GFP_KERNEL_ACCOUNT | __GFP_NOWARN | more, range->order);
		if (range->page) {
			atomic_long_add(1l << range->order, &keel_objects.pages);
			return 0;
		}
		if (range->order == least)
			return -ENOMEM;
	}
}

static void free_range(const struct keel_range *range)
{
	atomic_long_sub(1l << range->order, &keel_objects.pages);
	__free_pages(range->page, range->order);
}

void keel_reclaim(const struct keel_range *range)
{
	if (hypercall_system(KEEL_RECLAIM, page_to_phys(range->page), 0, 1ull << range->order)
		    .value < 0) {
		pr_err("keel: donated pages do not come back\n");
		return;
	}
	keel_sync();
	free_range(range);
}

/* A CPU that Linux does not run may hold the old translation: Keel makes it flush. */
static bool donated(u64 epoch)
{
	keel_sync();
	for (int i = 0; i < PUSHES; i++) {
		if (hypercall_system(KEEL_DONATED, epoch, 0, i > 0).value == 1)
			return true;
		usleep_range(50, 100);
	}
	return false;
}

int keel_donate(const struct keel_range *range)
{
	s64 epoch = -ENOMEM;

	lockdep_assert_held(&keel_donation);
	if (!no_more)
		epoch = hypercall_system(KEEL_DONATE, page_to_phys(range->page), 0,
					 1ull << range->order)
				.value;
	if (epoch < 0) {
		free_range(range);
		return -ENOMEM;
	}
	if (donated(epoch))
		return 0;
	pr_err_ratelimited("keel: a CPU does not flush: no virtual machine gets memory\n");
	keel_reclaim(range);
	return -ENOMEM;
}

void range_add(struct keel_vm *vm, const struct keel_range *range)
{
	vm->ranges[vm->range_count++] = *range;
	vm->donated_pages += 1ull << range->order;
}

int vm_grow(struct keel_vm *vm, u64 pages)
{
	struct keel_range range;
	int error = -ENOMEM;

	mutex_lock(&vm->pool_lock);
	if (vm->range_count == KEEL_RANGES)
		goto out;
	error = keel_allocate(clamp(pages, (u64)LEAST_PAGES, MOST_PAGES), &range);
	if (error)
		goto out;
	mutex_lock(&keel_donation);
	error = keel_donate(&range);
	if (!error) {
		error = hypercall(vm->handle, KEEL_ADD_POOL, page_to_phys(range.page), 0,
				  1ull << range.order)
				.value;
		if (error)
			keel_reclaim(&range);
		else
			range_add(vm, &range);
	}
	mutex_unlock(&keel_donation);
out:
	mutex_unlock(&vm->pool_lock);
	return error ? -ENOMEM : 0;
}

void vm_end(struct keel_vm *vm)
{
	s64 result;

	WRITE_ONCE(vm->dead, true);
	while ((result = hypercall(vm->handle, KEEL_DESTROY, 0, 0, 0).value) == -EAGAIN)
		cond_resched();
	while (!result && hypercall(vm->handle, KEEL_TAKE_BACK, 0, 0, 0).value == 1)
		cond_resched();
	WARN_ON_ONCE(result);
	vm->lost = result;
}

void vm_take_back(struct keel_vm *vm)
{
	if (!vm->dead)
		vm_end(vm);
	if (vm->lost)
		return;
	keel_sync();
	while (vm->range_count)
		free_range(&vm->ranges[--vm->range_count]);
}
