// SPDX-License-Identifier: MIT
/* P2: what Linux needs to boot under QEMU. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "test.h"

GUEST(dirty, 16, "movw %ax, (0); outb %al, $0x10; movw %ax, (0x1000); outb %al, $0x10; hlt");
GUEST(handlers, 16,
      "movw $nmi_handler - handlers + 0x1000, (8); movw $0, (10);"
      "movw $irq_handler - handlers + 0x1000, (0x80); movw $0, (0x82);"
      "outb %al, $0x11; nop; nop; nop; outb %al, $0x12; hlt;"
      "nmi_handler: outb %al, $0x20; iret;"
      "irq_handler: outb %al, $0x21; iret");
GUEST(halts, 16, "hlt");

/* ---- capabilities ---- */

static void capabilities(void)
{
	static const struct {
		const char *name;
		uint32_t number;
	} all[] = {
#define CAPABILITY(x) {#x, KVM_CAP_##x},
#include "kvm/capabilities.h"
	};

	bare_vm();
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		subject("CAP", all[i].name);
		shown("/dev/kvm", call(kvm, KVM_CHECK_EXTENSION, all[i].number));
		shown("VM", call(vm, KVM_CHECK_EXTENSION, all[i].number));
	}
}

static struct {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entries[256];
} cpuid;

static void supported(void)
{
	cpuid.head.nent = 256;
	if (call(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid))
		abort();
}

/* KVM's features for its guests: EAX of leaf 0x40000001 */
static bool pv_feature(unsigned bit)
{
	supported();
	for (uint32_t i = 0; i < cpuid.head.nent; i++)
		if (cpuid.entries[i].function == 0x40000001)
			return cpuid.entries[i].eax >> bit & 1;
	return false;
}

/* ---- MSRs ---- */

static struct {
	struct kvm_msr_list head;
	uint32_t indexes[600];
} list;

static struct {
	struct kvm_msrs head;
	struct kvm_msr_entry entries[600];
} msrs;

static long listed(unsigned long request, uint32_t room)
{
	list.head.nmsrs = room;
	return call(kvm, request, &list);
}

static void index_list(unsigned long request)
{
	uint32_t count;

	is("room for none", listed(request, 0), -E2BIG);
	count = list.head.nmsrs;
	is("there are some", count > 0, 1);
	is("one too few", listed(request, count - 1), -E2BIG);
	is("the number is told", list.head.nmsrs == count, 1);
	is("just enough", listed(request, count), 0);
	is("more than enough", listed(request, 600), 0);
	is("the number is told", list.head.nmsrs == count, 1);
	is("EFAULT", call(kvm, request, BAD), -EFAULT);
}

static long one_msr(int fd, unsigned long request, uint32_t index, uint64_t *value)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} one = {.head.nmsrs = 1, .entry = {.index = index, .data = *value}};
	long result = call(fd, request, &one);

	*value = one.entry.data;
	return result;
}

static void msr_lists(void)
{
	uint32_t bad_get = 0, bad_set = 0, untold = 0;

	ROW("P2", KVM_GET_MSR_INDEX_LIST);
	index_list(KVM_GET_MSR_INDEX_LIST);
	machine(ALL_CHIPS);
	supported(); /* some are there when CPUID says so */
	call(vcpu, KVM_SET_CPUID2, &cpuid);
	for (uint32_t i = 0; i < list.head.nmsrs; i++) {
		uint64_t value = 0;

		if (one_msr(vcpu, KVM_GET_MSRS, list.indexes[i], &value) != 1)
			bad_get = bad_get ? bad_get : list.indexes[i];
		else if (one_msr(vcpu, KVM_SET_MSRS, list.indexes[i], &value) != 1)
			bad_set = bad_set ? bad_set : list.indexes[i];
	}
	is_hex("the first that cannot be read", bad_get, 0);
	is_hex("the first that cannot be set to what it is", bad_set, 0);

	ROW("P2", KVM_GET_MSR_FEATURE_INDEX_LIST);
	index_list(KVM_GET_MSR_FEATURE_INDEX_LIST);
	ROW("P2", KVM_GET_MSRS);
	for (uint32_t i = 0; i < list.head.nmsrs; i++) {
		uint64_t value = 0;

		if (one_msr(kvm, KVM_GET_MSRS, list.indexes[i], &value) != 1)
			untold = untold ? untold : list.indexes[i];
	}
	is_hex("the first feature that /dev/kvm does not tell", untold, 0);
	{
		uint64_t value = 0;

		is("/dev/kvm, no feature", one_msr(kvm, KVM_GET_MSRS, 0x10, &value), 0);
		is("/dev/kvm, EFAULT", call(kvm, KVM_GET_MSRS, BAD), -EFAULT);
		msrs.head.nmsrs = 256;
		is("/dev/kvm, 256", call(kvm, KVM_GET_MSRS, &msrs), -E2BIG);
	}
}

/* What QEMU writes at reset in any case: it ends if one is refused. */
static void qemu_msrs(void)
{
	static const uint32_t always[] = {0x10, 0x11, 0x12, 0x174, 0x175, 0x176, 0x277, 0xc0000081, 0xc0000082, 0xc0000083,
					  0xc0000084, 0xc0000102, 0x2ff, 0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b,
					  0x26c, 0x26d, 0x26e, 0x26f, 0x200, 0x201, 0x202, 0x203, 0x204, 0x205, 0x206,
					  0x207, 0x208, 0x209, 0x20a, 0x20b, 0x20c, 0x20d, 0x20e, 0x20f, 0x17a, 0x17b,
					  0x400, 0x401, 0x402, 0x403, 0x1a0, 0x4b564d00, 0x4b564d01};
	static const struct {
		const char *name;
		unsigned bit;
		uint32_t msr;
	} features[] = {{"SET_MSRS of asynchronous page faults", 4, 0x4b564d02},
			{"SET_MSRS of stolen time", 5, 0x4b564d03},
			{"SET_MSRS of the EOI without an exit", 6, 0x4b564d04},
			{"SET_MSRS of the guest's own polling", 12, 0x4b564d05}};
	uint64_t mce = 10 | 1 << 8 | 1 << 24;

	machine(ALL_CHIPS);
	call(vcpu, KVM_X86_SETUP_MCE, &mce);
	ROW("P2", KVM_SET_MSRS);
	for (size_t i = 0; i < sizeof(always) / sizeof(always[0]); i++) {
		uint64_t value = always[i] == 0x277 ? 0x7040600070406 : 0;
		char name[24];

		snprintf(name, sizeof(name), "MSR 0x%x", always[i]);
		is(name, one_msr(vcpu, KVM_SET_MSRS, always[i], &value), 1);
	}
	{
		uint64_t base = 0xfee00900;

		is("MSR 0x1b", one_msr(vcpu, KVM_SET_MSRS, 0x1b, &base), 1);
	}
	for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
		uint64_t value = 0;

		subject("P2", features[i].name);
		if (offers(pv_feature(features[i].bit)))
			is("off", one_msr(vcpu, KVM_SET_MSRS, features[i].msr, &value), 1);
	}
}

/* ---- interrupt controllers ---- */

static long status(uint32_t gsi, uint32_t level, int *its_status)
{
	struct kvm_irq_level l = {.irq = gsi, .level = level};
	long result = call(vm, KVM_IRQ_LINE_STATUS, &l);

	*its_status = (int)l.status;
	return result;
}

static void chips(void)
{
	struct kvm_irqchip chip = {};
	struct kvm_lapic_state apic;
	uint32_t on = 0x1ff;
	int s = 0;

	ROW("P2", KVM_IRQ_LINE_STATUS);
	machine(NO_CHIPS);
	is("without an interrupt controller", status(1, 1, &s), -ENXIO);
	machine(ALL_CHIPS);
	is("EFAULT", call(vm, KVM_IRQ_LINE_STATUS, BAD), -EFAULT);
	call(vcpu, KVM_GET_LAPIC, &apic);
	memcpy(apic.regs + 0xf0, &on, 4);
	call(vcpu, KVM_SET_LAPIC, &apic);
	chip.chip_id = KVM_IRQCHIP_IOAPIC;
	call(vm, KVM_GET_IRQCHIP, &chip);
	chip.chip.ioapic.redirtbl[20].bits = 0x45;
	call(vm, KVM_SET_IRQCHIP, &chip);
	is("a pin of the IOAPIC alone", status(20, 1, &s), 0);
	is("status: delivered", s, 1);
	is("the same level again", status(20, 1, &s), 0);
	is("status: coalesced", s, 0);
	status(20, 0, &s);
	is("a new edge", status(20, 1, &s), 0);
	is("status: delivered", s, 1);
	status(20, 0, &s);
	is("a masked pin", status(21, 1, &s), 0);
	is("status: masked", s, -1);

	ROW("P2", KVM_GET_IRQCHIP);
	for (uint32_t id = 0; id < 4; id++) {
		static const char *const name[] = {"master", "slave", "IOAPIC", "chip 3"};

		chip.chip_id = id;
		is(name[id], call(vm, KVM_GET_IRQCHIP, &chip), id < 3 ? 0 : -EINVAL);
	}
	is("EFAULT", call(vm, KVM_GET_IRQCHIP, BAD), -EFAULT);
	chip.chip_id = KVM_IRQCHIP_IOAPIC;
	call(vm, KVM_GET_IRQCHIP, &chip);
	is_hex("IOAPIC's address", chip.chip.ioapic.base_address, 0xfec00000);
	is_hex("an entry that was not set", chip.chip.ioapic.redirtbl[3].bits, 0x10000);
	is_hex("an entry that was set", chip.chip.ioapic.redirtbl[20].bits, 0x45);
	ROW("P2", KVM_SET_IRQCHIP);
	is("IOAPIC", call(vm, KVM_SET_IRQCHIP, &chip), 0);
	chip.chip_id = KVM_IRQCHIP_PIC_MASTER;
	call(vm, KVM_GET_IRQCHIP, &chip);
	chip.chip.pic.imr = 0xfb;
	chip.chip.pic.irq_base = 0x20;
	is("master", call(vm, KVM_SET_IRQCHIP, &chip), 0);
	memset(&chip.chip, 0, sizeof(chip.chip));
	call(vm, KVM_GET_IRQCHIP, &chip);
	is_hex("mask is read back", chip.chip.pic.imr, 0xfb);
	is_hex("base is read back", chip.chip.pic.irq_base, 0x20);
	chip.chip_id = 3;
	is("chip 3", call(vm, KVM_SET_IRQCHIP, &chip), -EINVAL);
	is("EFAULT", call(vm, KVM_SET_IRQCHIP, BAD), -EFAULT);
	for (int i = 0; i < 2; i++) {
		machine(i ? SPLIT_CHIPS : NO_CHIPS);
		chip.chip_id = 0;
		ROW("P2", KVM_GET_IRQCHIP);
		is(i ? "split" : "none", call(vm, KVM_GET_IRQCHIP, &chip), -ENXIO);
		ROW("P2", KVM_SET_IRQCHIP);
		is(i ? "split" : "none", call(vm, KVM_SET_IRQCHIP, &chip), -ENXIO);
	}
}

static void timers(void)
{
	struct kvm_pit_config config = {};
	struct kvm_pit_state2 pit = {};
	struct kvm_reinject_control control = {};

	machine(ALL_CHIPS);
	ROW("P2", KVM_GET_PIT2);
	is("no PIT", call(vm, KVM_GET_PIT2, &pit), -ENXIO);
	ROW("P2", KVM_SET_PIT2);
	is("no PIT", call(vm, KVM_SET_PIT2, &pit), -ENXIO);
	ROW("P2", KVM_REINJECT_CONTROL);
	is("no PIT", call(vm, KVM_REINJECT_CONTROL, &control), -ENXIO);
	is("EFAULT", call(vm, KVM_REINJECT_CONTROL, BAD), -EFAULT);
	call(vm, KVM_CREATE_PIT2, &config);
	is("no reinjection", call(vm, KVM_REINJECT_CONTROL, &control), 0);
	ROW("P2", KVM_GET_PIT2);
	is("all", call(vm, KVM_GET_PIT2, &pit), 0);
	is("gate of channel 0", pit.channels[0].gate, 1);
	is("gate of channel 2", pit.channels[2].gate, 0);
	is_hex("count of channel 0", pit.channels[0].count, 0x10000);
	is("EFAULT", call(vm, KVM_GET_PIT2, BAD), -EFAULT);
	ROW("P2", KVM_SET_PIT2);
	pit.channels[0].mode = 2;
	pit.channels[0].count = 0x4a9;
	is("a mode and a count", call(vm, KVM_SET_PIT2, &pit), 0);
	memset(&pit, 0, sizeof(pit));
	call(vm, KVM_GET_PIT2, &pit);
	is("mode is read back", pit.channels[0].mode, 2);
	is_hex("count is read back", pit.channels[0].count, 0x4a9);
	is("EFAULT", call(vm, KVM_SET_PIT2, BAD), -EFAULT);
}

static void clocks(void)
{
	struct kvm_clock_data clock = {}, later = {};

	machine(ALL_CHIPS);
	ROW("P2", KVM_GET_CLOCK);
	is("now", call(vm, KVM_GET_CLOCK, &clock), 0);
	usleep(1000);
	call(vm, KVM_GET_CLOCK, &later);
	is("it goes on", later.clock > clock.clock, 1);
	is("EFAULT", call(vm, KVM_GET_CLOCK, BAD), -EFAULT);
	ROW("P2", KVM_SET_CLOCK);
	clock = (struct kvm_clock_data){.clock = 1000000000000};
	is("1000 s", call(vm, KVM_SET_CLOCK, &clock), 0);
	call(vm, KVM_GET_CLOCK, &later);
	is("goes on from there", later.clock >= 1000000000000 && later.clock < 1100000000000, 1);
	clock.flags = KVM_CLOCK_TSC_STABLE;
	is("TSC_STABLE", call(vm, KVM_SET_CLOCK, &clock), 0);
	clock.flags = 1;
	is("flag 1", call(vm, KVM_SET_CLOCK, &clock), -EINVAL);
	clock.flags = 16;
	is("flag 16", call(vm, KVM_SET_CLOCK, &clock), -EINVAL);
	is("EFAULT", call(vm, KVM_SET_CLOCK, BAD), -EFAULT);
	ROW("P2", KVM_KVMCLOCK_CTRL);
	is("the guest has no clock", call(vcpu, KVM_KVMCLOCK_CTRL, 0xc), -EINVAL);
	{
		uint64_t page = 0x3001;

		is("it gets one", one_msr(vcpu, KVM_SET_MSRS, 0x4b564d01, &page), 1);
	}
	is("now it has", call(vcpu, KVM_KVMCLOCK_CTRL, 0), 0);
	ROW("P2", KVM_SET_IDENTITY_MAP_ADDR);
	{
		uint64_t address = 0xfeffc000;

		is("after a vCPU", call(vm, KVM_SET_IDENTITY_MAP_ADDR, &address), -EINVAL);
		bare_vm();
		is("before", call(vm, KVM_SET_IDENTITY_MAP_ADDR, &address), 0);
		address = 0;
		is("0", call(vm, KVM_SET_IDENTITY_MAP_ADDR, &address), 0);
		is("EFAULT", call(vm, KVM_SET_IDENTITY_MAP_ADDR, BAD), -EFAULT);
	}
	ROW("P4", KVM_SET_NR_MMU_PAGES);
	is("63", call(vm, KVM_SET_NR_MMU_PAGES, 63), -EINVAL);
	is("64", call(vm, KVM_SET_NR_MMU_PAGES, 64), 0);
	is("what was set", call(vm, KVM_GET_NR_MMU_PAGES, 0), 64);
	machine(NO_CHIPS);
	ROW("P2", KVM_SET_TSC_KHZ);
	{
		long khz = call(vcpu, KVM_GET_TSC_KHZ, 0);

		is("what it is", call(vcpu, KVM_SET_TSC_KHZ, khz), 0);
		is("the VM's, what it is", call(vm, KVM_SET_TSC_KHZ, khz), 0);
		is("half of it", call(vcpu, KVM_SET_TSC_KHZ, khz / 2),
		   call(kvm, KVM_CHECK_EXTENSION, KVM_CAP_TSC_CONTROL) ? 0 : -EINVAL);
	}
}

/* ---- vCPU state ---- */

static void sregs2(void)
{
	struct kvm_sregs2 s = {};
	struct kvm_sregs old;

	ROW("P2", KVM_GET_SREGS2);
	if (!offered(KVM_CAP_SREGS2))
		return;
	machine(ALL_CHIPS);
	is("fresh", call(vcpu, KVM_GET_SREGS2, &s), 0);
	old = sregs();
	is("as KVM_GET_SREGS", memcmp(&old, &s, offsetof(struct kvm_sregs, interrupt_bitmap)), 0);
	is_hex("flags", s.flags, 0);
	is("EFAULT", call(vcpu, KVM_GET_SREGS2, BAD), -EFAULT);
	ROW("P2", KVM_SET_SREGS2);
	is("the same", call(vcpu, KVM_SET_SREGS2, &s), 0);
	is("EFAULT", call(vcpu, KVM_SET_SREGS2, BAD), -EFAULT);
	s.flags = 2;
	is("unknown flag", call(vcpu, KVM_SET_SREGS2, &s), -EINVAL);
	s.flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
	is("PDPTRs without PAE paging", call(vcpu, KVM_SET_SREGS2, &s), -EINVAL);
	s.flags = 0;
	s.cr0 = 0x80000010;
	is("PG without PE", call(vcpu, KVM_SET_SREGS2, &s), -EINVAL);
	/* PAE paging: its four entries are in memory, too, where SVM looks for them. */
	LOAD(dirty);
	for (int n = 0; n < 4; n++)
		s.pdptrs[n] = ((uint64_t *)(memory + TABLES))[n] = (TABLES + PAGE * (n + 1)) | 1;
	*(uint64_t *)(memory + TABLES + PAGE) = 0x87;
	s.cr0 = 0x80000011;
	s.cr4 = 0x20;
	s.cr3 = TABLES;
	s.cs.base = 0;
	s.flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
	is("PDPTRs with PAE paging", call(vcpu, KVM_SET_SREGS2, &s), 0);
	set_regs(&(struct kvm_regs){.rip = CODE, .rflags = 2});
	is("the guest runs", next_exit(), KVM_EXIT_IO);
	complete();
	memset(&s, 0, sizeof(s));
	call(vcpu, KVM_GET_SREGS2, &s);
	is_hex("flags", s.flags, KVM_SREGS2_FLAGS_PDPTRS_VALID);
	is_hex("the last one is read back", s.pdptrs[3] & ~0x20ul, (TABLES + PAGE * 4) | 1);
}

static void xsave(void)
{
	static struct {
		struct kvm_xsave area;
		uint8_t more[8192];
	} x, y;
	struct kvm_xcrs xcrs = {};

	machine(NO_CHIPS);
	ROW("P2", KVM_GET_XSAVE);
	is("fresh", call(vcpu, KVM_GET_XSAVE, &x), 0);
	is("EFAULT", call(vcpu, KVM_GET_XSAVE, BAD), -EFAULT);
	is_hex("FCW", x.area.region[0] & 0xffff, 0x37f);
	is_hex("MXCSR", x.area.region[6], 0x1f80);
	is_hex("components in use", x.area.region[128] & ~3u, 0);
	ROW("P2", KVM_SET_XSAVE);
	is("the same", call(vcpu, KVM_SET_XSAVE, &x), 0);
	is("EFAULT", call(vcpu, KVM_SET_XSAVE, BAD), -EFAULT);
	x.area.region[40] = 0x12345678;
	x.area.region[128] |= 2;
	is("XMM0", call(vcpu, KVM_SET_XSAVE, &x), 0);
	call(vcpu, KVM_GET_XSAVE, &y);
	is_hex("is read back", y.area.region[40], 0x12345678);
	x.area.region[128] |= 1u << 30;
	is("an unknown component", call(vcpu, KVM_SET_XSAVE, &x), -EINVAL);
	x.area.region[128] &= ~(1u << 30);
	x.area.region[6] = 1u << 31;
	is("bad MXCSR", call(vcpu, KVM_SET_XSAVE, &x), -EINVAL);

	ROW("P2", KVM_GET_XSAVE2);
	if (offered(KVM_CAP_XSAVE2)) {
		memset(&y, 0, sizeof(y));
		is("size is 4096 at least", call(vm, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2) >= 4096, 1);
		is("all", call(vcpu, KVM_GET_XSAVE2, &y), 0);
		is_hex("XMM0", y.area.region[40], 0x12345678);
		is("EFAULT", call(vcpu, KVM_GET_XSAVE2, BAD), -EFAULT);
	}
	ROW("P2", KVM_GET_XCRS);
	is("fresh", call(vcpu, KVM_GET_XCRS, &xcrs), 0);
	is("one", xcrs.nr_xcrs, 1);
	is_hex("XCR0", xcrs.xcrs[0].value, 1);
	is("EFAULT", call(vcpu, KVM_GET_XCRS, BAD), -EFAULT);
	ROW("P2", KVM_SET_XCRS);
	is("the same", call(vcpu, KVM_SET_XCRS, &xcrs), 0);
	xcrs.xcrs[0].value = 2;
	is("SSE without x87", call(vcpu, KVM_SET_XCRS, &xcrs), -EINVAL);
	xcrs.xcrs[0].value = 3;
	is("SSE that no CPUID has", call(vcpu, KVM_SET_XCRS, &xcrs), -EINVAL);
	supported();
	call(vcpu, KVM_SET_CPUID2, &cpuid);
	is("SSE and x87", call(vcpu, KVM_SET_XCRS, &xcrs), 0);
	xcrs.flags = 1;
	is("flags", call(vcpu, KVM_SET_XCRS, &xcrs), -EINVAL);
	xcrs.flags = 0;
	xcrs.nr_xcrs = KVM_MAX_XCRS + 1;
	is("too many", call(vcpu, KVM_SET_XCRS, &xcrs), -EINVAL);
	xcrs.nr_xcrs = 1;
	xcrs.xcrs[0].xcr = 1;
	is("XCR1 is not looked at", call(vcpu, KVM_SET_XCRS, &xcrs), 0);
	is("EFAULT", call(vcpu, KVM_SET_XCRS, BAD), -EFAULT);
}

static void events(void)
{
	struct kvm_vcpu_events e = {};
	const struct kvm_vcpu_events none = {};

	machine(ALL_CHIPS);
	ROW("P2", KVM_GET_VCPU_EVENTS);
	is("fresh", call(vcpu, KVM_GET_VCPU_EVENTS, &e), 0);
	is_hex("flags that matter", e.flags & ~KVM_VCPUEVENT_VALID_SMM,
	       KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW);
	is("nothing pends", e.exception.injected | e.interrupt.injected | e.nmi.injected | e.nmi.pending, 0);
	is("EFAULT", call(vcpu, KVM_GET_VCPU_EVENTS, BAD), -EFAULT);
	ROW("P2", KVM_SET_VCPU_EVENTS);
	is("the same", call(vcpu, KVM_SET_VCPU_EVENTS, &e), 0);
	is("EFAULT", call(vcpu, KVM_SET_VCPU_EVENTS, BAD), -EFAULT);
	e = none, e.flags = 0x80;
	is("unknown flag", call(vcpu, KVM_SET_VCPU_EVENTS, &e), -EINVAL);
	e = none, e.flags = KVM_VCPUEVENT_VALID_PAYLOAD;
	is("payload that is not enabled", call(vcpu, KVM_SET_VCPU_EVENTS, &e), -EINVAL);
	e = none, e.flags = KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
	is("triple fault that is not enabled", call(vcpu, KVM_SET_VCPU_EVENTS, &e), -EINVAL);
	e = none, e.exception.injected = 1, e.exception.nr = 32;
	is("exception 32", call(vcpu, KVM_SET_VCPU_EVENTS, &e), -EINVAL);
	e = none, e.exception.injected = 1, e.exception.nr = 2;
	is("exception 2", call(vcpu, KVM_SET_VCPU_EVENTS, &e), -EINVAL);
	e = none, e.exception.injected = 1, e.exception.nr = 13, e.exception.has_error_code = 1;
	e.exception.error_code = 8;
	is("exception 13", call(vcpu, KVM_SET_VCPU_EVENTS, &e), 0);
	memset(&e, 0, sizeof(e));
	call(vcpu, KVM_GET_VCPU_EVENTS, &e);
	is("injected", e.exception.injected, 1);
	is("its number", e.exception.nr, 13);
	is("its error code", e.exception.error_code, 8);
	e = none, e.nmi.masked = 1, e.nmi.pending = 1, e.flags = KVM_VCPUEVENT_VALID_NMI_PENDING;
	is("an NMI pends, masked", call(vcpu, KVM_SET_VCPU_EVENTS, &e), 0);
	memset(&e, 0, sizeof(e));
	call(vcpu, KVM_GET_VCPU_EVENTS, &e);
	is("masked", e.nmi.masked, 1);
	is("pending", e.nmi.pending, 1);
	e = none, e.interrupt.shadow = KVM_X86_SHADOW_INT_STI, e.flags = KVM_VCPUEVENT_VALID_SHADOW;
	is("a shadow of STI", call(vcpu, KVM_SET_VCPU_EVENTS, &e), 0);
	memset(&e, 0, sizeof(e));
	call(vcpu, KVM_GET_VCPU_EVENTS, &e);
	is("there is a shadow", e.interrupt.shadow != 0, 1);

	ROW("P2", KVM_ENABLE_CAP);
	is("EXCEPTION_PAYLOAD", enable(vm, KVM_CAP_EXCEPTION_PAYLOAD, 1), 0);
	is("X86_TRIPLE_FAULT_EVENT", enable(vm, KVM_CAP_X86_TRIPLE_FAULT_EVENT, 1), 0);
	ROW("P2", KVM_SET_VCPU_EVENTS);
	e = none, e.flags = KVM_VCPUEVENT_VALID_PAYLOAD, e.exception.pending = 1, e.exception.nr = 14;
	e.exception_has_payload = 1, e.exception_payload = 0x1234;
	is("exception 14 with a payload", call(vcpu, KVM_SET_VCPU_EVENTS, &e), 0);
	memset(&e, 0, sizeof(e));
	call(vcpu, KVM_GET_VCPU_EVENTS, &e);
	is("pending", e.exception.pending, 1);
	is("not injected", e.exception.injected, 0);
	is_hex("payload", e.exception_payload, 0x1234);
	e = none, e.flags = KVM_VCPUEVENT_VALID_TRIPLE_FAULT, e.triple_fault.pending = 1;
	is("a triple fault", call(vcpu, KVM_SET_VCPU_EVENTS, &e), 0);
	START(halts);
	is("ends the run", next_exit(), KVM_EXIT_SHUTDOWN);
}

static void debugregs(void)
{
	struct kvm_debugregs d = {}, e;

	machine(NO_CHIPS);
	ROW("P2", KVM_GET_DEBUGREGS);
	is("fresh", call(vcpu, KVM_GET_DEBUGREGS, &d), 0);
	is_hex("DR6", d.dr6, 0xffff0ff0);
	is_hex("DR7", d.dr7, 0x400);
	is("EFAULT", call(vcpu, KVM_GET_DEBUGREGS, BAD), -EFAULT);
	ROW("P2", KVM_SET_DEBUGREGS);
	d.db[0] = 0x1000;
	d.db[3] = 0x4000;
	d.dr7 = 0x403;
	is("addresses and DR7", call(vcpu, KVM_SET_DEBUGREGS, &d), 0);
	memset(&e, 0, sizeof(e));
	call(vcpu, KVM_GET_DEBUGREGS, &e);
	is("are read back", memcmp(d.db, e.db, sizeof(d.db)), 0);
	is_hex("DR7 is", e.dr7, 0x403);
	e = d, e.flags = 1;
	is("flags", call(vcpu, KVM_SET_DEBUGREGS, &e), -EINVAL);
	e = d, e.dr6 = 1ul << 32;
	is("upper half of DR6", call(vcpu, KVM_SET_DEBUGREGS, &e), -EINVAL);
	e = d, e.dr7 = 1ul << 32;
	is("upper half of DR7", call(vcpu, KVM_SET_DEBUGREGS, &e), -EINVAL);
	is("EFAULT", call(vcpu, KVM_SET_DEBUGREGS, BAD), -EFAULT);
}

static void mp_states(void)
{
	struct kvm_mp_state state;

	for (int chips = 0; chips < 2; chips++) {
		static const char *const name[][11] = {
			{"RUNNABLE", "UNINITIALIZED", "INIT_RECEIVED", "HALTED", "SIPI_RECEIVED", "5", "6", "7", "8",
			 "AP_RESET_HOLD", "10"},
			{"RUNNABLE without an APIC", "UNINITIALIZED without an APIC", "INIT_RECEIVED without an APIC",
			 "HALTED without an APIC", "SIPI_RECEIVED without an APIC", "5 without an APIC",
			 "6 without an APIC", "7 without an APIC", "8 without an APIC",
			 "AP_RESET_HOLD without an APIC", "10 without an APIC"}};

		machine(chips ? NO_CHIPS : ALL_CHIPS);
		ROW("P2", KVM_GET_MP_STATE);
		is(chips ? "fresh without an APIC" : "fresh", call(vcpu, KVM_GET_MP_STATE, &state), 0);
		is("RUNNABLE", state.mp_state, KVM_MP_STATE_RUNNABLE);
		is("EFAULT", call(vcpu, KVM_GET_MP_STATE, BAD), -EFAULT);
		ROW("P2", KVM_SET_MP_STATE);
		is("EFAULT", call(vcpu, KVM_SET_MP_STATE, BAD), -EFAULT);
		for (uint32_t s = 0; s < 11; s++) {
			state.mp_state = s;
			shown(name[chips][s], call(vcpu, KVM_SET_MP_STATE, &state));
		}
	}
	machine(ALL_CHIPS);
	ROW("P2", KVM_SET_MP_STATE);
	state.mp_state = KVM_MP_STATE_HALTED;
	is("HALTED", call(vcpu, KVM_SET_MP_STATE, &state), 0);
	call(vcpu, KVM_GET_MP_STATE, &state);
	is("is read back", state.mp_state, KVM_MP_STATE_HALTED);
	START(handlers);
	is("and sleeps", enter_briefly(), -EINTR);
	state.mp_state = KVM_MP_STATE_RUNNABLE;
	is("RUNNABLE", call(vcpu, KVM_SET_MP_STATE, &state), 0);
	is("and runs", next_exit(), KVM_EXIT_IO);
	complete();
}

static void apic_calls(void)
{
	struct kvm_vapic_addr address = {};

	ROW("P2", KVM_SET_VAPIC_ADDR);
	machine(NO_CHIPS);
	is("without an APIC", call(vcpu, KVM_SET_VAPIC_ADDR, &address), -EINVAL);
	machine(ALL_CHIPS);
	is("0", call(vcpu, KVM_SET_VAPIC_ADDR, &address), 0);
	is("EFAULT", call(vcpu, KVM_SET_VAPIC_ADDR, BAD), -EFAULT);
	address.vapic_addr = 0x2000;
	is("an address", call(vcpu, KVM_SET_VAPIC_ADDR, &address), 0);
}

/* ---- interrupts and machine checks ---- */

static void interrupts(void)
{
	struct kvm_interrupt irq = {.irq = 0x20};
	struct kvm_regs r;

	ROW("P2", KVM_INTERRUPT);
	machine(ALL_CHIPS);
	is("all chips in the kernel", call(vcpu, KVM_INTERRUPT, &irq), -ENXIO);
	machine(SPLIT_CHIPS);
	is("split", call(vcpu, KVM_INTERRUPT, &irq), 0);
	is("split, one is queued", call(vcpu, KVM_INTERRUPT, &irq), -EEXIST);
	machine(NO_CHIPS);
	is("EFAULT", call(vcpu, KVM_INTERRUPT, BAD), -EFAULT);
	irq.irq = 256;
	is("256", call(vcpu, KVM_INTERRUPT, &irq), -EINVAL);
	START(handlers);
	is("the guest runs", next_exit(), KVM_EXIT_IO);
	complete();
	r = regs();
	r.rflags |= 0x200;
	set_regs(&r);
	irq.irq = 0x20;
	is("0x20", call(vcpu, KVM_INTERRUPT, &irq), 0);
	is("the handler runs", next_exit(), KVM_EXIT_IO);
	is_hex("port", run->io.port, 0x21);
	complete();
	ROW("P2", KVM_NMI);
	START(handlers);
	next_exit();
	complete();
	is("an argument does not count", call(vcpu, KVM_NMI, 0xc), 0);
	is("the handler runs", next_exit(), KVM_EXIT_IO);
	is_hex("port", run->io.port, 0x20);
	is("and returns", next_exit(), KVM_EXIT_IO);
	is_hex("port", run->io.port, 0x12);
	complete();
}

static void machine_checks(void)
{
	uint64_t supported = 0, wanted;
	struct kvm_x86_mce mce = {.status = 1ul << 63 | 1ul << 61 | 1ul << 60, .bank = 1};

	machine(ALL_CHIPS);
	ROW("P2", KVM_X86_GET_MCE_CAP_SUPPORTED);
	is("/dev/kvm", call(kvm, KVM_X86_GET_MCE_CAP_SUPPORTED, &supported), 0);
	is_hex("MCG_CTL_P and MCG_SER_P", supported & 0x1000100, 0x1000100);
	is("EFAULT", call(kvm, KVM_X86_GET_MCE_CAP_SUPPORTED, BAD), -EFAULT);
	ROW("P2", KVM_X86_SETUP_MCE);
	wanted = 0x100;
	is("no bank", call(vcpu, KVM_X86_SETUP_MCE, &wanted), -EINVAL);
	wanted = 0x100 | 33;
	is("33 banks", call(vcpu, KVM_X86_SETUP_MCE, &wanted), -EINVAL);
	wanted = 1ul << 40 | 10;
	is("unknown bit", call(vcpu, KVM_X86_SETUP_MCE, &wanted), -EINVAL);
	wanted = 0x1000100 | 10;
	is("10 banks", call(vcpu, KVM_X86_SETUP_MCE, &wanted), 0);
	is("EFAULT", call(vcpu, KVM_X86_SETUP_MCE, BAD), -EFAULT);
	ROW("P2", KVM_X86_SET_MCE);
	mce.bank = 10;
	is("bank 10", call(vcpu, KVM_X86_SET_MCE, &mce), -EINVAL);
	mce.bank = 1;
	mce.status = 0;
	is("status that is not valid", call(vcpu, KVM_X86_SET_MCE, &mce), -EINVAL);
	is("EFAULT", call(vcpu, KVM_X86_SET_MCE, BAD), -EFAULT);
	mce.status = 1ul << 63 | 1ul << 60;
	mce.addr = 0x1234;
	is("a corrected one", call(vcpu, KVM_X86_SET_MCE, &mce), 0);
	{
		uint64_t value = 0;

		is("bank 1's address is read", one_msr(vcpu, KVM_GET_MSRS, 0x406, &value), 1);
		is_hex("it", value, 0x1234);
	}
	machine(NO_CHIPS);
	is("without KVM_X86_SETUP_MCE", call(vcpu, KVM_X86_SET_MCE, &mce), 0);
}

/* ---- capabilities that are enabled, attributes ---- */

static void enabling(void)
{
	struct kvm_enable_cap cap = {.cap = KVM_CAP_EXCEPTION_PAYLOAD, .flags = 1};

	machine(NO_CHIPS);
	ROW("P2", KVM_ENABLE_CAP);
	is("VM, flags", call(vm, KVM_ENABLE_CAP, &cap), -EINVAL);
	cap.flags = 0;
	cap.cap = 9999;
	is("VM, unknown", call(vm, KVM_ENABLE_CAP, &cap), -EINVAL);
	is("vCPU, unknown", call(vcpu, KVM_ENABLE_CAP, &cap), -EINVAL);
	is("VM, EFAULT", call(vm, KVM_ENABLE_CAP, BAD), -EFAULT);
	is("vCPU, EFAULT", call(vcpu, KVM_ENABLE_CAP, BAD), -EFAULT);
	is("VM, TSC_DEADLINE_TIMER", enable(vm, KVM_CAP_TSC_DEADLINE_TIMER, 1), -EINVAL);
	is("VM, IRQFD", enable(vm, KVM_CAP_IRQFD, 1), -EINVAL);
	is("SPLIT_IRQCHIP after a vCPU", enable(vm, KVM_CAP_SPLIT_IRQCHIP, 24), -EEXIST);
	machine(ALL_CHIPS);
	is("SPLIT_IRQCHIP after the full one", enable(vm, KVM_CAP_SPLIT_IRQCHIP, 24), -EEXIST);
	bare_vm();
	is("SPLIT_IRQCHIP of 4097 routes", enable(vm, KVM_CAP_SPLIT_IRQCHIP, 4097), -EINVAL);
	is("SPLIT_IRQCHIP", enable(vm, KVM_CAP_SPLIT_IRQCHIP, 24), 0);
	is("SPLIT_IRQCHIP again", enable(vm, KVM_CAP_SPLIT_IRQCHIP, 24), -EEXIST);
	is("X2APIC_API, flags 3", enable(vm, KVM_CAP_X2APIC_API, 3), 0);
	is("X2APIC_API, flags 4", enable(vm, KVM_CAP_X2APIC_API, 4), -EINVAL);
	if (call(vm, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPU_ID) > 0) {
		int fd;

		bare_vm();
		is("MAX_VCPU_ID, too many", enable(vm, KVM_CAP_MAX_VCPU_ID, 1 << 20), -EINVAL);
		is("MAX_VCPU_ID, 2", enable(vm, KVM_CAP_MAX_VCPU_ID, 2), 0);
		is("MAX_VCPU_ID, 3 then", enable(vm, KVM_CAP_MAX_VCPU_ID, 3), -EINVAL);
		is("vCPU 1", made(call(vm, KVM_CREATE_VCPU, 1), &fd), 0);
		is("vCPU 2", made(call(vm, KVM_CREATE_VCPU, 2), &fd), -EINVAL);
	}
	is("ENFORCE_PV_FEATURE_CPUID", ({
		   machine(NO_CHIPS);
		   enable(vcpu, KVM_CAP_ENFORCE_PV_FEATURE_CPUID, 1);
	   }), 0);
}

static void attributes(void)
{
	uint64_t value = 0;
	struct kvm_device_attr attr = {.attr = KVM_X86_XCOMP_GUEST_SUPP, .addr = (uint64_t)&value};

	ROW("P2", KVM_HAS_DEVICE_ATTR);
	offered(KVM_CAP_SYS_ATTRIBUTES);
	ROW("P2", KVM_GET_DEVICE_ATTR);
	if (!offered(KVM_CAP_SYS_ATTRIBUTES))
		return;
	is("/dev/kvm, XCOMP_GUEST_SUPP", call(kvm, KVM_GET_DEVICE_ATTR, &attr), 0);
	is_hex("x87 and SSE are there", value & 3, 3);
	attr.attr = 99;
	is("unknown attribute", call(kvm, KVM_GET_DEVICE_ATTR, &attr), -ENXIO);
	attr.attr = 0;
	attr.group = 1;
	is("unknown group", call(kvm, KVM_GET_DEVICE_ATTR, &attr), -ENXIO);
	attr.group = 0;
	attr.addr = (uint64_t)BAD;
	is("EFAULT", call(kvm, KVM_GET_DEVICE_ATTR, &attr), -EFAULT);
	is("EFAULT of the struct", call(kvm, KVM_GET_DEVICE_ATTR, BAD), -EFAULT);
	attr.addr = (uint64_t)&value;
	ROW("P2", KVM_HAS_DEVICE_ATTR);
	is("/dev/kvm, XCOMP_GUEST_SUPP", call(kvm, KVM_HAS_DEVICE_ATTR, &attr), 0);
	attr.attr = 99;
	is("unknown attribute", call(kvm, KVM_HAS_DEVICE_ATTR, &attr), -ENXIO);
}

static void msr_filter(void)
{
	struct kvm_msr_filter filter = {};
	uint8_t bitmap[1] = {0};

	ROW("P2", KVM_X86_SET_MSR_FILTER);
	if (!offered(KVM_CAP_X86_MSR_FILTER))
		return;
	machine(NO_CHIPS);
	is("none", call(vm, KVM_X86_SET_MSR_FILTER, &filter), 0);
	is("EFAULT", call(vm, KVM_X86_SET_MSR_FILTER, BAD), -EFAULT);
	filter.flags = 2;
	is("unknown flag", call(vm, KVM_X86_SET_MSR_FILTER, &filter), -EINVAL);
	filter.flags = KVM_MSR_FILTER_DEFAULT_DENY;
	is("deny all without a range", call(vm, KVM_X86_SET_MSR_FILTER, &filter), -EINVAL);
	filter.flags = 0;
	filter.ranges[0] = (struct kvm_msr_filter_range){
		.flags = KVM_MSR_FILTER_READ, .nmsrs = 1, .base = 0x35, .bitmap = bitmap};
	is("QEMU's", call(vm, KVM_X86_SET_MSR_FILTER, &filter), 0);
	filter.ranges[0].flags = 4;
	is("a range's unknown flag", call(vm, KVM_X86_SET_MSR_FILTER, &filter), -EINVAL);
	filter.ranges[0].flags = 0;
	is("a range's flags 0", call(vm, KVM_X86_SET_MSR_FILTER, &filter), -EINVAL);
	filter.ranges[0].flags = KVM_MSR_FILTER_READ;
	filter.ranges[0].nmsrs = 0x600 * 8 + 1;
	is("a range that is too long", call(vm, KVM_X86_SET_MSR_FILTER, &filter), -EINVAL);
	filter.ranges[0].nmsrs = 1;
	filter.ranges[0].bitmap = BAD;
	is("EFAULT of a bitmap", call(vm, KVM_X86_SET_MSR_FILTER, &filter), -EFAULT);
}

/* ---- the dirty log ---- */

static uint64_t bitmap[1];

static long dirty_log(uint32_t slot)
{
	struct kvm_dirty_log log = {.slot = slot, .dirty_bitmap = bitmap};

	bitmap[0] = ~0ul;
	return call(vm, KVM_GET_DIRTY_LOG, &log);
}

static void at(uint64_t gpa)
{
	struct kvm_sregs s = sregs();

	s.ds.base = gpa;
	if (call(vcpu, KVM_SET_SREGS, &s))
		abort();
}

static long clear_log(uint32_t slot, uint64_t first, uint32_t count, uint64_t *bits)
{
	struct kvm_clear_dirty_log log = {.slot = slot, .num_pages = count, .first_page = first, .dirty_bitmap = bits};

	return call(vm, KVM_CLEAR_DIRTY_LOG, &log);
}

static void logging(void)
{
	uint8_t *area = pages(128 * PAGE);

	machine(NO_CHIPS);
	ROW("P2", KVM_GET_DIRTY_LOG);
	is("a slot with a log", set_slot(1, 0x100000, 4 * PAGE, area, KVM_MEM_LOG_DIRTY_PAGES), 0);
	is("EFAULT", call(vm, KVM_GET_DIRTY_LOG, BAD), -EFAULT);
	is("slot 32764", dirty_log(32764), -EINVAL);
	is("no slot", dirty_log(7), -ENOENT);
	is("a slot without a log", dirty_log(0), -ENOENT);
	is("the log", dirty_log(1), 0);
	is_hex("nothing", bitmap[0], 0);
	START(dirty);
	at(0x100000);
	is("the guest writes", next_exit(), KVM_EXIT_IO);
	dirty_log(1);
	is_hex("page 0", bitmap[0], 1);
	dirty_log(1);
	is_hex("once", bitmap[0], 0);
	is("the guest writes", next_exit(), KVM_EXIT_IO);
	dirty_log(1);
	is_hex("page 1", bitmap[0], 2);
	complete();
	START(dirty);
	at(0x100000);
	next_exit();
	dirty_log(1);
	is_hex("page 0 again", bitmap[0], 1);
	complete();
	{
		struct kvm_dirty_log log = {.slot = 1, .dirty_bitmap = BAD};

		is("EFAULT of the bitmap", call(vm, KVM_GET_DIRTY_LOG, &log), -EFAULT);
	}
	munmap(area, 128 * PAGE);
}

static void manual_logging(void)
{
	uint8_t *area = pages(128 * PAGE);
	uint64_t bits[2] = {};

	ROW("P2", KVM_CLEAR_DIRTY_LOG);
	if (!offered(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2))
		return;
	machine(NO_CHIPS);
	is("not enabled", ({
		   set_slot(1, 0x100000, 128 * PAGE, area, KVM_MEM_LOG_DIRTY_PAGES);
		   clear_log(1, 0, 64, bits);
	   }), 0);
	machine(NO_CHIPS);
	is("flags 4", enable(vm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, 4), -EINVAL);
	is("flags 2", enable(vm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, 2), -EINVAL);
	is("enabled", enable(vm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, 1), 0);
	is("a slot with a log", set_slot(1, 0x100000, 128 * PAGE, area, KVM_MEM_LOG_DIRTY_PAGES), 0);
	is("EFAULT", call(vm, KVM_CLEAR_DIRTY_LOG, BAD), -EFAULT);
	is("EFAULT of the bitmap", clear_log(1, 0, 64, BAD), -EFAULT);
	is("slot 32764", clear_log(32764, 0, 64, bits), -EINVAL);
	is("no slot", clear_log(7, 0, 64, bits), -ENOENT);
	is("a slot without a log", clear_log(0, 0, 64, bits), -ENOENT);
	is("first page not of 64", clear_log(1, 1, 64, bits), -EINVAL);
	is("number not of 64", clear_log(1, 0, 63, bits), -EINVAL);
	is("beyond the end", clear_log(1, 64, 128, bits), -EINVAL);
	is("the last ones", clear_log(1, 64, 64, bits), 0);
	START(dirty);
	at(0x100000);
	is("the guest writes", next_exit(), KVM_EXIT_IO);
	{
		struct kvm_dirty_log log = {.slot = 1, .dirty_bitmap = bits};

		is("the log", call(vm, KVM_GET_DIRTY_LOG, &log), 0);
		is_hex("page 0", bits[0], 1);
		call(vm, KVM_GET_DIRTY_LOG, &log);
		is_hex("still page 0", bits[0], 1);
		is("cleared", clear_log(1, 0, 64, bits), 0);
		call(vm, KVM_GET_DIRTY_LOG, &log);
		is_hex("nothing", bits[0], 0);
	}
	complete();
	munmap(area, 128 * PAGE);
}

static void smm(void)
{
	ROW("P2", KVM_SMI);
	if (!offered(KVM_CAP_X86_SMM))
		return;
	machine(ALL_CHIPS);
	is("a vCPU", call(vcpu, KVM_SMI, 0), 0);
}

static void nested(void)
{
	static struct {
		struct kvm_nested_state state;
		uint8_t data[16384];
	} n;

	ROW("P2", KVM_SET_NESTED_STATE);
	offered(KVM_CAP_NESTED_STATE);
	ROW("P2", KVM_GET_NESTED_STATE);
	if (!offered(KVM_CAP_NESTED_STATE))
		return;
	machine(ALL_CHIPS);
	n.state.size = 4;
	is("too small", call(vcpu, KVM_GET_NESTED_STATE, &n), -E2BIG);
	is("size is told", n.state.size >= 128, 1);
	n.state.size = sizeof(n);
	is("enough", call(vcpu, KVM_GET_NESTED_STATE, &n), 0);
	ROW("P2", KVM_SET_NESTED_STATE);
	is("the same", call(vcpu, KVM_SET_NESTED_STATE, &n), 0);
	n.state.size = 4;
	is("too small", call(vcpu, KVM_SET_NESTED_STATE, &n), -EINVAL);
}

const struct group p2_groups[] = {
	{"cap", capabilities}, {"p2 msrs", msr_lists}, {"p2 qemu", qemu_msrs}, {"p2 chips", chips},
	{"p2 timers", timers}, {"p2 clocks", clocks}, {"p2 sregs2", sregs2}, {"p2 xsave", xsave},
	{"p2 events", events}, {"p2 debugregs", debugregs}, {"p2 mp_state", mp_states}, {"p2 apic", apic_calls},
	{"p2 interrupts", interrupts}, {"p2 mce", machine_checks}, {"p2 enable", enabling},
	{"p2 attributes", attributes}, {"p2 filter", msr_filter}, {"p2 log", logging},
	{"p2 manual log", manual_logging}, {"p2 smm", smm}, {"p2 nested", nested}, {},
};
