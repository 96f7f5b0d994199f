// SPDX-License-Identifier: MIT
/*
 * The machine's CPUs: how libkeel takes them from the firmware, and how it gives them back.
 * The boot processor keeps the firmware's interrupt handlers, in a copy of its table with our
 * vectors added; its LAPIC timer, where the firmware uses it, goes on ticking through our handler.
 * The others get a table of our own.
 */
#include "lib/efi_mp_services.h"
#include "mgmt/uefi/libkeel/libkeel.h"
#include <string.h>

enum {
	APIC_ID = 0x20,
	APIC_SPURIOUS = 0xf0,
	APIC_LVT_TIMER = 0x320,
	APIC_INITIAL_COUNT = 0x380,
	APIC_CURRENT_COUNT = 0x390,
	APIC_DIVIDE = 0x3e0,
};
enum { LVT_MASKED = BIT(16), LVT_PERIODIC = BIT(17), LVT_TSC_DEADLINE = BIT(18) };
enum { SPURIOUS_ENABLED = BIT(8), DIVIDE_BY_1 = 0xb };

#define CALIBRATIONS 8

struct gate {
	u16 offset_low, selector;
	u8 ist, type;
	u16 offset_middle;
	u32 offset_high, reserved;
};

struct processor processors[MAX_CPUS];
u32 processor_count;
u64 tsc_khz;

static EFI_MP_SERVICES *mp;
static struct gate bsp_idt[256] aligned(16), ap_idt[256] aligned(16);

static struct processor *self(void)
{
	return thread_self()->cpu;
}

static void cpuid(u32 leaf, u32 out[4])
{
	__asm__ volatile("cpuid"
			 : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3])
			 : "a"(leaf), "c"(0));
}

static void set_gate(struct gate *idt, u32 vector)
{
	u64 entry = interrupt_entries[vector];
	u16 cs;

	__asm__("mov %%cs, %0" : "=r"(cs));
	idt[vector] = (struct gate){
		.offset_low = (u16)entry,
		.selector = cs,
		.type = 0x8e /* present, 64-bit interrupt */,
		.offset_middle = (u16)(entry >> 16),
		.offset_high = (u32)(entry >> 32),
	};
}

static void save_idt(struct processor *cpu)
{
	__asm__ volatile("sidt %0" : "=m"(cpu->firmware_idt));
}

static void load_idt(const struct gate *idt)
{
	struct idt_register r = {256 * sizeof(*idt) - 1, (u64)idt};

	__asm__ volatile("lidt %0" ::"m"(r));
}

static u64 gate_offset(const struct gate *g)
{
	return g->offset_low | (u64)g->offset_middle << 16 | (u64)g->offset_high << 32;
}

/*
 * How many timer ticks the TSC's tick is. The timer starts before the first look at the TSC and is
 * read after the last one, so whatever delays this CPU in between makes the figure too high: the
 * lowest of several is the one.
 */
static void calibrate(struct processor *cpu)
{
	u64 lowest = ~0ull, start, end;
	u32 left;

	for (u32 i = 0; i < CALIBRATIONS; i++) {
		apic_write(cpu, APIC_INITIAL_COUNT, 0xffffffff);
		start = rdtsc();
		do
			end = rdtsc();
		while (end - start < tsc_khz); /* 1 ms */
		left = apic_read(cpu, APIC_CURRENT_COUNT);
		lowest = MIN(lowest, ((u64)(0xffffffff - left) << 32) / (end - start));
	}
	apic_write(cpu, APIC_INITIAL_COUNT, 0);
	apic_per_tsc = lowest;
}

/* A firmware that ticks by the LAPIC timer has it unmasked and periodic: its period in TSC ticks.
 */
static void keep_firmware_tick(struct processor *cpu, const struct gate *idt)
{
	static const u8 shift[8] = {1, 2, 3, 4,
				    5, 6, 7, 0}; /* SDM, "Divide Configuration Register" */
	u32 lvt = cpu->firmware_lvt, divide = cpu->firmware_divide;
	u64 ticks = (u64)cpu->firmware_count << shift[(divide & 3) | (divide >> 1 & 4)];

	if (lvt & LVT_MASKED || !(lvt & LVT_PERIODIC) || !ticks || !apic_per_tsc)
		return;
	cpu->tick_handler = gate_offset(&idt[lvt & 0xff]);
	cpu->tick_period = (u64)(((unsigned __int128)ticks << 32) / apic_per_tsc);
	cpu->next_tick = rdtsc() + cpu->tick_period;
}

/* Takes the local APIC's timer; interrupts are off. */
static void take_timer(struct processor *cpu)
{
	cpu->firmware_lvt = apic_read(cpu, APIC_LVT_TIMER);
	cpu->firmware_divide = apic_read(cpu, APIC_DIVIDE);
	cpu->firmware_count = apic_read(cpu, APIC_INITIAL_COUNT);
	cpu->firmware_spurious = apic_read(cpu, APIC_SPURIOUS);
	cpu->timer = NO_DEADLINE;
	/*
	 * After INIT the APIC is disabled by software and takes no fixed interrupt. Firmware that
	 * has enabled it mostly has no handler for its spurious vector.
	 */
	apic_write(cpu, APIC_SPURIOUS,
		   (cpu->firmware_spurious & ~0xffu) | SPURIOUS_ENABLED | VECTOR_SPURIOUS);
	apic_write(cpu, APIC_LVT_TIMER, LVT_MASKED | VECTOR_TIMER);
	apic_write(cpu, APIC_DIVIDE, DIVIDE_BY_1);
	if (!apic_per_tsc)
		calibrate(cpu);
	if (cpu->index == 0)
		keep_firmware_tick(cpu, bsp_idt);
	apic_write(cpu, APIC_LVT_TIMER, VECTOR_TIMER | (cpu->tsc_deadline ? LVT_TSC_DEADLINE : 0));
	/* SDM, "TSC-Deadline Mode": the mode must be in force before the MSR is written. */
	__asm__ volatile("mfence" ::: "memory");
	timer_program(cpu);
}

static void give_timer_back(struct processor *cpu)
{
	cpu->tick_period = 0;
	cpu->timer = NO_DEADLINE;
	timer_program(cpu);
	apic_write(cpu, APIC_LVT_TIMER, LVT_MASKED | VECTOR_TIMER);
	apic_write(cpu, APIC_DIVIDE, cpu->firmware_divide);
	apic_write(cpu, APIC_LVT_TIMER, cpu->firmware_lvt);
	apic_write(cpu, APIC_INITIAL_COUNT, cpu->firmware_count);
	apic_write(cpu, APIC_SPURIOUS, cpu->firmware_spurious);
	__asm__ volatile("lidt %0" ::"m"(cpu->firmware_idt));
}

static void find_apic(struct processor *cpu)
{
	u32 low, high, leaf[4];

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(0x1b /* IA32_APIC_BASE */));
	cpu->x2apic = low & BIT(10);
	cpu->apic_id = apic_read(cpu, APIC_ID);
	if (!cpu->x2apic)
		cpu->apic_id >>= 24;
	cpuid(1, leaf);
	cpu->tsc_deadline = leaf[2] & BIT(24);
}

void timer_set(struct processor *cpu, u64 deadline)
{
	if (cpu->timer == deadline)
		return;
	cpu->timer = deadline;
	timer_program(cpu);
}

void processor_kick(struct processor *cpu)
{
	u64 flags;

	__asm__ volatile("pushfq; pop %0; cli" : "=r"(flags)::"memory");
	__atomic_store_n(&cpu->event, 1, __ATOMIC_SEQ_CST);
	if (cpu->started && cpu != self())
		apic_ipi(self(), cpu->apic_id, VECTOR_KICK);
	__asm__ volatile("push %0; popfq" ::"r"(flags) : "memory", "cc");
}

/* An application processor between two calls of the firmware. */
static void EFIAPI ap_main(void *arg)
{
	struct processor *cpu = arg;

	find_apic(cpu);
	save_idt(cpu);
	load_idt(ap_idt);
	take_timer(cpu);
	__atomic_store_n(&cpu->started, true, __ATOMIC_SEQ_CST);
	context_switch(&cpu->firmware_rsp, cpu->idle->rsp);
	cli();
	give_timer_back(cpu);
}

static struct processor *add_processor(UINTN firmware_number)
{
	struct processor *cpu = &processors[processor_count];

	memset(cpu, 0, sizeof(*cpu));
	cpu->index = processor_count;
	cpu->firmware_number = firmware_number;
	cpu->timer = NO_DEADLINE;
	cpu->idle = thread_new(cpu, sched_idle, cpu);
	if (!cpu->idle)
		return NULL;
	cpu->idle->next = cpu->idle;
	return cpu;
}

static void start_ap(UINTN firmware_number, u32 apic_id)
{
	struct processor *cpu = add_processor(firmware_number);
	u64 limit = tsc_after_us(5000000);

	if (!cpu)
		return;
	cpu->apic_id = apic_id;
	if (efi_boot->CreateEvent(0, 0, NULL, NULL, &cpu->done)) {
		thread_free(cpu->idle);
		return;
	}
	processor_count++;
	if (mp->StartupThisAP(mp, ap_main, firmware_number, cpu->done, 0, cpu, NULL)) {
		processor_count--;
		efi_boot->CloseEvent(cpu->done);
		thread_free(cpu->idle);
		return;
	}
	while (!__atomic_load_n(&cpu->started, __ATOMIC_SEQ_CST) && rdtsc() < limit)
		__builtin_ia32_pause();
}

static void start_aps(void)
{
	static EFI_GUID guid = EFI_MP_SERVICES_GUID;
	UINTN total = 0, enabled = 0;

	if (efi_boot->LocateProtocol(&guid, NULL, (void **)&mp) ||
	    mp->GetNumberOfProcessors(mp, &total, &enabled))
		return;
	for (UINTN i = 0; i < total && processor_count < MAX_CPUS; i++) {
		EFI_PROCESSOR_INFORMATION info;

		if (mp->GetProcessorInfo(mp, i, &info) || info.status & PROCESSOR_IS_BSP ||
		    !(info.status & PROCESSOR_ENABLED))
			continue;
		start_ap(i, (u32)info.id);
	}
}

/* Without Keel, which knows: delays make it too high, so the lowest of several is the one. */
static void measure_tsc(void)
{
	tsc_khz = ~0ull;
	for (u32 i = 0; i < CALIBRATIONS; i++) {
		u64 start = rdtsc();

		efi_boot->Stall(4000);
		tsc_khz = MIN(tsc_khz, (rdtsc() - start) / 4);
	}
}

int processors_start(void)
{
	struct processor *cpu = &processors[0];

	if (cpu->started)
		return 0;
	if (!tsc_khz)
		measure_tsc();
	for (u32 v = 0; v < 256; v++)
		set_gate(ap_idt, v);
	cli();
	find_apic(cpu);
	save_idt(cpu);
	memcpy(bsp_idt, (void *)cpu->firmware_idt.base,
	       MIN(cpu->firmware_idt.limit + 1u, sizeof(bsp_idt)));
	set_gate(bsp_idt, VECTOR_TIMER);
	set_gate(bsp_idt, VECTOR_KICK);
	set_gate(bsp_idt, VECTOR_SPURIOUS);
	load_idt(bsp_idt);
	take_timer(cpu);
	cpu->started = true;
	sti();
	start_aps();
	return 0;
}

static bool stop_ap(struct processor *cpu)
{
	u64 limit = tsc_after_us(3000000);

	cpu->stop = 1;
	while (efi_boot->CheckEvent(cpu->done)) {
		if (rdtsc() > limit)
			return false;
		processor_kick(cpu);
		bsp_service();
		efi_boot->Stall(1000);
	}
	efi_boot->CloseEvent(cpu->done);
	return true;
}

bool processors_stop(void)
{
	bool all = true;

	if (!processors[0].started)
		return true;
	for (u32 i = 1; i < processor_count; i++)
		all = stop_ap(&processors[i]) && all;
	cli();
	give_timer_back(&processors[0]);
	processors[0].started = false;
	sti();
	return all;
}
