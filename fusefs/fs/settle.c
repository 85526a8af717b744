/* What a process that died had begun, looked at afterwards: inflight.h says why that is decisive. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#include "fusefs/fs/internal.h"
#include "uploader/base/killpoint.h"
#include "uploader/base/log.h"

static bool is_inode(const struct stat *st, uint64_t ino, uint32_t dev)
{
	return st->st_ino == ino && (uint32_t)st->st_dev == dev;
}

static bool is_rename(const struct inflight *inflight)
{
	return inflight->opcode == FUSE_RENAME || inflight->opcode == FUSE_RENAME2;
}

static int look(struct fs *fs, fuse_ino_t parent, const char *name, struct stat *ret)
{
	_cleanup_node_fd_ struct node_fd dir = NODE_FD_NONE;
	int r = fs_resolve(fs, parent, &dir);

	if (r == 0 && fstatat(dir.fd, name, ret, AT_SYMLINK_NOFOLLOW) < 0)
		r = -errno;
	return r;
}

static void set_state(struct inflight *inflight, enum inflight_state state)
{
	if (state == INFLIGHT_FREE)
		inflight->unique = 0;
	else
		inflight->state = state;
	KILL_POINT("settle: state");
}

static void settle_made(struct fs *fs, struct inflight *inflight)
{
	struct stat st;

	set_state(inflight, look(fs, inflight->parent, inflight->name, &st) == 0 ? INFLIGHT_MADE : INFLIGHT_FREE);
}

/* The change is there: so it is in the table, from one transaction on. */
static void conclude(struct fs *fs, struct inflight *inflight, bool is_rename)
{
	table_lock(&fs->table);
	table_save_locked(&fs->table, inflight, INFLIGHT_HEAD_BYTES);
	inflight->state = INFLIGHT_DONE;
	if (is_rename)
		fs_move_locked(fs, inflight);
	else
		fs_bury_locked(fs, inflight, inflight->parent, inflight->name);
	table_unlock(&fs->table);
	KILL_POINT("settle: concluded");
}

static void settle_removed(struct fs *fs, struct inflight *inflight)
{
	const struct stat *was = &inflight->target;
	struct stat st;
	int r = look(fs, inflight->parent, inflight->name, &st);

	if (r == -ENOENT || (r == 0 && !is_inode(&st, was->st_ino, (uint32_t)was->st_dev)))
		conclude(fs, inflight, false);
	else
		set_state(inflight, INFLIGHT_FREE);
}

static bool is_renamed(struct fs *fs, const struct inflight *inflight)
{
	const struct stat *target = &inflight->target;
	struct stat from, to;
	int r = look(fs, inflight->parent, inflight->name, &from);

	if (look(fs, inflight->new_parent, inflight->new_name, &to) < 0)
		return false;
	/* The old name is gone: nobody else could do that. Not by inode: overlayfs may give another one. */
	if (!(inflight->rename_flags & (RENAME_EXCHANGE | RENAME_WHITEOUT)))
		return r == -ENOENT;
	if (!is_inode(&to, inflight->source_ino, inflight->source_dev))
		return false;
	if (inflight->rename_flags & RENAME_EXCHANGE)
		return r == 0 && is_inode(&from, target->st_ino, (uint32_t)target->st_dev);
	return r == 0 && S_ISCHR(from.st_mode) && from.st_rdev == makedev(0, 0);
}

static void settle_renamed(struct fs *fs, struct inflight *inflight)
{
	if (is_renamed(fs, inflight))
		conclude(fs, inflight, true);
	else
		set_state(inflight, INFLIGHT_FREE);
}

static void settle_intent(struct fs *fs, struct inflight *inflight)
{
	switch (inflight->opcode) {
	case FUSE_MKNOD:
	case FUSE_MKDIR:
	case FUSE_SYMLINK:
	case FUSE_LINK:
	case FUSE_CREATE:
		settle_made(fs, inflight);
		break;
	case FUSE_UNLINK:
	case FUSE_RMDIR:
		settle_removed(fs, inflight);
		break;
	case FUSE_RENAME:
	case FUSE_RENAME2:
		settle_renamed(fs, inflight);
		break;
	case FUSE_SETXATTR:
	case FUSE_REMOVEXATTR:
		break; /* looked at when it is asked for again: the name comes with it */
	default:
		log_warning("an unknown request was in flight: opcode %u", inflight->opcode);
		set_state(inflight, INFLIGHT_FREE);
	}
}

/* The look-up is taken back: the node was never told of. */
static void settle_entered(struct fs *fs, struct inflight *inflight)
{
	table_lock(&fs->table);
	struct node *node = table_node_locked(&fs->table, inflight->node);

	table_save_locked(&fs->table, inflight, INFLIGHT_HEAD_BYTES);
	inflight->state = INFLIGHT_MADE;
	if (!(inflight->flags & INFLIGHT_IS_NEW))
		inflight->unique = 0;
	if (node)
		(void)table_forget_locked(&fs->table, node, 1);
	table_unlock(&fs->table);
}

static void settle_closing(struct fs *fs, struct inflight *inflight)
{
	uint32_t id = (uint32_t)inflight->backing_id;

	/* Not there: it was given back already. */
	if (id)
		(void)ioctl(fuse_session_fd(fs->session), FUSE_DEV_IOC_BACKING_CLOSE, &id);
	set_state(inflight, INFLIGHT_FREE);
}

static void settle_done(struct fs *fs, const struct inflight *inflight)
{
	bool removes = inflight->opcode == FUSE_UNLINK || inflight->opcode == FUSE_RMDIR;
	bool renames = is_rename(inflight);

	if (inflight->node && (removes || (renames && (inflight->flags & INFLIGHT_HAS_TARGET))) &&
		(inflight->flags & INFLIGHT_IS_LAST) && !(inflight->rename_flags & RENAME_EXCHANGE))
		fs_pin_if_open(fs, inflight->node);
}

static void settle_one(struct fs *fs, struct inflight *inflight)
{
	log_debug("settling: opcode %u state %u", inflight->opcode, inflight->state);
	if (inflight->state == INFLIGHT_INTENT)
		settle_intent(fs, inflight);
	else if (inflight->state == INFLIGHT_ENTERED)
		settle_entered(fs, inflight);
	else if (inflight->state == INFLIGHT_CLOSING)
		settle_closing(fs, inflight);
	if (inflight->unique && inflight->state == INFLIGHT_DONE)
		settle_done(fs, inflight);
}

/* Renames that were done, as often as one makes another one's directory findable: where nodes are found by name, the
 * others are looked for at the new ones. */
static void settle_renames(struct fs *fs)
{
	bool again = true;

	while (again) {
		again = false;
		for (size_t i = 0; i < INFLIGHTS; i++) {
			struct inflight *inflight = &fs->table.inflights[i];

			if (!inflight->unique || !is_rename(inflight) || inflight->state != INFLIGHT_INTENT ||
				!is_renamed(fs, inflight))
				continue;
			conclude(fs, inflight, true);
			again = true;
		}
	}
}

void inflight_settle(struct fs *fs)
{
	unsigned int left = 0;

	settle_renames(fs);
	for (size_t i = 0; i < INFLIGHTS; i++) {
		struct inflight *inflight = &fs->table.inflights[i];

		if (!inflight->unique)
			continue;
		settle_one(fs, inflight);
		left += inflight->unique != 0;
	}
	atomic_store(&fs->inflights_unclaimed, left);
}
