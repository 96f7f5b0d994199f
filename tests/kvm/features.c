/* SPDX-License-Identifier: MIT */
/*
 * What fewer VMMs ask of /dev/kvm, each with a guest of a few instructions: registers in kvm_run,
 * MSRs that the VMM answers, a TSC's offset, HLT without an exit. Runs on Linux's KVM and on Keel.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define MEMORY  0x10000
#define CODE    0x1000
#define VECTORS 0x2000 /* the handlers */

/* Real mode. Port 0x10 takes EAX, 0x11 ends. */
#define GUEST(name, text)                                                                          \
	__asm__(".pushsection .rodata\n.code16\n.hidden " #name "\n.global " #name "\n" #name      \
		":\n" text "\n.hidden " #name "_end\n.global " #name "_end\n" #name                \
		"_end:\n.code64\n.popsection\n");                                                  \
	extern const uint8_t name[], name##_end[]

GUEST(registers, "out %eax, $0x10\n incl %edi\n out %eax, $0x10\n hlt");
GUEST(msrs, "mov $0x12345678, %ecx\n rdmsr\n out %eax, $0x10\n mov %edx, %eax\n out %eax, $0x10\n"
	    "mov $0x277, %ecx\n mov $0x00070406, %eax\n mov %eax, %edx\n wrmsr\n"
	    "mov $0xbad, %eax\n out %eax, $0x10\n hlt");
GUEST(fault, "mov $0xd, %eax\n out %eax, $0x10\n out %al, $0x11\n hlt");
GUEST(tsc, "rdtsc\n out %eax, $0x10\n mov %edx, %eax\n out %eax, $0x10\n hlt");
/* The PIT at 1 kHz by way of the PIC, vector 32; the fifth tick ends. */
GUEST(halts, "mov $0x11, %al\n out %al, $0x20\n mov $0x20, %al\n out %al, $0x21\n"
	     "mov $4, %al\n out %al, $0x21\n mov $1, %al\n out %al, $0x21\n mov $0xfe, %al\n"
	     "out %al, $0x21\n mov $0x34, %al\n out %al, $0x43\n mov $0xa9, %al\n out %al, $0x40\n"
	     "mov $4, %al\n out %al, $0x40\n xor %ebx, %ebx\n mov $0x8000, %sp\n"
	     "1: sti\n hlt\n cmp $5, %bl\n jb 1b\n mov %ebx, %eax\n out %eax, $0x10\n out %al, $0x11\n"
	     "2: jmp 2b");
GUEST(tick, "inc %ebx\n push %ax\n mov $0x20, %al\n out %al, $0x20\n pop %ax\n iret");

static int kvm, vm, vcpu, failures;
static uint8_t *memory;
static struct kvm_run *run;

static void check(int ok, const char *what)
{
	printf("%s %s\n", ok ? "ok" : "FAIL", what);
	failures += !ok;
}

static void vector(unsigned number, const uint8_t *start, const uint8_t *end)
{
	uint16_t entry[2] = {VECTORS + number * 64, 0};

	memcpy(memory + number * 4, entry, sizeof(entry));
	memcpy(memory + entry[0], start, end - start);
}

static int create(void)
{
	struct kvm_userspace_memory_region region = {.memory_size = MEMORY};

	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	region.userspace_addr = (uintptr_t)memory;
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	return memory == MAP_FAILED || vm < 0 ||
	       ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0;
}

static int start(const uint8_t *code, const uint8_t *end)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs = {.rip = CODE, .rflags = 2};

	memcpy(memory + CODE, code, end - code);
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (vcpu < 0 || ioctl(vcpu, KVM_GET_SREGS, &sregs) < 0)
		return -1;
	sregs.cs.base = sregs.cs.selector = 0;
	run = mmap(NULL, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED,
		   vcpu, 0);
	if (run == MAP_FAILED || ioctl(vcpu, KVM_SET_SREGS, &sregs) < 0)
		return -1;
	return ioctl(vcpu, KVM_SET_REGS, &regs);
}

static void end(void)
{
	munmap(run, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0));
	close(vcpu);
	close(vm);
	munmap(memory, MEMORY);
}

static int enable(uint32_t cap, uint64_t value)
{
	struct kvm_enable_cap c = {.cap = cap, .args[0] = value};

	return ioctl(vm, KVM_ENABLE_CAP, &c);
}

/* The next word for port 0x10; ~0: something else happened. */
static uint32_t word(void)
{
	uint32_t value;

	if (ioctl(vcpu, KVM_RUN, 0) < 0 || run->exit_reason != KVM_EXIT_IO || run->io.port != 0x10)
		return ~0u;
	memcpy(&value, (uint8_t *)run + run->io.data_offset, sizeof(value));
	return value;
}

static void try_registers(void)
{
	check(ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS) == 7, "SYNC_REGS");
	if (create() || start(registers, registers_end)) {
		check(0, "registers");
		return;
	}
	run->kvm_valid_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
	check(word() == 0 && run->s.regs.regs.rip == CODE && run->s.regs.sregs.cs.base == 0,
	      "registers are shown");
	run->s.regs.regs.rip += 3; /* behind OUT with its prefix */
	run->s.regs.regs.rax = 0x55aa1234;
	run->s.regs.regs.rdi = 41;
	run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
	check(word() == 0x55aa1234 && run->s.regs.regs.rdi == 42 && run->kvm_dirty_regs == 0,
	      "registers are taken");
	run->kvm_valid_regs = 8;
	check(ioctl(vcpu, KVM_RUN, 0) < 0 && errno == EINVAL, "an unknown part is refused");
	run->kvm_valid_regs = 0;
	run->kvm_dirty_regs = KVM_SYNC_X86_SREGS;
	run->s.regs.sregs.cr4 = ~0ull;
	check(ioctl(vcpu, KVM_RUN, 0) < 0 && errno == EINVAL, "bad registers are refused");
	end();
}

static int msr_exit(uint32_t reason, uint32_t index, uint32_t why)
{
	return !ioctl(vcpu, KVM_RUN, 0) && run->exit_reason == reason && run->msr.index == index &&
	       run->msr.reason == why && !run->msr.error;
}

static void try_msrs(void)
{
	uint64_t none = 0;
	struct kvm_msr_filter filter = {
		.ranges[0] = {.flags = KVM_MSR_FILTER_WRITE, .nmsrs = 1, .base = 0x277,
			      .bitmap = (uint8_t *)&none},
	};

	if (create() || start(msrs, msrs_end)) {
		check(0, "MSRs");
		return;
	}
	vector(13, fault, fault_end);
	check(enable(KVM_CAP_X86_USER_SPACE_MSR, 8) < 0 && errno == EINVAL, "an unknown reason");
	check(!enable(KVM_CAP_X86_USER_SPACE_MSR,
		      KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_FILTER) &&
		      !ioctl(vm, KVM_X86_SET_MSR_FILTER, &filter),
	      "a filter");
	check(msr_exit(KVM_EXIT_X86_RDMSR, 0x12345678, KVM_MSR_EXIT_REASON_UNKNOWN),
	      "an MSR that is not there");
	run->msr.data = 0x1122334455667788;
	check(word() == 0x55667788 && word() == 0x11223344, "the VMM answers");
	check(msr_exit(KVM_EXIT_X86_WRMSR, 0x277, KVM_MSR_EXIT_REASON_FILTER) &&
		      run->msr.data == 0x0007040600070406,
	      "a write that is filtered");
	run->msr.error = 1;
	check(word() == 13, "and refused: #GP");
	filter.ranges[0].flags = 4;
	check(ioctl(vm, KVM_X86_SET_MSR_FILTER, &filter) < 0 && errno == EINVAL, "bad flags");
	end();
}

static uint64_t now(void)
{
	uint32_t low, high;

	__asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

static void try_tsc(void)
{
	uint64_t offset = 0, mask = 0, before, seen;
	struct kvm_device_attr attr = {.attr = KVM_VCPU_TSC_OFFSET, .addr = (uintptr_t)&offset};

	if (create() || start(tsc, tsc_end)) {
		check(0, "TSC");
		return;
	}
	check(!ioctl(vcpu, KVM_HAS_DEVICE_ATTR, &attr) && !ioctl(vcpu, KVM_SET_DEVICE_ATTR, &attr),
	      "an offset of 0");
	before = now();
	seen = word();
	seen |= (uint64_t)word() << 32;
	check(seen >= before && seen <= now(), "is the host's TSC");
	offset = 1;
	check(!ioctl(vcpu, KVM_GET_DEVICE_ATTR, &attr) && !offset, "and reads back");
	attr.attr = 1;
	check(ioctl(vcpu, KVM_GET_DEVICE_ATTR, &attr) < 0 && errno == ENXIO, "no other attribute");
	attr = (struct kvm_device_attr){.attr = KVM_X86_XCOMP_GUEST_SUPP,
					.addr = (uintptr_t)&mask};
	check(!ioctl(kvm, KVM_GET_DEVICE_ATTR, &attr) && mask & 3, "extended states of guests");
	end();
}

static void try_halts(void)
{
	struct kvm_pit_config pit = {0};
	uint32_t ticks;

	if (create() || enable(KVM_CAP_X86_DISABLE_EXITS, KVM_X86_DISABLE_EXITS_HLT) ||
	    ioctl(vm, KVM_CREATE_IRQCHIP, 0) < 0 || ioctl(vm, KVM_CREATE_PIT2, &pit) < 0 ||
	    start(halts, halts_end)) {
		check(0, "HLT without an exit");
		return;
	}
	check(enable(KVM_CAP_X86_DISABLE_EXITS, 16) < 0 && errno == EINVAL, "unknown exits");
	vector(32, tick, tick_end);
	ticks = word();
	check(ticks >= 5 && ticks < 100, "ticks reach a guest that halts without an exit");
	end();
}

int main(void)
{
	kvm = open("/dev/kvm", O_RDWR);
	if (kvm < 0) {
		perror("/dev/kvm");
		return 1;
	}
	try_registers();
	try_msrs();
	try_tsc();
	try_halts();
	printf("features: %s\n", failures ? "FAILED" : "passed");
	return failures != 0;
}
