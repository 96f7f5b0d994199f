/* SPDX-License-Identifier: MIT */
/*
 * The frame table: 2 bytes for each 4 KiB frame of RAM hold its owner and how many child and
 * shared mappings it has (design D6). Donating needs count 0; mapping needs owner = management
 * guest. Lock-free: each entry changes by compare-exchange.
 *
 *   bits 15..14 owner   bits 13..0 count (saturates: then mapping is refused with -EBUSY)
 */
#pragma once

#include "arch-x86/addr.h"

enum frame_owner { FRAME_NONE /* not RAM */, FRAME_MANAGEMENT, FRAME_LEAVING, FRAME_KEEL };

/* table: (frames * 2) bytes of Keel's memory, all FRAME_NONE. */
void frames_init(hpa_t table, u64 frames);
/* RAM of the firmware's map, or Keel's own: without conditions, at boot only. */
void frames_set(hpa_t base, u64 pages, enum frame_owner owner);
bool frame_is_ram(hpa_t hpa);
enum frame_owner frame_owner(hpa_t hpa);
u32 frame_mappings(hpa_t hpa);
#define FRAME_COUNT_MAX 0x3fffu
/* management -> leaving, all pages or none: -EBUSY one is mapped or not the management guest's. */
int frames_leave(hpa_t base, u64 pages);
/* leaving -> Keel, once every CPU has flushed, all or none: -EINVAL one is not leaving. */
int frames_take(hpa_t base, u64 pages);
/* leaving or Keel -> management: the caller knows that they are, and has zeroed them. */
void frames_return(hpa_t base, u64 pages);
/*
 * How many of these frames are Keel's or leaving, and how many have mappings. True: the table goes
 * on behind them.
 */
bool frames_count(hpa_t base, u64 pages, u64 *taken, u64 *mapped);
/* A child maps it, or no longer does. -EBUSY: not the management guest's frame. */
int frame_get(hpa_t hpa);
void frame_put(hpa_t hpa);
int frames_get(hpa_t base, u64 pages); /* all or none */
void frames_put(hpa_t base, u64 pages);
