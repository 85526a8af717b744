/* The small steps that the operations share: names into the table and out of it, answers, events. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fusefs/fs/internal.h"
#include "uploader/base/killpoint.h"

void fs_reply(fuse_req_t req, int error)
{
	fuse_reply_err(req, error < 0 ? -error : error);
}

void fs_fill_entry(fuse_ino_t id, const struct stat *st, struct fuse_entry_param *ret)
{
	*ret = (struct fuse_entry_param){
		.ino = id,
		.generation = 0,
		.attr = *st,
		.attr_timeout = FS_CACHE_SECONDS,
		.entry_timeout = FS_CACHE_SECONDS,
	};
}

int fs_enter(struct fs *fs, fuse_ino_t parent, const char *name, const struct stat *st,
	const struct node_identity *identity, enum inflight_state reached, struct fuse_entry_param *ret)
{
	int r = 0;

	table_lock(&fs->table);
	struct node *parent_node = table_node_locked(&fs->table, parent);
	struct node *node = table_lookup_locked(&fs->table, identity, parent_node, name);

	if (node)
		fs_fill_entry(table_id_locked(&fs->table, node), st, ret);
	else
		r = -ENFILE;
	if (node && reached == INFLIGHT_LISTED && !inflight_list_locked(fs, ret->ino)) {
		(void)table_forget_locked(&fs->table, node, 1);
		r = -ENOSPC;
	} else if (node && reached != INFLIGHT_LISTED) {
		inflight_reach_locked(fs, reached, ret->ino, 0);
	}
	table_unlock(&fs->table);
	return r;
}

static bool is_nameless(const struct fs *fs, const struct node *node)
{
	return node && !node->opens && !node->children && node != &fs->table.nodes[NODE_ROOT_SLOT] &&
	       !table_name_locked(&fs->table, node)[0];
}

/* A FORGET that a process read and had not done when it died is not sent again: what has no name and no handle would be
 * kept for nothing, and its space on the disk with it. The kernel says whether it knows the inode still. */
bool fs_let_go(struct fs *fs, fuse_ino_t id)
{
	if (fuse_lowlevel_notify_inval_inode(fs->session, id, -1, 0) != -ENOENT)
		return false;
	table_lock(&fs->table);
	struct node *node = table_node_locked(&fs->table, id);
	bool goes = is_nameless(fs, node);

	if (goes)
		(void)table_forget_locked(&fs->table, node, UINT64_MAX);
	table_unlock(&fs->table);
	return goes;
}

void fs_leave(struct fs *fs, fuse_ino_t id, uint64_t lookups)
{
	uint64_t freed[TABLE_FREED_MAX];
	uint32_t n_freed = 0;
	bool pinned = false, gone = false, doubtful = false;

	table_lock(&fs->table);
	struct node *node = table_node_locked(&fs->table, id);

	if (node) {
		pinned = node->flags & NODE_PINNED;
		gone = table_forget_locked(&fs->table, node, lookups);
		doubtful = !gone && is_nameless(fs, node);
		n_freed = table_take_freed_locked(&fs->table, freed);
	}
	table_unlock(&fs->table);
	if (doubtful)
		gone = fs_let_go(fs, id);
	if (gone && pinned)
		pins_drop(&fs->pins, id);
	for (uint32_t i = 0; i < n_freed && i < TABLE_FREED_MAX; i++)
		fdcache_drop(&fs->dircache, freed[i]);
	if (n_freed > TABLE_FREED_MAX)
		fdcache_clear(&fs->dircache);
}

/* What an earlier process entered for this request, if that is what is at the name still: a look-up that the kernel
 * does to confirm a name holds no lock of its directory. */
static bool is_entered(struct fs *fs, const struct node_identity *identity, fuse_ino_t *ret)
{
	const struct inflight *done = inflight_in_state(INFLIGHT_DONE);
	bool same;

	if (!done)
		return false;
	*ret = done->node;
	table_lock(&fs->table);
	const struct node *node = table_node_locked(&fs->table, done->node);

	same = node && node->ino == identity->ino && node->dev == identity->dev;
	table_unlock(&fs->table);
	if (same)
		return true;
	inflight_cancel();
	fs_leave(fs, *ret, 1);
	return false;
}

void fs_reply_entry(fuse_req_t req, fuse_ino_t parent, int dirfd, const char *name)
{
	struct fs *fs = fs_of(req);
	struct fuse_entry_param entry = {.entry_timeout = FS_ABSENCE_SECONDS};
	struct node_identity identity = {0};
	fuse_ino_t id;
	struct stat st;
	int r = fs_identify(fs, dirfd, name, &st, &identity);

	if (is_entered(fs, &identity, &id))
		fs_fill_entry(id, &st, &entry);
	else if (r == 0)
		r = fs_enter(fs, parent, name, &st, &identity, INFLIGHT_DONE, &entry);
	KILL_POINT("entry: to be answered");
	if (r < 0 && r != -ENOENT)
		fs_reply(req, r);
	else if (fuse_reply_entry(req, &entry) < 0 && entry.ino)
		fs_leave(fs, entry.ino, 1);
}

/* One block: the event, then its names. NULL: out of memory; the comparison at the next start finds what was missed. */
static struct fs_event *event_new(enum fs_event_type type, const char *name, const char *new_name)
{
	size_t name_size = strlen(name) + 1, new_size = strlen(new_name) + 1;
	struct fs_event *event = malloc(sizeof(*event) + name_size + new_size);

	if (!event)
		return NULL;
	char *names = (char *)(event + 1);

	memcpy(names, name, name_size);
	memcpy(names + name_size, new_name, new_size);
	*event = (struct fs_event){.type = type, .name = names, .new_name = names + name_size};
	return event;
}

/* Events of one operation, first to last. */
struct event_list {
	struct fs_event *first, **end;
};

static void list_push(struct event_list *list, struct fs_event *event)
{
	if (!event)
		return;
	*list->end = event;
	list->end = &event->next;
}

static void list_send(struct fs *fs, struct event_list *list)
{
	while (list->first) {
		struct fs_event *event = list->first;

		list->first = event->next;
		event->next = NULL;
		fs->options.on_event(event, fs->options.event_arg);
	}
}

/* Says of a directory, and before it of those above it, where it lies, if that was not said yet. */
static void announce_locked(struct fs *fs, struct node *dir, struct event_list *list)
{
	struct node *parent = table_parent_locked(&fs->table, dir);

	uint8_t life = (uint8_t)table_life(&fs->table);

	if (dir->announced == life || !parent)
		return;
	announce_locked(fs, parent, list);
	struct fs_event *event = event_new(FS_EVENT_DIR, table_name_locked(&fs->table, dir), "");

	if (!event)
		return;
	event->is_dir = true;
	event->ino = dir->ino;
	event->dir = parent->ino;
	list_push(list, event);
	table_save_node_locked(&fs->table, dir);
	dir->announced = life;
}

void fs_say_changed(struct fs *fs, fuse_ino_t id, bool is_close)
{
	struct event_list list = {.end = &list.first};

	if (!fs->options.on_event)
		return;
	table_lock(&fs->table);
	struct node *node = table_node_locked(&fs->table, id);

	if (node && (node->flags & NODE_IS_FILE) && node->dev == fs->dev) {
		struct node *parent = table_parent_locked(&fs->table, node);

		if (parent)
			announce_locked(fs, parent, &list);
		struct fs_event *event = event_new(FS_EVENT_CHANGED, table_name_locked(&fs->table, node), "");

		if (event) {
			event->is_file = true;
			event->is_close = is_close;
			event->ino = node->ino;
			event->dir = parent ? parent->ino : 0;
		}
		list_push(&list, event);
	}
	table_unlock(&fs->table);
	list_send(fs, &list);
}

static uint64_t announced_ino_locked(struct fs *fs, fuse_ino_t id, struct event_list *list)
{
	struct node *node = table_node_locked(&fs->table, id);

	if (!node)
		return 0;
	announce_locked(fs, node, list);
	return node->ino;
}

void fs_say_renamed(struct fs *fs, enum fs_event_type type, fuse_ino_t parent, const char *name,
	const struct stat *st, fuse_ino_t new_parent, const char *new_name, uint64_t new_ino)
{
	struct event_list list = {.end = &list.first};

	if (!fs->options.on_event || (uint32_t)st->st_dev != fs->dev ||
		(!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode) && type != FS_EVENT_RENAMED &&
			type != FS_EVENT_EXCHANGED))
		return;
	table_lock(&fs->table);
	uint64_t dir = announced_ino_locked(fs, parent, &list);
	uint64_t new_dir = new_parent ? announced_ino_locked(fs, new_parent, &list) : 0;
	struct fs_event *event = event_new(type, name, new_name);

	if (event) {
		event->is_dir = S_ISDIR(st->st_mode);
		event->is_file = S_ISREG(st->st_mode);
		event->ino = st->st_ino;
		event->new_ino = new_ino;
		event->dir = dir;
		event->new_dir = new_dir;
	}
	list_push(&list, event);
	table_unlock(&fs->table);
	list_send(fs, &list);
}

void fs_say_name(struct fs *fs, enum fs_event_type type, fuse_ino_t parent, const char *name, const struct stat *st)
{
	fs_say_renamed(fs, type, parent, name, st, 0, "", 0);
}
