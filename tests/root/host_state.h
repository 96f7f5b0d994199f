/* SPDX-License-Identifier: MIT */
/*
 * What an exit must bring back: root's own state behind each exit of a CPU is that behind its
 * first. (SDM vol. 3, "Loading Host State"; APM vol. 2, "#VMEXIT".)
 */
#pragma once

#include "arch-x86/cpu.h"
#include "arch-x86/desc.h"
#include "arch-x86/insn.h"
#include "arch-x86/log.h"
#include "arch-x86/msr.h"

#define EXITS	    200	     /* after so many on a CPU it is said that nothing has changed */
#define RFLAGS_ROOT 0x244700 /* AC, NT, DF, IF, TF, and ID */

enum host_word {
	HOST_CR0,
	HOST_CR3,
	HOST_CR4,
	HOST_EFER,
	HOST_PAT,
	HOST_RFLAGS,
	HOST_DR7,
	HOST_SELECTORS,
	HOST_GDT_BASE,
	HOST_GDT_LIMIT,
	HOST_IDT_BASE,
	HOST_IDT_LIMIT,
	HOST_WORDS
};

static const char *const host_names[HOST_WORDS] = {"CR0", "CR3",       "CR4", "EFER",
						   "PAT", "RFLAGS",    "DR7", "SS, CS",
						   "GDT", "its limit", "IDT", "its limit"};

static void host_state_read(u64 word[HOST_WORDS])
{
	struct descriptor_pointer gdt, idt;

	sgdt(&gdt);
	sidt(&idt);
	word[HOST_CR0] = read_cr0();
	word[HOST_CR3] = read_cr3();
	word[HOST_CR4] = read_cr4();
	word[HOST_EFER] = rdmsr(MSR_EFER);
	word[HOST_PAT] = rdmsr(MSR_PAT);
	word[HOST_RFLAGS] = read_rflags() & RFLAGS_ROOT;
	word[HOST_DR7] = read_dr7();
	word[HOST_SELECTORS] = (u64)read_ss() << 16 | read_cs();
	word[HOST_GDT_BASE] = gdt.base;
	word[HOST_GDT_LIMIT] = gdt.limit;
	word[HOST_IDT_BASE] = idt.base;
	word[HOST_IDT_LIMIT] = idt.limit;
}

static struct host_state {
	u64 word[HOST_WORDS];
	u64 exits;
} host_states[CPU_MAX];

/* Before each entry: the first finds what root has set up. */
static void host_state_before(void)
{
	struct host_state *state = &host_states[this_cpu()->index];

	if (!state->exits)
		host_state_read(state->word);
}

static void host_state_after(void)
{
	struct host_state *state = &host_states[this_cpu()->index];
	u64 now[HOST_WORDS];

	host_state_read(now);
	if (!state->exits++) { /* VMX sets the limits to 0xffff, which is wide enough */
		state->word[HOST_GDT_LIMIT] = MAX(now[HOST_GDT_LIMIT], state->word[HOST_GDT_LIMIT]);
		state->word[HOST_IDT_LIMIT] = MAX(now[HOST_IDT_LIMIT], state->word[HOST_IDT_LIMIT]);
	}
	for (u32 i = 0; i < HOST_WORDS; i++)
		if (now[i] != state->word[i])
			panic("root's %s was %llx and is %llx", host_names[i],
			      (unsigned long long)state->word[i], (unsigned long long)now[i]);
	if (state->exits == EXITS)
		log_info("root's state is the same after %u exits", EXITS);
}
