// SPDX-License-Identifier: MIT
/*
 * stress SECONDS: two VMs of two vCPUs write patterns into memory that other threads meanwhile swap
 * out, protect, move, merge, share with a child, make huge and split, while the vCPUs' threads are
 * sent from CPU to CPU. No write is lost. A third region is discarded all the time, so that its
 * pages go to others: a write through an old translation would show there.
 */
#define _GNU_SOURCE
#include "flat.h"
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define VMS	   2
#define VCPUS	   2
#define MEMORY	   0x1000000ul /* guest-physical */
#define BYTES	   (8 * MIB)
#define DISCARDED  0x4000000ul
#define DISC_BYTES (2 * MIB)
#define ROUNDS	   4 /* a run */

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

/*
 * EDX rounds: each word at ESI, 4096 bytes apart, ECX of them, must be its address + EBX, and gets
 * one more. EDI, ECX likewise: written, not looked at, where it is discarded. EBP: words that were
 * wrong.
 */
extern const uint8_t count[], guest_end[];
__asm__(".section .rodata\n"
	".code32\n"
	"count: mov %ecx, %esp\n"
	"1: lea (%ebx,%esi), %eax\n"
	"cmp %eax, (%esi)\n"
	"je 2f\n"
	"inc %ebp\n"
	"2: inc %eax\n"
	"mov %eax, (%esi)\n"
	"mov %esi, %eax\n"
	"and $0x1fffff, %eax\n"
	"movl $0xbad0bad0, (%edi,%eax)\n"
	"add $4096, %esi\n"
	"loop 1b\n"
	"mov %esp, %ecx\n"
	"mov %ecx, %eax\n"
	"shl $12, %eax\n"
	"sub %eax, %esi\n"
	"inc %ebx\n"
	"dec %edx\n"
	"jnz count\n"
	"out %al, $0x10\n"
	"guest_end:\n"
	".code64\n"
	".previous\n");

struct machine {
	int vm;
	uint8_t *memory, *discarded;
	struct keeper {
		struct machine *m;
		int vcpu, index;
		struct kvm_run *run;
		pthread_t thread;
		unsigned long rounds, wrong, faults;
	} vcpus[VCPUS];
	pthread_t disturber, discarder;
	unsigned int seed;
};

enum { OUT, COLD, PROTECT, COLLAPSE, SMALL, FORK, MOVE, ACTIONS };
static const char *const names[ACTIONS] = {"paged out", "cold",	  "protected", "collapsed",
					   "split",	"forked", "moved"};
static unsigned long done[ACTIONS], discards, migrations;
static struct machine machines[VMS];
static volatile bool over;

/* ---- guests ---- */

static void *keep(void *arg)
{
	struct keeper *k = arg;
	uint32_t at = MEMORY + 8 * k->index; /* the vCPUs share each page */
	struct kvm_regs regs;

	while (!over) {
		regs = (struct kvm_regs){.rip = CODE,
					 .rsi = at,
					 .rdi = DISCARDED,
					 .rcx = BYTES / PAGE,
					 .rbx = k->rounds,
					 .rdx = ROUNDS,
					 .rflags = 2};
		flat_set(k->vcpu, &regs);
		while (ioctl(k->vcpu, KVM_RUN,
			     0)) { /* what it needs is away or protected just now */
			if (errno != EFAULT)
				err(1, "KVM_RUN");
			k->faults++;
			sched_yield();
		}
		if (k->run->exit_reason != KVM_EXIT_IO)
			errx(1, "exit %u", k->run->exit_reason);
		flat_complete(k->vcpu, k->run);
		ioctl(k->vcpu, KVM_GET_REGS, &regs);
		k->wrong += regs.rbp;
		k->rounds += ROUNDS;
	}
	return NULL;
}

/* What the VMM sees at the end is what each vCPU wrote last. */
static unsigned long wrong_here(const struct machine *m)
{
	unsigned long wrong = 0;

	for (uint64_t page = 0; page < BYTES / PAGE; page++)
		for (int i = 0; i < VCPUS; i++) {
			uint32_t offset = page * PAGE + 8 * i;

			wrong += *(uint32_t *)(m->memory + offset) !=
				 MEMORY + offset + m->vcpus[i].rounds;
		}
	return wrong;
}

/* ---- what disturbs them ---- */

/* One at a time: nobody else's mapping may come where it is missing. */
static void move_away_and_back(uint8_t *p, size_t bytes)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	uint8_t *away;

	pthread_mutex_lock(&lock);
	away = mremap(p, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, map_private(bytes));

	if (away == MAP_FAILED || mremap(away, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, p) != p)
		err(1, "mremap");
	pthread_mutex_unlock(&lock);
}

static void share_with_a_child(void)
{
	pid_t child = fork();

	if (!child) {
		usleep(10000);
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

static void act(int action, uint8_t *p, size_t bytes)
{
	switch (action) {
	case OUT:
		madvise(p, bytes, MADV_PAGEOUT);
		break;
	case COLD:
		madvise(p, bytes, MADV_COLD);
		break;
	case PROTECT:
		mprotect(p, bytes, PROT_READ);
		usleep(200);
		mprotect(p, bytes, PROT_READ | PROT_WRITE);
		break;
	case COLLAPSE:
		madvise(p, bytes, MADV_COLLAPSE);
		break;
	case SMALL:
		mprotect(p + PAGE, PAGE, PROT_READ);
		mprotect(p + PAGE, PAGE, PROT_READ | PROT_WRITE);
		break;
	case FORK:
		share_with_a_child();
		break;
	case MOVE:
		move_away_and_back(p, bytes);
	}
}

static void *disturb(void *arg)
{
	struct machine *m = arg;

	while (!over) {
		int action = rand_r(&m->seed) % ACTIONS;
		size_t first = rand_r(&m->seed) % (BYTES / PAGE),
		       pages = 1 + rand_r(&m->seed) % 512;

		if (action == COLLAPSE || action == SMALL) {
			first &= ~511ul;
			pages = 512;
		}
		if (first + pages > BYTES / PAGE)
			pages = BYTES / PAGE - first;
		act(action, m->memory + first * PAGE, pages * PAGE);
		__atomic_add_fetch(&done[action], 1, __ATOMIC_RELAXED);
		usleep(rand_r(&m->seed) % 2000);
	}
	return NULL;
}

static void *discard(void *arg)
{
	struct machine *m = arg;

	while (!over) {
		madvise(m->discarded, DISC_BYTES, MADV_DONTNEED);
		__atomic_add_fetch(&discards, 1, __ATOMIC_RELAXED);
		usleep(3000);
	}
	return NULL;
}

/* From one CPU to the other, all of them */
static void migrate(int seconds)
{
	struct timespec end, now;
	cpu_set_t set;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += seconds;
	do {
		for (int i = 0; i < VMS * VCPUS; i++) {
			CPU_ZERO(&set);
			CPU_SET((migrations + i) % 2, &set);
			pthread_setaffinity_np(machines[i / VCPUS].vcpus[i % VCPUS].thread,
					       sizeof(set), &set);
		}
		migrations++;
		usleep(5000);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec < end.tv_sec);
}

static void make(struct machine *m, int kvm)
{
	uint8_t *p = map_private(BYTES + 2 * MIB);

	m->memory = (uint8_t *)(((uint64_t)p + 2 * MIB - 1) & -(2 * MIB));
	m->discarded = map_private(DISC_BYTES);
	m->seed = rand();
	madvise(m->memory, BYTES, MADV_HUGEPAGE);
	for (uint32_t page = 0; page < BYTES / PAGE; page++)
		for (int i = 0; i < VCPUS; i++)
			*(uint32_t *)(m->memory + page * PAGE + 8 * i) =
				MEMORY + page * PAGE + 8 * i;
	m->vm = flat_vm(kvm, count, guest_end);
	flat_slot(m->vm, 1, MEMORY, BYTES, m->memory, 0);
	flat_slot(m->vm, 2, DISCARDED, DISC_BYTES, m->discarded, 0);
	for (int i = 0; i < VCPUS; i++) {
		m->vcpus[i].m = m;
		m->vcpus[i].index = i;
		m->vcpus[i].vcpu = flat_vcpu(kvm, m->vm, i, &m->vcpus[i].run);
	}
}

static void begin(struct machine *m)
{
	for (int i = 0; i < VCPUS; i++)
		if (pthread_create(&m->vcpus[i].thread, NULL, keep, &m->vcpus[i]))
			errx(1, "no thread");
	if (pthread_create(&m->disturber, NULL, disturb, m) ||
	    pthread_create(&m->discarder, NULL, discard, m))
		errx(1, "no thread");
}

/* Words that were wrong */
static unsigned long end(struct machine *m)
{
	unsigned long wrong = 0;

	for (int i = 0; i < VCPUS; i++)
		pthread_join(m->vcpus[i].thread, NULL);
	pthread_join(m->disturber, NULL);
	pthread_join(m->discarder, NULL);
	for (int i = 0; i < VCPUS; i++) {
		struct keeper *k = &m->vcpus[i];

		printf("VM %d, vCPU %d: %lu rounds of %lu pages, %lu EFAULTs, %lu words wrong\n",
		       (int)(m - machines), i, k->rounds, BYTES / PAGE, k->faults, k->wrong);
		wrong += k->wrong + !k->rounds;
	}
	return wrong + wrong_here(m);
}

int main(int argc, char **argv)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), idle = 0;
	unsigned long wrong = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	srand(time(NULL));
	for (int i = 0; i < VMS; i++)
		make(&machines[i], kvm);
	for (int i = 0; i < VMS; i++)
		begin(&machines[i]);
	migrate(argc > 1 ? atoi(argv[1]) : 20);
	over = true;
	for (int i = 0; i < VMS; i++)
		wrong += end(&machines[i]);
	printf("%lu migrations, %lu discards", migrations, discards);
	for (int i = 0; i < ACTIONS; i++) {
		printf(", %s %lu", names[i], done[i]);
		idle += !done[i];
	}
	printf("\n%ld pages swapped out\n", flat_number("/proc/vmstat", "pswpout"));
	printf("STRESS %s: %lu words wrong\n", wrong || idle ? "failed" : "passed", wrong);
	return wrong || idle;
}
