#include "uploader/base/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

/* A socket, and the address of its name in the directory *ret_dirfd: /proc/self/fd/N/name always fits, however long the
 * directory's own path is. The descriptor or -errno; *ret_dirfd is the caller's in either case. */
static int new_socket(const char *directory, const char *name, int flags, struct sockaddr_un *ret, int *ret_dirfd)
{
	*ret_dirfd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*ret_dirfd < 0)
		return -errno;
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	int n = snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/%s", *ret_dirfd, name);

	if (n < 0 || (size_t)n >= sizeof(ret->sun_path))
		return -ENAMETOOLONG;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0);

	return fd < 0 ? -errno : fd;
}

int sock_listen(const char *directory, const char *name, mode_t mode)
{
	_cleanup_close_ int dirfd = -1;
	struct sockaddr_un address;
	_cleanup_close_ int fd = new_socket(directory, name, 0, &address, &dirfd);

	if (fd < 0)
		return fd;
	if (unlinkat(dirfd, name, 0) < 0 && errno != ENOENT)
		return -errno;
	/* fchmod() before bind() decides the mode of the file: at no moment is it wider. */
	if (fchmod(fd, mode) < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	if (fchmodat(dirfd, name, mode, 0) < 0 || listen(fd, 64) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static int connect_with(const char *directory, const char *name, int flags)
{
	_cleanup_close_ int dirfd = -1;
	struct sockaddr_un address;
	_cleanup_close_ int fd = new_socket(directory, name, flags, &address, &dirfd);

	if (fd < 0)
		return fd;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

int sock_connect(const char *directory, const char *name)
{
	return connect_with(directory, name, 0);
}

int sock_try_connect(const char *directory, const char *name)
{
	return connect_with(directory, name, SOCK_NONBLOCK);
}

int sock_send(int fd, const void *bytes, size_t length, const int *fds, size_t n_fds)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(SOCK_FDS_MAX * sizeof(int))];
	} control = {0};
	union {
		const void *in;
		void *out;
	} data = {.in = bytes};
	struct iovec iov = {.iov_base = data.out, .iov_len = length};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n_fds > SOCK_FDS_MAX)
		return -E2BIG;
	if (n_fds) {
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		control.header = (struct cmsghdr){
			.cmsg_len = CMSG_LEN(n_fds * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.header), fds, n_fds * sizeof(int));
	}
	for (;;) {
		if (sendmsg(fd, &message, MSG_NOSIGNAL) >= 0)
			return 0;
		if (errno != EINTR)
			return -errno;
	}
}

/* Takes the descriptors of a message out of its control data; those beyond max are closed. */
static size_t take_fds(struct msghdr *message, int *fds, size_t max)
{
	size_t count = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (count < max)
				fds[count] = fd;
			else
				close(fd);
			count++;
		}
	}
	return count;
}

ssize_t sock_receive(int fd, void *bytes, size_t size, int *fds, size_t max_fds, size_t *ret_n_fds)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(SOCK_FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = bytes, .iov_len = size};
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	ssize_t n;

	do
		n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;

	size_t count = take_fds(&message, fds, max_fds);

	if (count > max_fds || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
		for (size_t i = 0; i < count && i < max_fds; i++)
			close(fds[i]);
		return -EMSGSIZE;
	}
	if (ret_n_fds)
		*ret_n_fds = count;
	return n;
}

int sock_peer(int fd, struct ucred *ret)
{
	socklen_t length = sizeof(*ret);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ret, &length) < 0 ? -errno : 0;
}
