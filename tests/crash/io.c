/* The kind "io": random reads and writes of one file after the other, through descriptors and through a shared mapping,
 * with the whole content known. Some files have lost their name while they are open. */
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/crash/writer.h"

#define FILES 8
#define IO_BYTES_MAX (192 << 10)
#define PIECE_MAX 20000

static struct {
	char path[32];
	int fd, other_fd; /* two descriptions of the file */
	unsigned char *map;
	bool unlinked;
	size_t size;
	unsigned int steps_left;
} file = {.fd = -1, .other_fd = -1};

static unsigned char content[IO_BYTES_MAX], data[IO_BYTES_MAX + 1];

static void compare(const unsigned char *got, size_t offset, size_t length)
{
	for (size_t i = 0; i < length; i++)
		CHECK(got[i] == content[offset + i], "byte %zu of %s is %02x, must be %02x", offset + i, file.path,
			got[i], content[offset + i]);
}

static void check_size(int fd)
{
	struct stat st;

	MUST(0, fstat(fd, &st));
	CHECK((size_t)st.st_size == file.size, "size of %s is %lld, must be %zu", file.path, (long long)st.st_size,
		file.size);
	CHECK(st.st_nlink == (file.unlinked ? 0 : 1), "nlink of %s is %lu", file.path, (unsigned long)st.st_nlink);
}

static void check_whole(int fd)
{
	check_size(fd);
	MUST(file.size, pread(fd, data, sizeof(data), 0));
	compare(data, 0, file.size);
}

static void map_it(void)
{
	file.map = CALL(mmap(NULL, IO_BYTES_MAX, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd, 0));
	CHECK(file.map != MAP_FAILED, "mmap: %s", strerror(errno));
}

static void close_it(void)
{
	note("close %s", file.path);
	if (file.map && once_in(2))
		MUST(0, msync(file.map, IO_BYTES_MAX, MS_SYNC));
	check_whole(file.other_fd);
	if (file.map)
		MUST(0, munmap(file.map, IO_BYTES_MAX));
	file.map = NULL;
	MUST(0, close(file.other_fd));
	MUST(0, close(file.fd));
	file.fd = file.other_fd = -1;
	if (file.unlinked)
		return;
	int fd = (int)DONE(open(file.path, O_RDONLY | O_CLOEXEC));

	check_whole(fd);
	MUST(0, close(fd));
}

static void open_next(void)
{
	snprintf(file.path, sizeof(file.path), "f%u", below(FILES));
	note("open %s", file.path);
	file.fd = (int)DONE(open(file.path, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0640));
	file.other_fd = (int)DONE(open(file.path, O_RDWR | O_CLOEXEC));
	file.size = 0;
	memset(content, 0, sizeof(content));
	file.unlinked = once_in(4);
	if (file.unlinked)
		MUST(0, unlink(file.path));
	file.steps_left = between(20, 300);
	if (once_in(2))
		map_it();
}

static int either_fd(void)
{
	return once_in(2) ? file.fd : file.other_fd;
}

static void grown(size_t end)
{
	file.size = end > file.size ? end : file.size;
}

static void write_piece(void)
{
	size_t length = between(1, PIECE_MAX), offset = below(IO_BYTES_MAX - PIECE_MAX);

	note("write %zu+%zu in %s", offset, length, file.path);
	pattern(content + offset, self.slot->seed + self.slot->steps, offset, length);
	MUST(length, pwrite(either_fd(), content + offset, length, (off_t)offset));
	grown(offset + length);
}

static void read_piece(void)
{
	size_t length = between(1, PIECE_MAX), offset = below(IO_BYTES_MAX - PIECE_MAX);
	size_t there = offset < file.size ? file.size - offset : 0;

	note("read %zu+%zu of %s", offset, length, file.path);
	MUST(there < length ? there : length, pread(either_fd(), data, length, (off_t)offset));
	compare(data, offset, there < length ? there : length);
}

/* Within the size: beyond is SIGBUS, or nobody's. */
static void store_piece(void)
{
	if (!file.map || file.size == 0)
		return;
	size_t offset = below((uint32_t)file.size), length = between(1, PIECE_MAX);

	length = length < file.size - offset ? length : file.size - offset;
	note("store %zu+%zu in the mapping of %s", offset, length, file.path);
	pattern(content + offset, self.slot->seed + self.slot->steps, offset, length);
	CALL(memcpy(file.map + offset, content + offset, length));
	MUST(length, pread(either_fd(), data, length, (off_t)offset));
	compare(data, offset, length);
}

static void load_piece(void)
{
	if (!file.map || file.size == 0)
		return;
	size_t offset = below((uint32_t)file.size), length = between(1, PIECE_MAX);

	length = length < file.size - offset ? length : file.size - offset;
	note("load %zu+%zu from the mapping of %s", offset, length, file.path);
	CALL(memcpy(data, file.map + offset, length));
	compare(data, offset, length);
}

static void resize(void)
{
	size_t size = below(IO_BYTES_MAX);

	note("size of %s from %zu to %zu", file.path, file.size, size);
	MUST(0, ftruncate(either_fd(), (off_t)size));
	if (size < file.size)
		memset(content + size, 0, file.size - size);
	file.size = size;
	check_size(either_fd());
}

static void allocate(void)
{
	static const int modes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
		FALLOC_FL_KEEP_SIZE | FALLOC_FL_ZERO_RANGE};
	size_t length = between(1, PIECE_MAX), offset = below(IO_BYTES_MAX - PIECE_MAX);
	unsigned int which = below(4);

	note("fallocate mode=%d %zu+%zu in %s", modes[which], offset, length, file.path);
	MUST(0, fallocate(either_fd(), modes[which], (off_t)offset, (off_t)length));
	if (which == 0)
		grown(offset + length);
	if (which >= 2)
		memset(content + offset, 0, length);
	check_size(either_fd());
}

static void sync_it(void)
{
	note("sync %s", file.path);
	MUST(0, once_in(2) ? fsync(either_fd()) : fdatasync(either_fd()));
}

static void seek_end(void)
{
	note("lseek in %s", file.path);
	MUST(file.size, lseek(either_fd(), 0, SEEK_END));
	if (file.size > 0 && once_in(2))
		MUST(-ENXIO, lseek(file.fd, (off_t)file.size, SEEK_DATA));
}

static void look(void)
{
	note("check %s", file.path);
	check_whole(either_fd());
}

static void step(void)
{
	static void (*const steps[])(void) = {write_piece, write_piece, write_piece, read_piece, read_piece,
		read_piece, store_piece, store_piece, load_piece, resize, allocate, seek_end, look};

	if (file.fd < 0)
		open_next();
	else if (file.steps_left-- == 0)
		close_it();
	else if (once_in(40))
		sync_it();
	else
		steps[below(sizeof(steps) / sizeof(steps[0]))]();
}

static void end(void)
{
	if (file.fd >= 0)
		close_it();
}

const struct kind kind_io = {.name = "io", .step = step, .end = end};
