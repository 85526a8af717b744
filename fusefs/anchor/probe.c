#include "fusefs/anchor/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEPT_FDS 2

/* In the grandchild. A process that hangs must be nobody's to wait for, and hold nothing of the anchor's: not its lock
 * above all. */
static void ask_and_exit(int dirfd, const char *path, int result)
{
	/* Out of the way of the two numbers that they are to have. */
	int from = dirfd >= 0 ? fcntl(dirfd, F_DUPFD, KEPT_FDS) : dirfd, to = fcntl(result, F_DUPFD, KEPT_FDS);
	struct statx stx;
	uint8_t answer = 0;

	if (dup2(to, STDIN_FILENO) < 0 || (dirfd >= 0 && dup2(from, STDOUT_FILENO) < 0) ||
		close_range(dirfd >= 0 ? KEPT_FDS : STDOUT_FILENO, ~0U, 0) < 0)
		_exit(1);
	if (dirfd >= 0)
		dirfd = STDOUT_FILENO;
	/* FORCE_SYNC: a dead FUSE mount still answers from what the kernel has cached. */
	if (statx(dirfd, path, AT_EMPTY_PATH | AT_STATX_FORCE_SYNC | AT_NO_AUTOMOUNT, STATX_BASIC_STATS, &stx) < 0)
		answer = (uint8_t)errno;
	_exit(write(STDIN_FILENO, &answer, 1) == 1 ? 0 : 1);
}

int probe_start(int dirfd, const char *path)
{
	_cleanup_close_ int from = -1, to = -1;
	int ends[2];

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	from = ends[0];
	to = ends[1];

	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		pid = fork();
		if (pid == 0)
			ask_and_exit(dirfd, path, to);
		_exit(pid < 0);
	}
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return TAKE_FD(from);
}

int probe_finish(int fd)
{
	uint8_t answer;
	ssize_t n = read(fd, &answer, 1);

	if (n != 1)
		return n < 0 ? -errno : -EIO;
	/* ECONNABORTED: it was asked while the connection was being aborted. */
	return answer == ECONNABORTED ? -ENOTCONN : -answer;
}
