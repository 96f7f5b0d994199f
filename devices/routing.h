/* SPDX-License-Identifier: MIT */
/* GSI routing: what each global interrupt number is wired to. Lock: the irqchip's. */
#pragma once

#include <linux/kvm.h>
#include "arch-x86/addr.h"

#define ROUTING_GSIS	4096 /* KVM_CAP_IRQ_ROUTING */
#define ROUTING_ENTRIES 4096
#define ROUTE_NONE	0xffff

struct irqchip;

struct route {
	u8 type;  /* KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQ_ROUTING_MSI */
	u8 chip;  /* KVM_IRQCHIP_*: both 8259s are the master, with pins 0 to 15 */
	u16 next; /* of the same GSI, or ROUTE_NONE */
	u32 data; /* the pin, or the MSI's data */
	u32 address_low, address_high;
};

struct routing { /* in contiguous pool pages */
	u16 first[ROUTING_GSIS];
	u32 count, pages;
	struct route routes[];
};

/*
 * KVM_SET_GSI_ROUTING: replaces the whole table. -EINVAL: count above 4096, a GSI or pin that
 * there is not, a type other than IRQCHIP and MSI, IRQCHIP without the full irqchip, flags, one
 * chip twice or an MSI beside another route for one GSI. -ENOMEM. Nothing changes on an error.
 */
int routing_set(struct irqchip *chip, const struct kvm_irq_routing_entry *entries, u32 count);
/* KVM_CREATE_IRQCHIP's table: GSI 0 to 15 to the 8259s and the IOAPIC, 16 to 23 to the IOAPIC. */
int routing_set_default(struct irqchip *chip);
/* Lock held: the first route of gsi, or NULL; and the one after it. */
const struct route *routing_first(const struct irqchip *chip, u32 gsi);
const struct route *routing_next(const struct irqchip *chip, const struct route *route);
