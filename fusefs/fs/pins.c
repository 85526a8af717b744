#include "fusefs/fs/pins.h"

#include <errno.h>
#include <fcntl.h>
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

static void tell(const struct pins *pins, uint64_t node_id, int fd)
{
	if (pins->tell)
		pins->tell(node_id, fd, pins->tell_arg);
}

void pins_init(struct pins *pins, fs_pin_fn *fn, void *arg)
{
	*pins = (struct pins){.lock = PTHREAD_MUTEX_INITIALIZER, .tell = fn, .tell_arg = arg};
}

void pins_done(struct pins *pins)
{
	pins->tell = NULL;
	for (size_t i = 0; i < PINS_BUCKETS; i++) {
		while (pins->buckets[i])
			pins_drop(pins, pins->buckets[i]->node_id);
	}
}

static int put(struct pins *pins, uint64_t node_id, int fd, bool is_new)
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
	if (is_new)
		tell(pins, node_id, fd);
	pthread_mutex_unlock(&pins->lock);
	if (old >= 0)
		close(old);
	free(fresh);
	return 0;
}

int pins_put(struct pins *pins, uint64_t node_id, int fd)
{
	return put(pins, node_id, fd, true);
}

int pins_adopt(struct pins *pins, uint64_t node_id, int fd)
{
	return put(pins, node_id, fd, false);
}

int pins_get(struct pins *pins, uint64_t node_id)
{
	pthread_mutex_lock(&pins->lock);
	const struct pin *pin = *find(pins, node_id);
	/* A descriptor of the caller's own: the pin may go while it is used. */
	int fd = pin ? fcntl(pin->fd, F_DUPFD_CLOEXEC, 3) : -1;

	pthread_mutex_unlock(&pins->lock);
	return fd;
}

static void remove_locked(struct pins *pins, struct pin **link)
{
	struct pin *pin = *link;

	*link = pin->next;
	tell(pins, pin->node_id, -1);
	close(pin->fd);
	free(pin);
}

void pins_drop(struct pins *pins, uint64_t node_id)
{
	pthread_mutex_lock(&pins->lock);
	struct pin **link = find(pins, node_id);

	if (*link)
		remove_locked(pins, link);
	pthread_mutex_unlock(&pins->lock);
}

void pins_each(struct pins *pins, fs_pin_fn *fn, void *arg)
{
	pthread_mutex_lock(&pins->lock);
	for (size_t i = 0; i < PINS_BUCKETS; i++) {
		for (const struct pin *pin = pins->buckets[i]; pin; pin = pin->next)
			fn(pin->node_id, pin->fd, arg);
	}
	pthread_mutex_unlock(&pins->lock);
}

void pins_sweep(struct pins *pins, bool (*wanted)(uint64_t node_id, void *arg), void *arg)
{
	pthread_mutex_lock(&pins->lock);
	for (size_t i = 0; i < PINS_BUCKETS; i++) {
		for (struct pin **link = &pins->buckets[i]; *link;) {
			if (wanted((*link)->node_id, arg))
				link = &(*link)->next;
			else
				remove_locked(pins, link);
		}
	}
	pthread_mutex_unlock(&pins->lock);
}
