/* SPDX-License-Identifier: MIT */
/* Resets the machine: the end of the road when the management guest cannot go on. */
#pragma once

/* By the chipset, the keyboard controller, or a triple fault: the first that works. */
__attribute__((noreturn)) void machine_reset(void);
