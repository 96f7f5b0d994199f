/* SPDX-License-Identifier: MIT */
/* The IOAPIC: registers, lines, level and edge, EOI, KVM's state. */
#include "tests/unit/devices_machine.h"

static int line(u32 pin, bool level)
{
	/* GSIs 16 to 23 reach the IOAPIC alone. */
	return irqchip_set_irq(&vm, pin, level, IRQ_SOURCE_USER);
}

static void eoi(u32 cpu)
{
	set_reg(cpu, LAPIC_EOI, 0);
}

static void test_reset_values(void **state)
{
	machine(1);
	assert_int_equal(ioapic_get(0), 0);
	assert_int_equal(ioapic_get(1), 0x170011);
	assert_int_equal(ioapic_get(2), 0);
	for (u32 pin = 0; pin < IOAPIC_PINS; pin++)
		assert_int_equal(get_rte(pin), RTE_M);
}

static void test_writable_bits(void **state)
{
	machine(1);
	for (u32 bit = 0; bit < 32; bit++) {
		ioapic_put(0, 1u << bit);
		assert_int_equal(ioapic_get(0), bit >= 24 && bit < 28 ? 1u << bit : 0);
		assert_int_equal(ioapic_get(2), ioapic_get(0));
		ioapic_put(1, 1u << bit);
		assert_int_equal(ioapic_get(1), 0x170011);
		ioapic_put(2, 1u << bit);
		for (u32 pin = 0; pin < IOAPIC_PINS; pin++) {
			ioapic_put(0x10 + pin * 2, 1u << bit);
			assert_int_equal(ioapic_get(0x10 + pin * 2), (1u << bit) & 0x1afff);
			ioapic_put(0x11 + pin * 2, 1u << bit);
			assert_int_equal(ioapic_get(0x11 + pin * 2), (1u << bit) & 0xff000000);
		}
	}
}

/* CVE-2013-1798, CVE-2014-0155: every IOREGSEL. */
static void test_every_ioregsel(void **state)
{
	machine(1);
	for (u32 i = 0; i < 256; i++) {
		bool known = i < 3 || (i >= 0x10 && i < 0x40);
		u64 value = 0;

		ioapic_put(i, 0xffffffff & ~0x8000u);
		if (!known)
			assert_int_equal(ioapic_get(i), ~0u);
		mmio_write(0, IO_APIC, 4, i | 0xabcdef00); /* 8 bits */
		assert_int_equal(mmio_read(0, IO_APIC, 4, &value), 0);
		assert_int_equal(value, i);
	}
	for (u32 pin = 0; pin < IOAPIC_PINS; pin++)
		assert_int_equal(get_rte(pin), 0xff00000000012fff);
}

static void test_page_sizes_and_holes(void **state)
{
	u64 value = 1;

	machine(1);
	for (u32 offset = 0; offset < 0x100; offset++) {
		if (offset == 0 || offset == 0x10)
			continue;
		mmio_write(0, IO_APIC + offset, 1, 0xff);
		assert_int_equal(mmio_read(0, IO_APIC + offset, 1, &value), 0);
		assert_int_equal(value, 0);
	}
	assert_int_equal(mmio_read(0, IO_APIC, 4, &value), 0);
	assert_int_equal(value, 0);
	mmio_write(0, IO_APIC, 1, 0x3412); /* only the byte */
	mmio_read(0, IO_APIC, 1, &value);
	assert_int_equal(value, 0x12);
	mmio_write(0, IO_APIC, 8, 0xffffffff00000010);
	mmio_write(0, IO_APIC + 0x10, 2, 0xffff1045); /* zero-extends */
	assert_int_equal(ioapic_get(0x10), 0x45);
}

static void test_edge(void **state)
{
	machine(2);
	enable_all();
	set_rte(16, 0x61 | 1ull << 56);
	assert_int_equal(line(16, true), 1);
	assert_int_equal(receivers(0x61), 2);
	assert_int_equal(line(16, true), 0); /* no new edge */
	assert_int_equal(receivers(0x61), 0);
	assert_int_equal(line(16, false), 1);
	assert_int_equal(line(16, true), 1);
	assert_int_equal(receivers(0x61), 2);
	assert_int_equal(get_rte(16), 0x61 | 1ull << 56); /* no remote IRR */
}

static void test_edge_while_masked_is_lost(void **state)
{
	machine(1);
	enable_all();
	set_rte(16, 0x61 | RTE_M);
	assert_int_equal(line(16, true), -1);
	set_rte(16, 0x61);
	assert_int_equal(receivers(0x61), 0);
	line(16, false);
	assert_int_equal(line(16, true), 1);
}

static void test_level_remote_irr(void **state)
{
	machine(1);
	enable_all();
	set_rte(17, 0x62 | RTE_L);
	assert_int_equal(line(17, true), 1);
	assert_int_equal(get_rte(17), 0x62 | RTE_L | RTE_RIRR);
	assert_int_equal(line(17, true), 0); /* coalesced */
	assert_int_equal(acknowledge(0), 0x62);
	assert_int_equal(reg(0, LAPIC_TMR + 0x30), 1 << 2);
	/* Still asserted at the EOI: again. */
	eoi(0);
	assert_int_equal(acknowledge(0), 0x62);
	assert_int_equal(get_rte(17), 0x62 | RTE_L | RTE_RIRR);
	line(17, false);
	eoi(0);
	assert_int_equal(pending(0), -1);
	assert_int_equal(get_rte(17), 0x62 | RTE_L);
	assert_int_equal(line(17, true), 1);
}

static void test_level_masked_pending_fires_at_unmask(void **state)
{
	machine(1);
	enable_all();
	set_rte(17, 0x62 | RTE_L | RTE_M);
	assert_int_equal(line(17, true), -1);
	assert_int_equal(pending(0), -1);
	set_rte(17, 0x62 | RTE_L);
	assert_int_equal(acknowledge(0), 0x62);
	/* Masked in the handler: the EOI must not send it again. */
	set_rte(17, 0x62 | RTE_L | RTE_M);
	assert_int_equal(get_rte(17), 0x62 | RTE_L | RTE_M | RTE_RIRR);
	eoi(0);
	assert_int_equal(pending(0), -1);
	assert_int_equal(get_rte(17), 0x62 | RTE_L | RTE_M);
}

static void test_remote_irr_is_read_only(void **state)
{
	machine(1);
	enable_all();
	set_rte(17, 0x62 | RTE_L | RTE_RIRR);
	assert_int_equal(get_rte(17), 0x62 | RTE_L);
	line(17, true);
	ioapic_put(0x10 + 34, 0x62 | RTE_L);
	assert_int_equal(get_rte(17), 0x62 | RTE_L | RTE_RIRR);
	ioapic_put(0x11 + 34, 0);
	assert_int_equal(get_rte(17), 0x62 | RTE_L | RTE_RIRR);
	/* Switching to edge clears it: the EOI of systems that have no EOI register. */
	ioapic_put(0x10 + 34, 0x62 | RTE_M);
	assert_int_equal(get_rte(17), 0x62 | RTE_M);
	line(17, false);
}

static void test_refused_delivery_keeps_no_remote_irr(void **state)
{
	machine(1);
	set_rte(17, 0x62 | RTE_L); /* the APIC is software-disabled */
	assert_int_equal(line(17, true), 0);
	assert_int_equal(get_rte(17), 0x62 | RTE_L);
	set_rte(17, 0x62 | RTE_L | 7ull << 56); /* nobody */
	assert_int_equal(line(17, true), 0);
	assert_int_equal(get_rte(17), 0x62 | RTE_L | 7ull << 56);
}

static void test_eoi_register(void **state)
{
	machine(1);
	enable_all();
	set_rte(18, 0x63 | RTE_L);
	line(18, true);
	line(18, false);
	mmio_write(0, IO_APIC + 0x40, 4, 0x64);
	assert_int_equal(get_rte(18), 0x63 | RTE_L | RTE_RIRR);
	mmio_write(0, IO_APIC + 0x40, 4, 0x63);
	assert_int_equal(get_rte(18), 0x63 | RTE_L);
}

static void test_shared_line_is_ored(void **state)
{
	machine(1);
	enable_all();
	set_rte(19, 0x65 | RTE_L);
	irqchip_set_irq(&vm, 19, true, IRQ_SOURCE_USER);
	irqchip_set_irq(&vm, 19, true, IRQ_SOURCE_RESAMPLE);
	irqchip_set_irq(&vm, 19, false, IRQ_SOURCE_USER);
	acknowledge(0);
	eoi(0);
	assert_int_equal(acknowledge(0), 0x65);
	irqchip_set_irq(&vm, 19, false, IRQ_SOURCE_RESAMPLE);
	eoi(0);
	assert_int_equal(pending(0), -1);
}

static void test_destinations_and_modes(void **state)
{
	machine(4);
	enable_all();
	for (u32 i = 0; i < 4; i++)
		set_reg(i, LAPIC_LDR, 1u << (24 + i));
	for (u32 mode = 0; mode < 8; mode++) {
		for (u32 logical = 0; logical < 2; logical++) {
			u32 expected = logical ? 6 : 4, got;

			memset(nmis, 0, sizeof(nmis));
			memset(inits, 0, sizeof(inits));
			set_rte(20,
				0x66 | mode << 8 | (logical ? RTE_LOG | 6ull << 56 : 2ull << 56));
			line(20, true);
			line(20, false);
			got = receivers(0x66);
			if (mode == DELIVER_FIXED)
				assert_int_equal(got, expected);
			else if (mode == DELIVER_LOWEST)
				assert_true(__builtin_popcount(got) == 1 && (got & expected));
			else
				assert_int_equal(got, 0);
			for (u32 i = 0; i < 4; i++) {
				bool hit = expected & (1u << i);

				assert_int_equal(nmis[i], mode == DELIVER_NMI && hit);
				assert_int_equal(inits[i], mode == DELIVER_INIT && hit);
			}
		}
	}
}

static void test_two_pins_one_vector(void **state)
{
	machine(1);
	enable_all();
	set_rte(16, 0x70 | RTE_L);
	set_rte(17, 0x70 | RTE_L);
	line(16, true);
	line(17, true);
	acknowledge(0);
	line(16, false);
	eoi(0); /* ends both; 17 is still up */
	assert_int_equal(get_rte(16), 0x70 | RTE_L);
	assert_int_equal(get_rte(17), 0x70 | RTE_L | RTE_RIRR);
	assert_int_equal(acknowledge(0), 0x70);
}

static void test_eoi_of_others_takes_no_lock(void **state)
{
	struct irqchip *chip;
	struct lapic_message m = {.destination = 0, .vector = 0x90};

	machine(1);
	enable_all();
	set_rte(16, 0x70 | RTE_L);
	chip = vm.devices;
	lapic_deliver(&vm, &m);
	acknowledge(0);
	spin_lock(&chip->lock);
	eoi(0); /* would hang */
	spin_unlock(&chip->lock);
	assert_int_equal(pending(0), -1);
}

/* ---- KVM_GET_IRQCHIP, KVM_SET_IRQCHIP -------------------------------------------------------- */

static void test_state_round_trip(void **state)
{
	struct kvm_irqchip s = {.chip_id = KVM_IRQCHIP_IOAPIC}, again = s;

	machine(1);
	enable_all();
	ioapic_put(0, 0x05000000);
	for (u32 pin = 0; pin < IOAPIC_PINS; pin++)
		set_rte(pin, (u64)pin << 56 | (0x40 + pin) | (pin & 1 ? RTE_L : 0));
	set_rte(21, 0x55 | RTE_L);
	set_rte(22, 0x56);
	line(21, true);
	line(22, true);
	mmio_write(0, IO_APIC, 4, 0x21);
	assert_int_equal(irqchip_get(&vm, &s), 0);
	assert_int_equal(s.chip.ioapic.base_address, IO_APIC);
	assert_int_equal(s.chip.ioapic.id, 5);
	assert_int_equal(s.chip.ioapic.ioregsel, 0x21);
	assert_int_equal(s.chip.ioapic.irr, 1 << 21); /* an edge that was delivered is over */
	assert_int_equal(s.chip.ioapic.pad, 0);
	machine(1);
	enable_all();
	assert_int_equal(irqchip_set(&vm, &s), 0);
	assert_int_equal(irqchip_get(&vm, &again), 0);
	assert_memory_equal(&s, &again, sizeof(s));
	assert_int_equal(pending(0), -1); /* remote IRR: the LAPIC has it already */
	line(21, false);
}

static void test_state_pending_is_sent(void **state)
{
	struct kvm_irqchip s = {.chip_id = KVM_IRQCHIP_IOAPIC};

	machine(1);
	enable_all();
	irqchip_get(&vm, &s);
	s.chip.ioapic.irr = 1 << 20;
	s.chip.ioapic.redirtbl[20].bits = 0x71 | RTE_L;
	assert_int_equal(irqchip_set(&vm, &s), 0);
	assert_int_equal(acknowledge(0), 0x71);
}

static void test_state_is_sanitised(void **state)
{
	struct kvm_irqchip s;

	machine(1);
	memset(&s, 0xff, sizeof(s));
	s.chip_id = KVM_IRQCHIP_IOAPIC;
	for (u32 pin = 0; pin < IOAPIC_PINS; pin += 2)
		s.chip.ioapic.redirtbl[pin].bits &= ~(u64)RTE_L;
	assert_int_equal(irqchip_set(&vm, &s), 0);
	assert_int_equal(irqchip_get(&vm, &s), 0);
	assert_int_equal(s.chip.ioapic.id, 15);
	assert_int_equal(s.chip.ioapic.ioregsel, 0xff);
	assert_int_equal(s.chip.ioapic.irr, 0xffffff); /* all are masked: no edge went out */
	assert_int_equal(s.chip.ioapic.base_address, IO_APIC);
	assert_int_equal(s.chip.ioapic.redirtbl[1].bits, 0xff0000000001efff);
	assert_int_equal(s.chip.ioapic.redirtbl[2].bits, 0xff00000000012fff);
}

/* What was sent is not sent again by the chip that is restored; what was held back shows. */
static void test_edges_in_state(void **state)
{
	struct kvm_irqchip s = {.chip_id = KVM_IRQCHIP_IOAPIC};

	machine(1);
	enable_all();
	set_rte(16, 0x61);
	line(16, true); /* goes out */
	line(17, true); /* masked */
	assert_int_equal(irqchip_get(&vm, &s), 0);
	assert_int_equal(s.chip.ioapic.irr, 1 << 17);
	line(16, false);
	set_rte(16, 0x61 | RTE_M);
	line(16, true);
	assert_int_equal(irqchip_get(&vm, &s), 0);
	assert_int_equal(s.chip.ioapic.irr, 3 << 16);
}

static void test_fuzz(void **state)
{
	machine(2);
	enable_all();
	for (u32 i = 0; i < 200000; i++) {
		u64 r = random64();
		u64 value;
		int result;

		switch (r % 5) {
		case 0:
			bus_write(&vm.mmio, &vcpus[0], IO_APIC + (r >> 8) % 0x100,
				  1u << (r >> 20) % 4, random64(), &result);
			break;
		case 1:
			ioapic_put((r >> 8) & 0xff, (u32)(r >> 16));
			break;
		case 2:
			bus_read(&vm.mmio, &vcpus[0], IO_APIC + (r >> 8) % 0x100,
				 1u << (r >> 20) % 4, &value, &result);
			break;
		case 3:
			irqchip_set_irq(&vm, (r >> 8) % 5000, r & 0x100000, (r >> 24) % 3);
			break;
		default:
			acknowledge((r >> 8) & 1);
			eoi((r >> 9) & 1);
			break;
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reset_values),
		cmocka_unit_test(test_writable_bits),
		cmocka_unit_test(test_every_ioregsel),
		cmocka_unit_test(test_page_sizes_and_holes),
		cmocka_unit_test(test_edge),
		cmocka_unit_test(test_edge_while_masked_is_lost),
		cmocka_unit_test(test_level_remote_irr),
		cmocka_unit_test(test_level_masked_pending_fires_at_unmask),
		cmocka_unit_test(test_remote_irr_is_read_only),
		cmocka_unit_test(test_refused_delivery_keeps_no_remote_irr),
		cmocka_unit_test(test_eoi_register),
		cmocka_unit_test(test_shared_line_is_ored),
		cmocka_unit_test(test_destinations_and_modes),
		cmocka_unit_test(test_two_pins_one_vector),
		cmocka_unit_test(test_eoi_of_others_takes_no_lock),
		cmocka_unit_test(test_state_round_trip),
		cmocka_unit_test(test_state_pending_is_sent),
		cmocka_unit_test(test_state_is_sanitised),
		cmocka_unit_test(test_edges_in_state),
		cmocka_unit_test(test_fuzz),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
