// SPDX-License-Identifier: MIT
/* libkeel by itself, with Keel below or without: arguments, files, threads on every CPU, sleeps, memory and console from any. */
#include <errno.h>
#include <fcntl.h>
#include <keel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SLEEPS 50

static unsigned int counters[64], failures;
static volatile bool go, stop;

#define CHECK(x)                                                                                   \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			printf("FAILED %s:%d: %s\n", __FILE__, __LINE__, #x);                      \
			__atomic_add_fetch(&failures, 1, __ATOMIC_RELAXED);                        \
		}                                                                                  \
	} while (0)

static uint64_t tsc(void)
{
	return __builtin_ia32_rdtsc();
}

static void sleeper(void *arg)
{
	unsigned int cpu = keel_cpu();
	uint64_t worst = 0;

	for (int i = 0; i < SLEEPS; i++) {
		uint64_t start = tsc(), us;
		double x = 1.5 * (i + cpu);

		keel_sleep_us(2000);
		us = (tsc() - start) * 1000 / keel_tsc_khz();
		worst = us > worst ? us : worst;
		CHECK(us >= 2000);
		CHECK(x == 1.5 * (i + cpu));
		counters[cpu]++;
	}
	printf("CPU %u: %d sleeps of 2000 us, the longest %lu us\n", cpu, SLEEPS, worst);
}

static void turns(void *arg)
{
	unsigned int *count = arg;

	while (!stop) {
		*count += go;
		keel_yield();
	}
}

static void allocator(void *arg)
{
	for (int i = 0; i < 20; i++) {
		char *p = malloc(1000 + i), *q = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
						      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		CHECK(p && q != MAP_FAILED);
		memset(p, i, 1000 + i);
		CHECK(!q[0] && !q[8191]);
		CHECK(!munmap(q, 8192));
		free(p);
	}
	errno = (int)(uintptr_t)arg;
	keel_yield();
	CHECK(errno == (int)(uintptr_t)arg);
}

static void writer(void *arg)
{
	for (int i = 0; i < 200; i++)
		printf("line %3d of CPU %u: %s\n", i, keel_cpu(), "0123456789012345678901234567890123456789");
}

static void test_files(void)
{
	int fd = open("/EFI/BOOT/BOOTX64.EFI", O_RDONLY);
	char magic[2] = { 0 };

	CHECK(fd >= 0);
	CHECK(read(fd, magic, 2) == 2 && magic[0] == 'M' && magic[1] == 'Z');
	CHECK(lseek(fd, 0, SEEK_END) > 4096);
	CHECK(read(fd, magic, 2) == 0);
	CHECK(!close(fd));
	CHECK(close(fd) == -1 && errno == EBADF);
	CHECK(open("/no/such/file", O_RDONLY) == -1 && errno == ENOENT);
	CHECK(open("/EFI", O_RDONLY) == -1 && errno == EISDIR);
	CHECK(open("/EFI/x", O_RDWR) == -1 && errno == EACCES);
}

static void test_memory(void)
{
	char *p = mmap(NULL, 5 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED && !((uintptr_t)p & 0x1fffff));
	CHECK(munmap(p, 5 << 20) == 0);
	CHECK(munmap(p, 5 << 20) == -1 && errno == EINVAL);
	CHECK(mmap(NULL, 1ul << 45, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == ENOMEM);
}

int main(int argc, char **argv)
{
	unsigned int cpus = keel_cpu_count(), a = 0, b = 0;
	int fd;
	struct keel_thread *t[64], *x, *y;

	printf("%s: %d arguments, %u CPUs, TSC %lu kHz\n", argv[0], argc - 1, cpus, keel_tsc_khz());
	for (int i = 1; i < argc; i++)
		printf("argument %d: '%s'\n", i, argv[i]);
	printf("[%5.1f] [%-8s] [%08x]\n", 2.25, "left", 0xbeef);
	fd = open("/dev/kvm", O_RDWR);
	CHECK(fd >= 0 || errno == ENOENT); /* with Keel below, or without */
	if (fd >= 0)
		close(fd);
	test_files();
	test_memory();
	for (unsigned int i = 0; i < cpus; i++)
		t[i] = keel_thread_create(i, sleeper, NULL);
	for (unsigned int i = 0; i < cpus; i++)
		CHECK(keel_thread_join(t[i], -1) == 0 && counters[i] == SLEEPS);
	x = keel_thread_create(cpus - 1, turns, &a);
	y = keel_thread_create(cpus - 1, turns, &b);
	keel_sleep_us(5000);
	go = true;
	keel_sleep_us(50000);
	CHECK(keel_thread_join(x, 1) == ETIMEDOUT);
	stop = true;
	CHECK(!keel_thread_join(x, 1000) && !keel_thread_join(y, 1000));
	printf("turns: %u and %u\n", a, b);
	CHECK(a > 10 && b > 10 && a <= b + 1 && b <= a + 1);
	for (unsigned int i = 0; i < cpus; i++)
		t[i] = keel_thread_create(i, allocator, (void *)(uintptr_t)(i + 1));
	for (unsigned int i = 0; i < cpus; i++)
		CHECK(!keel_thread_join(t[i], -1));
	x = keel_thread_create(cpus - 1, writer, NULL);
	CHECK(!keel_thread_join(x, -1));
	CHECK(!keel_thread_create(cpus, writer, NULL) && errno == EINVAL);
	printf("threads: %s\n", failures ? "FAILED" : "passed");
	if (argc > 1 && !strcmp(argv[argc - 1], "crash")) {
		x = keel_thread_create(cpus - 1, (void (*)(void *))0x8000000000000000ull, NULL);
		keel_thread_join(x, -1);
	}
	return failures != 0;
}
