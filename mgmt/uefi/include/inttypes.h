/* SPDX-License-Identifier: MIT */
/* Fixed-width types and their printf formats. */
#pragma once

#include <stdint.h>

#define PRId32 "d"
#define PRIu32 "u"
#define PRIx32 "x"
#define PRId64 "ld"
#define PRIu64 "lu"
#define PRIx64 "lx"
