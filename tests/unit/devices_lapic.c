/* SPDX-License-Identifier: MIT */
/* The local APIC: registers, modes, priorities, delivery, IPIs, timer, KVM's state. */
#include "tests/unit/devices_machine.h"

#include <pthread.h>

#define LVT_MASK 0x10000u

/* ---- registers ------------------------------------------------------------------------------- */

static void test_reset_values(void **state)
{
	machine(2);
	for (u32 i = 0; i < 2; i++) {
		assert_int_equal(reg(i, LAPIC_ID), i << 24);
		assert_int_equal(reg(i, LAPIC_VERSION), 0x50014);
		assert_int_equal(reg(i, LAPIC_TPR), 0);
		assert_int_equal(reg(i, LAPIC_APR), 0);
		assert_int_equal(reg(i, LAPIC_PPR), 0);
		assert_int_equal(reg(i, LAPIC_RRD), 0);
		assert_int_equal(reg(i, LAPIC_LDR), 0);
		assert_int_equal(reg(i, LAPIC_DFR), 0xffffffff);
		assert_int_equal(reg(i, LAPIC_SVR), 0xff);
		for (u32 r = LAPIC_ISR; r < LAPIC_ESR; r += 16)
			assert_int_equal(reg(i, r), 0);
		assert_int_equal(reg(i, LAPIC_ESR), 0);
		assert_int_equal(reg(i, LAPIC_ICR), 0);
		assert_int_equal(reg(i, LAPIC_ICR_HIGH), 0);
		for (u32 r = LAPIC_LVT_TIMER; r <= LAPIC_LVT_ERROR; r += 16) {
			bool extint = i == 0 && r == LAPIC_LVT_LINT0;

			assert_int_equal(reg(i, r), extint ? 0x700 : LVT_MASK);
		}
		assert_int_equal(reg(i, LAPIC_TIMER_INITIAL), 0);
		assert_int_equal(reg(i, LAPIC_TIMER_CURRENT), 0);
		assert_int_equal(reg(i, LAPIC_TIMER_DIVIDE), 0);
	}
	assert_int_equal(lapic_base(&vcpus[0]), APIC | APIC_BASE_ENABLE | APIC_BASE_BSP);
	assert_int_equal(lapic_base(&vcpus[1]), APIC | APIC_BASE_ENABLE);
	assert_int_equal(vcpus[0].mp_state, MP_RUNNABLE);
	assert_int_equal(vcpus[1].mp_state, MP_UNINITIALIZED);
}

struct bits {
	u32 offset, writable, fixed; /* fixed: reads as ones whatever is written */
};

static const struct bits xapic_bits[] = {
	{LAPIC_ID, 0xff000000, 0},
	{LAPIC_VERSION, 0, 0x50014},
	{LAPIC_TPR, 0xff, 0},
	{LAPIC_APR, 0, 0},
	{LAPIC_PPR, 0, 0},
	{LAPIC_RRD, 0, 0},
	{LAPIC_LDR, 0xff000000, 0},
	{LAPIC_DFR, 0xf0000000, 0x0fffffff},
	{LAPIC_SVR, 0x3ff, 0},
	{LAPIC_ISR, 0, 0},
	{LAPIC_TMR, 0, 0},
	{LAPIC_IRR, 0, 0},
	{LAPIC_ICR_HIGH, 0xff000000, 0},
	{LAPIC_LVT_THERMAL, 0x107ff, 0},
	{LAPIC_LVT_PERF, 0x107ff, 0},
	{LAPIC_LVT_LINT0, 0x1a7ff, 0},
	{LAPIC_LVT_LINT1, 0x1a7ff, 0},
	{LAPIC_LVT_ERROR, 0x100ff, 0},
	{LAPIC_LVT_TIMER, 0x700ff, 0},
	{LAPIC_TIMER_CURRENT, 0, 0},
	{LAPIC_TIMER_DIVIDE, 0xb, 0},
};

static void test_writable_bits(void **state)
{
	for (u32 i = 0; i < ARRAY_SIZE(xapic_bits); i++) {
		const struct bits *b = &xapic_bits[i];

		machine(1);
		enable_apic(0);
		for (u32 bit = 0; bit < 32; bit++) {
			u32 value = 1u << bit, expected = (value & b->writable) | b->fixed;

			/* Bit 8 of the SVR keeps the LVTs out of this. */
			set_reg(0, b->offset, value);
			if (b->offset == LAPIC_TPR)
				assert_int_equal(reg(0, LAPIC_PPR), expected);
			assert_int_equal(reg(0, b->offset), expected);
		}
		set_reg(0, b->offset, 0);
		assert_int_equal(reg(0, b->offset), b->fixed);
	}
}

static void test_icr_bits(void **state)
{
	machine(1);
	enable_apic(0);
	set_reg(0, LAPIC_ICR_HIGH, 0x55000000);
	/* Remote read goes nowhere; delivery status reads 0. */
	set_reg(0, LAPIC_ICR, 0xfff3f3ff);
	assert_int_equal(reg(0, LAPIC_ICR), 0xfff3e3ff);
}

static void test_deadline_bit_needs_cpuid(void **state)
{
	machine(1);
	enable_apic(0);
	leaf1[0].ecx = 0;
	set_reg(0, LAPIC_LVT_TIMER, 0x70040);
	assert_int_equal(reg(0, LAPIC_LVT_TIMER), 0x30040);
	vcpus[0].cpuid_count = 0;
	set_reg(0, LAPIC_LVT_TIMER, 0x50040);
	assert_int_equal(reg(0, LAPIC_LVT_TIMER), 0x10040);
}

static void test_access_sizes(void **state)
{
	u64 value = 0;

	machine(1);
	set_reg(0, LAPIC_ID, 0xab000000);
	assert_int_equal(mmio_read(0, APIC + LAPIC_ID + 3, 1, &value), 0);
	assert_int_equal((u8)value, 0xab);
	assert_int_equal(mmio_read(0, APIC + LAPIC_ID + 2, 2, &value), 0);
	assert_int_equal((u16)value, 0xab00);
	assert_int_equal(mmio_read(0, APIC + LAPIC_ID, 8, &value), 0);
	assert_int_equal(value, 0);
	assert_int_equal(mmio_read(0, APIC + LAPIC_ID + 4, 4, &value), 0);
	assert_int_equal(value, 0);
	/* Narrow and misplaced writes are ignored. */
	mmio_write(0, APIC + LAPIC_ID, 1, 0x11);
	mmio_write(0, APIC + LAPIC_ID, 8, ~0ull);
	mmio_write(0, APIC + LAPIC_ID + 4, 4, ~0u);
	assert_int_equal(reg(0, LAPIC_ID), 0xab000000);
}

static void test_illegal_register_is_an_error(void **state)
{
	machine(1);
	enable_apic(0);
	set_reg(0, LAPIC_LVT_ERROR, 0x51);
	assert_int_equal(reg(0, 0x2f0), 0);
	assert_true(requested(0, 0x51));
	assert_int_equal(reg(0, LAPIC_ESR), 0);
	set_reg(0, LAPIC_ESR, 0);
	assert_int_equal(reg(0, LAPIC_ESR), LAPIC_ERROR_ILLEGAL_REGISTER);
	set_reg(0, LAPIC_ESR, 0);
	assert_int_equal(reg(0, LAPIC_ESR), 0);
	assert_int_equal(reg(0, 0xff0), 0); /* behind the registers */
	set_reg(0, 0x3f0, 0x60);	    /* SELF IPI is an x2APIC register */
	set_reg(0, LAPIC_ESR, 0);
	assert_int_equal(reg(0, LAPIC_ESR), LAPIC_ERROR_ILLEGAL_REGISTER);
	assert_false(requested(0, 0x60));
}

static void test_software_disable_masks_lvts(void **state)
{
	machine(1);
	enable_apic(0);
	set_reg(0, LAPIC_LVT_PERF, 0x40);
	set_reg(0, LAPIC_SVR, 0xff);
	for (u32 r = LAPIC_LVT_TIMER; r <= LAPIC_LVT_ERROR; r += 16) {
		assert_true(reg(0, r) & LVT_MASK);
		set_reg(0, r, 0x40);
		assert_true(reg(0, r) & LVT_MASK);
	}
	enable_apic(0);
	assert_true(reg(0, LAPIC_LVT_PERF) & LVT_MASK);
	set_reg(0, LAPIC_LVT_PERF, 0x40);
	assert_int_equal(reg(0, LAPIC_LVT_PERF), 0x40);
}

static void test_software_disabled_takes_nothing(void **state)
{
	machine(2);
	enable_apic(0);
	set_reg(0, LAPIC_ICR_HIGH, 1 << 24);
	set_reg(0, LAPIC_ICR, 0x40);
	assert_false(requested(1, 0x40));
	set_reg(0, LAPIC_ICR, 0x400); /* but NMI, INIT and SIPI */
	assert_int_equal(nmis[1], 1);
}

/* ---- modes ----------------------------------------------------------------------------------- */

enum { OFF = 0, XAPIC = APIC_BASE_ENABLE, X2APIC = APIC_BASE_ENABLE | APIC_BASE_X2APIC };

static void test_mode_transitions(void **state)
{
	static const struct {
		u64 from, to;
		bool fault;
	} t[] = {
		{OFF, OFF, false},
		{OFF, XAPIC, false},
		{OFF, X2APIC, true},
		{XAPIC, OFF, false},
		{XAPIC, XAPIC, false},
		{XAPIC, X2APIC, false},
		{X2APIC, OFF, false},
		{X2APIC, XAPIC, true},
		{X2APIC, X2APIC, false},
		{OFF, APIC_BASE_X2APIC, true},
		{XAPIC, APIC_BASE_X2APIC, true},
		{X2APIC, APIC_BASE_X2APIC, true},
	};

	for (u32 i = 0; i < ARRAY_SIZE(t); i++) {
		machine(1);
		assert_int_equal(lapic_set_base(&vcpus[0], APIC | t[i].from), 0);
		assert_int_equal(msr_write(0, MSR_APIC_BASE, APIC | t[i].to),
				 t[i].fault ? -EINVAL : 0);
		assert_int_equal(msr(0, MSR_APIC_BASE), APIC | (t[i].fault ? t[i].from : t[i].to));
	}
}

static void test_vmm_may_set_any_mode(void **state)
{
	machine(1);
	assert_int_equal(lapic_set_base(&vcpus[0], APIC), 0);
	assert_int_equal(lapic_set_base(&vcpus[0], APIC | X2APIC), 0);
	assert_int_equal(lapic_set_base(&vcpus[0], APIC | XAPIC), 0);
	assert_int_equal(lapic_set_base(&vcpus[0], APIC | APIC_BASE_X2APIC), -EINVAL);
	assert_int_equal(lapic_base(&vcpus[0]), APIC | XAPIC);
}

static void test_base_reserved_bits(void **state)
{
	machine(1);
	for (u32 bit = 0; bit < 64; bit++) {
		u64 value = (APIC | XAPIC) ^ BIT(bit);
		bool reserved = bit < 8 || bit == 9 || bit >= 40;

		assert_int_equal(lapic_set_base(&vcpus[0], APIC | XAPIC), 0);
		assert_int_equal(msr_write(0, MSR_APIC_BASE, value), reserved ? -EINVAL : 0);
	}
	assert_int_equal(lapic_set_base(&vcpus[0], APIC | XAPIC), 0);
	leaf1[0].ecx = 0;
	assert_int_equal(msr_write(0, MSR_APIC_BASE, APIC | X2APIC), -EINVAL);
	vcpus[0].physical_bits = 0; /* no CPUID yet: 36, as KVM */
	assert_int_equal(msr_write(0, MSR_APIC_BASE, BIT(36) | XAPIC), -EINVAL);
	assert_int_equal(msr_write(0, MSR_APIC_BASE, BIT(35) | XAPIC), 0);
}

static void test_without_apic_base_is_plain(void **state)
{
	machine_vm();
	add_vcpu(0, 0);
	assert_int_equal(lapic_set_base(&vcpus[0], 0x1234), 0);
	assert_int_equal(lapic_base(&vcpus[0]), 0x1234);
}

static void test_disabled_is_a_hole(void **state)
{
	u64 value = 0;

	machine(2);
	assert_int_equal(msr_write(0, MSR_APIC_BASE, APIC), 0);
	assert_int_equal(reg(0, LAPIC_ID), ~0u);
	set_reg(0, LAPIC_ICR, 0xc4040); /* would be an IPI to the other */
	enable_apic(1);
	assert_false(requested(1, 0x40));
	assert_int_equal(msr_read(0, 0x802, &value), -EINVAL);
	/* And another vCPU's page is its own. */
	assert_int_equal(reg(1, LAPIC_ID), 1 << 24);
	assert_int_equal(pending(0), -1);
}

/* Each vCPU's own page is where its base says, and nowhere else. */
static void test_moved_page(void **state)
{
	struct bus_device *own;
	u64 value;
	int result = 0;

	machine(2);
	own = vm.own_page;
	assert_int_equal(own->read(own, &vcpus[0], 0xfe000020, 4, &value), -EOPNOTSUPP);
	assert_int_equal(msr_write(0, MSR_APIC_BASE, 0xfe000000 | XAPIC), 0);
	assert_false(bus_read(&vm.mmio, &vcpus[0], APIC + LAPIC_ID, 4, &value, &result));
	assert_false(bus_write(&vm.mmio, &vcpus[0], APIC + LAPIC_SVR, 4, 0x1ff, &result));
	assert_int_equal(own->read(own, &vcpus[0], 0xfe000000 + LAPIC_VERSION, 4, &value), 0);
	assert_int_equal(value, 0x50014);
	assert_int_equal(own->write(own, &vcpus[0], 0xfe000000 + LAPIC_TPR, 4, 0x50), 0);
	assert_int_equal(own->read(own, &vcpus[0], 0xfe001000, 4, &value), -EOPNOTSUPP);
	assert_int_equal(own->write(own, &vcpus[1], 0xfe000000 + LAPIC_TPR, 4, 0), -EOPNOTSUPP);
	assert_int_equal(reg(1, LAPIC_TPR), 0);
	assert_int_equal(msr_write(0, MSR_APIC_BASE, APIC | XAPIC), 0);
	assert_int_equal(reg(0, LAPIC_TPR), 0x50);
}

static void test_disable_resets(void **state)
{
	machine(1);
	enable_apic(0);
	set_reg(0, LAPIC_TPR, 0x50);
	set_reg(0, LAPIC_ID, 0x77000000);
	set_reg(0, LAPIC_TIMER_INITIAL, 1000);
	assert_int_equal(msr_write(0, MSR_APIC_BASE, APIC), 0);
	assert_int_equal(timers(0), NO_DEADLINE);
	assert_int_equal(msr_write(0, MSR_APIC_BASE, APIC | XAPIC), 0);
	assert_int_equal(reg(0, LAPIC_TPR), 0);
	assert_int_equal(reg(0, LAPIC_SVR), 0xff);
	assert_int_equal(reg(0, LAPIC_ID), 0);
}

static void test_x2apic_entry_keeps_state(void **state)
{
	machine(8);
	for (u32 i = 0; i < 8; i++) {
		vcpus[i].id = i * 37;
		set_reg(i, LAPIC_TPR, 0x30);
		enable_x2apic(i);
		assert_int_equal(msr(i, 0x802), i * 37);
		assert_int_equal(msr(i, 0x80d), (i * 37 / 16) << 16 | 1u << (i * 37 % 16));
		assert_int_equal(msr(i, 0x808), 0x30);
		assert_int_equal(reg(i, LAPIC_ID), ~0u); /* no page in this mode */
	}
}

static void test_init_keeps_base_and_id(void **state)
{
	machine(2);
	enable_apic(1);
	set_reg(1, LAPIC_ID, 0x42000000);
	set_reg(1, LAPIC_LDR, 0x02000000);
	set_reg(1, LAPIC_TPR, 0x50);
	vm.irqchip->reset(&vcpus[1]);
	assert_int_equal(reg(1, LAPIC_ID), 0x42000000);
	assert_int_equal(reg(1, LAPIC_LDR), 0);
	assert_int_equal(reg(1, LAPIC_TPR), 0);
	assert_int_equal(reg(1, LAPIC_SVR), 0xff);
	enable_x2apic(1);
	vm.irqchip->reset(&vcpus[1]);
	assert_int_equal(msr(1, MSR_APIC_BASE), APIC | X2APIC);
	assert_int_equal(msr(1, 0x802), 1);
	assert_int_equal(msr(1, 0x80d), 2);
}

/* ---- x2APIC MSRs ----------------------------------------------------------------------------- */

enum { R = 1, W = 2, RW = 3 };

static u32 x2apic_access(u32 index)
{
	if (index >= 0x10 && index <= 0x27)
		return R;
	switch (index) {
	case 0x02:
	case 0x03:
	case 0x0a:
	case 0x0d:
	case 0x39:
		return R;
	case 0x0b:
	case 0x3f:
		return W;
	case 0x08:
	case 0x0f:
	case 0x28:
	case 0x30:
	case 0x32:
	case 0x33:
	case 0x34:
	case 0x35:
	case 0x36:
	case 0x37:
	case 0x38:
	case 0x3e:
		return RW;
	default:
		return 0;
	}
}

static void test_x2apic_msr_space(void **state)
{
	machine(1);
	for (u32 i = 0; i < 0x100; i++) {
		u64 value;

		assert_int_equal(msr_read(0, 0x800 + i, &value), -EINVAL);
		assert_int_equal(msr_write(0, 0x800 + i, 0), -EINVAL);
	}
	enable_x2apic(0);
	for (u32 i = 0; i < 0x100; i++) {
		u64 value;
		u32 access = x2apic_access(i);

		assert_int_equal(msr_read(0, 0x800 + i, &value), access & R ? 0 : -EINVAL);
		/* A vector of 0x20 where one is needed. */
		assert_int_equal(msr_write(0, 0x800 + i, i == 0x30 || i == 0x3f ? 0x20 : 0),
				 access & W ? 0 : -EINVAL);
	}
	/* The bus knows no x2APIC MSR above. */
	for (u32 i = 0x900; i < 0xc00; i++) {
		u64 value;
		int result;

		assert_false(bus_read(&vm.msrs, &vcpus[0], i, 1, &value, &result));
	}
}

static void test_x2apic_reserved_bits(void **state)
{
	static const struct {
		u32 index;
		u64 ok;
	} t[] = {
		{0x808, 0xff},
		{0x80b, 0},
		{0x80f, 0x3ff},
		{0x828, 0},
		{0x830, 0xffffffff000cdfff},
		{0x832, 0x750ff},
		{0x833, 0x157ff},
		{0x834, 0x157ff},
		{0x835, 0x1f7ff},
		{0x836, 0x1f7ff},
		{0x837, 0x150ff},
		{0x838, 0xffffffff},
		{0x83e, 0xb},
		{0x83f, 0xff},
	};

	for (u32 i = 0; i < ARRAY_SIZE(t); i++) {
		for (u32 bit = 0; bit < 64; bit++) {
			machine(1);
			enable_x2apic(0);
			assert_int_equal(msr_write(0, t[i].index, BIT(bit)),
					 t[i].ok & BIT(bit) ? 0 : -EINVAL);
		}
	}
}

static void test_x2apic_icr_is_64_bits(void **state)
{
	machine(1);
	enable_x2apic(0);
	assert_int_equal(msr_write(0, 0x830, 0x12345678000000f1), 0);
	assert_int_equal(msr(0, 0x830), 0x12345678000000f1);
}

static void test_self_ipi(void **state)
{
	machine(1);
	enable_x2apic(0);
	assert_int_equal(msr_write(0, 0x83f, 0x99), 0);
	assert_int_equal(acknowledge(0), 0x99);
	assert_int_equal(msr_write(0, 0x83f, 0x0f), 0);
	assert_int_equal(msr_write(0, 0x828, 0), 0);
	assert_int_equal(msr(0, 0x828), LAPIC_ERROR_RECEIVE_ILLEGAL_VECTOR);
}

static void test_fuzz_registers(void **state)
{
	machine(4);
	enable_all();
	for (u32 i = 0; i < 300000; i++) {
		u32 cpu = random64() % 4, size = 1u << random64() % 4;
		u64 value = random64(), r = random64();
		int result;

		fake_tsc += random64() % 100000;
		switch (r % 8) {
		case 0:
		case 1:
			bus_write(&vm.mmio, &vcpus[cpu], APIC + (value >> 32) % 4096, size, value,
				  &result);
			break;
		case 2:
			bus_write(&vm.mmio, &vcpus[cpu], APIC + (value >> 32) % 64 * 16, 4, value,
				  &result);
			break;
		case 3:
			bus_read(&vm.mmio, &vcpus[cpu], APIC + (r >> 32) % 4096, size, &value,
				 &result);
			break;
		case 4:
			bus_write(&vm.msrs, &vcpus[cpu], 0x800 + (r >> 32) % 0x400, 1,
				  random64() % 2 ? value : value & 0x700ff, &result);
			break;
		case 5:
			bus_read(&vm.msrs, &vcpus[cpu], 0x800 + (r >> 32) % 0x400, 1, &value,
				 &result);
			break;
		case 6:
			if (random64() % 64 == 0)
				msr_write(cpu, MSR_APIC_BASE,
					  APIC | (value & (APIC_BASE_ENABLE | APIC_BASE_X2APIC)));
			else
				msr_write(cpu, MSR_TSC_DEADLINE, value);
			break;
		default:
			timers(cpu);
			acknowledge(cpu);
			break;
		}
		for (u32 c = 0; c < 4; c++) /* no illegal vector ever gets in */
			assert_int_equal(apic(c)->regs[LAPIC_IRR / 4] & 0xffff, 0);
	}
}

/* ---- priorities ------------------------------------------------------------------------------ */

static void request(u32 cpu, u8 vector)
{
	struct lapic_message m = {.destination = cpu, .vector = vector};

	assert_int_equal(lapic_deliver(&vm, &m), 1);
}

static void test_priority_order(void **state)
{
	machine(1);
	enable_apic(0);
	request(0, 0x31);
	request(0, 0x85);
	request(0, 0x82);
	assert_int_equal(pending(0), 0x85);
	assert_int_equal(acknowledge(0), 0x85);
	assert_int_equal(reg(0, LAPIC_PPR), 0x80);
	assert_int_equal(pending(0), -1); /* same class */
	request(0, 0x91);
	assert_int_equal(acknowledge(0), 0x91);
	set_reg(0, LAPIC_EOI, 0);
	assert_int_equal(pending(0), -1);
	set_reg(0, LAPIC_EOI, 0);
	assert_int_equal(acknowledge(0), 0x82);
	set_reg(0, LAPIC_EOI, 0);
	assert_int_equal(acknowledge(0), 0x31);
	assert_int_equal(acknowledge(0), -1);
}

static void test_eoi_clears_isr(void **state)
{
	machine(1);
	enable_apic(0);
	request(0, 0x40);
	acknowledge(0);
	assert_int_equal(reg(0, LAPIC_ISR + 0x20), 1);
	vcpus[0].request = 0;
	set_reg(0, LAPIC_EOI, 0xdeadbeef); /* any value in xAPIC mode */
	assert_int_equal(reg(0, LAPIC_ISR + 0x20), 0);
	assert_true(vcpus[0].request & REQUEST_EVENT);
	set_reg(0, LAPIC_EOI, 0); /* with nothing in service */
}

static void test_lowest_legal_vectors(void **state)
{
	machine(1);
	enable_apic(0);
	set_reg(0, LAPIC_LVT_ERROR, 16);
	set_reg(0, LAPIC_ICR, 3);
	assert_int_equal(acknowledge(0), 16);
	assert_int_equal(reg(0, LAPIC_PPR), 0x10);
	set_reg(0, LAPIC_EOI, 0);
	for (u32 vector = 16; vector < 32; vector++) {
		set_reg(0, LAPIC_ICR, 0x40000 | vector);
		assert_int_equal(acknowledge(0), vector);
		set_reg(0, LAPIC_EOI, 0);
		assert_int_equal(reg(0, LAPIC_ISR), 0);
	}
}

static void test_tpr(void **state)
{
	for (u32 tpr = 0; tpr < 256; tpr++) {
		machine(1);
		enable_apic(0);
		set_reg(0, LAPIC_TPR, tpr);
		request(0, 0x55);
		assert_int_equal(pending(0), tpr >> 4 < 5 ? 0x55 : -2);
		assert_int_equal(acknowledge(0), tpr >> 4 < 5 ? 0x55 : -1);
		if (tpr >> 4 < 5)
			assert_int_equal(reg(0, LAPIC_PPR), 0x50);
		else
			assert_int_equal(reg(0, LAPIC_PPR), tpr);
	}
}

/* KVM_TPR_ACCESS_REPORTING */
static void test_tpr_accesses_are_reported(void **state)
{
	struct vcpu *vcpu = &vcpus[0];

	vcpu->request = 0;
	vcpu->v.rip = 0x1234;
	reg(0, LAPIC_TPR);
	assert_false(vcpu->request & REQUEST_TPR);
	vcpu->tpr_access.reported = true;
	reg(0, LAPIC_PPR);
	assert_false(vcpu->request & REQUEST_TPR);
	reg(0, LAPIC_TPR);
	assert_true(vcpu->request & REQUEST_TPR);
	assert_false(vcpu->tpr_access.write);
	assert_int_equal(vcpu->tpr_access.rip, 0x1234);
	vcpu->request = 0;
	set_reg(0, LAPIC_TPR, 0x20);
	assert_true(vcpu->request & REQUEST_TPR);
	assert_true(vcpu->tpr_access.write);
	vcpu->tpr_access.reported = false;
	vcpu->request = 0;
	set_reg(0, LAPIC_TPR, 0);
	assert_false(vcpu->request & REQUEST_TPR);
}

static void test_tpr_and_isr_together(void **state)
{
	machine(1);
	enable_apic(0);
	request(0, 0x60);
	acknowledge(0);
	set_reg(0, LAPIC_TPR, 0x80);
	request(0, 0x55); /* held by what is in service, too */
	assert_int_equal(pending(0), -1);
	request(0, 0x75);
	assert_int_equal(pending(0), -2);
}

static void test_cr8(void **state)
{
	machine(1);
	set_reg(0, LAPIC_TPR, 0x57);
	assert_int_equal(vm.irqchip->get_cr8(&vcpus[0]), 5);
	vm.irqchip->set_cr8(&vcpus[0], 5); /* no change: the sub-class stays */
	assert_int_equal(reg(0, LAPIC_TPR), 0x57);
	vcpus[0].request = 0;
	vm.irqchip->set_cr8(&vcpus[0], 6);
	assert_int_equal(reg(0, LAPIC_TPR), 0x60);
	assert_true(vcpus[0].request & REQUEST_EVENT);
}

/* ---- delivery -------------------------------------------------------------------------------- */

static int send(u32 destination, bool logical, u8 mode, bool wide)
{
	struct lapic_message m = {.destination = destination,
				  .vector = 0x77,
				  .mode = mode,
				  .logical = logical,
				  .wide = wide};

	return lapic_deliver(&vm, &m);
}

static void test_physical(void **state)
{
	machine(8);
	enable_all();
	for (u32 d = 0; d < 256; d++) {
		u32 expected = d < 8 ? 1u << d : d == 255 ? 0xff : 0;
		int status = d < 8 ? 1 : d == 255 ? 8 : 0;

		assert_int_equal(send(d, false, DELIVER_FIXED, false), status);
		assert_int_equal(receivers(0x77), expected);
	}
}

static void test_logical_flat(void **state)
{
	machine(8);
	enable_all();
	for (u32 i = 0; i < 8; i++)
		set_reg(i, LAPIC_LDR, 1u << (24 + i));
	for (u32 d = 0; d < 256; d++) {
		assert_int_equal(send(d, true, DELIVER_FIXED, false), __builtin_popcount(d));
		assert_int_equal(receivers(0x77), d);
	}
}

static void test_logical_cluster(void **state)
{
	machine(8);
	enable_all();
	for (u32 i = 0; i < 8; i++) { /* two clusters of four */
		set_reg(i, LAPIC_DFR, 0);
		set_reg(i, LAPIC_LDR, ((i / 4) << 4 | 1u << i % 4) << 24);
	}
	for (u32 d = 0; d < 256; d++) {
		u32 expected = d == 255 ? 0xff : d >> 4 < 2 ? (d & 15) << (d >> 4) * 4 : 0;

		send(d, true, DELIVER_FIXED, false);
		assert_int_equal(receivers(0x77), expected);
	}
	set_reg(0, LAPIC_DFR, 0x50000000); /* neither model: nobody, but for broadcast */
	assert_int_equal(send(0x01, true, DELIVER_FIXED, false), 0);
}

static void test_x2apic_destinations(void **state)
{
	machine_vm();
	irqchip_create(&vm);
	for (u32 i = 0; i < 8; i++) {
		add_vcpu(i, i * 6); /* ids 0..42: clusters 0, 1, 2 */
		enable_x2apic(i);
	}
	for (u32 d = 0; d < 300; d++) {
		u32 expected = d < 48 && d % 6 == 0 ? 1u << d / 6 : 0;

		send(d, false, DELIVER_FIXED, true);
		assert_int_equal(receivers(0x77), expected);
	}
	for (u32 cluster = 0; cluster < 4; cluster++) {
		for (u32 bits = 0; bits < 0x10000; bits += 0x31) {
			u32 expected = 0;

			for (u32 i = 0; i < 8; i++) {
				u32 id = i * 6;

				if (id / 16 == cluster && (bits & (1u << id % 16)))
					expected |= 1u << i;
			}
			send(cluster << 16 | bits, true, DELIVER_FIXED, true);
			assert_int_equal(receivers(0x77), expected);
		}
	}
	send(0xffffffff, false, DELIVER_FIXED, true);
	assert_int_equal(receivers(0x77), 0xff);
	send(0xffffffff, true, DELIVER_FIXED, true);
	assert_int_equal(receivers(0x77), 0xff);
}

static void test_broadcast_quirk(void **state)
{
	machine(2);
	enable_x2apic(1);
	enable_apic(0);
	assert_int_equal(send(0xff, false, DELIVER_FIXED, false), 2);
	assert_int_equal(receivers(0x77), 3);
	vm.x2apic_no_broadcast_quirk = true;
	assert_int_equal(send(0xff, false, DELIVER_FIXED, false), 1);
	assert_int_equal(receivers(0x77), 1);
	/* An IPI with 32 bits: all; to 0xff: the xAPIC takes it as a broadcast. */
	assert_int_equal(send(0xffffffff, false, DELIVER_FIXED, true), 2);
	receivers(0x77);
	assert_int_equal(send(0xff, false, DELIVER_FIXED, true), 1);
}

static void test_delivery_modes(void **state)
{
	machine(2);
	enable_all();
	assert_int_equal(send(1, false, DELIVER_NMI, false), 1);
	assert_int_equal(nmis[1], 1);
	assert_int_equal(send(1, false, DELIVER_INIT, false), 1);
	assert_int_equal(inits[1], 1);
	assert_int_equal(send(1, false, DELIVER_SIPI, false), 1);
	assert_int_equal(sipis[1], 1);
	assert_int_equal(vcpus[1].sipi_vector, 0x77);
	assert_int_equal(send(1, false, DELIVER_SMI, false), 0);
	assert_int_equal(send(1, false, DELIVER_REMOTE_READ, false), 0);
	assert_int_equal(send(1, false, DELIVER_EXTINT, false), 0);
	assert_false(requested(1, 0x77));
	assert_int_equal(send(1, false, DELIVER_LOWEST, false), 1);
	assert_true(requested(1, 0x77));
	assert_int_equal(nmis[0] + inits[0] + sipis[0], 0);
}

static void test_lowest_takes_turns(void **state)
{
	u32 count[4] = {0};

	machine(4);
	enable_all();
	set_reg(2, LAPIC_SVR, 0xff); /* disabled: never chosen */
	for (u32 i = 0; i < 300; i++) {
		u32 who;

		assert_int_equal(send(0xff, false, DELIVER_LOWEST, false), 1);
		who = receivers(0x77);
		assert_int_equal(__builtin_popcount(who), 1);
		count[__builtin_ctz(who)]++;
	}
	assert_int_equal(count[0], 100);
	assert_int_equal(count[1], 100);
	assert_int_equal(count[2], 0);
	assert_int_equal(count[3], 100);
	assert_int_equal(send(2, false, DELIVER_LOWEST, false), 0);
	assert_int_equal(send(9, false, DELIVER_LOWEST, false), 0);
}

static void test_globally_disabled_matches_nothing(void **state)
{
	machine(2);
	enable_all();
	assert_int_equal(msr_write(1, MSR_APIC_BASE, APIC), 0);
	assert_int_equal(send(1, false, DELIVER_NMI, false), 0);
	set_reg(0, LAPIC_ICR, 0xc0400); /* NMI, all but self */
	assert_int_equal(nmis[1], 0);
}

static void test_trigger_mode_register(void **state)
{
	struct lapic_message m = {.destination = 0, .vector = 0x66, .level = true};

	machine(1);
	enable_apic(0);
	lapic_deliver(&vm, &m);
	assert_int_equal(reg(0, LAPIC_TMR + 0x30), 1 << 6);
	m.level = false;
	lapic_deliver(&vm, &m);
	assert_int_equal(reg(0, LAPIC_TMR + 0x30), 0);
}

static void test_kick_and_request(void **state)
{
	machine(2);
	enable_all();
	vcpus[1].request = 0;
	kicks[1] = 0;
	request(1, 0x40);
	assert_int_equal(kicks[1], 1);
	assert_true(vcpus[1].request & REQUEST_EVENT);
}

static void test_ipi_shorthands(void **state)
{
	static const u32 expected[4] = {0x04, 0x02, 0xff, 0xfd};

	machine(8);
	enable_all();
	for (u32 shorthand = 0; shorthand < 4; shorthand++) {
		set_reg(1, LAPIC_ICR_HIGH, 2 << 24);
		set_reg(1, LAPIC_ICR, shorthand << 18 | 0x44);
		assert_int_equal(receivers(0x44), expected[shorthand]);
	}
	enable_x2apic(1);
	assert_int_equal(msr_write(1, 0x830, 2ull << 32 | 0x45), 0);
	assert_int_equal(receivers(0x45), 0x04);
	assert_int_equal(msr_write(1, 0x830, 3 << 18 | 0x45), 0);
	assert_int_equal(receivers(0x45), 0xfd);
}

static void test_ipi_logical(void **state)
{
	machine(3);
	enable_all();
	for (u32 i = 0; i < 3; i++)
		set_reg(i, LAPIC_LDR, 1u << (24 + i));
	set_reg(0, LAPIC_ICR_HIGH, 6 << 24);
	set_reg(0, LAPIC_ICR, 0x844);
	assert_int_equal(receivers(0x44), 6);
}

static void test_init_sipi(void **state)
{
	machine(3);
	set_reg(0, LAPIC_ICR, 0xc4500); /* INIT, assert, all but self */
	assert_int_equal(inits[1] + inits[2], 2);
	assert_int_equal(inits[0], 0);
	set_reg(0, LAPIC_ICR, 0xc8500); /* level de-assert: nothing */
	assert_int_equal(inits[1] + inits[2], 2);
	set_reg(0, LAPIC_ICR_HIGH, 2 << 24);
	set_reg(0, LAPIC_ICR, 0x469a);
	assert_int_equal(sipis[2], 1);
	assert_int_equal(sipis[1], 0);
	assert_int_equal(vcpus[2].sipi_vector, 0x9a);
}

static void test_spurious_and_illegal_vectors(void **state)
{
	machine(2);
	enable_all();
	for (u32 v = 0; v < 16; v++) {
		set_reg(0, LAPIC_ICR_HIGH, 1 << 24);
		set_reg(0, LAPIC_ICR, v);
		set_reg(0, LAPIC_ESR, 0);
		assert_int_equal(reg(0, LAPIC_ESR), LAPIC_ERROR_SEND_ILLEGAL_VECTOR);
		/* From an MSI the receiver notes it. */
		struct lapic_message m = {.destination = 1, .vector = (u8)v};

		assert_int_equal(lapic_deliver(&vm, &m), 0);
		set_reg(1, LAPIC_ESR, 0);
		assert_int_equal(reg(1, LAPIC_ESR), LAPIC_ERROR_RECEIVE_ILLEGAL_VECTOR);
		assert_int_equal(reg(1, LAPIC_IRR), 0);
	}
}

/* XSA-462: the error interrupt's own vector is illegal. */
static void test_error_vector_illegal_does_not_recurse(void **state)
{
	machine(1);
	enable_apic(0);
	set_reg(0, LAPIC_LVT_ERROR, 5);
	set_reg(0, LAPIC_ICR, 3);
	set_reg(0, LAPIC_ICR, 3);
	set_reg(0, LAPIC_ESR, 0);
	assert_int_equal(reg(0, LAPIC_ESR),
			 LAPIC_ERROR_SEND_ILLEGAL_VECTOR | LAPIC_ERROR_RECEIVE_ILLEGAL_VECTOR);
	assert_int_equal(pending(0), -1);
}

static void test_error_interrupt_once_until_esr_write(void **state)
{
	machine(1);
	enable_apic(0);
	set_reg(0, LAPIC_LVT_ERROR, 0xe0);
	set_reg(0, LAPIC_ICR, 3);
	assert_int_equal(receivers(0xe0), 1);
	set_reg(0, LAPIC_ICR, 3);
	assert_int_equal(receivers(0xe0), 0);
	set_reg(0, LAPIC_ESR, 0);
	set_reg(0, LAPIC_ICR, 3);
	assert_int_equal(receivers(0xe0), 1);
	set_reg(0, LAPIC_ESR, 0);
	set_reg(0, LAPIC_LVT_ERROR, 0x100e0);
	set_reg(0, LAPIC_ICR, 3);
	assert_int_equal(receivers(0xe0), 0);
}

static void test_lint0(void **state)
{
	machine(1);
	assert_true(lapic_accepts_extint(apic(0)));
	enable_apic(0);
	set_reg(0, LAPIC_LVT_LINT0, 0x10700);
	assert_false(lapic_accepts_extint(apic(0)));
	set_reg(0, LAPIC_LVT_LINT0, 0x000);
	assert_false(lapic_accepts_extint(apic(0)));
	lapic_lint0_nmi(apic(0));
	assert_int_equal(nmis[0], 0);
	set_reg(0, LAPIC_LVT_LINT0, 0x400);
	lapic_lint0_nmi(apic(0));
	assert_int_equal(nmis[0], 1);
	set_reg(0, LAPIC_LVT_LINT0, 0x10400);
	lapic_lint0_nmi(apic(0));
	assert_int_equal(nmis[0], 1);
	assert_int_equal(msr_write(0, MSR_APIC_BASE, APIC), 0);
	assert_true(lapic_accepts_extint(apic(0))); /* as without an APIC */
	lapic_lint0_nmi(apic(0));
	assert_int_equal(nmis[0], 1);
}

/* Deliveries from other CPUs while the owner acknowledges: none is lost, none invented. */
static u32 storm_stop;

static void *storm(void *arg)
{
	u64 base = (u64)arg;

	for (u32 i = 0; i < 100000; i++) {
		u8 vector = (u8)(base + i % 16);

		if (!requested(0, vector)) {
			struct lapic_message m = {.destination = 0, .vector = vector};

			lapic_deliver(&vm, &m);
		}
	}
	__atomic_fetch_add(&storm_stop, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static void test_delivery_races(void **state)
{
	pthread_t threads[2];
	bool last = false;

	machine(1);
	enable_apic(0);
	storm_stop = 0;
	for (u64 i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, storm, (void *)(0x40 + i * 16)),
				 0);
	for (;;) {
		int vector = acknowledge(0);

		if (vector >= 0) {
			assert_in_range(vector, 0x40, 0x5f);
			set_reg(0, LAPIC_EOI, 0);
			last = false;
		} else if (__atomic_load_n(&storm_stop, __ATOMIC_SEQ_CST) == 2) {
			if (last)
				break;
			last = true; /* once more after the senders stopped */
		}
	}
	for (u32 i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	for (u32 r = LAPIC_ISR; r < LAPIC_ESR; r += 16)
		assert_int_equal(reg(0, r), 0);
}

/* ---- timer ----------------------------------------------------------------------------------- */

static void test_one_shot(void **state)
{
	machine(1);
	enable_apic(0);
	set_reg(0, LAPIC_LVT_TIMER, 0x40);
	set_reg(0, LAPIC_TIMER_DIVIDE, 0xb); /* by 1 */
	vcpus[0].request = 0;
	set_reg(0, LAPIC_TIMER_INITIAL, 1000);
	assert_true(vcpus[0].request & REQUEST_TIMER);
	assert_int_equal(timers(0), fake_tsc + 1000 * TICKS);
	assert_int_equal(reg(0, LAPIC_TIMER_CURRENT), 1000);
	fake_tsc += 400 * TICKS;
	assert_int_equal(reg(0, LAPIC_TIMER_CURRENT), 600);
	fake_tsc += 599 * TICKS;
	timers(0);
	assert_int_equal(pending(0), -1);
	fake_tsc += TICKS;
	assert_int_equal(reg(0, LAPIC_TIMER_CURRENT), 0);
	assert_int_equal(timers(0), NO_DEADLINE);
	assert_int_equal(acknowledge(0), 0x40);
	assert_int_equal(reg(0, LAPIC_TIMER_CURRENT), 0);
	assert_int_equal(reg(0, LAPIC_TIMER_INITIAL), 1000);
	fake_tsc += 100000;
	assert_int_equal(timers(0), NO_DEADLINE);
}

static void test_divide(void **state)
{
	static const u32 divisor[8] = {2, 4, 8, 16, 32, 64, 128, 1};

	for (u32 i = 0; i < 8; i++) {
		machine(1);
		enable_apic(0);
		set_reg(0, LAPIC_LVT_TIMER, 0x40);
		set_reg(0, LAPIC_TIMER_DIVIDE, (i & 3) | (i & 4) << 1);
		set_reg(0, LAPIC_TIMER_INITIAL, 0xffffffff);
		assert_int_equal(timers(0), fake_tsc + 0xffffffffull * divisor[i] * TICKS);
		assert_int_equal(reg(0, LAPIC_TIMER_CURRENT), 0xffffffff);
		fake_tsc += 10ull * divisor[i] * TICKS;
		assert_int_equal(reg(0, LAPIC_TIMER_CURRENT), 0xffffffff - 10);
	}
}

static void test_divide_change_while_counting(void **state)
{
	machine(1);
	enable_apic(0);
	set_reg(0, LAPIC_LVT_TIMER, 0x40);
	set_reg(0, LAPIC_TIMER_DIVIDE, 0xb);
	set_reg(0, LAPIC_TIMER_INITIAL, 1000);
	fake_tsc += 500 * TICKS;
	set_reg(0, LAPIC_TIMER_DIVIDE, 0); /* by 2 */
	assert_int_equal(timers(0), fake_tsc + 500 * 2 * TICKS);
	assert_int_equal(reg(0, LAPIC_TIMER_CURRENT), 500);
	/* What is already due still fires. */
	fake_tsc += 2000 * TICKS;
	set_reg(0, LAPIC_TIMER_DIVIDE, 3);
	assert_int_equal(acknowledge(0), 0x40);
	assert_int_equal(timers(0), NO_DEADLINE);
}

static void test_periodic(void **state)
{
	const u64 period = 1000000 * TICKS;
	u64 start;

	machine(1);
	enable_apic(0);
	set_reg(0, LAPIC_LVT_TIMER, 0x20041);
	set_reg(0, LAPIC_TIMER_DIVIDE, 0xb);
	set_reg(0, LAPIC_TIMER_INITIAL, 1000000);
	start = fake_tsc;
	for (u64 i = 1; i < 10; i++) {
		fake_tsc = start + i * period + 77;
		assert_int_equal(reg(0, LAPIC_TIMER_CURRENT), 1000000 - 39);
		assert_int_equal(timers(0), start + (i + 1) * period);
		assert_int_equal(acknowledge(0), 0x41);
		set_reg(0, LAPIC_EOI, 0);
	}
	/* A vCPU that was away for five periods gets one, and stays in phase. */
	fake_tsc = start + 15 * period + 3;
	assert_int_equal(timers(0), start + 16 * period);
	assert_int_equal(acknowledge(0), 0x41);
	assert_int_equal(acknowledge(0), -1);
	/* A count of 0 stops it. */
	set_reg(0, LAPIC_TIMER_INITIAL, 0);
	assert_int_equal(timers(0), NO_DEADLINE);
	assert_int_equal(reg(0, LAPIC_TIMER_CURRENT), 0);
}

static void test_periodic_minimum(void **state)
{
	machine(1);
	enable_apic(0);
	set_reg(0, LAPIC_LVT_TIMER, 0x20041);
	set_reg(0, LAPIC_TIMER_DIVIDE, 0xb);
	set_reg(0, LAPIC_TIMER_INITIAL, 1);
	assert_int_equal(timers(0), fake_tsc + 200000 * TICKS);
	/* One-shot timers are as short as the guest wants. */
	set_reg(0, LAPIC_LVT_TIMER, 0x41);
	set_reg(0, LAPIC_TIMER_INITIAL, 1);
	assert_int_equal(timers(0), fake_tsc + TICKS);
}

static void test_timer_without_tsc_frequency(void **state)
{
	machine(1);
	vm.tsc_khz = 0;
	enable_apic(0);
	set_reg(0, LAPIC_LVT_TIMER, 0x20041);
	set_reg(0, LAPIC_TIMER_INITIAL, 1);
	assert_true(timers(0) > fake_tsc);
	fake_tsc += 1000;
	timers(0);
	reg(0, LAPIC_TIMER_CURRENT);
}

static void test_masked_timer(void **state)
{
	machine(1);
	enable_apic(0);
	set_reg(0, LAPIC_LVT_TIMER, 0x10041);
	set_reg(0, LAPIC_TIMER_DIVIDE, 0xb);
	set_reg(0, LAPIC_TIMER_INITIAL, 1000);
	fake_tsc += 500 * TICKS;
	assert_int_equal(reg(0, LAPIC_TIMER_CURRENT), 500);
	fake_tsc += 500 * TICKS;
	timers(0);
	assert_int_equal(pending(0), -1);
	set_reg(0, LAPIC_LVT_TIMER, 0x41); /* too late: it has gone */
	timers(0);
	assert_int_equal(pending(0), -1);
}

static void test_mode_change_keeps_count(void **state)
{
	machine(1);
	enable_apic(0);
	set_reg(0, LAPIC_LVT_TIMER, 0x41);
	set_reg(0, LAPIC_TIMER_DIVIDE, 0xb);
	set_reg(0, LAPIC_TIMER_INITIAL, 1000000);
	fake_tsc += 300000 * TICKS;
	set_reg(0, LAPIC_LVT_TIMER, 0x20041);
	assert_int_equal(timers(0), fake_tsc + 700000 * TICKS);
	fake_tsc += 700000 * TICKS;
	assert_int_equal(timers(0), fake_tsc + 1000000 * TICKS);
	set_reg(0, LAPIC_LVT_TIMER, 0x20042); /* a new vector only */
	assert_int_equal(timers(0), fake_tsc + 1000000 * TICKS);
}

static void test_expired_before_lvt_write(void **state)
{
	machine(1);
	enable_apic(0);
	set_reg(0, LAPIC_LVT_TIMER, 0x41);
	set_reg(0, LAPIC_TIMER_INITIAL, 10);
	fake_tsc += 1000;
	set_reg(0, LAPIC_LVT_TIMER, 0x10041);
	assert_int_equal(acknowledge(0), 0x41);
	set_reg(0, LAPIC_EOI, 0);
	set_reg(0, LAPIC_LVT_TIMER, 0x41);
	set_reg(0, LAPIC_TIMER_INITIAL, 10);
	fake_tsc += 1000;
	set_reg(0, LAPIC_TIMER_INITIAL, 100000);
	assert_int_equal(acknowledge(0), 0x41);
}

static void test_timer_illegal_vector(void **state)
{
	machine(1);
	enable_apic(0);
	set_reg(0, LAPIC_LVT_TIMER, 0x05);
	set_reg(0, LAPIC_TIMER_INITIAL, 10);
	fake_tsc += 1000;
	timers(0);
	set_reg(0, LAPIC_ESR, 0);
	assert_int_equal(reg(0, LAPIC_ESR), LAPIC_ERROR_RECEIVE_ILLEGAL_VECTOR);
	assert_int_equal(pending(0), -1);
}

static void test_tsc_deadline(void **state)
{
	machine(1);
	enable_apic(0);
	vcpus[0].tsc_offset = 5000ull - fake_tsc; /* the guest's TSC shows 5000 */
	assert_int_equal(msr_write(0, MSR_TSC_DEADLINE, 6000), 0);
	assert_int_equal(msr(0, MSR_TSC_DEADLINE), 0); /* not in this mode */
	set_reg(0, LAPIC_LVT_TIMER, 0x40042);
	vcpus[0].request = 0;
	assert_int_equal(msr_write(0, MSR_TSC_DEADLINE, 6000), 0);
	assert_true(vcpus[0].request & REQUEST_TIMER);
	assert_int_equal(msr(0, MSR_TSC_DEADLINE), 6000);
	assert_int_equal(timers(0), fake_tsc + 1000);
	assert_int_equal(reg(0, LAPIC_TIMER_CURRENT), 0);
	set_reg(0, LAPIC_TIMER_INITIAL, 77); /* ignored in this mode */
	assert_int_equal(reg(0, LAPIC_TIMER_INITIAL), 0);
	fake_tsc += 999;
	assert_int_equal(timers(0), fake_tsc + 1);
	assert_int_equal(pending(0), -1);
	fake_tsc++;
	assert_int_equal(timers(0), NO_DEADLINE);
	assert_int_equal(acknowledge(0), 0x42);
	assert_int_equal(msr(0, MSR_TSC_DEADLINE), 0);
	set_reg(0, LAPIC_EOI, 0);
	/* In the past: at once. */
	msr_write(0, MSR_TSC_DEADLINE, 1);
	timers(0);
	assert_int_equal(acknowledge(0), 0x42);
	/* Far away, and 0 to disarm. */
	msr_write(0, MSR_TSC_DEADLINE, ~0ull);
	assert_true(timers(0) > fake_tsc);
	msr_write(0, MSR_TSC_DEADLINE, 0);
	assert_int_equal(timers(0), NO_DEADLINE);
}

/* A guest whose TSC is slower or faster than the host's: never early, one host tick late at most.
 */
static void test_tsc_deadline_at_another_rate(void **state)
{
	static const u64 ratios[] = {TSC_RATIO_ONE / 3, TSC_RATIO_ONE - 1, TSC_RATIO_ONE + 1,
				     TSC_RATIO_ONE * 7 / 2};

	machine(1);
	enable_apic(0);
	set_reg(0, LAPIC_LVT_TIMER, 0x40042);
	for (u32 i = 0; i < ARRAY_SIZE(ratios); i++) {
		u64 deadline, due;

		vcpus[0].tsc_ratio = ratios[i];
		vcpus[0].tsc_offset = 5000 + i;
		deadline = vcpu_tsc_at(&vcpus[0], fake_tsc) + 1000003;
		msr_write(0, MSR_TSC_DEADLINE, deadline);
		due = timers(0);
		assert_true(vcpu_tsc_at(&vcpus[0], due) >= deadline);
		assert_true(vcpu_tsc_at(&vcpus[0], due - 2) < deadline);
		fake_tsc = due;
		assert_int_equal(timers(0), NO_DEADLINE);
		assert_int_equal(acknowledge(0), 0x42);
		set_reg(0, LAPIC_EOI, 0);
	}
	msr_write(0, MSR_TSC_DEADLINE, ~0ull);
	assert_true(timers(0) > fake_tsc);
}

static void test_tsc_deadline_follows_offset(void **state)
{
	machine(1);
	enable_apic(0);
	set_reg(0, LAPIC_LVT_TIMER, 0x40042);
	msr_write(0, MSR_TSC_DEADLINE, fake_tsc + 1000);
	assert_int_equal(timers(0), fake_tsc + 1000);
	vcpus[0].tsc_offset = 400; /* the guest wrote its TSC */
	assert_int_equal(timers(0), fake_tsc + 600);
}

static void test_leaving_deadline_mode_disarms(void **state)
{
	machine(1);
	enable_apic(0);
	set_reg(0, LAPIC_LVT_TIMER, 0x40042);
	msr_write(0, MSR_TSC_DEADLINE, fake_tsc + 1000);
	set_reg(0, LAPIC_LVT_TIMER, 0x42);
	assert_int_equal(timers(0), NO_DEADLINE);
	set_reg(0, LAPIC_TIMER_INITIAL, 1000);
	assert_true(timers(0) != NO_DEADLINE);
	set_reg(0, LAPIC_LVT_TIMER, 0x40042);
	assert_int_equal(timers(0), NO_DEADLINE);
	assert_int_equal(reg(0, LAPIC_TIMER_INITIAL), 0);
	assert_int_equal(msr(0, MSR_TSC_DEADLINE), 0);
}

/* ---- EOI and broadcast suppression ----------------------------------------------------------- */

static void test_suppress_needs_split(void **state)
{
	machine(1);
	set_reg(0, LAPIC_SVR, 0x11ff);
	assert_int_equal(reg(0, LAPIC_SVR), 0x1ff);
	machine_vm();
	assert_int_equal(irqchip_create_split(&vm, 24), 0);
	add_vcpu(0, 0);
	assert_int_equal(reg(0, LAPIC_VERSION), 0x1050014);
	set_reg(0, LAPIC_SVR, 0x11ff);
	assert_int_equal(reg(0, LAPIC_SVR), 0x11ff);
	request(0, 0x40);
	acknowledge(0);
	set_reg(0, LAPIC_EOI, 0);
	leaf1[0].ecx = 0;
	assert_int_equal(reg(0, LAPIC_VERSION), 0x50014);
}

/* ---- KVM_GET_LAPIC, KVM_SET_LAPIC ------------------------------------------------------------ */

static u32 word(const struct kvm_lapic_state *s, u32 offset)
{
	u32 w;

	memcpy(&w, &s->regs[offset], 4);
	return w;
}

static void put_word(struct kvm_lapic_state *s, u32 offset, u32 w)
{
	memcpy(&s->regs[offset], &w, 4);
}

static void test_state_round_trip(void **state)
{
	struct kvm_lapic_state s, again;

	machine(2);
	enable_all();
	request(0, 0x40);
	request(0, 0x90);
	acknowledge(0);
	set_reg(0, LAPIC_LVT_TIMER, 0x20055);
	set_reg(0, LAPIC_TIMER_DIVIDE, 0xb);
	set_reg(0, LAPIC_TIMER_INITIAL, 1000000);
	fake_tsc += 250000 * TICKS;
	memset(&s, 0xaa, sizeof(s));
	assert_int_equal(lapic_get(&vcpus[0], &s), 0);
	assert_int_equal(word(&s, LAPIC_TIMER_CURRENT), 750000);
	assert_int_equal(word(&s, LAPIC_PPR), 0x90);
	assert_int_equal(word(&s, LAPIC_VERSION), 0x50014);
	for (u32 i = 0; i < sizeof(s); i++) /* nothing of the buffer shines through */
		assert_true(i % 16 < 4 || s.regs[i] == 0);
	machine(2);
	assert_int_equal(lapic_set(&vcpus[0], &s), 0);
	assert_true(vcpus[0].request & REQUEST_EVENT);
	assert_int_equal(lapic_get(&vcpus[0], &again), 0);
	assert_memory_equal(&s, &again, sizeof(s));
	assert_int_equal(timers(0), fake_tsc + 750000 * TICKS);
	set_reg(0, LAPIC_EOI, 0);
	assert_int_equal(acknowledge(0), 0x40);
}

static void test_state_timer_cases(void **state)
{
	struct kvm_lapic_state s;

	machine(1);
	lapic_get(&vcpus[0], &s);
	put_word(&s, LAPIC_SVR, 0x1ff);
	put_word(&s, LAPIC_LVT_TIMER, 0x41);
	put_word(&s, LAPIC_TIMER_DIVIDE, 0xb);
	put_word(&s, LAPIC_TIMER_INITIAL, 1000000);
	put_word(&s, LAPIC_TIMER_CURRENT, 0); /* a one-shot that has fired */
	assert_int_equal(lapic_set(&vcpus[0], &s), 0);
	assert_int_equal(timers(0), NO_DEADLINE);
	put_word(&s, LAPIC_LVT_TIMER, 0x20041);
	assert_int_equal(lapic_set(&vcpus[0], &s), 0);
	assert_int_equal(timers(0), fake_tsc + 1000000 * TICKS);
	put_word(&s, LAPIC_TIMER_CURRENT, ~0u); /* more than the initial count */
	assert_int_equal(lapic_set(&vcpus[0], &s), 0);
	assert_int_equal(timers(0), fake_tsc + 1000000 * TICKS);
	put_word(&s, LAPIC_LVT_TIMER, 0x40041);
	assert_int_equal(lapic_set(&vcpus[0], &s), 0);
	assert_int_equal(timers(0), NO_DEADLINE);
}

static void test_state_keeps_tsc_deadline(void **state)
{
	struct kvm_lapic_state s;

	machine(1);
	enable_apic(0);
	set_reg(0, LAPIC_LVT_TIMER, 0x40042);
	assert_int_equal(msr_write(0, MSR_TSC_DEADLINE, fake_tsc + 1000), 0);
	lapic_get(&vcpus[0], &s);
	vcpus[0].request = 0;
	assert_int_equal(lapic_set(&vcpus[0], &s), 0);
	assert_true(vcpus[0].request & REQUEST_TIMER);
	assert_int_equal(timers(0), fake_tsc + 1000);
}

static void test_state_is_sanitised(void **state)
{
	struct kvm_lapic_state s, out;

	machine(1);
	memset(&s, 0xff, sizeof(s));
	assert_int_equal(lapic_set(&vcpus[0], &s), 0);
	assert_int_equal(lapic_get(&vcpus[0], &out), 0);
	assert_int_equal(word(&out, LAPIC_IRR), 0xffffffff);
	assert_int_equal(word(&out, LAPIC_ISR), 0xffffffff);
	assert_int_equal(word(&out, LAPIC_LVT_ERROR), 0x100ff);
	assert_int_equal(word(&out, LAPIC_SVR), 0x3ff);
	assert_int_equal(word(&out, LAPIC_TPR), 0xff);
	assert_int_equal(word(&out, LAPIC_DFR), 0xffffffff);
	assert_int_equal(word(&out, LAPIC_ICR), 0xffffefff);
	assert_int_equal(word(&out, LAPIC_VERSION), 0x50014);
	while (acknowledge(0) >= 0)
		;
}

/* The state holds them, but nothing has so low a priority that they get in. */
static void test_illegal_vectors_of_a_state_are_never_delivered(void **state)
{
	struct kvm_lapic_state s;

	machine(1);
	enable_apic(0);
	lapic_get(&vcpus[0], &s);
	*(u32 *)&s.regs[LAPIC_IRR] = 0xffff;
	assert_int_equal(lapic_set(&vcpus[0], &s), 0);
	assert_int_equal(reg(0, LAPIC_IRR), 0xffff);
	assert_true(acknowledge(0) < 0);
}

/* kvmtool leaves the APIC software-disabled and opens LINT0 and LINT1. */
static void test_state_unmasked_while_disabled(void **state)
{
	struct kvm_lapic_state s;

	machine(2);
	lapic_get(&vcpus[1], &s);
	put_word(&s, LAPIC_LVT_LINT0, 0x700);
	put_word(&s, LAPIC_LVT_LINT1, 0x400);
	assert_int_equal(lapic_set(&vcpus[1], &s), 0);
	assert_int_equal(reg(1, LAPIC_LVT_LINT0), 0x700);
	assert_true(lapic_accepts_extint(apic(1)));
}

static void test_state_x2apic_id(void **state)
{
	struct kvm_lapic_state s;

	machine(3);
	enable_x2apic(2);
	assert_int_equal(msr_write(2, 0x830, 0x100000044ull), 0);
	lapic_get(&vcpus[2], &s);
	assert_int_equal(word(&s, LAPIC_ID), 2 << 24);
	assert_int_equal(lapic_set(&vcpus[2], &s), 0);
	assert_int_equal(msr(2, 0x802), 2);
	assert_int_equal(msr(2, 0x80d), 4);
	assert_int_equal(msr(2, 0x830), 0x100000044ull);
	vm.x2apic_ids_32bit = true;
	assert_int_equal(lapic_set(&vcpus[2], &s), -EINVAL);
	lapic_get(&vcpus[2], &s);
	assert_int_equal(word(&s, LAPIC_ID), 2);
	assert_int_equal(lapic_set(&vcpus[2], &s), 0);
}

static void test_state_without_apic(void **state)
{
	struct kvm_lapic_state s;

	machine_vm();
	add_vcpu(0, 0);
	assert_int_equal(lapic_get(&vcpus[0], &s), -EINVAL);
	assert_int_equal(lapic_set(&vcpus[0], &s), -EINVAL);
}

static void test_no_memory(void **state)
{
	machine_vm();
	assert_int_equal(irqchip_create(&vm), 0);
	while (pool_alloc(&vm.pool, 1).v != HPA_NONE.v)
		;
	vcpus[0] = (struct vcpu){.vm = &vm};
	assert_int_equal(irqchip_vcpu_init(&vcpus[0]), -ENOMEM);
	assert_null(vcpus[0].lapic);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reset_values),
		cmocka_unit_test(test_writable_bits),
		cmocka_unit_test(test_icr_bits),
		cmocka_unit_test(test_deadline_bit_needs_cpuid),
		cmocka_unit_test(test_access_sizes),
		cmocka_unit_test(test_illegal_register_is_an_error),
		cmocka_unit_test(test_software_disable_masks_lvts),
		cmocka_unit_test(test_software_disabled_takes_nothing),
		cmocka_unit_test(test_mode_transitions),
		cmocka_unit_test(test_vmm_may_set_any_mode),
		cmocka_unit_test(test_base_reserved_bits),
		cmocka_unit_test(test_without_apic_base_is_plain),
		cmocka_unit_test(test_disabled_is_a_hole),
		cmocka_unit_test(test_moved_page),
		cmocka_unit_test(test_disable_resets),
		cmocka_unit_test(test_x2apic_entry_keeps_state),
		cmocka_unit_test(test_init_keeps_base_and_id),
		cmocka_unit_test(test_x2apic_msr_space),
		cmocka_unit_test(test_x2apic_reserved_bits),
		cmocka_unit_test(test_x2apic_icr_is_64_bits),
		cmocka_unit_test(test_self_ipi),
		cmocka_unit_test(test_fuzz_registers),
		cmocka_unit_test(test_priority_order),
		cmocka_unit_test(test_eoi_clears_isr),
		cmocka_unit_test(test_lowest_legal_vectors),
		cmocka_unit_test(test_tpr),
		cmocka_unit_test(test_tpr_accesses_are_reported),
		cmocka_unit_test(test_tpr_and_isr_together),
		cmocka_unit_test(test_cr8),
		cmocka_unit_test(test_physical),
		cmocka_unit_test(test_logical_flat),
		cmocka_unit_test(test_logical_cluster),
		cmocka_unit_test(test_x2apic_destinations),
		cmocka_unit_test(test_broadcast_quirk),
		cmocka_unit_test(test_delivery_modes),
		cmocka_unit_test(test_lowest_takes_turns),
		cmocka_unit_test(test_globally_disabled_matches_nothing),
		cmocka_unit_test(test_trigger_mode_register),
		cmocka_unit_test(test_kick_and_request),
		cmocka_unit_test(test_ipi_shorthands),
		cmocka_unit_test(test_ipi_logical),
		cmocka_unit_test(test_init_sipi),
		cmocka_unit_test(test_spurious_and_illegal_vectors),
		cmocka_unit_test(test_error_vector_illegal_does_not_recurse),
		cmocka_unit_test(test_error_interrupt_once_until_esr_write),
		cmocka_unit_test(test_lint0),
		cmocka_unit_test(test_delivery_races),
		cmocka_unit_test(test_one_shot),
		cmocka_unit_test(test_divide),
		cmocka_unit_test(test_divide_change_while_counting),
		cmocka_unit_test(test_periodic),
		cmocka_unit_test(test_periodic_minimum),
		cmocka_unit_test(test_timer_without_tsc_frequency),
		cmocka_unit_test(test_masked_timer),
		cmocka_unit_test(test_mode_change_keeps_count),
		cmocka_unit_test(test_expired_before_lvt_write),
		cmocka_unit_test(test_timer_illegal_vector),
		cmocka_unit_test(test_tsc_deadline),
		cmocka_unit_test(test_tsc_deadline_at_another_rate),
		cmocka_unit_test(test_tsc_deadline_follows_offset),
		cmocka_unit_test(test_leaving_deadline_mode_disarms),
		cmocka_unit_test(test_suppress_needs_split),
		cmocka_unit_test(test_state_round_trip),
		cmocka_unit_test(test_state_timer_cases),
		cmocka_unit_test(test_state_keeps_tsc_deadline),
		cmocka_unit_test(test_state_is_sanitised),
		cmocka_unit_test(test_illegal_vectors_of_a_state_are_never_delivered),
		cmocka_unit_test(test_state_unmasked_while_disabled),
		cmocka_unit_test(test_state_x2apic_id),
		cmocka_unit_test(test_state_without_apic),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
