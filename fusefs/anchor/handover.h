/* What ebbfs-anchor and ebbfs-fusefs say to each other at $EBBFS_RUN/anchor: SOCK_SEQPACKET, mode 0600.
 *
 * fusefs connects and sends HANDOVER_ATTACH; the anchor mounts if nothing is mounted yet and answers HANDOVER_GRANT
 * with three descriptors: the backing directory, /dev/fuse, the shared state (a memfd). Both keep the connection for
 * as long as they live: its end is how one learns that the other is gone. Fixed-size messages of one machine: native
 * byte order. */
#ifndef EBBFS_HANDOVER_H
#define EBBFS_HANDOVER_H

#include <stdint.h>

#define HANDOVER_SOCKET "anchor"
#define HANDOVER_MAGIC 0x65626131U /* "eba1" */
#define HANDOVER_VERSION 1

enum handover_type {
	HANDOVER_ATTACH = 1, /* fusefs → anchor */
	HANDOVER_GRANT,      /* anchor → fusefs, with HANDOVER_FDS descriptors if error is 0 */
	HANDOVER_SERVING,    /* fusefs → anchor: FUSE_INIT is answered */
};

/* Order of the descriptors in a grant. */
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
	int32_t error; /* HANDOVER_GRANT: 0, or a positive errno: nothing is granted */
	uint32_t reserved;
};

_Static_assert(sizeof(struct handover_message) == 16, "part of a protocol");

#endif
