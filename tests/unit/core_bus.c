/* SPDX-License-Identifier: MIT */
/* Buses: what overlaps, what is found, and what a device may decline. */
#include "tests/unit/fake/fake.h"

#include "core/bus.h"

static u64 seen_offset;
static u32 seen_size;
static int answer;

static int read_device(struct bus_device *device, struct vcpu *v, u64 offset, u32 size, u64 *value)
{
	seen_offset = offset;
	seen_size = size;
	*value = device->base;
	return answer;
}

static int write_device(struct bus_device *device, struct vcpu *v, u64 offset, u32 size, u64 value)
{
	seen_offset = offset;
	seen_size = size;
	return answer;
}

static struct bus_device device_at(u64 base, u64 length)
{
	return (struct bus_device){base, length, read_device, write_device};
}

static void overlaps_are_refused(void **state)
{
	struct bus_device a = device_at(0x100, 0x10), b = device_at(0x110, 4),
			  c = device_at(0xf8, 8);
	struct bus_device inside = device_at(0x108, 1), across = device_at(0xff, 2);
	struct bus_device around = device_at(0x10, 0x1000), last = device_at(~0ull - 3, 4);
	struct bus bus = {0};

	assert_int_equal(bus_add(&bus, &a), 0);
	assert_int_equal(bus_add(&bus, &b), 0);
	assert_int_equal(bus_add(&bus, &c), 0);
	assert_int_equal(bus_add(&bus, &inside), -EEXIST);
	assert_int_equal(bus_add(&bus, &across), -EEXIST);
	assert_int_equal(bus_add(&bus, &around), -EEXIST);
	assert_int_equal(bus_add(&bus, &a), -EEXIST);
	assert_int_equal(bus_add(&bus, &last), 0);
	assert_int_equal(bus.count, 4);
	for (u32 i = 1; i < bus.count; i++)
		assert_true(bus.devices[i - 1]->base < bus.devices[i]->base);
}

static void a_full_bus_says_so(void **state)
{
	struct bus_device devices[BUS_DEVICES + 1];
	struct bus bus = {0};

	for (u32 i = 0; i < BUS_DEVICES; i++) {
		devices[i] = device_at(1000 - i * 8, 8);
		assert_int_equal(bus_add(&bus, &devices[i]), 0);
	}
	devices[BUS_DEVICES] = device_at(0x10000, 8);
	assert_int_equal(bus_add(&bus, &devices[BUS_DEVICES]), -ENOSPC);
}

static void an_access_finds_its_device(void **state)
{
	struct bus_device a = device_at(0x40, 4), b = device_at(0x44, 1), c = device_at(~0ull, 1);
	struct bus bus = {0};
	u64 value;
	int result;

	bus_add(&bus, &b);
	bus_add(&bus, &a);
	bus_add(&bus, &c);
	answer = 0;
	assert_true(bus_read(&bus, NULL, 0x43, 1, &value, &result));
	assert_int_equal(value, 0x40);
	assert_int_equal(seen_offset, 3);
	assert_true(bus_write(&bus, NULL, 0x44, 1, 0, &result));
	assert_int_equal(seen_offset, 0);
	assert_int_equal(seen_size, 1);
	assert_true(bus_read(&bus, NULL, ~0ull, 1, &value, &result));
	assert_false(bus_read(&bus, NULL, 0x3f, 1, &value, &result));
	assert_false(bus_read(&bus, NULL, 0x45, 1, &value, &result));
	/* Half in and half out is nobody's. */
	assert_false(bus_read(&bus, NULL, 0x43, 2, &value, &result));
	assert_false(bus_write(&bus, NULL, ~0ull, 2, 0, &result));
	assert_true(bus_claims(&bus, 0x40, 4));
	assert_false(bus_claims(&bus, 0x40, 8));
}

static void a_device_may_decline_or_fail(void **state)
{
	struct bus_device a = device_at(0x40, 4);
	struct bus bus = {0};
	u64 value;
	int result = 0;

	bus_add(&bus, &a);
	answer = -EOPNOTSUPP;
	assert_false(bus_read(&bus, NULL, 0x40, 1, &value, &result));
	assert_false(bus_write(&bus, NULL, 0x40, 1, 0, &result));
	answer = -EINVAL;
	assert_true(bus_read(&bus, NULL, 0x40, 1, &value, &result));
	assert_int_equal(result, -EINVAL);
	assert_true(bus_write(&bus, NULL, 0x40, 1, 0, &result));
	assert_int_equal(result, -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(overlaps_are_refused),
		cmocka_unit_test(a_full_bus_says_so),
		cmocka_unit_test(an_access_finds_its_device),
		cmocka_unit_test(a_device_may_decline_or_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
