// SPDX-License-Identifier: MIT
/*
 * The emulator's memory accesses: translation and permission checks first, then RAM directly, or
 * MMIO through the bus, the VMM, or the record of what was settled in an earlier attempt.
 */
#include "arch-x86/regs.h"
#include "core/emulate_context.h"
#include "core/vm.h"

typedef u16 __attribute__((__aligned__(1), may_alias)) u16_any;
typedef u32 __attribute__((__aligned__(1), may_alias)) u32_any;
typedef u64 __attribute__((__aligned__(1), may_alias)) u64_any;

#define CACHE_LINE 64

/* One access for the sizes that a processor accesses at once. */
static void copy(void *to, const void *from, u32 size)
{
	u8 *t = to;
	const u8 *f = from;

	if (size == 2) {
		*(volatile u16_any *)t = *(const volatile u16_any *)f;
		return;
	}
	if (size == 4) {
		*(volatile u32_any *)t = *(const volatile u32_any *)f;
		return;
	}
	for (; size >= 8; size -= 8, t += 8, f += 8)
		*(volatile u64_any *)t = *(const volatile u64_any *)f;
	for (; size; size--)
		*(volatile u8 *)t++ = *(const volatile u8 *)f++;
}

static enum stop missing(struct context *c, gpa_t gpa, bool write)
{
	return vcpu_memory_fault(c->vcpu, gpa, write) ? STOP_MEMORY : STOP_UNKNOWN;
}

static enum stop translate(struct context *c, u64 linear, u32 access, gpa_t *gpa)
{
	struct walk_result result;
	int error;

	if (c->cpl == 3 && !(access & WALK_IMPLICIT))
		access |= WALK_USER;
	error = guest_walk(&c->vcpu->vm->mem, &c->walk, GVA(linear), access, false, &result);
	if (!error) {
		*gpa = result.gpa;
		return GO;
	}
	if (error == -EPERM) {
		vcpu_queue_page_fault(c->vcpu, linear, result.error);
		return STOP_RAISED;
	}
	return missing(c, result.missing, result.missing_write);
}

/* RAM, MMIO, or a guest frame that the VMM's side must provide first. */
static enum stop find_ram(struct context *c, struct span_part *part, bool write)
{
	struct guest_mem *mem = &c->vcpu->vm->mem;
	const struct memslot *slot;
	u64 length = part->size;

	part->rom = false;
	part->ram = guest_ptr(mem, part->gpa, &length, write);
	if (part->ram)
		return GO;
	slot = memslot_find(mem, part->gpa);
	if (!slot)
		return GO;
	if (!write || !(slot->flags & MEMSLOT_READONLY))
		return missing(c, part->gpa, write);
	length = part->size;
	part->rom = true;
	part->ram = guest_ptr(mem, part->gpa, &length, false);
	return part->ram ? GO : missing(c, part->gpa, false);
}

static enum stop resolve(struct context *c, struct span *span, u32 access)
{
	u64 second;

	span->parts[0].size = MIN(span->size, (u32)(PAGE_SIZE - (span->linear & (PAGE_SIZE - 1))));
	span->parts[1].size = span->size - span->parts[0].size;
	span->count = span->parts[1].size ? 2 : 1;
	second = span->linear + span->parts[0].size;
	if (c->mode != 8)
		second = (u32)second;
	for (u32 i = 0; i < span->count; i++) {
		enum stop stop =
			translate(c, i ? second : span->linear, access, &span->parts[i].gpa);

		if (stop)
			return stop;
	}
	/* SDM vol. 3, "Interrupt 17-Alignment Check Exception": the last of an access's faults. */
	if ((c->walk.cr0 & CR0_AM) && (c->rflags & RFLAGS_AC) && c->cpl == 3 &&
	    !(access & WALK_IMPLICIT) && (span->linear & (span->size - 1)))
		return raise_error(c, VECTOR_AC, 0);
	for (u32 i = 0; i < span->count; i++) {
		enum stop stop = find_ram(c, &span->parts[i], access & WALK_WRITE);

		if (stop)
			return stop;
	}
	return GO;
}

enum stop memory_resolve(struct context *c, enum seg seg, u64 offset, u32 size, u32 access,
			 struct span *span)
{
	enum stop stop;

	*span = (struct span){.size = size};
	stop = segment_linear(c, seg, offset, size, access, &span->linear);
	if (stop)
		return stop;
	if ((access & ACCESS_ALIGNED) && (span->linear & (size - 1)))
		return raise_error(c, VECTOR_GP, 0);
	return resolve(c, span, access & ~ACCESS_ALIGNED);
}

enum stop memory_resolve_implicit(struct context *c, u64 linear, u32 size, u32 access,
				  struct span *span)
{
	*span = (struct span){.size = size};
	span->linear = c->walk.efer & EFER_LMA ? linear : (u32)linear;
	return resolve(c, span, access | WALK_IMPLICIT);
}

static void settle(struct emulation *em, gpa_t gpa, u32 length, bool write, u64 data)
{
	em->done[em->count++] = (struct emulation_access){
		.gpa = gpa, .data = data, .length = length, .write = write};
}

/*
 * The VMM's turn. What is read comes back through emulate_resume(). What is written is settled by
 * telling it: where it is the last access, the instruction is complete when the VMM sees it, as
 * with Linux's KVM.
 */
static enum stop ask_user(struct context *c, gpa_t gpa, u32 length, bool write, u64 value)
{
	struct vcpu_exit *exit = &c->vcpu->exit;

	exit->reason = USER_MMIO;
	exit->mmio.gpa = gpa;
	exit->mmio.length = length;
	exit->mmio.write = write;
	copy(exit->mmio.data, &value, sizeof(value));
	c->vcpu->emulation.active = true;
	c->told = write;
	return write ? GO : STOP_USER;
}

/* True: a device settled it. */
static bool ask_devices(struct vcpu *vcpu, u64 gpa, u32 length, bool write, u64 *value)
{
	struct bus *bus = &vcpu->vm->mmio;
	struct bus_device *own = vcpu->vm->own_page;
	int result;

	if (write ? bus_write(bus, vcpu, gpa, length, *value, &result)
		  : bus_read(bus, vcpu, gpa, length, value, &result))
		return true;
	if (!own)
		return false;
	result = write ? own->write(own, vcpu, gpa, length, *value)
		       : own->read(own, vcpu, gpa, length, value);
	return result != -EOPNOTSUPP;
}

/* One access of 1 to 8 bytes within a page. Odd lengths (page crossings) are the VMM's. */
static enum stop mmio(struct context *c, gpa_t gpa, u32 length, bool write, u64 *value)
{
	struct emulation *em = &c->vcpu->emulation;

	if (c->next < em->count) {
		const struct emulation_access *done = &em->done[c->next++];

		/* Another vCPU changed the page tables meanwhile: nothing fits any more. */
		if (done->gpa.v != gpa.v || done->length != length || done->write != write)
			return STOP_RETRY;
		if (!write)
			*value = done->data;
		return GO;
	}
	if (c->told) /* one access an exit, and none before its turn */
		return STOP_USER;
	if (em->count == EMULATION_ACCESSES)
		return STOP_UNKNOWN;
	if (length & (length - 1) || !ask_devices(c->vcpu, gpa.v, length, write, value)) {
		enum stop stop = ask_user(c, gpa, length, write, write ? *value : 0);

		if (stop)
			return stop;
	}
	settle(em, gpa, length, write, *value);
	c->next++;
	return GO;
}

static enum stop mmio_part(struct context *c, const struct span_part *part, bool write, u8 *data)
{
	for (u32 at = 0; at < part->size; at += 8) {
		u32 length = MIN(part->size - at, 8u);
		u64 value = 0;
		enum stop stop;

		if (write)
			copy(&value, data + at, length);
		stop = mmio(c, GPA(part->gpa.v + at), length, write, &value);
		if (stop)
			return stop;
		if (!write)
			copy(data + at, &value, length);
	}
	return GO;
}

enum stop memory_read(struct context *c, const struct span *span, void *out)
{
	u8 *data = out;

	for (u32 i = 0; i < span->count; i++) {
		const struct span_part *part = &span->parts[i];

		if (part->ram) {
			copy(data, part->ram, part->size);
		} else {
			enum stop stop = mmio_part(c, part, false, data);

			if (stop)
				return stop;
		}
		data += part->size;
	}
	return GO;
}

/* The dirty log may have been taken and cleared since the page was resolved: it is marked again. */
static void mark_written(struct context *c, const struct span_part *part)
{
	u64 length = part->size;

	guest_ptr(&c->vcpu->vm->mem, part->gpa, &length, true);
}

/* MMIO first: only it can end the attempt, and RAM must be written once. */
enum stop memory_write(struct context *c, const struct span *span, const void *in)
{
	for (u32 pass = 0; pass < 2; pass++) {
		u8 *data = (u8 *)in;

		for (u32 i = 0; i < span->count; i++) {
			const struct span_part *part = &span->parts[i];
			bool ram = part->ram && !part->rom;

			if (ram && pass == 1) {
				copy(part->ram, data, part->size);
				mark_written(c, part);
			} else if (!ram && pass == 0) {
				enum stop stop = mmio_part(c, part, true, data);

				if (stop)
					return stop;
			}
			data += part->size;
		}
	}
	return GO;
}

static bool compare_exchange_16(void *p, const u64 old[2], const u64 value[2])
{
	u64 low = old[0], high = old[1];
	bool equal;

	__asm__ volatile("lock cmpxchg16b %1"
			 : "=@cce"(equal), "+m"(*(u64(*)[2])p), "+a"(low), "+d"(high)
			 : "b"(value[0]), "c"(value[1])
			 : "memory");
	return equal;
}

#define COMPARE_EXCHANGE(type, p, old, value)                                                      \
	({                                                                                         \
		type expected_ = *(const type *)(old);                                             \
		__atomic_compare_exchange_n((type *)(p), &expected_, *(const type *)(value),       \
					    false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);            \
	})

enum stop memory_update(struct context *c, const struct span *span, const void *old,
			const void *value)
{
	const struct span_part *part = &span->parts[0];
	bool equal;

	/* A split lock would be a lock of the host's bus: done in two steps instead. */
	if (!c->locked || span->count != 1 || !part->ram || part->rom ||
	    (span->linear & (CACHE_LINE - 1)) + span->size > CACHE_LINE)
		return memory_write(c, span, value);
	switch (span->size) {
	case 1:
		equal = COMPARE_EXCHANGE(u8, part->ram, old, value);
		break;
	case 2:
		equal = COMPARE_EXCHANGE(u16_any, part->ram, old, value);
		break;
	case 4:
		equal = COMPARE_EXCHANGE(u32_any, part->ram, old, value);
		break;
	case 8:
		equal = COMPARE_EXCHANGE(u64_any, part->ram, old, value);
		break;
	default:
		equal = compare_exchange_16(part->ram, old, value);
	}
	mark_written(c, part);
	return equal ? GO : STOP_RETRY;
}
