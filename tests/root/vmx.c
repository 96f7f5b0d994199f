/* SPDX-License-Identifier: MIT */
/* vmx/run.c with broken VMCSs before entries of a child, and a look at root's state behind each. */
#define vmx_run vmx_run_valid
#include "vmx/run.c"
#undef vmx_run

#include "arch-x86/regs.h"
#include "tests/root/host_state.h"
#include "tests/root/sample.h"

#define ALL	      ~0ull
#define NOT_CANONICAL BIT(47)

/* The subjects are vmx/dump.c's. */
static const struct sample samples[] = {
	{VMCS_PIN_CONTROLS, 0, BIT(1), 0, "the pin-based controls"},
	{VMCS_CPU_CONTROLS, 0, BIT(1), 0, "the processor-based controls"},
	{VMCS_CPU_CONTROLS2, 0, 0, BIT(31), "the secondary processor-based controls"},
	{VMCS_CR3_TARGET_COUNT, 0, 0, 5, "the CR3-target count"},
	{VMCS_IO_BITMAP_A, 0, 0, BIT(4), "I/O bitmap A"},
	{VMCS_IO_BITMAP_B, 0, 0, BIT(62), "I/O bitmap B"},
	{VMCS_MSR_BITMAP, 0, 0, BIT(11), "the MSR bitmap"},
	{VMCS_VIRTUAL_APIC, 0, 0, BIT(3), "the virtual-APIC address"},
	{VMCS_TPR_THRESHOLD, 0, 0, BIT(4), "the TPR threshold"},
	{VMCS_VPID, 0, ALL, 0, "the VPID"},
	{VMCS_EPTP, 0, 0, 7, "the EPTP's memory type"},
	{VMCS_EPTP, 0, MASK(5, 3), 0, "the EPTP's walk length"},
	{VMCS_EPTP, 0, 0, BIT(62), "the EPTP"},
	{VMCS_EXIT_CONTROLS, 0, BIT(0), 0, "the exit controls"},
	{VMCS_EXIT_CONTROLS, 0, 0, VMEXIT_SAVE_PREEMPTION_TIMER, "save VMX-preemption timer value"},
	{VMCS_ENTRY_CONTROLS, 0, BIT(0), 0, "the entry controls"},
	{VMCS_ENTRY_INTR_INFO, 0, ALL, INTR_VALID | 1 << 8, "the injected event"},
	{VMCS_ENTRY_INTR_INFO, 0, ALL, INTR_VALID | INTR_TYPE_NMI | 3, "an injected NMI"},
	{VMCS_ENTRY_INTR_INFO, 0, ALL, INTR_VALID | INTR_TYPE_HARD_EXCEPTION | 32,
	 "an injected exception"},
	{VMCS_HOST_CR0, 0, CR0_NE, 0, "the host's CR0"},
	{VMCS_HOST_CR4, 0, CR4_VMXE, 0, "the host's CR4"},
	{VMCS_HOST_CR3, 0, 0, BIT(62), "the host's CR3"},
	{VMCS_HOST_SYSENTER_ESP, 0, ALL, NOT_CANONICAL, "the host's IA32_SYSENTER_ESP"},
	{VMCS_HOST_PAT, 0, 0xff, 2, "the host's IA32_PAT"},
	{VMCS_HOST_EFER, 0, EFER_LMA, 0, "the host's IA32_EFER"},
	{VMCS_HOST_CS_SELECTOR, 0, ALL, 0, "the host's CS"},
	{VMCS_HOST_TR_SELECTOR, 0, ALL, 0, "the host's TR"},
	{VMCS_HOST_DS_SELECTOR, 0, 0, 3, "the host's DS"},
	{VMCS_HOST_GDTR_BASE, 0, NOT_CANONICAL, 0, "the host's GDTR base"},
	{VMCS_HOST_RIP, 0, NOT_CANONICAL, 0, "the host's RIP"},
	{VMCS_GUEST_CR0, 0, CR0_NE, 0, "CR0"},
	{VMCS_GUEST_CR0, 0, CR0_PE, 0, "CR0.PE"},
	{VMCS_GUEST_CR4, 0, CR4_VMXE, 0, "CR4"},
	{VMCS_GUEST_CR4, 0, CR4_PAE, 0, "CR4.PAE"},
	{VMCS_GUEST_CR3, 0, 0, BIT(62), "CR3"},
	{VMCS_GUEST_DR7, 0, 0, BIT(32), "DR7"},
	{VMCS_GUEST_SYSENTER_EIP, 0, ALL, NOT_CANONICAL, "IA32_SYSENTER_EIP"},
	{VMCS_GUEST_PAT, 0, 0xff, 3, "IA32_PAT"},
	{VMCS_GUEST_EFER, 0, 0, BIT(1), "IA32_EFER"},
	{VMCS_GUEST_CS_ACCESS, 0, 0, (u64)SEG_DB << 4, "CS"},
	{VMCS_GUEST_CS_LIMIT, 0, 1, 0, "CS"},
	{VMCS_GUEST_SS_ACCESS, 0, SEG_TYPE, 1, "SS"},
	{VMCS_GUEST_DS_ACCESS, 0, SEG_P, 0, "DS"},
	{VMCS_GUEST_FS_BASE, 0, ALL, NOT_CANONICAL, "FS"},
	{VMCS_GUEST_TR_ACCESS, 0, SEG_TYPE, 9, "TR"},
	{VMCS_GUEST_LDTR_SELECTOR, 0, 0, 4, "LDTR"},
	{VMCS_GUEST_GDTR_LIMIT, 0, 0, BIT(16), "the GDTR's limit"},
	{VMCS_GUEST_IDTR_BASE, 0, ALL, NOT_CANONICAL, "the IDTR's base"},
	{VMCS_GUEST_RFLAGS, 0, RFLAGS_ONE, 0, "RFLAGS"},
	{VMCS_GUEST_ACTIVITY, 0, 0, 4, "the activity state"},
	{VMCS_GUEST_INTERRUPTIBILITY, 0, 0, BIT(6), "the interruptibility state"},
	{VMCS_GUEST_INTERRUPTIBILITY, 0, 0, BLOCKED_BY_STI, "blocking by STI"},
	{VMCS_GUEST_PENDING_DEBUG, 0, 0, BIT(5), "the pending debug exceptions"},
	{VMCS_LINK_POINTER, 0, 1, 0, "the VMCS link pointer"},
};

static u64 sample_read(struct virt_vcpu *v, const struct sample *s)
{
	vmx_current(v);
	return vmread(s->field);
}

static void sample_write(struct virt_vcpu *v, const struct sample *s, u64 value)
{
	vmwrite(s->field, value);
}

static void sample_rules(struct virt_vcpu *v, struct rules *r)
{
	vmx_broken_rules(v, r);
}

static void sample_run(struct virt_vcpu *v, struct vm_exit *e)
{
	host_state_before();
	vmx_run_valid(v, e);
	host_state_after();
}

static bool sample_can(struct virt_vcpu *v)
{
	return vmx_of(v)->entry & VMENTRY_IA32E && !vmx_of(v)->injected;
}

void vmx_run(struct virt_vcpu *v, struct vm_exit *e);
void vmx_run(struct virt_vcpu *v, struct vm_exit *e)
{
	sample_next(v, e, samples, ARRAY_SIZE(samples));
}
