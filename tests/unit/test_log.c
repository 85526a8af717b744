#include "tests/unit/unit.h"

#include <string.h>

#include "uploader/base/cleanup.h"
#include "uploader/base/log.h"

static void test_parse(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int r;
		enum log_level level;
		bool json;
	} cases[] = {
		{"error", 0, LOG_LEVEL_ERROR, false},
		{"debug,json", 0, LOG_LEVEL_DEBUG, true},
		{"json,warning", 0, LOG_LEVEL_WARNING, true},
		{"json", 0, LOG_LEVEL_INFO, true},
		{"text", 0, LOG_LEVEL_INFO, false},
		{"", -EINVAL, 0, 0},
		{"loud", -EINVAL, 0, 0},
		{"info,", -EINVAL, 0, 0},
		{"infojson", -EINVAL, 0, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		enum log_level level = LOG_LEVEL_ERROR;
		bool json = false;

		assert_int_equal(log_parse(cases[i].text, &level, &json), cases[i].r);
		assert_int_equal(level, cases[i].r ? LOG_LEVEL_ERROR : cases[i].level);
		assert_int_equal(json, cases[i].json);
	}
}

static void test_quote(void **state)
{
	(void)state;
	static const char *const cases[][2] = {{"", "\"\""}, {"a b", "\"a b\""}, {"a\"b\\c", "\"a\\\"b\\\\c\""},
		{"a\tb\x7f", "\"a\\x09b\\x7f\""}, {"ü\xff", "\"ü\\xff\""}, {"\xed\xa0\x80", "\"\\xed\\xa0\\x80\""}};
	char out[LOG_QUOTE_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_string_equal(log_quote(cases[i][0], out), cases[i][1]);
}

static void test_quote_is_cut(void **state)
{
	(void)state;
	static const char fills[] = {'a', '"', '\x01', '\xff'};
	char text[3000], out[LOG_QUOTE_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(fills); i++) {
		for (size_t length = 250; length < sizeof(text); length++) {
			memset(text, fills[i], length);
			text[length] = '\0';
			size_t got = strlen(log_quote(text, out));

			assert_true(got < LOG_QUOTE_MAX);
			assert_true(out[0] == '"' && out[got - 1] == '"');
		}
		assert_non_null(strstr(out, "…\""));
	}
}

/* What one log call writes to stderr. */
static void capture(char *out, size_t size, const char *text)
{
	int pipe_fds[2], saved = dup(STDERR_FILENO);

	if (saved < 0 || pipe(pipe_fds) < 0)
		abort();
	dup2(pipe_fds[1], STDERR_FILENO);
	log_info("text=%s", text);
	log_debug("never");
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(pipe_fds[1]);
	ssize_t n = read(pipe_fds[0], out, size - 1);

	close(pipe_fds[0]);
	assert_true(n > 0);
	out[n] = '\0';
}

static void test_lines(void **state)
{
	(void)state;
	static char text[10000], out[20000];

	log_init("unit", LOG_LEVEL_INFO, false);
	capture(out, sizeof(out), "x");
	assert_non_null(strstr(out, "Z unit: text=x\n"));
	log_init("unit", LOG_LEVEL_INFO, true);
	capture(out, sizeof(out), "\"\\\n");
	assert_int_equal(out[0], '{');
	assert_non_null(strstr(out, "\"message\":\"text=\\\"\\\\\\u000a\"}\n"));
	/* Long ones are cut and still end rightly. */
	memset(text, '"', sizeof(text) - 1);
	capture(out, sizeof(out), text);
	assert_non_null(strstr(out, "\"}\n"));
	assert_int_equal(strcspn(out, "\n"), strlen(out) - 1);
	assert_false(log_enabled(LOG_LEVEL_DEBUG));
	assert_true(log_enabled(LOG_LEVEL_INFO));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_parse), cmocka_unit_test(test_quote),
		cmocka_unit_test(test_quote_is_cut), cmocka_unit_test(test_lines)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
