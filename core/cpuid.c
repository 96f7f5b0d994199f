// SPDX-License-Identifier: MIT
/*
 * A vCPU's CPUID table: checked and sorted when the VMM sets it, looked up at each exit. A few
 * answers depend on the vCPU's state and are filled in then.
 */
#include "core/cpuid.h"

#include "arch-x86/insn.h"
#include "arch-x86/msr.h"
#include "arch-x86/regs.h"
#include "core/msr.h"
#include "core/vm.h"
#include "core/xstate.h"
#include "lib/string.h"

#define LEAF_WIDTHS	 0x80000008u
#define VENDOR_AMD_EBX	 0x68747541u /* "Auth"enticAMD */
#define VENDOR_HYGON_EBX 0x6f677948u /* "Hygo"nGenuine: AMD's in another name */

enum reg { EAX, EBX, ECX, EDX };

static const u32 *register_of(const struct cpuid_entry *entry, u32 reg)
{
	return &entry->eax + reg;
}

struct cpuid_entry *cpuid_find(struct vcpu *vcpu, u32 function, u32 index)
{
	u32 low = 0, high = vcpu->cpuid_count;

	while (low < high) {
		u32 middle = (low + high) / 2;

		if (vcpu->cpuid[middle].function < function)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < vcpu->cpuid_count && vcpu->cpuid[low].function == function; low++) {
		struct cpuid_entry *entry = &vcpu->cpuid[low];

		if (!(entry->flags & CPUID_SIGNIFICANT_INDEX) || entry->index == index)
			return entry;
	}
	return NULL;
}

bool cpuid_has(struct vcpu *vcpu, u32 function, u32 index, u32 reg, u32 bit)
{
	const struct cpuid_entry *entry = cpuid_find(vcpu, function, index);

	return entry && *register_of(entry, reg) >> bit & 1;
}

bool cpuid_is_amd(struct vcpu *vcpu)
{
	const struct cpuid_entry *basic = cpuid_find(vcpu, 0, 0);

	return basic && (basic->ebx == VENDOR_AMD_EBX || basic->ebx == VENDOR_HYGON_EBX);
}

/*
 * SDM vol. 2, "CPUID-CPU Identification": a leaf above the highest basic one reports what the
 * highest basic leaf does; AMD's processors answer with zeros. Ranges end with their first leaf's
 * EAX.
 */
static struct cpuid_entry *out_of_range(struct vcpu *vcpu, u32 function, u32 index)
{
	const struct cpuid_entry *basic = cpuid_find(vcpu, 0, 0);
	const struct cpuid_entry *range;

	if (!basic || cpuid_is_amd(vcpu))
		return NULL;
	if (function >= 0x40000000 && function <= 0x4fffffff)
		range = cpuid_find(vcpu, function & 0xffffff00, 0);
	else if (function >= 0xc0000000)
		range = cpuid_find(vcpu, 0xc0000000, 0);
	else
		range = cpuid_find(vcpu, function & 0x80000000, 0);
	if (range && function <= range->eax)
		return NULL;
	return cpuid_find(vcpu, basic->eax, index);
}

static void put_bit(u32 *value, u32 bit, bool on)
{
	*value = (*value & ~(1u << bit)) | (u32)on << bit;
}

static bool apic_enabled(struct vcpu *vcpu)
{
	u64 base;

	return msr_host_get(vcpu, MSR_APIC_BASE, &base) == 0 && base & APIC_BASE_ENABLE;
}

static void fill_dynamic(struct vcpu *vcpu, u32 function, u32 index, u32 regs[4])
{
	u64 cr4;

	if (function == 0xd) {
		if (index == 0)
			regs[EBX] = xstate_size_of(xcr0_get(vcpu));
		else if (index == 1 && regs[EAX] & (BIT(1) | BIT(3)))
			regs[EBX] = xstate_compacted_size_of(xcr0_get(vcpu));
		return;
	}
	cr4 = virt->get(&vcpu->v, VREG_CR4);
	if (function == 1) {
		put_bit(&regs[ECX], 27, cr4 & CR4_OSXSAVE && regs[ECX] & BIT(26));
		put_bit(&regs[EDX], 9, regs[EDX] & BIT(9) && apic_enabled(vcpu));
	} else if (function == 7 && index == 0) {
		put_bit(&regs[ECX], 4, cr4 & CR4_PKE);
	}
}

/* SDM vol. 2, CPUID leaves 0BH and 1FH: unknown sub-leaves still echo CL and give the x2APIC id. */
static void fill_topology(struct vcpu *vcpu, u32 function, u32 index, u32 regs[4])
{
	const struct cpuid_entry *entry = cpuid_find(vcpu, function, 1);

	if (!entry)
		return;
	regs[ECX] = index & 0xff;
	regs[EDX] = entry->edx;
}

static bool is_dynamic(u32 function)
{
	return function == 1 || function == 7 || function == 0xd;
}

struct cpuid_entry cpuid_current(struct vcpu *vcpu, const struct cpuid_entry *entry)
{
	struct cpuid_entry now = *entry;
	u32 regs[4] = {now.eax, now.ebx, now.ecx, now.edx};

	if (is_dynamic(now.function)) {
		fill_dynamic(vcpu, now.function, now.index, regs);
		now.eax = regs[EAX];
		now.ebx = regs[EBX];
		now.ecx = regs[ECX];
		now.edx = regs[EDX];
	}
	return now;
}

void cpuid_answer(struct vcpu *vcpu, u32 function, u32 index, u32 regs[4])
{
	static const struct cpuid_entry zero;
	const struct cpuid_entry *entry = cpuid_find(vcpu, function, index);
	bool topology;

	if (!entry)
		entry = out_of_range(vcpu, function, index);
	topology = !entry && (function == 0xb || function == 0x1f);
	if (!entry)
		entry = &zero;
	regs[EAX] = entry->eax;
	regs[EBX] = entry->ebx;
	regs[ECX] = entry->ecx;
	regs[EDX] = entry->edx;
	if (topology)
		fill_topology(vcpu, function, index, regs);
	else if (is_dynamic(entry->function))
		fill_dynamic(vcpu, entry->function, index, regs);
	else
		*cpuid_slot(vcpu, function, index) = (struct cpuid_hot){function, index, entry};
}

/* CR4 bits that exist only with a CPUID feature. */
static const struct {
	u64 cr4;
	u32 function;
	u8 reg, bit;
} cr4_features[] = {
	{CR4_UMIP, 7, ECX, 2},	   {CR4_FSGSBASE, 7, EBX, 0}, {CR4_PCIDE, 1, ECX, 17},
	{CR4_OSXSAVE, 1, ECX, 26}, {CR4_SMEP, 7, EBX, 7},     {CR4_SMAP, 7, EBX, 20},
	{CR4_PKE, 7, ECX, 3},
};

#define CR4_ALWAYS                                                                                 \
	(CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE |  \
	 CR4_OSFXSR | CR4_OSXMMEXCPT)

static bool host_has(u32 function, u32 reg, u32 bit)
{
	struct cpuid_regs r;

	if (cpuid(function & 0x80000000, 0).eax < function)
		return false;
	r = cpuid(function, 0);
	return (&r.eax)[reg] >> bit & 1;
}

/*
 * EAX of KVM's feature leaf. Another hypervisor's leaves may come before KVM's, which then begin at
 * a later multiple of 100h: Linux's Documentation/virt/kvm/x86/cpuid.rst.
 */
static u32 paravirtual_features(struct vcpu *vcpu)
{
	for (u32 i = 0; i < vcpu->cpuid_count; i++) {
		const struct cpuid_entry *entry = &vcpu->cpuid[i], *features;

		if ((entry->function & 0xffff00ff) != 0x40000000 ||
		    memcmp(&entry->ebx, "KVMKVMKVM\0\0", 12))
			continue;
		features = cpuid_find(vcpu, entry->function | 1, 0);
		return features ? features->eax : 0;
	}
	return 0;
}

/* What a claimed feature allows counts only where the processor has it as well. NULL: all are. */
static u64 cr4_allowed(struct vcpu *vcpu)
{
	u64 cr4 = CR4_ALWAYS;

	for (u32 i = 0; i < ARRAY_SIZE(cr4_features); i++)
		if ((!vcpu || cpuid_has(vcpu, cr4_features[i].function, 0, cr4_features[i].reg,
					cr4_features[i].bit)) &&
		    host_has(cr4_features[i].function, cr4_features[i].reg, cr4_features[i].bit))
			cr4 |= cr4_features[i].cr4;
	return cr4;
}

static void derive(struct vcpu *vcpu)
{
	const struct cpuid_entry *widths = cpuid_find(vcpu, LEAF_WIDTHS, 0);
	const struct cpuid_entry *xsave_leaf = cpuid_find(vcpu, 0xd, 0);
	u64 efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
	u64 xcr0 = 0;

	if (host_has(0x80000001, EDX, 25))
		efer |= EFER_FFXSR;
	vcpu->cr4_reserved = ~cr4_allowed(vcpu);
	vcpu->efer_reserved = ~efer;
	if (xsave_leaf)
		xcr0 = xsave_leaf->eax | (u64)xsave_leaf->edx << 32;
	vcpu->xcr0_supported = (xcr0 & xstate_supported()) | XCR0_X87;
	vcpu->paravirtual = paravirtual_features(vcpu);
	vcpu->physical_bits = 36; /* SDM vol. 3, "Physical-Address Width": without the leaf */
	if (widths && widths->eax & 0xff)
		vcpu->physical_bits = MAX(32, MIN(52, widths->eax & 0xff));
}

void cpuid_reset(struct vcpu *vcpu)
{
	vcpu->cpuid_count = 0;
	memset(vcpu->cpuid_hot, 0, sizeof(vcpu->cpuid_hot));
	derive(vcpu);
	/* As on Linux: who sets no CPUID at all is not held to one. */
	vcpu->cr4_reserved = ~cr4_allowed(NULL);
}

static bool widths_valid(const struct cpuid_entry *entry)
{
	u32 bits = entry->eax >> 8 & 0xff;

	return entry->function != LEAF_WIDTHS || bits == 48 || bits == 57 || bits == 0;
}

/* Inserts in order of leaves; of equal ones the first given stays first, since it answers. */
static void insert(struct cpuid_entry *table, u32 count, const struct cpuid_entry *entry)
{
	u32 at = count;

	while (at && table[at - 1].function > entry->function) {
		table[at] = table[at - 1];
		at--;
	}
	table[at] = *entry;
}

static bool same(struct vcpu *vcpu, const struct cpuid_entry *a, const struct cpuid_entry *b)
{
	struct cpuid_entry x, y;

	if (a->function != b->function || a->index != b->index)
		return false;
	x = cpuid_current(vcpu, a);
	y = cpuid_current(vcpu, b);
	return !memcmp(&x, &y, offsetof(struct cpuid_entry, padding));
}

/* After the first run only the very same table is accepted, but for what follows the state. */
static int check_same(struct vcpu *vcpu, const struct cpuid_entry *entries, u32 count)
{
	u64 seen[CPUID_ENTRIES / 64] = {0};

	if (count != vcpu->cpuid_count)
		return -EINVAL;
	for (u32 i = 0; i < count; i++) {
		u32 at = 0;

		while (at < count &&
		       (seen[at / 64] >> at % 64 & 1 || !same(vcpu, &vcpu->cpuid[at], &entries[i])))
			at++;
		if (at == count)
			return -EINVAL;
		seen[at / 64] |= BIT(at % 64);
	}
	return 0;
}

int cpuid_set(struct vcpu *vcpu, const struct cpuid_entry *entries, u32 count)
{
	if (count > CPUID_ENTRIES)
		return -E2BIG;
	for (u32 i = 0; i < count; i++)
		if (!widths_valid(&entries[i]))
			return -EINVAL;
	if (vcpu->ran)
		return check_same(vcpu, entries, count);
	for (u32 i = 0; i < count; i++)
		insert(vcpu->cpuid, i, &entries[i]);
	vcpu->cpuid_count = count;
	memset(vcpu->cpuid_hot, 0, sizeof(vcpu->cpuid_hot));
	derive(vcpu);
	return 0;
}
