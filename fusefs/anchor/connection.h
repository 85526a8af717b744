/* A FUSE connection as its holder sees it: what /dev/fuse tells, and how it is ended from outside. libc only; nothing
 * here waits for the process that serves. */
#ifndef EBBFS_ANCHOR_CONNECTION_H
#define EBBFS_ANCHOR_CONNECTION_H

#include <stdbool.h>
#include <stdint.h>

#include "uploader/base/cleanup.h"

/* Whether fd is a /dev/fuse with a connection that goes on. */
bool connection_is_alive(int fd);

/* Whether fd is a /dev/fuse of the filesystem with this device number, as far as the kernel tells: in Linux 6.18
 * /proc/self/fdinfo names the connection; where it does not, any is taken for the right one. */
bool connection_is_of(int fd, uint64_t dev);

/* The `abort` file of the filesystem with this device number, in fusectl on a mount of its own that is seen nowhere. A
 * number may be given to another filesystem once the first is gone: the caller must know that it is not. The
 * descriptor or -errno (-ENOENT: no such connection; -EPERM; -ENODEV: no fusectl in this kernel). */
int connection_open_abort(uint64_t dev) _must_check_;

/* Lets everything that is pending fail, and everything that comes, whoever holds /dev/fuse. 0 or -errno. */
int connection_abort(int abort_fd) _must_check_;

#endif
