/* SPDX-License-Identifier: MIT */
/* Decodes a hypercall's registers, finds its row, copies its arguments and runs its handler. */
#include "kvm/hypercall.h"

#include "core/mgmt.h"
#include "lib/string.h"

_Static_assert(KEEL_CALL == MGMT_HYPERCALL, "core/ filters on the same number");

/* The copies of arguments and results, one page a CPU: too big for root's stack. */
static u8 scratch[CPU_MAX][CALL_DATA] aligned(4096);

int call_read(struct call *call, u64 offset, void *out, u64 bytes)
{
	if (offset > call->length || bytes > call->length - offset)
		return -EINVAL;
	return guest_read(&mgmt_vm()->mem, GPA(call->argument + offset), out, bytes, NULL);
}

int call_write(struct call *call, u64 offset, const void *in, u64 bytes)
{
	if (offset > call->length || bytes > call->length - offset)
		return -EINVAL;
	return guest_write(&mgmt_vm()->mem, GPA(call->argument + offset), in, bytes, NULL);
}

/* Copies in, runs the handler, copies out. */
static s64 execute(struct call *call, const struct request *row)
{
	s64 result;

	/* What a handler does not fill must not show what the last request left there. */
	if (row->out)
		memset(call->data, 0, row->out);
	if (row->in) {
		result = call_read(call, 0, call->data, row->in);
		if (result)
			return result;
	}
	if (row->out > call->length)
		return -EINVAL;
	result = row->handler(call);
	if (row->out && (result >= 0 || (result == -E2BIG && row->flags & REQUEST_OUT_ALWAYS))) {
		int error = call_write(call, 0, call->data, row->out);

		if (error)
			return error;
	}
	return result;
}

static const struct request *find(const struct request_table *table, u32 number)
{
	for (u32 i = 0; i < table->count; i++)
		if (table->rows[i].number == number)
			return &table->rows[i];
	return NULL;
}

static s64 on_vcpu(struct call *call, const struct request *row)
{
	s64 result;

	if (row->flags & REQUEST_PARALLEL)
		return execute(call, row);
	if (!vcpu_take(call->vcpu))
		return -EBUSY;
	result = execute(call, row);
	vcpu_release(call->vcpu);
	return result;
}

static s64 on_vm(struct call *call, const struct request *row)
{
	s64 result;

	if (!(row->flags & REQUEST_LOCK))
		return execute(call, row);
	spin_lock(&call->vm->lock);
	result = execute(call, row);
	spin_unlock(&call->vm->lock);
	return result;
}

/* A request on an object that is known; `dying`: its VM is being destroyed. */
static s64 dispatch(struct call *call, u64 number, bool dying)
{
	const struct request_table *table = call->vcpu ? &vcpu_requests
					    : call->vm ? &vm_requests
						       : &system_requests;
	const struct request *row = number >> 32 ? NULL : find(table, number);

	if (dying && !(row && row->flags & REQUEST_DYING))
		return -EIO;
	if (!row)
		return table->unknown;
	call->data = scratch[call->cpu->index];
	if (call->vcpu)
		return on_vcpu(call, row);
	return call->vm ? on_vm(call, row) : execute(call, row);
}

/* Any request but KEEL_RUN on a live vCPU. */
static noinline void general(struct cpu *cpu, u64 *gpr)
{
	struct call call = {
		.cpu = cpu,
		.handle = gpr[GPR_RDI],
		.argument = gpr[GPR_RDX],
		.length = gpr[GPR_RCX],
		.extra = gpr[GPR_R8],
	};
	u64 reply = 0;
	s64 result = 0;

	if (call.handle != KEEL_SYSTEM_HANDLE)
		result = handle_enter(cpu, call.handle, &call.slot, &call.vm, &call.vcpu);
	if (result != -EBADF)
		result = dispatch(&call, gpr[GPR_RSI], result == -EIO);
	if (call.vm && result >= 0 && vm_wants_wake(call.vm))
		reply = KEEL_REPLY_WAKE;
	if (call.slot)
		handle_leave(cpu);
	gpr[GPR_RAX] = result;
	gpr[GPR_RDX] = call.result2;
	gpr[GPR_RCX] = reply;
	gpr[GPR_R8] = call.result3;
}

void hypercall(struct cpu *cpu)
{
	u64 *gpr = cpu->management->v.gpr;
	struct vcpu *vcpu = NULL;

	if (likely(gpr[GPR_RSI] == KEEL_RUN))
		vcpu = handle_enter_vcpu(cpu, gpr[GPR_RDI]);
	if (unlikely(!vcpu)) {
		general(cpu, gpr);
		return;
	}
	run_vcpu(cpu, vcpu);
	handle_leave(cpu);
}

void kvm_cpu_loop(struct cpu *cpu)
{
	for (;;) {
		mgmt_run(cpu->management);
		hypercall(cpu);
	}
}
