/* The bytes of a job's descriptor, and whether they are still those of the beginning. One thread.
 *
 * Up to SOURCE_WHOLE_BYTES they are read once and kept; a bigger file is read twice, to be hashed and to be sent. Nothing
 * here opens anything. */
#ifndef EBBFS_WORKER_SOURCE_H
#define EBBFS_WORKER_SOURCE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "uploader/base/cleanup.h"

#define SOURCE_WHOLE_BYTES (1U << 20)

struct source {
	int fd; /* owned; -1: none */
	struct stat seen;
	uint8_t *whole; /* the bytes, if kept */
};

void source_done(struct source *source);

/* Looks at the descriptor, which becomes the source's. 0; -ESTALE if it is not of that size and time any more;
 * -EINVAL if it is no regular file; -errno. */
int source_init(struct source *source, int fd, uint64_t size_bytes, int64_t mtime_ns) _must_check_;

/* Bytes at an offset, fewer only at the end of the file: their number, or -errno. */
ssize_t source_read(struct source *source, void *bytes, size_t length, uint64_t offset) _must_check_;

/* Keeps the bytes of a small file; a big one is left alone. 0, -ENOMEM, -ESTALE (shorter than it was), -errno. */
int source_load(struct source *source) _must_check_;

/* Forgets what was kept. */
void source_unload(struct source *source);

/* True if size, mtime and ctime are what they were at source_init(). */
bool source_unchanged(const struct source *source);

#endif
