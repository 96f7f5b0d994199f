/* SPDX-License-Identifier: MIT */
/*
 * Finds the sleep ports and types: ACPI 6.4, "Fixed ACPI Description Table" and "\_Sx (System
 * States)".
 */
#include "boot/efi/acpi.h"

#include "lib/string.h"

enum rsdp_offset { RSDP_REVISION = 15, RSDP_RSDT = 16, RSDP_XSDT = 24 };
enum table_offset { TABLE_LENGTH = 4, TABLE_BODY = 36 };
enum fadt_offset {
	FADT_DSDT = 40,
	FADT_PM1A_EVENT = 56,
	FADT_PM1B_EVENT = 60,
	FADT_PM1A_CONTROL = 64,
	FADT_PM1B_CONTROL = 68,
	FADT_PM_TIMER = 76,
	FADT_X_DSDT = 140
};
enum aml { AML_ZERO = 0x00, AML_ONE = 0x01, AML_NAME = 0x08, AML_BYTE = 0x0a, AML_PACKAGE = 0x12 };

#define TABLE_MAX  (16u << 20) /* longer ones are nonsense */
#define TABLES_MAX 256

static u64 load(const u8 *at, u32 bytes)
{
	u64 value = 0;

	memcpy(&value, at, bytes);
	return value;
}

static u32 length_of(const u8 *table)
{
	u32 length = load(table + TABLE_LENGTH, 4);

	return length >= TABLE_BODY && length <= TABLE_MAX ? length : 0;
}

static const u8 *find_fadt(u64 rsdp, u64 offset)
{
	const u8 *root = (const u8 *)(rsdp + offset), *list;
	bool wide = root[RSDP_REVISION] >= 2 && load(root + RSDP_XSDT, 8);
	u32 size = wide ? 8 : 4, count;

	list = (const u8 *)(load(root + (wide ? RSDP_XSDT : RSDP_RSDT), size) + offset);
	count = length_of(list) ? (length_of(list) - TABLE_BODY) / size : 0;
	for (u32 i = 0; i < MIN(count, (u32)TABLES_MAX); i++) {
		const u8 *table = (const u8 *)(load(list + TABLE_BODY + i * size, size) + offset);

		if (!memcmp(table, "FACP", 4))
			return table;
	}
	return NULL;
}

/* Name (_Sx_, Package {type, ...}): the first element is SLP_TYPa. */
static u8 sleep_type(const u8 *aml, u32 length, char state)
{
	const char name[4] = {'_', 'S', state, '_'};

	for (u32 i = 1; i + 12 < length; i++) {
		const u8 *p = aml + i;

		if (memcmp(p, name, 4) || p[4] != AML_PACKAGE)
			continue;
		if (p[-1] != AML_NAME && !(i >= 2 && p[-1] == '\\' && p[-2] == AML_NAME))
			continue;
		p += 5;
		p += 1 + (*p >> 6); /* PkgLength: the top bits say how many bytes follow */
		p++;		    /* the number of elements */
		if (*p == AML_BYTE)
			return p[1] & 7;
		return *p == AML_ZERO || *p == AML_ONE ? *p : ACPI_NO_SLEEP;
	}
	return ACPI_NO_SLEEP;
}

void acpi_read(struct acpi_facts *facts, u64 rsdp, u64 offset)
{
	const u8 *fadt = rsdp ? find_fadt(rsdp, offset) : NULL, *dsdt = NULL;
	u64 address;
	u32 length;

	*facts = (struct acpi_facts){.s3_type = ACPI_NO_SLEEP, .s4_type = ACPI_NO_SLEEP};
	if (!fadt)
		return;
	length = length_of(fadt);
	if (length < FADT_PM_TIMER + 4)
		return;
	facts->pm1a_control = load(fadt + FADT_PM1A_CONTROL, 4);
	facts->pm1b_control = load(fadt + FADT_PM1B_CONTROL, 4);
	facts->pm1a_event = load(fadt + FADT_PM1A_EVENT, 4);
	facts->pm1b_event = load(fadt + FADT_PM1B_EVENT, 4);
	facts->pm_timer = load(fadt + FADT_PM_TIMER, 4);
	address = length >= FADT_X_DSDT + 8 ? load(fadt + FADT_X_DSDT, 8) : 0;
	if (!address)
		address = load(fadt + FADT_DSDT, 4);
	if (!address)
		return;
	dsdt = (const u8 *)(address + offset);
	facts->s3_type = sleep_type(dsdt, length_of(dsdt), '3');
	facts->s4_type = sleep_type(dsdt, length_of(dsdt), '4');
}
