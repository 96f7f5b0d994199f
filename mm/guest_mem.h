/* SPDX-License-Identifier: MIT */
/*
 * A VM's guest-physical memory: memslots, second-level tables, dirty log, and the only accessors
 * through which root touches guest memory.
 *
 * Unmapping takes two steps, so that neither needs memory and each is bounded:
 *
 *   1. guest_mem_unmap or memslot_set clears entries and makes the VM's generation grow;
 *   2. the caller makes every CPU leave the VM: each vCPU has been seen not running, or has gone
 *      through an entry since. Processors then hold no old translation, and root's handlers no
 *      pointer, table or slot, which they may keep from an exit until the next entry;
 *   3. guest_mem_unmap_finish or memslot_set_finish drops the frames' references and frees tables.
 *
 * In between guest_mem_map answers -EAGAIN, so that what step 3 frees is what step 1 unmapped.
 *
 * Lock order: guest_mem->lock (slots, dirty bitmaps, every change of a child's mappings),
 * stage2->lock, pool->lock. Look-ups of slots and pages take none: a slot's storage is never freed
 * while the VM lives, and a sequence count tells a reader that it must look again.
 */
#pragma once

#include "mm/stage2.h"

#define MEMSLOT_MAX	 32764		    /* KVM_CAP_NR_MEMSLOTS of Linux */
#define MEMSLOT_PAGES	 ((1ull << 31) - 1) /* of one slot: KVM_MEM_MAX_NR_PAGES */
#define MEMSLOT_DIRTY	 1u		    /* KVM_MEM_LOG_DIRTY_PAGES */
#define MEMSLOT_READONLY 2u		    /* KVM_MEM_READONLY */
#define DIRTY_LOG_MANUAL 1u		    /* KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE */
#define DIRTY_LOG_SET	 2u		    /* KVM_DIRTY_LOG_INITIALLY_SET */

struct aligned(64) memslot
{
	u32 id;
	u32 flags;
	u64 gfn, pages; /* pages 0: the slot does not exist */
	u64 hva;	/* the VMM's address: a token to Keel, handed back on a fault */
	u64 *dirty;	/* one bit a page, or NULL */
	hpa_t dirty_hpa;
	u32 dirty_pages; /* of the bitmap */
};

struct memslots; /* mm/memslot.c: sorted by gfn, O(log n) */

struct guest_mem {
	struct spinlock lock;
	struct stage2 s2;
	struct pool *pool;
	struct memslots *slots;
	u64 gpa_end;   /* slots end there at most: this processor's addresses, and four levels of
			  tables */
	bool identity; /* the management guest: every gpa is its own hpa, there are no slots */
	u32 unmapping; /* unmaps between their two steps */
	u64 unmap_generation; /* of the newest of them */
	bool slot_pending;    /* memslot_set_finish is due for [slot_gpa, + slot_size) */
	u32 slot_id;
	gpa_t slot_gpa;
	u64 slot_size;	    /* 0: nothing was unmapped */
	gpa_t release_next; /* guest_mem_release goes on here */
	u32 dirty_log;	    /* DIRTY_LOG_MANUAL: reading it clears nothing; DIRTY_LOG_SET: all begin
			       dirty */
};

/* slat_root is published in vm. -ENOMEM. */
int guest_mem_init(struct guest_mem *m, struct virt_vm *vm, struct pool *pool, bool identity);

/*
 * KVM_SET_USER_MEMORY_REGION; size in bytes, 0 deletes. Rules and errno as Linux's
 * __kvm_set_memory_region: EINVAL for alignment, wrap, unknown flags, id, a changed size or hva, a
 * toggled READONLY, deleting an absent slot; EEXIST for an overlap; moving and toggling DIRTY are
 * allowed. ENOMEM: the pool; nothing has changed.
 * -EAGAIN: a part of the old slot's pages is unmapped, the slot is as before; or another change
 * waits for its finish. After 0 and -EAGAIN the caller makes every CPU leave the VM, calls
 * memslot_set_finish(), and after -EAGAIN begins anew. Callers exclude each other until then.
 */
int memslot_set(struct guest_mem *m, u32 id, u32 flags, gpa_t gpa, u64 size, u64 hva);
void memslot_set_finish(struct guest_mem *m);
/* The slot that holds gpa, or NULL. Last hit first. Its fields may change, the memory stays. */
const struct memslot *memslot_find(const struct guest_mem *m, gpa_t gpa);
/* The same as a copy whose fields belong together. */
bool memslot_get(const struct guest_mem *m, gpa_t gpa, struct memslot *out);
const struct memslot *memslot_by_id(const struct guest_mem *m, u32 id);

/*
 * Maps pages of a slot: the driver's answer to a fault. [gpa, gpa + size) inside one slot;
 * writable is reduced by the slot's flags and its dirty log (whose fault then marks pages written).
 * Takes a reference to each frame. -EINVAL outside of a slot, or alignment; -ENOMEM; -EEXIST:
 * another frame is mapped there, unmap it first; -EBUSY: a frame is not the management guest's;
 * -EAGAIN: an unmap of this VM is under way. On every error nothing has changed.
 */
int guest_mem_map(struct guest_mem *m, gpa_t gpa, hpa_t hpa, u64 size, bool writable);
/*
 * Clears [gpa, gpa + size) whatever slots lie there, and the rest of a large page that sticks out
 * when there is no table to split it. 0, or -EAGAIN: a part was done; after either the caller
 * makes every CPU leave the VM, calls the finish with the same range, and after -EAGAIN begins
 * anew. -EINVAL: alignment, wrap; nothing is to be finished.
 */
int guest_mem_unmap(struct guest_mem *m, gpa_t gpa, u64 size);
void guest_mem_unmap_finish(struct guest_mem *m, gpa_t gpa, u64 size);
/* 1: some page of [gpa, gpa + size) is mapped, 0: none is. -EINVAL as above. */
int guest_mem_mapped(struct guest_mem *m, gpa_t gpa, u64 size);
/*
 * VIRT_SLAT_AD: stage2_accessed() as 1 or 0. -EINVAL as above. It takes as long as the range has
 * pages.
 */
int guest_mem_accessed(struct guest_mem *m, gpa_t gpa, u64 size, bool clear, bool flush);
/*
 * 1: some page of it is mapped, or may be in a TLB still, since an unmap of this VM has not been
 * finished; 0: there is nothing to unmap or to wait for. -EINVAL as above.
 */
int guest_mem_used(struct guest_mem *m, gpa_t gpa, u64 size);
/*
 * For a VM that never runs again: drops all references to frames, at most `budget` mappings a
 * call: -EAGAIN while there are more, then 0.
 */
int guest_mem_release(struct guest_mem *m, u64 budget);

/*
 * A write fault: true when only the dirty log had held the permission back, and it is settled
 * now. False as well when the split that it needs finds no memory: the fault goes to the driver,
 * whose guest_mem_map answers -ENOMEM.
 */
bool dirty_log_fault(struct guest_mem *m, gpa_t gpa);
/* VIRT_PML: the guest has written to these pages, which may lie in any slot or none. */
void dirty_log_written(struct guest_mem *m, const u64 *gpas, u32 count);
/*
 * Copies slot `id`'s bitmap to out (bytes as KVM_GET_DIRTY_LOG), clears it, protects again; with
 * DIRTY_LOG_MANUAL it is only copied. What is written from then on is logged once every CPU has
 * left the VM, which is the caller's to do before it answers. -ENOENT: no such slot or not logged.
 * -EINVAL: size is not the bitmap's.
 */
int dirty_log_get(struct guest_mem *m, u32 id, void *out, u64 size);
/*
 * KVM_CLEAR_DIRTY_LOG: clears, of `count` pages from `first`, those whose bit is set in `bits`, and
 * protects them again; the caller does as above. bits: one for each page, which others may change
 * meanwhile; NULL: only the other arguments are checked. -EINVAL: first is not a multiple of 64, or
 * count is none and does not end with the slot, or it reaches beyond. -ENOENT: as above.
 */
int dirty_log_clear(struct guest_mem *m, u32 id, u64 first, u64 count, const u64 *bits);
/* Bytes of the bitmap of a slot with so many pages. */
static inline u64 dirty_log_bytes(u64 pages)
{
	return ALIGN_UP(pages, 64) / 8;
}

/*
 * The host address of gpa for up to *length bytes, which is cut at the mapping's end. NULL when
 * not mapped (or not writable, for write). A write marks the dirty log. Valid until this CPU's
 * next entry into the VM. In the management guest's memory Keel's own and donated pages read as
 * zeros and are not writable; what is not RAM is NULL.
 */
void *guest_ptr(struct guest_mem *m, gpa_t gpa, u64 *length, bool write);
/* Whole or not at all: 0, or -EFAULT with *fault (may be NULL) set to the first missing address.
 * Crosses pages and slots. A shared page may change meanwhile: copy once, then check (D9). */
int guest_read(struct guest_mem *m, gpa_t gpa, void *out, u64 length, gpa_t *fault);
int guest_write(struct guest_mem *m, gpa_t gpa, const void *in, u64 length, gpa_t *fault);
