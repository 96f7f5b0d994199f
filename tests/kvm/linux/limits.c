// SPDX-License-Identifier: MIT
/*
 * A virtual machine is its VMM's: what it takes of the machine's memory and time is charged to the
 * VMM's control group, and limits and priorities of Linux hold for it. Needs cgroup2 at
 * /sys/fs/cgroup.
 */
#define _GNU_SOURCE
#include "flat.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define GROUP  "/sys/fs/cgroup/vmm/"
#define MEMORY 0x1000000ul /* guest-physical */
#define BYTES  (32 * MIB)
#define MIB_S  (1l << 20)

/* touch: writes to each page from ESI, ECX of them. spin: counts at ESI */
extern const uint8_t touch[], spin[], guest_end[];
__asm__(".section .rodata\n"
	".code32\n"
	"touch: mov %esi, (%esi)\n"
	"add $4096, %esi\n"
	"loop touch\n"
	"out %al, $0x10\n"
	"spin: incl (%esi)\n"
	"jmp spin\n"
	"guest_end:\n"
	".code64\n"
	".previous\n");

static int failed;

static void expect(const char *what, bool right)
{
	failed += !right;
	printf("%-4s %s\n", right ? "ok" : "FAIL", what);
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		err(1, "%s", path);
	close(fd);
}

static long number(const char *path)
{
	FILE *f = fopen(path, "r");
	long n = -1;

	if (!f || fscanf(f, "%ld", &n) != 1)
		err(1, "%s", path);
	fclose(f);
	return n;
}

/* ---- memory ---- */

/* Keel's own memory and what it has mapped for guests is not counted here. */
static long donated(void)
{
	FILE *f = fopen("/sys/module/keel/parameters/objects", "r");
	long pages = -1;

	if (!f || fscanf(f, "vms %*d vcpus %*d slots %*d pages %ld", &pages) != 1)
		err(1, "objects");
	fclose(f);
	return pages * (long)PAGE;
}

struct machine {
	int kvm, vm, vcpu;
	struct kvm_run *run;
	uint8_t *memory;
};

static void make(struct machine *m)
{
	m->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	m->vm = flat_vm(m->kvm, touch, guest_end);
	m->vcpu = flat_vcpu(m->kvm, m->vm, 0, &m->run);
	m->memory = map_private(BYTES);
	flat_slot(m->vm, 1, MEMORY, BYTES, m->memory, 0);
}

static void set(struct machine *m, const uint8_t *entry, uint32_t address)
{
	struct kvm_regs regs = {
		.rip = CODE + (entry - touch), .rsi = address, .rcx = BYTES / PAGE, .rflags = 2};

	flat_set(m->vcpu, &regs);
}

/* In a child of its own, which is in the group: its status. */
static int in_group(int (*what)(void))
{
	int status;
	pid_t child = fork();

	if (!child) {
		put(GROUP "cgroup.procs", "0");
		exit(what());
	}
	waitpid(child, &status, 0);
	return status;
}

static int machine_is_charged(void)
{
	long before = number(GROUP "memory.current"), made, ran;
	struct machine m;

	make(&m);
	made = number(GROUP "memory.current") - before;
	printf("     %ld KiB are donated, %ld KiB charged\n", donated() / 1024, made / 1024);
	expect("what Keel gets for a VM is charged to the VMM's group",
	       donated() && made >= donated());
	set(&m, touch, MEMORY);
	if (ioctl(m.vcpu, KVM_RUN, 0))
		err(1, "KVM_RUN");
	ran = number(GROUP "memory.current") - before;
	expect("and so is guest memory", ran >= made + (long)BYTES - MIB_S);
	return failed;
}

static int machine_is_too_large(void)
{
	struct machine m;

	make(&m);
	set(&m, touch, MEMORY);
	ioctl(m.vcpu, KVM_RUN, 0);
	return 0;
}

static int machine_cannot_be(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm = ioctl(kvm, KVM_CREATE_VM, 0);

	return vm >= 0 || errno != ENOMEM;
}

static void memory(void)
{
	long before = number(GROUP "memory.current"), after, kills;
	int status = in_group(machine_is_charged);

	for (int i = 0; i < 50 && number(GROUP "memory.current") > before + MIB_S; i++)
		usleep(100000); /* the group's count is brought up to date in batches */
	after = number(GROUP "memory.current");
	printf("     %ld KiB stay charged\n", (after - before) / 1024);
	expect("nothing stays charged", !status && after - before <= MIB_S);
	put(GROUP "memory.swap.max", "0");
	put(GROUP "memory.max", "20M");
	status = in_group(machine_is_too_large);
	kills = flat_number(GROUP "memory.events", "oom_kill");
	expect("over the group's limit Linux ends the VMM",
	       WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && kills == 1);
	expect("and nothing of it is left", !donated());
	put(GROUP "memory.max", "256K");
	status = in_group(machine_cannot_be);
	expect("no VM where the group has no memory for it: ENOMEM",
	       WIFEXITED(status) && !WEXITSTATUS(status));
	expect("and nothing of that is left", !donated());
	put(GROUP "memory.max", "max");
	status = in_group(machine_is_too_large);
	expect("without the limit it runs", !status);
}

/* ---- time ---- */

struct spinner {
	struct machine m;
	pthread_t thread;
	int nice;
};

static void stop(int unused)
{
}

static void *run(void *arg)
{
	struct spinner *s = arg;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
	if (setpriority(PRIO_PROCESS, (int)syscall(SYS_gettid), s->nice))
		err(1, "nice");
	while (!ioctl(s->m.vcpu, KVM_RUN, 0))
		;
	return NULL;
}

static void spin_begin(struct spinner *s, int nice)
{
	make(&s->m);
	set(&s->m, spin, MEMORY);
	s->nice = nice;
	if (pthread_create(&s->thread, NULL, run, s))
		errx(1, "no thread");
}

static uint32_t counted(const struct spinner *s)
{
	return *(volatile uint32_t *)s->m.memory;
}

static void spin_end(struct spinner *s)
{
	pthread_kill(s->thread, SIGUSR1);
	pthread_join(s->thread, NULL);
}

static double cpu_seconds(const struct spinner *s)
{
	clockid_t clock;
	struct timespec t;

	pthread_getcpuclockid(s->thread, &clock);
	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Two guests on one CPU: nice 0 weighs 1024, nice 5 335. */
static void nice_shares(void)
{
	struct spinner a = {0}, b = {0};
	uint32_t first[2], got[2];
	double ratio;

	spin_begin(&a, 0);
	spin_begin(&b, 5);
	usleep(500000);
	first[0] = counted(&a);
	first[1] = counted(&b);
	sleep(6);
	got[0] = counted(&a) - first[0];
	got[1] = counted(&b) - first[1];
	spin_end(&a);
	spin_end(&b);
	ratio = (double)got[0] / (got[1] ?: 1);
	printf("     nice 0 counted to %u, nice 5 to %u: %.2f times\n", got[0], got[1], ratio);
	expect("nice 0 has three times the share of nice 5", ratio > 2.2 && ratio < 4.2);
}

struct window {
	double wall, cpu;
	uint64_t count;
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void measure(const struct spinner *s, const char *limit, struct window *w)
{
	double wall, cpu;
	uint32_t count;

	put(GROUP "cpu.max", limit);
	usleep(200000);
	wall = now();
	cpu = cpu_seconds(s);
	count = counted(s);
	usleep(600000);
	w->count += (uint32_t)(counted(s) - count);
	w->cpu += cpu_seconds(s) - cpu;
	w->wall += now() - wall;
}

/* With and without it by turns: an emulator's speed changes. */
static int quota(void)
{
	struct window limited = {0}, full = {0};
	struct spinner s = {0};
	double share, rate;

	spin_begin(&s, 0);
	for (int i = 0; i < 8; i++) {
		measure(&s, "25000 100000", &limited);
		measure(&s, "max 100000", &full);
	}
	spin_end(&s);
	share = limited.cpu / limited.wall;
	rate = ((double)limited.count / limited.wall) / ((double)full.count / full.wall);
	printf("     quota 25 %%: %.1f %% of the time, %.1f %% of the count without it\n",
	       100 * share, 100 * rate);
	expect("a CPU quota holds for a vCPU", share > 0.2 && share < 0.3);
	expect("and the guest gets that much", rate > 0.17 && rate < 0.33);
	return failed;
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGUSR1, stop);
	put("/sys/fs/cgroup/cgroup.subtree_control", "+memory +cpu");
	if (mkdir(GROUP, 0755))
		err(1, GROUP);
	memory();
	failed += in_group(quota) != 0;
	nice_shares();
	printf("LIMITS %s\n", failed ? "failed" : "passed");
	return failed != 0;
}
