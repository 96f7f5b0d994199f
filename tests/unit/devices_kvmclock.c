/* SPDX-License-Identifier: MIT */
/* kvmclock: what stands in the guest's page, whatever address the guest gives, and SET_CLOCK. */
#include "tests/unit/devices_machine.h"

#include "devices/steal.h"

#define SLOT_SIZE 0x10000ull
#define SLOT_AT	  (FAKE_GUEST + (8ull << 20))

struct page { /* pvclock_vcpu_time_info */
	u32 version, pad0;
	u64 tsc_timestamp, system_time;
	u32 mul;
	s8 shift;
	u8 flags, pad[2];
};

static void start(u32 khz)
{
	machine_vm();
	vm.tsc_khz = khz;
	vm.boot_tsc = fake_tsc;
	vm.wall_time_ns = 1700000000123456789ull;
	assert_int_equal(virt->vm_init(&vm.virt, &vm.pool), 0);
	assert_int_equal(guest_mem_init(&vm.mem, &vm.virt, &vm.pool, false), 0);
	assert_int_equal(memslot_set(&vm.mem, 0, 0, GPA(0), SLOT_SIZE, 0x7f0000000000ull), 0);
	assert_int_equal(guest_mem_map(&vm.mem, GPA(0), HPA(SLOT_AT), SLOT_SIZE, true), 0);
	assert_int_equal(kvmclock_vm_init(&vm), 0);
	for (u32 i = 0; i < 2; i++) {
		add_vcpu(i, i);
		assert_int_equal(kvmclock_vcpu_init(&vcpus[i]), 0);
	}
}

static char *ram(u64 gpa)
{
	return fake_ram + SLOT_AT + gpa;
}

static struct page page_at(u64 gpa)
{
	struct page p;

	memcpy(&p, ram(gpa), sizeof(p));
	return p;
}

static void update(u32 cpu)
{
	assert_true(vcpus[cpu].request & REQUEST_CLOCK);
	vcpus[cpu].request = 0;
	vm.clock_update(&vcpus[cpu]);
}

static void update_again(u32 cpu)
{
	vcpus[cpu].request = REQUEST_CLOCK;
	update(cpu);
}

static void enable(u32 cpu, u64 gpa)
{
	assert_int_equal(msr_write(cpu, MSR_KVM_SYSTEM_TIME_NEW, gpa | 1), 0);
	update(cpu);
}

/* The guest's formula, from its own TSC. */
static u64 guest_clock(u32 cpu, u64 gpa)
{
	struct page p = page_at(gpa);
	u64 delta = vcpu_tsc_at(&vcpus[cpu], fake_tsc) - p.tsc_timestamp;

	assert_int_equal(p.version & 1, 0);
	delta = p.shift < 0 ? delta >> -p.shift : delta << p.shift;
	return p.system_time + (u64)((unsigned __int128)delta * p.mul >> 32);
}

static u64 keel_clock(void)
{
	struct kvm_clock_data d;

	memset(&d, 0xaa, sizeof(d));
	kvmclock_get(&vm, &d);
	assert_int_equal(d.flags, KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC);
	assert_int_equal(d.host_tsc, fake_tsc);
	assert_int_equal(d.pad0, 0);
	for (u32 i = 0; i < 4; i++)
		assert_int_equal(d.pad[i], 0);
	return d.clock;
}

static void test_time_page(void **state)
{
	static const u32 khz[] = {1,	   999,	    100000,  1000000, 1000001, 1999999,
				  2000000, 2000001, 2593905, 4000000, 4294967};

	for (u32 i = 0; i < ARRAY_SIZE(khz); i++) {
		start(khz[i]);
		vcpus[0].tsc_offset = 1ull << 40;
		vcpus[1].tsc_offset = -fake_tsc;
		fake_tsc += khz[i] * 1000ull; /* a second */
		enable(0, 0x1000);
		enable(1, 0x2000);
		assert_true(page_at(0x1000).flags & 1);
		for (u32 second = 1; second < 100; second++) {
			u64 expected = second * NS_PER_SECOND;

			assert_int_equal(guest_clock(0, 0x1000), keel_clock());
			assert_int_equal(guest_clock(1, 0x2000), keel_clock());
			assert_in_range(keel_clock(), expected - second, expected + second);
			fake_tsc += khz[i] * 1000ull;
		}
	}
}

/* The guest's TSC at another rate: the page says so, and the clock is the same to some ns. */
static void test_scaled_tsc(void **state)
{
	static const u64 ratios[] = {TSC_RATIO_ONE / 3, TSC_RATIO_ONE * 3 / 2, TSC_RATIO_ONE * 200};

	for (u32 i = 0; i < ARRAY_SIZE(ratios); i++) {
		start(2000000);
		vcpus[0].tsc_ratio = ratios[i];
		vcpus[0].tsc_offset = 1ull << 40;
		enable(0, 0x1000);
		enable(1, 0x2000);
		for (u32 second = 0; second < 100; second++) {
			u64 now = keel_clock();

			assert_in_range(guest_clock(0, 0x1000), now - MIN(now, 2 + 2 * second),
					now + 2 + 2 * second);
			assert_int_equal(guest_clock(1, 0x2000), now);
			fake_tsc += 2000000000;
		}
	}
}

static void test_no_frequency(void **state)
{
	start(0);
	enable(0, 0x1000);
	fake_tsc += 1000;
	assert_int_equal(guest_clock(0, 0x1000), keel_clock());
}

static void test_version_grows(void **state)
{
	u32 version;

	start(KHZ);
	enable(0, 0x1000);
	version = page_at(0x1000).version;
	enable(0, 0x1000);
	assert_true(page_at(0x1000).version > version);
	assert_int_equal(page_at(0x1000).version % 2, 0);
}

static void test_disabled_writes_nothing(void **state)
{
	struct page zero = {0}, p;

	start(KHZ);
	assert_int_equal(msr_write(0, MSR_KVM_SYSTEM_TIME, 0x1000), 0);
	update(0);
	p = page_at(0x1000);
	assert_memory_equal(&p, &zero, sizeof(p));
}

static void test_both_msr_pairs(void **state)
{
	start(KHZ);
	msr_write(0, MSR_KVM_SYSTEM_TIME, 0x1001);
	assert_int_equal(msr(0, MSR_KVM_SYSTEM_TIME), 0x1001);
	assert_int_equal(msr(0, MSR_KVM_SYSTEM_TIME_NEW), 0x1001);
	assert_int_equal(msr(1, MSR_KVM_SYSTEM_TIME_NEW), 0);
	msr_write(1, MSR_KVM_WALL_CLOCK, 0x3000);
	assert_int_equal(msr(0, MSR_KVM_WALL_CLOCK_NEW), 0x3000);
	update(0);
	assert_true(page_at(0x1000).version);
}

/* KVM_CAP_ENFORCE_PV_FEATURE_CPUID: each pair of MSRs has its own bit. */
static void test_cpuid_is_enforced(void **state)
{
	u64 value;

	start(KHZ);
	msr_write(0, MSR_KVM_SYSTEM_TIME, 0x1001);
	vcpus[0].enforce_cpuid = true;
	for (u32 offset = 0; offset < 2; offset++) {
		u32 old = MSR_KVM_WALL_CLOCK + offset, new = MSR_KVM_WALL_CLOCK_NEW + offset;

		vcpus[0].paravirtual = ~9u;
		assert_int_equal(msr_read(0, old, &value), -EINVAL);
		assert_int_equal(msr_write(0, old, 0x2001), -EINVAL);
		assert_int_equal(msr_read(0, new, &value), -EINVAL);
		assert_int_equal(msr_write(0, new, 0x2001), -EINVAL);
		vcpus[0].paravirtual = BIT(0);
		assert_int_equal(msr_read(0, old, &value), 0);
		assert_int_equal(msr_write(0, new, 0x2001), -EINVAL);
		vcpus[0].paravirtual = BIT(3);
		assert_int_equal(msr_write(0, old, 0x2001), -EINVAL);
		assert_int_equal(msr_read(0, new, &value), 0);
	}
	assert_int_equal(msr(0, MSR_KVM_SYSTEM_TIME_NEW), 0x1001);
	assert_int_equal(msr_write(1, MSR_KVM_SYSTEM_TIME, 0x1001), 0); /* another vCPU */
}

static void test_wall_clock(void **state)
{
	u32 w[3];
	u64 ns;

	start(KHZ);
	memset(ram(0x3000), 0, 12);
	*(u32 *)ram(0x3000) = 7; /* whatever was there: odd */
	fake_tsc += 5000000000ull;
	msr_write(0, MSR_KVM_WALL_CLOCK_NEW, 0x3000);
	update(0);
	memcpy(w, ram(0x3000), 12);
	assert_int_equal(w[0], 8);
	ns = w[1] * NS_PER_SECOND + w[2];
	assert_int_equal(ns, vm.wall_time_ns); /* the time when its clock was 0 */
	/* Written once, when asked. */
	fake_tsc += 1000;
	enable(0, 0x1000);
	assert_int_equal(*(u32 *)ram(0x3000), 8);
	/* 0 asks for nothing. */
	memset(ram(0), 0x55, 16);
	msr_write(0, MSR_KVM_WALL_CLOCK_NEW, 0);
	update(0);
	assert_int_equal(*(u32 *)ram(0), 0x55555555);
}

/* CVE-2013-1796, -1797: the page at a slot's end, across it, unaligned, outside, then deleted. */
static void test_addresses(void **state)
{
	static const u64 bad[] = {SLOT_SIZE - 1,  SLOT_SIZE - 30,      SLOT_SIZE, 0x1000 - 16,
				  0x7ffffffff000, ~0ull << 12 | 0xfff, ~0ull};
	char before[32];

	start(KHZ);
	enable(0, SLOT_SIZE - 32);
	assert_int_equal(guest_clock(0, SLOT_SIZE - 32), keel_clock());
	enable(0, 0x1002); /* unaligned (bit 0 is the enable bit) */
	assert_int_equal(guest_clock(0, 0x1002), keel_clock());
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		memcpy(before, ram(SLOT_SIZE - 32), 32);
		enable(0, bad[i]);
		assert_memory_equal(before, ram(SLOT_SIZE - 32), 32);
		msr_write(0, MSR_KVM_WALL_CLOCK_NEW, bad[i]);
		update(0);
	}
	enable(0, 0x1000);
	assert_int_equal(memslot_set(&vm.mem, 0, 0, GPA(0), 0, 0), 0);
	memslot_set_finish(&vm.mem);
	memset(ram(0x1000), 0x77, 32);
	vm.clock_update(&vcpus[0]);
	assert_int_equal(page_at(0x1000).version, 0x77777777);
}

/* A page of a slot that the driver has not mapped yet: it is asked for, then written. */
static void test_unmapped_page_is_asked_for(void **state)
{
	const u64 gpa = 1 << 20;

	start(KHZ);
	assert_int_equal(memslot_set(&vm.mem, 1, 0, GPA(gpa), 0x2000, 0x7e0000000000ull), 0);
	assert_int_equal(msr_write(0, MSR_KVM_SYSTEM_TIME_NEW, (gpa + 0x1040) | 1), 0);
	assert_int_equal(msr_write(0, MSR_KVM_WALL_CLOCK_NEW, gpa + 0x20), 0);
	assert_false(vm.clock_update(&vcpus[0]));
	assert_int_equal(vcpus[0].exit.memory.gpa.v, gpa);
	assert_true(vcpus[0].exit.memory.write);
	assert_int_equal(guest_mem_map(&vm.mem, GPA(gpa), HPA(SLOT_AT + gpa), 0x1000, true), 0);
	assert_false(vm.clock_update(&vcpus[0]));
	assert_int_equal(vcpus[0].exit.memory.gpa.v, gpa + 0x1000);
	assert_true(vcpus[0].exit.memory.write);
	assert_int_not_equal(*(u32 *)ram(gpa + 0x24), 0);
	assert_int_equal(guest_mem_map(&vm.mem, GPA(gpa + 0x1000), HPA(SLOT_AT + gpa + 0x1000),
				       0x1000, true),
			 0);
	assert_true(vm.clock_update(&vcpus[0]));
	assert_int_equal(guest_clock(0, gpa + 0x1040), keel_clock());
	/* The wall clock is written once. */
	*(u32 *)ram(gpa + 0x24) = 0;
	assert_true(vm.clock_update(&vcpus[0]));
	assert_int_equal(*(u32 *)ram(gpa + 0x24), 0);
}

static void test_read_only_page_stays(void **state)
{
	start(KHZ);
	assert_int_equal(
		memslot_set(&vm.mem, 1, MEMSLOT_READONLY, GPA(1 << 20), 0x1000, 0x7e0000000000ull),
		0);
	assert_int_equal(
		guest_mem_map(&vm.mem, GPA(1 << 20), HPA(SLOT_AT + (1 << 20)), 0x1000, true), 0);
	memset(fake_ram + SLOT_AT + (1 << 20), 0, 32);
	enable(0, 1 << 20);
	msr_write(0, MSR_KVM_WALL_CLOCK_NEW, 1 << 20);
	update(0);
	assert_int_equal(fake_ram[SLOT_AT + (1 << 20)], 0);
}

static void test_steal_time(void **state)
{
	u64 *steal = (u64 *)ram(0x1040);
	u32 *version = (u32 *)ram(0x1048);

	start(KHZ);
	memset(ram(0x1000), 0, 0x100);
	/* What was before the guest asked is not its loss. */
	steal_delay(&vcpus[0], 500);
	vcpus[0].msr.steal_time = 0x1040 | 1;
	vcpus[0].request = 0;
	steal_delay(&vcpus[0], 800);
	update(0);
	assert_int_equal(*steal, 300);
	assert_int_equal(*version, 2);
	update_again(0);
	assert_int_equal(*steal, 300);
	steal_delay(&vcpus[0], 900);
	update(0);
	assert_int_equal(*steal, 400);
	assert_int_equal(*version, 6);
	/* Another page, where something stands already (a VM that was restored). */
	*(u64 *)ram(0x2000) = 1000;
	vcpus[0].msr.steal_time = 0x2000 | 1;
	steal_delay(&vcpus[0], 950);
	update(0);
	assert_int_equal(*(u64 *)ram(0x2000), 1050);
	assert_int_equal(*steal, 400);
	/* Outside of memory: dropped. */
	vcpus[0].msr.steal_time = SLOT_SIZE | 1;
	steal_delay(&vcpus[0], 999);
	update(0);
}

static void test_set_clock(void **state)
{
	struct kvm_clock_data d = {.clock = 123456789000};

	start(KHZ);
	enable(0, 0x1000);
	enable(1, 0x2000);
	fake_tsc += 7777777;
	assert_int_equal(kvmclock_set(&vm, &d), 0);
	assert_int_equal(keel_clock(), 123456789000);
	for (u32 i = 0; i < 2; i++) {
		update(i);
		assert_int_equal(guest_clock(i, 0x1000 + i * 0x1000), 123456789000);
	}
	fake_tsc += 1000 * TICKS;
	assert_int_equal(guest_clock(0, 0x1000), 123456790000);
	d.clock = 0; /* backwards */
	assert_int_equal(kvmclock_set(&vm, &d), 0);
	update(0);
	assert_int_equal(guest_clock(0, 0x1000), 0);
}

static void test_set_clock_realtime(void **state)
{
	struct kvm_clock_data d = {.clock = 1000, .flags = KVM_CLOCK_REALTIME};

	start(KHZ);
	d.realtime = vm.wall_time_ns - 500; /* saved half a microsecond ago */
	assert_int_equal(kvmclock_set(&vm, &d), 0);
	assert_int_equal(keel_clock(), 1500);
	d.realtime = vm.wall_time_ns + 500; /* a clock that is ahead: no step back */
	assert_int_equal(kvmclock_set(&vm, &d), 0);
	assert_int_equal(keel_clock(), 1000);
}

static void test_set_clock_flags(void **state)
{
	start(KHZ);
	for (u32 bit = 0; bit < 32; bit++) {
		struct kvm_clock_data d = {.flags = 1u << bit};

		assert_int_equal(kvmclock_set(&vm, &d), bit >= 1 && bit <= 3 ? 0 : -EINVAL);
	}
}

static void test_realtime(void **state)
{
	struct kvm_clock_data d;

	start(KHZ);
	fake_tsc += 2000000;
	kvmclock_get(&vm, &d);
	assert_int_equal(d.realtime, vm.wall_time_ns + 1000000);
}

static void test_guest_stopped(void **state)
{
	start(KHZ);
	assert_int_equal(kvmclock_ctrl(&vcpus[0]), -EINVAL);
	enable(0, 0x1000);
	assert_int_equal(page_at(0x1000).flags, 1);
	assert_int_equal(kvmclock_ctrl(&vcpus[0]), 0);
	update(0);
	assert_int_equal(page_at(0x1000).flags, 3);
	enable(0, 0x1000);
	assert_int_equal(page_at(0x1000).flags, 3); /* until the guest clears it */
	ram(0x1000)[29] = 1;
	enable(0, 0x1000);
	assert_int_equal(page_at(0x1000).flags, 1);
}

static void test_init_errors(void **state)
{
	static struct bus_device d;

	machine_vm();
	while (pool_alloc(&vm.pool, 1).v != HPA_NONE.v)
		;
	assert_int_equal(kvmclock_vm_init(&vm), -ENOMEM);
	for (u32 i = 0; i < 2; i++) {
		machine_vm();
		d = (struct bus_device){.base = i ? MSR_KVM_WALL_CLOCK_NEW : MSR_KVM_WALL_CLOCK,
					.length = 1};
		assert_int_equal(bus_add(&vm.msrs, &d), 0);
		assert_int_equal(kvmclock_vm_init(&vm), -EEXIST);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_time_page),
		cmocka_unit_test(test_scaled_tsc),
		cmocka_unit_test(test_no_frequency),
		cmocka_unit_test(test_version_grows),
		cmocka_unit_test(test_disabled_writes_nothing),
		cmocka_unit_test(test_both_msr_pairs),
		cmocka_unit_test(test_cpuid_is_enforced),
		cmocka_unit_test(test_wall_clock),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_unmapped_page_is_asked_for),
		cmocka_unit_test(test_read_only_page_stays),
		cmocka_unit_test(test_set_clock),
		cmocka_unit_test(test_set_clock_realtime),
		cmocka_unit_test(test_steal_time),
		cmocka_unit_test(test_set_clock_flags),
		cmocka_unit_test(test_realtime),
		cmocka_unit_test(test_guest_stopped),
		cmocka_unit_test(test_init_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
