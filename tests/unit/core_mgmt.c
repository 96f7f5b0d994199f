// SPDX-License-Identifier: MIT
/* The management guest's launch and loop, CPUID, MSRs and sleep ports. */
#include "core/stats.h"
#include "tests/unit/mgmt.h"

static int setup(void **state)
{
	launch(2);
	return 0;
}

/* Runs the queued exits; the last of them resets the machine. */
static void run_to_reset(void)
{
	if (setjmp(after_reset))
		return;
	mgmt_run(here());
	fail();
}

/* The same with a triple fault as the last one, behind what the exits before it queued. */
static void run_to_reset_after(void)
{
	fake_push_exit(&(struct vm_exit){.reason = EXIT_TRIPLE_FAULT});
	run_to_reset();
}

static void launched_state(void **state)
{
	struct segment s;

	for (u32 i = 0; i < 6; i++)
		assert_int_equal(here()->v.gpr[i], launch_state.gpr[i]);
	assert_int_equal(here()->v.rip, CODE);
	assert_int_equal(hw()->reg[VREG_CR0], CR0_PE | CR0_ET);
	assert_int_equal(hw()->reg[VREG_STAR], 0x11);
	assert_int_equal(hw()->reg[VREG_SYSENTER_EIP], 0x22);
	assert_int_equal(hw()->reg[VREG_TSC_OFFSET], 0);
	assert_int_equal(hw()->intercepts, INTERCEPT_NMI);
	s = hw()->seg[SEG_CS];
	assert_int_equal(s.selector, 8);
	assert_int_equal(s.attr, 0xc9b);
	assert_int_equal(s.limit, 0xffffffff);
	assert_int_equal(s.base, 0);
	assert_int_equal(hw()->seg[SEG_FS].attr, 0); /* NULL: unusable */
	assert_int_equal(hw()->seg[SEG_TR].attr, SEG_P | 0xb);
	assert_int_equal(hw()->seg[SEG_GDTR].base, GDT);
	assert_int_equal(hw()->seg[SEG_IDTR].limit, 0xfff);
	assert_true(here()->v.dr_live);
	assert_ptr_equal(this_cpu()->dr_owner, &here()->v);
}

static void launched_task_register(void **state)
{
	struct boot_cpu_state with_tr = launch_state;

	mgmt_vm()->vcpu_count = 0;
	with_tr.tr = 0x18;
	((u64 *)phys_ptr(HPA(GDT)))[7] = 0x00cf93000000ffff;
	with_tr.fs = 0x38; /* behind the table's limit */
	with_tr.gs = 0x38;
	with_tr.gs_base = 0x1122334455;
	assert_int_equal(mgmt_cpu_launch(this_cpu(), &with_tr), 0);
	assert_int_equal(hw()->seg[SEG_TR].base, 0xfffff80012345600);
	assert_int_equal(hw()->seg[SEG_TR].limit, 0xff);
	assert_int_equal(hw()->seg[SEG_TR].attr, 0x8b);
	assert_int_equal(hw()->seg[SEG_FS].attr, 0);
	assert_int_equal(hw()->seg[SEG_GS].attr, 0);
	assert_int_equal(hw()->seg[SEG_GS].base, 0x1122334455);
}

static void undo(void **state)
{
	virt->load(&here()->v, this_cpu());
	mgmt_cpu_undo(this_cpu());
	assert_null(this_cpu()->loaded);
	assert_null(this_cpu()->management);
}

static void hypercall(void **state)
{
	run();
	assert_int_equal(here()->v.rip, CODE + 3);
}

static void hypercall_refused(void **state)
{
	const struct vm_exit call = {.reason = EXIT_HYPERCALL, .insn_len = 3};
	u64 values[] = {0, MGMT_HYPERCALL + BIT(32), MGMT_HYPERCALL};

	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		u32 before = hw()->delivered_count;
		struct segment ss = hw()->seg[SEG_SS];

		here()->v.rip = CODE;
		here()->v.gpr[GPR_RAX] = values[i];
		if (i == 2) /* the right number, from CPL 3 */
			hw()->seg[SEG_SS].attr |= SEG_DPL;
		fake_push_exit(&call);
		exit_with((struct vm_exit){.reason = EXIT_TRIPLE_FAULT});
		run_to_reset();
		assert_int_equal(hw()->delivered_count, before + 1);
		delivered(VECTOR_UD);
		assert_int_equal(here()->v.rip, CODE);
		hw()->seg[SEG_SS] = ss;
	}
}

static void hidden_instructions(void **state)
{
	exit_with((struct vm_exit){.reason = EXIT_VIRT_INSN, .insn_len = 3});
	run();
	delivered(VECTOR_UD);
}

static u32 written_back;

void wbinvd(void)
{
	written_back++;
}

static void invd_writes_back(void **state)
{
	written_back = 0;
	exit_with((struct vm_exit){.reason = EXIT_INVD, .insn_len = 2});
	run();
	assert_int_equal(written_back, 1);
	assert_int_equal(here()->v.rip, CODE + 2 + 3);
	assert_int_equal(hw()->delivered_count, 0);
}

static void resets(void **state)
{
	static const u16 reasons[] = {EXIT_TRIPLE_FAULT, EXIT_INIT, EXIT_INVALID, EXIT_UNKNOWN,
				      EXIT_HLT};
	static struct exit_ring ring;

	cpus[0]->ring = &ring;
	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
		fake_log_count = 0;
		exit_with((struct vm_exit){.reason = reasons[i]});
		run_to_reset();
		assert_int_equal(hw()->dumps, i + 1);
		/* why, the ring's head, and the exits so far, this one last */
		assert_int_equal(fake_log_count, 2 + i + 1);
		assert_non_null(strstr(fake_log_last, exit_reason_name(reasons[i])));
	}
}

static void machine_check_at_entry(void **state)
{
	exit_with((struct vm_exit){.reason = EXIT_MCE});
	run();
	delivered(VECTOR_MC);
}

/* An event that the exit cut short is delivered again. */
static void vectoring(void **state)
{
	exit_with((struct vm_exit){.reason = EXIT_NONE,
				   .vectoring = {.type = EVENT_EXCEPTION,
						 .vector = VECTOR_PF,
						 .has_error = true,
						 .error = 2}});
	run();
	assert_int_equal(delivered(VECTOR_PF)->error, 2);
}

static void ask(u32 leaf, u32 subleaf)
{
	here()->v.gpr[GPR_RAX] = leaf;
	here()->v.gpr[GPR_RCX] = subleaf;
	mgmt_cpuid(here());
}

#define REG(name) ((u32)here()->v.gpr[GPR_##name])

static void cpuid_hides(void **state)
{
	fake_leaf[0].ecx = ~0u & ~(u32)BIT(31);
	fake_leaf[1].ecx = ~0u;
	ask(1, 0);
	assert_int_equal(REG(RCX), ~0u & ~(u32)(BIT(5) | BIT(6) | BIT(27)));
	ask(0x80000001, 5); /* ECX does not matter */
	assert_int_equal(REG(RCX), ~0u & ~(u32)(BIT(2) | BIT(12)));
	ask(0x8000000a, 0);
	assert_int_equal(REG(RAX) | REG(RBX) | REG(RCX) | REG(RDX), 0);
	ask(0x8000001f, 0);
	assert_int_equal(REG(RAX) | REG(RBX) | REG(RCX) | REG(RDX), 0);
	ask(0x14, 0);
	assert_int_equal(REG(RAX) | REG(RBX) | REG(RCX) | REG(RDX), 0);
	ask(7, 0);
	assert_int_equal(REG(RBX), ~0u & ~(u32)(BIT(2) | BIT(25)));
	assert_int_equal(REG(RDX), ~0u & ~(u32)(BIT(5) | BIT(18)));
	assert_int_equal(REG(RAX), ~0u);
	ask(7, 1);
	assert_int_equal(REG(RAX), ~0u & ~(u32)(BIT(17) | BIT(18) | BIT(27)));
	assert_int_equal(REG(RDX), ~0u & ~(u32)BIT(15));
	assert_int_equal(REG(RBX), ~0u);
	ask(0x80000008, 0);
	assert_int_equal(REG(RBX), ~0u & ~(u32)(BIT(3) | BIT(8)));
}

/* VMMs look for the bit before they open /dev/kvm; a kernel that saw it would use it. */
static void cpuid_shows_users(void **state)
{
	fake_leaf[0].ecx = fake_leaf[1].ecx = ~0u & ~(u32)BIT(31);
	hw()->seg[SEG_SS].attr |= SEG_DPL;
	ask(0x80000001, 0);
	assert_false(REG(RCX) & BIT(2));
	mgmt_show_virt(true);
	ask(0x80000001, 0);
	assert_true(REG(RCX) & BIT(2));
	assert_false(REG(RCX) & BIT(12));
	ask(1, 0);
	assert_false(REG(RCX) & BIT(5));
	hw()->seg[SEG_SS].attr &= ~SEG_DPL;
	ask(0x80000001, 0);
	assert_false(REG(RCX) & BIT(2));
	hw()->seg[SEG_SS].attr |= SEG_DPL;
	mgmt_show_virt(false);
	ask(0x80000001, 0);
	assert_false(REG(RCX) & BIT(2));
}

/* What the backend does not enable would be #UD. */
static void cpuid_follows_the_backend(void **state)
{
	fake_leaf[1].edx = ~0u;
	ask(7, 0);
	assert_int_equal(REG(RCX) & (BIT(5) | BIT(22)), BIT(5) | BIT(22));
	virt_features = 0;
	ask(7, 0);
	assert_int_equal(REG(RCX) & (BIT(5) | BIT(22)), 0);
	assert_int_equal(REG(RBX) & BIT(10), 0);
	ask(0x80000001, 0);
	assert_int_equal(REG(RDX), ~0u & ~(u32)BIT(27));
	fake_leaf[3].eax = ~0u;
	ask(0xd, 1);
	assert_int_equal(REG(RAX), ~0u & ~(u32)BIT(3));
	ask(0xd, 0);
	assert_int_equal(REG(RAX), 3);
}

static void cpuid_unknown_leaves(void **state)
{
	ask(0, 0);
	assert_int_equal(REG(RAX), 0x1f);
	ask(0x80000000, 0);
	assert_int_equal(REG(RAX), 0x80000026);
	ask(0x21, 0);
	assert_int_equal(REG(RAX) | REG(RBX) | REG(RCX) | REG(RDX), 0);
	ask(0x80000027, 0);
	assert_int_equal(REG(RAX) | REG(RBX) | REG(RCX) | REG(RDX), 0);
}

static void cpuid_follows_cr4(void **state)
{
	hw()->reg[VREG_CR4] = CR4_OSXSAVE | CR4_PKE;
	ask(1, 0);
	assert_true(REG(RCX) & BIT(27));
	ask(7, 0);
	assert_true(REG(RCX) & BIT(4));
	hw()->reg[VREG_CR4] = 0;
	fake_leaf[0].ecx = BIT(27);
	ask(1, 0);
	assert_false(REG(RCX) & BIT(27));
	assert_true(REG(RCX) & BIT(31));
	ask(7, 0);
	assert_false(REG(RCX) & BIT(4));
}

static void expect_keel_at(u32 leaf)
{
	ask(leaf, 0);
	assert_int_equal(REG(RAX), leaf + 1);
	assert_memory_equal(&here()->v.gpr[GPR_RBX], "Keel", 4);
	assert_memory_equal(&here()->v.gpr[GPR_RCX], "Keel", 4);
	assert_memory_equal(&here()->v.gpr[GPR_RDX], "Keel", 4);
	ask(leaf + 1, 0);
	assert_int_equal(REG(RAX), MGMT_INTERFACE);
	ask(leaf + 2, 0);
	assert_int_equal(REG(RAX), 0);
}

static void cpuid_keel_leaf(void **state)
{
	expect_keel_at(0x40000000);
	fake_leaf[0].ecx = BIT(31);
	fake_leaf[2] = (struct cpuid_regs){0x40000001, 0x54474354, 0x43544743, 0x47435447};
	mgmt_cpuid_init();
	expect_keel_at(0x40000100); /* the outer hypervisor has the first */
	ask(0x40000000, 0);
	assert_int_equal(REG(RBX), 0x54474354);
}

static void cpuid_exit(void **state)
{
	here()->v.gpr[GPR_RAX] = 0;
	exit_with((struct vm_exit){.reason = EXIT_CPUID, .insn_len = 2});
	exit_with((struct vm_exit){.reason = EXIT_TRIPLE_FAULT});
	run_to_reset();
	assert_int_equal(here()->v.rip, CODE + 2);
}

static void msr_map(void **state)
{
	static const struct {
		u32 index;
		bool read, write;
	} wanted[] = {
		{MSR_EFER, true, true},
		{MSR_APIC_BASE, false, true},
		{MSR_X2APIC_ICR, false, true},
		{MSR_VM_CR, true, true},
		{MSR_VM_HSAVE_PA, true, true},
		{MSR_SVM_LOCK_KEY, true, true},
		{MSR_SYSCFG, false, true},
		{MSR_TSC, false, false},
		{MSR_FEATURE_CONTROL, true, true},
		{MSR_SMM_MONITOR_CTL, true, true},
		{0x47f, false, false},
		{MSR_VMX_BASIC, true, true},
		{0x493, true, true},
		{0x494, false, false},
		{MSR_RTIT_OUTPUT_BASE, true, true},
		{0x587, true, true},
		{MSR_DEBUGCTL, false, false},
		{MSR_PERF_GLOBAL_CTRL, false, true},
		{MSR_XSS, false, true},
		{MSR_SPEC_CTRL, false, true},
		{MSR_MISC_ENABLE, false, false},
		{MSR_LSTAR, false, false},
		{MSR_PAT, false, false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
		assert_int_equal(fake_msr_intercepted(&mgmt_vm()->virt, wanted[i].index, false),
				 wanted[i].read);
		assert_int_equal(fake_msr_intercepted(&mgmt_vm()->virt, wanted[i].index, true),
				 wanted[i].write);
	}
}

static void writes(u32 index, u64 value)
{
	here()->v.gpr[GPR_RCX] = index;
	here()->v.gpr[GPR_RAX] = (u32)value;
	here()->v.gpr[GPR_RDX] = value >> 32;
	exit_with((struct vm_exit){.reason = EXIT_WRMSR, .insn_len = 2});
	run_to_reset_after();
}

/* Their writes exit until one is not 0: from then on each world switch reads them. */
static void msrs_of_both_worlds(void **state)
{
	static const u32 switched[] = {MSR_PERF_GLOBAL_CTRL, MSR_PERF_CNT_GLOBAL_CTL, MSR_XSS,
				       MSR_SPEC_CTRL};

	writes(MSR_SPEC_CTRL, 0);
	for (size_t i = 0; i < ARRAY_SIZE(switched); i++)
		assert_true(fake_msr_intercepted(&mgmt_vm()->virt, switched[i], true));
	fake_msr_faults(MSR_XSS, true);
	writes(MSR_XSS, 0x800);
	assert_true(fake_msr_intercepted(&mgmt_vm()->virt, MSR_XSS, true));
	fake_msr_faults(MSR_XSS, false);
	writes(MSR_XSS, 0x800);
	assert_int_equal(fake_msr_get(MSR_XSS), 0x800);
	for (size_t i = 0; i < ARRAY_SIZE(switched); i++)
		assert_false(fake_msr_intercepted(&mgmt_vm()->virt, switched[i], true));
}

/* A backend that does not read them back hears of each write. */
static void syscall_msrs_are_told(void **state)
{
	assert_false(fake_msr_intercepted(&mgmt_vm()->virt, MSR_LSTAR, true));
	ops.syscall_msrs_told = true;
	mgmt_msr_init(mgmt_vm());
	for (u32 index = MSR_STAR; index <= MSR_SFMASK; index++) {
		assert_true(fake_msr_intercepted(&mgmt_vm()->virt, index, true));
		assert_false(fake_msr_intercepted(&mgmt_vm()->virt, index, false));
		writes(index, 0x1234500000000 + index);
		assert_int_equal(fake_msr_get(index), 0x1234500000000 + index);
		assert_int_equal(hw()->reg[VREG_STAR + index - MSR_STAR], 0x1234500000000 + index);
	}
	fake_msr_faults(MSR_LSTAR, true);
	writes(MSR_LSTAR, 1ull << 63);
	assert_int_not_equal(hw()->reg[VREG_LSTAR], 1ull << 63);
	fake_msr_faults(MSR_LSTAR, false);
}

static void msr_hidden(void **state)
{
	static const u32 hidden[] = {MSR_VM_CR,	    MSR_VM_HSAVE_PA, MSR_SVM_LOCK_KEY,
				     0xc001011b,    MSR_TSC_RATIO,   MSR_SMM_MONITOR_CTL,
				     MSR_VMX_BASIC, 0x493,	     MSR_RTIT_OUTPUT_BASE,
				     0x587};
	u64 value;

	for (size_t i = 0; i < ARRAY_SIZE(hidden); i++) {
		assert_int_equal(mgmt_rdmsr(here(), hidden[i], &value), -EINVAL);
		assert_int_equal(mgmt_wrmsr(here(), hidden[i], 0), -EINVAL);
	}
}

static void msr_efer(void **state)
{
	u64 root = EFER_SVME | EFER_LME | EFER_LMA | EFER_NXE, value;

	fake_msr_set(MSR_EFER, root);
	assert_int_equal(mgmt_wrmsr(here(), MSR_EFER, EFER_SVME), -EINVAL);
	here()->v.flush = false;
	assert_int_equal(mgmt_wrmsr(here(), MSR_EFER, EFER_LME | EFER_SCE), 0);
	assert_int_equal(mgmt_rdmsr(here(), MSR_EFER, &value), 0);
	assert_int_equal(value, EFER_LME | EFER_SCE);
	assert_int_equal(fake_msr_get(MSR_EFER), root); /* root's own is as it was */
	assert_true(here()->v.flush);
	/* LMA is the processor's; LME may not change under paging. */
	hw()->reg[VREG_EFER] = EFER_LME | EFER_LMA;
	hw()->reg[VREG_CR0] |= CR0_PG;
	assert_int_equal(mgmt_wrmsr(here(), MSR_EFER, EFER_LMA), -EINVAL);
	assert_int_equal(mgmt_wrmsr(here(), MSR_EFER, EFER_LME | EFER_NXE), 0);
	assert_int_equal(hw()->reg[VREG_EFER], EFER_LME | EFER_LMA | EFER_NXE);
	fake_msr_faults(MSR_EFER, true); /* a bit that the processor does not have */
	assert_int_equal(mgmt_wrmsr(here(), MSR_EFER, BIT(20)), -EINVAL);
}

static void msr_feature_control(void **state)
{
	u64 value;

	fake_msr_set(MSR_FEATURE_CONTROL, BIT(0) | BIT(1) | BIT(2) | BIT(18) | BIT(20));
	assert_int_equal(mgmt_rdmsr(here(), MSR_FEATURE_CONTROL, &value), 0);
	assert_int_equal(value, BIT(0) | BIT(20)); /* locked; no VMX, SMX, SGX */
	assert_int_equal(mgmt_wrmsr(here(), MSR_FEATURE_CONTROL, BIT(0)), -EINVAL);
	fake_msr_faults(MSR_FEATURE_CONTROL, true); /* AMD's processors have none */
	assert_int_equal(mgmt_rdmsr(here(), MSR_FEATURE_CONTROL, &value), -EINVAL);
}

static void msr_apic_base(void **state)
{
	u64 base = MGMT_APIC_PAGE | APIC_BASE_ENABLE;

	assert_int_equal(mgmt_wrmsr(here(), MSR_APIC_BASE, base | APIC_BASE_X2APIC), 0);
	assert_int_equal(fake_msr_get(MSR_APIC_BASE), base | APIC_BASE_X2APIC);
	assert_int_equal(mgmt_wrmsr(here(), MSR_APIC_BASE, 0xfed00000 | APIC_BASE_ENABLE), -EINVAL);
	assert_int_equal(fake_msr_get(MSR_APIC_BASE), base | APIC_BASE_X2APIC);
	fake_msr_faults(MSR_APIC_BASE, true); /* x2APIC to xAPIC: the processor's #GP */
	assert_int_equal(mgmt_wrmsr(here(), MSR_APIC_BASE, base), -EINVAL);
}

static void msr_syscfg(void **state)
{
	fake_msr_set(MSR_SYSCFG, BIT(21));
	assert_int_equal(mgmt_wrmsr(here(), MSR_SYSCFG, BIT(21) | BIT(23)), -EINVAL);
	assert_int_equal(mgmt_wrmsr(here(), MSR_SYSCFG, BIT(20)), 0);
	assert_int_equal(fake_msr_get(MSR_SYSCFG), BIT(20));
	fake_msr_faults(MSR_SYSCFG, true); /* Intel's processors have none */
	assert_int_equal(mgmt_wrmsr(here(), MSR_SYSCFG, BIT(20)), -EINVAL);
}

static void msr_others(void **state)
{
	u64 value;

	fake_msr_set(0x4b564d00, 0x1234);
	assert_int_equal(mgmt_rdmsr(here(), 0x4b564d00, &value), 0);
	assert_int_equal(value, 0x1234);
	fake_msr_faults(0x4b564d00, true);
	assert_int_equal(mgmt_rdmsr(here(), 0x4b564d00, &value), -EINVAL);
	assert_int_equal(mgmt_wrmsr(here(), 0x4b564d00, 1), -EINVAL);
}

static void msr_exits(void **state)
{
	u64 *gpr = here()->v.gpr;

	fake_msr_set(0x4b564d00, 0x1111111122222222);
	gpr[GPR_RCX] = 0x4b564d00;
	exit_with((struct vm_exit){.reason = EXIT_RDMSR, .insn_len = 2});
	exit_with((struct vm_exit){.reason = EXIT_TRIPLE_FAULT});
	run_to_reset();
	assert_int_equal(gpr[GPR_RDX], 0x11111111);
	assert_int_equal(here()->v.rip, CODE + 2);
	here()->v.rip = CODE;
	gpr[GPR_RCX] = MSR_VM_CR;
	exit_with((struct vm_exit){.reason = EXIT_WRMSR, .insn_len = 2});
	run();
	delivered(VECTOR_GP);
}

static void set_xcr0(u32 index, u64 value)
{
	here()->v.rip = CODE;
	here()->v.gpr[GPR_RAX] = (u32)value;
	here()->v.gpr[GPR_RDX] = value >> 32;
	here()->v.gpr[GPR_RCX] = index;
	exit_with((struct vm_exit){.reason = EXIT_XSETBV, .insn_len = 3});
	run_to_reset_after();
}

/* XCR0 is the guest's own: the processor says what may be in it. */
static void xsetbv_exit(void **state)
{
	fake_xcr0 = 1;
	set_xcr0(0, XCR0_X87 | XCR0_SSE | XCR0_AVX);
	assert_int_equal(fake_xcr0, 7);
	assert_int_equal(here()->v.rip, CODE + 3);
	set_xcr0(0, XCR0_SSE); /* without x87 */
	delivered(VECTOR_GP);
	assert_int_equal(here()->v.rip, CODE);
	assert_int_equal(fake_xcr0, 7);
	set_xcr0(1, XCR0_X87);
	assert_int_equal(hw()->delivered_count, 2);
	hw()->seg[SEG_SS].attr |= SEG_DPL;
	set_xcr0(0, XCR0_X87);
	assert_int_equal(hw()->delivered_count, 3);
	assert_int_equal(fake_xcr0, 7);
}

static void write_control(u8 nr, u64 value)
{
	here()->v.rip = CODE;
	here()->v.gpr[GPR_RBX] = value;
	exit_with((struct vm_exit){.reason = EXIT_CR_WRITE,
				   .insn_len = 3,
				   .mov = {.nr = nr, .gpr = GPR_RBX, .gpr_known = true}});
	run_to_reset_after();
}

/* NE is fixed on VMX: the guest sees what it wrote, with all that the write changes besides. */
static void control_registers(void **state)
{
	hw()->reg[VREG_EFER] = EFER_LME;
	hw()->reg[VREG_CR4] = CR4_PAE;
	write_control(0, CR0_PE | CR0_NE | CR0_PG);
	assert_int_equal(hw()->reg[VREG_CR0], CR0_PE | CR0_ET | CR0_NE | CR0_PG);
	assert_int_equal(hw()->reg[VREG_EFER], EFER_LME | EFER_LMA);
	assert_int_equal(here()->v.rip, CODE + 3);
	write_control(0, CR0_PE | CR0_PG); /* and back */
	assert_int_equal(hw()->reg[VREG_CR0], CR0_PE | CR0_ET | CR0_PG);
	assert_int_equal(hw()->delivered_count, 0);
	write_control(0, CR0_PG | CR0_NE); /* paging without protection */
	delivered(VECTOR_GP);
	assert_int_equal(here()->v.rip, CODE);
	write_control(4, CR4_PAE | CR4_VMXE);
	assert_int_equal(hw()->delivered_count, 2);
	write_control(4, CR4_PAE | CR4_SMXE);
	assert_int_equal(hw()->delivered_count, 3);
	assert_int_equal(hw()->reg[VREG_CR4], CR4_PAE);
}

/* By a far JMP to a 32-bit TSS; what nobody can emulate is #GP. */
static void task_switch_exit(void **state)
{
	u64 *gdt = phys_ptr(HPA(GDT));
	u32 *tss = phys_ptr(HPA(FAKE_GUEST + 0x3000));
	u32 *old = phys_ptr(HPA(FAKE_GUEST + 0x4000));
	struct segment tr = {
		.selector = 0x28, .attr = SEG_P | 0xb, .limit = 0x67, .base = FAKE_GUEST + 0x4000};
	struct vm_exit e = {.reason = EXIT_TASK_SWITCH,
			    .insn_len = 7,
			    .task_switch = {.selector = 0x30, .source = 2}};

	gdt[5] = 0x02008b0040000067; /* bases 0x2004000 and 0x2003000 */
	gdt[6] = 0x0200890030000067;
	tss[8] = CODE + 0x100; /* EIP */
	tss[9] = RFLAGS_ONE;
	tss[19] = 0x08; /* CS; then SS */
	tss[20] = 0x10;
	virt->set_segment(&here()->v, SEG_TR, &tr);
	fake_push_exit(&e);
	run_to_reset_after();
	assert_int_equal(here()->v.rip, CODE + 0x100);
	assert_int_equal(hw()->seg[SEG_TR].selector, 0x30);
	assert_int_equal(old[8], CODE + 7);
	assert_int_equal(hw()->delivered_count, 0);
	tr.base = 0xf0000000; /* no memory is there */
	virt->set_segment(&here()->v, SEG_TR, &tr);
	fake_push_exit(&e);
	run_to_reset_after();
	delivered(VECTOR_GP);
}

static u32 port_writes, last_port_value;

static void port_out(u16 port, u32 size, u32 value)
{
	port_writes++;
	last_port_value = value;
}

static void pm1(u16 port, u8 size, u32 value)
{
	/* RAX must be the hypercall's when the run ends: a string of one exit a run. */
	here()->v.gpr[GPR_RAX] = value;
	here()->v.rip = CODE;
	exit_with((struct vm_exit){
		.reason = EXIT_IO, .insn_len = 1, .io = {.port = port, .size = size}});
	exit_with((struct vm_exit){.reason = EXIT_TRIPLE_FAULT});
	run_to_reset();
}

static void sleep_states(void **state)
{
	port_writes = 0;
	fake_port_out = port_out;
	assert_true(fake_port_intercepted(&mgmt_vm()->virt, 0x604));
	assert_true(fake_port_intercepted(&mgmt_vm()->virt, 0x605));
	assert_false(fake_port_intercepted(&mgmt_vm()->virt, 0x606));
	pm1(0x604, 2, BIT(13) | 1 << 10);
	pm1(0x604, 2, BIT(13) | 2 << 10);
	pm1(0x604, 4, BIT(13) | 1 << 10);
	pm1(0x605, 1, BIT(5) | 1 << 2);
	assert_int_equal(port_writes, 0);
	assert_int_equal(mgmt_counters.dropped_sleeps, 4);
	assert_int_equal(here()->v.rip, CODE + 1);
	pm1(0x604, 2, BIT(13)); /* S5 here */
	assert_int_equal(port_writes, 1);
	assert_int_equal(last_port_value, BIT(13));
	pm1(0x604, 2, 1 << 10); /* no SLP_EN */
	pm1(0x604, 1, 0x20);	/* the low byte */
	assert_int_equal(port_writes, 3);
}

/* The guest polls for the end of a sleep that was dropped. */
static u32 status_in(u16 port, u32 size)
{
	return 0;
}

static u64 read_port(u16 port, u8 size)
{
	here()->v.gpr[GPR_RAX] = 0;
	exit_with((struct vm_exit){
		.reason = EXIT_IO, .insn_len = 1, .io = {.port = port, .size = size, .in = true}});
	exit_with((struct vm_exit){.reason = EXIT_TRIPLE_FAULT});
	run_to_reset();
	return here()->v.gpr[GPR_RAX];
}

static void wakes_at_once(void **state)
{
	fake_port_in = status_in;
	assert_true(fake_port_intercepted(&mgmt_vm()->virt, 0x600));
	pm1(0x600, 2, BIT(15)); /* nothing to clear yet */
	assert_int_equal(read_port(0x600, 2), 0);
	pm1(0x604, 2, BIT(13) | 1 << 10);
	assert_int_equal(read_port(0x600, 2), BIT(15));
	assert_int_equal(read_port(0x600, 4), BIT(15));
	assert_int_equal(read_port(0x601, 1), BIT(7));
	assert_int_equal(read_port(0x600, 1), 0);
	assert_int_equal(read_port(0x604, 2), 0);
	pm1(0x600, 2, BIT(0)); /* another bit */
	assert_int_equal(read_port(0x600, 2), BIT(15));
	pm1(0x600, 2, BIT(15));
	assert_int_equal(read_port(0x600, 2), 0);
}

static u32 port_in(u16 port, u32 size)
{
	return 0x89abcdef;
}

static void port_reads(void **state)
{
	static const struct {
		u8 size;
		u64 rax;
	} cases[] = {{1, 0x11111111222222ef}, {2, 0x111111112222cdef}, {4, 0x89abcdef}};

	fake_port_in = port_in;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		here()->v.gpr[GPR_RAX] = 0x1111111122222222;
		exit_with(
			(struct vm_exit){.reason = EXIT_IO,
					 .insn_len = 1,
					 .io = {.port = 0x604, .size = cases[i].size, .in = true}});
		exit_with((struct vm_exit){.reason = EXIT_TRIPLE_FAULT});
		run_to_reset();
		assert_int_equal(here()->v.gpr[GPR_RAX], cases[i].rax);
	}
	exit_with((struct vm_exit){.reason = EXIT_IO,
				   .insn_len = 1,
				   .io = {.port = 0x604, .size = 1, .string = true}});
	run();
	delivered(VECTOR_GP);
}

static void statistics(void **state)
{
	exit_with((struct vm_exit){.reason = EXIT_NONE});
	run();
	assert_int_equal(mgmt_vm()->vcpus[0]->v.rip, CODE + 3);
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(launched_state),
		TEST(launched_task_register),
		TEST(undo),
		TEST(hypercall),
		TEST(hypercall_refused),
		TEST(hidden_instructions),
		TEST(resets),
		TEST(vectoring),
		TEST(cpuid_hides),
		TEST(cpuid_shows_users),
		TEST(cpuid_unknown_leaves),
		TEST(cpuid_follows_cr4),
		TEST(cpuid_keel_leaf),
		TEST(cpuid_exit),
		TEST(msr_map),
		TEST(msrs_of_both_worlds),
		TEST(syscall_msrs_are_told),
		TEST(msr_hidden),
		TEST(msr_efer),
		TEST(msr_apic_base),
		TEST(msr_syscfg),
		TEST(msr_others),
		TEST(msr_exits),
		TEST(sleep_states),
		TEST(wakes_at_once),
		TEST(port_reads),
		TEST(statistics),
		TEST(invd_writes_back),
		TEST(cpuid_follows_the_backend),
		TEST(msr_feature_control),
		TEST(xsetbv_exit),
		TEST(control_registers),
		TEST(task_switch_exit),
		TEST(machine_check_at_entry),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
