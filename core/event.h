/* SPDX-License-Identifier: MIT */
/* Exceptions, NMIs and interrupts: which one the next entry delivers. */
#pragma once

#include "core/vcpu.h"

/*
 * Hands the event of the highest priority to the backend and asks for the windows of those that
 * must wait. False: vcpu->exit is USER_IRQ_WINDOW, since the VMM asked for it.
 */
bool event_prepare(struct vcpu *vcpu);
/* After each exit that had an event injected or cut one short. */
void event_after_exit(struct vcpu *vcpu, const struct vm_exit *e);
/*
 * After what may have opened the window for interrupts: one that waits is injected at the next
 * entry. The window's exit says the same, but Bochs' SVM loses it (docs/architecture.md, "Bochs").
 */
void event_look_again(struct vcpu *vcpu);
/* Would an event wake this vCPU from HLT? */
bool event_wakes(struct vcpu *vcpu);
/* Moves an exception's payload (CR2, DR6) into its register; KVM_GET_VCPU_EVENTS without
 * KVM_CAP_EXCEPTION_PAYLOAD needs that early. */
void event_deliver_payload(struct vcpu *vcpu);
/* #DB with the given DR6 bits (DR6_B0 ... DR6_BT). */
void event_queue_debug(struct vcpu *vcpu, u64 dr6);
/* Adds the debug intercepts in force and tells the backend when the set has changed. */
void event_set_intercepts(struct vcpu *vcpu, u32 windows);
