/* SPDX-License-Identifier: MIT */
/* A vCPU's registers and events in KVM's structs. */
#include "kvm/regs.h"

#include "arch-x86/msr.h"
#include "arch-x86/regs.h"
#include "core/control.h"
#include "core/event.h"
#include "core/msr.h"
#include "devices/irqchip.h"
#include "devices/lapic.h"
#include "kvm/hypercall.h"
#include "lib/string.h"

static u64 get(struct vcpu *vcpu, enum virt_reg reg)
{
	return virt->get(&vcpu->v, reg);
}

static void set(struct vcpu *vcpu, enum virt_reg reg, u64 value)
{
	virt->set(&vcpu->v, reg, value);
}

/* ---- general registers ----------------------------------------------------------------- */

/* KVM's order of the general registers in struct kvm_regs. */
static const u8 kvm_gpr[GPR_COUNT] = {
	GPR_RAX, GPR_RBX, GPR_RCX, GPR_RDX, GPR_RSI, GPR_RDI, GPR_RSP, GPR_RBP,
	GPR_R8,	 GPR_R9,  GPR_R10, GPR_R11, GPR_R12, GPR_R13, GPR_R14, GPR_R15,
};
_Static_assert(offsetof(struct kvm_regs, rip) == GPR_COUNT * sizeof(u64), "struct kvm_regs");

void regs_get(struct vcpu *vcpu, struct kvm_regs *out)
{
	u64 gpr[GPR_COUNT];

	for (u32 i = 0; i < GPR_COUNT; i++)
		gpr[i] = vcpu->v.gpr[kvm_gpr[i]];
	memcpy(out, gpr, sizeof(gpr));
	out->rip = vcpu->v.rip;
	out->rflags = vcpu_rflags(vcpu);
}

void regs_set(struct vcpu *vcpu, const struct kvm_regs *in)
{
	u64 gpr[GPR_COUNT];

	memcpy(gpr, in, sizeof(gpr));
	for (u32 i = 0; i < GPR_COUNT; i++)
		vcpu->v.gpr[kvm_gpr[i]] = gpr[i];
	vcpu->v.rip = in->rip;
	vcpu_set_rflags(vcpu, in->rflags | RFLAGS_ONE);
	vcpu->events.exception.pending = false;
	vcpu_set_request(vcpu, REQUEST_EVENT);
}

/* ---- system registers ------------------------------------------------------------------ */

static void get_segment(struct vcpu *vcpu, enum seg seg, struct kvm_segment *out)
{
	struct segment s;

	virt->get_segment(&vcpu->v, seg, &s);
	*out = (struct kvm_segment){
		.base = s.base,
		.limit = s.limit,
		.selector = s.selector,
		.type = s.attr & SEG_TYPE,
		.present = (s.attr & SEG_P) != 0,
		.dpl = (s.attr & SEG_DPL) / (SEG_DPL & -SEG_DPL),
		.db = (s.attr & SEG_DB) != 0,
		.s = (s.attr & SEG_S) != 0,
		.l = (s.attr & SEG_L) != 0,
		.g = (s.attr & SEG_G) != 0,
		.avl = (s.attr & SEG_AVL) != 0,
		.unusable = !(s.attr & SEG_P),
	};
}

static void set_segment(struct vcpu *vcpu, enum seg seg, const struct kvm_segment *in)
{
	struct segment s = {.base = in->base, .limit = in->limit, .selector = in->selector};

	s.attr = (in->type & SEG_TYPE) | (in->s & 1 ? SEG_S : 0) |
		 (in->dpl & 3) * (SEG_DPL & -SEG_DPL) |
		 (in->present & 1 && !in->unusable ? SEG_P : 0) | (in->avl & 1 ? SEG_AVL : 0) |
		 (in->l & 1 ? SEG_L : 0) | (in->db & 1 ? SEG_DB : 0) | (in->g & 1 ? SEG_G : 0);
	virt->set_segment(&vcpu->v, seg, &s);
}

static void get_table(struct vcpu *vcpu, enum seg seg, struct kvm_dtable *out)
{
	struct segment s;

	virt->get_segment(&vcpu->v, seg, &s);
	*out = (struct kvm_dtable){.base = s.base, .limit = s.limit};
}

static void set_table(struct vcpu *vcpu, enum seg seg, const struct kvm_dtable *in)
{
	struct segment s = {.base = in->base, .limit = in->limit};

	virt->set_segment(&vcpu->v, seg, &s);
}

/* What both structs begin with. */
#define COMMON_BYTES offsetof(struct kvm_sregs, interrupt_bitmap)
_Static_assert(offsetof(struct kvm_sregs2, flags) == COMMON_BYTES &&
		       offsetof(struct kvm_sregs2, apic_base) ==
			       offsetof(struct kvm_sregs, apic_base),
	       "the same beginning");

static void get_common(struct vcpu *vcpu, struct kvm_sregs *out)
{
	get_segment(vcpu, SEG_CS, &out->cs);
	get_segment(vcpu, SEG_DS, &out->ds);
	get_segment(vcpu, SEG_ES, &out->es);
	get_segment(vcpu, SEG_FS, &out->fs);
	get_segment(vcpu, SEG_GS, &out->gs);
	get_segment(vcpu, SEG_SS, &out->ss);
	get_segment(vcpu, SEG_TR, &out->tr);
	get_segment(vcpu, SEG_LDTR, &out->ldt);
	get_table(vcpu, SEG_GDTR, &out->gdt);
	get_table(vcpu, SEG_IDTR, &out->idt);
	out->cr0 = get(vcpu, VREG_CR0);
	out->cr2 = get(vcpu, VREG_CR2);
	out->cr3 = get(vcpu, VREG_CR3);
	out->cr4 = get(vcpu, VREG_CR4);
	out->cr8 = vcpu->lapic ? vcpu->vm->irqchip->get_cr8(vcpu) : get(vcpu, VREG_CR8);
	out->efer = get(vcpu, VREG_EFER);
	out->apic_base = vcpu->lapic ? lapic_base(vcpu) : vcpu->msr.apic_base;
}

/*
 * What the processor could not be in: SDM vol. 3, "Checks on Guest Control Registers, Debug
 * Registers, and MSRs"; APM vol. 2, "Canonicalization and Consistency Checks".
 */
static bool sregs_valid(struct vcpu *vcpu, const struct kvm_sregs *sregs)
{
	bool long_mode = sregs->efer & EFER_LME && sregs->cr0 & CR0_PG;

	if (long_mode != ((sregs->efer & EFER_LMA) != 0))
		return false;
	if (long_mode && (!(sregs->cr4 & CR4_PAE) || sregs->cr3 >> vcpu->physical_bits))
		return false;
	if (!long_mode && sregs->cs.l)
		return false;
	return cr0_valid(sregs->cr0) && cr4_valid(vcpu, sregs->cr4) &&
	       !(sregs->efer & vcpu->efer_reserved);
}

static int set_apic_base(struct vcpu *vcpu, u64 base)
{
	if (vcpu->lapic)
		return lapic_set_base(vcpu, base);
	return msr_host_set(vcpu, MSR_APIC_BASE, base);
}

/* Old VMMs wake the boot processor by setting the state after reset. */
static void wake_boot_processor(struct vcpu *vcpu)
{
	struct segment cs;

	virt->get_segment(&vcpu->v, SEG_CS, &cs);
	if (vcpu->id == vcpu->vm->bsp_id && vcpu->v.rip == 0xfff0 && cs.selector == 0xf000 &&
	    cs.base == 0xffff0000 && !(get(vcpu, VREG_CR0) & CR0_PE))
		vcpu->mp_state = MP_RUNNABLE;
}

static int set_common(struct vcpu *vcpu, const struct kvm_sregs *in)
{
	if (!sregs_valid(vcpu, in) || set_apic_base(vcpu, in->apic_base))
		return -EINVAL;
	vcpu_code_changes(vcpu);
	set_table(vcpu, SEG_IDTR, &in->idt);
	set_table(vcpu, SEG_GDTR, &in->gdt);
	set(vcpu, VREG_CR2, in->cr2);
	set(vcpu, VREG_CR3, in->cr3);
	if (in->cr8 <= 15 && vcpu->lapic)
		vcpu->vm->irqchip->set_cr8(vcpu, in->cr8);
	if (in->cr8 <= 15)
		set(vcpu, VREG_CR8, in->cr8);
	set(vcpu, VREG_EFER, in->efer);
	set(vcpu, VREG_CR0, in->cr0 | CR0_ET);
	set(vcpu, VREG_CR4, in->cr4);
	set_segment(vcpu, SEG_CS, &in->cs);
	set_segment(vcpu, SEG_DS, &in->ds);
	set_segment(vcpu, SEG_ES, &in->es);
	set_segment(vcpu, SEG_FS, &in->fs);
	set_segment(vcpu, SEG_GS, &in->gs);
	set_segment(vcpu, SEG_SS, &in->ss);
	set_segment(vcpu, SEG_TR, &in->tr);
	set_segment(vcpu, SEG_LDTR, &in->ldt);
	vcpu->v.flush = true;
	wake_boot_processor(vcpu);
	/* They may lie in a page that is not mapped yet. */
	if (control_pae_paging(vcpu))
		vcpu_set_request(vcpu, REQUEST_PDPTES);
	vcpu_set_request(vcpu, REQUEST_EVENT);
	return 0;
}

void sregs_get(struct vcpu *vcpu, struct kvm_sregs *out)
{
	const struct vcpu_events *events = &vcpu->events;

	memset(out->interrupt_bitmap, 0, sizeof(out->interrupt_bitmap));
	get_common(vcpu, out);
	if (events->interrupt.injected && !events->interrupt.soft)
		out->interrupt_bitmap[events->interrupt.vector / 64] |=
			BIT(events->interrupt.vector % 64);
	else if (events->user_interrupt)
		out->interrupt_bitmap[events->user_vector / 64] |= BIT(events->user_vector % 64);
}

int sregs_set(struct vcpu *vcpu, const struct kvm_sregs *in)
{
	int error = set_common(vcpu, in);

	if (error)
		return error;
	for (u32 i = 0; i < ARRAY_SIZE(in->interrupt_bitmap); i++) {
		if (!in->interrupt_bitmap[i])
			continue;
		vcpu->events.interrupt = (struct pending_interrupt){
			.injected = true,
			.vector = i * 64 + __builtin_ctzll(in->interrupt_bitmap[i]),
		};
		break;
	}
	return 0;
}

void sregs2_get(struct vcpu *vcpu, struct kvm_sregs2 *out)
{
	struct kvm_sregs common;
	u64 pdpte[4];

	get_common(vcpu, &common);
	memset(out, 0, sizeof(*out));
	memcpy(out, &common, COMMON_BYTES);
	if (!control_pae_paging(vcpu) || !control_get_pdptes(vcpu, pdpte))
		return;
	out->flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
	memcpy(out->pdptrs, pdpte, sizeof(pdpte));
}

int sregs2_set(struct vcpu *vcpu, const struct kvm_sregs2 *in)
{
	bool pae = in->cr0 & CR0_PG && in->cr4 & CR4_PAE && !(in->efer & EFER_LMA);
	struct kvm_sregs common;
	u64 pdpte[4];
	int error;

	if (in->flags & ~(u64)KVM_SREGS2_FLAGS_PDPTRS_VALID || (in->flags && !pae))
		return -EINVAL;
	memcpy(&common, in, COMMON_BYTES);
	memcpy(pdpte, in->pdptrs, sizeof(pdpte));
	error = set_common(vcpu, &common);
	if (!error && in->flags)
		control_set_pdptes(vcpu, pdpte);
	return error;
}

/* ---- events ---------------------------------------------------------------------------- */

void events_get(struct vcpu *vcpu, struct kvm_vcpu_events *out)
{
	struct vcpu_events *events = &vcpu->events;
	const struct pending_exception *exception = &events->exception;
	u64 caps = vcpu->vm->caps;

	if (!(caps & CAP_EXCEPTION_PAYLOAD))
		event_deliver_payload(vcpu);
	memset(out, 0, sizeof(*out));
	out->exception.injected = exception->injected;
	out->exception.pending = exception->pending;
	/* A VMM that does not know of `pending` sees the exception all the same. */
	if (!(caps & CAP_EXCEPTION_PAYLOAD))
		out->exception.injected |= exception->pending;
	out->exception.nr = exception->vector;
	out->exception.has_error_code = exception->has_error;
	out->exception.error_code = exception->error;
	out->exception_has_payload = exception->has_payload;
	out->exception_payload = exception->payload;
	out->interrupt.injected =
		(events->interrupt.injected && !events->interrupt.soft) || events->user_interrupt;
	out->interrupt.nr =
		events->interrupt.injected ? events->interrupt.vector : events->user_vector;
	out->interrupt.shadow = get(vcpu, VREG_INT_SHADOW);
	out->nmi.injected = events->nmi_injected;
	out->nmi.pending = events->nmi_queued != 0;
	out->nmi.masked = get(vcpu, VREG_NMI_MASKED);
	out->flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
	if (caps & CAP_EXCEPTION_PAYLOAD)
		out->flags |= KVM_VCPUEVENT_VALID_PAYLOAD;
	if (caps & CAP_TRIPLE_FAULT_EVENT) {
		out->flags |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
		out->triple_fault.pending = (vcpu->request & REQUEST_TRIPLE_FAULT) != 0;
	}
}

static bool events_valid(u64 caps, const struct kvm_vcpu_events *in)
{
	u32 valid = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SIPI_VECTOR |
		    KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_SMM;
	bool pending = in->flags & KVM_VCPUEVENT_VALID_PAYLOAD && in->exception.pending;

	if (caps & CAP_EXCEPTION_PAYLOAD)
		valid |= KVM_VCPUEVENT_VALID_PAYLOAD;
	if (caps & CAP_TRIPLE_FAULT_EVENT)
		valid |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
	if (in->flags & ~valid)
		return false;
	/* There is no system management mode to be in, or to enter. */
	if (in->flags & KVM_VCPUEVENT_VALID_SMM && (in->smi.smm || in->smi.pending))
		return false;
	return !(in->exception.injected || pending) ||
	       (in->exception.nr <= 31 && in->exception.nr != 2);
}

static void set_triple_fault(struct vcpu *vcpu, bool pending)
{
	if (pending)
		vcpu_set_request(vcpu, REQUEST_TRIPLE_FAULT);
	else
		vcpu_clear_request(vcpu, REQUEST_TRIPLE_FAULT);
}

int events_set(struct vcpu *vcpu, const struct kvm_vcpu_events *in)
{
	struct vcpu_events *events = &vcpu->events;
	bool payload = in->flags & KVM_VCPUEVENT_VALID_PAYLOAD;

	if (!events_valid(vcpu->vm->caps, in))
		return -EINVAL;
	events->exception = (struct pending_exception){
		.pending = payload && in->exception.pending,
		.injected = in->exception.injected && !(payload && in->exception.pending),
		.vector = in->exception.nr,
		.has_error = in->exception.has_error_code,
		.error = in->exception.error_code,
		.has_payload = payload && in->exception.pending && in->exception_has_payload,
		.payload = in->exception_payload,
	};
	events->interrupt = (struct pending_interrupt){
		.injected = in->interrupt.injected,
		.vector = in->interrupt.nr,
		.soft = in->interrupt.soft,
	};
	events->user_interrupt = false;
	if (in->flags & KVM_VCPUEVENT_VALID_SHADOW)
		set(vcpu, VREG_INT_SHADOW, in->interrupt.shadow != 0);
	events->nmi_injected = in->nmi.injected;
	if (in->flags & KVM_VCPUEVENT_VALID_NMI_PENDING)
		__atomic_store_n(&events->nmi_queued, (u8)(in->nmi.pending != 0), __ATOMIC_SEQ_CST);
	set(vcpu, VREG_NMI_MASKED, in->nmi.masked != 0);
	if (in->flags & KVM_VCPUEVENT_VALID_SIPI_VECTOR && vcpu->lapic)
		vcpu->sipi_vector = (u8)in->sipi_vector;
	if (in->flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT)
		set_triple_fault(vcpu, in->triple_fault.pending);
	vcpu_set_request(vcpu, REQUEST_EVENT | (events->nmi_queued ? REQUEST_NMI : 0));
	return 0;
}
