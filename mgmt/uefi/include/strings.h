/* SPDX-License-Identifier: MIT */
/* strcasecmp(). */
#pragma once

#include <string.h>
