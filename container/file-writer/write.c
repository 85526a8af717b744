#include "container/file-writer/write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "container/file-writer/content.h"

#define PIECE_BYTES (128 * 1024)
#define APPEND_PIECES 4

struct writing {
	const struct job *job;
	struct content content;
	uint8_t piece[PIECE_BYTES];
};

static int write_range(struct writing *writing, int fd, const char *path, uint64_t from, uint64_t to)
{
	while (from < to) {
		size_t length = to - from < PIECE_BYTES ? (size_t)(to - from) : PIECE_BYTES;
		int64_t started = tally_clock();

		content_read(&writing->content, from, writing->piece, length);
		ssize_t written = write(fd, writing->piece, length);

		if (written < 0 && errno == EINTR)
			continue;
		if (tally_note(writing->job->tally, TALLY_WRITE, started, written, path) < 0)
			return -1;
		from += (uint64_t)written;
	}
	return 0;
}

/* Opens, writes the bytes [from, to), closes. */
static int write_once(struct writing *writing, const char *path, int flags, uint64_t from, uint64_t to)
{
	struct tally *tally = writing->job->tally;
	int64_t started = tally_clock();
	int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0644);

	if (tally_note(tally, TALLY_OPEN, started, fd, path) < 0)
		return -1;
	int r = write_range(writing, fd, path, from, to);

	started = tally_clock();
	return tally_note(tally, TALLY_CLOSE, started, close(fd), path) < 0 ? -1 : r;
}

static int write_renamed(struct writing *writing)
{
	const struct job *job = writing->job;
	char temporary[sizeof(job->path) + 8];

	snprintf(temporary, sizeof(temporary), "%s.tmp", job->path);
	if (write_once(writing, temporary, O_CREAT | O_EXCL, 0, job->size) < 0)
		return -1;
	int64_t started = tally_clock();

	return (int)tally_note(job->tally, TALLY_RENAME, started, rename(temporary, job->path), job->path);
}

static int write_appended(struct writing *writing)
{
	const struct job *job = writing->job;
	int64_t pause_ms = job->options->append_pause_ms;
	const struct timespec pause = {.tv_sec = pause_ms / 1000, .tv_nsec = pause_ms % 1000 * 1000000};

	for (uint64_t piece = 0; piece < APPEND_PIECES; piece++) {
		uint64_t from = job->size / APPEND_PIECES * piece;
		uint64_t to = piece + 1 == APPEND_PIECES ? job->size : from + job->size / APPEND_PIECES;

		if (write_once(writing, job->path, piece ? O_APPEND : O_CREAT | O_EXCL, from, to) < 0)
			return -1;
		if (piece + 1 < APPEND_PIECES)
			nanosleep(&pause, NULL);
	}
	return 0;
}

int write_file(const struct job *job)
{
	struct writing writing = {.job = job};
	int r;

	content_init(&writing.content, job->seed);
	switch (job->pattern) {
	case PATTERN_RENAME:
		r = write_renamed(&writing);
		break;
	case PATTERN_APPEND:
		r = write_appended(&writing);
		break;
	default:
		r = write_once(&writing, job->path, O_CREAT | O_EXCL, 0, job->size);
		break;
	}
	if (r < 0)
		return -1;
	atomic_fetch_add(&job->tally->files, 1);
	atomic_fetch_add(&job->tally->bytes, job->size);
	return 0;
}
