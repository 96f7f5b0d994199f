/* SPDX-License-Identifier: MIT */
/* log=teach: the first VMCB, field by field, in the order in which Keel writes it. */
#include "arch-x86/teach.h"

#include "arch-x86/dump.h"
#include "arch-x86/log.h"
#include "svm/internal.h"

/* A note's field is its offset in the VMCB; written by the operation `by`. */
#define STATE(by, member, section, why)                                                            \
	{                                                                                          \
		offsetof(struct vmcb, member), by, why, section                                    \
	}
#define NOTE(member, section, why) STATE(0, member, section, why)

/* setup.c, svm_vcpu_init() */
static const struct teach_note lasting[] = {
	NOTE(intercepts[0], "Instruction Intercepts",
	     "Reads and writes of CR0 to CR15: none, the control registers are the guest's own."),
	NOTE(intercepts[1], "Instruction Intercepts", "Debug registers: the guest's own, too."),
	NOTE(intercepts[2], "Exception Intercepts",
	     "Exceptions go to the guest's own handlers without Keel."),
	NOTE(intercepts[3], "Instruction Intercepts",
	     "What Keel must see: CPUID, to hide SVM; ports and MSRs that the two maps name; INIT "
	     "and shutdown."),
	NOTE(intercepts[4], "Instruction Intercepts",
	     "SVM's own instructions, which do not exist for a guest; VMMCALL is the hypercall. "
	     "VMRUN must be intercepted: VMRUN checks that."),
	NOTE(intercepts[5], "Instruction Intercepts", "Later instructions: none for this guest."),
	NOTE(iopm_base, "IOIO Intercepts",
	     "A bit a port: the ports of the sleep registers alone are watched."),
	NOTE(msrpm_base, "MSR Intercepts",
	     "Two bits an MSR, read and write: EFER, the APIC's base and what would reach Keel."),
	NOTE(np_control, "Enabling Nested Paging",
	     "The guest's physical addresses are translated once more."),
	NOTE(n_cr3, "Nested Paging",
	     "The root of that translation: all of memory but Keel's, one to one."),
	NOTE(efer, "VMRUN Instruction",
	     "SVME must be 1 while the guest runs; it never sees that bit."),
	NOTE(lbr_control, "Last Branch Record Virtualization",
	     "Where the processor can: the last-branch records are switched with the guest."),
	NOTE(int_control, "Virtualizing APIC.TPR",
	     "0 for this guest: interrupts, TPR and their masking are the machine's. A child has "
	     "V_INTR_MASKING."),
	{0},
};

/* core/mgmt.c, set_state(): by the operations set() and set_segment(), in regs.c */
static const struct teach_note state[] = {
	STATE(VREG_RFLAGS, rflags, "VMRUN Instruction", "As it was when the firmware called Keel."),
	STATE(VREG_CR0, cr0, "VMRUN Instruction",
	      "The firmware's, and so on: the machine must notice nothing."),
	STATE(VREG_CR2, cr2, "VMRUN Instruction", "The last page fault's address."),
	STATE(VREG_CR3, cr3, "VMRUN Instruction", "The firmware's page tables."),
	STATE(VREG_CR4, cr4, "VMRUN Instruction", "The firmware's."),
	STATE(VREG_EFER, efer, "VMRUN Instruction",
	      "LME and LMA: the firmware runs in 64-bit mode."),
	STATE(VREG_PAT, g_pat, "Combining Memory Types, MTRRs",
	      "The PAT that nested paging uses for the guest's pages."),
	STATE(VREG_DEBUGCTL, debugctl, "Last Branch Record Virtualization",
	      "Used while the branch records are switched."),
	STATE(VREG_DR6, dr6, "VMRUN Instruction",
	      "VMRUN loads DR6 and DR7; DR0 to DR3 stay on the processor."),
	STATE(VREG_DR7, dr7, "VMRUN Instruction", "Its breakpoints, if it had any."),
	STATE(VREG_STAR, star, "VMSAVE and VMLOAD Instructions",
	      "From here on VMLOAD's part: VMRUN does not load it."),
	STATE(VREG_LSTAR, lstar, "VMSAVE and VMLOAD Instructions", "SYSCALL's 64-bit entry."),
	STATE(VREG_CSTAR, cstar, "VMSAVE and VMLOAD Instructions",
	      "SYSCALL's entry from compatibility mode."),
	STATE(VREG_SFMASK, sfmask, "VMSAVE and VMLOAD Instructions", "RFLAGS that SYSCALL clears."),
	STATE(VREG_KERNEL_GS_BASE, kernel_gs_base, "VMSAVE and VMLOAD Instructions",
	      "What SWAPGS exchanges."),
	STATE(VREG_SYSENTER_CS, sysenter_cs, "VMSAVE and VMLOAD Instructions",
	      "SYSENTER's selector."),
	STATE(VREG_SYSENTER_ESP, sysenter_esp, "VMSAVE and VMLOAD Instructions",
	      "SYSENTER's stack."),
	STATE(VREG_SYSENTER_EIP, sysenter_eip, "VMSAVE and VMLOAD Instructions",
	      "SYSENTER's entry."),
	STATE(VREG_TSC_OFFSET, tsc_offset, "Layout of VMCB",
	      "The machine's own time: nothing is added to the TSC."),
	STATE(TEACH_SEGMENT(SEG_ES), es, "Segment State in the VMCB",
	      "A segment register with its hidden part, which Keel reads from the firmware's GDT."),
	STATE(TEACH_SEGMENT(SEG_CS), cs, "Segment State in the VMCB",
	      "L: the firmware runs in 64-bit mode."),
	STATE(TEACH_SEGMENT(SEG_SS), ss, "Segment State in the VMCB", "The stack's."),
	STATE(TEACH_SEGMENT(SEG_DS), ds, "Segment State in the VMCB", "Data."),
	STATE(TEACH_SEGMENT(SEG_FS), fs, "VMSAVE and VMLOAD Instructions",
	      "Its base comes from the MSR."),
	STATE(TEACH_SEGMENT(SEG_GS), gs, "VMSAVE and VMLOAD Instructions",
	      "Its base comes from the MSR."),
	STATE(TEACH_SEGMENT(SEG_LDTR), ldtr, "VMSAVE and VMLOAD Instructions",
	      "Firmware has no local descriptors."),
	STATE(TEACH_SEGMENT(SEG_TR), tr, "VMSAVE and VMLOAD Instructions",
	      "Firmware mostly has no task register; the processor wants one of a busy TSS's "
	      "type."),
	STATE(TEACH_SEGMENT(SEG_GDTR), gdtr, "Segment State in the VMCB", "The firmware's GDT."),
	STATE(TEACH_SEGMENT(SEG_IDTR), idtr, "Segment State in the VMCB",
	      "The firmware's IDT: device interrupts go there and never come to Keel."),
	STATE(TEACH_SEGMENT(SEG_SS), cpl, "VMRUN Instruction", "The privilege level, from SS."),
	STATE(TEACH_INTERCEPTS, intercepts[3], "Instruction Intercepts",
	      "With NMI, by which Keel brings a CPU in."),
	{0},
};

/* run.c, svm_run() */
static const struct teach_note each_entry[] = {
	NOTE(rax, "VMRUN Instruction",
	     "0: what launch_call() returns in the guest. VMRUN's own operand is in RAX, so the "
	     "guest's stands here."),
	NOTE(rsp, "VMRUN Instruction", "The firmware's stack."),
	NOTE(rip, "VMRUN Instruction",
	     "Where the guest goes on: behind the call that launched it (boot/efi/launch.asm)."),
	NOTE(asid, "TLB Control", "A tag for its translations; 0 is the host's, and forbidden."),
	NOTE(tlb_control, "TLB Flush", "1: whatever ran here before Keel left nothing behind."),
	NOTE(int_state, "Interrupt Shadows", "No MOV SS or STI came just before."),
	NOTE(clean, "VMCB Clean Field",
	     "Groups that the processor may keep from its last exit: none at the first entry."),
	{0},
};

static void tell_intercepts(const struct vmcb *vmcb, u32 word)
{
	struct dump_list list = {.head = "    set"};

	for (u32 bit = 0; bit < 32; bit++)
		if (vmcb->intercepts[word] & BIT(bit))
			dump_list_add(&list, svm_exit_name(word * 32 + bit));
	dump_list_end(&list);
}

static bool tell_field(struct virt_vcpu *v, u32 offset)
{
	const struct vmcb *vmcb = vmcb_of(v);

	for (const struct svm_field *f = svm_fields; f->name; f++)
		if (f->offset == offset)
			svm_dump_field(vmcb, f);
	if (offset >= offsetof(struct vmcb, es) && offset <= offsetof(struct vmcb, tr))
		svm_dump_segment(vmcb, (offset - offsetof(struct vmcb, es)) /
					       sizeof(struct vmcb_segment));
	if (offset < sizeof(vmcb->intercepts))
		tell_intercepts(vmcb, offset / sizeof(vmcb->intercepts[0]));
	return true;
}

const struct teach_script svm_script = {
	.block = "VMCB",
	.entry = "VMRUN (svm/entry.asm)",
	.manual = "APM vol. 2",
	.init = "svm/setup.c, svm_vcpu_init()",
	.run = "svm/run.c, svm_run()",
	.lasting = lasting,
	.state = state,
	.each_entry = each_entry,
	.field = tell_field,
};
