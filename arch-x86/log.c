// SPDX-License-Identifier: MIT
/* What Keel says: to the ring, the UART, and in a panic the screen. */
#include "arch-x86/log.h"

#include "arch-x86/insn.h"
#include "arch-x86/log_ring.h"
#include "arch-x86/screen.h"
#include "arch-x86/uart.h"
#include "lib/printf.h"
#include "lib/spinlock.h"

#define LINE_SIZE	 240
#define LIMIT_PER_SECOND 10
#define LOCK_TRIES	 1000000

static struct spinlock lock;
static struct log_config config = {.level = LOG_INFO};
static bool in_panic;

void log_init(const struct log_config *new_config)
{
	config = *new_config;
	if (config.ring)
		log_ring_open(config.ring, config.ring_size);
}

/*
 * A machine check may arrive while this CPU holds the lock, and a panic must come out in any case:
 * after a while the line is written without it.
 */
static bool lock_bounded(void)
{
	for (u32 i = 0; i < LOCK_TRIES; i++) {
		if (spin_trylock(&lock))
			return true;
		if (in_panic)
			break;
		pause();
	}
	return false;
}

static void write_out(const char *text, u64 length)
{
	u16 port = in_panic ? config.panic_port : config.line_port;
	bool locked = lock_bounded();

	if (config.ring)
		log_ring_write(config.ring, text, length);
	if (port)
		uart_write(port, text, length);
	if (in_panic)
		screen_write(text, length);
	if (locked)
		spin_unlock(&lock);
}

void log_line(enum log_level level, const char *text, ...)
{
	char line[LINE_SIZE] = "keel: ";
	va_list ap;
	int length;

	if (level > config.level && !in_panic)
		return;
	va_start(ap, text);
	length = 6 + format_string(line + 6, sizeof(line) - 7, text, ap);
	va_end(ap);
	length = MIN(length, LINE_SIZE - 2);
	line[length++] = '\n';
	write_out(line, length);
}

u64 log_read(u64 *position, char *out, u64 size)
{
	bool locked = lock_bounded();
	u64 length = config.ring ? log_ring_read(config.ring, position, out, size) : 0;

	if (locked)
		spin_unlock(&lock);
	return length;
}

bool log_allowed(struct log_limit *limit)
{
	u64 now = rdtsc();

	if (now - limit->window_start > config.tsc_khz * 1000) {
		limit->window_start = now;
		limit->count = 0;
	}
	if (limit->count < LIMIT_PER_SECOND) {
		limit->count++;
		return true;
	}
	limit->dropped++;
	return false;
}

void log_panic_begin(void)
{
	in_panic = true;
	if (config.ring)
		((struct log_ring *)config.ring)->panicked =
			((struct log_ring *)config.ring)->written + 1;
}
