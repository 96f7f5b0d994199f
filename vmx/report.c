/* SPDX-License-Identifier: MIT */
/* What this processor's VMX offers, in words, and what Keel uses of it. */
#include "arch-x86/dump.h"
#include "arch-x86/insn.h"
#include "arch-x86/log.h"
#include "arch-x86/msr.h"
#include "vmx/internal.h"
#include "vmx/vmx.h"

#define CPUID_VMX     BIT(5)  /* leaf 1, ECX */
#define BASIC_TRUE    BIT(55) /* there are IA32_VMX_TRUE_... */
#define BASIC_SIZE(b) ((b) >> 32 & 0x1fff)

/* IA32_FEATURE_CONTROL. SDM vol. 3, "Enabling and Entering VMX Operation". */
static const struct bit_name feature_control_names[] = {
	{BIT(0), "locked"},
	{BIT(1), "VMX inside SMX"},
	{BIT(2), "VMX outside SMX"},
	{0},
};

/* Appendix "Basic VMX Information". */
static const struct bit_name basic_names[] = {
	{BIT(48), "32-bit addresses only"},
	{BIT(49), "dual-monitor SMM"},
	{BIT(54), "INS and OUTS are decoded"},
	{BASIC_TRUE, "true controls"},
	{BIT(56), "any exception with an error code"},
	{0},
};

/* Appendix "Miscellaneous Data". */
static const struct bit_name misc_names[] = {
	{BIT(5), "exits store EFER.LMA in the entry controls"},
	{BIT(6), "activity HLT"},
	{BIT(7), "activity shutdown"},
	{BIT(8), "activity wait-for-SIPI"},
	{BIT(14), "Intel PT in VMX operation"},
	{BIT(15), "SMBASE can be read in SMM"},
	{BIT(28), "SMM_MONITOR_CTL bit 2"},
	{BIT(29), "VMWRITE to every field"},
	{BIT(30), "injection with length 0"},
	{0},
};

/* Appendix "VPID and EPT Capabilities". */
static const struct bit_name ept_names[] = {
	{EPT_CAP_EXEC_ONLY, "execute-only"},
	{EPT_CAP_WALK_4, "4 levels"},
	{BIT(7), "5 levels"},
	{EPT_CAP_UC, "uncacheable tables"},
	{EPT_CAP_WB, "write-back tables"},
	{EPT_CAP_2M, "2 MiB pages"},
	{EPT_CAP_1G, "1 GiB pages"},
	{EPT_CAP_INVEPT, "INVEPT"},
	{EPT_CAP_AD, "accessed and dirty flags"},
	{BIT(22), "violations tell about the guest's tables"},
	{BIT(23), "supervisor shadow stacks"},
	{EPT_CAP_INVEPT_SINGLE, "INVEPT of one table"},
	{EPT_CAP_INVEPT_ALL, "INVEPT of all"},
	{EPT_CAP_INVVPID, "INVVPID"},
	{EPT_CAP_INVVPID_ADDRESS, "INVVPID of an address"},
	{EPT_CAP_INVVPID_SINGLE, "INVVPID of one VPID"},
	{EPT_CAP_INVVPID_ALL, "INVVPID of all"},
	{EPT_CAP_INVVPID_SINGLE_BUT_GLOBALS, "INVVPID but global pages"},
	{0},
};

static void report_words(const char *head, const char *name, u64 value,
			 const struct bit_name *names)
{
	log_info("%s %016lx:", name, value);
	dump_list_bits(head, value, names);
}

/* Keel's choice of one kind of control word. */
struct choice {
	u32 required, management, child;
};

/* Low half: bits that must be 1; high half: bits that may be. */
static void report_controls(const char *name, u32 msr, const struct bit_name *names,
			    const struct choice *choice)
{
	u64 value = rdmsr(msr);
	u32 missing = choice->required & ~(u32)(value >> 32);

	log_info("%s %016lx:", name, value);
	dump_list_bits("always 1", (u32)value, names);
	dump_list_bits("may be 1", value >> 32 & ~value, names);
	dump_list_bits("set for the management guest", choice->management, names);
	dump_list_bits("set for a child", choice->child, names);
	if (missing)
		dump_list_bits("MISSING, BUT REQUIRED", missing, names);
}

#define CHOICE(word) (&(struct choice){vmx_required.word, management.word, child.word})

static void report_control_words(u64 basic)
{
	u32 offset = basic & BASIC_TRUE ? MSR_VMX_TRUE_PINBASED_CTLS - MSR_VMX_PINBASED_CTLS : 0;
	u64 cpu = rdmsr(MSR_VMX_PROCBASED_CTLS + offset), cpu2;
	struct vmx_words management, child;
	u32 exceptions;

	vmx_choose_controls(VIRT_MANAGEMENT, virt_features, &management, &exceptions);
	vmx_choose_controls(VIRT_CHILD, virt_features, &child, &exceptions);
	report_controls("pin-based controls", MSR_VMX_PINBASED_CTLS + offset, vmx_pin_names,
			CHOICE(pin));
	report_controls("processor-based controls", MSR_VMX_PROCBASED_CTLS + offset, vmx_cpu_names,
			CHOICE(cpu));
	report_controls("VM-exit controls", MSR_VMX_EXIT_CTLS + offset, vmx_exit_names,
			CHOICE(exit));
	report_controls("VM-entry controls", MSR_VMX_ENTRY_CTLS + offset, vmx_entry_names,
			CHOICE(entry));
	if (!(cpu >> 32 & CPU_SECONDARY))
		return;
	cpu2 = rdmsr(MSR_VMX_PROCBASED_CTLS2);
	report_controls("secondary controls", MSR_VMX_PROCBASED_CTLS2, vmx_cpu2_names,
			CHOICE(cpu2));
	if (cpu2 >> 32 & (CPU2_EPT | CPU2_VPID))
		report_words("there are", "IA32_VMX_EPT_VPID_CAP", rdmsr(MSR_VMX_EPT_VPID_CAP),
			     ept_names);
}

void vmx_report(void)
{
	u64 basic, misc;

	if (!(cpuid(1, 0).ecx & CPUID_VMX)) {
		log_info("no VMX: CPUID 1 ECX bit 5 is clear");
		return;
	}
	report_words("is", "IA32_FEATURE_CONTROL", rdmsr(MSR_FEATURE_CONTROL),
		     feature_control_names);
	basic = rdmsr(MSR_VMX_BASIC);
	report_words("there are", "IA32_VMX_BASIC", basic, basic_names);
	log_info("VMCS revision %x, %lu bytes", (u32)basic & 0x7fffffff, BASIC_SIZE(basic));
	report_control_words(basic);
	misc = rdmsr(MSR_VMX_MISC);
	report_words("there are", "IA32_VMX_MISC", misc, misc_names);
	log_info("the preemption timer counts TSC / %u; %lu CR3 targets", 1u << (misc & 31),
		 misc >> 16 & 0x1ff);
	dump_list_bits("CR0 in VMX operation, always 1", rdmsr(MSR_VMX_CR0_FIXED0), dump_cr0);
	dump_list_bits("CR4 in VMX operation, always 1", rdmsr(MSR_VMX_CR4_FIXED0), dump_cr4);
	dump_list_bits("CR4 in VMX operation, may be 1", rdmsr(MSR_VMX_CR4_FIXED1), dump_cr4);
}
