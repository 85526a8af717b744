/* Reads and writes where passthrough is not to be had, and the calls that it never takes. */
#include <errno.h>
#include <fcntl.h>

#include "fusefs/fs/caller.h"
#include "fusefs/fs/internal.h"

#define COPY_BYTES_MAX (16U << 20) /* at a time: a request holds a thread; the caller asks for the rest */

void fs_op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	_cleanup_fdcache_ref_ struct fdcache_ref ref = FDCACHE_REF_NONE;
	struct fuse_bufvec bufv = FUSE_BUFVEC_INIT(size);
	int r = fs_handle_fd(fs, ino, fi->fh, &ref);

	atomic_fetch_add_explicit(&fs->read_requests, 1, memory_order_relaxed);
	if (r < 0) {
		fs_reply(req, r);
		return;
	}
	bufv.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
	bufv.buf[0].fd = ref.fd;
	bufv.buf[0].pos = off;
	fuse_reply_data(req, &bufv, FUSE_BUF_SPLICE_MOVE);
}

void fs_op_write_buf(fuse_req_t req, fuse_ino_t ino, struct fuse_bufvec *in, off_t off, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	_cleanup_fdcache_ref_ struct fdcache_ref ref = FDCACHE_REF_NONE;
	struct fuse_bufvec out = FUSE_BUFVEC_INIT(fuse_buf_size(in));
	int r = fs_handle_fd(fs, ino, fi->fh, &ref);

	atomic_fetch_add_explicit(&fs->write_requests, 1, memory_order_relaxed);
	if (r < 0) {
		fs_reply(req, r);
		return;
	}
	out.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
	out.buf[0].fd = ref.fd;
	out.buf[0].pos = off;
	_cleanup_caller_ struct caller caller = caller_keep_set_ids(fs->privileged, fuse_req_ctx(req)->uid);
	ssize_t n = fuse_buf_copy(&out, in, 0);

	if (n < 0)
		fs_reply(req, (int)n);
	else
		fuse_reply_write(req, (size_t)n);
}

void fs_op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	_cleanup_fdcache_ref_ struct fdcache_ref ref = FDCACHE_REF_NONE;
	int r = fs_handle_fd(fs_of(req), ino, fi->fh, &ref);

	if (r == 0 && (datasync ? fdatasync(ref.fd) : fsync(ref.fd)) < 0)
		r = -errno;
	fs_reply(req, r);
}

void fs_op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	_cleanup_fdcache_ref_ struct fdcache_ref ref = FDCACHE_REF_NONE;
	_cleanup_caller_ struct caller caller = caller_keep_set_ids(fs->privileged, fuse_req_ctx(req)->uid);
	int r = fs_handle_fd(fs, ino, fi->fh, &ref);

	if (r == 0 && fallocate(ref.fd, mode, offset, length) < 0)
		r = -errno;
	fs_reply(req, r);
}

void fs_op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	_cleanup_fdcache_ref_ struct fdcache_ref ref = FDCACHE_REF_NONE;
	int r = fs_handle_fd(fs_of(req), ino, fi->fh, &ref);
	off_t found = r < 0 ? -1 : lseek(ref.fd, off, whence);

	if (found < 0)
		fs_reply(req, r < 0 ? r : errno);
	else
		fuse_reply_lseek(req, found);
}

void fs_op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in, struct fuse_file_info *fi_in,
	fuse_ino_t ino_out, off_t off_out, struct fuse_file_info *fi_out, size_t length, int flags)
{
	struct fs *fs = fs_of(req);
	_cleanup_fdcache_ref_ struct fdcache_ref in = FDCACHE_REF_NONE, out = FDCACHE_REF_NONE;
	_cleanup_caller_ struct caller caller = caller_keep_set_ids(fs->privileged, fuse_req_ctx(req)->uid);
	int r = fs_handle_fd(fs, ino_in, fi_in->fh, &in);

	if (r == 0)
		r = fs_handle_fd(fs, ino_out, fi_out->fh, &out);
	size_t some = length < COPY_BYTES_MAX ? length : COPY_BYTES_MAX;
	ssize_t n = r < 0 ? -1 : copy_file_range(in.fd, &off_in, out.fd, &off_out, some, (unsigned int)flags);

	if (n < 0)
		fs_reply(req, r < 0 ? r : errno);
	else
		fuse_reply_write(req, (size_t)n);
}
