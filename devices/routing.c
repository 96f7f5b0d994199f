/* SPDX-License-Identifier: MIT */
/* GSI routing: what each global interrupt number is wired to. Lock: the irqchip's. */
#include "devices/routing.h"

#include "arch-x86/log.h"
#include "core/vm.h"
#include "devices/ioapic.h"
#include "devices/irqchip.h"
#include "devices/pic.h"
#include "devices/time.h"
#include "mm/phys.h"

static struct routing *routing_alloc(struct irqchip *chip, u32 count)
{
	u64 bytes = sizeof(struct routing) + count * sizeof(struct route);
	u32 pages = (u32)(ALIGN_UP(bytes, PAGE_SIZE) / PAGE_SIZE);
	hpa_t base = pool_alloc(&chip->vm->pool, pages);
	struct routing *r;

	if (base.v == HPA_NONE.v)
		return NULL;
	r = phys_ptr(base);
	r->pages = pages;
	for (u32 i = 0; i < ROUTING_GSIS; i++)
		r->first[i] = ROUTE_NONE;
	return r;
}

static void routing_free(struct irqchip *chip, struct routing *r)
{
	if (r)
		pool_free(&chip->vm->pool, ptr_phys(r), r->pages);
}

static int convert_irqchip(const struct irqchip *chip, const struct kvm_irq_routing_entry *entry,
			   struct route *route)
{
	u32 pin = entry->u.irqchip.pin;

	if (!chip->full)
		return -EINVAL;
	switch (entry->u.irqchip.irqchip) {
	case KVM_IRQCHIP_PIC_MASTER:
	case KVM_IRQCHIP_PIC_SLAVE:
		if (pin >= PIC_PINS / 2)
			return -EINVAL;
		route->chip = KVM_IRQCHIP_PIC_MASTER;
		route->data = pin + entry->u.irqchip.irqchip * (PIC_PINS / 2);
		return 0;
	case KVM_IRQCHIP_IOAPIC:
		if (pin >= IOAPIC_PINS)
			return -EINVAL;
		route->chip = KVM_IRQCHIP_IOAPIC;
		route->data = pin;
		return 0;
	default:
		return -EINVAL;
	}
}

static int convert(const struct irqchip *chip, const struct kvm_irq_routing_entry *entry,
		   struct route *route)
{
	u32 flags = entry->type == KVM_IRQ_ROUTING_MSI ? KVM_MSI_VALID_DEVID : 0;

	if (entry->gsi >= ROUTING_GSIS || (entry->flags & ~flags))
		return -EINVAL;
	*route = (struct route){.type = (u8)entry->type, .next = ROUTE_NONE};
	switch (entry->type) {
	case KVM_IRQ_ROUTING_IRQCHIP:
		return convert_irqchip(chip, entry, route);
	case KVM_IRQ_ROUTING_MSI:
		route->data = entry->u.msi.data;
		route->address_low = entry->u.msi.address_lo;
		route->address_high = entry->u.msi.address_hi;
		return irqchip_msi_valid(chip->vm, route->address_high) ? 0 : -EINVAL;
	default:
		return -EINVAL;
	}
}

static bool same_chip(const struct route *a, const struct route *b)
{
	/* KVM tells the two 8259s apart here. */
	return a->chip == b->chip &&
	       (a->chip != KVM_IRQCHIP_PIC_MASTER || (a->data < 8) == (b->data < 8));
}

/* Appends the entry: at most three routes share a GSI, one for each chip. */
static int add(struct routing *r, const struct irqchip *chip,
	       const struct kvm_irq_routing_entry *entry)
{
	struct route *route = &r->routes[r->count];
	int result = convert(chip, entry, route);
	u16 *link;

	if (result)
		return result;
	link = &r->first[entry->gsi];
	while (*link != ROUTE_NONE) {
		const struct route *other = &r->routes[*link];

		if (route->type != KVM_IRQ_ROUTING_IRQCHIP ||
		    other->type != KVM_IRQ_ROUTING_IRQCHIP || same_chip(route, other))
			return -EINVAL;
		link = &r->routes[*link].next;
	}
	*link = (u16)r->count++;
	return 0;
}

static void publish(struct irqchip *chip, struct routing *r)
{
	struct routing *old;

	spin_lock(&chip->lock);
	old = chip->routing;
	chip->routing = r;
	irqchip_routing_changed(chip);
	spin_unlock(&chip->lock);
	routing_free(chip, old);
}

int routing_set(struct irqchip *chip, const struct kvm_irq_routing_entry *entries, u32 count)
{
	struct routing *r;

	if (count > ROUTING_ENTRIES)
		return -EINVAL;
	r = routing_alloc(chip, count);
	if (!r)
		return -ENOMEM;
	for (u32 i = 0; i < count; i++) {
		/* The VMM's memory may change meanwhile: copied once, then checked. */
		struct kvm_irq_routing_entry entry = entries[i];
		int result = add(r, chip, &entry);

		if (result) {
			routing_free(chip, r);
			return result;
		}
	}
	publish(chip, r);
	return 0;
}

int routing_set_default(struct irqchip *chip)
{
	struct routing *r = routing_alloc(chip, PIC_PINS + IOAPIC_PINS);
	int result = 0;

	if (!r)
		return -ENOMEM;
	for (u32 gsi = 0; gsi < IOAPIC_PINS && !result; gsi++) {
		struct kvm_irq_routing_entry entry = {.gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP};

		if (gsi < PIC_PINS) {
			entry.u.irqchip.irqchip = gsi / 8;
			entry.u.irqchip.pin = gsi % 8;
			result = add(r, chip, &entry);
		}
		entry.u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC;
		entry.u.irqchip.pin = gsi;
		if (!result)
			result = add(r, chip, &entry);
	}
	CHECK(!result);
	publish(chip, r);
	return 0;
}

const struct route *routing_first(const struct irqchip *chip, u32 gsi)
{
	const struct routing *r = chip->routing;
	u32 i;

	if (!r || gsi >= ROUTING_GSIS)
		return NULL;
	i = r->first[index_clamp(gsi, ROUTING_GSIS)];
	return i == ROUTE_NONE ? NULL : &r->routes[i];
}

const struct route *routing_next(const struct irqchip *chip, const struct route *route)
{
	return route->next == ROUTE_NONE ? NULL : &chip->routing->routes[route->next];
}
