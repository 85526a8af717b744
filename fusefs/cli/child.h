/* One program that `ebbfs run` keeps alive: how it is started, and when again after it died. */
#ifndef EBBFS_CLI_CHILD_H
#define EBBFS_CLI_CHILD_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "uploader/base/cleanup.h"

enum part {
	PART_ANCHOR,
	PART_FUSEFS,
	PART_UPLOADER,
	PARTS,
};

struct child {
	enum part part;
	char path[PATH_MAX]; /* of the executable */
	pid_t pid;           /* 0: not running */
	int64_t started_ms;  /* clock_ms() */
	int64_t delay_ms;    /* before the start in hand */
	int64_t start_ms;    /* not before then; meaningful while pid is 0 */
	bool killed;         /* SIGKILL was sent */
	unsigned int starts;
};

/* "anchor", "ebbfs-anchor". */
const char *part_name(enum part part);
const char *part_program(enum part part);

/* Starts it with an empty argv, stdin from /dev/null, in a process group of its own (a Ctrl-C at the terminal is for
 * `ebbfs run` alone, which ends its children in order), without credentials unless it is the uploader. 0 or -errno.
 *
 * No PR_SET_PDEATHSIG: when `ebbfs run` is killed, anchor and fusefs go on serving the mount, and the vendor program
 * notices nothing; any signal to them would take the mount away. The uploader goes on as well: what was closed still
 * gets into S3. The next `ebbfs run` finds all of them by leftover.h. */
int child_start(struct child *child) _must_check_;

/* It ended: logs why and decides when it may start again: at once, and with a growing delay when it lives less than a
 * second each time. `wanted`: its end was asked for. */
void child_ended(struct child *child, int wait_status, bool wanted);

#endif
