/* ebbfs-fusefs: serves the mount and decides what becomes of each file. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "fusefs/fs/fs.h"
#include "fusefs/policy/keys.h"
#include "fusefs/policy/service.h"
#include "uploader/base/config.h"
#include "uploader/base/log.h"

static struct fs *serving_fs; /* for the signal handler */

static void on_end(int signal)
{
	(void)signal;
	if (serving_fs)
		fs_stop(serving_fs);
}

static void watch_signals(struct fs *fs)
{
	struct sigaction end = {.sa_handler = on_end}, ignore = {.sa_handler = SIG_IGN};

	serving_fs = fs;
	sigaction(SIGTERM, &end, NULL);
	sigaction(SIGINT, &end, NULL);
	sigaction(SIGPIPE, &ignore, NULL);
	sigaction(SIGHUP, &ignore, NULL);
}

/* `ebbfs debug DIR`: an ordinary user's mount over DIR, with a trace, without journal and uploads. */
static int debug(const char *directory)
{
	struct fs_options options = {
		.backing_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
		.fuse_fd = -1,
		.state_fd = -1,
		.mountpoint = directory,
		.passthrough = true,
		.trace = true,
		.threads = 2,
	};
	struct fs *fs;

	sigset_t end;

	/* A signal that comes before there is a handler waits for it: the mount must not stay behind. */
	sigemptyset(&end);
	sigaddset(&end, SIGTERM);
	sigaddset(&end, SIGINT);
	sigprocmask(SIG_BLOCK, &end, NULL);
	if (options.backing_fd < 0) {
		fprintf(stderr, "ebbfs debug: %s: %s\n", directory, strerror(errno));
		return EXIT_FAILED;
	}
	int r = fs_new(&options, &fs);

	if (r < 0) {
		fprintf(stderr,
			"ebbfs debug: cannot mount over %s: %s; an ordinary user needs fusermount3 (package fuse3) "
			"and "
			"to own the directory\n",
			directory, strerror(-r));
		return EXIT_FAILED;
	}
	watch_signals(fs);
	sigprocmask(SIG_UNBLOCK, &end, NULL);
	fprintf(stderr, "ebbfs debug: serving %s; end with: fusermount3 -u %s\n", directory, directory);
	r = fs_serve(fs);
	fs_free(fs);
	return r < 0 ? EXIT_FAILED : EXIT_DONE;
}

static int usage(FILE *out, int status)
{
	fputs("Usage: ebbfs-fusefs [FLAG…]        serve the mount that ebbfs-anchor hands over\n"
	      "       ebbfs-fusefs --debug DIR    mount over DIR as an ordinary user, with a trace\n",
		out);
	config_print_help(out);
	return status;
}

static void warn_unknown(const char *name, void *arg)
{
	(void)arg;
	log_warning("%s is not a setting of this version: ignored", name);
}

int main(int argc, char **argv)
{
	char error[CONFIG_ERROR_MAX];
	struct config config;
	int r = config_load(&config, &argc, argv, error);

	if (r > 0)
		return usage(stdout, EXIT_DONE);
	if (r == 0 && argc == 3 && !strcmp(argv[1], "--debug"))
		return debug(argv[2]);
	struct keys keys;

	if (r == 0)
		r = config_require_target(&config, error);
	if (r == 0)
		r = keys_init(&keys, config.prefix, config.exclude, error, sizeof(error));
	if (r < 0) {
		fprintf(stderr, "ebbfs-fusefs: %s\n", error);
		return EXIT_USAGE;
	}
	if (argc == 2 && !strcmp(argv[1], "--version")) {
		puts("ebbfs-fusefs " EBBFS_VERSION);
		return EXIT_DONE;
	}
	if (argc > 1)
		return usage(stderr, EXIT_USAGE);
	log_init("ebbfs-fusefs", config.log_level, config.log_json);
	config_unknown(warn_unknown, NULL);
	return service_run(&config);
}
