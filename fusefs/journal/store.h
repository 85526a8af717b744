/* LMDB behind a narrow door: one environment, its sub-databases, transactions whose first error sticks, cursors.
 * Knows bytes, not what they mean. The only file beside store.c that may name LMDB's types, and only by pointer.
 *
 * Errors are -errno: -ENOENT no such key, -EIO a damaged store, -EPROTO a store of another LMDB format, -ENOSPC the
 * volume or the map is full (store_txn.full tells them apart), -EAGAIN too many views at once.
 *
 * Threads: any number of read transactions, each used by one thread at a time, beside one write transaction, used by
 * the thread that began it. Locks, in this order: store.update_lock, store.map_lock. */
#ifndef EBBFS_JOURNAL_STORE_H
#define EBBFS_JOURNAL_STORE_H

#include "fusefs/journal/record.h"

enum store_db {
	STORE_META,   /* text → schema, counts */
	STORE_FILE,   /* ino → file */
	STORE_ENTRY,  /* dir, name → entry */
	STORE_INODE,  /* ino, dir, name → nothing */
	STORE_DUE,    /* due_ms, ino → nothing: what waits or is parked */
	STORE_SINCE,  /* since_ms, ino → nothing: the same */
	STORE_PARKED, /* ino → nothing */
	STORE_BLOCKS, /* ino → block digests */
	STORE_OBJECT, /* S3 key, slot → dir, name */
	STORE_DBS,
};

#define STORE_DATA_NAME "data.mdb"
#define STORE_LOCK_NAME "lock.mdb" /* LMDB's; ours is journal.lock */

struct store;

struct store_bytes {
	const void *data; /* in the map: valid until the next change in this transaction, or its end */
	size_t length;
};

struct store_txn {
	struct store *store;
	struct MDB_txn *mdb;
	bool writable;
	bool full; /* the map was too small: enlarge and do it all again */
	int error; /* the first one, but for -ENOENT */
};

/* Opens the environment in a directory whose owner the caller is; map_bytes is the first size of the map (address
 * space, not disk). Does not look at the content: store_attach() does, after the caller found it sound. */
int store_open(const char *directory, size_t map_bytes, struct store **ret) _must_check_;

/* Whether the file is shorter than what it says of itself. Legitimate in rare cases: store_probe() knows. 0/-errno */
int store_is_short(struct store *store, bool *ret) _must_check_;

enum store_state {
	STORE_EMPTY,   /* nothing was there: the sub-databases have been made */
	STORE_WHOLE,   /* all were there */
	STORE_PARTIAL, /* some were: no state that this version ever committed; those that are missing give -EINVAL */
};

/* Opens the sub-databases. */
int store_attach(struct store *store, enum store_state *ret) _must_check_;
void store_close(struct store *store); /* NULL allowed */
DEFINE_CLEANUP(struct store *, store_close);

/* Reads the whole store in a child process, since LMDB answers some damage with a signal. visit() sees every record
 * and returns 0 or -errno. 0; -EIO: damaged; else -errno: the child could not be had. Call before other threads. */
int store_probe(const char *directory,
	int (*visit)(enum store_db db, struct store_bytes key, struct store_bytes value)) _must_check_;

/* A write transaction waits for the one before. -errno: nothing was begun. */
int store_begin(struct store *store, bool writable, struct store_txn *ret) _must_check_;
/* Ends it in any case; commits durably if there was no error and `commit`. Returns the first error. */
int store_end(struct store_txn *txn, bool commit) _must_check_;
/* Between store_begin(…, true)s, under the same lock: doubles the map. Waits for views. -ENOSPC: at its limit. */
int store_enlarge(struct store *store) _must_check_;
/* The same thread's run of write transactions, with store_enlarge() between them. Not recursive. */
void store_lock(struct store *store);
void store_unlock(struct store *store);

/* Sets aside room on the volume ahead of use, as far as there is any; frees slots of dead readers. Under the lock. */
void store_maintain(struct store *store);
/* A record turned out to be no good: the next opening had better look at everything. */
bool store_is_suspect(const struct store *store);

int store_get(
	struct store_txn *txn, enum store_db db, const struct record_key *key, struct store_bytes *ret) _must_check_;
/* Remembers an error in the transaction (a caller's own, too), returns the first. */
int store_fail(struct store_txn *txn, int error);
int store_put(struct store_txn *txn, enum store_db db, const struct record_key *key, struct store_bytes value);
int store_delete(struct store_txn *txn, enum store_db db, const struct record_key *key); /* 0 also when not there */
int store_count(struct store_txn *txn, enum store_db db, uint64_t *ret) _must_check_;
int store_pages(struct store_txn *txn, enum store_db db, uint64_t *ret) _must_check_;

/* Keys in order. Stays right when records are put or deleted between two steps, also the one it stands on. */
struct store_cursor {
	struct store_txn *txn;
	struct MDB_cursor *mdb;
	enum store_db db;
	struct record_key last;
};

int store_cursor_open(struct store_txn *txn, enum store_db db, struct store_cursor *ret) _must_check_;
void store_cursor_close(struct store_cursor *cursor);
#define _cleanup_cursor_ _cleanup_(store_cursor_close)
/* The first key ≥ from (NULL: of all). -ENOENT: none. */
int store_cursor_seek(struct store_cursor *cursor, const struct record_key *from, struct store_bytes *ret_key,
	struct store_bytes *ret_value) _must_check_;
/* The first key > the one given last. -ENOENT: none. */
int store_cursor_next(
	struct store_cursor *cursor, struct store_bytes *ret_key, struct store_bytes *ret_value) _must_check_;

#endif
