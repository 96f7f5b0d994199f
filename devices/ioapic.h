/* SPDX-License-Identifier: MIT */
/* The IOAPIC: 24 pins, version 11h as KVM's. Lock: the irqchip's. */
#pragma once

#include <linux/kvm.h>
#include "core/bus.h"

#define IOAPIC_PINS 24
#define IOAPIC_BASE 0xfec00000ull

struct irqchip;
struct vm;

struct ioapic {
	u32 select; /* IOREGSEL, 8 bits */
	u32 id;
	u32 irr;  /* pins whose line is up */
	u32 sent; /* of those, edges that went out: a restored chip must not send them again */
	u64 rte[IOAPIC_PINS];
	u8 lines[IOAPIC_PINS]; /* a bit for each enum irq_source that holds the line */
	u64 heard[4];	       /* vectors whose EOI matters here: read without the lock */
	struct bus_device page;
};

/* Reset state; adds the page to the VM's MMIO bus. -EEXIST, -ENOSPC. */
int ioapic_init(struct irqchip *chip, struct vm *vm);
/* Lock held. > 0: delivered to so many APICs; 0: coalesced, or nobody there; -1: masked. */
int ioapic_set_line(struct irqchip *chip, u32 pin, bool level, u32 source);
/* An APIC ended `vector`; `level`: its TMR bit was set. Takes the lock only when it matters. */
void ioapic_eoi(struct vm *vm, u8 vector, bool level);
/* Lock held: which EOIs matter; after a change of an entry or of the routing. */
void ioapic_update_heard(struct irqchip *chip);
/* Lock held: KVM_GET_IRQCHIP, KVM_SET_IRQCHIP. Bits that hardware does not have are dropped. */
void ioapic_get_state(const struct irqchip *chip, struct kvm_ioapic_state *state);
void ioapic_set_state(struct irqchip *chip, const struct kvm_ioapic_state *state);
