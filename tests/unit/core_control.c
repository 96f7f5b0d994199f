/* SPDX-License-Identifier: MIT */
/* Control registers: what may be written when, what follows, and the exits that do it. */
#include "tests/unit/core_machine.h"

static int setup(void **state)
{
	machine_init();
	machine_cpuid_all();
	vcpu->v.flush = false;
	return 0;
}

#define assert_taken(nr, value) assert_int_equal(control_write(vcpu, nr, value), 0)
#define assert_gp(nr, value)	assert_int_equal(control_write(vcpu, nr, value), -EINVAL)

static void cr0_rules(void **state)
{
	assert_gp(0, BIT(32) | CR0_PE);
	assert_gp(0, CR0_NW | CR0_PE);
	assert_gp(0, CR0_PG);
	assert_taken(0, CR0_PE | CR0_WP | BIT(9)); /* reserved: ignored; ET stays set */
	assert_int_equal(reg(VREG_CR0), CR0_PE | CR0_WP | CR0_ET);
	assert_true(vcpu->v.flush);
	vcpu->v.flush = false;
	assert_taken(0, CR0_PE | CR0_WP | CR0_TS);
	assert_false(vcpu->v.flush);
	assert_taken(0, CR0_PE | CR0_PG);
	assert_int_equal(reg(VREG_EFER) & EFER_LMA, 0);
}

static void entering_and_leaving_long_mode(void **state)
{
	set_reg(VREG_EFER, EFER_LME);
	assert_gp(0, CR0_PE | CR0_PG); /* without PAE */
	set_reg(VREG_CR4, CR4_PAE);
	set_seg(SEG_CS, 8, 0, ~0u, SEG_P | SEG_S | 0xb | SEG_L);
	assert_gp(0, CR0_PE | CR0_PG); /* from a 64-bit segment */
	mode_flat();
	assert_taken(0, CR0_PE | CR0_PG);
	assert_int_equal(reg(VREG_EFER), EFER_LME | EFER_LMA);
	assert_gp(4, 0); /* PAE is needed now */
	assert_gp(3, BIT(40));
	assert_gp(3, BIT(63));
	assert_taken(3, BIT(39));
	assert_taken(4, CR4_PAE | CR4_PGE);
	assert_taken(0, CR0_PE); /* from compatibility mode */
	assert_int_equal(reg(VREG_EFER), EFER_LME);
	mode_long();
	assert_gp(0, CR0_PE); /* not from 64-bit mode */
}

static void pcids(void **state)
{
	assert_gp(4, CR4_PCIDE); /* long mode only */
	mode_long();
	set_reg(VREG_CR3, TABLES | 5);
	assert_gp(4, CR4_PAE | CR4_PCIDE);
	set_reg(VREG_CR3, TABLES);
	vcpu->v.flush = false;
	assert_taken(4, CR4_PAE | CR4_PCIDE);
	assert_true(vcpu->v.flush);
	vcpu->v.flush = false;
	assert_taken(3, TABLES | 7 | BIT(63));
	assert_int_equal(reg(VREG_CR3), TABLES | 7);
	assert_false(vcpu->v.flush);
	assert_taken(3, TABLES | 7);
	assert_true(vcpu->v.flush);
	/* Paging cannot go while PCIDs are on, not even from compatibility mode. */
	set_seg(SEG_CS, 8, 0, ~0u, SEG_P | SEG_S | 0xb | SEG_DB);
	assert_gp(0, CR0_PE);
}

static void pae_loads_four_entries(void **state)
{
	u64 *pdpte = guest_at(0x8020);

	assert_taken(4, CR4_PAE);
	assert_taken(3, 0x8020);
	pdpte[1] = 0x5001;
	pdpte[2] = 0x1e6; /* not present: anything goes */
	assert_taken(0, CR0_PE | CR0_PG);
	assert_int_equal(reg(VREG_PDPTE1), 0x5001);
	pdpte[3] = 0x6001 | BIT(1);
	assert_gp(3, 0x8020);
	pdpte[3] = 0x6001 | PTE_A; /* a walk of entries in memory sets it */
	assert_taken(3, 0x8020);
	pdpte[3] = 0x6001 | BIT(40);
	assert_gp(3, 0x8020);
	assert_gp(4, CR4_PAE | CR4_PGE);
	assert_taken(4, CR4_PAE | CR4_TSD); /* does not reload */
	pdpte[3] = 0x6001;
	assert_taken(3, 0x8030);
	assert_gp(3, 0xf0000000); /* no memory there */
	/* A slot without its page: the management guest is asked. */
	assert_int_equal(memslot_set(&machine_vm->mem, 1, 0, GPA(0x800000), 0x10000, 0x5000000), 0);
	memslot_set_finish(&machine_vm->mem);
	assert_int_equal(control_write(vcpu, 3, 0x801000), -EFAULT);
	assert_int_equal(vcpu->exit.memory.gpa.v, 0x801000);
	assert_int_equal(reg(VREG_CR3), 0x8030);
}

static void cr4_rules(void **state)
{
	assert_gp(4, CR4_VMXE);
	assert_gp(4, CR4_LA57);
	assert_gp(4, BIT(40));
	assert_taken(4, CR4_PAE | CR4_OSXSAVE | CR4_SMEP | CR4_SMAP | CR4_PKE | CR4_UMIP);
	vcpu->v.flush = false;
	assert_taken(4, CR4_PAE | CR4_OSXSAVE | CR4_SMEP | CR4_SMAP | CR4_PKE | CR4_UMIP | CR4_DE);
	assert_false(vcpu->v.flush);
	cpuid_set(vcpu, NULL, 0);
	assert_gp(4, CR4_OSXSAVE);
}

static void other_numbers(void **state)
{
	u64 value;

	assert_taken(2, 0x1234);
	assert_taken(8, 15);
	assert_gp(8, 16);
	assert_int_equal(control_read(vcpu, 8, &value), 0);
	assert_int_equal(value, 15);
	assert_int_equal(control_read(vcpu, 2, &value), 0);
	assert_int_equal(value, 0x1234);
	for (u32 nr = 0; nr < 16; nr++) {
		if (nr == 0 || (nr >= 2 && nr <= 4) || nr == 8)
			continue;
		assert_int_equal(control_write(vcpu, nr, 0), -EPERM);
		assert_int_equal(control_read(vcpu, nr, &value), -EPERM);
	}
}

static struct vm_exit mov(u16 reason, u8 nr, u8 gpr)
{
	return (struct vm_exit){
		.reason = reason, .insn_len = 3, .mov = {.nr = nr, .gpr = gpr, .gpr_known = true}};
}

static void code(const char *bytes, u32 count)
{
	vcpu->v.rip = CODE;
	memcpy(guest_at(CODE), bytes, count);
}

static void moves_with_decode_assists(void **state)
{
	vcpu->v.gpr[GPR_RDX] = 0xffffffff00000000 | CR4_PAE;
	run_exit(mov(EXIT_CR_WRITE, 4, GPR_RDX));
	assert_int_equal(reg(VREG_CR4), CR4_PAE); /* 32 bits outside of long mode */
	vcpu->v.gpr[GPR_RBX] = ~0ull;
	run_exit(mov(EXIT_CR_READ, 4, GPR_RBX));
	assert_int_equal(vcpu->v.gpr[GPR_RBX], CR4_PAE);
	assert_int_equal(vcpu->v.rip, CODE + 6);
	vcpu->v.gpr[GPR_RBX] = CR4_VMXE;
	run_exit(mov(EXIT_CR_WRITE, 4, GPR_RBX));
	assert_exception(VECTOR_GP);
	run_exit(mov(EXIT_CR_WRITE, 5, GPR_RBX));
	assert_exception(VECTOR_UD);
	assert_int_equal(vcpu->v.rip, CODE + 6);
}

static void moves_without(void **state)
{
	struct vm_exit e = {.reason = EXIT_CR_WRITE, .mov = {.nr = 0}};

	mode_long();
	code("\x41\x0f\x22\xe1", 4); /* mov cr4, r9 */
	vcpu->v.gpr[GPR_R9] = CR4_PAE | CR4_DE;
	run_exit(e);
	assert_int_equal(reg(VREG_CR4), CR4_PAE | CR4_DE);
	assert_int_equal(vcpu->v.rip, CODE + 4);
	code("\x44\x0f\x20\xc0", 4); /* mov rax, cr8 */
	set_reg(VREG_CR8, 9);
	e.reason = EXIT_CR_READ;
	run_exit(e);
	assert_int_equal(vcpu->v.gpr[GPR_RAX], 9);
	mode_flat();
	code("\xf0\x0f\x22\xc3", 4); /* lock mov cr0, ebx: CR8 */
	vcpu->v.gpr[GPR_RBX] = 4;
	fake_push_exit(&e);
	assert_int_equal(run(), RUN_USER);
	assert_int_equal(vcpu->exit.reason, USER_SET_TPR); /* it was 9, and there is no APIC */
	assert_int_equal(reg(VREG_CR8), 4);
	code("\xf0\x0f\x22\xc3", 4);
	vcpu->v.gpr[GPR_RBX] = 5;
	run_exit(e);
	assert_int_equal(reg(VREG_CR8), 5);
	code("\x90\x90\x90", 3);
	fake_push_exit(&e);
	assert_int_equal(run(), RUN_USER);
	assert_int_equal(vcpu->exit.internal.suberror, INTERNAL_EMULATION);
}

static void machine_status_word(void **state)
{
	struct vm_exit e = {.reason = EXIT_CR_OTHER};

	set_reg(VREG_CR0, CR0_PE | CR0_ET | CR0_TS);
	code("\x0f\x06", 2); /* clts */
	run_exit(e);
	assert_int_equal(reg(VREG_CR0), CR0_PE | CR0_ET);
	code("\x0f\x01\xf1", 3); /* lmsw cx: cannot clear PE */
	vcpu->v.gpr[GPR_RCX] = 0xfffe;
	run_exit(e);
	assert_int_equal(reg(VREG_CR0), CR0_PE | CR0_ET | CR0_MP | CR0_EM | CR0_TS);
	code("\x0f\x01\xe2", 3); /* smsw edx */
	vcpu->v.gpr[GPR_RDX] = ~0ull;
	run_exit(e);
	assert_int_equal(vcpu->v.gpr[GPR_RDX], reg(VREG_CR0));
	code("\x66\x0f\x01\xe2", 4); /* smsw dx */
	vcpu->v.gpr[GPR_RDX] = ~0ull;
	run_exit(e);
	assert_int_equal(vcpu->v.gpr[GPR_RDX], ~0xffffull | (reg(VREG_CR0) & 0xffff));
}

/* The operand has 16 bits, in RAM or in a device of the VMM. */
static void machine_status_word_in_memory(void **state)
{
	struct vm_exit e = {.reason = EXIT_CR_OTHER};
	u32 *word = guest_at(0x3000);

	set_reg(VREG_CR0, CR0_PE | CR0_ET | CR0_TS);
	*word = 0xabcdfff7;
	vcpu->v.gpr[GPR_RAX] = 0x3000;
	code("\x0f\x01\x30", 3); /* lmsw [eax] */
	run_exit(e);
	assert_int_equal(reg(VREG_CR0), CR0_PE | CR0_ET | CR0_MP | CR0_EM);
	assert_int_equal(vcpu->v.rip, CODE + 3);
	code("\x0f\x01\x20", 3); /* smsw [eax] */
	run_exit(e);
	assert_int_equal(*word, 0xabcd0000 | (reg(VREG_CR0) & 0xffff));
	vcpu->v.gpr[GPR_RAX] = 0xfee00000;
	code("\x0f\x01\x30", 3);
	fake_push_exit(&e);
	assert_int_equal(run(), RUN_USER);
	assert_int_equal(vcpu->exit.reason, USER_MMIO);
	assert_int_equal(vcpu->exit.mmio.length, 2);
	vcpu->exit.mmio.data[0] = CR0_TS | CR0_PE;
	vcpu->exit.mmio.data[1] = 0xff;
	vcpu_complete_exit(vcpu);
	assert_int_equal(reg(VREG_CR0), CR0_PE | CR0_ET | CR0_TS);
}

/* The processor checks the privilege first, but another vCPU may have swapped the instruction. */
static void machine_status_word_of_an_application(void **state)
{
	struct vm_exit e = {.reason = EXIT_CR_OTHER};
	u64 cr0 = CR0_PE | CR0_ET;

	mode_cpl(3);
	set_reg(VREG_CR0, cr0);
	*(u16 *)guest_at(0x3000) = 0xf;
	vcpu->v.gpr[GPR_RAX] = 0x3000;
	code("\x0f\x01\x30", 3);
	run_exit(e);
	assert_exception(VECTOR_GP);
	assert_int_equal(reg(VREG_CR0), cr0);
	code("\x0f\x01\x20", 3);
	run_exit(e);
	assert_int_equal(*(u16 *)guest_at(0x3000), cr0);
	set_reg(VREG_CR4, CR4_UMIP);
	*(u16 *)guest_at(0x3000) = 0xf;
	code("\x0f\x01\x20", 3);
	run_exit(e);
	assert_exception(VECTOR_GP);
	assert_int_equal(*(u16 *)guest_at(0x3000), 0xf);
}

static void a_fetch_that_fails(void **state)
{
	struct vm_exit e = {.reason = EXIT_CR_OTHER};

	vcpu->v.rip = 0xe0000000;
	fake_push_exit(&e);
	assert_int_equal(run(), RUN_USER);
	assert_int_equal(vcpu->exit.internal.suberror, INTERNAL_EMULATION);
	assert_int_equal(vcpu->exit.internal.data[0], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(cr0_rules, setup),
		cmocka_unit_test_setup(entering_and_leaving_long_mode, setup),
		cmocka_unit_test_setup(pcids, setup),
		cmocka_unit_test_setup(pae_loads_four_entries, setup),
		cmocka_unit_test_setup(cr4_rules, setup),
		cmocka_unit_test_setup(other_numbers, setup),
		cmocka_unit_test_setup(moves_with_decode_assists, setup),
		cmocka_unit_test_setup(moves_without, setup),
		cmocka_unit_test_setup(machine_status_word, setup),
		cmocka_unit_test_setup(machine_status_word_in_memory, setup),
		cmocka_unit_test_setup(machine_status_word_of_an_application, setup),
		cmocka_unit_test_setup(a_fetch_that_fails, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
