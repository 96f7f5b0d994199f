// SPDX-License-Identifier: MIT
/* A 16550A. Section titles are those of the PC16550D data sheet. */
#include "mgmt/uefi/keelrun/uart.h"

enum {
	DATA,
	INTERRUPT_ENABLE,
	INTERRUPT_ID,
	LINE_CONTROL,
	MODEM_CONTROL,
	LINE_STATUS,
	MODEM_STATUS,
	SCRATCH
};
enum { IER_RECEIVE = BIT(0), IER_TRANSMIT = BIT(1), IER_LINE = BIT(2) };
enum { IIR_NONE = 1, IIR_TRANSMIT = 2, IIR_RECEIVE = 4, IIR_LINE = 6, IIR_FIFO = 0xc0 };
enum { FCR_ENABLE = BIT(0), FCR_CLEAR_RECEIVE = BIT(1) };
enum { LCR_DIVISOR = BIT(7) };
enum {
	MCR_DTR = BIT(0),
	MCR_RTS = BIT(1),
	MCR_OUT1 = BIT(2),
	MCR_OUT2 = BIT(3),
	MCR_LOOP = BIT(4)
};
enum { LSR_DATA = BIT(0), LSR_OVERRUN = BIT(1), LSR_EMPTY = BIT(5), LSR_IDLE = BIT(6) };
enum { MSR_CTS = BIT(4), MSR_DSR = BIT(5), MSR_RI = BIT(6), MSR_DCD = BIT(7) };

void uart_init(struct uart *u)
{
	*u = (struct uart){.divisor = {1, 0}};
}

static bool has_data(const struct uart *u)
{
	return u->head != u->tail;
}

bool uart_can_receive(const struct uart *u)
{
	return u->head - u->tail < UART_QUEUE;
}

void uart_receive(struct uart *u, u8 byte)
{
	if (!uart_can_receive(u)) {
		u->overrun = LSR_OVERRUN;
		return;
	}
	u->queue[u->head++ % UART_QUEUE] = byte;
}

/* "Interrupt Identification Register": the highest of the pending ones that are enabled. */
static u8 interrupt_id(const struct uart *u)
{
	if (u->ier & IER_LINE && u->overrun)
		return IIR_LINE;
	if (u->ier & IER_RECEIVE && has_data(u))
		return IIR_RECEIVE;
	if (u->ier & IER_TRANSMIT && u->thre_pending)
		return IIR_TRANSMIT;
	return IIR_NONE;
}

bool uart_irq(const struct uart *u)
{
	return interrupt_id(u) != IIR_NONE;
}

/* "Modem Control Register": in the loop the outputs are the inputs. Else a peer is always there. */
static u8 modem_status(const struct uart *u)
{
	if (!(u->mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	return (u->mcr & MCR_RTS ? MSR_CTS : 0) | (u->mcr & MCR_DTR ? MSR_DSR : 0) |
	       (u->mcr & MCR_OUT1 ? MSR_RI : 0) | (u->mcr & MCR_OUT2 ? MSR_DCD : 0);
}

u8 uart_read(struct uart *u, u32 offset)
{
	u8 value;

	switch (offset) {
	case DATA:
		if (u->lcr & LCR_DIVISOR)
			return u->divisor[0];
		return has_data(u) ? u->queue[u->tail++ % UART_QUEUE] : 0;
	case INTERRUPT_ENABLE:
		return u->lcr & LCR_DIVISOR ? u->divisor[1] : u->ier;
	case INTERRUPT_ID:
		value = interrupt_id(u);
		if (value == IIR_TRANSMIT)
			u->thre_pending = false;
		return value | (u->fcr & FCR_ENABLE ? IIR_FIFO : 0);
	case LINE_CONTROL:
		return u->lcr;
	case MODEM_CONTROL:
		return u->mcr;
	case LINE_STATUS:
		value = LSR_EMPTY | LSR_IDLE | u->overrun | (has_data(u) ? LSR_DATA : 0);
		u->overrun = 0;
		return value;
	case MODEM_STATUS:
		return modem_status(u);
	default:
		return u->scr;
	}
}

static bool transmit(struct uart *u, u8 value, u8 *out)
{
	u->thre_pending = true; /* empty again at once */
	if (u->mcr & MCR_LOOP) {
		uart_receive(u, value);
		return false;
	}
	*out = value;
	return true;
}

bool uart_write(struct uart *u, u32 offset, u8 value, u8 *out)
{
	switch (offset) {
	case DATA:
		if (!(u->lcr & LCR_DIVISOR))
			return transmit(u, value, out);
		u->divisor[0] = value;
		return false;
	case INTERRUPT_ENABLE:
		if (u->lcr & LCR_DIVISOR) {
			u->divisor[1] = value;
			return false;
		}
		/* Enabling the transmitter's interrupt while it is empty raises it. */
		if (value & ~u->ier & IER_TRANSMIT)
			u->thre_pending = true;
		u->ier = value & 0xf;
		return false;
	case INTERRUPT_ID: /* FIFO control on writing */
		/* "FIFO Control Register": switching the FIFOs on or off clears them. */
		if (value & FCR_CLEAR_RECEIVE || (value ^ u->fcr) & FCR_ENABLE)
			u->tail = u->head;
		u->fcr = value & (FCR_ENABLE | 0xc0);
		return false;
	case LINE_CONTROL:
		u->lcr = value;
		return false;
	case MODEM_CONTROL:
		u->mcr = value & 0x1f;
		return false;
	case SCRATCH:
		u->scr = value;
		return false;
	default: /* the status registers are for the factory's tests only */
		return false;
	}
}
