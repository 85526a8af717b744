/* The open jobs: which of them are under way, and their results in order of their end. One thread. */
#ifndef EBBFS_WORKER_POOL_H
#define EBBFS_WORKER_POOL_H

#include "uploader/worker/task.h"

#define POOL_TASKS_MAX 256

struct pool {
	struct task_env env;
	uint32_t active_max; /* tasks that may hold buffers and connections */
	uint32_t capacity;   /* ≤ POOL_TASKS_MAX */
	uint32_t n_tasks;
	struct task *tasks[POOL_TASKS_MAX]; /* oldest first */
};

/* 0 or -ENOMEM. The client stays the caller's and must outlive the pool. */
int pool_init(struct pool *pool, struct s3_client *client, const struct config *config) _must_check_;
void pool_done(struct pool *pool);

/* Forgets every task, and what they had under way. */
void pool_drop(struct pool *pool);

/* Takes a job; fd becomes the pool's, whatever is returned. 0, -ENOSPC (more than its capacity), -EEXIST (the id is
 * open), -ENOMEM. */
int pool_add(struct pool *pool, const struct job_request *request, int fd) _must_check_;
void pool_cancel(struct pool *pool, uint64_t id);

/* Lets every task that is not waiting for S3 go on by one slice. True if one of them has more to do at once. */
bool pool_turn(struct pool *pool);

/* Calls back with each task that has finished, then frees it; stops at a negative return and keeps that task. */
void pool_collect(struct pool *pool, int (*callback)(void *arg, const struct task *task), void *arg);

#endif
