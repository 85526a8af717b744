/* Taking over from an `ebbfs run` that was killed, without a break: in which order its children, which go on serving,
 * give way to new ones, and what each step waits for.
 *
 *   anchor    the old one just goes while a fusefs is attached; the new one gets the mount back from that fusefs,
 *             and has to hold it before the fusefs ends
 *   fusefs    the old one finishes the requests in hand; the kernel keeps later ones until the new one has attached
 *   uploader  nothing depends on it
 *
 * If only the anchor is left of the two, it alone holds the mount: fusefs comes first. */
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
	const struct child *fusefs, *anchor; /* NULL: not one of them */
	bool listens;                        /* the new anchor does */
	int64_t since_ms;                    /* clock_ms() when the part in hand was started, then when it listened */
};

/* Finds the leftovers. Those whose mount is not at EBBFS_DATA (any more) are ended, which blocks: there is nothing to
 * keep alive. */
void replace_plan(
	struct replace *ret, const struct config *config, const char *record, struct child *children, size_t n);

/* The next part is about to be started. */
void replace_begins(struct replace *replace);

/* Whether the anchor listens, and has got back the mount that an old fusefs serves, unless that takes too long. */
bool replace_anchor_ready(struct replace *replace, const struct config *config, const struct child *anchor);

/* fusefs comes first, and does not get on with the old anchor, or that one is gone: it comes after a new anchor, and
 * the order begins again. */
bool replace_gives_up(struct replace *replace);

#endif
