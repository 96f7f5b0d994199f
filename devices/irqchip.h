/* SPDX-License-Identifier: MIT */
/*
 * A VM's interrupt controllers as a whole: 8259 pair, IOAPIC, PIT, routing, and a LAPIC for each
 * vCPU. In the split form the VMM has all but the LAPICs and the routing of MSIs.
 *
 * Lock: irqchip->lock guards PIC, IOAPIC, PIT and routing. It is taken after vm->lock and the
 * vCPU's `running`; under it only atomics on LAPICs, vcpu_kick and vcpu_post_*, which take none.
 */
#pragma once

#include <linux/kvm.h>
#include "core/vcpu.h"
#include "devices/ioapic.h"
#include "devices/pic.h"
#include "devices/pit.h"
#include "devices/routing.h"
#include "lib/spinlock.h"

enum irq_source {		   /* who holds a line: they are ORed */
		  IRQ_SOURCE_USER, /* KVM_IRQ_LINE, irqfd */
		  IRQ_SOURCE_RESAMPLE,
		  IRQ_SOURCE_PIT,
};

#define RESAMPLE_MAX 64 /* more than there are pins */

struct irqchip {
	struct spinlock lock;
	struct vm *vm;
	bool full; /* false: split */
	u32 pins;  /* split: the first GSIs, which are the pins of the VMM's IOAPIC */
	struct routing *routing;
	u8 pit_pic_pin, pit_ioapic_pin; /* where GSI 0 goes; NO_PIN */
	u16 resample[RESAMPLE_MAX]; /* GSIs whose interrupts' ends the driver wants to hear of */
	u32 resample_count;
	u64 resampled; /* of these, those that it has not been told of; read without the lock */
	struct pic pic;
	struct ioapic ioapic;
	struct pit pit;
	struct bus_device apic_page, moved_page, apic_base_msr, tsc_deadline_msr, x2apic_msrs;
};

#define NO_PIN 0xff

/* ---- for kvm/ -------------------------------------------------------------------------------- */

/*
 * KVM_CREATE_IRQCHIP; KVM_CAP_SPLIT_IRQCHIP, where pins are the GSIs of the VMM's IOAPIC.
 * -EEXIST; -EINVAL: a vCPU exists, or more pins than GSIs; -ENOMEM; bus_add's errors.
 */
int irqchip_create(struct vm *vm);
int irqchip_create_split(struct vm *vm, u32 pins);
/* PIC, IOAPIC and routing to them are Keel's. */
bool irqchip_full(const struct vm *vm);
/* After vcpu_create in a VM with an irqchip: its LAPIC; all but the BSP wait for a SIPI. -ENOMEM.
 */
int irqchip_vcpu_init(struct vcpu *vcpu);
/* KVM_GET_IRQCHIP, KVM_SET_IRQCHIP. -ENXIO: not full; -EINVAL: chip_id. */
int irqchip_get(struct vm *vm, struct kvm_irqchip *state);
int irqchip_set(struct vm *vm, const struct kvm_irqchip *state);
/*
 * The guest ended this vector. Split: the VMM is told (REQUEST_EOI) when a level-triggered route of
 * one of its pins brings the vector to this vCPU.
 */
void irqchip_eoi(struct vcpu *vcpu, u8 vector, bool level);
/*
 * Level of a GSI, through the routing. Callable with any lock held but the irqchip's (irqfd).
 * KVM_IRQ_LINE_STATUS's answer: > 0 delivered, 0 coalesced, < 0 masked or not wired.
 */
int irqchip_set_irq(struct vm *vm, u32 gsi, bool level, enum irq_source source);
/*
 * From now on the end of the GSI's interrupt lets IRQ_SOURCE_RESAMPLE's level down, and some vCPU's
 * run ends with RUN_RESAMPLE; or no more. -EINVAL: not full, no such GSI; -ENOSPC: RESAMPLE_MAX.
 */
int irqchip_resample(struct vm *vm, u32 gsi, bool on);
/* A GSI whose interrupt has ended; -1: none. The vCPU asks again for the next one. */
int irqchip_take_resampled(struct vcpu *vcpu);
/* KVM_SIGNAL_MSI. > 0 delivered; 0 refused or nobody there; -EINVAL. Any lock may be held. */
int irqchip_msi(struct vm *vm, const struct kvm_msi *msi);
/* KVM_SET_GSI_ROUTING: see routing_set. -EINVAL without an irqchip. */
int irqchip_set_routing(struct vm *vm, const struct kvm_irq_routing_entry *entries, u32 count);

/* ---- among the devices ----------------------------------------------------------------------- */

/* Lock held. As irqchip_set_irq. */
int irqchip_set_gsi(struct irqchip *chip, u32 gsi, bool level, enum irq_source source);
/* Lock held: INTR of the 8259 rose. */
void irqchip_raise_extint(struct irqchip *chip);
/* Lock held: the guest ended a pin's interrupt, or opened its mask. Both 8259s: the master. */
void irqchip_acked(struct irqchip *chip, u32 which, u32 pin);
void irqchip_unmasked(struct irqchip *chip, u32 which, u32 pin);
/* After these, without the lock: this vCPU tells the driver. */
void irqchip_tell_resampled(struct irqchip *chip, struct vcpu *vcpu);
/* Lock held: does the end of the pin's interrupt matter to anyone but the chip itself? */
bool irqchip_pin_is_heard(const struct irqchip *chip, u32 which, u32 pin);
/* Lock held. */
void irqchip_routing_changed(struct irqchip *chip);
/* With 32-bit APIC IDs an MSI's upper address must leave bits 7:0 clear. */
bool irqchip_msi_valid(const struct vm *vm, u32 address_high);
