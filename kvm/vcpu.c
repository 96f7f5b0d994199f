/* SPDX-License-Identifier: MIT */
/* Requests on a vCPU: its state in and out, CPUID, MSRs, interrupts. */
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
#include "kvm/regs.h"
#include "lib/string.h"
#include "mm/guest_walk.h"
#include "mm/phys.h"

/* ---- registers and events: kvm/regs.c -------------------------------------------------- */

static s64 get_regs(struct call *call)
{
	regs_get(call->vcpu, call->data);
	return 0;
}

static s64 set_regs(struct call *call)
{
	regs_set(call->vcpu, call->data);
	return 0;
}

static s64 get_sregs(struct call *call)
{
	sregs_get(call->vcpu, call->data);
	return 0;
}

static s64 set_sregs(struct call *call)
{
	return sregs_set(call->vcpu, call->data);
}

static s64 get_sregs2(struct call *call)
{
	sregs2_get(call->vcpu, call->data);
	return 0;
}

static s64 set_sregs2(struct call *call)
{
	return sregs2_set(call->vcpu, call->data);
}

static s64 get_vcpu_events(struct call *call)
{
	events_get(call->vcpu, call->data);
	return 0;
}

static s64 set_vcpu_events(struct call *call)
{
	return events_set(call->vcpu, call->data);
}

/* ---- debug registers ------------------------------------------------------------------- */

static s64 get_debugregs(struct call *call)
{
	struct kvm_debugregs *out = call->data;

	for (u32 i = 0; i < 4; i++)
		out->db[i] = call->vcpu->guest_dr[i];
	out->dr6 = virt->get(&call->vcpu->v, VREG_DR6);
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
	virt->set(&call->vcpu->v, VREG_DR6, in->dr6);
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
	for (u32 i = 0; i < count && !error; i++) {
		struct cpuid_entry now = cpuid_current(call->vcpu, &call->vcpu->cpuid[i]);

		error = call_write(call, sizeof(struct kvm_cpuid2) + i * sizeof(now), &now,
				   sizeof(now));
	}
	return error;
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

static s64 has_attribute(struct call *call)
{
	const struct kvm_device_attr *attribute = call->data;

	return attribute->group != KVM_VCPU_TSC_CTRL || attribute->attr != KVM_VCPU_TSC_OFFSET
		       ? -ENXIO
		       : 0;
}

static s64 get_attribute(struct call *call)
{
	struct keel_device_attr *attribute = call->data;

	attribute->value = call->vcpu->tsc_offset;
	return has_attribute(call);
}

static s64 set_attribute(struct call *call)
{
	const struct keel_device_attr *attribute = call->data;
	s64 error = has_attribute(call);

	if (!error)
		vcpu_restore_tsc_offset(call->vcpu, attribute->value);
	return error;
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

/* Where a guest's own code keeps its TPR. Keel's APIC keeps no copy, so there is nothing to do. */
static s64 set_vapic_addr(struct call *call)
{
	return call->vcpu->lapic ? 0 : -EINVAL;
}

static s64 tpr_access_reporting(struct call *call)
{
	const struct kvm_tpr_access_ctl *control = call->data;

	if (control->flags)
		return -EINVAL;
	call->vcpu->tpr_access.reported = control->enabled != 0;
	return 0;
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

	/* What an encrypted guest's AP waits in. Linux takes it from any VMM, and it is a halt. */
	if (state == KVM_MP_STATE_AP_RESET_HOLD)
		state = MP_HALTED;
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
	{KVM_GET_SREGS2, 0, sizeof(struct kvm_sregs2), 0, get_sregs2},
	{KVM_SET_SREGS2, sizeof(struct kvm_sregs2), 0, 0, set_sregs2},
	{KVM_GET_FPU, 0, sizeof(struct kvm_fpu), 0, get_fpu},
	{KVM_SET_FPU, sizeof(struct kvm_fpu), 0, 0, set_fpu},
	{KVM_GET_XSAVE, 0, sizeof(struct kvm_xsave), 0, get_xsave},
	{KVM_GET_XSAVE2, 0, sizeof(struct kvm_xsave), 0, get_xsave},
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
	{KVM_HAS_DEVICE_ATTR, sizeof(struct kvm_device_attr), 0, 0, has_attribute},
	{KVM_GET_DEVICE_ATTR, sizeof(struct keel_device_attr), sizeof(struct keel_device_attr), 0,
	 get_attribute},
	{KVM_SET_DEVICE_ATTR, sizeof(struct keel_device_attr), 0, 0, set_attribute},
	{KVM_ENABLE_CAP, sizeof(struct kvm_enable_cap), 0, 0, enable_cap},
	{KVM_KVMCLOCK_CTRL, 0, 0, 0, clock_ctrl},
	{KVM_TPR_ACCESS_REPORTING, sizeof(struct kvm_tpr_access_ctl),
	 sizeof(struct kvm_tpr_access_ctl), 0, tpr_access_reporting},
	{KVM_SET_VAPIC_ADDR, sizeof(struct kvm_vapic_addr), 0, 0, set_vapic_addr},
};

const struct request_table vcpu_requests = {rows, ARRAY_SIZE(rows), -EINVAL};
