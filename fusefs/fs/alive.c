/* Whether those who serve get on. Waiting for a disk, or for another machine, is no illness: the process that comes next
 * would wait as well. Waiting for a lock for seconds is, since they are held for microseconds; so is running for
 * seconds without an end. proc_pid_syscall(5) tells one from the other. A node's lock alone is held over calls that
 * may wait for the disk: who waits for it fares as its holder does. */
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

/* What a thread does: proc_pid_syscall(5). */
struct doing {
	bool is_running, is_unknown;
	long number;        /* of the system call; -1: none */
	uintptr_t argument; /* the first */
};

static struct doing look_at(pid_t tid)
{
	_cleanup_buf_ struct buf text = {.max = 4096};
	struct doing doing = {.number = -1};
	char path[64], *end;

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", (int)tid);
	doing.is_unknown = read_file(AT_FDCWD, path, &text) < 0 || !text.data;
	if (doing.is_unknown)
		return doing;
	doing.is_running = !strncmp(text.data, "running", strlen("running"));
	if (!doing.is_running) {
		doing.number = strtol(text.data, &end, 10);
		doing.argument = (uintptr_t)strtoull(end, NULL, 16);
	}
	return doing;
}

/* The thread that holds the node's lock at this address; 0: there is none, or it is not held. */
static pid_t holder_of(const struct fs *fs, uintptr_t address)
{
	uintptr_t offset = address - (uintptr_t)fs->node_locks;

	if (address < (uintptr_t)fs->node_locks || offset >= sizeof(fs->node_locks))
		return 0;
	return __atomic_load_n(&fs->node_locks[offset / sizeof(fs->node_locks[0])].__data.__owner, __ATOMIC_RELAXED);
}

/* In the kernel, for something else than a lock of ours. When that cannot be told: yes. */
static bool waits_outside(const struct fs *fs, pid_t tid)
{
	struct doing doing = look_at(tid);
	pid_t holder = doing.number == SYS_futex ? holder_of(fs, doing.argument) : 0;

	/* Who holds a node's lock waits for none of these himself. */
	if (holder)
		doing = look_at(holder);
	return doing.is_unknown || (!doing.is_running && doing.number != SYS_futex);
}

/* Whether a worker has been stuck over one request for long. *busy counts those that have one in hand. */
static bool is_stuck(struct worker *worker, int64_t now, unsigned int *busy)
{
	int64_t since = atomic_load_explicit(&worker->busy_since, memory_order_relaxed);
	pid_t tid = atomic_load(&worker->tid);

	*busy += since != 0;
	if (!since || !tid || now - since < LOOK_AFTER_NS || waits_outside(worker->fs, tid)) {
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
	int64_t now = clock_ns();
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
