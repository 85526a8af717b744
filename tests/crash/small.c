/* The kind "small": what the vendor program does: small files, written once under a new name or moved to it, and read
 * by others. Each step takes some ms, so that their number stays what a bucket of a test can hold. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/crash/writer.h"
#include "uploader/base/cleanup.h"

#define FILES_MAX 40000
#define BYTES_MAX 4000
#define REST_US 25000
#define FOLDER_FILES 500

static unsigned int count;

static size_t size_of(unsigned int which)
{
	return 1 + (which * 7919 + self.slot->seed) % BYTES_MAX;
}

static uint64_t seed_of(unsigned int which)
{
	return self.slot->seed * 31 + which;
}

static void path_of(char out[static 48], unsigned int which)
{
	snprintf(out, 48, "%u/%05u.data", which / FOLDER_FILES, which);
}

static void check(unsigned int which)
{
	unsigned char data[BYTES_MAX + 1];
	char path[48];
	struct stat st;

	path_of(path, which);
	note("read %s", path);
	MUST(0, stat(path, &st));
	CHECK((size_t)st.st_size == size_of(which), "size is %lld, must be %zu", (long long)st.st_size,
		size_of(which));
	_cleanup_close_ int fd = (int)DONE(open(path, O_RDONLY | O_CLOEXEC));

	MUST(size_of(which), read(fd, data, sizeof(data)));
	pattern_check(data, seed_of(which), 0, size_of(which));
	MUST(0, close(TAKE_FD(fd)));
}

static void make(unsigned int which)
{
	unsigned char data[BYTES_MAX];
	bool moved = which % 3 == 0;
	char path[48], made[64];

	path_of(path, which);
	snprintf(made, sizeof(made), "%s%s", path, moved ? ".part" : "");
	note("write %s", made);
	if (which % FOLDER_FILES == 0) {
		char folder[16];

		snprintf(folder, sizeof(folder), "%u", which / FOLDER_FILES);
		MUST(0, mkdir(folder, 0755));
	}
	_cleanup_close_ int fd = (int)DONE(open(made, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644));

	pattern(data, seed_of(which), 0, size_of(which));
	MUST(size_of(which), write(fd, data, size_of(which)));
	if (once_in(16))
		MUST(0, fsync(fd));
	MUST(0, close(TAKE_FD(fd)));
	if (moved) {
		MUST(0, rename(made, path));
		MUST(-ENOENT, access(made, F_OK));
	}
}

static void step(void)
{
	if (count < FILES_MAX)
		make(count++);
	check(below(count));
	usleep(below(2 * REST_US));
}

static void end(void)
{
	for (unsigned int i = 0; i < count; i++)
		check(i);
}

const struct kind kind_small = {.name = "small", .step = step, .end = end};
