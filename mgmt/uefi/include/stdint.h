/* SPDX-License-Identifier: MIT */
/* The compiler's own fixed-width types. */
#pragma once

#include <stdint-gcc.h>
