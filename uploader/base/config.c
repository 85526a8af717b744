#include "uploader/base/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "uploader/base/units.h"

struct option {
	const char *name; /* of the environment variable */
	const char *fallback;
	/* Puts the value where it belongs; returns NULL, or what would have been right. */
	const char *(*read)(struct config *config, const struct option *option, const char *value);
	size_t offset;
	const char *help;
};

#define FIELD(config, option, type) ((type *)(void *)((char *)(config) + (option)->offset))

static const char *read_text(struct config *config, const struct option *option, const char *value)
{
	*FIELD(config, option, const char *) = value;
	return NULL;
}

static const char *read_path(struct config *config, const struct option *option, const char *value)
{
	*FIELD(config, option, const char *) = value;
	return value[0] == '/' ? NULL : "an absolute path";
}

static const char *read_duration(struct config *config, const struct option *option, const char *value)
{
	return parse_duration_ms(value, FIELD(config, option, int64_t)) < 0
		       ? "a duration such as 500ms, 2s, 5m or 24h"
		       : NULL;
}

static const char *read_connections(struct config *config, const struct option *option, const char *value)
{
	uint64_t number;

	if (parse_u64(value, 1, 256, &number) < 0)
		return "a number from 1 to 256";
	*FIELD(config, option, uint32_t) = (uint32_t)number;
	return NULL;
}

static const char *read_bool(struct config *config, const struct option *option, const char *value)
{
	*FIELD(config, option, bool) = !strcmp(value, "yes");
	return !strcmp(value, "yes") || !strcmp(value, "no") ? NULL : "yes or no";
}

static const char *read_addressing(struct config *config, const struct option *option, const char *value)
{
	static const char *const names[] = {"auto", "path", "virtual"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (!strcmp(value, names[i])) {
			*FIELD(config, option, enum config_addressing) = (enum config_addressing)i;
			return NULL;
		}
	}
	return "auto, path or virtual";
}

static const char *read_log(struct config *config, const struct option *option, const char *value)
{
	return log_parse(value, &config->log_level, &config->log_json) < 0
		       ? "error, warning, info or debug, with json or text after a comma"
		       : NULL;
}

static const char *read_user(struct config *config, const struct option *option, const char *value)
{
	static const char wanted[] = "two numbers, UID:GID, neither of them 0";
	const char *colon = strchr(value, ':');
	char uid_text[16];
	uint64_t uid, gid;

	if (!colon || (size_t)(colon - value) >= sizeof(uid_text))
		return wanted;
	memcpy(uid_text, value, (size_t)(colon - value));
	uid_text[colon - value] = '\0';
	if (parse_u64(uid_text, 1, UINT32_MAX - 1, &uid) < 0 || parse_u64(colon + 1, 1, UINT32_MAX - 1, &gid) < 0)
		return wanted;
	config->uploader_user = value;
	config->uploader_uid = (uint32_t)uid;
	config->uploader_gid = (uint32_t)gid;
	return NULL;
}

/* s3://bucket[/prefix]. The bucket's name by S3's own rules is the server's to judge; what would change the request's
 * path is refused here. */
static const char *read_target(struct config *config, const struct option *option, const char *value)
{
	static const char wanted[] = "s3://BUCKET or s3://BUCKET/PREFIX, without empty, . or .. parts";

	config->target = value;
	if (!value[0])
		return NULL;
	if (strncmp(value, "s3://", 5) != 0)
		return wanted;

	const char *bucket = value + 5;
	size_t bucket_length = strcspn(bucket, "/");
	const char *prefix = bucket + bucket_length;

	prefix += strspn(prefix, "/");
	size_t prefix_length = strlen(prefix);

	while (prefix_length && prefix[prefix_length - 1] == '/')
		prefix_length--;
	if (bucket_length == 0 || bucket_length >= sizeof(config->bucket) || prefix_length >= sizeof(config->prefix))
		return wanted;
	if (strspn(bucket, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") < bucket_length)
		return "a bucket name of letters, digits, dots, hyphens and underscores";
	memcpy(config->bucket, bucket, bucket_length);
	config->bucket[bucket_length] = '\0';
	memcpy(config->prefix, prefix, prefix_length);
	config->prefix[prefix_length] = '\0';
	for (const char *part = config->prefix; *part;) {
		size_t length = strcspn(part, "/");

		if (length == 0 || (length == 1 && part[0] == '.') || (length == 2 && !strncmp(part, "..", 2)))
			return wanted;
		part += length;
		part += *part == '/';
	}
	return NULL;
}

#define OPTION(name_, fallback_, read_, field_, help_)                                                               \
	{.name = "EBBFS_" name_,                                                                                     \
		.fallback = (fallback_),                                                                             \
		.read = (read_),                                                                                     \
		.offset = offsetof(struct config, field_),                                                           \
		.help = (help_)}

static const struct option options[] = {
	OPTION("TARGET", "", read_target, target, "where files go: s3://bucket/prefix"),
	OPTION("DATA", "/var/file-writer/data", read_path, data, "directory to mount over"),
	OPTION("BACKING", NULL, read_path, backing, "where the files lie, if elsewhere than EBBFS_DATA"),
	OPTION("STATE", "/var/lib/ebbfs", read_path, state, "journal; must persist"),
	OPTION("RUN", "/run/ebbfs", read_path, run, "sockets"),
	OPTION("SETTLE", "2s", read_duration, settle_ms, "quiet time before a closed file is uploaded"),
	OPTION("EXCLUDE", "", read_text, exclude, "globs never uploaded, e.g. *.tmp:*.part"),
	OPTION("CONNECTIONS", "16", read_connections, connections, "parallel requests to S3"),
	OPTION("DRAIN", "60s", read_duration, drain_ms, "how long the end may wait for uploads"),
	OPTION("FAIL_OPEN_AFTER", "30s", read_duration, fail_open_ms, "nothing serves so long: step aside"),
	OPTION("S3_ADDRESSING", "auto", read_addressing, addressing, "bucket in path, virtual host, or auto"),
	OPTION("PASSTHROUGH", "yes", read_bool, passthrough, "no: never use the kernel's passthrough"),
	OPTION("UPLOADER_USER", "65532:65532", read_user, uploader_user, "UID:GID of the uploader"),
	OPTION("LOG", "info", read_log, log_level, "error|warning|info|debug[,json|,text]"),
};

/* EBBFS_FAIL_OPEN_AFTER from --fail-open-after. */
static const struct option *find_flag(const char *flag, size_t length)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		const char *name = options[i].name + strlen("EBBFS_");
		size_t at = 0;

		if (strlen(name) != length)
			continue;
		while (at < length && (name[at] == '_' ? '-' : name[at] | 0x20) == flag[at])
			at++;
		if (at == length)
			return &options[i];
	}
	return NULL;
}

/* Moves flags into the environment. What is no flag, or no flag of ours, stays in argv in its order. */
static int take_flags(int *argc, char **argv, char *error)
{
	int kept = 1, i = 1;
	bool help = false;

	for (; i < *argc && strcmp(argv[i], "--") != 0; i++) {
		const char *flag = argv[i] + 2;
		size_t length = strcspn(argv[i], "=") - 2;
		const struct option *option = NULL;

		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			help = true;
			continue;
		}
		if (!strncmp(argv[i], "--", 2))
			option = find_flag(flag, length);
		if (!option) {
			argv[kept++] = argv[i];
			continue;
		}
		if (!flag[length] && i + 1 >= *argc) {
			snprintf(error, CONFIG_ERROR_MAX, "--%s needs a value", flag);
			return -EINVAL;
		}
		if (setenv(option->name, flag[length] ? flag + length + 1 : argv[++i], 1) < 0)
			return -errno;
	}
	for (i += i < *argc; i < *argc; i++)
		argv[kept++] = argv[i];
	argv[kept] = NULL;
	*argc = kept;
	return help ? 1 : 0;
}

int config_load(struct config *ret, int *argc, char **argv, char error[static CONFIG_ERROR_MAX])
{
	struct config config = {0};
	int r = take_flags(argc, argv, error);

	if (r != 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		const char *value = getenv(options[i].name);

		if (!value)
			value = options[i].fallback;
		if (!value)
			continue;
		const char *wanted = options[i].read(&config, &options[i], value);

		if (wanted) {
			snprintf(error, CONFIG_ERROR_MAX, "%s=%.200s: must be %s", options[i].name, value, wanted);
			return -EINVAL;
		}
	}
	if (!config.backing)
		config.backing = config.data;
	*ret = config;
	return 0;
}

int config_require_target(const struct config *config, char error[static CONFIG_ERROR_MAX])
{
	if (config->bucket[0])
		return 0;
	snprintf(error, CONFIG_ERROR_MAX,
		"EBBFS_TARGET is not set: say where files go, e.g. EBBFS_TARGET=s3://bucket/prefix");
	return -EINVAL;
}

void config_print_help(FILE *out)
{
	fprintf(out, "\nEvery variable is a flag too: EBBFS_SETTLE=5s is --settle 5s.\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		const char *fallback = options[i].fallback;

		fprintf(out, "  %-20s %s%s%s%s\n", options[i].name, options[i].help,
			fallback && *fallback ? " [" : "", fallback && *fallback ? fallback : "",
			fallback && *fallback ? "]" : "");
	}
}

static bool is_known(const char *name, size_t length)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		if (strlen(options[i].name) == length && !strncmp(options[i].name, name, length))
			return true;
	}
	/* For the command line: where the other programs are. */
	return length == strlen("EBBFS_BIN") && !strncmp(name, "EBBFS_BIN", length);
}

void config_unknown(void (*callback)(const char *name, void *arg), void *arg)
{
	for (char **entry = environ; *entry; entry++) {
		size_t length = strcspn(*entry, "=");
		char name[64];

		if (strncmp(*entry, "EBBFS_", 6) != 0 || is_known(*entry, length) || length >= sizeof(name))
			continue;
		memcpy(name, *entry, length);
		name[length] = '\0';
		callback(name, arg);
	}
}
