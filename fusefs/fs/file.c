/* Open files: passthrough where it can be had, a descriptor of ours where not.
 *
 * The kernel wants one backing id per inode for as long as any of its descriptors is open, and never passthrough and
 * ordinary descriptors of one inode side by side (fs/fuse/iomode.c). So the first open of a node decides for those that
 * come before it is closed by all, under the node's lock. */
#include <errno.h>
#include <fcntl.h>

#include "fusefs/fs/caller.h"
#include "fusefs/fs/internal.h"
#include "uploader/base/killpoint.h"
#include "uploader/base/log.h"

static pthread_mutex_t *node_lock(struct fs *fs, fuse_ino_t id)
{
	return &fs->node_locks[(uint32_t)id % FS_NODE_LOCKS];
}

static bool can_write(uint32_t flags)
{
	return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC);
}

/* Flags for a descriptor of ours. The kernel does O_DIRECT, O_SYNC and O_APPEND by itself, through reads, fsyncs, and
 * writes at the offset that it found: with O_APPEND, what a mapping stored would be appended too. */
static int our_flags(uint32_t flags)
{
	return (int)(flags & (O_ACCMODE | O_DIRECTORY));
}

/* What is left to do after a node's passthrough was refused: once for the log, and never again for the same reason. */
static void passthrough_refused(struct fs *fs, fuse_ino_t id, int error)
{
	struct table_connection *connection = table_connection(&fs->table);

	if (__atomic_load_n(&connection->passthrough, __ATOMIC_RELAXED) != TABLE_PASSTHROUGH_WORKED) {
		__atomic_store_n(&connection->passthrough, TABLE_PASSTHROUGH_REFUSED, __ATOMIC_RELAXED);
		if (atomic_exchange(&fs->passthrough, false))
			log_warning(
				"passthrough is not to be had here (%m): reads and writes go through this process; "
				"it needs CAP_SYS_ADMIN, Linux 6.9 and a plain filesystem below");
		return;
	}
	table_lock(&fs->table);
	struct node *node = table_node_locked(&fs->table, id);

	if (node) {
		table_save_node_locked(&fs->table, node);
		node->flags |= NODE_NO_PASSTHROUGH;
	}
	table_unlock(&fs->table);
	(void)error;
}

/* How the node is open now. Returns its backing id, 0 when it may get one, -1 when it is to do without. */
static int backing_id_of(struct fs *fs, fuse_ino_t id)
{
	int backing_id = -1;

	table_lock(&fs->table);
	const struct node *node = table_node_locked(&fs->table, id);

	if (node && node->opens > 0)
		backing_id = node->backing_id ? node->backing_id : -1;
	else if (node && atomic_load(&fs->passthrough) && !(node->flags & NODE_NO_PASSTHROUGH))
		backing_id = 0;
	table_unlock(&fs->table);
	return backing_id;
}

/* What the kernel is told of an open handle. */
static void fill_open(int backing_id, struct fuse_file_info *fi)
{
	fi->backing_id = backing_id > 0 ? backing_id : 0;
	fi->keep_cache = backing_id <= 0;
	fi->noflush = 1;
}

/* Registers the backing file. Its id, or -1 when the node is to do without. */
static int register_backing(fuse_req_t req, fuse_ino_t id, int fd)
{
	struct fs *fs = fs_of(req);
	int backing_id = fuse_passthrough_open(req, fd);

	KILL_POINT("open: registered");
	if (backing_id <= 0) {
		passthrough_refused(fs, id, errno);
		return -1;
	}
	__atomic_store_n(&table_connection(&fs->table)->passthrough, TABLE_PASSTHROUGH_WORKED, __ATOMIC_RELAXED);
	__atomic_store_n(&table_connection(&fs->table)->last_backing_id, backing_id, __ATOMIC_RELAXED);
	return backing_id;
}

/* A handle for the node, with its backing file registered if need be: the request in hand is DONE then. fd: O_PATH, or
 * -1 to have it resolved here. */
static int open_handle(fuse_req_t req, fuse_ino_t id, int fd, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	_cleanup_node_fd_ struct node_fd resolved = {.fd = fd};
	int r = 0;

	pthread_mutex_lock(node_lock(fs, id));
	int backing_id = backing_id_of(fs, id);

	if (backing_id == 0 && fd < 0)
		r = fs_resolve(fs, id, &resolved);
	if (backing_id == 0 && r == 0)
		backing_id = register_backing(req, id, resolved.fd);
	bool is_nameless = false;

	table_lock(&fs->table);
	struct node *node = table_node_locked(&fs->table, id);

	if (r == 0)
		r = node ? table_open_handle_locked(&fs->table, node, (uint32_t)fi->flags, &fi->fh) : -ESTALE;
	if (r == 0) {
		/* table_open_handle_locked() saved it. */
		node->backing_id = backing_id > 0 ? backing_id : 0;
		if (can_write((uint32_t)fi->flags))
			table_add_writer_locked(&fs->table, node, 1);
		inflight_reach_locked(fs, INFLIGHT_DONE, id, fi->fh);
		is_nameless = (node->flags & NODE_HAS_ATTRIBUTES) && !(node->flags & NODE_PINNED);
	}
	table_unlock(&fs->table);
	pthread_mutex_unlock(node_lock(fs, id));
	/* Its last name went while it was opened: the handle was not there yet to be seen. */
	if (is_nameless)
		fs_pin_if_open(fs, id);
	fill_open(backing_id, fi);
	KILL_POINT("open: to be answered");
	return r;
}

/* The handle that an earlier process opened for this request. False: none. */
static bool reopen_handle(struct fs *fs, struct fuse_file_info *fi)
{
	const struct inflight *done = inflight_in_state(INFLIGHT_DONE);
	int backing_id = 0;

	if (!done)
		return false;
	table_lock(&fs->table);
	const struct node *node = table_node_locked(&fs->table, done->node);

	if (node)
		backing_id = node->backing_id;
	table_unlock(&fs->table);
	fi->fh = done->fh;
	fill_open(backing_id, fi);
	return true;
}

/* Gives the handle back, says that its file changed if it was the last writer, and returns the backing id with it if it
 * was the last of its node: the request in hand is CLOSING until that is given back as well. */
static void close_handle(fuse_req_t req, uint64_t fh)
{
	struct fs *fs = fs_of(req);
	int unused_backing_id = 0;
	bool changed = false, unpin = false;
	fuse_ino_t id = 0;

	fdcache_drop(&fs->fdcache, fh);
	table_lock(&fs->table);
	struct handle *handle = table_handle_locked(&fs->table, fh);

	if (handle)
		id = table_id_locked(&fs->table, &fs->table.nodes[handle->node]);
	table_unlock(&fs->table);
	if (!handle)
		return; /* an earlier process has done that */
	pthread_mutex_lock(node_lock(fs, id));
	table_lock(&fs->table);
	struct node *node = &fs->table.nodes[handle->node];

	changed = can_write(handle->flags) && node->writers == 1;
	table_unlock(&fs->table);
	/* Before it is forgotten that there was a writer: said twice is better than never. */
	if (changed)
		fs_say_changed(fs, id, true);
	table_lock(&fs->table);
	if (can_write(handle->flags))
		table_add_writer_locked(&fs->table, node, -1);
	if (node->opens == 1) {
		table_save_node_locked(&fs->table, node);
		unused_backing_id = node->backing_id;
		node->backing_id = 0;
	}
	unpin = node->flags & NODE_PINNED;
	unpin = table_close_handle_locked(&fs->table, handle) && unpin;
	if (unused_backing_id || inflight_current())
		inflight_reach_locked(fs, INFLIGHT_CLOSING, 0, 0);
	if (inflight_current())
		inflight_current()->backing_id = unused_backing_id;
	table_unlock(&fs->table);
	if (unused_backing_id)
		fuse_passthrough_close(req, unused_backing_id);
	pthread_mutex_unlock(node_lock(fs, id));
	if (unpin)
		pins_drop(&fs->pins, id);
	KILL_POINT("release: closed");
}

int fs_handle_fd(struct fs *fs, fuse_ino_t ino, uint64_t fh, struct fdcache_ref *ret)
{
	_cleanup_node_fd_ struct node_fd node = NODE_FD_NONE;
	int flags = -1;

	if (fdcache_get(&fs->fdcache, fh, ret) == 0)
		return 0;
	table_lock(&fs->table);
	const struct handle *handle = table_handle_locked(&fs->table, fh);

	if (handle)
		flags = our_flags(handle->flags);
	table_unlock(&fs->table);
	if (flags < 0)
		return -EBADF;
	int r = fs_resolve(fs, ino, &node);

	if (r == 0)
		r = fs_reopen(node.fd, flags);
	return r < 0 ? r : fdcache_put(&fs->fdcache, fh, r, ret);
}

/* Without passthrough the descriptor is opened at once: what is wrong with it is the answer to open(2). */
static int open_ours(struct fs *fs, fuse_ino_t ino, const struct fuse_file_info *fi)
{
	_cleanup_fdcache_ref_ struct fdcache_ref ref = FDCACHE_REF_NONE;

	return fi->backing_id ? 0 : fs_handle_fd(fs, ino, fi->fh, &ref);
}

static int truncate_node(fuse_req_t req, fuse_ino_t ino)
{
	struct fs *fs = fs_of(req);
	_cleanup_caller_ struct caller caller = caller_keep_set_ids(fs->privileged, fuse_req_ctx(req)->uid);
	_cleanup_node_fd_ struct node_fd node = NODE_FD_NONE;
	int r = fs_resolve(fs, ino, &node);

	if (r < 0)
		return r;
	_cleanup_close_ int fd = fs_reopen(node.fd, O_WRONLY | O_TRUNC);
	return fd < 0 ? fd : 0;
}

static int truncate_once(fuse_req_t req, fuse_ino_t ino)
{
	struct inflight *inflight = inflight_current();

	if (inflight && (inflight->flags & INFLIGHT_TRUNCATED))
		return 0;
	int r = truncate_node(req, ino);

	KILL_POINT("open: truncated");
	/* Died before this: truncated again, while open(2) still has not returned. */
	if (r == 0 && inflight)
		inflight->flags |= INFLIGHT_TRUNCATED;
	return r;
}

void fs_op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	int r = reopen_handle(fs, fi) ? 0 : open_handle(req, ino, -1, fi);

	if (r < 0) {
		fs_reply(req, r);
		return;
	}
	r = open_ours(fs, ino, fi);
	if (r == 0 && (fi->flags & O_TRUNC))
		r = truncate_once(req, ino);
	if (r == 0 && fuse_reply_open(req, fi) == 0)
		return;
	close_handle(req, fi->fh);
	if (r < 0)
		fs_reply(req, r);
}

/* What CREATE came to. */
struct made {
	int fd;
	bool is_path; /* O_PATH; else what the caller asked for */
	bool is_new;  /* it was not there before; true already when an earlier process made it */
};

/* mknod(2) makes the file without opening it: a descriptor that can write would count as a writer for ever once it was
 * registered. */
static int make_to_register(int dirfd, const char *name, mode_t mode, int flags, struct made *ret)
{
	ret->is_path = true;
	ret->is_new = mknodat(dirfd, name, (mode & 07777) | S_IFREG, 0) == 0;
	KILL_POINT("create: made");
	if (!ret->is_new && (errno != EEXIST || (flags & O_EXCL)))
		return -errno;
	ret->fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return ret->fd < 0 ? -errno : 0;
}

static int make_and_open(int dirfd, const char *name, mode_t mode, int flags, struct made *ret)
{
	int how = our_flags((uint32_t)flags) | O_CREAT | O_NOFOLLOW | O_CLOEXEC;

	ret->fd = openat(dirfd, name, how | O_EXCL, mode & 07777);
	ret->is_new = ret->fd >= 0;
	KILL_POINT("create: made");
	if (ret->fd < 0 && errno == EEXIST && !(flags & O_EXCL))
		ret->fd = openat(dirfd, name, how, mode & 07777);
	return ret->fd < 0 ? -errno : 0;
}

static int make_file(
	fuse_req_t req, int dirfd, const char *name, mode_t mode, int flags, bool passthrough, struct made *ret)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	_cleanup_caller_ struct caller caller =
		caller_enter(fs_of(req)->privileged, ctx->uid, ctx->gid, ctx->umask, mode);

	return passthrough ? make_to_register(dirfd, name, mode, flags, ret)
			   : make_and_open(dirfd, name, mode, flags, ret);
}

/* An earlier process made it. Its mode need not allow the caller what the one who creates it may: not as the caller. */
static int open_made(int dirfd, const char *name, int flags, bool passthrough, struct made *ret)
{
	int how = passthrough ? O_PATH : our_flags((uint32_t)flags);

	ret->is_path = passthrough;
	ret->fd = openat(dirfd, name, how | O_NOFOLLOW | O_CLOEXEC);
	return ret->fd < 0 ? -errno : 0;
}

static void note_new(struct fs *fs, fuse_ino_t id)
{
	table_lock(&fs->table);
	struct node *node = table_node_locked(&fs->table, id);

	if (node) {
		table_save_node_locked(&fs->table, node);
		node->flags |= NODE_NO_CAPABILITY;
	}
	table_unlock(&fs->table);
}

static int open_entered(fuse_req_t req, fuse_ino_t id, int fd, struct fuse_file_info *fi)
{
	int r = open_handle(req, id, fd, fi);

	if (r < 0) {
		inflight_cancel();
		fs_leave(fs_of(req), id, 1);
	}
	return r;
}

/* Enters, opens and answers for a file that was just made. fd is closed or taken over. */
static void reply_created(
	fuse_req_t req, fuse_ino_t parent, const char *name, const struct made *made, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	_cleanup_close_ int fd = made->fd;
	_cleanup_fdcache_ref_ struct fdcache_ref ref = FDCACHE_REF_NONE;
	struct fuse_entry_param entry = {0};
	struct node_identity identity;
	struct stat st;
	int r = fs_identify_fd(fs, fd, &st, &identity);

	if (r == 0 && !S_ISREG(st.st_mode))
		r = S_ISDIR(st.st_mode) ? -EISDIR : -ELOOP;
	const struct inflight *done = inflight_in_state(INFLIGHT_DONE);

	if (r == 0 && done) {
		fs_fill_entry(done->node, &st, &entry);
		(void)reopen_handle(fs, fi);
	} else if (r == 0) {
		r = fs_enter(fs, parent, name, &st, &identity, INFLIGHT_ENTERED, &entry);
		if (r == 0)
			r = open_entered(req, entry.ino, fd, fi);
	}
	if (r < 0) {
		fs_reply(req, r);
		return;
	}
	if (made->is_new)
		note_new(fs, entry.ino);
	if (!made->is_path && !fi->backing_id)
		r = fdcache_put(&fs->fdcache, fi->fh, TAKE_FD(fd), &ref);
	else
		r = open_ours(fs, entry.ino, fi);
	if (r == 0 && (fi->flags & O_TRUNC) && st.st_size > 0)
		r = truncate_once(req, entry.ino);
	if (r == 0 && fuse_reply_create(req, &entry, fi) == 0)
		return;
	close_handle(req, fi->fh);
	fs_leave(fs, entry.ino, 1);
	if (r < 0)
		fs_reply(req, r);
}

/* What settling found of it, or that it is about to be made. A file that is there already is only opened. */
static void intend_file(struct fs *fs, fuse_ino_t parent, int dirfd, const char *name, struct made *made)
{
	struct inflight *inflight = inflight_current();
	struct stat st;

	if (inflight) {
		made->is_new = inflight->flags & INFLIGHT_IS_NEW;
		return;
	}
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return;
	inflight = inflight_new(fs);
	inflight->parent = parent;
	inflight->flags = INFLIGHT_IS_NEW;
	inflight_name(inflight->name, name);
	inflight_intend(inflight);
}

void fs_op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	_cleanup_node_fd_ struct node_fd dir = NODE_FD_NONE;
	struct made made = {.fd = -1};
	int r = fs_resolve(fs, parent, &dir);

	if (r == 0) {
		intend_file(fs, parent, dir.fd, name, &made);
		bool passthrough = atomic_load(&fs->passthrough);

		r = inflight_in_state(INFLIGHT_MADE) || inflight_in_state(INFLIGHT_DONE)
			    ? open_made(dir.fd, name, fi->flags, passthrough, &made)
			    : make_file(req, dir.fd, name, mode, fi->flags, passthrough, &made);
	}
	if (r < 0)
		fs_reply(req, r);
	else
		reply_created(req, parent, name, &made, fi);
}

static int make_tmpfile(fuse_req_t req, int dirfd, mode_t mode, int flags)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	_cleanup_caller_ struct caller caller =
		caller_enter(fs_of(req)->privileged, ctx->uid, ctx->gid, ctx->umask, mode);
	int access = (flags & O_ACCMODE) == O_RDONLY ? O_WRONLY : flags & O_ACCMODE;
	int fd = openat(dirfd, ".", O_TMPFILE | access | (flags & O_EXCL) | O_CLOEXEC, mode & 07777);

	return fd < 0 ? -errno : fd;
}

/* A file without a name is found by the descriptor that is kept of it. */
static int enter_tmpfile(struct fs *fs, int fd, struct fuse_entry_param *ret)
{
	struct node_identity identity;
	struct stat st;
	int r = fs_identify_fd(fs, fd, &st, &identity);

	if (r == 0)
		r = fs_enter(fs, 0, "", &st, &identity, INFLIGHT_ENTERED, ret);
	if (r < 0)
		return r;
	int pin = fs_reopen(fd, O_PATH);

	r = pin < 0 ? pin : pins_put(&fs->pins, ret->ino, pin);
	KILL_POINT("tmpfile: pinned");
	if (r < 0) {
		inflight_cancel();
		fs_leave(fs, ret->ino, 1);
		return r;
	}
	table_lock(&fs->table);
	struct node *node = table_node_locked(&fs->table, ret->ino);

	if (node) {
		table_save_node_locked(&fs->table, node);
		node->flags |= NODE_PINNED;
	}
	table_unlock(&fs->table);
	return 0;
}

/* The answer that an earlier process had ready. */
static int reopen_tmpfile(struct fs *fs, struct fuse_entry_param *ret, struct fuse_file_info *fi)
{
	_cleanup_node_fd_ struct node_fd node = NODE_FD_NONE;
	fuse_ino_t id = inflight_current()->node;
	struct stat st;
	int r = fs_resolve(fs, id, &node);

	if (r == 0 && fstatat(node.fd, "", &st, AT_EMPTY_PATH) < 0)
		r = -errno;
	if (r < 0)
		return r;
	fs_fill_entry(id, &st, ret);
	(void)reopen_handle(fs, fi);
	return 0;
}

static int open_tmpfile(
	fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_entry_param *ret, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	_cleanup_node_fd_ struct node_fd dir = NODE_FD_NONE;
	_cleanup_close_ int fd = -1;
	int r = fs_resolve(fs, parent, &dir);

	if (r == 0)
		r = fd = make_tmpfile(req, dir.fd, mode, fi->flags);
	if (r >= 0)
		r = enter_tmpfile(fs, fd, ret);
	return r < 0 ? r : open_entered(req, ret->ino, -1, fi);
}

void fs_op_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct fuse_entry_param entry = {0};
	int r;

	fi->flags &= ~O_TMPFILE; /* O_DIRECTORY is part of it, and this is none */
	if (!inflight_in_state(INFLIGHT_DONE) || reopen_tmpfile(fs, &entry, fi) < 0)
		r = open_tmpfile(req, parent, mode, &entry, fi);
	else
		r = 0;
	if (r < 0) {
		fs_reply(req, r);
		return;
	}
	r = open_ours(fs, entry.ino, fi);
	if (r == 0 && fuse_reply_create(req, &entry, fi) == 0)
		return;
	close_handle(req, fi->fh);
	fs_leave(fs, entry.ino, 1);
	if (r < 0)
		fs_reply(req, r);
}

void fs_op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	bool forget = can_write((uint32_t)fi->flags);

	close_handle(req, fi->fh);
	/* Stores through a mapping of the backing file changed its times without the kernel's FUSE side knowing. Before the
	 * answer: who dies in between is asked again. */
	if (forget)
		fuse_lowlevel_notify_inval_inode(fs->session, ino, -1, 0);
	fs_reply(req, 0);
}

void fs_op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	fs_reply(req, 0);
}
