/* Commands that open, close and describe descriptors. Reading and writing is in cmd_io.c. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tests/posix/context.h"

static const struct flag open_flags[] = {
	{"RDONLY", O_RDONLY},
	{"WRONLY", O_WRONLY},
	{"RDWR", O_RDWR},
	{"CREAT", O_CREAT},
	{"EXCL", O_EXCL},
	{"TRUNC", O_TRUNC},
	{"APPEND", O_APPEND},
	{"DIRECTORY", O_DIRECTORY},
	{"NOFOLLOW", O_NOFOLLOW},
	{"PATH", O_PATH},
	{"DIRECT", O_DIRECT},
	{"TMPFILE", O_TMPFILE},
	{"SYNC", O_SYNC},
	{"DSYNC", O_DSYNC},
	{"NOATIME", O_NOATIME},
	{"NONBLOCK", O_NONBLOCK},
	{"ASYNC", O_ASYNC},
	{},
};

static long cmd_open(struct context *context, char **argv)
{
	const char *path;
	int at = context_at(context, argv[2], &path);
	long flags = words_flags(context, open_flags, argv[3]);
	mode_t mode = (mode_t)words_number(context, argv[4], 0644);

	return context_keep(context, argv[1], openat(at, path, (int)flags | O_CLOEXEC, mode));
}

static long cmd_close(struct context *context, char **argv)
{
	struct slot *slot = context_slot(context, argv[1]);
	int fd = slot->fd;

	slot->fd = -1;
	return close(fd);
}

static long cmd_dup(struct context *context, char **argv)
{
	return context_keep(context, argv[2], dup(context_fd(context, argv[1])));
}

/* Onto the descriptor that the second slot has already. */
static long cmd_dup2(struct context *context, char **argv)
{
	return dup2(context_fd(context, argv[1]), context_fd(context, argv[2])) < 0 ? -1 : 0;
}

static long cmd_getfl(struct context *context, char **argv)
{
	int flags = fcntl(context_fd(context, argv[1]), F_GETFL);

	if (flags < 0)
		return -1;
	fprintf(context->notes, " %s", (flags & O_ACCMODE) == O_RDONLY ? "RDONLY" : "");
	for (const struct flag *flag = open_flags + 1; flag->name; flag++) {
		if (flag->value && (flags & flag->value) == flag->value)
			fprintf(context->notes, "|%s", flag->name);
	}
	return 0;
}

static long cmd_setfl(struct context *context, char **argv)
{
	return fcntl(context_fd(context, argv[1]), F_SETFL, words_flags(context, open_flags, argv[2]));
}

static long cmd_fsync(struct context *context, char **argv)
{
	return fsync(context_fd(context, argv[1]));
}

static long cmd_fdatasync(struct context *context, char **argv)
{
	return fdatasync(context_fd(context, argv[1]));
}

static long cmd_syncfs(struct context *context, char **argv)
{
	return syncfs(context_fd(context, argv[1]));
}

static long cmd_sync_range(struct context *context, char **argv)
{
	return sync_file_range(context_fd(context, argv[1]), words_number(context, argv[2], 0),
		words_number(context, argv[3], 0),
		SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
}

static long cmd_ftruncate(struct context *context, char **argv)
{
	return ftruncate(context_fd(context, argv[1]), words_number(context, argv[2], 0));
}

static const struct flag fallocate_modes[] = {
	{"KEEP", FALLOC_FL_KEEP_SIZE},
	{"PUNCH", FALLOC_FL_PUNCH_HOLE},
	{"ZERO", FALLOC_FL_ZERO_RANGE},
	{"COLLAPSE", FALLOC_FL_COLLAPSE_RANGE},
	{"INSERT", FALLOC_FL_INSERT_RANGE},
	{"UNSHARE", FALLOC_FL_UNSHARE_RANGE},
	{},
};

static long cmd_fallocate(struct context *context, char **argv)
{
	return fallocate(context_fd(context, argv[1]), (int)words_flags(context, fallocate_modes, argv[2]),
		words_number(context, argv[3], 0), words_number(context, argv[4], 0));
}

static long cmd_posix_fallocate(struct context *context, char **argv)
{
	errno = posix_fallocate(
		context_fd(context, argv[1]), words_number(context, argv[2], 0), words_number(context, argv[3], 0));
	return errno ? -1 : 0;
}

static long cmd_fadvise(struct context *context, char **argv)
{
	errno = posix_fadvise(context_fd(context, argv[1]), 0, 0, (int)words_number(context, argv[2], 0));
	return errno ? -1 : 0;
}

static const struct flag seek_whences[] = {
	{"SET", SEEK_SET},
	{"CUR", SEEK_CUR},
	{"END", SEEK_END},
	{"DATA", SEEK_DATA},
	{"HOLE", SEEK_HOLE},
	{},
};

static long cmd_lseek(struct context *context, char **argv)
{
	return lseek(context_fd(context, argv[1]), words_number(context, argv[2], 0),
		(int)words_flags(context, seek_whences, argv[3]));
}

/* Bytes that FIONREAD says are there. */
static long cmd_fionread(struct context *context, char **argv)
{
	int bytes = 0;

	return ioctl(context_fd(context, argv[1]), FIONREAD, &bytes) < 0 ? -1 : bytes;
}

static long cmd_isatty(struct context *context, char **argv)
{
	return isatty(context_fd(context, argv[1])) ? 1 : -1;
}

const struct command cmd_file_commands[] = {
	{"open", 3, cmd_open, "SLOT PATH FLAGS [MODE]"},
	{"close", 1, cmd_close, "SLOT"},
	{"dup", 2, cmd_dup, "SLOT NEW"},
	{"dup2", 2, cmd_dup2, "SLOT OTHER"},
	{"getfl", 1, cmd_getfl, "SLOT"},
	{"setfl", 2, cmd_setfl, "SLOT FLAGS"},
	{"fsync", 1, cmd_fsync, "SLOT"},
	{"fdatasync", 1, cmd_fdatasync, "SLOT"},
	{"syncfs", 1, cmd_syncfs, "SLOT"},
	{"sync_range", 3, cmd_sync_range, "SLOT OFFSET BYTES"},
	{"ftruncate", 2, cmd_ftruncate, "SLOT BYTES"},
	{"fallocate", 4, cmd_fallocate, "SLOT KEEP|PUNCH|ZERO|COLLAPSE|INSERT OFFSET BYTES"},
	{"posix_fallocate", 3, cmd_posix_fallocate, "SLOT OFFSET BYTES"},
	{"fadvise", 2, cmd_fadvise, "SLOT ADVICE"},
	{"lseek", 3, cmd_lseek, "SLOT OFFSET SET|CUR|END|DATA|HOLE"},
	{"fionread", 1, cmd_fionread, "SLOT"},
	{"isatty", 1, cmd_isatty, "SLOT"},
	{},
};
