/* Events into journal records.
 *
 * An entry follows its name, a file its inode. Content that changed gets the next generation, and every name of it then
 * waits for an object of that generation. A name that moved keeps where its object is: the new key becomes a copy. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fusefs/policy/engine.h"
#include "uploader/base/log.h"
#include "uploader/base/units.h"

/* A file that is read or put within the transaction: a fresh one if the journal has none. */
static int get_or_new_file(struct journal_txn *txn, uint64_t ino, struct journal_file *ret)
{
	int r = journal_get_file(txn, ino, ret);

	if (r == -ENOENT) {
		*ret = (struct journal_file){.ino = ino};
		return 1;
	}
	return r;
}

static void make_waiting(const struct engine *engine, struct journal_file *file, bool now)
{
	int64_t wall = wall_ms();

	if (file->work == JOURNAL_IDLE)
		file->since_ms = wall;
	file->work = JOURNAL_WAITING;
	file->due_ms = now ? wall : wall + engine->config->settle_ms;
	file->attempts = 0;
	file->reason[0] = '\0';
}

/* Content differs, or may: the next generation. */
static int touch_file(
	struct engine *engine, struct journal_txn *txn, uint64_t ino, bool content, bool check_first, bool now)
{
	struct journal_file file;
	int r = get_or_new_file(txn, ino, &file);

	if (r < 0)
		return r;
	if (content || r == 1)
		file.generation++;
	if (check_first)
		file.flags |= JOURNAL_CHECK_FIRST;
	make_waiting(engine, &file, now);
	return journal_put_file(txn, &file);
}

static int note_name(const struct journal_entry *entry, void *arg)
{
	*(bool *)arg = entry->type == JOURNAL_TYPE_FILE;
	return entry->type == JOURNAL_TYPE_FILE;
}

/* A file without names has nothing to be uploaded as. */
static int drop_file_if_nameless(struct journal_txn *txn, uint64_t ino)
{
	bool named = false;
	int r = journal_each_name(txn, ino, note_name, &named);

	if (r < 0)
		return r;
	return named ? 0 : journal_delete_file(txn, ino);
}

static int take_proof(const struct journal_entry *entry, void *arg)
{
	struct journal_entry *proof = arg;

	if (entry->key[0] && entry->proven_generation > proof->proven_generation)
		*proof = *entry;
	return 0;
}

/* A further name of a file begins with the object of an earlier one: what is to be done for its own key is a copy. */
static int inherit_proof(struct journal_txn *txn, struct journal_entry *entry)
{
	struct journal_entry proof = {0};
	int r = journal_each_name(txn, entry->ino, take_proof, &proof);

	if (r < 0 || !proof.key[0])
		return r;
	memcpy(entry->key, proof.key, sizeof(entry->key));
	memcpy(entry->etag, proof.etag, sizeof(entry->etag));
	memcpy(entry->version_id, proof.version_id, sizeof(entry->version_id));
	entry->proof = proof.proof;
	entry->proven_generation = proof.proven_generation;
	entry->proven_ms = proof.proven_ms;
	return 0;
}

struct place {
	uint64_t dir;
	const char *name;
	struct journal_entry other;
};

static int find_other_name(const struct journal_entry *entry, void *arg)
{
	struct place *place = arg;

	if (entry->dir == place->dir && !strcmp(entry->name, place->name))
		return 0;
	place->other = *entry;
	return 1;
}

/* A directory has one place. Where it was before, and what another inode of its number was, is not there any more. */
static int forget_others(struct journal_txn *txn, uint64_t ino, uint64_t dir, const char *name)
{
	struct place place = {.dir = dir, .name = name};
	int r;

	while ((r = journal_each_name(txn, ino, find_other_name, &place)) > 0) {
		r = journal_delete_entry(txn, place.other.dir, place.other.name);
		if (r < 0)
			return r;
	}
	return r < 0 ? r : journal_delete_file(txn, ino);
}

/* Puts a name; what another inode had under it is dropped with it. The proof stays if the inode stays. */
static int put_name(struct journal_txn *txn, uint64_t dir, const char *name, uint64_t ino, enum journal_type type)
{
	struct journal_entry entry;
	int r = journal_get_entry(txn, dir, name, &entry);
	uint64_t displaced = 0;

	if (r < 0 && r != -ENOENT)
		return r;
	if (r == 0 && entry.ino == ino && entry.type == type)
		return type == JOURNAL_TYPE_DIR ? forget_others(txn, ino, dir, name) : 0;
	if (r == 0 && entry.type == JOURNAL_TYPE_FILE)
		displaced = entry.ino;
	entry = (struct journal_entry){.dir = dir, .ino = ino, .type = type};
	snprintf(entry.name, sizeof(entry.name), "%s", name);
	r = type == JOURNAL_TYPE_FILE ? inherit_proof(txn, &entry) : forget_others(txn, ino, dir, name);
	if (r == 0)
		r = journal_put_entry(txn, &entry);
	return r == 0 && displaced ? drop_file_if_nameless(txn, displaced) : r;
}

int engine_drop_name(struct journal_txn *txn, uint64_t dir, const char *name, uint64_t only_ino)
{
	struct journal_entry entry;
	int r = journal_get_entry(txn, dir, name, &entry);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (only_ino && entry.ino != only_ino)
		return 0;
	r = journal_delete_entry(txn, dir, name);
	return r == 0 && entry.type == JOURNAL_TYPE_FILE ? drop_file_if_nameless(txn, entry.ino) : r;
}

static bool is_excluded_name(const struct engine *engine, const char *name)
{
	return keys_excluded(&engine->keys, name);
}

static int apply_changed(struct engine *engine, struct journal_txn *txn, const struct fs_event *event)
{
	struct journal_file file;
	int r;

	if (!*event->name || is_excluded_name(engine, event->name)) {
		/* Perhaps known under another name; or an O_TMPFILE that never got one, or a file that stays here. */
		r = journal_get_file(txn, event->ino, &file);
		return r == -ENOENT ? 0 : r < 0 ? r : touch_file(engine, txn, event->ino, true, false, false);
	}
	r = put_name(txn, event->dir, event->name, event->ino, JOURNAL_TYPE_FILE);
	/* Before the tree was compared, a file that the journal does not know may well be in the bucket. */
	return r < 0 ? r : touch_file(engine, txn, event->ino, true, atomic_load(&engine->counters.scanning), false);
}

static int doubt_file(struct journal_txn *txn, uint64_t ino)
{
	struct journal_file file;
	int r = journal_get_file(txn, ino, &file);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	file.flags |= JOURNAL_IN_DOUBT;
	return journal_put_file(txn, &file);
}

/* As the tree is now. What the scan saw may have changed since, and the event of that may have come first. */
static bool is_there(const struct engine *engine, struct journal_txn *txn, const struct fs_event *event)
{
	char path[ENGINE_PATH_MAX];
	struct stat st;

	return engine_path(engine, txn, event->dir, event->name, path) == 0 &&
	       fstatat(engine->backing_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino == event->ino;
}

static int apply_found(struct engine *engine, struct journal_txn *txn, const struct fs_event *event)
{
	/* Its number may be another directory's by now, whose place this would take. */
	if (event->is_dir && !is_there(engine, txn, event))
		return 0;
	int r = put_name(
		txn, event->dir, event->name, event->ino, event->is_dir ? JOURNAL_TYPE_DIR : JOURNAL_TYPE_FILE);

	if (r < 0 || event->is_dir)
		return r;
	if (event->new_ino == ENGINE_FOUND_IN_DOUBT)
		r = doubt_file(txn, event->ino);
	return r < 0 ? r : touch_file(engine, txn, event->ino, event->new_ino == ENGINE_FOUND_CHANGED, true, true);
}

static int apply_linked(struct engine *engine, struct journal_txn *txn, const struct fs_event *event)
{
	if (!event->is_file || is_excluded_name(engine, event->name))
		return 0;
	int r = put_name(txn, event->dir, event->name, event->ino, JOURNAL_TYPE_FILE);

	return r < 0 ? r : touch_file(engine, txn, event->ino, false, false, false);
}

/* Moves one entry. `moved` is what it was, ino 0 when the journal did not know it. */
static int place(struct engine *engine, struct journal_txn *txn, const struct journal_entry *moved, uint64_t dir,
	const char *name, uint64_t ino, bool is_dir)
{
	struct journal_entry entry = *moved;
	bool known = moved->ino == ino;

	if (!is_dir && is_excluded_name(engine, name)) {
		int r = engine_drop_name(txn, dir, name, 0);

		return r < 0 || !known ? r : drop_file_if_nameless(txn, ino);
	}
	if (!known)
		entry = (struct journal_entry){.ino = ino, .type = is_dir ? JOURNAL_TYPE_DIR : JOURNAL_TYPE_FILE};
	/* Clears what was under the name, whoever it was, and makes room for the moved one. */
	int r = put_name(txn, dir, name, ino, entry.type);

	if (r < 0)
		return r;
	entry.dir = dir;
	snprintf(entry.name, sizeof(entry.name), "%s", name);
	r = journal_put_entry(txn, &entry);
	if (r < 0 || is_dir)
		return r;
	return touch_file(engine, txn, ino, false, !known && atomic_load(&engine->counters.scanning), false);
}

static int take_entry(struct journal_txn *txn, uint64_t dir, const char *name, struct journal_entry *ret)
{
	int r = journal_get_entry(txn, dir, name, ret);

	if (r == -ENOENT) {
		*ret = (struct journal_entry){0};
		return 0;
	}
	return r < 0 ? r : journal_delete_entry(txn, dir, name);
}

static int apply_renamed(struct engine *engine, struct journal_txn *txn, const struct fs_event *event)
{
	struct journal_entry moved;
	int r = take_entry(txn, event->dir, event->name, &moved);

	if (r < 0)
		return r;
	if (!event->is_file && !event->is_dir) /* a symlink or the like over a file */
		return engine_drop_name(txn, event->new_dir, event->new_name, 0);
	return place(engine, txn, &moved, event->new_dir, event->new_name, event->ino, event->is_dir);
}

static int apply_exchanged(struct engine *engine, struct journal_txn *txn, const struct fs_event *event)
{
	struct journal_entry first, second;
	int r = take_entry(txn, event->dir, event->name, &first);

	if (r == 0)
		r = take_entry(txn, event->new_dir, event->new_name, &second);
	if (r == 0 && (event->is_file || event->is_dir))
		r = place(engine, txn, &first, event->new_dir, event->new_name, event->ino, event->is_dir);
	/* Of the other side only the journal says what it was; what it does not know, the scan will say. */
	if (r == 0 && second.ino)
		r = place(engine, txn, &second, event->dir, event->name, second.ino, second.type == JOURNAL_TYPE_DIR);
	return r;
}

static int apply_one(struct engine *engine, struct journal_txn *txn, const struct fs_event *event)
{
	switch ((uint32_t)event->type) {
	case FS_EVENT_DIR:
		return put_name(txn, event->dir, event->name, event->ino, JOURNAL_TYPE_DIR);
	case FS_EVENT_CHANGED:
		return apply_changed(engine, txn, event);
	case FS_EVENT_LINKED:
		return apply_linked(engine, txn, event);
	case FS_EVENT_UNLINKED:
		return engine_drop_name(txn, event->dir, event->name, 0);
	case FS_EVENT_RENAMED:
		return apply_renamed(engine, txn, event);
	case FS_EVENT_EXCHANGED:
		return apply_exchanged(engine, txn, event);
	case ENGINE_EVENT_FOUND:
		return apply_found(engine, txn, event);
	case ENGINE_EVENT_GONE:
		if (is_there(engine, txn, event))
			return 0;
		return engine_drop_name(txn, event->dir, event->name, event->ino);
	default:
		return -EINVAL;
	}
}

struct batch {
	struct engine *engine;
	struct fs_event *events;
};

static int apply_all(struct journal_txn *txn, void *arg)
{
	const struct batch *batch = arg;

	for (const struct fs_event *event = batch->events; event; event = event->next) {
		int r = apply_one(batch->engine, txn, event);

		if (r < 0)
			return r;
	}
	return 0;
}

/* What follows from events beside records: counters, and the tree compared again when a directory moved with all the
 * keys below it. */
static void consider(struct engine *engine, const struct fs_event *event)
{
	if (event->is_close && *event->name && !is_excluded_name(engine, event->name))
		atomic_fetch_add(&engine->counters.closed, 1);
	if ((event->type == FS_EVENT_RENAMED && event->is_dir) || event->type == FS_EVENT_EXCHANGED)
		engine_want_scan(engine);
}

int engine_apply(struct engine *engine, struct fs_event *events)
{
	struct batch batch = {.engine = engine, .events = events};
	int r = journal_update(engine->journal, apply_all, &batch);

	if (r < 0)
		return r;
	while (events) {
		struct fs_event *event = events;

		events = event->next;
		consider(engine, event);
		free(event);
	}
	return 0;
}
