/* SPDX-License-Identifier: MIT */
/* Root's window on RAM: all of it at one fixed offset, NX and RW, without MMIO (design D1). */
#pragma once

#include "arch-x86/addr.h"

#define PHYS_BASE 0xffff800000000000ull

#ifdef UNIT_TEST
extern char *fake_ram; /* tests/unit/fake: physical address 0 stands here */
extern u64 fake_ram_size;
#define phys_offset ((u64)fake_ram)
/* Memory changes hands: the tests' TLB model checks that no CPU can still reach it. */
void fake_frames_reused(hpa_t base, u64 pages);
#else
#define phys_offset PHYS_BASE
static inline void fake_frames_reused(hpa_t base, u64 pages)
{
}
#endif

/* hpa must lie in RAM: the caller has checked (frame_is_ram) or owns the page. */
static inline void *phys_ptr(hpa_t hpa)
{
	return (void *)(hpa.v + phys_offset);
}

static inline hpa_t ptr_phys(const void *p)
{
	return HPA((u64)p - phys_offset);
}
