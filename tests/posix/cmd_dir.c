/* Commands that list directories. Order is the filesystem's own; what must hold is checked here and said. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/posix/context.h"

#define PLACES_MAX 100000 /* telldir() positions that `seekcheck` remembers */

struct listing {
	char **names;
	size_t count, size;
};

static void listing_free(struct listing *listing)
{
	for (size_t i = 0; i < listing->count; i++)
		free(listing->names[i]);
	free((void *)listing->names);
}

#define _cleanup_listing_ _cleanup_(listing_free)

static void listing_add(struct listing *listing, const char *name)
{
	if (listing->count == listing->size) {
		size_t size = listing->size * 2 + 64;
		char **bigger = (char **)reallocarray((void *)listing->names, size, sizeof(*bigger));

		if (!bigger)
			abort();
		listing->names = bigger;
		listing->size = size;
	}
	listing->names[listing->count] = strdup(name);
	if (!listing->names[listing->count++])
		abort();
}

static int name_order(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void listing_sort(struct listing *listing)
{
	if (listing->count)
		qsort((void *)listing->names, listing->count, sizeof(*listing->names), name_order);
}

static size_t listing_doubles(const struct listing *listing)
{
	size_t doubles = 0;

	for (size_t i = 1; i < listing->count; i++)
		doubles += strcmp(listing->names[i - 1], listing->names[i]) == 0;
	return doubles;
}

static DIR *dir_open(struct context *context, const char *word)
{
	const char *path;
	int at = context_at(context, word, &path);
	int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? NULL : fdopendir(fd);
}

static const char *type_of(unsigned char type)
{
	static const char *const names[] = {
		[DT_UNKNOWN] = "?",
		[DT_FIFO] = "p",
		[DT_CHR] = "c",
		[DT_DIR] = "d",
		[DT_BLK] = "b",
		[DT_REG] = "f",
		[DT_LNK] = "l",
		[DT_SOCK] = "s",
	};

	return type < ARRAY_SIZE(names) && names[type] ? names[type] : "?";
}

/* "." and ".." must be there, but what d_ino they carry at a mount's root is not comparable. */
static void list_entry(struct listing *listing, int fd, const struct dirent *entry)
{
	bool dots = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
	char text[NAME_MAX + 64];
	struct stat st;

	if (fd < 0 || dots)
		snprintf(text, sizeof(text), "%s:%s", entry->d_name, type_of(entry->d_type));
	else if (fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		snprintf(text, sizeof(text), "%s:%s:GONE", entry->d_name, type_of(entry->d_type));
	else
		snprintf(text, sizeof(text), "%s:%s%s", entry->d_name, type_of(entry->d_type),
			st.st_ino == entry->d_ino ? "" : ":OTHER-INO");
	listing_add(listing, text);
}

static long list_all(struct context *context, DIR *dir)
{
	_cleanup_listing_ struct listing listing = {};
	const struct dirent *entry;

	errno = 0;
	while ((entry = readdir(dir)))
		list_entry(&listing, dirfd(dir), entry);
	if (errno)
		return -1;
	listing_sort(&listing);
	for (size_t i = 0; i < listing.count && i < 40; i++)
		words_show(context->notes, listing.names[i], strlen(listing.names[i]));
	if (listing_doubles(&listing))
		fprintf(context->notes, " DOUBLES=%zu", listing_doubles(&listing));
	return (long)listing.count;
}

static long cmd_ls(struct context *context, char **argv)
{
	_cleanup_closedir_ DIR *dir = dir_open(context, argv[1]);

	return dir ? list_all(context, dir) : -1;
}

static long cmd_opendir(struct context *context, char **argv)
{
	struct slot *slot = context_slot(context, argv[1]);

	context_keep(context, argv[1], -1);
	slot->dir = dir_open(context, argv[2]);
	return slot->dir ? 0 : -1;
}

/* The rest of an open directory. */
static long cmd_readall(struct context *context, char **argv)
{
	const struct slot *slot = context_slot(context, argv[1]);

	return slot->dir ? list_all(context, slot->dir) : context_bad(context, "not a directory stream");
}

/* That many entries, whichever they are. */
static long cmd_readsome(struct context *context, char **argv)
{
	const struct slot *slot = context_slot(context, argv[1]);
	long count = 0, wanted = (long)words_number(context, argv[2], 1);

	if (!slot->dir)
		return context_bad(context, "not a directory stream");
	while (count < wanted && readdir(slot->dir))
		count++;
	return count;
}

static long cmd_rewinddir(struct context *context, char **argv)
{
	const struct slot *slot = context_slot(context, argv[1]);

	if (!slot->dir)
		return context_bad(context, "not a directory stream");
	rewinddir(slot->dir);
	return 0;
}

/* Files named PREFIX0 … in the working directory or the one given. */
static long cmd_fill(struct context *context, char **argv)
{
	long count = (long)words_number(context, argv[3], 0), made = 0;
	const char *path;
	int at = context_at(context, argv[1], &path);
	_cleanup_close_ int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char name[NAME_MAX + 1];

	for (; made < count; made++) {
		_cleanup_close_ int file = -1;

		snprintf(name, sizeof(name), "%.200s%ld", argv[2], made);
		file = openat(fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		if (file < 0)
			return -1;
	}
	return made;
}

/* How many names, and whether any came twice. */
static long cmd_count(struct context *context, char **argv)
{
	_cleanup_closedir_ DIR *dir = dir_open(context, argv[1]);
	_cleanup_listing_ struct listing listing = {};
	const struct dirent *entry;

	if (!dir)
		return -1;
	while ((entry = readdir(dir)))
		listing_add(&listing, entry->d_name);
	listing_sort(&listing);
	fprintf(context->notes, " doubles=%zu", listing_doubles(&listing));
	return (long)listing.count;
}

/* As rm -r does it: remove while listing, by steps of STEP entries. Says what a second listing still finds. */
static long cmd_empty(struct context *context, char **argv)
{
	_cleanup_closedir_ DIR *dir = dir_open(context, argv[1]);
	long step = (long)words_number(context, argv[2], 1), removed = 0, seen = 0;
	const struct dirent *entry;
	int fd;

	fd = dir ? dirfd(dir) : -1;
	if (fd < 0)
		return -1;
	while ((entry = readdir(dir))) {
		if (*entry->d_name == '.' || seen++ % step)
			continue;
		if (unlinkat(fd, entry->d_name, 0) < 0)
			return -1;
		removed++;
	}
	fprintf(context->notes, " seen=%ld", seen);
	return removed;
}

/* telldir after every entry, then seekdir back to each, last first: the entry there must be the one that followed. */
static long cmd_seekcheck(struct context *context, char **argv)
{
	_cleanup_closedir_ DIR *dir = dir_open(context, argv[1]);
	_cleanup_listing_ struct listing listing = {};
	static long places[PLACES_MAX];
	const struct dirent *entry;
	long wrong = 0;

	if (!dir)
		return -1;
	while (places[listing.count] = telldir(dir), (entry = readdir(dir)) && listing.count < PLACES_MAX - 1)
		listing_add(&listing, entry->d_name);
	for (size_t i = listing.count; i-- > 0;) {
		seekdir(dir, places[i]);
		entry = readdir(dir);
		wrong += !entry || strcmp(entry->d_name, listing.names[i]) != 0;
	}
	fprintf(context->notes, " wrong=%ld", wrong);
	return (long)listing.count;
}

/* Names of one byte each, every byte that a name may be. */
static long cmd_allbytes(struct context *context, char **argv)
{
	(void)argv;
	_cleanup_listing_ struct listing listing = {};
	_cleanup_closedir_ DIR *dir = NULL;
	const struct dirent *entry;
	long wrong = 0;

	for (int byte = 1; byte < 256; byte++) {
		char name[] = {'a', (char)byte, 0};
		_cleanup_close_ int fd = -1;

		if (byte == '/')
			continue;
		fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		wrong += fd < 0 || access(name, F_OK) < 0;
	}
	dir = opendir(".");
	while (dir && (entry = readdir(dir))) {
		if (*entry->d_name == 'a')
			listing_add(&listing, entry->d_name);
	}
	listing_sort(&listing);
	for (size_t i = 0; i < listing.count; i++)
		wrong += strlen(listing.names[i]) != 2 || unlink(listing.names[i]) < 0;
	fprintf(context->notes, " wrong=%ld", wrong);
	return (long)listing.count;
}

const struct command cmd_dir_commands[] = {
	{"ls", 1, cmd_ls, "PATH"},
	{"opendir", 2, cmd_opendir, "SLOT PATH"},
	{"readall", 1, cmd_readall, "SLOT"},
	{"readsome", 2, cmd_readsome, "SLOT COUNT"},
	{"rewinddir", 1, cmd_rewinddir, "SLOT"},
	{"fill", 3, cmd_fill, "PATH PREFIX COUNT"},
	{"count", 1, cmd_count, "PATH"},
	{"empty", 1, cmd_empty, "PATH [STEP]"},
	{"seekcheck", 1, cmd_seekcheck, "PATH"},
	{"allbytes", 0, cmd_allbytes, ""},
	{},
};
