/* What the anchor holds, and the few things that it does with it. One thread, one process per EBBFS_RUN.
 *
 * Not here: who may talk to it (peers.h), when it steps aside (countdown.h, serve.c), how mounts are made (mount.h). */
#ifndef EBBFS_ANCHOR_H
#define EBBFS_ANCHOR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "fusefs/anchor/handover.h"
#include "fusefs/anchor/mount.h"
#include "fusefs/anchor/pins.h"

struct config;

/* One of four: nothing is mounted (fuse_fd -1, not orphaned); a mount was made that nobody sees yet (tree_fd, fuse_fd);
 * the mount is held (fuse_fd); or a mount of an earlier anchor lies on data and is not held by this one (orphaned). */
struct anchor {
	const char *data, *backing, *run; /* absolute paths; the configuration's */
	int64_t fail_open_ms;
	int lock_fd;    /* flock on run/anchor.lock */
	int backing_fd; /* opened before anything was mounted; -1 while orphaned */
	mode_t backing_mode;
	bool bound; /* backing was bound onto data, by us or by an anchor before us */
	bool orphaned;
	int fuse_fd;
	int tree_fd; /* the mount that nobody sees: with the last descriptor of it, it is gone */
	int state_fd;
	struct mount_top fuse_top; /* held or orphaned; of an unseen one, the device only */
	struct pins pins;
};

/* Empties the struct; opens nothing. */
void anchor_init(struct anchor *anchor, const struct config *config);
/* Closes what is open, unmounts nothing. */
void anchor_done(struct anchor *anchor);

/* Takes the lock; then as anchor_look(). Logs its errors. 0 or -errno. */
int anchor_prepare(struct anchor *anchor) _must_check_;

/* Looks whether a mount of ours that is not held lies on data: then the anchor is orphaned. If not, the backing
 * directory is opened, and bound onto data if it lies elsewhere. Logs its errors. 0 or -errno. */
int anchor_look(struct anchor *anchor) _must_check_;

/* Orphaned, and nobody holds that mount: detaches it and looks again. Logs its errors. 0 or -errno. */
int anchor_drop_dead(struct anchor *anchor) _must_check_;

/* Takes the descriptors of the mount back from the fusefs that serves it, and empties the pins. 0 with fds taken over;
 * -ESTALE when they are not of the mount on data; or -errno for what they are not. */
int anchor_return(struct anchor *anchor, int fds[static HANDOVER_FDS]) _must_check_;

/* Makes a mount that nobody sees yet, with an empty state, unless the mount is held and there. Not while orphaned. Logs
 * its errors. 1 when it is a new one, 0, or -errno. */
int anchor_make(struct anchor *anchor) _must_check_;

/* Lets the unseen mount appear on data. Logs its errors. 0 or -errno: it is unseen still. */
int anchor_show(struct anchor *anchor) _must_check_;

/* Detaches the mount if it can be seen, and ends the connection, so that what is pending fails although a fusefs that
 * hangs may still hold it. State and pins go. What cannot be done is logged. */
void anchor_step_aside(struct anchor *anchor);

/* The end with no fusefs attached: takes down what was mounted. 0 or -errno. */
int anchor_tidy(struct anchor *anchor) _must_check_;

/* Logs `WHAT PATH: ERROR: ADVICE`; advice may be NULL. Returns r. */
int anchor_complain(const char *what, const char *path, int r, const char *advice);

/* Serves the socket until a signal ends it. Logs its errors. 0 or -errno. */
int anchor_serve(struct anchor *anchor, int signal_fd) _must_check_;

#endif
