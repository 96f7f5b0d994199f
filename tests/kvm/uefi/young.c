// SPDX-License-Identifier: MIT
/*
 * KEEL_YOUNG tells which pages a guest has used: with leaves of 4 KiB and of 2 MiB by the
 * processor's accessed flags, where it has them, and without those by what is mapped.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kvm/abi.h"

#define MIB	(1ul << 20)
#define MEMORY	(4 * MIB)
#define CODE	0x1000u
#define PAGE	0x1000u
#define LEAF_2M (1u << 15) /* of KEEL_DO_WITHOUT: docs/hypercalls.md */
#define FLAGS	(1u << 17)
#define LOOK	(KEEL_YOUNG_CLEAR | KEEL_YOUNG_FLUSH)

/* Reads at ES:0 and exits, for ever. */
static const uint8_t code[] = {0x26, 0xa0, 0x00, 0x00, 0xe6, 0x10, 0xeb, 0xf8};

static int kvm, vm, vcpu, failed;
static struct kvm_run *run;

static void check(const char *what, int ok)
{
	printf("%-4s %s\n", ok ? "ok" : "FAIL", what);
	failed += !ok;
}

static int young(uint64_t gpa, uint64_t size, uint64_t flags)
{
	struct keel_map map = {.gpa = gpa, .size = size, .flags = flags};

	return ioctl(vm, KEEL_YOUNG, &map);
}

/* The guest reads this page. */
static int touch(uint64_t gpa)
{
	struct kvm_sregs sregs;

	if (ioctl(vcpu, KVM_GET_SREGS, &sregs) < 0)
		return -1;
	sregs.es.base = gpa;
	sregs.es.selector = (uint16_t)(gpa >> 4);
	if (ioctl(vcpu, KVM_SET_SREGS, &sregs) < 0)
		return -1;
	return ioctl(vcpu, KVM_RUN, 0) < 0 || run->exit_reason != KVM_EXIT_IO;
}

/* The features of the processor that it uses; -1. */
static int begin(uint8_t *memory, unsigned int without)
{
	struct kvm_userspace_memory_region region = {.memory_size = MEMORY,
						     .userspace_addr = (uintptr_t)memory};
	struct kvm_regs regs = {.rip = CODE, .rflags = 2};
	struct kvm_sregs sregs;
	int features;

	memcpy(memory + CODE, code, sizeof(code));
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	features = ioctl(vm, KEEL_DO_WITHOUT, (unsigned long)without);
	if (features < 0 || ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		return -1;
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (vcpu < 0 || ioctl(vcpu, KVM_GET_SREGS, &sregs) < 0)
		return -1;
	run = mmap(NULL, (size_t)ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE,
		   MAP_SHARED, vcpu, 0);
	sregs.cs.base = sregs.cs.selector = 0;
	if (run == MAP_FAILED || ioctl(vcpu, KVM_SET_SREGS, &sregs) < 0 ||
	    ioctl(vcpu, KVM_SET_REGS, &regs) < 0)
		return -1;
	return features;
}

static void end(void)
{
	munmap(run, (size_t)ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0));
	close(vcpu);
	close(vm);
}

static void small_leaves(uint8_t *memory)
{
	int features = begin(memory, LEAF_2M);

	printf("4 KiB, %s accessed flags\n", features & FLAGS ? "with" : "without");
	check("what was mapped is young", young(0, MEMORY, 0) == 1);
	check("a look makes it old", young(0, MEMORY, LOOK) == 1 && !young(0, MEMORY, 0));
	check("the guest uses a page", !touch(0x20000) && young(0x20000, PAGE, 0) == 1);
	if (features & FLAGS) {
		check("and its code", young(CODE, PAGE, 0) == 1);
		check("and no other", !young(0x21000, MEMORY - 0x21000, 0));
	}
	check("each look is a new one", young(0, MEMORY, LOOK) == 1 && !young(0, MEMORY, LOOK));
	check("it uses it again", !touch(0x20000) && young(0x20000, PAGE, LOOK) == 1);
	check("and another one", !touch(0x30000) && young(0x30000, PAGE, 0) == 1);
	if (features & FLAGS)
		check("which leaves the first one old", !young(0x20000, PAGE, 0));
	end();
}

static void large_leaves(uint8_t *memory)
{
	int features = begin(memory, 0);

	printf("2 MiB, %s accessed flags\n", features & FLAGS ? "with" : "without");
	check("a look makes all old", young(0, MEMORY, LOOK) == 1 && !young(0, MEMORY, 0));
	check("the guest uses a page", !touch(0x20000) && young(0x20000, PAGE, 0) == 1);
	check("the others around it count as used", young(0x30000, PAGE, 0) == 1);
	check("and no more", !young(2 * MIB, 2 * MIB, 0));
	check("a look at one is one at all", young(0x30000, PAGE, LOOK) == 1);
	if (features & FLAGS)
		check("of its leaf", !young(0, 2 * MIB, 0));
	end();
}

static void without_flags(uint8_t *memory)
{
	begin(memory, FLAGS);
	printf("without accessed flags\n");
	check("a look unmaps", young(0, MEMORY, LOOK) == 1 && !young(0, MEMORY, 0));
	check("the guest uses a page", !touch(0x20000) && young(0x20000, PAGE, 0) == 1);
	check("a look unmaps it", young(0x20000, PAGE, LOOK) == 1 && !young(0x20000, PAGE, 0));
	check("it is used again", !touch(0x20000) && young(0x20000, PAGE, 0) == 1);
	end();
}

int main(void)
{
	uint8_t *room = mmap(NULL, MEMORY + 2 * MIB, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t *memory = (uint8_t *)(((uintptr_t)room + 2 * MIB - 1) & ~(2 * MIB - 1));

	kvm = open("/dev/kvm", O_RDWR);
	if (room == MAP_FAILED || kvm < 0) {
		perror("young");
		return 1;
	}
	small_leaves(memory);
	large_leaves(memory);
	without_flags(memory);
	printf("young: %s\n", failed ? "FAILED" : "passed");
	return failed != 0;
}
