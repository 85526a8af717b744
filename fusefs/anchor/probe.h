/* Does a mount answer, or is it dead, that is, does nobody hold its connection any more? Asked by statx(2) past the kernel's cache, which
 * may hang for as long as the filesystem does: so in a process of its own, whose answer is waited for by poll(2), and
 * never two of them at a time. That process ends by itself when the mount is answered for or dies. */
#ifndef EBBFS_ANCHOR_PROBE_H
#define EBBFS_ANCHOR_PROBE_H

#include "uploader/base/cleanup.h"

/* Of `path` from dirfd (or AT_FDCWD) on; "" is dirfd itself. The descriptor at which the answer is to be read (the
 * caller's), or -errno. */
int probe_start(int dirfd, const char *path) _must_check_;

/* Reads the answer once the descriptor is readable: 0: alive; -ENOTCONN: dead; -EAGAIN: there is none yet; or
 * another -errno. */
int probe_finish(int fd) _must_check_;

#endif
