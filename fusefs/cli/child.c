#include "fusefs/cli/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "fusefs/cli/program.h"
#include "uploader/base/log.h"
#include "uploader/base/units.h"

#define SHORT_LIFE_MS 1000
#define DELAY_MIN_MS 10
#define DELAY_MAX_MS 1000
/* What sh(1) says of a command that it could not execute. */
#define EXIT_NO_EXEC 126

static const char *const programs[] = {
	[PART_ANCHOR] = "ebbfs-anchor",
	[PART_FUSEFS] = "ebbfs-fusefs",
	[PART_UPLOADER] = "ebbfs-uploader",
};

const char *part_program(enum part part)
{
	return programs[part];
}

const char *part_name(enum part part)
{
	return programs[part] + strlen("ebbfs-");
}

static void execute(const struct child *child)
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
	execv(child->path, arguments);
	log_error("cannot execute %s: %s", child->path, strerror(errno));
	_exit(EXIT_NO_EXEC);
}

int child_start(struct child *child)
{
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0)
		execute(child);
	child->pid = pid;
	child->started_ms = clock_ms();
	child->starts++;
	log_info("started %s pid=%d", part_name(child->part), (int)pid);
	return 0;
}

static void describe(int wait_status, char *out, size_t size)
{
	if (WIFSIGNALED(wait_status))
		snprintf(out, size, "killed by SIG%s%s", sigabbrev_np(WTERMSIG(wait_status)),
			WCOREDUMP(wait_status) ? " (core dumped)" : "");
	else
		snprintf(out, size, "exit status %d", WEXITSTATUS(wait_status));
}

void child_ended(struct child *child, int wait_status, bool wanted)
{
	int64_t now = clock_ms(), lived_ms = now - child->started_ms;
	char how[64], lived[24];

	describe(wait_status, how, sizeof(how));
	log_at(wanted ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING, "%s ended pid=%d: %s after %s", part_name(child->part),
		(int)child->pid, how, format_duration_ms(lived_ms, lived));
	child->pid = 0;
	if (lived_ms >= SHORT_LIFE_MS)
		child->delay_ms = 0;
	else if (child->delay_ms == 0)
		child->delay_ms = DELAY_MIN_MS;
	else
		child->delay_ms = child->delay_ms * 2 < DELAY_MAX_MS ? child->delay_ms * 2 : DELAY_MAX_MS;
	child->start_ms = now + child->delay_ms;
}
