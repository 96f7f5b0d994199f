/* SPDX-License-Identifier: MIT */
/* log=teach: the first VMCS, field by field, in the order in which Keel writes it. */
#include "arch-x86/teach.h"

#include "arch-x86/log.h"
#include "vmx/internal.h"

#define MANUAL "SDM vol. 3"

struct note {
	u16 field; /* a selector stands for its segment register */
	const char *why, *section;
};

#define NOTE(name, section, why)                                                                   \
	{                                                                                          \
		VMCS_##name, why, section                                                          \
	}

/* setup.c, vmx_vcpu_init() */
static const struct note lasting[] = {
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
	NOTE(ENTRY_CONTROLS, "VM-Entry Controls",
	     "The same on the way in; IA32E follows the guest's EFER.LMA."),
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
	NOTE(HOST_FS_BASE, "Host-State Area", "Not used."),
	NOTE(HOST_GS_BASE, "Host-State Area", "Not used."),
	NOTE(HOST_IDTR_BASE, "Host-State Area", "Root's handlers."),
	NOTE(HOST_SYSENTER_CS, "Host-State Area", "Root executes no SYSENTER."),
	NOTE(HOST_SYSENTER_ESP, "Host-State Area", "The same."),
	NOTE(HOST_SYSENTER_EIP, "Host-State Area", "The same."),
	NOTE(HOST_PAT, "Host-State Area", "The PAT of root's tables."),
	NOTE(HOST_EFER, "Host-State Area", "Root uses NX."),
	NOTE(HOST_RIP, "Host-State Area",
	     "Where an exit arrives: vmx_exit_point in vmx/entry.asm, which returns to C."),
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
};

/* core/mgmt.c, set_state(): by the operations set() and set_segment(), in regs.c */
static const struct note state[] = {
	NOTE(GUEST_RFLAGS, "Guest Register State", "As it was when the firmware called Keel."),
	NOTE(GUEST_CR0, "Guest Register State",
	     "The firmware's, and so on: the machine must notice nothing."),
	NOTE(CR0_SHADOW, "Guest/Host Masks and Read Shadows for CR0 and CR4",
	     "What the guest reads where the mask has a 1."),
	NOTE(GUEST_CR3, "Guest Register State", "The firmware's page tables."),
	NOTE(GUEST_CR4, "Guest Register State", "The firmware's, with VMXE."),
	NOTE(CR4_SHADOW, "Guest/Host Masks and Read Shadows for CR0 and CR4", "Without VMXE."),
	NOTE(GUEST_EFER, "Guest Register State", "LME and LMA: the firmware runs in 64-bit mode."),
	NOTE(GUEST_PAT, "Guest Register State", "The firmware's memory types."),
	NOTE(GUEST_DEBUGCTL, "Guest Register State", "Branch records and single steps."),
	NOTE(GUEST_DR7, "Guest Register State",
	     "Its breakpoints, if it had any; DR0 to DR3 and DR6 stay on the processor."),
	NOTE(GUEST_SYSENTER_CS, "Guest Register State", "SYSENTER's selector."),
	NOTE(GUEST_SYSENTER_ESP, "Guest Register State", "SYSENTER's stack."),
	NOTE(GUEST_SYSENTER_EIP, "Guest Register State",
	     "SYSENTER's entry. SYSCALL's MSRs are not in a VMCS: vmx/run.c switches them."),
	NOTE(TSC_OFFSET, "Time-Stamp Counter Offset and Multiplier",
	     "The machine's own time: nothing is added to the TSC."),
	NOTE(GUEST_ES_SELECTOR, "Guest Register State",
	     "A segment register with its hidden part, which Keel reads from the firmware's GDT."),
	NOTE(GUEST_CS_SELECTOR, "Guest Register State", "L: 64-bit code."),
	NOTE(GUEST_SS_SELECTOR, "Guest Register State", "Its DPL is the privilege level."),
	NOTE(GUEST_DS_SELECTOR, "Guest Register State", "Data."),
	NOTE(GUEST_FS_SELECTOR, "Guest Register State", "Its base comes from the MSR."),
	NOTE(GUEST_GS_SELECTOR, "Guest Register State", "Its base comes from the MSR."),
	NOTE(GUEST_LDTR_SELECTOR, "Guest Register State", "Firmware has no local descriptors."),
	NOTE(GUEST_TR_SELECTOR, "Guest Register State",
	     "Firmware mostly has no task register; an entry demands a busy TSS."),
	NOTE(GUEST_GDTR_BASE, "Guest Register State", "The firmware's GDT."),
	NOTE(GUEST_GDTR_LIMIT, "Guest Register State", "Its limit."),
	NOTE(GUEST_IDTR_BASE, "Guest Register State",
	     "The firmware's IDT: device interrupts go there and never come to Keel."),
	NOTE(GUEST_IDTR_LIMIT, "Guest Register State", "Its limit."),
};

/* run.c, vmx_load() and vmx_run() */
static const struct note each_entry[] = {
	NOTE(HOST_GDTR_BASE, "Host-State Area", "This CPU's: a vCPU that moves gets others."),
	NOTE(HOST_TR_BASE, "Host-State Area", "The same."),
	NOTE(VPID, "Virtual-Processor Identifier (VPID)",
	     "A tag for its translations; 0 is the host's, and forbidden."),
	NOTE(GUEST_RIP, "Guest Register State",
	     "Where the guest goes on: behind the call that launched it (boot/efi/launch.asm)."),
	NOTE(GUEST_RSP, "Guest Register State", "The firmware's stack."),
	NOTE(HOST_RSP, "Host-State Area",
	     "Root's stack: entry.asm writes it where it changed, so not before the first entry."),
};

static bool tell_field(const struct virt_vcpu *v, u32 field)
{
	if (field >= VMCS_GUEST_ES_SELECTOR && field <= VMCS_GUEST_TR_SELECTOR) {
		vmx_dump_segment(VMCS_FIELD_INDEX(field));
		return true;
	}
	return vmx_dump_field(v, field);
}

static void tell(const struct virt_vcpu *v, const char *title, const struct note *notes,
		 size_t count)
{
	log_info("teach: %s", title);
	for (size_t i = 0; i < count; i++)
		if (tell_field(v, notes[i].field))
			teach_why(notes[i].why, MANUAL, notes[i].section);
}

void vmx_teach(struct virt_vcpu *v)
{
	log_info("teach: CPU 0's first VMCS, at %lx, as VMLAUNCH is about to read it; each field "
		 "with its reason and where to read on",
		 v->hw_hpa.v);
	tell(v, "1. what lasts: vmx/setup.c, vmx_vcpu_init()", lasting, ARRAY_SIZE(lasting));
	tell(v, "2. the machine as it was running: core/mgmt.c, set_state()", state,
	     ARRAY_SIZE(state));
	tell(v, "3. of each entry: vmx/run.c, vmx_load() and vmx_run()", each_entry,
	     ARRAY_SIZE(each_entry));
	log_info("teach: VMLAUNCH (vmx/entry.asm); from its exits on, the first %u of this CPU:",
		 TEACH_EXITS);
}
