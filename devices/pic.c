/* SPDX-License-Identifier: MIT */
/*
 * The 8259 pair: Intel's data sheet "8259A Programmable Interrupt Controller", ELCR as in the
 * PIIX. The slave's INT line is the master's pin 2. Lock: the irqchip's.
 */
#include "devices/pic.h"

#include "core/vm.h"
#include "devices/irqchip.h"

#define CASCADE 2 /* the master's pin */
#define NONE	8 /* priority of no request */

enum { INIT_DONE, INIT_ICW2, INIT_ICW3, INIT_ICW4 }; /* kvm_pic_state.init_state */

static const u8 elcr_masks[2] = {0xf8, 0xde}; /* IRQ 0, 1, 2, 8, 13 are always edge-triggered */

/* Distance of the highest-priority bit from the rotation's top; NONE when mask is 0. */
static u32 priority_of(const struct kvm_pic_state *s, u32 mask)
{
	u32 priority = 0;

	while (priority < NONE && !(mask & (1u << ((priority + s->priority_add) & 7))))
		priority++;
	return priority;
}

/* The pin that this chip wants served, or -1. */
static int wanted(const struct pic *pic, u32 which)
{
	const struct kvm_pic_state *s = &pic->chip[which];
	u32 request = priority_of(s, s->irr & ~s->imr);
	u32 busy = s->isr;

	if (request == NONE)
		return -1;
	if (s->special_mask)
		busy &= ~s->imr;
	/* Special fully nested mode: the slave may interrupt its own service. */
	if (s->special_fully_nested_mode && which == 0)
		busy &= ~(1u << CASCADE);
	if (request >= priority_of(s, busy))
		return -1;
	return (int)((request + s->priority_add) & 7);
}

/* Recomputes both INT lines; a rising INTR goes to each CPU whose LINT0 listens. */
static void update(struct irqchip *chip)
{
	struct pic *pic = &chip->pic;
	bool before = pic->output;

	if (wanted(pic, 1) >= 0)
		pic->chip[0].irr |= 1u << CASCADE;
	else
		pic->chip[0].irr &= ~(1u << CASCADE);
	pic->output = wanted(pic, 0) >= 0;
	if (pic->output && !before)
		irqchip_raise_extint(chip);
}

/* 1: a new request; 0: it was there already. */
static int set_pin(struct kvm_pic_state *s, u32 pin, bool level)
{
	u8 bit = 1u << pin;
	int fresh = 0;

	if (s->elcr & bit) {
		fresh = level && !(s->irr & bit);
		s->irr = level ? s->irr | bit : s->irr & ~bit;
	} else if (level && !(s->last_irr & bit)) {
		fresh = !(s->irr & bit);
		s->irr |= bit;
	}
	s->last_irr = level ? s->last_irr | bit : s->last_irr & ~bit;
	return fresh;
}

int pic_set_line(struct irqchip *chip, u32 pin, bool level, u32 source)
{
	struct pic *pic = &chip->pic;
	struct kvm_pic_state *s = &pic->chip[pin / 8];
	int fresh;

	pic->lines[pin] &= ~BIT(source);
	if (level)
		pic->lines[pin] |= BIT(source);
	fresh = set_pin(s, pin & 7, pic->lines[pin]);
	update(chip);
	return s->imr & (1u << (pin & 7)) ? -1 : fresh;
}

static void clear_in_service(struct irqchip *chip, u32 which, u32 pin)
{
	struct kvm_pic_state *s = &chip->pic.chip[which];

	if (!(s->isr & (1u << pin)))
		return;
	s->isr &= ~(1u << pin);
	irqchip_acked(chip, KVM_IRQCHIP_PIC_MASTER, pin + which * 8);
}

static void acknowledge_pin(struct irqchip *chip, u32 which, u32 pin)
{
	struct kvm_pic_state *s = &chip->pic.chip[which];

	s->isr |= 1u << pin;
	if (!(s->elcr & (1u << pin)))
		s->irr &= ~(1u << pin);
	if (!s->auto_eoi)
		return;
	if (s->rotate_on_auto_eoi)
		s->priority_add = (pin + 1) & 7;
	clear_in_service(chip, which, pin);
}

int pic_peek(const struct pic *pic)
{
	int pin = wanted(pic, 0), slave;

	if (pin != CASCADE)
		return pin < 0 ? -1 : pic->chip[0].irq_base + pin;
	slave = wanted(pic, 1);
	return slave < 0 ? -1 : pic->chip[1].irq_base + slave;
}

int pic_acknowledge(struct irqchip *chip)
{
	struct pic *pic = &chip->pic;
	int vector = pic_peek(pic);
	int pin = wanted(pic, 0);

	if (vector < 0)
		return -1;
	if (pin == CASCADE)
		acknowledge_pin(chip, 1, (u32)wanted(pic, 1));
	acknowledge_pin(chip, 0, (u32)pin);
	update(chip);
	return vector;
}

/* Initialization Command Word 1. */
static void write_icw1(struct kvm_pic_state *s, u8 value)
{
	s->init4 = value & 1;
	s->last_irr = 0;
	s->irr &= s->elcr; /* the edge sense circuit is reset */
	s->imr = 0;
	s->isr = 0;
	s->priority_add = 0;
	s->special_mask = 0;
	s->read_reg_select = 0;
	s->poll = 0;
	s->rotate_on_auto_eoi = 0;
	if (!s->init4) {
		s->special_fully_nested_mode = 0;
		s->auto_eoi = 0;
	}
	s->init_state = INIT_ICW2;
}

static void write_ocw2(struct irqchip *chip, u32 which, u8 value)
{
	struct kvm_pic_state *s = &chip->pic.chip[which];
	u32 pin = value & 7, command = value >> 5;
	u32 busy = s->special_mask ? s->isr & ~s->imr : s->isr;
	u32 priority = priority_of(s, busy);

	switch (command) {
	case 0:
	case 4:
		s->rotate_on_auto_eoi = command >> 2;
		break;
	case 1: /* non-specific EOI */
	case 5: /* and rotate */
		if (priority == NONE)
			break;
		pin = (priority + s->priority_add) & 7;
		/* fallthrough */
	case 3: /* specific EOI */
	case 7:
		if (command & 4)
			s->priority_add = (pin + 1) & 7;
		clear_in_service(chip, which, pin);
		break;
	case 6:
		s->priority_add = (pin + 1) & 7;
		break;
	default: /* no operation */
		break;
	}
}

static void write_command(struct irqchip *chip, u32 which, u8 value)
{
	struct kvm_pic_state *s = &chip->pic.chip[which];

	if (value & 0x10) {
		write_icw1(s, value);
	} else if (value & 0x08) { /* OCW3 */
		s->poll = (value & 4) >> 2;
		if (value & 2)
			s->read_reg_select = value & 1;
		if (value & 0x40)
			s->special_mask = (value >> 5) & 1;
	} else {
		write_ocw2(chip, which, value);
	}
}

static void write_mask(struct irqchip *chip, u32 which, u8 value)
{
	struct kvm_pic_state *s = &chip->pic.chip[which];
	u8 opened = s->imr & ~value;

	s->imr = value;
	for (u32 pin = 0; pin < 8; pin++) {
		if (opened & (1u << pin))
			irqchip_unmasked(chip, KVM_IRQCHIP_PIC_MASTER, pin + which * 8);
	}
}

static void write_data(struct irqchip *chip, u32 which, u8 value)
{
	struct kvm_pic_state *s = &chip->pic.chip[which];

	switch (s->init_state) {
	case INIT_DONE:
		write_mask(chip, which, value);
		break;
	case INIT_ICW2:
		s->irq_base = value & 0xf8;
		s->init_state = INIT_ICW3;
		break;
	case INIT_ICW3: /* the wiring is fixed: nothing to keep */
		s->init_state = s->init4 ? INIT_ICW4 : INIT_DONE;
		break;
	default:
		s->special_fully_nested_mode = (value >> 4) & 1;
		s->auto_eoi = (value >> 1) & 1;
		s->init_state = INIT_DONE;
		break;
	}
}

/* The poll command makes the next read an acknowledge. */
static u8 poll_read(struct irqchip *chip, u32 which)
{
	int pin = wanted(&chip->pic, which);

	chip->pic.chip[which].poll = 0;
	if (pin < 0)
		return 0;
	acknowledge_pin(chip, which, (u32)pin);
	return 0x80 | (u8)pin;
}

static u8 read_port(struct irqchip *chip, u32 which, u64 offset)
{
	struct kvm_pic_state *s = &chip->pic.chip[which];
	u8 value;

	if (s->poll) {
		value = poll_read(chip, which);
		update(chip);
		return value;
	}
	if (offset)
		return s->imr;
	return s->read_reg_select ? s->isr : s->irr;
}

/* The ports are 8 bits wide; a wider access is nothing that a chip answers. */
static int port_read(struct irqchip *chip, struct vcpu *vcpu, u32 which, u64 offset, u32 size,
		     u64 *value)
{
	*value = ~0ull;
	if (size != 1)
		return 0;
	spin_lock(&chip->lock);
	*value = read_port(chip, which, offset);
	spin_unlock(&chip->lock);
	irqchip_tell_resampled(chip, vcpu);
	return 0;
}

static int port_write(struct irqchip *chip, struct vcpu *vcpu, u32 which, u64 offset, u32 size,
		      u64 value)
{
	if (size != 1)
		return 0;
	spin_lock(&chip->lock);
	if (offset)
		write_data(chip, which, (u8)value);
	else
		write_command(chip, which, (u8)value);
	update(chip);
	spin_unlock(&chip->lock);
	irqchip_tell_resampled(chip, vcpu);
	return 0;
}

static int master_read(struct bus_device *d, struct vcpu *vcpu, u64 offset, u32 size, u64 *value)
{
	return port_read(container_of(d, struct irqchip, pic.master_ports), vcpu, 0, offset, size,
			 value);
}

static int master_write(struct bus_device *d, struct vcpu *vcpu, u64 offset, u32 size, u64 value)
{
	return port_write(container_of(d, struct irqchip, pic.master_ports), vcpu, 0, offset, size,
			  value);
}

static int slave_read(struct bus_device *d, struct vcpu *vcpu, u64 offset, u32 size, u64 *value)
{
	return port_read(container_of(d, struct irqchip, pic.slave_ports), vcpu, 1, offset, size,
			 value);
}

static int slave_write(struct bus_device *d, struct vcpu *vcpu, u64 offset, u32 size, u64 value)
{
	return port_write(container_of(d, struct irqchip, pic.slave_ports), vcpu, 1, offset, size,
			  value);
}

static int elcr_read(struct bus_device *d, struct vcpu *vcpu, u64 offset, u32 size, u64 *value)
{
	struct irqchip *chip = container_of(d, struct irqchip, pic.elcr_ports);

	*value = size == 1 ? chip->pic.chip[offset & 1].elcr : ~0ull;
	return 0;
}

static int elcr_write(struct bus_device *d, struct vcpu *vcpu, u64 offset, u32 size, u64 value)
{
	struct irqchip *chip = container_of(d, struct irqchip, pic.elcr_ports);

	if (size != 1)
		return 0;
	spin_lock(&chip->lock);
	chip->pic.chip[offset & 1].elcr = (u8)value & elcr_masks[offset & 1];
	spin_unlock(&chip->lock);
	return 0;
}

void pic_set_state(struct irqchip *chip, u32 which, const struct kvm_pic_state *state)
{
	struct kvm_pic_state *s = &chip->pic.chip[which];

	*s = *state;
	s->elcr &= elcr_masks[which];
	s->elcr_mask = elcr_masks[which];
	s->priority_add &= 7;
	s->irq_base &= 0xf8;
	s->init_state &= 3;
	s->read_reg_select &= 1;
	s->rotate_on_auto_eoi &= 1;
	update(chip);
}

int pic_init(struct irqchip *chip, struct vm *vm)
{
	struct pic *pic = &chip->pic;
	int result;

	for (u32 i = 0; i < 2; i++)
		pic->chip[i].elcr_mask = elcr_masks[i];
	pic->master_ports = (struct bus_device){0x20, 2, master_read, master_write};
	pic->slave_ports = (struct bus_device){0xa0, 2, slave_read, slave_write};
	pic->elcr_ports = (struct bus_device){0x4d0, 2, elcr_read, elcr_write};
	result = bus_add(&vm->ports, &pic->master_ports);
	if (!result)
		result = bus_add(&vm->ports, &pic->slave_ports);
	if (!result)
		result = bus_add(&vm->ports, &pic->elcr_ports);
	return result;
}
