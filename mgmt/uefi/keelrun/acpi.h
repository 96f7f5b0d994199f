/* SPDX-License-Identifier: MIT */
/* The guest's ACPI tables (ACPI 6.4) and the ports that they name. */
#pragma once

#include "lib/types.h"

#define ACPI_BASE 0xe0000u /* guest physical */
#define ACPI_SIZE 0x2000u

enum { ACPI_PM_EVENT = 0x600, ACPI_PM_CONTROL = 0x604, ACPI_PM_TIMER = 0x608, ACPI_PM_END = 0x60c };
enum { ACPI_RESET_PORT = 0x64, ACPI_RESET_VALUE = 0xfe };

/* Fills ACPI_SIZE bytes at `tables`, which the guest sees at ACPI_BASE, where the RSDP is first. */
void acpi_build(u8 *tables, u32 cpus);

struct acpi_pm {
	u16 enable;
};

/* The timer counts 3.579545 MHz in 32 bits. */
u32 acpi_pm_read(const struct acpi_pm *pm, u16 port, u64 nanoseconds);
/* True: the guest asked for S5, soft off. */
bool acpi_pm_write(struct acpi_pm *pm, u16 port, u32 value);
