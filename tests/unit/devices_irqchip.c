/* SPDX-License-Identifier: MIT */
/* The irqchip as a whole: creation, routing, MSIs, lines, and who is asked for what. */
#include "tests/unit/devices_machine.h"

static struct kvm_irq_routing_entry chip_entry(u32 gsi, u32 chip, u32 pin)
{
	struct kvm_irq_routing_entry e = {.gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP};

	e.u.irqchip.irqchip = chip;
	e.u.irqchip.pin = pin;
	return e;
}

static struct kvm_irq_routing_entry msi_entry(u32 gsi, u32 low, u32 data)
{
	struct kvm_irq_routing_entry e = {.gsi = gsi, .type = KVM_IRQ_ROUTING_MSI};

	e.u.msi.address_lo = low;
	e.u.msi.data = data;
	return e;
}

static int line(u32 gsi, u32 level)
{
	return irqchip_set_irq(&vm, gsi, level, IRQ_SOURCE_USER);
}

static void test_create_errors(void **state)
{
	machine_vm();
	assert_false(irqchip_full(&vm));
	assert_int_equal(irqchip_create_split(&vm, 4097), -EINVAL);
	add_vcpu(0, 0);
	assert_int_equal(irqchip_create(&vm), -EINVAL);
	assert_int_equal(irqchip_create_split(&vm, 24), -EINVAL);
	machine(1);
	assert_true(irqchip_full(&vm));
	assert_int_equal(irqchip_create(&vm), -EEXIST);
	assert_int_equal(irqchip_create_split(&vm, 24), -EEXIST);
	machine_vm();
	assert_int_equal(irqchip_create_split(&vm, 4096), 0);
	assert_false(irqchip_full(&vm));
	assert_true(vm.split_irqchip);
}

/* In service, then ended: does the VMM's IOAPIC hear of it? */
static bool eoi_exits(u32 cpu, u8 vector)
{
	assert_int_equal(acknowledge(cpu), vector);
	vcpus[cpu].request = 0;
	set_reg(cpu, LAPIC_EOI, 0);
	if (!(vcpus[cpu].request & REQUEST_EOI))
		return false;
	assert_int_equal(vcpus[cpu].eoi_vector, vector);
	return true;
}

static void test_split_tells_of_eois(void **state)
{
	const u32 level = 0x8000, first = 0xfee00000, second = 0xfee01000;
	struct kvm_irq_routing_entry entries[] = {
		msi_entry(23, first, level | 0x41), msi_entry(4, first, 0x42),
		msi_entry(24, first, level | 0x43), msi_entry(5, second, level | 0x44)};

	machine_vm();
	assert_int_equal(irqchip_create_split(&vm, 24), 0);
	add_vcpu(0, 0);
	add_vcpu(1, 1);
	enable_all();
	assert_int_equal(irqchip_set_routing(&vm, entries, ARRAY_SIZE(entries)), 0);
	for (u32 i = 0; i < ARRAY_SIZE(entries); i++)
		assert_int_equal(line(entries[i].gsi, 1), 1);
	assert_false(eoi_exits(0, 0x43)); /* no pin of the IOAPIC */
	assert_false(eoi_exits(0, 0x42)); /* edge */
	assert_true(eoi_exits(0, 0x41));
	assert_true(eoi_exits(1, 0x44));
	/* The same vector at another vCPU is another interrupt. */
	assert_int_equal(
		irqchip_msi(&vm, &(struct kvm_msi){.address_lo = first, .data = level | 0x44}), 1);
	assert_false(eoi_exits(0, 0x44));
}

static void test_create_without_memory(void **state)
{
	for (u32 pages = 0; pages < 3; pages++) {
		machine_vm();
		while (pool_free_pages(&vm.pool) > pages)
			assert_true(pool_alloc(&vm.pool, 1).v != HPA_NONE.v);
		assert_int_equal(irqchip_create(&vm), -ENOMEM);
		assert_int_equal(pool_free_pages(&vm.pool), pages);
		assert_null(vm.devices);
		assert_null(vm.irqchip);
	}
}

static void test_create_where_a_port_is_taken(void **state)
{
	static const u64 taken[] = {0x20, 0xa0, 0x4d0};

	for (u32 i = 0; i < ARRAY_SIZE(taken); i++) {
		static struct bus_device d;

		machine_vm();
		d = (struct bus_device){.base = taken[i], .length = 1};
		assert_int_equal(bus_add(&vm.ports, &d), 0);
		assert_int_equal(irqchip_create(&vm), -EEXIST);
		assert_null(vm.devices);
	}
	for (u32 i = 0; i < 5; i++) {
		static const u64 address[] = {APIC, MSR_APIC_BASE, MSR_TSC_DEADLINE, 0x800,
					      IO_APIC};
		static struct bus_device d;
		bool msrs = i >= 1 && i <= 3;

		machine_vm();
		d = (struct bus_device){.base = address[i], .length = 1};
		assert_int_equal(bus_add(msrs ? &vm.msrs : &vm.mmio, &d), 0);
		assert_int_equal(irqchip_create(&vm), -EEXIST);
		assert_null(vm.devices);
	}
}

static void test_no_irqchip(void **state)
{
	struct kvm_irqchip s = {.chip_id = 0};
	struct kvm_msi msi = {0};

	machine_vm();
	assert_int_equal(line(0, 1), -1);
	assert_int_equal(irqchip_msi(&vm, &msi), -EINVAL);
	assert_int_equal(irqchip_set_routing(&vm, NULL, 0), -EINVAL);
	assert_int_equal(irqchip_get(&vm, &s), -ENXIO);
	assert_int_equal(irqchip_set(&vm, &s), -ENXIO);
	irqchip_create_split(&vm, 24);
	assert_int_equal(irqchip_get(&vm, &s), -ENXIO);
	assert_int_equal(irqchip_set(&vm, &s), -ENXIO);
}

static void test_chip_id_bounds(void **state)
{
	struct kvm_irqchip s;

	machine(1);
	for (u32 i = 0; i < 40; i++) {
		memset(&s, 0xcc, sizeof(s));
		s.chip_id = i < 32 ? 1u << i : i - 32;
		assert_int_equal(irqchip_get(&vm, &s), s.chip_id <= 2 ? 0 : -EINVAL);
		assert_int_equal(irqchip_set(&vm, &s), s.chip_id <= 2 ? 0 : -EINVAL);
	}
	/* Nothing of the caller's buffer is left behind the state. */
	memset(&s, 0xcc, sizeof(s));
	s.chip_id = 0;
	assert_int_equal(irqchip_get(&vm, &s), 0);
	for (u32 i = sizeof(struct kvm_pic_state); i < sizeof(s.chip); i++)
		assert_int_equal(s.chip.dummy[i], 0);
}

static void test_devices_without_an_apic(void **state)
{
	u64 value;
	int result;

	machine(1);
	vcpus[0].lapic = NULL; /* between vcpu_create and irqchip_vcpu_init */
	assert_false(bus_read(&vm.mmio, &vcpus[0], APIC, 4, &value, &result));
	assert_false(bus_write(&vm.mmio, &vcpus[0], APIC, 4, 0, &result));
	for (u32 i = 0; i < 3; i++) {
		static const u32 msrs[] = {MSR_APIC_BASE, MSR_TSC_DEADLINE, 0x802};

		assert_false(bus_read(&vm.msrs, &vcpus[0], msrs[i], 1, &value, &result));
		assert_false(bus_write(&vm.msrs, &vcpus[0], msrs[i], 1, 0, &result));
	}
}

/* ---- routing --------------------------------------------------------------------------------- */

static void test_default_routing(void **state)
{
	machine(1);
	enable_all();
	set_reg(0, LAPIC_LVT_LINT0, 0x10000);
	for (u32 pin = 0; pin < IOAPIC_PINS; pin++)
		set_rte(pin, 0x40 + pin);
	for (u32 gsi = 0; gsi < 64; gsi++) {
		struct irqchip *chip = vm.devices;
		int status = line(gsi, 1);

		if (gsi >= 24) {
			assert_int_equal(status, -1);
			continue;
		}
		assert_true(status >= 1);
		assert_int_equal(receivers((u8)(0x40 + gsi)), 1);
		if (gsi < 16 && gsi != 2)
			assert_true(chip->pic.chip[gsi / 8].irr & (1 << gsi % 8));
		line(gsi, 0);
	}
	assert_int_equal(line(4095, 1), -1);
	assert_int_equal(line(4096, 1), -1);
	assert_int_equal(line(~0u, 1), -1);
}

static void test_routing_replaces(void **state)
{
	struct kvm_irq_routing_entry e[2];
	u64 free_pages;

	machine(1);
	enable_all();
	set_rte(11, 0x4b);
	free_pages = pool_free_pages(&vm.pool);
	e[0] = chip_entry(123, KVM_IRQCHIP_IOAPIC, 11);
	assert_int_equal(irqchip_set_routing(&vm, e, 1), 0);
	assert_int_equal(line(11, 1), -1);
	assert_int_equal(line(123, 1), 1);
	assert_int_equal(receivers(0x4b), 1);
	for (u32 i = 0; i < 100; i++)
		assert_int_equal(irqchip_set_routing(&vm, e, 1), 0);
	assert_true(pool_free_pages(&vm.pool) >= free_pages);
	assert_int_equal(irqchip_set_routing(&vm, NULL, 0), 0);
	assert_int_equal(line(123, 1), -1);
}

static void test_routing_bounds(void **state)
{
	struct kvm_irq_routing_entry e;
	static const struct {
		u32 gsi, chip, pin;
		int result;
	} t[] = {
		{0, 0, 7, 0},	      {0, 0, 8, -EINVAL},
		{0, 1, 7, 0},	      {0, 1, 8, -EINVAL},
		{0, 2, 23, 0},	      {0, 2, 24, -EINVAL},
		{0, 3, 0, -EINVAL},   {0, ~0u, 0, -EINVAL},
		{0, 2, ~0u, -EINVAL}, {0, 1, ~0u - 7, -EINVAL},
		{4095, 2, 0, 0},      {4096, 2, 0, -EINVAL},
		{~0u, 2, 0, -EINVAL},
	};

	machine(1);
	for (u32 i = 0; i < ARRAY_SIZE(t); i++) {
		e = chip_entry(t[i].gsi, t[i].chip, t[i].pin);
		assert_int_equal(irqchip_set_routing(&vm, &e, 1), t[i].result);
		e = msi_entry(t[i].gsi, APIC, 0x40);
		assert_int_equal(irqchip_set_routing(&vm, &e, 1), t[i].gsi < 4096 ? 0 : -EINVAL);
	}
	for (u32 type = 0; type < 300; type++) {
		e = chip_entry(5, KVM_IRQCHIP_IOAPIC, 5);
		e.type = type;
		assert_int_equal(irqchip_set_routing(&vm, &e, 1),
				 type == 1 || type == 2 ? 0 : -EINVAL);
	}
	for (u32 bit = 0; bit < 32; bit++) {
		e = chip_entry(5, KVM_IRQCHIP_IOAPIC, 5);
		e.flags = 1u << bit;
		assert_int_equal(irqchip_set_routing(&vm, &e, 1), -EINVAL);
		e = msi_entry(5, APIC, 0x40);
		e.flags = 1u << bit;
		assert_int_equal(irqchip_set_routing(&vm, &e, 1), bit ? -EINVAL : 0);
	}
}

static void test_routing_duplicates(void **state)
{
	struct kvm_irq_routing_entry e[4];

	machine(1);
	e[0] = chip_entry(5, KVM_IRQCHIP_PIC_MASTER, 5);
	e[1] = chip_entry(5, KVM_IRQCHIP_PIC_SLAVE, 5);
	e[2] = chip_entry(5, KVM_IRQCHIP_IOAPIC, 5);
	assert_int_equal(irqchip_set_routing(&vm, e, 3), 0);
	e[3] = chip_entry(5, KVM_IRQCHIP_IOAPIC, 6);
	assert_int_equal(irqchip_set_routing(&vm, e, 4), -EINVAL);
	e[1] = chip_entry(5, KVM_IRQCHIP_PIC_MASTER, 6);
	assert_int_equal(irqchip_set_routing(&vm, e, 3), -EINVAL);
	e[1] = msi_entry(5, APIC, 0x40);
	assert_int_equal(irqchip_set_routing(&vm, e, 2), -EINVAL);
	assert_int_equal(irqchip_set_routing(&vm, e + 1, 2), -EINVAL);
	e[0] = e[1];
	assert_int_equal(irqchip_set_routing(&vm, e, 2), -EINVAL);
	/* The table that was set last still holds. */
	enable_all();
	set_rte(5, 0x45);
	assert_true(line(5, 1) >= 1);
	assert_int_equal(receivers(0x45), 1);
}

static void test_routing_full_table(void **state)
{
	static struct kvm_irq_routing_entry e[4097];

	machine(1);
	enable_all();
	for (u32 i = 0; i < 4097; i++)
		e[i] = msi_entry(i % 4096, APIC, 0x20 + i % 200);
	assert_int_equal(irqchip_set_routing(&vm, e, 4097), -EINVAL);
	assert_int_equal(irqchip_set_routing(&vm, e, 4096), 0);
	for (u32 i = 0; i < 4096; i++) {
		assert_int_equal(line(i, 1), 1);
		assert_int_equal(receivers((u8)(0x20 + i % 200)), 1);
	}
	while (pool_alloc(&vm.pool, 1).v != HPA_NONE.v)
		;
	assert_int_equal(irqchip_set_routing(&vm, e, 1), -ENOMEM);
	assert_int_equal(line(4095, 1), 1);
}

static void test_split_routes_msis_only(void **state)
{
	struct kvm_irq_routing_entry e = chip_entry(5, KVM_IRQCHIP_IOAPIC, 5);

	machine_vm();
	irqchip_create_split(&vm, 24);
	add_vcpu(0, 0);
	enable_all();
	assert_int_equal(irqchip_set_routing(&vm, &e, 1), -EINVAL);
	e = msi_entry(5, APIC, 0x45);
	assert_int_equal(irqchip_set_routing(&vm, &e, 1), 0);
	assert_int_equal(line(5, 1), 1);
	assert_int_equal(acknowledge(0), 0x45);
	assert_int_equal(pending(0), -1);
}

/* ---- MSIs ------------------------------------------------------------------------------------ */

static int msi(u32 low, u32 high, u32 data)
{
	struct kvm_msi m = {.address_lo = low, .address_hi = high, .data = data};

	return irqchip_msi(&vm, &m);
}

static void test_msi_fields(void **state)
{
	machine(4);
	enable_all();
	for (u32 i = 0; i < 4; i++)
		set_reg(i, LAPIC_LDR, 1u << (24 + i));
	assert_int_equal(msi(APIC | 2 << 12, 0, 0x50), 1);
	assert_int_equal(receivers(0x50), 4);
	assert_int_equal(msi(APIC | 6 << 12 | 4, 0, 0x50), 2); /* logical */
	assert_int_equal(receivers(0x50), 6);
	assert_int_equal(msi(APIC | 6 << 12 | 4 | 8, 0, 0x50), 1); /* one is enough */
	assert_int_equal(__builtin_popcount(receivers(0x50)), 1);
	assert_int_equal(msi(APIC | 6 << 12 | 4, 0, 0x150), 1); /* lowest priority */
	assert_int_equal(__builtin_popcount(receivers(0x50)), 1);
	assert_int_equal(msi(APIC | 3 << 12, 0, 0x450), 1);
	assert_int_equal(nmis[3], 1);
	assert_int_equal(msi(APIC | 0xff << 12, 0, 0x50), 4);
	assert_int_equal(receivers(0x50), 15);
	assert_int_equal(msi(APIC, 0, 0xc050), 1); /* level */
	assert_int_equal(reg(0, LAPIC_TMR + 0x20), 1 << 16);
	assert_int_equal(msi(APIC | 9 << 12, 0, 0x50), 0);
	assert_int_equal(msi(APIC, 0, 0x05), 0);
}

static void test_msi_flags(void **state)
{
	machine(1);
	enable_all();
	for (u32 bit = 0; bit < 32; bit++) {
		struct kvm_msi m = {.address_lo = APIC, .data = 0x50, .flags = 1u << bit};

		assert_int_equal(irqchip_msi(&vm, &m), bit ? -EINVAL : 1);
	}
}

static void test_msi_wide_ids(void **state)
{
	struct kvm_irq_routing_entry e = msi_entry(30, APIC | 0x34 << 12, 0x50);

	machine_vm();
	irqchip_create(&vm);
	add_vcpu(0, 0);
	add_vcpu(1, 0x1234);
	enable_x2apic(1);
	assert_int_equal(msi(APIC | 0x34 << 12, 0x1200, 0x50), 0);
	vm.x2apic_ids_32bit = true;
	assert_int_equal(msi(APIC | 0x34 << 12, 0x1200, 0x50), 1);
	assert_int_equal(receivers(0x50), 2);
	assert_int_equal(msi(APIC | 0x34 << 12, 0x1201, 0x50), -EINVAL);
	e.u.msi.address_hi = 0x1201;
	assert_int_equal(irqchip_set_routing(&vm, &e, 1), -EINVAL);
	e.u.msi.address_hi = 0x1200;
	assert_int_equal(irqchip_set_routing(&vm, &e, 1), 0);
	assert_int_equal(line(30, 1), 1);
	assert_int_equal(line(30, 0), -1);
	assert_int_equal(receivers(0x50), 2);
}

/* ---- levels that last until the guest's EOI -------------------------------------------------- */

static int hold(u32 gsi)
{
	return irqchip_set_irq(&vm, gsi, true, IRQ_SOURCE_RESAMPLE);
}

/* The guest serves `vector`: does the driver hear of its end? */
static bool ends(u32 cpu, u8 vector)
{
	assert_int_equal(acknowledge(cpu), vector);
	vcpus[cpu].request = 0;
	set_reg(cpu, LAPIC_EOI, 0);
	return vcpus[cpu].request & REQUEST_RESAMPLE;
}

static void test_resample(void **state)
{
	machine(2);
	enable_all();
	set_rte(18, 1ull << 56 | RTE_L | 0x50);
	set_rte(19, 1ull << 56 | 0x61); /* an edge's end is heard, too */
	assert_int_equal(irqchip_resample(&vm, 18, true), 0);
	assert_int_equal(irqchip_resample(&vm, 19, true), 0);
	for (u32 i = 0; i < 2; i++) {
		assert_int_equal(hold(18), 1);
		assert_true(ends(1, 0x50));
		assert_int_equal(pending(1), -1);
		assert_int_equal(irqchip_take_resampled(&vcpus[1]), 18);
		assert_int_equal(irqchip_take_resampled(&vcpus[1]), -1);
	}
	/* Another one holds the line as well. */
	line(18, 1);
	hold(18);
	assert_true(ends(1, 0x50));
	assert_int_equal(irqchip_take_resampled(&vcpus[1]), 18);
	line(18, 0);
	assert_true(ends(1, 0x50));
	assert_int_equal(irqchip_take_resampled(&vcpus[1]), 18);
	assert_int_equal(pending(1), -1);
	/* Two ends, told one after the other. */
	hold(18);
	hold(19);
	assert_true(ends(1, 0x61));
	assert_true(ends(1, 0x50));
	vcpus[0].request = 0;
	assert_int_equal(irqchip_take_resampled(&vcpus[0]), 18);
	assert_true(vcpus[0].request & REQUEST_RESAMPLE);
	assert_int_equal(irqchip_take_resampled(&vcpus[0]), 19);
	/* A line that nobody holds any more. */
	hold(18);
	assert_int_equal(irqchip_resample(&vm, 18, false), 0);
	assert_false(ends(1, 0x50));
	assert_int_equal(pending(1), -1);
}

static void test_resample_of_the_8259(void **state)
{
	struct irqchip *chip;

	machine(1);
	chip = vm.devices;
	port_out(0x20, 0x11);
	port_out(0x21, 0x20);
	port_out(0x21, 4);
	port_out(0x21, 1);
	port_out(0x21, 0);
	port_out(0x4d0, 1 << 5);
	assert_int_equal(irqchip_resample(&vm, 5, true), 0);
	hold(5);
	assert_int_equal(pic_acknowledge(chip), 0x25);
	vcpus[0].request = 0;
	port_out(0x20, 0x20);
	assert_true(vcpus[0].request & REQUEST_RESAMPLE);
	assert_int_equal(irqchip_take_resampled(&vcpus[0]), 5);
	assert_int_equal(pic_peek(&chip->pic), -1);
}

static void test_resample_bounds(void **state)
{
	machine_vm();
	assert_int_equal(irqchip_resample(&vm, 3, true), -EINVAL);
	assert_int_equal(irqchip_create_split(&vm, 24), 0);
	assert_int_equal(irqchip_resample(&vm, 3, true), -EINVAL);
	machine(1);
	enable_all();
	assert_int_equal(irqchip_resample(&vm, 4096, true), -EINVAL);
	for (u32 i = 0; i < RESAMPLE_MAX; i++)
		assert_int_equal(irqchip_resample(&vm, 16 + i, true), 0);
	assert_int_equal(irqchip_resample(&vm, 3, true), -ENOSPC);
	/* The last one moves up when another goes, with what is to be told of it. */
	set_rte(16, 0x54 | RTE_L);
	set_rte(17, 0x55 | RTE_L);
	for (u32 i = RESAMPLE_MAX - 1; i > 1; i--)
		assert_int_equal(irqchip_resample(&vm, 16 + i, false), 0);
	hold(16);
	hold(17);
	assert_true(ends(0, 0x55));
	assert_true(ends(0, 0x54));
	assert_int_equal(irqchip_resample(&vm, 16, false), 0);
	assert_int_equal(irqchip_take_resampled(&vcpus[0]), 17);
	assert_int_equal(irqchip_take_resampled(&vcpus[0]), -1);
	assert_int_equal(irqchip_resample(&vm, 100, false), 0);
}

/* ---- vCPUs that are not there yet ------------------------------------------------------------ */

static void test_half_created_vcpu(void **state)
{
	machine(1);
	enable_all();
	vm.vcpu_count = 3; /* one without a LAPIC, one not even published */
	vm.vcpus[1] = &vcpus[1];
	vm.vcpus[2] = NULL;
	assert_int_equal(msi(APIC | 0xff << 12, 0, 0x50), 1);
	assert_int_equal(msi(APIC | 0xff << 12 | 8, 0, 0x50), 1);
	set_reg(0, LAPIC_ICR, 0xc0050);
	line(3, 1);
	vm.vcpu_count = 1;
}

static void test_conversions(void **state)
{
	assert_int_equal(mul_div(7, 3, 2), 10);
	assert_int_equal(mul_div(~0ull, ~0ull, ~0ull), ~0ull);
	assert_int_equal(mul_div(~0ull, 2, 1), ~0ull);
	assert_int_equal(mul_div(5, 5, 0), ~0ull);
	assert_int_equal(mul_div(0, 0, 0), ~0ull);
	for (u32 i = 0; i < 100000; i++) {
		u64 a = random64() >> random64() % 64, b = random64() >> random64() % 64;
		u64 c = random64() >> random64() % 64;
		unsigned __int128 exact = c ? (unsigned __int128)a * b / c : 0;

		assert_true(mul_div(a, b, c) == (!c || exact >> 64 ? ~0ull : (u64)exact));
		assert_int_equal(index_clamp((u32)a, (u32)b), (u32)a < (u32)b ? (u32)a : 0);
	}
	assert_int_equal(ns_to_tsc(1000, 2500000), 2500);
	assert_int_equal(tsc_to_ns(2500, 2500000), 1000);
	assert_int_equal(add_saturate(~0ull, 1), ~0ull);
	assert_int_equal(add_saturate(1, 1), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_create_errors),
		cmocka_unit_test(test_split_tells_of_eois),
		cmocka_unit_test(test_create_without_memory),
		cmocka_unit_test(test_create_where_a_port_is_taken),
		cmocka_unit_test(test_no_irqchip),
		cmocka_unit_test(test_chip_id_bounds),
		cmocka_unit_test(test_devices_without_an_apic),
		cmocka_unit_test(test_default_routing),
		cmocka_unit_test(test_routing_replaces),
		cmocka_unit_test(test_routing_bounds),
		cmocka_unit_test(test_routing_duplicates),
		cmocka_unit_test(test_routing_full_table),
		cmocka_unit_test(test_split_routes_msis_only),
		cmocka_unit_test(test_msi_fields),
		cmocka_unit_test(test_msi_flags),
		cmocka_unit_test(test_msi_wide_ids),
		cmocka_unit_test(test_resample),
		cmocka_unit_test(test_resample_of_the_8259),
		cmocka_unit_test(test_resample_bounds),
		cmocka_unit_test(test_half_created_vcpu),
		cmocka_unit_test(test_conversions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
