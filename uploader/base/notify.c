#include "uploader/base/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "uploader/base/cleanup.h"
#include "uploader/base/units.h"

/* Connected once: the uploader later gives up the user, the names and the system calls that connecting takes. */
static int notify_fd = -1;
static int64_t interval_ms;
static bool ready_owed; /* the socket was full: said with the next sign of life */

/* A path is reached through its directory's descriptor, so that any length fits (sock.h); "@name" is abstract. */
static int make_address(const char *name, struct sockaddr_un *ret, socklen_t *ret_length, int *ret_dirfd)
{
	char directory[PATH_MAX];
	const char *slash = strrchr(name, '/');
	int n;

	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	*ret_length = sizeof(*ret);
	if (name[0] == '@' && name[1]) {
		size_t length = strlen(name);

		if (length > sizeof(ret->sun_path))
			return -ENAMETOOLONG;
		memcpy(ret->sun_path + 1, name + 1, length - 1);
		*ret_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
		return 0;
	}
	if (name[0] != '/' || !slash[1])
		return -EINVAL;
	n = snprintf(directory, sizeof(directory), "%.*s", (int)(slash - name + 1), name);
	if (n < 0 || (size_t)n >= sizeof(directory))
		return -ENAMETOOLONG;
	*ret_dirfd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*ret_dirfd < 0)
		return -errno;
	n = snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d%s", *ret_dirfd, slash);
	return n < 0 || (size_t)n >= sizeof(ret->sun_path) ? -ENAMETOOLONG : 0;
}

static int connect_to(const char *name)
{
	_cleanup_close_ int dirfd = -1, fd = -1;
	struct sockaddr_un address;
	socklen_t length;
	int r = make_address(name, &address, &length, &dirfd);

	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, length) < 0)
		return -errno;
	return TAKE_FD(fd);
}

/* Half of $WATCHDOG_USEC; 0 when it is not there, or meant for another process ($WATCHDOG_PID). */
static int64_t read_interval(void)
{
	const char *limit = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	uint64_t limit_us, wanted;

	if (!limit || parse_u64(limit, 1, INT64_MAX, &limit_us) < 0)
		return 0;
	if (pid && (parse_u64(pid, 1, INT32_MAX, &wanted) < 0 || (pid_t)wanted != getpid()))
		return 0;
	int64_t half_ms = (int64_t)(limit_us / 2000);

	return half_ms > 0 ? half_ms : 1;
}

void notify_init(void)
{
	const char *name = getenv("NOTIFY_SOCKET");

	cleanup_close(&notify_fd);
	notify_fd = name ? connect_to(name) : -1;
	interval_ms = notify_fd >= 0 ? read_interval() : 0;
	ready_owed = false;
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

int64_t notify_interval_ms(void)
{
	return interval_ms;
}

/* False if it may get through later. */
static bool say(const char *text)
{
	return notify_fd < 0 || send(notify_fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT) >= 0 ||
	       errno != EAGAIN;
}

void notify_ready(void)
{
	ready_owed = !say("READY=1");
}

void notify_alive(void)
{
	if (ready_owed)
		ready_owed = !say("READY=1\nWATCHDOG=1");
	else
		(void)say("WATCHDOG=1");
}
