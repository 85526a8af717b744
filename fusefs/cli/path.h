/* Paths as people type them → paths relative to the data directory. Words only: nothing is looked up. */
#ifndef EBBFS_CLI_PATH_H
#define EBBFS_CLI_PATH_H

#include "fusefs/policy/ask.h"

/* Relative, or absolute below data. `.`, `..` and extra slashes are resolved. 0 with "" for data itself; -EXDEV when
 * the path leaves data, -ENAMETOOLONG. out is undefined on failure. */
int path_in_data(const char *data, const char *path, char out[static ASK_PATH_MAX]) _must_check_;

/* directory/name, or name when directory is "". 0 or -ENAMETOOLONG. */
int path_join(const char *directory, const char *name, char out[static ASK_PATH_MAX]) _must_check_;

#endif
