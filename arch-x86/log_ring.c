// SPDX-License-Identifier: MIT
/* The log's ring in memory. */
#include "arch-x86/log_ring.h"

#define RING_MAGIC 0x31676f6c6c65656bull /* "keellog1" */

bool log_ring_open(struct log_ring *ring, u64 bytes)
{
	u64 size = bytes - sizeof(*ring);
	bool kept = ring->magic == RING_MAGIC && ring->size == size;

	if (!kept) {
		ring->size = size;
		ring->boots = 0;
		ring->written = 0;
		ring->panicked = 0;
		ring->magic = RING_MAGIC;
	}
	return kept;
}

void log_ring_write(struct log_ring *ring, const char *text, u64 length)
{
	for (u64 i = 0; i < length; i++)
		ring->text[(ring->written + i) % ring->size] = text[i];
	ring->written += length;
}

u64 log_ring_read(const struct log_ring *ring, u64 *position, char *out, u64 size)
{
	u64 end = ring->written;
	u64 oldest = end > ring->size ? end - ring->size : 0;
	u64 length;

	if (*position < oldest)
		*position = oldest;
	if (*position >= end)
		return 0;
	length = MIN(size, end - *position);
	for (u64 i = 0; i < length; i++)
		out[i] = ring->text[(*position + i) % ring->size];
	*position += length;
	return length;
}
