#include "fusefs/anchor/connection.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "uploader/base/fdio.h"

#define FUSE_MAJOR 10 /* Documentation/admin-guide/devices.txt */
#define FUSE_MINOR 229
#define FDINFO_KEY "\nfuse_connection:"

static bool is_fuse_device(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(FUSE_MAJOR, FUSE_MINOR);
}

bool connection_is_alive(int fd)
{
	struct pollfd poll_fd = {.fd = fd};

	/* One that was never mounted, or whose connection has ended, is in error. */
	return is_fuse_device(fd) && poll(&poll_fd, 1, 0) >= 0 && !(poll_fd.revents & (POLLERR | POLLNVAL));
}

bool connection_is_of(int fd, uint64_t dev)
{
	_cleanup_buf_ struct buf info = {.max = 4096};
	char path[48];

	if (!is_fuse_device(fd))
		return false;
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	if (read_file(AT_FDCWD, path, &info) < 0 || !info.data)
		return true;
	const char *at = strstr(info.data, FDINFO_KEY);

	return !at || strtoull(at + strlen(FDINFO_KEY), NULL, 10) == minor(dev);
}

int connection_open_abort(uint64_t dev)
{
	_cleanup_close_ int context = fsopen("fusectl", FSOPEN_CLOEXEC), tree = -1;
	char path[32];

	if (context < 0 || fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	tree = fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	if (tree < 0)
		return -errno;
	snprintf(path, sizeof(path), "%u/abort", minor(dev));
	int fd = openat(tree, path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);

	return fd < 0 ? -errno : fd;
}

int connection_abort(int abort_fd)
{
	return write(abort_fd, "1", 1) < 0 ? -errno : 0;
}
