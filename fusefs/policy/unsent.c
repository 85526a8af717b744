#include "fusefs/policy/unsent.h"

#include <errno.h>
#include <stdlib.h>

static struct unsent_pin **slot(struct unsent *unsent, uint64_t node_id)
{
	struct unsent_pin **link = &unsent->buckets[node_id % UNSENT_BUCKETS];

	while (*link && (*link)->node_id != node_id)
		link = &(*link)->next;
	return link;
}

struct unsent_pin *unsent_find(struct unsent *unsent, uint64_t node_id)
{
	return unsent->n ? *slot(unsent, node_id) : NULL;
}

int unsent_put(struct unsent *unsent, uint64_t node_id, bool pinned, bool known)
{
	struct unsent_pin **link = slot(unsent, node_id);

	if (*link) {
		(*link)->pinned = pinned;
		(*link)->known = (*link)->known || known;
		(*link)->round = unsent->round;
		/* It came and went, and the anchor never heard of it. */
		if (!pinned && !(*link)->known)
			unsent_remove(unsent, node_id);
		return 0;
	}
	*link = malloc(sizeof(**link));
	if (!*link)
		return -ENOMEM;
	**link = (struct unsent_pin){.node_id = node_id, .round = unsent->round, .pinned = pinned, .known = known};
	unsent->n++;
	return 0;
}

void unsent_remove(struct unsent *unsent, uint64_t node_id)
{
	struct unsent_pin **link = slot(unsent, node_id), *pin = *link;

	if (!pin)
		return;
	*link = pin->next;
	free(pin);
	unsent->n--;
}

void unsent_clear(struct unsent *unsent)
{
	for (size_t i = 0; i < UNSENT_BUCKETS; i++) {
		while (unsent->buckets[i])
			unsent_remove(unsent, unsent->buckets[i]->node_id);
	}
}

void unsent_each(struct unsent *unsent, bool (*fn)(struct unsent_pin *pin, void *arg), void *arg)
{
	for (size_t i = 0; unsent->n && i < UNSENT_BUCKETS; i++) {
		struct unsent_pin *next;

		for (struct unsent_pin *pin = unsent->buckets[i]; pin; pin = next) {
			next = pin->next;
			if (!fn(pin, arg))
				return;
		}
	}
}
