/* The mapping itself: fresh, or gone on with; and transactions on it. */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fusefs/fs/table_layout.h"
#include "uploader/base/killpoint.h"

static void commit(struct table *table)
{
	table_in_order();
	table->undo->n = 0;
	table_in_order();
	table->is_counted = false;
}

void table_make_room_locked(struct table *table, uint32_t entries)
{
	if (table->undo->n > UNDO_MAX - entries)
		commit(table);
}

void table_save_locked(struct table *table, const void *at, size_t size)
{
	const char *base = (const char *)table->header, *from = at;
	struct undo *undo = table->undo;

	for (size_t done = 0; done < size;) {
		/* Cannot be: see table_make_room_locked(). */
		if (undo->n == UNDO_MAX)
			commit(table);
		struct undo_entry *entry = &undo->entries[undo->n];
		size_t some = size - done < UNDO_BYTES ? size - done : UNDO_BYTES;

		entry->offset = (uint64_t)(from + done - base);
		entry->size = some;
		memcpy(entry->bytes, from + done, some);
		table_in_order();
		undo->n++;
		table_in_order();
		done += some;
	}
	KILL_POINT("table: saved");
}

void table_lock(struct table *table)
{
	pthread_mutex_lock(&table->lock);
}

void table_unlock(struct table *table)
{
	if (table->undo->n) {
		KILL_POINT("table: changed");
		commit(table);
		KILL_POINT("table: committed");
	}
	pthread_mutex_unlock(&table->lock);
}

/* The last transaction of a process that died in it. A death in here leaves n as it is: done again. */
static int undo(struct table *table)
{
	char *base = (char *)table->header;
	struct undo *undo = table->undo;

	if (undo->n > UNDO_MAX)
		return -EPROTO;
	for (uint32_t i = undo->n; i-- > 0;) {
		const struct undo_entry *entry = &undo->entries[i];

		if (entry->size > UNDO_BYTES || entry->offset > TABLE_BYTES - entry->size)
			return -EPROTO;
		memcpy(base + entry->offset, entry->bytes, entry->size);
		KILL_POINT("table: undone");
	}
	table_in_order();
	undo->n = 0;
	return 0;
}

uint32_t table_life(const struct table *table)
{
	return table->header->life;
}

struct table_connection *table_connection(struct table *table)
{
	return &table->header->connection;
}

static void make_root(struct table *table, const struct node_identity *root)
{
	struct table_header *header = table->header;
	struct node *node = &table->nodes[NODE_ROOT_SLOT];

	header->version = TABLE_VERSION;
	header->counts = (struct table_counts){.nodes = 1,
		.nodes_used = NODE_ROOT_SLOT + 1,
		.handles_used = 1,
		.names_used = 1 /* offset 0 is no name */};
	table_set_identity(node, root);
	node->lookups = 1; /* never forgotten */
	*table_bucket(table, node->dev, node->ino) = NODE_ROOT_SLOT;
	table_in_order();
	KILL_POINT("table: made");
	header->magic = TABLE_MAGIC;
}

#ifdef TABLE_LAYOUT_NEXT
static bool is_readable(const struct table_header *header)
{
	return header->version == TABLE_VERSION || header->version == 2;
}

/* From version 2: counts and connection lie one field further on. `reserved` says that those of before are complete
 * further back in the header's region, whatever a death left here. */
static void migrate(struct table *table)
{
	struct old_header {
		uint32_t magic, version, life, reserved;
		struct table_counts counts;
		struct table_connection connection;
	} *old = (struct old_header *)(void *)table->header, *copy = old + 2;
	struct table_header *header = table->header;

	if (header->version == TABLE_VERSION) {
		header->reserved = 0;
		return;
	}
	if (!old->reserved) {
		*copy = *old;
		table_in_order();
		KILL_POINT("table: copied");
		old->reserved = 1;
		table_in_order();
	}
	header->counts = copy->counts;
	KILL_POINT("table: migrating");
	header->connection = copy->connection;
	header->migrated = 1;
	table_in_order();
	header->version = TABLE_VERSION;
	table_in_order();
	header->reserved = 0;
}
#else
static bool is_readable(const struct table_header *header)
{
	/* `reserved`: a later release died while it made the state its own; that one can finish it. */
	return header->version == TABLE_VERSION && !header->reserved;
}

static void migrate(struct table *table)
{
	(void)table;
}
#endif

static int go_on(struct table *table, const struct node_identity *root)
{
	const struct node *node = &table->nodes[NODE_ROOT_SLOT];

	if (!is_readable(table->header) || node->ino != root->ino || node->dev != root->dev)
		return -EPROTO;
	int r = undo(table);

	if (r == 0)
		migrate(table);
	return r;
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
		.undo = (struct undo *)(void *)(base + UNDO_OFFSET),
		.inflights = (struct inflight *)(void *)(base + INFLIGHTS_OFFSET),
		.buckets = (uint32_t *)(void *)(base + BUCKETS_OFFSET),
		.nodes = (struct node *)(void *)(base + NODES_OFFSET),
		.names = base + NAMES_OFFSET,
		.handles = (struct handle *)(void *)(base + HANDLES_OFFSET),
	};

	/* A death before the magic number was there: the same stores once more. */
	if (!table->header->magic)
		make_root(table, root);
	else
		table->is_resumed = true;
	int r = table->header->magic == TABLE_MAGIC ? go_on(table, root) : -EPROTO;

	if (r < 0)
		table_done(table);
	else
		/* Never a multiple of 256: node.announced is 0 for "not yet". */
		table->header->life += table->header->life % 256 == 255 ? 2 : 1;
	return r;
}

void table_done(struct table *table)
{
	if (table->header)
		munmap(table->header, TABLE_BYTES);
	*table = (struct table){.lock = PTHREAD_MUTEX_INITIALIZER};
}

int table_save_init(struct table *table, const void *request, size_t length)
{
	struct table_connection *connection = table_connection(table);

	if (length > TABLE_INIT_MAX)
		return -EMSGSIZE;
	connection->init_length = 0;
	table_in_order();
	memcpy(connection->init, request, length);
	table_in_order();
	connection->init_length = (uint32_t)length;
	return 0;
}
