/* SPDX-License-Identifier: MIT */
/*
 * A VM for the tests of core/: two CPUs with management vCPUs, one child whose memory is one slot
 * at 0, mapped from the management guest's RAM, and a processor whose CPUID is known.
 */
#pragma once

#include "tests/unit/fake/fake.h"

#include <stdio.h>
#include <string.h>

#include "arch-x86/apic.h"
#include "arch-x86/msr.h"
#include "arch-x86/regs.h"
#include "core/control.h"
#include "core/cpuid.h"
#include "core/debug.h"
#include "core/event.h"
#include "core/msr.h"
#include "core/run.h"
#include "core/stats.h"
#include "core/vm.h"
#include "core/xstate.h"

#define GUEST_SIZE (4ull << 20) /* of the slot at 0 */
#define GUEST_AT   (FAKE_GUEST + (8ull << 20))
#define RUN_AT	   (FAKE_GUEST + (1ull << 20)) /* kvm_run's pages */
#define GUEST_HVA  0x7f0000000000ull
#define TABLES	   0x300000ull /* the guest's page tables, in its memory */
#define CODE	   0x1000ull

static struct vm *machine_vm, *machine_management;
static struct vcpu *vcpu; /* the child's first */
static u32 ipis, ipi_apic_id;
static u8 ipi_vector;

/* arch-x86's, which needs an APIC */
void apic_send_ipi(u32 apic_id, u8 vector);
void apic_send_ipi(u32 apic_id, u8 vector)
{
	ipis++;
	ipi_apic_id = apic_id;
	ipi_vector = vector;
}

static u32 machine_vendor_ebx; /* leaf 0's EBX */
static u32 machine_no_xsave;

/* A processor with AVX, PKU, and all that is looked for; 40 address bits. */
static inline struct cpuid_regs machine_cpuid(u32 leaf, u32 subleaf)
{
	switch (leaf) {
	case 0:
		return (struct cpuid_regs){0x1f, machine_vendor_ebx, 0x444d4163, 0x69746e65};
	case 1:
		return (struct cpuid_regs){0x800f12, 0x03020800,
					   ~0u & ~(machine_no_xsave ? BIT(26) : 0), ~0u};
	case 2:
		return (struct cpuid_regs){0xff, 0, 0, 0};
	case 4:
	case 0x8000001d:
		return (struct cpuid_regs){subleaf < 3 ? subleaf + 1 : 0, subleaf, 0, 0};
	case 7:
		return subleaf > 1 ? (struct cpuid_regs){0}
				   : (struct cpuid_regs){subleaf ? ~0u : 1, ~0u, ~0u, ~0u};
	case 0xd:
		if (subleaf == 0)
			return (struct cpuid_regs){0x207, 0x340, 0xa88, 0};
		if (subleaf == 1)
			return (struct cpuid_regs){0xf, 0x340, 0, 0};
		if (subleaf == 2)
			return (struct cpuid_regs){0x100, 0x240, 0, 0};
		if (subleaf == 9)
			return (struct cpuid_regs){8, 0xa80, 0, 0};
		return (struct cpuid_regs){0};
	case 0x80000000:
		return (struct cpuid_regs){0x80000021, machine_vendor_ebx, 0x444d4163, 0x69746e65};
	case 0x80000008:
		return (struct cpuid_regs){0x3028, ~0u, ~0u, ~0u};
	case 0xa:
		return (struct cpuid_regs){0};
	default:
		return (struct cpuid_regs){~0u, ~0u, ~0u, ~0u};
	}
}

static inline void *guest_at(u64 gpa)
{
	return phys_ptr(HPA(GUEST_AT + gpa));
}

static inline u64 reg(enum virt_reg which)
{
	return virt->get(&vcpu->v, which);
}

static inline void set_reg(enum virt_reg which, u64 value)
{
	virt->set(&vcpu->v, which, value);
}

static inline void set_seg(enum seg seg, u16 selector, u64 base, u32 limit, u16 attr)
{
	struct segment s = {selector, attr, limit, base};

	virt->set_segment(&vcpu->v, seg, &s);
}

/* 32-bit protected mode, flat, no paging, CPL 0. */
static inline void mode_flat(void)
{
	set_seg(SEG_CS, 8, 0, 0xffffffff, SEG_P | SEG_S | 0xb | SEG_DB | SEG_G);
	for (u32 seg = SEG_ES; seg <= SEG_GS; seg++)
		if (seg != SEG_CS)
			set_seg(seg, 16, 0, 0xffffffff, SEG_P | SEG_S | 3 | SEG_DB | SEG_G);
	set_reg(VREG_CR0, CR0_PE | CR0_ET);
	vcpu->v.rip = CODE;
}

static inline void mode_cpl(u32 cpl)
{
	set_seg(SEG_SS, 16 | cpl, 0, 0xffffffff, SEG_P | SEG_S | 3 | SEG_DB | SEG_G | cpl << 5);
}

/* Long mode; the low 2 MiB in 4 KiB pages, the next 2 MiB as one large page. User, writable. */
static inline void mode_long(void)
{
	u64 *pml4 = guest_at(TABLES), *pdpt = guest_at(TABLES + 0x1000);
	u64 *pd = guest_at(TABLES + 0x2000), *pt = guest_at(TABLES + 0x3000);
	u64 all = PTE_P | PTE_W | PTE_U | PTE_A;

	pml4[0] = (TABLES + 0x1000) | all;
	pdpt[0] = (TABLES + 0x2000) | all;
	pd[0] = (TABLES + 0x3000) | all;
	pd[1] = 0x200000 | all | PTE_PS | PTE_D;
	for (u64 i = 0; i < 512; i++)
		pt[i] = i << 12 | all | PTE_D;
	mode_flat();
	set_seg(SEG_CS, 8, 0, 0xffffffff, SEG_P | SEG_S | 0xb | SEG_L | SEG_G);
	set_reg(VREG_CR3, TABLES);
	set_reg(VREG_CR4, CR4_PAE);
	set_reg(VREG_EFER, EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE);
	set_reg(VREG_CR0, CR0_PG | CR0_PE | CR0_ET);
}

/* Real mode with CS at `base`. */
static inline void mode_real(u64 base)
{
	set_seg(SEG_CS, base >> 4, base, 0xffff, SEG_P | SEG_S | 0xb);
	for (u32 seg = SEG_ES; seg <= SEG_GS; seg++)
		if (seg != SEG_CS)
			set_seg(seg, 0, 0, 0xffff, SEG_P | SEG_S | 3);
	set_reg(VREG_CR0, CR0_ET);
	vcpu->v.rip = 0;
}

static inline struct vm *machine_new_vm(u64 pool_base, u64 pages, enum virt_kind kind)
{
	struct vm *vm = phys_ptr(HPA(pool_base));

	memset(vm, 0, sizeof(*vm));
	pool_init(&vm->pool);
	assert_int_equal(pool_add(&vm->pool, HPA(pool_base + 0x10000), pages), 0);
	assert_int_equal(vm_init(vm, kind), 0);
	return vm;
}

static inline void machine_management_cpus(void)
{
	machine_management = machine_new_vm(16ull << 20, 1024, VIRT_MANAGEMENT);
	for (u32 i = 0; i < cpu_count; i++) {
		assert_int_equal(vcpu_create(machine_management, i, &cpus[i]->management), 0);
		fake_cpu_set(i);
		virt->load(&cpus[i]->management->v, cpus[i]);
	}
	fake_cpu_set(0);
}

/* The child: its vCPU 0 is `vcpu`, runnable, in 32-bit flat mode at CODE. */
static inline void machine_init(void)
{
	fake_machine_init(2);
	fake_cpuid = machine_cpuid;
	machine_vendor_ebx = 0x68747541;
	machine_no_xsave = 0;
	fake_cr[4] = CR4_OSXSAVE;
	xstate_forget();
	ipis = 0;
	vcpu_kick_vector = 0xf2;
	host_tsc_khz = 1000000;
	machine_management_cpus();
	machine_vm = machine_new_vm(4ull << 20, 1024, VIRT_CHILD);
	assert_int_equal(memslot_set(&machine_vm->mem, 0, 0, GPA(0), GUEST_SIZE, GUEST_HVA), 0);
	memslot_set_finish(&machine_vm->mem);
	assert_int_equal(guest_mem_map(&machine_vm->mem, GPA(0), HPA(GUEST_AT), GUEST_SIZE, true),
			 0);
	assert_int_equal(vcpu_create(machine_vm, 0, &vcpu), 0);
	vcpu->io_data = (u8 *)phys_ptr(HPA(RUN_AT)) + PAGE_SIZE;
	mode_flat();
}

static inline void machine_cpuid_all(void)
{
	struct cpuid_entry entries[96];
	u32 count = cpuid_supported(entries, ARRAY_SIZE(entries));

	assert_true(count <= ARRAY_SIZE(entries));
	assert_int_equal(cpuid_set(vcpu, entries, count), 0);
}

static inline enum run_outcome run_on(u32 cpu, u64 armed)
{
	enum run_outcome outcome;

	virt->release(&vcpu->v); /* the test itself looked at it, on CPU 0 */
	fake_cpu_set(cpu);
	assert_true(vcpu_take(vcpu));
	outcome = vcpu_run(vcpu, cpus[cpu], armed);
	vcpu_release(vcpu);
	fake_cpu_set(0);
	/* Whatever happened, the management guest is back and the child is not in the guest. */
	assert_ptr_equal(cpus[cpu]->loaded, &cpus[cpu]->management->v);
	assert_int_equal(vcpu->in_guest, 0);
	return outcome;
}

static inline enum run_outcome run(void)
{
	return run_on(0, NO_DEADLINE);
}

/* The guest exits so, and then with a host interrupt. */
static inline void push(u16 reason, u8 length)
{
	fake_push_exit(&(struct vm_exit){.reason = reason, .insn_len = length});
}

static inline void run_exit(struct vm_exit e)
{
	fake_push_exit(&e);
	push(EXIT_INTR, 0);
	assert_int_equal(run(), RUN_INTERRUPTED);
	assert_int_equal(fake_exits_left(), 0);
}

static inline void run_insn(u16 reason, u8 length)
{
	run_exit((struct vm_exit){.reason = reason, .insn_len = length});
}

/* The newest event that the guest got; EVENT_NONE: none so far. */
static inline struct virt_event last_event(void)
{
	struct fake_vcpu *f = fake_vcpu(&vcpu->v);

	if (!f->delivered_count)
		return (struct virt_event){0};
	return f->delivered[(f->delivered_count - 1) % FAKE_EVENTS];
}

static inline void assert_exception(u8 vector)
{
	assert_int_equal(last_event().type, EVENT_EXCEPTION);
	assert_int_equal(last_event().vector, vector);
}

static inline u32 events_delivered(void)
{
	return fake_vcpu(&vcpu->v)->delivered_count;
}
