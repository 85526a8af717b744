/* The kind "lock": two writers count in files, each under a lock: flock(2), a lock of the process (fcntl) or of the
 * description (OFD). The board has the truth: who holds what, and what the file must say. */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "tests/crash/writer.h"
#include "uploader/base/cleanup.h"

/* The cell of a lock; a file has room for two byte-range locks side by side. */
enum way {
	WAY_FLOCK,
	WAY_PROCESS,
	WAY_OFD,
	WAY_OFD_BESIDE,
	WAYS,
};

#define RANGE 16

static int fds[WAYS];
static const char *const paths[WAYS] = {"flock", "process", "ofd", "ofd"};

static off_t place(enum way way)
{
	return way == WAY_OFD_BESIDE ? RANGE : 0;
}

static long range(enum way way, short type, bool wait)
{
	struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = place(way), .l_len = RANGE};

	if (way == WAY_PROCESS)
		return fcntl(fds[way], wait ? F_SETLKW : F_SETLK, &lock);
	return fcntl(fds[way], wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock);
}

static void take(enum way way)
{
	note("lock %s", paths[way]);
	if (way == WAY_FLOCK)
		MUST(0, flock(fds[way], LOCK_EX));
	else
		MUST(0, range(way, F_WRLCK, true));
}

static void give(enum way way)
{
	note("unlock %s", paths[way]);
	if (way == WAY_FLOCK)
		MUST(0, flock(fds[way], LOCK_UN));
	else
		MUST(0, range(way, F_UNLCK, false));
}

/* Somebody else's lock must be seen as such. */
static void try_held(enum way way, uint32_t other)
{
	struct cell *cell = &self.board->cells[way];

	if (__atomic_load_n(&cell->owner, __ATOMIC_SEQ_CST) != other)
		return;
	note("try to lock %s", paths[way]);
	long r = way == WAY_FLOCK ? CALL(flock(fds[way], LOCK_EX | LOCK_NB)) : CALL(range(way, F_WRLCK, false));

	if (r == 0) {
		/* It was given back in between, or else this sees two owners. */
		uint32_t nobody = 0;

		CHECK(__atomic_compare_exchange_n(
			      &cell->owner, &nobody, 1 + self.second, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST),
			"got the lock that writer %u holds", nobody);
		__atomic_store_n(&cell->owner, 0, __ATOMIC_SEQ_CST);
		give(way);
	} else {
		CHECK(errno == EAGAIN || errno == EACCES, "try to lock: %s", strerrorname_np(errno));
	}
}

static void count(enum way way)
{
	struct cell *cell = &self.board->cells[way];
	uint64_t value = 0;
	uint32_t nobody = 0;

	take(way);
	CHECK(__atomic_compare_exchange_n(
		      &cell->owner, &nobody, 1 + self.second, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST),
		"the lock of %s is writer %u's as well", paths[way], nobody);
	note("count in %s", paths[way]);
	MUST(sizeof(value), pread(fds[way], &value, sizeof(value), place(way)));
	CHECK(value == cell->value, "%s says %llu, must say %llu", paths[way], (unsigned long long)value,
		(unsigned long long)cell->value);
	value++;
	for (uint32_t i = below(4); i > 0; i--)
		sched_yield();
	if (once_in(4))
		usleep(below(3000));
	MUST(sizeof(value), pwrite(fds[way], &value, sizeof(value), place(way)));
	cell->value = value;
	__atomic_store_n(&cell->owner, 0, __ATOMIC_SEQ_CST);
	give(way);
}

/* Whoever comes first makes the files; a lock for that is what is tested here. */
static void begin(void)
{
	static const uint64_t zeros[2 * RANGE / sizeof(uint64_t)];

	for (enum way way = 0; way < WAYS; way++) {
		fds[way] = (int)DONE(open(paths[way], O_RDWR | O_CREAT | O_CLOEXEC, 0600));
		if (!self.second)
			MUST(sizeof(zeros), pwrite(fds[way], zeros, sizeof(zeros), 0));
	}
	if (!self.second)
		__atomic_store_n(&self.slot->progress, 1, __ATOMIC_RELEASE);
	while (self.second && !__atomic_load_n(&self.peer->progress, __ATOMIC_ACQUIRE) && !self.board->stop)
		usleep(1000);
}

static void step(void)
{
	enum way way = (enum way)below(WAYS);

	if (once_in(3))
		try_held(way, 1 + !self.second);
	count(way);
	/* Closing any descriptor of a file gives up the process's own locks on it: only done when there are none. */
	if (once_in(20)) {
		note("open %s again", paths[way]);
		MUST(0, close(fds[way]));
		fds[way] = (int)DONE(open(paths[way], O_RDWR | O_CLOEXEC));
	}
}

const struct kind kind_lock = {.name = "lock", .begin = begin, .step = step};
