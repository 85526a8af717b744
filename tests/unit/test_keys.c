/* The key rule is reversible, and what S3 or XML cannot hold never reaches them. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fusefs/policy/keys.h"
#include "uploader/base/buf.h"
#include "uploader/base/units.h"

static struct keys keys_with(const char *prefix, const char *exclude)
{
	struct keys keys;
	char error[256] = "";

	assert_int_equal(keys_init(&keys, prefix, exclude, error, sizeof(error)), 0);
	return keys;
}

static void test_rule(void **state)
{
	(void)state;
	static const struct {
		const char *path, *key;
	} cases[] = {
		{"a/b.txt", "p/a/b.txt"},
		{"with space+and%sign", "p/with space+and%sign"},
		{"50%", "p/50%"},
		{"%4", "p/%4"},
		{"%41", "p/%2541"},
		{"%4a", "p/%4a"}, /* lower-case digits are no escape */
		{"%2541", "p/%252541"},
		{"new\nline", "p/new%0Aline"},
		{"\x7f", "p/%7F"},
		{"bad\xff\xfe", "p/bad%FF%FE"},
		{"cut\xe2\x82", "p/cut%E2%82"},
		{"over\xc0\xaf", "p/over%C0%AF"},
		{"\xed\xa0\x80", "p/%ED%A0%80"}, /* a surrogate */
		{"\xef\xbf\xbe", "p/%EF%BF%BE"}, /* U+FFFE */
		{"\xef\xbf\xbd", "p/\xef\xbf\xbd"},
		{"grün/日本", "p/grün/日本"},
		{".ebbfs", "p/%2Eebbfs"},
		{".ebbfs/x", "p/%2Eebbfs/x"},
		{".ebbfsx", "p/.ebbfsx"},
		{"a/.ebbfs", "p/a/.ebbfs"},
		{"a..b", "p/a..b"},
	};
	struct keys keys = keys_with("p", "");

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char key[JOB_KEY_MAX + 1];

		assert_int_equal(keys_make(&keys, cases[i].path, 0, key), 0);
		assert_string_equal(key, cases[i].key);
	}
}

/* Reads a key back by the rule as it is documented: every %XX is a byte. */
static size_t read_back(const char *key, char *out)
{
	size_t n = 0;

	while (*key) {
		uint8_t byte;
		char digits[3] = {key[0] == '%' ? key[1] : '\0', key[1] ? key[2] : '\0', '\0'};

		if (key[0] == '%' && digits[0] && digits[1] && strspn(digits, "0123456789ABCDEF") == 2 &&
			hex_decode(digits, &byte, 1) == 0) {
			out[n++] = (char)byte;
			key += 3;
		} else {
			out[n++] = *key++;
		}
	}
	out[n] = '\0';
	return n;
}

static void test_reversible(void **state)
{
	(void)state;
	static const char alphabet[] = "%%%%0A4fe.\n\xc3\xa9\xff\xef\xbf\xbe/b";
	unsigned int seed = 7;

	for (int round = 0; round < 20000; round++) {
		char path[16] = "", back[64];
		_cleanup_buf_ struct buf escaped = {0};
		size_t length = 1 + (size_t)rand_r(&seed) % (sizeof(path) - 1);

		for (size_t i = 0; i < length; i++)
			path[i] = alphabet[(size_t)rand_r(&seed) % (sizeof(alphabet) - 1)];
		path[length < sizeof(path) ? length : sizeof(path) - 1] = '\0';
		keys_escape(&escaped, path);
		read_back(escaped.data, back);
		assert_string_equal(back, path);
	}
}

static void test_too_long(void **state)
{
	(void)state;
	char path[JOB_KEY_MAX + 1], key[JOB_KEY_MAX + 1];
	struct keys keys = keys_with("p", "");

	memset(path, 'x', sizeof(path));
	path[JOB_KEY_MAX - 2] = '\0';
	assert_int_equal(keys_make(&keys, path, 0, key), 0);
	assert_int_equal(strlen(key), JOB_KEY_MAX);
	path[JOB_KEY_MAX - 2] = 'x';
	path[JOB_KEY_MAX - 1] = '\0';
	assert_int_equal(keys_make(&keys, path, 0, key), -ENAMETOOLONG);
}

static void test_template(void **state)
{
	(void)state;
	char key[JOB_KEY_MAX + 1], error[256];
	struct keys keys;

	setenv("POD_NAME", "writer-0", 1);
	setenv("POD_NAMESPACE", "plant", 1);
	setenv("TZ", "UTC", 1);
	tzset();
	keys = keys_with("{namespace}/{pod}/dt=%Y-%m-%d/hour=%H", "");
	assert_int_equal(keys_make(&keys, "f", 1700000000LL * NSEC_PER_SEC, key), 0);
	assert_string_equal(key, "plant/writer-0/dt=2023-11-14/hour=22/f");
	/* Before 1970 the second is the one that the nanoseconds count up from. */
	assert_int_equal(keys_make(&keys, "f", -1, key), 0);
	assert_string_equal(key, "plant/writer-0/dt=1969-12-31/hour=23/f");
	unsetenv("POD_NAME");
	assert_int_equal(keys_init(&keys, "{pod}", "", error, sizeof(error)), -EINVAL);
	assert_non_null(strstr(error, "{pod}"));
	assert_int_equal(keys_init(&keys, "{shoe}", "", error, sizeof(error)), -EINVAL);
	assert_int_equal(keys_init(&keys, "{host", "", error, sizeof(error)), -EINVAL);
	assert_int_equal(keys_init(&keys, "", "", error, sizeof(error)), 0);
	assert_int_equal(keys_make(&keys, "f", 0, key), 0);
	assert_string_equal(key, "f");
}

static void test_excluded(void **state)
{
	(void)state;
	static const struct {
		const char *exclude, *path;
		bool excluded;
	} cases[] = {
		{"", "a", false},
		{"*.tmp", "a.tmp", true},
		{"*.tmp", "d/a.tmp", true},
		{"*.tmp", "a.tmp.done", false},
		{"*.tmp:*.part", "x.part", true},
		{"::*.part:", "x.part", true},
		{"work/*", "work/a", true},
		{"work/*", "a", false},
		{"work/*", "work/d/a", false},
		{"[ab]?", "bz", true},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct keys keys = keys_with("", cases[i].exclude);

		assert_int_equal(keys_excluded(&keys, cases[i].path), cases[i].excluded);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rule),
		cmocka_unit_test(test_reversible),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_template),
		cmocka_unit_test(test_excluded),
	};

	return cmocka_run_group_tests_name("keys", tests, NULL, NULL);
}
