/* Records of the journal as bytes: every form comes back, every cut and every wrong byte is an error or another valid
 * record, and keys sort as their values do. */
#include <errno.h>

#include "journal_fixture.h"

#define N_FORMS 16

/* --- the forms of each record --- */

static struct journal_file file_form(int i)
{
	struct journal_file file = i & 1 ? a_file(5) : (struct journal_file){.ino = 5, .generation = 1};

	if (i & 2) {
		file.work = i & 1 ? JOURNAL_PARKED : JOURNAL_WAITING;
		file.since_ms = -1;
		file.due_ms = INT64_MAX;
	}
	if (i & 4) {
		memset(file.reason, 'x', i & 1 ? JOURNAL_REASON_MAX - 1 : 1);
		file.attempts = UINT32_MAX;
		file.flags = UINT32_MAX;
		file.generation = UINT64_MAX;
	}
	if (i & 8) {
		file.birth_ns = INT64_MIN;
		if (i & 1) {
			file.mtime_ns = INT64_MAX;
			file.ctime_ns = INT64_MIN;
			file.block_shift = 63;
			file.size = UINT64_MAX;
		}
	}
	return file;
}

static struct journal_entry entry_form(int i)
{
	struct journal_entry entry = an_entry(9, "name", 300, "");

	if (i == 0)
		entry.type = JOURNAL_TYPE_DIR;
	if (i & 1)
		entry = an_entry(9, "name", UINT64_MAX, i & 2 ? "prefix/name" : "prefix/other");
	if ((i & 3) == 3 && i & 8)
		entry = an_entry(9, "name", 1, "name");
	if (i & 1 && i & 4) {
		memset(entry.etag, 0, sizeof(entry.etag));
		copy_text(entry.etag, sizeof(entry.etag), i & 2 ? "" : "0123456789ABCDEF0123456789abcdef-12");
		copy_text(entry.version_id, sizeof(entry.version_id), "3/L4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY");
	}
	if (i & 1 && i & 8) {
		entry.proven_ms = INT64_MIN;
		entry.proof = JOB_PROOF_READ_BACK;
	}
	return entry;
}

static void encode_form(struct buf *buf, enum store_db db, int i)
{
	static uint8_t digests[JOB_BLOCKS_MAX][JOB_SHA256_BYTES];
	struct journal_file file = file_form(i);
	struct journal_entry entry = entry_form(i);
	struct journal_counts counts = {1, UINT64_MAX, 3, 4};
	int r;

	switch ((int)db) {
	case STORE_FILE:
		r = record_encode_file(buf, &file);
		break;
	case STORE_ENTRY:
		r = record_encode_entry(buf, &entry);
		break;
	case STORE_BLOCKS:
		r = record_encode_blocks(buf, (uint32_t)i + 1, digests);
		break;
	case STORE_OBJECT:
		r = record_encode_object(buf, i & 1 ? "a/name" : "a/other", (uint64_t)i << 4 * i, "name");
		break;
	case STORE_META:
		r = i & 1 ? record_encode_counts(buf, &counts) : record_encode_schema(buf, 7);
		break;
	default:
		r = -EINVAL;
	}
	assert_int_equal(r, 0);
}

/* What is read into is all 0xee before; assert_untouched() says that it still is. */
static union {
	struct journal_file file;
	struct journal_entry entry;
	struct journal_counts counts;
	uint32_t schema;
	struct {
		uint64_t dir;
		char name[JOURNAL_NAME_MAX + 1];
	} object;
	struct {
		const void *blocks;
		uint32_t n;
	} blocks;
	uint8_t bytes[sizeof(struct journal_entry)];
} out;

static int decode_form(const void *bytes, size_t length, enum store_db db, int i)
{
	memset(&out, 0xee, sizeof(out));
	switch ((int)db) {
	case STORE_FILE:
		return record_decode_file(bytes, length, 5, &out.file);
	case STORE_ENTRY:
		return record_decode_entry(bytes, length, 9, "name", &out.entry);
	case STORE_BLOCKS:
		return record_decode_blocks(bytes, length, &out.blocks.n, &out.blocks.blocks);
	case STORE_OBJECT:
		return record_decode_object(
			bytes, length, i & 1 ? "a/name" : "a/other", &out.object.dir, out.object.name);
	case STORE_META:
		return i & 1 ? record_decode_counts(bytes, length, &out.counts)
			     : record_decode_schema(bytes, length, &out.schema);
	default:
		return -EINVAL;
	}
}

static void assert_untouched(void)
{
	for (size_t i = 0; i < sizeof(out); i++)
		assert_int_equal(out.bytes[i], 0xee);
}

static void assert_form(enum store_db db, int i)
{
	struct journal_file file = file_form(i);
	struct journal_entry entry = entry_form(i);

	if (db == STORE_FILE)
		assert_memory_equal(&out.file, &file, sizeof(file));
	if (db == STORE_ENTRY)
		assert_memory_equal(&out.entry, &entry, sizeof(entry));
	if (db == STORE_BLOCKS)
		assert_int_equal(out.blocks.n, i + 1);
	if (db == STORE_OBJECT) {
		assert_int_equal(out.object.dir, (uint64_t)i << 4 * i);
		assert_string_equal(out.object.name, "name");
	}
	if (db == STORE_META && i & 1)
		assert_int_equal(out.counts.proven, UINT64_MAX);
	if (db == STORE_META && !(i & 1))
		assert_int_equal(out.schema, 7);
}

static const enum store_db dbs[] = {STORE_FILE, STORE_ENTRY, STORE_BLOCKS, STORE_OBJECT, STORE_META};

/* In memory of exactly that length, so that a sanitizer sees a read beyond it. */
static int decode_exactly(const char *bytes, size_t length, enum store_db db, int i)
{
	char *copy = malloc(length ? length : 1);

	if (!copy)
		return -ENOMEM;
	memcpy(copy, bytes, length);
	int r = decode_form(copy, length, db, i);

	free(copy);
	return r;
}

static void every_form_comes_back_and_no_cut_does(void **state)
{
	(void)state;
	_cleanup_buf_ struct buf buf = {0};

	for (size_t d = 0; d < ARRAY_SIZE(dbs); d++) {
		for (int i = 0; i < N_FORMS; i++) {
			encode_form(&buf, dbs[d], i);
			assert_int_equal(decode_exactly(buf.data, buf.length, dbs[d], i), 0);
			assert_form(dbs[d], i);
			for (size_t length = 0; length < buf.length; length++) {
				assert_int_equal(decode_exactly(buf.data, length, dbs[d], i), -EIO);
				assert_untouched();
			}
			assert_int_equal(buf_put_u8(&buf, 0), 0);
			assert_int_equal(decode_exactly(buf.data, buf.length, dbs[d], i), -EIO);
			assert_untouched();
		}
	}
}

static void a_newer_record_is_told_from_a_bad_one(void **state)
{
	(void)state;
	_cleanup_buf_ struct buf buf = {0};

	for (size_t d = 0; d < ARRAY_SIZE(dbs); d++) {
		encode_form(&buf, dbs[d], 1);
		buf.data[0] = RECORD_VERSION + 1;
		assert_int_equal(decode_exactly(buf.data, buf.length, dbs[d], 1), -EPROTO);
		assert_untouched();
		buf.data[0] = 0;
		assert_int_equal(decode_exactly(buf.data, buf.length, dbs[d], 1), -EIO);
		assert_untouched();
	}
}

static void wrong_bytes_never_crash(void **state)
{
	(void)state;
	_cleanup_buf_ struct buf buf = {0};

	for (size_t d = 0; d < ARRAY_SIZE(dbs); d++) {
		for (int i = 0; i < N_FORMS; i++) {
			encode_form(&buf, dbs[d], i);
			for (size_t at = 0; at < buf.length && at < 400; at++) {
				char saved = buf.data[at];

				for (int value = 0; value < 256; value += at < 40 ? 1 : 51) {
					buf.data[at] = (char)value;
					int r = decode_exactly(buf.data, buf.length, dbs[d], i);

					assert_true(r == 0 || r == -EIO || (r == -EPROTO && at == 0));
				}
				buf.data[at] = saved;
			}
		}
	}
}

static void bad_fields_are_refused(void **state)
{
	(void)state;
	static const struct {
		enum store_db db;
		int form;
		const char *bytes;
		size_t length;
	} cases[] = {
		{STORE_FILE, 0, "\x01\x03\x01\x00\x00", 5},                 /* unknown work */
		{STORE_FILE, 0, "\x01\x40\x01\x00\x00", 5},                 /* unknown bit */
		{STORE_FILE, 0, "\x01\x00\x01\x80\x80\x80\x80\x10\x00", 9}, /* flags beyond 32 bits */
		{STORE_FILE, 0, "\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02\x00\x00", 14}, /* beyond 64 */
		{STORE_FILE, 0, "\x01\x08\x01\x00\x00\x02x\x00", 8},                             /* NUL in a text */
		{STORE_FILE, 0, "\x01\x08\x01\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 15}, /* length */
		{STORE_ENTRY, 0, "\x01\x00\x01", 3},                                                 /* no type */
		{STORE_ENTRY, 0, "\x01\x03\x01", 3},                      /* unknown type */
		{STORE_ENTRY, 0, "\x01\x05\x01\x01k\x01\x04\x00\x00", 9}, /* unknown proof */
		{STORE_ENTRY, 0, "\x01\x05\x01\x00\x01\x01\x00\x00", 8},  /* an object without a key */
		{STORE_BLOCKS, 0, "\x01\x00\x00\x00\x00", 5},             /* no block */
		{STORE_BLOCKS, 0, "\x01\x00\x00\x08\x01", 5},             /* too many */
		{STORE_OBJECT, 0, "\x01\x00\x01\x00", 4},                 /* no name */
		{STORE_OBJECT, 0, "\x01\x00\x01\x08", 4},                 /* longer than the key */
		{STORE_OBJECT, 0, "\x01\x01\x01\x02/a", 6},               /* no name of a file */
		{STORE_OBJECT, 0, "\x01\x02\x01\x01n", 5},                /* unknown bit */
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(decode_exactly(cases[i].bytes, cases[i].length, cases[i].db, cases[i].form), -EIO);
	assert_int_equal(decode_exactly("\x01\x05\x01\x01k\x01\x03\x00\x00", 9, STORE_ENTRY, 0), 0);
}

/* --- keys --- */

static int compare(const struct record_key *a, const struct record_key *b)
{
	size_t length = a->length < b->length ? a->length : b->length;
	int order = memcmp(a->bytes, b->bytes, length);

	return order ? order : (a->length > b->length) - (a->length < b->length);
}

static void keys_sort_as_their_values(void **state)
{
	(void)state;
	static const int64_t times[] = {INT64_MIN, INT64_MIN + 1, -256, -2, -1, 0, 1, 255, 256, INT64_MAX};
	struct record_key last = {0}, key;
	int64_t ms;
	uint64_t ino;

	for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
		record_key_time(&key, times[i], 0);
		assert_true(compare(&last, &key) < 0);
		record_key_time(&last, times[i], UINT64_MAX);
		assert_true(compare(&key, &last) < 0);
		assert_int_equal(record_parse_time(last.bytes, last.length, &ms, &ino), 0);
		assert_true(ms == times[i] && ino == UINT64_MAX);
	}
}

static void keys_come_back_and_no_cut_of_their_head_does(void **state)
{
	(void)state;
	char name[JOURNAL_NAME_MAX + 2] = "", read[JOURNAL_NAME_MAX + 1] = "";
	struct record_key entry, inode;
	uint64_t ino, dir;
	int64_t ms;

	memset(name, '\xff', JOURNAL_NAME_MAX);
	record_key_entry(&entry, 77, name);
	record_key_name(&inode, 78, 79, name);
	assert_int_equal(record_parse_entry(entry.bytes, entry.length, &dir, read), 0);
	assert_string_equal(read, name);
	assert_int_equal(dir, 77);
	assert_int_equal(record_parse_name(inode.bytes, inode.length, &ino, &dir, read), 0);
	assert_string_equal(read, name);
	assert_true(ino == 78 && dir == 79);
	for (size_t length = 0; length <= 8; length++)
		assert_int_equal(record_parse_entry(entry.bytes, length, &dir, read), -EIO);
	for (size_t length = 0; length <= 16; length++)
		assert_int_equal(record_parse_name(inode.bytes, length, &ino, &dir, read), -EIO);
	for (size_t length = 0; length < 20; length++) {
		assert_int_equal(record_parse_ino(inode.bytes, length, &ino), length == 8 ? 0 : -EIO);
		assert_int_equal(record_parse_time(inode.bytes, length, &ms, &ino), length == 16 ? 0 : -EIO);
	}
	entry.bytes[entry.length++] = 'n';
	assert_int_equal(record_parse_entry(entry.bytes, entry.length, &dir, read), -EIO);
	entry.bytes[10] = '/';
	assert_int_equal(record_parse_entry(entry.bytes, 20, &dir, read), -EIO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_form_comes_back_and_no_cut_does),
		cmocka_unit_test(a_newer_record_is_told_from_a_bad_one),
		cmocka_unit_test(wrong_bytes_never_crash),
		cmocka_unit_test(bad_fields_are_refused),
		cmocka_unit_test(keys_sort_as_their_values),
		cmocka_unit_test(keys_come_back_and_no_cut_of_their_head_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
