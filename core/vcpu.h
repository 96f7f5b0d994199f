/* SPDX-License-Identifier: MIT */
/*
 * A virtual CPU without a vendor.
 *
 * Who may touch it: the CPU that runs it (vcpu->running held), or a hypercall that has taken
 * `running`. Other CPUs only set bits in `request` and then kick it.
 */
#pragma once

#include "arch-x86/virt.h"
#include "core/emulate.h"
#include "core/exits.h"
#include "mm/phys.h"

struct vm;
struct lapic;
struct exit_stats;

enum vcpu_request {			    /* set with vcpu_request(), from any CPU */
		    REQUEST_EVENT = BIT(0), /* interrupts to look at: ask the irqchip */
		    REQUEST_NMI = BIT(1),   /* one or two NMIs queued in nmi_queued */
		    REQUEST_INIT = BIT(2),
		    REQUEST_SIPI = BIT(3),
		    REQUEST_TIMER = BIT(4), /* a deadline changed: ask the irqchip's timers again */
		    REQUEST_KICK = BIT(5),  /* come back to the management guest once */
		    REQUEST_FLUSH = BIT(6), /* flush this vCPU's translations */
		    REQUEST_DEAD = BIT(7),  /* the VM is being destroyed */
		    REQUEST_TRIPLE_FAULT = BIT(8),
		    REQUEST_CLOCK = BIT(9),   /* kvmclock's page needs an update */
		    REQUEST_EOI = BIT(10),    /* the VMM's IOAPIC is to hear of eoi_vector's end */
		    REQUEST_PDPTES = BIT(11), /* PAE paging was set from outside: load them */
		    REQUEST_RESAMPLE = BIT(12), /* the driver is to hear of interrupts' ends */
		    REQUEST_TPR = BIT(13),	/* the VMM is to hear of tpr_access */
};

enum mp_state { /* KVM_MP_STATE_* */
		MP_RUNNABLE,
		MP_UNINITIALIZED,
		MP_INIT_RECEIVED,
		MP_HALTED,
		MP_SIPI_RECEIVED
};

/* An exception that is to be delivered at the next entry; KVM_GET_VCPU_EVENTS shows it. */
struct pending_exception {
	bool pending;  /* not yet in the VMCB; may still be dropped by a higher one */
	bool injected; /* handed to hardware: re-inject if its delivery was cut short */
	bool has_error, has_payload;
	u8 vector;
	u32 error;
	u64 payload; /* CR2 or DR6 bits */
};

struct pending_interrupt {
	bool injected;
	bool soft;
	u8 vector;
	u8 insn_len;
};

struct vcpu_events {
	struct pending_exception exception;
	struct pending_interrupt interrupt;
	bool nmi_injected;
	u8 nmi_queued;	     /* 0 to 2 */
	bool user_interrupt; /* KVM_INTERRUPT queued user_vector (no in-kernel irqchip, or split) */
	u8 user_vector;
};

#define CPUID_ENTRIES 256 /* KVM_MAX_CPUID_ENTRIES */

/* Laid out as struct kvm_cpuid_entry2. */
struct cpuid_entry {
	u32 function, index, flags, eax, ebx, ecx, edx, padding[3];
};

#define CPUID_SIGNIFICANT_INDEX BIT(0)

struct guest_debug { /* KVM_SET_GUEST_DEBUG */
	u32 control;
	u64 dr[4], dr7;
	u64 single_step_rip;
};

/* MSR values that no hardware register holds while the vCPU runs. */
struct vcpu_msrs {
	u64 apic_base; /* without an in-kernel APIC; else the LAPIC's */
	u64 mtrr_def_type, mtrr_fixed[11], mtrr_base[8], mtrr_mask[8];
	u64 misc_enable, mcg_cap, mcg_status, mcg_ctl, mc[32 * 4];
	u64 tsc_adjust, tsc_aux, xss, spec_ctrl, arch_capabilities, ucode_rev;
	u64 bios_sign, smbase, platform_info, misc_features, power_ctl, tsc_deadline;
	u64 hwcr, perf_status;
	u64 async_pf, steal_time, pv_eoi;
	u64 feature_control, pred_cmd;
	u64 perf_global; /* the management guest's, while a child runs */
};

/* A port access that waits for the VMM, or for a page of guest memory (core/io.c). */
struct io_access {
	union {
		struct virt_io access; /* as it exited */
		struct {
			u16 port;
			u8 size; /* bytes */
			bool in, string, rep;
			u8 segment; /* enum seg: of OUTS' memory operand */
			u8 address_size;
		};
	};
	u8 insn_len;
	u32 count;
};

/*
 * Where the last instruction fetch of this vCPU was translated (core/fetch.c): good as long as the
 * mode, CR3, every guest table entry on the way and the second-level tables are what they were.
 */
#define FETCH_LEVELS 4
struct fetch_cache {
	const u8 *bytes;       /* the page; NULL: nothing is kept */
	u64 rip;	       /* at which it begins */
	struct virt_code code; /* as masked by core/fetch.c */
	u64 slat_generation;
	u32 levels;
	const u64 *entry[FETCH_LEVELS];
	u64 value[FETCH_LEVELS];
};

#define CPUID_HOT 8 /* a power of two */

/* The last answers that depend on nothing but the table. */
struct cpuid_hot {
	u32 function, index;
	const struct cpuid_entry *answer; /* NULL: free */
};

struct vcpu {
	struct virt_vcpu v; /* first: gpr and rip are at its start */
	struct vm *vm;
	u32 index;	 /* in vm->vcpus */
	u32 id;		 /* KVM_CREATE_VCPU's: the APIC id */
	u32 running;	 /* 1 while a CPU runs it or a hypercall works on it */
	u32 entries;	 /* grows before each entry */
	u32 in_guest;	 /* 1 from just before entry until after exit: kick needs an IPI */
	struct cpu *cpu; /* that vcpu_run() is on; else NULL */
	u32 request;	 /* enum vcpu_request */
	u32 sipi_vector;
	u8 eoi_vector;
	struct { /* KVM_TPR_ACCESS_REPORTING: the guest's last access to its APIC's TPR */
		bool reported, write;
		u64 rip;
	} tpr_access;
	u8 mp_state; /* enum mp_state */

	struct vcpu_events events;
	u32 intercepts; /* enum virt_intercept in force */
	u64 guest_dr7;	/* what the guest wrote; with guest debug hardware has the VMM's */
	u64 guest_dr[4];
	struct guest_debug debug;

	u64 tsc_ratio, tsc_offset; /* vcpu_tsc_at() */
	u32 tsc_khz;

	void *xsave; /* the guest's XSAVE area, standard format, in pool pages */
	hpa_t xsave_hpa;
	u32 xsave_pages;
	u64 xcr0;
	u64 xused; /* components that may be other than initial; it only grows */

	struct cpuid_entry *cpuid; /* sorted by function, index */
	u32 cpuid_count;
	hpa_t cpuid_hpa;
	struct cpuid_hot cpuid_hot[CPUID_HOT];
	bool ran;	  /* after the first KVM_RUN, CPUID is fixed */
	u8 physical_bits; /* MAXPHYADDR of its CPUID */
	u64 cr4_reserved, efer_reserved, xcr0_supported; /* from its CPUID */
	u32 paravirtual;    /* from its CPUID: EAX of KVM's feature leaf */
	bool enforce_cpuid; /* KVM_CAP_ENFORCE_PV_FEATURE_CPUID */

	struct vcpu_msrs msr;
	struct lapic *lapic;   /* devices/: NULL without an in-kernel APIC */
	void *clock;	       /* devices/kvmclock */
	u64 delay, delay_told; /* devices/steal: ns; what the guest knows of them */

	struct emulation emulation; /* core/emulate.h: an instruction that waits for the VMM */
	struct vcpu_exit exit;	    /* core/exits.h: what the VMM is told */
	bool exit_pending;	    /* exit has an answer to take in at the next run */
	struct io_access io;
	struct fetch_cache fetch;
	int fetch_error;       /* of the last vcpu_fetch() that returned 0 */
	u8 injecting;	       /* enum event_type: what the backend got for the next entry */
	bool step_hit;	       /* the VMM's single step fired: tell it before the next entry */
	u32 sleeping;	       /* 1: halted in the management guest; a kick must wake it */
	bool window_requested; /* kvm_run.request_interrupt_window, as of this run */
	bool special;	       /* kvm/: this run has to do with what follows, or with that */
	u8 synced;	       /* kvm/: kvm_run.kvm_valid_regs, as of this run */

	gpa_t kvm_run; /* the shared pages, in the management guest */
	hpa_t kvm_run_hpa;
	u8 *io_data;		  /* the second one, where port data go; NULL without any */
	struct exit_stats *stats; /* core/stats.h */
	u64 ring_id;		  /* vm->handle in bits 63..32, id in 31..16 */
};

static inline void vcpu_set_request(struct vcpu *vcpu, u32 bits)
{
	__atomic_fetch_or(&vcpu->request, bits, __ATOMIC_SEQ_CST);
}

static inline void vcpu_clear_request(struct vcpu *vcpu, u32 bits)
{
	__atomic_fetch_and(&vcpu->request, ~bits, __ATOMIC_SEQ_CST);
}

/* Sets request bits and makes the vCPU notice: an IPI when it is in the guest on another CPU, an
 * entry in the VM's wake list when it sleeps. Callable with any lock held. */
void vcpu_kick(struct vcpu *vcpu, u32 bits);

/* An interrupt to the CPU whose guest mode it is in, if any. */
void vcpu_interrupt(struct vcpu *vcpu);

/* For devices: an NMI, INIT or SIPI has been delivered to this vCPU. */
void vcpu_post_nmi(struct vcpu *vcpu);
void vcpu_post_init(struct vcpu *vcpu);
void vcpu_post_sipi(struct vcpu *vcpu, u8 vector);

/* Power-on state of the SDM's table "IA-32 and Intel 64 Processor States Following Power-up,
 * Reset, or INIT"; init keeps what an INIT keeps (CR0.CD/NW, FPU, MSRs, TSC). */
void vcpu_reset(struct vcpu *vcpu, bool init);

/* Queues an exception with KVM's rules for combining (contributory -> #DF -> triple fault). */
void vcpu_queue_exception(struct vcpu *vcpu, u8 vector, bool has_error, u32 error);
void vcpu_queue_page_fault(struct vcpu *vcpu, u64 address, u32 error);
static inline void vcpu_inject_gp(struct vcpu *vcpu, u32 error)
{
	vcpu_queue_exception(vcpu, 13, true, error);
}
static inline void vcpu_inject_ud(struct vcpu *vcpu)
{
	vcpu_queue_exception(vcpu, 6, false, 0);
}

/* Sets the vector that kicks use on the management guest's CPUs; 0: none registered yet. */
extern u8 vcpu_kick_vector;

static inline bool vcpu_take(struct vcpu *vcpu)
{
	return !__atomic_exchange_n(&vcpu->running, 1, __ATOMIC_ACQUIRE);
}

static inline void vcpu_release(struct vcpu *vcpu)
{
	virt_release(&vcpu->v);
	__atomic_store_n(&vcpu->running, 0, __ATOMIC_RELEASE);
}

/* How a run ended. Each is what the KVM_RUN hypercall reports (design D5). */
enum run_outcome {
	RUN_USER,	 /* vcpu->exit is filled: to the VMM */
	RUN_INTERRUPTED, /* a host interrupt or a kick: take it, then run again */
	RUN_SPINS,	 /* it waits for something in a loop: let others run, then run again */
	RUN_FAULT,	 /* exit.memory: a guest frame needs a page */
	RUN_HALTED,	 /* nothing to run until an event or vcpu->v.deadline */
	RUN_ARM,	 /* vcpu->v.deadline is earlier than the caller's timer */
	RUN_MEMORY,	 /* the VM's pool is below its low-water mark */
	RUN_RESAMPLE,	 /* the driver asks irqchip_take_resampled(), then run again */
	RUN_DEAD,
};

/*
 * Runs the vCPU on this CPU until something needs the management guest. `armed` is the host TSC
 * at which the caller's own timer will interrupt at the latest; with VIRT_PREEMPT_TIMER it does not
 * matter.
 */
enum run_outcome vcpu_run(struct vcpu *vcpu, struct cpu *cpu, u64 armed);
/*
 * While exit_pending: takes in the VMM's answer (vcpu->exit) to the last user exit; may ask for the
 * next fragment: true when vcpu->exit holds another exit for the VMM. A guest frame that needs a
 * page leaves exit_pending set: vcpu_run() then says RUN_FAULT, and the next call goes on.
 */
bool vcpu_complete_exit(struct vcpu *vcpu);

/*
 * Processes INIT and SIPI requests now, without entering. True: the vCPU may run (it is not
 * waiting for an INIT or a SIPI any more).
 */
bool vcpu_accept_init(struct vcpu *vcpu);
/* KVM's ready_for_interrupt_injection: KVM_INTERRUPT would be delivered at the next entry. */
bool vcpu_interrupt_ready(struct vcpu *vcpu);
/* RFLAGS as the processor has them, without asking the backend where it has told. */
static inline u64 vcpu_flags(struct vcpu *vcpu)
{
	return likely(vcpu->v.rflags) ? vcpu->v.rflags : virt->get(&vcpu->v, VREG_RFLAGS);
}

static inline u64 tsc_scaled(u64 host_tsc, u64 ratio)
{
	return (u64)((unsigned __int128)host_tsc * ratio >> TSC_RATIO_SHIFT);
}

/* What the guest reads when the host's TSC is `host_tsc`. */
static inline u64 vcpu_tsc_at(const struct vcpu *vcpu, u64 host_tsc)
{
	return tsc_scaled(host_tsc, vcpu->tsc_ratio) + vcpu->tsc_offset;
}
/* RFLAGS as the guest has it: without the VMM's single step. */
u64 vcpu_rflags(struct vcpu *vcpu);
void vcpu_set_rflags(struct vcpu *vcpu, u64 rflags);
/* RIP plus CS.base, cut to the mode's width. */
u64 vcpu_linear_rip(struct vcpu *vcpu);
/* To be called before CS, CR0 or EFER is set from outside: an access that waits for the VMM then
 * remembers where its instruction stands. */
void vcpu_code_changes(struct vcpu *vcpu);
/* The code segment's default size in bytes: 2, 4 or 8. */
u32 vcpu_code_mode(struct vcpu *vcpu);
/* Fills exit.memory for a guest frame that has a slot but no page; false: no slot there. */
bool vcpu_memory_fault(struct vcpu *vcpu, gpa_t gpa, bool write);
/* What every completed instruction does besides RIP: RF and the interrupt shadow end, and a single
 * step, the guest's or the VMM's, fires. */
void vcpu_retire(struct vcpu *vcpu);
/* Length of the instruction at CS:RIP that caused the exit. 0: vcpu->fetch_error says why. */
u32 vcpu_insn_length(struct vcpu *vcpu, const struct vm_exit *e);

/* The memory and state views that walks and the emulator need. */
struct walk_state;
void vcpu_walk_state(struct vcpu *vcpu, struct walk_state *state);
/* Advances RIP by length (wrapping at 16/32 bits as CS demands) and ends the interrupt shadow. */
void vcpu_skip(struct vcpu *vcpu, u32 length);
/*
 * Bytes of the instruction at CS:RIP: decode assists or a fetch. Returns how many (0 to 15); with
 * 0, vcpu->fetch_error is -EFAULT (exit.memory is filled), -EPERM (a fault is queued) or -EIO
 * (there is no memory).
 */
u32 vcpu_fetch(struct vcpu *vcpu, const struct vm_exit *e, u8 bytes[15]);
