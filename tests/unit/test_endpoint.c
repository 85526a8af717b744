#include "tests/unit/unit.h"

#include <string.h>

#include "uploader/s3/endpoint.h"
#include "uploader/s3/mtime.h"

#define AUTO CONFIG_ADDRESSING_AUTO
#define PATH CONFIG_ADDRESSING_PATH
#define VIRTUAL CONFIG_ADDRESSING_VIRTUAL

static void test_addressing(void **state)
{
	(void)state;
	static const struct {
		const char *url, *region, *bucket;
		enum config_addressing addressing;
		const char *scheme, *host, *path; /* of key a b; scheme NULL: refused */
	} cases[] = {
		{NULL, "eu-west-1", "bkt", AUTO, "https", "bkt.s3.eu-west-1.amazonaws.com", "/a%20b"},
		{"", "us-east-1", "bkt", VIRTUAL, "https", "bkt.s3.us-east-1.amazonaws.com", "/a%20b"},
		{NULL, "us-east-1", "bkt", PATH, "https", "s3.us-east-1.amazonaws.com", "/bkt/a%20b"},
		{NULL, "us-east-1", "my.bkt", AUTO, "https", "s3.us-east-1.amazonaws.com", "/my.bkt/a%20b"},
		{NULL, "us-east-1", "My_bkt", AUTO, "https", "s3.us-east-1.amazonaws.com", "/My_bkt/a%20b"},
		{NULL, "cn-north-1", "bkt", AUTO, "https", "bkt.s3.cn-north-1.amazonaws.com.cn", "/a%20b"},
		{"http://127.0.0.1:8085", "us-east-1", "bkt", AUTO, "http", "127.0.0.1:8085", "/bkt/a%20b"},
		{"http://127.0.0.1:8085/", "us-east-1", "bkt", VIRTUAL, "http", "bkt.127.0.0.1:8085", "/a%20b"},
		{"https://s3.example:443", "r", "bkt", AUTO, "https", "s3.example", "/bkt/a%20b"},
		{"http://s3.example:80", "r", "bkt", AUTO, "http", "s3.example", "/bkt/a%20b"},
		{"https://s3.example:80", "r", "bkt", AUTO, "https", "s3.example:80", "/bkt/a%20b"},
		{"https://s3.example/base/", "r", "bkt", AUTO, "https", "s3.example", "/base/bkt/a%20b"},
		{"https://s3.example/base", "r", "bkt", VIRTUAL, "https", "bkt.s3.example", "/base/a%20b"},
		{"http://[::1]:9000", "r", "bkt", PATH, "http", "[::1]:9000", "/bkt/a%20b"},
		{"ftp://s3.example", "r", "bkt", AUTO, NULL, NULL, NULL},
		{"s3.example", "r", "bkt", AUTO, NULL, NULL, NULL},
		{"https://", "r", "bkt", AUTO, NULL, NULL, NULL},
		{"https://user:word@s3.example", "r", "bkt", AUTO, NULL, NULL, NULL},
		{"https://s3.example?x=y", "r", "bkt", AUTO, NULL, NULL, NULL},
		{"https://s3.example/b?x=y", "r", "bkt", AUTO, NULL, NULL, NULL},
		{NULL, "", "bkt", AUTO, NULL, NULL, NULL},
		{NULL, "evil.example/", "bkt", AUTO, NULL, NULL, NULL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct endpoint endpoint = {.scheme = "old"};
		_cleanup_buf_ struct buf path = {0};
		int r = endpoint_init(&endpoint, cases[i].url, cases[i].region, cases[i].bucket, cases[i].addressing);

		assert_int_equal(r, cases[i].scheme ? 0 : -EINVAL);
		assert_string_equal(endpoint.scheme, cases[i].scheme ? cases[i].scheme : "old");
		if (r < 0)
			continue;
		assert_string_equal(endpoint.host, cases[i].host);
		assert_string_equal(endpoint.region, cases[i].region);
		assert_int_equal(endpoint_path(&path, &endpoint, "a b"), 0);
		assert_string_equal(path.data, cases[i].path);
	}
}

static void test_keys_are_not_normalised(void **state)
{
	(void)state;
	static const char *const cases[][2] = {{"a//b", "/bkt/a//b"}, {"../../x", "/bkt/../../x"},
		{"./a/.", "/bkt/./a/."}, {"/lead", "/bkt//lead"}, {"trail/", "/bkt/trail/"}, {"ü", "/bkt/%C3%BC"},
		{"%2e", "/bkt/%252e"}};
	struct endpoint endpoint;

	assert_int_equal(endpoint_init(&endpoint, "http://h", "r", "bkt", PATH), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_buf_ struct buf path = {0};

		assert_int_equal(endpoint_path(&path, &endpoint, cases[i][0]), 0);
		assert_string_equal(path.data, cases[i][1]);
	}
}

static void test_mtime(void **state)
{
	(void)state;
	static const struct {
		int64_t ns;
		const char *text;
	} cases[] = {
		{0, "0"},
		{1, "0.000000001"},
		{1700000000123456789, "1700000000.123456789"},
		{1700000000500000000, "1700000000.5"},
		{1700000000000000000, "1700000000"},
		{1000000000, "1"},
		{10000000000, "10"},
		{-1, "-0.000000001"},
		{-500000000, "-0.5"},
		{-1000000000, "-1"},
		{-1234567890100000000, "-1234567890.1"},
		{INT64_MAX, "9223372036.854775807"},
		{INT64_MIN, "-9223372036.854775808"},
	};
	char out[MTIME_BYTES];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_string_equal(mtime_format(cases[i].ns, out), cases[i].text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_addressing),
		cmocka_unit_test(test_keys_are_not_normalised), cmocka_unit_test(test_mtime)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
