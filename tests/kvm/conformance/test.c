// SPDX-License-Identifier: MIT
/*
 * The conformance program: what /dev/kvm answers, success and errno by errno. It runs on Linux's own KVM and on
 * Keel's; each line says what was asked and what came, and "wrong" if that is not what the interface says.
 *
 *   conformance [PREFIX of a group's name]
 *
 * Not provoked: ENOMEM, EINTR of KVM_CREATE_VM, EIO of KVM_GET_TSC_KHZ.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "test.h"

#define GROUP_SECONDS	 120
#define FILES		 4096 /* more than vCPUs of a VM */
#define PATIENCE_SECONDS 10

int kvm, vm = -1, vcpu = -1;
struct kvm_run *run;
uint8_t *memory;

/* ---- lines ---- */

static struct counts {
	unsigned checks, wrong;
} *counts; /* shared by all groups */
static char label[80];
static timer_t patience;

void row(const char *priority, uint32_t request, const char *name)
{
	snprintf(label, sizeof(label), "%s %08x %s", priority, request, name + strlen("KVM_"));
}

void subject(const char *priority, const char *name)
{
	snprintf(label, sizeof(label), "%s %s", priority, name);
}

static const char *text(long result, char buffer[32])
{
	if (result < 0 && strerrorname_np(-result))
		return strerrorname_np(-result);
	snprintf(buffer, 32, "%ld", result);
	return buffer;
}

static void line(const char *what, const char *got, const char *wanted)
{
	bool wrong = wanted && strcmp(got, wanted);

	counts->checks++;
	counts->wrong += wrong;
	if (wrong)
		printf("%s, %s: %s (wrong, it is %s)\n", label, what, got, wanted);
	else
		printf("%s, %s: %s\n", label, what, got);
}

void is(const char *what, long got, long wanted)
{
	char a[32], b[32];

	line(what, text(got, a), text(wanted, b));
}

void is_hex(const char *what, uint64_t got, uint64_t wanted)
{
	char a[32], b[32];

	snprintf(a, sizeof(a), "0x%llx", (unsigned long long)got);
	snprintf(b, sizeof(b), "0x%llx", (unsigned long long)wanted);
	line(what, a, b);
}

void shown(const char *what, long got)
{
	char a[32];

	line(what, text(got, a), NULL);
}

bool offers(bool is_there)
{
	printf("%s, offered: %s\n", label, is_there ? "yes" : "no");
	return is_there;
}

bool offered(uint32_t capability)
{
	return offers(call(kvm, KVM_CHECK_EXTENSION, capability) > 0);
}

/* ---- calls ---- */

long call_(int fd, unsigned long request, unsigned long argument)
{
	int result = ioctl(fd, request, argument);

	return result < 0 ? -errno : result;
}

long made(long result, int *fd)
{
	if (result < 0)
		return result;
	*fd = (int)result;
	return 0;
}

long enable(int fd, uint32_t capability, uint64_t argument)
{
	struct kvm_enable_cap cap = {.cap = capability, .args = {argument}};

	return call(fd, KVM_ENABLE_CAP, &cap);
}

/* ---- a machine ---- */

void *pages(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		err(1, "mmap");
	return p;
}

long set_slot(uint32_t slot, uint64_t gpa, uint64_t bytes, const void *hva, uint32_t flags)
{
	struct kvm_userspace_memory_region region = {slot, flags, gpa, bytes, (uint64_t)hva};

	return call(vm, KVM_SET_USER_MEMORY_REGION, &region);
}

void bare_vm(void)
{
	if (vcpu >= 0) {
		munmap(run, 3 * PAGE);
		close(vcpu);
		vcpu = -1;
	}
	if (vm >= 0)
		close(vm);
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0)
		err(1, "KVM_CREATE_VM");
}

int add_vcpu(unsigned id, struct kvm_run **its_run)
{
	int fd = ioctl(vm, KVM_CREATE_VCPU, id);

	if (fd < 0)
		err(1, "KVM_CREATE_VCPU");
	*its_run = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (*its_run == MAP_FAILED)
		err(1, "mmap of a vCPU");
	return fd;
}

void machine(enum chips chips)
{
	bare_vm();
	if (memory)
		munmap(memory, MEMORY);
	memory = pages(MEMORY);
	if (chips == ALL_CHIPS && call(vm, KVM_CREATE_IRQCHIP, 0))
		err(1, "KVM_CREATE_IRQCHIP");
	if (chips == SPLIT_CHIPS && enable(vm, KVM_CAP_SPLIT_IRQCHIP, 24))
		err(1, "KVM_CAP_SPLIT_IRQCHIP");
	if (set_slot(0, 0, MEMORY, memory, 0))
		err(1, "KVM_SET_USER_MEMORY_REGION");
	vcpu = add_vcpu(0, &run);
}

struct kvm_regs regs(void)
{
	struct kvm_regs r = {};

	if (call(vcpu, KVM_GET_REGS, &r))
		err(1, "KVM_GET_REGS");
	return r;
}

void set_regs(const struct kvm_regs *r)
{
	if (call(vcpu, KVM_SET_REGS, r))
		err(1, "KVM_SET_REGS");
}

struct kvm_sregs sregs(void)
{
	struct kvm_sregs s = {};

	if (call(vcpu, KVM_GET_SREGS, &s))
		err(1, "KVM_GET_SREGS");
	return s;
}

void let_interrupts_in(void)
{
	struct kvm_regs r = regs();

	r.rflags |= RFLAGS_IF;
	set_regs(&r);
}

void real_mode(int fd, uint64_t rip)
{
	struct kvm_regs r = {.rip = rip, .rsp = STACK, .rflags = 2};
	struct kvm_sregs s;

	if (call(fd, KVM_GET_SREGS, &s))
		err(1, "KVM_GET_SREGS");
	s.cs.base = 0;
	s.cs.selector = 0;
	if (call(fd, KVM_SET_SREGS, &s) || call(fd, KVM_SET_REGS, &r))
		err(1, "real mode");
}

void long_mode(int fd, uint64_t rip)
{
	struct kvm_regs r = {.rip = rip, .rsp = STACK, .rflags = 2};
	uint64_t *table = (uint64_t *)(memory + TABLES);
	struct kvm_sregs s;

	table[0] = (TABLES + PAGE) | 7;
	for (unsigned i = 0; i < 4; i++)
		table[512 + i] = (TABLES + (2 + i) * PAGE) | 7;
	for (uint64_t i = 0; i < 4 * 512; i++)
		table[1024 + i] = i << 21 | 0x87;
	if (call(fd, KVM_GET_SREGS, &s))
		err(1, "KVM_GET_SREGS");
	s.cs = (struct kvm_segment){.limit = ~0u, .selector = 8, .type = 11, .present = 1, .l = 1, .s = 1, .g = 1};
	s.ds = s.es = s.fs = s.gs = s.ss = (struct kvm_segment){
		.limit = ~0u, .selector = 16, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1};
	s.cr3 = TABLES;
	s.cr4 = 0x20;
	s.cr0 = 0x80000011;
	s.efer = 0x500;
	if (call(fd, KVM_SET_SREGS, &s) || call(fd, KVM_SET_REGS, &r))
		err(1, "long mode");
}

static long enter_until(struct timespec signal)
{
	const struct itimerspec time = {.it_value = signal}, off = {};
	long result;

	timer_settime(patience, 0, &time, NULL);
	result = call(vcpu, KVM_RUN, 0);
	timer_settime(patience, 0, &off, NULL);
	return result;
}

long enter(void)
{
	return enter_until((struct timespec){.tv_sec = PATIENCE_SECONDS});
}

long enter_briefly(void)
{
	return enter_until((struct timespec){.tv_nsec = 300000000});
}

long enter_spinning(void)
{
	return enter_until((struct timespec){.tv_nsec = 50000000});
}

long next_exit(void)
{
	long result = enter();

	return result ? result : run->exit_reason;
}

long complete(void)
{
	long result;

	run->immediate_exit = 1;
	result = enter();
	run->immediate_exit = 0;
	return result;
}

bool on_intel(void)
{
	unsigned a, b, c, d;

	__cpuid(0, a, b, c, d);
	return b == signature_INTEL_ebx;
}

/* ---- groups ---- */

static void noted(int signal)
{
}

static void run_group(const struct group *g)
{
	struct sigaction action = {.sa_handler = noted};
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};

	alarm(GROUP_SECONDS);
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGUSR2, &action, NULL);
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0 || timer_create(CLOCK_MONOTONIC, &event, &patience))
		err(1, "/dev/kvm");
	g->run();
}

static void run_groups_of(const struct group *g, const char *prefix)
{
	for (; g->name; g++) {
		int status;
		pid_t child;

		if (strncmp(g->name, prefix, strlen(prefix)))
			continue;
		child = fork();
		if (!child) {
			run_group(g);
			exit(0);
		}
		if (waitpid(child, &status, 0) != child || status) {
			printf("group %s: ended with status %#x (wrong)\n", g->name, status);
			counts->wrong++;
		}
	}
}

int main(int argc, char **argv)
{
	const struct group *const all[] = {p0_groups, p1_groups, p2_groups, p3_groups, run_groups};

	const struct rlimit files = {FILES, FILES};

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (setrlimit(RLIMIT_NOFILE, &files))
		err(1, "setrlimit");
	counts = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		run_groups_of(all[i], argc > 1 ? argv[1] : "");
	printf("CONFORMANCE %u checks, %u wrong\n", counts->checks, counts->wrong);
	return counts->wrong != 0;
}
