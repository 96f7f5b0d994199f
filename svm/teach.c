/* SPDX-License-Identifier: MIT */
/* log=teach: the first VMCB, field by field, in the order in which Keel writes it. */
#include "arch-x86/teach.h"

#include "arch-x86/dump.h"
#include "arch-x86/log.h"
#include "svm/internal.h"

#define MANUAL "APM vol. 2"

struct note {
	u16 offset; /* of struct svm_field, or of a segment */
	const char *why, *section;
};

#define NOTE(member, section, why)                                                                 \
	{                                                                                          \
		offsetof(struct vmcb, member), why, section                                        \
	}

/* setup.c, svm_vcpu_init() */
static const struct note lasting[] = {
	NOTE(intercepts[0], "Instruction Intercepts",
	     "Reads and writes of CR0 to CR15: none, the control registers are the guest's own."),
	NOTE(intercepts[1], "Instruction Intercepts", "Debug registers: the guest's own, too."),
	NOTE(intercepts[2], "Exception Intercepts",
	     "Exceptions go to the guest's own handlers without Keel."),
	NOTE(intercepts[3], "Instruction Intercepts",
	     "What Keel must see: CPUID, to hide SVM; ports and MSRs that the two maps name; INIT, "
	     "NMI and shutdown."),
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
};

/* core/mgmt.c, set_state(): by the operations set() and set_segment(), in regs.c */
static const struct note state[] = {
	NOTE(rflags, "VMRUN Instruction", "As it was when the firmware called Keel."),
	NOTE(cr0, "VMRUN Instruction",
	     "The firmware's, and so on: the machine must notice nothing."),
	NOTE(cr2, "VMRUN Instruction", "The last page fault's address."),
	NOTE(cr3, "VMRUN Instruction", "The firmware's page tables."),
	NOTE(cr4, "VMRUN Instruction", "The firmware's."),
	NOTE(g_pat, "Combining Memory Types, MTRRs",
	     "The PAT that nested paging uses for the guest's pages."),
	NOTE(debugctl, "Last Branch Record Virtualization",
	     "Used while the branch records are switched."),
	NOTE(dr6, "VMRUN Instruction",
	     "VMRUN loads DR6 and DR7; DR0 to DR3 stay on the processor."),
	NOTE(dr7, "VMRUN Instruction", "Its breakpoints, if it had any."),
	NOTE(star, "VMSAVE and VMLOAD Instructions",
	     "From here on VMLOAD's part: VMRUN does not load it."),
	NOTE(lstar, "VMSAVE and VMLOAD Instructions", "SYSCALL's 64-bit entry."),
	NOTE(cstar, "VMSAVE and VMLOAD Instructions", "SYSCALL's entry from compatibility mode."),
	NOTE(sfmask, "VMSAVE and VMLOAD Instructions", "RFLAGS that SYSCALL clears."),
	NOTE(kernel_gs_base, "VMSAVE and VMLOAD Instructions", "What SWAPGS exchanges."),
	NOTE(sysenter_cs, "VMSAVE and VMLOAD Instructions", "SYSENTER's selector."),
	NOTE(sysenter_esp, "VMSAVE and VMLOAD Instructions", "SYSENTER's stack."),
	NOTE(sysenter_eip, "VMSAVE and VMLOAD Instructions", "SYSENTER's entry."),
	NOTE(tsc_offset, "Layout of VMCB", "The machine's own time: nothing is added to the TSC."),
	NOTE(es, "Segment State in the VMCB",
	     "A segment register with its hidden part, which Keel reads from the firmware's GDT."),
	NOTE(cs, "Segment State in the VMCB", "L: the firmware runs in 64-bit mode."),
	NOTE(ss, "Segment State in the VMCB", "The stack's."),
	NOTE(ds, "Segment State in the VMCB", "Data."),
	NOTE(fs, "VMSAVE and VMLOAD Instructions", "Its base comes from the MSR."),
	NOTE(gs, "VMSAVE and VMLOAD Instructions", "Its base comes from the MSR."),
	NOTE(ldtr, "VMSAVE and VMLOAD Instructions", "Firmware has no local descriptors."),
	NOTE(tr, "VMSAVE and VMLOAD Instructions",
	     "Firmware mostly has no task register; the processor wants one of a busy TSS's type."),
	NOTE(gdtr, "Segment State in the VMCB", "The firmware's GDT."),
	NOTE(idtr, "Segment State in the VMCB",
	     "The firmware's IDT: device interrupts go there and never come to Keel."),
	NOTE(cpl, "VMRUN Instruction", "The privilege level, from SS."),
};

/* run.c, svm_run() */
static const struct note each_entry[] = {
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
};

static void tell_intercepts(const struct vmcb *vmcb, u32 word)
{
	struct dump_list list = {.head = "    set"};

	for (u32 bit = 0; bit < 32; bit++)
		if (vmcb->intercepts[word] & BIT(bit))
			dump_list_add(&list, svm_exit_name(word * 32 + bit));
	dump_list_end(&list);
}

static void tell_field(const struct vmcb *vmcb, u32 offset)
{
	for (const struct svm_field *f = svm_fields; f->name; f++)
		if (f->offset == offset)
			svm_dump_field(vmcb, f);
	if (offset >= offsetof(struct vmcb, es) && offset <= offsetof(struct vmcb, tr))
		svm_dump_segment(vmcb, (offset - offsetof(struct vmcb, es)) /
					       sizeof(struct vmcb_segment));
	if (offset < sizeof(vmcb->intercepts))
		tell_intercepts(vmcb, offset / sizeof(vmcb->intercepts[0]));
}

static void tell(const struct vmcb *vmcb, const char *title, const struct note *notes, size_t count)
{
	log_info("teach: %s", title);
	for (size_t i = 0; i < count; i++) {
		tell_field(vmcb, notes[i].offset);
		teach_why(notes[i].why, MANUAL, notes[i].section);
	}
}

void svm_teach(struct virt_vcpu *v)
{
	const struct vmcb *vmcb = vmcb_of(v);

	log_info("teach: CPU 0's first VMCB, at %lx, as VMRUN is about to read it; each field with "
		 "its reason and where to read on",
		 v->hw_hpa.v);
	tell(vmcb, "1. what lasts: svm/setup.c, svm_vcpu_init()", lasting, ARRAY_SIZE(lasting));
	tell(vmcb, "2. the machine as it was running: core/mgmt.c, set_state()", state,
	     ARRAY_SIZE(state));
	tell(vmcb, "3. of each entry: svm/run.c, svm_run()", each_entry, ARRAY_SIZE(each_entry));
	log_info("teach: VMRUN (svm/entry.asm); from its exits on, the first %u of this CPU:",
		 TEACH_EXITS);
}
