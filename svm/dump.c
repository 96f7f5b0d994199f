/* SPDX-License-Identifier: MIT */
/* The VMCB in words, the manual's rules for an entry, and the check=entry comparison. */
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

static bool long_mode(const struct vmcb *b)
{
	return b->efer & EFER_LME && b->cr0 & CR0_PG;
}

static u64 address_mask(void)
{
	return ~0ull << svm_features.physical_bits;
}

static bool no_svme(const struct vmcb *b)
{
	return !(b->efer & EFER_SVME);
}

static bool nw_without_cd(const struct vmcb *b)
{
	return !(b->cr0 & CR0_CD) && b->cr0 & CR0_NW;
}

static bool cr0_high(const struct vmcb *b)
{
	return b->cr0 >> 32;
}

static bool cr3_reserved(const struct vmcb *b)
{
	return long_mode(b) && b->cr3 & address_mask();
}

static bool cr4_reserved(const struct vmcb *b)
{
	return b->cr4 & ~CR4_KNOWN;
}

static bool dr6_high(const struct vmcb *b)
{
	return b->dr6 >> 32;
}

static bool dr7_high(const struct vmcb *b)
{
	return b->dr7 >> 32;
}

static bool efer_reserved(const struct vmcb *b)
{
	return b->efer & ~EFER_KNOWN;
}

static bool no_pae(const struct vmcb *b)
{
	return long_mode(b) && !(b->cr4 & CR4_PAE);
}

static bool no_pe(const struct vmcb *b)
{
	return long_mode(b) && !(b->cr0 & CR0_PE);
}

static bool cs_l_and_d(const struct vmcb *b)
{
	return long_mode(b) && b->cr4 & CR4_PAE && b->cs.attr & SEG_L && b->cs.attr & SEG_DB;
}

static bool no_vmrun(const struct vmcb *b)
{
	return !(b->intercepts[SVM_VMRUN / 32] & BIT(SVM_VMRUN % 32));
}

static bool maps_outside(const struct vmcb *b)
{
	return (b->msrpm_base + 0x1fff) & address_mask() ||
	       (b->iopm_base + 0x2fff) & address_mask();
}

static bool bad_event(const struct vmcb *b)
{
	u64 type = b->event_inject & VMCB_EVENT_TYPE;
	u8 vector = b->event_inject;

	if (!(b->event_inject & VMCB_EVENT_VALID))
		return false;
	if (type == VMCB_EVENT_EXCEPTION)
		return vector == VECTOR_NMI || vector > 31;
	return type != VMCB_EVENT_INTR && type != VMCB_EVENT_NMI && type != VMCB_EVENT_SOFT;
}

static bool asid_zero(const struct vmcb *b)
{
	return b->asid == 0;
}

static bool s_cet_reserved(const struct vmcb *b)
{
	return b->s_cet & ~S_CET_KNOWN;
}

static bool cet_without_wp(const struct vmcb *b)
{
	return b->cr4 & CR4_CET && !(b->cr0 & CR0_WP);
}

static bool n_cr3_reserved(const struct vmcb *b)
{
	return b->np_control & NP_ENABLE && b->n_cr3 & (address_mask() | 0xfe7);
}

static bool bad_pat(const struct vmcb *b)
{
	if (!(b->np_control & NP_ENABLE))
		return false;
	for (u32 i = 0; i < 64; i += 8) {
		u8 type = b->g_pat >> i;

		if (type > 7 || type == 2 || type == 3)
			return true;
	}
	return false;
}

/*
 * APM vol. 2, "Canonicalization and Consistency Checks", "Event Injection" and "Nested Paging and
 * VMRUN/#VMEXIT". Long mode itself is always there on a processor that runs Keel.
 */
static const struct {
	bool (*broken)(const struct vmcb *b);
	const char *words;
} rules[] = {
	{no_svme, "EFER.SVME must be 1"},
	{nw_without_cd, "CR0.NW must be 0 while CR0.CD is 0"},
	{cr0_high, "CR0[63:32] must be 0"},
	{cr3_reserved, "CR3 has bits beyond the physical address width"},
	{cr4_reserved, "CR4 has a reserved bit"},
	{dr6_high, "DR6[63:32] must be 0"},
	{dr7_high, "DR7[63:32] must be 0"},
	{efer_reserved, "EFER has a reserved bit"},
	{no_pae, "EFER.LME and CR0.PG need CR4.PAE"},
	{no_pe, "EFER.LME and CR0.PG need CR0.PE"},
	{cs_l_and_d, "CS.L and CS.D must not both be 1 in long mode"},
	{no_vmrun, "the VMRUN intercept must be set"},
	{maps_outside, "the MSR or I/O permission map lies beyond the physical address width"},
	{bad_event, "EVENTINJ has a reserved type or is no exception's vector"},
	{asid_zero, "the ASID must not be 0"},
	{s_cet_reserved, "S_CET has a reserved bit"},
	{cet_without_wp, "CR4.CET needs CR0.WP"},
	{n_cr3_reserved, "N_CR3 has a reserved bit"},
	{bad_pat, "G_PAT has a reserved memory type"},
};

u64 svm_broken_rules(const struct vmcb *vmcb)
{
	u64 broken = 0;

	for (u32 i = 0; i < ARRAY_SIZE(rules); i++)
		if (rules[i].broken(vmcb))
			broken |= BIT(i);
	return broken;
}

const char *svm_rule_words(u32 rule)
{
	return rule < ARRAY_SIZE(rules) ? rules[rule].words : NULL;
}

static void log_broken_rules(const struct vmcb *vmcb)
{
	u64 broken = svm_broken_rules(vmcb);

	for (u32 i = 0; i < ARRAY_SIZE(rules); i++)
		if (broken & BIT(i))
			log_error("  broken: %s", rules[i].words);
}

/* Prints the names of the bits that are set in a word. */
struct bit_name {
	u64 bit;
	const char *name;
};

static void log_bits(const char *field, u64 value, const struct bit_name *names, size_t count)
{
	char line[160];
	size_t used = 0;

	for (size_t i = 0; i < count; i++) {
		size_t length = strlen(names[i].name);

		if (!(value & names[i].bit) || used + length + 2 > sizeof(line))
			continue;
		line[used++] = ' ';
		memcpy(line + used, names[i].name, length);
		used += length;
	}
	line[used] = 0;
	log_error("  %s %016llx%s", field, (unsigned long long)value, line);
}

#define LOG_BITS(field, value, names) log_bits(field, value, names, ARRAY_SIZE(names))

static const struct bit_name cr0_names[] = {
	{CR0_PE, "PE"}, {CR0_MP, "MP"}, {CR0_EM, "EM"}, {CR0_TS, "TS"},
	{CR0_ET, "ET"}, {CR0_NE, "NE"}, {CR0_WP, "WP"}, {CR0_AM, "AM"},
	{CR0_NW, "NW"}, {CR0_CD, "CD"}, {CR0_PG, "PG"},
};
static const struct bit_name cr4_names[] = {
	{CR4_VME, "VME"},
	{CR4_PVI, "PVI"},
	{CR4_TSD, "TSD"},
	{CR4_DE, "DE"},
	{CR4_PSE, "PSE"},
	{CR4_PAE, "PAE"},
	{CR4_MCE, "MCE"},
	{CR4_PGE, "PGE"},
	{CR4_PCE, "PCE"},
	{CR4_OSFXSR, "OSFXSR"},
	{CR4_OSXMMEXCPT, "OSXMMEXCPT"},
	{CR4_UMIP, "UMIP"},
	{CR4_LA57, "LA57"},
	{CR4_FSGSBASE, "FSGSBASE"},
	{CR4_PCIDE, "PCIDE"},
	{CR4_OSXSAVE, "OSXSAVE"},
	{CR4_SMEP, "SMEP"},
	{CR4_SMAP, "SMAP"},
	{CR4_PKE, "PKE"},
	{CR4_CET, "CET"},
};
static const struct bit_name efer_names[] = {
	{EFER_SCE, "SCE"},   {EFER_LME, "LME"},	    {EFER_LMA, "LMA"},	   {EFER_NXE, "NXE"},
	{EFER_SVME, "SVME"}, {EFER_LMSLE, "LMSLE"}, {EFER_FFXSR, "FFXSR"}, {EFER_TCE, "TCE"},
};
static const struct bit_name rflags_names[] = {
	{RFLAGS_CF, "CF"}, {RFLAGS_PF, "PF"},	{RFLAGS_AF, "AF"},   {RFLAGS_ZF, "ZF"},
	{RFLAGS_SF, "SF"}, {RFLAGS_TF, "TF"},	{RFLAGS_IF, "IF"},   {RFLAGS_DF, "DF"},
	{RFLAGS_OF, "OF"}, {RFLAGS_NT, "NT"},	{RFLAGS_RF, "RF"},   {RFLAGS_VM, "VM"},
	{RFLAGS_AC, "AC"}, {RFLAGS_VIF, "VIF"}, {RFLAGS_VIP, "VIP"}, {RFLAGS_ID, "ID"},
};
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
};
static const struct bit_name clean_names[] = {
	{CLEAN_INTERCEPTS, "I"}, {CLEAN_MAPS, "IOPM"}, {CLEAN_ASID, "ASID"}, {CLEAN_TPR, "TPR"},
	{CLEAN_NP, "NP"},	 {CLEAN_CRX, "CRx"},   {CLEAN_DRX, "DRx"},   {CLEAN_DT, "DT"},
	{CLEAN_SEG, "SEG"},	 {CLEAN_CR2, "CR2"},   {CLEAN_LBR, "LBR"},   {CLEAN_AVIC, "AVIC"},
	{CLEAN_CET, "CET"},
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
	LOG_BITS("interrupt control", b->int_control, int_control_names);
	log_error("  V_TPR %u interrupt shadow %u", (u32)(b->int_control & V_TPR),
		  (u32)(b->int_state & INT_STATE_SHADOW));
	log_error("  nested paging %llx N_CR3 %llx LBR control %llx nRIP %llx",
		  (unsigned long long)b->np_control, (unsigned long long)b->n_cr3,
		  (unsigned long long)b->lbr_control, (unsigned long long)b->next_rip);
	LOG_BITS("clean", b->clean, clean_names);
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
	LOG_BITS("RFLAGS", b->rflags, rflags_names);
	LOG_BITS("CR0", b->cr0, cr0_names);
	log_error("  CR2 %016llx CR3 %016llx", (unsigned long long)b->cr2,
		  (unsigned long long)b->cr3);
	LOG_BITS("CR4", b->cr4, cr4_names);
	LOG_BITS("EFER", b->efer, efer_names);
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

	svm_save_extra(v);
	log_error("VMCB at %llx:", (unsigned long long)v->hw_hpa.v);
	log_broken_rules(vmcb);
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

	if (svm_broken_rules(vmcb_of(v))) {
		log_error("check=entry: VMRUN will refuse this VMCB:");
		log_broken_rules(vmcb_of(v));
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
