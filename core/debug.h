/* SPDX-License-Identifier: MIT */
/* KVM_SET_GUEST_DEBUG: the VMM debugs the guest; and the guest's own debug registers. */
#pragma once

#include "core/vcpu.h"

enum guest_debug_control { /* KVM_GUESTDBG_* */
			   DEBUG_ENABLE = BIT(0),
			   DEBUG_SINGLE_STEP = BIT(1),
			   DEBUG_SW_BREAKPOINT = BIT(16),
			   DEBUG_HW_BREAKPOINT = BIT(17),
			   DEBUG_INJECT_DB = BIT(18),
			   DEBUG_INJECT_BP = BIT(19),
			   DEBUG_BLOCK_INTERRUPTS = BIT(20),
};

/*
 * debugreg: DR0 to DR7 of the VMM, used with DEBUG_HW_BREAKPOINT. -EINVAL: unknown bits; -EBUSY:
 * INJECT while an exception waits.
 */
int debug_set(struct vcpu *vcpu, u32 control, const u64 debugreg[8]);
/* DR0 to DR3, DR7 and the intercepts follow guest_dr, guest_dr7 and the VMM's debugging. */
void vcpu_update_debug(struct vcpu *vcpu);
/* Entry to #DB clears DR7.GD. */
void debug_clear_gd(struct vcpu *vcpu);
/* After a run: what the guest wrote to its debug registers without an exit. */
void debug_sync(struct vcpu *vcpu);
/* The guest touches its debug registers: from now on they are on the processor while it runs. */
void debug_go_live(struct vcpu *vcpu);
u32 debug_intercepts(const struct vcpu *vcpu);
/* The guest's MOV DR exit for the VMM's debugging, not only until it uses its registers. */
bool debug_owns_moves(const struct vcpu *vcpu);
/* KVM_GUESTDBG_BLOCKIRQ: neither interrupts nor NMIs are delivered. */
bool debug_blocks_interrupts(const struct vcpu *vcpu);
/* #DB or #BP that exited. True: it is the VMM's, and vcpu->exit is filled. */
bool debug_exception(struct vcpu *vcpu, u8 vector, u64 dr6);
/* Fills vcpu->exit with a debug exit. */
void debug_exit(struct vcpu *vcpu, u32 exception, u64 dr6);
/* MOV to and from DR0 to DR7. 0; -EINVAL: #GP; -EPERM: #UD; -EBUSY: #DB was queued (DR7.GD). */
int debug_read(struct vcpu *vcpu, u32 nr, u64 *value);
int debug_write(struct vcpu *vcpu, u32 nr, u64 value);
