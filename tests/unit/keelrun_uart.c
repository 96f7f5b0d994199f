// SPDX-License-Identifier: MIT
/* The 16550: data both ways, interrupts by priority, FIFO identification, loop, overrun. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "mgmt/uefi/keelrun/uart.h"

static struct uart u;
static u8 out;

static int setup(void **state)
{
	uart_init(&u);
	out = 0;
	return 0;
}

static void transmits_what_is_written(void **state)
{
	assert_true(uart_write(&u, 0, 'x', &out));
	assert_int_equal(out, 'x');
	assert_int_equal(uart_read(&u, 5), 0x60);
	assert_false(uart_irq(&u));
}

static void divisor_latch_hides_data_and_enable(void **state)
{
	uart_write(&u, 3, 0x83, &out);
	assert_false(uart_write(&u, 0, 0x0c, &out));
	assert_false(uart_write(&u, 1, 0x01, &out));
	assert_int_equal(uart_read(&u, 0), 0x0c);
	assert_int_equal(uart_read(&u, 1), 0x01);
	uart_write(&u, 3, 0x03, &out);
	assert_int_equal(uart_read(&u, 1), 0);
	assert_int_equal(uart_read(&u, 3), 0x03);
}

static void transmitter_interrupt(void **state)
{
	uart_write(&u, 1, 2, &out);
	assert_true(uart_irq(&u)); /* it is empty when the interrupt is enabled */
	assert_int_equal(uart_read(&u, 2), 2);
	assert_false(uart_irq(&u)); /* reading IIR has cleared it */
	assert_int_equal(uart_read(&u, 2), 1);
	uart_write(&u, 0, 'a', &out);
	assert_true(uart_irq(&u));
	uart_write(&u, 1, 0, &out);
	assert_false(uart_irq(&u));
	uart_write(&u, 1, 2, &out);
	assert_true(uart_irq(&u));
}

static void receiver_interrupt_lasts_until_all_is_read(void **state)
{
	uart_write(&u, 1, 3, &out);
	uart_read(&u, 2);
	uart_receive(&u, 'p');
	uart_receive(&u, 'q');
	assert_true(uart_irq(&u));
	assert_int_equal(uart_read(&u, 2), 4);
	assert_int_equal(uart_read(&u, 5), 0x61);
	assert_int_equal(uart_read(&u, 0), 'p');
	assert_true(uart_irq(&u));
	assert_int_equal(uart_read(&u, 0), 'q');
	assert_false(uart_irq(&u));
	assert_int_equal(uart_read(&u, 0), 0);
}

static void receive_comes_before_transmit(void **state)
{
	uart_receive(&u, 'p');
	uart_write(&u, 1, 3, &out);
	assert_int_equal(uart_read(&u, 2), 4);
	uart_read(&u, 0);
	assert_int_equal(uart_read(&u, 2), 2);
}

static void overrun_is_a_line_status(void **state)
{
	uart_write(&u, 1, 5, &out);
	for (int i = 0; i < UART_QUEUE; i++) {
		assert_true(uart_can_receive(&u));
		uart_receive(&u, (u8)i);
	}
	assert_false(uart_can_receive(&u));
	uart_receive(&u, 'x');
	assert_int_equal(uart_read(&u, 2), 6);
	assert_int_equal(uart_read(&u, 5), 0x63);
	assert_int_equal(uart_read(&u, 5), 0x61); /* reading has cleared it */
	assert_int_equal(uart_read(&u, 0), 0);
}

static void fifo_control(void **state)
{
	assert_int_equal(uart_read(&u, 2), 1);
	uart_receive(&u, 'x');
	uart_write(&u, 2, 1, &out);
	assert_int_equal(uart_read(&u, 2), 0xc1);
	assert_int_equal(uart_read(&u, 5) & 1, 0); /* switching them on has emptied them */
	uart_receive(&u, 'y');
	uart_write(&u, 2, 1, &out);
	assert_int_equal(uart_read(&u, 5) & 1, 1);
	uart_write(&u, 2, 3, &out);
	assert_int_equal(uart_read(&u, 5) & 1, 0);
}

static void loop(void **state)
{
	assert_int_equal(uart_read(&u, 6), 0xb0);
	uart_write(&u, 4, 0x1a, &out);
	assert_int_equal(uart_read(&u, 6), 0x90); /* what Linux's autoconfiguration looks for */
	uart_write(&u, 4, 0x15, &out);
	assert_int_equal(uart_read(&u, 6), 0x60);
	assert_false(uart_write(&u, 0, 'l', &out));
	assert_int_equal(uart_read(&u, 0), 'l');
}

static void unused_bits(void **state)
{
	uart_write(&u, 1, 0xff, &out);
	assert_int_equal(uart_read(&u, 1), 0x0f);
	uart_write(&u, 4, 0xff, &out);
	assert_int_equal(uart_read(&u, 4), 0x1f);
	uart_write(&u, 7, 0x5a, &out);
	assert_int_equal(uart_read(&u, 7), 0x5a);
	assert_false(uart_write(&u, 5, 0, &out));
	assert_int_equal(uart_read(&u, 5) & 0x60, 0x60);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(transmits_what_is_written, setup),
		cmocka_unit_test_setup(divisor_latch_hides_data_and_enable, setup),
		cmocka_unit_test_setup(transmitter_interrupt, setup),
		cmocka_unit_test_setup(receiver_interrupt_lasts_until_all_is_read, setup),
		cmocka_unit_test_setup(receive_comes_before_transmit, setup),
		cmocka_unit_test_setup(overrun_is_a_line_status, setup),
		cmocka_unit_test_setup(fifo_control, setup),
		cmocka_unit_test_setup(loop, setup),
		cmocka_unit_test_setup(unused_bits, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
