/* ebbfs-fusefs as a service: takes the mount from the anchor, serves, starts the parts, ends them in order. */
#ifndef EBBFS_SERVICE_H
#define EBBFS_SERVICE_H

#include "uploader/base/config.h"

/* Runs until SIGTERM or SIGINT, which leave the mount alive for the next one, or until the mount is gone. Before any
 * thread. Returns an exit status (EXIT_FOREIGN_STATE: only another version can go on); what went wrong is logged. */
int service_run(const struct config *config);

#endif
