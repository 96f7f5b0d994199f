// SPDX-License-Identifier: MIT
/* Every exit code of the manual's table: its reason, who is intercepted, and its decoding. */
#include "tests/unit/svm.h"

void svm_open_nmi(void)
{
}

void svm_sleep_nmi(void)
{
}

/* Written from the manual's appendix, independently of the backend's table. */
struct row {
	u64 first, last;
	enum exit_reason reason;
	bool management, child;
};

static const struct row rows[] = {
	{0x00, 0x0f, EXIT_CR_READ, 0, 0},   {0x10, 0x13, EXIT_CR_WRITE, 0, 0},
	{0x14, 0x14, EXIT_CR_WRITE, 0, 1},  {0x15, 0x1f, EXIT_CR_WRITE, 0, 0},
	{0x20, 0x2f, EXIT_DR_READ, 0, 1}, /* a child's DRs are not live at first */
	{0x30, 0x3f, EXIT_DR_WRITE, 0, 1},  {0x40, 0x40, EXIT_EXCEPTION, 0, 0},
	{0x41, 0x41, EXIT_EXCEPTION, 0, 1}, {0x42, 0x50, EXIT_EXCEPTION, 0, 0},
	{0x51, 0x51, EXIT_EXCEPTION, 0, 1}, {0x52, 0x52, EXIT_MCE, 0, 1},
	{0x53, 0x5f, EXIT_EXCEPTION, 0, 0}, {0x60, 0x60, EXIT_INTR, 0, 1},
	{0x61, 0x61, EXIT_NMI, 0, 1},	    {0x62, 0x62, EXIT_SMI, 0, 0},
	{0x63, 0x63, EXIT_INIT, 1, 1},	    {0x64, 0x64, EXIT_INTR_WINDOW, 0, 0},
	{0x65, 0x65, EXIT_CR_WRITE, 0, 1},  {0x66, 0x6d, EXIT_DESC_TABLE, 0, 0},
	{0x6e, 0x6e, EXIT_RDTSC, 0, 0},	    {0x6f, 0x6f, EXIT_RDPMC, 0, 1},
	{0x70, 0x71, EXIT_UNKNOWN, 0, 0},   {0x72, 0x72, EXIT_CPUID, 1, 1},
	{0x73, 0x73, EXIT_VIRT_INSN, 0, 1}, {0x75, 0x75, EXIT_UNKNOWN, 0, 0},
	{0x76, 0x76, EXIT_INVD, 1, 1},	    {0x77, 0x77, EXIT_PAUSE, 0, 0},
	{0x78, 0x78, EXIT_HLT, 0, 1},	    {0x79, 0x79, EXIT_INVLPG, 0, 0},
	{0x7a, 0x7a, EXIT_VIRT_INSN, 1, 1}, {0x7b, 0x7b, EXIT_IO, 1, 1},
	{0x7c, 0x7c, EXIT_RDMSR, 1, 1},	    {0x7d, 0x7d, EXIT_TASK_SWITCH, 0, 1},
	{0x7e, 0x7e, EXIT_NONE, 0, 1},	    {0x7f, 0x7f, EXIT_TRIPLE_FAULT, 1, 1},
	{0x80, 0x80, EXIT_VIRT_INSN, 1, 1}, {0x81, 0x81, EXIT_HYPERCALL, 1, 1},
	{0x82, 0x86, EXIT_VIRT_INSN, 1, 1}, {0x87, 0x87, EXIT_RDTSCP, 0, 0},
	{0x88, 0x88, EXIT_UNKNOWN, 0, 0},   {0x89, 0x89, EXIT_WBINVD, 0, 1},
	{0x8a, 0x8a, EXIT_MONITOR, 0, 1},   {0x8b, 0x8c, EXIT_MWAIT, 0, 1},
	{0x8d, 0x8d, EXIT_XSETBV, 0, 1},    {0x8e, 0x8e, EXIT_VIRT_INSN, 0, 1},
	{0x8f, 0x9f, EXIT_UNKNOWN, 0, 0},   {0xa0, 0xa1, EXIT_VIRT_INSN, 0, 1},
	{0xa2, 0xa2, EXIT_INVPCID, 0, 0},   {0xa3, 0xa4, EXIT_VIRT_INSN, 0, 1},
	{0xa5, 0xa5, EXIT_UNKNOWN, 0, 0},   {0xa6, 0xa6, EXIT_HLT, 0, 0},
};

static void every_code(bool child)
{
	u32 codes = 0;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		for (u64 code = rows[i].first; code <= rows[i].last; code++, codes++) {
			bool wanted = child ? rows[i].child : rows[i].management;

			if (decode(code, 0, 0)->reason != rows[i].reason)
				fail_msg("code %lx: reason %u", code, last.reason);
			if (intercepted(code) != wanted)
				fail_msg("code %lx: intercept %d", code, intercepted(code));
			assert_non_null(svm_exit_name(code));
			assert_string_not_equal(svm_exit_name(code), "not in the manual's table");
		}
	assert_int_equal(codes, 0xa7 - 1); /* IRET is below */
	assert_false(intercepted(SVM_IRET));
	for (u32 code = 0xa7; code < 0xc0; code++)
		assert_false(intercepted(code));
}

static void codes_child(void **state)
{
	every_code(true);
}

static void codes_management(void **state)
{
	every_code(false);
}

static void codes_sparse(void **state)
{
	assert_int_equal(decode(0x400, 0, 0)->reason, EXIT_SLAT);
	assert_int_equal(decode(0x401, 0, 0)->reason, EXIT_UNKNOWN);
	assert_int_equal(decode(0x402, 0, 0)->reason, EXIT_UNKNOWN);
	assert_int_equal(decode(0x403, 0, 0)->reason, EXIT_UNKNOWN);
	assert_string_equal(svm_exit_name(0x403), "VMGEXIT");
	assert_int_equal(decode(0xf0000000, 0, 0)->reason, EXIT_UNKNOWN);
	assert_int_equal(decode(-1ull, 0, 0)->reason, EXIT_INVALID);
	assert_string_equal(svm_exit_name(-2ull), "BUSY");
	assert_string_equal(svm_exit_name(-3ull), "IDLE_REQUIRED");
	assert_string_equal(svm_exit_name(-4ull), "INVALID_PMC");
}

static void codes_unlisted(void **state)
{
	static const u64 unlisted[] = {0xa7,	   0xbf,       0x100, 0x3ff,	 0x404,
				       0xefffffff, 0xf0000001, -5ull, 1ull << 40};

	for (size_t i = 0; i < ARRAY_SIZE(unlisted); i++) {
		assert_int_equal(decode(unlisted[i], 0, 0)->reason, EXIT_UNKNOWN);
		assert_string_equal(svm_exit_name(unlisted[i]), "not in the manual's table");
	}
}

static void invalid_makes_all_dirty(void **state)
{
	vcpu.dirty = 0;
	decode(SVM_INVALID, 0, 0);
	assert_int_equal(vcpu.dirty, CLEAN_ALL);
}

static void raw_words(void **state)
{
	const struct vm_exit *e = decode(SVM_CPUID, 11, 22);

	assert_int_equal(e->raw, SVM_CPUID);
	assert_int_equal(e->info1, 11);
	assert_int_equal(e->vectoring.type, EVENT_NONE);
	assert_int_equal(e->insn_bytes_len, 0);
}

static void next_rip(void **state)
{
	vcpu.rip = 0xfffffffffffffffe;
	vmcb->next_rip = 1;
	assert_int_equal(decode(SVM_CPUID, 0, 0)->insn_len, 0); /* not offered */
	use_features(VIRT_NEXT_RIP);
	assert_int_equal(decode(SVM_CPUID, 0, 0)->insn_len, 3);
	vmcb->next_rip = 0; /* not written for this exit */
	vcpu.rip = 0x1001;
	assert_int_equal(decode(SVM_NPF, 0, 0)->insn_len, 0);
}

static void io(void **state)
{
	const struct vm_exit *e;

	vmcb->rip = vcpu.rip = 0x7c00;
	e = decode(SVM_IOIO, 0x3f8u << 16 | IOIO_IN | 1 << 4 | 4 << 7, 0x7c02);
	assert_int_equal(e->reason, EXIT_IO);
	assert_int_equal(e->io.port, 0x3f8);
	assert_int_equal(e->io.size, 1);
	assert_true(e->io.in);
	assert_false(e->io.string);
	assert_int_equal(e->insn_len, 2);
	e = decode(SVM_IOIO, 0xcf8u << 16 | IOIO_STRING | IOIO_REP | 4 << 4 | 1 << 7 | 4 << 10,
		   0x7c04);
	assert_int_equal(e->io.size, 4);
	assert_int_equal(e->io.address_size, 2);
	assert_false(e->io.in);
	assert_true(e->io.string);
	assert_true(e->io.rep);
	assert_int_equal(e->io.seg, SEG_COUNT);
	assert_int_equal(e->insn_len, 4);
	use_features(VIRT_DECODE_ASSISTS);
	e = decode(SVM_IOIO, IOIO_STRING | 2 << 4 | 2 << 7 | 4 << 10, 0x7c04);
	assert_int_equal(e->io.seg, SEG_FS);
	assert_int_equal(e->io.size, 2);
	assert_int_equal(e->io.address_size, 4);
}

static void msr(void **state)
{
	assert_int_equal(decode(SVM_MSR, 0, 0)->reason, EXIT_RDMSR);
	assert_int_equal(decode(SVM_MSR, 1, 0)->reason, EXIT_WRMSR);
}

static void nested_fault(void **state)
{
	const struct vm_exit *e;

	e = decode(SVM_NPF, PF_WRITE | PF_PRESENT | PF_USER | NPF_FINAL, 0x123456789);
	assert_int_equal(e->reason, EXIT_SLAT);
	assert_int_equal(e->slat.gpa.v, 0x123456789);
	assert_true(e->slat.write);
	assert_true(e->slat.present);
	assert_false(e->slat.exec);
	assert_false(e->slat.table_walk);
	assert_false(e->slat.gva_valid);
	e = decode(SVM_NPF, PF_FETCH | NPF_TABLE, 0x1000);
	assert_true(e->slat.exec);
	assert_true(e->slat.table_walk);
	assert_false(e->slat.write);
	assert_false(e->slat.present);
	assert_int_equal(decode(SVM_NPF, PF_RESERVED, 0)->reason, EXIT_SLAT_MISCONFIG);
}

static void instruction_bytes(void **state)
{
	vmcb->insn_bytes_len = 15;
	memcpy(vmcb->insn_bytes, "123456789abcdef", 15);
	assert_int_equal(decode(SVM_NPF, 0, 0)->insn_bytes_len, 0);
	use_features(VIRT_DECODE_ASSISTS);
	assert_int_equal(decode(SVM_NPF, 0, 0)->insn_bytes_len, 15);
	assert_memory_equal(last.insn_bytes, "123456789abcdef", 15);
	assert_int_equal(decode(SVM_NPF, PF_FETCH, 0)->insn_bytes_len, 0);
	vmcb->insn_bytes_len = 255;
	assert_int_equal(decode(SVM_NPF, 0, 0)->insn_bytes_len, 15);
}

static void exceptions(void **state)
{
	const struct vm_exit *e;

	for (u32 vector = 0; vector < 32; vector++) {
		if (vector == VECTOR_MC)
			continue;
		e = decode(SVM_EXCEPTION + vector, 0x55, 0x1234);
		assert_int_equal(e->exception.vector, vector);
		assert_int_equal(e->exception.has_error, VECTORS_WITH_ERROR >> vector & 1);
		assert_int_equal(e->exception.error, e->exception.has_error ? 0x55 : 0);
	}
	assert_int_equal(decode(SVM_EXCEPTION + VECTOR_PF, 2, 0x1234)->exception.payload, 0x1234);
	vmcb->dr6 = DR6_INIT | DR6_BS | DR6_B1;
	assert_int_equal(decode(SVM_EXCEPTION + VECTOR_DB, 0, 0)->exception.payload,
			 DR6_BS | DR6_B1);
}

static void control_registers(void **state)
{
	const struct vm_exit *e = decode(SVM_CR_WRITE + 4, MOV_INFO_VALID | 9, 0);

	assert_int_equal(e->reason, EXIT_CR_WRITE);
	assert_int_equal(e->mov.nr, 4);
	assert_false(e->mov.gpr_known);
	use_features(VIRT_DECODE_ASSISTS);
	e = decode(SVM_CR_WRITE + 4, MOV_INFO_VALID | 9, 0);
	assert_true(e->mov.gpr_known);
	assert_int_equal(e->mov.gpr, GPR_R9);
	e = decode(SVM_CR0_SEL_WRITE, MOV_INFO_VALID | 3, 0);
	assert_int_equal(e->reason, EXIT_CR_WRITE);
	assert_int_equal(e->mov.nr, 0);
	assert_int_equal(e->mov.gpr, GPR_RBX);
	assert_int_equal(decode(SVM_CR0_SEL_WRITE, 0, 0)->reason, EXIT_CR_OTHER); /* LMSW */
	assert_int_equal(decode(SVM_CR_READ, 0, 0)->reason, EXIT_CR_OTHER);	  /* SMSW */
}

static void debug_registers(void **state)
{
	const struct vm_exit *e = decode(SVM_DR_WRITE + 7, 2, 0);

	assert_int_equal(e->reason, EXIT_DR_WRITE);
	assert_int_equal(e->mov.nr, 7);
	assert_false(e->mov.gpr_known);
	use_features(VIRT_DECODE_ASSISTS);
	e = decode(SVM_DR_READ + 3, 15, 0);
	assert_int_equal(e->reason, EXIT_DR_READ);
	assert_true(e->mov.gpr_known);
	assert_int_equal(e->mov.gpr, GPR_R15);
}

static void task_switch(void **state)
{
	const struct vm_exit *e;

	e = decode(SVM_TASK_SWITCH, 0x28, 0);
	assert_int_equal(e->task_switch.selector, 0x28);
	assert_int_equal(e->task_switch.source, 0);
	assert_false(e->task_switch.has_error);
	assert_int_equal(decode(SVM_TASK_SWITCH, 0, TASK_SWITCH_IRET)->task_switch.source, 1);
	assert_int_equal(decode(SVM_TASK_SWITCH, 0, TASK_SWITCH_JMP)->task_switch.source, 2);
	vmcb->exit_int_info = VMCB_EVENT_VALID | VMCB_EVENT_EXCEPTION | VECTOR_DF;
	e = decode(SVM_TASK_SWITCH, 0x30, TASK_SWITCH_ERROR | 0x77);
	assert_int_equal(e->task_switch.source, 3);
	assert_true(e->task_switch.has_error);
	assert_int_equal(e->task_switch.error, 0x77);
}

static void invlpg_address(void **state)
{
	assert_false(decode(SVM_INVLPG, 0x1000, 0)->invlpg.gva_valid);
	use_features(VIRT_DECODE_ASSISTS);
	assert_true(decode(SVM_INVLPG, 0x1000, 0)->invlpg.gva_valid);
	assert_int_equal(last.invlpg.gva, 0x1000);
}

#define CHILD(f) cmocka_unit_test_setup_teardown(f, setup_child, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CHILD(codes_child),
		cmocka_unit_test_setup_teardown(codes_management, setup_management, teardown),
		CHILD(codes_sparse),
		CHILD(codes_unlisted),
		CHILD(invalid_makes_all_dirty),
		CHILD(raw_words),
		CHILD(next_rip),
		CHILD(io),
		CHILD(msr),
		CHILD(nested_fault),
		CHILD(instruction_bytes),
		CHILD(exceptions),
		CHILD(control_registers),
		CHILD(debug_registers),
		CHILD(task_switch),
		CHILD(invlpg_address),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
