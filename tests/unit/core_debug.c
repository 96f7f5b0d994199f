/* SPDX-License-Identifier: MIT */
/* Debug registers of the guest, and the VMM that debugs it. */
#include "tests/unit/core_machine.h"

static u64 dr[8];

static int setup(void **state)
{
	machine_init();
	memset(dr, 0, sizeof(dr));
	return 0;
}

static void debug(u32 control)
{
	assert_int_equal(debug_set(vcpu, control ? control | DEBUG_ENABLE : 0, dr), 0);
}

static struct vm_exit exception(u8 vector, u64 dr6)
{
	return (struct vm_exit){.reason = EXIT_EXCEPTION,
				.exception = {.vector = vector, .payload = dr6}};
}

static struct vm_exit mov_dr(bool write, u8 nr, u8 gpr)
{
	return (struct vm_exit){.reason = write ? EXIT_DR_WRITE : EXIT_DR_READ,
				.insn_len = 3,
				.mov = {.nr = nr, .gpr = gpr, .gpr_known = true}};
}

static void expect_debug_exit(struct vm_exit e, u32 vector, u64 dr6)
{
	fake_push_exit(&e);
	assert_int_equal(run(), RUN_USER);
	assert_int_equal(vcpu->exit.reason, USER_DEBUG);
	assert_int_equal(vcpu->exit.debug.exception, vector);
	assert_int_equal(vcpu->exit.debug.pc, vcpu->v.rip);
	assert_int_equal(vcpu->exit.debug.dr6, dr6);
	assert_int_equal(fake_exits_left(), 0);
}

static void control_bits_are_checked(void **state)
{
	assert_int_equal(debug_set(vcpu, BIT(21), dr), -EINVAL);
	assert_int_equal(debug_set(vcpu, BIT(31) | DEBUG_ENABLE, dr), -EINVAL);
	vcpu_inject_gp(vcpu, 0);
	assert_int_equal(debug_set(vcpu, DEBUG_ENABLE | DEBUG_INJECT_DB, dr), -EBUSY);
	assert_int_equal(debug_set(vcpu, DEBUG_ENABLE, dr), 0);
}

static void injections(void **state)
{
	debug(DEBUG_INJECT_BP);
	push(EXIT_INTR, 0);
	run();
	assert_exception(VECTOR_BP);
	debug(DEBUG_INJECT_DB);
	push(EXIT_INTR, 0);
	run();
	assert_exception(VECTOR_DB);
	push(EXIT_INTR, 0);
	run();
	assert_int_equal(events_delivered(), 2);
}

static void software_breakpoints(void **state)
{
	run_exit(exception(VECTOR_BP, 0));
	assert_exception(VECTOR_BP);
	debug(DEBUG_SW_BREAKPOINT);
	assert_true(fake_vcpu(&vcpu->v)->intercepts & INTERCEPT_BP);
	expect_debug_exit(exception(VECTOR_BP, 0), VECTOR_BP, 0);
	assert_int_equal(events_delivered(), 1);
	debug(0);
	assert_false(fake_vcpu(&vcpu->v)->intercepts & INTERCEPT_BP);
}

static void single_steps(void **state)
{
	debug(DEBUG_SINGLE_STEP);
	assert_true(fake_vcpu(&vcpu->v)->intercepts & INTERCEPT_DB);
	assert_true(reg(VREG_RFLAGS) & RFLAGS_TF);
	assert_false(vcpu_rflags(vcpu) & RFLAGS_TF); /* hidden */
	set_reg(VREG_DR6, DR6_INIT | DR6_BS);
	expect_debug_exit(exception(VECTOR_DB, DR6_BS), VECTOR_DB, DR6_INIT | DR6_BS);
	assert_int_equal(reg(VREG_DR6), DR6_INIT | DR6_BS); /* the guest's, of a step of its own */
	/* Its DR6 is not on the processor: moves are settled here, and it does not stand still. */
	vcpu->v.gpr[GPR_RAX] = 0xffff0ff0;
	expect_debug_exit(mov_dr(true, 6, GPR_RAX), VECTOR_DB, DR6_INIT | DR6_BS);
	assert_int_equal(reg(VREG_DR6), DR6_INIT);
	assert_int_equal(vcpu->v.rip, CODE + 3);
	vcpu->v.rip = CODE;
	/* The guest clears TF (POPF); the next run steps all the same. */
	set_reg(VREG_RFLAGS, RFLAGS_ONE);
	push(EXIT_INTR, 0);
	run();
	assert_true(reg(VREG_RFLAGS) & RFLAGS_TF);
	vcpu_set_rflags(vcpu, RFLAGS_ONE | RFLAGS_IF);
	assert_int_equal(reg(VREG_RFLAGS), RFLAGS_ONE | RFLAGS_IF | RFLAGS_TF);
	/* An instruction that is settled here is a step as well. */
	expect_debug_exit((struct vm_exit){.reason = EXIT_CPUID, .insn_len = 2}, VECTOR_DB,
			  DR6_INIT | DR6_BS);
	assert_int_equal(vcpu->v.rip, CODE + 2);
	debug(0);
	assert_false(reg(VREG_RFLAGS) & RFLAGS_TF);
	assert_int_equal(events_delivered(), 0);
}

/* MOV SS from a device, under TF: the one trap comes behind the next instruction, which exits. */
static void the_trap_behind_mov_ss(void **state)
{
	u64 *gdt = guest_at(0x3000);

	gdt[2] = 0x00cf93000000ffff;
	set_seg(SEG_GDTR, 0, 0x3000, 0x17, 0);
	set_reg(VREG_RFLAGS, RFLAGS_ONE | RFLAGS_TF);
	vcpu->v.gpr[GPR_RAX] = 0xfee00000;
	memcpy(guest_at(CODE), "\x8e\x10", 2); /* mov ss, [eax] */
	fake_push_exit(&(struct vm_exit){.reason = EXIT_SLAT, .slat = {.gpa = GPA(0xfee00000)}});
	assert_int_equal(run(), RUN_USER);
	assert_int_equal(vcpu->exit.reason, USER_MMIO);
	memcpy(vcpu->exit.mmio.data, "\x10", 2);
	vcpu_complete_exit(vcpu);
	assert_int_equal(vcpu->v.rip, CODE + 2);
	assert_int_equal(reg(VREG_INT_SHADOW), 1);
	assert_int_equal(reg(VREG_RFLAGS), RFLAGS_ONE | RFLAGS_TF);
	assert_int_equal(reg(VREG_DR6), DR6_INIT);
	run_insn(EXIT_CPUID, 2);
	assert_int_equal(vcpu->v.rip, CODE + 4);
	assert_int_equal(reg(VREG_INT_SHADOW), 0);
	assert_int_equal(events_delivered(), 1);
	assert_exception(VECTOR_DB);
	assert_int_equal(reg(VREG_DR6), DR6_INIT | DR6_BS);
}

/* SDM vol. 3, "Single-Stepping on Branches": what exits and is settled here is no branch. */
static void steps_on_branches_only(void **state)
{
	set_reg(VREG_RFLAGS, RFLAGS_ONE | RFLAGS_TF);
	set_reg(VREG_DEBUGCTL, DEBUGCTL_BTF);
	run_insn(EXIT_CPUID, 2);
	assert_int_equal(events_delivered(), 0);
	set_reg(VREG_DEBUGCTL, 0);
	run_insn(EXIT_CPUID, 2);
	assert_exception(VECTOR_DB);
}

static void a_step_over_port_io(void **state)
{
	debug(DEBUG_SINGLE_STEP);
	fake_push_exit(&(struct vm_exit){
		.reason = EXIT_IO, .insn_len = 1, .io = {.port = 0x3f8, .size = 1}});
	assert_int_equal(run(), RUN_USER);
	assert_int_equal(vcpu->exit.reason, USER_IO);
	assert_false(vcpu_complete_exit(vcpu));
	assert_int_equal(run(), RUN_USER);
	assert_int_equal(vcpu->exit.reason, USER_DEBUG);
	assert_int_equal(vcpu->exit.debug.pc, CODE + 1);
}

static void hardware_breakpoints(void **state)
{
	dr[0] = 0x1000;
	dr[3] = 0x4000;
	dr[7] = DR7_L0 | DR7_GD | BIT(14) | BIT(15) | BIT(16);
	vcpu->guest_dr[0] = 0x77;
	vcpu->guest_dr7 = DR7_ONE | DR7_G1;
	debug(DEBUG_HW_BREAKPOINT);
	assert_int_equal(vcpu->v.dr[0], 0x1000);
	assert_int_equal(vcpu->v.dr[3], 0x4000);
	assert_true(vcpu->v.dr_live);
	assert_int_equal(reg(VREG_DR7), DR7_L0 | DR7_ONE | BIT(16));
	assert_true(fake_vcpu(&vcpu->v)->intercepts & INTERCEPT_MOV_DR);
	expect_debug_exit(exception(VECTOR_DB, DR6_B0), VECTOR_DB, DR6_INIT | DR6_B0);
	assert_int_equal(vcpu->exit.debug.dr7, reg(VREG_DR7));
	/* The guest sees and changes its own. */
	run_exit(mov_dr(false, 0, GPR_RAX));
	assert_int_equal(vcpu->v.gpr[GPR_RAX], 0x77);
	vcpu->v.gpr[GPR_RAX] = 0x88;
	run_exit(mov_dr(true, 0, GPR_RAX));
	assert_int_equal(vcpu->guest_dr[0], 0x88);
	assert_int_equal(vcpu->v.dr[0], 0x1000);
	run_exit(mov_dr(false, 7, GPR_RBX));
	assert_int_equal(vcpu->v.gpr[GPR_RBX], DR7_ONE | DR7_G1);
	assert_int_equal(vcpu->v.rip, CODE + 9);
	/* The guest's own single step is not the VMM's. */
	run_exit(exception(VECTOR_DB, DR6_BS));
	assert_exception(VECTOR_DB);
	debug(0);
	assert_int_equal(vcpu->v.dr[0], 0x88);
	assert_int_equal(reg(VREG_DR7), DR7_ONE | DR7_G1);
}

static void moves_follow_the_manual(void **state)
{
	u64 value;

	debug(DEBUG_HW_BREAKPOINT);
	assert_int_equal(debug_write(vcpu, 7, BIT(32)), -EINVAL);
	assert_int_equal(debug_write(vcpu, 6, BIT(32)), -EINVAL);
	assert_int_equal(debug_write(vcpu, 7, 0xffffffff & ~DR7_GD), 0);
	assert_int_equal(vcpu->guest_dr7, 0xffff0fff & ~0x800);
	assert_int_equal(debug_write(vcpu, 6, 0xffffffff), 0);
	assert_int_equal(reg(VREG_DR6), 0xffffefff);
	assert_int_equal(debug_write(vcpu, 4, 0), 0); /* an alias of DR6 */
	assert_int_equal(debug_read(vcpu, 6, &value), 0);
	assert_int_equal(value, DR6_INIT);
	assert_int_equal(debug_read(vcpu, 5, &value), 0);
	assert_int_equal(value, vcpu->guest_dr7);
	set_reg(VREG_CR4, CR4_DE);
	assert_int_equal(debug_read(vcpu, 4, &value), -EPERM);
	assert_int_equal(debug_write(vcpu, 5, 0), -EPERM);
	assert_int_equal(debug_read(vcpu, 8, &value), -EPERM);
	mode_cpl(3);
	assert_int_equal(debug_read(vcpu, 0, &value), -EINVAL);
	mode_cpl(0);
	assert_int_equal(debug_write(vcpu, 7, DR7_GD), 0);
	run_exit(mov_dr(false, 0, GPR_RAX));
	assert_exception(VECTOR_DB);
	assert_true(reg(VREG_DR6) & DR6_BD);
	assert_false(vcpu->guest_dr7 & DR7_GD);
	assert_int_equal(vcpu->v.rip, CODE);
}

/* First the exit; then, with its registers on the processor, the guest goes on without. */
static void guest_uses_them(struct virt_vcpu *v, struct vm_exit *e)
{
	if (fake_vcpu(v)->entries == 1) {
		assert_false(v->dr_live);
		*e = mov_dr(true, 0, GPR_RAX);
		return;
	}
	assert_true(v->dr_live);
	assert_int_equal(v->rip, CODE);
	v->dr[0] = 0x1234;
	virt->set(v, VREG_DR7, DR7_ONE | DR7_L0);
	e->reason = EXIT_INTR;
}

static void the_guests_are_loaded_when_used(void **state)
{
	fake_run = guest_uses_them;
	assert_int_equal(run(), RUN_INTERRUPTED);
	assert_int_equal(vcpu->guest_dr[0], 0x1234);
	assert_int_equal(vcpu->guest_dr7, DR7_ONE | DR7_L0);
	assert_true(vcpu->v.dr_live); /* a breakpoint is on */
	fake_run = NULL;
	set_reg(VREG_DR7, DR7_ONE);
	push(EXIT_INTR, 0);
	run();
	assert_false(vcpu->v.dr_live); /* and now it is off */
	assert_int_equal(vcpu->guest_dr[0], 0x1234);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(control_bits_are_checked, setup),
		cmocka_unit_test_setup(injections, setup),
		cmocka_unit_test_setup(software_breakpoints, setup),
		cmocka_unit_test_setup(single_steps, setup),
		cmocka_unit_test_setup(the_trap_behind_mov_ss, setup),
		cmocka_unit_test_setup(steps_on_branches_only, setup),
		cmocka_unit_test_setup(a_step_over_port_io, setup),
		cmocka_unit_test_setup(hardware_breakpoints, setup),
		cmocka_unit_test_setup(moves_follow_the_manual, setup),
		cmocka_unit_test_setup(the_guests_are_loaded_when_used, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
