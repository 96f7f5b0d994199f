// SPDX-License-Identifier: MIT
/* Exit statistics: names, copies, and the dump of the rings. */
#include "core/stats.h"

#include "arch-x86/insn.h"
#include "arch-x86/log.h"
#include "core/vm.h"
#include "lib/string.h"

bool stats_nmi_dump;

static const char *const names[EXIT_REASON_COUNT] = {
	[EXIT_NONE] = "none",
	[EXIT_INTR] = "interrupt",
	[EXIT_NMI] = "nmi",
	[EXIT_MCE] = "mce",
	[EXIT_INIT] = "init",
	[EXIT_INTR_WINDOW] = "interrupt window",
	[EXIT_NMI_WINDOW] = "nmi window",
	[EXIT_EXCEPTION] = "exception",
	[EXIT_TRIPLE_FAULT] = "triple fault",
	[EXIT_TASK_SWITCH] = "task switch",
	[EXIT_CPUID] = "cpuid",
	[EXIT_RDMSR] = "rdmsr",
	[EXIT_WRMSR] = "wrmsr",
	[EXIT_IO] = "io",
	[EXIT_SLAT] = "slat",
	[EXIT_SLAT_MISCONFIG] = "slat misconfig",
	[EXIT_CR_READ] = "cr read",
	[EXIT_CR_WRITE] = "cr write",
	[EXIT_CR_OTHER] = "cr other",
	[EXIT_DR_READ] = "dr read",
	[EXIT_DR_WRITE] = "dr write",
	[EXIT_HLT] = "hlt",
	[EXIT_PAUSE] = "pause",
	[EXIT_MWAIT] = "mwait",
	[EXIT_MONITOR] = "monitor",
	[EXIT_INVD] = "invd",
	[EXIT_WBINVD] = "wbinvd",
	[EXIT_INVLPG] = "invlpg",
	[EXIT_INVPCID] = "invpcid",
	[EXIT_RDTSC] = "rdtsc",
	[EXIT_RDTSCP] = "rdtscp",
	[EXIT_RDPMC] = "rdpmc",
	[EXIT_XSETBV] = "xsetbv",
	[EXIT_XSAVES] = "xsaves",
	[EXIT_XRSTORS] = "xrstors",
	[EXIT_RDRAND] = "rdrand",
	[EXIT_RDSEED] = "rdseed",
	[EXIT_DESC_TABLE] = "descriptor table",
	[EXIT_HYPERCALL] = "hypercall",
	[EXIT_VIRT_INSN] = "virtualisation instruction",
	[EXIT_INVALID] = "invalid state",
	[EXIT_PREEMPT_TIMER] = "preemption timer",
	[EXIT_PML_FULL] = "pml full",
	[EXIT_APIC_ACCESS] = "apic access",
	[EXIT_TPR_BELOW] = "tpr below threshold",
	[EXIT_SMI] = "smi",
	[EXIT_SIPI] = "sipi",
	[EXIT_UNKNOWN] = "unknown",
};

const char *exit_reason_name(u32 reason)
{
	return reason < EXIT_REASON_COUNT && names[reason] ? names[reason] : "?";
}

void stats_copy(struct vcpu *vcpu, u32 reason, u64 *count, u64 *cycles, u32 histogram[STAT_BUCKETS])
{
	const struct exit_stats *stats = vcpu->stats;

	*count = stats->sum[reason].count;
	*cycles = stats->sum[reason].cycles;
	memcpy(histogram, stats->histogram[reason], STAT_BUCKETS * sizeof(u32));
	for (u32 i = STAT_BUCKETS; i < ARRAY_SIZE(stats->histogram[0]); i++)
		histogram[STAT_BUCKETS - 1] += stats->histogram[reason][i];
}

static void dump_ring(const struct cpu *cpu, u64 count)
{
	const struct exit_ring *ring = cpu->ring;
	u64 first = ring->next > count ? ring->next - count : 0;

	for (u64 i = first; i < ring->next; i++) {
		const struct exit_record *r = &ring->entry[i % EXIT_RING_ENTRIES];

		log_error("cpu %u tsc %lu vm %u vcpu %u %s %lx rip %lx", cpu->index, r->tsc, r->vm,
			  r->vcpu, exit_reason_name(r->reason), r->qualification, r->rip);
	}
}

/* Other CPUs may go on writing: a line of theirs can be torn, nothing else. */
void stats_ring_dump(void)
{
	const struct cpu *self = this_cpu();

	log_error("the last exits, oldest first: CPU, TSC, VM (0: management), vCPU, reason, "
		  "qualification, RIP");
	for (u32 i = 0; i < cpu_count; i++)
		if (cpus[i] && cpus[i] != self && cpus[i]->ring)
			dump_ring(cpus[i], EXIT_RING_OTHERS);
	if (self->ring)
		dump_ring(self, EXIT_RING_ENTRIES);
}

void stats_nmi(void)
{
	static u64 next;
	u64 now = rdtsc(), due = __atomic_load_n(&next, __ATOMIC_RELAXED);

	if (stats_nmi_dump && now >= due &&
	    __atomic_compare_exchange_n(&next, &due, now + host_tsc_khz * 1000ull, false,
					__ATOMIC_RELAXED, __ATOMIC_RELAXED))
		stats_ring_dump();
}
