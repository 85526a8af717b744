/* What the uploader may do, and everything else taken away. Once, before the first thread.
 *
 *	capability	none: every file is handed over as a descriptor, every port is the other side's
 *	user, group	EBBFS_UPLOADER_USER, without supplementary groups
 *	execve		no: it starts nothing, and no-new-privs besides
 *	core, ptrace	no: its memory holds credentials
 *
 * Not a boundary here: reading files by name that this user may read; the sandbox of the container is that. */
#ifndef EBBFS_WORKER_PRIVS_H
#define EBBFS_WORKER_PRIVS_H

#include "uploader/base/config.h"

/* Started as root: becomes the configured user for good. Started as anyone: drops what there is to drop. 0, or -errno
 * with what failed in error. */
int privs_drop(const struct config *config, char error[static CONFIG_ERROR_MAX]) _must_check_;

#endif
