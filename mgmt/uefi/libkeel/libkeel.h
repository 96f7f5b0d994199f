/* SPDX-License-Identifier: MIT */
/*
 * libkeel's inside: firmware services, the scheduler, CPUs.
 *
 * Locks: a CPU's `lock` over the states of its threads; the request and console locks over their
 * queues; the object lock over fds. Each is taken alone, but a CPU's also under the lock over VMs.
 * All memory of the program is managed on the boot processor, whose threads do not interrupt each
 * other, so it needs none.
 */
#pragma once

#include "lib/spinlock.h"
#include "lib/types.h"
#include <efi.h>
#include <keel.h>
#include <sys/types.h>

extern EFI_SYSTEM_TABLE *efi_system;
extern EFI_BOOT_SERVICES *efi_boot;
extern EFI_HANDLE efi_image;

#define MAX_CPUS    64
#define STACK_SIZE  (256 * 1024ull) /* also a stack's alignment; UEFI asks for 128 KiB */
#define NO_DEADLINE (~0ull)
#define SLICE_MS    4

enum { VECTOR_TIMER = 0xe0, VECTOR_KICK = 0xe1, VECTOR_SPURIOUS = 0xef };

enum thread_state { THREAD_RUNNABLE, THREAD_SLEEPING, THREAD_DEAD };

struct processor;

/* Stands at the lowest address of its stack: any address in the stack leads to it. */
struct keel_thread {
	u64 rsp;   /* while it does not run */
	u64 magic; /* overwritten: the stack was too small */
	struct processor *cpu;
	struct keel_thread *next; /* ring of the CPU's threads, idle thread included */
	u32 state;		  /* enum thread_state */
	bool woken;		  /* since it last slept: the next sleep ends at once */
	bool urgent;		  /* runs before its turn: the main thread after a sleep */
	bool ending;
	u32 kicked;  /* KEEL_RUN_IMMEDIATE: KVM_RUN is to end; or 0 */
	int error;   /* errno */
	u64 wake_at; /* TSC */
	void (*fn)(void *);
	void *arg;
};

struct processor {
	u32 index, apic_id;
	UINTN firmware_number; /* of EFI_MP_SERVICES */
	bool x2apic, tsc_deadline;
	u32 event; /* an interrupt came that sched_poll() has not looked at */
	u32 sync;  /* KEEL_SYNC is wanted from the kick's handler */
	u32 stop;  /* leave to the firmware */
	struct spinlock lock;
	struct keel_thread *idle, *previous;
	u64 timer;		       /* TSC at which our timer interrupt comes */
	u64 slice_end;		       /* TSC */
	struct keel_thread *cut_short; /* an urgent thread came in its slice */
	struct keel_thread *in_turn;   /* whose ordinary slice began last; NULL: none yet */
	u64 left_of_slice;	       /* TSC ticks */
	u64 firmware_rsp;
	EFI_EVENT done;
	bool started;
	/* What the firmware had, to be put back */
	struct packed idt_register {
		u16 limit;
		u64 base;
	} firmware_idt;
	u32 firmware_lvt, firmware_divide, firmware_count, firmware_spurious;
	u64 tick_period, next_tick; /* TSC: the firmware's own periodic LAPIC timer; 0: none */
	u64 tick_handler;
};

extern struct processor processors[MAX_CPUS];
extern u32 processor_count;
extern u64 tsc_khz;

static inline u64 rdtsc(void)
{
	u32 low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (u64)high << 32 | low;
}

static inline void cli(void)
{
	__asm__ volatile("cli" ::: "memory");
}

static inline void sti(void)
{
	__asm__ volatile("sti; nop" ::: "memory");
}

static inline u64 tsc_after_us(u64 us)
{
	return rdtsc() + us * tsc_khz / 1000;
}

static inline struct keel_thread *thread_self(void)
{
	u64 rsp;

	__asm__("mov %%rsp, %0" : "=r"(rsp));
	return (struct keel_thread *)(rsp & ~(STACK_SIZE - 1));
}

/* Before the other CPUs are taken there is nothing else, not even a thread. */
static inline bool on_boot_processor(void)
{
	return !processors[0].started || thread_self()->cpu->index == 0;
}

/* ---- sched.c ---- */
/* A thread on a fresh stack, not yet in any ring; NULL: no memory. */
struct keel_thread *thread_new(struct processor *cpu, void (*fn)(void *), void *arg);
void thread_free(struct keel_thread *t);
/* A CPU's own loop when no thread of it can run. */
void sched_idle(void *cpu);
/* Looks at what interrupts announced: requests, sleepers, the end of the program. Interrupts on. */
void sched_poll(struct processor *cpu);
/* Whether another thread should run now. */
bool sched_due(struct processor *cpu);
/* Lets the next runnable thread of this CPU run; returns when it is the caller's turn again. */
void sched_switch(void);
/* Sets the timer for the next sleeper or the end of the slice. Interrupts off. */
void sched_set_timer(struct processor *cpu);
/* Sleeps until thread_wake() or the deadline (TSC). */
void thread_sleep(u64 deadline);
void thread_wake(struct keel_thread *t);
/* Runs fn(arg) on the boot processor, in thread context, and waits for it. */
void on_bsp(void (*fn)(void *), void *arg);
/* The boot processor's share: what others have asked it for. */
void bsp_service(void);
/* Ends the calling thread; its stack is freed by a join. */
void thread_end(void) __attribute__((noreturn));

/* ---- switch.asm ---- */
/* Saves the callee's registers and RSP into *save and goes on at rsp, saved by another call. */
void context_switch(u64 *save, u64 rsp);
extern const u64 interrupt_entries[256];

/* ---- processor.c ---- */
/* Takes all CPUs: interrupt tables, timers, an idle loop on each application processor. */
int processors_start(void);
/* Gives them back to the firmware; false: one did not come back. */
bool processors_stop(void);
/* The timer interrupt comes at this TSC at the latest. Interrupts off, own CPU only. */
void timer_set(struct processor *cpu, u64 deadline);
void processor_kick(struct processor *cpu);

/* ---- interrupt.c: runs with interrupts off; no SSE ---- */
struct interrupt_frame {
	u64 r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
	u64 vector, error, rip, cs, rflags, rsp, ss;
};

u64 interrupt_handle(struct interrupt_frame *f);
u32 apic_read(const struct processor *cpu, u32 offset);
void apic_write(const struct processor *cpu, u32 offset, u32 value);
void apic_ipi(const struct processor *self, u32 apic_id, u8 vector);
void timer_program(struct processor *cpu);
extern u64 apic_per_tsc; /* LAPIC timer ticks per TSC tick, 32.32 fixed point */

/* ---- console.c ---- */
/* From any thread; \n becomes \r\n. */
void console_write(const char *text, size_t size);
/* Boot processor: prints what other CPUs have written. */
void console_drain(void);
/* For an exception's last words: into the ring without waiting, from any context. */
void console_post(const char *text, size_t size);

/* ---- memory.c ---- */
/* 4 KiB pages, aligned to `alignment` bytes, not zeroed; 0: none. */
u64 pages_allocate(u64 pages, u64 alignment);
void pages_free(u64 base, u64 pages);
void memory_free_all(void);

/* ---- file.c ---- */
struct file;
int file_open(const char *path, struct file **out);
ssize_t file_read(struct file *f, void *buffer, size_t size);
off_t file_seek(struct file *f, off_t offset, int whence);
off_t file_size(struct file *f);
void file_close(struct file *f);

/* ---- object.c, kvm.c ---- */
enum object_kind { OBJECT_NONE, OBJECT_FILE, OBJECT_SYSTEM, OBJECT_VM, OBJECT_VCPU };

struct object {
	enum object_kind kind;
	void *data;
};

/* -1 and errno EMFILE. */
int object_new(enum object_kind kind, void *data);
/* NULL and errno EBADF. */
struct object *object_get(int fd);
int kvm_open(void);
int kvm_ioctl(struct object *o, unsigned long request, u64 arg);
/* KVM_RUN on an OBJECT_VCPU's data: 0, or -1 and errno. */
int kvm_run(void *vcpu);
void kvm_close(struct object *o);
/* The pages of a vCPU's kvm_run; NULL: not a vCPU. */
void *kvm_run_pages(struct object *o);
/* No VM may reach these frames any more. */
void kvm_forget(u64 base, u64 bytes);
/* The thread is about to be freed: nobody may wake it. */
void kvm_forget_thread(const struct keel_thread *t);
void kvm_end(void);
/* KEEL_SYNC of the calling CPU. */
void keel_sync(void);

/* ---- start.c ---- */
/* Another thread, or an exception, ends the program: main takes it up. */
void program_end(int status);
/* Of the main thread, at points where it can end. */
void program_check(void);
const char *program_name(void);
/* Seconds since 1970 by the firmware's clock; 0: it has none. */
u64 firmware_time(void);
