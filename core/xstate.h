/* SPDX-License-Identifier: MIT */
/*
 * What the processor holds of a vCPU beside the VMCS or VMCB: the extended state, XCR0, XSS and a
 * few MSRs. Switched only between the management guest and a child (design D8).
 */
#pragma once

#include "core/vcpu.h"

/* Looks at the processor once; harmless to repeat. */
void xstate_init(void);
#ifdef UNIT_TEST
void xstate_forget(void); /* another test, another processor */
#endif
/* False: FXSAVE only. */
bool xstate_has_xsave(void);
/* Components that a child may use. */
u64 xstate_supported(void);
/* Bytes of an area with all of them, in the standard format. */
u32 xstate_size(void);
/* Bytes of a standard-format area for these components: CPUID 0xD. */
u32 xstate_size_of(u64 components);
/* Of a compacted area. */
u32 xstate_compacted_size_of(u64 components);
/* A vCPU's area after reset. */
void xstate_reset(struct vcpu *vcpu);

/* What the firmware left on this CPU is its management vCPU's. */
void xstate_launch(struct vcpu *management);
/*
 * From now on XSS, SPEC_CTRL and PERF_GLOBAL_CTRL are read and switched with the world: called
 * before one of them gets a value other than 0, which all have till then.
 */
void xstate_switch_msrs(void);
/* From the management guest to the child, and back. Both vCPUs' areas are the standard format. */
void xstate_enter(struct vcpu *vcpu, struct vcpu *management, struct cpu *cpu);
void xstate_leave(struct vcpu *vcpu, struct vcpu *management);

/* XSETBV's rules (SDM vol. 1, "Processor Extended State") and what its CPUID offers. */
bool xcr0_valid(const struct vcpu *vcpu, u64 xcr0);
/* XCR0 as the guest has it now. */
u64 xcr0_get(const struct vcpu *vcpu);
/* KVM_SET_XCRS. -EINVAL. */
int xcr0_set(struct vcpu *vcpu, u64 xcr0);
/* KVM_GET_XSAVE and KVM_SET_XSAVE: size bytes of the standard format, 4096 or xstate_size().
 * -EINVAL: a component that the vCPU cannot have, reserved header or MXCSR bits. */
void xstate_get(const struct vcpu *vcpu, void *out, u32 size);
int xstate_set(struct vcpu *vcpu, const void *in, u32 size);
