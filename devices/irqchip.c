/* SPDX-License-Identifier: MIT */
/* A VM's interrupt controllers as a whole; locks as in irqchip.h. */
#include "devices/irqchip.h"

#include "arch-x86/msr.h"
#include "arch-x86/regs.h"
#include "core/vm.h"
#include "devices/kvmclock.h"
#include "devices/lapic.h"
#include "mm/phys.h"

/* ---- what core/ asks ------------------------------------------------------------------------- */

/* INTR of the 8259, for a vCPU whose LINT0 listens. The hint is looked at without the lock. */
static struct irqchip *extint(struct vcpu *vcpu)
{
	struct irqchip *chip = vcpu->vm->devices;

	if (!chip->full || !__atomic_load_n(&chip->pic.output, __ATOMIC_ACQUIRE) ||
	    !lapic_accepts_extint(vcpu->lapic))
		return NULL;
	return chip;
}

static int chip_pending(struct vcpu *vcpu)
{
	struct irqchip *chip = extint(vcpu);
	int vector = -1;

	if (chip) {
		spin_lock(&chip->lock);
		vector = pic_peek(&chip->pic);
		spin_unlock(&chip->lock);
	}
	return vector >= 0 ? vector : lapic_pending(vcpu->lapic);
}

static int chip_acknowledge(struct vcpu *vcpu)
{
	struct irqchip *chip = extint(vcpu);
	int vector = -1;

	if (chip) {
		spin_lock(&chip->lock);
		vector = pic_acknowledge(chip);
		spin_unlock(&chip->lock);
		irqchip_tell_resampled(chip, vcpu);
	}
	return vector >= 0 ? vector : lapic_acknowledge(vcpu->lapic);
}

static u64 chip_timers(struct vcpu *vcpu, u64 now)
{
	u64 deadline = lapic_timers(vcpu->lapic, now);

	if (vcpu->index == 0)
		deadline = MIN(deadline, pit_timers(vcpu->vm->devices, now));
	return deadline;
}

static bool accepts_extint(struct vcpu *vcpu)
{
	return lapic_accepts_extint(vcpu->lapic);
}

static const struct irqchip_ops ops = {
	.pending = chip_pending,
	.acknowledge = chip_acknowledge,
	.timers = chip_timers,
	.set_cr8 = lapic_set_cr8,
	.get_cr8 = lapic_get_cr8,
	.reset = lapic_reset,
	.accepts_extint = accepts_extint,
};

/* ---- between the chips ----------------------------------------------------------------------- */

void irqchip_raise_extint(struct irqchip *chip)
{
	struct vm *vm = chip->vm;

	for (u32 i = 0; i < vm->vcpu_count; i++) {
		struct vcpu *vcpu = vm->vcpus[i];

		if (vcpu && vcpu->lapic && lapic_accepts_extint(vcpu->lapic))
			vcpu_kick(vcpu, REQUEST_EVENT);
	}
}

static bool pin_has_pit(const struct irqchip *chip, u32 which, u32 pin)
{
	if (!chip->pit.created)
		return false;
	return pin == (which == KVM_IRQCHIP_IOAPIC ? chip->pit_ioapic_pin : chip->pit_pic_pin);
}

static bool gsi_has_pin(const struct irqchip *chip, u32 gsi, u32 which, u32 pin)
{
	const struct route *route = routing_first(chip, gsi);

	for (; route; route = routing_next(chip, route))
		if (route->type == KVM_IRQ_ROUTING_IRQCHIP && route->chip == which &&
		    route->data == pin)
			return true;
	return false;
}

bool irqchip_pin_is_heard(const struct irqchip *chip, u32 which, u32 pin)
{
	bool heard = pin_has_pit(chip, which, pin);

	for (u32 i = 0; !heard && i < chip->resample_count; i++)
		heard = gsi_has_pin(chip, chip->resample[i], which, pin);
	return heard;
}

void irqchip_acked(struct irqchip *chip, u32 which, u32 pin)
{
	if (pin_has_pit(chip, which, pin))
		pit_acked(chip);
	for (u32 i = 0; i < chip->resample_count; i++) {
		if (!gsi_has_pin(chip, chip->resample[i], which, pin))
			continue;
		irqchip_set_gsi(chip, chip->resample[i], false, IRQ_SOURCE_RESAMPLE);
		chip->resampled |= BIT(i);
	}
}

void irqchip_tell_resampled(struct irqchip *chip, struct vcpu *vcpu)
{
	if (unlikely(__atomic_load_n(&chip->resampled, __ATOMIC_RELAXED)))
		vcpu_set_request(vcpu, REQUEST_RESAMPLE);
}

int irqchip_take_resampled(struct vcpu *vcpu)
{
	struct irqchip *chip = vcpu->vm->devices;
	int gsi = -1;

	spin_lock(&chip->lock);
	if (chip->resampled) {
		gsi = chip->resample[__builtin_ctzll(chip->resampled)];
		chip->resampled &= chip->resampled - 1;
	}
	spin_unlock(&chip->lock);
	irqchip_tell_resampled(chip, vcpu);
	return gsi;
}

static int resample_on(struct irqchip *chip, u32 gsi)
{
	if (chip->resample_count == RESAMPLE_MAX)
		return -ENOSPC;
	chip->resample[chip->resample_count++] = (u16)gsi;
	return 0;
}

static int resample_off(struct irqchip *chip, u32 gsi)
{
	u32 last = chip->resample_count - 1;
	u64 told;

	for (u32 i = 0; i < chip->resample_count; i++) {
		if (chip->resample[i] != gsi)
			continue;
		/* The last one takes its place, and its bit that of this one. */
		chip->resample[i] = chip->resample[last];
		told = chip->resampled >> last & 1;
		chip->resampled &= ~(BIT(i) | BIT(last));
		if (i != last)
			chip->resampled |= told << i;
		chip->resample_count--;
		irqchip_set_gsi(chip, gsi, false, IRQ_SOURCE_RESAMPLE);
		break;
	}
	return 0;
}

int irqchip_resample(struct vm *vm, u32 gsi, bool on)
{
	struct irqchip *chip = vm->devices;
	int error;

	if (!irqchip_full(vm) || gsi >= ROUTING_GSIS)
		return -EINVAL;
	spin_lock(&chip->lock);
	error = on ? resample_on(chip, gsi) : resample_off(chip, gsi);
	ioapic_update_heard(chip);
	spin_unlock(&chip->lock);
	return error;
}

void irqchip_unmasked(struct irqchip *chip, u32 which, u32 pin)
{
	if (pin_has_pit(chip, which, pin))
		pit_unmasked(chip);
}

void irqchip_routing_changed(struct irqchip *chip)
{
	const struct route *route;

	chip->pit_pic_pin = NO_PIN;
	chip->pit_ioapic_pin = NO_PIN;
	for (route = routing_first(chip, 0); route; route = routing_next(chip, route)) {
		if (route->type != KVM_IRQ_ROUTING_IRQCHIP)
			continue;
		if (route->chip == KVM_IRQCHIP_IOAPIC)
			chip->pit_ioapic_pin = (u8)route->data;
		else
			chip->pit_pic_pin = (u8)route->data;
	}
	ioapic_update_heard(chip);
}

/* ---- interrupts from outside ----------------------------------------------------------------- */

bool irqchip_msi_valid(const struct vm *vm, u32 address_high)
{
	return !vm->x2apic_ids_32bit || !(address_high & 0xff);
}

/* SDM vol. 3, "Message Address Register Format" and "Message Data Register Format". */
static struct lapic_message msi_message(const struct vm *vm, u32 address_low, u32 address_high,
					u32 data)
{
	struct lapic_message m = {
		.destination = (address_low >> 12) & 0xff,
		.vector = (u8)data,
		.mode = (data >> 8) & 7,
		.logical = address_low & BIT(2),
		.lowest = address_low & BIT(3), /* redirection hint */
		.level = data & BIT(15),
	};

	if (vm->x2apic_ids_32bit)
		m.destination |= address_high & 0xffffff00;
	return m;
}

static int deliver_msi(struct vm *vm, u32 address_low, u32 address_high, u32 data)
{
	struct lapic_message m = msi_message(vm, address_low, address_high, data);

	return lapic_deliver(vm, &m);
}

static int set_route(struct irqchip *chip, const struct route *route, bool level, u32 source)
{
	if (route->type == KVM_IRQ_ROUTING_MSI)
		return level ? deliver_msi(chip->vm, route->address_low, route->address_high,
					   route->data)
			     : -1;
	if (route->chip == KVM_IRQCHIP_IOAPIC)
		return ioapic_set_line(chip, route->data, level, source);
	return pic_set_line(chip, route->data, level, source);
}

int irqchip_set_gsi(struct irqchip *chip, u32 gsi, bool level, enum irq_source source)
{
	const struct route *route = routing_first(chip, gsi);
	int status = -1;

	for (; route; route = routing_next(chip, route)) {
		int r = set_route(chip, route, level, source);

		if (r >= 0)
			status = MAX(status, 0) + r;
	}
	return status;
}

int irqchip_set_irq(struct vm *vm, u32 gsi, bool level, enum irq_source source)
{
	struct irqchip *chip = vm->devices;
	int status;

	if (!chip)
		return -1;
	spin_lock(&chip->lock);
	status = irqchip_set_gsi(chip, gsi, level, source);
	spin_unlock(&chip->lock);
	return status;
}

int irqchip_msi(struct vm *vm, const struct kvm_msi *msi)
{
	if (!vm->devices || (msi->flags & ~KVM_MSI_VALID_DEVID) ||
	    !irqchip_msi_valid(vm, msi->address_hi))
		return -EINVAL;
	return deliver_msi(vm, msi->address_lo, msi->address_hi, msi->data);
}

/* A GSI with an MSI has no other route. */
static bool vmm_hears(const struct irqchip *chip, struct vcpu *vcpu, u8 vector)
{
	for (u32 gsi = 0; gsi < chip->pins; gsi++) {
		const struct route *route = routing_first(chip, gsi);
		struct lapic_message m;

		if (!route)
			continue;
		m = msi_message(chip->vm, route->address_low, route->address_high, route->data);
		if (m.level && m.vector == vector && lapic_matches(vcpu->lapic, &m))
			return true;
	}
	return false;
}

void irqchip_eoi(struct vcpu *vcpu, u8 vector, bool level)
{
	struct irqchip *chip = vcpu->vm->devices;
	bool heard;

	if (chip->full) {
		ioapic_eoi(vcpu->vm, vector, level);
		irqchip_tell_resampled(chip, vcpu);
		return;
	}
	if (!level)
		return;
	spin_lock(&chip->lock);
	heard = vmm_hears(chip, vcpu, vector);
	spin_unlock(&chip->lock);
	if (!heard)
		return;
	/* The next entry looks at requests before the guest can end another one. */
	vcpu->eoi_vector = vector;
	vcpu_set_request(vcpu, REQUEST_EOI);
}

int irqchip_set_routing(struct vm *vm, const struct kvm_irq_routing_entry *entries, u32 count)
{
	return vm->devices ? routing_set(vm->devices, entries, count) : -EINVAL;
}

/* ---- the LAPIC's addresses ------------------------------------------------------------------- */

/* At the reset address and, where a vCPU has moved its page, there: memory and other devices win.
 */
static int apic_page_read(struct bus_device *d, struct vcpu *vcpu, u64 offset, u32 size, u64 *value)
{
	offset += d->base;
	if (!vcpu->lapic || !lapic_mapped_at(vcpu->lapic, offset))
		return -EOPNOTSUPP;
	return lapic_mmio_read(vcpu->lapic, offset & (PAGE_SIZE - 1), size, value);
}

static int apic_page_write(struct bus_device *d, struct vcpu *vcpu, u64 offset, u32 size, u64 value)
{
	offset += d->base;
	if (!vcpu->lapic || !lapic_mapped_at(vcpu->lapic, offset))
		return -EOPNOTSUPP;
	return lapic_mmio_write(vcpu->lapic, offset & (PAGE_SIZE - 1), size, value);
}

static int x2apic_read(struct bus_device *d, struct vcpu *vcpu, u64 offset, u32 size, u64 *value)
{
	return vcpu->lapic ? lapic_msr_read(vcpu->lapic, offset, value) : -EOPNOTSUPP;
}

static int x2apic_write(struct bus_device *d, struct vcpu *vcpu, u64 offset, u32 size, u64 value)
{
	return vcpu->lapic ? lapic_msr_write(vcpu->lapic, offset, value) : -EOPNOTSUPP;
}

static int apic_base_read(struct bus_device *d, struct vcpu *vcpu, u64 offset, u32 size, u64 *value)
{
	*value = lapic_base(vcpu);
	return vcpu->lapic ? 0 : -EOPNOTSUPP;
}

static int apic_base_write(struct bus_device *d, struct vcpu *vcpu, u64 offset, u32 size, u64 value)
{
	return vcpu->lapic ? lapic_write_base(vcpu->lapic, value) : -EOPNOTSUPP;
}

static int tsc_deadline_read(struct bus_device *d, struct vcpu *vcpu, u64 offset, u32 size,
			     u64 *value)
{
	if (!vcpu->lapic)
		return -EOPNOTSUPP;
	*value = lapic_read_tsc_deadline(vcpu->lapic);
	return 0;
}

static int tsc_deadline_write(struct bus_device *d, struct vcpu *vcpu, u64 offset, u32 size,
			      u64 value)
{
	if (!vcpu->lapic)
		return -EOPNOTSUPP;
	lapic_write_tsc_deadline(vcpu->lapic, value);
	return 0;
}

static int add_lapic_devices(struct irqchip *chip, struct vm *vm)
{
	int result;

	chip->apic_page =
		(struct bus_device){LAPIC_DEFAULT_BASE, PAGE_SIZE, apic_page_read, apic_page_write};
	chip->apic_base_msr =
		(struct bus_device){MSR_APIC_BASE, 1, apic_base_read, apic_base_write};
	chip->tsc_deadline_msr =
		(struct bus_device){MSR_TSC_DEADLINE, 1, tsc_deadline_read, tsc_deadline_write};
	chip->x2apic_msrs = (struct bus_device){MSR_X2APIC_BASE, 0x100, x2apic_read, x2apic_write};
	chip->moved_page = (struct bus_device){0, ~0ull, apic_page_read, apic_page_write};
	vm->own_page = &chip->moved_page;
	result = bus_add(&vm->mmio, &chip->apic_page);
	if (!result)
		result = bus_add(&vm->msrs, &chip->apic_base_msr);
	if (!result)
		result = bus_add(&vm->msrs, &chip->tsc_deadline_msr);
	if (!result)
		result = bus_add(&vm->msrs, &chip->x2apic_msrs);
	return result;
}

/* ---- creation -------------------------------------------------------------------------------- */

static int create(struct vm *vm, bool full, u32 pins)
{
	hpa_t page;
	struct irqchip *chip;
	int result;

	_Static_assert(sizeof(*chip) <= PAGE_SIZE, "one page an irqchip");
	if (vm->devices)
		return -EEXIST;
	if (vm->vcpu_count)
		return -EINVAL;
	page = pool_alloc(&vm->pool, 1);
	if (page.v == HPA_NONE.v)
		return -ENOMEM;
	chip = phys_ptr(page);
	chip->vm = vm;
	chip->full = full;
	chip->pins = pins;
	/* What can lack memory comes before the buses: a device cannot be taken off one again. */
	result = full ? routing_set_default(chip) : routing_set(chip, NULL, 0);
	if (result) {
		pool_free(&vm->pool, page, 1);
		return result;
	}
	result = add_lapic_devices(chip, vm);
	if (!result && full)
		result = pic_init(chip, vm);
	if (!result && full)
		result = ioapic_init(chip, vm);
	if (result)
		return result;
	vm->split_irqchip = !full;
	vm->devices = chip;
	vm->irqchip = &ops;
	return 0;
}

int irqchip_create(struct vm *vm)
{
	return create(vm, true, 0);
}

int irqchip_create_split(struct vm *vm, u32 pins)
{
	if (pins > ROUTING_GSIS)
		return -EINVAL;
	return create(vm, false, pins);
}

bool irqchip_full(const struct vm *vm)
{
	const struct irqchip *chip = vm->devices;

	return chip && chip->full;
}

int irqchip_vcpu_init(struct vcpu *vcpu)
{
	int result = lapic_create(vcpu);

	if (!result && vcpu->id != vcpu->vm->bsp_id)
		vcpu->mp_state = MP_UNINITIALIZED;
	return result;
}

/* ---- state ----------------------------------------------------------------------------------- */

int irqchip_get(struct vm *vm, struct kvm_irqchip *state)
{
	struct irqchip *chip = vm->devices;
	u32 which = state->chip_id;

	if (!irqchip_full(vm))
		return -ENXIO;
	if (which > KVM_IRQCHIP_IOAPIC)
		return -EINVAL;
	*state = (struct kvm_irqchip){.chip_id = which};
	spin_lock(&chip->lock);
	if (which == KVM_IRQCHIP_IOAPIC)
		ioapic_get_state(chip, &state->chip.ioapic);
	else
		state->chip.pic = chip->pic.chip[which];
	spin_unlock(&chip->lock);
	return 0;
}

int irqchip_set(struct vm *vm, const struct kvm_irqchip *state)
{
	struct irqchip *chip = vm->devices;

	if (!irqchip_full(vm))
		return -ENXIO;
	if (state->chip_id > KVM_IRQCHIP_IOAPIC)
		return -EINVAL;
	spin_lock(&chip->lock);
	if (state->chip_id == KVM_IRQCHIP_IOAPIC)
		ioapic_set_state(chip, &state->chip.ioapic);
	else
		pic_set_state(chip, state->chip_id, &state->chip.pic);
	spin_unlock(&chip->lock);
	return 0;
}
