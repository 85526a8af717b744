/* Nodes, names and handles in the shared mapping. */
#include <errno.h>

#include "fusefs/fs/table_layout.h"

#define RELEASE_ENTRIES 8 /* of the undo log, more than giving up one node takes */

static struct table_counts *counts_to_change(struct table *table)
{
	if (!table->is_counted)
		table_save_locked(table, &table->header->counts, sizeof(table->header->counts));
	table->is_counted = true;
	return &table->header->counts;
}

static uint32_t slot_of(const struct table *table, const struct node *node)
{
	return (uint32_t)(node - table->nodes);
}

static void hash_insert(struct table *table, struct node *node)
{
	uint32_t *bucket = table_bucket(table, node->dev, node->ino);

	table_save_locked(table, bucket, sizeof(*bucket));
	node->hash_next = *bucket;
	*bucket = slot_of(table, node);
}

static void hash_remove(struct table *table, struct node *node)
{
	uint32_t *link = table_bucket(table, node->dev, node->ino);

	while (*link && *link != slot_of(table, node))
		link = &table->nodes[*link].hash_next;
	if (*link) {
		table_save_locked(table, link, sizeof(*link));
		*link = node->hash_next;
	}
	node->hash_next = NODE_NONE;
}

struct node *table_node_locked(struct table *table, uint64_t id)
{
	uint32_t slot = (uint32_t)id;

	if (slot == NODE_NONE || slot >= table->header->counts.nodes_used)
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
	for (uint32_t slot = *table_bucket(table, dev, ino); slot; slot = table->nodes[slot].hash_next) {
		struct node *node = &table->nodes[slot];

		if (node->ino == ino && node->dev == dev)
			return node;
	}
	return NULL;
}

static unsigned int class_of(size_t bytes)
{
	unsigned int class = 0;

	while ((size_t)NAME_UNIT << class < bytes)
		class ++;
	return class;
}

/* Room for so many bytes in the names' region: its offset in units, 0 when there is none. */
static uint32_t room_alloc(struct table *table, size_t bytes)
{
	unsigned int class = class_of(bytes);

	if (class >= NAME_CLASSES)
		return 0;
	struct table_counts *counts = counts_to_change(table);
	uint32_t at = counts->name_free[class];

	if (at) {
		const char *room = table->names + (size_t)at * NAME_UNIT;

		/* Where the list goes on; and all that is written there: it may have been given up by this same
		 * transaction, and is a name again after an undo. */
		table_save_locked(table, room, bytes);
		memcpy(&counts->name_free[class], room, sizeof(uint32_t));
	} else {
		if ((uint64_t)(counts->names_used + (1U << class)) * NAME_UNIT > NAMES_BYTES_MAX)
			return 0;
		at = counts->names_used;
		counts->names_used += 1U << class;
	}
	return at;
}

static void room_free(struct table *table, uint32_t at, size_t bytes)
{
	struct table_counts *counts = counts_to_change(table);
	char *room = table->names + (size_t)at * NAME_UNIT;
	unsigned int class = class_of(bytes);

	table_save_locked(table, room, sizeof(uint32_t));
	memcpy(room, &counts->name_free[class], sizeof(uint32_t));
	counts->name_free[class] = at;
}

static uint32_t name_alloc(struct table *table, const char *name)
{
	size_t size = strlen(name) + 1;
	uint32_t at = room_alloc(table, size);

	if (at)
		memcpy(table->names + (size_t)at * NAME_UNIT, name, size);
	return at;
}

/* What the node has in the names' region: its name or its last attributes. The node is saved already. */
static void name_drop(struct table *table, struct node *node)
{
	bool is_attributes = node->flags & NODE_HAS_ATTRIBUTES;

	if (node->name)
		room_free(table, node->name,
			is_attributes ? sizeof(struct stat)
				      : strlen(table->names + (size_t)node->name * NAME_UNIT) + 1);
	node->name = 0;
	node->flags &= (uint8_t)~NODE_HAS_ATTRIBUTES;
}

/* A free slot keeps its generation, so that the next tenant's id differs from every earlier one's. */
static struct node *node_alloc(struct table *table)
{
	struct table_counts *counts = counts_to_change(table);
	uint32_t slot = counts->node_free, generation = 0;

	if (slot) {
		counts->node_free = table->nodes[slot].hash_next;
		generation = table->nodes[slot].generation + 1;
	} else if (counts->nodes_used < NODES_MAX) {
		slot = counts->nodes_used++;
	} else {
		return NULL;
	}
	table_save_node_locked(table, &table->nodes[slot]);
	table->nodes[slot] = (struct node){.generation = generation};
	counts->nodes++;
	return &table->nodes[slot];
}

static void note_freed(struct table *table, const struct node *node)
{
	if (!(node->flags & NODE_IS_DIR))
		return;
	if (table->n_freed < TABLE_FREED_MAX)
		table->freed[table->n_freed] = table_id_locked(table, node);
	if (table->n_freed <= TABLE_FREED_MAX)
		table->n_freed++;
}

uint32_t table_take_freed_locked(struct table *table, uint64_t out[static TABLE_FREED_MAX])
{
	uint32_t n = table->n_freed;

	memcpy(out, table->freed, sizeof(table->freed));
	table->n_freed = 0;
	return n;
}

/* Frees a node that nobody refers to, then its parent if that hung on it alone, and so on up: in pieces when these are
 * thousands. A death between two of them leaves nodes that nobody refers to, and no harm. */
static void node_release(struct table *table, struct node *node)
{
	while (node && !node->lookups && !node->children && !node->opens) {
		table_make_room_locked(table, RELEASE_ENTRIES);
		struct node *parent = table_parent_locked(table, node);
		struct table_counts *counts = counts_to_change(table);

		table_save_node_locked(table, node);
		hash_remove(table, node);
		name_drop(table, node);
		node->parent = NODE_NONE;
		note_freed(table, node);
		node->hash_next = counts->node_free;
		counts->node_free = slot_of(table, node);
		counts->nodes--;
		if (parent) {
			table_save_node_locked(table, parent);
			parent->children--;
		}
		node = parent;
	}
}

int table_rename_locked(struct table *table, struct node *node, struct node *parent, const char *name)
{
	uint32_t at = parent ? name_alloc(table, name) : 0;
	struct node *old_parent = table_parent_locked(table, node);

	if (parent && !at)
		return -ENOSPC;
	if (parent) {
		table_save_node_locked(table, parent);
		parent->children++;
	}
	table_save_node_locked(table, node);
	name_drop(table, node);
	node->name = at;
	node->parent = parent ? slot_of(table, parent) : NODE_NONE;
	if (old_parent) {
		table_save_node_locked(table, old_parent);
		old_parent->children--;
		node_release(table, old_parent);
	}
	return 0;
}

void table_keep_attributes_locked(struct table *table, struct node *node, const struct stat *st)
{
	(void)table_rename_locked(table, node, NULL, "");
	uint32_t at = room_alloc(table, sizeof(*st));

	if (!at)
		return;
	memcpy(table->names + (size_t)at * NAME_UNIT, st, sizeof(*st));
	node->name = at;
	node->flags |= NODE_HAS_ATTRIBUTES;
}

bool table_get_attributes_locked(const struct table *table, const struct node *node, struct stat *ret)
{
	if (!(node->flags & NODE_HAS_ATTRIBUTES))
		return false;
	memcpy(ret, table->names + (size_t)node->name * NAME_UNIT, sizeof(*ret));
	return true;
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
		table_save_node_locked(table, node);
		hash_remove(table, node);
		node = NULL;
	}
	if (!node) {
		node = node_alloc(table);
		if (!node)
			return NULL;
		table_set_identity(node, identity);
		hash_insert(table, node);
	}
	table_save_node_locked(table, node);
	node->lookups++;
	/* With attributes in place of a name and the same handle, its last name has gone since it was looked at. */
	bool has_gone = (node->flags & NODE_HAS_ATTRIBUTES) && node->handle_bytes;

	if ((!node->name || (node->flags & NODE_HAS_ATTRIBUTES)) && !has_gone && parent && node != parent &&
		slot_of(table, node) != NODE_ROOT_SLOT && table_rename_locked(table, node, parent, name) < 0) {
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
	table_save_node_locked(table, node);
	node->lookups = lookups < node->lookups ? node->lookups - lookups : 0;
	bool gone = !node->lookups && !node->children && !node->opens;

	node_release(table, node);
	return gone;
}

bool table_is_named_locked(
	const struct table *table, const struct node *node, const struct node *parent, const char *name)
{
	return table_name_locked(table, node)[0] && node->parent == slot_of(table, parent) &&
	       !strcmp(table_name_locked(table, node), name);
}

const char *table_name_locked(const struct table *table, const struct node *node)
{
	return node->name && !(node->flags & NODE_HAS_ATTRIBUTES) ? table->names + (size_t)node->name * NAME_UNIT
								  : "";
}

struct node *table_parent_locked(struct table *table, const struct node *node)
{
	return node->parent ? &table->nodes[node->parent] : NULL;
}

int table_open_handle_locked(struct table *table, struct node *node, uint32_t flags, uint64_t *ret_fh)
{
	struct table_counts *counts = counts_to_change(table);
	uint32_t slot = counts->handle_free;

	if (slot)
		counts->handle_free = table->handles[slot].next;
	else if (counts->handles_used < HANDLES_MAX)
		slot = counts->handles_used++;
	else
		return -ENFILE;

	struct handle *handle = &table->handles[slot];

	table_save_locked(table, handle, sizeof(*handle));
	*handle = (struct handle){.node = slot_of(table, node), .generation = handle->generation + 1, .flags = flags};
	counts->handles++;
	table_save_node_locked(table, node);
	node->opens++;
	*ret_fh = (uint64_t)handle->generation << 32 | slot;
	return 0;
}

struct handle *table_handle_locked(struct table *table, uint64_t fh)
{
	uint32_t slot = table_fh_slot(fh);

	if (slot == 0 || slot >= table->header->counts.handles_used)
		return NULL;
	struct handle *handle = &table->handles[slot];

	return handle->node && handle->generation == fh >> 32 ? handle : NULL;
}

bool table_close_handle_locked(struct table *table, struct handle *handle)
{
	struct node *node = &table->nodes[handle->node];
	struct table_counts *counts = counts_to_change(table);

	table_save_locked(table, handle, sizeof(*handle));
	handle->node = NODE_NONE;
	handle->next = counts->handle_free;
	counts->handle_free = (uint32_t)(handle - table->handles);
	counts->handles--;
	table_save_node_locked(table, node);
	node->opens--;
	bool gone = !node->lookups && !node->children && !node->opens;

	node_release(table, node);
	return gone;
}

const struct node *table_next_open_locked(const struct table *table, uint32_t *at)
{
	while (++*at < table->header->counts.handles_used) {
		uint32_t slot = table->handles[*at].node;

		if (slot)
			return &table->nodes[slot];
	}
	return NULL;
}

void table_add_writer_locked(struct table *table, struct node *node, int difference)
{
	struct table_counts *counts = counts_to_change(table);
	bool had = node->writers > 0;

	table_save_node_locked(table, node);
	node->writers += (uint32_t)difference;
	counts->writers += (uint64_t)((node->writers > 0) - had);
}

uint64_t table_writers(struct table *table)
{
	table_lock(table);
	uint64_t writers = table->header->counts.writers;

	table_unlock(table);
	return writers;
}

void table_get_counts(struct table *table, uint64_t *ret_nodes, uint64_t *ret_handles)
{
	table_lock(table);
	*ret_nodes = table->header->counts.nodes;
	*ret_handles = table->header->counts.handles;
	table_unlock(table);
}
