#include "fusefs/policy/keys.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "uploader/base/buf.h"
#include "uploader/base/units.h"

static const char *token_value(const char *token, size_t length)
{
	static const struct {
		const char *token, *variable;
	} tokens[] = {{"host", "HOSTNAME"}, {"pod", "POD_NAME"}, {"namespace", "POD_NAMESPACE"}};
	static char host[256];

	for (size_t i = 0; i < ARRAY_SIZE(tokens); i++) {
		if (strlen(tokens[i].token) != length || strncmp(tokens[i].token, token, length) != 0)
			continue;
		const char *value = getenv(tokens[i].variable);

		if (i == 0 && !value && gethostname(host, sizeof(host) - 1) == 0)
			value = host;
		return value && *value ? value : NULL;
	}
	return NULL;
}

int keys_init(struct keys *keys, const char *prefix, const char *exclude, char *error, size_t error_size)
{
	_cleanup_buf_ struct buf out = {.max = JOB_KEY_MAX};

	*keys = (struct keys){.exclude = exclude, .dated = strchr(prefix, '%') != NULL};
	for (const char *at = prefix; *at;) {
		size_t length = strcspn(at, "{");

		buf_put(&out, at, length);
		at += length;
		if (!*at)
			break;
		size_t token = strcspn(++at, "}");
		const char *value = at[token] ? token_value(at, token) : NULL;

		if (!value) {
			snprintf(error, error_size,
				"EBBFS_TARGET: {%.*s} is not known or has no value here; {host}, {pod} (POD_NAME) "
				"and "
				"{namespace} (POD_NAMESPACE) are",
				(int)token, at);
			return -EINVAL;
		}
		buf_put_text(&out, value);
		at += token + 1;
	}
	if (out.error) {
		snprintf(error, error_size, "EBBFS_TARGET: the prefix is longer than a key may be (%d bytes)",
			JOB_KEY_MAX);
		return -EINVAL;
	}
	if (out.length)
		memcpy(keys->prefix, out.data, out.length);
	return 0;
}

static bool is_upper_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F');
}

/* U+FFFE and U+FFFF: EF BF BE, EF BF BF. */
static bool is_noncharacter(const unsigned char *bytes, size_t length)
{
	return length == 3 && bytes[0] == 0xef && bytes[1] == 0xbf && bytes[2] >= 0xbe;
}

static void put_escaped(struct buf *out, const unsigned char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		buf_putf(out, "%%%02X", bytes[i]);
}

void keys_escape(struct buf *out, const char *path)
{
	static const char ours[] = ".ebbfs";
	const unsigned char *bytes = (const unsigned char *)path;
	size_t length = strlen(path), i = 0;

	if (!strncmp(path, ours, strlen(ours)) && (path[strlen(ours)] == '/' || !path[strlen(ours)])) {
		put_escaped(out, bytes, 1);
		i = 1;
	}
	while (i < length && !out->error) {
		size_t run = utf8_sequence(bytes + i, length - i);

		if (run == 0 || bytes[i] < 0x20 || bytes[i] == 0x7f)
			put_escaped(out, bytes + i, run = 1);
		else if (is_noncharacter(bytes + i, run))
			put_escaped(out, bytes + i, run);
		else if (bytes[i] == '%' && is_upper_hex(path[i + 1]) && is_upper_hex(path[i + 2]))
			put_escaped(out, bytes + i, 1);
		else
			buf_put(out, bytes + i, run);
		i += run;
	}
}

int keys_make(const struct keys *keys, const char *path, int64_t mtime_ns, char out[static JOB_KEY_MAX + 1])
{
	_cleanup_buf_ struct buf key = {.max = JOB_KEY_MAX};
	char dated[JOB_KEY_MAX + 1];
	const char *prefix = keys->prefix;

	if (keys->dated) {
		time_t seconds = (time_t)(mtime_ns / NSEC_PER_SEC - (mtime_ns % NSEC_PER_SEC < 0));
		struct tm tm;

		localtime_r(&seconds, &tm);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* the operator's own template */
		if (strftime(dated, sizeof(dated), keys->prefix, &tm) == 0)
			return -ENAMETOOLONG;
#pragma GCC diagnostic pop
		prefix = dated;
	}
	if (*prefix) {
		buf_put_text(&key, prefix);
		buf_put_text(&key, "/");
	}
	keys_escape(&key, path);
	if (key.error)
		return key.error == -E2BIG ? -ENAMETOOLONG : key.error;
	snprintf(out, JOB_KEY_MAX + 1, "%s", key.data ? key.data : "");
	return 0;
}

bool keys_excluded(const struct keys *keys, const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;

	for (const char *at = keys->exclude; *at;) {
		char pattern[256];
		size_t length = strcspn(at, ":");

		if (length && length < sizeof(pattern)) {
			memcpy(pattern, at, length);
			pattern[length] = '\0';
			if (fnmatch(pattern, strchr(pattern, '/') ? path : name, FNM_PATHNAME) == 0)
				return true;
		}
		at += length;
		at += *at == ':';
	}
	return false;
}
