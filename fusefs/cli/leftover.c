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

struct record {
	char name[32];
	int pid;
	uint64_t start; /* clock ticks since boot */
};

/* Field 22 of /proc/PID/stat (proc_pid_stat(5)), counted from after the name, which may hold anything. 0: none. */
static uint64_t start_of(pid_t pid)
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
		if (children[i].pid)
			buf_putf(&text, "%s %d %" PRIu64 "\n", part_program(children[i].part), (int)children[i].pid,
				start_of(children[i].pid));
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

static void end(const struct record *record)
{
	_cleanup_close_ int pidfd = pidfd_open(record->pid, 0);

	/* The descriptor first: once it is open, the pid cannot become another's. */
	if (pidfd < 0 || record->start == 0 || start_of(record->pid) != record->start)
		return;
	log_warning("an earlier run left %s pid=%d: ending it", record->name, record->pid);
	if (pidfd_send_signal(pidfd, SIGTERM, NULL, 0) < 0 || wait_end(pidfd, END_TIMEOUT_MS))
		return;
	log_warning("%s pid=%d does not end: killing it", record->name, record->pid);
	if (pidfd_send_signal(pidfd, SIGKILL, NULL, 0) == 0 && !wait_end(pidfd, KILL_TIMEOUT_MS))
		log_error("%s pid=%d does not even die", record->name, record->pid);
}

void leftover_end(const char *directory, const char *name)
{
	_cleanup_close_ int dirfd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_buf_ struct buf text = {.max = 4096};
	struct record records[PARTS];
	size_t n = 0;

	if (dirfd < 0 || read_file(dirfd, name, &text) < 0 || !text.data)
		return;
	for (const char *line = text.data; *line && n < PARTS;) {
		struct record *record = &records[n];

		if (sscanf(line, "%31s %d %" SCNu64, record->name, &record->pid, &record->start) == 3 &&
			record->pid > 1)
			n++;
		line += strcspn(line, "\n");
		line += *line == '\n';
	}
	while (n-- > 0)
		end(&records[n]);
	unlinkat(dirfd, name, 0);
}
