/* SPDX-License-Identifier: MIT */
/* A virtual machine whose vCPUs run 32-bit code in flat segments, without an interrupt controller.
 */
#pragma once

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define PAGE 4096ul
#define MIB  (1ul << 20)
#define CODE 0x1000ul /* guest-physical: flat_make()'s slot 0 */

static inline void *map(size_t bytes, int flags, int fd)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, fd, 0);

	if (p == MAP_FAILED)
		err(1, "mmap");
	return p;
}

static inline void *map_private(size_t bytes)
{
	return map(bytes, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static inline void flat_slot(int vm, uint32_t id, uint64_t gpa, uint64_t bytes, const void *hva,
			     uint32_t flags)
{
	struct kvm_userspace_memory_region region = {id, flags, gpa, bytes, (uint64_t)hva};

	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region))
		err(1, "slot %u", id);
}

/* A machine with this code at CODE: its file. */
static inline int flat_vm(int kvm, const uint8_t *code, const uint8_t *end)
{
	uint8_t *page = map_private(PAGE);
	int vm = ioctl(kvm, KVM_CREATE_VM, 0);

	if (vm < 0)
		err(1, "no virtual machine");
	memcpy(page, code, end - code);
	flat_slot(vm, 0, CODE, PAGE, page, 0);
	return vm;
}

static inline int flat_vcpu(int kvm, int vm, unsigned int id, struct kvm_run **run)
{
	int vcpu = ioctl(vm, KVM_CREATE_VCPU, id);
	struct kvm_sregs sregs;

	if (vcpu < 0)
		err(1, "no vCPU");
	*run = mmap(NULL, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED,
		    vcpu, 0);
	if (*run == MAP_FAILED)
		err(1, "mmap");
	if (ioctl(vcpu, KVM_GET_SREGS, &sregs))
		err(1, "KVM_GET_SREGS");
	sregs.cs = (struct kvm_segment){
		.limit = ~0u, .selector = 8, .type = 11, .present = 1, .db = 1, .s = 1, .g = 1};
	sregs.ds = sregs.es = sregs.ss = (struct kvm_segment){
		.limit = ~0u, .selector = 16, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1};
	sregs.cr0 |= 1;
	if (ioctl(vcpu, KVM_SET_SREGS, &sregs))
		err(1, "KVM_SET_SREGS");
	return vcpu;
}

/* The OUT that ended a run is completed, so that registers may be changed. */
static inline void flat_complete(int vcpu, struct kvm_run *run)
{
	run->immediate_exit = 1;
	if (!ioctl(vcpu, KVM_RUN, 0) || errno != EINTR)
		errx(1, "the OUT does not complete");
	run->immediate_exit = 0;
}

static inline void flat_set(int vcpu, const struct kvm_regs *regs)
{
	if (ioctl(vcpu, KVM_SET_REGS, regs))
		err(1, "KVM_SET_REGS");
}

/* The number in /proc/FILE behind this name, -1: there is none. */
static inline long flat_number(const char *path, const char *name)
{
	FILE *f = fopen(path, "r");
	char line[256];
	long n = -1;

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name)) &&
		    sscanf(line + strlen(name), "%*[: ]%ld", &n) == 1)
			break;
	if (f)
		fclose(f);
	return n;
}
