/* SPDX-License-Identifier: MIT */
/* errno, one for each thread, with Linux's numbers. */
#pragma once

#include <asm/errno.h>

int *__errno_location(void);
#define errno (*__errno_location())
