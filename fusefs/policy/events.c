/* The list between those who see changes and the engine. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fusefs/policy/engine.h"
#include "uploader/base/units.h"

/* The scan leaves this much of the list to what happens meanwhile. */
#define OFFERED_MAX (ENGINE_EVENTS_MAX / 8)

static void wake(struct engine *engine)
{
	const uint64_t one = 1;
	ssize_t n = write(engine->wake_fd, &one, sizeof(one));

	(void)n; /* full: it is awake */
}

void engine_on_event(struct fs_event *event, void *arg)
{
	struct engine *engine = arg;
	bool was_empty;

	pthread_mutex_lock(&engine->lock);
	if (engine->n_events >= ENGINE_EVENTS_MAX) {
		/* The journal's disk does not keep up. Nothing is lost: the tree is compared when it does again. */
		engine->scan_wanted = true;
		pthread_mutex_unlock(&engine->lock);
		atomic_fetch_add(&engine->counters.dropped_events, 1);
		free(event);
		return;
	}
	was_empty = !engine->first_event;
	event->next = NULL;
	*engine->last_event = event;
	engine->last_event = &event->next;
	engine->n_events++;
	pthread_mutex_unlock(&engine->lock);
	if (was_empty)
		wake(engine);
}

struct fs_event *engine_take_events(struct engine *engine)
{
	pthread_mutex_lock(&engine->lock);
	struct fs_event *events = engine->first_event;

	engine->first_event = NULL;
	engine->last_event = &engine->first_event;
	engine->n_held += engine->n_events;
	engine->n_events = 0;
	pthread_cond_broadcast(&engine->changed);
	pthread_mutex_unlock(&engine->lock);
	return events;
}

void engine_events_recorded(struct engine *engine)
{
	pthread_mutex_lock(&engine->lock);
	engine->n_held = 0;
	pthread_mutex_unlock(&engine->lock);
}

bool engine_offer(struct engine *engine, uint32_t type, uint64_t dir, const char *name, uint64_t ino, bool is_dir,
	enum engine_found found)
{
	size_t size = strlen(name) + 1;
	struct fs_event *event = malloc(sizeof(*event) + size);

	pthread_mutex_lock(&engine->lock);
	while (engine->n_events >= OFFERED_MAX && !engine->stopping)
		pthread_cond_wait(&engine->changed, &engine->lock);
	bool stopping = engine->stopping;

	pthread_mutex_unlock(&engine->lock);
	if (!event || stopping) {
		free(event);
		return !stopping;
	}
	char *copy = (char *)(event + 1);

	memcpy(copy, name, size);
	*event = (struct fs_event){.type = (enum fs_event_type)type,
		.dir = dir,
		.ino = ino,
		.name = copy,
		.new_name = "",
		.is_dir = is_dir,
		.is_file = !is_dir,
		.new_ino = found};
	engine_on_event(event, engine);
	return true;
}

void engine_want_scan(struct engine *engine)
{
	pthread_mutex_lock(&engine->lock);
	engine->scan_wanted = true;
	pthread_cond_broadcast(&engine->changed);
	pthread_mutex_unlock(&engine->lock);
}

void engine_set_mounted(struct engine *engine)
{
	atomic_store(&engine->mounted, true);
	engine_want_scan(engine);
}

void engine_set_error(struct engine *engine, const char *text)
{
	pthread_mutex_lock(&engine->lock);
	snprintf(engine->last_error, sizeof(engine->last_error), "%s", text);
	pthread_mutex_unlock(&engine->lock);
}

bool engine_wait_for_end(struct engine *engine, int64_t ms)
{
	int64_t until = wall_ms() + ms;
	const struct timespec deadline = {
		.tv_sec = until / MSEC_PER_SEC, .tv_nsec = until % MSEC_PER_SEC * (NSEC_PER_SEC / MSEC_PER_SEC)};
	int r = 0;

	pthread_mutex_lock(&engine->lock);
	while (!engine->stopping && r != ETIMEDOUT)
		r = pthread_cond_timedwait(&engine->changed, &engine->lock, &deadline);
	bool stopping = engine->stopping;

	pthread_mutex_unlock(&engine->lock);
	return stopping;
}
