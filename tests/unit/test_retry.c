/* Which class an answer has, and when it is tried again. */
#include "tests/unit/unit.h"

#include "uploader/s3/retry.h"

static void test_classes(void **state)
{
	(void)state;
	static const struct {
		int status;
		const char *code;
		enum http_fault fault;
		enum s3_class class;
	} cases[] = {
		{200, "", HTTP_FAULT_NONE, S3_OK},
		{204, "", HTTP_FAULT_NONE, S3_OK},
		{200, "InternalError", HTTP_FAULT_NONE, S3_TRANSIENT}, /* CopyObject's 200 */
		{200, "SlowDown", HTTP_FAULT_NONE, S3_THROTTLED},
		{200, "AccessDenied", HTTP_FAULT_NONE, S3_REFUSED},
		{200, "", HTTP_FAULT_RESET, S3_TRANSIENT}, /* cut off in its body */
		{500, "InternalError", HTTP_FAULT_NONE, S3_TRANSIENT},
		{500, "", HTTP_FAULT_NONE, S3_TRANSIENT},
		{502, "", HTTP_FAULT_NONE, S3_TRANSIENT},
		{503, "", HTTP_FAULT_NONE, S3_TRANSIENT},
		{503, "SlowDown", HTTP_FAULT_NONE, S3_THROTTLED},
		{504, "", HTTP_FAULT_NONE, S3_TRANSIENT},
		{429, "", HTTP_FAULT_NONE, S3_THROTTLED},
		{408, "", HTTP_FAULT_NONE, S3_TRANSIENT},
		{400, "RequestTimeout", HTTP_FAULT_NONE, S3_TRANSIENT},
		{409, "OperationAborted", HTTP_FAULT_NONE, S3_TRANSIENT},
		{403, "RequestTimeTooSkewed", HTTP_FAULT_NONE, S3_SKEWED},
		{403, "AccessDenied", HTTP_FAULT_NONE, S3_REFUSED},
		{403, "", HTTP_FAULT_NONE, S3_REFUSED},
		{403, "SignatureDoesNotMatch", HTTP_FAULT_NONE, S3_REFUSED},
		{400, "EntityTooLarge", HTTP_FAULT_NONE, S3_REFUSED},
		{404, "", HTTP_FAULT_NONE, S3_NOT_FOUND},
		{404, "NoSuchKey", HTTP_FAULT_NONE, S3_NOT_FOUND},
		{404, "NoSuchBucket", HTTP_FAULT_NONE, S3_REFUSED},
		{501, "NotImplemented", HTTP_FAULT_NONE, S3_REFUSED},
		{301, "PermanentRedirect", HTTP_FAULT_NONE, S3_REFUSED},
		{403, "AccessDenied", HTTP_FAULT_RESET, S3_REFUSED}, /* refused before the body was read */
		{0, "", HTTP_FAULT_RESOLVE, S3_TRANSIENT},
		{0, "", HTTP_FAULT_CONNECT, S3_TRANSIENT},
		{0, "", HTTP_FAULT_TLS, S3_TRANSIENT},
		{0, "", HTTP_FAULT_TIMEOUT, S3_TRANSIENT},
		{0, "", HTTP_FAULT_RESET, S3_TRANSIENT},
		{0, "", HTTP_FAULT_CERTIFICATE, S3_REFUSED},
		{0, "", HTTP_FAULT_CALLBACK, S3_STOPPED},
		{200, "", HTTP_FAULT_CALLBACK, S3_STOPPED},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(s3_error_class(cases[i].status, cases[i].code, cases[i].fault), cases[i].class);
}

static void test_ambiguous(void **state)
{
	(void)state;
	static const struct {
		int status;
		enum http_fault fault;
		bool ambiguous;
	} cases[] = {{0, HTTP_FAULT_TIMEOUT, true}, {0, HTTP_FAULT_RESET, true}, {200, HTTP_FAULT_RESET, true},
		{500, HTTP_FAULT_NONE, true}, {502, HTTP_FAULT_NONE, true}, {504, HTTP_FAULT_NONE, true},
		{503, HTTP_FAULT_NONE, false}, {403, HTTP_FAULT_NONE, false}, {0, HTTP_FAULT_CONNECT, false},
		{0, HTTP_FAULT_RESOLVE, false}, {0, HTTP_FAULT_TLS, false}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(s3_error_ambiguous(cases[i].status, cases[i].fault), cases[i].ambiguous);
}

static void test_tokens(void **state)
{
	(void)state;
	struct retry_bucket bucket = {.tokens = RETRY_TOKENS};

	assert_int_equal(retry_take(&bucket, S3_TRANSIENT, 1), 14);
	assert_int_equal(retry_take(&bucket, S3_THROTTLED, 2), 5);
	assert_int_equal(bucket.tokens, RETRY_TOKENS - 19);
	assert_int_equal(retry_take(&bucket, S3_TRANSIENT, RETRY_ATTEMPTS), 0);
	assert_int_equal(retry_take(&bucket, S3_REFUSED, 1), 0);
	assert_int_equal(retry_take(&bucket, S3_NOT_FOUND, 1), 0);
	assert_int_equal(retry_take(&bucket, S3_STOPPED, 1), 0);
	assert_int_equal(bucket.tokens, RETRY_TOKENS - 19);
	retry_give_back(&bucket, 14);
	retry_give_back(&bucket, 0);
	assert_int_equal(bucket.tokens, RETRY_TOKENS - 4);
	retry_give_back(&bucket, 14);
	assert_int_equal(bucket.tokens, RETRY_TOKENS);
	bucket.tokens = 13;
	assert_int_equal(retry_take(&bucket, S3_TRANSIENT, 1), 0);
	assert_int_equal(retry_take(&bucket, S3_THROTTLED, 1), 5);
	assert_int_equal(bucket.tokens, 8);
}

static void test_delays(void **state)
{
	(void)state;
	static const struct {
		enum s3_class class;
		int attempt;
		double unit;
		int64_t asked_ms, delay_ms;
	} cases[] = {
		{S3_TRANSIENT, 1, 1, -1, 50},
		{S3_TRANSIENT, 2, 1, -1, 100},
		{S3_TRANSIENT, 3, 0.5, -1, 100},
		{S3_THROTTLED, 1, 1, -1, 1000},
		{S3_THROTTLED, 2, 0.25, -1, 500},
		{S3_THROTTLED, 10, 1, -1, 20000},
		{S3_THROTTLED, 1000, 1, -1, 20000},
		{S3_TRANSIENT, 1, 0, -1, 0},
		{S3_TRANSIENT, 1, 0, 200, 200},
		{S3_TRANSIENT, 1, 1, 20, 50},
		{S3_TRANSIENT, 1, 1, 3600000, 5050},
		{S3_TRANSIENT, 1, 1, 0, 50},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(retry_delay_ms(cases[i].class, cases[i].attempt, cases[i].unit, cases[i].asked_ms),
			cases[i].delay_ms);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_classes), cmocka_unit_test(test_ambiguous),
		cmocka_unit_test(test_tokens), cmocka_unit_test(test_delays)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
