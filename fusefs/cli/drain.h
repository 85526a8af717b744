/* Waiting until everything that was closed is in S3. */
#ifndef EBBFS_CLI_DRAIN_H
#define EBBFS_CLI_DRAIN_H

#include "fusefs/cli/answer.h"

/* Asks again and again until nothing waits and the directory has been compared with the journal. timeout_ms < 0: no
 * limit. Returns EXIT_DONE; EXIT_FAILED when only parked files are left; EXIT_TIMED_OUT; EXIT_NOT_RUNNING when
 * nobody answered at first, or for some seconds on end. *ret holds the last answer, zeros if there was none. */
int drain_wait(const struct config *config, int64_t timeout_ms, struct status *ret) _must_check_;

#endif
