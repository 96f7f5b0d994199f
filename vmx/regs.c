/* SPDX-License-Identifier: MIT */
/* Guest registers in the VMCS; some are beside it, or still on the processor. */
#include "arch-x86/insn.h"
#include "arch-x86/log.h"
#include "arch-x86/msr.h"
#include "arch-x86/regs.h"
#include "vmx/internal.h"

/* enum vmcs_field; 0: none */
static const u16 plain_fields[VREG_COUNT] = {
	[VREG_CR3] = VMCS_GUEST_CR3,
	[VREG_DR7] = VMCS_GUEST_DR7,
	[VREG_PAT] = VMCS_GUEST_PAT,
	[VREG_DEBUGCTL] = VMCS_GUEST_DEBUGCTL,
	[VREG_SYSENTER_CS] = VMCS_GUEST_SYSENTER_CS,
	[VREG_SYSENTER_ESP] = VMCS_GUEST_SYSENTER_ESP,
	[VREG_SYSENTER_EIP] = VMCS_GUEST_SYSENTER_EIP,
	[VREG_TSC_OFFSET] = VMCS_TSC_OFFSET,
	[VREG_PDPTE0] = VMCS_GUEST_PDPTE0,
	[VREG_PDPTE1] = VMCS_GUEST_PDPTE1,
	[VREG_PDPTE2] = VMCS_GUEST_PDPTE2,
	[VREG_PDPTE3] = VMCS_GUEST_PDPTE3,
};

const u32 vmx_switched_msrs[SWITCHED_COUNT] = {
	[SWITCHED_STAR] = MSR_STAR,
	[SWITCHED_LSTAR] = MSR_LSTAR,
	[SWITCHED_CSTAR] = MSR_CSTAR,
	[SWITCHED_SFMASK] = MSR_SFMASK,
	[SWITCHED_KERNEL_GS_BASE] = MSR_KERNEL_GS_BASE,
};

static bool is_child(const struct virt_vcpu *v)
{
	return v->vm->kind == VIRT_CHILD;
}

/* ---- CR0, CR4, EFER, CR8 ---- */

/* As the guest reads it. SDM vol. 3, "Guest/Host Masks and Read Shadows for CR0 and CR4". */
static u64 masked(u32 field, u32 shadow_field, u32 mask_field)
{
	u64 mask = vmread(mask_field);

	return (vmread(field) & ~mask) | (vmread(shadow_field) & mask);
}

/*
 * VM entries and exits leave CR0.CD and NW as they are on the processor, and the management guest's
 * own MOV to CR0 sets them there. When one exits for the sake of another bit, or INIT sets them,
 * they must get there from here. A child's are in the shadow alone: the caches are not its own.
 * SDM vol. 3, "Loading Guest Control Registers, Debug Registers, and MSRs".
 */
static void set_caching(const struct virt_vcpu *v, u64 value)
{
	u64 bits = CR0_CD | CR0_NW, real;

	if (is_child(v) || !v->loaded)
		return;
	real = read_cr0();
	if ((real ^ value) & bits)
		write_cr0((real & ~bits) | (value & bits));
}

static void set_cr0(struct virt_vcpu *v, u64 value)
{
	/* PE and PG are free in an unrestricted guest. */
	u64 fixed = vmx_features.cr0_fixed0 & ~(u64)(CR0_PE | CR0_PG);

	set_caching(v, value);
	vmwrite(VMCS_GUEST_CR0, value | fixed);
	vmwrite(VMCS_CR0_SHADOW, value);
}

/*
 * With CR4.MCE clear a machine check is a shutdown, also while #MC exits: it would end the child,
 * and the machine's owner would not hear of it. So the bit is always set while a child runs.
 */
static void set_cr4(struct virt_vcpu *v, u64 value)
{
	u64 visible = value & ~(u64)(CR4_VMXE | CR4_SMXE);

	vmwrite(VMCS_GUEST_CR4, visible | vmx_features.cr4_fixed0 | (is_child(v) ? CR4_MCE : 0));
	vmwrite(VMCS_CR4_SHADOW, visible);
}

/*
 * "IA-32e mode guest" equals LMA. With unrestricted guest each exit stores LMA in that control (SDM
 * vol. 3, "Saving Control Registers, Debug Registers, and MSRs"), so it is written also when it
 * seems unchanged. A 16-bit busy TSS is not allowed in IA-32e mode ("Checks on Guest Segment
 * Registers").
 */
static void set_efer(struct virt_vcpu *v, u64 value)
{
	u32 entry = vmx_of(v)->entry & ~(u32)VMENTRY_IA32E;

	if (value & EFER_LMA) {
		entry |= VMENTRY_IA32E;
		vmwrite(VMCS_GUEST_TR_ACCESS, vmread(VMCS_GUEST_TR_ACCESS) | 8);
	}
	vmx_of(v)->entry = entry;
	vmwrite(VMCS_ENTRY_CONTROLS, entry);
	vmwrite(VMCS_GUEST_EFER, value);
}

/* The management guest's is the processor's; root and children leave that alone. */
static u64 get_cr8(const struct virt_vcpu *v)
{
	if (!is_child(v))
		return read_cr8();
	return vmx_of(v)->virtual_apic ? vmx_of(v)->virtual_apic[VIRTUAL_APIC_TPR] >> 4 : v->cr8;
}

static void set_cr8(struct virt_vcpu *v, u64 value)
{
	value &= 15;
	if (!is_child(v)) {
		write_cr8(value);
		return;
	}
	v->cr8 = value;
	if (vmx_of(v)->virtual_apic)
		vmx_of(v)->virtual_apic[VIRTUAL_APIC_TPR] = value << 4;
}

/* ---- flags and what holds events back ---- */

static void set_rflags(struct virt_vcpu *v, u64 value)
{
	v->quiet = false;
	vmwrite(VMCS_GUEST_RFLAGS, value);
	if (is_child(v)) {
		v->rflags = value;
		if (!(v->vm->native & NATIVE_HLT))
			return;
	}
	/* It halts without an exit; whoever changes its flags wants it to go on. */
	vmwrite(VMCS_GUEST_ACTIVITY, ACTIVITY_ACTIVE);
}

/*
 * Blocking by MOV SS: by STI it would be refused with RFLAGS.IF clear (SDM vol. 3, "Checks on Guest
 * Non-Register State"). Once the shadow is over, core/ raises the single step's #DB itself.
 */
static void set_int_shadow(struct virt_vcpu *v, bool on)
{
	u32 old = vmread(VMCS_GUEST_INTERRUPTIBILITY);
	u32 state = old & ~(u32)(BLOCKED_BY_STI | BLOCKED_BY_MOV_SS);

	v->quiet = false;
	if (on)
		state |= BLOCKED_BY_MOV_SS;
	if (state == old)
		return;
	vmwrite(VMCS_GUEST_INTERRUPTIBILITY, state);
	if (!on)
		vmwrite(VMCS_GUEST_PENDING_DEBUG, vmread(VMCS_GUEST_PENDING_DEBUG) & ~(u64)DR6_BS);
}

/* The multiplier has 48 bits of fraction. SDM vol. 3, "Time-Stamp Counter Offset and Multiplier".
 */
static u64 get_tsc_ratio(const struct virt_vcpu *v)
{
	return vmx_of(v)->cpu2 & CPU2_TSC_SCALING ? vmread(VMCS_TSC_MULTIPLIER) >> 16
						  : TSC_RATIO_ONE;
}

static void set_tsc_ratio(const struct virt_vcpu *v, u64 ratio)
{
	if (vmx_of(v)->cpu2 & CPU2_TSC_SCALING)
		vmwrite(VMCS_TSC_MULTIPLIER, ratio << 16);
}

/* ---- beside the VMCS ---- */

/* run.c moves DR6 together with DR0 to DR3. */
static bool has_dr6(const struct virt_vcpu *v)
{
	return v->cpu && v->cpu->dr_owner == v;
}

static void set_dr6(struct virt_vcpu *v, u64 value)
{
	vmx_of(v)->dr6 = (u32)value; /* the upper half would be #GP in root */
	if (has_dr6(v))
		write_dr6((u32)value);
}

static u64 get_msr(const struct virt_vcpu *v, enum switched_msr i)
{
	return v->loaded ? rdmsr(vmx_switched_msrs[i]) : vmx_of(v)->msrs[i];
}

static void set_msr(struct virt_vcpu *v, enum switched_msr i, u64 value)
{
	if (i == SWITCHED_SFMASK) /* the upper half is reserved: #GP in root */
		value = (u32)value;
	vmx_of(v)->msrs[i] = value;
	if (v->loaded)
		wrmsr(vmx_switched_msrs[i], value);
}

u64 vmx_get(struct virt_vcpu *v, enum virt_reg reg)
{
	CHECK(reg < VREG_COUNT);
	vmx_current(v);
	switch (reg) {
	case VREG_RFLAGS:
		return vmread(VMCS_GUEST_RFLAGS);
	case VREG_CR0:
		return masked(VMCS_GUEST_CR0, VMCS_CR0_SHADOW, VMCS_CR0_MASK);
	case VREG_CR2:
		return v->loaded ? read_cr2() : vmx_of(v)->cr2;
	case VREG_CR4:
		return masked(VMCS_GUEST_CR4, VMCS_CR4_SHADOW, VMCS_CR4_MASK);
	case VREG_CR8:
		return get_cr8(v);
	case VREG_EFER:
		return vmread(VMCS_GUEST_EFER);
	case VREG_DR6:
		return has_dr6(v) ? read_dr6() : vmx_of(v)->dr6;
	case VREG_STAR ... VREG_KERNEL_GS_BASE:
		return get_msr(v, reg - VREG_STAR);
	case VREG_TSC_RATIO:
		return get_tsc_ratio(v);
	case VREG_INT_SHADOW:
		return (vmread(VMCS_GUEST_INTERRUPTIBILITY) &
			(BLOCKED_BY_STI | BLOCKED_BY_MOV_SS)) != 0;
	case VREG_NMI_MASKED:
		return vmx_nmi_masked(v);
	case VREG_CPL:
		return (vmread(VMCS_GUEST_SS_ACCESS) & SEG_DPL) >> 5;
	default:
		return vmread(plain_fields[reg]);
	}
}

void vmx_set(struct virt_vcpu *v, enum virt_reg reg, u64 value)
{
	CHECK(reg < VREG_COUNT);
	vmx_current(v);
	switch (reg) {
	case VREG_RFLAGS:
		set_rflags(v, value);
		break;
	case VREG_CR0:
		set_cr0(v, value);
		break;
	case VREG_CR2:
		vmx_of(v)->cr2 = value;
		if (v->loaded)
			write_cr2(value);
		break;
	case VREG_CR4:
		set_cr4(v, value);
		break;
	case VREG_CR8:
		set_cr8(v, value);
		break;
	case VREG_EFER:
		set_efer(v, value);
		break;
	case VREG_DR6:
		set_dr6(v, value);
		break;
	case VREG_STAR ... VREG_KERNEL_GS_BASE:
		set_msr(v, reg - VREG_STAR, value);
		break;
	case VREG_TSC_RATIO:
		set_tsc_ratio(v, value);
		break;
	case VREG_INT_SHADOW:
		set_int_shadow(v, value);
		break;
	case VREG_NMI_MASKED:
		vmx_mask_nmi(v, value);
		break;
	case VREG_CPL:
		break;
	default:
		vmwrite(plain_fields[reg], value);
	}
}

/* ---- segments ---- */

#define TYPE_ACCESSED	1u
#define TYPE_BUSY	2u
#define TYPE_TSS	0xbu /* 32 or 64 bits, busy */
#define TYPE_TSS_16	0x3u
#define TYPE_CONFORMING 0xfu /* code, readable, accessed */

/* The fields of all segments follow each other in enum seg's order. */
static u32 field_of(enum vmcs_field first, enum seg seg)
{
	return first + 2 * seg;
}

/*
 * TR and CS are always usable. In place of a CS that is not, one that is valid at each privilege
 * level and in which no instruction can be fetched.
 */
static void make_usable(enum seg seg, struct segment *s)
{
	if (seg == SEG_TR)
		s->attr = SEG_P | TYPE_TSS;
	if (seg == SEG_CS) {
		s->attr = SEG_P | SEG_S | TYPE_CONFORMING;
		s->limit = 0;
	}
}

static void fix_type(enum seg seg, struct segment *s)
{
	if (seg == SEG_TR) {
		bool small =
			(s->attr & (SEG_S | SEG_TYPE) & ~TYPE_BUSY) == (TYPE_TSS_16 & ~TYPE_BUSY) &&
			!(vmread(VMCS_GUEST_EFER) & EFER_LMA);

		s->attr &= ~(SEG_S | SEG_TYPE);
		s->attr |= small ? TYPE_TSS_16 : TYPE_TSS;
	} else if (seg != SEG_LDTR) {
		s->attr |= TYPE_ACCESSED; /* in force, so it was set when it was loaded */
	}
}

/* G must be able to express the limit. */
static void fix_limit(struct segment *s)
{
	if (s->limit > 0xfffff) {
		s->limit |= 0xfff;
		s->attr |= SEG_G;
	} else if (~s->limit & 0xfff) {
		s->attr &= ~SEG_G;
	}
}

/*
 * Access rights are descriptor bits 55:40, of which the contract leaves out 51:48. What the entry
 * checks and a descriptor need not fulfil is mended. SDM vol. 3, "Guest Register State", "Checks on
 * Guest Segment Registers".
 */
static u32 encode_access(enum seg seg, struct segment *s)
{
	if (!(s->attr & SEG_P)) {
		make_usable(seg, s);
		if (!(s->attr & SEG_P)) /* SS.DPL is the privilege level all the same */
			return ACCESS_UNUSABLE | (seg == SEG_SS ? s->attr & SEG_DPL : 0);
	}
	fix_type(seg, s);
	fix_limit(s);
	return (s->attr & 0xff) | (s->attr & 0xf00) << 4;
}

void vmx_get_segment(struct virt_vcpu *v, enum seg seg, struct segment *s)
{
	u32 access;

	CHECK(seg < SEG_COUNT);
	vmx_current(v);
	s->base = vmread(field_of(VMCS_GUEST_ES_BASE, seg));
	s->limit = vmread(field_of(VMCS_GUEST_ES_LIMIT, seg));
	s->selector = s->attr = 0;
	if (seg >= SEG_GDTR)
		return;
	s->selector = vmread(field_of(VMCS_GUEST_ES_SELECTOR, seg));
	access = vmread(field_of(VMCS_GUEST_ES_ACCESS, seg));
	if (!(access & ACCESS_UNUSABLE))
		s->attr = (access & 0xff) | (access >> 4 & 0xf00);
	else if (seg == SEG_SS)
		s->attr = access & SEG_DPL;
}

void vmx_set_segment(struct virt_vcpu *v, enum seg seg, const struct segment *s)
{
	struct segment value = *s;

	CHECK(seg < SEG_COUNT);
	vmx_current(v);
	if (seg >= SEG_GDTR) {
		value.limit &= 0xffff;
	} else {
		vmwrite(field_of(VMCS_GUEST_ES_ACCESS, seg), encode_access(seg, &value));
		vmwrite(field_of(VMCS_GUEST_ES_SELECTOR, seg), value.selector);
	}
	vmwrite(field_of(VMCS_GUEST_ES_LIMIT, seg), value.limit);
	vmwrite(field_of(VMCS_GUEST_ES_BASE, seg), value.base);
}
