// SPDX-License-Identifier: MIT
/* A vCPU's life outside of the run loop: reset, kicks, and the views of its state. */
#include "core/vcpu.h"

#include "arch-x86/apic.h"
#include "arch-x86/cpu.h"
#include "arch-x86/insn.h"
#include "arch-x86/regs.h"
#include "core/cpuid.h"
#include "core/debug.h"
#include "core/event.h"
#include "core/msr.h"
#include "core/vm.h"
#include "mm/guest_walk.h"

u8 vcpu_kick_vector;

void vcpu_interrupt(struct vcpu *vcpu)
{
	struct cpu *cpu;

	if (!__atomic_load_n(&vcpu->in_guest, __ATOMIC_SEQ_CST))
		return;
	cpu = __atomic_load_n(&vcpu->cpu, __ATOMIC_RELAXED);
	if (cpu && cpu != this_cpu() && vcpu_kick_vector)
		apic_send_ipi(cpu->apic_id, vcpu_kick_vector);
}

/*
 * The pair of stores and loads here and in core/run.c is ordered both ways: either the kicker sees
 * in_guest or sleeping, or the vCPU sees the request before it enters or sleeps.
 */
void vcpu_kick(struct vcpu *vcpu, u32 bits)
{
	vcpu_set_request(vcpu, bits);
	vcpu_interrupt(vcpu);
	if (__atomic_load_n(&vcpu->sleeping, __ATOMIC_SEQ_CST))
		__atomic_fetch_or(&vcpu->vm->wake[vcpu->index / 64], BIT(vcpu->index % 64),
				  __ATOMIC_SEQ_CST);
}

void vcpu_post_nmi(struct vcpu *vcpu)
{
	u8 *queued = &vcpu->events.nmi_queued;
	u8 old = __atomic_load_n(queued, __ATOMIC_RELAXED);

	/* One being handled and one latched; the processor drops more. Bounded: it only grows. */
	while (old < 2 && !__atomic_compare_exchange_n(queued, &old, (u8)(old + 1), false,
						       __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
		;
	vcpu_kick(vcpu, REQUEST_NMI | REQUEST_EVENT);
}

void vcpu_post_init(struct vcpu *vcpu)
{
	/* An INIT cancels a SIPI that came before it. */
	__atomic_fetch_and(&vcpu->request, ~(u32)REQUEST_SIPI, __ATOMIC_SEQ_CST);
	vcpu_kick(vcpu, REQUEST_INIT);
}

void vcpu_post_sipi(struct vcpu *vcpu, u8 vector)
{
	__atomic_store_n(&vcpu->sipi_vector, vector, __ATOMIC_RELAXED);
	vcpu_kick(vcpu, REQUEST_SIPI);
}

static void set_segment(struct vcpu *vcpu, enum seg seg, u16 selector, u64 base, u16 attr)
{
	struct segment s = {.selector = selector, .attr = attr, .limit = 0xffff, .base = base};

	virt->set_segment(&vcpu->v, seg, &s);
}

static void reset_segments(struct vcpu *vcpu)
{
	enum { DATA = SEG_P | SEG_S | 3, CODE = SEG_P | SEG_S | 0xb };

	for (u32 seg = SEG_ES; seg <= SEG_GS; seg++)
		set_segment(vcpu, seg, 0, 0, DATA);
	set_segment(vcpu, SEG_CS, 0xf000, 0xffff0000, CODE);
	set_segment(vcpu, SEG_LDTR, 0, 0, SEG_P | 2);
	set_segment(vcpu, SEG_TR, 0, 0, SEG_P | 0xb);
	set_segment(vcpu, SEG_GDTR, 0, 0, 0);
	set_segment(vcpu, SEG_IDTR, 0, 0, 0);
}

static void reset_registers(struct vcpu *vcpu, bool init)
{
	struct virt_vcpu *v = &vcpu->v;
	u64 kept = init ? virt->get(v, VREG_CR0) & (CR0_CD | CR0_NW) : CR0_CD | CR0_NW;
	const struct cpuid_entry *family = cpuid_find(vcpu, 1, 0);

	for (u32 i = 0; i < GPR_COUNT; i++)
		v->gpr[i] = 0;
	v->gpr[GPR_RDX] = family ? family->eax : 0x600;
	v->rip = 0xfff0;
	virt->set(v, VREG_RFLAGS, RFLAGS_ONE);
	virt->set(v, VREG_EFER, 0);
	virt->set(v, VREG_CR0, kept | CR0_ET);
	virt->set(v, VREG_CR2, 0);
	virt->set(v, VREG_CR3, 0);
	virt->set(v, VREG_CR4, 0);
	virt->set(v, VREG_DR6, DR6_INIT);
	for (u32 i = 0; i < 4; i++)
		vcpu->guest_dr[i] = 0;
	vcpu->guest_dr7 = DR7_INIT;
	virt->set(v, VREG_INT_SHADOW, 0);
	virt->set(v, VREG_NMI_MASKED, 0);
	reset_segments(vcpu);
}

/* SDM vol. 3, "Processor State After Reset". */
void vcpu_reset(struct vcpu *vcpu, bool init)
{
	reset_registers(vcpu, init);
	if (!init) {
		vcpu->xcr0 = XCR0_X87;
		msr_reset(vcpu);
	}
	vcpu->events = (struct vcpu_events){0};
	vcpu->injecting = EVENT_NONE;
	virt->inject(&vcpu->v, &(struct virt_event){.type = EVENT_NONE});
	vcpu->emulation.active = false;
	vcpu->exit_pending = false;
	vcpu->step_hit = false;
	vcpu->fetch.bytes = NULL;
	vcpu->v.flush = true;
	vcpu_update_debug(vcpu);
	vcpu_set_request(vcpu, REQUEST_EVENT);
}

bool vcpu_accept_init(struct vcpu *vcpu)
{
	u32 bits = REQUEST_INIT | REQUEST_SIPI;
	u32 request = __atomic_fetch_and(&vcpu->request, ~bits, __ATOMIC_SEQ_CST) & bits;
	struct segment cs;

	if (request & REQUEST_INIT) {
		vcpu_reset(vcpu, true);
		if (vcpu->vm->irqchip)
			vcpu->vm->irqchip->reset(vcpu);
		vcpu->mp_state = vcpu->id == vcpu->vm->bsp_id ? MP_RUNNABLE : MP_INIT_RECEIVED;
	}
	if (request & REQUEST_SIPI &&
	    (vcpu->mp_state == MP_INIT_RECEIVED || vcpu->mp_state == MP_SIPI_RECEIVED)) {
		virt->get_segment(&vcpu->v, SEG_CS, &cs);
		cs.selector = (vcpu->sipi_vector & 0xff) << 8;
		cs.base = (vcpu->sipi_vector & 0xff) << 12;
		virt->set_segment(&vcpu->v, SEG_CS, &cs);
		vcpu->v.rip = 0;
		vcpu->mp_state = MP_RUNNABLE;
	}
	return vcpu->mp_state != MP_UNINITIALIZED && vcpu->mp_state != MP_INIT_RECEIVED;
}

u64 vcpu_rflags(struct vcpu *vcpu)
{
	u64 rflags = virt->get(&vcpu->v, VREG_RFLAGS);

	return vcpu->debug.control & DEBUG_SINGLE_STEP ? rflags & ~(u64)RFLAGS_TF : rflags;
}

void vcpu_set_rflags(struct vcpu *vcpu, u64 rflags)
{
	if (vcpu->debug.control & DEBUG_SINGLE_STEP)
		rflags |= RFLAGS_TF;
	virt->set(&vcpu->v, VREG_RFLAGS, rflags | RFLAGS_ONE);
}

/* L counts in long mode only: elsewhere the bit is reserved and may be anything. */
static u32 mode_of(struct vcpu *vcpu, const struct segment *cs)
{
	if (cs->attr & SEG_L && virt->get(&vcpu->v, VREG_EFER) & EFER_LMA)
		return 8;
	return cs->attr & SEG_DB ? 4 : 2;
}

u32 vcpu_code_mode(struct vcpu *vcpu)
{
	struct segment cs;

	virt->get_segment(&vcpu->v, SEG_CS, &cs);
	return mode_of(vcpu, &cs);
}

static u64 linear(struct vcpu *vcpu, u64 rip)
{
	struct segment cs;

	virt->get_segment(&vcpu->v, SEG_CS, &cs);
	return mode_of(vcpu, &cs) == 8 ? rip : (u32)(cs.base + rip);
}

u64 vcpu_linear_rip(struct vcpu *vcpu)
{
	return linear(vcpu, vcpu->v.rip);
}

void vcpu_code_changes(struct vcpu *vcpu)
{
	if (!vcpu->exit_pending || vcpu->exit.reason != USER_IO || vcpu->exit.io.linear_known)
		return;
	vcpu->exit.io.linear_rip = linear(vcpu, vcpu->exit.io.rip);
	vcpu->exit.io.linear_known = true;
}

bool vcpu_memory_fault(struct vcpu *vcpu, gpa_t gpa, bool write)
{
	struct memslot slot;

	if (!memslot_get(&vcpu->vm->mem, gpa, &slot) || (write && slot.flags & MEMSLOT_READONLY))
		return false;
	vcpu->exit.memory.gpa = GPA(ALIGN_DOWN(gpa.v, PAGE_SIZE));
	vcpu->exit.memory.hva = slot.hva + (vcpu->exit.memory.gpa.v - (slot.gfn << PAGE_SHIFT));
	vcpu->exit.memory.write = write;
	return true;
}

void vcpu_walk_state(struct vcpu *vcpu, struct walk_state *state)
{
	struct virt_vcpu *v = &vcpu->v;

	*state = (struct walk_state){
		.cr0 = virt->get(v, VREG_CR0),
		.cr3 = virt->get(v, VREG_CR3),
		.cr4 = virt->get(v, VREG_CR4),
		.efer = virt->get(v, VREG_EFER),
		.rflags = virt->get(v, VREG_RFLAGS),
		.physical_bits = vcpu->physical_bits,
	};
	/* While it is loaded, so is its PKRU; RDPKRU needs CR4.PKE in root mode as well. */
	if (state->cr4 & CR4_PKE && v->loaded && read_cr4() & CR4_PKE)
		state->pkru = rdpkru();
	if (!virt->ept)
		return;
	/* SDM vol. 3, "PDPTE Registers": with EPT, PAE paging uses the loaded entries. */
	for (u32 i = 0; i < 4; i++)
		state->pdpte[i] = virt->get(v, VREG_PDPTE0 + i);
	state->pdpte_valid = true;
}

void vcpu_retire(struct vcpu *vcpu)
{
	u64 rflags;

	if (vcpu->v.quiet)
		return;
	rflags = virt->get(&vcpu->v, VREG_RFLAGS);
	virt->set(&vcpu->v, VREG_INT_SHADOW, 0);
	event_look_again(vcpu);
	if (!(rflags & (RFLAGS_RF | RFLAGS_TF)))
		return;
	virt->set(&vcpu->v, VREG_RFLAGS, rflags & ~(u64)RFLAGS_RF);
	/* SDM vol. 3, "Single-Stepping on Branches": with BTF other instructions do not trap. */
	if (!(rflags & RFLAGS_TF) || virt->get(&vcpu->v, VREG_DEBUGCTL) & DEBUGCTL_BTF)
		return;
	if (vcpu->debug.control & DEBUG_SINGLE_STEP) {
		vcpu->step_hit = true;
		vcpu_set_request(vcpu, REQUEST_EVENT);
	} else {
		event_queue_debug(vcpu, DR6_BS);
	}
}

void vcpu_skip(struct vcpu *vcpu, u32 length)
{
	u64 rip = vcpu->v.rip + length;

	/*
	 * In 64-bit mode RIP may step into the non-canonical hole: the fetch there faults in the
	 * guest, as on the processor. Elsewhere it wraps, which only sums beyond 16 bits can show.
	 */
	if ((rip ^ vcpu->v.rip) >> 16 && vcpu->v.rip <= 0xffffffff) {
		u32 mode = vcpu_code_mode(vcpu);

		if (mode == 2 && vcpu->v.rip <= 0xffff)
			rip &= 0xffff;
		else if (mode != 8)
			rip &= 0xffffffff;
	}
	vcpu->v.rip = rip;
	vcpu_retire(vcpu);
}
