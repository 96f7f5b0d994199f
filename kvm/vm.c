/* SPDX-License-Identifier: MIT */
/* Requests on a VM: its memory, vCPUs, interrupt controllers, timers and clock. */
#include <linux/kvm.h>

#include "core/mgmt.h"
#include "core/msr.h"
#include "devices/irqchip.h"
#include "devices/kvmclock.h"
#include "devices/pit.h"
#include "kvm/hypercall.h"
#include "lib/string.h"
#include "mm/frames.h"
#include "mm/phys.h"

/* What one KEEL_YOUNG looks at: the time that it may hold the locks. */
#define YOUNG_BYTES (128ull << 20)

/* ---- memory ---------------------------------------------------------------------------- */

/* Holds vm->lock: a change of the slots ends with its second step, before the next begins. */
static s64 set_user_memory_region(struct call *call)
{
	const struct kvm_userspace_memory_region *region = call->data;
	struct guest_mem *mem = &call->vm->mem;
	int error;

	/* Bits 31..16 would name an address space; there is one, so such slots are out of range. */
	error = memslot_set(mem, region->slot, region->flags, GPA(region->guest_phys_addr),
			    region->memory_size, region->userspace_addr);
	if (error && error != -EAGAIN)
		return error;
	vm_flush_wait(call->vm);
	memslot_set_finish(mem);
	return error;
}

static s64 map(struct call *call)
{
	const struct keel_map *args = call->data;

	if (args->flags & ~(u64)KEEL_MAP_WRITE)
		return -EINVAL;
	if (args->size > KEEL_MAP_BYTES)
		return -E2BIG;
	return guest_mem_map(&call->vm->mem, GPA(args->gpa), HPA(args->hpa), args->size,
			     args->flags & KEEL_MAP_WRITE);
}

static int unmap_pages(struct vm *vm, gpa_t gpa, u64 size)
{
	int error = guest_mem_unmap(&vm->mem, gpa, size);

	if (error && error != -EAGAIN)
		return error;
	vm_flush_wait(vm);
	guest_mem_unmap_finish(&vm->mem, gpa, size);
	return error;
}

static s64 unmap(struct call *call)
{
	const struct keel_map *args = call->data;
	int used;

	if (args->size > KEEL_MAP_BYTES)
		return -E2BIG;
	/* Linux asks for every page that it takes from the VMM, used by the guest or not. */
	used = guest_mem_used(&call->vm->mem, GPA(args->gpa), args->size);
	return used <= 0 ? used : unmap_pages(call->vm, GPA(args->gpa), args->size);
}

/* Without accessed flags a page is young when it is mapped: the guest has touched it since. */
static s64 young_by_mapping(struct vm *vm, gpa_t gpa, u64 size, bool clear)
{
	int mapped = guest_mem_mapped(&vm->mem, gpa, size);

	/* What is too much for one unmap stays mapped, and young. */
	if (mapped > 0 && clear)
		unmap_pages(vm, gpa, size);
	return mapped;
}

static s64 young(struct call *call)
{
	const struct keel_map *args = call->data;
	bool clear = args->flags & KEEL_YOUNG_CLEAR, flush = args->flags & KEEL_YOUNG_FLUSH;
	struct guest_mem *mem = &call->vm->mem;
	gpa_t gpa = GPA(args->gpa);
	u64 part = MIN(args->size, YOUNG_BYTES);
	int mapped;

	if (args->flags & ~(u64)(KEEL_YOUNG_CLEAR | KEEL_YOUNG_FLUSH))
		return -EINVAL;
	if (args->size > KEEL_MAP_BYTES)
		return -E2BIG;
	/* As above; and the range is valid as a whole. */
	mapped = guest_mem_mapped(mem, gpa, args->size);
	if (mapped < 0)
		return mapped;
	call->result2 = gpa.v + (mapped ? part : args->size);
	if (!mapped)
		return 0;
	if (call->vm->virt.features & VIRT_SLAT_AD)
		return guest_mem_accessed(mem, gpa, part, clear, flush);
	return young_by_mapping(call->vm, gpa, part, clear);
}

/*
 * Root writes there directly, so every frame must be the management guest's. One that leaves now
 * is not used by Keel before this CPU enters its guest again.
 */
static bool buffer_valid(u64 base, u64 bytes)
{
	if (base + bytes < base)
		return false;
	for (u64 page = ALIGN_DOWN(base, PAGE_SIZE); page < base + bytes; page += PAGE_SIZE)
		if (!frame_is_ram(HPA(page)) || frame_owner(HPA(page)) != FRAME_MANAGEMENT)
			return false;
	return true;
}

static s64 get_dirty_log(struct call *call)
{
	u64 base = call->argument, bytes = call->length;
	int error;

	if (call->extra >= MEMSLOT_MAX || !IS_ALIGNED(base, 8) ||
	    bytes > dirty_log_bytes(MEMSLOT_PAGES))
		return -EINVAL;
	if (!buffer_valid(base, bytes))
		return -EFAULT;
	/* The vCPUs' lists of pages are in the bitmaps when they have left the guest. */
	if (call->vm->virt.features & VIRT_PML)
		vm_flush_wait(call->vm);
	error = dirty_log_get(&call->vm->mem, call->extra, phys_ptr(HPA(base)), bytes);
	if (!error && !(call->vm->mem.dirty_log & DIRTY_LOG_MANUAL))
		vm_flush_wait(call->vm);
	return error;
}

static s64 clear_dirty_log(struct call *call)
{
	const struct kvm_clear_dirty_log args = *(struct kvm_clear_dirty_log *)call->data;
	u64 base = (u64)args.dirty_bitmap;
	int error;

	if (args.slot >= MEMSLOT_MAX)
		return -EINVAL;
	error = dirty_log_clear(&call->vm->mem, args.slot, args.first_page, args.num_pages, NULL);
	if (error)
		return error;
	if (!IS_ALIGNED(base, 8))
		return -EINVAL;
	if (!buffer_valid(base, dirty_log_bytes(args.num_pages)))
		return -EFAULT;
	error = dirty_log_clear(&call->vm->mem, args.slot, args.first_page, args.num_pages,
				phys_ptr(HPA(base)));
	if (!error)
		vm_flush_wait(call->vm);
	return error;
}

static s64 add_pool(struct call *call)
{
	struct kvm_vm *kvm = kvm_vm(call->vm);
	hpa_t base = HPA(call->argument);
	u64 pages = call->extra;
	int error;

	if (kvm->range_count == ARRAY_SIZE(kvm->ranges))
		return -ENOSPC;
	error = donation_take(base, pages);
	if (error)
		return error;
	error = pool_add(&call->vm->pool, base, pages);
	if (error) {
		donation_return(base, pages);
		return error;
	}
	kvm->ranges[kvm->range_count++] = (struct vm_range){base, pages};
	return 0;
}

/* The addresses of Intel's real-mode helpers: checked as Linux does, and not needed. */
static s64 set_tss_addr(struct call *call)
{
	return call->argument > 0xffffd000u ? -EINVAL : 0;
}

static s64 set_identity_map_addr(struct call *call)
{
	return call->vm->vcpu_count ? -EINVAL : 0;
}

/* ---- vCPUs ----------------------------------------------------------------------------- */

static s64 create_vcpu(struct call *call)
{
	const struct keel_create_vcpu *args = call->data;
	struct vm *vm = call->vm;
	struct vcpu *vcpu;
	int error;

	if (args->id >= (vm->vcpu_ids ? vm->vcpu_ids : VCPU_ID_MAX) ||
	    !IS_ALIGNED(args->run, PAGE_SIZE))
		return -EINVAL;
	if (vm->vcpu_count >= VM_VCPUS)
		return -EINVAL;
	if (vm_vcpu_by_id(vm, args->id))
		return -EEXIST;
	if (pool_free_pages(&vm->pool) < vcpu_pages())
		return -ENOMEM;
	/* The VMM writes there for as long as the VM lives: never to be donated meanwhile. */
	error = frames_get(HPA(args->run), RUN_PAGES);
	if (error)
		return -EFAULT;
	error = vcpu_create(vm, args->id, &vcpu);
	if (error)
		goto put;
	error = kvmclock_vcpu_init(vcpu);
	if (!error && vm->irqchip)
		error = irqchip_vcpu_init(vcpu);
	if (error)
		goto forget;
	vcpu->kvm_run = GPA(args->run);
	vcpu->kvm_run_hpa = HPA(args->run);
	vcpu->io_data = (u8 *)phys_ptr(vcpu->kvm_run_hpa) + PAGE_SIZE;
	__atomic_store_n(&kvm_vm(vm)->vcpus_ready, vm->vcpu_count, __ATOMIC_RELEASE);
	return handle_of_vcpu(call->slot, vcpu);
forget:
	/*
	 * No handle names it yet; its pages go with the VM. vcpus[] keeps it: who read the count
	 * before (an interrupt on another CPU, vm_flush_wait) still looks at it without a lock.
	 */
	__atomic_store_n(&vm->vcpu_count, vm->vcpu_count - 1, __ATOMIC_RELEASE);
put:
	frames_put(HPA(args->run), RUN_PAGES);
	return error;
}

static s64 set_boot_cpu_id(struct call *call)
{
	if (call->vm->vcpu_count)
		return -EBUSY;
	if (call->argument >= VCPU_ID_MAX)
		return -EINVAL;
	call->vm->bsp_id = call->argument;
	return 0;
}

static s64 take_wake(struct call *call)
{
	call->result2 = __atomic_exchange_n(&call->vm->wake[0], 0, __ATOMIC_SEQ_CST);
	return 0;
}

/* ---- interrupt controllers and timers -------------------------------------------------- */

static s64 create_irqchip(struct call *call)
{
	if (call->vm->irqchip)
		return -EEXIST;
	if (call->vm->vcpu_count)
		return -EINVAL;
	return irqchip_create(call->vm);
}

static s64 get_irqchip(struct call *call)
{
	return irqchip_full(call->vm) ? irqchip_get(call->vm, call->data) : -ENXIO;
}

static s64 set_irqchip(struct call *call)
{
	return irqchip_full(call->vm) ? irqchip_set(call->vm, call->data) : -ENXIO;
}

/* Keeps every vCPU out of the guest: the buses are read without a lock. False: one is busy. */
static bool take_vcpus(struct vm *vm)
{
	for (u32 i = 0; i < vm->vcpu_count; i++) {
		if (vcpu_take(vm->vcpus[i]))
			continue;
		vcpu_kick(vm->vcpus[i], REQUEST_KICK);
		while (i--)
			vcpu_release(vm->vcpus[i]);
		return false;
	}
	return true;
}

static s64 create_pit2(struct call *call)
{
	int error;

	if (!take_vcpus(call->vm))
		return -EBUSY;
	error = pit_create(call->vm, call->data);
	for (u32 i = 0; i < call->vm->vcpu_count; i++)
		vcpu_release(call->vm->vcpus[i]);
	return error;
}

static s64 get_pit2(struct call *call)
{
	return pit_get(call->vm, call->data);
}

static s64 set_pit2(struct call *call)
{
	return pit_set(call->vm, call->data);
}

static s64 reinject_control(struct call *call)
{
	const struct kvm_reinject_control *control = call->data;

	return pit_reinject(call->vm, control->pit_reinject);
}

static s64 irq_line_status(struct call *call)
{
	struct kvm_irq_level *level = call->data;

	if (!call->vm->irqchip)
		return -ENXIO;
	level->status = irqchip_set_irq(call->vm, level->irq, level->level,
					call->extra == KEEL_LINE_RESAMPLE ? IRQ_SOURCE_RESAMPLE
									  : IRQ_SOURCE_USER);
	return 0;
}

static s64 irq_line(struct call *call)
{
	return irq_line_status(call);
}

static s64 resample(struct call *call)
{
	if (call->argument >= IRQ_ROUTES_MAX || call->extra > 1)
		return -EINVAL;
	return irqchip_resample(call->vm, (u32)call->argument, call->extra);
}

static s64 signal_msi(struct call *call)
{
	const struct kvm_msi *msi = call->data;

	return call->vm->irqchip ? irqchip_msi(call->vm, msi) : -EINVAL;
}

static s64 set_gsi_routing(struct call *call)
{
	struct kvm_irq_routing header;
	struct kvm_irq_routing_entry *entries;
	u64 bytes;
	u32 pages;
	hpa_t copy;
	int error = call_read(call, 0, &header, sizeof(header));

	if (error)
		return error;
	if (!call->vm->irqchip || header.flags || header.nr > IRQ_ROUTES_MAX)
		return -EINVAL;
	/* The whole table is checked as one, so it is copied as one, into the VM's own memory. */
	bytes = header.nr * sizeof(*entries);
	pages = MAX(ALIGN_UP(bytes, PAGE_SIZE) / PAGE_SIZE, 1ull);
	copy = pool_alloc(&call->vm->pool, pages);
	if (copy.v == HPA_NONE.v)
		return -ENOMEM;
	entries = phys_ptr(copy);
	error = call_read(call, sizeof(header), entries, bytes);
	if (!error)
		error = irqchip_set_routing(call->vm, entries, header.nr);
	pool_free(&call->vm->pool, copy, pages);
	return error;
}

static s64 get_clock(struct call *call)
{
	kvmclock_get(call->vm, call->data);
	return 0;
}

static s64 set_clock(struct call *call)
{
	return kvmclock_set(call->vm, call->data);
}

/* ---- the rest -------------------------------------------------------------------------- */

static s64 switch_cap(struct vm *vm, u64 cap, bool on)
{
	vm->caps = on ? vm->caps | cap : vm->caps & ~cap;
	return 0;
}

static s64 split_irqchip(struct vm *vm, u64 pins)
{
	if (pins > IRQ_ROUTES_MAX)
		return -EINVAL;
	if (vm->irqchip || vm->vcpu_count)
		return -EEXIST;
	return irqchip_create_split(vm, pins);
}

/* Once: the VMM promises that there are no higher ones. */
static s64 max_vcpu_id(struct vm *vm, u64 ids)
{
	if (ids > VCPU_ID_MAX || (vm->vcpu_ids && vm->vcpu_ids != ids))
		return -EINVAL;
	vm->vcpu_ids = ids;
	return 0;
}

/* MWAIT where it is not reported is taken and does nothing. */
static s64 disable_exits(struct vm *vm, u64 exits)
{
	u32 native = (exits & KVM_X86_DISABLE_EXITS_HLT ? NATIVE_HLT : 0) |
		     (exits & KVM_X86_DISABLE_EXITS_MWAIT ? NATIVE_MWAIT : 0);

	if (exits & ~(u64)DISABLE_EXITS)
		return -EINVAL;
	vm_execute_natively(vm, native, exits & KVM_X86_DISABLE_EXITS_PAUSE,
			    exits & KVM_X86_DISABLE_EXITS_CSTATE);
	return 0;
}

static s64 enable_cap(struct call *call)
{
	const struct kvm_enable_cap *cap = call->data;
	struct vm *vm = call->vm;

	if (cap->flags)
		return -EINVAL;
	switch (cap->cap) {
	case KVM_CAP_EXCEPTION_PAYLOAD:
		return switch_cap(vm, CAP_EXCEPTION_PAYLOAD, cap->args[0]);
	case KVM_CAP_X86_TRIPLE_FAULT_EVENT:
		return switch_cap(vm, CAP_TRIPLE_FAULT_EVENT, cap->args[0]);
	case KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2:
		if (cap->args[0] > (DIRTY_LOG_MANUAL | DIRTY_LOG_SET) ||
		    cap->args[0] == DIRTY_LOG_SET)
			return -EINVAL;
		vm->mem.dirty_log = (u32)cap->args[0];
		return 0;
	case KVM_CAP_SPLIT_IRQCHIP:
		return split_irqchip(vm, cap->args[0]);
	case KVM_CAP_MSR_PLATFORM_INFO:
		vm->no_platform_info = !cap->args[0];
		return 0;
	case KVM_CAP_X86_DISABLE_EXITS:
		return disable_exits(vm, cap->args[0]);
	case KVM_CAP_MAX_VCPU_ID:
		return max_vcpu_id(vm, cap->args[0]);
	case KVM_CAP_EXIT_ON_EMULATION_FAILURE:
		if (cap->args[0] & ~1ull)
			return -EINVAL;
		vm->emulation_failures = cap->args[0];
		return 0;
	case KVM_CAP_X86_USER_SPACE_MSR:
		if (cap->args[0] & ~(u64)MSR_EXIT_REASONS)
			return -EINVAL;
		__atomic_store_n(&vm->msr_exits, (u32)cap->args[0], __ATOMIC_RELAXED);
		return 0;
	case KVM_CAP_X2APIC_API:
		if (cap->args[0] & ~(u64)X2APIC_API_FLAGS)
			return -EINVAL;
		/* As on Linux, what is on stays on. */
		if (cap->args[0] & KVM_X2APIC_API_USE_32BIT_IDS)
			vm->x2apic_ids_32bit = true;
		if (cap->args[0] & KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK)
			vm->x2apic_no_broadcast_quirk = true;
		return 0;
	}
	return -EINVAL;
}

static s64 get_tsc_khz(struct call *call)
{
	return call->vm->guest_tsc_khz;
}

static s64 set_tsc_khz(struct call *call)
{
	return vm_set_tsc_khz(call->vm, (u32)call->argument);
}

/* A limit on shadow page tables, of which there are none. KVM_MIN_ALLOC_MMU_PAGES is the least. */
static s64 set_nr_mmu_pages(struct call *call)
{
	if (call->argument < 64)
		return -EINVAL;
	call->vm->mmu_pages = (u32)call->argument;
	return 0;
}

static s64 get_nr_mmu_pages(struct call *call)
{
	return call->vm->mmu_pages;
}

static s64 do_without(struct call *call)
{
	int error = vm_do_without(call->vm, call->argument);

	return error ? error : (s64)(call->vm->virt.features & vm_optional_features());
}

static const struct request rows[] = {
	{KVM_IRQ_LINE, sizeof(struct kvm_irq_level), 0, 0, irq_line},
	{KVM_IRQ_LINE_STATUS, sizeof(struct kvm_irq_level), sizeof(struct kvm_irq_level), 0,
	 irq_line_status},
	{KVM_SIGNAL_MSI, sizeof(struct kvm_msi), 0, 0, signal_msi},
	{KEEL_RESAMPLE, 0, 0, 0, resample},
	{KEEL_MAP, sizeof(struct keel_map), 0, 0, map},
	{KEEL_UNMAP, sizeof(struct keel_map), 0, 0, unmap},
	{KEEL_YOUNG, sizeof(struct keel_map), 0, 0, young},
	{KEEL_TAKE_WAKE, 0, 0, 0, take_wake},
	{KVM_SET_USER_MEMORY_REGION, sizeof(struct kvm_userspace_memory_region), 0, REQUEST_LOCK,
	 set_user_memory_region},
	{KEEL_GET_DIRTY_LOG, 0, 0, 0, get_dirty_log},
	{KEEL_CLEAR_DIRTY_LOG, sizeof(struct kvm_clear_dirty_log), 0, 0, clear_dirty_log},
	{KEEL_ADD_POOL, 0, 0, REQUEST_LOCK, add_pool},
	{KEEL_CREATE_VCPU, sizeof(struct keel_create_vcpu), 0, REQUEST_LOCK, create_vcpu},
	{KVM_CHECK_EXTENSION, 0, 0, 0, check_extension},
	{KVM_ENABLE_CAP, sizeof(struct kvm_enable_cap), 0, REQUEST_LOCK, enable_cap},
	{KVM_X86_SET_MSR_FILTER, sizeof(struct kvm_msr_filter), 0, REQUEST_LOCK, vm_set_msr_filter},
	{KVM_SET_TSS_ADDR, 0, 0, 0, set_tss_addr},
	{KVM_SET_IDENTITY_MAP_ADDR, sizeof(u64), 0, REQUEST_LOCK, set_identity_map_addr},
	{KVM_SET_BOOT_CPU_ID, 0, 0, REQUEST_LOCK, set_boot_cpu_id},
	{KVM_SET_NR_MMU_PAGES, 0, 0, 0, set_nr_mmu_pages},
	{KVM_GET_NR_MMU_PAGES, 0, 0, 0, get_nr_mmu_pages},
	{KVM_CREATE_IRQCHIP, 0, 0, REQUEST_LOCK, create_irqchip},
	{KVM_GET_IRQCHIP, sizeof(struct kvm_irqchip), sizeof(struct kvm_irqchip), 0, get_irqchip},
	{KVM_SET_IRQCHIP, sizeof(struct kvm_irqchip), 0, 0, set_irqchip},
	{KVM_CREATE_PIT2, sizeof(struct kvm_pit_config), 0, REQUEST_LOCK, create_pit2},
	{KVM_GET_PIT2, 0, sizeof(struct kvm_pit_state2), 0, get_pit2},
	{KVM_SET_PIT2, sizeof(struct kvm_pit_state2), 0, 0, set_pit2},
	{KVM_REINJECT_CONTROL, sizeof(struct kvm_reinject_control), 0, 0, reinject_control},
	{KVM_SET_GSI_ROUTING, 0, 0, REQUEST_LOCK, set_gsi_routing},
	{KVM_GET_CLOCK, 0, sizeof(struct kvm_clock_data), 0, get_clock},
	{KVM_SET_CLOCK, sizeof(struct kvm_clock_data), 0, REQUEST_LOCK, set_clock},
	{KVM_GET_TSC_KHZ, 0, 0, 0, get_tsc_khz},
	{KVM_SET_TSC_KHZ, 0, 0, REQUEST_LOCK, set_tsc_khz},
	{KEEL_DO_WITHOUT, 0, 0, REQUEST_LOCK, do_without},
	{KEEL_DESTROY, 0, 0, REQUEST_DYING, vm_destroy},
	{KEEL_TAKE_BACK, 0, 0, REQUEST_DYING, vm_take_back},
};

const struct request_table vm_requests = {rows, ARRAY_SIZE(rows), -ENOTTY};
