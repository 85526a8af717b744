/* The filesystem: a mount over a backing directory that reports what happens to its files.
 *
 * Knows FUSE and POSIX, nothing of S3 or the journal. Applications see the backing directory as it is; reads, writes
 * and mmap go by the kernel's passthrough where it can be had. No libfuse type leaves this directory. */
#ifndef EBBFS_FS_H
#define EBBFS_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "uploader/base/cleanup.h"

struct fs;

enum fs_event_type {
	FS_EVENT_DIR = 1,   /* directory `ino` is `name` in `dir`: said before the first event about what is in it */
	FS_EVENT_CHANGED,   /* the last writer of file `ino` closed it, or it was truncated or its times were set */
	FS_EVENT_LINKED,    /* file `ino` got the further name `name` in `dir` */
	FS_EVENT_UNLINKED,  /* `name` in `dir` (file or directory `ino`) is gone */
	FS_EVENT_RENAMED,   /* `name` in `dir` is now `new_name` in `new_dir`; what was there is gone */
	FS_EVENT_EXCHANGED, /* the two names changed places: `ino` was `name`, `new_ino` was `new_name` */
};

/* Inode numbers are the backing filesystem's. Names point into the event itself. */
struct fs_event {
	struct fs_event *next; /* for whoever owns it */
	enum fs_event_type type;
	bool is_dir;   /* `ino` is a directory */
	bool is_file;  /* `ino` is a regular file */
	bool is_close; /* FS_EVENT_CHANGED: by a close, not by a change of size or times */
	uint64_t ino, new_ino;
	uint64_t dir, new_dir;
	const char *name; /* FS_EVENT_CHANGED: "" when the name that the kernel used is gone; others may exist */
	const char *new_name;
};

/* Takes the event over (free()). Called on FUSE threads, before the application gets its answer, in the order in which
 * changes of one directory happened: it must not block. */
typedef void fs_event_fn(struct fs_event *event, void *arg);

/* fd leads to an inode that has no name any more: whoever keeps it (dup(2)) lets it outlive this process. fd -1: not
 * needed any more. On FUSE threads, in order, under a lock: it must not block, and not call back. */
typedef void fs_pin_fn(uint64_t node_id, int fd, void *arg);

struct fs_options {
	int backing_fd;         /* taken over */
	int fuse_fd;            /* taken over; -1: mount at `mountpoint` through fusermount3 */
	int state_fd;           /* memfd for the tables, taken over; -1: private */
	const char *mountpoint; /* for messages, and for fuse_fd -1 */
	bool passthrough;       /* try it */
	bool trace;             /* every operation to stderr */
	unsigned int threads;   /* that serve; at least 1 */
	fs_event_fn *on_event;  /* NULL: nobody listens */
	void *event_arg;
	fs_pin_fn *on_pin; /* NULL: pins end with the process */
	void *pin_arg;
};

/* Sets up the connection; nothing is served yet. A state that an earlier process left in state_fd is gone on with. 0 or
 * -errno (-EPROTO: that state is of a version that this program cannot read), with descriptors taken over in either
 * case. */
int fs_new(const struct fs_options *options, struct fs **ret) _must_check_;

/* Serves until fs_stop() or until the mount is gone, from threads of its own; returns 0 or -errno. Blocks. */
int fs_serve(struct fs *fs) _must_check_;

/* A pin of an earlier process, taken over. Before fs_serve(). */
void fs_adopt_pin(struct fs *fs, uint64_t node_id, int fd);

/* Calls back with every pin there is, under the same lock as on_pin. */
void fs_each_pin(struct fs *fs, fs_pin_fn *fn, void *arg);

/* Whether requests get on: false when the threads that serve are stuck on each other, or in a loop, for some seconds;
 * waiting for a disk is no such thing. One thread, a few times a second. */
bool fs_is_alive(struct fs *fs);

/* Lets fs_serve() return after the requests in hand. Any thread, also a signal handler. */
void fs_stop(struct fs *fs);

/* After fs_serve(): a thread of it waits for the disk and cannot be ended. Nothing that it may come back to can be freed;
 * the process is to end. */
bool fs_is_abandoned(const struct fs *fs);

void fs_free(struct fs *fs);

/* True while a descriptor that can write the file is open through the mount. Any thread. */
bool fs_has_writer(struct fs *fs, uint64_t ino);

struct fs_stats {
	uint64_t nodes;         /* known to the kernel */
	uint64_t handles;       /* open descriptors */
	uint64_t writers;       /* files that are open for writing, until their event was sent */
	uint64_t read_requests; /* that reached us; 0 where passthrough works */
	uint64_t write_requests;
	bool passthrough; /* in use */
	bool serving;     /* FUSE_INIT was answered */
};

void fs_get_stats(struct fs *fs, struct fs_stats *ret);

#endif
