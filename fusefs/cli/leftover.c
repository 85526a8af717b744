#include "fusefs/cli/leftover.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>

#include "uploader/base/fdio.h"
#include "uploader/base/log.h"

#define END_TIMEOUT_MS 10000
#define KILL_TIMEOUT_MS 2000

/* Field 22 of /proc/PID/stat (proc_pid_stat(5)), counted from after the name, which may hold anything. */
uint64_t process_start_ticks(pid_t pid)
{
	_cleanup_buf_ struct buf stat = {.max = 8192};
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (read_file(AT_FDCWD, path, &stat) < 0 || !stat.data)
		return 0;

	const char *at = strrchr(stat.data, ')');

	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	return at ? strtoull(at + 1, NULL, 10) : 0;
}

int leftover_write(const char *directory, const char *name, const struct child *children, size_t n)
{
	_cleanup_close_ int dirfd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_buf_ struct buf text = {.max = 4096};
	_cleanup_close_ int fd = -1;
	char temporary[64];

	if (dirfd < 0)
		return -errno;
	for (size_t i = 0; i < n; i++) {
		const struct child *child = &children[i];

		if (child_is_up(child))
			buf_putf(&text, "%s %d %" PRIu64 "\n", part_program(child->part),
				(int)(child->pid ? child->pid : child->old_pid),
				child->pid ? child->start_ticks : child->old_ticks);
	}
	if (text.error)
		return text.error;
	snprintf(temporary, sizeof(temporary), "%.50s.new", name);
	fd = openat(dirfd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	int r = text.length ? write_full(fd, text.data, text.length) : 0;

	if (r < 0)
		return r;
	return renameat(dirfd, temporary, dirfd, name) < 0 ? -errno : 0;
}

static bool wait_end(int pidfd, int timeout_ms)
{
	struct pollfd poll_fd = {.fd = pidfd, .events = POLLIN};

	return poll(&poll_fd, 1, timeout_ms) > 0;
}

static void end(struct child *child)
{
	const char *name = part_name(child->part);

	log_warning("an earlier run left %s pid=%d: ending it", name, (int)child->old_pid);
	if (pidfd_send_signal(child->old_fd, SIGTERM, NULL, 0) < 0 || wait_end(child->old_fd, END_TIMEOUT_MS))
		return;
	log_warning("%s pid=%d does not end: killing it", name, (int)child->old_pid);
	if (pidfd_send_signal(child->old_fd, SIGKILL, NULL, 0) == 0 && !wait_end(child->old_fd, KILL_TIMEOUT_MS))
		log_error("%s pid=%d does not even die", name, (int)child->old_pid);
}

void leftover_end(struct child *children, size_t n)
{
	while (n-- > 0) {
		if (children[n].old_fd < 0)
			continue;
		end(&children[n]);
		close(TAKE_FD(children[n].old_fd));
	}
}

static bool find_one(struct child *child, pid_t pid, uint64_t ticks)
{
	_cleanup_close_ int pidfd = pidfd_open(pid, 0);

	/* The descriptor first: once it is open, the pid cannot become another's. */
	if (pidfd < 0 || ticks == 0 || process_start_ticks(pid) != ticks || wait_end(pidfd, 0))
		return false;
	child->old_pid = pid;
	child->old_ticks = ticks;
	child->old_fd = TAKE_FD(pidfd);
	return true;
}

size_t leftover_find(const char *directory, const char *name, struct child *children, size_t n)
{
	_cleanup_close_ int dirfd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_buf_ struct buf text = {.max = 4096};
	size_t found = 0;

	if (dirfd < 0 || read_file(dirfd, name, &text) < 0 || !text.data)
		return 0;
	for (const char *line = text.data; *line;) {
		char program[32];
		uint64_t ticks;
		int pid;

		if (sscanf(line, "%31s %d %" SCNu64, program, &pid, &ticks) == 3 && pid > 1) {
			for (size_t i = 0; i < n; i++) {
				if (children[i].old_fd < 0 && !strcmp(program, part_program(children[i].part)))
					found += find_one(&children[i], pid, ticks);
			}
		}
		line += strcspn(line, "\n");
		line += *line == '\n';
	}
	return found;
}
