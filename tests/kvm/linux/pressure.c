// SPDX-License-Identifier: MIT
/*
 * Memory is short, and there is swap. What it does:
 *   overcommit   a guest with twice as much as its VMM may have: each word of each page is right
 *   hot          what a guest uses stays in memory, what it does not use goes
 *   looks        Linux looks again and again at what a guest uses, which does not disturb that
 *   looks-unmap  the same without accessed flags: each look costs the guest a fault for each page
 * The first two limit their control group: they need cgroup2 at /sys/fs/cgroup.
 */
#define _GNU_SOURCE
#include "flat.h"
#include "stats.h"
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MEMORY	  0x1000000ul /* guest-physical */
#define LIMIT	  (32 * MIB)
#define HOT_LIMIT (16 * MIB)
#define GROUP	  "/sys/fs/cgroup/pressure"
#define USED	  256ul /* pages */
#define LOOKS	  20

/* EDI address, EDX pages, EBX the words of the first, one more those of the next; EBP pages that
 * are wrong. use: EDX pages from EDI, over and over */
extern const uint8_t fill[], check[], use[], guest_end[];
__asm__(".section .rodata\n"
	".code32\n"
	"fill: mov %ebx, %eax\n"
	"mov $1024, %ecx\n"
	"rep stosl\n"
	"inc %ebx\n"
	"dec %edx\n"
	"jnz fill\n"
	"out %al, $0x10\n"
	"check: mov %ebx, %eax\n"
	"mov $1024, %ecx\n"
	"repe scasl\n"
	"je 1f\n"
	"inc %ebp\n"
	"lea (%edi,%ecx,4), %edi\n"
	"1: inc %ebx\n"
	"dec %edx\n"
	"jnz check\n"
	"out %al, $0x10\n"
	"use: mov %edi, %esi\n"
	"mov %edx, %ecx\n"
	"1: incl (%esi)\n"
	"add $4096, %esi\n"
	"loop 1b\n"
	"jmp use\n"
	"guest_end:\n"
	".code64\n"
	".previous\n");

static int kvm, vm, vcpu, failed;
static struct kvm_run *run;
static uint32_t *memory;
static uint64_t pages;

static void expect(const char *what, bool right)
{
	static struct timespec start;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (!start.tv_sec)
		start = now;
	failed += !right;
	printf("%-4s %4ld s  %s\n", right ? "ok" : "FAIL", now.tv_sec - start.tv_sec, what);
}

static void make(uint64_t bytes)
{
	pages = bytes / PAGE;
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	vm = flat_vm(kvm, fill, guest_end);
	vcpu = flat_vcpu(kvm, vm, 0, &run);
	memory = map_private(bytes);
	flat_slot(vm, 1, MEMORY, bytes, memory, 0);
}

static void set(const uint8_t *entry, uint64_t count, uint32_t value)
{
	struct kvm_regs regs = {.rip = CODE + (entry - fill),
				.rdi = MEMORY,
				.rdx = count,
				.rbx = value,
				.rflags = 0x202}; /* Bochs interrupts no other */

	flat_set(vcpu, &regs);
}

/* Pages that are wrong; -1: it does not end. */
static long guest(const uint8_t *entry, uint32_t value)
{
	struct kvm_regs regs;

	set(entry, pages, value);
	if (ioctl(vcpu, KVM_RUN, 0) || run->exit_reason != KVM_EXIT_IO) {
		warn("KVM_RUN: exit %u", run->exit_reason);
		return -1;
	}
	flat_complete(vcpu, run);
	ioctl(vcpu, KVM_GET_REGS, &regs);
	return (long)regs.rbp;
}

static uint64_t wrong_here(uint32_t value)
{
	uint64_t wrong = 0;

	for (uint64_t i = 0; i < pages * (PAGE / 4); i++)
		wrong += memory[i] != value + i / (PAGE / 4);
	return wrong;
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		err(1, "%s", path);
	close(fd);
}

static void be_limited(uint64_t limit)
{
	char bytes[32];

	snprintf(bytes, sizeof(bytes), "%lu", limit);
	put("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	if (mkdir(GROUP, 0755) && errno != EEXIST)
		err(1, GROUP);
	put(GROUP "/memory.max", bytes);
	put(GROUP "/cgroup.procs", "0");
}

static void overcommit(void)
{
	long out = flat_number("/proc/vmstat", "pswpout"),
	     in = flat_number("/proc/vmstat", "pswpin");

	be_limited(LIMIT);
	make(2 * LIMIT);
	expect("the guest fills it", !guest(fill, 1));
	expect("and finds each word", !guest(check, 1));
	expect("so does the VMM", !wrong_here(1));
	for (uint64_t i = 0; i < pages; i += 2)
		memory[i * (PAGE / 4) + 7] ^= 1;
	expect("and what it changes is seen by the guest",
	       guest(check, 1) == (long)(pages + 1) / 2);
	out = flat_number("/proc/vmstat", "pswpout") - out;
	in = flat_number("/proc/vmstat", "pswpin") - in;
	printf("%lu pages: %ld were swapped out, %ld in\n", pages, out, in);
	expect("half of it and more went to swap each time",
	       out > (long)pages / 2 && in > (long)pages);
}

static void *using(void *arg)
{
	struct rusage usage;

	while (!ioctl(vcpu, KVM_RUN, 0))
		;
	getrusage(RUSAGE_THREAD, &usage);
	*(long *)arg = usage.ru_majflt;
	return NULL;
}

static void stop(int unused)
{
}

/* Of the pages from the first on, in percent. */
static unsigned int in_memory(uint64_t first, uint64_t count)
{
	static uint64_t entries[HOT_LIMIT / PAGE];
	int fd = open("/proc/self/pagemap", O_RDONLY);
	uint64_t there = 0;

	if (pread(fd, entries, count * 8, ((uint64_t)memory / PAGE + first) * 8) !=
	    (ssize_t)count * 8)
		err(1, "pagemap");
	close(fd);
	for (uint64_t i = 0; i < count; i++)
		there += entries[i] >> 63;
	return there * 100 / count;
}

/* Linux has to find memory for somebody else, who goes on using it, while a guest uses a part of
 * its own. */
static void hot(void)
{
	uint64_t used = HOT_LIMIT / 16 / PAGE, needed = HOT_LIMIT * 5 / 8;
	long out = flat_number("/proc/vmstat", "pswpout"), swapped_in;
	volatile uint8_t *other;
	unsigned int cold = 100, rounds = 0;
	pthread_t thread;

	be_limited(HOT_LIMIT);
	make(HOT_LIMIT / 2);
	madvise(memory, pages * PAGE, MADV_NOHUGEPAGE);
	guest(fill, 1);
	set(use, used, 0);
	signal(SIGUSR1, stop);
	if (pthread_create(&thread, NULL, using, &swapped_in))
		errx(1, "no thread");
	other = map_private(needed);
	madvise((void *)other, needed, MADV_NOHUGEPAGE);
	while (cold > 50 && rounds++ < 50) {
		for (uint64_t i = 0; i < needed; i += PAGE)
			other[i]++;
		usleep(20000);
		cold = in_memory(used, pages - used);
	}
	pthread_kill(thread, SIGUSR1);
	pthread_join(thread, NULL);
	printf("%u rounds, %ld pages were swapped out: the guest got back %ld times one of the %lu "
	       "that it "
	       "uses; of the rest %u %% are in memory\n",
	       rounds, flat_number("/proc/vmstat", "pswpout") - out, swapped_in, used, cold);
	expect("what the guest uses stays", swapped_in <= (long)used);
	expect("of what it does not use most goes", cold <= 50);
}

static void look(uint64_t count)
{
	madvise(memory, count * PAGE, MADV_PAGEOUT);
}

/* MADV_PAGEOUT swaps out what was not used since it was last looked at. */
static void looks(bool unmap)
{
	pthread_t thread;
	long swapped_in, faults;
	int fd;

	make(4 * MIB);
	fd = ioctl(vcpu, KVM_GET_STATS_FD, 0);
	madvise(memory, pages * PAGE, MADV_NOHUGEPAGE);
	guest(fill, 1);
	set(use, USED, 0);
	signal(SIGUSR1, stop);
	if (pthread_create(&thread, NULL, using, &swapped_in))
		errx(1, "no thread");
	usleep(200000);
	faults = stat_of(fd, "pf_fixed");
	for (int i = 0; i < LOOKS; i++) {
		look(pages);
		usleep(50000);
	}
	faults = stat_of(fd, "pf_fixed") - faults;
	printf("%d looks at %lu pages: %ld faults of the guest\n", LOOKS, USED, faults);
	expect("what the guest uses stays", in_memory(0, USED) == 100);
	expect("what it does not use goes", in_memory(USED, pages - USED) == 0);
	if (unmap)
		expect("each look unmapped", faults >= LOOKS / 2 * (long)USED);
	else
		expect("no look unmapped", faults < (long)USED / 4);
	pthread_kill(thread, SIGUSR1);
	pthread_join(thread, NULL);
	look(USED); /* finds that it has been used */
	look(USED);
	expect("when it stops, that goes too", in_memory(0, USED) == 0);
	expect("each word is right but those that it counted in", guest(check, 1) == (long)USED);
}

int main(int argc, char **argv)
{
	const char *what = argc == 2 ? argv[1] : "";

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!strcmp(what, "overcommit"))
		overcommit();
	else if (!strcmp(what, "hot"))
		hot();
	else if (!strcmp(what, "looks") || !strcmp(what, "looks-unmap"))
		looks(what[strlen("looks")]);
	else
		errx(2, "overcommit, hot, looks or looks-unmap");
	printf("PRESSURE %s\n", failed ? "failed" : "passed");
	return failed != 0;
}
