// SPDX-License-Identifier: MIT
/* Entries: translations and their tags, clean bits, debug registers, check=entry. */
#include "tests/unit/fake/fake.h"
#include "tests/unit/svm.h"

#include "arch-x86/msr.h"

static u64 drs[4];
static u32 dr_writes;
static bool panicked;
static jmp_buf after_panic;
static u32 opened, slept;
static hpa_t loaded_group;

void vmsave(hpa_t hpa)
{
}

void vmload(hpa_t hpa)
{
	loaded_group = hpa;
}

void svm_open_nmi(void)
{
	opened++;
}

void svm_sleep_nmi(void)
{
	slept++;
}

#define DR(n)                                                                                      \
	u64 read_dr##n(void)                                                                       \
	{                                                                                          \
		return drs[n];                                                                     \
	}                                                                                          \
	void write_dr##n(u64 value)                                                                \
	{                                                                                          \
		drs[n] = value;                                                                    \
		dr_writes++;                                                                       \
	}
DR(0)
DR(1)
DR(2)
DR(3)

void panic(const char *format, ...)
{
	panicked = true;
	longjmp(after_panic, 1);
}

static int setup_run(void **state)
{
	setup_child(state);
	use_features(VIRT_CLEAN_BITS);
	dr_writes = opened = slept = 0;
	svm_load(&vcpu, &cpu0);
	return 0;
}

static void registers(void **state)
{
	vcpu.gpr[GPR_RAX] = 1;
	vcpu.gpr[GPR_RSP] = 2;
	vcpu.rip = 3;
	enter();
	assert_int_equal(entered.rax, 1);
	assert_int_equal(entered.rsp, 2);
	assert_int_equal(entered.rip, 3);
	vmcb->rax = 0;
	assert_int_equal(vcpu.gpr[GPR_RAX], 1);
}

static void guest_changes(void)
{
	vmcb->rax = 11;
	vmcb->rsp = 12;
	vmcb->rip = 13;
}

static void registers_back(void **state)
{
	guest = guest_changes;
	enter();
	assert_int_equal(vcpu.gpr[GPR_RAX], 11);
	assert_int_equal(vcpu.gpr[GPR_RSP], 12);
	assert_int_equal(vcpu.rip, 13);
}

static void clean_bits(void **state)
{
	enter();
	assert_int_equal(entered.clean, 0); /* the first time */
	enter();
	assert_int_equal(entered.clean, CLEAN_ALL);
	svm_set(&vcpu, VREG_CR3, 0x1000);
	enter();
	assert_int_equal(entered.clean, CLEAN_ALL & ~CLEAN_CRX);
	enter();
	assert_int_equal(entered.clean, CLEAN_ALL);
	svm_put(&vcpu);
	svm_load(&vcpu, &cpu0);
	enter();
	assert_int_equal(entered.clean, CLEAN_ALL); /* back on the same CPU */
	svm_put(&vcpu);
	svm_load(&vcpu, &cpu1);
	enter();
	assert_int_equal(entered.clean, 0);
	set_exit(SVM_INVALID, 0, 0);
	enter();
	enter();
	assert_int_equal(entered.clean, 0); /* a refused entry says nothing of what was kept */
}

static void clean_bits_absent(void **state)
{
	use_features(0);
	enter();
	enter();
	assert_int_equal(entered.clean, 0);
}

static u64 guest_ratio;

static void look_at_the_ratio(void)
{
	guest_ratio = fake_msr_get(MSR_TSC_RATIO);
}

/* The MSR counts for the guest alone, and is written only where it is not 1. */
static void tsc_ratio(void **state)
{
	fake_msr_set(MSR_TSC_RATIO, 77);
	guest = look_at_the_ratio;
	assert_int_equal(svm_get(&vcpu, VREG_TSC_RATIO), TSC_RATIO_ONE);
	enter();
	assert_int_equal(guest_ratio, 77);
	svm_set(&vcpu, VREG_TSC_RATIO, 3 * TSC_RATIO_ONE);
	assert_int_equal(svm_get(&vcpu, VREG_TSC_RATIO), 3 * TSC_RATIO_ONE);
	for (u32 i = 0; i < 3; i++) {
		enter();
		assert_int_equal(guest_ratio, 3 * TSC_RATIO_ONE);
		assert_int_equal(fake_msr_get(MSR_TSC_RATIO), TSC_RATIO_ONE);
		if (i == 1) /* a refused entry */
			set_exit(SVM_INVALID, 0, 0);
	}
	svm_put(&vcpu);
	svm_load(&vcpu, &cpu1);
	enter();
	assert_int_equal(guest_ratio, 3 * TSC_RATIO_ONE);
	svm_set(&vcpu, VREG_TSC_RATIO, TSC_RATIO_ONE);
	enter();
	assert_int_equal(guest_ratio, TSC_RATIO_ONE);
}

static void asid_kept(void **state)
{
	u32 asid;

	enter();
	asid = entered.asid;
	assert_int_not_equal(asid, 0);
	assert_int_equal(entered.tlb_control, TLB_KEEP);
	svm_put(&vcpu);
	svm_load(&vcpu, &cpu0);
	enter();
	assert_int_equal(entered.asid, asid);
	assert_int_equal(entered.n_cr3, 0x5000);
}

static void asid_new_after_unmap(void **state)
{
	u32 asid;

	enter();
	asid = entered.asid;
	vm.slat_generation++;
	enter();
	assert_int_not_equal(entered.asid, asid);
	assert_false(entered.clean & CLEAN_ASID);
	asid = entered.asid;
	enter();
	assert_int_equal(entered.asid, asid); /* once */
	vcpu.flush = true;
	enter();
	assert_int_not_equal(entered.asid, asid);
	assert_false(vcpu.flush);
}

static void flush_by_asid(void **state)
{
	u32 asid;

	use_features(virt_features | VIRT_FLUSH_BY_ASID);
	enter();
	asid = entered.asid;
	vm.slat_generation++;
	enter();
	assert_int_equal(entered.asid, asid);
	assert_int_equal(entered.tlb_control, TLB_FLUSH_ASID);
	enter();
	assert_int_equal(entered.tlb_control, TLB_KEEP);
	vcpu.flush = true;
	enter();
	assert_int_equal(entered.tlb_control, TLB_FLUSH_ASID);
}

static void asid_other_cpu(void **state)
{
	enter();
	svm_put(&vcpu);
	cpu1.asid_next = 7;
	svm_load(&vcpu, &cpu1);
	enter();
	assert_int_equal(entered.asid, 7);
	svm_put(&vcpu);
	svm_load(&vcpu, &cpu0);
	enter();
	assert_int_equal(entered.asid, 2); /* not the old one: it missed what cpu1 ran */
}

static void asid_generations(void **state)
{
	struct virt_vcpu other = vcpu;

	for (u32 i = 1; i < 16; i++) {
		vm.slat_generation++;
		enter();
		assert_int_equal(entered.asid, i);
		assert_int_equal(entered.tlb_control, TLB_KEEP);
	}
	vm.slat_generation++;
	enter();
	assert_int_equal(entered.asid, 1);
	assert_int_equal(entered.tlb_control, TLB_FLUSH_ALL);
	assert_int_equal(cpu0.asid_generation, 2);
	enter();
	assert_int_equal(entered.tlb_control, TLB_KEEP);
	/* One that has a tag of the old generation gets another, without a flush. */
	svm_put(&vcpu);
	other.loaded = false;
	other.asid = 1;
	other.asid_generation = 1;
	svm_load(&other, &cpu0);
	svm_run(&other, &last);
	assert_int_equal(other.asid, 2);
	assert_int_equal(entered.tlb_control, TLB_KEEP);
	svm_put(&other);
}

static void debug_registers(void **state)
{
	struct virt_vm management_vm = {.kind = VIRT_MANAGEMENT};
	struct virt_vcpu management = {.vm = &management_vm, .dr_live = true};

	cpu0.dr_owner = &management;
	drs[0] = 0xa0;
	drs[3] = 0xa3;
	enter(); /* a child that does not use them */
	assert_int_equal(dr_writes, 0);
	vcpu.dr_live = true;
	vcpu.dr[0] = 0xc0;
	vcpu.dr[3] = 0xc3;
	enter();
	assert_int_equal(drs[0], 0xc0);
	assert_int_equal(drs[3], 0xc3);
	assert_int_equal(management.dr[0], 0xa0);
	assert_int_equal(management.dr[3], 0xa3);
	enter();
	assert_int_equal(dr_writes, 4);
	drs[1] = 0xc1; /* the child writes it */
	svm_put(&vcpu);
	assert_int_equal(vcpu.dr[1], 0xc1);
	assert_null(cpu0.dr_owner); /* the management guest's come back at its entry */
}

/* The management guest's address masks are not in force while a child has the registers. */
static void debug_address_masks(void **state)
{
	static const u32 msrs[] = {0xc0011027, 0xc0011019, 0xc001101a, 0xc001101b};

	vcpu.dr_live = true;
	svm_features.dr_mask = false;
	fake_msr_set(msrs[0], 0xfff);
	enter();
	assert_int_equal(fake_msr_get(msrs[0]), 0xfff); /* there are none: not touched */
	svm_put(&vcpu);
	svm_features.dr_mask = true;
	for (u32 i = 0; i < 4; i++)
		fake_msr_set(msrs[i], 0xff0 + i);
	fake_msr_set(msrs[2], 0);
	svm_load(&vcpu, &cpu0);
	enter();
	for (u32 i = 0; i < 4; i++)
		assert_int_equal(fake_msr_get(msrs[i]), 0);
	enter();
	svm_put(&vcpu);
	for (u32 i = 0; i < 4; i++)
		assert_int_equal(fake_msr_get(msrs[i]), i == 2 ? 0 : 0xff0 + i);
	svm_features.dr_mask = false;
}

static void checked_setup(bool check)
{
	free_vcpu();
	virt_check_entry = check;
	make_vcpu(VIRT_CHILD);
	svm_load(&vcpu, &cpu0);
}

/* Every group that is marked clean and changes is found, and only that one. */
static void wrongly_clean(void **state)
{
	static const struct {
		u32 offset, clean;
	} places[] = {
		{0x00, BIT(0)},	  {0x14, BIT(0)},  {0x3c, BIT(0)},  {0x50, BIT(0)},
		{0x40, BIT(1)},	  {0x48, BIT(1)},  {0x58, BIT(2)},  {0x60, BIT(3)},
		{0x90, BIT(4)},	  {0xb0, BIT(4)},  {0x668, BIT(4)}, {0x4d0, BIT(5)},
		{0x548, BIT(5)},  {0x550, BIT(5)}, {0x558, BIT(5)}, {0x560, BIT(6)},
		{0x568, BIT(6)},  {0x464, BIT(7)}, {0x488, BIT(7)}, {0x400, BIT(8)},
		{0x438, BIT(8)},  {0x4cb, BIT(8)}, {0x640, BIT(9)}, {0x670, BIT(10)},
		{0x690, BIT(10)}, {0x98, BIT(11)}, {0xf8, BIT(11)}, {0x5e0, BIT(12)},
		{0x5f0, BIT(12)},
	};

	checked_setup(true);
	enter();
	assert_int_equal(svm_wrongly_clean(&vcpu), 0);
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		((u8 *)vmcb)[places[i].offset] ^= 0x40;
		assert_int_equal(svm_wrongly_clean(&vcpu), places[i].clean);
		vcpu.dirty = places[i].clean;
		assert_int_equal(svm_wrongly_clean(&vcpu), 0);
		vcpu.dirty = 0;
		((u8 *)vmcb)[places[i].offset] ^= 0x40;
	}
}

static void check_entry_stops(void **state)
{
	checked_setup(true);
	vmcb->rflags = RFLAGS_ONE;
	enter();
	enter();
	vmcb->cr3 = 0x1234000; /* behind svm_set's back */
	panicked = false;
	if (!setjmp(after_panic))
		enter();
	assert_true(panicked);
	assert_int_equal(entries, 2);
	virt_check_entry = false;
}

static void load_twice(void **state)
{
	struct virt_vcpu other = vcpu;

	panicked = false;
	if (!setjmp(after_panic))
		svm_load(&other, &cpu0);
	assert_true(panicked);
}

/* Root's task register is there while an NMI may come, and the guest's afterwards. */
static void nmi_in_root(void **state)
{
	cpu0.host_area = HPA(0x777000);
	enter();
	svm_take_nmi(&cpu0, false);
	assert_int_equal(opened, 1);
	assert_int_equal(loaded_group.v, 0x777000);
	enter();
	assert_int_equal(loaded_group.v, vcpu.hw_hpa.v);
	svm_take_nmi(&cpu0, true);
	assert_int_equal(slept, 1);
	assert_int_equal(loaded_group.v, 0x777000);
	svm_put(&vcpu);
	svm_load(&vcpu, &cpu0);
	assert_int_equal(loaded_group.v, vcpu.hw_hpa.v);
}

#define RUN(f) cmocka_unit_test_setup_teardown(f, setup_run, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		RUN(registers),		RUN(registers_back),	RUN(clean_bits),
		RUN(clean_bits_absent), RUN(asid_kept),		RUN(asid_new_after_unmap),
		RUN(tsc_ratio),		RUN(flush_by_asid),	RUN(asid_other_cpu),
		RUN(asid_generations),	RUN(debug_registers),	RUN(debug_address_masks),
		RUN(wrongly_clean),	RUN(check_entry_stops), RUN(load_twice),
		RUN(nmi_in_root),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
