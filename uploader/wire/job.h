/* The job protocol between ebbfs-fusefs, which listens at $EBBFS_RUN/jobs, and ebbfs-uploader, which connects.
 *
 * One SOCK_SEQPACKET message each way per job; a request that reads a file carries its descriptor (O_RDONLY, a
 * regular file). fusefs sends no more jobs than the uploader's hello said it takes. Jobs are answered in any order,
 * each exactly once; a closed socket means that none of the open ones will be. The uploader keeps no state: who
 * asks again gets the work done again, found done, or refused.
 *
 * Every message: u32 magic, u16 version, u16 type, u64 job id, then the fields of its type, big-endian, byte strings
 * with a u16 length before them. Anything else on the wire ends the connection. */
#ifndef EBBFS_WIRE_JOB_H
#define EBBFS_WIRE_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "uploader/base/buf.h"

#define JOB_VERSION 1
#define JOB_MESSAGE_MAX (96 * 1024)
#define JOB_KEY_MAX 1024 /* S3's limit in bytes */
#define JOB_TEXT_MAX 512
#define JOB_ETAG_MAX 80
#define JOB_VERSION_ID_MAX 1024 /* AWS: "up to 1,024 bytes" */
#define JOB_SHA256_BYTES 32
#define JOB_MD5_BYTES 16
#define JOB_BLOCKS_MAX 2048    /* block digests in one receipt */
#define JOB_BLOCK_SHIFT_MIN 20 /* 1 MiB */

enum job_type {
	JOB_HELLO = 1, /* uploader → fusefs, first */
	JOB_REQUEST,   /* fusefs → uploader */
	JOB_RESULT,    /* uploader → fusefs */
	JOB_CANCEL,    /* fusefs → uploader: the result no longer matters; it is still sent */
};

enum job_kind {
	JOB_KIND_PUT = 1, /* the bytes of the descriptor → key */
	JOB_KIND_COPY,    /* server-side: source → key; the descriptor is there too, to fall back on */
};

/* Bits of job_request.flags. */
#define JOB_CHECK_FIRST 0x1 /* ask the bucket (HEAD) before sending: the object may be there already */

struct job_hello {
	uint32_t capacity; /* jobs that may be open at once, 1–256 */
};

/* What is known of the content, if has_known: of a receipt, to be compared with. */
struct job_request {
	uint64_t id;
	enum job_kind kind;
	uint32_t flags;
	uint64_t size;       /* bytes, of the file when it was opened */
	int64_t mtime_ns;    /* since 1970, of the file */
	uint64_t generation; /* content generation; for the log only */
	bool has_known;
	uint8_t known_sha256[JOB_SHA256_BYTES];
	uint8_t known_md5[JOB_MD5_BYTES];
	char key[JOB_KEY_MAX + 1];    /* in the bucket of EBBFS_TARGET, prefix included, valid UTF-8 */
	char source[JOB_KEY_MAX + 1]; /* JOB_KIND_COPY */
	char source_version[JOB_VERSION_ID_MAX + 1];
};

enum job_outcome {
	JOB_DONE = 1, /* the object is there and proven */
	JOB_CHANGED,  /* the file changed while it was read; nothing was replaced by a mixture */
	JOB_RETRY,    /* S3 or the way to it failed for now: ask again later */
	JOB_PARKED,   /* needs a person: text says why */
};

/* How JOB_DONE was proven, best first. */
enum job_proof {
	JOB_PROOF_NONE,
	JOB_PROOF_SHA256,    /* S3 returned the SHA-256 of the bytes */
	JOB_PROOF_MD5_ETAG,  /* S3 returned an ETag that is the MD5 of the bytes */
	JOB_PROOF_READ_BACK, /* the object was read and its SHA-256 compared */
};

/* How JOB_DONE came about. */
enum job_way {
	JOB_WAY_NONE,
	JOB_WAY_PUT,     /* bytes were sent */
	JOB_WAY_PRESENT, /* the same bytes were there under the key already */
	JOB_WAY_COPIED,  /* copied inside S3 */
};

struct job_result {
	uint64_t id;
	enum job_outcome outcome;
	enum job_proof proof;
	enum job_way way;
	uint64_t size;
	uint32_t duration_ms;
	uint16_t http_status; /* of the last answer; 0: none came */
	bool endpoint_down;   /* JOB_RETRY: the cause would hit any other job as well */
	uint8_t sha256[JOB_SHA256_BYTES];
	uint8_t md5[JOB_MD5_BYTES];
	char etag[JOB_ETAG_MAX]; /* without quotes */
	char version_id[JOB_VERSION_ID_MAX + 1];
	char text[JOB_TEXT_MAX];             /* for people: what went wrong, and what to do; no secrets */
	uint8_t block_shift;                 /* log2 of the block size */
	uint32_t n_blocks;                   /* 0 when the whole file is one block (sha256 is its digest) */
	uint8_t (*blocks)[JOB_SHA256_BYTES]; /* owned by whoever holds the struct: job_result_done() */
};

void job_result_done(struct job_result *result);
#define _cleanup_job_result_ _cleanup_(job_result_done)

/* The smallest shift ≥ JOB_BLOCK_SHIFT_MIN with at most JOB_BLOCKS_MAX blocks. */
uint8_t job_block_shift(uint64_t size_bytes);

/* Encoding replaces the buffer's content. 0 or -errno. */
int job_encode_hello(struct buf *buf, const struct job_hello *hello) _must_check_;
int job_encode_request(struct buf *buf, const struct job_request *request) _must_check_;
int job_encode_result(struct buf *buf, const struct job_result *result) _must_check_;
int job_encode_cancel(struct buf *buf, uint64_t id) _must_check_;

/* The type of a message whose magic and version are right, else -EBADMSG (no message of ours) or -EPROTO (another
 * version). */
int job_decode_type(const void *bytes, size_t length) _must_check_;

/* Decoding checks every length, enumeration and terminator. 0, -EBADMSG or -ENOMEM; ret untouched on failure. */
int job_decode_hello(const void *bytes, size_t length, struct job_hello *ret) _must_check_;
int job_decode_request(const void *bytes, size_t length, struct job_request *ret) _must_check_;
int job_decode_result(const void *bytes, size_t length, struct job_result *ret) _must_check_;
int job_decode_cancel(const void *bytes, size_t length, uint64_t *ret_id) _must_check_;

#endif
