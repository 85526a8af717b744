/* Whether those who serve get on. Waiting for a disk, or for another machine, is no illness: the process that comes next
 * would wait as well. Waiting for a lock for seconds is, since they are held for microseconds; so is running for
 * seconds without an end. proc_pid_syscall(5) tells one from the other. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fusefs/fs/internal.h"
#include "uploader/base/fdio.h"
#include "uploader/base/log.h"
#include "uploader/base/units.h"

#define LOOK_AFTER_NS NSEC_PER_SEC /* a request in hand for less is not looked at */
#define STUCK_NS (4 * NSEC_PER_SEC)

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return timespec_ns(now);
}

/* In the kernel, for something else than a lock of ours. When that cannot be told: yes. */
static bool waits_outside(pid_t tid)
{
	_cleanup_buf_ struct buf text = {.max = 4096};
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", (int)tid);
	if (read_file(AT_FDCWD, path, &text) < 0 || !text.data)
		return true;
	if (!strncmp(text.data, "running", strlen("running")))
		return false;
	return strtol(text.data, NULL, 10) != SYS_futex;
}

/* Whether a worker has been stuck over one request for long. *busy counts those that have one in hand. */
static bool is_stuck(struct worker *worker, int64_t now, unsigned int *busy)
{
	int64_t since = atomic_load_explicit(&worker->busy_since, memory_order_relaxed);
	pid_t tid = atomic_load(&worker->tid);

	*busy += since != 0;
	if (!since || !tid || now - since < LOOK_AFTER_NS || waits_outside(tid)) {
		worker->stuck_since = 0;
		return false;
	}
	if (!worker->stuck_since)
		worker->stuck_since = now;
	return now - worker->stuck_since > STUCK_NS;
}

/* Whether there was a request all the time, and nobody who took any. */
static bool is_deaf(struct fs *fs, int64_t now)
{
	struct pollfd requests = {.fd = fuse_session_fd(fs->session), .events = POLLIN};
	uint64_t taken = atomic_load_explicit(&fs->server.taken, memory_order_relaxed);

	if (taken != fs->taken_before || poll(&requests, 1, 0) <= 0) {
		fs->taken_before = taken;
		fs->waits_since = 0;
		return false;
	}
	if (!fs->waits_since)
		fs->waits_since = now;
	return now - fs->waits_since > STUCK_NS;
}

bool fs_is_alive(struct fs *fs)
{
	unsigned int busy = 0;
	int64_t now = now_ns();
	bool stuck = false;

	if (!atomic_load(&fs->serving))
		return true;
	for (unsigned int i = 0; i < fs->options.threads; i++) {
		/* Each of them is looked at each time. */
		bool this_one = is_stuck(&fs->workers[i], now, &busy);

		stuck = stuck || this_one;
	}
	bool deaf = is_deaf(fs, now) && busy < fs->options.threads;

	if (stuck || deaf)
		log_error("stuck: %s",
			stuck ? "a thread has waited for a lock, or run in a circle, over one request for seconds"
			      : "requests wait, and no thread takes them");
	return !stuck && !deaf;
}
