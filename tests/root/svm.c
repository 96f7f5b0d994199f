/* SPDX-License-Identifier: MIT */
/* svm/run.c with broken VMCBs before entries of a child. */
#define svm_run svm_run_valid
#include "svm/run.c"
#undef svm_run

#include "arch-x86/regs.h"
#include "lib/string.h"
#include "tests/root/sample.h"

#define FIELD(member) offsetof(struct vmcb, member), sizeof(((struct vmcb *)0)->member)

/* The subjects are svm/dump.c's. */
static const struct sample samples[] = {
	{FIELD(efer), EFER_SVME, 0, "EFER.SVME"},
	{FIELD(cr0), CR0_CD, CR0_NW, "CR0.NW"},
	{FIELD(cr0), 0, BIT(32), "CR0[63:32]"},
	{FIELD(cr4), 0, BIT(31), "CR4"},
	{FIELD(cr4), CR4_PAE, 0, "CR4.PAE"},
	{FIELD(dr6), 0, BIT(32), "DR6[63:32]"},
	{FIELD(dr7), 0, BIT(32), "DR7[63:32]"},
	{FIELD(efer), 0, BIT(1), "EFER"},
	{FIELD(cs.attr), 0, SEG_DB, "CS"},
	{FIELD(intercepts[SVM_VMRUN / 32]), BIT(SVM_VMRUN % 32), 0, "the VMRUN intercept"},
	{FIELD(asid), ~0ull, 0, "the ASID"},
	{FIELD(iopm_base), 0, BIT(62), "IOPM_BASE_PA"},
	{FIELD(msrpm_base), 0, BIT(62), "MSRPM_BASE_PA"},
	{FIELD(event_inject), ~0ull, VMCB_EVENT_VALID | 1 << 8, "EVENTINJ"},
	{FIELD(event_inject), ~0ull, VMCB_EVENT_VALID | VMCB_EVENT_EXCEPTION | 32, "EVENTINJ"},
	{FIELD(n_cr3), 0, BIT(62), "N_CR3"},
	{FIELD(g_pat), 0xff, 2, "G_PAT"},
};

static u64 sample_read(struct virt_vcpu *v, const struct sample *s)
{
	u64 value = 0;

	memcpy(&value, (const char *)v->hw + s->field, s->size);
	return value;
}

static void sample_write(struct virt_vcpu *v, const struct sample *s, u64 value)
{
	memcpy((char *)v->hw + s->field, &value, s->size);
	v->dirty |= CLEAN_ALL;
}

/* QEMU 7.2 and Bochs 2.7 write root's own state to a VMCB that they refuse. */
static void svm_run_apart(struct virt_vcpu *v, struct vm_exit *e)
{
	static struct vmcb before;

	before = *vmcb_of(v);
	svm_run_valid(v, e);
	if (e->reason == EXIT_INVALID)
		*vmcb_of(v) = before;
}

static void sample_rules(struct virt_vcpu *v, struct rules *r)
{
	svm_broken_rules(vmcb_of(v), r);
}

static void sample_run(struct virt_vcpu *v, struct vm_exit *e)
{
	svm_run_apart(v, e);
}

static bool sample_can(struct virt_vcpu *v)
{
	return vmcb_of(v)->efer & EFER_LMA && !v->virq_event &&
	       !(vmcb_of(v)->event_inject & VMCB_EVENT_VALID);
}

void svm_run(struct virt_vcpu *v, struct vm_exit *e);
void svm_run(struct virt_vcpu *v, struct vm_exit *e)
{
	sample_next(v, e, samples, ARRAY_SIZE(samples));
}
