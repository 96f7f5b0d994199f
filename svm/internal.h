/* SPDX-License-Identifier: MIT */
/* What the files of the SVM backend share. */
#pragma once

#include "arch-x86/cpu.h"
#include "arch-x86/dump.h"
#include "arch-x86/virt.h"
#include "svm/vmcb.h"

/*
 * virt_vcpu.dirty: the low bits are those of the VMCB clean field, set when a field of the group
 * was written; above them:
 */
#define DIRTY_EXTRA BIT(16) /* the VMLOAD group in the VMCB was written: VMLOAD before VMRUN */
#define DIRTY_TSC   BIT(17) /* always with a tsc_ratio: the MSR is set for the guest alone */

/* virt_vcpu.nmi_state: how far a child is from taking an NMI (event.c). */
enum nmi_state {
	NMI_OPEN,   /* nothing is tracked */
	NMI_MASKED, /* inside an NMI handler: IRET is intercepted */
	NMI_IRET,   /* the IRET that opens NMIs again is the next instruction */
};

static inline struct vmcb *vmcb_of(const struct virt_vcpu *v)
{
	return v->hw;
}

/* Changes a field and marks its clean-bit group, only when the value is another one. */
#define VMCB_SET(v, field, value, group)                                                           \
	do {                                                                                       \
		struct vmcb *vmcb_ = vmcb_of(v);                                                   \
		typeof(vmcb_->field) value_ = (value);                                             \
                                                                                                   \
		if (vmcb_->field != value_) {                                                      \
			vmcb_->field = value_;                                                     \
			(v)->dirty |= (group);                                                     \
		}                                                                                  \
	} while (0)

/* What this processor's SVM offers (CPUID 8000_000A), beside virt_features. */
struct svm_cpu_features {
	bool lbr_virt;
	bool rsb_fill; /* the return predictor must be refilled after an exit */
	bool dr_mask;  /* there are DR0_ADDR_MASK to DR3_ADDR_MASK */
	bool qemu;     /* QEMU's own SVM, whose faults docs/architecture.md lists */
	u8 physical_bits;
};
extern struct svm_cpu_features svm_features;

/* setup.c */
const char *svm_probe(u64 *features);
int svm_cpu_on(struct cpu *cpu, hpa_t host_area);
void svm_cpu_off(struct cpu *cpu);
int svm_vm_init(struct virt_vm *vm, struct pool *pool);
int svm_vcpu_init(struct virt_vcpu *v, struct virt_vm *vm, struct pool *pool);
void svm_intercept_msr(struct virt_vm *vm, u32 index, bool read, bool write);
void svm_intercept_port(struct virt_vm *vm, u16 port, bool on);

/* exit.c */
/* The intercept words of the table's "always" column. */
void svm_static_intercepts(enum virt_kind kind, u32 words[INTERCEPT_WORDS]);
const char *svm_exit_name(u64 code);
void svm_decode(struct virt_vcpu *v, struct vm_exit *e);

/* regs.c */
u64 svm_get(struct virt_vcpu *v, enum virt_reg reg);
void svm_set(struct virt_vcpu *v, enum virt_reg reg, u64 value);
void svm_get_segment(struct virt_vcpu *v, enum seg seg, struct segment *s);
void svm_set_segment(struct virt_vcpu *v, enum seg seg, const struct segment *s);

/* event.c */
void svm_inject(struct virt_vcpu *v, const struct virt_event *event);
void svm_intercept(struct virt_vcpu *v, u32 set);
/* v->dr6 is the guest's DR6, and the VMCB's starts clear. */
static inline bool svm_dr6_aside(const struct virt_vcpu *v)
{
	return v->intercept_set & INTERCEPT_DB && v->vm->kind == VIRT_CHILD;
}
void svm_decode_vectoring(struct virt_vcpu *v, struct virt_event *event);
/* After an entry with an interrupt as V_IRQ: one not taken is reported as cut short. */
void svm_virq_settle(struct virt_vcpu *v, struct vm_exit *e);
/* Before an entry with a window wanted; after the exit of an entry that stepped or had NMI_IRET. */
void svm_windows_prepare(struct virt_vcpu *v);
void svm_nmi_settle(struct virt_vcpu *v, struct vm_exit *e);
/* The guest is about to execute IRET. */
void svm_nmi_iret(struct virt_vcpu *v, struct vm_exit *e);

/* run.c */
void svm_load(struct virt_vcpu *v, struct cpu *cpu);
void svm_put(struct virt_vcpu *v);
void svm_swap(struct virt_vcpu *from, struct virt_vcpu *to, struct cpu *cpu);
void svm_run(struct virt_vcpu *v, struct vm_exit *e);
void svm_take_nmi(struct cpu *cpu, bool sleep);
/* Makes the VMCB's VMLOAD group current when it is still on the processor. */
void svm_save_extra(struct virt_vcpu *v);

/* dump.c */
struct svm_field {
	u16 offset;
	u8 size; /* bytes: at most 8 */
	const char *name;
	const struct bit_name *bits;
};
extern const struct svm_field svm_fields[]; /* without the segments; ends with {0} */
#define SVM_SEGMENTS 10			    /* from vmcb.es on */
void svm_dump(struct virt_vcpu *v);
void svm_dump_field(const struct vmcb *vmcb, const struct svm_field *field);
void svm_dump_segment(const struct vmcb *vmcb, u32 index);
/* The manual's rules for an entry that the VMCB breaks. */
void svm_broken_rules(const struct vmcb *vmcb, struct rules *r);
/* check=entry: clean-bit groups that are not dirty but differ from the VMCB after its last exit. */
u32 svm_wrongly_clean(struct virt_vcpu *v);
/* check=entry, before VMRUN: panics on a group marked clean that changed, logs broken rules. */
void svm_check_before(struct virt_vcpu *v);
/* check=entry, after the exit: remembers the VMCB. */
void svm_check_after(struct virt_vcpu *v);

/* teach.c */
extern const struct teach_script svm_script;

/* entry.asm */
/* Loads the GPRs, enters the guest, stores the GPRs, refills the return predictor if it must be. */
void svm_enter(struct virt_vcpu *v);
/* Opens GIF around one instruction: NOP, or HLT, which ends with an NMI. */
void svm_open_nmi(void);
void svm_sleep_nmi(void);
extern const char svm_sleep_begin[], svm_sleep_end[];
