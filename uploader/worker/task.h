/* One job, from its request to its result: hash, ask, send or copy, prove. Nothing of sockets is here, and nothing of
 * HTTP. One thread. */
#ifndef EBBFS_WORKER_TASK_H
#define EBBFS_WORKER_TASK_H

#include "uploader/s3/client.h"
#include "uploader/wire/job.h"

#define TASK_SLICE_BYTES (1U << 20) /* hashed per turn, so that a big file does not hold up small ones */

/* Shared by all tasks of a process. */
struct task_env {
	struct s3_client *client;
	const char *bucket;
	uint8_t *scratch; /* TASK_SLICE_BYTES, used within task_turn() */
};

enum task_state {
	TASK_WAITING,  /* not begun */
	TASK_HASHING,  /* task_turn() gets it on */
	TASK_CALLING,  /* S3 is asked */
	TASK_FINISHED, /* the result is there */
};

struct task;

/* fd becomes the task's; the request is copied. NULL without memory (fd is closed then, too). */
struct task *task_new(const struct task_env *env, const struct job_request *request, int fd);
/* Ends what is under way. */
void task_free(struct task *task);

/* Begins a waiting task, or hashes a slice. Never waits for the network. */
void task_turn(struct task *task);

/* Finishes it now, as JOB_CHANGED; nothing if it has finished. */
void task_cancel(struct task *task);

enum task_state task_state(const struct task *task);
uint64_t task_id(const struct task *task);
const struct job_request *task_request(const struct task *task);

/* When TASK_FINISHED. Borrowed. */
const struct job_result *task_result(const struct task *task);

#endif
