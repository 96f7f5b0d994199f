/* SPDX-License-Identifier: MIT */
/* Root's descriptor tables: a GDT and a TSS per CPU, one IDT for all. */
#pragma once

#include "arch-x86/cpu.h"

enum root_selector { ROOT_CS = 0x08, ROOT_DS = 0x10, ROOT_TSS = 0x18 };

/* Stacks of the CPU's block (cpu.h), which the interrupt stack table points to. */
enum ist { IST_DF = 1, IST_NMI = 2, IST_MC = 3 };

struct packed tss { /* APM vol. 2, "64-Bit Task State Segment" */
	u32 reserved0;
	u64 rsp[3];
	u64 ist[8]; /* ist[0] is a reserved word */
	u8 reserved1[10];
	u16 io_map;
};
ASSERT_OFFSET(struct tss, rsp, 4);
ASSERT_OFFSET(struct tss, ist[1], 0x24);
ASSERT_OFFSET(struct tss, io_map, 0x66);

struct cpu_tables { /* at CPU_TABLES_OFFSET of the CPU's block */
	u64 gdt[6];
	struct tss tss;
};
#define CPU_TABLES_OFFSET 0x1000

/* Fills this CPU's tables and loads GDTR, IDTR, TR and all segment registers. */
void desc_load(struct cpu *cpu);
