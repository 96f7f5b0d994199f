/* SPDX-License-Identifier: MIT */
/*
 * A KVM client whose vCPU has a state that no processor enters: 64-bit code with a default operand
 * size. KVM_RUN must tell of the failed entry.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define MEMORY (1 << 20)

static int check(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
	return result;
}

static void long_mode(int vcpu)
{
	struct kvm_segment code = {.limit = 0xffffffff, .selector = 8, .type = 11, .present = 1,
				   .l = 1, .db = 1, .s = 1, .g = 1};
	struct kvm_sregs s;

	check(ioctl(vcpu, KVM_GET_SREGS, &s), "KVM_GET_SREGS");
	s.cr3 = 0x10000;
	s.cr4 = 1 << 5;            /* PAE */
	s.cr0 = 0x80050033;        /* PG, AM, WP, NE, ET, MP, PE */
	s.efer = 1 << 8 | 1 << 10; /* LME, LMA */
	s.cs = code;
	check(ioctl(vcpu, KVM_SET_SREGS, &s), "KVM_SET_SREGS");
}

int main(void)
{
	int kvm = check(open("/dev/kvm", O_RDWR), "/dev/kvm");
	int vm = check(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	int size = check(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE"), vcpu;
	void *memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region region = {.memory_size = MEMORY,
						     .userspace_addr = (uintptr_t)memory};
	struct kvm_run *run;
	uint64_t reason;
	int refused;

	check(ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000), "KVM_SET_TSS_ADDR");
	check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
	vcpu = check(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
	run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (memory == MAP_FAILED || run == MAP_FAILED)
		return 1;
	long_mode(vcpu);
	check(ioctl(vcpu, KVM_RUN, 0), "KVM_RUN");
	reason = run->fail_entry.hardware_entry_failure_reason;
	/* VMX: entry failure by guest state; SVM: VMEXIT_INVALID */
	refused = run->exit_reason == KVM_EXIT_FAIL_ENTRY &&
		  (reason == 0x80000021 || (uint32_t)reason == 0xffffffff);
	printf("invalid: exit %u, reason %llx: %s\n", run->exit_reason, (unsigned long long)reason,
	       refused ? "passed" : "FAILED");
	return !refused;
}
