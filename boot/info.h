/* SPDX-License-Identifier: MIT */
/*
 * What the UEFI application (boot/efi/) hands to root mode (boot/root/). keel.efi carries the root
 * image as a flat binary linked at a fixed virtual address; the application copies it into reserved
 * memory, builds the page tables and enters it on every CPU.
 */
#pragma once

#include "arch-x86/cpu_state.h"
#include "lib/types.h"

#define ROOT_IMAGE_BASE 0xffffffff80000000ull
#define CPU_BLOCK_BASE	0xffffffff40000000ull /* CPU blocks: + index * CPU_BLOCK_SIZE */
#define BOOT_RANGES	512

#define ROOT_MAGIC 0x746f6f526c65654bull /* "KeelRoot" */

/* The flat binary begins with this. Virtual addresses; each end is page aligned. */
struct root_header {
	u64 magic;
	u64 text_end;	/* header and code: read, execute */
	u64 rodata_end; /* read */
	u64 data_end;	/* read, write; the binary ends here */
	u64 bss_end;	/* read, write; zero at the start */
	u64 entry;	/* root_entry() */
};

enum root_command {
	ROOT_PROBE,  /* can this machine run Keel? Changes nothing */
	ROOT_CHECK,  /* the same in words, to the log; more of them for CPU 0 */
	ROOT_LAUNCH, /* this CPU becomes a guest; returns only when that failed on some CPU */
};

enum root_outcome { ROOT_UNDECIDED, ROOT_DECIDING, ROOT_GO, ROOT_BACK };

/* Faults on purpose (test=), to see that the dump and the way back work. */
enum root_test {
	ROOT_TEST_NONE,
	ROOT_TEST_PAGE_FAULT,	/* root-pf: the BSP touches a guard page */
	ROOT_TEST_DOUBLE_FAULT, /* root-df: the BSP's stack pointer is in a guard page */
	ROOT_TEST_LAUNCH,	/* launch-fail: the last CPU refuses */
};

#define CPU_BLOCK_PAGES 12 /* that have memory behind them: cpu.h's layout without the guards */
#define CPU_RING_PAGES	4

struct boot_range { /* RAM of the firmware's memory map, merged */
	u64 base, pages;
};

struct boot_info {
	u64 reserved_base, reserved_pages; /* Keel's own memory */
	u64 image_base, image_pages;	   /* the root image inside it */
	u64 free_base, free_pages;	   /* not used by the loader: root's first pool */
	u64 frame_table, frame_count;
	u64 page_table_root; /* CR3 of root mode */
	u64 zero_page;
	u64 cpu_blocks; /* CPU_BLOCK_PAGES a CPU */
	u64 host_areas; /* one page a CPU */
	u64 rings;	/* CPU_RING_PAGES a CPU */
	u32 cpu_count, log_level;
	u32 apic_ids[64];
	u64 rsdp;
	u64 tsc_khz;
	u16 serial_port; /* for root's lines; 0: none */
	u16 panic_port;	 /* for a panic; 0: none */
	u16 pm1a_control, pm1b_control;
	u16 pm1a_event, pm1b_event; /* 0: none */
	u32 check_entry, teach, nmi_dump;
	u32 test;	     /* enum root_test */
	u8 s3_type, s4_type; /* SLP_TYP of the sleep states; 0xff: not there */
	/*
	 * The launch's barrier: when barrier_count CPUs have arrived in root, all of them become
	 * guests, or none. The loader sets the count and clears the other two before each round.
	 */
	u32 barrier_count, arrived, outcome; /* outcome: enum root_outcome */
	char why[160];			     /* of ROOT_PROBE: what is missing */
	u64 framebuffer, framebuffer_size;
	u32 fb_width, fb_height, fb_stride, fb_format;
	u64 log_ring, log_ring_size; /* kept over a reset: the next boot reads it */
	u32 range_count;
	u32 backend_forbidden; /* hw-off= of the configuration: enum virt_feature */
	u64 features;	       /* of ROOT_CHECK: what CPU 0 has, enum virt_feature */
	struct boot_range ranges[BOOT_RANGES];
};

/* SysV calling convention; 0 or -errno. Pointers are in root's direct map. */
int root_entry(struct boot_info *info, u32 index, u32 command, struct boot_cpu_state *state);
