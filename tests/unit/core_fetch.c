/* SPDX-License-Identifier: MIT */
/* Instruction bytes: decode assists, walks, the kept translation and everything that ends it. */
#include "tests/unit/core_machine.h"

static int setup(void **state)
{
	machine_init();
	return 0;
}

/* As a backend that hands CS and the control registers over, and as one that does not. */
static u32 length_of(u16 reason)
{
	struct vm_exit e = {.reason = reason};
	struct segment cs;
	u32 length;

	virt->get_segment(&vcpu->v, SEG_CS, &cs);
	e.code = (struct virt_code){cs.base,	    reg(VREG_CR0), reg(VREG_CR3),
				    reg(VREG_EFER), cs.attr,	   reg(VREG_CPL)};
	e.code_known = true;
	length = vcpu_insn_length(vcpu, &e);
	e.code_known = false;
	if (length)
		assert_int_equal(vcpu_insn_length(vcpu, &e), length);
	return length;
}

static void put(u64 gpa, const char *bytes, u32 count)
{
	memcpy(guest_at(gpa), bytes, count);
}

static void the_page_may_begin_below_the_segment(void **state)
{
	/* RIP 0x800 at linear 0x2010: the page begins at RIP -0x10, in 16 and in 32 bits. */
	for (u32 wide = 0; wide < 2; wide++) {
		set_seg(SEG_CS, 8, 0x1810, 0xffff, SEG_P | SEG_S | 0xb | (wide ? SEG_DB : 0));
		vcpu->v.rip = 0x800;
		put(0x2010, "\x66\x0f\xa2", 3);
		assert_int_equal(length_of(EXIT_CPUID), 3);
		vcpu->v.rip = 0x7f2;
		put(0x2002, "\x0f\xa2", 2);
		assert_int_equal(length_of(EXIT_CPUID), 2);
		vcpu->v.rip = 0x7e8; /* in the page before */
		put(0x1ff8, "\x67\x66\x0f\xa2", 4);
		assert_int_equal(length_of(EXIT_CPUID), 4);
	}
}

static void the_hardware_may_tell(void **state)
{
	struct vm_exit e = {
		.reason = EXIT_CPUID, .insn_len = 5, .insn_bytes_len = 3, .insn_bytes = {1, 2, 3}};
	u8 bytes[15];

	vcpu->v.rip = 0xe0000000; /* nothing is fetched */
	assert_int_equal(vcpu_insn_length(vcpu, &e), 5);
	assert_int_equal(vcpu_fetch(vcpu, &e, bytes), 3);
	assert_int_equal(bytes[2], 3);
}

static void lengths_by_mode(void **state)
{
	put(CODE, "\x66\x66\x0f\xa2", 4);
	assert_int_equal(length_of(EXIT_CPUID), 4);
	put(CODE, "\x0f\xa2", 2);
	assert_int_equal(length_of(EXIT_CPUID), 2);
	put(CODE, "\x0f\x01\xd1", 3);
	assert_int_equal(length_of(EXIT_XSETBV), 3);
	put(CODE, "\xf4", 1);
	assert_int_equal(length_of(EXIT_HLT), 1);
	mode_long();
	put(CODE, "\x48\x0f\xa2", 3);
	assert_int_equal(length_of(EXIT_CPUID), 3);
	assert_non_null(vcpu->fetch.bytes);
	assert_int_equal(vcpu->fetch.levels, 4);
	put(CODE, "\x0f\x32", 2);
	assert_int_equal(length_of(EXIT_RDMSR), 2);
	mode_real(0x2000);
	put(0x2000, "\xf3\x90", 2);
	assert_int_equal(length_of(EXIT_PAUSE), 2);
	vcpu->v.rip = 0x10;
	put(0x2010, "\x66\x0f\x01\xd9", 4); /* VMMCALL: no plain form is listed */
	assert_int_equal(length_of(EXIT_HYPERCALL), 4);
}

static void l_counts_in_long_mode_only(void **state)
{
	set_seg(SEG_CS, 8, 0x1000, 0xffffffff, SEG_P | SEG_S | 0xb | SEG_L | SEG_DB);
	assert_int_equal(vcpu_code_mode(vcpu), 4);
	assert_int_equal(vcpu_linear_rip(vcpu), CODE + 0x1000);
	set_seg(SEG_CS, 8, 0xfffff000, 0xffffffff, SEG_P | SEG_S | 0xb | SEG_DB);
	vcpu->v.rip = 0x3000;
	assert_int_equal(vcpu_linear_rip(vcpu), 0x2000); /* wraps at 4 GiB */
}

/* Whether the kept translation was used shows in the walk's accessed bit. */
static u64 *entry_of_code(void)
{
	return (u64 *)guest_at(TABLES + 0x3000) + 1;
}

static void a_translation_is_kept(void **state)
{
	mode_long();
	put(CODE, "\x0f\xa2", 2);
	assert_int_equal(length_of(EXIT_CPUID), 2);
	assert_int_equal(length_of(EXIT_CPUID), 2);
	/* Another page: another translation. */
	vcpu->v.rip = CODE + 0x1000;
	put(CODE + 0x1000, "\x66\x0f\xa2", 3);
	assert_int_equal(length_of(EXIT_CPUID), 3);
	/* In the large page: three levels. */
	vcpu->v.rip = 0x234567;
	put(0x234567, "\x66\x66\x0f\xa2", 4);
	assert_int_equal(length_of(EXIT_CPUID), 4);
	assert_int_equal(vcpu->fetch.levels, 3);
}

static void a_changed_table_is_seen(void **state)
{
	mode_long();
	put(CODE, "\x0f\xa2", 2);
	put(0x9000, "\x66\x66\x0f\xa2", 4);
	assert_int_equal(length_of(EXIT_CPUID), 2);
	*entry_of_code() = 0x9000 | PTE_P | PTE_W | PTE_U | PTE_A;
	assert_int_equal(length_of(EXIT_CPUID), 4);
	/* ... and on the level above */
	((u64 *)guest_at(0x20000))[1] = CODE | PTE_P | PTE_A;
	((u64 *)guest_at(TABLES + 0x2000))[0] = 0x20000 | PTE_P | PTE_W | PTE_U | PTE_A;
	assert_int_equal(length_of(EXIT_CPUID), 2);
	*((u64 *)guest_at(0x20000) + 1) = 0;
	assert_int_equal(length_of(EXIT_CPUID), 0);
	assert_int_equal(vcpu->fetch_error, -EPERM);
	assert_int_equal(vcpu->events.exception.vector, VECTOR_PF);
}

static void another_cr3_is_seen(void **state)
{
	mode_long();
	put(CODE, "\x0f\xa2", 2);
	assert_int_equal(length_of(EXIT_CPUID), 2);
	memcpy(guest_at(0x30000), guest_at(TABLES), 0x1000);
	((u64 *)guest_at(0x30000))[0] = 0;
	set_reg(VREG_CR3, 0x30000);
	assert_int_equal(length_of(EXIT_CPUID), 0);
	assert_int_equal(vcpu->fetch_error, -EPERM);
}

static void another_mode_is_seen(void **state)
{
	put(CODE, "\x67\x0f\xa2", 3);
	assert_int_equal(length_of(EXIT_CPUID), 3);
	set_seg(SEG_CS, 8, 0x1000, 0xffffffff, SEG_P | SEG_S | 0xb | SEG_DB);
	put(CODE + 0x1000, "\x0f\xa2", 2);
	assert_int_equal(length_of(EXIT_CPUID), 2);
}

static void unmapped_memory_is_seen(void **state)
{
	put(CODE, "\x0f\xa2", 2);
	assert_int_equal(length_of(EXIT_CPUID), 2);
	assert_int_equal(guest_mem_unmap(&machine_vm->mem, GPA(0), GUEST_SIZE), 0);
	guest_mem_unmap_finish(&machine_vm->mem, GPA(0), GUEST_SIZE);
	assert_int_equal(length_of(EXIT_CPUID), 0);
	assert_int_equal(vcpu->fetch_error, -EFAULT);
	assert_int_equal(vcpu->exit.memory.gpa.v, CODE);
	assert_int_equal(vcpu->exit.memory.hva, GUEST_HVA + CODE);
	push(EXIT_CPUID, 0);
	assert_int_equal(run(), RUN_FAULT);
	vcpu->v.rip = 0xe0000000;
	assert_int_equal(length_of(EXIT_CPUID), 0);
	assert_int_equal(vcpu->fetch_error, -EIO);
	push(EXIT_CPUID, 0);
	assert_int_equal(run(), RUN_USER);
	assert_int_equal(vcpu->exit.internal.suberror, INTERNAL_EMULATION);
}

static void tables_that_are_missing(void **state)
{
	mode_long();
	set_reg(VREG_CR3, 0x800000);
	assert_int_equal(memslot_set(&machine_vm->mem, 1, 0, GPA(0x800000), 0x10000, 0x5000000), 0);
	memslot_set_finish(&machine_vm->mem);
	assert_int_equal(length_of(EXIT_CPUID), 0);
	assert_int_equal(vcpu->fetch_error, -EFAULT);
	assert_int_equal(vcpu->exit.memory.gpa.v, 0x800000);
	set_reg(VREG_CR3, 0xe0000000);
	assert_int_equal(length_of(EXIT_CPUID), 0);
	assert_int_equal(vcpu->fetch_error, -EIO);
}

static void an_instruction_over_a_page_end(void **state)
{
	mode_long();
	vcpu->v.rip = CODE + 0xfff;
	put(CODE + 0xfff, "\x0f", 1);
	put(0x9000, "\xa2", 1);
	((u64 *)guest_at(TABLES + 0x3000))[2] = 0x9000 | PTE_P | PTE_A;
	for (u32 i = 0; i < 3; i++)
		assert_int_equal(length_of(EXIT_CPUID), 2);
	/* It ends with the page: the next one does not matter. */
	((u64 *)guest_at(TABLES + 0x3000))[2] = 0;
	put(CODE + 0xffe, "\x0f\xa2", 2);
	vcpu->v.rip = CODE + 0xffe;
	assert_int_equal(length_of(EXIT_CPUID), 2);
	assert_false(vcpu->events.exception.pending);
	vcpu->v.rip = CODE + 0xfff;
	put(CODE + 0xfff, "\x0f", 1);
	assert_int_equal(length_of(EXIT_CPUID), 0);
	assert_int_equal(vcpu->fetch_error, -EPERM);
	assert_int_equal(vcpu->events.exception.payload, CODE + 0x1000);
	assert_int_equal(vcpu->events.exception.error, PF_FETCH);
}

static void five_levels_are_not_kept(void **state)
{
	mode_long();
	put(CODE, "\x0f\xa2", 2);
	((u64 *)guest_at(0x40000))[0] = TABLES | PTE_P | PTE_W | PTE_U | PTE_A;
	set_reg(VREG_CR3, 0x40000);
	set_reg(VREG_CR4, CR4_PAE | CR4_LA57);
	assert_int_equal(length_of(EXIT_CPUID), 2);
	assert_null(vcpu->fetch.bytes);
}

static void not_an_instruction(void **state)
{
	put(CODE, "\x0f\x0a\xff\xff", 4);
	assert_int_equal(length_of(EXIT_CPUID), 0);
	assert_int_equal(vcpu->fetch_error, -EIO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(the_page_may_begin_below_the_segment, setup),
		cmocka_unit_test_setup(the_hardware_may_tell, setup),
		cmocka_unit_test_setup(lengths_by_mode, setup),
		cmocka_unit_test_setup(l_counts_in_long_mode_only, setup),
		cmocka_unit_test_setup(a_translation_is_kept, setup),
		cmocka_unit_test_setup(a_changed_table_is_seen, setup),
		cmocka_unit_test_setup(another_cr3_is_seen, setup),
		cmocka_unit_test_setup(another_mode_is_seen, setup),
		cmocka_unit_test_setup(unmapped_memory_is_seen, setup),
		cmocka_unit_test_setup(tables_that_are_missing, setup),
		cmocka_unit_test_setup(an_instruction_over_a_page_end, setup),
		cmocka_unit_test_setup(five_levels_are_not_kept, setup),
		cmocka_unit_test_setup(not_an_instruction, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
