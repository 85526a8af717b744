/* Requests are read into memory that is there. If a page were still to be found when the kernel copies a request, and a
 * fatal signal came in between, the copy would fail: the kernel ends that request with EIO and never sends it again
 * (fuse_dev_do_read() in fs/fuse/dev.c). So not fuse_session_receive_buf(), which begins with fresh memory. */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fusefs/fs/internal.h"

#define RECEIVE_BYTES (FS_WRITE_MAX + 4096)

int fs_receive_prepare(struct fuse_buf *buf)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE;
	void *memory = mmap(NULL, RECEIVE_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0);

	if (memory == MAP_FAILED)
		return -errno;
	/* Not to be swapped out, where that is allowed; nor to be copied at the next store after a fork(2). */
	(void)mlock(memory, RECEIVE_BYTES);
	(void)madvise(memory, RECEIVE_BYTES, MADV_DONTFORK);
	*buf = (struct fuse_buf){.mem = memory};
	return 0;
}

void fs_receive_done(struct fuse_buf *buf)
{
	if (buf->mem)
		munmap(buf->mem, RECEIVE_BYTES);
	buf->mem = NULL;
}

int fs_receive(struct fs *fs, struct fuse_buf *buf)
{
	/* Most requests fit the first page: whatever was done to it meanwhile (NUMA balancing), it is there now. */
	*(volatile char *)buf->mem = 0;
	ssize_t n = read(fuse_session_fd(fs->session), buf->mem, RECEIVE_BYTES);

	if (n < 0 && errno == ENODEV)
		return 0; /* unmounted, or aborted */
	if (n < 0)
		return errno == ENOENT ? -EAGAIN : -errno; /* ENOENT: withdrawn while it was read */
	buf->size = (size_t)n;
	return (int)n;
}
