#include "uploader/wire/job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define JOB_MAGIC 0x65626a31U /* "ebj1" */

void job_result_done(struct job_result *result)
{
	free(result->blocks);
	result->blocks = NULL;
	result->n_blocks = 0;
}

uint8_t job_block_shift(uint64_t size_bytes)
{
	uint8_t shift = JOB_BLOCK_SHIFT_MIN;

	while (size_bytes > (uint64_t)JOB_BLOCKS_MAX << shift)
		shift++;
	return shift;
}

static void begin(struct buf *buf, enum job_type type, uint64_t id)
{
	buf_reset(buf);
	buf_put_u32(buf, JOB_MAGIC);
	buf_put_u16(buf, JOB_VERSION);
	buf_put_u16(buf, (uint16_t)type);
	buf_put_u64(buf, id);
}

static int finish(struct buf *buf)
{
	if (!buf->error && buf->length > JOB_MESSAGE_MAX)
		buf->error = -E2BIG;
	return buf->error;
}

static void put_text(struct buf *buf, const char *text)
{
	buf_put_bytes16(buf, text, strlen(text));
}

int job_encode_hello(struct buf *buf, const struct job_hello *hello)
{
	begin(buf, JOB_HELLO, 0);
	buf_put_u32(buf, hello->capacity);
	return finish(buf);
}

int job_encode_request(struct buf *buf, const struct job_request *request)
{
	begin(buf, JOB_REQUEST, request->id);
	buf_put_u8(buf, (uint8_t)request->kind);
	buf_put_u32(buf, request->flags);
	buf_put_u64(buf, request->size);
	buf_put_u64(buf, (uint64_t)request->mtime_ns);
	buf_put_u64(buf, request->generation);
	buf_put_u8(buf, request->has_known);
	buf_put(buf, request->known_sha256, JOB_SHA256_BYTES);
	buf_put(buf, request->known_md5, JOB_MD5_BYTES);
	put_text(buf, request->key);
	put_text(buf, request->source);
	put_text(buf, request->source_version);
	return finish(buf);
}

int job_encode_result(struct buf *buf, const struct job_result *result)
{
	begin(buf, JOB_RESULT, result->id);
	buf_put_u8(buf, (uint8_t)result->outcome);
	buf_put_u8(buf, (uint8_t)result->proof);
	buf_put_u8(buf, (uint8_t)result->way);
	buf_put_u64(buf, result->size);
	buf_put_u32(buf, result->duration_ms);
	buf_put_u16(buf, result->http_status);
	buf_put_u8(buf, result->endpoint_down);
	buf_put(buf, result->sha256, JOB_SHA256_BYTES);
	buf_put(buf, result->md5, JOB_MD5_BYTES);
	put_text(buf, result->etag);
	put_text(buf, result->version_id);
	put_text(buf, result->text);
	buf_put_u8(buf, result->block_shift);
	buf_put_u32(buf, result->n_blocks);
	buf_put(buf, result->blocks, (size_t)result->n_blocks * JOB_SHA256_BYTES);
	return finish(buf);
}

int job_encode_cancel(struct buf *buf, uint64_t id)
{
	begin(buf, JOB_CANCEL, id);
	return finish(buf);
}

/* Reads the common head; the type, or -errno. */
static int read_head(struct buf_reader *reader, const void *bytes, size_t length, uint64_t *ret_id)
{
	buf_reader_init(reader, bytes, length);
	uint32_t magic = buf_get_u32(reader);
	uint16_t version = buf_get_u16(reader), type = buf_get_u16(reader);

	*ret_id = buf_get_u64(reader);
	if (reader->error || magic != JOB_MAGIC)
		return -EBADMSG;
	if (version != JOB_VERSION)
		return -EPROTO;
	return type >= JOB_HELLO && type <= JOB_CANCEL ? type : -EBADMSG;
}

int job_decode_type(const void *bytes, size_t length)
{
	struct buf_reader reader;
	uint64_t id;

	return read_head(&reader, bytes, length, &id);
}

static int expect_head(
	struct buf_reader *reader, const void *bytes, size_t length, enum job_type type, uint64_t *ret_id)
{
	int r = read_head(reader, bytes, length, ret_id);

	if (r < 0)
		return r;
	return r == (int)type ? 0 : -EBADMSG;
}

int job_decode_hello(const void *bytes, size_t length, struct job_hello *ret)
{
	struct job_hello hello;
	struct buf_reader reader;
	uint64_t id;
	int r = expect_head(&reader, bytes, length, JOB_HELLO, &id);

	if (r < 0)
		return r;
	hello.capacity = buf_get_u32(&reader);
	if (buf_reader_finish(&reader) < 0 || hello.capacity < 1 || hello.capacity > 256)
		return -EBADMSG;
	*ret = hello;
	return 0;
}

static void get_fixed(struct buf_reader *reader, void *out, size_t length)
{
	const void *bytes = buf_get(reader, length);

	if (bytes)
		memcpy(out, bytes, length);
}

static uint8_t get_enum(struct buf_reader *reader, uint8_t low, uint8_t high)
{
	uint8_t value = buf_get_u8(reader);

	if (value < low || value > high)
		reader->error = -EBADMSG;
	return value;
}

int job_decode_request(const void *bytes, size_t length, struct job_request *ret)
{
	struct job_request request = {0};
	struct buf_reader reader;
	int r = expect_head(&reader, bytes, length, JOB_REQUEST, &request.id);

	if (r < 0)
		return r;
	request.kind = (enum job_kind)get_enum(&reader, JOB_KIND_PUT, JOB_KIND_COPY);
	request.flags = buf_get_u32(&reader);
	request.size = buf_get_u64(&reader);
	request.mtime_ns = (int64_t)buf_get_u64(&reader);
	request.generation = buf_get_u64(&reader);
	request.has_known = get_enum(&reader, 0, 1);
	get_fixed(&reader, request.known_sha256, JOB_SHA256_BYTES);
	get_fixed(&reader, request.known_md5, JOB_MD5_BYTES);
	buf_get_text16(&reader, request.key, sizeof(request.key));
	buf_get_text16(&reader, request.source, sizeof(request.source));
	buf_get_text16(&reader, request.source_version, sizeof(request.source_version));
	if (buf_reader_finish(&reader) < 0 || !request.key[0])
		return -EBADMSG;
	if ((request.kind == JOB_KIND_COPY) != (request.source[0] != '\0'))
		return -EBADMSG;
	*ret = request;
	return 0;
}

int job_decode_result(const void *bytes, size_t length, struct job_result *ret)
{
	_cleanup_job_result_ struct job_result result = {0};
	struct buf_reader reader;
	int r = expect_head(&reader, bytes, length, JOB_RESULT, &result.id);

	if (r < 0)
		return r;
	result.outcome = (enum job_outcome)get_enum(&reader, JOB_DONE, JOB_PARKED);
	result.proof = (enum job_proof)get_enum(&reader, JOB_PROOF_NONE, JOB_PROOF_READ_BACK);
	result.way = (enum job_way)get_enum(&reader, JOB_WAY_NONE, JOB_WAY_COPIED);
	result.size = buf_get_u64(&reader);
	result.duration_ms = buf_get_u32(&reader);
	result.http_status = buf_get_u16(&reader);
	result.endpoint_down = get_enum(&reader, 0, 1);
	get_fixed(&reader, result.sha256, JOB_SHA256_BYTES);
	get_fixed(&reader, result.md5, JOB_MD5_BYTES);
	buf_get_text16(&reader, result.etag, sizeof(result.etag));
	buf_get_text16(&reader, result.version_id, sizeof(result.version_id));
	buf_get_text16(&reader, result.text, sizeof(result.text));
	result.block_shift = buf_get_u8(&reader);
	uint32_t n_blocks = buf_get_u32(&reader);
	const void *blocks =
		n_blocks <= JOB_BLOCKS_MAX ? buf_get(&reader, (size_t)n_blocks * JOB_SHA256_BYTES) : NULL;

	if (buf_reader_finish(&reader) < 0 || n_blocks > JOB_BLOCKS_MAX)
		return -EBADMSG;
	if ((result.outcome == JOB_DONE) != (result.proof != JOB_PROOF_NONE))
		return -EBADMSG;
	if (n_blocks) {
		result.blocks = malloc((size_t)n_blocks * JOB_SHA256_BYTES);
		if (!result.blocks)
			return -ENOMEM;
		memcpy(result.blocks, blocks, (size_t)n_blocks * JOB_SHA256_BYTES);
		result.n_blocks = n_blocks;
	}
	*ret = result;
	ret->blocks = TAKE_PTR(result.blocks);
	return 0;
}

int job_decode_cancel(const void *bytes, size_t length, uint64_t *ret_id)
{
	struct buf_reader reader;
	uint64_t id;
	int r = expect_head(&reader, bytes, length, JOB_CANCEL, &id);

	if (r < 0)
		return r;
	if (buf_reader_finish(&reader) < 0)
		return -EBADMSG;
	*ret_id = id;
	return 0;
}
