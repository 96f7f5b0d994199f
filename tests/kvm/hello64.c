// SPDX-License-Identifier: MIT
/*
 * A 64-bit guest: the client builds page tables; the guest prints a text byte by byte, sums its memory
 * through two mappings of the same page, and stores the result where the client finds it.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define MEMORY (2u << 20)
#define TEXT   0x5000
#define RESULT 0x6000
#define HIGH   0x7fc0001000ull /* maps to TEXT, too */

static const char text[] = "Hello from long mode!\n";

static const uint8_t code[] = { /* at 0x1000 */
	0xbe, 0x00, 0x50, 0x00, 0x00,                               /* mov $TEXT, %esi */
	0x31, 0xdb,                                                 /* xor %ebx, %ebx */
	0x48, 0xbf, 0x00, 0x10, 0x00, 0xc0, 0x7f, 0x00, 0x00, 0x00, /* movabs $HIGH, %rdi */
	0x0f, 0xb6, 0x06,                                           /* next: movzbl (%rsi), %eax */
	0x84, 0xc0,                                                 /* test %al, %al */
	0x74, 0x12,                                                 /* jz done */
	0x66, 0xba, 0xf8, 0x03,                                     /* mov $0x3f8, %dx */
	0xee,                                                       /* out %al, (%dx) */
	0x0f, 0xb6, 0x0f,                                           /* movzbl (%rdi), %ecx */
	0x01, 0xcb,                                                 /* add %ecx, %ebx */
	0x48, 0xff, 0xc6,                                           /* inc %rsi */
	0x48, 0xff, 0xc7,                                           /* inc %rdi */
	0xeb, 0xe7,                                                 /* jmp next */
	0x89, 0x1c, 0x25, 0x00, 0x60, 0x00, 0x00,                   /* done: mov %ebx, RESULT */
	0xf4,                                                       /* hlt */
};

#define CHECK(call)                                                                                \
	({                                                                                         \
		int result_ = (call);                                                              \
		if (result_ < 0) {                                                                 \
			perror(#call);                                                             \
			exit(1);                                                                   \
		}                                                                                  \
		result_;                                                                           \
	})

/* Page tables at 0x10000: the first 2 MiB onto themselves, HIGH's page onto TEXT's. */
static void page_tables(uint8_t *mem)
{
	uint64_t *pml4 = (uint64_t *)(mem + 0x10000), *pdpt = pml4 + 512, *pd = pdpt + 512;
	uint64_t *high_pd = pd + 512, *high_pt = high_pd + 512;

	/* Bits 47 to 39 of HIGH are zero: both share the first two levels. */
	pml4[0] = 0x11003;
	pdpt[0] = 0x12003;
	pd[0] = 0x83;
	pdpt[HIGH >> 30 & 511] = 0x13003;
	high_pd[HIGH >> 21 & 511] = 0x14003;
	high_pt[HIGH >> 12 & 511] = TEXT | 3;
}

static void long_mode(int vcpu)
{
	struct kvm_segment code_segment = { .limit = 0xffffffff, .selector = 8, .type = 11, .present = 1,
					    .l = 1, .s = 1, .g = 1 };
	struct kvm_segment data = { .limit = 0xffffffff, .selector = 16, .type = 3, .present = 1, .db = 1,
				    .s = 1, .g = 1 };
	struct kvm_regs regs = { .rip = 0x1000, .rsp = 0x8000, .rflags = 2 };
	struct kvm_sregs s;

	CHECK(ioctl(vcpu, KVM_GET_SREGS, &s));
	s.cr3 = 0x10000;
	s.cr4 = 1 << 5;            /* PAE */
	s.cr0 = 0x80050033;        /* PG, AM, WP, NE, ET, MP, PE */
	s.efer = 1 << 8 | 1 << 10; /* LME, LMA */
	s.cs = code_segment;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	CHECK(ioctl(vcpu, KVM_SET_SREGS, &s));
	CHECK(ioctl(vcpu, KVM_SET_REGS, &regs));
}

int main(void)
{
	int kvm = CHECK(open("/dev/kvm", O_RDWR)), vm = CHECK(ioctl(kvm, KVM_CREATE_VM, 0)), vcpu, size, n = 0;
	struct kvm_userspace_memory_region r = { .memory_size = MEMORY };
	struct kvm_run *run;
	uint32_t sum = 0, result;
	uint8_t *mem;

	mem = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		return 1;
	r.userspace_addr = (uintptr_t)mem;
	CHECK(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &r));
	memcpy(mem + 0x1000, code, sizeof(code));
	memcpy(mem + TEXT, text, sizeof(text));
	page_tables(mem);
	vcpu = CHECK(ioctl(vm, KVM_CREATE_VCPU, 0));
	size = CHECK(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0));
	run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED)
		return 1;
	long_mode(vcpu);
	for (;;) {
		CHECK(ioctl(vcpu, KVM_RUN, 0));
		if (run->exit_reason == KVM_EXIT_HLT)
			break;
		if (run->exit_reason != KVM_EXIT_IO || run->io.port != 0x3f8) {
			printf("exit reason %u, suberror %u\n", run->exit_reason, run->internal.suberror);
			return 1;
		}
		fwrite((char *)run + run->io.data_offset, 1, run->io.size, stdout);
		n++;
	}
	for (size_t i = 0; i < sizeof(text); i++)
		sum += (uint8_t)text[i];
	memcpy(&result, mem + RESULT, sizeof(result));
	printf("hello64: %s, %d bytes, sum %u\n",
	       result == sum && n == sizeof(text) - 1 ? "passed" : "FAILED", n, result);
	return result != sum;
}
