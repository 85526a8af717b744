/* The journal's contract, function by function. Crashes, damage and threads: test_journal_crash.c,
 * test_journal_damage.c; iterations: test_journal_walk.c; bytes: test_journal_record.c. `test_journal --measure N` prints size and speed with N files instead of testing. */
#include <errno.h>
#include <pthread.h>

#include "journal_fixture.h"
#include "uploader/base/fdio.h"
#include "uploader/base/units.h"

/* --- files, counts, work indices --- */

static void a_stored_file_comes_back(void **state)
{
	struct fixture *fixture = *state;
	struct journal_file file = a_file(7), read;

	file.work = JOURNAL_PARKED;
	file.flags = JOURNAL_CHECK_FIRST;
	file.attempts = UINT32_MAX;
	file.since_ms = INT64_MIN;
	file.due_ms = INT64_MAX;
	memset(file.reason, 'r', sizeof(file.reason) - 1);
	put_file(fixture, file);
	memset(&read, 0xff, sizeof(read));
	assert_int_equal(get_file(fixture, 7, &read), 0);
	assert_memory_equal(&read, &file, sizeof(file));
	assert_int_equal(get_file(fixture, 8, &read), -ENOENT);
	assert_memory_equal(&read, &file, sizeof(file));
	check_journal(fixture);
}

static void counts_and_indices_follow_every_change(void **state)
{
	struct fixture *fixture = *state;
	static const struct {
		uint64_t generation, proven_generation;
		enum journal_work work;
		bool delete;
		struct journal_counts wanted;
	} steps[] = {
		{1, 0, JOURNAL_WAITING, false, {1, 0, 1, 0}},
		{1, 0, JOURNAL_WAITING, false, {1, 0, 1, 0}},
		{1, 0, JOURNAL_PARKED, false, {1, 0, 0, 1}},
		{1, 1, JOURNAL_IDLE, false, {1, 1, 0, 0}},
		{2, 1, JOURNAL_WAITING, false, {1, 0, 1, 0}},
		{2, 2, JOURNAL_PARKED, false, {1, 1, 0, 1}},
		{2, 2, JOURNAL_PARKED, true, {0, 0, 0, 0}},
		{2, 2, JOURNAL_PARKED, true, {0, 0, 0, 0}},
		{0, 0, JOURNAL_IDLE, false, {1, 0, 0, 0}},
		{5, 5, JOURNAL_IDLE, false, {1, 1, 0, 0}},
	};

	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		struct journal_file file = a_file(3);

		file.generation = steps[i].generation;
		file.proven_generation = steps[i].proven_generation;
		file.work = steps[i].work;
		file.due_ms = (int64_t)i * 10;
		file.since_ms = -(int64_t)i;
		if (steps[i].delete)
			assert_int_equal(do_delete_file(fixture, &(struct call){.ino = 3}), 0);
		else
			put_file(fixture, file);
		struct journal_counts counts = get_counts(fixture);

		assert_memory_equal(&counts, &steps[i].wanted, sizeof(counts));
		check_journal(fixture);
	}
}

static void oldest_and_next_due_are_the_smallest(void **state)
{
	struct fixture *fixture = *state;
	static const struct {
		int64_t since_ms, due_ms, wanted_since_ms, wanted_due_ms;
	} steps[] = {
		{500, 900, 500, 900},
		{501, 800, 500, 800},
		{0, 0, 0, 0},
		{-5, -1, -5, -1},
		{-6, 10, -6, -1},
		{INT64_MIN, INT64_MIN, INT64_MIN, INT64_MIN},
		{INT64_MAX, INT64_MAX, INT64_MIN, INT64_MIN},
	};
	struct call call = {0};

	assert_int_equal(do_oldest(fixture, &call), -ENOENT);
	assert_int_equal(do_next_due(fixture, &call), -ENOENT);
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		put_file(fixture, a_waiting_file(i + 1, steps[i].since_ms, steps[i].due_ms));
		assert_int_equal(do_oldest(fixture, &call), 0);
		assert_int_equal(call.ms, steps[i].wanted_since_ms);
		assert_int_equal(do_next_due(fixture, &call), 0);
		assert_int_equal(call.ms, steps[i].wanted_due_ms);
	}
	assert_int_equal(do_oldest(fixture, &call), 0);
	assert_int_equal(call.ino, 6);
}

/* --- entries and objects --- */

static void an_entry_of_the_largest_size_comes_back(void **state)
{
	struct fixture *fixture = *state;
	struct journal_entry entry = {.dir = UINT64_MAX, .ino = UINT64_MAX, .type = JOURNAL_TYPE_FILE}, read;

	memset(entry.name, 'n', JOURNAL_NAME_MAX);
	memset(entry.key, 'k', JOB_KEY_MAX);
	memset(entry.etag, 'e', JOB_ETAG_MAX - 1);
	memset(entry.version_id, 'v', JOB_VERSION_ID_MAX);
	entry.proven_generation = UINT64_MAX;
	entry.proof = JOB_PROOF_READ_BACK;
	entry.proven_ms = INT64_MIN;
	put_entry(fixture, entry);
	assert_int_equal(get_entry(fixture, UINT64_MAX, entry.name, &read), 0);
	assert_memory_equal(&read, &entry, sizeof(entry));
	assert_int_equal(get_by_key(fixture, entry.key, &read), 0);
	assert_memory_equal(&read, &entry, sizeof(entry));

	char longer[JOURNAL_NAME_MAX + 2] = "";

	memset(longer, 'n', JOURNAL_NAME_MAX + 1);
	assert_int_equal(get_entry(fixture, UINT64_MAX, longer, &read), -ENAMETOOLONG);
	assert_int_equal(do_delete_entry(fixture, &(struct call){.ino = 1, .name = longer}), -ENAMETOOLONG);
	check_journal(fixture);
}

/* Keys around the limit of what stands whole in the index, with the same head. */
static void long_keys_are_told_apart(void **state)
{
	struct fixture *fixture = *state;
	static const int lengths[] = {1, 2, 399, 400, 479, 480, 481, 488, 489, 490, 491, 1023, 1024};
	char keys[ARRAY_SIZE(lengths)][JOB_KEY_MAX + 1] = {0}, name[16];
	struct journal_entry read;

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		memset(keys[i], 'k', (size_t)lengths[i]);
		snprintf(name, sizeof(name), "%zu", i);
		put_entry(fixture, an_entry(1, name, i, keys[i]));
	}
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		assert_int_equal(get_by_key(fixture, keys[i], &read), 0);
		assert_int_equal(read.ino, i);
	}
	keys[0][0] = 'x';
	assert_int_equal(get_by_key(fixture, keys[0], &read), -ENOENT);
	keys[12][1023] = 'x';
	assert_int_equal(get_by_key(fixture, keys[12], &read), -ENOENT);
	assert_int_equal(get_by_key(fixture, "", &read), -ENOENT);
	check_journal(fixture);
}

static int put_object_slot(struct journal_txn *txn, void *arg)
{
	const struct journal_entry *entry = arg;
	_cleanup_buf_ struct buf value = {0};
	struct record_key slot;
	char key[JOB_KEY_MAX + 1] = "";

	memset(key, 'k', JOB_KEY_MAX);
	record_key_slot(&slot, key, 3);
	assert_int_equal(record_encode_object(&value, key, entry->dir, entry->name), 0);
	return store_put(&txn->store, STORE_OBJECT, &slot, (struct store_bytes){value.data, value.length});
}

/* As if the hashes of two long keys were equal. */
static void keys_that_share_a_range_are_compared(void **state)
{
	struct fixture *fixture = *state;
	struct journal_entry other = an_entry(1, "other", 5, ""), mine = an_entry(1, "mine", 6, ""), read;

	memset(other.key, 'o', JOB_KEY_MAX);
	memset(mine.key, 'k', JOB_KEY_MAX);
	put_entry(fixture, other);
	assert_int_equal(journal_update(fixture->journal, put_object_slot, &other), 0);
	assert_int_equal(get_by_key(fixture, mine.key, &read), -ENOENT);
	put_entry(fixture, mine);
	assert_int_equal(get_by_key(fixture, mine.key, &read), 0);
	assert_string_equal(read.name, "mine");
	assert_int_equal(do_delete_entry(fixture, &(struct call){.ino = 1, .name = "mine"}), 0);
	assert_int_equal(get_by_key(fixture, mine.key, &read), -ENOENT);
}

static void what_cannot_be_stored_is_refused(void **state)
{
	struct fixture *fixture = *state;
	struct journal_entry good = an_entry(1, "a", 2, "k"), bad[8];
	struct journal_file file = a_file(1);
	struct journal_entry read;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		bad[i] = good;
	bad[0].name[0] = '\0';
	copy_text(bad[1].name, sizeof(bad[1].name), "a/b");
	memset(bad[2].name, 'n', sizeof(bad[2].name));
	memset(bad[3].key, 'k', sizeof(bad[3].key));
	memset(bad[4].etag, 'e', sizeof(bad[4].etag));
	memset(bad[5].version_id, 'v', sizeof(bad[5].version_id));
	bad[6].type = JOURNAL_TYPE_DIR;
	bad[6].type++;
	bad[7].proof = JOB_PROOF_READ_BACK;
	bad[7].proof++;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(do_put_entry(fixture, &(struct call){.entry = &bad[i]}), -EINVAL);
	file.work = JOURNAL_PARKED;
	file.work++;
	assert_int_equal(do_put_file(fixture, &(struct call){.file = &file}), -EINVAL);
	file.work = JOURNAL_IDLE;
	memset(file.reason, 'r', sizeof(file.reason));
	assert_int_equal(do_put_file(fixture, &(struct call){.file = &file}), -EINVAL);
	assert_int_equal(get_entry(fixture, 1, "a", &read), -ENOENT);
	check_journal(fixture);
}

/* --- block digests --- */

struct blocks_case {
	uint64_t ino;
	uint32_t n_blocks;
	uint8_t (*blocks)[JOB_SHA256_BYTES];
};

static int put_blocks(struct journal_txn *txn, void *arg)
{
	struct blocks_case *c = arg;

	return journal_put_blocks(txn, c->ino, c->n_blocks, c->blocks);
}

static int get_blocks(struct journal_txn *txn, void *arg)
{
	struct blocks_case *c = arg;

	return journal_get_blocks(txn, c->ino, &c->n_blocks, &c->blocks);
}

static void block_digests_come_back_and_go(void **state)
{
	struct fixture *fixture = *state;
	static const uint32_t sizes[] = {1, 2, 100, 127, 128, JOB_BLOCKS_MAX, 3};
	static uint8_t digests[JOB_BLOCKS_MAX][JOB_SHA256_BYTES];
	struct blocks_case none = {.ino = 5}, many = {.ino = 5, .n_blocks = JOB_BLOCKS_MAX + 1, .blocks = digests};

	fill(digests[0], sizeof(digests), 1);
	put_file(fixture, a_file(5));
	assert_int_equal(journal_view(fixture->journal, get_blocks, &none), -ENOENT);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct blocks_case in = {.ino = 5, .n_blocks = sizes[i], .blocks = digests}, out = {.ino = 5};

		assert_int_equal(journal_update(fixture->journal, put_blocks, &in), 0);
		assert_int_equal(journal_view(fixture->journal, get_blocks, &out), 0);
		assert_int_equal(out.n_blocks, sizes[i]);
		assert_memory_equal(out.blocks, digests, sizes[i] * JOB_SHA256_BYTES);
		free(out.blocks);
	}
	assert_int_equal(journal_update(fixture->journal, put_blocks, &many), -EINVAL);
	none.n_blocks = 0;
	assert_int_equal(journal_update(fixture->journal, put_blocks, &none), 0);
	assert_int_equal(journal_view(fixture->journal, get_blocks, &none), -ENOENT);
	many.n_blocks = 4;
	assert_int_equal(journal_update(fixture->journal, put_blocks, &many), 0);
	assert_int_equal(do_delete_file(fixture, &(struct call){.ino = 5}), 0);
	assert_int_equal(journal_view(fixture->journal, get_blocks, &none), -ENOENT);
	check_journal(fixture);
}

/* --- transactions --- */

static int put_then_fail(struct journal_txn *txn, void *arg)
{
	struct journal_file file = a_file(1), read;
	struct journal_counts counts;

	assert_int_equal(journal_put_file(txn, &file), 0);
	assert_int_equal(journal_get_file(txn, 1, &read), 0);
	assert_int_equal(journal_get_counts(txn, &counts), 0);
	assert_int_equal(counts.files, 1);
	return *(int *)arg;
}

static int put_after_bad(struct journal_txn *txn, void *arg)
{
	struct journal_file bad = a_file(1), good = a_file(2);

	(void)arg;
	bad.work = JOURNAL_PARKED;
	bad.work++;
	journal_put_file(txn, &bad);
	assert_int_equal(journal_put_file(txn, &good), -EINVAL);
	journal_delete_file(txn, 9);
	return 0;
}

static void nothing_of_a_failed_update_stays(void **state)
{
	struct fixture *fixture = *state;
	static const int results[] = {-EAGAIN, 5, -ENOSPC, -EIO};
	struct journal_file read;

	for (size_t i = 0; i < ARRAY_SIZE(results); i++) {
		int result = results[i];

		assert_int_equal(journal_update(fixture->journal, put_then_fail, &result), result);
		assert_int_equal(get_file(fixture, 1, &read), -ENOENT);
		assert_int_equal(get_counts(fixture).files, 0);
	}
	assert_int_equal(journal_update(fixture->journal, put_after_bad, NULL), -EINVAL);
	assert_int_equal(get_file(fixture, 2, &read), -ENOENT);
	check_journal(fixture);
}

static void a_view_changes_nothing(void **state)
{
	struct fixture *fixture = *state;
	struct journal_file file = a_file(1);
	struct journal_entry entry = an_entry(1, "a", 1, "k");
	static uint8_t digest[1][JOB_SHA256_BYTES];
	struct blocks_case blocks = {.ino = 1, .n_blocks = 1, .blocks = digest};
	struct call call = {.file = &file, .entry = &entry, .ino = 1, .name = "a"};

	assert_int_equal(journal_view(fixture->journal, call_put_file, &call), -EACCES);
	assert_int_equal(journal_view(fixture->journal, call_delete_file, &call), -EACCES);
	assert_int_equal(journal_view(fixture->journal, call_put_entry, &call), -EACCES);
	assert_int_equal(journal_view(fixture->journal, call_delete_entry, &call), -EACCES);
	assert_int_equal(journal_view(fixture->journal, put_blocks, &blocks), -EACCES);
	check_journal(fixture);
}

struct bulk {
	uint64_t first, n;
	int runs;
	bool shuffled;
	bool all_proven;
};

/* A permutation of 20 bits. */
static uint64_t shuffle(uint64_t i)
{
	return (i * 0x9e3b5U + 12345) & 0xfffff;
}

static int put_bulk(struct journal_txn *txn, void *arg)
{
	struct bulk *bulk = arg;

	bulk->runs++;
	for (uint64_t i = bulk->first; i < bulk->first + bulk->n; i++) {
		uint64_t id = bulk->shuffled ? shuffle(i) : i;
		struct journal_file file = a_file(1000 + id);
		char name[40], key[64];

		snprintf(name, sizeof(name), "records-%07llu.json", (unsigned long long)id);
		snprintf(key, sizeof(key), "site-a/data/%s", name);
		struct journal_entry entry = an_entry(2, name, file.ino, key);

		if (!bulk->all_proven && i % 8 == 0) {
			file.work = JOURNAL_WAITING;
			file.since_ms = file.due_ms = (int64_t)i;
		}
		journal_put_file(txn, &file);
		journal_put_entry(txn, &entry);
	}
	return 0;
}

static void a_full_map_is_enlarged(void **state)
{
	struct fixture *fixture = *state;
	struct bulk bulk = {.first = 1, .n = 2000};

	fixture_close(fixture);
	fixture_open_sized(fixture, 160 << 10);
	assert_int_equal(journal_update(fixture->journal, put_bulk, &bulk), 0);
	assert_true(bulk.runs > 2);
	assert_int_equal(get_counts(fixture).files, 2000);
	check_journal(fixture);
	bulk.first = 2001;
	assert_int_equal(journal_update(fixture->journal, put_bulk, &bulk), 0);
	assert_int_equal(get_counts(fixture).files, 4000);
	check_journal(fixture);
	fixture_close(fixture);
	assert_false(fixture_open_sized(fixture, 160 << 10)); /* less than is there */
	assert_int_equal(get_counts(fixture).files, 4000);
	bulk.first = 4001;
	assert_int_equal(journal_update(fixture->journal, put_bulk, &bulk), 0);
	check_journal(fixture);
}

/* --- measuring --- */

static long rss_anon_kib(void)
{
	_cleanup_buf_ struct buf status = {0};

	assert_int_equal(read_file(AT_FDCWD, "/proc/self/status", &status), 0);
	const char *line = strstr(status.data, "RssAnon:");

	assert_non_null(line);
	return strtol(line + strlen("RssAnon:"), NULL, 10);
}

static void measure_order(uint64_t n, bool shuffled)
{
	void *state = NULL;
	uint64_t n_pages = 0;
	struct bulk bulk = {.n = 1000, .shuffled = shuffled, .all_proven = true};

	assert_int_equal(fixture_setup(&state), 0);
	struct fixture *fixture = state;

	if (!fixture || n == 0)
		return;
	int64_t start = clock_ms();

	for (; bulk.first < n; bulk.first += bulk.n)
		assert_int_equal(journal_update(fixture->journal, put_bulk, &bulk), 0);
	int64_t ms = clock_ms() - start;

	assert_int_equal(journal_pages(fixture->journal, &n_pages), 0);
	printf("%s: %llu files, %llu bytes of B-tree a file, %lld updates of 1,000 files in %lld ms, %lld files/s\n",
		shuffled ? "random order" : "in order", (unsigned long long)n,
		(unsigned long long)(n_pages * 4096 / n), (long long)(n / 1000), (long long)ms,
		(long long)n * 1000 / (ms ? ms : 1));
	printf("  %ld KiB of anonymous memory; ", rss_anon_kib());
	fixture_close(fixture);
	start = clock_ms();
	fixture_open(fixture);
	printf("opened in %lld ms; ", (long long)(clock_ms() - start));
	start = clock_ms();
	assert_int_equal(store_probe(fixture->directory, journal_check_record), 0);
	printf("after a crash %lld ms more\n", (long long)(clock_ms() - start));
	assert_int_equal(fixture_teardown(&state), 0);
}

static void speed_and_size(void **state)
{
	(void)state;
	measure_order(20000, false);
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_stored_file_comes_back),
		TEST(counts_and_indices_follow_every_change),
		TEST(oldest_and_next_due_are_the_smallest),
		TEST(an_entry_of_the_largest_size_comes_back),
		TEST(long_keys_are_told_apart),
		TEST(keys_that_share_a_range_are_compared),
		TEST(what_cannot_be_stored_is_refused),
		TEST(block_digests_come_back_and_go),
		TEST(nothing_of_a_failed_update_stays),
		TEST(a_view_changes_nothing),
		TEST(a_full_map_is_enlarged),
		cmocka_unit_test(speed_and_size),
	};
#undef TEST
	uint64_t n;

	if (argc == 3 && strcmp(argv[1], "--measure") == 0 && parse_u64(argv[2], 1000, 1 << 20, &n) == 0) {
		measure_order(n, false);
		measure_order(n, true);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
