/* SPDX-License-Identifier: MIT */
/*
 * Runs the bare-metal guests of tests/guests, one VM each, as a plain /dev/kvm client: on Linux's
 * KVM and on Keel alike. Usage: guests [sets] [NAME ...]; closes with "GUESTS N passed, N failed".
 * `sets`, on Keel: once with all optional features of the processor, without each, without all.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define GUEST(name)                                                                                \
	__asm__(".pushsection .rodata\n"                                                           \
		".balign 16\n"                                                                     \
		".hidden guest_" #name "\n.global guest_" #name "\n"                               \
		"guest_" #name ": .incbin \"build/guests/" #name ".bin\"\n"                        \
		".hidden guest_" #name "_end\n.global guest_" #name "_end\n"                       \
		"guest_" #name "_end:\n.popsection\n");                                            \
	extern const uint8_t guest_##name[], guest_##name##_end[];
#include "guests/list.h"
#undef GUEST

#define GUEST(name) {#name, guest_##name, guest_##name##_end},
static const struct guest {
	const char *name;
	const uint8_t *start, *end;
} guests[] = {
#include "guests/list.h"
};

struct header {
	uint8_t jump[4];
	uint32_t magic, flags, end;
};

#define MAGIC	      0x74736575
#define FLAG_IRQCHIP  1
#define FLAG_DIRTY    2
#define LOAD_AT	      0x8000
#define MEMORY	      (4u << 20)
#define MMIO_BASE     0xd0000000u
#define EXITS_AT_MOST 2000000

#define LENIENT_AT   0x538
#define SOFT_NMI_AT  0x53c
#define LINUX_KVM_AT 0x540

#define KEEL_DO_WITHOUT _IO(0xce, 0x14) /* docs/hypercalls.md */
#define INVPCID		(1u << 9)
#define RDTSCP		(1u << 12)
#define VIRTUAL_NMIS	(1u << 16)

static uint8_t mmio[4096];
static unsigned without; /* features that the next VM does not use */
static int linux_kvm;	 /* this is not Keel */

/* QEMU's TCG skips some of silicon's checks: guests report those, but do not fail for them. */
static int lenient(void)
{
	uint32_t a = 0x40000000, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return b == 0x54474354; /* "TCGT" of "TCGTCGTCGTCG" */
}

static int io_exit(struct kvm_run *run, int *status)
{
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	uint32_t bytes = run->io.size * run->io.count;

	if (run->io.direction == KVM_EXIT_IO_IN) {
		memset(data, run->io.port == 0xe8 ? run->io.size * 0x11 : 0xff, bytes);
		return 0;
	}
	if (run->io.port == 0xe9)
		for (uint32_t i = 0; i < bytes; i++)
			putchar(data[i]);
	if (run->io.port == 0xf4) {
		*status = data[0];
		return 1;
	}
	return 0;
}

static void mmio_exit(struct kvm_run *run)
{
	uint64_t offset = run->mmio.phys_addr - MMIO_BASE;

	if (offset >= sizeof(mmio) || offset + run->mmio.len > sizeof(mmio)) {
		if (!run->mmio.is_write)
			memset(run->mmio.data, 0xff, 8);
		return;
	}
	if (run->mmio.is_write)
		memcpy(mmio + offset, run->mmio.data, run->mmio.len);
	else
		memcpy(run->mmio.data, mmio + offset, run->mmio.len);
}

/* The reason that ended the guest, *status what it wrote to port 0xf4. */
static int run_to_end(int vcpu, struct kvm_run *run, int *status)
{
	for (int exits = 0; exits < EXITS_AT_MOST; exits++) {
		if (ioctl(vcpu, KVM_RUN, 0) < 0) {
			perror("KVM_RUN");
			return -1;
		}
		if (run->exit_reason == KVM_EXIT_MMIO) {
			mmio_exit(run);
		} else if (run->exit_reason == KVM_EXIT_IO) {
			if (io_exit(run, status))
				return 0;
		} else if (run->exit_reason != KVM_EXIT_SET_TPR) {
			return run->exit_reason;
		}
	}
	printf("no end after %d exits\n", EXITS_AT_MOST);
	return -1;
}

static int set_up(int kvm, int vm, int vcpu, uint8_t *memory, const struct guest *g)
{
	static union {
		struct kvm_cpuid2 head;
		uint8_t room[sizeof(struct kvm_cpuid2) + 100 * sizeof(struct kvm_cpuid_entry2)];
	} cpuid;
	struct kvm_sregs sregs;
	struct kvm_regs regs = {.rip = LOAD_AT, .rflags = 2};

	(void)vm;
	cpuid.head.nent = 100;
	if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid) < 0 ||
	    ioctl(vcpu, KVM_GET_SREGS, &sregs) < 0)
		return -1;
	for (unsigned i = 0; i < cpuid.head.nent; i++) { /* the guests test a CPU without either */
		struct kvm_cpuid_entry2 *e = &cpuid.head.entries[i];

		if (e->function == 1)
			e->ecx &= ~(1u << 5);
		if (e->function == 0x80000001)
			e->ecx &= ~(1u << 2);
		if (e->function == 7 && e->index == 0 && without & INVPCID)
			e->ebx &= ~(1u << 10);
		if (e->function == 7 && e->index == 0 && without & RDTSCP)
			e->ecx &= ~(1u << 22); /* RDPID */
		if (e->function == 0x80000001 && without & RDTSCP)
			e->edx &= ~(1u << 27);
	}
	if (ioctl(vcpu, KVM_SET_CPUID2, &cpuid) < 0)
		return -1;
	memcpy(memory + LOAD_AT, g->start, g->end - g->start);
	*(uint32_t *)(memory + LENIENT_AT) = lenient();
	*(uint32_t *)(memory + LINUX_KVM_AT) = linux_kvm;
	*(uint32_t *)(memory + SOFT_NMI_AT) = !!(without & VIRTUAL_NMIS);
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	if (ioctl(vcpu, KVM_SET_SREGS, &sregs) < 0 || ioctl(vcpu, KVM_SET_REGS, &regs) < 0)
		return -1;
	return 0;
}

static int run_guest(int kvm, int run_size, const struct guest *g)
{
	const struct header *h = (const void *)g->start;
	struct kvm_pit_config pit = {0};
	const char *step = "create";
	int vm = ioctl(kvm, KVM_CREATE_VM, 0), vcpu = -1, end = -1, status = -1, ok = 0;
	uint8_t *memory =
		mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region region = {.memory_size = MEMORY,
						     .userspace_addr = (uintptr_t)memory};
	struct kvm_run *run = MAP_FAILED;

	memset(mmio, 0, sizeof(mmio));
	printf("== %s\n", g->name);
	if (without && ioctl(vm, KEEL_DO_WITHOUT, (unsigned long)without) < 0)
		goto out;
	if (vm < 0 || memory == MAP_FAILED || ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000) < 0 ||
	    ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		goto out;
	step = "irqchip";
	region.flags = h->flags & FLAG_DIRTY ? KVM_MEM_LOG_DIRTY_PAGES : 0;
	if (h->flags & FLAG_IRQCHIP &&
	    (ioctl(vm, KVM_CREATE_IRQCHIP, 0) < 0 || ioctl(vm, KVM_CREATE_PIT2, &pit) < 0))
		goto out;
	step = "vCPU";
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (vcpu < 0)
		goto out;
	run = mmap(NULL, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED || set_up(kvm, vm, vcpu, memory, g) < 0)
		goto out;
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		goto out;
	step = NULL;
	end = run_to_end(vcpu, run, &status);
	ok = end == (int)h->end && (end != 0 || status == 0);
	if (!ok) {
		struct kvm_regs r;

		ioctl(vcpu, KVM_GET_REGS, &r);
		printf("ended with exit %d, status %d, RIP %llx; exit %u was to end it\n", end,
		       status, (unsigned long long)r.rip, h->end);
		if (end == KVM_EXIT_INTERNAL_ERROR)
			printf("suberror %u\n", run->internal.suberror);
	}
out:
	if (step)
		perror(step);
	printf("%s guest %s\n", ok ? "ok" : "FAIL", g->name);
	if (run != MAP_FAILED)
		munmap(run, run_size);
	if (vcpu >= 0)
		close(vcpu);
	if (vm >= 0)
		close(vm);
	if (memory != MAP_FAILED)
		munmap(memory, MEMORY);
	return ok;
}

static int passed, failed;

static void run_guests(int kvm, int run_size, int argc, char **argv)
{
	if (without)
		printf("== without features %x\n", without);
	for (size_t i = 0; i < sizeof(guests) / sizeof(guests[0]); i++) {
		int wanted = argc < 2;

		for (int a = 1; a < argc; a++)
			wanted |= !strcmp(argv[a], guests[i].name);
		if (!wanted)
			continue;
		if (run_guest(kvm, run_size, &guests[i]))
			passed++;
		else
			failed++;
	}
}

/* What is wrong is said as on Linux: an unknown number first, then the pointer, then the slot. */
static void run_errors(int kvm)
{
	struct kvm_dirty_log none = {.slot = 32763}, too_high = {.slot = 32764};
	struct kvm_clear_dirty_log clear = {.slot = 32763, .num_pages = 64};
	int vm = ioctl(kvm, KVM_CREATE_VM, 0), vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	const unsigned long unknown = _IOW(KVMIO, 0xfe, uint64_t);
	const struct {
		int fd;
		unsigned long request;
		void *argument;
		int error;
	} calls[] = {
		{kvm, unknown, NULL, EINVAL},
		{vm, unknown, NULL, ENOTTY},
		{vcpu, unknown, NULL, EINVAL},
		{vm, KVM_IRQ_LINE, NULL, EFAULT},
		{vcpu, KVM_GET_REGS, NULL, EFAULT},
		{vcpu, KVM_SET_REGS, NULL, EFAULT},
		{vcpu, KVM_GET_MSRS, NULL, EFAULT},
		{vm, KVM_GET_DIRTY_LOG, NULL, EFAULT},
		{vm, KVM_GET_DIRTY_LOG, &none, ENOENT},
		{vm, KVM_GET_DIRTY_LOG, &too_high, EINVAL},
		{vm, KVM_CLEAR_DIRTY_LOG, NULL, EFAULT},
		{vm, KVM_CLEAR_DIRTY_LOG, &clear, ENOENT},
	};
	int ok = vcpu >= 0;

	for (unsigned i = 0; ok && i < sizeof(calls) / sizeof(calls[0]); i++) {
		errno = 0;
		if (ioctl(calls[i].fd, calls[i].request, calls[i].argument) != -1 ||
		    errno != calls[i].error) {
			printf("call %u: error %d, not %d\n", i, errno, calls[i].error);
			ok = 0;
		}
	}
	printf("%s errors\n", ok ? "ok" : "FAIL");
	*(ok ? &passed : &failed) += 1;
	close(vcpu);
	close(vm);
}

/* Real-mode code that is stepped, and handlers that say their vector. */
static void load_steps(uint8_t *memory)
{
	static const uint8_t code[] = {0x90, 0x90, 0x90, 0x90, 0xeb, 0xfe}; /* nops, and on */

	memcpy(memory + LOAD_AT, code, sizeof(code));
	for (uint8_t vector = 2; vector <= 4; vector += 2) {
		const uint8_t handler[] = {0xb0, vector, 0xe6, 0xf4, 0xcf}; /* out 0xf4, iret */

		*(uint32_t *)(memory + 4 * vector) = 0x9000 + 16 * vector;
		memcpy(memory + 0x9000 + 16 * vector, handler, sizeof(handler));
	}
}

/* Steps to that address, or 0. */
static int steps_to(int vcpu, struct kvm_run *run, uint64_t address)
{
	if (ioctl(vcpu, KVM_RUN, 0) == 0 && run->exit_reason == KVM_EXIT_DEBUG &&
	    run->debug.arch.pc == address)
		return 1;
	printf("exit %u at %llx where a step to %llx was due\n", run->exit_reason,
	       (unsigned long long)run->debug.arch.pc, (unsigned long long)address);
	return 0;
}

static int says(int vcpu, struct kvm_run *run, uint8_t vector)
{
	if (ioctl(vcpu, KVM_RUN, 0) == 0 && run->exit_reason == KVM_EXIT_IO &&
	    run->io.port == 0xf4 && *((uint8_t *)run + run->io.data_offset) == vector)
		return 1;
	printf("exit %u where vector %u was due\n", run->exit_reason, vector);
	return 0;
}

/* KVM_GUESTDBG_BLOCKIRQ: steps go on below an NMI and an interrupt, which come when it ends. */
static int step_below_interrupts(int vm, int vcpu, struct kvm_run *run)
{
	struct kvm_guest_debug debug = {.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP |
						   KVM_GUESTDBG_BLOCKIRQ};
	struct kvm_irq_level line = {.irq = 4, .level = 1}; /* a PIC nobody set up: vector 4 */
	int ok = ioctl(vcpu, KVM_SET_GUEST_DEBUG, &debug) == 0 && steps_to(vcpu, run, LOAD_AT + 1);

	ok = ok && ioctl(vcpu, KVM_NMI) == 0 && ioctl(vm, KVM_IRQ_LINE, &line) == 0;
	for (int i = 2; ok && i <= 4; i++)
		ok = steps_to(vcpu, run, LOAD_AT + i);
	debug.control = 0;
	return ok && ioctl(vcpu, KVM_SET_GUEST_DEBUG, &debug) == 0 && says(vcpu, run, 2) &&
	       says(vcpu, run, 4);
}

static void run_steps(int kvm, int run_size)
{
	int vm = ioctl(kvm, KVM_CREATE_VM, 0), vcpu = -1, ok;
	uint8_t *memory =
		mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region region = {.memory_size = MEMORY,
						     .userspace_addr = (uintptr_t)memory};
	struct kvm_regs regs = {.rip = LOAD_AT, .rflags = 0x202, .rsp = 0x7000};
	struct kvm_sregs sregs;
	struct kvm_run *run;

	load_steps(memory);
	ok = ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000) == 0 &&
	     ioctl(vm, KVM_CREATE_IRQCHIP, 0) == 0 &&
	     ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) == 0;
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	run = mmap(NULL, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	ok = ok && run != MAP_FAILED && ioctl(vcpu, KVM_GET_SREGS, &sregs) == 0;
	sregs.cs.base = sregs.cs.selector = 0;
	ok = ok && ioctl(vcpu, KVM_SET_SREGS, &sregs) == 0 &&
	     ioctl(vcpu, KVM_SET_REGS, &regs) == 0 && step_below_interrupts(vm, vcpu, run);
	printf("%s steps\n", ok ? "ok" : "FAIL");
	*(ok ? &passed : &failed) += 1;
	munmap(run, run_size);
	close(vcpu);
	close(vm);
	munmap(memory, MEMORY);
}

/* KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: what is read stays until it is cleared. */
static int logs_writes(int vm, int vcpu, struct kvm_userspace_memory_region *region)
{
	static uint64_t bits[MEMORY / 4096 / 64], mask[MEMORY / 4096 / 64];
	struct kvm_enable_cap cap = {.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, .args = {1}};
	struct kvm_dirty_log log = {.dirty_bitmap = bits};
	struct kvm_clear_dirty_log clear = {.num_pages = 64, .dirty_bitmap = mask};
	/* Linux's KVM logs a page that it maps for a read, the code's, since it may be written. */
	const uint64_t two = 1 << 3 | 1 << 5, first = linux_kvm ? two | 1 << 8 : two;
	int ok;

	region->flags = KVM_MEM_LOG_DIRTY_PAGES;
	mask[0] = 1 << 3;
	ok = ioctl(vm, KVM_ENABLE_CAP, &cap) == 0 &&
	     ioctl(vm, KVM_SET_USER_MEMORY_REGION, region) == 0 && ioctl(vcpu, KVM_RUN, 0) == 0;
	for (int i = 0; i < 2; i++)
		ok = ok && ioctl(vm, KVM_GET_DIRTY_LOG, &log) == 0 && bits[0] == first;
	ok = ok && ioctl(vm, KVM_CLEAR_DIRTY_LOG, &clear) == 0 &&
	     ioctl(vm, KVM_GET_DIRTY_LOG, &log) == 0 && bits[0] == (first & ~mask[0]) &&
	     ioctl(vcpu, KVM_RUN, 0) == 0 && ioctl(vm, KVM_GET_DIRTY_LOG, &log) == 0 &&
	     bits[0] == first;
	cap.args[0] = 3; /* all set when the log begins */
	region->flags = 0;
	ok = ok && ioctl(vm, KVM_ENABLE_CAP, &cap) == 0 &&
	     ioctl(vm, KVM_SET_USER_MEMORY_REGION, region) == 0;
	region->flags = KVM_MEM_LOG_DIRTY_PAGES;
	ok = ok && ioctl(vm, KVM_SET_USER_MEMORY_REGION, region) == 0 &&
	     ioctl(vm, KVM_GET_DIRTY_LOG, &log) == 0;
	for (unsigned i = 0; i < MEMORY / 4096 / 64; i++)
		ok = ok && bits[i] == ~0ull;
	mask[0] = ~0ull;
	return ok && ioctl(vm, KVM_CLEAR_DIRTY_LOG, &clear) == 0 && ioctl(vcpu, KVM_RUN, 0) == 0 &&
	       ioctl(vm, KVM_GET_DIRTY_LOG, &log) == 0 && bits[0] == two && bits[1] == ~0ull;
}

static void run_dirty_log(int kvm)
{
	/* mov [0x3000], al; mov [0x5000], al; out 0xf4, al; again */
	static const uint8_t code[] = {0xa2, 0x00, 0x30, 0xa2, 0x00, 0x50, 0xe6, 0xf4, 0xeb, 0xf6};
	int vm = ioctl(kvm, KVM_CREATE_VM, 0), vcpu = ioctl(vm, KVM_CREATE_VCPU, 0), ok;
	uint8_t *memory =
		mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region region = {.memory_size = MEMORY,
						     .userspace_addr = (uintptr_t)memory};
	struct kvm_regs regs = {.rip = LOAD_AT, .rflags = 2};
	struct kvm_sregs sregs;

	memcpy(memory + LOAD_AT, code, sizeof(code));
	ok = ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000) == 0 &&
	     ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) == 0 &&
	     ioctl(vcpu, KVM_GET_SREGS, &sregs) == 0;
	sregs.cs.base = sregs.cs.selector = 0;
	ok = ok && ioctl(vcpu, KVM_SET_SREGS, &sregs) == 0 &&
	     ioctl(vcpu, KVM_SET_REGS, &regs) == 0 && logs_writes(vm, vcpu, &region);
	printf("%s dirty log\n", ok ? "ok" : "FAIL");
	*(ok ? &passed : &failed) += 1;
	close(vcpu);
	close(vm);
	munmap(memory, MEMORY);
}

/* Keel's CPUID leaves: keel.ko passes no request of Keel's own on. */
static int on_keel(void)
{
	for (uint32_t base = 0x40000000; base < 0x40010000; base += 0x100) {
		uint32_t a = base, name[3] = {0};

		__asm__ volatile("cpuid" : "+a"(a), "=b"(name[0]), "+c"(name[1]), "=d"(name[2]));
		if (!memcmp(name, "KeelKeelKeel", sizeof(name)))
			return 1;
	}
	return 0;
}

static int used_features(int kvm)
{
	int vm = ioctl(kvm, KVM_CREATE_VM, 0);
	int features = ioctl(vm, KEEL_DO_WITHOUT, 0ul);

	close(vm);
	return features;
}

int main(int argc, char **argv)
{
	int kvm = open("/dev/kvm", O_RDWR);
	int run_size = kvm < 0 ? -1 : ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	unsigned features = 0;
	int used;

	if (run_size < 0) {
		perror("/dev/kvm");
		return 1;
	}
	used = used_features(kvm);
	linux_kvm = !on_keel();
	if (argc > 1 && !strcmp(argv[1], "sets")) {
		if (used < 0) {
			perror("KEEL_DO_WITHOUT");
			return 1;
		}
		features = used;
		argc--;
		argv++;
	}
	run_errors(kvm);
	if (argc < 2) /* not where single steps go wrong: the machine's case names its guests */
		run_steps(kvm, run_size);
	run_dirty_log(kvm);
	run_guests(kvm, run_size, argc, argv);
	for (unsigned bit = 1; bit && features; bit <<= 1) {
		without = features & bit;
		if (without)
			run_guests(kvm, run_size, argc, argv);
	}
	without = features;
	if (without)
		run_guests(kvm, run_size, argc, argv);
	printf("GUESTS %d passed, %d failed\n", passed, failed);
	return failed != 0;
}
