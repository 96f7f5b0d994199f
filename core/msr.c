// SPDX-License-Identifier: MIT
/*
 * MSRs of a child. Devices claim theirs on the VM's MSR bus first (APIC, kvmclock); the table
 * below has the rest, and what it does not name is #GP.
 */
#include "core/msr.h"

#include "arch-x86/insn.h"
#include "arch-x86/msr.h"
#include "arch-x86/regs.h"
#include "core/control.h"
#include "core/cpuid.h"
#include "core/mce.h"
#include "core/vm.h"
#include "core/xstate.h"

#define MCG_CTL_P	      BIT(8)
#define MTRR_COUNT	      8
#define MTRR_CAP	      (BIT(10) | BIT(8) | MTRR_COUNT) /* write-combining, fixed ranges */
#define PAT_INIT	      0x0007040600070406ull
#define FEATURE_CONTROL_LOCK  BIT(0)
#define HWCR_MC_WRITE	      BIT(18)		  /* McStatusWrEn */
#define MISC_ENABLE_READ_ONLY (BIT(11) | BIT(12)) /* no branch trace store, no PEBS */
#define X2APIC_FIRST	      0x800u
#define X2APIC_LAST	      0x8ffu
#define SPEC_CTRL_BITS	      (BIT(0) | BIT(1) | BIT(2)) /* IBRS, STIBP, SSBD */
#define VENDOR_AMD_EBX	      0x68747541u		 /* "Auth"enticAMD, of CPUID leaf 0 */

/* IA32_ARCH_CAPABILITIES: those that need nothing of a hypervisor. */
enum arch_capability {
	RDCL_NO = BIT(0),
	IBRS_ALL = BIT(1),
	RSBA = BIT(2),
	SKIP_L1DFL_VMENTRY = BIT(3),
	SSB_NO = BIT(4),
	MDS_NO = BIT(5),
	PSCHANGE_MC_NO = BIT(6),
	TAA_NO = BIT(8),
	SBDR_SSDP_NO = BIT(13),
	FBSDP_NO = BIT(14),
	PSDP_NO = BIT(15),
	ARCH_CAPABILITIES_CARRIED = RDCL_NO | IBRS_ALL | RSBA | SKIP_L1DFL_VMENTRY | SSB_NO |
				    MDS_NO | PSCHANGE_MC_NO | TAA_NO | SBDR_SSDP_NO | FBSDP_NO |
				    PSDP_NO,
};

enum msr_kind {
	KIND_REG,     /* arg: enum virt_reg */
	KIND_FIELD,   /* arg: offset in struct vcpu_msrs, one word an MSR */
	KIND_CONST,   /* reads arg; a guest's write is #GP */
	KIND_IGNORED, /* reads arg; writes are dropped */
	KIND_ZERO,    /* reads 0; only 0 may be written */
	KIND_COMMAND, /* write-only, and nothing happens */
	KIND_SPECIAL, /* read_special() and write_special() */
};

enum msr_flag {
	LISTED = BIT(0),     /* in KVM_GET_MSR_INDEX_LIST */
	FEATURE = BIT(1),    /* in KVM_GET_MSR_FEATURE_INDEX_LIST too */
	PASS = BIT(2),	     /* no exit */
	CANONICAL = BIT(3),  /* the value is an address */
	HOST_WRITE = BIT(4), /* KIND_FIELD: read-only for the guest */
	CHECKED = BIT(5),    /* write_check() looks at the value */
	DROPPED = BIT(6),    /* with HOST_WRITE: a guest's write does nothing, instead of #GP */
	PROBED = BIT(7),     /* in the lists only where the processor has it */
};

/* Whose guests have the MSR: those of a vendor, or with a CPUID bit. */
enum msr_need {
	NEED_NONE,
	NEED_AMD,
	NEED_INTEL,
	NEED_ARCH_CAPABILITIES,
	NEED_XSAVES,
	NEED_TSC_AUX, /* RDTSCP or RDPID */
	NEED_OSVW,
	NEED_ASYNC_PF, /* and the next two: what KVM_CAP_ENFORCE_PV_FEATURE_CPUID is about */
	NEED_STEAL_TIME,
	NEED_PV_EOI,
	NEED_PLATFORM_INFO,
};

struct msr_rule {
	u32 first, last;
	u8 kind, flags, need;
	u64 arg;
	u64 bits; /* writable, of KIND_REG and FIELD; 0: all */
};

#define ONE(index)    .first = index, .last = index
#define RANGE(a, b)   .first = a, .last = b
#define FIELD(member) .kind = KIND_FIELD, .arg = offsetof(struct vcpu_msrs, member)
#define REG(reg)      .kind = KIND_REG, .arg = reg

/*
 * Sorted by number. Those that neither manual gives to all processors are there, and answer, as
 * under Linux's KVM: operating systems' start-up code looks for them.
 */
static const struct msr_rule rules[] = {
	{RANGE(MSR_P5_MC_ADDR, MSR_P5_MC_TYPE), .kind = KIND_CONST},
	{ONE(MSR_TSC), .kind = KIND_SPECIAL, .flags = LISTED},
	{ONE(MSR_PLATFORM_ID), .kind = KIND_CONST},
	{ONE(MSR_APIC_BASE), FIELD(apic_base), .flags = CHECKED},
	{ONE(0x2a), .kind = KIND_CONST},		  /* EBL_CR_POWERON */
	{ONE(0x2c), .kind = KIND_CONST, .arg = BIT(24)},  /* EBC_FREQUENCY_ID: 133 MHz */
	{ONE(0x34), .kind = KIND_CONST, .flags = LISTED}, /* SMI_COUNT */
	{ONE(MSR_FEATURE_CONTROL), FIELD(feature_control), .flags = CHECKED | LISTED | PROBED,
	 .need = NEED_INTEL, .bits = FEATURE_CONTROL_LOCK},
	{ONE(MSR_TSC_ADJUST), .kind = KIND_SPECIAL, .flags = LISTED},
	{ONE(MSR_SPEC_CTRL), .kind = KIND_SPECIAL, .flags = LISTED},
	{ONE(MSR_PRED_CMD), .kind = KIND_SPECIAL},
	{ONE(MSR_BIOS_UPDT_TRIG), .kind = KIND_COMMAND},
	/* Intel's way to ask for the revision begins with a write of zero. */
	{ONE(MSR_BIOS_SIGN_ID), FIELD(ucode_rev), .flags = HOST_WRITE | DROPPED | FEATURE},
	{ONE(MSR_SMBASE), .kind = KIND_SPECIAL},
	{RANGE(MSR_PMC0, MSR_PMC0 + 1), .kind = KIND_IGNORED}, /* the P6 family's two */
	{ONE(0xcd), .kind = KIND_CONST, .arg = 3},	       /* FSB_FREQ */
	{ONE(MSR_PLATFORM_INFO), FIELD(platform_info), .flags = HOST_WRITE | LISTED,
	 .need = NEED_PLATFORM_INFO},
	{ONE(MSR_MTRRCAP), .kind = KIND_CONST, .arg = MTRR_CAP},
	{ONE(MSR_ARCH_CAPABILITIES), FIELD(arch_capabilities),
	 .flags = HOST_WRITE | LISTED | FEATURE, .need = NEED_ARCH_CAPABILITIES},
	{ONE(0x11e), .kind = KIND_IGNORED, .arg = 0xbe702111}, /* BBL_CR_CTL3 */
	{ONE(MSR_MISC_FEATURES_ENABLES), FIELD(misc_features), .flags = LISTED, .bits = BIT(0)},
	{ONE(MSR_SYSENTER_CS), REG(VREG_SYSENTER_CS), .flags = LISTED | PASS},
	{ONE(MSR_SYSENTER_ESP), REG(VREG_SYSENTER_ESP), .flags = LISTED | PASS | CANONICAL},
	{ONE(MSR_SYSENTER_EIP), REG(VREG_SYSENTER_EIP), .flags = LISTED | PASS | CANONICAL},
	{ONE(MSR_MCG_CAP), FIELD(mcg_cap), .flags = HOST_WRITE},
	{ONE(MSR_MCG_STATUS), FIELD(mcg_status), .flags = LISTED, .bits = 7},
	{ONE(MSR_MCG_CTL), .kind = KIND_SPECIAL, .flags = LISTED},
	{RANGE(MSR_PERFEVTSEL0, MSR_PERFEVTSEL0 + 1), .kind = KIND_IGNORED},
	{ONE(MSR_PERF_STATUS), FIELD(perf_status), .flags = HOST_WRITE},
	{ONE(MSR_PERF_CTL), .kind = KIND_CONST},
	{ONE(MSR_MISC_ENABLE), FIELD(misc_enable), .flags = LISTED | CHECKED, .bits = 0x8d7c79c9},
	{ONE(MSR_DEBUGCTL), .kind = KIND_SPECIAL},
	{RANGE(MSR_LAST_BRANCH_FROM_IP, MSR_LAST_INT_TO_IP), .kind = KIND_CONST},
	{ONE(MSR_POWER_CTL), FIELD(power_ctl), .flags = LISTED},
	{RANGE(MSR_MTRR_PHYSBASE0, MSR_MTRR_PHYSBASE0 + 2 * MTRR_COUNT - 1), .kind = KIND_SPECIAL},
	{ONE(MSR_MTRR_FIX64K_00000), FIELD(mtrr_fixed[0]), .flags = CHECKED},
	{RANGE(MSR_MTRR_FIX16K_80000, MSR_MTRR_FIX16K_A0000), FIELD(mtrr_fixed[1]),
	 .flags = CHECKED},
	{RANGE(MSR_MTRR_FIX4K_C0000, MSR_MTRR_FIX4K_F8000), FIELD(mtrr_fixed[3]), .flags = CHECKED},
	{ONE(MSR_PAT), REG(VREG_PAT), .flags = LISTED | CHECKED},
	{ONE(MSR_MTRR_DEF_TYPE), FIELD(mtrr_def_type), .flags = CHECKED, .bits = 0xcff},
	{RANGE(MSR_MC0_CTL, MSR_MC0_CTL + 4 * MCE_BANKS - 1), .kind = KIND_SPECIAL},
	{ONE(MSR_TSC_DEADLINE), FIELD(tsc_deadline), .flags = LISTED},
	{ONE(MSR_XSS), .kind = KIND_ZERO, .need = NEED_XSAVES}, /* no supervisor states */
	/* No page is ever reported as not there, and no EOI saved: both are the host's choice. */
	{ONE(MSR_KVM_ASYNC_PF_EN), FIELD(async_pf), .flags = LISTED, .bits = ~0x30ull,
	 .need = NEED_ASYNC_PF},
	{ONE(MSR_KVM_STEAL_TIME), FIELD(steal_time), .flags = LISTED, .bits = ~0x3eull,
	 .need = NEED_STEAL_TIME},
	{ONE(MSR_KVM_PV_EOI_EN), FIELD(pv_eoi), .flags = LISTED, .bits = ~2ull,
	 .need = NEED_PV_EOI},
	{ONE(MSR_EFER), .kind = KIND_SPECIAL, .flags = LISTED},
	{ONE(MSR_STAR), REG(VREG_STAR), .flags = LISTED | PASS},
	{ONE(MSR_LSTAR), REG(VREG_LSTAR), .flags = LISTED | PASS | CANONICAL},
	{ONE(MSR_CSTAR), REG(VREG_CSTAR), .flags = LISTED | PASS | CANONICAL},
	{ONE(MSR_SFMASK), REG(VREG_SFMASK), .flags = LISTED | PASS, .bits = 0xffffffff},
	{RANGE(MSR_FS_BASE, MSR_GS_BASE), .kind = KIND_SPECIAL, .flags = PASS | CANONICAL},
	{ONE(MSR_KERNEL_GS_BASE), REG(VREG_KERNEL_GS_BASE), .flags = LISTED | PASS | CANONICAL},
	{ONE(MSR_TSC_AUX), .kind = KIND_SPECIAL, .flags = LISTED, .need = NEED_TSC_AUX},
	{RANGE(0xc0010000, 0xc0010007), .kind = KIND_IGNORED}, /* event counters */
	{ONE(MSR_SYSCFG), .kind = KIND_CONST},
	{ONE(MSR_HWCR), FIELD(hwcr), .flags = CHECKED},
	{ONE(0xc001001b), .kind = KIND_IGNORED, .arg = 0x20000000}, /* CLK_CTL */
	{ONE(0xc001001f), .kind = KIND_IGNORED},		    /* NB_CFG */
	{ONE(MSR_PATCH_LOADER), .kind = KIND_COMMAND},
	{ONE(0xc0010055), .kind = KIND_CONST},		     /* interrupt pending message */
	{ONE(0xc0010058), .kind = KIND_ZERO},		     /* MMIO configuration base */
	{RANGE(0xc0010112, 0xc0010113), .kind = KIND_CONST}, /* TSEG base and mask */
	{ONE(MSR_VM_CR), .kind = KIND_CONST, .need = NEED_AMD, .arg = VM_CR_SVMDIS | VM_CR_LOCK},
	{ONE(MSR_IGNNE), .kind = KIND_COMMAND, .need = NEED_AMD},
	{RANGE(MSR_OSVW_ID_LENGTH, MSR_OSVW_STATUS), .kind = KIND_CONST, .need = NEED_OSVW},
	{RANGE(0xc0011022, 0xc0011023), .kind = KIND_IGNORED}, /* DC_CFG, BU_CFG */
	{ONE(MSR_DE_CFG), .kind = KIND_IGNORED, .need = NEED_AMD, .arg = BIT(1),
	 .flags = FEATURE | PROBED},
	{ONE(0xc001102a), .kind = KIND_IGNORED}, /* BU_CFG2 */
	{ONE(0xc001102c), .kind = KIND_IGNORED}, /* EX_CFG */
};

static const struct msr_rule *find_rule(u32 index)
{
	u32 low = 0, high = ARRAY_SIZE(rules);

	while (low < high) {
		u32 middle = (low + high) / 2;

		if (rules[middle].last < index)
			low = middle + 1;
		else
			high = middle;
	}
	return low < ARRAY_SIZE(rules) && rules[low].first <= index ? &rules[low] : NULL;
}

static u64 *field_of(struct vcpu *vcpu, const struct msr_rule *rule, u32 index)
{
	return (u64 *)((char *)&vcpu->msr + rule->arg) + (index - rule->first);
}

static bool canonical(u64 address)
{
	return (u64)((s64)(address << 16) >> 16) == address;
}

/* SDM vol. 3, "Memory Types That Can Be Encoded": 0, 1, 4, 5, 6 and, in the PAT, 7. */
static bool types_valid(u64 value, u32 allowed)
{
	for (u32 i = 0; i < 8; i++) {
		u8 type = value >> 8 * i;

		if (type > 7 || !(allowed >> type & 1))
			return false;
	}
	return true;
}

#define MTRR_TYPES 0x73u
#define PAT_TYPES  0xf3u

u64 vcpu_tsc(struct vcpu *vcpu)
{
	return vcpu_tsc_at(vcpu, rdtsc());
}

void vcpu_set_tsc_offset(struct vcpu *vcpu, u64 offset)
{
	vcpu->tsc_offset = offset;
	virt->set(&vcpu->v, VREG_TSC_OFFSET, offset);
	vcpu_set_request(vcpu, REQUEST_TIMER | REQUEST_CLOCK);
}

/* The TSC had its old rate until the VM was made, which is the same moment for all of its vCPUs. */
static void set_tsc_ratio(struct vcpu *vcpu, u64 ratio)
{
	struct vm *vm = vcpu->vm;
	u64 start = vcpu_tsc_at(vcpu, vm->boot_tsc);
	u64 offset = start - tsc_scaled(vm->boot_tsc, ratio);

	if (vm->tsc_ratio != ratio) {
		vm->tsc_ratio = ratio;
		vm->tsc_offset = offset;
	}
	vcpu->tsc_ratio = ratio;
	virt->set(&vcpu->v, VREG_TSC_RATIO, ratio);
	vcpu_set_tsc_offset(vcpu, offset);
}

static int ratio_of(u64 features, u32 khz, u64 *ratio)
{
	u64 host = host_tsc_khz, tolerance = host * 250 / 1000000;

	*ratio = TSC_RATIO_ONE;
	if (khz >= host - tolerance && khz <= host + tolerance)
		return 0;
	*ratio = ((u64)khz << TSC_RATIO_SHIFT) / host;
	if (!(features & VIRT_TSC_SCALING) || !*ratio || *ratio >= TSC_RATIO_LIMIT)
		return -EINVAL;
	return 0;
}

int vcpu_set_tsc_khz(struct vcpu *vcpu, u32 khz)
{
	u32 asked = khz ? khz : host_tsc_khz;
	u64 ratio;

	if (ratio_of(vcpu->v.features, asked, &ratio))
		return -EINVAL;
	vcpu->tsc_khz = asked;
	if (ratio != vcpu->tsc_ratio)
		set_tsc_ratio(vcpu, ratio);
	return 0;
}

int vm_set_tsc_khz(struct vm *vm, u32 khz)
{
	u32 asked = khz ? khz : host_tsc_khz;
	u64 ratio;

	if (ratio_of(vm->virt.features, asked, &ratio))
		return -EINVAL;
	vm->guest_tsc_khz = asked;
	return 0;
}

void vcpu_restore_tsc_offset(struct vcpu *vcpu, u64 offset)
{
	struct vm *vm = vcpu->vm;

	vm->tsc_ratio = vcpu->tsc_ratio;
	vm->tsc_offset = offset;
	vcpu_set_tsc_offset(vcpu, offset);
}

/*
 * The VMM restores each vCPU's TSC at a slightly different moment, and means the same value. So a
 * write that differs by less than a second from what the VM's TSC would be follows that; so does
 * 0, which is what VMMs write at reset.
 */
static void host_set_tsc(struct vcpu *vcpu, u64 value)
{
	struct vm *vm = vcpu->vm;
	u64 offset = value - tsc_scaled(rdtsc(), vcpu->tsc_ratio);
	u64 distance = offset - vm->tsc_offset;

	if ((s64)distance < 0)
		distance = -distance;
	if (vcpu->tsc_ratio != vm->tsc_ratio || (value && distance > (u64)vcpu->tsc_khz * 1000)) {
		vm->tsc_ratio = vcpu->tsc_ratio;
		vm->tsc_offset = offset;
	}
	vcpu_set_tsc_offset(vcpu, vm->tsc_offset);
}

static bool has_spec_ctrl(struct vcpu *vcpu)
{
	return cpuid_has(vcpu, 7, 0, 3, 26) || cpuid_has(vcpu, 0x80000008, 0, 1, 14) ||
	       cpuid_has(vcpu, 0x80000008, 0, 1, 15) || cpuid_has(vcpu, 0x80000008, 0, 1, 24);
}

static bool has_barrier(struct vcpu *vcpu)
{
	return cpuid_has(vcpu, 7, 0, 3, 26) || cpuid_has(vcpu, 0x80000008, 0, 1, 12);
}

static bool exists(struct vcpu *vcpu, const struct msr_rule *rule)
{
	switch (rule->need) {
	case NEED_AMD:
		return cpuid_is_amd(vcpu);
	case NEED_INTEL:
		return !cpuid_is_amd(vcpu);
	case NEED_ARCH_CAPABILITIES:
		return cpuid_has(vcpu, 7, 0, 3, 29);
	case NEED_XSAVES:
		return cpuid_has(vcpu, 0xd, 1, 0, 3);
	case NEED_TSC_AUX:
		return cpuid_has(vcpu, 0x80000001, 0, 3, 27) || cpuid_has(vcpu, 7, 0, 2, 22);
	case NEED_OSVW:
		return cpuid_has(vcpu, 0x80000001, 0, 2, 9);
	case NEED_ASYNC_PF:
		return cpuid_allows(vcpu, KVM_FEATURE_ASYNC_PF);
	case NEED_STEAL_TIME:
		return cpuid_allows(vcpu, KVM_FEATURE_STEAL_TIME);
	case NEED_PV_EOI:
		return cpuid_allows(vcpu, KVM_FEATURE_PV_EOI);
	case NEED_PLATFORM_INFO:
		return !vcpu->vm->no_platform_info;
	default:
		return true;
	}
}

static u64 *bank_register(struct vcpu *vcpu, u32 index)
{
	u32 n = index - MSR_MC0_CTL;

	return n / 4 < (vcpu->msr.mcg_cap & 0xff) ? &vcpu->msr.mc[n] : NULL;
}

static u64 *mtrr_variable(struct vcpu *vcpu, u32 index)
{
	u32 n = index - MSR_MTRR_PHYSBASE0;

	return n & 1 ? &vcpu->msr.mtrr_mask[n / 2] : &vcpu->msr.mtrr_base[n / 2];
}

static int read_special(struct vcpu *vcpu, u32 index, bool by_host, u64 *value)
{
	struct segment s;
	u64 *bank;

	switch (index) {
	case MSR_TSC:
		*value = vcpu_tsc(vcpu);
		return 0;
	case MSR_TSC_ADJUST:
		*value = vcpu->msr.tsc_adjust;
		return 0;
	case MSR_SPEC_CTRL:
		*value = vcpu->msr.spec_ctrl;
		return by_host || has_spec_ctrl(vcpu) ? 0 : -EINVAL;
	case MSR_SMBASE: /* a guest that is not in SMM, which none ever is */
		*value = vcpu->msr.smbase;
		return by_host ? 0 : -EINVAL;
	case MSR_EFER:
		*value = virt->get(&vcpu->v, VREG_EFER);
		return 0;
	case MSR_FS_BASE:
	case MSR_GS_BASE:
		virt->get_segment(&vcpu->v, index == MSR_FS_BASE ? SEG_FS : SEG_GS, &s);
		*value = s.base;
		return 0;
	case MSR_TSC_AUX:
		*value = vcpu->msr.tsc_aux;
		return 0;
	case MSR_MCG_CTL:
		*value = vcpu->msr.mcg_ctl;
		return by_host || vcpu->msr.mcg_cap & MCG_CTL_P ? 0 : -EINVAL;
	case MSR_DEBUGCTL:
		*value = 0;
		return 0;
	case MSR_MTRR_PHYSBASE0 ... MSR_MTRR_PHYSBASE0 + 2 * MTRR_COUNT - 1:
		*value = *mtrr_variable(vcpu, index);
		return 0;
	case MSR_MC0_CTL ... MSR_MC0_CTL + 4 * MCE_BANKS - 1:
		bank = bank_register(vcpu, index);
		if (!bank)
			return -EINVAL;
		*value = *bank;
		return 0;
	}
	return -EINVAL;
}

static int write_mtrr_variable(struct vcpu *vcpu, u32 index, u64 value)
{
	u64 beyond = ~MASK(vcpu->physical_bits - 1, 0);
	bool mask = index & 1;

	if (value & (beyond | (mask ? 0x7ff : 0xf00)))
		return -EINVAL;
	if (!mask && (value & 0xff) > 7)
		return -EINVAL;
	if (!mask && !(MTRR_TYPES >> (value & 0xff) & 1))
		return -EINVAL;
	*mtrr_variable(vcpu, index) = value;
	return 0;
}

/* SDM vol. 3, "Error-Reporting Register Banks"; APM vol. 2, "Machine-Check Registers". */
static int write_bank(struct vcpu *vcpu, u32 index, bool by_host, u64 value)
{
	u64 *bank = bank_register(vcpu, index);
	u32 kind = index & 3;

	if (!bank)
		return -EINVAL;
	/* Linux clears bit 10 of bank 4's CTL on some processors. */
	if (kind == 0 && value && (value | BIT(10)) != ~0ull && !by_host)
		return -EINVAL;
	if (kind == 1 && value && !by_host &&
	    !(cpuid_is_amd(vcpu) && vcpu->msr.hwcr & HWCR_MC_WRITE))
		return -EINVAL;
	*bank = value;
	return 0;
}

/* All or nothing; a VMM may restore the zero that it read where there is no such register. */
static int write_mcg_ctl(struct vcpu *vcpu, bool by_host, u64 value)
{
	if (!(vcpu->msr.mcg_cap & MCG_CTL_P))
		return by_host && !value ? 0 : -EINVAL;
	if (value && ~value && !by_host)
		return -EINVAL;
	vcpu->msr.mcg_ctl = value;
	return 0;
}

static int write_tsc(struct vcpu *vcpu, bool by_host, u64 value)
{
	u64 offset = value - tsc_scaled(rdtsc(), vcpu->tsc_ratio);

	if (by_host) {
		host_set_tsc(vcpu, value);
		return 0;
	}
	/* SDM vol. 3, "Time-Stamp Counter Adjustment": a write to the TSC moves TSC_ADJUST too. */
	vcpu->msr.tsc_adjust += offset - vcpu->tsc_offset;
	vcpu_set_tsc_offset(vcpu, offset);
	return 0;
}

/*
 * Which of the bits there are only the processor knows: it is asked, since a value that it refuses
 * would fault in root at the next world switch.
 */
static int write_spec_ctrl(struct vcpu *vcpu, bool by_host, u64 value)
{
	u64 old;

	if (value & ~SPEC_CTRL_BITS || (!by_host && !has_spec_ctrl(vcpu)))
		return -EINVAL;
	if (rdmsr_safe(MSR_SPEC_CTRL, &old)) {
		if (vcpu->v.loaded)
			return -EINVAL;
	} else {
		if (wrmsr_safe(MSR_SPEC_CTRL, value))
			return -EINVAL;
		if (!vcpu->v.loaded)
			wrmsr(MSR_SPEC_CTRL, old);
	}
	if (value)
		xstate_switch_msrs();
	vcpu->msr.spec_ctrl = value;
	return 0;
}

static int write_barrier(struct vcpu *vcpu, bool by_host, u64 value)
{
	if (value & ~BIT(0) || (!by_host && !has_barrier(vcpu)))
		return -EINVAL;
	if (value && vcpu->v.loaded)
		wrmsr_safe(MSR_PRED_CMD, value);
	return 0;
}

static int write_tsc_aux(struct vcpu *vcpu, u64 value)
{
	if (value >> 32 && !cpuid_is_amd(vcpu)) /* AMD's processors drop the upper half */
		return -EINVAL;
	vcpu->msr.tsc_aux = (u32)value;
	if (vcpu->v.loaded && wrmsr_safe(MSR_TSC_AUX, (u32)value))
		return -EINVAL;
	return 0;
}

static int write_base(struct vcpu *vcpu, u32 index, u64 value)
{
	enum seg seg = index == MSR_FS_BASE ? SEG_FS : SEG_GS;
	struct segment s;

	virt->get_segment(&vcpu->v, seg, &s);
	s.base = value;
	virt->set_segment(&vcpu->v, seg, &s);
	return 0;
}

static int write_special(struct vcpu *vcpu, u32 index, bool by_host, u64 value)
{
	switch (index) {
	case MSR_TSC:
		return write_tsc(vcpu, by_host, value);
	case MSR_TSC_ADJUST:
		if (!by_host)
			vcpu_set_tsc_offset(vcpu, vcpu->tsc_offset + value - vcpu->msr.tsc_adjust);
		vcpu->msr.tsc_adjust = value;
		return 0;
	case MSR_SPEC_CTRL:
		return write_spec_ctrl(vcpu, by_host, value);
	case MSR_PRED_CMD:
		return write_barrier(vcpu, by_host, value);
	case MSR_SMBASE:
		if (!by_host || value >> 32)
			return -EINVAL;
		vcpu->msr.smbase = value;
		return 0;
	case MSR_EFER:
		return control_set_efer(vcpu, value, by_host);
	case MSR_MCG_CTL:
		return write_mcg_ctl(vcpu, by_host, value);
	case MSR_FS_BASE:
	case MSR_GS_BASE:
		return write_base(vcpu, index, value);
	case MSR_TSC_AUX:
		return write_tsc_aux(vcpu, value);
	case MSR_DEBUGCTL: /* no branch trace: LBR and BTF are dropped */
		return value & ~3ull ? -EINVAL : 0;
	case MSR_MTRR_PHYSBASE0 ... MSR_MTRR_PHYSBASE0 + 2 * MTRR_COUNT - 1:
		return write_mtrr_variable(vcpu, index, value);
	case MSR_MC0_CTL ... MSR_MC0_CTL + 4 * MCE_BANKS - 1:
		return write_bank(vcpu, index, by_host, value);
	}
	return -EINVAL;
}

static bool apic_base_valid(struct vcpu *vcpu, u64 value)
{
	u64 allowed = MASK(vcpu->physical_bits - 1, 12) | APIC_BASE_BSP | APIC_BASE_X2APIC |
		      APIC_BASE_ENABLE;

	return !(value & ~allowed) && (value & APIC_BASE_ENABLE || !(value & APIC_BASE_X2APIC));
}

/* What a bit mask cannot say. */
static bool write_check(struct vcpu *vcpu, u32 index, bool by_host, u64 *value)
{
	switch (index) {
	case MSR_FEATURE_CONTROL:
		return by_host || !(vcpu->msr.feature_control & FEATURE_CONTROL_LOCK);
	case MSR_APIC_BASE:
		return apic_base_valid(vcpu, *value);
	case MSR_MISC_ENABLE:
		return by_host || !((*value ^ vcpu->msr.misc_enable) & MISC_ENABLE_READ_ONLY);
	case MSR_PAT:
		return types_valid(*value, PAT_TYPES);
	case MSR_MTRR_DEF_TYPE:
		return (*value & 0xff) < 8 && MTRR_TYPES >> (*value & 0xff) & 1;
	case MSR_HWCR:
		/* FFDIS, MONMWAIT_DIS, TscFreqSel and CpbDis are taken and have no effect. */
		*value &= ~(BIT(3) | BIT(6) | BIT(8) | BIT(24) | BIT(25));
		return !(*value & ~HWCR_MC_WRITE);
	default:
		return types_valid(*value, MTRR_TYPES); /* the fixed ranges */
	}
}

static int write_rule(struct vcpu *vcpu, const struct msr_rule *rule, u32 index, bool by_host,
		      u64 value)
{
	if (rule->flags & CANONICAL && !canonical(value))
		return -EINVAL;
	if (rule->flags & HOST_WRITE && !by_host)
		return rule->flags & DROPPED ? 0 : -EINVAL;
	if (rule->bits && value & ~rule->bits)
		return -EINVAL;
	if (rule->flags & CHECKED && !write_check(vcpu, index, by_host, &value))
		return -EINVAL;
	switch (rule->kind) {
	case KIND_REG:
		virt->set(&vcpu->v, rule->arg, value);
		return 0;
	case KIND_FIELD:
		*field_of(vcpu, rule, index) = value;
		return 0;
	case KIND_CONST:
		return by_host && value == rule->arg ? 0 : -EINVAL;
	case KIND_IGNORED:
		return 0;
	case KIND_COMMAND:
		return 0;
	case KIND_ZERO:
		return value ? -EINVAL : 0;
	default:
		return write_special(vcpu, index, by_host, value);
	}
}

static int read_rule(struct vcpu *vcpu, const struct msr_rule *rule, u32 index, bool by_host,
		     u64 *value)
{
	switch (rule->kind) {
	case KIND_REG:
		*value = virt->get(&vcpu->v, rule->arg);
		return 0;
	case KIND_FIELD:
		*value = *field_of(vcpu, rule, index);
		return 0;
	case KIND_CONST:
	case KIND_IGNORED:
		*value = rule->arg;
		return 0;
	case KIND_ZERO:
		*value = 0;
		return 0;
	case KIND_COMMAND:
		*value = 0;
		return by_host ? 0 : -EINVAL;
	default:
		return read_special(vcpu, index, by_host, value);
	}
}

/* Those of devices/, which VMMs save and restore by the list too. */
static const u32 device_list[] = {
	MSR_KVM_WALL_CLOCK,
	MSR_KVM_SYSTEM_TIME,
	MSR_KVM_WALL_CLOCK_NEW,
	MSR_KVM_SYSTEM_TIME_NEW,
};

/* A VM without the device still lets the VMM save and restore the value that it had: zero. */
static bool absent_device(u32 index)
{
	for (u32 i = 0; i < ARRAY_SIZE(device_list); i++)
		if (device_list[i] == index)
			return true;
	return false;
}

static int read_any(struct vcpu *vcpu, u32 index, bool by_host, u64 *value)
{
	const struct msr_rule *rule;
	int result;

	if (bus_read(&vcpu->vm->msrs, vcpu, index, 1, value, &result))
		return result;
	rule = find_rule(index);
	if (!rule)
		return -ENOENT;
	if (!by_host && !exists(vcpu, rule))
		return -EINVAL;
	return read_rule(vcpu, rule, index, by_host, value);
}

static int write_any(struct vcpu *vcpu, u32 index, bool by_host, u64 value)
{
	const struct msr_rule *rule;
	int result;

	if (bus_write(&vcpu->vm->msrs, vcpu, index, 1, value, &result))
		return result;
	rule = find_rule(index);
	if (!rule)
		return -ENOENT;
	if (!by_host && !exists(vcpu, rule))
		return -EINVAL;
	return write_rule(vcpu, rule, index, by_host, value);
}

bool msr_allowed(const struct msr_filter *filter, u32 index, enum msr_access access)
{
	if (!filter || (index >= X2APIC_FIRST && index <= X2APIC_LAST))
		return true;
	for (u32 i = 0; i < filter->count; i++) {
		const struct msr_filter_range *range = &filter->range[i];
		u32 n = index - range->first;

		if (index >= range->first && n < range->count && range->access & access)
			return range->allowed[n / 8] >> n % 8 & 1;
	}
	return !filter->default_deny;
}

static const struct msr_filter *filter_of(const struct vm *vm)
{
	return __atomic_load_n(&vm->msr_filter, __ATOMIC_ACQUIRE);
}

struct msr_filter *msr_filter_replace(struct vm *vm, struct msr_filter *filter)
{
	struct msr_filter *old = vm->msr_filter;

	__atomic_store_n(&vm->msr_filter, filter, __ATOMIC_RELEASE);
	msr_pass_through(vm);
	return old;
}

int msr_read(struct vcpu *vcpu, u32 index, u64 *value)
{
	if (!msr_allowed(filter_of(vcpu->vm), index, MSR_READ))
		return -EACCES;
	return read_any(vcpu, index, false, value);
}

int msr_write(struct vcpu *vcpu, u32 index, u64 value)
{
	if (!msr_allowed(filter_of(vcpu->vm), index, MSR_WRITE))
		return -EACCES;
	return write_any(vcpu, index, false, value);
}

int msr_host_get(struct vcpu *vcpu, u32 index, u64 *value)
{
	int error = read_any(vcpu, index, true, value);

	if (error && absent_device(index)) {
		*value = 0;
		return 0;
	}
	return error;
}

int msr_host_set(struct vcpu *vcpu, u32 index, u64 value)
{
	int error = write_any(vcpu, index, true, value);

	return error && !value && absent_device(index) ? 0 : error;
}

static bool on_processor(const struct msr_rule *rule)
{
	u64 value;

	return !(rule->flags & PROBED) || rdmsr_safe(rule->first, &value) == 0;
}

static u32 list(u32 flag, u32 *out, u32 max)
{
	u32 count = 0;

	for (u32 i = 0; i < ARRAY_SIZE(rules); i++) {
		if (!(rules[i].flags & flag) || !on_processor(&rules[i]))
			continue;
		for (u32 index = rules[i].first; index <= rules[i].last; index++) {
			if (count < max)
				out[count] = index;
			count++;
		}
	}
	return count;
}

u32 msr_list(u32 *out, u32 max)
{
	u32 count = list(LISTED, out, max);

	for (u32 i = 0; i < ARRAY_SIZE(device_list); i++, count++)
		if (count < max)
			out[count] = device_list[i];
	return count;
}

u32 msr_feature_list(u32 *out, u32 max)
{
	return list(FEATURE, out, max);
}

/*
 * What the processor is not affected by. Those of Intel's that the list knows say so themselves
 * (SDM vol. 4, "IA32_ARCH_CAPABILITIES"); AMD's have never had these faults.
 */
static u64 arch_capabilities(void)
{
	u64 value;

	if (cpuid(0, 0).ebx == VENDOR_AMD_EBX)
		return RDCL_NO | SKIP_L1DFL_VMENTRY | MDS_NO | PSCHANGE_MC_NO;
	return rdmsr_safe(MSR_ARCH_CAPABILITIES, &value) ? 0 : value & ARCH_CAPABILITIES_CARRIED;
}

int msr_feature_get(u32 index, u64 *value)
{
	const struct msr_rule *rule = find_rule(index);

	if (!rule || !(rule->flags & FEATURE) || !on_processor(rule))
		return -EINVAL;
	*value = rule->kind == KIND_IGNORED ? rule->arg : 0;
	if (index == MSR_ARCH_CAPABILITIES)
		*value = arch_capabilities();
	if (index == MSR_BIOS_SIGN_ID && rdmsr_safe(MSR_BIOS_SIGN_ID, value))
		*value = 0;
	return 0;
}

void msr_reset(struct vcpu *vcpu)
{
	static const u8 cleared[] = {
		VREG_STAR,	   VREG_LSTAR,		VREG_CSTAR,
		VREG_SFMASK,	   VREG_KERNEL_GS_BASE, VREG_SYSENTER_CS,
		VREG_SYSENTER_ESP, VREG_SYSENTER_EIP,	VREG_DEBUGCTL,
	};

	for (u32 i = 0; i < ARRAY_SIZE(cleared); i++)
		virt->set(&vcpu->v, cleared[i], 0);
	virt->set(&vcpu->v, VREG_PAT, PAT_INIT);
	vcpu->msr = (struct vcpu_msrs){
		.apic_base = 0xfee00000 | APIC_BASE_ENABLE |
			     (vcpu->id == vcpu->vm->bsp_id ? APIC_BASE_BSP : 0),
		.misc_enable = BIT(0) | MISC_ENABLE_READ_ONLY, /* fast strings */
		.platform_info = BIT(31),		       /* CPUID faulting */
		.mcg_cap = MCE_BANKS,
		.smbase = 0x30000,
		.perf_status = 1000ull | 4ull << 40,
		.arch_capabilities = arch_capabilities(),
	};
}

/* How long a core was in each C-state. */
static const u32 residencies[] = {
	MSR_CORE_C3_RESIDENCY,
	MSR_CORE_C6_RESIDENCY,
	MSR_CORE_C7_RESIDENCY,
	MSR_CORE_C1_RES,
};

void msr_pass_through(struct vm *vm)
{
	const struct msr_filter *filter = vm->msr_filter;
	u64 value;

	for (u32 i = 0; vm->cstates && i < ARRAY_SIZE(residencies); i++)
		if (rdmsr_safe(residencies[i], &value) == 0)
			virt->intercept_msr(&vm->virt, residencies[i],
					    !msr_allowed(filter, residencies[i], MSR_READ), true);
	for (u32 i = 0; i < ARRAY_SIZE(rules); i++)
		for (u32 index = rules[i].first; rules[i].flags & PASS && index <= rules[i].last;
		     index++) {
			bool told =
				virt->syscall_msrs_told && index >= MSR_STAR && index <= MSR_SFMASK;

			virt->intercept_msr(&vm->virt, index, !msr_allowed(filter, index, MSR_READ),
					    told || !msr_allowed(filter, index, MSR_WRITE));
		}
}
