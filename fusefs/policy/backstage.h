/* Everything behind the serving: the journal, the engine, the comparison of the tree, the answers to questions. It comes
 * up while requests are answered already, and goes before they end. Nothing here holds up a request. */
#ifndef EBBFS_BACKSTAGE_H
#define EBBFS_BACKSTAGE_H

#include "fusefs/policy/engine.h"

struct backstage {
	struct engine *engine;
	struct status_server status;
	pthread_t opener, engine_thread, scan_thread, status_thread; /* 0: not started */
	int error;                                                   /* the last that was logged */
	int failed_fd;
	atomic_bool failed;
};

/* Begins in a thread of its own. A mount that was served before (engine.resumed) is served on whatever comes: what cannot
 * be opened is tried for ever. For a new one that is an end: `failed` is set and failed_fd (an eventfd of the caller)
 * written to. The engine has its list and its filesystem. 0 or -errno. */
int backstage_start(struct backstage *backstage, struct engine *engine, int failed_fd) _must_check_;

/* Records what is known and closes the journal. Waits for the disk, for nothing else, and not for ever: false if threads
 * are left, which are to end with the process. */
bool backstage_stop(struct backstage *backstage);

#endif
