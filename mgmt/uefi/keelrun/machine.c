// SPDX-License-Identifier: MIT
/* The virtual machine of keelrun: memory, vCPUs, the loop around KVM_RUN. */
#include "mgmt/uefi/keelrun/machine.h"
#include "mgmt/uefi/keelrun/cpuid.h"
#include "mgmt/uefi/keelrun/report.h"
#include <errno.h>
#include <fcntl.h>
#include <keel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB	      (1ull << 20)
#define REGION_LEAST  (16 * MIB)
#define CPUID_ENTRIES 256
#define TSS_ADDRESS   0xfffbd000u
#define MEMORY_AT     (1ull << 44) /* a hint for Linux: guest memory is aligned as the guest has it */
#define POLL_US	      10000
#define STOP_KEY      0x1d /* Ctrl-] */

static int failed(const char *what)
{
	printf("keelrun: %s: %s\n", what, strerror(errno));
	return -1;
}

/* ---- memory ---- */

u8 *machine_memory(struct machine *m, u64 gpa, u64 *bytes)
{
	for (u32 i = 0; i < m->region_count; i++) {
		struct machine_region *r = &m->regions[i];

		if (gpa - r->gpa >= r->bytes)
			continue;
		*bytes = r->bytes - (gpa - r->gpa);
		return r->at + (gpa - r->gpa);
	}
	return NULL;
}

static int add_region(struct machine *m, u64 gpa, u64 bytes, void *at)
{
	struct kvm_userspace_memory_region r = {
		.slot = m->region_count,
		.guest_phys_addr = gpa,
		.memory_size = bytes,
		.userspace_addr = (u64)at,
	};

	m->regions[m->region_count++] = (struct machine_region){gpa, bytes, at};
	if (ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &r) < 0)
		return failed("guest memory");
	return 0;
}

/* In one piece if the firmware has one, else in smaller ones. */
static int add_memory(struct machine *m, u64 gpa, u64 bytes)
{
	u64 piece = bytes;

	while (bytes) {
		void *at = MAP_FAILED;

		piece = MIN(piece, bytes);
		if (m->region_count < MACHINE_REGIONS)
			at = mmap((void *)(MEMORY_AT + gpa), piece, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (at == MAP_FAILED) {
			if (m->region_count < MACHINE_REGIONS && piece / 2 >= REGION_LEAST) {
				piece = ALIGN_UP(piece / 2, SIZE_2M);
				continue;
			}
			printf("keelrun: this machine has not enough free memory for a guest with "
			       "%llu MiB\n",
			       m->memory / MIB);
			return -1;
		}
		if (add_region(m, gpa, piece, at))
			return -1;
		gpa += piece;
		bytes -= piece;
	}
	return 0;
}

/* ---- vCPUs ---- */

static int set_cpuid(struct machine *m, struct machine_vcpu *v)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + CPUID_ENTRIES * sizeof(c->entries[0]));
	bool deadline = ioctl(m->kvm, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
	int result = -1;

	if (!c)
		return failed("CPUID");
	c->nent = CPUID_ENTRIES;
	if (!ioctl(m->kvm, KVM_GET_SUPPORTED_CPUID, c)) {
		cpuid_for_vcpu(c->entries, c->nent, v->id, m->cpus, deadline);
		result = ioctl(v->fd, KVM_SET_CPUID2, c);
	}
	free(c);
	return result < 0 ? failed("CPUID") : 0;
}

/* What firmware leaves behind: memory is write-back, fast strings are on. */
static int set_msrs(struct machine_vcpu *v)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entries[2];
	} msrs = {
		.head.nmsrs = 2,
		.entries = {{.index = 0x1a0 /* IA32_MISC_ENABLE */, .data = 1},
			    {.index = 0x2ff /* IA32_MTRR_DEF_TYPE */, .data = 0x806}},
	};

	return ioctl(v->fd, KVM_SET_MSRS, &msrs) != 2 ? failed("MSRs") : 0;
}

/* The virtual wire of MP systems: LINT0 takes the 8259s, LINT1 is NMI. */
static int set_lapic(struct machine_vcpu *v)
{
	struct kvm_lapic_state s;
	u32 ext_int = 0x700, nmi = 0x400;

	if (ioctl(v->fd, KVM_GET_LAPIC, &s) < 0)
		return failed("local APIC");
	memcpy(s.regs + 0x350, &ext_int, 4);
	memcpy(s.regs + 0x360, &nmi, 4);
	return ioctl(v->fd, KVM_SET_LAPIC, &s) < 0 ? failed("local APIC") : 0;
}

static int add_vcpu(struct machine *m, u32 id)
{
	struct machine_vcpu *v = &m->vcpus[id];

	*v = (struct machine_vcpu){.machine = m, .id = id};
	v->fd = ioctl(m->vm, KVM_CREATE_VCPU, id);
	if (v->fd < 0)
		return failed("creating a vCPU");
	m->cpus = id + 1;
	v->run = mmap(NULL, m->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (v->run == MAP_FAILED)
		return failed("a vCPU's pages");
	return 0;
}

int machine_create(struct machine *m, const struct options *o)
{
	struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
	int bytes;

	*m = (struct machine){.kvm = -1, .vm = -1, .memory = o->memory};
	m->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (m->kvm < 0)
		return failed("/dev/kvm");
	bytes = ioctl(m->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	m->vm = ioctl(m->kvm, KVM_CREATE_VM, 0);
	if (bytes < 0 || m->vm < 0)
		return failed("creating a virtual machine");
	m->run_bytes = (u32)bytes;
	if (ioctl(m->vm, KVM_SET_TSS_ADDR, TSS_ADDRESS) < 0 ||
	    ioctl(m->vm, KVM_CREATE_IRQCHIP) < 0 || ioctl(m->vm, KVM_CREATE_PIT2, &pit) < 0)
		return failed("interrupt controllers");
	if (add_memory(m, 0, MIN(m->memory, HOLE_START)) ||
	    (m->memory > HOLE_START && add_memory(m, HOLE_END, m->memory - HOLE_START)))
		return -1;
	devices_init(m);
	for (u32 i = 0; i < o->cpus; i++)
		if (add_vcpu(m, i))
			return -1;
	for (u32 i = 0; i < o->cpus; i++)
		if (set_cpuid(m, &m->vcpus[i]) || set_msrs(&m->vcpus[i]) || set_lapic(&m->vcpus[i]))
			return -1;
	return 0;
}

/* The boot protocol's 64-bit entry, on the first vCPU; the others wait for their SIPI. */
int machine_boot_state(struct machine *m, u64 entry)
{
	struct machine_vcpu *v = &m->vcpus[0];
	struct kvm_regs regs = {.rip = entry, .rsi = BOOT_PARAMS, .rsp = BOOT_STACK, .rflags = 2};
	struct kvm_segment segment = {.limit = 0xffffffff, .present = 1, .s = 1, .g = 1};
	struct kvm_sregs s;

	if (ioctl(v->fd, KVM_GET_SREGS, &s) < 0)
		return failed("registers");
	s.cs = segment;
	s.cs.selector = BOOT_CODE_SELECTOR;
	s.cs.type = 11;
	s.cs.l = 1;
	segment.selector = BOOT_DATA_SELECTOR;
	segment.type = 3;
	segment.db = 1;
	s.ds = s.es = s.ss = s.fs = s.gs = segment;
	s.gdt.base = BOOT_GDT;
	s.gdt.limit = BOOT_DATA_SELECTOR + 7;
	s.cr0 = BIT(0) | BIT(4) | BIT(31); /* PE, ET, PG */
	s.cr3 = BOOT_TABLES;
	s.cr4 = BIT(5);		   /* PAE */
	s.efer = BIT(8) | BIT(10); /* LME, LMA */
	if (ioctl(v->fd, KVM_SET_SREGS, &s) < 0 || ioctl(v->fd, KVM_SET_REGS, &regs) < 0)
		return failed("registers");
	return 0;
}

/* ---- running ---- */

void machine_end(struct machine *m, enum machine_state state, const char *why)
{
	pthread_mutex_lock(&m->lock);
	if (m->state == MACHINE_RUNS) {
		if (why)
			snprintf(m->why, sizeof(m->why), "%s", why);
		__atomic_store_n(&m->state, state, __ATOMIC_RELEASE);
	}
	for (u32 i = 0; i < m->cpus; i++) {
		/* A signal may come before KVM_RUN. */
		WRITE_ONCE(m->vcpus[i].run->immediate_exit, 1);
		if (m->vcpus[i].thread)
			keel_thread_kick(m->vcpus[i].thread);
	}
	pthread_mutex_unlock(&m->lock);
}

static void internal_error(const struct kvm_run *run, char *to, size_t size)
{
	size_t n = (size_t)snprintf(to, size, "KVM_EXIT_INTERNAL_ERROR, suberror %u",
				    run->internal.suberror);

	if (run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION && run->internal.ndata >= 3 &&
	    run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) {
		n += (size_t)snprintf(to + n, size - n, ", instruction");
		for (u32 i = 0; i < MIN(run->emulation_failure.insn_size, 15); i++)
			n += (size_t)snprintf(to + n, size - n, " %02x",
					      run->emulation_failure.insn_bytes[i]);
		return;
	}
	for (u32 i = 0; i < MIN(run->internal.ndata, 4u); i++)
		n += (size_t)snprintf(to + n, size - n, " %#llx", run->internal.data[i]);
}

/* The vCPU cannot go on: says where it was. */
static void vcpu_failed(struct machine_vcpu *v, const char *what)
{
	struct kvm_regs r = {0};
	char text[200];

	ioctl(v->fd, KVM_GET_REGS, &r);
	snprintf(text, sizeof(text), "vCPU %u at rip %#llx: %s", v->id, r.rip, what);
	machine_end(v->machine, MACHINE_FAILED, text);
}

static void handle_io(struct machine_vcpu *v)
{
	struct kvm_run *run = v->run;
	u8 *data = (u8 *)run + run->io.data_offset;

	for (u32 i = 0; i < run->io.count; i++, data += run->io.size)
		devices_port(v->machine, run->io.direction == KVM_EXIT_IO_IN, run->io.port,
			     run->io.size, data);
}

static void handle_exit(struct machine_vcpu *v)
{
	struct kvm_run *run = v->run;
	char text[160];

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		handle_io(v);
		return;
	case KVM_EXIT_MMIO: /* no device there */
		if (!run->mmio.is_write)
			memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
		return;
	case KVM_EXIT_INTR:
	case KVM_EXIT_UNKNOWN:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		return;
	case KVM_EXIT_SHUTDOWN:
		vcpu_failed(v, "triple fault");
		return;
	case KVM_EXIT_FAIL_ENTRY:
		snprintf(text, sizeof(text), "KVM_EXIT_FAIL_ENTRY, hardware reason %#llx",
			 run->fail_entry.hardware_entry_failure_reason);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		internal_error(run, text, sizeof(text));
		break;
	default:
		snprintf(text, sizeof(text), "exit reason %u", run->exit_reason);
	}
	vcpu_failed(v, text);
}

static void vcpu_thread(void *arg)
{
	struct machine_vcpu *v = arg;
	struct machine *m = v->machine;

	while (__atomic_load_n(&m->state, __ATOMIC_ACQUIRE) == MACHINE_RUNS) {
		if (!ioctl(v->fd, KVM_RUN, 0))
			handle_exit(v);
		else if (errno != EINTR && errno != EAGAIN)
			vcpu_failed(v, strerror(errno));
	}
}

static void poll_console(struct machine *m, char *keys, u32 *count, u32 size)
{
	size_t n = keel_console_read(keys + *count, size - *count);
	u32 taken;

	if (memchr(keys + *count, STOP_KEY, n))
		machine_end(m, MACHINE_FAILED, "stopped at the console");
	*count += (u32)n;
	if (*count) {
		taken = devices_keys(m, keys, *count);
		*count -= taken;
		memmove(keys, keys + taken, *count);
	}
	devices_flush(m);
}

int machine_run(struct machine *m)
{
	u32 cpus = (u32)sysconf(_SC_NPROCESSORS_ONLN), count = 0;
	struct keel_thread *thread;
	char keys[64];

	for (u32 i = 0; i < m->cpus; i++) {
		m->vcpus[i].thread = keel_thread_create(i % cpus, vcpu_thread, &m->vcpus[i]);
		if (!m->vcpus[i].thread) {
			machine_end(m, MACHINE_FAILED, "no memory for a vCPU's thread");
			break;
		}
	}
	while (__atomic_load_n(&m->state, __ATOMIC_ACQUIRE) == MACHINE_RUNS) {
		poll_console(m, keys, &count, sizeof(keys));
		usleep(POLL_US);
	}
	machine_end(m, MACHINE_OFF, NULL); /* kicks those that began to run late */
	for (u32 i = 0; i < m->cpus; i++) {
		/* Nobody kicks it any more when it goes. */
		pthread_mutex_lock(&m->lock);
		thread = m->vcpus[i].thread;
		m->vcpus[i].thread = NULL;
		pthread_mutex_unlock(&m->lock);
		if (thread)
			keel_thread_join(thread, -1);
	}
	devices_flush(m);
	return m->state == MACHINE_FAILED ? -1 : 0;
}

void machine_print_exits(struct machine *m)
{
	struct keel_stats *sum = calloc(2, sizeof(*sum));
	bool keel = false; /* Linux's own KVM does not count like this. */
	char text[4096];

	if (!sum)
		return;
	for (u32 i = 0; i < m->cpus; i++)
		if (ioctl(m->vcpus[i].fd, KEEL_STATS, &sum[1]) >= 0) {
			report_add(&sum[0], &sum[1]);
			keel = true;
		}
	report_format(text, sizeof(text), &sum[0]);
	if (keel)
		printf("%s", text);
	free(sum);
}

void machine_close(struct machine *m)
{
	for (u32 i = 0; i < m->cpus; i++)
		close(m->vcpus[i].fd);
	if (m->vm >= 0)
		close(m->vm);
	for (u32 i = 0; i < m->region_count; i++)
		munmap(m->regions[i].at, m->regions[i].bytes);
	if (m->kvm >= 0)
		close(m->kvm);
}
