/* SPDX-License-Identifier: MIT */
/* open(): /dev/kvm, and files of the volume that the program came from, for reading. */
#pragma once

#include <sys/types.h>

#define O_RDONLY   0
#define O_WRONLY   1
#define O_RDWR	   2
#define O_ACCMODE  3
#define O_NONBLOCK 04000
#define O_CLOEXEC  02000000

/* Both / and \ separate folders. ENOENT, EACCES (writing), EMFILE, EIO. */
int open(const char *path, int flags, ...);
