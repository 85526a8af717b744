/* One program that `ebbfs run` keeps alive: how it is started, when again after it died, and which executable. */
#ifndef EBBFS_CLI_CHILD_H
#define EBBFS_CLI_CHILD_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "fusefs/cli/image.h"

enum part {
	PART_ANCHOR,
	PART_FUSEFS,
	PART_UPLOADER,
	PARTS,
};

struct child {
	enum part part;
	struct images images; /* of its executable */
	pid_t pid;            /* 0: not running */
	uint64_t start_ticks; /* its start time as the kernel counts it; tells it from a later process of that pid */
	int64_t started_ms;   /* clock_ms() */
	int64_t delay_ms;     /* before the start in hand */
	int64_t start_ms;     /* not before then; meaningful while pid is 0 */
	bool killed;          /* SIGKILL was sent, to it or to the leftover */
	unsigned int starts;

	/* What it says by notify.h. */
	int64_t heard_ms; /* clock_ms() of its last message, or its start */
	bool talks;       /* has said something since it was started */
	bool can_talk;    /* it, or one before it, has */
	bool ready;       /* has said that it is ready */

	/* A process of the same part that an earlier `ebbfs run` left and that is not ours to wait for (leftover.h). */
	pid_t old_pid;
	int old_fd; /* its pidfd; -1: none */
	uint64_t old_ticks;
};

/* "anchor", "ebbfs-anchor". */
const char *part_name(enum part part);
const char *part_program(enum part part);

/* The path of the program is images.path and has to be filled in. */
void child_init(struct child *child, enum part part);
void child_done(struct child *child);

/* Starts it with an empty argv, stdin from /dev/null, in a process group of its own (a Ctrl-C at the terminal is for
 * `ebbfs run` alone, which ends its children in order), without credentials unless it is the uploader, and with
 * notify_path and its time limit in the environment. It executes the program only when child_go() says so, and not at
 * all when this process dies before: until then nobody has written down that it exists. 0 or -errno; *ret_gate is the
 * caller's.
 *
 * No PR_SET_PDEATHSIG: when `ebbfs run` is killed, its children go on serving the mount and uploading, and the vendor
 * program notices nothing. The next `ebbfs run` finds all of them by leftover.h. */
int child_start(struct child *child, const char *notify_path, int *ret_gate) _must_check_;
void child_go(int gate);

/* It ended: decides when it may start again: at once, and with a growing delay when it lives only shortly each time. */
void child_ended(struct child *child);

/* It said that it is ready, or alive. */
void child_heard(struct child *child, bool ready);

/* clock_ms() when it has been silent for too long; INT64_MAX if nobody waits for it to speak. */
int64_t child_silent_at(const struct child *child);

/* Running, as our child or as a leftover. */
bool child_is_up(const struct child *child);
void child_signal(struct child *child, int signal_number);

/* The leftover has ended, or is given up. */
void child_forget_old(struct child *child);

#endif
