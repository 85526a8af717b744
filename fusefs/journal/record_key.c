#include <endian.h>
#include <errno.h>
#include <string.h>

#include "fusefs/journal/record.h"

#define TIME_SIGN (1ULL << 63)

_Static_assert(RECORD_OBJECT_HEAD_MAX + 8 + RECORD_SLOT_BYTES <= RECORD_KEY_MAX, "object keys fit");
_Static_assert(16 + JOURNAL_NAME_MAX + 1 <= RECORD_KEY_MAX, "names fit, and the key after one");

static void key_put(struct record_key *key, const void *bytes, size_t length)
{
	memcpy(key->bytes + key->length, bytes, length);
	key->length += length;
}

static void key_put_u64(struct record_key *key, uint64_t value)
{
	value = htobe64(value);
	key_put(key, &value, sizeof(value));
}

void record_key_ino(struct record_key *ret, uint64_t ino)
{
	ret->length = 0;
	key_put_u64(ret, ino);
}

void record_key_time(struct record_key *ret, int64_t ms, uint64_t ino)
{
	ret->length = 0;
	key_put_u64(ret, (uint64_t)ms ^ TIME_SIGN);
	key_put_u64(ret, ino);
}

void record_key_text(struct record_key *ret, const char *text)
{
	ret->length = 0;
	key_put(ret, text, strnlen(text, RECORD_KEY_MAX));
}

void record_key_dir(struct record_key *ret, uint64_t dir)
{
	record_key_ino(ret, dir);
}

void record_key_entry(struct record_key *ret, uint64_t dir, const char *name)
{
	record_key_dir(ret, dir);
	key_put(ret, name, strnlen(name, JOURNAL_NAME_MAX));
}

void record_key_name(struct record_key *ret, uint64_t ino, uint64_t dir, const char *name)
{
	record_key_ino(ret, ino);
	key_put_u64(ret, dir);
	key_put(ret, name, strnlen(name, JOURNAL_NAME_MAX));
}

/* FNV-1a. Not against an adversary: equal hashes share a key range, in which whole keys are compared. */
static uint64_t hash(const char *text, size_t length)
{
	uint64_t value = 0xcbf29ce484222325U;

	for (size_t i = 0; i < length; i++)
		value = (value ^ (uint8_t)text[i]) * 0x100000001b3U;
	return value;
}

void record_key_object(struct record_key *ret, const char *key)
{
	size_t length = strnlen(key, JOB_KEY_MAX);

	ret->length = 0;
	if (length <= RECORD_OBJECT_HEAD_MAX) {
		key_put(ret, key, length);
		key_put(ret, "", 1);
	} else {
		key_put(ret, key, RECORD_OBJECT_HEAD_MAX);
		key_put_u64(ret, hash(key, length));
	}
}

void record_key_slot(struct record_key *ret, const char *key, uint16_t slot)
{
	record_key_object(ret, key);
	slot = htobe16(slot);
	key_put(ret, &slot, sizeof(slot));
}

int record_parse_ino(const void *bytes, size_t length, uint64_t *ret_ino)
{
	struct buf_reader reader;

	buf_reader_init(&reader, bytes, length);
	uint64_t ino = buf_get_u64(&reader);

	if (buf_reader_finish(&reader) < 0)
		return -EIO;
	*ret_ino = ino;
	return 0;
}

int record_parse_time(const void *bytes, size_t length, int64_t *ret_ms, uint64_t *ret_ino)
{
	struct buf_reader reader;

	buf_reader_init(&reader, bytes, length);
	uint64_t ms = buf_get_u64(&reader) ^ TIME_SIGN;
	uint64_t ino = buf_get_u64(&reader);

	if (buf_reader_finish(&reader) < 0)
		return -EIO;
	*ret_ms = (int64_t)ms;
	*ret_ino = ino;
	return 0;
}

bool record_is_name(const void *name, size_t length)
{
	return length > 0 && length <= JOURNAL_NAME_MAX && !memchr(name, '\0', length) && !memchr(name, '/', length);
}

/* What is left of a key as a name. */
static int parse_name(struct buf_reader *reader, char ret_name[static JOURNAL_NAME_MAX + 1])
{
	size_t length = (size_t)(reader->end - reader->at);

	if (reader->error || !record_is_name(reader->at, length))
		return -EIO;
	memcpy(ret_name, reader->at, length);
	ret_name[length] = '\0';
	return 0;
}

int record_parse_entry(
	const void *bytes, size_t length, uint64_t *ret_dir, char ret_name[static JOURNAL_NAME_MAX + 1])
{
	struct buf_reader reader;

	buf_reader_init(&reader, bytes, length);
	uint64_t dir = buf_get_u64(&reader);
	int r = parse_name(&reader, ret_name);

	if (r == 0)
		*ret_dir = dir;
	return r;
}

int record_parse_name(const void *bytes, size_t length, uint64_t *ret_ino, uint64_t *ret_dir,
	char ret_name[static JOURNAL_NAME_MAX + 1])
{
	struct buf_reader reader;

	buf_reader_init(&reader, bytes, length);
	uint64_t ino = buf_get_u64(&reader);
	uint64_t dir = buf_get_u64(&reader);
	int r = parse_name(&reader, ret_name);

	if (r == 0) {
		*ret_ino = ino;
		*ret_dir = dir;
	}
	return r;
}
