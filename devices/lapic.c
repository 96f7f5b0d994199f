/* SPDX-License-Identifier: MIT */
/*
 * The local APIC: registers, priorities, delivery, IPIs and the timer.
 * SDM vol. 3, "Advanced Programmable Interrupt Controller (APIC)". See lapic.h for who may touch
 * what. Its bus clock is 1 GHz, as KVM's: one tick a nanosecond.
 */
#include "devices/lapic.h"

#include "arch-x86/insn.h"
#include "arch-x86/msr.h"
#include "core/vm.h"
#include "devices/irqchip.h"
#include "devices/time.h"
#include "mm/phys.h"

#define VERSION		 0x50014u /* an integrated APIC with six LVT entries */
#define VERSION_NO_BCAST BIT(24)  /* EOI broadcasts can be suppressed */
#define SVR_ENABLE	 BIT(8)
#define SVR_NO_BCAST	 BIT(12)
#define DFR_FLAT	 0xffffffffu
#define LVT_MASKED	 BIT(16)
#define LVT_READ_ONLY	 (BIT(12) | BIT(14)) /* delivery status, remote IRR */
#define LVT_MODE(lvt)	 (((lvt) >> 8) & 7)
#define ICR_RESERVED	 (MASK(31, 20) | MASK(17, 16) | BIT(13)) /* x2APIC: #GP */
#define FIRST_VECTOR	 16					 /* 0 to 15 are illegal */
#define X2APIC_BROADCAST 0xffffffffu
#define XAPIC_BROADCAST	 0xffu

/* A periodic timer may not fire more often: each tick costs an exit. KVM's min_timer_period_us. */
#define MIN_PERIOD_NS 200000ull

enum timer_mode { TIMER_ONE_SHOT, TIMER_PERIODIC, TIMER_TSC_DEADLINE, TIMER_RESERVED };

enum {		    /* who may do what with a register */
       XR = BIT(0), /* readable at the xAPIC's MMIO page */
       XW = BIT(1),
       MR = BIT(2), /* readable as an x2APIC MSR */
       MW = BIT(3),
       ALL_R = XR | MR,
       ALL_W = XW | MW,
       ALL = ALL_R | ALL_W,
};

struct reg_rule {
	u8 access;
	u32 writable; /* bits; others are reserved or read-only */
};

static const struct reg_rule rules[LAPIC_WORDS / 4] = {
	[LAPIC_ID / 16] = {ALL_R | XW, 0xff000000},
	[LAPIC_VERSION / 16] = {ALL_R, 0},
	[LAPIC_TPR / 16] = {ALL, 0xff},
	[LAPIC_APR / 16] = {XR, 0},
	[LAPIC_PPR / 16] = {ALL_R, 0},
	[LAPIC_EOI / 16] = {ALL_W, 0},
	[LAPIC_RRD / 16] = {XR, 0},
	[LAPIC_LDR / 16] = {ALL_R | XW, 0xff000000},
	[LAPIC_DFR / 16] = {XR | XW, 0xf0000000},
	[LAPIC_SVR / 16] = {ALL, 0x3ff},
	[LAPIC_ISR / 16 ... LAPIC_ESR / 16 - 1] = {ALL_R, 0},
	[LAPIC_ESR / 16] = {ALL, 0},
	[LAPIC_ICR / 16] = {ALL, 0xffffefff}, /* reserved bits stay, as on Linux's KVM */
	[LAPIC_ICR_HIGH / 16] = {XR | XW, 0xff000000},
	[LAPIC_LVT_TIMER / 16] = {ALL, 0x300ff},
	[LAPIC_LVT_THERMAL / 16] = {ALL, 0x107ff},
	[LAPIC_LVT_PERF / 16] = {ALL, 0x107ff},
	[LAPIC_LVT_LINT0 / 16] = {ALL, 0x1a7ff},
	[LAPIC_LVT_LINT1 / 16] = {ALL, 0x1a7ff},
	[LAPIC_LVT_ERROR / 16] = {ALL, 0x100ff},
	[LAPIC_TIMER_INITIAL / 16] = {ALL, 0xffffffff},
	[LAPIC_TIMER_CURRENT / 16] = {ALL_R, 0},
	[LAPIC_TIMER_DIVIDE / 16] = {ALL, 0xb},
	[LAPIC_SELF_IPI / 16] = {MW, 0xff},
};

/* ---- registers as words -------------------------------------------------------------------- */

static u32 get(const struct lapic *l, u32 offset)
{
	return __atomic_load_n(&l->regs[offset / 4], __ATOMIC_RELAXED);
}

static void put(struct lapic *l, u32 offset, u32 value)
{
	__atomic_store_n(&l->regs[offset / 4], value, __ATOMIC_RELAXED);
}

static bool hardware_enabled(const struct lapic *l)
{
	return __atomic_load_n(&l->base, __ATOMIC_RELAXED) & APIC_BASE_ENABLE;
}

static bool x2apic(const struct lapic *l)
{
	return __atomic_load_n(&l->base, __ATOMIC_RELAXED) & APIC_BASE_X2APIC;
}

static bool enabled(const struct lapic *l)
{
	return hardware_enabled(l) && (get(l, LAPIC_SVR) & SVR_ENABLE);
}

/* Is this bit of CPUID leaf 1's ECX in the guest's table? */
static bool guest_has(const struct vcpu *vcpu, u32 ecx_bit)
{
	for (u32 i = 0; i < vcpu->cpuid_count; i++) {
		if (vcpu->cpuid[i].function == 1)
			return vcpu->cpuid[i].ecx & BIT(ecx_bit);
	}
	return false;
}

static bool guest_has_x2apic(const struct vcpu *vcpu)
{
	return guest_has(vcpu, 21);
}

/* The 256-bit registers: eight words, 16 bytes apart. */
static u32 *vector_word(struct lapic *l, u32 offset, u8 vector)
{
	return &l->regs[(offset + (vector / 32) * 16u) / 4];
}

static bool vector_test(struct lapic *l, u32 offset, u8 vector)
{
	return __atomic_load_n(vector_word(l, offset, vector), __ATOMIC_RELAXED) &
	       (1u << (vector % 32));
}

static void vector_set(struct lapic *l, u32 offset, u8 vector)
{
	__atomic_fetch_or(vector_word(l, offset, vector), 1u << (vector % 32), __ATOMIC_SEQ_CST);
}

static void vector_clear(struct lapic *l, u32 offset, u8 vector)
{
	__atomic_fetch_and(vector_word(l, offset, vector), ~(1u << (vector % 32)),
			   __ATOMIC_SEQ_CST);
}

static int vector_highest(struct lapic *l, u32 offset)
{
	for (int i = 7; i >= 0; i--) {
		u32 word = get(l, offset + (u32)i * 16);

		if (word)
			return i * 32 + 31 - __builtin_clz(word);
	}
	return -1;
}

/* SDM vol. 3, "Task and Processor Priorities". */
static u32 processor_priority(struct lapic *l)
{
	u32 tpr = get(l, LAPIC_TPR);
	int isr = vector_highest(l, LAPIC_ISR);

	if (isr < 0 || (tpr >> 4) >= ((u32)isr >> 4))
		return tpr;
	return (u32)isr & 0xf0;
}

/* ---- reset and modes ------------------------------------------------------------------------ */

static u32 x2apic_ldr(u32 id)
{
	return (id >> 4) << 16 | 1u << (id & 15);
}

static void set_id(struct lapic *l)
{
	u32 id = l->vcpu->id;

	if (x2apic(l)) {
		put(l, LAPIC_ID, id);
		put(l, LAPIC_LDR, x2apic_ldr(id));
	} else {
		put(l, LAPIC_ID, id << 24);
		put(l, LAPIC_LDR, 0);
	}
}

static void timer_stop(struct lapic *l)
{
	l->expires = NO_DEADLINE;
	l->period = 0;
	l->tsc_deadline = 0;
	vcpu_set_request(l->vcpu, REQUEST_TIMER);
}

/* SDM vol. 3, "Local APIC State After Power-Up or Reset". */
static void reset_registers(struct lapic *l)
{
	for (u32 i = 0; i < LAPIC_WORDS; i++)
		__atomic_store_n(&l->regs[i], 0, __ATOMIC_RELAXED);
	set_id(l);
	put(l, LAPIC_VERSION, VERSION);
	put(l, LAPIC_DFR, DFR_FLAT);
	put(l, LAPIC_SVR, 0xff);
	for (u32 lvt = LAPIC_LVT_TIMER; lvt <= LAPIC_LVT_ERROR; lvt += 16)
		put(l, lvt, LVT_MASKED);
	/* As KVM (and unlike the SDM): firmware may count on the 8259 reaching the boot CPU. */
	if (l->vcpu->id == l->vcpu->vm->bsp_id)
		put(l, LAPIC_LVT_LINT0, DELIVER_EXTINT << 8);
	__atomic_store_n(&l->errors, 0, __ATOMIC_RELAXED);
	timer_stop(l);
}

void lapic_reset(struct vcpu *vcpu)
{
	/* INIT keeps the APIC ID that software wrote. */
	u32 id = get(vcpu->lapic, LAPIC_ID);

	reset_registers(vcpu->lapic);
	put(vcpu->lapic, LAPIC_ID, id);
}

int lapic_create(struct vcpu *vcpu)
{
	hpa_t page = pool_alloc(&vcpu->vm->pool, 1);
	struct lapic *l;

	_Static_assert(sizeof(*l) <= PAGE_SIZE, "one page an APIC");
	if (page.v == HPA_NONE.v)
		return -ENOMEM;
	l = phys_ptr(page);
	l->vcpu = vcpu;
	l->base = LAPIC_DEFAULT_BASE | APIC_BASE_ENABLE;
	if (vcpu->id == vcpu->vm->bsp_id)
		l->base |= APIC_BASE_BSP;
	reset_registers(l);
	/* Other CPUs may deliver from now on. */
	__atomic_store_n(&vcpu->lapic, l, __ATOMIC_RELEASE);
	return 0;
}

static int set_base(struct lapic *l, u64 value, bool host)
{
	struct vcpu *vcpu = l->vcpu;
	u32 width = vcpu->physical_bits ? vcpu->physical_bits : 36;
	u64 reserved = ~MASK(width - 1, 0) | 0x2ff;
	u64 mode = APIC_BASE_ENABLE | APIC_BASE_X2APIC;
	u64 old = l->base;

	if (!guest_has_x2apic(vcpu))
		reserved |= APIC_BASE_X2APIC;
	if ((value & reserved) || (value & mode) == APIC_BASE_X2APIC)
		return -EINVAL;
	/* SDM vol. 3, "x2APIC State Transitions": two of them are #GP. */
	if (!host && (old & mode) == mode && (value & mode) == APIC_BASE_ENABLE)
		return -EINVAL;
	if (!host && !(old & mode) && (value & mode) == mode)
		return -EINVAL;
	__atomic_store_n(&l->base, value, __ATOMIC_RELAXED);
	if ((old & mode) != (value & mode)) {
		if (!(old & value & APIC_BASE_ENABLE))
			reset_registers(l); /* through the disabled state all is lost */
		else
			set_id(l);
	}
	vcpu_set_request(vcpu, REQUEST_EVENT);
	return 0;
}

int lapic_write_base(struct lapic *l, u64 value)
{
	return set_base(l, value, false);
}

u64 lapic_base(struct vcpu *vcpu)
{
	return vcpu->lapic ? vcpu->lapic->base : vcpu->msr.apic_base;
}

int lapic_set_base(struct vcpu *vcpu, u64 value)
{
	if (!vcpu->lapic) {
		vcpu->msr.apic_base = value;
		return 0;
	}
	return set_base(vcpu->lapic, value, true);
}

/* ---- delivery -------------------------------------------------------------------------------- */

static bool request_vector(struct lapic *l, u8 vector, bool level)
{
	if (!enabled(l))
		return false;
	if (level)
		vector_set(l, LAPIC_TMR, vector);
	else if (vector_test(l, LAPIC_TMR, vector))
		vector_clear(l, LAPIC_TMR, vector);
	vector_set(l, LAPIC_IRR, vector);
	vcpu_kick(l->vcpu, REQUEST_EVENT);
	return true;
}

/*
 * Notes an error. Its interrupt goes out at most once per error bit and ESR write, and an illegal
 * vector in the LVT's own entry only sets one more bit: no recursion (XSA-462).
 */
static void report_error(struct lapic *l, u32 error)
{
	u32 lvt = get(l, LAPIC_LVT_ERROR);
	u8 vector = (u8)lvt;

	if (__atomic_fetch_or(&l->errors, error, __ATOMIC_SEQ_CST) & error)
		return;
	if (lvt & LVT_MASKED)
		return;
	if (vector < FIRST_VECTOR)
		__atomic_fetch_or(&l->errors, LAPIC_ERROR_RECEIVE_ILLEGAL_VECTOR, __ATOMIC_SEQ_CST);
	else
		request_vector(l, vector, false);
}

/* One APIC takes the interrupt: true when accepted. */
static bool accept(struct lapic *l, u8 mode, u8 vector, bool level)
{
	switch (mode) {
	case DELIVER_FIXED:
	case DELIVER_LOWEST:
		if (vector < FIRST_VECTOR) {
			report_error(l, LAPIC_ERROR_RECEIVE_ILLEGAL_VECTOR);
			return false;
		}
		return request_vector(l, vector, level);
	case DELIVER_NMI:
		vcpu_post_nmi(l->vcpu);
		return true;
	case DELIVER_INIT:
		vcpu_post_init(l->vcpu);
		return true;
	case DELIVER_SIPI:
		vcpu_post_sipi(l->vcpu, vector);
		return true;
	default:
		/*
		 * SMI: there is no SMM. Remote read is reserved, ExtINT too in the ICR (SDM vol. 3,
		 * "Interrupt Command Register (ICR)"); from an I/O APIC's pin an ExtINT would ask
		 * the PIC for the vector, but the PIC is wired to LINT0 alone, as in KVM.
		 */
		return false;
	}
}

/* SDM vol. 3, "Determining IPI Destination". */
static bool matches_logical(struct lapic *l, u32 destination)
{
	u32 ldr = get(l, LAPIC_LDR);

	if (x2apic(l))
		return (ldr >> 16) == (destination >> 16) && (ldr & destination & 0xffff);
	ldr >>= 24;
	switch (get(l, LAPIC_DFR) >> 28) {
	case 0xf: /* flat */
		return ldr & destination & 0xff;
	case 0: /* cluster */
		return (ldr >> 4) == (destination >> 4) && (ldr & destination & 0xf);
	default:
		return false;
	}
}

bool lapic_matches(struct lapic *l, const struct lapic_message *m)
{
	u32 destination = m->destination;

	if (!hardware_enabled(l))
		return false;
	if (x2apic(l)) {
		/* An 8-bit broadcast means an x2APIC too: KVM's rule unless the VMM objects. */
		if (!m->wide && destination == XAPIC_BROADCAST &&
		    !l->vcpu->vm->x2apic_no_broadcast_quirk)
			return true;
		if (destination == X2APIC_BROADCAST)
			return true;
		return m->logical ? matches_logical(l, destination)
				  : destination == get(l, LAPIC_ID);
	}
	if (destination == XAPIC_BROADCAST || (m->wide && destination == X2APIC_BROADCAST))
		return true;
	return m->logical ? matches_logical(l, destination) : destination == get(l, LAPIC_ID) >> 24;
}

static struct lapic *lapic_of(struct vm *vm, u32 index)
{
	struct vcpu *vcpu = __atomic_load_n(&vm->vcpus[index], __ATOMIC_ACQUIRE);

	return vcpu ? __atomic_load_n(&vcpu->lapic, __ATOMIC_ACQUIRE) : NULL;
}

static u32 vcpu_total(const struct vm *vm)
{
	return MIN(__atomic_load_n(&vm->vcpu_count, __ATOMIC_ACQUIRE), VM_VCPUS);
}

/* All have the same priority but for turns: the one that was chosen least often is next. */
static struct lapic *lowest_priority(struct vm *vm, const struct lapic_message *m)
{
	struct lapic *lowest = NULL;

	for (u32 i = 0; i < vcpu_total(vm); i++) {
		struct lapic *l = lapic_of(vm, i);

		if (l && lapic_matches(l, m) && enabled(l) &&
		    (!lowest || (s32)(__atomic_load_n(&l->arbitration, __ATOMIC_RELAXED) -
				      __atomic_load_n(&lowest->arbitration, __ATOMIC_RELAXED)) < 0))
			lowest = l;
	}
	return lowest;
}

int lapic_deliver(struct vm *vm, const struct lapic_message *m)
{
	int accepted = 0;

	if (m->lowest || m->mode == DELIVER_LOWEST) {
		struct lapic *l = lowest_priority(vm, m);

		if (!l)
			return 0;
		__atomic_fetch_add(&l->arbitration, 1, __ATOMIC_RELAXED);
		return accept(l, m->mode, m->vector, m->level);
	}
	for (u32 i = 0; i < vcpu_total(vm); i++) {
		struct lapic *l = lapic_of(vm, i);

		if (!l || !lapic_matches(l, m))
			continue;
		accepted += accept(l, m->mode, m->vector, m->level);
	}
	return accepted;
}

static void send_to_all(struct lapic *l, u8 mode, u8 vector, bool self)
{
	struct vm *vm = l->vcpu->vm;

	for (u32 i = 0; i < vcpu_total(vm); i++) {
		struct lapic *other = lapic_of(vm, i);

		if (other && hardware_enabled(other) && (self || other != l))
			accept(other, mode, vector, false);
	}
}

/* SDM vol. 3, "Interrupt Command Register (ICR)". destination: 8 bits, or 32 in x2APIC mode. */
static void send_ipi(struct lapic *l, u32 icr, u32 destination)
{
	u8 mode = (icr >> 8) & 7, vector = (u8)icr;
	struct lapic_message m = {
		.destination = destination,
		.vector = vector,
		.mode = mode,
		.logical = icr & BIT(11),
		.wide = x2apic(l),
	};

	/* INIT level de-assert does nothing on any processor with an integrated APIC. */
	if (mode == DELIVER_INIT && (icr & BIT(15)) && !(icr & BIT(14)))
		return;
	if ((mode == DELIVER_FIXED || mode == DELIVER_LOWEST) && vector < FIRST_VECTOR) {
		report_error(l, LAPIC_ERROR_SEND_ILLEGAL_VECTOR);
		return;
	}
	switch ((icr >> 18) & 3) { /* shorthand */
	case 0:
		lapic_deliver(l->vcpu->vm, &m);
		break;
	case 1:
		accept(l, mode, vector, false);
		break;
	case 2:
		send_to_all(l, mode, vector, true);
		break;
	default:
		send_to_all(l, mode, vector, false);
		break;
	}
}

bool lapic_accepts_extint(const struct lapic *l)
{
	u32 lvt = get(l, LAPIC_LVT_LINT0);

	if (!hardware_enabled(l))
		return true;
	return !(lvt & LVT_MASKED) && LVT_MODE(lvt) == DELIVER_EXTINT;
}

void lapic_lint0_nmi(struct lapic *l)
{
	u32 lvt = get(l, LAPIC_LVT_LINT0);

	if (hardware_enabled(l) && !(lvt & LVT_MASKED) && LVT_MODE(lvt) == DELIVER_NMI)
		vcpu_post_nmi(l->vcpu);
}

/* ---- priorities ------------------------------------------------------------------------------ */

int lapic_pending(struct lapic *l)
{
	int irr = vector_highest(l, LAPIC_IRR), isr;

	if (irr < 0 || !enabled(l))
		return -1;
	if (((u32)irr >> 4) > (processor_priority(l) >> 4))
		return irr;
	isr = vector_highest(l, LAPIC_ISR);
	return isr < 0 || (irr >> 4) > (isr >> 4) ? -2 : -1;
}

int lapic_acknowledge(struct lapic *l)
{
	int vector = lapic_pending(l);

	if (vector < 0)
		return -1;
	vector_clear(l, LAPIC_IRR, (u8)vector);
	vector_set(l, LAPIC_ISR, (u8)vector);
	return vector;
}

static void end_of_interrupt(struct lapic *l)
{
	int vector = vector_highest(l, LAPIC_ISR);

	if (vector < 0)
		return;
	vector_clear(l, LAPIC_ISR, (u8)vector);
	vcpu_set_request(l->vcpu, REQUEST_EVENT);
	if (!(get(l, LAPIC_SVR) & SVR_NO_BCAST))
		irqchip_eoi(l->vcpu, (u8)vector, vector_test(l, LAPIC_TMR, (u8)vector));
}

static void set_tpr(struct lapic *l, u32 tpr)
{
	put(l, LAPIC_TPR, tpr);
	vcpu_set_request(l->vcpu, REQUEST_EVENT);
}

void lapic_set_cr8(struct vcpu *vcpu, u64 cr8)
{
	/* CR8 shows bits 7:4; what it did not change keeps its sub-class. */
	if (lapic_get_cr8(vcpu) != (cr8 & 15))
		set_tpr(vcpu->lapic, (u32)(cr8 & 15) << 4);
}

u64 lapic_get_cr8(struct vcpu *vcpu)
{
	return get(vcpu->lapic, LAPIC_TPR) >> 4;
}

/* ---- timer ----------------------------------------------------------------------------------- */

static enum timer_mode timer_mode(const struct lapic *l)
{
	return (enum timer_mode)((get(l, LAPIC_LVT_TIMER) >> 17) & 3);
}

/* SDM vol. 3, figure "Divide Configuration Register": bits 3, 1, 0; 111 divides by 1. */
static u32 timer_divisor(const struct lapic *l)
{
	u32 divide = get(l, LAPIC_TIMER_DIVIDE);
	u32 code = (divide & 3) | (divide & 8) >> 1;

	return 1u << ((code + 1) & 7);
}

static u64 timer_ticks(const struct lapic *l, u32 count)
{
	return ns_to_tsc((u64)count * timer_divisor(l), l->vcpu->vm->tsc_khz);
}

static bool timer_periodic(const struct lapic *l)
{
	return timer_mode(l) == TIMER_PERIODIC;
}

/* Starts at `count` (not above the initial count), and later from the initial count again. */
static void timer_start(struct lapic *l, u32 count, u64 now)
{
	u32 initial = get(l, LAPIC_TIMER_INITIAL);
	u64 shortest = ns_to_tsc(MIN_PERIOD_NS, l->vcpu->vm->tsc_khz);

	vcpu_set_request(l->vcpu, REQUEST_TIMER);
	if (!initial || !count) {
		l->expires = NO_DEADLINE;
		return;
	}
	/* At least one tick: a period of 0 would never let the fire loop pass `now`. */
	l->period = MAX(timer_ticks(l, initial), 1);
	if (timer_periodic(l))
		l->period = MAX(l->period, MAX(shortest, 1));
	l->expires = add_saturate(now, count < initial ? timer_ticks(l, count) : l->period);
}

/* Moves a periodic timer's next zero past `now`; ticks between are lost, as one IRR bit holds all.
 */
static void timer_advance(struct lapic *l, u64 now)
{
	u64 missed = (now - l->expires) / l->period + 1;

	l->expires = add_saturate(l->expires, mul_div(missed, l->period, 1));
}

static u32 timer_current(struct lapic *l, u64 now)
{
	u64 left, ns;

	if (timer_mode(l) == TIMER_TSC_DEADLINE || l->expires == NO_DEADLINE)
		return 0;
	if (now >= l->expires) {
		if (!timer_periodic(l))
			return 0;
		/* Not fired yet, but the counter has already wrapped. */
		left = l->period - (now - l->expires) % l->period;
	} else {
		left = l->expires - now;
	}
	ns = tsc_to_ns(left, l->vcpu->vm->tsc_khz);
	return (u32)MIN(ns / timer_divisor(l), get(l, LAPIC_TIMER_INITIAL));
}

static void timer_fire(struct lapic *l)
{
	u32 lvt = get(l, LAPIC_LVT_TIMER);

	if (!(lvt & LVT_MASKED))
		accept(l, DELIVER_FIXED, (u8)lvt, false);
}

static u64 tsc_deadline_timer(struct lapic *l, u64 now)
{
	u64 guest_now = vcpu_tsc_at(l->vcpu, now), ratio = l->vcpu->tsc_ratio;

	if (!l->tsc_deadline)
		return NO_DEADLINE;
	if (guest_now < l->tsc_deadline) {
		u64 left = l->tsc_deadline - guest_now;

		if (ratio != TSC_RATIO_ONE) /* rounded up: never early */
			left = add_saturate(mul_div(left, TSC_RATIO_ONE, ratio), 1);
		return add_saturate(now, left);
	}
	l->tsc_deadline = 0;
	timer_fire(l);
	return NO_DEADLINE;
}

u64 lapic_timers(struct lapic *l, u64 now)
{
	if (timer_mode(l) == TIMER_TSC_DEADLINE)
		return tsc_deadline_timer(l, now);
	if (l->expires == NO_DEADLINE || now < l->expires)
		return l->expires;
	timer_fire(l);
	if (timer_periodic(l))
		timer_advance(l, now);
	else
		l->expires = NO_DEADLINE;
	return l->expires;
}

u64 lapic_read_tsc_deadline(const struct lapic *l)
{
	return timer_mode(l) == TIMER_TSC_DEADLINE ? l->tsc_deadline : 0;
}

void lapic_write_tsc_deadline(struct lapic *l, u64 value)
{
	if (timer_mode(l) != TIMER_TSC_DEADLINE)
		return;
	l->tsc_deadline = value;
	vcpu_set_request(l->vcpu, REQUEST_TIMER);
}

static void write_lvt_timer(struct lapic *l, u32 value)
{
	enum timer_mode old = timer_mode(l), new;
	u64 now = rdtsc();
	u32 count;

	lapic_timers(l, now); /* what is due belongs to the old entry */
	count = timer_current(l, now);
	put(l, LAPIC_LVT_TIMER, value);
	new = timer_mode(l);
	if (old == new)
		return;
	/* SDM vol. 3, "TSC-Deadline Mode": a transition to or from it disarms the timer. */
	if (old == TIMER_TSC_DEADLINE || new == TIMER_TSC_DEADLINE) {
		put(l, LAPIC_TIMER_INITIAL, 0);
		timer_stop(l);
	} else {
		timer_start(l, count, now);
	}
}

static void write_divide(struct lapic *l, u32 value)
{
	u64 now = rdtsc();
	u32 count;

	lapic_timers(l, now);
	count = timer_current(l, now);
	put(l, LAPIC_TIMER_DIVIDE, value);
	timer_start(l, count, now);
}

static void write_initial(struct lapic *l, u32 value)
{
	u64 now = rdtsc();

	if (timer_mode(l) == TIMER_TSC_DEADLINE)
		return;
	lapic_timers(l, now);
	put(l, LAPIC_TIMER_INITIAL, value);
	timer_start(l, value, now);
}

/* ---- register accesses ----------------------------------------------------------------------- */

/* KVM offers it with the VMM's IOAPIC only: the one here is a version without directed EOI. */
static u32 version(const struct lapic *l)
{
	bool no_broadcast = l->vcpu->vm->split_irqchip && guest_has_x2apic(l->vcpu);

	return VERSION | (no_broadcast ? (u32)VERSION_NO_BCAST : 0);
}

static u32 writable_bits(const struct lapic *l, u32 offset)
{
	u32 mask = rules[offset / 16].writable;

	if (offset == LAPIC_SVR && (version(l) & VERSION_NO_BCAST))
		mask |= SVR_NO_BCAST;
	if (offset == LAPIC_LVT_TIMER && guest_has(l->vcpu, 24))
		mask |= BIT(18); /* TSC-deadline mode */
	return mask;
}

static u32 read_register(struct lapic *l, u32 offset)
{
	switch (offset) {
	case LAPIC_VERSION:
		return version(l);
	case LAPIC_PPR:
		return processor_priority(l);
	case LAPIC_TIMER_CURRENT:
		return timer_current(l, rdtsc());
	}
	return get(l, offset);
}

static void write_svr(struct lapic *l, u32 value)
{
	put(l, LAPIC_SVR, value);
	if (value & SVR_ENABLE) {
		vcpu_set_request(l->vcpu, REQUEST_EVENT);
		return;
	}
	/* SDM vol. 3, "Local APIC State After It Has Been Software Disabled". */
	for (u32 lvt = LAPIC_LVT_TIMER; lvt <= LAPIC_LVT_ERROR; lvt += 16)
		put(l, lvt, get(l, lvt) | LVT_MASKED);
}

static void write_lvt(struct lapic *l, u32 offset, u32 value)
{
	if (!(get(l, LAPIC_SVR) & SVR_ENABLE))
		value |= LVT_MASKED;
	if (offset == LAPIC_LVT_TIMER) {
		write_lvt_timer(l, value);
		return;
	}
	put(l, offset, value);
	vcpu_set_request(l->vcpu, REQUEST_EVENT); /* LINT0 may let the 8259 through now */
}

/* value has only writable bits. */
static void write_register(struct lapic *l, u32 offset, u32 value)
{
	switch (offset) {
	case LAPIC_TPR:
		set_tpr(l, value);
		break;
	case LAPIC_EOI:
		end_of_interrupt(l);
		break;
	case LAPIC_DFR:
		put(l, LAPIC_DFR, value | 0x0fffffff);
		break;
	case LAPIC_SVR:
		write_svr(l, value);
		break;
	case LAPIC_ESR:
		put(l, LAPIC_ESR, __atomic_exchange_n(&l->errors, 0, __ATOMIC_SEQ_CST));
		break;
	case LAPIC_ICR:
		put(l, LAPIC_ICR, value);
		send_ipi(l, value,
			 x2apic(l) ? get(l, LAPIC_ICR_HIGH) : get(l, LAPIC_ICR_HIGH) >> 24);
		break;
	case LAPIC_LVT_TIMER ... LAPIC_LVT_ERROR:
		write_lvt(l, offset, value);
		break;
	case LAPIC_TIMER_INITIAL:
		write_initial(l, value);
		break;
	case LAPIC_TIMER_DIVIDE:
		write_divide(l, value);
		break;
	case LAPIC_SELF_IPI:
		accept(l, DELIVER_FIXED, (u8)value, false);
		break;
	default: /* ID, LDR, ICR_HIGH: plain storage */
		put(l, offset, value);
		break;
	}
}

bool lapic_mapped_at(const struct lapic *l, u64 gpa)
{
	return (l->base ^ gpa) < PAGE_SIZE;
}

/* Else the page is a hole that reads as ones. */
static bool answers(const struct lapic *l)
{
	return hardware_enabled(l) && !x2apic(l);
}

static bool mmio_register(struct lapic *l, u64 offset, u8 access)
{
	if (offset < LAPIC_WORDS * 4 &&
	    (rules[index_clamp((u32)offset, LAPIC_WORDS * 4) / 16].access & access))
		return true;
	report_error(l, LAPIC_ERROR_ILLEGAL_REGISTER);
	return false;
}

/* KVM_TPR_ACCESS_REPORTING */
static void report_tpr(struct lapic *l, u64 offset, bool write)
{
	struct vcpu *vcpu = l->vcpu;

	if (!vcpu->tpr_access.reported || (offset & ~15ull) != LAPIC_TPR)
		return;
	vcpu->tpr_access.rip = vcpu->v.rip;
	vcpu->tpr_access.write = write;
	vcpu_set_request(vcpu, REQUEST_TPR);
}

int lapic_mmio_read(struct lapic *l, u64 offset, u32 size, u64 *value)
{
	u32 within = offset & 15;

	*value = ~0ull;
	if (!answers(l))
		return 0;
	/* Registers are 32 bits wide; the 12 bytes behind each are undefined. */
	*value = 0;
	report_tpr(l, offset, false);
	if (within + size <= 4 && mmio_register(l, offset, XR))
		*value = (u64)read_register(l, (u32)offset & ~15u) >> (within * 8);
	return 0;
}

int lapic_mmio_write(struct lapic *l, u64 offset, u32 size, u64 value)
{
	if (!answers(l) || size != 4 || (offset & 15) || !mmio_register(l, offset, XW))
		return 0;
	report_tpr(l, offset, true);
	write_register(l, (u32)offset, (u32)value & writable_bits(l, (u32)offset));
	return 0;
}

/* index is below 0x100: the bus device's length. */
static u8 msr_access(const struct lapic *l, u64 index)
{
	if (!hardware_enabled(l) || !x2apic(l) || index >= LAPIC_WORDS / 4)
		return 0;
	return rules[index_clamp((u32)index, LAPIC_WORDS / 4)].access;
}

int lapic_msr_read(struct lapic *l, u64 index, u64 *value)
{
	u32 offset = (u32)index * 16;

	if (!(msr_access(l, index) & MR))
		return -EINVAL;
	*value = read_register(l, offset);
	if (offset == LAPIC_ICR)
		*value |= (u64)get(l, LAPIC_ICR_HIGH) << 32;
	return 0;
}

/* SDM vol. 3, "x2APIC Register Address Space" and "Reserved Bit Checking". */
int lapic_msr_write(struct lapic *l, u64 index, u64 value)
{
	u32 offset = (u32)index * 16, mask;

	if (!(msr_access(l, index) & MW))
		return -EINVAL;
	mask = writable_bits(l, offset);
	if (offset == LAPIC_ICR) {
		if (value & ICR_RESERVED)
			return -EINVAL;
		put(l, LAPIC_ICR_HIGH, (u32)(value >> 32));
	} else {
		bool lvt = offset >= LAPIC_LVT_TIMER && offset <= LAPIC_LVT_ERROR;

		if (value & ~(u64)(mask | (lvt ? (u32)LVT_READ_ONLY : 0)))
			return -EINVAL;
	}
	write_register(l, offset, (u32)value & mask);
	return 0;
}

/* ---- KVM_GET_LAPIC, KVM_SET_LAPIC ------------------------------------------------------------ */

int lapic_get(struct vcpu *vcpu, struct kvm_lapic_state *state)
{
	struct lapic *l = vcpu->lapic;

	if (!l)
		return -EINVAL;
	for (u32 offset = 0; offset < LAPIC_WORDS * 4; offset += 4) {
		u32 word = offset & 15 ? 0 : read_register(l, offset);

		if (offset == LAPIC_ID && x2apic(l) && !vcpu->vm->x2apic_ids_32bit)
			word <<= 24;
		__builtin_memcpy(&state->regs[offset], &word, sizeof(word));
	}
	return 0;
}

static u32 state_word(const struct kvm_lapic_state *state, u32 offset)
{
	u32 word;

	__builtin_memcpy(&word, &state->regs[offset], sizeof(word));
	return word;
}

static void set_vectors(struct lapic *l, const struct kvm_lapic_state *state, u32 offset)
{
	for (u32 i = 0; i < 8; i++)
		put(l, offset + i * 16, state_word(state, offset + i * 16));
}

int lapic_set(struct vcpu *vcpu, const struct kvm_lapic_state *state)
{
	struct lapic *l = vcpu->lapic;
	u32 id = state_word(state, LAPIC_ID), count;

	if (!l)
		return -EINVAL;
	if (x2apic(l) && vcpu->vm->x2apic_ids_32bit && id != vcpu->id)
		return -EINVAL;
	for (u32 offset = 0; offset < LAPIC_SELF_IPI; offset += 16) {
		if ((rules[offset / 16].access & (XR | XW)) == (XR | XW) && offset != LAPIC_ESR)
			put(l, offset, state_word(state, offset) & writable_bits(l, offset));
	}
	put(l, LAPIC_DFR, get(l, LAPIC_DFR) | 0x0fffffff);
	put(l, LAPIC_ESR, state_word(state, LAPIC_ESR) & 0xff);
	set_vectors(l, state, LAPIC_ISR);
	set_vectors(l, state, LAPIC_TMR);
	set_vectors(l, state, LAPIC_IRR);
	if (x2apic(l)) {
		set_id(l);
		put(l, LAPIC_ICR_HIGH, state_word(state, LAPIC_ICR_HIGH));
	}
	count = MIN(state_word(state, LAPIC_TIMER_CURRENT), get(l, LAPIC_TIMER_INITIAL));
	if (!count && timer_periodic(l))
		count = get(l, LAPIC_TIMER_INITIAL);
	/* The TSC deadline is an MSR: it comes by KVM_SET_MSRS, before or after this. */
	timer_start(l, count, rdtsc());
	vcpu_set_request(vcpu, REQUEST_EVENT);
	return 0;
}
