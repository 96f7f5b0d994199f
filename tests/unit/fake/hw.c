/* SPDX-License-Identifier: MIT */
/* Privileged instructions of the unit tests: plain variables. */
#include "tests/unit/fake/fake.h"

#include <cpuid.h>
#include <string.h>

#define weak __attribute__((weak))

u64 fake_tsc, fake_tsc_step = 1;
u64 fake_cr[16], fake_dr[8], fake_xcr0;
u32 fake_pkru;
struct cpuid_regs (*fake_cpuid)(u32 leaf, u32 subleaf);
u32 (*fake_port_in)(u16 port, u32 size);
void (*fake_port_out)(u16 port, u32 size, u32 value);

#define MSRS 512
static struct {
	u32 index;
	bool faults;
	u64 value;
} msrs[MSRS];
static u32 msr_count;

void fake_hw_reset(void)
{
	fake_tsc = 1000000;
	fake_tsc_step = 1;
	memset(fake_cr, 0, sizeof(fake_cr));
	memset(fake_dr, 0, sizeof(fake_dr));
	fake_xcr0 = 7;
	fake_pkru = 0;
	fake_cpuid = NULL;
	fake_port_in = NULL;
	fake_port_out = NULL;
	msr_count = 0;
}

static u32 msr_slot(u32 index)
{
	u32 i;

	for (i = 0; i < msr_count; i++)
		if (msrs[i].index == index)
			return i;
	assert_true(msr_count < MSRS);
	memset(&msrs[i], 0, sizeof(msrs[i]));
	msrs[i].index = index;
	msr_count++;
	return i;
}

void fake_msr_set(u32 index, u64 value)
{
	msrs[msr_slot(index)].value = value;
}

u64 fake_msr_get(u32 index)
{
	return msrs[msr_slot(index)].value;
}

void fake_msr_faults(u32 index, bool faults)
{
	msrs[msr_slot(index)].faults = faults;
}

weak u64 rdmsr(u32 index)
{
	return fake_msr_get(index);
}

weak void wrmsr(u32 index, u64 value)
{
	fake_msr_set(index, value);
}

weak int rdmsr_safe(u32 index, u64 *value)
{
	if (msrs[msr_slot(index)].faults)
		return -EIO;
	*value = fake_msr_get(index);
	return 0;
}

weak int wrmsr_safe(u32 index, u64 value)
{
	if (msrs[msr_slot(index)].faults)
		return -EIO;
	fake_msr_set(index, value);
	return 0;
}

weak struct cpuid_regs cpuid(u32 leaf, u32 subleaf)
{
	struct cpuid_regs r;

	if (fake_cpuid)
		return fake_cpuid(leaf, subleaf);
	__cpuid_count(leaf, subleaf, r.eax, r.ebx, r.ecx, r.edx);
	return r;
}

static u32 port_in(u16 port, u32 size)
{
	return fake_port_in ? fake_port_in(port, size) : ~0u;
}

static void port_out(u16 port, u32 size, u32 value)
{
	if (fake_port_out)
		fake_port_out(port, size, value);
}

weak u8 in8(u16 port)
{
	return (u8)port_in(port, 1);
}
weak u16 in16(u16 port)
{
	return (u16)port_in(port, 2);
}
weak u32 in32(u16 port)
{
	return port_in(port, 4);
}
weak void out8(u16 port, u8 value)
{
	port_out(port, 1, value);
}
weak void out16(u16 port, u16 value)
{
	port_out(port, 2, value);
}
weak void out32(u16 port, u32 value)
{
	port_out(port, 4, value);
}

weak u64 rdtsc(void)
{
	return fake_tsc += fake_tsc_step;
}

#define REGISTER(name, place)                                                                      \
	weak u64 read_##name(void)                                                                 \
	{                                                                                          \
		return place;                                                                      \
	}                                                                                          \
	weak void write_##name(u64 value)                                                          \
	{                                                                                          \
		place = value;                                                                     \
	}
REGISTER(cr0, fake_cr[0])
REGISTER(cr2, fake_cr[2])
REGISTER(cr3, fake_cr[3])
REGISTER(cr4, fake_cr[4])
REGISTER(cr8, fake_cr[8])
REGISTER(dr0, fake_dr[0])
REGISTER(dr1, fake_dr[1])
REGISTER(dr2, fake_dr[2])
REGISTER(dr3, fake_dr[3])
REGISTER(dr6, fake_dr[6])
REGISTER(dr7, fake_dr[7])

weak u64 xgetbv(u32 index)
{
	return index ? 0 : fake_xcr0;
}

weak void xsetbv(u32 index, u64 value)
{
	fake_xcr0 = value;
}

weak int xsetbv_safe(u32 index, u64 value)
{
	if (index || !(value & 1))
		return -EIO;
	fake_xcr0 = value;
	return 0;
}

/* The extended state: one pattern, so that tests see who saved and restored what. */
weak void xsave(void *area, u64 mask)
{
}
weak void xrstor(const void *area, u64 mask)
{
}
weak void xsaves(void *area, u64 mask)
{
}
weak void xrstors(const void *area, u64 mask)
{
}
weak void fxsave(void *area)
{
}
weak void fxrstor(const void *area)
{
}
weak u32 rdpkru(void)
{
	return fake_pkru;
}
weak void wrpkru(u32 value)
{
	fake_pkru = value;
}
weak void invlpg(u64 address)
{
}
weak void wbinvd(void)
{
}
weak void hlt(void)
{
}
weak void pause(void)
{
}
weak void cli(void)
{
}
weak void sti(void)
{
}
weak void lfence(void)
{
}
weak void mfence(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}
weak u64 read_rflags(void)
{
	return 2;
}
weak void clgi(void)
{
}
weak void stgi(void)
{
}
weak void vmload(hpa_t vmcb)
{
}
weak void vmsave(hpa_t vmcb)
{
}
weak void invlpga(u64 address, u32 asid)
{
}
weak void lgdt(const struct descriptor_pointer *pointer)
{
}
weak void lidt(const struct descriptor_pointer *pointer)
{
}
weak void sgdt(struct descriptor_pointer *pointer)
{
	*pointer = (struct descriptor_pointer){0};
}
weak void sidt(struct descriptor_pointer *pointer)
{
	*pointer = (struct descriptor_pointer){0};
}
weak void ltr(u16 selector)
{
}
weak void lldt(u16 selector)
{
}
weak u16 str(void)
{
	return 0;
}
weak u16 sldt(void)
{
	return 0;
}
weak u16 read_cs(void)
{
	return 8;
}
weak u16 read_ds(void)
{
	return 0;
}
weak u16 read_es(void)
{
	return 0;
}
weak u16 read_fs(void)
{
	return 0;
}
weak u16 read_gs(void)
{
	return 0;
}
weak u16 read_ss(void)
{
	return 16;
}
weak void write_ds(u16 selector)
{
}
weak void write_es(u16 selector)
{
}
weak void write_fs(u16 selector)
{
}
weak void write_gs(u16 selector)
{
}
