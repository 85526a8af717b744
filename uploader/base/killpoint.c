#include "uploader/base/killpoint.h"

#ifdef EBBFS_KILL_POINTS

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct kill_points *points;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void map(void)
{
	const char *path = getenv("KILL_POINTS_FILE");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;

	if (fd < 0)
		return;
	void *at = mmap(NULL, sizeof(*points), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	close(fd);
	points = at == MAP_FAILED ? NULL : at;
}

void kill_point(const char *name)
{
	pthread_once(&once, map);
	if (!points || __atomic_load_n(&points->countdown, __ATOMIC_SEQ_CST) <= 0)
		return;
	if (points->process[0] &&
		strncmp(points->process, program_invocation_short_name, sizeof(points->process)) != 0)
		return;
	__atomic_fetch_add(&points->passed, 1, __ATOMIC_SEQ_CST);
	if (__atomic_fetch_sub(&points->countdown, 1, __ATOMIC_SEQ_CST) != 1)
		return;
	snprintf(points->name, sizeof(points->name), "%s", name);
	__atomic_fetch_add(&points->deaths, 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(&points->countdown, points->then, __ATOMIC_SEQ_CST);
	points->then = 0;
	if (points->how == 0)
		kill(getpid(), SIGKILL);
	for (volatile int i = 0;; i++)
		;
}

#endif
