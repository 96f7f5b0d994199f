// SPDX-License-Identifier: MIT
/*
 * The self-test that runs in user space of a Linux child: CPU count, memory, timer, interrupts,
 * and AVX state that must survive exits of every kind. Ends with one line, SELFTEST passed or
 * failed. Usage: selftest CPUS MIN_MIB [EXITS]
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <immintrin.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#define MMIO_HOLE   0xd0000000ul /* no device, no RAM: every access goes to the VMM */
#define PORT_NOBODY 0x2f0        /* likewise */
#define PORT_INSIDE 0x61         /* settled in the hypervisor */

static int failures;

static void report(const char *what, int ok, const char *format, long a, long b)
{
	printf("  %-28s %s  ", what, ok ? "ok  " : "FAIL");
	printf(format, a, b);
	putchar('\n');
	fflush(stdout);
	failures += !ok;
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void test_cpus(long want)
{
	long have = sysconf(_SC_NPROCESSORS_ONLN);

	report("CPUs online", have == want, "%ld of %ld", have, want);
}

static void test_memory(long min_mib)
{
	struct sysinfo info;
	size_t size = (size_t)(min_mib / 2) << 20;
	uint64_t *p;
	long bad = 0;

	sysinfo(&info);
	long mib = (long)((info.totalram * info.mem_unit) >> 20);
	report("memory", mib >= min_mib, "%ld MiB, at least %ld wanted", mib, min_mib);
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) {
		report("memory content", 0, "mmap of %ld MiB, errno %ld", min_mib / 2, errno);
		return;
	}
	for (size_t i = 0; i < size / 8; i += 512)
		p[i] = i * 0x9e3779b97f4a7c15ull;
	for (size_t i = 0; i < size / 8; i += 512)
		bad += p[i] != i * 0x9e3779b97f4a7c15ull;
	report("memory content", !bad, "%ld pages written and read, %ld wrong", size >> 12, bad);
	munmap(p, size);
}

static void test_timer(void)
{
	double start = seconds();

	for (int i = 0; i < 10; i++)
		usleep(20000);
	long ms = (long)((seconds() - start) * 1000);
	report("timer", ms >= 200 && ms < 2000, "10 sleeps of 20 ms took %ld ms%.0ld", ms, 0);
}

static long interrupts(void)
{
	FILE *f = fopen("/proc/interrupts", "r");
	char line[1024];
	long total = 0;

	while (f && fgets(line, sizeof(line), f)) {
		char *p = strchr(line, ':');

		while (p && *p) {
			char *end;
			long n = strtol(p + 1, &end, 10);

			if (end == p + 1)
				break;
			total += n;
			p = end - 1;
		}
	}
	if (f)
		fclose(f);
	return total;
}

static void test_interrupts(void)
{
	long before = interrupts();

	usleep(200000);
	long after = interrupts();
	report("/proc/interrupts moves", after > before, "%ld -> %ld", before, after);
}

enum exit_kind { KIND_CPUID, KIND_PORT_VMM, KIND_PORT_INSIDE, KIND_MMIO_VMM, KIND_MSR, KINDS };
static const char *const kind_names[KINDS] = {"CPUID", "port, VMM", "port, inside", "MMIO, VMM",
					      "RDMSR"};

struct state {
	uint64_t ymm7[4];
	uint32_t mxcsr;
};

struct worker {
	pthread_t thread, disturber;
	int cpu, exits, msr_fd;
	volatile uint32_t *mmio;
	long wrong[KINDS], done[KINDS], first_wrong[KINDS];
	struct state want[KINDS], found[KINDS]; /* at the first that is wrong */
};

static atomic_int running;

/* A call from AVX code makes the compiler clear the upper halves (VZEROUPPER): no call here. */
static inline long raw_pread(long fd, void *buffer, long size, long offset)
{
	register long r10 __asm__("r10") = offset;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(17 /* pread64 */), "D"(fd), "S"(buffer), "d"(size), "r"(r10)
			 : "rcx", "r11", "memory");
	return result;
}

static inline void cause_exit(const struct worker *w, enum exit_kind kind)
{
	unsigned int a, b, c, d;
	uint64_t msr;

	switch (kind) {
	case KIND_CPUID:
		__cpuid(0, a, b, c, d);
		break;
	case KIND_PORT_VMM:
		outb(0, PORT_NOBODY);
		break;
	case KIND_PORT_INSIDE:
		(void)inb(PORT_INSIDE);
		break;
	case KIND_MMIO_VMM:
		*w->mmio = 0;
		break;
	case KIND_MSR:
		if (raw_pread(w->msr_fd, &msr, sizeof(msr), 0x1b) != sizeof(msr))
			abort();
		break;
	default:
		break;
	}
}

/* Each CPU holds another pattern in YMM7 and in MXCSR's rounding control meanwhile. */
__attribute__((target("avx2"))) static void hold_pattern(struct worker *w, enum exit_kind kind)
{
	struct state want, now;

	want.mxcsr = w->cpu ? 0x1f80 | 0x6000 : 0x1f80 | 0x2000;
	for (int i = 0; i < 4; i++)
		want.ymm7[i] = 0x1111111111111111ull * (w->cpu * 2 + 3) + kind;
	_mm_setcsr(want.mxcsr);
	for (int i = 0; i < w->exits; i++) {
		__asm__ volatile("vmovdqu %0, %%ymm7" : : "m"(want.ymm7) : "xmm7");
		cause_exit(w, kind);
		__asm__ volatile("vmovdqu %%ymm7, %0" : "=m"(now.ymm7));
		now.mxcsr = _mm_getcsr() & ~0x3fu; /* its flags may be set */
		if ((memcmp(now.ymm7, want.ymm7, sizeof(now.ymm7)) || now.mxcsr != want.mxcsr) &&
		    !w->wrong[kind]++) {
			w->first_wrong[kind] = i;
			w->want[kind] = want;
			w->found[kind] = now;
		}
		w->done[kind]++;
	}
}

static void *worker_main(void *argument)
{
	struct worker *w = argument;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(w->cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
	iopl(3);
	for (int kind = 0; kind < KINDS; kind++) {
		if ((kind == KIND_MMIO_VMM && !w->mmio) || (kind == KIND_MSR && w->msr_fd < 0))
			continue;
		hold_pattern(w, kind);
	}
	atomic_fetch_sub(&running, 1);
	return NULL;
}

/* Wakes up all the time, so that the child's kernel saves and loads the worker's registers, too. */
static void *disturb(void *argument)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(((struct worker *)argument)->cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
	while (atomic_load(&running)) {
		_mm_setcsr(0x1f80);
		__asm__ volatile("pcmpeqd %%xmm7, %%xmm7" : : : "xmm7");
		usleep(1000);
	}
	return NULL;
}

static void print_state(const char *what, const struct state *s)
{
	printf(" %s MXCSR %x YMM7 %016lx %016lx %016lx %016lx", what, s->mxcsr, s->ymm7[3],
	       s->ymm7[2], s->ymm7[1], s->ymm7[0]);
}

static void report_first(const struct worker *w, enum exit_kind kind)
{
	printf("    CPU %d, %ld wrong, first exit %ld:", w->cpu, w->wrong[kind],
	       w->first_wrong[kind]);
	print_state("wanted", &w->want[kind]);
	print_state("found", &w->found[kind]);
	putchar('\n');
}

static void test_avx(int cpus, int exits)
{
	static struct worker workers[64];
	unsigned int a, b, c, d;
	char path[32];
	int mem = open("/dev/mem", O_RDWR | O_SYNC);
	void *mmio = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, mem, MMIO_HOLE);

	__cpuid(1, a, b, c, d);
	report("AVX in CPUID", c & bit_AVX, "leaf 1 ECX %08lx%.0ld", c, 0);
	if (!(c & bit_AVX))
		return;
	if (!(c & bit_OSXSAVE)) { /* Bochs' own leaf 0xd is wrong, and Linux leaves XSAVE off */
		puts("  AVX is left off by the kernel");
		return;
	}
	report("/dev/mem at the hole", mmio != MAP_FAILED, "errno %ld%.0ld",
	       mmio == MAP_FAILED ? errno : 0, 0);
	running = cpus;
	for (int i = 0; i < cpus; i++) {
		struct worker *w = &workers[i];

		snprintf(path, sizeof(path), "/dev/cpu/%d/msr", i);
		*w = (struct worker){.cpu = i, .exits = exits, .msr_fd = open(path, O_RDONLY)};
		w->mmio = mmio == MAP_FAILED ? NULL : mmio;
		pthread_create(&w->thread, NULL, worker_main, w);
		pthread_create(&w->disturber, NULL, disturb, w);
	}
	for (int i = 0; i < cpus; i++) {
		pthread_join(workers[i].thread, NULL);
		pthread_join(workers[i].disturber, NULL);
	}
	for (int kind = 0; kind < KINDS; kind++) {
		long done = 0, wrong = 0;
		char what[64];

		for (int i = 0; i < cpus; i++) {
			done += workers[i].done[kind];
			wrong += workers[i].wrong[kind];
		}
		snprintf(what, sizeof(what), "AVX kept: %s", kind_names[kind]);
		report(what, done == (long)cpus * exits && !wrong, "%ld exits, %ld wrong", done,
		       wrong);
		for (int i = 0; i < cpus; i++)
			if (workers[i].wrong[kind])
				report_first(&workers[i], kind);
	}
}

int main(int argc, char **argv)
{
	int cpus = argc > 1 ? atoi(argv[1]) : 1;
	int mib = argc > 2 ? atoi(argv[2]) : 64;
	int exits = argc > 3 ? atoi(argv[3]) : 10000;

	printf("SELFTEST starts: %d CPUs, %d MiB, %d exits of each kind on each CPU\n", cpus, mib,
	       exits);
	test_cpus(cpus);
	test_memory(mib);
	test_timer();
	test_interrupts();
	test_avx(cpus < 64 ? cpus : 64, exits);
	printf("SELFTEST %s\n", failures ? "failed" : "passed");
	return failures != 0;
}
