/* Commands that work with several threads at once and verify what they find. The result is how often something was
 * wrong; it is 0 on any filesystem that keeps its word. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/posix/context.h"

#define THREADS_MAX 16
#define RECORD_BYTES 64
#define REGION_BYTES 8192

struct worker {
	pthread_t thread;
	int number;
	long rounds;
	long wrong;
	const char *path;
};

static void record_fill(char record[static RECORD_BYTES], int number, long round)
{
	memset(record, '.', RECORD_BYTES);
	snprintf(record, RECORD_BYTES, "%d %ld", number, round);
	record[strlen(record)] = ' ';
	record[RECORD_BYTES - 1] = '\n';
}

static void *work_append(void *arg)
{
	struct worker *worker = arg;
	_cleanup_close_ int fd = open(worker->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
	char record[RECORD_BYTES];

	for (long i = 0; i < worker->rounds; i++) {
		record_fill(record, worker->number, i);
		worker->wrong += write(fd, record, RECORD_BYTES) != RECORD_BYTES;
	}
	return NULL;
}

/* Own region of a shared file: written and read back, over and over. */
static void *work_region(void *arg)
{
	struct worker *worker = arg;
	_cleanup_close_ int fd = open(worker->path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	char wrote[REGION_BYTES], found[REGION_BYTES];
	off_t offset = worker->number * (off_t)(REGION_BYTES - 100);

	for (long i = 0; i < worker->rounds; i++) {
		words_pattern(wrote, REGION_BYTES - 100, (unsigned)(worker->number * 1000 + i));
		worker->wrong += pwrite(fd, wrote, REGION_BYTES - 100, offset) != REGION_BYTES - 100;
		worker->wrong += pread(fd, found, REGION_BYTES - 100, offset) != REGION_BYTES - 100;
		worker->wrong += memcmp(wrote, found, REGION_BYTES - 100) != 0;
	}
	return NULL;
}

/* The first replaces a file by renaming a new one over it; the others must always find a whole one. */
static void *work_replace(void *arg)
{
	struct worker *worker = arg;
	char name[256], data[REGION_BYTES];

	snprintf(name, sizeof(name), "%s.new", worker->path);
	for (long i = 0; i < worker->rounds; i++) {
		_cleanup_close_ int fd = -1;
		char byte = (char)('a' + i % 26);

		if (worker->number == 0) {
			fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
			memset(data, byte, sizeof(data));
			worker->wrong += write(fd, data, sizeof(data)) != sizeof(data);
			worker->wrong += rename(name, worker->path) < 0;
			continue;
		}
		fd = open(worker->path, O_RDONLY | O_CLOEXEC);
		worker->wrong += read(fd, data, sizeof(data)) != sizeof(data);
		for (size_t at = 1; at < sizeof(data); at++)
			worker->wrong += data[at] != data[0];
	}
	return NULL;
}

/* Own files in a shared directory: made, found, renamed, removed; every fourth stays. */
static void *work_churn(void *arg)
{
	struct worker *worker = arg;
	char name[256], other[256];
	struct stat st;

	for (long i = 0; i < worker->rounds; i++) {
		_cleanup_close_ int fd = -1;

		snprintf(name, sizeof(name), "%s/%d-%ld", worker->path, worker->number, i);
		snprintf(other, sizeof(other), "%s/%d-%ld-renamed", worker->path, worker->number, i);
		fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		worker->wrong += fd < 0 || write(fd, name, strlen(name)) != (ssize_t)strlen(name);
		worker->wrong += stat(name, &st) < 0 || st.st_size != (off_t)strlen(name);
		worker->wrong += rename(name, other) < 0 || access(name, F_OK) == 0 || access(other, F_OK) < 0;
		if (i % 4)
			worker->wrong += unlink(other) < 0 || access(other, F_OK) == 0;
	}
	return NULL;
}

/* All make and remove the same names: exactly one may win each time. Counted in one file by O_APPEND. */
static void *work_race(void *arg)
{
	struct worker *worker = arg;
	char name[256];

	for (long i = 0; i < worker->rounds; i++) {
		_cleanup_close_ int fd = -1, log = -1;

		snprintf(name, sizeof(name), "%s-%ld", worker->path, i);
		fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		if (fd < 0) {
			worker->wrong += errno != EEXIST;
			continue;
		}
		log = open(worker->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
		worker->wrong += write(log, ".", 1) != 1;
	}
	return NULL;
}

static long workers_run(struct context *context, char **argv, void *(*work)(void *))
{
	struct worker workers[THREADS_MAX] = {};
	int count = (int)words_number(context, argv[2], 4);
	long wrong = 0;

	for (int i = 0; i < count && i < THREADS_MAX; i++) {
		workers[i].number = i;
		workers[i].rounds = (long)words_number(context, argv[3], 100);
		workers[i].path = argv[1];
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
			abort();
	}
	for (int i = 0; i < count && i < THREADS_MAX; i++) {
		pthread_join(workers[i].thread, NULL);
		wrong += workers[i].wrong;
	}
	return wrong;
}

/* Every record once, whole, each thread's in its order. */
static long records_check(const char *path, long per_thread)
{
	_cleanup_fclose_ FILE *in = fopen(path, "re");
	long next[THREADS_MAX] = {}, wrong = 0, round;
	char line[RECORD_BYTES + 1];
	int number;

	if (!in)
		return -1;
	while (fgets(line, sizeof(line), in)) {
		if (strlen(line) != RECORD_BYTES || sscanf(line, "%d %ld", &number, &round) != 2 || number < 0 ||
			number >= THREADS_MAX || round != next[number])
			wrong++;
		else
			next[number]++;
	}
	for (int i = 0; i < THREADS_MAX; i++)
		wrong += next[i] != 0 && next[i] != per_thread;
	return wrong;
}

static long cmd_append(struct context *context, char **argv)
{
	long wrong = workers_run(context, argv, work_append);

	return wrong ?: records_check(argv[1], (long)words_number(context, argv[3], 100));
}

static long cmd_region(struct context *context, char **argv)
{
	return workers_run(context, argv, work_region);
}

static long cmd_replace(struct context *context, char **argv)
{
	return workers_run(context, argv, work_replace);
}

static long cmd_churn(struct context *context, char **argv)
{
	return workers_run(context, argv, work_churn);
}

static long cmd_race(struct context *context, char **argv)
{
	return workers_run(context, argv, work_race);
}

const struct command cmd_load_commands[] = {
	{"threads_append", 3, cmd_append, "PATH THREADS ROUNDS"},
	{"threads_region", 3, cmd_region, "PATH THREADS ROUNDS"},
	{"threads_replace", 3, cmd_replace, "PATH THREADS ROUNDS (PATH exists)"},
	{"threads_churn", 3, cmd_churn, "DIRECTORY THREADS ROUNDS"},
	{"threads_race", 3, cmd_race, "PATH THREADS ROUNDS"},
	{},
};
