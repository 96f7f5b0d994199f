/* SPDX-License-Identifier: MIT */
/* The processor as the firmware left it, captured on each CPU at launch; the guest goes on there.
 */
#pragma once

#include "lib/types.h"

struct boot_cpu_state {
	u64 gpr[16];
	u64 rip, rflags, cr0, cr2, cr3, cr4, efer;
	u64 gdt_base, idt_base;
	u16 gdt_limit, idt_limit;
	u16 es, cs, ss, ds, fs, gs, ldtr, tr;
	u64 fs_base, gs_base, kernel_gs_base;
	u64 star, lstar, cstar, sfmask, sysenter_cs, sysenter_esp, sysenter_eip;
	u64 pat, debugctl, dr6, dr7, apic_base;
};
