/* SPDX-License-Identifier: MIT */
/*
 * Per-CPU data of root mode. Each CPU owns one 64 KiB aligned block of virtual addresses:
 *
 *   +0x0000  struct cpu (two pages)
 *   +0x2000  guard page
 *   +0x3000  root stack, 16 KiB, grows down from +0x7000
 *   +0x7000  guard, then three IST stacks of 8 KiB (#DF, NMI, #MC), a guard page below each
 *
 * All stacks lie inside the block, so the stack pointer alone finds it: SVM does not reload GS on
 * an exit (design D3).
 */
#pragma once

#include "arch-x86/addr.h"

#define CPU_BLOCK_SIZE 0x10000ull
#define CPU_MAX	       64

struct exit_ring;
struct vcpu;
struct virt_vcpu;

/* Which hypercall object a CPU works on (kvm/handle.c). */
struct cpu_object {
	u32 slot; /* the offset of the VM's slot; 0: none. Other CPUs look at it */
	/* The vCPU that was found last, and by which handle: good while its slot has `live`. */
	u32 offset;
	u64 live, handle;
	struct vcpu *vcpu;
};

struct cpu {
	u32 index; /* 0 is the BSP */
	u32 apic_id;
	bool online; /* in guest mode, or in root on behalf of its management vCPU */
	bool x2apic_capable;
	hpa_t host_area;	    /* SVM: VM_HSAVE_PA; VMX: VMXON region */
	struct vcpu *management;    /* this CPU's management vCPU */
	struct virt_vcpu *loaded;   /* whose extra state the processor holds */
	struct virt_vcpu *current;  /* VMX: whose VMCS is current; NULL: nobody's */
	struct virt_vcpu *dr_owner; /* whose DR0 to DR3 it holds; NULL: nobody's */
	u32 dr_mask[4]; /* SVM: the management guest's DRn_ADDR_MASK, while a child has DR0-3 */
	u32 last_vm;	/* number of the VM whose child ran here last; 0: none yet */
	u64 asid_generation;
	u32 asid_next, asid_count;
	u64 management_generation_seen; /* the donation epoch this CPU has flushed for (D6) */
	u32 kick_pending;		/* an NMI sent by Keel is in flight to this CPU */
	union {
		u64 attention; /* not 0: something stands in these */
		struct {
			u32 request; /* enum cpu_request, set by other CPUs */
			bool waiting_for_sipi;
			u8 root_flags; /* enum cpu_root_flag, of root's NMI and #MC handlers */
		};
	};
	u8 sipi_vector;
	struct cpu_object object;
	/* An NMI that hits root at an address in [begin, end) returns to end: closes HLT's race. */
	u64 sleep_begin, sleep_end;
	struct exit_ring *ring; /* core/stats.h: its last exits; NULL: not set up yet */
	void *arch;		/* arch-x86: GDT, TSS and IDT of this CPU */
};

enum cpu_request {
	CPU_REQUEST_INIT = BIT(0),
	CPU_REQUEST_SIPI = BIT(1),
};

enum cpu_root_flag {
	CPU_ROOT_NMI = BIT(0),
	CPU_ROOT_MCE = BIT(1),
};

#ifdef UNIT_TEST
struct cpu *this_cpu(void);
#else
static inline struct cpu *this_cpu(void)
{
	u64 sp;

	__asm__("mov %%rsp, %0" : "=r"(sp));
	return (struct cpu *)(sp & ~(CPU_BLOCK_SIZE - 1));
}
#endif

extern u32 cpu_count;
extern u32 cpu_panicking; /* index + 1 of the CPU that panics; 0: none */
/* Stops this CPU for good when another one panics: called where an NMI brought it into root. */
void cpu_check_panic(void);
extern struct cpu *cpus[CPU_MAX];
