// SPDX-License-Identifier: MIT
/* Root's GDT, IDT and TSS. */
#include "arch-x86/desc.h"

#include "arch-x86/exception.h"
#include "arch-x86/insn.h"
#include "arch-x86/regs.h"

#define VECTORS 32 /* root takes no device interrupts */

#define GDT_CODE 0x00af9b000000ffffull /* 64-bit, DPL 0, accessed */
#define GDT_DATA 0x00cf93000000ffffull

struct gate { /* APM vol. 2, "Interrupt-Gate and Trap-Gate Descriptors", long mode */
	u16 offset_low, selector;
	u8 ist, type;
	u16 offset_middle;
	u32 offset_high, reserved;
};
#define GATE_INTERRUPT 0x8e /* present, DPL 0 */

static struct gate idt[VECTORS];

static u8 vector_ist(u32 vector)
{
	switch (vector) {
	case VECTOR_DF:
		return IST_DF;
	case VECTOR_NMI:
		return IST_NMI;
	case VECTOR_MC:
		return IST_MC;
	default:
		return 0;
	}
}

/* Every CPU writes the same values. */
static void fill_idt(void)
{
	for (u32 i = 0; i < VECTORS; i++) {
		u64 entry = (u64)exception_entries + i * EXCEPTION_ENTRY_SIZE;

		idt[i] = (struct gate){
			.offset_low = entry,
			.offset_middle = entry >> 16,
			.offset_high = entry >> 32,
			.selector = ROOT_CS,
			.ist = vector_ist(i),
			.type = GATE_INTERRUPT,
		};
	}
}

static void fill_gdt(struct cpu_tables *tables)
{
	u64 base = (u64)&tables->tss, limit = sizeof(struct tss) - 1;

	tables->gdt[ROOT_CS / 8] = GDT_CODE;
	tables->gdt[ROOT_DS / 8] = GDT_DATA;
	/* Available 64-bit TSS, present. */
	tables->gdt[ROOT_TSS / 8] =
		limit | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
	tables->gdt[ROOT_TSS / 8 + 1] = base >> 32;
}

void desc_load(struct cpu *cpu)
{
	u64 block = (u64)cpu;
	struct cpu_tables *tables = (void *)(block + CPU_TABLES_OFFSET);
	struct descriptor_pointer gdtr = {sizeof(tables->gdt) - 1, (u64)tables->gdt};
	struct descriptor_pointer idtr = {sizeof(idt) - 1, (u64)idt};

	fill_idt();
	fill_gdt(tables);
	tables->tss.ist[IST_DF] = block + 0xa000;
	tables->tss.ist[IST_NMI] = block + 0xd000;
	tables->tss.ist[IST_MC] = block + 0x10000;
	tables->tss.io_map = sizeof(struct tss);
	cpu->arch = tables;
	lgdt(&gdtr);
	desc_reload_segments();
	lldt(0);
	ltr(ROOT_TSS);
	lidt(&idtr);
}
