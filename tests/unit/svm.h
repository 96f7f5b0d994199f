/* SPDX-License-Identifier: MIT */
/* A vCPU of the SVM backend whose VMRUN is a C function: shared by tests/unit/svm_*.c. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch-x86/insn.h"
#include "arch-x86/log.h"
#include "arch-x86/regs.h"
#include "mm/phys.h"
#include "mm/pool.h"
#include "svm/internal.h"
#include "svm/svm.h"

static struct virt_vm vm;
static struct virt_vcpu vcpu;
static struct cpu cpu0, cpu1;
static struct vmcb *vmcb;   /* the vCPU's */
static struct vm_exit last; /* of enter() */
static struct vmcb entered; /* the VMCB as VMRUN saw it */
static u32 entries;
static void (*guest)(void); /* what the guest does; may be NULL */
static u32 pool_pages_left;

const char svm_sleep_begin[1], svm_sleep_end[1];

void svm_enter(struct virt_vcpu *v)
{
	assert_ptr_equal(phys_ptr(v->hw_hpa), v->hw);
	entered = *(struct vmcb *)v->hw;
	entries++;
	if (guest)
		guest();
}

hpa_t pool_alloc(struct pool *pool, u32 count)
{
	void *page;

	if (pool_pages_left < count)
		return HPA_NONE;
	pool_pages_left -= count;
	page = aligned_alloc(PAGE_SIZE, count * PAGE_SIZE);
	memset(page, 0, count * PAGE_SIZE);
	return ptr_phys(page);
}

void pool_free(struct pool *pool, hpa_t base, u32 count)
{
	pool_pages_left += count;
	free(phys_ptr(base));
}

static inline void make_vcpu(enum virt_kind kind)
{
	memset(&vm, 0, sizeof(vm));
	memset(&vcpu, 0, sizeof(vcpu));
	memset(&cpu0, 0, sizeof(cpu0));
	memset(&cpu1, 0, sizeof(cpu1));
	cpu0.asid_count = cpu1.asid_count = 16;
	cpu0.asid_next = cpu1.asid_next = 1;
	cpu0.asid_generation = cpu1.asid_generation = 1;
	vm.kind = kind;
	vm.features = virt_features;
	vm.slat_root = HPA(0x5000);
	vm.slat_generation = 1;
	pool_pages_left = 100;
	svm_features.physical_bits = 48;
	svm_features.qemu = false;
	assert_int_equal(svm_vm_init(&vm, NULL), 0);
	assert_int_equal(svm_vcpu_init(&vcpu, &vm, NULL), 0);
	vmcb = vcpu.hw;
	guest = NULL;
	entries = 0;
}

static inline void free_vcpu(void)
{
	free(vcpu.hw);
	free(vm.msr_map);
}

static inline int setup_child(void **state)
{
	virt_features = 0;
	virt_check_entry = false;
	make_vcpu(VIRT_CHILD);
	return 0;
}

static inline int setup_management(void **state)
{
	virt_features = 0;
	virt_check_entry = false;
	make_vcpu(VIRT_MANAGEMENT);
	return 0;
}

static inline int teardown(void **state)
{
	free_vcpu();
	return 0;
}

/* Of a vCPU that is there already. */
static inline void use_features(u64 features)
{
	virt_features = vm.features = vcpu.features = features;
}

/* One entry on cpu0, which ends with the exit code that is in the VMCB unless `guest` sets one. */
static inline const struct vm_exit *enter(void)
{
	memset(&last, 0xa5, sizeof(last));
	svm_run(&vcpu, &last);
	return &last;
}

static inline void set_exit(u64 code, u64 info1, u64 info2)
{
	vmcb->exit_code = code;
	vmcb->exit_info1 = info1;
	vmcb->exit_info2 = info2;
}

static inline const struct vm_exit *decode(u64 code, u64 info1, u64 info2)
{
	set_exit(code, info1, info2);
	memset(&last, 0xa5, sizeof(last));
	svm_decode(&vcpu, &last);
	return &last;
}

static inline bool intercepted(u32 code)
{
	return vmcb->intercepts[code / 32] >> code % 32 & 1;
}
