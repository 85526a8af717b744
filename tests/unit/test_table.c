/* Nodes and handles are numbers that are never mistaken for others, and cost nothing once they are gone. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "fusefs/fs/fdcache.h"
#include "fusefs/fs/pins.h"
#include "fusefs/fs/table.h"

static const struct node_identity root_identity = {.ino = 2, .dev = 7, .is_dir = true};

static struct node_identity file_identity(uint64_t ino)
{
	struct node_identity identity = {
		.ino = ino, .dev = 7, .is_file = true, .handle_type = 1, .handle_bytes = sizeof(ino)};

	memcpy(identity.handle, &ino, sizeof(ino));
	return identity;
}

static struct table *new_table(void)
{
	static struct table table;

	assert_int_equal(table_init(&table, -1, &root_identity), 0);
	return &table;
}

static struct node *lookup(struct table *table, uint64_t ino, struct node *parent, const char *name)
{
	struct node_identity identity = file_identity(ino);
	struct node *node = table_lookup_locked(table, &identity, parent, name);

	assert_non_null(node);
	return node;
}

static uint64_t live_nodes(struct table *table)
{
	uint64_t nodes, handles;

	table_get_counts(table, &nodes, &handles);
	return nodes;
}

static void test_root(void **state)
{
	(void)state;
	struct table *table = new_table();
	struct node *root = table_node_locked(table, NODE_ROOT_ID);

	assert_non_null(root);
	assert_int_equal(table_id_locked(table, root), NODE_ROOT_ID);
	assert_false(table_forget_locked(table, root, 1000));
	assert_ptr_equal(table_node_locked(table, NODE_ROOT_ID), root);
	table_done(table);
}

static void test_ids_are_not_used_twice(void **state)
{
	(void)state;
	struct table *table = new_table();
	struct node *root = table_node_locked(table, NODE_ROOT_ID);
	struct node *first = lookup(table, 10, root, "a");
	uint64_t first_id = table_id_locked(table, first);

	assert_ptr_equal(lookup(table, 10, root, "a"), first);
	assert_false(table_forget_locked(table, first, 1));
	assert_true(table_forget_locked(table, first, 1));
	assert_null(table_node_locked(table, first_id));

	struct node *second = lookup(table, 11, root, "b");

	assert_ptr_equal(second, first); /* the slot is */
	assert_int_not_equal(table_id_locked(table, second), first_id);
	assert_null(table_node_locked(table, first_id));
	table_done(table);
}

static void test_a_reused_inode_number_is_another_node(void **state)
{
	(void)state;
	struct table *table = new_table();
	struct node *root = table_node_locked(table, NODE_ROOT_ID);
	struct node *old = lookup(table, 10, root, "a");
	struct node_identity reused = file_identity(10);

	reused.handle[12] = 1;
	reused.handle_bytes = 13;
	struct node *fresh = table_lookup_locked(table, &reused, root, "b");

	assert_non_null(fresh);
	assert_ptr_not_equal(fresh, old);
	assert_ptr_equal(table_find_locked(table, 7, 10), fresh);
	assert_true(table_forget_locked(table, old, 1));
	assert_ptr_equal(table_find_locked(table, 7, 10), fresh);
	table_done(table);
}

static void test_parents_stay_while_children_do(void **state)
{
	(void)state;
	struct table *table = new_table();
	struct node *dir = lookup(table, 20, table_node_locked(table, NODE_ROOT_ID), "dir");
	struct node *file = lookup(table, 21, dir, "file");

	assert_false(table_forget_locked(table, dir, 1));
	assert_ptr_equal(table_parent_locked(table, file), dir);
	assert_string_equal(table_name_locked(table, dir), "dir");
	assert_int_equal(live_nodes(table), 3);
	assert_true(table_forget_locked(table, file, 1));
	assert_int_equal(live_nodes(table), 1);
	table_done(table);
}

static void test_rename(void **state)
{
	(void)state;
	struct table *table = new_table();
	struct node *root = table_node_locked(table, NODE_ROOT_ID);
	struct node *dir = lookup(table, 20, root, "dir"), *file = lookup(table, 21, root, "file");
	char longest[256];

	memset(longest, 'n', 255);
	longest[255] = '\0';
	assert_int_equal(table_rename_locked(table, file, dir, longest), 0);
	assert_true(table_is_named_locked(table, file, dir, longest));
	assert_false(table_is_named_locked(table, file, root, longest));
	assert_int_equal(dir->children, 1);
	assert_int_equal(table_rename_locked(table, file, NULL, ""), 0);
	assert_int_equal(dir->children, 0);
	assert_string_equal(table_name_locked(table, file), "");
	assert_null(table_parent_locked(table, file));
	table_done(table);
}

static void test_handles(void **state)
{
	(void)state;
	struct table *table = new_table();
	struct node *file = lookup(table, 21, table_node_locked(table, NODE_ROOT_ID), "file");
	uint64_t first, second, third;

	assert_int_equal(table_open_handle_locked(table, file, O_RDWR, &first), 0);
	assert_int_equal(table_open_handle_locked(table, file, O_RDONLY, &second), 0);
	assert_int_equal(table_handle_locked(table, first)->flags, O_RDWR);
	/* What is open stays known, whatever the kernel forgets. */
	assert_false(table_forget_locked(table, file, 1));
	table_close_handle_locked(table, table_handle_locked(table, first));
	assert_null(table_handle_locked(table, first));
	assert_int_equal(live_nodes(table), 2);
	table_close_handle_locked(table, table_handle_locked(table, second));
	assert_int_equal(live_nodes(table), 1);

	file = lookup(table, 22, table_node_locked(table, NODE_ROOT_ID), "other");
	assert_int_equal(table_open_handle_locked(table, file, O_RDONLY, &third), 0);
	assert_int_not_equal(third, first);
	assert_int_not_equal(third, second);
	assert_null(table_handle_locked(table, 0));
	assert_null(table_handle_locked(table, UINT64_MAX));
	table_done(table);
}

static void test_open_nodes_are_found(void **state)
{
	(void)state;
	struct table *table = new_table();
	struct node *root = table_node_locked(table, NODE_ROOT_ID);
	struct node *first = lookup(table, 21, root, "first"), *second = lookup(table, 22, root, "second");
	uint64_t fh[4];
	uint32_t at = 0;

	assert_null(table_next_open_locked(table, &at));
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(table_open_handle_locked(table, i < 2 ? first : second, O_RDONLY, &fh[i]), 0);
	(void)table_close_handle_locked(table, table_handle_locked(table, fh[0]));
	(void)table_close_handle_locked(table, table_handle_locked(table, fh[3]));
	at = 0;
	assert_ptr_equal(table_next_open_locked(table, &at), first);
	assert_ptr_equal(table_next_open_locked(table, &at), second);
	assert_null(table_next_open_locked(table, &at));
	table_done(table);
}

static void test_writers(void **state)
{
	(void)state;
	struct table *table = new_table();
	struct node *root = table_node_locked(table, NODE_ROOT_ID);
	struct node *first = lookup(table, 21, root, "first"), *second = lookup(table, 22, root, "second");

	table_add_writer_locked(table, first, 1);
	table_add_writer_locked(table, first, 1);
	table_add_writer_locked(table, second, 1);
	assert_int_equal(table_writers(table), 2);
	table_add_writer_locked(table, first, -1);
	assert_int_equal(table_writers(table), 2);
	table_add_writer_locked(table, first, -1);
	assert_int_equal(table_writers(table), 1);
	assert_int_equal(first->writers, 0);
	table_done(table);
}

static void test_attributes_in_place_of_a_name(void **state)
{
	(void)state;
	struct table *table = new_table();
	struct node *root = table_node_locked(table, NODE_ROOT_ID);
	struct node *dir = lookup(table, 20, root, "dir"), *file = lookup(table, 21, dir, "file");
	struct stat st = {.st_ino = 21, .st_size = 4711, .st_mode = S_IFREG | 0640}, kept = {0};

	assert_false(table_get_attributes_locked(table, file, &kept));
	table_keep_attributes_locked(table, file, &st);
	assert_true(table_get_attributes_locked(table, file, &kept));
	assert_memory_equal(&kept, &st, sizeof(st));
	assert_string_equal(table_name_locked(table, file), "");
	assert_null(table_parent_locked(table, file));
	assert_int_equal(dir->children, 0);
	assert_false(table_is_named_locked(table, file, dir, ""));
	/* A look-up that began before the name went: it stays gone. */
	assert_ptr_equal(lookup(table, 21, dir, "file"), file);
	assert_false(table_is_named_locked(table, file, dir, "file"));
	assert_true(table_get_attributes_locked(table, file, &kept));
	/* Without a handle nothing tells it from a name that it got meanwhile. */
	file->handle_bytes = 0;
	assert_ptr_equal(lookup(table, 21, root, "again"), file);
	assert_true(table_is_named_locked(table, file, root, "again"));
	assert_false(table_get_attributes_locked(table, file, &kept));
	table_keep_attributes_locked(table, file, &st);
	assert_true(table_forget_locked(table, file, 3));
	assert_int_equal(live_nodes(table), 2);
	table_done(table);
}

/* A million nodes come and go in the memory of a million. */
static void test_memory_is_used_again(void **state)
{
	(void)state;
	struct table *table = new_table();
	struct node *root = table_node_locked(table, NODE_ROOT_ID);
	uint64_t ids[1000];

	for (int round = 0; round < 100; round++) {
		for (uint64_t i = 0; i < 1000; i++) {
			char name[32];

			snprintf(name, sizeof(name), "file-%d-%d", round, (int)i);
			ids[i] = table_id_locked(table, lookup(table, 1000 + i, root, name));
		}
		assert_int_equal(live_nodes(table), 1001);
		for (size_t i = 0; i < 1000; i++) {
			assert_true((uint32_t)ids[i] <= 1002);
			assert_true(table_forget_locked(table, table_node_locked(table, ids[i]), 1));
		}
	}
	assert_int_equal(live_nodes(table), 1);
	assert_int_equal(root->children, 0);
	table_done(table);
}

static void test_fdcache_is_bounded(void **state)
{
	(void)state;
	struct fdcache cache;
	struct fdcache_ref held = FDCACHE_REF_NONE, ref = FDCACHE_REF_NONE;

	assert_int_equal(fdcache_init(&cache, 4), 0);
	assert_int_equal(fdcache_put(&cache, 1, open("/dev/null", O_RDONLY), &held), 0);
	for (uint64_t fh = 2; fh < 20; fh++) {
		assert_int_equal(fdcache_put(&cache, fh, open("/dev/null", O_RDONLY), &ref), 0);
		fdcache_unref(&ref);
	}
	assert_int_equal(cache.open, 4);
	assert_int_equal(fdcache_get(&cache, 1, &ref), 0); /* in use: not taken away */
	assert_int_equal(ref.fd, held.fd);
	fdcache_unref(&ref);
	assert_int_equal(fdcache_get(&cache, 2, &ref), -ENOENT);

	int fd = held.fd;

	fdcache_drop(&cache, 1);
	assert_int_equal(fdcache_get(&cache, 1, &ref), -ENOENT);
	assert_true(fcntl(fd, F_GETFD) >= 0);
	fdcache_unref(&held);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	fdcache_done(&cache);
}

static void test_pins(void **state)
{
	(void)state;
	struct pins pins;
	int first = open("/dev/null", O_PATH), second = open("/dev/null", O_PATH);

	pins_init(&pins, NULL, NULL);
	assert_int_equal(pins_get(&pins, 5), -1);
	assert_int_equal(pins_put(&pins, 5, first), 0);
	assert_int_equal(pins_put(&pins, 5 + PINS_BUCKETS, second), 0);
	int lent = pins_get(&pins, 5), other = pins_get(&pins, 5 + PINS_BUCKETS);

	assert_true(lent >= 0 && lent != first);
	assert_true(other >= 0 && other != second);
	close(other);
	pins_drop(&pins, 5);
	assert_true(fcntl(lent, F_GETFD) >= 0); /* what was lent stays */
	close(lent);
	assert_int_equal(pins_get(&pins, 5), -1);
	assert_int_equal(fcntl(first, F_GETFD), -1);
	pins_done(&pins);
	assert_int_equal(fcntl(second, F_GETFD), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_root),
		cmocka_unit_test(test_ids_are_not_used_twice),
		cmocka_unit_test(test_a_reused_inode_number_is_another_node),
		cmocka_unit_test(test_parents_stay_while_children_do),
		cmocka_unit_test(test_rename),
		cmocka_unit_test(test_handles),
		cmocka_unit_test(test_open_nodes_are_found),
		cmocka_unit_test(test_writers),
		cmocka_unit_test(test_attributes_in_place_of_a_name),
		cmocka_unit_test(test_memory_is_used_again),
		cmocka_unit_test(test_fdcache_is_bounded),
		cmocka_unit_test(test_pins),
	};

	return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
