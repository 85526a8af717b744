/* Commands for extended attributes, POSIX ACLs and file capabilities among them. A word "=slot" is a descriptor,
 * "!path" a path whose last symlink is not followed, any other a path. */
#include <endian.h>
#include <errno.h>
#include <linux/capability.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "tests/posix/context.h"

#define VALUE_BYTES_MAX (128 * 1024)
#define ACL_ENTRIES_MAX 32

static const struct flag set_flags[] = {
	{"CREATE", XATTR_CREATE},
	{"REPLACE", XATTR_REPLACE},
	{},
};

static int value_set(
	struct context *context, const char *word, const char *name, const void *value, size_t bytes, int flags)
{
	if (*word == '=')
		return fsetxattr(context_fd(context, word + 1), name, value, bytes, flags);
	if (*word == '!')
		return lsetxattr(word + 1, name, value, bytes, flags);
	return setxattr(word, name, value, bytes, flags);
}

static ssize_t value_get(struct context *context, const char *word, const char *name, void *value, size_t bytes)
{
	if (*word == '=')
		return fgetxattr(context_fd(context, word + 1), name, value, bytes);
	if (*word == '!')
		return lgetxattr(word + 1, name, value, bytes);
	return getxattr(word, name, value, bytes);
}

static long cmd_setx(struct context *context, char **argv)
{
	size_t bytes = 0;
	_cleanup_free_ char *value = words_data(context, argv[3], &bytes);

	return value_set(context, argv[1], argv[2], value, bytes, (int)words_flags(context, set_flags, argv[4]));
}

/* BYTES of buffer; 0 asks for the size. */
static long cmd_getx(struct context *context, char **argv)
{
	size_t bytes = (size_t)words_number(context, argv[3], VALUE_BYTES_MAX);
	_cleanup_free_ char *value = malloc(bytes + 1);
	ssize_t count = value_get(context, argv[1], argv[2], value, bytes);

	if (count > 0 && bytes > 0)
		words_show(context->notes, value, (size_t)count);
	return count;
}

static ssize_t names_get(struct context *context, const char *word, char *names, size_t bytes)
{
	if (*word == '=')
		return flistxattr(context_fd(context, word + 1), names, bytes);
	if (*word == '!')
		return llistxattr(word + 1, names, bytes);
	return listxattr(word, names, bytes);
}

static int name_order(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static long cmd_listx(struct context *context, char **argv)
{
	size_t bytes = (size_t)words_number(context, argv[2], VALUE_BYTES_MAX), found = 0;
	static char names[VALUE_BYTES_MAX + 1];
	ssize_t count = names_get(context, argv[1], names, bytes < VALUE_BYTES_MAX ? bytes : VALUE_BYTES_MAX);
	char *sorted[256];

	if (count <= 0 || bytes == 0)
		return count;
	for (char *name = names; name < names + count && found < ARRAY_SIZE(sorted); name += strlen(name) + 1)
		sorted[found++] = name;
	qsort((void *)sorted, found, sizeof(*sorted), name_order);
	for (size_t i = 0; i < found; i++)
		words_show(context->notes, sorted[i], strlen(sorted[i]));
	return count;
}

static long cmd_rmx(struct context *context, char **argv)
{
	if (*argv[1] == '=')
		return fremovexattr(context_fd(context, argv[1] + 1), argv[2]);
	if (*argv[1] == '!')
		return lremovexattr(argv[1] + 1, argv[2]);
	return removexattr(argv[1], argv[2]);
}

struct acl {
	struct posix_acl_xattr_header header;
	struct posix_acl_xattr_entry entries[ACL_ENTRIES_MAX];
};

/* "u::rwx" and so on; false when it is none. */
static bool acl_entry(const char *text, struct posix_acl_xattr_entry *ret)
{
	const char *id = strchr(text, ':'), *perms = id ? strchr(id + 1, ':') : NULL;
	bool named = id && perms > id + 1;
	unsigned perm = 0;

	if (!perms)
		return false;
	for (const char *c = perms + 1; *c; c++)
		perm |= *c == 'r' ? ACL_READ : *c == 'w' ? ACL_WRITE : *c == 'x' ? ACL_EXECUTE : 0;
	ret->e_tag = htole16(*text == 'u'   ? (named ? ACL_USER : ACL_USER_OBJ)
			     : *text == 'g' ? (named ? ACL_GROUP : ACL_GROUP_OBJ)
			     : *text == 'm' ? ACL_MASK
					    : ACL_OTHER);
	ret->e_perm = htole16(perm);
	ret->e_id = htole32(named ? (unsigned)strtoul(id + 1, NULL, 10) : (unsigned)ACL_UNDEFINED_ID);
	return true;
}

static const char *acl_name(const char *kind)
{
	return strcmp(kind, "default") == 0 ? "system.posix_acl_default" : "system.posix_acl_access";
}

static long cmd_setacl(struct context *context, char **argv)
{
	struct acl acl = {.header.a_version = htole32(POSIX_ACL_XATTR_VERSION)};
	size_t count = 0;
	char *rest = NULL;

	for (char *text = strtok_r(argv[3], ",", &rest); text && count < ACL_ENTRIES_MAX;
		text = strtok_r(NULL, ",", &rest)) {
		if (!acl_entry(text, &acl.entries[count++]))
			return context_bad(context, "no ACL entry: %s", text);
	}
	return value_set(
		context, argv[1], acl_name(argv[2]), &acl, sizeof(acl.header) + count * sizeof(*acl.entries), 0);
}

static long cmd_getacl(struct context *context, char **argv)
{
	struct acl acl;
	ssize_t bytes = value_get(context, argv[1], acl_name(argv[2]), &acl, sizeof(acl));

	if (bytes < (ssize_t)sizeof(acl.header))
		return bytes;
	for (size_t i = 0; i < ((size_t)bytes - sizeof(acl.header)) / sizeof(*acl.entries); i++)
		fprintf(context->notes, " %#x:%d:%o", le16toh(acl.entries[i].e_tag),
			(int)le32toh(acl.entries[i].e_id), le16toh(acl.entries[i].e_perm));
	return 0;
}

/* A capability that the file would give who executes it. */
static long cmd_setcap(struct context *context, char **argv)
{
	struct vfs_cap_data cap = {
		.magic_etc = htole32(VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE),
		.data[0].permitted = htole32(1U << CAP_NET_BIND_SERVICE),
	};

	return value_set(context, argv[1], "security.capability", &cap, sizeof(cap), 0);
}

const struct command cmd_xattr_commands[] = {
	{"setx", 3, cmd_setx, "PATH|!PATH|=SLOT NAME VALUE [CREATE|REPLACE]"},
	{"getx", 2, cmd_getx, "PATH|!PATH|=SLOT NAME [BYTES]"},
	{"listx", 1, cmd_listx, "PATH|!PATH|=SLOT [BYTES]"},
	{"rmx", 2, cmd_rmx, "PATH|!PATH|=SLOT NAME"},
	{"setacl", 3, cmd_setacl, "PATH|=SLOT access|default u::rwx,u:ID:r--,g::r--,m::rwx,o::---"},
	{"getacl", 2, cmd_getacl, "PATH|=SLOT access|default"},
	{"setcap", 1, cmd_setcap, "PATH|=SLOT"},
	{},
};
