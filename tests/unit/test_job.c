/* The job protocol: what is encoded is decoded again, and nothing but that is. */
#include "tests/unit/unit.h"

#include <string.h>

#include "uploader/wire/job.h"

/* Decodes as whatever it says it is; 0 or -errno. */
static int decode(const void *bytes, size_t length)
{
	_cleanup_job_result_ struct job_result result = {0};
	struct job_hello hello;
	struct job_request request;
	uint64_t id;
	int type = job_decode_type(bytes, length);

	switch (type) {
	case JOB_HELLO:
		return job_decode_hello(bytes, length, &hello);
	case JOB_REQUEST:
		return job_decode_request(bytes, length, &request);
	case JOB_RESULT:
		return job_decode_result(bytes, length, &result);
	case JOB_CANCEL:
		return job_decode_cancel(bytes, length, &id);
	default:
		return type;
	}
}

/* Every shorter message is refused, and so is one with a byte more; the copy has its exact size, for the sanitizer. */
static void check_lengths(const struct buf *buf)
{
	for (size_t length = 0; length <= buf->length; length++) {
		char *copy = malloc(length ? length : 1);

		assert_non_null(copy);
		memcpy(copy, buf->data, length);
		assert_int_equal(decode(copy, length), length == buf->length ? 0 : -EBADMSG);
		free(copy);
	}
	char *longer = calloc(1, buf->length + 1);

	assert_non_null(longer);
	memcpy(longer, buf->data, buf->length);
	assert_int_equal(decode(longer, buf->length + 1), -EBADMSG);
	free(longer);
}

/* No single byte, whatever its value, makes a decoder read out of bounds; the sanitizers watch. */
static void check_damage(const struct buf *buf)
{
	for (size_t at = 0; at < buf->length && at < 400; at++) {
		for (int bit = 0; bit < 8; bit++) {
			buf->data[at] ^= (char)(1 << bit);
			(void)!decode(buf->data, buf->length);
			buf->data[at] ^= (char)(1 << bit);
		}
	}
	assert_int_equal(decode(buf->data, buf->length), 0);
}

/* Encodes to the same bytes: padding inside the struct does not count. */
static void check_same(const struct buf *buf, const struct job_request *back)
{
	_cleanup_buf_ struct buf again = {0};

	assert_int_equal(job_encode_request(&again, back), 0);
	assert_int_equal(again.length, buf->length);
	assert_memory_equal(again.data, buf->data, buf->length);
}

static struct job_request sample_request(void)
{
	return (struct job_request){.id = 0x1122334455667788ULL,
		.kind = JOB_KIND_COPY,
		.flags = JOB_CHECK_FIRST,
		.size = 5ULL << 30,
		.mtime_ns = -1,
		.generation = 9,
		.has_known = true,
		.known_sha256 = {1, 2, 3},
		.known_md5 = {4, 5},
		.key = "a/ü",
		.source = "b",
		.source_version = "v"};
}

static void test_hello(void **state)
{
	(void)state;
	_cleanup_buf_ struct buf buf = {0};
	struct job_hello hello = {.capacity = 256}, back = {.capacity = 7};

	assert_int_equal(job_encode_hello(&buf, &hello), 0);
	assert_int_equal(job_decode_hello(buf.data, buf.length, &back), 0);
	assert_int_equal(back.capacity, 256);
	check_lengths(&buf);
	check_damage(&buf);
	for (uint32_t capacity = 0; capacity <= 257; capacity += 257) {
		hello.capacity = capacity;
		if (job_encode_hello(&buf, &hello) == 0)
			assert_int_equal(job_decode_hello(buf.data, buf.length, &back), -EBADMSG);
	}
	assert_int_equal(back.capacity, 256);
}

static void test_request(void **state)
{
	(void)state;
	_cleanup_buf_ struct buf buf = {0};
	struct job_request request = sample_request(), back = {0};

	assert_int_equal(job_encode_request(&buf, &request), 0);
	assert_int_equal(job_decode_request(buf.data, buf.length, &back), 0);
	check_same(&buf, &back);
	check_lengths(&buf);
	check_damage(&buf);
}

static void test_request_longest(void **state)
{
	(void)state;
	_cleanup_buf_ struct buf buf = {0};
	struct job_request request = sample_request(), back = {0};

	memset(request.key, 'k', JOB_KEY_MAX);
	memset(request.source, 's', JOB_KEY_MAX);
	memset(request.source_version, 'v', JOB_VERSION_ID_MAX);
	assert_int_equal(job_encode_request(&buf, &request), 0);
	assert_true(buf.length <= JOB_MESSAGE_MAX);
	assert_int_equal(job_decode_request(buf.data, buf.length, &back), 0);
	check_same(&buf, &back);
}

/* Where the enumerations stand: behind the head of 16 bytes. */
#define AT_KIND 16
#define AT_OUTCOME 16
#define AT_PROOF 17
#define AT_WAY 18

static void test_request_refused(void **state)
{
	static const char kinds[] = {0, JOB_KIND_PUT /* with a source */, 3, -1};
	struct job_request request = sample_request(), back = {.id = 7};
	_cleanup_buf_ struct buf buf = {0};

	(void)state;
	assert_int_equal(job_encode_request(&buf, &request), 0);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		buf.data[AT_KIND] = kinds[i];
		assert_int_equal(job_decode_request(buf.data, buf.length, &back), -EBADMSG);
	}
	buf.data[AT_KIND] = JOB_KIND_COPY;
	assert_int_equal(decode(buf.data, buf.length), 0);
	/* A copy from nowhere, and a key of nothing. */
	request.source[0] = '\0';
	if (job_encode_request(&buf, &request) == 0)
		assert_int_equal(job_decode_request(buf.data, buf.length, &back), -EBADMSG);
	request = sample_request();
	request.key[0] = '\0';
	if (job_encode_request(&buf, &request) == 0)
		assert_int_equal(job_decode_request(buf.data, buf.length, &back), -EBADMSG);
	assert_int_equal(back.id, 7);
}

static void test_result(void **state)
{
	(void)state;
	uint8_t blocks[3][JOB_SHA256_BYTES] = {{1}, {2}, {3}};
	struct job_result result = {.id = 5,
		.outcome = JOB_DONE,
		.proof = JOB_PROOF_MD5_ETAG,
		.way = JOB_WAY_COPIED,
		.size = 3 << 20,
		.duration_ms = 12,
		.http_status = 200,
		.sha256 = {9},
		.md5 = {8},
		.etag = "e",
		.version_id = "v",
		.text = "t",
		.block_shift = 20,
		.n_blocks = 3,
		.blocks = blocks};
	_cleanup_job_result_ struct job_result back = {0};
	_cleanup_buf_ struct buf buf = {0};

	assert_int_equal(job_encode_result(&buf, &result), 0);
	assert_int_equal(job_decode_result(buf.data, buf.length, &back), 0);
	assert_int_equal(back.n_blocks, 3);
	assert_memory_equal(back.blocks, blocks, sizeof(blocks));
	assert_string_equal(back.etag, "e");
	assert_string_equal(back.version_id, "v");
	assert_string_equal(back.text, "t");
	assert_int_equal(back.proof, JOB_PROOF_MD5_ETAG);
	assert_int_equal(back.way, JOB_WAY_COPIED);
	assert_int_equal(back.size, 3 << 20);
	assert_int_equal(back.http_status, 200);
	check_lengths(&buf);
	check_damage(&buf);
}

static void test_result_largest(void **state)
{
	(void)state;
	static uint8_t blocks[JOB_BLOCKS_MAX][JOB_SHA256_BYTES];
	struct job_result result = {.id = 5,
		.outcome = JOB_DONE,
		.proof = JOB_PROOF_SHA256,
		.way = JOB_WAY_PUT,
		.n_blocks = JOB_BLOCKS_MAX,
		.blocks = blocks,
		.block_shift = 22};
	_cleanup_job_result_ struct job_result back = {0};
	_cleanup_buf_ struct buf buf = {0};

	memset(result.version_id, 'v', JOB_VERSION_ID_MAX);
	memset(result.text, 't', JOB_TEXT_MAX - 1);
	memset(result.etag, 'e', JOB_ETAG_MAX - 1);
	assert_int_equal(job_encode_result(&buf, &result), 0);
	assert_true(buf.length <= JOB_MESSAGE_MAX);
	assert_int_equal(job_decode_result(buf.data, buf.length, &back), 0);
	assert_int_equal(back.n_blocks, JOB_BLOCKS_MAX);
}

/* Done without a proof, or a proof without being done: neither exists. */
static void test_result_refused(void **state)
{
	static const struct {
		size_t at;
		char value;
	} cases[] = {{AT_OUTCOME, 0}, {AT_OUTCOME, 5}, {AT_OUTCOME, JOB_RETRY}, {AT_PROOF, JOB_PROOF_NONE},
		{AT_PROOF, 4}, {AT_WAY, 4}, {AT_WAY, -1}};
	const struct job_result result = {.outcome = JOB_DONE, .proof = JOB_PROOF_SHA256, .way = JOB_WAY_PUT};
	_cleanup_buf_ struct buf buf = {0};
	struct job_result back = {.id = 7};

	(void)state;
	assert_int_equal(job_encode_result(&buf, &result), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char was = buf.data[cases[i].at];

		buf.data[cases[i].at] = cases[i].value;
		assert_int_equal(job_decode_result(buf.data, buf.length, &back), -EBADMSG);
		buf.data[cases[i].at] = was;
		assert_int_equal(decode(buf.data, buf.length), 0);
	}
	assert_int_equal(back.id, 7);
}

static void test_cancel(void **state)
{
	(void)state;
	_cleanup_buf_ struct buf buf = {0};
	uint64_t id = 0;

	assert_int_equal(job_encode_cancel(&buf, UINT64_MAX), 0);
	assert_int_equal(job_decode_cancel(buf.data, buf.length, &id), 0);
	assert_true(id == UINT64_MAX);
	check_lengths(&buf);
	check_damage(&buf);
}

static void test_head(void **state)
{
	(void)state;
	_cleanup_buf_ struct buf buf = {0};
	struct job_hello hello = {.capacity = 1};

	assert_int_equal(job_encode_hello(&buf, &hello), 0);
	assert_int_equal(job_decode_type(buf.data, buf.length), JOB_HELLO);
	buf.data[5]++;
	assert_int_equal(job_decode_type(buf.data, buf.length), -EPROTO);
	buf.data[5]--;
	buf.data[7] = 9;
	assert_int_equal(job_decode_type(buf.data, buf.length), -EBADMSG);
	buf.data[7] = 0;
	assert_int_equal(job_decode_type(buf.data, buf.length), -EBADMSG);
	buf.data[0]++;
	assert_int_equal(job_decode_type(buf.data, buf.length), -EBADMSG);
	assert_int_equal(job_decode_type("", 0), -EBADMSG);
}

static void test_block_shift(void **state)
{
	(void)state;
	static const struct {
		uint64_t bytes;
		uint8_t shift;
	} cases[] = {{0, 20}, {1, 20}, {1 << 20, 20}, {2048ULL << 20, 20}, {(2048ULL << 20) + 1, 21},
		{5ULL << 30, 22}, {5ULL << 40, 32}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(job_block_shift(cases[i].bytes), cases[i].shift);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_hello), cmocka_unit_test(test_request),
		cmocka_unit_test(test_request_longest), cmocka_unit_test(test_request_refused),
		cmocka_unit_test(test_result), cmocka_unit_test(test_result_largest),
		cmocka_unit_test(test_result_refused), cmocka_unit_test(test_cancel), cmocka_unit_test(test_head),
		cmocka_unit_test(test_block_shift)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
