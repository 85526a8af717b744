/* The credentials file: INI sections named after profiles, with aws_access_key_id, aws_secret_access_key and
 * aws_session_token. Not here: credential_process, role_arn and sso, which need more than a file. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "uploader/base/fdio.h"
#include "uploader/base/units.h"
#include "uploader/s3/creds.h"

#define FILE_MAX_BYTES (256U << 10)
#define LOOK_AGAIN_MS 5000

struct profile_provider {
	struct creds_provider provider;
	char *path, *profile;
	struct creds creds;
	struct stat seen;  /* of the file that creds came from */
	int64_t looked_ms; /* clock_ms() of the last look; 0: never */
	int result;        /* of the last read */
};

/* A line's key and value, blanks trimmed, as slices; false if it has none. */
struct slice {
	const char *at;
	size_t length;
};

static struct slice trim(const char *at, const char *end)
{
	while (at < end && strchr(" \t\r", *at))
		at++;
	while (end > at && strchr(" \t\r", end[-1]))
		end--;
	return (struct slice){.at = at, .length = (size_t)(end - at)};
}

static bool slice_is(struct slice slice, const char *text)
{
	return slice.length == strlen(text) && !memcmp(slice.at, text, slice.length);
}

static int take_value(struct creds *creds, struct slice key, struct slice value)
{
	char **field = slice_is(key, "aws_access_key_id")       ? &creds->access_key
		       : slice_is(key, "aws_secret_access_key") ? &creds->secret_key
		       : slice_is(key, "aws_session_token")     ? &creds->session_token
								: NULL;

	if (!field || *field || value.length == 0)
		return 0;
	*field = strndup(value.at, value.length);
	return *field ? 0 : -ENOMEM;
}

static int parse_into(const char *text, size_t length, const char *profile, struct creds *creds)
{
	const char *end = text + length;
	bool ours = false;

	for (const char *line = text, *next; line < end; line = next) {
		const char *stop = memchr(line, '\n', (size_t)(end - line));

		next = stop ? stop + 1 : end;
		struct slice slice = trim(line, stop ? stop : end);

		if (slice.length == 0 || *slice.at == '#' || *slice.at == ';')
			continue;
		if (*slice.at == '[') {
			const char *close = memchr(slice.at, ']', slice.length);

			ours = close && slice_is(trim(slice.at + 1, close), profile);
			continue;
		}
		const char *equals = memchr(slice.at, '=', slice.length);

		if (ours && equals &&
			take_value(creds, trim(slice.at, equals), trim(equals + 1, slice.at + slice.length)) < 0)
			return -ENOMEM;
	}
	if (!creds->access_key && !creds->secret_key)
		return -ENOENT;
	return creds->access_key && creds->secret_key ? 0 : -EINVAL;
}

int creds_parse_profile(const char *text, size_t length, const char *profile, struct creds *ret)
{
	struct creds creds = {0};
	int r = parse_into(text, length, profile, &creds);

	if (r < 0)
		creds_done(&creds);
	else
		*ret = creds;
	return r;
}

static int read_profile(struct profile_provider *self)
{
	struct buf text = {.max = FILE_MAX_BYTES};
	struct creds creds = {0};
	int r = read_file(AT_FDCWD, self->path, &text);

	if (r == 0)
		r = creds_parse_profile(text.data ? text.data : "", text.length, self->profile, &creds);
	/* The growing buffer may have left copies behind; this erases the last one. */
	if (text.data)
		explicit_bzero(text.data, text.room);
	buf_done(&text);
	if (r == 0) {
		creds_done(&self->creds);
		self->creds = creds;
	}
	return r;
}

static bool changed(const struct stat *a, const struct stat *b)
{
	return a->st_ino != b->st_ino || a->st_size != b->st_size ||
	       timespec_ns(a->st_mtim) != timespec_ns(b->st_mtim);
}

static int profile_get(struct creds_provider *provider, const struct creds **ret, char error[static CREDS_ERROR_MAX])
{
	struct profile_provider *self = (struct profile_provider *)provider;
	int64_t now = clock_ms();
	struct stat st;

	if (!self->looked_ms || now - self->looked_ms >= LOOK_AGAIN_MS) {
		self->looked_ms = now;
		if (stat(self->path, &st) < 0)
			self->result = -errno;
		else if (self->result < 0 || !self->creds.access_key || changed(&st, &self->seen)) {
			self->result = read_profile(self);
			self->seen = st;
		}
	}
	/* What was read once stays good while the file is being replaced. */
	if (self->creds.access_key) {
		*ret = &self->creds;
		return 0;
	}
	if (self->result == -EINVAL)
		snprintf(error, CREDS_ERROR_MAX, "profile %.60s in %.120s has only one of the two keys",
			self->profile, self->path);
	else if (self->result < 0 && self->result != -ENOENT)
		snprintf(error, CREDS_ERROR_MAX, "%.150s: %s", self->path, strerror(-self->result));
	return self->result < 0 ? self->result : -ENOENT;
}

static void profile_free(struct creds_provider *provider)
{
	struct profile_provider *self = (struct profile_provider *)provider;

	creds_done(&self->creds);
	free(self->path);
	free(self->profile);
	free(self);
}

static const struct creds_provider_ops profile_ops = {.name = "profile", .get = profile_get, .free = profile_free};

struct creds_provider *creds_profile_new(const char *path, const char *profile)
{
	struct profile_provider *self = calloc(1, sizeof(*self));

	if (!self)
		return NULL;
	self->provider.ops = &profile_ops;
	self->path = strdup(path);
	self->profile = strdup(profile);
	if (!self->path || !self->profile) {
		profile_free(&self->provider);
		return NULL;
	}
	return &self->provider;
}
