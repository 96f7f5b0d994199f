/* SPDX-License-Identifier: MIT */
/* The MSRs of a child: one table says which pass through, are emulated, ignored, or #GP. */
#pragma once

#include "core/vcpu.h"

struct vm;

/* RDMSR and WRMSR of the guest. 0; -EINVAL: #GP. */
int msr_read(struct vcpu *vcpu, u32 index, u64 *value);
int msr_write(struct vcpu *vcpu, u32 index, u64 value);
/* KVM_GET_MSRS and KVM_SET_MSRS: may write what is read-only for the guest. 0; -EINVAL. */
int msr_host_get(struct vcpu *vcpu, u32 index, u64 *value);
int msr_host_set(struct vcpu *vcpu, u32 index, u64 value);

/* KVM_GET_MSR_INDEX_LIST and KVM_GET_MSR_FEATURE_INDEX_LIST: at most `max` are stored, the full
 * count is returned. */
u32 msr_list(u32 *out, u32 max);
u32 msr_feature_list(u32 *out, u32 max);
/* KVM_GET_MSRS on the system object. 0; -EINVAL: not a feature MSR. */
int msr_feature_get(u32 index, u64 *value);

/* Power-on values. */
void msr_reset(struct vcpu *vcpu);
/* At creation of a VM: those that its guests read and write without an exit. */
void msr_pass_through(struct vm *vm);

u64 vcpu_tsc(struct vcpu *vcpu);
void vcpu_set_tsc_offset(struct vcpu *vcpu, u64 offset);
/*
 * KVM_SET_TSC_KHZ. 0: the host's rate, which all are that differ by less than Linux's 250 ppm.
 * -EINVAL: the processor cannot scale so.
 */
int vcpu_set_tsc_khz(struct vcpu *vcpu, u32 khz);
