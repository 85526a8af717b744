#include "fusefs/policy/service.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fusefs/anchor/handover.h"
#include "fusefs/policy/engine.h"
#include "fusefs/policy/privs.h"
#include "uploader/base/log.h"
#include "uploader/base/sock.h"

#define SERVING_THREADS 32 /* one leads, the others are for calls that wait for the disk */
#define ATTACH_TIMEOUT_MS 10000
#define THREAD_STACK_BYTES (512U << 10)

/* Connects and asks for the mount. The connection, which is to be kept, or -errno. */
static int attach(const struct config *config, int fds[static HANDOVER_FDS])
{
	struct handover_message message = {
		.magic = HANDOVER_MAGIC, .version = HANDOVER_VERSION, .type = HANDOVER_ATTACH};
	_cleanup_close_ int anchor = sock_connect(config->run, HANDOVER_SOCKET);
	struct pollfd answer = {.fd = anchor, .events = POLLIN};
	size_t n_fds = 0;

	if (anchor < 0)
		return anchor;
	int r = sock_send(anchor, &message, sizeof(message), NULL, 0);

	if (r < 0)
		return r;
	if (poll(&answer, 1, ATTACH_TIMEOUT_MS) <= 0)
		return -ETIMEDOUT;
	ssize_t n = sock_receive(anchor, &message, sizeof(message), fds, HANDOVER_FDS, &n_fds);

	if (n < 0)
		return (int)n;
	if (n != sizeof(message) || message.magic != HANDOVER_MAGIC || message.version != HANDOVER_VERSION ||
		message.type != HANDOVER_GRANT)
		return -EPROTO;
	if (message.error)
		return -message.error;
	return n_fds == HANDOVER_FDS ? TAKE_FD(anchor) : -EPROTO;
}

struct service {
	const struct config *config;
	struct fs *fs;
	struct journal *journal;
	struct engine engine;
	struct status_server status;
	int anchor, backing_fd;
	pthread_t engine_thread, scan_thread, status_thread;
};

static int start_thread(pthread_t *thread, void *(*run)(void *arg), void *arg, const char *name)
{
	pthread_attr_t attr;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, THREAD_STACK_BYTES);
	int r = -pthread_create(thread, &attr, run, arg);

	pthread_attr_destroy(&attr);
	if (r == 0)
		pthread_setname_np(*thread, name);
	return r;
}

/* The filesystem's threads may have events before the engine is there: they wait in its list, which is first. */
static int set_up(struct service *service, int fds[static HANDOVER_FDS])
{
	const struct config *config = service->config;
	bool fresh = false;
	struct fs_options options = {
		.backing_fd = fds[HANDOVER_FD_BACKING],
		.fuse_fd = fds[HANDOVER_FD_FUSE],
		.state_fd = fds[HANDOVER_FD_STATE],
		.mountpoint = config->data,
		.passthrough = config->passthrough,
		.threads = SERVING_THREADS,
		.on_event = engine_on_event,
		.event_arg = &service->engine,
	};

	service->backing_fd = fcntl(fds[HANDOVER_FD_BACKING], F_DUPFD_CLOEXEC, 3);
	int r = fs_new(&options, &service->fs);

	if (r < 0) {
		log_error("cannot serve %s: %s", config->data, strerror(-r));
		return r;
	}
	r = journal_open(config->state, &service->journal, &fresh);
	if (r < 0) {
		log_error("journal in %s: %s%s", config->state, strerror(-r),
			r == -EBUSY    ? ": another ebbfs owns it"
			: r == -EPROTO ? ": written by a newer version; run that one"
				       : "");
		return r;
	}
	if (fresh)
		log_info("the journal is new: files that are in the bucket already are looked for there");
	r = engine_init(&service->engine, config, service->fs, service->journal, service->backing_fd);
	if (r == 0)
		r = status_open(&service->status, &service->engine);
	if (r < 0)
		log_error("sockets in %s: %s", config->run, strerror(-r));
	return r;
}

static int start_threads(struct service *service)
{
	int r = start_thread(&service->engine_thread, engine_thread, &service->engine, "engine");

	if (r == 0)
		r = start_thread(&service->scan_thread, scan_thread, &service->engine, "scan");
	if (r == 0)
		r = start_thread(&service->status_thread, status_thread, &service->status, "status");
	return r;
}

static void join(pthread_t thread)
{
	if (thread)
		pthread_join(thread, NULL);
}

static void tear_down(struct service *service)
{
	if (service->engine.wake_fd > 0)
		engine_stop(&service->engine);
	join(service->scan_thread);
	join(service->status_thread);
	join(service->engine_thread);
	fs_free(service->fs);
	engine_done(&service->engine);
	journal_close(service->journal);
	cleanup_close(&service->status.listen_fd);
	cleanup_close(&service->backing_fd);
	cleanup_close(&service->anchor);
}

static void say_serving(const struct service *service)
{
	struct handover_message message = {
		.magic = HANDOVER_MAGIC, .version = HANDOVER_VERSION, .type = HANDOVER_SERVING};

	if (sock_send(service->anchor, &message, sizeof(message), NULL, 0) < 0)
		log_warning("the anchor is gone");
}

int service_run(const struct config *config, void (*started)(struct fs *fs))
{
	struct service service = {.config = config,
		.anchor = -1,
		.backing_fd = -1,
		.status = {.listen_fd = -1},
		.engine = {.uploader_fd = -1, .listen_fd = -1, .wake_fd = -1}};
	int fds[HANDOVER_FDS] = {-1, -1, -1};

	/* Names and contents of the plant's files are in this memory. */
	prctl(PR_SET_DUMPABLE, 0);
	int r = policy_privs_drop();

	if (r < 0) {
		log_error("cannot give up privileges: %s", strerror(-r));
		return EXIT_FAILED;
	}
	service.engine.last_event = &service.engine.first_event;
	service.anchor = attach(config, fds);
	if (service.anchor < 0) {
		log_error("anchor at %s/%s: %s%s", config->run, HANDOVER_SOCKET, strerror(-service.anchor),
			service.anchor == -ENOENT || service.anchor == -ECONNREFUSED ? ": start ebbfs-anchor first"
										     : "");
		return EXIT_FAILED;
	}
	r = set_up(&service, fds);
	if (r == 0) {
		started(service.fs);
		r = start_threads(&service);
	}
	if (r == 0) {
		log_info("serving %s, files go to %s", config->data, config->target);
		say_serving(&service);
		r = fs_serve(service.fs);
		log_info("no longer serving %s", config->data);
	}
	tear_down(&service);
	return r < 0 ? EXIT_FAILED : EXIT_DONE;
}
