/* SPDX-License-Identifier: MIT */
/* What the files of the VMX backend share. */
#pragma once

#include "arch-x86/cpu.h"
#include "arch-x86/dump.h"
#include "arch-x86/insn.h"
#include "arch-x86/virt.h"
#include "vmx/vmcs.h"

/* MSRs that neither the VMCS nor the contract's other parts switch: load and put do. */
enum switched_msr {
	SWITCHED_STAR,
	SWITCHED_LSTAR,
	SWITCHED_CSTAR,
	SWITCHED_SFMASK,
	SWITCHED_KERNEL_GS_BASE,
	SWITCHED_COUNT
};

/*
 * virt_vcpu.hw: what is kept beside the VMCS, whose page is virt_vcpu.hw_hpa. The VMCS itself is
 * reached by VMREAD and VMWRITE alone, and only while it is current (vmx_current()).
 */
struct vmx_vcpu {
	struct virt_vcpu *v;
	u64 rip, rsp;		  /* as the VMCS has them */
	u64 host_rsp;		  /* in its host-state area; entry.asm writes it when it changed */
	struct virt_event event;  /* that the next entry delivers, while `injected` */
	u64 cr2;		  /* the guest's; on the processor while it is loaded */
	u64 dr6;		  /* the guest's; on the processor while it is cpu->dr_owner */
	u64 msrs[SWITCHED_COUNT]; /* the guest's; on the processor while it is loaded */
	u64 eptp;
	u32 pin, cpu, cpu2, exit, entry; /* the controls in the VMCS */
	u32 exceptions;			 /* the exception bitmap in the VMCS */
	bool launched;			 /* VMRESUME, not VMLAUNCH */
	bool active;			 /* on processor virt_vcpu.cpu, since the last VMCLEAR */
	bool injected;			 /* the next entry delivers an event */
	bool nmi_masked;		 /* without virtual NMIs: event.c */
	u64 *log;			 /* child with VIRT_PML: its page; NULL otherwise */
	u8 *virtual_apic;		 /* child with TPR shadow; NULL otherwise */
};

#define VIRTUAL_APIC_TPR 0x80 /* offset in virtual_apic: the TPR, CR8 in its bits 7:4 */

static inline struct vmx_vcpu *vmx_of(const struct virt_vcpu *v)
{
	return v->hw;
}

/* What this processor's VMX offers, beside virt_features. The allowed settings of the controls. */
struct vmx_allowed {
	u32 one;  /* bits that must be 1 */
	u32 zero; /* bits that must be 0, as ones */
};
struct vmx_cpu_features {
	u32 revision; /* of the VMCS and the VMXON region */
	struct vmx_allowed pin, cpu, cpu2, exit, entry;
	u64 cr0_fixed1,
		cr0_fixed0; /* IA32_VMX_CR0_FIXED0: bits that are 1; FIXED1: bits that may be 1 */
	u64 cr4_fixed1, cr4_fixed0;
	u64 ept_vpid; /* enum ept_vpid_cap */
	u64 misc;     /* IA32_VMX_MISC */
	bool true_controls;
	bool insn_info_io;   /* the instruction information of INS and OUTS is there */
	bool any_error_code; /* bit 56: any exception may be injected with an error code */
	bool rsb_fill;	     /* the return predictor must be refilled after an exit */
	u8 physical_bits;
};
extern struct vmx_cpu_features vmx_features;

enum invalidation { /* SDM vol. 3, "INVEPT", "INVVPID": types */
		    INVALIDATE_SINGLE = 1,
		    INVALIDATE_ALL = 2,
};

/* A control word with the bits that the processor demands. */
static inline u32 vmx_adjust(const struct vmx_allowed *allowed, u32 value)
{
	return (value | allowed->one) & ~allowed->zero;
}

/* Writes a control word when it changed. `member` is vmx_vcpu's, `field` the VMCS's. */
#define VMX_CONTROL(v, member, field, value)                                                       \
	do {                                                                                       \
		struct vmx_vcpu *x_ = vmx_of(v);                                                   \
		u32 value_ = (value);                                                              \
                                                                                                   \
		if (x_->member != value_) {                                                        \
			vmx_current(v);                                                            \
			x_->member = value_;                                                       \
			vmwrite(field, value_);                                                    \
		}                                                                                  \
	} while (0)

/* setup.c */
struct vmx_words { /* one of each kind of control word */
	u32 pin, cpu, cpu2, exit, entry;
};
extern const struct vmx_words vmx_required; /* controls without which Keel cannot run */
/* The controls of a vCPU of that kind at its start, with what the processor demands. */
void vmx_choose_controls(enum virt_kind kind, u64 features, struct vmx_words *chosen,
			 u32 *exceptions);
const char *vmx_probe(u64 *features);
int vmx_cpu_on(struct cpu *cpu, hpa_t host_area);
void vmx_cpu_off(struct cpu *cpu);
int vmx_vm_init(struct virt_vm *vm, struct pool *pool);
int vmx_vcpu_init(struct virt_vcpu *v, struct virt_vm *vm, struct pool *pool);
void vmx_intercept_msr(struct virt_vm *vm, u32 index, bool read, bool write);
void vmx_intercept_port(struct virt_vm *vm, u16 port, bool on);

/* exit.c */
/* The controls that the table's "always" column asks for, before vmx_adjust(). */
struct vmx_controls {
	u32 pin, cpu, cpu2, exceptions;
};
void vmx_static_intercepts(enum virt_kind kind, struct vmx_controls *c);
const char *vmx_exit_name(u32 reason);
/*
 * After an exit, with the VMCS current: fills *e; v->quiet and v->rflags too. `reason` is the
 * field's value.
 */
void vmx_decode(struct virt_vcpu *v, struct vm_exit *e, u32 reason);

/* regs.c */
extern const u32 vmx_switched_msrs[SWITCHED_COUNT]; /* their numbers */
u64 vmx_get(struct virt_vcpu *v, enum virt_reg reg);
void vmx_set(struct virt_vcpu *v, enum virt_reg reg, u64 value);
void vmx_get_segment(struct virt_vcpu *v, enum seg seg, struct segment *s);
void vmx_set_segment(struct virt_vcpu *v, enum seg seg, const struct segment *s);

/* event.c */
void vmx_inject(struct virt_vcpu *v, const struct virt_event *event);
void vmx_intercept(struct virt_vcpu *v, u32 set);
/* After an exit of an entry that injected: the event is delivered, or in *e again. */
void vmx_inject_settle(struct virt_vcpu *v, const struct vm_exit *e);
/* NMI blocking: in the VMCS, or here without virtual NMIs. */
bool vmx_nmi_masked(struct virt_vcpu *v);
void vmx_mask_nmi(struct virt_vcpu *v, bool masked);
/* From the IDT-vectoring information of the exit. */
void vmx_decode_vectoring(struct virt_vcpu *v, struct virt_event *event);
/* Before an entry: pending debug exceptions agree with TF and the interrupt shadow. */
void vmx_debug_prepare(struct virt_vcpu *v);

/* run.c */
void vmx_load(struct virt_vcpu *v, struct cpu *cpu);
void vmx_put(struct virt_vcpu *v);
void vmx_swap(struct virt_vcpu *from, struct virt_vcpu *to, struct cpu *cpu);
void vmx_run(struct virt_vcpu *v, struct vm_exit *e);
/* Behind an exit that is decoded: what only some entries leave to do. */
void vmx_settle(struct virt_vcpu *v, struct vm_exit *e, u32 reason);
void vmx_take_nmi(struct cpu *cpu, bool sleep);
void vmx_release(struct virt_vcpu *v);
/* Makes v's VMCS the current one of this CPU. */
void vmx_make_current(struct virt_vcpu *v);
static inline void vmx_current(struct virt_vcpu *v)
{
	if (this_cpu()->current != v)
		vmx_make_current(v);
}

/* dump.c */
/* The control words that say whether the processor has a field. */
enum vmx_word {
	VMX_WORD_NONE,
	VMX_WORD_PIN,
	VMX_WORD_CPU,
	VMX_WORD_CPU2,
	VMX_WORD_EXIT,
	VMX_WORD_ENTRY
};
struct vmx_field {
	u16 field;
	u8 word;     /* enum vmx_word */
	u32 control; /* must be set there; 0: the field is always there */
	const char *name;
	const struct bit_name *bits;
};
extern const struct vmx_field vmx_fields[]; /* in encoding order; ends with {0} */
extern const struct bit_name vmx_pin_names[], vmx_cpu_names[], vmx_cpu2_names[], vmx_exit_names[],
	vmx_entry_names[];
void vmx_dump(struct virt_vcpu *v);
/* One field of the current VMCS; false: this vCPU's controls say that there is none. */
bool vmx_dump_field(const struct virt_vcpu *v, u32 field);
void vmx_dump_segment(enum seg seg);
/* The manual's rules for an entry that the VMCS breaks. */
void vmx_broken_rules(struct virt_vcpu *v, struct rules *r);
/* check=entry, before VMLAUNCH or VMRESUME: logs each broken rule. */
void vmx_check_before(struct virt_vcpu *v);
/* Words for VMCS_INSN_ERROR. SDM vol. 3, "VM Instruction Error Numbers". */
const char *vmx_insn_error(u32 number);

/* teach.c */
extern const struct teach_script vmx_script;

/* entry.asm */
enum vmx_refusal {
	VMX_NMI_FIRST = 1, /* an NMI hit root since the last look: nothing was entered */
	VMX_FAILED = 2,	   /* VMfailValid or VMfailInvalid */
};
/*
 * Loads the GPRs and enters the guest, unless v->cpu's root_flags have CPU_ROOT_NMI. After the exit
 * it stores the GPRs and goes on in vmx_exited(), else in vmx_not_entered().
 */
void vmx_enter(struct virt_vcpu *v, struct vm_exit *e, struct vmx_vcpu *x);
void vmx_exited(struct virt_vcpu *v, struct vm_exit *e);			    /* exit.c */
void vmx_not_entered(struct virt_vcpu *v, struct vm_exit *e, enum vmx_refusal why); /* run.c */
extern const char vmx_exit_point[];						    /* HOST_RIP */
extern const char vmx_check_begin[],
	vmx_check_end[]; /* between the look at `flags` and the entry */
/* NMIs are blocked after one has ended a guest's run: an IRET opens them. */
void vmx_open_nmi(void);
/* The same, then HLT until an NMI, unless `flags` has CPU_ROOT_NMI set. */
void vmx_sleep_nmi(const u8 *flags);
extern const char vmx_sleep_begin[], vmx_sleep_end[];
