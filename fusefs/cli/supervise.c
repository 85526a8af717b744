/* One loop over signals, messages and deadlines. The phases:
 *
 *   START  children begin one after the other, each when the one before is ready; a death now ends the run with 1,
 *          since nothing depends on ebbfs yet and the last line of the log says why. But who was killed once the
 *          mount was there starts again; so does a fusefs or an uploader alone, which may be waiting for its anchor in
 *          another container; and so do all when they replace what an earlier run left serving
 *   RUN    who dies or falls silent is started again
 *   DRAIN  as RUN, and a helper process waits until everything is uploaded
 *   STOP   the children are ended from the last to the first
 *
 * What may block is done by the helper: between a death and the next start there is nothing but a fork, a record
 * of who it is, and the start. Log lines come after it. */
#include "fusefs/cli/supervise.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include "fusefs/anchor/mount.h"
#include "fusefs/cli/helper.h"
#include "fusefs/cli/leftover.h"
#include "fusefs/cli/replace.h"
#include "fusefs/cli/watch.h"
#include "uploader/base/log.h"
#include "uploader/base/notify.h"
#include "uploader/base/units.h"

#define STEP_MS 10
#define STOP_MS 10000
#define KILL_MS 2000
/* The uploader goes on with what it has in hand, and stops at a second signal: by then, it had its time. */
#define HURRY_MS 1000
/* A loop that is as late was stopped, or hardly ran, and what it did not hear says nothing. */
#define LATE_MS 500
#define MESSAGES_A_TURN 64

enum phase {
	PHASE_START,
	PHASE_RUN,
	PHASE_DRAIN,
	PHASE_STOP,
	PHASE_END,
};

/* How the one process that is being ended is told, step by step. */
struct ending {
	unsigned int signals; /* sent so far; 0: none is being ended */
	int64_t deadline_ms;  /* of the next one */
};

struct supervisor {
	const struct config *config;
	struct child *children;
	size_t n;
	const char *record;
	int notify_fd;
	char notify_path[PATH_MAX];
	enum phase phase;

	struct replace replace; /* START: in which order */
	size_t at;              /* START: place in that order; STOP: the children before this one still have to end */
	bool begun[PARTS];      /* by part: was started by us */
	bool serving;           /* START: the helper says that fusefs answers */
	struct ending ending;   /* STOP: of children[at - 1]; START: of the leftover whose turn it is */

	pid_t helper;     /* 0: none */
	int64_t alive_ms; /* clock_ms() of the next sign of life to our own supervisor */
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

static int start(struct supervisor *supervisor, struct child *child)
{
	uint64_t mount = child->images.refuses ? image_mount_id(supervisor->config->data) : 0;
	_cleanup_close_ int gate = -1;
	int r = images_choose(&child->images, mount);

	if (r == 0)
		r = child_start(child, supervisor->notify_path, &gate);
	supervisor->begun[child->part] = true;
	if (r < 0) {
		child->start_ms = clock_ms() + MSEC_PER_SEC;
		return r;
	}
	write_record(supervisor);
	child_go(gate);
	return 0;
}

static void log_start(const struct child *child, int r)
{
	if (r < 0)
		log_error("cannot start %s: %s: %s", part_name(child->part), child->images.path, strerror(-r));
	else
		log_info("started %s pid=%d%s", part_name(child->part), (int)child->pid,
			child->images.going_back ? " (the version that ran before)" : "");
}

/* True while it may still end. `patience_ms`: from the last SIGTERM to SIGKILL. */
static bool push(struct ending *ending, struct child *child, int64_t patience_ms)
{
	unsigned int polite = child->part == PART_UPLOADER ? 2 : 1;
	int64_t now = clock_ms();

	if (ending->signals > 0 && now < ending->deadline_ms)
		return true;
	if (ending->signals > polite) {
		log_error("%s does not even die; leaving it", part_name(child->part));
		return false;
	}
	if (ending->signals < polite) {
		child_signal(child, SIGTERM);
		ending->deadline_ms = now + (ending->signals + 1 < polite ? HURRY_MS : patience_ms);
	} else {
		log_warning("%s does not end: killing it", part_name(child->part));
		child_signal(child, SIGKILL);
		ending->deadline_ms = now + KILL_MS;
	}
	ending->signals++;
	return true;
}

static void step_stop(struct supervisor *supervisor)
{
	while (supervisor->at > 0) {
		struct child *child = &supervisor->children[supervisor->at - 1];

		if (child_is_up(child) && push(&supervisor->ending, child, STOP_MS)) {
			if (child->killed && supervisor->code == EXIT_DONE)
				supervisor->code = EXIT_FAILED;
			return;
		}
		supervisor->at--;
		supervisor->ending = (struct ending){0};
	}
	supervisor->phase = PHASE_END;
}

static void begin_stop(struct supervisor *supervisor, int code)
{
	kill_helper(supervisor);
	supervisor->phase = PHASE_STOP;
	supervisor->at = supervisor->n;
	supervisor->ending = (struct ending){0};
	supervisor->code = code;
	for (size_t i = 0; i < supervisor->n; i++)
		supervisor->children[i].killed = false;
	step_stop(supervisor);
}

static void begin_drain(struct supervisor *supervisor)
{
	if (!has(supervisor, PART_UPLOADER)) {
		begin_stop(supervisor, EXIT_DONE);
		return;
	}
	log_info("ending: first everything that was closed goes to S3; a second signal skips that");
	supervisor->phase = PHASE_DRAIN;
	supervisor->helper = helper_start(supervisor->config, HELPER_DRAIN);
	if (!supervisor->helper)
		begin_stop(supervisor, EXIT_DONE);
}

/* Whether the next one may be started. */
static bool is_ready(struct supervisor *supervisor, const struct child *child)
{
	if (child->part == PART_ANCHOR)
		return replace_anchor_ready(&supervisor->replace, supervisor->config);
	if (child->part == PART_FUSEFS && !supervisor->serving && !supervisor->helper)
		supervisor->helper = helper_start(supervisor->config, HELPER_SERVING);
	return child->part != PART_FUSEFS || supervisor->serving;
}

static bool step_start_one(struct supervisor *supervisor, struct child *child)
{
	if (child->old_fd >= 0) {
		if (child->part == PART_FUSEFS && supervisor->ending.signals == 0 &&
			!replace_may_end_fusefs(&supervisor->replace))
			return false;
		if (supervisor->ending.signals == 0)
			log_info("an earlier run left %s pid=%d: replacing it", part_name(child->part),
				(int)child->old_pid);
		if (push(&supervisor->ending, child, REPLACE_MS))
			return false;
		child_forget_old(child);
	}
	supervisor->ending = (struct ending){0};
	if (!supervisor->begun[child->part])
		log_start(child, start(supervisor, child));
	return is_ready(supervisor, child);
}

static void step_start(struct supervisor *supervisor)
{
	while (supervisor->at < supervisor->n) {
		struct child *child = &supervisor->children[supervisor->replace.order[supervisor->at]];

		if (step_start_one(supervisor, child)) {
			supervisor->at++;
			replace_next(&supervisor->replace);
		} else if (child->part == PART_FUSEFS && replace_gives_up(&supervisor->replace)) {
			supervisor->at = 0;
			supervisor->ending = (struct ending){0};
		} else {
			return;
		}
	}
	supervisor->phase = PHASE_RUN;
	log_info("ready");
	notify_ready();
}

static bool may_restart(const struct supervisor *supervisor, const struct child *child)
{
	return supervisor->phase < PHASE_STOP && supervisor->begun[child->part] && !child_is_up(child) &&
	       child->start_ms <= clock_ms();
}

static void step_restart(struct supervisor *supervisor)
{
	for (size_t i = 0; i < supervisor->n; i++) {
		if (may_restart(supervisor, &supervisor->children[i]))
			log_start(&supervisor->children[i], start(supervisor, &supervisor->children[i]));
	}
}

static void step_watch(struct supervisor *supervisor)
{
	int64_t now = clock_ms();

	for (size_t i = 0; i < supervisor->n; i++) {
		struct child *child = &supervisor->children[i];

		if (child_silent_at(child) > now)
			continue;
		child_signal(child, SIGKILL);
		log_warning("%s is silent for %.1f s: killing it pid=%d", part_name(child->part),
			(double)(now - child->heard_ms) / 1000, (int)child->pid);
	}
}

static void helper_ended(struct supervisor *supervisor, int wait_status)
{
	supervisor->helper = 0;
	if (supervisor->phase == PHASE_START)
		supervisor->serving = WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == EXIT_DONE;
	else if (supervisor->phase == PHASE_DRAIN)
		begin_stop(supervisor, EXIT_DONE);
}

static void log_end(enum log_level level, const struct child *child, pid_t pid, int wait_status, int64_t lived_ms)
{
	char how[64], lived[24];

	if (WIFSIGNALED(wait_status))
		snprintf(how, sizeof(how), "killed by SIG%s%s", sigabbrev_np(WTERMSIG(wait_status)),
			WCOREDUMP(wait_status) ? " (core dumped)" : "");
	else
		snprintf(how, sizeof(how), "exit status %d", WEXITSTATUS(wait_status));
	log_at(level, "%s ended pid=%d: %s after %s", part_name(child->part), (int)pid, how,
		format_duration_ms(lived_ms, lived));
}

static void log_foreign(const struct child *child, bool goes_back)
{
	if (goes_back)
		log_error(
			"%s (new) cannot go on with the mount's state; the version that ran before serves again; to "
			"change to the new one, end `ebbfs run` and start it again",
			child->images.path);
	else
		log_error("%s cannot go on with the mount's state, and no version that ran before is at hand; it is "
			  "started again until the mount has stepped aside (EBBFS_FAIL_OPEN_AFTER) and begins anew",
			child->images.path);
}

/* The mount is there once it answers: from then on somebody may depend on it, whatever is still to be started. */
static bool is_mounted(const struct config *config)
{
	struct mount_top top;

	return mount_look(config->data, &top) == 0 && mount_is_ours(&top);
}

static void ended(struct supervisor *supervisor, struct child *child, int wait_status)
{
	int status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1;
	int64_t lived_ms = clock_ms() - child->started_ms;
	bool running = supervisor->phase < PHASE_STOP, goes_back = false, again = false;
	bool foreign = running && child->part == PART_FUSEFS && status == EXIT_FOREIGN_STATE;
	/* Of one that ran before, the same settings were right: something it reads is not there at the moment. */
	bool usage = running && status == EXIT_USAGE && child->starts == 1;
	bool fails = supervisor->phase == PHASE_START && !supervisor->replace.leftovers &&
		     supervisor->children[0].part == PART_ANCHOR &&
		     !(WIFSIGNALED(wait_status) && is_mounted(supervisor->config));
	pid_t pid = child->pid;
	int r = 0;

	child_ended(child);
	if (foreign)
		goes_back = images_refuse(&child->images, image_mount_id(supervisor->config->data));
	if (goes_back)
		child->start_ms = clock_ms();
	if (running && !usage && !fails && may_restart(supervisor, child)) {
		r = start(supervisor, child);
		again = true;
	}
	log_end(running ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, child, pid, wait_status, lived_ms);
	if (foreign)
		log_foreign(child, goes_back);
	if (again)
		log_start(child, r);
	if (usage)
		begin_stop(supervisor, EXIT_USAGE);
	else if (fails)
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

	reap(supervisor);
	while (read(signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo != SIGCHLD)
			told_to_end(supervisor, info.ssi_signo);
	}
	reap(supervisor);
}

static void read_messages(struct supervisor *supervisor)
{
	for (int i = 0; i < MESSAGES_A_TURN; i++) {
		bool ready = false;
		pid_t pid = watch_read(supervisor->notify_fd, &ready);

		if (pid < 0)
			return;
		for (size_t j = 0; pid > 0 && j < supervisor->n; j++) {
			if (supervisor->children[j].pid == pid)
				child_heard(&supervisor->children[j], ready);
		}
	}
}

/* How long poll() may wait, -1 for ever. */
static int next_timeout(const struct supervisor *supervisor)
{
	int64_t now = clock_ms(), next = notify_interval_ms() ? supervisor->alive_ms : INT64_MAX;

	if (supervisor->phase == PHASE_START)
		next = now + STEP_MS;
	if (supervisor->phase == PHASE_STOP && supervisor->ending.deadline_ms < next)
		next = supervisor->ending.deadline_ms;
	for (size_t i = 0; supervisor->phase < PHASE_STOP && i < supervisor->n; i++) {
		const struct child *child = &supervisor->children[i];
		int64_t at = child->pid ? child_silent_at(child) : child->start_ms;

		if (at < next)
			next = at;
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
	step_watch(supervisor);
	step_restart(supervisor);
	if (supervisor->phase == PHASE_START)
		step_start(supervisor);
}

static void say_alive(struct supervisor *supervisor)
{
	int64_t now = clock_ms();

	if (notify_interval_ms() == 0 || now < supervisor->alive_ms)
		return;
	notify_alive();
	supervisor->alive_ms = now + notify_interval_ms();
}

static void old_ended(struct child *child)
{
	log_info("%s of the earlier run ended pid=%d", part_name(child->part), (int)child->old_pid);
	child_forget_old(child);
}

/* Waits, then hears everybody. Signals first: a dead child is started again before anything else. */
static void turn(struct supervisor *supervisor, int signal_fd, int64_t *since_ms)
{
	struct pollfd fds[2 + PARTS] = {
		{.fd = signal_fd, .events = POLLIN}, {.fd = supervisor->notify_fd, .events = POLLIN}};
	int timeout_ms = next_timeout(supervisor);

	for (size_t i = 0; i < supervisor->n; i++)
		fds[2 + i] = (struct pollfd){.fd = supervisor->children[i].old_fd, .events = POLLIN};

	(void)poll(fds, 2 + supervisor->n, timeout_ms);

	int64_t now = clock_ms();
	bool late = timeout_ms >= 0 && now > *since_ms + timeout_ms + LATE_MS;

	*since_ms = now;
	read_signals(supervisor, signal_fd);
	for (size_t i = 0; i < supervisor->n; i++) {
		if (fds[2 + i].revents)
			old_ended(&supervisor->children[i]);
		if (late)
			supervisor->children[i].heard_ms = now;
	}
	read_messages(supervisor);
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

static int name_socket(struct supervisor *supervisor, char name[static 64])
{
	const char *record = supervisor->record;

	/* run.children → notify, run-fusefs.children → notify-fusefs */
	snprintf(name, 64, "notify");
	if (!strncmp(record, "run-", 4))
		snprintf(name, 64, "notify-%.*s", (int)strcspn(record + 4, "."), record + 4);
	int n = snprintf(
		supervisor->notify_path, sizeof(supervisor->notify_path), "%s/%s", supervisor->config->run, name);

	return n < 0 || (size_t)n >= sizeof(supervisor->notify_path) ? -ENAMETOOLONG : 0;
}

int supervise(const struct config *config, struct child *children, size_t n, const char *record)
{
	struct supervisor supervisor = {.config = config, .children = children, .n = n, .record = record};
	_cleanup_close_ int signal_fd = take_signals(), notify_fd = -1;
	int64_t since_ms = clock_ms();
	char socket[64];

	if (signal_fd < 0) {
		log_error("signalfd: %s", strerror(-signal_fd));
		return EXIT_FAILED;
	}
	notify_fd = name_socket(&supervisor, socket);
	if (notify_fd == 0)
		notify_fd = watch_listen(config->run, socket);
	if (notify_fd < 0) {
		log_error("cannot listen at %s: %s", supervisor.notify_path, strerror(-notify_fd));
		return EXIT_FAILED;
	}
	supervisor.notify_fd = notify_fd;
	notify_init();
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	replace_plan(&supervisor.replace, config, record, children, n);
	for (;;) {
		step(&supervisor);
		say_alive(&supervisor);
		if (supervisor.phase == PHASE_END)
			break;
		turn(&supervisor, signal_fd, &since_ms);
	}
	write_record(&supervisor);
	unlink(supervisor.notify_path);
	return supervisor.code;
}
