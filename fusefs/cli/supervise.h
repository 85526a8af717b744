/* The tiny init of `ebbfs run`: starts children in order, restarts them, ends them in order. */
#ifndef EBBFS_CLI_SUPERVISE_H
#define EBBFS_CLI_SUPERVISE_H

#include <stddef.h>

#include "fusefs/cli/child.h"
#include "uploader/base/config.h"

/* Runs until a signal or a child's usage error ends it. `record` is the file in EBBFS_RUN where the children are
 * written down (leftover.h). Returns the exit code. Call with no children, once. */
int supervise(const struct config *config, struct child *children, size_t n, const char *record);

#endif
