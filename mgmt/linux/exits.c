// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The exits of the vCPUs that have ended, by reason: /sys/module/keel/parameters/exits. Keel counts
 * them for each vCPU (KEEL_STATS) and forgets them with it.
 */
#include "keel.h"
#include <linux/module.h>
#include <linux/slab.h>

static const char *const names[] = KEEL_STAT_NAMES;
static DEFINE_MUTEX(lock);
static u64 counts[KEEL_STAT_REASONS], cycles[KEEL_STAT_REASONS];

void exits_add(const struct keel_vcpu *vcpu)
{
	struct keel_stats *stats = kmalloc(sizeof(*stats), GFP_KERNEL);

	if (!stats)
		return;
	if (!hypercall(vcpu->handle, KEEL_STATS, virt_to_phys(stats), sizeof(*stats), 0).value) {
		mutex_lock(&lock);
		for (u32 r = 0; r < KEEL_STAT_REASONS; r++) {
			counts[r] += stats->count[r];
			cycles[r] += stats->cycles[r];
		}
		mutex_unlock(&lock);
	}
	kfree(stats);
}

static int line(char *text, int at, const char *name, u64 count, u64 time)
{
	return sysfs_emit_at(text, at, "%-26s %12llu %12llu\n", name, count,
			     count ? div64_u64(time, count) : 0);
}

static int show(char *text, const struct kernel_param *unused)
{
	u64 count = 0, time = 0;
	int at = sysfs_emit(text, "%-26s %12s %12s\n", "exits by reason", "count", "mean cycles");

	mutex_lock(&lock);
	for (u32 r = 0; r < KEEL_STAT_REASONS; r++) {
		if (!counts[r])
			continue;
		at += line(text, at, r < ARRAY_SIZE(names) ? names[r] : "?", counts[r], cycles[r]);
		count += counts[r];
		time += cycles[r];
	}
	mutex_unlock(&lock);
	return at + line(text, at, "all", count, time);
}

static const struct kernel_param_ops ops = {.get = show};
module_param_cb(exits, &ops, NULL, 0400);
