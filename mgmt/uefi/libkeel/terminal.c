// SPDX-License-Identifier: MIT
/* Translates between a terminal's bytes and the firmware's console. */
#include "mgmt/uefi/libkeel/terminal.h"

enum { ESC = 0x1b, BEL = 7, REPLACEMENT = '?' };

/* Inside an escape sequence: true while the byte belongs to it. ECMA-48, "Control sequences". */
static void skip_escape(struct terminal_output *t, u8 byte)
{
	switch (t->escape) {
	case 1:
		if (byte == '[')
			t->escape = 2;
		else if (byte == ']' || byte == 'P')
			t->escape = 3;
		else if (byte < 0x20 || byte > 0x2f) /* 0x20 to 0x2f: one more follows */
			t->escape = 0;
		break;
	case 2:
		if (byte >= 0x40 && byte <= 0x7e)
			t->escape = 0;
		break;
	default: /* a string: ends with BEL, or with ESC \ */
		if (byte == BEL)
			t->escape = 0;
		else if (byte == ESC)
			t->escape = 1;
	}
}

static u32 put_character(u32 character, u16 out[2])
{
	out[0] = character > 0xffff || character < 0x20 ? REPLACEMENT : (u16)character;
	return 1;
}

u32 terminal_put(struct terminal_output *t, u8 byte, u16 out[2])
{
	if (t->escape) {
		skip_escape(t, byte);
		return 0;
	}
	if (t->utf8_left && (byte & 0xc0) == 0x80) {
		t->character = t->character << 6 | (byte & 0x3f);
		return --t->utf8_left ? 0 : put_character(t->character, out);
	}
	t->utf8_left = 0;
	switch (byte) {
	case ESC:
		t->escape = 1;
		return 0;
	case '\n':
		out[0] = '\r';
		out[1] = '\n';
		return 2;
	case '\t':
		out[0] = out[1] = ' ';
		return 2;
	case '\r':
	case '\b':
		out[0] = byte;
		return 1;
	}
	if (byte < 0x20 || byte == 0x7f)
		return 0;
	if (byte < 0x80)
		return put_character(byte, out);
	if (byte >= 0xf8 || byte < 0xc0)
		return put_character(REPLACEMENT, out);
	t->utf8_left = byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : 1;
	t->character = byte & (0x3f >> t->utf8_left);
	return 0;
}

u32 terminal_key(u16 scan, u16 character, char out[TERMINAL_KEY_BYTES])
{
	/* UEFI, "EFI Scan Codes for EFI_SIMPLE_TEXT_INPUT_PROTOCOL": up, down, right, left, home,
	 * end, insert, delete, page up, page down */
	static const char final[] = {0, 'A', 'B', 'C', 'D', 'H', 'F', '2', '3', '5', '6'};

	if (scan == 0x17) {
		out[0] = ESC;
		return 1;
	}
	if (scan && scan < sizeof(final)) {
		out[0] = ESC;
		out[1] = '[';
		out[2] = final[scan];
		out[3] = '~';
		return final[scan] < 'A' ? 4 : 3;
	}
	if (!character || character > 0x7f)
		return 0;
	out[0] = character == '\b' ? 0x7f : (char)character; /* what a terminal's backspace sends */
	return 1;
}
