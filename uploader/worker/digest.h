/* The digests of a file in one pass: SHA-256 and MD5 of the whole, SHA-256 of each block. One thread. */
#ifndef EBBFS_WORKER_DIGEST_H
#define EBBFS_WORKER_DIGEST_H

#include "uploader/wire/job.h"

struct digest;

/* NULL without memory. */
struct digest *digest_new(uint64_t size_bytes);
void digest_free(struct digest *digest);
static inline void digest_freep(struct digest **pointer)
{
	digest_free(*pointer);
}

/* The next bytes of the file. 0 or -EIO (OpenSSL failed, or more than size_bytes came). */
int digest_update(struct digest *digest, const void *bytes, size_t length) _must_check_;

/* After exactly size_bytes: fills in sha256, md5, size, block_shift and the blocks. 0 or -EIO. */
int digest_finish(struct digest *digest, struct job_result *result) _must_check_;

#endif
