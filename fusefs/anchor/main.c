/* ebbfs-anchor: mounts EBBFS_DATA and holds what must outlive ebbfs-fusefs. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>

#include "fusefs/anchor/anchor.h"
#include "uploader/base/config.h"
#include "uploader/base/log.h"
#include "uploader/base/notify.h"

static void print_help(void)
{
	printf("Usage: ebbfs-anchor [--NAME VALUE…]\n\n"
	       "Opens the backing directory and /dev/fuse, mounts over EBBFS_DATA when\n"
	       "ebbfs-fusefs attaches at EBBFS_RUN/anchor, and hands it the descriptors.\n"
	       "Needs CAP_SYS_ADMIN. Normally started by `ebbfs run`.\n");
	config_print_help(stdout);
}

/* SIGTERM and SIGINT are read from the descriptor that this returns, or -errno. */
static int take_signals(void)
{
	sigset_t set;

	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_SETMASK, &set, NULL) < 0)
		return -errno;

	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

static int run(const struct config *config)
{
	_cleanup_close_ int signal_fd = take_signals();
	struct anchor anchor;
	int r;

	if (signal_fd < 0) {
		log_error("signalfd: %s", strerror(-signal_fd));
		return EXIT_FAILED;
	}
	anchor_init(&anchor, config);
	r = anchor_prepare(&anchor);
	if (r == 0)
		r = anchor_serve(&anchor, signal_fd);
	anchor_done(&anchor);
	return r < 0 ? EXIT_FAILED : EXIT_DONE;
}

int main(int argc, char **argv)
{
	char error[CONFIG_ERROR_MAX];
	struct config config;

	if (argc == 2 && !strcmp(argv[1], "--version")) {
		puts("ebbfs-anchor " EBBFS_VERSION);
		return EXIT_DONE;
	}
	int r = config_load(&config, &argc, argv, error);

	if (r > 0) {
		print_help();
		return EXIT_DONE;
	}
	if (r == 0 && argc > 1) {
		snprintf(error, sizeof(error), "unexpected argument %.200s; see ebbfs-anchor --help", argv[1]);
		r = -EINVAL;
	}
	if (r < 0) {
		fprintf(stderr, "ebbfs-anchor: %s\n", error);
		return EXIT_USAGE;
	}
	notify_init();
	log_init("ebbfs-anchor", config.log_level, config.log_json);
	return run(&config);
}
