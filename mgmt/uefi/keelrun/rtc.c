// SPDX-License-Identifier: MIT
/* The clock at ports 0x70 and 0x71. Section titles are those of the MC146818A data sheet. */
#include "mgmt/uefi/keelrun/rtc.h"

enum { SECONDS = 0, MINUTES = 2, HOURS = 4, WEEKDAY = 6, DAY = 7, MONTH = 8, YEAR = 9 };
enum { REG_A = 10, REG_B = 11, REG_C = 12, REG_D = 13, CENTURY = 0x32 };
enum {
	A_DIVIDER = 0x26 /* 32768 Hz, 1024 Hz */,
	B_24H = BIT(1),
	B_BINARY = BIT(2),
	D_VALID = BIT(7)
};

void rtc_init(struct rtc *r)
{
	*r = (struct rtc){.memory = {[REG_A] = A_DIVIDER, [REG_B] = B_24H}};
}

/* The date of a day since 1970; years begin in March here, so that the leap day is the last one. */
static void date(u64 days, u32 *year, u32 *month, u32 *day)
{
	u64 z = days + 719468, era = z / 146097, of_era = z % 146097;
	u64 y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	u64 of_year = of_era - (365 * y + y / 4 - y / 100), m = (5 * of_year + 2) / 153;

	*day = (u32)(of_year - (153 * m + 2) / 5 + 1);
	*month = (u32)(m < 10 ? m + 3 : m - 9);
	*year = (u32)(era * 400 + y + (*month <= 2));
}

static u32 hour12(u32 hour)
{
	return hour % 12 ? hour % 12 : 12;
}

/* "Time, Calendar, and Alarm Locations": decimal digits unless B says binary; bit 7 of a 12-hour
 * clock is PM. */
static u8 encode(const struct rtc *r, u32 value)
{
	return (u8)(r->memory[REG_B] & B_BINARY ? value : value / 10 << 4 | value % 10);
}

u8 rtc_read(struct rtc *r, u32 offset, u64 now)
{
	u32 year, month, day, hour = now / 3600 % 24;

	if (offset == 0)
		return 0xff; /* the index cannot be read */
	date(now / 86400, &year, &month, &day);
	switch (r->index) {
	case SECONDS:
		return encode(r, now % 60);
	case MINUTES:
		return encode(r, now / 60 % 60);
	case HOURS:
		if (r->memory[REG_B] & B_24H)
			return encode(r, hour);
		return encode(r, hour12(hour)) | (hour >= 12 ? 0x80 : 0);
	case WEEKDAY:
		return encode(r, (now / 86400 + 4) % 7 +
					 1); /* 1970 began on a Thursday; 1 is Sunday */
	case DAY:
		return encode(r, day);
	case MONTH:
		return encode(r, month);
	case YEAR:
		return encode(r, year % 100);
	case CENTURY:
		return encode(r, year / 100);
	case REG_C:
		return 0;
	case REG_D:
		return D_VALID;
	default:
		return r->memory[r->index];
	}
}

void rtc_write(struct rtc *r, u32 offset, u8 value)
{
	if (offset == 0)
		r->index = value & 0x7f; /* bit 7 masks NMIs */
	else if (r->index == REG_A)
		r->memory[REG_A] = value & 0x7f; /* no update is ever in progress */
	else
		r->memory[r->index] = value;
}
