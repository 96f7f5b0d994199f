/* SPDX-License-Identifier: MIT */
/*
 * The VMCB as the processor lays it out, and the codes that stand in it.
 * APM vol. 2, appendix "Layout of VMCB" and appendix "SVM Intercept Exit Codes".
 */
#pragma once

#include "lib/types.h"

/*
 * Intercepts and exit codes share one numbering: the intercept for exit code n below 0xc0 is bit
 * n % 32 of vmcb.intercepts[n / 32].
 */
#define INTERCEPT_WORDS 6

enum svm_exit_code {
	SVM_CR_READ = 0x00, /* + register */
	SVM_CR_WRITE = 0x10,
	SVM_DR_READ = 0x20,
	SVM_DR_WRITE = 0x30,
	SVM_EXCEPTION = 0x40, /* + vector */
	SVM_INTR = 0x60,
	SVM_NMI,
	SVM_SMI,
	SVM_INIT,
	SVM_VINTR,
	SVM_CR0_SEL_WRITE,
	SVM_IDTR_READ,
	SVM_GDTR_READ,
	SVM_LDTR_READ,
	SVM_TR_READ,
	SVM_IDTR_WRITE,
	SVM_GDTR_WRITE,
	SVM_LDTR_WRITE,
	SVM_TR_WRITE,
	SVM_RDTSC,
	SVM_RDPMC,
	SVM_PUSHF, /* 0x70 */
	SVM_POPF,
	SVM_CPUID,
	SVM_RSM,
	SVM_IRET,
	SVM_SWINT,
	SVM_INVD,
	SVM_PAUSE,
	SVM_HLT,
	SVM_INVLPG,
	SVM_INVLPGA,
	SVM_IOIO,
	SVM_MSR,
	SVM_TASK_SWITCH,
	SVM_FERR_FREEZE,
	SVM_SHUTDOWN,
	SVM_VMRUN, /* 0x80 */
	SVM_VMMCALL,
	SVM_VMLOAD,
	SVM_VMSAVE,
	SVM_STGI,
	SVM_CLGI,
	SVM_SKINIT,
	SVM_RDTSCP,
	SVM_ICEBP,
	SVM_WBINVD,
	SVM_MONITOR,
	SVM_MWAIT,
	SVM_MWAIT_ARMED,
	SVM_XSETBV,
	SVM_RDPRU,
	SVM_EFER_WRITE_TRAP,
	SVM_CR_WRITE_TRAP, /* 0x90 + register */
	SVM_INVLPGB = 0xa0,
	SVM_INVLPGB_ILLEGAL,
	SVM_INVPCID,
	SVM_MCOMMIT,
	SVM_TLBSYNC,
	SVM_BUSLOCK,
	SVM_IDLE_HLT,
	SVM_NPF = 0x400,
	SVM_AVIC_INCOMPLETE_IPI,
	SVM_AVIC_NOACCEL,
	SVM_VMGEXIT,
};
/* 64-bit codes, which an enum of ints cannot hold. */
#define SVM_EXIT_UNUSED	  0xf0000000ull
#define SVM_INVALID	  (~0ull)
#define SVM_BUSY	  (~0ull - 1)
#define SVM_IDLE_REQUIRED (~0ull - 2)
#define SVM_INVALID_PMC	  (~0ull - 3)

/* APM vol. 2, "VMCB Clean Field": 1 = unchanged since the last #VMEXIT of this VMCB here. */
enum vmcb_clean {
	CLEAN_INTERCEPTS = BIT(0), /* intercepts, TSC offset, pause filter */
	CLEAN_MAPS = BIT(1),	   /* IOPM and MSRPM addresses */
	CLEAN_ASID = BIT(2),
	CLEAN_TPR = BIT(3), /* the interrupt control word at 0x60 */
	CLEAN_NP = BIT(4),  /* N_CR3, G_PAT, NP_ENABLE */
	CLEAN_CRX = BIT(5), /* CR0, CR3, CR4, EFER */
	CLEAN_DRX = BIT(6), /* DR6, DR7 */
	CLEAN_DT = BIT(7),  /* GDT and IDT */
	CLEAN_SEG = BIT(8), /* CS DS SS ES, CPL */
	CLEAN_CR2 = BIT(9),
	CLEAN_LBR = BIT(10), /* DebugCtl and the last-branch records */
	CLEAN_AVIC = BIT(11),
	CLEAN_CET = BIT(12), /* S_CET, SSP, ISST_ADDR */
	CLEAN_ALL = MASK(12, 0),
};

enum vmcb_int_control { /* offset 0x60 */
			V_TPR = 0xff,
			V_IRQ = BIT(8),
			V_GIF = BIT(9),
			V_NMI = BIT(11),
			V_NMI_MASK = BIT(12),
			V_INTR_PRIORITY = MASK(19, 16),
			V_IGNORE_TPR = BIT(20),
			V_INTR_MASKING = BIT(24),
			V_GIF_ENABLE = BIT(25),
			V_NMI_ENABLE = BIT(26),
			V_X2AVIC_ENABLE = BIT(30),
			V_AVIC_ENABLE = BIT(31),
			V_INTR_VECTOR = MASK(39, 32),
			V_INTR_VECTOR_SHIFT = 32,
};

enum vmcb_int_state { /* offset 0x68 */
		      INT_STATE_SHADOW = BIT(0),
		      INT_STATE_GUEST_IF = BIT(1),
};

enum vmcb_np_control { /* offset 0x90 */
		       NP_ENABLE = BIT(0),
		       NP_SEV = BIT(1),
		       NP_SEV_ES = BIT(2),
};

enum vmcb_lbr_control { /* offset 0xb8 */
			LBR_ENABLE = BIT(0),
			VIRTUAL_VMLOAD = BIT(1),
};

enum vmcb_tlb_control { /* offset 0x5c; APM vol. 2, "TLB Flush" */
			TLB_KEEP = 0,
			TLB_FLUSH_ALL = 1,
			TLB_FLUSH_ASID = 3,
			TLB_FLUSH_ASID_NON_GLOBAL = 7,
};

/* EVENTINJ and EXITINTINFO. APM vol. 2, "Event Injection". */
enum vmcb_event {
	VMCB_EVENT_VECTOR = 0xff,
	VMCB_EVENT_TYPE = MASK(10, 8),
	VMCB_EVENT_INTR = 0 << 8,
	VMCB_EVENT_NMI = 2 << 8,
	VMCB_EVENT_EXCEPTION = 3 << 8,
	VMCB_EVENT_SOFT = 4 << 8,
	VMCB_EVENT_HAS_ERROR = BIT(11),
	VMCB_EVENT_VALID = BIT(31),
};

/* EXITINFO1 of VMEXIT_IOIO. APM vol. 2, "IOIO Intercept Information". */
enum ioio_info {
	IOIO_IN = BIT(0),
	IOIO_STRING = BIT(2),
	IOIO_REP = BIT(3),
	IOIO_SIZE = MASK(6, 4),	   /* one bit set: 1, 2 or 4 bytes */
	IOIO_ADDRESS = MASK(9, 7), /* one bit set: 2, 4 or 8 bytes */
	IOIO_SEGMENT = MASK(12, 10),
};

/* EXITINFO1 of a nested page fault: a #PF error code, and: */
enum npf_info {
	NPF_FINAL = BIT(32), /* while translating the guest's final physical address */
	NPF_TABLE = BIT(33), /* while walking the guest's own page tables */
};

/* EXITINFO2 of VMEXIT_TASK_SWITCH. */
enum task_switch_info {
	TASK_SWITCH_IRET = BIT(36),
	TASK_SWITCH_JMP = BIT(38),
	TASK_SWITCH_ERROR = BIT(44),
	TASK_SWITCH_RF = BIT(48),
};

#define MOV_INFO_VALID                                                                             \
	BIT(63) /* EXITINFO1 of a CR access: it was a MOV, bits 3..0 name the GPR                  \
		 */

struct vmcb_segment {
	u16 selector;
	u16 attr; /* enum seg_attr */
	u32 limit;
	u64 base;
};

struct vmcb {
	/* control area */
	u32 intercepts[INTERCEPT_WORDS];
	u8 reserved_018[0x3c - 0x18];
	u16 pause_threshold;
	u16 pause_count;
	u64 iopm_base;
	u64 msrpm_base;
	u64 tsc_offset;
	u32 asid;
	u8 tlb_control;
	u8 reserved_05d[3];
	u64 int_control;
	u64 int_state;
	u64 exit_code;
	u64 exit_info1;
	u64 exit_info2;
	u64 exit_int_info;
	u64 np_control;
	u64 avic_apic_bar;
	u64 ghcb;
	u64 event_inject;
	u64 n_cr3;
	u64 lbr_control;
	u32 clean;
	u32 reserved_0c4;
	u64 next_rip;
	u8 insn_bytes_len;
	u8 insn_bytes[15];
	u64 avic_backing_page;
	u64 reserved_0e8;
	u64 avic_logical_table;
	u64 avic_physical_table;
	u8 reserved_100[0x108 - 0x100];
	u64 vmsa;
	u8 reserved_110[0x400 - 0x110];
	/* state save area */
	struct vmcb_segment es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
	u8 reserved_4a0[0x4cb - 0x4a0];
	u8 cpl;
	u32 reserved_4cc;
	u64 efer;
	u8 reserved_4d8[0x548 - 0x4d8];
	u64 cr4, cr3, cr0, dr7, dr6, rflags, rip;
	u8 reserved_580[0x5d8 - 0x580];
	u64 rsp;
	u64 s_cet, ssp, isst_addr;
	u64 rax;
	u64 star, lstar, cstar, sfmask, kernel_gs_base;
	u64 sysenter_cs, sysenter_esp, sysenter_eip;
	u64 cr2;
	u8 reserved_648[0x668 - 0x648];
	u64 g_pat;
	u64 debugctl;
	u64 branch_from, branch_to, exception_from, exception_to;
	u8 reserved_698[0x6e0 - 0x698];
	u64 spec_ctrl;
	u8 reserved_6e8[0x1000 - 0x6e8];
};

ASSERT_OFFSET(struct vmcb, intercepts, 0x000);
ASSERT_OFFSET(struct vmcb, pause_threshold, 0x03c);
ASSERT_OFFSET(struct vmcb, pause_count, 0x03e);
ASSERT_OFFSET(struct vmcb, iopm_base, 0x040);
ASSERT_OFFSET(struct vmcb, msrpm_base, 0x048);
ASSERT_OFFSET(struct vmcb, tsc_offset, 0x050);
ASSERT_OFFSET(struct vmcb, asid, 0x058);
ASSERT_OFFSET(struct vmcb, tlb_control, 0x05c);
ASSERT_OFFSET(struct vmcb, int_control, 0x060);
ASSERT_OFFSET(struct vmcb, int_state, 0x068);
ASSERT_OFFSET(struct vmcb, exit_code, 0x070);
ASSERT_OFFSET(struct vmcb, exit_info1, 0x078);
ASSERT_OFFSET(struct vmcb, exit_info2, 0x080);
ASSERT_OFFSET(struct vmcb, exit_int_info, 0x088);
ASSERT_OFFSET(struct vmcb, np_control, 0x090);
ASSERT_OFFSET(struct vmcb, avic_apic_bar, 0x098);
ASSERT_OFFSET(struct vmcb, ghcb, 0x0a0);
ASSERT_OFFSET(struct vmcb, event_inject, 0x0a8);
ASSERT_OFFSET(struct vmcb, n_cr3, 0x0b0);
ASSERT_OFFSET(struct vmcb, lbr_control, 0x0b8);
ASSERT_OFFSET(struct vmcb, clean, 0x0c0);
ASSERT_OFFSET(struct vmcb, next_rip, 0x0c8);
ASSERT_OFFSET(struct vmcb, insn_bytes_len, 0x0d0);
ASSERT_OFFSET(struct vmcb, insn_bytes, 0x0d1);
ASSERT_OFFSET(struct vmcb, avic_backing_page, 0x0e0);
ASSERT_OFFSET(struct vmcb, avic_logical_table, 0x0f0);
ASSERT_OFFSET(struct vmcb, avic_physical_table, 0x0f8);
ASSERT_OFFSET(struct vmcb, vmsa, 0x108);
ASSERT_OFFSET(struct vmcb, es, 0x400);
ASSERT_OFFSET(struct vmcb, cs, 0x410);
ASSERT_OFFSET(struct vmcb, ss, 0x420);
ASSERT_OFFSET(struct vmcb, ds, 0x430);
ASSERT_OFFSET(struct vmcb, fs, 0x440);
ASSERT_OFFSET(struct vmcb, gs, 0x450);
ASSERT_OFFSET(struct vmcb, gdtr, 0x460);
ASSERT_OFFSET(struct vmcb, ldtr, 0x470);
ASSERT_OFFSET(struct vmcb, idtr, 0x480);
ASSERT_OFFSET(struct vmcb, tr, 0x490);
ASSERT_OFFSET(struct vmcb, cpl, 0x4cb);
ASSERT_OFFSET(struct vmcb, efer, 0x4d0);
ASSERT_OFFSET(struct vmcb, cr4, 0x548);
ASSERT_OFFSET(struct vmcb, cr3, 0x550);
ASSERT_OFFSET(struct vmcb, cr0, 0x558);
ASSERT_OFFSET(struct vmcb, dr7, 0x560);
ASSERT_OFFSET(struct vmcb, dr6, 0x568);
ASSERT_OFFSET(struct vmcb, rflags, 0x570);
ASSERT_OFFSET(struct vmcb, rip, 0x578);
ASSERT_OFFSET(struct vmcb, rsp, 0x5d8);
ASSERT_OFFSET(struct vmcb, s_cet, 0x5e0);
ASSERT_OFFSET(struct vmcb, ssp, 0x5e8);
ASSERT_OFFSET(struct vmcb, isst_addr, 0x5f0);
ASSERT_OFFSET(struct vmcb, rax, 0x5f8);
ASSERT_OFFSET(struct vmcb, star, 0x600);
ASSERT_OFFSET(struct vmcb, lstar, 0x608);
ASSERT_OFFSET(struct vmcb, cstar, 0x610);
ASSERT_OFFSET(struct vmcb, sfmask, 0x618);
ASSERT_OFFSET(struct vmcb, kernel_gs_base, 0x620);
ASSERT_OFFSET(struct vmcb, sysenter_cs, 0x628);
ASSERT_OFFSET(struct vmcb, sysenter_esp, 0x630);
ASSERT_OFFSET(struct vmcb, sysenter_eip, 0x638);
ASSERT_OFFSET(struct vmcb, cr2, 0x640);
ASSERT_OFFSET(struct vmcb, g_pat, 0x668);
ASSERT_OFFSET(struct vmcb, debugctl, 0x670);
ASSERT_OFFSET(struct vmcb, branch_from, 0x678);
ASSERT_OFFSET(struct vmcb, branch_to, 0x680);
ASSERT_OFFSET(struct vmcb, exception_from, 0x688);
ASSERT_OFFSET(struct vmcb, exception_to, 0x690);
ASSERT_OFFSET(struct vmcb, spec_ctrl, 0x6e0);
_Static_assert(sizeof(struct vmcb) == 0x1000, "VMCB size");
