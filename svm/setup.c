/* SPDX-License-Identifier: MIT */
/* Is SVM there; root mode on and off; the permission maps; what never changes in a VMCB. */
#include "arch-x86/insn.h"
#include "arch-x86/log.h"
#include "arch-x86/msr.h"
#include "arch-x86/regs.h"
#include "lib/string.h"
#include "mm/phys.h"
#include "mm/pool.h"
#include "svm/internal.h"
#include "svm/svm.h"

/* CPUID 8000_000A EDX. APM vol. 3, "SVM Revision and Feature Identification". */
enum svm_feature_bits {
	SVM_CPUID_NP = BIT(0),
	SVM_CPUID_LBRV = BIT(1),
	SVM_CPUID_LOCK = BIT(2),
	SVM_CPUID_NRIPS = BIT(3),
	SVM_CPUID_TSC_RATE = BIT(4),
	SVM_CPUID_CLEAN = BIT(5),
	SVM_CPUID_FLUSH_BY_ASID = BIT(6),
	SVM_CPUID_DECODE = BIT(7),
	SVM_CPUID_PAUSE = BIT(10),
	SVM_CPUID_PAUSE_THRESHOLD = BIT(12),
};

#define MSRPM_PAGES  2
#define IOPM_PAGES   3
#define PAUSE_COUNT  3000 /* PAUSEs in a row, each within the threshold, before an exit */
#define PAUSE_CYCLES 128

struct svm_cpu_features svm_features;

static const char *missing(void)
{
	struct cpuid_regs vendor = cpuid(0, 0), feature = cpuid(1, 0), svm;
	bool amd = vendor.ebx == 0x68747541;   /* "Auth"enticAMD */
	bool hygon = vendor.ebx == 0x6f677948; /* "Hygo"nGenuine */

	if (!amd && !hygon)
		return "the processor is not AMD's or Hygon's";
	if (cpuid(0x80000000, 0).eax < 0x8000000a || !(cpuid(0x80000001, 0).ecx & BIT(2))) {
		if (feature.ecx & BIT(31))
			return "the outer hypervisor hides SVM: switch nested virtualisation on";
		return "the processor has no SVM";
	}
	svm = cpuid(0x8000000a, 0);
	if (rdmsr(MSR_VM_CR) & VM_CR_SVMDIS) {
		if (svm.edx & SVM_CPUID_LOCK && rdmsr(MSR_VM_CR) & VM_CR_LOCK)
			return "the firmware disabled SVM and locked it: enable it in the setup";
		return "SVM is disabled (VM_CR.SVMDIS): enable it in the firmware's setup";
	}
	if (!(svm.edx & SVM_CPUID_NP))
		return "SVM has no nested paging";
	if (svm.ebx < 4)
		return "SVM has too few ASIDs";
	if (rdmsr(MSR_EFER) & EFER_SVME)
		return "SVM is in use already (EFER.SVME)";
	return NULL;
}

static bool has_auto_ibrs(void)
{
	return cpuid(0x80000000, 0).eax >= 0x80000021 && cpuid(0x80000021, 0).eax & BIT(8);
}

/* QEMU without a processor's help says so in the hypervisor's leaf. */
static bool is_qemu(void)
{
	struct cpuid_regs r = cpuid(0x40000000, 0);

	return cpuid(1, 0).ecx & BIT(31) && r.ebx == 0x54474354 && r.ecx == 0x43544743 &&
	       r.edx == 0x47435447; /* TCGTCGTCGTCG */
}

static void read_features(u64 *features)
{
	static const struct {
		u32 cpuid;
		u64 feature;
	} map[] = {
		{SVM_CPUID_NRIPS, VIRT_NEXT_RIP},
		{SVM_CPUID_DECODE, VIRT_DECODE_ASSISTS},
		{SVM_CPUID_FLUSH_BY_ASID, VIRT_FLUSH_BY_ASID},
		{SVM_CPUID_CLEAN, VIRT_CLEAN_BITS},
		{SVM_CPUID_TSC_RATE, VIRT_TSC_SCALING},
		{SVM_CPUID_PAUSE, VIRT_PAUSE_FILTER},
	};
	u32 edx = cpuid(0x8000000a, 0).edx;
	u32 speculation = cpuid(0x80000008, 0).ebx;

	*features = VIRT_RDTSCP | VIRT_XSAVES | VIRT_WAITPKG | VIRT_SLAT_2M | VIRT_SLAT_AD;
	for (size_t i = 0; i < ARRAY_SIZE(map); i++)
		if (edx & map[i].cpuid)
			*features |= map[i].feature;
	if (cpuid(0x80000001, 0).edx & BIT(26))
		*features |= VIRT_SLAT_1G;
	if (cpuid(0, 0).eax >= 7 && cpuid(7, 0).ebx & BIT(10))
		*features |= VIRT_INVPCID;
	svm_features.dr_mask = cpuid(0x80000001, 0).ecx & BIT(26);
	svm_features.lbr_virt = edx & SVM_CPUID_LBRV;
	/*
	 * Where there is IBPB there is prediction to fear; "Automatic IBRS" (APM vol. 2), which
	 * root then runs with, clears the return predictor on #VMEXIT itself.
	 */
	svm_features.rsb_fill = speculation & BIT(12) && !has_auto_ibrs();
	svm_features.physical_bits = cpuid(0x80000008, 0).eax & 0xff;
	svm_features.qemu = is_qemu();
}

const char *svm_probe(u64 *features)
{
	const char *why = missing();

	if (why)
		return why;
	read_features(features);
	return NULL;
}

int svm_cpu_on(struct cpu *cpu, hpa_t host_area)
{
	if (missing())
		return trace_error(-ENODEV);
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME | (has_auto_ibrs() ? EFER_AIBRSE : 0));
	wrmsr(MSR_VM_HSAVE_PA, host_area.v);
	/* An INIT that reaches root becomes #SX instead of taking the CPU away from Keel. */
	wrmsr(MSR_VM_CR, rdmsr(MSR_VM_CR) | VM_CR_R_INIT);
	cpu->host_area = host_area;
	cpu->asid_count = cpuid(0x8000000a, 0).ebx;
	/* Whoever ran guests here before may have left translations: the first entry flushes all.
	 */
	cpu->asid_next = cpu->asid_count;
	cpu->asid_generation = 1;
	cpu->sleep_begin = (u64)svm_sleep_begin;
	cpu->sleep_end = (u64)svm_sleep_end;
	clgi();
	vmsave(host_area);
	return 0;
}

void svm_cpu_off(struct cpu *cpu)
{
	vmload(cpu->host_area);
	stgi();
	wrmsr(MSR_VM_CR, rdmsr(MSR_VM_CR) & ~(u64)VM_CR_R_INIT);
	wrmsr(MSR_VM_HSAVE_PA, 0);
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~(u64)(EFER_SVME | EFER_AIBRSE));
}

int svm_vm_init(struct virt_vm *vm, struct pool *pool)
{
	int fill = vm->kind == VIRT_CHILD ? 0xff : 0;
	hpa_t maps = pool_alloc(pool, MSRPM_PAGES + IOPM_PAGES);

	if (maps.v == HPA_NONE.v)
		return trace_error(-ENOMEM);
	vm->msr_map_hpa = maps;
	vm->io_map_hpa = HPA(maps.v + MSRPM_PAGES * PAGE_SIZE);
	vm->msr_map = phys_ptr(vm->msr_map_hpa);
	vm->io_map = phys_ptr(vm->io_map_hpa);
	memset(vm->msr_map, fill, (MSRPM_PAGES + IOPM_PAGES) * PAGE_SIZE);
	return 0;
}

/*
 * Two bits an MSR, read then write; three ranges of 8 K MSRs. All others always exit.
 * APM vol. 2, "MSR Intercepts".
 */
void svm_intercept_msr(struct virt_vm *vm, u32 index, bool read, bool write)
{
	static const u32 bases[] = {0, 0xc0000000, 0xc0010000};
	u8 *map = vm->msr_map;

	for (size_t i = 0; i < ARRAY_SIZE(bases); i++) {
		u32 offset = index - bases[i];
		u32 shift = offset % 4 * 2;

		if (offset >= 0x2000)
			continue;
		map += i * 0x800 + offset / 4;
		*map = (*map & ~(3 << shift)) | (read | write << 1) << shift;
		return;
	}
}

void svm_intercept_port(struct virt_vm *vm, u16 port, bool on)
{
	u8 *byte = (u8 *)vm->io_map + port / 8;

	*byte = (*byte & ~(1 << port % 8)) | on << port % 8;
}

/*
 * The nested tables are walked in root's own paging mode (APM vol. 2, "Nested Paging"). Where the
 * firmware left 5-level paging on, which cannot be switched off in long mode, mm/'s four levels
 * are behind the first entry of one more table.
 */
static hpa_t five_levels(const struct virt_vm *vm, hpa_t top)
{
	u64 *table = phys_ptr(top);

	table[0] = vm->slat_root.v | PTE_P | PTE_W | PTE_U | PTE_A;
	return top;
}

static void let_through(struct vmcb *vmcb, u32 code)
{
	vmcb->intercepts[code / 32] &= ~BIT(code % 32);
}

static void init_child(const struct virt_vcpu *v, struct vmcb *vmcb)
{
	vmcb->int_control = V_INTR_MASKING;
	if (v->features & VIRT_PAUSE_FILTER) {
		vmcb->intercepts[SVM_PAUSE / 32] |= BIT(SVM_PAUSE % 32);
		vmcb->pause_count = PAUSE_COUNT;
		vmcb->pause_threshold = PAUSE_CYCLES;
	}
	if (v->vm->native & NATIVE_HLT)
		let_through(vmcb, SVM_HLT);
	if (v->vm->native & NATIVE_MWAIT) {
		let_through(vmcb, SVM_MONITOR);
		let_through(vmcb, SVM_MWAIT);
		let_through(vmcb, SVM_MWAIT_ARMED);
	}
}

int svm_vcpu_init(struct virt_vcpu *v, struct virt_vm *vm, struct pool *pool)
{
	/* check=entry keeps a copy of the VMCB in the page behind it. */
	u32 pages = virt_check_entry ? 2 : 1;
	bool five = read_cr4() & CR4_LA57;
	hpa_t page = pool_alloc(pool, pages + five);
	struct vmcb *vmcb;

	if (page.v == HPA_NONE.v)
		return trace_error(-ENOMEM);
	v->vm = vm;
	v->features = vm->features;
	v->hw_hpa = page;
	v->hw = vmcb = phys_ptr(page);
	v->extra_saved = true;
	svm_static_intercepts(vm->kind, vmcb->intercepts);
	vmcb->iopm_base = vm->io_map_hpa.v;
	vmcb->msrpm_base = vm->msr_map_hpa.v;
	vmcb->np_control = NP_ENABLE;
	vmcb->n_cr3 = vm->slat_root.v;
	if (five)
		vmcb->n_cr3 = five_levels(vm, HPA(page.v + pages * PAGE_SIZE)).v;
	vmcb->efer = EFER_SVME;
	vmcb->g_pat = PAT_RESET;
	if (svm_features.lbr_virt)
		vmcb->lbr_control = LBR_ENABLE;
	if (vm->kind == VIRT_CHILD)
		init_child(v, vmcb);
	svm_intercept(v, 0);
	v->dirty = CLEAN_ALL;
	v->tsc_ratio = TSC_RATIO_ONE;
	return 0;
}

const struct virt_ops svm_ops = {
	.name = "SVM",
	.ept = false,
	.probe = svm_probe,
	.cpu_on = svm_cpu_on,
	.cpu_off = svm_cpu_off,
	.vm_init = svm_vm_init,
	.vcpu_init = svm_vcpu_init,
	.load = svm_load,
	.put = svm_put,
	.swap = svm_swap,
	.run = svm_run,
	.get = svm_get,
	.set = svm_set,
	.get_segment = svm_get_segment,
	.set_segment = svm_set_segment,
	.inject = svm_inject,
	.intercept = svm_intercept,
	.intercept_msr = svm_intercept_msr,
	.intercept_port = svm_intercept_port,
	.take_nmi = svm_take_nmi,
	.dump = svm_dump,
	.teach = &svm_script,
};
