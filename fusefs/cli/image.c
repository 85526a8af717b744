#include "fusefs/cli/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "uploader/base/units.h"

void images_init(struct images *images)
{
	*images = (struct images){.running = -1, .proven = -1};
}

static void forget(int *fd)
{
	cleanup_close(fd);
	*fd = -1;
}

void images_done(struct images *images)
{
	forget(&images->running);
	forget(&images->proven);
}

static int identify(int fd, struct image_id *ret)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	*ret = (struct image_id){.dev = st.st_dev,
		.ino = st.st_ino,
		.size = (uint64_t)st.st_size,
		.mtime_ns = timespec_ns(st.st_mtim)};
	return 0;
}

static bool is_refused(const struct images *images, int fd)
{
	struct image_id id = {0};

	return identify(fd, &id) == 0 && id.dev == images->refused.dev && id.ino == images->refused.ino &&
	       id.size == images->refused.size && id.mtime_ns == images->refused.mtime_ns;
}

int images_choose(struct images *images, uint64_t mount)
{
	_cleanup_close_ int fd = open(images->path, O_PATH | O_CLOEXEC);
	int r = fd < 0 ? -errno : 0;

	if (images->refuses && mount != images->refused_mount)
		images->refuses = false;
	/* A file that is being replaced may be missing for a moment. */
	images->going_back = images->proven >= 0 && images->refuses && (fd < 0 || is_refused(images, fd));
	if (images->going_back) {
		close(TAKE_FD(fd));
		fd = fcntl(images->proven, F_DUPFD_CLOEXEC, 0);
		r = fd < 0 ? -errno : 0;
	}
	if (r < 0)
		return r;
	forget(&images->running);
	images->running = TAKE_FD(fd);
	return 0;
}

int images_execute(const struct images *images, char *const argv[])
{
	/* By its path the process gets the program's name (comm). */
	if (!images->going_back) {
		execv(images->path, argv);
		return -errno;
	}
	execveat(images->running, "", argv, environ, AT_EMPTY_PATH);
	/* An interpreter of a script has to open it itself, by the descriptor. */
	if (errno == ENOENT && fcntl(images->running, F_SETFD, 0) == 0)
		execveat(images->running, "", argv, environ, AT_EMPTY_PATH);
	return -errno;
}

void images_prove(struct images *images)
{
	int fd = images->running >= 0 ? fcntl(images->running, F_DUPFD_CLOEXEC, 0) : -1;

	if (fd < 0)
		return;
	forget(&images->proven);
	images->proven = fd;
}

void images_prove_pid(struct images *images, pid_t pid)
{
	char link[64], target[PATH_MAX];
	const char *name = strrchr(images->path, '/');

	snprintf(link, sizeof(link), "/proc/%d/exe", (int)pid);
	ssize_t n = readlink(link, target, sizeof(target) - 1);

	if (n <= 0 || !name)
		return;
	target[n] = '\0';
	const char *found = strrchr(target, '/');

	/* The interpreter of a script is not the program; " (deleted)" may follow. */
	if (!found || strncmp(found, name, strlen(name)) != 0)
		return;
	int fd = open(link, O_PATH | O_CLOEXEC);

	if (fd < 0)
		return;
	forget(&images->proven);
	images->proven = fd;
}

bool images_refuse(struct images *images, uint64_t mount)
{
	if (!images->going_back && images->running >= 0 && identify(images->running, &images->refused) == 0) {
		images->refuses = true;
		images->refused_mount = mount;
	}
	/* One that refuses as well is none to go back to. */
	if (images->going_back || (images->proven >= 0 && is_refused(images, images->proven)))
		forget(&images->proven);
	return images->refuses && images->proven >= 0;
}

uint64_t image_mount_id(const char *path)
{
	struct statx stx;

	if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_MNT_ID_UNIQUE, &stx) < 0)
		return 0;
	return stx.stx_mask & STATX_MNT_ID_UNIQUE ? stx.stx_mnt_id : 0;
}
