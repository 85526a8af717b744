#include "tests/unit/table_ops.h"

#include <string.h>

#include "fusefs/fs/table_layout.h"

#define INODES 160
#define TRIES 16

const struct node_identity table_ops_root = {.ino = 2, .dev = 7, .is_dir = true};

struct chance {
	uint64_t state;
};

/* splitmix64 */
static uint64_t next(struct chance *chance)
{
	uint64_t x = chance->state += 0x9e3779b97f4a7c15ULL;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

static uint32_t below(struct chance *chance, uint32_t limit)
{
	return (uint32_t)(next(chance) % limit);
}

static bool is_second_given(uint64_t ino)
{
	return ino % 8 == 3;
}

bool table_ops_may_be_hidden(const struct node *node)
{
	return is_second_given(node->ino);
}

struct node_identity table_ops_identity(uint64_t ino, bool again)
{
	struct node_identity identity = {.ino = ino,
		.dev = 7,
		.is_dir = ino % 4 == 0,
		.is_file = ino % 4 != 0,
		.handle_type = 1,
		.handle_bytes = 12};

	memcpy(identity.handle, &ino, sizeof(ino));
	identity.handle[8] = again;
	return identity;
}

static struct node *any_node(struct table *table, struct chance *chance)
{
	for (int i = 0; i < TRIES; i++) {
		uint32_t slot = 1 + below(chance, table->header->counts.nodes_used - 1);
		struct node *node = &table->nodes[slot];

		if (table_node_locked(table, table_id_locked(table, node)))
			return node;
	}
	return &table->nodes[NODE_ROOT_SLOT];
}

static struct node *any_dir(struct table *table, struct chance *chance)
{
	for (int i = 0; i < TRIES; i++) {
		struct node *node = any_node(table, chance);

		if (node->flags & NODE_IS_DIR)
			return node;
	}
	return &table->nodes[NODE_ROOT_SLOT];
}

static struct handle *any_handle(struct table *table, struct chance *chance)
{
	for (int i = 0; i < TRIES && table->header->counts.handles_used > 1; i++) {
		struct handle *handle = &table->handles[1 + below(chance, table->header->counts.handles_used - 1)];

		if (handle->node)
			return handle;
	}
	return NULL;
}

/* Of any length, and often of one of the longest class. */
static const char *any_name(struct chance *chance, char out[static NAME_MAX + 1])
{
	size_t length = next(chance) & 1 ? 1 + below(chance, 20) : 1 + below(chance, NAME_MAX);

	memset(out, 'a' + (int)below(chance, 26), length);
	out[length] = '\0';
	return out;
}

static bool is_below(struct table *table, const struct node *node, struct node *above)
{
	for (; node; node = table_parent_locked(table, node)) {
		if (node == above)
			return true;
	}
	return false;
}

static void look_up(struct table *table, struct chance *chance)
{
	char name[NAME_MAX + 1];
	uint64_t ino = 10 + below(chance, INODES);
	struct node_identity identity = table_ops_identity(ino, is_second_given(ino) && (next(chance) & 1));
	struct node *dir = any_dir(table, chance), *known = table_find_locked(table, identity.dev, ino);

	/* A directory is found below itself by nobody. */
	if (!known || !is_below(table, dir, known))
		(void)table_lookup_locked(table, &identity, dir, any_name(chance, name));
}

static void forget(struct table *table, struct chance *chance)
{
	struct node *node = any_node(table, chance);

	(void)table_forget_locked(table, node, next(chance) & 1 ? 1 : UINT64_MAX);
}

static void rename_to(struct table *table, struct chance *chance, struct node *node)
{
	char name[NAME_MAX + 1];
	struct node *dir = any_dir(table, chance);

	if (node != &table->nodes[NODE_ROOT_SLOT] && !is_below(table, dir, node))
		(void)table_rename_locked(table, node, dir, any_name(chance, name));
}

static void bury(struct table *table, struct chance *chance, struct node *node)
{
	struct stat st = {.st_ino = node->ino, .st_size = (off_t)next(chance)};

	if (node == &table->nodes[NODE_ROOT_SLOT])
		return;
	if (next(chance) & 1)
		table_keep_attributes_locked(table, node, &st);
	else
		(void)table_rename_locked(table, node, NULL, "");
}

/* As over a file that is there. */
static void rename_over(struct table *table, struct chance *chance)
{
	struct node *node = any_node(table, chance), *target = any_node(table, chance);

	if (target != node && !target->children)
		bury(table, chance, target);
	rename_to(table, chance, node);
}

static void open_one(struct table *table, struct chance *chance)
{
	struct node *node = any_node(table, chance);
	uint32_t flags = next(chance) & TABLE_OPS_WRITING;
	uint64_t fh;

	if (table_open_handle_locked(table, node, flags, &fh) == 0 && flags)
		table_add_writer_locked(table, node, 1);
}

static void close_one(struct table *table, struct chance *chance)
{
	struct handle *handle = any_handle(table, chance);

	if (!handle)
		return;
	if (handle->flags)
		table_add_writer_locked(table, &table->nodes[handle->node], -1);
	(void)table_close_handle_locked(table, handle);
}

/* What a request in flight has got to, with the change that it is about. */
static void record(struct table *table, struct chance *chance)
{
	struct inflight *inflight = &table->inflights[below(chance, INFLIGHTS)];

	table_save_locked(table, inflight, INFLIGHT_HEAD_BYTES);
	inflight->unique = next(chance);
	inflight->state = INFLIGHT_DONE;
	inflight->fh = next(chance);
	forget(table, chance);
}

static void flag(struct table *table, struct chance *chance)
{
	struct node *node = any_node(table, chance);

	table_save_node_locked(table, node);
	node->flags ^= NODE_PINNED;
	node->backing_id = (int32_t)below(chance, 100);
}

void table_op(struct table *table, uint64_t seed, uint64_t number)
{
	struct chance chance = {.state = seed ^ number * 0xd1342543de82ef95ULL};
	uint32_t choice = below(&chance, 16);

	table_lock(table);
	if (choice < 5)
		look_up(table, &chance);
	else if (choice < 7)
		forget(table, &chance);
	else if (choice < 8)
		rename_to(table, &chance, any_node(table, &chance));
	else if (choice < 10)
		rename_over(table, &chance);
	else if (choice < 12)
		open_one(table, &chance);
	else if (choice < 14)
		close_one(table, &chance);
	else if (choice < 15)
		record(table, &chance);
	else
		flag(table, &chance);
	table_unlock(table);
}
