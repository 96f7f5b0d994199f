// SPDX-License-Identifier: MIT
/* P0: what a first client needs. */
#define _GNU_SOURCE
#include <cpuid.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

#define CR0_PE	 1ul
#define CR0_NW	 (1ul << 29)
#define CR0_CD	 (1ul << 30)
#define CR0_PG	 (1ul << 31)
#define EFER_LME 0x100ul
#define EFER_LMA 0x400ul

GUEST(store_far, 16, "movw $0x1234, %ax; movw %ax, (0); hlt");
GUEST(out_byte, 16, "outb %al, $0x10; hlt");

static struct {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entries[300];
} cpuid;

static void system_fd(void)
{
	int fd;

	ROW("P0", KVM_GET_API_VERSION);
	is("0", call(kvm, KVM_GET_API_VERSION, 0), 12);
	is("argument 1", call(kvm, KVM_GET_API_VERSION, 1), -EINVAL);

	ROW("P0", KVM_CREATE_VM);
	is("type 0", made(call(kvm, KVM_CREATE_VM, 0), &fd), 0);
	is("close on exec", fcntl(fd, F_GETFD), FD_CLOEXEC);
	is("closed", close(fd), 0);
	is("type 1", made(call(kvm, KVM_CREATE_VM, 1), &fd), -EINVAL);

	bare_vm();
	ROW("P0", KVM_CHECK_EXTENSION);
	is("/dev/kvm, USER_MEMORY", call(kvm, KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY), 1);
	is("VM, USER_MEMORY", call(vm, KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY), 1);
	is("/dev/kvm, unknown", call(kvm, KVM_CHECK_EXTENSION, 9999), 0);
	is("VM, unknown", call(vm, KVM_CHECK_EXTENSION, 9999), 0);
	is("/dev/kvm, -1", call(kvm, KVM_CHECK_EXTENSION, -1), 0);

	ROW("P0", KVM_GET_VCPU_MMAP_SIZE);
	is("0", call(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), 12288);
	is("argument 1", call(kvm, KVM_GET_VCPU_MMAP_SIZE, 1), -EINVAL);
}

/* The full 32-bit number counts, nothing else. */
static void numbers(void)
{
	int fds[3];
	static const long unknown[] = {-EINVAL, -ENOTTY, -EINVAL};
	static const char *const who[] = {"/dev/kvm, unknown", "VM, unknown", "vCPU, unknown"};
	static const char *const type[] = {"/dev/kvm, other type", "VM, other type", "vCPU, other type"};
	static const char *const size[] = {"/dev/kvm, other size", "VM, other size", "vCPU, other size"};

	machine(NO_CHIPS);
	fds[0] = kvm;
	fds[1] = vm;
	fds[2] = vcpu;
	subject("P0", "request numbers");
	for (int i = 0; i < 3; i++) {
		is(who[i], call(fds[i], _IO(KVMIO, 0xff), 0), unknown[i]);
		is(type[i], call(fds[i], _IO(0xcd, 0x00), 0), unknown[i]);
		is(size[i], call(fds[i], _IOR(KVMIO, 0x81, char[7]), 0), unknown[i]);
	}
	is("VM, a vCPU's", call(vm, KVM_GET_REGS, BAD), -ENOTTY);
	is("vCPU, a VM's", call(vcpu, KVM_CREATE_IRQCHIP, 0), -EINVAL);
	is("/dev/kvm, a VM's", call(kvm, KVM_CREATE_VCPU, 0), -EINVAL);
	is("read of a vCPU", read(vcpu, fds, 1) < 0 ? -errno : 0, -EINVAL);
}

/* The result of a call in another process, with its own memory. */
static long elsewhere(int fd, unsigned long request)
{
	pid_t child = fork();
	int status;

	if (!child) {
		long result = call(fd, request, 0);

		_exit(result < 0 ? -result : 0);
	}
	waitpid(child, &status, 0);
	return -WEXITSTATUS(status);
}

static void other_process(void)
{
	machine(NO_CHIPS);
	subject("P0", "another process");
	is("VM", elsewhere(vm, KVM_CREATE_IRQCHIP), -EIO);
	is("vCPU", elsewhere(vcpu, KVM_RUN), -EIO);
	is("/dev/kvm", elsewhere(kvm, KVM_GET_API_VERSION), 0);
}

/* ---- memory ---- */

static unsigned physical_bits(void)
{
	unsigned a, b, c, d;

	__cpuid(0x80000008, a, b, c, d);
	return a & 0xff;
}

static void slots(void)
{
	uint8_t *two = pages(4 * PAGE);
	const uint64_t beyond = (uint64_t)call(kvm, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS);

	bare_vm();
	ROW("P0", KVM_SET_USER_MEMORY_REGION);
	is("create", set_slot(0, 0, 2 * PAGE, two, 0), 0);
	is("identical", set_slot(0, 0, 2 * PAGE, two, 0), 0);
	is("EFAULT", call(vm, KVM_SET_USER_MEMORY_REGION, BAD), -EFAULT);
	is("last slot", set_slot(beyond - 1, 64 * PAGE, PAGE, two, 0), 0);
	is("slot beyond", set_slot(beyond, 65 * PAGE, PAGE, two, 0), -EINVAL);
	is("address space beyond", set_slot(9 << 16, 65 * PAGE, PAGE, two, 0), -EINVAL);
	is("size not of pages", set_slot(1, 8 * PAGE, PAGE + 1, two, 0), -EINVAL);
	is("address not of pages", set_slot(1, 8 * PAGE + 1, PAGE, two, 0), -EINVAL);
	is("user address not of pages", set_slot(1, 8 * PAGE, PAGE, two + 1, 0), -EINVAL);
	is("a kernel's address", set_slot(1, 8 * PAGE, PAGE, (void *)0xffff800000000000, 0), -EINVAL);
	is("address wraps", set_slot(1, -PAGE, 2 * PAGE, two, 0), -EINVAL);
	is("2^31 pages", set_slot(1, 8 * PAGE, PAGE << 31, NULL, 0), -EINVAL);
	is("an address that no processor here has", set_slot(1, 1ul << physical_bits(), PAGE, two, 0), -EINVAL);
	is("the last that it has", set_slot(1, (1ul << physical_bits()) - PAGE, PAGE, two, 0), 0);
	is("that is deleted", set_slot(1, 0, 0, NULL, 0), 0);
	is("unknown flag", set_slot(1, 8 * PAGE, PAGE, two, 4), -EINVAL);
	is("delete what is not there", set_slot(1, 8 * PAGE, 0, two, 0), -EINVAL);
	is("overlap at the end", set_slot(1, PAGE, 2 * PAGE, two, 0), -EEXIST);
	is("overlap inside", set_slot(1, PAGE, PAGE, two, 0), -EEXIST);
	is("adjacent", set_slot(1, 2 * PAGE, PAGE, two, 0), 0);
	is("other user address", set_slot(1, 2 * PAGE, PAGE, two + PAGE, 0), -EINVAL);
	is("other size", set_slot(1, 2 * PAGE, 2 * PAGE, two, 0), -EINVAL);
	is("read-only now", set_slot(1, 2 * PAGE, PAGE, two, KVM_MEM_READONLY), -EINVAL);
	is("logged now", set_slot(1, 2 * PAGE, PAGE, two, KVM_MEM_LOG_DIRTY_PAGES), 0);
	is("logged no more", set_slot(1, 2 * PAGE, PAGE, two, 0), 0);
	is("moved", set_slot(1, 3 * PAGE, PAGE, two, 0), 0);
	is("moved onto another", set_slot(1, PAGE, PAGE, two, 0), -EEXIST);
	is("deleted", set_slot(1, 0, 0, two, 0), 0);
	is("deleted again", set_slot(1, 0, 0, two, 0), -EINVAL);
	is("read-only", set_slot(1, 8 * PAGE, PAGE, two, KVM_MEM_READONLY), 0);
	is("writable now", set_slot(1, 8 * PAGE, PAGE, two, 0), -EINVAL);
	munmap(two, 4 * PAGE);
	is("nobody's user address", set_slot(2, 16 * PAGE, PAGE, two, 0), 0);
	is("user address 0", set_slot(3, 17 * PAGE, PAGE, NULL, 0), 0);
}

/* DS:0 is at gpa. */
static void data_at(uint64_t gpa)
{
	struct kvm_sregs s = sregs();

	s.ds.base = gpa;
	call(vcpu, KVM_SET_SREGS, &s);
}

static void guest_slots(void)
{
	uint16_t *page = pages(PAGE);

	machine(NO_CHIPS);
	ROW("P0", KVM_SET_USER_MEMORY_REGION);
	page[0] = 0x55aa;
	is("create", set_slot(1, 0x100000, PAGE, page, 0), 0);
	START(store_far);
	data_at(0x100000);
	is("guest's write", next_exit(), KVM_EXIT_HLT);
	is_hex("is there", page[0], 0x1234);
	is("move", set_slot(1, 0x200000, PAGE, page, 0), 0);
	page[0] = 0;
	START(store_far);
	data_at(0x100000);
	is("guest's write where it was", next_exit(), KVM_EXIT_MMIO);
	complete();
	START(store_far);
	data_at(0x200000);
	is("guest's write where it is", next_exit(), KVM_EXIT_HLT);
	is_hex("is there", page[0], 0x1234);
	is("delete", set_slot(1, 0, 0, page, 0), 0);
	START(store_far);
	data_at(0x200000);
	is("guest's write to nowhere", next_exit(), KVM_EXIT_MMIO);
	complete();

	is("read-only", set_slot(1, 0x100000, PAGE, page, KVM_MEM_READONLY), 0);
	page[0] = 7;
	START(store_far);
	data_at(0x100000);
	is("guest's write to read-only", next_exit(), KVM_EXIT_MMIO);
	is_hex("its address", run->mmio.phys_addr, 0x100000);
	is("it is a write", run->mmio.is_write, 1);
	is("is not there", page[0], 7);
	is("completed", next_exit(), KVM_EXIT_HLT);
	is("deleted", set_slot(1, 0, 0, page, 0), 0);

	is("create", set_slot(1, 0x100000, PAGE, page, 0), 0);
	is("mprotect", mprotect(page, PAGE, PROT_READ), 0);
	START(store_far);
	data_at(0x100000);
	is("guest's write to a protected page", next_exit(), -EFAULT);
	is("mprotect", mprotect(page, PAGE, PROT_READ | PROT_WRITE), 0);
	is("again", next_exit(), KVM_EXIT_HLT);
	munmap(page, PAGE);
	START(store_far);
	data_at(0x100000);
	is("guest's write to no page", next_exit(), -EFAULT);
	is("and again", next_exit(), -EFAULT);
}

/* ---- vCPUs ---- */

static void vcpus(void)
{
	int fd = -1;
	const long most = call(kvm, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
	const long beyond = call(kvm, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPU_ID);
	long made_all = 0;

	bare_vm();
	ROW("P0", KVM_CREATE_VCPU);
	is("id 0", made(call(vm, KVM_CREATE_VCPU, 0), &fd), 0);
	is("close on exec", fcntl(fd, F_GETFD), FD_CLOEXEC);
	is("id 0 again", made(call(vm, KVM_CREATE_VCPU, 0), &fd), -EEXIST);
	is("id MAX_VCPU_ID", made(call(vm, KVM_CREATE_VCPU, beyond), &fd), -EINVAL);
	is("id 2^32, which is 0", made(call(vm, KVM_CREATE_VCPU, 1ul << 32), &fd), -EEXIST);
	is("id MAX_VCPU_ID - 1", made(call(vm, KVM_CREATE_VCPU, beyond - 1), &fd), 0);
	is("closed", close(fd), 0);
	is("its id again", made(call(vm, KVM_CREATE_VCPU, beyond - 1), &fd), -EEXIST);
	for (long id = 1; !made_all && id < most - 1; id++)
		made_all = made(call(vm, KVM_CREATE_VCPU, id), &fd);
	is("as many as MAX_VCPUS", made_all, 0);
	is("one more", made(call(vm, KVM_CREATE_VCPU, most), &fd), -EINVAL);
}

static sigjmp_buf bus_error;

static void on_bus_error(int signal)
{
	siglongjmp(bus_error, 1);
}

static void shared_pages(void)
{
	volatile uint8_t *a, *b;

	machine(NO_CHIPS);
	subject("P0", "mmap of a vCPU");
	a = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	is("4 pages", a == MAP_FAILED ? -errno : 0, 0);
	b = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, dup(vcpu), 0);
	is("a second time, of a dup", b == MAP_FAILED ? -errno : 0, 0);
	a[1] = 1;
	is("both are one page", b[1], 1);
	is("immediate_exit of the second counts", enter(), -EINTR);
	b[1] = 0;
	signal(SIGBUS, on_bus_error);
	for (int i = 0; i < 4; i++) {
		static const char *const page[] = {"kvm_run", "PIO data", "coalesced ring", "beyond"};
		bool wrong = sigsetjmp(bus_error, 1);

		if (!wrong)
			a[i * PAGE] = a[i * PAGE];
		is(page[i], wrong ? -EFAULT : 0, i < 3 ? 0 : -EFAULT);
	}
}

/* ---- registers ---- */

static void general(void)
{
	struct kvm_regs r = {}, s;
	struct kvm_enable_cap payload = {.cap = KVM_CAP_EXCEPTION_PAYLOAD, .args = {1}};
	struct kvm_vcpu_events events;

	machine(NO_CHIPS);
	ROW("P0", KVM_GET_REGS);
	is("fresh", call(vcpu, KVM_GET_REGS, &r), 0);
	is_hex("rip", r.rip, 0xfff0);
	is_hex("rflags", r.rflags, 2);
	is_hex("rdx", r.rdx, 0x600);
	is_hex("the others", r.rax | r.rbx | r.rcx | r.rsi | r.rdi | r.rsp | r.rbp | r.r8 | r.r15, 0);
	is("EFAULT", call(vcpu, KVM_GET_REGS, BAD), -EFAULT);

	ROW("P0", KVM_SET_REGS);
	for (unsigned i = 0; i < 16; i++)
		((uint64_t *)&r)[i] = 0x1111111111111111ul * i + 1;
	r.rip = 0x123456789abc;
	r.rflags = 0x40;
	is("all", call(vcpu, KVM_SET_REGS, &r), 0);
	call(vcpu, KVM_GET_REGS, &s);
	is("read back", memcmp(&r, &s, 16 * 8) || r.rip != s.rip, 0);
	is_hex("rflags", s.rflags, 0x42);
	is("EFAULT", call(vcpu, KVM_SET_REGS, BAD), -EFAULT);
	call(vm, KVM_ENABLE_CAP, &payload);
	call(vcpu, KVM_GET_VCPU_EVENTS, &events);
	events.flags = KVM_VCPUEVENT_VALID_PAYLOAD;
	events.exception.pending = 1;
	events.exception.nr = 6;
	is("an exception is pending", call(vcpu, KVM_SET_VCPU_EVENTS, &events), 0);
	call(vcpu, KVM_SET_REGS, &r);
	call(vcpu, KVM_GET_VCPU_EVENTS, &events);
	is("it is no more", events.exception.pending, 0);
}

static void reset_sregs(void)
{
	struct kvm_sregs s = {};

	machine(ALL_CHIPS);
	/* Not the segments' types: Linux's two implementations differ there. */
	ROW("P0", KVM_GET_SREGS);
	is("fresh", call(vcpu, KVM_GET_SREGS, &s), 0);
	is("EFAULT", call(vcpu, KVM_GET_SREGS, BAD), -EFAULT);
	is_hex("cs.selector", s.cs.selector, 0xf000);
	is_hex("cs.base", s.cs.base, 0xffff0000);
	is_hex("cs.limit", s.cs.limit, 0xffff);
	is("cs.present", s.cs.present, 1);
	is("cs.s", s.cs.s, 1);
	is_hex("ss.limit", s.ss.limit, 0xffff);
	is("ds.present", s.ds.present, 1);
	is_hex("tr.limit", s.tr.limit, 0xffff);
	is("tr.present", s.tr.present, 1);
	is_hex("gdt.base", s.gdt.base, 0);
	is_hex("gdt.limit", s.gdt.limit, 0xffff);
	is_hex("idt.base", s.idt.base, 0);
	is_hex("idt.limit", s.idt.limit, 0xffff);
	is_hex("cr0", s.cr0, 0x60000010);
	is_hex("cr2", s.cr2, 0);
	is_hex("cr3", s.cr3, 0);
	is_hex("cr4", s.cr4, 0);
	is_hex("cr8", s.cr8, 0);
	is_hex("efer", s.efer, 0);
	is_hex("apic_base", s.apic_base, 0xfee00900);
	is_hex("interrupt_bitmap", s.interrupt_bitmap[0] | s.interrupt_bitmap[1] | s.interrupt_bitmap[2] |
		s.interrupt_bitmap[3], 0);
}

static struct kvm_sregs good;

static void refused(const char *what, const struct kvm_sregs *s)
{
	is(what, call(vcpu, KVM_SET_SREGS, s), -EINVAL);
}

static void long_sregs(void)
{
	struct kvm_sregs s;

	machine(ALL_CHIPS);
	START_LONG(out_byte);
	good = sregs();
	ROW("P0", KVM_SET_SREGS);
	is("long mode", call(vcpu, KVM_SET_SREGS, &good), 0);
	is("EFAULT", call(vcpu, KVM_SET_SREGS, BAD), -EFAULT);
	s = good, s.efer = EFER_LME;
	refused("LME and PG without LMA", &s);
	s = good, s.efer = EFER_LMA;
	refused("LMA without LME", &s);
	s = good, s.cr0 &= ~CR0_PG;
	refused("LMA without PG", &s);
	s = good, s.cr4 = 0;
	refused("LME and PG without PAE", &s);
	s = good, s.cr3 = 1ul << 60;
	refused("CR3 beyond MAXPHYADDR", &s);
	s = good, s.efer = 0;
	refused("CS.L without LMA", &s);
	s = good, s.cr4 |= 1ul << 31;
	refused("reserved bit of CR4", &s);
	s = good, s.cr4 |= 1ul << 32;
	refused("upper half of CR4", &s);
	s = good, s.cr0 &= ~CR0_PE;
	refused("PG without PE", &s);
	s = good, s.cr0 |= CR0_NW;
	refused("NW without CD", &s);
	s = good, s.cr0 |= 1ul << 32;
	refused("upper half of CR0", &s);
	s = good, s.cr0 |= CR0_NW | CR0_CD;
	is("NW and CD", call(vcpu, KVM_SET_SREGS, &s), 0);
	s = good, s.cr4 |= 1ul << 18;
	is("OSXSAVE before there is a CPUID", call(vcpu, KVM_SET_SREGS, &s), 0);
	call(vcpu, KVM_SET_SREGS, &good);
	cpuid.head.nent = 1;
	cpuid.entries[0] = (struct kvm_cpuid_entry2){.function = 1};
	is("a CPUID without XSAVE", call(vcpu, KVM_SET_CPUID2, &cpuid), 0);
	refused("OSXSAVE that CPUID lacks", &s);
	s = good, s.apic_base |= 1;
	refused("reserved bit of apic_base", &s);
	s = good, s.apic_base |= 1ul << 60;
	refused("apic_base beyond MAXPHYADDR", &s);
	s = good, s.apic_base = 0xfee00400;
	refused("x2APIC without xAPIC enable", &s);
	s = good, s.apic_base = 0xfee00000;
	is("APIC off", call(vcpu, KVM_SET_SREGS, &s), 0);
	is_hex("is read back", sregs().apic_base, 0xfee00000);
	is("APIC on", call(vcpu, KVM_SET_SREGS, &good), 0);
	s = good, s.cr8 = 5;
	is("CR8", call(vcpu, KVM_SET_SREGS, &s), 0);
	is("CR8 is read back", sregs().cr8, 5);
	s = good, s.interrupt_bitmap[1] = 1;
	is("interrupt_bitmap", call(vcpu, KVM_SET_SREGS, &s), 0);
	is_hex("is read back", sregs().interrupt_bitmap[1], 1);
}

/* Old VMMs start a vCPU so. */
static void reset_vector(void)
{
	struct kvm_mp_state state = {.mp_state = KVM_MP_STATE_HALTED};
	struct kvm_sregs s;

	machine(ALL_CHIPS);
	s = sregs();
	ROW("P0", KVM_SET_SREGS);
	is("halted", call(vcpu, KVM_SET_MP_STATE, &state), 0);
	is("the reset vector", call(vcpu, KVM_SET_SREGS, &s), 0);
	call(vcpu, KVM_GET_MP_STATE, &state);
	is("makes the first vCPU runnable", state.mp_state, KVM_MP_STATE_RUNNABLE);
}

/* As solo5 does it. */
static void no_apic_sregs(void)
{
	struct kvm_sregs s;

	machine(NO_CHIPS);
	ROW("P0", KVM_SET_SREGS);
	s = sregs();
	s.apic_base = 0;
	is("apic_base 0 without an APIC", call(vcpu, KVM_SET_SREGS, &s), 0);
	is_hex("is read back", sregs().apic_base, 0);
	s.cr8 = 7;
	is("CR8 without an APIC", call(vcpu, KVM_SET_SREGS, &s), 0);
	is("is read back", sregs().cr8, 7);
}

static void addresses(void)
{
	machine(ALL_CHIPS);
	ROW("P0", KVM_SET_TSS_ADDR);
	is("0xfffbd000, with a vCPU", call(vm, KVM_SET_TSS_ADDR, 0xfffbd000), 0);
	is("0xffffd000", call(vm, KVM_SET_TSS_ADDR, 0xffffd000), 0);
	is("0xffffd001", call(vm, KVM_SET_TSS_ADDR, 0xffffd001), -EINVAL);
	is("2^32", call(vm, KVM_SET_TSS_ADDR, 1ul << 32), -EINVAL);

	ROW("P0", KVM_GET_TSC_KHZ);
	is("a vCPU's, more than 0", call(vcpu, KVM_GET_TSC_KHZ, 0) > 0, 1);
	is("the VM's is the same", call(vm, KVM_GET_TSC_KHZ, 0) == call(vcpu, KVM_GET_TSC_KHZ, 0), 1);
	is("an argument does not count", call(vcpu, KVM_GET_TSC_KHZ, 0xc) > 0, 1);
}

/* ---- CPUID ---- */

static bool has_leaf(uint32_t function)
{
	for (uint32_t i = 0; i < cpuid.head.nent; i++)
		if (cpuid.entries[i].function == function)
			return true;
	return false;
}

static long supported(uint32_t count)
{
	cpuid.head.nent = count;
	return call(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid);
}

static void leaves(void)
{
	static const struct {
		const char *name;
		uint32_t function;
	} wanted[] = {{"leaf 0", 0}, {"leaf 1", 1}, {"leaf 7", 7}, {"leaf 0xa", 0xa}, {"leaf 0xb", 0xb},
		      {"leaf 0xd", 0xd}, {"leaf 0x40000000", 0x40000000}, {"leaf 0x40000001", 0x40000001},
		      {"leaf 0x80000000", 0x80000000}, {"leaf 0x80000001", 0x80000001},
		      {"leaf 0x80000002", 0x80000002}, {"leaf 0x80000003", 0x80000003},
		      {"leaf 0x80000004", 0x80000004}, {"leaf 0x80000008", 0x80000008}};
	uint32_t count;

	ROW("P0", KVM_GET_SUPPORTED_CPUID);
	is("room for 0", supported(0), -E2BIG);
	is("room for 1", supported(1), -E2BIG);
	is("room for 300", supported(300), 0);
	count = cpuid.head.nent;
	is("nent is less", count > 10 && count < 300, 1);
	is("80 entries at most", count <= 80, 1);
	is("one too few", supported(count - 1), -E2BIG);
	is("just enough", supported(count), 0);
	is("nent is the same", cpuid.head.nent == count, 1);
	is("EFAULT", call(kvm, KVM_GET_SUPPORTED_CPUID, BAD), -EFAULT);
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		is(wanted[i].name, has_leaf(wanted[i].function), 1);
	is("flags of leaf 7 are SIGNIFICANT_INDEX", ({
		   uint32_t flags = 0;
		   for (uint32_t i = 0; i < count; i++)
			   if (cpuid.entries[i].function == 7)
				   flags = cpuid.entries[i].flags;
		   flags;
	   }), KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
	for (uint32_t i = 0; i < count; i++)
		if (!memcmp(&cpuid.entries[i].ebx, "KVMKVMKVM", 4))
			is_hex("KVM's signature", cpuid.entries[i].function, 0x40000000);
}

static void set_leaves(void)
{
	machine(NO_CHIPS);
	supported(300);
	ROW("P0", KVM_SET_CPUID2);
	is("what is supported", call(vcpu, KVM_SET_CPUID2, &cpuid), 0);
	cpuid.head.nent = 257;
	is("257 entries", call(vcpu, KVM_SET_CPUID2, &cpuid), -E2BIG);
	is("EFAULT", call(vcpu, KVM_SET_CPUID2, BAD), -EFAULT);
	supported(300);
	for (uint32_t i = 0; i < cpuid.head.nent; i++)
		if (cpuid.entries[i].function == 0x80000008)
			cpuid.entries[i].eax = (cpuid.entries[i].eax & ~0xff00u) | 40 << 8;
	is("40 bits of linear address", call(vcpu, KVM_SET_CPUID2, &cpuid), -EINVAL);
	cpuid.head.nent = 0;
	is("none", call(vcpu, KVM_SET_CPUID2, &cpuid), 0);
	supported(300);
	is("again", call(vcpu, KVM_SET_CPUID2, &cpuid), 0);
	START(out_byte);
	is("the guest runs", next_exit(), KVM_EXIT_IO);
	is("the same", call(vcpu, KVM_SET_CPUID2, &cpuid), 0);
	cpuid.head.nent--;
	is("another one after the first run", call(vcpu, KVM_SET_CPUID2, &cpuid), -EINVAL);
}

const struct group p0_groups[] = {
	{"p0 system", system_fd}, {"p0 numbers", numbers}, {"p0 process", other_process}, {"p0 slots", slots},
	{"p0 guest slots", guest_slots}, {"p0 vcpus", vcpus}, {"p0 pages", shared_pages}, {"p0 regs", general},
	{"p0 reset", reset_sregs}, {"p0 sregs", long_sregs}, {"p0 sregs without APIC", no_apic_sregs},
	{"p0 reset vector", reset_vector},
	{"p0 addresses", addresses}, {"p0 cpuid", leaves}, {"p0 set cpuid", set_leaves}, {},
};
