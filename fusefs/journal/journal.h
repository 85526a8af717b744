/* The journal: what ebbfs knows about every file, in LMDB, owned by one process for life.
 *
 * Two kinds of record. A *file* is an inode's content: its generation, the job it waits for, and the receipt's digests.
 * An *entry* is a name (directory inode, name): which inode, and under which key that name's object is proven. A file
 * with two links has two entries; renaming a directory touches one. The directory on disk is the truth, the journal
 * makes it fast: losing it costs checking again, never data.
 *
 * Durability: journal_update() returns after the commit is on disk. Threads: any number of views beside one update at
 * a time (a second update waits). Nothing here knows FUSE or S3, and no LMDB type leaves this directory.
 *
 * All functions return 0 or -errno; -ENOENT: no such record; -EIO: the store is damaged; -ENOSPC: the volume is full.
 * Inside journal_update() the first error is remembered and commit refuses, so that a run of puts is checked once. */
#ifndef EBBFS_JOURNAL_H
#define EBBFS_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "uploader/base/cleanup.h"
#include "uploader/wire/job.h"

#define JOURNAL_NAME_MAX 255
#define JOURNAL_REASON_MAX 256

enum journal_work {
	JOURNAL_IDLE,    /* nothing to do: proven, or nothing known yet */
	JOURNAL_WAITING, /* to be uploaded at due_ms or later */
	JOURNAL_PARKED,  /* an error needs a person; looked at again at due_ms */
};

/* Bits of journal_file.flags. */
#define JOURNAL_CHECK_FIRST 0x1 /* the object may be in the bucket already: ask before sending */
#define JOURNAL_IN_DOUBT 0x2 /* moved while nobody looked: the receipt's digests are to be compared with the file */

struct journal_file {
	uint64_t ino;        /* of the backing filesystem */
	int64_t birth_ns;    /* statx btime, 0 where there is none: tells a reused inode number from the old file */
	uint64_t generation; /* of the content, from 1; the next one at every close after writing */
	enum journal_work work;
	uint32_t flags;
	uint32_t attempts;               /* failed ones in a row */
	int64_t since_ms;                /* CLOCK_REALTIME; when it began to wait (0 when JOURNAL_IDLE) */
	int64_t due_ms;                  /* CLOCK_REALTIME */
	char reason[JOURNAL_REASON_MAX]; /* of the last failure; "" for none */

	/* The content that was last proven to be in S3; 0: none was. The rest of the struct is about that one. */
	uint64_t proven_generation;
	uint64_t size;
	int64_t mtime_ns, ctime_ns; /* as they were when that content was read */
	uint8_t sha256[JOB_SHA256_BYTES];
	uint8_t md5[JOB_MD5_BYTES];
	uint8_t block_shift; /* 0: no block digests (the file is one block) */
};

enum journal_type {
	JOURNAL_TYPE_FILE = 1,
	JOURNAL_TYPE_DIR,
};

struct journal_entry {
	uint64_t dir; /* inode of the directory */
	char name[JOURNAL_NAME_MAX + 1];
	enum journal_type type;
	uint64_t ino;

	/* Where this name's content is proven to be; "" and 0 for nowhere yet, and always for directories. */
	char key[JOB_KEY_MAX + 1];
	uint64_t proven_generation; /* of the file's content, under that key */
	enum job_proof proof;
	int64_t proven_ms; /* CLOCK_REALTIME */
	char etag[JOB_ETAG_MAX];
	char version_id[JOB_VERSION_ID_MAX + 1];
};

struct journal_counts {
	uint64_t files;   /* file records */
	uint64_t proven;  /* whose proven_generation is their generation */
	uint64_t waiting; /* JOURNAL_WAITING */
	uint64_t parked;  /* JOURNAL_PARKED */
};

struct journal;
struct journal_txn;

/* Opens or makes the journal in a directory that exists. -EBUSY: another process owns it. -EPROTO: a newer release
 * wrote it; nothing was touched. A store that cannot be read is moved aside to data.mdb.damaged-TIME (*ret_fresh is
 * then true, as for a new one), never deleted. After an end without journal_close() the whole store is read once.
 * Blocks; may fork for a moment: a child that closes every descriptor but what it opens itself, and dies with the
 * calling thread. Any thread. One journal per process. */
int journal_open(const char *directory, struct journal **ret, bool *ret_fresh) _must_check_;
void journal_close(struct journal *journal); /* NULL allowed */
DEFINE_CLEANUP(struct journal *, journal_close);

/* The name, in the directory, that a damaged store was moved to by journal_open(), for the log; NULL: none was. */
const char *journal_moved_aside(const struct journal *journal);

/* Whether its last owner ended without journal_close(): what it had begun then is not known to have ended. */
bool journal_was_cut_off(const struct journal *journal);

/* Lets the next owner be told so too, although this one will end with journal_close(). */
void journal_leave_cut_off(struct journal *journal);

/* Runs work() in a write transaction and commits it, durably, if it returned 0. The store is enlarged and work() run
 * again, from a clean transaction, when it was full: work() must give the same result twice. Returns work()'s error
 * or the commit's. Blocks for the disk. Neither updates nor views may be begun inside work(). */
int journal_update(struct journal *journal, int (*work)(struct journal_txn *txn, void *arg), void *arg) _must_check_;

/* Runs work() on a snapshot. Keep it short: an old snapshot makes the file grow. Returns work()'s result. */
int journal_view(struct journal *journal, int (*work)(struct journal_txn *txn, void *arg), void *arg) _must_check_;

/* What cannot be stored (a text without its NUL, a name with a slash, an unknown enumerator) is -EINVAL. Without a
 * proven_generation, the rest about the proven content is not kept; without a key, the rest about the object. A put of
 * what is there already costs no write. A name over JOURNAL_NAME_MAX is -ENAMETOOLONG. */
int journal_get_file(struct journal_txn *txn, uint64_t ino, struct journal_file *ret) _must_check_;
int journal_put_file(struct journal_txn *txn, const struct journal_file *file);
int journal_delete_file(struct journal_txn *txn, uint64_t ino); /* and its block digests; 0 also when there is none */

int journal_get_entry(
	struct journal_txn *txn, uint64_t dir, const char *name, struct journal_entry *ret) _must_check_;
int journal_put_entry(struct journal_txn *txn, const struct journal_entry *entry);
int journal_delete_entry(struct journal_txn *txn, uint64_t dir, const char *name); /* 0 also when there is none */

/* Block digests of the proven content; n_blocks 0 removes them. The getter's result is the caller's to free. */
int journal_put_blocks(struct journal_txn *txn, uint64_t ino, uint32_t n_blocks, uint8_t (*blocks)[JOB_SHA256_BYTES]);
int journal_get_blocks(struct journal_txn *txn, uint64_t ino, uint32_t *ret_n_blocks,
	uint8_t (**ret_blocks)[JOB_SHA256_BYTES]) _must_check_;

/* The iterators call visit() in key order until it returns other than 0, and return that (0 at the end). In an update,
 * visit() may change any record: the iteration goes on behind the key it was at, over what is there then (a due_ms set
 * later, but still ≤ now_ms, is met again). */

/* Names of an inode, ordered by (dir, name). */
int journal_each_name(struct journal_txn *txn, uint64_t ino,
	int (*visit)(const struct journal_entry *entry, void *arg), void *arg) _must_check_;

/* Names in a directory, in byte order, beginning after `after` (NULL: at the first). */
int journal_each_in_dir(struct journal_txn *txn, uint64_t dir, const char *after,
	int (*visit)(const struct journal_entry *entry, void *arg), void *arg) _must_check_;

/* The first directory, by inode from `from` on, that names are recorded in. -ENOENT: none. */
int journal_next_dir(struct journal_txn *txn, uint64_t from, uint64_t *ret_dir) _must_check_;

/* Files that are JOURNAL_WAITING or JOURNAL_PARKED with due_ms ≤ now_ms, by due_ms. */
int journal_each_due(struct journal_txn *txn, int64_t now_ms,
	int (*visit)(const struct journal_file *file, void *arg), void *arg) _must_check_;

/* Parked files, any order. */
int journal_each_parked(
	struct journal_txn *txn, int (*visit)(const struct journal_file *file, void *arg), void *arg) _must_check_;

/* The smallest since_ms of a waiting or parked file, and its inode. -ENOENT: nothing waits. Constant time. */
int journal_oldest(struct journal_txn *txn, int64_t *ret_since_ms, uint64_t *ret_ino) _must_check_;

/* The smallest due_ms. -ENOENT: nothing waits. Constant time. */
int journal_next_due(struct journal_txn *txn, int64_t *ret_due_ms) _must_check_;

/* An entry whose object `key` is (journal_entry.key), by an index. -ENOENT: no entry relies on that key. Several may,
 * after a rename: who asks whether *another* one does wants journal_each_with_key(). */
int journal_get_by_key(struct journal_txn *txn, const char *key, struct journal_entry *ret) _must_check_;

/* All entries whose object `key` is, any order. */
int journal_each_with_key(struct journal_txn *txn, const char *key,
	int (*visit)(const struct journal_entry *entry, void *arg), void *arg) _must_check_;

/* Constant time. */
int journal_get_counts(struct journal_txn *txn, struct journal_counts *ret) _must_check_;

#endif
