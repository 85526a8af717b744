/* Mounting, looking at and taking down what lies over a directory. libc only; one thread.
 *
 * Nothing here waits for a filesystem to answer (probe.h does). What is unmounted is always detached (MNT_DETACH), and
 * only after a look that it is what the caller means: under it lies the vendor's own volume. */
#ifndef EBBFS_ANCHOR_MOUNT_H
#define EBBFS_ANCHOR_MOUNT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "uploader/base/cleanup.h"

#define MOUNT_SOURCE "ebbfs"
#define MOUNT_SUBTYPE "ebbfs"
#define MOUNT_TYPE "fuse." MOUNT_SUBTYPE

/* The mount that a path leads into. */
struct mount_top {
	uint64_t id;   /* of the mount, as in mountinfo; the kernel gives it to another one after an unmount */
	uint64_t dev;  /* of its filesystem: both together tell one mount from the next */
	uint64_t ino;  /* of the directory that is seen there */
	bool is_root;  /* the path is the mount's root: something is mounted there */
	char type[32]; /* e.g. "ext4", MOUNT_TYPE; "" when /proc does not tell */
};

/* Sends no request to a FUSE filesystem: safe on one that hangs or is dead. 0 or -errno. */
int mount_look(const char *path, struct mount_top *ret) _must_check_;

/* Whether one of our own is mounted right there, alive or dead. */
bool mount_is_ours(const struct mount_top *top);

/* Whether both are the same mount of the same filesystem. */
bool mount_is_same(const struct mount_top *a, const struct mount_top *b);

/* Makes the directory that fd stands for appear at target as well, outside of the peer group of its own mount: what
 * is mounted on target later does not propagate back over the source. 0 or -errno. */
int mount_bind(int fd, const char *target) _must_check_;

/* Opens /dev/fuse and makes a filesystem of it, with a mount that is nowhere to be seen: the kernel sends FUSE_INIT.
 * *ret_fd and *ret_tree, the mount, are the caller's; the filesystem ends with the last descriptor of either. *ret_top
 * tells its device. `mode` is the root's st_mode until FUSE_INIT. 0 or -errno; *ret_step names what failed. */
int mount_make(
	mode_t mode, int *ret_fd, int *ret_tree, struct mount_top *ret_top, const char **ret_step) _must_check_;

/* Lets that mount appear on target, and wherever target's mount propagates to. The descriptor stays the caller's. 0 or
 * -errno. */
int mount_show(int tree, const char *target, struct mount_top *ret_top) _must_check_;

/* Whether the mount is there at all, on top or not. True when /proc does not tell. */
bool mount_exists(const struct mount_top *top);

/* Detaches the topmost mount of path if it is still `top`; with force, a FUSE connection is aborted by that, a moment
 * before the mount is out of sight. The filesystem is let go only at the caller's close of
 * *ret_hold (an O_PATH descriptor of its root): letting go may write back, and must not wait for requests that only
 * the caller can fail. 0, -ESTALE when something else is on top or nothing is, or -errno. */
int mount_detach(const char *path, const struct mount_top *top, bool force, int *ret_hold) _must_check_;

#endif
