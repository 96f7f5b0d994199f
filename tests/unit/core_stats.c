/* SPDX-License-Identifier: MIT */
/* The ring of exits: what its dump prints of which CPU, and the dump by an NMI. */
#include "tests/unit/core_machine.h"

#include "core/stats.h"

static struct exit_ring rings[2];
static char lines[400][200];
static u32 line_count;

void log_line(enum log_level level, const char *text, ...)
{
	va_list ap;

	if (line_count == ARRAY_SIZE(lines))
		return;
	va_start(ap, text);
	vsnprintf(lines[line_count++], sizeof(lines[0]), text, ap);
	va_end(ap);
}

static int setup(void **state)
{
	machine_init();
	fake_cpu_reset(2);
	memset(rings, 0, sizeof(rings));
	cpus[0]->ring = &rings[0];
	cpus[1]->ring = &rings[1];
	stats_nmi_dump = false;
	host_tsc_khz = 1000;
	vcpu->ring_id = 5ull << 32 | 3 << 16; /* vCPU 3 of VM 5 */
	line_count = 0;
	return 0;
}

static void exits(u32 cpu, u32 count)
{
	struct vm_exit e = {.reason = EXIT_IO, .info1 = 0x3f80011};

	for (u32 i = 0; i < count; i++) {
		vcpu->v.rip = 0x1000 + i;
		stats_exit(vcpu, cpus[cpu], &e, 100 + i);
	}
}

/* Of the CPU that prints: all that it has, oldest first. */
static void a_young_ring_is_printed_from_its_start(void **state)
{
	exits(0, 2);
	stats_ring_dump();
	assert_int_equal(line_count, 3);
	assert_non_null(strstr(lines[0], "oldest first"));
	assert_string_equal(lines[1], "cpu 0 tsc 100 vm 5 vcpu 3 io 3f80011 rip 1000");
	assert_string_equal(lines[2], "cpu 0 tsc 101 vm 5 vcpu 3 io 3f80011 rip 1001");
}

static void a_full_ring_keeps_the_last_256(void **state)
{
	exits(0, 300);
	stats_ring_dump();
	assert_int_equal(line_count, 1 + 256);
	assert_non_null(strstr(lines[1], "tsc 144 "));
	assert_non_null(strstr(lines[256], "tsc 399 "));
}

/* The caller's own exits, which tell most, stand last. */
static void other_cpus_are_cut_short(void **state)
{
	exits(0, 300);
	exits(1, 300);
	stats_ring_dump();
	assert_int_equal(line_count, 1 + 32 + 256);
	assert_non_null(strstr(lines[1], "cpu 1 tsc 368 "));
	assert_non_null(strstr(lines[32], "cpu 1 tsc 399 "));
	assert_non_null(strstr(lines[33], "cpu 0 tsc 144 "));
}

/* One that fails before it is set up. */
static void a_cpu_without_a_ring(void **state)
{
	cpus[0]->ring = NULL;
	exits(1, 1);
	stats_ring_dump();
	assert_int_equal(line_count, 2);
}

static void an_nmi_prints_where_it_is_asked_for(void **state)
{
	exits(0, 1);
	stats_nmi();
	assert_int_equal(line_count, 0);
	stats_nmi_dump = true;
	stats_nmi();
	assert_int_equal(line_count, 2);
}

/* The button's NMI reaches every CPU: one of them prints. */
static void nmis_within_a_second_print_once(void **state)
{
	stats_nmi_dump = true;
	exits(0, 1);
	fake_tsc = 1ull << 40;
	stats_nmi();
	fake_cpu_set(1);
	stats_nmi();
	assert_int_equal(line_count, 2);
	fake_tsc += host_tsc_khz * 1000ull;
	stats_nmi();
	assert_int_equal(line_count, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_young_ring_is_printed_from_its_start, setup),
		cmocka_unit_test_setup(a_full_ring_keeps_the_last_256, setup),
		cmocka_unit_test_setup(other_cpus_are_cut_short, setup),
		cmocka_unit_test_setup(a_cpu_without_a_ring, setup),
		cmocka_unit_test_setup(an_nmi_prints_where_it_is_asked_for, setup),
		cmocka_unit_test_setup(nmis_within_a_second_print_once, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
