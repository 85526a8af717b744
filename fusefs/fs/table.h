/* The tables of a connection: nodes, their names, open handles. Numbers, never pointers, in one shared mapping.
 *
 * They lie in a memfd that outlives the process, so that another one can go on where this one stopped. A node is an
 * inode that the kernel knows; its id is (generation << 32 | slot), the root's is 1. A node is found again by the file
 * handle that the backing filesystem gave (name_to_handle_at), else by its parents' names.
 *
 * What is changed between table_lock() and table_unlock() is changed as a whole or, if the process dies in between, not
 * at all: the old bytes are kept in the mapping first (table_save_locked()), and table_init() puts them back. A process
 * that is killed has done its stores in program order, so the order that the compiler gives them is all that matters.
 *
 * Threads: the lock protects everything in the mapping; it is held for memory work only, never over a system call.
 * Functions named _locked want it held. */
#ifndef EBBFS_FS_TABLE_H
#define EBBFS_FS_TABLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "fusefs/fs/inflight.h"
#include "uploader/base/cleanup.h"

/* Of the layout below and of what the numbers in it mean. A release reads its own and the one before; version 1 was
 * never handed to another process. */
#if defined(TABLE_LAYOUT_NEXT)
#define TABLE_VERSION 3
#elif defined(TABLE_LAYOUT_FOREIGN)
#define TABLE_VERSION 90
#else
#define TABLE_VERSION 2
#endif
#define NODE_HANDLE_MAX 20 /* bytes; ext4, xfs, tmpfs, btrfs fit, what does not is found by name */
#define NODE_ROOT_ID 1
#define NODE_NONE 0 /* slot 0 is nobody */
#define NODE_ROOT_SLOT 1

/* Bits of node.flags. */
#define NODE_HAS_ATTRIBUTES 0x01 /* instead of a name: table_keep_attributes_locked() */
#define NODE_NO_PASSTHROUGH 0x02 /* its filesystem refused */
#define NODE_PINNED 0x04         /* has no name any more; pins.c keeps something of it */
#define NODE_IS_DIR 0x08
#define NODE_IS_FILE 0x10       /* regular */
#define NODE_NO_CAPABILITY 0x20 /* made here, and nobody gave it security.capability */

struct node {
	uint64_t ino;
	uint64_t lookups;    /* the kernel's references */
	uint32_t dev;        /* low 32 bits of st_dev */
	uint32_t generation; /* of the slot */
	uint32_t hash_next;  /* slot; also links free slots */
	uint32_t parent;     /* slot; NODE_NONE without a name */
	uint32_t children;   /* nodes whose parent this is */
	uint32_t name;       /* offset in the names' region; 0: none */
	uint32_t opens;      /* handles */
	uint32_t writers;    /* handles that can write */
	int32_t backing_id;  /* of passthrough, while opens > 0; 0: none */
	uint8_t flags;
	uint8_t handle_type;  /* low byte; the types in use fit */
	uint8_t handle_bytes; /* 0: no handle */
	uint8_t announced;    /* a directory: low byte of the life in which its FS_EVENT_DIR was sent */
	uint8_t handle[NODE_HANDLE_MAX];
};

_Static_assert(sizeof(struct node) == 80, "layout of the shared state, TABLE_VERSION");

/* An open file or directory: what FUSE calls fh is (generation << 32 | slot). */
struct handle {
	uint32_t node; /* slot; NODE_NONE: free */
	uint32_t generation;
	uint32_t flags; /* of open(2) */
	uint32_t next;  /* free list */
};

_Static_assert(sizeof(struct handle) == 16, "layout of the shared state, TABLE_VERSION");

#define TABLE_FREED_MAX 16

struct table {
	pthread_mutex_t lock;
	struct table_header *header;
	struct undo *undo;
	struct inflight *inflights; /* INFLIGHTS */
	uint32_t *buckets;
	struct node *nodes;
	char *names;
	struct handle *handles;
	bool is_counted; /* the header's counts are saved; protected by lock */
	bool is_resumed; /* an earlier process left it */
	/* Directories that went since table_take_freed_locked(), of which other things may be kept; protected by lock. */
	uint64_t freed[TABLE_FREED_MAX];
	uint32_t n_freed; /* beyond TABLE_FREED_MAX: some were not noted */
};

/* What a node is recognised by. */
struct node_identity {
	uint64_t ino;
	uint32_t dev;
	bool is_dir, is_file;
	uint8_t handle_type, handle_bytes;
	uint8_t handle[NODE_HANDLE_MAX];
};

/* Maps the tables; an empty memfd gets fresh ones with the root in them; what an earlier process left half done is
 * undone. fd -1: private memory. 0 or -errno (-EPROTO: the state is of a version that cannot be read, or of another
 * backing directory). fd stays the caller's. */
int table_init(struct table *table, int fd, const struct node_identity *root) _must_check_;
void table_done(struct table *table);

void table_lock(struct table *table);
void table_unlock(struct table *table);
/* Before bytes of the mapping are changed. */
void table_save_locked(struct table *table, const void *at, size_t size);
static inline void table_save_node_locked(struct table *table, const struct node *node)
{
	table_save_locked(table, node, sizeof(*node));
}

/* How many processes have served this connection, this one included. */
uint32_t table_life(const struct table *table);

/* The node with this id, or NULL when there is none (a stale id). */
struct node *table_node_locked(struct table *table, uint64_t id);
uint64_t table_id_locked(const struct table *table, const struct node *node);
struct node *table_find_locked(struct table *table, uint32_t dev, uint64_t ino);

/* The node of an identity, made if it is new, with one more lookup. It gets the name when it has none. NULL: out of
 * room (-ENFILE for the caller). */
struct node *table_lookup_locked(
	struct table *table, const struct node_identity *identity, struct node *parent, const char *name);

/* Takes lookups away; frees the node, and parents that hang on it alone. Returns true when the node itself is gone. */
bool table_forget_locked(struct table *table, struct node *node, uint64_t lookups);

/* Ids of directories whose nodes went, also with what hung on them: how many, or TABLE_FREED_MAX + 1 when not all of them
 * are known. */
uint32_t table_take_freed_locked(struct table *table, uint64_t out[static TABLE_FREED_MAX]);

/* Gives a node another place in the tree, or none (parent NULL). 0 or -ENOSPC. */
int table_rename_locked(struct table *table, struct node *node, struct node *parent, const char *name);

/* A node that loses its last name keeps its attributes in place of it. Out of room, they are lost. */
void table_keep_attributes_locked(struct table *table, struct node *node, const struct stat *st);
/* False: none were kept. */
bool table_get_attributes_locked(const struct table *table, const struct node *node, struct stat *ret) _must_check_;

/* True if the node's recorded place is this name. */
bool table_is_named_locked(
	const struct table *table, const struct node *node, const struct node *parent, const char *name);
const char *table_name_locked(const struct table *table, const struct node *node); /* "" for none */
struct node *table_parent_locked(struct table *table, const struct node *node);    /* NULL for none */

/* 0 or -ENFILE. */
int table_open_handle_locked(struct table *table, struct node *node, uint32_t flags, uint64_t *ret_fh) _must_check_;
/* NULL: a stale number. */
struct handle *table_handle_locked(struct table *table, uint64_t fh);
/* Returns true when the node went with it. */
bool table_close_handle_locked(struct table *table, struct handle *handle);
static inline uint32_t table_fh_slot(uint64_t fh)
{
	return (uint32_t)fh;
}

/* The nodes of open handles, one by one and some of them more than once: *at begins as 0. NULL at the end. */
const struct node *table_next_open_locked(const struct table *table, uint32_t *at);

/* One writer more or less for a node; and how many nodes have any. */
void table_add_writer_locked(struct table *table, struct node *node, int difference);
uint64_t table_writers(struct table *table);

/* What was agreed on with the kernel, for whoever goes on. */
#define TABLE_INIT_MAX 256
#define TABLE_PASSTHROUGH_WORKED 1
#define TABLE_PASSTHROUGH_REFUSED 2
struct table_connection {
	uint64_t want;             /* struct fuse_conn_info's want_ext */
	int32_t last_backing_id;   /* given out by the kernel, which counts upwards */
	uint32_t passthrough;      /* TABLE_PASSTHROUGH_…; 0: not tried yet */
	uint32_t is_init_answered; /* else the kernel may ask again */
	uint32_t init_length;      /* 0: no FUSE_INIT was read yet */
	uint8_t init[TABLE_INIT_MAX];
};

/* The connection's part of the header. `want` and `init` are written once, before anything is served; the others only
 * ever grow: no lock. */
struct table_connection *table_connection(struct table *table);

/* -EMSGSIZE, or 0. */
int table_save_init(struct table *table, const void *request, size_t length);

void table_get_counts(struct table *table, uint64_t *ret_nodes, uint64_t *ret_handles);

#endif
