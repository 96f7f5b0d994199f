// SPDX-License-Identifier: MIT
/* What the processor must offer, root mode on and off, permission maps, a new VMCB. */
#include "arch-x86/msr.h"
#include "boot/info.h"
#include "tests/unit/svm.h"

static struct {
	u32 vendor, hypervisor, extended_last, svm, np, lock, asids, features, ibpb, auto_ibrs;
	u32 dr_mask, qemu;
	u64 vm_cr, efer, hsave;
} hw;
static bool gif;
static hpa_t saved_group, loaded_group;

struct cpuid_regs cpuid(u32 leaf, u32 subleaf)
{
	struct cpuid_regs r = {0};

	switch (leaf) {
	case 0:
		r.eax = 7;
		r.ebx = hw.vendor;
		break;
	case 1:
		r.ecx = hw.hypervisor << 31;
		break;
	case 7:
		r.ebx = BIT(10);
		break;
	case 0x40000000:
		if (hw.qemu)
			r = (struct cpuid_regs){0x40000001, 0x54474354, 0x43544743, 0x47435447};
		break;
	case 0x80000000:
		r.eax = hw.extended_last;
		break;
	case 0x80000001:
		r.ecx = hw.svm << 2 | hw.dr_mask << 26;
		r.edx = BIT(26);
		break;
	case 0x80000008:
		r.eax = 43;
		r.ebx = hw.ibpb << 12;
		break;
	case 0x8000000a:
		r.ebx = hw.asids;
		r.edx = hw.features | hw.np | hw.lock << 2;
		break;
	case 0x80000021:
		r.eax = hw.auto_ibrs << 8;
		break;
	}
	return r;
}

u64 rdmsr(u32 index)
{
	return index == MSR_VM_CR ? hw.vm_cr : index == MSR_EFER ? hw.efer : 0;
}

void wrmsr(u32 index, u64 value)
{
	if (index == MSR_VM_CR)
		hw.vm_cr = value;
	else if (index == MSR_EFER)
		hw.efer = value;
	else if (index == MSR_VM_HSAVE_PA)
		hw.hsave = value;
	else
		fail();
}

void clgi(void)
{
	gif = false;
}

void stgi(void)
{
	gif = true;
}

void vmsave(hpa_t hpa)
{
	saved_group = hpa;
}

void vmload(hpa_t hpa)
{
	loaded_group = hpa;
}

void svm_open_nmi(void)
{
}

void svm_sleep_nmi(void)
{
}

static int setup_hw(void **state)
{
	memset(&hw, 0, sizeof(hw));
	hw.vendor = 0x68747541;
	hw.extended_last = 0x80000021;
	hw.svm = hw.np = 1;
	hw.asids = 16;
	hw.efer = EFER_LME | EFER_LMA | EFER_NXE;
	gif = true;
	virt_check_entry = false;
	virt_features = 0;
	return 0;
}

static void refuses(const char *words)
{
	u64 features;
	const char *why = svm_probe(&features);

	if (!why || !strstr(why, words) || strlen(why) >= sizeof(((struct boot_info *)0)->why))
		fail_msg("\"%s\" instead of \"%s\"", why, words);
	setup_hw(NULL);
	assert_null(svm_probe(&features));
}

static void probe(void **state)
{
	u64 features;

	hw.vendor = 0x756e6547;
	refuses("not AMD's or Hygon's");
	hw.svm = 0;
	refuses("has no SVM");
	hw.extended_last = 0x80000009;
	refuses("has no SVM");
	hw.svm = 0;
	hw.hypervisor = 1;
	refuses("outer hypervisor hides SVM");
	hw.vm_cr = VM_CR_SVMDIS;
	refuses("disabled (VM_CR.SVMDIS)");
	hw.vm_cr = VM_CR_SVMDIS | VM_CR_LOCK;
	hw.lock = 1;
	refuses("disabled SVM and locked it");
	hw.np = 0;
	refuses("no nested paging");
	hw.asids = 3;
	refuses("too few ASIDs");
	hw.efer |= EFER_SVME;
	refuses("in use already");
	hw.vendor = 0x6f677948;
	assert_null(svm_probe(&features));
	hw.svm = 0;
	assert_non_null(svm_probe(&features));
}

static void features(void **state)
{
	/* No control of SVM switches these instructions off. */
	u64 always = VIRT_RDTSCP | VIRT_XSAVES | VIRT_WAITPKG | VIRT_SLAT_2M | VIRT_SLAT_AD, found;

	svm_probe(&found);
	assert_int_equal(found, always | VIRT_SLAT_1G | VIRT_INVPCID);
	assert_false(svm_features.lbr_virt);
	assert_false(svm_features.rsb_fill);
	assert_false(svm_features.dr_mask);
	assert_false(svm_features.qemu);
	assert_int_equal(svm_features.physical_bits, 43);
	hw.features = 0x4fa;
	hw.ibpb = 1;
	hw.dr_mask = hw.hypervisor = hw.qemu = 1;
	svm_probe(&found);
	assert_int_equal(found, always | VIRT_SLAT_1G | VIRT_INVPCID | VIRT_NEXT_RIP |
					VIRT_DECODE_ASSISTS | VIRT_FLUSH_BY_ASID | VIRT_CLEAN_BITS |
					VIRT_TSC_SCALING | VIRT_PAUSE_FILTER);
	assert_true(svm_features.lbr_virt);
	assert_true(svm_features.rsb_fill);
	assert_true(svm_features.dr_mask);
	assert_true(svm_features.qemu);
	hw.hypervisor = hw.qemu = 0;
	hw.auto_ibrs = 1;
	svm_probe(&found);
	assert_false(svm_features.rsb_fill);
}

static void on_and_off(void **state)
{
	struct cpu cpu = {0};
	u64 efer = hw.efer;

	assert_int_equal(svm_cpu_on(&cpu, HPA(0x9000)), 0);
	assert_int_equal(hw.efer, efer | EFER_SVME);
	assert_int_equal(hw.hsave, 0x9000);
	assert_int_equal(hw.vm_cr, VM_CR_R_INIT);
	assert_false(gif);
	assert_int_equal(saved_group.v, 0x9000);
	assert_int_equal(cpu.asid_count, 16);
	assert_int_equal(cpu.asid_next, 16); /* none left: the first entry flushes, and gets 1 */
	assert_ptr_equal(cpu.sleep_begin, svm_sleep_begin);
	assert_int_equal(svm_cpu_on(&cpu, HPA(0x9000)), -ENODEV); /* on already */
	svm_cpu_off(&cpu);
	assert_int_equal(hw.efer, efer);
	assert_int_equal(hw.hsave, 0);
	assert_int_equal(hw.vm_cr, 0);
	assert_int_equal(loaded_group.v, 0x9000);
	assert_true(gif);
}

/* Else neither it nor the software fill would clear the return predictor. */
static void automatic_ibrs_is_on_in_root(void **state)
{
	struct cpu cpu = {0};
	u64 efer = hw.efer;

	hw.auto_ibrs = 1;
	hw.extended_last = 0x80000021;
	assert_int_equal(svm_cpu_on(&cpu, HPA(0x9000)), 0);
	assert_int_equal(hw.efer, efer | EFER_SVME | EFER_AIBRSE);
	svm_cpu_off(&cpu);
	assert_int_equal(hw.efer, efer);
}

static bool msr_bit(u32 bit)
{
	return ((u8 *)vm.msr_map)[bit / 8] >> bit % 8 & 1;
}

static void msr_map(void **state)
{
	static const struct {
		u32 index, bit;
	} places[] = {
		{0, 0},
		{0x10, 0x20},
		{0x1fff, 0x3ffe},
		{0xc0000000, 0x4000},
		{0xc0000080, 0x4100},
		{0xc0001fff, 0x7ffe},
		{0xc0010000, 0x8000},
		{0xc0010117, 0x822e},
		{0xc0011fff, 0xbffe},
	};

	make_vcpu(VIRT_MANAGEMENT);
	for (u32 bit = 0; bit < 0x10000; bit++)
		assert_false(msr_bit(bit));
	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		for (u32 want = 0; want < 4; want++) {
			svm_intercept_msr(&vm, places[i].index, want & 1, want & 2);
			assert_int_equal(msr_bit(places[i].bit), want & 1);
			assert_int_equal(msr_bit(places[i].bit + 1), want >> 1);
		}
	for (u32 i = 0; i < 2 * PAGE_SIZE; i++)
		((u8 *)vm.msr_map)[i] = 0;
	/* Outside of the ranges everything exits: there is no bit to set. */
	svm_intercept_msr(&vm, 0x2000, true, true);
	svm_intercept_msr(&vm, 0xbfffffff, true, true);
	svm_intercept_msr(&vm, 0xc0002000, true, true);
	svm_intercept_msr(&vm, 0xc0012000, true, true);
	for (u32 bit = 0; bit < 0x10000; bit++)
		assert_false(msr_bit(bit));
	free_vcpu();
}

static void maps_child(void **state)
{
	make_vcpu(VIRT_CHILD);
	for (u32 i = 0; i < 2 * PAGE_SIZE; i++)
		assert_int_equal(((u8 *)vm.msr_map)[i], 0xff);
	for (u32 i = 0; i < 3 * PAGE_SIZE; i++)
		assert_int_equal(((u8 *)vm.io_map)[i], 0xff);
	svm_intercept_port(&vm, 0x80, false);
	assert_int_equal(((u8 *)vm.io_map)[0x10], 0xfe);
	svm_intercept_port(&vm, 0xffff, false);
	assert_int_equal(((u8 *)vm.io_map)[0x1fff], 0x7f);
	svm_intercept_port(&vm, 0x80, true);
	assert_int_equal(((u8 *)vm.io_map)[0x10], 0xff);
	free_vcpu();
}

static void new_vmcb(void **state)
{
	make_vcpu(VIRT_CHILD);
	assert_int_equal(vmcb->iopm_base, vm.io_map_hpa.v);
	assert_int_equal(vmcb->msrpm_base, vm.msr_map_hpa.v);
	assert_int_equal(vmcb->np_control, NP_ENABLE);
	assert_int_equal(vmcb->n_cr3, 0x5000);
	assert_int_equal(vmcb->efer, EFER_SVME);
	assert_int_equal(vmcb->int_control, V_INTR_MASKING);
	assert_int_equal(vmcb->pause_count, 0);
	assert_int_equal(vcpu.dirty, CLEAN_ALL);
	free_vcpu();
	virt_features = VIRT_PAUSE_FILTER;
	svm_features.lbr_virt = true;
	make_vcpu(VIRT_CHILD);
	assert_true(intercepted(SVM_PAUSE));
	assert_int_not_equal(vmcb->pause_count, 0);
	assert_int_equal(vmcb->lbr_control, LBR_ENABLE);
	free_vcpu();
	make_vcpu(VIRT_MANAGEMENT);
	assert_int_equal(vmcb->int_control, 0);
	assert_false(intercepted(SVM_PAUSE));
	free_vcpu();
	svm_features.lbr_virt = false;
}

static u64 cr4;

u64 read_cr4(void)
{
	return cr4;
}

/* Root's paging mode is that of the nested walk. */
static void nested_walk_of_five_levels(void **state)
{
	u64 *top;

	cr4 = CR4_LA57;
	make_vcpu(VIRT_CHILD);
	top = phys_ptr(HPA(vmcb->n_cr3));
	assert_int_equal(top[0], 0x5027);
	assert_int_equal(top[1], 0);
	assert_int_equal((char *)top - (char *)vmcb, PAGE_SIZE);
	svm_load(&vcpu, &cpu0);
	enter();
	assert_int_equal(entered.n_cr3, vmcb->n_cr3);
	free_vcpu();
	virt_check_entry = true;
	make_vcpu(VIRT_CHILD);
	assert_int_equal((char *)phys_ptr(HPA(vmcb->n_cr3)) - (char *)vmcb, 2 * PAGE_SIZE);
	free_vcpu();
	virt_check_entry = false;
	cr4 = 0;
}

static bool intercepts(u32 code)
{
	return vmcb->intercepts[code / 32] >> code % 32 & 1;
}

static void what_a_child_executes_natively(void **state)
{
	assert_true(intercepts(SVM_HLT) && intercepts(SVM_MONITOR) && intercepts(SVM_MWAIT));
	free(vcpu.hw);
	vm.native = NATIVE_HLT;
	assert_int_equal(svm_vcpu_init(&vcpu, &vm, NULL), 0);
	vmcb = vcpu.hw;
	svm_intercept(&vcpu, INTERCEPT_INTR_WINDOW);
	assert_false(intercepts(SVM_HLT));
	assert_true(intercepts(SVM_MONITOR) && intercepts(SVM_MWAIT) && intercepts(SVM_INTR));
	free(vcpu.hw);
	vm.native = NATIVE_MWAIT;
	assert_int_equal(svm_vcpu_init(&vcpu, &vm, NULL), 0);
	vmcb = vcpu.hw;
	assert_true(intercepts(SVM_HLT));
	assert_false(intercepts(SVM_MONITOR) || intercepts(SVM_MWAIT) ||
		     intercepts(SVM_MWAIT_ARMED));
}

static void no_memory(void **state)
{
	static struct virt_vm empty;
	static struct virt_vcpu none;

	for (u32 pages = 0; pages < 5; pages++) {
		pool_pages_left = pages;
		assert_int_equal(svm_vm_init(&empty, NULL), -ENOMEM);
		assert_int_equal(pool_pages_left, pages); /* nothing is kept */
	}
	pool_pages_left = 0;
	assert_int_equal(svm_vcpu_init(&none, &empty, NULL), -ENOMEM);
	virt_check_entry = true;
	pool_pages_left = 1;
	assert_int_equal(svm_vcpu_init(&none, &empty, NULL), -ENOMEM);
}

#define HW(f) cmocka_unit_test_setup(f, setup_hw)

int main(void)
{
	const struct CMUnitTest tests[] = {
		HW(probe),
		HW(features),
		HW(on_and_off),
		HW(msr_map),
		HW(automatic_ibrs_is_on_in_root),
		HW(nested_walk_of_five_levels),
		HW(maps_child),
		HW(new_vmcb),
		cmocka_unit_test_setup_teardown(what_a_child_executes_natively, setup_child,
						teardown),
		HW(no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
