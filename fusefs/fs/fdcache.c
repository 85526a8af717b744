#include "fusefs/fs/fdcache.h"

#include <stdlib.h>

#define BUCKETS 1024

struct fdcache_entry {
	struct fdcache_entry *hash_next;
	struct fdcache_entry *newer, *older;
	uint64_t fh;
	uint32_t references;
	bool dropped; /* out of the table; freed with the last reference */
	int fd;
};

static struct fdcache_entry **find(struct fdcache *cache, uint64_t fh)
{
	struct fdcache_entry **link = &cache->buckets[fh % BUCKETS];

	while (*link && (*link)->fh != fh)
		link = &(*link)->hash_next;
	return link;
}

static void unlink_age(struct fdcache *cache, struct fdcache_entry *entry)
{
	*(entry->newer ? &entry->newer->older : &cache->newest) = entry->older;
	*(entry->older ? &entry->older->newer : &cache->oldest) = entry->newer;
	entry->newer = entry->older = NULL;
}

static void make_newest(struct fdcache *cache, struct fdcache_entry *entry)
{
	entry->older = cache->newest;
	*(cache->newest ? &cache->newest->newer : &cache->oldest) = entry;
	cache->newest = entry;
}

/* Takes an entry out of the table; returns it if the caller has to free it. */
static struct fdcache_entry *remove_locked(struct fdcache *cache, struct fdcache_entry *entry)
{
	*find(cache, entry->fh) = entry->hash_next;
	unlink_age(cache, entry);
	cache->open--;
	entry->dropped = true;
	return entry->references ? NULL : entry;
}

static void entry_free(struct fdcache_entry *entry)
{
	if (entry)
		close(entry->fd);
	free(entry);
}

int fdcache_init(struct fdcache *cache, uint32_t max)
{
	*cache = (struct fdcache){.lock = PTHREAD_MUTEX_INITIALIZER, .max = max};
	/* NOLINTNEXTLINE(bugprone-multi-level-implicit-pointer-conversion): what calloc() is for */
	cache->buckets = calloc(BUCKETS, sizeof(struct fdcache_entry *));
	return cache->buckets ? 0 : -ENOMEM;
}

void fdcache_done(struct fdcache *cache)
{
	while (cache->oldest)
		entry_free(remove_locked(cache, cache->oldest));
	/* NOLINTNEXTLINE(bugprone-multi-level-implicit-pointer-conversion): and free() */
	free(cache->buckets);
	cache->buckets = NULL;
}

static void take_reference(struct fdcache *cache, struct fdcache_entry *entry, struct fdcache_ref *ret)
{
	unlink_age(cache, entry);
	make_newest(cache, entry);
	entry->references++;
	*ret = (struct fdcache_ref){.fd = entry->fd, .cache = cache, .entry = entry};
}

int fdcache_get(struct fdcache *cache, uint64_t fh, struct fdcache_ref *ret)
{
	int r = -ENOENT;

	pthread_mutex_lock(&cache->lock);
	struct fdcache_entry *entry = *find(cache, fh);

	if (entry) {
		take_reference(cache, entry, ret);
		r = 0;
	}
	pthread_mutex_unlock(&cache->lock);
	return r;
}

/* The one that was not used for longest and is not in use now. */
static struct fdcache_entry *evict_locked(struct fdcache *cache)
{
	struct fdcache_entry *entry = cache->oldest;

	while (entry && entry->references)
		entry = entry->newer;
	return entry ? remove_locked(cache, entry) : NULL;
}

int fdcache_put(struct fdcache *cache, uint64_t fh, int fd, struct fdcache_ref *ret)
{
	struct fdcache_entry *fresh = malloc(sizeof(*fresh)), *evicted = NULL;

	if (!fresh) {
		close(fd);
		return -ENOMEM;
	}
	*fresh = (struct fdcache_entry){.fh = fh, .fd = fd};
	pthread_mutex_lock(&cache->lock);
	struct fdcache_entry **link = find(cache, fh), *entry = *link;

	if (!entry) {
		entry = *link = TAKE_PTR(fresh);
		make_newest(cache, entry);
		entry->references = 1; /* not to be evicted by its own arrival */
		if (++cache->open > cache->max)
			evicted = evict_locked(cache);
		entry->references = 0;
	}
	take_reference(cache, entry, ret);
	pthread_mutex_unlock(&cache->lock);
	entry_free(evicted);
	entry_free(fresh);
	return 0;
}

void fdcache_clear(struct fdcache *cache)
{
	struct fdcache_entry *entry;

	do {
		pthread_mutex_lock(&cache->lock);
		entry = evict_locked(cache);
		pthread_mutex_unlock(&cache->lock);
		entry_free(entry);
	} while (entry);
}

void fdcache_drop(struct fdcache *cache, uint64_t fh)
{
	pthread_mutex_lock(&cache->lock);
	struct fdcache_entry *entry = *find(cache, fh);

	if (entry)
		entry = remove_locked(cache, entry);
	pthread_mutex_unlock(&cache->lock);
	entry_free(entry);
}

void fdcache_unref(struct fdcache_ref *ref)
{
	struct fdcache_entry *gone = NULL;

	if (!ref->entry)
		return;
	pthread_mutex_lock(&ref->cache->lock);
	if (--ref->entry->references == 0 && ref->entry->dropped)
		gone = ref->entry;
	pthread_mutex_unlock(&ref->cache->lock);
	entry_free(gone);
	*ref = FDCACHE_REF_NONE;
}
