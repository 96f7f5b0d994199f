/* SPDX-License-Identifier: MIT */
/* The 8259 pair. Everything here is called with the irqchip's lock held, but for the bus devices.
 */
#pragma once

#include <linux/kvm.h>
#include "core/bus.h"

#define PIC_PINS 16

struct irqchip;
struct vm;

struct pic {
	struct kvm_pic_state chip[2]; /* master, slave */
	u8 lines[PIC_PINS];	      /* a bit for each enum irq_source that holds the line */
	bool output;		      /* INTR of the master */
	struct bus_device master_ports, slave_ports, elcr_ports;
};

/* Power-on state; adds the ports 20h, A0h and 4D0h to the VM's bus. -EEXIST, -ENOSPC. */
int pic_init(struct irqchip *chip, struct vm *vm);
/* Level of one pin; sources are ORed. > 0: a new request; 0: it was there already; -1: masked. */
int pic_set_line(struct irqchip *chip, u32 pin, bool level, u32 source);
/* The vector that an acknowledge would give, or -1: INTR is low. */
int pic_peek(const struct pic *pic);
/* INTA: that vector, moved to in-service; -1 when the request has gone. */
int pic_acknowledge(struct irqchip *chip);
/* KVM_SET_IRQCHIP of one of the two; bits that hardware does not have are dropped. */
void pic_set_state(struct irqchip *chip, u32 which, const struct kvm_pic_state *state);
