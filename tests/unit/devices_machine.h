/* SPDX-License-Identifier: MIT */
/*
 * A VM with interrupt controllers and up to eight vCPUs for the tests of devices/. The TSC runs
 * at 2 GHz and only when a test moves fake_tsc. What devices/ asks of core/ is recorded.
 */
#pragma once

#include "tests/unit/fake/fake.h"

#include <stdlib.h>
#include <string.h>

#include "arch-x86/msr.h"
#include "arch-x86/regs.h"
#include "core/vm.h"
#include "devices/irqchip.h"
#include "devices/kvmclock.h"
#include "devices/lapic.h"
#include "devices/time.h"

#define VCPUS	8
#define KHZ	2000000u
#define TICKS	2ull /* TSC ticks in a nanosecond */
#define APIC	0xfee00000ull
#define IO_APIC 0xfec00000ull

static struct vm vm;
static struct vcpu vcpus[VCPUS];
static struct cpuid_entry leaf1[VCPUS];
static u32 kicks[VCPUS], nmis[VCPUS], inits[VCPUS], sipis[VCPUS];

static u32 number_of(const struct vcpu *vcpu)
{
	return (u32)(vcpu - vcpus);
}

void vcpu_kick(struct vcpu *vcpu, u32 bits)
{
	vcpu_set_request(vcpu, bits);
	__atomic_fetch_add(&kicks[number_of(vcpu)], 1, __ATOMIC_RELAXED);
}

void vcpu_post_nmi(struct vcpu *vcpu)
{
	nmis[number_of(vcpu)]++;
}

void vcpu_post_init(struct vcpu *vcpu)
{
	inits[number_of(vcpu)]++;
}

void vcpu_post_sipi(struct vcpu *vcpu, u8 vector)
{
	sipis[number_of(vcpu)]++;
	vcpu->sipi_vector = vector;
}

bool vcpu_memory_fault(struct vcpu *vcpu, gpa_t gpa, bool write)
{
	struct memslot slot;

	if (!memslot_get(&vcpu->vm->mem, gpa, &slot) || (write && slot.flags & MEMSLOT_READONLY))
		return false;
	vcpu->exit.memory.gpa = GPA(ALIGN_DOWN(gpa.v, PAGE_SIZE));
	vcpu->exit.memory.write = write;
	return true;
}

enum { CPUID_X2APIC = 1u << 21, CPUID_DEADLINE = 1u << 24 };

static inline void add_vcpu(u32 i, u32 id)
{
	leaf1[i] = (struct cpuid_entry){.function = 1, .ecx = CPUID_X2APIC | CPUID_DEADLINE};
	vcpus[i] = (struct vcpu){.vm = &vm,
				 .index = i,
				 .id = id,
				 .cpuid = &leaf1[i],
				 .cpuid_count = 1,
				 .physical_bits = 40,
				 .tsc_ratio = TSC_RATIO_ONE,
				 .tsc_khz = KHZ};
	vm.vcpus[i] = &vcpus[i];
	vm.vcpu_count = i + 1;
	if (vm.irqchip)
		assert_int_equal(irqchip_vcpu_init(&vcpus[i]), 0);
}

static inline void machine_vm(void)
{
	fake_machine_init(1);
	fake_tsc = 1000000;
	fake_tsc_step = 0;
	memset(&vm, 0, sizeof(vm));
	memset(vcpus, 0, sizeof(vcpus));
	memset(kicks, 0, sizeof(kicks));
	memset(nmis, 0, sizeof(nmis));
	memset(inits, 0, sizeof(inits));
	memset(sipis, 0, sizeof(sipis));
	vm.tsc_khz = KHZ;
	fake_pool(&vm.pool, 256);
}

/* The full irqchip and `count` vCPUs with the ids 0, 1, 2, ... */
static inline void machine(u32 count)
{
	machine_vm();
	assert_int_equal(irqchip_create(&vm), 0);
	for (u32 i = 0; i < count; i++)
		add_vcpu(i, i);
}

static inline struct lapic *apic(u32 i)
{
	return vcpus[i].lapic;
}

static inline int mmio_read(u32 cpu, u64 address, u32 size, u64 *value)
{
	int result = -1000;

	assert_true(bus_read(&vm.mmio, &vcpus[cpu], address, size, value, &result));
	return result;
}

static inline u32 reg(u32 cpu, u32 offset)
{
	u64 value = 0;

	assert_int_equal(mmio_read(cpu, APIC + offset, 4, &value), 0);
	return (u32)value;
}

static inline void mmio_write(u32 cpu, u64 address, u32 size, u64 value)
{
	int result = -1000;

	assert_true(bus_write(&vm.mmio, &vcpus[cpu], address, size, value, &result));
	assert_int_equal(result, 0);
}

static inline void set_reg(u32 cpu, u32 offset, u32 value)
{
	mmio_write(cpu, APIC + offset, 4, value);
}

static inline int msr_read(u32 cpu, u32 index, u64 *value)
{
	int result = -1000;

	assert_true(bus_read(&vm.msrs, &vcpus[cpu], index, 1, value, &result));
	return result;
}

static inline int msr_write(u32 cpu, u32 index, u64 value)
{
	int result = -1000;

	assert_true(bus_write(&vm.msrs, &vcpus[cpu], index, 1, value, &result));
	return result;
}

static inline u64 msr(u32 cpu, u32 index)
{
	u64 value = 0;

	assert_int_equal(msr_read(cpu, index, &value), 0);
	return value;
}

static inline u8 port_in(u16 port)
{
	u64 value = 0;
	int result = -1000;

	assert_true(bus_read(&vm.ports, &vcpus[0], port, 1, &value, &result));
	assert_int_equal(result, 0);
	return (u8)value;
}

static inline void port_out(u16 port, u8 value)
{
	int result = -1000;

	assert_true(bus_write(&vm.ports, &vcpus[0], port, 1, value, &result));
	assert_int_equal(result, 0);
}

static inline int pending(u32 cpu)
{
	return vm.irqchip->pending(&vcpus[cpu]);
}

static inline int acknowledge(u32 cpu)
{
	return vm.irqchip->acknowledge(&vcpus[cpu]);
}

static inline u64 timers(u32 cpu)
{
	return vm.irqchip->timers(&vcpus[cpu], fake_tsc);
}

static inline void enable_apic(u32 cpu)
{
	set_reg(cpu, LAPIC_SVR, 0x1ff);
}

static inline void enable_all(void)
{
	for (u32 i = 0; i < vm.vcpu_count; i++)
		enable_apic(i);
}

static inline void enable_x2apic(u32 cpu)
{
	assert_int_equal(msr_write(cpu, MSR_APIC_BASE, apic(cpu)->base | APIC_BASE_X2APIC), 0);
	assert_int_equal(msr_write(cpu, 0x80f, 0x1ff), 0);
}

/* Is `vector` requested at this vCPU? */
static inline bool requested(u32 cpu, u8 vector)
{
	return apic(cpu)->regs[(LAPIC_IRR + vector / 32 * 16) / 4] & (1u << (vector % 32));
}

/* A bit for each vCPU that has `vector` requested; takes the requests back. */
static inline u32 receivers(u8 vector)
{
	u32 who = 0;

	for (u32 i = 0; i < vm.vcpu_count; i++) {
		if (requested(i, vector))
			who |= 1u << i;
		apic(i)->regs[(LAPIC_IRR + vector / 32 * 16) / 4] &= ~(1u << (vector % 32));
	}
	return who;
}

/* IOAPIC through its window. */
static inline u32 ioapic_get(u32 index)
{
	u64 value = 0;

	mmio_write(0, IO_APIC, 4, index);
	assert_int_equal(mmio_read(0, IO_APIC + 0x10, 4, &value), 0);
	return (u32)value;
}

static inline void ioapic_put(u32 index, u32 value)
{
	mmio_write(0, IO_APIC, 4, index);
	mmio_write(0, IO_APIC + 0x10, 4, value);
}

static inline void set_rte(u32 pin, u64 rte)
{
	ioapic_put(0x11 + pin * 2, (u32)(rte >> 32));
	ioapic_put(0x10 + pin * 2, (u32)rte);
}

static inline u64 get_rte(u32 pin)
{
	return ioapic_get(0x10 + pin * 2) | (u64)ioapic_get(0x11 + pin * 2) << 32;
}

enum { RTE_L = 0x8000, RTE_M = 0x10000, RTE_RIRR = 0x4000, RTE_LOG = 0x800 };

/* A deterministic generator: the seed is printed when a fuzz test starts. */
static u64 random_state = 88172645463325252ull;

static inline u64 random64(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}
