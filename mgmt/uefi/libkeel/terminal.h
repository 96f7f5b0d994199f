/* SPDX-License-Identifier: MIT */
/*
 * Between a terminal's bytes and the firmware's console: escape sequences, which the firmware would
 * print, are dropped; UTF-8 becomes UCS-2; keys become what a VT100 sends.
 */
#pragma once

#include "lib/types.h"

struct terminal_output {
	u8 escape;    /* 0 text, 1 after ESC, 2 in a CSI sequence, 3 in a string (OSC, DCS) */
	u8 utf8_left; /* bytes of a character still to come */
	u32 character;
};

/* Takes one byte; stores 0 to 2 characters for the firmware and returns how many. */
u32 terminal_put(struct terminal_output *t, u8 byte, u16 out[2]);

#define TERMINAL_KEY_BYTES 4
/* A key stroke of EFI_SIMPLE_TEXT_INPUT as bytes; returns how many, 0 for keys that have none. */
u32 terminal_key(u16 scan, u16 character, char out[TERMINAL_KEY_BYTES]);
