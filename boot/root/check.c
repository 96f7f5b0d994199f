// SPDX-License-Identifier: MIT
/* keel.efi check, the part that needs root's own code: what the processors offer. */
#include "boot/root/check.h"

#include "arch-x86/insn.h"
#include "arch-x86/log.h"
#include "arch-x86/mtrr.h"
#include "svm/svm.h"
#include "vmx/vmx.h"

#define MSR_MICROCODE 0x8b /* IA32_BIOS_SIGN_ID, PATCH_LEVEL */
#define MTRR_STEPS    4096 /* masks with gaps make many small ranges */

static const char *type_name(enum memory_type type)
{
	switch (type) {
	case MEMORY_UC:
		return "uncacheable";
	case MEMORY_WC:
		return "write-combining";
	case MEMORY_WT:
		return "write-through";
	case MEMORY_WP:
		return "write-protected";
	case MEMORY_WB:
		return "write-back";
	}
	return "a reserved type";
}

static void report_mtrrs(void)
{
	u64 start = 0, address = 0, last, end;
	enum memory_type type, next;
	struct mtrrs mtrrs;

	mtrrs_read(&mtrrs);
	last = BIT(mtrrs.physical_bits);
	log_info("MTRRs: %u variable, default type register %lx, %u address bits:", mtrrs.count,
		 mtrrs.def_type, mtrrs.physical_bits);
	type = mtrrs_type(&mtrrs, 0, &end);
	for (u32 i = 0; i < MTRR_STEPS && address < last; i++) {
		address = MIN(end, last);
		next = address < last ? mtrrs_type(&mtrrs, address, &end) : type;
		if (next == type && address < last)
			continue;
		log_info("  %012lx to %012lx %s", start, address - 1, type_name(type));
		start = address;
		type = next;
	}
	if (address < last)
		log_info("  %012lx on: many small ranges", start);
}

static void report_other(const struct boot_info *info, u32 index, int error, u64 features)
{
	if (error)
		log_info("CPU %u cannot run Keel: %s", index, info->why);
	else if (features != info->features)
		log_info("CPU %u differs from CPU 0: features %lx, there %lx: no launch", index,
			 features, info->features);
	else
		log_info("CPU %u offers the same as CPU 0", index);
}

void check_report(struct boot_info *info, u32 index, int error, u64 features)
{
	u64 microcode;

	if (index) {
		report_other(info, index, error, features);
		return;
	}
	info->features = error ? 0 : features;
	/* Where the backend refuses, what it would use is told all the same. */
	virt_features = (error ? ~0ull : features) & ~(u64)info->backend_forbidden;
	if (!rdmsr_safe(MSR_MICROCODE, &microcode))
		log_info("microcode %lx", microcode);
	if (virt == &svm_ops)
		svm_report();
	else if (virt == &vmx_ops)
		vmx_report();
	report_mtrrs();
	if (error)
		log_info("CPU 0 cannot run Keel: %s", info->why);
	else
		log_info("CPU 0 can run Keel by %s", virt->name);
}
