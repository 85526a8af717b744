/* The tie to ebbfs-anchor while we serve: a thread that tells it, and the supervisor, that requests get on; hands it
 * what has no name any more; and when it died, gives everything to the one that comes next, for as long as it takes.
 *
 * Not here: how the mount was come by in the first place (attach.h). */
#ifndef EBBFS_TETHER_H
#define EBBFS_TETHER_H

#include "fusefs/fs/fs.h"
#include "fusefs/policy/attach.h"

struct tether;

/* Takes the connection of a grant over and keeps descriptors of its own of the rest, which stays the caller's. `run`
 * is borrowed. 0 or -errno. */
int tether_new(struct tether **ret, const char *run, struct grant *grant) _must_check_;

/* For fs_options.on_pin; arg: the tether. Never waits: what cannot be said at once is said by the thread. Order of
 * locks: the filesystem's, then the tether's. */
void tether_on_pin(uint64_t node_id, int fd, void *arg);

/* Begins: the thread says that we serve once that is so, and calls on_mounted when the mount is there to be seen; not
 * for a grant that was `resumed`, where it was all the time. 0 or -errno. */
int tether_start(
	struct tether *tether, struct fs *fs, void (*on_mounted)(void *arg), void *on_mounted_arg) _must_check_;

/* Ends the thread. The connection stays open until the process ends: its end tells the anchor that nothing of us
 * touches the mount any more. NULL allowed. */
void tether_free(struct tether *tether);

#endif
