/* Opening, and running work in transactions.
 *
 * journal.lock in the state directory is the owner's, by flock: it lives and dies with the process in whatever PID
 * namespace, which LMDB's own lock file does not. That one is removed before each opening, with all slots of readers
 * that are no more. journal.lock says "open" from opening to closing: a store that was not closed, or on which a read
 * failed, is looked at as a whole by the next owner, before anybody relies on it. */
#include "fusefs/journal/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "fusefs/journal/internal.h"
#include "uploader/base/fdio.h"

#define NAMES_TRIED 1000

struct journal {
	struct store *store;
	struct buf scratch; /* under the store's update lock */
	int directory_fd;
	int lock_fd;
	bool cut_off, leave_cut_off;
	char moved_aside[64];
};

typedef int (*work_fn)(struct journal_txn *txn, void *arg);

/* --- transactions --- */

static int run_once(struct journal *journal, work_fn work, void *arg, bool *ret_full)
{
	struct journal_txn txn = {.scratch = &journal->scratch};
	int r = store_begin(journal->store, true, &txn.store);

	if (r < 0)
		return r;
	r = work(&txn, arg);
	if (r == 0)
		r = journal_store_counts(&txn);
	int error = store_end(&txn.store, r == 0);

	*ret_full = txn.store.full;
	return r ? r : error;
}

int journal_update(struct journal *journal, work_fn work, void *arg)
{
	int r;

	store_lock(journal->store);
	for (;;) {
		bool full = false;

		r = run_once(journal, work, arg, &full);
		if (!full)
			break;
		r = store_enlarge(journal->store);
		if (r < 0)
			break;
	}
	store_maintain(journal->store);
	store_unlock(journal->store);
	return r;
}

int journal_view(struct journal *journal, work_fn work, void *arg)
{
	struct journal_txn txn = {0};
	int r = store_begin(journal->store, false, &txn.store);

	if (r < 0)
		return r;
	r = work(&txn, arg);
	int error = store_end(&txn.store, false);

	return r ? r : error;
}

/* --- opening --- */

static int own(struct journal *journal, const char *directory, bool *ret_unclean)
{
	struct stat st;

	journal->directory_fd = open(directory, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (journal->directory_fd < 0)
		return -errno;
	journal->lock_fd =
		openat(journal->directory_fd, JOURNAL_LOCK_NAME, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (journal->lock_fd < 0)
		return -errno;
	if (flock(journal->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	if (fstat(journal->lock_fd, &st) < 0)
		return -errno;
	*ret_unclean = st.st_size > 0;
	if (unlinkat(journal->directory_fd, STORE_LOCK_NAME, 0) < 0 && errno != ENOENT)
		return -errno;
	return 0;
}

static int say_open(struct journal *journal)
{
	if (ftruncate(journal->lock_fd, 0) < 0 || lseek(journal->lock_fd, 0, SEEK_SET) < 0)
		return -errno;
	int r = write_full(journal->lock_fd, "open\n", strlen("open\n"));

	if (r < 0)
		return r;
	/* LMDB syncs what is in its file, not that there is one. */
	return fsync(journal->lock_fd) < 0 || fsync(journal->directory_fd) < 0 ? -errno : 0;
}

static int get_schema(struct journal_txn *txn, uint32_t *ret)
{
	struct record_key key;
	struct store_bytes value;

	record_key_text(&key, JOURNAL_META_SCHEMA);
	int r = store_get(&txn->store, STORE_META, &key, &value);

	return r < 0 ? r : record_decode_schema(value.data, value.length, ret);
}

static int check_schema(struct journal_txn *txn, void *arg)
{
	(void)arg;
	uint32_t schema = 0;
	int r = get_schema(txn, &schema);

	if (r == -EPROTO || schema > JOURNAL_SCHEMA)
		return -EPROTO;
	return r == 0 && schema == JOURNAL_SCHEMA ? 0 : -EIO;
}

static int write_schema(struct journal_txn *txn, void *arg)
{
	(void)arg;
	struct record_key key;
	int r = record_encode_schema(txn->scratch, JOURNAL_SCHEMA);

	if (r < 0)
		return r;
	record_key_text(&key, JOURNAL_META_SCHEMA);
	r = store_put(&txn->store, STORE_META, &key, (struct store_bytes){txn->scratch->data, txn->scratch->length});
	txn->counts_loaded = txn->counts_changed = true;
	return r;
}

/* Takes the store that is there, or makes one. -EIO: what is there is no good. */
static int adopt_store(
	struct journal *journal, const char *directory, size_t map_bytes, bool unclean, bool *ret_fresh)
{
	_cleanup_(store_closep) struct store *store = NULL;
	enum store_state state = STORE_PARTIAL;
	bool is_short = false;
	int r = store_open(directory, map_bytes, &store);

	if (r == 0)
		r = store_is_short(store, &is_short);
	if (r == 0 && (is_short || unclean))
		r = store_probe(directory, journal_check_record);
	if (r == 0)
		r = store_attach(store, &state);
	if (r < 0)
		return r;

	journal->store = store;
	r = state == STORE_EMPTY ? journal_update(journal, write_schema, NULL)
				 : journal_view(journal, check_schema, NULL);
	journal->store = NULL;
	if (r == 0 && state == STORE_PARTIAL)
		r = -EIO;
	if (r < 0)
		return r;
	journal->store = TAKE_PTR(store);
	*ret_fresh = state == STORE_EMPTY;
	return 0;
}

static int move_aside(struct journal *journal)
{
	time_t now = time(NULL);
	struct tm tm;
	char stamp[32];

	if (!gmtime_r(&now, &tm) || strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm) == 0)
		return -EIO;
	for (int i = 0; i < NAMES_TRIED; i++) {
		char name[sizeof(journal->moved_aside)];

		if (i == 0)
			snprintf(name, sizeof(name), STORE_DATA_NAME ".damaged-%s", stamp);
		else
			snprintf(name, sizeof(name), STORE_DATA_NAME ".damaged-%s-%d", stamp, i);
		if (renameat2(journal->directory_fd, STORE_DATA_NAME, journal->directory_fd, name,
			    RENAME_NOREPLACE) == 0) {
			memcpy(journal->moved_aside, name, sizeof(name));
			(void)unlinkat(journal->directory_fd, STORE_LOCK_NAME, 0);
			return 0;
		}
		if (errno != EEXIST)
			return -errno;
	}
	return -EEXIST;
}

static int open_owned(struct journal *journal, const char *directory, size_t map_bytes, bool *ret_fresh)
{
	int r = own(journal, directory, &journal->cut_off);

	if (r < 0)
		return r;
	r = adopt_store(journal, directory, map_bytes, journal->cut_off, ret_fresh);
	if (r == -EIO) {
		r = move_aside(journal);
		if (r == 0)
			r = adopt_store(journal, directory, map_bytes, false, ret_fresh);
	}
	if (r == 0)
		r = say_open(journal);
	if (r < 0)
		return r;
	store_lock(journal->store);
	store_maintain(journal->store);
	store_unlock(journal->store);
	return 0;
}

int journal_open_sized(const char *directory, size_t map_bytes, struct journal **ret, bool *ret_fresh)
{
	struct journal *journal = calloc(1, sizeof(*journal));
	bool fresh = false;

	if (!journal)
		return -ENOMEM;
	journal->directory_fd = journal->lock_fd = -1;
	int r = open_owned(journal, directory, map_bytes, &fresh);

	if (r < 0) {
		journal_close(journal);
		return r;
	}
	*ret_fresh = fresh;
	*ret = journal;
	return 0;
}

int journal_open(const char *directory, struct journal **ret, bool *ret_fresh)
{
	return journal_open_sized(directory, JOURNAL_MAP_BYTES, ret, ret_fresh);
}

const char *journal_moved_aside(const struct journal *journal)
{
	return journal->moved_aside[0] ? journal->moved_aside : NULL;
}

bool journal_was_cut_off(const struct journal *journal)
{
	return journal->cut_off;
}

void journal_leave_cut_off(struct journal *journal)
{
	journal->leave_cut_off = true;
}

void journal_close(struct journal *journal)
{
	if (!journal)
		return;
	if (journal->store) {
		bool sound = !store_is_suspect(journal->store) && !journal->leave_cut_off;

		store_close(journal->store);
		if (sound && ftruncate(journal->lock_fd, 0) < 0) {
			/* The next opening looks at everything: slower, no worse. */
		}
	}
	if (journal->lock_fd >= 0)
		close(journal->lock_fd);
	if (journal->directory_fd >= 0)
		close(journal->directory_fd);
	buf_done(&journal->scratch);
	free(journal);
}
