// SPDX-License-Identifier: MIT
/* P1: what Linux needs to boot under kvmtool. */
#define _GNU_SOURCE
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "test.h"

GUEST(speaker, 16, "inb $0x61, %al; outb %al, $0x10; hlt");
GUEST(writes, 16,
      "movw $0x1234, %ax; outw %ax, $0x10; outw %ax, $0x11; outb %al, $0x10; movw $0x4321, %ax; outw %ax, $0x10; hlt");
GUEST(mmio_writes, 16, "movw $0x1234, %ax; movw %ax, (0x10); movb %al, (0x10); movw %ax, (0x12); hlt");
/* Enables its APIC by the spurious vector register at ES:0xf0 and waits for interrupts: vector 0x40 to port 0x10. */
GUEST(apic_on, 16,
      "movl $0x1ff, %es:(0xf0); movw $handler - apic_on + 0x1000, (0x100); movw $0, (0x102); sti; outb %al, $0x11;"
      "1: hlt; jmp 1b;"
      "handler: outb %al, $0x10; movl $0, %es:(0xb0); iret");

/* ---- interrupt controllers ---- */

static long line(uint32_t gsi, uint32_t level)
{
	struct kvm_irq_level l = {.irq = gsi, .level = level};

	return call(vm, KVM_IRQ_LINE, &l);
}

/* IRR of the master and slave 8259, then of the IOAPIC */
static uint32_t pic_irr(void)
{
	struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_PIC_MASTER};
	uint32_t irr;

	call(vm, KVM_GET_IRQCHIP, &chip);
	irr = chip.chip.pic.irr;
	chip.chip_id = KVM_IRQCHIP_PIC_SLAVE;
	call(vm, KVM_GET_IRQCHIP, &chip);
	return irr | chip.chip.pic.irr << 8;
}

static uint32_t ioapic_irr(void)
{
	struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC};

	call(vm, KVM_GET_IRQCHIP, &chip);
	return chip.chip.ioapic.irr;
}

static void chips(void)
{
	int fd;

	bare_vm();
	ROW("P1", KVM_CREATE_IRQCHIP);
	is("an argument does not count", call(vm, KVM_CREATE_IRQCHIP, 0xc), 0);
	is("again", call(vm, KVM_CREATE_IRQCHIP, 0), -EEXIST);
	is("with a vCPU", made(call(vm, KVM_CREATE_VCPU, 0), &fd), 0);
	is("again", call(vm, KVM_CREATE_IRQCHIP, 0), -EEXIST);
	bare_vm();
	is("vCPU first", made(call(vm, KVM_CREATE_VCPU, 0), &fd), 0);
	is("after it", call(vm, KVM_CREATE_IRQCHIP, 0), -EINVAL);
	machine(SPLIT_CHIPS);
	is("after the split one", call(vm, KVM_CREATE_IRQCHIP, 0), -EEXIST);

	machine(ALL_CHIPS);
	subject("P1", "default routing");
	line(5, 1);
	is_hex("GSI 5 to the PIC", pic_irr(), 1 << 5);
	is_hex("GSI 5 to the IOAPIC", ioapic_irr(), 1 << 5);
	line(5, 0);
	line(12, 1);
	is_hex("GSI 12 to the slave", pic_irr() & 1 << 12, 1 << 12);
	is_hex("and the master", pic_irr() & 1 << 2, 1 << 2);
	line(12, 0);
	line(20, 1);
	is_hex("GSI 20 to the IOAPIC", ioapic_irr() & 1 << 20, 1 << 20);
	line(20, 0);
}

static void timers(void)
{
	struct kvm_pit_config config = {};
	struct kvm_pit_state2 state;

	ROW("P1", KVM_CREATE_PIT2);
	machine(ALL_CHIPS);
	is("EFAULT", call(vm, KVM_CREATE_PIT2, BAD), -EFAULT);
	is("0", call(vm, KVM_CREATE_PIT2, &config), 0);
	is("again", call(vm, KVM_CREATE_PIT2, &config), -EEXIST);
	START(speaker);
	is("port 0x61 exits", next_exit(), KVM_EXIT_IO);
	is_hex("port", run->io.port, 0x61);
	complete();
	machine(ALL_CHIPS);
	config.flags = KVM_PIT_SPEAKER_DUMMY;
	is("with the speaker", call(vm, KVM_CREATE_PIT2, &config), 0);
	START(speaker);
	is("port 0x61 does not exit", next_exit(), KVM_EXIT_IO);
	is_hex("port", run->io.port, 0x10);
	complete();
	is("GET_PIT2", call(vm, KVM_GET_PIT2, &state), 0);
}

static long routes(uint32_t flags, uint32_t count, const struct kvm_irq_routing_entry *entries)
{
	static struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry entries[4];
	} table;

	table.head.nr = count;
	table.head.flags = flags;
	if (entries)
		memcpy(table.entries, entries, sizeof(*entries) * (count < 4 ? count : 4));
	return call(vm, KVM_SET_GSI_ROUTING, &table);
}

static long pin(uint32_t gsi, uint32_t chip, uint32_t its_pin)
{
	struct kvm_irq_routing_entry e = {.gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP};

	e.u.irqchip.irqchip = chip;
	e.u.irqchip.pin = its_pin;
	return routes(0, 1, &e);
}

static void routing(void)
{
	struct kvm_irq_routing_entry e[3] = {{.gsi = 30, .type = KVM_IRQ_ROUTING_MSI},
					     {.gsi = 31, .type = KVM_IRQ_ROUTING_MSI}};

	ROW("P1", KVM_SET_GSI_ROUTING);
	machine(NO_CHIPS);
	is("without an interrupt controller", routes(0, 0, NULL), -EINVAL);
	machine(ALL_CHIPS);
	is("EFAULT", call(vm, KVM_SET_GSI_ROUTING, BAD), -EFAULT);
	is("none", routes(0, 0, NULL), 0);
	is("flags", routes(1, 0, NULL), -EINVAL);
	is("4097 entries", routes(0, 4097, NULL), -EINVAL);
	is("two MSIs", routes(0, 2, e), 0);
	e[1].gsi = 4096;
	is("GSI 4096", routes(0, 2, e), -EINVAL);
	e[1].gsi = 4095;
	is("GSI 4095", routes(0, 2, e), 0);
	e[1].gsi = 30;
	is("two MSIs of one GSI", routes(0, 2, e), -EINVAL);
	e[1].gsi = 31;
	e[1].type = 99;
	is("type 99", routes(0, 2, e), -EINVAL);
	e[1].type = 0;
	is("type 0", routes(0, 2, e), -EINVAL);
	e[1].type = KVM_IRQ_ROUTING_MSI;
	e[1].flags = 2;
	is("an MSI's flag 2", routes(0, 2, e), -EINVAL);
	e[1] = (struct kvm_irq_routing_entry){.gsi = 1, .type = KVM_IRQ_ROUTING_IRQCHIP, .flags = 1};
	is("a pin's flag", routes(0, 2, e), -EINVAL);
	is("8259 pin 7", pin(7, KVM_IRQCHIP_PIC_MASTER, 7), 0);
	is("8259 pin 8", pin(7, KVM_IRQCHIP_PIC_MASTER, 8), -EINVAL);
	is("slave's pin 8", pin(7, KVM_IRQCHIP_PIC_SLAVE, 8), -EINVAL);
	is("IOAPIC pin 23", pin(7, KVM_IRQCHIP_IOAPIC, 23), 0);
	is("IOAPIC pin 24", pin(7, KVM_IRQCHIP_IOAPIC, 24), -EINVAL);
	is("chip 3", pin(7, 3, 0), -EINVAL);
	e[0] = (struct kvm_irq_routing_entry){.gsi = 9, .type = KVM_IRQ_ROUTING_IRQCHIP};
	e[0].u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC;
	e[0].u.irqchip.pin = 9;
	e[1] = e[0];
	is("one GSI twice to one chip", routes(0, 2, e), -EINVAL);
	e[1].u.irqchip.irqchip = KVM_IRQCHIP_PIC_SLAVE;
	e[1].u.irqchip.pin = 1;
	is("one GSI to two chips", routes(0, 2, e), 0);
	line(5, 1);
	is_hex("what was routed is no more", ioapic_irr(), 0);
	line(9, 1);
	is_hex("what is routed now", ioapic_irr(), 1 << 9);
	machine(SPLIT_CHIPS);
	is("a pin, split", pin(7, KVM_IRQCHIP_IOAPIC, 7), -EINVAL);
	e[0] = (struct kvm_irq_routing_entry){.gsi = 7, .type = KVM_IRQ_ROUTING_MSI};
	is("an MSI, split", routes(0, 1, e), 0);
}

static void lines(void)
{
	ROW("P1", KVM_IRQ_LINE);
	machine(NO_CHIPS);
	is("without an interrupt controller", line(1, 1), -ENXIO);
	machine(SPLIT_CHIPS);
	is("split", line(1, 1), 0);
	machine(ALL_CHIPS);
	is("up", line(4, 1), 0);
	is("down", line(4, 0), 0);
	is("no route", line(4095, 1), 0);
	is("GSI 4096", line(4096, 1), 0);
	is("EFAULT", call(vm, KVM_IRQ_LINE, BAD), -EFAULT);
}

/* ---- the APIC ---- */

static uint32_t apic(const struct kvm_lapic_state *state, unsigned offset)
{
	uint32_t value;

	memcpy(&value, state->regs + offset, sizeof(value));
	return value;
}

static void apic_set(struct kvm_lapic_state *state, unsigned offset, uint32_t value)
{
	memcpy(state->regs + offset, &value, sizeof(value));
}

static void apics(void)
{
	struct kvm_lapic_state state = {};
	struct kvm_run *its_run;
	int second;

	machine(NO_CHIPS);
	ROW("P1", KVM_GET_LAPIC);
	is("without an APIC", call(vcpu, KVM_GET_LAPIC, &state), -EINVAL);
	ROW("P1", KVM_SET_LAPIC);
	is("without an APIC", call(vcpu, KVM_SET_LAPIC, &state), -EINVAL);
	machine(ALL_CHIPS);
	second = add_vcpu(3, &its_run);
	ROW("P1", KVM_GET_LAPIC);
	is("0", call(vcpu, KVM_GET_LAPIC, &state), 0);
	is("EFAULT", call(vcpu, KVM_GET_LAPIC, BAD), -EFAULT);
	is_hex("version", apic(&state, 0x30), 0x50014);
	is_hex("spurious", apic(&state, 0xf0), 0xff);
	is_hex("DFR", apic(&state, 0xe0), 0xffffffff);
	is_hex("LVT LINT0", apic(&state, 0x350), 0x700);
	is_hex("LVT LINT1", apic(&state, 0x360), 0x10000);
	is_hex("LVT timer", apic(&state, 0x320), 0x10000);
	is("ID of vCPU 3", call(second, KVM_GET_LAPIC, &state), 0);
	is_hex("stands in bits 31..24", apic(&state, 0x20), 3 << 24);
	ROW("P1", KVM_SET_LAPIC);
	call(vcpu, KVM_GET_LAPIC, &state);
	apic_set(&state, 0x350, 0x8700);
	apic_set(&state, 0x360, 0x400);
	apic_set(&state, 0xf0, 0x1ff);
	is("LINT0 ExtINT, LINT1 NMI", call(vcpu, KVM_SET_LAPIC, &state), 0);
	is("EFAULT", call(vcpu, KVM_SET_LAPIC, BAD), -EFAULT);
	memset(&state, 0, sizeof(state));
	call(vcpu, KVM_GET_LAPIC, &state);
	is_hex("LINT0 is read back", apic(&state, 0x350), 0x8700);
	is_hex("LINT1 is read back", apic(&state, 0x360), 0x400);
	is_hex("spurious is read back", apic(&state, 0xf0), 0x1ff);
	apic_set(&state, 0x20, 9 << 24);
	is("another ID", call(vcpu, KVM_SET_LAPIC, &state), 0);
	call(vcpu, KVM_GET_LAPIC, &state);
	is_hex("is read back", apic(&state, 0x20), 9 << 24);
}

static void fpu(void)
{
	struct kvm_fpu f = {}, g = {};

	machine(NO_CHIPS);
	ROW("P1", KVM_GET_FPU);
	is("fresh", call(vcpu, KVM_GET_FPU, &f), 0);
	is_hex("FCW", f.fcw, 0x37f);
	is_hex("FTW", f.ftwx, 0);
	is_hex("MXCSR", f.mxcsr, 0);
	is("EFAULT", call(vcpu, KVM_GET_FPU, BAD), -EFAULT);
	ROW("P1", KVM_SET_FPU);
	f.fcw = 0x27f;
	f.fsw = 0x3800;
	f.ftwx = 0x81;
	f.mxcsr = 0x1f80;
	memset(f.fpr, 0x5a, sizeof(f.fpr));
	for (unsigned i = 0; i < 8; i++)
		memset(f.fpr[i] + 10, 0, 6);
	memset(f.xmm, 0xa5, sizeof(f.xmm));
	is("all", call(vcpu, KVM_SET_FPU, &f), 0);
	is("EFAULT", call(vcpu, KVM_SET_FPU, BAD), -EFAULT);
	call(vcpu, KVM_GET_FPU, &g);
	is_hex("FCW", g.fcw, 0x27f);
	is_hex("FSW", g.fsw, 0x3800);
	is_hex("FTW", g.ftwx, 0x81);
	is("x87 registers", memcmp(f.fpr, g.fpr, sizeof(f.fpr)), 0);
	is("XMM registers", memcmp(f.xmm, g.xmm, sizeof(f.xmm)), 0);
}

/* ---- MSRs ---- */

static struct {
	struct kvm_msrs head;
	struct kvm_msr_entry entries[256];
} msrs;

static long msrs_do(unsigned long request, unsigned count, const uint32_t *indexes, uint64_t value)
{
	memset(&msrs, 0, sizeof(msrs));
	msrs.head.nmsrs = count;
	for (unsigned i = 0; i < count; i++)
		msrs.entries[i] = (struct kvm_msr_entry){.index = indexes[i], .data = value};
	return call(vcpu, request, &msrs);
}

static void msr_lists(void)
{
	static const uint32_t kvmtool[] = {0x174, 0x175, 0x176, 0xc0000081, 0xc0000083, 0xc0000102, 0xc0000084,
					   0xc0000082, 0x10, 0x1a0};
	static const uint32_t broken[] = {0x174, 0x175, 0x12345678, 0x176};

	machine(ALL_CHIPS);
	ROW("P1", KVM_SET_MSRS);
	is("kvmtool's", msrs_do(KVM_SET_MSRS, 10, kvmtool, 0), 10);
	is("a bad third one", msrs_do(KVM_SET_MSRS, 4, broken, 0x1000), 2);
	is("a bad first one", msrs_do(KVM_SET_MSRS, 1, broken + 2, 0), 0);
	is("none", msrs_do(KVM_SET_MSRS, 0, NULL, 0), 0);
	msrs.head.nmsrs = 256;
	is("256", call(vcpu, KVM_SET_MSRS, &msrs), -E2BIG);
	is("EFAULT", call(vcpu, KVM_SET_MSRS, BAD), -EFAULT);
	is("no canonical address", msrs_do(KVM_SET_MSRS, 1, kvmtool + 7, 1ul << 60), 0);
	ROW("P1", KVM_GET_MSRS);
	is("kvmtool's", msrs_do(KVM_GET_MSRS, 10, kvmtool, 0), 10);
	is_hex("what was set", msrs.entries[0].data, 0x1000);
	is("a bad third one", msrs_do(KVM_GET_MSRS, 4, broken, 0), 2);
	msrs.head.nmsrs = 256;
	is("256", call(vcpu, KVM_GET_MSRS, &msrs), -E2BIG);
	is("EFAULT", call(vcpu, KVM_GET_MSRS, BAD), -EFAULT);
}

/* ---- eventfds ---- */

static long ioevent(uint64_t address, uint32_t len, uint32_t flags, uint64_t match, int fd)
{
	struct kvm_ioeventfd e = {.datamatch = match, .addr = address, .len = len, .fd = fd, .flags = flags};

	return call(vm, KVM_IOEVENTFD, &e);
}

/* What an eventfd has, 0 after */
static long events(int fd)
{
	uint64_t count = 0;

	return read(fd, &count, 8) == 8 ? (long)count : 0;
}

#define MATCH	 (1u << kvm_ioeventfd_flag_nr_datamatch)
#define PIO	 (1u << kvm_ioeventfd_flag_nr_pio)
#define DEASSIGN (1u << kvm_ioeventfd_flag_nr_deassign)

static void ioevents(void)
{
	int a = eventfd(0, EFD_NONBLOCK), b = eventfd(0, EFD_NONBLOCK), tube[2];
	static const uint32_t length[] = {1, 2, 4, 8, 3, 5, 16};

	if (pipe(tube))
		abort();
	machine(NO_CHIPS);
	ROW("P1", KVM_IOEVENTFD);
	for (unsigned i = 0; i < sizeof(length) / sizeof(length[0]); i++) {
		char name[] = "length 00";

		name[7] = '0' + length[i] / 10;
		name[8] = '0' + length[i] % 10;
		is(name, ioevent(0x1000 + 0x100 * i, length[i], 0, 0, a), i < 4 ? 0 : -EINVAL);
	}
	is("length 0", ioevent(0x2000, 0, 0, 0, a), 0);
	is("length 0 with a match", ioevent(0x3000, 0, MATCH, 0, a), -EINVAL);
	is("unknown flag", ioevent(0x3000, 2, 0x20, 0, a), -EINVAL);
	is("wraps", ioevent(~0ul - 1, 4, 0, 0, a), -EINVAL);
	is("no eventfd", ioevent(0x3000, 2, 0, 0, tube[0]), -EINVAL);
	is("no descriptor", ioevent(0x3000, 2, 0, 0, 999), -EBADF);
	is("EFAULT", call(vm, KVM_IOEVENTFD, BAD), -EFAULT);
	is("the same again", ioevent(0x1000, 1, 0, 0, a), -EEXIST);
	is("another one there", ioevent(0x1000, 1, 0, 0, b), -EEXIST);
	is("of another length", ioevent(0x1000, 2, 0, 0, b), 0);
	is("of any length", ioevent(0x1000, 0, 0, 0, b), -EEXIST);
	is("match 1", ioevent(0x10, 2, PIO | MATCH, 1, a), 0);
	is("match 1 again", ioevent(0x10, 2, PIO | MATCH, 1, b), -EEXIST);
	is("match 2", ioevent(0x10, 2, PIO | MATCH, 2, b), 0);
	is("no match", ioevent(0x10, 2, PIO, 0, b), -EEXIST);
	is("remove: another eventfd", ioevent(0x10, 2, PIO | MATCH | DEASSIGN, 1, b), -ENOENT);
	is("remove: another match", ioevent(0x10, 2, PIO | MATCH | DEASSIGN, 3, a), -ENOENT);
	is("remove: another length", ioevent(0x10, 4, PIO | MATCH | DEASSIGN, 1, a), -ENOENT);
	is("remove: no match", ioevent(0x10, 2, PIO | DEASSIGN, 0, a), -ENOENT);
	is("remove: another address", ioevent(0x12, 2, PIO | MATCH | DEASSIGN, 1, a), -ENOENT);
	is("remove: another bus", ioevent(0x10, 2, MATCH | DEASSIGN, 1, a), -ENOENT);
	is("remove", ioevent(0x10, 2, PIO | MATCH | DEASSIGN, 1, a), 0);
	is("remove again", ioevent(0x10, 2, PIO | MATCH | DEASSIGN, 1, a), -ENOENT);
}

static void many_ioevents(void)
{
	int a = eventfd(0, EFD_NONBLOCK);
	long result = 0;
	struct kvm_coalesced_mmio_zone zone = {.size = 4};

	machine(NO_CHIPS);
	ROW("P1", KVM_IOEVENTFD);
	for (unsigned i = 0; i < 1001 && !result; i++)
		result = ioevent(0x10, 2, PIO | MATCH, i, a);
	is("1001 of them", result, 0);
	ROW("P1", KVM_REGISTER_COALESCED_MMIO);
	result = 0;
	for (unsigned i = 0; i < 1001 && !result; i++) {
		zone.addr = 0x100000 + 16 * i;
		result = call(vm, KVM_REGISTER_COALESCED_MMIO, &zone);
	}
	is("1001 of them", result, -ENOSPC);
}

static void guest_ioevents(void)
{
	int a = eventfd(0, EFD_NONBLOCK), b = eventfd(0, EFD_NONBLOCK);
	struct kvm_sregs s;

	machine(NO_CHIPS);
	ROW("P1", KVM_IOEVENTFD);
	ioevent(0x10, 2, PIO | MATCH, 0x1234, a);
	START(writes);
	is("a write that matches does not exit", next_exit(), KVM_EXIT_IO);
	is("it signals", events(a), 1);
	is_hex("the next address does not match", run->io.port, 0x11);
	is("the next length does not match", next_exit(), KVM_EXIT_IO);
	is("its size", run->io.size, 1);
	is("the next value does not match", next_exit(), KVM_EXIT_IO);
	is("its size", run->io.size, 2);
	is("no further signal", events(a), 0);
	is("the end", next_exit(), KVM_EXIT_HLT);

	ioevent(0x10, 2, PIO | MATCH | DEASSIGN, 0x1234, a);
	ioevent(0x10, 0, PIO, 0, a);
	START(writes);
	is("any length", next_exit(), KVM_EXIT_IO);
	is_hex("port", run->io.port, 0x11);
	is("the end", next_exit(), KVM_EXIT_HLT);
	is("signals", events(a), 3);

	ioevent(0x100010, 0, 0, 0, a);
	ioevent(0x100012, 2, MATCH, 0x1234, b);
	START(mmio_writes);
	s = sregs();
	s.ds.base = 0x100000;
	call(vcpu, KVM_SET_SREGS, &s);
	is("MMIO", next_exit(), KVM_EXIT_HLT);
	is("signals of any length", events(a), 2);
	is("signals of a match", events(b), 1);
}

/* ---- coalesced writes ---- */

static long zone(bool add, uint64_t address, uint32_t size, uint32_t pio)
{
	struct kvm_coalesced_mmio_zone z = {.addr = address, .size = size, .pio = pio};

	return call(vm, add ? KVM_REGISTER_COALESCED_MMIO : KVM_UNREGISTER_COALESCED_MMIO, &z);
}

static void coalesced(void)
{
	struct kvm_coalesced_mmio_ring *ring;

	machine(NO_CHIPS);
	ring = (void *)((uint8_t *)run + 2 * PAGE);
	ROW("P1", KVM_REGISTER_COALESCED_MMIO);
	is("ports", zone(true, 0x10, 1, 1), 0);
	is("pio 2", zone(true, 0x10, 1, 2), -EINVAL);
	is("EFAULT", call(vm, KVM_REGISTER_COALESCED_MMIO, BAD), -EFAULT);
	START(writes);
	is("a write beyond its end exits", next_exit(), KVM_EXIT_IO);
	is("size", run->io.size, 2);
	is("the next port exits", next_exit(), KVM_EXIT_IO);
	is_hex("port", run->io.port, 0x11);
	is("a write inside does not", next_exit(), KVM_EXIT_IO);
	is("size", run->io.size, 2);
	is("one is in the ring", ring->last - ring->first, 1);
	is_hex("address", ring->coalesced_mmio[0].phys_addr, 0x10);
	is("length", ring->coalesced_mmio[0].len, 1);
	is("PIO", ring->coalesced_mmio[0].pio, 1);
	is_hex("value", ring->coalesced_mmio[0].data[0], 0x34);
	complete();
	is("MMIO", zone(true, 0x100000, PAGE, 0), 0);
	ring->first = ring->last = 0;
	START(mmio_writes);
	{
		struct kvm_sregs s = sregs();

		s.ds.base = 0x100000;
		call(vcpu, KVM_SET_SREGS, &s);
	}
	is("MMIO does not exit", next_exit(), KVM_EXIT_HLT);
	is("three are in the ring", ring->last - ring->first, 3);
	is_hex("address", ring->coalesced_mmio[2].phys_addr, 0x100012);
	is("length", ring->coalesced_mmio[2].len, 2);
	ring->first = 5;
	ring->last = 4;
	START(mmio_writes);
	is("a full ring exits", next_exit(), KVM_EXIT_MMIO);
	complete();
	ROW("P1", KVM_UNREGISTER_COALESCED_MMIO);
	is("what is not there", zone(false, 0x900000, 4, 0), 0);
	is("pio 2", zone(false, 0x10, 1, 2), -EINVAL);
	is("EFAULT", call(vm, KVM_UNREGISTER_COALESCED_MMIO, BAD), -EFAULT);
	is("ports", zone(false, 0x10, 1, 1), 0);
	ring->first = ring->last = 0;
	START(writes);
	next_exit();
	next_exit();
	is("now each write exits", next_exit(), KVM_EXIT_IO);
	is("size", run->io.size, 1);
}

/* ---- interrupts in ---- */

static void apic_guest(void)
{
	struct kvm_sregs s;

	START(apic_on);
	s = sregs();
	s.es.base = 0xfee00000;
	call(vcpu, KVM_SET_SREGS, &s);
	if (next_exit() != KVM_EXIT_IO || run->io.port != 0x11)
		abort();
	complete();
}

static long signal_msi(uint32_t address, uint32_t data, uint32_t flags)
{
	struct kvm_msi msi = {.address_lo = address, .data = data, .flags = flags};

	return call(vm, KVM_SIGNAL_MSI, &msi);
}

static void msis(void)
{
	struct kvm_irq_routing_entry e = {.gsi = 40, .type = KVM_IRQ_ROUTING_MSI};

	ROW("P1", KVM_SIGNAL_MSI);
	machine(NO_CHIPS);
	is("without an APIC", signal_msi(0xfee00000, 0x40, 0), -EINVAL);
	machine(ALL_CHIPS);
	is("EFAULT", call(vm, KVM_SIGNAL_MSI, BAD), -EFAULT);
	is("flag 2", signal_msi(0xfee00000, 0x40, 2), -EINVAL);
	is("APIC that is off", signal_msi(0xfee00000, 0x40, 0), 0);
	apic_guest();
	is("APIC that is on", signal_msi(0xfee00000, 0x40, 0), 1);
	is("the guest's handler runs", next_exit(), KVM_EXIT_IO);
	is_hex("port", run->io.port, 0x10);
	complete();
	is("nobody's APIC", signal_msi(0xfee09000, 0x40, 0), 0);
	is("a device id", signal_msi(0xfee00000, 0x40, KVM_MSI_VALID_DEVID), 1);
	next_exit();
	complete();
	ROW("P1", KVM_IRQ_LINE);
	e.u.msi.address_lo = 0xfee00000;
	e.u.msi.data = 0x40;
	is("a route that is an MSI", routes(0, 1, &e), 0);
	is("level 0", line(40, 0), 0);
	is("level 1", line(40, 1), 0);
	is("the guest's handler runs", next_exit(), KVM_EXIT_IO);
	complete();
}

static long irqfd(int fd, uint32_t gsi, uint32_t flags, int resample)
{
	struct kvm_irqfd i = {.fd = fd, .gsi = gsi, .flags = flags, .resamplefd = resample};

	return call(vm, KVM_IRQFD, &i);
}

static void irqfds(void)
{
	int a = eventfd(0, EFD_NONBLOCK), b = eventfd(0, EFD_NONBLOCK), tube[2];
	struct kvm_irq_routing_entry e = {.gsi = 40, .type = KVM_IRQ_ROUTING_MSI};
	const uint64_t one = 1;

	if (pipe(tube))
		abort();
	ROW("P1", KVM_IRQFD);
	machine(NO_CHIPS);
	is("without an interrupt controller", irqfd(a, 5, 0, 0), -EINVAL);
	machine(ALL_CHIPS);
	is("EFAULT", call(vm, KVM_IRQFD, BAD), -EFAULT);
	is("unknown flag", irqfd(a, 5, 4, 0), -EINVAL);
	is("no descriptor", irqfd(999, 5, 0, 0), -EBADF);
	is("no eventfd", irqfd(tube[0], 5, 0, 0), -EINVAL);
	is("GSI 5", irqfd(a, 5, 0, 0), 0);
	is("the same eventfd", irqfd(a, 6, 0, 0), -EBUSY);
	is("another eventfd", irqfd(b, 5, 0, 0), 0);
	is("remove another GSI", irqfd(a, 6, KVM_IRQFD_FLAG_DEASSIGN, 0), 0);
	is("it is still there", irqfd(a, 6, 0, 0), -EBUSY);
	is("remove", irqfd(a, 5, KVM_IRQFD_FLAG_DEASSIGN, 0), 0);
	is("remove what is not there", irqfd(a, 5, KVM_IRQFD_FLAG_DEASSIGN, 0), 0);
	is("remove no descriptor", irqfd(999, 5, KVM_IRQFD_FLAG_DEASSIGN, 0), -EBADF);
	is("remove the other", irqfd(b, 5, KVM_IRQFD_FLAG_DEASSIGN, 0), 0);

	e.u.msi.address_lo = 0xfee00000;
	e.u.msi.data = 0x40;
	routes(0, 1, &e);
	apic_guest();
	is("an MSI's GSI", irqfd(a, 40, 0, 0), 0);
	is("signalled", write(a, &one, 8), 8);
	is("the guest's handler runs", next_exit(), KVM_EXIT_IO);
	complete();
	is("the eventfd is read", events(a), 0);
	is("remove", irqfd(a, 40, KVM_IRQFD_FLAG_DEASSIGN, 0), 0);
	is("signalled before it is there", write(a, &one, 8), 8);
	is("now it is", irqfd(a, 40, 0, 0), 0);
	is("the guest's handler runs", next_exit(), KVM_EXIT_IO);
	complete();
	is("remove", irqfd(a, 40, KVM_IRQFD_FLAG_DEASSIGN, 0), 0);
}

static void resampling(void)
{
	int a = eventfd(0, EFD_NONBLOCK), b = eventfd(0, EFD_NONBLOCK);
	struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC};
	const uint64_t one = 1;

	ROW("P1", KVM_IRQFD);
	if (!offered(KVM_CAP_IRQFD_RESAMPLE))
		return;
	machine(SPLIT_CHIPS);
	is("resample, split", irqfd(a, 5, KVM_IRQFD_FLAG_RESAMPLE, b), -EINVAL);
	machine(ALL_CHIPS);
	is("resample, no descriptor", irqfd(a, 5, KVM_IRQFD_FLAG_RESAMPLE, 999), -EBADF);
	is("resample", irqfd(a, 9, KVM_IRQFD_FLAG_RESAMPLE, b), 0);
	/* Pin 9, to the IOAPIC alone: vector 0x40, level */
	pin(9, KVM_IRQCHIP_IOAPIC, 9);
	call(vm, KVM_GET_IRQCHIP, &chip);
	chip.chip.ioapic.redirtbl[9].bits = 0x40 | 1 << 15;
	is("its pin is level-triggered", call(vm, KVM_SET_IRQCHIP, &chip), 0);
	apic_guest();
	is("signalled", write(a, &one, 8), 8);
	is("the guest's handler runs", next_exit(), KVM_EXIT_IO);
	is("not resampled before its EOI", events(b), 0);
	complete();
	is("the line is up", (ioapic_irr() >> 9) & 1, 1);
	/* It sleeps until the time is up. */
	is("it ends the interrupt and halts", enter_briefly(), -EINTR);
	is("resampled", events(b), 1);
	is("the line is down", (ioapic_irr() >> 9) & 1, 0);
	is("remove", irqfd(a, 9, KVM_IRQFD_FLAG_DEASSIGN, 0), 0);
}

const struct group p1_groups[] = {
	{"p1 chips", chips}, {"p1 pit", timers}, {"p1 routing", routing}, {"p1 lines", lines}, {"p1 apic", apics},
	{"p1 fpu", fpu}, {"p1 msrs", msr_lists}, {"p1 ioeventfd", ioevents}, {"p1 many", many_ioevents},
	{"p1 guest ioeventfd", guest_ioevents}, {"p1 coalesced", coalesced}, {"p1 msi", msis},
	{"p1 irqfd", irqfds}, {"p1 resample", resampling}, {},
};
