/* SPDX-License-Identifier: MIT */
/* The guest's own page walk in software: 2-, 3- and 4-level, and 5-level where LA57 is on. */
#pragma once

#include "mm/guest_mem.h"

enum walk_access {
	WALK_READ = 0,
	WALK_WRITE = BIT(0),
	WALK_EXEC = BIT(1),
	WALK_USER = BIT(2),
	WALK_IMPLICIT = BIT(3) /* supervisor access that ignores SMAP's AC override */
};

struct walk_state {
	u64 cr0, cr3, cr4, efer, rflags;
	u32 pkru;
	u64 pdpte[4]; /* PAE with VMX: the loaded ones; used when pdpte_valid */
	bool pdpte_valid;
	u8 physical_bits; /* guest's MAXPHYADDR: above it is reserved */
};

struct walk_result {
	gpa_t gpa;
	u64 page_size;
	bool writable, user, exec; /* what the translation allows */
	u32 error;		   /* #PF error code when the guest faults */
	gpa_t missing;	    /* -EFAULT: the table entry's address that the host has not mapped */
	bool missing_write; /* ... or not for writing, which its accessed or dirty bit needs */
};

/*
 * Translates gva. 0: result->gpa. -EPERM: the guest gets #PF with result->error. -EFAULT: a table
 * is not mapped at second level (result->missing): the caller faults it in and walks again.
 * Sets accessed and dirty bits with compare-exchange, like hardware, unless `quiet` or the table
 * stands in memory that the guest can never write (a read-only slot). Without paging: gva's low
 * 32 bits. A non-canonical gva is the caller's to refuse.
 * AMD APM vol. 2, "Page Translation and Protection"; SDM vol. 3, "Paging".
 */
int guest_walk(struct guest_mem *m, const struct walk_state *state, gva_t gva, u32 access,
	       bool quiet, struct walk_result *result);
