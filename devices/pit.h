/* SPDX-License-Identifier: MIT */
/* The 8254 and port 61h. Its channel 0 raises GSI 0. Lock: the irqchip's. */
#pragma once

#include <linux/kvm.h>
#include "core/bus.h"

#define PIT_CHANNELS 3
#define PIT_HZ	     1193181u /* KVM_PIT_FREQ */

struct irqchip;
struct vm;

struct pit {
	bool created;
	bool speaker;	  /* port 61h, bit 1 */
	bool reinject;	  /* ticks that the guest missed are made up for */
	bool acked;	  /* the guest has ended the last tick's interrupt */
	bool hpet_legacy; /* channel 0 is disconnected from GSI 0 */
	u32 pending;	  /* ticks due, the one in service included */
	struct kvm_pit_channel_state channel[PIT_CHANNELS]; /* count_load_time is not kept */
	u64 loaded[PIT_CHANNELS];			    /* host TSC at which counting began */
	u64 expires; /* host TSC of channel 0's next tick; NO_DEADLINE */
	u64 period;  /* host TSC ticks; 0: one tick only */
	struct bus_device ports, port61;
};

/* KVM_CREATE_PIT2. -EEXIST; -ENOENT: no 8259 in the kernel; bus_add's errors. */
int pit_create(struct vm *vm, const struct kvm_pit_config *config);
/* KVM_GET_PIT2, KVM_SET_PIT2. -ENXIO: no PIT; -EINVAL: a count or a mode that there is not. */
int pit_get(struct vm *vm, struct kvm_pit_state2 *state);
int pit_set(struct vm *vm, const struct kvm_pit_state2 *state);
/* KVM_REINJECT_CONTROL. -ENXIO: no PIT. */
int pit_reinject(struct vm *vm, bool on);

/* Takes the lock: ticks due at `now` go out; the next deadline (host TSC) or NO_DEADLINE. */
u64 pit_timers(struct irqchip *chip, u64 now);
/* Lock held: the guest ended GSI 0's interrupt, or opened its mask. */
void pit_acked(struct irqchip *chip);
void pit_unmasked(struct irqchip *chip);
