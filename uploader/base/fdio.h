/* Reading and writing descriptors to the end, in spite of EINTR and short counts. Any thread. */
#ifndef EBBFS_BASE_FDIO_H
#define EBBFS_BASE_FDIO_H

#include <stddef.h>
#include <sys/types.h>

#include "uploader/base/buf.h"

/* Reads up to length bytes at an offset; less only at the end of the file. Bytes read or -errno. */
ssize_t pread_full(int fd, void *bytes, size_t length, off_t offset) _must_check_;

/* Writes all of it. 0 or -errno. */
int write_full(int fd, const void *bytes, size_t length) _must_check_;

/* Appends the whole of a small file to a buffer, bounded by its ceiling. 0 or -errno. */
int read_file(int dirfd, const char *path, struct buf *buf) _must_check_;

#endif
