/* SPDX-License-Identifier: MIT */
/*
 * What core/ asks of a VM's interrupt controllers, which stand to its left (devices/). A bus like
 * the port and MMIO buses: the third and last kind of function pointers outside the backend.
 * The fast path never gets here: core looks at vcpu->request first.
 */
#pragma once

#include "arch-x86/virt.h"

struct vcpu;

struct irqchip_ops {
	/*
	 * Highest interrupt that could be delivered now (TPR, PPR, PIC wiring considered); -1:
	 * none; -2: one waits that only CR8 (the TPR) holds back.
	 */
	int (*pending)(struct vcpu *vcpu);
	/* Acknowledges it: moves it to in-service, returns its vector, or -1 when it has gone. */
	int (*acknowledge)(struct vcpu *vcpu);
	/* Fires every timer due at `now` (host TSC); returns the next deadline or NO_DEADLINE. */
	u64 (*timers)(struct vcpu *vcpu, u64 now);
	/* The guest's CR8 (0 to 15) changed on the processor. */
	void (*set_cr8)(struct vcpu *vcpu, u64 cr8);
	u64 (*get_cr8)(struct vcpu *vcpu);
	/* INIT resets the APIC. */
	void (*reset)(struct vcpu *vcpu);
	/* Does the APIC let an 8259 through: its own, or the VMM's? */
	bool (*accepts_extint)(struct vcpu *vcpu);
};
