/* What the supervisor has to wait for and must not: done by a fork of it, whose end says that the waiting is over. */
#ifndef EBBFS_CLI_HELPER_H
#define EBBFS_CLI_HELPER_H

#include <sys/types.h>

#include "uploader/base/config.h"

enum helper_task {
	HELPER_SERVING, /* until fusefs serves; for ever, and then its exit status is 0 */
	HELPER_DRAIN,   /* until everything is uploaded, up to drain_ms; logs what came of it */
};

/* Dies with this process. Returns its pid, or 0 after it said why there is none. */
pid_t helper_start(const struct config *config, enum helper_task task);

#endif
