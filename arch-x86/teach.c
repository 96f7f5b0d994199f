// SPDX-License-Identifier: MIT
/* log=teach: what the backends share. */
#include "arch-x86/teach.h"

#include "arch-x86/cpu.h"
#include "arch-x86/log.h"

void teach_why(const char *why, const char *manual, const char *section)
{
	log_info("      %s [%s, \"%s\"]", why, manual, section);
}

bool teach_entry(const struct virt_vcpu *v)
{
	if (virt_teach <= TEACH_EXITS || v->cpu->index)
		return false;
	virt_teach = TEACH_EXITS;
	return true;
}

static void tell_slat(const struct vm_exit *e)
{
	log_info("      it %s guest-physical %lx, where the second-level entry %s: "
		 "core/mgmt_memory.c looks whose that is",
		 e->slat.exec	 ? "fetches from"
		 : e->slat.write ? "writes"
				 : "reads",
		 e->slat.gpa.v, e->slat.present ? "forbids it" : "is not there yet");
}

static void tell_io(const struct vm_exit *e)
{
	log_info("      %s port %x, %u bytes: Keel watches the sleep registers alone, in "
		 "core/mgmt.c",
		 e->io.in ? "IN from" : "OUT to", e->io.port, e->io.size);
}

/* In the words of the neutral contract (virt.h): what core/ is told of the exit. */
static void tell_reason(const struct virt_vcpu *v, const struct vm_exit *e)
{
	switch (e->reason) {
	case EXIT_CPUID:
		log_info("      CPUID, leaf %x, ECX %x: core/mgmt_cpuid.c answers, and hides the "
			 "processor's virtualisation",
			 (u32)v->gpr[GPR_RAX], (u32)v->gpr[GPR_RCX]);
		break;
	case EXIT_RDMSR:
	case EXIT_WRMSR:
		log_info("      %s, MSR %x: core/mgmt_msr.c answers",
			 e->reason == EXIT_RDMSR ? "RDMSR" : "WRMSR", (u32)v->gpr[GPR_RCX]);
		break;
	case EXIT_SLAT:
		tell_slat(e);
		break;
	case EXIT_IO:
		tell_io(e);
		break;
	case EXIT_CR_READ:
	case EXIT_CR_WRITE:
		log_info("      MOV %s CR%u: core/control.c",
			 e->reason == EXIT_CR_READ ? "from" : "to", e->mov.nr);
		break;
	case EXIT_HYPERCALL:
		log_info("      a hypercall: RAX %lx, request %x: kvm/hypercall.c", v->gpr[GPR_RAX],
			 (u32)v->gpr[GPR_RSI]);
		break;
	case EXIT_NMI:
		log_info("      an NMI: core/mgmt_apic.c finds out whether it is Keel's kick");
		break;
	default:
		log_info("      core/mgmt.c, handle_exit() has what is done about it");
	}
}

void teach_exit(const struct virt_vcpu *v, const struct vm_exit *e, const char *name, u64 info2)
{
	if (v->cpu->index || !virt_teach || virt_teach > TEACH_EXITS)
		return;
	log_info("exit %u: %s (%lx), information %lx and %lx, RIP %lx",
		 TEACH_EXITS - virt_teach + 1, name, e->raw, e->info1, info2, v->rip);
	tell_reason(v, e);
	if (--virt_teach)
		return;
	log_info("teach: %u exits are told; Keel goes on in silence", TEACH_EXITS);
}
