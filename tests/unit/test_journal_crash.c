/* The journal against what befalls it: SIGKILL at any moment, damaged and foreign files, a second owner, a full
 * volume, many threads. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "journal_fixture.h"
#include "uploader/base/fdio.h"
#include "uploader/base/units.h"

/* --- a workload that touches everything, from a number --- */

struct workload {
	uint64_t seed;
	uint64_t n_inos; /* inodes used: 1 … n_inos */
	int n_changes;
	bool blocks;
};

static uint64_t next(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005U + 1442695040888963407U;
	return *seed >> 33;
}

static void change(struct journal_txn *txn, uint64_t *seed, const struct workload *workload)
{
	static uint8_t digests[JOB_BLOCKS_MAX][JOB_SHA256_BYTES];
	uint64_t ino = 1 + next(seed) % workload->n_inos, what = next(seed) % 8;
	char name[32], key[64];

	snprintf(name, sizeof(name), "n%d", (int)(next(seed) % workload->n_inos));
	snprintf(key, sizeof(key), "k/n%d", (int)(next(seed) % workload->n_inos));
	if (what == 0)
		journal_delete_file(txn, ino);
	if (what == 1)
		journal_delete_entry(txn, next(seed) % 4, name);
	if (what == 2 && workload->blocks) {
		memset(digests, 0x55, sizeof(digests));
		journal_put_blocks(txn, ino, (uint32_t)(next(seed) % 300), digests);
	}
	if (what == 3 || what == 4 || what == 5) {
		struct journal_file file = a_file(ino);

		file.generation = 1 + next(seed) % 2;
		file.work = (enum journal_work)(next(seed) % 3);
		file.since_ms = (int64_t)next(seed) - (1LL << 30);
		file.due_ms = (int64_t)next(seed) - (1LL << 30);
		journal_put_file(txn, &file);
	}
	if (what >= 6) {
		struct journal_entry entry = an_entry(next(seed) % 4, name, ino, next(seed) % 4 ? key : "");

		journal_put_entry(txn, &entry);
	}
}

static int run_workload(struct journal_txn *txn, void *arg)
{
	const struct workload *workload = arg;
	uint64_t seed = workload->seed;

	for (int i = 0; i < workload->n_changes; i++)
		change(txn, &seed, workload);
	return 0;
}

static void random_changes_leave_everything_in_step(void **state)
{
	struct fixture *fixture = *state;

	for (uint64_t i = 0; i < 60; i++) {
		struct workload workload = {.seed = i, .n_inos = 40, .n_changes = 50, .blocks = true};

		assert_int_equal(journal_update(fixture->journal, run_workload, &workload), 0);
		check_journal(fixture);
	}
}

/* --- crashes --- */

#define N_KILLS 100

static void update_until_killed(const char *directory, uint64_t seed, int ready_fd)
{
	struct journal *journal;
	bool fresh;

	if (journal_open_sized(directory, 256 << 10, &journal, &fresh) < 0 || write(ready_fd, "", 1) != 1)
		_exit(1);
	for (;; seed++) {
		struct workload workload = {.seed = seed, .n_inos = 1000, .n_changes = 100, .blocks = true};

		if (journal_update(journal, run_workload, &workload) != 0)
			_exit(2);
	}
}

static void run_and_kill(const struct fixture *fixture, uint64_t round)
{
	int ready[2], status;
	char byte;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		update_until_killed(fixture->directory, round * 1000, ready[1]);
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	usleep((useconds_t)(round * 7919 % 10000));
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void counts_and_indices_survive_sigkill(void **state)
{
	struct fixture *fixture = *state;

	for (uint64_t round = 1; round <= N_KILLS; round++) {
		run_and_kill(fixture, round);
		assert_int_equal(fixture_open(fixture), false);
		check_journal(fixture);
		fixture_close(fixture);
	}
	assert_int_equal(count_files(fixture->directory, STORE_DATA_NAME ".damaged-", NULL, 0), 0);
}

/* --- one owner --- */

static int open_elsewhere(const struct fixture *fixture)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		struct journal *journal;
		bool fresh;

		_exit(-journal_open(fixture->directory, &journal, &fresh));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return -WEXITSTATUS(status);
}

static void a_second_owner_is_refused(void **state)
{
	struct fixture *fixture = *state;
	struct journal *second = NULL;
	bool fresh;

	fixture_open(fixture);
	put_file(fixture, a_file(1));
	assert_int_equal(open_elsewhere(fixture), -EBUSY);
	assert_int_equal(journal_open(fixture->directory, &second, &fresh), -EBUSY);
	assert_null(second);
	put_file(fixture, a_file(2));
	check_journal(fixture);
	fixture_close(fixture);
	assert_int_equal(open_elsewhere(fixture), 0);
	assert_int_equal(journal_open("/nonexistent/ebbfs", &second, &fresh), -ENOENT);
}

static void make_file(const struct fixture *fixture, const char *name, const void *bytes, size_t length)
{
	char path[PATH_MAX];

	in_directory(fixture, name, path);
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write_full(fd, bytes, length), 0);
}

/* Holds LMDB's lock file as somebody does who opened it, in whatever PID namespace. */
static pid_t hold_lock_file(const struct fixture *fixture)
{
	struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
	int ready[2];
	char path[PATH_MAX], byte;

	in_directory(fixture, STORE_LOCK_NAME, path);
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid_t pid = fork();

	if (pid == 0) {
		int fd = open(path, O_RDWR | O_CLOEXEC);

		if (fd < 0 || fcntl(fd, F_SETLK, &lock) < 0 || write(ready[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return pid;
}

static void a_leftover_lock_file_is_no_hindrance(void **state)
{
	struct fixture *fixture = *state;
	static uint8_t garbage[8192];
	int status;

	fill(garbage, sizeof(garbage), 3);
	fixture_open(fixture);
	put_file(fixture, a_file(1));
	fixture_close(fixture);
	make_file(fixture, STORE_LOCK_NAME, garbage, sizeof(garbage));
	pid_t holder = hold_lock_file(fixture);

	assert_false(fixture_open(fixture));
	assert_int_equal(get_counts(fixture).files, 1);
	check_journal(fixture);
	assert_int_equal(kill(holder, SIGKILL), 0);
	assert_int_equal(waitpid(holder, &status, 0), holder);
}

/* --- damage --- */

static void make_store_of(struct fixture *fixture, struct workload workload)
{
	fixture_open(fixture);
	assert_int_equal(journal_update(fixture->journal, run_workload, &workload), 0);
	fixture_close(fixture);
}

static void make_store(struct fixture *fixture)
{
	make_store_of(fixture, (struct workload){.seed = 1, .n_inos = 300, .n_changes = 4000, .blocks = true});
}

static off_t data_size(const struct fixture *fixture)
{
	char path[PATH_MAX];
	struct stat st;

	in_directory(fixture, STORE_DATA_NAME, path);
	assert_int_equal(stat(path, &st), 0);
	return st.st_size;
}

static void overwrite(const struct fixture *fixture, const void *bytes, size_t length, off_t offset)
{
	char path[PATH_MAX];

	in_directory(fixture, STORE_DATA_NAME, path);
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, length, offset), (ssize_t)length);
}

static void truncate_data(const struct fixture *fixture, off_t size)
{
	char path[PATH_MAX];

	in_directory(fixture, STORE_DATA_NAME, path);
	assert_int_equal(truncate(path, size), 0);
}

/* As after an end without journal_close(). */
static void mark_unclean(const struct fixture *fixture)
{
	make_file(fixture, JOURNAL_LOCK_NAME, "open\n", 5);
}

/* Opened fresh, with the damaged file beside it; works. */
static void assert_moved_aside(struct fixture *fixture, off_t size)
{
	char path[PATH_MAX], wanted[PATH_MAX];
	struct stat st;

	assert_true(fixture_open(fixture));
	assert_int_equal(count_files(fixture->directory, STORE_DATA_NAME ".damaged-", path, sizeof(path)), 1);
	assert_non_null(journal_moved_aside(fixture->journal));
	in_directory(fixture, journal_moved_aside(fixture->journal), wanted);
	assert_string_equal(path, wanted);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, size);
	assert_int_equal(get_counts(fixture).files, 0);
	put_file(fixture, a_file(1));
	check_journal(fixture);
	fixture_close(fixture);
	assert_false(fixture_open(fixture));
	assert_null(journal_moved_aside(fixture->journal));
	assert_int_equal(get_counts(fixture).files, 1);
	fixture_close(fixture);
	assert_int_equal(unlink(path), 0);
	in_directory(fixture, STORE_DATA_NAME, path);
	assert_int_equal(unlink(path), 0);
}

static void a_truncated_store_is_moved_aside(void **state)
{
	struct fixture *fixture = *state;
	static const off_t sizes[] = {1, 100, 152, 4096, 4097, 4096 + 160, 8192, 8193, 12288, 65536};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		make_store(fixture);
		assert_true(data_size(fixture) > sizes[i]);
		truncate_data(fixture, sizes[i]);
		assert_moved_aside(fixture, sizes[i]);
	}
	make_store(fixture);
	off_t most = data_size(fixture) / 2;

	truncate_data(fixture, most);
	assert_moved_aside(fixture, most);
}

static void a_foreign_file_is_moved_aside(void **state)
{
	struct fixture *fixture = *state;
	static uint8_t garbage[64 << 10];
	static const uint32_t magic = 0x12345678;

	fill(garbage, sizeof(garbage), 9);
	make_file(fixture, STORE_DATA_NAME, garbage, sizeof(garbage));
	assert_moved_aside(fixture, sizeof(garbage));
	memset(garbage, 0, sizeof(garbage));
	make_file(fixture, STORE_DATA_NAME, garbage, sizeof(garbage));
	assert_moved_aside(fixture, sizeof(garbage));
	make_store(fixture);
	off_t size = data_size(fixture);

	overwrite(fixture, &magic, sizeof(magic), 16); /* behind the page header */
	assert_moved_aside(fixture, size);
	make_file(fixture, STORE_DATA_NAME, "", 0);
	assert_true(fixture_open(fixture));
	assert_null(journal_moved_aside(fixture->journal));
}

/* One page is bad, in one of three ways, and the last owner was killed. Returns whether the store was moved aside. */
static bool open_with_bad_page(struct fixture *fixture, const struct buf *good, off_t page_number)
{
	static uint8_t page[4096];
	char path[PATH_MAX];

	make_file(fixture, STORE_DATA_NAME, good->data, good->length);
	memset(page, page_number % 3 == 0 ? 0xff : 0, sizeof(page));
	if (page_number % 3 == 2)
		fill(page, sizeof(page), (uint64_t)page_number);
	overwrite(fixture, page, sizeof(page), page_number * (off_t)sizeof(page));
	mark_unclean(fixture);
	bool fresh = fixture_open(fixture);

	assert_int_equal(fresh, journal_moved_aside(fixture->journal) != NULL);
	check_journal(fixture);
	fixture_close(fixture);
	while (count_files(fixture->directory, STORE_DATA_NAME ".damaged-", path, sizeof(path)) > 0)
		assert_int_equal(unlink(path), 0);
	return fresh;
}

/* Free pages may be anything, and a digest looks like any other: then the store opens as it was. Nothing ever crashes,
 * and what opens agrees with itself. */
static void a_bad_page_is_found_after_a_crash(void **state)
{
	struct fixture *fixture = *state;
	static const struct {
		struct workload workload;
		int percent_wanted;
	} cases[] = {
		{{.seed = 1, .n_inos = 2000, .n_changes = 20000}, 75}, /* hardly a page that is in no tree */
		{{.seed = 1, .n_inos = 300, .n_changes = 4000, .blocks = true}, 10},
	};

	for (size_t c = 0; c < ARRAY_SIZE(cases); c++) {
		_cleanup_buf_ struct buf good = {.max = 64 << 20};
		int n_found = 0, n_pages = 0;
		char path[PATH_MAX];

		make_store_of(fixture, cases[c].workload);
		in_directory(fixture, STORE_DATA_NAME, path);
		assert_int_equal(read_file(AT_FDCWD, path, &good), 0);
		off_t n = (off_t)good.length / 4096;

		for (off_t i = 2; i < n; i += n / 50 + 1, n_pages++)
			n_found += open_with_bad_page(fixture, &good, i);
		print_message("found %d of %d bad pages\n", n_found, n_pages);
		assert_true(n_found * 100 >= n_pages * cases[c].percent_wanted);
		assert_int_equal(unlink(path), 0);
	}
}

static int put_schema(struct journal_txn *txn, void *arg)
{
	struct record_key key;
	struct buf *bytes = arg;

	record_key_text(&key, JOURNAL_META_SCHEMA);
	return store_put(&txn->store, STORE_META, &key, (struct store_bytes){bytes->data, bytes->length});
}

static void a_newer_schema_is_refused_and_kept(void **state)
{
	struct fixture *fixture = *state;
	static const struct {
		uint8_t version;
		uint32_t schema;
		int wanted;
	} cases[] = {{1, JOURNAL_SCHEMA + 1, -EPROTO}, {2, JOURNAL_SCHEMA, -EPROTO}, {1, JOURNAL_SCHEMA, 0}};
	_cleanup_buf_ struct buf bytes = {0};

	for (int unclean = 0; unclean < 2; unclean++) {
		for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
			bool fresh = true;

			assert_false(fixture->journal);
			fixture_open(fixture);
			assert_int_equal(record_encode_schema(&bytes, cases[i].schema), 0);
			bytes.data[0] = (char)cases[i].version;
			assert_int_equal(journal_update(fixture->journal, put_schema, &bytes), 0);
			put_file(fixture, a_file(1));
			fixture_close(fixture);
			if (unclean)
				mark_unclean(fixture);
			int r = journal_open(fixture->directory, &fixture->journal, &fresh);

			assert_int_equal(r, cases[i].wanted);
			assert_int_equal(count_files(fixture->directory, STORE_DATA_NAME ".", NULL, 0), 0);
			if (r == 0)
				assert_int_equal(get_counts(fixture).files, 1);
			fixture_close(fixture);
			if (r < 0) {
				char path[PATH_MAX];

				in_directory(fixture, STORE_DATA_NAME, path);
				assert_int_equal(unlink(path), 0);
			}
		}
	}
}

static int put_bad_file(struct journal_txn *txn, void *arg)
{
	(void)arg;
	struct record_key key;

	record_key_ino(&key, 1);
	return store_put(&txn->store, STORE_FILE, &key, (struct store_bytes){"\x01\xff", 2});
}

/* Read as damage; the next opening, though the journal was closed, looks at everything. */
static void a_bad_record_is_eio_and_remembered(void **state)
{
	struct fixture *fixture = *state;
	struct journal_file file = a_file(1), read;

	fixture_open(fixture);
	put_file(fixture, file);
	assert_int_equal(journal_update(fixture->journal, put_bad_file, NULL), 0);
	assert_int_equal(get_file(fixture, 1, &read), -EIO);
	assert_int_equal(do_put_file(fixture, &(struct call){.file = &file}), -EIO);
	fixture_close(fixture);
	assert_true(fixture_open(fixture));
	assert_non_null(journal_moved_aside(fixture->journal));
}

/* --- the volume --- */

static void an_idle_journal_is_small(void **state)
{
	struct fixture *fixture = *state;
	char path[PATH_MAX];
	struct stat st;

	fixture_open(fixture);
	in_directory(fixture, STORE_DATA_NAME, path);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_blocks * 512 <= 16 << 20);
	assert_true(st.st_blocks * 512 >= 8 << 20);
	assert_true(st.st_size < 1 << 20);
}

static void fill_volume(const char *directory)
{
	static const uint8_t bytes[64 << 10] = {1};
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/filler", directory);
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	while (write(fd, bytes, sizeof(bytes)) > 0)
		;
	assert_int_equal(errno, ENOSPC);
}

static void a_full_volume_does_not_stop_it(void **state)
{
	struct fixture *fixture = *state;
	char volume[PATH_MAX];

	if (unshare(CLONE_NEWNS) < 0) {
		print_message("SKIPPED: no mount namespace to be had here (%s)\n", strerror(errno));
		skip();
	}
	assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	in_directory(fixture, "", volume);
	assert_int_equal(mount("tmpfs", volume, "tmpfs", 0, "size=24m"), 0);
	fixture_open(fixture);
	put_file(fixture, a_file(1));
	fill_volume(fixture->directory);
	for (uint64_t i = 0; i < 200; i++) {
		struct workload workload = {.seed = i, .n_inos = 5000, .n_changes = 100};

		assert_int_equal(journal_update(fixture->journal, run_workload, &workload), 0);
	}
	check_journal(fixture);

	/* More than was set aside is -ENOSPC, and nothing of it stays. */
	struct workload much = {.seed = 1000, .n_inos = 1 << 20, .n_changes = 200000};
	struct journal_counts before = get_counts(fixture);

	assert_int_equal(journal_update(fixture->journal, run_workload, &much), -ENOSPC);
	struct journal_counts after = get_counts(fixture);

	assert_memory_equal(&before, &after, sizeof(before));
	check_journal(fixture);
	put_file(fixture, a_file(2));
	fixture_close(fixture);
	assert_false(fixture_open(fixture));
	check_journal(fixture);
	fixture_close(fixture);
	assert_int_equal(umount2(volume, 0), 0);
}

/* --- threads --- */

struct threads {
	struct fixture *fixture;
	atomic_bool stop;
	atomic_int n_views;
};

static void *view_until_stopped(void *arg)
{
	struct threads *threads = arg;
	char complaint[JOURNAL_COMPLAINT_MAX];

	while (!atomic_load(&threads->stop)) {
		struct call call = {.complaint = complaint};

		if (do_check(threads->fixture, &call) != 0)
			return complaint[0] ? strdup(complaint) : strdup("?");
		atomic_fetch_add(&threads->n_views, 1);
	}
	return NULL;
}

static void *update_some(void *arg)
{
	struct threads *threads = arg;

	for (uint64_t i = 0; i < 100; i++) {
		struct workload workload = {.seed = i, .n_inos = 300 + 30 * i, .n_changes = 50};

		if (journal_update(threads->fixture->journal, run_workload, &workload) != 0)
			return strdup("an update failed");
	}
	return NULL;
}

/* With a map so small that it moves under them again and again. */
static void views_see_whole_states_beside_updates(void **state)
{
	struct fixture *fixture = *state;
	struct threads threads = {.fixture = fixture};
	pthread_t viewers[2], updaters[2];
	void *result;

	fixture_open_sized(fixture, 160 << 10);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pthread_create(&viewers[i], NULL, view_until_stopped, &threads), 0);
		assert_int_equal(pthread_create(&updaters[i], NULL, update_some, &threads), 0);
	}
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pthread_join(updaters[i], &result), 0);
		assert_null(result);
	}
	atomic_store(&threads.stop, true);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pthread_join(viewers[i], &result), 0);
		assert_null(result);
	}
	assert_true(atomic_load(&threads.n_views) > 1);
	check_journal(fixture);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup_empty, fixture_teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			random_changes_leave_everything_in_step, fixture_setup, fixture_teardown),
		TEST(counts_and_indices_survive_sigkill),
		TEST(a_second_owner_is_refused),
		TEST(a_leftover_lock_file_is_no_hindrance),
		TEST(a_truncated_store_is_moved_aside),
		TEST(a_foreign_file_is_moved_aside),
		TEST(a_bad_page_is_found_after_a_crash),
		TEST(a_newer_schema_is_refused_and_kept),
		TEST(a_bad_record_is_eio_and_remembered),
		TEST(an_idle_journal_is_small),
		TEST(views_see_whole_states_beside_updates),
		TEST(a_full_volume_does_not_stop_it),
	};
#undef TEST

	return cmocka_run_group_tests(tests, NULL, NULL);
}
