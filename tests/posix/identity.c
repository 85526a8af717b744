/* Who a sequence's calls are made by: taking another user's and groups' ids, and coming back to root. */
#include <errno.h>
#include <grp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/posix/identity.h"

struct identity {
	const char *name;
	uid_t uid;
	gid_t gid;
	size_t group_count;
	gid_t groups[IDENTITY_GROUPS_MAX];
};

static const struct identity known[] = {
	{"root", 0, 0, 1, {0}},
	{"user", 20001, 20001, 2, {20001, 20005}},
	{"mate", 20002, 20002, 2, {20002, 20005}},
	{"other", 20003, 20003, 1, {20003}},
};

static uid_t started_as(void)
{
	static uid_t uid = (uid_t)-1;

	if (uid == (uid_t)-1)
		uid = getuid();
	return uid;
}

static bool identity_parse(const char *text, struct identity *ret)
{
	int skip = 0;

	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		if (strcmp(known[i].name, text) == 0) {
			*ret = known[i];
			return true;
		}
	}
	if (sscanf(text, "%u:%u%n", &ret->uid, &ret->gid, &skip) != 2)
		return false;
	ret->groups[ret->group_count++] = ret->gid;
	for (text += skip; *text && ret->group_count < IDENTITY_GROUPS_MAX; text += strcspn(text, ","))
		ret->groups[ret->group_count++] = (gid_t)strtoul(++text, NULL, 10);
	return true;
}

int identity_take(const char *name)
{
	struct identity identity = {};

	if (!identity_parse(name, &identity)) {
		errno = EINVAL;
		return -1;
	}
	if (started_as() != 0) {
		errno = EPERM;
		return strcmp(name, "user") == 0 ? 0 : -1;
	}
	/* Groups can only be set by an effective root. */
	if (seteuid(0) < 0 || setresgid(identity.gid, identity.gid, 0) < 0 ||
		setgroups(identity.group_count, identity.groups) < 0)
		return -1;
	return setresuid(identity.uid, identity.uid, 0);
}

int identity_own(const char *directory, const char *at_name)
{
	struct identity identity = {};

	if (started_as() != 0)
		return 0;
	if (!identity_parse(at_name ? at_name + 1 : "root", &identity)) {
		errno = EINVAL;
		return -1;
	}
	return chown(directory, identity.uid, identity.gid);
}
