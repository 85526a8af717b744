/* Commands that move data through descriptors: read and write in all their forms. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/posix/context.h"

#define DIRECT_ALIGN 4096

static long show_read(struct context *context, const char *data, ssize_t count)
{
	if (count > 0)
		words_show(context->notes, data, (size_t)count);
	return count;
}

static char *buffer_new(size_t bytes)
{
	char *buffer = aligned_alloc(DIRECT_ALIGN, (bytes / DIRECT_ALIGN + 2) * DIRECT_ALIGN);

	if (!buffer)
		abort();
	return buffer;
}

static long cmd_read(struct context *context, char **argv)
{
	size_t bytes = (size_t)words_number(context, argv[2], 0);
	_cleanup_free_ char *buffer = buffer_new(bytes);

	return show_read(context, buffer, read(context_fd(context, argv[1]), buffer, bytes));
}

/* MISALIGN moves the memory off a page's start, for O_DIRECT. */
static long cmd_pread(struct context *context, char **argv)
{
	size_t bytes = (size_t)words_number(context, argv[2], 0);
	_cleanup_free_ char *buffer = buffer_new(bytes);
	char *at = buffer + words_number(context, argv[4], 0);

	return show_read(
		context, at, pread(context_fd(context, argv[1]), at, bytes, words_number(context, argv[3], 0)));
}

static long cmd_write(struct context *context, char **argv)
{
	size_t bytes = 0;
	_cleanup_free_ char *data = words_data(context, argv[2], &bytes);

	return write(context_fd(context, argv[1]), data, bytes);
}

static long cmd_pwrite(struct context *context, char **argv)
{
	size_t bytes = 0;
	_cleanup_free_ char *data = words_data(context, argv[2], &bytes);
	_cleanup_free_ char *buffer = buffer_new(bytes);
	char *at = buffer + words_number(context, argv[4], 0);

	memcpy(at, data, bytes);
	return pwrite(context_fd(context, argv[1]), at, bytes, words_number(context, argv[3], 0));
}

static const struct flag rwf_flags[] = {
	{"NOWAIT", RWF_NOWAIT},
	{"HIPRI", RWF_HIPRI},
	{"SYNC", RWF_SYNC},
	{"DSYNC", RWF_DSYNC},
	{"APPEND", RWF_APPEND},
	{},
};

/* Three parts of different lengths, one of them empty. */
static long cmd_preadv2(struct context *context, char **argv)
{
	size_t bytes = (size_t)words_number(context, argv[2], 0);
	_cleanup_free_ char *buffer = buffer_new(bytes);
	struct iovec parts[] = {
		{buffer, bytes / 3},
		{buffer + bytes / 3, 0},
		{buffer + bytes / 3, bytes - bytes / 3},
	};

	return show_read(context, buffer,
		preadv2(context_fd(context, argv[1]), parts, ARRAY_SIZE(parts), words_number(context, argv[3], -1),
			(int)words_flags(context, rwf_flags, argv[4])));
}

static long cmd_pwritev2(struct context *context, char **argv)
{
	size_t bytes = 0;
	_cleanup_free_ char *data = words_data(context, argv[2], &bytes);
	struct iovec parts[] = {
		{data, bytes / 3},
		{data + bytes / 3, 0},
		{data + bytes / 3, bytes - bytes / 3},
	};

	return pwritev2(context_fd(context, argv[1]), parts, ARRAY_SIZE(parts), words_number(context, argv[3], -1),
		(int)words_flags(context, rwf_flags, argv[4]));
}

static long cmd_copyrange(struct context *context, char **argv)
{
	off_t in = words_number(context, argv[2], 0), out = words_number(context, argv[4], 0);

	return copy_file_range(context_fd(context, argv[1]), &in, context_fd(context, argv[3]), &out,
		(size_t)words_number(context, argv[5], 0), 0);
}

static long cmd_sendfile(struct context *context, char **argv)
{
	off_t offset = words_number(context, argv[3], 0);

	return sendfile(context_fd(context, argv[2]), context_fd(context, argv[1]), &offset,
		(size_t)words_number(context, argv[4], 0));
}

/* From a file through a pipe; at most what a pipe holds. */
static long cmd_splice_from(struct context *context, char **argv)
{
	_cleanup_close_ int in = -1, out = -1;
	off_t offset = words_number(context, argv[2], 0);
	size_t bytes = (size_t)words_number(context, argv[3], 0);
	_cleanup_free_ char *buffer = buffer_new(bytes);
	int fds[2];
	ssize_t count;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -1;
	in = fds[0];
	out = fds[1];
	count = splice(context_fd(context, argv[1]), &offset, out, NULL, bytes, 0);
	if (count < 0)
		return -1;
	close(TAKE_FD(out));
	return show_read(context, buffer, read(in, buffer, bytes));
}

static long cmd_splice_to(struct context *context, char **argv)
{
	_cleanup_close_ int in = -1, out = -1;
	off_t offset = words_number(context, argv[3], 0);
	size_t bytes = 0;
	_cleanup_free_ char *data = words_data(context, argv[2], &bytes);
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -1;
	in = fds[0];
	out = fds[1];
	if (write(out, data, bytes) < 0)
		return -1;
	return splice(in, NULL, context_fd(context, argv[1]), argv[3] ? &offset : NULL, bytes, 0);
}

/* All of a file, by name, in odd pieces. */
static long cmd_cat(struct context *context, char **argv)
{
	const char *path;
	int at = context_at(context, argv[1], &path);
	_cleanup_close_ int fd = openat(at, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	_cleanup_free_ char *data = NULL;
	size_t used = 0;
	ssize_t count;

	if (fd < 0)
		return -1;
	do {
		char *bigger = realloc(data, used + 70001);

		if (!bigger)
			abort();
		data = bigger;
		count = read(fd, data + used, 70001);
		used += count > 0 ? (size_t)count : 0;
	} while (count > 0);
	if (count < 0)
		return -1;
	words_show(context->notes, data, used);
	return (long)used;
}

/* A file with that content, as a program that rewrites one makes it. */
static long cmd_put(struct context *context, char **argv)
{
	const char *path;
	int at = context_at(context, argv[1], &path);
	_cleanup_close_ int fd = openat(
		at, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, (mode_t)words_number(context, argv[3], 0644));
	size_t bytes = 0;
	_cleanup_free_ char *data = words_data(context, argv[2], &bytes);

	if (fd < 0)
		return -1;
	return write(fd, data, bytes);
}

/* Which of read and write would not block now. */
static long cmd_poll(struct context *context, char **argv)
{
	struct pollfd ready = {.fd = context_fd(context, argv[1]), .events = POLLIN | POLLOUT};
	int count = poll(&ready, 1, (int)words_number(context, argv[2], 0));

	fprintf(context->notes, "%s%s%s%s", ready.revents & POLLIN ? " IN" : "",
		ready.revents & POLLOUT ? " OUT" : "", ready.revents & POLLHUP ? " HUP" : "",
		ready.revents & (POLLERR | POLLNVAL) ? " ERR" : "");
	return count;
}

const struct command cmd_io_commands[] = {
	{"read", 2, cmd_read, "SLOT BYTES"},
	{"pread", 3, cmd_pread, "SLOT BYTES OFFSET [MISALIGN]"},
	{"write", 2, cmd_write, "SLOT DATA"},
	{"pwrite", 3, cmd_pwrite, "SLOT DATA OFFSET [MISALIGN]"},
	{"preadv2", 2, cmd_preadv2, "SLOT BYTES [OFFSET [NOWAIT|HIPRI]]"},
	{"pwritev2", 2, cmd_pwritev2, "SLOT DATA [OFFSET [APPEND|SYNC|DSYNC]]"},
	{"copyrange", 5, cmd_copyrange, "SLOT OFFSET SLOT OFFSET BYTES"},
	{"sendfile", 4, cmd_sendfile, "FROM TO OFFSET BYTES"},
	{"splice_from", 3, cmd_splice_from, "SLOT OFFSET BYTES"},
	{"splice_to", 2, cmd_splice_to, "SLOT DATA [OFFSET]"},
	{"cat", 1, cmd_cat, "PATH"},
	{"put", 2, cmd_put, "PATH DATA [MODE]"},
	{"poll", 1, cmd_poll, "SLOT [MS]"},
	{},
};
