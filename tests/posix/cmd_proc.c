/* Commands about processes: who one is, executing a file, sockets, and watching for changes. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/posix/context.h"
#include "tests/posix/identity.h"

#define EVENTS_QUIET_MS 60 /* no event for that long: there are no more */

static long cmd_as(struct context *context, char **argv)
{
	(void)context;
	return identity_take(argv[1]);
}

/* Runs a file of the sequence; the result is its exit code. */
static long cmd_exec(struct context *context, char **argv)
{
	(void)context;
	int status = 0, pipe_fds[2], error = 0;
	pid_t pid;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0 || (pid = fork()) < 0)
		return -1;
	if (pid == 0) {
		execv(argv[1], argv + 1);
		error = errno;
		if (write(pipe_fds[1], &error, sizeof(error)) < 0)
			_exit(126);
		_exit(127);
	}
	close(pipe_fds[1]);
	if (read(pipe_fds[0], &error, sizeof(error)) < 0)
		error = EIO;
	close(pipe_fds[0]);
	waitpid(pid, &status, 0);
	errno = error;
	return error ? -1 : WEXITSTATUS(status);
}

/* A program of the machine, copied into the sequence's directory. */
static long cmd_copy_program(struct context *context, char **argv)
{
	(void)context;
	_cleanup_close_ int in = open(argv[1], O_RDONLY | O_CLOEXEC);
	_cleanup_close_ int out = open(argv[2], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	char buffer[65536];
	ssize_t count;

	if (in < 0 || out < 0)
		return -1;
	while ((count = read(in, buffer, sizeof(buffer))) > 0) {
		if (write(out, buffer, (size_t)count) != count)
			return -1;
	}
	return count < 0 ? -1 : 0;
}

static long cmd_sleep(struct context *context, char **argv)
{
	usleep((useconds_t)words_number(context, argv[1], 0) * 1000);
	return 0;
}

static struct sockaddr_un address(const char *path)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};

	snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
	return to;
}

static long cmd_listen(struct context *context, char **argv)
{
	struct sockaddr_un to = address(argv[2]);

	if (context_keep(context, argv[1], socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) < 0)
		return -1;
	if (bind(context_fd(context, argv[1]), (struct sockaddr *)&to, sizeof(to)) < 0)
		return -1;
	return listen(context_fd(context, argv[1]), 5);
}

static long cmd_connect(struct context *context, char **argv)
{
	struct sockaddr_un to = address(argv[2]);

	if (context_keep(context, argv[1], socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) < 0)
		return -1;
	return connect(context_fd(context, argv[1]), (struct sockaddr *)&to, sizeof(to));
}

static long cmd_accept(struct context *context, char **argv)
{
	return context_keep(context, argv[2], accept4(context_fd(context, argv[1]), NULL, NULL, SOCK_CLOEXEC));
}

static const struct flag inotify_events[] = {
	{"ACCESS", IN_ACCESS},
	{"MODIFY", IN_MODIFY},
	{"ATTRIB", IN_ATTRIB},
	{"CLOSE_WRITE", IN_CLOSE_WRITE},
	{"CLOSE_NOWRITE", IN_CLOSE_NOWRITE},
	{"OPEN", IN_OPEN},
	{"MOVED_FROM", IN_MOVED_FROM},
	{"MOVED_TO", IN_MOVED_TO},
	{"CREATE", IN_CREATE},
	{"DELETE", IN_DELETE},
	{"DELETE_SELF", IN_DELETE_SELF},
	{"MOVE_SELF", IN_MOVE_SELF},
	{"IGNORED", IN_IGNORED},
	{"ISDIR", IN_ISDIR},
	{"ALL", IN_ALL_EVENTS},
	{},
};

static long cmd_watch(struct context *context, char **argv)
{
	if (context_fd(context, argv[1]) < 0 &&
		context_keep(context, argv[1], inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) < 0)
		return -1;
	return inotify_add_watch(context_fd(context, argv[1]), argv[2],
		       (uint32_t)words_flags(context, inotify_events, argv[3])) < 0
		       ? -1
		       : 0;
}

static void show_event(struct context *context, const struct inotify_event *event)
{
	fputc(' ', context->notes);
	for (const struct flag *flag = inotify_events; strcmp(flag->name, "ALL") != 0; flag++) {
		if (event->mask & (uint32_t)flag->value)
			fprintf(context->notes, "%s.", flag->name);
	}
	fputs(event->len ? event->name : "-", context->notes);
}

static long cmd_events(struct context *context, char **argv)
{
	_Alignas(struct inotify_event) char buffer[16384];
	int fd = context_fd(context, argv[1]);
	long events = 0;

	for (int quiet_ms = 0; quiet_ms < EVENTS_QUIET_MS; quiet_ms += 5) {
		ssize_t count = read(fd, buffer, sizeof(buffer));

		for (const char *at = buffer; count > 0 && at < buffer + count; events++) {
			const struct inotify_event *event = (const void *)at;

			show_event(context, event);
			at += sizeof(*event) + event->len;
			quiet_ms = 0;
		}
		usleep(5000);
	}
	return events;
}

const struct command cmd_proc_commands[] = {
	{"as", 1, cmd_as, "root|user|mate|other|UID:GID[:GROUP,…]"},
	{"exec", 1, cmd_exec, "PATH [ARGUMENT…]"},
	{"copy_program", 2, cmd_copy_program, "PATH NEW"},
	{"sleep", 1, cmd_sleep, "MS"},
	{"listen", 2, cmd_listen, "SLOT PATH"},
	{"connect", 2, cmd_connect, "SLOT PATH"},
	{"accept", 2, cmd_accept, "SLOT NEW"},
	{"watch", 3, cmd_watch, "SLOT PATH MODIFY|CREATE|…|ALL"},
	{"events", 1, cmd_events, "SLOT"},
	{},
};
