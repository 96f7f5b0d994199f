// SPDX-License-Identifier: MIT
/*
 * The management guest's memory: everything maps to itself, except Keel's memory and the frames
 * that were donated, which read as zeros.
 *
 *   0 ...... max(4 GiB, end of RAM)   at launch, in the largest pages
 *   Keel's, donated                   one shared zero page, read-only, NX
 *   xAPIC page                        read-only: writes are decoded (mgmt_apic.c)
 *   above                             on first touch
 *
 * Lock: mgmt_lock, before mm/'s: a donation, a merge and new memory types are each one step to the
 * other CPUs.
 */
#include "arch-x86/insn.h"
#include "arch-x86/log.h"
#include "core/emulate.h"
#include "core/mgmt.h"
#include "lib/string.h"
#include "mm/frames.h"

#define KNOWN_END  BIT(32)
#define TABLES_END BIT(48) /* what four levels reach */
/* EPT: two below each of the leaves that an end of one of 16 MTRRs splits, and below 1 MiB. */
#define TYPE_TABLES (4 * 16 + 2)

static struct spinlock mgmt_lock;
u64 mgmt_epoch_now;
static u64 known_end; /* mapped at launch below it */
static u64 physical_end;
static hpa_t zero_page;
static struct mtrrs mtrrs; /* EPT: whose types the tables have */

static struct stage2 *tables(void)
{
	return &mgmt_vm()->mem.s2;
}

static int show_zeros(u64 base, u64 size)
{
	return stage2_map_same(tables(), GPA(base), zero_page, size, S2_READ | S2_ZERO_PAGE);
}

/*
 * Everything maps to itself. EPT says itself what the MTRRs do without it: one leaf has one type.
 * NPT leaves it to the processor (APM vol. 2, "Memory Types" of "Nested Paging").
 */
static int map_identity(u64 base, u64 end)
{
	int error = 0;

	while (base < end && !error) {
		u64 part_end = end;
		u32 flags = S2_RWX;

		if (virt->ept) {
			flags |= S2_TYPE(mtrrs_type(&mtrrs, base, &part_end));
			part_end = MIN(part_end, end);
		}
		error = stage2_map(tables(), GPA(base), HPA(base), part_end - base, flags);
		base = part_end;
	}
	return error;
}

u64 mgmt_pool_pages(u64 ram_end, u32 count)
{
	u64 address_bits = MIN(cpuid(0x80000008, 0).eax & 0xff, 48u);
	/* One table holds the leaves of 512 GiB, or of 1 GiB. */
	u64 sizes = stage2_sizes(virt_features);
	u32 table_bits = sizes & SIZE_1G ? 39 : 30;
	u64 tables = address_bits > table_bits ? BIT(address_bits - table_bits) : 1;

	/* Sizes are of the order of Keel's whole budget at most: an odd machine gets fewer. */
	tables = MIN(tables, 1024ull);
	if (!(sizes & SIZE_2M)) /* or of 2 MiB: for what is mapped at launch */
		tables += ALIGN_UP(MAX(ram_end, KNOWN_END), SIZE_1G) / SIZE_2M;
	return 256 + TYPE_TABLES + tables + (u64)count * vcpu_pages() + ram_end / SIZE_1G;
}

int mgmt_memory_init(const struct mgmt_boot *boot)
{
	int error;

	zero_page = boot->zero_page;
	known_end = ALIGN_UP(MAX(boot->ram_end, KNOWN_END), SIZE_1G);
	physical_end = MIN(BIT(cpuid(0x80000008, 0).eax & 0xff), TABLES_END);
	if (virt->ept)
		mtrrs_read(&mtrrs);
	error = map_identity(0, known_end);
	if (!error)
		error = show_zeros(boot->reserved_base.v, boot->reserved_pages * PAGE_SIZE);
	if (!error)
		error = stage2_map(tables(), GPA(MGMT_APIC_PAGE), HPA(MGMT_APIC_PAGE), PAGE_SIZE,
				   S2_READ | S2_TYPE(MEMORY_UC));
	return error;
}

/*
 * MMIO above 4 GiB that no memory map shows, in the largest page around it. The pool holds the
 * tables for all of the address space (mgmt_pool_pages), so nothing has to be forgotten again.
 */
static int first_touch(u64 gpa)
{
	u64 size = stage2_sizes(virt_features) & SIZE_1G ? SIZE_1G : SIZE_2M;
	u64 base = ALIGN_DOWN(gpa, size);

	if (base < known_end || base + size > physical_end)
		return -EINVAL;
	return map_identity(base, base + size);
}

static void write_to_keel(struct vcpu *vcpu, u64 gpa)
{
	__atomic_fetch_add(&mgmt_counters.keel_writes, 1, __ATOMIC_RELAXED);
	log_limited(LOG_WARN, "management guest: access to Keel's memory at %llx, RIP %llx: #GP",
		    (unsigned long long)gpa, (unsigned long long)vcpu->v.rip);
	vcpu_inject_gp(vcpu, 0);
}

/* A write to the xAPIC page. What the emulator does not know cannot be a driver's: #GP. */
static void apic_page(struct vcpu *vcpu, const struct vm_exit *e)
{
	if (e->slat.write && !e->slat.exec && !e->slat.table_walk) {
		enum emulation_result result = emulate(vcpu, e);

		if (result == EMULATE_DONE)
			return;
		vcpu->emulation.active = false;
	}
	log_limited(LOG_WARN, "management guest: unknown access to the APIC page, RIP %llx: #GP",
		    (unsigned long long)vcpu->v.rip);
	vcpu_inject_gp(vcpu, 0);
}

void mgmt_memory_fault(struct vcpu *vcpu, const struct vm_exit *e)
{
	u64 gpa = e->slat.gpa.v, size;
	u32 need = e->slat.write ? S2_WRITE : e->slat.exec ? S2_EXEC : S2_READ;
	u32 flags;
	hpa_t hpa;
	int error = 0;

	if (ALIGN_DOWN(gpa, PAGE_SIZE) == MGMT_APIC_PAGE) {
		apic_page(vcpu, e);
		return;
	}
	spin_lock(&mgmt_lock);
	if (!stage2_lookup(tables(), e->slat.gpa, &hpa, &size, &flags))
		error = first_touch(gpa);
	else if (flags & S2_ZERO_PAGE)
		error = -EFAULT;
	else if (flags & need) /* another CPU changed the entry, or this one's TLB is old */
		vcpu->v.flush = true;
	else
		error = -EACCES;
	spin_unlock(&mgmt_lock);
	if (error == -EFAULT) {
		write_to_keel(vcpu, gpa);
	} else if (error) {
		log_limited(LOG_WARN, "management guest: no memory at %llx (%d), RIP %llx: #GP",
			    (unsigned long long)gpa, error, (unsigned long long)vcpu->v.rip);
		vcpu_inject_gp(vcpu, 0);
	}
}

/* The epoch grows after the tables have changed, so whoever sees it flushes for the change. */
static u64 next_epoch(void)
{
	return __atomic_add_fetch(&mgmt_epoch_now, 1, __ATOMIC_SEQ_CST);
}

u64 mgmt_epoch(void)
{
	return __atomic_load_n(&mgmt_epoch_now, __ATOMIC_SEQ_CST);
}

/*
 * A CPU that waits for a SIPI is in root and looks at the tables' generation before it enters:
 * it stores `waiting_for_sipi` before that, as this reads it after the generation was stored.
 */
static bool is_behind(const struct cpu *cpu, u64 epoch)
{
	return __atomic_load_n(&cpu->management_generation_seen, __ATOMIC_ACQUIRE) < epoch &&
	       !__atomic_load_n(&cpu->waiting_for_sipi, __ATOMIC_SEQ_CST);
}

bool mgmt_epoch_passed(u64 epoch)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	for (u32 i = 0; i < cpu_count; i++)
		if (is_behind(cpus[i], epoch))
			return false;
	return true;
}

void mgmt_epoch_push(struct cpu *self, u64 epoch)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	for (u32 i = 0; i < cpu_count; i++)
		if (is_behind(cpus[i], epoch))
			mgmt_kick(self, cpus[i]);
}

/* Tables that were taken out can be used again once no CPU walks them. */
static void free_tables(void)
{
	u64 seen = ~0ull;

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	for (u32 i = 0; i < cpu_count; i++) {
		const struct virt_vcpu *v;

		/* Not launched yet, or in root until it enters with the tables of then. */
		if (!cpus[i] || !cpus[i]->management ||
		    __atomic_load_n(&cpus[i]->waiting_for_sipi, __ATOMIC_SEQ_CST))
			continue;
		v = &cpus[i]->management->v;
		seen = MIN(seen, __atomic_load_n(&v->slat_generation_seen, __ATOMIC_ACQUIRE));
	}
	stage2_quiesce(tables(), seen);
}

/* What is mapped gets the types that the MTRRs give now. */
static void set_types(void)
{
	gpa_t at = GPA(0);
	u64 size;
	u32 flags;
	int error = 0;

	while (!error && stage2_next(tables(), &at, physical_end, &size, &flags)) {
		if (!(flags & S2_ZERO_PAGE) && at.v != MGMT_APIC_PAGE)
			error = map_identity(at.v, at.v + size);
		at.v += size;
	}
	if (error)
		log_error("management guest: no tables are left for its memory types");
}

/*
 * While they are disabled nothing is cached, whatever the tables say: software has CR0.CD set then
 * (SDM vol. 3, "MTRR Considerations in MP Systems"). Every CPU repeats the same writes.
 */
void mgmt_memory_types(void)
{
	struct mtrrs now;

	mtrrs_read(&now);
	if (!(now.def_type & MTRR_DEF_ENABLE))
		return;
	spin_lock(&mgmt_lock);
	if (memcmp(&now, &mtrrs, sizeof(now))) {
		mtrrs = now;
		free_tables();
		set_types();
		log_limited(LOG_INFO, "management guest: memory types follow its MTRRs");
	}
	spin_unlock(&mgmt_lock);
}

int mgmt_leave(hpa_t base, u64 pages, u64 *epoch)
{
	int error;

	if (!IS_ALIGNED(base.v, PAGE_SIZE) || !pages)
		return trace_error(-EINVAL);
	spin_lock(&mgmt_lock);
	free_tables();
	error = frames_leave(base, pages);
	if (error)
		goto out;
	error = show_zeros(base.v, pages * PAGE_SIZE);
	if (error)
		frames_return(base, pages);
	else
		*epoch = next_epoch();
out:
	spin_unlock(&mgmt_lock);
	return error;
}

void mgmt_return(hpa_t base, u64 pages)
{
	spin_lock(&mgmt_lock);
	frames_return(base, pages);
	/* Its tables exist: mapping them again needs none, and makes large pages whole. */
	CHECK(map_identity(base.v, base.v + pages * PAGE_SIZE) == 0);
	next_epoch();
	spin_unlock(&mgmt_lock);
}
