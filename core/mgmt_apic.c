// SPDX-License-Identifier: MIT
/*
 * INIT, SIPI and NMI of the management guest. INIT and SIPI never reach a CPU as such: the sender's
 * ICR write is decoded, and the target, which an NMI brings into root, changes its vCPU's state.
 *
 * An NMI is the only way into a CPU that runs the management guest, and it has NMIs of its own. A
 * sender sets the target's kick_pending before it sends one (and sends none while it is set), so
 * the target knows whose an NMI is:
 *
 *   kick_pending      ours: root's handler takes it, requests are served
 *   not kick_pending  the guest's
 *
 * The guest's NMI is still pending on SVM: the intercept is lifted, so that the guest's next
 * instruction boundary takes it; the intercept of IRET tells when to set it again. On VMX root's
 * handler has taken it: it is queued and injected as a child's would be.
 *
 * An NMI of the guest's that the processor merges with a kick is lost: a kick means INIT or SIPI,
 * and a CPU that waits for a SIPI takes no NMIs; or it goes to a CPU that the guest does not run.
 * When the guest gets the merged one instead, the INIT is served at its next exit with kick_pending
 * still set: a CPU that waits for a SIPI is therefore sent an NMI in any case.
 */
#include "arch-x86/apic.h"
#include "arch-x86/insn.h"
#include "arch-x86/log.h"
#include "arch-x86/msr.h"
#include "arch-x86/regs.h"
#include "core/emulate.h"
#include "core/mgmt.h"
#include "core/stats.h"
#include "mm/frames.h"

enum icr_bits { /* SDM vol. 3, "Interrupt Command Register (ICR)" */
		ICR_VECTOR = 0xff,
		ICR_MODE = 7 << 8,
		ICR_MODE_INIT = 5 << 8,
		ICR_MODE_SIPI = 6 << 8,
		ICR_LOGICAL = BIT(11),
		ICR_ASSERT = BIT(14),
		ICR_LEVEL = BIT(15),
		ICR_SHORTHAND = 3 << 18,
		ICR_SELF = 1 << 18,
		ICR_ALL = 2 << 18,
		ICR_OTHERS = 3 << 18,
};

enum apic_register {
	APIC_VERSION = 0x30,
	APIC_TPR = 0x80,
	APIC_EOI = 0xb0,
	APIC_LDR = 0xd0,
	APIC_DFR = 0xe0,
	APIC_SVR = 0xf0,
	APIC_ISR = 0x100,
	APIC_LVT_CMCI = 0x2f0,
	APIC_ICR_LOW = 0x300,
	APIC_ICR_HIGH = 0x310,
	APIC_LVT_TIMER = 0x320,
	APIC_LVT_THERMAL = 0x330,
	APIC_LVT_PERFORMANCE = 0x340,
	APIC_LVT_LINT0 = 0x350,
	APIC_LVT_LINT1 = 0x360,
	APIC_LVT_ERROR = 0x370,
	APIC_TIMER_COUNT = 0x380,
	APIC_TIMER_DIVIDE = 0x3e0,
};

#define LVT_MASKED 0x10000u

/* Logical addressing, which only the CPU itself can read. */
static struct {
	u32 ldr, dfr;
} logical[CPU_MAX];

static bool in_x2apic_mode(void)
{
	return rdmsr(MSR_APIC_BASE) & APIC_BASE_X2APIC;
}

static void note_logical(struct cpu *cpu)
{
	if (in_x2apic_mode())
		return;
	logical[cpu->index].ldr = apic_read(APIC_LDR) >> 24;
	logical[cpu->index].dfr = apic_read(APIC_DFR) >> 28;
}

void mgmt_apic_cpu_init(struct cpu *cpu)
{
	note_logical(cpu);
}

/* SDM vol. 3, "Determining IPI Destination" and "Logical Destination Mode in x2APIC Mode". */
static bool logical_match(const struct cpu *target, u32 destination, bool x2apic)
{
	u32 id = target->apic_id;

	if (x2apic) {
		if (destination == ~0u)
			return true;
		return destination >> 16 == id >> 4 && destination & BIT(id & 15);
	}
	if (logical[target->index].dfr == 0xf) /* flat */
		return destination & logical[target->index].ldr;
	return (destination >> 4 == 15 || destination >> 4 == logical[target->index].ldr >> 4) &&
	       destination & logical[target->index].ldr & 15;
}

static bool matches(const struct cpu *self, const struct cpu *target, u64 icr, bool x2apic)
{
	u32 destination = x2apic ? icr >> 32 : icr >> 56;

	switch (icr & ICR_SHORTHAND) {
	case ICR_SELF:
		return target == self;
	case ICR_ALL:
		return true;
	case ICR_OTHERS:
		return target != self;
	}
	if (icr & ICR_LOGICAL)
		return logical_match(target, destination, x2apic);
	return destination == (x2apic ? ~0u : 0xff) || destination == target->apic_id;
}

void mgmt_kick(struct cpu *self, struct cpu *target)
{
	if (target == self)
		return;
	if (__atomic_exchange_n(&target->kick_pending, 1, __ATOMIC_SEQ_CST) == 0 ||
	    __atomic_load_n(&target->waiting_for_sipi, __ATOMIC_SEQ_CST))
		apic_send_nmi(target->apic_id);
}

static void post_init(struct cpu *self, struct cpu *target)
{
	/* A SIPI that still waits came before this INIT: it is void. */
	__atomic_fetch_and(&target->request, ~(u32)CPU_REQUEST_SIPI, __ATOMIC_SEQ_CST);
	__atomic_fetch_or(&target->request, CPU_REQUEST_INIT, __ATOMIC_SEQ_CST);
	mgmt_kick(self, target);
}

static void post_sipi(struct cpu *self, struct cpu *target, u8 vector)
{
	if (__atomic_load_n(&target->request, __ATOMIC_SEQ_CST) & CPU_REQUEST_SIPI)
		return; /* the second of INIT-SIPI-SIPI */
	__atomic_store_n(&target->sipi_vector, vector, __ATOMIC_RELAXED);
	__atomic_fetch_or(&target->request, CPU_REQUEST_SIPI, __ATOMIC_SEQ_CST);
	mgmt_kick(self, target);
}

bool mgmt_apic_icr(struct cpu *cpu, u64 icr, bool x2apic)
{
	u64 mode = icr & ICR_MODE;
	bool found = false;

	if (mode != ICR_MODE_INIT && mode != ICR_MODE_SIPI)
		return false;
	/* SDM: "INIT Level De-assert" only synchronises arbitration IDs, on old processors. */
	if (mode == ICR_MODE_INIT && icr & ICR_LEVEL && !(icr & ICR_ASSERT))
		return true;
	for (u32 i = 0; i < cpu_count; i++) {
		if (!matches(cpu, cpus[i], icr, x2apic))
			continue;
		found = true;
		if (mode == ICR_MODE_INIT)
			post_init(cpu, cpus[i]);
		else
			post_sipi(cpu, cpus[i], icr & ICR_VECTOR);
	}
	if (!found && (icr & ICR_SHORTHAND) == 0) {
		__atomic_fetch_add(&mgmt_counters.dropped_sipis, 1, __ATOMIC_RELAXED);
		log_limited(LOG_WARN,
			    "management guest: INIT or SIPI to no CPU of Keel's, ICR %llx",
			    (unsigned long long)icr);
	}
	return true;
}

static int apic_page_read(struct bus_device *device, struct vcpu *vcpu, u64 offset, u32 size,
			  u64 *value)
{
	*value = 0;
	/* SDM vol. 3, "The Local APIC Block Diagram": 32-bit accesses, on 16-byte boundaries. */
	if (size == 4 && offset % 16 == 0 && !in_x2apic_mode())
		*value = apic_read(offset);
	return 0;
}

static int apic_page_write(struct bus_device *device, struct vcpu *vcpu, u64 offset, u32 size,
			   u64 value)
{
	struct cpu *cpu = vcpu->cpu;

	/* In x2APIC mode there are no registers here, and what the MSRs lack would fault in root.
	 */
	if (size != 4 || offset % 16 != 0 || in_x2apic_mode())
		return 0;
	if (offset == APIC_ICR_LOW &&
	    mgmt_apic_icr(cpu, (u64)apic_read(APIC_ICR_HIGH) << 32 | (u32)value, false))
		return 0;
	apic_write(offset, value);
	if (offset == APIC_LDR || offset == APIC_DFR)
		note_logical(cpu);
	return 0;
}

static struct bus_device apic_page = {
	.base = MGMT_APIC_PAGE,
	.length = PAGE_SIZE,
	.read = apic_page_read,
	.write = apic_page_write,
};

int mgmt_apic_init(struct vm *vm)
{
	return bus_add(&vm->mmio, &apic_page);
}

/* SDM vol. 3, "Local APIC Version Register": which entries there are; others fault as MSRs. */
static void mask_vectors(void)
{
	u32 last = apic_read(APIC_VERSION) >> 16 & 0xff;

	apic_write(APIC_LVT_TIMER, LVT_MASKED);
	apic_write(APIC_LVT_LINT0, LVT_MASKED);
	apic_write(APIC_LVT_LINT1, LVT_MASKED);
	apic_write(APIC_LVT_ERROR, LVT_MASKED);
	if (last >= 4)
		apic_write(APIC_LVT_PERFORMANCE, LVT_MASKED);
	if (last >= 5)
		apic_write(APIC_LVT_THERMAL, LVT_MASKED);
	if (last >= 6)
		apic_write(APIC_LVT_CMCI, LVT_MASKED);
}

/*
 * SDM vol. 3, "Local APIC State After an INIT Reset": the page's own registers, as far as software
 * can set them. IRR cannot be cleared; a disabled APIC delivers nothing from it.
 */
static void reset_apic(struct cpu *cpu)
{
	if (!(rdmsr(MSR_APIC_BASE) & APIC_BASE_ENABLE))
		return;
	mask_vectors();
	apic_write(APIC_TIMER_COUNT, 0);
	apic_write(APIC_TIMER_DIVIDE, 0);
	apic_write(APIC_TPR, 0);
	/* In-service interrupts end one by one, at most one for each vector. */
	for (u32 i = 0; i < 256; i++) {
		u32 busy = 0;

		for (u32 word = 0; word < 8; word++)
			busy |= apic_read(APIC_ISR + word * 16);
		if (!busy)
			break;
		apic_write(APIC_EOI, 0);
	}
	apic_write(APIC_SVR, 0xff);
	if (!in_x2apic_mode()) {
		apic_write(APIC_DFR, ~0u);
		apic_write(APIC_LDR, 0);
	}
	note_logical(cpu);
}

static void handle_init(struct vcpu *vcpu, struct cpu *cpu)
{
	vcpu_reset(vcpu, true);
	vcpu->v.gpr[GPR_RDX] = cpuid(1, 0).eax;
	/* Its DR0 to DR3, cleared, go to the processor at the next entry. */
	vcpu->v.dr_live = true;
	cpu->dr_owner = NULL;
	virt->intercept(&vcpu->v, INTERCEPT_NMI);
	reset_apic(cpu);
	/* The BSP does not wait: it starts at the reset vector, where vcpu_reset() left it. */
	__atomic_store_n(&cpu->waiting_for_sipi, !(rdmsr(MSR_APIC_BASE) & APIC_BASE_BSP),
			 __ATOMIC_SEQ_CST);
}

/* SDM vol. 3, "MP Initialization Protocol": the vector names the 4 KiB page where it starts. */
static void handle_sipi(struct vcpu *vcpu, struct cpu *cpu)
{
	u8 vector = __atomic_load_n(&cpu->sipi_vector, __ATOMIC_RELAXED);
	struct segment cs;

	virt->get_segment(&vcpu->v, SEG_CS, &cs);
	cs.selector = vector << 8;
	cs.base = (u64)vector << 12;
	virt->set_segment(&vcpu->v, SEG_CS, &cs);
	vcpu->v.rip = 0;
	vcpu->mp_state = MP_RUNNABLE;
	/*
	 * Stored before the entry reads the tables' generation: mgmt_epoch_passed() counts on it.
	 * The epoch is noted first, so that one that has passed does not look as if it had not.
	 */
	mgmt_epoch_seen(cpu);
	__atomic_store_n(&cpu->waiting_for_sipi, false, __ATOMIC_SEQ_CST);
}

/*
 * What root's handlers have taken. True: an NMI. A machine check is the guest's (design D3); a CPU
 * that waits for a SIPI has no handler for it.
 */
static bool collect(struct cpu *cpu)
{
	u8 flags = __atomic_exchange_n(&cpu->root_flags, 0, __ATOMIC_SEQ_CST);

	if (flags & CPU_ROOT_MCE && !cpu->waiting_for_sipi)
		vcpu_queue_exception(cpu->management, VECTOR_MC, false, 0);
	return flags & CPU_ROOT_NMI;
}

/* Opens root to NMIs, and to a machine check that was held back. */
static void take_nmi(struct cpu *cpu, bool sleep)
{
	virt->take_nmi(cpu, sleep);
	if (collect(cpu))
		__atomic_store_n(&cpu->kick_pending, 0, __ATOMIC_SEQ_CST);
}

void mgmt_cpu_requests(struct vcpu *vcpu)
{
	struct cpu *cpu = vcpu->cpu;

	for (;;) {
		u32 request = __atomic_exchange_n(&cpu->request, 0, __ATOMIC_SEQ_CST);

		if (request & CPU_REQUEST_INIT)
			handle_init(vcpu, cpu);
		/* A CPU that does not wait for one ignores a SIPI. */
		if (request & CPU_REQUEST_SIPI && cpu->waiting_for_sipi) {
			take_nmi(cpu, false); /* the kicks, and what came while it waited */
			handle_sipi(vcpu, cpu);
		}
		if (__atomic_load_n(&cpu->request, __ATOMIC_SEQ_CST))
			continue;
		/* Whoever posts from now on finds waiting_for_sipi or no kick_pending, or kicked.
		 */
		if (!cpu->waiting_for_sipi)
			return;
		take_nmi(cpu, true);
	}
}

void mgmt_root_flags(struct vcpu *vcpu)
{
	/*
	 * The flags are cleared first. A kick that is sent in between sets them again: this NMI
	 * then counts as that kick, and the kick as this NMI.
	 */
	if (collect(vcpu->cpu) &&
	    !__atomic_exchange_n(&vcpu->cpu->kick_pending, 0, __ATOMIC_SEQ_CST)) {
		stats_nmi();
		vcpu_post_nmi(vcpu);
	}
}

void mgmt_nmi(struct vcpu *vcpu)
{
	cpu_check_panic();
	if (virt->nmi_taken) {
		mgmt_root_flags(vcpu);
		return;
	}
	if (__atomic_load_n(&vcpu->cpu->kick_pending, __ATOMIC_SEQ_CST)) {
		take_nmi(vcpu->cpu, false);
		return;
	}
	stats_nmi();
	virt->intercept(&vcpu->v, INTERCEPT_NMI_WINDOW);
}

void mgmt_nmi_window(struct vcpu *vcpu)
{
	if (virt->nmi_taken)
		vcpu_set_request(vcpu, REQUEST_EVENT);
	else
		virt->intercept(&vcpu->v, INTERCEPT_NMI);
}
