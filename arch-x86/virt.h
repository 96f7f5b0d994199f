/* SPDX-License-Identifier: MIT */
/*
 * The contract between the vendor-neutral hypervisor (core/) and a backend (svm/, vmx/, and the
 * fake one of the unit tests). A backend decodes and encodes; it settles nothing that a guest can
 * observe except vendor quirks. boot/ sets `virt` once, before the first vCPU exists.
 */
#pragma once

#include "arch-x86/addr.h"

struct cpu;  /* arch-x86/cpu.h */
struct pool; /* mm/pool.h */
struct teach_script;

enum gpr { /* in instruction-encoding order */
	   GPR_RAX,
	   GPR_RCX,
	   GPR_RDX,
	   GPR_RBX,
	   GPR_RSP,
	   GPR_RBP,
	   GPR_RSI,
	   GPR_RDI,
	   GPR_R8,
	   GPR_R9,
	   GPR_R10,
	   GPR_R11,
	   GPR_R12,
	   GPR_R13,
	   GPR_R14,
	   GPR_R15,
	   GPR_COUNT
};

enum seg { /* the first six in instruction-encoding order */
	   SEG_ES,
	   SEG_CS,
	   SEG_SS,
	   SEG_DS,
	   SEG_FS,
	   SEG_GS,
	   SEG_LDTR,
	   SEG_TR,
	   SEG_GDTR,
	   SEG_IDTR, /* base and limit only */
	   SEG_COUNT
};

/* Segment attributes, packed as the APM's VMCB does ("VMCB Layout, State Save Area"). */
enum seg_attr {
	SEG_TYPE = 0xf,
	SEG_S = BIT(4),
	SEG_DPL = 3u << 5,
	SEG_P = BIT(7), /* clear: unusable */
	SEG_AVL = BIT(8),
	SEG_L = BIT(9),
	SEG_DB = BIT(10),
	SEG_G = BIT(11),
};

struct segment {
	u16 selector;
	u16 attr;
	u32 limit; /* bytes, already scaled by the granularity */
	u64 base;
};

/* Registers that live in the VMCS or VMCB, or on the processor while the vCPU is loaded. */
enum virt_reg {
	VREG_RFLAGS,
	VREG_CR0,
	VREG_CR2,
	VREG_CR3,
	VREG_CR4,
	VREG_CR8,  /* the virtual TPR's priority class, 0 to 15 */
	VREG_EFER, /* as the guest sees it: without SVME */
	VREG_DR6,
	VREG_DR7,
	VREG_PAT,
	VREG_DEBUGCTL,
	VREG_STAR,
	VREG_LSTAR,
	VREG_CSTAR,
	VREG_SFMASK,
	VREG_KERNEL_GS_BASE,
	VREG_SYSENTER_CS,
	VREG_SYSENTER_ESP,
	VREG_SYSENTER_EIP,
	VREG_TSC_OFFSET,
	VREG_TSC_RATIO,	 /* enum tsc_ratio; VIRT_TSC_SCALING, else always TSC_RATIO_ONE */
	VREG_INT_SHADOW, /* 0 or 1: the instruction after MOV SS or STI is next */
	VREG_NMI_MASKED, /* 0 or 1: between an NMI's delivery and IRET */
	VREG_PDPTE0,
	VREG_PDPTE1,
	VREG_PDPTE2,
	VREG_PDPTE3, /* VMX only; elsewhere read 0 */
	VREG_CPL,    /* read-only */
	VREG_COUNT
};

/* How much faster the guest's TSC runs than the processor's, before the offset is added. */
enum tsc_ratio {
	TSC_RATIO_SHIFT = 32, /* bits of the fraction */
	TSC_RATIO_ONE = BIT(32),
	TSC_RATIO_LIMIT = BIT(40),
};

enum event_type { EVENT_NONE, EVENT_INTR, EVENT_NMI, EVENT_EXCEPTION, EVENT_SOFT_INTR };

/* An event to inject, or one whose delivery an exit interrupted. */
struct virt_event {
	u8 type; /* enum event_type */
	u8 vector;
	bool has_error;
	u8 insn_len; /* of the INT n, INT3 or INTO; 0 otherwise */
	u32 error;
};

enum exit_reason {
	EXIT_NONE,	  /* nothing to do: enter again */
	EXIT_INTR,	  /* a host interrupt is pending, not acknowledged */
	EXIT_NMI,	  /* a host NMI is pending or was taken by root's handler */
	EXIT_MCE,	  /* a machine check hit while the guest ran */
	EXIT_INIT,	  /* a physical INIT is pending */
	EXIT_INTR_WINDOW, /* the guest can take an interrupt now */
	EXIT_NMI_WINDOW,  /* the guest can take an NMI now, or executes IRET with NMIs masked */
	EXIT_EXCEPTION,	  /* exception, before its delivery */
	EXIT_TRIPLE_FAULT,
	EXIT_TASK_SWITCH,
	EXIT_CPUID,
	EXIT_RDMSR,
	EXIT_WRMSR,
	EXIT_IO,
	EXIT_SLAT, /* second-level page fault (NPF, EPT violation) */
	EXIT_SLAT_MISCONFIG,
	EXIT_CR_READ,
	EXIT_CR_WRITE, /* MOV only; CR8 too */
	EXIT_CR_OTHER, /* CLTS, LMSW, SMSW that need emulation: decode the instruction */
	EXIT_DR_READ,
	EXIT_DR_WRITE,
	EXIT_HLT,
	EXIT_PAUSE,
	EXIT_MWAIT,
	EXIT_MONITOR,
	EXIT_INVD,
	EXIT_WBINVD,
	EXIT_INVLPG,
	EXIT_INVPCID,
	EXIT_RDTSC,
	EXIT_RDTSCP,
	EXIT_RDPMC,
	EXIT_XSETBV,
	EXIT_XSAVES,
	EXIT_XRSTORS,
	EXIT_RDRAND,
	EXIT_RDSEED,
	EXIT_DESC_TABLE, /* LGDT, SIDT, LLDT, STR, ... */
	EXIT_HYPERCALL,	 /* VMCALL or VMMCALL */
	EXIT_VIRT_INSN,	 /* VMX, SVM, GETSEC, ENCLS, ...: #UD for a guest without them */
	EXIT_INVALID,	 /* entry refused: bad VMCS or VMCB */
	EXIT_PREEMPT_TIMER,
	EXIT_PML_FULL,
	EXIT_APIC_ACCESS,
	EXIT_TPR_BELOW,
	EXIT_SMI,
	EXIT_SIPI,
	EXIT_UNKNOWN, /* not in the backend's table */
	EXIT_REASON_COUNT
};

/* What CS:RIP and its translation depend on. */
struct virt_code {
	u64 cs_base, cr0, cr3, efer;
	u16 cs_attr;
	u8 cpl;
};

/* A port access. What stands behind `string` is meaningful for strings only. */
struct virt_io {
	u16 port;
	u8 size; /* bytes: 1, 2, 4 */
	bool in, string;
	bool rep;
	u8 seg;		 /* enum seg: of string output */
	u8 address_size; /* bytes; 0: not known */
};

/* One exit, normalised. Only the union's member that `reason` names is meaningful. */
struct vm_exit {
	union {
		u64 head; /* reason alone, all the others 0: one store */
		struct {
			u16 reason;	   /* enum exit_reason */
			u8 insn_len;	   /* bytes; 0: not known, the decoder must find it */
			u8 insn_bytes_len; /* decode assists: how many stand in insn_bytes */
			bool code_known;   /* `code` is; it may be where insn_len is 0 */
		};
	};
	u8 insn_bytes[15];
	u64 raw, info1; /* the vendor's own words: for rings and dumps only */
	struct virt_code code;
	struct virt_event vectoring; /* its delivery was cut short: re-inject or merge */
	union {
		struct virt_io io;
		struct {
			gpa_t gpa;
			gva_t gva; /* where gva_valid */
			bool gva_valid, write, exec, present, table_walk;
		} slat;
		struct {
			u64 payload; /* CR2 of a #PF, DR6's new bits of a #DB */
			u32 error;
			u8 vector;
			bool has_error;
		} exception;
		struct {
			u8 nr;
			u8 gpr;		/* enum gpr */
			bool gpr_known; /* false: decode the instruction */
		} mov;			/* EXIT_CR_*, EXIT_DR_* */
		struct {
			u64 gva;
			bool gva_valid;
		} invlpg;
		struct {
			u16 selector;
			u8 source; /* 0 CALL, 1 IRET, 2 JMP, 3 task gate: the SDM's order */
			bool has_error;
			u32 error;
		} task_switch;
	};
};

/* Kernel: in protected mode, at CPL 0. */
enum virt_caller { CALLER_UNKNOWN /* ask get() */, CALLER_KERNEL, CALLER_OTHER };

enum virt_kind { VIRT_MANAGEMENT, VIRT_CHILD };

/* What a child executes without an exit (KVM_CAP_X86_DISABLE_EXITS). */
enum virt_native { NATIVE_HLT = BIT(0), NATIVE_MWAIT = BIT(1) /* MONITOR, too */ };

#define NO_DEADLINE (~0ull)

/* What the backend keeps per VM. */
struct virt_vm {
	enum virt_kind kind;
	u64 features; /* enum virt_feature that it uses: virt_features or fewer. core/ sets it */
	u32 native;   /* enum virt_native: as of each vcpu_init() */
	hpa_t slat_root;
	u64 slat_generation; /* mm/ increments it; an entry that sees a new one flushes first */
	/*
	 * Slots whose writes mm/ logs; slat_generation grows with each change. With VIRT_PML the
	 * processor's log is on while there are any.
	 */
	u32 dirty_logs;
	bool slat_accessed; /* with VIRT_SLAT_AD: mm/ looks at accessed flags; set once, as above */
	void *msr_map, *io_map;
	hpa_t msr_map_hpa, io_map_hpa;
};

/* What the backend keeps per vCPU. core/ reads and writes gpr, rip, dr, deadline and written; the
 * rest is the backend's. */
struct virt_vcpu {
	u64 gpr[GPR_COUNT];
	u64 rip;
	/*
	 * A copy of VREG_RFLAGS, as of the last exit or set() since, of a backend that has it at
	 * hand then. 0 (bit 1 of RFLAGS is always 1): not known, ask get().
	 */
	u64 rflags;
	u8 cr8;	   /* a child's VREG_CR8, while it is not loaded */
	u8 caller; /* enum virt_caller: of the hypercall that exited */
	u64 dr[4]; /* DR0 to DR3; on the processor only while `dr_live` */
	/*
	 * Host TSC of its earliest timer, or NO_DEADLINE; core/ keeps it. With VIRT_PREEMPT_TIMER
	 * run() ends by then with EXIT_PREEMPT_TIMER, or earlier when that is too far away.
	 */
	u64 deadline;
	/*
	 * VIRT_PML: the guest-physical pages that the last run wrote while their leaves had no
	 * dirty flag. core/ hands them to mm/'s dirty log after each run and sets the count to 0.
	 */
	const u64 *written;
	u16 written_count;
	struct virt_vm *vm;
	u64 features; /* its VM's, which do not change any more */
	void *hw;     /* VMCB or VMCS */
	hpa_t hw_hpa;
	struct cpu *cpu; /* where it ran last; NULL: nowhere */
	u64 slat_generation_seen;
	u64 asid_generation;
	u32 asid;
	bool loaded;	  /* its VMLOAD state, DRs, XSAVE state are on the processor */
	bool extra_saved; /* backend: the VMLOAD group in hw is current */
	bool dr_live;
	bool mce_forced; /* backend: CR4.MCE is set although the guest cleared it */
	/*
	 * RFLAGS.RF, TF and the interrupt shadow were clear at the exit and have not been set
	 * since: completing an instruction changes nothing but RIP. False: not known.
	 */
	bool quiet;
	/* What an entry seldom has to look at; all 0 in one test. */
	union {
		u64 rare[2];
		struct {
			u32 dirty;	/* backend: field groups written since the last entry */
			u32 virq_event; /* SVM: the interrupt that waits as V_IRQ, in EVENTINJ's
					   format; 0: none */
			bool flush;	/* flush this vCPU's translations at the next entry */
			/* Backend: NMI masking where hardware does not virtualise it, ... */
			u8 nmi_state;
			bool nmi_window, intr_window, stepping;
			bool once; /* ... and what the next entry alone leaves to settle */
		};
	};
	u8 soft_len; /* of the INT n being injected */
	bool step_tf, step_bs, step_refused;
	u32 step_intercepts[2]; /* SVM: what a step's entry has more is taken back behind it */
	u64 tsc_ratio;		/* SVM: enum tsc_ratio; the VMCB has no field for it */
	u32 intercept_set;	/* enum virt_intercept in force */
	u32 dr6;		/* SVM: the guest's, with INTERCEPT_DB */
	u64 step_rip;
};

/* What core/ may switch per vCPU. */
enum virt_intercept {
	INTERCEPT_INTR_WINDOW = BIT(0), /* exit when an interrupt could be delivered */
	INTERCEPT_NMI_WINDOW = BIT(1),
	INTERCEPT_MOV_DR = BIT(2),
	INTERCEPT_DB = BIT(3), /* #DB; its payload is then what this one has to tell, not the old */
	INTERCEPT_BP = BIT(4), /* #BP */
	INTERCEPT_UD = BIT(5), /* #UD */
	INTERCEPT_CR8_WRITE = BIT(6),
	INTERCEPT_NMI = BIT(7),
	INTERCEPT_CPUID_CPL3 = BIT(8),
	INTERCEPT_HLT = BIT(9),
};

enum virt_feature {
	VIRT_NEXT_RIP = BIT(0),
	VIRT_DECODE_ASSISTS = BIT(1),
	VIRT_FLUSH_BY_ASID = BIT(2),
	VIRT_CLEAN_BITS = BIT(3),
	VIRT_TSC_SCALING = BIT(4),
	VIRT_PAUSE_FILTER = BIT(5),
	VIRT_SLAT_1G = BIT(6),
	VIRT_PREEMPT_TIMER = BIT(7),
	VIRT_PML = BIT(8),
	VIRT_INVPCID = BIT(9),
	VIRT_VPID = BIT(10),
	VIRT_TPR_SHADOW = BIT(11),
	VIRT_RDTSCP =
		BIT(12), /* guests can execute it: SVM has no control for it; so the next ones */
	VIRT_XSAVES = BIT(13),
	VIRT_WAITPKG = BIT(14),
	VIRT_SLAT_2M = BIT(15),
	VIRT_VIRTUAL_NMI = BIT(16), /* VMX: the processor follows the blocking of NMIs */
	VIRT_SLAT_AD = BIT(17),	    /* it sets the accessed flags of second-level leaves */
};

/* Those that a guest does not see, so that a VM can do without. */
#define VIRT_HIDDEN_FEATURES                                                                       \
	(VIRT_NEXT_RIP | VIRT_DECODE_ASSISTS | VIRT_FLUSH_BY_ASID | VIRT_CLEAN_BITS |              \
	 VIRT_TSC_SCALING | VIRT_PAUSE_FILTER | VIRT_SLAT_1G | VIRT_PREEMPT_TIMER | VIRT_PML |     \
	 VIRT_VPID | VIRT_TPR_SHADOW | VIRT_SLAT_2M | VIRT_VIRTUAL_NMI | VIRT_SLAT_AD)

struct virt_ops {
	const char *name; /* "SVM", "VMX" */
	bool ept;	  /* second-level format: EPT, else NPT (the host's own format) */
	/*
	 * An NMI that ends a guest's run, or hits root, is taken by root's handler, which sets
	 * CPU_ROOT_NMI: it must be injected (VMX). Else it stays pending (SVM).
	 */
	bool nmi_taken;
	/*
	 * A guest's write of STAR, LSTAR, CSTAR or SFMASK must exit and come by set(): the backend
	 * does not read them back (VMX; VMSAVE does).
	 */
	bool syscall_msrs_told;
	u64 withholds;	   /* enum virt_feature: instructions that are #UD in a VM without them */
	bool xsetbv_exits; /* always: XCR0 is what core/ has written */
	/*
	 * Can this CPU run Keel? NULL, or a sentence that names what is missing and what to do.
	 * Safe on firmware's page tables.
	 */
	const char *(*probe)(u64 *features);
	/* Root mode on or off on this CPU; host_area: one page per CPU. 0 or -errno. */
	int (*cpu_on)(struct cpu *cpu, hpa_t host_area);
	void (*cpu_off)(struct cpu *cpu);
	/* Allocates and fills the permission maps: everything intercepted for a child. -ENOMEM. */
	int (*vm_init)(struct virt_vm *vm, struct pool *pool);
	/* Allocates the VMCS or VMCB and fills what never changes; guest state is all zero. */
	int (*vcpu_init)(struct virt_vcpu *v, struct virt_vm *vm, struct pool *pool);
	/* Moves the vCPU's extra state onto this CPU, or off it. Nothing else is touched. */
	void (*load)(struct virt_vcpu *v, struct cpu *cpu);
	void (*put)(struct virt_vcpu *v);
	/* put(from) and then load(to, cpu), in one call. */
	void (*swap)(struct virt_vcpu *from, struct virt_vcpu *to, struct cpu *cpu);
	/*
	 * Nobody on this CPU works on the vCPU any more: another CPU may take it. NULL: there is
	 * nothing to do. (VMX: a VMCS may be active on one CPU only.)
	 */
	void (*release)(struct virt_vcpu *v);
	/* Enters a loaded vCPU once. On return gpr and rip are current and *e is filled. */
	void (*run)(struct virt_vcpu *v, struct vm_exit *e);
	u64 (*get)(struct virt_vcpu *v, enum virt_reg reg);
	void (*set)(struct virt_vcpu *v, enum virt_reg reg, u64 value);
	void (*get_segment)(struct virt_vcpu *v, enum seg seg, struct segment *s);
	void (*set_segment)(struct virt_vcpu *v, enum seg seg, const struct segment *s);
	/* The event that the next entry delivers; EVENT_NONE takes it back. */
	void (*inject)(struct virt_vcpu *v, const struct virt_event *event);
	/* Sets exactly the switchable intercepts in `set` (enum virt_intercept). */
	void (*intercept)(struct virt_vcpu *v, u32 set);
	void (*intercept_msr)(struct virt_vm *vm, u32 index, bool read, bool write);
	void (*intercept_port)(struct virt_vm *vm, u16 port, bool on);
	/*
	 * Lets a pending NMI reach root's handler; with `sleep`, halts until one comes. The vCPU
	 * that is loaded stays so.
	 */
	void (*take_nmi)(struct cpu *cpu, bool sleep);
	/* Prints the VMCS or VMCB with field names, and each entry rule that it breaks. */
	void (*dump)(struct virt_vcpu *v);
	const struct teach_script *teach; /* arch-x86/teach.h */
};

extern const struct virt_ops *virt;
/*
 * virt's operations of the same names, for every exit's way: a jump that boot/ aims at the backend,
 * where a call through the table takes a thunk.
 */
void virt_run(struct virt_vcpu *v, struct vm_exit *e);
void virt_swap(struct virt_vcpu *from, struct virt_vcpu *to, struct cpu *cpu);
void virt_release(struct virt_vcpu *v);
void virt_nothing(void);      /* what virt_release() is aimed at where there is nothing to do */
extern u64 virt_features;     /* enum virt_feature: usable on every CPU */
extern bool virt_check_entry; /* check=entry: each entry's state is checked in software first */
/*
 * log=teach, with virt_check_entry: what CPU 0 still tells. Above TEACH_EXITS: its first control
 * block, field by field; then each exit takes one.
 */
#define TEACH_EXITS 20
extern u32 virt_teach;
