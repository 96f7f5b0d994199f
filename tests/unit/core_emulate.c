// SPDX-License-Identifier: MIT
/*
 * The emulator: random instructions against the processor that runs the test, then each rule by
 * itself. Guest memory, page tables and the buses are doubles here: a few pages at fixed linear
 * addresses, each of them RAM, MMIO of a device, MMIO of the VMM, or missing.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <cmocka.h>

#include "arch-x86/insn.h"
#include "arch-x86/regs.h"
#include "core/emulate_alu.h"
#include "core/vm.h"
#include "mm/guest_walk.h"

static u64 random_state = 1;

static u64 next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state * 0x2545f4914f6cdd1dull;
}

static u64 number_from(const char *name, u64 otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

/* ---- the machine around the emulator -------------------------------------------------------- */

#define PAGES 4

enum page_kind {
	PAGE_RAM,
	PAGE_DEVICE,  /* on the MMIO bus */
	PAGE_USER,    /* MMIO of the VMM */
	PAGE_MISSING, /* in a slot, not mapped */
	PAGE_ROM,     /* in a read-only slot, mapped */
	PAGE_FAULT,   /* the guest's tables refuse it */
	PAGE_NO_WRITE,
	PAGE_NO_TABLE, /* a table of the walk is missing at second level */
};

#define TABLE_GPA 0x7000000ull /* of the missing table */

struct log_entry {
	u64 gpa, value;
	u32 size;
	bool write, user;
};

static struct {
	struct vm vm;
	struct vcpu vcpu;
	u64 regs[VREG_COUNT];
	struct segment segments[SEG_COUNT];
	struct memslot slot;
	u64 base;   /* linear and guest-physical address of page 0 */
	u8 *memory; /* what the guest sees there */
	enum page_kind kind[PAGES];
	u32 walk_access; /* of the last walk */
	u8 code[15];
	u32 code_count;
	struct {
		u32 count, vector, error;
		u64 address;
	} raised;
	u32 retired, skipped, fetches;
	u64 seen; /* content when the dirty log was last marked */
	u8 fxsave[512] __attribute__((__aligned__(16)));
	u8 area[1024] __attribute__((__aligned__(16)));
	struct log_entry log[64]; /* MMIO accesses in order */
	u32 log_count;
	u32 user_exits;
} m;

static u64 machine_get(struct virt_vcpu *v, enum virt_reg reg)
{
	return m.regs[reg];
}

static void machine_set(struct virt_vcpu *v, enum virt_reg reg, u64 value)
{
	m.regs[reg] = value;
}

static void machine_get_segment(struct virt_vcpu *v, enum seg seg, struct segment *s)
{
	*s = m.segments[seg];
}

static void machine_set_segment(struct virt_vcpu *v, enum seg seg, const struct segment *s)
{
	m.segments[seg] = *s;
}

static const struct virt_ops machine_ops = {
	.get = machine_get,
	.set = machine_set,
	.get_segment = machine_get_segment,
	.set_segment = machine_set_segment,
};

void vcpu_walk_state(struct vcpu *vcpu, struct walk_state *state)
{
	*state = (struct walk_state){.cr0 = m.regs[VREG_CR0],
				     .cr4 = m.regs[VREG_CR4],
				     .efer = m.regs[VREG_EFER],
				     .rflags = m.regs[VREG_RFLAGS]};
}

u64 vcpu_rflags(struct vcpu *vcpu)
{
	return m.regs[VREG_RFLAGS];
}

void vcpu_set_rflags(struct vcpu *vcpu, u64 rflags)
{
	m.regs[VREG_RFLAGS] = rflags;
}

u32 vcpu_fetch(struct vcpu *vcpu, const struct vm_exit *e, u8 bytes[15])
{
	m.fetches++;
	memcpy(bytes, m.code, sizeof(m.code));
	if (e && e->insn_bytes_len) {
		memcpy(bytes, e->insn_bytes, e->insn_bytes_len);
		return e->insn_bytes_len;
	}
	return m.code_count;
}

void vcpu_retire(struct vcpu *vcpu)
{
	m.retired++;
	m.regs[VREG_RFLAGS] &= ~RFLAGS_RF;
	m.regs[VREG_INT_SHADOW] = 0;
}

void vcpu_skip(struct vcpu *vcpu, u32 length)
{
	m.skipped++;
	vcpu->v.rip += length;
	vcpu_retire(vcpu);
}

void vcpu_queue_exception(struct vcpu *vcpu, u8 vector, bool has_error, u32 error)
{
	m.raised.count++;
	m.raised.vector = vector;
	m.raised.error = has_error ? error : ~0u;
}

void vcpu_queue_page_fault(struct vcpu *vcpu, u64 address, u32 error)
{
	vcpu_queue_exception(vcpu, VECTOR_PF, true, error);
	m.raised.address = address;
}

void fxsave(void *area)
{
	memcpy(area, m.fxsave, sizeof(m.fxsave));
}

void fxrstor(const void *area)
{
	memcpy(m.fxsave, area, sizeof(m.fxsave));
}

static u64 page_of(u64 address)
{
	u64 page = (address - m.base) / PAGE_SIZE;

	return page < PAGES ? page : PAGES;
}

int guest_walk(struct guest_mem *mem, const struct walk_state *state, gva_t gva, u32 access,
	       bool quiet, struct walk_result *result)
{
	u64 page = page_of(gva.v);

	m.walk_access = access;
	*result = (struct walk_result){.gpa = GPA(gva.v)};
	if (page == PAGES || m.kind[page] == PAGE_FAULT) {
		result->error = (access & WALK_WRITE ? 2 : 0) | (access & WALK_USER ? 4 : 0);
		return -EPERM;
	}
	if (m.kind[page] == PAGE_NO_WRITE && (access & WALK_WRITE)) {
		result->error = 3;
		return -EPERM;
	}
	result->missing = GPA(TABLE_GPA);
	return m.kind[page] == PAGE_NO_TABLE ? -EFAULT : 0;
}

/* LMSW is tested with what it does: core_control. */
int control_lmsw(struct vcpu *vcpu, u64 word)
{
	fail();
	return 0;
}

void *guest_ptr(struct guest_mem *mem, gpa_t gpa, u64 *length, bool write)
{
	u64 page = page_of(gpa.v);

	if (page == PAGES)
		return NULL;
	if (write && m.kind[page] == PAGE_RAM)
		memcpy(&m.seen, m.memory + (gpa.v - m.base), *length < 8 ? *length : 8);
	if (m.kind[page] == PAGE_RAM || m.kind[page] == PAGE_NO_WRITE ||
	    (m.kind[page] == PAGE_ROM && !write))
		return m.memory + (gpa.v - m.base);
	return NULL;
}

const struct memslot *memslot_find(const struct guest_mem *mem, gpa_t gpa)
{
	u64 page = page_of(gpa.v);

	if (page == PAGES || m.kind[page] == PAGE_DEVICE || m.kind[page] == PAGE_USER)
		return NULL;
	m.slot.flags = m.kind[page] == PAGE_ROM ? MEMSLOT_READONLY : 0;
	return &m.slot;
}

bool vcpu_memory_fault(struct vcpu *vcpu, gpa_t gpa, bool write)
{
	vcpu->exit.memory.gpa = gpa;
	vcpu->exit.memory.write = write;
	return true;
}

static void log_access(u64 gpa, u32 size, u64 value, bool write, bool user)
{
	if (m.log_count < ARRAY_SIZE(m.log))
		m.log[m.log_count] = (struct log_entry){gpa, value, size, write, user};
	m.log_count++;
}

static u64 load_memory(u64 gpa, u32 size)
{
	u64 value = 0;

	memcpy(&value, m.memory + (gpa - m.base), size);
	return value;
}

static bool bus_has(u64 address, u32 size)
{
	u64 page = page_of(address);

	if (page == PAGES || m.kind[page] != PAGE_DEVICE)
		return false;
	assert_true(size == 1 || size == 2 || size == 4 || size == 8);
	return true;
}

bool bus_read(struct bus *bus, struct vcpu *vcpu, u64 address, u32 size, u64 *value, int *result)
{
	if (!bus_has(address, size))
		return false;
	*value = load_memory(address, size);
	log_access(address, size, *value, false, false);
	*result = 0;
	return true;
}

bool bus_write(struct bus *bus, struct vcpu *vcpu, u64 address, u32 size, u64 value, int *result)
{
	if (!bus_has(address, size))
		return false;
	memcpy(m.memory + (address - m.base), &value, size);
	log_access(address, size, value, true, false);
	*result = 0;
	return true;
}

/* What a VMM does with an MMIO exit. */
static void serve_user(void)
{
	struct vcpu_exit *exit = &m.vcpu.exit;
	u64 gpa = exit->mmio.gpa.v, value = 0;

	assert_int_equal(exit->reason, USER_MMIO);
	assert_in_range(exit->mmio.length, 1, 8);
	assert_true(page_of(gpa) == page_of(gpa + exit->mmio.length - 1));
	if (exit->mmio.write) {
		memcpy(&value, exit->mmio.data, exit->mmio.length);
		memcpy(m.memory + (gpa - m.base), &value, exit->mmio.length);
	} else {
		value = load_memory(gpa, exit->mmio.length);
		memcpy(exit->mmio.data, &value, 8);
	}
	m.user_exits++;
	log_access(gpa, exit->mmio.length, value, exit->mmio.write, true);
}

/* Runs the instruction to its end, as core and a VMM would. */
static enum emulation_result emulate_all(void)
{
	enum emulation_result result = emulate(&m.vcpu, NULL);

	while (result == EMULATE_USER) {
		bool complete = !m.vcpu.emulation.active;

		assert_true(!complete || m.vcpu.exit.mmio.write);
		serve_user();
		result = complete ? EMULATE_DONE : emulate_resume(&m.vcpu);
	}
	return result;
}

static void flat_segments(bool l, bool db)
{
	for (u32 i = 0; i < SEG_LDTR; i++)
		m.segments[i] = (struct segment){.attr = SEG_S | SEG_P | SEG_G | SEG_DB | 3,
						 .limit = 0xffffffff};
	m.segments[SEG_CS].attr = SEG_S | SEG_P | SEG_G | 0xb | (l ? SEG_L : 0) | (db ? SEG_DB : 0);
}

/* 64-bit mode at CPL 0; pages of RAM at a low linear address. */
static void machine_reset(void)
{
	static u8 memory[PAGES * PAGE_SIZE];

	memset(&m, 0, sizeof(m));
	virt = &machine_ops;
	m.vcpu.vm = &m.vm;
	m.memory = memory;
	m.base = 0x10000;
	m.code_count = 15;
	m.regs[VREG_CR0] = CR0_PE | CR0_PG | CR0_WP | CR0_ET;
	m.regs[VREG_CR4] = CR4_PAE | CR4_OSFXSR;
	m.vcpu.xsave = m.area;
	m.regs[VREG_EFER] = EFER_LMA | EFER_LME;
	m.regs[VREG_RFLAGS] = RFLAGS_ONE;
	m.vcpu.v.rip = 0x400000;
	m.vcpu.v.gpr[GPR_RSP] = m.base + 0x800;
	flat_segments(true, false);
}

static void set_code(const char *bytes, u32 count)
{
	memset(m.code, 0x90, sizeof(m.code));
	memcpy(m.code, bytes, count);
}
#define CODE(bytes) set_code(bytes, sizeof(bytes) - 1)

#define gpr(name) m.vcpu.v.gpr[GPR_##name]

static void expect_raised(u32 vector, u32 error)
{
	assert_int_equal(m.raised.count, 1);
	assert_int_equal(m.raised.vector, vector);
	assert_int_equal(m.raised.error, error);
	assert_int_equal(m.retired, 0);
	m.raised.count = 0;
}

/* ---- against the host's processor ----------------------------------------------------------- */

struct host_state {
	u64 gpr[16];
	u64 rflags;
	u64 code;
	u64 rsp;
	u64 pad;
	u8 fxsave[512]; /* at 160 */
};
struct host_state host __attribute__((__aligned__(16)));
void host_run(void);
extern char host_return[];

__asm__(".text\n"
	"host_run:\n"
	"	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
	"	mov %rsp, host+144(%rip)\n"
	"	fxrstor64 host+160(%rip)\n"
	"	pushq host+128(%rip)\n"
	"	popfq\n"
	"	mov host(%rip), %rax\n"
	"	mov host+8(%rip), %rcx\n"
	"	mov host+16(%rip), %rdx\n"
	"	mov host+24(%rip), %rbx\n"
	"	mov host+32(%rip), %rsp\n"
	"	mov host+40(%rip), %rbp\n"
	"	mov host+48(%rip), %rsi\n"
	"	mov host+56(%rip), %rdi\n"
	"	mov host+64(%rip), %r8\n"
	"	mov host+72(%rip), %r9\n"
	"	mov host+80(%rip), %r10\n"
	"	mov host+88(%rip), %r11\n"
	"	mov host+96(%rip), %r12\n"
	"	mov host+104(%rip), %r13\n"
	"	mov host+112(%rip), %r14\n"
	"	mov host+120(%rip), %r15\n"
	"	jmp *host+136(%rip)\n"
	"host_return:\n"
	"	mov %rax, host(%rip)\n"
	"	mov %rcx, host+8(%rip)\n"
	"	mov %rdx, host+16(%rip)\n"
	"	mov %rbx, host+24(%rip)\n"
	"	mov %rsp, host+32(%rip)\n"
	"	mov %rbp, host+40(%rip)\n"
	"	mov %rsi, host+48(%rip)\n"
	"	mov %rdi, host+56(%rip)\n"
	"	mov %r8, host+64(%rip)\n"
	"	mov %r9, host+72(%rip)\n"
	"	mov %r10, host+80(%rip)\n"
	"	mov %r11, host+88(%rip)\n"
	"	mov %r12, host+96(%rip)\n"
	"	mov %r13, host+104(%rip)\n"
	"	mov %r14, host+112(%rip)\n"
	"	mov %r15, host+120(%rip)\n"
	"	mov host+144(%rip), %rsp\n"
	"	pushfq\n"
	"	popq host+128(%rip)\n"
	"	cld\n"
	"	fxsave64 host+160(%rip)\n"
	"	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
	"	ret\n");

enum feature {
	MODRM = BIT(0),
	IMM8 = BIT(1),
	IMMZ = BIT(2),
	LOCK = BIT(3), /* may have it */
	STRING = BIT(4),
	STACK = BIT(5),
	BITS = BIT(6), /* register is a bit offset */
	MOFFS = BIT(7),
	BRANCH = BIT(8),
	NO_66 = BIT(9),
	BYTE = BIT(10),
	SHIFT = BIT(11), /* flags depend on the count */
	LOGIC = BIT(12), /* AF undefined */
	PRODUCT = BIT(13),
	ALIGN = BIT(14),
	SHIFT_D = BIT(15),
	VECTOR = BIT(16),
};

#define ANY  0xff
#define V    (MODRM | VECTOR | NO_66)
#define P(b) ((u32)(b) << 24)

/* clang-format off */
struct instruction {
	u8 map, first, last;
	u8 reg_first, reg_last; /* ModRM.reg, or ANY */
	u32 features; /* enum feature; above bit 24 a mandatory prefix */
};

static const struct instruction instructions[] = {
	{0, 0x00, 0x03, ANY, 0, MODRM}, {0, 0x08, 0x0b, ANY, 0, MODRM | LOGIC},
	{0, 0x10, 0x13, ANY, 0, MODRM}, {0, 0x18, 0x1b, ANY, 0, MODRM},
	{0, 0x20, 0x23, ANY, 0, MODRM | LOGIC}, {0, 0x28, 0x2b, ANY, 0, MODRM},
	{0, 0x30, 0x33, ANY, 0, MODRM | LOGIC}, {0, 0x38, 0x3b, ANY, 0, MODRM},
	{0, 0x00, 0x01, ANY, 0, MODRM | LOCK}, {0, 0x08, 0x09, ANY, 0, MODRM | LOGIC | LOCK},
	{0, 0x10, 0x11, ANY, 0, MODRM | LOCK}, {0, 0x18, 0x19, ANY, 0, MODRM | LOCK},
	{0, 0x20, 0x21, ANY, 0, MODRM | LOGIC | LOCK}, {0, 0x28, 0x29, ANY, 0, MODRM | LOCK},
	{0, 0x30, 0x31, ANY, 0, MODRM | LOGIC | LOCK},
	{0, 0x50, 0x5f, ANY, 0, STACK}, {0, 0x63, 0x63, ANY, 0, MODRM | NO_66},
	{0, 0x68, 0x68, ANY, 0, STACK | IMMZ}, {0, 0x6a, 0x6a, ANY, 0, STACK | IMM8},
	{0, 0x69, 0x69, ANY, 0, MODRM | IMMZ | PRODUCT},
	{0, 0x6b, 0x6b, ANY, 0, MODRM | IMM8 | PRODUCT},
	{0, 0x80, 0x80, 0, 6, MODRM | BYTE | IMM8 | LOGIC | LOCK},
	{0, 0x81, 0x81, 0, 6, MODRM | IMMZ | LOGIC | LOCK},
	{0, 0x83, 0x83, 0, 6, MODRM | IMM8 | LOGIC | LOCK},
	{0, 0x80, 0x80, 0, 7, MODRM | IMM8 | LOGIC}, {0, 0x81, 0x81, 0, 7, MODRM | IMMZ | LOGIC},
	{0, 0x84, 0x85, ANY, 0, MODRM | LOGIC}, {0, 0x86, 0x87, ANY, 0, MODRM | LOCK},
	{0, 0x88, 0x8b, ANY, 0, MODRM}, {0, 0x8c, 0x8c, 0, 5, MODRM},
	{0, 0x8f, 0x8f, 0, 0, MODRM | STACK}, {0, 0xa0, 0xa3, ANY, 0, MOFFS},
	{0, 0xa4, 0xa7, ANY, 0, STRING}, {0, 0xaa, 0xaf, ANY, 0, STRING},
	{0, 0xc0, 0xc1, 0, 7, MODRM | IMM8 | SHIFT}, {0, 0xc6, 0xc6, 0, 0, MODRM | IMM8},
	{0, 0xc7, 0xc7, 0, 0, MODRM | IMMZ}, {0, 0xd0, 0xd3, 0, 7, MODRM | SHIFT},
	{0, 0xf6, 0xf6, 0, 1, MODRM | IMM8 | LOGIC}, {0, 0xf7, 0xf7, 0, 1, MODRM | IMMZ | LOGIC},
	{0, 0xf6, 0xf7, 2, 3, MODRM | LOCK}, {0, 0xf6, 0xf7, 4, 5, MODRM | PRODUCT},
	{0, 0xfe, 0xff, 0, 1, MODRM | LOCK}, {0, 0xff, 0xff, 2, 2, MODRM | BRANCH | STACK},
	{0, 0xff, 0xff, 4, 4, MODRM | BRANCH}, {0, 0xff, 0xff, 6, 6, MODRM | STACK},
	{1, 0x40, 0x4f, ANY, 0, MODRM}, {1, 0x90, 0x9f, ANY, 0, MODRM},
	{1, 0xa3, 0xa3, ANY, 0, MODRM | BITS}, {1, 0xab, 0xab, ANY, 0, MODRM | BITS | LOCK},
	{1, 0xb3, 0xb3, ANY, 0, MODRM | BITS | LOCK}, {1, 0xbb, 0xbb, ANY, 0, MODRM | BITS | LOCK},
	{1, 0xba, 0xba, 4, 7, MODRM | IMM8 | BITS},
	{1, 0xba, 0xba, 5, 7, MODRM | IMM8 | BITS | LOCK},
	{1, 0xa4, 0xa4, ANY, 0, MODRM | IMM8 | SHIFT_D}, {1, 0xa5, 0xa5, ANY, 0, MODRM | SHIFT_D},
	{1, 0xac, 0xac, ANY, 0, MODRM | IMM8 | SHIFT_D}, {1, 0xad, 0xad, ANY, 0, MODRM | SHIFT_D},
	{1, 0xaf, 0xaf, ANY, 0, MODRM | PRODUCT}, {1, 0xb0, 0xb1, ANY, 0, MODRM | LOCK},
	{1, 0xb6, 0xb7, ANY, 0, MODRM}, {1, 0xbe, 0xbf, ANY, 0, MODRM},
	{1, 0xc0, 0xc1, ANY, 0, MODRM | LOCK}, {1, 0xc3, 0xc3, ANY, 0, MODRM | NO_66},
	{1, 0xc7, 0xc7, 1, 1, MODRM | LOCK | ALIGN | NO_66}, {2, 0xf0, 0xf1, ANY, 0, MODRM},
	{1, 0x10, 0x13, ANY, 0, V}, {1, 0x16, 0x17, ANY, 0, V}, {1, 0x28, 0x29, ANY, 0, V | ALIGN},
	{1, 0x2b, 0x2b, ANY, 0, V | ALIGN}, {1, 0x10, 0x13, ANY, 0, V | P(0x66)},
	{1, 0x16, 0x17, ANY, 0, V | P(0x66)}, {1, 0x28, 0x29, ANY, 0, V | ALIGN | P(0x66)},
	{1, 0x2b, 0x2b, ANY, 0, V | ALIGN | P(0x66)}, {1, 0x10, 0x11, ANY, 0, V | P(0xf2)},
	{1, 0x10, 0x11, ANY, 0, V | P(0xf3)}, {1, 0x6e, 0x6e, ANY, 0, V | P(0x66)},
	{1, 0x7e, 0x7e, ANY, 0, V | P(0x66)}, {1, 0x7e, 0x7e, ANY, 0, V | P(0xf3)},
	{1, 0xd6, 0xd6, ANY, 0, V | P(0x66)}, {1, 0x6f, 0x6f, ANY, 0, V | ALIGN | P(0x66)},
	{1, 0x7f, 0x7f, ANY, 0, V | ALIGN | P(0x66)}, {1, 0xe7, 0xe7, ANY, 0, V | ALIGN | P(0x66)},
	{1, 0x6f, 0x6f, ANY, 0, V | P(0xf3)}, {1, 0x7f, 0x7f, ANY, 0, V | P(0xf3)},
	{2, 0x2a, 0x2a, ANY, 0, V | ALIGN | P(0x66)},
};
/* clang-format on */

struct trial {
	const struct instruction *kind;
	u8 bytes[15];
	u32 length;
	u64 target; /* linear address of the operand */
	bool locked, rep;
	u8 operand_size;
	u8 prefix_rex;
};

static u8 *host_pages; /* the processor's memory; the emulator's copy is m.memory */
static u8 *host_code;
static u64 xmm_before[32];

static void put(struct trial *t, u64 value, u32 size)
{
	memcpy(t->bytes + t->length, &value, size);
	t->length += size;
}

static u64 interesting(void)
{
	static const u64 values[] = {
		0, 0x7f,  0x80,	      0xff,	  0x7fff,     0x8000,	  0xffff,
		1, ~0ull, 0x7fffffff, 0x80000000, 0xffffffff, ~0ull >> 1, 1ull << 63,
	};
	u64 r = next_random();

	return r & 3 ? next_random() : values[(r >> 2) % ARRAY_SIZE(values)];
}

/* Prefixes and REX; fixes the operand size. */
static void make_prefixes(struct trial *t, u32 opcode, bool *address32)
{
	static const u8 ignored[] = {0x26, 0x2e, 0x36, 0x3e};
	u32 f = t->kind->features;
	u64 r = next_random();
	bool word = !(r & 3) && !(f & (NO_66 | BRANCH));
	bool rex = r >> 2 & 1;

	t->locked = (f & LOCK) && (r >> 3 & 1);
	t->rep = (f & STRING) && (r >> 4 & 3);
	*address32 = (r >> 6 & 7) == 0 && !(f & STACK);
	if (word)
		put(t, 0x66, 1);
	if (*address32)
		put(t, 0x67, 1);
	if (f >> 24)
		put(t, f >> 24, 1);
	if (t->locked)
		put(t, 0xf0, 1);
	if (t->rep)
		put(t, r >> 9 & 1 ? 0xf2 : 0xf3, 1);
	if ((r >> 10 & 7) == 0 && !(f & BRANCH))
		put(t, ignored[(r >> 13) & 3], 1);
	if (rex) {
		t->prefix_rex = 0x40 | (r >> 16 & 15);
		put(t, t->prefix_rex, 1);
	}
	t->operand_size = t->prefix_rex & 8 ? 8 : word ? 2 : 4;
	if ((f & (STACK | BRANCH)) && !word)
		t->operand_size = 8;
	if ((f & STACK) && word && (t->prefix_rex & 8))
		t->operand_size = 8;
}

/* ModRM, SIB and displacement for t->target; sets the registers that make it so. */
static void make_modrm(struct trial *t, u32 opcode, u32 reg, bool address32, u64 *gprs,
		       u32 trailing)
{
	u32 mod = next_random() % 3, rm = next_random() & 7, index = GPR_RSP, scale = 0;
	u32 f = t->kind->features, base = rm;
	u64 mask = address32 ? 0xffffffff : ~0ull, need = t->target;
	bool stack_base;
	s64 disp;

	if (rm == 4) {
		base = next_random() & 7;
		index = (next_random() & 7) | (t->prefix_rex & 2) << 2;
		scale = next_random() & 3;
	}
	stack_base = base == 4 && !(t->prefix_rex & 1);
	if (stack_base && (f & STACK)) {
		mod = 1;
		index = GPR_RSP;
	}
	if (index == (base | (t->prefix_rex & 1) << 3))
		index = GPR_RSP;
	if (index == GPR_RSP)
		t->prefix_rex &= ~2;
	for (u32 i = 0; i < t->length; i++) /* the REX already written is the last prefix */
		if (i + 1 == t->length && (t->bytes[i] & 0xf0) == 0x40)
			t->bytes[i] = t->prefix_rex;
	if (t->kind->map)
		put(t, 0x0f, 1);
	if (t->kind->map == 2)
		put(t, 0x38, 1);
	put(t, opcode, 1);
	put(t, mod << 6 | (reg & 7) << 3 | rm, 1);
	if (rm == 4)
		put(t, scale << 6 | (index & 7) << 3 | base, 1);
	disp = mod == 1 ? (s8)next_random() : mod == 2 ? (s32)next_random() : 0;
	if (mod == 0 && base == 5) {
		if (rm == 5) /* RIP-relative */
			disp = (s64)(t->target - ((u64)host_code + t->length + 4 + trailing));
		else
			disp = (s64)(t->target - (index == GPR_RSP ? 0 : gprs[index] << scale));
		if (rm == 4 && index != GPR_RSP && disp != (s32)disp) {
			gprs[index] = 0;
			disp = (s64)t->target;
		}
		put(t, (u64)disp, 4);
		return;
	}
	need -= (u64)disp;
	if (index != GPR_RSP)
		need -= gprs[index] << scale;
	base |= (t->prefix_rex & 1) << 3;
	gprs[base] = (gprs[base] & ~mask) | (need & mask);
	put(t, (u64)disp, mod == 1 ? 1 : mod == 2 ? 4 : 0);
}

static u64 scratch_address(void)
{
	u64 r = next_random();
	u64 offset = PAGE_SIZE + 512 + r % (2 * PAGE_SIZE - 1024);

	if (r >> 32 & 1) /* near the end of a page */
		offset = 2 * PAGE_SIZE - 20 + (r >> 33) % 24;
	return m.base + offset;
}

/* Builds one trial; false: not usable, try another. */
static bool make_trial(struct trial *t, u64 *gprs)
{
	const struct instruction *k = &instructions[next_random() % ARRAY_SIZE(instructions)];
	u32 opcode = k->first + next_random() % (k->last - k->first + 1u);
	u32 reg = next_random() & 7, immediate = 0;
	bool address32;

	*t = (struct trial){.kind = k, .target = scratch_address()};
	for (u32 i = 0; i < 16; i++)
		gprs[i] = interesting();
	gprs[GPR_RSP] = m.base + 2 * PAGE_SIZE - 256 + 8 * (next_random() & 63);
	if (k->features & ALIGN)
		t->target &= ~15ull;
	if (k->reg_first != ANY)
		reg = k->reg_first + next_random() % (k->reg_last - k->reg_first + 1u);
	make_prefixes(t, opcode, &address32);
	if (k->features & IMM8)
		immediate = 1;
	else if (k->features & IMMZ)
		immediate = t->operand_size == 2 ? 2 : 4;
	if (k->features & BITS) {
		u64 mask = size_mask(t->operand_size);
		u32 index = reg | (t->prefix_rex & 4) << 1;

		gprs[index] = (gprs[index] & ~mask) | ((next_random() % 8000 - 4000) & mask);
	}
	if (k->features & MODRM) {
		u64 before = gprs[reg | (t->prefix_rex & 4) << 1];

		make_modrm(t, opcode, reg, address32, gprs, immediate);
		if ((k->features & BITS) && !immediate &&
		    gprs[reg | (t->prefix_rex & 4) << 1] != before)
			return false; /* the bit offset became an address */
	} else {
		if (k->map)
			put(t, 0x0f, 1);
		put(t, opcode, 1);
		if (k->features & MOFFS)
			put(t, t->target, address32 ? 4 : 8);
	}
	put(t, next_random(), immediate);
	if (k->features & STRING) {
		u64 high = address32 ? next_random() << 32 : 0;

		gprs[GPR_RSI] = scratch_address() | high;
		gprs[GPR_RDI] = scratch_address() | high;
		gprs[GPR_RCX] =
			(next_random() % 100 ? next_random() % 12 : next_random() % 60) | high;
		if (next_random() % 200 == 0)
			gprs[GPR_RCX] = 60 + next_random() % 10;
		/* Processors differ on the upper halves when a 32-bit count is 0. */
		if (address32 && !(u32)gprs[GPR_RCX])
			gprs[GPR_RCX]++;
	}
	return t->length <= 15;
}

static u64 undefined_flags(const struct trial *t, const struct insn *i, u64 cl)
{
	u32 f = t->kind->features, bits = 8 * i->operand_size, count;
	u64 undefined = 0;

	if (f & LOGIC) {
		u32 op = t->kind->reg_first == ANY ? i->opcode >> 3 & 7 : i->modrm >> 3 & 7;

		if (op == ALU_AND || op == ALU_OR || op == ALU_XOR || i->opcode >= 0x84)
			undefined |= RFLAGS_AF;
	}
	if (f & PRODUCT)
		undefined |= RFLAGS_SF | RFLAGS_ZF | RFLAGS_AF | RFLAGS_PF;
	if (f & BITS)
		undefined |= RFLAGS_OF | RFLAGS_SF | RFLAGS_AF | RFLAGS_PF;
	if (!(f & (SHIFT | SHIFT_D)))
		return undefined;
	count = f & IMM8 ? i->immediate : (f & SHIFT) && i->opcode < 0xd2 ? 1 : cl;
	count &= i->operand_size == 8 ? 63 : 31;
	if (count > 1)
		undefined |= RFLAGS_OF;
	if (count && ((f & SHIFT_D) || (i->modrm >> 3 & 7) >= 4)) {
		undefined |= RFLAGS_AF;
		if (count >= bits && (i->modrm >> 3 & 7) != 7)
			undefined |= RFLAGS_CF;
	}
	return undefined;
}

/* SHLD and SHRD of 16 bits by more than 16 leave even the result undefined. */
static bool result_undefined(const struct trial *t, const struct insn *i, u64 cl)
{
	u32 count = (t->kind->features & IMM8 ? i->immediate : cl) & 31;

	return (t->kind->features & SHIFT_D) && i->operand_size == 2 && count > 16;
}

static void print_trial(const struct trial *t, const char *what)
{
	fprintf(stderr, "%s:", what);
	for (u32 i = 0; i < t->length; i++)
		fprintf(stderr, " %02x", t->bytes[i]);
	fprintf(stderr, " target %llx\n", (unsigned long long)t->target);
}

static void poke(u64 offset, const void *bytes, u32 size)
{
	memcpy(m.memory + offset, bytes, size);
	memcpy(host_pages + offset, bytes, size);
}

/* Random content around what the trial touches, the same on both sides. */
static void fill_memory(const struct trial *t, const u64 *gprs)
{
	u64 offset = t->target - m.base, value = interesting();

	if (t->kind->features & BRANCH)
		value = (u64)host_return;
	else if (next_random() & 1)
		value = gprs[GPR_RAX]; /* lets CMPXCHG succeed */
	poke(offset, &value, 8);
	if (t->kind->features & ALIGN) {
		u32 half = t->prefix_rex & 8 ? 8 : 4;

		value = next_random() & 1 ? gprs[GPR_RDX] : next_random();
		poke(offset + half, &value, half);
	}
	if (!(t->kind->features & STRING))
		return;
	for (u32 i = 0; i < 256; i++) { /* runs of equal bytes, for CMPS and SCAS */
		u64 from = gprs[i & 1 ? GPR_RSI : GPR_RDI] - m.base;

		value = i & 2 ? next_random() & 0x0101010101010101 : 0;
		if (next_random() % 16 == 0)
			value = gprs[GPR_RAX];
		poke(((u32)from & ~7u) + (i / 2 - 64u) * 8, &value, 8);
	}
}

static void run_on_host(const struct trial *t, const u64 *gprs, u64 rflags)
{
	static const u8 jump[6] = {0xff, 0x25, 0, 0, 0, 0};
	u64 back = (u64)host_return;

	memcpy(host_code, t->bytes, t->length);
	memcpy(host_code + t->length, jump, 6);
	memcpy(host_code + t->length + 6, &back, 8);
	memcpy(host.gpr, gprs, sizeof(host.gpr));
	memcpy(host.fxsave + 160, xmm_before, sizeof(xmm_before));
	host.rflags = rflags;
	host.code = (u64)host_code;
	host_run();
}

static enum emulation_result run_in_emulator(const struct trial *t, const u64 *gprs, u64 rflags)
{
	static const enum page_kind kinds[] = {PAGE_RAM, PAGE_DEVICE, PAGE_USER};
	enum emulation_result result;

	u8 *xmm;

	for (u32 i = 0; i < PAGES; i++)
		m.kind[i] = kinds[next_random() % 3];
	memset(m.code, 0xcc, sizeof(m.code));
	memcpy(m.code, t->bytes, t->length);
	memcpy(m.vcpu.v.gpr, gprs, sizeof(m.vcpu.v.gpr));
	if (t->kind->features & VECTOR)
		for (u32 i = 0; i < ARRAY_SIZE(xmm_before); i++)
			xmm_before[i] = next_random();
	/* On the processor, or in the XSAVE area. */
	m.vcpu.v.loaded = next_random() & 1;
	xmm = (m.vcpu.v.loaded ? m.fxsave : m.area) + 160;
	memcpy(xmm, xmm_before, sizeof(xmm_before));
	m.vcpu.v.rip = (u64)host_code;
	m.regs[VREG_RFLAGS] = rflags;
	m.regs[VREG_CPL] = next_random() & 1 ? 3 : 0;
	m.raised.count = m.skipped = m.retired = m.log_count = 0;
	for (u32 i = 0; i < 80; i++) { /* a repeated one is left after each write to the VMM */
		result = emulate_all();
		if (result != EMULATE_DONE || m.raised.count || m.vcpu.v.rip != (u64)host_code)
			break;
	}
	return result;
}

static void compare_trial(const struct trial *t, const u64 *gprs, u64 rflags)
{
	const struct insn *i = &m.vcpu.emulation.insn;
	u64 flags =
		RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF | RFLAGS_DF;
	u64 rip = (u64)host_code + t->length;

	if (t->kind->features & BRANCH)
		rip = (u64)host_return;
	flags &= ~undefined_flags(t, i, gprs[GPR_RCX]);
	if (m.vcpu.v.rip != rip) {
		print_trial(t, "rip");
		fail_msg("rip %llx, not %llx", (unsigned long long)m.vcpu.v.rip,
			 (unsigned long long)rip);
	}
	for (u32 r = 0; r < 16; r++) {
		if (m.vcpu.v.gpr[r] == host.gpr[r])
			continue;
		print_trial(t, "register");
		fail_msg("register %u: %llx, processor %llx, before %llx", r,
			 (unsigned long long)m.vcpu.v.gpr[r], (unsigned long long)host.gpr[r],
			 (unsigned long long)gprs[r]);
	}
	if ((m.regs[VREG_RFLAGS] ^ host.rflags) & flags) {
		print_trial(t, "flags");
		fail_msg("flags %llx, processor %llx, before %llx, compared %llx, cl %llx",
			 (unsigned long long)m.regs[VREG_RFLAGS], (unsigned long long)host.rflags,
			 (unsigned long long)rflags, (unsigned long long)flags,
			 (unsigned long long)(gprs[GPR_RCX] & 0xff));
	}
	if (memcmp((m.vcpu.v.loaded ? m.fxsave : m.area) + 160, host.fxsave + 160, 256)) {
		print_trial(t, "xmm");
		fail_msg("XMM registers differ");
	}
	for (u32 at = 0; memcmp(m.memory, host_pages, PAGES * PAGE_SIZE); at++) {
		if (m.memory[at] == host_pages[at])
			continue;
		print_trial(t, "memory");
		fail_msg("offset %x: %02x, processor %02x", at, m.memory[at], host_pages[at]);
	}
}

/* The host's selectors, for MOV from segment registers. */
static void host_segments(void)
{
	__asm__("mov %%es, %0" : "=r"(m.segments[SEG_ES].selector));
	__asm__("mov %%cs, %0" : "=r"(m.segments[SEG_CS].selector));
	__asm__("mov %%ss, %0" : "=r"(m.segments[SEG_SS].selector));
	__asm__("mov %%ds, %0" : "=r"(m.segments[SEG_DS].selector));
	__asm__("mov %%fs, %0" : "=r"(m.segments[SEG_FS].selector));
	__asm__("mov %%gs, %0" : "=r"(m.segments[SEG_GS].selector));
}

#define COMPARED_AT_LEAST 2000000u
#define SECONDS_AT_MOST	  60

/* For 15 seconds and two million instructions, or for KEEL_SECONDS. */
static void test_against_processor(void **state)
{
	u64 seed = number_from("KEEL_SEED", (u64)time(NULL) << 16 | clock());
	u64 least = getenv("KEEL_SECONDS") ? 0 : COMPARED_AT_LEAST;
	time_t start = time(NULL), end = start + (time_t)number_from("KEEL_SECONDS", 15);
	u64 count = 0, compared = 0, seen[ARRAY_SIZE(instructions)] = {0};

	machine_reset();
	printf("emulate: KEEL_SEED=%#llx\n", (unsigned long long)seed);
	random_state = seed | 1;
	/* Below 2 GiB, so that 32-bit addresses and displacements reach them. */
	host_pages = mmap(NULL, PAGES * PAGE_SIZE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	host_code = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	assert_true(host_pages != MAP_FAILED && host_code != MAP_FAILED);
	m.base = (u64)host_pages;
	memset(m.memory, 0, PAGES * PAGE_SIZE);
	host_segments();
	__asm__("fxsave64 %0" : "=m"(host.fxsave));
	while ((count & 0xfff) || time(NULL) < end ||
	       (compared < least && time(NULL) < start + SECONDS_AT_MOST)) {
		u64 gprs[16], rflags = RFLAGS_ONE | (next_random() & 0xcd5) | RFLAGS_IF;
		struct trial t;

		if (!make_trial(&t, gprs))
			continue;
		rflags &= t.kind->features & STRING ? ~0ull : ~(u64)RFLAGS_DF;
		fill_memory(&t, gprs);
		if (run_in_emulator(&t, gprs, rflags) != EMULATE_DONE || m.raised.count) {
			print_trial(&t, "not executed");
			fail_msg("raised %u (vector %u)", m.raised.count, m.raised.vector);
		}
		count++;
		seen[t.kind - instructions]++;
		if (result_undefined(&t, &m.vcpu.emulation.insn, gprs[GPR_RCX])) {
			memcpy(host_pages, m.memory, PAGES * PAGE_SIZE);
			continue;
		}
		run_on_host(&t, gprs, rflags);
		compare_trial(&t, gprs, rflags);
		compared++;
	}
	printf("emulate: %llu instructions agree with the processor\n",
	       (unsigned long long)compared);
	assert_true(compared >= least);
	for (u32 i = 0; i < ARRAY_SIZE(seen); i++)
		assert_true(seen[i] > 0);
	munmap(host_pages, PAGES * PAGE_SIZE);
	munmap(host_code, PAGE_SIZE);
}

/* ---- moves, faults and segments ------------------------------------------------------------- */

static void expect_done(void)
{
	assert_int_equal(emulate_all(), EMULATE_DONE);
	assert_int_equal(m.raised.count, 0);
	assert_int_equal(m.skipped, 1);
	m.skipped = m.retired = 0;
}

static void expect_fault(u32 vector, u32 error)
{
	u64 rip = m.vcpu.v.rip;

	assert_int_equal(emulate_all(), EMULATE_DONE);
	expect_raised(vector, error);
	assert_int_equal(m.vcpu.v.rip, rip);
	assert_int_equal(m.log_count, 0);
}

/* A write to the xAPIC page of a VM whose memory is mapped one to one: 4 bytes, once. */
static void test_device_write(void **state)
{
	machine_reset();
	m.vm.mem.identity = true;
	m.base = 0xfee00000;
	m.kind[0] = PAGE_DEVICE;
	gpr(RBX) = 0xfee00300;
	gpr(RAX) = 0xfffffffff00c4500;
	CODE("\x89\x03"); /* mov %eax, (%rbx) */
	expect_done();
	assert_int_equal(m.log_count, 1);
	assert_int_equal(m.log[0].gpa, 0xfee00300);
	assert_int_equal(m.log[0].value, 0xf00c4500);
	assert_int_equal(m.log[0].size, 4);
	assert_int_equal(m.vcpu.v.rip, 0x400002);

	CODE("\x81\x23\x00\x00\x00\xf0"); /* andl $0xf0000000, (%rbx): a read and a write */
	expect_done();
	assert_int_equal(m.log_count, 3);
	assert_false(m.log[1].write);
	assert_int_equal(m.log[2].value, 0xf0000000);
}

static void test_canonical(void **state)
{
	machine_reset();
	gpr(RBX) = 0x0000800000000000;
	CODE("\x8b\x03"); /* mov (%rbx), %eax */
	expect_fault(VECTOR_GP, 0);
	gpr(RBX) = 0x00007ffffffffffd; /* its last byte is not canonical */
	expect_fault(VECTOR_GP, 0);
	gpr(RBP) = 0x0000800000000000;
	CODE("\x8b\x45\x00"); /* mov (%rbp), %eax */
	expect_fault(VECTOR_SS, 0);
	/* 57 bits of linear address: the page tables decide */
	m.regs[VREG_CR4] |= CR4_LA57;
	expect_fault(VECTOR_PF, 0);
	m.segments[SEG_FS].base = 1ull << 60;
	gpr(RBX) = 0;
	CODE("\x64\x8b\x03"); /* mov %fs:(%rbx), %eax */
	expect_fault(VECTOR_GP, 0);
}

static void test_fs_base(void **state)
{
	machine_reset();
	m.segments[SEG_GS].base = m.base;
	m.segments[SEG_DS].base = 0x123456; /* ignored in 64-bit mode */
	m.segments[SEG_DS].attr = 0;
	m.memory[0x10] = 0x5a;
	gpr(RBX) = 0x10;
	CODE("\x65\x8a\x03"); /* mov %gs:(%rbx), %al */
	expect_done();
	assert_int_equal(gpr(RAX), 0x5a);
	gpr(RBX) = m.base + 0x10;
	gpr(RAX) = 0;
	CODE("\x8a\x03");
	expect_done();
	assert_int_equal(gpr(RAX), 0x5a);
}

/* 32-bit protected mode with DS at page 0. */
static void protected_mode(u32 type, u32 limit)
{
	machine_reset();
	m.regs[VREG_EFER] = 0;
	flat_segments(false, true);
	m.segments[SEG_DS] = (struct segment){
		.attr = SEG_S | SEG_P | SEG_DB | type, .base = m.base, .limit = limit};
	m.segments[SEG_SS] = m.segments[SEG_DS];
}

static void test_limits(void **state)
{
	protected_mode(3, 0xfff);
	gpr(RBX) = gpr(RBP) = 0xffc;
	CODE("\x8b\x03"); /* mov (%ebx), %eax */
	expect_done();
	gpr(RBX) = gpr(RBP) = 0xffd;
	expect_fault(VECTOR_GP, 0);
	CODE("\x8b\x45\x00"); /* mov (%ebp), %eax */
	expect_fault(VECTOR_SS, 0);
	gpr(RBX) = 0xffffffff; /* wraps: beyond any limit */
	m.segments[SEG_DS].limit = 0xffffffff;
	CODE("\x8b\x03");
	expect_fault(VECTOR_GP, 0);
	m.segments[SEG_DS].attr = 0; /* null */
	gpr(RBX) = 0;
	expect_fault(VECTOR_GP, 0);
}

/* An access across the end of the 32-bit linear address space goes on at 0. */
static void test_linear_wrap(void **state)
{
	protected_mode(3, 0xffffffff);
	m.base = 0xfffff000;
	m.segments[SEG_DS].base = 0xfffff000;
	gpr(RBX) = 0xffe;
	CODE("\x8b\x03");
	expect_fault(VECTOR_PF, 0);
	assert_int_equal(m.raised.address, 0);
}

static void test_types(void **state)
{
	protected_mode(1, 0xfff); /* read-only data */
	gpr(RBX) = 0x10;
	CODE("\x8b\x03");
	expect_done();
	CODE("\x89\x03");
	expect_fault(VECTOR_GP, 0);
	CODE("\x01\x03"); /* add %eax, (%ebx) */
	expect_fault(VECTOR_GP, 0);
	protected_mode(0xb, 0xfff); /* readable code */
	gpr(RBX) = 0x10;
	CODE("\x8b\x03");
	expect_done();
	CODE("\x89\x03");
	expect_fault(VECTOR_GP, 0);
	protected_mode(9, 0xfff); /* execute only */
	CODE("\x8b\x03");
	expect_fault(VECTOR_GP, 0);
}

static void test_expand_down(void **state)
{
	protected_mode(7, 0xfff);
	gpr(RBX) = 0x1000;
	CODE("\x8b\x03");
	expect_done();
	gpr(RBX) = 0xfff;
	expect_fault(VECTOR_GP, 0);
	gpr(RBX) = 0xfffffffe; /* beyond 4 GiB */
	expect_fault(VECTOR_GP, 0);
	m.segments[SEG_DS].attr &= ~SEG_DB; /* up to 64 KiB only */
	gpr(RBX) = 0xfffd;
	expect_fault(VECTOR_GP, 0);
}

static void test_real_mode(void **state)
{
	protected_mode(3, 0xffff);
	m.regs[VREG_CR0] = CR0_ET;
	m.segments[SEG_CS] = (struct segment){.attr = SEG_S | SEG_P | 0xb, .limit = 0xffff};
	m.segments[SEG_DS].attr = SEG_S | SEG_P | 0x9; /* types do not count */
	gpr(RBX) = 0xffff0010;
	gpr(RSI) = 0x20;
	gpr(RAX) = 0xaabb;
	CODE("\x89\x40\x02"); /* mov %ax, 2(%bx,%si) */
	expect_done();
	assert_int_equal(load_memory(m.base + 0x32, 2), 0xaabb);
	CODE("\xa1\x32\x00"); /* mov 0x32, %ax */
	gpr(RAX) = 0;
	expect_done();
	assert_int_equal(gpr(RAX), 0xaabb);
	CODE("\x8b\x0e\x32\x00"); /* mov 0x32, %cx, by ModRM */
	expect_done();
	assert_int_equal(gpr(RCX), 0xaabb);
	gpr(RBX) = 0xffff;
	gpr(RSI) = 0;
	CODE("\x8b\x00"); /* mov (%bx,%si), %ax */
	expect_fault(VECTOR_GP, 0);
	/* loading a segment register changes selector and base, nothing else */
	gpr(RBX) = 0x40;
	m.memory[0x40] = 0x34;
	m.memory[0x41] = 0x12;
	CODE("\x8e\x07"); /* mov (%bx), %es */
	m.segments[SEG_ES].limit = 0x8fffffff;
	expect_done();
	assert_int_equal(m.segments[SEG_ES].selector, 0x1234);
	assert_int_equal(m.segments[SEG_ES].base, 0x12340);
	assert_int_equal(m.segments[SEG_ES].limit, 0x8fffffff);
}

static void test_page_faults(void **state)
{
	machine_reset();
	m.kind[1] = PAGE_FAULT;
	gpr(RBX) = m.base + PAGE_SIZE - 2;
	CODE("\x8b\x03");
	expect_fault(VECTOR_PF, 0);
	assert_int_equal(m.raised.address, m.base + PAGE_SIZE); /* the second page's */
	assert_int_equal(m.walk_access, WALK_READ);
	m.regs[VREG_CPL] = 3;
	CODE("\x89\x03");
	expect_fault(VECTOR_PF, 6);
	assert_int_equal(m.walk_access, WALK_WRITE | WALK_USER);
	/* nothing of a write that faults in its second page is done */
	m.kind[0] = PAGE_DEVICE;
	expect_fault(VECTOR_PF, 6);
	/* a read-modify-write checks for writing before it reads */
	m.regs[VREG_CPL] = 0;
	m.kind[0] = PAGE_DEVICE;
	m.kind[1] = PAGE_NO_WRITE;
	CODE("\x01\x03");
	expect_fault(VECTOR_PF, 3);
	assert_int_equal(m.raised.address, m.base + PAGE_SIZE);
	CODE("\x39\x03"); /* cmp only reads */
	expect_done();
}

static void test_alignment_check(void **state)
{
	machine_reset();
	m.regs[VREG_CPL] = 3;
	m.regs[VREG_CR0] |= CR0_AM;
	m.regs[VREG_RFLAGS] |= RFLAGS_AC;
	m.kind[0] = PAGE_DEVICE;
	gpr(RBX) = m.base + 2;
	CODE("\x8b\x03");
	expect_fault(VECTOR_AC, 0);
	CODE("\x66\x8b\x03");
	expect_done();
	CODE("\x8b\x03");
	m.regs[VREG_CPL] = 0;
	expect_done();
	m.regs[VREG_CPL] = 3;
	m.regs[VREG_CR0] &= ~CR0_AM;
	expect_done();
	/* a page fault comes first */
	m.regs[VREG_CR0] |= CR0_AM;
	m.kind[0] = PAGE_FAULT;
	m.log_count = 0;
	expect_fault(VECTOR_PF, 4);
	/* CMPXCHG16B demands its alignment at every privilege level */
	machine_reset();
	gpr(RBX) = m.base + 8;
	CODE("\x48\x0f\xc7\x0b");
	expect_fault(VECTOR_GP, 0);
}

/* ---- segment registers ---------------------------------------------------------------------- */

#define TABLE 0x100 /* the GDT, in page 0 */

static void load_selector(u32 modrm_reg, u16 selector, u64 descriptor)
{
	protected_mode(3, 0xffff);
	m.segments[SEG_GDTR] = (struct segment){.base = m.base + TABLE, .limit = 0x1f};
	memcpy(m.memory + TABLE + 0x10, &descriptor, 8);
	memcpy(m.memory + 0x20, &selector, 2);
	gpr(RBX) = 0x20;
	m.code[0] = 0x8e;
	m.code[1] = 0x03 | modrm_reg << 3;
}

static void test_segment_load(void **state)
{
	load_selector(SEG_ES, 0x13, 0x12cff356789affffull);
	expect_done();
	assert_int_equal(m.segments[SEG_ES].base, 0x1256789a);
	assert_int_equal(m.segments[SEG_ES].limit, 0xffffffff);
	assert_int_equal(m.segments[SEG_ES].attr, 0xcf3);
	assert_int_equal(m.segments[SEG_ES].selector, 0x13);

	load_selector(SEG_FS, 0x10, 0x0040920000000010ull); /* not accessed yet, byte limit */
	expect_done();
	assert_int_equal(m.memory[TABLE + 0x15], 0x93);
	assert_int_equal(m.segments[SEG_FS].limit, 0x10);
	assert_int_equal(m.segments[SEG_FS].attr, 0x493);
	assert_int_equal(m.walk_access, WALK_WRITE | WALK_IMPLICIT);

	load_selector(SEG_ES, 0, 0);
	expect_done();
	assert_int_equal(m.segments[SEG_ES].attr & SEG_P, 0);

	load_selector(SEG_SS, 0x10, 0x00cf93000000ffffull);
	expect_done();
	assert_int_equal(m.regs[VREG_INT_SHADOW], 1);
}

static void test_segment_faults(void **state)
{
	static const struct {
		u32 reg, selector;
		u64 descriptor;
		u32 vector, error;
	} cases[] = {
		{SEG_ES, 0x20, 0, VECTOR_GP, 0x20},		     /* beyond the limit */
		{SEG_ES, 0x14, 0, VECTOR_GP, 0x14},		     /* no LDT */
		{SEG_ES, 0x10, 0x00cf13000000ffff, VECTOR_NP, 0x10}, /* not present */
		{SEG_SS, 0x10, 0x00cf13000000ffff, VECTOR_SS, 0x10},
		{SEG_ES, 0x10, 0x00cf99000000ffff, VECTOR_GP, 0x10}, /* execute only */
		{SEG_ES, 0x10, 0x00cf83000000ffff, VECTOR_GP, 0x10}, /* system */
		{SEG_ES, 0x11, 0x00cf93000000ffff, VECTOR_GP, 0x10}, /* RPL 1 > DPL 0 */
		{SEG_SS, 0x10, 0x00cf91000000ffff, VECTOR_GP, 0x10}, /* not writable */
		{SEG_SS, 0x10, 0x00cff3000000ffff, VECTOR_GP, 0x10}, /* DPL 3 at CPL 0 */
		{SEG_SS, 0x00, 0, VECTOR_GP, 0},
	};

	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		load_selector(cases[i].reg, cases[i].selector, cases[i].descriptor);
		expect_fault(cases[i].vector, cases[i].error);
	}
}

/* Descriptor tables are read by the processor itself: as supervisor, from where they are. */
static void test_segment_table_access(void **state)
{
	load_selector(SEG_ES, 0x13, 0x12cff256789affffull); /* not accessed yet */
	m.regs[VREG_CPL] = 3;
	m.segments[SEG_DS].base += PAGE_SIZE; /* operand in page 1, table in page 0 */
	memcpy(m.memory + PAGE_SIZE + 0x20, "\x13\x00", 2);
	m.kind[0] = PAGE_NO_WRITE;
	expect_fault(VECTOR_PF, 3);
	assert_int_equal(m.walk_access, WALK_WRITE | WALK_IMPLICIT);
	m.kind[0] = PAGE_FAULT;
	expect_fault(VECTOR_PF, 0);
	m.kind[0] = PAGE_MISSING;
	assert_int_equal(emulate(&m.vcpu, NULL), EMULATE_FAULT);
	m.kind[0] = PAGE_USER;
	assert_int_equal(emulate(&m.vcpu, NULL), EMULATE_USER);
	m.kind[0] = PAGE_RAM;
	m.segments[SEG_LDTR] =
		(struct segment){.base = m.base + TABLE, .limit = 0x1f, .attr = SEG_P | 2};
	memcpy(m.memory + PAGE_SIZE + 0x20, "\x17\x00", 2);
	expect_done();
	assert_int_equal(m.segments[SEG_ES].selector, 0x17);
}

static void test_null_stack(void **state)
{
	machine_reset(); /* 64-bit mode: allowed below CPL 3 */
	gpr(RBX) = m.base;
	m.memory[0] = m.memory[1] = 0;
	CODE("\x8e\x13"); /* mov (%rbx), %ss */
	expect_done();
	assert_int_equal(m.segments[SEG_SS].attr & SEG_P, 0);
	m.regs[VREG_CPL] = 3;
	m.memory[0] = 3;
	expect_fault(VECTOR_GP, 0);
}

/* ---- several accesses, the VMM, and what may change meanwhile ------------------------------- */

static void expect_user(u64 gpa, u32 length, bool write)
{
	assert_int_equal(m.vcpu.exit.reason, USER_MMIO);
	assert_int_equal(m.vcpu.exit.mmio.gpa.v, gpa);
	assert_int_equal(m.vcpu.exit.mmio.length, length);
	assert_int_equal(m.vcpu.exit.mmio.write, write);
}

static void test_fragments(void **state)
{
	machine_reset();
	m.kind[0] = m.kind[1] = PAGE_USER;
	gpr(RBX) = m.base + PAGE_SIZE - 3;
	memcpy(m.memory + PAGE_SIZE - 3, "\1\2\3\4\5\6\7\x08", 8);
	CODE("\x48\xff\x03"); /* incq (%rbx): 3 + 5 bytes, read and written */
	assert_int_equal(emulate(&m.vcpu, NULL), EMULATE_USER);
	expect_user(m.base + PAGE_SIZE - 3, 3, false);
	serve_user();
	assert_int_equal(emulate_resume(&m.vcpu), EMULATE_USER);
	expect_user(m.base + PAGE_SIZE, 5, false);
	serve_user();
	assert_int_equal(emulate_resume(&m.vcpu), EMULATE_USER);
	assert_int_equal(m.vcpu.v.rip, 0x400000);
	expect_user(m.base + PAGE_SIZE - 3, 3, true);
	assert_memory_equal(m.vcpu.exit.mmio.data, "\2\2\3\0\0\0\0\0", 8);
	serve_user();
	assert_int_equal(emulate_resume(&m.vcpu), EMULATE_USER);
	expect_user(m.base + PAGE_SIZE, 5, true);
	serve_user();
	assert_int_equal(m.vcpu.v.rip, 0x400003); /* the last write: it is complete */
	assert_false(m.vcpu.emulation.active);
	assert_int_equal(m.fetches, 1);
	assert_int_equal(m.user_exits, 4);
	assert_memory_equal(m.memory + PAGE_SIZE - 3, "\2\2\3\4\5\6\7\x08", 8);
}

static void test_wide(void **state)
{
	machine_reset();
	m.kind[0] = PAGE_USER;
	gpr(RBX) = m.base + 0x10;
	gpr(RAX) = 1;
	CODE("\x48\x0f\xc7\x0b"); /* cmpxchg16b (%rbx): two reads, two writes of 8 bytes */
	memset(m.memory, 0, 64);
	expect_done();
	assert_int_equal(m.user_exits, 4);
	assert_int_equal(m.log[1].gpa, m.base + 0x18);
	assert_int_equal(m.log[1].size, 8);
	assert_true(m.log[2].write);
	assert_int_equal(gpr(RAX), 0);
}

/* Half RAM, half MMIO: the instruction is complete when the VMM sees its part. */
static void test_mixed_pages(void **state)
{
	machine_reset();
	m.kind[1] = PAGE_USER;
	memset(m.memory + PAGE_SIZE - 2, 0, 4);
	gpr(RBX) = m.base + PAGE_SIZE - 2;
	gpr(RAX) = 0x44332211;
	CODE("\x89\x03");
	assert_int_equal(emulate(&m.vcpu, NULL), EMULATE_USER);
	expect_user(m.base + PAGE_SIZE, 2, true);
	assert_false(m.vcpu.emulation.active);
	assert_int_equal(m.vcpu.v.rip, 0x400002);
	serve_user();
	assert_memory_equal(m.memory + PAGE_SIZE - 2, "\x11\x22\x33\x44", 4);
}

/* A device register is read once, also if a RAM page goes away while the VMM answers. */
static void test_fault_between(void **state)
{
	machine_reset();
	m.kind[0] = PAGE_USER;
	m.kind[1] = PAGE_MISSING;
	gpr(RSI) = m.base + 8;
	gpr(RDI) = m.base + PAGE_SIZE + 8;
	m.memory[8] = 0x77;
	CODE("\xa4"); /* movsb */
	/* first the missing page, before anything is read */
	assert_int_equal(emulate(&m.vcpu, NULL), EMULATE_FAULT);
	assert_int_equal(m.vcpu.exit.memory.gpa.v, m.base + PAGE_SIZE + 8);
	assert_true(m.vcpu.exit.memory.write);
	assert_int_equal(m.log_count, 0);
	assert_false(m.vcpu.emulation.active);
	m.kind[1] = PAGE_RAM;
	assert_int_equal(emulate(&m.vcpu, NULL), EMULATE_USER);
	serve_user();
	m.kind[1] = PAGE_MISSING;
	assert_int_equal(emulate_resume(&m.vcpu), EMULATE_FAULT);
	assert_true(m.vcpu.emulation.active);
	m.memory[8] = 0x99;
	m.kind[1] = PAGE_RAM;
	assert_int_equal(emulate_resume(&m.vcpu), EMULATE_DONE);
	assert_int_equal(m.memory[PAGE_SIZE + 8], 0x77);
	assert_int_equal(m.user_exits, 1);
	/* a missing page table */
	m.kind[0] = PAGE_NO_TABLE;
	assert_int_equal(emulate(&m.vcpu, NULL), EMULATE_FAULT);
	assert_int_equal(m.vcpu.exit.memory.gpa.v, TABLE_GPA);
	/* only read: it may stand in a read-only slot, whose pages are never asked for to write */
	assert_false(m.vcpu.exit.memory.write);
}

static void test_swapped_instruction(void **state)
{
	machine_reset();
	m.kind[0] = PAGE_USER;
	gpr(RBX) = m.base;
	m.memory[0] = 5;
	gpr(RAX) = 0;
	CODE("\x8a\x03"); /* mov (%rbx), %al */
	assert_int_equal(emulate(&m.vcpu, NULL), EMULATE_USER);
	serve_user();
	CODE("\x0f\x05"); /* another vCPU writes SYSCALL there */
	assert_int_equal(emulate_resume(&m.vcpu), EMULATE_DONE);
	assert_int_equal(gpr(RAX), 5);
	assert_int_equal(m.vcpu.v.rip, 0x400002);
	assert_int_equal(m.fetches, 1);
	/* rewritten before the fetch to what needs no emulation: the processor executes it */
	CODE("\x01\xc0"); /* add %eax, %eax */
	m.skipped = 0;
	assert_int_equal(emulate(&m.vcpu, NULL), EMULATE_DONE);
	assert_int_equal(m.skipped, 0);
	assert_int_equal(gpr(RAX), 5);
}

static void test_tables_change(void **state)
{
	machine_reset();
	m.kind[0] = PAGE_USER;
	gpr(RBX) = m.base;
	CODE("\x8a\x03");
	assert_int_equal(emulate(&m.vcpu, NULL), EMULATE_USER);
	serve_user();
	m.vcpu.emulation.insn.displacement = 1; /* stands for: the address leads elsewhere now */
	assert_int_equal(emulate_resume(&m.vcpu), EMULATE_DONE);
	assert_int_equal(m.vcpu.v.rip, 0x400000);
	assert_false(m.vcpu.emulation.active);
	/* the VMM set RIP in between */
	assert_int_equal(emulate(&m.vcpu, NULL), EMULATE_USER);
	serve_user();
	m.vcpu.v.rip = 0x500000;
	assert_int_equal(emulate_resume(&m.vcpu), EMULATE_DONE);
	assert_int_equal(m.vcpu.v.rip, 0x500000);
	assert_false(m.vcpu.emulation.active);
	assert_int_equal(emulate_resume(&m.vcpu), EMULATE_DONE);
}

static void test_unknown(void **state)
{
	struct vm_exit e = {0};

	machine_reset();
	gpr(RBX) = m.base;
	CODE("\x0f\x58\x03"); /* addps (%rbx), %xmm0 */
	assert_int_equal(emulate(&m.vcpu, NULL), EMULATE_UNKNOWN);
	assert_int_equal(m.vcpu.emulation.insn.length, 3);
	assert_memory_equal(m.vcpu.emulation.insn.bytes, "\x0f\x58\x03", 3);
	CODE("\xff\x3b"); /* group 5 /7 */
	assert_int_equal(emulate(&m.vcpu, NULL), EMULATE_UNKNOWN);
	assert_int_equal(m.vcpu.emulation.insn.length, 15);
	assert_memory_equal(m.vcpu.emulation.insn.bytes, m.code, 15);
	/* the stack or a descriptor table in MMIO: said, not repeated for ever */
	CODE("\xff\xf0"); /* push %rax, long form */
	assert_int_equal(emulate(&m.vcpu, NULL), EMULATE_UNKNOWN);
	CODE("\x8f\xc0");
	assert_int_equal(emulate(&m.vcpu, NULL), EMULATE_UNKNOWN);
	CODE("\x8e\xd8"); /* mov %eax, %ds */
	assert_int_equal(emulate(&m.vcpu, NULL), EMULATE_UNKNOWN);
	CODE("\x04\x01"); /* add $1, %al */
	assert_int_equal(emulate(&m.vcpu, NULL), EMULATE_UNKNOWN);
	CODE("\xff\x3b");
	/* an application does not end its VM */
	m.regs[VREG_CPL] = 3;
	expect_fault(VECTOR_UD, ~0u);
	CODE("\x0f\x58\x03");
	expect_fault(VECTOR_UD, ~0u);
	/* bytes that cannot be fetched */
	m.code_count = 0;
	m.vcpu.fetch_error = -EFAULT;
	assert_int_equal(emulate(&m.vcpu, NULL), EMULATE_FAULT);
	m.vcpu.fetch_error = -EPERM;
	assert_int_equal(emulate(&m.vcpu, NULL), EMULATE_DONE);
	m.regs[VREG_CPL] = 0;
	m.vcpu.fetch_error = -EIO;
	assert_int_equal(emulate(&m.vcpu, NULL), EMULATE_UNKNOWN);
	/* decode assists that end early */
	m.code_count = 15;
	CODE("\xc7\x03\1\2\3\4");
	e.insn_bytes_len = 3;
	memcpy(e.insn_bytes, m.code, 3);
	assert_int_equal(emulate(&m.vcpu, &e), EMULATE_DONE);
	assert_int_equal(load_memory(m.base, 4), 0x04030201);
}

/* A page is marked in the dirty log after it was written: the log may be taken just before. */
static void test_dirty_log(void **state)
{
	machine_reset();
	memset(m.memory, 0, 16);
	gpr(RBX) = m.base;
	gpr(RAX) = 0x1234;
	CODE("\x89\x03");
	expect_done();
	assert_int_equal(m.seen, 0x1234);
	CODE("\xf0\xff\x03"); /* lock incl (%rbx) */
	expect_done();
	assert_int_equal(m.seen, 0x1235);
}

static void test_rom(void **state)
{
	machine_reset();
	m.kind[0] = PAGE_ROM;
	gpr(RBX) = m.base;
	m.memory[0] = 7;
	CODE("\xfe\x03"); /* incb (%rbx): read from the slot, written to the VMM */
	assert_int_equal(emulate(&m.vcpu, NULL), EMULATE_USER);
	expect_user(m.base, 1, true);
	assert_int_equal(m.vcpu.exit.mmio.data[0], 8);
	assert_int_equal(m.memory[0], 7);
}

static void test_not_emulated(void **state)
{
	static const struct {
		const char *bytes;
		u32 count;
	} cases[] = {
		{"\xf7\x33", 2},		 /* div */
		{"\xf2\x0f\x38\xf0\x03", 5},	 /* crc32 */
		{"\xff\x1b", 2},		 /* far call */
		{"\xc5\xf8\x10\x03", 4},	 /* vmovups */
		{"\x0f\x38\x00\x03", 4},	 /* pshufb */
		{"\x0f\x01\x13", 3},		 /* lgdt */
		{"\x0f\xc7\x33", 3},		 /* vmptrld */
		{"\xd8\x03", 2},		 /* fadds */
		{"\x66\x0f\x3a\x0f\x03\x01", 6}, /* palignr */
	};

	machine_reset();
	gpr(RBX) = m.base;
	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		set_code(cases[i].bytes, cases[i].count);
		assert_int_equal(emulate(&m.vcpu, NULL), EMULATE_UNKNOWN);
	}
	assert_int_equal(m.raised.count, 0);
	assert_int_equal(m.retired, 0);
	protected_mode(3, 0xffff);
	CODE("\x63\x03"); /* arpl */
	assert_int_equal(emulate(&m.vcpu, NULL), EMULATE_UNKNOWN);
	/* with a register: the processor's */
	CODE("\x0f\xa3\xc3"); /* bt %eax, %ebx */
	assert_int_equal(emulate(&m.vcpu, NULL), EMULATE_DONE);
	assert_int_equal(m.retired, 0);
}

/* ---- strings -------------------------------------------------------------------------------- */

static void test_repeat(void **state)
{
	machine_reset();
	m.kind[1] = PAGE_DEVICE;
	gpr(RDI) = m.base + PAGE_SIZE;
	gpr(RCX) = 100;
	CODE("\xf3\xaa"); /* rep stosb */
	m.regs[VREG_INT_SHADOW] = 1;
	assert_int_equal(emulate(&m.vcpu, NULL), EMULATE_DONE);
	assert_int_equal(gpr(RCX), 100 - 64);
	assert_int_equal(gpr(RDI), m.base + PAGE_SIZE + 64);
	assert_int_equal(m.vcpu.v.rip, 0x400000);
	assert_int_equal(m.regs[VREG_INT_SHADOW], 0);
	assert_true(m.regs[VREG_RFLAGS] & RFLAGS_RF);
	assert_int_equal(emulate(&m.vcpu, NULL), EMULATE_DONE);
	assert_int_equal(gpr(RCX), 0);
	assert_int_equal(m.vcpu.v.rip, 0x400002);
	assert_int_equal(m.log_count, 100);
	assert_false(m.regs[VREG_RFLAGS] & RFLAGS_RF);
}

static void test_repeat_faults(void **state)
{
	machine_reset();
	m.kind[1] = PAGE_FAULT;
	gpr(RDI) = m.base + PAGE_SIZE - 8;
	gpr(RCX) = 5;
	CODE("\xf3\xab"); /* rep stosl: two fit */
	assert_int_equal(emulate(&m.vcpu, NULL), EMULATE_DONE);
	assert_int_equal(m.raised.vector, VECTOR_PF);
	assert_int_equal(m.raised.address, m.base + PAGE_SIZE);
	assert_int_equal(gpr(RCX), 3);
	assert_int_equal(gpr(RDI), m.base + PAGE_SIZE);
	assert_int_equal(m.vcpu.v.rip, 0x400000);
}

static void test_repeat_step(void **state)
{
	machine_reset();
	gpr(RDI) = m.base;
	gpr(RCX) = 2;
	m.regs[VREG_RFLAGS] |= RFLAGS_TF;
	CODE("\xf3\xaa");
	assert_int_equal(emulate(&m.vcpu, NULL), EMULATE_DONE);
	assert_int_equal(gpr(RCX), 1); /* the trap comes after each iteration */
	assert_int_equal(m.retired, 1);
	assert_int_equal(m.skipped, 0);
	assert_int_equal(emulate(&m.vcpu, NULL), EMULATE_DONE);
	assert_int_equal(m.retired, 2);
	assert_int_equal(m.skipped, 1);
}

/* Each iteration goes to the VMM by itself; registers are those of the finished ones. */
static void test_repeat_user(void **state)
{
	machine_reset();
	m.kind[1] = PAGE_USER;
	gpr(RSI) = m.base;
	gpr(RDI) = m.base + PAGE_SIZE;
	gpr(RCX) = 3;
	memcpy(m.memory, "abcdef", 6);
	CODE("\xf3\x66\xa5"); /* rep movsw */
	for (u32 left = 3; left--;) {
		assert_int_equal(m.vcpu.v.rip, 0x400000);
		assert_int_equal(emulate(&m.vcpu, NULL), EMULATE_USER);
		assert_false(m.vcpu.emulation.active);
		assert_int_equal(gpr(RCX), left);
		assert_int_equal(gpr(RSI), m.base + 2 * (3 - left));
		serve_user();
	}
	assert_int_equal(m.vcpu.v.rip, 0x400003);
	assert_memory_equal(m.memory + PAGE_SIZE, "abcdef", 6);
	assert_int_equal(m.user_exits, 3);
}

static void test_16_bit_string(void **state)
{
	protected_mode(3, 0xffff);
	m.segments[SEG_ES] = m.segments[SEG_DS];
	m.segments[SEG_CS].attr &= ~SEG_DB;
	gpr(RDI) = 0x12340000;
	gpr(RCX) = 0x10001;
	gpr(RAX) = 0xee;
	m.regs[VREG_RFLAGS] |= RFLAGS_DF;
	CODE("\xf3\xaa");
	expect_done();
	assert_int_equal(gpr(RDI), 0x1234ffff);
	assert_int_equal(gpr(RCX), 0x10000);
	assert_int_equal(m.memory[0], 0xee);
}

/* ---- the rest ------------------------------------------------------------------------------- */

static void test_vector(void **state)
{
	machine_reset();
	m.kind[0] = PAGE_USER;
	gpr(RBX) = m.base + 8;
	CODE("\x0f\x28\x03"); /* movaps (%rbx), %xmm0 */
	expect_fault(VECTOR_GP, 0);
	memcpy(m.memory + 8, "0123456789abcdef", 16);
	CODE("\x0f\x10\x03"); /* movups */
	expect_done();
	assert_int_equal(m.user_exits, 2);
	assert_memory_equal(m.area + 160, "0123456789abcdef", 16);
	assert_int_equal(m.area[512], XCR0_SSE);
	m.log_count = 0;
	m.regs[VREG_CR0] |= CR0_TS;
	expect_fault(VECTOR_NM, ~0u);
	m.regs[VREG_CR0] |= CR0_EM;
	expect_fault(VECTOR_UD, ~0u);
	m.regs[VREG_CR0] &= ~(u64)(CR0_TS | CR0_EM);
	m.regs[VREG_CR4] &= ~(u64)CR4_OSFXSR;
	expect_fault(VECTOR_UD, ~0u);
}

static void test_bit_string(void **state)
{
	machine_reset();
	gpr(RBX) = m.base + 0x1000;
	gpr(RAX) = -1ull;
	memset(m.memory, 0, PAGES * PAGE_SIZE);
	CODE("\x48\x0f\xab\x03"); /* bts %rax, (%rbx): the bit before */
	expect_done();
	assert_int_equal(m.memory[0xfff], 0x80);
	gpr(RAX) = 1ull << 63; /* 2^60 bytes down: not canonical */
	expect_fault(VECTOR_GP, 0);
	gpr(RAX) = 0x7fffffffffffffff;
	expect_fault(VECTOR_GP, 0);
	gpr(RAX) = 0xffffffff00000008; /* 32-bit operand: 8 */
	CODE("\x0f\xab\x03");
	expect_done();
	assert_int_equal(m.memory[0x1001], 1);
}

static void test_stack_width(void **state)
{
	protected_mode(3, 0xffff);
	m.segments[SEG_SS].attr &= ~SEG_DB; /* 16-bit stack, 32-bit code */
	gpr(RSP) = 0x12340002;
	gpr(RBX) = 0x10;
	memcpy(m.memory + 0x10, "\1\2\3\4", 4);
	CODE("\x66\xff\x33"); /* pushw (%ebx) */
	expect_done();
	assert_int_equal(gpr(RSP), 0x12340000);
	assert_memory_equal(m.memory, "\1\2", 2);
	CODE("\xff\x33"); /* SP wraps to 0xfffc: beyond this segment's pages */
	m.raised.count = 0;
	expect_fault(VECTOR_PF, 2);
	assert_int_equal(gpr(RSP), 0x12340000);
}

static void test_branch(void **state)
{
	u64 target = 0x0000800000000000;

	machine_reset();
	gpr(RBX) = m.base;
	memcpy(m.memory, &target, 8);
	CODE("\xff\x13"); /* call *(%rbx) */
	expect_fault(VECTOR_GP, 0);
	assert_int_equal(gpr(RSP), m.base + 0x800);
	CODE("\x66\xff\x13"); /* processors differ */
	assert_int_equal(emulate(&m.vcpu, NULL), EMULATE_UNKNOWN);
	protected_mode(3, 0xffff);
	m.segments[SEG_CS].limit = 0xfff;
	memcpy(m.memory, "\x00\x10\x00\x00", 4);
	gpr(RBX) = 0;
	CODE("\xff\x23"); /* jmp *(%ebx) */
	expect_fault(VECTOR_GP, 0);
	m.memory[1] = 0xf;
	assert_int_equal(emulate(&m.vcpu, NULL), EMULATE_DONE);
	assert_int_equal(m.vcpu.v.rip, 0xf00);
	assert_int_equal(m.retired, 1);
	assert_int_equal(m.skipped, 0);
}

#define TURNS 200000

/* The other CPU: increments until told to stop, so that all turns of the emulator meet it. */
static struct {
	u32 *counter, increments, stop;
	cpu_set_t allowed;
} other;

static void *increment(void *argument)
{
	while (!__atomic_load_n(&other.stop, __ATOMIC_RELAXED)) {
		__asm__ volatile("lock incl %0" : "+m"(*other.counter));
		other.increments++;
	}
	return NULL;
}

/* On a busy machine the scheduler would leave both on one CPU, where they hardly ever meet. */
static void pin(pthread_t thread, const cpu_set_t *allowed, u32 number)
{
	cpu_set_t one;

	for (u32 i = 0; i < CPU_SETSIZE; i++) {
		if (!CPU_ISSET(i, allowed) || number--)
			continue;
		CPU_ZERO(&one);
		CPU_SET(i, &one);
		pthread_setaffinity_np(thread, sizeof(one), &one);
		return;
	}
}

static void other_start(pthread_t *thread, void *counter)
{
	other = (typeof(other)){.counter = counter};
	sched_getaffinity(0, sizeof(other.allowed), &other.allowed);
	assert_int_equal(pthread_create(thread, NULL, increment, NULL), 0);
	pin(pthread_self(), &other.allowed, 0);
	pin(*thread, &other.allowed, 1);
}

static void other_stop(pthread_t thread)
{
	__atomic_store_n(&other.stop, 1, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	sched_setaffinity(0, sizeof(other.allowed), &other.allowed);
}

/* LOCK INC in the emulator against LOCK INC on the other CPU: none is lost. */
static void test_atomic(void **state)
{
	u32 count = 0, value = 0;
	pthread_t thread;

	machine_reset();
	gpr(RBX) = m.base + 0x40;
	memcpy(m.memory + 0x40, &value, 4);
	CODE("\xf0\xff\x03"); /* lock incl (%rbx) */
	other_start(&thread, m.memory + 0x40);
	while (count < TURNS) {
		u64 rip = m.vcpu.v.rip;

		assert_int_equal(emulate(&m.vcpu, NULL), EMULATE_DONE);
		count += m.vcpu.v.rip != rip; /* the same RIP: lost the race, not executed */
	}
	other_stop(thread);
	memcpy(&value, m.memory + 0x40, 4);
	assert_int_equal(value, TURNS + other.increments);
}

/* XCHG needs no LOCK: what it takes out and what stays is what the other CPU put in. */
static void test_atomic_exchange(void **state)
{
	u32 value = 0, turns = 0;
	pthread_t thread;
	u64 taken = 0;

	machine_reset();
	gpr(RBX) = m.base + 0x40;
	memcpy(m.memory + 0x40, &value, 4);
	CODE("\x87\x03"); /* xchg %eax, (%rbx) */
	other_start(&thread, m.memory + 0x40);
	while (turns < TURNS) {
		u64 rip = m.vcpu.v.rip;

		gpr(RAX) = 0;
		assert_int_equal(emulate(&m.vcpu, NULL), EMULATE_DONE);
		if (m.vcpu.v.rip == rip)
			continue;
		taken += gpr(RAX);
		turns++;
	}
	other_stop(thread);
	memcpy(&value, m.memory + 0x40, 4);
	assert_int_equal(taken + value, other.increments);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_processor),
		cmocka_unit_test(test_device_write),
		cmocka_unit_test(test_canonical),
		cmocka_unit_test(test_fs_base),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_linear_wrap),
		cmocka_unit_test(test_types),
		cmocka_unit_test(test_expand_down),
		cmocka_unit_test(test_real_mode),
		cmocka_unit_test(test_page_faults),
		cmocka_unit_test(test_alignment_check),
		cmocka_unit_test(test_segment_load),
		cmocka_unit_test(test_segment_faults),
		cmocka_unit_test(test_segment_table_access),
		cmocka_unit_test(test_null_stack),
		cmocka_unit_test(test_fragments),
		cmocka_unit_test(test_wide),
		cmocka_unit_test(test_mixed_pages),
		cmocka_unit_test(test_fault_between),
		cmocka_unit_test(test_swapped_instruction),
		cmocka_unit_test(test_tables_change),
		cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_dirty_log),
		cmocka_unit_test(test_rom),
		cmocka_unit_test(test_not_emulated),
		cmocka_unit_test(test_repeat),
		cmocka_unit_test(test_repeat_faults),
		cmocka_unit_test(test_repeat_step),
		cmocka_unit_test(test_repeat_user),
		cmocka_unit_test(test_16_bit_string),
		cmocka_unit_test(test_vector),
		cmocka_unit_test(test_bit_string),
		cmocka_unit_test(test_stack_width),
		cmocka_unit_test(test_branch),
		cmocka_unit_test(test_atomic),
		cmocka_unit_test(test_atomic_exchange),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
