// SPDX-License-Identifier: MIT
/* The table of exits that ends a run. */
#include "mgmt/uefi/keelrun/report.h"
#include <stdio.h>

static const char *const names[] = KEEL_STAT_NAMES;

void report_add(struct keel_stats *sum, const struct keel_stats *stats)
{
	for (u32 r = 0; r < KEEL_STAT_REASONS; r++) {
		sum->count[r] += stats->count[r];
		sum->cycles[r] += stats->cycles[r];
		for (u32 b = 0; b < KEEL_STAT_BUCKETS; b++)
			sum->histogram[r][b] += stats->histogram[r][b];
	}
}

struct text {
	char *to;
	size_t size, used;
};

static void line(struct text *t, const char *name, u64 count, u64 cycles)
{
	size_t at = MIN(t->used, t->size);

	t->used += (size_t)snprintf(t->to + at, t->size - at, "%-26s %12llu %12llu\n", name,
				    (unsigned long long)count,
				    (unsigned long long)(count ? cycles / count : 0));
}

int report_format(char *to, size_t size, const struct keel_stats *sum)
{
	struct text t = {to, size, 0};
	u64 done = 0, count = 0, cycles = 0;

	t.used = (size_t)snprintf(to, size, "%-26s %12s %12s\n", "exits by reason", "count",
				  "mean cycles");
	for (;;) {
		u32 most = KEEL_STAT_REASONS;

		for (u32 r = 0; r < KEEL_STAT_REASONS; r++)
			if (!(done & BIT(r)) && sum->count[r] &&
			    (most == KEEL_STAT_REASONS || sum->count[r] > sum->count[most]))
				most = r;
		if (most == KEEL_STAT_REASONS)
			break;
		done |= BIT(most);
		count += sum->count[most];
		cycles += sum->cycles[most];
		line(&t, most < ARRAY_SIZE(names) ? names[most] : "?", sum->count[most],
		     sum->cycles[most]);
	}
	line(&t, "all", count, cycles);
	return (int)t.used;
}
