/* SPDX-License-Identifier: MIT */
/* Machine checks that the VMM sets up and injects. */
#include "core/mce.h"

#include "arch-x86/regs.h"

enum { MCG_STATUS_MCIP = BIT(2) };

enum mcg_cap { MCG_CTL_P = BIT(8), MCG_SER_P = BIT(24), MCG_CAP_EXTENDED = 0xff << 16 };

enum mci_status {
	MCI_VALID = BIT(63),
	MCI_OVERFLOW = BIT(62),
	MCI_UNCORRECTED = BIT(61),
	MCI_CONTEXT_CORRUPT = BIT(57),
	MCI_SIGNALLED = BIT(56),
	MCI_ACTION_REQUIRED = BIT(55),
};

enum { CTL, STATUS, ADDRESS, MISC, BANK_WORDS };

u64 mce_supported(void)
{
	return MCG_CTL_P | MCG_SER_P;
}

int mce_setup(struct vcpu *vcpu, u64 mcg_cap)
{
	u32 banks = mcg_cap & 0xff;

	if (!banks || banks > MCE_BANKS ||
	    mcg_cap & ~(mce_supported() | MCG_CAP_EXTENDED | 0xffull))
		return -EINVAL;
	vcpu->msr.mcg_cap = mcg_cap;
	if (mcg_cap & MCG_CTL_P)
		vcpu->msr.mcg_ctl = ~0ull;
	for (u32 i = 0; i < banks; i++)
		vcpu->msr.mc[BANK_WORDS * i + CTL] = ~0ull;
	return 0;
}

static void record(u64 *bank, const struct machine_check *m)
{
	u64 overflow = bank[STATUS] & MCI_VALID ? MCI_OVERFLOW : 0;

	bank[ADDRESS] = m->address;
	bank[MISC] = m->misc;
	bank[STATUS] = m->status | overflow;
}

/* Uncorrected, but nothing has consumed it yet: recorded, not raised. */
static bool needs_no_action(const struct machine_check *m)
{
	return !m->mcg_status &&
	       !(m->status & (MCI_CONTEXT_CORRUPT | MCI_SIGNALLED | MCI_ACTION_REQUIRED));
}

static void uncorrected(struct vcpu *vcpu, u64 *bank, const struct machine_check *m)
{
	if ((vcpu->msr.mcg_cap & MCG_CTL_P && vcpu->msr.mcg_ctl != ~0ull) || bank[CTL] != ~0ull)
		return; /* reporting is off */
	if (vcpu->msr.mcg_status & MCG_STATUS_MCIP || !(virt->get(&vcpu->v, VREG_CR4) & CR4_MCE)) {
		vcpu_set_request(vcpu, REQUEST_TRIPLE_FAULT);
		return;
	}
	record(bank, m);
	vcpu->msr.mcg_status = m->mcg_status;
	vcpu_queue_exception(vcpu, VECTOR_MC, false, 0);
}

int mce_inject(struct vcpu *vcpu, const struct machine_check *m)
{
	u64 *bank;

	if (m->bank >= (vcpu->msr.mcg_cap & 0xff) || !(m->status & MCI_VALID))
		return -EINVAL;
	bank = &vcpu->msr.mc[BANK_WORDS * m->bank];
	if (m->status & MCI_UNCORRECTED && !needs_no_action(m))
		uncorrected(vcpu, bank, m);
	else if (m->status & MCI_UNCORRECTED || !(bank[STATUS] & MCI_VALID) ||
		 !(bank[STATUS] & MCI_UNCORRECTED))
		record(bank, m);
	else /* it would overwrite what is worse */
		bank[STATUS] |= MCI_OVERFLOW;
	return 0;
}
