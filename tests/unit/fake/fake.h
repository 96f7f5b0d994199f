/* SPDX-License-Identifier: MIT */
/*
 * The machine that the unit tests run on: RAM, processors, privileged instructions, a log, and a
 * backend whose guests are callbacks and whose TLBs forget nothing by themselves. Everything is
 * weak, so a test may define its own double of any function.
 *
 * fake_machine_init() first, in each test: it takes back what earlier tests left.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "arch-x86/cpu.h"
#include "arch-x86/insn.h"
#include "arch-x86/log.h"
#include "arch-x86/virt.h"
#include "mm/frames.h"
#include "mm/phys.h"
#include "mm/pool.h"

#define FAKE_RAM_SIZE  (64ull << 20) /* [0, 64 MiB); the rest of physical space is not RAM */
#define FAKE_KEEL_BASE 0ull	     /* Keel's: frame table at 0, then what tests take */
#define FAKE_KEEL_SIZE (32ull << 20)
#define FAKE_GUEST     FAKE_KEEL_SIZE /* from here on the management guest's */
#define FAKE_CPUS      8

/* ---- ram.c, and processors ------------------------------------------------------------------- */
void fake_ram_reset(void);
void fake_cpu_reset(u32 count);
/* What this_cpu() answers in this thread; 0 at first. */
void fake_cpu_set(u32 index);

/* ---- log.c ----------------------------------------------------------------------------------- */
extern bool fake_log_print; /* print lines to standard error; KEEL_TEST_LOG=1 sets it */
extern u64 fake_log_count;  /* lines so far */
extern char fake_log_last[256];
/* panic() is a cmocka assertion: expect_assert_failure() catches it, else the test fails. */

/* ---- hw.c ------------------------------------------------------------------------------------ */
extern u64 fake_tsc; /* rdtsc(); grows by fake_tsc_step at each */
extern u64 fake_tsc_step;
extern u64 fake_cr[16], fake_dr[8], fake_xcr0;
extern u32 fake_pkru;
extern struct cpuid_regs (*fake_cpuid)(u32 leaf, u32 subleaf); /* NULL: the host's own CPUID */
extern u32 (*fake_port_in)(u16 port, u32 size);		       /* NULL: all ones */
extern void (*fake_port_out)(u16 port, u32 size, u32 value);
void fake_hw_reset(void);
void fake_msr_set(u32 index, u64 value);
u64 fake_msr_get(u32 index);		      /* what wrmsr() wrote last; 0 */
void fake_msr_faults(u32 index, bool faults); /* rdmsr_safe and wrmsr_safe answer -EIO */

/* ---- backend.c ------------------------------------------------------------------------------- */
#define FAKE_EVENTS 64
#define FAKE_LOG    512

struct fake_vcpu { /* behind v->hw */
	u64 reg[VREG_COUNT];
	struct segment seg[SEG_COUNT];
	struct virt_event injected; /* waits for the next entry */
	struct virt_event
		delivered[FAKE_EVENTS]; /* newest at (delivered_count - 1) % FAKE_EVENTS */
	u32 delivered_count;
	u32 intercepts;
	u32 entries, flushes, loads, dumps;
	bool in_guest;
	bool flags;   /* leaves get their accessed flags: EPT's A/D flags are on, or it is NPT */
	bool logging; /* VIRT_PML: the first write to a clean page goes to the log */
	u32 log_count;
	u64 log[FAKE_LOG];
	struct cpu *active; /* as a VMCS: on which CPU; NULL: released */
};

extern const struct virt_ops fake_virt_ops; /* NPT format; copy it and set .ept for EPT */
/*
 * One entry of v: the "guest" runs inside this callback on this CPU, and leaves through *e (which
 * is zero: EXIT_NONE). NULL: exits come from the queue that fake_push_exit() fills; an empty
 * queue fails the test.
 */
extern void (*fake_run)(struct virt_vcpu *v, struct vm_exit *e);
void fake_push_exit(const struct vm_exit *e);
u32 fake_exits_left(void);
/* Entries with an event that hardware would not take fail the test, unless this is false. */
extern bool fake_check_injection;
void fake_backend_reset(void);

static inline struct fake_vcpu *fake_vcpu(struct virt_vcpu *v)
{
	return v->hw;
}

/* What the guest may do with an MSR or port without an exit. */
bool fake_msr_intercepted(struct virt_vm *vm, u32 index, bool write);
bool fake_port_intercepted(struct virt_vm *vm, u16 port);

/*
 * A guest's access to gpa through this CPU's TLB, only while fake_run runs. True: *hpa is where
 * it went. False: *e (may be NULL) is the EXIT_SLAT that follows.
 */
bool fake_guest_access(struct virt_vcpu *v, gpa_t gpa, bool write, bool exec, hpa_t *hpa,
		       struct vm_exit *e);
/* The same for data within one page; fails the test when it does not translate. */
void fake_guest_read(struct virt_vcpu *v, gpa_t gpa, void *out, u64 length);
void fake_guest_write(struct virt_vcpu *v, gpa_t gpa, const void *in, u64 length);
void fake_tlb_flush_all(void);
/*
 * Fails the test when a CPU could still use a translation that leads to, or was read from, this
 * memory. mm/ calls it (as fake_frames_reused) wherever memory changes hands.
 */
void fake_tlb_assert_not_cached(hpa_t base, u64 size);

/* ---- everything ------------------------------------------------------------------------------ */
/* RAM zeroed, `count` CPUs, this thread on CPU 0, the fake backend, the frame table set up. */
static inline void fake_machine_init(u32 count)
{
	fake_backend_reset();
	fake_ram_reset();
	fake_cpu_reset(count);
	fake_hw_reset();
	frames_init(HPA(FAKE_KEEL_BASE), FAKE_RAM_SIZE / PAGE_SIZE);
	frames_set(HPA(FAKE_KEEL_BASE), FAKE_KEEL_SIZE / PAGE_SIZE, FRAME_KEEL);
	frames_set(HPA(FAKE_GUEST), (FAKE_RAM_SIZE - FAKE_GUEST) / PAGE_SIZE, FRAME_MANAGEMENT);
	virt = &fake_virt_ops;
	virt_features =
		VIRT_NEXT_RIP | VIRT_DECODE_ASSISTS | VIRT_SLAT_1G | VIRT_SLAT_2M | VIRT_SLAT_AD;
}

/* A pool of Keel's memory from 1 MiB up. */
static inline void fake_pool(struct pool *pool, u64 pages)
{
	pool_init(pool);
	assert_true(pages <= (FAKE_KEEL_SIZE - (1 << 20)) / PAGE_SIZE);
	assert_int_equal(pool_add(pool, HPA(1 << 20), pages), 0);
}
