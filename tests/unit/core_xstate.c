/* SPDX-License-Identifier: MIT */
/* The world switch: extended state, XCR0, and the MSRs that the processor holds one of. */
#include "tests/unit/core_machine.h"

/* The "processor's" extended state: one byte pattern; and in which XCR0 it was moved. */
static u8 live_pattern;
static u64 moved_with_xcr0, moved_mask;
static u32 fx_moves;

void xsave(void *area, u64 mask)
{
	memset(area, live_pattern, 512);
	moved_with_xcr0 = fake_xcr0;
	moved_mask = mask;
}

void xrstor(const void *area, u64 mask)
{
	u64 header[8];

	memcpy(header, (const char *)area + 512, sizeof(header));
	/* What XRSTOR faults for must never get here. */
	assert_int_equal(header[0] & ~mask, 0);
	assert_int_equal(header[1], 0);
	live_pattern = *((const u8 *)area + 200);
	assert_int_equal(moved_with_xcr0, fake_xcr0);
}

void fxsave(void *area)
{
	memset(area, live_pattern, 512);
	fx_moves++;
}

void fxrstor(const void *area)
{
	live_pattern = *((const u8 *)area + 200);
}

static int setup(void **state)
{
	machine_init();
	live_pattern = 0x11;
	moved_with_xcr0 = fx_moves = 0;
	return 0;
}

static void guest_sees(struct virt_vcpu *v, struct vm_exit *e)
{
	assert_int_equal(live_pattern, 0); /* not the management guest's */
	assert_int_equal(fake_xcr0, 1);
	assert_int_equal(fake_msr_get(MSR_TSC_AUX), 7);
	assert_int_equal(fake_msr_get(MSR_SPEC_CTRL), 4);
	assert_int_equal(fake_msr_get(MSR_XSS), 0);
	assert_int_equal(fake_msr_get(MSR_PERF_GLOBAL_CTRL), 0);
	live_pattern = 0x22;
	e->reason = EXIT_INTR;
}

static struct cpuid_regs with_counters(u32 leaf, u32 subleaf)
{
	if (leaf == 0xa)
		return (struct cpuid_regs){2, 0, 0, 0};
	return machine_cpuid(leaf, subleaf);
}

static void both_worlds_keep_theirs(void **state)
{
	fake_cpuid = with_counters;
	xstate_forget();
	xstate_init();
	fake_xcr0 = 0x207;
	fake_msr_set(MSR_TSC_AUX, 1);
	cpus[0]->management->msr.tsc_aux = 1;
	fake_msr_set(MSR_SPEC_CTRL, 1);
	fake_msr_set(MSR_XSS, 0x800);
	fake_msr_set(MSR_PERF_GLOBAL_CTRL, 0xf);
	xstate_launch(cpus[0]->management);
	vcpu->msr.tsc_aux = 7;
	vcpu->msr.spec_ctrl = 4;
	fake_run = guest_sees;
	assert_int_equal(run(), RUN_INTERRUPTED);
	assert_int_equal(live_pattern, 0x11);
	assert_int_equal(fake_xcr0, 0x207);
	assert_int_equal(moved_with_xcr0, 0x207);
	assert_int_equal(moved_mask, 0x207);
	assert_int_equal(fake_msr_get(MSR_TSC_AUX), 1);
	assert_int_equal(fake_msr_get(MSR_SPEC_CTRL), 1);
	assert_int_equal(fake_msr_get(MSR_XSS), 0x800);
	assert_int_equal(fake_msr_get(MSR_PERF_GLOBAL_CTRL), 0xf);
	assert_int_equal(*((u8 *)vcpu->xsave + 200), 0x22);
}

static u32 reads_of_switched;

u64 rdmsr(u32 index)
{
	reads_of_switched +=
		index == MSR_SPEC_CTRL || index == MSR_XSS || index == MSR_PERF_GLOBAL_CTRL;
	return fake_msr_get(index);
}

static void sees_its_spec_ctrl(struct virt_vcpu *v, struct vm_exit *e)
{
	assert_int_equal(fake_msr_get(MSR_SPEC_CTRL), 4);
	e->reason = EXIT_INTR;
}

/* While they are 0 in both worlds a switch does not look at them; then it always does. */
static void msrs_are_switched_once_they_are_used(void **state)
{
	fake_cpuid = with_counters;
	xstate_forget();
	xstate_init();
	machine_cpuid_all();
	xstate_launch(cpus[0]->management);
	reads_of_switched = 0;
	push(EXIT_INTR, 0);
	run();
	assert_int_equal(reads_of_switched, 0);
	assert_int_equal(msr_write(vcpu, MSR_SPEC_CTRL, 4), 0); /* the child's */
	fake_msr_set(MSR_SPEC_CTRL, 0);
	fake_run = sees_its_spec_ctrl;
	assert_int_equal(run(), RUN_INTERRUPTED);
	assert_int_equal(fake_msr_get(MSR_SPEC_CTRL), 0);
	assert_int_not_equal(reads_of_switched, 0);
}

/* A processor with STIBP and SSBD, but without IBRS. */
static struct cpuid_regs without_ibrs(u32 leaf, u32 subleaf)
{
	struct cpuid_regs r = machine_cpuid(leaf, subleaf);

	if (leaf == 7)
		r.edx = 0;
	if (leaf == 0x80000008)
		r.ebx = BIT(12) | BIT(15) | BIT(24);
	return r;
}

static void speculation_is_switched_without_ibrs(void **state)
{
	fake_cpuid = without_ibrs;
	xstate_forget();
	xstate_init();
	machine_cpuid_all();
	assert_int_equal(msr_write(vcpu, MSR_SPEC_CTRL, 4), 0);
	fake_msr_set(MSR_SPEC_CTRL, 2);
	fake_run = sees_its_spec_ctrl;
	assert_int_equal(run(), RUN_INTERRUPTED);
	assert_int_equal(fake_msr_get(MSR_SPEC_CTRL), 2);
}

static u64 barriers_of_a_run(u32 cpu)
{
	fake_msr_set(MSR_PRED_CMD, 0);
	push(EXIT_INTR, 0);
	run_on(cpu, NO_DEADLINE);
	return fake_msr_get(MSR_PRED_CMD);
}

static void another_vm_finds_no_predictions(void **state)
{
	struct vcpu *first = vcpu, *second;
	struct vm *other = machine_new_vm(12ull << 20, 512, VIRT_CHILD);

	assert_int_equal(vcpu_create(other, 0, &second), 0);
	assert_int_equal(barriers_of_a_run(0), 1);
	assert_int_equal(barriers_of_a_run(0), 0); /* the same VM again */
	vcpu = second;
	assert_int_equal(barriers_of_a_run(0), 1);
	vcpu = first;
	assert_int_equal(barriers_of_a_run(1), 1); /* each CPU has predictors of its own */
	assert_int_equal(barriers_of_a_run(0), 1);
	/* The pages of a VM that is gone may hold the next one. */
	assert_int_not_equal(other->handle, machine_vm->handle);
	other = machine_new_vm(12ull << 20, 512, VIRT_CHILD);
	assert_int_equal(vcpu_create(other, 0, &second), 0);
	vcpu = second;
	assert_int_equal(barriers_of_a_run(1), 1);
	vcpu = first;
}

static void a_smaller_xcr0_is_widened_for_the_move(void **state)
{
	fake_xcr0 = 3; /* the management guest uses SSE only */
	push(EXIT_INTR, 0);
	run();
	assert_int_equal(moved_with_xcr0, 0x207);
	assert_int_equal(fake_xcr0, 3);
}

static void without_xsave_fxsave(void **state)
{
	machine_no_xsave = 1;
	xstate_forget();
	xstate_init();
	fake_xcr0 = 0x55;
	vcpu->xused = cpus[0]->management->xused = 3; /* as created there */
	push(EXIT_INTR, 0);
	run();
	assert_int_equal(fx_moves, 2);
	assert_int_equal(live_pattern, 0x11);
	assert_int_equal(fake_xcr0, 0x55);
	assert_int_equal(xcr0_set(vcpu, 1), 0);
	assert_int_equal(xcr0_set(vcpu, 3), -EINVAL);
}

/* QEMU 7.2's SVM does not let XSETBV exit. */
static void guest_sets_xcr0(struct virt_vcpu *v, struct vm_exit *e)
{
	if (fake_vcpu(v)->entries == 1) {
		fake_xcr0 = 7;
		vcpu->v.gpr[GPR_RAX] = 0xd;
		vcpu->v.gpr[GPR_RCX] = 0;
		e->reason = EXIT_CPUID;
		e->insn_len = 2;
		return;
	}
	assert_int_equal(vcpu->v.gpr[GPR_RBX], 0x340);
	e->reason = EXIT_INTR;
}

static void an_xcr0_set_without_an_exit_is_kept(void **state)
{
	machine_cpuid_all();
	fake_run = guest_sets_xcr0;
	fake_xcr0 = 0x207;
	run();
	assert_int_equal(vcpu->xcr0, 7);
	assert_int_equal(fake_xcr0, 0x207);
}

/* Where XSETBV always exits XCR0 is what its exits have set. */
static u32 xcr0_reads;

u64 xgetbv(u32 index)
{
	xcr0_reads++;
	return fake_xcr0;
}

/* A processor whose XSETBV exits. */
static void exits_xsetbv(void)
{
	static struct virt_ops exits;

	exits = *virt;
	exits.xsetbv_exits = true;
	virt = &exits;
	xstate_forget();
	xstate_init();
	xstate_reset(vcpu);
	xstate_reset(cpus[0]->management);
}

static void an_xcr0_that_is_known_is_not_read(void **state)
{
	exits_xsetbv();
	fake_xcr0 = 3;
	xstate_launch(cpus[0]->management);
	xcr0_reads = 0;
	push(EXIT_INTR, 0);
	run();
	assert_int_equal(xcr0_reads, 0);
	assert_int_equal(moved_with_xcr0, 0x207);
	assert_int_equal(fake_xcr0, 3);
}

static struct cpuid_regs without_keys(u32 leaf, u32 subleaf)
{
	struct cpuid_regs r = machine_cpuid(leaf, subleaf);

	if (leaf == 0xd && !subleaf)
		r.eax = 7;
	return r;
}

static void sees_its_own(struct virt_vcpu *v, struct vm_exit *e)
{
	assert_int_equal(live_pattern, 0);
	live_pattern = 0x22;
	e->reason = EXIT_INTR;
}

/* Only x87 and SSE are moved while neither world has ever had more. */
static void what_nobody_has_used_is_not_moved(void **state)
{
	u64 header;

	fake_cpuid = without_keys;
	exits_xsetbv();
	assert_int_equal(vcpu->xused, 3);
	machine_cpuid_all();
	fake_xcr0 = 1;
	cpus[0]->management->xcr0 = vcpu->xcr0 = 1;
	fake_run = sees_its_own;
	fx_moves = 0;
	moved_mask = 0;
	run();
	assert_int_equal(fx_moves, 2);
	assert_int_equal(moved_mask, 0);
	assert_int_equal(live_pattern, 0x11);
	assert_int_equal(fake_xcr0, 1);
	memcpy(&header, (u8 *)vcpu->xsave + 512, sizeof(header));
	assert_int_equal(header, 3); /* for an XRSTOR */
	/* From the first time on that one has. */
	assert_int_equal(xcr0_set(vcpu, 7), 0);
	assert_int_equal(xcr0_set(vcpu, 1), 0);
	fake_run = NULL;
	push(EXIT_INTR, 0);
	run();
	assert_int_equal(fx_moves, 2);
	assert_int_equal(moved_mask, 7);
	assert_int_equal(moved_with_xcr0, 7);
	assert_int_equal(fake_xcr0, 1);
	assert_int_equal(live_pattern, 0x11);
}

/* CR4.PKE alone lets a guest write PKRU. */
static void protection_keys_are_always_moved(void **state)
{
	exits_xsetbv();
	fake_xcr0 = cpus[0]->management->xcr0 = 1;
	push(EXIT_INTR, 0);
	run();
	assert_int_equal(moved_mask, 0x207);
	assert_int_equal(moved_with_xcr0, 0x207);
}

static void restored_components_are_used(void **state)
{
	static u8 image[4096];

	fake_cpuid = without_keys;
	exits_xsetbv();
	image[512] = 7;
	image[24] = 0x80;
	image[25] = 0x1f;
	assert_int_equal(xstate_set(vcpu, image, sizeof(image)), 0);
	assert_int_equal(vcpu->xused, 7);
}

static void xcr0_rules(void **state)
{
	static const u64 bad[] = {0, 2, 5, 4, 0x9, 0x19, 0x27, 0xe7 & ~4ull, 1ull << 63 | 1, 0x401};

	machine_cpuid_all();
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(xcr0_valid(vcpu, bad[i]));
	assert_true(xcr0_valid(vcpu, 1));
	assert_true(xcr0_valid(vcpu, 3));
	assert_true(xcr0_valid(vcpu, 7));
	assert_true(xcr0_valid(vcpu, 0x207));
	assert_false(xcr0_valid(vcpu, 0xe7)); /* the processor has no AVX-512 */
	vcpu->xcr0_supported = 3;
	assert_false(xcr0_valid(vcpu, 7)); /* nor this vCPU AVX */
}

static void xsetbv_exits(void **state)
{
	machine_cpuid_all();
	vcpu->v.gpr[GPR_RCX] = 0xffffffff00000000;
	vcpu->v.gpr[GPR_RAX] = 7;
	vcpu->v.gpr[GPR_RDX] = 0;
	run_insn(EXIT_XSETBV, 3);
	assert_int_equal(vcpu->xcr0, 7);
	assert_int_equal(vcpu->v.rip, CODE + 3);
	vcpu->v.gpr[GPR_RAX] = 6;
	run_insn(EXIT_XSETBV, 3);
	assert_exception(VECTOR_GP);
	vcpu->v.gpr[GPR_RAX] = 3;
	vcpu->v.gpr[GPR_RCX] = 1;
	run_insn(EXIT_XSETBV, 3);
	assert_int_equal(events_delivered(), 2);
	vcpu->v.gpr[GPR_RCX] = 0;
	mode_cpl(3);
	run_insn(EXIT_XSETBV, 3);
	assert_int_equal(events_delivered(), 3);
	assert_int_equal(vcpu->xcr0, 7);
	assert_int_equal(vcpu->v.rip, CODE + 3);
}

static void sizes(void **state)
{
	assert_int_equal(xstate_size(), 0xa88);
	assert_int_equal(xstate_size_of(3), 576);
	assert_int_equal(xstate_size_of(7), 0x340);
	assert_int_equal(xstate_size_of(0x203), 0xa88);
	assert_int_equal(xstate_compacted_size_of(7), 0x340);
	assert_int_equal(xstate_compacted_size_of(0x207), 0x348);
	assert_int_equal(xstate_supported(), 0x207);
}

static u8 area[8192];

static void put32(u32 offset, u32 value)
{
	memcpy(area + offset, &value, 4);
}

static void restored_areas_are_checked(void **state)
{
	memset(area, 0, sizeof(area));
	put32(24, 0x1f80);
	area[512] = 7;
	area[600] = 0x5a;
	assert_int_equal(xstate_set(vcpu, area, 4096), 0);
	assert_int_equal(*((u8 *)vcpu->xsave + 600), 0x5a);
	put32(24, 0x11f80);
	assert_int_equal(xstate_set(vcpu, area, 4096), -EINVAL);
	put32(24, 0x1f80);
	area[512] = 0xe7;
	assert_int_equal(xstate_set(vcpu, area, 4096), -EINVAL);
	area[512] = 7;
	for (u32 at = 520; at < 576; at += 8) {
		area[at] = 1;
		assert_int_equal(xstate_set(vcpu, area, 4096), -EINVAL);
		area[at] = 0;
	}
	area[519] = 0x80;
	assert_int_equal(xstate_set(vcpu, area, 4096), -EINVAL);
	area[519] = 0;
	assert_int_equal(xstate_set(vcpu, area, 512), -EINVAL);
	assert_int_equal(xstate_set(vcpu, area, sizeof(area)), 0);
}

static void absent_components_are_initial(void **state)
{
	u16 control;

	memset(area, 0xee, sizeof(area));
	memset(area + 512, 0, 64);
	put32(24, 0x1fa0);
	assert_int_equal(xstate_set(vcpu, area, 4096), 0);
	memcpy(&control, vcpu->xsave, 2);
	assert_int_equal(control, 0x37f);
	assert_int_equal(*((u8 *)vcpu->xsave + 160), 0);
	assert_int_equal(*((u8 *)vcpu->xsave + 32), 0);
	assert_int_equal(*((u8 *)vcpu->xsave + 24), 0xa0);
}

static void an_area_reads_back(void **state)
{
	memset(area, 0xee, sizeof(area));
	xstate_get(vcpu, area, 4096);
	assert_int_equal(area[0] | area[1] << 8, 0x37f);
	assert_int_equal(area[24] | area[25] << 8, 0x1f80);
	assert_int_equal(area[28] | area[29] << 8, 0xffff);
	assert_int_equal(area[512], 3);
	assert_int_equal(area[4095], 0);
	assert_int_equal(area[4096], 0xee);
	assert_int_equal(xstate_set(vcpu, area, 4096), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(both_worlds_keep_theirs, setup),
		cmocka_unit_test_setup(msrs_are_switched_once_they_are_used, setup),
		cmocka_unit_test_setup(speculation_is_switched_without_ibrs, setup),
		cmocka_unit_test_setup(another_vm_finds_no_predictions, setup),
		cmocka_unit_test_setup(a_smaller_xcr0_is_widened_for_the_move, setup),
		cmocka_unit_test_setup(without_xsave_fxsave, setup),
		cmocka_unit_test_setup(an_xcr0_set_without_an_exit_is_kept, setup),
		cmocka_unit_test_setup(an_xcr0_that_is_known_is_not_read, setup),
		cmocka_unit_test_setup(what_nobody_has_used_is_not_moved, setup),
		cmocka_unit_test_setup(protection_keys_are_always_moved, setup),
		cmocka_unit_test_setup(restored_components_are_used, setup),
		cmocka_unit_test_setup(xcr0_rules, setup),
		cmocka_unit_test_setup(xsetbv_exits, setup),
		cmocka_unit_test_setup(sizes, setup),
		cmocka_unit_test_setup(restored_areas_are_checked, setup),
		cmocka_unit_test_setup(absent_components_are_initial, setup),
		cmocka_unit_test_setup(an_area_reads_back, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
