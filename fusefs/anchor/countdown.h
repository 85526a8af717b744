/* When does the mount step aside? Pure: every clock is an argument, in ms of clock_ms().
 *
 * The time runs from the moment since which nothing serves. That moment moves on with every HANDOVER_ALIVE of a
 * fusefs that has served for a stable while; one that dies (or falls silent) before that moves nothing, so that a loop
 * of crashes ends in stepping aside like a standstill. Who serves at the end of the time, but not for long enough yet,
 * is given until then. */
#ifndef EBBFS_ANCHOR_COUNTDOWN_H
#define EBBFS_ANCHOR_COUNTDOWN_H

#include <stdbool.h>
#include <stdint.h>

/* A request that kills whoever reads it does so at once, since it comes first. Longer than this, and others were
 * served. */
#define COUNTDOWN_STABLE_MS 100

struct countdown {
	int64_t limit_ms;  /* EBBFS_FAIL_OPEN_AFTER */
	int64_t stable_ms; /* serving for this long, a fusefs counts */
	int64_t silent_ms; /* without a word for this long, it does not serve */
	int64_t served_ms; /* nothing is known to serve since then */
	bool serving;      /* the attached fusefs said so */
	int64_t since_ms;  /* when it did */
	int64_t alive_ms;  /* when it was heard last */
};

/* From now on: a mount was made, or was taken over. */
void countdown_start(struct countdown *countdown, int64_t limit_ms, int64_t now_ms);
/* HANDOVER_SERVING, HANDOVER_ALIVE. */
void countdown_heard(struct countdown *countdown, int64_t now_ms);
/* The attached fusefs has ended. */
void countdown_gone(struct countdown *countdown, int64_t now_ms);
/* Time passed in which nobody could be heard: this process itself did not run. */
void countdown_skip(struct countdown *countdown, int64_t ms);

/* Whether the attached fusefs can be taken to serve. */
bool countdown_is_served(const struct countdown *countdown, int64_t now_ms);
/* When the mount is to step aside. */
int64_t countdown_end_ms(const struct countdown *countdown);

#endif
