/* What the files of the journal share, and what its tests may use beside journal.h. */
#ifndef EBBFS_JOURNAL_INTERNAL_H
#define EBBFS_JOURNAL_INTERNAL_H

#include "fusefs/journal/journal.h"
#include "fusefs/journal/store.h"

#define JOURNAL_SCHEMA 1
#define JOURNAL_LOCK_NAME "journal.lock"
#define JOURNAL_MAP_BYTES (1ULL << 30) /* to begin with; address space only */

#define JOURNAL_META_SCHEMA "schema"
#define JOURNAL_META_COUNTS "counts"

struct journal_txn {
	struct store_txn store;
	struct buf *scratch; /* for encoding; NULL in a view */
	bool counts_loaded, counts_changed;
	struct journal_counts counts; /* if counts_loaded: with what this transaction changed */
};

/* journal_open() with another first size of the map. */
int journal_open_sized(const char *directory, size_t map_bytes, struct journal **ret, bool *ret_fresh) _must_check_;

/* Pages that records take, over all sub-databases. */
int journal_pages(struct journal *journal, uint64_t *ret) _must_check_;

/* Loads txn->counts, once. */
int journal_load_counts(struct journal_txn *txn) _must_check_;
int journal_store_counts(struct journal_txn *txn) _must_check_;

/* Whether a record alone is as some version of this program could have written it. 0 or -EIO. For store_probe(). */
int journal_check_record(enum store_db db, struct store_bytes key, struct store_bytes value) _must_check_;

/* Compares everything with everything: records, indices, counts. 0, or -EIO and one line in complaint. Slow. */
#define JOURNAL_COMPLAINT_MAX 256
int journal_check(struct journal_txn *txn, char complaint[static JOURNAL_COMPLAINT_MAX]) _must_check_;

#endif
