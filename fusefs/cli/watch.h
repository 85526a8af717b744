/* The supervisor's end of notify.h: a socket in EBBFS_RUN at which its children say that they are ready and alive.
 *
 * Nobody else is heard: the file's mode lets in only this user (the uploader connects before it becomes another one),
 * and a message counts only by the pid that the kernel vouches for. One thread, nothing blocks. */
#ifndef EBBFS_CLI_WATCH_H
#define EBBFS_CLI_WATCH_H

#include <stdbool.h>
#include <sys/types.h>

#include "uploader/base/cleanup.h"

/* Binds directory/name, over a socket that an earlier process left there. Returns the descriptor or -errno. */
int watch_listen(const char *directory, const char *name) _must_check_;

/* Reads one message. Returns its sender (0: no message of the protocol), or -errno: -EAGAIN when there is none. */
pid_t watch_read(int fd, bool *ret_ready) _must_check_;

#endif
