/* The environment and its transactions.
 *
 * The map is address space: it starts large and doubles when LMDB says MDB_MAP_FULL. That needs a moment without any
 * transaction, which map_lock makes: every view holds it for reading.
 *
 * LMDB never writes a page in place that a snapshot can see, so a full volume could refuse the very commit that would
 * free something. Therefore blocks are set aside beyond the end of the file, in steps, at least RESERVE_BYTES ahead. */
#include "fusefs/journal/store.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>

#include "fusefs/journal/store_internal.h"
#include "uploader/base/units.h"

#define RESERVE_BYTES (8U << 20)
#define RESERVE_STEP_BYTES (4U << 20)
#define RESERVE_AGAIN_MS 1000 /* after a failure; on a full volume, asking is slow */
#define MAP_BYTES_MAX (64ULL << 30)
#define READER_CHECK_COMMITS 256
#define NO_DBI UINT32_MAX

const char *const store_db_names[STORE_DBS] = {
	[STORE_META] = "meta",
	[STORE_FILE] = "file",
	[STORE_ENTRY] = "entry",
	[STORE_INODE] = "inode",
	[STORE_DUE] = "due",
	[STORE_SINCE] = "since",
	[STORE_PARKED] = "parked",
	[STORE_BLOCKS] = "blocks",
	[STORE_OBJECT] = "object",
};

int store_translate(int code)
{
	if (code >= 0)
		return -code;
	switch (code) {
	case MDB_NOTFOUND:
		return -ENOENT;
	case MDB_KEYEXIST:
		return -EEXIST;
	case MDB_MAP_FULL:
		return -ENOSPC;
	case MDB_TXN_FULL:
		return -E2BIG;
	case MDB_READERS_FULL:
		return -EAGAIN;
	case MDB_BAD_VALSIZE:
		return -EINVAL;
	case MDB_VERSION_MISMATCH:
		return -EPROTO;
	default: /* MDB_CORRUPTED, MDB_PAGE_NOTFOUND, MDB_INVALID, MDB_PANIC, MDB_BAD_TXN … */
		return -EIO;
	}
}

int store_open(const char *directory, size_t map_bytes, struct store **ret)
{
	_cleanup_(store_closep) struct store *store = calloc(1, sizeof(*store));
	pthread_rwlockattr_t attr;

	if (!store)
		return -ENOMEM;
	pthread_mutex_init(&store->update_lock, NULL);
	pthread_rwlockattr_init(&attr);
	/* Else views without a gap between them would keep an enlargement waiting for ever. */
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&store->map_lock, &attr);
	pthread_rwlockattr_destroy(&attr);
	store->map_bytes = map_bytes;

	int code = mdb_env_create(&store->env);

	if (code == 0)
		code = mdb_env_set_maxdbs(store->env, STORE_DBS);
	if (code == 0)
		code = mdb_env_set_mapsize(store->env, map_bytes);
	if (code == 0)
		code = mdb_env_open(store->env, directory, MDB_NOTLS, 0600);
	if (code == 0)
		code = mdb_env_get_fd(store->env, &store->fd);
	if (code != 0)
		return store_translate(code);
	if (mdb_env_get_maxkeysize(store->env) < RECORD_KEY_MAX)
		return -EOPNOTSUPP;
	*ret = TAKE_PTR(store);
	return 0;
}

void store_close(struct store *store)
{
	if (!store)
		return;
	if (store->env)
		mdb_env_close(store->env);
	pthread_rwlock_destroy(&store->map_lock);
	pthread_mutex_destroy(&store->update_lock);
	free(store);
}

/* Bytes up to the last page that was ever allocated. */
static int used_bytes(struct store *store, uint64_t *ret)
{
	MDB_envinfo info;
	MDB_stat stat;
	int code = mdb_env_info(store->env, &info);

	if (code == 0)
		code = mdb_env_stat(store->env, &stat);
	if (code != 0)
		return store_translate(code);
	if (__builtin_mul_overflow((uint64_t)info.me_last_pgno + 1, (uint64_t)stat.ms_psize, ret))
		return -EIO;
	return 0;
}

int store_is_short(struct store *store, bool *ret)
{
	uint64_t used = 0;
	struct stat st;
	int r = used_bytes(store, &used);

	if (r < 0)
		return r;
	if (fstat(store->fd, &st) < 0)
		return -errno;
	*ret = (uint64_t)st.st_size < used;
	return 0;
}

/* Opens every sub-database that is there; all, if the store is empty. */
static int open_dbs(struct store *store, MDB_txn *txn, enum store_state *ret)
{
	MDB_stat main_stat;
	MDB_dbi main_dbi;
	int code = mdb_dbi_open(txn, NULL, 0, &main_dbi);

	if (code == 0)
		code = mdb_stat(txn, main_dbi, &main_stat);
	if (code != 0)
		return code;
	*ret = main_stat.ms_entries == 0 ? STORE_EMPTY : STORE_WHOLE;
	for (int db = 0; db < STORE_DBS; db++) {
		store->dbis[db] = NO_DBI;
		code = mdb_dbi_open(txn, store_db_names[db], *ret == STORE_EMPTY ? MDB_CREATE : 0, &store->dbis[db]);
		if (code == MDB_NOTFOUND || code == MDB_INCOMPATIBLE)
			*ret = STORE_PARTIAL;
		else if (code != 0)
			return code;
	}
	return 0;
}

int store_attach(struct store *store, enum store_state *ret)
{
	MDB_txn *txn;
	enum store_state state = STORE_PARTIAL;
	int code = mdb_txn_begin(store->env, NULL, 0, &txn);

	if (code != 0)
		return store_translate(code);
	code = open_dbs(store, txn, &state);
	if (code != 0) {
		mdb_txn_abort(txn);
		return store_translate(code);
	}
	code = mdb_txn_commit(txn);
	if (code == 0)
		*ret = state;
	return store_translate(code);
}

int store_begin(struct store *store, bool writable, struct store_txn *ret)
{
	*ret = (struct store_txn){.store = store, .writable = writable};
	if (!writable)
		pthread_rwlock_rdlock(&store->map_lock);
	int code = mdb_txn_begin(store->env, NULL, writable ? 0 : MDB_RDONLY, &ret->mdb);

	if (code != 0 && !writable)
		pthread_rwlock_unlock(&store->map_lock);
	return store_translate(code);
}

/* LMDB says EIO for a write that was cut short, as one is that fills the volume. */
static int commit_code(struct store *store, int code)
{
	off_t next = (off_t)(store->reserved_bytes + RESERVE_STEP_BYTES);

	if (code == EIO && fallocate(store->fd, FALLOC_FL_KEEP_SIZE, 0, next) < 0 &&
		(errno == ENOSPC || errno == EDQUOT))
		return ENOSPC;
	return code;
}

int store_end(struct store_txn *txn, bool commit)
{
	if (commit && txn->writable && !txn->error)
		store_note(txn, commit_code(txn->store, mdb_txn_commit(txn->mdb)));
	else
		mdb_txn_abort(txn->mdb);
	txn->mdb = NULL;
	if (!txn->writable)
		pthread_rwlock_unlock(&txn->store->map_lock);
	return txn->error;
}

int store_enlarge(struct store *store)
{
	size_t map_bytes;

	if (__builtin_mul_overflow(store->map_bytes, (size_t)2, &map_bytes) || map_bytes > MAP_BYTES_MAX)
		return -ENOSPC;
	pthread_rwlock_wrlock(&store->map_lock);
	int code = mdb_env_set_mapsize(store->env, map_bytes);

	pthread_rwlock_unlock(&store->map_lock);
	if (code == 0)
		store->map_bytes = map_bytes;
	return store_translate(code);
}

void store_lock(struct store *store)
{
	pthread_mutex_lock(&store->update_lock);
}

void store_unlock(struct store *store)
{
	pthread_mutex_unlock(&store->update_lock);
}

static void reserve(struct store *store)
{
	uint64_t used = 0;

	if (used_bytes(store, &used) < 0 || used + RESERVE_BYTES <= store->reserved_bytes ||
		clock_ms() < store->reserve_again_ms)
		return;
	uint64_t steps = (used + RESERVE_BYTES + RESERVE_STEP_BYTES - 1) / RESERVE_STEP_BYTES;

	if (fallocate(store->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)(steps * RESERVE_STEP_BYTES)) == 0)
		store->reserved_bytes = steps * RESERVE_STEP_BYTES;
	else
		store->reserve_again_ms = clock_ms() + RESERVE_AGAIN_MS;
}

void store_maintain(struct store *store)
{
	int dead;

	reserve(store);
	if (store->commits++ % READER_CHECK_COMMITS == 0)
		(void)mdb_reader_check(store->env, &dead);
}

bool store_is_suspect(const struct store *store)
{
	return atomic_load(&store->suspect);
}
