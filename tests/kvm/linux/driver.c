// SPDX-License-Identifier: MIT
/*
 * What a kernel driver has to get right around KVM's requests: descriptors, processes, signals. Built for
 * 64 and for 32 bits; it runs on Linux's own KVM as well. "driver short": less of what takes long.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "stats.h"

#define PAGE 4096ul
#define CODE 0x1000 /* guest-physical, as the next */
#define STACK 0x5000

/*
 * guest_fill writes to ECX pages from ESI; guest_listen takes interrupts between exits at port 0x10, and
 * its handler, guest_interrupt, exits at port 0x11 and ends them; guest_write and guest_out_dx write ECX
 * bytes of EAX to ESI and to port DX; guest_rdmsr reads MSR ECX.
 */
extern const uint8_t guest_spin[], guest_out[], guest_halt[], guest_fill[], guest_listen[], guest_interrupt[],
	guest_write[], guest_out_dx[], guest_rdmsr[], guest_end[];
__asm__(".section .rodata\n"
	".code32\n"
	"guest_spin: jmp guest_spin\n"
	"guest_out: out %al, $0x10\n"
	"jmp guest_out\n"
	"guest_halt: hlt\n"
	"out %al, $0x10\n"
	"jmp guest_halt\n"
	"guest_fill: movl $1, (%esi)\n"
	"add $4096, %esi\n"
	"loop guest_fill\n"
	"out %al, $0x10\n"
	"guest_listen: sti\n"
	"nop\n"
	"nop\n"
	"cli\n"
	"out %al, $0x10\n"
	"jmp guest_listen\n"
	"guest_interrupt: out %al, $0x11\n"
	"movl $0, 0xfee000b0\n"
	"iret\n"
	"guest_write: cmp $2, %ecx\n"
	"ja 4f\n"
	"je 2f\n"
	"mov %al, (%esi)\n"
	"jmp 1f\n"
	"2: mov %ax, (%esi)\n"
	"jmp 1f\n"
	"4: mov %eax, (%esi)\n"
	"1: out %al, $0x10\n"
	"guest_out_dx: cmp $2, %ecx\n"
	"ja 4f\n"
	"je 2f\n"
	"out %al, %dx\n"
	"jmp 1f\n"
	"2: out %ax, %dx\n"
	"jmp 1f\n"
	"4: out %eax, %dx\n"
	"1: out %al, $0x10\n"
	"guest_rdmsr: rdmsr\n"
	"out %al, $0x10\n"
	"guest_end:\n"
#ifdef __x86_64__
	".code64\n"
#endif
	".previous\n");

struct machine {
	int vm, vcpu;
	struct kvm_run *run;
	uint8_t *code;
};

static int kvm, failed;
static bool brief;

static void expect(const char *what, long got, long wanted)
{
	failed += got != wanted;
	printf("%-4s  %s", got == wanted ? "ok" : "FAIL", what);
	if (got != wanted)
		printf(": %ld, %ld wanted", got, wanted);
	putchar('\n');
	fflush(stdout);
}

/* A request's result, or -errno. */
static long request(int fd, unsigned long number, void *arg)
{
	long result = ioctl(fd, number, arg);

	return result < 0 ? -errno : result;
}

static void *map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		err(1, "mmap");
	return p;
}

static long slot(const struct machine *m, uint32_t id, uint64_t gpa, uint64_t bytes, const void *hva, uint32_t flags)
{
	struct kvm_userspace_memory_region region = {id, flags, gpa, bytes, (uintptr_t)hva};

	return request(m->vm, KVM_SET_USER_MEMORY_REGION, &region);
}

/* A vCPU in flat 32-bit mode. */
static void enter_at(const struct machine *m, const uint8_t *entry)
{
	struct kvm_regs regs = {.rip = CODE + (entry - guest_spin), .rsp = STACK + PAGE};
	struct kvm_mp_state runnable = {KVM_MP_STATE_RUNNABLE};
	struct kvm_sregs sregs;

	if (ioctl(m->vcpu, KVM_GET_SREGS, &sregs))
		err(1, "KVM_GET_SREGS");
	sregs.cs = (struct kvm_segment){.limit = ~0u, .selector = 8, .type = 11, .present = 1, .db = 1,
					.s = 1, .g = 1};
	sregs.ds = sregs.es = sregs.ss = (struct kvm_segment){.limit = ~0u, .selector = 16, .type = 3,
							      .present = 1, .db = 1, .s = 1, .g = 1};
	sregs.cr0 |= 1;
	/* Bochs 2.7 lets no interrupt of the host's end a guest that keeps IF clear. */
	regs.rflags = entry == guest_spin ? 0x202 : 2;
	if (ioctl(m->vcpu, KVM_SET_SREGS, &sregs) || ioctl(m->vcpu, KVM_SET_REGS, &regs) ||
	    ioctl(m->vcpu, KVM_SET_MP_STATE, &runnable))
		err(1, "a vCPU's registers");
}

static void vcpu_make(struct machine *m)
{
	m->vcpu = ioctl(m->vm, KVM_CREATE_VCPU, 0);
	if (m->vcpu < 0)
		err(1, "KVM_CREATE_VCPU");
	m->run = mmap(NULL, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED,
		      m->vcpu, 0);
	if (m->run == MAP_FAILED)
		err(1, "kvm_run");
}

static struct machine machine(bool irqchip)
{
	struct machine m = {.vm = ioctl(kvm, KVM_CREATE_VM, 0), .code = map(PAGE)};

	if (m.vm < 0 || (irqchip && ioctl(m.vm, KVM_CREATE_IRQCHIP, 0)))
		err(1, "no virtual machine");
	memcpy(m.code, guest_spin, guest_end - guest_spin);
	if (slot(&m, 0, CODE, PAGE, m.code, 0))
		err(1, "memory");
	vcpu_make(&m);
	return m;
}

static void end(struct machine *m)
{
	munmap(m->run, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0));
	close(m->vcpu);
	close(m->vm);
	munmap(m->code, PAGE);
}

/* ---- descriptors and processes ---- */

static void descriptors(void)
{
	struct machine m = {.vm = ioctl(kvm, KVM_CREATE_VM, 0)};
	struct rlimit old, none;

	getrlimit(RLIMIT_NOFILE, &old);
	none = old;
	none.rlim_cur = m.vm + 1;
	setrlimit(RLIMIT_NOFILE, &none);
	expect("no descriptor for a vCPU: EMFILE", request(m.vm, KVM_CREATE_VCPU, (void *)3), -EMFILE);
	expect("no descriptor for a VM: EMFILE", request(kvm, KVM_CREATE_VM, NULL), -EMFILE);
	setrlimit(RLIMIT_NOFILE, &old);
	m.vcpu = ioctl(m.vm, KVM_CREATE_VCPU, 3);
	expect("the vCPU can still be created", m.vcpu > 0, 1);
	expect("but once only", request(m.vm, KVM_CREATE_VCPU, (void *)3), -EEXIST);
	close(m.vcpu);
	close(m.vm);
}

static void other_process(void)
{
	struct machine m = machine(false);
	struct kvm_regs regs;
	int status;
	pid_t pid = fork();

	if (!pid)
		_exit(request(m.vm, KVM_CHECK_EXTENSION, NULL) != -EIO ||
		      request(m.vcpu, KVM_GET_REGS, &regs) != -EIO || request(m.vcpu, KVM_RUN, NULL) != -EIO);
	waitpid(pid, &status, 0);
	expect("another process: EIO", status, 0);
	end(&m);
}

static void closed_early(void)
{
	struct machine m = machine(false);
	int exits = 0;

	enter_at(&m, guest_out);
	close(m.vm);
	for (int i = 0; i < 100; i++)
		exits += !ioctl(m.vcpu, KVM_RUN, 0) && m.run->exit_reason == KVM_EXIT_IO;
	expect("a vCPU runs on when its VM's descriptor is closed", exits, 100);
	munmap(m.code, PAGE);
	expect("without its memory: EFAULT", request(m.vcpu, KVM_RUN, NULL), -EFAULT);
	close(m.vcpu);
	expect("kvm_run stays while it is mapped", m.run->exit_reason, KVM_EXIT_IO);
	munmap(m.run, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0));
}

#define PROCESSES 4

/* Memory for one of them must not be held up, or refused, by another's. */
static void at_once(void)
{
	int status, bad = 0;

	for (int p = 0; p < PROCESSES; p++)
		if (!fork()) {
			for (int i = 0; i < (brief ? 2 : 15); i++) {
				struct machine m = machine(i & 1);

				for (int s = 1; s < (brief ? 20 : 200); s++)
					if (slot(&m, s, 0x100000 * s, PAGE, m.code, KVM_MEM_LOG_DIRTY_PAGES))
						err(1, "slot %d", s);
				enter_at(&m, guest_out);
				if (ioctl(m.vcpu, KVM_RUN, 0) || m.run->exit_reason != KVM_EXIT_IO)
					err(1, "KVM_RUN");
				end(&m);
			}
			_exit(0);
		}
	while (wait(&status) > 0)
		bad += status != 0;
	expect("several processes' VMs begin and end at once", bad, 0);
}

/* ---- signals ---- */

static void *send_signal(void *thread)
{
	usleep(50000);
	pthread_kill(*(pthread_t *)thread, SIGUSR1);
	return NULL;
}

static long set_mask(const struct machine *m, uint32_t bytes, uint64_t blocked)
{
	struct {
		struct kvm_signal_mask head;
		uint8_t set[8];
	} mask = {.head.len = bytes};

	memcpy(mask.set, &blocked, sizeof(blocked));
	return request(m->vcpu, KVM_SET_SIGNAL_MASK, &mask);
}

static long run_until_signal(const struct machine *m)
{
	pthread_t self = pthread_self(), sender;
	long result;

	if (pthread_create(&sender, NULL, send_signal, &self))
		errx(1, "no thread");
	result = request(m->vcpu, KVM_RUN, NULL);
	pthread_join(sender, NULL);
	return result;
}

/* SIGUSR1 kills a process by default: it is blocked, and taken by sigtimedwait() alone. */
static void signals(void)
{
	struct machine m = machine(true);
	struct timespec now = {};
	sigset_t usr1;

	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &usr1, NULL);
	expect("KVM_SET_SIGNAL_MASK: 4 bytes: EINVAL", set_mask(&m, 4, 0), -EINVAL);
	expect("KVM_SET_SIGNAL_MASK", set_mask(&m, 8, 0), 0);
	enter_at(&m, guest_spin);
	expect("a signal ends the run of a busy guest", run_until_signal(&m), -EINTR);
	expect("with KVM_EXIT_INTR", m.run->exit_reason, KVM_EXIT_INTR);
	expect("the signal is still there", sigtimedwait(&usr1, NULL, &now), SIGUSR1);
	enter_at(&m, guest_halt);
	expect("a signal ends the run of a halted guest", run_until_signal(&m), -EINTR);
	expect("and is still there", sigtimedwait(&usr1, NULL, &now), SIGUSR1);
	expect("a mask that blocks it", set_mask(&m, 8, 1ull << (SIGUSR1 - 1)), 0);
	enter_at(&m, guest_out);
	raise(SIGUSR1);
	expect("KVM_RUN does not see it", request(m.vcpu, KVM_RUN, NULL), 0);
	expect("without a mask", request(m.vcpu, KVM_SET_SIGNAL_MASK, NULL), 0);
	expect("the thread's own blocks it", request(m.vcpu, KVM_RUN, NULL), 0);
	expect("it waits", sigtimedwait(&usr1, NULL, &now), SIGUSR1);
	pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
	end(&m);
}

/* ---- threads and CPUs ---- */

static volatile bool stop;

/* Moves the thread to each CPU in turn. */
static void *move_about(void *thread)
{
	for (int i = 0; !stop; i++) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET(i % sysconf(_SC_NPROCESSORS_ONLN), &set);
		pthread_setaffinity_np(*(pthread_t *)thread, sizeof(set), &set);
		usleep(1000);
	}
	return NULL;
}

static void migrates(void)
{
	struct machine m = machine(false);
	pthread_t self = pthread_self(), mover;
	int exits = 0, count = brief ? 500 : 5000;

	enter_at(&m, guest_out);
	if (pthread_create(&mover, NULL, move_about, &self))
		errx(1, "no thread");
	for (int i = 0; i < count; i++)
		exits += !ioctl(m.vcpu, KVM_RUN, 0) && m.run->exit_reason == KVM_EXIT_IO;
	stop = true;
	pthread_join(mover, NULL);
	expect("a vCPU's thread moves from CPU to CPU", exits, count);
	end(&m);
}

/* ---- the dirty log ---- */

#define MEMORY 0x1000000ul /* guest-physical, of slot 1 */
#define PAGES  1030ul	   /* over 4 MiB, not a multiple of 64 */

static uint64_t bitmap[(PAGES + 63) / 64];

/* In a 32-bit program a pointer fills half of its room; what the other half holds means nothing. */
#define POINTER(p) ((uintptr_t)(p) | (sizeof(void *) == 4 ? 0x5a5a5a5aull << 32 : 0))

static long get_log(const struct machine *m)
{
	struct kvm_dirty_log log = {.slot = 1, .padding2 = POINTER(bitmap)};
	long result = request(m->vm, KVM_GET_DIRTY_LOG, &log), count = 0;

	for (unsigned int i = 0; i < sizeof(bitmap) / 8; i++)
		count += __builtin_popcountll(bitmap[i]);
	return result ?: count;
}

static long clear_log(const struct machine *m, uint32_t id, uint64_t first, uint32_t count, const void *bits)
{
	struct kvm_clear_dirty_log log = {.slot = id, .first_page = first, .num_pages = count,
					  .padding2 = POINTER(bits)};

	return request(m->vm, KVM_CLEAR_DIRTY_LOG, &log);
}

static long manual(const struct machine *m, uint64_t options)
{
	struct kvm_enable_cap cap = {.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, .args = {options}};

	return request(m->vm, KVM_ENABLE_CAP, &cap);
}

static void fill(const struct machine *m, uint64_t first, uint64_t pages)
{
	struct kvm_regs regs = {.rip = CODE + (guest_fill - guest_spin), .rflags = 2,
				.rsi = MEMORY + first * PAGE, .rcx = pages};

	if (ioctl(m->vcpu, KVM_SET_REGS, &regs) || ioctl(m->vcpu, KVM_RUN, 0) ||
	    m->run->exit_reason != KVM_EXIT_IO)
		err(1, "the guest does not write");
	m->run->immediate_exit = 1; /* completes the OUT */
	ioctl(m->vcpu, KVM_RUN, 0);
	m->run->immediate_exit = 0;
}

static void dirty_log(void)
{
	struct machine m = machine(false);
	uint8_t *memory = map(PAGES * PAGE + (4ul << 20));
	uint64_t bits[2] = {1ull << 3 | 1ull << 5, 0}, all[(PAGES + 63) / 64];

	memset(all, 0xff, sizeof(all));
	memory = (uint8_t *)(((uintptr_t)memory + (2ul << 20)) & ~((2ul << 20) - 1));
	madvise(memory, 2ul << 20, MADV_HUGEPAGE);
	memset(memory, 1, PAGES * PAGE);
	enter_at(&m, guest_out);
	expect("KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2", request(kvm, KVM_CHECK_EXTENSION,
							      (void *)KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2), 3);
	slot(&m, 1, MEMORY, PAGES * PAGE, memory, 0);
	expect("not logged: ENOENT", get_log(&m), -ENOENT);
	expect("nor cleared: ENOENT", clear_log(&m, 1, 0, 64, all), -ENOENT);
	fill(&m, 0, PAGES);
	slot(&m, 1, MEMORY, PAGES * PAGE, memory, KVM_MEM_LOG_DIRTY_PAGES);
	expect("nothing is dirty yet", get_log(&m), 0);
	fill(&m, 3, 100);
	expect("what the guest writes is", get_log(&m), 100);
	expect("looking clears it", get_log(&m), 0);
	fill(&m, PAGES - 1, 1);
	expect("the last page", get_log(&m), 1);
	expect("INITIALLY_SET alone: EINVAL", manual(&m, 2), -EINVAL);
	expect("another option: EINVAL", manual(&m, 5), -EINVAL);
	expect("manual", manual(&m, 1), 0);
	fill(&m, 3, 100);
	expect("looking", get_log(&m), 100);
	expect("clears nothing now", get_log(&m), 100);
	expect("two pages are cleared", clear_log(&m, 1, 0, 64, bits) ?: get_log(&m), 98);
	fill(&m, 5, 1);
	expect("and one is written again", get_log(&m), 99);
	expect("the last 5 pages: EINVAL", clear_log(&m, 1, PAGES - 5, 5, all), -EINVAL);
	expect("from a multiple of 64", clear_log(&m, 1, 1024, 6, all), 0);
	expect("63 pages: EINVAL", clear_log(&m, 1, 0, 63, all), -EINVAL);
	expect("one too many: EINVAL", clear_log(&m, 1, 0, PAGES + 1, all), -EINVAL);
	expect("no such slot: ENOENT", clear_log(&m, 2, 0, 64, all), -ENOENT);
	expect("no slot's number: EINVAL", clear_log(&m, 32764, 0, 64, all), -EINVAL);
	expect("no bitmap: EFAULT", clear_log(&m, 1, 0, PAGES, NULL), -EFAULT);
	expect("none was cleared meanwhile", get_log(&m), 99);
	expect("all pages", clear_log(&m, 1, 0, PAGES, all) ?: get_log(&m), 0);
	expect("all set at first", manual(&m, 3), 0);
	slot(&m, 1, MEMORY, PAGES * PAGE, memory, 0);
	slot(&m, 1, MEMORY, PAGES * PAGE, memory, KVM_MEM_LOG_DIRTY_PAGES);
	expect("all are dirty", get_log(&m), PAGES);
	expect("but two", clear_log(&m, 1, 0, 64, bits) ?: get_log(&m), PAGES - 2);
	fill(&m, 0, PAGES);
	expect("which the guest writes", get_log(&m), PAGES);
	expect("all are cleared", clear_log(&m, 1, 0, PAGES, all) ?: get_log(&m), 0);
	fill(&m, 10, 20);
	expect("and some written", get_log(&m), 20);
	end(&m);
}

/* ---- interrupts by eventfd ---- */

#define TABLES 0x3000 /* guest-physical: GDT and, behind it, IDT */
#define PIN    20     /* of the IOAPIC alone */
#define VECTOR 0x50

static void tables(struct machine *m)
{
	uint64_t *table = map(PAGE), handler = CODE + (guest_interrupt - guest_spin);
	struct kvm_sregs sregs;
	struct kvm_lapic_state apic;
	struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC};

	table[1] = 0x00cf9b000000ffff; /* flat code and data */
	table[2] = 0x00cf93000000ffff;
	table[64 + VECTOR] = (handler & 0xffff) | 8 << 16 | 0x8e00ull << 32 | handler >> 16 << 48;
	slot(m, 2, TABLES, PAGE, table, 0);
	slot(m, 3, STACK, PAGE, map(PAGE), 0);
	if (ioctl(m->vcpu, KVM_GET_SREGS, &sregs) || ioctl(m->vcpu, KVM_GET_LAPIC, &apic) ||
	    ioctl(m->vm, KVM_GET_IRQCHIP, &chip))
		err(1, "a machine's state");
	sregs.gdt.base = TABLES;
	sregs.gdt.limit = 3 * 8 - 1;
	sregs.idt.base = TABLES + 512;
	sregs.idt.limit = 2047;
	*(uint32_t *)(apic.regs + 0xf0) = 0x1ff; /* switched on */
	chip.chip.ioapic.redirtbl[PIN].bits = 1 << 15 | VECTOR;
	if (ioctl(m->vcpu, KVM_SET_SREGS, &sregs) || ioctl(m->vcpu, KVM_SET_LAPIC, &apic) ||
	    ioctl(m->vm, KVM_SET_IRQCHIP, &chip))
		err(1, "a machine's state");
}

/* The guest listens `times`: how many interrupts did it get? */
static int interrupts(const struct machine *m, int times)
{
	int count = 0;

	for (int i = 0; i < times;) {
		if (ioctl(m->vcpu, KVM_RUN, 0) || m->run->exit_reason != KVM_EXIT_IO)
			err(1, "KVM_RUN: exit %u", m->run->exit_reason);
		if (m->run->io.port == 0x11)
			count++;
		else
			i++;
		if (count > 50)
			break;
	}
	return count;
}

static long irqfd(const struct machine *m, int fd, uint32_t flags, int resample)
{
	struct kvm_irqfd args = {.fd = fd, .gsi = PIN, .flags = flags, .resamplefd = resample};

	return request(m->vm, KVM_IRQFD, &args);
}

static void signal_fd(int fd)
{
	if (eventfd_write(fd, 1))
		err(1, "eventfd");
}

/* How often it was signalled since the last look. */
static long signals_of(int fd)
{
	eventfd_t count;

	return eventfd_read(fd, &count) ? 0 : (long)count;
}

static void resampling(struct machine *m)
{
	int first = eventfd(0, EFD_NONBLOCK), second = eventfd(0, EFD_NONBLOCK), other = eventfd(0, EFD_NONBLOCK),
	    told = eventfd(0, EFD_NONBLOCK), told_too = eventfd(0, EFD_NONBLOCK);

	expect("no such resamplefd: EBADF", irqfd(m, first, KVM_IRQFD_FLAG_RESAMPLE, 1000), -EBADF);
	expect("a resamplefd that is none: EINVAL", irqfd(m, first, KVM_IRQFD_FLAG_RESAMPLE, 1), -EINVAL);
	expect("a level until the EOI", irqfd(m, first, KVM_IRQFD_FLAG_RESAMPLE, told), 0);
	expect("twice: EBUSY", irqfd(m, first, KVM_IRQFD_FLAG_RESAMPLE, told), -EBUSY);
	for (int i = 0; i < 3; i++) {
		signal_fd(first);
		expect("one interrupt", interrupts(m, 5), 1);
		expect("its end is told", signals_of(told), 1);
	}
	expect("another on the same pin", irqfd(m, second, KVM_IRQFD_FLAG_RESAMPLE, told_too), 0);
	signal_fd(first);
	signal_fd(second);
	expect("one interrupt for both", interrupts(m, 5), 1);
	expect("told to both", signals_of(told) + signals_of(told_too) * 10, 11);
	expect("one goes", irqfd(m, first, KVM_IRQFD_FLAG_DEASSIGN, 0), 0);
	signal_fd(first);
	expect("and is not heard", interrupts(m, 5), 0);
	signal_fd(second);
	expect("the other is", interrupts(m, 5), 1);
	expect("told to it alone", signals_of(told) + signals_of(told_too) * 10, 10);
	signal_fd(second);
	expect("the level is up", irqfd(m, second, KVM_IRQFD_FLAG_DEASSIGN, 0), 0);
	interrupts(m, 1); /* it was delivered when it rose */
	expect("and down when the last one goes", interrupts(m, 5), 0);
	signal_fd(other);
	expect("signalled before", irqfd(m, other, KVM_IRQFD_FLAG_RESAMPLE, told), 0);
	expect("counts", interrupts(m, 5), 1);
	signals_of(told);
	/* What is told may signal the level again: the device still wants to be served. */
	expect("it can be its own", irqfd(m, other, KVM_IRQFD_FLAG_DEASSIGN, 0) ?:
					    irqfd(m, told, KVM_IRQFD_FLAG_RESAMPLE, told), 0);
	signal_fd(told);
	expect("and never ends", interrupts(m, 1) > 50, 1);
	close(told);
	interrupts(m, 1);
	expect("until it is closed", interrupts(m, 5) < 2, 1);
	close(first);
	close(second);
	close(other);
	close(told_too);
}

static void irqfds(void)
{
	struct machine m = machine(true), none = machine(false);
	int fd = eventfd(0, EFD_NONBLOCK);

	expect("KVM_CAP_IRQFD_RESAMPLE", request(kvm, KVM_CHECK_EXTENSION, (void *)KVM_CAP_IRQFD_RESAMPLE), 1);
	enter_at(&m, guest_listen);
	tables(&m);
	expect("no interrupt yet", interrupts(&m, 3), 0);
	expect("without an irqchip: EINVAL", irqfd(&none, fd, 0, 0), -EINVAL);
	expect("another flag: EINVAL", irqfd(&m, fd, 4, 0), -EINVAL);
	expect("no such descriptor: EBADF", irqfd(&m, 1000, 0, 0), -EBADF);
	expect("not an eventfd: EINVAL", irqfd(&m, 1, 0, 0), -EINVAL);
	expect("never assigned", irqfd(&m, fd, KVM_IRQFD_FLAG_DEASSIGN, 0), 0);
	expect("an edge", irqfd(&m, fd, 0, 0), 0);
	expect("twice: EBUSY", irqfd(&m, fd, 0, 0), -EBUSY);
	signal_fd(fd);
	expect("is an interrupt", interrupts(&m, 5), 1);
	expect("and is taken from the eventfd", signals_of(fd), 0);
	expect("it goes", irqfd(&m, fd, KVM_IRQFD_FLAG_DEASSIGN, 0), 0);
	signal_fd(fd);
	expect("and is not heard", interrupts(&m, 5), 0);
	resampling(&m);
	close(fd);
	end(&m);
	end(&none);
}

static void split_irqfds(void)
{
	struct machine m = {.vm = ioctl(kvm, KVM_CREATE_VM, 0)};
	struct kvm_enable_cap cap = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {24}};
	int fd = eventfd(0, EFD_NONBLOCK);

	if (ioctl(m.vm, KVM_ENABLE_CAP, &cap))
		err(1, "KVM_CAP_SPLIT_IRQCHIP");
	expect("split irqchip: resampling is EINVAL", irqfd(&m, fd, KVM_IRQFD_FLAG_RESAMPLE, fd), -EINVAL);
	expect("an edge is right", irqfd(&m, fd, 0, 0), 0);
	close(m.vm);
	expect("the VM's end takes it away", eventfd_write(fd, 1), 0);
	close(fd);
}

/* ---- writes by eventfd and through the ring ---- */

/* A write of the guest's: does the VMM see it? */
static bool seen(const struct machine *m, const uint8_t *entry, uint64_t address, uint32_t length, uint32_t value)
{
	struct kvm_regs regs = {.rip = CODE + (entry - guest_spin), .rflags = 2, .rsi = address, .rdx = address,
				.rcx = length, .rax = value};
	bool end, exits = false;

	if (ioctl(m->vcpu, KVM_SET_REGS, &regs))
		err(1, "KVM_SET_REGS");
	do {
		if (ioctl(m->vcpu, KVM_RUN, 0))
			err(1, "KVM_RUN");
		end = m->run->exit_reason == KVM_EXIT_IO && m->run->io.port == 0x10;
		exits |= !end;
	} while (!end);
	m->run->immediate_exit = 1; /* completes the OUT */
	ioctl(m->vcpu, KVM_RUN, 0);
	m->run->immediate_exit = 0;
	return exits;
}

static long ioeventfd(const struct machine *m, int fd, uint64_t address, uint32_t length, uint32_t flags,
		      uint64_t match)
{
	struct kvm_ioeventfd args = {.fd = fd, .addr = address, .len = length, .flags = flags, .datamatch = match};

	return request(m->vm, KVM_IOEVENTFD, &args);
}

#define MMIO  0xd0000000u
#define PIO   KVM_IOEVENTFD_FLAG_PIO
#define MATCH KVM_IOEVENTFD_FLAG_DATAMATCH
#define OFF   KVM_IOEVENTFD_FLAG_DEASSIGN

static void ioeventfds(void)
{
	struct machine m = machine(false);
	int a = eventfd(0, EFD_NONBLOCK), b = eventfd(0, EFD_NONBLOCK);

	enter_at(&m, guest_out);
	expect("3 bytes: EINVAL", ioeventfd(&m, a, MMIO, 3, 0, 0), -EINVAL);
	expect("16 bytes: EINVAL", ioeventfd(&m, a, MMIO, 16, 0, 0), -EINVAL);
	expect("beyond the end: EINVAL", ioeventfd(&m, a, ~0ull, 4, 0, 0), -EINVAL);
	expect("another flag: EINVAL", ioeventfd(&m, a, MMIO, 4, 1 << 8, 0), -EINVAL);
	expect("any length, one value: EINVAL", ioeventfd(&m, a, MMIO, 0, MATCH, 1), -EINVAL);
	expect("no such descriptor: EBADF", ioeventfd(&m, 1000, MMIO, 4, 0, 0), -EBADF);
	expect("not an eventfd: EINVAL", ioeventfd(&m, 1, MMIO, 4, 0, 0), -EINVAL);
	expect("not there: ENOENT", ioeventfd(&m, a, MMIO, 4, OFF, 0), -ENOENT);
	expect("4 bytes, value 7", ioeventfd(&m, a, MMIO, 4, MATCH, 7), 0);
	expect("the same: EEXIST", ioeventfd(&m, b, MMIO, 4, MATCH, 7), -EEXIST);
	expect("any value there: EEXIST", ioeventfd(&m, b, MMIO, 4, 0, 0), -EEXIST);
	expect("any length there: EEXIST", ioeventfd(&m, b, MMIO, 0, 0, 0), -EEXIST);
	expect("another value", ioeventfd(&m, b, MMIO, 4, MATCH, 8), 0);
	expect("value 7 is heard", seen(&m, guest_write, MMIO, 4, 7), false);
	expect("by the first", signals_of(a) + signals_of(b) * 10, 1);
	expect("value 8", seen(&m, guest_write, MMIO, 4, 8), false);
	expect("by the second", signals_of(a) + signals_of(b) * 10, 10);
	expect("value 9 is the VMM's", seen(&m, guest_write, MMIO, 4, 9), true);
	expect("and so are 2 bytes", seen(&m, guest_write, MMIO, 2, 7), true);
	expect("and the next address", seen(&m, guest_write, MMIO + 1, 4, 7), true);
	expect("taken away by another: ENOENT", ioeventfd(&m, b, MMIO, 4, MATCH | OFF, 7), -ENOENT);
	expect("with another value: ENOENT", ioeventfd(&m, a, MMIO, 4, MATCH | OFF, 6), -ENOENT);
	expect("without one: ENOENT", ioeventfd(&m, a, MMIO, 4, OFF, 7), -ENOENT);
	expect("as it was", ioeventfd(&m, a, MMIO, 4, MATCH | OFF, 7), 0);
	expect("it is the VMM's again", seen(&m, guest_write, MMIO, 4, 7), true);
	expect("any length", ioeventfd(&m, a, MMIO + 64, 0, 0, 0), 0);
	expect("1 byte", seen(&m, guest_write, MMIO + 64, 1, 1), false);
	expect("4 bytes", seen(&m, guest_write, MMIO + 64, 4, 1), false);
	expect("both are heard", signals_of(a), 2);
	expect("a port", ioeventfd(&m, a, 0x500, 2, PIO | MATCH, 3), 0);
	expect("is no memory", ioeventfd(&m, a, 0x500, 2, MATCH | OFF, 3), -ENOENT);
	expect("its value", seen(&m, guest_out_dx, 0x500, 2, 0x10003), false);
	expect("is heard", signals_of(a), 1);
	expect("1 byte is the VMM's", seen(&m, guest_out_dx, 0x500, 1, 3), true);
	expect("any length of a port", ioeventfd(&m, b, 0x600, 0, PIO, 0), 0);
	expect("1 byte", seen(&m, guest_out_dx, 0x600, 1, 3), false);
	expect("4 bytes", seen(&m, guest_out_dx, 0x600, 4, 3), false);
	expect("both are heard", signals_of(b), 2);
	close(a); /* the VM has references of its own */
	expect("a closed descriptor's", seen(&m, guest_out_dx, 0x500, 2, 3), false);
	close(b);
	end(&m);
}

static void ring(void)
{
	struct machine m = machine(false);
	struct kvm_coalesced_mmio_zone memory = {.addr = MMIO, .size = 0x100}, port = {.addr = 0x500, .size = 4, .pio = 1};
	volatile struct kvm_coalesced_mmio_ring *r = (void *)((char *)m.run + 2 * PAGE);
	int count = 0, fd = eventfd(0, EFD_NONBLOCK);

	enter_at(&m, guest_out);
	expect("nothing is coalesced yet", seen(&m, guest_write, MMIO, 4, 1), true);
	expect("memory", request(m.vm, KVM_REGISTER_COALESCED_MMIO, &memory), 0);
	expect("a port", request(m.vm, KVM_REGISTER_COALESCED_MMIO, &port), 0);
	expect("waits in the ring", seen(&m, guest_write, MMIO + 0xfc, 4, 0x12345678), false);
	expect("with its address", r->coalesced_mmio[0].phys_addr, MMIO + 0xfc);
	expect("and value", *(volatile uint32_t *)r->coalesced_mmio[0].data, 0x12345678);
	expect("and length", r->coalesced_mmio[0].len * 10 + r->coalesced_mmio[0].pio, 40);
	expect("over its end: the VMM's", seen(&m, guest_write, MMIO + 0xfd, 4, 1), true);
	expect("the port", seen(&m, guest_out_dx, 0x502, 2, 0xabcd), false);
	expect("as such", r->coalesced_mmio[1].len * 10 + r->coalesced_mmio[1].pio, 21);
	expect("in order", r->last, 2);
	r->first = r->last;
	while (!seen(&m, guest_write, MMIO, 4, count) && count < 1000)
		count++;
	expect("a full ring: the VMM's", count, (PAGE - sizeof(*r)) / sizeof(r->coalesced_mmio[0]) - 1);
	r->first = 9999; /* a VMM that writes nonsense there hurts nobody else */
	seen(&m, guest_write, MMIO, 4, 1);
	r->last = 9999;
	expect("an index that is none: the VMM's", seen(&m, guest_write, MMIO, 4, 1), true);
	r->first = r->last = 0;
	expect("gone", request(m.vm, KVM_UNREGISTER_COALESCED_MMIO, &memory), 0);
	expect("what was never there", request(m.vm, KVM_UNREGISTER_COALESCED_MMIO, &memory), 0);
	expect("the VMM's again", seen(&m, guest_write, MMIO, 4, 1), true);
	expect("the port's stays", seen(&m, guest_out_dx, 0x500, 1, 1), false);
	close(fd);
	end(&m);
}

/* ---- statistics ---- */

static void statistics(void)
{
	struct machine m = machine(true);
	struct kvm_enable_cap cap = {.cap = KVM_CAP_HALT_POLL};
	struct kvm_stats_header header;
	char id[64] = "", wanted[64];
	int of_vm, of_vcpu;
	long before;
	pthread_t self = pthread_self(), sender;
	sigset_t usr1;
	struct timespec now = {};

	expect("KVM_CAP_BINARY_STATS_FD", request(kvm, KVM_CHECK_EXTENSION, (void *)KVM_CAP_BINARY_STATS_FD), 1);
	of_vm = ioctl(m.vm, KVM_GET_STATS_FD, 0);
	of_vcpu = ioctl(m.vcpu, KVM_GET_STATS_FD, 0);
	expect("two files of numbers", of_vm > 0 && of_vcpu > 0, 1);
	expect("that are not for writing", write(of_vm, "", 1), -1);
	pread(of_vcpu, &header, sizeof(header), 0);
	pread(of_vcpu, id, sizeof(id) - 1 < header.name_size ? sizeof(id) - 1 : header.name_size, header.id_offset);
	snprintf(wanted, sizeof(wanted), "kvm-%d/vcpu-0", getpid());
	expect("the vCPU's name", strcmp(id, wanted), 0);
	enter_at(&m, guest_out);
	before = stat_of(of_vcpu, "io_exits");
	for (int i = 0; i < 100; i++)
		ioctl(m.vcpu, KVM_RUN, 0);
	expect("100 exits for I/O", stat_of(of_vcpu, "io_exits") - before, 100);
	expect("are among all", stat_of(of_vcpu, "exits") >= 100, 1);
	expect("the VM's", stat_of(of_vm, "remote_tlb_flush") >= 0, 1);
	/* A halt of 50 ms is a wait; one of nothing is found by polling or not, but counted. */
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &usr1, NULL);
	set_mask(&m, 8, 0);
	enter_at(&m, guest_halt);
	if (pthread_create(&sender, NULL, send_signal, &self))
		errx(1, "no thread");
	expect("a halt", request(m.vcpu, KVM_RUN, NULL), -EINTR);
	pthread_join(sender, NULL);
	sigtimedwait(&usr1, NULL, &now);
	pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
	expect("is a wait of 30 ms at least", stat_of(of_vcpu, "halt_wait_ns") > 30000000, 1);
	expect("with an end", stat_of(of_vcpu, "blocking") * 10 + (stat_of(of_vcpu, "halt_wakeup") > 0), 1);
	expect("ended by a signal", stat_of(of_vcpu, "signal_exits") > 0, 1);
	cap.args[0] = 1ull << 32;
	expect("KVM_CAP_HALT_POLL: over 32 bits: EINVAL", request(m.vm, KVM_ENABLE_CAP, &cap), -EINVAL);
	cap.args[0] = 0;
	expect("no polling", request(m.vm, KVM_ENABLE_CAP, &cap), 0);
	end(&m);
	expect("they outlive the VM's descriptors", stat_of(of_vcpu, "io_exits") - before, 100);
	close(of_vm);
	close(of_vcpu);
}

/* ---- a struct that 32-bit VMMs have shorter ---- */

static void msr_filter(void)
{
	struct machine m = machine(false);
	struct kvm_enable_cap cap = {.cap = KVM_CAP_X86_USER_SPACE_MSR, .args = {KVM_MSR_EXIT_REASON_FILTER}};
	uint8_t none[8] = {};
	struct kvm_msr_filter filter = {.ranges = {{.flags = KVM_MSR_FILTER_READ, .base = 0x8b, .nmsrs = 1,
						    .bitmap = none}}};
	struct kvm_regs regs = {.rip = CODE + (guest_rdmsr - guest_spin), .rflags = 2, .rcx = 0x8b};

	expect("exits for filtered MSRs", request(m.vm, KVM_ENABLE_CAP, &cap), 0);
	expect("a filter", request(m.vm, KVM_X86_SET_MSR_FILTER, &filter), 0);
	enter_at(&m, guest_out);
	if (ioctl(m.vcpu, KVM_SET_REGS, &regs) || ioctl(m.vcpu, KVM_RUN, 0))
		err(1, "KVM_RUN");
	expect("its MSR's read exits", m.run->exit_reason, KVM_EXIT_X86_RDMSR);
	expect("with the MSR's number", m.run->msr.index, 0x8b);
	end(&m);
}

/* ---- the coalesced ring's zones ---- */

static void zones(void)
{
	struct machine m = machine(false);
	struct kvm_coalesced_mmio_zone zone = {.size = 16};
	long result = 0;
	int count = 0;

	for (; !result && count < 5000; count++) {
		zone.addr = 0x10000000 + count * 16;
		result = request(m.vm, KVM_REGISTER_COALESCED_MMIO, &zone);
	}
	expect("there is an end to zones: ENOSPC", result, -ENOSPC);
	expect("it is behind 990", count > 990, 1);
	zone.addr = 0x10000000;
	expect("one can go", request(m.vm, KVM_UNREGISTER_COALESCED_MMIO, &zone), 0);
	expect("and come back", request(m.vm, KVM_REGISTER_COALESCED_MMIO, &zone), 0);
	zone.pio = 2;
	expect("neither memory nor port: EINVAL", request(m.vm, KVM_REGISTER_COALESCED_MMIO, &zone), -EINVAL);
	end(&m);
}

int main(int argc, char **argv)
{
	brief = argc > 1 && !strcmp(argv[1], "short");
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		err(1, "/dev/kvm");
	descriptors();
	other_process();
	closed_early();
	at_once();
	signals();
	migrates();
	dirty_log();
	irqfds();
	split_irqfds();
	ioeventfds();
	ring();
	statistics();
	msr_filter();
	zones();
	printf("DRIVER %s\n", failed ? "failed" : "passed");
	return failed != 0;
}
