/* SPDX-License-Identifier: MIT */
/* Wall time from the firmware, elapsed time from the TSC. */
#pragma once

#include <sys/types.h>

typedef long time_t;
typedef int clockid_t;

struct timespec {
	time_t tv_sec;
	long tv_nsec;
};

#define CLOCK_REALTIME	0
#define CLOCK_MONOTONIC 1

time_t time(time_t *out);
int clock_gettime(clockid_t clock, struct timespec *out);
