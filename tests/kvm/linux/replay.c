// SPDX-License-Identifier: MIT
/*
 * What VMMs ask of /dev/kvm, call by call in their order and with the checks that they make themselves: kvmtool,
 * Firecracker, Cloud Hypervisor, crosvm, solo5 (hvt), uhyve, and QEMU's `pc` machine. Each ends in a guest that
 * prints.
 *
 *   replay [VMM ...]
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE	4096ul
#define MEMORY	(4ul << 20)
#define CODE	0x100000ul /* guest-physical, of the 64-bit guests */
#define STACK	0x90000ul
#define TABLES	0x9000ul
#define GDT	0x500ul
#define IDT	0x2000ul
#define TEXT	0x3000ul
#define VECTOR	0x40
#define SERIAL	0x3f8
#define KICK	SIGUSR1
#define SECONDS 60

/*
 * 64 bits: prints the text at RDI to port R8. R9 not 0: enables its APIC, and pin R10 of the IOAPIC if that is
 * not -1, notifies by a write to R9, waits for the interrupt and prints '!'. Ends by writing R12 to port R11.
 */
extern const uint8_t guest64[], guest64_handler[], guest64_end[];
/* Real mode, at 1000h:0: prints, waits for IRQ 4 through the 8259, notifies by a write to port 0x500, resets. */
extern const uint8_t guest16[], guest16_text[], guest16_end[];
__asm__(".section .rodata\n"
	".code64\n"
	"guest64:\n"
	"1: movb (%rdi), %al; testb %al, %al; jz 2f; movl %r8d, %edx; outb %al, (%dx); incq %rdi; jmp 1b\n"
	"2: testq %r9, %r9; jz 4f\n"
	"movl $0xfee00000, %ebx; movl $0x1ff, 0xf0(%rbx)\n"
	"cmpq $-1, %r10; je 3f\n"
	"movl $0xfec00000, %ebx; leal 0x10(,%r10d,2), %eax\n"
	"movl %eax, (%rbx); movl $0x40, 0x10(%rbx); incl %eax; movl %eax, (%rbx); movl $0, 0x10(%rbx)\n"
	"3: xorl %eax, %eax; movl %eax, (%r9); sti; hlt\n"
	"4: movl %r11d, %edx; movl %r12d, %eax; outl %eax, (%dx); hlt\n"
	"guest64_handler: movb $'!', %al; movl %r8d, %edx; outb %al, (%dx)\n"
	"movl $0xfee00000, %ebx; movl $0, 0xb0(%rbx); iretq\n"
	"guest64_end:\n"
	".code16\n"
	"guest16:\n"
	"movw $guest16_text - guest16, %si; movw $0x3f8, %dx\n"
	"1: lodsb %cs:(%si); testb %al, %al; jz 2f; outb %al, (%dx); jmp 1b\n"
	"2: movw $guest16_handler - guest16, (0x90); movw %cs, (0x92)\n" /* vector 0x24 */
	"movb $0x11, %al; outb %al, $0x20; movb $0x20, %al; outb %al, $0x21; movb $4, %al; outb %al, $0x21\n"
	"movb $1, %al; outb %al, $0x21; movb $0xef, %al; outb %al, $0x21\n"
	"movw $0x3f9, %dx; movb $2, %al; outb %al, (%dx); sti; hlt\n"
	"movw $0x500, %dx; movw $1, %ax; outw %ax, (%dx)\n"
	"movb $0xfe, %al; outb %al, $0x64; hlt\n"
	"guest16_handler: pushw %ax; pushw %dx; movw $0x3f8, %dx; movb $'!', %al; outb %al, (%dx)\n"
	"movb $0x20, %al; outb %al, $0x20; popw %dx; popw %ax; iret\n"
	"guest16_text: .asciz \"kvmtool's guest\"\n"
	"guest16_end:\n"
	".code64\n"
	".previous\n");

static int kvm, vm, vcpu;
static struct kvm_run *run;
static size_t run_size;
static uint8_t *memory;
static char printed[100];

/* ---- calls ---- */

#define CALL(fd, request, argument) call_(#request, fd, request, (unsigned long)(argument))
#define MUST(fd, request, argument) must_(#request, fd, request, (unsigned long)(argument))

static long call_(const char *name, int fd, unsigned long request, unsigned long argument)
{
	int result = ioctl(fd, request, argument);

	return result < 0 ? -errno : result;
}

static long must_(const char *name, int fd, unsigned long request, unsigned long argument)
{
	long result = call_(name, fd, request, argument);

	if (result < 0)
		errx(1, "%s: %s", name, strerror((int)-result));
	return result;
}

static long has(uint32_t capability)
{
	return MUST(kvm, KVM_CHECK_EXTENSION, capability);
}

static void required(const uint32_t *capabilities, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (has(capabilities[i]) <= 0)
			errx(1, "capability %u is required", capabilities[i]);
}
#define REQUIRED(...) required((const uint32_t[]){__VA_ARGS__}, sizeof((uint32_t[]){__VA_ARGS__}) / 4)

static void expect(bool ok, const char *what)
{
	if (!ok)
		errx(1, "%s", what);
}

static void open_kvm(void)
{
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		err(1, "/dev/kvm");
}

static void version(void)
{
	expect(MUST(kvm, KVM_GET_API_VERSION, 0) == 12, "KVM_GET_API_VERSION is not 12");
}

/* Firecracker tries five times, Cloud Hypervisor for ever; the others once. */
static void create_vm(int tries)
{
	long result;

	do {
		result = CALL(kvm, KVM_CREATE_VM, 0);
	} while (result == -EINTR && --tries);
	expect(result >= 0, "KVM_CREATE_VM");
	vm = (int)result;
}

static void map_run(int fd, struct kvm_run **its)
{
	*its = mmap(NULL, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (*its == MAP_FAILED)
		err(1, "mmap of a vCPU");
}

static int create_vcpu(unsigned id, struct kvm_run **its)
{
	int fd = (int)MUST(vm, KVM_CREATE_VCPU, id);

	map_run(fd, its);
	return fd;
}

static void add_memory(int flags, uint32_t slot_flags)
{
	struct kvm_userspace_memory_region region = {.memory_size = MEMORY, .flags = slot_flags};

	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		err(1, "mmap");
	region.userspace_addr = (uint64_t)memory;
	MUST(vm, KVM_SET_USER_MEMORY_REGION, &region);
}

static struct {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entries[256];
} cpuid;

static const struct kvm_cpuid_entry2 *leaf(uint32_t function)
{
	for (uint32_t i = 0; i < cpuid.head.nent; i++)
		if (cpuid.entries[i].function == function)
			return &cpuid.entries[i];
	errx(1, "CPUID has no leaf %#x", function);
}

static void supported_cpuid(uint32_t room)
{
	cpuid.head.nent = room;
	MUST(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid);
	leaf(0);
	leaf(1);
}

/* All of them, in one call, as kvmtool, Firecracker and Cloud Hypervisor do */
static void set_msrs(int fd, const uint32_t *indexes, uint32_t count)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entries[32];
	} msrs = {.head.nmsrs = count};

	for (uint32_t i = 0; i < count; i++)
		msrs.entries[i] = (struct kvm_msr_entry){.index = indexes[i], .data = indexes[i] == 0x1a0 ? 1 : 0};
	expect(MUST(fd, KVM_SET_MSRS, &msrs) == (long)count, "KVM_SET_MSRS did not set all");
}

static const uint32_t boot_msrs[] = {0x174, 0x175, 0x176, 0xc0000081, 0xc0000083, 0xc0000102, 0xc0000084,
				     0xc0000082, 0x10, 0x1a0, 0x2ff};

/* LINT0 is the 8259's, LINT1 an NMI's. */
static void set_lint(int fd)
{
	struct kvm_lapic_state apic;
	const uint32_t lint[] = {0x700, 0x400};

	MUST(fd, KVM_GET_LAPIC, &apic);
	memcpy(apic.regs + 0x350, &lint[0], 4);
	memcpy(apic.regs + 0x360, &lint[1], 4);
	MUST(fd, KVM_SET_LAPIC, &apic);
}

static void set_fpu(int fd)
{
	const struct kvm_fpu fpu = {.fcw = 0x37f, .mxcsr = 0x1f80};

	MUST(fd, KVM_SET_FPU, &fpu);
}

/* ---- the 64-bit guest ---- */

static void load64(const char *text)
{
	const uint64_t gdt[] = {0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff};
	const uint64_t handler = CODE + (guest64_handler - guest64);
	const uint64_t gate[] = {(handler & 0xffff) | 0x10ul << 16 | 0x8e00ul << 32 | (handler >> 16 & 0xffff) << 48, 0};
	uint64_t *table = (uint64_t *)(memory + TABLES);

	memcpy(memory + CODE, guest64, guest64_end - guest64);
	memcpy(memory + GDT, gdt, sizeof(gdt));
	memcpy(memory + IDT + VECTOR * 16, gate, sizeof(gate));
	strcpy((char *)memory + TEXT, text);
	table[0] = (TABLES + PAGE) | 3;
	for (uint64_t i = 0; i < 4; i++)
		table[512 + i] = (TABLES + (2 + i) * PAGE) | 3;
	for (uint64_t i = 0; i < 2048; i++)
		table[1024 + i] = i << 21 | 0x83;
}

static void long_mode(struct kvm_sregs *s)
{
	s->cs = (struct kvm_segment){.limit = ~0u, .selector = 0x10, .type = 11, .present = 1, .l = 1, .s = 1, .g = 1};
	s->ds = s->es = s->fs = s->gs = s->ss = (struct kvm_segment){
		.limit = ~0u, .selector = 0x18, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1};
	s->tr = (struct kvm_segment){.limit = 0x67, .type = 11, .present = 1};
	s->gdt = (struct kvm_dtable){.base = GDT, .limit = 31};
	s->idt = (struct kvm_dtable){.base = IDT, .limit = (VECTOR + 1) * 16 - 1};
	s->cr3 = TABLES;
	s->cr4 |= 0x20;
	s->cr0 |= 0x80000001;
	s->efer |= 0x500;
}

static struct kvm_regs regs64(uint64_t notify, uint64_t pin, uint32_t end_port, uint32_t end_value)
{
	return (struct kvm_regs){.rip = CODE, .rsp = STACK, .rflags = 2, .rdi = TEXT, .r8 = SERIAL, .r9 = notify,
				 .r10 = pin, .r11 = end_port, .r12 = end_value};
}

static void get_set_sregs64(void)
{
	struct kvm_sregs s;

	MUST(vcpu, KVM_GET_SREGS, &s);
	long_mode(&s);
	MUST(vcpu, KVM_SET_SREGS, &s);
}

/* ---- a device in a thread of its own ---- */

static struct device {
	int notified, interrupt; /* eventfds */
	pthread_t thread;
} device;

static void *serve(void *unused)
{
	uint64_t count;

	expect(read(device.notified, &count, 8) == 8, "the notification");
	count = 1;
	expect(write(device.interrupt, &count, 8) == 8, "the interrupt");
	return NULL;
}

static void device_start(void)
{
	device.notified = eventfd(0, EFD_CLOEXEC);
	device.interrupt = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	expect(!pthread_create(&device.thread, NULL, serve, NULL), "pthread_create");
}

static void ioeventfd(uint64_t address, uint32_t length, uint32_t flags, uint64_t match)
{
	struct kvm_ioeventfd e = {.datamatch = match, .addr = address, .len = length, .fd = device.notified, .flags = flags};

	MUST(vm, KVM_IOEVENTFD, &e);
}

static void irqfd(uint32_t gsi, uint32_t flags, int resample)
{
	struct kvm_irqfd i = {.fd = device.interrupt, .gsi = gsi, .flags = flags, .resamplefd = resample};

	MUST(vm, KVM_IRQFD, &i);
}

static struct {
	struct kvm_irq_routing head;
	struct kvm_irq_routing_entry entries[64];
} routes;

static void route_pin(uint32_t gsi, uint32_t chip, uint32_t pin)
{
	struct kvm_irq_routing_entry *e = &routes.entries[routes.head.nr++];

	*e = (struct kvm_irq_routing_entry){.gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP};
	e->u.irqchip.irqchip = chip;
	e->u.irqchip.pin = pin;
}

static void route_msi(uint32_t gsi, uint32_t data)
{
	struct kvm_irq_routing_entry *e = &routes.entries[routes.head.nr++];

	*e = (struct kvm_irq_routing_entry){.gsi = gsi, .type = KVM_IRQ_ROUTING_MSI};
	e->u.msi.address_lo = 0xfee00000;
	e->u.msi.data = data;
}

/* ---- running ---- */

static void print(char c)
{
	size_t length = strlen(printed);

	if (length < sizeof(printed) - 1)
		printed[length] = c;
}

static uint32_t io_data(void)
{
	uint32_t value = 0;

	memcpy(&value, (uint8_t *)run + run->io.data_offset, run->io.size);
	return value;
}

/* Until the guest writes to `end`. */
static void run_until(uint16_t end)
{
	for (;;) {
		long result = CALL(vcpu, KVM_RUN, 0);

		if (result == -EAGAIN || result == -EINTR)
			continue;
		expect(!result, "KVM_RUN");
		switch (run->exit_reason) {
		case KVM_EXIT_IO:
			if (run->io.port == end)
				return;
			if (run->io.port == SERIAL && run->io.direction == KVM_EXIT_IO_OUT)
				print((char)io_data());
			break;
		case KVM_EXIT_MMIO:
		case KVM_EXIT_IOAPIC_EOI:
			break;
		default:
			errx(1, "exit %u", run->exit_reason);
		}
	}
}

static void noted(int signal)
{
}

/* A pause: what was begun is completed, and no more. */
static void complete(void)
{
	run->immediate_exit = 1;
	expect(CALL(vcpu, KVM_RUN, 0) == -EINTR, "KVM_RUN with immediate_exit");
	run->immediate_exit = 0;
}

/* ---- kvmtool ---- */

static int kvmtool_ap;
static struct kvm_run *kvmtool_ap_run;

static void kvmtool_cpu(int fd)
{
	struct kvm_regs r = {.rflags = 2, .rsp = 0x8000, .rbp = 0x8000};
	struct kvm_sregs s;

	cpuid.head.nent = 100;
	MUST(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid);
	MUST(fd, KVM_SET_CPUID2, &cpuid);
	MUST(fd, KVM_GET_SREGS, &s);
	s.cs.selector = s.ss.selector = 0x1000;
	s.cs.base = s.ss.base = 0x10000;
	s.ds.selector = s.es.selector = s.fs.selector = s.gs.selector = 0;
	s.ds.base = s.es.base = s.fs.base = s.gs.base = 0;
	MUST(fd, KVM_SET_SREGS, &s);
	MUST(fd, KVM_SET_REGS, &r);
	set_fpu(fd);
	set_msrs(fd, boot_msrs, 10);
}

/* It never gets an INIT: KVM_RUN blocks until the signal. */
static void *kvmtool_second(void *unused)
{
	kvmtool_ap_run->exit_reason = KVM_EXIT_IO;
	expect(CALL(kvmtool_ap, KVM_RUN, 0) == -EINTR, "the second vCPU");
	/* The return value is not looked at: a stale exit would be done again. */
	expect(kvmtool_ap_run->exit_reason == KVM_EXIT_INTR, "the second vCPU's exit reason");
	return NULL;
}

static void kvmtool(void)
{
	struct kvm_pit_config pit = {.flags = 0};
	struct kvm_coalesced_mmio_zone zone = {.addr = 0xd2000000, .size = 0x100};
	struct kvm_coalesced_mmio_ring *ring;
	struct kvm_msi msi = {.address_lo = 0xfee00000, .data = VECTOR};
	bool ended = false;
	pthread_t second;

	open_kvm();
	version();
	create_vm(1);
	REQUIRED(KVM_CAP_COALESCED_MMIO, KVM_CAP_SET_TSS_ADDR, KVM_CAP_PIT2, KVM_CAP_USER_MEMORY, KVM_CAP_IRQ_ROUTING,
		 KVM_CAP_IRQCHIP, KVM_CAP_HLT, KVM_CAP_IRQ_INJECT_STATUS, KVM_CAP_EXT_CPUID);
	MUST(vm, KVM_SET_TSS_ADDR, 0xfffbd000);
	MUST(vm, KVM_CREATE_IRQCHIP, 0xc); /* garbage: it passes no argument */
	MUST(vm, KVM_CREATE_PIT2, &pit);
	add_memory(MAP_PRIVATE, 0);
	has(KVM_CAP_IOEVENTFD);
	expect(has(KVM_CAP_MAX_VCPUS) >= 2 && has(KVM_CAP_NR_VCPUS) >= 1, "vCPUs");
	run_size = MUST(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	vcpu = create_vcpu(0, &run);
	kvmtool_ap = create_vcpu(1, &kvmtool_ap_run);
	ring = (void *)((uint8_t *)run + has(KVM_CAP_COALESCED_MMIO) * PAGE);
	expect(ring->first == 0 && ring->last == 0, "the ring is empty");
	set_lint(vcpu);
	set_lint(kvmtool_ap);
	for (uint32_t gsi = 0; gsi < 16; gsi++) {
		if (gsi != 2)
			route_pin(gsi, gsi < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, gsi % 8);
	}
	for (uint32_t gsi = 0; gsi < 24; gsi++)
		if (gsi != 2)
			route_pin(gsi, KVM_IRQCHIP_IOAPIC, gsi ? gsi : 2);
	MUST(vm, KVM_SET_GSI_ROUTING, &routes);
	route_msi(24, 0);
	MUST(vm, KVM_SET_GSI_ROUTING, &routes);
	has(KVM_CAP_SIGNAL_MSI);
	kvmtool_cpu(vcpu);
	kvmtool_cpu(kvmtool_ap);
	memcpy(memory + 0x10000, guest16, guest16_end - guest16);
	device.notified = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ioeventfd(0x500, 2, 1 << kvm_ioeventfd_flag_nr_datamatch | 1 << kvm_ioeventfd_flag_nr_pio, 1);
	/* For each range that is not trapped any more, whatever it was */
	MUST(vm, KVM_UNREGISTER_COALESCED_MMIO, &zone);
	expect(!pthread_create(&second, NULL, kvmtool_second, NULL), "pthread_create");

	while (!ended) {
		CALL(vcpu, KVM_RUN, 0);
		switch (run->exit_reason) {
		case KVM_EXIT_IO:
			if (run->io.port == SERIAL)
				print((char)io_data());
			if (run->io.port == SERIAL + 1) { /* its interrupt is enabled */
				struct kvm_irq_level line = {.irq = 4, .level = 1};

				MUST(vm, KVM_IRQ_LINE, &line);
				line.level = 0;
				MUST(vm, KVM_IRQ_LINE, &line);
			}
			ended = run->io.port == 0x64 && io_data() == 0xfe;
			break;
		case KVM_EXIT_INTR:
		case KVM_EXIT_UNKNOWN:
			break;
		default:
			errx(1, "exit %u", run->exit_reason);
		}
	}
	{
		uint64_t count = 0;

		expect(read(device.notified, &count, 8) == 8 && count == 1, "the notification of port 0x500");
	}
	expect(CALL(vm, KVM_SIGNAL_MSI, &msi) >= 0, "KVM_SIGNAL_MSI");
	expect(CALL(vm, KVM_KVMCLOCK_CTRL, 0) == -ENOTTY, "KVM_KVMCLOCK_CTRL on the VM");
	while (pthread_kill(second, KICK) == 0 && pthread_tryjoin_np(second, NULL))
		usleep(1000);
	expect(!strcmp(printed, "kvmtool's guest!"), printed);
}

/* ---- Firecracker ---- */

static void firecracker_snapshot(void)
{
	static struct {
		struct kvm_xsave area;
		uint8_t more[8192];
	} xsave;
	static struct {
		struct kvm_msr_list head;
		uint32_t indexes[256];
	} list = {.head.nmsrs = 256};
	static struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entries[256];
	} msrs;
	struct kvm_mp_state mp;
	struct kvm_regs r;
	struct kvm_sregs s;
	struct kvm_xcrs xcrs;
	struct kvm_debugregs debugregs;
	struct kvm_lapic_state apic;
	struct kvm_vcpu_events events;
	struct kvm_pit_state2 pit;
	struct kvm_clock_data clock;
	struct kvm_irqchip chip = {};
	uint64_t bitmap[MEMORY / PAGE / 64];
	struct kvm_dirty_log log = {.dirty_bitmap = bitmap};

	complete();
	/* No page of kvmclock, no pause to tell of: a failure is only logged. */
	CALL(vcpu, KVM_KVMCLOCK_CTRL, 0);
	MUST(vcpu, KVM_GET_MP_STATE, &mp);
	MUST(vcpu, KVM_GET_REGS, &r);
	MUST(vcpu, KVM_GET_SREGS, &s);
	if (CALL(vm, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2) > 4096)
		MUST(vcpu, KVM_GET_XSAVE2, &xsave);
	else
		MUST(vcpu, KVM_GET_XSAVE, &xsave);
	MUST(vcpu, KVM_GET_XCRS, &xcrs);
	MUST(vcpu, KVM_GET_DEBUGREGS, &debugregs);
	MUST(vcpu, KVM_GET_LAPIC, &apic);
	expect(MUST(vcpu, KVM_GET_TSC_KHZ, 0) > 0, "KVM_GET_TSC_KHZ");
	cpuid.head.nent = 256;
	MUST(vcpu, KVM_GET_CPUID2, &cpuid);
	MUST(kvm, KVM_GET_MSR_INDEX_LIST, &list);
	for (uint32_t i = 0; i < list.head.nmsrs; i++)
		msrs.entries[i].index = list.indexes[i];
	msrs.head.nmsrs = list.head.nmsrs < 256 ? list.head.nmsrs : 255;
	expect(MUST(vcpu, KVM_GET_MSRS, &msrs) == (long)msrs.head.nmsrs, "KVM_GET_MSRS did not get all");
	MUST(vcpu, KVM_GET_VCPU_EVENTS, &events);
	MUST(vm, KVM_GET_PIT2, &pit);
	MUST(vm, KVM_GET_CLOCK, &clock);
	for (chip.chip_id = 0; chip.chip_id < 3; chip.chip_id++)
		MUST(vm, KVM_GET_IRQCHIP, &chip);
	MUST(vm, KVM_GET_DIRTY_LOG, &log);
	expect(bitmap[STACK / PAGE / 64] >> (STACK / PAGE % 64 - 1) & 1, "the stack's page is dirty");
	/* And back, but for CPUID, which a vCPU that has run keeps */
	MUST(vcpu, KVM_SET_MP_STATE, &mp);
	MUST(vcpu, KVM_SET_REGS, &r);
	MUST(vcpu, KVM_SET_SREGS, &s);
	MUST(vcpu, KVM_SET_XSAVE, &xsave);
	MUST(vcpu, KVM_SET_XCRS, &xcrs);
	MUST(vcpu, KVM_SET_DEBUGREGS, &debugregs);
	MUST(vcpu, KVM_SET_LAPIC, &apic);
	expect(MUST(vcpu, KVM_SET_MSRS, &msrs) == (long)msrs.head.nmsrs, "KVM_SET_MSRS did not set all");
	MUST(vcpu, KVM_SET_VCPU_EVENTS, &events);
	MUST(vm, KVM_SET_PIT2, &pit);
	clock.flags &= 1 << 31;
	MUST(vm, KVM_SET_CLOCK, &clock);
}

static void firecracker(void)
{
	struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
	struct kvm_regs r = regs64(0xd0000050, 5, 0x64, 0xfe);
	struct kvm_run *again;

	open_kvm();
	version();
	REQUIRED(KVM_CAP_IRQCHIP, KVM_CAP_IOEVENTFD, KVM_CAP_IRQFD, KVM_CAP_USER_MEMORY, KVM_CAP_SET_TSS_ADDR,
		 KVM_CAP_PIT2, KVM_CAP_PIT_STATE2, KVM_CAP_ADJUST_CLOCK, KVM_CAP_DEBUGREGS, KVM_CAP_MP_STATE,
		 KVM_CAP_VCPU_EVENTS, KVM_CAP_XCRS, KVM_CAP_XSAVE, KVM_CAP_EXT_CPUID);
	supported_cpuid(80); /* what older ones have room for */
	create_vm(5);
	run_size = MUST(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	expect(has(KVM_CAP_NR_MEMSLOTS) > 0, "memslots");
	has(KVM_CAP_XSAVE2);
	MUST(vm, KVM_SET_TSS_ADDR, 0xfffbd000);
	MUST(vm, KVM_CREATE_IRQCHIP, 0);
	MUST(vm, KVM_CREATE_PIT2, &pit);
	vcpu = create_vcpu(0, &run);
	add_memory(MAP_PRIVATE, KVM_MEM_LOG_DIRTY_PAGES);
	load64("Firecracker's guest");
	device_start();
	ioeventfd(0xd0000050, 4, 1 << kvm_ioeventfd_flag_nr_datamatch, 0);
	for (uint32_t gsi = 0; gsi < 24; gsi++)
		route_pin(gsi, KVM_IRQCHIP_IOAPIC, gsi);
	MUST(vm, KVM_SET_GSI_ROUTING, &routes);
	has(KVM_CAP_MSI_DEVID);
	irqfd(5, 0, 0);
	MUST(vcpu, KVM_SET_CPUID2, &cpuid);
	set_msrs(vcpu, boot_msrs, 11);
	MUST(vcpu, KVM_SET_REGS, &r);
	set_fpu(vcpu);
	get_set_sregs64();
	set_lint(vcpu);
	/* The thread that kicks has a mapping of its own. */
	map_run(fcntl(vcpu, F_DUPFD_CLOEXEC, 3), &again);
	again->immediate_exit = 1;
	expect(CALL(vcpu, KVM_RUN, 0) == -EINTR, "a kick through the second mapping");
	again->immediate_exit = 0;
	run_until(0x64);
	expect(!strcmp(printed, "Firecracker's guest!"), printed);
	firecracker_snapshot();
}

/* ---- Cloud Hypervisor ---- */

static void cloud_hypervisor(void)
{
	struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {24}};
	struct kvm_regs r = regs64(0xe0000000, -1, 0x600, 0);
	uint64_t identity = 0xfeffc000;
	struct kvm_clock_data clock;
	struct {
		struct kvm_msr_list head;
		uint32_t indexes[256];
	} list = {.head.nmsrs = 256};

	open_kvm();
	version();
	REQUIRED(KVM_CAP_ADJUST_CLOCK, KVM_CAP_EXT_CPUID, KVM_CAP_GET_TSC_KHZ, KVM_CAP_IMMEDIATE_EXIT, KVM_CAP_IOEVENTFD,
		 KVM_CAP_IRQCHIP, KVM_CAP_IRQFD, KVM_CAP_IRQ_ROUTING, KVM_CAP_MP_STATE, KVM_CAP_SET_IDENTITY_MAP_ADDR,
		 KVM_CAP_SET_TSS_ADDR, KVM_CAP_SPLIT_IRQCHIP, KVM_CAP_TSC_DEADLINE_TIMER, KVM_CAP_USER_MEMORY,
		 KVM_CAP_USER_NMI, KVM_CAP_VCPU_EVENTS, KVM_CAP_KVMCLOCK_CTRL);
	create_vm(1000);
	run_size = MUST(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	MUST(kvm, KVM_GET_MSR_INDEX_LIST, &list);
	MUST(vm, KVM_SET_IDENTITY_MAP_ADDR, &identity);
	MUST(vm, KVM_SET_TSS_ADDR, identity + PAGE);
	MUST(vm, KVM_ENABLE_CAP, &split);
	add_memory(MAP_SHARED, 0);
	load64("Cloud Hypervisor's guest");
	supported_cpuid(256);
	expect(has(KVM_CAP_MAX_VCPUS) >= 1, "vCPUs");
	vcpu = create_vcpu(0, &run);
	has(KVM_CAP_XSAVE2);
	has(KVM_CAP_XCRS);
	{
		long khz = CALL(vcpu, KVM_GET_TSC_KHZ, 0);

		expect(khz > 0 || khz == -EIO, "KVM_GET_TSC_KHZ");
	}
	MUST(vcpu, KVM_SET_CPUID2, &cpuid);
	set_msrs(vcpu, boot_msrs, 11);
	MUST(vcpu, KVM_SET_REGS, &r);
	get_set_sregs64();
	set_fpu(vcpu);
	set_lint(vcpu);
	device_start();
	ioeventfd(0xe0000000, 0, 0, 0);
	/* A pin of its own IOAPIC, level-triggered: the EOI comes as an exit. */
	route_msi(7, VECTOR | 0xc000);
	MUST(vm, KVM_SET_GSI_ROUTING, &routes);
	irqfd(7, 0, 0);
	run_until(0x600);
	expect(!strcmp(printed, "Cloud Hypervisor's guest!"), printed);
	complete();
	CALL(vcpu, KVM_KVMCLOCK_CTRL, 0);
	MUST(vm, KVM_GET_CLOCK, &clock);
	clock.flags = 0;
	MUST(vm, KVM_SET_CLOCK, &clock);
	MUST(vcpu, KVM_NMI, 0);
	irqfd(7, KVM_IRQFD_FLAG_DEASSIGN, 0);
}

/* ---- crosvm ---- */

static void crosvm(void)
{
	struct kvm_pit_config pit = {.flags = 0};
	struct kvm_regs r = regs64(0xe0000000, 20, 0x600, 0);
	uint64_t identity = 0xfffbc000;
	int resample = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	bool resamples;
	uint64_t cap = 0;

	open_kvm();
	version();
	run_size = MUST(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	expect(run_size > 0, "KVM_GET_VCPU_MMAP_SIZE");
	create_vm(1);
	expect(MUST(vm, KVM_CHECK_EXTENSION, KVM_CAP_KVMCLOCK_CTRL) == 1, "KVM_CAP_KVMCLOCK_CTRL");
	CALL(vm, KVM_CHECK_EXTENSION, 231);
	CALL(vm, KVM_CHECK_EXTENSION, 236);
	CALL(vm, KVM_CHECK_EXTENSION, 239);
	add_memory(MAP_SHARED, 0);
	load64("crosvm's guest");
	MUST(vm, KVM_CREATE_IRQCHIP, 0);
	MUST(vm, KVM_CREATE_PIT2, &pit);
	MUST(vm, KVM_SET_IDENTITY_MAP_ADDR, &identity);
	MUST(vm, KVM_SET_TSS_ADDR, 0xfffbd000);
	expect(has(KVM_CAP_IMMEDIATE_EXIT) == 1, "KVM_CAP_IMMEDIATE_EXIT is not 1");
	vcpu = create_vcpu(0, &run);
	supported_cpuid(256);
	MUST(vcpu, KVM_SET_CPUID2, &cpuid);
	MUST(vcpu, KVM_SET_REGS, &r);
	get_set_sregs64();
	set_fpu(vcpu);
	{
		struct {
			struct kvm_msrs head;
			struct kvm_msr_entry entry;
		} one = {.head.nmsrs = 1, .entry = {.index = 0xfe}};

		expect(MUST(vcpu, KVM_GET_MSRS, &one) == 1, "KVM_GET_MSRS of the MTRRs' capability");
		cap = one.entry.data;
	}
	expect((cap & 0xff) >= 1, "variable MTRRs");
	for (size_t i = 0; i < 11; i++)
		set_msrs(vcpu, &boot_msrs[i], 1);
	set_lint(vcpu);
	device_start();
	ioeventfd(0xe0000000, 4, 0, 0);
	/* A PCI device's level-triggered line resamples where the kernel can. */
	resamples = has(KVM_CAP_IRQFD_RESAMPLE) > 0;
	irqfd(20, resamples ? KVM_IRQFD_FLAG_RESAMPLE : 0, resample);
	run_until(0x600);
	expect(!strcmp(printed, "crosvm's guest!"), printed);
	complete();
	CALL(vcpu, KVM_KVMCLOCK_CTRL, 0);
	irqfd(20, KVM_IRQFD_FLAG_DEASSIGN, 0);
}

/* ---- solo5's hvt ---- */

#define HVT_PUTS 0x502
#define HVT_HALT 0x508

/* Its hypercalls are 32-bit writes of an argument's address. */
extern const uint8_t guest_hvt[], guest_hvt_end[];
__asm__(".section .rodata\n"
	"guest_hvt: movl $0x3100, %eax; movl $0x502, %edx; outl %eax, (%dx)\n"
	"movl $0x508, %edx; outl %eax, (%dx); hlt\n"
	"guest_hvt_end:\n"
	".previous\n");

static void solo5(void)
{
	struct kvm_sregs s = {.cr0 = 0x10, .cr4 = 0x600}; /* from scratch: apic_base 0 */
	struct kvm_regs r = {.rip = CODE, .rsp = STACK, .rdi = TEXT, .rflags = 2};
	uint64_t *puts_argument;

	open_kvm();
	version();
	create_vm(1);
	vcpu = (int)MUST(vm, KVM_CREATE_VCPU, 0);
	run_size = MUST(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	expect(run_size >= sizeof(*run), "KVM_GET_VCPU_MMAP_SIZE");
	map_run(vcpu, &run);
	expect(has(KVM_CAP_USER_MEMORY) == 1, "KVM_CAP_USER_MEMORY is not 1");
	add_memory(MAP_SHARED, 0);
	load64("solo5's guest");
	memcpy(memory + CODE, guest_hvt, guest_hvt_end - guest_hvt);
	puts_argument = (uint64_t *)(memory + 0x3100);
	puts_argument[0] = TEXT;
	puts_argument[1] = strlen((char *)memory + TEXT);
	has(KVM_CAP_IOEVENTFD);
	supported_cpuid(100);
	MUST(vcpu, KVM_SET_CPUID2, &cpuid);
	long_mode(&s);
	MUST(vcpu, KVM_SET_SREGS, &s);
	expect(has(KVM_CAP_GET_TSC_KHZ) == 1, "KVM_CAP_GET_TSC_KHZ is not 1");
	MUST(vcpu, KVM_GET_TSC_KHZ, 0);
	MUST(vcpu, KVM_SET_REGS, &r);
	/* What is protected against writing ends the run: the guest's W^X. */
	expect(!mprotect(memory + CODE, PAGE, PROT_READ), "mprotect");
	MUST(vcpu, KVM_RUN, 0);
	expect(run->exit_reason == KVM_EXIT_IO && run->io.port == HVT_PUTS && run->io.size == 4 &&
		       run->io.direction == KVM_EXIT_IO_OUT,
	       "no hypercall");
	memcpy(printed, memory + ((uint64_t *)(memory + io_data()))[0], ((uint64_t *)(memory + io_data()))[1]);
	MUST(vcpu, KVM_RUN, 0);
	expect(run->exit_reason == KVM_EXIT_IO && run->io.port == HVT_HALT, "no end");
	expect(!strcmp(printed, "solo5's guest"), printed);
	MUST(vcpu, KVM_GET_REGS, &r);
	complete();
	/* Code that writes to itself */
	memcpy(memory + CODE + PAGE, "\xc6\x05\x00\xf0\xff\xff\x90", 7); /* movb $0x90, CODE + 7 */
	r.rip = CODE + PAGE;
	MUST(vcpu, KVM_SET_REGS, &r);
	expect(CALL(vcpu, KVM_RUN, 0) == -EFAULT, "a write to a protected page");
}

/* ---- uhyve ---- */

static void uhyve(void)
{
	struct kvm_enable_cap cap = {.cap = KVM_CAP_X2APIC_API, .args = {3}};
	struct kvm_regs r = regs64(0xe0000000, 11, 0x540, 0);
	struct kvm_mp_state runnable = {.mp_state = KVM_MP_STATE_RUNNABLE};
	struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC};
	static struct {
		struct kvm_msr_list head;
		uint32_t indexes[256];
	} list = {.head.nmsrs = 256};
	static struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entries[256];
	} msrs;
	struct {
		uint32_t len;
		uint64_t set;
	} __attribute__((packed)) mask = {.len = 8};

	open_kvm();
	create_vm(1);
	run_size = MUST(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	add_memory(MAP_PRIVATE, 0);
	load64("uhyve's guest");
	MUST(vm, KVM_CREATE_IRQCHIP, 0);
	MUST(vm, KVM_ENABLE_CAP, &cap);
	/* It ends if one of these two is accepted. */
	cap = (struct kvm_enable_cap){.cap = KVM_CAP_TSC_DEADLINE_TIMER};
	expect(CALL(vm, KVM_ENABLE_CAP, &cap) < 0, "KVM_CAP_TSC_DEADLINE_TIMER was enabled");
	cap.cap = KVM_CAP_IRQFD;
	expect(CALL(vm, KVM_ENABLE_CAP, &cap) < 0, "KVM_CAP_IRQFD was enabled");
	MUST(vm, KVM_GET_IRQCHIP, &chip);
	device_start();
	route_pin(123, KVM_IRQCHIP_IOAPIC, 11);
	MUST(vm, KVM_SET_GSI_ROUTING, &routes);
	irqfd(123, 0, 0);
	ioeventfd(0xe0000000, 0, 0, 0);
	vcpu = create_vcpu(0, &run);
	get_set_sregs64();
	MUST(vcpu, KVM_SET_REGS, &r);
	supported_cpuid(256);
	for (uint32_t i = 2; i <= 4; i++)
		leaf(0x80000000 + i);
	leaf(0xa);
	MUST(vcpu, KVM_SET_CPUID2, &cpuid);
	MUST(vcpu, KVM_SET_MP_STATE, &runnable);
	MUST(kvm, KVM_GET_MSR_INDEX_LIST, &list);
	msrs.head.nmsrs = list.head.nmsrs < 256 ? list.head.nmsrs : 255;
	for (uint32_t i = 0; i < msrs.head.nmsrs; i++)
		msrs.entries[i].index = list.indexes[i];
	msrs.entries[0] = (struct kvm_msr_entry){.index = 0x1a0, .data = 1};
	msrs.entries[1] = (struct kvm_msr_entry){.index = 0x1b, .data = 0xfee00900};
	expect(MUST(vcpu, KVM_SET_MSRS, &msrs) >= 2, "KVM_SET_MSRS");
	MUST(vcpu, KVM_SET_SIGNAL_MASK, &mask);
	run->kvm_valid_regs = KVM_SYNC_X86_REGS;
	run_until(0x540);
	expect(run->s.regs.regs.rdi == TEXT + strlen("uhyve's guest"), "RDI in kvm_run");
	expect(!strcmp(printed, "uhyve's guest!"), printed);
}

/* ---- QEMU 7.2, -machine pc -cpu host ---- */

static void enable(uint32_t capability, uint64_t argument)
{
	struct kvm_enable_cap cap = {.cap = capability, .args = {argument}};

	MUST(vm, KVM_ENABLE_CAP, &cap);
}

static struct {
	struct kvm_msr_list head;
	uint32_t indexes[512];
} qemu_list;
static struct {
	struct kvm_msrs head;
	struct kvm_msr_entry entries[200];
} qemu_msrs;

static bool listed(uint32_t msr)
{
	for (uint32_t i = 0; i < qemu_list.head.nmsrs; i++)
		if (qemu_list.indexes[i] == msr)
			return true;
	return false;
}

static void qemu_index_list(unsigned long request)
{
	qemu_list.head.nmsrs = 0;
	expect(CALL(kvm, request, &qemu_list) == -E2BIG, "an index list into no room");
	expect(qemu_list.head.nmsrs > 0 && qemu_list.head.nmsrs < 512, "an index list is empty");
	MUST(kvm, request, &qemu_list);
}

/* What it writes at each reset: it aborts when one is refused. */
static void qemu_reset_msrs(void)
{
	static const uint32_t always[] = {0x174, 0x175, 0x176, 0x277, 0xc0000081, 0xc0000083, 0xc0000102, 0xc0000084,
					  0xc0000082, 0x10, 0x2ff, 0x250, 0x258, 0x259};
	static const uint32_t if_listed[] = {0xc0010117, 0xc0000103, 0x3b, 0x1a0, 0x9e, 0x34, 0x48, 0xc0000104,
					     0xc001011f, 0x12, 0x11, 0x4b564d06, 0x4b564d02, 0x4b564d04,
					     0x4b564d03, 0x4b564d05, 0x40000100, 0x40000101, 0x40000102};
	struct kvm_msr_entry *e = qemu_msrs.entries;

	for (size_t i = 0; i < sizeof(always) / 4; i++)
		*e++ = (struct kvm_msr_entry){.index = always[i]};
	for (uint32_t msr = 0x268; msr <= 0x26f; msr++)
		*e++ = (struct kvm_msr_entry){.index = msr};
	for (uint32_t msr = 0x200; msr <= 0x20f; msr++)
		*e++ = (struct kvm_msr_entry){.index = msr};
	for (uint32_t msr = 0x400; msr < 0x428; msr++) /* the machine checks' banks */
		*e++ = (struct kvm_msr_entry){.index = msr};
	*e++ = (struct kvm_msr_entry){.index = 0x17a};
	for (size_t i = 0; i < sizeof(if_listed) / 4; i++)
		if (listed(if_listed[i]))
			*e++ = (struct kvm_msr_entry){.index = if_listed[i]};
	qemu_msrs.head.nmsrs = e - qemu_msrs.entries;
	expect(MUST(vcpu, KVM_GET_MSRS, &qemu_msrs) == (long)qemu_msrs.head.nmsrs, "KVM_GET_MSRS did not get all");
	expect(MUST(vcpu, KVM_SET_MSRS, &qemu_msrs) == (long)qemu_msrs.head.nmsrs, "KVM_SET_MSRS did not set all");
}

static void qemu_reset(const struct kvm_regs *r)
{
	static struct kvm_xsave xsave;
	struct kvm_xcrs xcrs = {};
	struct kvm_vcpu_events events = {};
	struct kvm_mp_state mp = {.mp_state = KVM_MP_STATE_RUNNABLE};
	struct kvm_debugregs debugregs = {};
	long khz = MUST(vcpu, KVM_GET_TSC_KHZ, 0);

	if (has(KVM_CAP_SREGS2)) {
		struct kvm_sregs2 s = {};
		struct kvm_sregs old;

		MUST(vcpu, KVM_GET_SREGS2, &s);
		memcpy(&old, &s, offsetof(struct kvm_sregs, interrupt_bitmap));
		long_mode(&old);
		memcpy(&s, &old, offsetof(struct kvm_sregs, interrupt_bitmap));
		s.flags = 0;
		MUST(vcpu, KVM_SET_SREGS2, &s);
	} else {
		get_set_sregs64();
	}
	MUST(vcpu, KVM_SET_TSC_KHZ, khz);
	MUST(vcpu, KVM_SET_REGS, r);
	MUST(vcpu, KVM_GET_XSAVE, &xsave);
	MUST(vcpu, KVM_SET_XSAVE, &xsave);
	MUST(vcpu, KVM_GET_XCRS, &xcrs);
	MUST(vcpu, KVM_SET_XCRS, &xcrs);
	qemu_reset_msrs();
	events.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_PAYLOAD | KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
	MUST(vcpu, KVM_SET_VCPU_EVENTS, &events);
	MUST(vcpu, KVM_SET_MP_STATE, &mp);
	qemu_msrs.head.nmsrs = 1;
	qemu_msrs.entries[0] = (struct kvm_msr_entry){.index = 0x6e0};
	expect(MUST(vcpu, KVM_SET_MSRS, &qemu_msrs) == 1, "the TSC deadline");
	MUST(vcpu, KVM_GET_DEBUGREGS, &debugregs);
	MUST(vcpu, KVM_SET_DEBUGREGS, &debugregs);
}

/* The firmware's shadow RAM: slots are deleted and made anew, again and again. */
static void qemu_slots(void)
{
	struct kvm_userspace_memory_region all = {.memory_size = MEMORY, .userspace_addr = (uint64_t)memory};
	struct kvm_userspace_memory_region low = all, rom = all, high = all;

	low.memory_size = 0xc0000;
	rom = (struct kvm_userspace_memory_region){2, KVM_MEM_READONLY, 0xc0000, 0x20000, (uint64_t)memory + 0xc0000};
	high = (struct kvm_userspace_memory_region){4, 0, 0xe0000, MEMORY - 0xe0000, (uint64_t)memory + 0xe0000};
	for (int i = 0; i < 20; i++) {
		struct kvm_userspace_memory_region none = {};

		MUST(vm, KVM_SET_USER_MEMORY_REGION, &none);
		MUST(vm, KVM_SET_USER_MEMORY_REGION, &low);
		MUST(vm, KVM_SET_USER_MEMORY_REGION, &rom);
		MUST(vm, KVM_SET_USER_MEMORY_REGION, &high);
		MUST(vm, KVM_SET_USER_MEMORY_REGION, &none);
		none.slot = 2;
		MUST(vm, KVM_SET_USER_MEMORY_REGION, &none);
		none.slot = 4;
		MUST(vm, KVM_SET_USER_MEMORY_REGION, &none);
		MUST(vm, KVM_SET_USER_MEMORY_REGION, &all);
	}
}

static void qemu_devices(void)
{
	struct kvm_pit_state2 pit;
	struct kvm_irqchip chip = {};
	struct kvm_tpr_access_ctl tpr = {};
	struct kvm_vapic_addr vapic = {};
	struct kvm_lapic_state apic;
	struct kvm_clock_data clock = {};

	MUST(vm, KVM_GET_PIT2, &pit);
	MUST(vm, KVM_SET_PIT2, &pit);
	for (int id = 2; id >= 0; id--) {
		chip.chip_id = id;
		MUST(vm, KVM_GET_IRQCHIP, &chip);
		MUST(vm, KVM_SET_IRQCHIP, &chip);
	}
	MUST(vcpu, KVM_TPR_ACCESS_REPORTING, &tpr);
	MUST(vcpu, KVM_SET_VAPIC_ADDR, &vapic);
	qemu_msrs.head.nmsrs = 1;
	qemu_msrs.entries[0] = (struct kvm_msr_entry){.index = 0x1b, .data = 0xfee00900};
	expect(MUST(vcpu, KVM_SET_MSRS, &qemu_msrs) == 1, "the APIC's base");
	MUST(vcpu, KVM_GET_LAPIC, &apic);
	MUST(vcpu, KVM_SET_LAPIC, &apic);
	MUST(vm, KVM_SET_CLOCK, &clock);
	CALL(vcpu, KVM_KVMCLOCK_CTRL, 0);
}

static void qemu(void)
{
	static const struct kvm_coalesced_mmio_zone zones[] = {
		{.addr = 0xcf8, .size = 4, .pio = 1}, {.addr = 0xcf8, .size = 1, .pio = 1},
		{.addr = 0xcfa, .size = 2, .pio = 1}, {.addr = 0x70, .size = 1, .pio = 1}};
	struct kvm_pit_config pit = {.flags = 0};
	struct kvm_regs r = regs64(0xfebfb000, 20, 0x600, 0);
	uint64_t identity = 0xfeffc000, banks = 0, supp = 0;
	struct kvm_device_attr attr = {.attr = KVM_X86_XCOMP_GUEST_SUPP, .addr = (uint64_t)&supp};
	struct kvm_clock_data clock;
	uint32_t room;
	const int match = 1 << kvm_ioeventfd_flag_nr_datamatch | 1 << kvm_ioeventfd_flag_nr_pio;

	open_kvm();
	version();
	has(KVM_CAP_IMMEDIATE_EXIT);
	expect(has(KVM_CAP_NR_MEMSLOTS) >= 32, "memslots");
	create_vm(1000);
	expect(MUST(vm, KVM_CHECK_EXTENSION, KVM_CAP_NR_VCPUS) >= 1, "vCPUs");
	REQUIRED(KVM_CAP_USER_MEMORY, KVM_CAP_DESTROY_MEMORY_REGION_WORKS, KVM_CAP_JOIN_MEMORY_REGIONS_WORKS,
		 KVM_CAP_SET_TSS_ADDR, KVM_CAP_EXT_CPUID, KVM_CAP_MP_STATE);
	expect(has(KVM_CAP_COALESCED_MMIO) == KVM_COALESCED_MMIO_PAGE_OFFSET, "KVM_CAP_COALESCED_MMIO");
	if (has(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2))
		enable(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, has(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2));
	if (has(KVM_CAP_EXCEPTION_PAYLOAD))
		enable(KVM_CAP_EXCEPTION_PAYLOAD, 1);
	if (has(KVM_CAP_X86_TRIPLE_FAULT_EVENT))
		enable(KVM_CAP_X86_TRIPLE_FAULT_EVENT, 1);
	if (has(KVM_CAP_GET_MSR_FEATURES))
		qemu_index_list(KVM_GET_MSR_FEATURE_INDEX_LIST);
	qemu_index_list(KVM_GET_MSR_INDEX_LIST);
	MUST(vm, KVM_SET_IDENTITY_MAP_ADDR, &identity);
	MUST(vm, KVM_SET_TSS_ADDR, identity + PAGE);
	if (has(KVM_CAP_X86_USER_SPACE_MSR)) {
		uint8_t bitmap[8] = {};
		struct kvm_msr_filter filter = {
			.ranges[0] = {.flags = KVM_MSR_FILTER_READ, .nmsrs = 1, .base = 0x35, .bitmap = bitmap}};

		enable(KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_FILTER);
		MUST(vm, KVM_X86_SET_MSR_FILTER, &filter);
	}
	MUST(vm, KVM_CREATE_IRQCHIP, 0);
	device_start();
	for (int i = 0; i < 7; i++) /* can it have that many on one port? */
		ioeventfd(0, 2, match, i);
	for (int i = 6; i >= 0; i--)
		ioeventfd(0, 2, match | 1 << kvm_ioeventfd_flag_nr_deassign, i);
	MUST(kvm, KVM_X86_GET_MCE_CAP_SUPPORTED, &banks);
	for (room = 1;; room *= 2) {
		long result;

		cpuid.head.nent = room;
		result = CALL(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid);
		if (!result)
			break;
		expect(result == -E2BIG && room < 256, "KVM_GET_SUPPORTED_CPUID");
	}
	if (has(KVM_CAP_SYS_ATTRIBUTES))
		MUST(kvm, KVM_GET_DEVICE_ATTR, &attr);
	run_size = MUST(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	vcpu = create_vcpu(0, &run);
	MUST(vcpu, KVM_GET_TSC_KHZ, 0);
	banks = (banks & 0x1000100) | 10;
	MUST(vcpu, KVM_X86_SETUP_MCE, &banks);
	MUST(vcpu, KVM_SET_CPUID2, &cpuid);
	MUST(vm, KVM_GET_CLOCK, &clock);
	add_memory(MAP_PRIVATE, 0);
	load64("QEMU's guest");
	for (uint32_t gsi = 0; gsi < 16; gsi++)
		if (gsi != 2)
			route_pin(gsi, gsi < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, gsi % 8);
	for (uint32_t gsi = 0; gsi < 24; gsi++)
		if (gsi != 2)
			route_pin(gsi, KVM_IRQCHIP_IOAPIC, gsi ? gsi : 2);
	MUST(vm, KVM_SET_GSI_ROUTING, &routes);
	for (size_t i = 0; i < sizeof(zones) / sizeof(zones[0]); i++)
		MUST(vm, KVM_REGISTER_COALESCED_MMIO, &zones[i]);
	MUST(vm, KVM_CREATE_PIT2, &pit);
	qemu_reset(&r);
	qemu_devices();
	qemu_slots();
	qemu_reset(&r);
	ioeventfd(0xfebfb000, 0, 0, 0);
	irqfd(20, 0, 0);
	run_until(0x600);
	expect(!strcmp(printed, "QEMU's guest!"), printed);
	complete();
}

/* ---- */

static const struct vmm {
	const char *name;
	void (*replay)(void);
} vmms[] = {{"kvmtool", kvmtool}, {"Firecracker", firecracker}, {"Cloud-Hypervisor", cloud_hypervisor},
	    {"crosvm", crosvm}, {"solo5", solo5}, {"uhyve", uhyve}, {"QEMU", qemu}};
#define VMMS (sizeof(vmms) / sizeof(vmms[0]))

/* In a process of its own, with a time limit. */
static bool passes(const struct vmm *v)
{
	const struct sigaction action = {.sa_handler = noted};
	pid_t child = fork();
	int status;

	if (!child) {
		alarm(SECONDS);
		sigaction(KICK, &action, NULL);
		v->replay();
		printf("replay %s: it printed \"%s\"\n", v->name, printed);
		exit(0);
	}
	if (waitpid(child, &status, 0) == child && !status)
		return true;
	printf("replay %s: FAILED, status %#x\n", v->name, status);
	return false;
}

int main(int argc, char **argv)
{
	unsigned passed = 0, failed = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; i < VMMS; i++) {
		bool wanted = argc == 1;

		for (int n = 1; n < argc; n++)
			wanted |= !strcmp(argv[n], vmms[i].name);
		if (wanted)
			*(passes(&vmms[i]) ? &passed : &failed) += 1;
	}
	printf("REPLAY %u passed, %u failed\n", passed, failed);
	return failed != 0;
}
