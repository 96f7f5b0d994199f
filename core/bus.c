// SPDX-License-Identifier: MIT
/* Port, MMIO and MSR buses: a sorted array and a binary search. */
#include "core/bus.h"

int bus_add(struct bus *bus, struct bus_device *device)
{
	u32 at = 0;

	if (bus->count == BUS_DEVICES)
		return -ENOSPC;
	while (at < bus->count && bus->devices[at]->base < device->base)
		at++;
	/* Written so that nothing can wrap: neighbours are compared by distance. */
	if (at < bus->count && bus->devices[at]->base - device->base < device->length)
		return -EEXIST;
	if (at && device->base - bus->devices[at - 1]->base < bus->devices[at - 1]->length)
		return -EEXIST;
	for (u32 i = bus->count; i > at; i--)
		bus->devices[i] = bus->devices[i - 1];
	bus->devices[at] = device;
	bus->count++;
	return 0;
}

/* The device that holds all of [address, address + size), or NULL. */
static struct bus_device *find(const struct bus *bus, u64 address, u32 size)
{
	u32 low = 0, high = bus->count;

	while (low < high) {
		u32 middle = (low + high) / 2;

		if (bus->devices[middle]->base <= address)
			low = middle + 1;
		else
			high = middle;
	}
	if (!low)
		return NULL;
	low--;
	if (address - bus->devices[low]->base >= bus->devices[low]->length ||
	    bus->devices[low]->length - (address - bus->devices[low]->base) < size)
		return NULL;
	return bus->devices[low];
}

bool bus_read(struct bus *bus, struct vcpu *vcpu, u64 address, u32 size, u64 *value, int *result)
{
	struct bus_device *device = find(bus, address, size);

	if (!device)
		return false;
	*result = device->read(device, vcpu, address - device->base, size, value);
	return *result != -EOPNOTSUPP;
}

bool bus_write(struct bus *bus, struct vcpu *vcpu, u64 address, u32 size, u64 value, int *result)
{
	struct bus_device *device = find(bus, address, size);

	if (!device)
		return false;
	*result = device->write(device, vcpu, address - device->base, size, value);
	return *result != -EOPNOTSUPP;
}

bool bus_claims(const struct bus *bus, u64 address, u32 size)
{
	return find(bus, address, size) != NULL;
}
