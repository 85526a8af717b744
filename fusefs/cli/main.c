/* ebbfs: the command line. Finds the command, reads the configuration, prints help. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "fusefs/cli/cli.h"

static const struct command *const commands[] = {
	&command_run,
	&command_status,
	&command_ls,
	&command_drain,
	&command_debug,
};

int cli_usage(const struct command *command, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "ebbfs %s: ", command->name);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "; see ebbfs %s --help\n", command->name);
	return EXIT_USAGE;
}

int cli_fail(int code, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "ebbfs: ");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return code;
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (!strcmp(commands[i]->name, name))
			return commands[i];
	}
	return NULL;
}

static void print_help(const struct command *command)
{
	if (command) {
		printf("Usage: ebbfs %s %s\n\n%s\n", command->name, command->arguments, command->help);
		return;
	}
	printf("Usage: ebbfs COMMAND [ARGUMENT…] [--NAME VALUE…]\n\n"
	       "Gets every file that is closed in a directory into S3.\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		printf("  %-8s %s\n", commands[i]->name, commands[i]->summary);
	printf("\nebbfs COMMAND --help says more; ebbfs --version says which this is.\n"
	       "Exit codes: 0 done, 1 failed, 2 usage, 3 not running, 4 timed out.\n");
	config_print_help(stdout);
}

int main(int argc, char **argv)
{
	char error[CONFIG_ERROR_MAX];
	struct config config;

	if (argc == 2 && !strcmp(argv[1], "--version")) {
		puts("ebbfs " EBBFS_VERSION);
		return EXIT_DONE;
	}
	int r = config_load(&config, &argc, argv, error);
	const struct command *command = argc > 1 ? find_command(argv[1]) : NULL;

	if (r < 0)
		return cli_fail(EXIT_USAGE, "%s", error);
	if (argc > 1 && !command)
		return cli_fail(EXIT_USAGE, "unknown command %s; see ebbfs --help", argv[1]);
	if (r > 0) {
		print_help(command);
		return EXIT_DONE;
	}
	if (!command)
		return cli_fail(EXIT_USAGE, "which command? see ebbfs --help");
	log_init("ebbfs", config.log_level, config.log_json);
	return command->run(&config, argc - 1, argv + 1);
}
