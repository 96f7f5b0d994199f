/* SPDX-License-Identifier: MIT */
/* Control registers: the rules, and the exits of instructions that access them. */
#pragma once

#include "core/vcpu.h"

bool cr0_valid(u64 cr0);
bool cr4_valid(const struct vcpu *vcpu, u64 cr4);

/* As the guest's WRMSR, or the VMM's. 0; -EINVAL: #GP. */
int control_set_efer(struct vcpu *vcpu, u64 efer, bool by_host);
/* MOV to CR0, CR3, CR4, CR8. 0; -EINVAL: #GP; -EPERM: #UD; -EFAULT: exit.memory is filled. */
int control_write(struct vcpu *vcpu, u32 nr, u64 value);
/* LMSW: the low four bits of `word`. As control_write(vcpu, 0, ...). */
int control_lmsw(struct vcpu *vcpu, u64 word);
/* MOV from; -EPERM: #UD. */
int control_read(struct vcpu *vcpu, u32 nr, u64 *value);
/* XSETBV. 0; -EINVAL: #GP. */
int control_xsetbv(struct vcpu *vcpu, u32 index, u64 value);

/* Is PAE paging in force (32-bit)? */
bool control_pae_paging(struct vcpu *vcpu);
/* With PAE paging: the four that the processor has, or would load. False: their page is not there.
 */
bool control_get_pdptes(struct vcpu *vcpu, u64 pdpte[4]);
/* The VMM's: nothing but the entry checks them. SVM reads them in memory, and so ignores these. */
void control_set_pdptes(struct vcpu *vcpu, const u64 pdpte[4]);
/*
 * REQUEST_PDPTES: as a MOV to CR3 loads them; bad ones leave the old in force, as in KVM. -EFAULT:
 * exit.memory is filled.
 */
int control_load_pdptes(struct vcpu *vcpu);

/* CR8 and the irqchip's TPR are one register; the processor's copy may be newer, or older. */
void control_cr8_from_guest(struct vcpu *vcpu);
void control_cr8_to_guest(struct vcpu *vcpu);
