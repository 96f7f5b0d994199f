/* SPDX-License-Identifier: MIT */
/* The CPUID that a child sees: what Keel supports, the VMM's table, and its look-up. */
#pragma once

#include "core/vcpu.h"

#define CPUID_KVM_FEATURES 0x40000001u

enum { /* its EAX, as bit numbers */
       KVM_FEATURE_CLOCKSOURCE = 0,
       KVM_FEATURE_CLOCKSOURCE2 = 3,
       KVM_FEATURE_ASYNC_PF = 4,
       KVM_FEATURE_STEAL_TIME = 5,
       KVM_FEATURE_PV_EOI = 6,
};

/* Entries of KVM_GET_SUPPORTED_CPUID: fills at most `max`, returns how many there are. */
u32 cpuid_supported(struct cpuid_entry *out, u32 max);
/*
 * KVM_SET_CPUID2: copies and sorts. -E2BIG: too many; -EINVAL: address widths, or another table
 * after the first run.
 */
int cpuid_set(struct vcpu *vcpu, const struct cpuid_entry *entries, u32 count);
/* The table's entry for a leaf, or NULL. */
struct cpuid_entry *cpuid_find(struct vcpu *vcpu, u32 function, u32 index);
static inline struct cpuid_hot *cpuid_slot(struct vcpu *vcpu, u32 function, u32 index)
{
	return &vcpu->cpuid_hot[(function ^ index) % CPUID_HOT];
}

/* The answer, if it was given before and depends on the table alone; else NULL. */
static inline const struct cpuid_entry *cpuid_known(struct vcpu *vcpu, u32 function, u32 index)
{
	const struct cpuid_hot *hot = cpuid_slot(vcpu, function, index);

	return likely(hot->function == function && hot->index == index) ? hot->answer : NULL;
}

/* The table's entry with the bits that follow the vCPU's state, as KVM_GET_CPUID2 has it. */
struct cpuid_entry cpuid_current(struct vcpu *vcpu, const struct cpuid_entry *entry);
/* What CPUID answers: EAX, EBX, ECX, EDX; out-of-range leaves and dynamic bits included. */
void cpuid_answer(struct vcpu *vcpu, u32 function, u32 index, u32 regs[4]);

/* Feature bits of its table: register 0 to 3 is EAX, EBX, ECX, EDX. */
bool cpuid_has(struct vcpu *vcpu, u32 function, u32 index, u32 reg, u32 bit);
/*
 * May the guest use what this bit of KVM's feature leaf (EAX) stands for? Always, unless the VMM
 * asked for KVM_CAP_ENFORCE_PV_FEATURE_CPUID.
 */
static inline bool cpuid_allows(const struct vcpu *vcpu, u32 bit)
{
	return !vcpu->enforce_cpuid || vcpu->paravirtual >> bit & 1;
}
/* Its table says that the processor is AMD's or Hygon's: some rules differ. */
bool cpuid_is_amd(struct vcpu *vcpu);

/* An empty table, as before KVM_SET_CPUID2. */
void cpuid_reset(struct vcpu *vcpu);
