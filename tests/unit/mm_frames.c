/* SPDX-License-Identifier: MIT */
/* mm/frames.c: who owns a frame, and how many mappings it has. */
#include <pthread.h>
#include <sched.h>

#include "tests/unit/fake/fake.h"

#define BASE HPA(FAKE_GUEST)

static hpa_t frame(u64 i)
{
	return HPA(FAKE_GUEST + i * PAGE_SIZE);
}

static int setup(void **state)
{
	fake_machine_init(1);
	return 0;
}

static void test_owners(void **state)
{
	assert_int_equal(frame_owner(HPA(0)), FRAME_KEEL);
	assert_int_equal(frame_owner(HPA(FAKE_GUEST - 1)), FRAME_KEEL);
	assert_int_equal(frame_owner(BASE), FRAME_MANAGEMENT);
	assert_int_equal(frame_owner(HPA(FAKE_RAM_SIZE - 1)), FRAME_MANAGEMENT);
	assert_true(frame_is_ram(HPA(0)));
	assert_false(frame_is_ram(HPA(FAKE_RAM_SIZE)));
	assert_false(frame_is_ram(HPA(~0ull)));
	assert_int_equal(frame_owner(HPA(FAKE_RAM_SIZE)), FRAME_NONE);
	frames_set(frame(3), 1, FRAME_NONE);
	assert_false(frame_is_ram(frame(3)));
	assert_int_equal(frame_get(frame(3)), -EBUSY);
	expect_assert_failure(frames_set(HPA(FAKE_RAM_SIZE - PAGE_SIZE), 2, FRAME_KEEL));
}

static void test_mapping_needs_the_management_guest(void **state)
{
	assert_int_equal(frame_get(frame(0)), 0);
	assert_int_equal(frame_get(frame(0)), 0);
	assert_int_equal(frame_mappings(frame(0)), 2);
	frame_put(frame(0));
	frame_put(frame(0));
	assert_int_equal(frame_mappings(frame(0)), 0);
	expect_assert_failure(frame_put(frame(0)));
	expect_assert_failure(frame_put(HPA(FAKE_RAM_SIZE)));
	assert_int_equal(frame_get(HPA(0)), -EBUSY);
	assert_int_equal(frame_get(HPA(FAKE_RAM_SIZE)), -EBUSY);
	expect_assert_failure(frame_put(HPA(0)));
}

static void test_counts_saturate(void **state)
{
	for (u32 i = 0; i < FRAME_COUNT_MAX; i++)
		assert_int_equal(frame_get(frame(0)), 0);
	assert_int_equal(frame_get(frame(0)), -EBUSY);
	assert_int_equal(frame_mappings(frame(0)), FRAME_COUNT_MAX);
	assert_int_equal(frame_owner(frame(0)), FRAME_MANAGEMENT);
	frame_put(frame(0));
	assert_int_equal(frame_get(frame(0)), 0);
}

static void test_ranges_are_all_or_none(void **state)
{
	assert_int_equal(frames_get(frame(0), 8), 0);
	for (u32 i = 0; i < 8; i++)
		assert_int_equal(frame_mappings(frame(i)), 1);
	frames_set(frame(12), 1, FRAME_KEEL);
	assert_int_equal(frames_get(frame(6), 8), -EBUSY);
	assert_int_equal(frame_mappings(frame(6)), 1);
	assert_int_equal(frame_mappings(frame(8)), 0);
	assert_int_equal(frame_mappings(frame(11)), 0);
	assert_int_equal(frames_get(frame(13), 40), 0);
	frames_put(frame(13), 40);
	frames_set(frame(50), 1, FRAME_KEEL);
	assert_int_equal(frames_get(frame(13), 40), -EBUSY);
	for (u32 i = 13; i < 50; i++)
		assert_int_equal(frame_mappings(frame(i)), 0);
	frames_put(frame(0), 8);
	assert_int_equal(frame_mappings(frame(7)), 0);
	assert_int_equal(frames_get(HPA(FAKE_RAM_SIZE - PAGE_SIZE), 2), -EBUSY);
	assert_int_equal(frame_mappings(HPA(FAKE_RAM_SIZE - PAGE_SIZE)), 0);
	assert_int_equal(frames_get(HPA(~0ull << PAGE_SHIFT), 2), -EBUSY);
	assert_int_equal(frames_get(frame(0), ~0ull), -EBUSY);
}

static void test_donation(void **state)
{
	frame_get(frame(5));
	assert_int_equal(frames_leave(frame(0), 8), -EBUSY); /* a child maps one */
	for (u32 i = 0; i < 8; i++)
		assert_int_equal(frame_owner(frame(i)), FRAME_MANAGEMENT);
	assert_int_equal(frame_mappings(frame(5)), 1);
	frame_put(frame(5));
	assert_int_equal(frames_take(frame(0), 8), -EINVAL); /* has not left */
	assert_int_equal(frames_leave(frame(0), 8), 0);
	assert_int_equal(frames_leave(frame(7), 1), -EBUSY);
	assert_int_equal(frame_get(frame(7)), -EBUSY); /* nobody maps it any more */
	assert_int_equal(frame_owner(frame(7)), FRAME_LEAVING);
	assert_int_equal(frames_take(frame(4), 8), -EINVAL); /* the last four have not left */
	assert_int_equal(frame_owner(frame(4)), FRAME_LEAVING);
	assert_int_equal(frames_take(frame(0), 8), 0);
	assert_int_equal(frame_owner(frame(0)), FRAME_KEEL);
	assert_int_equal(frame_get(frame(0)), -EBUSY);
	frames_return(frame(0), 4);
	assert_int_equal(frame_owner(frame(3)), FRAME_MANAGEMENT);
	assert_int_equal(frame_owner(frame(4)), FRAME_KEEL);
	assert_int_equal(frame_get(frame(3)), 0);
	expect_assert_failure(frames_return(frame(3), 1));
	expect_assert_failure(frames_return(HPA(FAKE_RAM_SIZE), 1));
	assert_int_equal(frames_leave(HPA(FAKE_RAM_SIZE - PAGE_SIZE), 2), -EBUSY);
}

/* Two CPUs map and unmap the frames that a third one wants. */
#define FRAMES 16
#define ROUNDS 10000

static u32 donations;

static void *mapper(void *arg)
{
	for (u32 i = 0; i < ROUNDS; i++) {
		hpa_t base = frame(i * 7 % FRAMES);
		u64 pages = 1 + i % (FRAMES - i * 7 % FRAMES);

		if (frames_get(base, pages) == 0) {
			for (u64 k = 0; k < pages; k++)
				if (frame_owner(HPA(base.v + k * PAGE_SIZE)) != FRAME_MANAGEMENT)
					return "mapped while it was not the management guest's";
			frames_put(base, pages);
			sched_yield(); /* with nothing mapped, so that the donor has a chance */
		}
	}
	return NULL;
}

static void *donor(void *arg)
{
	for (u32 i = 0; i < ROUNDS; i++) {
		if (frames_leave(frame(3), 5))
			continue;
		donations++;
		for (u32 k = 3; k < 8; k++)
			if (frame_mappings(frame(k)))
				return "donated while mapped";
		if (frames_take(frame(3), 5))
			return "take failed";
		frames_return(frame(3), 5);
	}
	return NULL;
}

static void test_counting(void **state)
{
	u64 taken, mapped;

	frames_count(frame(0), 32, &taken, &mapped);
	assert_int_equal(taken + mapped, 0);
	assert_int_equal(frames_leave(frame(2), 3), 0);
	assert_int_equal(frames_take(frame(2), 2), 0);
	assert_int_equal(frames_get(frame(10), 4), 0);
	assert_int_equal(frame_get(frame(10)), 0);
	assert_true(frames_count(frame(0), 32, &taken, &mapped));
	assert_int_equal(taken, 3);
	assert_int_equal(mapped, 4);
	frames_count(frame(3), 8, &taken, &mapped);
	assert_int_equal(taken, 2);
	assert_int_equal(mapped, 1);
	/* What is no RAM is neither. */
	assert_false(frames_count(HPA(FAKE_RAM_SIZE), 4, &taken, &mapped));
	assert_int_equal(taken + mapped, 0);
	frames_put(frame(10), 4);
	frame_put(frame(10));
}

static void test_concurrent(void **state)
{
	pthread_t thread[3];
	void *result;

	donations = 0;
	assert_int_equal(pthread_create(&thread[0], NULL, mapper, NULL), 0);
	assert_int_equal(pthread_create(&thread[1], NULL, mapper, NULL), 0);
	assert_int_equal(pthread_create(&thread[2], NULL, donor, NULL), 0);
	for (u32 i = 0; i < 3; i++) {
		pthread_join(thread[i], &result);
		if (result)
			fail_msg("%s", (const char *)result);
	}
	assert_true(donations > 0);
	for (u32 i = 0; i < FRAMES; i++) {
		assert_int_equal(frame_owner(frame(i)), FRAME_MANAGEMENT);
		assert_int_equal(frame_mappings(frame(i)), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_owners, setup),
		cmocka_unit_test_setup(test_mapping_needs_the_management_guest, setup),
		cmocka_unit_test_setup(test_counts_saturate, setup),
		cmocka_unit_test_setup(test_ranges_are_all_or_none, setup),
		cmocka_unit_test_setup(test_donation, setup),
		cmocka_unit_test_setup(test_counting, setup),
		cmocka_unit_test_setup(test_concurrent, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
