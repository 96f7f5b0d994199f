/* SPDX-License-Identifier: MIT */
/* keel.efi check, the part that needs root's own code: what the processors offer. */
#pragma once

#include "boot/info.h"

/*
 * Reports on this CPU, to the log: on CPU 0 everything, on others only what differs. `error` and
 * `features` are the backend's answer; info->why is set where it refuses.
 */
void check_report(struct boot_info *info, u32 index, int error, u64 features);
