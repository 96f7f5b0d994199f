/* SPDX-License-Identifier: MIT */
/* A child's machine-check banks, as KVM has them: nothing of the processor's own. */
#pragma once

#include "core/vcpu.h"

#define MCE_BANKS 32 /* KVM_CAP_MCE */

/* struct kvm_x86_mce, without its padding. */
struct machine_check {
	u64 status, address, misc, mcg_status;
	u8 bank;
};

/* Bits of IA32_MCG_CAP that a VMM may set: KVM_X86_GET_MCE_CAP_SUPPORTED. */
u64 mce_supported(void);
/* KVM_X86_SETUP_MCE: mcg_cap's low byte is the number of banks. -EINVAL. */
int mce_setup(struct vcpu *vcpu, u64 mcg_cap);
/*
 * KVM_X86_SET_MCE: an error is recorded, and, uncorrected, raised: #MC, or a triple fault when the
 * guest cannot take it. SDM vol. 3, "Machine-Check Architecture". -EINVAL: bank, or not valid.
 */
int mce_inject(struct vcpu *vcpu, const struct machine_check *m);
