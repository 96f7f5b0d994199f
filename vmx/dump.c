/* SPDX-License-Identifier: MIT */
/* The VMCS in words, and the manual's rules for an entry. */
#include "arch-x86/dump.h"
#include "arch-x86/insn.h"
#include "arch-x86/log.h"
#include "arch-x86/regs.h"
#include "lib/string.h"
#include "vmx/internal.h"

#define EFER_KNOWN     (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)
#define DEBUGCTL_KNOWN (MASK(15, 6) | MASK(2, 0))
#define RFLAGS_KNOWN   (MASK(21, 16) | MASK(14, 6) | BIT(4) | MASK(2, 0))
#define PENDING_KNOWN  (BIT(16) | BIT(14) | MASK(12, 11) | MASK(3, 0))
#define PENDING_RTM    BIT(16)
#define PENDING_ANY    BIT(12) /* a breakpoint that is enabled was met */
#define ACCESS_L       ((u32)SEG_L << 4)
#define ACCESS_DB      ((u32)SEG_DB << 4)
#define ACCESS_G       ((u32)SEG_G << 4)
#define APIC_TPR       0x80 /* offset in the virtual-APIC page */

/* IA32_VMX_MISC */
#define MISC_HLT	       BIT(6)
#define MISC_SHUTDOWN	       BIT(7)
#define MISC_SIPI	       BIT(8)
#define MISC_CR3_TARGETS(misc) ((misc) >> 16 & 0x1ff)
#define MISC_LENGTH_ZERO       BIT(30)

#define EPT_CAP_WALK_5	     BIT(7)
#define EPT_CAP_SHADOW_STACK BIT(23)

#define TYPE(type) (INTR_TYPE_##type >> 8)

/* What the rules look at more than once. */
struct check {
	struct rules *r;
	struct virt_vcpu *v;
	u32 pin, cpu, cpu2, exit, entry; /* as set, without what the processor does not have */
	u32 event;			 /* VM-entry interruption information; 0: not valid */
	u64 cr0, cr4, rflags;
	u32 interruptibility;
	u32 ss; /* its access rights */
	bool long_mode, virtual_8086, unrestricted;
};

static u64 beyond_width(u64 address)
{
	return address & ~0ull << vmx_features.physical_bits;
}

/* The width of linear addresses is the processor's, whatever CR4.LA57 is. */
static bool canonical(u64 address)
{
	u32 unused = vmx_features.cr4_fixed1 & CR4_LA57 ? 7 : 16;

	return (u64)((s64)(address << unused) >> unused) == address;
}

static void check_page(struct check *c, u32 field, const char *subject)
{
	u64 address = vmread(field);

	rule(c->r, (address & MASK(11, 0)) | beyond_width(address), subject,
	     "must be a page within the physical address width");
}

static void check_msr_area(struct check *c, u32 count_field, u32 field, const char *subject)
{
	u64 address = vmread(field), count = vmread(count_field);

	if (!count)
		return;
	rule(c->r, (address & 15) | beyond_width(address) | beyond_width(address + count * 16 - 1),
	     subject, "must be 16-byte aligned and within the physical address width");
}

static void check_allowed(struct check *c, u32 value, const struct vmx_allowed *allowed,
			  const char *subject)
{
	rule(c->r, (~value & allowed->one) | (value & allowed->zero), subject,
	     "must be as the capability MSR allows");
}

static void check_canonical(struct check *c, u32 field, const char *subject)
{
	u64 value = vmread(field);

	rule(c->r, canonical(value) ? 0 : value, subject, "must be canonical");
}

static void check_ept(struct check *c)
{
	u64 eptp = vmread(VMCS_EPTP), caps = vmx_features.ept_vpid;
	u32 type = eptp & 7, walk = eptp >> 3 & 7;

	rule(c->r, !(type == 0 && caps & EPT_CAP_UC) && !(type == EPTP_WB && caps & EPT_CAP_WB),
	     "the EPTP's memory type", "must be one that the processor supports");
	rule(c->r, !(walk == 3 && caps & EPT_CAP_WALK_4) && !(walk == 4 && caps & EPT_CAP_WALK_5),
	     "the EPTP's walk length", "must be one that the processor supports");
	rule(c->r, eptp & EPTP_AD && !(caps & EPT_CAP_AD), "the EPTP's A/D bit",
	     "must be 0 on this processor");
	rule(c->r, eptp & BIT(7) && !(caps & EPT_CAP_SHADOW_STACK), "the EPTP's shadow-stack bit",
	     "must be 0 on this processor");
	rule(c->r, (eptp & MASK(11, 8)) | beyond_width(eptp), "the EPTP",
	     "must have no reserved bit set");
}

static void check_tpr_shadow(struct check *c)
{
	const u8 *page = vmx_of(c->v)->virtual_apic;
	u32 threshold = vmread(VMCS_TPR_THRESHOLD);

	check_page(c, VMCS_VIRTUAL_APIC, "the virtual-APIC address");
	if (c->cpu2 & CPU2_INTR_DELIVERY)
		return;
	rule(c->r, threshold & ~15u, "the TPR threshold", "must have bits 31:4 clear");
	rule(c->r, page && !(c->cpu2 & CPU2_APIC_ACCESS) && (threshold & 15) > page[APIC_TPR] >> 4,
	     "the TPR threshold", "must not be above the virtual TPR");
}

static void check_virtual_apic(struct check *c)
{
	const u32 parts = CPU2_X2APIC | CPU2_APIC_REGISTERS | CPU2_INTR_DELIVERY;

	if (c->cpu & CPU_TPR_SHADOW)
		check_tpr_shadow(c);
	else
		rule(c->r, c->cpu2 & parts, "APIC virtualization",
		     "must be off without TPR shadow");
	if (c->cpu2 & CPU2_APIC_ACCESS)
		check_page(c, VMCS_APIC_ACCESS, "the APIC-access address");
	rule(c->r, c->cpu2 & CPU2_X2APIC && c->cpu2 & CPU2_APIC_ACCESS, "virtualize x2APIC mode",
	     "must be 0 with virtualize APIC accesses");
	rule(c->r, c->cpu2 & CPU2_INTR_DELIVERY && !(c->pin & PIN_EXTERNAL_INTR),
	     "external-interrupt exiting", "must be 1 with virtual-interrupt delivery");
	if (!(c->pin & PIN_POSTED_INTR))
		return;
	rule(c->r, !(c->cpu2 & CPU2_INTR_DELIVERY), "virtual-interrupt delivery",
	     "must be 1 with posted interrupts");
	rule(c->r, !(c->exit & VMEXIT_ACK_INTR), "acknowledge interrupt on exit",
	     "must be 1 with posted interrupts");
	rule(c->r, vmread(VMCS_POSTED_INTR_VECTOR) >> 8, "the posted-interrupt vector",
	     "must be at most 255");
	rule(c->r,
	     (vmread(VMCS_POSTED_INTR_DESCRIPTOR) & 63) |
		     beyond_width(vmread(VMCS_POSTED_INTR_DESCRIPTOR)),
	     "the posted-interrupt descriptor",
	     "must be 64-byte aligned and within the physical address width");
}

static void check_needs_ept(struct check *c)
{
	static const struct {
		u32 control;
		const char *subject;
	} needs[] = {
		{CPU2_PML, "page-modification logging"},
		{CPU2_UNRESTRICTED, "unrestricted guest"},
		{CPU2_MODE_BASED_EXEC, "mode-based execute control"},
		{CPU2_SPP, "sub-page write permissions"},
		{CPU2_PT_GUEST_PHYSICAL, "Intel PT uses guest physical addresses"},
	};

	if (c->cpu2 & CPU2_EPT) {
		check_ept(c);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(needs); i++)
		rule(c->r, !!(c->cpu2 & needs[i].control), needs[i].subject,
		     "must be 0 without EPT");
}

/* Tertiary controls are not in use. */
static void check_execution_controls(struct check *c)
{
	const struct vmx_cpu_features *f = &vmx_features;

	check_allowed(c, vmread(VMCS_PIN_CONTROLS), &f->pin, "the pin-based controls");
	check_allowed(c, vmread(VMCS_CPU_CONTROLS), &f->cpu, "the processor-based controls");
	if (c->cpu & CPU_SECONDARY)
		check_allowed(c, vmread(VMCS_CPU_CONTROLS2), &f->cpu2,
			      "the secondary processor-based controls");
	rule(c->r, vmread(VMCS_CR3_TARGET_COUNT) > MISC_CR3_TARGETS(f->misc),
	     "the CR3-target count", "must be at most what the processor has");
	if (c->cpu & CPU_IO_BITMAPS) {
		check_page(c, VMCS_IO_BITMAP_A, "I/O bitmap A");
		check_page(c, VMCS_IO_BITMAP_B, "I/O bitmap B");
	}
	if (c->cpu & CPU_MSR_BITMAPS)
		check_page(c, VMCS_MSR_BITMAP, "the MSR bitmap");
	check_virtual_apic(c);
	rule(c->r, c->pin & PIN_VIRTUAL_NMIS && !(c->pin & PIN_NMI), "virtual NMIs",
	     "must be 0 without NMI exiting");
	rule(c->r, c->cpu & CPU_NMI_WINDOW && !(c->pin & PIN_VIRTUAL_NMIS), "NMI-window exiting",
	     "must be 0 without virtual NMIs");
	if (c->cpu2 & CPU2_VPID)
		rule(c->r, vmread(VMCS_VPID) == 0, "the VPID", "must not be 0");
	check_needs_ept(c);
	if (c->cpu2 & CPU2_PML)
		check_page(c, VMCS_PML_ADDRESS, "the PML address");
	if (c->cpu2 & CPU2_SHADOW_VMCS) {
		check_page(c, VMCS_VMREAD_BITMAP, "the VMREAD bitmap");
		check_page(c, VMCS_VMWRITE_BITMAP, "the VMWRITE bitmap");
	}
	if (c->cpu2 & CPU2_VE)
		check_page(c, VMCS_VE_INFORMATION, "the #VE information address");
	if (c->cpu2 & CPU2_TSC_SCALING)
		rule(c->r, vmread(VMCS_TSC_MULTIPLIER) == 0, "the TSC multiplier", "must not be 0");
}

static void check_exit_controls(struct check *c)
{
	check_allowed(c, vmread(VMCS_EXIT_CONTROLS), &vmx_features.exit, "the exit controls");
	rule(c->r, c->exit & VMEXIT_SAVE_PREEMPTION_TIMER && !(c->pin & PIN_PREEMPTION_TIMER),
	     "save VMX-preemption timer value", "must be 0 while the timer is off");
	check_msr_area(c, VMCS_EXIT_MSR_STORE_COUNT, VMCS_EXIT_MSR_STORE,
		       "the exit MSR-store area");
	check_msr_area(c, VMCS_EXIT_MSR_LOAD_COUNT, VMCS_EXIT_MSR_LOAD, "the exit MSR-load area");
}

static void check_event_error(struct check *c, u32 type, u8 vector)
{
	const u32 vectors = BIT(VECTOR_DF) | BIT(VECTOR_TS) | BIT(VECTOR_NP) | BIT(VECTOR_SS) |
			    BIT(VECTOR_GP) | BIT(VECTOR_PF) | BIT(VECTOR_AC);
	bool has = c->event & INTR_HAS_ERROR, any = vmx_features.any_error_code;
	bool may = type == TYPE(HARD_EXCEPTION) && c->cr0 & CR0_PE;
	bool usual = vector < 32 && vectors >> vector & 1;

	rule(c->r, !has && may && usual && !any, "the injected event",
	     "must have an error code, as its vector always has");
	rule(c->r, has && !(may && (usual || any)), "the injected event",
	     "must not have an error code: that is for certain exceptions in protected mode");
	if (has)
		rule(c->r, vmread(VMCS_ENTRY_ERROR_CODE) & MASK(31, 16),
		     "the injected event's error code", "must have bits 31:16 clear");
}

static void check_event(struct check *c)
{
	u32 type = (c->event & INTR_TYPE) >> 8, length;
	u8 vector = c->event;

	if (!c->event)
		return;
	rule(c->r, type == 1 || (type == 7 && vmx_features.cpu.zero & CPU_MONITOR_TRAP),
	     "the injected event", "must not have a reserved type");
	rule(c->r, type == TYPE(NMI) && vector != VECTOR_NMI, "an injected NMI",
	     "must have vector 2");
	rule(c->r, type == TYPE(HARD_EXCEPTION) && vector > 31, "an injected exception",
	     "must have a vector of at most 31");
	rule(c->r, type == 7 && vector != 0, "a pending MTF exit", "must have vector 0");
	check_event_error(c, type, vector);
	rule(c->r, c->event & MASK(30, 12), "the interruption information",
	     "must have bits 30:12 clear");
	if (type < TYPE(SOFT_INTR) || type > TYPE(SOFT_EXCEPTION))
		return;
	length = vmread(VMCS_ENTRY_INSN_LEN);
	rule(c->r, length > 15 || (length == 0 && !(vmx_features.misc & MISC_LENGTH_ZERO)),
	     "the injected event's instruction length", "must be 1 to 15");
}

static void check_entry_controls(struct check *c)
{
	check_allowed(c, vmread(VMCS_ENTRY_CONTROLS), &vmx_features.entry, "the entry controls");
	check_event(c);
	check_msr_area(c, VMCS_ENTRY_MSR_LOAD_COUNT, VMCS_ENTRY_MSR_LOAD,
		       "the entry MSR-load area");
	rule(c->r, c->entry & (VMENTRY_SMM | VMENTRY_DUAL_MONITOR_OFF),
	     "entry to SMM, deactivate dual-monitor treatment", "must be 0 outside SMM");
}

/* Bits of CR0 or CR4 that VMX operation does not support as they are. */
static u64 unsupported(u64 value, u64 fixed0, u64 fixed1)
{
	return (~value & fixed0) | (value & ~fixed1);
}

static void check_pat(struct check *c, u32 field, const char *subject)
{
	rule(c->r, !pat_is_valid(vmread(field)), subject, "must have no reserved memory type");
}

static void check_host_registers(struct check *c)
{
	const struct vmx_cpu_features *f = &vmx_features;
	u64 cr0 = vmread(VMCS_HOST_CR0), cr4 = vmread(VMCS_HOST_CR4);
	u64 cr3 = vmread(VMCS_HOST_CR3), efer;

	rule(c->r, unsupported(cr0, f->cr0_fixed0, f->cr0_fixed1), "the host's CR0",
	     "must be as VMX operation demands");
	rule(c->r, unsupported(cr4, f->cr4_fixed0, f->cr4_fixed1), "the host's CR4",
	     "must be as VMX operation demands");
	rule(c->r, cr4 & CR4_CET && !(cr0 & CR0_WP), "the host's CR0.WP", "must be 1 with CR4.CET");
	rule(c->r, beyond_width(cr3), "the host's CR3",
	     "must be within the physical address width");
	check_canonical(c, VMCS_HOST_SYSENTER_ESP, "the host's IA32_SYSENTER_ESP");
	check_canonical(c, VMCS_HOST_SYSENTER_EIP, "the host's IA32_SYSENTER_EIP");
	if (c->exit & VMEXIT_LOAD_PAT)
		check_pat(c, VMCS_HOST_PAT, "the host's IA32_PAT");
	if (!(c->exit & VMEXIT_LOAD_EFER))
		return;
	efer = vmread(VMCS_HOST_EFER);
	rule(c->r, efer & ~EFER_KNOWN, "the host's IA32_EFER", "must have no reserved bit set");
	rule(c->r, ~efer & (EFER_LMA | EFER_LME), "the host's IA32_EFER",
	     "must have LMA and LME as the host address-space size");
}

static void check_host_segments(struct check *c)
{
	static const struct {
		u32 field;
		const char *subject;
	} selectors[] =
		{
			{VMCS_HOST_ES_SELECTOR, "the host's ES"},
			{VMCS_HOST_CS_SELECTOR, "the host's CS"},
			{VMCS_HOST_SS_SELECTOR, "the host's SS"},
			{VMCS_HOST_DS_SELECTOR, "the host's DS"},
			{VMCS_HOST_FS_SELECTOR, "the host's FS"},
			{VMCS_HOST_GS_SELECTOR, "the host's GS"},
			{VMCS_HOST_TR_SELECTOR, "the host's TR"},
		},
	  bases[] = {
		  {VMCS_HOST_FS_BASE, "the host's FS base"},
		  {VMCS_HOST_GS_BASE, "the host's GS base"},
		  {VMCS_HOST_TR_BASE, "the host's TR base"},
		  {VMCS_HOST_GDTR_BASE, "the host's GDTR base"},
		  {VMCS_HOST_IDTR_BASE, "the host's IDTR base"},
	  };

	for (size_t i = 0; i < ARRAY_SIZE(selectors); i++)
		rule(c->r, vmread(selectors[i].field) & 7, selectors[i].subject,
		     "must have RPL and TI clear");
	rule(c->r, vmread(VMCS_HOST_CS_SELECTOR) == 0, "the host's CS", "must not be 0");
	rule(c->r, vmread(VMCS_HOST_TR_SELECTOR) == 0, "the host's TR", "must not be 0");
	for (size_t i = 0; i < ARRAY_SIZE(bases); i++)
		check_canonical(c, bases[i].field, bases[i].subject);
}

/* Root is in IA-32e mode, always. */
static void check_address_space(struct check *c)
{
	rule(c->r, !(c->exit & VMEXIT_HOST_64), "host address-space size",
	     "must be 1 in IA-32e mode");
	rule(c->r, !(vmread(VMCS_HOST_CR4) & CR4_PAE), "the host's CR4.PAE",
	     "must be 1 with a 64-bit host");
	check_canonical(c, VMCS_HOST_RIP, "the host's RIP");
}

static void check_guest_efer(struct check *c)
{
	u64 efer = vmread(VMCS_GUEST_EFER);

	rule(c->r, efer & ~EFER_KNOWN, "IA32_EFER", "must have no reserved bit set");
	rule(c->r, !!(efer & EFER_LMA) != c->long_mode, "IA32_EFER.LMA",
	     "must be as IA-32e mode guest");
	rule(c->r, c->cr0 & CR0_PG && !(efer & EFER_LMA) != !(efer & EFER_LME), "IA32_EFER.LMA",
	     "must be as LME while CR0.PG is 1");
}

/* The rules of IA32_PERF_GLOBAL_CTRL, IA32_RTIT_CTL, CET and PKRS: those controls are not in use.
 */
static void check_guest_registers(struct check *c)
{
	const struct vmx_cpu_features *f = &vmx_features;
	u64 exempt = c->unrestricted ? CR0_PE | CR0_PG : 0;
	u64 bounds;

	rule(c->r, unsupported(c->cr0, f->cr0_fixed0 & ~exempt, f->cr0_fixed1), "CR0",
	     "must be as VMX operation demands");
	rule(c->r, c->cr0 & CR0_PG && !(c->cr0 & CR0_PE), "CR0.PE", "must be 1 with CR0.PG");
	rule(c->r, unsupported(c->cr4, f->cr4_fixed0, f->cr4_fixed1), "CR4",
	     "must be as VMX operation demands");
	rule(c->r, c->cr4 & CR4_CET && !(c->cr0 & CR0_WP), "CR0.WP", "must be 1 with CR4.CET");
	if (c->entry & VMENTRY_LOAD_DEBUG) {
		rule(c->r, vmread(VMCS_GUEST_DEBUGCTL) & ~DEBUGCTL_KNOWN, "IA32_DEBUGCTL",
		     "must have no reserved bit set");
		rule(c->r, vmread(VMCS_GUEST_DR7) & MASK(63, 32), "DR7",
		     "must have bits 63:32 clear");
	}
	rule(c->r, c->long_mode && !(c->cr0 & CR0_PG), "CR0.PG", "must be 1 in IA-32e mode");
	rule(c->r, c->long_mode && !(c->cr4 & CR4_PAE), "CR4.PAE", "must be 1 in IA-32e mode");
	rule(c->r, !c->long_mode && c->cr4 & CR4_PCIDE, "CR4.PCIDE",
	     "must be 0 outside IA-32e mode");
	rule(c->r, beyond_width(vmread(VMCS_GUEST_CR3)), "CR3",
	     "must be within the physical address width");
	check_canonical(c, VMCS_GUEST_SYSENTER_ESP, "IA32_SYSENTER_ESP");
	check_canonical(c, VMCS_GUEST_SYSENTER_EIP, "IA32_SYSENTER_EIP");
	if (c->entry & VMENTRY_LOAD_PAT)
		check_pat(c, VMCS_GUEST_PAT, "IA32_PAT");
	if (c->entry & VMENTRY_LOAD_EFER)
		check_guest_efer(c);
	if (!(c->entry & VMENTRY_LOAD_BNDCFGS))
		return;
	bounds = vmread(VMCS_GUEST_BNDCFGS);
	rule(c->r, (bounds & MASK(11, 2)) | (canonical(bounds) ? 0 : bounds), "IA32_BNDCFGS",
	     "must be canonical and have no reserved bit set");
}

struct guest_segment {
	const char *name;
	u16 selector;
	u32 limit, access;
	u64 base;
	bool usable;
};

static const char *const segment_names[] = {"ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR"};

static struct guest_segment read_segment(enum seg seg)
{
	u32 access = vmread(VMCS_GUEST_ES_ACCESS + 2 * seg);

	return (struct guest_segment){
		.name = segment_names[seg],
		.selector = vmread(VMCS_GUEST_ES_SELECTOR + 2 * seg),
		.limit = vmread(VMCS_GUEST_ES_LIMIT + 2 * seg),
		.base = vmread(VMCS_GUEST_ES_BASE + 2 * seg),
		.access = access,
		.usable = !(access & ACCESS_UNUSABLE),
	};
}

static u32 dpl(u32 access)
{
	return (access & SEG_DPL) >> 5;
}

/* Of a segment that is usable: what all of them have in common. */
static void check_access(struct check *c, const struct guest_segment *s, bool system)
{
	rule(c->r, !(s->access & SEG_S) != system, s->name,
	     system ? "must be a system segment (S 0)" : "must be a code or data segment (S 1)");
	rule(c->r, !(s->access & SEG_P), s->name, "must be present");
	rule(c->r, s->access & (MASK(31, 17) | MASK(11, 8)), s->name,
	     "must have the reserved access rights clear");
	rule(c->r, (s->limit & 0xfff) != 0xfff && s->access & ACCESS_G, s->name,
	     "must have G 0 as its limit does not end a page");
	rule(c->r, s->limit >> 20 && !(s->access & ACCESS_G), s->name,
	     "must have G 1 as its limit is beyond 1 MiB");
}

static void check_code_segment(struct check *c, const struct guest_segment *s)
{
	u32 type = s->access & SEG_TYPE, level = dpl(s->access);
	bool data = type == 3 && c->unrestricted;

	rule(c->r, !data && (type & 9) != 9, s->name,
	     "must be accessed code, or writable data in an unrestricted guest");
	rule(c->r, data && level != 0, s->name, "must have DPL 0 as data");
	rule(c->r, (type & 13) == 9 && level != dpl(c->ss), s->name, "must have SS's DPL");
	rule(c->r, (type & 13) == 13 && level > dpl(c->ss), s->name,
	     "must have a DPL of at most SS's as conforming code");
	rule(c->r, c->long_mode && s->access & ACCESS_L && s->access & ACCESS_DB, s->name,
	     "must have D 0 with L in IA-32e mode");
}

static void check_stack_segment(struct check *c, const struct guest_segment *s)
{
	u32 type = s->access & SEG_TYPE, cs = vmread(VMCS_GUEST_CS_ACCESS);

	rule(c->r, s->usable && type != 3 && type != 7, s->name, "must be accessed writable data");
	rule(c->r, !c->unrestricted && dpl(s->access) != (s->selector & 3), s->name,
	     "must have its RPL as DPL");
	rule(c->r, ((cs & SEG_TYPE) == 3 || !(c->cr0 & CR0_PE)) && dpl(s->access) != 0, s->name,
	     "must have DPL 0 in real mode or while CS is data");
}

static void check_data_segment(struct check *c, const struct guest_segment *s)
{
	u32 type = s->access & SEG_TYPE;

	if (!s->usable)
		return;
	rule(c->r, !(type & 1) || (type & 10) == 8, s->name,
	     "must be accessed, and readable if it is code");
	rule(c->r, !c->unrestricted && type <= 11 && dpl(s->access) < (s->selector & 3), s->name,
	     "must have a DPL of at least its RPL");
}

static void check_virtual_8086(struct check *c, const struct guest_segment *s)
{
	rule(c->r, s->base != (u64)s->selector << 4, s->name,
	     "must have its selector times 16 as base in virtual-8086 mode");
	rule(c->r, s->limit != 0xffff, s->name, "must have limit FFFF in virtual-8086 mode");
	rule(c->r, s->access != 0xf3, s->name, "must have access rights F3 in virtual-8086 mode");
}

static void check_segment(struct check *c, enum seg seg)
{
	struct guest_segment s = read_segment(seg);

	if (seg == SEG_FS || seg == SEG_GS)
		rule(c->r, !canonical(s.base), s.name, "must have a canonical base");
	else if (seg == SEG_CS || s.usable)
		rule(c->r, s.base & MASK(63, 32), s.name, "must have base bits 63:32 clear");
	if (c->virtual_8086) {
		check_virtual_8086(c, &s);
		return;
	}
	if (seg == SEG_CS)
		check_code_segment(c, &s);
	else if (seg == SEG_SS)
		check_stack_segment(c, &s);
	else
		check_data_segment(c, &s);
	if (seg == SEG_CS || s.usable)
		check_access(c, &s, false);
}

static void check_system_segments(struct check *c)
{
	struct guest_segment tr = read_segment(SEG_TR), ldtr = read_segment(SEG_LDTR);
	u32 type = tr.access & SEG_TYPE;

	rule(c->r, tr.selector & 4, tr.name, "must have TI clear");
	rule(c->r, !canonical(tr.base), tr.name, "must have a canonical base");
	rule(c->r, type != 11 && (type != 3 || c->long_mode), tr.name,
	     "must be a busy TSS, a 64-bit one in IA-32e mode");
	rule(c->r, !tr.usable, tr.name, "must be usable");
	check_access(c, &tr, true);
	if (!ldtr.usable)
		return;
	rule(c->r, ldtr.selector & 4, ldtr.name, "must have TI clear");
	rule(c->r, !canonical(ldtr.base), ldtr.name, "must have a canonical base");
	rule(c->r, (ldtr.access & SEG_TYPE) != 2, ldtr.name, "must be an LDT");
	check_access(c, &ldtr, true);
}

static void check_guest_segments(struct check *c)
{
	u64 cs = vmread(VMCS_GUEST_CS_SELECTOR), ss = vmread(VMCS_GUEST_SS_SELECTOR);

	rule(c->r, !c->virtual_8086 && !c->unrestricted && (cs ^ ss) & 3, "SS",
	     "must have CS's RPL");
	for (enum seg seg = SEG_ES; seg <= SEG_GS; seg++)
		check_segment(c, seg);
	check_system_segments(c);
}

static void check_guest_tables(struct check *c)
{
	check_canonical(c, VMCS_GUEST_GDTR_BASE, "the GDTR's base");
	check_canonical(c, VMCS_GUEST_IDTR_BASE, "the IDTR's base");
	rule(c->r, vmread(VMCS_GUEST_GDTR_LIMIT) >> 16, "the GDTR's limit",
	     "must have bits 31:16 clear");
	rule(c->r, vmread(VMCS_GUEST_IDTR_LIMIT) >> 16, "the IDTR's limit",
	     "must have bits 31:16 clear");
}

static bool injects(const struct check *c, enum intr_info type)
{
	return c->event && (c->event & INTR_TYPE) == type;
}

static void check_guest_rip(struct check *c)
{
	u64 rip = vmread(VMCS_GUEST_RIP);

	if (c->long_mode && vmread(VMCS_GUEST_CS_ACCESS) & ACCESS_L)
		rule(c->r, canonical(rip) ? 0 : rip, "RIP", "must be canonical in 64-bit mode");
	else
		rule(c->r, rip & MASK(63, 32), "RIP",
		     "must have bits 63:32 clear outside 64-bit mode");
	rule(c->r, (c->rflags & ~RFLAGS_KNOWN) | (~c->rflags & RFLAGS_ONE), "RFLAGS",
	     "must have the reserved bits as they are");
	rule(c->r, c->virtual_8086 && (c->long_mode || !(c->cr0 & CR0_PE)), "RFLAGS.VM",
	     "must be 0 in IA-32e and in real mode");
	rule(c->r, injects(c, INTR_TYPE_EXTERNAL) && !(c->rflags & RFLAGS_IF), "RFLAGS.IF",
	     "must be 1 when an external interrupt is injected");
}

/* May the event be injected into a vCPU that is not active? */
static bool wakes(const struct check *c, u32 activity)
{
	u32 type = c->event & INTR_TYPE;
	u8 vector = c->event;
	bool machine_check = type == INTR_TYPE_HARD_EXCEPTION && vector == VECTOR_MC;

	if (activity == ACTIVITY_HLT)
		return type == INTR_TYPE_EXTERNAL || type == INTR_TYPE_NMI || machine_check ||
		       (type == INTR_TYPE_HARD_EXCEPTION && vector == VECTOR_DB) || type == 7 << 8;
	return activity == ACTIVITY_SHUTDOWN && (type == INTR_TYPE_NMI || machine_check);
}

static void check_activity(struct check *c)
{
	u32 activity = vmread(VMCS_GUEST_ACTIVITY);
	u64 supported = 1 | (vmx_features.misc & (MISC_HLT | MISC_SHUTDOWN | MISC_SIPI)) >> 5;

	rule(c->r, activity > ACTIVITY_WAIT_FOR_SIPI || !(supported >> activity & 1),
	     "the activity state", "must be one that the processor supports");
	rule(c->r, activity == ACTIVITY_HLT && dpl(c->ss) != 0, "the activity state",
	     "must not be HLT unless SS's DPL is 0");
	rule(c->r,
	     activity != ACTIVITY_ACTIVE &&
		     c->interruptibility & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS),
	     "the activity state", "must be active with blocking by STI or MOV SS");
	rule(c->r, c->event && activity != ACTIVITY_ACTIVE && !wakes(c, activity),
	     "the activity state", "must be active for the event that is injected");
}

static void check_interruptibility(struct check *c)
{
	u32 state = c->interruptibility;
	bool sti = state & BLOCKED_BY_STI, mov_ss = state & BLOCKED_BY_MOV_SS;
	bool intr = injects(c, INTR_TYPE_EXTERNAL), nmi = injects(c, INTR_TYPE_NMI);

	rule(c->r, state & MASK(31, 5), "the interruptibility state",
	     "must have no reserved bit set");
	rule(c->r, sti && mov_ss, "blocking by STI", "must not come with blocking by MOV SS");
	rule(c->r, sti && !(c->rflags & RFLAGS_IF), "blocking by STI",
	     "must be 0 while RFLAGS.IF is 0");
	rule(c->r, sti && (intr || nmi), "blocking by STI",
	     "must be 0 when an interrupt or an NMI is injected");
	rule(c->r, mov_ss && (intr || nmi), "blocking by MOV SS",
	     "must be 0 when an interrupt or an NMI is injected");
	rule(c->r, state & BLOCKED_BY_SMI, "blocking by SMI", "must be 0 outside SMM");
	rule(c->r, state & BLOCKED_BY_NMI && nmi && c->pin & PIN_VIRTUAL_NMIS, "blocking by NMI",
	     "must be 0 when a virtual NMI is injected");
}

static void check_pending_debug(struct check *c)
{
	u64 pending = vmread(VMCS_GUEST_PENDING_DEBUG);
	bool step = c->rflags & RFLAGS_TF && !(vmread(VMCS_GUEST_DEBUGCTL) & DEBUGCTL_BTF);

	rule(c->r, pending & ~PENDING_KNOWN, "the pending debug exceptions",
	     "must have no reserved bit set");
	if (c->interruptibility & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS) ||
	    vmread(VMCS_GUEST_ACTIVITY) == ACTIVITY_HLT)
		rule(c->r, !!(pending & DR6_BS) != step, "the pending debug exceptions' BS",
		     "must be RFLAGS.TF without BTF while halted or blocked by STI or MOV SS");
	if (pending & PENDING_RTM)
		rule(c->r,
		     (pending & PENDING_KNOWN) != (PENDING_RTM | PENDING_ANY) ||
			     c->interruptibility & BLOCKED_BY_MOV_SS,
		     "the pending debug exceptions' RTM",
		     "must come with bit 12 alone, and not after MOV SS");
}

/* Keel shadows no VMCS: the manual's other rules for the link pointer cannot apply. */
static void check_guest_rest(struct check *c)
{
	check_activity(c);
	check_interruptibility(c);
	check_pending_debug(c);
	rule(c->r, vmread(VMCS_LINK_POINTER) != ~0ull, "the VMCS link pointer", "must be all ones");
}

static void check_guest_pdptes(struct check *c)
{
	static const char *const names[] = {"PDPTE 0", "PDPTE 1", "PDPTE 2", "PDPTE 3"};

	if (!(c->cr0 & CR0_PG) || !(c->cr4 & CR4_PAE) || c->long_mode || !(c->cpu2 & CPU2_EPT))
		return;
	for (u32 i = 0; i < ARRAY_SIZE(names); i++) {
		u64 entry = vmread(VMCS_GUEST_PDPTE0 + 2 * i);

		if (entry & PTE_P)
			rule(c->r, (entry & (MASK(8, 5) | MASK(2, 1))) | beyond_width(entry),
			     names[i], "must have no reserved bit set");
	}
}

static void begin_check(struct check *c, struct virt_vcpu *v, struct rules *r)
{
	const struct vmx_cpu_features *f = &vmx_features;

	*c = (struct check){
		.r = r,
		.v = v,
		.pin = vmread(VMCS_PIN_CONTROLS) & ~f->pin.zero,
		.cpu = vmread(VMCS_CPU_CONTROLS) & ~f->cpu.zero,
		.exit = vmread(VMCS_EXIT_CONTROLS) & ~f->exit.zero,
		.entry = vmread(VMCS_ENTRY_CONTROLS) & ~f->entry.zero,
		.event = vmread(VMCS_ENTRY_INTR_INFO),
		.cr0 = vmread(VMCS_GUEST_CR0),
		.cr4 = vmread(VMCS_GUEST_CR4),
		.rflags = vmread(VMCS_GUEST_RFLAGS),
		.interruptibility = vmread(VMCS_GUEST_INTERRUPTIBILITY),
		.ss = vmread(VMCS_GUEST_SS_ACCESS),
	};
	if (c->cpu & CPU_SECONDARY)
		c->cpu2 = vmread(VMCS_CPU_CONTROLS2) & ~f->cpu2.zero;
	if (!(c->event & INTR_VALID))
		c->event = 0;
	c->long_mode = c->entry & VMENTRY_IA32E;
	c->virtual_8086 = c->rflags & RFLAGS_VM;
	c->unrestricted = c->cpu2 & CPU2_UNRESTRICTED;
	r->count = 0;
}

/* In the manual's order; all of them in each check, since a processor stops at any one. */
static const struct {
	void (*check)(struct check *c);
	const char *section;
} groups[] = {
	{check_execution_controls, "SDM vol. 3, VM-Execution Control Fields"},
	{check_exit_controls, "SDM vol. 3, VM-Exit Control Fields"},
	{check_entry_controls, "SDM vol. 3, VM-Entry Control Fields"},
	{check_host_registers, "SDM vol. 3, Checks on Host Control Registers, MSRs, and SSP"},
	{check_host_segments, "SDM vol. 3, Checks on Host Segment and Descriptor-Table Registers"},
	{check_address_space, "SDM vol. 3, Checks Related to Address-Space Size"},
	{check_guest_registers,
	 "SDM vol. 3, Checks on Guest Control Registers, Debug Registers, and MSRs"},
	{check_guest_segments, "SDM vol. 3, Checks on Guest Segment Registers"},
	{check_guest_tables, "SDM vol. 3, Checks on Guest Descriptor-Table Registers"},
	{check_guest_rip, "SDM vol. 3, Checks on Guest RIP, RFLAGS, and SSP"},
	{check_guest_rest, "SDM vol. 3, Checks on Guest Non-Register State"},
	{check_guest_pdptes, "SDM vol. 3, Checks on Guest Page-Directory-Pointer-Table Entries"},
};

void vmx_broken_rules(struct virt_vcpu *v, struct rules *r)
{
	struct check c;

	vmx_current(v);
	begin_check(&c, v, r);
	for (size_t i = 0; i < ARRAY_SIZE(groups); i++) {
		r->section = groups[i].section;
		groups[i].check(&c);
	}
}

const char *vmx_insn_error(u32 number)
{
	static const char *const words[] = {
		[1] = "VMCALL in VMX root operation",
		[2] = "VMCLEAR of an invalid address",
		[3] = "VMCLEAR of the VMXON region",
		[4] = "VMLAUNCH of a VMCS that is not clear",
		[5] = "VMRESUME of a VMCS that was not launched",
		[6] = "VMRESUME after VMXOFF",
		[7] = "VM entry with an invalid control field",
		[8] = "VM entry with an invalid host-state field",
		[9] = "VMPTRLD of an invalid address",
		[10] = "VMPTRLD of the VMXON region",
		[11] = "VMPTRLD of a VMCS with another revision identifier",
		[12] = "VMREAD or VMWRITE of a field that the processor does not have",
		[13] = "VMWRITE of a read-only field",
		[15] = "VMXON in VMX root operation",
		[16] = "VM entry with an invalid executive-VMCS pointer",
		[17] = "VM entry with an executive VMCS that was not launched",
		[18] = "VM entry with an executive-VMCS pointer that is not the VMXON pointer",
		[19] = "VMCALL with a VMCS that is not clear",
		[20] = "VMCALL with invalid exit controls",
		[22] = "VMCALL with another MSEG revision identifier",
		[23] = "VMXOFF under dual-monitor treatment",
		[24] = "VMCALL with invalid SMM-monitor features",
		[25] = "VM entry with invalid execution controls in the executive VMCS",
		[26] = "VM entry while MOV SS blocks events",
		[28] = "INVEPT or INVVPID with an invalid operand",
	};
	const char *text = number < ARRAY_SIZE(words) ? words[number] : NULL;

	return text ? text : "not in the manual's table";
}

const struct bit_name vmx_pin_names[] = {
	{PIN_EXTERNAL_INTR, "EXTERNAL_INTR"}, {PIN_NMI, "NMI"},
	{PIN_VIRTUAL_NMIS, "VIRTUAL_NMIS"},   {PIN_PREEMPTION_TIMER, "PREEMPTION_TIMER"},
	{PIN_POSTED_INTR, "POSTED_INTR"},     {0},
};
const struct bit_name vmx_cpu_names[] = {
	{CPU_INTR_WINDOW, "INTR_WINDOW"},
	{CPU_TSC_OFFSETTING, "TSC_OFFSETTING"},
	{CPU_HLT, "HLT"},
	{CPU_INVLPG, "INVLPG"},
	{CPU_MWAIT, "MWAIT"},
	{CPU_RDPMC, "RDPMC"},
	{CPU_RDTSC, "RDTSC"},
	{CPU_CR3_LOAD, "CR3_LOAD"},
	{CPU_CR3_STORE, "CR3_STORE"},
	{CPU_TERTIARY, "TERTIARY"},
	{CPU_CR8_LOAD, "CR8_LOAD"},
	{CPU_CR8_STORE, "CR8_STORE"},
	{CPU_TPR_SHADOW, "TPR_SHADOW"},
	{CPU_NMI_WINDOW, "NMI_WINDOW"},
	{CPU_MOV_DR, "MOV_DR"},
	{CPU_UNCONDITIONAL_IO, "UNCONDITIONAL_IO"},
	{CPU_IO_BITMAPS, "IO_BITMAPS"},
	{CPU_MONITOR_TRAP, "MONITOR_TRAP"},
	{CPU_MSR_BITMAPS, "MSR_BITMAPS"},
	{CPU_MONITOR, "MONITOR"},
	{CPU_PAUSE, "PAUSE"},
	{CPU_SECONDARY, "SECONDARY"},
	{0},
};
const struct bit_name vmx_cpu2_names[] = {
	{CPU2_APIC_ACCESS, "APIC_ACCESS"},
	{CPU2_EPT, "EPT"},
	{CPU2_DESCRIPTOR_TABLE, "DESCRIPTOR_TABLE"},
	{CPU2_RDTSCP, "RDTSCP"},
	{CPU2_X2APIC, "X2APIC"},
	{CPU2_VPID, "VPID"},
	{CPU2_WBINVD, "WBINVD"},
	{CPU2_UNRESTRICTED, "UNRESTRICTED"},
	{CPU2_APIC_REGISTERS, "APIC_REGISTERS"},
	{CPU2_INTR_DELIVERY, "INTR_DELIVERY"},
	{CPU2_PAUSE_LOOP, "PAUSE_LOOP"},
	{CPU2_RDRAND, "RDRAND"},
	{CPU2_INVPCID, "INVPCID"},
	{CPU2_VMFUNC, "VMFUNC"},
	{CPU2_SHADOW_VMCS, "SHADOW_VMCS"},
	{CPU2_ENCLS, "ENCLS"},
	{CPU2_RDSEED, "RDSEED"},
	{CPU2_PML, "PML"},
	{CPU2_VE, "VE"},
	{CPU2_CONCEAL_PT, "CONCEAL_PT"},
	{CPU2_XSAVES, "XSAVES"},
	{CPU2_PASID, "PASID"},
	{CPU2_MODE_BASED_EXEC, "MODE_BASED_EXEC"},
	{CPU2_SPP, "SPP"},
	{CPU2_PT_GUEST_PHYSICAL, "PT_GUEST_PHYSICAL"},
	{CPU2_TSC_SCALING, "TSC_SCALING"},
	{CPU2_USER_WAIT, "USER_WAIT"},
	{CPU2_PCONFIG, "PCONFIG"},
	{CPU2_ENCLV, "ENCLV"},
	{0},
};
const struct bit_name vmx_exit_names[] = {
	{VMEXIT_SAVE_DEBUG, "SAVE_DEBUG"},
	{VMEXIT_HOST_64, "HOST_64"},
	{VMEXIT_LOAD_PERF_GLOBAL, "LOAD_PERF_GLOBAL"},
	{VMEXIT_ACK_INTR, "ACK_INTR"},
	{VMEXIT_SAVE_PAT, "SAVE_PAT"},
	{VMEXIT_LOAD_PAT, "LOAD_PAT"},
	{VMEXIT_SAVE_EFER, "SAVE_EFER"},
	{VMEXIT_LOAD_EFER, "LOAD_EFER"},
	{VMEXIT_SAVE_PREEMPTION_TIMER, "SAVE_PREEMPTION_TIMER"},
	{VMEXIT_CLEAR_BNDCFGS, "CLEAR_BNDCFGS"},
	{VMEXIT_CONCEAL_PT, "CONCEAL_PT"},
	{0},
};
const struct bit_name vmx_entry_names[] = {
	{VMENTRY_LOAD_DEBUG, "LOAD_DEBUG"},
	{VMENTRY_IA32E, "IA32E"},
	{VMENTRY_SMM, "SMM"},
	{VMENTRY_DUAL_MONITOR_OFF, "DUAL_MONITOR_OFF"},
	{VMENTRY_LOAD_PERF_GLOBAL, "LOAD_PERF_GLOBAL"},
	{VMENTRY_LOAD_PAT, "LOAD_PAT"},
	{VMENTRY_LOAD_EFER, "LOAD_EFER"},
	{VMENTRY_LOAD_BNDCFGS, "LOAD_BNDCFGS"},
	{VMENTRY_CONCEAL_PT, "CONCEAL_PT"},
	{0},
};
static const struct bit_name interruptibility_names[] = {
	{BLOCKED_BY_STI, "STI"},
	{BLOCKED_BY_MOV_SS, "MOV_SS"},
	{BLOCKED_BY_SMI, "SMI"},
	{BLOCKED_BY_NMI, "NMI"},
	{0},
};
static const struct bit_name exception_names[] = {
	{BIT(VECTOR_DE), "DE"}, {BIT(VECTOR_DB), "DB"},
	{BIT(VECTOR_BP), "BP"}, {BIT(VECTOR_OF), "OF"},
	{BIT(VECTOR_BR), "BR"}, {BIT(VECTOR_UD), "UD"},
	{BIT(VECTOR_NM), "NM"}, {BIT(VECTOR_DF), "DF"},
	{BIT(VECTOR_TS), "TS"}, {BIT(VECTOR_NP), "NP"},
	{BIT(VECTOR_SS), "SS"}, {BIT(VECTOR_GP), "GP"},
	{BIT(VECTOR_PF), "PF"}, {BIT(VECTOR_MF), "MF"},
	{BIT(VECTOR_AC), "AC"}, {BIT(VECTOR_MC), "MC"},
	{BIT(VECTOR_XM), "XM"}, {BIT(VECTOR_VE), "VE"},
	{BIT(VECTOR_CP), "CP"}, {0},
};
static const struct bit_name none[] = {{0}};

#define FIELD(name)                                                                                \
	{                                                                                          \
		VMCS_##name, VMX_WORD_NONE, 0, #name, none                                         \
	}
#define BITS(name, bits)                                                                           \
	{                                                                                          \
		VMCS_##name, VMX_WORD_NONE, 0, #name, bits                                         \
	}
#define WITH(word, control, name)                                                                  \
	{                                                                                          \
		VMCS_##name, VMX_WORD_##word, control, #name, none                                 \
	}
/* Those of the segment registers, in enum seg's order. */
#define OF_SEGMENTS(what)                                                                          \
	FIELD(GUEST_ES_##what), FIELD(GUEST_CS_##what), FIELD(GUEST_SS_##what),                    \
		FIELD(GUEST_DS_##what), FIELD(GUEST_FS_##what), FIELD(GUEST_GS_##what),            \
		FIELD(GUEST_LDTR_##what), FIELD(GUEST_TR_##what)

const struct vmx_field vmx_fields[] = {
	WITH(CPU2, CPU2_VPID, VPID),
	WITH(PIN, PIN_POSTED_INTR, POSTED_INTR_VECTOR),
	WITH(CPU2, CPU2_VE, EPTP_INDEX),
	OF_SEGMENTS(SELECTOR),
	WITH(CPU2, CPU2_INTR_DELIVERY, GUEST_INTR_STATUS),
	WITH(CPU2, CPU2_PML, GUEST_PML_INDEX),
	FIELD(HOST_ES_SELECTOR),
	FIELD(HOST_CS_SELECTOR),
	FIELD(HOST_SS_SELECTOR),
	FIELD(HOST_DS_SELECTOR),
	FIELD(HOST_FS_SELECTOR),
	FIELD(HOST_GS_SELECTOR),
	FIELD(HOST_TR_SELECTOR),
	WITH(CPU, CPU_IO_BITMAPS, IO_BITMAP_A),
	WITH(CPU, CPU_IO_BITMAPS, IO_BITMAP_B),
	WITH(CPU, CPU_MSR_BITMAPS, MSR_BITMAP),
	FIELD(EXIT_MSR_STORE),
	FIELD(EXIT_MSR_LOAD),
	FIELD(ENTRY_MSR_LOAD),
	FIELD(EXECUTIVE_VMCS),
	WITH(CPU2, CPU2_PML, PML_ADDRESS),
	FIELD(TSC_OFFSET),
	WITH(CPU, CPU_TPR_SHADOW, VIRTUAL_APIC),
	WITH(CPU2, CPU2_APIC_ACCESS, APIC_ACCESS),
	WITH(PIN, PIN_POSTED_INTR, POSTED_INTR_DESCRIPTOR),
	WITH(CPU2, CPU2_VMFUNC, VM_FUNCTIONS),
	WITH(CPU2, CPU2_EPT, EPTP),
	WITH(CPU2, CPU2_INTR_DELIVERY, EOI_EXIT_0),
	WITH(CPU2, CPU2_INTR_DELIVERY, EOI_EXIT_1),
	WITH(CPU2, CPU2_INTR_DELIVERY, EOI_EXIT_2),
	WITH(CPU2, CPU2_INTR_DELIVERY, EOI_EXIT_3),
	WITH(CPU2, CPU2_SHADOW_VMCS, VMREAD_BITMAP),
	WITH(CPU2, CPU2_SHADOW_VMCS, VMWRITE_BITMAP),
	WITH(CPU2, CPU2_VE, VE_INFORMATION),
	WITH(CPU2, CPU2_XSAVES, XSS_EXITING),
	WITH(CPU2, CPU2_ENCLS, ENCLS_EXITING),
	WITH(CPU2, CPU2_SPP, SPP_TABLE),
	WITH(CPU2, CPU2_TSC_SCALING, TSC_MULTIPLIER),
	WITH(CPU, CPU_TERTIARY, TERTIARY_CONTROLS),
	WITH(CPU2, CPU2_ENCLV, ENCLV_EXITING),
	WITH(CPU2, CPU2_EPT, GUEST_PHYSICAL),
	FIELD(LINK_POINTER),
	FIELD(GUEST_DEBUGCTL),
	WITH(ENTRY, VMENTRY_LOAD_PAT, GUEST_PAT),
	{VMCS_GUEST_EFER, VMX_WORD_ENTRY, VMENTRY_LOAD_EFER, "GUEST_EFER", dump_efer},
	WITH(ENTRY, VMENTRY_LOAD_PERF_GLOBAL, GUEST_PERF_GLOBAL_CTRL),
	WITH(CPU2, CPU2_EPT, GUEST_PDPTE0),
	WITH(CPU2, CPU2_EPT, GUEST_PDPTE1),
	WITH(CPU2, CPU2_EPT, GUEST_PDPTE2),
	WITH(CPU2, CPU2_EPT, GUEST_PDPTE3),
	WITH(ENTRY, VMENTRY_LOAD_BNDCFGS, GUEST_BNDCFGS),
	WITH(EXIT, VMEXIT_LOAD_PAT, HOST_PAT),
	{VMCS_HOST_EFER, VMX_WORD_EXIT, VMEXIT_LOAD_EFER, "HOST_EFER", dump_efer},
	WITH(EXIT, VMEXIT_LOAD_PERF_GLOBAL, HOST_PERF_GLOBAL_CTRL),
	BITS(PIN_CONTROLS, vmx_pin_names),
	BITS(CPU_CONTROLS, vmx_cpu_names),
	BITS(EXCEPTION_BITMAP, exception_names),
	FIELD(PF_ERROR_MASK),
	FIELD(PF_ERROR_MATCH),
	FIELD(CR3_TARGET_COUNT),
	BITS(EXIT_CONTROLS, vmx_exit_names),
	FIELD(EXIT_MSR_STORE_COUNT),
	FIELD(EXIT_MSR_LOAD_COUNT),
	BITS(ENTRY_CONTROLS, vmx_entry_names),
	FIELD(ENTRY_MSR_LOAD_COUNT),
	FIELD(ENTRY_INTR_INFO),
	FIELD(ENTRY_ERROR_CODE),
	FIELD(ENTRY_INSN_LEN),
	WITH(CPU, CPU_TPR_SHADOW, TPR_THRESHOLD),
	{VMCS_CPU_CONTROLS2, VMX_WORD_CPU, CPU_SECONDARY, "CPU_CONTROLS2", vmx_cpu2_names},
	WITH(CPU2, CPU2_PAUSE_LOOP, PLE_GAP),
	WITH(CPU2, CPU2_PAUSE_LOOP, PLE_WINDOW),
	FIELD(INSN_ERROR),
	FIELD(EXIT_REASON),
	FIELD(EXIT_INTR_INFO),
	FIELD(EXIT_INTR_ERROR),
	FIELD(VECTORING_INFO),
	FIELD(VECTORING_ERROR),
	FIELD(EXIT_INSN_LEN),
	FIELD(EXIT_INSN_INFO),
	OF_SEGMENTS(LIMIT),
	FIELD(GUEST_GDTR_LIMIT),
	FIELD(GUEST_IDTR_LIMIT),
	OF_SEGMENTS(ACCESS),
	BITS(GUEST_INTERRUPTIBILITY, interruptibility_names),
	FIELD(GUEST_ACTIVITY),
	FIELD(GUEST_SMBASE),
	FIELD(GUEST_SYSENTER_CS),
	WITH(PIN, PIN_PREEMPTION_TIMER, PREEMPTION_TIMER),
	FIELD(HOST_SYSENTER_CS),
	BITS(CR0_MASK, dump_cr0),
	BITS(CR4_MASK, dump_cr4),
	BITS(CR0_SHADOW, dump_cr0),
	BITS(CR4_SHADOW, dump_cr4),
	FIELD(EXIT_QUALIFICATION),
	FIELD(IO_RCX),
	FIELD(IO_RSI),
	FIELD(IO_RDI),
	FIELD(IO_RIP),
	FIELD(GUEST_LINEAR),
	BITS(GUEST_CR0, dump_cr0),
	FIELD(GUEST_CR3),
	BITS(GUEST_CR4, dump_cr4),
	OF_SEGMENTS(BASE),
	FIELD(GUEST_GDTR_BASE),
	FIELD(GUEST_IDTR_BASE),
	FIELD(GUEST_DR7),
	FIELD(GUEST_RSP),
	FIELD(GUEST_RIP),
	BITS(GUEST_RFLAGS, dump_rflags),
	FIELD(GUEST_PENDING_DEBUG),
	FIELD(GUEST_SYSENTER_ESP),
	FIELD(GUEST_SYSENTER_EIP),
	BITS(HOST_CR0, dump_cr0),
	FIELD(HOST_CR3),
	BITS(HOST_CR4, dump_cr4),
	FIELD(HOST_FS_BASE),
	FIELD(HOST_GS_BASE),
	FIELD(HOST_TR_BASE),
	FIELD(HOST_GDTR_BASE),
	FIELD(HOST_IDTR_BASE),
	FIELD(HOST_SYSENTER_ESP),
	FIELD(HOST_SYSENTER_EIP),
	FIELD(HOST_RSP),
	FIELD(HOST_RIP),
	{0},
};

/* Every segment register's own four fields, which log_segment() prints together. */
static bool is_of_segment(u32 field)
{
	return (field >= VMCS_GUEST_ES_SELECTOR && field <= VMCS_GUEST_TR_SELECTOR) ||
	       (field >= VMCS_GUEST_ES_LIMIT && field <= VMCS_GUEST_TR_LIMIT) ||
	       (field >= VMCS_GUEST_ES_ACCESS && field <= VMCS_GUEST_TR_ACCESS) ||
	       (field >= VMCS_GUEST_ES_BASE && field <= VMCS_GUEST_TR_BASE);
}

static void log_fields(const struct check *c, enum vmcs_type type)
{
	const u32 words[] = {0, c->pin, c->cpu, c->cpu2, c->exit, c->entry};

	for (const struct vmx_field *f = vmx_fields; f->name; f++) {
		if (VMCS_FIELD_TYPE(f->field) != type || is_of_segment(f->field) ||
		    (f->control && !(words[f->word] & f->control)))
			continue;
		dump_bits(f->name, vmread(f->field), f->bits);
	}
}

static void log_event(const char *field, u32 info)
{
	static const char *const types[] = {
		"interrupt", "reserved 1",	   "NMI",	  "exception", "software interrupt",
		"INT1",	     "software exception", "other event",
	};

	if (!(info & INTR_VALID))
		return;
	log_error("  %s %08x %s, vector %u%s", field, info, types[(info & INTR_TYPE) >> 8],
		  (u8)info, info & INTR_HAS_ERROR ? ", error code" : "");
}

/* SDM vol. 3, "VM-Entry Failures During or After Loading Guest State". */
static void log_entry_failure(u32 reason, u64 qualification)
{
	static const char *const guest_state[] = {
		"a rule on the guest state", "a rule on the guest state",
		"loading the PDPTEs",	     "an NMI injected while STI blocks events",
		"the VMCS link pointer",
	};

	switch (reason & 0xffff) {
	case VMX_INVALID_GUEST_STATE:
		log_error("  the entry failed at: %s", qualification < ARRAY_SIZE(guest_state)
							       ? guest_state[qualification]
							       : "the guest state");
		break;
	case VMX_MSR_LOADING:
		log_error("  the entry failed at: entry %llu of the MSR-load area",
			  (unsigned long long)qualification);
		break;
	case VMX_ENTRY_MACHINE_CHECK:
		log_error("  the entry failed at: a machine check");
		break;
	}
}

static void log_exit(void)
{
	u32 reason = vmread(VMCS_EXIT_REASON), error = vmread(VMCS_INSN_ERROR);

	log_error("  exit reason %08x %s", reason, vmx_exit_name(reason & 0xffff));
	if (reason & EXIT_REASON_ENTRY_FAILED)
		log_entry_failure(reason, vmread(VMCS_EXIT_QUALIFICATION));
	if (error) /* an older one may stand here still */
		log_error("  last VM-instruction error %u: %s", error, vmx_insn_error(error));
	log_event("exit event", vmread(VMCS_EXIT_INTR_INFO));
	log_event("cut short", vmread(VMCS_VECTORING_INFO));
	log_event("to be injected", vmread(VMCS_ENTRY_INTR_INFO));
}

static void log_segment(const struct guest_segment *s)
{
	log_error("  %s %04x base %016llx limit %08x access %05x type %x%s%s%s%s%s%s dpl %u",
		  s->name, s->selector, (unsigned long long)s->base, s->limit, s->access,
		  s->access & SEG_TYPE, s->usable ? "" : " unusable", s->access & SEG_S ? " S" : "",
		  s->access & SEG_P ? " P" : "", s->access & ACCESS_L ? " L" : "",
		  s->access & ACCESS_DB ? " D" : "", s->access & ACCESS_G ? " G" : "",
		  dpl(s->access));
}

bool vmx_dump_field(const struct virt_vcpu *v, u32 field)
{
	const struct vmx_vcpu *x = vmx_of(v);
	const u32 words[] = {0, x->pin, x->cpu, x->cpu2, x->exit, x->entry};

	for (const struct vmx_field *f = vmx_fields; f->name; f++) {
		if (f->field != field || (f->control && !(words[f->word] & f->control)))
			continue;
		dump_bits(f->name, vmread(field), f->bits);
		return true;
	}
	return false;
}

void vmx_dump_segment(enum seg seg)
{
	struct guest_segment s = read_segment(seg);

	log_segment(&s);
}

void vmx_dump(struct virt_vcpu *v)
{
	struct rules rules;
	struct check c;

	vmx_broken_rules(v, &rules);
	begin_check(&c, v, &(struct rules){0});
	log_error("VMCS at %llx:", (unsigned long long)v->hw_hpa.v);
	dump_rules(&rules);
	log_exit();
	log_error(" controls:");
	log_fields(&c, VMCS_CONTROL);
	log_error(" exit information:");
	log_fields(&c, VMCS_READ_ONLY);
	log_error(" guest:");
	for (enum seg seg = SEG_ES; seg <= SEG_TR; seg++)
		vmx_dump_segment(seg);
	log_fields(&c, VMCS_GUEST);
	log_error(" host:");
	log_fields(&c, VMCS_HOST);
}

void vmx_check_before(struct virt_vcpu *v)
{
	struct rules rules;

	vmx_broken_rules(v, &rules);
	if (!rules.count)
		return;
	log_error("check=entry: the processor will refuse this VMCS:");
	dump_rules(&rules);
}
