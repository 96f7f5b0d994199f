// SPDX-License-Identifier: MIT
/* A Linux kernel by the 64-bit boot protocol. Field names are those of Documentation/x86/boot.rst.
 */
#include "mgmt/uefi/keelrun/bzimage.h"
#include <stdio.h>
#include <string.h>

enum { /* the setup header */
       SETUP_SECTS = 0x1f1,
       SYSSIZE = 0x1f4,
       VID_MODE = 0x1fa,
       BOOT_FLAG = 0x1fe,
       JUMP = 0x201,
       MAGIC = 0x202,
       VERSION = 0x206,
       TYPE_OF_LOADER = 0x210,
       LOADFLAGS = 0x211,
       RAMDISK_IMAGE = 0x218,
       RAMDISK_SIZE = 0x21c,
       CMD_LINE_PTR = 0x228,
       INITRD_ADDR_MAX = 0x22c,
       KERNEL_ALIGNMENT = 0x230,
       RELOCATABLE = 0x234,
       XLOADFLAGS = 0x236,
       CMDLINE_SIZE = 0x238,
       PAYLOAD_OFFSET = 0x248,
       PAYLOAD_LENGTH = 0x24c,
       PREF_ADDRESS = 0x258,
       INIT_SIZE = 0x260,
};
enum { /* the rest of the zero page */
       ACPI_RSDP_ADDR = 0x70,
       E820_ENTRIES = 0x1e8,
       E820_TABLE = 0x2d0,
};
enum { LOADED_HIGH = BIT(0), XLF_KERNEL_64 = BIT(0), VERSION_MIN = 0x20c, LOADER_UNKNOWN = 0xff };
enum { E820_RAM = 1, E820_RESERVED = 2 };
#define MIB (1ull << 20)

static u64 get(const u8 *p, u32 bytes)
{
	u64 value = 0;

	memcpy(&value, p, bytes);
	return value;
}

static void put(u8 *p, u64 value, u32 bytes)
{
	memcpy(p, &value, bytes);
}

static int refuse(char *error, size_t size, const char *why)
{
	snprintf(error, size, "%s", why);
	return -ENOEXEC;
}

static u64 low_ram(u64 memory)
{
	return MIN(memory, HOLE_START);
}

/* Its preferred address, or, for a relocatable one, the lowest where it fits above 1 MiB. */
static int place(struct bzimage *k, u64 memory, char *error, size_t size)
{
	u64 alignment = get(k->header + KERNEL_ALIGNMENT, 4);

	k->load = get(k->header + PREF_ADDRESS, 8);
	k->init_size = get(k->header + INIT_SIZE, 4);
	if (alignment < PAGE_SIZE || alignment & (alignment - 1) || k->load < MIB ||
	    k->load >= HOLE_START || k->init_size < k->bytes)
		return refuse(error, size, "corrupt kernel: impossible addresses in its header");
	if (k->load + k->init_size > low_ram(memory) && k->header[RELOCATABLE])
		k->load = ALIGN_UP(MIB, alignment);
	if (k->load + k->init_size <= low_ram(memory))
		return 0;
	snprintf(error, size,
		 "too little memory: this kernel needs more than %llu MiB, the guest has %llu",
		 (unsigned long long)((k->load + k->init_size + MIB - 1) / MIB),
		 (unsigned long long)(memory / MIB));
	return -ENOMEM;
}

int bzimage_check(struct bzimage *k, const u8 *head, u32 head_bytes, u64 file_bytes, u64 memory,
		  char *error, size_t size)
{
	u64 sectors;

	if (head_bytes < sizeof(k->header))
		return refuse(error, size, "not a Linux kernel: the file is too short");
	memcpy(k->header, head, sizeof(k->header));
	if (get(head + BOOT_FLAG, 2) != 0xaa55 || memcmp(head + MAGIC, "HdrS", 4))
		return refuse(error, size, "not a Linux bzImage: no boot signature");
	if (get(head + VERSION, 2) < VERSION_MIN || !(head[LOADFLAGS] & LOADED_HIGH) ||
	    !(get(head + XLOADFLAGS, 2) & XLF_KERNEL_64))
		return refuse(error, size, "this kernel has no 64-bit entry (boot protocol 2.12)");
	sectors = head[SETUP_SECTS] ? head[SETUP_SECTS] : 4;
	k->offset = (sectors + 1) * 512;
	k->bytes = get(head + SYSSIZE, 4) * 16;
	if (!k->bytes || k->offset + k->bytes > file_bytes) {
		snprintf(error, size, "truncated kernel: %llu bytes of %llu",
			 (unsigned long long)file_bytes,
			 (unsigned long long)(k->offset + k->bytes));
		return -ENOEXEC;
	}
	if (get(head + PAYLOAD_OFFSET, 4) + get(head + PAYLOAD_LENGTH, 4) > k->bytes)
		return refuse(error, size, "corrupt kernel: its payload is outside of the file");
	k->command_line_max = (u32)get(head + CMDLINE_SIZE, 4);
	k->initrd_end = get(head + INITRD_ADDR_MAX, 4) + 1;
	return place(k, memory, error, size);
}

u64 bzimage_payload(const struct bzimage *k)
{
	u64 offset = get(k->header + PAYLOAD_OFFSET, 4);

	return offset ? k->offset + offset : 0;
}

int bzimage_check_payload(const u8 *payload, char *error, size_t size)
{
	static const struct {
		u8 length, bytes[4];
	} formats[] = {
		{2, {0x1f, 0x8b}}, /* gzip */
		{2, {0x1f, 0x9e}},
		{2, {'B', 'Z'}},	       /* bzip2 */
		{2, {0x5d, 0x00}},	       /* LZMA */
		{4, {0xfd, '7', 'z', 'X'}},    /* XZ */
		{4, {0x89, 'L', 'Z', 'O'}},    /* LZO */
		{2, {0x02, 0x21}},	       /* LZ4 */
		{4, {0x28, 0xb5, 0x2f, 0xfd}}, /* ZSTD */
		{4, {0x7f, 'E', 'L', 'F'}},    /* not compressed */
	};

	for (u32 i = 0; i < ARRAY_SIZE(formats); i++)
		if (!memcmp(payload, formats[i].bytes, formats[i].length))
			return 0;
	return refuse(error, size, "corrupt kernel: its payload is in no known format");
}

u64 bzimage_place_initrd(const struct bzimage *k, u64 bytes, u64 memory, char *error, size_t size)
{
	u64 end = MIN(low_ram(memory), k->initrd_end), start;

	start = bytes < end ? ALIGN_DOWN(end - bytes, PAGE_SIZE) : 0;
	if (start >= k->load + k->init_size)
		return start;
	snprintf(error, size,
		 "too little memory: the initial RAM disk of %llu MiB and the kernel do not fit "
		 "into %llu MiB",
		 (unsigned long long)(bytes / MIB), (unsigned long long)(memory / MIB));
	return 0;
}

static void add_range(u8 *params, u64 start, u64 end, u32 type)
{
	u8 *entry = params + E820_TABLE + params[E820_ENTRIES]++ * 20;

	put(entry, start, 8);
	put(entry + 8, end - start, 8);
	put(entry + 16, type, 4);
}

static void memory_map(u8 *params, u64 memory)
{
	add_range(params, 0, LOW_MEMORY_END, E820_RAM);
	add_range(params, LOW_MEMORY_END, MIB, E820_RESERVED);
	add_range(params, MIB, low_ram(memory), E820_RAM);
	if (memory > HOLE_START)
		add_range(params, HOLE_END, HOLE_END + memory - HOLE_START, E820_RAM);
}

/*
 * The first 4 GiB onto themselves:  PML4 -> one PDPT -> four page directories of 2 MiB pages
 */
static void page_tables(u8 *low)
{
	u64 *pml4 = (u64 *)(low + BOOT_TABLES), *pdpt = pml4 + 512, *pd = pdpt + 512;

	pml4[0] = (BOOT_TABLES + PAGE_SIZE) | 3;
	for (u32 i = 0; i < 4; i++)
		pdpt[i] = (BOOT_TABLES + (2 + i) * PAGE_SIZE) | 3;
	for (u64 i = 0; i < 4 * 512; i++)
		pd[i] = i * SIZE_2M | 0x83; /* present, writable, large */
}

void bzimage_low_memory(const struct bzimage *k, u8 *low, u64 memory, const char *command_line,
			u64 initrd, u64 initrd_bytes, u64 rsdp)
{
	u64 *gdt = (u64 *)(low + BOOT_GDT);
	u8 *params = low + BOOT_PARAMS;
	u32 header_end = MAGIC + k->header[JUMP];

	memset(params, 0, PAGE_SIZE);
	memcpy(params + SETUP_SECTS, k->header + SETUP_SECTS,
	       MIN(header_end, (u32)E820_TABLE - 0x40) - SETUP_SECTS);
	params[TYPE_OF_LOADER] = LOADER_UNKNOWN;
	put(params + VID_MODE, 0xffff, 2);
	put(params + CMD_LINE_PTR, BOOT_COMMAND_LINE, 4);
	put(params + RAMDISK_IMAGE, initrd, 4);
	put(params + RAMDISK_SIZE, initrd_bytes, 4);
	put(params + ACPI_RSDP_ADDR, rsdp, 8);
	memory_map(params, memory);
	memcpy(low + BOOT_COMMAND_LINE, command_line, strlen(command_line) + 1);
	page_tables(low);
	gdt[BOOT_CODE_SELECTOR / 8] = 0x00af9b000000ffffull; /* 64-bit code */
	gdt[BOOT_DATA_SELECTOR / 8] = 0x00cf93000000ffffull; /* flat data */
}
