// SPDX-License-Identifier: MIT
/* The smallest KVM client: 16 bytes of real-mode code add two numbers and print the digit at a port. */
#include <err.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>

int main(void)
{
	const uint8_t code[] = {
		0xba, 0xf8, 0x03, /* mov $0x3f8, %dx */
		0x00, 0xd8,       /* add %bl, %al */
		0x04, '0',        /* add $'0', %al */
		0xee,             /* out %al, (%dx) */
		0xb0, '\n',       /* mov $'\n', %al */
		0xee,             /* out %al, (%dx) */
		0xf4,             /* hlt */
	};
	int kvm, vmfd, vcpufd, ret, answers = 0;
	uint8_t *mem;
	struct kvm_sregs sregs;
	size_t mmap_size;
	struct kvm_run *run;

	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm == -1)
		err(1, "/dev/kvm");
	ret = ioctl(kvm, KVM_GET_API_VERSION, NULL);
	if (ret != 12)
		errx(1, "KVM_GET_API_VERSION %d, expected 12", ret);
	if (ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY) != 1)
		errx(1, "no KVM_CAP_USER_MEMORY");
	vmfd = ioctl(kvm, KVM_CREATE_VM, 0UL);
	if (vmfd == -1)
		err(1, "KVM_CREATE_VM");
	mem = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		err(1, "guest memory");
	memcpy(mem, code, sizeof(code));
	struct kvm_userspace_memory_region region = {
		.slot = 0,
		.guest_phys_addr = 0x1000,
		.memory_size = 0x1000,
		.userspace_addr = (uint64_t)mem,
	};
	if (ioctl(vmfd, KVM_SET_USER_MEMORY_REGION, &region) == -1)
		err(1, "KVM_SET_USER_MEMORY_REGION");
	vcpufd = ioctl(vmfd, KVM_CREATE_VCPU, 0UL);
	if (vcpufd == -1)
		err(1, "KVM_CREATE_VCPU");
	ret = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, NULL);
	if (ret < (int)sizeof(*run))
		errx(1, "KVM_GET_VCPU_MMAP_SIZE %d", ret);
	mmap_size = ret;
	run = mmap(NULL, mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpufd, 0);
	if (run == MAP_FAILED)
		err(1, "kvm_run");
	if (ioctl(vcpufd, KVM_GET_SREGS, &sregs) == -1)
		err(1, "KVM_GET_SREGS");
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	if (ioctl(vcpufd, KVM_SET_SREGS, &sregs) == -1)
		err(1, "KVM_SET_SREGS");
	struct kvm_regs regs = { .rip = 0x1000, .rax = 2, .rbx = 3, .rflags = 0x2 };
	if (ioctl(vcpufd, KVM_SET_REGS, &regs) == -1)
		err(1, "KVM_SET_REGS");
	for (;;) {
		if (ioctl(vcpufd, KVM_RUN, NULL) == -1)
			err(1, "KVM_RUN");
		switch (run->exit_reason) {
		case KVM_EXIT_HLT:
			puts(answers == 2 ? "adder: passed" : "adder: FAILED");
			return answers != 2;
		case KVM_EXIT_IO:
			if (run->io.direction != KVM_EXIT_IO_OUT || run->io.size != 1 ||
			    run->io.port != 0x3f8 || run->io.count != 1)
				errx(1, "unexpected I/O");
			char c = *((char *)run + run->io.data_offset);
			answers += c == (answers ? '\n' : '5');
			putchar(c);
			break;
		case KVM_EXIT_FAIL_ENTRY:
			errx(1, "KVM_EXIT_FAIL_ENTRY: %#llx",
			     (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
		case KVM_EXIT_INTERNAL_ERROR:
			errx(1, "KVM_EXIT_INTERNAL_ERROR: suberror %u", run->internal.suberror);
		default:
			errx(1, "exit reason %u", run->exit_reason);
		}
	}
}
