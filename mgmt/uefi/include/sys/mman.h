/* SPDX-License-Identifier: MIT */
/* mmap(): zeroed memory from the firmware, or a vCPU's shared pages. */
#pragma once

#include <sys/types.h>

#define PROT_NONE      0
#define PROT_READ      1
#define PROT_WRITE     2
#define PROT_EXEC      4
#define MAP_SHARED     1
#define MAP_PRIVATE    2
#define MAP_FIXED      0x10
#define MAP_ANONYMOUS  0x20
#define MAP_ANON       MAP_ANONYMOUS
#define MAP_NORESERVE  0x4000
#define MAP_POPULATE   0x8000
#define MAP_HUGETLB    0x40000
#define MAP_FAILED     ((void *)-1)
#define MADV_NORMAL    0
#define MADV_DONTNEED  4
#define MADV_MERGEABLE 12
#define MADV_HUGEPAGE  14

/* There is one address space, identity mapped: `address` is ignored (MAP_FIXED: EINVAL) and so is
 * `protection`. Files cannot be mapped (ENODEV). */
void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset);
/* What one mmap() gave, as a whole; EINVAL for a part of it. */
int munmap(void *address, size_t length);
int madvise(void *address, size_t length, int advice);
int mprotect(void *address, size_t length, int protection);
