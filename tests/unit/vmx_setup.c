// SPDX-License-Identifier: MIT
/* What the processor must offer, root mode on and off, permission maps, a new VMCS. */
#include "boot/info.h"
#include "tests/unit/vmx.h"

#define BASIC		(FAKE_REVISION | 6ull << 50 | BIT(54) | BIT(55) | BIT(56))
#define CONTROL_LOCK	BIT(0)
#define CONTROL_VMX	BIT(2)
#define CPU_ONE		0x04006172u /* the manual's "default1" bits, without those of CR3 */
#define CPU_ONE_NO_TRUE 0x0401e172u

static struct {
	u32 vendor, signature, ecx, leaf7_edx;
} hw;
static u32 control_writes;
static _Alignas(PAGE_SIZE) u8 region[PAGE_SIZE];

struct cpuid_regs cpuid(u32 leaf, u32 subleaf)
{
	struct cpuid_regs r = {0};

	switch (leaf) {
	case 0:
		r.eax = 7;
		r.ebx = hw.vendor;
		break;
	case 1:
		r.eax = hw.signature;
		r.ecx = hw.ecx;
		break;
	case 7:
		r.edx = hw.leaf7_edx;
		break;
	case 0x80000008:
		r.eax = 39;
		break;
	}
	return r;
}

/* A locked IA32_FEATURE_CONTROL raises #GP. */
void wrmsr(u32 index, u64 value)
{
	if (index == MSR_FEATURE_CONTROL) {
		assert_false(fake_msr_get(index) & CONTROL_LOCK);
		control_writes++;
	}
	fake_msr_set(index, value);
}

static void allow(u32 msr, u32 one, u32 allowed)
{
	fake_msr_set(msr, one | (u64)allowed << 32);
}

static void forbid(u32 msr, u32 bits)
{
	fake_msr_set(msr, fake_msr_get(msr) & ~((u64)bits << 32));
}

/* Every control is there, and no optional instruction. */
static int setup_hw(void **state)
{
	fake_hw_reset();
	memset(&hw, 0, sizeof(hw));
	hw.vendor = 0x756e6547;
	hw.ecx = BIT(5);
	fake_cr[0] = CR0_PE | CR0_TS | CR0_PG;
	fake_cr[4] = CR4_PAE;
	fake_msr_set(MSR_FEATURE_CONTROL, CONTROL_LOCK | CONTROL_VMX);
	fake_msr_set(MSR_VMX_BASIC, BASIC);
	allow(MSR_VMX_TRUE_PINBASED_CTLS, 0x16, 0x3f);
	allow(MSR_VMX_TRUE_PROCBASED_CTLS, CPU_ONE, ~(u32)CPU_TPR_SHADOW);
	allow(MSR_VMX_TRUE_EXIT_CTLS, 0x36dfb, ~0u);
	allow(MSR_VMX_TRUE_ENTRY_CTLS, 0x11fb, ~0u);
	allow(MSR_VMX_PINBASED_CTLS, 0x16, 0x7f);
	allow(MSR_VMX_PROCBASED_CTLS, CPU_ONE_NO_TRUE, ~0u);
	allow(MSR_VMX_EXIT_CTLS, 0x36dff, ~0u);
	allow(MSR_VMX_ENTRY_CTLS, 0x11ff, ~0u);
	allow(MSR_VMX_PROCBASED_CTLS2, 0, CPU2_EPT | CPU2_UNRESTRICTED);
	fake_msr_set(MSR_VMX_EPT_VPID_CAP, EPT_CAP_WALK_4 | EPT_CAP_WB | EPT_CAP_2M |
						   EPT_CAP_INVEPT | EPT_CAP_INVEPT_SINGLE);
	fake_msr_set(MSR_VMX_MISC, 5);
	fake_msr_set(MSR_VMX_CR0_FIXED0, FAKE_CR0_FIXED);
	fake_msr_set(MSR_VMX_CR0_FIXED1, 0xffffffff);
	fake_msr_set(MSR_VMX_CR4_FIXED0, CR4_VMXE);
	fake_msr_set(MSR_VMX_CR4_FIXED1, 0x3fffff);
	memset(region, 0, sizeof(region));
	control_writes = 0;
	vmx_is_on = false;
	here = &cpu0;
	invvpids = vmclears = 0;
	return 0;
}

static void refuses(const char *words)
{
	u64 found;
	const char *why = vmx_probe(&found);

	if (!why || !strstr(why, words) || strlen(why) >= sizeof(((struct boot_info *)0)->why))
		fail_msg("\"%s\" instead of \"%s\"", why, words);
	setup_hw(NULL);
	assert_null(vmx_probe(&found));
}

static void probe(void **state)
{
	u64 found;

	hw.vendor = 0x68747541;
	refuses("not Intel's");
	hw.ecx = 0;
	refuses("has no VMX");
	hw.ecx = BIT(31);
	refuses("outer hypervisor hides VMX");
	fake_msr_set(MSR_FEATURE_CONTROL, CONTROL_LOCK);
	refuses("firmware disabled VMX and locked it");
	fake_msr_set(MSR_FEATURE_CONTROL, CONTROL_LOCK | BIT(1)); /* inside of SMX only */
	refuses("firmware disabled VMX and locked it");
	fake_cr[4] |= CR4_VMXE;
	refuses("in use already");
	fake_msr_set(MSR_VMX_BASIC, BASIC & ~(6ull << 50));
	refuses("not write-back");
	fake_msr_set(MSR_FEATURE_CONTROL, 0);
	assert_null(vmx_probe(&found));
	assert_int_equal(control_writes, 0); /* a look changes nothing */
	hw.vendor = 0;
	assert_non_null(vmx_probe(&found));
}

static void needed_controls(void **state)
{
	static const struct {
		u32 msr, bits;
		const char *words;
	} needed[] = {
		{MSR_VMX_TRUE_PINBASED_CTLS, PIN_NMI, "cannot exit for interrupts and NMIs"},
		{MSR_VMX_TRUE_PROCBASED_CTLS, CPU_MSR_BITMAPS, "no MSR bitmaps"},
		{MSR_VMX_TRUE_PROCBASED_CTLS, CPU_IO_BITMAPS, "lacks a processor-based control"},
		{MSR_VMX_TRUE_PROCBASED_CTLS, CPU_INTR_WINDOW, "lacks a processor-based control"},
		{MSR_VMX_TRUE_PROCBASED_CTLS, CPU_SECONDARY, "lacks a processor-based control"},
		{MSR_VMX_PROCBASED_CTLS2, CPU2_EPT, "no EPT"},
		{MSR_VMX_PROCBASED_CTLS2, CPU2_UNRESTRICTED, "no unrestricted guest"},
		{MSR_VMX_TRUE_EXIT_CTLS, VMEXIT_SAVE_PAT, "cannot switch PAT and EFER"},
		{MSR_VMX_TRUE_EXIT_CTLS, VMEXIT_HOST_64, "no 64-bit host"},
		{MSR_VMX_TRUE_ENTRY_CTLS, VMENTRY_LOAD_EFER, "cannot switch PAT and EFER"},
	};
	static const struct {
		u64 cap;
		const char *words;
	} caps[] = {
		{EPT_CAP_WALK_4, "no EPT with 4 levels"},
		{EPT_CAP_WB, "no EPT with 4 levels"},
		{EPT_CAP_INVEPT, "no EPT with 4 levels"},
		{EPT_CAP_INVEPT_SINGLE, "cannot invalidate EPT"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
		forbid(needed[i].msr, needed[i].bits);
		refuses(needed[i].words);
	}
	for (size_t i = 0; i < ARRAY_SIZE(caps); i++) {
		fake_msr_set(MSR_VMX_EPT_VPID_CAP,
			     fake_msr_get(MSR_VMX_EPT_VPID_CAP) & ~caps[i].cap);
		refuses(caps[i].words);
	}
	fake_msr_set(MSR_VMX_BASIC, BASIC & ~(u64)BIT(55));
	refuses("cannot leave CR3 to its guests");
}

/* With setup_hw()'s capabilities. */
#define ALWAYS (VIRT_NEXT_RIP | VIRT_SLAT_2M | VIRT_VIRTUAL_NMI)

static u64 found_features(void)
{
	u64 found;

	assert_null(vmx_probe(&found));
	return found;
}

static void features(void **state)
{
	static const struct {
		u32 control;
		u64 feature;
	} second[] = {
		{CPU2_TSC_SCALING, VIRT_TSC_SCALING}, {CPU2_PAUSE_LOOP, VIRT_PAUSE_FILTER},
		{CPU2_INVPCID, VIRT_INVPCID},	      {CPU2_RDTSCP, VIRT_RDTSCP},
		{CPU2_XSAVES, VIRT_XSAVES},	      {CPU2_USER_WAIT, VIRT_WAITPKG},
	};
	u64 caps = fake_msr_get(MSR_VMX_EPT_VPID_CAP);
	u64 vpid = EPT_CAP_INVVPID | EPT_CAP_INVVPID_ALL;
	u32 ept = CPU2_EPT | CPU2_UNRESTRICTED;

	assert_int_equal(found_features(), ALWAYS);
	for (size_t i = 0; i < ARRAY_SIZE(second); i++) {
		allow(MSR_VMX_PROCBASED_CTLS2, 0, ept | second[i].control);
		assert_int_equal(found_features(), ALWAYS | second[i].feature);
	}
	/* The log of writes is one of dirty flags. */
	allow(MSR_VMX_PROCBASED_CTLS2, 0, ept | CPU2_PML);
	assert_int_equal(found_features(), ALWAYS);
	fake_msr_set(MSR_VMX_EPT_VPID_CAP, caps | EPT_CAP_AD);
	assert_int_equal(found_features(), ALWAYS | VIRT_SLAT_AD | VIRT_PML);
	allow(MSR_VMX_PROCBASED_CTLS2, 0, ept);
	assert_int_equal(found_features(), ALWAYS | VIRT_SLAT_AD);
	fake_msr_set(MSR_VMX_EPT_VPID_CAP, caps);
	/* Without the way to flush all of them, tags are not used. */
	allow(MSR_VMX_PROCBASED_CTLS2, 0, ept | CPU2_VPID);
	assert_int_equal(found_features(), ALWAYS);
	fake_msr_set(MSR_VMX_EPT_VPID_CAP, caps | EPT_CAP_INVVPID | EPT_CAP_INVVPID_SINGLE);
	assert_int_equal(found_features(), ALWAYS);
	fake_msr_set(MSR_VMX_EPT_VPID_CAP, caps | vpid);
	assert_int_equal(found_features(), ALWAYS | VIRT_VPID);
	allow(MSR_VMX_PROCBASED_CTLS2, 0, ept);
	assert_int_equal(found_features(), ALWAYS);
	fake_msr_set(MSR_VMX_EPT_VPID_CAP, caps | EPT_CAP_1G);
	assert_int_equal(found_features(), ALWAYS | VIRT_SLAT_1G);
	fake_msr_set(MSR_VMX_EPT_VPID_CAP, caps & ~(u64)EPT_CAP_2M);
	assert_int_equal(found_features(), ALWAYS & ~(u64)VIRT_SLAT_2M);
	fake_msr_set(MSR_VMX_EPT_VPID_CAP, caps);
	forbid(MSR_VMX_TRUE_PINBASED_CTLS, PIN_VIRTUAL_NMIS);
	assert_int_equal(found_features(), ALWAYS & ~(u64)VIRT_VIRTUAL_NMI);
	allow(MSR_VMX_TRUE_PINBASED_CTLS, 0x16, 0x3f);
	forbid(MSR_VMX_TRUE_PROCBASED_CTLS, CPU_NMI_WINDOW);
	assert_int_equal(found_features(), ALWAYS & ~(u64)VIRT_VIRTUAL_NMI);
	allow(MSR_VMX_TRUE_PROCBASED_CTLS, CPU_ONE, ~0u);
	assert_int_equal(found_features(), ALWAYS | VIRT_TPR_SHADOW);
}

static void preemption_timers_that_count_wrongly(void **state)
{
	static const u32 broken[] = {0x20652, 0x20655, 0x206e6, 0x306a8};

	allow(MSR_VMX_TRUE_PINBASED_CTLS, 0x16, 0x7f);
	hw.signature = 0x306a9;
	assert_int_equal(found_features(), ALWAYS | VIRT_PREEMPT_TIMER);
	for (size_t i = 0; i < ARRAY_SIZE(broken); i++) {
		hw.signature = broken[i];
		assert_int_equal(found_features(), ALWAYS);
	}
}

static void capabilities(void **state)
{
	found_features();
	assert_int_equal(vmx_features.revision, FAKE_REVISION);
	assert_true(vmx_features.true_controls && vmx_features.insn_info_io);
	assert_true(vmx_features.any_error_code);
	assert_int_equal(vmx_features.pin.one, 0x16);
	assert_int_equal(vmx_features.pin.zero, ~0x3fu);
	assert_int_equal(vmx_features.cpu.one, CPU_ONE);
	assert_int_equal(vmx_features.exit.one, 0x36dfb);
	assert_int_equal(vmx_features.entry.one, 0x11fb);
	assert_int_equal(vmx_features.cpu2.zero, ~(u32)(CPU2_EPT | CPU2_UNRESTRICTED));
	assert_int_equal(vmx_features.misc, 5);
	assert_int_equal(vmx_features.cr0_fixed0, FAKE_CR0_FIXED);
	assert_int_equal(vmx_features.cr4_fixed1, 0x3fffff);
	assert_int_equal(vmx_features.physical_bits, 39);
	/* Bit 55 clear: the MSRs of true controls do not exist. */
	fake_msr_set(MSR_VMX_BASIC, FAKE_REVISION | 6ull << 50);
	allow(MSR_VMX_PROCBASED_CTLS, CPU_ONE, ~0u);
	for (u32 msr = MSR_VMX_TRUE_PINBASED_CTLS; msr <= MSR_VMX_TRUE_ENTRY_CTLS; msr++)
		fake_msr_set(msr, 0);
	assert_int_equal(found_features(), ALWAYS | VIRT_TPR_SHADOW | VIRT_PREEMPT_TIMER);
	assert_false(vmx_features.true_controls || vmx_features.insn_info_io);
	assert_false(vmx_features.any_error_code);
	assert_int_equal(vmx_features.exit.one, 0x36dff);
	assert_int_equal(vmx_features.entry.one, 0x11ff);
}

static void return_predictor(void **state)
{
	found_features();
	assert_false(vmx_features.rsb_fill); /* no IBRS: nobody expects it */
	hw.leaf7_edx = BIT(26);
	found_features();
	assert_true(vmx_features.rsb_fill);
	hw.leaf7_edx = BIT(26) | BIT(29);
	found_features();
	assert_true(vmx_features.rsb_fill);
	fake_msr_set(MSR_ARCH_CAPABILITIES, BIT(1)); /* IBRS_ALL */
	found_features();
	assert_false(vmx_features.rsb_fill);
}

static void on_and_off(void **state)
{
	struct cpu cpu = {.current = &vcpu};

	fake_cr[4] |= BIT(22); /* FIXED1 forbids it */
	assert_int_equal(vmx_cpu_on(&cpu, ptr_phys(region)), 0);
	assert_true(vmx_is_on);
	assert_int_equal(control_writes, 0); /* locked, as firmware should leave it */
	assert_int_equal(fake_cr[0], FAKE_CR0_FIXED | CR0_TS);
	assert_int_equal(fake_cr[4], CR4_PAE | CR4_VMXE);
	assert_int_equal(*(u32 *)region, FAKE_REVISION);
	assert_int_equal(cpu.host_area.v, ptr_phys(region).v);
	assert_null(cpu.current);
	assert_int_equal(cpu.asid_count, 0x10000);
	assert_int_equal(cpu.asid_next, 1);
	assert_int_not_equal(cpu.asid_generation, 0); /* 0: a vCPU that has none */
	assert_int_equal(invvpids, 0);
	assert_int_equal(cpu.sleep_begin, (u64)vmx_check_begin);
	assert_int_equal(cpu.sleep_end, (u64)vmx_check_end);
	assert_int_equal(vmx_cpu_on(&cpu, ptr_phys(region)), -ENODEV); /* on already */
	vmx_cpu_off(&cpu);
	assert_false(vmx_is_on);
	assert_int_equal(fake_cr[4], CR4_PAE);
}

static void feature_control_is_locked(void **state)
{
	fake_msr_set(MSR_FEATURE_CONTROL, BIT(18));
	assert_int_equal(vmx_cpu_on(&cpu0, ptr_phys(region)), 0);
	assert_int_equal(fake_msr_get(MSR_FEATURE_CONTROL), BIT(18) | CONTROL_LOCK | CONTROL_VMX);
	vmx_cpu_off(&cpu0);
	/* Locked now; on again without a write. */
	assert_int_equal(vmx_cpu_on(&cpu0, ptr_phys(region)), 0);
	assert_int_equal(control_writes, 1);
}

static void old_translations_go(void **state)
{
	allow(MSR_VMX_PROCBASED_CTLS2, 0, CPU2_EPT | CPU2_UNRESTRICTED | CPU2_VPID);
	fake_msr_set(MSR_VMX_EPT_VPID_CAP,
		     fake_msr_get(MSR_VMX_EPT_VPID_CAP) | EPT_CAP_INVVPID | EPT_CAP_INVVPID_ALL);
	assert_int_equal(vmx_cpu_on(&cpu0, ptr_phys(region)), 0);
	assert_int_equal(invvpids, 1);
	assert_int_equal(invvpid_type, INVALIDATE_ALL);
}

static void vmxon_fails(void **state)
{
	fake_msr_set(MSR_VMX_BASIC, BASIC + 1); /* not the revision that the fake accepts */
	assert_int_equal(vmx_cpu_on(&cpu0, ptr_phys(region)), -EIO);
	assert_int_equal(fake_cr[4], CR4_PAE);
	fake_msr_set(MSR_VMX_BASIC, BASIC);
	assert_int_equal(vmx_cpu_on(&cpu0, ptr_phys(region)), 0);
}

static void off_leaves_no_vmcs_behind(void **state)
{
	make_features();
	make_vcpu(VIRT_CHILD);
	setup_hw(NULL);
	assert_int_equal(vmx_cpu_on(&cpu0, ptr_phys(region)), 0);
	vmx_make_current(&vcpu);
	vmx_cpu_off(&cpu0);
	assert_int_equal(vmclears, 1);
	assert_null(vmcs->active);
	assert_null(cpu0.current);
	assert_false(vmx_is_on);
	free_vcpu();
}

static bool msr_bit(u32 byte, u32 bit)
{
	return ((u8 *)vm.msr_map)[byte] >> bit & 1;
}

static u32 bits_set(const u8 *map, u32 bytes)
{
	u32 count = 0;

	for (u32 i = 0; i < bytes; i++)
		count += (u32)__builtin_popcount(map[i]);
	return count;
}

static void msr_map(void **state)
{
	static const struct {
		u32 index, byte, bit;
	} places[] = {
		{0, 0, 0},
		{0x10, 2, 0},
		{0x1fff, 0x3ff, 7},
		{0xc0000000, 0x400, 0},
		{0xc0000083, 0x410, 3},
		{0xc0001fff, 0x7ff, 7},
	};
	static const u32 outside[] = {0x2000, 0x40000000, 0xbfffffff, 0xc0002000, ~0u};

	assert_int_equal(bits_set(vm.msr_map, PAGE_SIZE), 0);
	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		for (u32 want = 0; want < 4; want++) {
			vmx_intercept_msr(&vm, places[i].index, want & 1, want & 2);
			assert_int_equal(msr_bit(places[i].byte, places[i].bit), want & 1);
			assert_int_equal(msr_bit(places[i].byte + 0x800, places[i].bit), want >> 1);
		}
	assert_int_equal(bits_set(vm.msr_map, PAGE_SIZE), 2 * ARRAY_SIZE(places));
	/* Outside of the ranges everything exits: there is no bit to set. */
	memset(vm.msr_map, 0, PAGE_SIZE);
	for (size_t i = 0; i < ARRAY_SIZE(outside); i++)
		vmx_intercept_msr(&vm, outside[i], true, true);
	assert_int_equal(bits_set(vm.msr_map, 3 * PAGE_SIZE), 0);
}

static void maps_child(void **state)
{
	u8 *ports = vm.io_map;

	assert_int_equal(bits_set(vm.msr_map, PAGE_SIZE), 8 * PAGE_SIZE);
	assert_int_equal(bits_set(vm.io_map, 2 * PAGE_SIZE), 16 * PAGE_SIZE);
	vmx_intercept_port(&vm, 0x80, false);
	assert_int_equal(ports[0x10], 0xfe);
	vmx_intercept_port(&vm, 0x8001, false);
	assert_int_equal(ports[0x1000], 0xfd);
	vmx_intercept_port(&vm, 0xffff, false);
	assert_int_equal(ports[0x1fff], 0x7f);
	vmx_intercept_port(&vm, 0x80, true);
	assert_int_equal(bits_set(vm.io_map, 2 * PAGE_SIZE), 16 * PAGE_SIZE - 2);
	assert_int_equal(bits_set(vm.msr_map, PAGE_SIZE), 8 * PAGE_SIZE);
}

static void controls_child(void **state)
{
	u32 cpu = CPU_ONE | CPU_HLT | CPU_RDPMC | CPU_MWAIT | CPU_MONITOR | CPU_IO_BITMAPS |
		  CPU_MSR_BITMAPS | CPU_SECONDARY | CPU_TSC_OFFSETTING | CPU_TPR_SHADOW |
		  CPU_MOV_DR; /* its DRs are not live */
	u32 cpu2 = CPU2_EPT | CPU2_UNRESTRICTED | CPU2_WBINVD | CPU2_ENCLS | CPU2_ENCLV |
		   CPU2_VPID | CPU2_RDTSCP | CPU2_INVPCID;

	assert_int_equal(field(VMCS_PIN_CONTROLS),
			 0x16 | PIN_EXTERNAL_INTR | PIN_NMI | PIN_VIRTUAL_NMIS);
	assert_int_equal(field(VMCS_CPU_CONTROLS), cpu);
	assert_int_equal(field(VMCS_CPU_CONTROLS2), cpu2);
	assert_int_equal(field(VMCS_EXIT_CONTROLS), vmx_required.exit | 0x36dfb);
	assert_int_equal(field(VMCS_ENTRY_CONTROLS), vmx_required.entry | 0x11fb);
	assert_int_equal(field(VMCS_EXCEPTION_BITMAP), BIT(1) | BIT(17) | BIT(18));
	assert_int_equal(field(VMCS_ENCLS_EXITING), ~0ull);
	assert_int_equal(field(VMCS_ENCLV_EXITING), ~0ull);
	assert_int_equal(field(VMCS_CR0_MASK), ~(u64)(CR0_TS | CR0_MP));
	assert_int_equal(field(VMCS_CR4_MASK), ~0ull);
	assert_int_equal(field(VMCS_VIRTUAL_APIC), vcpu.hw_hpa.v + 2 * PAGE_SIZE);
	assert_int_equal(field(VMCS_TPR_THRESHOLD), 0);
}

static void what_a_child_executes_natively(void **state)
{
	free(phys_ptr(vcpu.hw_hpa));
	vm.native = NATIVE_HLT;
	assert_int_equal(vmx_vcpu_init(&vcpu, &vm, NULL), 0);
	vmcs = fake_vmcs_at(vcpu.hw_hpa);
	assert_int_equal(field(VMCS_CPU_CONTROLS) & (CPU_HLT | CPU_MWAIT | CPU_MONITOR),
			 CPU_MWAIT | CPU_MONITOR);
	vmx_intercept(&vcpu, INTERCEPT_INTR_WINDOW);
	assert_int_equal(field(VMCS_CPU_CONTROLS) & CPU_HLT, 0);
	/* It halts in there: what is injected, and who changes its flags, wakes it. */
	put_field(VMCS_GUEST_ACTIVITY, ACTIVITY_HLT);
	vmx_inject(&vcpu,
		   &(struct virt_event){.type = EVENT_EXCEPTION, .vector = 3, .insn_len = 1});
	assert_int_equal(field(VMCS_GUEST_ACTIVITY), ACTIVITY_ACTIVE);
	put_field(VMCS_GUEST_ACTIVITY, ACTIVITY_HLT);
	vmx_set(&vcpu, VREG_RFLAGS, 2);
	assert_int_equal(field(VMCS_GUEST_ACTIVITY), ACTIVITY_ACTIVE);
	/* Whoever takes an event back leaves it asleep. */
	put_field(VMCS_GUEST_ACTIVITY, ACTIVITY_HLT);
	vmx_inject(&vcpu, &(struct virt_event){.type = EVENT_NONE});
	assert_int_equal(field(VMCS_GUEST_ACTIVITY), ACTIVITY_HLT);
	free(phys_ptr(vcpu.hw_hpa));
	vm.native = NATIVE_MWAIT;
	assert_int_equal(vmx_vcpu_init(&vcpu, &vm, NULL), 0);
	vmcs = fake_vmcs_at(vcpu.hw_hpa);
	assert_int_equal(field(VMCS_CPU_CONTROLS) & (CPU_HLT | CPU_MWAIT | CPU_MONITOR), CPU_HLT);
}

static void controls_management(void **state)
{
	u32 cpu = field(VMCS_CPU_CONTROLS), cpu2 = field(VMCS_CPU_CONTROLS2);

	assert_int_equal(field(VMCS_PIN_CONTROLS), 0x16 | PIN_NMI | PIN_VIRTUAL_NMIS);
	assert_int_equal(cpu, CPU_ONE | CPU_IO_BITMAPS | CPU_MSR_BITMAPS | CPU_SECONDARY);
	assert_int_equal(cpu2, CPU2_EPT | CPU2_UNRESTRICTED | CPU2_VPID | CPU2_RDTSCP |
				       CPU2_INVPCID | CPU2_XSAVES);
	assert_int_equal(field(VMCS_XSS_EXITING), 0);
	assert_int_equal(field(VMCS_EXCEPTION_BITMAP), 0);
	assert_int_equal(field(VMCS_CR0_MASK), CR0_NE); /* PE and PG: unrestricted guest */
	assert_int_equal(field(VMCS_CR4_MASK), CR4_VMXE | CR4_SMXE);
	assert_null(vmx_of(&vcpu)->virtual_apic);
	assert_int_equal(bits_set(vm.io_map, 2 * PAGE_SIZE), 0);
}

static void remake(enum virt_kind kind)
{
	free_vcpu();
	make_vcpu(kind);
}

/* What hw-off= took away is not used, though the processor has it. */
static void features_switched_off(void **state)
{
	u32 optional = CPU2_VPID | CPU2_RDTSCP | CPU2_INVPCID | CPU2_XSAVES | CPU2_USER_WAIT |
		       CPU2_PAUSE_LOOP;

	virt_features = VIRT_WAITPKG | VIRT_PAUSE_FILTER;
	remake(VIRT_CHILD);
	assert_int_equal(field(VMCS_CPU_CONTROLS2) & optional, CPU2_PAUSE_LOOP);
	assert_in_range(field(VMCS_PLE_GAP), 1, field(VMCS_PLE_WINDOW));
	remake(VIRT_MANAGEMENT);
	assert_int_equal(field(VMCS_CPU_CONTROLS2) & optional, CPU2_USER_WAIT);
	virt_features = VIRT_TSC_SCALING;
	remake(VIRT_CHILD);
	assert_true(field(VMCS_CPU_CONTROLS2) & CPU2_TSC_SCALING);
	assert_int_equal(field(VMCS_TSC_MULTIPLIER), BIT(48));
	vmx_set(&vcpu, VREG_TSC_RATIO, TSC_RATIO_LIMIT - 1);
	assert_int_equal(field(VMCS_TSC_MULTIPLIER), (TSC_RATIO_LIMIT - 1) << 16);
	assert_int_equal(vmx_get(&vcpu, VREG_TSC_RATIO), TSC_RATIO_LIMIT - 1);
	remake(VIRT_MANAGEMENT);
	assert_false(field(VMCS_CPU_CONTROLS2) & CPU2_TSC_SCALING);
	virt_features = 0;
	remake(VIRT_CHILD);
	vmx_set(&vcpu, VREG_TSC_RATIO, TSC_RATIO_ONE); /* no field to write it to */
	assert_int_equal(vmx_get(&vcpu, VREG_TSC_RATIO), TSC_RATIO_ONE);
	assert_int_equal(field(VMCS_CPU_CONTROLS2) & optional, 0);
	assert_int_equal(field(VMCS_PIN_CONTROLS) & (PIN_NMI | PIN_VIRTUAL_NMIS), PIN_NMI);
	remake(VIRT_MANAGEMENT);
	assert_int_equal(field(VMCS_CPU_CONTROLS2) & optional, 0);
}

static void child_without_tpr_shadow(void **state)
{
	u32 cr8 = CPU_CR8_LOAD | CPU_CR8_STORE;

	virt_features &= ~(u64)VIRT_TPR_SHADOW;
	remake(VIRT_CHILD);
	assert_int_equal(field(VMCS_CPU_CONTROLS) & (cr8 | CPU_TPR_SHADOW), cr8);
	assert_null(vmx_of(&vcpu)->virtual_apic);
	assert_int_equal(pool_pages_left, 100 - 3 - 2); /* and no page is spent on it */
	remake(VIRT_MANAGEMENT);
	assert_int_equal(field(VMCS_CPU_CONTROLS) & cr8, 0);
}

/* Fields that this processor does not have are not written: VMWRITE would fail. */
static void processor_without_sgx(void **state)
{
	vmx_features.cpu2.zero |= CPU2_ENCLS | CPU2_ENCLV | CPU2_WBINVD;
	remake(VIRT_CHILD);
	assert_int_equal(field(VMCS_CPU_CONTROLS2) & (CPU2_ENCLS | CPU2_ENCLV | CPU2_WBINVD), 0);
	assert_int_not_equal(field(VMCS_ENCLS_EXITING), ~0ull);
	assert_int_not_equal(field(VMCS_ENCLV_EXITING), ~0ull);
}

static void addresses(void **state)
{
	assert_int_equal(*(u32 *)phys_ptr(vcpu.hw_hpa), FAKE_REVISION);
	assert_int_equal(field(VMCS_EPTP), 0x5000 | 6 | 3 << 3);
	assert_int_equal(vmx_of(&vcpu)->eptp, field(VMCS_EPTP));
	assert_int_equal(field(VMCS_IO_BITMAP_A), vm.io_map_hpa.v);
	assert_int_equal(field(VMCS_IO_BITMAP_B), vm.io_map_hpa.v + PAGE_SIZE);
	assert_int_equal(field(VMCS_MSR_BITMAP), vm.msr_map_hpa.v);
	assert_int_equal(field(VMCS_LINK_POINTER), ~0ull);
	assert_ptr_equal(vmcs->active, &cpu0);
	assert_false(vmcs->launched);
	/* As the contract says: all zero, and what a processor cannot have otherwise. */
	assert_int_equal(field(VMCS_GUEST_RFLAGS), 2);
	assert_int_equal(field(VMCS_GUEST_PAT), 0x0007040600070406);
	assert_int_equal(field(VMCS_GUEST_DR7), 0x400);
	assert_int_equal(field(VMCS_ENTRY_INTR_INFO), 0);
	assert_int_equal(field(VMCS_EXIT_MSR_LOAD_COUNT), 0);
	assert_int_equal(field(VMCS_GUEST_ACTIVITY), ACTIVITY_ACTIVE);
	assert_int_equal(vmx_get(&vcpu, VREG_CR0), 0);
	assert_int_equal(vmx_get(&vcpu, VREG_EFER), 0);
}

/* It is root's own, as it is when the vCPU is made. */
static void host_state(void **state)
{
	struct virt_vcpu second = {0};

	fake_cr[0] = 0x80050033;
	fake_cr[3] = 0x7000;
	fake_cr[4] = 0x26a0;
	fake_msr_set(MSR_PAT, 0x0007010600070106);
	fake_msr_set(MSR_EFER, EFER_LME | EFER_LMA | EFER_NXE);
	assert_int_equal(vmx_vcpu_init(&second, &vm, NULL), 0);
	vmcs = fake_vmcs_at(second.hw_hpa);
	assert_int_equal(field(VMCS_HOST_CR0), 0x80050033);
	assert_int_equal(field(VMCS_HOST_CR3), 0x7000);
	assert_int_equal(field(VMCS_HOST_CR4), 0x26a0);
	assert_int_equal(field(VMCS_HOST_PAT), 0x0007010600070106);
	assert_int_equal(field(VMCS_HOST_EFER), EFER_LME | EFER_LMA | EFER_NXE);
	assert_int_equal(field(VMCS_HOST_CS_SELECTOR), ROOT_CS);
	for (u32 i = VMCS_HOST_SS_SELECTOR; i <= VMCS_HOST_DS_SELECTOR; i += 2)
		assert_int_equal(field(i), ROOT_DS);
	assert_int_equal(field(VMCS_HOST_ES_SELECTOR), ROOT_DS);
	assert_int_equal(field(VMCS_HOST_FS_SELECTOR) | field(VMCS_HOST_GS_SELECTOR), 0);
	assert_int_equal(field(VMCS_HOST_TR_SELECTOR), ROOT_TSS);
	assert_int_equal(field(VMCS_HOST_SYSENTER_CS), 0);
	assert_int_equal(field(VMCS_HOST_RIP), (u64)vmx_exit_point);
	free(phys_ptr(second.hw_hpa));
}

static void no_memory(void **state)
{
	struct virt_vcpu none = {0};
	struct virt_vm empty = {0};

	for (u32 pages = 0; pages < 3; pages++) {
		pool_pages_left = pages;
		assert_int_equal(vmx_vm_init(&empty, NULL), -ENOMEM);
		assert_null(empty.msr_map);
		assert_int_equal(vmx_vcpu_init(&none, &vm, NULL), -ENOMEM);
		assert_null(none.hw);
		assert_int_equal(pool_pages_left, pages); /* nothing is taken, or given back */
	}
	assert_int_equal(vmclears + vmptrlds, 0);
	assert_ptr_equal(cpu0.current, &vcpu);
}

#define HW(f)	      cmocka_unit_test_setup(f, setup_hw)
#define CHILD(f)      cmocka_unit_test_setup_teardown(f, setup_child, teardown)
#define MANAGEMENT(f) cmocka_unit_test_setup_teardown(f, setup_management, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		HW(probe),
		HW(needed_controls),
		HW(features),
		HW(preemption_timers_that_count_wrongly),
		HW(capabilities),
		HW(return_predictor),
		HW(on_and_off),
		HW(feature_control_is_locked),
		HW(old_translations_go),
		HW(vmxon_fails),
		HW(off_leaves_no_vmcs_behind),
		MANAGEMENT(msr_map),
		CHILD(maps_child),
		CHILD(controls_child),
		CHILD(what_a_child_executes_natively),
		MANAGEMENT(controls_management),
		CHILD(features_switched_off),
		CHILD(child_without_tpr_shadow),
		CHILD(processor_without_sgx),
		CHILD(addresses),
		CHILD(host_state),
		CHILD(no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
