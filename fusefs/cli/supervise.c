/* One loop over signals and deadlines. The phases:
 *
 *   START  children begin one after the other, each when the one before is ready; a death now ends the run with 1,
 *          since nothing depends on ebbfs yet and the last line of the log says why (but a fusefs or an uploader
 *          alone starts again: it may be waiting for its anchor in another container)
 *   RUN    who dies is started again
 *   DRAIN  as RUN, and a helper process waits until everything is uploaded
 *   STOP   the children are ended from the last to the first
 *
 * What may block (asking fusefs) is done by the helper, a fork of this process: the loop never waits for anything but
 * its signals. */
#include "fusefs/cli/supervise.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>

#include "fusefs/anchor/handover.h"
#include "fusefs/cli/drain.h"
#include "fusefs/cli/leftover.h"
#include "uploader/base/log.h"
#include "uploader/base/sock.h"
#include "uploader/base/units.h"

#define READY_STEP_MS 10
#define STOP_MS 10000
#define KILL_MS 2000

enum phase {
	PHASE_START,
	PHASE_RUN,
	PHASE_DRAIN,
	PHASE_STOP,
	PHASE_END,
};

struct supervisor {
	const struct config *config;
	struct child *children; /* in the order of their start */
	size_t n;
	const char *record;
	enum phase phase;
	size_t begun; /* START: how many were started; STOP: the children before this one still have to end */
	bool serving; /* START: the helper says that fusefs answers */
	pid_t helper; /* 0: none */
	int64_t deadline_ms;
	int code;
};

static bool has(const struct supervisor *supervisor, enum part part)
{
	for (size_t i = 0; i < supervisor->n; i++) {
		if (supervisor->children[i].part == part)
			return true;
	}
	return false;
}

/* Waits for ever: whoever does not want to, kills it. */
static void wait_serving(const struct config *config)
{
	struct timespec pause = {.tv_nsec = READY_STEP_MS * 1000000};
	struct status status = {0};

	while (answer_status(config, 1000, &status) < 0 || !status.serving)
		nanosleep(&pause, NULL);
}

static int help_drain(const struct config *config)
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

static void start_helper(struct supervisor *supervisor)
{
	pid_t pid = fork();

	if (pid < 0)
		log_error("fork: %s", strerror(errno));
	if (pid != 0) {
		supervisor->helper = pid < 0 ? 0 : pid;
		return;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setpgid(0, 0);
	if (supervisor->phase == PHASE_DRAIN)
		_exit(help_drain(supervisor->config));
	wait_serving(supervisor->config);
	_exit(0);
}

static void kill_helper(struct supervisor *supervisor)
{
	if (supervisor->helper)
		kill(supervisor->helper, SIGKILL); /* reaped with the rest */
	supervisor->helper = 0;
}

static void write_record(const struct supervisor *supervisor)
{
	int r = leftover_write(supervisor->config->run, supervisor->record, supervisor->children, supervisor->n);

	if (r < 0)
		log_warning("cannot write %s in EBBFS_RUN: %s", supervisor->record, strerror(-r));
}

static void start_child(struct supervisor *supervisor, struct child *child)
{
	int r = child_start(child);

	if (r < 0) {
		log_error("cannot start %s: %s", part_name(child->part), strerror(-r));
		child->start_ms = clock_ms() + MSEC_PER_SEC;
	}
	write_record(supervisor);
}

static void stop_next(struct supervisor *supervisor)
{
	while (supervisor->begun > 0 && !supervisor->children[supervisor->begun - 1].pid)
		supervisor->begun--;
	if (supervisor->begun == 0) {
		supervisor->phase = PHASE_END;
		return;
	}
	kill(supervisor->children[supervisor->begun - 1].pid, SIGTERM);
	supervisor->deadline_ms = clock_ms() + STOP_MS;
}

static void begin_stop(struct supervisor *supervisor, int code)
{
	kill_helper(supervisor);
	supervisor->phase = PHASE_STOP;
	supervisor->begun = supervisor->n;
	supervisor->code = code;
	stop_next(supervisor);
}

static void begin_drain(struct supervisor *supervisor)
{
	if (!has(supervisor, PART_UPLOADER)) {
		begin_stop(supervisor, EXIT_DONE);
		return;
	}
	log_info("ending: first everything that was closed goes to S3; a second signal skips that");
	supervisor->phase = PHASE_DRAIN;
	start_helper(supervisor);
	if (!supervisor->helper)
		begin_stop(supervisor, EXIT_DONE);
}

/* Whether the child that was started last is ready for the next one. */
static bool is_ready(struct supervisor *supervisor)
{
	const struct child *last = &supervisor->children[supervisor->begun - 1];

	if (last->part == PART_ANCHOR) {
		_cleanup_close_ int fd = sock_connect(supervisor->config->run, HANDOVER_SOCKET);

		return fd >= 0;
	}
	if (last->part == PART_FUSEFS && !supervisor->serving && !supervisor->helper)
		start_helper(supervisor);
	return last->part != PART_FUSEFS || supervisor->serving;
}

static void step_start(struct supervisor *supervisor)
{
	while (supervisor->begun == 0 || is_ready(supervisor)) {
		if (supervisor->begun == supervisor->n) {
			supervisor->phase = PHASE_RUN;
			log_info("ready");
			return;
		}
		start_child(supervisor, &supervisor->children[supervisor->begun++]);
	}
}

static void step_restart(struct supervisor *supervisor)
{
	size_t n = supervisor->phase == PHASE_START ? supervisor->begun : supervisor->n;

	for (size_t i = 0; i < n; i++) {
		struct child *child = &supervisor->children[i];

		if (!child->pid && child->start_ms <= clock_ms())
			start_child(supervisor, child);
	}
}

static void step_stop(struct supervisor *supervisor)
{
	struct child *child = &supervisor->children[supervisor->begun - 1];

	if (clock_ms() < supervisor->deadline_ms)
		return;
	supervisor->code = supervisor->code ? supervisor->code : EXIT_FAILED;
	if (child->killed) {
		log_error("%s does not even die; leaving it", part_name(child->part));
		supervisor->begun--;
		stop_next(supervisor);
		return;
	}
	log_warning("%s does not end: killing it", part_name(child->part));
	child->killed = true;
	kill(child->pid, SIGKILL);
	supervisor->deadline_ms = clock_ms() + KILL_MS;
}

static void helper_ended(struct supervisor *supervisor, int wait_status)
{
	supervisor->helper = 0;
	if (supervisor->phase == PHASE_START)
		supervisor->serving = WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0;
	else if (supervisor->phase == PHASE_DRAIN)
		begin_stop(supervisor, EXIT_DONE);
}

static void ended(struct supervisor *supervisor, struct child *child, int wait_status)
{
	/* Of one that ran before, the same settings were right: something it reads is not there at the moment. */
	bool usage = WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == EXIT_USAGE && child->starts == 1;
	bool stopping = supervisor->phase == PHASE_STOP;

	child_ended(child, wait_status, stopping);
	if (stopping && child == &supervisor->children[supervisor->begun - 1])
		stop_next(supervisor);
	else if (!stopping && usage)
		begin_stop(supervisor, EXIT_USAGE);
	else if (supervisor->phase == PHASE_START && supervisor->children[0].part == PART_ANCHOR)
		begin_stop(supervisor, EXIT_FAILED);
}

static void reap(struct supervisor *supervisor)
{
	int wait_status;
	pid_t pid;

	while ((pid = waitpid(-1, &wait_status, WNOHANG)) > 0) {
		if (pid == supervisor->helper) {
			helper_ended(supervisor, wait_status);
			continue;
		}
		for (size_t i = 0; i < supervisor->n; i++) {
			if (supervisor->children[i].pid == pid) {
				ended(supervisor, &supervisor->children[i], wait_status);
				break;
			}
		}
	}
}

static void told_to_end(struct supervisor *supervisor, uint32_t signal_number)
{
	log_info("got SIG%s", sigabbrev_np((int)signal_number));
	if (supervisor->phase == PHASE_RUN) {
		begin_drain(supervisor);
	} else if (supervisor->phase == PHASE_DRAIN) {
		log_warning("the draining is skipped; what waits is uploaded after the next start");
		begin_stop(supervisor, EXIT_DONE);
	} else if (supervisor->phase == PHASE_START) {
		begin_stop(supervisor, EXIT_DONE);
	}
}

static void read_signals(struct supervisor *supervisor, int signal_fd)
{
	struct signalfd_siginfo info;

	while (read(signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo != SIGCHLD)
			told_to_end(supervisor, info.ssi_signo);
	}
	reap(supervisor);
}

/* How long poll() may wait, -1 for ever. */
static int next_timeout(const struct supervisor *supervisor)
{
	int64_t now = clock_ms(), next = INT64_MAX;

	if (supervisor->phase == PHASE_START)
		return READY_STEP_MS;
	if (supervisor->phase == PHASE_STOP)
		next = supervisor->deadline_ms;
	for (size_t i = 0; supervisor->phase < PHASE_STOP && i < supervisor->n; i++) {
		const struct child *child = &supervisor->children[i];

		if (!child->pid && child->start_ms < next)
			next = child->start_ms;
	}
	if (next == INT64_MAX)
		return -1;
	return next > now ? (int)(next - now) : 0;
}

static void step(struct supervisor *supervisor)
{
	if (supervisor->phase == PHASE_STOP) {
		step_stop(supervisor);
		return;
	}
	step_restart(supervisor);
	if (supervisor->phase == PHASE_START)
		step_start(supervisor);
}

/* A hang-up that was ignored from outside (nohup) stays so. */
static int take_signals(void)
{
	struct sigaction hangup;
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
		sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_SETMASK, &set, NULL) < 0)
		return -errno;

	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

int supervise(const struct config *config, struct child *children, size_t n, const char *record)
{
	struct supervisor supervisor = {.config = config, .children = children, .n = n, .record = record};
	_cleanup_close_ int signal_fd = take_signals();

	if (signal_fd < 0) {
		log_error("signalfd: %s", strerror(-signal_fd));
		return EXIT_FAILED;
	}
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	while (supervisor.phase != PHASE_END) {
		struct pollfd signals = {.fd = signal_fd, .events = POLLIN};

		step(&supervisor);
		if (supervisor.phase != PHASE_END && poll(&signals, 1, next_timeout(&supervisor)) > 0)
			read_signals(&supervisor, signal_fd);
	}
	write_record(&supervisor);
	return supervisor.code;
}
