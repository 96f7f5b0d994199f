/* SPDX-License-Identifier: MIT */
/* The processor's own, for programs that put a gate of theirs into the firmware's table. */
#pragma once

#include <stdint.h>

struct gate {
	uint16_t offset_low, selector;
	uint8_t ist, type;
	uint16_t offset_middle;
	uint32_t offset_high, reserved;
};

struct __attribute__((packed)) idt {
	uint16_t limit;
	struct gate *gates;
};
