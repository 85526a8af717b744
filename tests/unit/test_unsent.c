/* What the anchor is yet to be told of pins, when its socket was full. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "fusefs/policy/unsent.h"

static void forgets_what_came_and_went(void **state)
{
	static const struct {
		bool pinned[3];
		size_t n;
		bool known; /* the first: it was pinned before, and the anchor was told */
		bool left, left_pinned;
	} rows[] = {
		{{true}, 1, false, true, true},
		{{true, false}, 2, false, false, false},
		{{true, false, true}, 3, false, true, true},
		{{false}, 1, true, true, false},
		{{false, true}, 2, true, true, true},
		{{false, true, false}, 3, true, true, false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct unsent unsent = {0};

		for (size_t j = 0; j < rows[i].n; j++)
			assert_int_equal(unsent_put(&unsent, 7, rows[i].pinned[j], j == 0 && rows[i].known), 0);
		const struct unsent_pin *pin = unsent_find(&unsent, 7);

		assert_int_equal(pin != NULL, rows[i].left);
		assert_int_equal(unsent.n, rows[i].left);
		if (pin)
			assert_int_equal(pin->pinned, rows[i].left_pinned);
		unsent_clear(&unsent);
	}
}

static bool remove_odd(struct unsent_pin *pin, void *arg)
{
	struct unsent *unsent = arg;

	if (pin->node_id % 2)
		unsent_remove(unsent, pin->node_id);
	return true;
}

static bool stop_at_once(struct unsent_pin *pin, void *arg)
{
	(void)pin;
	++*(size_t *)arg;
	return false;
}

static void each_may_be_removed(void **state)
{
	struct unsent unsent = {0};
	size_t calls = 0;

	(void)state;
	for (uint64_t id = 1; id <= 1000; id++)
		assert_int_equal(unsent_put(&unsent, id, true, false), 0);
	assert_int_equal(unsent.n, 1000);
	unsent_each(&unsent, remove_odd, &unsent);
	assert_int_equal(unsent.n, 500);
	assert_null(unsent_find(&unsent, 999));
	assert_non_null(unsent_find(&unsent, 1000));
	unsent_remove(&unsent, 999);
	assert_int_equal(unsent.n, 500);
	unsent_each(&unsent, stop_at_once, &calls);
	assert_int_equal(calls, 1);
	unsent_clear(&unsent);
	assert_int_equal(unsent.n, 0);
	assert_null(unsent_find(&unsent, 1000));
}

static void a_change_belongs_to_its_round(void **state)
{
	struct unsent unsent = {0};

	(void)state;
	assert_int_equal(unsent_put(&unsent, 1, true, false), 0);
	unsent.round++;
	assert_int_equal(unsent_put(&unsent, 2, true, false), 0);
	assert_int_not_equal(unsent_find(&unsent, 1)->round, unsent.round);
	assert_int_equal(unsent_find(&unsent, 2)->round, unsent.round);
	assert_int_equal(unsent_put(&unsent, 1, true, false), 0);
	assert_int_equal(unsent_find(&unsent, 1)->round, unsent.round);
	unsent_clear(&unsent);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(forgets_what_came_and_went),
		cmocka_unit_test(each_may_be_removed),
		cmocka_unit_test(a_change_belongs_to_its_round),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
