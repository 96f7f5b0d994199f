/* SPDX-License-Identifier: MIT */
/*
 * The log's ring in memory that a reset does not clear: the next boot finds what the last one said.
 * Not locked: log.c does that.
 */
#pragma once

#include "lib/types.h"

struct log_ring {
	u64 magic;
	u64 size;     /* of text, bytes */
	u64 boots;    /* how many boots have written here */
	u64 written;  /* bytes ever written; modulo size: where the next goes */
	u64 panicked; /* the last boot ended in a panic, whose text starts at panicked - 1; 0: no */
	char text[];
};

/*
 * Takes `bytes` bytes at ring into use, keeping an earlier boot's text when there is one with this
 * layout: returns true then. `panicked` still tells of that boot; the loader
 * clears it, and counts the boot.
 */
bool log_ring_open(struct log_ring *ring, u64 bytes);
void log_ring_write(struct log_ring *ring, const char *text, u64 length);
/* As log_read(). */
u64 log_ring_read(const struct log_ring *ring, u64 *position, char *out, u64 size);
