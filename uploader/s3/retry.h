/* When to try again: the AWS SDKs' standard mode. Pure but for the bucket it is given; one thread.
 *
 * A bucket of tokens is shared by all requests of a process: each retry takes some, success puts them back, so that an
 * endpoint that is down is not asked three times for each of many jobs. */
#ifndef EBBFS_S3_RETRY_H
#define EBBFS_S3_RETRY_H

#include "uploader/s3/error.h"

#define RETRY_ATTEMPTS 3
#define RETRY_TOKENS 500
#define RETRY_COST_TRANSIENT 14
#define RETRY_COST_THROTTLED 5
#define RETRY_DELAY_MAX_MS 20000

struct retry_bucket {
	int tokens; /* begins at RETRY_TOKENS */
};

/* After the attempt-th attempt (from 1) ended with this class: the tokens that were taken for another one, or 0 when
 * there is to be none. */
int retry_take(struct retry_bucket *bucket, enum s3_class class, int attempt) _must_check_;

/* A request succeeded whose last retry took that many tokens (0: it was the first attempt). */
void retry_give_back(struct retry_bucket *bucket, int taken);

/* How long to wait before attempt + 1. unit: random in [0, 1]. asked_ms: what the server asked for, or -1; it may
 * lengthen the delay by at most 5 s. */
int64_t retry_delay_ms(enum s3_class class, int attempt, double unit, int64_t asked_ms) _must_check_;

#endif
