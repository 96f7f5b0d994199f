/* SPDX-License-Identifier: MIT */
/*
 * What libkeel offers beside the calls of a Linux process: threads pinned to CPUs, and the machine.
 * Threads of one CPU share it in turns: they change places only in KVM_RUN, in sleeps, in joins and
 * when the console's buffer is full, so code between those is never interrupted by another thread
 * of its CPU. Any thread may use any call of libkeel.
 * On Linux, where mgmt/linux/libkeel has what keelrun uses of it, threads are Linux's, on any CPU.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct keel_thread;

/* CPUs that threads can be created on; 0 is the boot processor, where main() runs. */
unsigned int keel_cpu_count(void);
/* The CPU of the caller. */
unsigned int keel_cpu(void);
/* Starts fn(arg) on a CPU. NULL and errno: EINVAL no such CPU, ENOMEM. */
struct keel_thread *keel_thread_create(unsigned int cpu, void (*fn)(void *arg), void *arg);
/* Waits for its end and frees it. ms < 0: for ever. 0; ETIMEDOUT: it still runs. */
int keel_thread_join(struct keel_thread *t, int ms);
/* Makes its KVM_RUN, or its next one, return EINTR with exit_reason KVM_EXIT_INTR: a signal. */
void keel_thread_kick(struct keel_thread *t);
void keel_yield(void);
void keel_sleep_us(uint64_t us);
/* The TSC's frequency. */
uint64_t keel_tsc_khz(void);
/*
 * Ends a virtual machine even while its vCPUs run on other CPUs, whose KVM_RUN fails with EIO; its
 * fds only wait to be closed. Checks that every donated page came back zeroed: EIO otherwise.
 */
int keel_vm_kill(int vm_fd);
/* What the keyboard has, at once: so many bytes. */
size_t keel_console_read(char *to, size_t size);
/* The machine's; returns only if that failed. */
void keel_power_off(void);
/* An I/O port of the machine: a debug exit, for instance. */
void keel_out32(uint16_t port, uint32_t value);
/*
 * From now on every KVM_RUN has patterns of its own in YMM0 to YMM15 and MXCSR, which are compared
 * when it is back; the result: how often, and how often something had changed. EOPNOTSUPP: no AVX.
 */
int keel_vectors_check(void);
void keel_vectors_result(uint64_t *runs, uint64_t *wrong);
