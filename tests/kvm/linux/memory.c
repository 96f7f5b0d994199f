// SPDX-License-Identifier: MIT
/*
 * memory [swap [FILE]]: there is swap; a file on a disk.
 * Guest memory is the VMM's own, whatever Linux does with it: a guest fills and checks pages while they are
 * discarded, copied on write, protected, replaced, truncated, merged, swapped out, filled on demand.
 */
#define _GNU_SOURCE
#include "kvm/abi.h"
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE   4096ul
#define MIB    (1ul << 20)
#define CODE   0x1000 /* guest-physical */
#define MEMORY 0x1000000ul
#define PAGES  4096ul /* 16 MiB */
#define ROM    0x8000000ul
#define FAR    0x20000000ul
#define ALIAS  0x60000000ul

/* ESI address, ECX pages, EBX the first page's value, EDX what each further page has more, EBP errors */
extern const uint8_t guest_check[], guest_fill[], guest_end[];
__asm__(".section .rodata\n"
	".code32\n"
	"guest_check: cmp %ebx, (%esi)\n"
	"je 1f\n"
	"inc %ebp\n"
	"1: add $4096, %esi\n"
	"add %edx, %ebx\n"
	"loop guest_check\n"
	"out %al, $0x10\n"
	"guest_fill: mov %ebx, (%esi)\n"
	"add $4096, %esi\n"
	"add %edx, %ebx\n"
	"loop guest_fill\n"
	"out %al, $0x10\n"
	"guest_end:\n"
	".code64\n"
	".previous\n");

static int vm, vcpu, failed;
static long mmio_writes; /* exits of the last run */
static struct { uint64_t address; uint32_t length, value; } mmio_last;
static struct kvm_run *run;
static uint8_t *memory;

static void *map(size_t bytes, int flags, int fd)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, fd, 0);

	if (p == MAP_FAILED)
		err(1, "mmap");
	return p;
}

static void slot(uint32_t id, uint64_t gpa, uint64_t bytes, const void *hva, uint32_t flags)
{
	struct kvm_userspace_memory_region region = {id, flags, gpa, bytes, (uint64_t)hva};

	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region))
		err(1, "slot %u", id);
}

static void start(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	struct kvm_sregs sregs;
	uint8_t *code = map(PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (vcpu < 0)
		err(1, "no virtual machine");
	run = mmap(NULL, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	memcpy(code, guest_check, guest_end - guest_check);
	slot(0, CODE, PAGE, code, 0);
	if (ioctl(vcpu, KVM_GET_SREGS, &sregs))
		err(1, "KVM_GET_SREGS");
	sregs.cs = (struct kvm_segment){.limit = ~0u, .selector = 8, .type = 11, .present = 1, .db = 1,
					.s = 1, .g = 1};
	sregs.ds = sregs.es = sregs.ss = (struct kvm_segment){.limit = ~0u, .selector = 16, .type = 3,
							      .present = 1, .db = 1, .s = 1, .g = 1};
	sregs.cr0 |= 1;
	if (ioctl(vcpu, KVM_SET_SREGS, &sregs))
		err(1, "KVM_SET_SREGS");
}

/* 0 or more: pages with another value; less: -errno of KVM_RUN, at which EDI has the address. */
static long guest(const uint8_t *entry, uint64_t gpa, uint64_t pages, uint32_t value, uint32_t step)
{
	struct kvm_regs regs = {.rip = CODE + (entry - guest_check), .rsi = gpa, .rcx = pages,
				.rbx = value, .rdx = step, .rflags = 2};

	if (ioctl(vcpu, KVM_SET_REGS, &regs))
		err(1, "KVM_SET_REGS");
	for (mmio_writes = 0;; mmio_writes++) {
		if (ioctl(vcpu, KVM_RUN, 0))
			return -errno;
		if (run->exit_reason != KVM_EXIT_MMIO || !run->mmio.is_write)
			break;
		mmio_last.address = run->mmio.phys_addr;
		mmio_last.length = run->mmio.len;
		memcpy(&mmio_last.value, run->mmio.data, 4);
	}
	if (run->exit_reason != KVM_EXIT_IO)
		errx(1, "exit %u", run->exit_reason);
	/* The instruction is completed before the registers are changed. */
	run->immediate_exit = 1;
	if (!ioctl(vcpu, KVM_RUN, 0) || errno != EINTR)
		errx(1, "the OUT does not complete");
	run->immediate_exit = 0;
	ioctl(vcpu, KVM_GET_REGS, &regs);
	return (long)regs.rbp;
}

static long check(uint64_t first, uint64_t pages, uint32_t value, uint32_t step)
{
	return guest(guest_check, MEMORY + first * PAGE, pages, value, step);
}

static long fill(uint64_t first, uint64_t pages, uint32_t value, uint32_t step)
{
	return guest(guest_fill, MEMORY + first * PAGE, pages, value, step);
}

static uint64_t wrong_here(uint64_t first, uint64_t pages, uint32_t value, uint32_t step)
{
	uint64_t wrong = 0;

	for (uint64_t i = 0; i < pages; i++)
		wrong += *(volatile uint32_t *)(memory + (first + i) * PAGE) != value + (uint32_t)i * step;
	return wrong;
}

static void expect(const char *what, long got, long wanted)
{
	failed += got != wanted;
	static struct timespec last;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	printf("%-4s %5ld ms  %s", got == wanted ? "ok" : "FAIL",
	       last.tv_sec ? (now.tv_sec - last.tv_sec) * 1000 + (now.tv_nsec - last.tv_nsec) / 1000000 : 0, what);
	last = now;
	if (got != wanted)
		printf(": %ld, %ld wanted", got, wanted);
	putchar('\n');
	fflush(stdout);
}

static void use(void *p, uint32_t flags)
{
	static int there;

	if (there)
		slot(1, MEMORY, 0, memory, 0);
	there = 1;
	memory = p;
	slot(1, MEMORY, PAGES * PAGE, p, flags);
}

/* Exits at guest memory that was not mapped. Linux's own KVM does not tell: -1. */
static long faults(void)
{
	static const char *const names[KEEL_STAT_REASONS] = KEEL_STAT_NAMES;
	static struct keel_stats stats;

	if (ioctl(vcpu, KEEL_STATS, &stats))
		return -1;
	for (int i = 0; names[i]; i++)
		if (!strcmp(names[i], "nested page fault"))
			return (long)stats.count[i];
	errx(1, "no count of faults");
}

/* Fills it all, which takes one fault for each page of that size, where they are counted. */
static void expect_faults(const char *what, long pages)
{
	long before = faults(), wrong = fill(0, PAGES, 1, 1) + (long)wrong_here(0, PAGES, 1, 1);

	expect(what, wrong ?: before < 0 ? pages : faults() - before, pages);
}

/* A number of /proc/vmstat */
static long counter(const char *name)
{
	FILE *f = fopen("/proc/vmstat", "r");
	char word[64];
	long n, found = -1;

	while (f && found < 0 && fscanf(f, "%63s %ld", word, &n) == 2)
		if (!strcmp(word, name))
			found = n;
	if (f)
		fclose(f);
	return found;
}

static void first_touch(void)
{
	use(map(PAGES * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1), 0);
	expect("untouched memory reads as zeros", check(0, PAGES, 0, 0), 0);
	expect("the guest fills", fill(0, PAGES, 1, 3), 0);
	expect("the VMM sees it", wrong_here(0, PAGES, 1, 3), 0);
	for (uint64_t i = 0; i < PAGES; i++)
		*(uint32_t *)(memory + i * PAGE) = 7 * i;
	expect("the guest sees the VMM's", check(0, PAGES, 0, 7), 0);
}

static void discarded(void)
{
	fill(0, PAGES, 5, 0);
	madvise(memory + 100 * PAGE, 1000 * PAGE, MADV_DONTNEED);
	expect("MADV_DONTNEED: zeros", check(100, 1000, 0, 0), 0);
	expect("MADV_DONTNEED: the rest stays", check(0, 100, 5, 0) + check(1100, PAGES - 1100, 5, 0), 0);
	expect("and is filled again", fill(100, 1000, 5, 0) + (long)wrong_here(0, PAGES, 5, 0), 0);
}

/* What the guest writes to behind MADV_FREE stays; of the rest Linux may take what it wants. */
static void freed(void)
{
	fill(0, PAGES, 5, 0);
	madvise(memory, 1000 * PAGE, MADV_FREE);
	fill(0, 500, 9, 0);
	for (int i = 0; i < 5; i++)
		madvise(memory, PAGES * PAGE, MADV_PAGEOUT);
	expect("MADV_FREE: what was written since stays", check(0, 500, 9, 0), 0);
	expect("MADV_FREE: the other pages are as they were, or zeros", check(500, 500, 5, 0) + check(500, 500, 0, 0), 500);
	expect("MADV_FREE: the rest stays", check(1000, PAGES - 1000, 5, 0), 0);
}

/* keel.ko takes a large range in pieces; two slots show the same. */
static void far_apart(void)
{
	uint8_t *p = map(640 * MIB, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	long wrong = 0;

	slot(2, FAR, 640 * MIB, p, 0);
	slot(3, ALIAS, 320 * MIB, p + 320 * MIB, 0);
	for (uint32_t i = 0; i < 5; i++)
		wrong += guest(guest_fill, FAR + (i * 128 + 100) * MIB, 1, i + 1, 0);
	expect("a large slot", wrong + guest(guest_check, ALIAS + 164 * MIB, 1, 4, 0), 0);
	expect("and its alias", guest(guest_check, ALIAS + 292 * MIB, 1, 5, 0), 0);
	madvise(p, 640 * MIB, MADV_DONTNEED);
	for (uint32_t i = 0; i < 5; i++)
		wrong += guest(guest_check, FAR + (i * 128 + 100) * MIB, 1, 0, 0);
	expect("discarded at once: zeros", wrong, 0);
	expect("also in the alias", guest(guest_check, ALIAS + 164 * MIB, 1, 0, 0) + guest(guest_check, ALIAS + 292 * MIB, 1, 0, 0), 0);
	slot(3, ALIAS, 0, p, 0);
	slot(2, FAR, 0, p, 0);
	munmap(p, 640 * MIB);
}

static void forked(void)
{
	int done[2], status;
	char c;
	pid_t child;

	fill(0, PAGES, 11, 1);
	if (pipe(done))
		err(1, "pipe");
	child = fork();
	if (!child) {
		uint64_t wrong;

		read(done[0], &c, 1);
		wrong = wrong_here(0, PAGES, 11, 1);
		memset(memory, 0x55, PAGES * PAGE);
		_exit(wrong != 0);
	}
	expect("fork: the guest writes on", fill(0, PAGES, 12, 1), 0);
	write(done[1], "", 1);
	waitpid(child, &status, 0);
	expect("fork: the child kept what was", status, 0);
	expect("fork: the guest kept its own", check(0, PAGES, 12, 1) + (long)wrong_here(0, PAGES, 12, 1), 0);
}

static void protected(void)
{
	fill(0, PAGES, 20, 1);
	mprotect(memory + 50 * PAGE, PAGE, PROT_NONE);
	expect("PROT_NONE: EFAULT", check(0, 100, 20, 1), -EFAULT);
	expect("PROT_NONE: again", check(50, 1, 70, 1), -EFAULT);
	mprotect(memory + 50 * PAGE, PAGE, PROT_READ);
	expect("PROT_READ: readable", check(50, 1, 70, 1), 0);
	expect("PROT_READ: a write is EFAULT", fill(50, 1, 1, 1), -EFAULT);
	mprotect(memory + 50 * PAGE, PAGE, PROT_READ | PROT_WRITE);
	expect("writable again", fill(50, 1, 70, 1) + check(0, 100, 20, 1), 0);
}

static void replaced(void)
{
	uint8_t *other;

	fill(0, PAGES, 30, 1);
	munmap(memory + 10 * PAGE, 10 * PAGE);
	expect("munmap: EFAULT", check(10, 1, 40, 1), -EFAULT);
	other = mmap(memory + 10 * PAGE, 10 * PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	expect("mmap in its place: zeros", other == memory + 10 * PAGE ? check(10, 10, 0, 0) : -1, 0);
	other = map(8 * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	for (int i = 0; i < 8; i++)
		*(uint32_t *)(other + i * PAGE) = 900;
	mremap(other, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, memory + 12 * PAGE);
	expect("mremap there", check(12, 8, 900, 0) + check(10, 2, 0, 0) + check(20, 100, 50, 1), 0);
}

static void from_a_file(void)
{
	int fd = memfd_create("guest", 0);
	uint32_t value = 4711;

	if (fd < 0 || ftruncate(fd, PAGES * PAGE))
		err(1, "memfd");
	use(map(PAGES * PAGE, MAP_SHARED, fd), 0);
	expect("file: fill", fill(0, PAGES, 100, 1), 0);
	pread(fd, &value, 4, 77 * PAGE);
	expect("file: read() sees it", value, 177);
	value = 4711;
	pwrite(fd, &value, 4, 78 * PAGE);
	expect("file: the guest sees write()", check(78, 1, 4711, 0), 0);
	fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 200 * PAGE, 300 * PAGE);
	expect("file: a hole is zeros", check(200, 300, 0, 0) + check(500, 1000, 600, 1), 0);
	ftruncate(fd, 1000 * PAGE);
	expect("file: behind its end: EFAULT", check(1000, 1, 0, 0), -EFAULT);
	ftruncate(fd, PAGES * PAGE);
	expect("file: longer again: zeros", check(1000, 1000, 0, 0) + check(500, 500, 600, 1), 0);
	close(fd);
}

static void copied_from_a_file(void)
{
	int fd = memfd_create("guest", 0);
	uint32_t value;

	for (uint32_t i = 0; i < PAGES; i++)
		if (pwrite(fd, &i, 4, i * PAGE) != 4)
			err(1, "memfd");
	ftruncate(fd, PAGES * PAGE);
	use(map(PAGES * PAGE, MAP_PRIVATE, fd), 0);
	expect("private file: the guest sees it", check(0, PAGES, 0, 1), 0);
	expect("private file: writes", fill(0, PAGES, 9, 0) + (long)wrong_here(0, PAGES, 9, 0), 0);
	pread(fd, &value, 4, 77 * PAGE);
	expect("private file: which it does not get", value, 77);
	close(fd);
}

static long wrong_on_disk(int fd, uint32_t value)
{
	uint32_t found;
	long wrong = 0;

	for (uint64_t i = 0; i < PAGES; i++)
		wrong += pread(fd, &found, 4, (off_t)(i * PAGE)) != 4 || found != value + i;
	return wrong;
}

/* Written back, a page is clean; what the guest writes then makes it dirty again. */
static void written_back(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT, 0600);

	if (fd < 0 || ftruncate(fd, PAGES * PAGE))
		err(1, "%s", path);
	use(map(PAGES * PAGE, MAP_SHARED, fd), 0);
	for (uint32_t round = 1; round <= 3; round++) {
		fill(0, PAGES, round * 10000, 1);
		fsync(fd);
		fill(0, PAGES, round * 20000, 1);
		fsync(fd);
		madvise(memory, PAGES * PAGE, MADV_DONTNEED);
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* the disk's content counts */
		expect("disk: has what the guest wrote last", wrong_on_disk(fd, round * 20000), 0);
		expect("disk: and the guest gets it from there", check(0, PAGES, round * 20000, 1), 0);
	}
	close(fd);
}

static void read_only(void)
{
	use(map(PAGES * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1), KVM_MEM_READONLY);
	for (uint64_t i = 0; i < PAGES; i++)
		*(uint32_t *)(memory + i * PAGE) = 5 * i;
	expect("read-only slot: reads", check(0, PAGES, 0, 5), 0);
	expect("its writes are the VMM's", fill(10, 7, 1, 3) ?: mmio_writes, 7);
	expect("with their address", (long)(mmio_last.address - MEMORY), 16 * PAGE);
	expect("length and value", mmio_last.length * 100 + mmio_last.value, 4 * 100 + 19);
	expect("and change nothing", check(0, PAGES, 0, 5) + (long)wrong_here(0, PAGES, 0, 5), 0);
	*(uint32_t *)(memory + 12 * PAGE) = 4711;
	expect("what the VMM writes is read", check(12, 1, 4711, 0), 0);
	*(uint32_t *)(memory + 12 * PAGE) = 60;
	mprotect(memory, PAGES * PAGE, PROT_READ);
	expect("of memory that is so, too", check(0, PAGES, 0, 5), 0);
	expect("writes there", fill(PAGES - 3, 3, 1, 1) ?: mmio_writes, 3);
	mprotect(memory, PAGE, PROT_NONE);
	expect("no access: EFAULT", check(0, 1, 0, 5), -EFAULT);
	use(map(PAGES * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1), KVM_MEM_READONLY | KVM_MEM_LOG_DIRTY_PAGES);
	expect("read-only and logged", check(0, PAGES, 0, 0), 0);
	expect("and written", fill(0, 2, 1, 1) ?: mmio_writes, 2);
}

/* A file that cannot be written at all. */
static void read_only_file(void)
{
	int fd = open("/proc/self/exe", O_RDONLY);
	uint32_t first;
	void *p = mmap(NULL, 4 * PAGE, PROT_READ, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED || pread(fd, &first, 4, PAGE) != 4)
		err(1, "/proc/self/exe");
	slot(2, ROM, 4 * PAGE, p, KVM_MEM_READONLY);
	expect("a file that is only read", guest(guest_check, ROM + PAGE, 1, first, 0), 0);
	expect("its writes", guest(guest_fill, ROM, 4, 1, 1) ?: mmio_writes, 4);
	slot(2, ROM, 0, p, 0);
	slot(2, ROM, 4 * PAGE, p, 0);
	expect("writable says the slot, not the file", guest(guest_check, ROM + PAGE, 1, first, 0), 0);
	expect("EFAULT", guest(guest_fill, ROM, 1, 1, 1), -EFAULT);
	slot(2, ROM, 0, p, 0);
	munmap(p, 4 * PAGE);
	close(fd);
}

/*
 * Pages of the kernel's that have no owner among processes (VM_PFNMAP): the vDSO's data. What stands at
 * 156 there does not change: the shift of the clock's multiplier.
 */
static void without_struct_pages(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[256];
	unsigned long at = 0;

	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, "[vvar]"))
			at = strtoul(line, NULL, 16);
	if (f)
		fclose(f);
	if (!at)
		errx(1, "no [vvar]");
	slot(2, ROM, PAGE, (void *)at, KVM_MEM_READONLY);
	expect("PFN-mapped: the guest is first", guest(guest_check, ROM + 156, 1, 0x80000000, 0), 1);
	expect("it reads what is there", guest(guest_check, ROM + 156, 1, *(volatile uint32_t *)(at + 156), 0), 0);
	expect("writes are the VMM's", guest(guest_fill, ROM, 1, 1, 1) ?: mmio_writes, 1);
	slot(2, ROM, 0, (void *)at, 0);
	slot(2, ROM, PAGE, (void *)at, 0);
	expect("in a writable slot: EFAULT", guest(guest_fill, ROM, 1, 1, 1), -EFAULT);
	expect("and reads go on", guest(guest_check, ROM + 156, 1, *(volatile uint32_t *)(at + 156), 0), 0);
	slot(2, ROM, 0, (void *)at, 0);
}

static long number(const char *path)
{
	FILE *f = fopen(path, "r");
	long n = -1;

	if (f && fscanf(f, "%ld", &n) != 1)
		n = -1;
	if (f)
		fclose(f);
	return n;
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		warn("%s", path);
	close(fd);
}

static void huge(void)
{
	long given, split;
	uint8_t *p = map(PAGES * PAGE + 2 * MIB, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	p = (uint8_t *)(((uintptr_t)p + 2 * MIB - 1) & ~(2 * MIB - 1));
	madvise(p, PAGES * PAGE, MADV_HUGEPAGE);
	use(p, 0);
	given = counter("thp_fault_alloc");
	expect_faults("huge pages: one fault each", PAGES * PAGE / (2 * MIB));
	expect("Linux gave them", counter("thp_fault_alloc") - given, PAGES * PAGE / (2 * MIB));
	split = counter("thp_split_pmd");
	madvise(memory + 700 * PAGE, 3 * PAGE, MADV_DONTNEED);
	expect("Linux splits one", counter("thp_split_pmd") - split, 1);
	expect("one is split", check(700, 3, 0, 0) + check(0, 700, 1, 1) + check(703, 1000, 704, 1), 0);
}

static void huge_of_a_pool(void)
{
	put("/proc/sys/vm/nr_hugepages", "8");
	expect("hugetlbfs: has pages", number("/proc/sys/vm/nr_hugepages"), 8);
	use(map(PAGES * PAGE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1), 0);
	expect_faults("hugetlbfs: one fault each", PAGES * PAGE / (2 * MIB));
	madvise(memory + 4 * MIB, 2 * MIB, MADV_DONTNEED);
	expect("hugetlbfs: one is discarded", check(1024, 512, 0, 0) + check(0, 1024, 1, 1) + check(1536, 1000, 1537, 1), 0);
	munmap(memory, PAGES * PAGE);
	expect("hugetlbfs: is gone", check(0, 1, 0, 0), -EFAULT);
	put("/proc/sys/vm/nr_hugepages", "0");
}

static void merged(void)
{
	use(map(PAGES * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1), 0);
	fill(0, PAGES, 0x600d, 0);
	madvise(memory, PAGES * PAGE, MADV_MERGEABLE);
	put("/sys/kernel/mm/ksm/pages_to_scan", "10000");
	put("/sys/kernel/mm/ksm/sleep_millisecs", "5");
	put("/sys/kernel/mm/ksm/run", "1");
	for (int i = 0; i < 200 && number("/sys/kernel/mm/ksm/pages_sharing") < (long)PAGES * 9 / 10; i++) {
		check(0, PAGES / 8, 0x600d, 0); /* while it works */
		usleep(50000);
	}
	expect("KSM merges a guest's pages", number("/sys/kernel/mm/ksm/pages_sharing") >= (long)PAGES * 9 / 10, 1);
	expect("merged pages read right", check(0, PAGES, 0x600d, 0), 0);
	expect("and are copied when written", fill(0, PAGES / 2, 1, 1), 0);
	expect("one by one", check(0, PAGES / 2, 1, 1) + check(PAGES / 2, PAGES / 2, 0x600d, 0), 0);
	put("/sys/kernel/mm/ksm/run", "2");
	expect("unmerged", check(0, PAGES / 2, 1, 1) + check(PAGES / 2, PAGES / 2, 0x600d, 0), 0);
}

static long swapped(void)
{
	FILE *f = fopen("/proc/self/status", "r");
	char line[128];
	long kib = 0;

	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "VmSwap: %ld", &kib);
	if (f)
		fclose(f);
	return kib / 4;
}

#define HOT 500ul

static uint64_t resident(uint64_t first, uint64_t pages)
{
	static unsigned char in[PAGES];
	uint64_t count = 0;

	mincore(memory + first * PAGE, pages * PAGE, in);
	for (uint64_t i = 0; i < pages; i++)
		count += in[i] & 1;
	return count;
}

static void swapped_out(void)
{
	long out = counter("pswpout"), in = counter("pswpin");

	use(map(PAGES * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1), 0);
	for (int round = 0; round < 3; round++) {
		fill(0, PAGES, round, 17);
		/* The first time it may only find that they have been used. */
		for (int i = 0; i < 5 && swapped() < (long)PAGES / 2; i++)
			madvise(memory, PAGES * PAGE, MADV_PAGEOUT);
		expect("swap: most of it is out", swapped() > (long)PAGES / 2, 1);
		expect("swap: the guest gets it back", check(0, PAGES, round, 17), 0);
	}
	expect("swap: so does the VMM", wrong_here(0, PAGES, 2, 17), 0);
	expect("swap: Linux counts it", counter("pswpout") - out > (long)PAGES && counter("pswpin") - in > (long)PAGES, 1);
	fill(0, PAGES, 9, 17);
	madvise(memory, PAGES * PAGE, MADV_PAGEOUT);
	check(0, HOT, 9, 17);
	madvise(memory, PAGES * PAGE, MADV_PAGEOUT);
	expect("swap: what the guest uses stays", resident(0, HOT) > HOT * 9 / 10, 1);
	expect("swap: what it does not use goes", resident(HOT, PAGES - HOT) < (PAGES - HOT) / 10, 1);
	expect("swap: all of it is right", check(0, PAGES, 9, 17), 0);
}

static void *fill_on_demand(void *arg)
{
	int fd = *(int *)arg;
	static uint8_t page[PAGE] __attribute__((aligned(4096)));
	struct uffd_msg msg;

	while (read(fd, &msg, sizeof(msg)) == sizeof(msg)) {
		uint64_t at = msg.arg.pagefault.address & ~(PAGE - 1);
		struct uffdio_copy copy = {.dst = at, .src = (uint64_t)page, .len = PAGE};

		*(uint32_t *)page = (at - (uint64_t)memory) / PAGE * 13;
		if (ioctl(fd, UFFDIO_COPY, &copy) && errno != EEXIST)
			err(1, "UFFDIO_COPY");
	}
	return NULL;
}

static void on_demand(void)
{
	static int fd;
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register r = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	pthread_t thread;

	use(map(PAGES * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1), 0);
	fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	r.range.start = (uint64_t)memory;
	r.range.len = PAGES * PAGE;
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &r))
		err(1, "userfaultfd");
	if (pthread_create(&thread, NULL, fill_on_demand, &fd))
		errx(1, "no thread");
	expect("userfaultfd fills what the guest reads", check(0, 1000, 0, 13), 0);
	expect("and where it writes", fill(1000, 10, 3, 0) + check(1000, 20, 3, 0), 10);
	ioctl(fd, UFFDIO_UNREGISTER, &r.range);
}

static volatile bool settled;

static void *move_up_and_down(void *arg)
{
	slot(1, MEMORY + PAGE, PAGES * PAGE, memory, 0);
	slot(1, MEMORY, PAGES * PAGE, memory, 0);
	settled = true;
	return arg;
}

/* The guest writes where the slot's first page is for a moment, and then its second one again. */
static void moved(void)
{
	long wrong = 0;

	use(map(PAGES * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1), 0);
	for (uint32_t i = 1; i <= 200; i++) {
		pthread_t thread;

		settled = false;
		if (pthread_create(&thread, NULL, move_up_and_down, NULL))
			errx(1, "no thread");
		while (!settled)
			fill(1, 1, 0, 0);
		pthread_join(thread, NULL);
		fill(1, 1, i, 0);
		wrong += (long)wrong_here(1, 1, i, 0);
	}
	expect("a slot moves while the guest writes into it", wrong, 0);
}

int main(int argc, char **argv)
{
	bool swap = argc > 1 && !strcmp(argv[1], "swap");

	start();
	first_touch();
	discarded();
	freed();
	far_apart();
	forked();
	protected();
	replaced();
	from_a_file();
	copied_from_a_file();
	read_only();
	read_only_file();
	without_struct_pages();
	huge();
	huge_of_a_pool();
	merged();
	on_demand();
	moved();
	if (swap)
		swapped_out();
	if (argc > 2)
		written_back(argv[2]);
	printf("MEMORY %s\n", failed ? "failed" : "passed");
	return failed != 0;
}
