// SPDX-License-Identifier: MIT
/*
 * kills N: VMMs die by SIGKILL, N of them, at every moment of a virtual machine's life. After each,
 * nothing of it is left: neither in Keel's frame table nor in keel.ko's counters; and the memory is
 * back at the end.
 */
#define _GNU_SOURCE
#include "flat.h"
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MEMORY 0x1000000ul /* guest-physical */
#define BYTES  (4 * MIB)   /* half of it in a huge page, if Linux gives one */
#define NONE   "donated 0 mapped 0\nvms 0 vcpus 0 slots 0 pages 0\n"
#define DRIFT  8192 /* KiB over all */

enum moment { CREATION, SLOTS, FAULTS, RUNNING, EXITS, DISCARDING, CLOSING, MOMENTS };
static const char *const names[] = {"creation", "slots",      "first faults", "KVM_RUN",
				    "exits",	"discarding", "close"};

/* touch: writes to each page from ESI, ECX of them; exits: OUT for good; spin */
extern const uint8_t touch[], exits[], spin[], guest_end[];
__asm__(".section .rodata\n"
	".code32\n"
	"touch: mov %esi, (%esi)\n"
	"add $4096, %esi\n"
	"loop touch\n"
	"exits: out %al, $0x10\n"
	"jmp exits\n"
	"spin: jmp spin\n"
	"guest_end:\n"
	".code64\n"
	".previous\n");

struct machine {
	int vm, vcpus[2];
	struct kvm_run *runs[2];
	uint8_t *memory;
};

static volatile int *moment; /* of the VMM that lives: shared with it */
static int wanted, reached;  /* the VMM tells when it gets there */

static void interrupted(int unused)
{
}

static void enter(enum moment next)
{
	*moment = next;
	if ((int)next == wanted && write(reached, "", 1) != 1)
		err(1, "write");
}

/* With interrupts on: Bochs sees no external-interrupt exit of a guest that is entered without. */
static void set(struct machine *m, int i, const uint8_t *entry)
{
	struct kvm_regs regs = {.rip = CODE + (entry - touch),
				.rsi = MEMORY + i * BYTES / 2,
				.rflags = 0x202,
				.rcx = BYTES / 2 / PAGE};

	flat_set(m->vcpus[i], &regs);
}

/* ---- the VMM: one machine after the other, each step on both CPUs ---- */

struct work {
	struct machine *m;
	int i;
	const uint8_t *entry;
	int exits;
};

static void *run(void *arg)
{
	struct work *w = arg;

	set(w->m, w->i, w->entry);
	for (int i = 0; i < w->exits && !ioctl(w->m->vcpus[w->i], KVM_RUN, 0); i++)
		;
	return NULL;
}

static void both(struct machine *m, const uint8_t *entry, int count, unsigned int stop_us)
{
	struct work work[2] = {{m, 0, entry, count}, {m, 1, entry, count}};
	pthread_t threads[2];

	for (int i = 0; i < 2; i++)
		if (pthread_create(&threads[i], NULL, run, &work[i]))
			errx(1, "no thread");
	if (stop_us)
		usleep(stop_us);
	for (int i = 0; i < 2; i++) {
		for (; stop_us && pthread_tryjoin_np(threads[i], NULL); usleep(500))
			pthread_kill(threads[i], SIGUSR1);
		if (!stop_us)
			pthread_join(threads[i], NULL);
	}
	for (int i = 0; i < 2; i++)
		if (entry != spin)
			flat_complete(m->vcpus[i], m->runs[i]);
}

static void slots(struct machine *m)
{
	for (int i = 0; i < 40; i++) {
		flat_slot(m->vm, 2, 0x8000000, MIB, m->memory, 0);
		flat_slot(m->vm, 2, 0x9000000, MIB, m->memory, 0);
		flat_slot(m->vm, 2, 0x9000000, 0, m->memory, 0);
	}
}

static void *discard(void *arg)
{
	struct machine *m = arg;

	for (int i = 0; i < 8; i++)
		madvise(m->memory + i * BYTES / 8, BYTES / 8, MADV_DONTNEED);
	return NULL;
}

static void live(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	struct machine m;
	pthread_t thread;

	signal(SIGUSR1, interrupted);
	for (;;) {
		enter(CREATION);
		m.vm = flat_vm(kvm, touch, guest_end);
		m.memory = map_private(BYTES + 2 * MIB);
		madvise(m.memory, BYTES / 2 + 2 * MIB, MADV_HUGEPAGE);
		for (int i = 0; i < 2; i++)
			m.vcpus[i] = flat_vcpu(kvm, m.vm, i, &m.runs[i]);
		enter(SLOTS);
		slots(&m);
		flat_slot(m.vm, 1, MEMORY, BYTES,
			  (uint8_t *)((uint64_t)m.memory | (2 * MIB - 1)) + 1, 0);
		enter(FAULTS);
		both(&m, touch, 1, 0);
		enter(RUNNING);
		both(&m, spin, 1, 4000);
		enter(EXITS);
		both(&m, exits, 200, 0);
		enter(DISCARDING);
		if (pthread_create(&thread, NULL, discard, &m))
			errx(1, "no thread");
		both(&m, touch, 1, 0);
		pthread_join(thread, NULL);
		enter(CLOSING);
		for (int i = 0; i < 2; i++) {
			munmap(m.runs[i], ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0));
			close(m.vcpus[i]);
		}
		close(m.vm);
		munmap(m.memory, BYTES + 2 * MIB);
	}
}

/* ---- who kills ---- */

static void wait_us(unsigned int us)
{
	struct timespec start, now;

	clock_gettime(CLOCK_MONOTONIC, &start);
	do
		clock_gettime(CLOCK_MONOTONIC, &now);
	while ((now.tv_sec - start.tv_sec) * 1000000 + (now.tv_nsec - start.tv_nsec) / 1000 < us);
}

static void append(char *text, size_t size, const char *path)
{
	size_t length = strlen(text);
	int fd = open(path, O_RDONLY);
	ssize_t got = fd < 0 ? -1 : read(fd, text + length, size - length - 1);

	if (got < 0)
		err(1, "%s", path);
	text[length + got] = 0;
	close(fd);
}

/* As soon as the process is gone. */
static int nothing_is_left(int i)
{
	char text[256] = "";

	append(text, sizeof(text), "/sys/module/keel/parameters/frames");
	append(text, sizeof(text), "/sys/module/keel/parameters/objects");
	if (!strcmp(text, NONE))
		return 1;
	printf("FAIL after kill %d, at %s: %s", i, names[*moment], text);
	return 0;
}

/* KiB that are free, those on the CPUs' own lists too. */
static long mem_free(void)
{
	FILE *f = fopen("/proc/sys/vm/drop_caches", "w");
	long kib, pages;
	char line[256];

	if (!f || fputs("3", f) < 0 || fclose(f))
		err(1, "drop_caches");
	sleep(1); /* what RCU frees */
	kib = flat_number("/proc/meminfo", "MemFree");
	f = fopen("/proc/zoneinfo", "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, " count: %ld", &pages) == 1)
			kib += pages * 4;
	fclose(f);
	return kib;
}

/* Every other one at the moment that is its turn, the rest at any. */
static int kill_one(int i)
{
	int at_a_moment = i % 2 == 0, status, ends[2];
	char byte;
	pid_t vmm;

	if (pipe(ends))
		err(1, "pipe");
	reached = ends[1];
	wanted = at_a_moment ? i / 2 % MOMENTS : MOMENTS;
	*moment = CREATION;
	vmm = fork();
	if (vmm < 0)
		err(1, "fork");
	if (!vmm)
		live();
	close(ends[1]);
	if (!at_a_moment)
		usleep(rand() % 300000);
	else if (read(ends[0], &byte, 1) == 1)
		wait_us(rand() % 300);
	close(ends[0]);
	kill(vmm, SIGKILL);
	if (waitpid(vmm, &status, 0) != vmm || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		errx(1, "VMM %d ended by itself at %s: %#x", i, names[*moment], status);
	return *moment;
}

int main(int argc, char **argv)
{
	int kills = argc > 1 ? atoi(argv[1]) : 200, at[MOMENTS] = {0}, clean = 0, missed = 0;
	long before, drift;

	moment = map(PAGE, MAP_SHARED | MAP_ANONYMOUS, -1);
	setvbuf(stdout, NULL, _IOLBF, 0);
	srand(time(NULL));
	before = mem_free();
	for (int i = 0; i < kills; i++) {
		at[kill_one(i)]++;
		clean += nothing_is_left(i);
	}
	drift = before - mem_free();
	printf("killed %d, %d left nothing; free memory fell by %ld KiB\n", kills, clean, drift);
	for (int i = 0; i < MOMENTS; i++) {
		printf("%s%s %d", i ? ", " : "at ", names[i], at[i]);
		missed += !at[i];
	}
	putchar('\n');
	if (clean != kills || drift >= DRIFT || missed)
		return 1;
	puts("KILLS passed");
	return 0;
}
