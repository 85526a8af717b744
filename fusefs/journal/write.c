/* Puts and deletes. Index keys are functions of the record: when it changes, those of the old record go and those of
 * the new one come, and a record that does not change touches nothing. */
#include <errno.h>
#include <string.h>

#include "fusefs/journal/internal.h"

static int fail(struct journal_txn *txn, int error)
{
	return store_fail(&txn->store, error);
}

static struct store_bytes scratch_bytes(const struct journal_txn *txn)
{
	return (struct store_bytes){txn->scratch->data, txn->scratch->length};
}

static bool same_bytes(struct store_bytes a, struct store_bytes b)
{
	return a.length == b.length && memcmp(a.data, b.data, a.length) == 0;
}

static int put_mark(struct journal_txn *txn, enum store_db db, const struct record_key *key)
{
	return store_put(&txn->store, db, key, (struct store_bytes){"", 0});
}

/* --- files --- */

static void count(struct journal_counts *counts, const struct journal_file *file, uint64_t by)
{
	counts->files += by;
	if (file->generation && file->proven_generation == file->generation)
		counts->proven += by;
	if (file->work == JOURNAL_WAITING)
		counts->waiting += by;
	if (file->work == JOURNAL_PARKED)
		counts->parked += by;
}

int journal_store_counts(struct journal_txn *txn)
{
	struct record_key key;

	if (!txn->counts_changed)
		return 0;
	int r = record_encode_counts(txn->scratch, &txn->counts);

	if (r < 0)
		return fail(txn, r);
	record_key_text(&key, JOURNAL_META_COUNTS);
	return store_put(&txn->store, STORE_META, &key, scratch_bytes(txn));
}

/* Moves one index from the old record's key to the new one's; NULL: it has none. */
static void move_mark(
	struct journal_txn *txn, enum store_db db, const struct record_key *old, const struct record_key *new)
{
	if (old && new && old->length == new->length && memcmp(old->bytes, new->bytes, old->length) == 0)
		return;
	if (old)
		store_delete(&txn->store, db, old);
	if (new)
		put_mark(txn, db, new);
}

static void move_file_marks(struct journal_txn *txn, const struct journal_file *old, const struct journal_file *new)
{
	static const enum store_db dbs[] = {STORE_DUE, STORE_SINCE, STORE_PARKED};
	const struct journal_file *files[2] = {old, new};
	struct record_key keys[ARRAY_SIZE(dbs)][2];
	const struct record_key *at[ARRAY_SIZE(dbs)][2] = {0};

	for (int i = 0; i < 2; i++) {
		if (!files[i] || files[i]->work == JOURNAL_IDLE)
			continue;
		record_key_time(&keys[0][i], files[i]->due_ms, files[i]->ino);
		record_key_time(&keys[1][i], files[i]->since_ms, files[i]->ino);
		record_key_ino(&keys[2][i], files[i]->ino);
		at[0][i] = &keys[0][i];
		at[1][i] = &keys[1][i];
		at[2][i] = files[i]->work == JOURNAL_PARKED ? &keys[2][i] : NULL;
	}
	for (size_t i = 0; i < ARRAY_SIZE(dbs); i++)
		move_mark(txn, dbs[i], at[i][0], at[i][1]);
}

/* Counts and indices from old to new; NULL: there is none. */
static int change_file(struct journal_txn *txn, const struct journal_file *old, const struct journal_file *new)
{
	int r = journal_load_counts(txn);

	if (r < 0)
		return r;
	move_file_marks(txn, old, new);
	if (old)
		count(&txn->counts, old, UINT64_MAX); /* that is -1 */
	if (new)
		count(&txn->counts, new, 1);
	txn->counts_changed = true;
	return txn->store.error;
}

int journal_put_file(struct journal_txn *txn, const struct journal_file *file)
{
	struct journal_file old;
	struct record_key key;
	struct store_bytes value;

	if (!txn->scratch)
		return fail(txn, -EACCES);
	record_key_ino(&key, file->ino);
	int r = store_get(&txn->store, STORE_FILE, &key, &value);

	if (r < 0 && r != -ENOENT)
		return r;
	bool has_old = r == 0;

	r = record_encode_file(txn->scratch, file);
	if (r < 0)
		return fail(txn, r);
	if (has_old) {
		if (same_bytes(value, scratch_bytes(txn)))
			return 0;
		r = record_decode_file(value.data, value.length, file->ino, &old);
		if (r < 0)
			return fail(txn, r);
	}
	r = change_file(txn, has_old ? &old : NULL, file);
	return r < 0 ? r : store_put(&txn->store, STORE_FILE, &key, scratch_bytes(txn));
}

int journal_delete_file(struct journal_txn *txn, uint64_t ino)
{
	struct journal_file old;
	struct record_key key;

	if (!txn->scratch)
		return fail(txn, -EACCES);
	record_key_ino(&key, ino);
	store_delete(&txn->store, STORE_BLOCKS, &key);
	int r = journal_get_file(txn, ino, &old);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = change_file(txn, &old, NULL);
	return r < 0 ? r : store_delete(&txn->store, STORE_FILE, &key);
}

int journal_put_blocks(struct journal_txn *txn, uint64_t ino, uint32_t n_blocks, uint8_t (*blocks)[JOB_SHA256_BYTES])
{
	struct record_key key;
	struct store_bytes value;

	if (!txn->scratch)
		return fail(txn, -EACCES);
	record_key_ino(&key, ino);
	if (n_blocks == 0)
		return store_delete(&txn->store, STORE_BLOCKS, &key);
	int r = record_encode_blocks(txn->scratch, n_blocks, blocks);

	if (r < 0)
		return fail(txn, r);
	if (store_get(&txn->store, STORE_BLOCKS, &key, &value) == 0 && same_bytes(value, scratch_bytes(txn)))
		return 0;
	return store_put(&txn->store, STORE_BLOCKS, &key, scratch_bytes(txn));
}

/* --- entries --- */

/* The slot of an entry among those that rely on a key, or -ENOENT and the first free one. */
static int find_slot(
	struct journal_txn *txn, const char *object, uint64_t dir, const char *name, struct record_key *ret)
{
	_cleanup_cursor_ struct store_cursor cursor = {0};
	struct record_key slot;
	struct store_bytes key, value;
	uint32_t free_slot = 0;
	int r = store_cursor_open(&txn->store, STORE_OBJECT, &cursor);

	if (r < 0)
		return r;
	record_key_slot(&slot, object, 0);
	r = store_cursor_seek(&cursor, &slot, &key, &value);
	while (r == 0) {
		char other_name[JOURNAL_NAME_MAX + 1];
		uint64_t other_dir;

		if (key.length != slot.length || memcmp(key.data, slot.bytes, slot.length - RECORD_SLOT_BYTES) != 0)
			break;
		r = record_decode_object(value.data, value.length, object, &other_dir, other_name);
		if (r < 0)
			return fail(txn, r);
		if (other_dir == dir && strcmp(other_name, name) == 0) {
			ret->length = key.length;
			memcpy(ret->bytes, key.data, key.length);
			return 0;
		}
		record_key_slot(&slot, object, (uint16_t)free_slot);
		free_slot += memcmp(key.data, slot.bytes, slot.length) == 0;
		r = store_cursor_next(&cursor, &key, &value);
	}
	if (r < 0 && r != -ENOENT)
		return r;
	if (free_slot > UINT16_MAX)
		return fail(txn, -EMLINK);
	record_key_slot(ret, object, (uint16_t)free_slot);
	return -ENOENT;
}

static int remove_object(struct journal_txn *txn, const struct journal_entry *entry)
{
	struct record_key slot;

	if (!entry->key[0])
		return 0;
	int r = find_slot(txn, entry->key, entry->dir, entry->name, &slot);

	if (r < 0)
		return r == -ENOENT ? fail(txn, -EIO) : r;
	return store_delete(&txn->store, STORE_OBJECT, &slot);
}

static int add_object(struct journal_txn *txn, const struct journal_entry *entry)
{
	struct record_key slot;

	if (!entry->key[0])
		return 0;
	int r = find_slot(txn, entry->key, entry->dir, entry->name, &slot);

	if (r != -ENOENT)
		return r;
	r = record_encode_object(txn->scratch, entry->key, entry->dir, entry->name);
	return r < 0 ? fail(txn, r) : store_put(&txn->store, STORE_OBJECT, &slot, scratch_bytes(txn));
}

/* Indices from old to new; NULL: there is none. */
static int change_entry(struct journal_txn *txn, const struct journal_entry *old, const struct journal_entry *new)
{
	struct record_key old_name, new_name;
	int r = 0;

	if (old)
		record_key_name(&old_name, old->ino, old->dir, old->name);
	if (new)
		record_key_name(&new_name, new->ino, new->dir, new->name);
	move_mark(txn, STORE_INODE, old ? &old_name : NULL, new ? &new_name : NULL);
	if (old && new && strcmp(old->key, new->key) == 0)
		return txn->store.error;
	if (old)
		r = remove_object(txn, old);
	if (r == 0 && new)
		r = add_object(txn, new);
	return r < 0 ? r : txn->store.error;
}

int journal_put_entry(struct journal_txn *txn, const struct journal_entry *entry)
{
	struct journal_entry old;
	struct record_key key;
	struct store_bytes value;

	if (!txn->scratch)
		return fail(txn, -EACCES);
	/* Encoding checks the name, which makes the key. */
	int r = record_encode_entry(txn->scratch, entry);

	if (r < 0)
		return fail(txn, r);
	record_key_entry(&key, entry->dir, entry->name);
	r = store_get(&txn->store, STORE_ENTRY, &key, &value);
	if (r < 0 && r != -ENOENT)
		return r;
	bool has_old = r == 0;

	if (has_old) {
		if (same_bytes(value, scratch_bytes(txn)))
			return 0;
		r = record_decode_entry(value.data, value.length, entry->dir, entry->name, &old);
		if (r < 0)
			return fail(txn, r);
	}
	r = store_put(&txn->store, STORE_ENTRY, &key, scratch_bytes(txn));
	return r < 0 ? r : change_entry(txn, has_old ? &old : NULL, entry);
}

int journal_delete_entry(struct journal_txn *txn, uint64_t dir, const char *name)
{
	struct journal_entry old;
	struct record_key key;

	if (!txn->scratch)
		return fail(txn, -EACCES);
	int r = journal_get_entry(txn, dir, name, &old);

	if (r < 0)
		return r == -ENOENT ? 0 : fail(txn, r);
	record_key_entry(&key, dir, name);
	r = store_delete(&txn->store, STORE_ENTRY, &key);
	return r < 0 ? r : change_entry(txn, &old, NULL);
}
