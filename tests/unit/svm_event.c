// SPDX-License-Identifier: MIT
/* Injection, windows, NMI masking without a virtual NMI, and what an exit cut short. */
#include "tests/unit/svm.h"

void vmsave(hpa_t hpa)
{
}

void vmload(hpa_t hpa)
{
}

void svm_open_nmi(void)
{
}

void svm_sleep_nmi(void)
{
}

static const struct virt_event nmi = {.type = EVENT_NMI, .vector = 2};

static void load(void)
{
	svm_load(&vcpu, &cpu0);
}

static void encoding(void **state)
{
	static const struct {
		struct virt_event event;
		u64 word;
	} cases[] = {
		{{.type = EVENT_NONE}, 0},
		{{.type = EVENT_INTR, .vector = 0x31}, 0x80000031},
		{{.type = EVENT_NMI, .vector = 2}, 0x80000202},
		{{.type = EVENT_EXCEPTION, .vector = 6}, 0x80000306},
		{{.type = EVENT_EXCEPTION, .vector = 14, .has_error = true, .error = 7},
		 0x780000b0e},
		{{.type = EVENT_SOFT_INTR, .vector = 0x80, .insn_len = 2}, 0x80000480},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		svm_inject(&vcpu, &cases[i].event);
		assert_int_equal(vmcb->event_inject, cases[i].word);
	}
	svm_inject(&vcpu, &cases[1].event);
	svm_inject(&vcpu, &cases[0].event); /* taken back */
	assert_int_equal(vmcb->event_inject, 0);
}

static void consumed(void **state)
{
	load();
	svm_inject(&vcpu, &(struct virt_event){.type = EVENT_INTR, .vector = 0x31});
	set_exit(SVM_INTR, 0, 0);
	enter();
	assert_int_equal(entered.event_inject, 0x80000031);
	enter();
	assert_int_equal(entered.event_inject, 0);
}

#define VIRQ(vector) (V_IRQ | V_INTR_PRIORITY | V_IGNORE_TPR | (u64)(vector) << 32)

static const struct virt_event intr = {.type = EVENT_INTR, .vector = 0x31};

static void guest_interrupted(void)
{
	set_exit(SVM_INTR, 0, 0);
}

static void guest_takes_virq(void)
{
	vmcb->int_control &= ~(u64)V_IRQ;
	set_exit(SVM_INTR, 0, 0);
}

/* Under QEMU what the guest takes at once goes in as a virtual interrupt, without an exit at its
 * window. */
static void virtual_interrupt(void **state)
{
	load();
	svm_features.qemu = true;
	vmcb->rflags = RFLAGS_ONE | RFLAGS_IF;
	vcpu.dirty = 0;
	svm_inject(&vcpu, &intr);
	assert_int_equal(vcpu.dirty, CLEAN_TPR);
	guest = guest_takes_virq;
	assert_int_equal(enter()->vectoring.type, EVENT_NONE);
	assert_int_equal(entered.event_inject, 0);
	assert_int_equal(entered.int_control, V_INTR_MASKING | VIRQ(0x31));
	assert_false(entered.intercepts[SVM_VINTR / 32] >> SVM_VINTR % 32 & 1);
	assert_int_equal(vmcb->int_control, V_INTR_MASKING);
	enter();
	assert_int_equal(entered.int_control, V_INTR_MASKING);
	svm_inject(&vcpu, &intr);
	svm_inject(&vcpu, &(struct virt_event){.type = EVENT_NONE}); /* taken back */
	assert_int_equal(vmcb->int_control, V_INTR_MASKING);
	enter();
	assert_int_equal(entered.int_control, V_INTR_MASKING);
}

/* Something else came first, or the delivery faulted: it comes back, once. */
static void virtual_interrupt_cut_short(void **state)
{
	load();
	svm_features.qemu = true;
	vmcb->rflags = RFLAGS_ONE | RFLAGS_IF;
	svm_inject(&vcpu, &intr);
	guest = guest_interrupted;
	assert_int_equal(enter()->vectoring.type, EVENT_INTR);
	assert_int_equal(last.vectoring.vector, 0x31);
	assert_int_equal(vmcb->int_control, V_INTR_MASKING);
	assert_int_equal(enter()->vectoring.type, EVENT_NONE);
	svm_inject(&vcpu, &intr);
	vmcb->exit_int_info = 0x80000031;
	assert_int_equal(enter()->vectoring.type, EVENT_INTR);
	assert_int_equal(vmcb->int_control, V_INTR_MASKING);
}

/* Elsewhere, and where V_IRQ would wait, the event injection delivers at once. */
static void interrupt_by_event_injection(void **state)
{
	load();
	vmcb->rflags = RFLAGS_ONE | RFLAGS_IF;
	svm_inject(&vcpu, &intr);
	assert_int_equal(vmcb->event_inject, 0x80000031);
	assert_int_equal(vmcb->int_control, V_INTR_MASKING);
	svm_features.qemu = true;
	vmcb->int_state = INT_STATE_SHADOW;
	svm_inject(&vcpu, &intr);
	assert_int_equal(vmcb->event_inject, 0x80000031);
	vmcb->int_state = 0;
	svm_inject(&vcpu, &intr);
	assert_int_equal(vmcb->event_inject, 0);
	svm_intercept(&vcpu, INTERCEPT_BP); /* leaves it as it is */
	assert_int_equal(vmcb->int_control, V_INTR_MASKING | VIRQ(0x31));
	vmcb->rflags = RFLAGS_ONE;
	svm_inject(&vcpu, &intr);
	assert_int_equal(vmcb->event_inject, 0x80000031);
	assert_int_equal(vmcb->int_control, V_INTR_MASKING);
}

static void guest_takes_virq_up_to_iret(void)
{
	vmcb->int_control &= ~(u64)V_IRQ;
	set_exit(SVM_IRET, 0, 0);
}

static u32 tpr_writes;

u64 read_cr8(void)
{
	return 3;
}

void write_cr8(u64 value)
{
	assert_int_equal(value, 3);
	tpr_writes++;
}

/* QEMU may have forgotten a host interrupt that came during such an entry. */
static void tpr_is_written_behind_virq(void **state)
{
	load();
	vmcb->rflags = RFLAGS_ONE | RFLAGS_IF;
	for (u32 i = 0; i < 2; i++) {
		svm_features.qemu = i;
		tpr_writes = 0;
		svm_inject(&vcpu, &intr);
		guest = guest_takes_virq;
		enter();
		assert_int_equal(tpr_writes, i);
		enter();
		assert_int_equal(tpr_writes, i);
		svm_intercept(&vcpu, INTERCEPT_INTR_WINDOW);
		guest = guest_interrupted;
		enter(); /* a window that stays wanted */
		enter();
		assert_int_equal(tpr_writes, 3 * i);
		svm_intercept(&vcpu, 0);
		enter();
		assert_int_equal(tpr_writes, 3 * i);
	}
}

static void guest_hlt(void)
{
	set_exit(SVM_HLT, 0, 0);
}

static void guest_behind_shadow(void)
{
	vmcb->rip++;
	vmcb->int_state = 0;
	vmcb->dr6 = DR6_INIT | DR6_BS;
	set_exit(SVM_EXCEPTION + VECTOR_DB, 0, 0);
}

/* The instruction behind STI runs alone, with TF, where V_IRQ would come before it. */
static void window_in_shadow(void **state)
{
	load();
	vcpu.rip = vmcb->rip = 0x2000;
	vmcb->rflags = RFLAGS_ONE | RFLAGS_IF;
	vmcb->int_state = INT_STATE_SHADOW;
	svm_intercept(&vcpu, INTERCEPT_INTR_WINDOW);
	guest = guest_hlt;
	enter(); /* a processor loads the shadow */
	assert_int_equal(entered.rflags, RFLAGS_ONE | RFLAGS_IF);
	assert_int_equal(entered.int_control, V_INTR_MASKING | VIRQ(0));
	svm_features.qemu = true;
	vcpu.rip = vmcb->rip = 0x2000;
	vmcb->rflags = RFLAGS_ONE | RFLAGS_IF;
	vmcb->int_state = INT_STATE_SHADOW;
	svm_intercept(&vcpu, INTERCEPT_INTR_WINDOW);
	guest = guest_hlt;
	enter();
	assert_int_equal(last.reason, EXIT_HLT);
	assert_int_equal(entered.int_control, V_INTR_MASKING);
	assert_false(entered.intercepts[SVM_VINTR / 32] >> SVM_VINTR % 32 & 1);
	assert_int_equal(entered.rflags, RFLAGS_ONE | RFLAGS_IF | RFLAGS_TF);
	assert_int_equal(vmcb->rflags, RFLAGS_ONE | RFLAGS_IF);
	guest = guest_behind_shadow;
	svm_set(&vcpu, VREG_NMI_MASKED, 1);
	enter();
	assert_int_equal(last.reason, EXIT_NONE);
	assert_int_equal(svm_get(&vcpu, VREG_NMI_MASKED), 1);
	assert_int_equal(vmcb->rflags, RFLAGS_ONE | RFLAGS_IF);
	guest = guest_interrupted;
	enter();
	assert_int_equal(entered.rflags, RFLAGS_ONE | RFLAGS_IF);
	assert_int_equal(entered.int_control, V_INTR_MASKING | VIRQ(0));
	assert_true(entered.intercepts[SVM_VINTR / 32] >> SVM_VINTR % 32 & 1);
	/* With IF clear nothing comes, and an event ends the shadow: no step. */
	vmcb->int_state = INT_STATE_SHADOW;
	vmcb->rflags = RFLAGS_ONE;
	enter();
	assert_int_equal(entered.rflags, RFLAGS_ONE);
	vmcb->rflags = RFLAGS_ONE | RFLAGS_IF;
	svm_inject(&vcpu, &(struct virt_event){.type = EVENT_EXCEPTION, .vector = VECTOR_UD});
	enter();
	assert_int_equal(entered.rflags, RFLAGS_ONE | RFLAGS_IF);
	assert_int_equal(entered.int_control, V_INTR_MASKING | VIRQ(0));
}

/* Another interrupt waits behind the one that goes in: V_IRQ delivers, then it is a window. */
static void window_behind_virq(void **state)
{
	load();
	svm_features.qemu = true;
	for (u32 order = 0; order < 2; order++) {
		vmcb->rflags = RFLAGS_ONE | RFLAGS_IF;
		if (order)
			svm_inject(&vcpu, &intr);
		svm_intercept(&vcpu, INTERCEPT_INTR_WINDOW);
		if (!order)
			svm_inject(&vcpu, &intr);
		assert_int_equal(vmcb->event_inject, 0);
		assert_int_equal(vmcb->int_control, V_INTR_MASKING | VIRQ(0x31));
		assert_false(intercepted(SVM_VINTR));
		assert_true(intercepted(SVM_IRET));
		guest = order ? guest_takes_virq_up_to_iret : guest_takes_virq;
		assert_int_equal(enter()->reason, order ? EXIT_NONE : EXIT_INTR);
		assert_int_equal(last.vectoring.type, EVENT_NONE);
		assert_int_equal(svm_get(&vcpu, VREG_NMI_MASKED), 0);
		assert_int_equal(vmcb->int_control, V_INTR_MASKING | VIRQ(0));
		assert_true(intercepted(SVM_VINTR));
		assert_false(intercepted(SVM_IRET));
		svm_intercept(&vcpu, 0);
		assert_int_equal(vmcb->int_control, V_INTR_MASKING);
		assert_false(intercepted(SVM_VINTR));
	}
	/* NMI masking wants the IRET, too. */
	svm_set(&vcpu, VREG_NMI_MASKED, 1);
	svm_intercept(&vcpu, INTERCEPT_INTR_WINDOW);
	svm_inject(&vcpu, &intr);
	guest = guest_takes_virq;
	enter();
	assert_true(intercepted(SVM_IRET));
}

static void vectoring(void **state)
{
	static const struct {
		u64 word;
		u8 type, vector;
		bool has_error;
		u32 error;
	} cases[] = {
		{0x80000031, EVENT_INTR, 0x31, false, 0},
		{0x80000202, EVENT_NMI, 2, false, 0},
		{0x780000b0e, EVENT_EXCEPTION, 14, true, 7},
		{0x80000306, EVENT_EXCEPTION, 6, false, 0},
		{0x80000480, EVENT_NONE, 0x80, false, 0}, /* INT n: executes again */
		{0x80000303, EVENT_NONE, 3, false, 0},	  /* INT3 */
		{0x80000304, EVENT_NONE, 4, false, 0},	  /* INTO */
		{0x31, EVENT_NONE, 0x31, false, 0},	  /* not valid */
	};

	load();
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct vm_exit *e;

		set_exit(SVM_NPF, 0, 0);
		vmcb->exit_int_info = cases[i].word;
		e = enter();
		assert_int_equal(e->vectoring.type, cases[i].type);
		if (e->vectoring.type == EVENT_NONE)
			continue;
		assert_int_equal(e->vectoring.vector, cases[i].vector);
		assert_int_equal(e->vectoring.has_error, cases[i].has_error);
		assert_int_equal(e->vectoring.error, cases[i].error);
	}
}

/* An injected INT n that was cut short comes back, with RIP where it was. */
static void soft_interrupt(void **state)
{
	const struct virt_event soft = {.type = EVENT_SOFT_INTR, .vector = 0x80, .insn_len = 2};

	load();
	vcpu.rip = 0x1000;
	svm_inject(&vcpu, &soft);
	set_exit(SVM_NPF, 0, 0);
	vmcb->exit_int_info = 0x80000480;
	enter();
	assert_int_equal(entered.rip, 0x1002); /* pushed as the return address */
	assert_int_equal(last.vectoring.type, EVENT_SOFT_INTR);
	assert_int_equal(last.vectoring.insn_len, 2);
	assert_int_equal(vcpu.rip, 0x1000);
	use_features(VIRT_NEXT_RIP);
	svm_inject(&vcpu, &soft);
	enter();
	assert_int_equal(entered.rip, 0x1000);
	assert_int_equal(entered.next_rip, 0x1002);
	assert_int_equal(vcpu.rip, 0x1000);
	vmcb->exit_int_info = 0;
	enter();
	assert_int_equal(entered.event_inject, 0);
}

/* INT3 and INTO return behind themselves: nRIP is not what the last exit left there. */
static void soft_exception(void **state)
{
	const struct virt_event int3 = {.type = EVENT_EXCEPTION, .vector = 3, .insn_len = 1};
	const struct virt_event bare = {.type = EVENT_SOFT_INTR, .vector = 0x80};

	load();
	vcpu.rip = 0x1000;
	svm_inject(&vcpu, &int3);
	svm_inject(&vcpu, &int3); /* once more, before it was entered */
	set_exit(SVM_NPF, 0, 0);
	vmcb->exit_int_info = 0x80000303;
	enter();
	assert_int_equal(entered.event_inject, 0x80000303);
	assert_int_equal(entered.rip, 0x1001);
	assert_int_equal(last.vectoring.type, EVENT_EXCEPTION); /* no INT3 need be there */
	assert_int_equal(last.vectoring.vector, 3);
	assert_int_equal(vcpu.rip, 0x1000);
	use_features(VIRT_NEXT_RIP);
	svm_inject(&vcpu, &int3);
	enter();
	assert_int_equal(entered.next_rip, 0x1001);
	assert_int_equal(entered.rip, 0x1000);
	vmcb->next_rip = 0;
	svm_inject(&vcpu, &bare);
	enter();
	assert_int_equal(entered.next_rip, 0x1000);
}

static void interrupt_window(void **state)
{
	vcpu.dirty = 0;
	svm_set(&vcpu, VREG_CR8, 5);
	svm_intercept(&vcpu, INTERCEPT_INTR_WINDOW);
	assert_int_equal(vmcb->int_control,
			 V_INTR_MASKING | V_IRQ | V_INTR_PRIORITY | V_IGNORE_TPR | 5);
	assert_true(intercepted(SVM_VINTR));
	assert_true(intercepted(SVM_CR_WRITE + 8)); /* TPR may not change under V_IRQ */
	assert_int_equal(vcpu.dirty, CLEAN_TPR | CLEAN_INTERCEPTS);
	vcpu.dirty = 0;
	svm_intercept(&vcpu, INTERCEPT_INTR_WINDOW);
	assert_int_equal(vcpu.dirty, 0);
	svm_intercept(&vcpu, 0);
	assert_int_equal(vmcb->int_control, V_INTR_MASKING | 5);
	assert_false(intercepted(SVM_VINTR));
	assert_false(intercepted(SVM_CR_WRITE + 8));
}

static void switchable(void **state)
{
	vcpu.dr_live = true;
	svm_intercept(&vcpu, 0);
	assert_int_equal(vmcb->intercepts[1], 0);
	svm_intercept(&vcpu, INTERCEPT_MOV_DR);
	assert_int_equal(vmcb->intercepts[1], ~0u);
	svm_intercept(&vcpu, INTERCEPT_BP);
	assert_true(intercepted(SVM_EXCEPTION + 3));
	assert_int_equal(vmcb->intercepts[1], 0);
	svm_intercept(&vcpu, INTERCEPT_UD);
	assert_true(intercepted(SVM_EXCEPTION + 6));
	assert_false(intercepted(SVM_EXCEPTION + 3));
	svm_intercept(&vcpu, INTERCEPT_CR8_WRITE);
	assert_true(intercepted(SVM_CR_WRITE + 8));
	svm_intercept(&vcpu, 0);
	assert_true(intercepted(SVM_EXCEPTION + 1)); /* #DB, always */
	assert_true(intercepted(SVM_NMI));
	assert_true(intercepted(SVM_HLT));
	vcpu.dr_live = false; /* the DRs on the processor are not this child's */
	svm_intercept(&vcpu, 0);
	assert_int_equal(vmcb->intercepts[1], ~0u);
}

static void switchable_management(void **state)
{
	svm_intercept(&vcpu, 0);
	assert_int_equal(vmcb->intercepts[1], 0);
	assert_false(intercepted(SVM_NMI));
	svm_intercept(&vcpu, INTERCEPT_NMI | INTERCEPT_DB | INTERCEPT_HLT);
	assert_true(intercepted(SVM_NMI));
	assert_true(intercepted(SVM_EXCEPTION + 1));
	assert_true(intercepted(SVM_HLT));
	assert_false(intercepted(SVM_IRET));
	svm_intercept(&vcpu, INTERCEPT_NMI_WINDOW);
	assert_true(intercepted(SVM_IRET));
	assert_false(intercepted(SVM_NMI));
	load();
	set_exit(SVM_IRET, 0, 0);
	assert_int_equal(enter()->reason, EXIT_NMI_WINDOW); /* nothing is tracked: it is real */
	assert_int_equal(vcpu.nmi_state, NMI_OPEN);
}

static void leave_at(u64 rip, u64 code, u64 dr6, u64 rflags)
{
	vmcb->rip = rip;
	vmcb->dr6 = dr6;
	vmcb->rflags = rflags;
	set_exit(code, 0, 0);
}

static void guest_irets(void)
{
	leave_at(0x2000, SVM_IRET, DR6_INIT, entered.rflags);
}

static void guest_steps(void)
{
	leave_at(0x3000, SVM_EXCEPTION + VECTOR_DB, DR6_INIT | DR6_BS, RFLAGS_ONE);
}

static void guest_elsewhere(void)
{
	leave_at(0x4000, SVM_INTR, DR6_INIT, entered.rflags);
}

static void inject_nmi(void)
{
	load();
	vmcb->rflags = RFLAGS_ONE;
	svm_inject(&vcpu, &nmi);
	assert_int_equal(svm_get(&vcpu, VREG_NMI_MASKED), 1);
	assert_true(intercepted(SVM_IRET));
	guest = guest_irets;
	assert_int_equal(enter()->reason, EXIT_NONE);
	assert_false(intercepted(SVM_IRET));
	assert_int_equal(svm_get(&vcpu, VREG_NMI_MASKED), 1); /* the IRET has not run */
}

static void nmi_no_window(void **state)
{
	inject_nmi();
	guest = guest_elsewhere;
	assert_int_equal(enter()->reason, EXIT_INTR);
	assert_int_equal(entered.rflags, RFLAGS_ONE); /* no step: nobody waits */
	assert_int_equal(svm_get(&vcpu, VREG_NMI_MASKED), 0);
}

static void nmi_window_at_iret(void **state)
{
	inject_nmi();
	svm_intercept(&vcpu, INTERCEPT_NMI_WINDOW);
	guest = guest_interrupted; /* before the IRET */
	assert_int_equal(enter()->reason, EXIT_INTR);
	assert_int_equal(entered.rflags, RFLAGS_ONE | RFLAGS_TF);
	assert_int_equal(vmcb->rflags, RFLAGS_ONE);
	assert_int_equal(svm_get(&vcpu, VREG_NMI_MASKED), 1);
	guest = guest_steps;
	assert_int_equal(enter()->reason, EXIT_NMI_WINDOW);
	assert_int_equal(svm_get(&vcpu, VREG_NMI_MASKED), 0);
	assert_int_equal(vmcb->dr6, DR6_INIT); /* the guest sees no step */
	assert_int_equal(vmcb->rflags, RFLAGS_ONE);
}

/* A step of the guest's that it has not cleared yet is neither taken for this one nor lost. */
static void guest_steps_again(void)
{
	assert_int_equal(vmcb->dr6, DR6_INIT);
	guest_steps();
}

static void guest_breaks(void)
{
	leave_at(0x2000, SVM_EXCEPTION + VECTOR_DB, DR6_INIT | DR6_B0, RFLAGS_ONE | RFLAGS_TF);
}

static void an_old_step_stays(void **state)
{
	inject_nmi();
	vmcb->dr6 = DR6_INIT | DR6_BS;
	svm_intercept(&vcpu, INTERCEPT_NMI_WINDOW);
	guest = guest_breaks; /* before the IRET */
	assert_int_equal(enter()->reason, EXIT_EXCEPTION);
	assert_int_equal(svm_get(&vcpu, VREG_NMI_MASKED), 1);
	assert_int_equal(vmcb->dr6, DR6_INIT | DR6_BS | DR6_B0);
	vmcb->dr6 = DR6_INIT | DR6_BS;
	guest = guest_steps_again;
	assert_int_equal(enter()->reason, EXIT_NMI_WINDOW);
	assert_int_equal(vmcb->dr6, DR6_INIT | DR6_BS);
}

/* For the VMM's debugging, each #DB tells what it was alone. */
static void causes_stand_alone(void **state)
{
	load();
	svm_set(&vcpu, VREG_DR6, DR6_INIT | DR6_BS);
	svm_intercept(&vcpu, INTERCEPT_DB);
	assert_int_equal(vmcb->dr6, DR6_INIT);
	assert_int_equal(svm_get(&vcpu, VREG_DR6), DR6_INIT | DR6_BS);
	guest = guest_breaks;
	assert_int_equal(enter()->exception.payload, DR6_B0);
	assert_int_equal(vmcb->dr6, DR6_INIT);
	svm_set(&vcpu, VREG_DR6, DR6_INIT | DR6_B1);
	assert_int_equal(vmcb->dr6, DR6_INIT);
	svm_intercept(&vcpu, INTERCEPT_DB | INTERCEPT_BP);
	assert_int_equal(svm_get(&vcpu, VREG_DR6), DR6_INIT | DR6_B1);
	svm_intercept(&vcpu, 0);
	assert_int_equal(vmcb->dr6, DR6_INIT | DR6_B1);
}

/* The guest single-steps itself: the trap is its own, too. */
static void nmi_window_guest_tf(void **state)
{
	inject_nmi();
	vmcb->rflags |= RFLAGS_TF;
	svm_intercept(&vcpu, INTERCEPT_NMI_WINDOW);
	guest = guest_steps;
	assert_int_equal(enter()->reason, EXIT_EXCEPTION);
	assert_int_equal(svm_get(&vcpu, VREG_NMI_MASKED), 0);
	assert_true(vmcb->dr6 & DR6_BS);
}

/* Not masked, but in an interrupt shadow: one instruction later. */
static void nmi_window_in_shadow(void **state)
{
	load();
	vcpu.rip = 0x1000;
	vmcb->rflags = RFLAGS_ONE;
	svm_intercept(&vcpu, INTERCEPT_NMI_WINDOW);
	assert_false(intercepted(SVM_IRET));
	guest = guest_steps;
	assert_int_equal(enter()->reason, EXIT_NMI_WINDOW);
	assert_int_equal(entered.rflags, RFLAGS_ONE | RFLAGS_TF);
}

static void nmi_window_waits_for_injection(void **state)
{
	load();
	vmcb->rflags = RFLAGS_ONE;
	svm_intercept(&vcpu, INTERCEPT_NMI_WINDOW);
	svm_inject(&vcpu, &(struct virt_event){.type = EVENT_EXCEPTION, .vector = 6});
	guest = guest_elsewhere;
	enter();
	assert_int_equal(entered.rflags, RFLAGS_ONE); /* no TF in the pushed image */
}

static void nmi_window_waits_for_virq(void **state)
{
	load();
	svm_features.qemu = true;
	vmcb->rflags = RFLAGS_ONE | RFLAGS_IF;
	svm_intercept(&vcpu, INTERCEPT_NMI_WINDOW);
	svm_inject(&vcpu, &intr);
	assert_true(intercepted(SVM_IRET)); /* after which it is looked for again */
	guest = guest_takes_virq;
	enter();
	assert_int_equal(entered.rflags, RFLAGS_ONE | RFLAGS_IF);
}

static void nmi_cut_short(void **state)
{
	load();
	svm_inject(&vcpu, &nmi);
	set_exit(SVM_NPF, 0, 0);
	vmcb->exit_int_info = 0x80000202;
	assert_int_equal(enter()->vectoring.type, EVENT_NMI);
	assert_int_equal(svm_get(&vcpu, VREG_NMI_MASKED), 0);
	assert_false(intercepted(SVM_IRET));
}

/* NMIs and machine checks exit for other reasons. */
#define STEP_OWN (u32)(BIT(VECTOR_NMI) | BIT(VECTOR_MC))

static void leave_faulting(void)
{
	set_exit(SVM_EXCEPTION + VECTOR_PF, 2, 0x5000);
}

static void leave_at_pushf(void)
{
	set_exit(SVM_PUSHF, 0, 0);
}

static void in_a_step(void)
{
	load();
	svm_features.qemu = true;
	vcpu.rip = vmcb->rip = 0x2000;
	vmcb->rflags = RFLAGS_ONE | RFLAGS_IF;
	vmcb->int_state = INT_STATE_SHADOW;
	svm_intercept(&vcpu, INTERCEPT_INTR_WINDOW);
}

/* A fault, or an instruction that stores flags: our TF is not seen. */
static void a_step_hides_its_tf(void **state)
{
	in_a_step();
	guest = leave_faulting;
	assert_int_equal(enter()->reason, EXIT_EXCEPTION);
	assert_int_equal(entered.intercepts[SVM_EXCEPTION / 32] & ~STEP_OWN, ~0u & ~STEP_OWN);
	assert_int_equal(vmcb->rflags, RFLAGS_ONE | RFLAGS_IF);
	assert_false(intercepted(SVM_EXCEPTION + VECTOR_PF));
	guest = leave_at_pushf;
	assert_int_equal(enter()->reason, EXIT_NONE);
	assert_int_equal(vmcb->rflags, RFLAGS_ONE | RFLAGS_IF);
	assert_false(intercepted(SVM_PUSHF));
	guest = guest_interrupted;
	enter(); /* now it runs without a step, */
	assert_int_equal(entered.rflags, RFLAGS_ONE | RFLAGS_IF);
	enter(); /* and if it has not, it is tried again */
	assert_int_equal(entered.rflags, RFLAGS_ONE | RFLAGS_IF | RFLAGS_TF);
}

static void guest_steps_to_tf(void)
{
	leave_at(0x3000, SVM_EXCEPTION + VECTOR_DB, DR6_INIT | DR6_BS, RFLAGS_ONE | RFLAGS_TF);
}

/* The NMI's IRET goes back to code that its debugger steps. */
static void a_stepped_iret_loads_tf(void **state)
{
	inject_nmi();
	svm_intercept(&vcpu, INTERCEPT_NMI_WINDOW);
	guest = guest_steps_to_tf;
	assert_int_equal(enter()->reason, EXIT_NMI_WINDOW);
	assert_int_equal(vmcb->rflags, RFLAGS_ONE | RFLAGS_TF);
}

static void guest_hits_breakpoint(void)
{
	leave_at(0x3000, SVM_EXCEPTION + VECTOR_DB, DR6_INIT | DR6_BS | DR6_B0, entered.rflags);
}

/* A data breakpoint in the stepped instruction is the guest's. */
static void a_breakpoint_in_a_step(void **state)
{
	in_a_step();
	guest = guest_hits_breakpoint;
	assert_int_equal(enter()->reason, EXIT_EXCEPTION);
	assert_int_equal(last.exception.payload, DR6_B0);
	assert_int_equal(vmcb->rflags, RFLAGS_ONE | RFLAGS_IF);
}

/* POP SS behind STI: no trap behind it, and the next instruction exits. */
static void guest_cpuid_behind_pop_ss(void)
{
	leave_at(0x2001, SVM_CPUID, DR6_INIT, entered.rflags);
	vmcb->int_state = INT_STATE_SHADOW;
}

static void a_step_without_a_trap(void **state)
{
	in_a_step();
	guest = guest_cpuid_behind_pop_ss;
	assert_int_equal(enter()->reason, EXIT_CPUID);
	assert_int_equal(vmcb->rflags, RFLAGS_ONE | RFLAGS_IF);
}

#define CHILD(f) cmocka_unit_test_setup_teardown(f, setup_child, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CHILD(encoding),
		CHILD(consumed),
		CHILD(virtual_interrupt),
		CHILD(virtual_interrupt_cut_short),
		CHILD(interrupt_by_event_injection),
		CHILD(tpr_is_written_behind_virq),
		CHILD(window_in_shadow),
		CHILD(window_behind_virq),
		CHILD(vectoring),
		CHILD(soft_interrupt),
		CHILD(soft_exception),
		CHILD(interrupt_window),
		CHILD(switchable),
		cmocka_unit_test_setup_teardown(switchable_management, setup_management, teardown),
		CHILD(nmi_no_window),
		CHILD(nmi_window_at_iret),
		CHILD(nmi_window_guest_tf),
		CHILD(an_old_step_stays),
		CHILD(causes_stand_alone),
		CHILD(nmi_window_in_shadow),
		CHILD(nmi_window_waits_for_injection),
		CHILD(nmi_window_waits_for_virq),
		CHILD(nmi_cut_short),
		CHILD(a_step_hides_its_tf),
		CHILD(a_stepped_iret_loads_tf),
		CHILD(a_breakpoint_in_a_step),
		CHILD(a_step_without_a_trap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
