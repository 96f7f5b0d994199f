/* SPDX-License-Identifier: MIT */
/*
 * What Keel says: lines go to a memory ring (which the management guest and the next boot can
 * read) and, while Keel owns it, to the UART. Safe in root mode on every CPU; never blocks on a
 * UART that does not drain (design D12). Locks: one leaf spinlock.
 */
#pragma once

#include "lib/types.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_line(enum log_level level, const char *format, ...) printf_like(2);

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

/*
 * ring: size bytes of memory that a reset does not clear (log_ring.h). Lines above `level` are
 * dropped; line_port is the UART for lines, panic_port for a panic; 0: none.
 */
struct log_config {
	void *ring;
	u64 ring_size;
	u64 tsc_khz;
	enum log_level level;
	u16 line_port, panic_port;
};
void log_init(const struct log_config *config);
/*
 * Copies up to size bytes of the ring from *position (bytes since the first boot) on, and advances
 * it; bytes that are gone are skipped. Returns how many.
 */
u64 log_read(u64 *position, char *out, u64 size);
/* Where a panic is printed when no UART is configured and one answers here. */
#define LOG_PANIC_PORT 0x3f8
/* From here on lines go to the panic UART and the screen too, and no lock is waited for. */
void log_panic_begin(void);

/* True at most `per_second` times a second and call site: guards lines that a guest can cause. */
struct log_limit {
	u64 window_start;
	u32 count;
	u32 dropped;
};
bool log_allowed(struct log_limit *limit);
#define log_limited(level, ...)                                                                    \
	do {                                                                                       \
		static struct log_limit limit_;                                                    \
		if (log_allowed(&limit_))                                                          \
			log_line(level, __VA_ARGS__);                                              \
	} while (0)

/* Keel's own bug: dump everything, stop every CPU. Never reachable from outside input. */
__attribute__((noreturn)) void panic(const char *format, ...) printf_like(1);

/* Stays on in release builds; for our own bugs only, never for outside input (design D10). */
#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (__builtin_expect(!(condition), 0))                                             \
			panic("%s:%d: CHECK(%s) failed", __FILE__, __LINE__, #condition);          \
	} while (0)

/* Returns a negative errno after a debug line that names the place (Jailhouse's trace_error). */
#define trace_error(code)                                                                          \
	({                                                                                         \
		log_debug("%s:%d: error %d", __FILE__, __LINE__, (code));                          \
		(code);                                                                            \
	})
