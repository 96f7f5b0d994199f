// SPDX-License-Identifier: MIT
/*
 * IN, OUT, INS and OUTS: a port device of the VM answers, or the VMM does. Strings move in pieces:
 * registers are updated after each, so the guest's own re-execution is the loop. The VMM gets OUTS
 * by single elements, as from Linux's KVM: some VMMs take all of an exit's data as one access.
 */
#include "arch-x86/regs.h"
#include "core/run.h"
#include "core/vm.h"
#include "lib/string.h"
#include "mm/guest_walk.h"

#define DEVICE_BYTES 64 /* of a string, to or from a device, in one exit */

static u64 mask_of(u32 size)
{
	return size == 8 ? ~0ull : BIT(8 * size) - 1;
}

/* SDM vol. 1, "General-Purpose Registers in 64-Bit Mode": 32-bit results are zero-extended. */
static void put_register(u64 *gpr, u64 value, u32 size)
{
	if (size >= 4)
		*gpr = value & mask_of(size);
	else
		*gpr = (*gpr & ~mask_of(size)) | (value & mask_of(size));
}

static int queue_segment_fault(struct vcpu *vcpu, enum seg seg)
{
	vcpu_queue_exception(vcpu, seg == SEG_SS ? VECTOR_SS : VECTOR_GP, true, 0);
	return -EPERM;
}

static bool segment_allows(const struct segment *s, u64 offset, u32 size, bool write)
{
	u64 last = offset + size - 1;
	bool code = s->attr & BIT(3), rw = s->attr & BIT(1);

	if (!(s->attr & SEG_P))
		return false;
	if (write ? code || !rw : code && !rw)
		return false;
	if (!code && s->attr & BIT(2)) /* expand-down */
		return offset > s->limit && last <= (s->attr & SEG_DB ? 0xffffffff : 0xffff);
	return last <= s->limit;
}

/* 0, or -EPERM with the fault queued. */
static int to_linear(struct vcpu *vcpu, enum seg seg, u64 offset, u32 size, bool write, u64 *linear)
{
	struct segment s;

	virt->get_segment(&vcpu->v, seg, &s);
	if (vcpu_code_mode(vcpu) == 8) {
		*linear = offset + (seg == SEG_FS || seg == SEG_GS ? s.base : 0);
		if ((u64)((s64)(*linear << 16) >> 16) != *linear)
			return queue_segment_fault(vcpu, seg);
		return 0;
	}
	*linear = (u32)(s.base + offset);
	/* Real and virtual-8086 mode check the limit alone; their attributes allow everything. */
	if (!segment_allows(&s, offset, size, write))
		return queue_segment_fault(vcpu, seg);
	return 0;
}

/* As the guest's privilege level may; data NULL: only checks that it may. */
static int copy_linear(struct vcpu *vcpu, u64 linear, void *data, u32 length, bool write)
{
	u32 user = virt->get(&vcpu->v, VREG_CPL) == 3 ? WALK_USER : 0;

	return linear_copy(vcpu, linear, data, length, user | (write ? WALK_WRITE : WALK_READ));
}

static u64 *index_register(struct vcpu *vcpu)
{
	return &vcpu->v.gpr[vcpu->io.in ? GPR_RDI : GPR_RSI];
}

static u64 string_offset(struct vcpu *vcpu)
{
	return *index_register(vcpu) & mask_of(vcpu->io.address_size);
}

/* Elements to move at once: within one page, and without wrapping the index register. */
static u32 string_batch(struct vcpu *vcpu, u64 left, u32 bytes)
{
	const struct io_access *io = &vcpu->io;
	u64 offset = string_offset(vcpu), rflags = virt->get(&vcpu->v, VREG_RFLAGS);
	u64 linear = offset;
	struct segment s;
	u64 count;

	if (rflags & (RFLAGS_DF | RFLAGS_TF))
		return 1;
	virt->get_segment(&vcpu->v, io->segment, &s);
	if (vcpu_code_mode(vcpu) != 8 || io->segment >= SEG_FS)
		linear += s.base;
	count = MIN(left, bytes / io->size);
	count = MIN(count, (PAGE_SIZE - (linear & (PAGE_SIZE - 1))) / io->size);
	if (mask_of(io->address_size) - offset < count * io->size)
		return 1;
	if (vcpu_code_mode(vcpu) != 8 && !segment_allows(&s, offset, count * io->size, io->in))
		return 1;
	return MAX(count, 1);
}

static u64 string_left(struct vcpu *vcpu)
{
	return vcpu->io.rep ? vcpu->v.gpr[GPR_RCX] & mask_of(vcpu->io.address_size) : 1;
}

/* `count` elements are done: registers, and RIP when they were the last. */
static void string_advance(struct vcpu *vcpu, u32 count)
{
	const struct io_access *io = &vcpu->io;
	u64 step = (u64)count * io->size;
	u64 *index = index_register(vcpu);

	if (virt->get(&vcpu->v, VREG_RFLAGS) & RFLAGS_DF)
		step = -step;
	put_register(index, *index + step, io->address_size);
	if (io->rep)
		put_register(&vcpu->v.gpr[GPR_RCX], vcpu->v.gpr[GPR_RCX] - count, io->address_size);
	if (io->rep && string_left(vcpu))
		vcpu_retire(vcpu); /* a single step stops after each element */
	else
		vcpu_skip(vcpu, io->insn_len);
}

static bool device_transfer(struct vcpu *vcpu, u8 *data, u32 count, bool *any)
{
	const struct io_access *io = &vcpu->io;
	struct bus *ports = &vcpu->vm->ports;
	int result;

	for (u32 i = 0; i < count; i++) {
		u64 value = io->in ? ~0ull : 0;
		bool mine;

		if (!io->in)
			memcpy(&value, data + i * io->size, io->size);
		mine = io->in ? bus_read(ports, vcpu, io->port, io->size, &value, &result)
			      : bus_write(ports, vcpu, io->port, io->size, value, &result);
		if (!mine)
			return false;
		*any = true;
		if (io->in)
			memcpy(data + i * io->size, &value, io->size);
	}
	return true;
}

static int to_vmm(struct vcpu *vcpu, u32 count)
{
	const struct io_access *io = &vcpu->io;

	vcpu->io.count = count;
	vcpu->exit.reason = USER_IO;
	vcpu->exit.io.access = io->access;
	vcpu->exit.io.count = count;
	vcpu->exit.io.rip = vcpu->v.rip;
	vcpu->exit.io.linear_known = false;
	vcpu->exit_pending = true;
	return RUN_USER;
}

/* One element of OUTS. It is complete then: there is no answer to it. */
static int element_to_vmm(struct vcpu *vcpu, const u8 *data)
{
	if (vcpu->io_data)
		memcpy(vcpu->io_data, data, vcpu->io.size);
	to_vmm(vcpu, 1);
	string_advance(vcpu, 1);
	vcpu->exit_pending = false;
	return RUN_USER;
}

static bool is_device(struct vcpu *vcpu)
{
	return bus_claims(&vcpu->vm->ports, vcpu->io.port, vcpu->io.size);
}

/* The guest's memory is checked before a device or the VMM sees the access: both act on it. */
static int string_exit(struct vcpu *vcpu, const struct vm_exit *e)
{
	const struct io_access *io = &vcpu->io;
	bool device = is_device(vcpu), any = false;
	u8 local[DEVICE_BYTES];
	u64 left = string_left(vcpu), linear;
	u32 count, length;
	int error;

	if (!left) {
		vcpu_skip(vcpu, io->insn_len);
		return RUN_CONTINUE;
	}
	count = string_batch(vcpu, left, device ? DEVICE_BYTES : io->in ? EXIT_IO_BYTES : io->size);
	length = count * io->size;
	error = to_linear(vcpu, io->segment, string_offset(vcpu), length, io->in, &linear);
	if (!error)
		error = copy_linear(vcpu, linear, io->in ? NULL : local, length, io->in);
	if (error)
		return run_access_failed(vcpu, error, e);
	/* A device may be switched off after all. */
	if (!device || (!device_transfer(vcpu, local, count, &any) && !any))
		return io->in ? to_vmm(vcpu, count) : element_to_vmm(vcpu, local);
	if (io->in && copy_linear(vcpu, linear, local, length, true))
		return RUN_FAULT;
	string_advance(vcpu, count);
	return RUN_CONTINUE;
}

static inline void store(void *to, u64 value, u32 size)
{
	if (size == 1)
		*(u8 *)to = value;
	else if (size == 2)
		*(u16 *)to = value;
	else
		*(u32 *)to = value;
}

static void put_input(struct vcpu *vcpu, u64 value)
{
	put_register(&vcpu->v.gpr[GPR_RAX], value, vcpu->io.size);
}

static noinline int input_exit(struct vcpu *vcpu)
{
	const struct io_access *io = &vcpu->io;
	u64 value = mask_of(io->size);
	int result;

	if (!bus_read(&vcpu->vm->ports, vcpu, io->port, io->size, &value, &result))
		return to_vmm(vcpu, 1);
	put_input(vcpu, value);
	run_skip(vcpu, io->insn_len);
	return RUN_CONTINUE;
}

static inline int output_to_vmm(struct vcpu *vcpu)
{
	const struct io_access *io = &vcpu->io;

	if (likely(vcpu->io_data))
		store(vcpu->io_data, vcpu->v.gpr[GPR_RAX], io->size);
	return to_vmm(vcpu, 1);
}

/* The VM has devices at some ports. */
static noinline int output_to_device(struct vcpu *vcpu)
{
	const struct io_access *io = &vcpu->io;
	u64 value = vcpu->v.gpr[GPR_RAX] & mask_of(io->size);
	int result;

	if (!bus_write(&vcpu->vm->ports, vcpu, io->port, io->size, value, &result))
		return output_to_vmm(vcpu);
	run_skip(vcpu, io->insn_len);
	return RUN_CONTINUE;
}

/* KVM_X86_QUIRK_OUT_7E_INC_RIP: QEMU's firmware expects RIP behind OUT 0x7e at the exit. */
static noinline int output_to_7e(struct vcpu *vcpu)
{
	int outcome = output_to_device(vcpu);

	if (outcome == RUN_USER) {
		vcpu_skip(vcpu, vcpu->io.insn_len);
		vcpu->exit_pending = false;
	}
	return outcome;
}

static inline int output_exit(struct vcpu *vcpu)
{
	if (unlikely(vcpu->io.port == 0x7e))
		return output_to_7e(vcpu);
	return vcpu->vm->ports.count ? output_to_device(vcpu) : output_to_vmm(vcpu);
}

/* Segment and address size of a string instruction, where the hardware does not tell. False: the
 * instruction cannot be read, *outcome says what to do. */
static bool find_operand(struct vcpu *vcpu, const struct vm_exit *e, int *outcome)
{
	struct io_access *io = &vcpu->io;
	struct insn insn;
	u8 bytes[15];
	u32 count;

	if (io->in)
		io->segment = SEG_ES;
	if (io->address_size && io->segment < SEG_LDTR)
		return true;
	count = vcpu_fetch(vcpu, e, bytes);
	if (!count) {
		*outcome = run_fetch_failed(vcpu, e);
		return false;
	}
	if (insn_decode(&insn, bytes, count, vcpu_code_mode(vcpu))) {
		*outcome = run_internal_error(vcpu, INTERNAL_EMULATION, e);
		return false;
	}
	io->address_size = insn.address_size;
	if (!io->in)
		io->segment = insn.segment < SEG_LDTR ? insn.segment : SEG_DS;
	return true;
}

static noinline int string_start(struct vcpu *vcpu, const struct vm_exit *e)
{
	int outcome;

	return find_operand(vcpu, e, &outcome) ? string_exit(vcpu, e) : outcome;
}

int io_exit(struct vcpu *vcpu, const struct vm_exit *e, u32 length)
{
	struct io_access *io = &vcpu->io;

	io->access = e->io;
	io->insn_len = length;
	if (!(e->io.in | e->io.string))
		return output_exit(vcpu);
	return e->io.string ? string_start(vcpu, e) : input_exit(vcpu);
}

static noinline bool complete_string(struct vcpu *vcpu)
{
	const struct io_access *io = &vcpu->io;
	u32 count = MIN(io->count, string_left(vcpu));
	u8 *page = vcpu->io_data;
	u64 linear;
	int error = 0;

	if (!count) { /* the VMM has written RCX */
		vcpu_skip(vcpu, io->insn_len);
		return true;
	}
	if (page) {
		u32 length = count * io->size;

		error = to_linear(vcpu, SEG_ES, string_offset(vcpu), length, true, &linear);
		if (!error)
			error = copy_linear(vcpu, linear, page, length, true);
	}
	if (error == -EFAULT)
		return false;
	if (!error)
		string_advance(vcpu, count);
	return true;
}

/* The VMM may have moved the vCPU elsewhere: then the instruction never happened. */
static noinline bool moved(struct vcpu *vcpu)
{
	vcpu_code_changes(vcpu);
	return vcpu_linear_rip(vcpu) != vcpu->exit.io.linear_rip;
}

static noinline void complete_input(struct vcpu *vcpu)
{
	u64 value = mask_of(vcpu->io.size);
	const u8 *page = vcpu->io_data;

	if (page)
		memcpy(&value, page, vcpu->io.size);
	put_input(vcpu, value);
}

bool io_complete(struct vcpu *vcpu)
{
	const struct io_access *io = &vcpu->io;

	if (unlikely(vcpu->v.rip != vcpu->exit.io.rip || vcpu->exit.io.linear_known) && moved(vcpu))
		return true;
	if (unlikely(io->string))
		return complete_string(vcpu);
	if (io->in)
		complete_input(vcpu);
	run_skip(vcpu, io->insn_len);
	return true;
}
