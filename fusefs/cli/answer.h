/* What ebbfs-fusefs answers at its status socket, as C values. The only place where the JSON's names are read. */
#ifndef EBBFS_CLI_ANSWER_H
#define EBBFS_CLI_ANSWER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "fusefs/policy/ask.h"
#include "uploader/base/config.h"

static inline void cleanup_json(json_t **json)
{
	json_decref(*json);
}
#define _cleanup_json_ _cleanup_(cleanup_json)

/* Numbers that the answer lacks are 0, ages that it lacks or that are null are -1. */
struct status {
	bool serving, scanning, uploader, passthrough;
	bool no_journal; /* nothing is recorded or uploaded */
	int64_t dirty;   /* open for writing, or closed so lately that it is not known yet */
	int64_t settling, queued, uploading, parked, proven, known;
	int64_t uploaded, present, copied; /* since fusefs started */
	int64_t uploaded_bytes;
	int64_t disk_total, disk_free, inodes_total, inodes_free;
	int64_t reads, writes; /* requests that passthrough did not take */
	double oldest_waiting_seconds, last_success_seconds, last_failure_seconds;
	char target[1300], mount[1024], last_error[600]; /* cut to fit */
};

static inline int64_t status_waiting(const struct status *status)
{
	return status->settling + status->queued + status->uploading;
}

/* Asks; *ret_raw holds the JSON text as it came. 0; -ENOENT, -ECONNREFUSED: not running; -EBADMSG: the answer broke
 * off; *ret_errno: the server's own -errno, then *ret is NULL. else -errno. Waits timeout_ms for each packet. */
int answer_get(const struct config *config, const struct ask_request *request, int64_t timeout_ms, struct buf *raw,
	json_t **ret, int *ret_errno) _must_check_;

/* ASK_STATUS in one go. 0 or -errno. */
int answer_status(const struct config *config, int64_t timeout_ms, struct status *ret) _must_check_;

void answer_read_status(const json_t *json, struct status *ret);

/* Whether an error of the above means that no fusefs listens. */
bool answer_not_running(int r);

/* Says on stderr why there is no answer. Returns the exit code. */
int answer_complain(const struct config *config, int r);

#endif
