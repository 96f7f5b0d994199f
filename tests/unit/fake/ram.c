/* SPDX-License-Identifier: MIT */
/* Fake RAM, and the processors' own data. */
#include "core/stats.h"
#include "tests/unit/fake/fake.h"

#include <string.h>
#include <sys/mman.h>

char *fake_ram;
u64 fake_ram_size = FAKE_RAM_SIZE;

static struct cpu fake_cpus[FAKE_CPUS];
static struct exit_ring fake_rings[FAKE_CPUS];
static __thread struct cpu *fake_cpu_here;

__attribute__((weak)) u32 cpu_count;
__attribute__((weak)) struct cpu *cpus[CPU_MAX];

__attribute__((constructor)) static void fake_ram_map(void)
{
	/* 1 GiB aligned, so that a host address keeps every alignment of its physical one */
	u64 base = (u64)mmap(NULL, SIZE_1G + FAKE_RAM_SIZE, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	fake_ram = mmap((void *)ALIGN_UP(base, SIZE_1G), FAKE_RAM_SIZE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

void fake_ram_reset(void)
{
	madvise(fake_ram, FAKE_RAM_SIZE, MADV_DONTNEED);
}

void fake_cpu_reset(u32 count)
{
	assert_in_range(count, 1, FAKE_CPUS);
	memset(fake_cpus, 0, sizeof(fake_cpus));
	for (u32 i = 0; i < count; i++) {
		fake_cpus[i].index = i;
		fake_cpus[i].apic_id = i;
		fake_cpus[i].online = true;
		fake_cpus[i].ring = &fake_rings[i];
		cpus[i] = &fake_cpus[i];
	}
	cpu_count = count;
	fake_cpu_set(0);
}

void fake_cpu_set(u32 index)
{
	fake_cpu_here = &fake_cpus[index];
}

__attribute__((weak)) struct cpu *this_cpu(void)
{
	return fake_cpu_here ? fake_cpu_here : &fake_cpus[0];
}
