/* SPDX-License-Identifier: MIT */
/* MSRs: every number reads, faults or is remembered as the table says. */
#include "tests/unit/core_machine.h"

#include "core/mce.h"

static int setup(void **state)
{
	machine_init();
	return 0;
}

#define assert_reads(index, expected)                                                              \
	do {                                                                                       \
		u64 v_;                                                                            \
		assert_int_equal(msr_read(vcpu, index, &v_), 0);                                   \
		assert_int_equal(v_, expected);                                                    \
	} while (0)
#define assert_gp_read(index)                                                                      \
	do {                                                                                       \
		u64 v_;                                                                            \
		assert_int_equal(msr_read(vcpu, index, &v_), -EINVAL);                             \
	} while (0)
/* #GP as well, but the VMM is told that there is none. */
#define assert_none(index)                                                                         \
	do {                                                                                       \
		u64 v_;                                                                            \
		assert_int_equal(msr_read(vcpu, index, &v_), -ENOENT);                             \
		assert_int_equal(msr_write(vcpu, index, 0), -ENOENT);                              \
	} while (0)
#define assert_writes(index, value) assert_int_equal(msr_write(vcpu, index, value), 0)
#define assert_gp(index, value)	    assert_int_equal(msr_write(vcpu, index, value), -EINVAL)

static void vendor(u32 ebx) /* of CPUID leaf 0 */
{
	const struct cpuid_entry entries[] = {
		{.function = 0, .eax = 0xd, .ebx = ebx},
		{.function = 7, .flags = CPUID_SIGNIFICANT_INDEX, .edx = BIT(29)},
		{.function = 0xd, .index = 1, .flags = CPUID_SIGNIFICANT_INDEX, .eax = BIT(3)},
		{.function = 0x80000001, .edx = BIT(27)},
	};

	assert_int_equal(cpuid_set(vcpu, entries, ARRAY_SIZE(entries)), 0);
}

#define AMD   0x68747541 /* "Auth" */
#define INTEL 0x756e6547 /* "Genu" */
#define HYGON 0x6f677948 /* "Hygo" */

static void addresses_must_be_canonical(void **state)
{
	static const u32 addresses[] = {MSR_LSTAR,	 MSR_CSTAR,   MSR_KERNEL_GS_BASE,
					MSR_FS_BASE,	 MSR_GS_BASE, MSR_SYSENTER_EIP,
					MSR_SYSENTER_ESP};

	for (u32 i = 0; i < ARRAY_SIZE(addresses); i++) {
		assert_writes(addresses[i], 0x7fffffffffff);
		assert_gp(addresses[i], 0x800000000000);
		assert_gp(addresses[i], 0xffff7fffffffffff);
		assert_int_equal(msr_host_set(vcpu, addresses[i], 1ull << 63), -EINVAL);
		assert_writes(addresses[i], 0xffff800000000000);
		assert_reads(addresses[i], 0xffff800000000000);
	}
	assert_int_equal(reg(VREG_LSTAR), 0xffff800000000000);
}

static void those_that_pass_do_not_exit(void **state)
{
	static const u32 pass[] = {MSR_STAR,	       MSR_LSTAR,	MSR_CSTAR,
				   MSR_SFMASK,	       MSR_FS_BASE,	MSR_GS_BASE,
				   MSR_KERNEL_GS_BASE, MSR_SYSENTER_CS, MSR_SYSENTER_ESP,
				   MSR_SYSENTER_EIP};
	u32 open = 0;

	for (u32 i = 0; i < ARRAY_SIZE(pass); i++) {
		assert_false(fake_msr_intercepted(&machine_vm->virt, pass[i], false));
		assert_false(fake_msr_intercepted(&machine_vm->virt, pass[i], true));
	}
	/* Not every processor (QEMU) applies the offset to RDMSR. */
	assert_true(fake_msr_intercepted(&machine_vm->virt, MSR_TSC, false));
	/* And no others: each number of both ranges (threats: a hole in the map). */
	for (u32 i = 0; i < 0x2000; i++) {
		open += !fake_msr_intercepted(&machine_vm->virt, i, false);
		open += !fake_msr_intercepted(&machine_vm->virt, i, true);
		open += !fake_msr_intercepted(&machine_vm->virt, 0xc0000000 + i, false);
		open += !fake_msr_intercepted(&machine_vm->virt, 0xc0000000 + i, true);
	}
	assert_int_equal(open, 2 * ARRAY_SIZE(pass));
}

/* A backend that does not read them back hears of each write. */
static void syscall_msrs_are_told(void **state)
{
	static struct virt_ops told;

	told = *virt;
	told.syscall_msrs_told = true;
	virt = &told;
	msr_pass_through(machine_vm);
	for (u32 index = MSR_STAR; index <= MSR_SFMASK; index++) {
		assert_false(fake_msr_intercepted(&machine_vm->virt, index, false));
		assert_true(fake_msr_intercepted(&machine_vm->virt, index, true));
	}
	assert_false(fake_msr_intercepted(&machine_vm->virt, MSR_KERNEL_GS_BASE, true));
	assert_writes(MSR_SFMASK, 0xffffffff);
	assert_gp(MSR_SFMASK, 1ull << 32);
}

static void unknown_numbers_fault(void **state)
{
	static const u32 unknown[] = {2,	  0x480,      0x48a,	  0x802,     0xbff,
				      0x9ff,	  0x1fff,     0x38f,	  0x570,     0xc0000104,
				      0xc0010117, 0xc0011fff, 0x40000000, 0xffffffff};

	for (u32 i = 0; i < ARRAY_SIZE(unknown); i++)
		assert_none(unknown[i]);
	/* All numbers: nothing crashes, and what reads for the guest reads for the VMM. */
	for (u32 i = 0; i < 0x4000; i++) {
		u32 index = i < 0x2000 ? i : 0xc0010000 + i - 0x2000;
		u64 value;

		if (!msr_read(vcpu, index, &value))
			assert_int_equal(msr_host_get(vcpu, index, &value), 0);
		msr_write(vcpu, index, 0x5555555555555555);
		msr_host_set(vcpu, index, ~0ull);
	}
}

static void every_listed_one_takes_its_reset_value(void **state)
{
	u32 list[128], count = msr_list(list, ARRAY_SIZE(list));

	assert_in_range(count, 20, ARRAY_SIZE(list));
	assert_int_equal(msr_list(list, 2), count);
	for (u32 i = 0; i < count; i++) {
		u64 value;

		assert_int_equal(msr_host_get(vcpu, list[i], &value), 0);
		assert_int_equal(msr_host_set(vcpu, list[i], value), 0);
		assert_int_equal(msr_host_set(vcpu, list[i], list[i] == MSR_PAT ? value : 0), 0);
	}
}

static void what_vmms_always_write_is_taken(void **state)
{
	assert_int_equal(msr_host_set(vcpu, MSR_MTRR_DEF_TYPE, 0xc06), 0);
	for (u32 i = 0x200; i < 0x210; i++)
		assert_int_equal(msr_host_set(vcpu, i, 0), 0);
	assert_int_equal(msr_host_set(vcpu, 0x250, 0x0606060606060606), 0);
	for (u32 i = 0x268; i <= 0x26f; i++)
		assert_int_equal(msr_host_set(vcpu, i, 0x0101010101010101), 0);
	assert_int_equal(msr_host_set(vcpu, MSR_MISC_ENABLE, 1), 0);
	assert_int_equal(msr_host_set(vcpu, MSR_KVM_SYSTEM_TIME, 0), 0);
	assert_int_equal(msr_host_set(vcpu, MSR_KVM_SYSTEM_TIME, 1), -ENOENT);
	assert_int_equal(msr_host_set(vcpu, MSR_KVM_POLL_CONTROL, 0), -ENOENT);
	assert_int_equal(msr_host_set(vcpu, MSR_APIC_BASE, 0xfee00900), 0);
}

static void memory_types_are_checked(void **state)
{
	assert_reads(MSR_PAT, 0x0007040600070406);
	assert_writes(MSR_PAT, 0x0706050401000706);
	assert_gp(MSR_PAT, 0x0007040600070402);
	assert_gp(MSR_PAT, 0x0807040600070406);
	assert_writes(MSR_MTRR_DEF_TYPE, 0xc06);
	assert_gp(MSR_MTRR_DEF_TYPE, 0xc02);
	assert_gp(MSR_MTRR_DEF_TYPE, 0x1c06);
	assert_gp(MSR_MTRR_DEF_TYPE, 0xc08);
	assert_writes(0x259, 0x0605040100060504);
	assert_gp(0x259, 7);
	assert_gp(0x26f, 2ull << 56);
	assert_writes(0x26f, 6);
	assert_reads(0x26f, 6);
	assert_reads(0x268, 0);
	assert_gp(MSR_MTRRCAP, 0);
	assert_reads(MSR_MTRRCAP, 0x508);
	assert_none(0x251);
}

static void variable_ranges_are_checked(void **state)
{
	assert_writes(0x200, 0xf00000006);
	assert_gp(0x200, 0x1000000006); /* beyond 36 bits */
	assert_gp(0x200, 0x106);
	assert_gp(0x200, 2);
	assert_gp(0x200, 0x80);
	assert_writes(0x20f, 0xf00000800);
	assert_gp(0x20f, 0x400);
	assert_none(0x210);
	machine_cpuid_all();
	assert_writes(0x200, 0xff00000006); /* 40 bits now */
	assert_reads(0x200, 0xff00000006);
}

static void machine_check_banks(void **state)
{
	assert_reads(MSR_MCG_CAP, 32);
	assert_gp(MSR_MCG_CAP, 0);
	assert_gp(MSR_MCG_CTL, 0);
	assert_reads(0x400 + 4 * 31, 0);
	assert_none(0x400 + 4 * 32);
	assert_none(0x280); /* no CMCI */
	assert_writes(0x400, 0);
	assert_gp(0x400, 5);
	assert_writes(0x400, ~0ull & ~BIT(10));
	assert_writes(0x401, 0);
	assert_gp(0x401, 1);
	assert_writes(MSR_HWCR, BIT(18));
	assert_gp(0x401, 1); /* AMD's way alone */
	vendor(AMD);
	assert_writes(0x401, 1);
	assert_reads(0x401, 1);
	assert_writes(MSR_HWCR, 0);
	assert_gp(0x401, 1);
	assert_int_equal(mce_setup(vcpu, 10 | BIT(8)), 0);
	assert_reads(0x400 + 4 * 9, ~0ull);
	assert_gp_read(0x400 + 4 * 10);
	assert_reads(MSR_MCG_CTL, ~0ull);
	assert_writes(MSR_MCG_CTL, 0);
	assert_gp(MSR_MCG_CTL, 1);
}

static void efer_rules(void **state)
{
	assert_writes(MSR_EFER, EFER_LME | EFER_SCE | EFER_NXE);
	assert_gp(MSR_EFER, EFER_SVME);
	assert_gp(MSR_EFER, BIT(1));
	/* LMA is the processor's: neither set nor cleared. */
	assert_writes(MSR_EFER, EFER_LME | EFER_LMA);
	assert_reads(MSR_EFER, EFER_LME);
	mode_long();
	assert_gp(MSR_EFER, 0);
	assert_writes(MSR_EFER, EFER_LME | EFER_SCE);
	assert_reads(MSR_EFER, EFER_LME | EFER_LMA | EFER_SCE);
	assert_true(vcpu->v.flush); /* NXE went */
}

static u64 refused; /* bits of SPEC_CTRL that this processor does not have */

int wrmsr_safe(u32 index, u64 value)
{
	u64 old;

	if (rdmsr_safe(index, &old) || (index == MSR_SPEC_CTRL && value & refused))
		return -EIO;
	fake_msr_set(index, value);
	return 0;
}

/* A value that WRMSR refuses would fault in root when the vCPU is entered. */
static void speculation_bits_are_the_processors(void **state)
{
	machine_cpuid_all();
	assert_writes(MSR_SPEC_CTRL, 1);
	refused = 6;
	assert_int_equal(msr_host_set(vcpu, MSR_SPEC_CTRL, 4), -EINVAL);
	assert_gp(MSR_SPEC_CTRL, 2);
	vcpu->v.loaded = true;
	assert_gp(MSR_SPEC_CTRL, 4);
	assert_reads(MSR_SPEC_CTRL, 1);
	vcpu->v.loaded = false;
	refused = 0;
}

static void speculation_needs_cpuid(void **state)
{
	assert_gp_read(MSR_SPEC_CTRL);
	assert_gp(MSR_SPEC_CTRL, 1);
	assert_gp(MSR_PRED_CMD, 1);
	assert_int_equal(msr_host_set(vcpu, MSR_SPEC_CTRL, 1), 0);
	machine_cpuid_all();
	assert_reads(MSR_SPEC_CTRL, 1);
	assert_writes(MSR_SPEC_CTRL, 5);
	assert_gp(MSR_SPEC_CTRL, 8);
	assert_int_equal(fake_msr_get(MSR_SPEC_CTRL), 0); /* not loaded: at its next entry */
	vcpu->v.loaded = true;
	assert_writes(MSR_SPEC_CTRL, 4);
	assert_int_equal(fake_msr_get(MSR_SPEC_CTRL), 4);
	assert_writes(MSR_PRED_CMD, 1);
	assert_int_equal(fake_msr_get(MSR_PRED_CMD), 1);
	assert_gp(MSR_PRED_CMD, 2);
	fake_msr_faults(MSR_SPEC_CTRL, true);
	assert_gp(MSR_SPEC_CTRL, 4);
	vcpu->v.loaded = false;
}

static void the_tsc_and_its_adjustment(void **state)
{
	u64 value, before = fake_tsc + vcpu->tsc_offset;

	fake_tsc_step = 0;
	assert_reads(MSR_TSC, fake_tsc + vcpu->tsc_offset);
	assert_writes(MSR_TSC, 5000000);
	assert_reads(MSR_TSC, 5000000);
	assert_int_equal(reg(VREG_TSC_OFFSET), 5000000 - fake_tsc);
	assert_int_equal(msr_read(vcpu, MSR_TSC_ADJUST, &value), 0);
	assert_int_equal(value, 5000000 - before);
	assert_writes(MSR_TSC_ADJUST, value + 100);
	assert_reads(MSR_TSC, 5000100);
	/* The VMM sets TSC_ADJUST without moving the TSC. */
	assert_int_equal(msr_host_set(vcpu, MSR_TSC_ADJUST, 7), 0);
	assert_reads(MSR_TSC, 5000100);
	assert_reads(MSR_TSC_ADJUST, 7);
}

static void tscs_of_a_vm_agree(void **state)
{
	struct vcpu *other;

	fake_tsc_step = 0;
	assert_int_equal(vcpu_create(machine_vm, 1, &other), 0);
	assert_int_equal(other->tsc_offset, vcpu->tsc_offset);
	/* Restored a little later: the same TSC is meant. */
	fake_tsc = 50ull * 1000000000;
	assert_int_equal(msr_host_set(vcpu, MSR_TSC, 5), 0);
	fake_tsc += 1000000;
	assert_int_equal(msr_host_set(other, MSR_TSC, 5), 0);
	assert_int_equal(other->tsc_offset, vcpu->tsc_offset);
	assert_int_equal(vcpu->tsc_offset, 5 - 50ull * 1000000000);
	/* Far away: another one is meant. 0 never is. */
	fake_tsc += 10ull * 1000000000;
	assert_int_equal(msr_host_set(other, MSR_TSC, 0), 0);
	assert_int_equal(other->tsc_offset, vcpu->tsc_offset);
	assert_int_equal(msr_host_set(other, MSR_TSC, 77), 0);
	assert_int_equal(other->tsc_offset, 77 - fake_tsc);
	assert_true(other->request & REQUEST_CLOCK);
}

static void tscs_at_a_rate_of_their_own(void **state)
{
	struct vcpu *other;
	u64 value;

	fake_tsc_step = 0;
	host_tsc_khz = machine_vm->tsc_khz = machine_vm->guest_tsc_khz = 2000000;
	assert_int_equal(vcpu_set_tsc_khz(vcpu, 3000000), -EINVAL);
	assert_int_equal(vcpu_create(machine_vm, 1, &other), 0);
	vcpu->v.features |= VIRT_TSC_SCALING;
	other->v.features |= VIRT_TSC_SCALING;
	/* Half as fast again since the VM was made, in each vCPU alike. */
	fake_tsc = machine_vm->boot_tsc + 1000;
	assert_int_equal(vcpu_set_tsc_khz(vcpu, 3000000), 0);
	assert_int_equal(reg(VREG_TSC_RATIO), TSC_RATIO_ONE * 3 / 2);
	assert_int_equal(vcpu->tsc_khz, 3000000);
	assert_in_range(vcpu_tsc(vcpu), 1499, 1500);
	fake_tsc += 50;
	assert_int_equal(vcpu_set_tsc_khz(other, 3000000), 0);
	assert_int_equal(other->tsc_offset, vcpu->tsc_offset);
	assert_int_equal(reg(VREG_TSC_OFFSET), vcpu->tsc_offset);
	assert_writes(MSR_TSC, 7000000000);
	fake_tsc += 100;
	assert_int_equal(msr_read(vcpu, MSR_TSC, &value), 0);
	assert_in_range(value, 7000000149, 7000000151);
	/* One vCPU goes back: what the VMM sets for it follows no other one's offset. */
	assert_int_equal(vcpu_set_tsc_khz(other, 0), 0);
	assert_int_equal(other->tsc_ratio, TSC_RATIO_ONE);
	assert_int_equal(msr_host_set(other, MSR_TSC, 90000000000), 0);
	assert_int_equal(vcpu_tsc(other), 90000000000);
	assert_int_equal(vcpu->tsc_ratio, TSC_RATIO_ONE * 3 / 2);
	/* What the multiplier cannot hold: 256 times as fast, and standing still. */
	assert_int_equal(vcpu_set_tsc_khz(vcpu, 512000000), -EINVAL);
	assert_int_equal(vcpu_set_tsc_khz(vcpu, 511999999), 0);
	assert_int_equal(vcpu_set_tsc_khz(vcpu, 1), 0);
	/* A rate for all vCPUs to come. */
	assert_int_equal(vm_set_tsc_khz(machine_vm, 3000000), -EINVAL);
	machine_vm->virt.features |= VIRT_TSC_SCALING;
	assert_int_equal(vm_set_tsc_khz(machine_vm, 3000000), 0);
	assert_int_equal(vcpu_create(machine_vm, 2, &other), 0);
	assert_int_equal(other->tsc_khz, 3000000);
	assert_int_equal(other->tsc_ratio, TSC_RATIO_ONE * 3 / 2);
	assert_int_equal(vm_set_tsc_khz(machine_vm, 0), 0);
	assert_int_equal(machine_vm->guest_tsc_khz, 2000000);
	assert_int_equal(machine_vm->tsc_khz, 2000000);
	host_tsc_khz = 1000000;
}

static void offsets_that_the_vmm_restores(void **state)
{
	struct vcpu *other;

	fake_tsc_step = 0;
	assert_int_equal(vcpu_create(machine_vm, 1, &other), 0);
	vcpu->request = 0;
	vcpu_restore_tsc_offset(vcpu, -5ull);
	assert_int_equal(reg(VREG_TSC_OFFSET), -5ull);
	assert_int_equal(vcpu_tsc(vcpu), fake_tsc - 5);
	assert_true(vcpu->request & REQUEST_CLOCK);
	/* A TSC that is restored near it means the same. */
	assert_int_equal(msr_host_set(other, MSR_TSC, fake_tsc + 5), 0);
	assert_int_equal(other->tsc_offset, -5ull);
	assert_int_equal(vcpu->msr.tsc_adjust, 0);
}

static void small_ones(void **state)
{
	assert_reads(MSR_PLATFORM_INFO, BIT(31));
	machine_vm->no_platform_info = true;
	assert_gp_read(MSR_PLATFORM_INFO);
	assert_int_equal(msr_host_set(vcpu, MSR_PLATFORM_INFO, BIT(31)), 0);
	machine_vm->no_platform_info = false;
	assert_writes(MSR_BIOS_UPDT_TRIG, 0x1234);
	assert_gp_read(MSR_BIOS_UPDT_TRIG);
	assert_gp_read(MSR_SMBASE);
	assert_gp(MSR_SMBASE, 0x30000);
	assert_int_equal(msr_host_set(vcpu, MSR_SMBASE, 0x40000), 0);
	assert_int_equal(msr_host_set(vcpu, MSR_SMBASE, 1ull << 32), -EINVAL);
	assert_reads(MSR_MISC_ENABLE, 0x1801);
	assert_writes(MSR_MISC_ENABLE, 0x1800);
	assert_gp(MSR_MISC_ENABLE, 0x800);
	assert_gp(MSR_MISC_ENABLE, 0x1000);
	assert_int_equal(msr_host_set(vcpu, MSR_BIOS_SIGN_ID, 0x100000000), 0);
	assert_reads(MSR_BIOS_SIGN_ID, 0x100000000);
	assert_reads(MSR_PLATFORM_ID, 0);
	assert_gp(MSR_PLATFORM_ID, 0);
	assert_reads(MSR_PLATFORM_INFO, BIT(31));
	assert_gp(MSR_PLATFORM_INFO, 0);
	assert_int_equal(msr_host_set(vcpu, MSR_PLATFORM_INFO, 0xff00), 0);
	assert_reads(MSR_PLATFORM_INFO, 0xff00);
	assert_writes(MSR_MISC_FEATURES_ENABLES, 1);
	assert_gp(MSR_MISC_FEATURES_ENABLES, 2);
	assert_writes(MSR_DEBUGCTL, 3);
	assert_gp(MSR_DEBUGCTL, BIT(6));
	assert_gp(MSR_DEBUGCTL, 1ull << 63);
	assert_none(MSR_DR0_ADDR_MASK); /* the management guest's alone: not offered */
	assert_none(MSR_DR1_ADDR_MASK);
	assert_gp(MSR_HWCR, 1);
	assert_writes(MSR_HWCR, BIT(3) | BIT(8));
	assert_reads(MSR_HWCR, 0);
	assert_gp(MSR_SYSCFG, 0x740000);
	assert_reads(MSR_SYSCFG, 0);
	assert_reads(0xc0010058, 0);
	assert_writes(0xc0010058, 0);
	assert_gp(0xc0010058, 1);
	assert_gp(MSR_APIC_BASE, APIC_BASE_X2APIC);
	assert_gp(MSR_APIC_BASE, 1);
	assert_writes(MSR_APIC_BASE, 0xfee00c00);
	assert_writes(MSR_FS_BASE, 0x1000);
	assert_reads(MSR_FS_BASE, 0x1000);
	assert_reads(MSR_GS_BASE, 0);
}

/* MSRs of one vendor, and those of a CPUID bit. The VMM reads and writes them all the same. */
static void some_are_not_in_every_guest(void **state)
{
	static const u32 amd[] = {MSR_DE_CFG, MSR_VM_CR, MSR_OSVW_ID_LENGTH};
	static const u32 bit[] = {MSR_TSC_AUX, MSR_XSS, MSR_ARCH_CAPABILITIES};
	u64 value;

	for (u32 i = 0; i < ARRAY_SIZE(amd); i++) {
		assert_gp_read(amd[i]);
		assert_int_equal(msr_host_get(vcpu, amd[i], &value), 0);
		assert_int_equal(msr_host_set(vcpu, amd[i], value), 0);
	}
	for (u32 i = 0; i < ARRAY_SIZE(bit); i++) {
		assert_gp_read(bit[i]);
		assert_gp(bit[i], 0);
		assert_int_equal(msr_host_set(vcpu, bit[i], 0), 0);
	}
	assert_gp(MSR_IGNNE, 0);
	vendor(INTEL);
	for (u32 i = 0; i < ARRAY_SIZE(bit); i++)
		assert_reads(bit[i], 0);
	assert_writes(MSR_TSC_AUX, 0xffffffff);
	assert_gp(MSR_TSC_AUX, 1ull << 32);
	assert_reads(MSR_TSC_AUX, 0xffffffff);
	assert_writes(MSR_XSS, 0);
	assert_gp(MSR_XSS, 1);
	vendor(HYGON);
	assert_reads(MSR_DE_CFG, 2);
	vendor(AMD);
	assert_reads(MSR_DE_CFG, 2);
	assert_reads(MSR_VM_CR, VM_CR_SVMDIS | VM_CR_LOCK);
	assert_gp(MSR_VM_CR, 0);
	assert_writes(MSR_IGNNE, 0);
	assert_gp_read(MSR_IGNNE);
	assert_gp_read(MSR_FEATURE_CONTROL);
	assert_writes(MSR_TSC_AUX, 0x700000001);
	assert_reads(MSR_TSC_AUX, 1);
}

/* What Intel's kernels do at their start. */
static void intels_way_to_start(void **state)
{
	assert_reads(MSR_FEATURE_CONTROL, 0);
	assert_gp(MSR_FEATURE_CONTROL, BIT(2)); /* VMX is not there */
	assert_writes(MSR_FEATURE_CONTROL, 0);
	assert_writes(MSR_FEATURE_CONTROL, 1);
	assert_reads(MSR_FEATURE_CONTROL, 1);
	assert_gp(MSR_FEATURE_CONTROL, 1); /* locked */
	assert_int_equal(msr_host_set(vcpu, MSR_FEATURE_CONTROL, 0), 0);
	assert_int_equal(msr_host_set(vcpu, MSR_BIOS_SIGN_ID, 0x100000000), 0);
	assert_writes(MSR_BIOS_SIGN_ID, 0);
	assert_reads(MSR_BIOS_SIGN_ID, 0x100000000);
}

static bool in_list(u32 (*get)(u32 *out, u32 max), u32 index)
{
	u32 list[128], count = get(list, ARRAY_SIZE(list));

	for (u32 i = 0; i < count; i++)
		if (list[i] == index)
			return true;
	return false;
}

static void lists_follow_the_processor(void **state)
{
	u64 value;

	assert_true(in_list(msr_list, MSR_FEATURE_CONTROL));
	assert_true(in_list(msr_feature_list, MSR_DE_CFG));
	fake_msr_faults(MSR_FEATURE_CONTROL, true); /* AMD */
	assert_false(in_list(msr_list, MSR_FEATURE_CONTROL));
	fake_msr_faults(MSR_DE_CFG, true); /* Intel */
	assert_false(in_list(msr_feature_list, MSR_DE_CFG));
	assert_int_equal(msr_feature_get(MSR_DE_CFG, &value), -EINVAL);
}

static int device_read(struct bus_device *d, struct vcpu *v, u64 offset, u32 size, u64 *value)
{
	*value = 0x100 + offset;
	return offset == 3 ? -EINVAL : offset == 0x1b ? -EOPNOTSUPP : 0;
}

static u64 device_value;

static int device_write(struct bus_device *d, struct vcpu *v, u64 offset, u32 size, u64 value)
{
	device_value = value;
	return offset == 3 ? -EINVAL : 0;
}

static void devices_come_first(void **state)
{
	static struct bus_device x2apic = {0x800, 0x100, device_read, device_write};
	u64 value;

	assert_int_equal(bus_add(&machine_vm->msrs, &x2apic), 0);
	assert_reads(0x830, 0x130);
	assert_writes(0x830, 9);
	assert_int_equal(device_value, 9);
	assert_gp_read(0x803);
	assert_gp(0x803, 0);
	assert_int_equal(msr_read(vcpu, 0x81b, &value), -ENOENT);
	assert_none(0x900);
}

/* Stored, each with its reserved bits; not a guest's whose CPUID lacks the feature, if asked for.
 */
static void paravirtual_msrs(void **state)
{
	static const struct {
		u32 index, feature;
		u64 good, bad;
	} all[] = {{MSR_KVM_ASYNC_PF_EN, KVM_FEATURE_ASYNC_PF, 0x1009, 0x1011},
		   {MSR_KVM_STEAL_TIME, KVM_FEATURE_STEAL_TIME, 0x1041, 0x1021},
		   {MSR_KVM_PV_EOI_EN, KVM_FEATURE_PV_EOI, 0x1005, 0x1003}};

	for (u32 i = 0; i < ARRAY_SIZE(all); i++) {
		assert_true(in_list(msr_list, all[i].index));
		assert_reads(all[i].index, 0);
		assert_gp(all[i].index, all[i].bad);
		assert_writes(all[i].index, all[i].good);
		assert_reads(all[i].index, all[i].good);
		vcpu->enforce_cpuid = true;
		assert_gp(all[i].index, all[i].good);
		assert_gp_read(all[i].index);
		vcpu->paravirtual = 1u << all[i].feature;
		assert_writes(all[i].index, all[i].good);
		vcpu->paravirtual = 0;
		vcpu->enforce_cpuid = false;
	}
}

static struct cpuid_regs processor;

static struct cpuid_regs its_vendor(u32 leaf, u32 subleaf)
{
	return processor;
}

/* What the processor says; of AMD's, which say nothing, what is true of all. */
static void arch_capabilities_follow_the_processor(void **state)
{
	u64 value;

	fake_cpuid = its_vendor;
	processor.ebx = 0x756e6547; /* "Genu"ineIntel */
	fake_msr_set(MSR_ARCH_CAPABILITIES, ~0ull);
	assert_int_equal(msr_feature_get(MSR_ARCH_CAPABILITIES, &value), 0);
	assert_int_equal(value, 0xe17f);
	fake_msr_faults(MSR_ARCH_CAPABILITIES, true);
	assert_int_equal(msr_feature_get(MSR_ARCH_CAPABILITIES, &value), 0);
	assert_int_equal(value, 0);
	processor.ebx = 0x68747541; /* "Auth"enticAMD */
	assert_int_equal(msr_feature_get(MSR_ARCH_CAPABILITIES, &value), 0);
	assert_int_equal(value, 0x69);
	fake_cpuid = NULL;
}

static void feature_msrs(void **state)
{
	u32 list[8], count = msr_feature_list(list, ARRAY_SIZE(list));
	u64 value;

	assert_in_range(count, 1, ARRAY_SIZE(list));
	fake_msr_set(MSR_BIOS_SIGN_ID, 0x1234);
	for (u32 i = 0; i < count; i++)
		assert_int_equal(msr_feature_get(list[i], &value), 0);
	assert_int_equal(msr_feature_get(MSR_BIOS_SIGN_ID, &value), 0);
	assert_int_equal(value, 0x1234);
	fake_msr_faults(MSR_BIOS_SIGN_ID, true);
	assert_int_equal(msr_feature_get(MSR_BIOS_SIGN_ID, &value), 0);
	assert_int_equal(value, 0);
	assert_int_equal(msr_feature_get(MSR_DE_CFG, &value), 0);
	assert_int_equal(value, 2);
	assert_int_equal(msr_feature_get(MSR_TSC, &value), -EINVAL);
	assert_int_equal(msr_feature_get(0x345, &value), -EINVAL);
}

static void the_exits(void **state)
{
	vcpu->v.gpr[GPR_RCX] = MSR_PAT;
	vcpu->v.gpr[GPR_RAX] = vcpu->v.gpr[GPR_RDX] = ~0ull;
	run_insn(EXIT_RDMSR, 2);
	assert_int_equal(vcpu->v.gpr[GPR_RAX], 0x00070406);
	assert_int_equal(vcpu->v.gpr[GPR_RDX], 0x00070406);
	assert_int_equal(vcpu->v.rip, CODE + 2);
	vcpu->v.gpr[GPR_RAX] = 0xffffffff06060606;
	vcpu->v.gpr[GPR_RDX] = 0xffffffff04040404;
	run_insn(EXIT_WRMSR, 2);
	assert_int_equal(reg(VREG_PAT), 0x0404040406060606);
	vcpu->v.gpr[GPR_RCX] = 0x12345678;
	run_insn(EXIT_WRMSR, 2);
	assert_exception(VECTOR_GP);
	assert_true(last_event().has_error);
	assert_int_equal(last_event().error, 0);
	run_insn(EXIT_RDMSR, 2);
	assert_int_equal(events_delivered(), 2);
	assert_int_equal(vcpu->v.rip, CODE + 4);
	assert_int_equal(vcpu->v.gpr[GPR_RAX], 0xffffffff06060606);
}

/* FILTERED is denied to read and to write, the next one only to read, others by default. */
#define FILTERED MSR_STAR

static struct msr_filter some_filter(bool deny)
{
	static const u8 none[1], second[1] = {2};

	return (struct msr_filter){
		.count = 2,
		.default_deny = deny,
		.range = {{FILTERED, 2, MSR_READ, none}, {FILTERED, 2, MSR_WRITE, second}},
	};
}

static void the_first_range_decides(void **state)
{
	static const u8 all[1] = {0xff};
	struct msr_filter filter = some_filter(false);

	assert_true(msr_allowed(NULL, FILTERED, MSR_READ));
	assert_false(msr_allowed(&filter, FILTERED, MSR_READ));
	assert_false(msr_allowed(&filter, FILTERED + 1, MSR_READ));
	assert_false(msr_allowed(&filter, FILTERED, MSR_WRITE));
	assert_true(msr_allowed(&filter, FILTERED + 1, MSR_WRITE));
	assert_true(msr_allowed(&filter, FILTERED - 1, MSR_READ));
	assert_true(msr_allowed(&filter, FILTERED + 2, MSR_READ));
	filter.default_deny = true;
	assert_false(msr_allowed(&filter, FILTERED - 1, MSR_READ));
	assert_true(msr_allowed(&filter, FILTERED + 1, MSR_WRITE));
	/* The APIC's are not filtered. */
	assert_true(msr_allowed(&filter, 0x800, MSR_WRITE));
	assert_true(msr_allowed(&filter, 0x8ff, MSR_READ));
	assert_false(msr_allowed(&filter, 0x900, MSR_READ));
	filter.range[2] = (struct msr_filter_range){FILTERED, 2, MSR_READ | MSR_WRITE, all};
	filter.count = 3;
	assert_false(msr_allowed(&filter, FILTERED, MSR_READ));
	filter.range[0] = (struct msr_filter_range){0xfffffffe, 5, MSR_READ, all};
	assert_true(msr_allowed(&filter, 0xffffffff, MSR_READ));
	assert_false(msr_allowed(&filter, 2, MSR_READ)); /* nothing wraps */
}

static void what_is_filtered_exits(void **state)
{
	struct msr_filter filter = some_filter(false), deny = some_filter(true);
	struct virt_vm *v = &machine_vm->virt;
	u64 value;

	assert_null(msr_filter_replace(machine_vm, &filter));
	assert_true(fake_msr_intercepted(v, FILTERED, false));
	assert_true(fake_msr_intercepted(v, FILTERED, true));
	assert_true(fake_msr_intercepted(v, FILTERED + 1, false));
	assert_false(fake_msr_intercepted(v, FILTERED + 1, true));
	assert_false(fake_msr_intercepted(v, MSR_FS_BASE, true));
	assert_int_equal(msr_read(vcpu, FILTERED, &value), -EACCES);
	assert_int_equal(msr_write(vcpu, FILTERED, 0), -EACCES);
	assert_int_equal(msr_write(vcpu, FILTERED + 1, 0), 0);
	/* The VMM itself may. */
	assert_int_equal(msr_host_get(vcpu, FILTERED, &value), 0);
	assert_ptr_equal(msr_filter_replace(machine_vm, &deny), &filter);
	assert_true(fake_msr_intercepted(v, MSR_FS_BASE, true));
	assert_int_equal(msr_read(vcpu, MSR_PAT, &value), -EACCES);
	assert_ptr_equal(msr_filter_replace(machine_vm, NULL), &deny);
	assert_false(fake_msr_intercepted(v, FILTERED, false));
	assert_false(fake_msr_intercepted(v, MSR_FS_BASE, true));
}

static void exit_to_vmm(enum exit_reason reason, u32 index, u32 why)
{
	fake_push_exit(&(struct vm_exit){.reason = reason, .insn_len = 2});
	vcpu->v.gpr[GPR_RCX] = index;
	assert_int_equal(vcpu_run(vcpu, cpus[0], NO_DEADLINE), RUN_USER);
	assert_int_equal(vcpu->exit.reason, reason == EXIT_RDMSR ? USER_RDMSR : USER_WRMSR);
	assert_int_equal(vcpu->exit.msr.index, index);
	assert_int_equal(vcpu->exit.msr.why, why);
	assert_int_equal(vcpu->v.rip, CODE);
	vcpu->exit.msr.refused = false;
}

static void the_vmm_answers(void **state)
{
	struct msr_filter filter = some_filter(false);

	msr_filter_replace(machine_vm, &filter);
	machine_vm->msr_exits = MSR_EXIT_UNKNOWN | MSR_EXIT_FILTER;
	exit_to_vmm(EXIT_RDMSR, 0x12345678, MSR_EXIT_UNKNOWN);
	assert_int_equal(vcpu->exit.msr.data, 0);
	vcpu->exit.msr.data = 0x1122334455667788;
	assert_false(vcpu_complete_exit(vcpu));
	assert_int_equal(vcpu->v.gpr[GPR_RAX], 0x55667788);
	assert_int_equal(vcpu->v.gpr[GPR_RDX], 0x11223344);
	assert_int_equal(vcpu->v.rip, CODE + 2);
	vcpu->v.rip = CODE;
	exit_to_vmm(EXIT_WRMSR, FILTERED, MSR_EXIT_FILTER);
	assert_int_equal(vcpu->exit.msr.data, 0x1122334455667788);
	vcpu->exit.msr.data = 0;
	assert_false(vcpu_complete_exit(vcpu));
	assert_int_equal(vcpu->v.gpr[GPR_RAX], 0x55667788);
	assert_int_equal(vcpu->v.rip, CODE + 2);
	vcpu->v.rip = CODE;
	/* Refused: #GP at the instruction. */
	exit_to_vmm(EXIT_RDMSR, FILTERED, MSR_EXIT_FILTER);
	vcpu->exit.msr.refused = true;
	run_insn(EXIT_WBINVD, 2);
	assert_exception(VECTOR_GP);
	assert_int_equal(vcpu->v.gpr[GPR_RAX], 0x55667788);
	vcpu->v.rip = CODE;
	/* A reason that was not asked for stays #GP. */
	vcpu->v.gpr[GPR_RCX] = MSR_MTRRCAP;
	run_insn(EXIT_WRMSR, 2);
	assert_exception(VECTOR_GP);
	machine_vm->msr_exits = MSR_EXIT_INVALID;
	exit_to_vmm(EXIT_WRMSR, MSR_MTRRCAP, MSR_EXIT_INVALID);
	machine_vm->msr_filter = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(addresses_must_be_canonical, setup),
		cmocka_unit_test_setup(those_that_pass_do_not_exit, setup),
		cmocka_unit_test_setup(syscall_msrs_are_told, setup),
		cmocka_unit_test_setup(unknown_numbers_fault, setup),
		cmocka_unit_test_setup(every_listed_one_takes_its_reset_value, setup),
		cmocka_unit_test_setup(what_vmms_always_write_is_taken, setup),
		cmocka_unit_test_setup(memory_types_are_checked, setup),
		cmocka_unit_test_setup(variable_ranges_are_checked, setup),
		cmocka_unit_test_setup(machine_check_banks, setup),
		cmocka_unit_test_setup(efer_rules, setup),
		cmocka_unit_test_setup(speculation_needs_cpuid, setup),
		cmocka_unit_test_setup(speculation_bits_are_the_processors, setup),
		cmocka_unit_test_setup(the_tsc_and_its_adjustment, setup),
		cmocka_unit_test_setup(tscs_of_a_vm_agree, setup),
		cmocka_unit_test_setup(tscs_at_a_rate_of_their_own, setup),
		cmocka_unit_test_setup(offsets_that_the_vmm_restores, setup),
		cmocka_unit_test_setup(small_ones, setup),
		cmocka_unit_test_setup(devices_come_first, setup),
		cmocka_unit_test_setup(paravirtual_msrs, setup),
		cmocka_unit_test_setup(arch_capabilities_follow_the_processor, setup),
		cmocka_unit_test_setup(feature_msrs, setup),
		cmocka_unit_test_setup(some_are_not_in_every_guest, setup),
		cmocka_unit_test_setup(intels_way_to_start, setup),
		cmocka_unit_test_setup(lists_follow_the_processor, setup),
		cmocka_unit_test_setup(the_exits, setup),
		cmocka_unit_test_setup(the_first_range_decides, setup),
		cmocka_unit_test_setup(what_is_filtered_exits, setup),
		cmocka_unit_test_setup(the_vmm_answers, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
