/* Descriptors that the anchor keeps for fusefs, by node id: of files that have no name any more but are open. They
 * must outlive the fusefs that said so. One thread.
 *
 * Bounded by the limit of descriptors, less some for the anchor's own work. */
#ifndef EBBFS_ANCHOR_PINS_H
#define EBBFS_ANCHOR_PINS_H

#include <stddef.h>
#include <stdint.h>

#include "uploader/base/cleanup.h"

#define PINS_BUCKETS 4096

struct pin {
	struct pin *next; /* in its bucket */
	uint64_t id;
	int fd;
};

struct pins {
	struct pin *buckets[PINS_BUCKETS];
	size_t count, max;
};

/* Raises the soft limit of descriptors to the hard one, and takes its measure from that. */
void pins_init(struct pins *pins);
/* Drops all; the same as pins_clear(). */
void pins_done(struct pins *pins);

/* Takes fd over, also on failure; closes an earlier one of that id. 0, -EMFILE (no descriptors to spare), -ENOMEM. */
int pins_put(struct pins *pins, uint64_t id, int fd) _must_check_;
/* Closes what is kept under id, if anything. */
void pins_drop(struct pins *pins, uint64_t id);
void pins_clear(struct pins *pins);

/* All of them one after the other, from NULL on; NULL after the last. Only while nothing is put or dropped. */
const struct pin *pins_next(const struct pins *pins, const struct pin *after);

#endif
