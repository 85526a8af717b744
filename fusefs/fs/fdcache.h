/* Real descriptors of open handles, for the calls that passthrough does not take: a bounded number of them.
 *
 * A handle's descriptor is opened when it is first needed and closed when too many others are, or with the handle.
 * Any thread. A descriptor that is in use stays open until its last reference is put. */
#ifndef EBBFS_FS_FDCACHE_H
#define EBBFS_FS_FDCACHE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "uploader/base/cleanup.h"

struct fdcache_entry;

struct fdcache {
	pthread_mutex_t lock;
	struct fdcache_entry **buckets;
	struct fdcache_entry *newest, *oldest; /* by last use */
	uint32_t open, max;
};

struct fdcache_ref {
	int fd;
	struct fdcache *cache;
	struct fdcache_entry *entry;
};

#define FDCACHE_REF_NONE ((struct fdcache_ref){.fd = -1})

/* max: descriptors kept open. 0 or -ENOMEM. */
int fdcache_init(struct fdcache *cache, uint32_t max) _must_check_;
void fdcache_done(struct fdcache *cache);

/* 0 with a reference, or -ENOENT. */
int fdcache_get(struct fdcache *cache, uint64_t fh, struct fdcache_ref *ret) _must_check_;

/* Takes fd over, also on failure. When another thread was quicker, its descriptor is the one that *ret gets. 0 or
 * -ENOMEM. */
int fdcache_put(struct fdcache *cache, uint64_t fh, int fd, struct fdcache_ref *ret) _must_check_;

/* All that are not in use. */
void fdcache_clear(struct fdcache *cache);

/* The handle is closed. */
void fdcache_drop(struct fdcache *cache, uint64_t fh);

void fdcache_unref(struct fdcache_ref *ref);
#define _cleanup_fdcache_ref_ _cleanup_(fdcache_unref)

#endif
