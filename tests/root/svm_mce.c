/* SPDX-License-Identifier: MIT */
/*
 * svm/run.c on a QEMU that intercepts machine checks. QEMU 7.2 delivers #MC through the guest's IDT
 * without a look at the intercept: so a child's IDT ends before #MC's gate here, and the #GP during
 * that delivery, which is intercepted, becomes the #MC exit that a processor makes in its place.
 * Children must be content with the exceptions below vector 18, and raise no #GP.
 */
#define svm_enter svm_enter_short
#include "svm/run.c"
#undef svm_enter

#include "arch-x86/regs.h"
#include "tests/root/host_state.h"

#define GATE 8 /* bytes, in protected mode */

void svm_enter(struct virt_vcpu *v);
void svm_enter_short(struct virt_vcpu *v)
{
	struct vmcb *vmcb = vmcb_of(v);
	u32 limit = vmcb->idtr.limit, gp = SVM_EXCEPTION + VECTOR_GP;

	host_state_before();
	if (v->vm->kind != VIRT_CHILD) {
		svm_enter(v);
		host_state_after();
		return;
	}
	vmcb->idtr.limit = MIN(limit, VECTOR_MC * GATE - 1);
	vmcb->intercepts[gp / 32] |= BIT(gp % 32);
	v->dirty |= CLEAN_ALL;
	svm_enter(v);
	host_state_after();
	vmcb->idtr.limit = limit;
	vmcb->intercepts[gp / 32] &= ~(u32)BIT(gp % 32);
	if (vmcb->exit_code != gp ||
	    vmcb->exit_int_info != (VMCB_EVENT_VALID | VMCB_EVENT_EXCEPTION | VECTOR_MC))
		return;
	vmcb->exit_code = SVM_EXCEPTION + VECTOR_MC;
	vmcb->exit_int_info = 0;
}
