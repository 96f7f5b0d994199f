/* SPDX-License-Identifier: MIT */
/*
 * Several children at once, on libkeel's threads. Usage: load kill | share | gap | late | many
 *   kill   two children, each on its own CPU; one is killed 50 times from the other CPU at random
 *          moments; the survivor's memory and timer hold
 *   share  four spinning children on each CPU: each gets 50 to 200 % of its share
 *   gap    beside a child that spins with interrupts off, another waits one slice at most
 *   late   a child's timer is late by less than a millisecond
 *   many   each of 100,000 short timers interrupts exactly once
 */
#include <errno.h>
#include <fcntl.h>
#include <keel.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define JOB(name)                                                                                  \
	__asm__(".pushsection .rodata\n.balign 16\n.hidden job_" #name "\n.global job_" #name "\n" \
		"job_" #name ": .incbin \"build/guests/jobs/" #name ".bin\"\n"                     \
		".hidden job_" #name "_end\n.global job_" #name "_end\njob_" #name "_end:\n"       \
		".popsection\n");                                                                  \
	extern const uint8_t job_##name[], job_##name##_end[];
JOB(survivor)
JOB(victim)
JOB(spin)
JOB(gap)
JOB(late)

#define MEMORY	  (4u << 20)
#define KILLS	  50
#define SLICE_MS  4
#define TIMERS_MS 200000

struct child {
	int vm, vcpu;
	struct kvm_run *run;
	uint8_t *memory;
	uint32_t timer; /* the last value at port 0xf1 */
	int stop;	/* what port 0xf2 reads */
	int status;	/* of port 0xf4; -1: none */
	int error;	/* errno of the KVM_RUN that ended it */
	struct keel_thread *thread;
};

static int kvm;
static int failures;

static void expect(int ok, const char *what)
{
	printf("%s %s\n", ok ? "ok" : "FAIL", what);
	failures += !ok;
}

static int child_create(struct child *c, const uint8_t *start, const uint8_t *end)
{
	static union {
		struct kvm_cpuid2 head;
		uint8_t room[sizeof(struct kvm_cpuid2) + 100 * sizeof(struct kvm_cpuid_entry2)];
	} cpuid;
	struct kvm_userspace_memory_region region = {.memory_size = MEMORY};
	struct kvm_pit_config pit = {0};
	struct kvm_sregs sregs;
	struct kvm_regs regs = {.rip = 0x8000, .rflags = 2};

	*c = (struct child){.vm = ioctl(kvm, KVM_CREATE_VM, 0), .status = -1};
	c->memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	region.userspace_addr = (uintptr_t)c->memory;
	cpuid.head.nent = 100;
	if (c->vm < 0 || c->memory == MAP_FAILED ||
	    ioctl(c->vm, KVM_SET_USER_MEMORY_REGION, &region) < 0 ||
	    ioctl(c->vm, KVM_CREATE_IRQCHIP, 0) < 0 || ioctl(c->vm, KVM_CREATE_PIT2, &pit) < 0)
		return -1;
	c->vcpu = ioctl(c->vm, KVM_CREATE_VCPU, 0);
	if (c->vcpu < 0)
		return -1;
	c->run = mmap(NULL, 12288, PROT_READ | PROT_WRITE, MAP_SHARED, c->vcpu, 0);
	memcpy(c->memory + 0x8000, start, end - start);
	if (c->run == MAP_FAILED || ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid) < 0)
		return -1;
	for (unsigned i = 0; i < cpuid.head.nent; i++) /* the timer's mode is the VMM's to offer */
		if (cpuid.head.entries[i].function == 1)
			cpuid.head.entries[i].ecx |= 1u << 24;
	if (ioctl(c->vcpu, KVM_SET_CPUID2, &cpuid) < 0 || ioctl(c->vcpu, KVM_GET_SREGS, &sregs) < 0)
		return -1;
	sregs.cs.base = sregs.cs.selector = 0;
	if (ioctl(c->vcpu, KVM_SET_SREGS, &sregs) < 0 || ioctl(c->vcpu, KVM_SET_REGS, &regs) < 0)
		return -1;
	return 0;
}

static void child_close(struct child *c)
{
	munmap(c->run, 12288);
	close(c->vcpu);
	close(c->vm);
	munmap(c->memory, MEMORY);
}

static void child_main(void *argument)
{
	struct child *c = argument;

	while (c->status < 0) {
		uint8_t *data = (uint8_t *)c->run + 4096;

		if (ioctl(c->vcpu, KVM_RUN, 0) < 0) {
			c->error = errno;
			return;
		}
		if (c->run->exit_reason == KVM_EXIT_MMIO)
			continue;
		if (c->run->exit_reason != KVM_EXIT_IO) {
			c->status = 100 + c->run->exit_reason;
			return;
		}
		if (c->run->io.port == 0xf1)
			memcpy(&c->timer, data, 4);
		if (c->run->io.port == 0xf2)
			*data = c->stop;
		if (c->run->io.port == 0xf4)
			c->status = *data;
	}
}

static int child_start(struct child *c, unsigned int cpu, const uint8_t *start, const uint8_t *end)
{
	if (child_create(c, start, end) < 0) {
		perror("child");
		failures++;
		return -1;
	}
	c->thread = keel_thread_create(cpu, child_main, c);
	return c->thread ? 0 : -1;
}

static uint32_t random_us(void)
{
	static uint64_t state = 88172645463325252ull;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state % 20000;
}

static uint64_t now_ms(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return ((uint64_t)high << 32 | low) / keel_tsc_khz();
}

static void test_kill(void)
{
	struct child survivor, victim;
	uint64_t start;
	int zeroed = 0, killed = 0;

	if (child_create(&survivor, job_survivor, job_survivor_end)) {
		perror("child");
		failures++;
		return;
	}
	*(uint64_t *)(survivor.memory + 0x610) = keel_tsc_khz(); /* 1 ms */
	survivor.thread = keel_thread_create(0, child_main, &survivor);
	start = now_ms();
	for (int i = 0; i < KILLS; i++) {
		if (child_start(&victim, keel_cpu_count() - 1, job_victim, job_victim_end))
			return;
		keel_sleep_us(random_us());
		zeroed += keel_vm_kill(victim.vm) == 0;
		keel_thread_join(victim.thread, -1);
		killed += victim.error == EIO;
		child_close(&victim);
	}
	uint64_t ms = now_ms() - start;
	survivor.stop = 1;
	keel_thread_join(survivor.thread, 10000);
	/* It has CPU 0 only while this thread does not work. */
	uint64_t ran = *(volatile uint64_t *)(survivor.memory + 0x608) / keel_tsc_khz();
	printf("%d kills in %llu ms, %d while it ran, %d with every page zeroed; the survivor: "
	       "status %d, %u timer interrupts in the %llu ms that it ran\n",
	       KILLS, (unsigned long long)ms, killed, zeroed, survivor.status, survivor.timer,
	       (unsigned long long)ran);
	expect(killed == KILLS, "each victim was killed while it ran");
	expect(zeroed == KILLS, "its pages came back zeroed");
	expect(survivor.status == 0, "the survivor's memory holds");
	expect(survivor.timer >= ran * 9 / 10 && survivor.timer <= ms + 100 && ran,
	       "the survivor's timer holds");
	child_close(&survivor);
}

static void test_share(void)
{
	static struct child children[8];
	unsigned int cpus = keel_cpu_count() < 2 ? 1 : 2;
	uint64_t sum = 0, low = ~0ull, high = 0;
	uint32_t before[8];

	for (int i = 0; i < 8; i++)
		if (child_start(&children[i], i % cpus, job_spin, job_spin_end))
			return;
	for (int i = 0; i < 8; i++)
		before[i] = *(volatile uint32_t *)(children[i].memory + 0x600);
	keel_sleep_us(1000000);
	for (int i = 0; i < 8; i++) {
		uint32_t count = *(volatile uint32_t *)(children[i].memory + 0x600) - before[i];

		printf("child %d on CPU %d: %u\n", i, i % cpus, count);
		sum += count;
		low = count < low ? count : low;
		high = count > high ? count : high;
	}
	for (int i = 0; i < 8; i++) {
		keel_vm_kill(children[i].vm);
		keel_thread_join(children[i].thread, -1);
		child_close(&children[i]);
	}
	expect(low >= sum / 16 && high <= sum / 4,
	       "each of 8 children has 50 to 200 % of its share");
}

static void test_gap(void)
{
	struct child spin, gap;
	unsigned int cpu = keel_cpu_count() - 1;

	if (child_start(&spin, cpu, job_spin, job_spin_end) ||
	    child_start(&gap, cpu, job_gap, job_gap_end))
		return;
	keel_sleep_us(500000);
	uint64_t us = *(volatile uint64_t *)(gap.memory + 0x608) * 1000 / keel_tsc_khz();
	uint64_t count = *(volatile uint64_t *)(gap.memory + 0x600);
	keel_vm_kill(spin.vm);
	keel_vm_kill(gap.vm);
	keel_thread_join(spin.thread, -1);
	keel_thread_join(gap.thread, -1);
	child_close(&spin);
	child_close(&gap);
	printf("longest wait %llu us, %llu looks\n", (unsigned long long)us,
	       (unsigned long long)count);
	expect(count > 1000 && us <= SLICE_MS * 1000 + 500, "one slice is the longest wait");
}

/* Runs `count` timers of `us` microseconds on the last CPU. Returns the largest lateness, in us. */
static uint64_t run_timers(struct child *c, uint32_t count, uint64_t us)
{
	if (child_create(c, job_late, job_late_end)) {
		perror("child");
		failures++;
		return 0;
	}
	*(uint64_t *)(c->memory + 0x610) = us * keel_tsc_khz() / 1000;
	*(uint32_t *)(c->memory + 0x618) = count;
	c->thread = keel_thread_create(keel_cpu_count() - 1, child_main, c);
	if (keel_thread_join(c->thread, TIMERS_MS)) {
		printf("FAIL no end after %d ms: a timer did not come\n", TIMERS_MS);
		keel_vm_kill(c->vm);
		keel_thread_join(c->thread, -1);
	}
	us = *(volatile uint64_t *)(c->memory + 0x608) * 1000 / keel_tsc_khz();
	printf("%u timers, status %d, the latest by %llu us\n", count, c->status,
	       (unsigned long long)us);
	expect(c->status == 0, "every timer came once, none early");
	child_close(c);
	return us;
}

static void test_late(void)
{
	struct child c;

	expect(run_timers(&c, 100, 2000) < 1000, "none late by a millisecond");
}

/* So short that it often comes before the STI or with another interrupt of the machine. */
static void test_many(void)
{
	struct child c;

	run_timers(&c, 100000, 50);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} tests[] = {{"kill", test_kill},
		     {"share", test_share},
		     {"gap", test_gap},
		     {"late", test_late},
		     {"many", test_many}};

	kvm = open("/dev/kvm", O_RDWR);
	if (kvm < 0) {
		perror("/dev/kvm");
		return 1;
	}
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		int wanted = argc < 2;

		for (int a = 1; a < argc; a++)
			wanted |= !strcmp(argv[a], tests[i].name);
		if (wanted)
			tests[i].run();
	}
	printf("LOAD %s\n", failures ? "failed" : "passed");
	return failures != 0;
}
