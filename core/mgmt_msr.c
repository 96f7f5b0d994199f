// SPDX-License-Identifier: MIT
/* The few MSRs that the management guest does not get as they are. */
#include "arch-x86/insn.h"
#include "arch-x86/log.h"
#include "arch-x86/msr.h"
#include "arch-x86/mtrr.h"
#include "arch-x86/regs.h"
#include "core/mgmt.h"
#include "core/xstate.h"

#define MSR_AVIC_DOORBELL 0xc001011bu
#define SYSCFG_ENCRYPT	  BIT(23) /* memory encryption */
#define SYSCFG_SNP	  (BIT(24) | BIT(25))

#define FEATURE_CONTROL_LOCK BIT(0)
#define FEATURE_CONTROL_LMCE BIT(20) /* machine checks to one CPU alone */

enum policy {
	HIDDEN,
	EFER,
	FEATURE_CONTROL,
	APIC_BASE,
	ICR,
	SYSCFG,
	MTRR,
	TSC_AUX,
	SYSCALL,
	SWITCHED
};

/* Both vendors' in one list: an MSR that the processor does not have is #GP in either way. */
static const struct {
	u32 first, last;
	bool read, write; /* intercepted */
	u8 policy;	  /* enum policy */
} rules[] = {
	{MSR_EFER, MSR_EFER, true, true, EFER},
	{MSR_FEATURE_CONTROL, MSR_FEATURE_CONTROL, true, true, FEATURE_CONTROL},
	{MSR_APIC_BASE, MSR_APIC_BASE, false, true, APIC_BASE},
	{MSR_X2APIC_ICR, MSR_X2APIC_ICR, false, true, ICR},
	{MSR_TSC_AUX, MSR_TSC_AUX, false, true, TSC_AUX},
	{MSR_STAR, MSR_SFMASK, false, true, SYSCALL},
	{MSR_XSS, MSR_XSS, false, true, SWITCHED},
	{MSR_SPEC_CTRL, MSR_SPEC_CTRL, false, true, SWITCHED},
	{MSR_PERF_GLOBAL_CTRL, MSR_PERF_GLOBAL_CTRL, false, true, SWITCHED},
	{MSR_PERF_CNT_GLOBAL_CTL, MSR_PERF_CNT_GLOBAL_CTL, false, true, SWITCHED},
	{MSR_SYSCFG, MSR_SYSCFG, false, true, SYSCFG},
	{MSR_SMM_MONITOR_CTL, MSR_SMM_MONITOR_CTL, true, true, HIDDEN},
	{MSR_MTRR_PHYSBASE0, MSR_MTRR_PHYSBASE0 + 2 * MTRR_VARIABLE_MAX - 1, false, true, MTRR},
	{MSR_MTRR_FIX64K_00000, MSR_MTRR_FIX64K_00000, false, true, MTRR},
	{MSR_MTRR_FIX16K_80000, MSR_MTRR_FIX16K_A0000, false, true, MTRR},
	{MSR_MTRR_FIX4K_C0000, MSR_MTRR_FIX4K_F8000, false, true, MTRR},
	{MSR_MTRR_DEF_TYPE, MSR_MTRR_DEF_TYPE, false, true, MTRR},
	{MSR_VMX_BASIC, MSR_VMX_LAST, true, true, HIDDEN},
	{MSR_RTIT_OUTPUT_BASE, MSR_RTIT_LAST, true, true, HIDDEN},
	{MSR_VM_CR, MSR_VM_CR, true, true, HIDDEN},
	{MSR_VM_HSAVE_PA, MSR_SVM_LOCK_KEY, true, true, HIDDEN},
	{MSR_AVIC_DOORBELL, MSR_AVIC_DOORBELL, true, true, HIDDEN},
	{MSR_TSC_RATIO, MSR_TSC_RATIO, true, true, HIDDEN},
};

void mgmt_msr_init(struct vm *vm)
{
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
		if (rules[i].policy == MTRR && !virt->ept)
			continue; /* NPT leaves memory types to the processor */
		if (rules[i].policy == SYSCALL && !virt->syscall_msrs_told)
			continue;
		for (u32 index = rules[i].first; index <= rules[i].last; index++)
			virt->intercept_msr(&vm->virt, index, rules[i].read, rules[i].write);
	}
}

/* The policy for an MSR, or -ENOENT: the hardware's own. */
static int find_policy(u32 index)
{
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
		if (index >= rules[i].first && index <= rules[i].last)
			return rules[i].policy;
	return -ENOENT;
}

/*
 * As firmware leaves it that allows neither VMX nor SMX. What it says of machine checks is the
 * guest's. SDM vol. 3, "Enabling and Entering VMX Operation".
 */
static int read_feature_control(u64 *value)
{
	if (rdmsr_safe(MSR_FEATURE_CONTROL, value))
		return -EINVAL;
	*value = (*value & FEATURE_CONTROL_LMCE) | FEATURE_CONTROL_LOCK;
	return 0;
}

int mgmt_rdmsr(struct vcpu *vcpu, u32 index, u64 *value)
{
	int policy = find_policy(index);

	if (policy == HIDDEN)
		return -EINVAL;
	if (policy == EFER) {
		*value = virt->get(&vcpu->v, VREG_EFER);
		return 0;
	}
	if (policy == FEATURE_CONTROL)
		return read_feature_control(value);
	/* Outside of what the permission map covers. */
	return rdmsr_safe(index, value) ? -EINVAL : 0;
}

/*
 * Which bits exist only the processor knows: it is asked with root's own EFER, the bits added. LME
 * may not change while paging is on, and LMA follows it (APM vol. 2, "Extended Feature Enable
 * Register (EFER)").
 */
static int write_efer(struct vcpu *vcpu, u64 value)
{
	u64 root = rdmsr(MSR_EFER), old = virt->get(&vcpu->v, VREG_EFER);
	bool paging = virt->get(&vcpu->v, VREG_CR0) & CR0_PG;

	if (value & EFER_SVME || (paging && (value ^ old) & EFER_LME))
		return -EINVAL;
	if (wrmsr_safe(MSR_EFER, root | value))
		return -EINVAL;
	wrmsr(MSR_EFER, root);
	value = (value & ~(u64)EFER_LMA) | (old & EFER_LMA);
	virt->set(&vcpu->v, VREG_EFER, value);
	vcpu->v.flush = true; /* NXE changes what cached translations mean */
	return 0;
}

/* Root reaches every CPU's xAPIC at one address: the page stays where it is. */
static int write_apic_base(u64 value)
{
	u64 old = rdmsr(MSR_APIC_BASE);
	u64 address = MASK(51, 12);

	if (value & APIC_BASE_ENABLE && (value & address) != MGMT_APIC_PAGE) {
		log_limited(LOG_WARN, "management guest: xAPIC page to %llx refused: #GP",
			    (unsigned long long)(value & address));
		return -EINVAL;
	}
	if (value != old && wrmsr_safe(MSR_APIC_BASE, value))
		return -EINVAL;
	return 0;
}

static int write_icr(struct vcpu *vcpu, u64 value)
{
	/* Not in x2APIC mode the register does not exist: the hardware says so. */
	if (rdmsr(MSR_APIC_BASE) & APIC_BASE_X2APIC && mgmt_apic_icr(vcpu->cpu, value, true))
		return 0;
	return wrmsr_safe(MSR_X2APIC_ICR, value) ? -EINVAL : 0;
}

static int write_syscfg(u64 value)
{
	u64 old;

	if (rdmsr_safe(MSR_SYSCFG, &old))
		return -EINVAL;
	if ((value ^ old) & (SYSCFG_ENCRYPT | SYSCFG_SNP)) {
		log_limited(LOG_WARN, "management guest: memory encryption refused: #GP");
		return -EINVAL;
	}
	return wrmsr_safe(MSR_SYSCFG, value) ? -EINVAL : 0;
}

static int write_mtrr(u32 index, u64 value)
{
	if (wrmsr_safe(index, value))
		return -EINVAL;
	if (virt->ept)
		mgmt_memory_types();
	return 0;
}

static int write_syscall(struct vcpu *vcpu, u32 index, u64 value)
{
	if (wrmsr_safe(index, value))
		return -EINVAL;
	virt->set(&vcpu->v, VREG_STAR + (index - MSR_STAR), value);
	return 0;
}

/*
 * They need no switch while they are 0 in both worlds. From the first other value on they are
 * switched, and their writes do not exit any more: some kernels write them at every entry.
 */
static int write_switched(u32 index, u64 value)
{
	if (wrmsr_safe(index, value))
		return -EINVAL;
	if (!value)
		return 0;
	xstate_switch_msrs();
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
		if (rules[i].policy == SWITCHED)
			virt->intercept_msr(&mgmt_vm()->virt, rules[i].first, false, false);
	return 0;
}

int mgmt_wrmsr(struct vcpu *vcpu, u32 index, u64 value)
{
	switch (find_policy(index)) {
	case HIDDEN:
	case FEATURE_CONTROL: /* locked */
		return -EINVAL;
	case EFER:
		return write_efer(vcpu, value);
	case APIC_BASE:
		return write_apic_base(value);
	case ICR:
		return write_icr(vcpu, value);
	case SYSCFG:
		return write_syscfg(value);
	case MTRR:
		return write_mtrr(index, value);
	case TSC_AUX: /* kept, so that a switch to a child need not read it */
		if (wrmsr_safe(index, value))
			return -EINVAL;
		vcpu->msr.tsc_aux = value;
		return 0;
	case SYSCALL:
		return write_syscall(vcpu, index, value);
	case SWITCHED:
		return write_switched(index, value);
	default:
		return wrmsr_safe(index, value) ? -EINVAL : 0;
	}
}
