/* Operations that make, move and remove names. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "fusefs/fs/caller.h"
#include "fusefs/fs/internal.h"
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

static void create(fuse_req_t req, fuse_ino_t parent, const char *name, const struct creation *what)
{
	_cleanup_node_fd_ struct node_fd dir = NODE_FD_NONE;
	int r = fs_resolve(fs_of(req), parent, &dir);

	if (r == 0)
		r = create_as_caller(req, dir.fd, name, what);
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

	pthread_mutex_lock(&fs->table.lock);
	struct node *node = table_node_locked(&fs->table, ino);
	struct node *parent_node = table_node_locked(&fs->table, parent);

	/* What is found by name only is found by its latest: earlier ones are often temporary. */
	bool wanted = node && parent_node && (!node->name || !node->handle_bytes);

	if (wanted && table_rename_locked(&fs->table, node, parent_node, name) == 0 && (node->flags & NODE_PINNED)) {
		node->flags &= (uint8_t)~NODE_PINNED;
		unpin = true;
	}
	pthread_mutex_unlock(&fs->table.lock);
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
	if (r == 0 && linkat(AT_FDCWD, fs_proc_path(node.fd, path), dir.fd, new_name, AT_SYMLINK_FOLLOW) < 0)
		r = -errno;
	if (r < 0) {
		fs_reply(req, r);
		return;
	}
	name_node(fs, ino, new_parent, new_name);
	if (fstatat(dir.fd, new_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		fs_say_name(fs, FS_EVENT_LINKED, new_parent, new_name, &st);
	fs_reply_entry(req, new_parent, dir.fd, new_name);
}

/* What a name is before it goes: enough to keep the node alive afterwards. */
struct doomed {
	struct stat st;
	fuse_ino_t id; /* 0: the kernel does not know it */
	bool is_last;  /* its last name */
	int fd;        /* O_PATH, to find it without a name; -1: none needed */
};

static void doomed_done(struct doomed *doomed)
{
	cleanup_close(&doomed->fd);
}
#define _cleanup_doomed_ _cleanup_(doomed_done)

static int doom(struct fs *fs, fuse_ino_t parent, int dirfd, const char *name, struct doomed *ret)
{
	*ret = (struct doomed){.fd = -1};
	if (dirfd < 0 || fstatat(dirfd, name, &ret->st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	bool keep = false;

	pthread_mutex_lock(&fs->table.lock);
	const struct node *node = table_find_locked(&fs->table, (uint32_t)ret->st.st_dev, ret->st.st_ino);

	if (node && node->lookups) {
		ret->id = table_id_locked(&fs->table, node);
		ret->is_last = S_ISDIR(ret->st.st_mode) || ret->st.st_nlink <= 1;
		/* Without a handle it is found by the name that goes now, or is the last. */
		const struct node *parent_node = table_node_locked(&fs->table, parent);
		bool named = !parent_node || table_is_named_locked(&fs->table, node, parent_node, name);

		keep = S_ISDIR(ret->st.st_mode) || (ret->is_last && node->opens > 0) ||
		       (!node->handle_bytes && (ret->is_last || named));
	}
	pthread_mutex_unlock(&fs->table.lock);
	if (keep)
		ret->fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return 0;
}

/* It was opened between doom() and the removal: its handle leads to it as long as that lasts, and a descriptor then
 * for good. */
static void pin_open_node(struct fs *fs, fuse_ino_t id)
{
	struct node_fd node = NODE_FD_NONE;

	if (fs_resolve_handle(fs, id, &node) < 0 || pins_put(&fs->pins, id, node.fd) < 0)
		log_warning("an open file was removed and cannot be kept track of");
}

/* The name is gone: the node loses it, and what is needed is kept if nothing else leads to its inode. */
static void bury(struct fs *fs, fuse_ino_t parent, const char *name, struct doomed *doomed)
{
	bool is_kept_open = doomed->fd >= 0, pin = is_kept_open || doomed->is_last, opened = false;

	if (!doomed->id)
		return;
	doomed->st.st_nlink = 0;
	if (S_ISDIR(doomed->st.st_mode))
		fdcache_drop(&fs->dircache, doomed->id);
	if (is_kept_open)
		pin = pins_put(&fs->pins, doomed->id, TAKE_FD(doomed->fd)) == 0;
	else if (pin)
		pins_put_attributes(&fs->pins, doomed->id, &doomed->st);
	pthread_mutex_lock(&fs->table.lock);
	struct node *node = table_node_locked(&fs->table, doomed->id);
	struct node *parent_node = table_node_locked(&fs->table, parent);

	if (node && pin) {
		node->flags |= NODE_PINNED;
		opened = doomed->is_last && node->opens > 0 && !is_kept_open;
	}
	if (node && parent_node && table_is_named_locked(&fs->table, node, parent_node, name))
		(void)table_rename_locked(&fs->table, node, NULL, "");
	pthread_mutex_unlock(&fs->table.lock);
	if (opened)
		pin_open_node(fs, doomed->id);
	if (pin && !node)
		pins_drop(&fs->pins, doomed->id);
}

static void remove_name(fuse_req_t req, fuse_ino_t parent, const char *name, int flags)
{
	struct fs *fs = fs_of(req);
	_cleanup_node_fd_ struct node_fd dir = NODE_FD_NONE;
	_cleanup_doomed_ struct doomed doomed = {.fd = -1};
	int r = fs_resolve(fs, parent, &dir);

	if (r == 0)
		r = doom(fs, parent, dir.fd, name, &doomed);
	if (r == 0 && unlinkat(dir.fd, name, flags) < 0)
		r = -errno;
	if (r == 0) {
		bury(fs, parent, name, &doomed);
		fs_say_name(fs, FS_EVENT_UNLINKED, parent, name, &doomed.st);
	}
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

static void move_node_locked(struct fs *fs, fuse_ino_t id, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
	const char *new_name)
{
	struct node *node = id ? table_node_locked(&fs->table, id) : NULL;
	struct node *from = table_node_locked(&fs->table, parent);
	struct node *to = table_node_locked(&fs->table, new_parent);

	/* Out of room for the name: the node is still found by its handle. */
	if (node && from && to && table_is_named_locked(&fs->table, node, from, name))
		(void)table_rename_locked(&fs->table, node, to, new_name);
}

static fuse_ino_t find_node(struct fs *fs, const struct stat *st)
{
	pthread_mutex_lock(&fs->table.lock);
	struct node *node = table_find_locked(&fs->table, (uint32_t)st->st_dev, st->st_ino);
	fuse_ino_t id = node && node->lookups ? table_id_locked(&fs->table, node) : 0;

	pthread_mutex_unlock(&fs->table.lock);
	return id;
}

struct renaming {
	fuse_ino_t parent, new_parent;
	const char *name, *new_name;
	unsigned int flags;
	struct stat source;
	struct doomed target;
	bool has_target;
};

/* RENAME_WHITEOUT makes something, which is the caller's. */
static int rename_as_caller(fuse_req_t req, int dirfd, int new_dirfd, const struct renaming *r)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	bool makes = r->flags & RENAME_WHITEOUT;
	_cleanup_caller_ struct caller caller =
		caller_enter(makes && fs_of(req)->privileged, ctx->uid, ctx->gid, ctx->umask, 0);

	return renameat2(dirfd, r->name, new_dirfd, r->new_name, r->flags) < 0 ? -errno : 0;
}

static int do_rename(fuse_req_t req, int dirfd, int new_dirfd, struct renaming *r)
{
	struct fs *fs = fs_of(req);

	if (fstatat(dirfd, r->name, &r->source, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	r->has_target = doom(fs, r->new_parent, new_dirfd, r->new_name, &r->target) == 0;
	int error = rename_as_caller(req, dirfd, new_dirfd, r);

	if (error < 0)
		return error;
	/* Two names of one file: rename(2) does nothing, and says that it worked. */
	if (r->has_target && r->target.st.st_ino == r->source.st_ino && r->target.st.st_dev == r->source.st_dev)
		return 0;

	fuse_ino_t id = find_node(fs, &r->source);

	if (r->has_target && !(r->flags & RENAME_EXCHANGE))
		bury(fs, r->new_parent, r->new_name, &r->target);
	pthread_mutex_lock(&fs->table.lock);
	move_node_locked(fs, id, r->parent, r->name, r->new_parent, r->new_name);
	if (r->flags & RENAME_EXCHANGE)
		move_node_locked(fs, r->target.id, r->new_parent, r->new_name, r->parent, r->name);
	pthread_mutex_unlock(&fs->table.lock);
	fs_say_renamed(fs, r->flags & RENAME_EXCHANGE ? FS_EVENT_EXCHANGED : FS_EVENT_RENAMED, r->parent, r->name,
		&r->source, r->new_parent, r->new_name, r->has_target ? r->target.st.st_ino : 0);
	return 0;
}

void fs_op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
	unsigned int flags)
{
	struct fs *fs = fs_of(req);
	_cleanup_node_fd_ struct node_fd dir = NODE_FD_NONE, new_dir = NODE_FD_NONE;
	struct renaming renaming = {.parent = parent,
		.name = name,
		.new_parent = new_parent,
		.new_name = new_name,
		.flags = flags,
		.target = {.fd = -1}};
	int r = fs_resolve(fs, parent, &dir);

	if (r == 0)
		r = fs_resolve(fs, new_parent, &new_dir);
	if (r == 0)
		r = do_rename(req, dir.fd, new_dir.fd, &renaming);
	doomed_done(&renaming.target);
	fs_reply(req, r);
}
