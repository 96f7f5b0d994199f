/* SPDX-License-Identifier: MIT */
/*
 * Random hypercalls from a management guest that means no good: handles, requests, lengths and
 * addresses, Keel's own memory among them. Whatever comes, Keel must not panic, no memory may be
 * touched that is not its own, and at the end all pages must come back.
 * KEEL_FUZZ_SEED and KEEL_FUZZ_SECONDS change the defaults.
 */
#include <time.h>

#include "tests/unit/kvm_machine.h"

static u64 seed;
static u64 entries; /* into a child */

static u64 random_u64(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static u64 below(u64 limit)
{
	return random_u64() % limit;
}

enum { SYSTEM, VM, VCPU, KINDS };

/* By the object that they are for; each is tried on the others too. */
static const u32 numbers[KINDS][64] = {
	[SYSTEM] =
		{
			KVM_GET_API_VERSION,
			KVM_CHECK_EXTENSION,
			KVM_GET_VCPU_MMAP_SIZE,
			KVM_GET_SUPPORTED_CPUID,
			KVM_GET_MSR_INDEX_LIST,
			KVM_GET_MSR_FEATURE_INDEX_LIST,
			KVM_GET_MSRS,
			KEEL_INFO,
			KEEL_SYNC,
			KEEL_DONATE,
			KEEL_DONATED,
			KEEL_RECLAIM,
			KEEL_CREATE_VM,
			KEEL_KICK_VECTOR,
			KEEL_LOG_READ,
			KEEL_RING_DUMP,
		},
	[VM] =
		{
			KVM_CHECK_EXTENSION,
			KVM_IRQ_LINE,
			KVM_IRQ_LINE_STATUS,
			KVM_SIGNAL_MSI,
			KEEL_MAP,
			KEEL_UNMAP,
			KEEL_YOUNG,
			KEEL_TAKE_WAKE,
			KEEL_DO_WITHOUT,
			KVM_SET_USER_MEMORY_REGION,
			KEEL_GET_DIRTY_LOG,
			KEEL_CLEAR_DIRTY_LOG,
			KEEL_RESAMPLE,
			KEEL_ADD_POOL,
			KEEL_CREATE_VCPU,
			KVM_ENABLE_CAP,
			KVM_X86_SET_MSR_FILTER,
			KVM_SET_TSS_ADDR,
			KVM_SET_IDENTITY_MAP_ADDR,
			KVM_SET_BOOT_CPU_ID,
			KVM_SET_NR_MMU_PAGES,
			KVM_GET_NR_MMU_PAGES,
			KVM_CREATE_IRQCHIP,
			KVM_GET_IRQCHIP,
			KVM_SET_IRQCHIP,
			KVM_CREATE_PIT2,
			KVM_GET_PIT2,
			KVM_SET_PIT2,
			KVM_REINJECT_CONTROL,
			KVM_SET_GSI_ROUTING,
			KVM_GET_CLOCK,
			KVM_SET_CLOCK,
			KVM_GET_TSC_KHZ,
		},
	[VCPU] =
		{
			KEEL_KICK,	     KEEL_STATS,
			KVM_INTERRUPT,	     KVM_NMI,
			KVM_GET_REGS,	     KVM_SET_REGS,
			KVM_GET_SREGS,	     KVM_SET_SREGS,
			KVM_GET_SREGS2,	     KVM_SET_SREGS2,
			KVM_GET_FPU,	     KVM_SET_FPU,
			KVM_GET_XSAVE,	     KVM_GET_XSAVE2,
			KVM_SET_XSAVE,	     KVM_GET_XCRS,
			KVM_SET_XCRS,	     KVM_GET_MSRS,
			KVM_SET_MSRS,	     KVM_SET_CPUID,
			KVM_SET_CPUID2,	     KVM_GET_CPUID2,
			KVM_GET_LAPIC,	     KVM_SET_LAPIC,
			KVM_GET_MP_STATE,    KVM_SET_MP_STATE,
			KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS,
			KVM_GET_DEBUGREGS,   KVM_SET_DEBUGREGS,
			KVM_SET_GUEST_DEBUG, KVM_TRANSLATE,
			KVM_GET_TSC_KHZ,     KVM_SET_TSC_KHZ,
			KVM_KVMCLOCK_CTRL,   KVM_TPR_ACCESS_REPORTING,
			KVM_SET_VAPIC_ADDR,  KVM_HAS_DEVICE_ATTR,
			KVM_GET_DEVICE_ATTR, KVM_SET_DEVICE_ATTR,
		},
};

static u32 random_number(u32 kind)
{
	u32 count = 0;

	if (kind == VCPU && below(3) == 0)
		return KEEL_RUN;
	if (below(20) == 0)
		kind = below(KINDS);
	while (count < ARRAY_SIZE(numbers[kind]) && numbers[kind][count])
		count++;
	return below(100) ? numbers[kind][below(count)] : random_u64();
}

static u64 vms[16]; /* that exist */
static u32 vm_count;

static u64 random_handle(u32 kind)
{
	u64 handle = vm_count ? vms[below(vm_count)] : 0;

	if (below(50) == 0)
		return below(2) ? random_u64() : handle ^ BIT(below(64));
	if (kind == SYSTEM)
		return KEEL_SYSTEM_HANDLE;
	return kind == VM ? handle : handle + 1 + below(3);
}

static u64 random_address(void)
{
	switch (below(40)) {
	case 0:
		return random_u64();
	case 1:
		return below(FAKE_KEEL_SIZE); /* Keel's own */
	case 2:
		return DONATIONS + below(16ull << 20);
	case 3:
		return FAKE_RAM_SIZE - below(64);
	case 4:
		return ~0ull - below(8192);
	case 5:
		return ALIGN_DOWN(GUEST_RAM + below(12ull << 20), PAGE_SIZE);
	case 6:
		return below(64);
	case 7:
		return ALIGN_DOWN(DONATIONS + below(16ull << 20), PAGE_SIZE);
	}
	return ARGUMENTS + below(16) * 8;
}

static u64 random_word(void)
{
	switch (below(10)) {
	case 0:
		return random_u64();
	case 1:
		return BIT(below(64));
	case 2:
		return random_address();
	case 3:
		return below(256) * PAGE_SIZE;
	case 4:
		return ~0ull << below(64);
	case 5:
		return 0;
	}
	return below(300);
}

static u64 random_length(void)
{
	static const u32 usual[] = {4, 8, 16, 32, 64, 104, 144, 312, 416, 520, 1024, 4096, 9216};

	switch (below(20)) {
	case 0:
		return random_u64();
	case 1:
		return below(600);
	case 2:
		return dirty_log_bytes(below(4) * 256);
	}
	return below(2) ? usual[below(ARRAY_SIZE(usual))] : BIG_ARGUMENT - ARGUMENTS;
}

static void random_arguments(void)
{
	u64 *words = at(ARGUMENTS);
	u32 holes = 1 + below(8); /* some structs want mostly zeros */

	for (u32 i = 0; i < 700; i++)
		words[i] = below(holes) ? 0 : below(3) ? random_word() : random_u64();
	if (below(2))
		words[0] = below(24); /* a count, a small index */
}

/* Arguments that are right, but for one word now and then: the way past the first checks. */
struct attempt {
	u64 handle, argument, length, extra;
	u32 kind, number;
};

static void nearly_right(struct attempt *a)
{
	u64 *words = at(ARGUMENTS);
	u64 base = DONATIONS + below(8) * (2ull << 20), pages = 1 + below(511);

	memset(words, 0, 128);
	*a = (struct attempt){
		.kind = VM,
		.handle = vm_count ? vms[below(vm_count)] : 0,
		.argument = ARGUMENTS,
		.length = 128,
	};
	switch (below(16)) {
	default:
		a->number = KEEL_MAP;
		words[0] = below(512) * PAGE_SIZE;
		words[1] = GUEST_RAM + below(512) * PAGE_SIZE;
		words[2] = (1 + below(512)) * PAGE_SIZE;
		words[3] = 1;
		break;
	case 1:
		a->number = KEEL_UNMAP;
		words[0] = below(512) * PAGE_SIZE;
		words[2] = below(512) * PAGE_SIZE;
		break;
	case 2:
	case 3:
		a->number = KVM_SET_USER_MEMORY_REGION;
		words[0] = below(4) | below(4) << 32;
		words[1] = below(8) * 0x100000;
		words[2] = below(4) * 0x100000;
		words[3] = 0x10000000;
		break;
	case 4:
		a->number = KEEL_CREATE_VCPU;
		words[0] = below(70);
		words[1] = run_page(words[0]);
		break;
	case 5:
		a->kind = SYSTEM;
		a->number = KEEL_CREATE_VM;
		a->handle = KEEL_SYSTEM_HANDLE;
		words[0] = base;
		words[1] = pages;
		call(0, KEEL_DONATE, base, 0, pages);
		all_cpus_flush();
		break;
	case 6:
		a->number = KEEL_ADD_POOL;
		a->argument = base;
		a->extra = pages;
		call(0, KEEL_DONATE, base, 0, pages);
		all_cpus_flush();
		break;
	case 7:
		a->number = KEEL_GET_DIRTY_LOG;
		a->length = dirty_log_bytes(below(4) * 256);
		if (below(2)) {
			a->number = KEEL_CLEAR_DIRTY_LOG;
			a->length = sizeof(struct kvm_clear_dirty_log);
			words[0] = below(4) | below(16) * 64 << 32;
			words[1] = below(4) * 64;
			words[2] = BIG_ARGUMENT;
		}
		break;
	case 8:
		a->number = KVM_ENABLE_CAP;
		words[0] = below(2)   ? KVM_CAP_X2APIC_API
			   : below(2) ? KVM_CAP_EXCEPTION_PAYLOAD
				      : KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2;
		words[1] = below(4);
		break;
	case 9: /* the host's frequency, and a little beside it */
		a->kind = VCPU;
		a->number = KVM_SET_TSC_KHZ;
		a->handle += 1 + below(3);
		a->argument = host_tsc_khz + (below(3) - 1) * (host_tsc_khz / 3000);
		break;
	case 10: /* a clock, which KVM_KVMCLOCK_CTRL needs */
		a->kind = VCPU;
		a->number = KVM_SET_MSRS;
		a->handle += 1 + below(3);
		words[0] = 1;
		words[1] = MSR_KVM_SYSTEM_TIME_NEW;
		words[2] = below(512) * PAGE_SIZE | 1;
		break;
	case 11:
	case 12: /* pages that leave, and come back unused */
		a->kind = SYSTEM;
		a->handle = KEEL_SYSTEM_HANDLE;
		a->number = below(2) ? KEEL_RECLAIM : KEEL_DONATE;
		a->argument = base;
		a->extra = pages;
		if (a->number == KEEL_RECLAIM)
			call(0, KEEL_DONATE, base, 0, pages);
		break;
	case 14:
		a->number = KEEL_YOUNG;
		words[0] = below(512) * PAGE_SIZE;
		words[2] = below(512) * PAGE_SIZE;
		words[3] = below(4);
		break;
	case 13:
		a->number = KVM_SET_BOOT_CPU_ID;
		a->argument = below(70);
		break;
	}
	if (below(3) == 0)
		words[below(4)] = random_word();
}

/* What a hostile or broken child does. */
static void random_guest(struct virt_vcpu *v, struct vm_exit *e)
{
	hpa_t hpa;

	entries++;
	if (below(3) == 0) {
		for (u32 i = 0; i < 4; i++)
			if (!fake_guest_access(v, GPA(below(1024) * PAGE_SIZE), below(2), false,
					       &hpa, e))
				return;
	}
	e->reason = EXIT_INTR;
	switch (below(8)) {
	case 0:
		e->reason = EXIT_IO;
		e->insn_len = 1 + below(2);
		e->io.port = below(65536);
		e->io.size = 1 << below(3);
		e->io.in = below(2);
		break;
	case 1:
		e->reason = EXIT_HLT;
		e->insn_len = 1;
		break;
	case 2:
		e->reason = EXIT_CPUID;
		e->insn_len = 2;
		break;
	case 3:
		e->reason = below(2) ? EXIT_RDMSR : EXIT_WRMSR;
		e->insn_len = 2;
		v->gpr[GPR_RCX] = random_word();
		v->gpr[GPR_RAX] = random_word();
		v->gpr[GPR_RDX] = random_word();
		break;
	case 4:
		e->reason = EXIT_TRIPLE_FAULT;
		break;
	case 5:
		e->reason = EXIT_EXCEPTION;
		e->exception.vector = below(32);
		break;
	}
}

/* A VM as a VMM would make it, more or less. */
static void good_vm(void)
{
	u64 base = DONATIONS + below(8) * (2ull << 20), pages = 200 + below(312);
	struct keel_create_vm args = {.base = base, .pages = pages};
	struct kvm_userspace_memory_region region = {
		.memory_size = 0x200000,
		.userspace_addr = 0x10000000,
		.flags = below(2),
	};
	struct keel_map map = {.hpa = GUEST_RAM, .size = 0x200000, .flags = 1};
	struct kvm_pit_config pit = {0};
	s64 vm;

	if (vm_count == ARRAY_SIZE(vms))
		return;
	/* What earlier calls donated and no VM took. */
	for (u64 i = 0; i < 512; i++)
		call(0, KEEL_RECLAIM, base + i * PAGE_SIZE, 0, 1);
	if (call(0, KEEL_DONATE, base, 0, pages) < 0)
		return;
	all_cpus_flush();
	vm = request(0, KEEL_CREATE_VM, &args, sizeof(args));
	if (vm < 0) {
		call(0, KEEL_RECLAIM, base, 0, pages);
		return;
	}
	vms[vm_count++] = vm;
	request(vm, KVM_SET_USER_MEMORY_REGION, &region, sizeof(region));
	request(vm, KEEL_MAP, &map, sizeof(map));
	if (below(3) == 0)
		return;
	if (below(2))
		call(vm, KVM_CREATE_IRQCHIP, 0, 0, 0);
	for (u32 i = 0; i < 3; i++)
		vcpu_try(vm, i);
	if (below(2))
		request(vm, KVM_CREATE_PIT2, &pit, sizeof(pit));
}

static void destroy_one(u32 i)
{
	destroy(vms[i]);
	vms[i] = vms[--vm_count];
}

/* How often each request succeeded: a fuzzer that is always refused tests nothing. */
static u64 succeeded[KINDS][ARRAY_SIZE(numbers[0])];

static void count_success(u32 kind, u32 number, s64 result)
{
	for (u32 i = 0; i < ARRAY_SIZE(numbers[kind]); i++)
		if (numbers[kind][i] == number && result >= 0)
			succeeded[kind][i]++;
}

static void make_attempt(struct attempt *a)
{
	random_arguments();
	a->kind = below(KINDS);
	a->number = random_number(a->kind);
	a->handle = random_handle(a->kind);
	a->argument = below(8) ? random_address() : random_word();
	a->length = random_length();
	a->extra = below(2) ? 0 : random_word();
	if (below(10) == 0)
		nearly_right(a);
}

/* What the arguments stand in must not stay donated: all later ones would read as zeros. */
static void keep_arguments(void)
{
	for (u64 page = ARGUMENTS; page < ARGUMENTS + 2 * PAGE_SIZE; page += PAGE_SIZE)
		if (frame_owner(HPA(page)) == FRAME_LEAVING)
			call(0, KEEL_RECLAIM, page, 0, 1);
}

static void one_call(void)
{
	struct attempt a;
	s64 result;

	caller = below(cpu_count);
	make_attempt(&a);
	if (below(4) == 0) /* the VMM scribbles meanwhile */
		((u8 *)at(run_page(below(3))))[below(4096 + 64)] = random_u64();
	if (below(8) == 0)
		memset(at(run_page(below(3))), 0, 4096);
	result = call(a.handle, a.number, a.argument, a.length, a.extra);
	count_success(a.kind, a.number, result);
	keep_arguments();
	if (a.number == KEEL_CREATE_VM && a.handle == 0 && result > 0) {
		assert_true(vm_count < ARRAY_SIZE(vms));
		vms[vm_count++] = result;
		if (below(4)) /* too many VMs without vCPUs are in the way */
			destroy_one(vm_count - 1);
	}
	if (below(8) == 0)
		all_cpus_flush();
	if (vm_count && below(200) == 0)
		destroy_one(below(vm_count));
	if (below(50) == 0)
		good_vm();
}

static u32 not_returned(void)
{
	u32 count = 0;

	for (u64 page = FAKE_GUEST; page < FAKE_RAM_SIZE; page += PAGE_SIZE)
		count += frame_owner(HPA(page)) == FRAME_KEEL || frame_mappings(HPA(page));
	return count;
}

static void test_random_hypercalls(void **state)
{
	const char *text = getenv("KEEL_FUZZ_SEED");
	const char *limit = getenv("KEEL_FUZZ_SECONDS");
	time_t end = time(NULL) + (limit ? atoi(limit) : 10);
	u64 calls = 0;

	seed = text ? strtoull(text, NULL, 0) : (u64)time(NULL) * 0x9e3779b97f4a7c15;
	seed |= 1;
	printf("seed %#llx\n", (unsigned long long)seed);
	fflush(stdout);
	fake_run = random_guest;
	fake_check_injection = false;
	while (time(NULL) < end)
		for (u32 i = 0; i < 1000; i++, calls++)
			one_call();
	caller = 0;
	while (vm_count)
		destroy_one(0);
	assert_int_equal(not_returned(), 0);
	printf("%llu hypercalls, %llu entries\n", (unsigned long long)calls,
	       (unsigned long long)entries);
	for (u32 kind = 0; kind < KINDS; kind++)
		for (u32 i = 0; numbers[kind][i] && calls > 50000; i++)
			if (!succeeded[kind][i])
				fail_msg("request %#x never succeeded", numbers[kind][i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_random_hypercalls, start_two),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
