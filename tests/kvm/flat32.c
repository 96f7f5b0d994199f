// SPDX-License-Identifier: MIT
/*
 * A 32-bit guest without paging, with the in-kernel interrupt controllers: the PIT's tick, through the 8259
 * and the guest's IDT, counts to ten or more while the guest sleeps in HLT; it prints at a console port.
 */
#include <err.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define MEMORY  (1 << 20)
#define IDT     0x2000
#define GDT     0x3000
#define HANDLER 0x1800
#define CONSOLE 0xe9
#define DONE    0xea

static const uint8_t code[] = { /* at 0x1000 */
	0xb0, 0x11, 0xe6, 0x20,             /* 8259: ICW1 */
	0xb0, 0x20, 0xe6, 0x21,             /* ICW2: vectors from 0x20 */
	0xb0, 0x04, 0xe6, 0x21,             /* ICW3 */
	0xb0, 0x01, 0xe6, 0x21,             /* ICW4 */
	0xb0, 0xfe, 0xe6, 0x21,             /* mask all but IRQ 0 */
	0xb0, 0x34, 0xe6, 0x43,             /* PIT: channel 0, rate generator */
	0xb0, 0xa9, 0xe6, 0x40,             /* 1193 ticks: 1 kHz */
	0xb0, 0x04, 0xe6, 0x40,
	0x31, 0xdb,                         /* xor %ebx, %ebx */
	0xfb,                               /* again: sti */
	0xf4,                               /* hlt */
	0x83, 0xfb, 0x0a,                   /* cmp $10, %ebx */
	0x72, 0xf9,                         /* jb again */
	0xfa,                               /* cli */
	0xe6, DONE,                         /* out %al, $DONE */
	0xf4,
};
static const uint8_t handler[] = { /* at HANDLER */
	0x50,                   /* push %eax */
	0xb0, '.', 0xe6, CONSOLE,
	0xb0, 0x20, 0xe6, 0x20, /* end of interrupt */
	0x43,                   /* inc %ebx */
	0x58,                   /* pop %eax */
	0xcf,                   /* iret */
};

static void *guest_memory(void)
{
	static const uint64_t gdt[] = { 0, 0x00cf9b000000ffff, 0x00cf93000000ffff };
	const uint64_t gate = (HANDLER & 0xffff) | 8ull << 16 | 0x8e00ull << 32;
	uint8_t *mem = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		err(1, "mmap");
	memcpy(mem + 0x1000, code, sizeof(code));
	memcpy(mem + HANDLER, handler, sizeof(handler));
	memcpy(mem + GDT, gdt, sizeof(gdt));
	memcpy(mem + IDT + 0x20 * 8, &gate, sizeof(gate));
	return mem;
}

static void protected_mode(int vcpu)
{
	struct kvm_segment flat = { .limit = 0xffffffff, .present = 1, .db = 1, .s = 1, .g = 1 };
	struct kvm_regs regs = { .rip = 0x1000, .rsp = 0x8000, .rflags = 2 };
	struct kvm_sregs s;

	if (ioctl(vcpu, KVM_GET_SREGS, &s) < 0)
		err(1, "KVM_GET_SREGS");
	flat.selector = 8;
	flat.type = 11;
	s.cs = flat;
	flat.selector = 16;
	flat.type = 3;
	s.ds = s.es = s.fs = s.gs = s.ss = flat;
	s.gdt.base = GDT;
	s.gdt.limit = 23;
	s.idt.base = IDT;
	s.idt.limit = 0x107;
	s.cr0 |= 1;
	if (ioctl(vcpu, KVM_SET_SREGS, &s) < 0 || ioctl(vcpu, KVM_SET_REGS, &regs) < 0)
		err(1, "KVM_SET_SREGS");
}

int main(void)
{
	struct kvm_pit_config pit = { .flags = 0 };
	int kvm = open("/dev/kvm", O_RDWR), vm, vcpu, size, ticks = 0;
	char text[64] = "";
	struct kvm_run *run;

	if (kvm < 0)
		err(1, "/dev/kvm");
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0 || ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000) < 0 || ioctl(vm, KVM_CREATE_IRQCHIP, 0) < 0 ||
	    ioctl(vm, KVM_CREATE_PIT2, &pit) < 0)
		err(1, "creating the machine");
	struct kvm_userspace_memory_region r = { .memory_size = MEMORY,
						 .userspace_addr = (uintptr_t)guest_memory() };
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &r) < 0)
		err(1, "KVM_SET_USER_MEMORY_REGION");
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (vcpu < 0 || size < 0)
		err(1, "KVM_CREATE_VCPU");
	run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, vcpu, 0);
	if (run == MAP_FAILED)
		err(1, "kvm_run");
	protected_mode(vcpu);
	for (;;) {
		if (ioctl(vcpu, KVM_RUN, 0) < 0)
			err(1, "KVM_RUN");
		if (run->exit_reason != KVM_EXIT_IO)
			errx(1, "exit reason %u, suberror %u", run->exit_reason, run->internal.suberror);
		if (run->io.port == DONE)
			break;
		if (run->io.port != CONSOLE)
			errx(1, "port %#x", run->io.port);
		/* Printed at the end: a tick a character is too fast for a slow console. */
		if (ticks < (int)sizeof(text) - 1)
			text[ticks] = *((char *)run + run->io.data_offset);
		ticks++;
	}
	printf("%s\nflat32: %s, %d ticks\n", text, ticks >= 10 ? "passed" : "FAILED", ticks);
	munmap(run, size);
	close(vcpu);
	close(vm);
	close(kvm);
	return ticks < 10;
}
