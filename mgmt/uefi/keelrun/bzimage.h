/* SPDX-License-Identifier: MIT */
/* A Linux kernel by the 64-bit boot protocol (Documentation/x86/boot.rst). */
#pragma once

#include "lib/types.h"

#define BZIMAGE_HEAD	      1024u /* bytes of the file that bzimage_check() looks at */
#define BOOT_COMMAND_LINE_MAX 4095u

/* Where things stand in the guest's low memory */
enum {
	BOOT_GDT = 0x500,
	BOOT_PARAMS = 0x7000,
	BOOT_TABLES = 0x9000 /* six pages */,
	BOOT_COMMAND_LINE = 0x20000,
	BOOT_STACK = 0x9000,
	BOOT_CODE_SELECTOR = 0x10,
	BOOT_DATA_SELECTOR = 0x18,
};
#define LOW_MEMORY_END 0x9fc00ull   /* below: RAM; up to 1 MiB: reserved */
#define HOLE_START     (3ull << 30) /* devices; memory beyond goes on at 4 GiB */
#define HOLE_END       (4ull << 30)

struct bzimage {
	u64 offset, bytes;    /* of the protected-mode part, in the file */
	u64 load;	      /* its guest physical address */
	u64 init_size;	      /* memory it needs from there */
	u64 initrd_end;	      /* an initial RAM disk ends below */
	u32 command_line_max; /* bytes without the 0 */
	u8 header[0x300];     /* the file's first bytes */
};

/* head: the file's first bytes, BZIMAGE_HEAD or fewer if it is shorter. -ENOEXEC with a message:
 * not such a kernel, truncated, corrupt; -ENOMEM: the guest's memory is too small for it. */
int bzimage_check(struct bzimage *k, const u8 *head, u32 head_bytes, u64 file_bytes, u64 memory,
		  char *error, size_t size);
/* Where an initial RAM disk goes, as high as possible; 0 and a message: it does not fit. */
u64 bzimage_place_initrd(const struct bzimage *k, u64 bytes, u64 memory, char *error, size_t size);
/* The first bytes of the compressed kernel: -ENOEXEC when no known format begins so. */
int bzimage_check_payload(const u8 *payload, char *error, size_t size);
/* The payload's place in the file; 0: the header does not tell. */
u64 bzimage_payload(const struct bzimage *k);

/* Fills the guest's memory below LOW_MEMORY_END (low: its address 0): zero page with the memory
 * map, command line, page tables, GDT. */
void bzimage_low_memory(const struct bzimage *k, u8 *low, u64 memory, const char *command_line,
			u64 initrd, u64 initrd_bytes, u64 rsdp);
