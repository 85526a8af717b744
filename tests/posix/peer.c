/* Other processes of a sequence: each is a fork that reads lines from a socket and answers with their transcript.
 * An answer ends with an empty line. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/posix/context.h"

struct peer {
	char name[SLOT_NAME_MAX];
	pid_t pid;
	FILE *in, *out;
	struct peer *next;
};

static _Noreturn void peer_serve(struct context *context, int fd)
{
	char line[LINE_BYTES_MAX];
	int other = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	FILE *in = fdopen(fd, "r"), *out = other < 0 ? NULL : fdopen(other, "w");

	context->peers = NULL;
	if (!in || !out)
		_exit(1);
	while (fgets(line, sizeof(line), in)) {
		context_run_line(context, line, out);
		fputc('\n', out);
		fflush(out);
	}
	context_done(context);
	_exit(0);
}

static struct peer *peer_start(struct context *context, const char *name)
{
	struct peer *peer = calloc(1, sizeof(*peer));
	int pair[2];

	if (!peer || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
	snprintf(peer->name, sizeof(peer->name), "%s", name);
	fflush(NULL);
	peer->pid = fork();
	if (peer->pid < 0)
		abort();
	if (peer->pid == 0) {
		close(pair[0]);
		peer_serve(context, pair[1]);
	}
	close(pair[1]);
	pair[1] = fcntl(pair[0], F_DUPFD_CLOEXEC, 0);
	peer->in = fdopen(pair[0], "r");
	peer->out = pair[1] < 0 ? NULL : fdopen(pair[1], "w");
	if (!peer->in || !peer->out)
		abort();
	peer->next = context->peers;
	context->peers = peer;
	return peer;
}

static struct peer *peer_find(struct context *context, const char *name)
{
	for (struct peer *peer = context->peers; peer; peer = peer->next) {
		if (strcmp(peer->name, name) == 0)
			return peer;
	}
	return peer_start(context, name);
}

static void peer_collect(struct context *context, struct peer *peer, FILE *out)
{
	char line[2 * LINE_BYTES_MAX];

	for (;;) {
		if (!fgets(line, sizeof(line), peer->in)) {
			fprintf(out, "@%s gone\n", peer->name);
			return;
		}
		if (*line == '\n')
			return;
		if (strstr(line, " !! "))
			context->bad = true;
		fprintf(out, "@%s %s", peer->name, line);
	}
}

void peer_line(struct context *context, const char *name, const char *line, bool wait, FILE *out)
{
	struct peer *peer = peer_find(context, name);

	fprintf(peer->out, "%s\n", line);
	fflush(peer->out);
	if (wait)
		peer_collect(context, peer, out);
	else
		fprintf(out, "&%s %s\n", name, line);
}

void peer_join(struct context *context, const char *name, FILE *out)
{
	peer_collect(context, peer_find(context, name), out);
}

void peer_done(struct context *context)
{
	while (context->peers) {
		struct peer *peer = context->peers;

		context->peers = peer->next;
		fclose(peer->out);
		fclose(peer->in);
		kill(peer->pid, SIGKILL);
		while (waitpid(peer->pid, NULL, 0) < 0 && errno == EINTR)
			;
		free(peer);
	}
}
