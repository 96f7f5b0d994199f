/* SPDX-License-Identifier: MIT */
/* boot/efi/acpi.c: ports and sleep types from hand-made tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "boot/efi/acpi.h"

enum { RSDP = 0x100, ROOT = 0x200, OTHER = 0x300, FADT = 0x400, DSDT = 0x600, SIZE = 0x1000 };

static u8 memory[SIZE];
static struct acpi_facts facts;

static void put(u32 at, u64 value, u32 bytes)
{
	memcpy(memory + at, &value, bytes);
}

static void put_table(u32 at, const char *signature, u32 length)
{
	memcpy(memory + at, signature, 4);
	put(at + 4, length, 4);
}

static void put_name(u32 at, const u8 *aml, u32 length)
{
	memcpy(memory + at, aml, length);
}

static int setup(void **state)
{
	memset(memory, 0, sizeof(memory));
	memcpy(memory + RSDP, "RSD PTR ", 8);
	memory[RSDP + 15] = 2;
	put(RSDP + 16, 0xdead, 4); /* must not be followed: there is an XSDT */
	put(RSDP + 24, ROOT, 8);
	put_table(ROOT, "XSDT", 36 + 16);
	put(ROOT + 36, OTHER, 8);
	put(ROOT + 44, FADT, 8);
	put_table(OTHER, "APIC", 44);
	put_table(FADT, "FACP", 268);
	put(FADT + 40, 0xdead, 4); /* X_DSDT goes first */
	put(FADT + 56, 0x600, 4);
	put(FADT + 60, 0x700, 4);
	put(FADT + 56, 0x600, 4);
	put(FADT + 60, 0x700, 4);
	put(FADT + 64, 0x604, 4);
	put(FADT + 68, 0x704, 4);
	put(FADT + 76, 0x608, 4);
	put(FADT + 140, DSDT, 8);
	put_table(DSDT, "DSDT", 0x200);
	/* Name (_S3_, Package (4) {1, 1, 0, 0}), Name (\_S4_, Package {5, ...}) */
	put_name(DSDT + 0x80, (u8[]){0x08, '_', 'S', '3', '_', 0x12, 0x06, 0x04, 1, 1, 0, 0}, 12);
	put_name(DSDT + 0xa0,
		 (u8[]){0x08, '\\', '_', 'S', '4', '_', 0x12, 0x47, 0x00, 4, 0x0a, 5, 0x0a, 5}, 14);
	return 0;
}

static void read_tables(void)
{
	memset(&facts, 0xa5, sizeof(facts));
	acpi_read(&facts, RSDP, (u64)memory);
}

static void test_ports_and_sleep_types(void **state)
{
	read_tables();
	assert_int_equal(facts.pm1a_control, 0x604);
	assert_int_equal(facts.pm1b_control, 0x704);
	assert_int_equal(facts.pm1a_event, 0x600);
	assert_int_equal(facts.pm1b_event, 0x700);
	assert_int_equal(facts.pm1a_event, 0x600);
	assert_int_equal(facts.pm1b_event, 0x700);
	assert_int_equal(facts.pm_timer, 0x608);
	assert_int_equal(facts.s3_type, 1);
	assert_int_equal(facts.s4_type, 5);
}

static void test_no_tables(void **state)
{
	memset(&facts, 0xa5, sizeof(facts));
	acpi_read(&facts, 0, 0);
	assert_int_equal(facts.pm1a_control, 0);
	assert_int_equal(facts.s3_type, ACPI_NO_SLEEP);
	put_table(FADT, "NONE", 268);
	read_tables();
	assert_int_equal(facts.pm1a_control, 0);
	assert_int_equal(facts.s4_type, ACPI_NO_SLEEP);
}

static void test_acpi_1_uses_the_rsdt(void **state)
{
	memory[RSDP + 15] = 0;
	put(RSDP + 16, ROOT, 4);
	put_table(ROOT, "RSDT", 36 + 8);
	put(ROOT + 36, OTHER, 4);
	put(ROOT + 40, FADT, 4);
	put_table(FADT, "FACP", 116);
	put(FADT + 40, DSDT, 4);
	read_tables();
	assert_int_equal(facts.pm1a_control, 0x604);
	assert_int_equal(facts.s3_type, 1);
}

static void test_lengths_that_lie(void **state)
{
	put(ROOT + 4, 0xffffffff, 4);
	read_tables();
	assert_int_equal(facts.pm1a_control, 0);
	put(ROOT + 4, 36 + 16, 4);
	put(DSDT + 4, 0x88, 4); /* ends inside the name */
	read_tables();
	assert_int_equal(facts.s3_type, ACPI_NO_SLEEP);
	put(DSDT + 4, 3, 4);
	read_tables();
	assert_int_equal(facts.s3_type, ACPI_NO_SLEEP);
}

static void test_only_a_name_with_a_package_counts(void **state)
{
	memory[DSDT + 0x80] = 0x10;	/* Scope, not Name */
	memory[DSDT + 0xa0 + 6] = 0x11; /* a buffer */
	read_tables();
	assert_int_equal(facts.s3_type, ACPI_NO_SLEEP);
	assert_int_equal(facts.s4_type, ACPI_NO_SLEEP);
	setup(NULL);
	memory[DSDT + 0x88] = 0x0c; /* a dword: not what firmware writes */
	read_tables();
	assert_int_equal(facts.s3_type, ACPI_NO_SLEEP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_ports_and_sleep_types, setup),
		cmocka_unit_test_setup(test_no_tables, setup),
		cmocka_unit_test_setup(test_acpi_1_uses_the_rsdt, setup),
		cmocka_unit_test_setup(test_lengths_that_lie, setup),
		cmocka_unit_test_setup(test_only_a_name_with_a_package_counts, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
