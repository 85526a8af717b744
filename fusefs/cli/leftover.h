/* What an earlier `ebbfs run` left running when it was killed: written down in EBBFS_RUN, ended in order by the next.
 *
 * A record is name, pid and the process' start time: a pid that was given to another process since is not touched. */
#ifndef EBBFS_CLI_LEFTOVER_H
#define EBBFS_CLI_LEFTOVER_H

#include <stddef.h>

#include "fusefs/cli/child.h"

/* Writes down who runs now; replaces what was written before. `name` is a file in directory. 0 or -errno. */
int leftover_write(const char *directory, const char *name, const struct child *children, size_t n) _must_check_;

/* Ends those who are written down and still run: last started first, SIGTERM, after a while SIGKILL. Blocks. */
void leftover_end(const char *directory, const char *name);

#endif
