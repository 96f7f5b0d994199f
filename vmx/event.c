/* SPDX-License-Identifier: MIT */
/* Event injection, interrupt and NMI windows, and events whose delivery an exit cut short. */
#include "arch-x86/log.h"
#include "arch-x86/regs.h"
#include "vmx/internal.h"

/* Without virtual NMIs: see vmx_inject_settle(). */
static bool soft_nmis(const struct virt_vcpu *v)
{
	return !(v->features & VIRT_VIRTUAL_NMI);
}

static bool injects_nmi(const struct vmx_vcpu *x)
{
	return x->injected && x->event.type == EVENT_NMI;
}

static u32 windows(const struct virt_vcpu *v, u32 set)
{
	u32 cpu = set & INTERCEPT_INTR_WINDOW ? CPU_INTR_WINDOW : 0;

	if (!soft_nmis(v))
		return set & INTERCEPT_NMI_WINDOW ? cpu | CPU_NMI_WINDOW : cpu;
	return set & INTERCEPT_NMI_WINDOW || injects_nmi(vmx_of(v)) ? CPU_INTR_WINDOW : cpu;
}

void vmx_intercept(struct virt_vcpu *v, u32 set)
{
	const struct vmx_vcpu *x = vmx_of(v);
	bool child = v->vm->kind == VIRT_CHILD;
	u32 cpu = x->cpu & ~(CPU_INTR_WINDOW | CPU_NMI_WINDOW | CPU_MOV_DR | CPU_CR8_LOAD);
	u32 exceptions = x->exceptions & ~(BIT(VECTOR_BP) | BIT(VECTOR_UD));

	v->intercept_set = set;
	v->nmi_window = set & INTERCEPT_NMI_WINDOW;
	cpu |= windows(v, set);
	/* A child's DRs are on the processor only while dr_live: else it would see others'. */
	if (set & INTERCEPT_MOV_DR || (child && !v->dr_live))
		cpu |= CPU_MOV_DR;
	/* Without a TPR shadow a child's CR8 would be the processor's own. */
	if (set & INTERCEPT_CR8_WRITE || (child && !x->virtual_apic))
		cpu |= CPU_CR8_LOAD;
	if (set & INTERCEPT_BP)
		exceptions |= BIT(VECTOR_BP);
	if (set & INTERCEPT_UD)
		exceptions |= BIT(VECTOR_UD);
	if (!child) {
		cpu = set & INTERCEPT_HLT ? cpu | CPU_HLT : cpu & ~CPU_HLT;
		exceptions &= ~BIT(VECTOR_DB);
		if (set & INTERCEPT_DB)
			exceptions |= BIT(VECTOR_DB);
	}
	VMX_CONTROL(v, cpu, VMCS_CPU_CONTROLS, cpu);
	VMX_CONTROL(v, exceptions, VMCS_EXCEPTION_BITMAP, exceptions);
}

/* Events whose handlers return behind the instruction: INT n, INT3, INTO. */
static bool is_soft(const struct virt_event *event)
{
	return event->type == EVENT_SOFT_INTR ||
	       (event->type == EVENT_EXCEPTION &&
		(event->vector == VECTOR_BP || event->vector == VECTOR_OF));
}

static u32 encode_event(const struct virt_event *event)
{
	static const u32 types[] = {
		[EVENT_INTR] = INTR_TYPE_EXTERNAL,
		[EVENT_NMI] = INTR_TYPE_NMI,
		[EVENT_EXCEPTION] = INTR_TYPE_HARD_EXCEPTION,
		[EVENT_SOFT_INTR] = INTR_TYPE_SOFT_INTR,
	};
	u32 info = INTR_VALID | event->vector;

	if (event->type == EVENT_EXCEPTION && is_soft(event))
		return info | INTR_TYPE_SOFT_EXCEPTION;
	return info | types[event->type];
}

/*
 * SDM vol. 3, "VM-Entry Control Fields": without IA32_VMX_BASIC[56] the entry refuses an error
 * code with any other vector.
 */
static bool takes_error(u8 vector)
{
	const u32 vectors = BIT(VECTOR_DF) | BIT(VECTOR_TS) | BIT(VECTOR_NP) | BIT(VECTOR_SS) |
			    BIT(VECTOR_GP) | BIT(VECTOR_PF) | BIT(VECTOR_AC);

	return vmx_features.any_error_code || vectors >> (vector & 31) & 1;
}

/*
 * SDM vol. 3, "Event Injection". The processor clears the field's valid bit at the next exit, and
 * blocks virtual NMIs itself when it delivers one. A soft event pushes RIP plus insn_len.
 */
void vmx_inject(struct virt_vcpu *v, const struct virt_event *event)
{
	struct vmx_vcpu *x = vmx_of(v);
	u32 info;

	CHECK(event->type <= EVENT_SOFT_INTR);
	if (event->type == EVENT_NONE && !x->injected)
		return;
	vmx_current(v);
	x->injected = event->type != EVENT_NONE;
	x->event = *event;
	v->once = true;
	if (soft_nmis(v))
		vmx_intercept(v, v->intercept_set);
	if (!x->injected) {
		vmwrite(VMCS_ENTRY_INTR_INFO, 0);
		return;
	}
	/* SDM vol. 3, "Checks on VM-Entry Control Fields": a halted guest takes few events. */
	if (v->vm->native & NATIVE_HLT)
		vmwrite(VMCS_GUEST_ACTIVITY, ACTIVITY_ACTIVE);
	info = encode_event(event);
	if (event->has_error && takes_error(event->vector)) {
		info |= INTR_HAS_ERROR;
		vmwrite(VMCS_ENTRY_ERROR_CODE, event->error);
	}
	if (is_soft(event))
		vmwrite(VMCS_ENTRY_INSN_LEN, event->insn_len);
	vmwrite(VMCS_ENTRY_INTR_INFO, info);
}

/*
 * SDM vol. 3, "Information for VM Exits That Occur During Event Delivery". A software interrupt or
 * INT1, INT3, INTO of the guest's own is not given back: RIP still stands at the instruction, which
 * is simply executed again. One that we injected is, since that instruction may not be in memory.
 */
void vmx_decode_vectoring(struct virt_vcpu *v, struct virt_event *event)
{
	const struct vmx_vcpu *x = vmx_of(v);
	u32 info = vmread(VMCS_VECTORING_INFO);

	*event = (struct virt_event){.type = EVENT_NONE};
	if (!(info & INTR_VALID))
		return;
	event->vector = info;
	event->has_error = info & INTR_HAS_ERROR;
	if (event->has_error)
		event->error = vmread(VMCS_VECTORING_ERROR);
	switch (info & INTR_TYPE) {
	case INTR_TYPE_EXTERNAL:
		event->type = EVENT_INTR;
		break;
	case INTR_TYPE_NMI:
		event->type = EVENT_NMI;
		/* Not delivered, so not masked: the injection again will mask. */
		vmx_mask_nmi(v, false);
		break;
	case INTR_TYPE_HARD_EXCEPTION:
		event->type = EVENT_EXCEPTION;
		break;
	case INTR_TYPE_SOFT_INTR:
	case INTR_TYPE_SOFT_EXCEPTION:
		if (!x->injected || !is_soft(&x->event))
			break;
		event->type = (info & INTR_TYPE) == INTR_TYPE_SOFT_INTR ? EVENT_SOFT_INTR
									: EVENT_EXCEPTION;
		event->insn_len = vmread(VMCS_EXIT_INSN_LEN);
		break;
	}
}

/*
 * SDM vol. 3, "Checks on Guest Non-Register State": blocking by STI needs RFLAGS.IF; with blocking
 * by STI or MOV SS, or halted, BS among the pending debug exceptions must say whether a single step
 * is due. Root may have changed the flags since the exit.
 */
void vmx_debug_prepare(struct virt_vcpu *v)
{
	u32 state = vmread(VMCS_GUEST_INTERRUPTIBILITY);
	u64 rflags = vmread(VMCS_GUEST_RFLAGS);
	u64 pending, due = 0;

	if (state & BLOCKED_BY_STI && !(rflags & RFLAGS_IF)) {
		state = (state & ~(u32)BLOCKED_BY_STI) | BLOCKED_BY_MOV_SS;
		vmwrite(VMCS_GUEST_INTERRUPTIBILITY, state);
	}
	if (!(state & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS)) &&
	    vmread(VMCS_GUEST_ACTIVITY) != ACTIVITY_HLT)
		return;
	if (rflags & RFLAGS_TF && !(vmread(VMCS_GUEST_DEBUGCTL) & DEBUGCTL_BTF))
		due = DR6_BS;
	pending = vmread(VMCS_GUEST_PENDING_DEBUG);
	if ((pending & DR6_BS) != due)
		vmwrite(VMCS_GUEST_PENDING_DEBUG, pending ^ DR6_BS);
}

/*
 * Without virtual NMIs an NMI that an entry injects blocks NMIs for the processor itself, until
 * root's IRET: the guest's has no effect on that (SDM vol. 3, "Changes to Instruction Behavior in
 * VMX Non-Root Operation"), and nothing tells of it. So root opens them at the next exit, for which
 * it asks as soon as the guest can take interrupts; and as in KVM NMIs count as blocked for the
 * guest until then, since handlers of NMIs keep interrupts off.
 */
void vmx_inject_settle(struct virt_vcpu *v, const struct vm_exit *e)
{
	struct vmx_vcpu *x = vmx_of(v);
	bool open = soft_nmis(v) && injects_nmi(x);
	u32 state;

	x->injected = false;
	if (!open)
		return;
	x->nmi_masked = e->vectoring.type != EVENT_NMI;
	state = vmread(VMCS_GUEST_INTERRUPTIBILITY);
	vmwrite(VMCS_GUEST_INTERRUPTIBILITY, state & ~(u32)BLOCKED_BY_NMI);
	vmx_open_nmi();
	vmx_intercept(v, v->intercept_set);
}

bool vmx_nmi_masked(struct virt_vcpu *v)
{
	u32 state = vmread(VMCS_GUEST_INTERRUPTIBILITY);
	bool shadow = state & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS);

	if (!soft_nmis(v))
		return state & BLOCKED_BY_NMI;
	if (vmread(VMCS_GUEST_RFLAGS) & RFLAGS_IF && !shadow)
		vmx_of(v)->nmi_masked = false;
	return vmx_of(v)->nmi_masked;
}

void vmx_mask_nmi(struct virt_vcpu *v, bool masked)
{
	u32 state;

	if (soft_nmis(v)) {
		vmx_of(v)->nmi_masked = masked;
		return;
	}
	state = vmread(VMCS_GUEST_INTERRUPTIBILITY) & ~(u32)BLOCKED_BY_NMI;
	vmwrite(VMCS_GUEST_INTERRUPTIBILITY, state | (masked ? BLOCKED_BY_NMI : 0));
}
