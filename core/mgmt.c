// SPDX-License-Identifier: MIT
/* The management guest: creation from the running machine, and the loop around its exits. */
#include "core/mgmt.h"

#include "arch-x86/insn.h"
#include "arch-x86/log.h"
#include "arch-x86/msr.h"
#include "arch-x86/regs.h"
#include "arch-x86/teach.h"
#include "arch-x86/reset.h"
#include "core/event.h"
#include "core/run.h"
#include "core/stats.h"
#include "core/xstate.h"
#include "mm/frames.h"
#include "mm/phys.h"

#define PM1_SLEEP_TYPE(value) ((value) >> 10 & 7)
#define PM1_SLEEP_ENABLE      BIT(13)
#define PM1_WAKE_STATUS	      BIT(15) /* of the event block's first register */

struct mgmt_counters mgmt_counters;

static struct vm management;
static struct mgmt_boot config;
static bool woken; /* a sleep was dropped: PM1 status shows the wake-up that the guest polls for */

struct vm *mgmt_vm(void)
{
	return &management;
}

hpa_t mgmt_reserved_base(void)
{
	return config.reserved_base;
}

u64 mgmt_reserved_pages(void)
{
	return config.reserved_pages;
}

u64 mgmt_writes_refused(void)
{
	return __atomic_load_n(&mgmt_counters.keel_writes, __ATOMIC_RELAXED);
}

/* ---- launch ---- */

static void watch_sleep_port(u16 port)
{
	if (!port)
		return;
	virt->intercept_port(&management.virt, port, true);
	virt->intercept_port(&management.virt, port + 1, true);
}

int mgmt_init(const struct mgmt_boot *boot)
{
	int error;

	config = *boot;
	host_tsc_khz = boot->tsc_khz;
	pool_init(&management.pool);
	error = pool_add(&management.pool, boot->pool_base, boot->pool_pages);
	if (!error)
		error = vm_init(&management, VIRT_MANAGEMENT);
	if (!error)
		error = mgmt_memory_init(boot);
	if (!error)
		error = mgmt_apic_init(&management);
	if (error)
		return trace_error(error);
	management.tsc_offset = 0;
	mgmt_cpuid_init();
	mgmt_msr_init(&management);
	watch_sleep_port(boot->pm1a_control);
	watch_sleep_port(boot->pm1b_control);
	watch_sleep_port(boot->pm1a_event);
	watch_sleep_port(boot->pm1b_event);
	return 0;
}

/*
 * The hidden part of a segment register, from the firmware's descriptor table. Firmware runs with
 * linear = physical addresses. What cannot be read, or is NULL, becomes an unusable segment.
 * APM vol. 2, "Legacy Segment Descriptors".
 */
static struct segment read_descriptor(const struct boot_cpu_state *state, u16 selector)
{
	struct segment s = {.selector = selector};
	u64 offset = selector & ~7u, address = state->gdt_base + offset, d;

	if (!offset || offset + 7 > state->gdt_limit || !frame_is_ram(HPA(address)) ||
	    !frame_is_ram(HPA(address + 7)))
		return s;
	d = *(const u64 *)phys_ptr(HPA(address));
	s.attr = (d >> 40 & 0xff) | (d >> 44 & 0xf00);
	s.limit = (d & 0xffff) | (d >> 32 & 0xf0000);
	if (s.attr & SEG_G)
		s.limit = s.limit << 12 | 0xfff;
	s.base = (d >> 16 & 0xffffff) | (d >> 32 & 0xff000000);
	return s;
}

static void set_segments(struct virt_vcpu *v, const struct boot_cpu_state *state)
{
	const struct {
		enum seg seg;
		u16 selector;
	} selectors[] = {
		{SEG_ES, state->es},	 {SEG_CS, state->cs}, {SEG_SS, state->ss},
		{SEG_DS, state->ds},	 {SEG_FS, state->fs}, {SEG_GS, state->gs},
		{SEG_LDTR, state->ldtr},
	};
	/* Firmware mostly has no task register; a processor always has one of some type. */
	struct segment tr = {.selector = state->tr, .attr = SEG_P | 0xb, .limit = 0x67};
	struct segment gdtr = {.base = state->gdt_base, .limit = state->gdt_limit};
	struct segment idtr = {.base = state->idt_base, .limit = state->idt_limit};

	for (size_t i = 0; i < ARRAY_SIZE(selectors); i++) {
		struct segment s = read_descriptor(state, selectors[i].selector);

		if (selectors[i].seg == SEG_FS)
			s.base = state->fs_base;
		if (selectors[i].seg == SEG_GS)
			s.base = state->gs_base;
		virt->set_segment(v, selectors[i].seg, &s);
	}
	if (state->tr) {
		u64 high = state->gdt_base + (state->tr & ~7u) + 8;

		tr = read_descriptor(state, state->tr);
		tr.attr |= 2; /* busy: it is in use */
		if (frame_is_ram(HPA(high)))
			tr.base |= (u64) * (const u32 *)phys_ptr(HPA(high)) << 32;
	}
	virt->set_segment(v, SEG_TR, &tr);
	virt->set_segment(v, SEG_GDTR, &gdtr);
	virt->set_segment(v, SEG_IDTR, &idtr);
}

static void set_state(struct virt_vcpu *v, const struct boot_cpu_state *state)
{
	const struct {
		enum virt_reg reg;
		u64 value;
	} values[] = {
		{VREG_RFLAGS, state->rflags},
		{VREG_CR0, state->cr0},
		{VREG_CR2, state->cr2},
		{VREG_CR3, state->cr3},
		{VREG_CR4, state->cr4 & ~(u64)(CR4_VMXE | CR4_SMXE)}, /* hidden from it */
		{VREG_EFER, state->efer},
		{VREG_PAT, state->pat},
		{VREG_DEBUGCTL, state->debugctl},
		{VREG_DR6, state->dr6},
		{VREG_DR7, state->dr7},
		{VREG_STAR, state->star},
		{VREG_LSTAR, state->lstar},
		{VREG_CSTAR, state->cstar},
		{VREG_SFMASK, state->sfmask},
		{VREG_KERNEL_GS_BASE, state->kernel_gs_base},
		{VREG_SYSENTER_CS, state->sysenter_cs},
		{VREG_SYSENTER_ESP, state->sysenter_esp},
		{VREG_SYSENTER_EIP, state->sysenter_eip},
		{VREG_TSC_OFFSET, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		virt->set(v, values[i].reg, values[i].value);
	set_segments(v, state);
	for (u32 i = 0; i < GPR_COUNT; i++)
		v->gpr[i] = state->gpr[i];
	v->rip = state->rip;
}

int mgmt_cpu_launch(struct cpu *cpu, const struct boot_cpu_state *state)
{
	struct vcpu *vcpu;
	int error;

	error = virt->cpu_on(cpu, cpu->host_area);
	if (error)
		return trace_error(error);
	spin_lock(&management.lock);
	error = vcpu_create(&management, cpu->apic_id, &vcpu);
	spin_unlock(&management.lock);
	if (error) {
		virt->cpu_off(cpu);
		return trace_error(error);
	}
	teach_begin(&vcpu->v, cpu);
	set_state(&vcpu->v, state);
	/* DR0 to DR3 hold the firmware's values already. */
	vcpu->v.dr_live = true;
	cpu->dr_owner = &vcpu->v;
	virt->intercept(&vcpu->v, INTERCEPT_NMI);
	vcpu->mp_state = MP_RUNNABLE;
	vcpu->physical_bits = cpuid(0x80000008, 0).eax & 0xff;
	vcpu->tsc_offset = 0;
	vcpu->running = 1;
	vcpu->cpu = cpu;
	cpu->management = vcpu;
	mgmt_apic_cpu_init(cpu);
	xstate_launch(vcpu);
	if (rdmsr_safe(MSR_TSC_AUX, &vcpu->msr.tsc_aux))
		vcpu->msr.tsc_aux = 0;
	return 0;
}

void mgmt_cpu_undo(struct cpu *cpu)
{
	struct vcpu *vcpu = cpu->management;

	if (cpu->loaded)
		virt->put(&vcpu->v);
	virt->cpu_off(cpu);
	cpu->management = NULL;
}

/* ---- the loop ---- */

static __attribute__((noreturn)) void give_up(struct vcpu *vcpu, const char *why)
{
	log_error("management guest, CPU %u: %s: the machine is reset", vcpu->cpu->index, why);
	virt->dump(&vcpu->v);
	stats_ring_dump();
	machine_reset();
}

/* Skips the instruction that exited; false: an event is queued instead, or its page is gone. */
static bool skip(struct vcpu *vcpu, const struct vm_exit *e)
{
	u32 length = vcpu_insn_length(vcpu, e);

	if (!length) {
		/* Executed from where no RAM is: nothing that Keel emulates can stand there. */
		if (vcpu->fetch_error != -EPERM)
			vcpu_inject_gp(vcpu, 0);
		return false;
	}
	vcpu_skip(vcpu, length);
	return true;
}

/* After a handler that children share: what it leaves to a VMM nobody takes here. */
static void run_emulated(struct vcpu *vcpu, int outcome)
{
	if (outcome == RUN_CONTINUE)
		return;
	log_limited(LOG_WARN, "management guest: cannot emulate at RIP %llx: #GP",
		    (unsigned long long)vcpu->v.rip);
	vcpu_inject_gp(vcpu, 0);
}

static void run_msr(struct vcpu *vcpu, const struct vm_exit *e)
{
	u64 *gpr = vcpu->v.gpr, value;
	u32 index = gpr[GPR_RCX];
	int error;

	if (e->reason == EXIT_RDMSR) {
		error = mgmt_rdmsr(vcpu, index, &value);
		if (!error && skip(vcpu, e)) {
			gpr[GPR_RAX] = (u32)value;
			gpr[GPR_RDX] = value >> 32;
		}
	} else {
		value = (u32)gpr[GPR_RAX] | gpr[GPR_RDX] << 32;
		error = mgmt_wrmsr(vcpu, index, value);
		if (!error)
			skip(vcpu, e);
	}
	if (error)
		vcpu_inject_gp(vcpu, 0);
}

/* Where a bit of the register at `base` stands in this access; 0: it is not in it. */
static u64 bit_in_access(const struct vm_exit *e, u16 base, u64 bit)
{
	if (!base || (e->io.port & ~1u) != base)
		return 0;
	return bit >> (e->io.port - base) * 8 & MASK(e->io.size * 8 - 1, 0);
}

/* Is this a write that puts the machine to a sleep from which Keel does not come back? */
static bool is_lost_sleep(const struct vm_exit *e, u64 value)
{
	u32 type = PM1_SLEEP_TYPE(value << (e->io.port & 1) * 8);

	if (!(value & (bit_in_access(e, config.pm1a_control, PM1_SLEEP_ENABLE) |
		       bit_in_access(e, config.pm1b_control, PM1_SLEEP_ENABLE))))
		return false;
	return type == config.s3_type || type == config.s4_type;
}

static u64 wake_bit(const struct vm_exit *e)
{
	return bit_in_access(e, config.pm1a_event, PM1_WAKE_STATUS) |
	       bit_in_access(e, config.pm1b_event, PM1_WAKE_STATUS);
}

static void port_out(u16 port, u8 size, u64 value)
{
	if (size == 1)
		out8(port, value);
	else if (size == 2)
		out16(port, value);
	else
		out32(port, value);
}

static u32 port_in(u16 port, u8 size)
{
	return size == 1 ? in8(port) : size == 2 ? in16(port) : in32(port);
}

/* Only the PM1 control and status registers are intercepted. */
static void run_io(struct vcpu *vcpu, const struct vm_exit *e)
{
	u64 *rax = &vcpu->v.gpr[GPR_RAX];
	u64 mask = MASK(e->io.size * 8 - 1, 0);

	if (e->io.string) {
		log_limited(LOG_WARN, "management guest: string I/O at PM1: #GP");
		vcpu_inject_gp(vcpu, 0);
	} else if (e->io.in) {
		u64 value = port_in(e->io.port, e->io.size) & mask;

		if (__atomic_load_n(&woken, __ATOMIC_RELAXED))
			value |= wake_bit(e);
		/* A 32-bit result clears the upper half. */
		*rax = e->io.size == 4 ? value : (*rax & ~mask) | value;
		skip(vcpu, e);
	} else if (is_lost_sleep(e, *rax & mask)) {
		__atomic_fetch_add(&mgmt_counters.dropped_sleeps, 1, __ATOMIC_RELAXED);
		log_limited(LOG_WARN, "management guest: S3 or S4 is not supported: dropped");
		__atomic_store_n(&woken, true, __ATOMIC_RELAXED);
		skip(vcpu, e);
	} else {
		if (*rax & wake_bit(e)) /* written to clear it */
			__atomic_store_n(&woken, false, __ATOMIC_RELAXED);
		port_out(e->io.port, e->io.size, *rax);
		skip(vcpu, e);
	}
}

/* SDM vol. 2, "XSETBV": what may be written only the processor knows. XCR0 is the guest's. */
static void run_xsetbv(struct vcpu *vcpu, const struct vm_exit *e)
{
	const u64 *gpr = vcpu->v.gpr;
	u64 value = (u32)gpr[GPR_RAX] | gpr[GPR_RDX] << 32;

	if (virt->get(&vcpu->v, VREG_CPL) || xsetbv_safe(gpr[GPR_RCX], value)) {
		vcpu_inject_gp(vcpu, 0);
		return;
	}
	vcpu->xcr0 = value;
	vcpu->xused |= value;
	skip(vcpu, e);
}

/* In protected mode, at CPL 0. */
static inline bool kernel_mode(struct vcpu *vcpu)
{
	if (likely(vcpu->v.caller == CALLER_KERNEL))
		return true;
	return vcpu->v.caller == CALLER_UNKNOWN && virt->get(&vcpu->v, VREG_CPL) == 0 &&
	       virt->get(&vcpu->v, VREG_CR0) & CR0_PE;
}

/* True: a hypercall for kvm/. The interface has no prefix before VMCALL or VMMCALL. */
static inline bool is_hypercall(struct vcpu *vcpu, const struct vm_exit *e)
{
	if (likely(vcpu->v.gpr[GPR_RAX] == MGMT_HYPERCALL && kernel_mode(vcpu))) {
		run_skip(vcpu, e->insn_len ? e->insn_len : MGMT_HYPERCALL_BYTES);
		return true;
	}
	vcpu_inject_ud(vcpu);
	return false;
}

static noinline void handle_exit(struct vcpu *vcpu, const struct vm_exit *e)
{
	switch (e->reason) {
	case EXIT_NONE:
		break;
	case EXIT_NMI:
		mgmt_nmi(vcpu);
		break;
	case EXIT_INTR_WINDOW: /* VMX without virtual NMIs: in place of the next one */
	case EXIT_NMI_WINDOW:
		mgmt_nmi_window(vcpu);
		break;
	case EXIT_MCE:
		vcpu_queue_exception(vcpu, VECTOR_MC, false, 0);
		break;
	case EXIT_CPUID:
		if (skip(vcpu, e))
			mgmt_cpuid(vcpu);
		break;
	case EXIT_RDMSR:
	case EXIT_WRMSR:
		run_msr(vcpu, e);
		break;
	case EXIT_IO:
		run_io(vcpu, e);
		break;
	case EXIT_SLAT:
		mgmt_memory_fault(vcpu, e);
		break;
	case EXIT_XSETBV:
		run_xsetbv(vcpu, e);
		break;
	case EXIT_CR_READ:
	case EXIT_CR_WRITE:
	case EXIT_CR_OTHER:
		/*
		 * A write that touches a bit which VMX keeps for itself: CR4.VMXE and SMXE, which
		 * the guest does not have, and CR0.NE, which it may have as it likes.
		 */
		run_emulated(vcpu, control_exit(vcpu, e));
		break;
	case EXIT_TASK_SWITCH:
		run_emulated(vcpu, task_switch(vcpu, e));
		break;
	case EXIT_INVD:
		/* Executed, it would throw away what root and others wrote, too. */
		wbinvd();
		skip(vcpu, e);
		break;
	case EXIT_VIRT_INSN:
		vcpu_inject_ud(vcpu);
		break;
	case EXIT_INIT:
		give_up(vcpu, "a physical INIT");
	case EXIT_TRIPLE_FAULT:
		give_up(vcpu, "triple fault");
	case EXIT_INVALID:
		give_up(vcpu, "entry refused");
	default:
		give_up(vcpu, "an exit that was not asked for");
	}
}

static inline void enter(struct vcpu *vcpu, struct cpu *cpu, struct vm_exit *e)
{
	if (unlikely(cpu->loaded != &vcpu->v))
		virt->load(&vcpu->v, cpu);
	mgmt_epoch_seen(cpu);
	virt_run(&vcpu->v, e);
	if (unlikely(vcpu->injecting | e->vectoring.type))
		event_after_exit(vcpu, e);
}

static noinline void take_attention(struct vcpu *vcpu, struct cpu *cpu)
{
	if (__atomic_load_n(&cpu->root_flags, __ATOMIC_RELAXED) && virt->nmi_taken)
		mgmt_root_flags(vcpu);
	if (__atomic_load_n(&cpu->request, __ATOMIC_SEQ_CST) || cpu->waiting_for_sipi)
		mgmt_cpu_requests(vcpu);
	if (!vcpu->request)
		return;
	if (__atomic_exchange_n(&vcpu->request, 0, __ATOMIC_SEQ_CST) & REQUEST_TRIPLE_FAULT)
		give_up(vcpu, "triple fault");
	event_prepare(vcpu);
}

static inline void prepare(struct vcpu *vcpu, struct cpu *cpu)
{
	if (unlikely(READ_ONCE(cpu->attention) | vcpu->request))
		take_attention(vcpu, cpu);
}

void mgmt_run(struct vcpu *vcpu)
{
	struct cpu *cpu = vcpu->cpu;
	struct vm_exit e;

	for (;;) {
		prepare(vcpu, cpu);
		enter(vcpu, cpu, &e);
		stats_exit(vcpu, cpu, &e, rdtsc());
		if (unlikely(e.reason != EXIT_HYPERCALL))
			handle_exit(vcpu, &e);
		else if (is_hypercall(vcpu, &e))
			return;
	}
}
