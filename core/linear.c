// SPDX-License-Identifier: MIT
/* Guest memory by linear address, with the guest's own page tables and their faults. */
#include "core/run.h"
#include "core/vm.h"
#include "mm/guest_walk.h"

static int translate(struct vcpu *vcpu, u64 linear, u32 access, gpa_t *gpa)
{
	struct walk_result walk;
	struct walk_state state;
	int error;

	vcpu_walk_state(vcpu, &state);
	error = guest_walk(&vcpu->vm->mem, &state, GVA(linear), access, false, &walk);
	if (error == -EPERM)
		vcpu_queue_page_fault(vcpu, linear, walk.error);
	else if (error)
		return vcpu_memory_fault(vcpu, walk.missing, walk.missing_write) ? -EFAULT : -EIO;
	*gpa = walk.gpa;
	return error;
}

/* Both pages are looked up before the first byte moves. */
int linear_copy(struct vcpu *vcpu, u64 linear, void *data, u32 length, u32 access)
{
	struct guest_mem *mem = &vcpu->vm->mem;
	bool write = access & WALK_WRITE;
	u32 first = MIN(length, (u32)(PAGE_SIZE - (linear & (PAGE_SIZE - 1))));
	u32 parts[2] = {first, length - first};
	gpa_t gpa[2], missing = GPA(0);
	int error = 0;

	for (u32 i = 0; i < 2 && parts[i]; i++) {
		u64 there = parts[i];

		error = translate(vcpu, linear + (i ? first : 0), access, &gpa[i]);
		if (error)
			return error;
		if (!guest_ptr(mem, gpa[i], &there, write))
			return vcpu_memory_fault(vcpu, gpa[i], write) ? -EFAULT : -EIO;
	}
	for (u32 i = 0; data && i < 2 && parts[i]; i++) {
		u8 *at = (u8 *)data + (i ? first : 0);

		error = write ? guest_write(mem, gpa[i], at, parts[i], &missing)
			      : guest_read(mem, gpa[i], at, parts[i], &missing);
		if (error)
			return vcpu_memory_fault(vcpu, missing, write) ? -EFAULT : -EIO;
	}
	return 0;
}
