/* What the halves of the store share: store.c (environment), store_txn.c (inside a transaction), store_probe.c. */
#ifndef EBBFS_JOURNAL_STORE_INTERNAL_H
#define EBBFS_JOURNAL_STORE_INTERNAL_H

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>

#include "fusefs/journal/store.h"

struct store {
	MDB_env *env;
	MDB_dbi dbis[STORE_DBS];
	int fd; /* of the data file, LMDB's own */
	pthread_mutex_t update_lock;
	pthread_rwlock_t map_lock; /* read: a view is open; write: the map moves */
	atomic_bool suspect;
	/* Under update_lock: */
	size_t map_bytes;
	uint64_t reserved_bytes;
	int64_t reserve_again_ms; /* CLOCK_MONOTONIC */
	unsigned int commits;
};

extern const char *const store_db_names[STORE_DBS];

/* LMDB's codes and errno → -errno. */
int store_translate(int code);

/* Translates, and remembers what is no -ENOENT. Returns this call's own -errno. */
int store_note(struct store_txn *txn, int code);

#endif
