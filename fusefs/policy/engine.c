/* The engine's thread: waits for events, results and times, and does one round of everything. */
#include "fusefs/policy/engine.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "uploader/base/killpoint.h"
#include "uploader/base/log.h"
#include "uploader/base/units.h"

#define JOURNAL_RETRY_MS 1000
#define BACKGROUND_NICE 10
#define BATCH_MAX 256
#define CLOCK_STEP_MS 5000

int engine_init(struct engine *engine, const struct config *config, int backing_fd)
{
	char error[256];
	struct stat st;

	*engine = (struct engine){
		.config = config,
		.backing_fd = backing_fd,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER,
		.journal_lock = PTHREAD_RWLOCK_INITIALIZER,
		.listen_fd = -1,
		.uploader_fd = -1,
		.scan_wanted = true,
	};
	atomic_store(&engine->counters.scanning, true);
	engine->last_event = &engine->first_event;
	engine->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	engine->flights = calloc(ENGINE_FLIGHTS_MAX, sizeof(*engine->flights));
	if (engine->wake_fd < 0 || !engine->flights)
		return -ENOMEM;
	if (fstat(backing_fd, &st) < 0)
		return -errno;
	engine->root_ino = st.st_ino;
	engine->root_dev = st.st_dev;
	if (keys_init(&engine->keys, config->prefix, config->exclude, error, sizeof(error)) < 0) {
		log_error("%s", error);
		return -EINVAL;
	}
	return 0;
}

void engine_set_journal(struct engine *engine, struct journal *journal)
{
	pthread_rwlock_wrlock(&engine->journal_lock);
	engine->journal = journal;
	pthread_rwlock_unlock(&engine->journal_lock);
	if (journal && journal_was_cut_off(journal))
		engine->lost_before_ms = wall_ms();
}

static int find_oldest(struct journal_txn *txn, void *arg)
{
	uint64_t ino;

	return journal_oldest(txn, arg, &ino);
}

void engine_close_journal(struct engine *engine)
{
	struct journal *journal = engine->journal;
	int64_t since_ms = INT64_MAX;

	if (!journal)
		return;
	int r = journal_view(journal, find_oldest, &since_ms);
	bool nothing_waits = r == -ENOENT;

	if (!nothing_waits && (r < 0 || engine->ask_first || since_ms < engine->lost_before_ms))
		journal_leave_cut_off(journal);
	engine_set_journal(engine, NULL);
	journal_close(journal);
}

int engine_view(struct engine *engine, int (*work)(struct journal_txn *txn, void *arg), void *arg)
{
	pthread_rwlock_rdlock(&engine->journal_lock);
	int r = engine->journal ? journal_view(engine->journal, work, arg) : -EAGAIN;

	pthread_rwlock_unlock(&engine->journal_lock);
	return r;
}

void engine_done(struct engine *engine)
{
	struct fs_event *events = engine_take_events(engine);

	while (events) {
		struct fs_event *event = events;

		events = event->next;
		free(event);
	}
	cleanup_close(&engine->uploader_fd);
	cleanup_close(&engine->listen_fd);
	cleanup_close(&engine->wake_fd);
	free(engine->flights);
}

void engine_stop(struct engine *engine)
{
	const uint64_t one = 1;

	pthread_mutex_lock(&engine->lock);
	engine->stopping = true;
	pthread_cond_broadcast(&engine->changed);
	pthread_mutex_unlock(&engine->lock);
	ssize_t n = write(engine->wake_fd, &one, sizeof(one));
	(void)n;
}

bool engine_is_stopping(struct engine *engine)
{
	pthread_mutex_lock(&engine->lock);
	bool stopping = engine->stopping;

	pthread_mutex_unlock(&engine->lock);
	return stopping;
}

/* Events that could not be recorded wait here for the next try, before those that came later. */
static struct fs_event *append(struct fs_event *events, struct fs_event *more)
{
	struct fs_event **end = &events;

	while (*end)
		end = &(*end)->next;
	*end = more;
	return events;
}

/* A commit waits for the disk, and makes what the application does there at the same time wait: seldom is better. The
 * time is taken from the settle time, so nothing comes later for it. */
static int64_t coalesce_ms(const struct engine *engine)
{
	int64_t quarter = engine->config->settle_ms / 4;

	return quarter < ENGINE_COALESCE_MAX_MS ? quarter : ENGINE_COALESCE_MAX_MS;
}

/* A transaction's memory grows with what it changes: not too much at a time. Returns what is left. */
static struct fs_event *cut(struct fs_event *events)
{
	for (size_t i = 1; events && i < BATCH_MAX; i++)
		events = events->next;
	struct fs_event *rest = events ? events->next : NULL;

	if (events)
		events->next = NULL;
	return rest;
}

void background_thread(void)
{
	/* The threads that answer applications go first. Per thread on Linux: setpriority(2). */
	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), BACKGROUND_NICE);
}

static bool has_events(struct engine *engine)
{
	pthread_mutex_lock(&engine->lock);
	bool any = engine->first_event;

	pthread_mutex_unlock(&engine->lock);
	return any;
}

/* Events are recorded a few times a second at most, many at a time: a commit waits for the disk. Returns the ms until
 * there is to be another try, -1: no events are left. */
static int64_t record_events(struct engine *engine, struct fs_event **held, bool at_once)
{
	int64_t wait = engine->last_commit_ms + coalesce_ms(engine) - clock_ms();

	/* Left in the list meanwhile, where more of them wake nobody. */
	if (wait > 0 && !at_once)
		return *held || has_events(engine) ? wait : -1;
	/* While the journal fails, what comes stays in the list, which is bounded. */
	if (!*held)
		*held = engine_take_events(engine);
	if (!*held)
		return -1;
	engine->last_commit_ms = clock_ms();
	int r = 0;

	while (r == 0 && *held) {
		struct fs_event *rest = cut(*held);

		KILL_POINT("engine: events taken, not recorded");
		r = engine_apply(engine, *held);
		KILL_POINT("engine: events recorded");
		*held = r == 0 ? rest : append(*held, rest);
	}
	if (r == 0) {
		engine_events_recorded(engine);
		engine->dispatch_at_ms = 0;
		return -1;
	}
	/* A full or broken disk under the journal. The list is bounded, the tree is compared when it works again. */
	log_error("journal: cannot record changes: %s; trying again", strerror(-r));
	engine->last_commit_ms = clock_ms() + JOURNAL_RETRY_MS;
	return JOURNAL_RETRY_MS;
}

static void handle(struct engine *engine, struct pollfd fds[3])
{
	uint64_t count;

	if (fds[0].revents) {
		ssize_t n = read(engine->wake_fd, &count, sizeof(count));
		(void)n;
	}
	if (fds[1].revents)
		engine_link_accept(engine);
	if (fds[2].revents) {
		engine_link_receive(engine);
		engine->dispatch_at_ms = 0;
	}
}

static int64_t dispatch_if_due(struct engine *engine)
{
	int64_t now = clock_ms();

	if (now >= engine->dispatch_at_ms)
		engine->dispatch_at_ms = now + engine_dispatch(engine);
	return engine->dispatch_at_ms > now ? engine->dispatch_at_ms - now : 0;
}

/* What is due is told by the wall clock, so that it holds over restarts. When that is set, what was due by the old one is
 * looked for. */
static void watch_clock(struct engine *engine)
{
	int64_t offset = wall_ms() - clock_ms(), step = offset - engine->clock_offset_ms;

	if (engine->clock_offset_ms && (step > CLOCK_STEP_MS || step < -CLOCK_STEP_MS)) {
		log_warning("the clock was set by %lld ms", (long long)step);
		engine_want_scan(engine);
		engine->dispatch_at_ms = 0;
	}
	if (!engine->clock_offset_ms || step > CLOCK_STEP_MS || step < -CLOCK_STEP_MS)
		engine->clock_offset_ms = offset;
}

void *engine_thread(void *arg)
{
	struct engine *engine = arg;
	struct fs_event *held = NULL;

	background_thread();
	while (!engine_is_stopping(engine)) {
		watch_clock(engine);
		int64_t until_record = record_events(engine, &held, false);
		int64_t until_due = dispatch_if_due(engine);
		int64_t wait = until_record >= 0 && until_record < until_due ? until_record : until_due;
		struct pollfd fds[3] = {
			{.fd = engine->wake_fd, .events = POLLIN},
			{.fd = engine->listen_fd, .events = POLLIN},
			{.fd = engine->uploader_fd, .events = POLLIN},
		};

		if (poll(fds, ARRAY_SIZE(fds), (int)wait) > 0)
			handle(engine, fds);
	}
	KILL_POINT("engine: ending");
	engine_link_close(engine);
	(void)record_events(engine, &held, true);
	while (held) {
		struct fs_event *event = held;

		held = event->next;
		free(event);
	}
	return NULL;
}
