/* SPDX-License-Identifier: MIT */
/*
 * kvmclock: the paravirtual clock's pages in guest memory. All vCPUs' pages hold the same line
 * through (host TSC, nanoseconds), so the clock is the same on all of them.
 * Lock: kvmclock->lock, before mm/'s.
 */
#pragma once

#include <linux/kvm.h>
#include "core/vcpu.h"

/* Registers the MSRs (11h, 12h, 4b564d00h, 4b564d01h) and vm->clock_update. Once, after vm_init.
 * -ENOMEM; bus_add's errors. */
int kvmclock_vm_init(struct vm *vm);
/* After vcpu_create: gives the vCPU its part of the VM's clock. 0. */
int kvmclock_vcpu_init(struct vcpu *vcpu);
/*
 * Writes this vCPU's page, its steal time, and the wall clock that it asked for (REQUEST_CLOCK).
 * False: exit.memory says which page is to be mapped first; then again.
 */
bool kvmclock_update(struct vcpu *vcpu);

/* What KVM_GET_CLOCK reports always, since one TSC is behind all vCPUs' clocks. */
#define KVMCLOCK_FLAGS (KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC)

/* KVM_GET_CLOCK, KVM_SET_CLOCK. -EINVAL: unknown flags. */
void kvmclock_get(struct vm *vm, struct kvm_clock_data *data);
int kvmclock_set(struct vm *vm, const struct kvm_clock_data *data);
/* KVM_KVMCLOCK_CTRL: the guest was stopped. -EINVAL: it does not use kvmclock. */
int kvmclock_ctrl(struct vcpu *vcpu);
