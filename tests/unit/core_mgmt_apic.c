// SPDX-License-Identifier: MIT
/* INIT and SIPI at the sender, kicks by NMI, and the management guest's own NMIs. */
#include "core/stats.h"
#include "tests/unit/mgmt.h"

#define INIT	0x4500ull
#define SIPI(v) (0x4600ull | (v))
#define TO(id)	((u64)(id) << 56)
#define LOGICAL BIT(11)
#define SELF	(1ull << 18)
#define ALL	(2ull << 18)
#define OTHERS	(3ull << 18)

static int setup(void **state)
{
	launch(4);
	return 0;
}

/* Which CPUs have a request now; takes them all back. */
static u32 targets(u64 icr, bool x2apic)
{
	u32 set = 0;

	assert_true(mgmt_apic_icr(this_cpu(), icr, x2apic));
	for (u32 i = 0; i < cpu_count; i++) {
		set |= (cpus[i]->request != 0) << i;
		cpus[i]->request = 0;
		cpus[i]->kick_pending = 0;
	}
	memset(nmis, 0, sizeof(nmis));
	return set;
}

static void destinations_xapic(void **state)
{
	fake_cpu_set(1);
	assert_int_equal(targets(INIT | TO(2), false), 4);
	assert_int_equal(targets(INIT | TO(1), false), 2);
	assert_int_equal(targets(INIT | TO(9), false), 0);
	assert_int_equal(targets(INIT | TO(0xff), false), 15);
	assert_int_equal(targets(INIT | SELF, false), 2);
	assert_int_equal(targets(INIT | ALL, false), 15);
	assert_int_equal(targets(INIT | OTHERS, false), 13);
	assert_int_equal(targets(INIT | LOGICAL | TO(6), false), 6); /* flat: LDR is 1 << cpu */
	assert_int_equal(targets(INIT | LOGICAL | TO(0x30), false), 0);
}

static void destinations_cluster(void **state)
{
	for (u32 i = 0; i < 4; i++) {
		fake_cpu_set(i);
		apic[i][0xe] = 0x0fffffff;			   /* cluster model */
		apic[i][0xd] = (i < 2 ? 0x11u << i : 0x21u) << 24; /* 11, 22, 21, 21 */
		mgmt_apic_cpu_init(cpus[i]);
	}
	fake_cpu_set(0);
	assert_int_equal(targets(INIT | LOGICAL | TO(0x11), false), 1);
	assert_int_equal(targets(INIT | LOGICAL | TO(0x21), false), 12);
	assert_int_equal(targets(INIT | LOGICAL | TO(0x23), false), 14);
	assert_int_equal(targets(INIT | LOGICAL | TO(0xf2), false), 2);
	assert_int_equal(targets(INIT | LOGICAL | TO(0xf3), false), 15);
}

static void destinations_x2apic(void **state)
{
	cpus[3]->apic_id = 0x123;
	assert_int_equal(targets(INIT | 0x123ull << 32, true), 8);
	assert_int_equal(targets(INIT | 2ull << 32, true), 4);
	assert_int_equal(targets(INIT | 0xffffffffull << 32, true), 15);
	assert_int_equal(targets(INIT | 0xffull << 32, true), 0);
	assert_int_equal(targets(INIT | LOGICAL | 0x00000006ull << 32, true), 6);
	assert_int_equal(targets(INIT | LOGICAL | 0x00120008ull << 32, true), 8);
	assert_int_equal(targets(INIT | LOGICAL | 0x00120004ull << 32, true), 0);
	assert_int_equal(targets(INIT | LOGICAL | 0xffffffffull << 32, true), 15);
	cpus[3]->apic_id = 3;
}

static void passed_on(void **state)
{
	/* fixed, lowest priority, SMI, reserved, NMI, ExtINT */
	static const u64 modes[] = {0, 1, 2, 3, 4, 7};

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
		assert_false(mgmt_apic_icr(this_cpu(), modes[i] << 8 | 0x4030 | TO(1), false));
	/* Level de-assert does nothing, and must not reach the hardware. */
	assert_int_equal(targets(0x8500 | TO(1), false), 0);
}

static void missing_cpu(void **state)
{
	u64 before = fake_log_count;

	assert_int_equal(targets(SIPI(0x9a) | TO(9), false), 0);
	assert_int_equal(mgmt_counters.dropped_sipis, 1);
	assert_int_equal(fake_log_count, before + 1);
}

static void kicks(void **state)
{
	mgmt_apic_icr(this_cpu(), INIT | TO(1), false);
	assert_int_equal(nmis[1], 1);
	assert_int_equal(cpus[1]->kick_pending, 1);
	mgmt_apic_icr(this_cpu(), SIPI(0x10) | TO(1), false);
	assert_int_equal(nmis[1], 1); /* one is on its way */
	assert_int_equal(cpus[1]->request, CPU_REQUEST_INIT | CPU_REQUEST_SIPI);
	mgmt_apic_icr(this_cpu(), INIT | TO(1), false);
	assert_int_equal(cpus[1]->request, CPU_REQUEST_INIT); /* the SIPI before it is void */
	mgmt_apic_icr(this_cpu(), INIT | TO(0), false);
	assert_int_equal(nmis[0], 0); /* none to itself */
}

/* A CPU that got INIT and SIPI while it slept. */
static void send_sipi(struct cpu *cpu)
{
	fake_cpu_set(0);
	mgmt_apic_icr(cpus[0], SIPI(0x9a) | TO(1), false);
	fake_cpu_set(1);
	assert_true(cpu->waiting_for_sipi);
}

static void init_and_sipi(void **state)
{
	struct virt_vcpu *v;

	mgmt_apic_icr(this_cpu(), INIT | TO(1), false);
	fake_cpu_set(1);
	v = &here()->v;
	apic[1][0xf] = 0x1ff;
	apic[1][0x12] = 0x80001; /* two interrupts in service */
	apic[1][0x32] = 0x30;
	fake_leaf[0].eax = 0x800f12;
	hw()->reg[VREG_CR3] = 0x1000;
	hw()->reg[VREG_EFER] = EFER_LME;
	on_sleep = send_sipi;
	mgmt_cpu_requests(here());
	assert_int_equal(sleeps, 1);
	assert_false(this_cpu()->waiting_for_sipi);
	assert_int_equal(this_cpu()->request, 0);
	assert_int_equal(this_cpu()->kick_pending, 0);
	assert_int_equal(v->rip, 0);
	assert_int_equal(hw()->seg[SEG_CS].selector, 0x9a00);
	assert_int_equal(hw()->seg[SEG_CS].base, 0x9a000);
	assert_int_equal(hw()->reg[VREG_CR0] & ~(u64)(CR0_CD | CR0_NW), CR0_ET);
	assert_int_equal(hw()->reg[VREG_CR3], 0);
	assert_int_equal(hw()->reg[VREG_EFER], 0);
	assert_int_equal(v->gpr[GPR_RDX], 0x800f12);
	assert_int_equal(hw()->intercepts, INTERCEPT_NMI);
	assert_true(v->dr_live);
	assert_null(this_cpu()->dr_owner);
	assert_int_equal(apic[1][0xf], 0xff);
	assert_int_equal(apic[1][0x12], 0);
	assert_int_equal(apic[1][0x32], 0x10000);
}

/* What has passed while it waited has passed when it goes on, too. */
static void epoch_over_sipi(void **state)
{
	u64 epoch;

	launch(2);
	mgmt_apic_icr(this_cpu(), INIT | TO(1), false);
	fake_cpu_set(1);
	assert_int_equal(mgmt_leave(HPA(FAKE_GUEST + SIZE_2M), 1, &epoch), 0);
	mgmt_epoch_seen(cpus[0]);
	assert_false(mgmt_epoch_passed(epoch));
	on_sleep = send_sipi;
	mgmt_cpu_requests(here());
	assert_false(this_cpu()->waiting_for_sipi);
	assert_true(mgmt_epoch_passed(epoch));
}

static void sipi_without_init(void **state)
{
	mgmt_apic_icr(this_cpu(), SIPI(0x9a) | TO(1), false);
	fake_cpu_set(1);
	mgmt_cpu_requests(here());
	assert_int_equal(here()->v.rip, CODE); /* ignored */
	assert_int_equal(sleeps, 0);
}

static void init_of_the_bsp(void **state)
{
	fake_msr_set(MSR_APIC_BASE, MGMT_APIC_PAGE | APIC_BASE_ENABLE | APIC_BASE_BSP);
	mgmt_apic_icr(this_cpu(), INIT | SELF, false);
	mgmt_cpu_requests(here());
	assert_int_equal(sleeps, 0);
	assert_int_equal(here()->v.rip, 0xfff0);
	assert_int_equal(hw()->seg[SEG_CS].base, 0xffff0000);
}

/* A request that is posted while the last one is being served is not left behind. */
static void second_sipi_sleep(struct cpu *cpu)
{
	if (sleeps == 1)
		return; /* a wake-up for nothing */
	send_sipi(cpu);
}

static void send_sipi_to_sleeper(struct cpu *cpu)
{
	send_sipi(cpu);
	assert_int_equal(nmis[1], 1); /* else it sleeps for ever */
}

static void sipi_at_inject(struct virt_vcpu *v, const struct virt_event *event)
{
	fake_cpu_set(0);
	mgmt_apic_icr(cpus[0], SIPI(0x9a) | TO(1), false);
	fake_cpu_set(1);
	assert_false(this_cpu()->waiting_for_sipi);
	assert_int_equal(nmis[1], 0);
}

static void wakes_for_nothing(void **state)
{
	mgmt_apic_icr(this_cpu(), INIT | TO(1), false);
	fake_cpu_set(1);
	on_sleep = second_sipi_sleep;
	mgmt_cpu_requests(here());
	assert_int_equal(sleeps, 2);
	assert_int_equal(hw()->seg[SEG_CS].selector, 0x9a00);
}

/* The kick's NMI and one of the guest's were one to the processor, and the guest got it. */
static void kick_merged(void **state)
{
	mgmt_apic_icr(this_cpu(), INIT | TO(1), false);
	nmis[1] = 0;
	assert_int_equal(cpus[1]->kick_pending, 1);
	fake_cpu_set(1);
	on_sleep = send_sipi_to_sleeper;
	mgmt_cpu_requests(here());
	assert_int_equal(sleeps, 1);
	assert_int_equal(hw()->seg[SEG_CS].selector, 0x9a00);
}

/* A SIPI that is posted while the INIT is being served, with a kick pending: no NMI announces it.
 */
static void sipi_during_init(void **state)
{
	mgmt_apic_icr(this_cpu(), INIT | TO(1), false);
	nmis[1] = 0;
	fake_cpu_set(1);
	ops.inject = sipi_at_inject;
	mgmt_cpu_requests(here());
	assert_int_equal(sleeps, 0);
	assert_int_equal(hw()->seg[SEG_CS].selector, 0x9a00);
}

static void nmi_of_the_guest(void **state)
{
	mgmt_nmi(here());
	/* Taken natively: the intercept is lifted until its IRET. */
	assert_int_equal(hw()->intercepts, INTERCEPT_NMI_WINDOW);
	mgmt_nmi_window(here());
	assert_int_equal(hw()->intercepts, INTERCEPT_NMI);
}

/* nmi=dump: for the guest's own NMIs, on both kinds of backend, not for Keel's kicks. */
static void nmi_prints_the_ring(void **state)
{
	static struct exit_ring ring;

	cpus[0]->ring = &ring;
	host_tsc_khz = 1;
	stats_nmi_dump = true;
	fake_log_count = 0;
	cpus[0]->kick_pending = 1;
	mgmt_nmi(here());
	assert_int_equal(fake_log_count, 0);
	cpus[0]->kick_pending = 0;
	mgmt_nmi(here());
	assert_int_equal(fake_log_count, 1);
	fake_tsc += 1000;
	ops.nmi_taken = true;
	cpus[0]->root_flags |= CPU_ROOT_NMI;
	mgmt_nmi(here());
	assert_int_equal(fake_log_count, 2);
	stats_nmi_dump = false;
}

/* An NMI that ended the guest's run, as root's handler leaves it. */
static void nmi_taken(struct cpu *cpu)
{
	ops.nmi_taken = true;
	cpu->root_flags |= CPU_ROOT_NMI;
	exit_with((struct vm_exit){.reason = EXIT_NMI});
}

static u32 nmis_delivered(void)
{
	u32 count = 0;

	for (u32 i = 0; i < hw()->delivered_count; i++)
		count += hw()->delivered[i].type == EVENT_NMI;
	return count;
}

static void taken_nmi_is_injected(void **state)
{
	nmi_taken(this_cpu());
	run();
	assert_int_equal(nmis_delivered(), 1);
	assert_int_equal(this_cpu()->root_flags, 0);
	assert_int_equal(here()->events.nmi_queued, 0);
	assert_false(here()->events.nmi_injected);
}

/* While the guest's NMI handler runs one more is kept, as the processor would. */
static void taken_nmi_waits_for_the_handler(void **state)
{
	hw()->reg[VREG_NMI_MASKED] = 1;
	nmi_taken(this_cpu());
	run();
	assert_int_equal(nmis_delivered(), 0);
	assert_int_equal(hw()->intercepts, INTERCEPT_NMI_WINDOW);
	hw()->reg[VREG_NMI_MASKED] = 0;
	exit_with((struct vm_exit){.reason = EXIT_NMI_WINDOW});
	run();
	assert_int_equal(nmis_delivered(), 1);
	assert_int_equal(hw()->intercepts, 0);
}

static void taken_nmi_of_a_kick(void **state)
{
	ops.nmi_taken = true;
	mgmt_apic_icr(this_cpu(), INIT | TO(1), false);
	fake_cpu_set(1);
	cpus[1]->root_flags |= CPU_ROOT_NMI;
	mgmt_nmi(here());
	assert_int_equal(cpus[1]->kick_pending, 0);
	assert_int_equal(cpus[1]->root_flags, 0);
	assert_int_equal(cpus[1]->request, CPU_REQUEST_INIT);
	assert_int_equal(here()->events.nmi_queued, 0);
	/* The next one is the guest's. */
	cpus[1]->root_flags |= CPU_ROOT_NMI;
	mgmt_nmi(here());
	assert_int_equal(here()->events.nmi_queued, 1);
}

/* An NMI that hit root is seen before the next entry. */
static void taken_nmi_in_root(void **state)
{
	ops.nmi_taken = true;
	this_cpu()->root_flags = CPU_ROOT_NMI;
	run();
	assert_int_equal(nmis_delivered(), 1);
	this_cpu()->root_flags = CPU_ROOT_MCE;
	run();
	delivered(VECTOR_MC);
	assert_int_equal(this_cpu()->root_flags, 0);
}

/* A CPU that waits for a SIPI takes no NMIs: what came is forgotten. */
static void taken_nmi_while_waiting(void **state)
{
	ops.nmi_taken = true;
	mgmt_apic_icr(this_cpu(), INIT | TO(1), false);
	fake_cpu_set(1);
	on_sleep = send_sipi;
	mgmt_cpu_requests(here());
	assert_int_equal(hw()->seg[SEG_CS].selector, 0x9a00);
	assert_int_equal(this_cpu()->root_flags, 0);
	assert_int_equal(this_cpu()->kick_pending, 0);
	assert_int_equal(here()->events.nmi_queued, 0);
}

static void nmi_of_a_kick(void **state)
{
	mgmt_apic_icr(this_cpu(), INIT | TO(1), false);
	fake_cpu_set(1);
	mgmt_nmi(here());
	assert_int_equal(hw()->intercepts, INTERCEPT_NMI);
	assert_int_equal(cpus[1]->kick_pending, 0);
	assert_int_equal(nmis[1], 0);
	assert_int_equal(cpus[1]->root_flags, 0);
	assert_int_equal(cpus[1]->request, CPU_REQUEST_INIT);
}

static void take_machine_check(struct cpu *cpu, bool sleep)
{
	test_take_nmi(cpu, sleep);
	cpu->root_flags |= CPU_ROOT_MCE; /* as root's handler, when the context is intact */
}

/* Held back while GIF was 0, a machine check comes with the kick. */
static void machine_check_in_root(void **state)
{
	struct vm_exit e = {.reason = EXIT_NMI};

	mgmt_apic_icr(this_cpu(), SIPI(1) | TO(1), false);
	fake_cpu_set(1);
	cpus[1]->request = 0;
	ops.take_nmi = take_machine_check;
	exit_with(e);
	run();
	assert_int_equal(cpus[1]->root_flags, 0);
	assert_int_equal(cpus[1]->kick_pending, 0);
	assert_false(delivered(VECTOR_MC)->has_error);
}

/* The next kick sends an NMI again. */
static void kick_again(void **state)
{
	nmi_of_a_kick(state);
	fake_cpu_set(0);
	mgmt_apic_icr(this_cpu(), SIPI(1) | TO(1), false);
	assert_int_equal(nmis[1], 1);
}

static void x2apic_icr(void **state)
{
	fake_msr_set(MSR_APIC_BASE, MGMT_APIC_PAGE | APIC_BASE_ENABLE | APIC_BASE_X2APIC);
	assert_int_equal(mgmt_wrmsr(here(), MSR_X2APIC_ICR, INIT | 1ull << 32), 0);
	assert_int_equal(cpus[1]->request, CPU_REQUEST_INIT);
	assert_int_equal(fake_msr_get(MSR_X2APIC_ICR), 0);
	assert_int_equal(mgmt_wrmsr(here(), MSR_X2APIC_ICR, 0x40f2 | 1ull << 32), 0);
	assert_int_equal(fake_msr_get(MSR_X2APIC_ICR), 0x40f2 | 1ull << 32);
	fake_msr_set(MSR_APIC_BASE, MGMT_APIC_PAGE | APIC_BASE_ENABLE);
	fake_msr_faults(MSR_X2APIC_ICR, true); /* not in x2APIC mode */
	assert_int_equal(mgmt_wrmsr(here(), MSR_X2APIC_ICR, INIT | 2ull << 32), -EINVAL);
	assert_int_equal(cpus[2]->request, 0);
}

/* mov [edi], eax on the APIC page. */
static void write_page(u32 offset, u32 value)
{
	struct vm_exit e = {
		.reason = EXIT_SLAT,
		.insn_bytes_len = 15,
		.insn_bytes = {0x89, 0x07},
		.slat = {.gpa = GPA(MGMT_APIC_PAGE + offset), .write = true, .present = true}};

	here()->v.gpr[GPR_RDI] = MGMT_APIC_PAGE + offset;
	here()->v.gpr[GPR_RAX] = value;
	here()->v.rip = CODE;
	mgmt_memory_fault(here(), &e);
	assert_int_equal(here()->v.rip, CODE + 2);
}

static void page_writes(void **state)
{
	write_page(0x80, 0x20); /* TPR */
	assert_int_equal(apic[0][0x8], 0x20);
	write_page(0x310, 1 << 24);
	assert_int_equal(apic[0][0x31], 1 << 24);
	write_page(0x300, INIT);
	assert_int_equal(apic[0][0x30], 0);
	assert_int_equal(cpus[1]->request, CPU_REQUEST_INIT);
	write_page(0x300, 0x40f2);
	assert_int_equal(apic[0][0x30], 0x40f2);
}

/* What the page's registers are in x2APIC mode: MSRs, of which reserved ones fault in root. */
static void page_in_x2apic_mode(void **state)
{
	fake_msr_set(MSR_APIC_BASE, MGMT_APIC_PAGE | APIC_BASE_ENABLE | APIC_BASE_X2APIC);
	registers_touched = 0;
	write_page(0x300, INIT);
	write_page(0x3f0, 1);
	assert_int_equal(registers_touched, 0);
	assert_int_equal(cpus[1]->request, 0);
}

static void page_tracks_ldr(void **state)
{
	write_page(0xd0, 0x80000000);
	assert_int_equal(targets(INIT | LOGICAL | TO(0x80), false), 1);
	assert_int_equal(targets(INIT | LOGICAL | TO(0x01), false), 0);
}

static void page_bad_access(void **state)
{
	struct vm_exit e = {.reason = EXIT_SLAT,
			    .slat = {.gpa = GPA(MGMT_APIC_PAGE), .exec = true}};

	fake_push_exit(&e);
	run();
	delivered(VECTOR_GP);
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(destinations_xapic),
		TEST(destinations_cluster),
		TEST(destinations_x2apic),
		TEST(passed_on),
		TEST(missing_cpu),
		TEST(kicks),
		TEST(init_and_sipi),
		TEST(epoch_over_sipi),
		TEST(sipi_without_init),
		TEST(init_of_the_bsp),
		TEST(wakes_for_nothing),
		TEST(nmi_of_the_guest),
		TEST(nmi_of_a_kick),
		TEST(nmi_prints_the_ring),
		TEST(kick_again),
		TEST(x2apic_icr),
		TEST(page_writes),
		TEST(page_tracks_ldr),
		TEST(page_bad_access),
		TEST(page_in_x2apic_mode),
		TEST(kick_merged),
		TEST(sipi_during_init),
		TEST(machine_check_in_root),
		TEST(taken_nmi_is_injected),
		TEST(taken_nmi_waits_for_the_handler),
		TEST(taken_nmi_of_a_kick),
		TEST(taken_nmi_in_root),
		TEST(taken_nmi_while_waiting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
