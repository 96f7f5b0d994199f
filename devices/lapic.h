/* SPDX-License-Identifier: MIT */
/*
 * The local APIC of one vCPU, xAPIC and x2APIC.
 *
 * No lock. Only the CPU that holds the vCPU changes its registers, except: IRR and TMR bits and
 * `errors`, which other CPUs set with atomics when they deliver an interrupt, and `arbitration`,
 * a hint. Other CPUs read ID, LDR, DFR, SVR, LVT0 and `base` while the owner may write them: each
 * is one aligned word, and an interrupt that races with such a write may take either value, as on
 * hardware.
 */
#pragma once

#include <linux/kvm.h>
#include "core/vcpu.h"

#define LAPIC_DEFAULT_BASE 0xfee00000ull
#define LAPIC_WORDS	   256 /* KVM_APIC_REG_SIZE in 32-bit words */

enum lapic_reg { /* SDM vol. 3, table "Local APIC Register Address Map": byte offsets */
		 LAPIC_ID = 0x20,
		 LAPIC_VERSION = 0x30,
		 LAPIC_TPR = 0x80,
		 LAPIC_APR = 0x90,
		 LAPIC_PPR = 0xa0,
		 LAPIC_EOI = 0xb0,
		 LAPIC_RRD = 0xc0,
		 LAPIC_LDR = 0xd0,
		 LAPIC_DFR = 0xe0,
		 LAPIC_SVR = 0xf0,
		 LAPIC_ISR = 0x100,
		 LAPIC_TMR = 0x180,
		 LAPIC_IRR = 0x200,
		 LAPIC_ESR = 0x280,
		 LAPIC_ICR = 0x300,
		 LAPIC_ICR_HIGH = 0x310,
		 LAPIC_LVT_TIMER = 0x320,
		 LAPIC_LVT_THERMAL = 0x330,
		 LAPIC_LVT_PERF = 0x340,
		 LAPIC_LVT_LINT0 = 0x350,
		 LAPIC_LVT_LINT1 = 0x360,
		 LAPIC_LVT_ERROR = 0x370,
		 LAPIC_TIMER_INITIAL = 0x380,
		 LAPIC_TIMER_CURRENT = 0x390,
		 LAPIC_TIMER_DIVIDE = 0x3e0,
		 LAPIC_SELF_IPI = 0x3f0, /* x2APIC only */
};

enum lapic_error {
	LAPIC_ERROR_SEND_ILLEGAL_VECTOR = BIT(5),
	LAPIC_ERROR_RECEIVE_ILLEGAL_VECTOR = BIT(6),
	LAPIC_ERROR_ILLEGAL_REGISTER = BIT(7),
};

enum delivery_mode {
	DELIVER_FIXED,
	DELIVER_LOWEST,
	DELIVER_SMI,
	DELIVER_REMOTE_READ,
	DELIVER_NMI,
	DELIVER_INIT,
	DELIVER_SIPI,
	DELIVER_EXTINT,
};

struct lapic {
	u32 regs[LAPIC_WORDS]; /* laid out as struct kvm_lapic_state */
	struct vcpu *vcpu;
	u64 base;	  /* IA32_APIC_BASE */
	u64 tsc_deadline; /* guest TSC; 0: not armed */
	u64 expires;	  /* host TSC of the counting timer's next zero; NO_DEADLINE: stopped */
	u64 period;	  /* host TSC ticks from zero to zero, periodic mode */
	u32 errors;	  /* not yet moved to the ESR by a write to it */
	u32 arbitration;  /* how often it was the lowest priority */
};

/* An interrupt message, from an IPI, an IOAPIC or an MSI. */
struct lapic_message {
	u32 destination; /* 8 bits unless wide */
	u8 vector;
	u8 mode; /* enum delivery_mode */
	bool logical;
	bool level;  /* trigger mode */
	bool lowest; /* one of the destinations is enough */
	bool wide;   /* destination has 32 bits: 0xff is an APIC, no broadcast */
};

/* Allocates and resets vcpu->lapic from the VM's pool. -ENOMEM. */
int lapic_create(struct vcpu *vcpu);
/* What an INIT does: everything but IA32_APIC_BASE and the ID. */
void lapic_reset(struct vcpu *vcpu);

/* struct irqchip_ops' parts; -2 of pending: only the TPR holds an interrupt back. */
int lapic_pending(struct lapic *lapic);
int lapic_acknowledge(struct lapic *lapic);
u64 lapic_timers(struct lapic *lapic, u64 now);
void lapic_set_cr8(struct vcpu *vcpu, u64 cr8);
u64 lapic_get_cr8(struct vcpu *vcpu);

/*
 * Delivers to every APIC that the message matches. Callable with any lock held.
 * Returns how many accepted it; 0: nobody matches, or all refuse.
 */
int lapic_deliver(struct vm *vm, const struct lapic_message *message);
/* Is the message for this APIC? */
bool lapic_matches(struct lapic *lapic, const struct lapic_message *message);
/* Does this APIC let the 8259's interrupt through: LINT0 in ExtINT mode, or APIC disabled? */
bool lapic_accepts_extint(const struct lapic *lapic);
/* The PIT ticked: LINT0 in NMI mode makes it a watchdog NMI. */
void lapic_lint0_nmi(struct lapic *lapic);

/* Guest accesses. offset in bytes; MSR index relative to 0x800. 0, -EOPNOTSUPP, -EINVAL: #GP. */
/* Its page is at that address of this vCPU's. */
bool lapic_mapped_at(const struct lapic *lapic, u64 gpa);
int lapic_mmio_read(struct lapic *lapic, u64 offset, u32 size, u64 *value);
int lapic_mmio_write(struct lapic *lapic, u64 offset, u32 size, u64 value);
int lapic_msr_read(struct lapic *lapic, u64 index, u64 *value);
int lapic_msr_write(struct lapic *lapic, u64 index, u64 value);
/* The guest writes IA32_APIC_BASE. -EINVAL: #GP. */
int lapic_write_base(struct lapic *lapic, u64 value);
/* IA32_TSC_DEADLINE, in guest TSC ticks; ignored and 0 in other timer modes. */
u64 lapic_read_tsc_deadline(const struct lapic *lapic);
void lapic_write_tsc_deadline(struct lapic *lapic, u64 value);

/* KVM_GET_LAPIC, KVM_SET_LAPIC. -EINVAL: no APIC, or an ID that is not the vCPU's. */
int lapic_get(struct vcpu *vcpu, struct kvm_lapic_state *state);
int lapic_set(struct vcpu *vcpu, const struct kvm_lapic_state *state);
/* IA32_APIC_BASE as the VMM sees and sets it (any mode to any mode). -EINVAL: reserved bits. */
u64 lapic_base(struct vcpu *vcpu);
int lapic_set_base(struct vcpu *vcpu, u64 value);
