/* SPDX-License-Identifier: MIT */
/* A 16550A (PC16550D data sheet). It transmits at once; what it receives waits in a queue. */
#pragma once

#include "lib/types.h"

#define UART_QUEUE 64

struct uart {
	u8 ier, lcr, mcr, scr, fcr, divisor[2];
	u8 overrun;	   /* LSR's bit, until it is read */
	bool thre_pending; /* the transmitter's interrupt, until IIR is read or THR written */
	u8 queue[UART_QUEUE];
	u32 head, tail; /* free running */
};

void uart_init(struct uart *u);
/* Register 0 to 7. */
u8 uart_read(struct uart *u, u32 offset);
/* True: *out is a byte that leaves the line. */
bool uart_write(struct uart *u, u32 offset, u8 value, u8 *out);
/* Whether the receiver can take another byte. */
bool uart_can_receive(const struct uart *u);
void uart_receive(struct uart *u, u8 byte);
/* The level of its interrupt line. */
bool uart_irq(const struct uart *u);
