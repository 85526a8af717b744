/* Unix sockets of type SOCK_SEQPACKET: one message a packet, descriptors beside it (SCM_RIGHTS).
 *
 * Paths longer than sun_path are reached through /proc/self/fd. Every descriptor is close-on-exec. Any thread. */
#ifndef EBBFS_BASE_SOCK_H
#define EBBFS_BASE_SOCK_H

#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "uploader/base/cleanup.h"

#define SOCK_FDS_MAX 8

/* Binds and listens at directory/name with the given mode, over a socket file that an earlier process left behind.
 * Returns the descriptor, or -errno. */
int sock_listen(const char *directory, const char *name, mode_t mode) _must_check_;

/* Returns a connected descriptor, or -errno (-ENOENT, -ECONNREFUSED: nobody listens). */
int sock_connect(const char *directory, const char *name) _must_check_;

/* The same without waiting for the other side to accept: -EAGAIN when too many wait there. The descriptor does not
 * block either. */
int sock_try_connect(const char *directory, const char *name) _must_check_;

/* Sends one message with n_fds descriptors, which stay the caller's. Never raises SIGPIPE. 0 or -errno (-EAGAIN on
 * a non-blocking socket that is full). */
int sock_send(int fd, const void *bytes, size_t length, const int *fds, size_t n_fds) _must_check_;

/* Receives one message. Returns its length, 0 when the peer is gone, -EMSGSIZE when it was longer than size, or
 * -errno. Descriptors beyond max_fds are closed and -EMSGSIZE returned. *n_fds descriptors are the caller's. */
ssize_t sock_receive(int fd, void *bytes, size_t size, int *fds, size_t max_fds, size_t *ret_n_fds) _must_check_;

/* Who is at the other end (SO_PEERCRED). 0 or -errno. */
int sock_peer(int fd, struct ucred *ret) _must_check_;

#endif
