/* What an answer of S3's proves about the bytes under a key. Pure; any thread. */
#ifndef EBBFS_WORKER_PROOF_H
#define EBBFS_WORKER_PROOF_H

#include "uploader/s3/client.h"
#include "uploader/wire/job.h"

enum proof_verdict {
	PROOF_SILENT,        /* it says nothing about the content */
	PROOF_EQUAL,         /* proven, by *ret_proof */
	PROOF_CONTRADICTION, /* it names another SHA-256, or an ETag that looks like another MD5 */
};

/* A SHA-256 decides alone. An ETag of 32 hexadecimal digits is taken for an MD5; with SSE-KMS it looks like one and is
 * none, so that a contradiction is a reason to look closer, never a verdict on the object. */
enum proof_verdict proof_judge(const struct s3_response *response, const uint8_t sha256[static JOB_SHA256_BYTES],
	const uint8_t md5[static JOB_MD5_BYTES], enum job_proof *ret_proof) _must_check_;

#endif
