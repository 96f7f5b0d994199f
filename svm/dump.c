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

static const struct bit_name np_names[] = {
	{NP_ENABLE, "NP_ENABLE"},
	{NP_SEV, "SEV"},
	{NP_SEV_ES, "SEV_ES"},
	{0},
};
static const struct bit_name lbr_names[] = {
	{LBR_ENABLE, "LBR"},
	{VIRTUAL_VMLOAD, "VIRTUAL_VMLOAD"},
	{0},
};
static const struct bit_name int_state_names[] = {
	{INT_STATE_SHADOW, "SHADOW"},
	{INT_STATE_GUEST_IF, "GUEST_IF"},
	{0},
};
static const struct bit_name none[] = {{0}};

#define BITS(member, name, bits)                                                                   \
	{                                                                                          \
		offsetof(struct vmcb, member), sizeof(((struct vmcb *)0)->member), name, bits      \
	}
#define FIELD(member, name) BITS(member, name, none)

const struct svm_field svm_fields[] = {
	FIELD(intercepts[0], "intercepts[0]"),
	FIELD(intercepts[1], "intercepts[1]"),
	FIELD(intercepts[2], "intercepts[2]"),
	FIELD(intercepts[3], "intercepts[3]"),
	FIELD(intercepts[4], "intercepts[4]"),
	FIELD(intercepts[5], "intercepts[5]"),
	FIELD(pause_threshold, "PAUSE_FILTER_THRESHOLD"),
	FIELD(pause_count, "PAUSE_FILTER_COUNT"),
	FIELD(iopm_base, "IOPM_BASE_PA"),
	FIELD(msrpm_base, "MSRPM_BASE_PA"),
	FIELD(tsc_offset, "TSC_OFFSET"),
	FIELD(asid, "GUEST_ASID"),
	FIELD(tlb_control, "TLB_CONTROL"),
	BITS(int_control, "interrupt control", int_control_names),
	BITS(int_state, "interrupt state", int_state_names),
	BITS(np_control, "nested paging", np_names),
	FIELD(n_cr3, "N_CR3"),
	BITS(lbr_control, "LBR control", lbr_names),
	BITS(clean, "clean", clean_names),
	FIELD(next_rip, "nRIP"),
	FIELD(cpl, "CPL"),
	BITS(efer, "EFER", dump_efer),
	BITS(cr4, "CR4", dump_cr4),
	FIELD(cr3, "CR3"),
	BITS(cr0, "CR0", dump_cr0),
	FIELD(dr7, "DR7"),
	FIELD(dr6, "DR6"),
	BITS(rflags, "RFLAGS", dump_rflags),
	FIELD(rip, "RIP"),
	FIELD(rsp, "RSP"),
	FIELD(rax, "RAX"),
	FIELD(star, "STAR"),
	FIELD(lstar, "LSTAR"),
	FIELD(cstar, "CSTAR"),
	FIELD(sfmask, "SFMASK"),
	FIELD(kernel_gs_base, "KernelGsBase"),
	FIELD(sysenter_cs, "SYSENTER_CS"),
	FIELD(sysenter_esp, "SYSENTER_ESP"),
	FIELD(sysenter_eip, "SYSENTER_EIP"),
	FIELD(cr2, "CR2"),
	FIELD(g_pat, "G_PAT"),
	FIELD(debugctl, "DebugCtl"),
	{0},
};

static void log_exit(const struct vmcb *b)
{
	log_error("  exit code %llx %s, info %016llx %016llx", (unsigned long long)b->exit_code,
		  svm_exit_name(b->exit_code), (unsigned long long)b->exit_info1,
		  (unsigned long long)b->exit_info2);
	log_event("EXITINTINFO", b->exit_int_info);
	log_event("EVENTINJ", b->event_inject);
}

static void log_segment(const char *name, const struct vmcb_segment *s)
{
	log_error("  %s %04x base %016llx limit %08x attr %03x type %x%s%s%s%s%s dpl %u", name,
		  s->selector, (unsigned long long)s->base, s->limit, s->attr, s->attr & SEG_TYPE,
		  s->attr & SEG_S ? " S" : "", s->attr & SEG_P ? " P" : "",
		  s->attr & SEG_L ? " L" : "", s->attr & SEG_DB ? " D" : "",
		  s->attr & SEG_G ? " G" : "", (s->attr & SEG_DPL) >> 5);
}

void svm_dump_field(const struct vmcb *b, const struct svm_field *f)
{
	u64 value = 0;

	memcpy(&value, (const char *)b + f->offset, f->size);
	dump_bits(f->name, value, f->bits);
}

void svm_dump_segment(const struct vmcb *b, u32 index)
{
	static const char *const names[SVM_SEGMENTS] = {
		"ES", "CS", "SS", "DS", "FS", "GS", "GDTR", "LDTR", "IDTR", "TR",
	};

	log_segment(names[index], &b->es + index);
}

void svm_dump(struct virt_vcpu *v)
{
	const struct vmcb *vmcb = vmcb_of(v);
	struct rules rules;

	svm_save_extra(v);
	log_error("VMCB at %llx:", (unsigned long long)v->hw_hpa.v);
	svm_broken_rules(vmcb, &rules);
	dump_rules(&rules);
	log_exit(vmcb);
	for (u32 i = 0; i < SVM_SEGMENTS; i++)
		svm_dump_segment(vmcb, i);
	for (const struct svm_field *f = svm_fields; f->name; f++)
		svm_dump_field(vmcb, f);
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
