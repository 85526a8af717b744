/* Commands that make, move and remove names. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "tests/posix/context.h"

static long cmd_mkdir(struct context *context, char **argv)
{
	const char *path;
	int at = context_at(context, argv[1], &path);

	return mkdirat(at, path, (mode_t)words_number(context, argv[2], 0755));
}

static const struct flag node_types[] = {
	{"f", S_IFREG},
	{"p", S_IFIFO},
	{"s", S_IFSOCK},
	{"c", S_IFCHR},
	{"b", S_IFBLK},
	{"d", S_IFDIR},
	{},
};

static long cmd_mknod(struct context *context, char **argv)
{
	const char *path;
	int at = context_at(context, argv[1], &path);
	mode_t mode =
		(mode_t)words_flags(context, node_types, argv[2]) | (mode_t)words_number(context, argv[3], 0644);

	return mknodat(at, path, mode,
		makedev((unsigned)words_number(context, argv[4], 0), (unsigned)words_number(context, argv[5], 0)));
}

static long cmd_symlink(struct context *context, char **argv)
{
	const char *path;
	int at = context_at(context, argv[2], &path);

	return symlinkat(argv[1], at, path);
}

static long cmd_readlink(struct context *context, char **argv)
{
	const char *path;
	int at = context_at(context, argv[1], &path);
	char target[8192];
	size_t bytes = (size_t)words_number(context, argv[2], sizeof(target));
	ssize_t count = readlinkat(at, path, target, bytes < sizeof(target) ? bytes : sizeof(target));

	if (count > 0)
		words_show(context->notes, target, (size_t)count);
	return count;
}

static const struct flag link_flags[] = {
	{"FOLLOW", AT_SYMLINK_FOLLOW},
	{"EMPTY", AT_EMPTY_PATH},
	{},
};

static long cmd_link(struct context *context, char **argv)
{
	const char *from, *to;
	int from_at = context_at(context, argv[1], &from), to_at = context_at(context, argv[2], &to);

	return linkat(from_at, from, to_at, to, (int)words_flags(context, link_flags, argv[3]));
}

static const struct flag rename_flags[] = {
	{"NOREPLACE", RENAME_NOREPLACE},
	{"EXCHANGE", RENAME_EXCHANGE},
	{"WHITEOUT", RENAME_WHITEOUT},
	{},
};

static long cmd_rename(struct context *context, char **argv)
{
	const char *from, *to;
	int from_at = context_at(context, argv[1], &from), to_at = context_at(context, argv[2], &to);

	return renameat2(from_at, from, to_at, to, (unsigned)words_flags(context, rename_flags, argv[3]));
}

static long cmd_unlink(struct context *context, char **argv)
{
	const char *path;
	int at = context_at(context, argv[1], &path);

	return unlinkat(at, path, 0);
}

static long cmd_rmdir(struct context *context, char **argv)
{
	const char *path;
	int at = context_at(context, argv[1], &path);

	return unlinkat(at, path, AT_REMOVEDIR);
}

/* Directories within each other, by a relative step each: the only way past PATH_MAX. Ends where it began. */
static long cmd_deep(struct context *context, char **argv)
{
	long levels = words_number(context, argv[2], 0), made = 0;
	_cleanup_close_ int start = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int at = fcntl(start, F_DUPFD_CLOEXEC, 0);

	for (; at >= 0 && made < levels && mkdirat(at, argv[1], 0755) == 0; made++) {
		int next = openat(at, argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		close(at);
		at = next;
	}
	if (argv[3])
		return context_keep(context, argv[3], at) < 0 ? -1 : made;
	close(at);
	return made;
}

static long cmd_chdir(struct context *context, char **argv)
{
	(void)context;
	return chdir(argv[1]);
}

static long cmd_fchdir(struct context *context, char **argv)
{
	return fchdir(context_fd(context, argv[1]));
}

/* Without the directory that the sequence began in. */
static long cmd_getcwd(struct context *context, char **argv)
{
	(void)argv;
	char cwd[8192];
	size_t root = strlen(context->root);

	if (!getcwd(cwd, sizeof(cwd)))
		return -1;
	words_show(context->notes, cwd + (strncmp(cwd, context->root, root) == 0 ? root : 0),
		strlen(cwd) - (strncmp(cwd, context->root, root) == 0 ? root : 0));
	return 0;
}

/* What the kernel says a descriptor's name is, without the sequence's directory. */
static long cmd_fdname(struct context *context, char **argv)
{
	char link[64], name[8192] = "";
	size_t root = strlen(context->root);

	snprintf(link, sizeof(link), "/proc/self/fd/%d", context_fd(context, argv[1]));
	if (readlink(link, name, sizeof(name) - 1) < 0)
		return -1;
	if (strncmp(name, context->root, root) == 0)
		words_show(context->notes, name + root, strlen(name + root));
	return 0;
}

static long cmd_umask(struct context *context, char **argv)
{
	umask((mode_t)words_number(context, argv[1], 022));
	return 0;
}

const struct command cmd_name_commands[] = {
	{"mkdir", 1, cmd_mkdir, "PATH [MODE]"},
	{"mknod", 2, cmd_mknod, "PATH f|p|s|c|b [MODE [MAJOR MINOR]]"},
	{"symlink", 2, cmd_symlink, "TARGET PATH"},
	{"readlink", 1, cmd_readlink, "PATH [BYTES]"},
	{"link", 2, cmd_link, "PATH NEW [FOLLOW|EMPTY]"},
	{"rename", 2, cmd_rename, "PATH NEW [NOREPLACE|EXCHANGE|WHITEOUT]"},
	{"unlink", 1, cmd_unlink, "PATH"},
	{"rmdir", 1, cmd_rmdir, "PATH"},
	{"deep", 2, cmd_deep, "NAME LEVELS [SLOT]"},
	{"chdir", 1, cmd_chdir, "PATH"},
	{"fchdir", 1, cmd_fchdir, "SLOT"},
	{"getcwd", 0, cmd_getcwd, ""},
	{"fdname", 1, cmd_fdname, "SLOT"},
	{"umask", 1, cmd_umask, "MODE"},
	{},
};
