#include "uploader/worker/digest.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>

struct digest {
	EVP_MD_CTX *sha256, *md5, *block;
	uint64_t size, done;
	uint8_t shift;
	uint32_t n_blocks; /* 0: one block, no digests of their own */
	uint8_t (*blocks)[JOB_SHA256_BYTES];
};

static EVP_MD_CTX *context_new(const EVP_MD *type)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();

	if (context && EVP_DigestInit_ex(context, type, NULL))
		return context;
	EVP_MD_CTX_free(context);
	return NULL;
}

static int digest_init(struct digest *digest)
{
	digest->sha256 = context_new(EVP_sha256());
	digest->md5 = context_new(EVP_md5());
	if (!digest->sha256 || !digest->md5)
		return -ENOMEM;
	if (digest->size <= 1ULL << digest->shift)
		return 0;
	digest->n_blocks = (uint32_t)((digest->size - 1) >> digest->shift) + 1;
	digest->blocks = calloc(digest->n_blocks, JOB_SHA256_BYTES);
	digest->block = context_new(EVP_sha256());
	return digest->blocks && digest->block ? 0 : -ENOMEM;
}

struct digest *digest_new(uint64_t size_bytes)
{
	struct digest *digest = calloc(1, sizeof(*digest));

	if (!digest)
		return NULL;
	digest->size = size_bytes;
	digest->shift = job_block_shift(size_bytes);
	if (digest_init(digest) < 0) {
		digest_free(digest);
		return NULL;
	}
	return digest;
}

void digest_free(struct digest *digest)
{
	if (!digest)
		return;
	EVP_MD_CTX_free(digest->sha256);
	EVP_MD_CTX_free(digest->md5);
	EVP_MD_CTX_free(digest->block);
	free(digest->blocks);
	free(digest);
}

/* Closes the block that ends at digest->done and begins the next. */
static int end_block(struct digest *digest)
{
	uint64_t index = (digest->done - 1) >> digest->shift;

	if (!EVP_DigestFinal_ex(digest->block, digest->blocks[index], NULL) ||
		!EVP_DigestInit_ex(digest->block, EVP_sha256(), NULL))
		return -EIO;
	return 0;
}

static int update_blocks(struct digest *digest, const uint8_t *bytes, size_t length)
{
	uint64_t block_bytes = 1ULL << digest->shift;

	while (length) {
		uint64_t room = block_bytes - (digest->done & (block_bytes - 1));
		size_t n = length < room ? length : (size_t)room;

		if (!EVP_DigestUpdate(digest->block, bytes, n))
			return -EIO;
		digest->done += n;
		bytes += n;
		length -= n;
		if ((digest->done & (block_bytes - 1)) == 0 || digest->done == digest->size) {
			if (end_block(digest) < 0)
				return -EIO;
		}
	}
	return 0;
}

int digest_update(struct digest *digest, const void *bytes, size_t length)
{
	if (length > digest->size - digest->done)
		return -EIO;
	if (!EVP_DigestUpdate(digest->sha256, bytes, length) || !EVP_DigestUpdate(digest->md5, bytes, length))
		return -EIO;
	if (digest->n_blocks)
		return update_blocks(digest, bytes, length);
	digest->done += length;
	return 0;
}

int digest_finish(struct digest *digest, struct job_result *result)
{
	if (digest->done != digest->size || !EVP_DigestFinal_ex(digest->sha256, result->sha256, NULL) ||
		!EVP_DigestFinal_ex(digest->md5, result->md5, NULL))
		return -EIO;
	result->size = digest->size;
	result->block_shift = digest->shift;
	result->n_blocks = digest->n_blocks;
	free(result->blocks);
	result->blocks = TAKE_PTR(digest->blocks);
	return 0;
}
