/* SPDX-License-Identifier: MIT */
/* The end of Keel by its own bug: the dump, and the other CPUs stopped. */
#pragma once

#include "arch-x86/exception.h"

/* What else a panic prints, of a layer above; set once by boot/. NULL: nothing. */
void panic_set_report(void (*report)(void));
/* A panic whose registers are in frame. */
__attribute__((noreturn)) void panic_exception(const struct exception_frame *frame);
