// SPDX-License-Identifier: MIT
/*
 * /dev/kvm over Keel's hypercalls: memory donated to VMs, guest memory mapped, vCPUs run and woken.
 * Memory is identity mapped under a UEFI firmware, so a host virtual address is a physical one.
 */
#include "mgmt/uefi/libkeel/hypercall.h"
#include "mgmt/uefi/libkeel/libkeel.h"
#include "mgmt/uefi/libkeel/vector.h"
#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VM_COUNT    32
#define VCPU_COUNT  64
#define GROW_PAGES  512ull /* 2 MiB: Keel splits no large page then */
#define GROW_TRIES  16
#define RUN_PAGES   3
#define MAP_MOST    SIZE_1G /* of one KEEL_MAP */
#define DONATE_MOST 8192ull /* pages of one KEEL_DONATE */
#define FLUSH_US    5000000 /* every CPU has flushed by then, or is lost */

struct vm;

struct vcpu {
	struct vm *vm;
	u64 handle;
	struct kvm_run *run;
	struct keel_thread *thread; /* that runs it, or did last */
};

struct slot {
	u32 id, flags;
	u64 gpa, size, hva;
};

struct vm {
	u64 handle;
	u32 references; /* fds of it and of its vCPUs */
	bool dead;	/* destroyed in Keel; only fds are left */
	struct slot *slots;
	u32 slot_count, slot_room;
	u32 vcpu_count;
	struct vcpu *vcpus[VCPU_COUNT]; /* in the order of their creation, as in the wake bitmap */
};

bool hypercall_vmcall;
static bool keel_found;
static struct keel_info info;
static struct spinlock vms_lock; /* vms, their vCPUs, whose threads those are; then a CPU's lock */
static struct vm *vms[VM_COUNT];

/* ---- wake-ups ---- */

static void wake(struct vcpu *v)
{
	if (v->thread)
		thread_wake(v->thread);
}

/* Keel has vCPUs to wake: it says which. */
static void take_wakes(void)
{
	spin_lock(&vms_lock);
	for (u32 i = 0; i < VM_COUNT; i++) {
		struct vm *vm = vms[i];
		struct hypercall_result r = {0};

		if (vm)
			r = hypercall(vm->handle, KEEL_TAKE_WAKE, 0, 0, 0);
		if (r.value < 0)
			continue;
		for (u32 k = 0; r.second && k < vm->vcpu_count; k++, r.second >>= 1)
			if (r.second & 1)
				wake(vm->vcpus[k]);
	}
	spin_unlock(&vms_lock);
}

void kvm_forget_thread(const struct keel_thread *t)
{
	spin_lock(&vms_lock);
	for (u32 i = 0; i < VM_COUNT; i++)
		for (u32 k = 0; vms[i] && k < vms[i]->vcpu_count; k++)
			if (vms[i]->vcpus[k]->thread == t)
				vms[i]->vcpus[k]->thread = NULL;
	spin_unlock(&vms_lock);
}

static struct hypercall_result call(u64 handle, u64 request, u64 argument, u64 bytes, u64 extra)
{
	struct hypercall_result r = hypercall(handle, request, argument, bytes, extra);

	if (r.reply & KEEL_REPLY_WAKE)
		take_wakes();
	return r;
}

void keel_sync(void)
{
	hypercall(KEEL_SYSTEM_HANDLE, KEEL_SYNC, 0, 0, 0);
}

/* ---- donation: pages leave the management guest once no CPU can still use them ---- */

static int wait_for_epoch(u64 epoch)
{
	struct processor *self = thread_self()->cpu;
	u64 limit = tsc_after_us(FLUSH_US);

	for (u32 i = 0; i < processor_count; i++) {
		if (&processors[i] == self)
			continue;
		__atomic_store_n(&processors[i].sync, 1, __ATOMIC_RELEASE);
		processor_kick(&processors[i]);
	}
	keel_sync();
	while (hypercall(KEEL_SYSTEM_HANDLE, KEEL_DONATED, epoch, 0, 0).value != 1) {
		if (rdtsc() > limit)
			return -EIO;
		keel_sync();
		__builtin_ia32_pause();
	}
	return 0;
}

/* At least `pages`, in whole 2 MiB blocks. */
static int donate(u64 pages, u64 *base, u64 *given)
{
	struct hypercall_result r;
	int error;

	*given = ALIGN_UP(MAX(pages, 1ull), GROW_PAGES);
	if (*given > DONATE_MOST)
		return -ENOMEM;
	*base = pages_allocate(*given, SIZE_2M);
	if (!*base)
		return -ENOMEM;
	r = call(KEEL_SYSTEM_HANDLE, KEEL_DONATE, *base, 0, *given);
	if (r.value < 0) {
		pages_free(*base, *given);
		return (int)r.value;
	}
	error = wait_for_epoch((u64)r.value);
	if (error) /* the pages stay lost: a CPU may still write to them */
		fprintf(stderr, "libkeel: a CPU does not answer; 0x%lx stays donated\n", *base);
	return error;
}

/* Donated pages that no VM got. */
static void reclaim(u64 base, u64 pages)
{
	if (!call(KEEL_SYSTEM_HANDLE, KEEL_RECLAIM, base, 0, pages).value)
		pages_free(base, pages);
}

static int vm_grow(struct vm *vm, u64 pages)
{
	u64 base, given;
	int error = donate(pages, &base, &given);
	s64 result;

	if (error)
		return error;
	result = call(vm->handle, KEEL_ADD_POOL, base, 0, given).value;
	if (result < 0)
		reclaim(base, given);
	return (int)result;
}

/* A call that may need memory of the VM, or ask to be repeated. */
static struct hypercall_result vm_call(struct vm *vm, u64 handle, u64 request, u64 argument,
				       u64 bytes, u64 extra)
{
	struct hypercall_result r;

	for (u32 grown = 0;;) {
		r = call(handle, request, argument, bytes, extra);
		switch (r.value) {
		case -ENOMEM:
			if (grown++ == GROW_TRIES || vm_grow(vm, GROW_PAGES))
				return r;
			break;
		case -EBUSY: /* its vCPU runs elsewhere: Linux would wait for its lock */
		case -EAGAIN:
			if (vm->dead)
				return r;
			keel_yield();
			break;
		default:
			return r;
		}
	}
}

/* ---- guest memory ---- */

static int map_range(struct vm *vm, u64 gpa, u64 hva, u64 size, bool writable)
{
	while (size) {
		struct keel_map m = {gpa, hva, MIN(size, MAP_MOST), writable ? KEEL_MAP_WRITE : 0};
		s64 result = vm_call(vm, vm->handle, KEEL_MAP, (u64)&m, sizeof(m), 0).value;

		if (result < 0)
			return (int)result;
		gpa += m.size;
		hva += m.size;
		size -= m.size;
	}
	return 0;
}

static struct slot *find_slot(struct vm *vm, u32 id)
{
	for (u32 i = 0; i < vm->slot_count; i++)
		if (vm->slots[i].id == id)
			return &vm->slots[i];
	return NULL;
}

/* Keel has accepted the region: remembers it. */
static int note_slot(struct vm *vm, const struct kvm_userspace_memory_region *r)
{
	struct slot *s = find_slot(vm, r->slot), *more;

	if (!r->memory_size) {
		if (s)
			*s = vm->slots[--vm->slot_count];
		return 0;
	}
	if (!s && vm->slot_count == vm->slot_room) {
		more = realloc(vm->slots, (vm->slot_room * 2 + 16) * sizeof(*more));
		if (!more)
			return -ENOMEM;
		vm->slots = more;
		vm->slot_room = vm->slot_room * 2 + 16;
	}
	if (!s)
		s = &vm->slots[vm->slot_count++];
	*s = (struct slot){r->slot, r->flags, r->guest_phys_addr, r->memory_size,
			   r->userspace_addr};
	return 0;
}

static int set_region(struct vm *vm, const struct kvm_userspace_memory_region *arg)
{
	struct kvm_userspace_memory_region r;
	s64 result;

	if (!arg)
		return -EFAULT;
	r = *arg;
	result = vm_call(vm, vm->handle, KVM_SET_USER_MEMORY_REGION, (u64)&r, sizeof(r), 0).value;
	if (result < 0)
		return (int)result;
	if (note_slot(vm, &r))
		return -ENOMEM;
	/* Not RAM: as under Linux, only a guest's access tells (KVM_RUN: EFAULT). */
	if (r.memory_size)
		map_range(vm, r.guest_phys_addr, r.userspace_addr, r.memory_size,
			  !(r.flags & KVM_MEM_READONLY));
	return 0;
}

/* A frame that is not mapped: the 2 MiB around it inside its slot, or only that page. */
static int fault_in(struct vm *vm, u64 gpa, u64 hva, bool write)
{
	for (u32 i = 0; i < vm->slot_count; i++) {
		struct slot *s = &vm->slots[i];
		u64 first, end;

		if (gpa - s->gpa >= s->size)
			continue;
		first = MAX(ALIGN_DOWN(gpa, SIZE_2M), s->gpa);
		end = MIN(ALIGN_DOWN(gpa, SIZE_2M) + SIZE_2M, s->gpa + s->size);
		if (!map_range(vm, first, s->hva + (first - s->gpa), end - first,
			       !(s->flags & KVM_MEM_READONLY)))
			return 0;
	}
	return map_range(vm, gpa, hva, PAGE_SIZE, write) ? -EFAULT : 0;
}

void kvm_forget(u64 base, u64 bytes)
{
	for (u32 i = 0; i < VM_COUNT; i++) {
		struct vm *vm = vms[i];

		for (u32 k = 0; vm && !vm->dead && k < vm->slot_count; k++) {
			struct slot *s = &vm->slots[k];
			u64 first = MAX(s->hva, base), end = MIN(s->hva + s->size, base + bytes);

			while (first < end) {
				struct keel_map m = {s->gpa + (first - s->hva), first,
						     MIN(end - first, MAP_MOST), 0};

				vm_call(vm, vm->handle, KEEL_UNMAP, (u64)&m, sizeof(m), 0);
				first += m.size;
			}
		}
	}
}

static int get_dirty_log(struct vm *vm, const struct kvm_dirty_log *log)
{
	const struct slot *s;
	u64 bitmap = 0, bytes = 0;

	if (!log)
		return -EFAULT;
	s = find_slot(vm, log->slot);
	if (s) { /* else Keel says what is wrong with the number */
		bitmap = (u64)log->dirty_bitmap;
		bytes = ALIGN_UP(s->size / PAGE_SIZE, 64) / 8;
	}
	return (int)vm_call(vm, vm->handle, KEEL_GET_DIRTY_LOG, bitmap, bytes, log->slot).value;
}

/* The ranges' bitmaps go behind the struct: Keel does not follow its pointers. */
static int set_msr_filter(struct vm *vm, const struct kvm_msr_filter *arg)
{
	u64 bytes = sizeof(*arg);
	struct kvm_msr_filter *copy;
	char *to;
	int result;

	if (!arg)
		return -EFAULT;
	copy = malloc(bytes + KVM_MSR_FILTER_MAX_RANGES * KVM_MSR_FILTER_MAX_BITMAP_SIZE);
	if (!copy)
		return -ENOMEM;
	*copy = *arg;
	for (u32 i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++) {
		const struct kvm_msr_filter_range *r = &copy->ranges[i];
		u64 size = ALIGN_UP((u64)r->nmsrs, 64) / 8;

		if (size > KVM_MSR_FILTER_MAX_BITMAP_SIZE)
			break; /* Keel refuses it by its number */
		to = (char *)copy + bytes;
		memcpy(to, r->bitmap, size);
		bytes += size;
	}
	result = (int)vm_call(vm, vm->handle, KVM_X86_SET_MSR_FILTER, (u64)copy, bytes, 0).value;
	free(copy);
	return result;
}

/* What a VMM has in memory is contiguous here, and at its physical address. */
static int clear_dirty_log(struct vm *vm, const struct kvm_clear_dirty_log *log)
{
	if (!log)
		return -EFAULT;
	return (int)vm_call(vm, vm->handle, KEEL_CLEAR_DIRTY_LOG, (u64)log, sizeof(*log), 0).value;
}

/* ---- arguments ---- */

static u64 count_at(u64 arg, u32 most)
{
	return MIN(*(const u32 *)arg, most);
}

/* Bytes of a request's struct; those with a variable part state their count in the first word. */
static u64 argument_bytes(u64 request, u64 arg)
{
	u64 bytes = _IOC_SIZE(request);

	if (request == KVM_REINJECT_CONTROL)
		bytes = sizeof(struct kvm_reinject_control);
	if (request == KEEL_STATS)
		bytes = sizeof(struct keel_stats);
	if (request == KEEL_YOUNG)
		bytes = sizeof(struct keel_map);
	if (!bytes || !arg)
		return bytes;
	switch (request) {
	case KVM_GET_SUPPORTED_CPUID:
	case KVM_GET_EMULATED_CPUID:
	case KVM_SET_CPUID2:
	case KVM_GET_CPUID2:
		return bytes + count_at(arg, 256) * sizeof(struct kvm_cpuid_entry2);
	case KVM_SET_CPUID:
		return bytes + count_at(arg, 256) * sizeof(struct kvm_cpuid_entry);
	case KVM_GET_MSRS:
	case KVM_SET_MSRS:
		return bytes + count_at(arg, 256) * sizeof(struct kvm_msr_entry);
	case KVM_GET_MSR_INDEX_LIST:
	case KVM_GET_MSR_FEATURE_INDEX_LIST:
		return bytes + count_at(arg, 1024) * sizeof(u32);
	case KVM_SET_GSI_ROUTING:
		return bytes + count_at(arg, 4096) * sizeof(struct kvm_irq_routing_entry);
	case KVM_SET_SIGNAL_MASK:
		return bytes + count_at(arg, 8);
	}
	return bytes;
}

/* No memory is there, so Keel answers EFAULT if it knows the request. At 0 there is a page. */
#define NOWHERE (1ull << 62)

static int pass_on(struct vm *vm, u64 handle, u64 request, u64 arg)
{
	u64 bytes = argument_bytes(request, arg);

	if (bytes && !arg)
		arg = NOWHERE;
	if (!vm)
		return (int)call(handle, request, arg, bytes, 0).value;
	return (int)vm_call(vm, handle, request, arg, bytes, 0).value;
}

/* The value goes behind the struct. */
static int device_attr(struct vm *vm, u64 handle, u64 request, const struct kvm_device_attr *arg)
{
	struct keel_device_attr data;
	int result;

	if (!arg)
		return -EFAULT;
	data = (struct keel_device_attr){arg->flags, arg->group, arg->attr, arg->addr, 0};
	result = pass_on(vm, handle, KVM_HAS_DEVICE_ATTR, (u64)&data);
	if (result || request == KVM_HAS_DEVICE_ATTR)
		return result;
	if (!data.addr)
		return -EFAULT;
	if (request == KVM_SET_DEVICE_ATTR)
		memcpy(&data.value, (void *)data.addr, sizeof(data.value));
	result = (int)(vm ? vm_call(vm, handle, request, (u64)&data, sizeof(data), 0)
			  : call(handle, request, (u64)&data, sizeof(data), 0))
			 .value;
	if (!result && request == KVM_GET_DEVICE_ATTR)
		memcpy((void *)data.addr, &data.value, sizeof(data.value));
	return result;
}

static bool is_device_attr(u64 request)
{
	return request == KVM_HAS_DEVICE_ATTR || request == KVM_GET_DEVICE_ATTR ||
	       request == KVM_SET_DEVICE_ATTR;
}

/* ---- creation ---- */

static int add_vm(struct vm *vm)
{
	int error = -ENOMEM;

	spin_lock(&vms_lock);
	for (u32 i = 0; i < VM_COUNT && error; i++)
		if (!vms[i]) {
			__atomic_store_n(&vms[i], vm, __ATOMIC_RELEASE);
			error = 0;
		}
	spin_unlock(&vms_lock);
	return error;
}

static int create_vm(u64 type)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	struct keel_create_vm c = {.type = type, .wall_time_ns = firmware_time() * 1000000000ull};
	u64 base = 0, pages = 0;
	s64 result = vm ? donate(info.vm_min_pages, &base, &pages) : -ENOMEM;
	int fd;

	if (result)
		goto out;
	c.base = base;
	c.pages = pages;
	result = call(KEEL_SYSTEM_HANDLE, KEEL_CREATE_VM, (u64)&c, sizeof(c), 0).value;
	if (result < 0) {
		reclaim(base, pages);
		goto out;
	}
	vm->handle = (u64)result;
	vm->references = 1;
	result = add_vm(vm);
	fd = result ? -1 : object_new(OBJECT_VM, vm);
	if (fd >= 0)
		return fd;
	kvm_close(&(struct object){OBJECT_VM, vm});
	return result ? (int)result : -EMFILE;
out:
	free(vm);
	return (int)result;
}

static int create_vcpu(struct vm *vm, u64 id)
{
	struct vcpu *vcpu = calloc(1, sizeof(*vcpu));
	u64 run = pages_allocate(RUN_PAGES, PAGE_SIZE);
	struct keel_create_vcpu c = {id, run};
	s64 result = -ENOMEM;
	int fd;

	if (!vcpu || !run)
		goto out;
	memset((void *)run, 0, RUN_PAGES * PAGE_SIZE);
	result = vm->vcpu_count == VCPU_COUNT
			 ? -EINVAL
			 : vm_call(vm, vm->handle, KEEL_CREATE_VCPU, (u64)&c, sizeof(c), 0).value;
	if (result < 0)
		goto out;
	*vcpu = (struct vcpu){vm, (u64)result, (struct kvm_run *)run, NULL};
	spin_lock(&vms_lock);
	vm->vcpus[vm->vcpu_count++] = vcpu;
	vm->references++;
	spin_unlock(&vms_lock);
	fd = object_new(OBJECT_VCPU, vcpu);
	if (fd < 0)
		kvm_close(&(struct object){OBJECT_VCPU, vcpu});
	return fd < 0 ? -EMFILE : fd;
out:
	if (run)
		pages_free(run, RUN_PAGES);
	free(vcpu);
	return (int)result;
}

/* ---- destruction ---- */

static bool all_zero(u64 base, u64 pages)
{
	u64 sum = 0;

	for (const u64 *p = (const u64 *)base; p < (const u64 *)(base + pages * PAGE_SIZE); p++)
		sum |= *p;
	return !sum;
}

/* Its pages come back zeroed. -EIO: they did not, or a vCPU does not leave. */
static int destroy_vm(struct vm *vm, bool check)
{
	u64 limit = tsc_after_us(10000000);
	struct hypercall_result r;
	int error = 0;

	while ((r = call(vm->handle, KEEL_DESTROY, 0, 0, 0)).value == -EAGAIN && rdtsc() < limit)
		keel_yield();
	if (r.value < 0)
		return -EIO;
	while ((r = call(vm->handle, KEEL_TAKE_BACK, 0, 0, 0)).value == 1) {
		u64 base = ALIGN_DOWN(r.second, PAGE_SIZE), pages = r.second % PAGE_SIZE;

		if (check && !all_zero(base, pages))
			error = -EIO;
		pages_free(base, pages);
	}
	return error;
}

static int vm_end(struct vm *vm, bool check)
{
	int error;

	if (__atomic_exchange_n(&vm->dead, true, __ATOMIC_ACQ_REL))
		return 0;
	spin_lock(&vms_lock);
	for (u32 i = 0; i < VM_COUNT; i++)
		if (vms[i] == vm)
			vms[i] = NULL;
	/* Those that sleep in HLT on other CPUs find out that it is gone. */
	for (u32 i = 0; i < vm->vcpu_count; i++)
		wake(vm->vcpus[i]);
	spin_unlock(&vms_lock);
	error = destroy_vm(vm, check);
	if (error)
		fprintf(stderr, "libkeel: destroying a virtual machine: %s\n", strerror(-error));
	return error;
}

static void vm_release(struct vm *vm)
{
	if (__atomic_sub_fetch(&vm->references, 1, __ATOMIC_ACQ_REL))
		return;
	vm_end(vm, false);
	for (u32 i = 0; i < vm->vcpu_count; i++) {
		pages_free((u64)vm->vcpus[i]->run, RUN_PAGES);
		free(vm->vcpus[i]);
	}
	free(vm->slots);
	free(vm);
}

void kvm_close(struct object *o)
{
	if (o->kind == OBJECT_VM)
		vm_release(o->data);
	else if (o->kind == OBJECT_VCPU)
		vm_release(((struct vcpu *)o->data)->vm);
}

int keel_vm_kill(int vm_fd)
{
	struct object *o = object_get(vm_fd);
	int error;

	if (!o)
		return -1;
	error = o->kind == OBJECT_VM ? vm_end(o->data, true) : -EINVAL;
	if (!error)
		return 0;
	errno = -error;
	return -1;
}

void kvm_end(void)
{
	for (u32 i = 0; i < VM_COUNT; i++)
		if (vms[i])
			vm_end(vms[i], false);
}

/* ---- KVM_RUN ---- */

static int interrupted(struct vcpu *v, struct keel_thread *me)
{
	/* A signal states its reason; immediate_exit leaves what was there. */
	if (__atomic_exchange_n(&me->kicked, 0, __ATOMIC_ACQ_REL))
		v->run->exit_reason = KVM_EXIT_INTR;
	return -EINTR;
}

/* 1: run again. */
static int outcome(struct vcpu *v, struct keel_thread *me, const struct hypercall_result *r)
{
	int error;

	switch (r->value) {
	case KEEL_USER:
		return 0;
	case KEEL_INTERRUPTED:
		return 1;
	case KEEL_ARM:
		cli();
		if (r->second < me->cpu->timer)
			timer_set(me->cpu, r->second);
		sti();
		return 1;
	case KEEL_HALTED:
		thread_sleep(r->second);
		return 1;
	case KEEL_FAULT:
		error = fault_in(v->vm, ALIGN_DOWN(r->second, PAGE_SIZE),
				 ALIGN_DOWN(r->third, PAGE_SIZE), (r->second | r->third) & 1);
		return error ? error : 1;
	case KEEL_MEMORY:
		error = vm_grow(v->vm, r->second);
		return error ? error : 1;
	case KEEL_EINTR:
		return interrupted(v, me);
	case KEEL_EAGAIN:
	case -EAGAIN:
		return -EAGAIN;
	case -EBUSY:
	case KEEL_SPINS:
		keel_yield();
		return 1;
	default:
		return r->value < 0 && !v->vm->dead ? (int)r->value : -EIO;
	}
}

/* Interrupts are off before and after, and on meanwhile. */
static noinline void take_events(struct processor *cpu)
{
	while (cpu->event) {
		sti();
		sched_poll(cpu);
		if (sched_due(cpu))
			sched_switch();
		cli();
		if (!cpu->event)
			sched_set_timer(cpu);
	}
}

/* One entry, with interrupts off: they stay so from the look at what they announced until Keel
 * looks for new ones, so none is lost. */
static inline struct hypercall_result enter(struct vcpu *v, struct keel_thread *me)
{
	return hypercall(v->handle, KEEL_RUN, me->cpu->timer, 0, me->kicked);
}

/* The way there was not straight: r is KEEL_RUN's outcome, or KEEL_INTERRUPTED to begin with. */
static noinline int run_on(struct vcpu *v, struct keel_thread *me, s64 value, u64 second, u64 third,
			   u32 reply)
{
	struct hypercall_result r = {value, second, third, reply};
	int result;

	for (;;) {
		if (r.reply & KEEL_REPLY_WAKE)
			take_wakes();
		result = r.value == KEEL_USER ? 0 : outcome(v, me, &r);
		if (!result)
			return 0;
		if (result < 0) {
			errno = -result;
			return -1;
		}
		cli();
		if (me->cpu->event)
			take_events(me->cpu);
		if (vector_checking)
			r = vector_hypercall(v->handle, KEEL_RUN, me->cpu->timer, me->kicked);
		else
			r = enter(v, me);
		sti();
	}
}

int kvm_run(void *vcpu)
{
	struct vcpu *v = vcpu;
	struct keel_thread *me = thread_self();
	struct hypercall_result r;

	_Static_assert(KEEL_USER == 0, "the usual outcome is all zeros");
	v->thread = me; /* whom a wake-up is for */
	cli();
	if (unlikely(me->cpu->event | vector_checking)) {
		sti();
		return run_on(v, me, KEEL_INTERRUPTED, 0, 0, 0);
	}
	r = enter(v, me);
	sti();
	if (likely(!(r.value | r.reply)))
		return 0;
	return run_on(v, me, r.value, r.second, r.third, r.reply);
}

/* ---- ioctl ---- */

static int system_ioctl(u64 request, u64 arg)
{
	if (request == KVM_CREATE_VM)
		return create_vm(arg);
	if (is_device_attr(request))
		return device_attr(NULL, KEEL_SYSTEM_HANDLE, request, (const void *)arg);
	return pass_on(NULL, KEEL_SYSTEM_HANDLE, request, arg);
}

static int vm_ioctl(struct vm *vm, u64 request, u64 arg)
{
	if (vm->dead)
		return -EIO;
	switch (request) {
	case KVM_CREATE_VCPU:
		return create_vcpu(vm, arg);
	case KVM_SET_USER_MEMORY_REGION:
		return set_region(vm, (const void *)arg);
	case KVM_GET_DIRTY_LOG:
		return get_dirty_log(vm, (const void *)arg);
	case KVM_X86_SET_MSR_FILTER:
		return set_msr_filter(vm, (const void *)arg);
	case KVM_CLEAR_DIRTY_LOG:
		return clear_dirty_log(vm, (const void *)arg);
	default:
		return pass_on(vm, vm->handle, request, arg);
	}
}

static int vcpu_ioctl(struct vcpu *vcpu, u64 request, u64 arg)
{
	if (vcpu->vm->dead)
		return -EIO;
	if (request == KVM_RUN) /* with an argument: ioctl() runs it without one */
		return -EINVAL;
	if (is_device_attr(request))
		return device_attr(vcpu->vm, vcpu->handle, request, (const void *)arg);
	return pass_on(vcpu->vm, vcpu->handle, request, arg);
}

int kvm_ioctl(struct object *o, unsigned long request, u64 arg)
{
	request = (u32)request;
	switch (o->kind) {
	case OBJECT_VCPU:
		return vcpu_ioctl(o->data, request, arg);
	case OBJECT_VM:
		return vm_ioctl(o->data, request, arg);
	default:
		return system_ioctl(request, arg);
	}
}

void *kvm_run_pages(struct object *o)
{
	return o->kind == OBJECT_VCPU ? ((struct vcpu *)o->data)->run : NULL;
}

/* ---- /dev/kvm ---- */

/* An outer hypervisor may have the first leaves: looks at each multiple of 0x100. */
static bool find_keel(void)
{
	u32 a, b, c, d;

	__asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(0), "c"(0));
	hypercall_vmcall = b != 0x68747541 /* AuthenticAMD */ && b != 0x6f677948 /* HygonGenuine */;
	__asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(1), "c"(0));
	if (!(c & BIT(31)))
		return false;
	for (u32 base = 0x40000000; base < 0x40010000; base += 0x100) {
		u32 name[3];

		__asm__ volatile("cpuid"
				 : "=a"(a), "=b"(name[0]), "=c"(name[1]), "=d"(name[2])
				 : "a"(base), "c"(0));
		if (memcmp(name, KEEL_CPUID_STRING, sizeof(name)))
			continue;
		__asm__ volatile("cpuid"
				 : "=a"(a), "=b"(b), "=c"(c), "=d"(d)
				 : "a"(base + 1), "c"(0));
		if (a == KEEL_INTERFACE)
			return true;
		fprintf(stderr, "libkeel: Keel's interface is version %u, this program's %u\n", a,
			KEEL_INTERFACE);
		return false;
	}
	return false;
}

int kvm_open(void)
{
	if (!keel_found) {
		if (!find_keel()) {
			fprintf(stderr,
				"libkeel: Keel does not run on this machine: start keel.efi "
				"first, and this program from it\n");
			errno = ENOENT;
			return -1;
		}
		if (call(KEEL_SYSTEM_HANDLE, KEEL_INFO, (u64)&info, sizeof(info), 0).value) {
			errno = EIO;
			return -1;
		}
		tsc_khz = info.tsc_khz;
		if (processors_start() ||
		    call(KEEL_SYSTEM_HANDLE, KEEL_KICK_VECTOR, VECTOR_KICK, 0, 0).value < 0) {
			errno = EIO;
			return -1;
		}
		keel_found = true;
	}
	return object_new(OBJECT_SYSTEM, NULL);
}
