#include "fusefs/cli/answer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fusefs/cli/cli.h"

#define ANSWER_MAX_BYTES (1024 * 1024 * 1024) /* a directory of a million long names */

int answer_get(const struct config *config, const struct ask_request *request, int64_t timeout_ms, struct buf *raw,
	json_t **ret, int *ret_errno)
{
	_cleanup_json_ json_t *json = NULL;

	buf_reset(raw);
	raw->max = ANSWER_MAX_BYTES;
	*ret_errno = 0;
	*ret = NULL;
	int r = ask(config->run, request, timeout_ms, raw, ret_errno);

	if (r < 0 || *ret_errno < 0)
		return r;
	json = json_loadb(raw->data ? raw->data : "", raw->length, JSON_ALLOW_NUL, NULL);
	if (!json_is_object(json))
		return -EBADMSG;
	*ret = TAKE_PTR(json);
	return 0;
}

static int64_t number(const json_t *json, const char *group, const char *name)
{
	return (int64_t)json_number_value(json_object_get(json_object_get(json, group), name));
}

static double age(const json_t *json)
{
	return json_is_number(json) ? json_number_value(json) : -1;
}

static void text(const json_t *json, const char *name, char *out, size_t size)
{
	const char *value = json_string_value(json_object_get(json, name));

	snprintf(out, size, "%s", value ? value : "");
}

static bool is_text(const json_t *json, const char *name, const char *wanted)
{
	const char *value = json_string_value(json_object_get(json, name));

	return value && !strcmp(value, wanted);
}

void answer_read_status(const json_t *json, struct status *ret)
{
	const json_t *s3 = json_object_get(json, "s3");

	*ret = (struct status){
		.serving = is_text(json, "state", "serving"),
		.scanning = !is_text(json, "scan", "done"),
		.no_journal = is_text(json, "journal", "absent"),
		.uploader = is_text(json, "uploader", "connected"),
		.passthrough = json_is_true(json_object_get(json, "passthrough")),
		.dirty = number(json, "files", "dirty"),
		.settling = number(json, "files", "settling"),
		.queued = number(json, "files", "queued"),
		.uploading = number(json, "files", "uploading"),
		.parked = number(json, "files", "parked"),
		.proven = number(json, "files", "proven"),
		.known = number(json, "files", "known"),
		.uploaded = number(json, "files", "uploaded"),
		.present = number(json, "files", "present"),
		.copied = number(json, "files", "copied"),
		.uploaded_bytes = number(json, "bytes", "uploaded"),
		.disk_total = number(json, "disk", "total"),
		.disk_free = number(json, "disk", "free"),
		.inodes_total = number(json, "disk", "inodes_total"),
		.inodes_free = number(json, "disk", "inodes_free"),
		.reads = number(json, "fuse", "read"),
		.writes = number(json, "fuse", "write"),
		.oldest_waiting_seconds = age(json_object_get(json, "oldest_waiting_seconds")),
		.last_success_seconds = age(json_object_get(s3, "last_success_seconds")),
		.last_failure_seconds = age(json_object_get(s3, "last_failure_seconds")),
	};
	text(json, "target", ret->target, sizeof(ret->target));
	text(json, "mount", ret->mount, sizeof(ret->mount));
	text(json, "last_error", ret->last_error, sizeof(ret->last_error));
}

int answer_status(const struct config *config, int64_t timeout_ms, struct status *ret)
{
	const struct ask_request request = {.type = ASK_STATUS};
	_cleanup_json_ json_t *json = NULL;
	_cleanup_buf_ struct buf raw = {0};
	int refused;
	int r = answer_get(config, &request, timeout_ms, &raw, &json, &refused);

	if (r < 0 || refused < 0)
		return r < 0 ? r : refused;
	answer_read_status(json, ret);
	return 0;
}

bool answer_not_running(int r)
{
	return r == -ENOENT || r == -ECONNREFUSED;
}

int answer_complain(const struct config *config, int r)
{
	if (answer_not_running(r))
		return cli_fail(EXIT_NOT_RUNNING, "not running: nobody listens in %s; start it with `ebbfs run`",
			config->run);
	if (r == -ETIMEDOUT)
		return cli_fail(
			EXIT_FAILED, "ebbfs-fusefs listens in %s but does not answer; see its log", config->run);
	if (r == -EBADMSG || r == -ECONNRESET)
		return cli_fail(EXIT_FAILED, "the answer broke off or is none; is ebbfs-fusefs of the same version?");
	return cli_fail(EXIT_FAILED, "cannot ask in %s: %s", config->run, strerror(-r));
}
