// SPDX-License-Identifier: MIT
/* Each entry rule of the manual, broken one at a time: exactly that one is named. */
#include "tests/unit/svm.h"

static char log_text[16384];

void log_line(enum log_level level, const char *format, ...)
{
	size_t used = strlen(log_text);
	va_list list;

	va_start(list, format);
	vsnprintf(log_text + used, sizeof(log_text) - used, format, list);
	va_end(list);
	strcat(log_text, "\n");
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

/* A VMCB in long mode that breaks nothing. */
static int setup_valid(void **state)
{
	setup_child(state);
	vmcb->cr0 = CR0_PE | CR0_PG | CR0_WP;
	vmcb->cr3 = 0x1000;
	vmcb->cr4 = CR4_PAE;
	vmcb->efer = EFER_SVME | EFER_LME | EFER_LMA;
	vmcb->cs.attr = SEG_P | SEG_S | SEG_L | 0xb;
	vmcb->dr6 = DR6_INIT;
	vmcb->dr7 = DR7_INIT;
	vmcb->asid = 1;
	vmcb->iopm_base = 0x20000;
	vmcb->msrpm_base = 0x30000;
	log_text[0] = 0;
	return 0;
}

static u32 broken(struct rules *rules)
{
	svm_broken_rules(vmcb, rules);
	return rules->count;
}

static void expect(const char *subject, const char *words)
{
	struct rules rules;

	if (broken(&rules) != 1)
		fail_msg("%s %s: %u are broken", subject, words, rules.count);
	assert_string_equal(rules.broken[0].subject, subject);
	assert_string_equal(rules.broken[0].words, words);
}

#define BREAK(change, subject, words)                                                              \
	do {                                                                                       \
		struct vmcb valid_ = *vmcb;                                                        \
		struct rules rules_;                                                               \
                                                                                                   \
		change;                                                                            \
		expect(subject, words);                                                            \
		*vmcb = valid_;                                                                    \
		assert_int_equal(broken(&rules_), 0);                                              \
	} while (0)

static const char reserved[] = "must have no reserved bit set";
static const char high[] = "must be 0";
static const char long_mode[] = "must be 1 with EFER.LME and CR0.PG";
static const char in_width[] = "must leave the map within the physical address width";
static const char bad_type[] = "must not have a reserved type";
static const char bad_vector[] = "must have an exception's vector";
static const char bad_pat[] = "must have no reserved memory type";

static void state_rules(void **state)
{
	BREAK(vmcb->efer &= ~(u64)EFER_SVME, "EFER.SVME", "must be 1");
	BREAK(vmcb->cr0 |= CR0_NW, "CR0.NW", "must be 0 while CR0.CD is 0");
	BREAK(vmcb->cr0 |= BIT(32), "CR0[63:32]", high);
	BREAK(vmcb->cr3 |= BIT(48), "CR3", "must be within the physical address width");
	BREAK(vmcb->cr4 |= BIT(13), "CR4", reserved);
	BREAK(vmcb->cr4 |= BIT(63), "CR4", reserved);
	BREAK(vmcb->dr6 |= BIT(32), "DR6[63:32]", high);
	BREAK(vmcb->dr7 |= BIT(63), "DR7[63:32]", high);
	BREAK(vmcb->efer |= BIT(1), "EFER", reserved);
	BREAK(vmcb->efer |= BIT(40), "EFER", reserved);
	BREAK(vmcb->cr4 &= ~(u64)CR4_PAE, "CR4.PAE", long_mode);
	BREAK(vmcb->cr0 &= ~(u64)CR0_PE, "CR0.PE", long_mode);
	BREAK(vmcb->cs.attr |= SEG_DB, "CS", "must not have both L and D set in long mode");
	BREAK(vmcb->s_cet = BIT(2), "S_CET", reserved);
	BREAK((vmcb->cr4 |= CR4_CET, vmcb->cr0 &= ~(u64)CR0_WP), "CR0.WP",
	      "must be 1 with CR4.CET");
}

static void control_rules(void **state)
{
	BREAK(vmcb->intercepts[4] &= ~1u, "the VMRUN intercept", "must be set");
	BREAK(vmcb->msrpm_base = BIT(48), "MSRPM_BASE_PA", in_width);
	BREAK(vmcb->iopm_base = BIT(48) - 0x2000, "IOPM_BASE_PA", in_width);
	BREAK(vmcb->event_inject = 0x80000100, "EVENTINJ", bad_type);
	BREAK(vmcb->event_inject = 0x80000500, "EVENTINJ", bad_type);
	BREAK(vmcb->event_inject = 0x80000302, "EVENTINJ", bad_vector);
	BREAK(vmcb->event_inject = 0x80000320, "EVENTINJ", bad_vector);
	BREAK(vmcb->asid = 0, "the ASID", "must not be 0");
	BREAK((vmcb->int_control |= V_NMI_ENABLE, vmcb->intercepts[SVM_NMI / 32] = 0),
	      "the NMI intercept", "must be set with V_NMI_ENABLE");
	BREAK(vmcb->n_cr3 |= BIT(52), "N_CR3", reserved);
	BREAK(vmcb->g_pat = 0x02, "G_PAT", bad_pat);
	BREAK(vmcb->g_pat = 0x0800000000000000, "G_PAT", bad_pat);
}

static void not_broken(void **state)
{
	struct rules rules;

	assert_int_equal(broken(&rules), 0);
	vmcb->cr0 |= CR0_NW | CR0_CD;
	assert_int_equal(broken(&rules), 0);
	vmcb->event_inject = 0x100; /* not valid */
	assert_int_equal(broken(&rules), 0);
	vmcb->event_inject = 0x80000202;
	assert_int_equal(broken(&rules), 0);
	vmcb->event_inject = 0x80000480;
	assert_int_equal(broken(&rules), 0);
	/* Real mode: no rule of long mode holds. */
	vmcb->cr0 = CR0_ET;
	vmcb->cr4 = 0;
	vmcb->efer = EFER_SVME;
	vmcb->cs.attr |= SEG_DB;
	assert_int_equal(broken(&rules), 0);
}

/* More than are kept are still counted, and said. */
static void many_are_broken(void **state)
{
	memset(vmcb, 0xff, sizeof(*vmcb));
	vmcb->efer = ~(u64)EFER_SVME;
	vmcb->cr0 = ~(u64)(CR0_CD | CR0_WP | CR0_PE);
	vmcb->cr4 = ~(u64)CR4_PAE;
	vmcb->intercepts[SVM_VMRUN / 32] = 0;
	vmcb->intercepts[SVM_NMI / 32] = 0;
	vmcb->asid = 0;
	vmcb->event_inject = 0x80000100;
	svm_dump(&vcpu);
	assert_non_null(strstr(log_text, "broken: EFER.SVME must be 1 (APM vol. 2, "
					 "Canonicalization and Consistency Checks)\n"));
	assert_non_null(strstr(log_text, "broken: CR3 must be within the physical address width: "
					 "ffff000000000000 (APM"));
	assert_non_null(strstr(log_text, "broken: 4 rules more\n"));
}

static void dump(void **state)
{
	static const char *const lines[] = {
		"broken: the ASID must not be 0 (APM vol. 2, Canonicalization and Consistency "
		"Checks)",
		"exit code 7f SHUTDOWN",
		"EVENTINJ 0000000780000b0e exception, vector 14, error code",
		"CR0 0000000080010001 PE WP PG",
		"CR4 0000000000000020 PAE",
		"EFER 0000000000001500 LME LMA SVME",
		"RFLAGS 0000000000000202 IF",
		"CS 0010 base 0000000000000000 limit 00000000 attr 29b type b S P L dpl 0",
		"CR2 0000000000001234",
		"V_INTR_MASKING",
	};

	vmcb->asid = 0;
	vmcb->exit_code = SVM_SHUTDOWN;
	vmcb->event_inject = 0x780000b0e;
	vmcb->rflags = RFLAGS_ONE | RFLAGS_IF;
	vmcb->cs.selector = 0x10;
	vmcb->cr2 = 0x1234;
	svm_dump(&vcpu);
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		if (!strstr(log_text, lines[i]))
			fail_msg("\"%s\" is not in:\n%s", lines[i], log_text);
}

static void check_entry_names_rules(void **state)
{
	vcpu.dirty = CLEAN_ALL;
	vmcb->asid = 0;
	svm_check_before(&vcpu);
	assert_non_null(strstr(log_text, "the ASID must not be 0"));
}

#define VALID(f) cmocka_unit_test_setup_teardown(f, setup_valid, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		VALID(state_rules), VALID(control_rules),	    VALID(not_broken),
		VALID(dump),	    VALID(check_entry_names_rules), VALID(many_are_broken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
