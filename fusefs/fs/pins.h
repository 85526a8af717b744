/* What is kept of nodes that have no name any more, until the kernel forgets them: an O_PATH descriptor that keeps the
 * inode alive if it was open (or is a directory, where somebody may be), else the attributes that it had. Few at a time:
 * a pin goes with the FORGET that follows.
 *
 * Any thread; `lock` protects the table. */
#ifndef EBBFS_FS_PINS_H
#define EBBFS_FS_PINS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "uploader/base/cleanup.h"

#define PINS_BUCKETS 256

struct pin;

struct pins {
	pthread_mutex_t lock;
	struct pin *buckets[PINS_BUCKETS];
};

void pins_init(struct pins *pins);
void pins_done(struct pins *pins);

/* Takes the descriptor over, also on failure; replaces an earlier one. 0 or -ENOMEM. */
int pins_put(struct pins *pins, uint64_t node_id, int fd) _must_check_;

/* Keeps attributes only. Out of memory, they are lost: the inode is gone, and says so. */
void pins_put_attributes(struct pins *pins, uint64_t node_id, const struct stat *st);

/* True if attributes were kept. */
bool pins_get_attributes(struct pins *pins, uint64_t node_id, struct stat *ret) _must_check_;

/* The descriptor of a node, duplicated for the caller to close; -1 for none. */
int pins_get(struct pins *pins, uint64_t node_id);

void pins_drop(struct pins *pins, uint64_t node_id);

#endif
