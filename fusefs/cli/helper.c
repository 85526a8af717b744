#include "fusefs/cli/helper.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "fusefs/cli/drain.h"
#include "uploader/base/log.h"

#define SERVING_STEP_MS 10

static void wait_serving(const struct config *config)
{
	struct timespec pause = {.tv_nsec = SERVING_STEP_MS * 1000000};
	struct status status = {0};

	while (answer_status(config, 1000, &status) < 0 || !status.serving)
		nanosleep(&pause, NULL);
}

static int drain(const struct config *config)
{
	struct status status;
	int code = drain_wait(config, config->drain_ms, &status);

	if (!status.serving)
		log_warning("fusefs does not say what waits; it is uploaded after the next start");
	else if (code == EXIT_TIMED_OUT || code == EXIT_NOT_RUNNING)
		log_warning("drain timed out: %" PRId64 " files wait; they are uploaded after the next start",
			status_waiting(&status));
	else
		log_info("drained: %" PRId64 " files in S3, %" PRId64 " parked", status.proven, status.parked);
	return code;
}

pid_t helper_start(const struct config *config, enum helper_task task)
{
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		log_error("fork: %s", strerror(errno));
	if (pid != 0)
		return pid < 0 ? 0 : pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(EXIT_FAILED);
	setpgid(0, 0);
	if (task == HELPER_DRAIN)
		_exit(drain(config));
	wait_serving(config);
	_exit(EXIT_DONE);
}
