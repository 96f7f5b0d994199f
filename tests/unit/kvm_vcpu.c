/* SPDX-License-Identifier: MIT */
/* Requests on a vCPU: each result and each errno. */
#include "tests/unit/kvm_machine.h"

#include "core/cpuid.h"
#include "core/msr.h"
#include "core/xstate.h"

static u64 vm, handle;
static struct vcpu *vcpu;

static struct vcpu *vcpu_of(u64 h)
{
	struct vm_slot *slot;
	struct vcpu *v;
	struct vm *m;

	assert_int_equal(handle_enter(cpus[0], h, &slot, &m, &v), 0);
	handle_leave(cpus[0]);
	return v;
}

static int start(void **state)
{
	if (machine_start(2))
		return -1;
	vm = vm_new();
	handle = vcpu_new(vm, 0);
	vcpu = vcpu_of(handle);
	return 0;
}

static int start_with_irqchip(void **state)
{
	if (machine_start(2))
		return -1;
	vm = vm_new();
	assert_int_equal(call(vm, KVM_CREATE_IRQCHIP, 0, 0, 0), 0);
	handle = vcpu_new(vm, 0);
	vcpu_new(vm, 1);
	vcpu = vcpu_of(handle);
	return 0;
}

static s64 on_vcpu(u32 number, void *data, u64 bytes)
{
	return request(handle, number, data, bytes);
}

static void test_unknown_requests(void **state)
{
	static const u32 unknown[] = {
		0,
		~0u,
		KVM_GET_API_VERSION,
		KVM_RUN,
		KVM_SET_SIGNAL_MASK,
		KVM_SMI,
		KVM_X86_GET_MCE_CAP_SUPPORTED,
		KVM_GET_NESTED_STATE,
		KVM_IRQ_LINE,
		KVM_SET_USER_MEMORY_REGION,
		KEEL_INFO,
		KVM_SET_ONE_REG,
	};

	for (u32 i = 0; i < ARRAY_SIZE(unknown); i++)
		assert_int_equal(call(handle, unknown[i], 0, 0, 0), -EINVAL);
}

static void test_busy(void **state)
{
	struct kvm_regs regs;

	assert_true(vcpu_take(vcpu));
	assert_int_equal(on_vcpu(KVM_GET_REGS, &regs, sizeof(regs)), -EBUSY);
	assert_int_equal(call(handle, KEEL_RUN, ~0ull, 0, 0), -EBUSY);
	assert_int_equal(call(handle, KEEL_KICK, 0, 0, 0), 0);
	assert_true(vcpu->request & REQUEST_KICK);
	assert_int_equal(call(handle, KEEL_STATS, BIG_ARGUMENT, sizeof(struct keel_stats), 0), 0);
	vcpu_release(vcpu);
	assert_int_equal(on_vcpu(KVM_GET_REGS, &regs, sizeof(regs)), 0);
}

static void test_regs(void **state)
{
	struct kvm_regs in, out;

	for (u32 i = 0; i < sizeof(in); i++)
		((u8 *)&in)[i] = i + 1;
	in.rflags = RFLAGS_IF;
	vcpu->events.exception.pending = true;
	assert_int_equal(on_vcpu(KVM_SET_REGS, &in, sizeof(in)), 0);
	assert_int_equal(vcpu->v.gpr[GPR_RAX], in.rax);
	assert_int_equal(vcpu->v.gpr[GPR_RBX], in.rbx);
	assert_int_equal(vcpu->v.gpr[GPR_RSP], in.rsp);
	assert_int_equal(vcpu->v.gpr[GPR_RDI], in.rdi);
	assert_int_equal(vcpu->v.gpr[GPR_R15], in.r15);
	assert_int_equal(vcpu->v.rip, in.rip);
	assert_false(vcpu->events.exception.pending);
	assert_int_equal(on_vcpu(KVM_GET_REGS, &out, sizeof(out)), 0);
	in.rflags |= RFLAGS_ONE;
	assert_memory_equal(&in, &out, sizeof(in));
	assert_int_equal(call(handle, KVM_SET_REGS, ARGUMENTS, sizeof(in) - 1, 0), -EINVAL);
	assert_int_equal(call(handle, KVM_GET_REGS, ARGUMENTS, sizeof(in) - 1, 0), -EINVAL);
	assert_int_equal(call(handle, KVM_GET_REGS, 0x1000, sizeof(in), 0), -EFAULT);
	assert_int_equal(call(handle, KVM_SET_REGS, ~0ull - 8, sizeof(in), 0), -EFAULT);
	/* A donated page reads as zeros, whatever Keel has in it. */
	assert_int_equal(call(handle, KVM_SET_REGS, DONATIONS, sizeof(in), 0), 0);
	assert_int_equal(vcpu->v.gpr[GPR_RAX] | vcpu->v.rip, 0);
}

static struct kvm_sregs sregs_now(void)
{
	struct kvm_sregs s;

	memset(&s, 0xff, sizeof(s));
	assert_int_equal(on_vcpu(KVM_GET_SREGS, &s, sizeof(s)), 0);
	return s;
}

static s64 set_sregs(struct kvm_sregs s)
{
	return on_vcpu(KVM_SET_SREGS, &s, sizeof(s));
}

static struct kvm_sregs long_mode(void)
{
	struct kvm_sregs s = sregs_now();

	s.cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_NE;
	s.cr3 = 0x1000;
	s.cr4 = CR4_PAE;
	s.efer = EFER_LME | EFER_LMA;
	s.cs.l = 1;
	s.cs.db = 0;
	return s;
}

static void test_sregs_after_reset(void **state)
{
	struct kvm_sregs s = sregs_now();

	assert_int_equal(s.cs.selector, 0xf000);
	assert_int_equal(s.cs.base, 0xffff0000);
	assert_int_equal(s.cs.limit, 0xffff);
	assert_int_equal(s.cs.present, 1);
	assert_int_equal(s.cs.s, 1);
	assert_int_equal(s.cs.unusable, 0);
	assert_int_equal(s.cr0, 0x60000010);
	assert_int_equal(s.gdt.limit, 0xffff);
	assert_int_equal(s.gdt.padding[2], 0);
	assert_int_equal(s.efer, 0);
	assert_int_equal(s.apic_base, 0xfee00900);
	assert_int_equal(s.interrupt_bitmap[0], 0);
	assert_int_equal(set_sregs(s), 0);
}

static void test_segments_keep_their_bits(void **state)
{
	struct kvm_sregs s = sregs_now(), out;

	s.ds = (struct kvm_segment){
		.base = 0x12345678,
		.limit = 0xfffff,
		.selector = 0x2b,
		.type = 3,
		.present = 1,
		.dpl = 3,
		.db = 1,
		.s = 1,
		.l = 0,
		.g = 1,
		.avl = 1,
	};
	s.es = (struct kvm_segment){.type = 3, .present = 1, .s = 1, .unusable = 1};
	s.gdt = (struct kvm_dtable){.base = 0xabc000, .limit = 0x7f};
	s.idt = (struct kvm_dtable){.base = 0xdef000, .limit = 0xfff};
	s.cr2 = 0x1234;
	s.cr8 = 9;
	assert_int_equal(set_sregs(s), 0);
	out = sregs_now();
	assert_memory_equal(&out.ds, &s.ds, sizeof(s.ds));
	assert_int_equal(out.es.unusable, 1);
	assert_int_equal(out.es.present, 0);
	assert_int_equal(out.gdt.base, 0xabc000);
	assert_int_equal(out.idt.limit, 0xfff);
	assert_int_equal(out.cr2, 0x1234);
	assert_int_equal(out.cr8, 9);
	s.cr8 = 16;
	assert_int_equal(set_sregs(s), 0);
	assert_int_equal(sregs_now().cr8, 9);
}

static void test_sregs_validity(void **state)
{
	struct kvm_sregs s;

	assert_int_equal(set_sregs(long_mode()), 0);
	assert_int_equal(sregs_now().cs.l, 1);
#define BAD(change)                                                                                \
	s = long_mode();                                                                           \
	change;                                                                                    \
	assert_int_equal(set_sregs(s), -EINVAL)
	BAD(s.efer &= ~EFER_LMA);
	BAD(s.efer &= ~EFER_LME);
	BAD(s.cr0 &= ~CR0_PG);
	BAD(s.cr4 &= ~CR4_PAE);
	BAD(s.cr4 |= BIT(31));
	BAD(s.cr4 |= CR4_VMXE);
	BAD(s.cr3 = BIT(52));
	BAD(s.cr3 = BIT(vcpu->physical_bits));
	BAD(s.cr0 |= BIT(32));
	BAD(s.cr0 = CR0_PG | CR0_ET);
	BAD(s.cr0 |= CR0_NW);
	BAD(s.efer |= EFER_SVME);
	BAD(s.efer |= BIT(40));
	BAD(s.apic_base |= BIT(60));
	BAD(s.apic_base |= 1);
	BAD(s.efer = 0; s.cr0 = CR0_PE | CR0_ET);
#undef BAD
	/* Nothing of a refused set sticks. */
	s = long_mode();
	s.cr2 = 0xbad;
	s.cr4 |= BIT(31);
	assert_int_equal(set_sregs(s), -EINVAL);
	assert_int_not_equal(sregs_now().cr2, 0xbad);
	/* Protected mode without paging, and 32-bit paging with LME set before PG. */
	s = long_mode();
	s.cs.l = 0;
	s.cr0 = CR0_PE | CR0_ET;
	s.efer = EFER_LME;
	assert_int_equal(set_sregs(s), 0);
}

static void test_sregs_interrupt_bitmap(void **state)
{
	struct kvm_sregs s = sregs_now();

	s.interrupt_bitmap[3] = BIT(63);
	s.interrupt_bitmap[1] = BIT(5) | BIT(9);
	assert_int_equal(set_sregs(s), 0);
	assert_true(vcpu->events.interrupt.injected);
	assert_int_equal(vcpu->events.interrupt.vector, 69);
	s = sregs_now();
	assert_int_equal(s.interrupt_bitmap[1], BIT(5));
	assert_int_equal(s.interrupt_bitmap[3], 0);
}

static void test_sregs_wakes_the_boot_processor(void **state)
{
	struct kvm_sregs s = sregs_now();

	vcpu->mp_state = MP_HALTED;
	assert_int_equal(set_sregs(s), 0);
	assert_int_equal(vcpu->mp_state, MP_RUNNABLE);
	vcpu->mp_state = MP_HALTED;
	s.cs.selector = 0;
	assert_int_equal(set_sregs(s), 0);
	assert_int_equal(vcpu->mp_state, MP_HALTED);
}

static void test_sregs_with_apic(void **state)
{
	struct kvm_sregs s = sregs_now();

	assert_int_equal(s.apic_base, 0xfee00900);
	s.cr8 = 5;
	assert_int_equal(set_sregs(s), 0);
	assert_int_equal(vcpu->vm->irqchip->get_cr8(vcpu), 5);
	assert_int_equal(sregs_now().cr8, 5);
	s.apic_base |= BIT(10);
	s.apic_base &= ~BIT(11); /* x2APIC without xAPIC */
	assert_int_equal(set_sregs(s), -EINVAL);
}

static struct kvm_sregs2 sregs2_now(void)
{
	struct kvm_sregs2 s;

	memset(&s, 0xff, sizeof(s));
	assert_int_equal(on_vcpu(KVM_GET_SREGS2, &s, sizeof(s)), 0);
	return s;
}

static s64 set_sregs2(struct kvm_sregs2 s)
{
	return on_vcpu(KVM_SET_SREGS2, &s, sizeof(s));
}

static struct kvm_sregs2 pae_mode(void)
{
	struct kvm_sregs2 s = sregs2_now();

	s.cr0 = CR0_PE | CR0_PG | CR0_ET;
	s.cr3 = 0x8020;
	s.cr4 = CR4_PAE;
	return s;
}

static void test_sregs2(void **state)
{
	struct kvm_sregs2 s = sregs2_now();
	struct kvm_sregs one;

	assert_int_equal(s.flags, 0);
	assert_int_equal(s.pdptrs[3], 0);
	s.cr2 = 0x1234;
	s.ds.selector = 0x55;
	assert_int_equal(set_sregs2(s), 0);
	one = sregs_now();
	s = sregs2_now();
	assert_memory_equal(&s, &one, offsetof(struct kvm_sregs, interrupt_bitmap));
	assert_int_equal(one.cr2, 0x1234);
	s.flags = 2;
	assert_int_equal(set_sregs2(s), -EINVAL);
	s.flags = KVM_SREGS2_FLAGS_PDPTRS_VALID; /* without PAE paging */
	assert_int_equal(set_sregs2(s), -EINVAL);
	s.flags = 0;
	s.cr4 |= BIT(31);
	assert_int_equal(set_sregs2(s), -EINVAL);
}

/* In memory on SVM: those that the VMM brings are not looked at. */
static void test_sregs2_pdptes_in_memory(void **state)
{
	struct kvm_sregs2 s;
	u64 *pdpte;

	assert_int_equal(set_sregs2(pae_mode()), 0);
	assert_int_equal(sregs2_now().flags, 0); /* no memory there */
	give_memory(vm, 0x10000, 0);
	pdpte = at(GUEST_RAM + 0x8020);
	pdpte[1] = 0x5001;
	s = sregs2_now();
	assert_int_equal(s.flags, KVM_SREGS2_FLAGS_PDPTRS_VALID);
	assert_int_equal(s.pdptrs[1], 0x5001);
	s.pdptrs[1] = 0x6001;
	assert_int_equal(set_sregs2(s), 0);
	assert_int_equal(sregs2_now().pdptrs[1], 0x5001);
}

/* With EPT they are the processor's: loaded before the entry, or brought by the VMM. */
static void test_sregs2_pdptes_loaded(void **state)
{
	struct virt_ops ept = *virt;
	struct kvm_sregs2 s;
	struct kvm_sregs one;
	u64 *pdpte = at(GUEST_RAM + 0x8020);

	ept.ept = true;
	virt = &ept;
	give_memory(vm, 0x10000, 0);
	pdpte[1] = 0x5001;
	s = pae_mode();
	s.flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
	s.pdptrs[1] = 0x6001;
	assert_int_equal(set_sregs2(s), 0);
	assert_int_equal(virt->get(&vcpu->v, VREG_PDPTE1), 0x6001);
	assert_int_equal(sregs2_now().pdptrs[1], 0x6001);
	assert_false(vcpu->request & REQUEST_PDPTES);
	one = sregs_now();
	assert_int_equal(set_sregs(one), 0);
	assert_int_equal(sregs2_now().pdptrs[1], 0x5001);
	assert_int_equal(virt->get(&vcpu->v, VREG_PDPTE1), 0x6001);
	assert_true(vcpu->request & REQUEST_PDPTES);
	fake_push_exit(&(struct vm_exit){.reason = EXIT_INTR});
	assert_int_equal(call(handle, KEEL_RUN, ~0ull, 0, 0), KEEL_INTERRUPTED);
	assert_int_equal(virt->get(&vcpu->v, VREG_PDPTE1), 0x5001);
	assert_int_equal(vcpu->request, 0);
}

static void test_debugregs(void **state)
{
	struct kvm_debugregs in = {.db = {1, 2, 3, 4}, .dr6 = 0xffff0ff0, .dr7 = 0x400}, out;

	assert_int_equal(on_vcpu(KVM_SET_DEBUGREGS, &in, sizeof(in)), 0);
	memset(&out, 0xff, sizeof(out));
	assert_int_equal(on_vcpu(KVM_GET_DEBUGREGS, &out, sizeof(out)), 0);
	assert_memory_equal(&in, &out, sizeof(in));
	in.flags = 1;
	assert_int_equal(on_vcpu(KVM_SET_DEBUGREGS, &in, sizeof(in)), -EINVAL);
	in.flags = 0;
	in.dr6 |= BIT(32);
	assert_int_equal(on_vcpu(KVM_SET_DEBUGREGS, &in, sizeof(in)), -EINVAL);
	in.dr6 = 0xffff0ff0;
	in.dr7 |= BIT(63);
	assert_int_equal(on_vcpu(KVM_SET_DEBUGREGS, &in, sizeof(in)), -EINVAL);
}

static void test_guest_debug(void **state)
{
	struct kvm_guest_debug debug = {
		.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP,
	};

	assert_int_equal(on_vcpu(KVM_SET_GUEST_DEBUG, &debug, sizeof(debug)), 0);
	assert_int_equal(vcpu->debug.control, debug.control);
	debug.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_INJECT_DB;
	assert_int_equal(on_vcpu(KVM_SET_GUEST_DEBUG, &debug, sizeof(debug)), 0);
	assert_int_equal(on_vcpu(KVM_SET_GUEST_DEBUG, &debug, sizeof(debug)), -EBUSY);
	debug.control = 0;
	assert_int_equal(on_vcpu(KVM_SET_GUEST_DEBUG, &debug, sizeof(debug)), 0);
}

static void test_fpu(void **state)
{
	struct kvm_fpu in, out;

	memset(&in, 0, sizeof(in));
	memset(in.fpr, 0x11, sizeof(in.fpr));
	memset(in.xmm, 0x22, sizeof(in.xmm));
	in.fcw = 0x37f;
	in.fsw = 0x3800;
	in.ftwx = 0xff;
	in.last_opcode = 0x123;
	in.last_ip = 0x1000;
	in.last_dp = 0x2000;
	assert_int_equal(on_vcpu(KVM_SET_FPU, &in, sizeof(in)), 0);
	memset(&out, 0xff, sizeof(out));
	assert_int_equal(on_vcpu(KVM_GET_FPU, &out, sizeof(out)), 0);
	assert_memory_equal(&in, &out, sizeof(in));
}

static void test_xsave(void **state)
{
	static struct kvm_xsave in, out;
	u64 *header = (u64 *)in.region + 64;

	assert_int_equal(on_vcpu(KVM_GET_XSAVE, &in, sizeof(in)), 0);
	assert_int_equal(in.region[6], 0x1f80);
	memset((u8 *)in.region + 160, 0x33, 256);
	header[0] |= XCR0_SSE;
	assert_int_equal(on_vcpu(KVM_SET_XSAVE, &in, sizeof(in)), 0);
	assert_int_equal(on_vcpu(KVM_GET_XSAVE, &out, sizeof(out)), 0);
	assert_memory_equal((u8 *)in.region + 160, (u8 *)out.region + 160, 256);
	assert_int_equal(on_vcpu(KVM_GET_XSAVE2, &out, sizeof(out)), 0);
	assert_memory_equal((u8 *)in.region + 160, (u8 *)out.region + 160, 256);
	header[0] |= BIT(62);
	assert_int_equal(on_vcpu(KVM_SET_XSAVE, &in, sizeof(in)), -EINVAL);
	header[0] = 3;
	header[1] = BIT(63);
	assert_int_equal(on_vcpu(KVM_SET_XSAVE, &in, sizeof(in)), -EINVAL);
	header[1] = 0;
	header[7] = 1;
	assert_int_equal(on_vcpu(KVM_SET_XSAVE, &in, sizeof(in)), -EINVAL);
	header[7] = 0;
	in.region[6] = 0x11f80;
	assert_int_equal(on_vcpu(KVM_SET_XSAVE, &in, sizeof(in)), -EINVAL);
}

static u32 avx_offset;

static struct cpuid_regs with_avx_elsewhere(u32 leaf, u32 subleaf)
{
	if (leaf == 1)
		return (struct cpuid_regs){.ecx = BIT(26)};
	if (leaf == 0xd && subleaf == 0)
		return (struct cpuid_regs){.eax = XCR0_X87 | XCR0_SSE | XCR0_AVX};
	if (leaf == 0xd && subleaf == 2)
		return (struct cpuid_regs){.eax = 256, .ebx = avx_offset};
	return (struct cpuid_regs){.eax = leaf ? 0 : 0xd};
}

static void use_processor(struct cpuid_regs (*processor)(u32 leaf, u32 subleaf))
{
	fake_cpuid = processor;
	xstate_forget();
	xstate_init();
}

/* struct kvm_xsave has 4096 bytes: no state is ever cut. */
static void test_xsave_too_large(void **state)
{
	static struct kvm_xsave out;

	fake_cr[4] = CR4_OSXSAVE;
	avx_offset = 4096 - 256;
	use_processor(with_avx_elsewhere);
	assert_int_equal(on_vcpu(KVM_GET_XSAVE, &out, sizeof(out)), 0);
	avx_offset = 4096 - 255;
	use_processor(with_avx_elsewhere);
	assert_int_equal(on_vcpu(KVM_GET_XSAVE, &out, sizeof(out)), -EINVAL);
	assert_int_equal(on_vcpu(KVM_GET_XSAVE2, &out, sizeof(out)), -EINVAL);
	assert_int_equal(call(0, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2, 0, 0), 0);
	fake_cr[4] = 0;
	use_processor(NULL);
}

static void test_xcrs(void **state)
{
	struct kvm_xcrs xcrs;

	memset(&xcrs, 0xff, sizeof(xcrs));
	assert_int_equal(on_vcpu(KVM_GET_XCRS, &xcrs, sizeof(xcrs)), 0);
	assert_int_equal(xcrs.nr_xcrs, 1);
	assert_int_equal(xcrs.flags, 0);
	assert_int_equal(xcrs.xcrs[0].xcr, 0);
	assert_int_equal(xcrs.xcrs[0].value, 1);
	assert_int_equal(on_vcpu(KVM_SET_XCRS, &xcrs, sizeof(xcrs)), 0);
	xcrs.xcrs[0].value = 0;
	assert_int_equal(on_vcpu(KVM_SET_XCRS, &xcrs, sizeof(xcrs)), -EINVAL);
	xcrs.xcrs[0].value = BIT(62) | 1;
	assert_int_equal(on_vcpu(KVM_SET_XCRS, &xcrs, sizeof(xcrs)), -EINVAL);
	/* Other registers than XCR0 are ignored. */
	xcrs.xcrs[0].xcr = 1;
	assert_int_equal(on_vcpu(KVM_SET_XCRS, &xcrs, sizeof(xcrs)), 0);
	xcrs.flags = 1;
	assert_int_equal(on_vcpu(KVM_SET_XCRS, &xcrs, sizeof(xcrs)), -EINVAL);
	xcrs.flags = 0;
	xcrs.nr_xcrs = KVM_MAX_XCRS + 1;
	assert_int_equal(on_vcpu(KVM_SET_XCRS, &xcrs, sizeof(xcrs)), -EINVAL);
}

static void test_cpuid(void **state)
{
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entry[257];
	} *cpuid = at(BIG_ARGUMENT);
	u64 bytes = sizeof(*cpuid);

	memset(cpuid, 0, bytes);
	cpuid->head.nent = 257;
	assert_int_equal(call(handle, KVM_SET_CPUID2, BIG_ARGUMENT, bytes, 0), -E2BIG);
	cpuid->head.nent = 2;
	cpuid->entry[0].function = 1;
	cpuid->entry[0].eax = 0x600;
	cpuid->entry[1].function = 0;
	cpuid->entry[1].eax = 1;
	assert_int_equal(call(handle, KVM_SET_CPUID2, BIG_ARGUMENT, 8 + 79, 0), -EINVAL);
	assert_int_equal(call(handle, KVM_SET_CPUID2, BIG_ARGUMENT, 7, 0), -EINVAL);
	assert_int_equal(call(handle, KVM_SET_CPUID2, BIG_ARGUMENT, 8 + 80, 0), 0);
	/* How many are there? */
	memset(cpuid, 0, bytes);
	assert_int_equal(call(handle, KVM_GET_CPUID2, BIG_ARGUMENT, bytes, 0), -E2BIG);
	assert_int_equal(cpuid->head.nent, 2);
	assert_int_equal(call(handle, KVM_GET_CPUID2, BIG_ARGUMENT, bytes, 0), 0);
	assert_int_equal(cpuid->entry[0].eax + cpuid->entry[1].eax, 0x601);
	assert_int_equal(call(handle, KVM_GET_CPUID2, BIG_ARGUMENT, 8 + 79, 0), -EINVAL);
	assert_int_equal(call(handle, KVM_GET_CPUID2, BIG_ARGUMENT, 7, 0), -EINVAL);
	assert_int_equal(call(handle, KVM_GET_CPUID2, FAKE_RAM_SIZE, bytes, 0), -EFAULT);
	/* An address width that no processor has. */
	memset(cpuid, 0, bytes);
	cpuid->head.nent = 1;
	cpuid->entry[0].function = 0x80000008;
	cpuid->entry[0].eax = 36 | 47 << 8;
	assert_int_equal(call(handle, KVM_SET_CPUID2, BIG_ARGUMENT, bytes, 0), -EINVAL);
	cpuid->head.nent = 256;
	cpuid->entry[0].eax = 40 | 48 << 8;
	for (u32 i = 1; i < 256; i++)
		cpuid->entry[i].function = 0x1000 + i;
	assert_int_equal(call(handle, KVM_SET_CPUID2, BIG_ARGUMENT, bytes, 0), 0);
	assert_int_equal(vcpu->physical_bits, 40);
}

static void test_old_cpuid(void **state)
{
	struct {
		struct kvm_cpuid head;
		struct kvm_cpuid_entry entry[2];
	} *cpuid = at(BIG_ARGUMENT);

	memset(cpuid, 0, sizeof(*cpuid));
	cpuid->head.nent = 2;
	cpuid->entry[1] = (struct kvm_cpuid_entry){1, 2, 3, 4, 5, 6};
	assert_int_equal(call(handle, KVM_SET_CPUID, BIG_ARGUMENT, sizeof(*cpuid) - 1, 0), -EINVAL);
	assert_int_equal(call(handle, KVM_SET_CPUID, BIG_ARGUMENT, sizeof(*cpuid), 0), 0);
	assert_int_equal(vcpu->cpuid_count, 2);
	assert_int_equal(vcpu->cpuid[1].eax, 2);
	assert_int_equal(vcpu->cpuid[1].edx, 5);
	assert_int_equal(vcpu->cpuid[1].padding[0], 0);
	cpuid->head.nent = 257;
	assert_int_equal(call(handle, KVM_SET_CPUID, BIG_ARGUMENT, sizeof(*cpuid), 0), -E2BIG);
}

static void test_cpuid_without_memory(void **state)
{
	u64 header = 0;

	while (pool_alloc(&vcpu->vm->pool, 1).v != HPA_NONE.v)
		;
	assert_int_equal(on_vcpu(KVM_SET_CPUID2, &header, sizeof(header)), -ENOMEM);
}

static void test_msrs(void **state)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry[256];
	} *msrs = at(BIG_ARGUMENT);
	u64 bytes = sizeof(*msrs);

	memset(msrs, 0, bytes);
	msrs->head.nmsrs = 3;
	msrs->entry[0] = (struct kvm_msr_entry){.index = 0x174, .data = 0x10};
	msrs->entry[1] = (struct kvm_msr_entry){.index = 0xc0000082, .data = 0x1234000};
	msrs->entry[2] = (struct kvm_msr_entry){.index = 0x7fffffff};
	assert_int_equal(call(handle, KVM_SET_MSRS, BIG_ARGUMENT, bytes, 0), 2);
	msrs->entry[0].data = msrs->entry[1].data = 0;
	assert_int_equal(call(handle, KVM_GET_MSRS, BIG_ARGUMENT, bytes, 0), 2);
	assert_int_equal(msrs->entry[0].data, 0x10);
	assert_int_equal(msrs->entry[1].data, 0x1234000);
	/* A non-canonical address. */
	msrs->entry[0] = (struct kvm_msr_entry){.index = 0xc0000082, .data = BIT(62)};
	assert_int_equal(call(handle, KVM_SET_MSRS, BIG_ARGUMENT, bytes, 0), 0);
	msrs->head.nmsrs = 256;
	assert_int_equal(call(handle, KVM_SET_MSRS, BIG_ARGUMENT, bytes, 0), -E2BIG);
	assert_int_equal(call(handle, KVM_GET_MSRS, BIG_ARGUMENT, bytes, 0), -E2BIG);
	msrs->head.nmsrs = 1;
	msrs->entry[0].index = 0x174;
	assert_int_equal(call(handle, KVM_GET_MSRS, BIG_ARGUMENT, 8 + 15, 0), -EINVAL);
	*(u32 *)at(FAKE_RAM_SIZE - 8) = 1;
	assert_int_equal(call(handle, KVM_GET_MSRS, FAKE_RAM_SIZE - 8, bytes, 0), -EFAULT);
	assert_int_equal(call(handle, KVM_GET_MSRS, FAKE_RAM_SIZE, bytes, 0), -EFAULT);
}

/* Clients write back everything in the list, and some abort when it is refused. */
static void test_listed_msrs_take_their_own_values(void **state)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry[255];
	} *msrs = at(BIG_ARGUMENT);
	u32 list[256], count = MIN(msr_list(list, 256), 255u);
	s64 result;

	memset(msrs, 0, sizeof(*msrs));
	msrs->head.nmsrs = count;
	for (u32 i = 0; i < count; i++)
		msrs->entry[i].index = list[i];
	result = call(handle, KVM_GET_MSRS, BIG_ARGUMENT, sizeof(*msrs), 0);
	if (result != count)
		fail_msg("MSR %#x cannot be read", list[result]);
	assert_int_equal(call(handle, KVM_SET_MSRS, BIG_ARGUMENT, sizeof(*msrs), 0), count);
}

static void test_apic_base_msr(void **state)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry[1];
	} msrs = {.head.nmsrs = 1, .entry[0].index = 0x1b};

	assert_int_equal(on_vcpu(KVM_GET_MSRS, &msrs, sizeof(msrs)), 1);
	assert_int_equal(msrs.entry[0].data, 0xfee00900);
	assert_int_equal(on_vcpu(KVM_SET_MSRS, &msrs, sizeof(msrs)), 1);
	msrs.entry[0].data = BIT(63);
	assert_int_equal(on_vcpu(KVM_SET_MSRS, &msrs, sizeof(msrs)), 0);
}

static void test_tsc_khz(void **state)
{
	assert_int_equal(call(handle, KVM_GET_TSC_KHZ, 0xbad, 0, 0), 2000000);
	assert_int_equal(call(handle, KVM_SET_TSC_KHZ, 2000400, 0, 0), 0);
	assert_int_equal(call(handle, KVM_GET_TSC_KHZ, 0, 0, 0), 2000400);
	assert_int_equal(call(handle, KVM_SET_TSC_KHZ, 2000501, 0, 0), -EINVAL);
	assert_int_equal(call(handle, KVM_SET_TSC_KHZ, 1999499, 0, 0), -EINVAL);
	assert_int_equal(call(handle, KVM_SET_TSC_KHZ, 1, 0, 0), -EINVAL);
	assert_int_equal(call(handle, KVM_SET_TSC_KHZ, 0, 0, 0), 0);
	assert_int_equal(call(handle, KVM_GET_TSC_KHZ, 0, 0, 0), 2000000);
	assert_int_equal(call(handle, KVM_CHECK_EXTENSION, KVM_CAP_TSC_CONTROL, 0, 0), -EINVAL);
	assert_int_equal(call(0, KVM_CHECK_EXTENSION, KVM_CAP_TSC_CONTROL, 0, 0), 0);
	virt_features |= VIRT_TSC_SCALING;
	assert_int_equal(call(0, KVM_CHECK_EXTENSION, KVM_CAP_TSC_CONTROL, 0, 0), 1);
	virt_features &= ~(u64)VIRT_TSC_SCALING;
}

static void test_device_attributes(void **state)
{
	struct keel_device_attr a = {.attr = KVM_VCPU_TSC_OFFSET, .group = KVM_VCPU_TSC_CTRL};
	struct keel_device_attr bad = a;

	assert_int_equal(on_vcpu(KVM_HAS_DEVICE_ATTR, &a, sizeof(struct kvm_device_attr)), 0);
	assert_int_equal(on_vcpu(KVM_GET_DEVICE_ATTR, &a, sizeof(a)), 0);
	assert_int_equal(a.value, vcpu->tsc_offset);
	a.value = 0x1234;
	a.addr = 1;
	assert_int_equal(on_vcpu(KVM_SET_DEVICE_ATTR, &a, sizeof(a)), 0);
	assert_int_equal(vcpu->tsc_offset, 0x1234);
	assert_int_equal(on_vcpu(KVM_SET_DEVICE_ATTR, &a, sizeof(a) - 1), -EINVAL);
	bad.attr = 1;
	for (u32 i = 0; i < 2; i++) {
		assert_int_equal(on_vcpu(KVM_HAS_DEVICE_ATTR, &bad, sizeof(bad)), -ENXIO);
		assert_int_equal(on_vcpu(KVM_GET_DEVICE_ATTR, &bad, sizeof(bad)), -ENXIO);
		assert_int_equal(on_vcpu(KVM_SET_DEVICE_ATTR, &bad, sizeof(bad)), -ENXIO);
		bad = (struct keel_device_attr){.group = 1};
	}
	assert_int_equal(bad.value, 0);
	assert_int_equal(vcpu->tsc_offset, 0x1234);
	assert_int_equal(request(vm, KVM_HAS_DEVICE_ATTR, &a, sizeof(a)), -ENOTTY);
}

static void test_without_apic(void **state)
{
	static struct kvm_lapic_state lapic;
	struct kvm_tpr_access_ctl tpr = {0};
	struct kvm_vapic_addr vapic = {0};
	struct kvm_mp_state mp = {.mp_state = KVM_MP_STATE_HALTED};

	assert_int_equal(on_vcpu(KVM_GET_LAPIC, &lapic, sizeof(lapic)), -EINVAL);
	assert_int_equal(on_vcpu(KVM_SET_LAPIC, &lapic, sizeof(lapic)), -EINVAL);
	assert_int_equal(on_vcpu(KVM_TPR_ACCESS_REPORTING, &tpr, sizeof(tpr)), 0);
	tpr.flags = 1;
	assert_int_equal(on_vcpu(KVM_TPR_ACCESS_REPORTING, &tpr, sizeof(tpr)), -EINVAL);
	assert_int_equal(on_vcpu(KVM_SET_VAPIC_ADDR, &vapic, sizeof(vapic)), -EINVAL);
	assert_int_equal(on_vcpu(KVM_SET_MP_STATE, &mp, sizeof(mp)), -EINVAL);
	mp.mp_state = KVM_MP_STATE_RUNNABLE;
	assert_int_equal(on_vcpu(KVM_SET_MP_STATE, &mp, sizeof(mp)), 0);
	assert_int_equal(call(handle, KVM_KVMCLOCK_CTRL, 0, 0, 0), -EINVAL);
}

static void test_with_apic(void **state)
{
	static struct kvm_lapic_state lapic;
	struct kvm_tpr_access_ctl tpr = {0};
	struct kvm_vapic_addr vapic = {0};
	struct kvm_mp_state mp;

	assert_int_equal(on_vcpu(KVM_GET_LAPIC, &lapic, sizeof(lapic)), 0);
	assert_int_equal(on_vcpu(KVM_SET_LAPIC, &lapic, sizeof(lapic)), 0);
	assert_int_equal(on_vcpu(KVM_TPR_ACCESS_REPORTING, &tpr, sizeof(tpr)), 0);
	assert_int_equal(on_vcpu(KVM_SET_VAPIC_ADDR, &vapic, sizeof(vapic)), 0);
	assert_int_equal(on_vcpu(KVM_GET_MP_STATE, &mp, sizeof(mp)), 0);
	assert_int_equal(mp.mp_state, KVM_MP_STATE_RUNNABLE);
	assert_int_equal(request(vm + 2, KVM_GET_MP_STATE, &mp, sizeof(mp)), 0);
	assert_int_equal(mp.mp_state, KVM_MP_STATE_UNINITIALIZED);
	for (u32 i = 0; i < 4; i++) {
		mp.mp_state = i;
		assert_int_equal(on_vcpu(KVM_SET_MP_STATE, &mp, sizeof(mp)), 0);
		assert_int_equal(on_vcpu(KVM_GET_MP_STATE, &mp, sizeof(mp)), 0);
		assert_int_equal(mp.mp_state, i);
	}
	mp.mp_state = 5;
	assert_int_equal(on_vcpu(KVM_SET_MP_STATE, &mp, sizeof(mp)), -EINVAL);
	mp.mp_state = KVM_MP_STATE_AP_RESET_HOLD;
	assert_int_equal(on_vcpu(KVM_SET_MP_STATE, &mp, sizeof(mp)), 0);
	assert_int_equal(on_vcpu(KVM_GET_MP_STATE, &mp, sizeof(mp)), 0);
	assert_int_equal(mp.mp_state, KVM_MP_STATE_HALTED);
	vcpu->sipi_vector = 0x9f;
	mp.mp_state = KVM_MP_STATE_SIPI_RECEIVED;
	assert_int_equal(on_vcpu(KVM_SET_MP_STATE, &mp, sizeof(mp)), 0);
	assert_int_equal(vcpu->mp_state, MP_INIT_RECEIVED);
	assert_int_equal(on_vcpu(KVM_GET_MP_STATE, &mp, sizeof(mp)), 0);
	assert_int_equal(mp.mp_state, KVM_MP_STATE_RUNNABLE);
	assert_int_equal(sregs_now().cs.selector, 0x9f00);
}

static struct kvm_vcpu_events events_now(void)
{
	struct kvm_vcpu_events e;

	memset(&e, 0xff, sizeof(e));
	assert_int_equal(on_vcpu(KVM_GET_VCPU_EVENTS, &e, sizeof(e)), 0);
	return e;
}

static s64 set_events(struct kvm_vcpu_events e)
{
	return on_vcpu(KVM_SET_VCPU_EVENTS, &e, sizeof(e));
}

static void test_events(void **state)
{
	struct kvm_vcpu_events e = events_now();

	assert_int_equal(e.flags, KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW);
	assert_int_equal(e.exception.injected | e.interrupt.injected | e.nmi.pending, 0);
	assert_int_equal(e.smi.smm | e.reserved[0] | e.reserved[25], 0);
	e.exception.injected = 1;
	e.exception.nr = 14;
	e.exception.has_error_code = 1;
	e.exception.error_code = 7;
	e.interrupt.injected = 1;
	e.interrupt.nr = 0x41;
	e.interrupt.shadow = 1;
	e.nmi.pending = 1;
	e.nmi.masked = 1;
	assert_int_equal(set_events(e), 0);
	assert_true(vcpu->request & REQUEST_EVENT);
	e = events_now();
	assert_int_equal(e.exception.injected, 1);
	assert_int_equal(e.exception.nr, 14);
	assert_int_equal(e.exception.error_code, 7);
	assert_int_equal(e.interrupt.nr, 0x41);
	assert_int_equal(e.interrupt.shadow, 1);
	assert_int_equal(e.nmi.pending, 1);
	assert_int_equal(e.nmi.masked, 1);
	/* Without its flag a part stays as it is. */
	e.flags = 0;
	e.nmi.pending = 0;
	e.interrupt.shadow = 0;
	e.exception.injected = 0;
	assert_int_equal(set_events(e), 0);
	e = events_now();
	assert_int_equal(e.nmi.pending, 1);
	assert_int_equal(e.interrupt.shadow, 1);
	assert_int_equal(e.exception.injected, 0);
}

static void test_events_refused(void **state)
{
	struct kvm_vcpu_events e;

#define BAD(change)                                                                                \
	e = events_now();                                                                          \
	change;                                                                                    \
	assert_int_equal(set_events(e), -EINVAL)
	BAD(e.flags |= BIT(10));
	BAD(e.flags |= KVM_VCPUEVENT_VALID_PAYLOAD);
	BAD(e.flags |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT);
	BAD(e.exception.injected = 1; e.exception.nr = 32);
	BAD(e.exception.injected = 1; e.exception.nr = 2);
	BAD(e.flags |= KVM_VCPUEVENT_VALID_SMM; e.smi.smm = 1);
	BAD(e.flags |= KVM_VCPUEVENT_VALID_SMM; e.smi.pending = 1);
#undef BAD
	e = events_now();
	e.flags |= KVM_VCPUEVENT_VALID_SMM | KVM_VCPUEVENT_VALID_SIPI_VECTOR;
	assert_int_equal(set_events(e), 0);
}

static void test_pending_exception_is_conflated(void **state)
{
	vcpu->events.exception = (struct pending_exception){.pending = true, .vector = 13};
	assert_int_equal(events_now().exception.injected, 1);
}

static void test_events_with_capabilities(void **state)
{
	struct kvm_enable_cap cap = {.cap = KVM_CAP_EXCEPTION_PAYLOAD, .args[0] = 1};
	struct kvm_vcpu_events e;

	assert_int_equal(request(vm, KVM_ENABLE_CAP, &cap, sizeof(cap)), 0);
	cap.cap = KVM_CAP_X86_TRIPLE_FAULT_EVENT;
	assert_int_equal(request(vm, KVM_ENABLE_CAP, &cap, sizeof(cap)), 0);
	e = events_now();
	assert_true(e.flags & KVM_VCPUEVENT_VALID_PAYLOAD);
	assert_true(e.flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT);
	e.exception.pending = 1;
	e.exception.injected = 1;
	e.exception.nr = 14;
	e.exception_has_payload = 1;
	e.exception_payload = 0xdead000;
	e.triple_fault.pending = 1;
	assert_int_equal(set_events(e), 0);
	e = events_now();
	assert_int_equal(e.exception.pending, 1);
	assert_int_equal(e.exception.injected, 0);
	assert_int_equal(e.exception_has_payload, 1);
	assert_int_equal(e.exception_payload, 0xdead000);
	assert_int_equal(e.triple_fault.pending, 1);
	e.exception.nr = 40;
	assert_int_equal(set_events(e), -EINVAL);
	/* Told once; one that the VMM takes back does not come. */
	assert_int_equal(call(handle, KEEL_RUN, ~0ull, 0, 0), KEEL_USER);
	assert_int_equal(run_of(0)->exit_reason, KVM_EXIT_SHUTDOWN);
	e = events_now();
	assert_int_equal(e.triple_fault.pending, 0);
	e.triple_fault.pending = 1;
	assert_int_equal(set_events(e), 0);
	e.triple_fault.pending = 0;
	assert_int_equal(set_events(e), 0);
	fake_push_exit(&(struct vm_exit){.reason = EXIT_INTR});
	assert_int_equal(call(handle, KEEL_RUN, ~0ull, 0, 0), KEEL_INTERRUPTED);
}

static s64 enforce_cpuid(u32 flags, u64 value)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_ENFORCE_PV_FEATURE_CPUID, .flags = flags, .args[0] = value};

	return on_vcpu(KVM_ENABLE_CAP, &cap, sizeof(cap));
}

static void test_enable_cap(void **state)
{
	struct kvm_enable_cap unknown = {.cap = KVM_CAP_EXCEPTION_PAYLOAD, .args[0] = 1};

	assert_int_equal(on_vcpu(KVM_ENABLE_CAP, &unknown, sizeof(unknown)), -EINVAL);
	assert_int_equal(enforce_cpuid(1, 1), -EINVAL);
	assert_false(vcpu->enforce_cpuid);
	assert_int_equal(enforce_cpuid(0, 1ull << 32), 0);
	assert_true(vcpu->enforce_cpuid);
	assert_int_equal(enforce_cpuid(0, 0), 0);
	assert_false(vcpu->enforce_cpuid);
}

static void test_sipi_vector_event(void **state)
{
	struct kvm_vcpu_events e = events_now();

	e.flags |= KVM_VCPUEVENT_VALID_SIPI_VECTOR;
	e.sipi_vector = 0x10;
	assert_int_equal(set_events(e), 0);
	assert_int_equal(vcpu->sipi_vector, 0x10);
	assert_int_equal(events_now().sipi_vector, 0);
}

static void test_interrupt(void **state)
{
	struct kvm_interrupt irq = {.irq = 256};

	assert_int_equal(on_vcpu(KVM_INTERRUPT, &irq, sizeof(irq)), -EINVAL);
	irq.irq = ~0u;
	assert_int_equal(on_vcpu(KVM_INTERRUPT, &irq, sizeof(irq)), -EINVAL);
	irq.irq = 0x21;
	assert_int_equal(on_vcpu(KVM_INTERRUPT, &irq, sizeof(irq)), 0);
	assert_int_equal(sregs_now().interrupt_bitmap[0], BIT(0x21));
	assert_int_equal(events_now().interrupt.injected, 1);
	assert_int_equal(events_now().interrupt.nr, 0x21);
	vcpu->vm->split_irqchip = true;
	assert_int_equal(on_vcpu(KVM_INTERRUPT, &irq, sizeof(irq)), -EEXIST);
	vcpu->vm->split_irqchip = false;
}

static void test_machine_checks(void **state)
{
	struct kvm_x86_mce mce = {.status = BIT(63), .addr = 1, .misc = 2, .bank = 3};
	u64 cap = 4;

	assert_int_equal(on_vcpu(KVM_X86_SETUP_MCE, &cap, sizeof(cap)), 0);
	assert_int_equal(on_vcpu(KVM_X86_SET_MCE, &mce, sizeof(mce)), 0);
	assert_int_equal(vcpu->msr.mc[4 * 3 + 1], BIT(63));
	assert_int_equal(vcpu->msr.mc[4 * 3 + 2], 1);
	assert_int_equal(vcpu->msr.mc[4 * 3 + 3], 2);
	mce.bank = 4;
	assert_int_equal(on_vcpu(KVM_X86_SET_MCE, &mce, sizeof(mce)), -EINVAL);
	cap = 33;
	assert_int_equal(on_vcpu(KVM_X86_SETUP_MCE, &cap, sizeof(cap)), -EINVAL);
	assert_int_equal(on_vcpu(KVM_X86_SETUP_MCE, &cap, sizeof(cap) - 1), -EINVAL);
}

static void test_interrupt_with_irqchip(void **state)
{
	struct kvm_interrupt irq = {.irq = 0x21};

	assert_int_equal(on_vcpu(KVM_INTERRUPT, &irq, sizeof(irq)), -ENXIO);
}

static void test_nmi(void **state)
{
	assert_int_equal(call(handle, KVM_NMI, 0xbad, 0, 0), 0);
	assert_int_equal(events_now().nmi.pending, 1);
}

static s64 translate(u64 address, struct kvm_translation *t)
{
	memset(t, 0xff, sizeof(*t));
	t->linear_address = address;
	return on_vcpu(KVM_TRANSLATE, t, sizeof(*t));
}

static void test_translate(void **state)
{
	struct kvm_translation t;
	struct keel_map tables = {.hpa = GUEST_RAM, .size = 0x1000};
	u64 *guest = at(GUEST_RAM);

	give_memory(vm, 0x100000, 0);
	/* Real mode: linear is physical. */
	assert_int_equal(translate(0x1234, &t), 0);
	assert_int_equal(t.physical_address, 0x1234);
	assert_int_equal(t.valid, 1);
	assert_int_equal(set_sregs(long_mode()), 0);
	guest[0x1000 / 8] = 0x2000 | 7;
	guest[0x2000 / 8] = 0x3000 | 7;
	guest[0x3000 / 8] = 0x83; /* 2 MiB at 0 */
	assert_int_equal(translate(0x45678, &t), 0);
	assert_int_equal(t.physical_address, 0x45678);
	assert_int_equal(t.usermode, 0);
	assert_int_equal(guest[0x3000 / 8], 0x83); /* no accessed bit */
	assert_int_equal(translate(BIT(40), &t), 0);
	assert_int_equal(t.valid, 0);
	assert_int_equal(t.physical_address, ~0ull);
	/* The page of a table is not there yet: the driver is told which. */
	tables.gpa = 0x3000;
	assert_int_equal(request(vm, KEEL_UNMAP, &tables, sizeof(tables)), 0);
	assert_int_equal(translate(0x45678, &t), -EFAULT);
	assert_int_equal(result2, 0x3000);
	assert_int_equal(result3, 0x10003000);
}

/* What the request before left in Keel's buffer never shows. */
static void test_results_hold_nothing_old(void **state)
{
	struct kvm_debugregs debug;
	struct kvm_vcpu_events events;
	struct kvm_sregs sregs;
	static u8 poison[4096];

	memset(poison, 0xff, sizeof(poison));
	assert_int_equal(on_vcpu(KVM_SET_XSAVE, poison, sizeof(poison)), -EINVAL);
	assert_int_equal(on_vcpu(KVM_GET_DEBUGREGS, &debug, sizeof(debug)), 0);
	assert_int_equal(debug.flags | debug.reserved[0] | debug.reserved[8], 0);
	assert_int_equal(on_vcpu(KVM_SET_XSAVE, poison, sizeof(poison)), -EINVAL);
	assert_int_equal(on_vcpu(KVM_GET_VCPU_EVENTS, &events, sizeof(events)), 0);
	assert_int_equal(events.nmi.pad | events.sipi_vector | events.smi.smm, 0);
	for (u32 i = 0; i < sizeof(events.reserved); i++)
		assert_int_equal(events.reserved[i], 0);
	assert_int_equal(on_vcpu(KVM_SET_XSAVE, poison, sizeof(poison)), -EINVAL);
	assert_int_equal(on_vcpu(KVM_GET_SREGS, &sregs, sizeof(sregs)), 0);
	assert_int_equal(sregs.cs.padding | sregs.gdt.padding[0] | sregs.interrupt_bitmap[3], 0);
}

static void test_stats(void **state)
{
	struct keel_stats *stats = at(BIG_ARGUMENT);

	memset(stats, 0xff, sizeof(*stats));
	assert_int_equal(call(handle, KEEL_STATS, BIG_ARGUMENT, sizeof(*stats), 0), 0);
	assert_int_equal(stats->count[EXIT_CPUID], 0);
	assert_int_equal(stats->histogram[63][31], 0);
	fake_push_exit(&(struct vm_exit){.reason = EXIT_HLT, .insn_len = 1});
	assert_int_equal(call(handle, KEEL_RUN, ~0ull, 0, 0), KEEL_USER);
	assert_int_equal(call(handle, KEEL_STATS, BIG_ARGUMENT, sizeof(*stats), 0), 0);
	assert_int_equal(stats->count[EXIT_HLT], 1);
	assert_int_equal(call(handle, KEEL_STATS, BIG_ARGUMENT, sizeof(*stats) - 1, 0), -EINVAL);
	assert_int_equal(call(handle, KEEL_STATS, BIG_ARGUMENT, 4, 0), -EINVAL);
	assert_int_equal(call(handle, KEEL_STATS, BIG_ARGUMENT, 512, 0), -EINVAL);
	assert_int_equal(call(handle, KEEL_STATS, 0x1000, sizeof(*stats), 0), -EFAULT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_unknown_requests, start),
		cmocka_unit_test_setup(test_busy, start),
		cmocka_unit_test_setup(test_regs, start),
		cmocka_unit_test_setup(test_sregs_after_reset, start),
		cmocka_unit_test_setup(test_segments_keep_their_bits, start),
		cmocka_unit_test_setup(test_sregs_validity, start),
		cmocka_unit_test_setup(test_sregs_interrupt_bitmap, start),
		cmocka_unit_test_setup(test_sregs_wakes_the_boot_processor, start),
		cmocka_unit_test_setup(test_sregs_with_apic, start_with_irqchip),
		cmocka_unit_test_setup(test_sregs2, start),
		cmocka_unit_test_setup(test_sregs2_pdptes_in_memory, start),
		cmocka_unit_test_setup(test_sregs2_pdptes_loaded, start),
		cmocka_unit_test_setup(test_debugregs, start),
		cmocka_unit_test_setup(test_guest_debug, start),
		cmocka_unit_test_setup(test_fpu, start),
		cmocka_unit_test_setup(test_xsave, start),
		cmocka_unit_test_setup(test_xsave_too_large, start),
		cmocka_unit_test_setup(test_xcrs, start),
		cmocka_unit_test_setup(test_cpuid, start),
		cmocka_unit_test_setup(test_old_cpuid, start),
		cmocka_unit_test_setup(test_cpuid_without_memory, start),
		cmocka_unit_test_setup(test_msrs, start),
		cmocka_unit_test_setup(test_listed_msrs_take_their_own_values, start),
		cmocka_unit_test_setup(test_apic_base_msr, start_with_irqchip),
		cmocka_unit_test_setup(test_apic_base_msr, start),
		cmocka_unit_test_setup(test_tsc_khz, start),
		cmocka_unit_test_setup(test_device_attributes, start),
		cmocka_unit_test_setup(test_without_apic, start),
		cmocka_unit_test_setup(test_with_apic, start_with_irqchip),
		cmocka_unit_test_setup(test_events, start),
		cmocka_unit_test_setup(test_events_refused, start),
		cmocka_unit_test_setup(test_pending_exception_is_conflated, start),
		cmocka_unit_test_setup(test_events_with_capabilities, start),
		cmocka_unit_test_setup(test_enable_cap, start_with_irqchip),
		cmocka_unit_test_setup(test_sipi_vector_event, start_with_irqchip),
		cmocka_unit_test_setup(test_interrupt, start),
		cmocka_unit_test_setup(test_machine_checks, start),
		cmocka_unit_test_setup(test_interrupt_with_irqchip, start_with_irqchip),
		cmocka_unit_test_setup(test_nmi, start),
		cmocka_unit_test_setup(test_translate, start),
		cmocka_unit_test_setup(test_results_hold_nothing_old, start),
		cmocka_unit_test_setup(test_stats, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
