// SPDX-License-Identifier: MIT
/* The firmware's clock and its way to power off. */
#include "mgmt/uefi/libkeel/libkeel.h"

/* Days from 1970-01-01; the year begins in March, so that the leap day is its last. */
static u64 days(u32 year, u32 month, u32 day)
{
	u32 y = year - (month < 3), m = (month + 9) % 12;

	return (u64)y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - 719468;
}

static void read_clock(void *arg)
{
	EFI_TIME t;
	u64 *seconds = arg;

	if (efi_system->RuntimeServices->GetTime(&t, NULL) || t.Year < 1970)
		return;
	*seconds =
		days(t.Year, t.Month, t.Day) * 86400 + t.Hour * 3600u + t.Minute * 60u + t.Second;
	/* A zone that the firmware does not know (2047) is taken as UTC. */
	if (t.TimeZone != EFI_UNSPECIFIED_TIMEZONE)
		*seconds += (u64)((s64)t.TimeZone * 60);
}

u64 firmware_time(void)
{
	u64 seconds = 0;

	on_bsp(read_clock, &seconds);
	return seconds;
}

static void power_off(void *arg)
{
	efi_system->RuntimeServices->ResetSystem(EfiResetShutdown, EFI_SUCCESS, 0, NULL);
}

void keel_power_off(void)
{
	on_bsp(power_off, NULL);
}

void keel_out32(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port));
}
