/* The connection to ebbfs-fusefs: found, lost and found again; jobs come in by it and results go out. One thread. */
#ifndef EBBFS_WORKER_LINK_H
#define EBBFS_WORKER_LINK_H

#include <poll.h>

#include "uploader/worker/pool.h"

struct link {
	const char *directory; /* of the socket; borrowed */
	struct pool *pool;
	int fd;             /* -1: none */
	int64_t try_ms;     /* clock_ms() of the next attempt */
	int64_t delay_ms;   /* after that */
	int64_t since_ms;   /* clock_ms() when it was connected */
	bool waits;         /* the socket is full */
	bool draining;      /* takes no new jobs */
	struct buf message; /* in and out */
};

void link_init(struct link *link, const char *directory, struct pool *pool);
void link_done(struct link *link);

/* What to wait for; timeout_ms is lowered to the next attempt. Entry's fd is -1 while there is no connection. */
struct pollfd link_poll(const struct link *link, int *timeout_ms);

/* Connects when it is time and takes what has come. Losing the peer drops all jobs. */
void link_turn(struct link *link);

/* Sends what has finished. */
void link_flush(struct link *link);

#endif
