/* Operations that make, move and remove names. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "fusefs/fs/caller.h"
#include "fusefs/fs/internal.h"
#include "uploader/base/killpoint.h"
#include "uploader/base/log.h"

struct creation {
	mode_t mode;
	dev_t rdev;
	const char *target; /* of a symlink, or NULL */
};

static int create_as_caller(fuse_req_t req, int dirfd, const char *name, const struct creation *what)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	_cleanup_caller_ struct caller caller =
		caller_enter(fs_of(req)->privileged, ctx->uid, ctx->gid, ctx->umask, what->mode);
	int r;

	if (what->target)
		r = symlinkat(what->target, dirfd, name);
	else if (S_ISDIR(what->mode))
		r = mkdirat(dirfd, name, what->mode & 07777);
	else
		r = mknodat(dirfd, name, what->mode, what->rdev);
	return r < 0 ? -errno : 0;
}

/* Writes down that a name is about to be made, if it is not there: a name that is there makes the call fail, however
 * often it is done. */
static void intend_name(struct fs *fs, fuse_ino_t parent, int dirfd, const char *name)
{
	struct stat st;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return;
	struct inflight *inflight = inflight_new(fs);

	inflight->parent = parent;
	inflight_name(inflight->name, name);
	inflight_intend(inflight);
}

static void create(fuse_req_t req, fuse_ino_t parent, const char *name, const struct creation *what)
{
	struct fs *fs = fs_of(req);
	_cleanup_node_fd_ struct node_fd dir = NODE_FD_NONE;
	int r = fs_resolve(fs, parent, &dir);

	if (r == 0 && !inflight_current()) {
		intend_name(fs, parent, dir.fd, name);
		r = create_as_caller(req, dir.fd, name, what);
		KILL_POINT("create: made");
	}
	if (r < 0)
		fs_reply(req, r);
	else
		fs_reply_entry(req, parent, dir.fd, name);
}

void fs_op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	create(req, parent, name, &(struct creation){.mode = mode, .rdev = rdev});
}

void fs_op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	create(req, parent, name, &(struct creation){.mode = mode | S_IFDIR});
}

void fs_op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	create(req, parent, name, &(struct creation){.target = target});
}

/* An O_TMPFILE gets its first name: from now on it is found like any other. */
static void name_node(struct fs *fs, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	bool unpin = false;

	table_lock(&fs->table);
	struct node *node = table_node_locked(&fs->table, ino);
	struct node *parent_node = table_node_locked(&fs->table, parent);

	/* What is found by name only is found by its latest: earlier ones are often temporary. */
	bool wanted = node && parent_node && (!node->name || !node->handle_bytes);

	if (wanted && table_rename_locked(&fs->table, node, parent_node, name) == 0 && (node->flags & NODE_PINNED)) {
		/* table_rename_locked() saved it. */
		node->flags &= (uint8_t)~NODE_PINNED;
		unpin = true;
	}
	table_unlock(&fs->table);
	if (unpin)
		pins_drop(&fs->pins, ino);
}

void fs_op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name)
{
	struct fs *fs = fs_of(req);
	_cleanup_node_fd_ struct node_fd node = NODE_FD_NONE, dir = NODE_FD_NONE;
	char path[PROC_PATH_MAX];
	struct stat st;
	int r = fs_resolve(fs, ino, &node);

	if (r == 0)
		r = fs_resolve(fs, new_parent, &dir);
	if (r == 0 && !inflight_current()) {
		intend_name(fs, new_parent, dir.fd, new_name);
		if (linkat(AT_FDCWD, fs_proc_path(node.fd, path), dir.fd, new_name, AT_SYMLINK_FOLLOW) < 0)
			r = -errno;
		KILL_POINT("link: made");
	}
	if (r < 0) {
		fs_reply(req, r);
		return;
	}
	name_node(fs, ino, new_parent, new_name);
	if (fstatat(dir.fd, new_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		fs_say_name(fs, FS_EVENT_LINKED, new_parent, new_name, &st);
	fs_reply_entry(req, new_parent, dir.fd, new_name);
}

/* What a name is before it goes, into the record: enough to keep the node alive afterwards. What will not be found
 * without its name is pinned. 0 or -errno. */
static int doom(struct fs *fs, fuse_ino_t parent, int dirfd, const char *name, struct inflight *inflight)
{
	struct stat *st = &inflight->target;
	bool keep = false;

	if (fstatat(dirfd, name, st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	table_lock(&fs->table);
	const struct node *node = table_find_locked(&fs->table, (uint32_t)st->st_dev, st->st_ino);

	if (node && node->lookups) {
		/* Without a handle it is found by the name that goes now, or is the last. */
		const struct node *parent_node = table_node_locked(&fs->table, parent);
		bool named = !parent_node || table_is_named_locked(&fs->table, node, parent_node, name);
		bool is_last = S_ISDIR(st->st_mode) || st->st_nlink <= 1;

		inflight->node = table_id_locked(&fs->table, node);
		inflight->flags |= is_last ? INFLIGHT_IS_LAST : 0;
		keep = !(node->flags & NODE_PINNED) && (S_ISDIR(st->st_mode) || (is_last && node->opens > 0) ||
							       (!node->handle_bytes && (is_last || named)));
	}
	table_unlock(&fs->table);
	if (!keep)
		return 0;
	int fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	/* Before the name goes: a pin that is on its way to the anchor outlives this process. */
	if (fd >= 0 && pins_put(&fs->pins, inflight->node, fd) == 0)
		inflight->flags |= INFLIGHT_PINNED;
	KILL_POINT("doom: pinned");
	return 0;
}

void fs_unpin(struct fs *fs, const struct inflight *inflight)
{
	if (inflight->flags & INFLIGHT_PINNED)
		pins_drop(&fs->pins, inflight->node);
}

void fs_pin_if_open(struct fs *fs, fuse_ino_t id)
{
	struct node_fd found = NODE_FD_NONE;

	table_lock(&fs->table);
	struct node *node = table_node_locked(&fs->table, id);
	bool wanted = node && node->opens > 0 && !(node->flags & NODE_PINNED);

	table_unlock(&fs->table);
	if (!wanted)
		return;
	if (fs_resolve_handle(fs, id, &found) < 0 || pins_put(&fs->pins, id, found.fd) < 0) {
		log_warning("an open file was removed and cannot be kept track of");
		return;
	}
	table_lock(&fs->table);
	node = table_node_locked(&fs->table, id);
	if (node) {
		table_save_node_locked(&fs->table, node);
		node->flags |= NODE_PINNED;
	}
	table_unlock(&fs->table);
	if (!node)
		pins_drop(&fs->pins, id);
}

void fs_bury_locked(struct fs *fs, const struct inflight *inflight, fuse_ino_t parent, const char *name)
{
	struct node *node = inflight->node ? table_node_locked(&fs->table, inflight->node) : NULL;
	struct node *parent_node = table_node_locked(&fs->table, parent);
	struct stat st = inflight->target;

	if (!node)
		return;
	st.st_nlink = 0;
	if (inflight->flags & INFLIGHT_PINNED) {
		table_save_node_locked(&fs->table, node);
		node->flags |= NODE_PINNED;
	}
	if ((inflight->flags & INFLIGHT_IS_LAST) && !(node->flags & NODE_PINNED))
		table_keep_attributes_locked(&fs->table, node, &st);
	else if (parent_node && table_is_named_locked(&fs->table, node, parent_node, name))
		(void)table_rename_locked(&fs->table, node, NULL, "");
}

/* What is left to do outside of the table. */
static void after_burial(struct fs *fs, const struct inflight *inflight)
{
	if (!inflight->node)
		return;
	if (S_ISDIR(inflight->target.st_mode))
		fdcache_drop(&fs->dircache, inflight->node);
	if (inflight->flags & INFLIGHT_IS_LAST)
		fs_pin_if_open(fs, inflight->node);
}

static int remove_once(struct fs *fs, fuse_ino_t parent, int dirfd, const char *name, int flags)
{
	struct inflight *inflight = inflight_new(fs);
	int r = doom(fs, parent, dirfd, name, inflight);

	if (r < 0)
		return r;
	inflight->parent = parent;
	inflight_name(inflight->name, name);
	inflight_intend(inflight);
	atomic_fetch_add(&fs->changes_begun, 1);
	r = unlinkat(dirfd, name, flags) < 0 ? -errno : 0;
	KILL_POINT("remove: gone");
	if (r == 0) {
		table_lock(&fs->table);
		fs_bury_locked(fs, inflight, parent, name);
		inflight_reach_locked(fs, INFLIGHT_DONE, inflight->node, 0);
		table_unlock(&fs->table);
	}
	atomic_fetch_add(&fs->changes_ended, 1);
	if (r < 0) {
		inflight_cancel();
		fs_unpin(fs, inflight);
		return r;
	}
	after_burial(fs, inflight);
	fs_say_name(fs, FS_EVENT_UNLINKED, parent, name, &inflight->target);
	return 0;
}

static void remove_name(fuse_req_t req, fuse_ino_t parent, const char *name, int flags)
{
	struct fs *fs = fs_of(req);
	_cleanup_node_fd_ struct node_fd dir = NODE_FD_NONE;

	if (inflight_in_state(INFLIGHT_DONE)) {
		fs_reply(req, 0);
		return;
	}
	int r = fs_resolve(fs, parent, &dir);

	if (r == 0)
		r = remove_once(fs, parent, dir.fd, name, flags);
	fs_reply(req, r);
}

void fs_op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_name(req, parent, name, 0);
}

void fs_op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_name(req, parent, name, AT_REMOVEDIR);
}

static void move_node_locked(struct fs *fs, struct node *node, fuse_ino_t parent, const char *name,
	fuse_ino_t new_parent, const char *new_name)
{
	struct node *from = table_node_locked(&fs->table, parent);
	struct node *to = table_node_locked(&fs->table, new_parent);

	/* Out of room for the name: the node is still found by its handle. */
	if (node && from && to && table_is_named_locked(&fs->table, node, from, name))
		(void)table_rename_locked(&fs->table, node, to, new_name);
}

void fs_move_locked(struct fs *fs, const struct inflight *inflight)
{
	bool exchanges = inflight->rename_flags & RENAME_EXCHANGE;

	if ((inflight->flags & INFLIGHT_HAS_TARGET) && !exchanges)
		fs_bury_locked(fs, inflight, inflight->new_parent, inflight->new_name);
	move_node_locked(fs, table_find_locked(&fs->table, inflight->source_dev, inflight->source_ino),
		inflight->parent, inflight->name, inflight->new_parent, inflight->new_name);
	if (exchanges)
		move_node_locked(fs, inflight->node ? table_node_locked(&fs->table, inflight->node) : NULL,
			inflight->new_parent, inflight->new_name, inflight->parent, inflight->name);
}

/* RENAME_WHITEOUT makes something, which is the caller's. */
static int rename_as_caller(fuse_req_t req, int dirfd, int new_dirfd, const struct inflight *inflight)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	bool makes = inflight->rename_flags & RENAME_WHITEOUT;
	_cleanup_caller_ struct caller caller =
		caller_enter(makes && fs_of(req)->privileged, ctx->uid, ctx->gid, ctx->umask, 0);

	return renameat2(dirfd, inflight->name, new_dirfd, inflight->new_name, inflight->rename_flags) < 0 ? -errno
													   : 0;
}

/* Two names of one file: rename(2) does nothing, and says that it worked. */
static bool is_same_file(const struct inflight *inflight)
{
	return (inflight->flags & INFLIGHT_HAS_TARGET) && inflight->target.st_ino == inflight->source_ino &&
	       (uint32_t)inflight->target.st_dev == inflight->source_dev;
}

static int rename_once(fuse_req_t req, int dirfd, int new_dirfd, struct inflight *inflight)
{
	struct fs *fs = fs_of(req);
	struct stat source;

	if (fstatat(dirfd, inflight->name, &source, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	inflight->source_ino = source.st_ino;
	inflight->source_dev = (uint32_t)source.st_dev;
	if (doom(fs, inflight->new_parent, new_dirfd, inflight->new_name, inflight) == 0)
		inflight->flags |= INFLIGHT_HAS_TARGET;
	if (is_same_file(inflight)) {
		fs_unpin(fs, inflight);
		return rename_as_caller(req, dirfd, new_dirfd, inflight);
	}
	inflight_intend(inflight);
	atomic_fetch_add(&fs->changes_begun, 1);
	int r = rename_as_caller(req, dirfd, new_dirfd, inflight);

	KILL_POINT("rename: renamed");
	if (r == 0) {
		table_lock(&fs->table);
		fs_move_locked(fs, inflight);
		inflight_reach_locked(fs, INFLIGHT_DONE, inflight->node, 0);
		table_unlock(&fs->table);
	}
	atomic_fetch_add(&fs->changes_ended, 1);
	if (r < 0 || (inflight->rename_flags & RENAME_EXCHANGE))
		fs_unpin(fs, inflight);
	if (r < 0) {
		inflight_cancel();
		return r;
	}
	if ((inflight->flags & INFLIGHT_HAS_TARGET) && !(inflight->rename_flags & RENAME_EXCHANGE))
		after_burial(fs, inflight);
	fs_say_renamed(fs, inflight->rename_flags & RENAME_EXCHANGE ? FS_EVENT_EXCHANGED : FS_EVENT_RENAMED,
		inflight->parent, inflight->name, &source, inflight->new_parent, inflight->new_name,
		inflight->flags & INFLIGHT_HAS_TARGET ? inflight->target.st_ino : 0);
	return 0;
}

void fs_op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
	unsigned int flags)
{
	struct fs *fs = fs_of(req);
	_cleanup_node_fd_ struct node_fd dir = NODE_FD_NONE, new_dir = NODE_FD_NONE;

	if (inflight_in_state(INFLIGHT_DONE)) {
		fs_reply(req, 0);
		return;
	}
	int r = fs_resolve(fs, parent, &dir);

	if (r == 0)
		r = fs_resolve(fs, new_parent, &new_dir);
	if (r == 0) {
		struct inflight *inflight = inflight_new(fs);

		inflight->parent = parent;
		inflight->new_parent = new_parent;
		inflight->rename_flags = flags;
		inflight_name(inflight->name, name);
		inflight_name(inflight->new_name, new_name);
		r = rename_once(req, dir.fd, new_dir.fd, inflight);
	}
	fs_reply(req, r);
}
