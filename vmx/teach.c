/* SPDX-License-Identifier: MIT */
/* log=teach: the first VMCS, field by field, in the order in which Keel writes it. */
#include "arch-x86/teach.h"

#include "arch-x86/log.h"
#include "vmx/internal.h"

/* A note's field is its encoding; a selector stands for its segment. Written by the operation `by`.
 */
#define STATE(by, name, section, why)                                                              \
	{                                                                                          \
		VMCS_##name, by, why, section                                                      \
	}
#define NOTE(name, section, why) STATE(0, name, section, why)

/* setup.c, vmx_vcpu_init() */
static const struct teach_note lasting[] = {
	NOTE(PIN_CONTROLS, "Pin-Based VM-Execution Controls",
	     "NMIs come to Keel, which uses them to bring a CPU in; device interrupts do not: they "
	     "are this guest's."),
	NOTE(CPU_CONTROLS, "Processor-Based VM-Execution Controls",
	     "Two bitmaps say which ports and MSRs exit; there are secondary controls."),
	NOTE(CPU_CONTROLS2, "Processor-Based VM-Execution Controls",
	     "EPT, with which a guest may also run without paging; and instructions that would be "
	     "#UD."),
	NOTE(EXIT_CONTROLS, "VM-Exit Controls",
	     "Keel runs in 64-bit mode; its own PAT and EFER are loaded, the guest's are saved."),
	NOTE(ENTRY_CONTROLS, "VM-Entry Controls", "The same on the way in."),
	NOTE(EXCEPTION_BITMAP, "Exception Bitmap",
	     "Exceptions go to the guest's own handlers without Keel."),
	NOTE(PLE_GAP, "Controls for PAUSE-Loop Exiting", "How close the PAUSEs of a loop are."),
	NOTE(PLE_WINDOW, "Controls for PAUSE-Loop Exiting", "How long it may take."),
	NOTE(XSS_EXITING, "XSS-Exiting Bitmap", "XSAVES and XRSTORS never exit."),
	NOTE(ENCLS_EXITING, "ENCLS-Exiting Bitmap", "Every leaf exits."),
	NOTE(ENCLV_EXITING, "ENCLV-Exiting Bitmap", "Every leaf exits."),
	NOTE(EPTP, "Extended-Page-Table Pointer (EPTP)",
	     "The root of the second translation: all of memory but Keel's, one to one. Four "
	     "levels, "
	     "write-back."),
	NOTE(IO_BITMAP_A, "I/O-Bitmap Addresses",
	     "A bit a port: the ports of the sleep registers alone are watched."),
	NOTE(IO_BITMAP_B, "I/O-Bitmap Addresses", "The ports from 8000 on."),
	NOTE(MSR_BITMAP, "MSR-Bitmap Address",
	     "A bit an MSR for reads, one for writes: VMX's own, the APIC's base and what would "
	     "reach Keel."),
	NOTE(LINK_POINTER, "Guest Non-Register State", "No shadow VMCS: all ones."),
	NOTE(CR0_MASK, "Guest/Host Masks and Read Shadows for CR0 and CR4",
	     "Bits that VMX wants as they are: a write that changes one exits, a read sees the "
	     "shadow."),
	NOTE(CR4_MASK, "Guest/Host Masks and Read Shadows for CR0 and CR4",
	     "VMXE must be 1 and is not to be seen."),
	NOTE(HOST_CR0, "Host-State Area",
	     "From here on: what an exit loads. Constant, so it is written once."),
	NOTE(HOST_CR3, "Host-State Area", "Root's own page tables."),
	NOTE(HOST_CR4, "Host-State Area", "Root's."),
	NOTE(HOST_CS_SELECTOR, "Host-State Area", "Root's code, in its own GDT."),
	NOTE(HOST_SS_SELECTOR, "Host-State Area", "Root's stack: flat, as all its segments."),
	NOTE(HOST_DS_SELECTOR, "Host-State Area", "Root's data."),
	NOTE(HOST_ES_SELECTOR, "Host-State Area", "The same."),
	NOTE(HOST_FS_SELECTOR, "Host-State Area", "Root does not use it."),
	NOTE(HOST_GS_SELECTOR, "Host-State Area",
	     "Root does not use it either: a CPU finds its data by its stack pointer."),
	NOTE(HOST_TR_SELECTOR, "Host-State Area",
	     "Root's TSS, for the stacks of #DF, NMI and #MC."),
	NOTE(HOST_FS_BASE, "Host-State Area",
	     "Where entry.asm puts the guest's registers at an exit."),
	NOTE(HOST_GS_BASE, "Host-State Area", "Not used."),
	NOTE(HOST_IDTR_BASE, "Host-State Area", "Root's handlers."),
	NOTE(HOST_SYSENTER_CS, "Host-State Area", "Root executes no SYSENTER."),
	NOTE(HOST_SYSENTER_ESP, "Host-State Area", "The same."),
	NOTE(HOST_SYSENTER_EIP, "Host-State Area", "The same."),
	NOTE(HOST_PAT, "Host-State Area", "The PAT of root's tables."),
	NOTE(HOST_EFER, "Host-State Area", "Root uses NX."),
	NOTE(HOST_RIP, "Host-State Area",
	     "Where an exit arrives: vmx_exit_point in vmx/entry.asm, which goes on in C."),
	NOTE(PF_ERROR_MASK, "Exception Bitmap",
	     "From here on fields that must be 0, since a new VMCS holds nothing defined: page "
	     "faults by error code."),
	NOTE(PF_ERROR_MATCH, "Exception Bitmap", "The same."),
	NOTE(CR3_TARGET_COUNT, "CR3-Target Controls", "CR3 values that do not exit."),
	NOTE(EXIT_MSR_STORE_COUNT, "VM-Exit Controls for MSRs", "MSRs that an exit stores: none."),
	NOTE(EXIT_MSR_LOAD_COUNT, "VM-Exit Controls for MSRs", "MSRs that an exit loads: none."),
	NOTE(ENTRY_MSR_LOAD_COUNT, "VM-Entry Controls for MSRs", "MSRs that an entry loads: none."),
	NOTE(ENTRY_INTR_INFO, "VM-Entry Controls for Event Injection",
	     "The event that the entry delivers: none."),
	NOTE(ENTRY_ERROR_CODE, "VM-Entry Controls for Event Injection", "Its error code."),
	NOTE(ENTRY_INSN_LEN, "VM-Entry Controls for Event Injection",
	     "The length of the INT n that it stands for."),
	NOTE(GUEST_PDPTE0, "Guest Non-Register State",
	     "The page-directory pointers of PAE paging, which the processor keeps: not in long "
	     "mode."),
	NOTE(GUEST_PDPTE1, "Guest Non-Register State", "The same."),
	NOTE(GUEST_PDPTE2, "Guest Non-Register State", "The same."),
	NOTE(GUEST_PDPTE3, "Guest Non-Register State", "The same."),
	NOTE(GUEST_INTERRUPTIBILITY, "Guest Non-Register State",
	     "Blocking by STI, MOV SS, SMI and NMI: none."),
	NOTE(GUEST_ACTIVITY, "Guest Non-Register State", "0: active, not halted."),
	NOTE(GUEST_PENDING_DEBUG, "Guest Non-Register State", "A #DB that waits: none."),
	{0},
};

/* core/mgmt.c, set_state(): by the operations set() and set_segment(), in regs.c */
static const struct teach_note state[] = {
	STATE(VREG_RFLAGS, GUEST_RFLAGS, "Guest Register State",
	      "As it was when the firmware called Keel."),
	STATE(VREG_CR0, GUEST_CR0, "Guest Register State",
	      "The firmware's, and so on: the machine must notice nothing."),
	STATE(VREG_CR0, CR0_SHADOW, "Guest/Host Masks and Read Shadows for CR0 and CR4",
	      "What the guest reads where the mask has a 1."),
	STATE(VREG_CR3, GUEST_CR3, "Guest Register State", "The firmware's page tables."),
	STATE(VREG_CR4, GUEST_CR4, "Guest Register State", "The firmware's, with VMXE."),
	STATE(VREG_CR4, CR4_SHADOW, "Guest/Host Masks and Read Shadows for CR0 and CR4",
	      "Without VMXE."),
	STATE(VREG_EFER, ENTRY_CONTROLS, "VM-Entry Controls", "IA32E, as EFER.LMA says."),
	STATE(VREG_EFER, GUEST_EFER, "Guest Register State",
	      "LME and LMA: the firmware runs in 64-bit mode."),
	STATE(VREG_PAT, GUEST_PAT, "Guest Register State", "The firmware's memory types."),
	STATE(VREG_DEBUGCTL, GUEST_DEBUGCTL, "Guest Register State",
	      "Branch records and single steps."),
	STATE(VREG_DR7, GUEST_DR7, "Guest Register State",
	      "Its breakpoints, if it had any; DR0 to DR3 and DR6 stay on the processor."),
	STATE(VREG_SYSENTER_CS, GUEST_SYSENTER_CS, "Guest Register State", "SYSENTER's selector."),
	STATE(VREG_SYSENTER_ESP, GUEST_SYSENTER_ESP, "Guest Register State", "SYSENTER's stack."),
	STATE(VREG_SYSENTER_EIP, GUEST_SYSENTER_EIP, "Guest Register State",
	      "SYSENTER's entry. SYSCALL's MSRs are not in a VMCS: vmx/run.c switches them."),
	STATE(VREG_TSC_OFFSET, TSC_OFFSET, "Time-Stamp Counter Offset and Multiplier",
	      "The machine's own time: nothing is added to the TSC."),
	STATE(TEACH_SEGMENT(SEG_ES), GUEST_ES_SELECTOR, "Guest Register State",
	      "A segment register with its hidden part, which Keel reads from the firmware's GDT."),
	STATE(TEACH_SEGMENT(SEG_CS), GUEST_CS_SELECTOR, "Guest Register State", "L: 64-bit code."),
	STATE(TEACH_SEGMENT(SEG_SS), GUEST_SS_SELECTOR, "Guest Register State",
	      "Its DPL is the privilege level."),
	STATE(TEACH_SEGMENT(SEG_DS), GUEST_DS_SELECTOR, "Guest Register State", "Data."),
	STATE(TEACH_SEGMENT(SEG_FS), GUEST_FS_SELECTOR, "Guest Register State",
	      "Its base comes from the MSR."),
	STATE(TEACH_SEGMENT(SEG_GS), GUEST_GS_SELECTOR, "Guest Register State",
	      "Its base comes from the MSR."),
	STATE(TEACH_SEGMENT(SEG_LDTR), GUEST_LDTR_SELECTOR, "Guest Register State",
	      "Firmware has no local descriptors."),
	STATE(TEACH_SEGMENT(SEG_TR), GUEST_TR_SELECTOR, "Guest Register State",
	      "Firmware mostly has no task register; an entry demands a busy TSS."),
	STATE(TEACH_SEGMENT(SEG_GDTR), GUEST_GDTR_BASE, "Guest Register State",
	      "The firmware's GDT."),
	STATE(TEACH_SEGMENT(SEG_GDTR), GUEST_GDTR_LIMIT, "Guest Register State", "Its limit."),
	STATE(TEACH_SEGMENT(SEG_IDTR), GUEST_IDTR_BASE, "Guest Register State",
	      "The firmware's IDT: device interrupts go there and never come to Keel."),
	STATE(TEACH_SEGMENT(SEG_IDTR), GUEST_IDTR_LIMIT, "Guest Register State", "Its limit."),
	{0},
};

/* run.c, vmx_load() and vmx_run() */
static const struct teach_note each_entry[] = {
	NOTE(HOST_GDTR_BASE, "Host-State Area", "This CPU's: a vCPU that moves gets others."),
	NOTE(HOST_TR_BASE, "Host-State Area", "The same."),
	NOTE(VPID, "Virtual-Processor Identifier (VPID)",
	     "A tag for its translations; 0 is the host's, and forbidden."),
	NOTE(GUEST_RIP, "Guest Register State",
	     "Where the guest goes on: behind the call that launched it (boot/efi/launch.asm)."),
	NOTE(GUEST_RSP, "Guest Register State", "The firmware's stack."),
	NOTE(HOST_RSP, "Host-State Area",
	     "Root's stack: entry.asm writes it where it changed, so not before the first entry."),
	{0},
};

static bool tell_field(struct virt_vcpu *v, u32 field)
{
	vmx_current(v);
	if (field >= VMCS_GUEST_ES_SELECTOR && field <= VMCS_GUEST_TR_SELECTOR) {
		vmx_dump_segment(VMCS_FIELD_INDEX(field));
		return true;
	}
	return vmx_dump_field(v, field);
}

const struct teach_script vmx_script = {
	.block = "VMCS",
	.entry = "VMLAUNCH (vmx/entry.asm)",
	.manual = "SDM vol. 3",
	.init = "vmx/setup.c, vmx_vcpu_init()",
	.run = "vmx/run.c, vmx_load() and vmx_run()",
	.lasting = lasting,
	.state = state,
	.each_entry = each_entry,
	.field = tell_field,
};
