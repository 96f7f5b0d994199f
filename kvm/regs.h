/* SPDX-License-Identifier: MIT */
/* A vCPU's registers and events in KVM's structs, for requests and for kvm_run's copies. */
#pragma once

#include <linux/kvm.h>

#include "core/vcpu.h"

/* Every byte of *out is written. What is read stands in Keel's memory, not in a shared page. */
void regs_get(struct vcpu *vcpu, struct kvm_regs *out);
void regs_set(struct vcpu *vcpu, const struct kvm_regs *in);
void sregs_get(struct vcpu *vcpu, struct kvm_sregs *out);
/* -EINVAL: a state that the processor cannot be in; nothing has changed. */
int sregs_set(struct vcpu *vcpu, const struct kvm_sregs *in);
void sregs2_get(struct vcpu *vcpu, struct kvm_sregs2 *out);
/* -EINVAL also: an unknown flag, or PDPTEs without PAE paging. */
int sregs2_set(struct vcpu *vcpu, const struct kvm_sregs2 *in);
void events_get(struct vcpu *vcpu, struct kvm_vcpu_events *out);
/* -EINVAL: unknown flags, those not enabled, a bad exception, SMM. */
int events_set(struct vcpu *vcpu, const struct kvm_vcpu_events *in);
