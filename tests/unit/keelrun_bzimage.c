// SPDX-License-Identifier: MIT
/* Kernels accepted and refused, where they are placed, what the zero page says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "mgmt/uefi/keelrun/bzimage.h"

#define MIB (1ull << 20)

static u8 head[BZIMAGE_HEAD];
static struct bzimage k;
static char error[160];

static void put(u32 offset, u64 value, u32 bytes)
{
	memcpy(head + offset, &value, bytes);
}

static u64 get(const u8 *p, u32 bytes)
{
	u64 value = 0;

	memcpy(&value, p, bytes);
	return value;
}

/* Of Debian's size: 39 sectors of setup, 8 MiB of kernel, 40 MiB of memory */
static int setup(void **state)
{
	memset(head, 0, sizeof(head));
	put(0x1f1, 39, 1);
	put(0x1f4, 8 * MIB / 16, 4);
	put(0x1fe, 0xaa55, 2);
	put(0x201, 0x6a, 1);
	memcpy(head + 0x202, "HdrS", 4);
	put(0x206, 0x20f, 2);
	put(0x211, 1, 1);
	put(0x22c, 0x7fffffff, 4);
	put(0x230, 2 * MIB, 4);
	put(0x234, 1, 1);
	put(0x236, 1, 2);
	put(0x238, 2047, 4);
	put(0x248, 0x300, 4);
	put(0x24c, 7 * MIB, 4);
	put(0x258, 16 * MIB, 8);
	put(0x260, 40 * MIB, 4);
	return 0;
}

static int check(u64 file_bytes, u64 memory)
{
	error[0] = 0;
	return bzimage_check(&k, head, sizeof(head), file_bytes, memory, error, sizeof(error));
}

static void accepted(void **state)
{
	assert_int_equal(check(9 * MIB, 512 * MIB), 0);
	assert_int_equal(k.offset, 40 * 512);
	assert_int_equal(k.bytes, 8 * MIB);
	assert_int_equal(k.load, 16 * MIB);
	assert_int_equal(k.command_line_max, 2047);
	assert_int_equal(bzimage_payload(&k), 40 * 512 + 0x300);
	put(0x1f1, 0, 1); /* means 4 */
	assert_int_equal(check(9 * MIB, 512 * MIB), 0);
	assert_int_equal(k.offset, 5 * 512);
}

static void refuses(u32 offset, u64 value, u32 bytes, const char *why)
{
	setup(NULL);
	put(offset, value, bytes);
	assert_int_equal(check(9 * MIB, 512 * MIB), -ENOEXEC);
	if (!strstr(error, why))
		fail_msg("'%s' does not say '%s'", error, why);
}

static void refused(void **state)
{
	refuses(0x1fe, 0, 2, "not a Linux bzImage");
	refuses(0x202, 0, 1, "not a Linux bzImage");
	refuses(0x206, 0x20b, 2, "64-bit entry");
	refuses(0x211, 0, 1, "64-bit entry");
	refuses(0x236, 0, 2, "64-bit entry");
	refuses(0x1f4, 0, 4, "truncated");
	refuses(0x1f4, 9 * MIB / 16, 4, "truncated");
	refuses(0x1f4, 0xffffffff, 4, "truncated");
	refuses(0x248, 8 * MIB, 4, "payload");
	refuses(0x24c, 0xffffffff, 4, "payload");
	refuses(0x230, 0, 4, "corrupt");
	refuses(0x230, 3 * MIB, 4, "corrupt");
	refuses(0x258, 0, 8, "corrupt");
	refuses(0x258, ~0ull, 8, "corrupt");
	refuses(0x260, 4 * MIB, 4, "corrupt");
	setup(NULL);
	assert_int_equal(check(8 * MIB, 512 * MIB), -ENOEXEC);
	assert_non_null(strstr(error, "truncated kernel: 8388608 bytes of 8409088"));
	assert_int_equal(bzimage_check(&k, head, 0x2ff, 0x2ff, 512 * MIB, error, sizeof(error)),
			 -ENOEXEC);
	assert_non_null(strstr(error, "too short"));
}

static void too_little_memory(void **state)
{
	assert_int_equal(check(9 * MIB, 56 * MIB), 0);
	assert_int_equal(k.load, 16 * MIB);
	assert_int_equal(check(9 * MIB, 55 * MIB), 0); /* moved down */
	assert_int_equal(k.load, 2 * MIB);
	assert_int_equal(check(9 * MIB, 42 * MIB), 0);
	assert_int_equal(check(9 * MIB, 41 * MIB), -ENOMEM);
	assert_non_null(strstr(error, "more than 42 MiB, the guest has 41"));
	put(0x234, 0, 1); /* not relocatable */
	assert_int_equal(check(9 * MIB, 55 * MIB), -ENOMEM);
}

static void payload_formats(void **state)
{
	assert_int_equal(
		bzimage_check_payload((const u8 *)"\x1f\x8b\x08\x00", error, sizeof(error)), 0);
	assert_int_equal(bzimage_check_payload((const u8 *)"\xfd"
							   "7zX",
					       error, sizeof(error)),
			 0);
	assert_int_equal(
		bzimage_check_payload((const u8 *)"\x28\xb5\x2f\xfd", error, sizeof(error)), 0);
	assert_int_equal(
		bzimage_check_payload((const u8 *)"\x28\xb5\x2f\xfe", error, sizeof(error)),
		-ENOEXEC);
	assert_int_equal(bzimage_check_payload((const u8 *)"\0\0\0\0", error, sizeof(error)),
			 -ENOEXEC);
	assert_non_null(strstr(error, "corrupt"));
}

static u64 place(u64 bytes, u64 memory)
{
	assert_int_equal(check(9 * MIB, memory), 0);
	return bzimage_place_initrd(&k, bytes, memory, error, sizeof(error));
}

static void initrd(void **state)
{
	assert_int_equal(place(MIB + 1, 512 * MIB), 511 * MIB - PAGE_SIZE);
	assert_int_equal(place(MIB, 8192 * MIB), 2047 * MIB); /* the header's limit */
	put(0x22c, 0xffffffff, 4);
	assert_int_equal(place(MIB, 8192 * MIB), HOLE_START - MIB);
	assert_int_equal(place(8 * MIB, 64 * MIB), 56 * MIB);
	assert_int_equal(place(9 * MIB, 64 * MIB), 0);
	assert_non_null(strstr(error, "too little memory"));
	assert_int_equal(place(100 * MIB, 64 * MIB), 0);
	assert_int_equal(place(~0ull, 64 * MIB), 0);
}

struct e820 {
	u64 start, size;
	u32 type;
} packed;

static void range(const u8 *params, u32 n, u64 start, u64 end, u32 type)
{
	struct e820 e;

	memcpy(&e, params + 0x2d0 + n * 20, 20);
	assert_int_equal(e.start, start);
	assert_int_equal(e.size, end - start);
	assert_int_equal(e.type, type);
}

static void zero_page(void **state)
{
	u8 *low = calloc(1, MIB), *params = low + BOOT_PARAMS;

	assert_int_equal(check(9 * MIB, 5120 * MIB), 0);
	bzimage_low_memory(&k, low, 5120 * MIB, "console=ttyS0 x=y", 0x12345000, 0x6789, 0xe0000);
	assert_memory_equal(params + 0x202, "HdrS", 4);
	assert_int_equal(get(params + 0x206, 2), 0x20f);
	assert_int_equal(params[0x210], 0xff);
	assert_int_equal(get(params + 0x218, 4), 0x12345000);
	assert_int_equal(get(params + 0x21c, 4), 0x6789);
	assert_string_equal((char *)low + get(params + 0x228, 4), "console=ttyS0 x=y");
	assert_int_equal(get(params + 0x70, 8), 0xe0000);
	assert_int_equal(params[0x1e8], 4);
	range(params, 0, 0, LOW_MEMORY_END, 1);
	range(params, 1, LOW_MEMORY_END, MIB, 2);
	range(params, 2, MIB, 3072 * MIB, 1);
	range(params, 3, 4096 * MIB, 6144 * MIB, 1);
	bzimage_low_memory(&k, low, 3072 * MIB, "", 0, 0, 0);
	assert_int_equal(params[0x1e8], 3);
	free(low);
}

/* A header that claims to be longer than there is room for */
static void long_header(void **state)
{
	u8 *low = calloc(1, MIB);

	put(0x201, 0xff, 1);
	memset(head + 0x290, 0xee, 0x80);
	assert_int_equal(check(9 * MIB, 512 * MIB), 0);
	bzimage_low_memory(&k, low, 512 * MIB, "", 0, 0, 0);
	assert_int_equal(low[BOOT_PARAMS + 0x290], 0);
	free(low);
}

static u64 walk(const u8 *low, u64 address)
{
	u64 entry = BOOT_TABLES | 1, table;

	for (u32 shift = 39; shift >= 21; shift -= 9) {
		assert_true(entry & 1);
		table = entry & ~0xfffull;
		entry = get(low + table + (address >> shift & 511) * 8, 8);
		if (entry & 0x80)
			return (entry & ~0x1fffffull) | (address & 0x1fffff);
	}
	return 0;
}

static void tables(void **state)
{
	u8 *low = calloc(1, MIB);

	assert_int_equal(check(9 * MIB, 512 * MIB), 0);
	bzimage_low_memory(&k, low, 512 * MIB, "", 0, 0, 0);
	for (u64 a = 0x1234; a < 4ull << 30; a += 177 * MIB + 4096)
		assert_int_equal(walk(low, a), a);
	assert_int_equal(get(low + BOOT_GDT + BOOT_CODE_SELECTOR, 8), 0xaf9b000000ffff);
	assert_int_equal(get(low + BOOT_GDT + BOOT_DATA_SELECTOR, 8), 0xcf93000000ffff);
	free(low);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(accepted, setup),
		cmocka_unit_test_setup(refused, setup),
		cmocka_unit_test_setup(too_little_memory, setup),
		cmocka_unit_test_setup(payload_formats, setup),
		cmocka_unit_test_setup(initrd, setup),
		cmocka_unit_test_setup(zero_page, setup),
		cmocka_unit_test_setup(long_header, setup),
		cmocka_unit_test_setup(tables, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
