#include "fusefs/cli/replace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fusefs/anchor/handover.h"
#include "fusefs/anchor/mount.h"
#include "fusefs/cli/leftover.h"
#include "uploader/base/log.h"
#include "uploader/base/sock.h"
#include "uploader/base/units.h"

/* An anchor that still does not hold the mount will not get it; an old anchor and a new fusefs that do not
 * understand each other will not learn it. */
#define HOLD_MS 5000
#define GIVE_UP_MS 10000

static bool is_mounted(const struct config *config)
{
	struct mount_top top;

	return mount_look(config->data, &top) == 0 && mount_is_ours(&top);
}

void replace_plan(
	struct replace *ret, const struct config *config, const char *record, struct child *children, size_t n)
{
	*ret = (struct replace){0};
	for (size_t i = 0; i < n; i++) {
		ret->order[i] = i;
		if (children[i].part == PART_FUSEFS)
			ret->fusefs = &children[i];
		if (children[i].part == PART_ANCHOR)
			ret->anchor = &children[i];
	}
	ret->leftovers = leftover_find(config->run, record, children, n) > 0;
	/* Of a part that runs alone, the mount is the others' affair. */
	if (ret->leftovers && n == PARTS && !is_mounted(config)) {
		leftover_end(children, n);
		ret->leftovers = false;
	}
	if (!ret->leftovers)
		return;
	for (size_t i = 0; i < n; i++) {
		if (children[i].old_fd >= 0)
			images_prove_pid(&children[i].images, children[i].old_pid);
	}
	ret->fusefs_first = ret->anchor && ret->fusefs && ret->anchor->old_fd >= 0;
	if (ret->fusefs_first) {
		ret->order[0] = (size_t)(ret->fusefs - children);
		ret->order[1] = (size_t)(ret->anchor - children);
	}
}

void replace_next(struct replace *replace)
{
	replace->listens = false;
	replace->since_ms = 0;
}

/* Whether the wait in hand, which may just begin, is over. */
static bool is_over(struct replace *replace, int64_t limit_ms)
{
	if (replace->since_ms == 0)
		replace->since_ms = clock_ms();
	return clock_ms() >= replace->since_ms + limit_ms;
}

static bool has_open(pid_t pid, const char *wanted)
{
	char path[64], target[64];

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	_cleanup_closedir_ DIR *directory = opendir(path);
	struct dirent *entry;

	while (directory && (entry = readdir(directory))) {
		ssize_t length = readlinkat(dirfd(directory), entry->d_name, target, sizeof(target) - 1);

		if (length <= 0)
			continue;
		target[length] = '\0';
		if (!strcmp(target, wanted))
			return true;
	}
	return false;
}

/* A process that has /dev/fuse open holds the mount: of the parts, none opens it for anything else. */
static bool holds_mount(const struct child *child)
{
	return child_is_up(child) && has_open(child->pid ? child->pid : child->old_pid, "/dev/fuse");
}

bool replace_may_end_fusefs(struct replace *replace)
{
	if (!replace->anchor || holds_mount(replace->anchor))
		return true;
	/* A new anchor may get it. */
	if (replace->fusefs_first || !is_over(replace, HOLD_MS))
		return false;
	log_warning("the anchor has not got the mount from the fusefs of the earlier run; going on without");
	return true;
}

bool replace_anchor_ready(struct replace *replace, const struct config *config)
{
	if (!replace->listens) {
		_cleanup_close_ int fd = sock_try_connect(config->run, HANDOVER_SOCKET);

		/* -EAGAIN: so many wait there that it must be listening. */
		if (fd < 0 && fd != -EAGAIN)
			return false;
		replace->listens = true;
	}
	if (!replace->leftovers || !replace->fusefs || !holds_mount(replace->fusefs))
		return true;
	return holds_mount(replace->anchor) || is_over(replace, HOLD_MS);
}

bool replace_gives_up(struct replace *replace)
{
	if (!replace->fusefs_first)
		return false;
	if (replace->anchor->old_fd >= 0 && !is_over(replace, GIVE_UP_MS))
		return false;
	log_warning("fusefs does not serve the mount of the earlier run's anchor; replacing the anchor first");
	replace->fusefs_first = false;
	replace_next(replace);
	for (size_t i = 0; i < ARRAY_SIZE(replace->order); i++)
		replace->order[i] = i;
	return true;
}
