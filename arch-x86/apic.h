/* SPDX-License-Identifier: MIT */
/*
 * This CPU's own local APIC, which the management guest owns: root only reads it, passes writes on,
 * and sends IPIs without disturbing what the guest has half written (ICR_HI, design D3). Each
 * function follows the mode (xAPIC or x2APIC) that the CPU is in at the call.
 */
#pragma once

#include "lib/types.h"

#ifdef UNIT_TEST
extern u64 fake_apic_page;
#define APIC_VA fake_apic_page
#else
#define APIC_VA 0xffffffff70000000ull /* boot/ maps the xAPIC page here, uncached */
#endif

/* Register by its xAPIC offset. In x2APIC mode there is no ICR_HI (0x310) and no DFR (0xe0). */
u32 apic_read(u32 offset);
void apic_write(u32 offset, u32 value);

/* To one CPU, physical destination. Waits (bounded) until an earlier IPI has left. */
void apic_send_nmi(u32 apic_id);
void apic_send_ipi(u32 apic_id, u8 vector);

bool apic_x2apic(void);
/* From CPUID: valid in every mode. */
u32 apic_id_here(void);
