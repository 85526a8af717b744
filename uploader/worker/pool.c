#include "uploader/worker/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int pool_init(struct pool *pool, struct s3_client *client, const struct config *config)
{
	uint32_t capacity = config->connections * 2;

	*pool = (struct pool){
		.env = {.client = client, .bucket = config->bucket, .scratch = malloc(TASK_SLICE_BYTES)},
		.active_max = config->connections,
		.capacity = capacity < POOL_TASKS_MAX ? capacity : POOL_TASKS_MAX,
	};
	return pool->env.scratch ? 0 : -ENOMEM;
}

void pool_done(struct pool *pool)
{
	pool_drop(pool);
	free(pool->env.scratch);
	pool->env.scratch = NULL;
}

void pool_drop(struct pool *pool)
{
	for (uint32_t i = 0; i < pool->n_tasks; i++)
		task_free(pool->tasks[i]);
	pool->n_tasks = 0;
}

static struct task *find(const struct pool *pool, uint64_t id)
{
	for (uint32_t i = 0; i < pool->n_tasks; i++) {
		if (task_id(pool->tasks[i]) == id)
			return pool->tasks[i];
	}
	return NULL;
}

int pool_add(struct pool *pool, const struct job_request *request, int fd)
{
	int r = pool->n_tasks >= pool->capacity ? -ENOSPC : find(pool, request->id) ? -EEXIST : 0;

	if (r < 0) {
		close(fd);
		return r;
	}
	struct task *task = task_new(&pool->env, request, fd);

	if (!task)
		return -ENOMEM;
	pool->tasks[pool->n_tasks++] = task;
	return 0;
}

void pool_cancel(struct pool *pool, uint64_t id)
{
	struct task *task = find(pool, id);

	if (task)
		task_cancel(task);
}

bool pool_turn(struct pool *pool)
{
	uint32_t active = 0;
	bool more = false;

	for (uint32_t i = 0; i < pool->n_tasks; i++) {
		enum task_state state = task_state(pool->tasks[i]);

		active += state == TASK_HASHING || state == TASK_CALLING;
	}
	for (uint32_t i = 0; i < pool->n_tasks; i++) {
		enum task_state state = task_state(pool->tasks[i]);

		if (state == TASK_WAITING) {
			if (active >= pool->active_max)
				continue;
			active++;
		}
		task_turn(pool->tasks[i]);
		/* One that ends here leaves its place to one that waits. */
		if (task_state(pool->tasks[i]) != state || state == TASK_HASHING)
			more |= task_state(pool->tasks[i]) != TASK_CALLING;
	}
	return more;
}

void pool_collect(struct pool *pool, int (*callback)(void *arg, const struct task *task), void *arg)
{
	uint32_t kept = 0;
	bool stopped = false;

	for (uint32_t i = 0; i < pool->n_tasks; i++) {
		struct task *task = pool->tasks[i];

		if (!stopped && task_state(task) == TASK_FINISHED) {
			stopped = callback(arg, task) < 0;
			if (!stopped) {
				task_free(task);
				continue;
			}
		}
		pool->tasks[kept++] = task;
	}
	pool->n_tasks = kept;
}
