// SPDX-License-Identifier: MIT
/*
 * kexec KERNEL INITRD COMMAND-LINE: starts another kernel while two guests run, which nobody ends first.
 * Without arguments: tries to put the machine to sleep, which is refused.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/reboot.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (1ul << 20)

/* Real mode: writes over and over to 64 KiB at DS. */
static const uint8_t code[] = {
	0x31, 0xdb,	  /* xor bx, bx */
	0x88, 0x07,	  /* mov [bx], al */
	0x81, 0xc3, 0, 1, /* add bx, 0x100 */
	0xeb, 0xf8,	  /* jmp to the mov */
};

static void guest(int started)
{
	int kvm = open("/dev/kvm", O_RDWR), vm = ioctl(kvm, KVM_CREATE_VM, 0), vcpu;
	uint8_t *memory = mmap(NULL, 64 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region region = {.memory_size = 64 * MIB, .userspace_addr = (uintptr_t)memory};
	struct kvm_regs regs = {.rip = 0xf000, .rflags = 2};
	struct kvm_sregs sregs;

	memset(memory, 1, 64 * MIB);
	memcpy(memory + 0xf000, code, sizeof(code));
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region))
		err(1, "memory");
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (ioctl(vcpu, KVM_GET_SREGS, &sregs))
		err(1, "KVM_GET_SREGS");
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	sregs.ds.base = 0x10000;
	sregs.ds.selector = 0x1000;
	if (ioctl(vcpu, KVM_SET_SREGS, &sregs) || ioctl(vcpu, KVM_SET_REGS, &regs))
		err(1, "registers");
	write(started, "", 1);
	ioctl(vcpu, KVM_RUN, 0);
	printf("kexec: a guest's run ended: %s\n", strerror(errno));
	fflush(stdout);
	pause();
}

static int try_to_sleep(void)
{
	static const char *const states[] = {"freeze", "mem", "disk"};
	int refused = 0;

	for (int i = 0; i < 3; i++) {
		int fd = open("/sys/power/state", O_WRONLY);

		if (fd < 0)
			err(1, "/sys/power/state");
		if (write(fd, states[i], strlen(states[i])) < 0) {
			printf("sleep: %s: %s\n", states[i], strerror(errno));
			refused++;
		}
		close(fd);
	}
	printf("sleep: %d of 3 refused\n", refused);
	return refused != 3;
}

int main(int argc, char **argv)
{
	int started[2], kernel, initrd;
	char byte;

	if (argc < 4)
		return try_to_sleep();
	kernel = open(argv[1], O_RDONLY);
	initrd = open(argv[2], O_RDONLY);
	if (pipe(started) ||
	    syscall(SYS_kexec_file_load, kernel, initrd, strlen(argv[3]) + 1, argv[3], 0))
		err(1, "kexec_file_load");
	for (int i = 0; i < 2; i++)
		if (!fork())
			guest(started[1]);
	read(started[0], &byte, 1);
	read(started[0], &byte, 1);
	sleep(1);
	puts("kexec: two guests run");
	fflush(stdout);
	syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_KEXEC, NULL);
	err(1, "reboot");
}
