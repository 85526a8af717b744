/* Whether the store says one thing: for the probe after a crash, and for tests. */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "fusefs/journal/internal.h"

/* --- one record, alone (in the probe's child) --- */

static bool is_zero(const uint8_t *bytes, size_t length)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0;
}

/* Pages that never reached the disk read as zeros; no content has that digest. */
static int check_blocks(struct store_bytes key, struct store_bytes value)
{
	uint32_t n_blocks;
	const void *blocks;
	uint64_t ino;
	int r = record_parse_ino(key.data, key.length, &ino);

	if (r < 0)
		return r;
	r = record_decode_blocks(value.data, value.length, &n_blocks, &blocks);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < n_blocks; i++) {
		if (is_zero((const uint8_t *)blocks + (size_t)i * JOB_SHA256_BYTES, JOB_SHA256_BYTES))
			return -EIO;
	}
	return 0;
}

static bool is_meta(struct store_bytes key, const char *name)
{
	return key.length == strlen(name) && memcmp(key.data, name, key.length) == 0;
}

/* *ret_newer: the schema is; what this version knows of it ends here. (Keys come in order: counts before schema.) */
static int check_meta(struct store_bytes key, struct store_bytes value, bool *ret_newer)
{
	struct journal_counts counts;
	uint32_t schema = 0;
	int r = 0;

	if (is_meta(key, JOURNAL_META_COUNTS))
		r = record_decode_counts(value.data, value.length, &counts);
	if (is_meta(key, JOURNAL_META_SCHEMA))
		r = record_decode_schema(value.data, value.length, &schema);
	*ret_newer |= r == -EPROTO || schema > JOURNAL_SCHEMA;
	return r == -EPROTO ? 0 : r;
}

/* A newer form of record comes with a newer schema; under ours, such a version byte is garbage. */
static int refuse_newer(int r)
{
	return r == -EPROTO ? -EIO : r;
}

static int check_entry(struct store_bytes key, struct store_bytes value)
{
	struct journal_entry entry;
	char name[JOURNAL_NAME_MAX + 1];
	uint64_t dir;
	int r = record_parse_entry(key.data, key.length, &dir, name);

	return r < 0 ? r : record_decode_entry(value.data, value.length, dir, name, &entry);
}

static int check_file(struct store_bytes key, struct store_bytes value)
{
	struct journal_file file;
	uint64_t ino;
	int r = record_parse_ino(key.data, key.length, &ino);

	return r < 0 ? r : record_decode_file(value.data, value.length, ino, &file);
}

int journal_check_record(enum store_db db, struct store_bytes key, struct store_bytes value)
{
	static bool newer; /* meta comes first */
	char name[JOURNAL_NAME_MAX + 1];
	uint64_t ino, dir;
	int64_t ms;

	if (newer && db != STORE_META)
		return 0;
	switch (db) {
	case STORE_META:
		return check_meta(key, value, &newer);
	case STORE_FILE:
		return refuse_newer(check_file(key, value));
	case STORE_ENTRY:
		return refuse_newer(check_entry(key, value));
	case STORE_INODE:
		return record_parse_name(key.data, key.length, &ino, &dir, name);
	case STORE_DUE:
	case STORE_SINCE:
		return record_parse_time(key.data, key.length, &ms, &ino);
	case STORE_PARKED:
		return record_parse_ino(key.data, key.length, &ino);
	case STORE_BLOCKS:
		return refuse_newer(check_blocks(key, value));
	case STORE_OBJECT:
		return value.length > 0 && key.length > RECORD_SLOT_BYTES ? 0 : -EIO;
	case STORE_DBS:
		break;
	}
	return -EIO;
}

/* --- everything with everything --- */

struct check {
	struct journal_txn *txn;
	char *complaint;
	struct journal_counts counts;
	uint64_t n_entries, n_objects;
};

static int complain(struct check *check, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int complain(struct check *check, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(check->complaint, JOURNAL_COMPLAINT_MAX, format, args);
	va_end(args);
	return -EIO;
}

static bool has(struct check *check, enum store_db db, const struct record_key *key)
{
	struct store_bytes value;

	return store_get(&check->txn->store, db, key, &value) == 0;
}

static int one_file(struct check *check, struct store_bytes key, struct store_bytes value)
{
	struct journal_file file;
	struct record_key due, since, parked;
	uint64_t ino;

	if (record_parse_ino(key.data, key.length, &ino) < 0 ||
		record_decode_file(value.data, value.length, ino, &file) < 0)
		return complain(check, "a file record that does not decode");
	bool works = file.work != JOURNAL_IDLE;

	record_key_time(&due, file.due_ms, ino);
	record_key_time(&since, file.since_ms, ino);
	record_key_ino(&parked, ino);
	if (has(check, STORE_DUE, &due) != works || has(check, STORE_SINCE, &since) != works ||
		has(check, STORE_PARKED, &parked) != (file.work == JOURNAL_PARKED))
		return complain(check, "indices of inode %llu are wrong", (unsigned long long)ino);
	check->counts.files++;
	check->counts.proven += file.generation && file.generation == file.proven_generation;
	check->counts.waiting += file.work == JOURNAL_WAITING;
	check->counts.parked += file.work == JOURNAL_PARKED;
	return 0;
}

struct finding {
	const struct journal_entry *entry;
	bool found;
};

static int find_entry(const struct journal_entry *entry, void *arg)
{
	struct finding *finding = arg;

	finding->found |= entry->dir == finding->entry->dir && strcmp(entry->name, finding->entry->name) == 0;
	return 0;
}

static int one_entry(struct check *check, struct store_bytes key, struct store_bytes value)
{
	struct journal_entry entry;
	struct finding finding = {.entry = &entry};
	struct record_key inode;
	char name[JOURNAL_NAME_MAX + 1];
	uint64_t dir;

	if (record_parse_entry(key.data, key.length, &dir, name) < 0 ||
		record_decode_entry(value.data, value.length, dir, name, &entry) < 0)
		return complain(check, "an entry that does not decode");
	record_key_name(&inode, entry.ino, dir, name);
	if (!has(check, STORE_INODE, &inode))
		return complain(check, "name %s is not in the inode index", name);
	check->n_entries++;
	if (!entry.key[0])
		return 0;
	check->n_objects++;
	if (journal_each_with_key(check->txn, entry.key, find_entry, &finding) < 0 || !finding.found)
		return complain(check, "name %s is not in the object index", name);
	return 0;
}

static int each_record(
	struct check *check, enum store_db db, int (*one)(struct check *, struct store_bytes, struct store_bytes))
{
	_cleanup_cursor_ struct store_cursor cursor = {0};
	struct store_bytes key, value;
	int r = store_cursor_open(&check->txn->store, db, &cursor);

	if (r == 0)
		r = store_cursor_seek(&cursor, NULL, &key, &value);
	while (r == 0) {
		r = one(check, key, value);
		if (r == 0)
			r = store_cursor_next(&cursor, &key, &value);
	}
	return r == -ENOENT ? 0 : r;
}

/* As many index keys as records that have one, and each record has found its own: so none is too many. */
static int check_sizes(struct check *check)
{
	const struct {
		enum store_db db;
		const char *name;
		uint64_t n_wanted;
	} sizes[] = {
		{STORE_INODE, "inode", check->n_entries},
		{STORE_DUE, "due", check->counts.waiting + check->counts.parked},
		{STORE_SINCE, "since", check->counts.waiting + check->counts.parked},
		{STORE_PARKED, "parked", check->counts.parked},
		{STORE_OBJECT, "object", check->n_objects},
	};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint64_t n;
		int r = store_count(&check->txn->store, sizes[i].db, &n);

		if (r < 0)
			return r;
		if (n != sizes[i].n_wanted)
			return complain(check, "index %s holds %llu keys for %llu records", sizes[i].name,
				(unsigned long long)n, (unsigned long long)sizes[i].n_wanted);
	}
	return 0;
}

static int one_blocks(struct check *check, struct store_bytes key, struct store_bytes value)
{
	return check_blocks(key, value) < 0 ? complain(check, "block digests that do not decode") : 0;
}

int journal_check(struct journal_txn *txn, char complaint[static JOURNAL_COMPLAINT_MAX])
{
	struct check check = {.txn = txn, .complaint = complaint};
	struct journal_counts counts;

	snprintf(complaint, JOURNAL_COMPLAINT_MAX, "a read failed");
	int r = each_record(&check, STORE_FILE, one_file);

	if (r == 0)
		r = each_record(&check, STORE_ENTRY, one_entry);
	if (r == 0)
		r = each_record(&check, STORE_BLOCKS, one_blocks);
	if (r == 0)
		r = check_sizes(&check);
	if (r == 0)
		r = journal_get_counts(txn, &counts);
	if (r == 0 && memcmp(&counts, &check.counts, sizeof(counts)) != 0)
		r = complain(&check, "counts %llu/%llu/%llu/%llu, counted %llu/%llu/%llu/%llu",
			(unsigned long long)counts.files, (unsigned long long)counts.proven,
			(unsigned long long)counts.waiting, (unsigned long long)counts.parked,
			(unsigned long long)check.counts.files, (unsigned long long)check.counts.proven,
			(unsigned long long)check.counts.waiting, (unsigned long long)check.counts.parked);
	if (r == 0)
		complaint[0] = '\0';
	return r;
}

static int sum_pages(struct journal_txn *txn, void *arg)
{
	uint64_t *sum = arg, n;
	int r = 0;

	*sum = 0;
	for (int db = 0; r == 0 && db < STORE_DBS; db++) {
		r = store_pages(&txn->store, (enum store_db)db, &n);
		if (r == 0)
			*sum += n;
	}
	return r;
}

int journal_pages(struct journal *journal, uint64_t *ret)
{
	return journal_view(journal, sum_pages, ret);
}
