#include "uploader/s3/creds.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void erase(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

void creds_done(struct creds *creds)
{
	erase(creds->access_key);
	erase(creds->secret_key);
	erase(creds->session_token);
	*creds = (struct creds){0};
}

struct env_provider {
	struct creds_provider provider;
	struct creds creds;
};

static int env_get(struct creds_provider *provider, const struct creds **ret, char error[static CREDS_ERROR_MAX])
{
	struct env_provider *env = (struct env_provider *)provider;

	if (!env->creds.access_key && !env->creds.secret_key)
		return -ENOENT;
	if (!env->creds.access_key || !env->creds.secret_key) {
		snprintf(error, CREDS_ERROR_MAX, "%s is set but %s is not",
			env->creds.access_key ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY",
			env->creds.access_key ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID");
		return -EINVAL;
	}
	*ret = &env->creds;
	return 0;
}

static void env_free(struct creds_provider *provider)
{
	struct env_provider *env = (struct env_provider *)provider;

	creds_done(&env->creds);
	free(env);
}

static const struct creds_provider_ops env_ops = {.name = "environment", .get = env_get, .free = env_free};

/* A variable's value; NULL when it is unset, empty or there is no memory. */
static char *copy_env(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? strdup(value) : NULL;
}

struct creds_provider *creds_env_new(void)
{
	struct env_provider *env = calloc(1, sizeof(*env));

	if (!env)
		return NULL;
	env->provider.ops = &env_ops;
	env->creds.access_key = copy_env("AWS_ACCESS_KEY_ID");
	env->creds.secret_key = copy_env("AWS_SECRET_ACCESS_KEY");
	env->creds.session_token = copy_env("AWS_SESSION_TOKEN");
	return &env->provider;
}

#define CHAIN_MAX 2

struct chain_provider {
	struct creds_provider provider;
	struct creds_provider *links[CHAIN_MAX];
};

static int chain_get(struct creds_provider *provider, const struct creds **ret, char error[static CREDS_ERROR_MAX])
{
	const struct chain_provider *chain = (const struct chain_provider *)provider;

	for (size_t i = 0; i < CHAIN_MAX; i++) {
		int r = chain->links[i]->ops->get(chain->links[i], ret, error);

		if (r != -ENOENT)
			return r;
	}
	return -ENOENT;
}

static void chain_free(struct creds_provider *provider)
{
	struct chain_provider *chain = (struct chain_provider *)provider;

	for (size_t i = 0; i < CHAIN_MAX; i++)
		creds_provider_free(chain->links[i]);
	free(chain);
}

static const struct creds_provider_ops chain_ops = {.name = "chain", .get = chain_get, .free = chain_free};

struct creds_provider *creds_chain_new(void)
{
	const char *path = getenv("AWS_SHARED_CREDENTIALS_FILE"), *profile = getenv("AWS_PROFILE");
	const char *home = getenv("HOME");
	struct chain_provider *chain = calloc(1, sizeof(*chain));
	char fallback[4096];

	if (!chain)
		return NULL;
	snprintf(fallback, sizeof(fallback), "%s/.aws/credentials", home ? home : "");
	chain->provider.ops = &chain_ops;
	chain->links[0] = creds_env_new();
	chain->links[1] =
		creds_profile_new(path && *path ? path : fallback, profile && *profile ? profile : "default");
	if (!chain->links[0] || !chain->links[1]) {
		chain_free(&chain->provider);
		return NULL;
	}
	return &chain->provider;
}

int creds_get(struct creds_provider *provider, const struct creds **ret, char error[static CREDS_ERROR_MAX])
{
	int r = provider->ops->get(provider, ret, error);

	if (r == -ENOENT)
		snprintf(error, CREDS_ERROR_MAX,
			"no credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
			"AWS_SHARED_CREDENTIALS_FILE and AWS_PROFILE");
	return r;
}

void creds_provider_free(struct creds_provider *provider)
{
	if (provider)
		provider->ops->free(provider);
}
