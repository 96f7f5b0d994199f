// SPDX-License-Identifier: MIT
/* log=teach on VMX: every field of the VMCS that Keel writes is told, and twenty exits. */
#include "tests/unit/vmx.h"

#include "arch-x86/dump.h"
#include "arch-x86/teach.h"

static char log_text[1 << 20]; /* the rules that these registers break, too */

void log_line(enum log_level level, const char *format, ...)
{
	size_t used = strlen(log_text);
	va_list list;

	va_start(list, format);
	vsnprintf(log_text + used, sizeof(log_text) - used - 1, format, list);
	va_end(list);
	strcat(log_text, "\n");
}

static int setup(void **state)
{
	setup_management(state);
	virt_check_entry = true; /* as log=teach sets it */
	virt_teach = TEACH_EXITS + 1;
	virt = &vmx_ops;
	log_text[0] = 0;
	set_exit(VMX_CPUID, 0);
	return 0;
}

static int end(void **state)
{
	virt_check_entry = false;
	virt_teach = 0;
	return teardown(state);
}

static bool told(const char *name)
{
	char head[64];

	snprintf(head, sizeof(head), "\n  %s ", name);
	return strstr(log_text, head);
}

static void launch(struct cpu *cpu)
{
	const struct segment s = {
		.selector = 0x30, .attr = 0xc93 | 3 << 5, .limit = ~0u, .base = 1};

	here = cpu;
	vmx_release(&vcpu); /* as vcpu_create() leaves it */
	teach_begin(&vcpu, cpu);
	for (enum virt_reg reg = 0; reg < VREG_COUNT; reg++)
		virt->set(&vcpu, reg, reg == VREG_EFER ? EFER_LME | EFER_LMA : 0x402);
	for (enum seg seg = SEG_ES; seg < SEG_COUNT; seg++)
		virt->set_segment(&vcpu, seg, &s);
	vmx_load(&vcpu, cpu);
	enter();
}

static bool is_written(u32 field)
{
	return entered.fields[field / 2] != (0xa5a5a5a5a5a5a5a5 & field_mask(field));
}

static const char *name_of(u32 field)
{
	static const char *const segments[] = {"ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR"};
	u32 parts[] = {VMCS_GUEST_ES_SELECTOR, VMCS_GUEST_ES_BASE, VMCS_GUEST_ES_LIMIT,
		       VMCS_GUEST_ES_ACCESS};

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		if (field >= parts[i] && field < parts[i] + 2 * ARRAY_SIZE(segments))
			return segments[(field - parts[i]) / 2];
	for (const struct vmx_field *f = vmx_fields; f->name; f++)
		if (f->field == field)
			return f->name;
	return "a field without a name";
}

/* What no VMWRITE has set holds a pattern. */
static void every_field_that_is_written_is_told(void **state)
{
	u32 count = 0;

	launch(&cpu0);
	for (u32 field = 0; field < 2 * FAKE_FIELDS; field += 2) {
		if (!field_exists(field) || VMCS_FIELD_TYPE(field) == VMCS_READ_ONLY ||
		    !is_written(field))
			continue;
		if (!told(name_of(field)))
			fail_msg("field %x, %s, is written but not told", field, name_of(field));
		count++;
	}
	assert_true(count > 80);
}

/* HOST_RSP is entry.asm's, which is not here. */
static void nothing_is_told_that_is_not_written(void **state)
{
	launch(&cpu0);
	for (const struct vmx_field *f = vmx_fields; f->name; f++)
		if (told(f->name) && !is_written(f->field) && f->field != VMCS_HOST_RSP)
			fail_msg("%s is told but never written", f->name);
}

static void the_order_is_that_of_the_writing(void **state)
{
	static const char *const lines[] = {
		"teach: CPU 0's first VMCS, at ",
		"1. what lasts",
		"\n  PIN_CONTROLS ",
		"[SDM vol. 3, \"Pin-Based VM-Execution Controls\"]",
		"\n  EPTP ",
		"\n  HOST_CR3 ",
		"2. the machine as it was running",
		"\n  GUEST_RFLAGS ",
		"\n  CS ",
		"3. of each entry",
		"\n  VPID ",
		"teach: VMLAUNCH",
		"exit 1: CPUID (a)",
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
	assert_false(told("GUEST_CR3"));
	teach_begin(&vcpu, &cpu0);
	assert_false(told("GUEST_CR3"));
	virt->set(&other, VREG_CR3, 0x6000);
	assert_false(told("GUEST_CR3"));
	virt->set(&vcpu, VREG_CR3, 0x7000);
	assert_non_null(strstr(log_text, "GUEST_CR3 0000000000007000"));
	vmx_load(&vcpu, &cpu0);
	assert_ptr_not_equal(virt, &vmx_ops);
	enter();
	assert_ptr_equal(virt, &vmx_ops);
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
	assert_int_equal(virt_teach, 0);
}

static void other_cpus_are_silent(void **state)
{
	cpu0.index = 1;
	launch(&cpu0);
	assert_null(strstr(log_text, "teach:"));
	assert_int_equal(virt_teach, TEACH_EXITS + 1);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, end)
	const struct CMUnitTest tests[] = {
		TEST(every_field_that_is_written_is_told),
		TEST(nothing_is_told_that_is_not_written),
		TEST(the_order_is_that_of_the_writing),
		TEST(a_register_is_told_when_it_is_written),
		TEST(twenty_exits_are_told),
		TEST(other_cpus_are_silent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
