/* SPDX-License-Identifier: MIT */
/* The VMCB in words, the manual's rules for an entry, and the check=entry comparison. */
#include "arch-x86/dump.h"
#include "arch-x86/insn.h"
#include "arch-x86/log.h"
#include "arch-x86/regs.h"
#include "lib/string.h"
#include "svm/internal.h"

#define CR4_KNOWN                                                                                  \
	(MASK(11, 0) | CR4_LA57 | CR4_FSGSBASE | CR4_PCIDE | CR4_OSXSAVE | CR4_SMEP | CR4_SMAP |   \
	 CR4_PKE | CR4_CET)
#define EFER_KNOWN                                                                                 \
	(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE | EFER_SVME | EFER_LMSLE | EFER_FFXSR |         \
	 EFER_TCE | EFER_MCOMMIT | EFER_INTWB | EFER_UAIE | EFER_AIBRSE)
#define S_CET_KNOWN (BIT(0) | BIT(1)) /* SH_STK_EN, WR_SHSTK_EN */

static void check_registers(struct rules *r, const struct vmcb *b)
{
	bool long_mode = b->efer & EFER_LME && b->cr0 & CR0_PG;
	u64 beyond = ~0ull << svm_features.physical_bits;

	rule(r, !(b->efer & EFER_SVME), "EFER.SVME", "must be 1");
	rule(r, !(b->cr0 & CR0_CD) && b->cr0 & CR0_NW, "CR0.NW", "must be 0 while CR0.CD is 0");
	rule(r, b->cr0 & MASK(63, 32), "CR0[63:32]", "must be 0");
	rule(r, long_mode ? b->cr3 & beyond : 0, "CR3",
	     "must be within the physical address width");
	rule(r, b->cr4 & ~CR4_KNOWN, "CR4", "must have no reserved bit set");
	rule(r, b->dr6 & MASK(63, 32), "DR6[63:32]", "must be 0");
	rule(r, b->dr7 & MASK(63, 32), "DR7[63:32]", "must be 0");
	rule(r, b->efer & ~EFER_KNOWN, "EFER", "must have no reserved bit set");
	rule(r, long_mode && !(b->cr4 & CR4_PAE), "CR4.PAE", "must be 1 with EFER.LME and CR0.PG");
	rule(r, long_mode && !(b->cr0 & CR0_PE), "CR0.PE", "must be 1 with EFER.LME and CR0.PG");
	rule(r, long_mode && b->cr4 & CR4_PAE && b->cs.attr & SEG_L && b->cs.attr & SEG_DB, "CS",
	     "must not have both L and D set in long mode");
	rule(r, b->s_cet & ~S_CET_KNOWN, "S_CET", "must have no reserved bit set");
	rule(r, b->cr4 & CR4_CET && !(b->cr0 & CR0_WP), "CR0.WP", "must be 1 with CR4.CET");
}

static void check_controls(struct rules *r, const struct vmcb *b)
{
	u64 beyond = ~0ull << svm_features.physical_bits;

	rule(r, !(b->intercepts[SVM_VMRUN / 32] & BIT(SVM_VMRUN % 32)), "the VMRUN intercept",
	     "must be set");
	rule(r, (b->msrpm_base | (b->msrpm_base + 0x1fff)) & beyond, "MSRPM_BASE_PA",
	     "must leave the map within the physical address width");
	rule(r, (b->iopm_base | (b->iopm_base + 0x2fff)) & beyond, "IOPM_BASE_PA",
	     "must leave the map within the physical address width");
	rule(r, b->asid == 0, "the ASID", "must not be 0");
}

static void check_event(struct rules *r, const struct vmcb *b)
{
	u64 type = b->event_inject & VMCB_EVENT_TYPE;
	u8 vector = b->event_inject;

	if (!(b->event_inject & VMCB_EVENT_VALID))
		return;
	rule(r,
	     type != VMCB_EVENT_INTR && type != VMCB_EVENT_NMI && type != VMCB_EVENT_EXCEPTION &&
		     type != VMCB_EVENT_SOFT,
	     "EVENTINJ", "must not have a reserved type");
	rule(r, type == VMCB_EVENT_EXCEPTION && (vector == VECTOR_NMI || vector > 31), "EVENTINJ",
	     "must have an exception's vector");
}

static void check_nested_paging(struct rules *r, const struct vmcb *b)
{
	u64 reserved = ~0ull << svm_features.physical_bits | 0xfe7;

	if (!(b->np_control & NP_ENABLE))
		return;
	rule(r, b->n_cr3 & reserved, "N_CR3", "must have no reserved bit set");
	rule(r, !pat_is_valid(b->g_pat), "G_PAT", "must have no reserved memory type");
}

/* Long mode itself is always there on a processor that runs Keel. */
void svm_broken_rules(const struct vmcb *b, struct rules *r)
{
	r->count = 0;
	r->section = "APM vol. 2, Canonicalization and Consistency Checks";
	check_registers(r, b);
	check_controls(r, b);
	r->section = "APM vol. 2, Event Injection";
	check_event(r, b);
	r->section = "APM vol. 2, NMI Virtualization";
	rule(r, b->int_control & V_NMI_ENABLE && !(b->intercepts[SVM_NMI / 32] & BIT(SVM_NMI % 32)),
	     "the NMI intercept", "must be set with V_NMI_ENABLE");
	r->section = "APM vol. 2, Nested Paging and VMRUN/#VMEXIT";
	check_nested_paging(r, b);
}

static const struct bit_name int_control_names[] = {
	{V_IRQ, "V_IRQ"},
	{V_GIF, "VGIF"},
	{V_NMI, "V_NMI"},
	{V_NMI_MASK, "V_NMI_MASK"},
	{V_IGNORE_TPR, "V_IGN_TPR"},
	{V_INTR_MASKING, "V_INTR_MASKING"},
	{V_GIF_ENABLE, "VGIF_ENABLE"},
	{V_NMI_ENABLE, "V_NMI_ENABLE"},
	{V_AVIC_ENABLE, "AVIC"},
	{0},
};
static const struct bit_name clean_names[] = {
	{CLEAN_INTERCEPTS, "I"}, {CLEAN_MAPS, "IOPM"},
	{CLEAN_ASID, "ASID"},	 {CLEAN_TPR, "TPR"},
	{CLEAN_NP, "NP"},	 {CLEAN_CRX, "CRx"},
	{CLEAN_DRX, "DRx"},	 {CLEAN_DT, "DT"},
	{CLEAN_SEG, "SEG"},	 {CLEAN_CR2, "CR2"},
	{CLEAN_LBR, "LBR"},	 {CLEAN_AVIC, "AVIC"},
	{CLEAN_CET, "CET"},	 {0},
};

static void log_event(const char *field, u64 event)
{
	static const char *const types[] = {
		"interrupt",	      "reserved 1", "NMI",	  "exception",
		"software interrupt", "reserved 5", "reserved 6", "reserved 7",
	};

	if (!(event & VMCB_EVENT_VALID))
		return;
	log_error("  %s %016llx %s, vector %u%s", field, (unsigned long long)event,
		  types[(event & VMCB_EVENT_TYPE) >> 8], (u8)event,
		  event & VMCB_EVENT_HAS_ERROR ? ", error code" : "");
}

static void log_intercepts(const struct vmcb *b)
{
	for (u32 i = 0; i < INTERCEPT_WORDS; i++) {
		log_error("  intercepts[%u] %08x", i, b->intercepts[i]);
		for (u32 bit = 0; i >= 2 && bit < 32; bit++)
			if (b->intercepts[i] & BIT(bit))
				log_debug("    %s", svm_exit_name(i * 32 + bit));
	}
}

static void log_control(const struct vmcb *b)
{
	log_error("  exit code %llx %s, info %016llx %016llx", (unsigned long long)b->exit_code,
		  svm_exit_name(b->exit_code), (unsigned long long)b->exit_info1,
		  (unsigned long long)b->exit_info2);
	log_event("EXITINTINFO", b->exit_int_info);
	log_event("EVENTINJ", b->event_inject);
	log_intercepts(b);
	log_error("  IOPM %llx MSRPM %llx TSC offset %llx ASID %u TLB control %u",
		  (unsigned long long)b->iopm_base, (unsigned long long)b->msrpm_base,
		  (unsigned long long)b->tsc_offset, b->asid, b->tlb_control);
	dump_bits("interrupt control", b->int_control, int_control_names);
	log_error("  V_TPR %u interrupt shadow %u", (u32)(b->int_control & V_TPR),
		  (u32)(b->int_state & INT_STATE_SHADOW));
	log_error("  nested paging %llx N_CR3 %llx LBR control %llx nRIP %llx",
		  (unsigned long long)b->np_control, (unsigned long long)b->n_cr3,
		  (unsigned long long)b->lbr_control, (unsigned long long)b->next_rip);
	dump_bits("clean", b->clean, clean_names);
}

static void log_segment(const char *name, const struct vmcb_segment *s)
{
	log_error("  %s %04x base %016llx limit %08x attr %03x type %x%s%s%s%s%s dpl %u", name,
		  s->selector, (unsigned long long)s->base, s->limit, s->attr, s->attr & SEG_TYPE,
		  s->attr & SEG_S ? " S" : "", s->attr & SEG_P ? " P" : "",
		  s->attr & SEG_L ? " L" : "", s->attr & SEG_DB ? " D" : "",
		  s->attr & SEG_G ? " G" : "", (s->attr & SEG_DPL) >> 5);
}

static void log_state(const struct vmcb *b)
{
	static const char *const names[] = {
		"ES", "CS", "SS", "DS", "FS", "GS", "GDTR", "LDTR", "IDTR", "TR",
	};

	for (u32 i = 0; i < ARRAY_SIZE(names); i++)
		log_segment(names[i], &b->es + i);
	log_error("  CPL %u RIP %016llx RSP %016llx RAX %016llx", b->cpl,
		  (unsigned long long)b->rip, (unsigned long long)b->rsp,
		  (unsigned long long)b->rax);
	dump_bits("RFLAGS", b->rflags, dump_rflags);
	dump_bits("CR0", b->cr0, dump_cr0);
	log_error("  CR2 %016llx CR3 %016llx", (unsigned long long)b->cr2,
		  (unsigned long long)b->cr3);
	dump_bits("CR4", b->cr4, dump_cr4);
	dump_bits("EFER", b->efer, dump_efer);
	log_error("  DR6 %llx DR7 %llx G_PAT %016llx DebugCtl %llx", (unsigned long long)b->dr6,
		  (unsigned long long)b->dr7, (unsigned long long)b->g_pat,
		  (unsigned long long)b->debugctl);
	log_error("  STAR %016llx LSTAR %016llx CSTAR %016llx SFMASK %llx",
		  (unsigned long long)b->star, (unsigned long long)b->lstar,
		  (unsigned long long)b->cstar, (unsigned long long)b->sfmask);
	log_error("  SYSENTER %llx:%016llx stack %016llx KernelGSBase %016llx",
		  (unsigned long long)b->sysenter_cs, (unsigned long long)b->sysenter_eip,
		  (unsigned long long)b->sysenter_esp, (unsigned long long)b->kernel_gs_base);
}

void svm_dump(struct virt_vcpu *v)
{
	const struct vmcb *vmcb = vmcb_of(v);
	struct rules rules;

	svm_save_extra(v);
	log_error("VMCB at %llx:", (unsigned long long)v->hw_hpa.v);
	svm_broken_rules(vmcb, &rules);
	dump_rules(&rules);
	log_control(vmcb);
	log_state(vmcb);
}

/* What each clean bit says is unchanged. APM vol. 2, "VMCB Clean Field". */
static const struct {
	u32 clean;
	u16 first, end;
} groups[] = {
#define GROUP(bit, from, to)                                                                       \
	{                                                                                          \
		bit, offsetof(struct vmcb, from),                                                  \
			offsetof(struct vmcb, to) + sizeof(((struct vmcb *)0)->to)                 \
	}
	GROUP(CLEAN_INTERCEPTS, intercepts, intercepts),
	GROUP(CLEAN_INTERCEPTS, pause_threshold, pause_count),
	GROUP(CLEAN_INTERCEPTS, tsc_offset, tsc_offset),
	GROUP(CLEAN_MAPS, iopm_base, msrpm_base),
	GROUP(CLEAN_ASID, asid, asid),
	GROUP(CLEAN_TPR, int_control, int_control),
	GROUP(CLEAN_NP, np_control, np_control),
	GROUP(CLEAN_NP, n_cr3, n_cr3),
	GROUP(CLEAN_NP, g_pat, g_pat),
	GROUP(CLEAN_CRX, efer, efer),
	GROUP(CLEAN_CRX, cr4, cr0),
	GROUP(CLEAN_DRX, dr7, dr6),
	GROUP(CLEAN_DT, gdtr, gdtr),
	GROUP(CLEAN_DT, idtr, idtr),
	GROUP(CLEAN_SEG, es, ds),
	GROUP(CLEAN_SEG, cpl, cpl),
	GROUP(CLEAN_CR2, cr2, cr2),
	GROUP(CLEAN_LBR, debugctl, exception_to),
	GROUP(CLEAN_AVIC, avic_apic_bar, avic_apic_bar),
	GROUP(CLEAN_AVIC, avic_backing_page, avic_physical_table),
	GROUP(CLEAN_CET, s_cet, isst_addr),
#undef GROUP
};

/* The copy stands in the page behind the VMCB (setup.c allocates both). */
static char *last_copy(struct virt_vcpu *v)
{
	return (char *)v->hw + PAGE_SIZE;
}

u32 svm_wrongly_clean(struct virt_vcpu *v)
{
	u32 clean = CLEAN_ALL & ~v->dirty, wrong = 0;

	for (u32 i = 0; i < ARRAY_SIZE(groups); i++)
		if (clean & groups[i].clean &&
		    memcmp((char *)v->hw + groups[i].first, last_copy(v) + groups[i].first,
			   groups[i].end - groups[i].first) != 0)
			wrong |= groups[i].clean;
	return wrong;
}

void svm_check_before(struct virt_vcpu *v)
{
	u32 wrong = svm_wrongly_clean(v);
	struct rules rules;

	svm_broken_rules(vmcb_of(v), &rules);
	if (rules.count) {
		log_error("check=entry: VMRUN will refuse this VMCB:");
		dump_rules(&rules);
	}
	if (wrong) {
		svm_dump(v);
		panic("check=entry: VMCB groups %x changed but are marked clean", wrong);
	}
}

void svm_check_after(struct virt_vcpu *v)
{
	memcpy(last_copy(v), v->hw, PAGE_SIZE);
}
