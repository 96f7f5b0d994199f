/* SPDX-License-Identifier: MIT */
/*
 * A machine for the tests of kvm/: RAM, CPUs with management vCPUs, and hypercalls as a driver
 * makes them. What a child does is up to the test: fake_run, fake_push_exit().
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <linux/kvm.h>

#include "arch-x86/cpu.h"
#include "arch-x86/msr.h"
#include "arch-x86/regs.h"
#include "core/mgmt.h"
#include "kvm/hypercall.h"
#include "mm/frames.h"
#include "mm/phys.h"
#include "tests/unit/fake/fake.h"

/*
 * Physical memory:  0 .. 32 MiB Keel's   32 .. 36 MiB arguments and kvm_run pages
 *                   36 .. 52 MiB for donations   52 .. 64 MiB the guests' memory
 */
#define ARGUMENTS    FAKE_GUEST
#define BIG_ARGUMENT (FAKE_GUEST + (1ull << 20))
#define RUNS	     (FAKE_GUEST + (2ull << 20))
#define DONATIONS    (FAKE_GUEST + (4ull << 20))
#define GUEST_RAM    (FAKE_GUEST + (20ull << 20))

#define VM_PAGES 1024ull /* one VM's first donation */

static u64 result2, result3, reply; /* RDX, R8, RCX of the last hypercall */
static u32 caller;		    /* index of the CPU that makes it */

static void *at(u64 physical)
{
	return fake_ram + physical;
}

static inline s64 call(u64 handle, u64 request, u64 argument, u64 length, u64 extra)
{
	struct cpu *cpu = cpus[caller];
	u64 *gpr = cpu->management->v.gpr;

	gpr[GPR_RAX] = KEEL_CALL;
	gpr[GPR_RDI] = handle;
	gpr[GPR_RSI] = request;
	gpr[GPR_RDX] = argument;
	gpr[GPR_RCX] = length;
	gpr[GPR_R8] = extra;
	fake_cpu_set(caller);
	if (!cpu->management->v.loaded)
		virt->load(&cpu->management->v, cpu);
	hypercall(cpu);
	result2 = gpr[GPR_RDX];
	result3 = gpr[GPR_R8];
	reply = gpr[GPR_RCX];
	return (s64)gpr[GPR_RAX];
}

/* With an argument struct, copied in and out again. */
static inline s64 request(u64 handle, u32 number, void *data, u64 bytes)
{
	s64 result;

	if (bytes)
		memcpy(at(ARGUMENTS), data, bytes);
	result = call(handle, number, ARGUMENTS, bytes, 0);
	if (bytes)
		memcpy(data, at(ARGUMENTS), bytes);
	return result;
}

/* Every CPU goes through its management guest once: what an entry there notes. */
static inline void all_cpus_flush(void)
{
	for (u32 i = 0; i < cpu_count; i++) {
		struct virt_vcpu *v = &cpus[i]->management->v;

		mgmt_epoch_seen(cpus[i]);
		v->slat_generation_seen = v->vm->slat_generation;
	}
}

static inline void donate(u64 base, u64 pages)
{
	s64 epoch = call(0, KEEL_DONATE, base, 0, pages);

	assert_true(epoch > 0);
	all_cpus_flush();
	assert_int_equal(call(0, KEEL_DONATED, epoch, 0, 0), 1);
}

static inline s64 vm_at(u64 base, u64 pages)
{
	struct keel_create_vm args = {.base = base, .pages = pages, .wall_time_ns = 1000};

	donate(base, pages);
	return request(0, KEEL_CREATE_VM, &args, sizeof(args));
}

static inline u64 vm_new(void)
{
	s64 handle = vm_at(DONATIONS, VM_PAGES);

	assert_true(handle > 0);
	return handle;
}

static inline u64 run_page(u32 index)
{
	return RUNS + index * 3 * PAGE_SIZE;
}

static inline s64 vcpu_try(u64 vm, u64 id)
{
	struct keel_create_vcpu args = {.id = id, .run = run_page(id)};

	return request(vm, KEEL_CREATE_VCPU, &args, sizeof(args));
}

static inline u64 vcpu_new(u64 vm, u64 id)
{
	s64 handle = vcpu_try(vm, id);

	assert_true(handle > 0);
	memset(at(run_page(id)), 0, 3 * PAGE_SIZE);
	return handle;
}

static inline struct kvm_run *run_of(u32 id)
{
	return at(run_page(id));
}

static inline void assert_zero(u64 base, u64 pages)
{
	const u64 *words = at(base);
	u64 all = 0;

	for (u64 i = 0; i < pages * PAGE_SIZE / 8; i++)
		all |= words[i];
	assert_int_equal(all, 0);
}

static inline void destroy(u64 vm)
{
	s64 result;

	for (u32 i = 0; (result = call(vm, KEEL_DESTROY, 0, 0, 0)) == -EAGAIN && i < 1000; i++)
		;
	assert_int_equal(result, 0);
	while ((result = call(vm, KEEL_TAKE_BACK, 0, 0, 0)) == 1) {
		u64 base = ALIGN_DOWN(result2, PAGE_SIZE);

		assert_zero(base, result2 & (PAGE_SIZE - 1));
		assert_int_equal(frame_owner(HPA(base)), FRAME_MANAGEMENT);
	}
	assert_int_equal(result, -EBADF);
}

/* Slot 0: `bytes` of guest memory at guest address 0. */
static inline void give_memory(u64 vm, u64 bytes, u32 flags)
{
	struct kvm_userspace_memory_region region = {
		.memory_size = bytes,
		.userspace_addr = 0x10000000,
		.flags = flags,
	};
	struct keel_map map = {.hpa = GUEST_RAM, .size = bytes, .flags = KEEL_MAP_WRITE};

	assert_int_equal(request(vm, KVM_SET_USER_MEMORY_REGION, &region, sizeof(region)), 0);
	assert_int_equal(request(vm, KEEL_MAP, &map, sizeof(map)), 0);
}

static inline int machine_start(u32 count)
{
	static const struct boot_cpu_state state = {
		.cr0 = CR0_PE | CR0_PG | CR0_ET,
		.cr4 = CR4_PAE,
		.efer = EFER_LME | EFER_LMA,
		.rflags = RFLAGS_ONE,
	};
	struct mgmt_boot boot = {
		.pool_base = HPA(1 << 20),
		.pool_pages = 1024,
		.reserved_base = HPA(FAKE_KEEL_BASE),
		.reserved_pages = FAKE_KEEL_SIZE / PAGE_SIZE,
		.zero_page = HPA(FAKE_KEEL_SIZE - PAGE_SIZE),
		.ram_end = FAKE_RAM_SIZE,
		.cpu_count = count,
		.tsc_khz = 2000000,
		.s3_type = 0xff,
		.s4_type = 0xff,
	};

	fake_machine_init(count);
	fake_msr_set(MSR_APIC_BASE, 0xfee00000 | APIC_BASE_X2APIC | APIC_BASE_ENABLE);
	host_tsc_khz = boot.tsc_khz;
	memset(mgmt_vm(), 0, sizeof(struct vm));
	if (mgmt_init(&boot))
		return -1;
	for (u32 i = 0; i < count; i++) {
		fake_cpu_set(i);
		if (mgmt_cpu_launch(cpus[i], &state))
			return -1;
	}
	all_cpus_flush();
	caller = 0;
	fake_cpu_set(0);
	return 0;
}

static inline int start_one(void **state)
{
	return machine_start(1);
}

static inline int start_two(void **state)
{
	return machine_start(2);
}
