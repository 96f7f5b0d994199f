/* SPDX-License-Identifier: MIT */
/*
 * Privileged and special instructions, one inline function each. Unit tests get functions of the
 * same names from tests/unit/fake/hw.c instead.
 */
#pragma once

#include "arch-x86/addr.h"

struct cpuid_regs {
	u32 eax, ebx, ecx, edx;
};

struct packed descriptor_pointer { /* operand of LGDT and LIDT */
	u16 limit;
	u64 base;
};

/* 0, or -EIO when the instruction raised #GP. Root's exception handlers must be installed. */
int rdmsr_safe(u32 index, u64 *value);
int wrmsr_safe(u32 index, u64 value);
int xsetbv_safe(u32 index, u64 value);

#ifdef UNIT_TEST

struct cpuid_regs cpuid(u32 leaf, u32 subleaf);
u64 rdmsr(u32 index);
void wrmsr(u32 index, u64 value);
u8 in8(u16 port);
u16 in16(u16 port);
u32 in32(u16 port);
void out8(u16 port, u8 value);
void out16(u16 port, u16 value);
void out32(u16 port, u32 value);
u64 rdtsc(void);
u64 read_cr0(void);
u64 read_cr2(void);
u64 read_cr3(void);
u64 read_cr4(void);
u64 read_cr8(void);
void write_cr0(u64 value);
void write_cr2(u64 value);
void write_cr3(u64 value);
void write_cr4(u64 value);
void write_cr8(u64 value);
u64 read_dr0(void);
u64 read_dr1(void);
u64 read_dr2(void);
u64 read_dr3(void);
u64 read_dr6(void);
u64 read_dr7(void);
void write_dr0(u64 value);
void write_dr1(u64 value);
void write_dr2(u64 value);
void write_dr3(u64 value);
void write_dr6(u64 value);
void write_dr7(u64 value);
u64 xgetbv(u32 index);
void xsetbv(u32 index, u64 value);
void xsave(void *area, u64 mask);
void xrstor(const void *area, u64 mask);
void xsaves(void *area, u64 mask);
void xrstors(const void *area, u64 mask);
void fxsave(void *area);
void fxrstor(const void *area);
u32 rdpkru(void);
void wrpkru(u32 value);
void invlpg(u64 address);
void wbinvd(void);
void hlt(void);
void pause(void);
void cli(void);
void sti(void);
void lfence(void);
void mfence(void);
u64 read_rflags(void);
void clgi(void);
void stgi(void);
void vmload(hpa_t vmcb);
void vmsave(hpa_t vmcb);
void invlpga(u64 address, u32 asid);
int vmxon(hpa_t region);
void vmxoff(void);
void vmclear(const hpa_t *vmcs);
void vmptrld(const hpa_t *vmcs);
u64 vmread(u32 field);
u64 vmread_next(u32 field);
void vmwrite(u32 field, u64 value);
void vmwrite_next(u32 field, u64 value);
void invept(u64 type, u64 eptp);
void invvpid(u64 type, u16 vpid);
void lgdt(const struct descriptor_pointer *pointer);
void lidt(const struct descriptor_pointer *pointer);
void sgdt(struct descriptor_pointer *pointer);
void sidt(struct descriptor_pointer *pointer);
void ltr(u16 selector);
void lldt(u16 selector);
u16 str(void);
u16 sldt(void);
u16 read_cs(void);
u16 read_ds(void);
u16 read_es(void);
u16 read_fs(void);
u16 read_gs(void);
u16 read_ss(void);
void write_ds(u16 selector);
void write_es(u16 selector);
void write_fs(u16 selector);
void write_gs(u16 selector);

#else

static inline struct cpuid_regs cpuid(u32 leaf, u32 subleaf)
{
	struct cpuid_regs r;

	__asm__ volatile("cpuid"
			 : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
			 : "a"(leaf), "c"(subleaf));
	return r;
}

/* RDMSR, RDTSC and XGETBV clear the upper halves of RAX and RDX. SDM vol. 2, the same. */
static inline u64 rdmsr(u32 index)
{
	u64 low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
	return low | high << 32;
}

static inline void wrmsr(u32 index, u64 value)
{
	__asm__ volatile("wrmsr"
			 :
			 : "c"(index), "a"((u32)value), "d"((u32)(value >> 32))
			 : "memory");
}

#define PORT_FUNCTIONS(bits, suffix)                                                               \
	static inline u##bits in##bits(u16 port)                                                   \
	{                                                                                          \
		u##bits value;                                                                     \
                                                                                                   \
		__asm__ volatile("in" suffix " %1, %0" : "=a"(value) : "Nd"(port) : "memory");     \
		return value;                                                                      \
	}                                                                                          \
	static inline void out##bits(u16 port, u##bits value)                                      \
	{                                                                                          \
		__asm__ volatile("out" suffix " %0, %1" : : "a"(value), "Nd"(port) : "memory");    \
	}
PORT_FUNCTIONS(8, "b")
PORT_FUNCTIONS(16, "w")
PORT_FUNCTIONS(32, "l")
#undef PORT_FUNCTIONS

static inline u64 rdtsc(void)
{
	u64 low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return low | high << 32;
}

/* read_cr0() ... write_dr7(): MOV to and from a control or debug register. */
#define REGISTER_FUNCTIONS(name)                                                                   \
	static inline u64 read_##name(void)                                                        \
	{                                                                                          \
		u64 value;                                                                         \
                                                                                                   \
		__asm__ volatile("mov %%" #name ", %0" : "=r"(value) : : "memory");                \
		return value;                                                                      \
	}                                                                                          \
	static inline void write_##name(u64 value)                                                 \
	{                                                                                          \
		__asm__ volatile("mov %0, %%" #name : : "r"(value) : "memory");                    \
	}
REGISTER_FUNCTIONS(cr0)
REGISTER_FUNCTIONS(cr2)
REGISTER_FUNCTIONS(cr3)
REGISTER_FUNCTIONS(cr4)
REGISTER_FUNCTIONS(cr8)
REGISTER_FUNCTIONS(dr0)
REGISTER_FUNCTIONS(dr1)
REGISTER_FUNCTIONS(dr2)
REGISTER_FUNCTIONS(dr3)
REGISTER_FUNCTIONS(dr6)
REGISTER_FUNCTIONS(dr7)
#undef REGISTER_FUNCTIONS

static inline u64 xgetbv(u32 index)
{
	u64 low, high;

	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(index));
	return low | high << 32;
}

static inline void xsetbv(u32 index, u64 value)
{
	__asm__ volatile("xsetbv"
			 :
			 : "c"(index), "a"((u32)value), "d"((u32)(value >> 32))
			 : "memory");
}

/* 64-byte aligned areas of the size that CPUID 0xD gives for the mask. */
#define XSAVE_FUNCTION(name, pointer)                                                              \
	static inline void name(pointer area, u64 mask)                                            \
	{                                                                                          \
		__asm__ volatile(#name "64 (%0)"                                                   \
				 :                                                                 \
				 : "r"(area), "a"((u32)mask), "d"((u32)(mask >> 32))               \
				 : "memory");                                                      \
	}
XSAVE_FUNCTION(xsave, void *)
XSAVE_FUNCTION(xrstor, const void *)
XSAVE_FUNCTION(xsaves, void *)
XSAVE_FUNCTION(xrstors, const void *)
#undef XSAVE_FUNCTION

static inline void fxsave(void *area)
{
	__asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
}

static inline void fxrstor(const void *area)
{
	__asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
}

static inline u32 rdpkru(void)
{
	u32 value, edx;

	__asm__ volatile("rdpkru" : "=a"(value), "=d"(edx) : "c"(0));
	return value;
}

static inline void wrpkru(u32 value)
{
	__asm__ volatile("wrpkru" : : "a"(value), "c"(0), "d"(0) : "memory");
}

static inline void invlpg(u64 address)
{
	__asm__ volatile("invlpg (%0)" : : "r"(address) : "memory");
}

#define PLAIN_FUNCTION(name, text)                                                                 \
	static inline void name(void)                                                              \
	{                                                                                          \
		__asm__ volatile(text : : : "memory");                                             \
	}
PLAIN_FUNCTION(wbinvd, "wbinvd")
PLAIN_FUNCTION(hlt, "hlt")
PLAIN_FUNCTION(pause, "pause")
PLAIN_FUNCTION(cli, "cli")
PLAIN_FUNCTION(sti, "sti")
PLAIN_FUNCTION(lfence, "lfence")
PLAIN_FUNCTION(mfence, "mfence")
PLAIN_FUNCTION(clgi, "clgi")
PLAIN_FUNCTION(stgi, "stgi")
#undef PLAIN_FUNCTION

static inline u64 read_rflags(void)
{
	u64 value;

	__asm__ volatile("pushfq; popq %0" : "=r"(value) : : "memory");
	return value;
}

static inline void vmload(hpa_t vmcb)
{
	__asm__ volatile("vmload %%rax" : : "a"(vmcb.v) : "memory");
}

static inline void vmsave(hpa_t vmcb)
{
	__asm__ volatile("vmsave %%rax" : : "a"(vmcb.v) : "memory");
}

static inline void invlpga(u64 address, u32 asid)
{
	__asm__ volatile("invlpga %%rax, %%ecx" : : "a"(address), "c"(asid) : "memory");
}

/* 0, or -EIO (VMfailInvalid). */
static inline int vmxon(hpa_t region)
{
	bool failed;

	__asm__ volatile("vmxon %1" : "=@ccna"(failed) : "m"(region) : "memory");
	return failed ? -EIO : 0;
}

static inline void vmxoff(void)
{
	__asm__ volatile("vmxoff" : : : "cc", "memory");
}

/*
 * VMX instructions that can only fail by Keel's own mistake: vmx_insn_failed (vmx/entry.asm) panics
 * with the VM-instruction error.
 */
#define VMX_OR_PANIC(text) text "\n\tjna vmx_insn_failed"

static inline void vmclear(const hpa_t *vmcs)
{
	__asm__ volatile(VMX_OR_PANIC("vmclear %0") : : "m"(*vmcs) : "cc", "memory");
}

static inline void vmptrld(const hpa_t *vmcs)
{
	__asm__ volatile(VMX_OR_PANIC("vmptrld %0") : : "m"(*vmcs) : "cc", "memory");
}

static inline u64 vmread(u32 field)
{
	u64 value;

	__asm__ volatile(VMX_OR_PANIC("vmread %1, %0") : "=r"(value) : "r"((u64)field) : "cc");
	return value;
}

/*
 * Behind a vmread() of the same VMCS: of a field that every processor has it cannot fail, and has
 * no branch of its own.
 */
static inline u64 vmread_next(u32 field)
{
	u64 value;

	__asm__ volatile("vmread %1, %0" : "=r"(value) : "r"((u64)field) : "cc");
	return value;
}

static inline void vmwrite(u32 field, u64 value)
{
	__asm__ volatile(VMX_OR_PANIC("vmwrite %1, %0") : : "r"((u64)field), "r"(value) : "cc");
}

/* The same, before an entry: that fails too without a current VMCS. */
static inline void vmwrite_next(u32 field, u64 value)
{
	__asm__ volatile("vmwrite %1, %0" : : "r"((u64)field), "r"(value) : "cc");
}

static inline void invept(u64 type, u64 eptp)
{
	const u64 descriptor[2] = {eptp, 0};

	__asm__ volatile(VMX_OR_PANIC("invept %1, %0")
			 :
			 : "r"(type), "m"(descriptor)
			 : "cc", "memory");
}

static inline void invvpid(u64 type, u16 vpid)
{
	const u64 descriptor[2] = {vpid, 0};

	__asm__ volatile(VMX_OR_PANIC("invvpid %1, %0")
			 :
			 : "r"(type), "m"(descriptor)
			 : "cc", "memory");
}

static inline void lgdt(const struct descriptor_pointer *pointer)
{
	__asm__ volatile("lgdt %0" : : "m"(*pointer));
}

static inline void lidt(const struct descriptor_pointer *pointer)
{
	__asm__ volatile("lidt %0" : : "m"(*pointer));
}

static inline void sgdt(struct descriptor_pointer *pointer)
{
	__asm__ volatile("sgdt %0" : "=m"(*pointer));
}

static inline void sidt(struct descriptor_pointer *pointer)
{
	__asm__ volatile("sidt %0" : "=m"(*pointer));
}

static inline void ltr(u16 selector)
{
	__asm__ volatile("ltr %0" : : "r"(selector) : "memory");
}

static inline void lldt(u16 selector)
{
	__asm__ volatile("lldt %0" : : "r"(selector) : "memory");
}

static inline u16 str(void)
{
	u16 value;

	__asm__ volatile("str %0" : "=r"(value));
	return value;
}

static inline u16 sldt(void)
{
	u16 value;

	__asm__ volatile("sldt %0" : "=r"(value));
	return value;
}

#define SELECTOR_READ(name)                                                                        \
	static inline u16 read_##name(void)                                                        \
	{                                                                                          \
		u16 value;                                                                         \
                                                                                                   \
		__asm__ volatile("mov %%" #name ", %0" : "=r"(value));                             \
		return value;                                                                      \
	}
#define SELECTOR_WRITE(name)                                                                       \
	static inline void write_##name(u16 value)                                                 \
	{                                                                                          \
		__asm__ volatile("mov %0, %%" #name : : "r"(value) : "memory");                    \
	}
SELECTOR_READ(cs)
SELECTOR_READ(ds)
SELECTOR_READ(es)
SELECTOR_READ(fs)
SELECTOR_READ(gs)
SELECTOR_READ(ss)
SELECTOR_WRITE(ds)
SELECTOR_WRITE(es)
SELECTOR_WRITE(fs)
SELECTOR_WRITE(gs)
#undef SELECTOR_READ
#undef SELECTOR_WRITE

#endif

/* DR0 to DR3. */
static inline void read_breakpoints(u64 dr[4])
{
	dr[0] = read_dr0();
	dr[1] = read_dr1();
	dr[2] = read_dr2();
	dr[3] = read_dr3();
}

static inline void write_breakpoints(const u64 dr[4])
{
	write_dr0(dr[0]);
	write_dr1(dr[1]);
	write_dr2(dr[2]);
	write_dr3(dr[3]);
}
