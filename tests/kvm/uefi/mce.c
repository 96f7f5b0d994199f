// SPDX-License-Identifier: MIT
/*
 * Machine checks that the machine raises, each when this program asks for it: while a child of CPU
 * 0 runs (`child`), and while CPU 1 waits in root for a SIPI (`root`). Needs xAPIC mode and
 * IA32_MC1.
 */
#include "idt.h"
#include <fcntl.h>
#include <keel.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "kvm/abi.h"

#define MC		18
#define MSR_MC1_STATUS	0x405
#define APIC		0xfee00000ul
#define ICR_INIT_OTHERS 0xc4500 /* all but the sender, assert, INIT */
#define ICR_BUSY	0x1000
#define MEMORY		(4u << 20)

__asm__(".pushsection .rodata\n.hidden job, job_end\n.global job, job_end\n"
	"job: .incbin \"build/guests/jobs/count.bin\"\njob_end:\n.popsection\n");
extern const uint8_t job[], job_end[];

/* What the handler saw; it clears both, as an operating system's does. */
extern char mc_handler[];
volatile uint64_t checks, bank_status, global_status;

__asm__(".text\n"
	"mc_handler:\n"
	"	push %rax; push %rcx; push %rdx\n"
	"	mov $0x405, %ecx; rdmsr\n"
	"	mov %eax, bank_status(%rip); mov %edx, bank_status+4(%rip)\n"
	"	mov $0x17a, %ecx; rdmsr\n"
	"	mov %eax, global_status(%rip)\n"
	"	xor %eax, %eax; xor %edx, %edx; wrmsr\n"
	"	mov $0x405, %ecx; wrmsr\n"
	"	incq checks(%rip)\n"
	"	pop %rdx; pop %rcx; pop %rax\n"
	"	iretq\n");

struct child {
	int vm, vcpu;
	struct kvm_run *run;
	uint8_t *memory;
};

static uint64_t read_msr(uint32_t index)
{
	uint32_t low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
	return (uint64_t)high << 32 | low;
}

static struct gate set_gate(uint64_t handler)
{
	struct idt idt;
	struct gate before;

	__asm__ volatile("sidt %0" : "=m"(idt));
	before = idt.gates[MC];
	idt.gates[MC].offset_low = handler;
	idt.gates[MC].offset_middle = handler >> 16;
	idt.gates[MC].offset_high = handler >> 32;
	return before;
}

static int child_create(struct child *c)
{
	struct kvm_userspace_memory_region region = {.memory_size = MEMORY};
	struct kvm_regs regs = {.rip = 0x8000, .rflags = 2};
	struct kvm_sregs sregs;
	int kvm = open("/dev/kvm", O_RDWR);

	c->vm = ioctl(kvm, KVM_CREATE_VM, 0);
	c->memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	region.userspace_addr = (uintptr_t)c->memory;
	if (ioctl(c->vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		return -1;
	c->vcpu = ioctl(c->vm, KVM_CREATE_VCPU, 0);
	c->run = mmap(NULL, 12288, PROT_READ | PROT_WRITE, MAP_SHARED, c->vcpu, 0);
	memcpy(c->memory + 0x8000, job, job_end - job);
	if (c->run == MAP_FAILED || ioctl(c->vcpu, KVM_GET_SREGS, &sregs) < 0)
		return -1;
	sregs.cs.base = sregs.cs.selector = 0;
	return ioctl(c->vcpu, KVM_SET_SREGS, &sregs) < 0 || ioctl(c->vcpu, KVM_SET_REGS, &regs) < 0;
}

/* Until the child comes to the port; what it reads there. 0, or what ended its run otherwise. */
static int child_run(struct child *c, uint16_t port, uint8_t answer)
{
	if (ioctl(c->vcpu, KVM_RUN, 0) < 0)
		return -1;
	if (c->run->exit_reason != KVM_EXIT_IO || c->run->io.port != port)
		return 100 + c->run->exit_reason;
	*((uint8_t *)c->run + c->run->io.data_offset) = answer;
	return 0;
}

/* Runs it until the machine has raised what the word names. */
static int wait_for(struct child *c, const char *word, uint64_t count)
{
	int error = 0;

	printf("mce: %s, please\n", word);
	while (!error && (count ? checks < count : !read_msr(MSR_MC1_STATUS)))
		error = child_run(c, 0xf2, 0);
	if (!count) { /* a corrected one only waits there */
		bank_status = read_msr(MSR_MC1_STATUS);
		__asm__ volatile("wrmsr" : : "a"(0), "d"(0), "c"(MSR_MC1_STATUS));
	}
	printf("mce: %s: bank %lx, MCG_STATUS %lx, %lu taken\n", word, bank_status, global_status,
	       checks);
	return error;
}

static int during_a_child(void)
{
	static const char *const names[KEEL_STAT_REASONS] = KEEL_STAT_NAMES;
	static struct keel_stats stats;
	struct gate firmware = set_gate((uint64_t)mc_handler);
	struct child c;
	uint64_t ended = 0;
	int error;

	if (child_create(&c)) {
		perror("mce: child");
		return 1;
	}
	error = wait_for(&c, "corrected", 0) || wait_for(&c, "recoverable", 1) ||
		wait_for(&c, "fatal", 2) || child_run(&c, 0xf2, 1) || child_run(&c, 0xf4, 0);
	ioctl(c.vcpu, KEEL_STATS, &stats);
	for (unsigned int i = 0; names[i]; i++)
		ended += strcmp(names[i], "machine check") ? 0 : stats.count[i];
	printf("mce: the child %s; %lu of its runs ended with one\n", error ? "died" : "went on",
	       ended);
	set_gate((uint64_t)firmware.offset_high << 32 | firmware.offset_middle << 16 |
		 firmware.offset_low);
	return error;
}

static void say(void *argument)
{
	printf("mce: CPU %u %s\n", keel_cpu(), (const char *)argument);
}

static int while_another_waits(void)
{
	volatile uint32_t *icr = (volatile uint32_t *)(APIC + 0x300);
	struct keel_thread *thread;

	*icr = ICR_INIT_OTHERS;
	while (*icr & ICR_BUSY)
		;
	printf("mce: one to CPU 1, please\n");
	keel_sleep_us(2000000);
	thread = keel_thread_create(1, say, "works again");
	return !thread || keel_thread_join(thread, 5000);
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "root"))
		return while_another_waits();
	return during_a_child();
}
