// SPDX-License-Identifier: MIT
/* CPUID as the management guest sees it: the hardware's, minus what Keel cannot carry (D13). */
#include "arch-x86/insn.h"
#include "arch-x86/regs.h"
#include "core/mgmt.h"
#include "lib/string.h"

#define LEAF_FIRST    0x40000000u
#define LEAF_END      0x40010000u
#define BASIC_LAST    0x20u /* leaves that this table knows */
#define EXTENDED_LAST 0x80000026u

#define LEAF1_ECX_VMX	  BIT(5)
#define EXTENDED1_ECX_SVM BIT(2)

static u32 keel_leaf;
static bool show_virt; /* at CPL 3 */

/*
 * Bits hidden by leaf and subleaf; with a feature, only where the backend cannot offer it. Those
 * that stand for a whole leaf: all ones.
 */
static const struct {
	u32 leaf, subleaf;
	u32 eax, ebx, ecx, edx;
	u64 feature; /* enum virt_feature */
} hidden[] = {
	/* hardware virtualisation, and the measured launch */
	{.leaf = 1, .ecx = LEAF1_ECX_VMX | BIT(6)},
	{.leaf = 0x80000001, .ecx = EXTENDED1_ECX_SVM | BIT(12)},
	{.leaf = 0x8000000a, .eax = ~0u, .ebx = ~0u, .ecx = ~0u, .edx = ~0u},
	/* SGX, processor trace; SGX launch control, ENQCMD; UINTR, PCONFIG */
	{.leaf = 7, .ebx = BIT(2) | BIT(25), .ecx = BIT(29) | BIT(30), .edx = BIT(5) | BIT(18)},
	/* FRED, LKGS, MSRLIST; USER_MSR */
	{.leaf = 7, .subleaf = 1, .eax = BIT(17) | BIT(18) | BIT(27), .edx = BIT(15)},
	/* INVLPGB, MCOMMIT */
	{.leaf = 0x80000008, .ebx = BIT(3) | BIT(8)},
	/* memory encryption */
	{.leaf = 0x8000001f, .eax = ~0u, .ebx = ~0u, .ecx = ~0u, .edx = ~0u},
	{.leaf = 0x12, .eax = ~0u, .ebx = ~0u, .ecx = ~0u, .edx = ~0u},
	{.leaf = 0x14, .eax = ~0u, .ebx = ~0u, .ecx = ~0u, .edx = ~0u},
	/* Instructions that are #UD in a guest unless a control enables them. RDPID is RDTSCP's. */
	{.leaf = 0x80000001, .edx = BIT(27), .feature = VIRT_RDTSCP},
	{.leaf = 7, .ecx = BIT(22), .feature = VIRT_RDTSCP},
	{.leaf = 7, .ebx = BIT(10), .feature = VIRT_INVPCID},
	{.leaf = 7, .ecx = BIT(5), .feature = VIRT_WAITPKG},
	{.leaf = 0xd, .subleaf = 1, .eax = BIT(3), .feature = VIRT_XSAVES},
};

/* An outer hypervisor may have the first blocks of 0x100 leaves. */
void mgmt_cpuid_init(void)
{
	bool outer = cpuid(1, 0).ecx & BIT(31);

	keel_leaf = LEAF_FIRST;
	while (outer && keel_leaf < LEAF_END && cpuid(keel_leaf, 0).eax >= keel_leaf &&
	       cpuid(keel_leaf, 0).eax < keel_leaf + 0x100)
		keel_leaf += 0x100;
}

static struct cpuid_regs keel_leaves(u32 leaf)
{
	struct cpuid_regs r = {0};

	if (leaf == keel_leaf) {
		r.eax = keel_leaf + 1;
		memcpy(&r.ebx, MGMT_CPUID_STRING, 4);
		memcpy(&r.ecx, &MGMT_CPUID_STRING[4], 4);
		memcpy(&r.edx, &MGMT_CPUID_STRING[8], 4);
	} else if (leaf == keel_leaf + 1) {
		r.eax = MGMT_INTERFACE;
	}
	return r;
}

static void hide(struct cpuid_regs *r, u32 leaf, u32 subleaf)
{
	for (size_t i = 0; i < ARRAY_SIZE(hidden); i++) {
		bool whole = hidden[i].eax == ~0u;

		if (hidden[i].leaf != leaf || virt_features & hidden[i].feature)
			continue;
		/* These have subleaves; elsewhere ECX means nothing. */
		if ((leaf == 7 || leaf == 0xd) && hidden[i].subleaf != subleaf && !whole)
			continue;
		r->eax &= ~hidden[i].eax;
		r->ebx &= ~hidden[i].ebx;
		r->ecx &= ~hidden[i].ecx;
		r->edx &= ~hidden[i].edx;
	}
}

static void set_bit(u32 *word, u32 bit, bool on)
{
	*word = (*word & ~bit) | (on ? bit : 0);
}

/* Bits that follow a control register: root's own was shown by the instruction. */
static void follow_cr4(struct vcpu *vcpu, struct cpuid_regs *r, u32 leaf, u32 subleaf)
{
	u64 cr4;

	if (leaf != 1 && leaf != 7)
		return;
	cr4 = virt->get(&vcpu->v, VREG_CR4);
	if (leaf == 1) {
		set_bit(&r->ecx, BIT(27), cr4 & CR4_OSXSAVE);
		r->ecx |= BIT(31); /* under a hypervisor */
	} else if (subleaf == 0) {
		set_bit(&r->ecx, BIT(4), cr4 & CR4_PKE);
	}
}

void mgmt_show_virt(bool on)
{
	__atomic_store_n(&show_virt, on, __ATOMIC_RELAXED);
}

static void show_to_users(struct vcpu *vcpu, struct cpuid_regs *r, u32 leaf)
{
	if (leaf != (virt->ept ? 1 : 0x80000001) ||
	    !__atomic_load_n(&show_virt, __ATOMIC_RELAXED) || virt->get(&vcpu->v, VREG_CPL) != 3)
		return;
	r->ecx |= virt->ept ? LEAF1_ECX_VMX : EXTENDED1_ECX_SVM;
}

static bool known(u32 leaf)
{
	if (leaf >= 0x80000000)
		return leaf <= EXTENDED_LAST || leaf >= 0x80860000;
	if (leaf >= LEAF_FIRST && leaf < LEAF_END)
		return true;
	return leaf <= BASIC_LAST;
}

void mgmt_cpuid(struct vcpu *vcpu)
{
	u64 *gpr = vcpu->v.gpr;
	u32 leaf = gpr[GPR_RAX], subleaf = gpr[GPR_RCX];
	struct cpuid_regs r = {0};

	if (leaf >= keel_leaf && leaf < keel_leaf + 0x100) {
		r = keel_leaves(leaf);
	} else if (known(leaf)) {
		r = cpuid(leaf, subleaf);
		hide(&r, leaf, subleaf);
		follow_cr4(vcpu, &r, leaf, subleaf);
		show_to_users(vcpu, &r, leaf);
		if (leaf == 0)
			r.eax = MIN(r.eax, BASIC_LAST);
		if (leaf == 0x80000000)
			r.eax = MIN(r.eax, EXTENDED_LAST);
	}
	gpr[GPR_RAX] = r.eax;
	gpr[GPR_RBX] = r.ebx;
	gpr[GPR_RCX] = r.ecx;
	gpr[GPR_RDX] = r.edx;
}
