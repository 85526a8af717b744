/* Going on with a connection that another process served before. The kernel knows nothing of the change: it gets its
 * answers from whoever writes them to /dev/fuse. */
#include <errno.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "fusefs/fs/internal.h"
#include "uploader/base/killpoint.h"
#include "uploader/base/log.h"

/* A backing id that was given out just before a death and is nobody's: this far from the last one that was noted, in
 * either direction; threads may overtake each other. */
#define BACKING_IDS_NEAR 64

/* All requests that were read and not answered come once more, with FUSE_UNIQUE_RESEND, before all others
 * (fuse_notify_resend() in fs/fuse/dev.c). */
static int ask_again(struct fs *fs)
{
	struct fuse_out_header out = {.len = sizeof(out), .error = FUSE_NOTIFY_RESEND};

	return write(fuse_session_fd(fs->session), &out, sizeof(out)) < 0 ? -errno : 0;
}

/* libfuse is set up by the first request of the connection; its answer, which the kernel had already, is refused with
 * ENOENT. */
static void replay_init(struct fs *fs)
{
	struct table_connection *connection = table_connection(&fs->table);
	char request[TABLE_INIT_MAX];

	memcpy(request, connection->init, sizeof(request));
	struct fuse_buf buf = {.size = connection->init_length, .mem = request};

	fuse_session_process_buf(fs->session, &buf);
}

/* The process before died over FUSE_INIT: the kernel may still wait for the answer, and asks nothing else until then. */
static int finish_init(struct fs *fs)
{
	struct pollfd requests = {.fd = fuse_session_fd(fs->session), .events = POLLIN};
	struct fuse_buf buf = {0};
	int r = ask_again(fs);

	if (r < 0)
		return r;
	if (poll(&requests, 1, 0) <= 0) {
		replay_init(fs);
		return 0;
	}
	r = fs_receive_prepare(&buf);
	if (r < 0)
		return r;
	int n = fs_receive(fs, &buf);

	/* Anything else is asked for again later. */
	if (n > 0 && ((const struct fuse_in_header *)buf.mem)->opcode == FUSE_INIT)
		fuse_session_process_buf(fs->session, &buf);
	else
		replay_init(fs);
	fs_receive_done(&buf);
	return n < 0 && n != -EINTR && n != -EAGAIN ? n : 0;
}

static bool is_wanted(uint64_t node_id, void *arg)
{
	struct fs *fs = arg;

	table_lock(&fs->table);
	const struct node *node = table_node_locked(&fs->table, node_id);
	bool wanted = node && (node->flags & NODE_PINNED);
	table_unlock(&fs->table);
	return wanted && !fs_let_go(fs, node_id);
}

static void close_lost_backing_ids(struct fs *fs)
{
	struct table_connection *connection = table_connection(&fs->table);
	int32_t first = connection->last_backing_id - BACKING_IDS_NEAR;
	bool used[2 * BACKING_IDS_NEAR] = {false};
	const struct node *node;
	uint32_t handle = 0;

	if (!atomic_load(&fs->passthrough))
		return;
	table_lock(&fs->table);
	while ((node = table_next_open_locked(&fs->table, &handle))) {
		int32_t at = node->backing_id - first;

		if (node->backing_id > 0 && at >= 0 && at < 2 * BACKING_IDS_NEAR)
			used[at] = true;
	}
	table_unlock(&fs->table);
	for (int32_t at = 0; at < 2 * BACKING_IDS_NEAR; at++) {
		uint32_t id = (uint32_t)(first + at);

		if (first + at > 0 && !used[at] &&
			ioctl(fuse_session_fd(fs->session), FUSE_DEV_IOC_BACKING_CLOSE, &id) == 0)
			log_debug("gave back backing id %u, which was nobody's", id);
	}
}

int fs_resume(struct fs *fs)
{
	struct table_connection *connection = table_connection(&fs->table);

	/* FUSE_INIT was not read by anybody: as if we were the first. */
	if (!fs->table.is_resumed || !connection->init_length)
		return fs->table.is_resumed ? ask_again(fs) : 0;
	if (connection->is_init_answered)
		replay_init(fs);
	int r = connection->is_init_answered ? 0 : finish_init(fs);

	if (r < 0)
		return r;
	connection->is_init_answered = 1;
	KILL_POINT("resume: replayed");
	inflight_settle(fs);
	pins_sweep(&fs->pins, is_wanted, fs);
	close_lost_backing_ids(fs);
	r = ask_again(fs);
	if (r < 0)
		return r;
	KILL_POINT("resume: asked again");
	atomic_store(&fs->serving, true);
	log_info("went on with the connection of an earlier fusefs: life %u", table_life(&fs->table));
	return 0;
}
