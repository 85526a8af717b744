/* What ebbfs-fusefs may do, and everything else taken away. Once, before the first thread and before the filesystem is
 * set up. The table of capabilities with their reasons is in privs.c; socket(2) is for Unix sockets only; it can gain
 * no privileges by execve(2).
 *
 * Not a boundary: with these capabilities it can read and write every file that it can name. What it serves is handed
 * to it as a descriptor, and it names nothing outside. */
#ifndef EBBFS_POLICY_PRIVS_H
#define EBBFS_POLICY_PRIVS_H

#include "uploader/base/cleanup.h"

/* 0, or -errno. As an ordinary user there is nothing to take away but the network. */
int policy_privs_drop(void) _must_check_;

#endif
