// SPDX-License-Identifier: MIT
/* Resets the machine. */
#include "arch-x86/reset.h"

#include "arch-x86/insn.h"

#define RESET_CONTROL 0xcf9 /* chipsets' reset control register */
#define RESET_SYSTEM  0x02
#define RESET_FULL    0x06
#define I8042_COMMAND 0x64
#define I8042_PULSE   0xfe
#define WAIT_POLLS    1000000

static void wait_for_it(void)
{
	for (u32 i = 0; i < WAIT_POLLS; i++)
		in8(0x80);
}

void machine_reset(void)
{
	struct descriptor_pointer none = {0};

	out8(RESET_CONTROL, RESET_SYSTEM);
	out8(RESET_CONTROL, RESET_FULL);
	wait_for_it();
	out8(I8042_COMMAND, I8042_PULSE);
	wait_for_it();
	lidt(&none);
	for (;;)
		__asm__ volatile("ud2");
}
