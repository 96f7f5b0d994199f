/* SPDX-License-Identifier: MIT */
/* Every exit code: who is intercepted, what it becomes in the neutral contract, and its decoding.
 */
#include "arch-x86/insn.h"
#include "arch-x86/log.h"
#include "arch-x86/regs.h"
#include "lib/string.h"
#include "svm/internal.h"

enum policy {
	NEVER,
	ALWAYS,
	ASKED, /* core/ switches it (enum virt_intercept), or setup.c by feature */
};

struct exit_row {
	const char *name;
	u8 reason; /* enum exit_reason: who answers; EXIT_UNKNOWN: nobody, it cannot come */
	u8 management, child; /* enum policy */
};

/* Slots behind the dense part: 0x400 to 0x403, and the negative codes. */
enum exit_slot {
	SLOT_DENSE = SVM_IDLE_HLT + 1,
	SLOT_NPF = SLOT_DENSE,
	SLOT_UNUSED = SLOT_NPF + 4,
	SLOT_INVALID,
	SLOT_BUSY,
	SLOT_IDLE_REQUIRED,
	SLOT_INVALID_PMC,
	SLOT_COUNT
};

#define CR_ROWS(base, word, reason, cr8)                                                           \
	[base + 0] = {"CR0_" word, reason}, [base + 1] = {"CR1_" word, reason},                    \
		[base + 2] = {"CR2_" word, reason}, [base + 3] = {"CR3_" word, reason},            \
		[base + 5] = {"CR5_" word, reason}, [base + 6] = {"CR6_" word, reason},            \
		[base + 7] = {"CR7_" word, reason},                                                \
		[base + 8] = {"CR8_" word, reason, NEVER, cr8},                                    \
		[base + 9] = {"CR9_" word, reason}, [base + 10] = {"CR10_" word, reason},          \
		[base + 11] = {"CR11_" word, reason}, [base + 12] = {"CR12_" word, reason},        \
		[base + 13] = {"CR13_" word, reason}, [base + 14] = {"CR14_" word, reason},        \
		[base + 15] = {"CR15_" word, reason}
#define DR_ROW(base, n, word, reason) [base + n] = {"DR" #n "_" word, reason, NEVER, ASKED}
#define DR_ROWS(base, word, reason)                                                                \
	DR_ROW(base, 0, word, reason), DR_ROW(base, 1, word, reason),                              \
		DR_ROW(base, 2, word, reason), DR_ROW(base, 3, word, reason),                      \
		DR_ROW(base, 4, word, reason), DR_ROW(base, 5, word, reason),                      \
		DR_ROW(base, 6, word, reason), DR_ROW(base, 7, word, reason),                      \
		DR_ROW(base, 8, word, reason), DR_ROW(base, 9, word, reason),                      \
		DR_ROW(base, 10, word, reason), DR_ROW(base, 11, word, reason),                    \
		DR_ROW(base, 12, word, reason), DR_ROW(base, 13, word, reason),                    \
		DR_ROW(base, 14, word, reason), DR_ROW(base, 15, word, reason)
#define EXCEPTION(n, word, child) [SVM_EXCEPTION + n] = {word, EXIT_EXCEPTION, NEVER, child}

/*
 * APM vol. 2, appendix "SVM Intercept Exit Codes". #AC and #DB are intercepted in children since
 * their delivery can raise them again for ever inside the processor's microcode.
 */
static const struct exit_row exit_rows[SLOT_COUNT] = {
	CR_ROWS(SVM_CR_READ, "READ", EXIT_CR_READ, NEVER),
	[SVM_CR_READ + 4] = {"CR4_READ", EXIT_CR_READ, NEVER, ASKED},
	CR_ROWS(SVM_CR_WRITE, "WRITE", EXIT_CR_WRITE, ASKED),
	[SVM_CR_WRITE + 4] = {"CR4_WRITE", EXIT_CR_WRITE, NEVER, ALWAYS},
	DR_ROWS(SVM_DR_READ, "READ", EXIT_DR_READ),
	DR_ROWS(SVM_DR_WRITE, "WRITE", EXIT_DR_WRITE),
	EXCEPTION(0, "#DE", NEVER),
	EXCEPTION(1, "#DB", ALWAYS),
	EXCEPTION(2, "EXCP2", NEVER),
	EXCEPTION(3, "#BP", ASKED),
	EXCEPTION(4, "#OF", NEVER),
	EXCEPTION(5, "#BR", NEVER),
	EXCEPTION(6, "#UD", ASKED),
	EXCEPTION(7, "#NM", NEVER),
	EXCEPTION(8, "#DF", NEVER),
	EXCEPTION(9, "EXCP9", NEVER),
	EXCEPTION(10, "#TS", NEVER),
	EXCEPTION(11, "#NP", NEVER),
	EXCEPTION(12, "#SS", NEVER),
	EXCEPTION(13, "#GP", NEVER),
	EXCEPTION(14, "#PF", NEVER),
	EXCEPTION(15, "EXCP15", NEVER),
	EXCEPTION(16, "#MF", NEVER),
	EXCEPTION(17, "#AC", ALWAYS),
	[SVM_EXCEPTION + 18] = {"#MC", EXIT_MCE, NEVER, ALWAYS},
	EXCEPTION(19, "#XF", NEVER),
	EXCEPTION(20, "EXCP20", NEVER),
	EXCEPTION(21, "#CP", NEVER),
	EXCEPTION(22, "EXCP22", NEVER),
	EXCEPTION(23, "EXCP23", NEVER),
	EXCEPTION(24, "EXCP24", NEVER),
	EXCEPTION(25, "EXCP25", NEVER),
	EXCEPTION(26, "EXCP26", NEVER),
	EXCEPTION(27, "EXCP27", NEVER),
	EXCEPTION(28, "#HV", NEVER),
	EXCEPTION(29, "#VC", NEVER),
	EXCEPTION(30, "#SX", NEVER),
	EXCEPTION(31, "EXCP31", NEVER),
	[SVM_INTR] = {"INTR", EXIT_INTR, NEVER, ALWAYS},
	[SVM_NMI] = {"NMI", EXIT_NMI, ASKED, ALWAYS},
	[SVM_SMI] = {"SMI", EXIT_SMI, NEVER, NEVER},
	[SVM_INIT] = {"INIT", EXIT_INIT, ALWAYS, ALWAYS},
	[SVM_VINTR] = {"VINTR", EXIT_INTR_WINDOW, NEVER, ASKED},
	[SVM_CR0_SEL_WRITE] = {"CR0_SEL_WRITE", EXIT_CR_WRITE, NEVER, ALWAYS},
	[SVM_IDTR_READ] = {"IDTR_READ", EXIT_DESC_TABLE, NEVER, NEVER},
	[SVM_GDTR_READ] = {"GDTR_READ", EXIT_DESC_TABLE, NEVER, NEVER},
	[SVM_LDTR_READ] = {"LDTR_READ", EXIT_DESC_TABLE, NEVER, NEVER},
	[SVM_TR_READ] = {"TR_READ", EXIT_DESC_TABLE, NEVER, NEVER},
	[SVM_IDTR_WRITE] = {"IDTR_WRITE", EXIT_DESC_TABLE, NEVER, NEVER},
	[SVM_GDTR_WRITE] = {"GDTR_WRITE", EXIT_DESC_TABLE, NEVER, NEVER},
	[SVM_LDTR_WRITE] = {"LDTR_WRITE", EXIT_DESC_TABLE, NEVER, NEVER},
	[SVM_TR_WRITE] = {"TR_WRITE", EXIT_DESC_TABLE, NEVER, NEVER},
	[SVM_RDTSC] = {"RDTSC", EXIT_RDTSC, NEVER, NEVER},
	[SVM_RDPMC] = {"RDPMC", EXIT_RDPMC, NEVER, ALWAYS},
	[SVM_PUSHF] = {"PUSHF", EXIT_UNKNOWN, NEVER, NEVER},
	[SVM_POPF] = {"POPF", EXIT_UNKNOWN, NEVER, NEVER},
	[SVM_CPUID] = {"CPUID", EXIT_CPUID, ALWAYS, ALWAYS},
	[SVM_RSM] = {"RSM", EXIT_VIRT_INSN, NEVER, ALWAYS},
	[SVM_IRET] = {"IRET", EXIT_NMI_WINDOW, ASKED, ASKED},
	[SVM_SWINT] = {"SWINT", EXIT_UNKNOWN, NEVER, NEVER},
	[SVM_INVD] = {"INVD", EXIT_INVD, ALWAYS, ALWAYS},
	[SVM_PAUSE] = {"PAUSE", EXIT_PAUSE, NEVER, ASKED},
	[SVM_HLT] = {"HLT", EXIT_HLT, NEVER, ALWAYS},
	[SVM_INVLPG] = {"INVLPG", EXIT_INVLPG, NEVER, NEVER},
	[SVM_INVLPGA] = {"INVLPGA", EXIT_VIRT_INSN, ALWAYS, ALWAYS},
	[SVM_IOIO] = {"IOIO", EXIT_IO, ALWAYS, ALWAYS},
	[SVM_MSR] = {"MSR", EXIT_RDMSR, ALWAYS, ALWAYS},
	[SVM_TASK_SWITCH] = {"TASK_SWITCH", EXIT_TASK_SWITCH, NEVER, ALWAYS},
	[SVM_FERR_FREEZE] = {"FERR_FREEZE", EXIT_NONE, NEVER, ALWAYS},
	[SVM_SHUTDOWN] = {"SHUTDOWN", EXIT_TRIPLE_FAULT, ALWAYS, ALWAYS},
	[SVM_VMRUN] = {"VMRUN", EXIT_VIRT_INSN, ALWAYS, ALWAYS},
	[SVM_VMMCALL] = {"VMMCALL", EXIT_HYPERCALL, ALWAYS, ALWAYS},
	[SVM_VMLOAD] = {"VMLOAD", EXIT_VIRT_INSN, ALWAYS, ALWAYS},
	[SVM_VMSAVE] = {"VMSAVE", EXIT_VIRT_INSN, ALWAYS, ALWAYS},
	[SVM_STGI] = {"STGI", EXIT_VIRT_INSN, ALWAYS, ALWAYS},
	[SVM_CLGI] = {"CLGI", EXIT_VIRT_INSN, ALWAYS, ALWAYS},
	[SVM_SKINIT] = {"SKINIT", EXIT_VIRT_INSN, ALWAYS, ALWAYS},
	[SVM_RDTSCP] = {"RDTSCP", EXIT_RDTSCP, NEVER, NEVER},
	[SVM_ICEBP] = {"ICEBP", EXIT_UNKNOWN, NEVER, NEVER},
	[SVM_WBINVD] = {"WBINVD", EXIT_WBINVD, NEVER, ALWAYS},
	[SVM_MONITOR] = {"MONITOR", EXIT_MONITOR, NEVER, ALWAYS},
	[SVM_MWAIT] = {"MWAIT", EXIT_MWAIT, NEVER, ALWAYS},
	[SVM_MWAIT_ARMED] = {"MWAIT_CONDITIONAL", EXIT_MWAIT, NEVER, ALWAYS},
	[SVM_XSETBV] = {"XSETBV", EXIT_XSETBV, NEVER, ALWAYS},
	[SVM_RDPRU] = {"RDPRU", EXIT_VIRT_INSN, NEVER, ALWAYS},
	[SVM_EFER_WRITE_TRAP] = {"EFER_WRITE_TRAP", EXIT_UNKNOWN, NEVER, NEVER},
	CR_ROWS(SVM_CR_WRITE_TRAP, "WRITE_TRAP", EXIT_UNKNOWN, NEVER),
	[SVM_CR_WRITE_TRAP + 4] = {"CR4_WRITE_TRAP", EXIT_UNKNOWN},
	[SVM_INVLPGB] = {"INVLPGB", EXIT_VIRT_INSN, NEVER, ALWAYS},
	[SVM_INVLPGB_ILLEGAL] = {"INVLPGB_ILLEGAL", EXIT_VIRT_INSN, NEVER, ALWAYS},
	[SVM_INVPCID] = {"INVPCID", EXIT_INVPCID, NEVER, NEVER},
	[SVM_MCOMMIT] = {"MCOMMIT", EXIT_VIRT_INSN, NEVER, ALWAYS},
	[SVM_TLBSYNC] = {"TLBSYNC", EXIT_VIRT_INSN, NEVER, ALWAYS},
	[SVM_BUSLOCK] = {"BUSLOCK", EXIT_UNKNOWN, NEVER, NEVER},
	[SVM_IDLE_HLT] = {"IDLE_HLT", EXIT_HLT, NEVER, NEVER},
	[SLOT_NPF] = {"NPF", EXIT_SLAT, ALWAYS, ALWAYS},
	[SLOT_NPF + 1] = {"AVIC_INCOMPLETE_IPI", EXIT_UNKNOWN},
	[SLOT_NPF + 2] = {"AVIC_NOACCEL", EXIT_UNKNOWN},
	[SLOT_NPF + 3] = {"VMGEXIT", EXIT_UNKNOWN},
	[SLOT_UNUSED] = {"UNUSED", EXIT_UNKNOWN},
	[SLOT_INVALID] = {"INVALID", EXIT_INVALID, ALWAYS, ALWAYS},
	[SLOT_BUSY] = {"BUSY", EXIT_INVALID},
	[SLOT_IDLE_REQUIRED] = {"IDLE_REQUIRED", EXIT_INVALID},
	[SLOT_INVALID_PMC] = {"INVALID_PMC", EXIT_INVALID},
};

static const struct exit_row *find_row(u64 code)
{
	if (code < SLOT_DENSE)
		return &exit_rows[code];
	if (code - SVM_NPF < 4)
		return &exit_rows[SLOT_NPF + code - SVM_NPF];
	if (code == SVM_EXIT_UNUSED)
		return &exit_rows[SLOT_UNUSED];
	/* Some processors sign-extend only to 32 bits; compare the low half. */
	if ((u32)~code < 4)
		return &exit_rows[SLOT_INVALID + (u32)~code];
	return NULL;
}

const char *svm_exit_name(u64 code)
{
	const struct exit_row *row = find_row(code);

	return row ? row->name : "not in the manual's table";
}

void svm_static_intercepts(enum virt_kind kind, u32 words[INTERCEPT_WORDS])
{
	for (u32 code = 0; code < SLOT_DENSE; code++) {
		const struct exit_row *row = &exit_rows[code];
		u8 policy = kind == VIRT_CHILD ? row->child : row->management;

		if (policy == ALWAYS)
			words[code / 32] |= BIT(code % 32);
	}
}

/* Exits that are told by their code alone. */
#define PLAIN_REASONS                                                                              \
	(BIT(EXIT_CPUID) | BIT(EXIT_HLT) | BIT(EXIT_INTR) | BIT(EXIT_NMI) | BIT(EXIT_PAUSE))

static void decode_exception(struct virt_vcpu *v, struct vm_exit *e)
{
	struct vmcb *vmcb = vmcb_of(v);
	u8 vector = vmcb->exit_code - SVM_EXCEPTION;

	e->exception.vector = vector;
	e->exception.has_error = VECTORS_WITH_ERROR >> vector & 1;
	e->exception.error = e->exception.has_error ? vmcb->exit_info1 : 0;
	e->exception.payload = 0;
	if (vector == VECTOR_PF)
		e->exception.payload = vmcb->exit_info2;
	if (vector != VECTOR_DB)
		return;
	/* DR6 in the VMCB has the new bits already. */
	e->exception.payload = vmcb->dr6 ^ DR6_INIT;
	if (svm_dr6_aside(v))
		VMCB_SET(v, dr6, DR6_INIT, CLEAN_DRX);
}

static void decode_task_switch(const struct vmcb *vmcb, struct vm_exit *e)
{
	e->task_switch.selector = vmcb->exit_info1;
	e->task_switch.has_error = vmcb->exit_info2 & TASK_SWITCH_ERROR;
	e->task_switch.error = vmcb->exit_info2;
	if (vmcb->exit_info2 & TASK_SWITCH_IRET)
		e->task_switch.source = 1;
	else if (vmcb->exit_info2 & TASK_SWITCH_JMP)
		e->task_switch.source = 2;
	else
		e->task_switch.source = vmcb->exit_int_info & VMCB_EVENT_VALID ? 3 : 0;
}

static noinline void decode_string_io(const struct virt_vcpu *v, u64 info, struct vm_exit *e)
{
	e->io.rep = info & IOIO_REP;
	e->io.address_size = (info & IOIO_ADDRESS) >> 6;
	e->io.seg = SEG_COUNT;
	if (v->features & VIRT_DECODE_ASSISTS)
		e->io.seg = (info & IOIO_SEGMENT) >> 10;
}

static inline void decode_io(const struct virt_vcpu *v, struct vm_exit *e)
{
	const struct vmcb *vmcb = vmcb_of(v);
	u64 info = vmcb->exit_info1;

	e->io.port = info >> 16;
	e->io.size = (info & IOIO_SIZE) >> 4;
	e->io.in = info & IOIO_IN;
	e->io.string = info & IOIO_STRING;
	/* EXITINFO2 is the next instruction's RIP, with or without NRIPS. */
	e->insn_len = vmcb->exit_info2 - vmcb->rip;
	if (unlikely(info & IOIO_STRING))
		decode_string_io(v, info, e);
}

/* What CS:RIP and its translation depend on, for those that need the instruction itself. */
static void decode_code(const struct vmcb *vmcb, struct vm_exit *e)
{
	struct virt_code *code = &e->code;

	code->cs_base = vmcb->cs.base;
	code->cs_attr = vmcb->cs.attr;
	code->cr0 = vmcb->cr0;
	code->cr3 = vmcb->cr3;
	code->efer = vmcb->efer;
	code->cpl = vmcb->cpl;
	e->code_known = true;
}

static void decode_slat(const struct virt_vcpu *v, struct vm_exit *e)
{
	const struct vmcb *vmcb = vmcb_of(v);
	u64 info = vmcb->exit_info1;

	if (info & PF_RESERVED)
		e->reason = EXIT_SLAT_MISCONFIG;
	e->slat.gpa = GPA(vmcb->exit_info2);
	e->slat.gva = GVA(0);
	e->slat.gva_valid = false;
	e->slat.write = info & PF_WRITE;
	e->slat.exec = info & PF_FETCH;
	e->slat.present = info & PF_PRESENT;
	e->slat.table_walk = info & NPF_TABLE;
	/* APM vol. 2, "Guest Instruction Bytes": not for instruction fetches. */
	if (v->features & VIRT_DECODE_ASSISTS && !e->slat.exec) {
		e->insn_bytes_len = MIN(vmcb->insn_bytes_len, 15);
		memcpy(e->insn_bytes, vmcb->insn_bytes, sizeof(e->insn_bytes));
	}
}

static void decode_mov(const struct virt_vcpu *v, struct vm_exit *e)
{
	const struct vmcb *vmcb = vmcb_of(v);
	bool assists = v->features & VIRT_DECODE_ASSISTS;
	bool cr = e->reason == EXIT_CR_READ || e->reason == EXIT_CR_WRITE;

	e->mov.nr = vmcb->exit_code & 15;
	e->mov.gpr = vmcb->exit_info1 & 15;
	e->mov.gpr_known = assists && (!cr || vmcb->exit_info1 & MOV_INFO_VALID);
	if (vmcb->exit_code == SVM_CR0_SEL_WRITE)
		e->mov.nr = 0;
	if (cr && assists && !e->mov.gpr_known)
		e->reason = EXIT_CR_OTHER;
}

static void decode_invlpg(const struct virt_vcpu *v, struct vm_exit *e)
{
	e->invlpg.gva_valid = v->features & VIRT_DECODE_ASSISTS;
	e->invlpg.gva = vmcb_of(v)->exit_info1;
}

/* What only some reasons have. */
static noinline void decode_details(struct virt_vcpu *v, struct vm_exit *e)
{
	const struct vmcb *vmcb = vmcb_of(v);

	switch (e->reason) {
	case EXIT_NMI_WINDOW:
		svm_nmi_iret(v, e);
		break;
	case EXIT_EXCEPTION:
		decode_exception(v, e);
		break;
	case EXIT_TASK_SWITCH:
		decode_task_switch(vmcb, e);
		break;
	case EXIT_RDMSR:
		if (vmcb->exit_info1 & 1)
			e->reason = EXIT_WRMSR;
		break;
	case EXIT_SLAT:
		decode_slat(v, e);
		break;
	case EXIT_CR_READ:
	case EXIT_CR_WRITE:
	case EXIT_DR_READ:
	case EXIT_DR_WRITE:
		decode_mov(v, e);
		break;
	case EXIT_INVLPG:
		decode_invlpg(v, e);
		break;
	case EXIT_INVALID: /* what the processor kept of it is not said */
		v->dirty |= CLEAN_ALL;
		break;
	}
}

/* What every instruction's exit has, and then what only some reasons have. */
static void decode_other(struct virt_vcpu *v, struct vm_exit *e, u32 reason)
{
	const struct vmcb *vmcb = vmcb_of(v);

	/* APM vol. 2, "State Saved on Exit": nRIP is written for instruction intercepts only. */
	if (v->features & VIRT_NEXT_RIP && vmcb->next_rip - v->rip <= 15)
		e->insn_len = vmcb->next_rip - v->rip;
	else if (reason != EXIT_HYPERCALL)
		decode_code(vmcb, e);
	if (reason == EXIT_HYPERCALL)
		v->caller = vmcb->cpl == 0 && vmcb->cr0 & CR0_PE ? CALLER_KERNEL : CALLER_OTHER;
	else if (!(PLAIN_REASONS >> reason & 1))
		decode_details(v, e);
}

void svm_decode(struct virt_vcpu *v, struct vm_exit *e)
{
	const struct vmcb *vmcb = vmcb_of(v);
	u64 code = vmcb->exit_code, rflags = vmcb->rflags;
	const struct exit_row *row = find_row(code);
	u32 reason = row ? row->reason : EXIT_UNKNOWN;

	v->rflags = rflags;
	v->cr8 = vmcb->int_control & V_TPR & 15;
	v->quiet = !((rflags & (RFLAGS_RF | RFLAGS_TF)) | (vmcb->int_state & INT_STATE_SHADOW));
	e->head = reason;
	e->raw = code;
	e->info1 = vmcb->exit_info1;
	e->vectoring.type = EVENT_NONE;
	if (unlikely(vmcb->exit_int_info & VMCB_EVENT_VALID))
		svm_decode_vectoring(v, &e->vectoring);
	if (reason == EXIT_IO)
		decode_io(v, e);
	else
		decode_other(v, e, reason);
}
