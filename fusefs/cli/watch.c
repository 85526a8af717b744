#include "fusefs/cli/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define SOCKET_MODE 0600

int watch_listen(const char *directory, const char *name)
{
	static const int on = 1;
	_cleanup_close_ int dirfd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC), fd = -1;
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (dirfd < 0)
		return -errno;
	/* Fits, however long the directory's own path is (sock.h). */
	int n = snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", dirfd, name);

	if (n < 0 || (size_t)n >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
		return -errno;
	if (unlinkat(dirfd, name, 0) < 0 && errno != ENOENT)
		return -errno;
	/* fchmod() before bind() decides the mode of the file: at no moment is it wider. */
	if (fchmod(fd, SOCKET_MODE) < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static bool has_line(const char *text, const char *line)
{
	size_t length = strlen(line);

	for (; *text; text += strcspn(text, "\n"), text += *text == '\n') {
		if (!strncmp(text, line, length) && (text[length] == '\n' || text[length] == '\0'))
			return true;
	}
	return false;
}

pid_t watch_read(int fd, bool *ret_ready)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(struct ucred))];
	} control;
	char text[512];
	struct iovec iov = {.iov_base = text, .iov_len = sizeof(text) - 1};
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	struct ucred sender = {0};
	ssize_t n;

	do
		/* Descriptors that somebody sends along find no room, and are closed by the kernel. */
		n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	const struct cmsghdr *c = CMSG_FIRSTHDR(&message);

	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS)
		memcpy(&sender, CMSG_DATA(c), sizeof(sender));
	text[n] = '\0';
	*ret_ready = has_line(text, "READY=1");
	return *ret_ready || has_line(text, "WATCHDOG=1") ? sender.pid : 0;
}
