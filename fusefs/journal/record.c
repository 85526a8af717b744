#include "fusefs/journal/record.h"

#include <errno.h>
#include <string.h>

#include "uploader/base/units.h"

/* Second byte of a file's value. */
#define FILE_WORK 0x03
#define FILE_PROVEN 0x04
#define FILE_REASON 0x08
#define FILE_BIRTH 0x10
#define FILE_TIMES 0x20 /* since_ms, due_ms */
#define FILE_BITS 0x3f

/* Second byte of an entry's value. */
#define ENTRY_TYPE 0x03
#define ENTRY_OBJECT 0x04
#define ENTRY_KEY_ENDS_WITH_NAME 0x08 /* as keys mostly do: only what is before the name is stored */
#define ENTRY_ETAG_HEX 0x10           /* 32 lower-case hexadecimal digits, as 16 bytes */
#define ENTRY_VERSION_ID 0x20
#define ENTRY_BITS 0x3f

#define ETAG_HEX_BYTES 16
#define OBJECT_NAME 0x01 /* second byte of an object index value: the name is there */

_Static_assert(JOURNAL_NAME_MAX <= UINT8_MAX, "a name's length is one byte");

/* --- parts --- */

static void put_varint(struct buf *buf, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		buf_put_u8(buf, (uint8_t)(value | 0x80));
	buf_put_u8(buf, (uint8_t)value);
}

static uint64_t get_varint(struct buf_reader *reader)
{
	uint64_t value = 0;

	for (unsigned int shift = 0; shift < 64; shift += 7) {
		uint8_t byte = buf_get_u8(reader);

		if (shift == 63 && byte > 1)
			break;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return value;
	}
	reader->error = -EBADMSG;
	return 0;
}

/* Small of either sign stays short. */
static void put_signed(struct buf *buf, int64_t value)
{
	put_varint(buf, ((uint64_t)value << 1) ^ (value < 0 ? UINT64_MAX : 0));
}

static int64_t get_signed(struct buf_reader *reader)
{
	uint64_t value = get_varint(reader);

	return (int64_t)((value >> 1) ^ (value & 1 ? UINT64_MAX : 0));
}

static uint32_t get_u32_varint(struct buf_reader *reader)
{
	uint64_t value = get_varint(reader);

	if (value > UINT32_MAX)
		reader->error = -EBADMSG;
	return (uint32_t)value;
}

static void put_text(struct buf *buf, const char *text, size_t length)
{
	put_varint(buf, length);
	buf_put(buf, text, length);
}

/* A text and a tail that is known otherwise, within size bytes with the closing NUL. */
static void get_text(struct buf_reader *reader, const char *tail, char *out, size_t size)
{
	uint64_t length = get_varint(reader);
	size_t tail_length = strlen(tail);

	if (reader->error || length + tail_length >= size || length > size) {
		reader->error = -EBADMSG;
		return;
	}
	const void *bytes = buf_get(reader, length);

	if (!bytes || memchr(bytes, '\0', length)) {
		reader->error = -EBADMSG;
		return;
	}
	memcpy(out, bytes, length);
	memcpy(out + length, tail, tail_length + 1);
}

static void get_bytes(struct buf_reader *reader, void *out, size_t length)
{
	const void *bytes = buf_get(reader, length);

	if (bytes)
		memcpy(out, bytes, length);
}

/* Begins reading a value: 0, or what its version byte says. */
static int begin(struct buf_reader *reader, const void *bytes, size_t length)
{
	buf_reader_init(reader, bytes, length);
	uint8_t version = buf_get_u8(reader);

	if (reader->error || version == 0)
		return -EIO;
	return version > RECORD_VERSION ? -EPROTO : 0;
}

static int end(const struct buf_reader *reader)
{
	return buf_reader_finish(reader) < 0 ? -EIO : 0;
}

static void begin_value(struct buf *buf)
{
	buf_reset(buf);
	buf_put_u8(buf, RECORD_VERSION);
}

#define IS_TEXT(array) (memchr((array), '\0', sizeof(array)) != NULL)

/* --- file --- */

static void put_proven(struct buf *buf, const struct journal_file *file)
{
	put_varint(buf, file->proven_generation);
	put_varint(buf, file->size);
	/* Mostly within seconds of each other; wraps where they are not. */
	put_signed(buf, (int64_t)((uint64_t)file->mtime_ns - (uint64_t)file->birth_ns));
	put_signed(buf, (int64_t)((uint64_t)file->ctime_ns - (uint64_t)file->mtime_ns));
	buf_put(buf, file->sha256, sizeof(file->sha256));
	buf_put(buf, file->md5, sizeof(file->md5));
	buf_put_u8(buf, file->block_shift);
}

static void get_proven(struct buf_reader *reader, struct journal_file *file)
{
	file->proven_generation = get_varint(reader);
	file->size = get_varint(reader);
	file->mtime_ns = (int64_t)((uint64_t)file->birth_ns + (uint64_t)get_signed(reader));
	file->ctime_ns = (int64_t)((uint64_t)file->mtime_ns + (uint64_t)get_signed(reader));
	get_bytes(reader, file->sha256, sizeof(file->sha256));
	get_bytes(reader, file->md5, sizeof(file->md5));
	file->block_shift = buf_get_u8(reader);
	if (file->proven_generation == 0)
		reader->error = -EBADMSG;
}

int record_encode_file(struct buf *buf, const struct journal_file *file)
{
	if (file->work > JOURNAL_PARKED || !IS_TEXT(file->reason))
		return -EINVAL;
	uint8_t bits = (uint8_t)((unsigned int)file->work | (file->proven_generation ? FILE_PROVEN : 0) |
				 (file->reason[0] ? FILE_REASON : 0) | (file->birth_ns ? FILE_BIRTH : 0) |
				 (file->since_ms || file->due_ms ? FILE_TIMES : 0));

	begin_value(buf);
	buf_put_u8(buf, bits);
	put_varint(buf, file->generation);
	put_varint(buf, file->flags);
	put_varint(buf, file->attempts);
	if (bits & FILE_BIRTH)
		buf_put_u64(buf, (uint64_t)file->birth_ns);
	if (bits & FILE_TIMES) {
		put_signed(buf, file->since_ms);
		put_signed(buf, file->due_ms);
	}
	if (bits & FILE_REASON)
		put_text(buf, file->reason, strlen(file->reason));
	if (bits & FILE_PROVEN)
		put_proven(buf, file);
	return buf->error;
}

int record_decode_file(const void *bytes, size_t length, uint64_t ino, struct journal_file *ret)
{
	struct journal_file file = {.ino = ino};
	struct buf_reader reader;
	int r = begin(&reader, bytes, length);

	if (r < 0)
		return r;
	uint8_t bits = buf_get_u8(&reader);

	if (bits & ~FILE_BITS || (bits & FILE_WORK) > JOURNAL_PARKED)
		return -EIO;
	file.work = (enum journal_work)(bits & FILE_WORK);
	file.generation = get_varint(&reader);
	file.flags = get_u32_varint(&reader);
	file.attempts = get_u32_varint(&reader);
	if (bits & FILE_BIRTH)
		file.birth_ns = (int64_t)buf_get_u64(&reader);
	if (bits & FILE_TIMES) {
		file.since_ms = get_signed(&reader);
		file.due_ms = get_signed(&reader);
	}
	if (bits & FILE_REASON)
		get_text(&reader, "", file.reason, sizeof(file.reason));
	if (bits & FILE_PROVEN)
		get_proven(&reader, &file);
	r = end(&reader);
	if (r == 0)
		*ret = file;
	return r;
}

/* --- entry --- */

/* Length of a key without the name it ends with, or SIZE_MAX when it does not. */
static size_t length_before_name(const char *key, const char *name)
{
	size_t key_length = strlen(key), name_length = strlen(name);

	if (key_length < name_length || strcmp(key + key_length - name_length, name) != 0)
		return SIZE_MAX;
	return key_length - name_length;
}

static bool is_hex_etag(const char *etag)
{
	return strlen(etag) == 2 * (size_t)ETAG_HEX_BYTES &&
	       strspn(etag, "0123456789abcdef") == 2 * (size_t)ETAG_HEX_BYTES;
}

static void put_object(struct buf *buf, uint8_t bits, const struct journal_entry *entry)
{
	uint8_t etag[ETAG_HEX_BYTES];

	put_text(buf, entry->key,
		bits & ENTRY_KEY_ENDS_WITH_NAME ? length_before_name(entry->key, entry->name) : strlen(entry->key));
	put_varint(buf, entry->proven_generation);
	buf_put_u8(buf, (uint8_t)entry->proof);
	put_signed(buf, entry->proven_ms);
	if (bits & ENTRY_ETAG_HEX && hex_decode(entry->etag, etag, sizeof(etag)) == 0)
		buf_put(buf, etag, sizeof(etag));
	else
		put_text(buf, entry->etag, strlen(entry->etag));
	if (bits & ENTRY_VERSION_ID)
		put_text(buf, entry->version_id, strlen(entry->version_id));
}

static void get_object(struct buf_reader *reader, uint8_t bits, struct journal_entry *entry)
{
	get_text(reader, bits & ENTRY_KEY_ENDS_WITH_NAME ? entry->name : "", entry->key, sizeof(entry->key));
	entry->proven_generation = get_varint(reader);
	uint8_t proof = buf_get_u8(reader);

	if (proof <= JOB_PROOF_READ_BACK && entry->key[0])
		entry->proof = (enum job_proof)proof;
	else
		reader->error = -EBADMSG;
	entry->proven_ms = get_signed(reader);
	if (bits & ENTRY_ETAG_HEX) {
		uint8_t etag[ETAG_HEX_BYTES] = {0};

		get_bytes(reader, etag, sizeof(etag));
		hex_encode(etag, sizeof(etag), entry->etag);
	} else {
		get_text(reader, "", entry->etag, sizeof(entry->etag));
	}
	if (bits & ENTRY_VERSION_ID)
		get_text(reader, "", entry->version_id, sizeof(entry->version_id));
}

static bool is_storable(const struct journal_entry *entry)
{
	return IS_TEXT(entry->name) && record_is_name(entry->name, strlen(entry->name)) && IS_TEXT(entry->key) &&
	       IS_TEXT(entry->etag) && IS_TEXT(entry->version_id) && entry->proof <= JOB_PROOF_READ_BACK &&
	       (entry->type == JOURNAL_TYPE_FILE || entry->type == JOURNAL_TYPE_DIR);
}

int record_encode_entry(struct buf *buf, const struct journal_entry *entry)
{
	if (!is_storable(entry))
		return -EINVAL;
	uint8_t bits = (uint8_t)entry->type;

	if (entry->key[0])
		bits |= (uint8_t)(ENTRY_OBJECT |
				  (length_before_name(entry->key, entry->name) != SIZE_MAX ? ENTRY_KEY_ENDS_WITH_NAME
											   : 0) |
				  (is_hex_etag(entry->etag) ? ENTRY_ETAG_HEX : 0) |
				  (entry->version_id[0] ? ENTRY_VERSION_ID : 0));
	begin_value(buf);
	buf_put_u8(buf, bits);
	put_varint(buf, entry->ino);
	if (bits & ENTRY_OBJECT)
		put_object(buf, bits, entry);
	return buf->error;
}

int record_decode_entry(const void *bytes, size_t length, uint64_t dir, const char *name, struct journal_entry *ret)
{
	struct journal_entry entry = {.dir = dir};
	struct buf_reader reader;
	int r = begin(&reader, bytes, length);

	if (r < 0)
		return r;
	uint8_t bits = buf_get_u8(&reader), type = bits & ENTRY_TYPE;

	if (bits & ~ENTRY_BITS || (type != JOURNAL_TYPE_FILE && type != JOURNAL_TYPE_DIR) ||
		!record_is_name(name, strnlen(name, sizeof(entry.name))))
		return -EIO;
	memcpy(entry.name, name, strlen(name) + 1);
	entry.type = (enum journal_type)type;
	entry.ino = get_varint(&reader);
	if (bits & ENTRY_OBJECT)
		get_object(&reader, bits, &entry);
	r = end(&reader);
	if (r == 0)
		*ret = entry;
	return r;
}

/* --- the others --- */

int record_encode_blocks(struct buf *buf, uint32_t n_blocks, uint8_t (*blocks)[JOB_SHA256_BYTES])
{
	if (n_blocks == 0 || n_blocks > JOB_BLOCKS_MAX)
		return -EINVAL;
	begin_value(buf);
	buf_put_u32(buf, n_blocks);
	return buf_put(buf, blocks, (size_t)n_blocks * JOB_SHA256_BYTES);
}

int record_decode_blocks(const void *bytes, size_t length, uint32_t *ret_n_blocks, const void **ret_blocks)
{
	struct buf_reader reader;
	int r = begin(&reader, bytes, length);

	if (r < 0)
		return r;
	uint32_t n_blocks = buf_get_u32(&reader);

	if (n_blocks == 0 || n_blocks > JOB_BLOCKS_MAX)
		return -EIO;
	const void *blocks = buf_get(&reader, (size_t)n_blocks * JOB_SHA256_BYTES);

	r = end(&reader);
	if (r == 0) {
		*ret_n_blocks = n_blocks;
		*ret_blocks = blocks;
	}
	return r;
}

int record_encode_object(struct buf *buf, const char *key, uint64_t dir, const char *name)
{
	bool with_name = strlen(key) > RECORD_OBJECT_HEAD_MAX || length_before_name(key, name) == SIZE_MAX;

	begin_value(buf);
	buf_put_u8(buf, with_name ? OBJECT_NAME : 0);
	put_varint(buf, dir);
	buf_put_u8(buf, (uint8_t)strlen(name));
	if (with_name)
		buf_put_text(buf, name);
	return buf->error;
}

int record_decode_object(const void *bytes, size_t length, const char *key, uint64_t *ret_dir,
	char ret_name[static JOURNAL_NAME_MAX + 1])
{
	struct buf_reader reader;
	int r = begin(&reader, bytes, length);

	if (r < 0)
		return r;
	uint8_t bits = buf_get_u8(&reader);
	uint64_t dir = get_varint(&reader);
	size_t key_length = strlen(key), name_length = buf_get_u8(&reader);
	const char *name = NULL;

	if (bits == OBJECT_NAME)
		name = buf_get(&reader, name_length);
	else if (bits == 0 && key_length <= RECORD_OBJECT_HEAD_MAX && name_length <= key_length)
		name = key + key_length - name_length;
	if (end(&reader) < 0 || !name || !record_is_name(name, name_length))
		return -EIO;
	*ret_dir = dir;
	memcpy(ret_name, name, name_length);
	ret_name[name_length] = '\0';
	return 0;
}

int record_encode_counts(struct buf *buf, const struct journal_counts *counts)
{
	begin_value(buf);
	buf_put_u64(buf, counts->files);
	buf_put_u64(buf, counts->proven);
	buf_put_u64(buf, counts->waiting);
	return buf_put_u64(buf, counts->parked);
}

int record_decode_counts(const void *bytes, size_t length, struct journal_counts *ret)
{
	struct journal_counts counts;
	struct buf_reader reader;
	int r = begin(&reader, bytes, length);

	if (r < 0)
		return r;
	counts.files = buf_get_u64(&reader);
	counts.proven = buf_get_u64(&reader);
	counts.waiting = buf_get_u64(&reader);
	counts.parked = buf_get_u64(&reader);
	r = end(&reader);
	if (r == 0)
		*ret = counts;
	return r;
}

int record_encode_schema(struct buf *buf, uint32_t schema)
{
	begin_value(buf);
	return buf_put_u32(buf, schema);
}

int record_decode_schema(const void *bytes, size_t length, uint32_t *ret)
{
	struct buf_reader reader;
	int r = begin(&reader, bytes, length);

	if (r < 0)
		return r;
	uint32_t schema = buf_get_u32(&reader);

	r = end(&reader);
	if (r == 0)
		*ret = schema;
	return r;
}
