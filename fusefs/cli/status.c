/* ebbfs status: for an operator with ten seconds. The first line is the whole truth in one sentence. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fusefs/cli/answer.h"
#include "fusefs/cli/cli.h"
#include "uploader/base/units.h"

#define TIMEOUT_MS 5000
/* One failed request is retried and means nothing yet. */
#define FAILING_SECONDS 10
/* Neither success nor failure for so long, with work in hand: requests hang. */
#define STUCK_SECONDS 60

static const char *duration(double seconds, char out[static 24])
{
	return format_duration_ms((int64_t)(seconds * MSEC_PER_SEC), out);
}

static bool is_flowing(const struct status *status)
{
	double success = status->last_success_seconds, failure = status->last_failure_seconds;

	if (status->no_journal)
		return false;
	if (status->queued + status->uploading == 0)
		return true;
	if (!status->uploader)
		return false;
	if (failure >= 0 && (success < 0 || (failure < success && success >= FAILING_SECONDS)))
		return false;
	return status->oldest_waiting_seconds < STUCK_SECONDS || (success >= 0 && success < STUCK_SECONDS);
}

static void print_not_flowing(const struct status *status)
{
	char since[24];

	printf("NOT FLOWING: ");
	if (status->no_journal)
		printf("the journal is not open");
	else if (!status->uploader)
		printf("the uploader is not there");
	else if (status->last_success_seconds < 0)
		printf("S3 has never answered");
	else
		printf("S3 has not answered for %s", duration(status->last_success_seconds, since));
	if (status->last_error[0])
		printf(": %s", status->last_error);
	printf("; %" PRId64 " files wait; nothing is lost, files stay on disk\n", status_waiting(status));
}

static void print_sentence(const struct status *status)
{
	int64_t waiting = status_waiting(status);
	char oldest[24];

	if (!status->serving) {
		printf("starting: files are not served through ebbfs yet\n");
	} else if (!is_flowing(status)) {
		print_not_flowing(status);
	} else if (status->parked > 0) {
		printf("%" PRId64 " file%s parked: see `ebbfs ls --parked`", status->parked,
			status->parked == 1 ? " is" : "s are");
		if (waiting > 0)
			printf("; %" PRId64 " more wait for their turn", waiting);
		putchar('\n');
	} else if (waiting > 0) {
		printf("waiting: %" PRId64 " file%s", waiting, waiting == 1 ? "" : "s");
		if (status->oldest_waiting_seconds >= 0)
			printf(", oldest %s", duration(status->oldest_waiting_seconds, oldest));
		printf("%s\n", status->last_success_seconds >= 0 ? "; S3 answers" : "");
	} else {
		printf("flowing: all %" PRId64 " closed files are in S3%s\n", status->proven,
			status->scanning ? "; still looking for files from before" : "");
	}
}

static int percent(int64_t part, int64_t whole)
{
	return whole > 0 ? (int)(100.0 * (double)part / (double)whole + 0.5) : 0;
}

static void print_age(const char *what, double seconds)
{
	char text[24];

	if (seconds < 0)
		printf("%s never", what);
	else
		printf("%s %s ago", what, duration(seconds, text));
}

static void print_figures(const struct status *status)
{
	char bytes[24], total[24];

	printf("\n%-9s %" PRId64 " known, %" PRId64 " proven in S3, %" PRId64 " parked\n", "files", status->known,
		status->proven, status->parked);
	printf("%-9s %" PRId64 " settling, %" PRId64 " queued, %" PRId64 " uploading\n", "waiting", status->settling,
		status->queued, status->uploading);
	printf("%-9s %" PRId64 " sent (%s), %" PRId64 " were there, %" PRId64 " copied inside S3\n", "uploads",
		status->uploaded, format_bytes((uint64_t)status->uploaded_bytes, bytes), status->present,
		status->copied);
	printf("%-9s ", "s3");
	print_age("last success", status->last_success_seconds);
	print_age(", last failure", status->last_failure_seconds);
	printf(", uploader %s\n", status->uploader ? "connected" : "absent");
	if (status->last_error[0])
		printf("%-9s %s\n", "error", status->last_error);
	printf("%-9s %s of %s free, %d%% used; inodes %d%% used\n", "disk",
		format_bytes((uint64_t)status->disk_free, bytes), format_bytes((uint64_t)status->disk_total, total),
		percent(status->disk_total - status->disk_free, status->disk_total),
		percent(status->inodes_total - status->inodes_free, status->inodes_total));
	printf("%-9s %s, passthrough %s, %" PRId64 " reads and %" PRId64 " writes not by it\n", "mount",
		status->mount, status->passthrough ? "on" : "off", status->reads, status->writes);
	printf("%-9s %s\n", "target", status->target);
}

static int run(const struct config *config, int argc, char **argv)
{
	const struct ask_request request = {.type = ASK_STATUS};
	_cleanup_json_ json_t *json = NULL;
	_cleanup_buf_ struct buf raw = {0};
	struct status status;
	bool as_json = false;
	int refused;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") != 0)
			return cli_usage(&command_status, "unexpected argument %s", argv[i]);
		as_json = true;
	}
	int r = answer_get(config, &request, TIMEOUT_MS, &raw, &json, &refused);

	if (r < 0 || refused < 0)
		return answer_complain(config, r < 0 ? r : refused);
	if (as_json) {
		printf("%s\n", raw.data);
		return EXIT_DONE;
	}
	answer_read_status(json, &status);
	print_sentence(&status);
	print_figures(&status);
	return EXIT_DONE;
}

const struct command command_status = {
	.name = "status",
	.arguments = "[--json]",
	.summary = "are the files in S3? the answer in the first line",
	.help = "Says in one sentence whether the files get into S3, then the figures behind it.\n"
		"--json prints them for programs.\n\n"
		"Exit codes: 0 answered, 1 no answer, 3 not running.",
	.run = run,
};
