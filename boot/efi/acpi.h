/* SPDX-License-Identifier: MIT */
/* The few facts of the ACPI tables that Keel needs. Pure: reads memory, no UEFI. */
#pragma once

#include "lib/types.h"

#define ACPI_NO_SLEEP 0xff

struct acpi_facts {
	u16 pm1a_control, pm1b_control; /* ports; 0: none */
	u16 pm1a_event, pm1b_event;	/* status and enable registers */
	u16 pm_timer;	     /* port of the 3.579545 MHz counter, 24 bits or more; 0: none */
	u8 s3_type, s4_type; /* SLP_TYP; ACPI_NO_SLEEP: the state does not exist */
};

/* offset: where physical address 0 stands for the reader (0 under UEFI). */
void acpi_read(struct acpi_facts *facts, u64 rsdp, u64 offset);
