#include "fusefs/cli/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "fusefs/cli/leftover.h"
#include "fusefs/cli/program.h"
#include "uploader/base/log.h"
#include "uploader/base/units.h"

/* A life below this is short; of one that said it was ready, below the second. */
#define SHORT_LIFE_MS 1000
#define SHORT_SERVICE_MS 200
#define DELAY_MIN_MS 10
#define DELAY_MAX_MS 250
/* One that is known to talk and says nothing for as long after its start hangs in it. */
#define START_LIMIT_MS 30000
/* What sh(1) says of a command that it could not execute. */
#define EXIT_NO_EXEC 126

static const struct {
	const char *program;
	const char *limit_us; /* the longest silence, for $WATCHDOG_USEC */
	int64_t limit_ms;     /* the same */
} parts[] = {
	[PART_ANCHOR] = {"ebbfs-anchor", "3000000", 3000},
	[PART_FUSEFS] = {"ebbfs-fusefs", "3000000", 3000},
	/* It reads files between two signs of life: a disk that stalls must not cost the work of all its jobs. */
	[PART_UPLOADER] = {"ebbfs-uploader", "10000000", 10000},
};

const char *part_program(enum part part)
{
	return parts[part].program;
}

const char *part_name(enum part part)
{
	return parts[part].program + strlen("ebbfs-");
}

void child_init(struct child *child, enum part part)
{
	*child = (struct child){.part = part, .old_fd = -1};
	images_init(&child->images);
}

void child_done(struct child *child)
{
	images_done(&child->images);
	cleanup_close(&child->old_fd);
	child->old_fd = -1;
}

static void execute(const struct child *child, const char *notify_path)
{
	union {
		const char *in;
		char *out;
	} name = {.in = part_program(child->part)};
	char *const arguments[] = {name.out, NULL};
	sigset_t none;
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (null >= 0)
		dup2(null, STDIN_FILENO);
	setpgid(0, 0);
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (child->part != PART_UPLOADER)
		program_forget_credentials();
	setenv("NOTIFY_SOCKET", notify_path, 1);
	setenv("WATCHDOG_USEC", parts[child->part].limit_us, 1);
	unsetenv("WATCHDOG_PID");
	log_error("cannot execute %s: %s", child->images.path, strerror(-images_execute(&child->images, arguments)));
	_exit(EXIT_NO_EXEC);
}

int child_start(struct child *child, const char *notify_path, int *ret_gate)
{
	_cleanup_close_ int closed = -1, open_end = -1;
	int ends[2];
	char byte;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	closed = ends[0];
	open_end = ends[1];
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		close(TAKE_FD(open_end));
		if (read(closed, &byte, 1) != 1)
			_exit(EXIT_NO_EXEC);
		execute(child, notify_path);
	}
	child->pid = pid;
	child->start_ticks = process_start_ticks(pid);
	child->started_ms = child->heard_ms = clock_ms();
	child->killed = child->talks = child->ready = false;
	child->starts++;
	*ret_gate = TAKE_FD(open_end);
	return 0;
}

void child_go(int gate)
{
	/* If it was killed already, it does not read: SIGPIPE is ignored. */
	(void)!write(gate, "", 1);
}

void child_ended(struct child *child)
{
	int64_t now = clock_ms();

	child->pid = 0;
	if (now - child->started_ms >= (child->ready ? SHORT_SERVICE_MS : SHORT_LIFE_MS))
		child->delay_ms = 0;
	else if (child->delay_ms == 0)
		child->delay_ms = DELAY_MIN_MS;
	else
		child->delay_ms = child->delay_ms * 2 < DELAY_MAX_MS ? child->delay_ms * 2 : DELAY_MAX_MS;
	child->start_ms = now + child->delay_ms;
}

void child_heard(struct child *child, bool ready)
{
	child->heard_ms = clock_ms();
	child->talks = child->can_talk = true;
	if (!ready || child->ready)
		return;
	child->ready = true;
	images_prove(&child->images);
}

int64_t child_silent_at(const struct child *child)
{
	if (!child->pid || child->killed || !child->can_talk)
		return INT64_MAX;
	return child->heard_ms + (child->talks ? parts[child->part].limit_ms : START_LIMIT_MS);
}

bool child_is_up(const struct child *child)
{
	return child->pid || child->old_fd >= 0;
}

void child_signal(struct child *child, int signal_number)
{
	if (child->pid)
		kill(child->pid, signal_number);
	else if (child->old_fd >= 0)
		(void)pidfd_send_signal(child->old_fd, signal_number, NULL, 0);
	if (signal_number == SIGKILL)
		child->killed = true;
}

void child_forget_old(struct child *child)
{
	cleanup_close(&child->old_fd);
	child->old_fd = -1;
	child->killed = false;
}
