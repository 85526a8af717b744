/* The journal against what befalls it: SIGKILL at any moment, a second owner, a full volume, many threads. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "journal_fixture.h"

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
		TEST(an_idle_journal_is_small),
		TEST(views_see_whole_states_beside_updates),
		TEST(a_full_volume_does_not_stop_it),
	};
#undef TEST

	return cmocka_run_group_tests(tests, NULL, NULL);
}
