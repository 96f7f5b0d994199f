/* SPDX-License-Identifier: MIT */
/* Reads what KVM_GET_STATS_FD gives. */
#pragma once

#include <linux/kvm.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

/* The number that the file itself calls by this name; -1: none. */
static inline long stat_of(int fd, const char *name)
{
	struct kvm_stats_header header;
	char text[sizeof(struct kvm_stats_desc) + 256];
	struct kvm_stats_desc *desc = (void *)text;
	uint64_t value;

	if (pread(fd, &header, sizeof(header), 0) != sizeof(header) || header.name_size > 256)
		return -1;
	for (uint32_t i = 0; i < header.num_desc; i++) {
		size_t bytes = sizeof(*desc) + header.name_size;

		if (pread(fd, text, bytes, header.desc_offset + i * bytes) != (ssize_t)bytes)
			return -1;
		if (strcmp(desc->name, name))
			continue;
		return pread(fd, &value, 8, header.data_offset + desc->offset) == 8 ? (long)value
										    : -1;
	}
	return -1;
}
