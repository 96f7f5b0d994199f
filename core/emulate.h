/* SPDX-License-Identifier: MIT */
/*
 * The instruction emulator's state in a vCPU. An MMIO instruction may need several accesses, and
 * each may have to go to the VMM. The instruction is decoded once, from bytes fetched once (a
 * second vCPU may rewrite them meanwhile), and executed as often as needed: accesses already
 * settled are replayed from `done`, so that each reaches the device exactly once.
 */
#pragma once

#include "arch-x86/virt.h"
#include "core/decode.h"

#define EMULATION_ACCESSES 16

struct emulation_access {
	gpa_t gpa;
	u64 data;
	u8 length; /* bytes, 1 to 8, within one page */
	bool write;
};

enum emulation_result {
	EMULATE_DONE, /* executed; RIP and state are updated; events may be queued */
	EMULATE_USER, /* vcpu->exit holds an MMIO access for the VMM. Where emulation.active is set,
		       * emulate_resume() then; else that write was the instruction's end */
	EMULATE_FAULT,	 /* vcpu->exit.memory: a guest frame needs a page. After that: where
			  * emulation.active is set (only from emulate_resume()), emulate_resume()
			  * again, else enter the guest */
	EMULATE_UNKNOWN, /* not an instruction that we know: INTERNAL_ERROR, with the bytes in
			  * emulation.insn (bytes, length). At CPL > 0 it is #UD instead, so that
			  * an application cannot end its VM, and the result EMULATE_DONE */
};

struct emulation {
	bool active; /* an instruction waits for the VMM's answer, or for a guest frame */
	u8 count;    /* accesses settled, with a write that the VMM is told of */
	struct insn insn;
	u64 rip; /* linear, where the instruction stood */
	struct emulation_access done[EMULATION_ACCESSES];
};

struct vcpu;

/*
 * Emulates the instruction at CS:RIP, fetched through the guest's tables or from the exit's decode
 * assists. RAM and MMIO may mix: an access goes to RAM where guest_ptr() finds some, else to the
 * VM's MMIO bus, else to the VMM. EMULATE_DONE also when an exception was queued, when a repeated
 * string instruction has more to do (RIP unchanged), or when the guest changed the instruction or
 * its tables meanwhile (nothing done; the processor executes what stands there now).
 */
enum emulation_result emulate(struct vcpu *vcpu, const struct vm_exit *e);
/*
 * Goes on with the same instruction. Where vcpu->exit.reason is still USER_MMIO and it was a read,
 * vcpu->exit.mmio holds the VMM's answer; it is taken in once. When RIP is not where it was (the
 * VMM set it), the rest of the instruction is dropped: EMULATE_DONE.
 */
enum emulation_result emulate_resume(struct vcpu *vcpu);
