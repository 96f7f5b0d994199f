/* SPDX-License-Identifier: MIT */
/*
 * The management guest: the firmware, loader or Linux that ran before Keel and goes on as its first
 * guest. It keeps all hardware except Keel's memory; what Keel must hide or filter is here.
 *
 * Lock: one for its second-level tables' owners (mgmt_memory.c), taken before mm/'s. The rest is
 * per CPU, or single words changed atomically.
 */
#pragma once

#include "arch-x86/cpu.h"
#include "arch-x86/cpu_state.h"
#include "core/vm.h"

#define MGMT_HYPERCALL	     0x6c65654bu    /* RAX of a hypercall: kvm/abi.h's KEEL_CALL */
#define MGMT_HYPERCALL_BYTES 3		    /* of VMCALL and of VMMCALL */
#define MGMT_CPUID_STRING    "KeelKeelKeel" /* KEEL_CPUID_STRING */
#define MGMT_INTERFACE	     1u		    /* KEEL_INTERFACE */

/* What boot/ tells. Addresses are physical. */
struct mgmt_boot {
	hpa_t pool_base; /* the management VM's own pages: tables, control blocks */
	u64 pool_pages;
	hpa_t reserved_base; /* all of Keel's memory */
	u64 reserved_pages;
	hpa_t zero_page; /* shown instead of it */
	u64 ram_end;	 /* the first address behind the last RAM */
	u32 cpu_count, tsc_khz;
	u16 pm1a_control, pm1b_control; /* ports; 0: none */
	u16 pm1a_event, pm1b_event;
	u8 s3_type, s4_type; /* SLP_TYP of the sleep states; 0xff: not there */
};

/* Pages that mgmt_boot's pool should have for `count` CPUs. */
u64 mgmt_pool_pages(u64 ram_end, u32 count);
/* Creates the management VM. Once, on the BSP, after frames_init(). -ENOMEM and what mm/ returns.
 */
int mgmt_init(const struct mgmt_boot *boot);
/*
 * On each CPU: root mode on, and a management vCPU that goes on at `state`. Does not enter.
 * cpu->index, apic_id and host_area are set. 0 or -errno.
 */
int mgmt_cpu_launch(struct cpu *cpu, const struct boot_cpu_state *state);
/* Takes mgmt_cpu_launch back, on the same CPU, before anything was entered. */
void mgmt_cpu_undo(struct cpu *cpu);

/*
 * Runs this CPU's management vCPU until its kernel makes a hypercall: RAX was MGMT_HYPERCALL at
 * CPL 0, and RIP stands behind the instruction.
 */
void mgmt_run(struct vcpu *vcpu);
struct vm *mgmt_vm(void);

/*
 * Donation (design D6). mgmt_leave: the frames become Keel's zero page in the management guest's
 * eyes; *epoch is the one to wait for. -EBUSY: some frame is not the management guest's alone;
 * -ENOMEM: no table left to split a large page; -EINVAL: alignment.
 */
int mgmt_leave(hpa_t base, u64 pages, u64 *epoch);
/* The newest epoch. */
u64 mgmt_epoch(void);
/* Has every CPU given up the translations that it could have had before this epoch? */
bool mgmt_epoch_passed(u64 epoch);
/*
 * Brings the CPUs that have not out of the management guest, so that they do, though it does not
 * run them. An NMI of the guest's own that comes to one of them at that moment is lost.
 */
void mgmt_epoch_push(struct cpu *self, u64 epoch);
/* Gives frames (leaving or Keel's, zeroed by the caller) back. Each CPU may see zeros until its
 * next exit. */
void mgmt_return(hpa_t base, u64 pages);

/* Counters for statistics. */
struct mgmt_counters {
	u64 keel_writes;   /* writes to Keel's memory */
	u64 dropped_sipis; /* to CPUs that Keel does not have */
	u64 dropped_sleeps;
};
extern struct mgmt_counters mgmt_counters;
u64 mgmt_writes_refused(void);
/* Keel's own memory, as boot/ reserved it. */
hpa_t mgmt_reserved_base(void);
u64 mgmt_reserved_pages(void);

/* ---- between the files of the management guest ---- */

/* mgmt_memory.c */
int mgmt_memory_init(const struct mgmt_boot *boot);
void mgmt_memory_fault(struct vcpu *vcpu, const struct vm_exit *e);
/* virt_ops.ept: this CPU's MTRRs were written. */
void mgmt_memory_types(void);
extern u64 mgmt_epoch_now;
/* Before each entry: what this CPU's next entry flushes for. */
static inline void mgmt_epoch_seen(struct cpu *cpu)
{
	u64 epoch = __atomic_load_n(&mgmt_epoch_now, __ATOMIC_SEQ_CST);

	if (unlikely(cpu->management_generation_seen != epoch))
		__atomic_store_n(&cpu->management_generation_seen, epoch, __ATOMIC_RELEASE);
}

/* mgmt_cpuid.c */
void mgmt_cpuid_init(void);
/* User programs see whether the processor has VMX or SVM, which its kernel never does (D5). */
void mgmt_show_virt(bool on);
/* Executes CPUID for the vCPU: RAX, RCX in, RAX to RDX out. */
void mgmt_cpuid(struct vcpu *vcpu);

/* mgmt_msr.c */
void mgmt_msr_init(struct vm *vm);
/* 0: done, *value is the result; -EINVAL: #GP. */
int mgmt_rdmsr(struct vcpu *vcpu, u32 index, u64 *value);
int mgmt_wrmsr(struct vcpu *vcpu, u32 index, u64 value);

/* mgmt_apic.c */
#define MGMT_APIC_PAGE 0xfee00000ull
int mgmt_apic_init(struct vm *vm);
void mgmt_apic_cpu_init(struct cpu *cpu);
/* True: an INIT or SIPI, settled here; false: for the hardware. icr as x2APIC has it. */
bool mgmt_apic_icr(struct cpu *cpu, u64 icr, bool x2apic);
/* Makes another CPU leave its guest once, by an NMI. */
void mgmt_kick(struct cpu *self, struct cpu *target);
/* Serves cpu->request, and sleeps while the CPU waits for a SIPI. */
void mgmt_cpu_requests(struct vcpu *vcpu);
/* A physical NMI ended the guest. */
void mgmt_nmi(struct vcpu *vcpu);
/* The guest can take an NMI again, or is about to execute the IRET that ends its own. */
void mgmt_nmi_window(struct vcpu *vcpu);
/* virt_ops.nmi_taken: what hit root since the last look, an NMI or a machine check. */
void mgmt_root_flags(struct vcpu *vcpu);
