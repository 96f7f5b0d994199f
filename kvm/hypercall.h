/* SPDX-License-Identifier: MIT */
/*
 * The hypercall entry: registers in, one request executed, registers out. The tables of
 * system.c, vm.c and vcpu.c say what each request takes and gives; the numbers are in abi.h.
 */
#pragma once

#include "arch-x86/cpu.h"
#include "kvm/handle.h"

/* One hypercall under way. */
struct call {
	struct cpu *cpu;
	struct vm_slot *slot; /* NULL for the system */
	struct vm *vm;	      /* NULL for the system */
	struct vcpu *vcpu;    /* NULL but for a vCPU's requests */
	u64 handle;	      /* RDI */
	u64 argument;	      /* RDX: immediate value or physical address */
	u64 length;	      /* RCX: bytes there */
	u64 extra;	      /* R8 */
	void *data;	      /* this CPU's page: the struct copied in, then the one to copy out */
	u64 result2, result3; /* RDX, R8 */
};

#define CALL_DATA 4096 /* bytes at call->data */

/* KVM's limits, and what KVM_CHECK_EXTENSION says of them. */
#define VCPU_ID_MAX	 4096 /* KVM_CAP_MAX_VCPU_ID */
#define IRQ_ROUTES_MAX	 4096 /* KVM_CAP_IRQ_ROUTING */
#define X2APIC_API_FLAGS (KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK)
#define GUEST_DEBUG_FLAGS                                                                          \
	(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_USE_SW_BP |                  \
	 KVM_GUESTDBG_USE_HW_BP | KVM_GUESTDBG_INJECT_DB | KVM_GUESTDBG_INJECT_BP |                \
	 KVM_GUESTDBG_BLOCKIRQ)

#define DISABLE_EXITS                                                                              \
	(KVM_X86_DISABLE_EXITS_MWAIT | KVM_X86_DISABLE_EXITS_HLT | KVM_X86_DISABLE_EXITS_PAUSE |   \
	 KVM_X86_DISABLE_EXITS_CSTATE)
#define MSR_EXIT_REASONS                                                                           \
	(KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_FILTER)

/* vm->caps: what KVM_ENABLE_CAP switched on. */
enum vm_caps {
	CAP_EXCEPTION_PAYLOAD = BIT(0),
	CAP_TRIPLE_FAULT_EVENT = BIT(1),
};

enum request_flags {
	REQUEST_LOCK = BIT(0),	   /* holds vm->lock */
	REQUEST_PARALLEL = BIT(1), /* on a vCPU: also while another CPU runs it */
	REQUEST_DYING = BIT(2),	   /* on a VM: also while it is being destroyed */
	REQUEST_OUT_ALWAYS =
		BIT(3), /* copies out also after -E2BIG: the needed count is in there */
};

/* One row of an object's table. Structs of `in` and `out` bytes are copied by the dispatcher. */
struct request {
	u32 number;
	u16 in, out;
	u8 flags; /* enum request_flags */
	s64 (*handler)(struct call *call);
};

struct request_table {
	const struct request *rows;
	u32 count;
	int unknown; /* the errno of what is not in the table */
};

extern const struct request_table system_requests, vm_requests, vcpu_requests;

/* Serves this CPU's management vCPU for ever. */
__attribute__((noreturn)) void kvm_cpu_loop(struct cpu *cpu);
/* Executes the hypercall that stands in the registers of this CPU's management vCPU. */
void hypercall(struct cpu *cpu);

/*
 * KEEL_RUN (run.c), the one request that has to be fast: its arguments and results stand in the
 * registers of the management vCPU. The CPU works on the vCPU's VM (handle_enter_vcpu()).
 */
void run_vcpu(struct cpu *cpu, struct vcpu *vcpu);

/*
 * Copies between the management guest's memory and Keel. offset is from call->argument; the bytes
 * must lie within call->length: -EINVAL. -EFAULT: not the management guest's RAM.
 */
int call_read(struct call *call, u64 offset, void *out, u64 bytes);
int call_write(struct call *call, u64 offset, const void *in, u64 bytes);

/*
 * KVM_CHECK_EXTENSION, the same on the system and on a VM: 0 for what is not supported. Boolean
 * capabilities are exactly 1.
 */
s64 check_extension(struct call *call);
/* The body of KVM_GET_MSRS and KVM_SET_MSRS: how many entries of the list were processed. */
s64 msrs_list(struct call *call, int (*one)(struct call *call, u32 index, u64 *value), bool write);
/* KVM_X86_SET_MSR_FILTER (msr_filter.c). */
s64 vm_set_msr_filter(struct call *call);
/* KEEL_DESTROY and KEEL_TAKE_BACK (destroy.c): call->vm is NULL afterwards. */
s64 vm_destroy(struct call *call);
s64 vm_take_back(struct call *call);
/* Takes donated pages whose epoch has passed: Keel's from now on. -EAGAIN, -EINVAL. */
int donation_take(hpa_t base, u64 pages);
/* Zeroed, they are the management guest's again. At most KEEL_DONATE_PAGES. */
void donation_return(hpa_t base, u64 pages);
