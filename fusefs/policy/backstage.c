#include "fusefs/policy/backstage.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "uploader/base/log.h"
#include "uploader/base/units.h"

#define THREAD_STACK_BYTES (512U << 10)
#define BUSY_PATIENCE_MS 5000 /* the journal's last owner may be dying */
#define RETRY_MIN_MS 50
#define RETRY_MAX_MS 10000
#define STOP_S 5

static int start_thread(pthread_t *thread, void *(*run)(void *arg), void *arg, const char *name)
{
	pthread_attr_t attr;

	if (*thread)
		return 0;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, THREAD_STACK_BYTES);
	int r = -pthread_create(thread, &attr, run, arg);

	pthread_attr_destroy(&attr);
	if (r < 0)
		*thread = 0;
	else
		pthread_setname_np(*thread, name);
	return r;
}

/* 0, or -errno with where in *ret_what. What is open already stays so. */
static int open_sockets(struct backstage *backstage, const char **ret_what)
{
	struct engine *engine = backstage->engine;
	int r = 0;

	*ret_what = engine->config->run;
	if (backstage->status.listen_fd < 0)
		r = status_open(&backstage->status, engine);
	if (r == 0)
		r = start_thread(&backstage->status_thread, status_thread, &backstage->status, "status");
	if (r == 0 && engine->listen_fd < 0)
		r = engine_link_open(engine);
	return r;
}

static int open_journal(struct backstage *backstage)
{
	struct engine *engine = backstage->engine;
	struct journal *journal = NULL;
	bool fresh = false;
	int r = journal_open(engine->config->state, &journal, &fresh);

	if (r < 0)
		return r;
	if (fresh)
		log_info("the journal is new: files that are in the bucket already are looked for there");
	engine_set_journal(engine, journal);
	return 0;
}

static int open_all(struct backstage *backstage, const char **ret_what)
{
	struct engine *engine = backstage->engine;
	int r = open_sockets(backstage, ret_what);

	if (r == 0 && !engine->journal) {
		*ret_what = engine->config->state;
		r = open_journal(backstage);
	}
	if (r == 0)
		r = start_thread(&backstage->engine_thread, engine_thread, engine, "engine");
	if (r == 0)
		r = start_thread(&backstage->scan_thread, scan_thread, engine, "scan");
	return r;
}

static const char *advice(int error)
{
	switch (error) {
	case -EBUSY:
		return ": another ebbfs owns it";
	case -EPROTO:
		return ": written by a newer version; run that one";
	default:
		return "";
	}
}

/* Once for each reason. */
static void complain(struct backstage *backstage, int error, const char *what)
{
	struct engine *engine = backstage->engine;
	bool journal = what == engine->config->state;
	char text[JOB_TEXT_MAX];

	snprintf(text, sizeof(text), "%s in %s: %s%s", journal ? "journal" : "sockets", what, strerror(-error),
		journal ? advice(error) : "");
	engine_set_error(engine, text);
	if (error == backstage->error)
		return;
	backstage->error = error;
	log_error("%s%s", text,
		engine->resumed ? "; files are served, and nothing is uploaded until it can be opened" : "");
}

static bool may_pass(int error)
{
	return error == -EBUSY || error == -EINTR || error == -EAGAIN;
}

static void *open_thread(void *arg)
{
	struct backstage *backstage = arg;
	struct engine *engine = backstage->engine;
	int64_t delay_ms = RETRY_MIN_MS, until_ms = clock_ms() + BUSY_PATIENCE_MS;
	const uint64_t one = 1;

	background_thread();
	for (;;) {
		const char *what = NULL;
		int r = open_all(backstage, &what);

		if (r == 0) {
			engine_set_error(engine, "");
			return NULL;
		}
		bool patient = may_pass(r) && clock_ms() < until_ms;

		if (!patient)
			complain(backstage, r, what);
		if (!patient && !engine->resumed) {
			atomic_store(&backstage->failed, true);
			ssize_t n = write(backstage->failed_fd, &one, sizeof(one));
			(void)n;
			return NULL;
		}
		if (engine_wait_for_end(engine, delay_ms))
			return NULL;
		delay_ms = delay_ms * 2 < RETRY_MAX_MS ? delay_ms * 2 : RETRY_MAX_MS;
		if (patient)
			delay_ms = RETRY_MIN_MS;
	}
}

int backstage_start(struct backstage *backstage, struct engine *engine, int failed_fd)
{
	*backstage = (struct backstage){
		.engine = engine, .status = {.listen_fd = -1, .wake_fd = -1}, .failed_fd = failed_fd};
	return start_thread(&backstage->opener, open_thread, backstage, "opener");
}

static bool join(pthread_t thread, const struct timespec *deadline)
{
	return !thread || pthread_timedjoin_np(thread, NULL, deadline) == 0;
}

bool backstage_stop(struct backstage *backstage)
{
	struct engine *engine = backstage->engine;
	struct timespec deadline;

	if (!engine)
		return true;
	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += STOP_S;
	engine_stop(engine);
	/* It starts the others: first. */
	if (!join(backstage->opener, &deadline))
		return false;
	status_stop(&backstage->status);
	if (!join(backstage->scan_thread, &deadline) || !join(backstage->engine_thread, &deadline))
		return false;
	engine_close_journal(engine);
	if (!join(backstage->status_thread, &deadline))
		return false;
	status_done(&backstage->status);
	return true;
}
