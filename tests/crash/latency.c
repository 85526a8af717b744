/* Two that do not check but ask: how long does an answer take?
 *
 * latency FILE RING: asks for FILE's attributes, past all caches, in a tight loop, and writes the begin and end of each
 * call into the ring that the caller made. probe DIRECTORY: one round of questions per line on stdin; answers the ns
 * that it took, or the errno as a negative number. Whoever waits for a probe may do so with a deadline: a call that
 * nobody answers hangs here and not there. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "tests/crash/writer.h"
#include "uploader/base/cleanup.h"

#define RING_CALLS (1 << 18)

struct ring {
	uint64_t count;
	int64_t error; /* 0, or the errno that ended it */
	struct {
		uint64_t begin_ns, end_ns;
	} calls[RING_CALLS];
};

static int ask(int fd)
{
	struct statx stx;

	return statx(fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &stx);
}

int latency_main(const char *path, const char *ring_path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	_cleanup_close_ int ring_fd = open(ring_path, O_RDWR | O_CLOEXEC);
	struct ring *ring = mmap(NULL, sizeof(*ring), PROT_READ | PROT_WRITE, MAP_SHARED, ring_fd, 0);

	if (fd < 0 || ring == MAP_FAILED) {
		perror("crash-writer latency");
		return 2;
	}
	for (;;) {
		uint64_t begin_ns = now_ns();

		if (ask(fd) < 0) {
			ring->error = errno;
			return 1;
		}
		ring->calls[ring->count % RING_CALLS].begin_ns = begin_ns;
		ring->calls[ring->count % RING_CALLS].end_ns = now_ns();
		__atomic_store_n(&ring->count, ring->count + 1, __ATOMIC_RELEASE);
	}
}

/* A name that is new each time goes past the cache of names that are not there. */
static int probe(const char *directory)
{
	static unsigned int count;
	char path[512];
	struct statvfs vfs;
	struct stat st;

	snprintf(path, sizeof(path), "%s/.probe-%u", directory, count++);
	if (statvfs(directory, &vfs) < 0)
		return -errno;
	if (stat(path, &st) == 0)
		return -EEXIST;
	return errno == ENOENT ? 0 : -errno;
}

int probe_main(const char *directory)
{
	char line[8];

	while (fgets(line, sizeof(line), stdin)) {
		uint64_t begin_ns = now_ns();
		int r = probe(directory);

		printf("%lld\n", r < 0 ? (long long)r : (long long)(now_ns() - begin_ns));
		fflush(stdout);
	}
	return 0;
}
