/* SPDX-License-Identifier: MIT */
/*
 * kvmclock, as Linux's Documentation/virt/kvm/x86/msr.rst describes it.
 * Lock: kvmclock->lock, before mm/'s.
 */
#include "devices/kvmclock.h"

#include "arch-x86/insn.h"
#include "arch-x86/msr.h"
#include "core/cpuid.h"
#include "core/vm.h"
#include "devices/steal.h"
#include "devices/time.h"
#include "mm/phys.h"

#define ENABLED BIT(0) /* of the system time MSR; the rest is the page's address */

enum { TSC_STABLE = BIT(0), GUEST_STOPPED = BIT(1) }; /* pvclock_vcpu_time_info.flags */

/* In guest memory: pvclock_vcpu_time_info. An odd version: being written. */
struct time_page {
	u32 version;
	u32 pad0;
	u64 tsc_timestamp;
	u64 system_time;
	u32 mul;
	s8 shift;
	u8 flags;
	u8 pad[2];
};
_Static_assert(sizeof(struct time_page) == 32, "pvclock_vcpu_time_info");

/* In guest memory: pvclock_wall_clock. */
struct wall_clock {
	u32 version, seconds, nanoseconds;
};

struct tick_scale { /* ns = (ticks << shift) * mul >> 32 */
	u32 mul;
	s8 shift;
};

struct vcpu_clock {
	u64 system_time_msr;
	u32 version;
	bool stopped; /* tell the guest at the next update */
};

struct kvmclock {
	struct spinlock lock;
	u64 base_tsc, base_ns;	 /* the clock showed base_ns at this host TSC */
	struct tick_scale scale; /* of the host's TSC */
	bool wall_wanted;
	u64 wall_clock_msr;
	struct bus_device old_msrs, new_msrs;
	struct vcpu_clock vcpus[VM_VCPUS];
};

/* The guest's own formula, so that both sides agree to the nanosecond. */
static u64 scale(struct tick_scale s, u64 ticks)
{
	ticks = s.shift < 0 ? ticks >> -s.shift : ticks << s.shift;
	return (u64)((unsigned __int128)ticks * s.mul >> 32);
}

static struct tick_scale make_scale(u64 hz)
{
	struct tick_scale s = {0};

	hz = MAX(hz, 1000);
	/* Brings the frequency to (1 GHz, 2 GHz]: then mul has 32 significant bits. */
	while (hz > 2 * NS_PER_SECOND) {
		hz >>= 1;
		s.shift--;
	}
	while (hz <= NS_PER_SECOND) {
		hz <<= 1;
		s.shift++;
	}
	s.mul = (u32)((NS_PER_SECOND << 32) / hz);
	return s;
}

static u64 clock_at(const struct kvmclock *c, u64 tsc)
{
	return c->base_ns + scale(c->scale, tsc - c->base_tsc);
}

static u64 real_time_at(const struct vm *vm, u64 tsc)
{
	return vm->wall_time_ns + tsc_to_ns(tsc - vm->boot_tsc, vm->tsc_khz);
}

static void barrier(void)
{
	__asm__ volatile("" ::: "memory"); /* x86 keeps the order of stores */
}

/*
 * One outside of the VM's memory, or that the structure sticks out of, stays unwritten. False: the
 * page is to be mapped first.
 */
static bool write_time_page(struct kvmclock *c, struct vcpu *vcpu)
{
	struct vcpu_clock *own = vcpu->clock;
	u64 length = sizeof(struct time_page);
	gpa_t gpa = GPA(own->system_time_msr & ~ENABLED);
	char *page = guest_ptr(&vcpu->vm->mem, gpa, &length, true);
	struct time_page t = {
		.tsc_timestamp = vcpu_tsc_at(vcpu, c->base_tsc),
		.system_time = c->base_ns,
	};
	struct tick_scale own_scale = c->scale;
	u32 version = own->version | 1;

	if (vcpu->tsc_ratio != TSC_RATIO_ONE)
		own_scale = make_scale(tsc_scaled(vcpu->vm->tsc_khz * 1000ull, vcpu->tsc_ratio));
	t.mul = own_scale.mul;
	t.shift = own_scale.shift;
	if (!page)
		return !vcpu_memory_fault(vcpu, gpa, true);
	if (length < sizeof(t))
		return true;
	/* GUEST_STOPPED stays until the guest itself clears it. */
	t.flags = TSC_STABLE | (page[offsetof(struct time_page, flags)] & GUEST_STOPPED);
	if (own->stopped)
		t.flags |= GUEST_STOPPED;
	own->stopped = false;
	t.version = version;
	__builtin_memcpy(page, &version, sizeof(version));
	barrier();
	__builtin_memcpy(page + sizeof(version), (char *)&t + sizeof(version),
			 sizeof(t) - sizeof(version));
	barrier();
	own->version = version + 1;
	__builtin_memcpy(page, &own->version, sizeof(version));
	/* Marked dirty after the write too: a dirty log taken in between would miss it. */
	length = sizeof(t);
	(void)guest_ptr(&vcpu->vm->mem, gpa, &length, true);
	return true;
}

/*
 * When the guest adds its system time to this, it has the time since 1970. False: the page at
 * *missing is not mapped.
 */
static bool write_wall_clock(struct kvmclock *c, struct vm *vm, gpa_t *missing)
{
	gpa_t gpa = GPA(c->wall_clock_msr);
	u64 now = rdtsc(), ns = real_time_at(vm, now) - clock_at(c, now);
	struct wall_clock w;

	if (guest_read(&vm->mem, gpa, &w.version, sizeof(w.version), missing))
		return false;
	w.version |= 1;
	if (guest_write(&vm->mem, gpa, &w.version, sizeof(w.version), missing))
		return false;
	w.seconds = (u32)(ns / NS_PER_SECOND);
	w.nanoseconds = (u32)(ns % NS_PER_SECOND);
	if (guest_write(&vm->mem, gpa, &w, sizeof(w), missing))
		return false;
	w.version++;
	return !guest_write(&vm->mem, gpa, &w.version, sizeof(w.version), missing);
}

/* What is not the VM's memory stays unwritten. */
static bool update_wall_clock(struct kvmclock *c, struct vcpu *vcpu)
{
	gpa_t missing;

	if (c->wall_wanted && !write_wall_clock(c, vcpu->vm, &missing) &&
	    vcpu_memory_fault(vcpu, missing, true))
		return false;
	c->wall_wanted = false;
	return true;
}

bool kvmclock_update(struct vcpu *vcpu)
{
	struct kvmclock *c = vcpu->vm->clock;
	const struct vcpu_clock *own = vcpu->clock;
	bool done;

	spin_lock(&c->lock);
	done = update_wall_clock(c, vcpu);
	if (done && own->system_time_msr & ENABLED)
		done = write_time_page(c, vcpu);
	spin_unlock(&c->lock);
	return done && steal_update(vcpu);
}

static bool allowed(const struct bus_device *d, const struct vcpu *vcpu)
{
	return cpuid_allows(vcpu, d->base == MSR_KVM_WALL_CLOCK ? KVM_FEATURE_CLOCKSOURCE
								: KVM_FEATURE_CLOCKSOURCE2);
}

/* offset 0: wall clock; 1: system time. Both MSR pairs are in this order. */
static int clock_read(struct bus_device *d, struct vcpu *vcpu, u64 offset, u32 size, u64 *value)
{
	const struct kvmclock *c = vcpu->vm->clock;
	const struct vcpu_clock *own = vcpu->clock;

	if (!allowed(d, vcpu))
		return -EINVAL;
	*value = offset ? own->system_time_msr : c->wall_clock_msr;
	return 0;
}

static int clock_write(struct bus_device *d, struct vcpu *vcpu, u64 offset, u32 size, u64 value)
{
	struct kvmclock *c = vcpu->vm->clock;
	struct vcpu_clock *own = vcpu->clock;

	if (!allowed(d, vcpu))
		return -EINVAL;
	spin_lock(&c->lock);
	if (offset) {
		own->system_time_msr = value;
	} else {
		c->wall_clock_msr = value;
		c->wall_wanted = value != 0;
	}
	spin_unlock(&c->lock);
	vcpu_set_request(vcpu, REQUEST_CLOCK);
	return 0;
}

int kvmclock_vm_init(struct vm *vm)
{
	hpa_t page = pool_alloc(&vm->pool, 1);
	struct kvmclock *c;
	int result;

	_Static_assert(sizeof(*c) <= PAGE_SIZE, "one page a VM");
	if (page.v == HPA_NONE.v)
		return -ENOMEM;
	c = phys_ptr(page);
	c->base_tsc = vm->boot_tsc;
	c->scale = make_scale(vm->tsc_khz * 1000ull);
	c->old_msrs = (struct bus_device){MSR_KVM_WALL_CLOCK, 2, clock_read, clock_write};
	c->new_msrs = (struct bus_device){MSR_KVM_WALL_CLOCK_NEW, 2, clock_read, clock_write};
	vm->clock = c;
	result = bus_add(&vm->msrs, &c->old_msrs);
	if (!result)
		result = bus_add(&vm->msrs, &c->new_msrs);
	if (!result)
		vm->clock_update = kvmclock_update;
	return result;
}

int kvmclock_vcpu_init(struct vcpu *vcpu)
{
	struct kvmclock *c = vcpu->vm->clock;

	vcpu->clock = &c->vcpus[vcpu->index];
	return 0;
}

void kvmclock_get(struct vm *vm, struct kvm_clock_data *data)
{
	struct kvmclock *c = vm->clock;
	u64 now = rdtsc();

	spin_lock(&c->lock);
	*data = (struct kvm_clock_data){
		.clock = clock_at(c, now),
		.flags = KVMCLOCK_FLAGS,
		.realtime = real_time_at(vm, now),
		.host_tsc = now,
	};
	spin_unlock(&c->lock);
}

int kvmclock_set(struct vm *vm, const struct kvm_clock_data *data)
{
	struct kvmclock *c = vm->clock;
	u64 now = rdtsc(), ns = data->clock, real = real_time_at(vm, now);

	if (data->flags & ~KVMCLOCK_FLAGS)
		return -EINVAL;
	/* The guest was away from `realtime` until now: its clock went on. */
	if ((data->flags & KVM_CLOCK_REALTIME) && real > data->realtime)
		ns += real - data->realtime;
	spin_lock(&c->lock);
	c->base_tsc = now;
	c->base_ns = ns;
	spin_unlock(&c->lock);
	for (u32 i = 0; i < vm->vcpu_count; i++) {
		if (vm->vcpus[i])
			vcpu_kick(vm->vcpus[i], REQUEST_CLOCK);
	}
	return 0;
}

int kvmclock_ctrl(struct vcpu *vcpu)
{
	struct kvmclock *c = vcpu->vm->clock;
	struct vcpu_clock *own = vcpu->clock;

	if (!(own->system_time_msr & ENABLED))
		return -EINVAL;
	spin_lock(&c->lock);
	own->stopped = true;
	spin_unlock(&c->lock);
	vcpu_set_request(vcpu, REQUEST_CLOCK);
	return 0;
}
