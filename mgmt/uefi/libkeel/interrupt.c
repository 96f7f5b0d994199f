// SPDX-License-Identifier: MIT
/*
 * What runs in interrupt context: the local APIC, the timer and kick handlers, exceptions on the
 * application processors. Compiled without SSE, so that nobody's registers need saving.
 */
#include "mgmt/uefi/libkeel/libkeel.h"
#include "mgmt/uefi/libkeel/format.h"

enum { MSR_APIC_BASE = 0x1b, MSR_X2APIC = 0x800, MSR_TSC_DEADLINE = 0x6e0 };
enum {
	APIC_ID = 0x20,
	APIC_EOI = 0xb0,
	APIC_ICR = 0x300,
	APIC_ICR_HIGH = 0x310,
	APIC_COUNT = 0x380
};
enum { ICR_BUSY = BIT(12), ICR_ASSERT = BIT(14) };

u64 apic_per_tsc;

static u64 rdmsr(u32 msr)
{
	u32 low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return (u64)high << 32 | low;
}

static void wrmsr(u32 msr, u64 value)
{
	__asm__ volatile("wrmsr" ::"c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

static volatile u32 *apic_register(u32 offset)
{
	return (volatile u32 *)((rdmsr(MSR_APIC_BASE) & MASK(51, 12)) + offset);
}

u32 apic_read(const struct processor *cpu, u32 offset)
{
	return cpu->x2apic ? (u32)rdmsr(MSR_X2APIC + offset / 16) : *apic_register(offset);
}

void apic_write(const struct processor *cpu, u32 offset, u32 value)
{
	if (cpu->x2apic)
		wrmsr(MSR_X2APIC + offset / 16, value);
	else
		*apic_register(offset) = value;
}

/* A fixed interrupt; interrupts are off, so the two halves of the ICR stay together. */
void apic_ipi(const struct processor *self, u32 apic_id, u8 vector)
{
	if (self->x2apic) {
		/* SDM, "x2APIC IPI": no serialising; what the receiver shall see must be stored
		 * first. */
		__asm__ volatile("mfence; lfence" ::: "memory");
		wrmsr(MSR_X2APIC + APIC_ICR / 16, (u64)apic_id << 32 | ICR_ASSERT | vector);
		return;
	}
	while (*apic_register(APIC_ICR) & ICR_BUSY)
		__builtin_ia32_pause();
	*apic_register(APIC_ICR_HIGH) = apic_id << 24;
	*apic_register(APIC_ICR) = ICR_ASSERT | vector;
}

/* The processor by its APIC: an interrupt may hit while a stack of the firmware is in use. */
static struct processor *processor_here(void)
{
	bool x2apic = rdmsr(MSR_APIC_BASE) & BIT(10);
	u32 id = x2apic ? (u32)rdmsr(MSR_X2APIC + APIC_ID / 16) : *apic_register(APIC_ID) >> 24;

	for (u32 i = 0; i < processor_count; i++)
		if (processors[i].apic_id == id)
			return &processors[i];
	return &processors[0];
}

/* Programs the hardware for the earlier of our deadline and the firmware's own tick. */
void timer_program(struct processor *cpu)
{
	u64 deadline = cpu->timer, now, count;

	if (cpu->tick_period && cpu->next_tick < deadline)
		deadline = cpu->next_tick;
	if (cpu->tsc_deadline) {
		wrmsr(MSR_TSC_DEADLINE, deadline == NO_DEADLINE ? 0 : deadline);
		return;
	}
	if (deadline == NO_DEADLINE) {
		apic_write(cpu, APIC_COUNT, 0);
		return;
	}
	now = rdtsc();
	/* Capped well below the counter's 32 bits; an early interrupt does no harm. */
	count = deadline <= now ? 1 : MIN(deadline - now, BIT(36));
	count = (u64)(((unsigned __int128)count * apic_per_tsc) >> 32) + 1;
	apic_write(cpu, APIC_COUNT, MIN(count, 0xffffffffu));
}

static u64 timer_interrupt(struct processor *cpu)
{
	u64 now = rdtsc();
	bool tick = cpu->tick_period && now >= cpu->next_tick;

	if (now >= cpu->timer) {
		cpu->timer = NO_DEADLINE;
		cpu->event = 1;
	}
	if (tick) /* missed ticks are not made up for */
		cpu->next_tick = now + cpu->tick_period;
	timer_program(cpu);
	if (tick)
		return cpu->tick_handler; /* signals the end of interrupt itself */
	apic_write(cpu, APIC_EOI, 0);
	return 0;
}

static const char *const exception_names[32] = {
	"division",
	"debug",
	"NMI",
	"breakpoint",
	"overflow",
	"bound",
	"invalid opcode",
	"no FPU",
	"double fault",
	"",
	"invalid TSS",
	"segment not present",
	"stack",
	"general protection",
	"page fault",
	"",
	"FPU",
	"alignment",
	"machine check",
	"SIMD",
	"virtualisation",
	"control",
};

/* The thread that caused it ends, and so does the program: on CPUs that have no firmware handlers.
 */
static void exception(struct processor *cpu, const struct interrupt_frame *f)
{
	char text[200];
	u64 cr2;
	int n;

	__asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
	n = format_to(text, sizeof(text),
		      "libkeel: CPU %u: exception %lu (%s), error %#lx, rip %#lx, rsp %#lx, "
		      "address %#lx\n",
		      cpu->index, f->vector,
		      f->vector < 32 ? exception_names[f->vector] : "interrupt", f->error, f->rip,
		      f->rsp, cr2);
	console_post(text, (size_t)n);
	program_end(255);
	thread_end();
}

u64 interrupt_handle(struct interrupt_frame *f)
{
	struct processor *cpu = processor_here();

	switch (f->vector) {
	case VECTOR_TIMER:
		return timer_interrupt(cpu);
	case VECTOR_KICK:
		cpu->event = 1;
		if (__atomic_exchange_n(&cpu->sync, 0, __ATOMIC_ACQ_REL))
			keel_sync();
		apic_write(cpu, APIC_EOI, 0);
		return 0;
	case VECTOR_SPURIOUS: /* SDM, "Spurious Interrupt": no end of interrupt */
	case 2:		      /* an NMI is nobody's here */
		return 0;
	default:
		if (f->vector < 32)
			exception(cpu, f);
		apic_write(cpu, APIC_EOI, 0);
		return 0;
	}
}
