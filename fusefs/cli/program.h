/* The other programs of ebbfs: where they are, and what they may know. */
#ifndef EBBFS_CLI_PROGRAM_H
#define EBBFS_CLI_PROGRAM_H

#include <limits.h>

#include "uploader/base/cleanup.h"

/* Looks for an executable in $EBBFS_BIN (directories with colons between), beside this program, where the build puts
 * it, in libexecdir/ebbfs, then in PATH. 0, or -ENOENT. */
int program_find(const char *name, char out[static PATH_MAX]) _must_check_;

/* Takes S3's credentials, all of AWS_*, out of this process' environment: for what is about to be executed. */
void program_forget_credentials(void);

#endif
