/* ebbfs debug: a mount for an ordinary user, in the foreground, with a trace. ebbfs-fusefs does it. */
#include <errno.h>
#include <string.h>

#include "fusefs/cli/cli.h"
#include "fusefs/cli/program.h"

static int run(const struct config *config, int argc, char **argv)
{
	(void)config; /* the flags are in the environment */
	char path[PATH_MAX], name[] = "ebbfs-fusefs", flag[] = "--debug";

	if (argc != 2 || argv[1][0] == '-')
		return cli_usage(&command_debug, "wants one directory");
	if (program_find(name, path) < 0)
		return cli_fail(EXIT_FAILED, "cannot find %s; set EBBFS_BIN to its directory", name);

	char *const arguments[] = {name, flag, argv[1], NULL};

	program_forget_credentials();
	execv(path, arguments);
	return cli_fail(EXIT_FAILED, "cannot execute %s: %s", path, strerror(errno));
}

const struct command command_debug = {
	.name = "debug",
	.arguments = "DIR",
	.summary = "mount over DIR as an ordinary user and trace every operation",
	.help = "Mounts over DIR through fusermount3, in the foreground, and prints every\n"
		"operation. Nothing is uploaded. Ctrl-C or fusermount3 -u DIR ends it.",
	.run = run,
};
