/* Records of requests in flight, without FUSE: how they are made, claimed and dropped, and what is made of those that
 * a process left behind. A "life" is a thread, or a child: what it does not finish is left as by a process that died. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fusefs/fs/internal.h"

#define SERVING 32 /* threads, as fusefs has them */
#define ROUNDS 300

static struct fs fs;
static int state_fd = -1;
static char folder[] = "/tmp/ebbfs-inflight-XXXXXX";

static struct node_identity root_identity(void)
{
	struct stat st;

	assert_int_equal(fstat(fs.backing_fd, &st), 0);
	return (struct node_identity){.ino = st.st_ino, .dev = (uint32_t)st.st_dev, .is_dir = true};
}

/* Another process goes on with the same table. */
static void next_life(void)
{
	struct node_identity root = root_identity();

	table_done(&fs.table);
	memset(fs.inflight_used, 0, sizeof(fs.inflight_used));
	atomic_store(&fs.inflights_unclaimed, 0);
	assert_int_equal(table_init(&fs.table, state_fd, &root), 0);
}

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	fs.backing_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fs.backing_fd < 0 || fdcache_init(&fs.dircache, 4) < 0;
}

static int tear_down(void **state)
{
	(void)state;
	fdcache_done(&fs.dircache);
	close(fs.backing_fd);
	return rmdir(folder);
}

static int begin_test(void **state)
{
	(void)state;
	cleanup_close(&state_fd);
	state_fd = memfd_create("table", MFD_CLOEXEC);
	next_life();
	return 0;
}

static int end_test(void **state)
{
	(void)state;
	table_done(&fs.table);
	return 0;
}

static void run(void *(*function)(void *), void *arg)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, function, arg), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

static const struct inflight *record_of(uint64_t unique)
{
	for (size_t i = 0; i < INFLIGHTS; i++) {
		if (fs.table.inflights[i].unique == unique)
			return &fs.table.inflights[i];
	}
	return NULL;
}

/* How far a request gets before its process dies. */
struct request {
	uint64_t unique;
	uint32_t opcode;
	bool intend, cancel, reach, commit, end;
	struct inflight seen; /* what inflight_current() was after inflight_begin(); unique 0: nothing */
};

static void *serve(void *arg)
{
	struct request *request = arg;

	inflight_begin(&fs, request->unique, request->opcode);
	if (inflight_current())
		memcpy(&request->seen, inflight_current(), sizeof(request->seen));
	if (request->intend) {
		struct inflight *inflight = inflight_new(&fs);

		inflight->parent = NODE_ROOT_ID;
		strcpy(inflight->name, "name");
		inflight_intend(inflight);
	}
	if (request->cancel)
		inflight_cancel();
	if (request->reach) {
		table_lock(&fs.table);
		inflight_reach_locked(&fs, INFLIGHT_DONE, 77, 78);
		if (request->commit)
			table_unlock(&fs.table);
	}
	if (request->end)
		inflight_end(&fs);
	return NULL;
}

static void test_a_record_lasts_until_the_answer(void **state)
{
	(void)state;
	struct request request = {.unique = 8, .opcode = FUSE_MKDIR, .intend = true};

	run(serve, &request);
	assert_int_equal(record_of(8)->state, INFLIGHT_INTENT);
	assert_int_equal(record_of(8)->opcode, FUSE_MKDIR);
	assert_string_equal(record_of(8)->name, "name");
	request = (struct request){.unique = 10, .opcode = FUSE_LOOKUP, .reach = true, .commit = true};
	run(serve, &request);
	assert_int_equal(record_of(10)->state, INFLIGHT_DONE);
	assert_int_equal(record_of(10)->node, 77);
	request = (struct request){.unique = 12, .intend = true, .reach = true, .commit = true, .end = true};
	run(serve, &request);
	assert_null(record_of(12));
	request = (struct request){.unique = 14, .intend = true, .cancel = true};
	run(serve, &request);
	assert_null(record_of(14));
}

static void test_the_next_process_claims_it(void **state)
{
	(void)state;
	struct request request = {.unique = 8, .opcode = FUSE_MKDIR, .intend = true, .reach = true, .commit = true};
	struct request other = {.unique = 10 | FUSE_UNIQUE_RESEND, .opcode = FUSE_MKDIR};
	struct request again = {.unique = 8 | FUSE_UNIQUE_RESEND, .opcode = FUSE_MKDIR, .end = true};

	run(serve, &request);
	next_life();
	inflight_settle(&fs);
	assert_int_equal(fs.inflights_unclaimed, 1);
	run(serve, &other);
	assert_int_equal(other.seen.unique, 0);
	run(serve, &again);
	assert_int_equal(again.seen.unique, 8);
	assert_int_equal(again.seen.state, INFLIGHT_DONE);
	assert_int_equal(again.seen.fh, 78);
	assert_int_equal(fs.inflights_unclaimed, 0);
	assert_null(record_of(8));
	/* Nobody is told the same twice. */
	again.seen.unique = 0;
	run(serve, &again);
	assert_int_equal(again.seen.unique, 0);
}

static void test_a_claimed_record_outlives_a_second_death(void **state)
{
	(void)state;
	struct request request = {.unique = 8, .opcode = FUSE_MKDIR, .reach = true, .commit = true};
	struct request again = {.unique = 8 | FUSE_UNIQUE_RESEND, .opcode = FUSE_MKDIR};

	run(serve, &request);
	for (int lives = 0; lives < 3; lives++) {
		next_life();
		inflight_settle(&fs);
		again.seen.unique = 0;
		run(serve, &again);
		assert_int_equal(again.seen.unique, 8);
		/* It is somebody's: not dropped with the others. */
		inflight_drop_unclaimed(&fs);
		assert_non_null(record_of(8));
	}
}

static void test_what_nobody_claims_is_dropped(void **state)
{
	(void)state;
	struct request request = {.unique = 8, .opcode = FUSE_LOOKUP, .reach = true, .commit = true};

	run(serve, &request);
	next_life();
	inflight_settle(&fs);
	inflight_drop_unclaimed(&fs);
	assert_int_equal(fs.inflights_unclaimed, 0);
	assert_null(record_of(8));
}

static void test_a_step_is_part_of_its_transaction(void **state)
{
	(void)state;
	struct request request = {.unique = 8, .opcode = FUSE_SETXATTR, .intend = true, .reach = true};

	pid_t child = fork();

	if (child == 0) {
		serve(&request);
		_exit(0); /* before the commit */
	}
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_int_equal(record_of(8)->state, INFLIGHT_DONE);
	next_life();
	assert_int_equal(record_of(8)->state, INFLIGHT_INTENT);
	assert_int_equal(record_of(8)->node, 0);
}

/* --- many threads --- */

struct serving {
	pthread_barrier_t *together;
	uint64_t first;
	unsigned int mistakes;
};

static void *serve_many(void *arg)
{
	struct serving *server = arg;

	pthread_barrier_wait(server->together);
	for (uint64_t i = 0; i < ROUNDS; i++) {
		uint64_t unique = server->first + 2 * i;

		inflight_begin(&fs, unique, FUSE_MKDIR);
		struct inflight *mine = inflight_new(&fs);

		mine->parent = unique;
		inflight_intend(mine);
		table_lock(&fs.table);
		inflight_reach_locked(&fs, INFLIGHT_DONE, unique, 0);
		table_unlock(&fs.table);
		server->mistakes += mine->parent != unique || mine->node != unique || inflight_current() != mine;
		inflight_end(&fs);
	}
	/* One more, in which it dies. */
	inflight_begin(&fs, server->first, FUSE_SETXATTR);
	inflight_intend(inflight_new(&fs));
	return NULL;
}

/* Two lives with all their threads over a request at once, and a third that serves: there is room for all records. */
static void test_many_threads(void **state)
{
	(void)state;
	struct serving servers[SERVING];
	pthread_t threads[SERVING];
	pthread_barrier_t together;

	pthread_barrier_init(&together, NULL, SERVING);
	for (uint64_t life = 0; life < 3; life++) {
		next_life();
		inflight_settle(&fs);
		assert_int_equal(fs.inflights_unclaimed, life * SERVING);
		for (size_t i = 0; i < SERVING; i++) {
			servers[i] = (struct serving){.together = &together, .first = (life * SERVING + i + 1) << 20};
			assert_int_equal(pthread_create(&threads[i], NULL, serve_many, &servers[i]), 0);
		}
		for (size_t i = 0; i < SERVING; i++) {
			pthread_join(threads[i], NULL);
			assert_int_equal(servers[i].mistakes, 0);
		}
		for (uint64_t i = 0; i < (life + 1) * SERVING; i++)
			assert_non_null(record_of((i + 1) << 20));
	}
	pthread_barrier_destroy(&together);
}

/* --- settling --- */

/* An intent, the names that are there when it is looked at, and what becomes of it. "a" and "b" are the names of the
 * request, and of the inodes that had them before. */
struct settling {
	const char *name;
	uint32_t opcode, rename_flags;
	bool has_target;
	const char *now; /* what is at a, and at b: 'a', 'b', '?' (something else), '-' (nothing) */
	enum inflight_state state;
};

static const struct settling settlings[] = {
	{"mkdir: not yet", FUSE_MKDIR, 0, false, "--", INFLIGHT_FREE},
	{"mkdir: made", FUSE_MKDIR, 0, false, "?-", INFLIGHT_MADE},
	{"create: not yet", FUSE_CREATE, 0, false, "--", INFLIGHT_FREE},
	{"create: made", FUSE_CREATE, 0, false, "?-", INFLIGHT_MADE},
	{"link: made", FUSE_LINK, 0, false, "?-", INFLIGHT_MADE},
	{"symlink: made", FUSE_SYMLINK, 0, false, "?-", INFLIGHT_MADE},
	{"mknod: not yet", FUSE_MKNOD, 0, false, "--", INFLIGHT_FREE},
	{"unlink: not yet", FUSE_UNLINK, 0, false, "a-", INFLIGHT_FREE},
	{"unlink: done", FUSE_UNLINK, 0, false, "--", INFLIGHT_DONE},
	{"unlink: done, and another is there", FUSE_UNLINK, 0, false, "?-", INFLIGHT_DONE},
	{"rmdir: not yet", FUSE_RMDIR, 0, false, "a-", INFLIGHT_FREE},
	{"rmdir: done", FUSE_RMDIR, 0, false, "--", INFLIGHT_DONE},
	{"rename: not yet", FUSE_RENAME, 0, false, "a-", INFLIGHT_FREE},
	{"rename: done", FUSE_RENAME, 0, false, "-a", INFLIGHT_DONE},
	{"rename over: not yet", FUSE_RENAME2, 0, true, "ab", INFLIGHT_FREE},
	{"rename over: done", FUSE_RENAME2, 0, true, "-a", INFLIGHT_DONE},
	{"exchange: not yet", FUSE_RENAME2, RENAME_EXCHANGE, true, "ab", INFLIGHT_FREE},
	{"exchange: done", FUSE_RENAME2, RENAME_EXCHANGE, true, "ba", INFLIGHT_DONE},
	{"setxattr", FUSE_SETXATTR, 0, false, "a-", INFLIGHT_INTENT},
	{"unknown", FUSE_STATFS, 0, false, "a-", INFLIGHT_FREE},
};

static void make(const char *name, struct stat *ret)
{
	int fd = openat(fs.backing_fd, name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, ret), 0);
	close(fd);
}

/* Names as `now` says, of inodes that wait as .a and .b. */
static void arrange(const char *now)
{
	static const char *const names[] = {"a", "b"};

	for (size_t i = 0; i < 2; i++) {
		char from[3] = {'.', now[i], '\0'};
		struct stat st;

		if (now[i] == '?')
			make(names[i], &st);
		else if (now[i] != '-')
			assert_int_equal(renameat(fs.backing_fd, from, fs.backing_fd, names[i]), 0);
	}
}

static void sweep(void)
{
	static const char *const names[] = {"a", "b", ".a", ".b"};

	for (size_t i = 0; i < 4; i++)
		(void)unlinkat(fs.backing_fd, names[i], 0);
}

static uint64_t enter(const struct stat *st, const char *name)
{
	struct node_identity identity = {.ino = st->st_ino, .dev = (uint32_t)st->st_dev, .is_file = true};
	struct node *root = table_node_locked(&fs.table, NODE_ROOT_ID);

	table_lock(&fs.table);
	uint64_t id = table_id_locked(&fs.table, table_lookup_locked(&fs.table, &identity, root, name));

	table_unlock(&fs.table);
	return id;
}

static const char *name_of(uint64_t id)
{
	return table_name_locked(&fs.table, table_node_locked(&fs.table, id));
}

static void settle(const struct settling *settling)
{
	bool removes = settling->opcode == FUSE_UNLINK || settling->opcode == FUSE_RMDIR;
	struct stat a, b;

	make(".a", &a);
	make(".b", &b);
	uint64_t a_id = enter(&a, "a"), b_id = enter(&b, "b");
	struct inflight *inflight = &fs.table.inflights[5];

	*inflight = (struct inflight){.unique = 8,
		.opcode = settling->opcode,
		.state = INFLIGHT_INTENT,
		.parent = NODE_ROOT_ID,
		.new_parent = NODE_ROOT_ID,
		.name = "a",
		.new_name = "b",
		.source_ino = a.st_ino,
		.source_dev = (uint32_t)a.st_dev,
		.rename_flags = settling->rename_flags,
		.node = removes ? a_id : b_id,
		.target = removes ? a : b,
		.flags = INFLIGHT_IS_LAST | (settling->has_target ? INFLIGHT_HAS_TARGET : 0)};
	arrange(settling->now);
	inflight_settle(&fs);
	if (inflight->unique != (settling->state == INFLIGHT_FREE ? 0 : 8) ||
		(inflight->unique && inflight->state != settling->state))
		fail_msg("%s: unique %u state %u", settling->name, (unsigned int)inflight->unique, inflight->state);
	assert_int_equal(fs.inflights_unclaimed, inflight->unique != 0);
	bool moved = settling->state == INFLIGHT_DONE && !removes, exchanged = settling->rename_flags && moved;

	assert_string_equal(name_of(a_id), moved ? "b" : settling->state == INFLIGHT_DONE ? "" : "a");
	assert_string_equal(name_of(b_id), exchanged ? "a" : moved && settling->has_target ? "" : "b");
	sweep();
}

static void test_settling(void **state)
{
	for (size_t i = 0; i < sizeof(settlings) / sizeof(settlings[0]); i++) {
		begin_test(state);
		settle(&settlings[i]);
	}
}

/* The look-up of a CREATE that was not answered is taken back; a file that was there before is only opened again. */
static void test_settling_what_was_entered(void **state)
{
	for (int is_new = 0; is_new < 2; is_new++) {
		struct inflight *inflight = &fs.table.inflights[0];
		uint64_t nodes, handles;
		struct stat st;

		make("a", &st);
		*inflight = (struct inflight){.unique = 8,
			.opcode = FUSE_CREATE,
			.state = INFLIGHT_ENTERED,
			.parent = NODE_ROOT_ID,
			.name = "a",
			.node = enter(&st, "a"),
			.flags = is_new ? INFLIGHT_IS_NEW : 0};
		inflight_settle(&fs);
		assert_int_equal(inflight->unique, is_new ? 8 : 0);
		assert_int_equal(inflight->state, INFLIGHT_MADE);
		table_get_counts(&fs.table, &nodes, &handles);
		assert_int_equal(nodes, 1);
		sweep();
		begin_test(state);
	}
}

static void test_settling_what_was_closing(void **state)
{
	(void)state;
	fs.table.inflights[3] = (struct inflight){.unique = 8, .opcode = FUSE_RELEASE, .state = INFLIGHT_CLOSING};
	inflight_settle(&fs);
	assert_null(record_of(8));
	assert_int_equal(fs.inflights_unclaimed, 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, begin_test, end_test)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_record_lasts_until_the_answer),
		TEST(test_the_next_process_claims_it),
		TEST(test_a_claimed_record_outlives_a_second_death),
		TEST(test_what_nobody_claims_is_dropped),
		TEST(test_a_step_is_part_of_its_transaction),
		TEST(test_many_threads),
		TEST(test_settling),
		TEST(test_settling_what_was_entered),
		TEST(test_settling_what_was_closing),
	};

	return cmocka_run_group_tests_name("inflight", tests, set_up, tear_down);
}
