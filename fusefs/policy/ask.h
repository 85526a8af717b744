/* What the command line asks of ebbfs-fusefs, at $EBBFS_RUN/status (anyone on the machine, read only).
 *
 * SOCK_SEQPACKET. The request is one packet: u32 magic, u16 version, u16 type, then a path as u16 length and bytes,
 * relative to the data directory, "" for its root. The answer is a packet of one i32 (0 or a positive errno, big-endian),
 * then packets that together are one JSON text, then the end of the connection. */
#ifndef EBBFS_ASK_H
#define EBBFS_ASK_H

#include <stdint.h>

#include "uploader/base/buf.h"

#define ASK_SOCKET_STATUS "status"
#define ASK_MAGIC 0x65627131U /* "ebq1" */
#define ASK_VERSION 1
#define ASK_PATH_MAX 4096
#define ASK_REQUEST_MAX (ASK_PATH_MAX + 16)
#define ASK_CHUNK_BYTES 32768

enum ask_type {
	ASK_STATUS = 1, /* the whole: no path */
	ASK_LIST,       /* state of a file, or of each name in a directory */
};

struct ask_request {
	enum ask_type type;
	char path[ASK_PATH_MAX];
};

/* Client. Connects in directory `run`, asks, and appends the answer's JSON to json (whose ceiling should allow for a
 * large directory). Returns 0; -ENOENT or -ECONNREFUSED when nobody listens; the positive errno of the answer as
 * -errno in *ret_answer with return 0; else -errno. Blocks, for at most timeout_ms between packets (-ETIMEDOUT). */
int ask(const char *run, const struct ask_request *request, int64_t timeout_ms, struct buf *json,
	int *ret_answer) _must_check_;

/* Server side. 0 or -EBADMSG (not ours, wrong version or type, or a path that does not end or holds NUL). */
int ask_decode(const void *bytes, size_t length, struct ask_request *ret) _must_check_;
int ask_encode(struct buf *buf, const struct ask_request *request) _must_check_;

#endif
