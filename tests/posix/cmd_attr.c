/* Commands that change what a file is: size by name, mode, owner, times; and access(). */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/posix/context.h"

static long cmd_truncate(struct context *context, char **argv)
{
	return truncate(argv[1], words_number(context, argv[2], 0));
}

static long cmd_chmod(struct context *context, char **argv)
{
	const char *path;
	int at = context_at(context, argv[1], &path);

	return fchmodat(at, path, (mode_t)words_number(context, argv[2], 0), 0);
}

static long cmd_lchmod(struct context *context, char **argv)
{
	const char *path;
	int at = context_at(context, argv[1], &path);

	return fchmodat(at, path, (mode_t)words_number(context, argv[2], 0), AT_SYMLINK_NOFOLLOW);
}

static long cmd_fchmod(struct context *context, char **argv)
{
	return fchmod(context_fd(context, argv[1]), (mode_t)words_number(context, argv[2], 0));
}

static long chown_path(struct context *context, char **argv, int flags)
{
	const char *path;
	int at = context_at(context, argv[1], &path);

	return fchownat(at, path, (uid_t)words_number(context, argv[2], -1),
		(gid_t)words_number(context, argv[3], -1), flags);
}

static long cmd_chown(struct context *context, char **argv)
{
	return chown_path(context, argv, 0);
}

static long cmd_lchown(struct context *context, char **argv)
{
	return chown_path(context, argv, AT_SYMLINK_NOFOLLOW);
}

static long cmd_fchown(struct context *context, char **argv)
{
	return fchown(context_fd(context, argv[1]), (uid_t)words_number(context, argv[2], -1),
		(gid_t)words_number(context, argv[3], -1));
}

/* NOW, OMIT, SECONDS or SECONDS.NANOSECONDS (all nine digits). */
static struct timespec time_word(const char *word)
{
	struct timespec time = {};
	const char *dot = strchr(word, '.');

	if (strcmp(word, "NOW") == 0) {
		time.tv_nsec = UTIME_NOW;
	} else if (strcmp(word, "OMIT") == 0) {
		time.tv_nsec = UTIME_OMIT;
	} else {
		time.tv_sec = strtoll(word, NULL, 10);
		time.tv_nsec = dot ? strtol(dot + 1, NULL, 10) : 0;
	}
	return time;
}

static long cmd_utimens(struct context *context, char **argv)
{
	const char *path;
	int at = context_at(context, argv[1], &path);
	struct timespec times[] = {time_word(argv[2]), time_word(argv[3])};

	return utimensat(at, path, times, argv[4] ? AT_SYMLINK_NOFOLLOW : 0);
}

static long cmd_futimens(struct context *context, char **argv)
{
	struct timespec times[] = {time_word(argv[2]), time_word(argv[3])};

	return futimens(context_fd(context, argv[1]), times);
}

/* No times at all: the form that a writer who is not the owner may use. */
static long cmd_touch(struct context *context, char **argv)
{
	const char *path;
	int at = context_at(context, argv[1], &path);

	return utimensat(at, path, NULL, 0);
}

static const struct flag access_modes[] = {
	{"F", F_OK},
	{"r", R_OK},
	{"w", W_OK},
	{"x", X_OK},
	{"rw", R_OK | W_OK},
	{"rx", R_OK | X_OK},
	{"wx", W_OK | X_OK},
	{"rwx", R_OK | W_OK | X_OK},
	{},
};

static const struct flag access_flags[] = {
	{"EACCESS", AT_EACCESS},
	{"NOFOLLOW", AT_SYMLINK_NOFOLLOW},
	{"EMPTY", AT_EMPTY_PATH},
	{},
};

static long cmd_access(struct context *context, char **argv)
{
	const char *path;
	int at = context_at(context, argv[1], &path);

	return faccessat(at, path, (int)words_flags(context, access_modes, argv[2]),
		(int)words_flags(context, access_flags, argv[3]));
}

const struct command cmd_attr_commands[] = {
	{"truncate", 2, cmd_truncate, "PATH BYTES"},
	{"chmod", 2, cmd_chmod, "PATH MODE"},
	{"lchmod", 2, cmd_lchmod, "PATH MODE"},
	{"fchmod", 2, cmd_fchmod, "SLOT MODE"},
	{"chown", 3, cmd_chown, "PATH UID GID"},
	{"lchown", 3, cmd_lchown, "PATH UID GID"},
	{"fchown", 3, cmd_fchown, "SLOT UID GID"},
	{"utimens", 3, cmd_utimens, "PATH ATIME MTIME [NOFOLLOW]"},
	{"futimens", 3, cmd_futimens, "SLOT ATIME MTIME"},
	{"touch", 1, cmd_touch, "PATH"},
	{"access", 2, cmd_access, "PATH F|r|w|x|rw|rx|wx|rwx [EACCESS|NOFOLLOW|EMPTY]"},
	{},
};
