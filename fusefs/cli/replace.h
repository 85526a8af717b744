/* Taking over from an `ebbfs run` that was killed, without a break: in which order its children, which go on serving,
 * give way to new ones, and what each step waits for. Whoever ends must not be the only one that holds the mount:
 *
 *   fusefs    first, if the old anchor is there: it has to hold the mount; the old fusefs finishes the requests in
 *             hand, the kernel keeps later ones until the new one has attached
 *   anchor    with the new fusefs attached, the old one just goes; the new one gets the mount back from that fusefs.
 *             First, if no anchor is left: the old fusefs has to return the mount before it ends.
 *   uploader  nothing depends on it */
#ifndef EBBFS_CLI_REPLACE_H
#define EBBFS_CLI_REPLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fusefs/cli/child.h"
#include "uploader/base/config.h"

/* From SIGTERM to SIGKILL of a leftover. It may be hung, and the vendor program waits; dying costs nothing. */
#define REPLACE_MS 2000

struct replace {
	bool leftovers; /* something is taken over */
	bool fusefs_first;
	size_t order[PARTS];                 /* indexes of children */
	const struct child *anchor, *fusefs; /* NULL: not one of them */
	bool listens;                        /* the new anchor does */
	int64_t since_ms;                    /* clock_ms() when the wait in hand began; 0: not yet */
};

/* Finds the leftovers. Those whose mount is not at EBBFS_DATA (any more) are ended, which blocks: there is nothing to
 * keep alive. */
void replace_plan(
	struct replace *ret, const struct config *config, const char *record, struct child *children, size_t n);

/* The next part has its turn. */
void replace_next(struct replace *replace);

/* Whether the old fusefs may end: an anchor holds the mount, or will not get it. */
bool replace_may_end_fusefs(struct replace *replace);

/* Whether the new anchor listens, and has got the mount from the fusefs that serves it, or will not get it. */
bool replace_anchor_ready(struct replace *replace, const struct config *config);

/* fusefs comes first, and does not get on with the old anchor, or that one is gone: it comes after a new anchor, and
 * the order begins again. */
bool replace_gives_up(struct replace *replace);

#endif
