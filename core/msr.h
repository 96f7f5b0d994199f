/* SPDX-License-Identifier: MIT */
/* The MSRs of a child: one table says which pass through, are emulated, ignored, or #GP. */
#pragma once

#include "core/vcpu.h"

struct vm;

enum msr_access { MSR_READ = BIT(0), MSR_WRITE = BIT(1) }; /* KVM_MSR_FILTER_READ, _WRITE */

#define MSR_FILTER_RANGES 16

/* KVM_X86_SET_MSR_FILTER: the first range that an access falls into decides. */
struct msr_filter {
	u32 pages; /* of the VM's pool: this struct, then the bitmaps */
	u32 count;
	bool default_deny;
	struct msr_filter_range {
		u32 first, count, access; /* enum msr_access */
		const u8 *allowed;	  /* one bit an MSR */
	} range[MSR_FILTER_RANGES];
};

enum msr_exit_reason { /* KVM_MSR_EXIT_REASON_* */
		       MSR_EXIT_INVALID = BIT(0),
		       MSR_EXIT_UNKNOWN = BIT(1),
		       MSR_EXIT_FILTER = BIT(2),
};

/* The APIC's MSRs always are, as in KVM. filter NULL: everything is. */
bool msr_allowed(const struct msr_filter *filter, u32 index, enum msr_access access);
/*
 * Puts another filter in force and returns the old one, which other CPUs read until
 * vm_flush_wait() has returned. The caller holds vm->lock.
 */
struct msr_filter *msr_filter_replace(struct vm *vm, struct msr_filter *filter);

/* RDMSR and WRMSR of the guest. 0; -EINVAL: #GP; -ENOENT: no such MSR; -EACCES: the filter. */
int msr_read(struct vcpu *vcpu, u32 index, u64 *value);
int msr_write(struct vcpu *vcpu, u32 index, u64 value);
/* KVM_GET_MSRS and KVM_SET_MSRS: may write what is read-only for the guest. 0; -EINVAL;
 * -ENOENT: no such MSR. */
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
/* By the VM's filter: those that its guests read and write without an exit. */
void msr_pass_through(struct vm *vm);

u64 vcpu_tsc(struct vcpu *vcpu);
void vcpu_set_tsc_offset(struct vcpu *vcpu, u64 offset);
/* The VMM's: the VM's other vCPUs follow it when the VMM writes their TSCs. */
void vcpu_restore_tsc_offset(struct vcpu *vcpu, u64 offset);
/*
 * KVM_SET_TSC_KHZ. 0: the host's rate, which all are that differ by less than Linux's 250 ppm.
 * -EINVAL: the processor cannot scale so.
 */
int vcpu_set_tsc_khz(struct vcpu *vcpu, u32 khz);
/* The same for vCPUs that are created later. */
int vm_set_tsc_khz(struct vm *vm, u32 khz);
