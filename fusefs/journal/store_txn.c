#include <errno.h>
#include <string.h>

#include "fusefs/journal/store_internal.h"

int store_fail(struct store_txn *txn, int error)
{
	if (error == -EIO)
		atomic_store(&txn->store->suspect, true);
	if (!txn->error)
		txn->error = error;
	return txn->error;
}

int store_note(struct store_txn *txn, int code)
{
	int error = store_translate(code);

	if (code == MDB_MAP_FULL)
		txn->full = true;
	if (error < 0 && error != -ENOENT)
		store_fail(txn, error);
	return error;
}

/* LMDB's struct has no const; it does not write through it. */
static MDB_val as_val(const void *bytes, size_t length)
{
	union {
		const void *in;
		void *out;
	} pointer = {.in = bytes};

	return (MDB_val){.mv_size = length, .mv_data = pointer.out};
}

static struct store_bytes as_bytes(MDB_val val)
{
	return (struct store_bytes){.data = val.mv_data, .length = val.mv_size};
}

int store_get(struct store_txn *txn, enum store_db db, const struct record_key *key, struct store_bytes *ret)
{
	MDB_val mdb_key = as_val(key->bytes, key->length), value;

	if (txn->error)
		return txn->error;
	int r = store_note(txn, mdb_get(txn->mdb, txn->store->dbis[db], &mdb_key, &value));

	if (r == 0)
		*ret = as_bytes(value);
	return r;
}

int store_put(struct store_txn *txn, enum store_db db, const struct record_key *key, struct store_bytes value)
{
	MDB_val mdb_key = as_val(key->bytes, key->length), mdb_value = as_val(value.data, value.length);

	if (txn->error)
		return txn->error;
	return store_note(txn, mdb_put(txn->mdb, txn->store->dbis[db], &mdb_key, &mdb_value, 0));
}

int store_delete(struct store_txn *txn, enum store_db db, const struct record_key *key)
{
	MDB_val mdb_key = as_val(key->bytes, key->length);

	if (txn->error)
		return txn->error;
	int r = store_note(txn, mdb_del(txn->mdb, txn->store->dbis[db], &mdb_key, NULL));

	return r == -ENOENT ? 0 : r;
}

int store_count(struct store_txn *txn, enum store_db db, uint64_t *ret)
{
	MDB_stat stat;
	int r = store_note(txn, mdb_stat(txn->mdb, txn->store->dbis[db], &stat));

	if (r == 0)
		*ret = stat.ms_entries;
	return r;
}

int store_pages(struct store_txn *txn, enum store_db db, uint64_t *ret)
{
	MDB_stat stat;
	int r = store_note(txn, mdb_stat(txn->mdb, txn->store->dbis[db], &stat));

	if (r == 0)
		*ret = stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages;
	return r;
}

int store_cursor_open(struct store_txn *txn, enum store_db db, struct store_cursor *ret)
{
	*ret = (struct store_cursor){.txn = txn, .db = db};
	if (txn->error)
		return txn->error;
	return store_note(txn, mdb_cursor_open(txn->mdb, txn->store->dbis[db], &ret->mdb));
}

void store_cursor_close(struct store_cursor *cursor)
{
	if (cursor->mdb)
		mdb_cursor_close(cursor->mdb);
	cursor->mdb = NULL;
}

static int cursor_get(struct store_cursor *cursor, MDB_val key, MDB_cursor_op op, struct store_bytes *ret_key,
	struct store_bytes *ret_value)
{
	MDB_val value;

	if (cursor->txn->error)
		return cursor->txn->error;
	int r = store_note(cursor->txn, mdb_cursor_get(cursor->mdb, &key, &value, op));

	if (r < 0)
		return r;
	*ret_key = as_bytes(key);
	*ret_value = as_bytes(value);
	return 0;
}

static int remember(struct store_cursor *cursor, int r, const struct store_bytes *key)
{
	if (r < 0)
		return r;
	if (key->length > sizeof(cursor->last.bytes))
		return store_fail(cursor->txn, -EIO);
	cursor->last.length = key->length;
	memcpy(cursor->last.bytes, key->data, key->length);
	return 0;
}

int store_cursor_seek(struct store_cursor *cursor, const struct record_key *from, struct store_bytes *ret_key,
	struct store_bytes *ret_value)
{
	MDB_val key = from ? as_val(from->bytes, from->length) : (MDB_val){0};
	int r = cursor_get(cursor, key, from ? MDB_SET_RANGE : MDB_FIRST, ret_key, ret_value);

	return remember(cursor, r, ret_key);
}

int store_cursor_next(struct store_cursor *cursor, struct store_bytes *ret_key, struct store_bytes *ret_value)
{
	const struct record_key *last = &cursor->last;
	bool at_last = true;
	int r = 0;

	/* In a write transaction the tree may have changed under the cursor. LMDB moves cursors along with it; finding
	 * the place again does not depend on how well. */
	if (cursor->txn->writable) {
		r = cursor_get(cursor, as_val(last->bytes, last->length), MDB_SET_RANGE, ret_key, ret_value);
		at_last = r == 0 && ret_key->length == last->length &&
			  memcmp(ret_key->data, last->bytes, last->length) == 0;
	}
	if (r == 0 && at_last)
		r = cursor_get(cursor, (MDB_val){0}, MDB_NEXT, ret_key, ret_value);
	return remember(cursor, r, ret_key);
}
