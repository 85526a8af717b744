/* The pins that the anchor has yet to be told of, because its socket was full: for each node, whether it is pinned now.
 *
 * Bounded by the pins there are and those that the anchor knows. Not here: the descriptors, which the filesystem keeps.
 * The caller's lock. */
#ifndef EBBFS_UNSENT_H
#define EBBFS_UNSENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "uploader/base/cleanup.h"

#define UNSENT_BUCKETS 128

struct unsent_pin {
	struct unsent_pin *next;
	uint64_t node_id;
	uint32_t round; /* unsent.round when it was last changed */
	bool pinned;
	bool known; /* to the anchor, perhaps: it must hear of the end */
};

struct unsent {
	struct unsent_pin *buckets[UNSENT_BUCKETS];
	size_t n;
	uint32_t round; /* for the caller to count */
};

struct unsent_pin *unsent_find(struct unsent *unsent, uint64_t node_id); /* NULL: the anchor knows */

/* What is to be told of a node now. 0 or -ENOMEM. */
int unsent_put(struct unsent *unsent, uint64_t node_id, bool pinned, bool known) _must_check_;

void unsent_remove(struct unsent *unsent, uint64_t node_id);
void unsent_clear(struct unsent *unsent);

/* Calls back with each until that returns false; the one called about may be removed. */
void unsent_each(struct unsent *unsent, bool (*fn)(struct unsent_pin *pin, void *arg), void *arg);

#endif
