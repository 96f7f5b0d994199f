// SPDX-License-Identifier: MIT
/*
 * The run loop: from the management guest into a child, each exit to the file that settles it, and
 * back when something needs the management guest.
 *
 * Host interrupts stay off in root mode. Requests from other CPUs are looked at after in_guest is
 * set and before the entry; a kick that comes later finds in_guest and sends an interrupt, which
 * ends the guest's run at once.
 */
#include "core/run.h"

#include "arch-x86/insn.h"
#include "arch-x86/log.h"
#include "arch-x86/regs.h"
#include "core/control.h"
#include "core/cpuid.h"
#include "core/debug.h"
#include "core/event.h"
#include "core/msr.h"
#include "core/stats.h"
#include "core/vm.h"
#include "core/xstate.h"
#include "lib/string.h"

#define RETRIES 8 /* requests that may keep coming between two entries */

/* KVM's paravirtual hypercalls. */
#define HYPERCALL_LENGTH   3
#define HYPERCALL_POLL_IRQ 1
#define HYPERCALL_ENOSYS   1000
#define HYPERCALL_EPERM	   1

/* Exits of instructions that are settled here: their length is needed to skip them. */
#define INSN_EXITS                                                                                 \
	(BIT(EXIT_CPUID) | BIT(EXIT_RDMSR) | BIT(EXIT_WRMSR) | BIT(EXIT_IO) | BIT(EXIT_HLT) |      \
	 BIT(EXIT_PAUSE) | BIT(EXIT_MWAIT) | BIT(EXIT_MONITOR) | BIT(EXIT_INVD) |                  \
	 BIT(EXIT_WBINVD) | BIT(EXIT_INVLPG) | BIT(EXIT_RDTSC) | BIT(EXIT_RDTSCP) |                \
	 BIT(EXIT_XSETBV) | BIT(EXIT_HYPERCALL))

static void internal_data(struct vcpu *vcpu, u32 suberror, u64 a, u64 b, u64 c, u32 count)
{
	vcpu->exit.reason = USER_INTERNAL_ERROR;
	vcpu->exit.internal.suberror = suberror;
	vcpu->exit.internal.count = count;
	vcpu->exit.internal.data[0] = a;
	vcpu->exit.internal.data[1] = b;
	vcpu->exit.internal.data[2] = c;
}

/*
 * As KVM: flags (1: bytes follow), then their count in one byte and 15 of them. A guest's user code
 * cannot end its VM so: it gets #UD, unless the VMM wants to know.
 */
static int emulation_error(struct vcpu *vcpu, const u8 *bytes, u32 count)
{
	u8 packed_bytes[16] = {count};
	u64 words[2];

	if (!vcpu->vm->emulation_failures) {
		vcpu_inject_ud(vcpu);
		if (virt->get(&vcpu->v, VREG_CPL))
			return RUN_CONTINUE;
	}
	memcpy(packed_bytes + 1, bytes, count);
	memcpy(words, packed_bytes, sizeof(words));
	internal_data(vcpu, INTERNAL_EMULATION, count ? 1 : 0, words[0], words[1], 3);
	return RUN_USER;
}

int run_internal_error(struct vcpu *vcpu, enum internal_suberror suberror, const struct vm_exit *e)
{
	u8 bytes[15];

	if (suberror == INTERNAL_EMULATION)
		return emulation_error(vcpu, bytes,
				       vcpu->fetch_error ? 0 : vcpu_fetch(vcpu, e, bytes));
	if (suberror == INTERNAL_DELIVERY_EV)
		internal_data(vcpu, suberror,
			      e->vectoring.vector | (u64)e->vectoring.type << 8 | BIT(31), e->raw,
			      e->info1, 3);
	else
		internal_data(vcpu, suberror, e->raw, vcpu->cpu ? vcpu->cpu->index : 0, 0, 2);
	return RUN_USER;
}

int run_fetch_failed(struct vcpu *vcpu, const struct vm_exit *e)
{
	if (vcpu->fetch_error == -EPERM)
		return RUN_CONTINUE;
	if (vcpu->fetch_error == -EFAULT)
		return RUN_FAULT;
	return run_internal_error(vcpu, INTERNAL_EMULATION, e);
}

int run_access_failed(struct vcpu *vcpu, int error, const struct vm_exit *e)
{
	if (error == -EPERM)
		return RUN_CONTINUE;
	return error == -EFAULT ? RUN_FAULT : run_internal_error(vcpu, INTERNAL_EMULATION, e);
}

int run_settle(struct vcpu *vcpu, int error, u32 length)
{
	switch (error) {
	case 0:
		run_skip(vcpu, length);
		return RUN_CONTINUE;
	case -EPERM:
		vcpu_inject_ud(vcpu);
		return RUN_CONTINUE;
	case -EFAULT:
		return RUN_FAULT;
	case -EBUSY: /* an exception is queued already */
		return RUN_CONTINUE;
	default:
		vcpu_inject_gp(vcpu, 0);
		return RUN_CONTINUE;
	}
}

static int emulated(struct vcpu *vcpu, enum emulation_result result)
{
	switch (result) {
	case EMULATE_DONE:
		return RUN_CONTINUE;
	case EMULATE_USER:
		vcpu->exit_pending = vcpu->emulation.active;
		return RUN_USER;
	case EMULATE_FAULT:
		return RUN_FAULT;
	default:
		return emulation_error(vcpu, vcpu->emulation.insn.bytes,
				       MIN(vcpu->emulation.insn.length, 15));
	}
}

static noinline int cpuid_slowly(struct vcpu *vcpu, u32 length)
{
	u64 *gpr = vcpu->v.gpr;
	u32 regs[4];

	/* MISC_FEATURES_ENABLES: CPUID faulting. */
	if (vcpu->msr.misc_features & 1 && virt->get(&vcpu->v, VREG_CPL)) {
		vcpu_inject_gp(vcpu, 0);
		return RUN_CONTINUE;
	}
	cpuid_answer(vcpu, gpr[GPR_RAX], gpr[GPR_RCX], regs);
	gpr[GPR_RAX] = regs[0];
	gpr[GPR_RBX] = regs[1];
	gpr[GPR_RCX] = regs[2];
	gpr[GPR_RDX] = regs[3];
	run_skip(vcpu, length);
	return RUN_CONTINUE;
}

static inline int exit_cpuid(struct vcpu *vcpu, u32 length)
{
	u64 *gpr = vcpu->v.gpr;
	const struct cpuid_entry *known = cpuid_known(vcpu, gpr[GPR_RAX], gpr[GPR_RCX]);

	if (unlikely(!known || vcpu->msr.misc_features))
		return cpuid_slowly(vcpu, length);
	gpr[GPR_RAX] = known->eax;
	gpr[GPR_RBX] = known->ebx;
	gpr[GPR_RCX] = known->ecx;
	gpr[GPR_RDX] = known->edx;
	run_skip(vcpu, length);
	return RUN_CONTINUE;
}

static void put_pair(struct vcpu *vcpu, u64 value)
{
	vcpu->v.gpr[GPR_RAX] = (u32)value;
	vcpu->v.gpr[GPR_RDX] = value >> 32;
}

static u64 get_pair(const struct vcpu *vcpu)
{
	return (u32)vcpu->v.gpr[GPR_RAX] | vcpu->v.gpr[GPR_RDX] << 32;
}

/* KVM_CAP_X86_USER_SPACE_MSR: the VMM may want to answer what would be #GP. */
static noinline int msr_failed(struct vcpu *vcpu, enum user_exit reason, int error, u32 length)
{
	u32 why = error == -EACCES   ? MSR_EXIT_FILTER
		  : error == -ENOENT ? MSR_EXIT_UNKNOWN
		  : error == -EINVAL ? MSR_EXIT_INVALID
				     : 0;

	if (!(vcpu->vm->msr_exits & why))
		return run_settle(vcpu, error, length);
	vcpu->exit.reason = reason;
	vcpu->exit.msr.why = why;
	vcpu->exit.msr.index = vcpu->v.gpr[GPR_RCX];
	vcpu->exit.msr.data = reason == USER_WRMSR ? get_pair(vcpu) : 0;
	vcpu->exit.msr.insn_len = length;
	vcpu->exit_pending = true;
	return RUN_USER;
}

static noinline void complete_msr(struct vcpu *vcpu)
{
	vcpu->exit_pending = false;
	if (vcpu->exit.msr.refused) {
		vcpu_inject_gp(vcpu, 0);
		return;
	}
	if (vcpu->exit.reason == USER_RDMSR)
		put_pair(vcpu, vcpu->exit.msr.data);
	run_skip(vcpu, vcpu->exit.msr.insn_len);
}

static int exit_rdmsr(struct vcpu *vcpu, u32 length)
{
	u64 value;
	int error;

	control_cr8_from_guest(vcpu);
	error = msr_read(vcpu, vcpu->v.gpr[GPR_RCX], &value);
	if (unlikely(error))
		return msr_failed(vcpu, USER_RDMSR, error, length);
	put_pair(vcpu, value);
	run_skip(vcpu, length);
	return RUN_CONTINUE;
}

static int exit_wrmsr(struct vcpu *vcpu, u32 length)
{
	int error;

	control_cr8_from_guest(vcpu);
	error = msr_write(vcpu, vcpu->v.gpr[GPR_RCX], get_pair(vcpu));
	control_cr8_to_guest(vcpu);
	if (unlikely(error))
		return msr_failed(vcpu, USER_WRMSR, error, length);
	run_skip(vcpu, length);
	return RUN_CONTINUE;
}

static int exit_hlt(struct vcpu *vcpu, u32 length)
{
	run_skip(vcpu, length);
	if (!vcpu->vm->irqchip) {
		vcpu->exit.reason = USER_HLT;
		return RUN_USER;
	}
	vcpu->mp_state = MP_HALTED;
	vcpu_set_request(vcpu, REQUEST_EVENT);
	return RUN_CONTINUE;
}

static int exit_hypercall(struct vcpu *vcpu, u32 length)
{
	bool wide = vcpu_code_mode(vcpu) == 8;
	u64 number = vcpu->v.gpr[GPR_RAX];
	s64 result = 0;

	if (!wide)
		number = (u32)number;
	if (virt->get(&vcpu->v, VREG_CPL))
		result = -HYPERCALL_EPERM;
	else if (number != HYPERCALL_POLL_IRQ)
		result = -HYPERCALL_ENOSYS;
	vcpu->v.gpr[GPR_RAX] = wide ? (u64)result : (u32)result;
	run_skip(vcpu, length);
	return RUN_CONTINUE;
}

/* KVM answers VMCALL and VMMCALL whichever is the processor's own. */
static bool is_hypercall(struct vcpu *vcpu, const struct vm_exit *e)
{
	u8 bytes[15];

	vcpu->fetch_error = 0;
	return vcpu_fetch(vcpu, e, bytes) >= HYPERCALL_LENGTH && bytes[0] == 0x0f &&
	       bytes[1] == 0x01 && (bytes[2] == 0xc1 || bytes[2] == 0xd9);
}

static int exit_undefined(struct vcpu *vcpu, const struct vm_exit *e)
{
	if (is_hypercall(vcpu, e))
		return exit_hypercall(vcpu, HYPERCALL_LENGTH);
	if (vcpu->fetch_error)
		return run_fetch_failed(vcpu, e);
	vcpu_inject_ud(vcpu);
	return RUN_CONTINUE;
}

static int exit_exception(struct vcpu *vcpu, const struct vm_exit *e)
{
	u8 vector = e->exception.vector;

	if (vector == VECTOR_UD)
		return exit_undefined(vcpu, e);

	if ((vector == VECTOR_DB || vector == VECTOR_BP) &&
	    debug_exception(vcpu, vector, e->exception.payload))
		return RUN_USER;
	if (vector == VECTOR_DB)
		event_queue_debug(vcpu, e->exception.payload);
	else if (vector == VECTOR_PF)
		vcpu_queue_page_fault(vcpu, e->exception.payload, e->exception.error);
	else
		vcpu_queue_exception(vcpu, vector, e->exception.has_error, e->exception.error);
	return RUN_CONTINUE;
}

int run_emulate(struct vcpu *vcpu, const struct vm_exit *e)
{
	int outcome;

	vcpu->fetch_error = 0;
	control_cr8_from_guest(vcpu);
	outcome = emulated(vcpu, emulate(vcpu, e));
	control_cr8_to_guest(vcpu);
	return outcome;
}

static int exit_mmio(struct vcpu *vcpu, const struct vm_exit *e)
{
	/* The event would be lost, or delivered twice: KVM gives up here as well. */
	if (e->vectoring.type != EVENT_NONE)
		return run_internal_error(vcpu, INTERNAL_DELIVERY_EV, e);
	/* With EPT's A/D flags on, a walk of tables in a read-only slot counts as a write. */
	if (e->slat.table_walk && !memslot_find(&vcpu->vm->mem, e->slat.gpa)) {
		vcpu->fetch_error = 0;
		return run_internal_error(vcpu, INTERNAL_EMULATION, e);
	}
	return run_emulate(vcpu, e);
}

static int exit_slat(struct vcpu *vcpu, const struct vm_exit *e)
{
	gpa_t gpa = e->slat.gpa;

	if (e->slat.write && dirty_log_fault(&vcpu->vm->mem, gpa))
		return RUN_CONTINUE;
	if (vcpu_memory_fault(vcpu, gpa, e->slat.write))
		return RUN_FAULT;
	return exit_mmio(vcpu, e);
}

static int exit_invalid(struct vcpu *vcpu, const struct vm_exit *e)
{
	static struct log_limit limit;

	vcpu->exit.reason = USER_FAIL_ENTRY;
	vcpu->exit.fail_entry.hardware_reason = e->raw;
	if (log_allowed(&limit))
		virt->dump(&vcpu->v);
	return RUN_USER;
}

/* A machine check is the management guest's, which knows the hardware (design D3). */
static int exit_mce(struct vcpu *vcpu)
{
	if (vcpu->cpu->management)
		vcpu_queue_exception(vcpu->cpu->management, VECTOR_MC, false, 0);
	return RUN_INTERRUPTED;
}

static int exit_shutdown(struct vcpu *vcpu)
{
	vcpu->exit.reason = USER_SHUTDOWN;
	return RUN_USER;
}

static noinline int exit_insn(struct vcpu *vcpu, const struct vm_exit *e, u32 length)
{
	switch (e->reason) {
	case EXIT_RDMSR:
		return exit_rdmsr(vcpu, length);
	case EXIT_WRMSR:
		return exit_wrmsr(vcpu, length);
	case EXIT_HLT:
		return exit_hlt(vcpu, length);
	case EXIT_RDTSCP:
		vcpu->v.gpr[GPR_RCX] = vcpu->msr.tsc_aux;
		/* fall through */
	case EXIT_RDTSC:
		put_pair(vcpu, vcpu_tsc(vcpu));
		break;
	case EXIT_INVLPG:
		vcpu->v.flush = true;
		break;
	case EXIT_XSETBV:
		return run_settle(vcpu, control_xsetbv(vcpu, vcpu->v.gpr[GPR_RCX], get_pair(vcpu)),
				  length);
	case EXIT_HYPERCALL:
		return exit_hypercall(vcpu, length);
	case EXIT_PAUSE: /* many of them: what it waits for may need this CPU */
		run_skip(vcpu, length);
		return RUN_SPINS;
	default:
		/*
		 * MONITOR and MWAIT, which are not offered and do nothing, as in KVM; INVD and
		 * WBINVD: the guest's memory is coherent, and the caches are not its own.
		 */
		break;
	}
	run_skip(vcpu, length);
	return RUN_CONTINUE;
}

static noinline int exit_other(struct vcpu *vcpu, const struct vm_exit *e)
{
	switch (e->reason) {
	case EXIT_SLAT:
		return exit_slat(vcpu, e);
	case EXIT_NMI:
		cpu_check_panic();
		/* fall through */
	case EXIT_INTR:
	case EXIT_INIT:
	case EXIT_SMI:
		event_look_again(vcpu);
		return RUN_INTERRUPTED;
	case EXIT_NONE:
	case EXIT_PML_FULL: /* its pages are logged by now, as after each exit */
		return RUN_CONTINUE;
	case EXIT_PREEMPT_TIMER:
		vcpu_set_request(vcpu, REQUEST_TIMER);
		return RUN_CONTINUE;
	case EXIT_INTR_WINDOW:
	case EXIT_NMI_WINDOW:
	case EXIT_TPR_BELOW:
		vcpu_set_request(vcpu, REQUEST_EVENT);
		return RUN_CONTINUE;
	case EXIT_EXCEPTION:
		return exit_exception(vcpu, e);
	case EXIT_CR_READ:
	case EXIT_CR_WRITE:
	case EXIT_CR_OTHER:
	case EXIT_DR_READ:
	case EXIT_DR_WRITE:
		return control_exit(vcpu, e);
	case EXIT_TRIPLE_FAULT:
		return exit_shutdown(vcpu);
	case EXIT_TASK_SWITCH:
		return task_switch(vcpu, e);
	case EXIT_VIRT_INSN:
		vcpu_inject_ud(vcpu);
		return RUN_CONTINUE;
	case EXIT_RDPMC: /* no counters */
		vcpu_inject_gp(vcpu, 0);
		return RUN_CONTINUE;
	case EXIT_MCE:
		return exit_mce(vcpu);
	case EXIT_INVALID:
		return exit_invalid(vcpu, e);
	default:
		return run_internal_error(vcpu, INTERNAL_UNEXPECTED_EXIT, e);
	}
}

static noinline int dispatch_other(struct vcpu *vcpu, const struct vm_exit *e)
{
	u32 length;

	if (!(INSN_EXITS >> e->reason & 1))
		return exit_other(vcpu, e);
	length = e->insn_len ? e->insn_len : vcpu_insn_length(vcpu, e);
	if (unlikely(!length))
		return run_fetch_failed(vcpu, e);
	if (e->reason == EXIT_CPUID)
		return exit_cpuid(vcpu, length);
	if (e->reason == EXIT_IO)
		return io_exit(vcpu, e, length);
	return exit_insn(vcpu, e, length);
}

static inline int dispatch(struct vcpu *vcpu, const struct vm_exit *e)
{
	if (e->reason == EXIT_IO && likely(e->insn_len))
		return io_exit(vcpu, e, e->insn_len);
	if (e->reason == EXIT_CPUID && likely(e->insn_len))
		return exit_cpuid(vcpu, e->insn_len);
	return dispatch_other(vcpu, e);
}

static void run_timers(struct vcpu *vcpu)
{
	if (vcpu->vm->irqchip)
		vcpu->v.deadline = vcpu->vm->irqchip->timers(vcpu, rdtsc());
}

/* Takes `bit` out of the requests: true if it was set. */
static bool take_request(struct vcpu *vcpu, u32 bit)
{
	return __atomic_fetch_and(&vcpu->request, ~bit, __ATOMIC_SEQ_CST) & bit;
}

static bool requested(const struct vcpu *vcpu, u32 bits)
{
	return __atomic_load_n(&vcpu->request, __ATOMIC_SEQ_CST) & bits;
}

/* What ends the run, most final first. Requests that it leaves wait for the next run. */
static int requests_that_end(struct vcpu *vcpu)
{
	if (requested(vcpu, REQUEST_DEAD))
		return RUN_DEAD;
	if (take_request(vcpu, REQUEST_TRIPLE_FAULT))
		return exit_shutdown(vcpu);
	if (vcpu->step_hit) {
		vcpu->step_hit = false;
		debug_exit(vcpu, VECTOR_DB, DR6_INIT | DR6_BS);
		return RUN_USER;
	}
	if (take_request(vcpu, REQUEST_EOI)) {
		vcpu->exit.reason = USER_IOAPIC_EOI;
		vcpu->exit.eoi.vector = vcpu->eoi_vector;
		return RUN_USER;
	}
	if (take_request(vcpu, REQUEST_RESAMPLE))
		return RUN_RESAMPLE;
	if (take_request(vcpu, REQUEST_TPR)) {
		vcpu->exit.reason = USER_TPR_ACCESS;
		vcpu->exit.tpr_access.rip = vcpu->tpr_access.rip;
		vcpu->exit.tpr_access.write = vcpu->tpr_access.write;
		return RUN_USER;
	}
	if (take_request(vcpu, REQUEST_KICK))
		return RUN_INTERRUPTED;
	return RUN_CONTINUE;
}

/* Guest memory that a clock's page lies in may not be mapped yet. */
static int update_clock(struct vcpu *vcpu)
{
	if (!vcpu->vm->clock_update || vcpu->vm->clock_update(vcpu))
		return RUN_CONTINUE;
	vcpu_set_request(vcpu, REQUEST_CLOCK);
	return RUN_FAULT;
}

static int load_pdptes(struct vcpu *vcpu)
{
	if (!control_load_pdptes(vcpu))
		return RUN_CONTINUE;
	vcpu_set_request(vcpu, REQUEST_PDPTES);
	return RUN_FAULT;
}

static int requests_that_change(struct vcpu *vcpu)
{
	int outcome = RUN_CONTINUE;

	if (take_request(vcpu, REQUEST_FLUSH))
		vcpu->v.flush = true;
	if (take_request(vcpu, REQUEST_TIMER)) {
		run_timers(vcpu);
		vcpu_set_request(vcpu, REQUEST_EVENT);
	}
	if (take_request(vcpu, REQUEST_NMI))
		vcpu_set_request(vcpu, REQUEST_EVENT);
	if (take_request(vcpu, REQUEST_CLOCK))
		outcome = update_clock(vcpu);
	if (outcome == RUN_CONTINUE && take_request(vcpu, REQUEST_PDPTES))
		outcome = load_pdptes(vcpu);
	return outcome;
}

/*
 * Nothing to run: wait outside, unless something came meanwhile. `sleeping` is set before the last
 * look at the requests, as vcpu_kick() looks at it after setting one.
 */
static int go_to_sleep(struct vcpu *vcpu)
{
	__atomic_store_n(&vcpu->sleeping, 1, __ATOMIC_SEQ_CST);
	if (!requested(vcpu, ~0u))
		return RUN_HALTED;
	__atomic_store_n(&vcpu->sleeping, 0, __ATOMIC_SEQ_CST);
	return RUN_CONTINUE;
}

/* RUN_CONTINUE: it is runnable, or a request came. */
static int wait_for_work(struct vcpu *vcpu)
{
	if (requested(vcpu, REQUEST_INIT | REQUEST_SIPI))
		vcpu_accept_init(vcpu);
	if (vcpu->mp_state == MP_HALTED) {
		take_request(vcpu, REQUEST_EVENT);
		control_cr8_from_guest(vcpu);
		if (event_wakes(vcpu)) {
			vcpu->mp_state = MP_RUNNABLE;
			vcpu_set_request(vcpu, REQUEST_EVENT);
		}
	}
	if (vcpu->mp_state == MP_UNINITIALIZED || vcpu->mp_state == MP_INIT_RECEIVED)
		take_request(vcpu, REQUEST_EVENT);
	return vcpu->mp_state == MP_RUNNABLE ? RUN_CONTINUE : go_to_sleep(vcpu);
}

/* The caller's timer comes too late. The backend's, where it has one, stands for that. */
static inline bool needs_timer(const struct vcpu *vcpu, u64 armed)
{
	return vcpu->v.deadline < armed && !(vcpu->v.features & VIRT_PREEMPT_TIMER);
}

/* One round of what must be looked at before an entry. */
static int before_entry(struct vcpu *vcpu, u64 armed)
{
	int outcome = requests_that_end(vcpu);

	if (outcome == RUN_CONTINUE)
		outcome = requests_that_change(vcpu);
	if (outcome != RUN_CONTINUE)
		return outcome;
	outcome = wait_for_work(vcpu);
	if (outcome != RUN_CONTINUE || vcpu->mp_state != MP_RUNNABLE)
		return outcome;
	if (take_request(vcpu, REQUEST_EVENT)) {
		control_cr8_from_guest(vcpu);
		if (!event_prepare(vcpu))
			return RUN_USER;
		control_cr8_to_guest(vcpu);
	}
	if (vm_wants_wake(vcpu->vm))
		return RUN_INTERRUPTED;
	return needs_timer(vcpu, armed) ? RUN_ARM : RUN_CONTINUE;
}

static bool may_enter(const struct vcpu *vcpu)
{
	/* Who changes mp_state sets a request with it. */
	return !READ_ONCE(vcpu->request) && !vm_wants_wake(vcpu->vm);
}

/* True: in_guest is set, and from here on a kick sends an interrupt. */
static inline bool announce_entry(struct vcpu *vcpu)
{
	/* First the count, which only this CPU changes, then a full barrier: see vm_flush_wait().
	 */
	vcpu->entries++;
	WRITE_ONCE(vcpu->in_guest, 1);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return may_enter(vcpu);
}

/* A request was found at the last look. */
static noinline int prepare_entry(struct vcpu *vcpu, u64 armed)
{
	for (u32 i = 0; i < RETRIES; i++) {
		int outcome;

		__atomic_store_n(&vcpu->in_guest, 0, __ATOMIC_SEQ_CST);
		outcome = before_entry(vcpu, armed);
		if (outcome != RUN_CONTINUE)
			return outcome;
		if (announce_entry(vcpu))
			return RUN_CONTINUE;
	}
	__atomic_store_n(&vcpu->in_guest, 0, __ATOMIC_SEQ_CST);
	return RUN_INTERRUPTED; /* host interrupts must not wait for the requests to end */
}

static noinline void log_writes(struct vcpu *vcpu)
{
	dirty_log_written(&vcpu->vm->mem, vcpu->v.written, vcpu->v.written_count);
	vcpu->v.written_count = 0;
}

/* A function of its own: the registers that it needs stay in registers. */
static noinline int enter_and_settle(struct vcpu *vcpu, struct cpu *cpu, u64 armed)
{
	struct vm_exit e;
	u64 exited;
	int outcome = RUN_CONTINUE;

	if (unlikely(!announce_entry(vcpu)))
		outcome = prepare_entry(vcpu, armed);
	while (likely(outcome == RUN_CONTINUE)) {
		virt_run(&vcpu->v, &e);
		WRITE_ONCE(vcpu->in_guest, 0);
		exited = rdtsc();
		stats_exit(vcpu, cpu, &e, exited);
		if (unlikely(vcpu->v.written_count))
			log_writes(vcpu);
		if (unlikely(vcpu->injecting | e.vectoring.type))
			event_after_exit(vcpu, &e);
		outcome = dispatch(vcpu, &e);
		if (likely(outcome == RUN_CONTINUE && announce_entry(vcpu))) {
			stats_settled(vcpu, e.reason, exited);
			continue;
		}
		if (outcome == RUN_CONTINUE)
			outcome = prepare_entry(vcpu, armed);
		stats_settled(vcpu, e.reason, exited);
	}
	return outcome;
}

static int run_loaded(struct vcpu *vcpu, struct cpu *cpu, u64 armed)
{
	struct vcpu *management = cpu->management;
	int outcome;

	xstate_enter(vcpu, management, cpu);
	virt_swap(&management->v, &vcpu->v, cpu);
	if (unlikely(vcpu->debug.control & DEBUG_SINGLE_STEP))
		vcpu_set_rflags(vcpu, vcpu_rflags(vcpu));
	outcome = enter_and_settle(vcpu, cpu, armed);
	virt_swap(&vcpu->v, &management->v, cpu);
	xstate_leave(vcpu, management);
	if (unlikely(vcpu->v.dr_live))
		debug_sync(vcpu);
	if (vcpu->vm->irqchip)
		control_cr8_from_guest(vcpu);
	return outcome;
}

static noinline void wake_up(struct vcpu *vcpu)
{
	__atomic_store_n(&vcpu->sleeping, 0, __ATOMIC_SEQ_CST);
	__atomic_fetch_and(&vcpu->vm->wake[vcpu->index / 64], ~BIT(vcpu->index % 64),
			   __ATOMIC_SEQ_CST);
}

static inline void start_run(struct vcpu *vcpu, struct cpu *cpu)
{
	if (unlikely(vcpu->sleeping))
		wake_up(vcpu);
	__atomic_store_n(&vcpu->cpu, cpu, __ATOMIC_RELAXED);
	vcpu->ran = true;
	if (unlikely(vcpu->window_requested))
		vcpu_set_request(vcpu, REQUEST_EVENT);
}

/* True: the caller's timer must be armed for it first. */
static inline bool look_at_deadline(struct vcpu *vcpu, u64 armed)
{
	if (vcpu->v.deadline <= rdtsc())
		vcpu_set_request(vcpu, REQUEST_TIMER);
	return needs_timer(vcpu, armed);
}

/* Until it can be entered, or something else is to be done. */
static noinline int make_ready(struct vcpu *vcpu, u64 armed)
{
	int outcome = RUN_CONTINUE;

	for (u32 i = 0; i < RETRIES; i++) {
		outcome = before_entry(vcpu, armed);
		if (outcome != RUN_CONTINUE || vcpu->mp_state == MP_RUNNABLE)
			return outcome;
	}
	return RUN_INTERRUPTED;
}

static bool complete_emulation(struct vcpu *vcpu)
{
	enum emulation_result result = emulate_resume(vcpu);

	if (result == EMULATE_FAULT)
		return false;
	vcpu->exit_pending = false;
	return emulated(vcpu, result) == RUN_USER;
}

static noinline bool go_on_emulating(struct vcpu *vcpu)
{
	bool more;

	control_cr8_from_guest(vcpu);
	more = complete_emulation(vcpu);
	control_cr8_to_guest(vcpu);
	return more;
}

static inline bool complete_io(struct vcpu *vcpu)
{
	const struct io_access *io = &vcpu->io;

	/* An output, and RIP stands where it stood: the usual case. */
	if (unlikely(io->in | io->string | vcpu->exit.io.linear_known ||
		     vcpu->v.rip != vcpu->exit.io.rip))
		return io_complete(vcpu);
	run_skip(vcpu, io->insn_len);
	return true;
}

static inline bool complete_exit(struct vcpu *vcpu)
{
	if (unlikely(vcpu->emulation.active))
		return go_on_emulating(vcpu);
	if (unlikely(vcpu->exit.reason != USER_IO))
		complete_msr(vcpu);
	else if (complete_io(vcpu))
		vcpu->exit_pending = false;
	return false;
}

bool vcpu_complete_exit(struct vcpu *vcpu)
{
	return complete_exit(vcpu);
}

enum run_outcome vcpu_run(struct vcpu *vcpu, struct cpu *cpu, u64 armed)
{
	struct vm *vm = vcpu->vm;
	int outcome = RUN_CONTINUE;
	bool arm = false;

	if (unlikely(pool_free_pages(&vm->pool) < vm->low_water))
		return RUN_MEMORY;
	/* The VMM's answer first: it belongs to the instruction that RIP still points at. */
	if (vcpu->exit_pending) {
		if (unlikely(complete_exit(vcpu)))
			return RUN_USER;
		if (unlikely(vcpu->exit_pending))
			return RUN_FAULT;
	}
	start_run(vcpu, cpu);
	/* Who sets step_hit sets a request, too. The last look at all of them is at the entry. */
	if (vcpu->v.deadline != NO_DEADLINE)
		arm = look_at_deadline(vcpu, armed);
	if (unlikely(arm || vcpu->request || vcpu->mp_state != MP_RUNNABLE))
		outcome = make_ready(vcpu, armed);
	if (outcome == RUN_CONTINUE)
		outcome = run_loaded(vcpu, cpu, armed);
	__atomic_store_n(&vcpu->cpu, NULL, __ATOMIC_RELAXED);
	return (enum run_outcome)outcome;
}
