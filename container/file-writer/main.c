/* file-writer: stands in for the vendor's program, which writes files into a directory and knows nothing of ebbfs.
 *
 * Files are due at a steady rate; whichever thread is free takes the next one. A file that is finished, which means
 * that its last close(2), or the rename(2) after it, has returned, gets its line in the manifest. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>

#include "container/file-writer/options.h"
#include "container/file-writer/tally.h"
#include "container/file-writer/write.h"
#include "uploader/base/config.h"
#include "uploader/base/units.h"

struct writer {
	struct options options;
	struct tally tally;
	atomic_uint_fast64_t next; /* number of the next file */
	int64_t started;           /* tally_clock() */
	uint64_t first_seed;
	int stop_fd;     /* eventfd: readable from the moment that all are to stop */
	int done_fd;     /* eventfd: counts the threads that ended */
	int manifest_fd; /* or -1 */
};

/* Waits until the file is due. False when it is time to stop. */
static bool await_turn(const struct writer *writer, uint64_t number)
{
	uint64_t rate = writer->options.rate;
	int64_t due = writer->started +
		      (rate ? (int64_t)(number / rate * NSEC_PER_SEC + number % rate * NSEC_PER_SEC / rate) : 0);
	int64_t wait = due - tally_clock();
	const struct timespec timeout = {
		.tv_sec = wait > 0 ? wait / NSEC_PER_SEC : 0,
		.tv_nsec = wait > 0 ? wait % NSEC_PER_SEC : 0,
	};
	struct pollfd stop = {.fd = writer->stop_fd, .events = POLLIN};

	return ppoll(&stop, 1, &timeout, NULL) == 0;
}

static unsigned int pick_pattern(const struct options *options, uint64_t number)
{
	unsigned int small = options->patterns & (PATTERN_PLAIN | PATTERN_RENAME | PATTERN_APPEND);
	uint64_t every = options->large_every;

	if (!small || (options->patterns & PATTERN_LARGE && every && number % every == every - 1))
		return PATTERN_LARGE;
	for (unsigned int turn = (unsigned int)(number % 3);; turn = (turn + 1) % 3)
		if (small & 1U << turn)
			return 1U << turn;
}

/* Where a file lies: DATE/HOUR/ unless flat, with a name that no other run of this program gives. */
static int make_path(struct writer *writer, struct job *job, uint64_t number)
{
	char directory[32] = "", *slash;
	struct timespec now;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &now);
	if (!writer->options.flat && gmtime_r(&now.tv_sec, &tm))
		strftime(directory, sizeof(directory), "%Y-%m-%d/%H/", &tm);
	if (snprintf(job->path, sizeof(job->path), "%s/%sdata-%016llx-%06llu.bin", writer->options.dir, directory,
		    (unsigned long long)writer->first_seed, (unsigned long long)number) >= (int)sizeof(job->path)) {
		errno = ENAMETOOLONG;
		return (int)tally_note(&writer->tally, TALLY_OPEN, tally_clock(), -1, writer->options.dir);
	}
	for (slash = job->path + strlen(writer->options.dir) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		int64_t started = tally_clock();
		int r = mkdir(job->path, 0755);

		r = (int)tally_note(
			&writer->tally, TALLY_MKDIR, started, r < 0 && errno == EEXIST ? 0 : r, job->path);
		*slash = '/';
		if (r < 0)
			return -1;
	}
	return 0;
}

static void note_in_manifest(struct writer *writer, const struct job *job)
{
	char line[sizeof(job->path) + 64];
	int length = snprintf(line, sizeof(line), "%llu %llu %s\n", (unsigned long long)job->seed,
		(unsigned long long)job->size, job->path + strlen(writer->options.dir) + 1);

	if (writer->manifest_fd < 0)
		return;
	int64_t started = tally_clock();
	ssize_t written = write(writer->manifest_fd, line, (size_t)length);

	if (written >= 0 && written < length) {
		errno = ENOSPC;
		written = -1;
	}
	tally_note(&writer->tally, TALLY_WRITE, started, written, writer->options.manifest);
}

static void *run_thread(void *arg)
{
	struct writer *writer = arg;
	const struct options *options = &writer->options;
	struct job job = {.options = options, .tally = &writer->tally};

	for (;;) {
		uint64_t number = atomic_fetch_add(&writer->next, 1);

		if ((options->count && number >= options->count) || !await_turn(writer, number))
			break;
		job.seed = writer->first_seed + number;
		job.pattern = pick_pattern(options, number);
		job.size = job.pattern == PATTERN_LARGE ? options->large_size : options->size;
		if (make_path(writer, &job, number) == 0 && write_file(&job) == 0)
			note_in_manifest(writer, &job);
	}
	eventfd_write(writer->done_fd, 1);
	return NULL;
}

/* Returns when every thread has ended by itself, or when a signal or the time came: then they are told to. */
static void await_end(const struct writer *writer, int signal_fd)
{
	struct pollfd fds[] = {{.fd = signal_fd, .events = POLLIN}, {.fd = writer->done_fd, .events = POLLIN}};
	uint64_t ended = 0;

	while (ended < writer->options.threads) {
		int64_t left_ms = -1;
		eventfd_t value;

		if (writer->options.for_ms)
			left_ms = writer->options.for_ms - (tally_clock() - writer->started) / 1000000;
		if (writer->options.for_ms && left_ms <= 0)
			break;
		if (poll(fds, ARRAY_SIZE(fds), left_ms > 60000 ? 60000 : (int)left_ms) < 0 && errno != EINTR)
			break;
		if (fds[0].revents)
			break;
		if (fds[1].revents && eventfd_read(writer->done_fd, &value) == 0)
			ended += value;
	}
	eventfd_write(writer->stop_fd, 1);
}

static int run(struct writer *writer, int signal_fd)
{
	_cleanup_free_ pthread_t *threads = calloc(writer->options.threads, sizeof(*threads));
	uint64_t n = 0;

	if (!threads)
		return -ENOMEM;
	writer->started = tally_clock();
	while (n < writer->options.threads && pthread_create(&threads[n], NULL, run_thread, writer) == 0)
		n++;
	writer->options.threads = n;
	await_end(writer, signal_fd);
	for (uint64_t i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	return n ? 0 : -EAGAIN;
}

int main(int argc, char **argv)
{
	struct writer writer = {.manifest_fd = -1, .first_seed = (uint64_t)wall_ns()};
	int r = options_load(&writer.options, argc, argv);
	sigset_t signals;

	if (r != 0)
		return r < 0 ? EXIT_USAGE : EXIT_DONE;
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);

	_cleanup_close_ int signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
	_cleanup_close_ int stop_fd = eventfd(0, EFD_CLOEXEC);
	_cleanup_close_ int done_fd = eventfd(0, EFD_CLOEXEC);
	_cleanup_close_ int manifest_fd = -1;

	if (writer.options.manifest[0]) {
		manifest_fd = open(writer.options.manifest, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
		if (manifest_fd < 0) {
			fprintf(stderr, "file-writer: %s: %s\n", writer.options.manifest, strerror(errno));
			return EXIT_FAILED;
		}
	}
	writer.stop_fd = stop_fd;
	writer.done_fd = done_fd;
	writer.manifest_fd = manifest_fd;
	if (signal_fd < 0 || stop_fd < 0 || done_fd < 0 || (r = run(&writer, signal_fd)) < 0) {
		fprintf(stderr, "file-writer: cannot start: %s\n", strerror(r < 0 ? -r : errno));
		return EXIT_FAILED;
	}
	tally_print(&writer.tally, (double)(tally_clock() - writer.started) / (double)NSEC_PER_SEC);
	return atomic_load(&writer.tally.failures) ? EXIT_FAILED : EXIT_DONE;
}
