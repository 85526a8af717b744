/* The kind "names": everything that makes, moves and removes names, with the true result of each call known. */
#include "tests/crash/names.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "uploader/base/cleanup.h"

#define UMASK_OFF ((mode_t)027) /* main.c */

struct place places[PARENTS * NAMES];
static uint64_t next_seed;

struct place *random_place(void)
{
	return &places[below(PARENTS * NAMES)];
}

/* Names with an object of that type when there is one among some tries: else most steps would fail, which is checked
 * as well but is less of a test. */
static struct place *place_with(enum type type)
{
	struct place *place = random_place();

	for (int i = 0; i < 12 && (!place->object || place->object->type != type); i++)
		place = random_place();
	return place;
}

static struct place *used_place(void)
{
	struct place *place = random_place();

	for (int i = 0; i < 6 && !place->object; i++)
		place = random_place();
	return place;
}

static struct object *new_object(enum type type, mode_t mode)
{
	struct object *object = calloc(1, sizeof(*object));

	if (!object)
		abort();
	*object = (struct object){
		.type = type, .nlink = 1, .mode = mode, .seed = self.slot->seed * 1000003 + ++next_seed};
	return object;
}

void drop_object(struct object *object)
{
	if (object->nlink == 0 && object->holders == 0)
		free(object);
}

void drop_name(struct place *place)
{
	struct object *object = place->object;

	place->object = NULL;
	object->nlink--;
	drop_object(object);
}

static mode_t random_mode(void)
{
	static const mode_t modes[] = {0644, 0600, 0777, 0666, 0444, 0751};

	return modes[below(sizeof(modes) / sizeof(modes[0]))];
}

static void create_exclusive(void)
{
	struct place *at = random_place();
	mode_t mode = random_mode();

	note("create %s", at->path);
	if (at->object) {
		MUST(-EEXIST, open(at->path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, mode));
		return;
	}
	_cleanup_close_ int fd = (int)DONE(open(at->path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, mode));

	at->object = new_object(TYPE_FILE, mode & ~UMASK_OFF);
	struct stat st;

	MUST(0, fstat(fd, &st));
	check_stat(at->object, &st);
	if (once_in(2))
		MUST(-EEXIST, open(at->path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, mode));
	if (!once_in(4))
		write_anew(at->object, fd, false, below(FILE_BYTES_MAX));
	MUST(0, fstat(fd, &st));
	check_stat(at->object, &st);
	MUST(0, close(TAKE_FD(fd)));
}

/* O_CREAT without O_EXCL, with O_TRUNC, or neither: opens what is there, or makes it. */
static void create_or_open(void)
{
	struct place *at = random_place();
	int flags = O_WRONLY | O_CLOEXEC | O_NOFOLLOW | (once_in(3) ? 0 : O_CREAT) | (once_in(2) ? O_TRUNC : 0);

	note("open %s flags=%#o", at->path, (unsigned int)flags);
	if (at->object && at->object->type == TYPE_FIFO)
		return; /* would wait for a reader */
	if (at->object && at->object->type != TYPE_FILE) {
		MUST(at->object->type == TYPE_DIR ? -EISDIR : -ELOOP, open(at->path, flags, 0640));
		return;
	}
	if (!at->object && !(flags & O_CREAT)) {
		MUST(-ENOENT, open(at->path, flags, 0640));
		return;
	}
	_cleanup_close_ int fd = (int)DONE(open(at->path, flags, 0640));

	if (!at->object) {
		at->object = new_object(TYPE_FILE, 0640);
	} else if (flags & O_TRUNC) {
		at->object->valid = at->object->size = 0;
		at->object->mtime = 0;
	}
	struct stat st;

	MUST(0, fstat(fd, &st));
	check_stat(at->object, &st);
	if (once_in(2))
		write_anew(at->object, fd, false, below(FILE_BYTES_MAX));
	MUST(0, close(TAKE_FD(fd)));
}

void make_unnamed(struct place *at)
{
	static const char *const parents[PARENTS] = {"a", "b", "c"};

	note("link an O_TMPFILE at %s", at->path);
	_cleanup_close_ int fd = (int)DONE(open(parents[at->parent], O_TMPFILE | O_RDWR | O_CLOEXEC, 0640));
	char path[64];

	struct object *object = new_object(TYPE_FILE, 0640);
	struct stat st;

	object->nlink = 0;
	MUST(0, fstat(fd, &st));
	check_stat(object, &st);
	write_anew(object, fd, false, below(FILE_BYTES_MAX));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (at->object) {
		MUST(-EEXIST, linkat(AT_FDCWD, path, AT_FDCWD, at->path, AT_SYMLINK_FOLLOW));
		MUST(0, close(TAKE_FD(fd)));
		free(object);
		return;
	}
	MUST(0, linkat(AT_FDCWD, path, AT_FDCWD, at->path, AT_SYMLINK_FOLLOW));
	object->nlink = 1;
	at->object = object;
	MUST(0, fstat(fd, &st));
	check_stat(object, &st);
	MUST(0, close(TAKE_FD(fd)));
}

static void make_other(void)
{
	struct place *at = random_place();
	enum type type = (enum type)between(TYPE_DIR, TYPE_FIFO);
	mode_t mode = random_mode();
	long expected = at->object ? -EEXIST : 0;
	struct object *object = new_object(type, type == TYPE_SYMLINK ? 0777 : mode & ~UMASK_OFF);

	note("make %s %s", type == TYPE_DIR ? "directory" : type == TYPE_FIFO ? "fifo" : "symlink", at->path);
	if (type == TYPE_DIR)
		MUST(expected, mkdir(at->path, mode));
	else if (type == TYPE_FIFO)
		MUST(expected, mknod(at->path, S_IFIFO | mode, 0));
	else
		MUST(expected, symlink(link_target(object), at->path));
	if (at->object)
		free(object);
	else
		at->object = object;
	check_place(at);
}

static void link_name(void)
{
	struct place *from = once_in(8) ? used_place() : place_with(TYPE_FILE), *to = random_place();

	note("link %s to %s", from->path, to->path);
	if (from == to)
		return;
	if (!from->object) {
		MUST(-ENOENT, link(from->path, to->path));
	} else if (to->object) {
		MUST(-EEXIST, link(from->path, to->path));
	} else if (from->object->type == TYPE_DIR) {
		MUST(-EPERM, link(from->path, to->path));
	} else {
		MUST(0, link(from->path, to->path));
		to->object = from->object;
		to->object->nlink++;
		check_place(to);
	}
}

static void unlink_name(void)
{
	struct place *at = used_place();

	note("unlink %s", at->path);
	if (!at->object) {
		MUST(-ENOENT, unlink(at->path));
	} else if (at->object->type == TYPE_DIR) {
		MUST(-EISDIR, unlink(at->path));
	} else {
		MUST(0, unlink(at->path));
		drop_name(at);
		if (once_in(2))
			MUST(-ENOENT, unlink(at->path));
	}
}

static void remove_directory(void)
{
	struct place *at = once_in(4) ? random_place() : place_with(TYPE_DIR);

	note("rmdir %s", at->path);
	if (!at->object) {
		MUST(-ENOENT, rmdir(at->path));
	} else if (at->object->type != TYPE_DIR) {
		MUST(-ENOTDIR, rmdir(at->path));
	} else if (at->object->full) {
		MUST(-ENOTEMPTY, rmdir(at->path));
	} else {
		MUST(0, rmdir(at->path));
		drop_name(at);
		if (once_in(2))
			MUST(-ENOENT, rmdir(at->path));
	}
}

/* A file in a directory, or out of it. */
static void fill_directory(void)
{
	struct place *at = place_with(TYPE_DIR);
	char path[PATH_BYTES + 8];

	if (!at->object || at->object->type != TYPE_DIR)
		return;
	note("fill or empty %s", at->path);
	snprintf(path, sizeof(path), "%s/in", at->path);
	if (at->object->full) {
		MUST(0, unlink(path));
		at->object->full = false;
	} else {
		char content[32];
		_cleanup_close_ int fd = (int)DONE(open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));

		pattern(content, at->object->seed, 0, sizeof(content));
		MUST(sizeof(content), write(fd, content, sizeof(content)));
		MUST(0, close(TAKE_FD(fd)));
		at->object->full = true;
	}
	at->object->mtime = 0;
}

/* What rename(2) must return for names that are both there, or -1: it replaces. */
static long rename_refused(const struct object *from, const struct object *to)
{
	if (from->type == TYPE_DIR && to->type != TYPE_DIR)
		return -ENOTDIR;
	if (from->type != TYPE_DIR && to->type == TYPE_DIR)
		return -EISDIR;
	return to->type == TYPE_DIR && to->full ? -ENOTEMPTY : 0;
}

static void rename_plain(struct place *from, struct place *to)
{
	long refused = to->object && to->object != from->object ? rename_refused(from->object, to->object) : 0;

	MUST(refused, rename(from->path, to->path));
	if (refused || to->object == from->object)
		return;
	if (to->object)
		drop_name(to);
	to->object = from->object;
	from->object = NULL;
}

static void rename_name(void)
{
	struct place *from = used_place(), *to = once_in(2) ? used_place() : random_place();
	unsigned int how = below(4);

	if (from == to)
		return;
	note("rename %s to %s how=%u", from->path, to->path, how);
	if (!from->object) {
		MUST(-ENOENT, rename(from->path, to->path));
	} else if (how == 0) {
		MUST(to->object ? -EEXIST : 0, renameat2(AT_FDCWD, from->path, AT_FDCWD, to->path, RENAME_NOREPLACE));
		if (!to->object) {
			to->object = from->object;
			from->object = NULL;
		}
	} else if (how == 1) {
		MUST(to->object ? 0 : -ENOENT, renameat2(AT_FDCWD, from->path, AT_FDCWD, to->path, RENAME_EXCHANGE));
		if (to->object) {
			struct object *object = to->object;

			to->object = from->object;
			from->object = object;
		}
	} else {
		rename_plain(from, to);
	}
	check_place(from);
	check_place(to);
}

static void truncate_name(void)
{
	struct place *at = place_with(TYPE_FILE);
	size_t size = below(FILE_BYTES_MAX);

	note("truncate %s to %zu", at->path, size);
	if (!at->object) {
		MUST(-ENOENT, truncate(at->path, (off_t)size));
		return;
	}
	if (at->object->type != TYPE_FILE)
		return;
	MUST(0, truncate(at->path, (off_t)size));
	at->object->size = size;
	at->object->valid = at->object->valid < size ? at->object->valid : size;
	at->object->mtime = 0;
	check_place(at);
}

static void change_attributes(void)
{
	struct place *at = used_place();

	note("attributes of %s", at->path);
	if (!at->object) {
		MUST(-ENOENT, chmod(at->path, 0600));
		return;
	}
	if (at->object->type == TYPE_SYMLINK)
		return;
	if (once_in(2)) {
		mode_t mode = random_mode();

		MUST(0, chmod(at->path, mode));
		at->object->mode = mode;
	} else {
		time_t mtime = (time_t)between(1000000, 1700000000);
		struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = mtime, .tv_nsec = 123456789}};

		MUST(0, utimensat(AT_FDCWD, at->path, times, 0));
		at->object->mtime = mtime;
	}
	check_place(at);
}

static void write_name(void)
{
	struct place *at = place_with(TYPE_FILE);
	bool append = once_in(2);

	if (!at->object || at->object->type != TYPE_FILE)
		return;
	note("write %s", at->path);
	_cleanup_close_ int fd = (int)DONE(open(at->path, O_RDWR | O_CLOEXEC | (append ? O_APPEND : 0)));

	change_content(at->object, fd, append);
	if (once_in(8))
		MUST(0, fsync(fd));
	MUST(0, close(TAKE_FD(fd)));
}

static void begin(void)
{
	for (unsigned int i = 0; i < PARENTS * NAMES; i++) {
		places[i].parent = i / NAMES;
		snprintf(places[i].path, PATH_BYTES, "%c/n%02u", 'a' + (int)places[i].parent, i % NAMES);
	}
	MUST(0, mkdir("a", 0755));
	MUST(0, mkdir("b", 0755));
	MUST(0, mkdir("c", 0755));
}

static void make_some_unnamed(void)
{
	make_unnamed(random_place());
}

static void attribute_step(void)
{
	xattr_step(used_place());
}

static void look(void)
{
	if (once_in(4))
		check_listing(below(PARENTS));
	else
		check_place(random_place());
}

static void hold(void)
{
	held_open(place_with(TYPE_FILE));
}

static void step(void)
{
	static void (*const steps[])(void) = {
		create_exclusive,
		create_exclusive,
		create_or_open,
		make_some_unnamed,
		make_other,
		make_other,
		link_name,
		unlink_name,
		unlink_name,
		remove_directory,
		fill_directory,
		rename_name,
		rename_name,
		rename_name,
		truncate_name,
		change_attributes,
		attribute_step,
		attribute_step,
		write_name,
		look,
		look,
		hold,
		held_step,
		held_step,
	};

	steps[below(sizeof(steps) / sizeof(steps[0]))]();
}

static void end(void)
{
	note("the end");
	held_done();
	check_all();
}

const struct kind kind_names = {.name = "names", .begin = begin, .step = step, .end = end};
