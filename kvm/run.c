/* SPDX-License-Identifier: MIT */
/*
 * KEEL_RUN: KVM_RUN's order of operations around core's vcpu_run(), and the kvm_run page.
 *
 * The page belongs to the VMM, which may change it at any moment: each field is read once into
 * Keel's own memory and then used from there; nothing that Keel has written is read back.
 */
#include <linux/kvm.h>

#include "arch-x86/cpu.h"
#include "arch-x86/regs.h"
#include "devices/irqchip.h"
#include "devices/lapic.h"
#include "devices/steal.h"
#include "kvm/hypercall.h"
#include "kvm/regs.h"
#include "lib/string.h"
#include "mm/phys.h"

#define ENTER 1000 /* beside enum keel_outcome: nothing has ended this run yet */

_Static_assert(offsetof(struct kvm_run, mmio) == 32, "the exits' union");
_Static_assert(offsetof(struct kvm_run, request_interrupt_window) == 0 &&
		       offsetof(struct kvm_run, immediate_exit) == 1,
	       "one word");
_Static_assert((int)USER_UNKNOWN == KVM_EXIT_UNKNOWN && (int)USER_IO == KVM_EXIT_IO &&
		       (int)USER_DEBUG == KVM_EXIT_DEBUG && (int)USER_HLT == KVM_EXIT_HLT &&
		       (int)USER_MMIO == KVM_EXIT_MMIO &&
		       (int)USER_IRQ_WINDOW == KVM_EXIT_IRQ_WINDOW_OPEN &&
		       (int)USER_SHUTDOWN == KVM_EXIT_SHUTDOWN && (int)USER_INTR == KVM_EXIT_INTR &&
		       (int)USER_SET_TPR == KVM_EXIT_SET_TPR &&
		       (int)USER_TPR_ACCESS == KVM_EXIT_TPR_ACCESS &&
		       (int)USER_FAIL_ENTRY == KVM_EXIT_FAIL_ENTRY &&
		       (int)USER_INTERNAL_ERROR == KVM_EXIT_INTERNAL_ERROR &&
		       (int)USER_IOAPIC_EOI == KVM_EXIT_IOAPIC_EOI &&
		       (int)USER_RDMSR == KVM_EXIT_X86_RDMSR &&
		       (int)USER_WRMSR == KVM_EXIT_X86_WRMSR,
	       "core's numbers are KVM's");

/* ready_for_interrupt_injection, if_flag and flags, which lie in one word. */
#define SHOW_READY BIT(0)
#define SHOW_IF	   BIT(8)
_Static_assert(offsetof(struct kvm_run, ready_for_interrupt_injection) == 12 &&
		       offsetof(struct kvm_run, if_flag) == 13 &&
		       offsetof(struct kvm_run, flags) == 14,
	       "one word");

/* What every return to the VMM shows (Linux's post_kvm_run_save). */
static inline void show_state(struct vcpu *vcpu, struct kvm_run *run)
{
	const struct vm *vm = vcpu->vm;
	bool pic = vm->irqchip && !vm->split_irqchip;
	u32 word = pic ? SHOW_READY : 0;

	if (vcpu_flags(vcpu) & RFLAGS_IF) {
		word |= SHOW_IF;
		if (!pic && vcpu_interrupt_ready(vcpu))
			word |= SHOW_READY;
	}
	WRITE_ONCE(*(u32 *)&run->ready_for_interrupt_injection, word);
	if (vcpu->lapic) {
		run->cr8 = vm->irqchip->get_cr8(vcpu);
		run->apic_base = lapic_base(vcpu);
	} else {
		run->cr8 = vcpu->v.cr8;
		run->apic_base = vcpu->msr.apic_base;
	}
}

static void show_internal_error(const struct vcpu_exit *exit, struct kvm_run *run)
{
	u32 count = MIN(exit->internal.count, (u32)ARRAY_SIZE(exit->internal.data));

	run->internal.suberror = exit->internal.suberror;
	run->internal.ndata = count;
	for (u32 i = 0; i < count; i++)
		run->internal.data[i] = exit->internal.data[i];
}

/* Tells the VMM of vcpu->exit. */
static void show_other_exit(const struct vcpu_exit *exit, const struct cpu *cpu,
			    struct kvm_run *run)
{
	switch (exit->reason) {
	case USER_MMIO:
		run->mmio.phys_addr = exit->mmio.gpa.v;
		memcpy(run->mmio.data, exit->mmio.data, sizeof(run->mmio.data));
		run->mmio.len = exit->mmio.length;
		run->mmio.is_write = exit->mmio.write;
		break;
	case USER_TPR_ACCESS:
		run->tpr_access.rip = exit->tpr_access.rip;
		run->tpr_access.is_write = exit->tpr_access.write;
		break;
	case USER_DEBUG:
		run->debug.arch.exception = exit->debug.exception;
		run->debug.arch.pc = exit->debug.pc;
		run->debug.arch.dr6 = exit->debug.dr6;
		run->debug.arch.dr7 = exit->debug.dr7;
		break;
	case USER_FAIL_ENTRY:
		run->fail_entry.hardware_entry_failure_reason = exit->fail_entry.hardware_reason;
		run->fail_entry.cpu = cpu->index;
		break;
	case USER_IOAPIC_EOI:
		run->eoi.vector = exit->eoi.vector;
		break;
	case USER_RDMSR:
	case USER_WRMSR:
		run->msr.error = 0;
		memset(run->msr.pad, 0, sizeof(run->msr.pad));
		run->msr.reason = exit->msr.why;
		run->msr.index = exit->msr.index;
		run->msr.data = exit->msr.data;
		break;
	case USER_INTERNAL_ERROR:
		show_internal_error(exit, run);
		break;
	}
}

static inline void show_exit(const struct vcpu_exit *exit, const struct cpu *cpu,
			     struct kvm_run *run)
{
	run->exit_reason = exit->reason;
	if (unlikely(exit->reason != USER_IO)) {
		show_other_exit(exit, cpu, run);
		return;
	}
	run->io.direction = exit->io.in ? KVM_EXIT_IO_IN : KVM_EXIT_IO_OUT;
	run->io.size = exit->io.size;
	run->io.port = exit->io.port;
	run->io.count = exit->io.count;
	run->io.data_offset = EXIT_IO_BYTES;
}

static noinline void take_other_data(struct vcpu_exit *exit, const struct kvm_run *run)
{
	u64 data;

	switch (exit->reason) {
	case USER_MMIO:
		if (exit->mmio.write)
			break;
		data = READ_ONCE(*(const u64 *)run->mmio.data);
		memcpy(exit->mmio.data, &data, sizeof(data));
		break;
	case USER_RDMSR:
	case USER_WRMSR:
		exit->msr.refused = READ_ONCE(run->msr.error) != 0;
		exit->msr.data = READ_ONCE(run->msr.data);
		break;
	}
}

/* The VMM's side of an access that it was asked for. A port's data stay in their own page. */
static inline void take_data(struct vcpu *vcpu, const struct kvm_run *run)
{
	if (unlikely(vcpu->exit.reason != USER_IO))
		take_other_data(&vcpu->exit, run);
}

/* Without an APIC in Keel, CR8 is the VMM's. */
static int take_cr8(struct vcpu *vcpu, const struct kvm_run *run)
{
	u64 cr8 = READ_ONCE(run->cr8);

	if (cr8 > 15)
		return -EINVAL;
	if (cr8 != vcpu->v.cr8)
		virt->set(&vcpu->v, VREG_CR8, cr8);
	return 0;
}

static s64 interrupted(struct kvm_run *run, bool immediate)
{
	/* A client may look only at exit_reason: an old one would replay its I/O. */
	if (!immediate)
		WRITE_ONCE(run->exit_reason, KVM_EXIT_INTR);
	return KEEL_EINTR;
}

/* What the driver has to do next, of core's outcome. gpr: the hypercall's registers. */
static noinline s64 other_outcome(struct vcpu *vcpu, u64 *gpr, enum run_outcome ended)
{
	struct vm *vm = vcpu->vm;
	int gsi;

	switch (ended) {
	case RUN_INTERRUPTED:
		return KEEL_INTERRUPTED;
	case RUN_SPINS:
		return KEEL_SPINS;
	case RUN_FAULT:
		gpr[GPR_RDX] = vcpu->exit.memory.gpa.v;
		gpr[GPR_R8] =
			ALIGN_DOWN(vcpu->exit.memory.hva, PAGE_SIZE) | vcpu->exit.memory.write;
		return KEEL_FAULT;
	case RUN_HALTED:
		gpr[GPR_RDX] = vcpu->v.deadline;
		return KEEL_HALTED;
	case RUN_ARM:
		gpr[GPR_RDX] = vcpu->v.deadline;
		return KEEL_ARM;
	case RUN_RESAMPLE:
		gsi = irqchip_take_resampled(vcpu);
		if (gsi < 0) /* another vCPU has told of it */
			return KEEL_INTERRUPTED;
		gpr[GPR_RDX] = (u64)gsi;
		return KEEL_RESAMPLED;
	case RUN_MEMORY:
		/* In proportion, so that the number of ranges grows with the logarithm. */
		gpr[GPR_RDX] =
			MIN(MAX(2 * vm->low_water, vm->pool.total / 8), (u64)KEEL_DONATE_PAGES);
		return KEEL_MEMORY;
	default:
		return -EIO;
	}
}

static inline s64 enter(struct vcpu *vcpu, struct cpu *cpu, struct kvm_run *run, u64 timer)
{
	enum run_outcome ended = vcpu_run(vcpu, cpu, timer);

	if (unlikely(ended != RUN_USER))
		return other_outcome(vcpu, cpu->management->v.gpr, ended);
	show_exit(&vcpu->exit, cpu, run);
	return KEEL_USER;
}

/*
 * An AP that waits for its first INIT and SIPI: KVM_RUN ends with EAGAIN once they came. 0: run it,
 * core puts it to sleep, so that the INIT that comes meanwhile is not missed.
 */
static noinline s64 wait_for_init(struct vcpu *vcpu, struct kvm_run *run, u64 flags, bool immediate)
{
	if (immediate)
		return interrupted(run, true);
	vcpu_accept_init(vcpu);
	if (flags & KEEL_RUN_IMMEDIATE)
		return interrupted(run, false);
	return vcpu->mp_state != MP_UNINITIALIZED ? KEEL_EAGAIN : 0;
}

/* Pending I/O is completed whatever else is asked: VMMs run with immediate_exit just for that. */
static noinline s64 complete_only(struct vcpu *vcpu, struct cpu *cpu, struct kvm_run *run,
				  bool immediate)
{
	if (vcpu->exit_pending && vcpu_complete_exit(vcpu)) {
		show_exit(&vcpu->exit, cpu, run);
		return KEEL_USER;
	}
	return interrupted(run, immediate);
}

/* ---- KVM_CAP_SYNC_REGS: kvm_run's copies of registers and events ------------------------ */

/* What the VMM has changed there. Each bit goes when its part is in force. -EINVAL: one is bad. */
static int take_registers(struct vcpu *vcpu, struct kvm_run *run, u64 dirty)
{
	const struct kvm_sync_regs *shared = &run->s.regs;
	union {
		struct kvm_regs regs;
		struct kvm_sregs sregs;
		struct kvm_vcpu_events events;
	} copy;
	int error = 0;

	if (dirty & KVM_SYNC_X86_REGS) {
		memcpy(&copy.regs, &shared->regs, sizeof(copy.regs));
		regs_set(vcpu, &copy.regs);
		dirty &= ~(u64)KVM_SYNC_X86_REGS;
	}
	if (dirty & KVM_SYNC_X86_SREGS) {
		memcpy(&copy.sregs, &shared->sregs, sizeof(copy.sregs));
		error = sregs_set(vcpu, &copy.sregs);
		if (error)
			goto out;
		dirty &= ~(u64)KVM_SYNC_X86_SREGS;
	}
	if (dirty & KVM_SYNC_X86_EVENTS) {
		memcpy(&copy.events, &shared->events, sizeof(copy.events));
		error = events_set(vcpu, &copy.events);
		if (error)
			goto out;
		dirty &= ~(u64)KVM_SYNC_X86_EVENTS;
	}
out:
	WRITE_ONCE(run->kvm_dirty_regs, dirty);
	return error;
}

static void show_registers(struct vcpu *vcpu, struct kvm_run *run)
{
	if (vcpu->synced & KVM_SYNC_X86_REGS)
		regs_get(vcpu, &run->s.regs.regs);
	if (vcpu->synced & KVM_SYNC_X86_SREGS)
		sregs_get(vcpu, &run->s.regs.sregs);
	if (vcpu->synced & KVM_SYNC_X86_EVENTS)
		events_get(vcpu, &run->s.regs.events);
}

static int sync_registers(struct vcpu *vcpu, struct kvm_run *run)
{
	u64 valid = READ_ONCE(run->kvm_valid_regs), dirty = READ_ONCE(run->kvm_dirty_regs);

	vcpu->synced = valid & KVM_SYNC_X86_VALID_FIELDS;
	if ((valid | dirty) & ~(u64)KVM_SYNC_X86_VALID_FIELDS)
		return -EINVAL;
	return dirty ? take_registers(vcpu, run, dirty) : 0;
}

/* ---- one run --------------------------------------------------------------------------- */

/* What most runs do not ask for, in KVM_RUN's order. 1: now it is to be entered as usual. */
static noinline s64 before_special(struct vcpu *vcpu, struct cpu *cpu, struct kvm_run *run,
				   u64 flags)
{
	bool immediate = READ_ONCE(run->immediate_exit) != 0;
	s64 result;

	vcpu->special = true;
	if (flags & KEEL_RUN_DELAYED)
		steal_delay(vcpu, cpu->management->v.gpr[GPR_RCX]);
	if (vcpu->mp_state == MP_UNINITIALIZED)
		result = wait_for_init(vcpu, run, flags, immediate);
	else
		result = sync_registers(vcpu, run);
	if (result)
		return result;
	if (!vcpu->lapic && take_cr8(vcpu, run))
		return -EINVAL;
	vcpu->window_requested = READ_ONCE(run->request_interrupt_window) != 0;
	if (vcpu->exit_pending)
		take_data(vcpu, run);
	if (immediate || flags & KEEL_RUN_IMMEDIATE)
		return complete_only(vcpu, cpu, run, immediate);
	return ENTER;
}

static noinline void after_special(struct vcpu *vcpu, struct kvm_run *run, bool shown)
{
	if (shown)
		show_registers(vcpu, run);
	vcpu->special = false;
	vcpu->synced = 0;
	vcpu->window_requested = false;
}

static inline s64 run_once(struct vcpu *vcpu, struct cpu *cpu, struct kvm_run *run, u64 timer,
			   u64 flags)
{
	/* immediate_exit and request_interrupt_window are its two bytes. */
	u64 special = READ_ONCE(*(const u16 *)run) | READ_ONCE(run->kvm_valid_regs) |
		      READ_ONCE(run->kvm_dirty_regs) | flags;

	if (unlikely(special || vcpu->mp_state == MP_UNINITIALIZED ||
		     (!vcpu->lapic && READ_ONCE(run->cr8) != vcpu->v.cr8))) {
		s64 result = before_special(vcpu, cpu, run, flags);

		if (result != ENTER)
			return result;
	} else if (vcpu->exit_pending) {
		take_data(vcpu, run);
	}
	return enter(vcpu, cpu, run, timer);
}

void run_vcpu(struct cpu *cpu, struct vcpu *vcpu)
{
	u64 *gpr = cpu->management->v.gpr;
	u64 timer = gpr[GPR_RDX], flags = gpr[GPR_R8];
	struct kvm_run *run;
	s64 result = -EBUSY;
	bool shown;

	gpr[GPR_RDX] = 0;
	gpr[GPR_R8] = 0;
	if (unlikely(!vcpu_take(vcpu))) {
		gpr[GPR_RCX] = 0;
		goto out;
	}
	run = (struct kvm_run *)(vcpu->io_data - PAGE_SIZE);
	result = run_once(vcpu, cpu, run, timer, flags);
	gpr[GPR_RCX] = 0;
	/* The other outcomes go back to the VMM only by way of a further KEEL_RUN. */
	shown = result != KEEL_INTERRUPTED && result != KEEL_HALTED && result != KEEL_ARM;
	if (shown)
		show_state(vcpu, run);
	else if (!vcpu->lapic)
		run->cr8 = vcpu->v.cr8; /* where the further KEEL_RUN takes it from */
	if (unlikely(vcpu->special))
		after_special(vcpu, run, shown);
	vcpu_release(vcpu);
	if (unlikely(vm_wants_wake(vcpu->vm)) && result >= 0)
		gpr[GPR_RCX] = KEEL_REPLY_WAKE;
out:
	gpr[GPR_RAX] = result;
}
