// SPDX-License-Identifier: MIT
/* log=teach on SVM: every field of the VMCB that Keel writes is told, and twenty exits. */
#include "tests/unit/svm.h"

#include "arch-x86/dump.h"
#include "arch-x86/teach.h"
#include "svm/svm.h"

static char log_text[65536];

void log_line(enum log_level level, const char *format, ...)
{
	size_t used = strlen(log_text);
	va_list list;

	va_start(list, format);
	vsnprintf(log_text + used, sizeof(log_text) - used - 1, format, list);
	va_end(list);
	strcat(log_text, "\n");
}

void vmload(hpa_t hpa)
{
}

void vmsave(hpa_t hpa)
{
}

void svm_open_nmi(void)
{
}

void svm_sleep_nmi(void)
{
}

static int setup(void **state)
{
	setup_management(state);
	free_vcpu();
	svm_features.lbr_virt = true;
	virt_check_entry = true; /* as log=teach sets it */
	make_vcpu(VIRT_MANAGEMENT);
	virt_teach = TEACH_EXITS + 1;
	virt = &svm_ops;
	cpu1.index = 1;
	log_text[0] = 0;
	set_exit(SVM_CPUID, 0, 0);
	return 0;
}

static int end(void **state)
{
	virt_check_entry = false;
	virt_teach = 0;
	svm_features.lbr_virt = false;
	return teardown(state);
}

static bool told(const char *name)
{
	char head[64];

	snprintf(head, sizeof(head), "\n  %s ", name);
	return strstr(log_text, head);
}

/* As core/mgmt.c does, with values that are all different from zero. */
static void launch(struct cpu *cpu)
{
	static const enum virt_reg regs[] = {
		VREG_CR2,	  VREG_CR3,	     VREG_PAT,		VREG_DEBUGCTL,
		VREG_DR6,	  VREG_DR7,	     VREG_STAR,		VREG_LSTAR,
		VREG_CSTAR,	  VREG_SFMASK,	     VREG_RFLAGS,	VREG_KERNEL_GS_BASE,
		VREG_SYSENTER_CS, VREG_SYSENTER_ESP, VREG_SYSENTER_EIP, VREG_TSC_OFFSET,
	};
	const struct segment s = {
		.selector = 0x30, .attr = 0xc93 | 3 << 5, .limit = ~0u, .base = 1};

	teach_begin(&vcpu, cpu);
	for (size_t i = 0; i < ARRAY_SIZE(regs); i++)
		virt->set(&vcpu, regs[i], 0x402);
	virt->set(&vcpu, VREG_CR0, CR0_PE | CR0_PG);
	virt->set(&vcpu, VREG_CR4, CR4_PAE);
	virt->set(&vcpu, VREG_EFER, EFER_LME | EFER_LMA);
	for (enum seg seg = SEG_ES; seg < SEG_COUNT; seg++)
		virt->set_segment(&vcpu, seg, &s);
	virt->intercept(&vcpu, INTERCEPT_NMI);
	vcpu.gpr[GPR_RAX] = vcpu.gpr[GPR_RSP] = vcpu.rip = 0x1000;
	svm_load(&vcpu, cpu);
	enter();
}

static void every_field_that_is_written_is_told(void **state)
{
	bool covered[sizeof(struct vmcb)] = {0};
	static const char *const segments[] = {"ES", "CS",   "SS",   "DS",   "FS",
					       "GS", "GDTR", "LDTR", "IDTR", "TR"};
	const u8 *bytes = (const u8 *)&entered;

	launch(&cpu0);
	for (const struct svm_field *f = svm_fields; f->name; f++)
		memset(covered + f->offset, told(f->name), f->size);
	for (u32 i = 0; i < SVM_SEGMENTS; i++)
		memset(covered + offsetof(struct vmcb, es) + i * sizeof(struct vmcb_segment),
		       told(segments[i]), sizeof(struct vmcb_segment));
	/* What the last exit left is not Keel's. */
	memset(covered + offsetof(struct vmcb, exit_code), true, 8);
	for (u32 i = 0; i < sizeof(entered); i++)
		if (bytes[i] && !covered[i])
			fail_msg("VMCB offset %x is written but not told", i);
}

/* Each with its reason, and the whole in three parts. */
static void the_order_is_that_of_the_writing(void **state)
{
	static const char *const lines[] = {
		"teach: CPU 0's first VMCB, at ",
		"1. what lasts",
		"\n  intercepts[0] ",
		"\n      set: INIT, CPUID, ",
		"\n  N_CR3 ",
		"2. the machine as it was running",
		"\n  RFLAGS ",
		"\n  CS ",
		"\n      set: NMI, INIT, CPUID, ",
		"3. of each entry",
		"\n  GUEST_ASID ",
		"[APM vol. 2, \"TLB Control\"]",
		"teach: VMRUN",
		"exit 1: CPUID (72)",
	};
	const char *at = log_text;

	launch(&cpu0);
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		at = strstr(at, lines[i]);
		if (!at)
			fail_msg("not there, or out of order: %s\n%s", lines[i], log_text);
	}
}

/* Not before, not again, and of this vCPU alone; the table of operations is the backend's then. */
static void a_register_is_told_when_it_is_written(void **state)
{
	struct virt_vcpu other = vcpu;

	virt->set(&vcpu, VREG_CR3, 0x5000);
	assert_false(told("CR3"));
	teach_begin(&vcpu, &cpu0);
	assert_false(told("CR3"));
	virt->set(&other, VREG_CR3, 0x6000);
	assert_false(told("CR3"));
	virt->set(&vcpu, VREG_CR3, 0x7000);
	assert_non_null(strstr(log_text, "CR3 0000000000007000"));
	svm_load(&vcpu, &cpu0);
	assert_ptr_not_equal(virt, &svm_ops);
	enter();
	assert_ptr_equal(virt, &svm_ops);
	virt->set(&vcpu, VREG_CR3, 0x8000);
	assert_null(strstr(log_text, "0000000000008000"));
}

static void twenty_exits_are_told(void **state)
{
	launch(&cpu0);
	for (u32 i = 0; i < 30; i++)
		enter();
	assert_non_null(strstr(log_text, "exit 20: CPUID"));
	assert_null(strstr(log_text, "exit 21: "));
	assert_non_null(strstr(log_text, "teach: 20 exits are told"));
	assert_int_equal(virt_teach, 0);
}

static void an_exit_is_decoded(void **state)
{
	launch(&cpu0);
	set_exit(SVM_NPF, NPF_FINAL | 7, 0xfee000b0);
	enter();
	assert_non_null(strstr(log_text, "exit 2: NPF (400), information 100000007 and fee000b0"));
	assert_non_null(strstr(log_text, "it writes guest-physical fee000b0, where the "
					 "second-level entry forbids it"));
}

static void other_cpus_are_silent(void **state)
{
	launch(&cpu1);
	assert_null(strstr(log_text, "teach:"));
	assert_int_equal(virt_teach, TEACH_EXITS + 1);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, end)
	const struct CMUnitTest tests[] = {
		TEST(every_field_that_is_written_is_told),
		TEST(the_order_is_that_of_the_writing),
		TEST(a_register_is_told_when_it_is_written),
		TEST(twenty_exits_are_told),
		TEST(an_exit_is_decoded),
		TEST(other_cpus_are_silent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
