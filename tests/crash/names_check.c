/* Looks whether names, attributes and contents are what the model says. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/crash/names.h"
#include "uploader/base/cleanup.h"

#define MTIME_NS 123456789

static const char *const xattr_names[XATTRS] = {"user.one", "user.two", "user.three"};

const char *link_target(const struct object *object)
{
	static char target[48];

	snprintf(target, sizeof(target), "nowhere/%llx", (unsigned long long)object->seed);
	return target;
}

void check_stat(const struct object *object, const struct stat *st)
{
	static const mode_t types[] = {
		[TYPE_FILE] = S_IFREG, [TYPE_DIR] = S_IFDIR, [TYPE_SYMLINK] = S_IFLNK, [TYPE_FIFO] = S_IFIFO};

	CHECK(st->st_mode == (types[object->type] | object->mode), "mode is %o, must be %o", st->st_mode,
		types[object->type] | object->mode);
	CHECK(object->type == TYPE_DIR || st->st_nlink == object->nlink, "nlink is %lu, must be %u",
		(unsigned long)st->st_nlink, object->nlink);
	CHECK(object->type != TYPE_FILE || (size_t)st->st_size == object->size, "size is %lld, must be %zu",
		(long long)st->st_size, object->size);
	CHECK(object->mtime == 0 || (st->st_mtim.tv_sec == object->mtime && st->st_mtim.tv_nsec == MTIME_NS),
		"mtime is %lld.%09ld, must be %lld", (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec,
		(long long)object->mtime);
}

void check_content(const struct object *object, int fd)
{
	static unsigned char data[FILE_BYTES_MAX + 1];

	MUST(object->size, pread(fd, data, sizeof(data), 0));
	pattern_check(data, object->seed, 0, object->valid);
	for (size_t i = object->valid; i < object->size; i++)
		CHECK(data[i] == 0, "byte %zu is %02x, must be 0", i, data[i]);
}

static void check_xattrs(const struct place *place)
{
	char list[256], value[16];
	ssize_t expected = 0;

	for (unsigned int i = 0; i < XATTRS; i++) {
		uint32_t number = place->object->xattrs[i];

		if (number == 0) {
			MUST(-ENODATA, getxattr(place->path, xattr_names[i], value, sizeof(value)));
			continue;
		}
		expected += (ssize_t)strlen(xattr_names[i]) + 1;
		MUST(sizeof(number), getxattr(place->path, xattr_names[i], value, sizeof(value)));
		CHECK(!memcmp(value, &number, sizeof(number)), "value of %s differs", xattr_names[i]);
	}
	MUST(expected, listxattr(place->path, list, sizeof(list)));
}

static void check_directory(const struct place *place)
{
	char path[PATH_BYTES + 8], content[33];

	snprintf(path, sizeof(path), "%s/in", place->path);
	_cleanup_close_ int fd = CALL(open(path, O_RDONLY | O_CLOEXEC));

	CHECK(place->object->full ? fd >= 0 : errno == ENOENT, "%s: expected it %s", path,
		place->object->full ? "there" : "gone");
	if (fd < 0)
		return;
	MUST(32, read(fd, content, sizeof(content)));
	pattern_check(content, place->object->seed, 0, 32);
}

static void check_target(const struct place *place)
{
	char target[64] = "";
	const char *expected = link_target(place->object);

	MUST(strlen(expected), readlink(place->path, target, sizeof(target) - 1));
	CHECK(!strcmp(target, expected), "%s leads to %s, must to %s", place->path, target, expected);
}

void check_place(const struct place *place)
{
	struct stat st;

	if (!place->object) {
		MUST(-ENOENT, lstat(place->path, &st));
		return;
	}
	MUST(0, lstat(place->path, &st));
	check_stat(place->object, &st);
	if (place->object->type == TYPE_SYMLINK) {
		check_target(place);
	} else if (place->object->type == TYPE_DIR) {
		check_directory(place);
	} else if (place->object->type == TYPE_FILE) {
		_cleanup_close_ int fd = (int)DONE(open(place->path, O_RDONLY | O_CLOEXEC));

		check_content(place->object, fd);
		check_xattrs(place);
		MUST(0, close(TAKE_FD(fd)));
	}
}

/* Exactly the names of the model, each once. */
void check_listing(unsigned int parent)
{
	char path[2] = {(char)('a' + (int)parent)};
	unsigned int seen[NAMES] = {0};
	_cleanup_closedir_ DIR *dir = CALL(opendir(path));

	note("list %s", path);
	CHECK(dir, "opendir: %s", strerror(errno));
	for (;;) {
		unsigned int number;

		errno = 0;
		const struct dirent *entry = CALL(readdir(dir));

		if (!entry)
			break;
		if (entry->d_name[0] == '.')
			continue;
		CHECK(sscanf(entry->d_name, "n%2u", &number) == 1 && number < NAMES, "a strange name %s",
			entry->d_name); /* NOLINT(bugprone-unchecked-string-to-number-conversion) */
		seen[number]++;
	}
	CHECK(errno == 0, "readdir: %s", strerror(errno));
	for (unsigned int i = 0; i < NAMES; i++) {
		const struct place *place = &places[parent * NAMES + i];

		CHECK(seen[i] == (place->object ? 1 : 0), "%s is listed %u times", place->path, seen[i]);
	}
}

void check_all(void)
{
	for (unsigned int i = 0; i < PARENTS; i++)
		check_listing(i);
	for (unsigned int i = 0; i < PARENTS * NAMES; i++) {
		note("check %s", places[i].path);
		check_place(&places[i]);
	}
}

void xattr_step(struct place *place)
{
	static const int flags[] = {0, XATTR_CREATE, XATTR_REPLACE};
	unsigned int which = below(XATTRS), how = below(4);
	struct object *object = place->object;
	uint32_t value = 1 + below(UINT32_MAX);

	if (!object || object->type != TYPE_FILE)
		return;
	note("xattr %s of %s how=%u", xattr_names[which], place->path, how);
	if (how == 3) {
		MUST(object->xattrs[which] ? 0 : -ENODATA, removexattr(place->path, xattr_names[which]));
		object->xattrs[which] = 0;
	} else {
		long expected = 0;

		if (flags[how] == XATTR_CREATE && object->xattrs[which])
			expected = -EEXIST;
		if (flags[how] == XATTR_REPLACE && !object->xattrs[which])
			expected = -ENODATA;
		MUST(expected, setxattr(place->path, xattr_names[which], &value, sizeof(value), flags[how]));
		if (expected == 0)
			object->xattrs[which] = value;
	}
	check_xattrs(place);
}
