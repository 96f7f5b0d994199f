/* SPDX-License-Identifier: MIT */
/* A launched management guest on the fake machine: shared by tests/unit/core_mgmt*.c. */
#pragma once

#include <string.h>

#include "arch-x86/apic.h"
#include "arch-x86/msr.h"
#include "arch-x86/regs.h"
#include "arch-x86/reset.h"
#include "core/mgmt.h"
#include "tests/unit/fake/fake.h"

#define ZERO_PAGE 0x10000ull /* in the fake machine's Keel memory, behind the frame table */
#define GDT	  (FAKE_GUEST + 0x1000)
#define CODE	  (FAKE_GUEST + 0x2000)

static u32 apic[FAKE_CPUS][0x40]; /* registers by offset / 16, of each CPU */
static u32 registers_touched;	  /* APIC accesses of root */
static u32 nmis[FAKE_CPUS];	  /* sent to each */
static jmp_buf after_reset;
static struct virt_ops ops;
static void (*on_sleep)(struct cpu *cpu); /* what happens while a CPU sleeps */
static u32 sleeps;
static void (*before_launch)(void);    /* sets the machine up further */
static struct cpuid_regs fake_leaf[4]; /* leaf 1, 0x80000001, 0x40000000, 0xd.1 */

u32 apic_read(u32 offset)
{
	registers_touched++;
	return apic[this_cpu()->index][offset / 16];
}

void apic_write(u32 offset, u32 value)
{
	u32 *isr = &apic[this_cpu()->index][0x10];

	registers_touched++;
	if (offset == 0xb0) /* EOI */
		for (int word = 7; word >= 0; word--)
			if (isr[word]) {
				isr[word] &= ~(1u << (31 - __builtin_clz(isr[word])));
				return;
			}
	apic[this_cpu()->index][offset / 16] = value;
}

void apic_send_nmi(u32 apic_id)
{
	for (u32 i = 0; i < cpu_count; i++)
		nmis[i] += cpus[i]->apic_id == apic_id;
}

void apic_send_ipi(u32 apic_id, u8 vector)
{
}

void machine_reset(void)
{
	longjmp(after_reset, 1);
}

static inline void test_take_nmi(struct cpu *cpu, bool sleep)
{
	if (sleep) {
		sleeps++;
		if (on_sleep)
			on_sleep(cpu);
	}
	if (nmis[cpu->index]) {
		nmis[cpu->index] = 0;
		cpu->root_flags |= CPU_ROOT_NMI;
	}
}

static inline struct cpuid_regs test_cpuid(u32 leaf, u32 subleaf)
{
	switch (leaf) {
	case 0:
		return (struct cpuid_regs){.eax = 0x1f};
	case 1:
		return fake_leaf[0];
	case 0xd:
		if (subleaf == 1)
			return fake_leaf[3];
		return (struct cpuid_regs){.eax = 3, .ebx = 576, .ecx = 576};
	case 0x80000000:
		return (struct cpuid_regs){.eax = 0x80000030};
	case 0x80000001:
		return fake_leaf[1];
	case 0x80000008:
		return (struct cpuid_regs){.eax = 0x3028, .ebx = ~0u};
	case 0x40000000:
		return fake_leaf[2];
	}
	return (struct cpuid_regs){~0u, ~0u, ~0u, ~0u};
}

static struct boot_cpu_state launch_state = {
	.gpr = {1, 2, 3, 4, 0x7000, 6},
	.rip = CODE,
	.rflags = RFLAGS_ONE,
	.cr0 = CR0_PE | CR0_ET,
	.gdt_base = GDT,
	.gdt_limit = 0x37,
	.idt_base = 0x9000,
	.idt_limit = 0xfff,
	.cs = 0x08,
	.ss = 0x10,
	.ds = 0x10,
	.es = 0x10,
	.dr6 = DR6_INIT,
	.dr7 = DR7_INIT,
	.star = 0x11,
	.sysenter_eip = 0x22,
};

/* `count` CPUs with a management vCPU each; this thread is on CPU 0. */
static inline void launch(u32 count)
{
	struct mgmt_boot boot = {
		.pool_base = HPA(1 << 20),
		.pool_pages = 2000,
		.reserved_base = HPA(0),
		.reserved_pages = FAKE_KEEL_SIZE / PAGE_SIZE,
		.zero_page = HPA(ZERO_PAGE),
		.ram_end = FAKE_RAM_SIZE,
		.cpu_count = count,
		.pm1a_control = 0x604,
		.pm1a_event = 0x600,
		.s3_type = 1,
		.s4_type = 2,
	};
	u64 *gdt = phys_ptr(HPA(GDT));

	fake_machine_init(count);
	ops = fake_virt_ops;
	ops.take_nmi = test_take_nmi;
	virt = &ops;
	virt_features |= VIRT_INVPCID | VIRT_RDTSCP | VIRT_XSAVES | VIRT_WAITPKG;
	fake_cpuid = test_cpuid;
	memset(fake_leaf, 0, sizeof(fake_leaf));
	fake_msr_set(MSR_APIC_BASE, MGMT_APIC_PAGE | APIC_BASE_ENABLE);
	if (before_launch)
		before_launch();
	memset(mgmt_vm(), 0, sizeof(struct vm));
	memset(&mgmt_counters, 0, sizeof(mgmt_counters));
	memset(apic, 0, sizeof(apic));
	memset(nmis, 0, sizeof(nmis));
	on_sleep = NULL;
	sleeps = 0;
	gdt[1] = 0x00cf9b000000ffff; /* 32-bit code */
	gdt[2] = 0x00cf93000000ffff;
	gdt[3] = 0x12008934560000ff; /* a TSS, base 0x12345600... */
	gdt[4] = 0xfffff800;
	assert_int_equal(mgmt_init(&boot), 0);
	for (u32 i = 0; i < count; i++) {
		fake_cpu_set(i);
		apic[i][0xd] = BIT(i) << 24;
		apic[i][0xe] = ~0u;
		assert_int_equal(mgmt_cpu_launch(cpus[i], &launch_state), 0);
	}
	fake_cpu_set(0);
}

static inline struct vcpu *here(void)
{
	return this_cpu()->management;
}

static inline struct fake_vcpu *hw(void)
{
	return fake_vcpu(&here()->v);
}

/* Runs one exit of each reason in the queue, then a hypercall, which ends the run. */
static inline void run(void)
{
	struct vm_exit end = {.reason = EXIT_HYPERCALL, .insn_len = 3};

	fake_push_exit(&end);
	here()->v.gpr[GPR_RAX] = MGMT_HYPERCALL;
	mgmt_run(here());
	assert_int_equal(fake_exits_left(), 0);
}

static inline void exit_with(struct vm_exit e)
{
	fake_push_exit(&e);
}

/* The exception that the guest got last. */
static inline const struct virt_event *delivered(u32 vector)
{
	const struct virt_event *event;

	assert_int_not_equal(hw()->delivered_count, 0);
	event = &hw()->delivered[(hw()->delivered_count - 1) % FAKE_EVENTS];
	assert_int_equal(event->type, EVENT_EXCEPTION);
	assert_int_equal(event->vector, vector);
	return event;
}
