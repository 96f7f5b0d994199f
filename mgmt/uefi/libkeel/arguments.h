/* SPDX-License-Identifier: MIT */
/* From a program's load options to argc and argv. */
#pragma once

#include "lib/types.h"

#define ARGUMENTS_MAX  64
#define ARGUMENTS_ROOM 4096

struct arguments {
	int count;
	char *values[ARGUMENTS_MAX + 1]; /* the last one is NULL */
	char text[ARGUMENTS_ROOM];
};

/*
 * Words are separated by blanks; "..." keeps blanks. A first word that names a .efi file is
 * argv[0], as the UEFI shell passes it; otherwise `program` is. Options that are not text (some
 * firmware puts a GUID there) count as none. -E2BIG: too long; the arguments are then those that
 * fitted.
 */
int arguments_parse(struct arguments *a, const char *program, const u16 *options, u32 bytes);
