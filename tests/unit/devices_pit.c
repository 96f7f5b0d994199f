/* SPDX-License-Identifier: MIT */
/* The PIT: counting modes, latches, gate and speaker, ticks and their re-injection, state. */
#include <pthread.h>

#include "tests/unit/devices_machine.h"

#define HZ 1193181ull

static void start(void)
{
	struct kvm_pit_config config = {.flags = KVM_PIT_SPEAKER_DUMMY};

	machine(2);
	assert_int_equal(pit_create(&vm, &config), 0);
}

/* Moves time on by `clocks` of the PIT's input, to just after the last one. */
static void clocks(u64 count)
{
	fake_tsc += count * KHZ * 1000ull / HZ + 1;
}

static void program(u32 channel, u32 mode, u32 count)
{
	port_out(0x43, (u8)(channel << 6 | 0x30 | mode << 1));
	port_out((u16)(0x40 + channel), (u8)count);
	port_out((u16)(0x40 + channel), (u8)(count >> 8));
}

static u32 read_count(u32 channel)
{
	u32 low;

	port_out(0x43, (u8)(channel << 6));
	low = port_in((u16)(0x40 + channel));
	return low | (u32)port_in((u16)(0x40 + channel)) << 8;
}

static bool out(u32 channel)
{
	port_out(0x43, (u8)(0xe0 | 2u << channel)); /* read-back: status */
	return port_in((u16)(0x40 + channel)) & 0x80;
}

static void test_create(void **state)
{
	struct kvm_pit_config config = {0};
	struct kvm_pit_state2 s;
	u64 value;
	int result;

	machine_vm();
	assert_int_equal(pit_create(&vm, &config), -ENOENT);
	assert_int_equal(pit_get(&vm, &s), -ENXIO);
	assert_int_equal(irqchip_create_split(&vm, 24), 0);
	assert_int_equal(pit_create(&vm, &config), -ENOENT);
	machine(1);
	memset(&s, 0, sizeof(s));
	assert_int_equal(pit_get(&vm, &s), -ENXIO);
	assert_int_equal(pit_set(&vm, &s), -ENXIO);
	assert_int_equal(pit_reinject(&vm, true), -ENXIO);
	assert_int_equal(timers(0), NO_DEADLINE);
	assert_int_equal(pit_create(&vm, &config), 0);
	assert_int_equal(pit_create(&vm, &config), -EEXIST);
	/* Without the flag port 61h is the VMM's. */
	assert_false(bus_read(&vm.ports, &vcpus[0], 0x61, 1, &value, &result));
}

static void test_reset_state(void **state)
{
	struct kvm_pit_state2 s;

	start();
	memset(&s, 0xaa, sizeof(s));
	assert_int_equal(pit_get(&vm, &s), 0);
	for (u32 i = 0; i < 3; i++) {
		assert_int_equal(s.channels[i].count, 0x10000);
		assert_int_equal(s.channels[i].mode, 0xff);
		assert_int_equal(s.channels[i].gate, i != 2);
		assert_int_equal(s.channels[i].count_load_time, fake_tsc / TICKS);
	}
	assert_int_equal(s.flags, 0);
	for (u32 i = 0; i < 9; i++)
		assert_int_equal(s.reserved[i], 0);
	assert_int_equal(timers(0), NO_DEADLINE); /* no ticks before a mode is set */
	assert_int_equal(port_in(0x43), 0);
}

static void test_counting(void **state)
{
	static const u32 counts[] = {2, 3, 100, 1001, 0x8000, 0xffff, 0};

	for (u32 mode = 0; mode < 6; mode++) {
		for (u32 i = 0; i < ARRAY_SIZE(counts); i++) {
			u32 n = counts[i] ? counts[i] : 0x10000;

			start();
			program(2, mode, counts[i]);
			assert_int_equal(read_count(2), counts[i]);
			for (u32 d = 0, step; d < 3 * n; d += step) {
				u32 expected;

				fake_tsc = 1000000;
				clocks(d);
				switch (mode) {
				case 2:
					expected = n - d % n;
					break;
				case 3:
					expected = n - 2 * (d % n) % n;
					break;
				default:
					expected = n - d;
					break;
				}
				assert_int_equal(read_count(2), expected & 0xffff);
				step = 1 + n / 37;
			}
		}
	}
}

static void test_output(void **state)
{
	for (u32 mode = 0; mode < 6; mode++) {
		start();
		program(2, mode, 10);
		for (u32 d = 0; d < 40; d++) {
			bool expected;

			fake_tsc = 1000000;
			clocks(d);
			switch (mode) {
			case 0:
			case 1:
				expected = d >= 10;
				break;
			case 2:
				expected = d % 10 != 9;
				break;
			case 3:
				expected = d % 10 < 5;
				break;
			default:
				expected = d != 10;
				break;
			}
			assert_int_equal(out(2), expected);
			assert_int_equal((port_in(0x61) >> 5) & 1, expected);
		}
	}
}

static void test_modes_6_and_7(void **state)
{
	struct kvm_pit_state2 s;

	start();
	port_out(0x43, 0x3c);
	port_out(0x43, 0x7e);
	assert_int_equal(pit_get(&vm, &s), 0);
	assert_int_equal(s.channels[0].mode, 2);
	assert_int_equal(s.channels[1].mode, 3);
}

static void test_access_modes(void **state)
{
	start();
	port_out(0x43, 0x94); /* channel 2, low byte, mode 2 */
	port_out(0x42, 0x50);
	assert_int_equal(port_in(0x42), 0x50);
	assert_int_equal(port_in(0x42), 0x50);
	port_out(0x43, 0xa4); /* high byte */
	port_out(0x42, 0x50);
	assert_int_equal(port_in(0x42), 0x50);
	port_out(0x43, 0x80); /* latch: one byte only, the high one */
	assert_int_equal(port_in(0x42), 0x50);
	port_out(0x43, 0xb4); /* both */
	port_out(0x42, 0x34);
	port_out(0x42, 0x12);
	assert_int_equal(port_in(0x42), 0x34);
	assert_int_equal(port_in(0x42), 0x12);
	assert_int_equal(port_in(0x42), 0x34);
}

static void test_latch_holds(void **state)
{
	start();
	program(2, 2, 1000);
	clocks(100);
	port_out(0x43, 0x80);
	clocks(100);
	port_out(0x43, 0x80); /* ignored until the first is read */
	clocks(100);
	assert_int_equal(port_in(0x42), 900 & 0xff);
	assert_int_equal(port_in(0x42), 900 >> 8);
	assert_int_equal(read_count(2), 1000 - 302 + 2); /* counting went on */
}

static void test_read_back(void **state)
{
	start();
	program(0, 2, 500);
	program(2, 3, 700);
	clocks(10);
	port_out(0x43, 0xc0 | 0x02 | 0x08); /* count and status of 0 and 2 */
	clocks(10);
	port_out(0x43, 0xc0 | 0x02 | 0x08);    /* nothing new until read */
	assert_int_equal(port_in(0x40), 0xb4); /* status first: out, both bytes, mode 2 */
	assert_int_equal(port_in(0x40), 490 & 0xff);
	assert_int_equal(port_in(0x40), 490 >> 8);
	assert_int_equal(port_in(0x42), 0xb6);
	assert_int_equal(port_in(0x42), 680 & 0xff);
	assert_int_equal(port_in(0x42), 680 >> 8);
	port_out(0x43, 0xf0);	     /* neither */
	port_out(0x43, 0xd0 | 0x02); /* the count alone */
	clocks(100);
	assert_int_equal(port_in(0x40), 480 & 0xff);
}

static void test_gate_and_speaker(void **state)
{
	struct kvm_pit_state2 s;

	start();
	assert_int_equal(port_in(0x61) & 3, 0);
	program(2, 2, 1000);
	clocks(300);
	port_out(0x61, 3);
	assert_int_equal(port_in(0x61) & 3, 3);
	assert_int_equal(read_count(2), 1000); /* the rising gate restarts mode 2 */
	clocks(300);
	port_out(0x61, 1); /* no edge */
	assert_int_equal(read_count(2), 700);
	assert_int_equal(port_in(0x61) & 3, 1);
	program(2, 0, 1000);
	clocks(300);
	port_out(0x61, 0);
	port_out(0x61, 1);
	assert_int_equal(read_count(2), 700); /* mode 0 is not restarted */
	for (u32 mode = 1; mode < 6; mode++) {
		program(2, mode, 1000);
		clocks(300);
		port_out(0x61, 0);
		port_out(0x61, 1);
		assert_int_equal(read_count(2), mode == 4 ? 700 : 1000);
	}
	port_out(0x61, 2);
	pit_get(&vm, &s);
	assert_int_equal(s.flags, KVM_PIT_FLAGS_SPEAKER_DATA_ON);
	assert_int_equal(s.channels[2].gate, 0);
}

static void test_refresh_bit_toggles(void **state)
{
	u32 seen = 0;

	start();
	for (u32 i = 0; i < 100; i++) {
		fake_tsc += 8192 * TICKS;
		seen |= 1u << ((port_in(0x61) >> 4) & 1);
	}
	assert_int_equal(seen, 3);
}

/* Linux's calibration: channel 2 in mode 0, gate on, wait for OUT. */
static void test_calibration(void **state)
{
	u64 begin;

	start();
	port_out(0x61, 1);
	program(2, 0, 59659); /* 50 ms */
	begin = fake_tsc;
	while (!(port_in(0x61) & 0x20))
		fake_tsc += 2000;
	assert_in_range(fake_tsc - begin, 99990000, 100010000);
}

static void test_wide_accesses(void **state)
{
	u64 value = 0;
	int result = 1;

	start();
	program(2, 2, 1000);
	assert_true(bus_write(&vm.ports, &vcpus[0], 0x42, 2, 0x1111, &result));
	assert_true(bus_read(&vm.ports, &vcpus[0], 0x40, 4, &value, &result));
	assert_int_equal(value, ~0ull);
	assert_int_equal(read_count(2), 1000);
}

/* ---- ticks ----------------------------------------------------------------------------------- */

/* A guest that takes IRQ 0 by the 8259, vector 8. */
static void pic_guest(void)
{
	start();
	port_out(0x20, 0x11);
	port_out(0x21, 0x08);
	port_out(0x21, 4);
	port_out(0x21, 1);
	port_out(0x21, 0);
}

static u32 take_all(void)
{
	u32 taken = 0;

	while (acknowledge(0) == 8) {
		taken++;
		port_out(0x20, 0x20);
	}
	return taken;
}

#define PERIOD (11932ull * KHZ * 1000 / HZ)

static void test_periodic_ticks(void **state)
{
	u64 begin;

	for (u32 mode = 2; mode < 4; mode++) {
		pic_guest();
		vcpus[0].request = 0;
		program(0, mode, 11932); /* 100 Hz */
		begin = fake_tsc;
		assert_true(vcpus[0].request & REQUEST_TIMER);
		assert_int_equal(timers(0), begin + PERIOD);
		assert_int_equal(timers(1), NO_DEADLINE); /* vCPU 0 keeps the VM's timers */
		assert_int_equal(take_all(), 0);
		for (u64 i = 1; i < 20; i++) {
			fake_tsc = begin + i * PERIOD;
			assert_int_equal(timers(0), begin + (i + 1) * PERIOD);
			assert_int_equal(take_all(), 1);
		}
	}
}

static void test_one_shot(void **state)
{
	for (u32 mode = 0; mode < 6; mode++) {
		pic_guest();
		program(0, mode, 11932);
		if (mode == 1 || mode == 5) { /* they wait for a gate that is always high */
			assert_int_equal(timers(0), NO_DEADLINE);
			continue;
		}
		if (mode == 2 || mode == 3)
			continue;
		assert_int_equal(timers(0), fake_tsc + PERIOD);
		fake_tsc += PERIOD;
		assert_int_equal(timers(0), NO_DEADLINE);
		assert_int_equal(take_all(), 1);
	}
}

static void test_zero_is_65536(void **state)
{
	pic_guest();
	program(0, 2, 0);
	assert_int_equal(timers(0), fake_tsc + 65536ull * KHZ * 1000 / HZ);
}

static void test_shortest_period(void **state)
{
	pic_guest();
	for (u32 count = 1; count < 10; count++) {
		program(0, 2, count);
		assert_int_equal(timers(0), fake_tsc + 200000 * TICKS);
	}
	program(0, 0, 1); /* one tick only: as asked */
	assert_true(timers(0) <= fake_tsc + 2000 * TICKS);
}

static void test_without_tsc_frequency(void **state)
{
	vm.tsc_khz = 0;
	pic_guest();
	vm.tsc_khz = 0;
	program(0, 2, 1);
	assert_true(timers(0) > fake_tsc);
	fake_tsc += 1000;
	timers(0);
	read_count(0);
	out(0);
}

static void test_missed_ticks_come_later(void **state)
{
	pic_guest();
	program(0, 2, 11932);
	fake_tsc += 5 * PERIOD + 100; /* vCPU 0 was away */
	timers(0);
	assert_int_equal(take_all(), 5);
	assert_int_equal(take_all(), 0);
	/* Ticks while one is in service. */
	fake_tsc += PERIOD;
	timers(0);
	assert_int_equal(acknowledge(0), 8);
	fake_tsc += 2 * PERIOD;
	timers(0);
	assert_int_equal(pending(0), -1);
	port_out(0x20, 0x20);
	assert_int_equal(take_all(), 2);
}

static void test_no_reinjection(void **state)
{
	pic_guest();
	assert_int_equal(pit_reinject(&vm, false), 0);
	program(0, 2, 11932);
	fake_tsc += 5 * PERIOD + 100;
	timers(0);
	assert_int_equal(take_all(), 1);
	/* Turned on again: what was missed stays missed. */
	fake_tsc += 3 * PERIOD;
	timers(0);
	assert_int_equal(pit_reinject(&vm, true), 0);
	assert_int_equal(pit_reinject(&vm, true), 0);
	assert_int_equal(take_all(), 1);
	fake_tsc += 2 * PERIOD;
	timers(0);
	assert_int_equal(take_all(), 2);
}

static void test_unmask_forgets(void **state)
{
	pic_guest();
	port_out(0x21, 1);
	program(0, 2, 11932);
	fake_tsc += 50 * PERIOD;
	timers(0);
	port_out(0x21, 0);
	assert_int_equal(take_all(), 1); /* the 8259 kept one edge, and no more follow */
	fake_tsc += PERIOD;
	timers(0);
	assert_int_equal(take_all(), 1);
}

static void test_other_masks_and_switches_keep_ticks(void **state)
{
	pic_guest();
	program(0, 2, 11932);
	fake_tsc += 4 * PERIOD;
	timers(0);
	port_out(0x21, 0x80);
	port_out(0x21, 0); /* opens IRQ 7 */
	assert_int_equal(pit_reinject(&vm, true), 0);
	assert_int_equal(take_all(), 4);
}

static void test_pending_is_bounded(void **state)
{
	pic_guest();
	program(0, 2, 1);
	fake_tsc += 1ull << 50;
	timers(0);
	assert_true(((struct irqchip *)vm.devices)->pit.pending <= 0xffff);
	assert_true(timers(0) > fake_tsc);
}

static void test_ticks_by_ioapic(void **state)
{
	struct kvm_irq_routing_entry e = {.gsi = 0, .type = KVM_IRQ_ROUTING_IRQCHIP};

	start();
	e.u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC;
	e.u.irqchip.pin = 2; /* as every VMM wires it */
	assert_int_equal(irqchip_set_routing(&vm, &e, 1), 0);
	enable_all();
	set_reg(0, LAPIC_LVT_LINT0, 0x10000);
	set_rte(2, 0x30);
	program(0, 2, 11932);
	fake_tsc += 3 * PERIOD + 10;
	timers(0);
	for (u32 i = 0; i < 3; i++) { /* the EOI brings the next */
		assert_int_equal(acknowledge(0), 0x30);
		assert_int_equal(acknowledge(0), -1);
		set_reg(0, LAPIC_EOI, 0);
	}
	assert_int_equal(acknowledge(0), -1);
	/* Masked meanwhile: unmasking starts afresh. */
	set_rte(2, 0x30 | RTE_M);
	fake_tsc += 5 * PERIOD;
	timers(0);
	set_rte(2, 0x30);
	fake_tsc += PERIOD;
	timers(0);
	assert_int_equal(acknowledge(0), 0x30);
	set_reg(0, LAPIC_EOI, 0);
	assert_int_equal(acknowledge(0), -1);
}

static void test_nmi_watchdog(void **state)
{
	pic_guest();
	enable_all();
	set_reg(1, LAPIC_LVT_LINT0, 0x400);
	program(0, 2, 11932);
	fake_tsc += PERIOD;
	timers(0);
	assert_int_equal(nmis[1], 1);
	assert_int_equal(nmis[0], 0);
}

/* ---- KVM_GET_PIT2, KVM_SET_PIT2 -------------------------------------------------------------- */

static void test_state_round_trip(void **state)
{
	struct kvm_pit_state2 s, again;

	pic_guest();
	program(0, 2, 11932);
	program(2, 3, 0x1234);
	port_out(0x61, 3);
	pit_get(&vm, &s);
	pic_guest();
	assert_int_equal(pit_set(&vm, &s), 0);
	pit_get(&vm, &again);
	assert_memory_equal(&s, &again, sizeof(s));
	assert_int_equal(timers(0), fake_tsc + PERIOD);
}

static void test_state_hpet_legacy(void **state)
{
	struct kvm_pit_state2 s;

	pic_guest();
	program(0, 2, 11932);
	pit_get(&vm, &s);
	s.flags = KVM_PIT_FLAGS_HPET_LEGACY;
	assert_int_equal(pit_set(&vm, &s), 0);
	assert_int_equal(timers(0), NO_DEADLINE);
	program(0, 2, 11932);
	assert_int_equal(timers(0), NO_DEADLINE);
	pit_get(&vm, &s);
	assert_int_equal(s.flags, KVM_PIT_FLAGS_HPET_LEGACY);
	s.flags = 0;
	assert_int_equal(pit_set(&vm, &s), 0);
	assert_int_equal(timers(0), fake_tsc + PERIOD);
}

/* CVE-2015-7513: a count of 0 must not divide. */
static void test_state_count_zero(void **state)
{
	struct kvm_pit_state2 s;

	for (u32 mode = 0; mode < 6; mode++) {
		pic_guest();
		pit_get(&vm, &s);
		for (u32 i = 0; i < 3; i++) {
			s.channels[i].count = 0;
			s.channels[i].mode = (u8)mode;
		}
		assert_int_equal(pit_set(&vm, &s), 0);
		for (u32 i = 0; i < 3; i++) {
			out(i);
			assert_int_equal(read_count(i), 0);
		}
		clocks(5);
		pit_get(&vm, &s);
		assert_int_equal(s.channels[0].count, 0x10000);
	}
}

static void test_state_invalid(void **state)
{
	start();
	for (u32 channel = 0; channel < 3; channel++) {
		for (u32 field = 0; field < 9; field++) {
			struct kvm_pit_state2 s;
			struct kvm_pit_channel_state *c = &s.channels[channel];

			pit_get(&vm, &s);
			switch (field) {
			case 0:
				c->count = 0x10001;
				break;
			case 1:
				c->mode = 6;
				break;
			case 2:
				c->rw_mode = 4;
				break;
			case 3:
				c->read_state = 5;
				break;
			case 4:
				c->write_state = 5;
				break;
			case 5:
				c->count_latched = 4;
				break;
			case 6:
				c->bcd = 2;
				break;
			case 7:
				c->gate = 2;
				break;
			default:
				c->count = 0x10000;
				break;
			}
			assert_int_equal(pit_set(&vm, &s), field < 8 ? -EINVAL : 0);
		}
	}
}

static bool setter_stops;

/* The counts of three channels are one, then another. */
static void *set_state(void *argument)
{
	struct kvm_pit_state2 *s = argument;

	for (u32 i = 0; !__atomic_load_n(&setter_stops, __ATOMIC_RELAXED); i++) {
		for (u32 channel = 0; channel < 3; channel++)
			s->channels[channel].count = i % 2 ? 0x1111 : 0x2222;
		pit_set(&vm, s);
	}
	return NULL;
}

static void test_state_while_another_cpu_sets_it(void **state)
{
	struct kvm_pit_state2 s, seen;
	pthread_t setter;
	u32 mixed = 0, both = 0;

	start();
	pit_get(&vm, &s);
	for (u32 channel = 0; channel < 3; channel++)
		s.channels[channel].count = 0x2222;
	assert_int_equal(pit_set(&vm, &s), 0);
	pthread_create(&setter, NULL, set_state, &s);
	for (u32 i = 0; i < 10000000 && (i < 100000 || both != 3); i++) {
		pit_get(&vm, &seen);
		both |= seen.channels[0].count == 0x1111 ? 1 : 2;
		mixed += seen.channels[1].count != seen.channels[0].count ||
			 seen.channels[2].count != seen.channels[0].count;
	}
	__atomic_store_n(&setter_stops, true, __ATOMIC_RELAXED);
	pthread_join(setter, NULL);
	assert_int_equal(both, 3);
	assert_int_equal(mixed, 0);
}

static void test_fuzz(void **state)
{
	static const u16 ports[] = {0x40, 0x41, 0x42, 0x43, 0x43, 0x61, 0x20, 0x21};

	pic_guest();
	for (u32 i = 0; i < 300000; i++) {
		u64 r = random64();

		fake_tsc += r >> 48;
		switch (r % 4) {
		case 0:
		case 1:
			port_out(ports[(r >> 8) % 8], (u8)(r >> 16));
			break;
		case 2:
			port_in(ports[(r >> 8) % 8]);
			break;
		default:
			assert_true(timers(0) > fake_tsc);
			acknowledge(0);
			break;
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_create),
		cmocka_unit_test(test_reset_state),
		cmocka_unit_test(test_counting),
		cmocka_unit_test(test_output),
		cmocka_unit_test(test_modes_6_and_7),
		cmocka_unit_test(test_access_modes),
		cmocka_unit_test(test_latch_holds),
		cmocka_unit_test(test_read_back),
		cmocka_unit_test(test_gate_and_speaker),
		cmocka_unit_test(test_refresh_bit_toggles),
		cmocka_unit_test(test_calibration),
		cmocka_unit_test(test_wide_accesses),
		cmocka_unit_test(test_periodic_ticks),
		cmocka_unit_test(test_one_shot),
		cmocka_unit_test(test_zero_is_65536),
		cmocka_unit_test(test_shortest_period),
		cmocka_unit_test(test_without_tsc_frequency),
		cmocka_unit_test(test_missed_ticks_come_later),
		cmocka_unit_test(test_no_reinjection),
		cmocka_unit_test(test_unmask_forgets),
		cmocka_unit_test(test_other_masks_and_switches_keep_ticks),
		cmocka_unit_test(test_pending_is_bounded),
		cmocka_unit_test(test_ticks_by_ioapic),
		cmocka_unit_test(test_nmi_watchdog),
		cmocka_unit_test(test_state_round_trip),
		cmocka_unit_test(test_state_hpet_legacy),
		cmocka_unit_test(test_state_count_zero),
		cmocka_unit_test(test_state_invalid),
		cmocka_unit_test(test_state_while_another_cpu_sets_it),
		cmocka_unit_test(test_fuzz),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
