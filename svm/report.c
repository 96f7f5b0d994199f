/* SPDX-License-Identifier: MIT */
/* What this processor's SVM offers, in words, and what Keel uses of it. */
#include "arch-x86/dump.h"
#include "arch-x86/insn.h"
#include "arch-x86/log.h"
#include "arch-x86/msr.h"
#include "svm/internal.h"
#include "svm/svm.h"

enum use {
	UNUSED,
	OPTIONAL, /* where it is there */
	REQUIRED,
};

/* CPUID 8000_000A EDX. APM vol. 3, "SVM Revision and Feature Identification". */
static const struct {
	u8 bit;
	u8 use;	     /* enum use */
	u64 feature; /* enum virt_feature that hw-off= can take away; 0: none */
	const char *name, *words;
} rows[] = {
	{0, REQUIRED, 0, "NP", "nested paging"},
	{1, OPTIONAL, 0, "LbrVirt", "the last-branch records are the guest's own"},
	{2, OPTIONAL, 0, "SVML", "the firmware can lock VM_CR"},
	{3, OPTIONAL, VIRT_NEXT_RIP, "NRIPS", "an exit tells where the next instruction begins"},
	{4, OPTIONAL, VIRT_TSC_SCALING, "TscRateMsr", "a guest's TSC can run at its own rate"},
	{5, OPTIONAL, VIRT_CLEAN_BITS, "VmcbClean", "the processor may keep VMCB fields"},
	{6, OPTIONAL, VIRT_FLUSH_BY_ASID, "FlushByAsid", "one guest's translations can be flushed"},
	{7, OPTIONAL, VIRT_DECODE_ASSISTS, "DecodeAssists",
	 "an exit tells the instruction's bytes"},
	{8, UNUSED, 0, "PmcVirt", "virtual performance counters"},
	{10, OPTIONAL, VIRT_PAUSE_FILTER, "PauseFilter", "an exit after many PAUSEs"},
	{12, OPTIONAL, VIRT_PAUSE_FILTER, "PauseFilterThreshold", "only PAUSEs of one loop count"},
	{13, UNUSED, 0, "AVIC", "a virtual interrupt controller"},
	{15, UNUSED, 0, "VMSAVEvirt", "VMLOAD and VMSAVE by guests"},
	{16, UNUSED, 0, "VGIF", "a global interrupt flag for guests"},
	{17, UNUSED, 0, "GMET", "guest-mode execute trap"},
	{18, UNUSED, 0, "x2AVIC", "AVIC in x2APIC mode"},
	{19, UNUSED, 0, "SSSCheck", "supervisor shadow stacks are checked"},
	{20, UNUSED, 0, "SpecCtrl", "SPEC_CTRL is switched by the processor"},
	{21, UNUSED, 0, "ROGPT", "read-only guest page tables"},
	{23, UNUSED, 0, "HOST_MCE_OVERRIDE", "machine checks go to the host"},
	{24, UNUSED, 0, "TlbiCtl", "INVLPGB and TLBSYNC by guests"},
	{25, UNUSED, 0, "VNMI", "virtual NMIs"},
	{26, UNUSED, 0, "IbsVirt", "instruction-based sampling by guests"},
	{28, UNUSED, 0, "VmcbAddrChkChg", "how VMCB addresses are checked"},
	{29, UNUSED, 0, "BusLockThreshold", "an exit after many bus locks"},
	{30, UNUSED, 0, "IdleHltIntercept", "HLT exits only where nothing is pending"},
	{31, UNUSED, 0, "EnhancedShutdownIntercept", "a shutdown keeps the guest's state"},
};

static const char *used(u8 use, u64 feature)
{
	if (use == REQUIRED)
		return "yes, required";
	if (use == UNUSED)
		return "yes, not used";
	return feature && !(virt_features & feature) ? "yes, off by hw-off=" : "yes, used";
}

static void report_features(u32 edx)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		bool there = edx >> rows[i].bit & 1;
		const char *state = there ? used(rows[i].use, rows[i].feature) : "no";

		if (!there && rows[i].use == REQUIRED)
			state = "NO, BUT REQUIRED";
		log_info("  %-25s %-19s %s", rows[i].name, state, rows[i].words);
	}
}

static void report_intercepts(enum virt_kind kind, const char *head)
{
	struct dump_list list = {.head = head};
	u32 words[INTERCEPT_WORDS] = {0};

	svm_static_intercepts(kind, words);
	for (u32 i = 0; i < INTERCEPT_WORDS * 32; i++)
		if (words[i / 32] & BIT(i % 32))
			dump_list_add(&list, svm_exit_name(i));
	dump_list_end(&list);
}

void svm_report(void)
{
	struct cpuid_regs svm = {0};
	u64 vm_cr;

	if (cpuid(0x80000000, 0).eax >= 0x8000000a && cpuid(0x80000001, 0).ecx & BIT(2))
		svm = cpuid(0x8000000a, 0);
	if (!svm.ebx) {
		log_info("no SVM: CPUID 8000_0001 ECX bit 2 is clear, or there are no ASIDs");
		return;
	}
	log_info("SVM revision %u, %u ASIDs, CPUID 8000_000A EDX %08x:", svm.eax & 0xff, svm.ebx,
		 svm.edx);
	report_features(svm.edx);
	if (!rdmsr_safe(MSR_VM_CR, &vm_cr))
		log_info("VM_CR %lx: SVM is %s%s", vm_cr, vm_cr & VM_CR_SVMDIS ? "off" : "on",
			 vm_cr & VM_CR_LOCK ? ", locked" : "");
	log_info("intercepts that Keel sets for good:");
	report_intercepts(VIRT_MANAGEMENT, "in the management guest");
	report_intercepts(VIRT_CHILD, "in a child");
}
