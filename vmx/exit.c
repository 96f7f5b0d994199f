/* SPDX-License-Identifier: MIT */
/* Every exit reason: who is intercepted, what it becomes in the neutral contract, its decoding. */
#include "arch-x86/insn.h"
#include "arch-x86/log.h"
#include "arch-x86/regs.h"
#include "vmx/internal.h"

enum policy {
	NEVER,
	ALWAYS,
	ASKED,	       /* core/ switches it (enum virt_intercept), or setup.c by feature */
	UNCONDITIONAL, /* no control keeps it from exiting */
};

/* What comes with the reason. SDM vol. 3, "VM-Exit Information Fields". */
enum told {
	LENGTH = BIT(0),    /* the VM-exit instruction length */
	QUALIFIED = BIT(1), /* the exit qualification */
	DELIVERY = BIT(2),  /* it can come during event delivery */
	CALLER = BIT(3),    /* who calls is to be told */
};

struct exit_row {
	const char *name;
	u8 reason;		      /* enum exit_reason: who answers; EXIT_UNKNOWN: nobody */
	u8 management : 4, child : 4; /* enum policy */
	u8 told;		      /* enum told */
	u8 word;		      /* offset in struct vmx_controls of the word with `control` */
	u32 control;		      /* what ALWAYS switches on */
};
_Static_assert(sizeof(struct exit_row) == 16, "found by a shift");

#define PIN(bits) offsetof(struct vmx_controls, pin), bits
#define UNLISTED                                                                                   \
	{                                                                                          \
		.name = "not in the manual's table", .reason = EXIT_UNKNOWN                        \
	}

#define CPU(bits)  offsetof(struct vmx_controls, cpu), bits
#define CPU2(bits) offsetof(struct vmx_controls, cpu2), bits

/*
 * SDM vol. 3, appendix "VMX Basic Exit Reasons"; "Instructions That Cause VM Exits", "Information
 * for VM Exits Due to Instruction Execution". CR accesses exit by the guest/host masks, exceptions
 * by their bitmap. What stands as NEVER with EXIT_VIRT_INSN is #UD without an exit while its
 * enabling control is 0.
 */
static const struct exit_row exit_rows[VMX_EXIT_COUNT] = {
	[VMX_EXCEPTION_NMI] = {"EXCEPTION_NMI", EXIT_EXCEPTION, ALWAYS, ALWAYS, DELIVERY,
			       PIN(PIN_NMI)},
	[VMX_EXTERNAL_INTR] = {"EXTERNAL_INTR", EXIT_INTR, NEVER, ALWAYS, 0,
			       PIN(PIN_EXTERNAL_INTR)},
	[VMX_TRIPLE_FAULT] = {"TRIPLE_FAULT", EXIT_TRIPLE_FAULT, UNCONDITIONAL, UNCONDITIONAL},
	[VMX_INIT] = {"INIT", EXIT_INIT, UNCONDITIONAL, UNCONDITIONAL},
	[VMX_SIPI] = {"SIPI", EXIT_SIPI, UNCONDITIONAL, UNCONDITIONAL, QUALIFIED},
	[VMX_IO_SMI] = {"IO_SMI", EXIT_SMI, NEVER, NEVER, QUALIFIED},
	[VMX_OTHER_SMI] = {"OTHER_SMI", EXIT_SMI, NEVER, NEVER},
	[VMX_INTR_WINDOW] = {"INTR_WINDOW", EXIT_INTR_WINDOW, NEVER, ASKED},
	[VMX_NMI_WINDOW] = {"NMI_WINDOW", EXIT_NMI_WINDOW, ASKED, ASKED},
	[VMX_TASK_SWITCH] = {"TASK_SWITCH", EXIT_TASK_SWITCH, UNCONDITIONAL, UNCONDITIONAL,
			     QUALIFIED | DELIVERY},
	[VMX_CPUID] = {"CPUID", EXIT_CPUID, UNCONDITIONAL, UNCONDITIONAL, LENGTH},
	[VMX_GETSEC] = {"GETSEC", EXIT_VIRT_INSN, UNCONDITIONAL, UNCONDITIONAL, LENGTH},
	[VMX_HLT] = {"HLT", EXIT_HLT, ASKED, ALWAYS, LENGTH, CPU(CPU_HLT)},
	[VMX_INVD] = {"INVD", EXIT_INVD, UNCONDITIONAL, UNCONDITIONAL, LENGTH},
	[VMX_INVLPG] = {"INVLPG", EXIT_INVLPG, NEVER, NEVER, LENGTH | QUALIFIED},
	[VMX_RDPMC] = {"RDPMC", EXIT_RDPMC, NEVER, ALWAYS, LENGTH, CPU(CPU_RDPMC)},
	[VMX_RDTSC] = {"RDTSC", EXIT_RDTSC, NEVER, NEVER, LENGTH},
	[VMX_RSM] = {"RSM", EXIT_VIRT_INSN, NEVER, NEVER, LENGTH},
	[VMX_VMCALL] = {"VMCALL", EXIT_HYPERCALL, UNCONDITIONAL, UNCONDITIONAL, LENGTH | CALLER},
	[VMX_VMCLEAR] = {"VMCLEAR", EXIT_VIRT_INSN, UNCONDITIONAL, UNCONDITIONAL, LENGTH},
	[VMX_VMLAUNCH] = {"VMLAUNCH", EXIT_VIRT_INSN, UNCONDITIONAL, UNCONDITIONAL, LENGTH},
	[VMX_VMPTRLD] = {"VMPTRLD", EXIT_VIRT_INSN, UNCONDITIONAL, UNCONDITIONAL, LENGTH},
	[VMX_VMPTRST] = {"VMPTRST", EXIT_VIRT_INSN, UNCONDITIONAL, UNCONDITIONAL, LENGTH},
	[VMX_VMREAD] = {"VMREAD", EXIT_VIRT_INSN, UNCONDITIONAL, UNCONDITIONAL, LENGTH},
	[VMX_VMRESUME] = {"VMRESUME", EXIT_VIRT_INSN, UNCONDITIONAL, UNCONDITIONAL, LENGTH},
	[VMX_VMWRITE] = {"VMWRITE", EXIT_VIRT_INSN, UNCONDITIONAL, UNCONDITIONAL, LENGTH},
	[VMX_VMXOFF] = {"VMXOFF", EXIT_VIRT_INSN, UNCONDITIONAL, UNCONDITIONAL, LENGTH},
	[VMX_VMXON] = {"VMXON", EXIT_VIRT_INSN, UNCONDITIONAL, UNCONDITIONAL, LENGTH},
	[VMX_CR_ACCESS] = {"CR_ACCESS", EXIT_CR_WRITE, ALWAYS, ALWAYS, LENGTH | QUALIFIED},
	[VMX_MOV_DR] = {"MOV_DR", EXIT_DR_WRITE, NEVER, ASKED, LENGTH | QUALIFIED},
	[VMX_IO] = {"IO", EXIT_IO, ALWAYS, ALWAYS, LENGTH | QUALIFIED, CPU(CPU_IO_BITMAPS)},
	[VMX_RDMSR] = {"RDMSR", EXIT_RDMSR, ALWAYS, ALWAYS, LENGTH, CPU(CPU_MSR_BITMAPS)},
	[VMX_WRMSR] = {"WRMSR", EXIT_WRMSR, ALWAYS, ALWAYS, LENGTH, CPU(CPU_MSR_BITMAPS)},
	[VMX_INVALID_GUEST_STATE] = {"INVALID_GUEST_STATE", EXIT_INVALID, UNCONDITIONAL,
				     UNCONDITIONAL, QUALIFIED},
	[VMX_MSR_LOADING] = {"MSR_LOADING", EXIT_INVALID, UNCONDITIONAL, UNCONDITIONAL, QUALIFIED},
	[VMX_MWAIT] = {"MWAIT", EXIT_MWAIT, NEVER, ALWAYS, LENGTH | QUALIFIED, CPU(CPU_MWAIT)},
	[VMX_MONITOR_TRAP] = {"MONITOR_TRAP", EXIT_UNKNOWN, NEVER, NEVER},
	[VMX_MONITOR] = {"MONITOR", EXIT_MONITOR, NEVER, ALWAYS, LENGTH, CPU(CPU_MONITOR)},
	[VMX_PAUSE] = {"PAUSE", EXIT_PAUSE, NEVER, ASKED, LENGTH},
	[VMX_ENTRY_MACHINE_CHECK] = {"ENTRY_MACHINE_CHECK", EXIT_MCE, UNCONDITIONAL, UNCONDITIONAL},
	[VMX_TPR_BELOW] = {"TPR_BELOW", EXIT_TPR_BELOW, NEVER, ASKED},
	[VMX_APIC_ACCESS] = {"APIC_ACCESS", EXIT_APIC_ACCESS, NEVER, NEVER, QUALIFIED | DELIVERY},
	[VMX_VIRTUALIZED_EOI] = {"VIRTUALIZED_EOI", EXIT_UNKNOWN, NEVER, NEVER, QUALIFIED},
	[VMX_GDTR_IDTR] = {"GDTR_IDTR", EXIT_DESC_TABLE, NEVER, NEVER, LENGTH | QUALIFIED},
	[VMX_LDTR_TR] = {"LDTR_TR", EXIT_DESC_TABLE, NEVER, NEVER, LENGTH | QUALIFIED},
	[VMX_EPT_VIOLATION] = {"EPT_VIOLATION", EXIT_SLAT, ALWAYS, ALWAYS, QUALIFIED | DELIVERY,
			       CPU2(CPU2_EPT)},
	[VMX_EPT_MISCONFIG] = {"EPT_MISCONFIG", EXIT_SLAT_MISCONFIG, UNCONDITIONAL, UNCONDITIONAL,
			       DELIVERY},
	[VMX_INVEPT] = {"INVEPT", EXIT_VIRT_INSN, UNCONDITIONAL, UNCONDITIONAL, LENGTH},
	[VMX_RDTSCP] = {"RDTSCP", EXIT_RDTSCP, NEVER, NEVER, LENGTH},
	[VMX_PREEMPTION_TIMER] = {"PREEMPTION_TIMER", EXIT_PREEMPT_TIMER, NEVER, ASKED},
	[VMX_INVVPID] = {"INVVPID", EXIT_VIRT_INSN, UNCONDITIONAL, UNCONDITIONAL, LENGTH},
	[VMX_WBINVD] = {"WBINVD", EXIT_WBINVD, NEVER, ALWAYS, LENGTH, CPU2(CPU2_WBINVD)},
	[VMX_XSETBV] = {"XSETBV", EXIT_XSETBV, UNCONDITIONAL, UNCONDITIONAL, LENGTH},
	[VMX_APIC_WRITE] = {"APIC_WRITE", EXIT_UNKNOWN, NEVER, NEVER, QUALIFIED},
	[VMX_RDRAND] = {"RDRAND", EXIT_RDRAND, NEVER, NEVER, LENGTH},
	[VMX_INVPCID] = {"INVPCID", EXIT_INVPCID, NEVER, NEVER, LENGTH | QUALIFIED},
	[VMX_VMFUNC] = {"VMFUNC", EXIT_VIRT_INSN, NEVER, NEVER, LENGTH},
	[VMX_ENCLS] = {"ENCLS", EXIT_VIRT_INSN, NEVER, ALWAYS, LENGTH, CPU2(CPU2_ENCLS)},
	[VMX_RDSEED] = {"RDSEED", EXIT_RDSEED, NEVER, NEVER, LENGTH},
	[VMX_PML_FULL] = {"PML_FULL", EXIT_PML_FULL, NEVER, ASKED, QUALIFIED | DELIVERY},
	[VMX_XSAVES] = {"XSAVES", EXIT_XSAVES, NEVER, NEVER, LENGTH},
	[VMX_XRSTORS] = {"XRSTORS", EXIT_XRSTORS, NEVER, NEVER, LENGTH},
	[VMX_PCONFIG] = {"PCONFIG", EXIT_VIRT_INSN, NEVER, NEVER, LENGTH},
	[VMX_SPP] = {"SPP", EXIT_UNKNOWN, NEVER, NEVER, QUALIFIED | DELIVERY},
	[VMX_UMWAIT] = {"UMWAIT", EXIT_VIRT_INSN, NEVER, NEVER, LENGTH},
	[VMX_TPAUSE] = {"TPAUSE", EXIT_VIRT_INSN, NEVER, NEVER, LENGTH},
	[VMX_LOADIWKEY] = {"LOADIWKEY", EXIT_VIRT_INSN, NEVER, NEVER, LENGTH},
	[35] = UNLISTED,
	[38] = UNLISTED,
	[42] = UNLISTED,
	[71] = UNLISTED,
	[VMX_ENCLV] = {"ENCLV", EXIT_VIRT_INSN, NEVER, ALWAYS, LENGTH, CPU2(CPU2_ENCLV)},
	[VMX_ENQCMD_PASID] = {"ENQCMD_PASID", EXIT_VIRT_INSN, NEVER, NEVER, LENGTH | QUALIFIED},
	[VMX_ENQCMDS_PASID] = {"ENQCMDS_PASID", EXIT_VIRT_INSN, NEVER, NEVER, LENGTH | QUALIFIED},
	[VMX_BUS_LOCK] = {"BUS_LOCK", EXIT_UNKNOWN, NEVER, NEVER},
	[VMX_NOTIFY] = {"NOTIFY", EXIT_UNKNOWN, NEVER, NEVER, QUALIFIED | DELIVERY},
	[VMX_SEAMCALL] = {"SEAMCALL", EXIT_VIRT_INSN, UNCONDITIONAL, UNCONDITIONAL, LENGTH},
	[VMX_TDCALL] = {"TDCALL", EXIT_VIRT_INSN, UNCONDITIONAL, UNCONDITIONAL, LENGTH},
	[VMX_RDMSRLIST] = {"RDMSRLIST", EXIT_VIRT_INSN, NEVER, NEVER, LENGTH},
	[VMX_WRMSRLIST] = {"WRMSRLIST", EXIT_VIRT_INSN, NEVER, NEVER, LENGTH},
};

/* Bits 15:0; the others are of an entry that failed, enclaves, and SMM. */
static const struct exit_row *find_row(u32 reason)
{
	static const struct exit_row unlisted = UNLISTED;
	u16 basic = reason;

	return basic < VMX_EXIT_COUNT ? &exit_rows[basic] : &unlisted;
}

const char *vmx_exit_name(u32 reason)
{
	return find_row(reason)->name;
}

/*
 * #AC and #DB are intercepted in children since their delivery can raise them again for ever inside
 * the processor's microcode.
 */
void vmx_static_intercepts(enum virt_kind kind, struct vmx_controls *c)
{
	for (u32 i = 0; i < VMX_EXIT_COUNT; i++) {
		const struct exit_row *row = &exit_rows[i];
		u8 policy = kind == VIRT_CHILD ? row->child : row->management;

		if (policy == ALWAYS)
			*(u32 *)((char *)c + row->word) |= row->control;
	}
	if (kind == VIRT_CHILD)
		c->exceptions |= BIT(VECTOR_DB) | BIT(VECTOR_AC) | BIT(VECTOR_MC);
}

/* The exit qualifications' bits. SDM vol. 3, "Basic VM-Exit Information" and its tables. */
enum qualification {
	CR_NUMBER = MASK(3, 0),
	CR_TYPE = MASK(5, 4),
	CR_MOV_TO = 0 << 4,
	CR_MOV_FROM = 1 << 4,
	DR_NUMBER = MASK(2, 0),
	DR_MOV_FROM = BIT(4),
	MOV_GPR = MASK(11, 8), /* of both */
	MOV_GPR_SHIFT = 8,
	IO_SIZE = MASK(2, 0), /* less 1 */
	IO_IN = BIT(3),
	IO_STRING = BIT(4),
	IO_REP = BIT(5),
	IO_PORT_SHIFT = 16,
	EPT_WRITE = BIT(1),
	EPT_FETCH = BIT(2),
	EPT_ENTRY = MASK(5, 3),	 /* what the entry allows: read, write, fetch */
	EPT_LINEAR = BIT(7),	 /* the guest-linear address is valid */
	EPT_TRANSLATED = BIT(8), /* the access to it, not to the guest's tables on the way */
	TASK_SELECTOR = 0xffff,
	TASK_SOURCE_SHIFT = 30,
	TASK_BY_GATE = 3,
};

/* Of INS and OUTS. SDM vol. 3, "Information for VM Exits Due to Instruction Execution". */
enum io_info {
	IO_ADDRESS = MASK(9, 7), /* log2 of the bytes, less 1 */
	IO_ADDRESS_SHIFT = 7,
	IO_SEGMENT = MASK(17, 15),
	IO_SEGMENT_SHIFT = 15,
};

/*
 * An IRET that opened NMIs and then faulted did not happen: they are masked again. SDM vol. 3,
 * "Information About NMI Unblocking Due to IRET".
 */
static void mask_nmis_again(struct virt_vcpu *v)
{
	if (v->features & VIRT_VIRTUAL_NMI)
		vmx_mask_nmi(v, true);
}

/* Root's handler has not seen it, and NMIs stay blocked until an IRET. */
static void decode_nmi(struct virt_vcpu *v, struct vm_exit *e)
{
	e->reason = EXIT_NMI;
	__atomic_fetch_or(&v->cpu->root_flags, CPU_ROOT_NMI, __ATOMIC_SEQ_CST);
	vmx_open_nmi();
}

static void decode_exception(struct virt_vcpu *v, struct vm_exit *e, bool delivering)
{
	u32 info = vmread(VMCS_EXIT_INTR_INFO);
	u8 vector = info;

	if ((info & INTR_TYPE) == INTR_TYPE_NMI) {
		decode_nmi(v, e);
		return;
	}
	if (info & INTR_NMI_UNBLOCKED && !delivering && vector != VECTOR_DF)
		mask_nmis_again(v);
	if (vector == VECTOR_MC) {
		e->reason = EXIT_MCE;
		return;
	}
	/* INT3, INTO; INT1's handler returns behind it, but RIP still stands at it. */
	if ((info & INTR_TYPE) == INTR_TYPE_SOFT_EXCEPTION)
		e->insn_len = vmread(VMCS_EXIT_INSN_LEN);
	else if ((info & INTR_TYPE) == INTR_TYPE_PRIVILEGED)
		v->rip += vmread(VMCS_EXIT_INSN_LEN);
	e->exception.vector = vector;
	e->exception.has_error = info & INTR_HAS_ERROR;
	e->exception.error = e->exception.has_error ? vmread(VMCS_EXIT_INTR_ERROR) : 0;
	/* The processor has not written CR2, nor DR6. */
	if (vector == VECTOR_PF || vector == VECTOR_DB)
		e->info1 = vmread(VMCS_EXIT_QUALIFICATION);
	e->exception.payload = e->info1;
}

/* Only a task gate knows an error code: that of the event which it delivers. */
static void decode_task_switch(struct vm_exit *e)
{
	e->task_switch.selector = e->info1 & TASK_SELECTOR;
	e->task_switch.source = e->info1 >> TASK_SOURCE_SHIFT & 3;
	e->task_switch.has_error = false;
	e->task_switch.error = 0;
	if (e->task_switch.source == TASK_BY_GATE) {
		u32 info = vmread(VMCS_VECTORING_INFO);

		if (info & INTR_VALID && (info & INTR_TYPE) < INTR_TYPE_SOFT_INTR) {
			e->task_switch.has_error = e->vectoring.has_error;
			e->task_switch.error = e->vectoring.error;
			return;
		}
	}
	/* By an instruction, which RIP still stands at; INT n, INT3 and INTO through a gate too. */
	e->vectoring.type = EVENT_NONE;
	e->insn_len = vmread(VMCS_EXIT_INSN_LEN);
}

static noinline void decode_string_io(struct vm_exit *e)
{
	u32 info;

	e->io.rep = e->info1 & IO_REP;
	e->io.address_size = 0;
	e->io.seg = SEG_COUNT;
	if (!vmx_features.insn_info_io)
		return;
	info = vmread(VMCS_EXIT_INSN_INFO);
	e->io.address_size = 2 << ((info & IO_ADDRESS) >> IO_ADDRESS_SHIFT);
	e->io.seg = (info & IO_SEGMENT) >> IO_SEGMENT_SHIFT; /* of OUTS alone */
}

static inline void decode_io(struct vm_exit *e)
{
	u64 info = e->info1 = vmread_next(VMCS_EXIT_QUALIFICATION);

	e->io.port = info >> IO_PORT_SHIFT;
	e->io.size = (info & IO_SIZE) + 1;
	e->io.in = info & IO_IN;
	e->io.string = info & IO_STRING;
}

/*
 * What CS:RIP and its translation depend on, for the decoder: no length comes with the exit. CR0.PG
 * is the guest's own.
 */
static void decode_code(struct vm_exit *e)
{
	u32 access = vmread(VMCS_GUEST_CS_ACCESS);
	struct virt_code *code = &e->code;

	code->cs_base = vmread(VMCS_GUEST_CS_BASE);
	code->cs_attr = (access & 0xff) | (access >> 4 & 0xf00);
	code->cr0 = vmread(VMCS_GUEST_CR0);
	code->cr3 = vmread(VMCS_GUEST_CR3);
	code->efer = vmread(VMCS_GUEST_EFER);
	code->cpl = (vmread(VMCS_GUEST_SS_ACCESS) & SEG_DPL) >> 5;
	e->code_known = true;
}

static void decode_slat(struct virt_vcpu *v, struct vm_exit *e, bool delivering)
{
	u64 info = e->info1;

	if (info & INTR_NMI_UNBLOCKED && !delivering)
		mask_nmis_again(v);
	e->slat.gpa = GPA(vmread(VMCS_GUEST_PHYSICAL));
	e->slat.gva_valid = info & EPT_LINEAR;
	e->slat.gva = GVA(e->slat.gva_valid ? vmread(VMCS_GUEST_LINEAR) : 0);
	e->slat.write = info & EPT_WRITE;
	e->slat.exec = info & EPT_FETCH;
	e->slat.present = info & EPT_ENTRY;
	e->slat.table_walk = e->slat.gva_valid && !(info & EPT_TRANSLATED);
	decode_code(e);
}

static void decode_cr(struct vm_exit *e)
{
	u32 type = e->info1 & CR_TYPE;

	if (type > CR_MOV_FROM) {
		e->reason = EXIT_CR_OTHER; /* CLTS, LMSW */
		return;
	}
	e->reason = type == CR_MOV_TO ? EXIT_CR_WRITE : EXIT_CR_READ;
	e->mov.nr = e->info1 & CR_NUMBER;
	e->mov.gpr = (e->info1 & MOV_GPR) >> MOV_GPR_SHIFT;
	e->mov.gpr_known = true;
}

static void decode_dr(struct vm_exit *e)
{
	e->reason = e->info1 & DR_MOV_FROM ? EXIT_DR_READ : EXIT_DR_WRITE;
	e->mov.nr = e->info1 & DR_NUMBER;
	e->mov.gpr = (e->info1 & MOV_GPR) >> MOV_GPR_SHIFT;
	e->mov.gpr_known = true;
}

/* What only some reasons have. */
static noinline void decode_details(struct virt_vcpu *v, struct vm_exit *e, bool delivering)
{
	switch (e->reason) {
	case EXIT_EXCEPTION:
		decode_exception(v, e, delivering);
		break;
	case EXIT_TASK_SWITCH:
		decode_task_switch(e);
		break;
	case EXIT_IO:
		decode_string_io(e);
		break;
	case EXIT_SLAT:
		decode_slat(v, e, delivering);
		break;
	case EXIT_SLAT_MISCONFIG:
		e->info1 = vmread(VMCS_GUEST_PHYSICAL); /* there is no qualification */
		break;
	case EXIT_CR_WRITE:
		decode_cr(e);
		break;
	case EXIT_DR_WRITE:
		decode_dr(e);
		break;
	case EXIT_INVLPG:
		e->invlpg.gva = e->info1;
		e->invlpg.gva_valid = true;
		break;
	case EXIT_PML_FULL:
		if (e->info1 & INTR_NMI_UNBLOCKED && !delivering)
			mask_nmis_again(v);
		break;
	}
}

static inline void decode_caller(struct virt_vcpu *v)
{
	bool kernel = !(vmread_next(VMCS_GUEST_SS_ACCESS) & SEG_DPL) &&
		      vmread_next(VMCS_GUEST_CR0) & CR0_PE;

	v->caller = kernel ? CALLER_KERNEL : CALLER_OTHER;
}

static noinline void decode_more(struct virt_vcpu *v, struct vm_exit *e, u8 told)
{
	bool delivering = false;

	if (told & QUALIFIED)
		e->info1 = vmread(VMCS_EXIT_QUALIFICATION);
	if (told & DELIVERY && vmread(VMCS_VECTORING_INFO) & INTR_VALID) {
		delivering = true;
		vmx_decode_vectoring(v, &e->vectoring);
	}
	decode_details(v, e, delivering);
}

/* The part of every exit, and all of the most frequent ones. False: decode_more() has the rest. */
static inline bool decode(struct virt_vcpu *v, struct vm_exit *e, const struct exit_row *row,
			  u64 reason)
{
	e->head = row->reason;
	e->raw = reason;
	e->info1 = 0;
	e->vectoring.type = EVENT_NONE;
	if (likely(row->told & LENGTH)) {
		u32 length = vmread_next(VMCS_EXIT_INSN_LEN);

		if (likely(length <= 15))
			e->insn_len = length;
	}
	v->rflags = vmread_next(VMCS_GUEST_RFLAGS);
	v->quiet = false;
	if (likely(!(v->rflags & (RFLAGS_RF | RFLAGS_TF))))
		v->quiet = !(vmread_next(VMCS_GUEST_INTERRUPTIBILITY) &
			     (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS));
	if (!(row->told & ~LENGTH))
		return true;
	if (row->told & CALLER) {
		decode_caller(v);
		return true;
	}
	if (row->reason != EXIT_IO)
		return false;
	decode_io(e);
	return !e->io.string;
}

void vmx_decode(struct virt_vcpu *v, struct vm_exit *e, u32 reason)
{
	const struct exit_row *row = find_row(reason);

	if (!decode(v, e, row, reason))
		decode_more(v, e, row->told);
}

static noinline void exited_more(struct virt_vcpu *v, struct vm_exit *e, u32 reason)
{
	decode_more(v, e, exit_rows[reason].told);
	vmx_settle(v, e, reason);
}

static noinline void exited_rare(struct virt_vcpu *v, struct vm_exit *e, u32 reason)
{
	vmx_decode(v, e, reason);
	vmx_settle(v, e, reason);
}

void vmx_exited(struct virt_vcpu *v, struct vm_exit *e)
{
	struct vmx_vcpu *x = vmx_of(v);
	u64 reason = vmread(VMCS_EXIT_REASON);

	v->rip = x->rip = vmread_next(VMCS_GUEST_RIP);
	v->gpr[GPR_RSP] = x->rsp = vmread_next(VMCS_GUEST_RSP);
	/* Bits above those of the basic reason make it too great as well. */
	if (unlikely(reason >= VMX_EXIT_COUNT || v->rare[0] | v->rare[1])) {
		exited_rare(v, e, reason);
		return;
	}
	x->launched = true;
	if (unlikely(!decode(v, e, &exit_rows[reason], reason)))
		exited_more(v, e, reason);
}
