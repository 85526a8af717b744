/* ebbfs drain: waits until everything that was closed is in S3. */
#include "fusefs/cli/drain.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "fusefs/cli/cli.h"
#include "uploader/base/units.h"

#define STEP_MS 100
/* A fusefs that is being replaced does not answer for a moment. */
#define ABSENT_MS 5000
/* The kernel tells of a close(2) after it returned. Files that are still open for writing may be such, or be kept open
 * for days: they are waited for this long. */
#define DIRTY_MS 1000

static void sleep_ms(int64_t ms)
{
	struct timespec pause = {.tv_sec = ms / MSEC_PER_SEC, .tv_nsec = ms % MSEC_PER_SEC * 1000000};

	nanosleep(&pause, NULL);
}

int drain_wait(const struct config *config, int64_t timeout_ms, struct status *ret)
{
	int64_t start = clock_ms(), answered = -1, empty_since = -1;

	*ret = (struct status){0};
	for (;;) {
		int64_t left = timeout_ms < 0 ? ABSENT_MS : timeout_ms - (clock_ms() - start);
		int64_t patience = left < 1 ? 1 : left < ABSENT_MS ? left : ABSENT_MS;
		int r = answer_status(config, patience, ret);
		int64_t now = clock_ms();

		if (r == 0) {
			answered = now;
			if (status_waiting(ret) > 0 || ret->scanning)
				empty_since = -1;
			else if (empty_since < 0)
				empty_since = now;
			if (empty_since >= 0 && (ret->dirty == 0 || now - empty_since >= DIRTY_MS))
				return ret->parked > 0 ? EXIT_FAILED : EXIT_DONE;
		} else if (answered < 0 ? answer_not_running(r) : now - answered > ABSENT_MS) {
			return EXIT_NOT_RUNNING;
		}
		if (timeout_ms >= 0 && now - start >= timeout_ms)
			return EXIT_TIMED_OUT;
		sleep_ms(STEP_MS);
	}
}

static int run(const struct config *config, int argc, char **argv)
{
	int64_t timeout_ms = -1;
	struct status status;

	for (int i = 1; i < argc; i++) {
		const char *value = NULL;

		if (!strcmp(argv[i], "--timeout") && i + 1 < argc)
			value = argv[++i];
		else if (!strncmp(argv[i], "--timeout=", 10))
			value = argv[i] + 10;
		if (!value)
			return cli_usage(&command_drain, "unexpected argument %s", argv[i]);
		if (parse_duration_ms(value, &timeout_ms) < 0)
			return cli_usage(&command_drain, "--timeout %s: must be a duration such as 90s or 5m", value);
	}
	int code = drain_wait(config, timeout_ms, &status);

	switch (code) {
	case EXIT_DONE:
		printf("drained: all %" PRId64 " closed files are in S3\n", status.proven);
		return code;
	case EXIT_FAILED:
		return cli_fail(
			code, "%" PRId64 " parked, everything else is in S3: see `ebbfs ls --parked`", status.parked);
	case EXIT_TIMED_OUT:
		return cli_fail(code,
			"timed out: %" PRId64 " settling, %" PRId64 " queued, %" PRId64 " uploading, %" PRId64
			" parked%s%s%s",
			status.settling, status.queued, status.uploading, status.parked,
			status.scanning ? ", still looking for files from before" : "",
			status.last_error[0] ? "; last error: " : "", status.last_error);
	default:
		return answer_complain(config, -ECONNREFUSED);
	}
}

const struct command command_drain = {
	.name = "drain",
	.arguments = "[--timeout T]",
	.summary = "wait until everything that was closed is in S3",
	.help = "Waits until no closed file waits for its upload. Without --timeout for ever.\n\n"
		"Exit codes: 0 everything is in S3, 1 everything but parked files is,\n"
		"3 not running, 4 timed out.",
	.run = run,
};
