/* SPDX-License-Identifier: MIT */
/* The table of VM handles, generation-checked, and who works on which VM. */
#include "kvm/handle.h"

#include "arch-x86/cpu.h"

/* A handle: generation in bits 55..24, slot number in bits 23..8, vCPU index + 1 in 7..0. */
#define SLOT_SHIFT	 8
#define SLOT_MASK	 0xffffu
#define GENERATION_SHIFT 24

_Static_assert(HANDLE_VMS <= SLOT_MASK, "slot numbers fit");
_Static_assert(VM_VCPUS < KEEL_HANDLE_VCPU, "vCPU indexes fit");

/* The first is nobody's, so that a slot number stands for itself. */
static struct vm_slot slots[1 + HANDLE_VMS];

static u64 slot_handle(const struct vm_slot *slot)
{
	return (u64)slot->generation << GENERATION_SHIFT | (u64)(slot - slots) << SLOT_SHIFT;
}

static const struct vm_slot *slot_at(u32 offset)
{
	return (const struct vm_slot *)((const char *)slots + offset);
}

/* What a CPU announces: not 0. */
static u32 offset_of(const struct vm_slot *slot)
{
	return (const char *)slot - (const char *)slots;
}

int handle_enter(struct cpu *cpu, u64 handle, struct vm_slot **slot, struct vm **vm,
		 struct vcpu **vcpu)
{
	u32 number = handle >> SLOT_SHIFT & SLOT_MASK;
	u32 index = handle & KEEL_HANDLE_VCPU;
	struct vm_slot *s;
	u32 state;

	if (number == 0 || number > HANDLE_VMS)
		return -EBADF;
	s = &slots[number];
	/* Announce first, look afterwards: handle_in_use() does the reverse. */
	__atomic_store_n(&cpu->object.slot, offset_of(s), __ATOMIC_SEQ_CST);
	state = __atomic_load_n(&s->state, __ATOMIC_ACQUIRE);
	if (state == HANDLE_FREE || handle >> GENERATION_SHIFT != s->generation)
		goto none;
	*slot = s;
	*vm = s->vm;
	*vcpu = NULL;
	if (state != HANDLE_LIVE)
		return -EIO;
	if (index == 0)
		return 0;
	if (index <= __atomic_load_n(&kvm_vm(s->vm)->vcpus_ready, __ATOMIC_ACQUIRE)) {
		*vcpu = s->vm->vcpus[index - 1];
		return 0;
	}
none:
	*slot = NULL;
	*vm = NULL;
	handle_leave(cpu);
	return -EBADF;
}

/* Remembers the handle's vCPU. False: it is no vCPU's. */
static noinline bool look_up(struct cpu *cpu, struct cpu_object *mine, u64 handle)
{
	struct vm_slot *slot;
	struct vcpu *vcpu;
	struct vm *vm;
	bool found = !handle_enter(cpu, handle, &slot, &vm, &vcpu) && vcpu;

	handle_leave(cpu);
	if (!found)
		return false;
	mine->handle = handle;
	mine->vcpu = vcpu;
	mine->offset = offset_of(slot);
	mine->live =
		(struct vm_slot){.generation = handle >> GENERATION_SHIFT, .state = HANDLE_LIVE}
			.word;
	return true;
}

struct vcpu *handle_enter_vcpu(struct cpu *cpu, u64 handle)
{
	struct cpu_object *mine = &cpu->object;

	if (unlikely(mine->handle != handle) && !look_up(cpu, mine, handle))
		return NULL;
	/*
	 * A handle never comes back: while it is a live VM's, its vCPU is the one found before. The
	 * zeros of the beginning are slot 0, which is never used, and no vCPU.
	 */
	__atomic_store_n(&mine->slot, mine->offset, __ATOMIC_SEQ_CST);
	if (likely(__atomic_load_n(&slot_at(mine->offset)->word, __ATOMIC_ACQUIRE) == mine->live))
		return mine->vcpu;
	handle_leave(cpu);
	return NULL;
}

void handle_leave(struct cpu *cpu)
{
	__atomic_store_n(&cpu->object.slot, 0, __ATOMIC_RELEASE);
}

int handle_add(struct vm *vm, u64 *handle)
{
	for (u32 i = 1; i <= HANDLE_VMS; i++) {
		struct vm_slot *s = &slots[i];
		bool found;

		spin_lock(&s->lock);
		found = s->state == HANDLE_FREE;
		if (found) {
			s->vm = vm;
			*handle = slot_handle(s);
			__atomic_store_n(&s->state, HANDLE_LIVE, __ATOMIC_RELEASE);
		}
		spin_unlock(&s->lock);
		if (found)
			return 0;
	}
	return -ENFILE;
}

void handle_remove(struct vm_slot *slot)
{
	__atomic_store_n(&slot->state, HANDLE_FREE, __ATOMIC_RELEASE);
	slot->generation++;
	slot->vm = NULL;
}

bool handle_current(const struct vm_slot *slot, u64 handle)
{
	return slot->state != HANDLE_FREE && handle >> GENERATION_SHIFT == slot->generation;
}

bool handle_in_use(const struct vm_slot *slot, const struct cpu *cpu)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	for (u32 i = 0; i < cpu_count; i++)
		if (i != cpu->index && cpus[i] &&
		    __atomic_load_n(&cpus[i]->object.slot, __ATOMIC_ACQUIRE) == offset_of(slot))
			return true;
	return false;
}

u64 handle_of_vcpu(const struct vm_slot *slot, const struct vcpu *vcpu)
{
	return slot_handle(slot) | (vcpu->index + 1);
}
