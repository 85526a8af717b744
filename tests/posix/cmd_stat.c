/* Commands that show a file's attributes. Times are shown as changed or not since a mark, never as such, except where
 * the sequence set them (`times`). */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "tests/posix/context.h"

static const char *type_name(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "file";
	case S_IFDIR:
		return "dir";
	case S_IFLNK:
		return "symlink";
	case S_IFIFO:
		return "fifo";
	case S_IFSOCK:
		return "socket";
	case S_IFCHR:
		return "chr";
	case S_IFBLK:
		return "blk";
	default:
		return "?";
	}
}

/* The size of a directory is the filesystem's own affair and follows its history, so it is not shown. */
static void show(struct context *context, const struct stat *st)
{
	fprintf(context->notes, " %s %04o nlink=%lu uid=%u gid=%u", type_name(st->st_mode), st->st_mode & 07777,
		(unsigned long)st->st_nlink, st->st_uid, st->st_gid);
	if (!S_ISDIR(st->st_mode))
		fprintf(context->notes, " size=%lld", (long long)st->st_size);
	if (S_ISREG(st->st_mode))
		fprintf(context->notes, " blocks%s", st->st_blocks > 0 ? ">0" : "=0");
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
		fprintf(context->notes, " rdev=%u:%u", major(st->st_rdev), minor(st->st_rdev));
	if (st->st_ino == 0 || st->st_size < 0 || st->st_blksize <= 0)
		fprintf(context->notes, " NONSENSE ino=%llu size=%lld blksize=%ld", (unsigned long long)st->st_ino,
			(long long)st->st_size, (long)st->st_blksize);
}

static long stat_show(struct context *context, const char *word, int flags)
{
	const char *path;
	int at = context_at(context, word, &path);
	struct stat st;

	if (fstatat(at, path, &st, flags) < 0)
		return -1;
	show(context, &st);
	return 0;
}

static long cmd_stat(struct context *context, char **argv)
{
	return stat_show(context, argv[1], 0);
}

static long cmd_lstat(struct context *context, char **argv)
{
	return stat_show(context, argv[1], AT_SYMLINK_NOFOLLOW);
}

static long cmd_fstat(struct context *context, char **argv)
{
	struct stat st;

	if (fstat(context_fd(context, argv[1]), &st) < 0)
		return -1;
	show(context, &st);
	return 0;
}

/* A word "=slot" is the descriptor, any other a path (not followed). */
static int stat_word(struct context *context, const char *word, struct stat *st)
{
	const char *path;
	int at;

	if (*word == '=')
		return fstat(context_fd(context, word + 1), st);
	at = context_at(context, word, &path);
	return fstatat(at, path, st, AT_SYMLINK_NOFOLLOW);
}

/* Files' times come from the coarse clock, whatever else they may come from: once it has moved on, a change shows. */
static void wait_for_tick(void)
{
	struct timespec before, now;

	clock_gettime(CLOCK_REALTIME_COARSE, &before);
	do {
		usleep(1000);
		clock_gettime(CLOCK_REALTIME_COARSE, &now);
	} while (now.tv_sec == before.tv_sec && now.tv_nsec == before.tv_nsec);
	/* This process may see the new time a moment before the filesystems do. */
	usleep(1000);
}

static long cmd_mark(struct context *context, char **argv)
{
	struct slot *slot = context_slot(context, argv[1]);

	slot->marked = stat_word(context, argv[2], &slot->mark) == 0;
	if (!slot->marked)
		return -1;
	wait_for_tick();
	return 0;
}

static const char *time_relation(const struct timespec *old, const struct timespec *new)
{
	if (new->tv_sec == old->tv_sec &&new->tv_nsec == old->tv_nsec)
		return "same";
	return new->tv_sec > old->tv_sec || (new->tv_sec == old->tv_sec &&new->tv_nsec > old->tv_nsec) ? "later"
												       : "EARLIER";
}

static long cmd_cmp(struct context *context, char **argv)
{
	const struct slot *slot = context_slot(context, argv[1]);
	struct stat st;

	if (!slot->marked) {
		errno = ESTALE;
		return -1;
	}
	if (stat_word(context, argv[2], &st) < 0)
		return -1;
	/* Another file's times are in no relation to the mark. */
	if (st.st_ino != slot->mark.st_ino) {
		fputs(" ino=other", context->notes);
		return 0;
	}
	fprintf(context->notes, " ino=same mtime=%s ctime=%s", time_relation(&slot->mark.st_mtim, &st.st_mtim),
		time_relation(&slot->mark.st_ctim, &st.st_ctim));
	if (!S_ISDIR(st.st_mode))
		fprintf(context->notes, " atime=%s", time_relation(&slot->mark.st_atim, &st.st_atim));
	return 0;
}

/* Times as the sequence set them; nobody else's are below the year 2020. */
static long cmd_times(struct context *context, char **argv)
{
	struct stat st;
	const time_t recent = 1577836800;

	if (stat_word(context, argv[1], &st) < 0)
		return -1;
	for (int i = 0; i < 2; i++) {
		const struct timespec *time = i ? &st.st_mtim : &st.st_atim;

		if (time->tv_sec >= recent && time->tv_sec < recent + 3155760000)
			fprintf(context->notes, " %s=recent", i ? "mtime" : "atime");
		else
			fprintf(context->notes, " %s=%lld.%09ld", i ? "mtime" : "atime", (long long)time->tv_sec,
				time->tv_nsec);
	}
	return 0;
}

static long cmd_same(struct context *context, char **argv)
{
	struct stat a, b;

	if (stat_word(context, argv[1], &a) < 0 || stat_word(context, argv[2], &b) < 0)
		return -1;
	return a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

static long cmd_statx(struct context *context, char **argv)
{
	const char *path;
	int at = context_at(context, argv[1], &path);
	struct statx stx;

	if (statx(at, path, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &stx) < 0)
		return -1;
	fprintf(context->notes, " mask=%#x %s %04o nlink=%u", stx.stx_mask & STATX_BASIC_STATS,
		type_name(stx.stx_mode), stx.stx_mode & 07777, stx.stx_nlink);
	return 0;
}

static void show_statfs(struct context *context, const struct statfs *sfs)
{
	fprintf(context->notes, " bytes=%llu namemax=%ld sane=%d", (unsigned long long)sfs->f_blocks * sfs->f_bsize,
		(long)sfs->f_namelen, sfs->f_bfree <= sfs->f_blocks && sfs->f_bavail <= sfs->f_bfree);
}

static long cmd_statfs(struct context *context, char **argv)
{
	struct statfs sfs;

	if (statfs(argv[1], &sfs) < 0)
		return -1;
	show_statfs(context, &sfs);
	return 0;
}

static long cmd_fstatfs(struct context *context, char **argv)
{
	struct statfs sfs;

	if (fstatfs(context_fd(context, argv[1]), &sfs) < 0)
		return -1;
	show_statfs(context, &sfs);
	return 0;
}

static long cmd_pathconf(struct context *context, char **argv)
{
	return pathconf(argv[1], (int)words_number(context, argv[2], 0));
}

const struct command cmd_stat_commands[] = {
	{"stat", 1, cmd_stat, "PATH"},
	{"lstat", 1, cmd_lstat, "PATH"},
	{"fstat", 1, cmd_fstat, "SLOT"},
	{"mark", 2, cmd_mark, "MARK PATH|=SLOT"},
	{"cmp", 2, cmd_cmp, "MARK PATH|=SLOT"},
	{"times", 1, cmd_times, "PATH|=SLOT"},
	{"same", 2, cmd_same, "PATH|=SLOT PATH|=SLOT"},
	{"statx", 1, cmd_statx, "PATH"},
	{"statfs", 1, cmd_statfs, "PATH"},
	{"fstatfs", 1, cmd_fstatfs, "SLOT"},
	{"pathconf", 2, cmd_pathconf, "PATH NUMBER"},
	{},
};
