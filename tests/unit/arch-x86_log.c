/* SPDX-License-Identifier: MIT */
/* arch-x86/log*.c, uart.c: the ring over a reset, levels, the UART that does not drain, limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "arch-x86/log.h"
#include "arch-x86/log_ring.h"
#include "arch-x86/uart.h"
#include "tests/unit/fake/fake.h"

#define TEXT_SIZE 64
#define RING_SIZE (sizeof(struct log_ring) + TEXT_SIZE)
#define PORT	  0x3f8

static u64 memory[1024];
static struct log_ring *const ring = (struct log_ring *)memory;

static char sent[4096];
static u32 sent_count, polls;
static bool stuck;

static u32 port_in(u16 port, u32 size)
{
	assert_int_equal(size, 1);
	if (port != PORT + 5)
		return 0xff;
	polls++;
	return stuck ? 0 : 0x60;
}

static void port_out(u16 port, u32 size, u32 value)
{
	assert_int_equal(size, 1);
	if (port == PORT && sent_count < sizeof(sent) - 1)
		sent[sent_count++] = value;
}

static int setup(void **state)
{
	fake_hw_reset();
	fake_cpu_reset(1);
	memset(memory, 0xa5, sizeof(memory));
	memset(sent, 0, sizeof(sent));
	sent_count = polls = 0;
	stuck = false;
	fake_port_in = port_in;
	fake_port_out = port_out;
	return 0;
}

static void test_ring_is_kept_over_a_reset(void **state)
{
	char text[TEXT_SIZE] = "";
	u64 position = 0;

	assert_false(log_ring_open(ring, RING_SIZE));
	log_ring_write(ring, "first", 5);
	ring->panicked = 1;
	assert_true(log_ring_open(ring, RING_SIZE));
	assert_int_equal(ring->panicked, 1);
	log_ring_write(ring, "second", 6);
	assert_int_equal(log_ring_read(ring, &position, text, sizeof(text)), 11);
	assert_string_equal(text, "firstsecond");
	assert_int_equal(position, 11);
	/* Another size is another layout. */
	assert_false(log_ring_open(ring, RING_SIZE + 8));
	assert_int_equal(ring->written, 0);
	assert_int_equal(ring->panicked, 0);
}

static void test_ring_wraps_and_skips_what_is_gone(void **state)
{
	char text[2 * TEXT_SIZE] = "";
	u64 position = 3;

	log_ring_open(ring, RING_SIZE);
	for (int i = 0; i < 100; i++)
		log_ring_write(ring, &"0123456789"[i % 10], 1);
	assert_int_equal(log_ring_read(ring, &position, text, sizeof(text)), TEXT_SIZE);
	assert_int_equal(position, 100);
	for (int i = 0; i < TEXT_SIZE; i++)
		assert_int_equal(text[i], '0' + (100 - TEXT_SIZE + i) % 10);
	assert_int_equal(log_ring_read(ring, &position, text, sizeof(text)), 0);
	position = ~0ull;
	assert_int_equal(log_ring_read(ring, &position, text, sizeof(text)), 0);
	position = 90;
	assert_int_equal(log_ring_read(ring, &position, text, 4), 4);
	assert_int_equal(position, 94);
	assert_memory_equal(text, "0123", 4);
}

static void open_log(enum log_level level, u16 port)
{
	struct log_config config = {
		.ring = ring,
		.ring_size = sizeof(memory),
		.tsc_khz = 1000,
		.level = level,
		.line_port = port,
	};

	log_init(&config);
}

static void test_lines_go_to_ring_and_uart(void **state)
{
	char text[128] = "";
	u64 position = 0;

	open_log(LOG_INFO, PORT);
	log_info("one %d", 1);
	log_debug("not this");
	log_error("two");
	log_read(&position, text, sizeof(text) - 1);
	assert_string_equal(text, "keel: one 1\nkeel: two\n");
	assert_string_equal(sent, "keel: one 1\r\nkeel: two\r\n");
}

static void test_no_port_no_output(void **state)
{
	open_log(LOG_INFO, 0);
	log_error("quiet");
	assert_int_equal(sent_count, 0);
	assert_int_equal(polls, 0);
}

static void test_long_line_is_cut_and_ended(void **state)
{
	char text[1024] = "", long_text[600];
	u64 position = 0, length;

	memset(long_text, 'x', sizeof(long_text));
	long_text[sizeof(long_text) - 1] = 0;
	open_log(LOG_INFO, 0);
	log_info("%s", long_text);
	length = log_read(&position, text, sizeof(text) - 1);
	assert_in_range(length, 200, 256);
	assert_int_equal(text[length - 1], '\n');
	assert_int_equal(text[length - 2], 'x');
}

static void test_stuck_uart_is_given_up(void **state)
{
	open_log(LOG_INFO, PORT);
	stuck = true;
	log_info("a line of several characters");
	assert_int_equal(sent_count, 0);
	assert_in_range(polls, 1, 50000); /* for the line, not for each character */
}

static void test_uart_present_by_its_scratch_register(void **state)
{
	assert_false(uart_present(0));
	assert_false(uart_present(PORT)); /* port_in answers 0xff */
}

static void test_limit(void **state)
{
	struct log_limit limit = {0};
	u32 allowed = 0;

	open_log(LOG_INFO, 0); /* 1000 kHz: a second is 1,000,000 ticks */
	fake_tsc = 5000000;
	fake_tsc_step = 1;
	for (int i = 0; i < 100; i++)
		allowed += log_allowed(&limit);
	assert_int_equal(allowed, 10);
	assert_int_equal(limit.dropped, 90);
	fake_tsc += 1000001;
	assert_true(log_allowed(&limit));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_ring_is_kept_over_a_reset, setup),
		cmocka_unit_test_setup(test_ring_wraps_and_skips_what_is_gone, setup),
		cmocka_unit_test_setup(test_lines_go_to_ring_and_uart, setup),
		cmocka_unit_test_setup(test_no_port_no_output, setup),
		cmocka_unit_test_setup(test_long_line_is_cut_and_ended, setup),
		cmocka_unit_test_setup(test_stuck_uart_is_given_up, setup),
		cmocka_unit_test_setup(test_uart_present_by_its_scratch_register, setup),
		cmocka_unit_test_setup(test_limit, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
