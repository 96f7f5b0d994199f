// SPDX-License-Identifier: MIT
/* Each entry rule of the manual, broken one at a time: exactly that one is named. */
#include "tests/unit/vmx.h"

static char log_text[32768];

void log_line(enum log_level level, const char *format, ...)
{
	size_t used = strlen(log_text);
	va_list list;

	va_start(list, format);
	vsnprintf(log_text + used, sizeof(log_text) - used - 1, format, list);
	va_end(list);
	strcat(log_text, "\n");
}

#define SET(name, value) put_field(VMCS_##name, value)
#define ON(name, bits)	 put_field(VMCS_##name, field(VMCS_##name) | (bits))
#define OFF(name, bits)	 put_field(VMCS_##name, field(VMCS_##name) & ~(u64)(bits))

/* Those of the test's own pages are wider than any processor's. */
static void valid_addresses(void)
{
	SET(IO_BITMAP_A, 0x10000);
	SET(IO_BITMAP_B, 0x11000);
	SET(MSR_BITMAP, 0x12000);
	SET(VIRTUAL_APIC, 0x13000);
}

static void valid_host(void)
{
	SET(HOST_CR0, 0x80050033);
	SET(HOST_CR3, 0x7000);
	SET(HOST_CR4, CR4_VMXE | CR4_PAE);
	SET(HOST_EFER, EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);
	SET(HOST_PAT, 0x0007040600070406);
	SET(HOST_CS_SELECTOR, 8);
	SET(HOST_SS_SELECTOR, 16);
	SET(HOST_TR_SELECTOR, 24);
	SET(HOST_TR_BASE, 0xffff800000001000);
	SET(HOST_GDTR_BASE, 0xffff800000002000);
	SET(HOST_IDTR_BASE, 0xffff800000003000);
	SET(HOST_RIP, 0xffff800000004000);
}

static void valid_segment(enum seg seg, u16 selector, u32 limit, u32 access)
{
	put_field(VMCS_GUEST_ES_SELECTOR + 2 * seg, selector);
	put_field(VMCS_GUEST_ES_BASE + 2 * seg, 0);
	put_field(VMCS_GUEST_ES_LIMIT + 2 * seg, limit);
	put_field(VMCS_GUEST_ES_ACCESS + 2 * seg, access);
}

static void valid_guest(void)
{
	SET(GUEST_CR0, 0x80050033);
	SET(GUEST_CR3, 0x1000);
	SET(GUEST_CR4, CR4_VMXE | CR4_PAE);
	ON(ENTRY_CONTROLS, VMENTRY_IA32E);
	SET(GUEST_EFER, EFER_LME | EFER_LMA);
	SET(GUEST_DR7, DR7_INIT);
	SET(GUEST_RFLAGS, RFLAGS_ONE);
	SET(GUEST_RIP, 0x1000);
	valid_segment(SEG_CS, 0x10, 0xffffffff, 0xa09b);
	valid_segment(SEG_SS, 0x18, 0xffffffff, 0xc093);
	valid_segment(SEG_DS, 0x18, 0xffffffff, 0xc093);
	valid_segment(SEG_ES, 0x18, 0x000fffff, 0x4093); /* byte limit */
	valid_segment(SEG_FS, 0, 0, ACCESS_UNUSABLE);
	valid_segment(SEG_GS, 0x2b, 0xffff, 0xf3);
	valid_segment(SEG_LDTR, 0, 0, ACCESS_UNUSABLE);
	valid_segment(SEG_TR, 0x20, 0x67, 0x8b);
	SET(GUEST_GDTR_LIMIT, 0xff);
	SET(GUEST_IDTR_LIMIT, 0xfff);
}

/* A VMCS in long mode that breaks nothing. */
static int setup_valid(void **state)
{
	setup_child(state);
	vmx_features.any_error_code = false;
	vmx_features.misc = BIT(6) | BIT(7) | BIT(8) | 4 << 16;
	vmx_features.cr4_fixed1 = 0xffffff & ~(u64)CR4_LA57;
	SET(VPID, 1);
	valid_addresses();
	valid_host();
	valid_guest();
	log_text[0] = 0;
	return 0;
}

static int setup_real_mode(void **state)
{
	setup_valid(state);
	OFF(ENTRY_CONTROLS, VMENTRY_IA32E);
	SET(GUEST_CR0, CR0_ET | CR0_NE);
	SET(GUEST_CR4, CR4_VMXE);
	SET(GUEST_EFER, 0);
	for (enum seg seg = SEG_ES; seg <= SEG_GS; seg++)
		valid_segment(seg, 0, 0xffff, 0x93);
	return 0;
}

static int setup_virtual_8086(void **state)
{
	setup_valid(state);
	OFF(ENTRY_CONTROLS, VMENTRY_IA32E);
	SET(GUEST_EFER, 0);
	ON(GUEST_RFLAGS, RFLAGS_VM);
	for (enum seg seg = SEG_ES; seg <= SEG_GS; seg++) {
		valid_segment(seg, 0x1003, 0xffff, 0xf3);
		put_field(VMCS_GUEST_ES_BASE + 2 * seg, 0x10030);
	}
	return 0;
}

static void accept(void)
{
	struct rules rules;

	vmx_broken_rules(&vcpu, &rules);
	if (rules.count)
		fail_msg("%s %s (%s)", rules.broken[0].subject, rules.broken[0].words,
			 rules.broken[0].section);
}

static void refuse(int line, const char *section, const char *subject, const char *words)
{
	struct rules rules;

	vmx_broken_rules(&vcpu, &rules);
	for (u32 i = 0; i < rules.count && rules.count > 1; i++)
		print_error("%s %s\n", rules.broken[i].subject, rules.broken[i].words);
	if (rules.count != 1)
		fail_msg("line %d: %s %s: %u are broken", line, subject, words, rules.count);
	if (strcmp(rules.broken[0].subject, subject) != 0 ||
	    strcmp(rules.broken[0].words, words) != 0 || !strstr(rules.broken[0].section, section))
		fail_msg("line %d: %s %s (%s)", line, rules.broken[0].subject,
			 rules.broken[0].words, rules.broken[0].section);
}

static struct {
	struct fake_vmcs vmcs;
	struct vmx_cpu_features features;
} saved;

static void save(void)
{
	accept();
	saved.vmcs = *vmcs;
	saved.features = vmx_features;
}

static void restore(void)
{
	*vmcs = saved.vmcs;
	vmx_features = saved.features;
}

/* `change` is what breaks the rule; SECTION is the test's. */
#define BREAK(change, subject, words)                                                              \
	do {                                                                                       \
		save();                                                                            \
		change;                                                                            \
		refuse(__LINE__, SECTION, subject, words);                                         \
		restore();                                                                         \
	} while (0)
#define PASS(change)                                                                               \
	do {                                                                                       \
		save();                                                                            \
		change;                                                                            \
		accept();                                                                          \
		restore();                                                                         \
	} while (0)

static const char allowed[] = "must be as the capability MSR allows";
static const char page[] = "must be a page within the physical address width";
static const char area[] = "must be 16-byte aligned and within the physical address width";
static const char in_width[] = "must be within the physical address width";
static const char is_canonical[] = "must be canonical";
static const char reserved[] = "must have no reserved bit set";
static const char supported[] = "must be one that the processor supports";
static const char not_here[] = "must be 0 on this processor";
static const char without_ept[] = "must be 0 without EPT";
static const char vmx_operation[] = "must be as VMX operation demands";
static const char memory_type[] = "must have no reserved memory type";

#define NOT_CANONICAL 0x0000800000000000ull

#define SECTION "VM-Execution Control Fields"
static void execution_controls(void **state)
{
	vmx_features.cpu2.zero |= BIT(30);
	BREAK(OFF(PIN_CONTROLS, BIT(1)), "the pin-based controls", allowed);
	BREAK(ON(PIN_CONTROLS, BIT(8)), "the pin-based controls", allowed);
	BREAK(OFF(CPU_CONTROLS, BIT(1)), "the processor-based controls", allowed);
	BREAK((vmx_features.cpu.zero = CPU_MONITOR, ON(CPU_CONTROLS, CPU_MONITOR)),
	      "the processor-based controls", allowed);
	BREAK(ON(CPU_CONTROLS2, BIT(30)), "the secondary processor-based controls", allowed);
	PASS(SET(CR3_TARGET_COUNT, 4));
	BREAK(SET(CR3_TARGET_COUNT, 5), "the CR3-target count",
	      "must be at most what the processor has");
	BREAK(ON(IO_BITMAP_A, 1), "I/O bitmap A", page);
	BREAK(ON(IO_BITMAP_A, BIT(46)), "I/O bitmap A", page);
	BREAK(ON(IO_BITMAP_B, BIT(11)), "I/O bitmap B", page);
	BREAK(ON(IO_BITMAP_B, BIT(63)), "I/O bitmap B", page);
	BREAK(ON(MSR_BITMAP, BIT(4)), "the MSR bitmap", page);
	PASS((OFF(CPU_CONTROLS, CPU_MSR_BITMAPS), SET(MSR_BITMAP, 1)));
	BREAK(OFF(PIN_CONTROLS, PIN_NMI), "virtual NMIs", "must be 0 without NMI exiting");
	BREAK((OFF(PIN_CONTROLS, PIN_VIRTUAL_NMIS), ON(CPU_CONTROLS, CPU_NMI_WINDOW)),
	      "NMI-window exiting", "must be 0 without virtual NMIs");
	BREAK(SET(VPID, 0), "the VPID", "must not be 0");
	PASS((OFF(CPU_CONTROLS2, CPU2_VPID), SET(VPID, 0)));
	BREAK((ON(CPU_CONTROLS2, CPU2_PML), SET(PML_ADDRESS, BIT(47))), "the PML address", page);
	BREAK((ON(CPU_CONTROLS2, CPU2_SHADOW_VMCS), SET(VMREAD_BITMAP, 1),
	       SET(VMWRITE_BITMAP, 0x1000)),
	      "the VMREAD bitmap", page);
	BREAK((ON(CPU_CONTROLS2, CPU2_SHADOW_VMCS), SET(VMREAD_BITMAP, 0x1000),
	       SET(VMWRITE_BITMAP, 1)),
	      "the VMWRITE bitmap", page);
	BREAK((ON(CPU_CONTROLS2, CPU2_VE), SET(VE_INFORMATION, 8)), "the #VE information address",
	      page);
	BREAK((ON(CPU_CONTROLS2, CPU2_TSC_SCALING), SET(TSC_MULTIPLIER, 0)), "the TSC multiplier",
	      "must not be 0");
}

static void ept_rules(void **state)
{
	BREAK(OFF(EPTP, 7), "the EPTP's memory type", supported);
	PASS((OFF(EPTP, 7), vmx_features.ept_vpid |= EPT_CAP_UC));
	BREAK(ON(EPTP, 7), "the EPTP's memory type", supported);
	BREAK(OFF(EPTP, 8), "the EPTP's walk length", supported);
	BREAK((OFF(EPTP, 0x38), ON(EPTP, 0x20)), "the EPTP's walk length", supported);
	PASS(ON(EPTP, EPTP_AD));
	BREAK((ON(EPTP, EPTP_AD), vmx_features.ept_vpid &= ~(u64)EPT_CAP_AD), "the EPTP's A/D bit",
	      not_here);
	BREAK(ON(EPTP, BIT(7)), "the EPTP's shadow-stack bit", not_here);
	BREAK(ON(EPTP, BIT(8)), "the EPTP", reserved);
	BREAK(ON(EPTP, BIT(46)), "the EPTP", reserved);
	OFF(CPU_CONTROLS2, CPU2_EPT | CPU2_UNRESTRICTED);
	BREAK(ON(CPU_CONTROLS2, CPU2_UNRESTRICTED), "unrestricted guest", without_ept);
	BREAK((ON(CPU_CONTROLS2, CPU2_PML), SET(PML_ADDRESS, 0x1000)), "page-modification logging",
	      without_ept);
	BREAK(ON(CPU_CONTROLS2, CPU2_MODE_BASED_EXEC), "mode-based execute control", without_ept);
	BREAK(ON(CPU_CONTROLS2, CPU2_SPP), "sub-page write permissions", without_ept);
	BREAK(ON(CPU_CONTROLS2, CPU2_PT_GUEST_PHYSICAL), "Intel PT uses guest physical addresses",
	      without_ept);
}

static void apic_rules(void **state)
{
	const char *descriptor = "the posted-interrupt descriptor";

	BREAK(ON(VIRTUAL_APIC, 8), "the virtual-APIC address", page);
	BREAK(SET(TPR_THRESHOLD, 0x10), "the TPR threshold", "must have bits 31:4 clear");
	BREAK(SET(TPR_THRESHOLD, 1), "the TPR threshold", "must not be above the virtual TPR");
	vmx_of(&vcpu)->virtual_apic[0x80] = 0x2f;
	PASS(SET(TPR_THRESHOLD, 2));
	PASS((ON(CPU_CONTROLS2, CPU2_INTR_DELIVERY), SET(TPR_THRESHOLD, 0x13)));
	BREAK((OFF(CPU_CONTROLS, CPU_TPR_SHADOW), ON(CPU_CONTROLS2, CPU2_APIC_REGISTERS)),
	      "APIC virtualization", "must be off without TPR shadow");
	BREAK((ON(CPU_CONTROLS2, CPU2_APIC_ACCESS), SET(APIC_ACCESS, 1)), "the APIC-access address",
	      page);
	BREAK((ON(CPU_CONTROLS2, CPU2_APIC_ACCESS | CPU2_X2APIC), SET(APIC_ACCESS, 0x1000)),
	      "virtualize x2APIC mode", "must be 0 with virtualize APIC accesses");
	BREAK((ON(CPU_CONTROLS2, CPU2_INTR_DELIVERY), OFF(PIN_CONTROLS, PIN_EXTERNAL_INTR)),
	      "external-interrupt exiting", "must be 1 with virtual-interrupt delivery");
	ON(PIN_CONTROLS, PIN_POSTED_INTR);
	ON(CPU_CONTROLS2, CPU2_INTR_DELIVERY);
	ON(EXIT_CONTROLS, VMEXIT_ACK_INTR);
	SET(POSTED_INTR_VECTOR, 0xff);
	SET(POSTED_INTR_DESCRIPTOR, 0x1040);
	BREAK(OFF(CPU_CONTROLS2, CPU2_INTR_DELIVERY), "virtual-interrupt delivery",
	      "must be 1 with posted interrupts");
	BREAK(OFF(EXIT_CONTROLS, VMEXIT_ACK_INTR), "acknowledge interrupt on exit",
	      "must be 1 with posted interrupts");
	BREAK(SET(POSTED_INTR_VECTOR, 0x100), "the posted-interrupt vector", "must be at most 255");
	BREAK(SET(POSTED_INTR_DESCRIPTOR, 0x1020), descriptor,
	      "must be 64-byte aligned and within the physical address width");
}
#undef SECTION

#define SECTION "VM-Exit Control Fields"
static void exit_controls(void **state)
{
	BREAK(OFF(EXIT_CONTROLS, BIT(0)), "the exit controls", allowed);
	BREAK((vmx_features.exit.zero = BIT(31), ON(EXIT_CONTROLS, BIT(31))), "the exit controls",
	      allowed);
	BREAK(ON(EXIT_CONTROLS, VMEXIT_SAVE_PREEMPTION_TIMER), "save VMX-preemption timer value",
	      "must be 0 while the timer is off");
	PASS((ON(EXIT_CONTROLS, VMEXIT_SAVE_PREEMPTION_TIMER),
	      ON(PIN_CONTROLS, PIN_PREEMPTION_TIMER)));
	PASS((SET(EXIT_MSR_STORE_COUNT, 2), SET(EXIT_MSR_STORE, BIT(46) - 32)));
	BREAK((SET(EXIT_MSR_STORE_COUNT, 2), SET(EXIT_MSR_STORE, BIT(46) - 16)),
	      "the exit MSR-store area", area);
	BREAK((SET(EXIT_MSR_LOAD_COUNT, 1), SET(EXIT_MSR_LOAD, 8)), "the exit MSR-load area", area);
}
#undef SECTION

static void inject(u32 info)
{
	SET(ENTRY_INTR_INFO, INTR_VALID | info);
}

#define SECTION "VM-Entry Control Fields"
static void entry_controls(void **state)
{
	BREAK(OFF(ENTRY_CONTROLS, BIT(0)), "the entry controls", allowed);
	BREAK((vmx_features.entry.zero = BIT(18), ON(ENTRY_CONTROLS, BIT(18))),
	      "the entry controls", allowed);
	BREAK((SET(ENTRY_MSR_LOAD_COUNT, 1), SET(ENTRY_MSR_LOAD, BIT(46))),
	      "the entry MSR-load area", area);
	BREAK(ON(ENTRY_CONTROLS, VMENTRY_SMM), "entry to SMM, deactivate dual-monitor treatment",
	      "must be 0 outside SMM");
	BREAK(ON(ENTRY_CONTROLS, VMENTRY_DUAL_MONITOR_OFF),
	      "entry to SMM, deactivate dual-monitor treatment", "must be 0 outside SMM");
}

static void event_rules(void **state)
{
	const char *event = "the injected event",
		   *length = "the injected event's instruction length";
	const char *has_none = "must have an error code, as its vector always has";
	const char *has_one =
		"must not have an error code: that is for certain exceptions in protected mode";

	PASS(SET(ENTRY_INTR_INFO, 0x7ffff100)); /* not valid */
	PASS(inject(0x202));
	PASS(inject(0x306));
	PASS(inject(0xb0d));
	BREAK(inject(0x100), event, "must not have a reserved type");
	PASS(inject(0x700)); /* a pending MTF exit */
	BREAK((inject(0x700), vmx_features.cpu.zero = CPU_MONITOR_TRAP), event,
	      "must not have a reserved type");
	BREAK(inject(0x203), "an injected NMI", "must have vector 2");
	BREAK(inject(0x320), "an injected exception", "must have a vector of at most 31");
	BREAK(inject(0x701), "a pending MTF exit", "must have vector 0");
	BREAK(inject(0x30d), event, has_none);
	BREAK(inject(0xb06), event, has_one);
	BREAK(inject(0xb15), event, has_one);
	PASS((inject(0xb15), vmx_features.any_error_code = true));
	PASS((inject(0x30d), vmx_features.any_error_code = true));
	BREAK(inject(0xa02), event, has_one);
	BREAK((inject(0xb0d), SET(ENTRY_ERROR_CODE, BIT(16))), "the injected event's error code",
	      "must have bits 31:16 clear");
	BREAK(inject(BIT(12) | 0x306), "the interruption information",
	      "must have bits 30:12 clear");
	PASS((inject(0x480), SET(ENTRY_INSN_LEN, 15)));
	BREAK((inject(0x480), SET(ENTRY_INSN_LEN, 16)), length, "must be 1 to 15");
	BREAK((inject(0x603), SET(ENTRY_INSN_LEN, 0)), length, "must be 1 to 15");
	PASS((inject(0x603), SET(ENTRY_INSN_LEN, 0), vmx_features.misc |= BIT(30)));
	BREAK((inject(0x501), SET(ENTRY_INSN_LEN, 0)), length, "must be 1 to 15");
}

static void events_in_real_mode(void **state)
{
	PASS(inject(0x30d));
	BREAK(inject(0xb0d), "the injected event",
	      "must not have an error code: that is for certain exceptions in protected mode");
}
#undef SECTION

#define SECTION "Checks on Host Control Registers, MSRs, and SSP"
static void host_registers(void **state)
{
	BREAK(OFF(HOST_CR0, CR0_NE), "the host's CR0", vmx_operation);
	BREAK(ON(HOST_CR0, BIT(32)), "the host's CR0", vmx_operation);
	BREAK(OFF(HOST_CR4, CR4_VMXE), "the host's CR4", vmx_operation);
	BREAK(ON(HOST_CR4, BIT(24)), "the host's CR4", vmx_operation);
	BREAK((ON(HOST_CR4, CR4_CET), OFF(HOST_CR0, CR0_WP)), "the host's CR0.WP",
	      "must be 1 with CR4.CET");
	BREAK(ON(HOST_CR3, BIT(46)), "the host's CR3", in_width);
	BREAK(SET(HOST_SYSENTER_ESP, NOT_CANONICAL), "the host's IA32_SYSENTER_ESP", is_canonical);
	BREAK(SET(HOST_SYSENTER_EIP, NOT_CANONICAL), "the host's IA32_SYSENTER_EIP", is_canonical);
	BREAK(SET(HOST_PAT, 2), "the host's IA32_PAT", memory_type);
	PASS((OFF(EXIT_CONTROLS, VMEXIT_LOAD_PAT), SET(HOST_PAT, 2)));
	BREAK(ON(HOST_EFER, EFER_SVME), "the host's IA32_EFER", reserved);
	BREAK(OFF(HOST_EFER, EFER_LMA), "the host's IA32_EFER",
	      "must have LMA and LME as the host address-space size");
	BREAK(OFF(HOST_EFER, EFER_LME), "the host's IA32_EFER",
	      "must have LMA and LME as the host address-space size");
}
#undef SECTION

#define SECTION "Checks on Host Segment and Descriptor-Table Registers"
static void host_segments(void **state)
{
	const char *clear = "must have RPL and TI clear";

	BREAK(SET(HOST_ES_SELECTOR, 1), "the host's ES", clear);
	BREAK(SET(HOST_CS_SELECTOR, 10), "the host's CS", clear);
	BREAK(SET(HOST_SS_SELECTOR, 20), "the host's SS", clear);
	BREAK(SET(HOST_DS_SELECTOR, 3), "the host's DS", clear);
	BREAK(SET(HOST_FS_SELECTOR, 4), "the host's FS", clear);
	BREAK(SET(HOST_GS_SELECTOR, 7), "the host's GS", clear);
	BREAK(SET(HOST_TR_SELECTOR, 28), "the host's TR", clear);
	BREAK(SET(HOST_CS_SELECTOR, 0), "the host's CS", "must not be 0");
	BREAK(SET(HOST_TR_SELECTOR, 0), "the host's TR", "must not be 0");
	PASS(SET(HOST_SS_SELECTOR, 0));
	BREAK(SET(HOST_FS_BASE, NOT_CANONICAL), "the host's FS base", is_canonical);
	BREAK(SET(HOST_GS_BASE, NOT_CANONICAL), "the host's GS base", is_canonical);
	BREAK(SET(HOST_TR_BASE, NOT_CANONICAL), "the host's TR base", is_canonical);
	BREAK(SET(HOST_GDTR_BASE, NOT_CANONICAL), "the host's GDTR base", is_canonical);
	BREAK(SET(HOST_IDTR_BASE, NOT_CANONICAL), "the host's IDTR base", is_canonical);
	PASS((SET(HOST_FS_BASE, NOT_CANONICAL), vmx_features.cr4_fixed1 |= CR4_LA57));
}
#undef SECTION

#define SECTION "Checks Related to Address-Space Size"
static void address_space(void **state)
{
	BREAK(OFF(EXIT_CONTROLS, VMEXIT_HOST_64), "host address-space size",
	      "must be 1 in IA-32e mode");
	BREAK(OFF(HOST_CR4, CR4_PAE), "the host's CR4.PAE", "must be 1 with a 64-bit host");
	BREAK(SET(HOST_RIP, NOT_CANONICAL), "the host's RIP", is_canonical);
}
#undef SECTION

static void leave_long_mode(void)
{
	OFF(ENTRY_CONTROLS, VMENTRY_IA32E);
	SET(GUEST_EFER, 0);
	OFF(GUEST_CS_ACCESS, SEG_L << 4);
	for (u32 i = 0; i < 4; i++)
		put_field(VMCS_GUEST_PDPTE0 + 2 * i, 0);
}

#define SECTION "Checks on Guest Control Registers, Debug Registers, and MSRs"
static void guest_registers(void **state)
{
	BREAK(OFF(GUEST_CR0, CR0_NE), "CR0", vmx_operation);
	BREAK(ON(GUEST_CR0, BIT(40)), "CR0", vmx_operation);
	BREAK(OFF(GUEST_CR4, CR4_VMXE), "CR4", vmx_operation);
	BREAK(ON(GUEST_CR4, BIT(25)), "CR4", vmx_operation);
	BREAK((ON(GUEST_CR4, CR4_CET), OFF(GUEST_CR0, CR0_WP)), "CR0.WP", "must be 1 with CR4.CET");
	BREAK(OFF(GUEST_CR0, CR0_PE), "CR0.PE", "must be 1 with CR0.PG");
	BREAK(SET(GUEST_DEBUGCTL, BIT(3)), "IA32_DEBUGCTL", reserved);
	BREAK(SET(GUEST_DEBUGCTL, BIT(16)), "IA32_DEBUGCTL", reserved);
	BREAK(ON(GUEST_DR7, BIT(32)), "DR7", "must have bits 63:32 clear");
	BREAK(OFF(GUEST_CR0, CR0_PG), "CR0.PG", "must be 1 in IA-32e mode");
	BREAK(OFF(GUEST_CR4, CR4_PAE), "CR4.PAE", "must be 1 in IA-32e mode");
	PASS(ON(GUEST_CR4, CR4_PCIDE));
	BREAK((leave_long_mode(), ON(GUEST_CR4, CR4_PCIDE)), "CR4.PCIDE",
	      "must be 0 outside IA-32e mode");
	BREAK(ON(GUEST_CR3, BIT(46)), "CR3", in_width);
	BREAK(SET(GUEST_SYSENTER_ESP, NOT_CANONICAL), "IA32_SYSENTER_ESP", is_canonical);
	BREAK(SET(GUEST_SYSENTER_EIP, NOT_CANONICAL), "IA32_SYSENTER_EIP", is_canonical);
	BREAK(SET(GUEST_PAT, 0x0800000000000000), "IA32_PAT", memory_type);
	BREAK(ON(GUEST_EFER, BIT(9)), "IA32_EFER", reserved);
	BREAK(SET(GUEST_EFER, 0), "IA32_EFER.LMA", "must be as IA-32e mode guest");
	BREAK(SET(GUEST_EFER, EFER_LMA), "IA32_EFER.LMA", "must be as LME while CR0.PG is 1");
	BREAK((ON(ENTRY_CONTROLS, VMENTRY_LOAD_BNDCFGS), SET(GUEST_BNDCFGS, 4)), "IA32_BNDCFGS",
	      "must be canonical and have no reserved bit set");
	PASS((ON(ENTRY_CONTROLS, VMENTRY_LOAD_BNDCFGS), SET(GUEST_BNDCFGS, 0x1003)));
}

/* Paging off is for an unrestricted guest only; LME alone is no rule's matter then. */
static void guest_registers_real_mode(void **state)
{
	PASS(SET(GUEST_EFER, EFER_LME));
	BREAK(ON(GUEST_CR0, CR0_PG), "CR0.PE", "must be 1 with CR0.PG");
	save();
	OFF(CPU_CONTROLS2, CPU2_UNRESTRICTED);
	SET(GUEST_CR0, CR0_ET | CR0_NE | CR0_PE);
	valid_segment(SEG_CS, 0, 0xffff, 0x9b);
	refuse(__LINE__, SECTION, "CR0", vmx_operation);
}
#undef SECTION

#define SECTION "Checks on Guest Segment Registers"
static void common_segment_rules(enum seg seg, const char *name, bool system)
{
	u32 access = VMCS_GUEST_ES_ACCESS + 2 * seg, limit = VMCS_GUEST_ES_LIMIT + 2 * seg;

	BREAK(put_field(access, field(access) ^ SEG_S), name,
	      system ? "must be a system segment (S 0)" : "must be a code or data segment (S 1)");
	BREAK(put_field(access, field(access) & ~(u64)SEG_P), name, "must be present");
	BREAK(put_field(access, field(access) | BIT(8)), name,
	      "must have the reserved access rights clear");
	BREAK(put_field(access, field(access) | BIT(17)), name,
	      "must have the reserved access rights clear");
	BREAK((put_field(access, field(access) | SEG_G << 4), put_field(limit, 0xfffffffe)), name,
	      "must have G 0 as its limit does not end a page");
	BREAK((put_field(access, field(access) & ~(u64)(SEG_G << 4)), put_field(limit, 0x100000)),
	      name, "must have G 1 as its limit is beyond 1 MiB");
}

static void code_segment(void **state)
{
	const char *accessed = "must be accessed code, or writable data in an unrestricted guest";

	common_segment_rules(SEG_CS, "CS", false);
	BREAK(ON(GUEST_CS_BASE, BIT(32)), "CS", "must have base bits 63:32 clear");
	BREAK(SET(GUEST_CS_ACCESS, 0xa09a), "CS", accessed);
	BREAK(SET(GUEST_CS_ACCESS, 0xa097), "CS", accessed);
	PASS(SET(GUEST_CS_ACCESS, 0xc093));
	BREAK(SET(GUEST_CS_ACCESS, 0xc0f3), "CS", "must have DPL 0 as data");
	BREAK(SET(GUEST_CS_ACCESS, 0xa0fb), "CS", "must have SS's DPL");
	BREAK(SET(GUEST_CS_ACCESS, 0xa0ff), "CS",
	      "must have a DPL of at most SS's as conforming code");
	PASS((SET(GUEST_CS_ACCESS, 0xa09f), SET(GUEST_SS_ACCESS, 0xc0f3)));
	BREAK(SET(GUEST_CS_ACCESS, 0xe09b), "CS", "must have D 0 with L in IA-32e mode");
	PASS((leave_long_mode(), SET(GUEST_CS_ACCESS, 0xe09b)));
}

static void stack_segment(void **state)
{
	common_segment_rules(SEG_SS, "SS", false);
	BREAK(ON(GUEST_SS_BASE, BIT(32)), "SS", "must have base bits 63:32 clear");
	PASS(SET(GUEST_SS_ACCESS, 0xc097));
	BREAK(SET(GUEST_SS_ACCESS, 0xc09b), "SS", "must be accessed writable data");
	BREAK(SET(GUEST_SS_ACCESS, 0xc092), "SS", "must be accessed writable data");
	PASS(SET(GUEST_SS_ACCESS, ACCESS_UNUSABLE));
	BREAK((SET(GUEST_CS_ACCESS, 0xc093), SET(GUEST_SS_ACCESS, 0xc0b3)), "SS",
	      "must have DPL 0 in real mode or while CS is data");
}

static void data_segments(void **state)
{
	const char *accessed = "must be accessed, and readable if it is code";

	common_segment_rules(SEG_DS, "DS", false);
	common_segment_rules(SEG_ES, "ES", false);
	common_segment_rules(SEG_GS, "GS", false);
	BREAK(ON(GUEST_DS_BASE, BIT(40)), "DS", "must have base bits 63:32 clear");
	BREAK(ON(GUEST_ES_BASE, BIT(32)), "ES", "must have base bits 63:32 clear");
	PASS((SET(GUEST_DS_ACCESS, ACCESS_UNUSABLE), ON(GUEST_DS_BASE, BIT(40))));
	PASS(SET(GUEST_GS_BASE, 0xffff800000000000));
	BREAK(SET(GUEST_GS_BASE, NOT_CANONICAL), "GS", "must have a canonical base");
	BREAK(SET(GUEST_FS_BASE, NOT_CANONICAL), "FS", "must have a canonical base");
	BREAK(SET(GUEST_DS_ACCESS, 0xc092), "DS", accessed);
	BREAK(SET(GUEST_DS_ACCESS, 0xc099), "DS", accessed);
	PASS(SET(GUEST_DS_ACCESS, 0xc09b));
}

/* The RPLs count only where a guest is restricted. */
static void privilege_levels(void **state)
{
	PASS(SET(GUEST_SS_SELECTOR, 0x1b));
	PASS(SET(GUEST_DS_SELECTOR, 0x1b));
	OFF(CPU_CONTROLS2, CPU2_UNRESTRICTED);
	BREAK(SET(GUEST_CS_ACCESS, 0xc093), "CS",
	      "must be accessed code, or writable data in an unrestricted guest");
	BREAK(SET(GUEST_CS_SELECTOR, 0x13), "SS", "must have CS's RPL");
	BREAK((SET(GUEST_SS_SELECTOR, 0x1b), SET(GUEST_CS_SELECTOR, 0x13)), "SS",
	      "must have its RPL as DPL");
	BREAK(SET(GUEST_DS_SELECTOR, 0x1b), "DS", "must have a DPL of at least its RPL");
	PASS((SET(GUEST_DS_SELECTOR, 0x1b), SET(GUEST_DS_ACCESS, 0xc09f))); /* conforming */
}

static void real_mode_segments(void **state)
{
	BREAK((SET(GUEST_CS_ACCESS, 0x9f), SET(GUEST_SS_ACCESS, 0xb3)), "SS",
	      "must have DPL 0 in real mode or while CS is data");
}

static void virtual_8086_segments(void **state)
{
	static const char *const names[] = {"ES", "CS", "SS", "DS", "FS", "GS"};

	for (u32 i = 0; i < ARRAY_SIZE(names); i++) {
		BREAK(put_field(VMCS_GUEST_ES_BASE + 2 * i, 0x10031), names[i],
		      "must have its selector times 16 as base in virtual-8086 mode");
		BREAK(put_field(VMCS_GUEST_ES_LIMIT + 2 * i, 0xfffff), names[i],
		      "must have limit FFFF in virtual-8086 mode");
		BREAK(put_field(VMCS_GUEST_ES_ACCESS + 2 * i, 0x93), names[i],
		      "must have access rights F3 in virtual-8086 mode");
	}
}

static void system_segments(void **state)
{
	const char *tss = "must be a busy TSS, a 64-bit one in IA-32e mode";

	common_segment_rules(SEG_TR, "TR", true);
	BREAK(ON(GUEST_TR_SELECTOR, 4), "TR", "must have TI clear");
	BREAK(SET(GUEST_TR_BASE, NOT_CANONICAL), "TR", "must have a canonical base");
	BREAK(SET(GUEST_TR_ACCESS, 0x89), "TR", tss);
	BREAK(SET(GUEST_TR_ACCESS, 0x83), "TR", tss);
	PASS((leave_long_mode(), SET(GUEST_TR_ACCESS, 0x83)));
	BREAK(ON(GUEST_TR_ACCESS, ACCESS_UNUSABLE), "TR", "must be usable");
	PASS(ON(GUEST_LDTR_SELECTOR, 4));
	valid_segment(SEG_LDTR, 0x28, 0xffff, 0x82);
	common_segment_rules(SEG_LDTR, "LDTR", true);
	BREAK(ON(GUEST_LDTR_SELECTOR, 4), "LDTR", "must have TI clear");
	BREAK(SET(GUEST_LDTR_BASE, NOT_CANONICAL), "LDTR", "must have a canonical base");
	BREAK(SET(GUEST_LDTR_ACCESS, 0x83), "LDTR", "must be an LDT");
}
#undef SECTION

#define SECTION "Checks on Guest Descriptor-Table Registers"
static void guest_tables(void **state)
{
	BREAK(SET(GUEST_GDTR_BASE, NOT_CANONICAL), "the GDTR's base", is_canonical);
	BREAK(SET(GUEST_IDTR_BASE, NOT_CANONICAL), "the IDTR's base", is_canonical);
	BREAK(SET(GUEST_GDTR_LIMIT, 0x10000), "the GDTR's limit", "must have bits 31:16 clear");
	BREAK(SET(GUEST_IDTR_LIMIT, 0x10000), "the IDTR's limit", "must have bits 31:16 clear");
}
#undef SECTION

#define SECTION "Checks on Guest RIP, RFLAGS, and SSP"
static void guest_rip(void **state)
{
	const char *as_they_are = "must have the reserved bits as they are";

	PASS(SET(GUEST_RIP, 0xffff800000000000));
	BREAK(SET(GUEST_RIP, NOT_CANONICAL), "RIP", "must be canonical in 64-bit mode");
	BREAK((SET(GUEST_RIP, BIT(32)), SET(GUEST_CS_ACCESS, 0xc09b)), "RIP",
	      "must have bits 63:32 clear outside 64-bit mode");
	BREAK(OFF(GUEST_RFLAGS, RFLAGS_ONE), "RFLAGS", as_they_are);
	BREAK(ON(GUEST_RFLAGS, BIT(3)), "RFLAGS", as_they_are);
	BREAK(ON(GUEST_RFLAGS, BIT(5)), "RFLAGS", as_they_are);
	BREAK(ON(GUEST_RFLAGS, BIT(15)), "RFLAGS", as_they_are);
	BREAK(ON(GUEST_RFLAGS, BIT(22)), "RFLAGS", as_they_are);
	PASS(SET(GUEST_RFLAGS, 0x3f7fd7 & ~(u64)RFLAGS_VM));
	BREAK(inject(0x31), "RFLAGS.IF", "must be 1 when an external interrupt is injected");
	PASS((inject(0x31), ON(GUEST_RFLAGS, RFLAGS_IF)));
	BREAK(inject(0), "RFLAGS.IF", "must be 1 when an external interrupt is injected");
}

static void virtual_8086_mode(void **state)
{
	BREAK((ON(ENTRY_CONTROLS, VMENTRY_IA32E), SET(GUEST_EFER, EFER_LMA | EFER_LME)),
	      "RFLAGS.VM", "must be 0 in IA-32e and in real mode");
}
#undef SECTION

#define SECTION "Checks on Guest Non-Register State"
static void activity(void **state)
{
	const char *subject = "the activity state";
	const char *for_event = "must be active for the event that is injected";

	ON(GUEST_RFLAGS, RFLAGS_IF);
	PASS(SET(GUEST_ACTIVITY, ACTIVITY_SHUTDOWN));
	BREAK(SET(GUEST_ACTIVITY, 4), subject, supported);
	BREAK((SET(GUEST_ACTIVITY, ACTIVITY_WAIT_FOR_SIPI), vmx_features.misc &= ~BIT(8)), subject,
	      supported);
	BREAK((SET(GUEST_ACTIVITY, ACTIVITY_HLT), SET(GUEST_SS_ACCESS, 0xc0f3),
	       SET(GUEST_CS_ACCESS, 0xa0fb)),
	      subject, "must not be HLT unless SS's DPL is 0");
	BREAK((SET(GUEST_ACTIVITY, ACTIVITY_SHUTDOWN), SET(GUEST_INTERRUPTIBILITY, BLOCKED_BY_STI)),
	      subject, "must be active with blocking by STI or MOV SS");
	PASS((SET(GUEST_ACTIVITY, ACTIVITY_HLT), inject(0x31)));
	PASS((SET(GUEST_ACTIVITY, ACTIVITY_HLT), inject(0x202)));
	PASS((SET(GUEST_ACTIVITY, ACTIVITY_HLT), inject(0x301)));
	PASS((SET(GUEST_ACTIVITY, ACTIVITY_HLT), inject(0x312)));
	BREAK((SET(GUEST_ACTIVITY, ACTIVITY_HLT), inject(0x306)), subject, for_event);
	PASS((SET(GUEST_ACTIVITY, ACTIVITY_SHUTDOWN), inject(0x202)));
	PASS((SET(GUEST_ACTIVITY, ACTIVITY_SHUTDOWN), inject(0x312)));
	BREAK((SET(GUEST_ACTIVITY, ACTIVITY_SHUTDOWN), inject(0x31)), subject, for_event);
	BREAK((SET(GUEST_ACTIVITY, ACTIVITY_WAIT_FOR_SIPI), inject(0x202)), subject, for_event);
}

static void interruptibility(void **state)
{
	const char *injected = "must be 0 when an interrupt or an NMI is injected";

	BREAK(SET(GUEST_INTERRUPTIBILITY, BIT(5)), "the interruptibility state", reserved);
	BREAK(SET(GUEST_INTERRUPTIBILITY, BLOCKED_BY_STI), "blocking by STI",
	      "must be 0 while RFLAGS.IF is 0");
	ON(GUEST_RFLAGS, RFLAGS_IF);
	PASS(SET(GUEST_INTERRUPTIBILITY, BLOCKED_BY_STI | BLOCKED_BY_NMI));
	BREAK(SET(GUEST_INTERRUPTIBILITY, BLOCKED_BY_STI | BLOCKED_BY_MOV_SS), "blocking by STI",
	      "must not come with blocking by MOV SS");
	BREAK((SET(GUEST_INTERRUPTIBILITY, BLOCKED_BY_STI), inject(0x31)), "blocking by STI",
	      injected);
	BREAK((SET(GUEST_INTERRUPTIBILITY, BLOCKED_BY_STI), inject(0x202)), "blocking by STI",
	      injected);
	PASS((SET(GUEST_INTERRUPTIBILITY, BLOCKED_BY_STI), inject(0x306)));
	BREAK((SET(GUEST_INTERRUPTIBILITY, BLOCKED_BY_MOV_SS), inject(0x31)), "blocking by MOV SS",
	      injected);
	BREAK((SET(GUEST_INTERRUPTIBILITY, BLOCKED_BY_MOV_SS), inject(0x202)), "blocking by MOV SS",
	      injected);
	BREAK(SET(GUEST_INTERRUPTIBILITY, BLOCKED_BY_SMI), "blocking by SMI",
	      "must be 0 outside SMM");
	BREAK((SET(GUEST_INTERRUPTIBILITY, BLOCKED_BY_NMI), inject(0x202)), "blocking by NMI",
	      "must be 0 when a virtual NMI is injected");
}

static void pending_debug(void **state)
{
	const char *subject = "the pending debug exceptions";
	const char *bs = "the pending debug exceptions' BS";
	const char *tf = "must be RFLAGS.TF without BTF while halted or blocked by STI or MOV SS";
	const char *rtm = "the pending debug exceptions' RTM";
	const char *alone = "must come with bit 12 alone, and not after MOV SS";

	PASS(SET(GUEST_PENDING_DEBUG, DR6_BS | BIT(12) | 0xf));
	BREAK(SET(GUEST_PENDING_DEBUG, BIT(4)), subject, reserved);
	BREAK(SET(GUEST_PENDING_DEBUG, BIT(13)), subject, reserved);
	BREAK(SET(GUEST_PENDING_DEBUG, BIT(17)), subject, reserved);
	PASS(SET(GUEST_PENDING_DEBUG, BIT(16) | BIT(12)));
	BREAK(SET(GUEST_PENDING_DEBUG, BIT(16)), rtm, alone);
	BREAK((SET(GUEST_PENDING_DEBUG, BIT(16) | BIT(12)),
	       SET(GUEST_INTERRUPTIBILITY, BLOCKED_BY_MOV_SS)),
	      rtm, alone);
	PASS(ON(GUEST_RFLAGS, RFLAGS_TF));
	BREAK((ON(GUEST_RFLAGS, RFLAGS_TF), SET(GUEST_INTERRUPTIBILITY, BLOCKED_BY_MOV_SS)), bs,
	      tf);
	BREAK((ON(GUEST_RFLAGS, RFLAGS_TF), SET(GUEST_ACTIVITY, ACTIVITY_HLT)), bs, tf);
	BREAK((SET(GUEST_PENDING_DEBUG, DR6_BS), SET(GUEST_ACTIVITY, ACTIVITY_HLT)), bs, tf);
	PASS((ON(GUEST_RFLAGS, RFLAGS_TF), SET(GUEST_DEBUGCTL, DEBUGCTL_BTF),
	      SET(GUEST_ACTIVITY, ACTIVITY_HLT)));
	BREAK(SET(LINK_POINTER, 0x1000), "the VMCS link pointer", "must be all ones");
}
#undef SECTION

#define SECTION "Checks on Guest Page-Directory-Pointer-Table Entries"
static void pdptes(void **state)
{
	static const char *const names[] = {"PDPTE 0", "PDPTE 1", "PDPTE 2", "PDPTE 3"};

	PASS(SET(GUEST_PDPTE0, BIT(63) | PTE_P)); /* long mode: not used */
	leave_long_mode();
	for (u32 i = 0; i < ARRAY_SIZE(names); i++) {
		u32 entry = VMCS_GUEST_PDPTE0 + 2 * i;

		PASS(put_field(entry, 0x3019));
		PASS(put_field(entry, ~(u64)PTE_P));
		BREAK(put_field(entry, 0x3003), names[i], reserved);
		BREAK(put_field(entry, 0x3101), names[i], reserved);
		BREAK(put_field(entry, BIT(46) | PTE_P), names[i], reserved);
	}
}
#undef SECTION

static void expect_lines(const char *const *lines, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!strstr(log_text, lines[i]))
			fail_msg("\"%s\" is not in:\n%s", lines[i], log_text);
}

static void dump(void **state)
{
	static const char *const lines[] = {
		"broken: the VPID must not be 0 (SDM vol. 3, VM-Execution Control Fields)\n",
		"broken: CR3 must be within the physical address width: 400000000000 (SDM",
		"exit reason 00000030 EPT_VIOLATION\n",
		"cut short 80000306 exception, vector 6\n",
		"to be injected 80000b0e exception, vector 14, error code\n",
		"PIN_CONTROLS 000000000000003f EXTERNAL_INTR NMI VIRTUAL_NMIS\n",
		"GUEST_CR4 0000000000002020 PAE VMXE\n",
		"GUEST_EFER 0000000000000500 LME LMA\n",
		"GUEST_INTERRUPTIBILITY 0000000000000008 NMI\n",
		"CS 0010 base 0000000000000000 limit ffffffff access 0a09b type b S P L G dpl 0\n",
		"FS 0000 base 0000000000000000 limit 00000000 access 10000 type 0 unusable dpl 0\n",
		"HOST_CR3 0000000000007000\n",
	};

	SET(VPID, 0);
	ON(GUEST_CR3, BIT(46));
	SET(GUEST_INTERRUPTIBILITY, BLOCKED_BY_NMI);
	SET(VECTORING_INFO, 0x80000306);
	inject(0xb0e);
	set_exit(VMX_EPT_VIOLATION, 0);
	vmx_dump(&vcpu);
	expect_lines(lines, ARRAY_SIZE(lines));
	assert_null(strstr(log_text, "entry failed"));
	assert_null(strstr(log_text, "VM-instruction error"));
	assert_null(strstr(log_text, "PML_ADDRESS")); /* not in use, perhaps not there */
}

static void entry_failures(void **state)
{
	static const struct {
		u32 reason;
		u64 qualification;
		const char *line;
	} cases[] = {
		{VMX_INVALID_GUEST_STATE, 0, "failed at: a rule on the guest state\n"},
		{VMX_INVALID_GUEST_STATE, 2, "failed at: loading the PDPTEs\n"},
		{VMX_INVALID_GUEST_STATE, 3,
		 "failed at: an NMI injected while STI blocks events\n"},
		{VMX_INVALID_GUEST_STATE, 4, "failed at: the VMCS link pointer\n"},
		{VMX_INVALID_GUEST_STATE, 5, "failed at: the guest state\n"},
		{VMX_MSR_LOADING, 3, "failed at: entry 3 of the MSR-load area\n"},
		{VMX_ENTRY_MACHINE_CHECK, 0, "failed at: a machine check\n"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		log_text[0] = 0;
		set_exit(cases[i].reason | EXIT_REASON_ENTRY_FAILED, cases[i].qualification);
		vmx_dump(&vcpu);
		expect_lines(&cases[i].line, 1);
	}
}

static void instruction_errors(void **state)
{
	static const u8 missing[] = {0, 14, 21, 27, 29, 255};
	static const char *const line[] = {
		"last VM-instruction error 8: VM entry with an invalid host-state field\n"};

	for (u32 i = 1; i <= 28; i++)
		if (!memchr(missing, i, sizeof(missing)))
			assert_string_not_equal(vmx_insn_error(i), "not in the manual's table");
	for (size_t i = 0; i < ARRAY_SIZE(missing); i++)
		assert_string_equal(vmx_insn_error(missing[i]), "not in the manual's table");
	SET(INSN_ERROR, 8);
	vmx_dump(&vcpu);
	expect_lines(line, 1);
}

/* A control that the processor lacks: its fields may not exist, so they are not read. */
static void missing_fields_are_not_read(void **state)
{
	vmx_features.cpu2.zero |= CPU2_VPID | CPU2_PML;
	ON(CPU_CONTROLS2, CPU2_PML);
	SET(VPID, 0);
	vmx_dump(&vcpu);
	assert_null(strstr(log_text, "broken: the VPID"));
	assert_null(strstr(log_text, "  VPID"));
	assert_null(strstr(log_text, "PML_ADDRESS"));
	assert_non_null(strstr(log_text, "the secondary processor-based controls"));
}

static void fields_are_in_order(void **state)
{
	for (const struct vmx_field *f = vmx_fields; f->name; f++) {
		assert_true(field_exists(f->field));
		assert_true(!f[1].name || f[1].field > f->field);
		assert_int_equal(f->word == VMX_WORD_NONE, f->control == 0);
	}
}

static void check_entry_names_rules(void **state)
{
	vmx_check_before(&vcpu);
	assert_string_equal(log_text, "");
	SET(VPID, 0);
	vmx_check_before(&vcpu);
	assert_non_null(strstr(log_text, "check=entry: the processor will refuse this VMCS:\n"));
	assert_non_null(strstr(log_text, "the VPID must not be 0"));
}

/* What setup.c and regs.c make of a new vCPU, and of one that starts in real mode. */
static void at_reset(void **state)
{
	struct segment real = {.limit = 0xffff, .attr = SEG_P | SEG_S | 3};
	struct segment ldt = {.limit = 0xffff, .attr = SEG_P | 2};
	struct segment tss = {.limit = 0xffff, .attr = SEG_P | 11};

	valid_addresses();
	valid_host();
	SET(VPID, 1);
	log_text[0] = 0;
	vmx_set(&vcpu, VREG_CR0, CR0_ET);
	for (enum seg seg = SEG_ES; seg <= SEG_GS; seg++)
		vmx_set_segment(&vcpu, seg, &real);
	vmx_set_segment(&vcpu, SEG_LDTR, &ldt);
	vmx_set_segment(&vcpu, SEG_TR, &tss);
	accept();
	virt_check_entry = true;
	vmx_load(&vcpu, &cpu0);
	set_exit(VMX_HLT, 0);
	enter();
	assert_null(strstr(log_text, "check=entry"));
}

#define VALID(f) cmocka_unit_test_setup_teardown(f, setup_valid, teardown)
#define REAL(f)	 cmocka_unit_test_setup_teardown(f, setup_real_mode, teardown)
#define V8086(f) cmocka_unit_test_setup_teardown(f, setup_virtual_8086, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		VALID(execution_controls),
		VALID(ept_rules),
		VALID(apic_rules),
		VALID(exit_controls),
		VALID(entry_controls),
		VALID(event_rules),
		REAL(events_in_real_mode),
		VALID(host_registers),
		VALID(host_segments),
		VALID(address_space),
		VALID(guest_registers),
		REAL(guest_registers_real_mode),
		VALID(code_segment),
		VALID(stack_segment),
		VALID(data_segments),
		VALID(privilege_levels),
		REAL(real_mode_segments),
		V8086(virtual_8086_segments),
		VALID(system_segments),
		VALID(guest_tables),
		VALID(guest_rip),
		V8086(virtual_8086_mode),
		VALID(activity),
		VALID(interruptibility),
		VALID(pending_debug),
		VALID(pdptes),
		VALID(dump),
		VALID(entry_failures),
		VALID(instruction_errors),
		VALID(missing_fields_are_not_read),
		VALID(fields_are_in_order),
		VALID(check_entry_names_rules),
		cmocka_unit_test_setup_teardown(at_reset, setup_child, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
