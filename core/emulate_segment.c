// SPDX-License-Identifier: MIT
/* The emulator's segmentation: checks of an access, and loading a segment register. */
#include "arch-x86/regs.h"
#include "core/emulate_context.h"

enum descriptor_type {
	TYPE_ACCESSED = BIT(0),
	TYPE_WRITABLE = BIT(1), /* code: readable */
	TYPE_DOWN = BIT(2),	/* code: conforming */
	TYPE_CODE = BIT(3),
};

enum stop raise_error(struct context *c, u8 vector, u32 error)
{
	vcpu_queue_exception(c->vcpu, vector, true, error);
	return STOP_RAISED;
}

bool linear_canonical(const struct context *c, u64 linear)
{
	u32 shift = c->walk.cr4 & CR4_LA57 ? 7 : 16;

	return (u64)((s64)(linear << shift) >> shift) == linear;
}

/* SDM vol. 3, "Limit Checking" and "Type Checking". */
static bool segment_allows(const struct context *c, const struct segment *s, u64 offset, u32 size,
			   bool write)
{
	u64 last = offset + size - 1;
	u32 type = s->attr & SEG_TYPE;

	if (!c->segments)
		return last <= s->limit;
	if (!(s->attr & SEG_P))
		return false;
	if (type & TYPE_CODE)
		return !write && (type & TYPE_WRITABLE) && last <= s->limit;
	if (write && !(type & TYPE_WRITABLE))
		return false;
	if (type & TYPE_DOWN)
		return offset > s->limit && last <= (s->attr & SEG_DB ? 0xffffffff : 0xffff);
	return last <= s->limit;
}

enum stop segment_linear(struct context *c, enum seg seg, u64 offset, u32 size, u32 access,
			 u64 *linear)
{
	struct segment s = {0};
	bool ok;

	if (c->mode != 8 || seg == SEG_FS || seg == SEG_GS)
		virt->get_segment(&c->vcpu->v, seg, &s);
	if (c->mode == 8) {
		*linear = s.base + offset;
		ok = linear_canonical(c, *linear) && linear_canonical(c, *linear + size - 1);
	} else {
		*linear = (u32)(s.base + offset);
		ok = segment_allows(c, &s, offset, size, access & WALK_WRITE);
	}
	return ok ? GO : raise_error(c, seg == SEG_SS ? VECTOR_SS : VECTOR_GP, 0);
}

static void unpack_descriptor(u64 d, u16 selector, struct segment *s)
{
	s->selector = selector;
	s->base = (d >> 16 & 0xffffff) | (d >> 56 << 24);
	s->attr = (d >> 40 & 0xff) | (d >> 52 & 0xf) << 8;
	s->limit = (d & 0xffff) | (d >> 48 & 0xf) << 16;
	if (s->attr & SEG_G)
		s->limit = s->limit << 12 | 0xfff;
}

/* SDM vol. 2, "MOV-Move", protected mode exceptions. Returns the vector to raise, or 0. */
static u32 descriptor_fault(const struct context *c, enum seg seg, const struct segment *s)
{
	u32 type = s->attr & SEG_TYPE, dpl = s->attr >> 5 & 3, rpl = s->selector & 3;

	if (!(s->attr & SEG_S))
		return VECTOR_GP;
	if (seg == SEG_SS) {
		if (rpl != c->cpl || dpl != c->cpl || (type & TYPE_CODE) || !(type & TYPE_WRITABLE))
			return VECTOR_GP;
		return s->attr & SEG_P ? 0 : VECTOR_SS;
	}
	if ((type & TYPE_CODE) && !(type & TYPE_WRITABLE))
		return VECTOR_GP;
	if (!((type & TYPE_CODE) && (type & TYPE_DOWN)) && (rpl > dpl || c->cpl > dpl))
		return VECTOR_GP;
	return s->attr & SEG_P ? 0 : VECTOR_NP;
}

static enum stop load_null(struct context *c, enum seg seg, u16 selector)
{
	struct segment s = {.selector = selector};

	if (seg == SEG_SS) {
		if (c->mode != 8 || c->cpl == 3 || (selector & 3) != c->cpl)
			return raise_error(c, VECTOR_GP, 0);
		s.attr = c->cpl << 5; /* SS.DPL is the CPL, also in a null SS */
	}
	virt->set_segment(&c->vcpu->v, seg, &s);
	return GO;
}

static enum stop load_descriptor(struct context *c, enum seg seg, u16 selector)
{
	struct segment table, s;
	u32 error = selector & ~3u, vector;
	struct span span;
	enum stop stop;
	u64 d;

	virt->get_segment(&c->vcpu->v, selector & 4 ? SEG_LDTR : SEG_GDTR, &table);
	if (((selector & 4) && !(table.attr & SEG_P)) || (selector | 7u) > table.limit)
		return raise_error(c, VECTOR_GP, error);
	stop = memory_resolve_implicit(c, table.base + (selector & ~7u), 8, WALK_READ, &span);
	if (stop)
		return stop;
	stop = memory_read(c, &span, &d);
	if (stop)
		return stop;
	unpack_descriptor(d, selector, &s);
	vector = descriptor_fault(c, seg, &s);
	if (vector)
		return raise_error(c, vector, error);
	if (!(s.attr & TYPE_ACCESSED)) {
		u8 access_byte = (u8)(d >> 40) | TYPE_ACCESSED;

		stop = memory_resolve_implicit(c, table.base + (selector & ~7u) + 5, 1, WALK_WRITE,
					       &span);
		if (stop)
			return stop;
		stop = memory_write(c, &span, &access_byte);
		if (stop)
			return stop;
		s.attr |= TYPE_ACCESSED;
	}
	virt->set_segment(&c->vcpu->v, seg, &s);
	return GO;
}

enum stop segment_load(struct context *c, enum seg seg, u16 selector)
{
	struct segment s;

	if (c->segments)
		return selector & ~3u ? load_descriptor(c, seg, selector)
				      : load_null(c, seg, selector);
	/* Real and virtual-8086 mode: limit and attributes stay. */
	virt->get_segment(&c->vcpu->v, seg, &s);
	s.selector = selector;
	s.base = (u64)selector << 4;
	virt->set_segment(&c->vcpu->v, seg, &s);
	return GO;
}
