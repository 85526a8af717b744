/* ebbfs-uploader: moves bytes between descriptors that it is handed and S3. It keeps no state of its own. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>

#include "uploader/base/config.h"
#include "uploader/base/log.h"
#include "uploader/base/notify.h"
#include "uploader/base/units.h"
#include "uploader/worker/link.h"
#include "uploader/worker/privs.h"

#define IDLE_MS 60000

struct worker {
	const struct config *config;
	struct s3_client *client;
	struct pool pool;
	struct link link;
	int signals;         /* signalfd */
	int64_t deadline_ms; /* clock_ms() when draining ends */
	int64_t alive_ms;    /* clock_ms() of the next sign of life */
	bool stop;
};

static void on_signal(struct worker *worker)
{
	struct signalfd_siginfo info;

	if (read(worker->signals, &info, sizeof(info)) != sizeof(info))
		return;
	/* At once: what is left undone is begun anew, and a name that is still being resolved would be waited for. */
	if (worker->link.draining)
		_exit(EXIT_DONE);
	worker->link.draining = true;
	worker->deadline_ms = clock_ms() + worker->config->drain_ms;
	log_info("finishing: jobs=%u", worker->pool.n_tasks);
}

static void drain(struct worker *worker)
{
	int64_t left = worker->deadline_ms - clock_ms();

	if (worker->pool.n_tasks == 0 || worker->link.fd < 0)
		worker->stop = true;
	else if (left <= 0) {
		log_warning("EBBFS_DRAIN is over: jobs=%u left undone", worker->pool.n_tasks);
		worker->stop = true;
	}
}

/* Returns timeout_ms, lowered to the next sign of life. */
static int say_alive(struct worker *worker, int timeout_ms)
{
	int64_t interval_ms = notify_interval_ms(), now = clock_ms();

	if (interval_ms == 0)
		return timeout_ms;
	if (now >= worker->alive_ms) {
		notify_alive();
		worker->alive_ms = now + interval_ms;
	}
	return worker->alive_ms - now < timeout_ms ? (int)(worker->alive_ms - now) : timeout_ms;
}

static void loop(struct worker *worker)
{
	bool more = false;

	while (!worker->stop) {
		int timeout_ms = more ? 0 : IDLE_MS;
		struct pollfd fds[2] = {{.fd = worker->signals, .events = POLLIN}};
		int64_t left = worker->deadline_ms - clock_ms();

		fds[1] = link_poll(&worker->link, &timeout_ms);
		if (worker->link.draining && left < timeout_ms)
			timeout_ms = left > 0 ? (int)left : 0;
		timeout_ms = say_alive(worker, timeout_ms);
		s3_client_wait(worker->client, fds, fds[1].fd >= 0 ? 2 : 1, timeout_ms);
		if (fds[0].revents)
			on_signal(worker);
		link_turn(&worker->link);
		/* In this order, nothing that can go on is left behind when the loop waits: answers may make a task
		 * hash, and requests that tasks begin make s3_client_wait() return at once. */
		s3_client_run(worker->client);
		more = pool_turn(&worker->pool);
		link_flush(&worker->link);
		if (worker->link.draining)
			drain(worker);
	}
}

/* Threads that libcurl starts inherit the mask. */
static int take_signals(void)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

static void help(void)
{
	printf("Usage: ebbfs-uploader [--check] [--NAME VALUE]...\n\n"
	       "Uploads the files that ebbfs-fusefs hands over. Credentials, region, endpoint\n"
	       "and CA bundle come from AWS's own variables.\n\n"
	       "  --check            verify the settings and that there are credentials, then exit\n"
	       "  --check-settings   verify the settings only, then exit\n");
	config_print_help(stdout);
}

/* Complains in one line; the exit status. */
static int complain(int status, const char *text)
{
	log_error("%s", text);
	return status;
}

static int check_credentials(char error[static CREDS_ERROR_MAX])
{
	_cleanup_(creds_provider_freep) struct creds_provider *provider = creds_chain_new();
	const struct creds *creds;

	return provider ? creds_get(provider, &creds, error) : -ENOMEM;
}

enum check {
	CHECK_NOTHING,
	CHECK_SETTINGS, /* all but credentials, which may come later */
	CHECK_ALL,
};

/* Privileges go first: what cannot be read without them is found out here, not at the first job. */
static int run(const struct config *config, enum check check)
{
	char error[CONFIG_ERROR_MAX] = "", why[CREDS_ERROR_MAX] = "", trouble[S3_ERROR_MAX] = "";
	struct worker worker = {.config = config};
	_cleanup_(s3_client_freep) struct s3_client *client = NULL;

	notify_init(); /* its socket could not be reached without privileges */
	if (privs_drop(config, error) < 0)
		return complain(EXIT_FAILED, error);
	struct creds_provider *provider = creds_chain_new();

	if (!provider)
		return complain(EXIT_FAILED, "out of memory");
	int r = s3_client_new(&client, config, provider, trouble);

	if (r < 0)
		return complain(r == -EINVAL ? EXIT_USAGE : EXIT_FAILED, *trouble ? trouble : strerror(-r));
	if (check == CHECK_SETTINGS)
		return EXIT_DONE;
	r = check_credentials(why);
	if (check == CHECK_ALL)
		return r < 0 ? complain(EXIT_USAGE, why) : EXIT_DONE;
	if (r < 0)
		log_warning("%s; jobs will be parked", why);
	_cleanup_close_ int signals = take_signals();

	if (signals < 0 || pool_init(&worker.pool, client, config) < 0)
		return complain(EXIT_FAILED, "cannot begin");
	worker.client = client;
	worker.signals = signals;
	link_init(&worker.link, config->run, &worker.pool);
	log_info("ready: endpoint=%s bucket=%s connections=%u", s3_client_endpoint(client), config->bucket,
		config->connections);
	notify_ready();
	loop(&worker);
	pool_done(&worker.pool);
	link_done(&worker.link);
	return EXIT_DONE;
}

int main(int argc, char **argv)
{
	char error[CONFIG_ERROR_MAX];
	struct config config;
	int r = config_load(&config, &argc, argv, error);

	log_init("ebbfs-uploader", LOG_LEVEL_INFO, false);
	if (r > 0) {
		help();
		return EXIT_DONE;
	}
	if (r < 0 || config_require_target(&config, error) < 0)
		return complain(EXIT_USAGE, error);
	log_init("ebbfs-uploader", config.log_level, config.log_json);
	enum check check = CHECK_NOTHING;

	if (argc == 2 && !strcmp(argv[1], "--check"))
		check = CHECK_ALL;
	else if (argc == 2 && !strcmp(argv[1], "--check-settings"))
		check = CHECK_SETTINGS;
	if (argc > 1 && check == CHECK_NOTHING) {
		log_error("%s: no such option (--help lists them)", argv[1]);
		return EXIT_USAGE;
	}
	return run(&config, check);
}
