// SPDX-License-Identifier: MIT
/*
 * Exceptions, NMIs and interrupts of a vCPU: combining, priorities, windows, and what an exit cut
 * short. Everything that waits stands in vcpu->events; the backend holds one event of it at most.
 */
#include "core/event.h"

#include "arch-x86/regs.h"
#include "core/debug.h"
#include "core/vm.h"

#define WINDOWS (INTERCEPT_INTR_WINDOW | INTERCEPT_NMI_WINDOW | INTERCEPT_CR8_WRITE)

enum exception_class { BENIGN, CONTRIBUTORY, PAGE_FAULT, DOUBLE_FAULT };

static enum exception_class class_of(u8 vector)
{
	switch (vector) {
	case VECTOR_DE:
	case VECTOR_TS:
	case VECTOR_NP:
	case VECTOR_SS:
	case VECTOR_GP:
	case VECTOR_CP:
		return CONTRIBUTORY;
	case VECTOR_PF:
	case VECTOR_VE:
		return PAGE_FAULT;
	case VECTOR_DF:
		return DOUBLE_FAULT;
	default:
		return BENIGN;
	}
}

/* SDM vol. 3, "Interrupt 8 - Double Fault Exception (#DF)": the table of combinations. */
static bool makes_double_fault(u8 first, u8 second)
{
	enum exception_class a = class_of(first), b = class_of(second);

	return (a == CONTRIBUTORY && b == CONTRIBUTORY) || (a == PAGE_FAULT && b != BENIGN);
}

static void queue(struct vcpu *vcpu, struct pending_exception exception)
{
	struct pending_exception *old = &vcpu->events.exception;

	vcpu_set_request(vcpu, REQUEST_EVENT);
	if ((old->pending || old->injected) && exception.vector != VECTOR_DB) {
		if (class_of(old->vector) == DOUBLE_FAULT && class_of(exception.vector) != BENIGN) {
			*old = (struct pending_exception){0};
			vcpu_set_request(vcpu, REQUEST_TRIPLE_FAULT);
			return;
		}
		if (makes_double_fault(old->vector, exception.vector))
			exception = (struct pending_exception){
				.pending = true, .vector = VECTOR_DF, .has_error = true};
	}
	*old = exception;
}

void vcpu_queue_exception(struct vcpu *vcpu, u8 vector, bool has_error, u32 error)
{
	queue(vcpu,
	      (struct pending_exception){
		      .pending = true, .vector = vector, .has_error = has_error, .error = error});
}

void vcpu_queue_page_fault(struct vcpu *vcpu, u64 address, u32 error)
{
	queue(vcpu, (struct pending_exception){.pending = true,
					       .vector = VECTOR_PF,
					       .has_error = true,
					       .error = error,
					       .has_payload = true,
					       .payload = address});
}

void event_queue_debug(struct vcpu *vcpu, u64 dr6)
{
	struct pending_exception *old = &vcpu->events.exception;

	/* A trap after a faulting instruction does not happen: the fault goes first. */
	if (old->pending && old->vector != VECTOR_DB)
		return;
	if (old->pending && old->has_payload)
		dr6 |= old->payload;
	queue(vcpu,
	      (struct pending_exception){
		      .pending = true, .vector = VECTOR_DB, .has_payload = true, .payload = dr6});
}

void event_deliver_payload(struct vcpu *vcpu)
{
	struct pending_exception *exception = &vcpu->events.exception;
	struct virt_vcpu *v = &vcpu->v;
	u64 dr6;

	if (!exception->has_payload)
		return;
	exception->has_payload = false;
	if (exception->vector == VECTOR_PF) {
		virt->set(v, VREG_CR2, exception->payload);
	} else if (exception->vector == VECTOR_DB) {
		/* SDM vol. 3, "Debug Status Register (DR6)": B0 to B3 are replaced, the rest
		 * sticks. */
		dr6 = virt->get(v, VREG_DR6) & ~(u64)(DR6_B0 | DR6_B1 | DR6_B2 | DR6_B3);
		virt->set(v, VREG_DR6, dr6 | (exception->payload & ~DR6_INIT));
		/* SDM vol. 3, "Debug Control Register (DR7)": GD is cleared on entry to #DB. */
		debug_clear_gd(vcpu);
	}
}

static bool is_fault(u8 vector)
{
	return vector != VECTOR_DB && vector != VECTOR_BP && vector != VECTOR_OF &&
	       vector != VECTOR_DF && vector != VECTOR_MC;
}

static void give(struct vcpu *vcpu, const struct virt_event *event)
{
	virt->inject(&vcpu->v, event);
	vcpu->injecting = event->type;
}

static void inject_exception(struct vcpu *vcpu)
{
	struct pending_exception *exception = &vcpu->events.exception;
	struct virt_event event = {.type = EVENT_EXCEPTION, .vector = exception->vector};

	if (exception->pending) {
		event_deliver_payload(vcpu);
		/* SDM vol. 3, "System Flags and Fields in the EFLAGS Register": faults push RF. */
		if (is_fault(exception->vector))
			virt->set(&vcpu->v, VREG_RFLAGS,
				  virt->get(&vcpu->v, VREG_RFLAGS) | RFLAGS_RF);
		exception->pending = false;
		exception->injected = true;
	}
	/* They return behind INT3 or INTO, one byte each, at which RIP stands. */
	if (exception->vector == VECTOR_BP || exception->vector == VECTOR_OF)
		event.insn_len = 1;
	/* An error code is pushed in protected mode only, and then never left out. */
	event.has_error = VECTORS_WITH_ERROR >> (exception->vector & 31) & 1 &&
			  virt->get(&vcpu->v, VREG_CR0) & CR0_PE;
	event.error = event.has_error ? exception->error : 0;
	give(vcpu, &event);
}

static void inject_interrupt(struct vcpu *vcpu)
{
	const struct pending_interrupt *interrupt = &vcpu->events.interrupt;
	struct virt_event event = {.type = EVENT_INTR, .vector = interrupt->vector};

	if (interrupt->soft) {
		event.type = EVENT_SOFT_INTR;
		event.insn_len = interrupt->insn_len;
	}
	give(vcpu, &event);
}

/* True: an event was left over from an earlier entry, or an exception waits. */
static bool inject_old(struct vcpu *vcpu)
{
	struct vcpu_events *events = &vcpu->events;

	if (events->exception.pending || events->exception.injected)
		inject_exception(vcpu);
	else if (events->nmi_injected)
		give(vcpu, &(struct virt_event){.type = EVENT_NMI, .vector = VECTOR_NMI});
	else if (events->interrupt.injected)
		inject_interrupt(vcpu);
	else
		return false;
	return true;
}

static bool in_shadow(struct vcpu *vcpu)
{
	return virt->get(&vcpu->v, VREG_INT_SHADOW) != 0;
}

static bool interrupts_open(struct vcpu *vcpu)
{
	return vcpu_flags(vcpu) & RFLAGS_IF && (vcpu->v.quiet || !in_shadow(vcpu)) &&
	       !debug_blocks_interrupts(vcpu);
}

/* SDM vol. 3, "Local Vector Table": an 8259's interrupts pass LINT0. */
static bool accepts_extint(struct vcpu *vcpu)
{
	return !vcpu->vm->irqchip || vcpu->vm->irqchip->accepts_extint(vcpu);
}

static bool user_interrupt_waits(struct vcpu *vcpu)
{
	return vcpu->events.user_interrupt && accepts_extint(vcpu);
}

/* Could KVM_INTERRUPT leave another one here, for when the guest can take it? */
static bool takes_user_interrupt(struct vcpu *vcpu)
{
	return !vcpu->events.user_interrupt && accepts_extint(vcpu);
}

/* The vector at the head, -1: none, -2: only CR8 holds one back. */
static int interrupt_waiting(struct vcpu *vcpu)
{
	if (user_interrupt_waits(vcpu))
		return vcpu->events.user_vector;
	return vcpu->vm->irqchip ? vcpu->vm->irqchip->pending(vcpu) : -1;
}

static int take_interrupt(struct vcpu *vcpu)
{
	if (user_interrupt_waits(vcpu)) {
		vcpu->events.user_interrupt = false;
		return vcpu->events.user_vector;
	}
	return vcpu->vm->irqchip->acknowledge(vcpu);
}

static bool vmm_has_pic(const struct vcpu *vcpu)
{
	return !vcpu->vm->irqchip || vcpu->vm->split_irqchip;
}

void event_set_intercepts(struct vcpu *vcpu, u32 windows)
{
	u32 set = windows | debug_intercepts(vcpu);

	/* The VMM's APIC hears of each lower CR8. */
	if (vcpu->vm->virt.kind == VIRT_CHILD && !vcpu->vm->irqchip)
		set |= INTERCEPT_CR8_WRITE;
	if (set == vcpu->intercepts)
		return;
	vcpu->intercepts = set;
	virt->intercept(&vcpu->v, set);
}

/* Delivers a waiting interrupt if nothing else was injected. Returns the windows to ask for. */
static u32 prepare_interrupt(struct vcpu *vcpu, bool injected)
{
	int waiting = interrupt_waiting(vcpu);

	if (waiting >= 0 && !injected && interrupts_open(vcpu)) {
		int vector = take_interrupt(vcpu);

		if (vector >= 0) {
			vcpu->events.interrupt =
				(struct pending_interrupt){.injected = true, .vector = vector};
			inject_interrupt(vcpu);
		}
		waiting = interrupt_waiting(vcpu);
	}
	if (waiting == -2)
		return INTERCEPT_CR8_WRITE;
	return waiting >= 0 ? INTERCEPT_INTR_WINDOW : 0;
}

bool event_prepare(struct vcpu *vcpu)
{
	struct vcpu_events *events = &vcpu->events;
	bool injected;
	u32 windows = 0;

	/* From a call that no entry followed; the VMM may have taken the event back since. */
	if (vcpu->injecting != EVENT_NONE)
		give(vcpu, &(struct virt_event){.type = EVENT_NONE});
	injected = inject_old(vcpu);
	/* No window either: it would open at once, again and again. debug_set() asks for a new
	 * look. */
	if (debug_blocks_interrupts(vcpu)) {
		event_set_intercepts(vcpu, 0);
		return true;
	}
	if (!injected && __atomic_load_n(&events->nmi_queued, __ATOMIC_RELAXED) &&
	    !virt->get(&vcpu->v, VREG_NMI_MASKED) && !in_shadow(vcpu)) {
		__atomic_fetch_sub(&events->nmi_queued, 1, __ATOMIC_RELAXED);
		events->nmi_injected = true;
		injected = inject_old(vcpu);
	}
	if (__atomic_load_n(&events->nmi_queued, __ATOMIC_RELAXED))
		windows |= INTERCEPT_NMI_WINDOW;
	windows |= prepare_interrupt(vcpu, injected);
	if (vcpu->window_requested && vmm_has_pic(vcpu) && takes_user_interrupt(vcpu)) {
		if (vcpu_interrupt_ready(vcpu)) {
			event_set_intercepts(vcpu, windows);
			vcpu->exit.reason = USER_IRQ_WINDOW;
			return false;
		}
		windows |= INTERCEPT_INTR_WINDOW;
	}
	event_set_intercepts(vcpu, windows);
	return true;
}

bool vcpu_interrupt_ready(struct vcpu *vcpu)
{
	const struct vcpu_events *events = &vcpu->events;

	return takes_user_interrupt(vcpu) && !events->interrupt.injected &&
	       !events->exception.pending && !events->exception.injected && !events->nmi_injected &&
	       interrupts_open(vcpu);
}

static void clear_injected(struct vcpu *vcpu)
{
	struct vcpu_events *events = &vcpu->events;

	if (vcpu->injecting == EVENT_EXCEPTION)
		events->exception.injected = false;
	else if (vcpu->injecting == EVENT_NMI)
		events->nmi_injected = false;
	else if (vcpu->injecting != EVENT_NONE)
		events->interrupt.injected = false;
	vcpu->injecting = EVENT_NONE;
}

/*
 * SDM vol. 3, "Information for VM Exits That Occur During Event Delivery"; APM vol. 2, "Event
 * Injection": what was being delivered must be delivered again.
 */
void event_after_exit(struct vcpu *vcpu, const struct vm_exit *e)
{
	const struct virt_event *cut = &e->vectoring;
	struct vcpu_events *events = &vcpu->events;

	clear_injected(vcpu);
	vcpu_set_request(vcpu, REQUEST_EVENT);
	switch (cut->type) {
	case EVENT_EXCEPTION:
		events->exception = (struct pending_exception){.injected = true,
							       .vector = cut->vector,
							       .has_error = cut->has_error,
							       .error = cut->error};
		break;
	case EVENT_NMI:
		events->nmi_injected = true;
		break;
	case EVENT_INTR:
	case EVENT_SOFT_INTR:
		events->interrupt = (struct pending_interrupt){.injected = true,
							       .soft = cut->type == EVENT_SOFT_INTR,
							       .vector = cut->vector,
							       .insn_len = cut->insn_len};
		break;
	}
}

void event_look_again(struct vcpu *vcpu)
{
	if (vcpu->intercepts & INTERCEPT_INTR_WINDOW)
		vcpu_set_request(vcpu, REQUEST_EVENT);
}

bool event_wakes(struct vcpu *vcpu)
{
	const struct vcpu_events *events = &vcpu->events;

	if (events->exception.pending || events->exception.injected || events->nmi_injected ||
	    events->interrupt.injected)
		return true;
	if (__atomic_load_n(&events->nmi_queued, __ATOMIC_RELAXED) &&
	    !virt->get(&vcpu->v, VREG_NMI_MASKED))
		return true;
	return virt->get(&vcpu->v, VREG_RFLAGS) & RFLAGS_IF && interrupt_waiting(vcpu) >= 0;
}
