/* Commands for locks: flock, POSIX (per process) and OFD (per open file); and leases. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>

#include "tests/posix/context.h"

static const struct flag flock_operations[] = {
	{"SH", LOCK_SH},
	{"EX", LOCK_EX},
	{"UN", LOCK_UN},
	{"NB", LOCK_NB},
	{},
};

static const struct flag lock_types[] = {
	{"RD", F_RDLCK},
	{"WR", F_WRLCK},
	{"UN", F_UNLCK},
	{},
};

static long cmd_flock(struct context *context, char **argv)
{
	return flock(context_fd(context, argv[1]), (int)words_flags(context, flock_operations, argv[2]));
}

static struct flock lock_words(struct context *context, char **argv)
{
	return (struct flock){
		.l_type = (short)words_flags(context, lock_types, argv[2]),
		.l_whence = SEEK_SET,
		.l_start = words_number(context, argv[3], 0),
		.l_len = words_number(context, argv[4], 0),
	};
}

static long lock_do(struct context *context, char **argv, int command)
{
	struct flock lock = lock_words(context, argv);

	return fcntl(context_fd(context, argv[1]), command, &lock);
}

static long cmd_lock(struct context *context, char **argv)
{
	return lock_do(context, argv, F_SETLK);
}

static long cmd_lockw(struct context *context, char **argv)
{
	return lock_do(context, argv, F_SETLKW);
}

static long cmd_ofd(struct context *context, char **argv)
{
	return lock_do(context, argv, F_OFD_SETLK);
}

static long cmd_ofdw(struct context *context, char **argv)
{
	return lock_do(context, argv, F_OFD_SETLKW);
}

/* Who is in the way: its kind and range, and whether it is a process at all. */
static long lock_ask(struct context *context, char **argv, int command)
{
	struct flock lock = lock_words(context, argv);

	if (fcntl(context_fd(context, argv[1]), command, &lock) < 0)
		return -1;
	if (lock.l_type == F_UNLCK)
		fputs(" free", context->notes);
	else
		fprintf(context->notes, " %s %lld+%lld owner=%s", lock.l_type == F_RDLCK ? "RD" : "WR",
			(long long)lock.l_start, (long long)lock.l_len,
			lock.l_pid == -1 ? "ofd"
			: lock.l_pid > 0 ? "process"
					 : "NONE");
	return 0;
}

static long cmd_getlk(struct context *context, char **argv)
{
	return lock_ask(context, argv, F_GETLK);
}

static long cmd_ofdget(struct context *context, char **argv)
{
	return lock_ask(context, argv, F_OFD_GETLK);
}

static long cmd_lease(struct context *context, char **argv)
{
	return fcntl(context_fd(context, argv[1]), F_SETLEASE, words_flags(context, lock_types, argv[2]));
}

const struct command cmd_lock_commands[] = {
	{"flock", 2, cmd_flock, "SLOT SH|EX|UN|NB"},
	{"lock", 4, cmd_lock, "SLOT RD|WR|UN START BYTES"},
	{"lockw", 4, cmd_lockw, "SLOT RD|WR|UN START BYTES"},
	{"ofd", 4, cmd_ofd, "SLOT RD|WR|UN START BYTES"},
	{"ofdw", 4, cmd_ofdw, "SLOT RD|WR|UN START BYTES"},
	{"getlk", 4, cmd_getlk, "SLOT RD|WR START BYTES"},
	{"ofdget", 4, cmd_ofdget, "SLOT RD|WR START BYTES"},
	{"lease", 2, cmd_lease, "SLOT RD|WR|UN"},
	{},
};
