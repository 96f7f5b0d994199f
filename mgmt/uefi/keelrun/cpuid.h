/* SPDX-License-Identifier: MIT */
/* One vCPU's CPUID, out of what the hypervisor supports. */
#pragma once

#include "lib/types.h"
#include <linux/kvm.h>

/* id: APIC id, below cpus. All vCPUs are cores of one package. tsc_deadline:
 * KVM_CAP_TSC_DEADLINE_TIMER, which KVM_GET_SUPPORTED_CPUID does not show. */
void cpuid_for_vcpu(struct kvm_cpuid_entry2 *entries, u32 count, u32 id, u32 cpus,
		    bool tsc_deadline);
