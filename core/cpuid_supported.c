// SPDX-License-Identifier: MIT
/*
 * KVM_GET_SUPPORTED_CPUID: the processor's leaves, less what Keel does not carry for a child. A
 * feature that is not named here is not offered.
 */
#include "arch-x86/insn.h"
#include "core/cpuid.h"
#include "core/xstate.h"
#include "lib/string.h"

#define B(n)	     (1u << (n))
#define MAX_BASIC    0xdu
#define MAX_EXTENDED 0x80000021u
#define SUBLEAVES    8 /* of the cache leaves, at most */

/* clang-format off */
enum feature_mask {
	/* SSE3 PCLMULQDQ SSSE3 FMA CX16 PCID SSE4.1 SSE4.2 MOVBE POPCNT AES XSAVE AVX F16C RDRAND */
	LEAF_1_ECX = B(0) | B(1) | B(9) | B(12) | B(13) | B(17) | B(19) | B(20) | B(22) | B(23) |
		     B(25) | B(26) | B(28) | B(29) | B(30),
	/* x2APIC, a hypervisor */
	LEAF_1_ECX_OWN = B(21) | B(31),
	/* FPU VME DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT PSE36 CLFLUSH MMX FXSR
	 * SSE SSE2 SS */
	LEAF_1_EDX = 0x3ff | B(11) | B(12) | B(13) | B(14) | B(15) | B(16) | B(17) | B(19) |
		     B(23) | B(24) | B(25) | B(26) | B(27),
	/* FSGSBASE BMI1 AVX2 FDP SMEP BMI2 ERMS INVPCID FPU-CS AVX512F DQ RDSEED ADX SMAP IFMA
	 * CLFLUSHOPT CLWB PF ER CD SHA BW VL */
	LEAF_7_EBX = B(0) | B(3) | B(5) | B(6) | B(7) | B(8) | B(9) | B(10) | B(13) | B(16) |
		     B(17) | B(18) | B(19) | B(20) | B(21) | B(23) | B(24) | B(26) | B(27) |
		     B(28) | B(29) | B(30) | B(31),
	LEAF_7_EBX_OWN = B(1), /* TSC_ADJUST */
	LEAF_7_EBX_AVX512 = B(16) | B(17) | B(21) | B(26) | B(27) | B(28) | B(30) | B(31),
	/* VBMI UMIP PKU VBMI2 GFNI VAES VPCLMULQDQ VNNI BITALG VPOPCNTDQ RDPID CLDEMOTE MOVDIRI
	 * MOVDIR64B */
	LEAF_7_ECX = B(1) | B(2) | B(3) | B(6) | B(8) | B(9) | B(10) | B(11) | B(12) | B(14) |
		     B(22) | B(25) | B(27) | B(28),
	LEAF_7_ECX_AVX512 = B(1) | B(6) | B(11) | B(12) | B(14),
	/* 4VNNIW 4FMAPS FSRM VP2INTERSECT MD_CLEAR SERIALIZE IBRS STIBP SSBD */
	LEAF_7_EDX = B(2) | B(3) | B(4) | B(8) | B(10) | B(14) | B(26) | B(27) | B(31),
	LEAF_7_EDX_OWN = B(29), /* ARCH_CAPABILITIES */
	LEAF_7_EDX_AVX512 = B(2) | B(3) | B(8),
	/* AVX-VNNI BF16 FZRM FSRS FSRC */
	LEAF_7_1_EAX = B(4) | B(5) | B(10) | B(11) | B(12),
	LEAF_D_1_EAX = B(0) | B(1) | B(2), /* XSAVEOPT XSAVEC XGETBV-ECX-1 */
	/* LAHF CMP-LEGACY CR8 ABM SSE4A MISALIGN PREFETCH OSVW XOP FMA4 TBM TOPOEXT */
	LEAF_E1_ECX = B(0) | B(1) | B(4) | B(5) | B(6) | B(7) | B(8) | B(9) | B(11) | B(16) |
		      B(21) | B(22),
	/* The legacy ones again, SYSCALL NX MMXEXT MMX FXSR FFXSR 1G RDTSCP LM 3DNOW */
	LEAF_E1_EDX = 0x3ff | B(11) | B(12) | B(13) | B(14) | B(15) | B(16) | B(17) | B(20) |
		      B(22) | B(23) | B(24) | B(25) | B(26) | B(27) | B(29) | B(30) | B(31),
	LEAF_E7_EDX = B(8), /* invariant TSC */
	/* CLZERO XSAVEERPTR WBNOINVD IBPB IBRS STIBP STIBP-ALWAYS SSBD SSB-NO */
	LEAF_E8_EBX = B(0) | B(2) | B(9) | B(12) | B(14) | B(15) | B(17) | B(24) | B(26),
	LEAF_E21_EAX = B(0) | B(2) | B(6), /* no nested data breakpoints, LFENCE, null selectors */
	/* kvmclock (both MSR pairs, stable), no I/O delay, pages not there, steal time, EOI */
	LEAF_KVM_EAX = B(0) | B(1) | B(3) | B(4) | B(5) | B(6) | B(24),
	NEEDS_XSAVE_1_ECX = B(12) | B(26) | B(28) | B(29),
};
/* clang-format on */

struct list {
	struct cpuid_entry *out;
	u32 max, count;
};

static void add(struct list *list, u32 function, u32 index, bool indexed, struct cpuid_regs r)
{
	struct cpuid_entry entry = {.function = function,
				    .index = index,
				    .flags = indexed ? CPUID_SIGNIFICANT_INDEX : 0,
				    .eax = r.eax,
				    .ebx = r.ebx,
				    .ecx = r.ecx,
				    .edx = r.edx};

	if (list->count < list->max)
		list->out[list->count] = entry;
	list->count++;
}

static void add_features(struct list *list)
{
	struct cpuid_regs r = cpuid(1, 0);

	r.ebx = (r.ebx & 0xff00) | 1 << 16; /* CLFLUSH size; one logical processor, APIC id 0 */
	r.ecx = (r.ecx & LEAF_1_ECX) | LEAF_1_ECX_OWN;
	r.edx &= LEAF_1_EDX;
	if (!(xstate_supported() & BIT(2)))
		r.ecx &= ~(NEEDS_XSAVE_1_ECX & ~B(26));
	if (!xstate_has_xsave())
		r.ecx &= ~NEEDS_XSAVE_1_ECX;
	add(list, 1, 0, false, r);
}

/* Until the sub-leaf whose cache type is none, which is listed too. */
static void add_caches(struct list *list, u32 function)
{
	for (u32 i = 0; i < SUBLEAVES; i++) {
		struct cpuid_regs r = cpuid(function, i);

		add(list, function, i, true, r);
		if (!(r.eax & 0x1f))
			break;
	}
}

static void add_extended_features(struct list *list)
{
	struct cpuid_regs r = cpuid(7, 0);
	struct cpuid_regs one = cpuid(7, 1);
	bool more = r.eax >= 1;

	r.eax = more;
	r.ebx = (r.ebx & LEAF_7_EBX) | LEAF_7_EBX_OWN;
	r.ecx &= LEAF_7_ECX;
	r.edx = (r.edx & LEAF_7_EDX) | LEAF_7_EDX_OWN;
	if (!(xstate_supported() & BIT(2)))
		r.ebx &= ~B(5);
	if (!(xstate_supported() & BIT(5))) {
		r.ebx &= ~LEAF_7_EBX_AVX512;
		r.ecx &= ~LEAF_7_ECX_AVX512;
		r.edx &= ~LEAF_7_EDX_AVX512;
		one.eax &= ~B(5);
	}
	if (!(xstate_supported() & BIT(9)))
		r.ecx &= ~B(3);
	if (!(virt_features & VIRT_INVPCID))
		r.ebx &= ~B(10);
	if (!(virt_features & VIRT_RDTSCP))
		r.ecx &= ~B(22); /* RDPID */
	add(list, 7, 0, true, r);
	if (more)
		add(list, 7, 1, true, (struct cpuid_regs){.eax = one.eax & LEAF_7_1_EAX});
}

static void add_xsave(struct list *list)
{
	u64 mask = xstate_supported();
	struct cpuid_regs r = {.eax = mask,
			       .ebx = xstate_size_of(mask),
			       .ecx = xstate_size_of(mask),
			       .edx = mask >> 32};

	if (!xstate_has_xsave())
		return;
	add(list, 0xd, 0, true, r);
	r = (struct cpuid_regs){.eax = cpuid(0xd, 1).eax & LEAF_D_1_EAX};
	if (r.eax & B(1))
		r.ebx = xstate_compacted_size_of(mask);
	add(list, 0xd, 1, true, r);
	for (u32 i = 2; i < 64; i++) {
		if (!(mask & BIT(i)))
			continue;
		r = cpuid(0xd, i);
		r.ecx &= B(1); /* 64-byte aligned when compacted */
		r.edx = 0;
		add(list, 0xd, i, true, r);
	}
}

static void add_basic(struct list *list)
{
	static const struct cpuid_regs nothing;
	struct cpuid_regs r = cpuid(0, 0);
	u32 max = r.eax;

	r.eax = MIN(r.eax, MAX_BASIC);
	add(list, 0, 0, false, r);
	add_features(list);
	if (max >= 2)
		add(list, 2, 0, false, cpuid(2, 0));
	if (max >= 4)
		add_caches(list, 4);
	if (max >= 6) /* the APIC timer always runs */
		add(list, 6, 0, false, (struct cpuid_regs){.eax = B(2)});
	if (max >= 7)
		add_extended_features(list);
	if (max >= 0xa) /* no performance counters */
		add(list, 0xa, 0, false, nothing);
	if (max >= 0xb) /* the VMM knows the topology */
		add(list, 0xb, 0, true, nothing);
	if (max >= 0xd)
		add_xsave(list);
}

static void add_paravirtual(struct list *list)
{
	struct cpuid_regs r = {.eax = CPUID_KVM_FEATURES};

	memcpy(&r.ebx, "KVMK", 4);
	memcpy(&r.ecx, "VMKV", 4);
	memcpy(&r.edx, "M\0\0\0", 4);
	add(list, 0x40000000, 0, false, r);
	add(list, CPUID_KVM_FEATURES, 0, false, (struct cpuid_regs){.eax = LEAF_KVM_EAX});
}

static void add_extended_leaf(struct list *list, u32 function)
{
	struct cpuid_regs r = cpuid(function, 0);

	switch (function) {
	case 0x80000001:
		r.ebx = 0;
		r.ecx &= LEAF_E1_ECX;
		r.edx &= LEAF_E1_EDX;
		if (!(virt_features & VIRT_RDTSCP))
			r.edx &= ~B(27);
		break;
	case 0x80000007:
		r = (struct cpuid_regs){.edx = r.edx & LEAF_E7_EDX};
		break;
	case 0x80000008:
		r = (struct cpuid_regs){.eax = r.eax & 0xffff, .ebx = r.ebx & LEAF_E8_EBX};
		break;
	case 0x8000001e: /* APIC and core ids: the VMM's */
		r = (struct cpuid_regs){0};
		break;
	case 0x80000021:
		r = (struct cpuid_regs){.eax = r.eax & LEAF_E21_EAX};
		break;
	}
	add(list, function, 0, false, r);
}

static void add_extended(struct list *list)
{
	static const u32 leaves[] = {0x80000001, 0x80000002, 0x80000003, 0x80000004,
				     0x80000005, 0x80000006, 0x80000007, 0x80000008,
				     0x80000019, 0x8000001a, 0x8000001e, 0x80000021};
	struct cpuid_regs r = cpuid(0x80000000, 0);
	u32 max = r.eax;

	r.eax = MIN(r.eax, MAX_EXTENDED);
	add(list, 0x80000000, 0, false, r);
	for (u32 i = 0; i < ARRAY_SIZE(leaves); i++)
		if (leaves[i] <= max)
			add_extended_leaf(list, leaves[i]);
	if (max >= 0x8000001d && cpuid(0x80000001, 0).ecx & B(22))
		add_caches(list, 0x8000001d);
}

u32 cpuid_supported(struct cpuid_entry *out, u32 max)
{
	struct list list = {.out = out, .max = max};

	add_basic(&list);
	add_paravirtual(&list);
	add_extended(&list);
	return list.count;
}
