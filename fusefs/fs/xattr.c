/* Extended attributes, among them POSIX ACLs. The kernel has checked who may. */
#include <errno.h>
#include <limits.h>
#include <linux/xattr.h>
#include <string.h>
#include <sys/xattr.h>

#include "fusefs/fs/caller.h"
#include "fusefs/fs/internal.h"
#include "uploader/base/killpoint.h"

static int path_of(fuse_req_t req, fuse_ino_t ino, struct node_fd *node, char path[static PROC_PATH_MAX])
{
	int r = fs_resolve(fs_of(req), ino, node);

	if (r == 0)
		fs_proc_path(node->fd, path);
	return r;
}

/* The kernel asks for this one at the first write to every file (security/commoncap.c), and most files are new. */
static bool is_capability(const char *name)
{
	return !strcmp(name, XATTR_NAME_CAPS);
}

static bool has_no_capability(struct fs *fs, fuse_ino_t ino)
{
	table_lock(&fs->table);
	const struct node *node = table_node_locked(&fs->table, ino);
	bool none = node && (node->flags & NODE_NO_CAPABILITY);

	table_unlock(&fs->table);
	return none;
}

static void may_have_capability(struct fs *fs, fuse_ino_t ino)
{
	table_lock(&fs->table);
	struct node *node = table_node_locked(&fs->table, ino);

	if (node) {
		table_save_node_locked(&fs->table, node);
		node->flags &= (uint8_t)~NODE_NO_CAPABILITY;
	}
	table_unlock(&fs->table);
}

/* Whether an earlier process has done this already: XATTR_CREATE of an attribute that was not there, or the removal of
 * one that was. The kernel holds the inode's lock until it is answered, so nobody else did. Else writes down that it is
 * about to be done. */
static bool is_done(struct fs *fs, fuse_ino_t ino, const char *path, const char *name, bool creates)
{
	bool is_there = getxattr(path, name, NULL, 0) >= 0;

	if (inflight_in_state(INFLIGHT_INTENT))
		return is_there == creates;
	if (is_there == creates)
		return false; /* it fails, however often */
	struct inflight *inflight = inflight_new(fs);

	inflight->node = ino;
	inflight_intend(inflight);
	return false;
}

void fs_op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	_cleanup_node_fd_ struct node_fd node = NODE_FD_NONE;
	char path[PROC_PATH_MAX];
	int r = path_of(req, ino, &node, path);

	struct fs *fs = fs_of(req);
	/* An ACL changes the mode, and root's leaves the set-ID bits of it alone. */
	_cleanup_caller_ struct caller caller = caller_keep_set_ids(fs->privileged, fuse_req_ctx(req)->uid);

	if (is_capability(name))
		may_have_capability(fs, ino);
	bool done = r == 0 && (flags & XATTR_CREATE) && is_done(fs, ino, path, name, true);

	if (r == 0 && !done && setxattr(path, name, value, size, flags) < 0)
		r = -errno;
	KILL_POINT("setxattr: set");
	fs_reply(req, r);
}

void fs_op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	_cleanup_node_fd_ struct node_fd node = NODE_FD_NONE;
	char path[PROC_PATH_MAX];
	int r = path_of(req, ino, &node, path);
	bool done = r == 0 && is_done(fs_of(req), ino, path, name, false);

	if (r == 0 && !done && removexattr(path, name) < 0)
		r = -errno;
	KILL_POINT("removexattr: removed");
	fs_reply(req, r);
}

void fs_op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	if (is_capability(name) && has_no_capability(fs_of(req), ino)) {
		fs_reply(req, -ENODATA);
		return;
	}
	_cleanup_node_fd_ struct node_fd node = NODE_FD_NONE;
	_cleanup_free_ char *value = size ? malloc(size) : NULL;
	char path[PROC_PATH_MAX];
	int r = path_of(req, ino, &node, path);

	if (r == 0 && size && !value)
		r = -ENOMEM;
	ssize_t n = r < 0 ? r : getxattr(path, name, value, size);

	if (r == 0 && n < 0)
		r = -errno;
	if (r < 0)
		fs_reply(req, r);
	else if (size)
		fuse_reply_buf(req, value, (size_t)n);
	else
		fuse_reply_xattr(req, (size_t)n);
}

/* trusted.* is listed to nobody but root, as the filesystems themselves do. Returns the length that is left. */
static size_t drop_trusted(char *list, size_t length)
{
	size_t kept = 0;

	for (size_t at = 0; at < length;) {
		size_t size = strlen(list + at) + 1;

		if (strncmp(list + at, XATTR_TRUSTED_PREFIX, strlen(XATTR_TRUSTED_PREFIX)) != 0) {
			memmove(list + kept, list + at, size);
			kept += size;
		}
		at += size;
	}
	return kept;
}

void fs_op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	_cleanup_node_fd_ struct node_fd node = NODE_FD_NONE;
	_cleanup_free_ char *list = malloc(XATTR_LIST_MAX);
	char path[PROC_PATH_MAX];
	int r = path_of(req, ino, &node, path);

	if (r == 0 && !list)
		r = -ENOMEM;
	ssize_t n = r < 0 ? r : listxattr(path, list, XATTR_LIST_MAX);

	if (r == 0 && n < 0)
		r = -errno;
	if (r == 0 && fuse_req_ctx(req)->uid != 0)
		n = (ssize_t)drop_trusted(list, (size_t)n);
	if (r == 0 && size && (size_t)n > size)
		r = -ERANGE;
	if (r < 0)
		fs_reply(req, r);
	else if (size)
		fuse_reply_buf(req, list, (size_t)n);
	else
		fuse_reply_xattr(req, (size_t)n);
}
