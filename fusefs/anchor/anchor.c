#include "fusefs/anchor/anchor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "uploader/base/config.h"
#include "uploader/base/log.h"

/* How often to look whether an earlier fusefs has ended: often at first, since it may be ending just now. */
#define STANDBY_STEP_MS 100
#define STANDBY_SLOW_STEP_MS 1000
#define STANDBY_SLOW_AFTER 50
/* Says that the bind mount on EBBFS_DATA is ebbfs' own: an anchor that was killed leaves it to the next one. In
 * EBBFS_RUN, since that goes with a reboot as the mount does. */
#define BOUND_MARK "anchor.bound"
#define LOCK_FILE "anchor.lock"

void anchor_init(struct anchor *anchor, const struct config *config)
{
	*anchor = (struct anchor){
		.data = config->data,
		.backing = config->backing,
		.run = config->run,
		.lock_fd = -1,
		.backing_fd = -1,
		.fuse_fd = -1,
		.state_fd = -1,
	};
}

void anchor_done(struct anchor *anchor)
{
	int *const fds[] = {&anchor->state_fd, &anchor->fuse_fd, &anchor->backing_fd, &anchor->lock_fd};

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		cleanup_close(fds[i]);
		*fds[i] = -1;
	}
}

/* Logs `TEXT: ERROR: what to do`. Returns r. */
static int complain(const char *what, const char *path, int r, const char *advice)
{
	char quoted[LOG_QUOTE_MAX];

	log_error("%s %s: %s%s%s", what, log_quote(path, quoted), strerror(-r), advice ? ": " : "",
		advice ? advice : "");
	return r;
}

static int take_lock(struct anchor *anchor)
{
	_cleanup_close_ int dirfd = -1;

	/* mkdir() is subject to the umask; who asks for the status must get in. */
	if (mkdir(anchor->run, 0755) == 0)
		(void)!chmod(anchor->run, 0755);
	else if (errno != EEXIST)
		return complain("cannot make", anchor->run, -errno, "create it, or set EBBFS_RUN");
	dirfd = open(anchor->run, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0)
		return complain("cannot open", anchor->run, -errno, "set EBBFS_RUN to a directory");
	anchor->lock_fd = openat(dirfd, LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (anchor->lock_fd < 0)
		return complain("cannot make " LOCK_FILE " in", anchor->run, -errno, "it must be writable");
	if (flock(anchor->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return complain("cannot lock " LOCK_FILE " in", anchor->run, -errno,
			errno == EWOULDBLOCK ? "another ebbfs-anchor runs there; end it, or set another EBBFS_RUN"
					     : NULL);
	return 0;
}

/* 0 when no mount of ours is left on data, 1 when a signal came first (it stays to be read). */
static int wait_for_data(const struct anchor *anchor, int signal_fd)
{
	struct pollfd signals = {.fd = signal_fd, .events = POLLIN};
	char quoted[LOG_QUOTE_MAX];
	bool stop = false;

	for (int looks = 0;; looks++) {
		struct mount_top top;
		int r = mount_drop_dead(anchor->data);

		if (r < 0)
			return complain("cannot unmount the dead mount at", anchor->data, r,
				"needs CAP_SYS_ADMIN; or unmount it by hand (umount -l)");
		if (r > 0)
			log_warning("unmounted %d dead mount%s of an earlier run at %s", r, r == 1 ? "" : "s",
				log_quote(anchor->data, quoted));
		r = mount_look(anchor->data, &top);
		if (r < 0)
			return complain("EBBFS_DATA", anchor->data, r, "it must be a directory that exists");
		if (!mount_is_ours(&top))
			return 0;
		if (stop)
			return 1;
		if (looks == 0)
			log_warning("a fusefs of an earlier anchor still serves %s; waiting for it to end",
				log_quote(anchor->data, quoted));
		/* After a signal one more look: fusefs may have ended just before, and its dead mount is ours. */
		stop = poll(&signals, 1, looks < STANDBY_SLOW_AFTER ? STANDBY_STEP_MS : STANDBY_SLOW_STEP_MS) > 0;
	}
}

static int open_backing(struct anchor *anchor)
{
	struct stat st;

	anchor->backing_fd = open(anchor->backing, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (anchor->backing_fd < 0 || fstat(anchor->backing_fd, &st) < 0)
		return complain(!strcmp(anchor->backing, anchor->data) ? "EBBFS_DATA" : "EBBFS_BACKING",
			anchor->backing, -errno, "it must be a directory that exists");
	anchor->backing_mode = st.st_mode;
	return 0;
}

static int mark_path(const struct anchor *anchor, char *out, size_t size)
{
	int n = snprintf(out, size, "%s/" BOUND_MARK, anchor->run);

	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

/* Binds backing onto data unless that is how it is already; a bind that has our mark is ours to undo. */
static int bind_backing(struct anchor *anchor)
{
	struct stat backing, data;
	char mark[PATH_MAX];

	if (fstat(anchor->backing_fd, &backing) < 0 || stat(anchor->data, &data) < 0)
		return complain("EBBFS_DATA", anchor->data, -errno, "it must be a directory that exists");
	int r = mark_path(anchor, mark, sizeof(mark));

	if (r < 0)
		return complain("EBBFS_RUN", anchor->run, r, NULL);
	if (backing.st_dev == data.st_dev && backing.st_ino == data.st_ino) {
		anchor->bound = access(mark, F_OK) == 0;
	} else {
		/* The mark comes first: a mark without a bind is harmless, a bind without a mark stays for ever. */
		_cleanup_close_ int fd = open(mark, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

		if (fd < 0)
			return complain("cannot make", mark, -errno, "EBBFS_RUN must be writable");
		r = mount_bind(anchor->backing_fd, anchor->data);
		if (r < 0)
			return complain("cannot bind EBBFS_BACKING onto", anchor->data, r,
				r == -EPERM ? "needs CAP_SYS_ADMIN (Kubernetes: privileged)" : NULL);
		anchor->bound = true;
	}
	if (!anchor->bound)
		return 0;
	r = mount_look(anchor->data, &anchor->bind_top);
	if (r == 0 && !anchor->bind_top.is_root)
		anchor->bound = false; /* the same directory by another path, and a mark that nobody took away */
	return r;
}

int anchor_prepare(struct anchor *anchor, int signal_fd)
{
	int r = take_lock(anchor);

	if (r == 0)
		r = wait_for_data(anchor, signal_fd);
	if (r == 0)
		r = open_backing(anchor);
	if (r == 0 && strcmp(anchor->backing, anchor->data) != 0)
		r = bind_backing(anchor);
	return r;
}

static const char *mount_advice(int r)
{
	switch (r) {
	case -ENOENT:
	case -ENXIO:
	case -ENODEV:
		return "the container needs the device /dev/fuse, and the kernel its module fuse";
	case -EACCES:
	case -EPERM:
		return "needs CAP_SYS_ADMIN and access to /dev/fuse (Kubernetes: privileged)";
	default:
		return NULL;
	}
}

int anchor_mount(struct anchor *anchor)
{
	const char *step = "memfd_create";
	_cleanup_close_ int state = -1;
	char quoted[LOG_QUOTE_MAX];

	if (anchor->fuse_fd >= 0)
		return 0;
	state = memfd_create("ebbfs-state", MFD_CLOEXEC);
	int r = state < 0
			? -errno
			: mount_fuse(anchor->data, anchor->backing_mode, &anchor->fuse_fd, &anchor->fuse_top, &step);

	if (r < 0)
		return complain(step, anchor->data, r, mount_advice(r));
	anchor->state_fd = TAKE_FD(state);
	log_info("mounted at %s", log_quote(anchor->data, quoted));
	return 0;
}

static void step_aside(struct anchor *anchor)
{
	_cleanup_close_ int hold = -1;
	char quoted[LOG_QUOTE_MAX];
	int r = mount_detach(anchor->data, &anchor->fuse_top, &hold);

	if (r == -ESTALE)
		log_warning("the mount at %s is gone or covered already", log_quote(anchor->data, quoted));
	else if (r < 0)
		complain("cannot unmount", anchor->data, r, "unmount it by hand (umount -l)");
	else
		log_info("stepped aside: %s is the plain directory", log_quote(anchor->data, quoted));
	/* With the last descriptor goes the connection: what is pending fails. Only then may hold be closed. */
	close(TAKE_FD(anchor->fuse_fd));
	close(TAKE_FD(anchor->state_fd));
}

void anchor_fusefs_gone(struct anchor *anchor)
{
	if (anchor->fuse_fd >= 0)
		step_aside(anchor);
}

int anchor_tidy(struct anchor *anchor)
{
	_cleanup_close_ int hold = -1;
	char mark[PATH_MAX];

	if (anchor->fuse_fd >= 0)
		step_aside(anchor);
	if (!anchor->bound)
		return 0;
	int r = mount_detach(anchor->data, &anchor->bind_top, &hold);

	if (r < 0 && r != -ESTALE)
		return complain("cannot unmount", anchor->data, r, "unmount it by hand (umount -l)");
	anchor->bound = false;
	if (mark_path(anchor, mark, sizeof(mark)) == 0)
		unlink(mark);
	return 0;
}
