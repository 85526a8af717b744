/* Who a sequence's calls are made by. Not here: the command `as`, which is in cmd_proc.c. */
#ifndef EBBFS_TESTS_POSIX_IDENTITY_H
#define EBBFS_TESTS_POSIX_IDENTITY_H

#include <sys/types.h>

#include "uploader/base/cleanup.h"

#define IDENTITY_GROUPS_MAX 8

/* Real and effective ids and groups; the saved user id stays 0, so that root can come back. Started as an ordinary
 * user, "user" is that user and everybody else is EPERM.
 *
 *	root	0:0
 *	user	20001:20001, also in 20005		the ordinary user that owns the directory
 *	mate	20002:20002, also in 20005		shares a group with user
 *	other	20003:20003				shares nothing
 *	UID:GID[:GROUP,GROUP]
 *
 * Returns 0, or -1 with errno (EINVAL: no such name). */
int identity_take(const char *name) _must_check_;

/* Gives a directory to the one after the '@' ("@user"); NULL is root. Returns 0, or -1 with errno. */
int identity_own(const char *directory, const char *at_name) _must_check_;

#endif
