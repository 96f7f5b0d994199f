/* SPDX-License-Identifier: MIT */
/*
 * One entry: what must be on the processor, which translations may be used, what changed in the
 * VMCB. Nothing is written that has not changed (design D8).
 */
#include "arch-x86/insn.h"
#include "arch-x86/log.h"
#include "arch-x86/msr.h"
#include "arch-x86/teach.h"
#include "svm/internal.h"

void svm_save_extra(struct virt_vcpu *v)
{
	if (!v->loaded || v->extra_saved)
		return;
	vmsave(v->hw_hpa);
	v->extra_saved = true;
}

static const u32 mask_msrs[] = {MSR_DR0_ADDR_MASK, MSR_DR1_ADDR_MASK, MSR_DR1_ADDR_MASK + 1,
				MSR_DR1_ADDR_MASK + 2};

/*
 * AMD's masks widen what DR0 to DR3 match (APM vol. 2, "Debug Breakpoint Address Masking"). Only
 * the management guest has them: they are off while a child has the registers.
 */
static void hide_masks(struct cpu *cpu)
{
	if (!svm_features.dr_mask)
		return;
	for (u32 i = 0; i < ARRAY_SIZE(mask_msrs); i++) {
		cpu->dr_mask[i] = rdmsr(mask_msrs[i]);
		if (cpu->dr_mask[i])
			wrmsr(mask_msrs[i], 0);
	}
}

static void show_masks(struct cpu *cpu)
{
	if (!svm_features.dr_mask)
		return;
	for (u32 i = 0; i < ARRAY_SIZE(mask_msrs); i++)
		if (cpu->dr_mask[i])
			wrmsr(mask_msrs[i], cpu->dr_mask[i]);
}

/*
 * DR0 to DR3 change owner only when a vCPU that uses them is entered: the management guest's stay
 * on the processor while children that do not are run (their MOV DR is intercepted then).
 */
static void take_debug_registers(struct virt_vcpu *v, struct cpu *cpu)
{
	struct virt_vcpu *owner = cpu->dr_owner;

	if (owner) {
		read_breakpoints(owner->dr);
	}
	write_breakpoints(v->dr);
	if (v->vm->kind == VIRT_CHILD)
		hide_masks(cpu);
	cpu->dr_owner = v;
}

static void drop_debug_registers(struct virt_vcpu *v, struct cpu *cpu)
{
	read_breakpoints(v->dr);
	show_masks(cpu);
	cpu->dr_owner = NULL;
}

static inline void load(struct virt_vcpu *v, struct cpu *cpu)
{
	/* APM vol. 2, "VMCB Clean Field": a VMCB that ran elsewhere has nothing clean here. */
	if (unlikely(v->cpu != cpu)) {
		v->cpu = cpu;
		v->asid_generation = 0;
		v->dirty |= CLEAN_ALL;
	}
	vmload(v->hw_hpa);
	v->dirty &= ~(u32)DIRTY_EXTRA;
	v->extra_saved = true;
	v->loaded = true;
	cpu->loaded = v;
}

static inline void put(struct virt_vcpu *v, struct cpu *cpu)
{
	CHECK(cpu->loaded == v);
	if (likely(!v->extra_saved))
		vmsave(v->hw_hpa);
	v->extra_saved = true;
	/* A child may next run on another CPU, or never: its DRs must not stay behind here. */
	if (unlikely(cpu->dr_owner == v) && v->vm->kind == VIRT_CHILD)
		drop_debug_registers(v, cpu);
	v->loaded = false;
}

void svm_load(struct virt_vcpu *v, struct cpu *cpu)
{
	CHECK(!cpu->loaded);
	load(v, cpu);
}

void svm_put(struct virt_vcpu *v)
{
	struct cpu *cpu = v->cpu;

	put(v, cpu);
	cpu->loaded = NULL;
}

void svm_swap(struct virt_vcpu *from, struct virt_vcpu *to, struct cpu *cpu)
{
	put(from, cpu);
	load(to, cpu);
}

/*
 * A new tag instead of a flush. When they run out the generation changes: all translations of
 * this CPU go, and each vCPU gets a new tag at its next entry here.
 */
static u8 new_asid(struct virt_vcpu *v, struct cpu *cpu)
{
	u8 tlb_control = TLB_KEEP;

	if (cpu->asid_next >= cpu->asid_count) {
		cpu->asid_generation++;
		cpu->asid_next = 1;
		tlb_control = TLB_FLUSH_ALL;
	}
	v->asid = cpu->asid_next++;
	v->asid_generation = cpu->asid_generation;
	VMCB_SET(v, asid, v->asid, CLEAN_ASID);
	return tlb_control;
}

static void prepare_translations(struct virt_vcpu *v, struct cpu *cpu)
{
	struct vmcb *vmcb = vmcb_of(v);
	u64 generation = __atomic_load_n(&v->vm->slat_generation, __ATOMIC_ACQUIRE);

	if (v->asid_generation == cpu->asid_generation && generation == v->slat_generation_seen &&
	    !v->flush)
		return;
	if (v->asid_generation == cpu->asid_generation && v->features & VIRT_FLUSH_BY_ASID)
		vmcb->tlb_control = TLB_FLUSH_ASID;
	else
		vmcb->tlb_control = new_asid(v, cpu);
	v->slat_generation_seen = generation;
	v->flush = false;
	v->once = true;
}

/*
 * What an entry seldom needs beside the registers. VMCB fields that count for this entry alone are
 * taken back in settle_rare().
 */
static noinline void prepare_rare(struct virt_vcpu *v, struct cpu *cpu)
{
	struct vmcb *vmcb = vmcb_of(v);

	prepare_translations(v, cpu);
	if (v->nmi_window | v->intr_window)
		svm_windows_prepare(v);
	if (v->dirty & DIRTY_EXTRA)
		vmload(v->hw_hpa);
	if (v->dirty & DIRTY_TSC)
		wrmsr(MSR_TSC_RATIO, v->tsc_ratio);
	if (v->features & VIRT_CLEAN_BITS)
		vmcb->clean = CLEAN_ALL & ~v->dirty;
	if (virt_check_entry)
		svm_check_before(v);
	teach_entry(v);
	v->dirty &= DIRTY_TSC;
	v->once = true;
}

static noinline void settle_rare(struct virt_vcpu *v, struct vm_exit *e)
{
	struct vmcb *vmcb = vmcb_of(v);

	if (v->dirty & DIRTY_TSC)
		wrmsr(MSR_TSC_RATIO, TSC_RATIO_ONE);
	if (virt_check_entry)
		svm_check_after(v);
	if (v->once) {
		vmcb->tlb_control = TLB_KEEP;
		vmcb->event_inject = 0;
		vmcb->clean = v->features & VIRT_CLEAN_BITS ? CLEAN_ALL : 0;
		v->soft_len = 0;
		v->once = virt_check_entry;
	}
	if (virt_teach)
		teach_exit(v, e, svm_exit_name(e->raw), vmcb->exit_info2);
	/*
	 * QEMU may have forgotten a host interrupt that came during a VMRUN with V_IRQ: a write of
	 * TPR makes its local APIC look again (docs/architecture.md, "QEMU").
	 */
	if (svm_features.qemu && vmcb->int_control & V_IGNORE_TPR)
		write_cr8(read_cr8());
	if (v->virq_event)
		svm_virq_settle(v, e);
	if (v->stepping || v->nmi_state == NMI_IRET)
		svm_nmi_settle(v, e);
}

void svm_run(struct virt_vcpu *v, struct vm_exit *e)
{
	struct vmcb *vmcb = vmcb_of(v);
	struct cpu *cpu = v->cpu;

	vmcb->rax = v->gpr[GPR_RAX];
	vmcb->rsp = v->gpr[GPR_RSP];
	vmcb->rip = v->rip;
	if (unlikely(v->dr_live && cpu->dr_owner != v))
		take_debug_registers(v, cpu);
	if (unlikely((v->asid_generation ^ cpu->asid_generation) | v->rare[0] | v->rare[1] |
		     (v->slat_generation_seen ^
		      __atomic_load_n(&v->vm->slat_generation, __ATOMIC_ACQUIRE))))
		prepare_rare(v, cpu);
	v->extra_saved = false;
	svm_enter(v);
	v->gpr[GPR_RAX] = vmcb->rax;
	v->gpr[GPR_RSP] = vmcb->rsp;
	v->rip = vmcb->rip;
	svm_decode(v, e);
	if (unlikely(v->rare[0] | v->rare[1]))
		settle_rare(v, e);
}

/*
 * The NMI handler runs on an IST stack, which the processor finds through TR: root's own group of
 * VMLOAD state must be loaded for it.
 */
void svm_take_nmi(struct cpu *cpu, bool sleep)
{
	struct virt_vcpu *v = cpu->loaded;

	if (v)
		svm_save_extra(v);
	vmload(cpu->host_area);
	if (sleep)
		svm_sleep_nmi();
	else
		svm_open_nmi();
	if (v)
		v->dirty |= DIRTY_EXTRA;
}
