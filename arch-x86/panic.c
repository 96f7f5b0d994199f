// SPDX-License-Identifier: MIT
/* The dump, and the other CPUs stopped. */
#include "arch-x86/panic.h"

#include "arch-x86/apic.h"
#include "arch-x86/cpu.h"
#include "arch-x86/insn.h"
#include "arch-x86/log.h"
#include "lib/printf.h"

#define STACK_WORDS 32

static void (*more)(void);

void panic_set_report(void (*report)(void))
{
	more = report;
}

static __attribute__((noreturn)) void stop_here(void)
{
	for (;;) {
		cli();
		hlt();
	}
}

/* Root's handler takes the NMI, or the guest leaves guest mode for it: cpu_check_panic(). */
static void stop_others(const struct cpu *self)
{
	for (u32 i = 0; i < cpu_count; i++)
		if (cpus[i] && cpus[i] != self && cpus[i]->online) {
			__atomic_store_n(&cpus[i]->kick_pending, 1, __ATOMIC_SEQ_CST);
			apic_send_nmi(cpus[i]->apic_id);
		}
}

/* False: this CPU is second, or panics in its own panic. */
static bool begin(void)
{
	struct cpu *self = this_cpu();
	u32 none = 0;

	cli();
	if (!__atomic_compare_exchange_n(&cpu_panicking, &none, self->index + 1, false,
					 __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		return false;
	stop_others(self);
	log_panic_begin();
	return true;
}

/* The end of the stack that sp lies in; 0: a guard page, or no stack of this CPU (cpu.h). */
static u64 stack_end(u64 sp)
{
	static const struct {
		u32 start, end;
	} stacks[] = {{0x3000, 0x7000}, {0x8000, 0xa000}, {0xb000, 0xd000}, {0xe000, 0x10000}};
	u64 block = (u64)this_cpu();

	for (size_t i = 0; i < ARRAY_SIZE(stacks); i++)
		if (sp >= block + stacks[i].start && sp < block + stacks[i].end)
			return block + stacks[i].end;
	return 0;
}

static void dump_stack(u64 sp)
{
	const u64 *word = (const u64 *)ALIGN_DOWN(sp, 8);
	u64 end = stack_end(sp);

	if (!end)
		log_error("  not in one of this CPU's stacks");
	for (u32 i = 0; i < STACK_WORDS && (u64)(word + i + 4) <= end; i += 4)
		log_error("  [%016lx] %016lx %016lx %016lx %016lx", (u64)(word + i), word[i],
			  word[i + 1], word[i + 2], word[i + 3]);
}

static __attribute__((noreturn)) void finish(u64 sp)
{
	log_error("CR0 %lx CR2 %lx CR3 %lx CR4 %lx", read_cr0(), read_cr2(), read_cr3(),
		  read_cr4());
	log_error("stack:");
	dump_stack(sp);
	if (more)
		more();
	log_error("KEEL PANIC: end of the dump; this machine needs a reset");
	stop_here();
}

void panic(const char *text, ...)
{
	char line[160];
	va_list ap;

	if (!begin())
		stop_here();
	va_start(ap, text);
	format_string(line, sizeof(line), text, ap);
	va_end(ap);
	log_error("KEEL PANIC on CPU %u: %s", this_cpu()->index, line);
	log_error("called from %p", __builtin_return_address(0));
	finish((u64)__builtin_frame_address(0));
}

void panic_exception(const struct exception_frame *f)
{
	if (!begin())
		stop_here();
	log_error("KEEL PANIC on CPU %u: exception %lu, error code %lx", this_cpu()->index,
		  f->vector, f->error);
	log_error("RIP %04lx:%016lx RSP %04lx:%016lx RFLAGS %08lx", f->cs, f->rip, f->ss, f->rsp,
		  f->rflags);
	log_error("RAX %016lx RCX %016lx RDX %016lx RBX %016lx", f->rax, f->rcx, f->rdx, f->rbx);
	log_error("RBP %016lx RSI %016lx RDI %016lx R8  %016lx", f->rbp, f->rsi, f->rdi, f->r8);
	log_error("R9  %016lx R10 %016lx R11 %016lx R12 %016lx", f->r9, f->r10, f->r11, f->r12);
	log_error("R13 %016lx R14 %016lx R15 %016lx", f->r13, f->r14, f->r15);
	finish(f->rsp);
}
