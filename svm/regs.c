/* SPDX-License-Identifier: MIT */
/* Guest registers in the VMCB; those of the VMLOAD group may still be on the processor. */
#include "arch-x86/insn.h"
#include "arch-x86/log.h"
#include "arch-x86/regs.h"
#include "svm/internal.h"

/* The VMLOAD group is never behind a clean bit; the rest of RFLAGS, RIP, RSP, RAX neither. */
struct plain_reg {
	u16 offset;
	bool extra; /* of the VMLOAD group */
	u32 clean;  /* group that a write dirties */
};

#define PLAIN(reg, field, group) [reg] = {offsetof(struct vmcb, field), false, group}
#define EXTRA(reg, field)	 [reg] = {offsetof(struct vmcb, field), true, DIRTY_EXTRA}

static const struct plain_reg plain_regs[VREG_COUNT] = {
	PLAIN(VREG_RFLAGS, rflags, 0),
	PLAIN(VREG_CR0, cr0, CLEAN_CRX),
	PLAIN(VREG_CR2, cr2, CLEAN_CR2),
	PLAIN(VREG_CR3, cr3, CLEAN_CRX),
	PLAIN(VREG_DR7, dr7, CLEAN_DRX),
	PLAIN(VREG_PAT, g_pat, CLEAN_NP),
	PLAIN(VREG_DEBUGCTL, debugctl, CLEAN_LBR),
	PLAIN(VREG_TSC_OFFSET, tsc_offset, CLEAN_INTERCEPTS),
	EXTRA(VREG_STAR, star),
	EXTRA(VREG_LSTAR, lstar),
	EXTRA(VREG_CSTAR, cstar),
	EXTRA(VREG_SFMASK, sfmask),
	EXTRA(VREG_KERNEL_GS_BASE, kernel_gs_base),
	EXTRA(VREG_SYSENTER_CS, sysenter_cs),
	EXTRA(VREG_SYSENTER_ESP, sysenter_esp),
	EXTRA(VREG_SYSENTER_EIP, sysenter_eip),
};

static u64 *plain_field(struct virt_vcpu *v, const struct plain_reg *reg)
{
	return (u64 *)((char *)v->hw + reg->offset);
}

/*
 * With CR4.MCE clear a machine check is a shutdown, also while #MC is intercepted (APM vol. 2,
 * "Machine Check Architecture"): it would end the child, and the machine's owner would not hear of
 * it. So the bit is always set while a child runs, and reads exit where its guest has it clear.
 */
static void set_cr4(struct virt_vcpu *v, u64 value)
{
	struct vmcb *vmcb = vmcb_of(v);
	u32 exits = vmcb->intercepts[0] & ~BIT(SVM_CR_READ + 4);

	v->mce_forced = v->vm->kind == VIRT_CHILD && !(value & CR4_MCE);
	VMCB_SET(v, cr4, v->mce_forced ? value | CR4_MCE : value, CLEAN_CRX);
	VMCB_SET(v, intercepts[0], exits | (u32)v->mce_forced << (SVM_CR_READ + 4),
		 CLEAN_INTERCEPTS);
}

static void set_nmi_masked(struct virt_vcpu *v, bool masked)
{
	v->nmi_state = masked ? NMI_MASKED : NMI_OPEN;
	svm_intercept(v, v->intercept_set);
}

/* APM vol. 2, "TSC Ratio MSR". */
static void set_tsc_ratio(struct virt_vcpu *v, u64 ratio)
{
	v->tsc_ratio = ratio;
	v->dirty &= ~(u32)DIRTY_TSC;
	if (ratio != TSC_RATIO_ONE)
		v->dirty |= DIRTY_TSC;
}

u64 svm_get(struct virt_vcpu *v, enum virt_reg reg)
{
	const struct vmcb *vmcb = vmcb_of(v);

	switch (reg) {
	case VREG_CR4:
		return v->mce_forced ? vmcb->cr4 & ~(u64)CR4_MCE : vmcb->cr4;
	case VREG_CR8:
		return vmcb->int_control & V_TPR & 15;
	case VREG_DR6:
		return svm_dr6_aside(v) ? v->dr6 : vmcb->dr6;
	case VREG_EFER:
		return vmcb->efer & ~(u64)EFER_SVME;
	case VREG_INT_SHADOW:
		return vmcb->int_state & INT_STATE_SHADOW;
	case VREG_TSC_RATIO:
		return v->tsc_ratio;
	case VREG_NMI_MASKED:
		return v->nmi_state != NMI_OPEN;
	case VREG_CPL:
		return vmcb->cpl;
	case VREG_PDPTE0 ... VREG_PDPTE3:
		return 0; /* nested paging walks them from memory */
	default:
		CHECK(reg < VREG_COUNT);
		if (plain_regs[reg].extra)
			svm_save_extra(v);
		return *plain_field(v, &plain_regs[reg]);
	}
}

void svm_set(struct virt_vcpu *v, enum virt_reg reg, u64 value)
{
	struct vmcb *vmcb = vmcb_of(v);
	u64 *field;

	switch (reg) {
	case VREG_CR4:
		set_cr4(v, value);
		return;
	case VREG_CR8:
		VMCB_SET(v, int_control, (vmcb->int_control & ~(u64)V_TPR) | (value & 15),
			 CLEAN_TPR);
		v->cr8 = value & 15;
		return;
	case VREG_DR6:
		v->dr6 = value;
		if (!svm_dr6_aside(v))
			VMCB_SET(v, dr6, value, CLEAN_DRX);
		return;
	case VREG_EFER:
		VMCB_SET(v, efer, value | EFER_SVME, CLEAN_CRX);
		return;
	case VREG_INT_SHADOW:
		v->quiet = false;
		vmcb->int_state = (vmcb->int_state & ~(u64)INT_STATE_SHADOW) | !!value;
		return;
	case VREG_NMI_MASKED:
		set_nmi_masked(v, value);
		return;
	case VREG_TSC_RATIO:
		set_tsc_ratio(v, value);
		return;
	case VREG_CPL:
	case VREG_PDPTE0 ... VREG_PDPTE3:
		return;
	default:
		CHECK(reg < VREG_COUNT);
		if (reg == VREG_RFLAGS) {
			v->quiet = false;
			v->rflags = value;
		}
		if (plain_regs[reg].extra)
			svm_save_extra(v);
		field = plain_field(v, &plain_regs[reg]);
		if (*field != value) {
			*field = value;
			v->dirty |= plain_regs[reg].clean;
		}
	}
}

static const struct {
	u16 offset;
	bool extra;
	u32 clean;
} seg_fields[SEG_COUNT] = {
	[SEG_ES] = {offsetof(struct vmcb, es), false, CLEAN_SEG},
	[SEG_CS] = {offsetof(struct vmcb, cs), false, CLEAN_SEG},
	[SEG_SS] = {offsetof(struct vmcb, ss), false, CLEAN_SEG},
	[SEG_DS] = {offsetof(struct vmcb, ds), false, CLEAN_SEG},
	[SEG_FS] = {offsetof(struct vmcb, fs), true, DIRTY_EXTRA},
	[SEG_GS] = {offsetof(struct vmcb, gs), true, DIRTY_EXTRA},
	[SEG_LDTR] = {offsetof(struct vmcb, ldtr), true, DIRTY_EXTRA},
	[SEG_TR] = {offsetof(struct vmcb, tr), true, DIRTY_EXTRA},
	[SEG_GDTR] = {offsetof(struct vmcb, gdtr), false, CLEAN_DT},
	[SEG_IDTR] = {offsetof(struct vmcb, idtr), false, CLEAN_DT},
};

/*
 * The VMCB packs descriptor bits 55:52 and 47:40 into 12 bits (APM vol. 2, "VMCB Layout, State
 * Save Area"), which is the contract's own packing.
 */
void svm_get_segment(struct virt_vcpu *v, enum seg seg, struct segment *s)
{
	const struct vmcb_segment *field;

	CHECK(seg < SEG_COUNT);
	if (seg_fields[seg].extra)
		svm_save_extra(v);
	field = (void *)((char *)v->hw + seg_fields[seg].offset);
	s->selector = field->selector;
	s->attr = field->attr;
	s->limit = field->limit;
	s->base = field->base;
	/*
	 * The processor may keep no G for CS, nor a busy type for TR after VMSAVE: a limit with
	 * low bits that a byte-granular descriptor cannot express tells that it was scaled.
	 */
	if (seg <= SEG_TR && s->limit > 0xfffff)
		s->attr |= SEG_G;
	if (seg == SEG_TR)
		s->attr |= 2;
	/* APM vol. 2, "CPL": SS.DPL of a 64-bit stack segment that was NULL is not kept; CPL is. */
	if (seg == SEG_SS)
		s->attr = (s->attr & ~SEG_DPL) | vmcb_of(v)->cpl << 5;
}

void svm_set_segment(struct virt_vcpu *v, enum seg seg, const struct segment *s)
{
	struct vmcb_segment value = {s->selector, s->attr & 0xfff, s->limit, s->base};
	struct vmcb_segment *field;

	CHECK(seg < SEG_COUNT);
	if (seg_fields[seg].extra)
		svm_save_extra(v);
	if (seg >= SEG_GDTR)
		value.selector = value.attr = 0;
	else if (!(value.attr & SEG_P))
		value.attr = 0; /* a NULL segment: the processor looks at P alone */
	else if (seg == SEG_TR && svm_features.qemu)
		value.attr &= ~2; /* a busy TSS is QEMU's end (docs/architecture.md, "QEMU") */
	field = (void *)((char *)v->hw + seg_fields[seg].offset);
	if (seg == SEG_SS) /* the privilege level is SS.DPL, also where SS is unusable */
		VMCB_SET(v, cpl, (s->attr & SEG_DPL) >> 5, CLEAN_SEG);
	if (__builtin_memcmp(field, &value, sizeof(value)) == 0)
		return;
	*field = value;
	v->dirty |= seg_fields[seg].clean;
}
