/* Deaths in the middle of changes of the shared table: what the next process finds is the state before the change or
 * the one after it, and whole.
 *
 * The deaths are real ones, of children. At chosen places: the linker puts __wrap_*() below around the calls by which
 * every transaction goes (-Wl,--wrap). At any instruction: by a signal of the parent. $SEED repeats a run. */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/table_check.h"
#include "tests/unit/table_ops.h"

#define CHOSEN_OPS 100
#define RANDOM_DEATHS 250
#define RANDOM_DEATH_US 1500
#define WARM_UP_OPS 600
#define CHAIN_NODES 5000

static const struct table_rules rules = {.may_be_hidden = table_ops_may_be_hidden, .writing = TABLE_OPS_WRITING};
static uint64_t seed;

/* Shared with the children. */
static struct progress {
	atomic_uint_fast64_t begun, ended; /* operations */
	uint64_t points;                   /* passed */
	uint64_t die_at;                   /* 0: nowhere */
} *progress;

static void point(void)
{
	if (progress && progress->die_at && ++progress->points == progress->die_at)
		raise(SIGKILL);
}

void __real_table_save_locked(struct table *table, const void *at, size_t size);
void __wrap_table_save_locked(struct table *table, const void *at, size_t size);
void __real_table_unlock(struct table *table);
void __wrap_table_unlock(struct table *table);

void __wrap_table_save_locked(struct table *table, const void *at, size_t size)
{
	point();
	__real_table_save_locked(table, at, size);
	point();
}

void __wrap_table_unlock(struct table *table)
{
	point();
	__real_table_unlock(table);
	point();
}

static int new_memfd(void)
{
	int fd = memfd_create("table", MFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static struct table open_table(int fd)
{
	struct table table;

	assert_int_equal(table_init(&table, fd, &table_ops_root), 0);
	return table;
}

static void fail_of(const char *what, const char *wrong)
{
	fail_msg("SEED=%llu, operation %llu of %llu, point %llu: %s: %s", (unsigned long long)seed,
		(unsigned long long)progress->begun, (unsigned long long)progress->ended,
		(unsigned long long)progress->points, what, wrong);
}

static void assert_whole(const struct table *table, const struct table_rules *by)
{
	const char *wrong = table_find_fault(table, by);

	if (wrong)
		fail_of("not whole", wrong);
}

static void run_ops(struct table *table, uint64_t ops)
{
	while (ops-- > 0) {
		uint64_t number = progress->ended;

		progress->begun = number + 1;
		table_op(table, seed, number);
		progress->ended = number + 1;
	}
}

/* What the child does; it never comes back from here. */
static _Noreturn void live(int fd, uint64_t ops)
{
	struct table table;

	if (table_init(&table, fd, &table_ops_root) < 0)
		_exit(1);
	run_ops(&table, ops);
	_exit(0);
}

/* True if it was killed. */
static bool wait_for_end(pid_t child)
{
	int status;

	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return true;
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	return false;
}

/* What lies in the memfd, brought in order by the next life, against a table of which nobody ever died. */
static void assert_as_before_or_after(int fd, struct table *never_died, uint64_t *done)
{
	struct table table = open_table(fd);

	assert_whole(&table, &rules);
	while (*done < progress->ended)
		table_op(never_died, seed, (*done)++);
	const char *wrong = table_find_difference(&table, never_died);
	char from_before[200];

	snprintf(from_before, sizeof(from_before), "not as before: %s", wrong ? wrong : "");
	if (wrong && progress->begun > progress->ended) {
		table_op(never_died, seed, (*done)++);
		wrong = table_find_difference(&table, never_died);
		progress->ended = *done;
	}
	if (wrong)
		fail_of(from_before, wrong);
	table_done(&table);
}

/* A table with something in it, in a memfd and once more in memory that nobody dies over. */
static struct table warmed_up(int fd, uint64_t *done)
{
	struct table table = open_table(fd), never_died = open_table(-1);

	*progress = (struct progress){0};
	run_ops(&table, WARM_UP_OPS);
	table_done(&table);
	for (*done = 0; *done < WARM_UP_OPS; (*done)++)
		table_op(&never_died, seed, *done);
	return never_died;
}

/* Each of some operations is died in at each place that it comes to, before it gets through. */
static void test_death_at_each_place(void **state)
{
	(void)state;
	int fd = new_memfd();
	uint64_t done, deaths = 0;
	struct table never_died = warmed_up(fd, &done);

	for (uint64_t last = done + CHOSEN_OPS, at = 1; done < last;) {
		progress->points = 0;
		progress->die_at = at;
		pid_t child = fork();

		if (child == 0)
			live(fd, 1);
		bool killed = wait_for_end(child);

		progress->die_at = 0;
		deaths += killed;
		uint64_t before = done;

		assert_as_before_or_after(fd, &never_died, &done);
		/* Through, or dead after the commit: the next one. */
		at = done > before ? 1 : at + 1;
	}
	print_message("%llu deaths, SEED=%llu\n", (unsigned long long)deaths, (unsigned long long)seed);
	assert_true(deaths > 3 * CHOSEN_OPS);
	table_done(&never_died);
	close(fd);
}

static void test_death_at_any_instruction(void **state)
{
	(void)state;
	int fd = new_memfd();
	uint64_t done, inside = 0;
	struct table never_died = warmed_up(fd, &done);

	for (int i = 0; i < RANDOM_DEATHS; i++) {
		uint64_t begun = progress->begun;
		pid_t child = fork();

		if (child == 0)
			live(fd, UINT64_MAX);
		while (progress->begun == begun)
			;
		struct timespec delay = {.tv_nsec = rand() % (RANDOM_DEATH_US * 1000)};

		nanosleep(&delay, NULL);
		kill(child, SIGKILL);
		assert_true(wait_for_end(child));
		inside += progress->begun > progress->ended;
		assert_as_before_or_after(fd, &never_died, &done);
	}
	print_message("%d deaths, %llu of them in an operation, %llu operations, SEED=%llu\n", RANDOM_DEATHS,
		(unsigned long long)inside, (unsigned long long)done, (unsigned long long)seed);
	assert_true(inside > RANDOM_DEATHS / 10);
	table_done(&never_died);
	close(fd);
}

/* A death while a death is undone leaves some of the entries undone, last ones first, and their number as it was. */
static void test_death_while_it_is_undone(void **state)
{
	(void)state;
	int fd = new_memfd();
	uint64_t done;
	struct table never_died = warmed_up(fd, &done);
	unsigned int half_undone = 0;

	for (uint64_t at = 2; half_undone < 100; at = at % 24 + 2) {
		progress->points = 0;
		progress->die_at = at;
		pid_t child = fork();

		if (child == 0)
			live(fd, 20);
		(void)wait_for_end(child);
		progress->die_at = 0;
		char *base = mmap(NULL, BUCKETS_OFFSET, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		const struct undo *undo = (const struct undo *)(const void *)(base + UNDO_OFFSET);

		assert_ptr_not_equal(base, MAP_FAILED);
		for (uint32_t i = undo->n, stop = undo->n / 2; i > stop; i--) {
			const struct undo_entry *entry = &undo->entries[i - 1];

			assert_int_equal(pwrite(fd, entry->bytes, entry->size, (off_t)entry->offset), entry->size);
		}
		half_undone += undo->n > 1;
		munmap(base, BUCKETS_OFFSET);
		assert_as_before_or_after(fd, &never_died, &done);
	}
	table_done(&never_died);
	close(fd);
}

/* Directories below each other, of which only the last is still known to the kernel. Returns its id. */
static uint64_t make_chain(struct table *table)
{
	struct node *parent = table_node_locked(table, NODE_ROOT_ID), *node = parent;

	for (uint64_t i = 0; i < CHAIN_NODES; i++) {
		struct node_identity identity = table_ops_identity(1000 + 4 * i, false);

		table_lock(table);
		node = table_lookup_locked(table, &identity, parent, "directory");
		assert_non_null(node);
		if (parent != &table->nodes[NODE_ROOT_SLOT])
			assert_false(table_forget_locked(table, parent, 1));
		table_unlock(table);
		parent = node;
	}
	return table_id_locked(table, node);
}

static void forget_chain(int fd, uint64_t id)
{
	struct table table = open_table(fd);

	table_lock(&table);
	assert_true(table_forget_locked(&table, table_node_locked(&table, id), 1));
	table_unlock(&table);
	table_done(&table);
}

/* Longer than what the undo log holds: given up in pieces, each of which is whole. */
static void test_death_in_a_long_chain(void **state)
{
	(void)state;
	const struct table_rules in_pieces = {.may_be_unreferenced = true};
	uint64_t nodes = 0, handles, before = 0;
	unsigned int parts = 0;

	*progress = (struct progress){0};
	/* About every thousandth place, and each around the end of the log. */
	for (uint64_t at = 32700; nodes != 1; at += at > 32750 && at < 32800 ? 1 : 997) {
		int fd = new_memfd();
		struct table table = open_table(fd);
		uint64_t id = make_chain(&table);

		table_done(&table);
		progress->points = 0;
		progress->die_at = at;
		pid_t child = fork();

		if (child == 0) {
			forget_chain(fd, id);
			_exit(0);
		}
		(void)wait_for_end(child);
		progress->die_at = 0;
		table = open_table(fd);
		assert_whole(&table, &in_pieces);
		table_get_counts(&table, &nodes, &handles);
		parts += nodes != before;
		before = nodes;
		table_done(&table);
		close(fd);
	}
	assert_true(parts >= 3);
}

static int set_up(void **state)
{
	(void)state;
	const char *again = getenv("SEED");

	seed = again ? strtoull(again, NULL, 10) : (uint64_t)time(NULL);
	srand((unsigned int)seed);
	progress = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return progress == MAP_FAILED;
}

static int tear_down(void **state)
{
	(void)state;
	return munmap(progress, sizeof(*progress));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_death_at_each_place),
		cmocka_unit_test(test_death_at_any_instruction),
		cmocka_unit_test(test_death_while_it_is_undone),
		cmocka_unit_test(test_death_in_a_long_chain),
	};

	return cmocka_run_group_tests_name("table_crash", tests, set_up, tear_down);
}
