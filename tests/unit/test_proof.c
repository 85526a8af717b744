/* What counts as a proof, and what a failure is called. */
#include "tests/unit/unit.h"

#include <string.h>

#include "uploader/worker/outcome.h"
#include "uploader/worker/proof.h"

static const uint8_t sha256[JOB_SHA256_BYTES] = {1, 2, 3};
static const uint8_t md5[JOB_MD5_BYTES] = {0xab, 0xcd};

#define MD5_HEX "abcd0000000000000000000000000000"

static void test_proof(void **state)
{
	(void)state;
	static const struct {
		struct s3_response response;
		enum proof_verdict verdict;
		enum job_proof proof;
	} cases[] = {
		{{.etag = ""}, PROOF_SILENT, JOB_PROOF_NONE},
		{{.has_sha256 = true, .sha256 = {1, 2, 3}}, PROOF_EQUAL, JOB_PROOF_SHA256},
		{{.has_sha256 = true, .sha256 = {1, 2, 4}}, PROOF_CONTRADICTION, JOB_PROOF_NONE},
		/* SSE-KMS: the ETag is no MD5, the SHA-256 decides. */
		{{.has_sha256 = true, .sha256 = {1, 2, 3}, .etag = "00000000000000000000000000000000"}, PROOF_EQUAL,
			JOB_PROOF_SHA256},
		{{.has_sha256 = true, .sha256 = {9}, .etag = MD5_HEX}, PROOF_CONTRADICTION, JOB_PROOF_NONE},
		{{.etag = MD5_HEX}, PROOF_EQUAL, JOB_PROOF_MD5_ETAG},
		{{.etag = "ABCD0000000000000000000000000000"}, PROOF_EQUAL, JOB_PROOF_MD5_ETAG},
		{{.etag = "abcd0000000000000000000000000001"}, PROOF_CONTRADICTION, JOB_PROOF_NONE},
		{{.etag = MD5_HEX "-3"}, PROOF_SILENT, JOB_PROOF_NONE},
		{{.etag = "\"" MD5_HEX "\""}, PROOF_SILENT, JOB_PROOF_NONE},
		{{.etag = "abcd"}, PROOF_SILENT, JOB_PROOF_NONE},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		enum job_proof proof = JOB_PROOF_READ_BACK;

		assert_int_equal(proof_judge(&cases[i].response, sha256, md5, &proof), cases[i].verdict);
		assert_int_equal(proof, cases[i].proof);
	}
}

static void test_outcomes(void **state)
{
	(void)state;
	static const struct {
		struct s3_error error;
		enum job_outcome outcome;
		bool down;
		const char *says;
	} cases[] = {
		{{.class = S3_TRANSIENT, .status = 503, .endpoint_down = true}, JOB_RETRY, true, "(PUT: 503)"},
		{{.class = S3_THROTTLED, .status = 503, .code = "SlowDown"}, JOB_RETRY, false, "fewer requests"},
		{{.class = S3_TRANSIENT, .fault = HTTP_FAULT_CONNECT, .endpoint_down = true}, JOB_RETRY, true,
			"refuses the"},
		{{.class = S3_TRANSIENT, .fault = HTTP_FAULT_RESOLVE, .endpoint_down = true}, JOB_RETRY, true,
			"no address"},
		{{.class = S3_REFUSED, .fault = HTTP_FAULT_CERTIFICATE}, JOB_PARKED, false, "AWS_CA_BUNDLE"},
		{{.class = S3_REFUSED, .status = 403, .code = "AccessDenied"}, JOB_PARKED, false, "s3:PutObject"},
		{{.class = S3_REFUSED, .status = 403, .code = "SignatureDoesNotMatch"}, JOB_PARKED, false,
			"AWS_SECRET_ACCESS_KEY"},
		{{.class = S3_REFUSED, .status = 403, .code = "InvalidAccessKeyId"}, JOB_PARKED, false,
			"AWS_ACCESS_KEY_ID"},
		{{.class = S3_REFUSED, .status = 404, .code = "NoSuchBucket"}, JOB_PARKED, false,
			"bucket bkt does not exist"},
		{{.class = S3_REFUSED, .status = 400, .code = "EntityTooLarge"}, JOB_PARKED, false, "larger"},
		{{.class = S3_REFUSED, .status = 418}, JOB_PARKED, false, "(PUT: 418)"},
		{{.class = S3_NOT_FOUND, .status = 404}, JOB_PARKED, false, "EBBFS_TARGET"},
		{{.class = S3_SKEWED, .status = 403, .code = "RequestTimeTooSkewed"}, JOB_PARKED, false, "clock"},
		{{.class = S3_NO_CREDENTIALS}, JOB_PARKED, false, "AWS_SHARED_CREDENTIALS_FILE"},
		{{.class = S3_STOPPED}, JOB_CHANGED, false, "changed"},
		/* What is no word does not come through. */
		{{.class = S3_REFUSED, .status = 400, .code = "Bad\nThing", .request_id = "R1 x"}, JOB_PARKED, false,
			"(PUT: 400 Bad, request R1)"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct job_result result = {0};

		outcome_of_error(&result, &cases[i].error, "PUT", "bkt");
		assert_int_equal(result.outcome, cases[i].outcome);
		assert_int_equal(result.endpoint_down, cases[i].down);
		assert_int_equal(result.http_status, cases[i].error.status);
		if (!strstr(result.text, cases[i].says))
			fail_msg("\"%s\" does not say \"%s\"", result.text, cases[i].says);
		assert_null(strstr(result.text, "%s"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_proof), cmocka_unit_test(test_outcomes)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
