/* SPDX-License-Identifier: MIT */
/* Hardware task switches: by CALL, JMP, IRET and task gates; 16 and 32 bits; and their faults. */
#include "tests/unit/core_machine.h"

#define GDT    0x4000ull
#define LDT_AT 0x4800ull
#define TSS_A  0x5000ull
#define TSS_B  0x5200ull
#define CODE_B 0x7000u

enum { /* selectors */
       SEL_CODE = 0x08,
       SEL_DATA = 0x10,
       SEL_A = 0x18,
       SEL_B = 0x20,
       SEL_LDT = 0x28,
       SEL_CODE3 = 0x30,
       SEL_DATA3 = 0x38,
       SEL_GDT_END = 0x80,
};

static u64 descriptor(u32 base, u32 limit, u16 attr)
{
	return (limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)(attr & 0xff) << 40 |
	       (u64)(limit >> 16 & 0xf) << 48 | (u64)(attr & 0xf00) << 44 | (u64)(base >> 24) << 56;
}

static void put_descriptor(u16 selector, u64 raw)
{
	memcpy(guest_at(GDT + (selector & ~7)), &raw, 8);
}

static u8 type_of(u16 selector)
{
	u64 raw;

	memcpy(&raw, guest_at(GDT + selector), 8);
	return raw >> 40 & 0xf;
}

static void put(u64 tss, u32 offset, u32 size, u64 value)
{
	memcpy(guest_at(tss + offset), &value, size);
}

static u64 got(u64 tss, u32 offset, u32 size)
{
	u64 value = 0;

	memcpy(&value, guest_at(tss + offset), size);
	return value;
}

static void put_task_b(void)
{
	static const u8 segs[6] = {SEL_DATA, SEL_CODE, SEL_DATA, SEL_DATA, 0, SEL_DATA};

	memset(guest_at(TSS_B), 0, 104);
	put(TSS_B, 32, 4, CODE_B);
	put(TSS_B, 36, 4, RFLAGS_ONE | RFLAGS_IF);
	for (u32 i = 0; i < 8; i++)
		put(TSS_B, 40 + 4 * i, 4, 0xb0000000 + i);
	put(TSS_B, 56, 4, 0x8000);
	for (u32 i = 0; i < 6; i++)
		put(TSS_B, 72 + 4 * i, 2, segs[i]);
}

static int setup(void **state)
{
	machine_init();
	set_seg(SEG_GDTR, 0, GDT, SEL_GDT_END - 1, 0);
	put_descriptor(SEL_CODE, descriptor(0, 0xfffff, 0xc9b));
	put_descriptor(SEL_DATA, descriptor(0, 0xfffff, 0xc92)); /* not accessed yet */
	put_descriptor(SEL_CODE3, descriptor(0, 0xfffff, 0xcfb));
	put_descriptor(SEL_DATA3, descriptor(0, 0xfffff, 0xcf3));
	put_descriptor(SEL_A, descriptor(TSS_A, 103, SEG_P | 0xb));
	put_descriptor(SEL_B, descriptor(TSS_B, 103, SEG_P | 9));
	put_descriptor(SEL_LDT, descriptor(LDT_AT, 0xff, SEG_P | 2));
	set_seg(SEG_TR, SEL_A, TSS_A, 103, SEG_P | 0xb);
	put_task_b();
	for (u32 i = 0; i < 8; i++)
		vcpu->v.gpr[i] = 0xa0000000 + i;
	return 0;
}

static struct vm_exit task_exit(u8 source)
{
	return (struct vm_exit){.reason = EXIT_TASK_SWITCH,
				.insn_len = 7,
				.task_switch = {.selector = SEL_B, .source = source}};
}

static u16 selector_of(enum seg seg)
{
	struct segment s;

	virt->get_segment(&vcpu->v, seg, &s);
	return s.selector;
}

static void assert_in_b(void)
{
	assert_int_equal(vcpu->v.rip, CODE_B);
	assert_int_equal(selector_of(SEG_TR), SEL_B);
	assert_int_equal(vcpu->v.gpr[GPR_RCX], 0xb0000001);
	assert_int_equal(selector_of(SEG_SS), SEL_DATA);
	assert_int_equal(selector_of(SEG_FS), 0);
	assert_true(reg(VREG_CR0) & CR0_TS);
}

static void a_jump(void **state)
{
	struct segment s;

	run_exit(task_exit(2));
	assert_in_b();
	assert_int_equal(events_delivered(), 0);
	assert_int_equal(reg(VREG_RFLAGS), RFLAGS_ONE | RFLAGS_IF);
	assert_int_equal(vcpu->v.gpr[GPR_RSP], 0x8000);
	assert_int_equal(type_of(SEL_A), 9);
	assert_int_equal(type_of(SEL_B), 0xb);
	assert_int_equal(type_of(SEL_DATA), 3); /* accessed now */
	assert_int_equal(got(TSS_A, 32, 4), CODE + 7);
	assert_int_equal(got(TSS_A, 40, 4), 0xa0000000);
	assert_int_equal(got(TSS_A, 76, 2), 8);
	assert_int_equal(got(TSS_B, 0, 2), 0);
	virt->get_segment(&vcpu->v, SEG_TR, &s);
	assert_int_equal(s.base, TSS_B);
	assert_int_equal(s.attr & SEG_TYPE, 0xb);
	virt->get_segment(&vcpu->v, SEG_SS, &s);
	assert_int_equal(s.limit, 0xffffffff);
	assert_int_equal(s.attr, 0xc93);
}

static void a_call_nests_and_iret_returns(void **state)
{
	struct vm_exit back = {.reason = EXIT_TASK_SWITCH,
			       .insn_len = 1,
			       .task_switch = {.selector = SEL_A, .source = 1}};

	run_exit(task_exit(0));
	assert_in_b();
	assert_true(reg(VREG_RFLAGS) & RFLAGS_NT);
	assert_int_equal(got(TSS_B, 0, 2), SEL_A);
	assert_int_equal(type_of(SEL_A), 0xb);
	assert_int_equal(type_of(SEL_B), 0xb);
	put(TSS_A, 72, 2, SEL_DATA);
	vcpu->v.gpr[GPR_RCX] = 0x1234;
	run_exit(back);
	assert_int_equal(vcpu->v.rip, CODE + 7);
	assert_int_equal(selector_of(SEG_TR), SEL_A);
	assert_int_equal(vcpu->v.gpr[GPR_RCX], 0xa0000001);
	assert_int_equal(got(TSS_B, 44, 4), 0x1234);
	assert_false(got(TSS_B, 36, 4) & RFLAGS_NT);
	assert_int_equal(type_of(SEL_B), 9);
	assert_int_equal(type_of(SEL_A), 0xb);
}

static void a_gate_pushes_the_error_code(void **state)
{
	struct vm_exit e = task_exit(3);

	e.vectoring = (struct virt_event){
		.type = EVENT_EXCEPTION, .vector = VECTOR_DF, .has_error = true};
	e.task_switch.has_error = true;
	e.task_switch.error = 0x55;
	run_exit(e);
	assert_in_b();
	assert_int_equal(vcpu->v.gpr[GPR_RSP], 0x7ffc);
	assert_int_equal(got(0, 0x7ffc, 4), 0x55);
	assert_int_equal(got(TSS_A, 32, 4), CODE); /* not skipped */
	assert_int_equal(events_delivered(), 0);
	assert_false(vcpu->events.exception.injected);
}

static void a_gate_of_int_n_is_skipped(void **state)
{
	run_exit(task_exit(3));
	assert_in_b();
	assert_int_equal(got(TSS_A, 32, 4), CODE + 7);
}

static void an_nmi_by_a_gate(void **state)
{
	struct vm_exit e = task_exit(3);

	e.vectoring = (struct virt_event){.type = EVENT_NMI, .vector = VECTOR_NMI};
	run_exit(e);
	assert_in_b();
	assert_int_equal(reg(VREG_NMI_MASKED), 1);
	assert_false(vcpu->events.nmi_injected);
}

static void expect_fault(u8 source, u16 selector, u8 vector, u32 error)
{
	struct vm_exit e = task_exit(source);
	u32 before = events_delivered();

	e.task_switch.selector = selector;
	run_exit(e);
	assert_int_equal(events_delivered(), before + 1);
	assert_exception(vector);
	assert_int_equal(last_event().error, error);
}

static void bad_targets(void **state)
{
	expect_fault(2, 0, VECTOR_GP, 0);
	expect_fault(2, SEL_B | 4, VECTOR_GP, SEL_B | 4);
	expect_fault(2, SEL_GDT_END, VECTOR_GP, SEL_GDT_END);
	expect_fault(2, SEL_CODE, VECTOR_GP, SEL_CODE);
	expect_fault(0, SEL_A, VECTOR_GP, SEL_A); /* busy */
	expect_fault(1, SEL_B, VECTOR_TS, SEL_B); /* not busy */
	put_descriptor(SEL_B, descriptor(TSS_B, 103, 9));
	expect_fault(2, SEL_B, VECTOR_NP, SEL_B);
	put_descriptor(SEL_B, descriptor(TSS_B, 102, SEG_P | 9));
	expect_fault(2, SEL_B, VECTOR_TS, SEL_B);
	assert_int_equal(vcpu->v.rip, CODE);
	assert_int_equal(selector_of(SEG_TR), SEL_A);
	assert_int_equal(got(TSS_A, 32, 4), 0);
}

/* From here on the fault is the incoming task's. */
static void expect_segment_fault(u32 offset, u16 selector, u8 vector)
{
	set_seg(SEG_TR, SEL_A, TSS_A, 103, SEG_P | 0xb);
	put_descriptor(SEL_B, descriptor(TSS_B, 103, SEG_P | 9));
	put_descriptor(SEL_A, descriptor(TSS_A, 103, SEG_P | 0xb));
	put_task_b();
	put(TSS_B, offset, 2, selector);
	vcpu->v.rip = CODE;
	expect_fault(2, SEL_B, vector, selector & 0xfffc);
	assert_int_equal(vcpu->v.rip, CODE_B);
	assert_int_equal(selector_of(SEG_TR), SEL_B);
}

static void bad_segments(void **state)
{
	enum { ES = 72, CS = 76, SS = 80, DS = 84, LDTR = 96 };

	expect_segment_fault(CS, 0, VECTOR_TS);
	expect_segment_fault(CS, SEL_DATA, VECTOR_TS);
	expect_segment_fault(CS, SEL_CODE3, VECTOR_TS); /* RPL 0, DPL 3 */
	expect_segment_fault(CS, SEL_GDT_END + 8, VECTOR_TS);
	expect_segment_fault(SS, 0, VECTOR_TS);
	expect_segment_fault(SS, SEL_CODE, VECTOR_TS);
	expect_segment_fault(SS, SEL_DATA3 | 3, VECTOR_TS);
	expect_segment_fault(DS, SEL_A, VECTOR_TS); /* a system segment */
	expect_segment_fault(ES, SEL_DATA | 3, VECTOR_TS);
	expect_segment_fault(LDTR, SEL_DATA, VECTOR_TS);
	expect_segment_fault(LDTR, 4, VECTOR_TS);
	put_descriptor(0x40, descriptor(0, 0xfffff, 0xc13));
	expect_segment_fault(DS, 0x40, VECTOR_NP);
	expect_segment_fault(SS, 0x40, VECTOR_SS);
	put_descriptor(0x40, descriptor(0, 0xfffff, 0xc1b));
	expect_segment_fault(CS, 0x40, VECTOR_NP);
	put_descriptor(0x40, descriptor(0, 0xfffff, 0xc99)); /* execute only */
	expect_segment_fault(DS, 0x40, VECTOR_TS);
}

static void rip_beyond_the_limit(void **state)
{
	put_descriptor(SEL_CODE, descriptor(0, 0x6fff, 0x49b));
	expect_fault(2, SEL_B, VECTOR_GP, 0);
	assert_int_equal(vcpu->v.rip, CODE_B);
}

static void a_user_task_with_an_ldt(void **state)
{
	u64 raw = descriptor(0x10000, 0xfff, SEG_P | SEG_S | SEG_DPL | 3 | SEG_DB);
	struct segment s;

	memcpy(guest_at(LDT_AT + 8), &raw, 8);
	put(TSS_B, 76, 2, SEL_CODE3 | 3);
	put(TSS_B, 80, 2, 8 | 4 | 3);
	put(TSS_B, 72, 2, SEL_DATA3 | 3);
	put(TSS_B, 84, 2, SEL_DATA3 | 3);
	put(TSS_B, 92, 2, 0);
	put(TSS_B, 96, 2, SEL_LDT);
	run_exit(task_exit(2));
	assert_int_equal(events_delivered(), 0);
	assert_int_equal(reg(VREG_CPL), 3);
	virt->get_segment(&vcpu->v, SEG_SS, &s);
	assert_int_equal(s.base, 0x10000);
	assert_int_equal(s.limit, 0xfff);
	assert_int_equal(selector_of(SEG_LDTR), SEL_LDT);
}

static void a_virtual_8086_task(void **state)
{
	struct segment s;

	put(TSS_B, 36, 4, RFLAGS_ONE | RFLAGS_VM);
	put(TSS_B, 32, 4, 0x10);
	put(TSS_B, 76, 2, 0x1234);
	run_exit(task_exit(2));
	assert_int_equal(events_delivered(), 0);
	virt->get_segment(&vcpu->v, SEG_CS, &s);
	assert_int_equal(s.base, 0x12340);
	assert_int_equal(s.limit, 0xffff);
	assert_int_equal(reg(VREG_CPL), 3);
	assert_true(reg(VREG_RFLAGS) & RFLAGS_VM);
}

static void the_debug_trap(void **state)
{
	put(TSS_B, 100, 2, 1);
	run_exit(task_exit(2));
	assert_in_b();
	assert_exception(VECTOR_DB);
	assert_true(reg(VREG_DR6) & DR6_BT);
}

static void sixteen_bits(void **state)
{
	put_descriptor(SEL_B, descriptor(TSS_B, 43, SEG_P | 1));
	memset(guest_at(TSS_B), 0, 104);
	put(TSS_B, 14, 2, CODE_B);
	put(TSS_B, 16, 2, RFLAGS_ONE);
	put(TSS_B, 20, 2, 0xc1c1);
	put(TSS_B, 34, 2, SEL_DATA);
	put(TSS_B, 36, 2, SEL_CODE);
	put(TSS_B, 38, 2, SEL_DATA);
	run_exit(task_exit(0));
	assert_int_equal(events_delivered(), 0);
	assert_int_equal(vcpu->v.rip, CODE_B);
	assert_int_equal(vcpu->v.gpr[GPR_RCX] & 0xffff, 0xc1c1);
	assert_int_equal(selector_of(SEG_DS), 0);
	assert_int_equal(selector_of(SEG_FS), 0);
	assert_int_equal(type_of(SEL_B), 3);
	/* And back out of it: 16-bit registers are saved. */
	vcpu->v.gpr[GPR_RDX] = 0xddddeeee;
	vcpu->v.rip = 0x7004;
	put(TSS_A, 72, 2, SEL_DATA);
	run_exit((struct vm_exit){.reason = EXIT_TASK_SWITCH,
				  .insn_len = 1,
				  .task_switch = {.selector = SEL_A, .source = 1}});
	assert_int_equal(got(TSS_B, 22, 2), 0xeeee);
	assert_int_equal(got(TSS_B, 14, 2), 0x7005);
	assert_int_equal(got(TSS_B, 42, 2), 0);
	assert_int_equal(vcpu->v.rip, CODE + 7);
}

static void page_tables_change_too(void **state)
{
	u32 *old = guest_at(0x20000), *new = guest_at(0x21000);

	/* 4 MiB pages; the incoming task sees no second page. */
	old[0] = new[0] = 0x83;
	set_reg(VREG_CR4, CR4_PSE);
	set_reg(VREG_CR3, 0x20000);
	set_reg(VREG_CR0, CR0_PE | CR0_PG | CR0_ET);
	put(TSS_B, 28, 4, 0x21000);
	run_exit(task_exit(2));
	assert_in_b();
	assert_int_equal(reg(VREG_CR3), 0x21000);
	/* Descriptors that the new tables do not map: #PF in the new task. */
	setup(state);
	new[0] = 0;
	old[0] = 0x83;
	set_reg(VREG_CR4, CR4_PSE);
	set_reg(VREG_CR3, 0x20000);
	set_reg(VREG_CR0, CR0_PE | CR0_PG | CR0_ET);
	put(TSS_B, 28, 4, 0x21000);
	run_exit(task_exit(2));
	assert_exception(VECTOR_PF);
	assert_int_equal(vcpu->v.rip, CODE_B);
	assert_int_equal(selector_of(SEG_TR), SEL_B);
	assert_int_equal(reg(VREG_CR3), 0x21000);
}

static void a_missing_page_changes_nothing(void **state)
{
	struct vm_exit e = task_exit(2);
	u8 before[104];

	assert_int_equal(memslot_set(&machine_vm->mem, 1, 0, GPA(0x800000), 0x10000, 0x5000000), 0);
	memslot_set_finish(&machine_vm->mem);
	put_descriptor(SEL_B, descriptor(0x800010, 103, SEG_P | 9));
	memcpy(before, guest_at(TSS_A), sizeof(before));
	fake_push_exit(&e);
	assert_int_equal(run(), RUN_FAULT);
	assert_int_equal(vcpu->exit.memory.gpa.v, 0x800000);
	/* The stack of the error code */
	put_descriptor(SEL_B, descriptor(TSS_B, 103, SEG_P | 9));
	put(TSS_B, 56, 4, 0x802000);
	e = task_exit(3);
	e.task_switch.has_error = true;
	fake_push_exit(&e);
	assert_int_equal(run(), RUN_FAULT);
	assert_int_equal(vcpu->exit.memory.gpa.v, 0x801000);
	assert_true(vcpu->exit.memory.write);
	assert_int_equal(vcpu->v.rip, CODE);
	assert_int_equal(selector_of(SEG_TR), SEL_A);
	assert_int_equal(type_of(SEL_B), 9);
	assert_memory_equal(before, guest_at(TSS_A), sizeof(before));
	/* No memory at all: told. */
	put_descriptor(SEL_B, descriptor(0xe0000000, 103, SEG_P | 9));
	e = task_exit(2);
	fake_push_exit(&e);
	assert_int_equal(run(), RUN_USER);
	assert_int_equal(vcpu->exit.internal.suberror, INTERNAL_EMULATION);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_jump, setup),
		cmocka_unit_test_setup(a_call_nests_and_iret_returns, setup),
		cmocka_unit_test_setup(a_gate_pushes_the_error_code, setup),
		cmocka_unit_test_setup(a_gate_of_int_n_is_skipped, setup),
		cmocka_unit_test_setup(an_nmi_by_a_gate, setup),
		cmocka_unit_test_setup(bad_targets, setup),
		cmocka_unit_test_setup(bad_segments, setup),
		cmocka_unit_test_setup(rip_beyond_the_limit, setup),
		cmocka_unit_test_setup(a_user_task_with_an_ldt, setup),
		cmocka_unit_test_setup(a_virtual_8086_task, setup),
		cmocka_unit_test_setup(the_debug_trap, setup),
		cmocka_unit_test_setup(sixteen_bits, setup),
		cmocka_unit_test_setup(page_tables_change_too, setup),
		cmocka_unit_test_setup(a_missing_page_changes_nothing, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
