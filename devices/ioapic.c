/* SPDX-License-Identifier: MIT */
/*
 * The IOAPIC: Intel's data sheet "82093AA I/O Advanced Programmable Interrupt Controller", with
 * the EOI register of its successors. Polarity is ignored: lines are "asserted" or not.
 * Lock: the irqchip's.
 */
#include "devices/ioapic.h"

#include "core/vm.h"
#include "devices/irqchip.h"
#include "devices/lapic.h"
#include "devices/time.h"

#define VERSION	   0x11u
#define PAGE_BYTES 0x100

enum { /* offsets in the page */
       IOREGSEL = 0x00,
       IOWIN = 0x10,
       EOIR = 0x40,
};

enum { /* indirect registers */
       REG_ID = 0,
       REG_VERSION = 1,
       REG_ARBITRATION = 2,
       REG_RTE = 0x10,
};

/* "Redirection Table Registers" */
enum rte_bits {
	RTE_VECTOR = 0xff,
	RTE_MODE_SHIFT = 8,
	RTE_LOGICAL = BIT(11),
	RTE_STATUS = BIT(12), /* read-only; delivery is immediate: always 0 */
	RTE_POLARITY = BIT(13),
	RTE_REMOTE_IRR = BIT(14), /* read-only */
	RTE_LEVEL = BIT(15),
	RTE_MASKED = BIT(16),
};
#define RTE_WRITABLE	      (0xff00000000000000ull | (MASK(16, 0) & ~(RTE_STATUS | RTE_REMOTE_IRR)))
#define RTE_DESTINATION_SHIFT 56

void ioapic_update_heard(struct irqchip *chip)
{
	struct ioapic *io = &chip->ioapic;
	u64 heard[4] = {0};

	for (u32 pin = 0; pin < IOAPIC_PINS; pin++) {
		u64 rte = io->rte[pin];
		u32 vector = rte & RTE_VECTOR;

		if ((rte & RTE_LEVEL) || irqchip_pin_is_heard(chip, KVM_IRQCHIP_IOAPIC, pin))
			heard[vector / 64] |= BIT(vector % 64);
	}
	for (u32 i = 0; i < ARRAY_SIZE(heard); i++)
		__atomic_store_n(&io->heard[i], heard[i], __ATOMIC_RELEASE);
}

/* Sends the pin's message unless something holds it back. */
static int service(struct irqchip *chip, u32 pin)
{
	u64 *rte = &chip->ioapic.rte[pin];
	struct lapic_message m = {
		.destination = (u32)(*rte >> RTE_DESTINATION_SHIFT),
		.vector = *rte & RTE_VECTOR,
		.mode = (*rte >> RTE_MODE_SHIFT) & 7,
		.logical = *rte & RTE_LOGICAL,
		.level = *rte & RTE_LEVEL,
	};
	int delivered;

	if (*rte & RTE_MASKED)
		return -1;
	if (m.level && (*rte & RTE_REMOTE_IRR))
		return 0;
	if (!m.level)
		chip->ioapic.sent |= 1u << pin;
	delivered = lapic_deliver(chip->vm, &m);
	/* Only an APIC that took it will send the EOI that clears the bit again. */
	if (m.level && delivered > 0)
		*rte |= RTE_REMOTE_IRR;
	return delivered;
}

int ioapic_set_line(struct irqchip *chip, u32 pin, bool level, u32 source)
{
	struct ioapic *io = &chip->ioapic;
	u32 bit = 1u << pin, old = io->irr;

	io->lines[pin] &= ~BIT(source);
	if (level)
		io->lines[pin] |= BIT(source);
	if (!io->lines[pin]) {
		io->irr &= ~bit;
		return 1;
	}
	io->irr |= bit;
	if (!(io->rte[pin] & RTE_LEVEL)) {
		if (old & bit)
			return 0; /* no edge */
		io->sent &= ~bit;
	}
	return service(chip, pin);
}

static void eoi_pin(struct irqchip *chip, u32 pin)
{
	struct ioapic *io = &chip->ioapic;

	irqchip_acked(chip, KVM_IRQCHIP_IOAPIC, pin);
	if (!(io->rte[pin] & RTE_LEVEL))
		return;
	io->rte[pin] &= ~RTE_REMOTE_IRR;
	if (io->irr & (1u << pin))
		service(chip, pin); /* still asserted */
}

static void eoi_vector(struct irqchip *chip, u8 vector)
{
	for (u32 pin = 0; pin < IOAPIC_PINS; pin++) {
		if ((chip->ioapic.rte[pin] & RTE_VECTOR) == vector)
			eoi_pin(chip, pin);
	}
}

void ioapic_eoi(struct vm *vm, u8 vector, bool level)
{
	struct irqchip *chip = vm->devices;
	u64 heard = __atomic_load_n(&chip->ioapic.heard[vector / 64], __ATOMIC_ACQUIRE);
	if (!level && !(heard & BIT(vector % 64)))
		return;
	spin_lock(&chip->lock);
	eoi_vector(chip, vector);
	spin_unlock(&chip->lock);
}

static u32 read_indirect(const struct ioapic *io)
{
	u32 index = (io->select - REG_RTE) / 2;
	u64 rte;

	switch (io->select) {
	case REG_ID:
	case REG_ARBITRATION:
		return io->id << 24;
	case REG_VERSION:
		return (IOAPIC_PINS - 1) << 16 | VERSION;
	}
	if (io->select < REG_RTE || index >= IOAPIC_PINS)
		return ~0u;
	rte = io->rte[index_clamp(index, IOAPIC_PINS)];
	return (u32)(io->select & 1 ? rte >> 32 : rte);
}

static void write_rte(struct irqchip *chip, u32 pin, bool high, u32 value)
{
	struct ioapic *io = &chip->ioapic;
	u64 old = io->rte[pin];
	u64 half = high ? 0xffffffff00000000ull : 0xffffffffull;
	u64 wanted = (high ? (u64)value << 32 : value) & RTE_WRITABLE;
	u64 rte = (old & ~(half & RTE_WRITABLE)) | wanted;

	/* Systems without an EOI register end a level interrupt by switching to edge and back. */
	if (!(rte & RTE_LEVEL))
		rte &= ~RTE_REMOTE_IRR;
	io->rte[pin] = rte;
	ioapic_update_heard(chip);
	if ((old & RTE_MASKED) && !(rte & RTE_MASKED))
		irqchip_unmasked(chip, KVM_IRQCHIP_IOAPIC, pin);
	if ((rte & RTE_LEVEL) && (io->irr & (1u << pin)))
		service(chip, pin);
}

static void write_indirect(struct irqchip *chip, u32 value)
{
	struct ioapic *io = &chip->ioapic;
	u32 index = (io->select - REG_RTE) / 2;

	if (io->select == REG_ID)
		io->id = (value >> 24) & 0xf;
	if (io->select < REG_RTE || index >= IOAPIC_PINS)
		return;
	write_rte(chip, index_clamp(index, IOAPIC_PINS), io->select & 1, value);
}

static int page_read(struct bus_device *d, struct vcpu *vcpu, u64 offset, u32 size, u64 *value)
{
	struct irqchip *chip = container_of(d, struct irqchip, ioapic.page);

	spin_lock(&chip->lock);
	switch (offset) {
	case IOREGSEL:
		*value = chip->ioapic.select;
		break;
	case IOWIN:
		*value = read_indirect(&chip->ioapic);
		break;
	default:
		*value = 0;
		break;
	}
	spin_unlock(&chip->lock);
	return 0;
}

static int page_write(struct bus_device *d, struct vcpu *vcpu, u64 offset, u32 size, u64 value)
{
	struct irqchip *chip = container_of(d, struct irqchip, ioapic.page);

	/* The chip takes 32 bits; a narrower write zero-extends, as in KVM. */
	if (size < 4)
		value &= MASK(size * 8 - 1, 0);
	spin_lock(&chip->lock);
	switch (offset) {
	case IOREGSEL:
		chip->ioapic.select = (u8)value;
		break;
	case IOWIN:
		write_indirect(chip, (u32)value);
		break;
	case EOIR:
		eoi_vector(chip, (u8)value);
		break;
	default:
		break;
	}
	spin_unlock(&chip->lock);
	irqchip_tell_resampled(chip, vcpu);
	return 0;
}

void ioapic_get_state(const struct irqchip *chip, struct kvm_ioapic_state *state)
{
	const struct ioapic *io = &chip->ioapic;

	*state = (struct kvm_ioapic_state){
		.base_address = IOAPIC_BASE,
		.ioregsel = io->select,
		.id = io->id,
	};
	state->irr = io->irr & ~io->sent;
	for (u32 pin = 0; pin < IOAPIC_PINS; pin++)
		state->redirtbl[pin].bits = io->rte[pin];
}

void ioapic_set_state(struct irqchip *chip, const struct kvm_ioapic_state *state)
{
	struct ioapic *io = &chip->ioapic;

	io->select = state->ioregsel & 0xff;
	io->id = state->id & 0xf;
	io->irr = state->irr & (u32)MASK(IOAPIC_PINS - 1, 0);
	io->sent = 0;
	for (u32 pin = 0; pin < IOAPIC_PINS; pin++) {
		io->rte[pin] = state->redirtbl[pin].bits & (RTE_WRITABLE | RTE_REMOTE_IRR);
		if (!(io->rte[pin] & RTE_LEVEL))
			io->rte[pin] &= ~RTE_REMOTE_IRR;
		/* The lines' holders are not in KVM's struct: the VMM stands for all. */
		io->lines[pin] = io->irr & (1u << pin) ? BIT(IRQ_SOURCE_USER) : 0;
	}
	ioapic_update_heard(chip);
	for (u32 pin = 0; pin < IOAPIC_PINS; pin++) {
		if (io->irr & (1u << pin))
			service(chip, pin);
	}
}

int ioapic_init(struct irqchip *chip, struct vm *vm)
{
	struct ioapic *io = &chip->ioapic;

	for (u32 pin = 0; pin < IOAPIC_PINS; pin++)
		io->rte[pin] = RTE_MASKED;
	io->page = (struct bus_device){IOAPIC_BASE, PAGE_BYTES, page_read, page_write};
	return bus_add(&vm->mmio, &io->page);
}
