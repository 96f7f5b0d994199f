// SPDX-License-Identifier: MIT
/* Registers and segments: every field's place in the VMCS, and what is beside it. */
#include "tests/unit/vmx.h"

struct plain {
	enum virt_reg reg;
	u32 field; /* its encoding */
	u64 value;
};

static const struct plain plain[] = {
	{VREG_RFLAGS, 0x6820, 0x202},
	{VREG_CR3, 0x6802, 0x123456789000},
	{VREG_DR7, 0x681a, 0x455},
	{VREG_PAT, 0x2804, 0x0007040600070401},
	{VREG_DEBUGCTL, 0x2802, 2},
	{VREG_EFER, 0x2806, EFER_SCE | EFER_NXE},
	{VREG_SYSENTER_CS, 0x482a, 0x10},
	{VREG_SYSENTER_ESP, 0x6824, 0xffff800000001000},
	{VREG_SYSENTER_EIP, 0x6826, 0xffff800000002000},
	{VREG_TSC_OFFSET, 0x2010, -5ull},
	{VREG_PDPTE0, 0x280a, 0x1001},
	{VREG_PDPTE1, 0x280c, 0x2001},
	{VREG_PDPTE2, 0x280e, 0x3001},
	{VREG_PDPTE3, 0x2810, 0x4001},
};

static void plain_fields(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(plain); i++) {
		vmx_set(&vcpu, plain[i].reg, plain[i].value);
		assert_int_equal(field(plain[i].field), plain[i].value);
		put_field(plain[i].field, plain[i].value + 1);
		assert_int_equal(vmx_get(&vcpu, plain[i].reg), plain[i].value + 1);
	}
}

static void child_cr0(void **state)
{
	u64 mask = field(0x6000);

	assert_int_equal(mask, ~(u64)(CR0_TS | CR0_MP));
	vmx_set(&vcpu, VREG_CR0, CR0_ET | CR0_CD | CR0_NW);
	assert_int_equal(vmx_get(&vcpu, VREG_CR0), CR0_ET | CR0_CD | CR0_NW);
	assert_int_equal(field(0x6004), CR0_ET | CR0_CD | CR0_NW);
	/* Unrestricted: PE and PG stay clear; NE does not. */
	assert_int_equal(field(0x6800) & (CR0_PE | CR0_PG | CR0_NE), CR0_NE);
	put_field(0x6800, field(0x6800) | CR0_TS | CR0_MP); /* the guest's own write */
	assert_int_equal(vmx_get(&vcpu, VREG_CR0), CR0_ET | CR0_CD | CR0_NW | CR0_TS | CR0_MP);
	vmx_set(&vcpu, VREG_CR0, CR0_PE | CR0_PG | CR0_WP);
	assert_int_equal(field(0x6800), CR0_PE | CR0_PG | CR0_WP | CR0_NE);
}

/* The caches are the processor's: a child does not switch them off, the management guest does. */
static void caches(void **state)
{
	fake_cr[0] = CR0_PE | CR0_PG | CR0_NE;
	vmx_load(&vcpu, &cpu0);
	vmx_set(&vcpu, VREG_CR0, CR0_PE | CR0_CD);
	assert_int_equal(fake_cr[0], CR0_PE | CR0_PG | CR0_NE);
	free_vcpu();
	make_vcpu(VIRT_MANAGEMENT);
	fake_cr[0] = CR0_PE | CR0_PG | CR0_NE | CR0_NW | CR0_CD;
	vmx_set(&vcpu, VREG_CR0, CR0_PE); /* not on a processor yet */
	assert_int_equal(fake_cr[0], CR0_PE | CR0_PG | CR0_NE | CR0_NW | CR0_CD);
	vmx_load(&vcpu, &cpu0);
	vmx_set(&vcpu, VREG_CR0, CR0_PE | CR0_CD);
	assert_int_equal(fake_cr[0], CR0_PE | CR0_PG | CR0_NE | CR0_CD);
	vmx_set(&vcpu, VREG_CR0, CR0_PE);
	assert_int_equal(fake_cr[0], CR0_PE | CR0_PG | CR0_NE);
}

static void management_cr0(void **state)
{
	assert_int_equal(field(0x6000), CR0_NE); /* what VMX fixes */
	vmx_set(&vcpu, VREG_CR0, CR0_ET | CR0_CD);
	assert_int_equal(vmx_get(&vcpu, VREG_CR0), CR0_ET | CR0_CD);
	assert_int_equal(field(0x6800), CR0_ET | CR0_CD | CR0_NE);
	put_field(0x6800, CR0_PE | CR0_PG | CR0_NE); /* the guest's own write */
	assert_int_equal(vmx_get(&vcpu, VREG_CR0), CR0_PE | CR0_PG);
}

static void child_cr4(void **state)
{
	vmx_set(&vcpu, VREG_CR4, CR4_PAE);
	assert_int_equal(field(0x6002), ~0ull);
	assert_int_equal(field(0x6804), CR4_PAE | CR4_VMXE | CR4_MCE);
	assert_int_equal(field(0x6006), CR4_PAE);
	assert_int_equal(vmx_get(&vcpu, VREG_CR4), CR4_PAE);
	vmx_set(&vcpu, VREG_CR4, CR4_PAE | CR4_MCE | CR4_SMXE | CR4_VMXE);
	assert_int_equal(field(0x6804), CR4_PAE | CR4_VMXE | CR4_MCE);
	assert_int_equal(vmx_get(&vcpu, VREG_CR4), CR4_PAE | CR4_MCE);
}

static void management_cr4(void **state)
{
	assert_int_equal(field(0x6002), CR4_VMXE | CR4_SMXE);
	vmx_set(&vcpu, VREG_CR4, CR4_PAE | CR4_VMXE | CR4_SMXE);
	assert_int_equal(field(0x6804), CR4_PAE | CR4_VMXE);
	assert_int_equal(vmx_get(&vcpu, VREG_CR4), CR4_PAE);
	put_field(0x6804, CR4_PAE | CR4_VMXE | CR4_PGE); /* the guest's own write */
	assert_int_equal(vmx_get(&vcpu, VREG_CR4), CR4_PAE | CR4_PGE);
}

/* "IA-32e mode guest" is LMA, also where the guest changed it by itself. */
static void efer(void **state)
{
	u32 others = field(0x4012);

	assert_false(others & VMENTRY_IA32E);
	vmx_set(&vcpu, VREG_EFER, EFER_LME);
	assert_int_equal(field(0x4012), others);
	vmx_set(&vcpu, VREG_EFER, EFER_LME | EFER_LMA);
	assert_int_equal(field(0x4012), others | VMENTRY_IA32E);
	assert_int_equal(vmx_of(&vcpu)->entry, others | VMENTRY_IA32E);
	assert_int_equal(vmx_get(&vcpu, VREG_EFER), EFER_LME | EFER_LMA);
	vmx_set(&vcpu, VREG_EFER, 0);
	assert_int_equal(field(0x4012), others);
	put_field(0x4012, others | VMENTRY_IA32E); /* an exit stored the guest's LMA */
	vmx_set(&vcpu, VREG_EFER, EFER_LME);
	assert_int_equal(field(0x4012), others);
}

static void child_cr8(void **state)
{
	struct vmx_vcpu *x = vmx_of(&vcpu);

	vmx_set(&vcpu, VREG_CR8, 0x19);
	assert_int_equal(x->virtual_apic[0x80], 0x90);
	assert_int_equal(vcpu.cr8, 9);
	x->virtual_apic[0x80] = 0x3f;
	assert_int_equal(vmx_get(&vcpu, VREG_CR8), 3);
	x->virtual_apic = NULL; /* no TPR shadow: its accesses exit */
	vmx_set(&vcpu, VREG_CR8, 7);
	assert_int_equal(vmx_get(&vcpu, VREG_CR8), 7);
	assert_int_equal(fake_cr[8], 0);
}

static void management_cr8(void **state)
{
	vmx_set(&vcpu, VREG_CR8, 4);
	assert_int_equal(fake_cr[8], 4);
	fake_cr[8] = 6;
	assert_int_equal(vmx_get(&vcpu, VREG_CR8), 6);
}

static void cr2(void **state)
{
	vmx_set(&vcpu, VREG_CR2, 0x1000);
	assert_int_equal(vmx_get(&vcpu, VREG_CR2), 0x1000);
	assert_int_equal(fake_cr[2], 0);
	vmx_load(&vcpu, &cpu0);
	assert_int_equal(fake_cr[2], 0x1000);
	fake_cr[2] = 0x2000;
	assert_int_equal(vmx_get(&vcpu, VREG_CR2), 0x2000);
	vmx_set(&vcpu, VREG_CR2, 0x3000);
	assert_int_equal(fake_cr[2], 0x3000);
	vmx_put(&vcpu);
	assert_int_equal(vmx_get(&vcpu, VREG_CR2), 0x3000);
}

/* With DR0 to DR3: on the processor while this vCPU owns them. */
static void dr6(void **state)
{
	fake_dr[6] = 0x77;
	vmx_set(&vcpu, VREG_DR6, DR6_INIT | BIT(40));
	assert_int_equal(vmx_get(&vcpu, VREG_DR6), DR6_INIT);
	assert_int_equal(fake_dr[6], 0x77);
	vmx_load(&vcpu, &cpu0);
	assert_int_equal(vmx_get(&vcpu, VREG_DR6), DR6_INIT); /* not taken yet */
	vmx_set(&vcpu, VREG_DR6, DR6_INIT | DR6_B0);
	assert_int_equal(fake_dr[6], 0x77);
	cpu0.dr_owner = &vcpu;
	fake_dr[6] = DR6_INIT | DR6_B1;
	assert_int_equal(vmx_get(&vcpu, VREG_DR6), DR6_INIT | DR6_B1);
	vmx_set(&vcpu, VREG_DR6, DR6_INIT | DR6_BS | BIT(40));
	assert_int_equal(fake_dr[6], DR6_INIT | DR6_BS);
}

static const struct {
	enum virt_reg reg;
	u32 msr;
} switched[] = {
	{VREG_STAR, 0xc0000081},   {VREG_LSTAR, 0xc0000082},	      {VREG_CSTAR, 0xc0000083},
	{VREG_SFMASK, 0xc0000084}, {VREG_KERNEL_GS_BASE, 0xc0000102},
};

static void msrs(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(switched); i++) {
		fake_msr_set(switched[i].msr, 99);
		vmx_set(&vcpu, switched[i].reg, 0x1000 + i);
		assert_int_equal(vmx_get(&vcpu, switched[i].reg), 0x1000 + i);
		assert_int_equal(fake_msr_get(switched[i].msr), 99);
	}
	vmx_load(&vcpu, &cpu0);
	for (size_t i = 0; i < ARRAY_SIZE(switched); i++) {
		assert_int_equal(fake_msr_get(switched[i].msr), 0x1000 + i);
		fake_msr_set(switched[i].msr, 0x2000 + i); /* the guest's own write */
		assert_int_equal(vmx_get(&vcpu, switched[i].reg), 0x2000 + i);
		vmx_set(&vcpu, switched[i].reg, 0x3000 + i);
		assert_int_equal(fake_msr_get(switched[i].msr), 0x3000 + i);
		assert_int_equal(vmx_of(&vcpu)->msrs[i], 0x3000 + i);
	}
	vmx_set(&vcpu, VREG_SFMASK, 0x1234500000300);
	assert_int_equal(fake_msr_get(0xc0000084), 0x300); /* else WRMSR faults */
}

static void interrupt_shadow(void **state)
{
	put_field(0x4824, BLOCKED_BY_NMI);
	vcpu.quiet = true;
	vmx_set(&vcpu, VREG_INT_SHADOW, 1);
	assert_false(vcpu.quiet);
	assert_int_equal(field(0x4824), BLOCKED_BY_NMI | BLOCKED_BY_MOV_SS);
	assert_int_equal(vmx_get(&vcpu, VREG_INT_SHADOW), 1);
	put_field(0x6822, DR6_BS | DR6_B2);
	vmx_set(&vcpu, VREG_INT_SHADOW, 0);
	assert_int_equal(field(0x4824), BLOCKED_BY_NMI);
	assert_int_equal(field(0x6822), DR6_B2); /* core/ raises the single step itself */
	put_field(0x6822, DR6_BS);
	vmx_set(&vcpu, VREG_INT_SHADOW, 0);
	assert_int_equal(field(0x6822), DR6_BS); /* there was none */
	put_field(0x4824, BLOCKED_BY_STI);
	assert_int_equal(vmx_get(&vcpu, VREG_INT_SHADOW), 1);
	vmx_set(&vcpu, VREG_INT_SHADOW, 1); /* never both */
	assert_int_equal(field(0x4824), BLOCKED_BY_MOV_SS);
	put_field(0x4824, BLOCKED_BY_STI);
	vmx_set(&vcpu, VREG_INT_SHADOW, 0);
	assert_int_equal(field(0x4824), 0);
}

static void nmi_masking(void **state)
{
	put_field(0x4824, BLOCKED_BY_STI);
	assert_int_equal(vmx_get(&vcpu, VREG_NMI_MASKED), 0);
	vmx_set(&vcpu, VREG_NMI_MASKED, 1);
	assert_int_equal(field(0x4824), BLOCKED_BY_STI | BLOCKED_BY_NMI);
	assert_int_equal(vmx_get(&vcpu, VREG_NMI_MASKED), 1);
	vmx_set(&vcpu, VREG_NMI_MASKED, 0);
	assert_int_equal(field(0x4824), BLOCKED_BY_STI);
}

static void flags_of_a_child(void **state)
{
	vcpu.quiet = true;
	vmx_set(&vcpu, VREG_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
	assert_false(vcpu.quiet);
	assert_int_equal(vcpu.rflags, RFLAGS_ONE | RFLAGS_IF);
}

/* It halts without an exit: INIT and SIPI find it there, and it must not go on halting. */
static void flags_wake_the_management_guest(void **state)
{
	put_field(0x4826, ACTIVITY_HLT);
	vmx_set(&vcpu, VREG_CR3, 0);
	assert_int_equal(field(0x4826), ACTIVITY_HLT);
	vmx_set(&vcpu, VREG_RFLAGS, RFLAGS_ONE);
	assert_int_equal(field(0x4826), ACTIVITY_ACTIVE);
	assert_int_equal(vcpu.rflags, 0); /* no hint without CR8 */
}

/* ---- segments ---- */

static void segment_places(void **state)
{
	static const u16 bases[SEG_COUNT] = {0x6806, 0x6808, 0x680a, 0x680c, 0x680e,
					     0x6810, 0x6812, 0x6814, 0x6816, 0x6818};
	static const u16 limits[SEG_COUNT] = {0x4800, 0x4802, 0x4804, 0x4806, 0x4808,
					      0x480a, 0x480c, 0x480e, 0x4810, 0x4812};

	for (u32 i = 0; i < SEG_COUNT; i++) {
		u16 attr = i == SEG_TR ? 0xb : i == SEG_LDTR ? 2 : SEG_S | 3;
		struct segment in = {.selector = 0x10 + 8 * i,
				     .attr = SEG_P | attr,
				     .limit = 0x1fff + 0x1000 * i,
				     .base = 0x1000 * i + 1};
		struct segment out = {0};

		vmx_set_segment(&vcpu, i, &in);
		assert_int_equal(field(bases[i]), in.base);
		assert_int_equal(field(limits[i]), in.limit);
		if (i < SEG_GDTR) {
			assert_int_equal(field(0x800 + 2 * i), in.selector);
			assert_int_equal(field(0x4814 + 2 * i), in.attr);
		} else {
			in.selector = in.attr = 0;
		}
		vmx_get_segment(&vcpu, i, &out);
		assert_memory_equal(&in, &out, sizeof(in));
	}
}

static u32 access_of(enum seg seg, u16 attr, u32 limit)
{
	struct segment s = {.attr = attr, .limit = limit};

	vmx_set_segment(&vcpu, seg, &s);
	return field(0x4814 + 2 * seg);
}

static void access_rights(void **state)
{
	struct segment s;

	assert_int_equal(access_of(SEG_CS, SEG_P | SEG_S | SEG_L | SEG_G | 0xb, ~0u), 0xa09b);
	vmx_get_segment(&vcpu, SEG_CS, &s);
	assert_int_equal(s.attr, SEG_P | SEG_S | SEG_L | SEG_G | 0xb);
	assert_int_equal(access_of(SEG_DS, SEG_P | SEG_S | SEG_DB | SEG_AVL | SEG_DPL | 3, 0xfff),
			 0x50f3);
	/* What a descriptor in memory need not show of a segment in use. */
	assert_int_equal(access_of(SEG_CS, SEG_P | SEG_S | 0xa, 0xffff), 0x9b);
	assert_int_equal(access_of(SEG_SS, SEG_P | SEG_S | 2, 0xffff), 0x93);
	assert_int_equal(access_of(SEG_LDTR, SEG_P | 2, 0xffff), 0x82);
}

static void granularity(void **state)
{
	assert_int_equal(access_of(SEG_DS, SEG_P | SEG_S | SEG_G | 3, 0xffff), 0x8093);
	assert_int_equal(access_of(SEG_DS, SEG_P | SEG_S | SEG_G | 3, 0xfffe), 0x93);
	assert_int_equal(access_of(SEG_DS, SEG_P | SEG_S | 3, 0xffffffff), 0x8093);
	assert_int_equal(access_of(SEG_DS, SEG_P | SEG_S | 3, 0x12345678), 0x8093);
	assert_int_equal(field(0x4806), 0x12345fff); /* nothing smaller can be expressed */
	assert_int_equal(access_of(SEG_DS, SEG_P | SEG_S | 3, 0xfffff), 0x93);
	assert_int_equal(access_of(SEG_GDTR, 0, 0x1ffff), field(0x4814 + 2 * SEG_GDTR));
	assert_int_equal(field(0x4810), 0xffff);
}

static void unusable(void **state)
{
	struct segment s;

	for (u32 seg = SEG_ES; seg <= SEG_LDTR; seg++) {
		if (seg == SEG_CS)
			continue;
		assert_int_equal(access_of(seg, SEG_S | SEG_G | 3, 0), 0x10000);
		vmx_get_segment(&vcpu, seg, &s);
		assert_int_equal(s.attr, 0);
	}
	assert_int_equal(access_of(SEG_SS, SEG_DPL | 3, 0), 0x10060); /* the privilege level */
	assert_int_equal(vmx_get(&vcpu, VREG_CPL), 3);
	vmx_get_segment(&vcpu, SEG_SS, &s);
	assert_int_equal(s.attr, SEG_DPL);
	/* What the processor leaves beside the unusable bit says nothing. */
	put_field(0x4814, 0x1c093);
	vmx_get_segment(&vcpu, SEG_ES, &s);
	assert_int_equal(s.attr, 0);
}

/* The entry checks refuse both as unusable. */
static void always_usable(void **state)
{
	assert_int_equal(access_of(SEG_TR, 0, 0x67), 0x8b);
	assert_int_equal(field(0x480e), 0x67);
	assert_int_equal(access_of(SEG_CS, 0, 0xffff), 0x9f); /* conforming: each CPL may */
	assert_int_equal(field(0x4802), 0);		      /* and no instruction is inside */
}

static void task_register(void **state)
{
	assert_int_equal(access_of(SEG_TR, SEG_P | 9, 0x67), 0x8b); /* busy: it is in use */
	assert_int_equal(access_of(SEG_TR, SEG_P | 1, 0x2b), 0x83);
	assert_int_equal(access_of(SEG_TR, SEG_P | 3, 0x2b), 0x83);
	assert_int_equal(access_of(SEG_TR, SEG_P | SEG_S | 3, 0x2b), 0x8b);
	assert_int_equal(access_of(SEG_TR, SEG_P, 0x2b), 0x8b);
	access_of(SEG_TR, SEG_P | 3, 0x2b);
	vmx_set(&vcpu, VREG_EFER, EFER_LME | EFER_LMA); /* none of 16 bits in IA-32e mode */
	assert_int_equal(field(0x4822), 0x8b);
	assert_int_equal(access_of(SEG_TR, SEG_P | 3, 0x2b), 0x8b);
}

static void cpl(void **state)
{
	vmx_set(&vcpu, VREG_CPL, 3); /* read-only */
	assert_int_equal(vmx_get(&vcpu, VREG_CPL), 0);
	access_of(SEG_SS, SEG_P | SEG_S | 2 << 5 | 3, 0xffff);
	assert_int_equal(vmx_get(&vcpu, VREG_CPL), 2);
}

/* Whoever's VMCS is current: each access is to the vCPU's own. */
static void makes_its_vmcs_current(void **state)
{
	struct virt_vcpu other = {0};
	struct segment s;

	vmx_set(&vcpu, VREG_CR3, 0x1000);
	assert_int_equal(vmx_vcpu_init(&other, &vm, NULL), 0);
	vmx_set(&other, VREG_CR3, 0x2000);
	assert_int_equal(vmx_get(&vcpu, VREG_CR3), 0x1000);
	assert_int_equal(vmx_get(&other, VREG_CR3), 0x2000);
	access_of(SEG_FS, SEG_P | SEG_S | 3, 0xffff);
	vmx_get_segment(&other, SEG_FS, &s);
	assert_int_equal(s.attr, 0);
	vmx_get_segment(&vcpu, SEG_FS, &s);
	assert_int_equal(s.attr, SEG_P | SEG_S | 3);
	free(phys_ptr(other.hw_hpa));
}

#define CHILD(f)      cmocka_unit_test_setup_teardown(f, setup_child, teardown)
#define MANAGEMENT(f) cmocka_unit_test_setup_teardown(f, setup_management, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CHILD(plain_fields),
		CHILD(child_cr0),
		CHILD(caches),
		MANAGEMENT(management_cr0),
		CHILD(child_cr4),
		MANAGEMENT(management_cr4),
		CHILD(efer),
		CHILD(child_cr8),
		MANAGEMENT(management_cr8),
		CHILD(cr2),
		CHILD(dr6),
		CHILD(msrs),
		CHILD(interrupt_shadow),
		CHILD(nmi_masking),
		CHILD(flags_of_a_child),
		MANAGEMENT(flags_wake_the_management_guest),
		CHILD(segment_places),
		CHILD(access_rights),
		CHILD(granularity),
		CHILD(unusable),
		CHILD(always_usable),
		CHILD(task_register),
		CHILD(cpl),
		CHILD(makes_its_vmcs_current),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
