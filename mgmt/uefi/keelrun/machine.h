/* SPDX-License-Identifier: MIT */
/*
 * The virtual machine of keelrun: memory, vCPUs and their threads, devices.
 * machine->lock covers the devices, the vCPUs' threads and how the machine ends; it is never held
 * over output or a wait.
 */
#pragma once

#include "mgmt/uefi/keelrun/acpi.h"
#include "mgmt/uefi/keelrun/bzimage.h"
#include "mgmt/uefi/keelrun/options.h"
#include "mgmt/uefi/keelrun/pci.h"
#include "mgmt/uefi/keelrun/rtc.h"
#include "mgmt/uefi/keelrun/uart.h"
#include <linux/kvm.h>
#include <pthread.h>
#include <time.h>

#define MACHINE_REGIONS 64
#define MACHINE_OUTPUT	256

struct machine;
struct keel_thread;

struct machine_vcpu {
	struct machine *machine;
	u32 id;
	int fd;
	struct kvm_run *run;
	struct keel_thread *thread;
};

struct machine_region {
	u64 gpa, bytes;
	u8 *at;
};

enum machine_state { MACHINE_RUNS, MACHINE_OFF, MACHINE_RESET, MACHINE_FAILED };

struct machine {
	int kvm, vm;
	u64 memory;
	u32 cpus, run_bytes;
	struct machine_vcpu vcpus[OPTIONS_CPUS_MAX];
	struct machine_region regions[MACHINE_REGIONS];
	u32 region_count;

	pthread_mutex_t lock;
	u32 state;	 /* enum machine_state */
	char why[200];	 /* it failed */
	u8 guest_status; /* what the guest wrote to MACHINE_STATUS_PORT */
	struct uart uart;
	bool uart_level;
	struct rtc rtc;
	time_t epoch; /* seconds since 1970 when CLOCK_MONOTONIC was 0 */
	struct acpi_pm pm;
	struct pci pci;
	char output[MACHINE_OUTPUT]; /* of the UART, not yet printed */
	u32 output_used;
};

enum { MACHINE_STATUS_PORT = 0xf4 };

/* All print what failed and return -1. */
int machine_create(struct machine *m, const struct options *o);
int machine_boot_state(struct machine *m, u64 entry);
/* Runs the vCPUs until the guest or an error ends it. */
int machine_run(struct machine *m);
void machine_print_exits(struct machine *m);
void machine_close(struct machine *m);

/* Guest memory at gpa, and in *bytes how much of it is contiguous there; NULL: none. */
u8 *machine_memory(struct machine *m, u64 gpa, u64 *bytes);

/* ---- devices.c ---- */
void devices_init(struct machine *m);
/* One access of size 1, 2 or 4 bytes; data is read or written. */
void devices_port(struct machine *m, bool in, u16 port, u32 size, u8 *data);
/* Keys for the UART: how many of them it took. */
u32 devices_keys(struct machine *m, const char *keys, u32 count);
/* Prints what the UART has sent. */
void devices_flush(struct machine *m);
/* Ends the machine; the first reason counts. */
void machine_end(struct machine *m, enum machine_state state, const char *why);
