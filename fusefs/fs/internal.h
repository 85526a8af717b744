/* What the files of this directory share: the filesystem's own struct and the small steps of every operation.
 *
 * Locks, in the order in which they may be taken: fs.node_locks[] (one of them at a time; held over the registration
 * of a backing file), server.lock (alone), then the table's, pins.lock, fdcache.lock (never one inside another; memory
 * work only, but for a message to the anchor that does not wait). */
#ifndef EBBFS_FS_INTERNAL_H
#define EBBFS_FS_INTERNAL_H

#define FUSE_USE_VERSION 317

#include <fuse_lowlevel.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

#include "fusefs/fs/fdcache.h"
#include "fusefs/fs/fs.h"
#include "fusefs/fs/inflight.h"
#include "fusefs/fs/pins.h"
#include "fusefs/fs/table.h"
#include "uploader/base/buf.h"

#define FS_NODE_LOCKS 64

#define FS_WRITE_MAX (128U << 10) /* bytes of one WRITE request; the memory for it is there before (receive.c) */

/* Every change comes through us, so what the kernel remembers stays true. */
#define FS_CACHE_SECONDS 86400.0
/* That a name is not there: a program may be killed while it waits for the next process to answer what the one before
 * has done already. The kernel takes the request back, and goes on believing that there is nothing. */
#define FS_ABSENCE_SECONDS 1.0

/* A thread that serves. */
struct worker {
	struct fs *fs;
	pthread_t thread;
	atomic_int tid;                 /* 0: not there yet */
	atomic_int_fast64_t busy_since; /* ns, of the request that it has in hand; 0: none */
	int64_t stuck_since;            /* alive.c: busy_since when it was first seen stuck; 0: it was not */
};

/* Who serves: serve.c. */
struct server {
	pthread_mutex_t lock;
	pthread_cond_t vacant;
	bool is_led;                    /* protected by lock */
	bool may_spin;                  /* set before the threads are started */
	atomic_int_fast64_t busy_since; /* ns, of the request that the leader has in hand; 0: it waits */
	atomic_bool watch_sleeps;
	atomic_uint_fast64_t taken; /* requests read */
};

struct fs {
	struct server server;
	struct fs_options options;
	int backing_fd; /* the root; O_RDONLY */
	int state_fd;
	int wake_fd;
	uint32_t dev;    /* low 32 bits of the root's st_dev */
	bool handles;    /* nodes are found by file handle */
	bool privileged; /* may act for other users */
	atomic_bool passthrough;
	atomic_bool serving, stopping;
	atomic_uint_fast64_t read_requests, write_requests;
	atomic_uint inflights_unclaimed;
	atomic_uint changes_begun,
		changes_ended;         /* removals and renames: what is found by names meanwhile may be wrong */
	bool inflight_used[INFLIGHTS]; /* by a thread of ours; protected by the table's lock */
	struct fuse_session *session;
	struct worker *workers; /* options.threads */
	bool is_abandoned;      /* a worker is in the kernel for good: nothing may be freed */
	uint64_t taken_before;  /* alive.c: server.taken when a request was first seen to wait, and when that was */
	int64_t waits_since;
	struct table table;
	struct pins pins;
	struct fdcache fdcache;
	struct fdcache dircache; /* O_PATH descriptors of directories used lately, by node id */
	pthread_mutex_t node_locks[FS_NODE_LOCKS];
};

static inline struct fs *fs_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* A descriptor that may or may not be ours to close. */
struct node_fd {
	int fd;
	bool owned;
	struct fdcache_ref ref; /* of a directory that is kept open for a while */
};

static inline void node_fd_done(struct node_fd *node_fd)
{
	if (node_fd->owned)
		cleanup_close(&node_fd->fd);
	fdcache_unref(&node_fd->ref);
}

#define NODE_FD_NONE ((struct node_fd){.fd = -1})
#define _cleanup_node_fd_ _cleanup_(node_fd_done)

/* An O_PATH descriptor (the root's is O_RDONLY) of a node. 0 or -errno (-ESTALE: it is not there any more). */
int fs_resolve(struct fs *fs, fuse_ino_t id, struct node_fd *ret) _must_check_;

/* By the file handle alone, which also leads to what has no name. Always owned. */
int fs_resolve_handle(struct fs *fs, fuse_ino_t id, struct node_fd *ret) _must_check_;

/* The same as a path below /proc/self/fd, for calls that take no descriptor. */
#define PROC_PATH_MAX 32
const char *fs_proc_path(int fd, char out[static PROC_PATH_MAX]);

/* What a name in a directory is: its attributes, and what its node is recognised by. 0 or -errno. */
int fs_identify(struct fs *fs, int dirfd, const char *name, struct stat *ret_st,
	struct node_identity *ret_identity) _must_check_;
/* The same for a descriptor itself. */
int fs_identify_fd(struct fs *fs, int fd, struct stat *ret_st, struct node_identity *ret_identity) _must_check_;

/* Enters a name that exists into the table, with one lookup more, and fills in the answer. The request in hand gets to
 * `reached` with it. 0 or -errno (-ENOSPC: INFLIGHT_LISTED, and the record holds no more). */
int fs_enter(struct fs *fs, fuse_ino_t parent, const char *name, const struct stat *st,
	const struct node_identity *identity, enum inflight_state reached, struct fuse_entry_param *ret) _must_check_;
/* The answer for a node that has its lookup already. */
void fs_fill_entry(fuse_ino_t id, const struct stat *st, struct fuse_entry_param *ret);
/* Takes that lookup back: the kernel never heard of it. */
void fs_leave(struct fs *fs, fuse_ino_t id, uint64_t lookups);

/* Takes the node away if it has no name and no handle, and the kernel does not know it any more. Its pin is the caller's
 * to drop. */
bool fs_let_go(struct fs *fs, fuse_ino_t id);

/* Answers with -errno, or positive errno, or 0. */
void fs_reply(fuse_req_t req, int error);

/* Answers with what is at a name now, or that nothing is. */
void fs_reply_entry(fuse_req_t req, fuse_ino_t parent, int dirfd, const char *name);

/* names.c: what follows in the table when a name is gone; the record tells which node had it. Part of a transaction. */
void fs_bury_locked(struct fs *fs, const struct inflight *inflight, fuse_ino_t parent, const char *name);
/* The same for all that a rename changes. */
void fs_move_locked(struct fs *fs, const struct inflight *inflight);
/* A node without a name that somebody opened just before: its file handle leads to it as long as that lasts, a pin for
 * good. */
void fs_pin_if_open(struct fs *fs, fuse_ino_t id);
/* Takes a pin back that was not needed. */
void fs_unpin(struct fs *fs, const struct inflight *inflight);

/* receive.c: memory for requests, one thread's. 0 or -errno. */
int fs_receive_prepare(struct fuse_buf *buf) _must_check_;
void fs_receive_done(struct fuse_buf *buf);
/* The next request: its length, 0 when the mount is gone, or -errno (-EINTR, -EAGAIN: once more). */
int fs_receive(struct fs *fs, struct fuse_buf *buf) _must_check_;

/* resume.c: goes on with the connection of an earlier process, before anything is served. 0 or -errno. */
int fs_resume(struct fs *fs) _must_check_;

/* Opens what an O_PATH descriptor points to. The descriptor or -errno. */
int fs_reopen(int fd, int flags) _must_check_;

/* Events. Nothing is sent when nobody listens. The node's directories are announced first. */
void fs_say_changed(struct fs *fs, fuse_ino_t id, bool is_close);
void fs_say_name(struct fs *fs, enum fs_event_type type, fuse_ino_t parent, const char *name, const struct stat *st);
void fs_say_renamed(struct fs *fs, enum fs_event_type type, fuse_ino_t parent, const char *name,
	const struct stat *st, fuse_ino_t new_parent, const char *new_name, uint64_t new_ino);

/* The operations, by the file that holds them. */
void fs_op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void fs_op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup);
void fs_op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void fs_op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi);
void fs_op_readlink(fuse_req_t req, fuse_ino_t ino);
void fs_op_statfs(fuse_req_t req, fuse_ino_t ino);

void fs_op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void fs_op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void fs_op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void fs_op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name);
void fs_op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void fs_op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void fs_op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
	unsigned int flags);

void fs_op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void fs_op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void fs_op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);

void fs_op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi);
void fs_op_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info *fi);
void fs_op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);

void fs_op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void fs_op_write_buf(fuse_req_t req, fuse_ino_t ino, struct fuse_bufvec *in, off_t off, struct fuse_file_info *fi);
void fs_op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void fs_op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length, struct fuse_file_info *fi);
void fs_op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi);
void fs_op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in, struct fuse_file_info *fi_in,
	fuse_ino_t ino_out, off_t off_out, struct fuse_file_info *fi_out, size_t length, int flags);

void fs_op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags);
void fs_op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void fs_op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void fs_op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);

/* A descriptor for I/O of an open handle; see fdcache.h. */
int fs_handle_fd(struct fs *fs, fuse_ino_t ino, uint64_t fh, struct fdcache_ref *ret) _must_check_;

#endif
