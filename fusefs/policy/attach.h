/* How a new fusefs comes by the mount: what ebbfs-anchor grants. Once, before there are threads. */
#ifndef EBBFS_ATTACH_H
#define EBBFS_ATTACH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fusefs/anchor/handover.h"
#include "uploader/base/cleanup.h"

struct granted_pin {
	uint64_t node_id;
	int fd;
};

struct grant {
	int connection; /* to the anchor, non-blocking; -1: it died while it handed over */
	int fds[HANDOVER_FDS];
	bool resumed; /* the connection was served before */
	struct granted_pin *pins;
	size_t n_pins;
};

/* Asks until it is granted, for as long as it may be that an earlier fusefs is dying or an anchor is starting. Blocks.
 * 0 or -errno (-ENOENT, -ECONNREFUSED: there is no anchor; -EBUSY: another fusefs is attached; -EPROTO: the anchor is
 * of another version). */
int attach(const char *run, struct grant *ret) _must_check_;

/* Closes what is left in it. */
void grant_done(struct grant *grant);

/* One message without waiting, with descriptors. 0 or -errno (-EAGAIN: the other side does not read). */
int handover_say(int connection, enum handover_type type, uint32_t count, uint64_t id, const int *fds,
	size_t n_fds) _must_check_;

/* Receives one message of the protocol. 1; 0: the other side is gone; -EAGAIN; -EPROTO: it speaks something else. */
int handover_hear(
	int connection, struct handover_message *ret, int *fds, size_t max_fds, size_t *ret_n_fds) _must_check_;

#endif
