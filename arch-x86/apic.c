// SPDX-License-Identifier: MIT
/* This CPU's local APIC. SDM vol. 3, "Advanced Programmable Interrupt Controller (APIC)". */
#include "arch-x86/apic.h"

#include "arch-x86/insn.h"
#include "arch-x86/msr.h"

#ifdef UNIT_TEST
u64 fake_apic_page;
#endif

#define ICR_LOW	      0x300
#define ICR_HIGH      0x310
#define ICR_NMI	      (4u << 8)
#define ICR_PENDING   BIT(12)
#define ICR_ASSERT    BIT(14)
#define PENDING_POLLS 100000

bool apic_x2apic(void)
{
	return rdmsr(MSR_APIC_BASE) & APIC_BASE_X2APIC;
}

static volatile u32 *xapic_register(u32 offset)
{
	return (volatile u32 *)(APIC_VA + offset);
}

u32 apic_read(u32 offset)
{
	if (apic_x2apic())
		return rdmsr(MSR_X2APIC_BASE + offset / 16);
	return *xapic_register(offset);
}

void apic_write(u32 offset, u32 value)
{
	if (apic_x2apic())
		wrmsr(MSR_X2APIC_BASE + offset / 16, value);
	else
		*xapic_register(offset) = value;
}

static void wait_idle(void)
{
	for (u32 i = 0; i < PENDING_POLLS && *xapic_register(ICR_LOW) & ICR_PENDING; i++)
		pause();
}

static void send(u32 apic_id, u32 command)
{
	u32 high;

	if (apic_x2apic()) {
		/* "Reduced Memory Ordering": a WRMSR here does not wait for earlier stores. */
		mfence();
		lfence();
		wrmsr(MSR_X2APIC_ICR, (u64)apic_id << 32 | command);
		return;
	}
	high = *xapic_register(ICR_HIGH);
	wait_idle();
	*xapic_register(ICR_HIGH) = apic_id << 24;
	*xapic_register(ICR_LOW) = command;
	wait_idle();
	*xapic_register(ICR_HIGH) = high;
}

void apic_send_nmi(u32 apic_id)
{
	send(apic_id, ICR_NMI | ICR_ASSERT);
}

void apic_send_ipi(u32 apic_id, u8 vector)
{
	send(apic_id, vector | ICR_ASSERT);
}

u32 apic_id_here(void)
{
	if (cpuid(0, 0).eax >= 0xb && cpuid(0xb, 0).ebx)
		return cpuid(0xb, 0).edx;
	return cpuid(1, 0).ebx >> 24;
}
