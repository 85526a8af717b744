#include "tests/unit/unit.h"

#include <string.h>

#include "uploader/base/units.h"

static void test_durations(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int r;
		int64_t ms;
	} cases[] = {
		{"90", 0, 90000},
		{"0", 0, 0},
		{"250ms", 0, 250},
		{"2s", 0, 2000},
		{"5m", 0, 300000},
		{"24h", 0, 86400000},
		{"7d", 0, 604800000},
		{"", -EINVAL, 0},
		{"s", -EINVAL, 0},
		{"-1s", -EINVAL, 0},
		{"1.5s", -EINVAL, 0},
		{"1 s", -EINVAL, 0},
		{"1w", -EINVAL, 0},
		{"2S", -EINVAL, 0},
		{"18446744073709551616", -ERANGE, 0},
		{"9223372036854775807d", -ERANGE, 0},
		{"9223372036854775807ms", 0, INT64_MAX},
		{"9223372036854775808ms", -ERANGE, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int64_t ms = -7;

		assert_int_equal(parse_duration_ms(cases[i].text, &ms), cases[i].r);
		assert_int_equal(ms, cases[i].r ? -7 : cases[i].ms);
	}
}

static void test_sizes(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int r;
		uint64_t bytes;
	} cases[] = {
		{"4096", 0, 4096},
		{"0", 0, 0},
		{"64k", 0, 65536},
		{"10M", 0, 10 << 20},
		{"2G", 0, 2ULL << 30},
		{"1T", 0, 1ULL << 40},
		{"1P", 0, 1ULL << 50},
		{"1KiB", 0, 1024},
		{"1kB", 0, 1024},
		{"5B", 0, 5},
		{"", -EINVAL, 0},
		{"k", -EINVAL, 0},
		{"1x", -EINVAL, 0},
		{"1kk", -EINVAL, 0},
		{"1BB", -EINVAL, 0},
		{"-1", -EINVAL, 0},
		{"99999999999999999999", -ERANGE, 0},
		{"18446744073709551615", 0, UINT64_MAX},
		{"16777216T", -ERANGE, 0},
		{"16777215T", 0, 16777215ULL << 40},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t bytes = 7;

		assert_int_equal(parse_size_bytes(cases[i].text, &bytes), cases[i].r);
		assert_true(bytes == (cases[i].r ? 7 : cases[i].bytes));
	}
}

static void test_numbers(void **state)
{
	(void)state;
	uint64_t value = 7;

	assert_int_equal(parse_u64("12", 0, 12, &value), 0);
	assert_int_equal(value, 12);
	assert_int_equal(parse_u64("13", 0, 12, &value), -ERANGE);
	assert_int_equal(parse_u64("1", 2, 12, &value), -ERANGE);
	assert_int_equal(parse_u64("1a", 0, 12, &value), -EINVAL);
	assert_int_equal(parse_u64(" 1", 0, 12, &value), -EINVAL);
	assert_int_equal(parse_u64("", 0, 12, &value), -EINVAL);
	assert_int_equal(value, 12);
}

static void test_for_people(void **state)
{
	(void)state;
	static const struct {
		uint64_t bytes;
		const char *text;
	} sizes[] = {
		{0, "0 B"}, {1023, "1023 B"}, {1536, "1.5 KiB"}, {3435973837, "3.2 GiB"}, {UINT64_MAX, "16.0 EiB"}};
	static const struct {
		int64_t ms;
		const char *text;
	} durations[] = {{0, "0.0s"}, {449, "0.4s"}, {12000, "12s"}, {200000, "3m20s"}, {7500000, "2h05m"},
		{356400000, "4d03h"}};
	char out[24];

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		assert_string_equal(format_bytes(sizes[i].bytes, out), sizes[i].text);
	for (size_t i = 0; i < ARRAY_SIZE(durations); i++)
		assert_string_equal(format_duration_ms(durations[i].ms, out), durations[i].text);
}

static void test_hex(void **state)
{
	(void)state;
	static const uint8_t bytes[] = {0x00, 0x7f, 0xa5, 0xff};
	uint8_t back[4];
	char out[9];

	hex_encode(bytes, sizeof(bytes), out);
	assert_string_equal(out, "007fa5ff");
	assert_int_equal(hex_decode("007FA5ff", back, 4), 0);
	assert_memory_equal(back, bytes, 4);
	assert_int_equal(hex_decode("007fa5f", back, 4), -EINVAL);
	assert_int_equal(hex_decode("007fa5ff0", back, 4), -EINVAL);
	assert_int_equal(hex_decode("007fa5fg", back, 4), -EINVAL);
	assert_int_equal(hex_decode("007fa5f:", back, 4), -EINVAL);
	assert_int_equal(hex_decode("", back, 0), 0);
}

/* RFC 4648 §10. */
static void test_base64(void **state)
{
	(void)state;
	static const char *const cases[][2] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"},
		{"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}};
	uint8_t back[8];
	char out[16];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t length = strlen(cases[i][0]);

		base64_encode((const uint8_t *)cases[i][0], length, out);
		assert_string_equal(out, cases[i][1]);
		assert_int_equal(base64_decode(out, back, length), 0);
		assert_memory_equal(back, cases[i][0], length);
		assert_int_equal(base64_decode(out, back, length + 1), -EINVAL);
	}
	static const char *const wrong[] = {"Zg=", "Zg", "Z===", "=Zg=", "Zg==Zg==", "Zg==-3", "Z!==", "Zm8"};

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(base64_decode(wrong[i], back, 1), -EINVAL);
}

static void test_utf8(void **state)
{
	(void)state;
	static const struct {
		const char *bytes;
		size_t available, length;
	} cases[] = {
		{"a", 1, 1},
		{"a", 0, 0},
		{"\xc3\xbc", 2, 2},
		{"\xc3\xbc", 1, 0},
		{"\xe2\x82\xac", 3, 3},
		{"\xf0\x9f\x98\x80", 4, 4},
		{"\xf0\x9f\x98", 3, 0},
		{"\x80", 1, 0},
		{"\xc0\x80", 2, 0},
		{"\xc1\xbf", 2, 0},
		{"\xe0\x80\x80", 3, 0},
		{"\xed\xa0\x80", 3, 0},
		{"\xf4\x90\x80\x80", 4, 0},
		{"\xf4\x8f\xbf\xbf", 4, 4},
		{"\xf5\x80\x80\x80", 4, 0},
		{"\xc3(", 2, 0},
		{"\xe2\x82(", 3, 0},
		{"\xff", 1, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(utf8_sequence((const uint8_t *)cases[i].bytes, cases[i].available), cases[i].length);
}

static void test_clocks(void **state)
{
	(void)state;
	int64_t before = clock_ms(), ns = wall_ns(), ms = wall_ms();

	assert_true(clock_ms() >= before);
	assert_true(ms >= ns / 1000000 && ms - ns / 1000000 < 60000);
	assert_true(timespec_ns((struct timespec){.tv_sec = -1, .tv_nsec = 500000000}) == -500000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_durations), cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_numbers), cmocka_unit_test(test_for_people), cmocka_unit_test(test_hex),
		cmocka_unit_test(test_base64), cmocka_unit_test(test_utf8), cmocka_unit_test(test_clocks)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
