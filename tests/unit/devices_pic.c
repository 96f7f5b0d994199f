/* SPDX-License-Identifier: MIT */
/* The 8259 pair: initialisation, priorities, modes, ELCR, state, and its way to the CPU. */
#include "tests/unit/devices_machine.h"

enum { MASTER = 0x20, SLAVE = 0xa0 };

/* As firmware does: vectors from 8 and 70h. */
static void program(u8 icw4)
{
	port_out(MASTER, 0x11);
	port_out(SLAVE, 0x11);
	port_out(MASTER + 1, 0x08);
	port_out(SLAVE + 1, 0x70);
	port_out(MASTER + 1, 4);
	port_out(SLAVE + 1, 2);
	port_out(MASTER + 1, icw4);
	port_out(SLAVE + 1, icw4);
	port_out(MASTER + 1, 0);
	port_out(SLAVE + 1, 0);
}

/* GSI 2 is the cascade. The IOAPIC is masked. */
static int line(u32 pin, bool level)
{
	return irqchip_set_irq(&vm, pin, level, IRQ_SOURCE_USER);
}

static void pulse(u32 pin)
{
	line(pin, true);
	line(pin, false);
}

static u8 irr(u16 port)
{
	port_out(port, 0x0a);
	return port_in(port);
}

static u8 isr(u16 port)
{
	port_out(port, 0x0b);
	return port_in(port);
}

static void start(u8 icw4)
{
	machine(1);
	program(icw4);
}

static void test_reset(void **state)
{
	machine(1);
	assert_int_equal(port_in(MASTER), 0);
	assert_int_equal(port_in(MASTER + 1), 0);
	assert_int_equal(port_in(SLAVE), 0);
	assert_int_equal(port_in(SLAVE + 1), 0);
	assert_int_equal(port_in(0x4d0), 0);
	assert_int_equal(port_in(0x4d1), 0);
	assert_int_equal(pending(0), -1);
}

static void test_vectors(void **state)
{
	for (u32 pin = 0; pin < 16; pin++) {
		if (pin == 2)
			continue;
		start(1);
		pulse(pin);
		assert_int_equal(pending(0), pin < 8 ? 8 + pin : 0x70 + pin - 8);
		assert_int_equal(acknowledge(0), pin < 8 ? 8 + pin : 0x70 + pin - 8);
		assert_int_equal(isr(MASTER), pin < 8 ? 1 << pin : 4);
		assert_int_equal(isr(SLAVE), pin < 8 ? 0 : 1 << (pin - 8));
		assert_int_equal(acknowledge(0), -1);
		if (pin >= 8)
			port_out(SLAVE, 0x20);
		port_out(MASTER, 0x20);
		assert_int_equal(isr(MASTER) | isr(SLAVE), 0);
	}
}

static void test_mask(void **state)
{
	start(1);
	for (u32 pin = 0; pin < 8; pin++) {
		port_out(MASTER + 1, 1 << pin);
		assert_int_equal(port_in(MASTER + 1), 1 << pin);
		if (pin == 2)
			continue;
		assert_int_equal(line(pin, true), -1);
		assert_int_equal(pending(0), -1);
		assert_true(irr(MASTER) & (1 << pin));
		port_out(MASTER + 1, 0);
		assert_int_equal(acknowledge(0), 8 + pin);
		port_out(MASTER, 0x20);
		line(pin, false);
	}
	port_out(MASTER + 1, 4); /* the cascade */
	pulse(12);
	assert_int_equal(pending(0), -1);
	port_out(MASTER + 1, 0);
	assert_int_equal(acknowledge(0), 0x74);
}

static void test_line_status(void **state)
{
	start(1);
	/* GSI 3's IOAPIC pin is masked, so the 8259's answer counts. */
	assert_int_equal(line(3, true), 1);
	assert_int_equal(line(3, true), 0);
	line(3, false);
	/* Edge again before the acknowledge: coalesced. (The IOAPIC's lowering counts 1.) */
	assert_int_equal(line(3, true), 0);
}

static void test_fully_nested(void **state)
{
	start(1);
	pulse(5);
	assert_int_equal(acknowledge(0), 8 + 5);
	pulse(6);
	assert_int_equal(pending(0), -1);
	pulse(5); /* the same level waits */
	assert_int_equal(pending(0), -1);
	pulse(3);
	assert_int_equal(acknowledge(0), 8 + 3);
	pulse(10); /* the slave is IRQ 2: above 3 */
	assert_int_equal(acknowledge(0), 0x72);
	pulse(9);
	assert_int_equal(pending(0), -1); /* the cascade is in service */
	port_out(SLAVE, 0x20);
	port_out(MASTER, 0x20); /* ends 2 */
	assert_int_equal(acknowledge(0), 0x71);
	port_out(SLAVE, 0x20);
	port_out(MASTER, 0x20);
	port_out(MASTER, 0x20); /* 3 */
	port_out(MASTER, 0x20); /* 5 */
	assert_int_equal(acknowledge(0), 8 + 5);
	port_out(MASTER, 0x20);
	assert_int_equal(acknowledge(0), 8 + 6);
}

static void test_special_fully_nested(void **state)
{
	start(0x11);
	pulse(12);
	assert_int_equal(acknowledge(0), 0x74);
	pulse(9); /* above 12 within the slave */
	assert_int_equal(acknowledge(0), 0x71);
	pulse(13);
	assert_int_equal(pending(0), -1);
}

static void test_specific_eoi(void **state)
{
	start(1);
	pulse(5);
	acknowledge(0);
	pulse(3);
	acknowledge(0);
	port_out(MASTER, 0x65); /* ends 5, not 3 */
	assert_int_equal(isr(MASTER), 1 << 3);
	port_out(MASTER, 0x65); /* nothing there */
	assert_int_equal(isr(MASTER), 1 << 3);
	port_out(MASTER, 0x20);
	port_out(MASTER, 0x20); /* nothing in service */
	assert_int_equal(isr(MASTER), 0);
	port_out(MASTER, 0x40); /* no operation */
}

static void test_rotation(void **state)
{
	start(1);
	port_out(MASTER, 0xc3); /* set priority: 3 is lowest, 4 highest */
	pulse(0);
	pulse(4);
	assert_int_equal(acknowledge(0), 8 + 4);
	port_out(MASTER, 0xa0); /* rotate on non-specific EOI: 4 lowest */
	pulse(4);
	pulse(5);
	assert_int_equal(acknowledge(0), 8 + 5);
	port_out(MASTER, 0xe5); /* rotate on specific EOI: 5 lowest */
	pulse(5);
	assert_int_equal(acknowledge(0), 8 + 0);
	port_out(MASTER, 0x20);
	assert_int_equal(acknowledge(0), 8 + 4);
	port_out(MASTER, 0x20);
	assert_int_equal(acknowledge(0), 8 + 5);
}

static void test_auto_eoi(void **state)
{
	start(3);
	pulse(5);
	assert_int_equal(acknowledge(0), 8 + 5);
	assert_int_equal(isr(MASTER), 0);
	port_out(MASTER, 0x80); /* rotate in automatic EOI mode */
	pulse(6);
	assert_int_equal(acknowledge(0), 8 + 6);
	pulse(6);
	pulse(7);
	assert_int_equal(acknowledge(0), 8 + 7); /* 6 is lowest now */
	port_out(MASTER, 0x00);
	assert_int_equal(acknowledge(0), 8 + 6);
	pulse(12);
	assert_int_equal(acknowledge(0), 0x74);
	assert_int_equal(isr(SLAVE), 0);
}

static void test_special_mask(void **state)
{
	start(1);
	pulse(3);
	acknowledge(0);
	pulse(6);
	assert_int_equal(pending(0), -1);
	port_out(MASTER + 1, 1 << 3);
	assert_int_equal(pending(0), -1);
	port_out(MASTER, 0x68); /* special mask mode on */
	assert_int_equal(acknowledge(0), 8 + 6);
	port_out(MASTER, 0x20); /* ends 6: 3 is masked */
	assert_int_equal(isr(MASTER), 1 << 3);
	port_out(MASTER, 0x48); /* off */
	pulse(6);
	assert_int_equal(pending(0), -1);
}

static void test_poll(void **state)
{
	start(1);
	port_out(MASTER, 0x0c);
	assert_int_equal(port_in(MASTER), 0);
	pulse(4);
	port_out(MASTER, 0x0c);
	assert_int_equal(port_in(MASTER), 0x84);
	assert_int_equal(isr(MASTER), 1 << 4);
	assert_int_equal(pending(0), -1);
	port_out(MASTER, 0x20);
	pulse(11);
	port_out(MASTER, 0x0c);
	assert_int_equal(port_in(MASTER + 1), 0x82); /* either port */
	port_out(SLAVE, 0x0c);
	assert_int_equal(port_in(SLAVE), 0x83);
	assert_int_equal(isr(SLAVE), 1 << 3);
}

static void test_icw1_resets(void **state)
{
	start(0x13);
	port_out(MASTER + 1, 0x55);
	line(3, true);
	port_out(MASTER, 0x10); /* no ICW4 follows */
	port_out(MASTER + 1, 0x47);
	port_out(MASTER + 1, 4);
	assert_int_equal(port_in(MASTER + 1), 0); /* IMR */
	assert_int_equal(irr(MASTER), 0);
	line(3, true); /* the line never fell, but the edge detector was reset */
	assert_int_equal(acknowledge(0), 0x40 + 3);
	assert_int_equal(isr(MASTER), 1 << 3); /* no automatic EOI any more */
	port_out(MASTER, 0x11);
	assert_int_equal(isr(MASTER), 0);
}

static void test_level_triggered(void **state)
{
	start(1);
	port_out(0x4d0, 0xff);
	port_out(0x4d1, 0xff);
	assert_int_equal(port_in(0x4d0), 0xf8);
	assert_int_equal(port_in(0x4d1), 0xde);
	line(5, true);
	assert_int_equal(acknowledge(0), 8 + 5);
	port_out(MASTER, 0x20);
	assert_int_equal(acknowledge(0), 8 + 5); /* still up */
	line(5, false);
	port_out(MASTER, 0x20);
	assert_int_equal(pending(0), -1);
	line(11, true);
	line(11, false); /* gone before the acknowledge */
	assert_int_equal(pending(0), -1);
	assert_int_equal(acknowledge(0), -1);
	assert_int_equal(irr(MASTER), 0);
}

static void test_lines_are_ored(void **state)
{
	start(1);
	port_out(0x4d0, 0x20);
	irqchip_set_irq(&vm, 5, true, IRQ_SOURCE_USER);
	irqchip_set_irq(&vm, 5, true, IRQ_SOURCE_RESAMPLE);
	irqchip_set_irq(&vm, 5, false, IRQ_SOURCE_USER);
	assert_int_equal(pending(0), 8 + 5);
	irqchip_set_irq(&vm, 5, false, IRQ_SOURCE_RESAMPLE);
	assert_int_equal(pending(0), -1);
}

static void test_kicks_who_listens(void **state)
{
	machine(3);
	program(1);
	enable_all();
	set_reg(2, LAPIC_LVT_LINT0, 0x700);
	memset(kicks, 0, sizeof(kicks));
	line(5, true);
	assert_int_equal(kicks[0], 1);
	assert_int_equal(kicks[1], 0);
	assert_int_equal(kicks[2], 1);
	assert_int_equal(pending(1), -1);
	assert_int_equal(acknowledge(2), 8 + 5);
	assert_int_equal(acknowledge(0), -1); /* the other was first */
	set_reg(0, LAPIC_LVT_LINT0, 0x10700);
	port_out(MASTER, 0x20);
	line(5, false);
	line(5, true);
	assert_int_equal(pending(0), -1);
}

static void test_before_the_apic(void **state)
{
	struct lapic_message m = {.destination = 0, .vector = 0xf0};

	start(1);
	enable_apic(0);
	lapic_deliver(&vm, &m);
	set_reg(0, LAPIC_TPR, 0xff); /* ExtINT passes by the priorities */
	pulse(7);
	assert_int_equal(acknowledge(0), 8 + 7);
	set_reg(0, LAPIC_TPR, 0);
	assert_int_equal(acknowledge(0), 0xf0);
}

static void test_wide_accesses(void **state)
{
	u64 value = 0;
	int result = 1;

	start(1);
	assert_true(bus_read(&vm.ports, &vcpus[0], MASTER, 2, &value, &result));
	assert_int_equal(value, ~0ull);
	assert_true(bus_read(&vm.ports, &vcpus[0], 0x4d0, 2, &value, &result));
	assert_int_equal(value, ~0ull);
	assert_true(bus_write(&vm.ports, &vcpus[0], MASTER, 2, 0xffff, &result));
	assert_true(bus_write(&vm.ports, &vcpus[0], 0x4d0, 2, 0xffff, &result));
	assert_int_equal(port_in(MASTER + 1), 0);
	assert_int_equal(port_in(0x4d0), 0);
}

static void test_state_round_trip(void **state)
{
	struct kvm_irqchip s[2] = {{.chip_id = 0}, {.chip_id = 1}},
			   again[2] = {{0}, {.chip_id = 1}};

	start(1);
	port_out(0x4d0, 0x20);
	port_out(MASTER + 1, 0x80);
	pulse(12);
	acknowledge(0);
	pulse(9);
	pulse(1);
	for (u32 i = 0; i < 2; i++)
		assert_int_equal(irqchip_get(&vm, &s[i]), 0);
	assert_int_equal(s[0].chip.pic.elcr, 0x20);
	assert_int_equal(s[0].chip.pic.elcr_mask, 0xf8);
	assert_int_equal(s[0].chip.pic.imr, 0x80);
	assert_int_equal(s[0].chip.pic.irq_base, 8);
	assert_int_equal(s[1].chip.pic.isr, 1 << 4);
	machine(1);
	for (u32 i = 0; i < 2; i++)
		assert_int_equal(irqchip_set(&vm, &s[i]), 0);
	for (u32 i = 0; i < 2; i++) {
		assert_int_equal(irqchip_get(&vm, &again[i]), 0);
		assert_memory_equal(&s[i], &again[i], sizeof(s[i]));
	}
	assert_int_equal(acknowledge(0), 8 + 1);
}

static void test_state_is_sanitised(void **state)
{
	struct kvm_irqchip s;

	for (u32 which = 0; which < 2; which++) {
		machine(1);
		memset(&s, 0xff, sizeof(s));
		s.chip_id = which;
		assert_int_equal(irqchip_set(&vm, &s), 0);
		assert_int_equal(irqchip_get(&vm, &s), 0);
		assert_int_equal(s.chip.pic.elcr, which ? 0xde : 0xf8);
		assert_int_equal(s.chip.pic.elcr_mask, which ? 0xde : 0xf8);
		assert_int_equal(s.chip.pic.priority_add, 7);
		assert_int_equal(s.chip.pic.irq_base, 0xf8);
		assert_int_equal(s.chip.pic.init_state, 3);
		assert_int_equal(s.chip.pic.read_reg_select, 1);
		assert_int_equal(s.chip.pic.rotate_on_auto_eoi, 1);
		pending(0);
		acknowledge(0);
	}
}

static void test_fuzz(void **state)
{
	static const u16 ports[] = {0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1};

	machine(2);
	for (u32 i = 0; i < 300000; i++) {
		u64 r = random64();

		switch (r % 4) {
		case 0:
			port_out(ports[(r >> 8) % 6], (u8)(r >> 16));
			break;
		case 1:
			port_in(ports[(r >> 8) % 6]);
			break;
		case 2:
			line((r >> 8) % 16, r & 0x10000);
			break;
		default: {
			int seen = pending(0), vector = acknowledge(0);

			assert_int_equal(seen, vector);
			assert_in_range(vector + 1, 0, 256);
			break;
		}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_mask),
		cmocka_unit_test(test_line_status),
		cmocka_unit_test(test_fully_nested),
		cmocka_unit_test(test_special_fully_nested),
		cmocka_unit_test(test_specific_eoi),
		cmocka_unit_test(test_rotation),
		cmocka_unit_test(test_auto_eoi),
		cmocka_unit_test(test_special_mask),
		cmocka_unit_test(test_poll),
		cmocka_unit_test(test_icw1_resets),
		cmocka_unit_test(test_level_triggered),
		cmocka_unit_test(test_lines_are_ored),
		cmocka_unit_test(test_kicks_who_listens),
		cmocka_unit_test(test_before_the_apic),
		cmocka_unit_test(test_wide_accesses),
		cmocka_unit_test(test_state_round_trip),
		cmocka_unit_test(test_state_is_sanitised),
		cmocka_unit_test(test_fuzz),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
