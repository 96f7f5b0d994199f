// SPDX-License-Identifier: MIT
/*
 * What leaves a trace of exits, played by the management guest itself: `nmi`, an NMI to the own
 * CPU, which must be handled exactly once; `triple`, a triple fault. Needs xAPIC mode.
 */
#include "idt.h"
#include <keel.h>
#include <stdio.h>
#include <string.h>

#define NMI	   2
#define APIC	   0xfee00000ul
#define SEND_NMI   0x4400 /* ICR: assert, NMI */
#define SEND_BUSY  0x1000

extern char nmi_handler[];
volatile uint64_t nmis;

__asm__(".text\n"
	"nmi_handler:\n"
	"	lock incq nmis(%rip)\n"
	"	iretq\n");

static volatile uint32_t *apic(uint32_t offset)
{
	return (volatile uint32_t *)(APIC + offset);
}

static int send_nmi(void)
{
	struct idt idt;
	struct gate firmware;
	uint64_t handler = (uint64_t)nmi_handler;

	__asm__ volatile("cli; sidt %0" : "=m"(idt));
	firmware = idt.gates[NMI];
	idt.gates[NMI].offset_low = handler;
	idt.gates[NMI].offset_middle = handler >> 16;
	idt.gates[NMI].offset_high = handler >> 32;
	*apic(0x310) = *apic(0x20); /* to the own APIC id */
	*apic(0x300) = SEND_NMI;
	while (*apic(0x300) & SEND_BUSY || !nmis)
		__builtin_ia32_pause();
	for (int i = 0; i < 100000; i++)
		__builtin_ia32_pause();
	idt.gates[NMI] = firmware;
	__asm__ volatile("sti");
	printf("trace: %lu NMIs\n", nmis);
	return nmis != 1;
}

int main(int argc, char **argv)
{
	struct idt none = {0};

	if (argc > 1 && !strcmp(argv[1], "nmi"))
		return send_nmi();
	if (argc > 1 && !strcmp(argv[1], "triple"))
		__asm__ volatile("lidt %0; ud2" : : "m"(none));
	return 2;
}
