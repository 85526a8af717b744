/* What an earlier `ebbfs run` left running when it was killed: written down in EBBFS_RUN, found by the next.
 *
 * A record is name, pid and the process' start time: a pid that was given to another process since is not touched. */
#ifndef EBBFS_CLI_LEFTOVER_H
#define EBBFS_CLI_LEFTOVER_H

#include <stddef.h>

#include "fusefs/cli/child.h"

/* When a process was started, in clock ticks since boot; 0: there is none. */
uint64_t process_start_ticks(pid_t pid);

/* Writes down who runs now, children and leftovers; replaces what was written before. `name` is a file in directory.
 * 0 or -errno. */
int leftover_write(const char *directory, const char *name, const struct child *children, size_t n) _must_check_;

/* Fills in old_pid and old_fd of the children whose part is written down and still runs. Returns how many. */
size_t leftover_find(const char *directory, const char *name, struct child *children, size_t n);

/* Ends what leftover_find() found: last one first, SIGTERM, after a while SIGKILL. Blocks. */
void leftover_end(struct child *children, size_t n);

#endif
