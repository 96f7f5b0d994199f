/* SPDX-License-Identifier: MIT */
/*
 * A backend whose guests are callbacks, and whose TLBs keep (ASID, guest page) -> host page until
 * something flushes that would flush on hardware: a new ASID, or nothing.
 *
 * The walk here is its own reading of the manuals, not mm/'s: SDM vol. 3, "The Extended Page
 * Table Mechanism (EPT)"; APM vol. 2, "Nested Paging".
 */
#include "tests/unit/fake/fake.h"

#include <pthread.h>
#include <string.h>

#define VCPUS	 256
#define TLB_SIZE 4096
#define EXITS	 1024
#define VMS	 64

struct tlb_entry {
	struct virt_vcpu *owner; /* NULL: free */
	u32 cpu, asid;
	u64 gpn, hpn;
	bool write, exec, dirty;
	u64 *leaf, entry; /* where it stands, as it was read */
	u64 tables[4];	  /* table pages that the walk read: paging-structure caches hold them */
};

struct fake_vm {
	struct virt_vm *vm;
	u8 msr_read[0x4000 / 8 * 2], msr_write[0x4000 / 8 * 2]; /* low and c0000000 ranges */
	u8 ports[65536 / 8];
};

__attribute__((weak)) const struct virt_ops *virt;
__attribute__((weak)) u64 virt_features;
__attribute__((weak)) bool virt_check_entry;
__attribute__((weak)) u32 virt_teach;

void virt_run(struct virt_vcpu *v, struct vm_exit *e)
{
	virt->run(v, e);
}

void virt_swap(struct virt_vcpu *from, struct virt_vcpu *to, struct cpu *cpu)
{
	virt->swap(from, to, cpu);
}

void virt_release(struct virt_vcpu *v)
{
	if (virt->release)
		virt->release(v);
}

void (*fake_run)(struct virt_vcpu *v, struct vm_exit *e);
bool fake_check_injection;

static struct fake_vcpu vcpus[VCPUS];
static struct virt_vcpu *vcpu_owner[VCPUS];
static struct fake_vm vms[VMS];
static struct tlb_entry tlb[TLB_SIZE];
static u32 tlb_next;
static u32 asid_next;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct vm_exit exits[EXITS];
static u32 exit_first, exit_count;

void fake_backend_reset(void)
{
	memset(vcpus, 0, sizeof(vcpus));
	memset(vcpu_owner, 0, sizeof(vcpu_owner));
	memset(vms, 0, sizeof(vms));
	memset(tlb, 0, sizeof(tlb));
	tlb_next = exit_first = exit_count = 0;
	asid_next = 1;
	fake_run = NULL;
	fake_check_injection = true;
	pthread_mutex_init(&lock, NULL); /* a failed test may have kept it */
}

void fake_push_exit(const struct vm_exit *e)
{
	assert_true(exit_count < EXITS);
	exits[(exit_first + exit_count++) % EXITS] = *e;
}

u32 fake_exits_left(void)
{
	return exit_count;
}

/* ---- the TLB --------------------------------------------------------------------------------- */

/* Can the processor still use this entry without a flush before? */
static bool tlb_live(const struct tlb_entry *t)
{
	const struct virt_vcpu *v = t->owner;

	if (!v || v->asid != t->asid || v->cpu != cpus[t->cpu])
		return false;
	if (fake_vcpu((struct virt_vcpu *)v)->in_guest)
		return true;
	return !v->flush && v->slat_generation_seen == v->vm->slat_generation;
}

void fake_tlb_flush_all(void)
{
	pthread_mutex_lock(&lock);
	memset(tlb, 0, sizeof(tlb));
	pthread_mutex_unlock(&lock);
}

void fake_tlb_assert_not_cached(hpa_t base, u64 size)
{
	u64 first = base.v >> PAGE_SHIFT, last = (base.v + size - 1) >> PAGE_SHIFT;
	bool stale = false;

	pthread_mutex_lock(&lock);
	for (u32 i = 0; i < MIN(tlb_next, TLB_SIZE); i++) {
		const struct tlb_entry *t = &tlb[i];

		if (!t->owner || !tlb_live(t))
			continue;
		stale |= t->hpn >= first && t->hpn <= last;
		for (u32 k = 0; k < 4; k++)
			stale |= t->tables[k] && t->tables[k] >= first && t->tables[k] <= last;
	}
	pthread_mutex_unlock(&lock);
	if (stale)
		panic("memory at %#lx changes hands while a TLB holds it", base.v);
}

/* The vCPUs in this memory are no more. A processor could still write an active VMCS to it. */
static void forget_vcpus(hpa_t base, u64 size)
{
	for (u32 i = 0; i < VCPUS; i++) {
		u64 at = (u64)((u8 *)vcpu_owner[i] - (u8 *)phys_ptr(HPA(0)));

		if (!vcpu_owner[i] || at < base.v || at - base.v >= size)
			continue;
		if (vcpus[i].active)
			panic("a vCPU's memory at %#lx changes hands while it is active", base.v);
		vcpu_owner[i] = NULL;
	}
}

/* mm/phys.h's hook. */
void fake_frames_reused(hpa_t base, u64 pages)
{
	fake_tlb_assert_not_cached(base, pages * PAGE_SIZE);
	forget_vcpus(base, pages * PAGE_SIZE);
}

/* Hardware's walk: false is a fault. Fills *t. */
static bool hardware_walk(const struct virt_vm *vm, u64 gpa, struct tlb_entry *t)
{
	u64 table = vm->slat_root.v;
	bool ept = virt->ept;

	t->write = t->exec = true;
	for (int level = 3; level >= 0; level--) {
		int shift = 12 + 9 * level;
		u64 entry = __atomic_load_n((u64 *)phys_ptr(HPA(table)) + (gpa >> shift & 511),
					    __ATOMIC_RELAXED);
		u64 span = 1ull << shift;

		t->tables[level] = table >> PAGE_SHIFT;
		if (!(entry & (ept ? 7 : 1)))
			return false;
		if (ept)
			assert_true(entry & 1); /* W or X without R is a misconfiguration */
		else
			assert_true(entry & 4); /* a nested walk is a user access */
		t->write &= entry >> 1 & 1;
		t->exec &= ept ? entry >> 2 & 1 : !(entry >> 63);
		if (level && !(entry & BIT(7))) {
			if (ept)
				assert_int_equal(entry & MASK(6, 3),
						 0); /* reserved in a table entry */
			table = entry & MASK(51, 12);
			continue;
		}
		assert_true(level < 3);
		if (ept) /* memory types 2, 3 and 7 are reserved */
			assert_true(BIT(entry >> 3 & 7) & 0x73);
		assert_int_equal(entry & MASK(51, 12) & (span - 1) & ~(ept ? 0 : BIT(12)), 0);
		t->leaf = (u64 *)phys_ptr(HPA(table)) + (gpa >> shift & 511);
		t->entry = entry;
		t->hpn = ((entry & MASK(51, 12) & ~(span - 1)) | (gpa & (span - 1))) >> PAGE_SHIFT;
		return true;
	}
	return false;
}

/* The leaf's accessed flag is set, unless software has changed the leaf: then it walks again. */
static bool walk_and_set_accessed(const struct virt_vcpu *v, u64 gpa, struct tlb_entry *t)
{
	do
		if (!hardware_walk(v->vm, gpa, t))
			return false;
	while (fake_vcpu((struct virt_vcpu *)v)->flags &&
	       !__atomic_compare_exchange_n(t->leaf, &t->entry, t->entry | BIT(virt->ept ? 8 : 5),
					    false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
	return true;
}

static struct tlb_entry *tlb_find(const struct virt_vcpu *v, u64 gpn)
{
	u32 cpu = this_cpu()->index;

	for (u32 i = 0; i < MIN(tlb_next, TLB_SIZE); i++)
		if (tlb[i].owner == v && tlb[i].cpu == cpu && tlb[i].asid == v->asid &&
		    tlb[i].gpn == gpn)
			return &tlb[i];
	return NULL;
}

static bool translate(struct virt_vcpu *v, u64 gpa, bool write, bool exec, hpa_t *hpa,
		      struct tlb_entry *walked)
{
	struct tlb_entry *t = tlb_find(v, gpa >> PAGE_SHIFT);

	memset(walked, 0, sizeof(*walked));
	if (!t || (write && !t->write) || (exec && !t->exec)) {
		if (!walk_and_set_accessed(v, gpa, walked))
			return false;
		if (!t)
			t = &tlb[tlb_next++ % TLB_SIZE];
		walked->owner = v;
		walked->cpu = this_cpu()->index;
		walked->asid = v->asid;
		walked->gpn = gpa >> PAGE_SHIFT;
		*t = *walked;
	}
	*hpa = HPA(t->hpn << PAGE_SHIFT | (gpa & (PAGE_SIZE - 1)));
	return (!write || t->write) && (!exec || t->exec);
}

/*
 * SDM vol. 3, "Page-Modification Logging": a write through a leaf without its dirty flag sets the
 * flag and logs the page; the leaf is looked at again for that. False: the log is full.
 */
static bool log_write(struct virt_vcpu *v, u64 gpa, hpa_t *hpa, struct tlb_entry *walked, bool *hit)
{
	struct fake_vcpu *f = fake_vcpu(v);
	struct tlb_entry *t = tlb_find(v, gpa >> PAGE_SHIFT);

	if (!f->logging || t->dirty)
		return true;
	assert_true(virt->ept);
	t->owner = NULL; /* walk again */
	*hit = translate(v, gpa, true, false, hpa, walked);
	if (!*hit)
		return true;
	t = tlb_find(v, gpa >> PAGE_SHIFT);
	t->dirty = true;
	if (__atomic_load_n(t->leaf, __ATOMIC_RELAXED) & BIT(9))
		return true;
	if (f->log_count == FAKE_LOG) {
		t->dirty = false;
		return false;
	}
	__atomic_fetch_or(t->leaf, BIT(9), __ATOMIC_SEQ_CST);
	f->log[f->log_count++] = ALIGN_DOWN(gpa, PAGE_SIZE);
	return true;
}

bool fake_guest_access(struct virt_vcpu *v, gpa_t gpa, bool write, bool exec, hpa_t *hpa,
		       struct vm_exit *e)
{
	struct tlb_entry walked;
	bool hit, logged = true;

	assert_true(fake_vcpu(v)->in_guest);
	pthread_mutex_lock(&lock);
	hit = translate(v, gpa.v, write, exec, hpa, &walked);
	if (hit && write)
		logged = log_write(v, gpa.v, hpa, &walked, &hit);
	pthread_mutex_unlock(&lock);
	if (!logged && e)
		e->reason = EXIT_PML_FULL;
	if (!hit && e) {
		e->reason = EXIT_SLAT;
		e->slat.gpa = gpa;
		e->slat.write = write;
		e->slat.exec = exec;
		e->slat.present = walked.owner != NULL;
	}
	return hit && logged;
}

void fake_guest_read(struct virt_vcpu *v, gpa_t gpa, void *out, u64 length)
{
	hpa_t hpa;

	assert_true(fake_guest_access(v, gpa, false, false, &hpa, NULL));
	memcpy(out, phys_ptr(hpa), length);
}

void fake_guest_write(struct virt_vcpu *v, gpa_t gpa, const void *in, u64 length)
{
	hpa_t hpa;

	assert_true(fake_guest_access(v, gpa, true, false, &hpa, NULL));
	memcpy(phys_ptr(hpa), in, length);
}

/* ---- the operations -------------------------------------------------------------------------- */

static const char *fake_probe(u64 *features)
{
	*features = virt_features;
	return NULL;
}

static int fake_cpu_on(struct cpu *cpu, hpa_t host_area)
{
	cpu->host_area = host_area;
	return 0;
}

static void fake_cpu_off(struct cpu *cpu)
{
	cpu->host_area = HPA(0);
}

static struct fake_vm *fake_vm(struct virt_vm *vm)
{
	for (u32 i = 0; i < VMS; i++)
		if (vms[i].vm == vm)
			return &vms[i];
	return NULL;
}

static int fake_vm_init(struct virt_vm *vm, struct pool *pool)
{
	struct fake_vm *f = fake_vm(vm) ? fake_vm(vm) : fake_vm(NULL);

	assert_non_null(f);
	memset(f, vm->kind == VIRT_CHILD ? 0xff : 0, sizeof(*f));
	f->vm = vm;
	return 0;
}

/* Its state is reached through this CPU from now on, as a VMCS's: no other one may have it. */
static struct fake_vcpu *use(struct virt_vcpu *v)
{
	struct fake_vcpu *f = fake_vcpu(v);

	assert_true(!f->active || f->active == this_cpu());
	f->active = this_cpu();
	return f;
}

static void fake_release(struct virt_vcpu *v)
{
	assert_true(!fake_vcpu(v)->active || fake_vcpu(v)->active == this_cpu());
	assert_false(v->loaded);
	fake_vcpu(v)->active = NULL;
}

static int fake_vcpu_init(struct virt_vcpu *v, struct virt_vm *vm, struct pool *pool)
{
	u32 i, slot = VCPUS;

	for (i = 0; i < VCPUS && vcpu_owner[i] != v; i++)
		if (!vcpu_owner[i] && slot == VCPUS)
			slot = i;
	if (i == VCPUS)
		i = slot;
	assert_true(i < VCPUS);
	vcpu_owner[i] = v;
	memset(&vcpus[i], 0, sizeof(vcpus[i]));
	vcpus[i].reg[VREG_RFLAGS] = 2;
	memset(v, 0, sizeof(*v));
	v->vm = vm;
	v->features = vm->features;
	v->hw = &vcpus[i];
	use(v);
	return 0;
}

static void fake_load(struct virt_vcpu *v, struct cpu *cpu)
{
	assert_ptr_equal(cpu, this_cpu());
	assert_false(v->loaded);
	assert_true(cpu->loaded == NULL || cpu->loaded == v);
	if (v->cpu != cpu)
		v->flush = true;
	v->cpu = cpu;
	v->loaded = true;
	cpu->loaded = v;
	use(v)->loads++;
}

static void fake_put(struct virt_vcpu *v)
{
	use(v);
	assert_true(v->loaded);
	assert_ptr_equal(v->cpu, this_cpu());
	v->loaded = false;
	v->cpu->loaded = NULL;
}

static void fake_swap(struct virt_vcpu *from, struct virt_vcpu *to, struct cpu *cpu)
{
	fake_put(from);
	fake_load(to, cpu);
}

/* What hardware would do, or refuse, with the event that this entry carries. */
static void deliver(struct virt_vcpu *v, struct fake_vcpu *f)
{
	const struct virt_event *event = &f->injected;

	if (event->type == EVENT_NONE)
		return;
	if (fake_check_injection && event->type == EVENT_INTR) {
		assert_true(f->reg[VREG_RFLAGS] & BIT(9));
		assert_int_equal(f->reg[VREG_INT_SHADOW], 0);
	}
	if (fake_check_injection && event->type == EVENT_NMI)
		assert_int_equal(f->reg[VREG_NMI_MASKED], 0);
	if (event->type == EVENT_NMI)
		f->reg[VREG_NMI_MASKED] = 1;
	f->delivered[f->delivered_count++ % FAKE_EVENTS] = *event;
	f->injected = (struct virt_event){0};
}

static void fake_run_once(struct virt_vcpu *v, struct vm_exit *e)
{
	struct fake_vcpu *f = use(v);

	assert_true(v->loaded);
	assert_ptr_equal(v->cpu, this_cpu());
	assert_ptr_equal(this_cpu()->loaded, v);
	pthread_mutex_lock(&lock);
	if (v->flush || !v->asid ||
	    v->slat_generation_seen != __atomic_load_n(&v->vm->slat_generation, __ATOMIC_ACQUIRE)) {
		v->slat_generation_seen = v->vm->slat_generation;
		v->flush = false;
		f->logging = v->vm->dirty_logs && v->features & VIRT_PML;
		f->flags = !virt->ept || f->logging ||
			   (v->vm->slat_accessed && v->features & VIRT_SLAT_AD);
		v->asid = asid_next++;
		f->flushes++;
	}
	f->in_guest = true;
	pthread_mutex_unlock(&lock);
	deliver(v, f);
	f->entries++;
	memset(e, 0, sizeof(*e));
	if (fake_run) {
		fake_run(v, e);
	} else {
		assert_true(exit_count > 0);
		*e = exits[exit_first++ % EXITS];
		exit_count--;
	}
	pthread_mutex_lock(&lock);
	f->in_guest = false;
	pthread_mutex_unlock(&lock);
	v->written = f->log;
	v->written_count = f->log_count;
	f->log_count = 0;
	v->cr8 = f->reg[VREG_CR8];
}

static u64 fake_get(struct virt_vcpu *v, enum virt_reg reg)
{
	assert_in_range(reg, 0, VREG_COUNT - 1);
	if (reg == VREG_CPL)
		return use(v)->seg[SEG_SS].attr >> 5 & 3;
	return use(v)->reg[reg];
}

static void fake_set(struct virt_vcpu *v, enum virt_reg reg, u64 value)
{
	assert_in_range(reg, 0, VREG_COUNT - 1);
	assert_int_not_equal(reg, VREG_CPL);
	use(v)->reg[reg] = value;
	if (reg == VREG_CR8)
		v->cr8 = value;
}

static void fake_get_segment(struct virt_vcpu *v, enum seg seg, struct segment *s)
{
	assert_in_range(seg, 0, SEG_COUNT - 1);
	*s = use(v)->seg[seg];
}

static void fake_set_segment(struct virt_vcpu *v, enum seg seg, const struct segment *s)
{
	assert_in_range(seg, 0, SEG_COUNT - 1);
	use(v)->seg[seg] = *s;
}

static void fake_inject(struct virt_vcpu *v, const struct virt_event *event)
{
	use(v)->injected = *event;
}

static void fake_intercept(struct virt_vcpu *v, u32 set)
{
	use(v)->intercepts = set;
}

static u32 msr_bit(u32 index)
{
	if (index < 0x2000)
		return index;
	if (index - 0xc0000000u < 0x2000)
		return index - 0xc0000000u + 0x2000;
	if (index - 0xc0010000u < 0x2000)
		return index - 0xc0010000u + 0x4000;
	return ~0u;
}

static void set_bit(u8 *map, u32 bit, bool on)
{
	map[bit / 8] = (u8)((map[bit / 8] & ~(1 << bit % 8)) | on << bit % 8);
}

static void fake_intercept_msr(struct virt_vm *vm, u32 index, bool read, bool write)
{
	struct fake_vm *f = fake_vm(vm);
	u32 bit = msr_bit(index);

	assert_int_not_equal(bit, ~0u);
	set_bit(f->msr_read, bit, read);
	set_bit(f->msr_write, bit, write);
}

static void fake_intercept_port(struct virt_vm *vm, u16 port, bool on)
{
	set_bit(fake_vm(vm)->ports, port, on);
}

bool fake_msr_intercepted(struct virt_vm *vm, u32 index, bool write)
{
	struct fake_vm *f = fake_vm(vm);
	u32 bit = msr_bit(index);

	return bit == ~0u || ((write ? f->msr_write : f->msr_read)[bit / 8] >> bit % 8 & 1);
}

bool fake_port_intercepted(struct virt_vm *vm, u16 port)
{
	return fake_vm(vm)->ports[port / 8] >> port % 8 & 1;
}

static void fake_take_nmi(struct cpu *cpu, bool sleep)
{
	cpu->kick_pending = 0;
}

static void fake_dump(struct virt_vcpu *v)
{
	use(v)->dumps++;
}

const struct virt_ops fake_virt_ops = {
	.name = "fake",
	.probe = fake_probe,
	.cpu_on = fake_cpu_on,
	.cpu_off = fake_cpu_off,
	.vm_init = fake_vm_init,
	.vcpu_init = fake_vcpu_init,
	.load = fake_load,
	.put = fake_put,
	.swap = fake_swap,
	.release = fake_release,
	.run = fake_run_once,
	.get = fake_get,
	.set = fake_set,
	.get_segment = fake_get_segment,
	.set_segment = fake_set_segment,
	.inject = fake_inject,
	.intercept = fake_intercept,
	.intercept_msr = fake_intercept_msr,
	.intercept_port = fake_intercept_port,
	.take_nmi = fake_take_nmi,
	.dump = fake_dump,
};
