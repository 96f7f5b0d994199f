/* SPDX-License-Identifier: MIT */
/* The size of a file. */
#pragma once

#include <sys/types.h>

struct stat {
	off_t st_size;
	mode_t st_mode;
};

int fstat(int fd, struct stat *s);
int stat(const char *path, struct stat *s);
