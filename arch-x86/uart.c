// SPDX-License-Identifier: MIT
/* Output on a 16550. */
#include "arch-x86/uart.h"

#include "arch-x86/insn.h"

#define UART_SCRATCH	 7
#define UART_LINE_STATUS 5
#define LINE_THR_EMPTY	 BIT(5)
#define DRAIN_POLLS	 20000 /* a character takes 87 us at 115200 baud */

bool uart_present(u16 port)
{
	if (!port)
		return false;
	out8(port + UART_SCRATCH, 0x5a);
	return in8(port + UART_SCRATCH) == 0x5a;
}

static bool put(u16 port, char c)
{
	for (u32 i = 0; i < DRAIN_POLLS; i++) {
		if (in8(port + UART_LINE_STATUS) & LINE_THR_EMPTY) {
			out8(port, c);
			return true;
		}
		pause();
	}
	return false;
}

void uart_write(u16 port, const char *text, u64 length)
{
	for (u64 i = 0; i < length; i++) {
		if (text[i] == '\n' && !put(port, '\r'))
			return;
		if (!put(port, text[i]))
			return;
	}
}
