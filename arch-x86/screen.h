/* SPDX-License-Identifier: MIT */
/* A panic's text on the framebuffer that the firmware set up. Capital letters only: it is small. */
#pragma once

#include "lib/types.h"

#define SCREEN_VA  0xffffffff71000000ull /* boot/ maps the framebuffer here, uncached */
#define SCREEN_MAX (64ull << 20)	 /* at most so many bytes of it */

/* 32 bits a pixel; stride in pixels. pixels NULL: no screen. */
void screen_init(u32 *pixels, u32 width, u32 height, u32 stride);
void screen_write(const char *text, u64 length);
