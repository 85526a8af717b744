#include "fusefs/anchor/pins.h"

#include <stdlib.h>
#include <sys/resource.h>

/* For sockets, the mount's own descriptors, what is passed by a peer and not yet looked at, /proc. */
#define OWN_DESCRIPTORS 64
#define FEW_DESCRIPTORS 256 /* when the limit cannot be had */

static struct pin **find(struct pins *pins, uint64_t id)
{
	struct pin **link = &pins->buckets[id % PINS_BUCKETS];

	while (*link && (*link)->id != id)
		link = &(*link)->next;
	return link;
}

void pins_init(struct pins *pins)
{
	struct rlimit limit;

	*pins = (struct pins){.max = FEW_DESCRIPTORS};
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0 && getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	pins->max = limit.rlim_cur > OWN_DESCRIPTORS ? (size_t)limit.rlim_cur - OWN_DESCRIPTORS : 0;
}

void pins_done(struct pins *pins)
{
	pins_clear(pins);
}

int pins_put(struct pins *pins, uint64_t id, int fd)
{
	_cleanup_close_ int taken = fd;
	struct pin **link = find(pins, id);

	if (*link) {
		close((*link)->fd);
		(*link)->fd = TAKE_FD(taken);
		return 0;
	}
	if (pins->count >= pins->max)
		return -EMFILE;

	struct pin *fresh = malloc(sizeof(*fresh));

	if (!fresh)
		return -ENOMEM;
	*fresh = (struct pin){.id = id, .fd = TAKE_FD(taken)};
	*link = fresh;
	pins->count++;
	return 0;
}

void pins_drop(struct pins *pins, uint64_t id)
{
	struct pin **link = find(pins, id), *pin = *link;

	if (!pin)
		return;
	*link = pin->next;
	close(pin->fd);
	free(pin);
	pins->count--;
}

void pins_clear(struct pins *pins)
{
	for (size_t i = 0; i < PINS_BUCKETS; i++) {
		while (pins->buckets[i])
			pins_drop(pins, pins->buckets[i]->id);
	}
}

const struct pin *pins_next(const struct pins *pins, const struct pin *after)
{
	if (after && after->next)
		return after->next;
	for (size_t i = after ? after->id % PINS_BUCKETS + 1 : 0; i < PINS_BUCKETS; i++) {
		if (pins->buckets[i])
			return pins->buckets[i];
	}
	return NULL;
}
