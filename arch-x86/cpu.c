// SPDX-License-Identifier: MIT
/* The CPUs that Keel runs on, and the backend that boot/ picked for them. */
#include "arch-x86/cpu.h"

#include "arch-x86/insn.h"
#include "arch-x86/virt.h"

u32 cpu_count;
u32 cpu_panicking;
struct cpu *cpus[CPU_MAX];

const struct virt_ops *virt;
u64 virt_features;
bool virt_check_entry;
u32 virt_teach;

void cpu_check_panic(void)
{
	while (__atomic_load_n(&cpu_panicking, __ATOMIC_SEQ_CST)) {
		cli();
		hlt();
	}
}
