/* SPDX-License-Identifier: MIT */
/*
 * The clock and its 128 bytes of memory at ports 0x70 and 0x71 (MC146818A data sheet). It shows the
 * time it is given; it cannot be set, and has no interrupts.
 */
#pragma once

#include "lib/types.h"

struct rtc {
	u8 index;
	u8 memory[128];
};

void rtc_init(struct rtc *r);
/* offset 0: port 0x70, 1: port 0x71. now: seconds since 1970, UTC. */
u8 rtc_read(struct rtc *r, u32 offset, u64 now);
void rtc_write(struct rtc *r, u32 offset, u8 value);
