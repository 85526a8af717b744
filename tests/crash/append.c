/* The kind "append": two writers append records to the same logs, each RECORDS to a log before it goes to the next.
 * In the end every record of both is there once, whole, and in its writer's order. Old logs are removed and their names
 * used again, so that the bucket does not grow; neither writer gets more than LEAD_MAX logs ahead of the other. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/crash/writer.h"
#include "uploader/base/cleanup.h"

#define RECORDS 400
#define RECORD_BYTES 64 /* divides a page: readers beside a writer may see a write cut at a page, on any filesystem */
#define LOG_NAMES 16
#define LEAD_MAX 3

struct record {
	uint32_t writer, number;
	uint64_t log;
	unsigned char filler[RECORD_BYTES - 16];
};

_Static_assert(sizeof(struct record) == RECORD_BYTES, "no holes");

static int fd = -1;
static uint32_t number; /* of the next record in the log at hand; which log that is: slot->progress */

static uint64_t filler_seed(uint32_t writer, uint64_t of_log, uint32_t of_record)
{
	return writer * 1000003ULL + of_log * 7919 + of_record;
}

static void log_path(char out[static 32], uint64_t which)
{
	snprintf(out, 32, "log%llu", (unsigned long long)which % LOG_NAMES);
}

/* Counts the records of each writer in a log; they must be whole and in order. */
static void read_log(uint64_t which, uint32_t counts[static 2])
{
	static struct record records[2 * RECORDS + 1];
	char path[32];

	log_path(path, which);
	_cleanup_close_ int log_fd = (int)DONE(open(path, O_RDONLY | O_CLOEXEC));
	size_t bytes = (size_t)DONE(pread(log_fd, records, sizeof(records), 0));

	CHECK(bytes % RECORD_BYTES == 0, "%s has %zu bytes: a record is torn", path, bytes);
	counts[0] = counts[1] = 0;
	for (size_t i = 0; i < bytes / RECORD_BYTES; i++) {
		const struct record *record = &records[i];

		CHECK(record->writer < 2 && record->log == which, "record %zu of %s is none", i, path);
		CHECK(record->number == counts[record->writer], "record %zu of %s: writer %u's number %u, must be %u",
			i, path, record->writer, record->number, counts[record->writer]);
		pattern_check(record->filler, filler_seed(record->writer, which, record->number), 0,
			sizeof(record->filler));
		counts[record->writer]++;
	}
	MUST(0, close(TAKE_FD(log_fd)));
}

/* Both are done with the logs before the one that either is at. */
static void check_finished(void)
{
	uint64_t mine = self.slot->progress, theirs = __atomic_load_n(&self.peer->progress, __ATOMIC_ACQUIRE);
	uint64_t finished = mine < theirs ? mine : theirs;
	uint32_t counts[2];

	if (finished == 0)
		return;
	note("check log%llu", (unsigned long long)finished - 1);
	read_log(finished - 1, counts);
	CHECK(counts[0] == RECORDS && counts[1] == RECORDS, "log%llu has %u and %u records, must have %d each",
		(unsigned long long)finished - 1, counts[0], counts[1], RECORDS);
}

static void check_own(void)
{
	uint32_t counts[2];

	note("check the log in hand");
	read_log(self.slot->progress, counts);
	CHECK(counts[self.second] == number, "has %u of my records, must have %u", counts[self.second], number);
}

static void remove_old(void)
{
	static uint64_t removed;
	uint64_t theirs = __atomic_load_n(&self.peer->progress, __ATOMIC_ACQUIRE);
	uint64_t mine = self.slot->progress, finished = mine < theirs ? mine : theirs;
	char path[32];

	for (; !self.second && removed + LEAD_MAX < finished; removed++) {
		log_path(path, removed);
		note("remove %s", path);
		MUST(0, unlink(path));
	}
}

static void next_log(void)
{
	MUST(0, close(fd));
	fd = -1;
	number = 0;
	__atomic_store_n(&self.slot->progress, self.slot->progress + 1, __ATOMIC_RELEASE);
	check_finished();
	remove_old();
}

static void append(void)
{
	struct record record = {.writer = self.second, .number = number, .log = self.slot->progress};

	pattern(record.filler, filler_seed(record.writer, record.log, record.number), 0, sizeof(record.filler));
	note("append record %u to log%llu", number, (unsigned long long)self.slot->progress);
	MUST(sizeof(record), write(fd, &record, sizeof(record)));
	number++;
}

static void step(void)
{
	char path[32];

	if (self.slot->progress >= __atomic_load_n(&self.peer->progress, __ATOMIC_ACQUIRE) + LEAD_MAX &&
		!__atomic_load_n(&self.peer->ended, __ATOMIC_ACQUIRE)) {
		usleep(1000);
		return;
	}
	log_path(path, self.slot->progress);
	if (fd < 0)
		fd = (int)DONE(open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644));
	append();
	if (once_in(30))
		check_own();
	if (once_in(50)) {
		MUST(0, close(fd));
		fd = (int)DONE(open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644));
	}
	if (once_in(200))
		MUST(0, fsync(fd));
	if (number == RECORDS)
		next_log();
}

static void end(void)
{
	if (fd >= 0) {
		check_own();
		MUST(0, close(fd));
	}
	check_finished();
}

const struct kind kind_append = {.name = "append", .step = step, .end = end};
