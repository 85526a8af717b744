/* Descriptors that the anchor keeps by node id. */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdbool.h>
#include <sys/resource.h>

#include "fusefs/anchor/pins.h"

static int new_fd(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static size_t count(const struct pins *pins)
{
	size_t n = 0;

	for (const struct pin *pin = NULL; (pin = pins_next(pins, pin));)
		n++;
	assert_int_equal(n, pins->count);
	return n;
}

static void test_put_replace_drop(void **state)
{
	static struct pins pins;
	int first = new_fd(), second, third;

	pins_init(&pins);
	assert_int_equal(count(&pins), 0);
	assert_int_equal(pins_put(&pins, 7, first), 0);
	second = new_fd();
	assert_int_equal(pins_put(&pins, 7, second), 0);
	assert_false(is_open(first));
	third = new_fd();                                              /* the number of the first */
	assert_int_equal(pins_put(&pins, 7 + PINS_BUCKETS, third), 0); /* in the same bucket */
	assert_int_equal(count(&pins), 2);
	pins_drop(&pins, 8);
	pins_drop(&pins, 7);
	assert_false(is_open(second));
	assert_true(is_open(third));
	assert_int_equal(pins_next(&pins, NULL)->id, 7 + PINS_BUCKETS);
	pins_clear(&pins);
	assert_false(is_open(third));
	assert_int_equal(count(&pins), 0);
	pins_done(&pins);
}

static void test_many(void **state)
{
	static struct pins pins;
	const uint64_t high = 1ULL << 40;
	uint64_t sum = 0;

	pins_init(&pins);
	for (uint64_t id = 1; id <= 500; id++)
		assert_int_equal(pins_put(&pins, id | high, new_fd()), 0);
	for (const struct pin *pin = NULL; (pin = pins_next(&pins, pin));)
		sum += pin->id - high;
	assert_int_equal(count(&pins), 500);
	assert_int_equal(sum, 500 * 501 / 2);
	pins_done(&pins);
}

static void test_the_limit_of_descriptors(void **state)
{
	static struct pins pins;
	struct rlimit before, now = {0};

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	now = (struct rlimit){.rlim_cur = 100, .rlim_max = before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
	pins_init(&pins);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &now), 0);
	assert_int_equal(now.rlim_cur, before.rlim_max);
	assert_true(pins.max < before.rlim_max);

	pins.max = 3;
	for (uint64_t id = 1; id <= 3; id++)
		assert_int_equal(pins_put(&pins, id, new_fd()), 0);
	int fd = new_fd();

	assert_int_equal(pins_put(&pins, 4, fd), -EMFILE);
	assert_false(is_open(fd));
	assert_int_equal(pins_put(&pins, 3, new_fd()), 0); /* instead of one that is there */
	pins_done(&pins);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_put_replace_drop),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_the_limit_of_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
