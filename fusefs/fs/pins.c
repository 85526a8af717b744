#include "fusefs/fs/pins.h"

#include <fcntl.h>
#include <stdlib.h>

struct pin {
	struct pin *next;
	uint64_t node_id;
	int fd; /* -1: attributes only */
	struct stat st;
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

void pins_put_attributes(struct pins *pins, uint64_t node_id, const struct stat *st)
{
	struct pin *fresh = malloc(sizeof(*fresh));

	if (!fresh)
		return;
	*fresh = (struct pin){.node_id = node_id, .fd = -1, .st = *st};
	pthread_mutex_lock(&pins->lock);
	struct pin **link = find(pins, node_id);

	if (!*link)
		*link = TAKE_PTR(fresh);
	pthread_mutex_unlock(&pins->lock);
	free(fresh);
}

bool pins_get_attributes(struct pins *pins, uint64_t node_id, struct stat *ret)
{
	pthread_mutex_lock(&pins->lock);
	const struct pin *pin = *find(pins, node_id);
	bool found = pin && pin->fd < 0;

	if (found)
		*ret = pin->st;
	pthread_mutex_unlock(&pins->lock);
	return found;
}

int pins_get(struct pins *pins, uint64_t node_id)
{
	pthread_mutex_lock(&pins->lock);
	const struct pin *pin = *find(pins, node_id);
	/* A descriptor of the caller's own: the pin may go while it is used. */
	int fd = pin && pin->fd >= 0 ? fcntl(pin->fd, F_DUPFD_CLOEXEC, 3) : -1;

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
	if (pin && pin->fd >= 0)
		close(pin->fd);
	free(pin);
}
