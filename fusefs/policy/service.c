/* In the order of what an application waits for: the mount, the serving, and only then all the rest. */
#include "fusefs/policy/service.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "fusefs/policy/attach.h"
#include "fusefs/policy/backstage.h"
#include "fusefs/policy/privs.h"
#include "fusefs/policy/tether.h"
#include "uploader/base/log.h"
#include "uploader/base/notify.h"

#define SERVING_THREADS 32 /* one leads, the others are for calls that wait for the disk */

struct service {
	const struct config *config;
	struct fs *fs;
	struct tether *tether;
	struct engine engine;
	struct backstage backstage;
	int backing_fd;
	int over_fd;   /* eventfd: serving ended, or backstage failed */
	int signal_fd; /* SIGTERM, SIGINT */
	pthread_t serving;
	atomic_bool served; /* serving ended; with: */
	int error;
};

static int get_grant(const struct config *config, struct grant *grant)
{
	int r = attach(config->run, grant);

	if (r < 0)
		log_error("anchor at %s/%s: %s%s", config->run, HANDOVER_SOCKET, strerror(-r),
			r == -ENOENT || r == -ECONNREFUSED ? ": start ebbfs-anchor first"
			: r == -EBUSY                      ? ": another ebbfs-fusefs is attached"
							   : "");
	return r;
}

/* A lease that we ask for and at once give back may be broken in between: that is what SIGIO says. */
static int take_signals(void)
{
	static const int ignored[] = {SIGPIPE, SIGIO, SIGHUP};
	sigset_t set;

	for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
		signal(ignored[i], SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	int fd = signalfd(-1, &set, SFD_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int new_fs(struct service *service, struct grant *grant)
{
	const struct config *config = service->config;
	const struct fs_options options = {
		.backing_fd = TAKE_FD(grant->fds[HANDOVER_FD_BACKING]),
		.fuse_fd = TAKE_FD(grant->fds[HANDOVER_FD_FUSE]),
		.state_fd = TAKE_FD(grant->fds[HANDOVER_FD_STATE]),
		.mountpoint = config->data,
		.passthrough = config->passthrough,
		.threads = SERVING_THREADS,
		.on_event = engine_on_event,
		.event_arg = &service->engine,
		.on_pin = tether_on_pin,
		.pin_arg = service->tether,
	};
	int r = fs_new(&options, &service->fs);

	if (r == -EPROTO)
		log_error("the state of the mount at %s was written by another version of ebbfs: start that one "
			  "again, or "
			  "end ebbfs in order (which unmounts) and start this one, or wait EBBFS_FAIL_OPEN_AFTER",
			config->data);
	else if (r < 0)
		log_error("cannot serve %s: %s", config->data, strerror(-r));
	if (r < 0)
		return r;
	for (size_t i = 0; i < grant->n_pins; i++)
		fs_adopt_pin(service->fs, grant->pins[i].node_id, TAKE_FD(grant->pins[i].fd));
	return 0;
}

static int set_up(struct service *service, struct grant *grant)
{
	service->over_fd = eventfd(0, EFD_CLOEXEC);
	service->signal_fd = take_signals();
	service->backing_fd = fcntl(grant->fds[HANDOVER_FD_BACKING], F_DUPFD_CLOEXEC, 3);
	int r = service->over_fd < 0 || service->signal_fd < 0 || service->backing_fd < 0 ? -EMFILE : 0;

	if (r == 0)
		r = tether_new(&service->tether, service->config->run, grant);
	if (r == 0)
		r = engine_init(&service->engine, service->config, service->backing_fd);
	if (r < 0) {
		log_error("cannot begin: %s", strerror(-r));
		return r;
	}
	service->engine.resumed = grant->resumed;
	atomic_store(&service->engine.mounted, grant->resumed);
	r = new_fs(service, grant);
	service->engine.fs = service->fs;
	return r;
}

static void *serve(void *arg)
{
	struct service *service = arg;
	const uint64_t one = 1;

	service->error = fs_serve(service->fs);
	atomic_store(&service->served, true);
	ssize_t n = write(service->over_fd, &one, sizeof(one));
	(void)n;
	return NULL;
}

static void on_mounted(void *arg)
{
	engine_set_mounted(arg);
}

static int start(struct service *service)
{
	int r = -pthread_create(&service->serving, NULL, serve, service);

	if (r == 0)
		r = tether_start(service->tether, service->fs, on_mounted, &service->engine);
	if (r == 0)
		r = backstage_start(&service->backstage, &service->engine, service->over_fd);
	if (r < 0)
		log_error("cannot start a thread: %s", strerror(-r));
	else
		log_info("serving %s%s, files go to %s", service->config->data,
			service->engine.resumed ? " again" : "", service->config->target);
	return r;
}

/* Until a signal, the end of the mount, or what makes it pointless to go on. */
static void wait_for_end(struct service *service)
{
	struct pollfd fds[2] = {
		{.fd = service->over_fd, .events = POLLIN}, {.fd = service->signal_fd, .events = POLLIN}};

	while (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno == EINTR)
		;
	if (fds[1].revents)
		log_info("ending: the mount stays, for the next ebbfs-fusefs");
	else if (atomic_load(&service->served))
		log_info("no longer serving %s", service->config->data);
}

/* Requests are answered to the last: what comes behind the journal's end is found by the next one's comparison. */
static int end(struct service *service)
{
	bool ended = backstage_stop(&service->backstage);
	bool failed = atomic_load(&service->backstage.failed);

	if (service->serving) {
		fs_stop(service->fs);
		pthread_join(service->serving, NULL);
	}
	int status = failed || service->error < 0 ? EXIT_FAILED : EXIT_DONE;

	/* A thread that waits for the disk would find freed memory when it comes back. */
	if (fs_is_abandoned(service->fs))
		_exit(status);
	if (!ended) {
		log_warning("the disk under EBBFS_STATE does not answer: what it has to be told is found again");
		_exit(status);
	}
	tether_free(service->tether);
	fs_free(service->fs);
	if (service->engine.config)
		engine_done(&service->engine);
	cleanup_close(&service->backing_fd);
	return status;
}

/* Each file that is open and has no name takes one. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

int service_run(const struct config *config)
{
	struct service service = {.config = config, .backing_fd = -1, .over_fd = -1, .signal_fd = -1};
	struct grant grant = {.connection = -1, .fds = {-1, -1, -1}};

	/* Names and contents of the plant's files are in this memory. */
	prctl(PR_SET_DUMPABLE, 0);
	raise_descriptor_limit();
	notify_init();
	int r = policy_privs_drop();

	if (r < 0) {
		log_error("cannot give up privileges: %s", strerror(-r));
		return EXIT_FAILED;
	}
	if (get_grant(config, &grant) < 0)
		return EXIT_FAILED;
	r = set_up(&service, &grant);
	grant_done(&grant);
	bool foreign = r == -EPROTO;

	if (r == 0)
		r = start(&service);
	if (r == 0)
		wait_for_end(&service);
	int status = end(&service);

	return foreign ? EXIT_FOREIGN_STATE : r < 0 ? EXIT_FAILED : status;
}
