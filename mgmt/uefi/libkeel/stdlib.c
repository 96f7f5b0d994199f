// SPDX-License-Identifier: MIT
/* Numbers, sorting, time and what else a small libc has, in terms of the rest of libkeel. */
#include "mgmt/uefi/libkeel/libkeel.h"
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int *__errno_location(void)
{
	return &thread_self()->error;
}

static int digit(char c)
{
	return isdigit(c) ? c - '0' : isalpha(c) ? tolower(c) - 'a' + 10 : 99;
}

unsigned long strtoul(const char *text, char **end, int base)
{
	const char *p = text, *digits;
	unsigned long value = 0;
	bool minus;

	while (isspace(*p))
		p++;
	minus = *p == '-';
	if (*p == '-' || *p == '+')
		p++;
	if ((base == 0 || base == 16) && p[0] == '0' && tolower(p[1]) == 'x' && digit(p[2]) < 16) {
		p += 2;
		base = 16;
	}
	if (base == 0)
		base = *p == '0' ? 8 : 10;
	for (digits = p; digit(*p) < base; p++)
		if (__builtin_mul_overflow(value, (unsigned long)base, &value) ||
		    __builtin_add_overflow(value, (unsigned long)digit(*p), &value)) {
			value = ~0ul;
			errno = ERANGE;
		}
	if (end)
		*end = (char *)(p == digits ? text : p);
	return minus ? -value : value;
}

long strtol(const char *text, char **end, int base)
{
	return (long)strtoul(text, end, base);
}

unsigned long long strtoull(const char *text, char **end, int base)
{
	return strtoul(text, end, base);
}

long long strtoll(const char *text, char **end, int base)
{
	return strtol(text, end, base);
}

long atol(const char *text)
{
	return strtol(text, NULL, 10);
}

int atoi(const char *text)
{
	return (int)atol(text);
}

int abs(int x)
{
	return x < 0 ? -x : x;
}

char *getenv(const char *name)
{
	return NULL;
}

static void swap(char *a, char *b, size_t size)
{
	while (size--) {
		char t = a[size];

		a[size] = b[size];
		b[size] = t;
	}
}

/* Heap sort: no recursion, no worst case. */
static void sift(char *base, size_t root, size_t count, size_t size,
		 int (*compare)(const void *, const void *))
{
	for (;;) {
		size_t child = 2 * root + 1;

		if (child >= count)
			return;
		if (child + 1 < count &&
		    compare(base + child * size, base + (child + 1) * size) < 0)
			child++;
		if (compare(base + root * size, base + child * size) >= 0)
			return;
		swap(base + root * size, base + child * size, size);
		root = child;
	}
}

void qsort(void *base, size_t count, size_t size, int (*compare)(const void *, const void *))
{
	for (size_t i = count / 2; i-- > 0;)
		sift(base, i, count, size, compare);
	for (size_t end = count; end-- > 1;) {
		swap(base, (char *)base + end * size, size);
		sift(base, 0, end, size, compare);
	}
}

int usleep(unsigned int microseconds)
{
	keel_sleep_us(microseconds);
	return 0;
}

unsigned int sleep(unsigned int seconds)
{
	keel_sleep_us(seconds * 1000000ull);
	return 0;
}

long sysconf(int name)
{
	if (name == _SC_PAGESIZE)
		return PAGE_SIZE;
	if (name == _SC_NPROCESSORS_ONLN)
		return keel_cpu_count();
	errno = EINVAL;
	return -1;
}

int getpagesize(void)
{
	return PAGE_SIZE;
}

time_t time(time_t *out)
{
	time_t now = (time_t)firmware_time();

	if (out)
		*out = now;
	return now;
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
	u64 now = rdtsc();

	if (clock == CLOCK_REALTIME) {
		*out = (struct timespec){time(NULL), 0};
		return 0;
	}
	if (clock != CLOCK_MONOTONIC || !tsc_khz) {
		errno = EINVAL;
		return -1;
	}
	out->tv_sec = (time_t)(now / (tsc_khz * 1000));
	out->tv_nsec = (long)(now % (tsc_khz * 1000) * 1000000 / tsc_khz);
	return 0;
}
