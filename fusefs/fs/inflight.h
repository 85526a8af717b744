/* Requests that must not be done twice, and how far each has got: in the shared table, so that the process that comes
 * after a death answers a resent request with what its predecessor did.
 *
 * A record goes through these states:
 *
 *   INTENT   what is wanted, and what was there before, is written down; the backing filesystem is changed next
 *   MADE     a name was made and the table does not know it yet; only inflight_settle() sets it
 *   ENTERED  the node has its lookup, its handle is still to come (CREATE, O_TMPFILE)
 *   LISTED   a listing entered `listed` nodes so far, each with a lookup (READDIRPLUS)
 *   CLOSING  the handle is closed; the backing id is still to be given back (RELEASE)
 *   DONE     the table is changed as well; only the answer is missing, or was given just before the death
 *
 * Each change from one to the next that goes with a change of the table is part of the same transaction. Before the
 * next process serves, inflight_settle() looks at the backing filesystem and brings every INTENT to MADE, DONE, or
 * nothing. That is decisive, since the kernel holds the locks of the directories concerned until it has its answer:
 * nothing else can have changed these names meanwhile (fs/fuse/dir.c, Documentation/filesystems/directory-locking.rst).
 *
 * A record is dropped after the answer was given. One that no resent request claims was answered already: resent
 * requests come before all others (fuse_resend() in fs/fuse/dev.c), so it is dropped at the first that is not resent.
 *
 * Threads: a record is the thread's that serves the request. The functions without _locked take the table's lock. */
#ifndef EBBFS_FS_INFLIGHT_H
#define EBBFS_FS_INFLIGHT_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#define INFLIGHTS 128 /* twice the threads, and again for those of a process that died before it had read all */

enum inflight_state {
	INFLIGHT_FREE = 0,
	INFLIGHT_INTENT,
	INFLIGHT_MADE,
	INFLIGHT_ENTERED,
	INFLIGHT_CLOSING,
	INFLIGHT_DONE,
	INFLIGHT_LISTED,
};

#define INFLIGHT_LISTED_MAX 256 /* names of one answer: 32 KiB hold fewer */

/* Bits of inflight.flags. */
#define INFLIGHT_HAS_TARGET 0x01 /* RENAME: something is at the new name */
#define INFLIGHT_IS_LAST 0x02    /* the name that goes is the last of its inode */
#define INFLIGHT_PINNED 0x04     /* its node is pinned for that */
#define INFLIGHT_IS_NEW 0x08     /* CREATE: the file was not there before */
#define INFLIGHT_TRUNCATED 0x10  /* O_TRUNC was done */

/* The first part fits one entry of the table's undo log. */
struct inflight {
	uint64_t unique; /* without FUSE_UNIQUE_RESEND; 0: free */
	uint64_t node;   /* the answer's; UNLINK, RENAME: the one that loses its name, 0: not known to the kernel */
	uint64_t fh;     /* LISTED: how many of `listed` are valid */
	uint64_t parent, new_parent; /* node ids */
	uint64_t source_ino;
	uint32_t source_dev; /* low 32 bits */
	uint32_t opcode;
	uint32_t state;
	uint32_t flags;
	uint32_t rename_flags;
	int32_t backing_id;

	struct stat target; /* of what loses its name */
	char name[NAME_MAX + 1], new_name[NAME_MAX + 1];
	uint64_t listed[INFLIGHT_LISTED_MAX]; /* node ids */
};

#define INFLIGHT_HEAD_BYTES 72
_Static_assert(offsetof(struct inflight, target) == INFLIGHT_HEAD_BYTES, "layout of the shared state, TABLE_VERSION");

struct fs;
struct node;

/* Around each request: `unique` as it came. */
void inflight_begin(struct fs *fs, uint64_t unique, uint32_t opcode);
void inflight_end(struct fs *fs);

/* What an earlier process, or an earlier step, left for the request in hand; NULL: nothing. */
struct inflight *inflight_current(void);
/* The same if it has got to this state. */
struct inflight *inflight_in_state(enum inflight_state state);

/* A record for the request in hand, not valid until inflight_intend(): fill in first what will be needed. */
struct inflight *inflight_new(struct fs *fs);
/* A name of the request; the kernel sends none that is longer than NAME_MAX. */
static inline void inflight_name(char out[static NAME_MAX + 1], const char *name)
{
	size_t length = strnlen(name, NAME_MAX);

	memcpy(out, name, length);
	out[length] = '\0';
}
/* From now on a death after this is seen. */
void inflight_intend(struct inflight *inflight);
/* Nothing was changed after all; the record may be used for another intent of the same request. */
void inflight_cancel(void);

/* The request in hand has got to `state`, as part of the transaction. node, fh: 0 for what they are. */
void inflight_reach_locked(struct fs *fs, enum inflight_state state, uint64_t node, uint64_t fh);

/* A listing has entered one more node, as part of the transaction. False: it holds no more. */
bool inflight_list_locked(struct fs *fs, uint64_t node);
/* Takes back what an earlier process entered for an answer that never arrived. */
void inflight_unlist(struct fs *fs);

/* Before anything is served, by the only thread. */
void inflight_settle(struct fs *fs);
/* A request that is not resent was read: what is unclaimed was answered. Cheap when there is nothing. */
void inflight_drop_unclaimed(struct fs *fs);

#endif
