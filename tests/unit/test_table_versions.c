/* The shared table from one life to the next, and from one release to the next: what is read, what is refused, and what
 * a death in the middle of becoming another layout comes to.
 *
 * The next release is the same source with -DTABLE_LAYOUT_NEXT, in a module that is loaded: argv[1]. */
#include "tests/unit/unit.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/unit/table_check.h"
#include "tests/unit/table_ops.h"

#define OPS 500
#define SEED 7
#define HEADER_BYTES 8192

static const struct table_rules rules = {.may_be_hidden = table_ops_may_be_hidden, .writing = TABLE_OPS_WRITING};

/* The next release. What it has in its header lies elsewhere: only its own functions know where. */
static struct {
	int (*init)(struct table *table, int fd, const struct node_identity *root);
	void (*done)(struct table *table);
	struct table_connection *(*connection)(struct table *table);
	uint32_t (*life)(const struct table *table);
	void (*counts)(struct table *table, uint64_t *ret_nodes, uint64_t *ret_handles);
	uint64_t (*writers)(struct table *table);
	int (*open)(struct table *table, struct node *node, uint32_t flags, uint64_t *ret_fh);
} next;

static int fd = -1;

static int begin(void **state)
{
	(void)state;
	if (fd >= 0)
		close(fd);
	fd = memfd_create("table", MFD_CLOEXEC);
	return fd < 0;
}

static int open_here(struct table *table)
{
	return table_init(table, fd, &table_ops_root);
}

/* A table with something in it, and nobody who has it mapped. */
static void fill(struct table *never_left)
{
	struct table table;

	assert_int_equal(open_here(&table), 0);
	assert_int_equal(table_init(never_left, -1, &table_ops_root), 0);
	for (uint64_t number = 0; number < OPS; number++) {
		table_op(&table, SEED, number);
		table_op(never_left, SEED, number);
	}
	table_connection(&table)->want = 0x1234567890ULL;
	assert_int_equal(table_save_init(&table, "request", 8), 0);
	table_done(&table);
}

static void get(void *at, size_t size, uint64_t offset)
{
	assert_int_equal(pread(fd, at, size, (off_t)offset), (ssize_t)size);
}

static void put(const void *at, size_t size, uint64_t offset)
{
	assert_int_equal(pwrite(fd, at, size, (off_t)offset), (ssize_t)size);
}

static void put_u32(uint64_t offset, uint32_t value)
{
	put(&value, sizeof(value), offset);
}

static void test_the_next_life_finds_everything(void **state)
{
	(void)state;
	struct table never_left, table;

	fill(&never_left);
	assert_int_equal(open_here(&table), 0);
	assert_true(table.is_resumed);
	assert_int_equal(table_life(&table), 2);
	assert_null(table_find_fault(&table, &rules));
	assert_null(table_find_difference(&table, &never_left));
	assert_int_equal(table_connection(&table)->want, 0x1234567890ULL);
	assert_string_equal((const char *)table_connection(&table)->init, "request");
	assert_int_equal(table_connection(&table)->init_length, 8);
	table_done(&table);
	table_done(&never_left);
}

static void test_lives_are_never_a_multiple_of_256(void **state)
{
	(void)state;
	struct table table;

	for (uint32_t life = 1; life < 600; life++) {
		assert_int_equal(open_here(&table), 0);
		assert_int_not_equal(table_life(&table) % 256, 0);
		assert_int_equal(table.is_resumed, life > 1);
		table_done(&table);
	}
	assert_int_equal(open_here(&table), 0);
	assert_int_equal(table_life(&table), 602); /* 256 and 512 are left out */
	table_done(&table);
}

static void test_a_request_that_is_too_long(void **state)
{
	(void)state;
	struct table table;
	char request[TABLE_INIT_MAX + 1] = {0};

	assert_int_equal(open_here(&table), 0);
	assert_int_equal(table_save_init(&table, request, TABLE_INIT_MAX), 0);
	assert_int_equal(table_save_init(&table, request, TABLE_INIT_MAX + 1), -EMSGSIZE);
	assert_int_equal(table_connection(&table)->init_length, TABLE_INIT_MAX);
	table_done(&table);
}

/* A death before the last store of a fresh table: it is made again, and nobody has served. */
static void test_death_before_it_was_made(void **state)
{
	(void)state;
	struct table table;

	assert_int_equal(open_here(&table), 0);
	table_done(&table);
	put_u32(offsetof(struct table_header, magic), 0);
	put_u32(offsetof(struct table_header, life), 0);
	assert_int_equal(open_here(&table), 0);
	assert_false(table.is_resumed);
	assert_null(table_find_fault(&table, &rules));
	table_done(&table);
}

/* What is refused is left as it is: the release that can read it comes back. */
static void assert_refused(void)
{
	static char before[HEADER_BYTES], after[HEADER_BYTES];
	struct table table;

	get(before, sizeof(before), 0);
	assert_int_equal(open_here(&table), -EPROTO);
	get(after, sizeof(after), 0);
	assert_memory_equal(before, after, sizeof(before));
}

static void test_what_is_refused(void **state)
{
	static const uint32_t versions[] = {0, 1, TABLE_VERSION + 1, 90, UINT32_MAX};
	struct node_identity other = table_ops_root;
	struct table never_left, table;
	uint32_t saved;

	fill(&never_left);
	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
		put_u32(offsetof(struct table_header, version), versions[i]);
		assert_refused();
	}
	put_u32(offsetof(struct table_header, version), TABLE_VERSION);
	put_u32(offsetof(struct table_header, magic), TABLE_MAGIC + 1);
	assert_refused();
	put_u32(offsetof(struct table_header, magic), TABLE_MAGIC);
	put_u32(offsetof(struct table_header, reserved), 1);
	assert_refused();
	put_u32(offsetof(struct table_header, reserved), 0);
	other.ino++;
	assert_int_equal(table_init(&table, fd, &other), -EPROTO);
	get(&saved, sizeof(saved), UNDO_OFFSET);
	assert_int_equal(saved, 0);
	put_u32(UNDO_OFFSET, UNDO_MAX + 1);
	assert_refused();
	put_u32(UNDO_OFFSET, 1);
	put(&(uint64_t){TABLE_BYTES - 8}, 8, UNDO_OFFSET + offsetof(struct undo, entries[0].offset));
	put(&(uint64_t){16}, 8, UNDO_OFFSET + offsetof(struct undo, entries[0].size));
	assert_refused();
	put_u32(UNDO_OFFSET, 0);
	assert_int_equal(open_here(&table), 0);
	assert_null(table_find_difference(&table, &never_left));
	table_done(&table);
	assert_int_equal(ftruncate(fd, HEADER_BYTES), 0);
	assert_refused();
	table_done(&never_left);
	(void)state;
}

/* --- the next release --- */

static void assert_migrated(struct table *never_left)
{
	uint64_t nodes, handles, expected_nodes, expected_handles, fh;
	struct table table;

	assert_int_equal(next.init(&table, fd, &table_ops_root), 0);
	next.counts(&table, &nodes, &handles);
	table_get_counts(never_left, &expected_nodes, &expected_handles);
	assert_int_equal(nodes, expected_nodes);
	assert_int_equal(handles, expected_handles);
	assert_int_equal(next.writers(&table), table_writers(never_left));
	assert_int_equal(next.connection(&table)->want, 0x1234567890ULL);
	assert_string_equal((const char *)next.connection(&table)->init, "request");
	/* All the rest lies where it was. */
	for (uint32_t slot = 1; slot < never_left->header->counts.nodes_used; slot++)
		assert_memory_equal(&table.nodes[slot], &never_left->nodes[slot], NODE_BYTES);
	assert_memory_equal(
		table.handles, never_left->handles, never_left->header->counts.handles_used * sizeof(struct handle));
	assert_memory_equal(
		table.names, never_left->names, (size_t)never_left->header->counts.names_used * NAME_UNIT);
	/* And it can be worked with: the next free handle is the one that it would have been. */
	table_lock(never_left);
	assert_int_equal(table_open_handle_locked(never_left, &never_left->nodes[NODE_ROOT_SLOT], 0, &fh), 0);
	table_unlock(never_left);
	uint64_t same;

	assert_int_equal(next.open(&table, &table.nodes[NODE_ROOT_SLOT], 0, &same), 0);
	assert_int_equal(same, fh);
	next.done(&table);
}

static void test_the_next_release_reads_this_one(void **state)
{
	(void)state;
	struct table never_left;

	fill(&never_left);
	assert_migrated(&never_left);
	/* And this one cannot read what that has made of it. */
	assert_refused();
	table_done(&never_left);
}

static void test_a_change_half_done_by_this_release(void **state)
{
	(void)state;
	struct table never_left, table;

	fill(&never_left);
	assert_int_equal(open_here(&table), 0);
	table_lock(&table);
	struct node_identity identity = table_ops_identity(9999, false);

	assert_non_null(table_lookup_locked(&table, &identity, &table.nodes[NODE_ROOT_SLOT], "half-done"));
	table_done(&table);
	assert_migrated(&never_left);
	table_done(&never_left);
}

/* The header as a death leaves it after so many bytes of the new one, behind a complete copy of the old one. */
static void test_death_while_it_migrates(void **state)
{
	static char before[HEADER_BYTES], after[HEADER_BYTES];
	const size_t old_bytes = sizeof(struct table_header), kept = offsetof(struct table_header, counts);
	struct table table;

	for (size_t bytes = kept; bytes < old_bytes + 8; bytes += 4) {
		struct table never_left;

		begin(state);
		fill(&never_left);
		get(before, sizeof(before), 0);
		assert_int_equal(next.init(&table, fd, &table_ops_root), 0);
		next.done(&table);
		get(after, sizeof(after), 0);
		put(before, sizeof(before), 0);
		put(before, old_bytes, 2 * old_bytes);
		put_u32(offsetof(struct table_header, reserved), 1);
		put(after + kept, bytes - kept, kept);
		assert_refused();
		assert_migrated(&never_left);
		table_done(&never_left);
	}
}

static void load(const char *path)
{
	void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);

	if (!module) {
		fprintf(stderr, "%s\n", dlerror());
		exit(1);
	}
	*(void **)&next.init = dlsym(module, "table_init");
	*(void **)&next.done = dlsym(module, "table_done");
	*(void **)&next.connection = dlsym(module, "table_connection");
	*(void **)&next.life = dlsym(module, "table_life");
	*(void **)&next.counts = dlsym(module, "table_get_counts");
	*(void **)&next.writers = dlsym(module, "table_writers");
	*(void **)&next.open = dlsym(module, "table_open_handle_locked");
}

#define TEST(function) cmocka_unit_test_setup(function, begin)

int main(int argc, char *argv[])
{
	const struct CMUnitTest tests[] = {
		TEST(test_the_next_life_finds_everything),
		TEST(test_lives_are_never_a_multiple_of_256),
		TEST(test_a_request_that_is_too_long),
		TEST(test_death_before_it_was_made),
		TEST(test_what_is_refused),
		TEST(test_the_next_release_reads_this_one),
		TEST(test_a_change_half_done_by_this_release),
		TEST(test_death_while_it_migrates),
	};

	if (argc != 2)
		return 2;
	load(argv[1]);
	return cmocka_run_group_tests_name("table_versions", tests, NULL, NULL);
}
