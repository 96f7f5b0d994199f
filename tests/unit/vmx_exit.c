// SPDX-License-Identifier: MIT
/* Every basic exit reason of the manual's appendix: who answers, who is intercepted, decoding. */
#include "tests/unit/vmx.h"

enum { N, A, U, K }; /* never, always by its control, no control of its own, asked for */

/* Written from the manual's appendix, independently of the backend's table. */
struct row {
	u32 reason;
	enum exit_reason neutral;
	bool length;
	u8 management, child;
	u8 word; /* 0: pin, 1: cpu, 2: cpu2 */
	u8 bit;
};

static const struct row rows[] = {
	{1, EXIT_INTR, 0, N, A, 0, 0},
	{2, EXIT_TRIPLE_FAULT, 0, U, U, 0, 0},
	{3, EXIT_INIT, 0, U, U, 0, 0},
	{4, EXIT_SIPI, 0, U, U, 0, 0},
	{5, EXIT_SMI, 0, U, U, 0, 0},
	{6, EXIT_SMI, 0, U, U, 0, 0},
	{7, EXIT_INTR_WINDOW, 0, N, N, 1, 2},
	{8, EXIT_NMI_WINDOW, 0, N, N, 1, 22},
	{10, EXIT_CPUID, 1, U, U, 0, 0},
	{11, EXIT_VIRT_INSN, 1, U, U, 0, 0},
	{12, EXIT_HLT, 1, N, A, 1, 7},
	{13, EXIT_INVD, 1, U, U, 0, 0},
	{14, EXIT_INVLPG, 1, N, N, 1, 9},
	{15, EXIT_RDPMC, 1, N, A, 1, 11},
	{16, EXIT_RDTSC, 1, N, N, 1, 12},
	{17, EXIT_VIRT_INSN, 1, U, U, 0, 0},
	{18, EXIT_HYPERCALL, 1, U, U, 0, 0},
	{19, EXIT_VIRT_INSN, 1, U, U, 0, 0},
	{20, EXIT_VIRT_INSN, 1, U, U, 0, 0},
	{21, EXIT_VIRT_INSN, 1, U, U, 0, 0},
	{22, EXIT_VIRT_INSN, 1, U, U, 0, 0},
	{23, EXIT_VIRT_INSN, 1, U, U, 0, 0},
	{24, EXIT_VIRT_INSN, 1, U, U, 0, 0},
	{25, EXIT_VIRT_INSN, 1, U, U, 0, 0},
	{26, EXIT_VIRT_INSN, 1, U, U, 0, 0},
	{27, EXIT_VIRT_INSN, 1, U, U, 0, 0},
	{28, EXIT_CR_WRITE, 1, U, U, 0, 0},
	{29, EXIT_DR_WRITE, 1, N, K, 1, 23}, /* a child's DRs are not live at first */
	{30, EXIT_IO, 1, A, A, 1, 25},
	{31, EXIT_RDMSR, 1, A, A, 1, 28},
	{32, EXIT_WRMSR, 1, A, A, 1, 28},
	{33, EXIT_INVALID, 0, U, U, 0, 0},
	{34, EXIT_INVALID, 0, U, U, 0, 0},
	{36, EXIT_MWAIT, 1, N, A, 1, 10},
	{37, EXIT_UNKNOWN, 0, N, N, 1, 27},
	{39, EXIT_MONITOR, 1, N, A, 1, 29},
	{40, EXIT_PAUSE, 1, N, N, 1, 30},
	{41, EXIT_MCE, 0, U, U, 0, 0},
	{43, EXIT_TPR_BELOW, 0, U, U, 0, 0},
	{44, EXIT_APIC_ACCESS, 0, N, N, 2, 0},
	{45, EXIT_UNKNOWN, 0, N, N, 2, 9},
	{46, EXIT_DESC_TABLE, 1, N, N, 2, 2},
	{47, EXIT_DESC_TABLE, 1, N, N, 2, 2},
	{48, EXIT_SLAT, 0, A, A, 2, 1},
	{49, EXIT_SLAT_MISCONFIG, 0, A, A, 2, 1},
	{50, EXIT_VIRT_INSN, 1, U, U, 0, 0},
	{51, EXIT_RDTSCP, 1, N, N, 1, 12},
	{52, EXIT_PREEMPT_TIMER, 0, N, N, 0, 6},
	{53, EXIT_VIRT_INSN, 1, U, U, 0, 0},
	{54, EXIT_WBINVD, 1, N, A, 2, 6},
	{55, EXIT_XSETBV, 1, U, U, 0, 0},
	{56, EXIT_UNKNOWN, 0, N, N, 2, 8},
	{57, EXIT_RDRAND, 1, N, N, 2, 11},
	{58, EXIT_INVPCID, 1, N, N, 1, 9},
	{59, EXIT_VIRT_INSN, 1, N, N, 2, 13},
	{60, EXIT_VIRT_INSN, 1, N, A, 2, 15},
	{61, EXIT_RDSEED, 1, N, N, 2, 16},
	{62, EXIT_PML_FULL, 0, N, N, 2, 17},
	{63, EXIT_XSAVES, 1, U, U, 0, 0},
	{64, EXIT_XRSTORS, 1, U, U, 0, 0},
	{65, EXIT_VIRT_INSN, 1, N, N, 2, 27},
	{66, EXIT_UNKNOWN, 0, N, N, 2, 23},
	{67, EXIT_VIRT_INSN, 1, N, N, 1, 12},
	{68, EXIT_VIRT_INSN, 1, N, N, 1, 12},
	{69, EXIT_VIRT_INSN, 1, N, N, 1, 17},
	{70, EXIT_VIRT_INSN, 1, N, A, 2, 28},
	{72, EXIT_VIRT_INSN, 1, N, N, 2, 21},
	{73, EXIT_VIRT_INSN, 1, N, N, 2, 21},
	{74, EXIT_UNKNOWN, 0, N, N, 2, 30},
	{75, EXIT_UNKNOWN, 0, N, N, 2, 31},
	{76, EXIT_VIRT_INSN, 1, U, U, 0, 0},
	{77, EXIT_VIRT_INSN, 1, U, U, 0, 0},
	{78, EXIT_VIRT_INSN, 1, N, N, 1, 17},
	{79, EXIT_VIRT_INSN, 1, N, N, 1, 17},
};

static void check_row(const struct row *row, const struct vmx_controls *c, bool child)
{
	const u32 words[] = {c->pin, c->cpu, c->cpu2};
	const u32 live[] = {vmx_of(&vcpu)->pin, vmx_of(&vcpu)->cpu, vmx_of(&vcpu)->cpu2};
	u8 policy = child ? row->child : row->management;
	bool wanted = policy == A;

	put_field(VMCS_EXIT_INSN_LEN, 3);
	if (decode(row->reason, 0)->reason != row->neutral)
		fail_msg("reason %u: %u", row->reason, last.reason);
	if (last.insn_len != (row->length ? 3 : 0))
		fail_msg("reason %u: length %u", row->reason, last.insn_len);
	assert_string_not_equal(vmx_exit_name(row->reason), "not in the manual's table");
	if (policy == U)
		return;
	if ((words[row->word] >> row->bit & 1) != wanted)
		fail_msg("reason %u: control %d", row->reason, !wanted);
	if ((live[row->word] >> row->bit & 1) != (wanted || policy == K))
		fail_msg("reason %u: control in the VMCS %d", row->reason, !wanted);
}

static void every_reason(bool child)
{
	struct vmx_controls c = {0};
	u32 count = 0;

	vmx_static_intercepts(child ? VIRT_CHILD : VIRT_MANAGEMENT, &c);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++, count++)
		check_row(&rows[i], &c, child);
	/* 35, 38, 42 and 71 are reserved; exceptions and task switches are below. */
	assert_int_equal(count, 80 - 4 - 2);
	assert_true(c.pin & PIN_NMI);
	assert_int_equal(c.exceptions, child ? BIT(1) | BIT(17) | BIT(18) : 0);
}

static void reasons_child(void **state)
{
	every_reason(true);
}

static void reasons_management(void **state)
{
	every_reason(false);
}

static void reasons_unlisted(void **state)
{
	static const u32 unlisted[] = {35, 38, 42, 71, 80, 0xffff};

	for (size_t i = 0; i < ARRAY_SIZE(unlisted); i++) {
		assert_int_equal(decode(unlisted[i], 0)->reason, EXIT_UNKNOWN);
		assert_int_equal(last.raw, unlisted[i]);
		assert_string_equal(vmx_exit_name(unlisted[i]), "not in the manual's table");
	}
}

static void failed_entries(void **state)
{
	const struct vm_exit *e = decode(0x80000021, 2);

	assert_int_equal(e->reason, EXIT_INVALID);
	assert_int_equal(e->raw, 0x80000021);
	assert_int_equal(e->info1, 2);
	assert_int_equal(e->insn_len, 0);
	assert_int_equal(decode(0x80000022, 1)->reason, EXIT_INVALID);
	assert_int_equal(decode(0x80000029, 0)->reason, EXIT_MCE);
	assert_string_equal(vmx_exit_name(0x80000021), "INVALID_GUEST_STATE");
}

/* What an exit of an instruction costs: its length, RFLAGS and the interruptibility. */
static void few_fields(void **state)
{
	put_field(VMCS_EXIT_INSN_LEN, 2);
	put_field(VMCS_GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
	vmreads = vmwrites = 0;
	assert_int_equal(decode(VMX_CPUID, 77)->insn_len, 2);
	assert_int_equal(vmreads, 3);
	assert_int_equal(vmwrites, 0);
	assert_int_equal(vcpu.rflags, RFLAGS_ONE | RFLAGS_IF);
	assert_int_equal(last.info1, 0);
	assert_int_equal(last.raw, VMX_CPUID);
	assert_int_equal(last.vectoring.type, EVENT_NONE);
	assert_int_equal(last.insn_bytes_len, 0);
	assert_false(last.code_known);
	vmreads = 0;
	decode(VMX_EXTERNAL_INTR, 0);
	assert_int_equal(vmreads, 2);
	put_field(VMCS_EXIT_INSN_LEN, 16); /* a length that no instruction has */
	assert_int_equal(decode(VMX_CPUID, 0)->insn_len, 0);
}

/* Only the kernel's hypercalls are Keel's: CPL 0 in protected mode. */
static void caller(void **state)
{
	static const struct {
		u32 dpl;
		u64 cr0;
		u8 caller;
	} cases[] = {
		{0, CR0_PE, CALLER_KERNEL},
		{3, CR0_PE, CALLER_OTHER},
		{1, CR0_PE, CALLER_OTHER},
		{0, 0, CALLER_OTHER},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		put_field(VMCS_GUEST_SS_ACCESS, 0x93 | cases[i].dpl << 5);
		put_field(VMCS_GUEST_CR0, cases[i].cr0 | CR0_NE);
		put_field(VMCS_EXIT_INSN_LEN, 3);
		assert_int_equal(decode(VMX_VMCALL, 0)->insn_len, 3);
		assert_int_equal(vcpu.caller, cases[i].caller);
	}
}

static void quiet(void **state)
{
	static const struct {
		u64 rflags;
		u32 blocked;
		bool quiet;
	} cases[] = {
		{RFLAGS_ONE | RFLAGS_IF, 0, true},
		{RFLAGS_ONE | RFLAGS_RF, 0, false},
		{RFLAGS_ONE | RFLAGS_TF, 0, false},
		{RFLAGS_ONE | RFLAGS_IF, BLOCKED_BY_STI, false},
		{RFLAGS_ONE, BLOCKED_BY_MOV_SS, false},
		{RFLAGS_ONE, BLOCKED_BY_NMI | BLOCKED_BY_SMI, true},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		put_field(VMCS_GUEST_RFLAGS, cases[i].rflags);
		put_field(VMCS_GUEST_INTERRUPTIBILITY, cases[i].blocked);
		vcpu.quiet = !cases[i].quiet;
		decode(VMX_CPUID, 0);
		assert_int_equal(vcpu.quiet, cases[i].quiet);
		decode(VMX_IO, 0);
		assert_int_equal(vcpu.rflags, cases[i].rflags);
	}
}

static const struct vm_exit *exception(u32 type, u8 vector, u32 more, u64 qualification)
{
	put_field(VMCS_EXIT_INTR_INFO, INTR_VALID | type | vector | more);
	return decode(VMX_EXCEPTION_NMI, qualification);
}

static void exceptions(void **state)
{
	const struct vm_exit *e;

	put_field(VMCS_EXIT_INTR_ERROR, 0x55);
	put_field(VMCS_EXIT_INSN_LEN, 1);
	e = exception(INTR_TYPE_HARD_EXCEPTION, VECTOR_AC, INTR_HAS_ERROR, 0x1234);
	assert_int_equal(e->reason, EXIT_EXCEPTION);
	assert_int_equal(e->exception.vector, VECTOR_AC);
	assert_true(e->exception.has_error);
	assert_int_equal(e->exception.error, 0x55);
	assert_int_equal(e->exception.payload, 0);
	assert_int_equal(e->insn_len, 0);
	e = exception(INTR_TYPE_HARD_EXCEPTION, VECTOR_PF, INTR_HAS_ERROR, 0x1234);
	assert_int_equal(e->exception.payload, 0x1234);
	e = exception(INTR_TYPE_HARD_EXCEPTION, VECTOR_DB, 0, DR6_BS | DR6_B1);
	assert_int_equal(e->exception.payload, DR6_BS | DR6_B1);
	assert_false(e->exception.has_error);
	assert_int_equal(e->exception.error, 0);
	assert_int_equal(exception(INTR_TYPE_SOFT_EXCEPTION, VECTOR_BP, 0, 0)->insn_len, 1);
	assert_int_equal(last.exception.vector, VECTOR_BP);
	vcpu.rip = 0x1000; /* INT1 is a trap, but the exit comes before it */
	assert_int_equal(exception(INTR_TYPE_PRIVILEGED, VECTOR_DB, 0, 0)->insn_len, 0);
	assert_int_equal(vcpu.rip, 0x1001);
	e = exception(INTR_TYPE_HARD_EXCEPTION, VECTOR_MC, 0, 0);
	assert_int_equal(e->reason, EXIT_MCE);
}

/* The NMI that ended the run was never in root's handler: as if it had been. */
static void nmi(void **state)
{
	const struct vm_exit *e;

	cpu0.root_flags = CPU_ROOT_MCE;
	e = exception(INTR_TYPE_NMI, VECTOR_NMI, 0, 0);
	assert_int_equal(e->reason, EXIT_NMI);
	assert_int_equal(cpu0.root_flags, CPU_ROOT_MCE | CPU_ROOT_NMI);
	assert_int_equal(nmis_opened, 1);
	exception(INTR_TYPE_HARD_EXCEPTION, VECTOR_AC, 0, 0);
	assert_int_equal(nmis_opened, 1);
}

static bool masked_after(u32 reason, u32 intr_info, u64 qualification, u32 vectoring)
{
	put_field(VMCS_GUEST_INTERRUPTIBILITY, 0);
	put_field(VMCS_EXIT_INTR_INFO, INTR_VALID | INTR_TYPE_HARD_EXCEPTION | intr_info);
	put_field(VMCS_VECTORING_INFO, vectoring);
	decode(reason, qualification);
	return field(VMCS_GUEST_INTERRUPTIBILITY) == BLOCKED_BY_NMI;
}

/* An IRET that faulted did not open NMIs after all. */
static void faulted_iret(void **state)
{
	u32 delivering = INTR_VALID | INTR_TYPE_HARD_EXCEPTION | VECTOR_PF;

	assert_true(masked_after(VMX_EXCEPTION_NMI, VECTOR_AC | BIT(12), 0, 0));
	assert_false(masked_after(VMX_EXCEPTION_NMI, VECTOR_AC, 0, 0));
	assert_false(masked_after(VMX_EXCEPTION_NMI, VECTOR_DF | BIT(12), 0, 0));
	assert_false(masked_after(VMX_EXCEPTION_NMI, VECTOR_AC | BIT(12), 0, delivering));
	assert_true(masked_after(VMX_EPT_VIOLATION, 0, BIT(12), 0));
	assert_false(masked_after(VMX_EPT_VIOLATION, 0, 0, 0));
	assert_false(masked_after(VMX_EPT_VIOLATION, 0, BIT(12), delivering));
	assert_true(masked_after(VMX_PML_FULL, 0, BIT(12), 0));
	assert_false(masked_after(VMX_PML_FULL, 0, BIT(12), delivering));
	/* Without virtual NMIs the VMCS has the processor's own blocking, which is to be off. */
	use_features(virt_features & ~(u64)VIRT_VIRTUAL_NMI);
	assert_false(masked_after(VMX_EXCEPTION_NMI, VECTOR_AC | BIT(12), 0, 0));
	assert_false(masked_after(VMX_EPT_VIOLATION, 0, BIT(12), 0));
}

static void cut_short(void **state)
{
	put_field(VMCS_VECTORING_INFO,
		  INTR_VALID | INTR_TYPE_HARD_EXCEPTION | INTR_HAS_ERROR | VECTOR_GP);
	put_field(VMCS_VECTORING_ERROR, 0x18);
	decode(VMX_EPT_VIOLATION, 0);
	assert_int_equal(last.vectoring.type, EVENT_EXCEPTION);
	assert_int_equal(last.vectoring.vector, VECTOR_GP);
	assert_int_equal(last.vectoring.error, 0x18);
	assert_int_equal(decode(VMX_EPT_MISCONFIG, 0)->vectoring.type, EVENT_EXCEPTION);
	assert_int_equal(decode(VMX_APIC_ACCESS, 0)->vectoring.type, EVENT_EXCEPTION);
	assert_int_equal(decode(VMX_PML_FULL, 0)->vectoring.type, EVENT_EXCEPTION);
	put_field(VMCS_EXIT_INTR_INFO, INTR_VALID | INTR_TYPE_HARD_EXCEPTION | VECTOR_AC);
	assert_int_equal(decode(VMX_EXCEPTION_NMI, 0)->vectoring.type, EVENT_EXCEPTION);
	put_field(VMCS_VECTORING_INFO, INTR_TYPE_HARD_EXCEPTION | VECTOR_GP); /* not valid */
	assert_int_equal(decode(VMX_EPT_VIOLATION, 0)->vectoring.type, EVENT_NONE);
}

static void ept_violation(void **state)
{
	const struct vm_exit *e;
	struct segment cs = {.selector = 8, .attr = SEG_P | SEG_S | SEG_L | 0xb, .limit = ~0u};
	struct segment ss = {.selector = 0x1b, .attr = SEG_P | SEG_S | SEG_DPL | 3, .limit = ~0u};

	vmx_set_segment(&vcpu, SEG_CS, &cs);
	vmx_set_segment(&vcpu, SEG_SS, &ss);
	put_field(VMCS_GUEST_PHYSICAL, 0x123456789);
	put_field(VMCS_GUEST_LINEAR, 0xffff800000001000);
	put_field(VMCS_GUEST_CR3, 0x7000);
	e = decode(VMX_EPT_VIOLATION, BIT(1) | BIT(3) | BIT(7) | BIT(8));
	assert_int_equal(e->reason, EXIT_SLAT);
	assert_int_equal(e->slat.gpa.v, 0x123456789);
	assert_true(e->slat.gva_valid);
	assert_int_equal(e->slat.gva.v, 0xffff800000001000);
	assert_true(e->slat.write);
	assert_true(e->slat.present);
	assert_false(e->slat.exec);
	assert_false(e->slat.table_walk);
	assert_int_equal(e->insn_len, 0);
	assert_true(e->code_known); /* the instruction is needed, and its length is not told */
	assert_int_equal(e->code.cs_attr, cs.attr | SEG_G);
	assert_int_equal(e->code.cr3, 0x7000);
	assert_int_equal(e->code.cpl, 3);
	e = decode(VMX_EPT_VIOLATION, BIT(2) | BIT(7));
	assert_true(e->slat.exec);
	assert_true(e->slat.table_walk);
	assert_false(e->slat.write);
	assert_false(e->slat.present);
	e = decode(VMX_EPT_VIOLATION, BIT(0)); /* loading PDPTEs: no linear address */
	assert_false(e->slat.gva_valid);
	assert_false(e->slat.table_walk);
	assert_int_equal(e->slat.gva.v, 0);
	assert_true(decode(VMX_EPT_VIOLATION, BIT(5))->slat.present);
	assert_int_equal(decode(VMX_EPT_MISCONFIG, 0)->info1, 0x123456789);
}

static void control_registers(void **state)
{
	const struct vm_exit *e;

	put_field(VMCS_EXIT_INSN_LEN, 3);
	e = decode(VMX_CR_ACCESS, 4 | GPR_R9 << 8);
	assert_int_equal(e->reason, EXIT_CR_WRITE);
	assert_int_equal(e->mov.nr, 4);
	assert_true(e->mov.gpr_known);
	assert_int_equal(e->mov.gpr, GPR_R9);
	assert_int_equal(e->insn_len, 3);
	e = decode(VMX_CR_ACCESS, 8 | 1 << 4 | GPR_RBX << 8);
	assert_int_equal(e->reason, EXIT_CR_READ);
	assert_int_equal(e->mov.nr, 8);
	assert_int_equal(e->mov.gpr, GPR_RBX);
	assert_int_equal(decode(VMX_CR_ACCESS, 2 << 4)->reason, EXIT_CR_OTHER);		  /* CLTS */
	assert_int_equal(decode(VMX_CR_ACCESS, 3 << 4 | 1 << 16)->reason, EXIT_CR_OTHER); /* LMSW */
}

static void debug_registers(void **state)
{
	const struct vm_exit *e = decode(VMX_MOV_DR, 7 | GPR_RDX << 8);

	assert_int_equal(e->reason, EXIT_DR_WRITE);
	assert_int_equal(e->mov.nr, 7);
	assert_true(e->mov.gpr_known);
	assert_int_equal(e->mov.gpr, GPR_RDX);
	e = decode(VMX_MOV_DR, 3 | BIT(4) | GPR_R15 << 8);
	assert_int_equal(e->reason, EXIT_DR_READ);
	assert_int_equal(e->mov.nr, 3);
	assert_int_equal(e->mov.gpr, GPR_R15);
}

static void io(void **state)
{
	const struct vm_exit *e;

	put_field(VMCS_EXIT_INSN_LEN, 2);
	put_field(VMCS_EXIT_INSN_INFO, 4 << 15 | 1 << 7);
	e = decode(VMX_IO, 0x3f8 << 16 | BIT(3) | 0);
	assert_int_equal(e->reason, EXIT_IO);
	assert_int_equal(e->io.port, 0x3f8);
	assert_int_equal(e->io.size, 1);
	assert_true(e->io.in);
	assert_false(e->io.string);
	assert_int_equal(e->insn_len, 2);
	e = decode(VMX_IO, 0xcf8u << 16 | BIT(4) | BIT(5) | 3);
	assert_int_equal(e->io.size, 4);
	assert_false(e->io.in);
	assert_true(e->io.string);
	assert_true(e->io.rep);
	assert_int_equal(e->io.address_size, 4);
	assert_int_equal(e->io.seg, SEG_FS);
	put_field(VMCS_EXIT_INSN_INFO, 2 << 7);
	assert_int_equal(decode(VMX_IO, BIT(4) | 1)->io.address_size, 8);
	assert_int_equal(last.io.size, 2);
	assert_int_equal(last.io.seg, SEG_ES);
	put_field(VMCS_EXIT_INSN_INFO, 0);
	assert_int_equal(decode(VMX_IO, BIT(4))->io.address_size, 2);
	vmx_features.insn_info_io = false;
	assert_int_equal(decode(VMX_IO, BIT(4))->io.address_size, 0);
	assert_int_equal(last.io.seg, SEG_COUNT);
}

static void task_switch(void **state)
{
	const struct vm_exit *e;

	put_field(VMCS_EXIT_INSN_LEN, 5);
	for (u32 source = 0; source < 3; source++) {
		e = decode(VMX_TASK_SWITCH, 0x28 | source << 30);
		assert_int_equal(e->reason, EXIT_TASK_SWITCH);
		assert_int_equal(e->task_switch.selector, 0x28);
		assert_int_equal(e->task_switch.source, source);
		assert_false(e->task_switch.has_error);
		assert_int_equal(e->insn_len, 5);
	}
}

static void task_gate(void **state)
{
	const struct vm_exit *e;

	put_field(VMCS_EXIT_INSN_LEN, 2);
	put_field(VMCS_VECTORING_ERROR, 0x77);
	put_field(VMCS_VECTORING_INFO,
		  INTR_VALID | INTR_TYPE_HARD_EXCEPTION | INTR_HAS_ERROR | VECTOR_DF);
	e = decode(VMX_TASK_SWITCH, 0x30 | 3u << 30);
	assert_int_equal(e->task_switch.source, 3);
	assert_true(e->task_switch.has_error);
	assert_int_equal(e->task_switch.error, 0x77);
	assert_int_equal(e->vectoring.type, EVENT_EXCEPTION);
	assert_int_equal(e->insn_len, 0);
	put_field(VMCS_VECTORING_INFO, INTR_VALID | INTR_TYPE_EXTERNAL | 0x20);
	e = decode(VMX_TASK_SWITCH, 0x30 | 3u << 30);
	assert_int_equal(e->vectoring.type, EVENT_INTR);
	assert_false(e->task_switch.has_error);
	/* INT n: the switch completes the instruction, which RIP still stands at. */
	vmx_of(&vcpu)->injected = true;
	vmx_of(&vcpu)->event = (struct virt_event){.type = EVENT_SOFT_INTR, .vector = 0x80};
	put_field(VMCS_VECTORING_INFO, INTR_VALID | INTR_TYPE_SOFT_INTR | 0x80);
	e = decode(VMX_TASK_SWITCH, 0x30 | 3u << 30);
	assert_int_equal(e->vectoring.type, EVENT_NONE);
	assert_int_equal(e->insn_len, 2);
	assert_false(e->task_switch.has_error);
}

static void invlpg_address(void **state)
{
	assert_true(decode(VMX_INVLPG, 0xffff800000001000)->invlpg.gva_valid);
	assert_int_equal(last.invlpg.gva, 0xffff800000001000);
}

#define CHILD(f)      cmocka_unit_test_setup_teardown(f, setup_child, teardown)
#define MANAGEMENT(f) cmocka_unit_test_setup_teardown(f, setup_management, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CHILD(reasons_child),
		MANAGEMENT(reasons_management),
		CHILD(reasons_unlisted),
		CHILD(failed_entries),
		CHILD(few_fields),
		CHILD(quiet),
		MANAGEMENT(caller),
		CHILD(exceptions),
		CHILD(nmi),
		CHILD(faulted_iret),
		CHILD(cut_short),
		CHILD(ept_violation),
		CHILD(control_registers),
		CHILD(debug_registers),
		CHILD(io),
		CHILD(task_switch),
		CHILD(task_gate),
		CHILD(invlpg_address),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
