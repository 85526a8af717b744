/* ebbfs-fusefs as a service: takes the mount from the anchor, starts the parts, ends them in order. */
#ifndef EBBFS_SERVICE_H
#define EBBFS_SERVICE_H

#include "fusefs/fs/fs.h"
#include "uploader/base/config.h"

/* Runs until fs_stop() is called on the filesystem that `started` is told of, or until the mount is gone. Returns an
 * exit status; what went wrong is logged. */
int service_run(const struct config *config, void (*started)(struct fs *fs));

#endif
