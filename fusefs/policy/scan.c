/* Compares the tree with the journal, in the background, while the mount serves: what was never uploaded, changed while
 * nobody looked, or moved with its directory is offered to the engine; names that are gone are taken out.
 *
 * Directories wait as relative paths, deepest first, so that what waits is bounded by the tree's width times its depth.
 * A directory's entries are compared a chunk at a time, each chunk in a view of the journal of its own. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fusefs/policy/engine.h"
#include "uploader/base/log.h"
#include "uploader/base/units.h"

#define CHUNK 128
#define DUE_MAX_MS 3600000 /* later than that is due by a clock that was wrong */
#define REST_FACTOR 10     /* rests ten times as long as the last comparison took */
#define WAIT_MAX_MS 60000
#define GONE_MAX 4096 /* directories that wait until the whole tree was seen */

struct pending {
	struct pending *next;
	uint64_t ino;
	char path[];
};

struct seen {
	struct stat st;
	char name[JOURNAL_NAME_MAX + 1];
	bool offer;
	enum engine_found found;
};

struct scan {
	struct engine *engine;
	struct pending *pending;
	uint64_t dir;     /* inode of the directory being compared */
	int dirfd;        /* of it */
	const char *path; /* of it */
	struct seen *seen;
	size_t n_seen;
	struct pending *gone; /* directories with names that are gone */
	size_t n_gone;
	uint64_t files, offered;
	bool incomplete;
};

static bool is_dots(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

static void push(struct scan *scan, struct pending **list, const char *parent, const char *name, uint64_t ino)
{
	size_t size = strlen(parent) + strlen(name) + 2;
	struct pending *pending = malloc(sizeof(*pending) + size);

	if (!pending || size > ENGINE_PATH_MAX) {
		scan->incomplete = true;
		free(pending);
		return;
	}
	snprintf(pending->path, size, "%s%s%s", parent, *parent && *name ? "/" : "", name);
	pending->ino = ino;
	pending->next = *list;
	*list = pending;
}

/* Whether an inode that the journal knows is still that file, not another one with its number. */
static bool is_same_file(const struct scan *scan, const struct seen *seen, const struct journal_file *file)
{
	struct statx stx;

	if (!file->birth_ns || statx(scan->dirfd, seen->name, AT_SYMLINK_NOFOLLOW, STATX_BTIME, &stx) < 0 ||
		!(stx.stx_mask & STATX_BTIME))
		return true;
	return stx.stx_btime.tv_sec * NSEC_PER_SEC + stx.stx_btime.tv_nsec == file->birth_ns;
}

static bool content_differs(const struct scan *scan, const struct seen *seen, const struct journal_file *file)
{
	return file->proven_generation != file->generation || file->size != (uint64_t)seen->st.st_size ||
	       file->mtime_ns != timespec_ns(seen->st.st_mtim) || !is_same_file(scan, seen, file);
}

/* Nothing to do only if the receipt is about this very content, under the key that the path has now. */
static int compare_file(struct scan *scan, struct journal_txn *txn, struct seen *seen)
{
	char path[ENGINE_PATH_MAX], key[JOB_KEY_MAX + 1];
	struct journal_entry entry;
	struct journal_file file;
	int n = snprintf(path, sizeof(path), "%s%s%s", scan->path, *scan->path ? "/" : "", seen->name);

	if (n < (int)sizeof(path) && keys_excluded(&scan->engine->keys, path))
		return 0;
	seen->offer = true;
	seen->found = ENGINE_FOUND_CHANGED;
	int r = journal_get_file(txn, seen->st.st_ino, &file);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	bool differs = content_differs(scan, seen, &file), touched = file.ctime_ns != timespec_ns(seen->st.st_ctim);

	r = journal_get_entry(txn, scan->dir, seen->name, &entry);
	if (r < 0 && r != -ENOENT)
		return r;
	if (r < 0 || entry.ino != seen->st.st_ino) {
		/* Renamed or linked while nobody looked, which touches the inode as a change would. */
		seen->found = differs ? ENGINE_FOUND_CHANGED : ENGINE_FOUND_IN_DOUBT;
		return 0;
	}
	if (file.work != JOURNAL_IDLE && file.due_ms < wall_ms() + DUE_MAX_MS) {
		seen->offer = false; /* it is in the queue and is looked at there */
		return 0;
	}
	r = n < (int)sizeof(path) ? keys_make(&scan->engine->keys, path, timespec_ns(seen->st.st_mtim), key) : -1;
	seen->found = differs || touched ? ENGINE_FOUND_CHANGED : ENGINE_FOUND_MOVED;
	seen->offer = differs || touched || r < 0 || strcmp(key, entry.key) != 0;
	return 0;
}

static int compare_dir(struct scan *scan, struct journal_txn *txn, struct seen *seen)
{
	struct journal_entry entry;
	int r = journal_get_entry(txn, scan->dir, seen->name, &entry);

	seen->offer = r < 0 || entry.ino != seen->st.st_ino || entry.type != JOURNAL_TYPE_DIR;
	return r == -ENOENT ? 0 : r;
}

static int compare_chunk(struct journal_txn *txn, void *arg)
{
	struct scan *scan = arg;

	for (size_t i = 0; i < scan->n_seen; i++) {
		struct seen *seen = &scan->seen[i];
		int r = S_ISDIR(seen->st.st_mode) ? compare_dir(scan, txn, seen) : compare_file(scan, txn, seen);

		if (r < 0)
			return r;
	}
	return 0;
}

/* Compares the chunk and offers what differs. False at the end of the program. */
static bool finish_chunk(struct scan *scan)
{
	int r = journal_view(scan->engine->journal, compare_chunk, scan);

	if (r < 0) {
		log_error("scan: journal: %s", strerror(-r));
		scan->incomplete = true;
	}
	for (size_t i = 0; r == 0 && i < scan->n_seen; i++) {
		const struct seen *seen = &scan->seen[i];
		bool is_dir = S_ISDIR(seen->st.st_mode);

		if (seen->offer && !engine_offer(scan->engine, ENGINE_EVENT_FOUND, scan->dir, seen->name,
					   seen->st.st_ino, is_dir, seen->found))
			return false;
		scan->offered += seen->offer && !is_dir;
		scan->files += !is_dir;
		if (is_dir)
			push(scan, &scan->pending, scan->path, seen->name, seen->st.st_ino);
	}
	scan->n_seen = 0;
	return !engine_is_stopping(scan->engine);
}

static bool look_at_names(struct scan *scan, DIR *dir)
{
	const struct dirent *dent;

	while ((dent = readdir(dir))) {
		struct seen *seen = &scan->seen[scan->n_seen];

		if (is_dots(dent->d_name) ||
			(dent->d_type != DT_REG && dent->d_type != DT_DIR && dent->d_type != DT_UNKNOWN))
			continue;
		*seen = (struct seen){0};
		if (fstatat(scan->dirfd, dent->d_name, &seen->st, AT_SYMLINK_NOFOLLOW) < 0)
			continue; /* gone meanwhile: its event tells */
		/* Another filesystem mounted below has inode numbers of its own: it is served, and not uploaded. */
		if ((!S_ISREG(seen->st.st_mode) && !S_ISDIR(seen->st.st_mode)) ||
			seen->st.st_dev != scan->engine->root_dev)
			continue;
		snprintf(seen->name, sizeof(seen->name), "%s", dent->d_name);
		if (++scan->n_seen == CHUNK && !finish_chunk(scan))
			return false;
	}
	return finish_chunk(scan);
}

/* Names that the journal has and the directory has not, or has for something else. */
struct gone {
	int dirfd;
	uint64_t dir;
	char after[JOURNAL_NAME_MAX + 1];
	struct {
		char name[JOURNAL_NAME_MAX + 1];
		uint64_t ino;
	} names[CHUNK];
	size_t n, looked_at;
};

static int note_gone(const struct journal_entry *entry, void *arg)
{
	struct gone *gone = arg;
	struct stat st;

	memcpy(gone->after, entry->name, sizeof(gone->after));
	if (fstatat(gone->dirfd, entry->name, &st, AT_SYMLINK_NOFOLLOW) < 0 ? errno == ENOENT
									    : st.st_ino != entry->ino) {
		memcpy(gone->names[gone->n].name, entry->name, sizeof(gone->after));
		gone->names[gone->n++].ino = entry->ino;
	}
	return gone->n == CHUNK || ++gone->looked_at == CHUNK * 8;
}

static int find_gone(struct journal_txn *txn, void *arg)
{
	struct gone *gone = arg;

	return journal_each_in_dir(txn, gone->dir, *gone->after ? gone->after : NULL, note_gone, gone);
}

static bool offer_gone(struct scan *scan, const struct gone *gone)
{
	for (size_t i = 0; i < gone->n; i++) {
		if (!engine_offer(scan->engine, ENGINE_EVENT_GONE, gone->dir, gone->names[i].name, gone->names[i].ino,
			    false, ENGINE_FOUND_CHANGED))
			return false;
	}
	return true;
}

/* A name that is gone from one directory may be found in another: its receipt goes there if it is still known then. So
 * they are only looked for while the tree is compared, and offered after that. */
static bool look_for_gone(struct scan *scan, int dirfd, bool offer)
{
	_cleanup_free_ struct gone *gone = calloc(1, sizeof(*gone));
	int r = 1;

	if (!gone)
		return true;
	gone->dirfd = dirfd;
	gone->dir = scan->dir;
	while (r > 0 && !engine_is_stopping(scan->engine)) {
		gone->n = gone->looked_at = 0;
		r = journal_view(scan->engine->journal, find_gone, gone);
		if (gone->n && !offer && scan->n_gone < GONE_MAX) {
			push(scan, &scan->gone, scan->path, "", scan->dir);
			scan->n_gone++;
			return true;
		}
		if (!offer_gone(scan, gone))
			return false;
	}
	return true;
}

static bool scan_directory(struct scan *scan, const struct pending *pending, bool for_gone)
{
	int fd = engine_open(scan->engine, pending->path, O_RDONLY | O_DIRECTORY | O_NOATIME);
	_cleanup_closedir_ DIR *dir = NULL;

	if (fd == -EPERM)
		fd = engine_open(scan->engine, pending->path, O_RDONLY | O_DIRECTORY);
	if (fd >= 0)
		dir = fdopendir(fd);
	if (!dir) {
		char quoted[LOG_QUOTE_MAX];

		if (fd != -ENOENT) {
			log_warning(
				"scan: %s: %s", log_quote(pending->path, quoted), strerror(fd < 0 ? -fd : ENOMEM));
			scan->incomplete = true;
		}
		return true;
	}
	scan->dir = pending->ino;
	scan->dirfd = dirfd(dir);
	scan->path = pending->path;
	scan->n_seen = 0;
	return (for_gone || look_at_names(scan, dir)) && look_for_gone(scan, dirfd(dir), for_gone);
}

/* A directory with names in the journal, but no place. */
struct lost {
	struct gone gone; /* its names */
	const struct engine *engine;
	uint64_t from;
	bool found, through;
};

static int note_name(const struct journal_entry *entry, void *arg)
{
	struct gone *gone = arg;

	memcpy(gone->after, entry->name, sizeof(gone->after));
	memcpy(gone->names[gone->n].name, entry->name, sizeof(gone->after));
	gone->names[gone->n++].ino = entry->ino;
	return gone->n == CHUNK;
}

static int find_lost(struct journal_txn *txn, void *arg)
{
	struct lost *lost = arg;
	char path[ENGINE_PATH_MAX];
	int r = 0;

	lost->found = false;
	for (int i = 0; i < CHUNK && !lost->found; i++) {
		r = journal_next_dir(txn, lost->from, &lost->gone.dir);
		if (r < 0) {
			lost->through = true;
			return r == -ENOENT ? 0 : r;
		}
		lost->from = lost->gone.dir + 1;
		r = engine_path(lost->engine, txn, lost->gone.dir, "", path);
		lost->found = r == -ENOENT || r == -ELOOP;
	}
	return lost->found || r == -ENAMETOOLONG ? 0 : r;
}

static int find_names(struct journal_txn *txn, void *arg)
{
	struct gone *gone = arg;

	return journal_each_in_dir(txn, gone->dir, *gone->after ? gone->after : NULL, note_name, gone);
}

/* Names in directories that went unseen: with their files while nobody looked, or when a process was killed before the
 * journal heard of them. Once the whole tree was compared, every directory that there is has its place, or has it in
 * an event that comes before these; but for one that is moving, so the tree is compared once more. */
static bool drop_lost(struct scan *scan)
{
	_cleanup_free_ struct lost *lost = calloc(1, sizeof(*lost));
	bool again = false;
	int r = 0;

	if (!lost)
		return true;
	lost->engine = scan->engine;
	while (!lost->through && r >= 0) {
		r = journal_view(scan->engine->journal, find_lost, lost);
		*lost->gone.after = '\0';
		for (bool more = r >= 0 && lost->found; more;) {
			lost->gone.n = 0;
			r = journal_view(scan->engine->journal, find_names, &lost->gone);
			more = r > 0;
			again = again || lost->gone.n;
			if (!offer_gone(scan, &lost->gone))
				return false;
		}
	}
	if (again)
		engine_want_scan(scan->engine);
	if (r < 0)
		log_error("scan: journal: %s", strerror(-r));
	return true;
}

static void scan_tree(struct engine *engine)
{
	_cleanup_free_ struct seen *seen = calloc(CHUNK, sizeof(*seen));
	struct scan scan = {.engine = engine, .seen = seen};
	int64_t began = clock_ms();
	bool going = seen != NULL;

	push(&scan, &scan.pending, "", "", engine->root_ino);
	while (scan.pending || scan.gone) {
		struct pending **list = scan.pending ? &scan.pending : &scan.gone;
		_cleanup_free_ struct pending *pending = *list;

		*list = pending->next;
		if (going)
			going = scan_directory(&scan, pending, list == &scan.gone);
	}
	if (going && !scan.incomplete)
		going = drop_lost(&scan);
	if (going)
		log_info("compared %llu files with the journal in %lld ms: %llu to look at%s",
			(unsigned long long)scan.files, (long long)(clock_ms() - began),
			(unsigned long long)scan.offered, scan.incomplete ? "; some could not be read" : "");
}

/* True when a scan is wanted and not_before_ms (clock_ms()) has come, false at the end. */
static bool wait_for_work(struct engine *engine, int64_t not_before_ms)
{
	pthread_mutex_lock(&engine->lock);
	while (!engine->stopping &&
		(!engine->scan_wanted || !atomic_load(&engine->mounted) || clock_ms() < not_before_ms)) {
		int64_t until = wall_ms() + (not_before_ms > clock_ms() ? not_before_ms - clock_ms() : WAIT_MAX_MS);
		struct timespec deadline = {.tv_sec = until / MSEC_PER_SEC,
			.tv_nsec = until % MSEC_PER_SEC * (NSEC_PER_SEC / MSEC_PER_SEC)};

		pthread_cond_timedwait(&engine->changed, &engine->lock, &deadline);
	}
	bool go = !engine->stopping;

	engine->scan_wanted = false;
	/* Said before the wish is forgotten, so that nobody sees neither. */
	atomic_store(&engine->counters.scanning, go);
	pthread_mutex_unlock(&engine->lock);
	return go;
}

void *scan_thread(void *arg)
{
	struct engine *engine = arg;
	int64_t not_before_ms = 0;

	background_thread();
	while (wait_for_work(engine, not_before_ms)) {
		int64_t began = clock_ms();

		scan_tree(engine);
		atomic_store(&engine->counters.scanning, false);
		/* Directories that are renamed all day long must not make this a busy loop. */
		not_before_ms = clock_ms() + (clock_ms() - began) * REST_FACTOR;
	}
	return NULL;
}
