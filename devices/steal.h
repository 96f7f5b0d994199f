/* SPDX-License-Identifier: MIT */
/*
 * Steal time, as Linux's Documentation/virt/kvm/x86/msr.rst describes it: how long the VMM's thread
 * was ready to run the vCPU and had no CPU, in a page of the guest's.
 */
#pragma once

#include "core/vcpu.h"

/* That thread has waited for a CPU so many nanoseconds since it began. */
void steal_delay(struct vcpu *vcpu, u64 ns);
/* Adds what is new to the guest's page. False: exit.memory says which page is to be mapped first.
 */
bool steal_update(struct vcpu *vcpu);
