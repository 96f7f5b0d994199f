// SPDX-License-Identifier: MIT
/* The ACPI tables: checksums, pointers, CPUs; the power management ports. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include "mgmt/uefi/keelrun/acpi.h"

static u8 tables[ACPI_SIZE] aligned(16);

static u64 get(const u8 *p, u32 bytes)
{
	u64 value = 0;

	memcpy(&value, p, bytes);
	return value;
}

static u8 sum(const u8 *p, u64 bytes)
{
	u8 total = 0;

	while (bytes--)
		total += *p++;
	return total;
}

static const u8 *at(u64 address)
{
	assert_in_range(address, ACPI_BASE, ACPI_BASE + ACPI_SIZE - 36);
	return tables + address - ACPI_BASE;
}

static const u8 *table(u64 address, const char *signature)
{
	const u8 *t = at(address);

	assert_memory_equal(t, signature, 4);
	assert_in_range(get(t + 4, 4), 36, ACPI_BASE + ACPI_SIZE - address);
	assert_int_equal(sum(t, get(t + 4, 4)), 0);
	return t;
}

/* The i-th table that the XSDT names */
static const u8 *listed(u32 i, const char *signature)
{
	const u8 *xsdt;

	assert_memory_equal(tables, "RSD PTR ", 8);
	assert_int_equal(sum(tables, 20), 0);
	assert_int_equal(sum(tables, 36), 0);
	xsdt = table(get(tables + 24, 8), "XSDT");
	assert_true(36 + i * 8 < get(xsdt + 4, 4));
	return table(get(xsdt + 36 + i * 8, 8), signature);
}

static void fixed(void **state)
{
	const u8 *f, *facs, *dsdt;

	acpi_build(tables, 2);
	f = listed(0, "FACP");
	facs = at(get(f + 36, 4));
	assert_memory_equal(facs, "FACS", 4);
	assert_int_equal(get(f + 36, 4) % 64, 0);
	dsdt = table(get(f + 40, 4), "DSDT");
	assert_int_equal(get(f + 140, 8), get(f + 40, 4));
	assert_memory_equal(dsdt + 36, "\x08_S5_\x12\x08\x04\x0a\x05\x0a\x05\x00\x00", 14);
	assert_int_equal(get(f + 48, 4), 0); /* no SMI command port */
	assert_int_equal(get(f + 56, 4), 0x600);
	assert_int_equal(get(f + 64, 4), 0x604);
	assert_int_equal(f[116], 1); /* the reset register is a port */
	assert_int_equal(get(f + 120, 8), 0x64);
	assert_int_equal(f[128], 0xfe);
	assert_true(get(f + 112, 4) & BIT(10));
}

static void processors(void **state)
{
	for (u32 cpus = 1; cpus <= 8; cpus++) {
		u32 found = 0, ioapics = 0;
		const u8 *madt, *end;

		acpi_build(tables, cpus);
		madt = listed(1, "APIC");
		end = madt + get(madt + 4, 4);
		assert_int_equal(get(madt + 36, 4), 0xfee00000);
		for (const u8 *e = madt + 44; e < end; e += e[1]) {
			assert_in_range(e[1], 6, 12);
			if (e[0] == 0) {
				assert_int_equal(e[3], found++);
				assert_int_equal(e[4], 1);
			}
			if (e[0] == 1) {
				assert_int_equal(get(e + 4, 4), 0xfec00000);
				ioapics++;
			}
			if (e[0] == 2)
				assert_int_equal(e[3],
						 get(e + 4, 4)); /* ISA interrupts are the GSIs */
		}
		assert_int_equal(found, cpus);
		assert_int_equal(ioapics, 1);
	}
}

static void ports(void **state)
{
	struct acpi_pm pm = {0};

	assert_int_equal(acpi_pm_read(&pm, 0x604, 0) & 1, 1);
	assert_false(acpi_pm_write(&pm, 0x602, 0x120));
	assert_int_equal(acpi_pm_read(&pm, 0x602, 0), 0x120);
	assert_int_equal(acpi_pm_read(&pm, 0x600, 0), 0x1200000);
	assert_false(acpi_pm_write(&pm, 0x604, 5 << 10));	    /* without SLP_EN */
	assert_false(acpi_pm_write(&pm, 0x604, 3 << 10 | 1 << 13)); /* S3 is not offered */
	assert_true(acpi_pm_write(&pm, 0x604, 5 << 10 | 1 << 13 | 1));
	assert_int_equal(acpi_pm_read(&pm, 0x60a, 0), 0);
}

static void timer(void **state)
{
	struct acpi_pm pm = {0};

	assert_int_equal(acpi_pm_read(&pm, 0x608, 1000000000), 3579545);
	assert_int_equal(acpi_pm_read(&pm, 0x608, 1000000), 3579);
	/* Ten years on: no overflow on the way to 32 bits */
	assert_int_equal(acpi_pm_read(&pm, 0x608, 315360000000000000),
			 (u32)(315360000ull * 3579545));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fixed),
		cmocka_unit_test(processors),
		cmocka_unit_test(ports),
		cmocka_unit_test(timer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
