/* Looks at every slot of a shared table: whether it hangs together, and whether it is the same as another. For the
 * tests of what a death leaves behind. One thread; fails the running cmocka test. */
#ifndef EBBFS_TESTS_UNIT_TABLE_CHECK_H
#define EBBFS_TESTS_UNIT_TABLE_CHECK_H

#include <stdbool.h>
#include <stddef.h>

#include "fusefs/fs/table_layout.h"

/* Of a node, without what the compiler leaves free behind. */
#define NODE_BYTES (offsetof(struct node, handle) + NODE_HANDLE_MAX)

struct table_rules {
	/* Whether a node may be missing from its hash chain: its inode number was given to another file. NULL: none. */
	bool (*may_be_hidden)(const struct node *node);
	/* A node may have lost its last reference without being freed: a long parent chain is given up in pieces. */
	bool may_be_unreferenced;
	/* Handles with these flags of open(2) count as writers. */
	uint32_t writing;
};

/* What is wrong, in text that is overwritten by the next call; NULL: nothing. Every slot below *_used is either live
 * and reachable, or once on its free list; numbers agree; names do not overlap and no unit is lost. */
const char *table_find_fault(const struct table *table, const struct table_rules *rules);

/* The same slots, chains, names and free lists, with the same numbers. What is different, or NULL. */
const char *table_find_difference(const struct table *table, const struct table *other);

#endif
