/* SPDX-License-Identifier: MIT */
/*
 * Exits counted and timed per vCPU and reason, and the last exits of each CPU (design D12). A
 * handful of instructions each: always on.
 */
#pragma once

#include "arch-x86/cpu.h"
#include "arch-x86/insn.h"
#include "core/vcpu.h"

#define STAT_REASONS 64
#define STAT_BUCKETS 32 /* as shown; the last one counts all above, too */

struct exit_stats {
	struct {
		u64 count;
		u64 cycles; /* TSC from the exit to the next entry, or the end of the run */
	} sum[STAT_REASONS];
	u32 histogram[STAT_REASONS][64]; /* log2 of cycles */
};
_Static_assert(EXIT_REASON_COUNT <= STAT_REASONS, "one slot a reason");

#define EXIT_RING_ENTRIES 256
/* Printed of other CPUs: a dump of many still ends, and fits the log. */
#define EXIT_RING_OTHERS 32

struct exit_record {
	u64 tsc, rip, qualification;
	union {
		u64 where; /* all three: vcpu->ring_id with the reason */
		struct {
			u16 reason, vcpu;
			u32 vm;
		};
	};
};

struct exit_ring {
	u64 next; /* grows; modulo EXIT_RING_ENTRIES */
	struct exit_record entry[EXIT_RING_ENTRIES];
};
#define EXIT_RING_PAGES ((sizeof(struct exit_ring) + PAGE_SIZE - 1) / PAGE_SIZE)

/* An exit at `now` (TSC): to the CPU's ring. */
static inline void stats_exit(const struct vcpu *vcpu, const struct cpu *cpu,
			      const struct vm_exit *e, u64 now)
{
	struct exit_ring *ring = cpu->ring;
	struct exit_record *record;

	record = &ring->entry[ring->next++ % EXIT_RING_ENTRIES];
	record->tsc = now;
	record->rip = vcpu->v.rip;
	record->qualification = e->info1;
	record->where = vcpu->ring_id | e->reason;
}

/* A child's exit of `reason` at `exited` (TSC) has been settled: counted. */
static inline void stats_settled(struct vcpu *vcpu, u64 reason, u64 exited)
{
	struct exit_stats *stats = vcpu->stats;
	u64 cycles = rdtsc() - exited;

	stats->sum[reason].count++;
	stats->sum[reason].cycles += cycles;
	stats->histogram[reason][__builtin_clzll(cycles | 1) ^ 63]++;
}

const char *exit_reason_name(u32 reason);
/* One reason's figures; reason < STAT_REASONS. */
void stats_copy(struct vcpu *vcpu, u32 reason, u64 *count, u64 *cycles,
		u32 histogram[STAT_BUCKETS]);
/*
 * This CPU's whole ring and the last EXIT_RING_OTHERS exits of each other CPU, to the log; oldest
 * first.
 */
void stats_ring_dump(void);

extern bool stats_nmi_dump; /* nmi=dump of the configuration */
/*
 * An NMI of the management guest's has come: prints the rings where nmi=dump asks for that. At most
 * once a second, since one NMI button reaches every CPU.
 */
void stats_nmi(void);
