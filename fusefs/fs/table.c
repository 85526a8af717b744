/* One memfd, laid out once for the largest size: it is sparse, a page costs memory when it is first written.
 *
 *   0        header
 *   64 KiB   hash buckets: slot of the first node of each chain
 *   4 GiB    nodes
 *   32 GiB   names, in slots of powers of two from 16 bytes, each class with a list of free ones
 *   64 GiB   handles */
#include "fusefs/fs/table.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define GIB (1ULL << 30)
#define TABLE_MAGIC 0x65626274U /* "ebbt" */
#define BUCKETS (1U << 20)
#define BUCKETS_OFFSET (64ULL << 10)
#define NODES_OFFSET (4 * GIB)
#define NODES_MAX (300U << 20)
#define NAMES_OFFSET (32 * GIB)
#define NAMES_BYTES_MAX (16 * GIB)
#define NAME_UNIT 16
#define NAME_CLASSES 5 /* 16, 32, 64, 128, 256 bytes */
#define HANDLES_OFFSET (64 * GIB)
#define HANDLES_MAX (64U << 20)
#define TABLE_BYTES (68 * GIB)

struct table_header {
	uint32_t magic, version;
	uint32_t nodes_used; /* slots below this were in use at some time */
	uint32_t node_free;  /* first free slot */
	uint32_t handles_used, handle_free;
	uint32_t names_used; /* in units */
	uint32_t name_free[NAME_CLASSES];
	uint64_t nodes, handles; /* live ones */
	uint32_t init_length;
	uint8_t init[TABLE_INIT_MAX];
};

_Static_assert(NODES_OFFSET + NODES_MAX * sizeof(struct node) <= NAMES_OFFSET, "regions overlap");
_Static_assert(HANDLES_OFFSET + HANDLES_MAX * sizeof(struct handle) <= TABLE_BYTES, "regions overlap");

static void set_identity(struct node *node, const struct node_identity *identity)
{
	node->ino = identity->ino;
	node->dev = identity->dev;
	node->flags = (uint8_t)((identity->is_dir ? NODE_IS_DIR : 0) | (identity->is_file ? NODE_IS_FILE : 0));
	node->handle_type = identity->handle_type;
	node->handle_bytes = identity->handle_bytes;
	memcpy(node->handle, identity->handle, NODE_HANDLE_MAX);
}

static uint32_t *bucket_of(const struct table *table, uint32_t dev, uint64_t ino)
{
	uint64_t mixed = (ino ^ (uint64_t)dev << 40) * 0x9e3779b97f4a7c15ULL;

	return &table->buckets[mixed >> 44];
}

static uint32_t slot_of(const struct table *table, const struct node *node)
{
	return (uint32_t)(node - table->nodes);
}

static void hash_insert(struct table *table, struct node *node)
{
	uint32_t *bucket = bucket_of(table, node->dev, node->ino);

	node->hash_next = *bucket;
	*bucket = slot_of(table, node);
}

static void hash_remove(struct table *table, struct node *node)
{
	uint32_t *link = bucket_of(table, node->dev, node->ino);

	while (*link && *link != slot_of(table, node))
		link = &table->nodes[*link].hash_next;
	if (*link)
		*link = node->hash_next;
	node->hash_next = NODE_NONE;
}

int table_init(struct table *table, int fd, const struct node_identity *root)
{
	struct stat st = {0};
	int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;

	if (fd >= 0 && fstat(fd, &st) < 0)
		return -errno;
	if (fd >= 0 && st.st_size == 0 && ftruncate(fd, (off_t)TABLE_BYTES) < 0)
		return -errno;
	if (fd >= 0 && st.st_size != 0 && (uint64_t)st.st_size != TABLE_BYTES)
		return -EPROTO;
	char *base = mmap(NULL, TABLE_BYTES, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, fd, 0);

	if (base == MAP_FAILED)
		return -errno;
	*table = (struct table){
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.header = (struct table_header *)(void *)base,
		.buckets = (uint32_t *)(void *)(base + BUCKETS_OFFSET),
		.nodes = (struct node *)(void *)(base + NODES_OFFSET),
		.names = base + NAMES_OFFSET,
		.handles = (struct handle *)(void *)(base + HANDLES_OFFSET),
	};

	struct table_header *header = table->header;

	if (header->magic) {
		if (header->magic == TABLE_MAGIC && header->version == TABLE_VERSION)
			return 0;
		table_done(table);
		return -EPROTO;
	}
	header->version = TABLE_VERSION;
	header->nodes_used = NODE_ROOT_SLOT + 1;
	header->handles_used = 1;
	header->names_used = 1; /* offset 0 is no name */
	header->nodes = 1;
	set_identity(&table->nodes[NODE_ROOT_SLOT], root);
	table->nodes[NODE_ROOT_SLOT].lookups = 1; /* never forgotten */
	table->nodes[NODE_ROOT_SLOT].flags |= NODE_ANNOUNCED;
	hash_insert(table, &table->nodes[NODE_ROOT_SLOT]);
	header->magic = TABLE_MAGIC;
	return 0;
}

void table_done(struct table *table)
{
	if (table->header)
		munmap(table->header, TABLE_BYTES);
	*table = (struct table){.lock = PTHREAD_MUTEX_INITIALIZER};
}

struct node *table_node_locked(struct table *table, uint64_t id)
{
	uint32_t slot = (uint32_t)id;

	if (slot == NODE_NONE || slot >= table->header->nodes_used)
		return NULL;
	struct node *node = &table->nodes[slot];

	/* What is open is known, even when its last FORGET was handled before its RELEASE. */
	return (node->lookups || node->opens) && node->generation == id >> 32 ? node : NULL;
}

uint64_t table_id_locked(const struct table *table, const struct node *node)
{
	return (uint64_t)node->generation << 32 | slot_of(table, node);
}

struct node *table_find_locked(struct table *table, uint32_t dev, uint64_t ino)
{
	for (uint32_t slot = *bucket_of(table, dev, ino); slot; slot = table->nodes[slot].hash_next) {
		struct node *node = &table->nodes[slot];

		if (node->ino == ino && node->dev == dev)
			return node;
	}
	return NULL;
}

static unsigned int name_class(const char *name)
{
	size_t need = strlen(name) + 1;
	unsigned int class = 0;

	while ((size_t)NAME_UNIT << class < need)
		class ++;
	return class;
}

/* Offset in units, 0 when there is no room. */
static uint32_t name_alloc(struct table *table, const char *name)
{
	struct table_header *header = table->header;
	unsigned int class = name_class(name);

	if (class >= NAME_CLASSES)
		return 0;
	uint32_t at = header->name_free[class];

	if (at) {
		memcpy(&header->name_free[class], table->names + (size_t)at * NAME_UNIT, sizeof(uint32_t));
	} else {
		if ((uint64_t)(header->names_used + (1U << class)) * NAME_UNIT > NAMES_BYTES_MAX)
			return 0;
		at = header->names_used;
		header->names_used += 1U << class;
	}
	memcpy(table->names + (size_t)at * NAME_UNIT, name, strlen(name) + 1);
	return at;
}

static void name_free(struct table *table, uint32_t at)
{
	if (!at)
		return;
	char *name = table->names + (size_t)at * NAME_UNIT;
	unsigned int class = name_class(name);

	memcpy(name, &table->header->name_free[class], sizeof(uint32_t));
	table->header->name_free[class] = at;
}

/* A free slot keeps its generation, so that the next tenant's id differs from every earlier one's. */
static struct node *node_alloc(struct table *table)
{
	struct table_header *header = table->header;
	uint32_t slot = header->node_free, generation = 0;

	if (slot) {
		header->node_free = table->nodes[slot].hash_next;
		generation = table->nodes[slot].generation + 1;
	} else if (header->nodes_used < NODES_MAX) {
		slot = header->nodes_used++;
	} else {
		return NULL;
	}
	table->nodes[slot] = (struct node){.generation = generation};
	header->nodes++;
	return &table->nodes[slot];
}

/* Frees a node that nobody refers to, then its parent if that hung on it alone, and so on up. */
static void node_release(struct table *table, struct node *node)
{
	while (node && !node->lookups && !node->children && !node->opens) {
		struct node *parent = table_parent_locked(table, node);

		hash_remove(table, node);
		name_free(table, node->name);
		node->name = 0;
		node->parent = NODE_NONE;
		node->hash_next = table->header->node_free;
		table->header->node_free = slot_of(table, node);
		table->header->nodes--;
		if (parent)
			parent->children--;
		node = parent;
	}
}

int table_rename_locked(struct table *table, struct node *node, struct node *parent, const char *name)
{
	uint32_t at = parent ? name_alloc(table, name) : 0;
	struct node *old_parent = table_parent_locked(table, node);

	if (parent && !at)
		return -ENOSPC;
	if (parent)
		parent->children++;
	name_free(table, node->name);
	node->name = at;
	node->parent = parent ? slot_of(table, parent) : NODE_NONE;
	if (old_parent) {
		old_parent->children--;
		node_release(table, old_parent);
	}
	return 0;
}

/* Another file has this inode number now: the old node keeps its id, but is no longer found by number. */
static bool is_reused(const struct node *node, const struct node_identity *identity)
{
	return node->handle_bytes && identity->handle_bytes &&
	       (node->handle_bytes != identity->handle_bytes || node->handle_type != identity->handle_type ||
		       memcmp(node->handle, identity->handle, node->handle_bytes) != 0);
}

struct node *table_lookup_locked(
	struct table *table, const struct node_identity *identity, struct node *parent, const char *name)
{
	struct node *node = table_find_locked(table, identity->dev, identity->ino);

	if (node && is_reused(node, identity)) {
		hash_remove(table, node);
		node = NULL;
	}
	if (!node) {
		node = node_alloc(table);
		if (!node)
			return NULL;
		set_identity(node, identity);
		hash_insert(table, node);
	}
	node->lookups++;
	if (!node->name && parent && node != parent && slot_of(table, node) != NODE_ROOT_SLOT &&
		table_rename_locked(table, node, parent, name) < 0) {
		node->lookups--;
		node_release(table, node);
		return NULL;
	}
	return node;
}

bool table_forget_locked(struct table *table, struct node *node, uint64_t lookups)
{
	if (slot_of(table, node) == NODE_ROOT_SLOT)
		return false;
	node->lookups = lookups < node->lookups ? node->lookups - lookups : 0;
	bool gone = !node->lookups && !node->children && !node->opens;

	node_release(table, node);
	return gone;
}

bool table_is_named_locked(
	const struct table *table, const struct node *node, const struct node *parent, const char *name)
{
	return node->name && node->parent == slot_of(table, parent) && !strcmp(table_name_locked(table, node), name);
}

const char *table_name_locked(const struct table *table, const struct node *node)
{
	return node->name ? table->names + (size_t)node->name * NAME_UNIT : "";
}

struct node *table_parent_locked(struct table *table, const struct node *node)
{
	return node->parent ? &table->nodes[node->parent] : NULL;
}

int table_open_handle_locked(struct table *table, struct node *node, uint32_t flags, uint64_t *ret_fh)
{
	struct table_header *header = table->header;
	uint32_t slot = header->handle_free;

	if (slot)
		header->handle_free = table->handles[slot].next;
	else if (header->handles_used < HANDLES_MAX)
		slot = header->handles_used++;
	else
		return -ENFILE;

	struct handle *handle = &table->handles[slot];

	*handle = (struct handle){.node = slot_of(table, node), .generation = handle->generation + 1, .flags = flags};
	header->handles++;
	node->opens++;
	*ret_fh = (uint64_t)handle->generation << 32 | slot;
	return 0;
}

struct handle *table_handle_locked(struct table *table, uint64_t fh)
{
	uint32_t slot = table_fh_slot(fh);

	if (slot == 0 || slot >= table->header->handles_used)
		return NULL;
	struct handle *handle = &table->handles[slot];

	return handle->node && handle->generation == fh >> 32 ? handle : NULL;
}

void table_close_handle_locked(struct table *table, struct handle *handle)
{
	struct node *node = &table->nodes[handle->node];

	handle->node = NODE_NONE;
	handle->next = table->header->handle_free;
	table->header->handle_free = (uint32_t)(handle - table->handles);
	table->header->handles--;
	node->opens--;
	node_release(table, node);
}

int table_save_init(struct table *table, const void *request, size_t length)
{
	if (length > TABLE_INIT_MAX)
		return -EMSGSIZE;
	pthread_mutex_lock(&table->lock);
	memcpy(table->header->init, request, length);
	table->header->init_length = (uint32_t)length;
	pthread_mutex_unlock(&table->lock);
	return 0;
}

void table_get_counts(struct table *table, uint64_t *ret_nodes, uint64_t *ret_handles)
{
	pthread_mutex_lock(&table->lock);
	*ret_nodes = table->header->nodes;
	*ret_handles = table->header->handles;
	pthread_mutex_unlock(&table->lock);
}
