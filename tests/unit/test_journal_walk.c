/* The journal's iterations: their order, their limits, what may change meanwhile. */
#include <errno.h>

#include "journal_fixture.h"

struct walk {
	uint64_t dir;
	const char *after;
	int64_t now_ms;
	int stop_after; /* visits; 0: never */
	char seen[4096];
	int n;
	struct journal_txn *txn;
};

static int see_entry(const struct journal_entry *entry, void *arg)
{
	struct walk *walk = arg;
	size_t length = strlen(walk->seen);

	snprintf(walk->seen + length, sizeof(walk->seen) - length, "%d/%s ", (int)entry->dir, entry->name);
	return ++walk->n == walk->stop_after ? 77 : 0;
}

static int see_file(const struct journal_file *file, void *arg)
{
	struct walk *walk = arg;
	size_t length = strlen(walk->seen);

	snprintf(walk->seen + length, sizeof(walk->seen) - length, "%d ", (int)file->ino);
	return ++walk->n == walk->stop_after ? -ENOENT : 0;
}

static int walk_dir(struct journal_txn *txn, void *arg)
{
	struct walk *walk = arg;

	return journal_each_in_dir(txn, walk->dir, walk->after, see_entry, walk);
}

static int walk_names(struct journal_txn *txn, void *arg)
{
	struct walk *walk = arg;

	return journal_each_name(txn, walk->dir, see_entry, walk);
}

static int walk_key(struct journal_txn *txn, void *arg)
{
	struct walk *walk = arg;

	return journal_each_with_key(txn, walk->after, see_entry, walk);
}

static int walk_due(struct journal_txn *txn, void *arg)
{
	struct walk *walk = arg;

	return journal_each_due(txn, walk->now_ms, see_file, walk);
}

static int walk_parked(struct journal_txn *txn, void *arg)
{
	return journal_each_parked(txn, see_file, arg);
}

static int walk_dirs(struct journal_txn *txn, void *arg)
{
	struct walk *walk = arg;
	int r = journal_next_dir(txn, walk->dir, &walk->dir);

	while (r == 0) {
		size_t length = strlen(walk->seen);

		snprintf(walk->seen + length, sizeof(walk->seen) - length, "%llu ", (unsigned long long)walk->dir);
		r = walk->dir == UINT64_MAX ? 1 : journal_next_dir(txn, walk->dir + 1, &walk->dir);
	}
	return r;
}

/* The same in a view and in an update. */
static void assert_walk(struct fixture *fixture, int (*how)(struct journal_txn *, void *), const struct walk *what,
	int wanted_result, const char *wanted)
{
	struct walk view = *what, update = *what;

	assert_int_equal(journal_view(fixture->journal, how, &view), wanted_result);
	assert_string_equal(view.seen, wanted);
	assert_int_equal(journal_update(fixture->journal, how, &update), wanted_result);
	assert_string_equal(update.seen, wanted);
}

static void directories_are_walked_in_byte_order(void **state)
{
	struct fixture *fixture = *state;
	static const char *const names[] = {"b", "a", "ab", "\xff", "a\x01", "B", "a b\n"};
	static const struct {
		struct walk walk;
		int result;
		const char *wanted;
	} cases[] = {
		{{.dir = 10}, 0, "10/B 10/a 10/a\x01 10/a b\n 10/ab 10/b 10/\xff "},
		{{.dir = 10, .after = ""}, 0, "10/B 10/a 10/a\x01 10/a b\n 10/ab 10/b 10/\xff "},
		{{.dir = 10, .after = "a"}, 0, "10/a\x01 10/a b\n 10/ab 10/b 10/\xff "},
		{{.dir = 10, .after = "aa"}, 0, "10/ab 10/b 10/\xff "},
		{{.dir = 10, .after = "\xff"}, 0, ""},
		{{.dir = 10, .stop_after = 2}, 77, "10/B 10/a "},
		{{.dir = 9}, 0, "9/z "},
		{{.dir = 11}, 0, "11/0 "},
		{{.dir = 12}, 0, ""},
		{{.dir = 0}, 0, ""},
		{{.dir = UINT64_MAX}, 0, "-1/last "},
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		put_entry(fixture, an_entry(10, names[i], 100 + i, ""));
	put_entry(fixture, an_entry(9, "z", 1, ""));
	put_entry(fixture, an_entry(11, "0", 1, ""));
	put_entry(fixture, an_entry(UINT64_MAX, "last", 1, ""));
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_walk(fixture, walk_dir, &cases[i].walk, cases[i].result, cases[i].wanted);
	check_journal(fixture);
}

static void each_directory_with_names_is_met_once(void **state)
{
	struct fixture *fixture = *state;

	assert_walk(fixture, walk_dirs, &(struct walk){0}, -ENOENT, "");
	put_entry(fixture, an_entry(7, "b", 1, ""));
	put_entry(fixture, an_entry(7, "a", 2, ""));
	put_entry(fixture, an_entry(300, "c", 3, ""));
	assert_walk(fixture, walk_dirs, &(struct walk){0}, -ENOENT, "7 300 ");
	assert_walk(fixture, walk_dirs, &(struct walk){.dir = 8}, -ENOENT, "300 ");
	put_entry(fixture, an_entry(UINT64_MAX, "d", 4, ""));
	assert_walk(fixture, walk_dirs, &(struct walk){.dir = 7}, 1, "7 300 18446744073709551615 ");
}

static void names_of_an_inode_follow_its_entries(void **state)
{
	struct fixture *fixture = *state;

	put_entry(fixture, an_entry(2, "b", 50, ""));
	put_entry(fixture, an_entry(1, "z", 50, ""));
	put_entry(fixture, an_entry(2, "a", 50, ""));
	put_entry(fixture, an_entry(2, "c", 51, ""));
	put_entry(fixture, an_entry(2, "d", 49, ""));
	assert_walk(fixture, walk_names, &(struct walk){.dir = 50}, 0, "1/z 2/a 2/b ");
	put_entry(fixture, an_entry(2, "a", 51, "")); /* another inode under the name */
	assert_walk(fixture, walk_names, &(struct walk){.dir = 50}, 0, "1/z 2/b ");
	assert_walk(fixture, walk_names, &(struct walk){.dir = 51}, 0, "2/a 2/c ");
	assert_int_equal(do_delete_entry(fixture, &(struct call){.ino = 1, .name = "z"}), 0);
	assert_int_equal(do_delete_entry(fixture, &(struct call){.ino = 1, .name = "z"}), 0);
	assert_walk(fixture, walk_names, &(struct walk){.dir = 50}, 0, "2/b ");
	assert_walk(fixture, walk_names, &(struct walk){.dir = 52}, 0, "");
	check_journal(fixture);
}

static void due_files_come_by_time_up_to_now(void **state)
{
	struct fixture *fixture = *state;
	static const struct {
		int64_t now_ms;
		int stop_after, result;
		const char *wanted;
	} cases[] = {
		{-1001, 0, 0, ""},
		{-1000, 0, 0, "3 "},
		{99, 0, 0, "3 "},
		{100, 0, 0, "3 1 2 "},
		{100, 2, -ENOENT, "3 1 "},
		{INT64_MAX, 0, 0, "3 1 2 4 5 "},
	};
	struct journal_file parked = a_waiting_file(4, 1, 101);

	parked.work = JOURNAL_PARKED;
	put_file(fixture, a_waiting_file(2, 1, 100));
	put_file(fixture, a_waiting_file(1, 1, 100));
	put_file(fixture, a_waiting_file(3, 1, -1000));
	put_file(fixture, parked);
	put_file(fixture, a_waiting_file(5, 1, INT64_MAX));
	put_file(fixture, a_file(6));
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_walk(fixture, walk_due,
			&(struct walk){.now_ms = cases[i].now_ms, .stop_after = cases[i].stop_after}, cases[i].result,
			cases[i].wanted);
	assert_walk(fixture, walk_parked, &(struct walk){0}, 0, "4 ");
	check_journal(fixture);
}

static int postpone(const struct journal_file *file, void *arg)
{
	struct walk *walk = arg;
	struct journal_file changed = *file;

	changed.due_ms += 1000000;
	changed.attempts++;
	journal_put_file(walk->txn, &changed);
	return see_file(file, walk);
}

static int postpone_due(struct journal_txn *txn, void *arg)
{
	struct walk *walk = arg;

	walk->txn = txn;
	return journal_each_due(txn, walk->now_ms, postpone, walk);
}

static int forget(const struct journal_entry *entry, void *arg)
{
	struct walk *walk = arg;

	walk->n++;
	return journal_delete_entry(walk->txn, entry->dir, entry->name);
}

static int forget_dir(struct journal_txn *txn, void *arg)
{
	struct walk *walk = arg;

	walk->txn = txn;
	return journal_each_in_dir(txn, walk->dir, NULL, forget, walk);
}

static void a_visit_may_change_what_it_visits(void **state)
{
	struct fixture *fixture = *state;
	struct walk walk = {.now_ms = 1000, .dir = 5};
	char name[16];

	for (uint64_t ino = 1; ino <= 300; ino++)
		put_file(fixture, a_waiting_file(ino, 1, (int64_t)ino));
	assert_int_equal(journal_update(fixture->journal, postpone_due, &walk), 0);
	assert_int_equal(walk.n, 300);
	check_journal(fixture);
	for (int i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "%03d", i);
		put_entry(fixture, an_entry(5, name, 1, ""));
	}
	walk.n = 0;
	assert_int_equal(journal_update(fixture->journal, forget_dir, &walk), 0);
	assert_int_equal(walk.n, 500);
	assert_walk(fixture, walk_dir, &(struct walk){.dir = 5}, 0, "");
	check_journal(fixture);
}

static void several_entries_may_rely_on_one_key(void **state)
{
	struct fixture *fixture = *state;
	struct journal_entry read;
	const char *key = "p/log";

	put_entry(fixture, an_entry(1, "log", 5, key));
	put_entry(fixture, an_entry(1, "log.1", 5, key));
	put_entry(fixture, an_entry(1, "log.2", 6, key));
	assert_walk(fixture, walk_key, &(struct walk){.after = key}, 0, "1/log 1/log.1 1/log.2 ");
	assert_int_equal(do_delete_entry(fixture, &(struct call){.ino = 1, .name = "log.1"}), 0);
	assert_walk(fixture, walk_key, &(struct walk){.after = key}, 0, "1/log 1/log.2 ");
	check_journal(fixture);
	put_entry(fixture, an_entry(9, "other", 6, key)); /* into the gap */
	assert_walk(fixture, walk_key, &(struct walk){.after = key}, 0, "1/log 9/other 1/log.2 ");
	put_entry(fixture, an_entry(1, "log", 5, "p/elsewhere"));
	assert_int_equal(get_by_key(fixture, "p/elsewhere", &read), 0);
	assert_string_equal(read.name, "log");
	put_entry(fixture, an_entry(1, "log.2", 6, ""));
	assert_int_equal(get_by_key(fixture, key, &read), 0);
	assert_string_equal(read.name, "other");
	assert_int_equal(do_delete_entry(fixture, &(struct call){.ino = 9, .name = "other"}), 0);
	assert_int_equal(get_by_key(fixture, key, &read), -ENOENT);
	assert_walk(fixture, walk_key, &(struct walk){.after = key}, 0, "");
	check_journal(fixture);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(directories_are_walked_in_byte_order),
		TEST(each_directory_with_names_is_met_once),
		TEST(names_of_an_inode_follow_its_entries),
		TEST(due_files_come_by_time_up_to_now),
		TEST(a_visit_may_change_what_it_visits),
		TEST(several_entries_may_rely_on_one_key),
	};
#undef TEST

	return cmocka_run_group_tests(tests, NULL, NULL);
}
