/* posix-driver DIR SEQUENCES: runs every sequence of the file SEQUENCES in a fresh directory under DIR and prints the
 * transcript. `posix-driver --help` lists the commands.
 *
 *	== open/creat@user		a sequence and whose it is: root, or the ordinary user of cmd_proc.c
 *	open a file WRONLY|CREAT 0644	its lines
 *
 * A sequence that takes longer than DEADLINE_S is killed; the transcript says so. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/posix/context.h"
#include "tests/posix/identity.h"

#define DEADLINE_S 60
#define KILLED_WAIT_MS 3000 /* for a process that was killed but hangs in the kernel */

struct sequence {
	char name[256];
	char *lines; /* all of them, newlines between */
	size_t bytes;
};

/* The next sequence of the file into an empty struct; false at its end. */
static bool sequence_read(FILE *in, struct sequence *sequence, char pending[static LINE_BYTES_MAX])
{
	char line[LINE_BYTES_MAX];
	FILE *lines;

	if (strncmp(pending, "== ", 3) != 0)
		return false;
	snprintf(sequence->name, sizeof(sequence->name), "%.*s", (int)strcspn(pending + 3, "\n"), pending + 3);
	*pending = '\0';
	lines = open_memstream(&sequence->lines, &sequence->bytes);
	if (!lines)
		abort();
	while (!feof(in) && !ferror(in) && fgets(line, sizeof(line), in)) {
		if (strncmp(line, "== ", 3) == 0) {
			memcpy(pending, line, sizeof(line));
			break;
		}
		if (*line != '#' && *line != '\n')
			fputs(line, lines);
	}
	fclose(lines);
	return true;
}

static _Noreturn void sequence_run(const struct sequence *sequence, const char *directory, int fd)
{
	struct context context = {.root = directory};
	FILE *out = fdopen(fd, "w"), *lines = fmemopen(sequence->lines, sequence->bytes, "r");
	char line[LINE_BYTES_MAX];
	const char *user = strrchr(sequence->name, '@');

	setpgid(0, 0);
	umask(022);
	if (!out || chdir(directory) < 0)
		abort();
	if (identity_take(user ? user + 1 : "root") < 0)
		fprintf(out, "!! cannot become %s\n", user);
	while (lines && fgets(line, sizeof(line), lines))
		context_run_line(&context, line, out);
	context_done(&context);
	fflush(out);
	_exit(context.bad ? 2 : 0);
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Copies the transcript until the sequence ends or its time is up; false when it is. */
static bool transcript_copy(int fd)
{
	int64_t end_ms = now_ms() + DEADLINE_S * 1000;
	char buffer[8192];

	for (;;) {
		struct pollfd ready = {.fd = fd, .events = POLLIN};
		int64_t left_ms = end_ms - now_ms();
		ssize_t count;

		if (left_ms <= 0 || poll(&ready, 1, (int)left_ms) == 0)
			return false;
		count = read(fd, buffer, sizeof(buffer));
		if (count <= 0)
			return true;
		fwrite(buffer, 1, count, stdout);
	}
}

static void reap(pid_t pid, bool in_time)
{
	int status = 0;

	if (in_time) {
		waitpid(pid, &status, 0);
	} else {
		puts("!! TIMED OUT");
		kill(-pid, SIGKILL);
		for (int i = 0; i < KILLED_WAIT_MS / 10 && waitpid(pid, &status, WNOHANG) == 0; i++)
			usleep(10000);
	}
	kill(-pid, SIGKILL);
	if (WIFSIGNALED(status))
		printf("!! killed by signal %d\n", WTERMSIG(status));
	else if (WEXITSTATUS(status) != 0)
		puts("!! the sequence is wrong");
}

static void sequence_fork(const struct sequence *sequence, const char *directory)
{
	int fds[2];
	pid_t pid;

	printf("== %s\n", sequence->name);
	fflush(stdout);
	if (mkdir(directory, 0755) < 0 || identity_own(directory, strrchr(sequence->name, '@')) < 0) {
		printf("!! cannot make the directory: %s\n", strerror(errno));
		return;
	}
	if (pipe2(fds, O_CLOEXEC) < 0 || (pid = fork()) < 0)
		abort();
	if (pid == 0) {
		close(fds[0]);
		sequence_run(sequence, directory, fds[1]);
	}
	close(fds[1]);
	reap(pid, transcript_copy(fds[0]));
	close(fds[0]);
	fflush(stdout);
}

static void usage(FILE *out)
{
	static const struct command *const tables[] = {
		cmd_file_commands,
		cmd_io_commands,
		cmd_name_commands,
		cmd_attr_commands,
		cmd_stat_commands,
		cmd_dir_commands,
		cmd_xattr_commands,
		cmd_map_commands,
		cmd_lock_commands,
		cmd_proc_commands,
		cmd_load_commands,
	};

	fputs("usage: posix-driver DIR SEQUENCES\n\nCommands of a sequence:\n", out);
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		for (const struct command *command = tables[i]; command->name; command++)
			fprintf(out, "  %s %s\n", command->name, command->usage);
	}
}

int main(int argc, char **argv)
{
	char pending[LINE_BYTES_MAX] = "", directory[4096];
	FILE *in;

	if (argc != 3) {
		usage(argc == 2 && strcmp(argv[1], "--help") == 0 ? stdout : stderr);
		return argc == 2 && strcmp(argv[1], "--help") == 0 ? 0 : 2;
	}
	in = fopen(argv[2], "re");
	if (!in) {
		fprintf(stderr, "posix-driver: %s: %s\n", argv[2], strerror(errno));
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	while (strncmp(pending, "== ", 3) != 0 && fgets(pending, sizeof(pending), in))
		;
	for (int number = 0;; number++) {
		struct sequence sequence = {};
		bool more = sequence_read(in, &sequence, pending);

		if (!more)
			break;
		snprintf(directory, sizeof(directory), "%s/%d", argv[1], number);
		sequence_fork(&sequence, directory);
		free(sequence.lines);
	}
	fclose(in);
	return 0;
}
