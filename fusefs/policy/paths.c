/* Paths by the journal's records of directories, and files by paths. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fusefs/policy/engine.h"

#define DEPTH_MAX 2048

static int take_parent(const struct journal_entry *entry, void *arg)
{
	struct journal_entry *found = arg;

	*found = *entry;
	return entry->type == JOURNAL_TYPE_DIR ? 1 : 0;
}

/* Puts a component before what is there, from the end of the buffer down. */
static int prepend(char *buffer, size_t *start, const char *name)
{
	size_t length = strlen(name);
	bool first = *start == ENGINE_PATH_MAX - 1;

	if (*start < length + !first)
		return -ENAMETOOLONG;
	if (!first)
		buffer[--*start] = '/';
	*start -= length;
	/* NOLINTNEXTLINE(bugprone-not-null-terminated-result): what comes after it is there already */
	memcpy(buffer + *start, name, length);
	return 0;
}

int engine_path(const struct engine *engine, struct journal_txn *txn, uint64_t dir, const char *name,
	char out[static ENGINE_PATH_MAX])
{
	char buffer[ENGINE_PATH_MAX];
	size_t start = ENGINE_PATH_MAX - 1;
	int r;

	buffer[start] = '\0';
	r = prepend(buffer, &start, name);
	for (int depth = 0; r == 0 && dir != engine->root_ino; depth++) {
		struct journal_entry parent;

		if (depth == DEPTH_MAX)
			return -ELOOP;
		r = journal_each_name(txn, dir, take_parent, &parent);
		if (r <= 0)
			return r < 0 ? r : -ENOENT;
		r = prepend(buffer, &start, parent.name);
		dir = parent.dir;
	}
	if (r == 0)
		memmove(out, buffer + start, ENGINE_PATH_MAX - start);
	return r;
}

int engine_open(const struct engine *engine, const char *path, int flags)
{
	/* openat2(2) refuses what O_PATH has no use for. */
	int safe = flags & O_PATH ? 0 : O_NONBLOCK | O_NOCTTY;
	struct open_how how = {
		.flags = (uint64_t)(flags | safe | O_CLOEXEC | O_NOFOLLOW),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	long fd = syscall(SYS_openat2, engine->backing_fd, *path ? path : ".", &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}
