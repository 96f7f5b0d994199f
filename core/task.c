// SPDX-License-Identifier: MIT
/*
 * Hardware task switches, which the processor leaves to the hypervisor: SDM vol. 3, "Task
 * Management". Everything that may need a page of the management guest is looked at before the
 * first change, since the instruction is executed again after RUN_FAULT.
 */
#include "arch-x86/regs.h"
#include "core/event.h"
#include "core/run.h"
#include "core/vm.h"
#include "lib/string.h"
#include "mm/guest_walk.h"

enum task_source { BY_CALL, BY_IRET, BY_JMP, BY_GATE };

enum descriptor_type { TSS16 = 1, LDT = 2, TSS16_BUSY = 3, TSS32 = 9, TSS32_BUSY = 11 };
#define TYPE_BUSY 2

#define ACCESSED (1ull << 40) /* of a descriptor */
#define SEGMENTS (SEG_GS + 1) /* of a task, without LDTR */
#define TSS_MAX	 104

struct tss_layout {
	u8 size, width; /* bytes; of a register */
	u8 cr3, ip, flags, gpr, segments, segment_step, ldt, trap;
	u8 saved_from, saved_to; /* what a switch writes to the outgoing task's segment */
	u8 segment_count;
};

/* SDM vol. 3, "32-Bit Task-State Segment (TSS)" and "16-Bit Task-State Segment (TSS)". */
static const struct tss_layout layout32 = {
	.size = 104,
	.width = 4,
	.cr3 = 28,
	.ip = 32,
	.flags = 36,
	.gpr = 40,
	.segments = 72,
	.segment_step = 4,
	.ldt = 96,
	.trap = 100,
	.saved_from = 32,
	.saved_to = 96,
	.segment_count = 6,
};
static const struct tss_layout layout16 = {
	.size = 44,
	.width = 2,
	.ip = 14,
	.flags = 16,
	.gpr = 18,
	.segments = 34,
	.segment_step = 2,
	.ldt = 42,
	.saved_from = 14,
	.saved_to = 42,
	.segment_count = 4,
};

struct tss {
	const struct tss_layout *layout;
	u64 base;
	u8 bytes[TSS_MAX];
};

struct task_switch {
	struct vcpu *vcpu;
	u32 source, external; /* external: the EXT bit of error codes */
	u32 length;	      /* of the instruction that switches; 0: an event does */
	u16 selector, old_selector;
	u64 descriptor, old_descriptor; /* raw */
	u64 descriptor_linear, old_descriptor_linear;
	struct segment tr; /* the incoming one */
	struct tss in, out;
	bool page_fault; /* on a descriptor of the incoming task: queued */
	u64 segment_raw[SEGMENTS], ldt_raw;
	u64 segment_linear[SEGMENTS];
};

static u64 tss_get(const struct tss *t, u32 offset, u32 width)
{
	u64 value = 0;

	memcpy(&value, t->bytes + offset, width);
	return value;
}

static void tss_put(struct tss *t, u32 offset, u32 width, u64 value)
{
	memcpy(t->bytes + offset, &value, width);
}

/* Queues the fault; always -EPERM. */
static int fault(const struct task_switch *t, u8 vector, u16 selector)
{
	vcpu_queue_exception(t->vcpu, vector, true, (selector & 0xfffc) | t->external);
	return -EPERM;
}

static void unpack(u64 raw, u16 selector, struct segment *s)
{
	s->selector = selector;
	s->attr = (raw >> 40 & 0xff) | (raw >> 44 & 0xf00);
	s->base = (raw >> 16 & 0xffffff) | (raw >> 32 & 0xff000000);
	s->limit = (raw & 0xffff) | (raw >> 32 & 0xf0000);
	if (s->attr & SEG_G)
		s->limit = s->limit << 12 | 0xfff;
}

static int access_system(struct vcpu *vcpu, u64 linear, void *data, u32 length, bool write)
{
	return linear_copy(vcpu, (u32)linear, data, length,
			   WALK_IMPLICIT | (write ? WALK_WRITE : WALK_READ));
}

/* Reads a descriptor of the GDT, or of `ldt`. -EPERM with `vector` queued: outside of the table. */
static int read_descriptor(struct task_switch *t, u16 selector, const struct segment *ldt,
			   u8 vector, u64 *linear, u64 *raw)
{
	struct segment table;

	virt->get_segment(&t->vcpu->v, SEG_GDTR, &table);
	if (selector & 4)
		table = *ldt;
	if ((u32)(selector | 7) > table.limit || (selector & 4 && !(table.attr & SEG_P)))
		return fault(t, vector, selector);
	*linear = table.base + (selector & 0xfff8);
	return access_system(t->vcpu, *linear, raw, sizeof(*raw), false);
}

/* The incoming task's segment: SDM vol. 3, table "Exception Conditions Checked During a Task
 * Switch". */
static int check_incoming(struct task_switch *t)
{
	u8 vector = t->source == BY_IRET ? VECTOR_TS : VECTOR_GP;
	u32 type;
	int error;

	if (!(t->selector & 0xfffc) || t->selector & 4)
		return fault(t, vector, t->selector);
	error = read_descriptor(t, t->selector, NULL, vector, &t->descriptor_linear,
				&t->descriptor);
	if (error)
		return error;
	unpack(t->descriptor, t->selector, &t->tr);
	type = t->tr.attr & (SEG_TYPE | SEG_S);
	if ((type & ~(u32)TYPE_BUSY) != TSS16 && (type & ~(u32)TYPE_BUSY) != TSS32)
		return fault(t, vector, t->selector);
	if (!(type & TYPE_BUSY) != (t->source != BY_IRET))
		return fault(t, vector, t->selector);
	if (!(t->tr.attr & SEG_P))
		return fault(t, VECTOR_NP, t->selector);
	t->in.layout = type & 8 ? &layout32 : &layout16;
	t->in.base = t->tr.base;
	if (t->tr.limit + 1ull < t->in.layout->size)
		return fault(t, VECTOR_TS, t->selector);
	return 0;
}

/* Both task-state segments and both descriptors: readable, and writable where they change. */
static int read_tasks(struct task_switch *t)
{
	struct vcpu *vcpu = t->vcpu;
	struct segment old;
	int error;

	virt->get_segment(&vcpu->v, SEG_TR, &old);
	t->old_selector = old.selector;
	t->out.base = old.base;
	t->out.layout = old.attr & 8 ? &layout32 : &layout16;
	error = access_system(vcpu, t->in.base, t->in.bytes, t->in.layout->size, false);
	if (!error)
		error = access_system(vcpu, t->in.base, NULL, 2, true);
	if (!error)
		error = access_system(vcpu, t->out.base, NULL, t->out.layout->size, true);
	if (!error)
		error = read_descriptor(t, t->old_selector & 0xfff8, NULL, VECTOR_TS,
					&t->old_descriptor_linear, &t->old_descriptor);
	if (!error)
		error = access_system(vcpu, t->old_descriptor_linear, NULL, 8, true);
	if (!error)
		error = access_system(vcpu, t->descriptor_linear, NULL, 8, true);
	return error;
}

static u16 task_segment(const struct task_switch *t, u32 seg)
{
	const struct tss_layout *l = t->in.layout;

	return seg < l->segment_count ? tss_get(&t->in, l->segments + seg * l->segment_step, 2) : 0;
}

static bool task_is_v86(const struct task_switch *t)
{
	const struct tss_layout *l = t->in.layout;

	return l->width == 4 && tss_get(&t->in, l->flags, 4) & RFLAGS_VM;
}

static u64 task_cr3(const struct task_switch *t)
{
	return tss_get(&t->in, t->in.layout->cr3, 4);
}

static bool task_has_cr3(const struct task_switch *t)
{
	return t->in.layout->cr3 && virt->get(&t->vcpu->v, VREG_CR0) & CR0_PG;
}

/* A descriptor of the incoming task, and whether its accessed bit can be set. */
static int touch_descriptor(struct task_switch *t, u64 linear, u64 *raw)
{
	int error = access_system(t->vcpu, linear, raw, sizeof(*raw), false);

	if (!error && !(*raw & ACCESSED))
		error = access_system(t->vcpu, linear, NULL, sizeof(*raw), true);
	return error;
}

/* The incoming task's descriptors, through its own page tables. */
static int touch_descriptors(struct task_switch *t)
{
	struct segment gdt, ldt = {0};
	u16 selector = tss_get(&t->in, t->in.layout->ldt, 2);
	int error = 0;

	virt->get_segment(&t->vcpu->v, SEG_GDTR, &gdt);
	if (selector & 0xfff8 && (u32)(selector | 7) <= gdt.limit) {
		error = access_system(t->vcpu, gdt.base + (selector & 0xfff8), &t->ldt_raw, 8,
				      false);
		unpack(t->ldt_raw, selector, &ldt);
	}
	for (u32 seg = 0; seg < SEGMENTS && !task_is_v86(t) && !error; seg++) {
		const struct segment *table = task_segment(t, seg) & 4 ? &ldt : &gdt;

		selector = task_segment(t, seg);
		if (!(selector & 0xfffc) || (u32)(selector | 7) > table->limit)
			continue;
		t->segment_linear[seg] = table->base + (selector & 0xfff8);
		error = touch_descriptor(t, t->segment_linear[seg], &t->segment_raw[seg]);
	}
	return error;
}

/* Where push_error() will write; a fault of the guest's there is raised by then. */
static int touch_stack(struct task_switch *t)
{
	struct pending_exception kept = t->vcpu->events.exception;
	u32 width = t->in.layout->width;
	struct segment ss = {.attr = 0, .base = (u64)task_segment(t, SEG_SS) << 4};
	u64 sp;
	int error;

	if (!task_is_v86(t))
		unpack(t->segment_raw[SEG_SS], 0, &ss);
	sp = tss_get(&t->in, t->in.layout->gpr + GPR_RSP * width, width) - width;
	if (!(ss.attr & SEG_DB))
		sp &= 0xffff;
	error = access_system(t->vcpu, ss.base + sp, NULL, width, true);
	if (error != -EPERM)
		return error;
	t->vcpu->events.exception = kept;
	return 0;
}

/* Nothing has changed when it fails. A page fault on the incoming task's descriptors is its own:
 * it waits in the queue, and the switch goes on. */
static int prepare(struct task_switch *t, bool pushes)
{
	u64 cr3 = virt->get(&t->vcpu->v, VREG_CR3);
	int error = check_incoming(t);

	if (!error)
		error = read_tasks(t);
	if (error)
		return error;
	if (task_has_cr3(t))
		virt->set(&t->vcpu->v, VREG_CR3, task_cr3(t));
	error = touch_descriptors(t);
	if (!error && pushes)
		error = touch_stack(t);
	virt->set(&t->vcpu->v, VREG_CR3, cr3);
	t->page_fault = error == -EPERM;
	return t->page_fault ? 0 : error;
}

static void save_outgoing(struct task_switch *t)
{
	const struct tss_layout *l = t->out.layout;
	struct vcpu *vcpu = t->vcpu;
	u64 rflags = vcpu_rflags(vcpu);
	struct segment s;

	if (t->source == BY_IRET)
		rflags &= ~(u64)RFLAGS_NT;
	tss_put(&t->out, l->ip, l->width, vcpu->v.rip + t->length);
	tss_put(&t->out, l->flags, l->width, rflags);
	for (u32 i = GPR_RAX; i <= GPR_RDI; i++)
		tss_put(&t->out, l->gpr + i * l->width, l->width, vcpu->v.gpr[i]);
	for (u32 seg = 0; seg < l->segment_count; seg++) {
		virt->get_segment(&vcpu->v, seg, &s);
		tss_put(&t->out, l->segments + seg * l->segment_step, 2, s.selector);
	}
	access_system(vcpu, t->out.base + l->saved_from, t->out.bytes + l->saved_from,
		      l->saved_to - l->saved_from, true);
}

static void set_busy(struct task_switch *t, u64 linear, u64 raw, bool busy)
{
	u64 bit = (u64)TYPE_BUSY << 40;

	raw = busy ? raw | bit : raw & ~bit;
	access_system(t->vcpu, linear, &raw, sizeof(raw), true);
}

/* Memory and TR: from here on the incoming task is the current one. */
static void commit(struct task_switch *t)
{
	struct vcpu *vcpu = t->vcpu;
	bool nested = t->source == BY_CALL || t->source == BY_GATE;

	save_outgoing(t);
	if (!nested)
		set_busy(t, t->old_descriptor_linear, t->old_descriptor, false);
	if (t->source != BY_IRET)
		set_busy(t, t->descriptor_linear, t->descriptor, true);
	if (nested)
		access_system(vcpu, t->in.base, &t->old_selector, 2, true);
	t->tr.attr |= TYPE_BUSY;
	virt->set_segment(&vcpu->v, SEG_TR, &t->tr);
	virt->set(&vcpu->v, VREG_CR0, virt->get(&vcpu->v, VREG_CR0) | CR0_TS);
}

static void load_registers(struct task_switch *t)
{
	const struct tss_layout *l = t->in.layout;
	struct vcpu *vcpu = t->vcpu;
	u64 flags = tss_get(&t->in, l->flags, l->width);

	if (task_has_cr3(t)) {
		virt->set(&vcpu->v, VREG_CR3, task_cr3(t));
		vcpu->v.flush = true;
	}
	if (t->source == BY_CALL || t->source == BY_GATE)
		flags |= RFLAGS_NT;
	vcpu->v.rip = tss_get(&t->in, l->ip, l->width);
	vcpu_set_rflags(vcpu, flags & 0x3f7fd7);
	virt->set(&vcpu->v, VREG_INT_SHADOW, 0);
	for (u32 i = GPR_RAX; i <= GPR_RDI; i++)
		vcpu->v.gpr[i] = tss_get(&t->in, l->gpr + i * l->width, l->width) |
				 (l->width == 2 ? 0xffff0000 : 0);
}

static void load_v86_segments(struct task_switch *t)
{
	for (u32 seg = 0; seg < SEGMENTS; seg++) {
		u16 selector = task_segment(t, seg);
		struct segment s = {.selector = selector,
				    .attr = SEG_P | SEG_DPL | SEG_S | 3,
				    .limit = 0xffff,
				    .base = (u64)selector << 4};

		virt->set_segment(&t->vcpu->v, seg, &s);
	}
}

/* Selectors first: a fault in the middle shows them all (SDM, step "loads"). */
static void load_null_segments(struct task_switch *t)
{
	u32 cpl = task_segment(t, SEG_CS) & 3;

	for (u32 seg = 0; seg < SEGMENTS; seg++) {
		struct segment s = {.selector = task_segment(t, seg)};

		if (seg == SEG_SS)
			s.attr = cpl << 5;
		virt->set_segment(&t->vcpu->v, seg, &s);
	}
}

static int load_ldt(struct task_switch *t)
{
	u16 selector = tss_get(&t->in, t->in.layout->ldt, 2);
	struct segment s = {.selector = selector};

	virt->set_segment(&t->vcpu->v, SEG_LDTR, &s);
	if (!(selector & 0xfffc))
		return 0;
	if (selector & 4 || !t->ldt_raw)
		return fault(t, VECTOR_TS, selector);
	unpack(t->ldt_raw, selector, &s);
	if ((s.attr & (SEG_TYPE | SEG_S)) != LDT || !(s.attr & SEG_P))
		return fault(t, VECTOR_TS, selector);
	virt->set_segment(&t->vcpu->v, SEG_LDTR, &s);
	return 0;
}

#define TYPE_CODE	8u
#define TYPE_CONFORMING 4u /* of code */
#define TYPE_RW		2u /* data: writable; code: readable */

static bool privileges_allow(const struct segment *s, u32 seg, u32 cpl)
{
	u32 type = s->attr & SEG_TYPE, rpl = s->selector & 3;
	u32 dpl = (s->attr & SEG_DPL) >> 5;

	if (!(s->attr & SEG_S))
		return false;
	switch (seg) {
	case SEG_CS:
		return type & TYPE_CODE && (type & TYPE_CONFORMING ? dpl <= rpl : dpl == rpl);
	case SEG_SS:
		return (type & (TYPE_CODE | TYPE_RW)) == TYPE_RW && dpl == cpl && rpl == cpl;
	default:
		if (type & TYPE_CODE && !(type & TYPE_RW))
			return false;
		if ((type & (TYPE_CODE | TYPE_CONFORMING)) == (TYPE_CODE | TYPE_CONFORMING))
			return true;
		return dpl >= cpl && dpl >= rpl;
	}
}

static int load_segment(struct task_switch *t, u32 seg, u32 cpl)
{
	u16 selector = task_segment(t, seg);
	struct segment s;

	if (!(selector & 0xfffc))
		return seg == SEG_CS || seg == SEG_SS ? fault(t, VECTOR_TS, selector) : 0;
	if (!t->segment_linear[seg])
		return fault(t, VECTOR_TS, selector);
	unpack(t->segment_raw[seg], selector, &s);
	if (!privileges_allow(&s, seg, cpl))
		return fault(t, VECTOR_TS, selector);
	if (!(s.attr & SEG_P))
		return fault(t, seg == SEG_SS ? VECTOR_SS : VECTOR_NP, selector);
	if (!(t->segment_raw[seg] & ACCESSED)) {
		t->segment_raw[seg] |= ACCESSED;
		access_system(t->vcpu, t->segment_linear[seg], &t->segment_raw[seg], 8, true);
		s.attr |= 1;
	}
	virt->set_segment(&t->vcpu->v, seg, &s);
	return 0;
}

static int load_segments(struct task_switch *t)
{
	static const u8 order[SEGMENTS] = {SEG_CS, SEG_SS, SEG_ES, SEG_DS, SEG_FS, SEG_GS};
	u32 cpl = task_segment(t, SEG_CS) & 3;
	int error;

	if (task_is_v86(t)) {
		load_v86_segments(t);
		return load_ldt(t);
	}
	load_null_segments(t);
	if (t->page_fault)
		return -EPERM;
	error = load_ldt(t);
	for (u32 i = 0; i < SEGMENTS && !error; i++)
		error = load_segment(t, order[i], cpl);
	return error;
}

/* The error code of the exception that a task gate handles goes onto the new stack. */
static int push_error(struct task_switch *t, u32 code)
{
	struct vcpu *vcpu = t->vcpu;
	u32 width = t->in.layout->width;
	struct segment ss;
	u64 sp, mask;
	int error;

	virt->get_segment(&vcpu->v, SEG_SS, &ss);
	mask = ss.attr & SEG_DB ? 0xffffffff : 0xffff;
	sp = (vcpu->v.gpr[GPR_RSP] - width) & mask;
	if (!(ss.attr & BIT(2)) && sp + width - 1 > ss.limit)
		return fault(t, VECTOR_SS, 0);
	error = access_system(vcpu, ss.base + sp, &code, width, true);
	if (!error)
		vcpu->v.gpr[GPR_RSP] = (vcpu->v.gpr[GPR_RSP] & ~mask) | sp;
	return error;
}

/* What the gate delivers has been delivered by the switch itself. */
static void take_event(struct task_switch *t, const struct vm_exit *e)
{
	struct vcpu_events *events = &t->vcpu->events;

	if (e->vectoring.type == EVENT_EXCEPTION)
		events->exception.injected = false;
	else if (e->vectoring.type == EVENT_NMI)
		events->nmi_injected = false;
	else
		events->interrupt.injected = false;
	if (e->vectoring.type == EVENT_NMI)
		virt->set(&t->vcpu->v, VREG_NMI_MASKED, 1);
}

int task_switch(struct vcpu *vcpu, const struct vm_exit *e)
{
	struct task_switch t = {
		.vcpu = vcpu, .source = e->task_switch.source, .selector = e->task_switch.selector};
	struct segment cs;
	int error;

	t.external = e->vectoring.type != EVENT_NONE;
	/* A gate with nothing cut short was INT n, INT3 or INTO: RIP still stands at it. */
	if (!t.external) {
		t.length = vcpu_insn_length(vcpu, e);
		if (!t.length)
			return run_fetch_failed(vcpu, e);
	}
	error = prepare(&t, e->task_switch.has_error);
	if (error)
		return run_access_failed(vcpu, error, e);
	commit(&t);
	take_event(&t, e);
	if (t.source == BY_IRET)
		virt->set(&vcpu->v, VREG_NMI_MASKED, 0);
	load_registers(&t);
	error = load_segments(&t);
	if (!error && e->task_switch.has_error)
		error = push_error(&t, e->task_switch.error);
	virt->get_segment(&vcpu->v, SEG_CS, &cs);
	if (!error && vcpu->v.rip > cs.limit)
		error = fault(&t, VECTOR_GP, 0);
	if (!error && t.in.layout->trap && tss_get(&t.in, t.in.layout->trap, 2) & 1)
		event_queue_debug(vcpu, DR6_BT);
	return error ? run_access_failed(vcpu, error, e) : RUN_CONTINUE;
}
