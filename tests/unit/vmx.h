/* SPDX-License-Identifier: MIT */
/*
 * A vCPU of the VMX backend whose processor is a C model of the VMCS: shared by tests/unit/vmx_*.c.
 * A field that no processor has, one that does not hold the value, a write to a read-only one, and
 * any access without a current VMCS fail the test.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch-x86/desc.h"
#include "arch-x86/insn.h"
#include "arch-x86/log.h"
#include "arch-x86/msr.h"
#include "arch-x86/regs.h"
#include "mm/phys.h"
#include "mm/pool.h"
#include "tests/unit/fake/fake.h"
#include "vmx/internal.h"
#include "vmx/vmx.h"

#define FAKE_VMCSS     4
#define FAKE_FIELDS    0x3800 /* encodings without bit 0 */
#define FAKE_REVISION  0x12
#define FAKE_CR0_FIXED (CR0_PE | CR0_NE | CR0_PG)

struct fake_vmcs {
	hpa_t hpa;
	struct cpu *active; /* on which processor; NULL: cleared */
	bool launched;
	u64 fields[FAKE_FIELDS];
};

static struct fake_vmcs fake_vmcss[FAKE_VMCSS];
static u32 fake_vmcs_count;
static struct virt_vm vm;
static struct virt_vcpu vcpu;
static struct cpu cpu0, cpu1;
static struct cpu_tables tables0, tables1;
static struct cpu *here;	 /* what this_cpu() answers */
static struct fake_vmcs *vmcs;	 /* the vCPU's */
static struct vm_exit last;	 /* of enter() and decode() */
static struct fake_vmcs entered; /* the VMCS as the entry saw it */
static u32 entries, vmreads, vmwrites, vmptrlds, vmclears, nmis_opened;
static u32 invepts, invvpids;
static u64 invept_type, invept_eptp, invvpid_type, invvpid_vpid;
static bool vmx_is_on;
static void (*guest)(void);	 /* what the guest does; may be NULL */
static enum vmx_refusal refusal; /* of the next entries; 0: none */
static u32 pool_pages_left;

const char vmx_exit_point[1], vmx_check_begin[1], vmx_check_end[1];
const char vmx_sleep_begin[1], vmx_sleep_end[1];

struct cpu *this_cpu(void)
{
	return here;
}

/* ---- the VMCS ---- */

/* SDM vol. 3, appendix "Field Encoding in VMCS": the last of each kind. */
static inline bool field_exists(u32 field)
{
	static const struct {
		u16 first, last;
	} kinds[] = {
		{0x0000, 0x0004}, {0x0800, 0x0812}, {0x0c00, 0x0c0c}, {0x2000, 0x2036},
		{0x2400, 0x2400}, {0x2800, 0x2818}, {0x2c00, 0x2c06}, {0x4000, 0x4022},
		{0x4400, 0x440e}, {0x4800, 0x482a}, {0x482e, 0x482e}, {0x4c00, 0x4c00},
		{0x6000, 0x600e}, {0x6400, 0x640a}, {0x6800, 0x682c}, {0x6c00, 0x6c1c},
	};

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (!(field & 1) && field >= kinds[i].first && field <= kinds[i].last)
			return true;
	return false;
}

static inline u64 field_mask(u32 field)
{
	static const u64 masks[] = {[VMCS_16] = 0xffff,
				    [VMCS_64] = ~0ull,
				    [VMCS_32] = 0xffffffff,
				    [VMCS_NATURAL] = ~0ull};

	return masks[VMCS_FIELD_WIDTH(field)];
}

static inline struct fake_vmcs *fake_vmcs_at(hpa_t hpa)
{
	struct fake_vmcs *f;

	for (u32 i = 0; i < fake_vmcs_count; i++)
		if (fake_vmcss[i].hpa.v == hpa.v)
			return &fake_vmcss[i];
	assert_true(fake_vmcs_count < FAKE_VMCSS);
	f = &fake_vmcss[fake_vmcs_count++];
	f->hpa = hpa;
	f->active = NULL;
	/* What no VMWRITE has set is anything. */
	for (u32 field = 0; field < 2 * FAKE_FIELDS; field += 2)
		f->fields[field / 2] = 0xa5a5a5a5a5a5a5a5 & field_mask(field);
	return f;
}

/* The VMCS pointer is per processor: who is current there, by what vmptrld() said. */
static struct fake_vmcs *fake_pointer[2];

static inline struct fake_vmcs **pointer_here(void)
{
	return &fake_pointer[here == &cpu1];
}

static inline struct fake_vmcs *fake_current(u32 field)
{
	if (!field_exists(field))
		fail_msg("field %x is no processor's", field);
	if (!*pointer_here())
		fail_msg("field %x without a current VMCS", field);
	return *pointer_here();
}

u64 vmread(u32 field)
{
	vmreads++;
	return fake_current(field)->fields[field / 2];
}

u64 vmread_next(u32 field)
{
	return vmread(field);
}

void vmwrite(u32 field, u64 value)
{
	vmwrites++;
	if (VMCS_FIELD_TYPE(field) == VMCS_READ_ONLY)
		fail_msg("write to read-only field %x", field);
	if (value & ~field_mask(field))
		fail_msg("field %x is too narrow for %llx", field, (unsigned long long)value);
	fake_current(field)->fields[field / 2] = value;
}

void vmwrite_next(u32 field, u64 value)
{
	vmwrite(field, value);
}

void vmclear(const hpa_t *hpa)
{
	struct fake_vmcs *f = fake_vmcs_at(*hpa);

	vmclears++;
	if (f->active && f->active != here)
		fail_msg("VMCLEAR of a VMCS that is active elsewhere");
	f->active = NULL;
	f->launched = false;
	if (*pointer_here() == f)
		*pointer_here() = NULL;
}

void vmptrld(const hpa_t *hpa)
{
	struct fake_vmcs *f = fake_vmcs_at(*hpa);

	vmptrlds++;
	assert_int_equal(*(u32 *)phys_ptr(*hpa), FAKE_REVISION);
	if (f->active && f->active != here)
		fail_msg("VMPTRLD of a VMCS that is active elsewhere");
	f->active = here;
	*pointer_here() = f;
}

int vmxon(hpa_t region)
{
	assert_false(vmx_is_on);
	vmx_is_on = *(u32 *)phys_ptr(region) == FAKE_REVISION;
	return vmx_is_on ? 0 : -EIO;
}

void vmxoff(void)
{
	assert_true(vmx_is_on);
	vmx_is_on = false;
}

void invept(u64 type, u64 eptp)
{
	assert_in_range(type, 1, 2);
	invepts++;
	invept_type = type;
	invept_eptp = eptp;
}

void invvpid(u64 type, u16 vpid)
{
	assert_in_range(type, 0, 3);
	assert_true(vpid || type == 2);
	invvpids++;
	invvpid_type = type;
	invvpid_vpid = vpid;
}

/* A field as the processor or the guest changes it. */
static inline void put_field(u32 field, u64 value)
{
	assert_true(field_exists(field));
	assert_int_equal(value & ~field_mask(field), 0);
	vmcs->fields[field / 2] = value;
}

static inline u64 field(u32 encoding)
{
	assert_true(field_exists(encoding));
	return vmcs->fields[encoding / 2];
}

static inline u64 entered_field(u32 encoding)
{
	assert_true(field_exists(encoding));
	return entered.fields[encoding / 2];
}

/* ---- entry.asm ---- */

void vmx_enter(struct virt_vcpu *v, struct vm_exit *e, struct vmx_vcpu *x)
{
	struct fake_vmcs *f = *pointer_here();

	assert_non_null(f);
	assert_int_equal(f->hpa.v, v->hw_hpa.v);
	assert_ptr_equal(x, v->hw);
	assert_int_equal(x->launched, f->launched); /* VMRESUME, or VMLAUNCH */
	if (v->cpu->root_flags & CPU_ROOT_NMI) {
		vmx_not_entered(v, e, VMX_NMI_FIRST);
		return;
	}
	entered = *f;
	entries++;
	if (refusal) {
		vmx_not_entered(v, e, refusal);
		return;
	}
	if (guest)
		guest();
	if (!(f->fields[VMCS_EXIT_REASON / 2] & EXIT_REASON_ENTRY_FAILED)) {
		f->launched = true;
		f->fields[VMCS_ENTRY_INTR_INFO / 2] &= ~INTR_VALID;
	}
	vmx_exited(v, e);
}

void vmx_open_nmi(void)
{
	nmis_opened++;
}

void vmx_sleep_nmi(const u8 *flags)
{
}

/* ---- the vCPU ---- */

hpa_t pool_alloc(struct pool *pool, u32 count)
{
	void *page;

	if (pool_pages_left < count)
		return HPA_NONE;
	pool_pages_left -= count;
	page = aligned_alloc(PAGE_SIZE, count * PAGE_SIZE);
	memset(page, 0, count * PAGE_SIZE);
	return ptr_phys(page);
}

void pool_free(struct pool *pool, hpa_t base, u32 count)
{
	pool_pages_left += count;
	free(phys_ptr(base));
}

/* A processor with every control that Keel knows; the bits that must be 1 are the manual's. */
static inline void make_features(void)
{
	vmx_features = (struct vmx_cpu_features){
		.revision = FAKE_REVISION,
		.pin = {.one = 0x16, .zero = ~(u32)0xff},
		.cpu = {.one = 0x04006172},
		.cpu2 = {.zero = ~(u32)0x1fffffff},
		.exit = {.one = 0x00036dfb},
		.entry = {.one = 0x000011fb},
		.cr0_fixed0 = FAKE_CR0_FIXED,
		.cr0_fixed1 = 0xffffffff,
		.cr4_fixed0 = CR4_VMXE,
		.cr4_fixed1 = 0x3fffff,
		.ept_vpid = EPT_CAP_WALK_4 | EPT_CAP_WB | EPT_CAP_2M | EPT_CAP_1G | EPT_CAP_INVEPT |
			    EPT_CAP_AD | EPT_CAP_INVEPT_SINGLE | EPT_CAP_INVEPT_ALL |
			    EPT_CAP_INVVPID | EPT_CAP_INVVPID_ADDRESS | EPT_CAP_INVVPID_SINGLE |
			    EPT_CAP_INVVPID_ALL,
		.true_controls = true,
		.insn_info_io = true,
		.any_error_code = true,
		.physical_bits = 46,
	};
	virt_features = VIRT_NEXT_RIP | VIRT_VPID | VIRT_TPR_SHADOW | VIRT_INVPCID | VIRT_RDTSCP |
			VIRT_XSAVES | VIRT_SLAT_1G | VIRT_SLAT_2M | VIRT_VIRTUAL_NMI;
}

static inline void make_vcpu(enum virt_kind kind)
{
	memset(&vm, 0, sizeof(vm));
	memset(&vcpu, 0, sizeof(vcpu));
	memset(&cpu0, 0, sizeof(cpu0));
	memset(&cpu1, 0, sizeof(cpu1));
	cpu1.index = 1;
	cpu0.arch = &tables0;
	cpu1.arch = &tables1;
	here = &cpu0;
	cpu0.asid_count = cpu1.asid_count = 16;
	cpu0.asid_next = cpu1.asid_next = 1;
	cpu0.asid_generation = cpu1.asid_generation = 1;
	fake_hw_reset();
	fake_vmcs_count = 0;
	fake_pointer[0] = fake_pointer[1] = NULL;
	vm.kind = kind;
	vm.features = virt_features;
	vm.slat_root = HPA(0x5000);
	vm.slat_generation = 1;
	pool_pages_left = 100;
	assert_int_equal(vmx_vm_init(&vm, NULL), 0);
	assert_int_equal(vmx_vcpu_init(&vcpu, &vm, NULL), 0);
	vmcs = fake_vmcs_at(vcpu.hw_hpa);
	guest = NULL;
	refusal = 0;
	entries = vmreads = vmwrites = vmptrlds = vmclears = nmis_opened = invepts = invvpids = 0;
	/* No exit yet: none of these says anything. */
	for (u32 i = VMCS_INSN_ERROR; i <= VMCS_EXIT_INSN_INFO; i += 2)
		put_field(i, 0);
}

static inline void free_vcpu(void)
{
	free(phys_ptr(vcpu.hw_hpa));
	free(vm.msr_map);
}

static inline int setup_child(void **state)
{
	make_features();
	virt_check_entry = false;
	make_vcpu(VIRT_CHILD);
	return 0;
}

static inline int setup_management(void **state)
{
	make_features();
	virt_check_entry = false;
	make_vcpu(VIRT_MANAGEMENT);
	return 0;
}

static inline int teardown(void **state)
{
	free_vcpu();
	return 0;
}

/* Of a vCPU that is there already. */
static inline void use_features(u64 features)
{
	virt_features = vm.features = vcpu.features = features;
}

/* One entry, which ends with the reason that is in the VMCS unless `guest` sets one. */
static inline const struct vm_exit *enter(void)
{
	memset(&last, 0xa5, sizeof(last));
	vmx_run(&vcpu, &last);
	return &last;
}

static inline void set_exit(u32 reason, u64 qualification)
{
	put_field(VMCS_EXIT_REASON, reason);
	put_field(VMCS_EXIT_QUALIFICATION, qualification);
}

static inline const struct vm_exit *decode(u32 reason, u64 qualification)
{
	set_exit(reason, qualification);
	memset(&last, 0xa5, sizeof(last));
	vcpu.cpu = &cpu0;
	vmx_decode(&vcpu, &last, reason);
	return &last;
}
