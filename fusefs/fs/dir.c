/* Directories being listed. Offsets are the backing filesystem's own cookies: they outlive the descriptor. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "fusefs/fs/internal.h"

#define DENTS_MIN 1024
#define DENTS_MAX 32768

void fs_op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	const struct inflight *done = inflight_in_state(INFLIGHT_DONE);
	int r = done ? 0 : -ESTALE;

	table_lock(&fs->table);
	struct node *node = table_node_locked(&fs->table, ino);

	if (done)
		fi->fh = done->fh;
	else if (node)
		r = table_open_handle_locked(&fs->table, node, O_RDONLY | O_DIRECTORY, &fi->fh);
	if (r == 0 && !done)
		inflight_reach_locked(fs, INFLIGHT_DONE, ino, fi->fh);
	table_unlock(&fs->table);
	if (r < 0)
		fs_reply(req, r);
	else
		fuse_reply_open(req, fi);
}

/* An answer being filled. */
struct listing {
	struct fs *fs;
	fuse_req_t req;
	fuse_ino_t dir;
	int dirfd;
	bool plus;
	char *out;
	size_t used, size;
};

static bool is_dots(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* Adds a name with its attributes and one lookup. -ENOSPC: the answer is full; 1: the name went meanwhile. */
static int add_plus(struct listing *listing, const struct dirent64 *dent)
{
	struct fuse_entry_param entry = {.attr = {.st_ino = dent->d_ino, .st_mode = (mode_t)dent->d_type << 12}};
	size_t room = listing->size - listing->used;
	/* libfuse says how much it would need before anything is looked up that would have to be forgotten. */
	size_t need = fuse_add_direntry_plus(listing->req, NULL, 0, dent->d_name, &entry, dent->d_off);

	if (need > room)
		return -ENOSPC;
	if (!is_dots(dent->d_name)) {
		struct node_identity identity;
		struct stat st;
		int r = fs_identify(listing->fs, listing->dirfd, dent->d_name, &st, &identity);

		if (r == 0)
			r = fs_enter(
				listing->fs, listing->dir, dent->d_name, &st, &identity, INFLIGHT_LISTED, &entry);
		if (r < 0)
			return r == -ENOENT ? 1 : r;
	}
	listing->used += fuse_add_direntry_plus(
		listing->req, listing->out + listing->used, room, dent->d_name, &entry, dent->d_off);
	return 0;
}

static int add_plain(struct listing *listing, const struct dirent64 *dent)
{
	struct stat st = {.st_ino = dent->d_ino, .st_mode = (mode_t)dent->d_type << 12};
	size_t room = listing->size - listing->used;
	size_t need =
		fuse_add_direntry(listing->req, listing->out + listing->used, room, dent->d_name, &st, dent->d_off);

	if (need > room)
		return -ENOSPC;
	listing->used += need;
	return 0;
}

/* Fills the answer from one position on. 0 when it is full or at the end, -errno when nothing could be added. */
static int fill(struct listing *listing, off_t off)
{
	size_t wanted = listing->plus ? listing->size / 4 : listing->size;
	size_t room = wanted < DENTS_MIN ? DENTS_MIN : wanted > DENTS_MAX ? DENTS_MAX : wanted;
	_cleanup_free_ char *dents = malloc(room);

	if (!dents)
		return -ENOMEM;
	if (lseek(listing->dirfd, off, SEEK_SET) < 0)
		return -errno;
	for (;;) {
		ssize_t n = getdents64(listing->dirfd, dents, room);

		if (n < 0)
			return listing->used ? 0 : -errno;
		if (n == 0)
			return 0;
		for (char *at = dents; at < dents + n;) {
			const struct dirent64 *dent = (const struct dirent64 *)(const void *)at;
			int r = listing->plus ? add_plus(listing, dent) : add_plain(listing, dent);

			if (r < 0)
				return r == -ENOSPC || listing->used ? 0 : r;
			at += dent->d_reclen;
		}
	}
}

static void read_dir(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, const struct fuse_file_info *fi, bool plus)
{
	struct fs *fs = fs_of(req);
	_cleanup_fdcache_ref_ struct fdcache_ref ref = FDCACHE_REF_NONE;
	_cleanup_free_ char *out = malloc(size);
	int r = fs_handle_fd(fs, ino, fi->fh, &ref);

	inflight_unlist(fs);
	if (r == 0 && !out)
		r = -ENOMEM;
	struct listing listing = {
		.fs = fs, .req = req, .dir = ino, .dirfd = ref.fd, .plus = plus, .out = out, .size = size};

	if (r == 0)
		r = fill(&listing, off);
	if (r < 0)
		fs_reply(req, r);
	else
		fuse_reply_buf(req, out, listing.used);
}

void fs_op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	read_dir(req, ino, size, off, fi, false);
}

void fs_op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	read_dir(req, ino, size, off, fi, true);
}

void fs_op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);

	(void)ino;
	fdcache_drop(&fs->fdcache, fi->fh);
	table_lock(&fs->table);
	struct handle *handle = table_handle_locked(&fs->table, fi->fh);

	if (handle)
		table_close_handle_locked(&fs->table, handle);
	table_unlock(&fs->table);
	fs_reply(req, 0);
}

void fs_op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	fs_op_fsync(req, ino, datasync, fi);
}
