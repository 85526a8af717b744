/* When the anchor steps aside: who counts as serving, and from when the time runs. */
#include "tests/unit/unit.h"

#include "fusefs/anchor/countdown.h"
#include "fusefs/anchor/handover.h"

#define LIMIT_MS 30000
#define STABLE_MS COUNTDOWN_STABLE_MS

/* Heard every HANDOVER_ALIVE_MS in [from, to]. */
static void serve(struct countdown *countdown, int64_t from_ms, int64_t to_ms)
{
	for (int64_t now_ms = from_ms; now_ms <= to_ms; now_ms += HANDOVER_ALIVE_MS)
		countdown_heard(countdown, now_ms);
}

static void test_nobody_ever_serves(void **state)
{
	struct countdown countdown;

	countdown_start(&countdown, LIMIT_MS, 5000);
	assert_false(countdown_is_served(&countdown, 5000));
	assert_int_equal(countdown_end_ms(&countdown), 5000 + LIMIT_MS);
}

static void test_from_the_death_of_one_that_stayed(void **state)
{
	struct countdown countdown;

	countdown_start(&countdown, LIMIT_MS, 0);
	serve(&countdown, 0, 100000);
	assert_true(countdown_is_served(&countdown, 100000));
	countdown_gone(&countdown, 100200);
	assert_false(countdown_is_served(&countdown, 100200));
	assert_int_equal(countdown_end_ms(&countdown), 100200 + LIMIT_MS);
}

static void test_from_the_last_word_of_one_that_is_silent(void **state)
{
	struct countdown countdown;

	countdown_start(&countdown, LIMIT_MS, 0);
	serve(&countdown, 0, 10000);
	assert_true(countdown_is_served(&countdown, 11000));
	assert_false(countdown_is_served(&countdown, 12000));
	assert_int_equal(countdown_end_ms(&countdown), 10000 + LIMIT_MS);
	countdown_gone(&countdown, 15000);
	assert_int_equal(countdown_end_ms(&countdown), 10000 + LIMIT_MS);
}

static void test_deaths_one_after_the_other_change_nothing(void **state)
{
	struct countdown countdown;

	countdown_start(&countdown, LIMIT_MS, 0);
	for (int64_t now_ms = 0; now_ms < LIMIT_MS - STABLE_MS; now_ms += STABLE_MS) {
		countdown_heard(&countdown, now_ms);
		countdown_gone(&countdown, now_ms + STABLE_MS - 1);
		assert_int_equal(countdown_end_ms(&countdown), LIMIT_MS);
	}
}

static void test_silence_begins_anew(void **state)
{
	struct countdown countdown;

	countdown_start(&countdown, LIMIT_MS, 0);
	/* One word every 5 s, after having been taken for silent. */
	for (int64_t now_ms = 0; now_ms < LIMIT_MS; now_ms += 5000)
		countdown_heard(&countdown, now_ms);
	assert_int_equal(countdown_end_ms(&countdown), LIMIT_MS);
}

static void test_one_that_serves_at_the_end_may_prove_itself(void **state)
{
	struct countdown countdown;

	countdown_start(&countdown, LIMIT_MS, 0);
	countdown_heard(&countdown, LIMIT_MS - 10);
	assert_true(countdown_end_ms(&countdown) > LIMIT_MS - 10 + STABLE_MS);
	countdown_gone(&countdown, LIMIT_MS + 500);
	assert_int_equal(countdown_end_ms(&countdown), LIMIT_MS);
	countdown_start(&countdown, LIMIT_MS, 0);
	serve(&countdown, LIMIT_MS - 10, LIMIT_MS + STABLE_MS + HANDOVER_ALIVE_MS);
	assert_true(countdown_end_ms(&countdown) > 2LL * LIMIT_MS);
}

static void test_a_pause_of_our_own(void **state)
{
	struct countdown countdown;

	countdown_start(&countdown, LIMIT_MS, 0);
	serve(&countdown, 0, 10000);
	countdown_skip(&countdown, 60000);
	assert_true(countdown_is_served(&countdown, 70100));
	assert_int_equal(countdown_end_ms(&countdown), 70000 + LIMIT_MS);
}

static void test_a_short_time_leaves_room_to_come_back(void **state)
{
	struct countdown countdown;

	countdown_start(&countdown, 1000, 0);
	serve(&countdown, 0, 10000);
	countdown_gone(&countdown, 10000);
	serve(&countdown, 10300, 10800); /* started again, and stays */
	assert_int_equal(countdown_end_ms(&countdown), 11800);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nobody_ever_serves),
		cmocka_unit_test(test_from_the_death_of_one_that_stayed),
		cmocka_unit_test(test_from_the_last_word_of_one_that_is_silent),
		cmocka_unit_test(test_deaths_one_after_the_other_change_nothing),
		cmocka_unit_test(test_silence_begins_anew),
		cmocka_unit_test(test_one_that_serves_at_the_end_may_prove_itself),
		cmocka_unit_test(test_a_pause_of_our_own),
		cmocka_unit_test(test_a_short_time_leaves_room_to_come_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
