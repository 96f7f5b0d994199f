/* SPDX-License-Identifier: MIT */
/* arch-x86/exception.c, desc.c, apic.c: NMIs, fix-ups, machine checks, tables, ICR_HI. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "arch-x86/apic.h"
#include "arch-x86/desc.h"
#include "arch-x86/exception.h"
#include "arch-x86/msr.h"
#include "arch-x86/panic.h"
#include "arch-x86/regs.h"
#include "arch-x86/reset.h"
#include "arch-x86/screen.h"
#include "tests/unit/fake/fake.h"

/* What exception.asm, panic.c and reset.c have. */
const char exception_entries[32 * EXCEPTION_ENTRY_SIZE];
const struct exception_fixup exception_fixups[] = {{0x1000, 0x2000}, {0x1100, 0x2100}};

/*
 * The linker's end of the table above: exception.c compares addresses only.
 */
__asm__(".globl exception_fixups_end\n"
	".set exception_fixups_end, exception_fixups + 32\n");

static jmp_buf back;
static const char *ended;

void panic_exception(const struct exception_frame *frame)
{
	ended = "panic";
	longjmp(back, 1);
}

void machine_reset(void)
{
	ended = "reset";
	longjmp(back, 1);
}

void desc_reload_segments(void)
{
}

static int setup(void **state)
{
	fake_hw_reset();
	fake_cpu_reset(1);
	ended = NULL;
	return 0;
}

static const char *raise(struct exception_frame *frame)
{
	ended = NULL;
	if (!setjmp(back))
		exception_handler(frame);
	return ended;
}

static void test_nmi_sets_the_flag_and_leaves_the_sleep(void **state)
{
	struct exception_frame frame = {.vector = VECTOR_NMI, .rip = 0x500};
	struct cpu *cpu = cpus[0];

	cpu->sleep_begin = 0x600;
	cpu->sleep_end = 0x610;
	assert_null(raise(&frame));
	assert_int_equal(frame.rip, 0x500);
	assert_int_equal(cpu->root_flags, CPU_ROOT_NMI);
	for (frame.rip = 0x600; frame.rip < 0x610; frame.rip++) {
		u64 rip = frame.rip;

		raise(&frame);
		assert_int_equal(frame.rip, 0x610);
		frame.rip = rip;
	}
	frame.rip = 0x610;
	raise(&frame);
	assert_int_equal(frame.rip, 0x610);
}

static void test_gp_has_fixups(void **state)
{
	struct exception_frame frame = {.vector = VECTOR_GP, .rip = 0x1100};

	assert_null(raise(&frame));
	assert_int_equal(frame.rip, 0x2100);
	frame.rip = 0x1101;
	assert_string_equal(raise(&frame), "panic");
	frame.vector = VECTOR_PF;
	frame.rip = 0x1000;
	assert_string_equal(raise(&frame), "panic");
}

static void test_redirected_init_resets(void **state)
{
	struct exception_frame frame = {.vector = VECTOR_SX};

	assert_string_equal(raise(&frame), "reset");
}

static void test_machine_check(void **state)
{
	struct exception_frame frame = {.vector = VECTOR_MC};

	fake_msr_set(MSR_MCG_CAP, 3);
	fake_msr_set(MSR_MCG_STATUS, 1);
	fake_msr_set(MSR_MC0_CTL + 5, BIT(63) | 5);
	assert_null(raise(&frame));
	assert_int_equal(cpus[0]->root_flags, CPU_ROOT_MCE);
	/* The banks are the management guest's to clear. */
	assert_int_equal(fake_msr_get(MSR_MC0_CTL + 5), BIT(63) | 5);
	fake_msr_set(MSR_MC0_CTL + 9, BIT(63) | BIT(57));
	assert_string_equal(raise(&frame), "panic");
	fake_msr_set(MSR_MC0_CTL + 9, BIT(57)); /* not valid */
	assert_null(raise(&frame));
	fake_msr_set(MSR_MCG_STATUS, 0); /* RIPV clear: no way back */
	assert_string_equal(raise(&frame), "panic");
}

static void test_tables_point_into_the_block(void **state)
{
	struct cpu *cpu = aligned_alloc(CPU_BLOCK_SIZE, CPU_BLOCK_SIZE);
	struct cpu_tables *tables = (void *)((u64)cpu + CPU_TABLES_OFFSET);
	u64 base, block = (u64)cpu;

	memset(cpu, 0, CPU_BLOCK_SIZE);
	desc_load(cpu);
	assert_ptr_equal(cpu->arch, tables);
	assert_int_equal(tables->gdt[0], 0);
	base = (tables->gdt[3] >> 16 & 0xffffff) | (tables->gdt[3] >> 32 & 0xff000000) |
	       tables->gdt[4] << 32;
	assert_int_equal(base, (u64)&tables->tss);
	assert_int_equal(tables->gdt[3] & 0xffff, 0x67);
	assert_int_equal(tables->tss.ist[IST_DF], block + 0xa000);
	assert_int_equal(tables->tss.ist[IST_NMI], block + 0xd000);
	assert_int_equal(tables->tss.ist[IST_MC], block + 0x10000);
	assert_int_equal(tables->tss.io_map, 0x68);
	free(cpu);
}

static void test_ipi_keeps_what_the_guest_wrote(void **state)
{
	u32 *page = calloc(1, PAGE_SIZE);

	fake_apic_page = (u64)page;
	fake_msr_set(MSR_APIC_BASE, 0xfee00000 | APIC_BASE_ENABLE);
	page[0x310 / 4] = 0x05000000;
	apic_send_ipi(3, 0xf2);
	assert_int_equal(page[0x300 / 4], 0x40f2);
	assert_int_equal(page[0x310 / 4], 0x05000000);
	apic_send_nmi(3);
	assert_int_equal(page[0x300 / 4], 0x4400);
	page[0x20 / 4] = 0x77;
	assert_int_equal(apic_read(0x20), 0x77);
	apic_write(0x80, 0x20);
	assert_int_equal(page[0x80 / 4], 0x20);
	/* The mode is looked at each time: the guest may switch it. */
	fake_msr_set(MSR_APIC_BASE, 0xfee00000 | APIC_BASE_ENABLE | APIC_BASE_X2APIC);
	apic_send_ipi(0x123, 0x31);
	assert_int_equal(fake_msr_get(MSR_X2APIC_ICR), 0x12300004031ull);
	fake_msr_set(MSR_X2APIC_BASE + 8, 0x10);
	assert_int_equal(apic_read(0x80), 0x10);
	free(page);
}

static u32 dots(const u32 *pixels, u32 stride, u32 x, u32 y)
{
	u32 count = 0;

	for (u32 i = 0; i < 14; i++)
		for (u32 j = 0; j < 8; j++)
			count += pixels[(y * 14 + i) * stride + x * 8 + j] == 0xffffff;
	return count;
}

static void test_screen(void **state)
{
	u32 stride = 40, *pixels = calloc(stride * 28, 4); /* 4 columns (32 dots), 2 rows */

	screen_init(NULL, 100, 100, 100);
	screen_write("x", 1);
	screen_init(pixels, 32, 28, stride);
	screen_write("lL", 2);
	/* L: five dots down, two more to the right; each four pixels. */
	assert_int_equal(dots(pixels, stride, 0, 0), 28);
	assert_int_equal(dots(pixels, stride, 1, 0), 28);
	assert_int_equal(dots(pixels, stride, 2, 0), 0);
	screen_write("\nL", 2);
	assert_int_equal(dots(pixels, stride, 0, 1), 28);
	screen_write("   LL\nL", 7); /* the line is full, and with it the screen */
	assert_int_equal(dots(pixels, stride, 1, 1), 0);
	assert_int_equal(dots(pixels, stride, 0, 0), 28);
	assert_int_equal(dots(pixels, stride, 1, 0), 28);
	for (u32 i = 0; i < 28; i++)
		for (u32 x = 32; x < stride; x++)
			assert_int_equal(pixels[i * stride + x], 0);
	free(pixels);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_nmi_sets_the_flag_and_leaves_the_sleep, setup),
		cmocka_unit_test_setup(test_gp_has_fixups, setup),
		cmocka_unit_test_setup(test_redirected_init_resets, setup),
		cmocka_unit_test_setup(test_machine_check, setup),
		cmocka_unit_test_setup(test_tables_point_into_the_block, setup),
		cmocka_unit_test_setup(test_ipi_keeps_what_the_guest_wrote, setup),
		cmocka_unit_test_setup(test_screen, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
