/* What ebbfs-anchor and ebbfs-fusefs say to each other at $EBBFS_RUN/anchor: SOCK_SEQPACKET, mode 0600.
 *
 * Both hold what a mount lives by: the backing directory, /dev/fuse, the shared state (a memfd) and the pins
 * (descriptors of files that have no name any more but are open). Either may die; the other one hands all of it to the
 * one that comes next.
 *
 * A new fusefs: HANDOVER_ATTACH; the anchor makes a mount that is not to be seen anywhere yet if nothing is mounted, and
 * answers HANDOVER_GRANT with HANDOVER_FDS descriptors, then `count` times HANDOVER_PIN. The fusefs says
 * HANDOVER_SERVING once it answers requests and HANDOVER_ALIVE every HANDOVER_ALIVE_MS from then on, as long as its
 * threads make progress. The anchor answers HANDOVER_SERVING with HANDOVER_MOUNTED: at once where the mount can be seen
 * already; else it asks the unseen one for its root's attributes, and lets it appear when it has the answer. So what
 * cannot serve hides the plain directory from nobody. Until then nothing of it is kept: if that fails or takes
 * EBBFS_FAIL_OPEN_AFTER, or the connection to either of the two ends, the filesystem ends with that, and the next ATTACH
 * gets a new one; reading /dev/fuse fails with ENODEV.
 *
 * A new anchor: the fusefs that serves connects to it and says HANDOVER_RETURN with HANDOVER_FDS descriptors, then
 * `count` times HANDOVER_PIN; the anchor answers HANDOVER_TAKEN. Then as above.
 *
 * Both keep the connection for as long as they live: its end is how one learns that the other is gone. The kernel
 * closes it after the last system call of the process that died, so whoever is granted the descriptors next never
 * meets a late change by its predecessor. Fixed-size messages of one machine: native byte order. Unknown types are
 * ignored, so that a later fusefs may say more than this anchor knows. */
#ifndef EBBFS_HANDOVER_H
#define EBBFS_HANDOVER_H

#include <stdint.h>

#define HANDOVER_SOCKET "anchor"
#define HANDOVER_MAGIC 0x65626131U /* "eba1" */
#define HANDOVER_VERSION 2
#define HANDOVER_ALIVE_MS 250

enum handover_type {
	HANDOVER_ATTACH = 1, /* fusefs → anchor */
	HANDOVER_GRANT,   /* anchor → fusefs; with HANDOVER_FDS descriptors, and `count` pins follow, if error is 0 */
	HANDOVER_SERVING, /* fusefs → anchor: FUSE_INIT is answered, requests are */
	HANDOVER_ALIVE,   /* fusefs → anchor */
	HANDOVER_PIN,     /* either way, with one descriptor: keep it under `id`, instead of an earlier one */
	HANDOVER_UNPIN,   /* fusefs → anchor: `id` is not needed any more; 0: none of them is */
	HANDOVER_RETURN,  /* fusefs → anchor, with HANDOVER_FDS descriptors; `count` pins follow */
	HANDOVER_TAKEN,   /* anchor → fusefs; error as in HANDOVER_GRANT */
	HANDOVER_MOUNTED, /* anchor → fusefs: the mount is seen, if error is 0; else it will not be */
};

/* Order of the descriptors in a grant and in a return. */
enum handover_fd {
	HANDOVER_FD_BACKING, /* O_RDONLY | O_DIRECTORY, opened before anything was mounted over it */
	HANDOVER_FD_FUSE,    /* /dev/fuse of the mount */
	HANDOVER_FD_STATE,   /* memfd, of size 0 for the first fusefs of a connection */
	HANDOVER_FDS,
};

struct handover_message {
	uint32_t magic;
	uint16_t version;
	uint16_t type;
	int32_t error; /* HANDOVER_GRANT, _TAKEN, _MOUNTED: 0, or a positive errno: nothing is granted, taken, mounted */
	uint32_t count;
	uint64_t id; /* of a node, HANDOVER_PIN and _UNPIN */
	uint64_t reserved;
};

_Static_assert(sizeof(struct handover_message) == 32, "part of a protocol");

#endif
