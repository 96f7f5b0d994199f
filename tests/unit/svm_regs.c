// SPDX-License-Identifier: MIT
/* Registers and segments: every field's place in the VMCB, its clean bit, and the VMLOAD group. */
#include "tests/unit/svm.h"

static u32 saves, loads;

void vmsave(hpa_t hpa)
{
	struct vmcb *b = phys_ptr(hpa);

	saves++;
	b->star = 0x5a5a; /* what was on the processor */
	b->fs.base = 0xf5f5;
}

void vmload(hpa_t hpa)
{
	loads++;
}

void svm_open_nmi(void)
{
}

void svm_sleep_nmi(void)
{
}

struct field {
	enum virt_reg reg;
	u32 offset, clean;
};

static const struct field fields[] = {
	{VREG_RFLAGS, 0x570, 0},
	{VREG_CR0, 0x558, BIT(5)},
	{VREG_CR2, 0x640, BIT(9)},
	{VREG_CR3, 0x550, BIT(5)},
	{VREG_CR4, 0x548, BIT(5)},
	{VREG_DR6, 0x568, BIT(6)},
	{VREG_DR7, 0x560, BIT(6)},
	{VREG_PAT, 0x668, BIT(4)},
	{VREG_DEBUGCTL, 0x670, BIT(10)},
	{VREG_TSC_OFFSET, 0x050, BIT(0)},
	{VREG_STAR, 0x600, DIRTY_EXTRA},
	{VREG_LSTAR, 0x608, DIRTY_EXTRA},
	{VREG_CSTAR, 0x610, DIRTY_EXTRA},
	{VREG_SFMASK, 0x618, DIRTY_EXTRA},
	{VREG_KERNEL_GS_BASE, 0x620, DIRTY_EXTRA},
	{VREG_SYSENTER_CS, 0x628, DIRTY_EXTRA},
	{VREG_SYSENTER_ESP, 0x630, DIRTY_EXTRA},
	{VREG_SYSENTER_EIP, 0x638, DIRTY_EXTRA},
};

static void plain_fields(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		u64 *place = (u64 *)((char *)vmcb + fields[i].offset);

		vcpu.dirty = 0;
		svm_set(&vcpu, fields[i].reg, 0x123456789abcdef0 + i);
		assert_int_equal(*place, 0x123456789abcdef0 + i);
		assert_int_equal(vcpu.dirty, fields[i].clean);
		assert_int_equal(svm_get(&vcpu, fields[i].reg), 0x123456789abcdef0 + i);
		vcpu.dirty = 0;
		svm_set(&vcpu, fields[i].reg, 0x123456789abcdef0 + i);
		assert_int_equal(vcpu.dirty, 0); /* unchanged */
	}
}

static void special_registers(void **state)
{
	vcpu.dirty = 0;
	svm_set(&vcpu, VREG_CR8, 9);
	assert_int_equal(vmcb->int_control, V_INTR_MASKING | 9);
	assert_int_equal(vcpu.dirty, CLEAN_TPR);
	assert_int_equal(svm_get(&vcpu, VREG_CR8), 9);

	vcpu.dirty = 0;
	svm_set(&vcpu, VREG_EFER, EFER_LME | EFER_NXE);
	assert_int_equal(vmcb->efer, EFER_LME | EFER_NXE | EFER_SVME);
	assert_int_equal(svm_get(&vcpu, VREG_EFER), EFER_LME | EFER_NXE);
	assert_int_equal(vcpu.dirty, CLEAN_CRX);

	vmcb->int_state = INT_STATE_GUEST_IF;
	svm_set(&vcpu, VREG_INT_SHADOW, 1);
	assert_int_equal(vmcb->int_state, INT_STATE_GUEST_IF | INT_STATE_SHADOW);
	assert_int_equal(svm_get(&vcpu, VREG_INT_SHADOW), 1);
	svm_set(&vcpu, VREG_INT_SHADOW, 0);
	assert_int_equal(svm_get(&vcpu, VREG_INT_SHADOW), 0);

	svm_set(&vcpu, VREG_NMI_MASKED, 1);
	assert_int_equal(svm_get(&vcpu, VREG_NMI_MASKED), 1);
	assert_true(intercepted(SVM_IRET));
	svm_set(&vcpu, VREG_NMI_MASKED, 0);
	assert_false(intercepted(SVM_IRET));

	svm_set(&vcpu, VREG_CPL, 3);
	assert_int_equal(svm_get(&vcpu, VREG_CPL), 0);
	for (u32 reg = VREG_PDPTE0; reg <= VREG_PDPTE3; reg++) {
		svm_set(&vcpu, reg, 7);
		assert_int_equal(svm_get(&vcpu, reg), 0);
	}
}

/* A machine check must exit, not shut down, whatever the child's CR4.MCE. */
static void machine_checks_stay_enabled(void **state)
{
	svm_set(&vcpu, VREG_CR4, CR4_PAE | CR4_MCE);
	assert_false(intercepted(SVM_CR_READ + 4));
	vcpu.dirty = 0;
	svm_set(&vcpu, VREG_CR4, CR4_PAE);
	assert_int_equal(vmcb->cr4, CR4_PAE | CR4_MCE);
	assert_int_equal(svm_get(&vcpu, VREG_CR4), CR4_PAE);
	assert_true(intercepted(SVM_CR_READ + 4));
	assert_int_equal(vcpu.dirty, CLEAN_INTERCEPTS);
	svm_set(&vcpu, VREG_CR4, CR4_MCE);
	assert_int_equal(svm_get(&vcpu, VREG_CR4), CR4_MCE);
	assert_false(intercepted(SVM_CR_READ + 4));
	free_vcpu();
	make_vcpu(VIRT_MANAGEMENT); /* its own, as on the hardware */
	svm_set(&vcpu, VREG_CR4, CR4_PAE);
	assert_int_equal(vmcb->cr4, CR4_PAE);
	assert_false(intercepted(SVM_CR_READ + 4));
}

static void segments(void **state)
{
	static const struct {
		u32 offset, clean;
	} places[SEG_COUNT] = {
		[SEG_ES] = {0x400, BIT(8)},	 [SEG_CS] = {0x410, BIT(8)},
		[SEG_SS] = {0x420, BIT(8)},	 [SEG_DS] = {0x430, BIT(8)},
		[SEG_FS] = {0x440, DIRTY_EXTRA}, [SEG_GS] = {0x450, DIRTY_EXTRA},
		[SEG_GDTR] = {0x460, BIT(7)},	 [SEG_LDTR] = {0x470, DIRTY_EXTRA},
		[SEG_IDTR] = {0x480, BIT(7)},	 [SEG_TR] = {0x490, DIRTY_EXTRA},
	};

	for (u32 i = 0; i < SEG_COUNT; i++) {
		bool table = i >= SEG_GDTR;
		struct segment in = {.selector = 0x10 + i,
				     .attr = SEG_P | SEG_S | 3,
				     .limit = 0xffff,
				     .base = 0x1000 * i + 1};
		struct segment out;
		struct vmcb_segment *s = (void *)((char *)vmcb + places[i].offset);

		vcpu.dirty = 0;
		svm_set_segment(&vcpu, i, &in);
		assert_int_equal(vcpu.dirty, places[i].clean);
		assert_int_equal(s->base, in.base);
		assert_int_equal(s->limit, in.limit);
		assert_int_equal(s->selector, table ? 0 : in.selector);
		assert_int_equal(s->attr, table ? 0 : in.attr);
		svm_get_segment(&vcpu, i, &out);
		assert_int_equal(out.base, in.base);
		assert_int_equal(out.limit, in.limit);
		vcpu.dirty = 0;
		svm_set_segment(&vcpu, i, &in);
		assert_int_equal(vcpu.dirty, 0);
	}
}

static void segment_quirks(void **state)
{
	struct segment s = {.selector = 0x1b, .attr = SEG_P | SEG_S | SEG_DPL | 3, .limit = ~0u};

	svm_set_segment(&vcpu, SEG_SS, &s);
	assert_int_equal(vmcb->cpl, 3);
	vmcb->cpl = 2;
	svm_get_segment(&vcpu, SEG_SS, &s);
	assert_int_equal((s.attr & SEG_DPL) >> 5, 2);
	assert_true(s.attr & SEG_G); /* its limit needs it */

	s = (struct segment){.selector = 8, .attr = SEG_G | SEG_DPL};
	svm_set_segment(&vcpu, SEG_DS, &s); /* not present: unusable */
	assert_int_equal(vmcb->ds.attr, 0);
	svm_set_segment(&vcpu, SEG_SS, &s);
	assert_int_equal(vmcb->cpl, 3); /* still SS.DPL */

	s = (struct segment){.selector = 8, .attr = SEG_P | 9, .limit = 0x67};
	svm_set_segment(&vcpu, SEG_TR, &s);
	svm_get_segment(&vcpu, SEG_TR, &s);
	assert_int_equal(s.attr & SEG_TYPE, 11);
	svm_set_segment(&vcpu, SEG_TR, &s);
	assert_int_equal(vmcb->tr.attr & SEG_TYPE, 11);
	svm_features.qemu = true;
	svm_set_segment(&vcpu, SEG_TR, &s);
	assert_int_equal(vmcb->tr.attr & SEG_TYPE, 9);
	svm_get_segment(&vcpu, SEG_TR, &s);
	assert_int_equal(s.attr & SEG_TYPE, 11);
}

/* The VMLOAD group: saved when needed only, once, and loaded again only when written. */
static void vmload_group(void **state)
{
	struct segment s;

	saves = loads = 0;
	svm_load(&vcpu, &cpu0);
	assert_int_equal(loads, 1);
	assert_int_equal(svm_get(&vcpu, VREG_STAR), 0); /* nothing ran: the VMCB is current */
	assert_int_equal(saves, 0);
	enter();
	assert_int_equal(loads, 1);
	assert_int_equal(svm_get(&vcpu, VREG_CR3), 0);
	assert_int_equal(saves, 0); /* not of the group */
	assert_int_equal(svm_get(&vcpu, VREG_STAR), 0x5a5a);
	svm_get_segment(&vcpu, SEG_FS, &s);
	assert_int_equal(s.base, 0xf5f5);
	assert_int_equal(saves, 1);
	enter();
	assert_int_equal(loads, 1); /* only read */
	svm_set(&vcpu, VREG_LSTAR, 5);
	assert_int_equal(saves, 2); /* the rest of the group must not get lost */
	assert_int_equal(vmcb->star, 0x5a5a);
	enter();
	assert_int_equal(loads, 2);
	svm_put(&vcpu);
	assert_int_equal(saves, 3);
	svm_set(&vcpu, VREG_LSTAR, 6);
	assert_int_equal(saves, 3); /* it is not on the processor */
}

#define CHILD(f) cmocka_unit_test_setup_teardown(f, setup_child, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CHILD(plain_fields),   CHILD(special_registers), CHILD(segments),
		CHILD(segment_quirks), CHILD(vmload_group),	 CHILD(machine_checks_stay_enabled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
