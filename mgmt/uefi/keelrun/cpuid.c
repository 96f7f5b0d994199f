// SPDX-License-Identifier: MIT
/* One vCPU's CPUID: APIC ids and topology. Leaves as in SDM and APM, "CPUID". */
#include "mgmt/uefi/keelrun/cpuid.h"

enum { LEVEL_THREAD = 1, LEVEL_CORE = 2 };

/* Bits of an APIC id that number `cpus` cores. */
static u32 id_bits(u32 cpus)
{
	u32 bits = 0;

	while (1u << bits < cpus)
		bits++;
	return bits;
}

static void features(struct kvm_cpuid_entry2 *e, u32 id, u32 cpus, bool tsc_deadline)
{
	e->ebx = (e->ebx & 0xffff) | cpus << 16 | id << 24;
	e->ecx |= BIT(31); /* a hypervisor is there */
	if (tsc_deadline)
		e->ecx |= BIT(24);
	e->edx &= ~(u32)BIT(28);
	if (cpus > 1)
		e->edx |= BIT(28); /* EBX[23:16] counts */
}

/* Leaves 0BH and 1FH: one thread a core, all cores in one package */
static void topology(struct kvm_cpuid_entry2 *e, u32 id, u32 cpus)
{
	e->eax = e->index == 1 ? id_bits(cpus) : 0;
	e->ebx = e->index == 0 ? 1 : e->index == 1 ? cpus : 0;
	e->ecx = e->index | (e->index == 0   ? LEVEL_THREAD << 8
			     : e->index == 1 ? LEVEL_CORE << 8
					     : 0);
	e->edx = id;
}

void cpuid_for_vcpu(struct kvm_cpuid_entry2 *entries, u32 count, u32 id, u32 cpus,
		    bool tsc_deadline)
{
	for (u32 i = 0; i < count; i++) {
		struct kvm_cpuid_entry2 *e = &entries[i];

		switch (e->function) {
		case 1:
			features(e, id, cpus, tsc_deadline);
			break;
		case 4: /* caches: not shared; cores in the package */
			if (e->eax & 0x1f)
				e->eax = (e->eax & 0x3fff) | ((1u << id_bits(cpus)) - 1) << 26;
			break;
		case 0xb:
		case 0x1f:
			topology(e, id, cpus);
			break;
		case 0x80000001:
			e->ecx &= ~(u32)BIT(1);
			if (cpus > 1)
				e->ecx |= BIT(1); /* AMD: the logical processors are cores */
			break;
		case 0x80000008:
			e->ecx = (e->ecx & ~0xf0ffu) | (cpus - 1) | id_bits(cpus) << 12;
			break;
		case 0x8000001d:
			e->eax &= 0x3fff; /* not shared */
			break;
		case 0x8000001e:
			e->eax = id;
			e->ebx = id; /* one thread a core */
			e->ecx = 0;
			break;
		}
	}
}
