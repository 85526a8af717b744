/* Gets and iterations. An index that names a record which is not there is damage: -EIO. */
#include <errno.h>
#include <string.h>

#include "fusefs/journal/internal.h"

/* Keys from `from` on that share its first prefix_length bytes, up to `last` (NULL: no limit), inclusive. */
struct range {
	enum store_db db;
	struct record_key from;
	size_t prefix_length;
	const struct record_key *last;
};

typedef int (*step_fn)(struct journal_txn *txn, struct store_bytes key, struct store_bytes value, void *arg);

/* An error of this transaction's data: remembered. */
static int fail(struct journal_txn *txn, int error)
{
	return store_fail(&txn->store, error);
}

static bool is_in(const struct range *range, struct store_bytes key)
{
	if (key.length < range->prefix_length || memcmp(key.data, range->from.bytes, range->prefix_length) != 0)
		return false;
	if (!range->last)
		return true;
	size_t length = key.length < range->last->length ? key.length : range->last->length;
	int order = memcmp(key.data, range->last->bytes, length);

	return order < 0 || (order == 0 && key.length <= range->last->length);
}

static int each(struct journal_txn *txn, const struct range *range, step_fn step, void *arg)
{
	_cleanup_cursor_ struct store_cursor cursor = {0};
	struct store_bytes key, value;
	int r = store_cursor_open(&txn->store, range->db, &cursor);

	if (r < 0)
		return r;
	/* Not even an empty key is in the store, so an empty `from` is its beginning. */
	r = store_cursor_seek(&cursor, range->from.length ? &range->from : NULL, &key, &value);
	while (r == 0 && is_in(range, key)) {
		r = step(txn, key, value, arg);
		if (r)
			return r;
		r = store_cursor_next(&cursor, &key, &value);
	}
	return r == -ENOENT ? 0 : r;
}

/* -EIO for -ENOENT: an index said that there is one. */
static int indexed(struct journal_txn *txn, int r)
{
	return r == -ENOENT ? fail(txn, -EIO) : r;
}

int journal_get_file(struct journal_txn *txn, uint64_t ino, struct journal_file *ret)
{
	struct record_key key;
	struct store_bytes value;

	record_key_ino(&key, ino);
	int r = store_get(&txn->store, STORE_FILE, &key, &value);

	if (r < 0)
		return r;
	r = record_decode_file(value.data, value.length, ino, ret);
	return r < 0 ? fail(txn, r) : 0;
}

int journal_get_entry(struct journal_txn *txn, uint64_t dir, const char *name, struct journal_entry *ret)
{
	struct record_key key;
	struct store_bytes value;

	if (strnlen(name, JOURNAL_NAME_MAX + 1) > JOURNAL_NAME_MAX)
		return -ENAMETOOLONG;
	record_key_entry(&key, dir, name);
	int r = store_get(&txn->store, STORE_ENTRY, &key, &value);

	if (r < 0)
		return r;
	r = record_decode_entry(value.data, value.length, dir, name, ret);
	return r < 0 ? fail(txn, r) : 0;
}

int journal_get_blocks(
	struct journal_txn *txn, uint64_t ino, uint32_t *ret_n_blocks, uint8_t (**ret_blocks)[JOB_SHA256_BYTES])
{
	struct record_key key;
	struct store_bytes value;
	uint32_t n_blocks;
	const void *digests;

	record_key_ino(&key, ino);
	int r = store_get(&txn->store, STORE_BLOCKS, &key, &value);

	if (r < 0)
		return r;
	r = record_decode_blocks(value.data, value.length, &n_blocks, &digests);
	if (r < 0)
		return fail(txn, r);
	uint8_t(*blocks)[JOB_SHA256_BYTES] = malloc((size_t)n_blocks * sizeof(*blocks));

	if (!blocks)
		return -ENOMEM;
	memcpy(blocks, digests, (size_t)n_blocks * sizeof(*blocks));
	*ret_n_blocks = n_blocks;
	*ret_blocks = blocks;
	return 0;
}

/* --- iterations --- */

struct entry_visit {
	int (*visit)(const struct journal_entry *entry, void *arg);
	void *arg;
	const char *key; /* step_object */
};

struct file_visit {
	int (*visit)(const struct journal_file *file, void *arg);
	void *arg;
};

static int step_entry(struct journal_txn *txn, struct store_bytes key, struct store_bytes value, void *arg)
{
	struct entry_visit *to = arg;
	struct journal_entry entry;
	char name[JOURNAL_NAME_MAX + 1];
	uint64_t dir;
	int r = record_parse_entry(key.data, key.length, &dir, name);

	if (r == 0)
		r = record_decode_entry(value.data, value.length, dir, name, &entry);
	return r < 0 ? fail(txn, r) : to->visit(&entry, to->arg);
}

static int step_inode(struct journal_txn *txn, struct store_bytes key, struct store_bytes value, void *arg)
{
	(void)value;
	struct entry_visit *to = arg;
	struct journal_entry entry;
	char name[JOURNAL_NAME_MAX + 1];
	uint64_t ino, dir;
	int r = record_parse_name(key.data, key.length, &ino, &dir, name);

	if (r < 0)
		return fail(txn, r);
	r = indexed(txn, journal_get_entry(txn, dir, name, &entry));
	return r < 0 ? r : to->visit(&entry, to->arg);
}

static int step_object(struct journal_txn *txn, struct store_bytes key, struct store_bytes value, void *arg)
{
	(void)key;
	struct entry_visit *to = arg;
	struct journal_entry entry;
	char name[JOURNAL_NAME_MAX + 1];
	uint64_t dir;
	int r = record_decode_object(value.data, value.length, to->key, &dir, name);

	if (r < 0)
		return fail(txn, r);
	r = indexed(txn, journal_get_entry(txn, dir, name, &entry));
	if (r < 0)
		return r;
	/* Long keys that differ may share a range. */
	return strcmp(entry.key, to->key) == 0 ? to->visit(&entry, to->arg) : 0;
}

static int visit_ino(struct journal_txn *txn, uint64_t ino, const struct file_visit *to)
{
	struct journal_file file;
	int r = indexed(txn, journal_get_file(txn, ino, &file));

	return r < 0 ? r : to->visit(&file, to->arg);
}

static int step_due(struct journal_txn *txn, struct store_bytes key, struct store_bytes value, void *arg)
{
	(void)value;
	uint64_t ino;
	int64_t ms;
	int r = record_parse_time(key.data, key.length, &ms, &ino);

	return r < 0 ? fail(txn, r) : visit_ino(txn, ino, arg);
}

static int step_parked(struct journal_txn *txn, struct store_bytes key, struct store_bytes value, void *arg)
{
	(void)value;
	uint64_t ino;
	int r = record_parse_ino(key.data, key.length, &ino);

	return r < 0 ? fail(txn, r) : visit_ino(txn, ino, arg);
}

int journal_each_name(
	struct journal_txn *txn, uint64_t ino, int (*visit)(const struct journal_entry *entry, void *arg), void *arg)
{
	struct range range = {.db = STORE_INODE};

	record_key_ino(&range.from, ino);
	range.prefix_length = range.from.length;
	return each(txn, &range, step_inode, &(struct entry_visit){.visit = visit, .arg = arg});
}

int journal_each_in_dir(struct journal_txn *txn, uint64_t dir, const char *after,
	int (*visit)(const struct journal_entry *entry, void *arg), void *arg)
{
	struct range range = {.db = STORE_ENTRY};

	record_key_dir(&range.from, dir);
	range.prefix_length = range.from.length;
	if (after) {
		if (strnlen(after, JOURNAL_NAME_MAX + 1) > JOURNAL_NAME_MAX)
			return -ENAMETOOLONG;
		/* The NUL makes it the smallest key beyond that name. */
		record_key_entry(&range.from, dir, after);
		range.from.bytes[range.from.length++] = '\0';
	}
	return each(txn, &range, step_entry, &(struct entry_visit){.visit = visit, .arg = arg});
}

static int take_dir(const struct journal_entry *entry, void *arg)
{
	*(uint64_t *)arg = entry->dir;
	return 1;
}

int journal_next_dir(struct journal_txn *txn, uint64_t from, uint64_t *ret_dir)
{
	struct range range = {.db = STORE_ENTRY};

	record_key_dir(&range.from, from);
	int r = each(txn, &range, step_entry, &(struct entry_visit){.visit = take_dir, .arg = ret_dir});

	return r == 0 ? -ENOENT : r < 0 ? r : 0;
}

int journal_each_with_key(struct journal_txn *txn, const char *key,
	int (*visit)(const struct journal_entry *entry, void *arg), void *arg)
{
	struct range range = {.db = STORE_OBJECT};
	struct record_key last;

	if (!key[0] || strnlen(key, JOB_KEY_MAX + 1) > JOB_KEY_MAX)
		return 0;
	record_key_slot(&range.from, key, 0);
	record_key_slot(&last, key, UINT16_MAX);
	range.last = &last;
	return each(txn, &range, step_object, &(struct entry_visit){.visit = visit, .arg = arg, .key = key});
}

int journal_each_due(
	struct journal_txn *txn, int64_t now_ms, int (*visit)(const struct journal_file *file, void *arg), void *arg)
{
	struct range range = {.db = STORE_DUE};
	struct record_key last;

	record_key_time(&last, now_ms, UINT64_MAX);
	range.last = &last;
	return each(txn, &range, step_due, &(struct file_visit){.visit = visit, .arg = arg});
}

int journal_each_parked(struct journal_txn *txn, int (*visit)(const struct journal_file *file, void *arg), void *arg)
{
	return each(txn, &(struct range){.db = STORE_PARKED}, step_parked,
		&(struct file_visit){.visit = visit, .arg = arg});
}

/* --- single facts --- */

static int first_time(struct journal_txn *txn, enum store_db db, int64_t *ret_ms, uint64_t *ret_ino)
{
	_cleanup_cursor_ struct store_cursor cursor = {0};
	struct store_bytes key, value;
	int r = store_cursor_open(&txn->store, db, &cursor);

	if (r < 0)
		return r;
	r = store_cursor_seek(&cursor, NULL, &key, &value);
	if (r < 0)
		return r;
	r = record_parse_time(key.data, key.length, ret_ms, ret_ino);
	return r < 0 ? fail(txn, r) : 0;
}

int journal_oldest(struct journal_txn *txn, int64_t *ret_since_ms, uint64_t *ret_ino)
{
	return first_time(txn, STORE_SINCE, ret_since_ms, ret_ino);
}

int journal_next_due(struct journal_txn *txn, int64_t *ret_due_ms)
{
	uint64_t ino;

	return first_time(txn, STORE_DUE, ret_due_ms, &ino);
}

static int take_first(const struct journal_entry *entry, void *arg)
{
	*(struct journal_entry *)arg = *entry;
	return 1;
}

int journal_get_by_key(struct journal_txn *txn, const char *key, struct journal_entry *ret)
{
	int r = journal_each_with_key(txn, key, take_first, ret);

	return r < 0 ? r : r == 1 ? 0 : -ENOENT;
}

int journal_load_counts(struct journal_txn *txn)
{
	struct record_key key;
	struct store_bytes value;

	if (txn->counts_loaded)
		return 0;
	record_key_text(&key, JOURNAL_META_COUNTS);
	int r = indexed(txn, store_get(&txn->store, STORE_META, &key, &value));

	if (r < 0)
		return r;
	r = record_decode_counts(value.data, value.length, &txn->counts);
	if (r < 0)
		return fail(txn, r);
	txn->counts_loaded = true;
	return 0;
}

int journal_get_counts(struct journal_txn *txn, struct journal_counts *ret)
{
	int r = journal_load_counts(txn);

	if (r == 0)
		*ret = txn->counts;
	return r;
}
