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

#include "fusefs/anchor/connection.h"
#include "uploader/base/config.h"
#include "uploader/base/killpoint.h"
#include "uploader/base/log.h"

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
		.fail_open_ms = config->fail_open_ms,
		.lock_fd = -1,
		.backing_fd = -1,
		.fuse_fd = -1,
		.tree_fd = -1,
		.state_fd = -1,
	};
	pins_init(&anchor->pins);
}

void anchor_done(struct anchor *anchor)
{
	int *const fds[] = {
		&anchor->state_fd, &anchor->fuse_fd, &anchor->tree_fd, &anchor->backing_fd, &anchor->lock_fd};

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		cleanup_close(fds[i]);
		*fds[i] = -1;
	}
	pins_done(&anchor->pins);
}

int anchor_complain(const char *what, const char *path, int r, const char *advice)
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
		return anchor_complain("cannot make", anchor->run, -errno, "create it, or set EBBFS_RUN");
	dirfd = open(anchor->run, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0)
		return anchor_complain("cannot open", anchor->run, -errno, "set EBBFS_RUN to a directory");
	anchor->lock_fd = openat(dirfd, LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (anchor->lock_fd < 0)
		return anchor_complain("cannot make " LOCK_FILE " in", anchor->run, -errno, "it must be writable");
	if (flock(anchor->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return anchor_complain("cannot lock " LOCK_FILE " in", anchor->run, -errno,
			errno == EWOULDBLOCK ? "another ebbfs-anchor runs there; end it, or set another EBBFS_RUN"
					     : NULL);
	return 0;
}

static int open_backing(struct anchor *anchor)
{
	struct stat st;

	anchor->backing_fd = open(anchor->backing, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (anchor->backing_fd < 0 || fstat(anchor->backing_fd, &st) < 0)
		return anchor_complain(!strcmp(anchor->backing, anchor->data) ? "EBBFS_DATA" : "EBBFS_BACKING",
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
		return anchor_complain("EBBFS_DATA", anchor->data, -errno, "it must be a directory that exists");
	int r = mark_path(anchor, mark, sizeof(mark));

	if (r < 0)
		return anchor_complain("EBBFS_RUN", anchor->run, r, NULL);
	if (backing.st_dev == data.st_dev && backing.st_ino == data.st_ino) {
		anchor->bound = access(mark, F_OK) == 0;
	} else {
		/* The mark comes first: a mark without a bind is harmless, a bind without a mark stays for ever. */
		_cleanup_close_ int fd = open(mark, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

		if (fd < 0)
			return anchor_complain("cannot make", mark, -errno, "EBBFS_RUN must be writable");
		r = mount_bind(anchor->backing_fd, anchor->data);
		if (r < 0)
			return anchor_complain("cannot bind EBBFS_BACKING onto", anchor->data, r,
				r == -EPERM ? "needs CAP_SYS_ADMIN (Kubernetes: privileged)" : NULL);
		anchor->bound = true;
	}
	return 0;
}

/* With no mount of ours in sight: what lies there is the backing directory, or is where it is to be bound to. */
static int settle(struct anchor *anchor)
{
	int r = open_backing(anchor);

	if (r == 0 && strcmp(anchor->backing, anchor->data) != 0)
		r = bind_backing(anchor);
	anchor->orphaned = false;
	return r;
}

int anchor_look(struct anchor *anchor)
{
	int r = mount_look(anchor->data, &anchor->fuse_top);

	if (r < 0)
		return anchor_complain("EBBFS_DATA", anchor->data, r, "it must be a directory that exists");
	anchor->orphaned = mount_is_ours(&anchor->fuse_top);
	return anchor->orphaned ? 0 : settle(anchor);
}

int anchor_prepare(struct anchor *anchor)
{
	int r = take_lock(anchor);

	return r == 0 ? anchor_look(anchor) : r;
}

/* What can be told of descriptors that somebody returns. -ESTALE: they are of no mount, or of another one. */
static int check_returned(const struct anchor *anchor, const int fds[static HANDOVER_FDS])
{
	struct stat backing;

	if (fstat(fds[HANDOVER_FD_BACKING], &backing) < 0 || !S_ISDIR(backing.st_mode))
		return -ENOTDIR;
	if (fcntl(fds[HANDOVER_FD_STATE], F_GET_SEALS) < 0) /* only memory files have any */
		return -EBADF;
	if (!anchor->orphaned && anchor->fuse_fd < 0)
		return -ESTALE;
	if (!connection_is_alive(fds[HANDOVER_FD_FUSE]))
		return -ESTALE;
	return connection_is_of(fds[HANDOVER_FD_FUSE], anchor->fuse_top.dev) ? 0 : -ESTALE;
}

int anchor_return(struct anchor *anchor, int fds[static HANDOVER_FDS])
{
	int *const places[HANDOVER_FDS] = {
		[HANDOVER_FD_BACKING] = &anchor->backing_fd,
		[HANDOVER_FD_FUSE] = &anchor->fuse_fd,
		[HANDOVER_FD_STATE] = &anchor->state_fd,
	};
	char mark[PATH_MAX];
	struct stat st;
	int r = check_returned(anchor, fds);

	if (r < 0)
		return r;
	KILL_POINT("anchor: return checked, not taken");
	for (size_t i = 0; i < HANDOVER_FDS; i++) {
		cleanup_close(places[i]);
		*places[i] = TAKE_FD(fds[i]);
	}
	pins_clear(&anchor->pins);
	if (fstat(anchor->backing_fd, &st) == 0)
		anchor->backing_mode = st.st_mode;
	if (anchor->orphaned)
		anchor->bound = strcmp(anchor->backing, anchor->data) != 0 &&
				mark_path(anchor, mark, sizeof(mark)) == 0 && access(mark, F_OK) == 0;
	anchor->orphaned = false;
	return 0;
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
	case -ENOSYS:
		return "needs fsopen(2) and its family: Linux 5.2 or later, not forbidden by seccomp";
	default:
		return NULL;
	}
}

int anchor_make(struct anchor *anchor)
{
	const char *step = "memfd_create";
	_cleanup_close_ int state = -1;

	/* Of a fusefs that is gone and never served; taken away by somebody else (`umount`), or aborted. */
	if (anchor->tree_fd >= 0 ||
		(anchor->fuse_fd >= 0 && (!connection_is_alive(anchor->fuse_fd) || !mount_exists(&anchor->fuse_top))))
		anchor_step_aside(anchor);
	if (anchor->fuse_fd >= 0)
		return 0;
	state = memfd_create("ebbfs-state", MFD_CLOEXEC);
	int r = state < 0 ? -errno
			  : mount_make(anchor->backing_mode, &anchor->fuse_fd, &anchor->tree_fd, &anchor->fuse_top,
				    &step);

	if (r < 0)
		return anchor_complain(step, anchor->data, r, mount_advice(r));
	anchor->state_fd = TAKE_FD(state);
	KILL_POINT("anchor: made, not granted");
	return 1;
}

int anchor_show(struct anchor *anchor)
{
	char quoted[LOG_QUOTE_MAX];
	struct mount_top top;

	KILL_POINT("anchor: answers, not mounted");
	int r = mount_show(anchor->tree_fd, anchor->data, &top);

	if (r < 0)
		return anchor_complain("cannot mount on", anchor->data, r, mount_advice(r));
	cleanup_close(&anchor->tree_fd);
	anchor->tree_fd = -1;
	anchor->fuse_top = top;
	log_info("mounted at %s", log_quote(anchor->data, quoted));
	KILL_POINT("anchor: mounted, not said");
	return 0;
}

/* Whether the bind that we, or an anchor before us, made is what is seen now. */
static bool sees_bind(const struct anchor *anchor, struct mount_top *ret)
{
	struct stat backing;

	return anchor->bound && mount_look(anchor->data, ret) == 0 && ret->is_root &&
	       fstat(anchor->backing_fd, &backing) == 0 && ret->dev == backing.st_dev && ret->ino == backing.st_ino;
}

int anchor_tidy(struct anchor *anchor)
{
	_cleanup_close_ int hold = -1;
	struct mount_top bind;
	char mark[PATH_MAX];

	if (anchor->fuse_fd >= 0)
		anchor_step_aside(anchor);
	if (!sees_bind(anchor, &bind))
		return 0;
	int r = mount_detach(anchor->data, &bind, false, &hold);

	if (r < 0 && r != -ESTALE)
		return anchor_complain("cannot unmount", anchor->data, r, "unmount it by hand (umount -l)");
	anchor->bound = false;
	if (mark_path(anchor, mark, sizeof(mark)) == 0)
		unlink(mark);
	return 0;
}
