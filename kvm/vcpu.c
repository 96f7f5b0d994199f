/* SPDX-License-Identifier: MIT */
/* Requests on a vCPU: its registers and events in and out, CPUID, MSRs, interrupts. */
#include <linux/kvm.h>

#include "arch-x86/msr.h"
#include "arch-x86/regs.h"
#include "core/control.h"
#include "core/cpuid.h"
#include "core/debug.h"
#include "core/event.h"
#include "core/mce.h"
#include "core/msr.h"
#include "core/stats.h"
#include "core/xstate.h"
#include "devices/irqchip.h"
#include "devices/kvmclock.h"
#include "devices/lapic.h"
#include "kvm/hypercall.h"
#include "lib/string.h"
#include "mm/guest_walk.h"
#include "mm/phys.h"

static u64 get(const struct call *call, enum virt_reg reg)
{
	return virt->get(&call->vcpu->v, reg);
}

static void set(const struct call *call, enum virt_reg reg, u64 value)
{
	virt->set(&call->vcpu->v, reg, value);
}

/* ---- general registers ----------------------------------------------------------------- */

/* KVM's order of the general registers in struct kvm_regs. */
static const u8 kvm_gpr[GPR_COUNT] = {
	GPR_RAX, GPR_RBX, GPR_RCX, GPR_RDX, GPR_RSI, GPR_RDI, GPR_RSP, GPR_RBP,
	GPR_R8,	 GPR_R9,  GPR_R10, GPR_R11, GPR_R12, GPR_R13, GPR_R14, GPR_R15,
};
_Static_assert(offsetof(struct kvm_regs, rip) == GPR_COUNT * sizeof(u64), "struct kvm_regs");

static s64 get_regs(struct call *call)
{
	struct kvm_regs *regs = call->data;
	u64 *gpr = call->data;

	for (u32 i = 0; i < GPR_COUNT; i++)
		gpr[i] = call->vcpu->v.gpr[kvm_gpr[i]];
	regs->rip = call->vcpu->v.rip;
	regs->rflags = vcpu_rflags(call->vcpu);
	return 0;
}

static s64 set_regs(struct call *call)
{
	const struct kvm_regs *regs = call->data;
	const u64 *gpr = call->data;

	for (u32 i = 0; i < GPR_COUNT; i++)
		call->vcpu->v.gpr[kvm_gpr[i]] = gpr[i];
	call->vcpu->v.rip = regs->rip;
	vcpu_set_rflags(call->vcpu, regs->rflags | RFLAGS_ONE);
	call->vcpu->events.exception.pending = false;
	vcpu_set_request(call->vcpu, REQUEST_EVENT);
	return 0;
}

/* ---- system registers ------------------------------------------------------------------ */

static void get_segment(struct call *call, enum seg seg, struct kvm_segment *out)
{
	struct segment s;

	virt->get_segment(&call->vcpu->v, seg, &s);
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

static void set_segment(struct call *call, enum seg seg, const struct kvm_segment *in)
{
	struct segment s = {.base = in->base, .limit = in->limit, .selector = in->selector};

	s.attr = (in->type & SEG_TYPE) | (in->s & 1 ? SEG_S : 0) |
		 (in->dpl & 3) * (SEG_DPL & -SEG_DPL) |
		 (in->present & 1 && !in->unusable ? SEG_P : 0) | (in->avl & 1 ? SEG_AVL : 0) |
		 (in->l & 1 ? SEG_L : 0) | (in->db & 1 ? SEG_DB : 0) | (in->g & 1 ? SEG_G : 0);
	virt->set_segment(&call->vcpu->v, seg, &s);
}

static void get_table(struct call *call, enum seg seg, struct kvm_dtable *out)
{
	struct segment s;

	virt->get_segment(&call->vcpu->v, seg, &s);
	*out = (struct kvm_dtable){.base = s.base, .limit = s.limit};
}

static void set_table(struct call *call, enum seg seg, const struct kvm_dtable *in)
{
	struct segment s = {.base = in->base, .limit = in->limit};

	virt->set_segment(&call->vcpu->v, seg, &s);
}

static s64 get_sregs(struct call *call)
{
	struct vcpu *vcpu = call->vcpu;
	const struct vcpu_events *events = &vcpu->events;
	struct kvm_sregs *sregs = call->data;

	get_segment(call, SEG_CS, &sregs->cs);
	get_segment(call, SEG_DS, &sregs->ds);
	get_segment(call, SEG_ES, &sregs->es);
	get_segment(call, SEG_FS, &sregs->fs);
	get_segment(call, SEG_GS, &sregs->gs);
	get_segment(call, SEG_SS, &sregs->ss);
	get_segment(call, SEG_TR, &sregs->tr);
	get_segment(call, SEG_LDTR, &sregs->ldt);
	get_table(call, SEG_GDTR, &sregs->gdt);
	get_table(call, SEG_IDTR, &sregs->idt);
	sregs->cr0 = get(call, VREG_CR0);
	sregs->cr2 = get(call, VREG_CR2);
	sregs->cr3 = get(call, VREG_CR3);
	sregs->cr4 = get(call, VREG_CR4);
	sregs->cr8 = vcpu->lapic ? vcpu->vm->irqchip->get_cr8(vcpu) : get(call, VREG_CR8);
	sregs->efer = get(call, VREG_EFER);
	sregs->apic_base = vcpu->lapic ? lapic_base(vcpu) : vcpu->msr.apic_base;
	if (events->interrupt.injected && !events->interrupt.soft)
		sregs->interrupt_bitmap[events->interrupt.vector / 64] |=
			BIT(events->interrupt.vector % 64);
	else if (events->user_interrupt)
		sregs->interrupt_bitmap[events->user_vector / 64] |= BIT(events->user_vector % 64);
	return 0;
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

static s64 set_sregs(struct call *call)
{
	struct vcpu *vcpu = call->vcpu;
	const struct kvm_sregs *sregs = call->data;
	struct segment cs;

	if (!sregs_valid(vcpu, sregs) || set_apic_base(vcpu, sregs->apic_base))
		return -EINVAL;
	vcpu_code_changes(vcpu);
	set_table(call, SEG_IDTR, &sregs->idt);
	set_table(call, SEG_GDTR, &sregs->gdt);
	set(call, VREG_CR2, sregs->cr2);
	set(call, VREG_CR3, sregs->cr3);
	if (sregs->cr8 <= 15 && vcpu->lapic)
		vcpu->vm->irqchip->set_cr8(vcpu, sregs->cr8);
	if (sregs->cr8 <= 15)
		set(call, VREG_CR8, sregs->cr8);
	set(call, VREG_EFER, sregs->efer);
	set(call, VREG_CR0, sregs->cr0 | CR0_ET);
	set(call, VREG_CR4, sregs->cr4);
	set_segment(call, SEG_CS, &sregs->cs);
	set_segment(call, SEG_DS, &sregs->ds);
	set_segment(call, SEG_ES, &sregs->es);
	set_segment(call, SEG_FS, &sregs->fs);
	set_segment(call, SEG_GS, &sregs->gs);
	set_segment(call, SEG_SS, &sregs->ss);
	set_segment(call, SEG_TR, &sregs->tr);
	set_segment(call, SEG_LDTR, &sregs->ldt);
	vcpu->v.flush = true;
	/* Old VMMs wake the boot processor so. */
	virt->get_segment(&vcpu->v, SEG_CS, &cs);
	if (vcpu->id == vcpu->vm->bsp_id && vcpu->v.rip == 0xfff0 && cs.selector == 0xf000 &&
	    cs.base == 0xffff0000 && !(sregs->cr0 & CR0_PE))
		vcpu->mp_state = MP_RUNNABLE;
	for (u32 i = 0; i < ARRAY_SIZE(sregs->interrupt_bitmap); i++) {
		if (!sregs->interrupt_bitmap[i])
			continue;
		vcpu->events.interrupt = (struct pending_interrupt){
			.injected = true,
			.vector = i * 64 + __builtin_ctzll(sregs->interrupt_bitmap[i]),
		};
		break;
	}
	vcpu_set_request(vcpu, REQUEST_EVENT);
	return 0;
}

static s64 get_debugregs(struct call *call)
{
	struct kvm_debugregs *out = call->data;

	for (u32 i = 0; i < 4; i++)
		out->db[i] = call->vcpu->guest_dr[i];
	out->dr6 = get(call, VREG_DR6);
	out->dr7 = call->vcpu->guest_dr7;
	return 0;
}

static s64 set_debugregs(struct call *call)
{
	const struct kvm_debugregs *in = call->data;

	if (in->flags || in->dr6 >> 32 || in->dr7 >> 32)
		return -EINVAL;
	for (u32 i = 0; i < 4; i++)
		call->vcpu->guest_dr[i] = in->db[i];
	set(call, VREG_DR6, in->dr6);
	call->vcpu->guest_dr7 = in->dr7;
	vcpu_update_debug(call->vcpu);
	return 0;
}

static s64 set_guest_debug(struct call *call)
{
	const struct kvm_guest_debug *in = call->data;
	u64 debugreg[8];

	memcpy(debugreg, in->arch.debugreg, sizeof(debugreg));
	return debug_set(call->vcpu, in->control, debugreg);
}

/* ---- x87, SSE and extended state ------------------------------------------------------- */

/* FXSAVE's image (SDM vol. 1, "FXSAVE Area"), the first 512 bytes of every XSAVE area. */
struct fxsave {
	u16 fcw, fsw;
	u8 ftw, reserved;
	u16 fop;
	u64 rip, rdp;
	u32 mxcsr, mxcsr_mask;
	u8 st[8][16], xmm[16][16];
	u8 unused[96];
};
_Static_assert(sizeof(struct fxsave) == 512, "FXSAVE area");

struct xsave {
	struct fxsave legacy;
	u64 present; /* XSTATE_BV: components not in their initial state */
};

static s64 get_fpu(struct call *call)
{
	struct kvm_fpu *fpu = call->data;
	const struct fxsave *area = call->vcpu->xsave;

	memcpy(fpu->fpr, area->st, sizeof(fpu->fpr));
	fpu->fcw = area->fcw;
	fpu->fsw = area->fsw;
	fpu->ftwx = area->ftw;
	fpu->last_opcode = area->fop;
	fpu->last_ip = area->rip;
	fpu->last_dp = area->rdp;
	memcpy(fpu->xmm, area->xmm, sizeof(fpu->xmm));
	return 0;
}

/* MXCSR stays, as on Linux. */
static s64 set_fpu(struct call *call)
{
	const struct kvm_fpu *fpu = call->data;
	struct xsave *xsave = call->vcpu->xsave;
	struct fxsave *area = &xsave->legacy;

	memcpy(area->st, fpu->fpr, sizeof(fpu->fpr));
	area->fcw = fpu->fcw;
	area->fsw = fpu->fsw;
	area->ftw = fpu->ftwx;
	area->fop = fpu->last_opcode;
	area->rip = fpu->last_ip;
	area->rdp = fpu->last_dp;
	memcpy(area->xmm, fpu->xmm, sizeof(fpu->xmm));
	xsave->present |= XCR0_X87 | XCR0_SSE;
	return 0;
}

static s64 get_xsave(struct call *call)
{
	if (xstate_size() > sizeof(struct kvm_xsave))
		return -EINVAL;
	xstate_get(call->vcpu, call->data, sizeof(struct kvm_xsave));
	return 0;
}

static s64 set_xsave(struct call *call)
{
	return xstate_set(call->vcpu, call->data, sizeof(struct kvm_xsave));
}

static s64 get_xcrs(struct call *call)
{
	struct kvm_xcrs *xcrs = call->data;

	xcrs->nr_xcrs = 1;
	xcrs->xcrs[0].value = call->vcpu->xcr0;
	return 0;
}

static s64 set_xcrs(struct call *call)
{
	const struct kvm_xcrs *xcrs = call->data;

	if (xcrs->nr_xcrs > KVM_MAX_XCRS || xcrs->flags)
		return -EINVAL;
	for (u32 i = 0; i < xcrs->nr_xcrs; i++) {
		if (xcrs->xcrs[i].xcr == 0)
			return xcr0_set(call->vcpu, xcrs->xcrs[i].value);
	}
	return 0;
}

/* ---- CPUID, MSRs, TSC ------------------------------------------------------------------ */

#define CPUID_PAGES (CPUID_ENTRIES * sizeof(struct cpuid_entry) / PAGE_SIZE + 1)

/* Reads `count` entries of the old or the new layout behind an 8-byte header. */
static int read_cpuid(struct call *call, struct cpuid_entry *entries, u32 count, bool old)
{
	if (!old)
		return call_read(call, sizeof(struct kvm_cpuid2), entries,
				 count * sizeof(*entries));
	for (u32 i = 0; i < count; i++) {
		struct kvm_cpuid_entry from;
		int error = call_read(call, sizeof(struct kvm_cpuid) + i * sizeof(from), &from,
				      sizeof(from));

		if (error)
			return error;
		entries[i] = (struct cpuid_entry){
			.function = from.function,
			.eax = from.eax,
			.ebx = from.ebx,
			.ecx = from.ecx,
			.edx = from.edx,
		};
	}
	return 0;
}

static s64 set_cpuid(struct call *call, bool old)
{
	struct pool *pool = &call->vm->pool;
	struct kvm_cpuid2 header;
	hpa_t copy;
	int error = call_read(call, 0, &header, sizeof(header));

	if (error)
		return error;
	if (header.nent > CPUID_ENTRIES)
		return -E2BIG;
	copy = pool_alloc(pool, CPUID_PAGES);
	if (copy.v == HPA_NONE.v)
		return -ENOMEM;
	error = read_cpuid(call, phys_ptr(copy), header.nent, old);
	if (!error)
		error = cpuid_set(call->vcpu, phys_ptr(copy), header.nent);
	pool_free(pool, copy, CPUID_PAGES);
	return error;
}

static s64 set_cpuid1(struct call *call)
{
	return set_cpuid(call, true);
}

static s64 set_cpuid2(struct call *call)
{
	return set_cpuid(call, false);
}

static s64 get_cpuid2(struct call *call)
{
	u32 asked, count = call->vcpu->cpuid_count;
	int error = call_read(call, 0, &asked, sizeof(asked));

	if (!error)
		error = call_write(call, 0, &count, sizeof(count));
	if (error)
		return error;
	if (asked < count)
		return -E2BIG;
	return call_write(call, sizeof(struct kvm_cpuid2), call->vcpu->cpuid,
			  count * sizeof(struct cpuid_entry));
}

/* The APIC's base goes the way of KVM_SET_SREGS: any valid state, not the guest's transitions. */
static int get_msr(struct call *call, u32 index, u64 *value)
{
	if (index == MSR_APIC_BASE && call->vcpu->lapic) {
		*value = lapic_base(call->vcpu);
		return 0;
	}
	return msr_host_get(call->vcpu, index, value);
}

static int set_msr(struct call *call, u32 index, u64 *value)
{
	if (index == MSR_APIC_BASE && call->vcpu->lapic)
		return lapic_set_base(call->vcpu, *value);
	return msr_host_set(call->vcpu, index, *value);
}

static s64 get_msrs(struct call *call)
{
	return msrs_list(call, get_msr, false);
}

static s64 set_msrs(struct call *call)
{
	return msrs_list(call, set_msr, true);
}

static s64 get_tsc_khz(struct call *call)
{
	return call->vcpu->tsc_khz;
}

static s64 set_tsc_khz(struct call *call)
{
	return vcpu_set_tsc_khz(call->vcpu, (u32)call->argument);
}

/* ---- APIC, events, interrupts ---------------------------------------------------------- */

static s64 get_lapic(struct call *call)
{
	return call->vcpu->lapic ? lapic_get(call->vcpu, call->data) : -EINVAL;
}

static s64 set_lapic(struct call *call)
{
	return call->vcpu->lapic ? lapic_set(call->vcpu, call->data) : -EINVAL;
}

/* Hints for a VMM's own APIC shadow. Keel keeps none, so there is nothing to do. */
static s64 apic_hint(struct call *call)
{
	return call->vcpu->lapic ? 0 : -EINVAL;
}

static s64 get_mp_state(struct call *call)
{
	struct kvm_mp_state *state = call->data;

	vcpu_accept_init(call->vcpu);
	state->mp_state = call->vcpu->mp_state;
	return 0;
}

static s64 set_mp_state(struct call *call)
{
	u32 state = ((const struct kvm_mp_state *)call->data)->mp_state;

	if (state > MP_SIPI_RECEIVED || (state != MP_RUNNABLE && !call->vcpu->lapic))
		return -EINVAL;
	if (state == MP_SIPI_RECEIVED) {
		state = MP_INIT_RECEIVED;
		vcpu_set_request(call->vcpu, REQUEST_SIPI);
	}
	call->vcpu->mp_state = state;
	vcpu_set_request(call->vcpu, REQUEST_EVENT);
	return 0;
}

static s64 get_vcpu_events(struct call *call)
{
	struct vcpu_events *events = &call->vcpu->events;
	const struct pending_exception *exception = &events->exception;
	struct kvm_vcpu_events *out = call->data;
	u64 caps = call->vm->caps;

	if (!(caps & CAP_EXCEPTION_PAYLOAD))
		event_deliver_payload(call->vcpu);
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
	out->interrupt.shadow = get(call, VREG_INT_SHADOW);
	out->nmi.injected = events->nmi_injected;
	out->nmi.pending = events->nmi_queued != 0;
	out->nmi.masked = get(call, VREG_NMI_MASKED);
	out->flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
	if (caps & CAP_EXCEPTION_PAYLOAD)
		out->flags |= KVM_VCPUEVENT_VALID_PAYLOAD;
	if (caps & CAP_TRIPLE_FAULT_EVENT) {
		out->flags |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
		out->triple_fault.pending = events->triple_fault;
	}
	return 0;
}

static bool events_valid(const struct call *call, const struct kvm_vcpu_events *in)
{
	u32 valid = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SIPI_VECTOR |
		    KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_SMM;
	bool pending = in->flags & KVM_VCPUEVENT_VALID_PAYLOAD && in->exception.pending;

	if (call->vm->caps & CAP_EXCEPTION_PAYLOAD)
		valid |= KVM_VCPUEVENT_VALID_PAYLOAD;
	if (call->vm->caps & CAP_TRIPLE_FAULT_EVENT)
		valid |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
	if (in->flags & ~valid)
		return false;
	/* There is no system management mode to be in, or to enter. */
	if (in->flags & KVM_VCPUEVENT_VALID_SMM && (in->smi.smm || in->smi.pending))
		return false;
	return !(in->exception.injected || pending) ||
	       (in->exception.nr <= 31 && in->exception.nr != 2);
}

static s64 set_vcpu_events(struct call *call)
{
	const struct kvm_vcpu_events *in = call->data;
	struct vcpu_events *events = &call->vcpu->events;
	bool payload = in->flags & KVM_VCPUEVENT_VALID_PAYLOAD;

	if (!events_valid(call, in))
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
		set(call, VREG_INT_SHADOW, in->interrupt.shadow != 0);
	events->nmi_injected = in->nmi.injected;
	if (in->flags & KVM_VCPUEVENT_VALID_NMI_PENDING)
		__atomic_store_n(&events->nmi_queued, (u8)(in->nmi.pending != 0), __ATOMIC_SEQ_CST);
	set(call, VREG_NMI_MASKED, in->nmi.masked != 0);
	if (in->flags & KVM_VCPUEVENT_VALID_SIPI_VECTOR && call->vcpu->lapic)
		call->vcpu->sipi_vector = (u8)in->sipi_vector;
	if (in->flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT)
		events->triple_fault = in->triple_fault.pending != 0;
	vcpu_set_request(call->vcpu, REQUEST_EVENT | (events->nmi_queued ? REQUEST_NMI : 0) |
					     (events->triple_fault ? REQUEST_TRIPLE_FAULT : 0));
	return 0;
}

/* The VMM's own interrupt controller has acknowledged an interrupt. */
static s64 interrupt(struct call *call)
{
	struct vcpu_events *events = &call->vcpu->events;
	u32 irq = ((const struct kvm_interrupt *)call->data)->irq;

	if (irq > 255)
		return -EINVAL;
	if (call->vm->irqchip && !call->vm->split_irqchip)
		return -ENXIO;
	if (call->vm->split_irqchip && events->user_interrupt)
		return -EEXIST;
	events->user_interrupt = true;
	events->user_vector = irq;
	vcpu_set_request(call->vcpu, REQUEST_EVENT);
	return 0;
}

static s64 nmi(struct call *call)
{
	vcpu_post_nmi(call->vcpu);
	return 0;
}

static s64 setup_mce(struct call *call)
{
	return mce_setup(call->vcpu, *(const u64 *)call->data);
}

static s64 set_mce(struct call *call)
{
	const struct kvm_x86_mce *in = call->data;

	return mce_inject(call->vcpu, &(struct machine_check){.status = in->status,
							      .address = in->addr,
							      .misc = in->misc,
							      .mcg_status = in->mcg_status,
							      .bank = in->bank});
}

/* ---- the rest -------------------------------------------------------------------------- */

static s64 translate(struct call *call)
{
	struct kvm_translation *translation = call->data;
	struct walk_state state;
	struct walk_result result;
	int error;

	vcpu_walk_state(call->vcpu, &state);
	/* As a debugger reads: user pages too. */
	state.cr4 &= ~(u64)CR4_SMAP;
	error = guest_walk(&call->vm->mem, &state, GVA(translation->linear_address), WALK_READ,
			   true, &result);
	if (error == -EFAULT && vcpu_memory_fault(call->vcpu, result.missing, false)) {
		call->result2 = call->vcpu->exit.memory.gpa.v;
		call->result3 = ALIGN_DOWN(call->vcpu->exit.memory.hva, PAGE_SIZE);
		return -EFAULT;
	}
	translation->physical_address = error ? ~0ull : result.gpa.v;
	translation->valid = !error;
	translation->writeable = 1;
	translation->usermode = 0;
	return 0;
}

static s64 enable_cap(struct call *call)
{
	const struct kvm_enable_cap *cap = call->data;

	if (cap->flags || cap->cap != KVM_CAP_ENFORCE_PV_FEATURE_CPUID)
		return -EINVAL;
	call->vcpu->enforce_cpuid = cap->args[0] != 0;
	return 0;
}

static s64 clock_ctrl(struct call *call)
{
	return kvmclock_ctrl(call->vcpu);
}

static s64 kick(struct call *call)
{
	vcpu_kick(call->vcpu, REQUEST_KICK);
	return 0;
}

static s64 stats(struct call *call)
{
	for (u32 i = 0; i < KEEL_STAT_REASONS; i++) {
		u32 histogram[KEEL_STAT_BUCKETS];
		u64 count, cycles;
		int error;

		stats_copy(call->vcpu, i, &count, &cycles, histogram);
		error = call_write(call, offsetof(struct keel_stats, count) + i * sizeof(count),
				   &count, sizeof(count));
		if (!error)
			error = call_write(call,
					   offsetof(struct keel_stats, cycles) + i * sizeof(cycles),
					   &cycles, sizeof(cycles));
		if (!error)
			error = call_write(call,
					   offsetof(struct keel_stats, histogram) +
						   i * sizeof(histogram),
					   histogram, sizeof(histogram));
		if (error)
			return error;
	}
	return 0;
}

static const struct request rows[] = {
	{KEEL_KICK, 0, 0, REQUEST_PARALLEL, kick},
	{KEEL_STATS, 0, 0, REQUEST_PARALLEL, stats},
	{KVM_INTERRUPT, sizeof(struct kvm_interrupt), 0, 0, interrupt},
	{KVM_NMI, 0, 0, 0, nmi},
	{KVM_X86_SETUP_MCE, sizeof(u64), 0, 0, setup_mce},
	{KVM_X86_SET_MCE, sizeof(struct kvm_x86_mce), 0, 0, set_mce},
	{KVM_GET_REGS, 0, sizeof(struct kvm_regs), 0, get_regs},
	{KVM_SET_REGS, sizeof(struct kvm_regs), 0, 0, set_regs},
	{KVM_GET_SREGS, 0, sizeof(struct kvm_sregs), 0, get_sregs},
	{KVM_SET_SREGS, sizeof(struct kvm_sregs), 0, 0, set_sregs},
	{KVM_GET_FPU, 0, sizeof(struct kvm_fpu), 0, get_fpu},
	{KVM_SET_FPU, sizeof(struct kvm_fpu), 0, 0, set_fpu},
	{KVM_GET_XSAVE, 0, sizeof(struct kvm_xsave), 0, get_xsave},
	{KVM_SET_XSAVE, sizeof(struct kvm_xsave), 0, 0, set_xsave},
	{KVM_GET_XCRS, 0, sizeof(struct kvm_xcrs), 0, get_xcrs},
	{KVM_SET_XCRS, sizeof(struct kvm_xcrs), 0, 0, set_xcrs},
	{KVM_GET_MSRS, 0, 0, 0, get_msrs},
	{KVM_SET_MSRS, 0, 0, 0, set_msrs},
	{KVM_SET_CPUID, 0, 0, 0, set_cpuid1},
	{KVM_SET_CPUID2, 0, 0, 0, set_cpuid2},
	{KVM_GET_CPUID2, 0, 0, 0, get_cpuid2},
	{KVM_GET_LAPIC, 0, sizeof(struct kvm_lapic_state), 0, get_lapic},
	{KVM_SET_LAPIC, sizeof(struct kvm_lapic_state), 0, 0, set_lapic},
	{KVM_GET_MP_STATE, 0, sizeof(struct kvm_mp_state), 0, get_mp_state},
	{KVM_SET_MP_STATE, sizeof(struct kvm_mp_state), 0, 0, set_mp_state},
	{KVM_GET_VCPU_EVENTS, 0, sizeof(struct kvm_vcpu_events), 0, get_vcpu_events},
	{KVM_SET_VCPU_EVENTS, sizeof(struct kvm_vcpu_events), 0, 0, set_vcpu_events},
	{KVM_GET_DEBUGREGS, 0, sizeof(struct kvm_debugregs), 0, get_debugregs},
	{KVM_SET_DEBUGREGS, sizeof(struct kvm_debugregs), 0, 0, set_debugregs},
	{KVM_SET_GUEST_DEBUG, sizeof(struct kvm_guest_debug), 0, 0, set_guest_debug},
	{KVM_TRANSLATE, sizeof(struct kvm_translation), sizeof(struct kvm_translation), 0,
	 translate},
	{KVM_GET_TSC_KHZ, 0, 0, 0, get_tsc_khz},
	{KVM_SET_TSC_KHZ, 0, 0, 0, set_tsc_khz},
	{KVM_ENABLE_CAP, sizeof(struct kvm_enable_cap), 0, 0, enable_cap},
	{KVM_KVMCLOCK_CTRL, 0, 0, 0, clock_ctrl},
	{KVM_TPR_ACCESS_REPORTING, sizeof(struct kvm_tpr_access_ctl),
	 sizeof(struct kvm_tpr_access_ctl), 0, apic_hint},
	{KVM_SET_VAPIC_ADDR, sizeof(struct kvm_vapic_addr), 0, 0, apic_hint},
};

const struct request_table vcpu_requests = {rows, ARRAY_SIZE(rows), -EINVAL};
