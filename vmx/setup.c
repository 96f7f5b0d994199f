/* SPDX-License-Identifier: MIT */
/* Is VMX there; root mode on and off; the permission maps; what never changes in a VMCS. */
#include "arch-x86/desc.h"
#include "arch-x86/insn.h"
#include "arch-x86/log.h"
#include "arch-x86/msr.h"
#include "arch-x86/regs.h"
#include "lib/string.h"
#include "mm/phys.h"
#include "mm/pool.h"
#include "vmx/internal.h"
#include "vmx/vmx.h"

/* IA32_VMX_BASIC. SDM vol. 3, appendix "Basic VMX Information". */
#define BASIC_REVISION	  MASK(30, 0)
#define BASIC_MEMORY_TYPE MASK(53, 50)
#define BASIC_MEMORY_WB	  (6ull << 50)
#define BASIC_INSN_INFO	  BIT(54)
#define BASIC_TRUE	  BIT(55)
#define BASIC_ANY_ERROR	  BIT(56)

#define FEATURE_CONTROL_LOCK BIT(0)
#define FEATURE_CONTROL_VMX  BIT(2) /* outside of SMX */

#define MSR_MAP_WRITE 0x800 /* bytes: the half for WRMSR */
#define MSR_MAP_HIGH  0x400 /* bytes: MSRs from C000_0000 in each half */
#define IO_MAP_PAGES  2
#define PLE_GAP	      128  /* TSC ticks between two PAUSEs of one loop */
#define PLE_WINDOW    4096 /* TSC ticks in it before an exit */
#define VPIDS	      0x10000u
#define APIC_TPR      0x80

struct vmx_cpu_features vmx_features;

const struct vmx_words vmx_required = {
	.pin = PIN_EXTERNAL_INTR | PIN_NMI,
	.cpu = CPU_INTR_WINDOW | CPU_TSC_OFFSETTING | CPU_HLT | CPU_MOV_DR | CPU_IO_BITMAPS |
	       CPU_MSR_BITMAPS | CPU_CR8_LOAD | CPU_CR8_STORE | CPU_SECONDARY,
	.cpu2 = CPU2_EPT | CPU2_UNRESTRICTED,
	.exit = VMEXIT_SAVE_DEBUG | VMEXIT_HOST_64 | VMEXIT_SAVE_PAT | VMEXIT_LOAD_PAT |
		VMEXIT_SAVE_EFER | VMEXIT_LOAD_EFER,
	.entry = VMENTRY_LOAD_DEBUG | VMENTRY_LOAD_PAT | VMENTRY_LOAD_EFER,
};
static const u64 ept_required = EPT_CAP_WALK_4 | EPT_CAP_WB | EPT_CAP_INVEPT;

/* Low half: bits that must be 1. High half: bits that may be. Appendix "VM-Execution Controls". */
static struct vmx_allowed read_allowed(u32 msr)
{
	u64 value = rdmsr(msr);

	return (struct vmx_allowed){.one = value, .zero = ~(u32)(value >> 32)};
}

static void read_capabilities(void)
{
	u64 basic = rdmsr(MSR_VMX_BASIC);
	u32 true_offset =
		basic & BASIC_TRUE ? MSR_VMX_TRUE_PINBASED_CTLS - MSR_VMX_PINBASED_CTLS : 0;
	struct vmx_cpu_features *f = &vmx_features;

	f->revision = basic & BASIC_REVISION;
	f->true_controls = basic & BASIC_TRUE;
	f->insn_info_io = basic & BASIC_INSN_INFO;
	f->any_error_code = basic & BASIC_ANY_ERROR;
	f->pin = read_allowed(MSR_VMX_PINBASED_CTLS + true_offset);
	f->cpu = read_allowed(MSR_VMX_PROCBASED_CTLS + true_offset);
	f->exit = read_allowed(MSR_VMX_EXIT_CTLS + true_offset);
	f->entry = read_allowed(MSR_VMX_ENTRY_CTLS + true_offset);
	f->cpu2 = (struct vmx_allowed){.zero = ~0u};
	if (!(f->cpu.zero & CPU_SECONDARY))
		f->cpu2 = read_allowed(MSR_VMX_PROCBASED_CTLS2);
	f->ept_vpid = 0;
	if (!(f->cpu2.zero & CPU2_EPT) || !(f->cpu2.zero & CPU2_VPID))
		f->ept_vpid = rdmsr(MSR_VMX_EPT_VPID_CAP);
	f->misc = rdmsr(MSR_VMX_MISC);
	f->cr0_fixed0 = rdmsr(MSR_VMX_CR0_FIXED0);
	f->cr0_fixed1 = rdmsr(MSR_VMX_CR0_FIXED1);
	f->cr4_fixed0 = rdmsr(MSR_VMX_CR4_FIXED0);
	f->cr4_fixed1 = rdmsr(MSR_VMX_CR4_FIXED1);
	f->physical_bits = cpuid(0x80000008, 0).eax & 0xff;
}

static const char *missing_control(void)
{
	const struct vmx_cpu_features *f = &vmx_features;

	if (f->pin.zero & vmx_required.pin)
		return "VMX cannot exit for interrupts and NMIs";
	if (f->cpu.zero & vmx_required.cpu & CPU_MSR_BITMAPS)
		return "VMX has no MSR bitmaps";
	if (f->cpu.zero & vmx_required.cpu)
		return "VMX lacks a processor-based control that Keel needs";
	if (f->cpu.one & (CPU_CR3_LOAD | CPU_CR3_STORE))
		return "VMX cannot leave CR3 to its guests: it has no true controls";
	if (f->cpu2.zero & CPU2_EPT || ~f->ept_vpid & ept_required)
		return "VMX has no EPT with 4 levels and write-back tables";
	if (!(f->ept_vpid & (EPT_CAP_INVEPT_SINGLE | EPT_CAP_INVEPT_ALL)))
		return "VMX cannot invalidate EPT translations";
	if (f->cpu2.zero & vmx_required.cpu2)
		return "VMX has no unrestricted guest";
	if (f->exit.zero & vmx_required.exit || f->entry.zero & vmx_required.entry)
		return "VMX cannot switch PAT and EFER, or has no 64-bit host";
	return NULL;
}

static const char *missing(void)
{
	struct cpuid_regs vendor = cpuid(0, 0), feature = cpuid(1, 0);
	u64 control;

	if (vendor.ebx != 0x756e6547) /* "Genu"ineIntel */
		return "the processor is not Intel's";
	if (!(feature.ecx & BIT(5))) {
		if (feature.ecx & BIT(31))
			return "the outer hypervisor hides VMX: switch nested virtualisation on";
		return "the processor has no VMX";
	}
	control = rdmsr(MSR_FEATURE_CONTROL);
	if (control & FEATURE_CONTROL_LOCK && !(control & FEATURE_CONTROL_VMX))
		return "the firmware disabled VMX and locked it: enable it in the setup";
	if (read_cr4() & CR4_VMXE)
		return "VMX is in use already (CR4.VMXE)";
	if ((rdmsr(MSR_VMX_BASIC) & BASIC_MEMORY_TYPE) != BASIC_MEMORY_WB)
		return "the VMCS is not write-back memory on this processor";
	read_capabilities();
	return missing_control();
}

static bool has_virtual_nmis(void)
{
	return !(vmx_features.pin.zero & PIN_VIRTUAL_NMIS) &&
	       !(vmx_features.cpu.zero & CPU_NMI_WINDOW);
}

static bool has_vpid(void)
{
	u64 all = EPT_CAP_INVVPID | EPT_CAP_INVVPID_ALL;

	return !(vmx_features.cpu2.zero & CPU2_VPID) && (vmx_features.ept_vpid & all) == all;
}

/* Where it counts at a wrong rate: Intel's errata AAT59, AAU65 and BA86; 306A8h as in KVM. */
static bool timer_broken(void)
{
	static const u32 signatures[] = {0x20652, 0x20655, 0x206e6, 0x306a8};
	u32 signature = cpuid(1, 0).eax;

	for (size_t i = 0; i < ARRAY_SIZE(signatures); i++)
		if (signature == signatures[i])
			return true;
	return false;
}

static void read_features(u64 *features)
{
	static const struct {
		u32 control;
		u64 feature;
	} map[] = {
		{CPU2_TSC_SCALING, VIRT_TSC_SCALING}, {CPU2_PAUSE_LOOP, VIRT_PAUSE_FILTER},
		{CPU2_INVPCID, VIRT_INVPCID},	      {CPU2_RDTSCP, VIRT_RDTSCP},
		{CPU2_XSAVES, VIRT_XSAVES},	      {CPU2_USER_WAIT, VIRT_WAITPKG},
	};
	const struct vmx_cpu_features *f = &vmx_features;

	*features = VIRT_NEXT_RIP;
	for (size_t i = 0; i < ARRAY_SIZE(map); i++)
		if (!(f->cpu2.zero & map[i].control))
			*features |= map[i].feature;
	if (has_virtual_nmis())
		*features |= VIRT_VIRTUAL_NMI;
	if (f->ept_vpid & EPT_CAP_2M)
		*features |= VIRT_SLAT_2M;
	if (f->ept_vpid & EPT_CAP_1G)
		*features |= VIRT_SLAT_1G;
	if (!(f->pin.zero & PIN_PREEMPTION_TIMER) && !timer_broken())
		*features |= VIRT_PREEMPT_TIMER;
	if (!(f->cpu.zero & CPU_TPR_SHADOW))
		*features |= VIRT_TPR_SHADOW;
	if (f->ept_vpid & EPT_CAP_AD)
		*features |= VIRT_SLAT_AD;
	if (!(f->cpu2.zero & CPU2_PML) && f->ept_vpid & EPT_CAP_AD)
		*features |= VIRT_PML;
	if (has_vpid())
		*features |= VIRT_VPID;
}

/* Without IBRS_ALL (IA32_ARCH_CAPABILITIES) the return predictor keeps the guest's entries. */
static bool needs_rsb_fill(void)
{
	u32 edx = cpuid(0, 0).eax >= 7 ? cpuid(7, 0).edx : 0;

	if (!(edx & BIT(26)))
		return false;
	return !(edx & BIT(29)) || !(rdmsr(MSR_ARCH_CAPABILITIES) & BIT(1));
}

const char *vmx_probe(u64 *features)
{
	const char *why = missing();

	if (why)
		return why;
	read_features(features);
	vmx_features.rsb_fill = needs_rsb_fill();
	return NULL;
}

int vmx_cpu_on(struct cpu *cpu, hpa_t host_area)
{
	u64 control;
	int error;

	if (missing())
		return trace_error(-ENODEV);
	control = rdmsr(MSR_FEATURE_CONTROL);
	if (!(control & FEATURE_CONTROL_LOCK))
		wrmsr(MSR_FEATURE_CONTROL, control | FEATURE_CONTROL_VMX | FEATURE_CONTROL_LOCK);
	write_cr0((read_cr0() | vmx_features.cr0_fixed0) & vmx_features.cr0_fixed1);
	write_cr4((read_cr4() | vmx_features.cr4_fixed0) & vmx_features.cr4_fixed1);
	*(u32 *)phys_ptr(host_area) = vmx_features.revision;
	error = vmxon(host_area);
	if (error) {
		write_cr4(read_cr4() & ~(u64)CR4_VMXE);
		return trace_error(error);
	}
	cpu->host_area = host_area;
	cpu->current = NULL;
	cpu->asid_count = VPIDS;
	/* Whoever ran guests here before may have left translations. */
	cpu->asid_next = 1;
	cpu->asid_generation = 1;
	if (has_vpid())
		invvpid(INVALIDATE_ALL, 0);
	cpu->sleep_begin = (u64)vmx_check_begin;
	cpu->sleep_end = (u64)vmx_check_end;
	return 0;
}

void vmx_cpu_off(struct cpu *cpu)
{
	if (cpu->current)
		vmx_release(cpu->current);
	vmxoff();
	write_cr4(read_cr4() & ~(u64)CR4_VMXE);
}

int vmx_vm_init(struct virt_vm *vm, struct pool *pool)
{
	int fill = vm->kind == VIRT_CHILD ? 0xff : 0;
	hpa_t maps = pool_alloc(pool, 1 + IO_MAP_PAGES);

	if (maps.v == HPA_NONE.v)
		return trace_error(-ENOMEM);
	vm->msr_map_hpa = maps;
	vm->io_map_hpa = HPA(maps.v + PAGE_SIZE);
	vm->msr_map = phys_ptr(vm->msr_map_hpa);
	vm->io_map = phys_ptr(vm->io_map_hpa);
	memset(vm->msr_map, fill, (1 + IO_MAP_PAGES) * PAGE_SIZE);
	return 0;
}

static void set_map_bit(u8 *byte, u32 bit, bool on)
{
	*byte = (*byte & ~(1 << bit)) | on << bit;
}

/* A bit an MSR; two ranges of 8 K MSRs. All others always exit. SDM vol. 3, "MSR-Bitmap Address".
 */
void vmx_intercept_msr(struct virt_vm *vm, u32 index, bool read, bool write)
{
	static const u32 bases[] = {0, 0xc0000000};
	u8 *map = vm->msr_map;

	for (size_t i = 0; i < ARRAY_SIZE(bases); i++) {
		u32 offset = index - bases[i];

		if (offset >= 0x2000)
			continue;
		map += i * MSR_MAP_HIGH + offset / 8;
		set_map_bit(map, offset % 8, read);
		set_map_bit(map + MSR_MAP_WRITE, offset % 8, write);
		return;
	}
}

void vmx_intercept_port(struct virt_vm *vm, u16 port, bool on)
{
	set_map_bit((u8 *)vm->io_map + port / 8, port % 8, on);
}

void vmx_choose_controls(enum virt_kind kind, u64 features, struct vmx_words *chosen,
			 u32 *exceptions)
{
	const struct vmx_cpu_features *f = &vmx_features;
	struct vmx_controls c = {0};

	vmx_static_intercepts(kind, &c);
	c.cpu |= CPU_IO_BITMAPS | CPU_MSR_BITMAPS | CPU_SECONDARY;
	c.cpu2 |= CPU2_EPT | CPU2_UNRESTRICTED;
	if (features & VIRT_VIRTUAL_NMI)
		c.pin |= PIN_VIRTUAL_NMIS;
	if (features & VIRT_VPID)
		c.cpu2 |= CPU2_VPID;
	if (features & VIRT_RDTSCP)
		c.cpu2 |= CPU2_RDTSCP;
	if (features & VIRT_INVPCID)
		c.cpu2 |= CPU2_INVPCID;
	if (kind == VIRT_MANAGEMENT) { /* what the host's CPUID has and a child's has not */
		if (features & VIRT_XSAVES)
			c.cpu2 |= CPU2_XSAVES;
		if (features & VIRT_WAITPKG)
			c.cpu2 |= CPU2_USER_WAIT;
	} else {
		c.cpu |= CPU_TSC_OFFSETTING;
		if (features & VIRT_TSC_SCALING)
			c.cpu2 |= CPU2_TSC_SCALING;
		c.cpu |= features & VIRT_TPR_SHADOW ? CPU_TPR_SHADOW : CPU_CR8_LOAD | CPU_CR8_STORE;
		if (features & VIRT_PAUSE_FILTER)
			c.cpu2 |= CPU2_PAUSE_LOOP;
	}
	*chosen = (struct vmx_words){
		.pin = vmx_adjust(&f->pin, c.pin),
		.cpu = vmx_adjust(&f->cpu, c.cpu),
		.cpu2 = vmx_adjust(&f->cpu2, c.cpu2),
		.exit = vmx_adjust(&f->exit, vmx_required.exit),
		.entry = vmx_adjust(&f->entry, vmx_required.entry),
	};
	*exceptions = c.exceptions;
}

static u32 native_controls(u32 native)
{
	return (native & NATIVE_HLT ? CPU_HLT : 0) |
	       (native & NATIVE_MWAIT ? CPU_MWAIT | CPU_MONITOR : 0);
}

static void write_controls(struct virt_vcpu *v)
{
	struct vmx_vcpu *x = vmx_of(v);
	struct vmx_words chosen;

	vmx_choose_controls(v->vm->kind, v->features, &chosen, &x->exceptions);
	x->pin = chosen.pin;
	x->cpu = vmx_adjust(&vmx_features.cpu, chosen.cpu & ~native_controls(v->vm->native));
	x->cpu2 = chosen.cpu2;
	x->exit = chosen.exit;
	x->entry = chosen.entry;
	vmwrite(VMCS_PIN_CONTROLS, x->pin);
	vmwrite(VMCS_CPU_CONTROLS, x->cpu);
	vmwrite(VMCS_CPU_CONTROLS2, x->cpu2);
	vmwrite(VMCS_EXIT_CONTROLS, x->exit);
	vmwrite(VMCS_ENTRY_CONTROLS, x->entry);
	vmwrite(VMCS_EXCEPTION_BITMAP, x->exceptions);
	if (x->cpu2 & CPU2_PAUSE_LOOP) {
		vmwrite(VMCS_PLE_GAP, PLE_GAP);
		vmwrite(VMCS_PLE_WINDOW, PLE_WINDOW);
	}
	if (x->cpu2 & CPU2_XSAVES)
		vmwrite(VMCS_XSS_EXITING, 0);
	if (x->cpu2 & CPU2_TSC_SCALING)
		vmx_set(v, VREG_TSC_RATIO, TSC_RATIO_ONE);
	if (x->cpu2 & CPU2_ENCLS)
		vmwrite(VMCS_ENCLS_EXITING, ~0ull);
	if (x->cpu2 & CPU2_ENCLV)
		vmwrite(VMCS_ENCLV_EXITING, ~0ull);
}

static void write_addresses(struct virt_vcpu *v)
{
	struct vmx_vcpu *x = vmx_of(v);

	x->eptp = v->vm->slat_root.v | EPTP_WB | EPTP_WALK_4;
	vmwrite(VMCS_EPTP, x->eptp);
	vmwrite(VMCS_IO_BITMAP_A, v->vm->io_map_hpa.v);
	vmwrite(VMCS_IO_BITMAP_B, v->vm->io_map_hpa.v + PAGE_SIZE);
	vmwrite(VMCS_MSR_BITMAP, v->vm->msr_map_hpa.v);
	vmwrite(VMCS_LINK_POINTER, ~0ull);
	if (x->virtual_apic) {
		vmwrite(VMCS_VIRTUAL_APIC, ptr_phys(x->virtual_apic).v);
		vmwrite(VMCS_TPR_THRESHOLD, 0);
	}
}

/*
 * Bits whose writes by the guest come to Keel, and which it sees as the shadow has them. A child's
 * CR0 as SVM's selective intercept; the management guest's only where VMX itself is in the way.
 */
static void write_masks(const struct virt_vcpu *v)
{
	bool child = v->vm->kind == VIRT_CHILD;
	u64 fixed = vmx_features.cr0_fixed0 & ~(u64)(CR0_PE | CR0_PG);

	vmwrite(VMCS_CR0_MASK, child ? ~(u64)(CR0_TS | CR0_MP) : fixed);
	vmwrite(VMCS_CR4_MASK, child ? ~0ull : CR4_VMXE | CR4_SMXE);
}

/* What is the same on each CPU and does not change; run.c writes the rest of the host state. */
static void write_host_state(struct virt_vcpu *v)
{
	struct descriptor_pointer idt;

	sidt(&idt);
	vmwrite(VMCS_HOST_CR0, read_cr0());
	vmwrite(VMCS_HOST_CR3, read_cr3());
	vmwrite(VMCS_HOST_CR4, read_cr4());
	vmwrite(VMCS_HOST_CS_SELECTOR, ROOT_CS);
	vmwrite(VMCS_HOST_SS_SELECTOR, ROOT_DS);
	vmwrite(VMCS_HOST_DS_SELECTOR, ROOT_DS);
	vmwrite(VMCS_HOST_ES_SELECTOR, ROOT_DS);
	vmwrite(VMCS_HOST_FS_SELECTOR, 0);
	vmwrite(VMCS_HOST_GS_SELECTOR, 0);
	vmwrite(VMCS_HOST_TR_SELECTOR, ROOT_TSS);
	vmwrite(VMCS_HOST_FS_BASE, (u64)v); /* how entry.asm finds it behind an exit */
	vmwrite(VMCS_HOST_GS_BASE, 0);
	vmwrite(VMCS_HOST_IDTR_BASE, idt.base);
	vmwrite(VMCS_HOST_SYSENTER_CS, 0);
	vmwrite(VMCS_HOST_SYSENTER_ESP, 0);
	vmwrite(VMCS_HOST_SYSENTER_EIP, 0);
	vmwrite(VMCS_HOST_PAT, rdmsr(MSR_PAT));
	vmwrite(VMCS_HOST_EFER, rdmsr(MSR_EFER));
	vmwrite(VMCS_HOST_RIP, (u64)vmx_exit_point);
}

/* A VMCS has no defined contents before they are written. */
static void write_zeros(void)
{
	static const u16 fields[] = {
		VMCS_PF_ERROR_MASK,
		VMCS_PF_ERROR_MATCH,
		VMCS_CR3_TARGET_COUNT,
		VMCS_EXIT_MSR_STORE_COUNT,
		VMCS_EXIT_MSR_LOAD_COUNT,
		VMCS_ENTRY_MSR_LOAD_COUNT,
		VMCS_ENTRY_INTR_INFO,
		VMCS_ENTRY_ERROR_CODE,
		VMCS_ENTRY_INSN_LEN,
		VMCS_TSC_OFFSET,
		VMCS_GUEST_DEBUGCTL,
		VMCS_GUEST_EFER,
		VMCS_GUEST_PDPTE0,
		VMCS_GUEST_PDPTE1,
		VMCS_GUEST_PDPTE2,
		VMCS_GUEST_PDPTE3,
		VMCS_GUEST_INTERRUPTIBILITY,
		VMCS_GUEST_ACTIVITY,
		VMCS_GUEST_SYSENTER_CS,
		VMCS_GUEST_SYSENTER_ESP,
		VMCS_GUEST_SYSENTER_EIP,
		VMCS_GUEST_PENDING_DEBUG,
		VMCS_GUEST_CR3,
		VMCS_GUEST_RIP,
		VMCS_GUEST_RSP,
	};

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		vmwrite(fields[i], 0);
	vmwrite(VMCS_GUEST_PAT, PAT_RESET);
	vmwrite(VMCS_GUEST_DR7, DR7_INIT);
}

/* Values that a vCPU has before core/ sets its own: the contract says zero. */
static void write_registers(struct virt_vcpu *v)
{
	const struct segment none = {0};

	vmx_set(v, VREG_RFLAGS, RFLAGS_ONE);
	vmx_set(v, VREG_CR0, 0);
	vmx_set(v, VREG_CR4, 0);
	vmx_set(v, VREG_EFER, 0);
	for (enum seg seg = SEG_ES; seg < SEG_COUNT; seg++)
		vmx_set_segment(v, seg, &none);
}

int vmx_vcpu_init(struct virt_vcpu *v, struct virt_vm *vm, struct pool *pool)
{
	bool virtual_apic = vm->kind == VIRT_CHILD && vm->features & VIRT_TPR_SHADOW;
	bool log = vm->kind == VIRT_CHILD && vm->features & VIRT_PML;
	hpa_t pages = pool_alloc(pool, 2 + virtual_apic + log);
	struct vmx_vcpu *x;

	if (pages.v == HPA_NONE.v)
		return trace_error(-ENOMEM);
	v->vm = vm;
	v->features = vm->features;
	v->hw_hpa = pages;
	v->hw = x = phys_ptr(HPA(pages.v + PAGE_SIZE));
	x->v = v;
	x->dr6 = DR6_INIT;
	if (virtual_apic)
		x->virtual_apic = (u8 *)x + PAGE_SIZE;
	if (log)
		x->log = (u64 *)((u8 *)x + (1 + virtual_apic) * PAGE_SIZE);
	*(u32 *)phys_ptr(pages) = vmx_features.revision;
	vmclear(&pages);
	vmx_make_current(v);
	write_controls(v);
	write_addresses(v);
	write_masks(v);
	write_host_state(v);
	write_zeros();
	write_registers(v);
	vmx_intercept(v, 0);
	return 0;
}

const struct virt_ops vmx_ops = {
	.name = "VMX",
	.ept = true,
	.withholds = VIRT_INVPCID | VIRT_RDTSCP,
	.nmi_taken = true,
	.syscall_msrs_told = true,
	.xsetbv_exits = true,
	.probe = vmx_probe,
	.cpu_on = vmx_cpu_on,
	.cpu_off = vmx_cpu_off,
	.vm_init = vmx_vm_init,
	.vcpu_init = vmx_vcpu_init,
	.load = vmx_load,
	.put = vmx_put,
	.swap = vmx_swap,
	.release = vmx_release,
	.run = vmx_run,
	.get = vmx_get,
	.set = vmx_set,
	.get_segment = vmx_get_segment,
	.set_segment = vmx_set_segment,
	.inject = vmx_inject,
	.intercept = vmx_intercept,
	.intercept_msr = vmx_intercept_msr,
	.intercept_port = vmx_intercept_port,
	.take_nmi = vmx_take_nmi,
	.dump = vmx_dump,
	.teach = &vmx_script,
};
