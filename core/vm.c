// SPDX-License-Identifier: MIT
/*
 * Creation and end of VMs and their vCPUs. Lock order: vm->lock, then mm/'s, then devices'; the
 * caller holds vm->lock.
 */
#include "core/vm.h"

#include "arch-x86/apic.h"
#include "arch-x86/insn.h"
#include "arch-x86/regs.h"
#include "core/cpuid.h"
#include "core/msr.h"
#include "core/stats.h"
#include "core/xstate.h"
#include "mm/phys.h"

u32 host_tsc_khz;

/* Tables that one entry's faults, at most two pages mapped by splitting, may need. */
#define LOW_WATER 16

static u32 pages_of(u64 bytes)
{
	return (bytes + PAGE_SIZE - 1) / PAGE_SIZE;
}

/* Of devices/: the clock, the interrupt controllers and their routing; a vCPU's APIC. */
#define DEVICE_PAGES	  5
#define DEVICE_VCPU_PAGES 1

/* The permission maps, the root table, memslots, and the low-water mark. */
u32 vm_pages(void)
{
	return 16 + LOW_WATER + DEVICE_PAGES + pages_of(sizeof(struct vm));
}

/* The backend's own are at most 4 pages. */
u32 vcpu_pages(void)
{
	return 4 + DEVICE_VCPU_PAGES + pages_of(sizeof(struct vcpu)) +
	       pages_of(sizeof(struct exit_stats)) +
	       pages_of(CPUID_ENTRIES * sizeof(struct cpuid_entry)) + pages_of(xstate_size());
}

int vm_init(struct vm *vm, enum virt_kind kind)
{
	static u32 last_handle;
	int error;

	xstate_init();
	if (kind == VIRT_CHILD)
		vm->handle = __atomic_add_fetch(&last_handle, 1, __ATOMIC_RELAXED);
	vm->virt.kind = kind;
	vm->virt.features = virt_features;
	error = virt->vm_init(&vm->virt, &vm->pool);
	if (!error)
		error = guest_mem_init(&vm->mem, &vm->virt, &vm->pool, kind == VIRT_MANAGEMENT);
	if (error)
		return error;
	vm->boot_tsc = rdtsc();
	vm->tsc_khz = host_tsc_khz;
	vm->guest_tsc_khz = host_tsc_khz;
	vm->tsc_ratio = TSC_RATIO_ONE;
	vm->tsc_offset = -vm->boot_tsc;
	vm->low_water = LOW_WATER;
	if (kind == VIRT_CHILD)
		msr_pass_through(vm);
	return 0;
}

u64 vm_optional_features(void)
{
	return VIRT_HIDDEN_FEATURES | virt->withholds;
}

int vm_do_without(struct vm *vm, u64 features)
{
	if (features & ~vm_optional_features())
		return -EINVAL;
	if (vm->vcpu_count || vm->virt.dirty_logs)
		return -EBUSY;
	vm->virt.features &= ~features;
	vm->mem.s2.large_pages = stage2_sizes(vm->virt.features);
	return 0;
}

/* MWAIT only where the APIC's timer runs on in the states that it leads to. */
u32 vm_native_possible(void)
{
	bool mwait = cpuid(1, 0).ecx & BIT(3) && cpuid(0, 0).eax >= 6 && cpuid(6, 0).eax & BIT(2);

	return NATIVE_HLT | (mwait ? NATIVE_MWAIT : 0);
}

void vm_execute_natively(struct vm *vm, u32 native, bool pause, bool cstates)
{
	vm->virt.native |= native & vm_native_possible();
	if (pause)
		vm->virt.features &= ~(u64)VIRT_PAUSE_FILTER;
	/* SDM vol. 3, "VMX-Preemption Timer": it stands still in the deeper ones of those states.
	 */
	if (vm->virt.native & NATIVE_MWAIT)
		vm->virt.features &= ~(u64)VIRT_PREEMPT_TIMER;
	vm->cstates |= cstates;
	msr_pass_through(vm);
}

static void *pool_pages(struct vm *vm, u32 count, hpa_t *hpa)
{
	*hpa = pool_alloc(&vm->pool, count);
	return hpa->v == HPA_NONE.v ? NULL : phys_ptr(*hpa);
}

static int allocate(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;
	hpa_t hpa;

	vcpu->stats = pool_pages(vm, pages_of(sizeof(*vcpu->stats)), &hpa);
	vcpu->cpuid =
		pool_pages(vm, pages_of(CPUID_ENTRIES * sizeof(*vcpu->cpuid)), &vcpu->cpuid_hpa);
	vcpu->xsave_pages = pages_of(xstate_size());
	vcpu->xsave = pool_pages(vm, vcpu->xsave_pages, &vcpu->xsave_hpa);
	if (!vcpu->stats || !vcpu->cpuid || !vcpu->xsave)
		return -ENOMEM;
	return virt->vcpu_init(&vcpu->v, &vm->virt, &vm->pool);
}

/* What was taken from the pool before a failure stays in it: it goes back with the VM. */
int vcpu_create(struct vm *vm, u32 id, struct vcpu **out)
{
	struct vcpu *vcpu;
	hpa_t hpa;
	int error;

	if (vm_vcpu_by_id(vm, id))
		return -EEXIST;
	if (vm->vcpu_count == VM_VCPUS)
		return -EINVAL;
	if (pool_free_pages(&vm->pool) < vcpu_pages())
		return -ENOMEM;
	vcpu = pool_pages(vm, pages_of(sizeof(*vcpu)), &hpa);
	if (!vcpu)
		return -ENOMEM;
	vcpu->vm = vm;
	vcpu->id = id;
	vcpu->ring_id = (u64)vm->handle << 32 | (u64)(u16)id << 16;
	vcpu->index = vm->vcpu_count;
	vcpu->kvm_run_hpa = HPA_NONE;
	vcpu->tsc_khz = vm->tsc_khz;
	vcpu->tsc_ratio = TSC_RATIO_ONE;

	error = allocate(vcpu);
	if (error)
		return error;
	vcpu->v.deadline = NO_DEADLINE;
	cpuid_reset(vcpu);
	vcpu_set_tsc_offset(vcpu, vm->tsc_ratio == TSC_RATIO_ONE ? vm->tsc_offset : -vm->boot_tsc);
	error = vcpu_set_tsc_khz(vcpu, vm->guest_tsc_khz);
	if (error)
		return error;
	xstate_reset(vcpu);
	vcpu_reset(vcpu, false);
	vcpu_release(vcpu);
	vm->vcpus[vm->vcpu_count] = vcpu;
	__atomic_store_n(&vm->vcpu_count, vm->vcpu_count + 1, __ATOMIC_RELEASE);
	*out = vcpu;
	return 0;
}

struct vcpu *vm_vcpu_by_id(struct vm *vm, u32 id)
{
	u32 count = __atomic_load_n(&vm->vcpu_count, __ATOMIC_ACQUIRE);

	for (u32 i = 0; i < count; i++)
		if (vm->vcpus[i]->id == id)
			return vm->vcpus[i];
	return NULL;
}

bool vm_stop(struct vm *vm)
{
	u32 count = __atomic_load_n(&vm->vcpu_count, __ATOMIC_ACQUIRE);
	bool quiet = true;

	for (u32 i = 0; i < count; i++) {
		vcpu_kick(vm->vcpus[i], REQUEST_DEAD);
		if (__atomic_load_n(&vm->vcpus[i]->running, __ATOMIC_SEQ_CST))
			quiet = false;
	}
	return quiet;
}

/* Is `vcpu` in root or guest mode on another CPU, with what it knew before its next entry? */
static bool is_behind(const struct vcpu *vcpu, u32 entries)
{
	return __atomic_load_n(&vcpu->running, __ATOMIC_SEQ_CST) &&
	       __atomic_load_n(&vcpu->cpu, __ATOMIC_RELAXED) != this_cpu() &&
	       __atomic_load_n(&vcpu->entries, __ATOMIC_SEQ_CST) == entries;
}

/*
 * The entries' count is read after the generation grew, behind a full barrier; vcpu_run() counts,
 * then has a full barrier, then compares generations. So a count that changes after it was read
 * here belongs to an entry that saw the new generation. The wait ends: exits are settled in
 * bounded time, host interrupts end a run, and nobody waits for this CPU meanwhile.
 */
void vm_flush_wait(struct vm *vm)
{
	u32 count = __atomic_load_n(&vm->vcpu_count, __ATOMIC_ACQUIRE);
	u32 entries[VM_VCPUS];

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	for (u32 i = 0; i < count; i++) {
		entries[i] = __atomic_load_n(&vm->vcpus[i]->entries, __ATOMIC_SEQ_CST);
		vcpu_interrupt(vm->vcpus[i]);
	}
	for (u32 i = 0; i < count; i++)
		while (is_behind(vm->vcpus[i], entries[i]))
			pause();
}
