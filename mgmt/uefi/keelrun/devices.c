// SPDX-License-Identifier: MIT
/* The machine's ports: UART, clock, power management, reset, the guest's status. */
#include "mgmt/uefi/keelrun/machine.h"
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum {
	UART_PORT = 0x3f8,
	UART_IRQ = 4,
	RTC_PORT = 0x70,
	I8042_COMMAND = 0x64,
	RESET_CONTROL = 0xcf9
};
enum { RESET_CPU = BIT(2) };

static struct timespec elapsed(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t;
}

void devices_init(struct machine *m)
{
	uart_init(&m->uart);
	rtc_init(&m->rtc);
	m->epoch = time(NULL) - elapsed().tv_sec;
}

/* The lock is held: the levels arrive in the order in which the UART took them. */
static void update_uart(struct machine *m)
{
	bool level = uart_irq(&m->uart);
	struct kvm_irq_level line = {.irq = UART_IRQ, .level = level};

	if (level == m->uart_level)
		return;
	m->uart_level = level;
	ioctl(m->vm, KVM_IRQ_LINE, &line);
}

/* Takes out what waits; the lock is held. */
static u32 take_output(struct machine *m, char *to)
{
	u32 n = m->output_used;

	memcpy(to, m->output, n);
	m->output_used = 0;
	return n;
}

void devices_flush(struct machine *m)
{
	char text[MACHINE_OUTPUT];
	u32 n;

	pthread_mutex_lock(&m->lock);
	n = take_output(m, text);
	pthread_mutex_unlock(&m->lock);
	if (n)
		write(STDOUT_FILENO, text, n);
}

/* The lock is held. True: the text should be printed. */
static bool port_write(struct machine *m, u16 port, u8 value)
{
	u8 out;

	switch (port) {
	case UART_PORT ... UART_PORT + 7:
		if (uart_write(&m->uart, port - UART_PORT, value, &out))
			m->output[m->output_used++] = (char)out;
		update_uart(m);
		return m->output_used == MACHINE_OUTPUT || (m->output_used && value == '\n');
	case RTC_PORT:
	case RTC_PORT + 1:
		rtc_write(&m->rtc, port - RTC_PORT, value);
		return false;
	case MACHINE_STATUS_PORT:
		m->guest_status = value;
		return false;
	default:
		return false;
	}
}

static u8 port_read(struct machine *m, u16 port)
{
	u8 value;

	switch (port) {
	case UART_PORT ... UART_PORT + 7:
		value = uart_read(&m->uart, port - UART_PORT);
		update_uart(m);
		return value;
	case RTC_PORT:
	case RTC_PORT + 1:
		return rtc_read(&m->rtc, port - RTC_PORT, (u64)(m->epoch + elapsed().tv_sec));
	case I8042_COMMAND:
		return 0; /* both its buffers are empty */
	default:
		return 0xff; /* nobody there */
	}
}

static u32 value_of(const u8 *data, u32 size)
{
	u32 value = 0;

	memcpy(&value, data, size);
	return value;
}

/* Ports wider than a byte. True: settled. */
static bool wide_port(struct machine *m, bool in, u16 port, u32 size, u8 *data)
{
	u32 value;

	if (port >= PCI_ADDRESS && port < PCI_DATA + 4) {
		pthread_mutex_lock(&m->lock);
		value = in ? pci_read(&m->pci, port, size) : 0;
		if (!in)
			pci_write(&m->pci, port, size, value_of(data, size));
		pthread_mutex_unlock(&m->lock);
		if (in)
			memcpy(data, &value, size);
		return true;
	}
	if (port < ACPI_PM_EVENT || port >= ACPI_PM_END)
		return false;
	if (in) {
		struct timespec t = elapsed();

		value = acpi_pm_read(&m->pm, port, (u64)t.tv_sec * 1000000000 + (u64)t.tv_nsec);
		memcpy(data, &value, size);
	} else if (acpi_pm_write(&m->pm, port, value_of(data, size))) {
		machine_end(m, MACHINE_OFF, NULL);
	}
	return true;
}

void devices_port(struct machine *m, bool in, u16 port, u32 size, u8 *data)
{
	bool print = false;

	if (!in && ((port == I8042_COMMAND && data[0] == ACPI_RESET_VALUE) ||
		    (port == RESET_CONTROL && data[0] & RESET_CPU)))
		machine_end(m, MACHINE_RESET, NULL);
	if (wide_port(m, in, port, size, data))
		return;
	pthread_mutex_lock(&m->lock);
	/* The bus splits what is wider than its devices. */
	for (u32 i = 0; i < size; i++) {
		if (in)
			data[i] = port_read(m, (u16)(port + i));
		else
			print = port_write(m, (u16)(port + i), data[i]) || print;
	}
	pthread_mutex_unlock(&m->lock);
	if (print)
		devices_flush(m);
}

u32 devices_keys(struct machine *m, const char *keys, u32 count)
{
	u32 taken = 0;

	pthread_mutex_lock(&m->lock);
	while (taken < count && uart_can_receive(&m->uart))
		uart_receive(&m->uart, (u8)keys[taken++]);
	update_uart(m);
	pthread_mutex_unlock(&m->lock);
	return taken;
}
