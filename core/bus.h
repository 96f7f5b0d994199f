/* SPDX-License-Identifier: MIT */
/*
 * Port, MMIO and MSR buses of one VM: devices sorted by address, found by binary search. What no
 * device claims goes to the VMM (ports, MMIO) or to core's own table (MSRs).
 * Devices are added while no vCPU of the VM runs (creation time), so look-ups take no lock.
 */
#pragma once

#include "lib/types.h"

struct vcpu;

struct bus_device {
	u64 base, length;
	/*
	 * 0: settled. -EOPNOTSUPP: not here after all (e.g. the APIC is disabled): the VMM's.
	 * -EINVAL (MSR bus only): #GP. offset is from base; size in bytes: 1, 2, 4 or 8.
	 */
	int (*read)(struct bus_device *device, struct vcpu *vcpu, u64 offset, u32 size, u64 *value);
	int (*write)(struct bus_device *device, struct vcpu *vcpu, u64 offset, u32 size, u64 value);
};

#define BUS_DEVICES 16

struct bus {
	u32 count;
	struct bus_device *devices[BUS_DEVICES];
};

/* -EEXIST: overlaps another device; -ENOSPC. */
int bus_add(struct bus *bus, struct bus_device *device);
/* True: a device settled it and *result is its return value. False: nobody's. */
bool bus_read(struct bus *bus, struct vcpu *vcpu, u64 address, u32 size, u64 *value, int *result);
bool bus_write(struct bus *bus, struct vcpu *vcpu, u64 address, u32 size, u64 value, int *result);
/* Is there a device at all? It may still decline with -EOPNOTSUPP. */
bool bus_claims(const struct bus *bus, u64 address, u32 size);
