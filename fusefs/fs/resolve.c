/* From a node's number to a descriptor: by pin, by file handle, or by the names of its parents. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fusefs/fs/internal.h"

#define WALK_BYTES 3072 /* of names joined for one openat2(2); below PATH_MAX */
#define DEPTH_MAX 4096
#define WALK_ATTEMPTS 20
#define WALK_PAUSE_US 200

const char *fs_proc_path(int fd, char out[static PROC_PATH_MAX])
{
	snprintf(out, PROC_PATH_MAX, "/proc/self/fd/%d", fd);
	return out;
}

int fs_reopen(int fd, int flags)
{
	char path[PROC_PATH_MAX];
	int opened = open(fs_proc_path(fd, path), flags | O_CLOEXEC);

	return opened < 0 ? -errno : opened;
}

static int get_handle(int dirfd, const char *name, int flags, struct node_identity *identity)
{
	union {
		struct file_handle handle;
		char space[sizeof(struct file_handle) + NODE_HANDLE_MAX];
	} h = {.handle = {.handle_bytes = NODE_HANDLE_MAX}};
	int mount_id;

	if (name_to_handle_at(dirfd, name, &h.handle, &mount_id, flags) < 0)
		return -errno;
	if (h.handle.handle_type > UINT8_MAX || h.handle.handle_type < 0)
		return -EOVERFLOW;
	identity->handle_type = (uint8_t)h.handle.handle_type;
	identity->handle_bytes = (uint8_t)h.handle.handle_bytes;
	memcpy(identity->handle, h.space + sizeof(struct file_handle), h.handle.handle_bytes);
	return 0;
}

static int identify_at(struct fs *fs, int dirfd, const char *name, int flags, struct stat *ret_st,
	struct node_identity *ret_identity)
{
	if (fstatat(dirfd, name, ret_st, flags | AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	*ret_identity = (struct node_identity){
		.ino = ret_st->st_ino,
		.dev = (uint32_t)ret_st->st_dev,
		.is_dir = S_ISDIR(ret_st->st_mode),
		.is_file = S_ISREG(ret_st->st_mode),
	};
	/* Without a handle, or on another filesystem mounted below, the node is found by name. */
	if (fs->handles && ret_identity->dev == fs->dev)
		(void)get_handle(dirfd, name, flags, ret_identity);
	return 0;
}

int fs_identify_fd(struct fs *fs, int fd, struct stat *ret_st, struct node_identity *ret_identity)
{
	return identify_at(fs, fd, "", AT_EMPTY_PATH, ret_st, ret_identity);
}

int fs_identify(struct fs *fs, int dirfd, const char *name, struct stat *ret_st, struct node_identity *ret_identity)
{
	unsigned int ended = atomic_load(&fs->changes_ended);
	int r = identify_at(fs, dirfd, name, 0, ret_st, ret_identity);

	if (r < 0 || atomic_load(&fs->changes_begun) == ended)
		return r;
	/* The name may have been given to another file between the two calls: both on one descriptor then. */
	_cleanup_close_ int fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fs_identify_fd(fs, fd, ret_st, ret_identity);
}

static int open_beneath(int dirfd, const char *path)
{
	struct open_how how = {
		.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
	long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));

	/* RESOLVE_NO_SYMLINKS forbids a symlink at the end as well; that one is what was asked for. */
	if (fd < 0 && errno == ELOOP && !strchr(path, '/'))
		fd = openat(dirfd, path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : (int)fd;
}

/* Names from the node up to the root, copied out from under the lock: bytes[starts[i]] is the i-th, the node's own
 * first. */
struct walk {
	struct buf bytes;
	uint32_t starts[DEPTH_MAX];
	uint32_t depth;
};

static int collect_names_locked(struct fs *fs, struct node *node, struct walk *walk)
{
	for (; node != &fs->table.nodes[NODE_ROOT_SLOT]; node = table_parent_locked(&fs->table, node)) {
		const char *name = node ? table_name_locked(&fs->table, node) : "";

		if (!*name)
			return -ESTALE;
		if (walk->depth == DEPTH_MAX)
			return -ELOOP;
		walk->starts[walk->depth++] = (uint32_t)walk->bytes.length;
		if (buf_put(&walk->bytes, name, strlen(name) + 1) < 0)
			return walk->bytes.error;
	}
	return 0;
}

/* Opens the names one after another, as many in a call as fit. The last one goes alone: it may be a symlink. */
static int open_names(struct fs *fs, const struct walk *walk)
{
	_cleanup_close_ int at = -1;
	char path[WALK_BYTES + NAME_MAX + 2];
	size_t length = 0;

	for (uint32_t i = walk->depth; i-- > 0;) {
		const char *name = walk->bytes.data + walk->starts[i];

		length += (size_t)snprintf(path + length, sizeof(path) - length, "%s%s", length ? "/" : "", name);
		if (length < WALK_BYTES && i > 1)
			continue;
		int fd = open_beneath(at < 0 ? fs->backing_fd : at, path);

		if (fd < 0)
			return fd;
		cleanup_close(&at);
		at = fd;
		length = 0;
	}
	return TAKE_FD(at);
}

static int walk_names(struct fs *fs, fuse_ino_t id, struct node_fd *ret)
{
	_cleanup_free_ struct walk *walk = calloc(1, sizeof(*walk));
	_cleanup_close_ int fd = -1;
	struct stat st;
	uint64_t ino = 0;
	uint32_t dev = 0;
	int r = -ESTALE;

	if (!walk)
		return -ENOMEM;
	table_lock(&fs->table);
	struct node *node = table_node_locked(&fs->table, id);

	if (node) {
		ino = node->ino;
		dev = node->dev;
		r = collect_names_locked(fs, node, walk);
	}
	table_unlock(&fs->table);
	if (r == 0)
		r = fd = open_names(fs, walk);
	buf_done(&walk->bytes);
	if (r < 0)
		return r == -ENOENT || r == -ENOTDIR ? -ESTALE : r;
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (st.st_ino != ino || (uint32_t)st.st_dev != dev)
		return -ESTALE;
	*ret = (struct node_fd){.fd = TAKE_FD(fd), .owned = true};
	return 0;
}

/* Again while directories are moved: the table is told of a rename just after it was done. */
static int resolve_by_name(struct fs *fs, fuse_ino_t id, struct node_fd *ret)
{
	for (int attempt = 0;; attempt++) {
		unsigned int ended = atomic_load(&fs->changes_ended);
		int r = walk_names(fs, id, ret);

		if (r != -ESTALE || atomic_load(&fs->changes_begun) == ended || attempt == WALK_ATTEMPTS)
			return r;
		usleep(WALK_PAUSE_US);
	}
}

/* What a node is found by, copied out from under the lock. */
struct clue {
	uint8_t flags;
	union {
		struct file_handle handle;
		char space[sizeof(struct file_handle) + NODE_HANDLE_MAX];
	};
};

static int get_clue(struct fs *fs, fuse_ino_t id, struct clue *ret)
{
	table_lock(&fs->table);
	const struct node *node = table_node_locked(&fs->table, id);

	if (node) {
		ret->flags = node->flags;
		ret->handle.handle_bytes = node->handle_bytes;
		ret->handle.handle_type = node->handle_type;
		memcpy(ret->space + sizeof(struct file_handle), node->handle, NODE_HANDLE_MAX);
	}
	table_unlock(&fs->table);
	return node ? 0 : -ESTALE;
}

static int open_handle_of(struct fs *fs, struct clue *clue, struct node_fd *ret)
{
	int fd =
		clue->handle.handle_bytes ? open_by_handle_at(fs->backing_fd, &clue->handle, O_PATH | O_CLOEXEC) : -1;

	if (fd < 0)
		return clue->handle.handle_bytes ? -errno : -ESTALE;
	*ret = (struct node_fd){.fd = fd, .owned = true};
	return 0;
}

int fs_resolve_handle(struct fs *fs, fuse_ino_t id, struct node_fd *ret)
{
	struct clue clue;
	int r = get_clue(fs, id, &clue);

	return r < 0 ? r : open_handle_of(fs, &clue, ret);
}

/* Directories are what most calls begin with: a few stay open. */
static int resolve_directory(struct fs *fs, fuse_ino_t id, struct clue *clue, struct node_fd *ret)
{
	struct node_fd found = NODE_FD_NONE;

	if (fdcache_get(&fs->dircache, id, &found.ref) < 0) {
		int r = open_handle_of(fs, clue, &found);

		if (r == -ESTALE)
			return resolve_by_name(fs, id, ret);
		if (r == 0)
			r = fdcache_put(&fs->dircache, id, found.fd, &found.ref);
		if (r < 0)
			return r;
	}
	*ret = (struct node_fd){.fd = found.ref.fd, .ref = found.ref};
	return 0;
}

static int resolve_pinned(struct fs *fs, fuse_ino_t id, struct node_fd *ret)
{
	int pinned = pins_get(&fs->pins, id);

	if (pinned < 0)
		return -ESTALE;
	*ret = (struct node_fd){.fd = pinned, .owned = true};
	return 0;
}

int fs_resolve(struct fs *fs, fuse_ino_t id, struct node_fd *ret)
{
	struct clue clue;

	if (id == NODE_ROOT_ID) {
		*ret = (struct node_fd){.fd = fs->backing_fd};
		return 0;
	}
	int r = get_clue(fs, id, &clue);

	if (r < 0)
		return r;
	if ((clue.flags & NODE_PINNED) && resolve_pinned(fs, id, ret) == 0)
		return 0;
	if ((clue.flags & NODE_IS_DIR) && clue.handle.handle_bytes)
		return resolve_directory(fs, id, &clue, ret);
	r = open_handle_of(fs, &clue, ret);
	if (r == -ESTALE)
		r = resolve_by_name(fs, id, ret);
	/* Its name has just gone; the table is told next. */
	return r == -ESTALE ? resolve_pinned(fs, id, ret) : r;
}
