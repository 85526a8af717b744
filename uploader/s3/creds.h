/* Credentials: where they come from, and that they are erased before their memory is freed.
 *
 * A provider is an object with two functions, so that one that talks to a metadata service or a token file stands in
 * the same place. Here: the environment, and plain keys of a profile file. One thread. */
#ifndef EBBFS_S3_CREDS_H
#define EBBFS_S3_CREDS_H

#include <stddef.h>

#include "uploader/base/cleanup.h"

#define CREDS_ERROR_MAX 256

struct creds {
	char *access_key; /* may hold a colon */
	char *secret_key;
	char *session_token; /* or NULL */
};

void creds_done(struct creds *creds); /* erases */

struct creds_provider;

struct creds_provider_ops {
	const char *name;
	/* Credentials that are good now, borrowed until the next call. 0; -ENOENT when this provider has nothing to
	 * go by; -EINVAL when what it found is unusable; -errno. The last two fill in error for people, without secrets.
	 * Must not block for longer than reading a small file takes. */
	int (*get)(struct creds_provider *provider, const struct creds **ret, char error[static CREDS_ERROR_MAX]);
	void (*free)(struct creds_provider *provider);
};

struct creds_provider {
	const struct creds_provider_ops *ops;
};

/* The chain, in AWS's order: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN), then the profile
 * AWS_PROFILE ("default") of AWS_SHARED_CREDENTIALS_FILE ($HOME/.aws/credentials). The environment is read here; the
 * file is read again when it has changed. NULL without memory. */
struct creds_provider *creds_chain_new(void);

/* -ENOENT fills in error as well. */
int creds_get(
	struct creds_provider *provider, const struct creds **ret, char error[static CREDS_ERROR_MAX]) _must_check_;
void creds_provider_free(struct creds_provider *provider);
static inline void creds_provider_freep(struct creds_provider **pointer)
{
	creds_provider_free(*pointer);
}

/* The providers that the chain is made of; NULL without memory. path and profile are copied. */
struct creds_provider *creds_env_new(void);
struct creds_provider *creds_profile_new(const char *path, const char *profile);

/* Finds a profile's keys in the text of a credentials file. 0, -ENOENT (no such section, or no key in it), -EINVAL
 * (one key without the other), -ENOMEM. */
int creds_parse_profile(const char *text, size_t length, const char *profile, struct creds *ret) _must_check_;

#endif
