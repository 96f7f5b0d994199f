/* SPDX-License-Identifier: MIT */
/* ioctl() on /dev/kvm and its objects. */
#pragma once

#include <linux/ioctl.h>

/* The third argument is a pointer or a value, as KVM's documentation says. -1 and errno. */
int ioctl(int fd, unsigned long request, ...);
