/* SPDX-License-Identifier: MIT */
/* What the files behind guest_mem.h share. guest_mem->lock is held in each. */
#pragma once

#include "mm/guest_mem.h"

int memslots_init(struct guest_mem *m);
/* The slot that holds gpa, or NULL, for those who hold the lock. */
struct memslot *memslot_locked(struct guest_mem *m, gpa_t gpa);
/* The first step of unmapping a range; always to be finished. 0 or -EAGAIN. */
int guest_mem_detach(struct guest_mem *m, gpa_t gpa, u64 size);
/* The last step, after every CPU has left the VM. */
void guest_mem_collect(struct guest_mem *m, gpa_t gpa, u64 size);
/* A bitmap for the slot's pages, clear or as DIRTY_LOG_SET says; what it has already, stays.
 * -ENOMEM. */
int dirty_log_start(struct guest_mem *m, struct memslot *slot);
void dirty_log_stop(struct guest_mem *m, struct memslot *slot);
