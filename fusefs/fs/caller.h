/* Acting as the caller: what is created belongs to who creates it, with the caller's umask.
 *
 * The kernel has checked the permissions already (default_permissions); this is about ownership only. File-system ids
 * and the umask are the thread's own (setfsuid(2), unshare(CLONE_FS)). Effective capabilities are kept across the
 * change of ids. CAP_FSETID is off except where a mode with S_ISGID is to be kept as it is: with it on, a write would
 * leave set-user-ID bits standing that POSIX wants cleared. */
#ifndef EBBFS_FS_CALLER_H
#define EBBFS_FS_CALLER_H

#include <stdbool.h>
#include <sys/types.h>

#include "uploader/base/cleanup.h"

/* Once per process, before threads are started. Returns whether acting for others is possible (root). */
bool caller_prepare(void);

/* Once per thread that serves. */
void caller_prepare_thread(void);

struct caller {
	bool changed; /* ids */
	bool fsetid;
};

/* mode: of what is to be created or set; 0 if there is none. */
struct caller caller_enter(bool privileged, uid_t uid, gid_t gid, mode_t mask, mode_t mode);
void caller_leave(const struct caller *caller);
#define _cleanup_caller_ _cleanup_(caller_leave)

/* Raises CAP_FSETID for this thread until caller_leave(), if the mode needs it. */
struct caller caller_keep_mode(mode_t mode);

/* The same for what root writes or cuts: its set-ID bits stay, as they do on a plain filesystem. */
struct caller caller_keep_set_ids(bool privileged, uid_t uid);

#endif
