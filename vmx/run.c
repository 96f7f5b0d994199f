/* SPDX-License-Identifier: MIT */
/*
 * One entry: what must be on the processor, which translations may be used, what changed in the
 * VMCS. Nothing is written that has not changed (design D8).
 */
#include "arch-x86/desc.h"
#include "arch-x86/insn.h"
#include "arch-x86/log.h"
#include "arch-x86/msr.h"
#include "arch-x86/teach.h"
#include "mm/phys.h"
#include "vmx/internal.h"

#define TIMER_MAX	 0xffffffffull
#define LOG_LAST	 511
#define MISC_TIMER_SHIFT MASK(4, 0) /* of IA32_VMX_MISC */

/* What the processor holds of vmx_switched_msrs while no vCPU is loaded: the last one's. */
static u64 on_processor[CPU_MAX][SWITCHED_COUNT];

void vmx_make_current(struct virt_vcpu *v)
{
	struct vmx_vcpu *x = vmx_of(v);

	x->active = true;
	vmptrld(&v->hw_hpa);
	this_cpu()->current = v;
}

/* SDM vol. 3, "VMCLEAR": the data is in memory then, and another CPU may make it active. */
void vmx_release(struct virt_vcpu *v)
{
	struct vmx_vcpu *x = vmx_of(v);
	struct cpu *cpu = this_cpu();

	if (!x->active)
		return;
	vmclear(&v->hw_hpa);
	x->active = false;
	x->launched = false;
	if (cpu->current == v)
		cpu->current = NULL;
}

/*
 * DR0 to DR3 and DR6 change owner only when a vCPU that uses them is entered: the management
 * guest's stay on the processor while children that do not are run (their MOV DR exits then, and
 * so does #DB, which leaves DR6 as it is).
 */
static void take_debug_registers(struct virt_vcpu *v, struct cpu *cpu)
{
	struct virt_vcpu *owner = cpu->dr_owner;

	if (owner) {
		read_breakpoints(owner->dr);
		vmx_of(owner)->dr6 = read_dr6();
	}
	write_breakpoints(v->dr);
	write_dr6(vmx_of(v)->dr6);
	cpu->dr_owner = v;
}

static void drop_debug_registers(struct virt_vcpu *v, struct cpu *cpu)
{
	read_breakpoints(v->dr);
	vmx_of(v)->dr6 = read_dr6();
	cpu->dr_owner = NULL;
}

/* The host state that differs from CPU to CPU. */
static void set_host_cpu(struct virt_vcpu *v, struct cpu *cpu)
{
	const struct cpu_tables *tables = cpu->arch;

	vmwrite(VMCS_HOST_GDTR_BASE, (u64)tables->gdt);
	vmwrite(VMCS_HOST_TR_BASE, (u64)&tables->tss);
	vmx_of(v)->host_rsp = 0;
}

/*
 * WRMSR of the other switched MSRs exits: they are in x->msrs already (regs.c). SWAPGS does not,
 * and it writes this one.
 */
static inline void save_kernel_gs_base(struct vmx_vcpu *x)
{
	x->msrs[SWITCHED_KERNEL_GS_BASE] = rdmsr(MSR_KERNEL_GS_BASE);
}

static noinline void change_cpu(struct virt_vcpu *v, struct cpu *cpu)
{
	/* What this CPU keeps of its translations may be from before changes that it missed. */
	v->cpu = cpu;
	v->asid_generation = 0;
	v->slat_generation_seen = ~0ull;
	set_host_cpu(v, cpu);
}

static inline void attach(struct virt_vcpu *v, struct cpu *cpu)
{
	vmptrld(&v->hw_hpa);
	vmx_of(v)->active = true;
	cpu->current = v;
	if (unlikely(v->cpu != cpu))
		change_cpu(v, cpu);
	v->loaded = true;
	cpu->loaded = v;
}

/* Copies that core/ reads while it is not loaded, too. */
static inline void detach(struct virt_vcpu *v, struct cpu *cpu)
{
	struct vmx_vcpu *x = vmx_of(v);

	x->cr2 = read_cr2();
	if (x->virtual_apic)
		v->cr8 = x->virtual_apic[VIRTUAL_APIC_TPR] >> 4;
	/* A child may next run on another CPU, or never: its DRs must not stay behind here. */
	if (unlikely(cpu->dr_owner == v) && v->vm->kind == VIRT_CHILD)
		drop_debug_registers(v, cpu);
	v->loaded = false;
}

void vmx_load(struct virt_vcpu *v, struct cpu *cpu)
{
	struct vmx_vcpu *x = vmx_of(v);

	CHECK(!cpu->loaded);
	attach(v, cpu);
	write_cr2(x->cr2);
	for (u32 i = 0; i < SWITCHED_COUNT; i++)
		if (x->msrs[i] != on_processor[cpu->index][i])
			wrmsr(vmx_switched_msrs[i], x->msrs[i]);
}

void vmx_put(struct virt_vcpu *v)
{
	struct vmx_vcpu *x = vmx_of(v);
	struct cpu *cpu = v->cpu;

	CHECK(cpu->loaded == v);
	save_kernel_gs_base(x);
	for (u32 i = 0; i < SWITCHED_COUNT; i++)
		on_processor[cpu->index][i] = x->msrs[i];
	detach(v, cpu);
	cpu->loaded = NULL;
}

void vmx_swap(struct virt_vcpu *from, struct virt_vcpu *to, struct cpu *cpu)
{
	struct vmx_vcpu *mine = vmx_of(from), *next = vmx_of(to);

	CHECK(cpu->loaded == from);
	save_kernel_gs_base(mine);
#pragma GCC unroll 5
	for (u32 i = 0; i < SWITCHED_COUNT; i++)
		if (unlikely(mine->msrs[i] != next->msrs[i]))
			wrmsr(vmx_switched_msrs[i], next->msrs[i]);
	detach(from, cpu);
	if (mine->cr2 != next->cr2)
		write_cr2(next->cr2);
	attach(to, cpu);
}

static void flush_vpid(u16 vpid)
{
	if (vmx_features.ept_vpid & EPT_CAP_INVVPID_SINGLE)
		invvpid(INVALIDATE_SINGLE, vpid);
	else
		invvpid(INVALIDATE_ALL, 0);
}

/*
 * A new tag has no translations. When they run out the generation changes: those of all tags go,
 * and each vCPU gets a new one at its next entry here.
 */
static void new_vpid(struct virt_vcpu *v, struct cpu *cpu)
{
	if (cpu->asid_next >= cpu->asid_count) {
		cpu->asid_generation++;
		cpu->asid_next = 1;
		invvpid(INVALIDATE_ALL, 0);
	}
	v->asid = cpu->asid_next++;
	v->asid_generation = cpu->asid_generation;
	vmwrite(VMCS_VPID, v->asid);
}

/*
 * SDM vol. 3, "Page-Modification Logging" and "Accessed and Dirty Flags for EPT". With these flags
 * on, the guest's page walks count as writes: so only while something is logged, and from the first
 * look at accessed flags on. The caller flushes what was cached with the flags off.
 */
static void prepare_log(struct virt_vcpu *v)
{
	struct vmx_vcpu *x = vmx_of(v);
	bool log = x->log && v->vm->dirty_logs;
	bool flags = log || (v->features & VIRT_SLAT_AD && v->vm->slat_accessed);

	if (flags != !!(x->eptp & EPTP_AD)) {
		x->eptp ^= EPTP_AD;
		vmwrite(VMCS_EPTP, x->eptp);
	}
	if (log == !!(x->cpu2 & CPU2_PML))
		return;
	if (log) {
		vmwrite(VMCS_PML_ADDRESS, ptr_phys(x->log).v);
		vmwrite(VMCS_GUEST_PML_INDEX, LOG_LAST);
		v->once = true;
	}
	VMX_CONTROL(v, cpu2, VMCS_CPU_CONTROLS2, x->cpu2 ^ CPU2_PML);
}

/* The index counts down from LOG_LAST; 0xffff: the log is full. */
static noinline void read_log(struct virt_vcpu *v)
{
	u16 index = vmread(VMCS_GUEST_PML_INDEX), count = LOG_LAST - index;

	if (!count)
		return;
	v->written = vmx_of(v)->log + LOG_LAST + 1 - count;
	v->written_count = count;
	vmwrite(VMCS_GUEST_PML_INDEX, LOG_LAST);
}

/*
 * SDM vol. 3, "Guidelines for Use of the INVEPT Instruction" and "... INVVPID Instruction". INVEPT
 * drops what any VPID cached of this EPTP; without VPIDs each entry drops the rest.
 */
static void prepare_translations(struct virt_vcpu *v, struct cpu *cpu)
{
	u64 generation = __atomic_load_n(&v->vm->slat_generation, __ATOMIC_ACQUIRE);

	if (generation != v->slat_generation_seen) {
		prepare_log(v);
		if (vmx_features.ept_vpid & EPT_CAP_INVEPT_SINGLE)
			invept(INVALIDATE_SINGLE, vmx_of(v)->eptp);
		else
			invept(INVALIDATE_ALL, 0);
		v->slat_generation_seen = generation;
	}
	if (v->features & VIRT_VPID) {
		if (v->asid_generation != cpu->asid_generation)
			new_vpid(v, cpu);
		else if (v->flush)
			flush_vpid(v->asid);
	}
	v->flush = false;
}

static void fail_entry(struct vm_exit *e)
{
	e->reason = EXIT_INVALID;
	e->raw = vmread(VMCS_INSN_ERROR);
}

/* Root took an NMI: as if it had come right after the entry, and nothing was delivered yet. */
static void nmi_first(struct virt_vcpu *v, struct vm_exit *e)
{
	struct vmx_vcpu *x = vmx_of(v);

	e->reason = EXIT_NMI;
	e->raw = VMX_EXCEPTION_NMI;
	if (x->injected) {
		e->vectoring = x->event;
		vmx_inject(v, &(struct virt_event){.type = EVENT_NONE});
	}
}

/* From entry.asm. */
void vmx_not_entered(struct virt_vcpu *v, struct vm_exit *e, enum vmx_refusal why)
{
	struct vmx_vcpu *x = vmx_of(v);

	x->rip = v->rip;
	x->rsp = v->gpr[GPR_RSP];
	e->head = 0;
	e->info1 = 0;
	e->vectoring.type = EVENT_NONE;
	v->quiet = false;
	if (why == VMX_FAILED)
		fail_entry(e);
	else
		nmi_first(v, e);
}

/*
 * SDM vol. 3, "VMX-Preemption Timer": from the entry on it counts one whenever the TSC's bit
 * `shift` changes, and at 0 the guest exits; never before the deadline, so that is rounded up.
 * What 32 bits cannot hold exits early, for another look.
 */
static void set_timer(struct virt_vcpu *v)
{
	u32 shift = vmx_features.misc & MISC_TIMER_SHIFT;
	u64 now = rdtsc(), count = 0;

	if (v->deadline > now)
		count = ((v->deadline - 1) >> shift) + 1 - (now >> shift);
	vmwrite(VMCS_PREEMPTION_TIMER, MIN(count, TIMER_MAX));
}

static inline void switch_timer(struct vmx_vcpu *x, u32 on)
{
	u32 pin = (x->pin & ~(u32)PIN_PREEMPTION_TIMER) | on;

	if (unlikely(x->pin != pin)) {
		x->pin = pin;
		vmwrite(VMCS_PIN_CONTROLS, pin);
	}
}

static inline void prepare_timer(struct virt_vcpu *v)
{
	if (likely(v->deadline == NO_DEADLINE)) {
		switch_timer(vmx_of(v), 0);
	} else if (v->features & VIRT_PREEMPT_TIMER) {
		switch_timer(vmx_of(v), PIN_PREEMPTION_TIMER);
		set_timer(v);
	}
}

/* Everything else is ready. entry.asm goes on in vmx_exited() or vmx_not_entered(). */
static inline void enter(struct virt_vcpu *v, struct vm_exit *e, struct vmx_vcpu *x)
{
	if (v->rip != x->rip)
		vmwrite_next(VMCS_GUEST_RIP, v->rip);
	if (unlikely(v->gpr[GPR_RSP] != x->rsp))
		vmwrite(VMCS_GUEST_RSP, v->gpr[GPR_RSP]);
	vmx_enter(v, e, x);
}

/* With what an entry seldom needs. */
static noinline void run_rare(struct virt_vcpu *v, struct vm_exit *e)
{
	struct cpu *cpu = v->cpu;

	vmx_current(v);
	if (v->dr_live && cpu->dr_owner != v)
		take_debug_registers(v, cpu);
	prepare_translations(v, cpu);
	if (!v->quiet)
		vmx_debug_prepare(v);
	prepare_timer(v);
	if (virt_check_entry) {
		vmx_check_before(v);
		v->once = true;
	}
	teach_entry(v);
	enter(v, e, vmx_of(v));
}

void vmx_run(struct virt_vcpu *v, struct vm_exit *e)
{
	struct vmx_vcpu *x = vmx_of(v);
	struct cpu *cpu = v->cpu;

	if (unlikely(cpu->current != v || v->asid_generation != cpu->asid_generation ||
		     v->slat_generation_seen !=
			     __atomic_load_n(&v->vm->slat_generation, __ATOMIC_ACQUIRE) ||
		     v->rare[0] | v->rare[1] || !v->quiet || (v->dr_live && cpu->dr_owner != v))) {
		run_rare(v, e);
		return;
	}
	if (v->deadline != NO_DEADLINE || x->pin & PIN_PREEMPTION_TIMER)
		prepare_timer(v);
	enter(v, e, x);
}

void vmx_settle(struct virt_vcpu *v, struct vm_exit *e, u32 reason)
{
	struct vmx_vcpu *x = vmx_of(v);

	if (x->cpu2 & CPU2_PML)
		read_log(v);
	if (virt_check_entry)
		teach_exit(v, e, vmx_exit_name(reason), e->reason == EXIT_SLAT ? e->slat.gpa.v : 0);
	if (reason & EXIT_REASON_ENTRY_FAILED)
		return;
	x->launched = true;
	if (x->injected)
		vmx_inject_settle(v, e);
	v->once = virt_check_entry || x->cpu2 & CPU2_PML;
}

/* NMIs are open in root; one that waited has set CPU_ROOT_NMI by now. */
void vmx_take_nmi(struct cpu *cpu, bool sleep)
{
	if (!sleep) {
		vmx_open_nmi();
		return;
	}
	cpu->sleep_begin = (u64)vmx_sleep_begin;
	cpu->sleep_end = (u64)vmx_sleep_end;
	vmx_sleep_nmi(&cpu->root_flags);
	cpu->sleep_begin = (u64)vmx_check_begin;
	cpu->sleep_end = (u64)vmx_check_end;
}

/* From vmx_insn_failed. VMREAD itself fails without a current VMCS: once is enough. */
__attribute__((noreturn)) void vmx_insn_panic(void);
void vmx_insn_panic(void)
{
	static bool again;
	u32 number = 0;

	if (!again && this_cpu()->current) {
		again = true;
		number = vmread(VMCS_INSN_ERROR);
	}
	panic("a VMX instruction of root failed: error %u: %s", number, vmx_insn_error(number));
}
