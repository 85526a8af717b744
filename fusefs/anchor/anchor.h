/* What the anchor holds, and the few things that it does with it. One thread, one process per EBBFS_RUN.
 *
 * Not here: who may talk to it and when (serve.c), how mounts are made (mount.c). */
#ifndef EBBFS_ANCHOR_H
#define EBBFS_ANCHOR_H

#include <stdbool.h>
#include <sys/types.h>

#include "fusefs/anchor/mount.h"

struct config;

struct anchor {
	const char *data, *backing, *run; /* absolute paths; the configuration's */
	int lock_fd;                      /* flock on run/anchor.lock */
	int backing_fd;                   /* opened before anything was mounted */
	mode_t backing_mode;
	bool bound; /* backing was bound onto data, by us or by an anchor before us */
	struct mount_top bind_top;
	int fuse_fd; /* -1: nothing is mounted */
	int state_fd;
	struct mount_top fuse_top;
};

/* Empties the struct; opens nothing. */
void anchor_init(struct anchor *anchor, const struct config *config);
/* Closes what is open, unmounts nothing. */
void anchor_done(struct anchor *anchor);

/* Takes the lock, clears away dead mounts, opens the backing directory and binds it onto data if it lies elsewhere.
 * While an earlier anchor's fusefs still serves the mount, waits for it to end: nothing fails meanwhile. Logs its
 * errors. Returns 0; 1 when signal_fd became readable while it waited; -errno. */
int anchor_prepare(struct anchor *anchor, int signal_fd) _must_check_;

/* Mounts, with an empty state, if nothing is mounted. Logs its errors. 0 or -errno. */
int anchor_mount(struct anchor *anchor) _must_check_;

/* The connection of the attached fusefs has ended. This is the one place that decides what becomes of the mount: for
 * now it steps aside at once, so that pending calls fail instead of hanging and the plain directory is seen. Waiting
 * for the next fusefs to resume the living connection, until EBBFS_FAIL_OPEN_AFTER, is to be decided here. */
void anchor_fusefs_gone(struct anchor *anchor);

/* The end with no fusefs attached: takes down what was mounted. 0 or -errno. */
int anchor_tidy(struct anchor *anchor) _must_check_;

/* Serves the socket until a signal ends it. Logs its errors. 0 or -errno. */
int anchor_serve(struct anchor *anchor, int signal_fd) _must_check_;

#endif
