/* SPDX-License-Identifier: MIT */
/*
 * What every file of the conformance program uses: one line of output a check, of stable text, so that the
 * outputs on two implementations of /dev/kvm can be compared line by line.
 */
#pragma once

#include <errno.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>

#define PAGE   4096ul
#define BAD    ((void *)8ul) /* no user's address */
#define NOBODY 8	     /* a type of KVM_IRQ_ROUTING_* and the like that there is not */

/* ---- lines ---- */

/* The row that the next lines belong to: its priority, the request's number and name. */
#define ROW(priority, request) row(priority, (uint32_t)(request), #request)
void row(const char *priority, uint32_t request, const char *name);
/* A subject that is no single request. */
void subject(const char *priority, const char *name);

/* One line: the result, which is 0 or more or -errno, and what it had to be if it is not that. */
void is(const char *what, long got, long wanted);
void is_hex(const char *what, uint64_t got, uint64_t wanted);
/* The result is only to be the same on both. */
void shown(const char *what, long got);
/* What is not offered has no further lines in its row. */
bool offers(bool is_there);
bool offered(uint32_t capability);

/* ---- calls ---- */

/* The result or -errno. */
long call_(int fd, unsigned long request, unsigned long argument);
#define call(fd, request, argument) call_(fd, request, (unsigned long)(argument))

/* 0 for a file descriptor, which goes to *fd; or -errno */
long made(long result, int *fd);

long enable(int fd, uint32_t capability, uint64_t argument);

/* ---- a machine ---- */

enum chips { NO_CHIPS, ALL_CHIPS, SPLIT_CHIPS };

#define MEMORY 0x80000ul /* bytes of slot 0, at 0 */
#define CODE   0x1000ul
#define STACK  0x7000ul
#define TABLES 0x70000ul /* long mode's page tables: 6 pages */

#define RFLAGS_IF 0x200ul

extern int kvm, vm, vcpu;
extern struct kvm_run *run;
extern uint8_t *memory;

/* A VM with memory and vCPU 0, in place of the one before. */
void machine(enum chips chips);
void bare_vm(void); /* with nothing */
int add_vcpu(unsigned id, struct kvm_run **its_run);
void *pages(size_t bytes);
long set_slot(uint32_t slot, uint64_t gpa, uint64_t bytes, const void *hva, uint32_t flags);

/* Guest code: GUEST(name, 16, "..."), then START(name): real mode at CODE, all registers 0. */
#define GUEST(name, bits, text)                                                                                        \
	extern const uint8_t name[], name##_end[];                                                                     \
	__asm__(".section .rodata\n.code" #bits "\n" #name ":\n" text "\n" #name "_end:\n.code64\n.previous\n")
#define LOAD(name) memcpy(memory + CODE, name, name##_end - name)
#define START(name) (LOAD(name), real_mode(vcpu, CODE))
#define START_LONG(name) (LOAD(name), long_mode(vcpu, CODE))
void real_mode(int fd, uint64_t rip);
void long_mode(int fd, uint64_t rip); /* 4 GiB mapped one to one */
struct kvm_regs regs(void);
void set_regs(const struct kvm_regs *r);
struct kvm_sregs sregs(void);
/*
 * Interrupts on, in a guest that does not exit by itself: Bochs sees no external-interrupt exit of one that is
 * entered with RFLAGS.IF clear, so nothing would end it there.
 */
void let_interrupts_in(void);

/* KVM_RUN; a signal ends it after some seconds (EINTR). */
long enter(void);
/* The same of a guest that is to sleep: the signal comes soon. */
long enter_briefly(void);
/* Of one that spins, which an emulator pays for by the instruction: sooner. */
long enter_spinning(void);
/* KVM_RUN's error, or the exit's reason */
long next_exit(void);
/* What was begun is completed, and nothing more is done. */
long complete(void);

bool on_intel(void);

/* ---- the groups, one process each ---- */

struct group {
	const char *name;
	void (*run)(void);
};

extern const struct group p0_groups[], p1_groups[], p2_groups[], p3_groups[], run_groups[];
