/* Descriptors that stay open over many steps, and so over deaths: also of files whose last name is gone. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "tests/crash/names.h"
#include "uploader/base/cleanup.h"

struct held {
	struct object *object; /* NULL: free */
	int fd;
	bool append;
};

static struct held held[HELD_MAX];

static void write_at_end(struct object *object, int fd, bool append, size_t length)
{
	unsigned char data[FILE_BYTES_MAX];

	pattern(data, object->seed, object->valid, length);
	if (append)
		MUST(length, write(fd, data, length));
	else
		MUST(length, pwrite(fd, data, length, (off_t)object->valid));
	object->valid = object->size = object->valid + length;
	object->mtime = 0;
}

void write_anew(struct object *object, int fd, bool append, size_t length)
{
	static uint64_t count;

	if (object->size > 0)
		MUST(0, ftruncate(fd, 0));
	object->valid = object->size = 0;
	object->mtime = 0;
	object->seed ^= ++count << 40;
	if (length > 0)
		write_at_end(object, fd, append, length);
}

void change_content(struct object *object, int fd, bool append)
{
	struct stat st;

	if (object->valid == object->size && object->size < FILE_BYTES_MAX - 1000) {
		write_at_end(object, fd, append, between(1, 1000));
	} else if (object->valid < object->size && once_in(2)) {
		MUST(0, ftruncate(fd, (off_t)object->valid));
		object->size = object->valid;
		object->mtime = 0;
	} else {
		write_anew(object, fd, append, between(1, FILE_BYTES_MAX / 2));
	}
	MUST(0, fstat(fd, &st));
	check_stat(object, &st);
	if (once_in(2))
		check_content(object, fd);
}

void held_open(struct place *place)
{
	struct held *one = &held[below(HELD_MAX)];

	if (one->object || !place->object || place->object->type != TYPE_FILE)
		return;
	note("hold %s", place->path);
	*one = (struct held){.object = place->object, .append = once_in(2)};
	one->fd = (int)DONE(open(place->path, O_RDWR | O_CLOEXEC | (one->append ? O_APPEND : 0)));
	one->object->holders++;
}

static void held_close(struct held *one)
{
	struct object *object = one->object;

	note("close a held file");
	MUST(0, close(TAKE_FD(one->fd)));
	one->object = NULL;
	object->holders--;
	drop_object(object);
}

static void held_use(struct held *one)
{
	struct statvfs vfs;
	struct stat st;

	note("a held file, nlink %u, size %zu", one->object->nlink, one->object->size);
	MUST(0, fstat(one->fd, &st));
	check_stat(one->object, &st);
	check_content(one->object, one->fd);
	if (once_in(2))
		change_content(one->object, one->fd, one->append);
	if (once_in(10))
		MUST(0, once_in(2) ? fsync(one->fd) : fdatasync(one->fd));
	if (once_in(10)) {
		MUST(0, fchmod(one->fd, 0660));
		one->object->mode = 0660;
	}
	if (once_in(10)) {
		MUST(0, fstatvfs(one->fd, &vfs));
		CHECK(vfs.f_bsize > 0 && vfs.f_blocks > 0, "statvfs says nothing");
	}
}

void held_step(void)
{
	struct held *one = &held[below(HELD_MAX)];

	if (!one->object)
		return;
	if (once_in(12))
		held_close(one);
	else
		held_use(one);
}

void held_done(void)
{
	for (unsigned int i = 0; i < HELD_MAX; i++) {
		if (held[i].object) {
			held_use(&held[i]);
			held_close(&held[i]);
		}
	}
}
