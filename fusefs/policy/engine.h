/* The engine: turns what happens to files into journal records, records into jobs, results into receipts.
 *
 * One thread of its own owns the journal's writes, the uploader's socket and the jobs in flight. Others reach it by:
 * engine_on_event() from FUSE threads and the scan (a list under `lock`, never waiting for the engine), and by the
 * atomic counters. A view of the journal may be taken by any thread.
 *
 * The backing directory is the truth: whatever is missed here (an overflow, a crash before the commit) is found again
 * by the scan.
 *
 * The list comes first: it takes events before there is a journal, and while there is none. The engine's and the scan's
 * threads run only while there is one. */
#ifndef EBBFS_ENGINE_H
#define EBBFS_ENGINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "fusefs/fs/fs.h"
#include "fusefs/journal/journal.h"
#include "fusefs/policy/keys.h"
#include "uploader/base/config.h"
#include "uploader/wire/job.h"

#define ENGINE_FLIGHTS_MAX 256
#define ENGINE_EVENTS_MAX 65536    /* beyond, events are dropped and the tree is compared again */
#define ENGINE_COALESCE_MAX_MS 500 /* events wait at most this long for others before a commit */
#define ENGINE_PATH_MAX 4096

/* Beside fs_event_type, from the scan: */
#define ENGINE_EVENT_FOUND 64 /* new_ino: enum engine_found */
#define ENGINE_EVENT_GONE 65  /* `name` in `dir`, once `ino`, is not there */

enum engine_found {
	ENGINE_FOUND_MOVED,    /* known content under a path that gives another key */
	ENGINE_FOUND_IN_DOUBT, /* the same, and the inode was touched since: its bytes are to be compared */
	ENGINE_FOUND_CHANGED,  /* unknown, or not what the receipt is about */
};

/* A job that the uploader has. */
struct flight {
	uint64_t id; /* 0: free */
	uint64_t ino, dir, generation;
	char name[JOURNAL_NAME_MAX + 1];
	char key[JOB_KEY_MAX + 1];
	char path[ENGINE_PATH_MAX];
	int fd;
	struct stat st;  /* when it was sent */
	int64_t sent_ms; /* CLOCK_REALTIME */
	int64_t birth_ns;
};

struct engine_counters {
	atomic_uint_fast64_t closed, uploaded, present, copied, uploaded_bytes, dropped_events;
	atomic_int_fast64_t last_success_ms, last_failure_ms; /* wall clock; 0: never */
	atomic_uint uploading;
	atomic_bool connected, scanning;
};

struct engine {
	const struct config *config;
	struct keys keys;
	struct fs *fs;
	struct journal *journal; /* NULL: not open; changed under journal_lock while neither thread runs */
	pthread_rwlock_t journal_lock;
	atomic_bool mounted; /* what is written is seen; before, the scan would miss what comes behind it */
	bool resumed;        /* the mount was served before: it goes on without a journal, if it has to */
	int backing_fd;
	uint64_t root_ino;
	dev_t root_dev;
	struct engine_counters counters;

	pthread_mutex_t lock;
	pthread_cond_t changed; /* room for events, a scan asked for, or the end */
	struct fs_event *first_event, **last_event;
	size_t n_events;
	size_t n_held; /* taken out of the list, not recorded yet */
	bool stopping;
	bool scan_wanted;
	char last_error[JOB_TEXT_MAX]; /* of a job; "" once one worked */
	int wake_fd;

	/* The engine's thread only. */
	int listen_fd, uploader_fd;
	uint32_t capacity; /* of the uploader */
	uint32_t n_flights;
	uint64_t last_job_id;
	struct flight *flights;  /* ENGINE_FLIGHTS_MAX */
	int64_t pause_until_ms;  /* clock_ms(): the endpoint is down */
	bool ask_first;          /* results were lost: what is sent may be there already */
	int64_t lost_before_ms;  /* the same for what waited before, by the wall clock: an earlier process died */
	uint32_t pauses;         /* in a row */
	int64_t clock_offset_ms; /* wall clock less monotonic, when last looked at; 0: never */
	int64_t last_commit_ms;
	int64_t dispatch_at_ms; /* clock_ms(): no reason to look at the queue before */
};

/* events.c */
void engine_on_event(struct fs_event *event, void *arg); /* the engine */
struct fs_event *engine_take_events(struct engine *engine);
void engine_events_recorded(struct engine *engine);
/* Waits for room, then hands the event over: for the scan, which may. Returns false at the end. */
bool engine_offer(struct engine *engine, uint32_t type, uint64_t dir, const char *name, uint64_t ino, bool is_dir,
	enum engine_found found);
void engine_want_scan(struct engine *engine);
/* The mount has appeared: the tree is compared from now on. */
void engine_set_mounted(struct engine *engine);
void engine_set_error(struct engine *engine, const char *text);
/* Sleeps; true if it is the end. */
bool engine_wait_for_end(struct engine *engine, int64_t ms);

/* apply.c: events into the journal, in one transaction. Frees them if the result is 0. */
int engine_apply(struct engine *engine, struct fs_event *events) _must_check_;

/* Takes a name out, and the file with its last one; only if it is that inode's (0: whoever's). */
int engine_drop_name(struct journal_txn *txn, uint64_t dir, const char *name, uint64_t only_ino);

/* paths.c: the path of a name below the data directory, by the journal's records of directories. 0; -ENOENT when one
 * of them is not known (the scan will find it); -ENAMETOOLONG. */
int engine_path(const struct engine *engine, struct journal_txn *txn, uint64_t dir, const char *name,
	char out[static ENGINE_PATH_MAX]) _must_check_;
/* Opens below the data directory without following links. The descriptor or -errno. */
int engine_open(const struct engine *engine, const char *path, int flags) _must_check_;

/* dispatch.c: sends what is due, as much as the uploader takes. Returns the time in ms until more is due (-1: not
 * known to be). */
int64_t engine_dispatch(struct engine *engine);

/* results.c */
/* A write to the journal failed: says so, and nothing is sent for a while whose result could not be kept. */
void engine_journal_failed(struct engine *engine, int error);
/* Records any number of answers in one transaction. */
void engine_on_results(struct engine *engine, const struct job_result *results, size_t n);
#define ENGINE_RESULTS_MAX 32
/* The uploader is gone: its jobs go back to the queue. */
void engine_recall_flights(struct engine *engine);
struct flight *engine_find_flight(struct engine *engine, uint64_t id);
bool engine_is_in_flight(const struct engine *engine, uint64_t ino);
/* Two jobs for one key could end in either order: there is one at a time. */
bool engine_is_key_in_flight(const struct engine *engine, const char *key);
void engine_land(struct engine *engine, struct flight *flight);

/* link.c: the uploader's socket. */
int engine_link_open(struct engine *engine) _must_check_;
void engine_link_accept(struct engine *engine);
void engine_link_receive(struct engine *engine);
void engine_link_close(struct engine *engine);
int engine_link_send(struct engine *engine, const struct job_request *request, int fd) _must_check_;

/* engine.c */
/* Makes the list: engine_on_event() may be called from here on. backing_fd stays the caller's. 0 or -errno. */
int engine_init(struct engine *engine, const struct config *config, int backing_fd) _must_check_;
/* Frees what engine_init() made, after all threads ended; forgets what is in the list. */
void engine_done(struct engine *engine);
/* Gives it a journal, before the threads start. */
void engine_set_journal(struct engine *engine, struct journal *journal);
/* Takes it away and closes it, after engine's and scan's threads have ended. What a process that was cut off may have
 * sent, and this one did not come to, stays in doubt for the next one. */
void engine_close_journal(struct engine *engine);
/* A view for threads that may run while there is no journal: -EAGAIN then. */
int engine_view(struct engine *engine, int (*work)(struct journal_txn *txn, void *arg), void *arg) _must_check_;
void *engine_thread(void *arg); /* the engine */
void engine_stop(struct engine *engine);
bool engine_is_stopping(struct engine *engine);
void background_thread(void); /* what the calling thread does may wait for others */

/* scan.c: a thread that compares the tree with the journal when engine.scan_wanted is set, not before engine.mounted. */
void *scan_thread(void *arg); /* the engine */

/* status.c: a thread that answers $EBBFS_RUN/status. */
struct status_server {
	struct engine *engine;
	int listen_fd, wake_fd; /* -1: not open */
	pthread_mutex_t lock;
	int peer_fd; /* -1: none; so that the end need not wait for it */
};
int status_open(struct status_server *server, struct engine *engine) _must_check_;
void *status_thread(void *arg);                 /* the server */
void status_stop(struct status_server *server); /* the thread ends, whoever it speaks to */
void status_done(struct status_server *server); /* after the thread */

#endif
