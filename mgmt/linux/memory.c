// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Guest memory is the VMM's: a slot is a range of user addresses. A page is found and mapped when
 * the guest touches it, and no reference to it is kept: before Linux takes it away (swap, merging,
 * truncation, a change of protection, the end of the process), the mmu notifier unmaps it.
 *
 * A fault looks a page up without map_lock, and maps it only if no invalidation around it is under
 * way and none has ended since it began; so what is mapped is always what the VMM's own tables say,
 * or about to go.
 */
#include "keel.h"
#include <linux/pgtable.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <linux/uaccess.h>

/* Of user addresses, under one hold of map_lock. Keel does as much in one hypercall. */
#define PIECE (128ul << 20)

static u64 slot_gpa(const struct keel_slot *slot)
{
	return slot->gpa.start;
}

static u64 slot_hva(const struct keel_slot *slot)
{
	return slot->hva.start;
}

/* ---- unmapping, and what the guest uses ---- */

static struct keel_result map_call(struct keel_vm *vm, u32 request)
{
	struct keel_result r =
		hypercall(vm->handle, request, virt_to_phys(&vm->map), sizeof(vm->map), 0);

	if (r.reply & KEEL_REPLY_WAKE)
		vm_take_wakes(vm);
	return r;
}

/* Returns when no CPU uses the old translations. Holds map_lock. */
static void unmap(struct keel_vm *vm, u64 gpa, u64 size)
{
	struct keel_result r;

	vm->unmaps++;
	vm->map = (struct keel_map){.gpa = gpa, .size = size};
	do
		r = map_call(vm, KEEL_UNMAP);
	while (r.value == -EAGAIN);
	WARN_ON_ONCE(r.value && !READ_ONCE(vm->dead));
}

/* Has the guest used a page of it? flags: enum keel_young_flags. Holds map_lock. */
static bool young(struct keel_vm *vm, u64 gpa, u64 size, u64 flags)
{
	u64 end = gpa + size;
	bool young = false;

	while (gpa < end) {
		struct keel_result r;

		vm->map = (struct keel_map){.gpa = gpa, .size = end - gpa, .flags = flags};
		r = map_call(vm, KEEL_YOUNG);
		if (WARN_ON_ONCE(r.value < 0 && !READ_ONCE(vm->dead)) || r.value < 0)
			break;
		young |= r.value;
		gpa = r.second;
	}
	return young;
}

/* Where a slot and [start, end) of user addresses meet. */
struct part {
	u64 gpa, size;
};

static struct part part_of(struct interval_tree_node *node, u64 start, u64 end)
{
	const struct keel_slot *slot = container_of(node, struct keel_slot, hva);
	u64 first = max(start & PAGE_MASK, slot_hva(slot));
	u64 behind = min(PAGE_ALIGN(end), slot_hva(slot) + slot->size);

	return (struct part){slot_gpa(slot) + (first - slot_hva(slot)), behind - first};
}

/*
 * What slots show of [start, end), user addresses: KEEL_UNMAP, or KEEL_YOUNG with its flags.
 * map_lock is let go between pieces, so slots may come and go meanwhile.
 */
static bool walk_users(struct keel_vm *vm, u64 start, u64 end, u32 request, u64 flags)
{
	struct interval_tree_node *node;
	bool found = false;

	while (start < end) {
		u64 behind;

		spin_lock(&vm->map_lock);
		node = interval_tree_iter_first(&vm->hvas, start, end - 1);
		if (node)
			start = max_t(u64, start, node->start);
		behind = node ? min_t(u64, end, start + PIECE) : end;
		for (; node; node = interval_tree_iter_next(node, start, behind - 1)) {
			struct part part = part_of(node, start, behind);

			if (request == KEEL_UNMAP)
				unmap(vm, part.gpa, part.size);
			else
				found |= young(vm, part.gpa, part.size, flags);
		}
		spin_unlock(&vm->map_lock);
		start = behind;
	}
	return found;
}

static void unmap_users(struct keel_vm *vm, u64 start, u64 end)
{
	walk_users(vm, start, end, KEEL_UNMAP, 0);
}

static struct keel_vm *vm_of(struct mmu_notifier *notifier)
{
	return container_of(notifier, struct keel_vm, notifier);
}

static int invalidate_start(struct mmu_notifier *notifier, const struct mmu_notifier_range *range)
{
	struct keel_vm *vm = vm_of(notifier);

	spin_lock(&vm->map_lock);
	if (vm->invalidating++) {
		vm->invalid_start = min_t(u64, vm->invalid_start, range->start);
		vm->invalid_end = max_t(u64, vm->invalid_end, range->end);
	} else {
		vm->invalid_start = range->start;
		vm->invalid_end = range->end;
	}
	spin_unlock(&vm->map_lock);
	/* From here on no fault maps anything of it. */
	unmap_users(vm, range->start, range->end);
	return 0;
}

static void invalidate_end(struct mmu_notifier *notifier, const struct mmu_notifier_range *range)
{
	struct keel_vm *vm = vm_of(notifier);

	spin_lock(&vm->map_lock);
	vm->sequence++;
	vm->invalidating--;
	spin_unlock(&vm->map_lock);
}

/* The process has ended: nothing of its memory stays mapped, though its files may stay open. */
static void release(struct mmu_notifier *notifier, struct mm_struct *mm)
{
	unmap_users(vm_of(notifier), 0, TASK_SIZE_MAX);
}

/* With the flush, what a TLB holds has its flag set again when the guest next uses it. */
static int clear_flush_young(struct mmu_notifier *notifier, struct mm_struct *mm,
			     unsigned long start, unsigned long end)
{
	return walk_users(vm_of(notifier), start, end, KEEL_YOUNG,
			  KEEL_YOUNG_CLEAR | KEEL_YOUNG_FLUSH);
}

static int clear_young(struct mmu_notifier *notifier, struct mm_struct *mm, unsigned long start,
		       unsigned long end)
{
	return walk_users(vm_of(notifier), start, end, KEEL_YOUNG, KEEL_YOUNG_CLEAR);
}

static int test_young(struct mmu_notifier *notifier, struct mm_struct *mm, unsigned long address)
{
	return walk_users(vm_of(notifier), address, address + PAGE_SIZE, KEEL_YOUNG, 0);
}

static const struct mmu_notifier_ops notifier_ops = {
	.clear_flush_young = clear_flush_young,
	.clear_young = clear_young,
	.test_young = test_young,
	.invalidate_range_start = invalidate_start,
	.invalidate_range_end = invalidate_end,
	.release = release,
};

/* ---- faults ---- */

static struct keel_slot *slot_at(struct keel_vm *vm, u64 gpa)
{
	struct interval_tree_node *node = interval_tree_iter_first(&vm->gpas, gpa, gpa);

	return node ? container_of(node, struct keel_slot, gpa) : NULL;
}

/* A fault under way. */
struct fault {
	u64 gpa;
	bool write; /* the guest's access, or the page is needed for writing all the same */
	/* found under map_lock: */
	unsigned long sequence;
	u64 hva;
	bool may_write; /* the slot's */
	/* found in the VMM's memory: */
	struct page *page; /* a reference is held; NULL: memory without one */
	unsigned long pfn;
	bool writable;
};

static bool find_slot(struct keel_vm *vm, struct fault *f)
{
	struct keel_slot *slot;

	spin_lock(&vm->map_lock);
	f->sequence = vm->sequence;
	slot = slot_at(vm, f->gpa);
	if (slot) {
		f->hva = slot_hva(slot) + (f->gpa - slot_gpa(slot));
		f->may_write = !(slot->flags & KVM_MEM_READONLY);
	}
	spin_unlock(&vm->map_lock);
	return slot;
}

/* Memory of a driver, mapped without struct pages that can be held: VM_PFNMAP, VM_IO. */
static int find_pfn(struct keel_vm *vm, struct fault *f)
{
	unsigned int flags = f->write ? FAULT_FLAG_WRITE : 0;
	struct vm_area_struct *vma;
	bool unlocked = false;
	spinlock_t *lock;
	int error = -EFAULT;
	pte_t *pte;

	mmap_read_lock(vm->mm);
	vma = vma_lookup(vm->mm, f->hva);
	if (!vma || !(vma->vm_flags & (VM_IO | VM_PFNMAP)))
		goto out;
	error = follow_pte(vm->mm, f->hva, &pte, &lock);
	if (error) {
		error = fixup_user_fault(vm->mm, f->hva, flags, &unlocked);
		if (unlocked)
			error = -EAGAIN;
		if (!error)
			error = follow_pte(vm->mm, f->hva, &pte, &lock);
	}
	if (error)
		goto out;
	f->pfn = pte_pfn(*pte);
	f->writable = pte_write(*pte);
	if (f->write && !f->writable)
		error = -EFAULT;
	pte_unmap_unlock(pte, lock);
out:
	mmap_read_unlock(vm->mm);
	return error;
}

/* What the VMM has there. It is asked for writing only when the guest writes, or when it is so
 * already. */
static int find_page(struct keel_vm *vm, struct fault *f)
{
	struct page *writable;
	long got = 0;

	f->writable = f->may_write && get_user_page_fast_only(f->hva, FOLL_WRITE, &f->page);
	if (f->writable)
		goto found;
	got = get_user_pages_unlocked(f->hva, 1, &f->page,
				      FOLL_HWPOISON | (f->write ? FOLL_WRITE : 0));
	if (got != 1) {
		f->page = NULL;
		if (got == -EHWPOISON || got == -EAGAIN || got == -EINTR)
			return got;
		return find_pfn(vm, f);
	}
	f->writable = f->write;
	if (!f->write && f->may_write && get_user_page_fast_only(f->hva, FOLL_WRITE, &writable)) {
		put_page(f->page);
		f->page = writable;
		f->writable = true;
	}
found:
	f->pfn = page_to_pfn(f->page);
	return 0;
}

/*
 * How much around the address the VMM's own tables map as one piece. Holds map_lock, so that what
 * they say is not taken back yet; tables are freed only after every CPU had its interrupts on.
 */
static u64 host_span(struct keel_vm *vm, u64 hva)
{
	unsigned long flags;
	u64 span = PAGE_SIZE;
	pgd_t pgd;
	p4d_t p4d;
	pud_t pud;
	pmd_t pmd;

	local_irq_save(flags);
	pgd = READ_ONCE(*pgd_offset(vm->mm, hva));
	if (pgd_none(pgd))
		goto out;
	p4d = READ_ONCE(*p4d_offset(&pgd, hva));
	if (p4d_none(p4d) || !p4d_present(p4d))
		goto out;
	pud = READ_ONCE(*pud_offset(&p4d, hva));
	if (pud_none(pud) || !pud_present(pud))
		goto out;
	span = PUD_SIZE;
	if (pud_large(pud))
		goto out;
	span = PAGE_SIZE;
	pmd = READ_ONCE(*pmd_offset(&pud, hva));
	if (!pmd_none(pmd) && pmd_present(pmd) && pmd_large(pmd))
		span = PMD_SIZE;
out:
	local_irq_restore(flags);
	return span;
}

/* Is a part of this, or more, being invalidated? */
static bool is_invalid(const struct keel_vm *vm, u64 hva, u64 size)
{
	return vm->invalidating && hva < vm->invalid_end && hva + size > vm->invalid_start;
}

/* Widens the mapping to the largest page that both sides have in one piece. */
static void widen(struct keel_vm *vm, const struct fault *f, const struct keel_slot *slot)
{
	struct keel_map *map = &vm->map;
	u64 span = host_span(vm, f->hva);

	for (; span > PAGE_SIZE; span = span == PUD_SIZE ? PMD_SIZE : PAGE_SIZE) {
		u64 into = f->gpa & (span - 1);

		if ((f->hva ^ f->gpa) & (span - 1) ||
		    (f->gpa ^ ((u64)f->pfn << PAGE_SHIFT)) & (span - 1) & PAGE_MASK ||
		    f->gpa - into < slot_gpa(slot) ||
		    f->gpa - into + span > slot_gpa(slot) + slot->size ||
		    is_invalid(vm, f->hva - into, span))
			continue;
		map->gpa -= into;
		map->hpa -= into;
		map->size = span;
		return;
	}
}

/* -EAGAIN: the page may be another one by now, or another change is under way. */
static int map(struct keel_vm *vm, struct fault *f)
{
	struct keel_slot *slot;
	int error = -EAGAIN;

	spin_lock(&vm->map_lock);
	if (vm->sequence != f->sequence || is_invalid(vm, f->hva, PAGE_SIZE))
		goto out;
	slot = slot_at(vm, f->gpa);
	if (!slot || slot_hva(slot) + (f->gpa - slot_gpa(slot)) != f->hva)
		goto out;
	vm->map = (struct keel_map){.gpa = f->gpa,
				    .hpa = (u64)f->pfn << PAGE_SHIFT,
				    .size = PAGE_SIZE,
				    .flags = f->writable ? KEEL_MAP_WRITE : 0};
	if (f->page)
		widen(vm, f, slot);
	error = hypercall(vm->handle, KEEL_MAP, virt_to_phys(&vm->map), sizeof(vm->map), 0).value;
	if (error == -EEXIST) {
		unmap(vm, vm->map.gpa, vm->map.size);
		error = -EAGAIN;
	}
	if (error == -EINVAL) /* the slot is on its way */
		error = -EAGAIN;
out:
	spin_unlock(&vm->map_lock);
	return error;
}

static int fault_once(struct keel_vm *vm, struct fault *f)
{
	int error;

	if (!find_slot(vm, f))
		return 0;
	error = find_page(vm, f);
	if (error)
		return error;
	error = map(vm, f);
	if (f->page) {
		if (!error && f->writable)
			set_page_dirty_lock(f->page);
		else if (!error)
			mark_page_accessed(f->page);
		put_page(f->page);
	}
	return error;
}

int memory_fault(struct keel_vm *vm, u64 gpa, bool write)
{
	struct fault f = {.gpa = gpa & PAGE_MASK, .write = write};
	int error;

	for (;;) {
		error = fault_once(vm, &f);
		switch (error) {
		case 0:
			return 0;
		case -ENOMEM:
			error = vm_grow(vm, 1);
			if (error)
				return error;
			break;
		case -EBUSY:
			/* A page that very many share (the zero page): a copy of its own will do.
			 */
			if (f.write)
				return -EFAULT;
			f.write = true;
			break;
		case -EAGAIN:
			break;
		case -EINTR:
			return 0;
		default:
			return -EFAULT;
		}
		if (signal_pending(current)) /* KVM_RUN looks at it, and comes back if it goes on */
			return 0;
		cond_resched();
	}
}

/* ---- slots ---- */

static struct interval_tree_node span_of(u64 start, u64 size)
{
	return (struct interval_tree_node){.start = start, .last = start + size - 1};
}

/* Its place in guest memory; map_lock is held. */
static void slot_place(struct keel_vm *vm, struct keel_slot *slot, u64 gpa)
{
	slot->gpa = span_of(gpa, slot->size);
	interval_tree_insert(&slot->gpa, &vm->gpas);
}

static void slot_remove(struct keel_vm *vm, struct keel_slot *slot)
{
	xa_erase(&vm->slots, slot->id);
	spin_lock(&vm->map_lock);
	interval_tree_remove(&slot->gpa, &vm->gpas);
	interval_tree_remove(&slot->hva, &vm->hvas);
	spin_unlock(&vm->map_lock);
	kfree(slot);
	atomic_long_dec(&keel_objects.slots);
}

static void slot_add(struct keel_vm *vm, struct keel_slot *slot, u64 gpa)
{
	xa_store(&vm->slots, slot->id, slot, GFP_KERNEL_ACCOUNT); /* into what is reserved */
	spin_lock(&vm->map_lock);
	slot_place(vm, slot, gpa);
	interval_tree_insert(&slot->hva, &vm->hvas);
	spin_unlock(&vm->map_lock);
	atomic_long_inc(&keel_objects.slots);
}

/* Keel has accepted the region: the driver's record follows. `slot` is for a new one. */
static void slot_note(struct keel_vm *vm, const struct kvm_userspace_memory_region *r,
		      struct keel_slot *slot)
{
	struct keel_slot *old = xa_load(&vm->slots, r->slot);

	if (old && r->memory_size) {
		spin_lock(&vm->map_lock);
		old->flags = r->flags;
		spin_unlock(&vm->map_lock);
	} else if (old) {
		slot_remove(vm, old);
	} else if (r->memory_size) {
		*slot = (struct keel_slot){.size = r->memory_size,
					   .id = r->slot,
					   .flags = r->flags,
					   .hva = span_of(r->userspace_addr, r->memory_size)};
		slot_add(vm, slot, r->guest_phys_addr);
		return;
	}
	kfree(slot);
}

/*
 * Keel changes first. Until the driver's record follows, no fault may find a moving slot's old
 * place: its page would get into the new one.
 */
static int set_region(struct keel_vm *vm, struct kvm_userspace_memory_region *r)
{
	struct keel_slot *slot = xa_load(&vm->slots, r->slot);
	bool moves = slot && r->memory_size && slot_gpa(slot) != r->guest_phys_addr;
	int error;

	if (moves) {
		spin_lock(&vm->map_lock);
		interval_tree_remove(&slot->gpa, &vm->gpas);
		spin_unlock(&vm->map_lock);
	}
	error = vm_call(vm, vm->handle, KVM_SET_USER_MEMORY_REGION, virt_to_phys(r), sizeof(*r), 0)
			.value;
	if (moves) {
		spin_lock(&vm->map_lock);
		slot_place(vm, slot, error ? slot_gpa(slot) : r->guest_phys_addr);
		spin_unlock(&vm->map_lock);
	}
	return error;
}

int memory_set_region(struct keel_vm *vm, const void __user *arg)
{
	/* Argument of a hypercall: not on the stack. */
	struct {
		struct kvm_userspace_memory_region region;
	} *data = kmalloc(sizeof(*data), GFP_KERNEL_ACCOUNT);
	struct keel_slot *slot = kmalloc(sizeof(*slot), GFP_KERNEL_ACCOUNT);
	int error = -ENOMEM;

	if (!data || !slot)
		goto out;
	error = -EFAULT;
	if (copy_from_user(&data->region, arg, sizeof(data->region)))
		goto out;
	mutex_lock(&vm->slots_lock);
	error = xa_reserve(&vm->slots, data->region.slot, GFP_KERNEL_ACCOUNT);
	if (!error)
		error = set_region(vm, &data->region);
	if (!error) {
		slot_note(vm, &data->region, slot);
		slot = NULL;
	}
	xa_release(&vm->slots, data->region.slot);
	mutex_unlock(&vm->slots_lock);
out:
	kfree(slot);
	kfree(data);
	return error;
}

static size_t bitmap_bytes(u64 pages)
{
	return ALIGN(pages, 64) / 8;
}

int memory_dirty_log(struct keel_vm *vm, u32 id, void __user *user)
{
	struct keel_slot *slot;
	void *bitmap = NULL;
	size_t bytes = 0;
	int error = -ENOMEM;

	mutex_lock(&vm->slots_lock);
	slot = xa_load(&vm->slots, id);
	if (slot) {
		bytes = bitmap_bytes(slot->size >> PAGE_SHIFT);
		bitmap = kmalloc(bytes, GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	}
	if (bitmap || !slot) /* Keel says what is wrong with a number that no slot has */
		error = vm_call(vm, vm->handle, KEEL_GET_DIRTY_LOG,
				bitmap ? virt_to_phys(bitmap) : 0, bytes, id)
				.value;
	mutex_unlock(&vm->slots_lock);
	if (!error && copy_to_user(user, bitmap, bytes))
		error = -EFAULT;
	kfree(bitmap);
	return error;
}

int memory_clear_dirty_log(struct keel_vm *vm, struct kvm_clear_dirty_log *log,
			   const void __user *user)
{
	size_t bytes = bitmap_bytes(log->num_pages);
	struct keel_slot *slot;
	void *bitmap = NULL;
	int error = 0;

	mutex_lock(&vm->slots_lock);
	/* Keel says what is wrong with another slot or number, before it looks for a bitmap. */
	slot = xa_load(&vm->slots, log->slot);
	if (slot && log->num_pages <= slot->size >> PAGE_SHIFT) {
		bitmap = kmalloc(max_t(size_t, bytes, 8), GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
		if (!bitmap)
			error = -ENOMEM;
		else if (copy_from_user(bitmap, user, bytes))
			error = -EFAULT;
	}
	log->dirty_bitmap = (void *)(bitmap ? virt_to_phys(bitmap) : 0);
	if (!error)
		error = vm_call(vm, vm->handle, KEEL_CLEAR_DIRTY_LOG, virt_to_phys(log),
				sizeof(*log), 0)
				.value;
	mutex_unlock(&vm->slots_lock);
	kfree(bitmap);
	return error;
}

/* ---- beginning and end ---- */

int memory_init(struct keel_vm *vm)
{
	mutex_init(&vm->slots_lock);
	spin_lock_init(&vm->map_lock);
	xa_init(&vm->slots);
	vm->gpas = RB_ROOT_CACHED;
	vm->hvas = RB_ROOT_CACHED;
	vm->notifier.ops = &notifier_ops;
	return mmu_notifier_register(&vm->notifier, vm->mm);
}

void memory_end(struct keel_vm *vm)
{
	struct keel_slot *slot;
	unsigned long id;

	mmu_notifier_unregister(&vm->notifier, vm->mm);
	xa_for_each(&vm->slots, id, slot) slot_remove(vm, slot);
	xa_destroy(&vm->slots);
}
