/* How the anchor gives up a mount that it holds, or one that nobody does. */
#include <errno.h>
#include <string.h>

#include "fusefs/anchor/anchor.h"
#include "fusefs/anchor/connection.h"
#include "uploader/base/killpoint.h"
#include "uploader/base/log.h"

int anchor_drop_dead(struct anchor *anchor)
{
	_cleanup_close_ int hold = -1;
	char quoted[LOG_QUOTE_MAX];
	int r = mount_detach(anchor->data, &anchor->fuse_top, false, &hold);

	if (r == 0)
		log_warning("unmounted a dead mount of an earlier run at %s", log_quote(anchor->data, quoted));
	else if (r != -ESTALE)
		return anchor_complain("cannot unmount the dead mount at", anchor->data, r,
			"needs CAP_SYS_ADMIN; or unmount it by hand (umount -l)");
	return anchor_look(anchor);
}

/* For the time after the detaching: the connection's `abort` file. -1 when it cannot be had, or may be another's. */
static int prepare_abort(const struct anchor *anchor, bool is_seen)
{
	int fd = connection_open_abort(anchor->fuse_top.dev);

	if (fd >= 0 && !is_seen && !(anchor->fuse_fd >= 0 && connection_is_alive(anchor->fuse_fd))) {
		/* Neither the mount nor the connection keeps the number of the device from being another's. */
		close(fd);
		return -1;
	}
	if (fd < 0 && fd != -ENOENT)
		log_warning("cannot open the connection's abort file in fusectl: %s", strerror(-fd));
	return fd < 0 ? -1 : fd;
}

/* Aborted first: closing the last descriptor of the mount must not wait for anybody. */
static void drop_unseen(struct anchor *anchor)
{
	_cleanup_close_ int abort_fd = connection_open_abort(anchor->fuse_top.dev);
	int r = abort_fd >= 0 ? connection_abort(abort_fd) : abort_fd;

	if (r < 0 && r != -ENOENT)
		log_warning("cannot abort the connection: %s", strerror(-r));
	KILL_POINT("anchor: unseen mount aborted");
	int *const fds[] = {&anchor->fuse_fd, &anchor->state_fd, &anchor->tree_fd};

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		cleanup_close(fds[i]);
		*fds[i] = -1;
	}
	pins_clear(&anchor->pins);
}

void anchor_step_aside(struct anchor *anchor)
{
	if (anchor->tree_fd >= 0) {
		drop_unseen(anchor);
		return;
	}
	_cleanup_close_ int hold = -1, abort_fd = -1;
	char quoted[LOG_QUOTE_MAX];
	struct mount_top now;
	bool is_seen = mount_look(anchor->data, &now) == 0 && mount_is_same(&now, &anchor->fuse_top);

	abort_fd = prepare_abort(anchor, is_seen);
	int r = mount_detach(anchor->data, &anchor->fuse_top, abort_fd < 0, &hold);

	if (r == -ESTALE)
		log_warning("the mount at %s is gone or covered already", log_quote(anchor->data, quoted));
	else if (r < 0)
		anchor_complain("cannot unmount", anchor->data, r, "unmount it by hand (umount -l)");
	else
		log_info("stepped aside: %s is the plain directory", log_quote(anchor->data, quoted));
	KILL_POINT("anchor: stepped aside, not aborted");
	r = abort_fd >= 0 ? connection_abort(abort_fd) : 0;
	if (r < 0)
		log_warning("cannot abort the connection: %s", strerror(-r));
	/* Without fusectl it is the last descriptor that ends the connection: what is pending fails. Only then may hold
	 * be closed. */
	cleanup_close(&anchor->fuse_fd);
	cleanup_close(&anchor->state_fd);
	anchor->fuse_fd = anchor->state_fd = -1;
	pins_clear(&anchor->pins);
}
