#include "fusefs/fs/pins.h"

#include <stdlib.h>

struct pin {
	struct pin *next;
	uint64_t node_id;
	int fd;
};

static struct pin **find(struct pins *pins, uint64_t node_id)
{
	struct pin **link = &pins->buckets[node_id % PINS_BUCKETS];

	while (*link && (*link)->node_id != node_id)
		link = &(*link)->next;
	return link;
}

void pins_init(struct pins *pins)
{
	*pins = (struct pins){.lock = PTHREAD_MUTEX_INITIALIZER};
}

void pins_done(struct pins *pins)
{
	for (size_t i = 0; i < PINS_BUCKETS; i++) {
		while (pins->buckets[i])
			pins_drop(pins, pins->buckets[i]->node_id);
	}
}

int pins_put(struct pins *pins, uint64_t node_id, int fd)
{
	struct pin *fresh = malloc(sizeof(*fresh));
	int old = -1;

	if (!fresh) {
		close(fd);
		return -ENOMEM;
	}
	pthread_mutex_lock(&pins->lock);
	struct pin **link = find(pins, node_id);

	if (*link) {
		old = (*link)->fd;
		(*link)->fd = fd;
	} else {
		*fresh = (struct pin){.node_id = node_id, .fd = fd};
		*link = TAKE_PTR(fresh);
	}
	pthread_mutex_unlock(&pins->lock);
	if (old >= 0)
		close(old);
	free(fresh);
	return 0;
}

int pins_get(struct pins *pins, uint64_t node_id)
{
	pthread_mutex_lock(&pins->lock);
	const struct pin *pin = *find(pins, node_id);
	int fd = pin ? pin->fd : -1;

	pthread_mutex_unlock(&pins->lock);
	return fd;
}

void pins_drop(struct pins *pins, uint64_t node_id)
{
	pthread_mutex_lock(&pins->lock);
	struct pin **link = find(pins, node_id), *pin = *link;

	if (pin)
		*link = pin->next;
	pthread_mutex_unlock(&pins->lock);
	if (pin)
		close(pin->fd);
	free(pin);
}
