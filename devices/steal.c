/* SPDX-License-Identifier: MIT */
/* Steal time: the guest's page of it. */
#include "devices/steal.h"

#include "arch-x86/msr.h"
#include "core/vm.h"

#define ENABLED BIT(0) /* of the MSR; the rest is the page's address, 64-byte aligned */

/* In guest memory: kvm_steal_time. An odd version: being written. */
struct steal_page {
	u64 steal;
	u32 version, flags;
	u8 preempted, pad[47];
};
_Static_assert(sizeof(struct steal_page) == 64, "kvm_steal_time");

void steal_delay(struct vcpu *vcpu, u64 ns)
{
	vcpu->delay = ns;
	if (vcpu->msr.steal_time & ENABLED)
		vcpu_set_request(vcpu, REQUEST_CLOCK);
	else
		vcpu->delay_told = ns;
}

bool steal_update(struct vcpu *vcpu)
{
	u64 length = sizeof(struct steal_page), delay = vcpu->delay;
	volatile struct steal_page *page;
	u32 version;
	gpa_t gpa;

	if (!(vcpu->msr.steal_time & ENABLED))
		return true;
	gpa = GPA(vcpu->msr.steal_time & ~ENABLED);
	page = guest_ptr(&vcpu->vm->mem, gpa, &length, true);
	if (!page)
		return !vcpu_memory_fault(vcpu, gpa, true);
	version = page->version | 1;
	page->version = version;
	page->steal += delay - vcpu->delay_told;
	page->version = version + 1;
	vcpu->delay_told = delay;
	/* Marked dirty after the write too: a dirty log taken in between would miss it. */
	(void)guest_ptr(&vcpu->vm->mem, gpa, &length, true);
	return true;
}
