// SPDX-License-Identifier: MIT
/* The watch over vector registers, with a call that keeps them or does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "mgmt/uefi/include/keel.h"
#include "mgmt/uefi/libkeel/vector.h"

static struct vector_state seen;
static size_t lost = SIZE_MAX; /* the byte of the state that the call changes */

void vector_call(struct vector_call *c)
{
	seen = c->before;
	c->after = c->before;
	if (lost < sizeof(c->after))
		((u8 *)&c->after)[lost] ^= 1;
	c->rax = 42;
}

/* Runs the watch. True: it counted the call as wrong. */
static bool wrong_now(void)
{
	struct vector_call c = {0};
	u64 runs, wrong, runs_then, wrong_then;

	keel_vectors_result(&runs_then, &wrong_then);
	vector_watch(&c);
	keel_vectors_result(&runs, &wrong);
	assert_int_equal(runs, runs_then + 1);
	assert_int_equal(c.rax, 42);
	return wrong != wrong_then;
}

static void every_register_counts(void **state)
{
	for (lost = 0; lost < offsetof(struct vector_state, pad); lost++)
		assert_true(wrong_now());
	lost = SIZE_MAX;
	assert_false(wrong_now());
}

static void each_call_has_its_own_patterns(void **state)
{
	struct vector_state before;

	for (u32 i = 0; i < 100; i++) {
		before = seen;
		assert_false(wrong_now());
		for (u32 r = 0; r < ARRAY_SIZE(seen.ymm); r++)
			for (u32 q = 0; q < 4; q++)
				assert_int_not_equal(seen.ymm[r][q], before.ymm[r][q]);
		/* SDM volume 1, "MXCSR Control and Status Register": all exceptions masked */
		assert_int_equal(seen.mxcsr & 0x1f80, 0x1f80);
		assert_int_equal(seen.mxcsr >> 16, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_register_counts),
		cmocka_unit_test(each_call_has_its_own_patterns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
