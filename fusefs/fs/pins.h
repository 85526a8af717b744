/* Nodes that have no name any more but are open (or are directories, where somebody may be): an O_PATH descriptor keeps
 * the inode, until the kernel forgets the node. Few at a time: a pin goes with the FORGET that follows. Somebody else
 * keeps a copy of each, for when this process dies (fs_pin_fn).
 *
 * Any thread; `lock` protects the table, and is held over the calls of `tell`. */
#ifndef EBBFS_FS_PINS_H
#define EBBFS_FS_PINS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "fusefs/fs/fs.h"
#include "uploader/base/cleanup.h"

#define PINS_BUCKETS 256

struct pin;

struct pins {
	pthread_mutex_t lock;
	struct pin *buckets[PINS_BUCKETS];
	fs_pin_fn *tell; /* NULL: nobody */
	void *tell_arg;
};

void pins_init(struct pins *pins, fs_pin_fn *fn, void *arg);
/* Tells nobody: the pins live on elsewhere. */
void pins_done(struct pins *pins);

/* Takes the descriptor over, also on failure; replaces an earlier one. 0 or -ENOMEM. */
int pins_put(struct pins *pins, uint64_t node_id, int fd) _must_check_;

/* The same for one that is kept elsewhere already. */
int pins_adopt(struct pins *pins, uint64_t node_id, int fd) _must_check_;

/* The descriptor of a node, duplicated for the caller to close; -1 for none. */
int pins_get(struct pins *pins, uint64_t node_id);

void pins_drop(struct pins *pins, uint64_t node_id);

/* Calls back with each; fn must not call back. */
void pins_each(struct pins *pins, fs_pin_fn *fn, void *arg);

/* Drops those for which `wanted` says false. */
void pins_sweep(struct pins *pins, bool (*wanted)(uint64_t node_id, void *arg), void *arg);

#endif
