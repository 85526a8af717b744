#include "tests/unit/unit.h"

#include <string.h>

#include "uploader/base/buf.h"

static void test_grows_and_ends_with_nul(void **state)
{
	(void)state;
	_cleanup_buf_ struct buf buf = {0};

	for (int i = 0; i < 1000; i++)
		assert_int_equal(buf_putf(&buf, "%03d,", i), 0);
	assert_int_equal(buf.length, 4000);
	assert_int_equal(strlen(buf.data), 4000);
	assert_memory_equal(buf.data + 3996, "999,", 4);
	buf_reset(&buf);
	assert_int_equal(buf.length, 0);
	assert_string_equal(buf.data, "");
}

static void test_ceiling(void **state)
{
	(void)state;
	_cleanup_buf_ struct buf buf = {.max = 10};

	assert_int_equal(buf_put(&buf, "0123456789", 10), 0);
	assert_int_equal(buf_put(&buf, "x", 1), -E2BIG);
	assert_int_equal(buf_put(&buf, "", 0), -E2BIG);
	assert_int_equal(buf.length, 10);
	assert_int_equal(buf_putf(&buf, "%d", 1), -E2BIG);
	buf_reset(&buf);
	assert_int_equal(buf_put_text(&buf, "again"), 0);
	assert_int_equal(buf_put(&buf, "too long", SIZE_MAX), -E2BIG);
}

static void test_round_trip(void **state)
{
	(void)state;
	_cleanup_buf_ struct buf buf = {0};
	struct buf_reader reader;
	char text[8];
	size_t length;

	buf_put_u8(&buf, 0xfe);
	buf_put_u16(&buf, 0x1234);
	buf_put_u32(&buf, 0x89abcdef);
	buf_put_u64(&buf, 0x0123456789abcdefULL);
	buf_put_bytes16(&buf, "a\0b", 3);
	buf_put_bytes16(&buf, "hello", 5);
	assert_int_equal(buf.error, 0);
	assert_memory_equal(buf.data, "\xfe\x12\x34\x89\xab\xcd\xef\x01", 8);

	buf_reader_init(&reader, buf.data, buf.length);
	assert_int_equal(buf_get_u8(&reader), 0xfe);
	assert_int_equal(buf_get_u16(&reader), 0x1234);
	assert_int_equal(buf_get_u32(&reader), 0x89abcdef);
	assert_true(buf_get_u64(&reader) == 0x0123456789abcdefULL);
	assert_memory_equal(buf_get_bytes16(&reader, &length), "a\0b", 3);
	assert_int_equal(length, 3);
	assert_int_equal(buf_reader_finish(&reader), -EBADMSG);
	buf_get_text16(&reader, text, sizeof(text));
	assert_string_equal(text, "hello");
	assert_int_equal(buf_reader_finish(&reader), 0);
}

static void test_reading_past_the_end(void **state)
{
	(void)state;
	struct buf_reader reader;
	size_t length = 7;

	buf_reader_init(&reader, "\x00\x05hi", 4);
	assert_null(buf_get_bytes16(&reader, &length));
	assert_int_equal(length, 0);
	assert_int_equal(buf_get_u8(&reader), 0);
	assert_null(buf_get(&reader, 0));
	assert_int_equal(reader.error, -EBADMSG);
	assert_int_equal(buf_reader_finish(&reader), -EBADMSG);
}

static void test_texts(void **state)
{
	(void)state;
	static const struct {
		const char *bytes;
		size_t length;
		const char *text; /* NULL: refused */
	} cases[] = {{"\0\0", 2, ""}, {"\0\3abc", 5, "abc"}, {"\0\4abcd", 6, NULL}, {"\0\2a\0", 4, NULL},
		{"\0\3ab", 4, NULL}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct buf_reader reader;
		char out[4] = "xxx";

		buf_reader_init(&reader, cases[i].bytes, cases[i].length);
		buf_get_text16(&reader, out, sizeof(out));
		assert_string_equal(out, cases[i].text ? cases[i].text : "");
		assert_int_equal(buf_reader_finish(&reader), cases[i].text ? 0 : -EBADMSG);
	}
}

static void test_long_bytes16(void **state)
{
	(void)state;
	static char big[65536];
	_cleanup_buf_ struct buf buf = {0};

	assert_int_equal(buf_put_bytes16(&buf, big, 65535), 0);
	assert_int_equal(buf_put_bytes16(&buf, big, 65536), -E2BIG);
	assert_int_equal(buf.length, 65537);
	assert_int_equal(buf_put_u8(&buf, 1), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_grows_and_ends_with_nul),
		cmocka_unit_test(test_ceiling), cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_reading_past_the_end), cmocka_unit_test(test_texts),
		cmocka_unit_test(test_long_bytes16)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
