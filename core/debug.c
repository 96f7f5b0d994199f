// SPDX-License-Identifier: MIT
/*
 * Debug registers. Normally DR0 to DR3 of the management guest stay on the processor and the
 * guest's MOV DR exits once; from then on its own are loaded whenever it runs. While the VMM uses
 * hardware breakpoints, the processor has the VMM's and the guest's stand in guest_dr.
 */
#include "core/debug.h"

#include "arch-x86/regs.h"
#include "core/event.h"
#include "core/vm.h"

#define CONTROL_BITS                                                                               \
	(DEBUG_ENABLE | DEBUG_SINGLE_STEP | DEBUG_SW_BREAKPOINT | DEBUG_HW_BREAKPOINT |            \
	 DEBUG_INJECT_DB | DEBUG_INJECT_BP | DEBUG_BLOCK_INTERRUPTS)

static bool vmm_owns(const struct vcpu *vcpu)
{
	return vcpu->debug.control & DEBUG_HW_BREAKPOINT;
}

static bool stepping(const struct vcpu *vcpu)
{
	return vcpu->debug.control & DEBUG_SINGLE_STEP;
}

u32 debug_intercepts(const struct vcpu *vcpu)
{
	/* A child's #UD is perhaps the other vendor's hypercall. */
	u32 set = vcpu->vm->virt.kind == VIRT_CHILD ? INTERCEPT_UD : 0;

	/* With INTERCEPT_DB the guest's DR6 is not on the processor. */
	if (vmm_owns(vcpu) || stepping(vcpu))
		set |= INTERCEPT_MOV_DR | INTERCEPT_DB;
	if (vcpu->debug.control & DEBUG_SW_BREAKPOINT)
		set |= INTERCEPT_BP;
	return set;
}

bool debug_owns_moves(const struct vcpu *vcpu)
{
	return debug_intercepts(vcpu) & INTERCEPT_MOV_DR;
}

bool debug_blocks_interrupts(const struct vcpu *vcpu)
{
	return vcpu->debug.control & DEBUG_BLOCK_INTERRUPTS;
}

static void refresh_intercepts(struct vcpu *vcpu)
{
	/* The backend derives the MOV DR intercept from dr_live too, so it is told in any case. */
	u32 windows = vcpu->intercepts &
		      (INTERCEPT_INTR_WINDOW | INTERCEPT_NMI_WINDOW | INTERCEPT_CR8_WRITE);

	vcpu->intercepts = windows | debug_intercepts(vcpu);
	virt->intercept(&vcpu->v, vcpu->intercepts);
}

void vcpu_update_debug(struct vcpu *vcpu)
{
	const u64 *dr = vmm_owns(vcpu) ? vcpu->debug.dr : vcpu->guest_dr;
	u64 dr7 = vmm_owns(vcpu) ? vcpu->debug.dr7 : vcpu->guest_dr7;

	for (u32 i = 0; i < 4; i++)
		vcpu->v.dr[i] = dr[i];
	virt->set(&vcpu->v, VREG_DR7, dr7 | DR7_ONE);
	vcpu->v.dr_live = (dr7 & DR7_ENABLE) != 0;
	refresh_intercepts(vcpu);
}

void debug_go_live(struct vcpu *vcpu)
{
	vcpu_update_debug(vcpu);
	vcpu->v.dr_live = true;
	refresh_intercepts(vcpu);
}

void debug_sync(struct vcpu *vcpu)
{
	if (!vcpu->v.dr_live || vmm_owns(vcpu))
		return;
	for (u32 i = 0; i < 4; i++)
		vcpu->guest_dr[i] = vcpu->v.dr[i];
	vcpu->guest_dr7 = virt->get(&vcpu->v, VREG_DR7);
	if (!(vcpu->guest_dr7 & DR7_ENABLE)) {
		vcpu->v.dr_live = false;
		refresh_intercepts(vcpu);
	}
}

void debug_clear_gd(struct vcpu *vcpu)
{
	vcpu->guest_dr7 &= ~(u64)DR7_GD;
	if (!vmm_owns(vcpu))
		virt->set(&vcpu->v, VREG_DR7, virt->get(&vcpu->v, VREG_DR7) & ~(u64)DR7_GD);
}

int debug_set(struct vcpu *vcpu, u32 control, const u64 debugreg[8])
{
	u32 inject = control & (DEBUG_INJECT_DB | DEBUG_INJECT_BP);
	u64 rflags = vcpu_rflags(vcpu);

	if (control & ~(u64)CONTROL_BITS)
		return -EINVAL;
	if (inject && (vcpu->events.exception.pending || vcpu->events.exception.injected))
		return -EBUSY;
	if (control & DEBUG_INJECT_DB)
		vcpu_queue_exception(vcpu, VECTOR_DB, false, 0);
	else if (inject)
		vcpu_queue_exception(vcpu, VECTOR_BP, false, 0);
	vcpu->debug.control = control & DEBUG_ENABLE ? control & ~inject : 0;
	for (u32 i = 0; i < 4; i++)
		vcpu->debug.dr[i] = debugreg[i];
	/* GD would trap the hypervisor's idea of who may touch them; reserved bits would fault. */
	vcpu->debug.dr7 = (debugreg[7] & 0xffff03ff) | DR7_ONE;
	vcpu_update_debug(vcpu);
	vcpu_set_rflags(vcpu, rflags);
	vcpu_set_request(vcpu, REQUEST_EVENT); /* interrupts may be blocked or free now */
	return 0;
}

void debug_exit(struct vcpu *vcpu, u32 exception, u64 dr6)
{
	vcpu->exit.reason = USER_DEBUG;
	vcpu->exit.debug.exception = exception;
	vcpu->exit.debug.pc = vcpu_linear_rip(vcpu);
	vcpu->exit.debug.dr6 = dr6;
	vcpu->exit.debug.dr7 = vmm_owns(vcpu) ? vcpu->debug.dr7 : vcpu->guest_dr7;
}

bool debug_exception(struct vcpu *vcpu, u8 vector, u64 dr6)
{
	u64 mine = 0;

	if (vector == VECTOR_BP) {
		if (!(vcpu->debug.control & DEBUG_SW_BREAKPOINT))
			return false;
		debug_exit(vcpu, VECTOR_BP, 0);
		return true;
	}
	if (stepping(vcpu))
		mine |= DR6_BS;
	if (vmm_owns(vcpu))
		mine |= DR6_B0 | DR6_B1 | DR6_B2 | DR6_B3;
	if (!(dr6 & mine))
		return false;
	debug_exit(vcpu, VECTOR_DB, (dr6 & mine) | DR6_INIT);
	return true;
}

/* SDM vol. 3, "Debug Registers": DR4 and DR5 are DR6 and DR7, or #UD with CR4.DE. */
static int check_number(struct vcpu *vcpu, u32 *nr)
{
	if (*nr > 7)
		return -EPERM;
	if (*nr == 4 || *nr == 5) {
		if (virt->get(&vcpu->v, VREG_CR4) & CR4_DE)
			return -EPERM;
		*nr += 2;
	}
	if (virt->get(&vcpu->v, VREG_CPL))
		return -EINVAL;
	if (vcpu->guest_dr7 & DR7_GD) {
		event_queue_debug(vcpu, DR6_BD);
		return -EBUSY;
	}
	return 0;
}

int debug_read(struct vcpu *vcpu, u32 nr, u64 *value)
{
	int error = check_number(vcpu, &nr);

	if (error)
		return error;
	if (nr < 4)
		*value = vcpu->guest_dr[nr];
	else
		*value = nr == 6 ? virt->get(&vcpu->v, VREG_DR6) : vcpu->guest_dr7;
	return 0;
}

int debug_write(struct vcpu *vcpu, u32 nr, u64 value)
{
	int error = check_number(vcpu, &nr);

	if (error)
		return error;
	if (nr < 4) {
		vcpu->guest_dr[nr] = value;
	} else if (value >> 32) {
		return -EINVAL;
	} else if (nr == 6) {
		virt->set(&vcpu->v, VREG_DR6, (value & (MASK(15, 13) | MASK(3, 0))) | DR6_INIT);
		return 0;
	} else {
		vcpu->guest_dr7 = (value & 0xffff23ff) | DR7_ONE;
	}
	vcpu_update_debug(vcpu);
	return 0;
}
