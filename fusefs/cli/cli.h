/* The commands of ebbfs(1): one file each, one table in main.c. */
#ifndef EBBFS_CLI_H
#define EBBFS_CLI_H

#include "uploader/base/config.h"

struct command {
	const char *name;
	const char *arguments; /* as in a synopsis */
	const char *summary;   /* one line */
	const char *help;      /* the rest, within 80 columns */
	/* argv[0] is the command's name; EBBFS_* flags are gone from it. Returns the exit code. */
	int (*run)(const struct config *config, int argc, char **argv);
};

extern const struct command command_run, command_status, command_ls, command_drain, command_debug;

/* `ebbfs NAME: TEXT`, and where the help is. Returns EXIT_USAGE. */
int cli_usage(const struct command *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* `ebbfs: TEXT` on stderr. Returns code. */
int cli_fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
