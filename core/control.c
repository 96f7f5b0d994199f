// SPDX-License-Identifier: MIT
/*
 * Control registers of a child, EFER and XCR0: what may be written (SDM vol. 3, "Control
 * Registers", "Initializing IA-32e Mode"), and the MOV, CLTS, LMSW and SMSW that exited.
 */
#include "core/control.h"

#include "arch-x86/regs.h"
#include "core/debug.h"
#include "core/run.h"
#include "core/vm.h"
#include "core/xstate.h"

#define CR0_DEFINED                                                                                \
	(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | \
	 CR0_PG)
#define CR3_PCID 0xfffull

bool cr0_valid(u64 cr0)
{
	if (cr0 >> 32)
		return false;
	if (cr0 & CR0_NW && !(cr0 & CR0_CD))
		return false;
	return !(cr0 & CR0_PG) || cr0 & CR0_PE;
}

bool cr4_valid(const struct vcpu *vcpu, u64 cr4)
{
	return !(cr4 & vcpu->cr4_reserved);
}

static u64 get(struct vcpu *vcpu, enum virt_reg reg)
{
	return virt->get(&vcpu->v, reg);
}

static void set(struct vcpu *vcpu, enum virt_reg reg, u64 value)
{
	virt->set(&vcpu->v, reg, value);
}

static bool code_is_64bit(struct vcpu *vcpu)
{
	return vcpu_code_mode(vcpu) == 8;
}

/*
 * SDM vol. 3, "PDPTE Registers": loading them checks the present ones' reserved bits. Called with
 * the values that are about to be in force. Where they stay in memory, a walk may have set the
 * accessed bit (QEMU does).
 */
static int load_pdptes(struct vcpu *vcpu, u64 cr3)
{
	u64 reserved = ~MASK(vcpu->physical_bits - 1, 0) | MASK(8, 5) | MASK(2, 1);
	gpa_t missing = GPA(0);
	u64 pdpte[4];

	if (!virt->ept)
		reserved &= ~(u64)PTE_A;
	if (guest_read(&vcpu->vm->mem, GPA(cr3 & MASK(31, 5)), pdpte, sizeof(pdpte), &missing))
		return vcpu_memory_fault(vcpu, missing, false) ? -EFAULT : -EINVAL;
	for (u32 i = 0; i < 4; i++)
		if (pdpte[i] & PTE_P && pdpte[i] & reserved)
			return -EINVAL;
	for (u32 i = 0; i < 4; i++)
		set(vcpu, VREG_PDPTE0 + i, pdpte[i]);
	return 0;
}

static int write_cr0(struct vcpu *vcpu, u64 value)
{
	u64 old = get(vcpu, VREG_CR0), efer = get(vcpu, VREG_EFER), cr4 = get(vcpu, VREG_CR4);
	bool paging_on = value & ~old & CR0_PG, paging_off = old & ~value & CR0_PG;
	int error;

	if (!cr0_valid(value))
		return -EINVAL;
	value = (value & CR0_DEFINED) | CR0_ET;
	if (paging_off && (code_is_64bit(vcpu) || cr4 & CR4_PCIDE))
		return -EINVAL;
	if (cr4 & CR4_CET && !(value & CR0_WP))
		return -EINVAL;
	if (paging_on && efer & EFER_LME) {
		struct segment cs;

		virt->get_segment(&vcpu->v, SEG_CS, &cs);
		if (!(cr4 & CR4_PAE) || cs.attr & SEG_L)
			return -EINVAL;
		set(vcpu, VREG_EFER, efer | EFER_LMA);
	} else if (paging_on && cr4 & CR4_PAE) {
		error = load_pdptes(vcpu, get(vcpu, VREG_CR3));
		if (error)
			return error;
	} else if (paging_off) {
		set(vcpu, VREG_EFER, efer & ~(u64)EFER_LMA);
	}
	set(vcpu, VREG_CR0, value);
	if ((old ^ value) & (CR0_PG | CR0_WP | CR0_PE))
		vcpu->v.flush = true;
	return 0;
}

static bool pae_paging(struct vcpu *vcpu, u64 cr4)
{
	return get(vcpu, VREG_CR0) & CR0_PG && cr4 & CR4_PAE && !(get(vcpu, VREG_EFER) & EFER_LMA);
}

bool control_pae_paging(struct vcpu *vcpu)
{
	return pae_paging(vcpu, get(vcpu, VREG_CR4));
}

bool control_get_pdptes(struct vcpu *vcpu, u64 pdpte[4])
{
	gpa_t table = GPA(get(vcpu, VREG_CR3) & MASK(31, 5));

	/* SVM reads them in memory at each walk: APM vol. 2, "Legacy PAE Mode". */
	if (!virt->ept || vcpu->request & REQUEST_PDPTES)
		return !guest_read(&vcpu->vm->mem, table, pdpte, 4 * sizeof(*pdpte), NULL);
	for (u32 i = 0; i < 4; i++)
		pdpte[i] = get(vcpu, VREG_PDPTE0 + i);
	return true;
}

void control_set_pdptes(struct vcpu *vcpu, const u64 pdpte[4])
{
	vcpu_clear_request(vcpu, REQUEST_PDPTES);
	for (u32 i = 0; i < 4; i++)
		set(vcpu, VREG_PDPTE0 + i, pdpte[i]);
}

int control_load_pdptes(struct vcpu *vcpu)
{
	if (!control_pae_paging(vcpu))
		return 0;
	return load_pdptes(vcpu, get(vcpu, VREG_CR3)) == -EFAULT ? -EFAULT : 0;
}

static int write_cr3(struct vcpu *vcpu, u64 value)
{
	u64 cr4 = get(vcpu, VREG_CR4);
	bool keep = value & CR3_NO_FLUSH && cr4 & CR4_PCIDE;
	int error;

	if (keep)
		value &= ~CR3_NO_FLUSH;
	if (get(vcpu, VREG_EFER) & EFER_LMA && value & ~MASK(vcpu->physical_bits - 1, 0))
		return -EINVAL;
	if (pae_paging(vcpu, cr4)) {
		error = load_pdptes(vcpu, value);
		if (error)
			return error;
	}
	set(vcpu, VREG_CR3, value);
	if (!keep)
		vcpu->v.flush = true;
	return 0;
}

#define CR4_PAGING (CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_PKE)

static int write_cr4(struct vcpu *vcpu, u64 value)
{
	u64 old = get(vcpu, VREG_CR4), cr3 = get(vcpu, VREG_CR3);
	bool long_mode = get(vcpu, VREG_EFER) & EFER_LMA;
	int error;

	if (!cr4_valid(vcpu, value) || (long_mode && !(value & CR4_PAE)))
		return -EINVAL;
	if (value & ~old & CR4_PCIDE && (!long_mode || cr3 & CR3_PCID))
		return -EINVAL;
	if ((old ^ value) & (CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP) && pae_paging(vcpu, value)) {
		error = load_pdptes(vcpu, cr3);
		if (error)
			return error;
	}
	set(vcpu, VREG_CR4, value);
	vcpu->fetch.bytes = NULL;
	if ((old ^ value) & CR4_PAGING)
		vcpu->v.flush = true;
	return 0;
}

void control_cr8_from_guest(struct vcpu *vcpu)
{
	const struct irqchip_ops *irqchip = vcpu->vm->irqchip;
	u64 cr8;

	if (!irqchip)
		return;
	cr8 = get(vcpu, VREG_CR8);
	if (cr8 != irqchip->get_cr8(vcpu))
		irqchip->set_cr8(vcpu, cr8);
}

void control_cr8_to_guest(struct vcpu *vcpu)
{
	const struct irqchip_ops *irqchip = vcpu->vm->irqchip;
	u64 cr8;

	if (!irqchip)
		return;
	cr8 = irqchip->get_cr8(vcpu);
	if (cr8 != get(vcpu, VREG_CR8))
		set(vcpu, VREG_CR8, cr8);
}

static int write_cr8(struct vcpu *vcpu, u64 value)
{
	if (value > 15)
		return -EINVAL;
	set(vcpu, VREG_CR8, value);
	if (vcpu->vm->irqchip)
		vcpu->vm->irqchip->set_cr8(vcpu, value);
	vcpu_set_request(vcpu, REQUEST_EVENT);
	return 0;
}

int control_write(struct vcpu *vcpu, u32 nr, u64 value)
{
	switch (nr) {
	case 0:
		return write_cr0(vcpu, value);
	case 2:
		set(vcpu, VREG_CR2, value);
		return 0;
	case 3:
		return write_cr3(vcpu, value);
	case 4:
		return write_cr4(vcpu, value);
	case 8:
		return write_cr8(vcpu, value);
	default:
		return -EPERM;
	}
}

/* SDM vol. 2, "LMSW": loads PE, MP, EM, TS and cannot clear PE. */
int control_lmsw(struct vcpu *vcpu, u64 word)
{
	return write_cr0(vcpu, (get(vcpu, VREG_CR0) & ~0xeull) | (word & 0xf));
}

int control_read(struct vcpu *vcpu, u32 nr, u64 *value)
{
	static const s8 regs[9] = {VREG_CR0, -1, VREG_CR2, VREG_CR3, VREG_CR4,
				   -1,	     -1, -1,	   VREG_CR8};

	if (nr >= ARRAY_SIZE(regs) || regs[nr] < 0)
		return -EPERM;
	*value = get(vcpu, regs[nr]);
	return 0;
}

int control_set_efer(struct vcpu *vcpu, u64 efer, bool by_host)
{
	u64 old = get(vcpu, VREG_EFER);

	if (efer & vcpu->efer_reserved)
		return -EINVAL;
	if ((efer ^ old) & EFER_LME && get(vcpu, VREG_CR0) & CR0_PG)
		return -EINVAL;
	/* LMA is the processor's. */
	efer = (efer & ~(u64)EFER_LMA) | (old & EFER_LMA);
	set(vcpu, VREG_EFER, efer);
	if ((efer ^ old) & EFER_NXE)
		vcpu->v.flush = true;
	return 0;
}

int control_xsetbv(struct vcpu *vcpu, u32 index, u64 value)
{
	if (index || get(vcpu, VREG_CPL))
		return -EINVAL;
	return xcr0_set(vcpu, value);
}

/* The decoded access to a control or debug register. */
struct access {
	u32 nr, gpr, length;
	bool debug, write, machine_word, clear_ts;
};

static u32 modrm_reg(const struct insn *insn)
{
	return (insn->modrm >> 3 & 7) | (insn->rex & 4) << 1;
}

static u32 modrm_rm(const struct insn *insn)
{
	return (insn->modrm & 7) | (insn->rex & 1) << 3;
}

/* LMSW and SMSW with a memory operand. */
static bool machine_word_in_memory(const struct insn *insn)
{
	u32 op = insn->modrm >> 3 & 7;

	return insn->map == 1 && insn->opcode == 0x01 && insn->modrm < 0xc0 && (op == 4 || op == 6);
}

/* False: none of MOV CR, MOV DR, CLTS, and LMSW and SMSW with a register. */
static bool classify(const struct insn *insn, struct access *a)
{
	*a = (struct access){.length = insn->length};
	if (insn->map != 1)
		return false;
	if (insn->opcode >= 0x20 && insn->opcode <= 0x23) {
		a->debug = insn->opcode & 1;
		a->write = insn->opcode & 2;
		a->nr = insn->lock ? 8 : modrm_reg(insn);
		a->gpr = modrm_rm(insn);
		return true;
	}
	a->clear_ts = insn->opcode == 0x06;
	if (insn->opcode != 0x01)
		return a->clear_ts;
	a->machine_word = true;
	a->write = (insn->modrm >> 3 & 7) == 6;
	a->gpr = modrm_rm(insn);
	return insn->modrm >= 0xc0 && (a->write || (insn->modrm >> 3 & 7) == 4);
}

static int machine_word(struct vcpu *vcpu, const struct access *a, u32 operand_size)
{
	u64 cr0 = get(vcpu, VREG_CR0), *gpr = &vcpu->v.gpr[a->gpr];

	if (a->write)
		return control_lmsw(vcpu, *gpr);
	if (operand_size == 2)
		*gpr = (*gpr & ~0xffffull) | (cr0 & 0xffff);
	else
		*gpr = operand_size == 4 ? (u32)cr0 : cr0;
	return 0;
}

static int move(struct vcpu *vcpu, const struct access *a, bool wide)
{
	u64 value = wide ? vcpu->v.gpr[a->gpr] : (u32)vcpu->v.gpr[a->gpr];
	int error;

	if (a->write)
		return a->debug ? debug_write(vcpu, a->nr, value)
				: control_write(vcpu, a->nr, value);
	error = a->debug ? debug_read(vcpu, a->nr, &value) : control_read(vcpu, a->nr, &value);
	if (!error)
		vcpu->v.gpr[a->gpr] = wide ? value : (u32)value;
	return error;
}

static bool known(const struct vm_exit *e, struct access *a)
{
	if (e->reason == EXIT_CR_OTHER || !e->mov.gpr_known || !e->insn_len)
		return false;
	*a = (struct access){.length = e->insn_len, .nr = e->mov.nr, .gpr = e->mov.gpr};
	a->debug = e->reason == EXIT_DR_READ || e->reason == EXIT_DR_WRITE;
	a->write = e->reason == EXIT_CR_WRITE || e->reason == EXIT_DR_WRITE;
	return true;
}

int control_exit(struct vcpu *vcpu, const struct vm_exit *e)
{
	u32 mode = vcpu_code_mode(vcpu), count;
	u64 cr8 = get(vcpu, VREG_CR8);
	struct insn insn = {.operand_size = 4};
	u8 bytes[15];
	struct access a;
	int error, outcome;

	if ((e->reason == EXIT_DR_READ || e->reason == EXIT_DR_WRITE) && !debug_owns_moves(vcpu)) {
		debug_go_live(vcpu); /* and the instruction runs again, without an exit */
		return RUN_CONTINUE;
	}
	if (!known(e, &a)) {
		count = vcpu_fetch(vcpu, e, bytes);
		if (!count)
			return run_fetch_failed(vcpu, e);
		if (insn_decode(&insn, bytes, count, mode))
			return run_internal_error(vcpu, INTERNAL_EMULATION, e);
		if (machine_word_in_memory(&insn))
			return run_emulate(vcpu, e);
		if (!classify(&insn, &a))
			return run_internal_error(vcpu, INTERNAL_EMULATION, e);
	}
	if (a.clear_ts)
		error = write_cr0(vcpu, get(vcpu, VREG_CR0) & ~(u64)CR0_TS);
	else if (a.machine_word)
		error = machine_word(vcpu, &a, insn.operand_size);
	else
		error = move(vcpu, &a, mode == 8);
	outcome = run_settle(vcpu, error, a.length);
	/* Without an APIC in Keel the VMM hears when a lower priority may let an interrupt in. */
	if (!error && !vcpu->vm->irqchip && get(vcpu, VREG_CR8) < cr8) {
		vcpu->exit.reason = USER_SET_TPR;
		return RUN_USER;
	}
	return outcome;
}
