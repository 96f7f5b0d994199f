/* SPDX-License-Identifier: MIT */
/* The table of exits that ends a run. */
#pragma once

#include "kvm/abi.h"
#include "lib/types.h"

/* Adds one vCPU's figures to a sum. */
void report_add(struct keel_stats *sum, const struct keel_stats *stats);
/* One line for each reason that occurred, the most frequent first, and a total. Returns the length.
 */
int report_format(char *to, size_t size, const struct keel_stats *sum);
