/* What becomes of a job whose request failed, and how that is said to a person. Pure; any thread. */
#ifndef EBBFS_WORKER_OUTCOME_H
#define EBBFS_WORKER_OUTCOME_H

#include "uploader/s3/error.h"
#include "uploader/wire/job.h"

/* Fills in outcome, http_status, endpoint_down and text. doing: `PUT`, `HEAD`, …; bucket: for the text. The text holds
 * no secrets and nothing that the server wrote but its error code and request id. */
void outcome_of_error(struct job_result *result, const struct s3_error *error, const char *doing, const char *bucket);

#endif
