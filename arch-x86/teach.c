// SPDX-License-Identifier: MIT
/*
 * log=teach: when what is told. While the first vCPU's state is written, `virt` is `telling`: its
 * operations are the backend's, and then tell. So nothing looks for log=teach where it is off.
 */
#include "arch-x86/teach.h"

#include "arch-x86/cpu.h"
#include "arch-x86/log.h"

static const struct virt_ops *backend; /* while `virt` is `telling` */
static struct virt_ops telling;
static const struct virt_vcpu *told; /* NULL: none, or its first entry is past */

static void tell(struct virt_vcpu *v, const struct teach_note *note)
{
	const struct teach_script *script = backend->teach;

	if (script->field(v, note->field))
		log_info("      %s [%s, \"%s\"]", note->why, script->manual, note->section);
}

static void tell_all(struct virt_vcpu *v, const struct teach_note *notes)
{
	for (; notes->why; notes++)
		tell(v, notes);
}

static void tell_written(struct virt_vcpu *v, u32 by)
{
	if (v != told)
		return;
	for (const struct teach_note *note = backend->teach->state; note->why; note++)
		if (note->by == by)
			tell(v, note);
}

static void tell_set(struct virt_vcpu *v, enum virt_reg reg, u64 value)
{
	backend->set(v, reg, value);
	tell_written(v, reg);
}

static void tell_set_segment(struct virt_vcpu *v, enum seg seg, const struct segment *s)
{
	backend->set_segment(v, seg, s);
	tell_written(v, TEACH_SEGMENT(seg));
}

static void tell_intercept(struct virt_vcpu *v, u32 set)
{
	backend->intercept(v, set);
	tell_written(v, TEACH_INTERCEPTS);
}

void teach_begin(struct virt_vcpu *v, const struct cpu *cpu)
{
	const struct teach_script *script = virt->teach;

	if (virt_teach <= TEACH_EXITS || cpu->index)
		return;
	log_info("teach: CPU 0's first %s, at %lx, as Keel writes it; each field with its reason "
		 "and where to read on",
		 script->block, v->hw_hpa.v);
	backend = virt;
	telling = *virt;
	telling.set = tell_set;
	telling.set_segment = tell_set_segment;
	telling.intercept = tell_intercept;
	told = v;
	virt = &telling;
	log_info("teach: 1. what lasts: %s", script->init);
	tell_all(v, script->lasting);
	log_info("teach: 2. the machine as it was running: core/mgmt.c, set_state()");
}

void teach_entry(struct virt_vcpu *v)
{
	if (v != told)
		return;
	virt = backend;
	told = NULL;
	virt_teach = TEACH_EXITS;
	log_info("teach: 3. of each entry: %s", backend->teach->run);
	tell_all(v, backend->teach->each_entry);
	log_info("teach: %s; from its exits on, the first %u of this CPU:", backend->teach->entry,
		 TEACH_EXITS);
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
