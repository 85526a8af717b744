#include "fusefs/anchor/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "uploader/base/fdio.h"

/* A line is `ID PARENT MAJOR:MINOR ROOT WHERE OPTIONS [TAG…] - TYPE SOURCE SUPER_OPTIONS` (proc_pid_mountinfo(5)). */
static void find_type(uint64_t id, char *out, size_t size)
{
	_cleanup_buf_ struct buf info = {0};

	out[0] = '\0';
	if (read_file(AT_FDCWD, "/proc/self/mountinfo", &info) < 0)
		return;
	for (const char *line = info.data; line && *line;) {
		size_t length = strcspn(line, "\n");
		const char *dash = memmem(line, length, " - ", 3);

		if (strtoull(line, NULL, 10) == id && dash) {
			snprintf(out, size, "%.*s", (int)strcspn(dash + 3, " \n"), dash + 3);
			return;
		}
		line += length;
		line += *line == '\n';
	}
}

static int look_at(int dirfd, const char *path, struct mount_top *ret)
{
	const int flags = AT_EMPTY_PATH | AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT;
	struct mount_top top = {0};
	struct statx stx;

	/* DONT_SYNC: FUSE answers from what the kernel has. */
	if (statx(dirfd, path, flags, STATX_TYPE | STATX_INO | STATX_MNT_ID, &stx) < 0)
		return -errno;
	top.id = stx.stx_mnt_id;
	top.dev = makedev(stx.stx_dev_major, stx.stx_dev_minor);
	top.ino = stx.stx_ino;
	top.is_root = stx.stx_attributes & STATX_ATTR_MOUNT_ROOT;
	find_type(top.id, top.type, sizeof(top.type));
	*ret = top;
	return 0;
}

int mount_look(const char *path, struct mount_top *ret)
{
	return look_at(AT_FDCWD, path, ret);
}

bool mount_is_ours(const struct mount_top *top)
{
	return top->is_root && !strcmp(top->type, MOUNT_TYPE);
}

bool mount_is_same(const struct mount_top *a, const struct mount_top *b)
{
	return a->id == b->id && a->dev == b->dev && a->is_root == b->is_root;
}

bool mount_exists(const struct mount_top *top)
{
	char type[sizeof(top->type)];

	find_type(top->id, type, sizeof(type));
	return !strcmp(type, top->type);
}

int mount_bind(int fd, const char *target)
{
	struct mount_attr private = {.propagation = MS_PRIVATE};
	_cleanup_close_ int tree = open_tree(fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (tree < 0)
		return -errno;
	/* The clone is a peer of its source. On a shared parent it becomes shared again, in a group of its own. */
	if (mount_setattr(tree, "", AT_EMPTY_PATH, &private, sizeof(private)) < 0)
		return -errno;
	if (move_mount(tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return -errno;
	return 0;
}

struct option {
	const char *name, *value; /* NULL: a flag */
};

static int configure(int context, const struct option *options, size_t n, const char **ret_step)
{
	for (size_t i = 0; i < n; i++) {
		const struct option *option = &options[i];
		unsigned int command = option->value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG;

		*ret_step = option->name;
		if (fsconfig(context, command, option->name, option->value, 0) < 0)
			return -errno;
	}
	*ret_step = "create a FUSE filesystem for";
	return fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0 ? -errno : 0;
}

int mount_make(mode_t mode, int *ret_fd, int *ret_tree, struct mount_top *ret_top, const char **ret_step)
{
	_cleanup_close_ int fd = -1, context = -1, tree = -1;
	char number[16], root[16];
	const struct option options[] = {{"source", MOUNT_SOURCE}, {"subtype", MOUNT_SUBTYPE}, {"fd", number},
		{"rootmode", root}, {"user_id", "0"}, {"group_id", "0"}, {"default_permissions", NULL},
		{"allow_other", NULL}};

	*ret_step = "open /dev/fuse";
	fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*ret_step = "fsopen";
	context = fsopen("fuse", FSOPEN_CLOEXEC);
	if (context < 0)
		return -errno;
	snprintf(number, sizeof(number), "%d", fd);
	snprintf(root, sizeof(root), "%o", mode);
	int r = configure(context, options, ARRAY_SIZE(options), ret_step);

	if (r < 0)
		return r;
	*ret_step = "fsmount";
	tree = fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	if (tree < 0)
		return -errno;
	*ret_step = "statx";
	r = look_at(tree, "", ret_top);
	if (r < 0)
		return r;
	*ret_fd = TAKE_FD(fd);
	*ret_tree = TAKE_FD(tree);
	return 0;
}

int mount_show(int tree, const char *target, struct mount_top *ret_top)
{
	if (move_mount(tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return -errno;
	int r = mount_look(target, ret_top);

	if (r < 0)
		umount2(target, MNT_DETACH);
	return r;
}

int mount_detach(const char *path, const struct mount_top *top, bool force, int *ret_hold)
{
	_cleanup_close_ int hold = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct mount_top now = {0};

	if (hold < 0)
		return -errno;
	int r = mount_look(path, &now);

	if (r < 0)
		return r;
	if (!mount_is_same(&now, top) || !now.is_root)
		return -ESTALE;
	if (umount2(path, MNT_DETACH | (force ? MNT_FORCE : 0)) < 0)
		return -errno;
	*ret_hold = TAKE_FD(hold);
	return 0;
}
