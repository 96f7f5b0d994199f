/* SPDX-License-Identifier: MIT */
/* POSIX's integer types. */
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef long ssize_t;
typedef long off_t;
typedef int pid_t;
typedef unsigned int mode_t;
