// SPDX-License-Identifier: MIT
/* Each CPU's way from the firmware's state into root mode, and on into the management guest. */
#include "arch-x86/apic.h"
#include "arch-x86/cpu.h"
#include "arch-x86/desc.h"
#include "arch-x86/insn.h"
#include "arch-x86/log.h"
#include "arch-x86/msr.h"
#include "arch-x86/panic.h"
#include "arch-x86/regs.h"
#include "arch-x86/screen.h"
#include "arch-x86/uart.h"
#include "boot/info.h"
#include "boot/root/check.h"
#include "core/mgmt.h"
#include "core/stats.h"
#include "kvm/hypercall.h"
#include "lib/string.h"
#include "mm/frames.h"
#include "mm/phys.h"
#include "svm/svm.h"
#include "vmx/vmx.h"

#define BARRIER_SECONDS 10
#define CPUID_X2APIC	BIT(21) /* leaf 1, ECX */
#define CPUID_XSAVE	BIT(26)
#define LOWER_HALF	256 /* entries of a page table root */

extern const char root_text_end[], root_rodata_end[], root_data_end[], root_bss_end[];

__attribute__((section(".header"), used)) static const struct root_header header = {
	.magic = ROOT_MAGIC,
	.text_end = (u64)root_text_end,
	.rodata_end = (u64)root_rodata_end,
	.data_end = (u64)root_data_end,
	.bss_end = (u64)root_bss_end,
	.entry = (u64)root_entry,
};

static u32 initialised; /* 0: nobody began; 1: under way; 2: done, the result in init_error */
static int init_error;
static u32 launched; /* CPUs that are guests, of all rounds */

/*
 * By the first four letters of the vendor's name: GenuineIntel; AuthenticAMD, HygonGenuine. SDM
 * vol. 2, "CPUID-CPU Identification"; APM vol. 3, "Largest Standard Function Number and Vendor
 * String".
 */
static const struct virt_ops *find_backend(void)
{
	switch (cpuid(0, 0).ebx) {
	case 0x756e6547:
		return &vmx_ops;
	case 0x68747541:
	case 0x6f677948:
		return &svm_ops;
	default:
		return NULL;
	}
}

static void aim(void *jump, void *target)
{
	s32 displacement = (char *)target - ((char *)jump + 5);

	memcpy((char *)jump + 1, &displacement, sizeof(displacement));
}

/*
 * The jumps of arch-x86/direct.asm, in text that is read-only but for this moment. SDM vol. 3,
 * "Handling Self- and Cross-Modifying Code": CPUID serialises; the other CPUs come later.
 */
static void aim_direct_calls(const struct virt_ops *backend)
{
	u64 cr0 = read_cr0();

	write_cr0(cr0 & ~(u64)CR0_WP);
	aim(virt_run, backend->run);
	aim(virt_swap, backend->swap);
	aim(virt_release, backend->release ? (void *)backend->release : (void *)virt_nothing);
	write_cr0(cr0);
	cpuid(0, 0);
}

/* Sets `virt`, and fills info->why where it fails. 0 or -errno. */
static int probe(struct boot_info *info, u64 *features)
{
	const char *why = "the processor is neither Intel's nor AMD's nor Hygon's";
	const struct virt_ops *backend = find_backend();
	size_t length;

	if (backend) {
		virt = backend;
		why = backend->probe(features);
	}
	if (!why)
		return 0;
	length = MIN(strlen(why), sizeof(info->why) - 1);
	memcpy(info->why, why, length);
	info->why[length] = 0;
	return -ENODEV;
}

/* What root wants of the control registers, whatever the firmware had; the guest keeps its own. */
static void set_control_registers(void)
{
	u64 cr4 = CR4_PAE | CR4_MCE | CR4_OSFXSR | CR4_OSXMMEXCPT;

	if (cpuid(1, 0).ecx & CPUID_XSAVE)
		cr4 |= CR4_OSXSAVE;
	/*
	 * LA57 cannot change in long mode, nor VMXE in VMX operation. Without PGE the firmware's
	 * global pages are flushed.
	 */
	write_cr4(cr4 | (read_cr4() & (CR4_LA57 | CR4_VMXE)));
	write_cr0(CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG);
	if (rdmsr(MSR_PAT) != PAT_RESET)
		wrmsr(MSR_PAT, PAT_RESET);
}

static void set_up_cpu(const struct boot_info *info, struct cpu *cpu, u32 index)
{
	_Static_assert(EXIT_RING_PAGES <= CPU_RING_PAGES, "the loader reserves enough");

	cpu->index = index;
	cpu->apic_id = apic_id_here();
	cpu->x2apic_capable = cpuid(1, 0).ecx & CPUID_X2APIC;
	cpu->host_area = HPA(info->host_areas + index * PAGE_SIZE);
	cpu->ring = phys_ptr(HPA(info->rings + index * CPU_RING_PAGES * PAGE_SIZE));
	cpus[index] = cpu;
}

static void init_log(const struct boot_info *info)
{
	struct log_config log = {
		.ring = phys_ptr(HPA(info->log_ring)),
		.ring_size = info->log_ring_size,
		.tsc_khz = info->tsc_khz,
		.level = info->log_level,
		.line_port = info->serial_port,
		.panic_port = info->panic_port,
	};

	if (!log.panic_port && uart_present(LOG_PANIC_PORT))
		log.panic_port = LOG_PANIC_PORT;
	log_init(&log);
	if (info->framebuffer && 4ull * info->fb_stride * info->fb_height <= info->framebuffer_size)
		screen_init((u32 *)SCREEN_VA, info->fb_width, info->fb_height, info->fb_stride);
	panic_set_report(stats_ring_dump);
}

static int init_memory(const struct boot_info *info)
{
	struct mgmt_boot boot = {
		.pool_base = HPA(info->free_base),
		.pool_pages = info->free_pages,
		.reserved_base = HPA(info->reserved_base),
		.reserved_pages = info->reserved_pages,
		.zero_page = HPA(info->zero_page),
		.ram_end = info->frame_count * PAGE_SIZE,
		.cpu_count = info->cpu_count,
		.tsc_khz = info->tsc_khz,
		.pm1a_control = info->pm1a_control,
		.pm1b_control = info->pm1b_control,
		.pm1a_event = info->pm1a_event,
		.pm1b_event = info->pm1b_event,
		.s3_type = info->s3_type,
		.s4_type = info->s4_type,
	};
	u64 needed = mgmt_pool_pages(boot.ram_end, boot.cpu_count);

	if (boot.pool_pages < needed) {
		log_error("%lu pages are left for page tables, %lu are needed", boot.pool_pages,
			  needed);
		return -ENOMEM;
	}
	frames_init(HPA(info->frame_table), info->frame_count);
	for (u32 i = 0; i < info->range_count; i++)
		frames_set(HPA(info->ranges[i].base), info->ranges[i].pages, FRAME_MANAGEMENT);
	frames_set(HPA(info->reserved_base), info->reserved_pages, FRAME_KEEL);
	return mgmt_init(&boot);
}

/* What is done once, by the first CPU that comes here. */
static int init_machine(struct boot_info *info)
{
	int error;

	init_log(info);
	cpu_count = info->cpu_count;
	host_tsc_khz = info->tsc_khz;
	virt_check_entry = info->check_entry || info->teach;
	virt_teach = info->teach ? TEACH_EXITS + 1 : 0;
	stats_nmi_dump = info->nmi_dump;
	error = probe(info, &virt_features);
	if (error) {
		log_error("%s", info->why);
		return error;
	}
	aim_direct_calls(virt);
	virt_features &= ~(u64)info->backend_forbidden;
	return init_memory(info);
}

static int init_once(struct boot_info *info)
{
	u32 nobody = 0;

	if (__atomic_compare_exchange_n(&initialised, &nobody, 1, false, __ATOMIC_SEQ_CST,
					__ATOMIC_SEQ_CST)) {
		init_error = init_machine(info);
		__atomic_store_n(&initialised, 2, __ATOMIC_SEQ_CST);
	}
	while (__atomic_load_n(&initialised, __ATOMIC_SEQ_CST) != 2)
		pause();
	return init_error;
}

/* A feature that only some CPUs have would be used where it is missing. */
static int check_same_features(void)
{
	u64 features;

	if (virt->probe(&features) || (features & virt_features) != virt_features)
		return -ENODEV;
	return 0;
}

static void fault_on_purpose(const struct boot_info *info, struct cpu *cpu)
{
	u64 guard = (u64)cpu + 0x2800;

	if (cpu->index)
		return;
	if (info->test == ROOT_TEST_PAGE_FAULT)
		*(volatile u64 *)guard = 0;
	if (info->test == ROOT_TEST_DOUBLE_FAULT)
		__asm__ volatile("mov %0, %%rsp; push %%rax" : : "r"(guard) : "memory");
}

static int launch_cpu(struct boot_info *info, struct cpu *cpu, struct boot_cpu_state *state)
{
	int error = init_once(info);

	if (!error)
		error = check_same_features();
	if (error)
		return error;
	fault_on_purpose(info, cpu);
	if (info->test == ROOT_TEST_LAUNCH && cpu->index == info->cpu_count - 1)
		return -EIO;
	state->gpr[GPR_RAX] = 0;
	return mgmt_cpu_launch(cpu, state);
}

/*
 * The loader's page lay in both address spaces for the way in and back. Nobody goes back any more,
 * and the page is the guest's.
 */
static void unmap_lower_half(const struct boot_info *info)
{
	u64 *root = phys_ptr(HPA(info->page_table_root));

	if (read_cr4() & CR4_LA57)
		root = phys_ptr(HPA(root[511] & PTE_ADDRESS));
	for (u32 i = 0; i < LOWER_HALF; i++)
		root[i] = 0;
}

static bool decide(struct boot_info *info, u32 outcome)
{
	u32 undecided = ROOT_UNDECIDED;

	return __atomic_compare_exchange_n(&info->outcome, &undecided, outcome, false,
					   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* The last one to arrive, when nobody has failed. */
static void decide_go(struct boot_info *info)
{
	if (!decide(info, ROOT_DECIDING))
		return;
	launched += info->barrier_count;
	if (launched == info->cpu_count)
		unmap_lower_half(info);
	__atomic_store_n(&info->outcome, ROOT_GO, __ATOMIC_SEQ_CST);
}

/* All CPUs or none: true when all of this round have come here with ok. */
static bool barrier(struct boot_info *info, bool ok)
{
	u64 start = rdtsc(), limit = info->tsc_khz * 1000 * BARRIER_SECONDS;
	u32 outcome;

	if (!ok)
		decide(info, ROOT_BACK);
	if (__atomic_add_fetch(&info->arrived, 1, __ATOMIC_SEQ_CST) == info->barrier_count)
		decide_go(info);
	for (;;) {
		outcome = __atomic_load_n(&info->outcome, __ATOMIC_SEQ_CST);
		if (outcome == ROOT_GO || outcome == ROOT_BACK)
			return outcome == ROOT_GO;
		if (rdtsc() - start > limit)
			decide(info, ROOT_BACK);
		pause();
	}
}

int root_entry(struct boot_info *info, u32 index, u32 command, struct boot_cpu_state *state)
{
	struct cpu *cpu = this_cpu();
	u64 features = 0;
	int error;

	if (command == ROOT_PROBE)
		return probe(info, &features);
	set_control_registers();
	desc_load(cpu);
	set_up_cpu(info, cpu, index);
	if (command == ROOT_CHECK) {
		if (!index)
			init_log(info);
		error = probe(info, &features);
		check_report(info, index, error, features);
		return error;
	}
	error = launch_cpu(info, cpu, state);
	if (error)
		log_error("CPU %u: launch failed: error %d", index, error);
	if (barrier(info, !error)) {
		write_cr3(read_cr3());
		cpu->online = true;
		log_info("CPU %u (APIC id %u) is in guest mode", index, cpu->apic_id);
		kvm_cpu_loop(cpu);
	}
	if (!error)
		mgmt_cpu_undo(cpu);
	if (state->pat != PAT_RESET)
		wrmsr(MSR_PAT, state->pat);
	return error ? error : -ECANCELED;
}
