// SPDX-License-Identifier: MIT
/* KVM_RUN: its order of operations, and each exit. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "test.h"

#define RFLAGS_TF 0x100ul

GUEST(outs, 16, "outb %al, $0x10; outw %ax, $0x11; outl %eax, $0x12; hlt");
GUEST(quirk, 16, "outb %al, $0x7e; hlt");
GUEST(ins, 16, "inb $0x10, %al; inw $0x11, %ax; inl $0x12, %eax; hlt");
GUEST(rep_outs, 16, "movw $0x2000, %si; movw $3, %cx; movw $0x10, %dx; rep outsb; hlt");
GUEST(rep_ins, 16, "movw $0x2000, %di; movw $3, %cx; movw $0x10, %dx; rep insb; hlt");
GUEST(mmio_out, 16, "movb %al, (0); movw %ax, (2); movl %eax, (4); hlt");
GUEST(mmio_in, 16, "movb (0), %al; movw (2), %bx; movl (4), %ecx; hlt");
GUEST(mmio_64, 64, "movq %rax, 0x200000; movq 0x200008, %rbx; hlt");
GUEST(mmio_cross, 16, "movl $0x44332211, %eax; movl %eax, (0xffe); hlt");
GUEST(mmio_fetch, 16, "ljmp $0xf000, $0");
GUEST(spin, 16, "1: jmp 1b");
GUEST(halt, 16, "hlt; outb %al, $0x10; hlt");
GUEST(window, 16,
      "movw $handler1 - window + 0x1000, (0x80); movw $0, (0x82); nop; sti; nop; nop; outb %al, $0x11; hlt;"
      "handler1: outb %al, $0x10; iret");
GUEST(triple, 16, "lidt %cs:0x2000; int3");
GUEST(steps, 16, "nop; nop; incw %ax; hlt");
GUEST(breakpoint, 16,
      "movw $handler4 - breakpoint + 0x1000, (0xc); movw $0, (0xe); int3; hlt; handler4: outb %al, $0x10; hlt");
GUEST(watch, 16, "movw %ax, (0x2000); nop; hlt");
GUEST(cr8, 64, "movl $5, %eax; movq %rax, %cr8; xorl %eax, %eax; movq %rax, %cr8; hlt");
GUEST(read_cr8, 64, "movq %cr8, %rax; outb %al, $0x10; hlt");
GUEST(tpr, 16, "movl %ds:(0x80), %eax; movl %eax, %ds:(0x80); hlt");
GUEST(vmcall, 64, "movl $99, %eax; vmcall; outb %al, $0x10; hlt");
GUEST(vmmcall, 64, "movl $99, %eax; vmmcall; outb %al, $0x10; hlt");
GUEST(rdmsr_bad, 16,
      "movw $handler2 - rdmsr_bad + 0x1000, (0x34); movw $0, (0x36); movl $0x12345678, %ecx; rdmsr; outb %al, $0x11; hlt;"
      "handler2: outb %al, $0x10; hlt");
/* x87's FLD m80 from MMIO is nothing that KVM emulates. */
GUEST(odd_mmio, 16, "fldt (0)");
GUEST(sipi, 16, "outb %al, $0x55; hlt");

static uint8_t *data_page(void)
{
	return (uint8_t *)run + run->io.data_offset;
}

static void io_exit(unsigned direction, unsigned size, unsigned port, unsigned count)
{
	is("exit", run->exit_reason, KVM_EXIT_IO);
	is("direction", run->io.direction, direction);
	is("size", run->io.size, size);
	is_hex("port", run->io.port, port);
	is("count", run->io.count, count);
	is_hex("data_offset", run->io.data_offset, PAGE);
}

static void port_out(void)
{
	struct kvm_regs r;
	uint32_t value;

	machine(NO_CHIPS);
	subject("RUN", "OUT");
	START(outs);
	r = regs();
	r.rax = 0x11223344;
	set_regs(&r);
	is("result", enter(), 0);
	io_exit(KVM_EXIT_IO_OUT, 1, 0x10, 1);
	is_hex("data", data_page()[0], 0x44);
	is_hex("rip is at the instruction", regs().rip, CODE);
	is("2 bytes", enter(), 0);
	io_exit(KVM_EXIT_IO_OUT, 2, 0x11, 1);
	is_hex("rip is at the next one", regs().rip, CODE + 2);
	is("completed, no more", complete(), -EINTR);
	is("exit reason stays", run->exit_reason, KVM_EXIT_IO);
	is_hex("rip is behind it", regs().rip, CODE + 4);
	is("4 bytes", enter(), 0);
	io_exit(KVM_EXIT_IO_OUT, 4, 0x12, 1);
	memcpy(&value, data_page(), 4);
	is_hex("data", value, 0x11223344);
	is("HLT", next_exit(), KVM_EXIT_HLT);

	START(outs);
	is("again", next_exit(), KVM_EXIT_IO);
	r = regs();
	r.rip = CODE + 2;
	set_regs(&r);
	is("rip moved to the 2-byte one", next_exit(), KVM_EXIT_IO);
	is("which is not skipped", run->io.size, 2);
	complete();

	subject("RUN", "OUT to port 0x7e");
	START(quirk);
	is("exit", next_exit(), KVM_EXIT_IO);
	is_hex("rip is behind it", regs().rip, CODE + 2);
	complete();
}

static void port_in(void)
{
	struct kvm_regs r;

	machine(NO_CHIPS);
	subject("RUN", "IN");
	START(ins);
	r = regs();
	r.rax = 0x1122334455667788;
	set_regs(&r);
	is("result", enter(), 0);
	io_exit(KVM_EXIT_IO_IN, 1, 0x10, 1);
	data_page()[0] = 0xaa;
	is("2 bytes", enter(), 0);
	is_hex("1 byte is merged", regs().rax, 0x11223344556677aa);
	io_exit(KVM_EXIT_IO_IN, 2, 0x11, 1);
	memset(data_page(), 0xbb, 2);
	is("4 bytes", enter(), 0);
	is_hex("2 bytes are merged", regs().rax, 0x112233445566bbbb);
	io_exit(KVM_EXIT_IO_IN, 4, 0x12, 1);
	memset(data_page(), 0xcc, 4);
	is("completed, no more", complete(), -EINTR);
	is_hex("4 bytes are zero-extended", regs().rax, 0xcccccccc);
	is("HLT", next_exit(), KVM_EXIT_HLT);
}

static void port_strings(void)
{
	const uint64_t insn = CODE + (rep_outs_end - rep_outs) - 3; /* REP OUTSB, before HLT */
	unsigned exits = 0, bytes = 0;

	machine(NO_CHIPS);
	subject("RUN", "REP OUTSB");
	START(rep_outs);
	memcpy(memory + 0x2000, "abc", 3);
	for (unsigned i = 0; i < 3; i++) { /* by elements, and each is done when the VMM gets it */
		is("exit", next_exit(), KVM_EXIT_IO);
		is("direction", run->io.direction, KVM_EXIT_IO_OUT);
		is("size", run->io.size, 1);
		is("count", run->io.count, 1);
		is("data", data_page()[0], 'a' + i);
		is_hex("rsi", regs().rsi, 0x2001 + i);
		is_hex("rcx", regs().rcx, 2 - i);
		if (i < 2)
			is_hex("rip is at the instruction", regs().rip, insn);
	}
	is("HLT", next_exit(), KVM_EXIT_HLT);
	is_hex("rsi", regs().rsi, 0x2003);
	is_hex("rcx", regs().rcx, 0);

	subject("RUN", "REP INSB");
	START(rep_ins);
	is("exit", next_exit(), KVM_EXIT_IO);
	is("direction", run->io.direction, KVM_EXIT_IO_IN);
	is("size", run->io.size, 1);
	shown("count", run->io.count);
	exits = bytes = 0;
	do {
		memcpy(data_page(), "xyz" + bytes, run->io.count);
		exits++;
		bytes += run->io.count;
	} while (next_exit() == KVM_EXIT_IO && bytes < 3);
	shown("exits", exits);
	is("bytes", bytes, 3);
	is("HLT", run->exit_reason, KVM_EXIT_HLT);
	is("in memory", memcmp(memory + 0x2000, "xyz", 3), 0);
	is_hex("rdi", regs().rdi, 0x2003);
}

static void data_at(uint64_t gpa)
{
	struct kvm_sregs s = sregs();

	s.ds.base = gpa;
	if (call(vcpu, KVM_SET_SREGS, &s))
		abort();
}

static void mmio_exit(const char *what, uint64_t address, unsigned length, bool write)
{
	is(what, enter(), 0);
	is("exit", run->exit_reason, KVM_EXIT_MMIO);
	is_hex("address", run->mmio.phys_addr, address);
	is("length", run->mmio.len, length);
	is("write", run->mmio.is_write, write);
}

static uint64_t mmio_data(void)
{
	uint64_t value = 0;

	memcpy(&value, run->mmio.data, run->mmio.len < 8 ? run->mmio.len : 8);
	return value;
}

static void mmio(void)
{
	struct kvm_regs r;

	machine(NO_CHIPS);
	subject("RUN", "MMIO write");
	START(mmio_out);
	data_at(0x100000);
	r = regs();
	r.rax = 0x11223344;
	set_regs(&r);
	mmio_exit("1 byte", 0x100000, 1, true);
	is_hex("data", mmio_data(), 0x44);
	is_hex("rip is behind it", regs().rip, CODE + 3);
	mmio_exit("2 bytes", 0x100002, 2, true);
	is_hex("data", mmio_data(), 0x3344);
	mmio_exit("4 bytes", 0x100004, 4, true);
	is_hex("data", mmio_data(), 0x11223344);
	is("HLT", next_exit(), KVM_EXIT_HLT);

	START(mmio_out);
	data_at(0x100000);
	is("again", next_exit(), KVM_EXIT_MMIO);
	START(outs);
	memcpy(memory + CODE + 0x100, outs, outs_end - outs);
	real_mode(vcpu, CODE + 0x100);
	is("the VMM sets all registers: nothing of it is left", next_exit(), KVM_EXIT_IO);
	is_hex("rip", regs().rip, CODE + 0x100);
	complete();

	subject("RUN", "MMIO read");
	START(mmio_in);
	data_at(0x100000);
	r = regs();
	r.rax = r.rbx = 0x1122334455667788;
	r.rcx = ~0ul;
	set_regs(&r);
	mmio_exit("1 byte", 0x100000, 1, false);
	is_hex("rip is at the instruction", regs().rip, CODE);
	memset(run->mmio.data, 0xaa, 8);
	mmio_exit("2 bytes", 0x100002, 2, false);
	is_hex("1 byte is merged", regs().rax, 0x11223344556677aa);
	memset(run->mmio.data, 0xbb, 8);
	mmio_exit("4 bytes", 0x100004, 4, false);
	is_hex("2 bytes are merged", regs().rbx, 0x112233445566bbbb);
	memset(run->mmio.data, 0xcc, 8);
	is("completed, no more", complete(), -EINTR);
	is_hex("4 bytes are zero-extended", regs().rcx, 0xcccccccc);
	is("HLT", next_exit(), KVM_EXIT_HLT);

	subject("RUN", "MMIO of 8 bytes");
	START_LONG(mmio_64);
	r = regs();
	r.rax = 0x1122334455667788;
	set_regs(&r);
	mmio_exit("write", 0x200000, 8, true);
	is_hex("data", mmio_data(), 0x1122334455667788);
	mmio_exit("read", 0x200008, 8, false);
	memset(run->mmio.data, 0xdd, 8);
	is("HLT", next_exit(), KVM_EXIT_HLT);
	is_hex("data", regs().rbx, 0xdddddddddddddddd);

	machine(NO_CHIPS);
	subject("RUN", "MMIO across two pages");
	START(mmio_cross);
	data_at(0x100000);
	mmio_exit("the first half", 0x100ffe, 2, true);
	is_hex("data", mmio_data(), 0x2211);
	mmio_exit("the second half", 0x101000, 2, true);
	is_hex("data", mmio_data(), 0x4433);
	is("HLT", next_exit(), KVM_EXIT_HLT);
	subject("RUN", "MMIO from memory on");
	START(mmio_cross);
	data_at(MEMORY - PAGE);
	mmio_exit("the second half", MEMORY, 2, true);
	is_hex("data", mmio_data(), 0x4433);
	is("HLT", next_exit(), KVM_EXIT_HLT);
	is_hex("the first half is in memory", memory[MEMORY - 2] | memory[MEMORY - 1] << 8, 0x2211);
	START(mmio_cross);
	data_at(0x100000);
	next_exit();
	is("immediate_exit between the halves", complete(), 0);
	is_hex("gives the second half", run->mmio.phys_addr, 0x101000);
	is("then EINTR", complete(), -EINTR);
	is("HLT", next_exit(), KVM_EXIT_HLT);
}

/* ---- halting, interrupts ---- */

static void halting(void)
{
	machine(NO_CHIPS);
	subject("RUN", "HLT without an APIC");
	START(halt);
	is("exit", next_exit(), KVM_EXIT_HLT);
	is_hex("rip is behind it", regs().rip, CODE + 1);
	is("mp_state is RUNNABLE", ({
		   struct kvm_mp_state state;
		   call(vcpu, KVM_GET_MP_STATE, &state);
		   state.mp_state;
	   }), KVM_MP_STATE_RUNNABLE);
	is("goes on", next_exit(), KVM_EXIT_IO);
	complete();
	for (int split = 0; split < 2; split++) {
		machine(split ? SPLIT_CHIPS : ALL_CHIPS);
		subject("RUN", split ? "HLT, split" : "HLT with an APIC");
		START(halt);
		is("sleeps until a signal", enter_briefly(), -EINTR);
		is("exit reason", run->exit_reason, KVM_EXIT_INTR);
		is("mp_state is HALTED", ({
			   struct kvm_mp_state state;
			   call(vcpu, KVM_GET_MP_STATE, &state);
			   state.mp_state;
		   }), KVM_MP_STATE_HALTED);
		call(vcpu, KVM_NMI, 0);
		memcpy(memory + 8, "\x01\x10\0\0", 4); /* NMI: to behind the HLT */
		is("an NMI wakes it", next_exit(), KVM_EXIT_IO);
		complete();
	}
}

static void windows(void)
{
	struct kvm_interrupt irq = {.irq = 0x20};
	struct kvm_regs r;

	machine(NO_CHIPS);
	subject("RUN", "interrupt window");
	START(window);
	run->request_interrupt_window = 1;
	is("opens", next_exit(), KVM_EXIT_IRQ_WINDOW_OPEN);
	is("ready_for_interrupt_injection", run->ready_for_interrupt_injection, 1);
	is("if_flag", run->if_flag, 1);
	is_hex("rip is behind STI and one more", regs().rip, CODE + 15);
	is("KVM_INTERRUPT", call(vcpu, KVM_INTERRUPT, &irq), 0);
	run->request_interrupt_window = 0;
	is("the handler runs", next_exit(), KVM_EXIT_IO);
	is_hex("port", run->io.port, 0x10);
	is("if_flag", run->if_flag, 0);
	is("ready_for_interrupt_injection", run->ready_for_interrupt_injection, 0);
	is("returns", next_exit(), KVM_EXIT_IO);
	is_hex("port", run->io.port, 0x11);
	is("if_flag", run->if_flag, 1);
	is("ready_for_interrupt_injection", run->ready_for_interrupt_injection, 1);
	complete();
	START(window);
	r = regs();
	r.rflags = RFLAGS_IF | 2;
	set_regs(&r);
	run->request_interrupt_window = 1;
	is("open from the start", next_exit(), KVM_EXIT_IRQ_WINDOW_OPEN);
	is_hex("nothing ran", regs().rip, CODE);
	run->immediate_exit = 1;
	is("immediate_exit is first", next_exit(), -EINTR);
	run->immediate_exit = 0;
	run->request_interrupt_window = 0;

	subject("RUN", "interrupt window, split");
	machine(SPLIT_CHIPS);
	START(window);
	run->request_interrupt_window = 1;
	is("opens", next_exit(), KVM_EXIT_IRQ_WINDOW_OPEN);
	is("ready_for_interrupt_injection", run->ready_for_interrupt_injection, 1);
	is("KVM_INTERRUPT", call(vcpu, KVM_INTERRUPT, &irq), 0);
	run->request_interrupt_window = 0;
	is("the handler runs", next_exit(), KVM_EXIT_IO);
	is_hex("port", run->io.port, 0x10);
	complete();

	subject("RUN", "interrupt window, all chips in the kernel");
	machine(ALL_CHIPS);
	START(window);
	run->request_interrupt_window = 1;
	is("does not exit", next_exit(), KVM_EXIT_IO);
	is_hex("port", run->io.port, 0x11);
	is("ready_for_interrupt_injection", run->ready_for_interrupt_injection, 1);
	run->request_interrupt_window = 0;
	complete();
}

/* ---- signals and what comes first ---- */

static void at_once(void)
{
	timer_t timer;
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	const struct itimerspec soon = {.it_value.tv_nsec = 50000000};
	sigset_t usr1;

	machine(NO_CHIPS);
	subject("RUN", "argument and signals");
	START(outs);
	is("argument 1", call(vcpu, KVM_RUN, 1), -EINVAL);
	run->immediate_exit = 1;
	run->exit_reason = 99;
	is("immediate_exit", enter(), -EINTR);
	is("exit reason stays", run->exit_reason, 99);
	is_hex("nothing ran", regs().rip, CODE);
	run->immediate_exit = 0;

	START(spin);
	let_interrupts_in();
	timer_create(CLOCK_MONOTONIC, &event, &timer);
	timer_settime(timer, 0, &soon, &(struct itimerspec){});
	is("a signal ends a guest that spins", enter(), -EINTR);
	is("exit reason", run->exit_reason, KVM_EXIT_INTR);

	/* A signal that is pending and blocked does not count; with the mask of KVM_SET_SIGNAL_MASK it does. */
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	sigprocmask(SIG_BLOCK, &usr1, NULL);
	raise(SIGUSR1);
	START(outs);
	is("a blocked signal does not count", next_exit(), KVM_EXIT_IO);
	ROW("P3", KVM_SET_SIGNAL_MASK);
	{
		struct {
			uint32_t len;
			uint64_t set;
		} __attribute__((packed)) mask = {.len = 8};

		is("none blocked", call(vcpu, KVM_SET_SIGNAL_MASK, &mask), 0);
		is("the pending signal counts", enter(), -EINTR);
		is("exit reason", run->exit_reason, KVM_EXIT_INTR);
		is_hex("the pending OUT is completed all the same", regs().rip, CODE + 2);
		is("it is still pending", enter(), -EINTR);
		is("NULL", call(vcpu, KVM_SET_SIGNAL_MASK, NULL), 0);
		is("does not count any more", next_exit(), KVM_EXIT_IO);
		mask.len = 4;
		is("length 4", call(vcpu, KVM_SET_SIGNAL_MASK, &mask), -EINVAL);
		mask.len = 128;
		is("length 128", call(vcpu, KVM_SET_SIGNAL_MASK, &mask), -EINVAL);
		is("EFAULT", call(vcpu, KVM_SET_SIGNAL_MASK, BAD), -EFAULT);
	}
	subject("RUN", "run->cr8 without an APIC");
	START_LONG(read_cr8);
	run->cr8 = 16;
	is("16", enter(), -EINVAL);
	run->cr8 = 9;
	is("9", next_exit(), KVM_EXIT_IO);
	is("the guest sees it", data_page()[0], 9);
	is("kvm_run says so", run->cr8, 9);
	complete();
}

static struct kvm_run *ap_run;
static int ap;

static long ap_enter(long (*its_enter)(void))
{
	const int first = vcpu;
	struct kvm_run *its = run;
	long result;

	vcpu = ap;
	run = ap_run;
	result = its_enter();
	vcpu = first;
	run = its;
	return result;
}

static uint32_t state_of(int fd)
{
	struct kvm_mp_state state = {};

	call(fd, KVM_GET_MP_STATE, &state);
	return state.mp_state;
}

static long ipi(uint32_t mode_and_vector)
{
	struct kvm_msi msi = {.address_lo = 0xfee01000, .data = mode_and_vector};

	return call(vm, KVM_SIGNAL_MSI, &msi);
}

static void start_up(void)
{
	machine(ALL_CHIPS);
	subject("RUN", "a second vCPU");
	ap = add_vcpu(1, &ap_run);
	is("waits for INIT", state_of(ap), KVM_MP_STATE_UNINITIALIZED);
	is("the first one runs", state_of(vcpu), KVM_MP_STATE_RUNNABLE);
	ap_run->immediate_exit = 1;
	is("immediate_exit", ap_enter(enter), -EINTR);
	ap_run->immediate_exit = 0;
	ap_run->exit_reason = 99;
	is("a signal", ap_enter(enter_briefly), -EINTR);
	is("exit reason", ap_run->exit_reason, KVM_EXIT_INTR);
	/* As every VMM does: Linux's table of destinations is not made when a vCPU is. */
	{
		static struct kvm_lapic_state apic;

		call(ap, KVM_GET_LAPIC, &apic);
		is("KVM_SET_LAPIC", call(ap, KVM_SET_LAPIC, &apic), 0);
	}
	is("INIT", ipi(0x500), 1);
	is("SIPI", ipi(0x601), 1);
	is("EAGAIN", ap_enter(enter), -EAGAIN);
	is("runs now", state_of(ap), KVM_MP_STATE_RUNNABLE);
	memcpy(memory + CODE, sipi, sipi_end - sipi);
	is("where SIPI said", ap_enter(enter), 0);
	is("exit", ap_run->exit_reason, KVM_EXIT_IO);
	is_hex("port", ap_run->io.port, 0x55);
}

/* ---- ends ---- */

static void dead_ends(void)
{
	machine(NO_CHIPS);
	subject("RUN", "triple fault");
	START(triple);
	is("exit", next_exit(), KVM_EXIT_SHUTDOWN);

	machine(NO_CHIPS);
	subject("RUN", "no memory at the reset vector");
	is("exit", next_exit(), KVM_EXIT_INTERNAL_ERROR);
	is("suberror", run->internal.suberror, KVM_INTERNAL_ERROR_EMULATION);
	is("ndata is 1 at least", run->internal.ndata >= 1, 1);

	machine(NO_CHIPS);
	subject("RUN", "MMIO that cannot be emulated");
	START(odd_mmio);
	data_at(0x100000);
	is("exit", next_exit(), KVM_EXIT_INTERNAL_ERROR);
	is("suberror", run->internal.suberror, KVM_INTERNAL_ERROR_EMULATION);
	is("ndata is 3 at least", run->internal.ndata >= 3, 1);
	is("flags", run->emulation_failure.flags, KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES);
	is("the whole instruction is there", run->emulation_failure.insn_size >= 4, 1);
	is("its bytes", memcmp(run->emulation_failure.insn_bytes, odd_mmio, odd_mmio_end - odd_mmio), 0);
	is_hex("rip is at it", regs().rip, CODE);

	machine(NO_CHIPS);
	subject("RUN", "jump to where no memory is");
	START(mmio_fetch);
	is("exit", next_exit(), KVM_EXIT_INTERNAL_ERROR);
	is("suberror", run->internal.suberror, KVM_INTERNAL_ERROR_EMULATION);

	machine(NO_CHIPS);
	subject("RUN", "RDMSR of no MSR");
	START(rdmsr_bad);
	is("exit", next_exit(), KVM_EXIT_IO);
	is_hex("#GP's handler", run->io.port, 0x10);
	complete();
}

static void hypercalls(void)
{
	machine(NO_CHIPS);
	subject("RUN", "unknown hypercall");
	START_LONG(vmcall);
	is("VMCALL", next_exit(), KVM_EXIT_IO);
	is("-KVM_ENOSYS", (long)regs().rax, -1000);
	complete();
	START_LONG(vmmcall);
	is("VMMCALL", next_exit(), KVM_EXIT_IO);
	is("-KVM_ENOSYS", (long)regs().rax, -1000);
	complete();
}

static long debug(uint32_t control, uint64_t address, uint64_t dr7)
{
	struct kvm_guest_debug d = {.control = control, .arch.debugreg = {address, [7] = dr7}};

	return call(vcpu, KVM_SET_GUEST_DEBUG, &d);
}

static void debug_exit(const char *what, unsigned exception, uint64_t pc, uint64_t dr6)
{
	is(what, next_exit(), KVM_EXIT_DEBUG);
	is("exception", run->debug.arch.exception, exception);
	is_hex("pc", run->debug.arch.pc, pc);
	if (exception == 1)
		is_hex("dr6", run->debug.arch.dr6 & 0xe00f, dr6);
}

/* QEMU's SVM does not intercept INT3 and has no breakpoints for its guests: the guest goes on there. */
static void debug_exit_if(const char *what, unsigned exception, uint64_t pc, uint64_t dr6)
{
	long reason = next_exit();

	shown(what, reason);
	if (reason == KVM_EXIT_DEBUG) {
		is("exception", run->debug.arch.exception, exception);
		is_hex("pc", run->debug.arch.pc, pc);
		is_hex("dr6", exception == 1 ? run->debug.arch.dr6 & 0xe00f : dr6, dr6);
	}
}

static void debugging(void)
{
	uint64_t first;

	machine(NO_CHIPS);
	ROW("P2", KVM_SET_GUEST_DEBUG);
	is("EFAULT", call(vcpu, KVM_SET_GUEST_DEBUG, BAD), -EFAULT);
	START(steps);
	is("single step", debug(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP, 0, 0), 0);
	is("one", next_exit(), KVM_EXIT_DEBUG);
	/* Bochs' VMX traps once more, before the first instruction. */
	first = run->debug.arch.pc;
	shown("pc - CODE", first - CODE);
	is("is 0 or 1", first == CODE || first == CODE + 1, 1);
	is("exception", run->debug.arch.exception, 1);
	is_hex("dr6", run->debug.arch.dr6 & 0xe00f, 0x4000);
	debug_exit("two", 1, first + 1, 0x4000);
	is_hex("TF is hidden", regs().rflags & RFLAGS_TF, 0);
	debug_exit("three", 1, first + 2, 0x4000);
	is("off", debug(0, 0, 0), 0);
	is("HLT", next_exit(), KVM_EXIT_HLT);
	START(breakpoint);
	is("software breakpoints", debug(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP, 0, 0), 0);
	debug_exit_if("INT3", 3, CODE + 12, 0);
	complete();
	START(steps);
	is("hardware breakpoints", debug(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP, CODE + 2, 0x2), 0);
	debug_exit_if("instruction", 1, CODE + 2, 1);
	START(watch);
	is("watchpoint", debug(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP, 0x2000, 0x10002 | 0x40000), 0);
	debug_exit_if("write", 1, CODE + 3, 1);
	is("off", debug(0, 0, 0), 0);
	START(steps);
	is("inject #DB", debug(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_INJECT_DB, 0, 0), 0);
	is("inject #BP while that is pending", debug(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_INJECT_BP, 0, 0), -EBUSY);
}

static void tprs(void)
{
	struct kvm_tpr_access_ctl control = {.enabled = 1};

	machine(NO_CHIPS);
	subject("RUN", "CR8 without an APIC");
	START_LONG(cr8);
	run->cr8 = 0;
	is("lowered", next_exit(), KVM_EXIT_SET_TPR);
	is("cr8", run->cr8, 0);
	is("goes on", next_exit(), KVM_EXIT_HLT);

	machine(ALL_CHIPS);
	ROW("P2", KVM_TPR_ACCESS_REPORTING);
	is("EFAULT", call(vcpu, KVM_TPR_ACCESS_REPORTING, BAD), -EFAULT);
	is("on", call(vcpu, KVM_TPR_ACCESS_REPORTING, &control), 0);
	subject("RUN", "access to the TPR, reported");
	START(tpr);
	data_at(0xfee00000);
	is("read", next_exit(), KVM_EXIT_TPR_ACCESS);
	is("is a write", run->tpr_access.is_write, 0);
	shown("rip - CODE", run->tpr_access.rip - CODE);
	is("write", next_exit(), KVM_EXIT_TPR_ACCESS);
	is("is a write", run->tpr_access.is_write, 1);
	shown("rip - CODE", run->tpr_access.rip - CODE);
	control.enabled = 0;
	is("off", call(vcpu, KVM_TPR_ACCESS_REPORTING, &control), 0);
	START(tpr);
	data_at(0xfee00000);
	is("not reported", enter_briefly(), -EINTR);
	machine(NO_CHIPS);
	ROW("P2", KVM_TPR_ACCESS_REPORTING);
	shown("without an APIC", call(vcpu, KVM_TPR_ACCESS_REPORTING, &control));
}

static void *gets_regs(void *unused)
{
	static struct kvm_regs r;

	return (void *)call(vcpu, KVM_GET_REGS, &r);
}

/* Requests on a vCPU that runs wait until it does not. */
static void concurrency(void)
{
	pthread_t thread;
	void *result = NULL;
	sigset_t all;

	machine(NO_CHIPS);
	subject("RUN", "another thread");
	START(spin);
	let_interrupts_in();
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	pthread_create(&thread, NULL, gets_regs, NULL);
	sigprocmask(SIG_UNBLOCK, &all, NULL);
	is("the guest spins until a signal", enter_spinning(), -EINTR);
	pthread_join(thread, &result);
	is("the other's KVM_GET_REGS", (long)result, 0);
}

const struct group run_groups[] = {
	{"run out", port_out}, {"run in", port_in}, {"run strings", port_strings}, {"run mmio", mmio},
	{"run hlt", halting}, {"run window", windows}, {"run signals", at_once}, {"run start-up", start_up},
	{"run ends", dead_ends}, {"run hypercall", hypercalls}, {"run debug", debugging}, {"run tpr", tprs},
	{"run threads", concurrency}, {},
};
