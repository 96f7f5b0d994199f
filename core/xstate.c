// SPDX-License-Identifier: MIT
/*
 * Extended state and world-switch MSRs. An area is laid out by XSAVE's standard format; what it
 * holds was checked before it got there, since XRSTOR faults in root otherwise.
 */
#include "core/xstate.h"

#include "arch-x86/cpu.h"
#include "arch-x86/insn.h"
#include "arch-x86/msr.h"
#include "arch-x86/regs.h"
#include "core/msr.h"
#include "core/vm.h"
#include "lib/string.h"
#include "mm/phys.h"

#define CARRIED                                                                                    \
	(XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM | XCR0_PKRU)
/* CPUID 8000_0008 EBX: IBRS, STIBP or SSBD; each has a bit of SPEC_CTRL, some have no IBRS. */
#define SPEC_CTRL_FEATURES (BIT(14) | BIT(15) | BIT(24))
#define AVX512		   (XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM)
#define LEGACY_SIZE	   512
#define HEADER		   512 /* XSTATE_BV, XCOMP_BV, six reserved words */
#define AREA_MIN	   576
#define FCW_OFFSET	   0
#define MXCSR_OFFSET	   24
#define MXCSR_MASK	   28
#define MXCSR_INIT	   0x1f80
#define MXCSR_BITS	   0xffffu
#define FCW_INIT	   0x37f
#define PRED_CMD_IBPB	   BIT(0)

static struct {
	bool read_xcr0; /* a guest's XSETBV may not exit */
	bool ready, xsave, xss, rdtscp, spec_ctrl, barrier, perf_global;
	bool switch_msrs; /* xss, spec_ctrl or perf_global has been other than 0 in some world */
	u64 mask;
	u32 size;
	u32 perf_global_msr;
	struct {
		u32 offset, size;
		bool align; /* in the compacted format */
	} component[10];
} host;

static void find_components(void)
{
	struct cpuid_regs main = cpuid(0xd, 0);

	host.mask = (main.eax | (u64)main.edx << 32) & CARRIED;
	host.size = AREA_MIN;
	for (u32 i = 2; i < ARRAY_SIZE(host.component); i++) {
		struct cpuid_regs r;

		if (!(host.mask & BIT(i)))
			continue;
		r = cpuid(0xd, i);
		host.component[i].size = r.eax;
		host.component[i].offset = r.ebx;
		host.component[i].align = r.ecx & 2;
		host.size = MAX(host.size, r.ebx + r.eax);
	}
	host.xss = cpuid(0xd, 1).eax & BIT(3);
}

static void find_perf_control(u32 max)
{
	if (max >= 0xa && (cpuid(0xa, 0).eax & 0xff) >= 2)
		host.perf_global_msr = MSR_PERF_GLOBAL_CTRL;
	else if (cpuid(0x80000000, 0).eax >= 0x80000022 && cpuid(0x80000022, 0).eax & 1)
		host.perf_global_msr = MSR_PERF_CNT_GLOBAL_CTL;
	host.perf_global = host.perf_global_msr != 0;
}

void xstate_init(void)
{
	u32 max = cpuid(0, 0).eax;

	if (host.ready)
		return;
	host.mask = XCR0_X87 | XCR0_SSE;
	host.size = AREA_MIN;
	host.xsave = cpuid(1, 0).ecx & BIT(26) && read_cr4() & CR4_OSXSAVE;
	if (host.xsave)
		find_components();
	host.rdtscp = cpuid(0x80000001, 0).edx & BIT(27);
	host.spec_ctrl = max >= 7 && cpuid(7, 0).edx & BIT(26);
	host.barrier = host.spec_ctrl;
	if (cpuid(0x80000000, 0).eax >= 0x80000008) {
		host.spec_ctrl |= (cpuid(0x80000008, 0).ebx & SPEC_CTRL_FEATURES) != 0;
		host.barrier |= (cpuid(0x80000008, 0).ebx & BIT(12)) != 0;
	}
	find_perf_control(max);
	host.read_xcr0 = host.xsave && !virt->xsetbv_exits;
	host.ready = true;
}

#ifdef UNIT_TEST
void xstate_forget(void)
{
	memset(&host, 0, sizeof(host));
}
#endif

bool xstate_has_xsave(void)
{
	return host.xsave;
}

u64 xstate_supported(void)
{
	return host.mask;
}

u32 xstate_size(void)
{
	return host.size;
}

u32 xstate_size_of(u64 components)
{
	u32 size = AREA_MIN;

	for (u32 i = 2; i < ARRAY_SIZE(host.component); i++)
		if (components & host.mask & BIT(i))
			size = MAX(size, host.component[i].offset + host.component[i].size);
	return size;
}

u32 xstate_compacted_size_of(u64 components)
{
	u32 size = AREA_MIN;

	for (u32 i = 2; i < ARRAY_SIZE(host.component); i++) {
		if (!(components & host.mask & BIT(i)))
			continue;
		if (host.component[i].align)
			size = ALIGN_UP(size, 64u);
		size += host.component[i].size;
	}
	return size;
}

static u32 load32(const void *area, u32 offset)
{
	u32 value;

	memcpy(&value, (const char *)area + offset, sizeof(value));
	return value;
}

static void store32(void *area, u32 offset, u32 value)
{
	memcpy((char *)area + offset, &value, sizeof(value));
}

void xstate_reset(struct vcpu *vcpu)
{
	memset(vcpu->xsave, 0, xstate_size());
	store32(vcpu->xsave, FCW_OFFSET, FCW_INIT);
	store32(vcpu->xsave, MXCSR_OFFSET, MXCSR_INIT);
	vcpu->xcr0 = XCR0_X87;
	vcpu->xused = XCR0_X87 | XCR0_SSE | (host.mask & XCR0_PKRU);
	if (host.read_xcr0)
		vcpu->xused |= host.mask;
}

void xstate_switch_msrs(void)
{
	__atomic_store_n(&host.switch_msrs, true, __ATOMIC_SEQ_CST);
}

/* What the firmware has written, though it may have taken it out of XCR0 again. */
static void find_used(struct vcpu *management)
{
	management->xcr0 = xgetbv(0);
	xsetbv(0, host.mask);
	xsave(management->xsave, host.mask);
	xsetbv(0, management->xcr0);
	management->xused |= management->xcr0 | *(u64 *)((char *)management->xsave + HEADER);
}

void xstate_launch(struct vcpu *management)
{
	struct vcpu_msrs *mine = &management->msr;

	if (host.xsave)
		find_used(management);
	if (host.perf_global)
		mine->perf_global = rdmsr(host.perf_global_msr);
	if (host.xss)
		mine->xss = rdmsr(MSR_XSS);
	if (host.spec_ctrl)
		mine->spec_ctrl = rdmsr(MSR_SPEC_CTRL);
	if (mine->perf_global | mine->xss | mine->spec_ctrl)
		xstate_switch_msrs();
}

static inline void switch_xsave(struct vcpu *from, struct vcpu *to)
{
	u32 mask = host.mask; /* CARRIED has no higher bit */

	if (host.read_xcr0)
		from->xcr0 = xgetbv(0);
	if (from->xcr0 != mask)
		xsetbv(0, mask);
	xsave(from->xsave, mask);
	xrstor(to->xsave, mask);
	if (to->xcr0 != mask)
		xsetbv(0, to->xcr0);
}

/*
 * What neither has ever been able to write is in its initial state, in the registers as in both
 * areas. XCR0 keeps no guest from SSE and PKRU: CR4.OSFXSR and CR4.PKE do. So this is for
 * processors without protection keys.
 */
static inline void switch_area(struct vcpu *from, struct vcpu *to)
{
	if (unlikely((from->xused | to->xused) != (XCR0_X87 | XCR0_SSE))) {
		switch_xsave(from, to);
		return;
	}
	fxsave(from->xsave);
	*(u64 *)((char *)from->xsave + HEADER) = XCR0_X87 | XCR0_SSE;
	fxrstor(to->xsave);
	if (unlikely(from->xcr0 != to->xcr0) && host.xsave)
		xsetbv(0, to->xcr0);
}

/* Writes an MSR only when its value changes: a read is much cheaper. Returns the old value. */
static u64 swap_msr(u32 index, u64 value)
{
	u64 old = rdmsr(index);

	if (old != value)
		wrmsr(index, value);
	return old;
}

/* What one VM taught this CPU's branch predictors must not steer another one (design D14). */
static noinline void barrier_between_vms(struct vcpu *vcpu, struct cpu *cpu)
{
	cpu->last_vm = vcpu->vm->handle;
	if (host.barrier)
		wrmsr(MSR_PRED_CMD, PRED_CMD_IBPB);
}

static noinline void enter_more_msrs(struct vcpu *vcpu, struct vcpu_msrs *mine)
{
	/* Performance counters of the management guest must not count, and so tell of, a child. */
	if (host.perf_global)
		mine->perf_global = swap_msr(host.perf_global_msr, 0);
	if (host.xss)
		mine->xss = swap_msr(MSR_XSS, 0);
	if (host.spec_ctrl)
		mine->spec_ctrl = swap_msr(MSR_SPEC_CTRL, vcpu->msr.spec_ctrl);
}

static noinline void leave_more_msrs(const struct vcpu_msrs *mine)
{
	if (host.spec_ctrl)
		swap_msr(MSR_SPEC_CTRL, mine->spec_ctrl);
	if (host.xss)
		swap_msr(MSR_XSS, mine->xss);
	if (host.perf_global)
		swap_msr(host.perf_global_msr, mine->perf_global);
}

void xstate_enter(struct vcpu *vcpu, struct vcpu *management, struct cpu *cpu)
{
	if (unlikely(cpu->last_vm != vcpu->vm->handle))
		barrier_between_vms(vcpu, cpu);
	if (unlikely(host.switch_msrs))
		enter_more_msrs(vcpu, &management->msr);
	if (unlikely(management->msr.tsc_aux != vcpu->msr.tsc_aux) && host.rdtscp)
		wrmsr(MSR_TSC_AUX, vcpu->msr.tsc_aux);
	switch_area(management, vcpu);
}

void xstate_leave(struct vcpu *vcpu, struct vcpu *management)
{
	switch_area(vcpu, management);
	if (unlikely(management->msr.tsc_aux != vcpu->msr.tsc_aux) && host.rdtscp)
		wrmsr(MSR_TSC_AUX, management->msr.tsc_aux);
	if (unlikely(host.switch_msrs))
		leave_more_msrs(&management->msr);
}

/* SDM vol. 1, "Enabling the XSAVE Feature Set and XSAVE-Enabled Features". */
bool xcr0_valid(const struct vcpu *vcpu, u64 xcr0)
{
	u64 allowed = host.xsave ? vcpu->xcr0_supported & host.mask : 0;

	if (xcr0 & ~(allowed | XCR0_X87) || !(xcr0 & XCR0_X87))
		return false;
	if (xcr0 & XCR0_AVX && !(xcr0 & XCR0_SSE))
		return false;
	return !(xcr0 & AVX512) || ((xcr0 & AVX512) == AVX512 && xcr0 & XCR0_AVX);
}

/*
 * XSETBV always exits on silicon; QEMU 7.2 lets it through on SVM. The register is the guest's
 * while the vCPU is loaded, so reading it there is right on both.
 */
u64 xcr0_get(const struct vcpu *vcpu)
{
	return vcpu->v.loaded && host.xsave ? xgetbv(0) : vcpu->xcr0;
}

int xcr0_set(struct vcpu *vcpu, u64 xcr0)
{
	if (!xcr0_valid(vcpu, xcr0))
		return -EINVAL;
	vcpu->xcr0 = xcr0;
	vcpu->xused |= xcr0;
	if (vcpu->v.loaded && host.xsave)
		xsetbv(0, xcr0);
	return 0;
}

void xstate_get(const struct vcpu *vcpu, void *out, u32 size)
{
	u32 have = MIN(size, xstate_size());
	u64 present;

	memcpy(out, vcpu->xsave, have);
	memset((char *)out + have, 0, size - have);
	/* The legacy part is always there; say so, as FXSAVE would have written it. */
	memcpy(&present, (char *)out + HEADER, sizeof(present));
	present |= XCR0_X87 | XCR0_SSE;
	memcpy((char *)out + HEADER, &present, sizeof(present));
	store32(out, MXCSR_MASK, MXCSR_BITS);
}

/* A component that is not present restores to its initial state: the area shows just that. */
static void fill_absent_legacy(u8 *area, u64 present)
{
	if (!(present & XCR0_X87)) {
		memset(area, 0, MXCSR_OFFSET);
		memset(area + 32, 0, 128);
		store32(area, FCW_OFFSET, FCW_INIT);
	}
	if (!(present & XCR0_SSE))
		memset(area + 160, 0, 256);
}

/* SDM vol. 1, "Standard Form of XRSTOR": what makes it fault. */
int xstate_set(struct vcpu *vcpu, const void *in, u32 size)
{
	u32 have = MIN(size, xstate_size());
	u32 mxcsr;
	u64 header[8];

	if (size < AREA_MIN)
		return -EINVAL;
	memcpy(header, (const char *)in + HEADER, sizeof(header));
	if (header[0] & ~host.mask || header[1])
		return -EINVAL;
	for (u32 i = 2; i < ARRAY_SIZE(header); i++)
		if (header[i])
			return -EINVAL;
	mxcsr = load32(in, MXCSR_OFFSET);
	if (mxcsr & ~MXCSR_BITS)
		return -EINVAL;
	memset(vcpu->xsave, 0, xstate_size());
	memcpy(vcpu->xsave, in, have);
	/* `in` may be shared memory: what was checked is what counts. */
	fill_absent_legacy(vcpu->xsave, header[0]);
	header[0] |= XCR0_X87 | XCR0_SSE;
	vcpu->xused |= header[0];
	memcpy((char *)vcpu->xsave + HEADER, header, sizeof(header));
	store32(vcpu->xsave, MXCSR_OFFSET, mxcsr);
	return 0;
}
