#include "uploader/worker/proof.h"

#include <string.h>

#include "uploader/base/units.h"

enum proof_verdict proof_judge(const struct s3_response *response, const uint8_t sha256[static JOB_SHA256_BYTES],
	const uint8_t md5[static JOB_MD5_BYTES], enum job_proof *ret_proof)
{
	uint8_t etag[JOB_MD5_BYTES];

	*ret_proof = JOB_PROOF_NONE;
	if (response->has_sha256) {
		if (memcmp(response->sha256, sha256, JOB_SHA256_BYTES) != 0)
			return PROOF_CONTRADICTION;
		*ret_proof = JOB_PROOF_SHA256;
		return PROOF_EQUAL;
	}
	if (hex_decode(response->etag, etag, sizeof(etag)) < 0)
		return PROOF_SILENT;
	if (memcmp(etag, md5, JOB_MD5_BYTES) != 0)
		return PROOF_CONTRADICTION;
	*ret_proof = JOB_PROOF_MD5_ETAG;
	return PROOF_EQUAL;
}
