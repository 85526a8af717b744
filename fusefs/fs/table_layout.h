/* Where things lie in the shared mapping; for table.c and table_map.c only.
 *
 * One memfd, laid out once for the largest size: it is sparse, a page costs memory when it is first written.
 *
 *   0        header
 *   8 KiB    requests in flight (inflight.h)
 *   512 KiB  undo log
 *   4 MiB    hash buckets: slot of the first node of each chain
 *   4 GiB    nodes
 *   32 GiB   names, in slots of powers of two from 16 bytes, each class with a list of free ones
 *   64 GiB   handles */
#ifndef EBBFS_FS_TABLE_LAYOUT_H
#define EBBFS_FS_TABLE_LAYOUT_H

#include <stdatomic.h>
#include <string.h>

#include "fusefs/fs/table.h"

#define GIB (1ULL << 30)
#define TABLE_MAGIC 0x65626274U /* "ebbt" */
#define INFLIGHTS_OFFSET (8ULL << 10)
#define UNDO_OFFSET (512ULL << 10)
#define UNDO_BYTES 80  /* an entry's: a node's, the most that is saved at once */
#define UNDO_MAX 16384 /* entries */
#define BUCKETS (1U << 20)
#define BUCKETS_OFFSET (4ULL << 20)
#define NODES_OFFSET (4 * GIB)
#define NODES_MAX (300U << 20)
#define NAMES_OFFSET (32 * GIB)
#define NAMES_BYTES_MAX (16 * GIB)
#define NAME_UNIT 16
#define NAME_CLASSES 5 /* 16, 32, 64, 128, 256 bytes */
#define HANDLES_OFFSET (64 * GIB)
#define HANDLES_MAX (64U << 20)
#define TABLE_BYTES (68 * GIB)

struct table_counts {
	uint64_t nodes, handles; /* live ones */
	uint64_t writers;        /* nodes that have some */
	uint32_t nodes_used;     /* slots below this were in use at some time */
	uint32_t node_free;      /* first free slot */
	uint32_t handles_used, handle_free;
	uint32_t names_used; /* in units */
	uint32_t name_free[NAME_CLASSES];
};

struct table_header {
	uint32_t magic, version;
	uint32_t life; /* counts the processes that served */
	uint32_t reserved;
#ifdef TABLE_LAYOUT_NEXT
	uint64_t migrated; /* from another layout so often; moves what follows */
#endif
	struct table_counts counts;
	struct table_connection connection;
};

struct undo_entry {
	uint64_t offset; /* in the mapping */
	uint64_t size;
	uint8_t bytes[UNDO_BYTES];
};

struct undo {
	uint32_t n; /* entries that are valid; 0: nothing is half done */
	struct undo_entry entries[UNDO_MAX];
};

_Static_assert(sizeof(struct table_header) <= INFLIGHTS_OFFSET, "regions overlap");
_Static_assert(sizeof(struct table_counts) <= UNDO_BYTES, "saved at once");
_Static_assert(INFLIGHTS_OFFSET + INFLIGHTS * sizeof(struct inflight) <= UNDO_OFFSET, "regions overlap");
_Static_assert(UNDO_OFFSET + sizeof(struct undo) <= BUCKETS_OFFSET, "regions overlap");
_Static_assert(BUCKETS_OFFSET + BUCKETS * sizeof(uint32_t) <= NODES_OFFSET, "regions overlap");
_Static_assert(NODES_OFFSET + NODES_MAX * sizeof(struct node) <= NAMES_OFFSET, "regions overlap");
_Static_assert(HANDLES_OFFSET + HANDLES_MAX * sizeof(struct handle) <= TABLE_BYTES, "regions overlap");

/* The compiler must not move stores over this. What it compiles to runs in order as far as this process's own death is
 * concerned. */
static inline void table_in_order(void)
{
	atomic_signal_fence(memory_order_seq_cst);
}

/* For a change that may be longer than the undo log, at a moment when what is done so far is whole: from here on so many
 * entries fit, and less may be undone. */
void table_make_room_locked(struct table *table, uint32_t entries);

static inline void table_set_identity(struct node *node, const struct node_identity *identity)
{
	node->ino = identity->ino;
	node->dev = identity->dev;
	node->flags = (uint8_t)((identity->is_dir ? NODE_IS_DIR : 0) | (identity->is_file ? NODE_IS_FILE : 0));
	node->handle_type = identity->handle_type;
	node->handle_bytes = identity->handle_bytes;
	memcpy(node->handle, identity->handle, NODE_HANDLE_MAX);
}

static inline uint32_t *table_bucket(const struct table *table, uint32_t dev, uint64_t ino)
{
	uint64_t mixed = (ino ^ (uint64_t)dev << 40) * 0x9e3779b97f4a7c15ULL;

	return &table->buckets[mixed >> 44];
}

#endif
