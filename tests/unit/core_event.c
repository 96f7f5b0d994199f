/* SPDX-License-Identifier: MIT */
/* Exceptions, NMIs and interrupts: how they combine, who goes first, what must wait. */
#include "tests/unit/core_machine.h"

static int waiting = -1, acknowledged, chip_cr8;

static int chip_pending(struct vcpu *v)
{
	return waiting;
}

static int chip_acknowledge(struct vcpu *v)
{
	int vector = waiting;

	acknowledged++;
	waiting = -1;
	return vector;
}

static u64 chip_timers(struct vcpu *v, u64 now)
{
	return NO_DEADLINE;
}

static void chip_set_cr8(struct vcpu *v, u64 cr8)
{
	chip_cr8 = cr8;
}

static u64 chip_get_cr8(struct vcpu *v)
{
	return chip_cr8;
}

static void chip_reset(struct vcpu *v)
{
}

static bool chip_masks_lint0;

static bool chip_accepts_extint(struct vcpu *v)
{
	return !chip_masks_lint0;
}

static const struct irqchip_ops chip = {chip_pending,	    chip_acknowledge, chip_timers,
					chip_set_cr8,	    chip_get_cr8,     chip_reset,
					chip_accepts_extint};

static int setup(void **state)
{
	machine_init();
	waiting = -1;
	acknowledged = chip_cr8 = 0;
	chip_masks_lint0 = false;
	return 0;
}

static u32 windows(void)
{
	return fake_vcpu(&vcpu->v)->intercepts;
}

/* `first` is being delivered when `second` comes. Returns the vector, or -1: triple fault. */
static int combine(u8 first, u8 second)
{
	vcpu->events.exception = (struct pending_exception){.injected = true, .vector = first};
	vcpu_queue_exception(vcpu, second, true, 0x18);
	if (vcpu->request & REQUEST_TRIPLE_FAULT) {
		vcpu->request = 0;
		return -1;
	}
	return vcpu->events.exception.vector;
}

static void exceptions_combine(void **state)
{
	static const u8 contributory[] = {VECTOR_DE, VECTOR_TS, VECTOR_NP, VECTOR_SS, VECTOR_GP};

	for (u32 i = 0; i < ARRAY_SIZE(contributory); i++) {
		u8 c = contributory[i];

		assert_int_equal(combine(c, VECTOR_GP), VECTOR_DF);
		assert_int_equal(vcpu->events.exception.error, 0);
		assert_true(vcpu->events.exception.has_error);
		assert_int_equal(combine(VECTOR_PF, c), VECTOR_DF);
		assert_int_equal(combine(c, VECTOR_PF), VECTOR_PF);
		assert_int_equal(combine(VECTOR_DF, c), -1);
		assert_int_equal(combine(VECTOR_UD, c), c);
		assert_int_equal(combine(c, VECTOR_UD), VECTOR_UD);
	}
	assert_int_equal(combine(VECTOR_PF, VECTOR_PF), VECTOR_DF);
	assert_int_equal(combine(VECTOR_DF, VECTOR_PF), -1);
	assert_int_equal(combine(VECTOR_BP, VECTOR_PF), VECTOR_PF);
	assert_int_equal(combine(VECTOR_AC, VECTOR_GP), VECTOR_GP);
}

static void a_triple_fault_is_a_shutdown(void **state)
{
	vcpu->events.exception = (struct pending_exception){.injected = true, .vector = VECTOR_DF};
	vcpu_inject_gp(vcpu, 0);
	assert_int_equal(run(), RUN_USER);
	assert_int_equal(vcpu->exit.reason, USER_SHUTDOWN);
	push(EXIT_TRIPLE_FAULT, 0);
	assert_int_equal(run(), RUN_USER);
	assert_int_equal(vcpu->exit.reason, USER_SHUTDOWN);
}

static void a_page_fault_sets_cr2_when_delivered(void **state)
{
	vcpu_queue_page_fault(vcpu, 0xdeadb000, PF_WRITE | PF_USER);
	assert_int_equal(reg(VREG_CR2), 0);
	push(EXIT_INTR, 0);
	run();
	assert_exception(VECTOR_PF);
	assert_int_equal(last_event().error, PF_WRITE | PF_USER);
	assert_int_equal(reg(VREG_CR2), 0xdeadb000);
	assert_true(reg(VREG_RFLAGS) & RFLAGS_RF);
	/* Delivered: not again. */
	push(EXIT_INTR, 0);
	run();
	assert_int_equal(events_delivered(), 1);
}

static void real_mode_pushes_no_error_code(void **state)
{
	mode_real(0);
	vcpu_inject_gp(vcpu, 0x50);
	push(EXIT_INTR, 0);
	run();
	assert_exception(VECTOR_GP);
	assert_false(last_event().has_error);
	mode_flat();
	vcpu_inject_gp(vcpu, 0x50);
	push(EXIT_INTR, 0);
	run();
	assert_true(last_event().has_error);
	assert_int_equal(last_event().error, 0x50);
	vcpu_inject_ud(vcpu);
	push(EXIT_INTR, 0);
	run();
	assert_false(last_event().has_error);
}

static void what_was_cut_short_is_delivered_again(void **state)
{
	struct virt_event cut = {
		.type = EVENT_EXCEPTION, .vector = VECTOR_NP, .has_error = true, .error = 0x33};

	run_exit((struct vm_exit){.reason = EXIT_NONE, .vectoring = cut});
	assert_exception(VECTOR_NP);
	assert_int_equal(last_event().error, 0x33);
	assert_false(vcpu->events.exception.injected);
	cut = (struct virt_event){.type = EVENT_NMI, .vector = VECTOR_NMI};
	run_exit((struct vm_exit){.reason = EXIT_NONE, .vectoring = cut});
	assert_int_equal(last_event().type, EVENT_NMI);
	set_reg(VREG_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
	cut = (struct virt_event){.type = EVENT_INTR, .vector = 0x55};
	run_exit((struct vm_exit){.reason = EXIT_NONE, .vectoring = cut});
	assert_int_equal(last_event().type, EVENT_INTR);
	assert_int_equal(last_event().vector, 0x55);
	cut = (struct virt_event){.type = EVENT_SOFT_INTR, .vector = 0x80, .insn_len = 2};
	run_exit((struct vm_exit){.reason = EXIT_NONE, .vectoring = cut});
	assert_int_equal(last_event().type, EVENT_SOFT_INTR);
	assert_int_equal(last_event().insn_len, 2);
	assert_int_equal(events_delivered(), 4);
}

/* The handlers of INT3 and INTO return behind them. */
static void a_breakpoint_returns_behind_itself(void **state)
{
	struct virt_event cut = {.type = EVENT_EXCEPTION, .vector = VECTOR_BP, .insn_len = 1};

	vcpu_queue_exception(vcpu, VECTOR_BP, false, 0);
	run_exit((struct vm_exit){.reason = EXIT_NONE, .vectoring = cut});
	assert_exception(VECTOR_BP);
	assert_int_equal(last_event().insn_len, 1);
	assert_int_equal(events_delivered(), 2);
}

static void an_exception_during_delivery_combines(void **state)
{
	struct virt_event cut = {.type = EVENT_EXCEPTION, .vector = VECTOR_GP, .has_error = true};

	/* #GP was being delivered; the exit is intercepted #AC (benign), then #NP. */
	run_exit((struct vm_exit){
		.reason = EXIT_EXCEPTION,
		.vectoring = cut,
		.exception = {.vector = VECTOR_NP, .has_error = true, .error = 8}});
	assert_exception(VECTOR_DF);
	run_exit((struct vm_exit){.reason = EXIT_EXCEPTION,
				  .vectoring = cut,
				  .exception = {.vector = VECTOR_AC, .has_error = true}});
	assert_exception(VECTOR_AC);
}

static void an_interrupt_waits_behind_an_exception(void **state)
{
	struct virt_event cut = {.type = EVENT_INTR, .vector = 0x55};
	struct fake_vcpu *f = fake_vcpu(&vcpu->v);

	set_reg(VREG_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
	fake_push_exit(&(struct vm_exit){.reason = EXIT_VIRT_INSN, .vectoring = cut});
	push(EXIT_NONE, 0);
	push(EXIT_INTR, 0);
	run();
	assert_int_equal(f->delivered_count, 2);
	assert_int_equal(f->delivered[0].vector, VECTOR_UD);
	assert_int_equal(f->delivered[1].type, EVENT_INTR);
	assert_int_equal(f->delivered[1].vector, 0x55);
}

static void interrupts_wait_for_the_window(void **state)
{
	machine_vm->irqchip = &chip;
	waiting = 0x31;
	vcpu_set_request(vcpu, REQUEST_EVENT);
	push(EXIT_INTR, 0);
	run();
	assert_int_equal(events_delivered(), 0);
	assert_true(windows() & INTERCEPT_INTR_WINDOW);
	assert_int_equal(acknowledged, 0);
	/* IF=1, but in the shadow of STI */
	set_reg(VREG_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
	set_reg(VREG_INT_SHADOW, 1);
	vcpu_set_request(vcpu, REQUEST_EVENT);
	push(EXIT_INTR, 0);
	run();
	assert_int_equal(events_delivered(), 0);
	set_reg(VREG_INT_SHADOW, 0);
	run_insn(EXIT_INTR_WINDOW, 0);
	assert_int_equal(last_event().vector, 0x31);
	assert_int_equal(acknowledged, 1);
	assert_false(windows() & INTERCEPT_INTR_WINDOW);
}

static void wait_for_the_window(void)
{
	machine_vm->irqchip = &chip;
	waiting = 0x31;
	vcpu_set_request(vcpu, REQUEST_EVENT);
	push(EXIT_INTR, 0);
	run();
	assert_true(windows() & INTERCEPT_INTR_WINDOW);
	assert_int_equal(events_delivered(), 0);
	set_reg(VREG_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
}

static void behind_a_host_interrupt_no_window_is_needed(void **state)
{
	wait_for_the_window(); /* the host interrupt that ended its run was faster than the window
				*/
	push(EXIT_INTR, 0);
	run();
	assert_int_equal(events_delivered(), 1);
	assert_int_equal(last_event().vector, 0x31);
}

static void behind_a_skipped_shadow_no_window_is_needed(void **state)
{
	wait_for_the_window();
	set_reg(VREG_INT_SHADOW, 1); /* STI, and an instruction that exits */
	run_insn(EXIT_WBINVD, 2);
	assert_int_equal(events_delivered(), 1);
	assert_int_equal(last_event().vector, 0x31);
}

static void cr8_holds_one_back(void **state)
{
	machine_vm->irqchip = &chip;
	set_reg(VREG_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
	waiting = -2;
	vcpu_set_request(vcpu, REQUEST_EVENT);
	push(EXIT_INTR, 0);
	run();
	assert_true(windows() & INTERCEPT_CR8_WRITE);
	assert_false(windows() & INTERCEPT_INTR_WINDOW);
	waiting = 0x41;
	vcpu->v.gpr[GPR_RBX] = 3;
	run_exit((struct vm_exit){.reason = EXIT_CR_WRITE,
				  .insn_len = 4,
				  .mov = {.nr = 8, .gpr = GPR_RBX, .gpr_known = true}});
	assert_int_equal(chip_cr8, 3);
	assert_int_equal(last_event().vector, 0x41);
	assert_false(windows() & INTERCEPT_CR8_WRITE);
}

static void nmis_wait_and_are_counted(void **state)
{
	for (u32 i = 0; i < 5; i++)
		vcpu_post_nmi(vcpu);
	assert_int_equal(vcpu->events.nmi_queued, 2);
	push(EXIT_INTR, 0);
	run();
	assert_int_equal(last_event().type, EVENT_NMI);
	assert_int_equal(vcpu->events.nmi_queued, 1);
	assert_true(windows() & INTERCEPT_NMI_WINDOW);
	push(EXIT_INTR, 0);
	run();
	assert_int_equal(events_delivered(), 1); /* masked until IRET */
	set_reg(VREG_NMI_MASKED, 0);
	set_reg(VREG_INT_SHADOW, 1);
	run_insn(EXIT_NMI_WINDOW, 0);
	assert_int_equal(events_delivered(), 1); /* and in the shadow of MOV SS */
	set_reg(VREG_INT_SHADOW, 0);
	run_insn(EXIT_NMI_WINDOW, 0);
	assert_int_equal(events_delivered(), 2);
	assert_false(windows() & INTERCEPT_NMI_WINDOW);
	assert_int_equal(vcpu->events.nmi_queued, 0);
}

static void an_nmi_goes_before_an_interrupt(void **state)
{
	struct fake_vcpu *f = fake_vcpu(&vcpu->v);

	machine_vm->irqchip = &chip;
	set_reg(VREG_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
	waiting = 0x31;
	vcpu_post_nmi(vcpu);
	push(EXIT_INTR_WINDOW, 0);
	push(EXIT_INTR, 0);
	run();
	assert_int_equal(f->delivered[0].type, EVENT_NMI);
	assert_int_equal(f->delivered[1].type, EVENT_INTR);
}

static void the_vmm_injects_an_interrupt(void **state)
{
	set_reg(VREG_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
	assert_true(vcpu_interrupt_ready(vcpu));
	vcpu->events.user_interrupt = true;
	vcpu->events.user_vector = 0x66;
	assert_false(vcpu_interrupt_ready(vcpu));
	vcpu_set_request(vcpu, REQUEST_EVENT);
	push(EXIT_INTR, 0);
	run();
	assert_int_equal(last_event().type, EVENT_INTR);
	assert_int_equal(last_event().vector, 0x66);
	assert_true(vcpu_interrupt_ready(vcpu));
	set_reg(VREG_RFLAGS, RFLAGS_ONE);
	assert_false(vcpu_interrupt_ready(vcpu));
	set_reg(VREG_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
	set_reg(VREG_INT_SHADOW, 1);
	assert_false(vcpu_interrupt_ready(vcpu));
}

static void the_vmm_waits_for_a_window(void **state)
{
	vcpu->window_requested = true;
	push(EXIT_INTR, 0);
	assert_int_equal(run(), RUN_INTERRUPTED);
	assert_true(windows() & INTERCEPT_INTR_WINDOW);
	set_reg(VREG_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
	push(EXIT_INTR_WINDOW, 0);
	assert_int_equal(run(), RUN_USER);
	assert_int_equal(vcpu->exit.reason, USER_IRQ_WINDOW);
	assert_int_equal(fake_exits_left(), 1); /* it could be told before the entry */
	push(EXIT_INTR, 0);
	machine_vm->irqchip = &chip; /* with a PIC of its own nobody asks the VMM */
	assert_int_equal(run(), RUN_INTERRUPTED);
	machine_vm->split_irqchip = true;
	assert_int_equal(run(), RUN_USER);
}

/* The VMM's 8259 behind an APIC whose LINT0 is masked: it waits, and asks for no window. */
static void a_masked_lint0_holds_the_vmms_back(void **state)
{
	machine_vm->irqchip = &chip;
	machine_vm->split_irqchip = true;
	chip_masks_lint0 = true;
	set_reg(VREG_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
	assert_false(vcpu_interrupt_ready(vcpu));
	vcpu->events.user_interrupt = true;
	vcpu->events.user_vector = 0x66;
	vcpu->window_requested = true;
	waiting = 0x31;
	push(EXIT_INTR, 0);
	assert_int_equal(run(), RUN_INTERRUPTED);
	assert_int_equal(last_event().vector, 0x31); /* the APIC's own are not held back */
	assert_true(vcpu->events.user_interrupt);
	assert_false(windows() & INTERCEPT_INTR_WINDOW);
	vcpu->mp_state = MP_HALTED;
	assert_int_equal(run(), RUN_HALTED);
	chip_masks_lint0 = false;
	vcpu_set_request(vcpu, REQUEST_EVENT);
	push(EXIT_INTR, 0);
	vcpu->window_requested = false;
	assert_int_equal(run(), RUN_INTERRUPTED);
	assert_int_equal(last_event().vector, 0x66);
	assert_false(vcpu->events.user_interrupt);
}

static void debugging_blocks_interrupts(void **state)
{
	static const u64 dr[8];

	machine_vm->irqchip = &chip;
	set_reg(VREG_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
	waiting = 0x31;
	assert_int_equal(debug_set(vcpu, DEBUG_ENABLE | DEBUG_BLOCK_INTERRUPTS, dr), 0);
	vcpu_post_nmi(vcpu);
	push(EXIT_INTR, 0);
	run();
	assert_int_equal(events_delivered(), 0);
	/* No window: the guest would exit without end. */
	assert_int_equal(vcpu->intercepts & (INTERCEPT_INTR_WINDOW | INTERCEPT_NMI_WINDOW), 0);
	/* An exception is the guest's own doing. */
	vcpu_inject_gp(vcpu, 0);
	push(EXIT_INTR, 0);
	run();
	assert_exception(VECTOR_GP);
	/* What waited comes as soon as it may. */
	assert_int_equal(debug_set(vcpu, 0, dr), 0);
	push(EXIT_INTR, 0);
	run();
	assert_int_equal(last_event().type, EVENT_NMI);
	assert_true(vcpu->intercepts & INTERCEPT_INTR_WINDOW);
	push(EXIT_INTR_WINDOW, 0);
	push(EXIT_INTR, 0);
	run();
	assert_int_equal(last_event().type, EVENT_INTR);
	assert_int_equal(last_event().vector, 0x31);
}

static void an_event_prepared_but_not_entered_is_kept(void **state)
{
	vcpu_inject_gp(vcpu, 0);
	vcpu_set_request(vcpu, REQUEST_EVENT);
	assert_true(event_prepare(vcpu));
	assert_true(vcpu->events.exception.injected);
	push(EXIT_INTR, 0);
	run();
	assert_int_equal(events_delivered(), 1);
	assert_false(vcpu->events.exception.injected);
}

/* KVM_SET_VCPU_EVENTS at a reset, after a run that ended before the entry. */
static void an_event_taken_back_is_not_delivered(void **state)
{
	vcpu_inject_gp(vcpu, 0);
	assert_true(event_prepare(vcpu));
	vcpu->events = (struct vcpu_events){0};
	vcpu_set_request(vcpu, REQUEST_EVENT);
	push(EXIT_INTR, 0);
	run();
	assert_int_equal(events_delivered(), 0);
}

static void a_debug_trap_fills_dr6(void **state)
{
	set_reg(VREG_DR6, DR6_INIT | DR6_B2 | DR6_BT);
	vcpu->guest_dr7 = DR7_ONE | DR7_GD;
	event_queue_debug(vcpu, DR6_BS);
	event_queue_debug(vcpu, DR6_B0);
	push(EXIT_INTR, 0);
	run();
	assert_exception(VECTOR_DB);
	assert_int_equal(reg(VREG_DR6), DR6_INIT | DR6_BS | DR6_B0 | DR6_BT);
	assert_int_equal(vcpu->guest_dr7, DR7_ONE);
	assert_false(reg(VREG_RFLAGS) & RFLAGS_RF);
	/* A fault is not replaced by the trap of the instruction that did not complete. */
	vcpu_inject_gp(vcpu, 0);
	event_queue_debug(vcpu, DR6_BS);
	assert_int_equal(vcpu->events.exception.vector, VECTOR_GP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(exceptions_combine, setup),
		cmocka_unit_test_setup(a_triple_fault_is_a_shutdown, setup),
		cmocka_unit_test_setup(a_page_fault_sets_cr2_when_delivered, setup),
		cmocka_unit_test_setup(real_mode_pushes_no_error_code, setup),
		cmocka_unit_test_setup(what_was_cut_short_is_delivered_again, setup),
		cmocka_unit_test_setup(an_exception_during_delivery_combines, setup),
		cmocka_unit_test_setup(an_interrupt_waits_behind_an_exception, setup),
		cmocka_unit_test_setup(interrupts_wait_for_the_window, setup),
		cmocka_unit_test_setup(behind_a_host_interrupt_no_window_is_needed, setup),
		cmocka_unit_test_setup(behind_a_skipped_shadow_no_window_is_needed, setup),
		cmocka_unit_test_setup(cr8_holds_one_back, setup),
		cmocka_unit_test_setup(nmis_wait_and_are_counted, setup),
		cmocka_unit_test_setup(an_nmi_goes_before_an_interrupt, setup),
		cmocka_unit_test_setup(the_vmm_injects_an_interrupt, setup),
		cmocka_unit_test_setup(the_vmm_waits_for_a_window, setup),
		cmocka_unit_test_setup(a_masked_lint0_holds_the_vmms_back, setup),
		cmocka_unit_test_setup(debugging_blocks_interrupts, setup),
		cmocka_unit_test_setup(an_event_prepared_but_not_entered_is_kept, setup),
		cmocka_unit_test_setup(an_event_taken_back_is_not_delivered, setup),
		cmocka_unit_test_setup(a_debug_trap_fills_dr6, setup),
		cmocka_unit_test_setup(a_breakpoint_returns_behind_itself, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
