/* SPDX-License-Identifier: MIT */
/* Event injection, interrupt and NMI windows, and events whose delivery an exit cut short. */
#include "arch-x86/insn.h"
#include "arch-x86/log.h"
#include "arch-x86/regs.h"
#include "svm/internal.h"

static void intercept_code(struct virt_vcpu *v, u32 code, bool on)
{
	u32 *word = &vmcb_of(v)->intercepts[code / 32];
	u32 value = (*word & ~BIT(code % 32)) | (u32)on << code % 32;

	if (*word == value)
		return;
	*word = value;
	v->dirty |= CLEAN_INTERCEPTS;
}

static void intercept_dr(struct virt_vcpu *v, bool on)
{
	VMCB_SET(v, intercepts[SVM_DR_READ / 32], on ? ~0u : 0, CLEAN_INTERCEPTS);
}

/* `request`: V_IRQ of the highest priority with a vector, or 0. */
static void set_virq(struct virt_vcpu *v, u64 request)
{
	u64 all = V_IRQ | V_INTR_PRIORITY | V_IGNORE_TPR | V_INTR_VECTOR;

	VMCB_SET(v, int_control, (vmcb_of(v)->int_control & ~all) | request, CLEAN_TPR);
}

static u64 virq_request(u8 vector)
{
	return V_IRQ | V_INTR_PRIORITY | V_IGNORE_TPR | (u64)vector << V_INTR_VECTOR_SHIFT;
}

/* The guest's next instruction still holds interrupts off, and VMRUN would not know. */
static bool in_lost_shadow(const struct virt_vcpu *v)
{
	const struct vmcb *vmcb = vmcb_of(v);

	return svm_features.qemu && vmcb->int_state & INT_STATE_SHADOW &&
	       vmcb->rflags & RFLAGS_IF && !(vmcb->event_inject & VMCB_EVENT_VALID);
}

/*
 * What V_IRQ is for: the interrupt that waits in it; else the window. APM vol. 2, "Virtual
 * Interrupt Intercept": a pending virtual interrupt of the highest priority exits when the guest
 * could take it, and is not delivered. It can only do one thing at a time: a window that is wanted
 * behind an interrupt opens with the handler's IRET at the earliest or its STI, and its wait begins
 * with the next exit, which the handler's end of interrupt or that IRET causes. In an interrupt
 * shadow that QEMU's VMRUN does not load it is for nothing: the interrupt would come before the HLT
 * behind an STI.
 */
static void use_virq(struct virt_vcpu *v)
{
	bool window = v->intr_window && !v->virq_event && !in_lost_shadow(v);

	if (v->virq_event)
		set_virq(v, virq_request(v->virq_event));
	else
		set_virq(v, window ? virq_request(0) : 0);
	intercept_code(v, SVM_VINTR, window);
	if (v->vm->kind == VIRT_CHILD)
		intercept_code(v, SVM_IRET,
			       v->nmi_state == NMI_MASKED ||
				       ((v->intr_window || v->nmi_window) && v->virq_event));
}

/*
 * Under QEMU an interrupt that the guest takes at once goes in as a virtual interrupt (APM vol. 2,
 * "Injecting Virtual (INTR) Interrupts"), which is the same to the guest. With EVENTINJ, QEMU 7.2
 * delivers it a second time when its own loop is left before the next exit (docs/architecture.md,
 * "QEMU").
 */
static bool inject_virq(struct virt_vcpu *v, u64 word)
{
	const struct vmcb *vmcb = vmcb_of(v);

	if (!svm_features.qemu || (word & VMCB_EVENT_TYPE) != VMCB_EVENT_INTR ||
	    !(vmcb->rflags & RFLAGS_IF) || vmcb->int_state & INT_STATE_SHADOW)
		return false;
	v->virq_event = word;
	use_virq(v);
	return true;
}

void svm_virq_settle(struct virt_vcpu *v, struct vm_exit *e)
{
	if (vmcb_of(v)->int_control & V_IRQ) {
		e->vectoring.type = EVENT_INTR;
		e->vectoring.vector = v->virq_event;
		e->vectoring.has_error = false;
	}
	v->virq_event = 0;
	use_virq(v);
}

/*
 * A #DB adds to DR6, so what caused it shows only when that was clear (APM vol. 2, "Debug-Status
 * Register (DR6)"). While core/ wants to know, the guest's own stands aside.
 */
static void swap_dr6(struct virt_vcpu *v, bool aside)
{
	struct vmcb *vmcb = vmcb_of(v);

	if (aside)
		v->dr6 = vmcb->dr6;
	VMCB_SET(v, dr6, aside ? DR6_INIT : v->dr6, CLEAN_DRX);
}

void svm_intercept(struct virt_vcpu *v, u32 set)
{
	bool child = v->vm->kind == VIRT_CHILD;

	if ((set ^ v->intercept_set) & INTERCEPT_DB && child)
		swap_dr6(v, set & INTERCEPT_DB);
	v->intercept_set = set;
	v->nmi_window = child && set & INTERCEPT_NMI_WINDOW;
	v->intr_window = set & INTERCEPT_INTR_WINDOW;
	use_virq(v);
	/* A child's DRs are on the processor only while dr_live: else it would see others'. */
	intercept_dr(v, set & INTERCEPT_MOV_DR || (child && !v->dr_live));
	intercept_code(v, SVM_EXCEPTION + VECTOR_BP, set & INTERCEPT_BP);
	intercept_code(v, SVM_EXCEPTION + VECTOR_UD, set & INTERCEPT_UD);
	/* A TPR that changes while V_IRQ waits is one of the things that emulators get wrong. */
	intercept_code(v, SVM_CR_WRITE + 8,
		       set & INTERCEPT_CR8_WRITE || (child && set & INTERCEPT_INTR_WINDOW));
	if (child)
		return;
	intercept_code(v, SVM_EXCEPTION + VECTOR_DB, set & INTERCEPT_DB);
	intercept_code(v, SVM_NMI, set & INTERCEPT_NMI);
	intercept_code(v, SVM_IRET, set & INTERCEPT_NMI_WINDOW);
	intercept_code(v, SVM_HLT, set & INTERCEPT_HLT);
}

static u64 encode_event(const struct virt_event *event)
{
	static const u32 types[] = {
		[EVENT_INTR] = VMCB_EVENT_INTR,
		[EVENT_NMI] = VMCB_EVENT_NMI,
		[EVENT_EXCEPTION] = VMCB_EVENT_EXCEPTION,
		[EVENT_SOFT_INTR] = VMCB_EVENT_SOFT,
	};
	u64 word = VMCB_EVENT_VALID | types[event->type] | event->vector;

	if (event->has_error)
		word |= VMCB_EVENT_HAS_ERROR | (u64)event->error << 32;
	return word;
}

/* Events whose handlers return behind the instruction: INT n, INT3, INTO. */
static bool is_soft(u32 type, u8 vector)
{
	return type == VMCB_EVENT_SOFT ||
	       (type == VMCB_EVENT_EXCEPTION && (vector == VECTOR_BP || vector == VECTOR_OF));
}

/*
 * The RIP that a soft event pushes: nRIP where the processor has it (APM vol. 2, "Event
 * Injection"), also when no length is known, since an exit leaves 0 there; else RIP itself must
 * stand behind the instruction already.
 */
static void push_next_rip(struct virt_vcpu *v, u8 length)
{
	v->soft_len = length;
	vmcb_of(v)->next_rip = v->rip + length;
	if (!(v->features & VIRT_NEXT_RIP))
		v->rip += length;
}

void svm_inject(struct virt_vcpu *v, const struct virt_event *event)
{
	struct vmcb *vmcb = vmcb_of(v);

	/* Another injection before the entry of the last one: RIP stands at the instruction again.
	 */
	if (v->soft_len && !(v->features & VIRT_NEXT_RIP))
		v->rip -= v->soft_len;
	v->soft_len = 0;
	vmcb->event_inject = 0;
	if (v->virq_event) {
		v->virq_event = 0;
		use_virq(v);
	}
	if (event->type == EVENT_NONE)
		return;
	CHECK(event->type <= EVENT_SOFT_INTR);
	if (inject_virq(v, encode_event(event)))
		return;
	vmcb->event_inject = encode_event(event);
	v->once = true;
	if (event->type == EVENT_NMI && v->vm->kind == VIRT_CHILD && v->nmi_state == NMI_OPEN) {
		v->nmi_state = NMI_MASKED;
		intercept_code(v, SVM_IRET, true);
	}
	if (is_soft(vmcb->event_inject & VMCB_EVENT_TYPE, event->vector))
		push_next_rip(v, event->insn_len);
}

/*
 * A software interrupt or INT3/INTO of the guest's own is not given back: RIP still stands at the
 * instruction, which is simply executed again. One that we injected is, since that instruction
 * may not be in memory.
 */
void svm_decode_vectoring(struct virt_vcpu *v, struct virt_event *event)
{
	u64 info = vmcb_of(v)->exit_int_info;
	u32 type = info & VMCB_EVENT_TYPE;

	event->vector = info;
	event->has_error = info & VMCB_EVENT_HAS_ERROR;
	event->error = event->has_error ? info >> 32 : 0;
	event->insn_len = 0;
	if (is_soft(type, info)) {
		if (!v->soft_len)
			return;
		if (!(v->features & VIRT_NEXT_RIP))
			v->rip -= v->soft_len;
		event->insn_len = v->soft_len;
		event->type = type == VMCB_EVENT_SOFT ? EVENT_SOFT_INTR : EVENT_EXCEPTION;
	} else if (type == VMCB_EVENT_INTR) {
		event->type = EVENT_INTR;
	} else if (type == VMCB_EVENT_NMI) {
		event->type = EVENT_NMI;
		/* Not delivered, so not masked: the injection again will mask. */
		if (v->vm->kind == VIRT_CHILD) {
			v->nmi_state = NMI_OPEN;
			intercept_code(v, SVM_IRET, false);
		}
	} else if (type == VMCB_EVENT_EXCEPTION) {
		event->type = EVENT_EXCEPTION;
	}
}

/* What would take our TF to where the guest sees it. */
#define STEP_EXCEPTIONS (~0u & ~(u32)(BIT(VECTOR_NMI) | BIT(VECTOR_MC)))
#define STEP_FLAGS	(BIT(SVM_PUSHF % 32) | BIT(SVM_POPF % 32) | BIT(SVM_SWINT % 32))

/*
 * NMI masking of a child in software, for processors without a virtual NMI. After IRET's intercept
 * the IRET must still run before NMIs are open; when one waits, it runs with RFLAGS.TF, and so does
 * the one instruction of an interrupt shadow; under QEMU also when an interrupt waits. The #DB that
 * follows is ours unless the guest had set TF itself. Exceptions and instructions that store or
 * load flags exit instead. An event being injected would push that TF: then the window has to wait.
 */
static void step(struct virt_vcpu *v)
{
	struct vmcb *vmcb = vmcb_of(v);

	v->stepping = true;
	v->step_rip = v->rip;
	v->step_tf = vmcb->rflags & RFLAGS_TF;
	v->step_bs = vmcb->dr6 & DR6_BS; /* of an earlier one: not to be taken for this one's */
	vmcb->rflags |= RFLAGS_TF;
	VMCB_SET(v, dr6, vmcb->dr6 & ~(u64)DR6_BS, CLEAN_DRX);
	v->step_intercepts[0] = vmcb->intercepts[SVM_EXCEPTION / 32];
	v->step_intercepts[1] = vmcb->intercepts[SVM_PUSHF / 32];
	vmcb->intercepts[SVM_EXCEPTION / 32] |= STEP_EXCEPTIONS;
	vmcb->intercepts[SVM_PUSHF / 32] |=
		STEP_FLAGS | (v->nmi_state == NMI_IRET ? 0 : BIT(SVM_IRET % 32));
	v->dirty |= CLEAN_INTERCEPTS;
}

void svm_windows_prepare(struct virt_vcpu *v)
{
	bool refused = v->step_refused && v->rip == v->step_rip;
	bool nmi = v->nmi_window && v->nmi_state != NMI_MASKED && !v->virq_event &&
		   !(vmcb_of(v)->event_inject & VMCB_EVENT_VALID);

	v->step_refused = false;
	if (v->intr_window)
		use_virq(v);
	if (!refused && (nmi || (v->intr_window && in_lost_shadow(v))))
		step(v);
}

void svm_nmi_iret(struct virt_vcpu *v, struct vm_exit *e)
{
	if (v->vm->kind != VIRT_CHILD)
		return; /* core/ does it for the management guest, whose NMIs are real */
	e->reason = EXIT_NONE;
	if (v->nmi_state != NMI_MASKED) /* it was for a window behind a virtual interrupt */
		return;
	v->nmi_state = NMI_IRET;
	v->step_rip = v->rip;
	intercept_code(v, SVM_IRET, false);
}

/* The exit of an instruction that cannot run with our TF: once without it, and no step. */
static bool refuses_step(u64 code)
{
	return code == SVM_PUSHF || code == SVM_POPF || code == SVM_SWINT || code == SVM_IRET;
}

static void end_step(struct virt_vcpu *v, struct vm_exit *e, bool trap)
{
	struct vmcb *vmcb = vmcb_of(v);
	u64 dr6 = vmcb->dr6;

	/* What a stepped IRET loaded is the guest's own. */
	if (!v->step_tf && !(trap && v->nmi_state == NMI_IRET))
		vmcb->rflags = v->rflags &= ~(u64)RFLAGS_TF;
	if (trap && !v->step_tf)
		dr6 &= ~(u64)DR6_BS;
	VMCB_SET(v, dr6, v->step_bs ? dr6 | DR6_BS : dr6, CLEAN_DRX);
	vmcb->intercepts[SVM_EXCEPTION / 32] = v->step_intercepts[0];
	vmcb->intercepts[SVM_PUSHF / 32] = v->step_intercepts[1];
	v->dirty |= CLEAN_INTERCEPTS;
	v->stepping = false;
	use_virq(v); /* IRET's intercept may have changed meanwhile */
	if (refuses_step(vmcb->exit_code)) {
		v->step_refused = v->nmi_state != NMI_IRET;
		e->reason = EXIT_NONE;
	}
}

void svm_nmi_settle(struct virt_vcpu *v, struct vm_exit *e)
{
	struct vmcb *vmcb = vmcb_of(v);
	bool trap = v->stepping && vmcb->exit_code == SVM_EXCEPTION + VECTOR_DB &&
		    e->exception.payload & DR6_BS;
	bool moved = trap || v->rip != v->step_rip;

	if (v->stepping)
		end_step(v, e, trap);
	if (!moved) /* a host interrupt or a nested page fault came first: again later */
		return;
	if (v->nmi_state == NMI_IRET)
		v->nmi_state = NMI_OPEN;
	if (!trap || v->step_tf)
		return;
	if (vmcb->dr6 & (DR6_B0 | DR6_B1 | DR6_B2 | DR6_B3)) /* the guest's own came with it */
		e->exception.payload &= ~(u64)DR6_BS;
	else
		e->reason = v->nmi_window ? EXIT_NMI_WINDOW : EXIT_NONE;
}
