// SPDX-License-Identifier: MIT
/*
 * A firmware that ticks by the boot processor's LAPIC timer goes on ticking while libkeel uses that timer:
 * plays such a firmware, before libkeel takes the processors. Needs xAPIC mode and no Keel.
 */
#include "idt.h"
#include <keel.h>
#include <stdio.h>
#include <string.h>

#define VECTOR 0x50
#define APIC   0xfee00000ul

extern char tick_handler[];
volatile uint64_t ticks;

__asm__(".text\n"
	"tick_handler:\n"
	"	push %rax\n"
	"	lock incq ticks(%rip)\n"
	"	mov $0xfee000b0, %eax\n" /* end of interrupt */
	"	movl $0, (%rax)\n"
	"	pop %rax\n"
	"	iretq\n");

static volatile uint32_t *apic(uint32_t offset)
{
	return (volatile uint32_t *)(APIC + offset);
}

static void firmware_tick(uint32_t count)
{
	struct idt idt;
	uint64_t handler = (uint64_t)tick_handler;

	__asm__ volatile("cli; sidt %0" : "=m"(idt));
	idt.gates[VECTOR].offset_low = handler;
	idt.gates[VECTOR].offset_middle = handler >> 16;
	idt.gates[VECTOR].offset_high = handler >> 32;
	idt.gates[VECTOR].type = 0x8e;
	*apic(0xf0) |= 0x100;
	*apic(0x3e0) = 3; /* divide by 16 */
	*apic(0x320) = VECTOR | 1 << 17;
	*apic(0x380) = count;
	__asm__ volatile("sti");
}

/* Per cent of the ticks that belong into the time that 200 short sleeps take. */
static uint64_t ticks_kept(void)
{
	uint64_t first = ticks, khz = keel_tsc_khz(), start = __builtin_ia32_rdtsc(), us;

	for (int i = 0; i < 200; i++)
		keel_sleep_us(3000);
	us = (__builtin_ia32_rdtsc() - start) * 1000 / khz;
	printf("%lu ticks of 10 ms in %lu us\n", ticks - first, us);
	return (ticks - first) * 1000000 / us;
}

int main(void)
{
	uint64_t kept;
	bool good;

	firmware_tick(625000); /* 10 ms at QEMU's 1 GHz */
	keel_cpu_count();
	kept = ticks_kept();
	good = kept > 60 && kept < 110;
	printf("tick: %s\n", good ? "passed" : "FAILED");
	/* Back in the firmware the timer would go on, its handler would not. */
	keel_out32(0xf4, good ? 0 : 1);
	for (;;)
		keel_sleep_us(1000000);
}
