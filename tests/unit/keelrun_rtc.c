// SPDX-License-Identifier: MIT
/* The clock: dates compared with the host's gmtime(), BCD and binary, 12 and 24 hours, its memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <time.h>
#include "mgmt/uefi/keelrun/rtc.h"

static struct rtc r;

static u8 get(u8 index, u64 now)
{
	rtc_write(&r, 0, index);
	return rtc_read(&r, 1, now);
}

static void set(u8 index, u8 value)
{
	rtc_write(&r, 0, index);
	rtc_write(&r, 1, value);
}

static int setup(void **state)
{
	rtc_init(&r);
	return 0;
}

static void dates_as_the_hosts(void **state)
{
	set(11, 6); /* binary, 24 hours */
	for (u64 now = 0; now < 10000000000ull; now += 86400 * 13 + 3723) {
		time_t t = (time_t)now;
		struct tm tm;

		gmtime_r(&t, &tm);
		assert_int_equal(get(0, now), tm.tm_sec);
		assert_int_equal(get(2, now), tm.tm_min);
		assert_int_equal(get(4, now), tm.tm_hour);
		assert_int_equal(get(6, now), tm.tm_wday + 1);
		assert_int_equal(get(7, now), tm.tm_mday);
		assert_int_equal(get(8, now), tm.tm_mon + 1);
		assert_int_equal(get(9, now), tm.tm_year % 100);
		assert_int_equal(get(0x32, now), 19 + tm.tm_year / 100);
	}
}

static void leap_day(void **state)
{
	assert_int_equal(get(7, 1709164800), 0x29); /* 2024-02-29 */
	assert_int_equal(get(8, 1709164800), 0x02);
	assert_int_equal(get(9, 1709164800), 0x24);
	assert_int_equal(get(0x32, 1709164800), 0x20);
}

static void twelve_hours(void **state)
{
	set(11, 0); /* BCD, 12 hours */
	assert_int_equal(get(4, 0), 0x12);
	assert_int_equal(get(4, 11 * 3600), 0x11);
	assert_int_equal(get(4, 12 * 3600), 0x92);
	assert_int_equal(get(4, 23 * 3600), 0x91);
}

static void status_registers(void **state)
{
	assert_int_equal(get(10, 0), 0x26);
	set(10, 0xff);
	assert_int_equal(get(10, 0), 0x7f); /* never updating */
	assert_int_equal(get(11, 0), 2);
	assert_int_equal(get(12, 0), 0);
	assert_int_equal(get(13, 0), 0x80);
	assert_int_equal(rtc_read(&r, 0, 0), 0xff);
}

static void memory(void **state)
{
	set(0x40, 0xaa);
	set(0xc1, 0xbb); /* bit 7 is the NMI mask */
	assert_int_equal(get(0x40, 0), 0xaa);
	assert_int_equal(get(0x41, 0), 0xbb);
	set(0, 0x11);
	assert_int_equal(get(0, 42), 0x42); /* it cannot be set */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(dates_as_the_hosts, setup),
		cmocka_unit_test_setup(leap_day, setup),
		cmocka_unit_test_setup(twelve_hours, setup),
		cmocka_unit_test_setup(status_registers, setup),
		cmocka_unit_test_setup(memory, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
