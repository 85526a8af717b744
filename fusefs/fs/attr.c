/* lookup, forget, getattr, setattr, readlink, statfs. */
#include <errno.h>
#include <fcntl.h>
#include <sys/statvfs.h>

#include "fusefs/fs/caller.h"
#include "fusefs/fs/internal.h"

void fs_op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	_cleanup_node_fd_ struct node_fd dir = NODE_FD_NONE;
	int r = fs_resolve(fs_of(req), parent, &dir);

	if (r < 0)
		fs_reply(req, r);
	else
		fs_reply_entry(req, parent, dir.fd, name);
}

void fs_op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	fs_leave(fs_of(req), ino, nlookup);
	fuse_reply_none(req);
}

void fs_op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		fs_leave(fs_of(req), forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

static void reply_attr(fuse_req_t req, int fd)
{
	struct stat st;

	if (fstatat(fd, "", &st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
		fs_reply(req, errno);
	else
		fuse_reply_attr(req, &st, FS_CACHE_SECONDS);
}

static bool get_attributes(struct fs *fs, fuse_ino_t ino, struct stat *ret)
{
	table_lock(&fs->table);
	const struct node *node = table_node_locked(&fs->table, ino);
	bool found = node && table_get_attributes_locked(&fs->table, node, ret);

	table_unlock(&fs->table);
	return found;
}

void fs_op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	_cleanup_node_fd_ struct node_fd node = NODE_FD_NONE;
	struct stat st;
	int r = fs_resolve(fs, ino, &node);

	(void)fi;
	if (r == -ESTALE && get_attributes(fs, ino, &st))
		fuse_reply_attr(req, &st, FS_CACHE_SECONDS);
	else if (r < 0)
		fs_reply(req, r);
	else
		reply_attr(req, node.fd);
}

static int set_mode(int fd, mode_t mode)
{
	_cleanup_caller_ struct caller caller = caller_keep_mode(mode);
	char path[PROC_PATH_MAX];

	return chmod(fs_proc_path(fd, path), mode) < 0 ? -errno : 0;
}

static int set_owner(fuse_req_t req, int fd, const struct stat *attr, int to_set)
{
	_cleanup_caller_ struct caller caller = caller_keep_set_ids(fs_of(req)->privileged, fuse_req_ctx(req)->uid);
	uid_t uid = to_set & FUSE_SET_ATTR_UID ? attr->st_uid : (uid_t)-1;
	gid_t gid = to_set & FUSE_SET_ATTR_GID ? attr->st_gid : (gid_t)-1;

	return fchownat(fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int set_size(fuse_req_t req, int fd, off_t size)
{
	_cleanup_caller_ struct caller caller = caller_keep_set_ids(fs_of(req)->privileged, fuse_req_ctx(req)->uid);
	char path[PROC_PATH_MAX];

	return truncate(fs_proc_path(fd, path), size) < 0 ? -errno : 0;
}

static struct timespec time_to_set(int to_set, int now, int given, struct timespec value)
{
	if (to_set & now)
		return (struct timespec){.tv_nsec = UTIME_NOW};
	return to_set & given ? value : (struct timespec){.tv_nsec = UTIME_OMIT};
}

static int set_times(int fd, const struct stat *attr, int to_set)
{
	struct timespec times[2] = {
		time_to_set(to_set, FUSE_SET_ATTR_ATIME_NOW, FUSE_SET_ATTR_ATIME, attr->st_atim),
		time_to_set(to_set, FUSE_SET_ATTR_MTIME_NOW, FUSE_SET_ATTR_MTIME, attr->st_mtim),
	};
	char path[PROC_PATH_MAX];

	if (utimensat(fd, "", times, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	/* Before Linux 5.8 there was no AT_EMPTY_PATH here. */
	return errno == EINVAL && utimensat(AT_FDCWD, fs_proc_path(fd, path), times, 0) == 0 ? 0 : -errno;
}

#define SET_OWNER (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)
#define SET_TIMES (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW)

void fs_op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	_cleanup_node_fd_ struct node_fd node = NODE_FD_NONE;
	int r = fs_resolve(fs, ino, &node);

	(void)fi;
	/* The owner first: changing it clears the bits that a mode in the same request would set. */
	if (r == 0 && (to_set & SET_OWNER))
		r = set_owner(req, node.fd, attr, to_set);
	if (r == 0 && (to_set & FUSE_SET_ATTR_MODE))
		r = set_mode(node.fd, attr->st_mode & 07777);
	if (r == 0 && (to_set & FUSE_SET_ATTR_SIZE))
		r = set_size(req, node.fd, attr->st_size);
	if (r == 0 && (to_set & SET_TIMES))
		r = set_times(node.fd, attr, to_set);
	if (to_set & (FUSE_SET_ATTR_SIZE | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW))
		fs_say_changed(fs, ino, false);
	if (r < 0)
		fs_reply(req, r);
	else
		reply_attr(req, node.fd);
}

void fs_op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	_cleanup_node_fd_ struct node_fd node = NODE_FD_NONE;
	char target[PATH_MAX + 1];
	int r = fs_resolve(fs_of(req), ino, &node);

	if (r < 0) {
		fs_reply(req, r);
		return;
	}
	ssize_t n = readlinkat(node.fd, "", target, sizeof(target) - 1);

	if (n < 0) {
		fs_reply(req, errno);
		return;
	}
	target[n] = '\0';
	fuse_reply_readlink(req, target);
}

void fs_op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs st;

	(void)ino;
	if (fstatvfs(fs_of(req)->backing_fd, &st) < 0)
		fs_reply(req, errno);
	else
		fuse_reply_statfs(req, &st);
}
