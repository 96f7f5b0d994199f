// SPDX-License-Identifier: MIT
/* Exceptions in root mode. */
#include "arch-x86/exception.h"

#include "arch-x86/cpu.h"
#include "arch-x86/insn.h"
#include "arch-x86/log.h"
#include "arch-x86/msr.h"
#include "arch-x86/panic.h"
#include "arch-x86/regs.h"
#include "arch-x86/reset.h"

#define MCG_CAP_COUNT	0xff
#define MCG_STATUS_RIPV BIT(0)
#define MC_STATUS_VALID BIT(63)
#define MC_STATUS_PCC	BIT(57) /* processor context corrupt */
#define MC_BANK_WORDS	4

static void handle_nmi(struct exception_frame *f)
{
	struct cpu *cpu = this_cpu();

	cpu_check_panic();
	cpu->root_flags |= CPU_ROOT_NMI;
	if (f->rip >= cpu->sleep_begin && f->rip < cpu->sleep_end)
		f->rip = cpu->sleep_end;
}

/*
 * Logged; handed to the management guest when this CPU's context is intact. SDM vol. 3, "Machine-
 * Check Architecture". The banks stay as they are: its handler reads and clears them.
 */
static void handle_machine_check(struct exception_frame *f)
{
	u32 banks = rdmsr(MSR_MCG_CAP) & MCG_CAP_COUNT;
	bool corrupt = !(rdmsr(MSR_MCG_STATUS) & MCG_STATUS_RIPV);

	for (u32 i = 0; i < banks; i++) {
		u64 status = rdmsr(MSR_MC0_CTL + i * MC_BANK_WORDS + 1);

		if (!(status & MC_STATUS_VALID))
			continue;
		log_error("machine check in root: bank %u status %lx", i, status);
		corrupt |= !!(status & MC_STATUS_PCC);
	}
	if (corrupt)
		panic_exception(f);
	this_cpu()->root_flags |= CPU_ROOT_MCE;
}

static bool fixed_up(struct exception_frame *f)
{
	const struct exception_fixup *fixup;

	for (fixup = exception_fixups; fixup < exception_fixups_end; fixup++) {
		if (f->rip == fixup->at) {
			f->rip = fixup->target;
			return true;
		}
	}
	return false;
}

void exception_handler(struct exception_frame *f)
{
	switch (f->vector) {
	case VECTOR_NMI:
		handle_nmi(f);
		return;
	case VECTOR_MC:
		handle_machine_check(f);
		return;
	case VECTOR_SX:
		/* The backend redirects INIT (VM_CR.R_INIT): one that reaches root is a reset. */
		log_error("INIT reached root mode: the machine is reset");
		machine_reset();
	case VECTOR_GP:
		if (fixed_up(f))
			return;
		break;
	}
	panic_exception(f);
}
