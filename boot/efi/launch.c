/* SPDX-License-Identifier: MIT */
/*
 * Puts root mode under the running machine: reserves memory, lays it out, builds root's page
 * tables, and enters root on every CPU. All CPUs become guests, or none.
 */
#include "boot/efi/loader.h"

#include "arch-x86/apic.h"
#include "arch-x86/cpu.h"
#include "arch-x86/log_ring.h"
#include "arch-x86/msr.h"
#include "arch-x86/regs.h"
#include "arch-x86/screen.h"
#include "arch-x86/uart.h"
#include "arch-x86/virt.h"
#include "boot/efi/acpi.h"
#include "boot/efi/reserve.h"
#include "boot/efi/tables.h"
#include "boot/info.h"
#include "kvm/abi.h"
#include "lib/efi_mp_services.h"
#include "lib/printf.h"
#include "lib/string.h"
#include "mm/phys.h"

/*
 * The same place at each boot: the log's ring is found again. Not below the size of an unpacked
 * Linux: kexec_file_load() takes the first hole that its file fits into, and the kernel unpacks
 * itself behind.
 */
#define BLOCK_WISH	      0x10000000ull
#define MAP_SLACK	      8
#define XAPIC_PAGE	      0xfee00000ull
#define STACK_TOP	      0x7000 /* in a CPU's block */
#define AP_WAIT_MS	      15000
#define CPUID_VMX	      BIT(5)  /* leaf 1, ECX */
#define CPUID_HYPERVISOR      BIT(31) /* leaf 1, ECX */
#define CPUID_SVM	      BIT(2)  /* leaf 8000_0001, ECX */
#define HYPERVISOR_LEAVES     0x40000000u
#define HYPERVISOR_LEAVES_END 0x40010000u
#define TAIL_BYTES	      1500
#define CALIBRATION_US	      50000

/* The upper half of a capability MSR: controls that may be 1. */
#define ALLOWED_SECONDARY BIT(63)
#define ALLOWED_EPT	  BIT(33)
#define ALLOWED_VPID	  BIT(37)
#define EPT_2M		  BIT(16)
#define EPT_1G		  BIT(17)

extern const char root_image[], root_image_end[]; /* image.asm */

struct launch_call {
	u64 trampoline, cr3, stack, entry, info, index, command, state;
};
s64 launch_call(const struct launch_call *call, struct boot_cpu_state *state);
extern const char launch_trampoline[], launch_trampoline_end[];

#define ASSERT_STATE(field, offset)                                                                \
	_Static_assert(offsetof(struct boot_cpu_state, field) == (offset), #field)
ASSERT_STATE(gpr[4], 32);
ASSERT_STATE(rip, 128);
ASSERT_STATE(rflags, 136);
ASSERT_STATE(cr4, 168);
ASSERT_STATE(efer, 176);
ASSERT_STATE(idt_base, 192);
ASSERT_STATE(gdt_limit, 200);
ASSERT_STATE(es, 204);
ASSERT_STATE(tr, 218);

/* Everything of one launch; the firmware's CPUs reach it through `the_launch`. */
static struct {
	struct boot_info *info;
	EFI_MP_SERVICES *mp;
	struct tables tables;
	u64 next, end; /* of the reserved block, while it is laid out */
	u64 block, block_pages;
	bool keep_block;
	u64 ring, ring_start; /* what this boot says begins at ring_start */
	u16 log_port;	      /* serial=, 0: none */
	u64 ram_end, ram_pages;
	struct root_header header;
	UINTN numbers[CPU_MAX]; /* firmware's processor number of each index */
	s64 results[CPU_MAX];
} the_launch;

static struct cpuid_leaf {
	u32 a, b, c, d;
} cpuid_of(u32 leaf)
{
	struct cpuid_leaf r;

	__asm__ volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(0));
	return r;
}

static u64 msr(u32 index)
{
	u32 low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
	return (u64)high << 32 | low;
}

static void set_msr(u32 index, u64 value)
{
	__asm__ volatile("wrmsr" : : "c"(index), "a"((u32)value), "d"((u32)(value >> 32)));
}

static u64 tsc(void)
{
	u32 low, high;

	__asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high));
	return (u64)high << 32 | low;
}

void launch_log(const char *line)
{
	if (the_launch.ring)
		log_ring_write((struct log_ring *)the_launch.ring, line, strlen(line));
	if (the_launch.log_port)
		uart_write(the_launch.log_port, line, strlen(line));
}

/* On the firmware's console, and in Keel's log. */
static void refuse(const char *format_text, ...) printf_like(1);
static void refuse(const char *format_text, ...)
{
	char why[200], line[240];
	va_list arguments;

	va_start(arguments, format_text);
	format_string(why, sizeof(why), format_text, arguments);
	va_end(arguments);
	say("keel: %s\n", why);
	format(line, sizeof(line), "keel: not launched: %s\n", why);
	launch_log(line);
}

/* ---- the machine ------------------------------------------------------------------------------
 */

static bool find_cpus(const struct config *config)
{
	EFI_GUID guid = EFI_MP_SERVICES_GUID;
	struct boot_info *info = the_launch.info;
	UINTN total = 1, enabled = 1, bsp = 0;

	info->backend_forbidden = config->hw_off;
	info->cpu_count = 1;
	info->apic_ids[0] = cpuid_of(1).b >> 24;
	if (EFI_ERROR(BS->LocateProtocol(&guid, NULL, (void **)&the_launch.mp))) {
		the_launch.mp = NULL;
		say("keel: the firmware has no MP services: one CPU is assumed\n");
		return true;
	}
	the_launch.mp->GetNumberOfProcessors(the_launch.mp, &total, &enabled);
	the_launch.mp->WhoAmI(the_launch.mp, &bsp);
	the_launch.numbers[0] = bsp;
	for (UINTN i = 0; i < total; i++) {
		EFI_PROCESSOR_INFORMATION cpu;
		u32 index = i == bsp ? 0 : info->cpu_count;

		if (EFI_ERROR(the_launch.mp->GetProcessorInfo(the_launch.mp, i, &cpu)) ||
		    !(cpu.status & PROCESSOR_ENABLED))
			continue;
		if (index >= CPU_MAX) {
			refuse("more than %u CPUs", CPU_MAX);
			return false;
		}
		the_launch.numbers[index] = i;
		info->apic_ids[index] = cpu.id;
		info->cpu_count += index != 0;
	}
	if (config->max_cpus && info->cpu_count > config->max_cpus) {
		refuse("the machine has %u CPUs, cpus=%u allows no launch", info->cpu_count,
		       config->max_cpus);
		return false;
	}
	return true;
}

static bool is_ram(u32 type)
{
	switch (type) {
	case EfiLoaderCode:
	case EfiLoaderData:
	case EfiBootServicesCode:
	case EfiBootServicesData:
	case EfiRuntimeServicesCode:
	case EfiRuntimeServicesData:
	case EfiConventionalMemory:
	case EfiACPIReclaimMemory:
	case EfiACPIMemoryNVS:
		return true;
	default:
		return false;
	}
}

/*
 * RAM that firmware keeps for itself may hold code that the management guest runs: the loop in
 * which the other CPUs wait for the operating system. Registers of devices are reserved, too, but
 * cannot be cached. UEFI specification, "EFI_BOOT_SERVICES.GetMemoryMap()".
 */
static bool is_kept_ram(const EFI_MEMORY_DESCRIPTOR *d)
{
	return d->Type == EfiReservedMemoryType && d->Attribute & EFI_MEMORY_WB;
}

/* Adds a range to the sorted list, merged with its neighbours. */
static bool add_range(struct boot_info *info, u64 base, u64 pages)
{
	struct boot_range *r = info->ranges;
	u32 at = 0;

	while (at < info->range_count && r[at].base + r[at].pages * PAGE_SIZE < base)
		at++;
	if (at < info->range_count && r[at].base <= base + pages * PAGE_SIZE) {
		u64 end = MAX(base + pages * PAGE_SIZE, r[at].base + r[at].pages * PAGE_SIZE);

		r[at].base = MIN(base, r[at].base);
		while (at + 1 < info->range_count && r[at + 1].base <= end) {
			end = MAX(end, r[at + 1].base + r[at + 1].pages * PAGE_SIZE);
			info->range_count--;
			memmove(&r[at + 1], &r[at + 2],
				(info->range_count - at - 1) * sizeof(r[0]));
		}
		r[at].pages = (end - r[at].base) / PAGE_SIZE;
		return true;
	}
	if (info->range_count == BOOT_RANGES)
		return false;
	memmove(&r[at + 1], &r[at], (info->range_count - at) * sizeof(r[0]));
	r[at] = (struct boot_range){base, pages};
	info->range_count++;
	return true;
}

static u64 descriptor_end(const EFI_MEMORY_DESCRIPTOR *d)
{
	return d->PhysicalStart + d->NumberOfPages * PAGE_SIZE;
}

/* RAM as the firmware sees it, before Keel takes its own part. */
static bool find_ram(void)
{
	struct boot_info *info = the_launch.info;
	UINTN size = 0, key, descriptor_size;
	UINT32 version;
	EFI_MEMORY_DESCRIPTOR *map;
	bool fits = true;

	BS->GetMemoryMap(&size, NULL, &key, &descriptor_size, &version);
	size += MAP_SLACK * descriptor_size;
	map = pool_take(size);
	if (!map || EFI_ERROR(BS->GetMemoryMap(&size, map, &key, &descriptor_size, &version))) {
		refuse("the firmware gives no memory map");
		return false;
	}
	for (UINTN at = 0; at + descriptor_size <= size; at += descriptor_size) {
		const EFI_MEMORY_DESCRIPTOR *d = (void *)((u8 *)map + at);

		if (!is_ram(d->Type))
			continue;
		fits &= add_range(info, d->PhysicalStart, d->NumberOfPages);
		the_launch.ram_pages += d->NumberOfPages;
		the_launch.ram_end = MAX(the_launch.ram_end, descriptor_end(d));
	}
	/* Of what lies above all other RAM nothing is known, above all not its size. */
	for (UINTN at = 0; at + descriptor_size <= size; at += descriptor_size) {
		const EFI_MEMORY_DESCRIPTOR *d = (void *)((u8 *)map + at);

		if (is_kept_ram(d) && descriptor_end(d) <= the_launch.ram_end)
			fits &= add_range(info, d->PhysicalStart, d->NumberOfPages);
	}
	pool_release(map);
	if (!fits)
		refuse("the memory map has more than %u ranges", BOOT_RANGES);
	return fits;
}

static u32 pm_timer(u16 port)
{
	u32 value;

	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
	return value & MASK(23, 0);
}

/*
 * SDM vol. 3, "Determining the Processor Base Frequency": leaf 0x15, where it names the crystal.
 * Else against the ACPI timer (3.579545 MHz), which stands still with the TSC when an outer
 * hypervisor takes the CPU away; else against the firmware's clock.
 */
static u64 measure_tsc_khz(u16 timer_port)
{
	struct cpuid_leaf ratio = {0};
	u64 start, ticks;
	u32 timer;

	if (cpuid_of(0).a >= 0x15)
		ratio = cpuid_of(0x15);
	if (ratio.a && ratio.b && ratio.c)
		return (u64)ratio.c * ratio.b / ratio.a / 1000;
	if (timer_port) {
		timer = pm_timer(timer_port);
		start = tsc();
		BS->Stall(CALIBRATION_US);
		timer = (pm_timer(timer_port) - timer) & MASK(23, 0);
		ticks = tsc() - start;
		if (timer)
			return ticks * 3579545 / timer / 1000;
	}
	start = tsc();
	BS->Stall(CALIBRATION_US);
	return (tsc() - start) * 1000 / CALIBRATION_US;
}

static void find_platform(const struct config *config)
{
	EFI_GUID acpi2 = ACPI_20_TABLE_GUID, acpi1 = ACPI_TABLE_GUID;
	EFI_GUID screen_guid = EFI_GRAPHICS_OUTPUT_PROTOCOL_GUID;
	struct boot_info *info = the_launch.info;
	EFI_GRAPHICS_OUTPUT_PROTOCOL *screen;
	struct acpi_facts acpi;

	for (UINTN i = 0; i < ST->NumberOfTableEntries; i++) {
		const EFI_CONFIGURATION_TABLE *t = &ST->ConfigurationTable[i];

		if (!memcmp(&t->VendorGuid, &acpi2, sizeof(acpi2)) ||
		    (!info->rsdp && !memcmp(&t->VendorGuid, &acpi1, sizeof(acpi1))))
			info->rsdp = (u64)t->VendorTable;
	}
	acpi_read(&acpi, info->rsdp, 0);
	info->pm1a_control = acpi.pm1a_control;
	info->pm1b_control = acpi.pm1b_control;
	info->pm1a_event = acpi.pm1a_event;
	info->pm1b_event = acpi.pm1b_event;
	info->s3_type = acpi.s3_type;
	info->s4_type = acpi.s4_type;
	info->serial_port = the_launch.log_port;
	info->log_level = config->log_level;
	info->check_entry = config->check_entry;
	info->nmi_dump = config->nmi_dump;
	info->teach = config->teach;
	info->test = config->test;
	info->tsc_khz = measure_tsc_khz(acpi.pm_timer);
	if (EFI_ERROR(BS->LocateProtocol(&screen_guid, NULL, (void **)&screen)) || !screen->Mode ||
	    screen->Mode->Info->PixelFormat > PixelBlueGreenRedReserved8BitPerColor ||
	    screen->Mode->FrameBufferBase % PAGE_SIZE)
		return;
	info->framebuffer = screen->Mode->FrameBufferBase;
	info->framebuffer_size = MIN((u64)screen->Mode->FrameBufferSize, SCREEN_MAX);
	info->fb_width = screen->Mode->Info->HorizontalResolution;
	info->fb_height = screen->Mode->Info->VerticalResolution;
	info->fb_stride = screen->Mode->Info->PixelsPerScanLine;
	info->fb_format = screen->Mode->Info->PixelFormat;
}

/* ---- memory -----------------------------------------------------------------------------------
 */

static u64 take(u64 pages)
{
	u64 base = the_launch.next;

	the_launch.next += pages * PAGE_SIZE;
	return base;
}

static u64 pages_of(u64 bytes)
{
	return ALIGN_UP(bytes, PAGE_SIZE) / PAGE_SIZE;
}

/*
 * SDM vol. 3, appendix "VPID and EPT Capabilities": the MSR exists only where EPT or VPID may be
 * switched on. 0: it does not, or there is no VMX.
 */
static u64 ept_capabilities(void)
{
	if (!(cpuid_of(1).c & CPUID_VMX) || !(msr(MSR_VMX_PROCBASED_CTLS) & ALLOWED_SECONDARY) ||
	    !(msr(MSR_VMX_PROCBASED_CTLS2) & (ALLOWED_EPT | ALLOWED_VPID)))
		return 0;
	return msr(MSR_VMX_EPT_VPID_CAP);
}

/* Whether second-level tables can have such leaves: SVM by CPUID, VMX by its capability MSR. */
static bool leaves_of_2m(const struct boot_info *info)
{
	if (info->backend_forbidden & VIRT_SLAT_2M)
		return false;
	return cpuid_of(0x80000001).c & CPUID_SVM || ept_capabilities() & EPT_2M;
}

static bool leaves_of_1g(const struct boot_info *info)
{
	bool svm = cpuid_of(0x80000001).c & CPUID_SVM;

	if (info->backend_forbidden & VIRT_SLAT_1G || !leaves_of_2m(info))
		return false;
	return svm ? cpuid_of(0x80000001).d & BIT(26) : ept_capabilities() & EPT_1G;
}

static struct reserve_facts facts(void)
{
	const struct boot_info *info = the_launch.info;

	return (struct reserve_facts){
		.ram_pages = the_launch.ram_pages,
		.ram_end = the_launch.ram_end,
		.cpu_count = info->cpu_count,
		.range_count = info->range_count,
		.address_bits = cpuid_of(0x80000008).a & 0xff,
		.image_pages = pages_of(the_launch.header.bss_end - ROOT_IMAGE_BASE),
		.leaves_1g = leaves_of_1g(info),
		.leaves_2m = leaves_of_2m(info),
	};
}

/* What the ring has from position on, at most TAIL_BYTES. */
static void say_ring(const struct log_ring *ring, u64 position)
{
	char tail[TAIL_BYTES + 1];
	u64 length;

	length = log_ring_read(ring, &position, tail, TAIL_BYTES);
	tail[length] = 0;
	for (u64 at = 0; at < length; at += 200)
		say("%.200s", tail + at);
}

/* What the last boot said, if it ended badly. */
static void open_ring(struct log_ring *ring)
{
	if (log_ring_open(ring, LOG_RING_PAGES * PAGE_SIZE) && ring->panicked) {
		say("keel: the last boot ended in a panic; it said:\n");
		say_ring(ring, ring->panicked - 1);
		say("\n");
	}
	ring->panicked = 0;
	ring->boots++;
	the_launch.ring_start = ring->written;
}

static bool reserve(void)
{
	EFI_PHYSICAL_ADDRESS base = BLOCK_WISH;
	struct reserve_facts f = facts();
	u64 pages = reserve_pages(&f), budget = reserve_budget(&f);

	if (pages > budget)
		say("keel: %llu KiB to reserve here, more than the budget of %llu KiB\n",
		    (unsigned long long)pages * 4, (unsigned long long)budget * 4);
	if (EFI_ERROR(BS->AllocatePages(AllocateAddress, EfiReservedMemoryType, pages, &base)) &&
	    EFI_ERROR(BS->AllocatePages(AllocateAnyPages, EfiReservedMemoryType, pages, &base))) {
		refuse("no %llu KiB of memory in one piece", (unsigned long long)pages * 4);
		return false;
	}
	the_launch.block = the_launch.next = base;
	the_launch.block_pages = pages;
	the_launch.end = base + pages * PAGE_SIZE;
	the_launch.ring = take(LOG_RING_PAGES);
	open_ring((struct log_ring *)the_launch.ring);
	memset((void *)the_launch.next, 0, the_launch.end - the_launch.next);
	return true;
}

static void give_back(void)
{
	u64 info = (u64)the_launch.info;

	if (the_launch.keep_block)
		return;
	if (info && !(info >= the_launch.block && info < the_launch.end))
		pool_release(the_launch.info);
	if (the_launch.block)
		BS->FreePages(the_launch.block, the_launch.block_pages);
	memset(&the_launch, 0, sizeof(the_launch));
}

/* A CPU's block: memory at these offsets, guard pages between (arch-x86/cpu.h). */
static int map_cpu_block(struct tables *t, u32 index, u64 phys)
{
	static const struct {
		u32 offset, pages;
	} parts[] = {{0, 2}, {0x3000, 4}, {0x8000, 2}, {0xb000, 2}, {0xe000, 2}};
	u64 linear = CPU_BLOCK_BASE + index * CPU_BLOCK_SIZE;
	int error = 0;

	for (size_t i = 0; i < ARRAY_SIZE(parts) && !error; i++) {
		error = tables_map(t, linear + parts[i].offset, phys, parts[i].pages * PAGE_SIZE,
				   TABLE_WRITE);
		phys += parts[i].pages * PAGE_SIZE;
	}
	return error;
}

/* All RAM, but not the part [hole, hole_end), which is Keel's code and constants. */
static int map_ram(struct tables *t, const struct boot_info *info, u64 hole, u64 hole_end)
{
	int error = 0;

	for (u32 i = 0; i < info->range_count && !error; i++) {
		u64 base = info->ranges[i].base;
		u64 end = base + info->ranges[i].pages * PAGE_SIZE;
		u64 first_end = MIN(MAX(hole, base), end), second = MAX(MIN(hole_end, end), base);

		error = tables_map(t, PHYS_BASE + base, base, first_end - base, TABLE_WRITE);
		if (!error)
			error = tables_map(t, PHYS_BASE + second, second, end - second,
					   TABLE_WRITE);
	}
	return error;
}

static int map_image(struct tables *t, u64 phys)
{
	const struct root_header *h = &the_launch.header;
	const struct {
		u64 end;
		u32 flags;
	} parts[] = {{h->text_end, TABLE_EXEC}, {h->rodata_end, 0}, {h->bss_end, TABLE_WRITE}};
	u64 linear = ROOT_IMAGE_BASE;
	int error = 0;

	for (size_t i = 0; i < ARRAY_SIZE(parts) && !error; i++) {
		error = tables_map(t, linear, phys + linear - ROOT_IMAGE_BASE,
				   parts[i].end - linear, parts[i].flags);
		linear = parts[i].end;
	}
	return error;
}

static int build_tables(u64 image)
{
	struct boot_info *info = the_launch.info;
	struct tables *t = &the_launch.tables;
	struct reserve_facts f = facts();
	u64 code = ALIGN_DOWN((u64)launch_trampoline, PAGE_SIZE);
	u64 code_end = ALIGN_UP((u64)launch_trampoline_end, PAGE_SIZE);
	int error;
	u64 cr4;

	__asm__("mov %%cr4, %0" : "=r"(cr4));
	t->next = take(reserve_table_pages(&f));
	t->end = the_launch.next;
	t->five_levels = cr4 & CR4_LA57;
	t->pages_1g = cpuid_of(0x80000001).d & BIT(26);
	error = tables_init(t);
	if (!error)
		error = map_image(t, image);
	for (u32 i = 0; i < info->cpu_count && !error; i++)
		error = map_cpu_block(t, i, info->cpu_blocks + i * CPU_BLOCK_PAGES * PAGE_SIZE);
	if (!error)
		error = tables_map(t, APIC_VA, XAPIC_PAGE, PAGE_SIZE, TABLE_WRITE | TABLE_UNCACHED);
	if (!error && info->framebuffer)
		error = tables_map(t, SCREEN_VA, info->framebuffer,
				   ALIGN_UP(info->framebuffer_size, PAGE_SIZE),
				   TABLE_WRITE | TABLE_UNCACHED);
	if (!error)
		error = map_ram(t, info, image,
				image + the_launch.header.rodata_end - ROOT_IMAGE_BASE);
	/* The one page, or two, from which the address spaces change. */
	if (!error)
		error = tables_map(t, code, code, code_end - code, TABLE_EXEC);
	info->page_table_root = t->root;
	return error;
}

/* Lays the reserved block out and fills it; the info's final copy goes into it too. */
static bool lay_out(void)
{
	const struct root_header *h = &the_launch.header;
	u64 image = take(pages_of(h->bss_end - ROOT_IMAGE_BASE));
	struct boot_info *info = the_launch.info, *copy;
	int error;

	memcpy((void *)image, root_image, root_image_end - root_image);
	info->reserved_base = the_launch.block;
	info->reserved_pages = the_launch.block_pages;
	info->image_base = image;
	info->image_pages = pages_of(h->bss_end - ROOT_IMAGE_BASE);
	info->frame_count = the_launch.ram_end / PAGE_SIZE;
	info->frame_table = take(pages_of(info->frame_count * 2));
	info->zero_page = take(1);
	info->cpu_blocks = take(info->cpu_count * CPU_BLOCK_PAGES);
	info->host_areas = take(info->cpu_count);
	info->rings = take(info->cpu_count * CPU_RING_PAGES);
	info->log_ring = the_launch.ring;
	info->log_ring_size = LOG_RING_PAGES * PAGE_SIZE;
	error = build_tables(image);
	if (error) {
		refuse("root's page tables do not fit (error %d)", error);
		return false;
	}
	copy = (struct boot_info *)take(pages_of(sizeof(*info)));
	info->free_base = the_launch.next;
	info->free_pages = (the_launch.end - the_launch.next) / PAGE_SIZE;
	memcpy(copy, info, sizeof(*info));
	pool_release(info);
	the_launch.info = copy;
	return true;
}

/* ---- into root --------------------------------------------------------------------------------
 */

enum captured_msrs {
	MSR_FS = 0xc0000100,
	MSR_GS = 0xc0000101,
	MSR_KERNEL_GS = 0xc0000102,
	MSR_STAR_ = 0xc0000081,
	MSR_LSTAR_ = 0xc0000082,
	MSR_CSTAR_ = 0xc0000083,
	MSR_SFMASK_ = 0xc0000084,
	MSR_SE_CS = 0x174,
	MSR_SE_ESP = 0x175,
	MSR_SE_EIP = 0x176,
	MSR_PAT_ = 0x277,
	MSR_DEBUGCTL_ = 0x1d9,
	MSR_APIC_BASE_ = 0x1b
};

static s64 enter_root(u32 index, enum root_command command)
{
	struct boot_cpu_state state = {
		.fs_base = msr(MSR_FS),
		.gs_base = msr(MSR_GS),
		.kernel_gs_base = msr(MSR_KERNEL_GS),
		.star = msr(MSR_STAR_),
		.lstar = msr(MSR_LSTAR_),
		.cstar = msr(MSR_CSTAR_),
		.sfmask = msr(MSR_SFMASK_),
		.sysenter_cs = msr(MSR_SE_CS),
		.sysenter_esp = msr(MSR_SE_ESP),
		.sysenter_eip = msr(MSR_SE_EIP),
		.pat = msr(MSR_PAT_),
		.debugctl = msr(MSR_DEBUGCTL_),
		.apic_base = msr(MSR_APIC_BASE_),
	};
	struct launch_call call = {
		.trampoline = (u64)launch_trampoline,
		.cr3 = the_launch.info->page_table_root,
		.stack = CPU_BLOCK_BASE + index * CPU_BLOCK_SIZE + STACK_TOP,
		.entry = the_launch.header.entry,
		.info = PHYS_BASE + (u64)the_launch.info,
		.index = index,
		.command = command,
		.state = PHYS_BASE + (u64)&state,
	};
	s64 result;

	__asm__ volatile("mov %%dr6, %0" : "=r"(state.dr6));
	__asm__ volatile("mov %%dr7, %0" : "=r"(state.dr7));
	result = (s32)launch_call(&call, &state);
	if (result || command != ROOT_LAUNCH) {
		/* Loading the selectors cleared the bases. */
		set_msr(MSR_FS, state.fs_base);
		set_msr(MSR_GS, state.gs_base);
		set_msr(MSR_KERNEL_GS, state.kernel_gs_base);
		set_msr(MSR_PAT_, state.pat);
	}
	return result;
}

static u32 index_of(UINTN number)
{
	for (u32 i = 0; i < the_launch.info->cpu_count; i++)
		if (the_launch.numbers[i] == number)
			return i;
	return 0;
}

static void enter_here(enum root_command command)
{
	UINTN number = 0;
	u32 index;

	the_launch.mp->WhoAmI(the_launch.mp, &number);
	index = index_of(number);
	if (index)
		the_launch.results[index] = enter_root(index, command);
}

static void EFIAPI ap_main(void *unused)
{
	(void)unused;
	enter_here(ROOT_LAUNCH);
}

static void EFIAPI ap_check(void *unused)
{
	(void)unused;
	enter_here(ROOT_CHECK);
}

static void start_round(u32 count)
{
	the_launch.info->barrier_count = count;
	the_launch.info->arrived = 0;
	the_launch.info->outcome = ROOT_UNDECIDED;
}

/* All CPUs meet inside root. 0, or the first error. */
static s64 launch_cpus(void)
{
	u32 count = the_launch.info->cpu_count;
	EFI_EVENT done = NULL;
	EFI_STATUS status;
	s64 result;

	if (count == 1) {
		start_round(1);
		return enter_root(0, ROOT_LAUNCH);
	}
	start_round(count);
	status = BS->CreateEvent(0, 0, NULL, NULL, &done);
	if (!EFI_ERROR(status))
		status = the_launch.mp->StartupAllAPs(the_launch.mp, ap_main, FALSE, done, 0, NULL,
						      NULL);
	if (EFI_ERROR(status)) {
		/* Refused late in the boot (PI specification): first the others, then this one. */
		start_round(count - 1);
		status = the_launch.mp->StartupAllAPs(the_launch.mp, ap_main, FALSE, NULL, 0, NULL,
						      NULL);
		if (EFI_ERROR(status)) {
			say("keel: the firmware does not start the other CPUs (error %llu)\n",
			    (unsigned long long)(status & 0xffff));
			return -EIO;
		}
		for (u32 i = 1; i < count; i++)
			if (the_launch.results[i])
				return the_launch.results[i];
		start_round(1);
		result = enter_root(0, ROOT_LAUNCH);
		if (result) {
			/* It did the same as the others, so this is a bug; they cannot go back. */
			say("keel: CPU 0 failed (error %lld) behind the others: reset\n",
			    (long long)result);
			ST->RuntimeServices->ResetSystem(EfiResetCold, EFI_ABORTED, 0, NULL);
		}
		return result;
	}
	result = enter_root(0, ROOT_LAUNCH);
	/* A CPU that comes late finds the launch called off, if Keel's memory is still there. */
	the_launch.keep_block = true;
	for (u32 ms = 0; ms < AP_WAIT_MS && the_launch.keep_block; ms++) {
		the_launch.keep_block = BS->CheckEvent(done) == EFI_NOT_READY;
		if (the_launch.keep_block)
			BS->Stall(1000);
	}
	BS->CloseEvent(done);
	return result;
}

static bool prepare(const struct config *config)
{
	the_launch.log_port = config->serial_port;
	the_launch.info = pool_take(sizeof(*the_launch.info));
	if (!the_launch.info) {
		refuse("no memory");
		return false;
	}
	memcpy(&the_launch.header, root_image, sizeof(the_launch.header));
	return find_cpus(config) && find_ram() && reserve() && (find_platform(config), lay_out());
}

/* Leaves of outer hypervisors may come first. */
bool launch_is_running(void)
{
	for (u32 leaf = HYPERVISOR_LEAVES; leaf < HYPERVISOR_LEAVES_END; leaf += 0x100) {
		struct cpuid_leaf r = cpuid_of(leaf);
		u32 words[3] = {r.b, r.c, r.d};

		if (!memcmp(words, KEEL_CPUID_STRING, sizeof(words)))
			return cpuid_of(1).c & CPUID_HYPERVISOR;
	}
	return false;
}

bool launch_check(const struct config *config, struct launch_report *report)
{
	const struct log_ring *ring;
	u64 position;
	bool others = true;

	if (!prepare(config)) {
		give_back();
		return false;
	}
	report->able = !enter_root(0, ROOT_CHECK);
	if (the_launch.info->cpu_count > 1)
		others = !EFI_ERROR(the_launch.mp->StartupAllAPs(the_launch.mp, ap_check, TRUE,
								 NULL, 0, NULL, NULL));
	for (u32 i = 1; others && i < the_launch.info->cpu_count; i++)
		report->able &= !the_launch.results[i];
	report->others_asked = others;
	report->info = *the_launch.info;
	ring = (const struct log_ring *)the_launch.ring;
	position = the_launch.ring_start;
	report->said[log_ring_read(ring, &position, report->said, sizeof(report->said) - 1)] = 0;
	give_back();
	return true;
}

/* A hypercall (kvm/abi.h): this is the management guest now. Bytes read, or -errno. */
static s64 read_log(u64 *position, char *text, u64 size)
{
	bool intel = cpuid_of(0).b == 0x756e6547; /* "Genu"ineIntel */
	u64 rax = KEEL_CALL, rdx = (u64)text, rcx = size;
	register u64 r8 __asm__("r8") = *position;

	__asm__ volatile("test %[intel], %[intel]\n\t"
			 "jz 1f\n\t"
			 "vmcall\n\t"
			 "jmp 2f\n"
			 "1:\tvmmcall\n"
			 "2:"
			 : "+a"(rax), "+d"(rdx), "+c"(rcx), "+r"(r8)
			 : "D"((u64)KEEL_SYSTEM_HANDLE),
			   "S"((u64)KEEL_LOG_READ), [intel] "r"((u32)intel)
			 : "memory", "cc");
	*position = rdx;
	return rax;
}

/* What root has said since this boot began, where no port shows it. */
static void say_log(void)
{
	static char text[TAIL_BYTES + 1];
	u64 position = the_launch.ring_start;
	s64 length;

	while ((length = read_log(&position, text, TAIL_BYTES)) > 0) {
		text[length] = 0;
		for (s64 at = 0; at < length; at += 200)
			say("%.200s", text + at);
	}
}

bool launch(const struct config *config)
{
	const struct boot_info *info;
	s64 result;
	u32 count;

	if (launch_is_running()) {
		say("keel: Keel runs already\n");
		return false;
	}
	if (!prepare(config)) {
		give_back();
		return false;
	}
	config_log();
	info = the_launch.info;
	count = info->cpu_count; /* afterwards the info reads as zeros: it is Keel's */
	result = enter_root(0, ROOT_PROBE);
	if (result) {
		refuse("cannot run here: %s", info->why);
		give_back();
		return false;
	}
	say("keel: %u CPUs, %llu MiB of RAM, %llu KiB reserved at 0x%llx, TSC %llu MHz\n",
	    info->cpu_count, (unsigned long long)(the_launch.ram_pages >> 8),
	    (unsigned long long)the_launch.block_pages * 4, (unsigned long long)the_launch.block,
	    (unsigned long long)info->tsc_khz / 1000);
	result = launch_cpus();
	if (result) {
		say_ring((const struct log_ring *)the_launch.ring, the_launch.ring_start);
		say("keel: the launch failed on some CPU (error %lld): the machine goes on as it "
		    "was\n",
		    (long long)result);
		give_back();
		return false;
	}
	say("keel: launched: %u CPUs are in guest mode\n", count);
	if (config->teach && !config->serial_port)
		say_log();
	return true;
}
