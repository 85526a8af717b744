/* The thread's states: UP (the anchor knows us), RETURNING (it was handed everything, and has not answered), DOWN (there
 * is none; tried again every few milliseconds, for ever). A pin is said by the thread that made it, in that moment: in
 * the socket's queue it outlives us. When the queue is full, because the anchor is stopped or busy, the node is noted
 * in `unsent`, and the thread says what is true of it later. */
#include "fusefs/policy/tether.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "fusefs/policy/unsent.h"
#include "uploader/base/killpoint.h"
#include "uploader/base/log.h"
#include "uploader/base/notify.h"
#include "uploader/base/sock.h"
#include "uploader/base/units.h"

#define RETRY_MIN_MS 20
#define RETRY_MAX_MS 100
#define REFUSED_MS 1000 /* until the next try with an anchor that does not want us */
#define ANSWER_MS 5000
#define SERVING_POLL_MS 1
#define UNSENT_RETRY_MS 20 /* memory is short, or the descriptors in flight are too many */
#define STACK_BYTES (256U << 10)

enum state {
	STATE_DOWN,
	STATE_RETURNING,
	STATE_UP,
};

struct tether {
	const char *run;
	struct fs *fs;
	void (*on_mounted)(void *arg);
	void *on_mounted_arg;
	int fds[HANDOVER_FDS];
	pthread_t thread;
	int wake_fd;

	pthread_mutex_t lock;
	int connection; /* -1: down; changed by the thread only */
	struct unsent unsent;
	bool resync; /* what the anchor knows is not known: it is told everything */
	bool stop;

	/* The thread's. */
	enum state state;
	int64_t until_ms; /* DOWN: next try; RETURNING: patience. clock_ms() */
	int64_t retry_ms;
	int64_t checked_ms; /* when it was last seen whether requests get on */
	bool serving, told_serving;
	bool mounted; /* the mount can be seen */
	bool refused; /* that was logged */
	bool full;    /* the socket took no more */
};

static void wake(struct tether *tether)
{
	const uint64_t one = 1;
	ssize_t n = write(tether->wake_fd, &one, sizeof(one));

	(void)n; /* full: it is awake */
}

static int say(const struct tether *tether, enum handover_type type, uint64_t node_id, int fd)
{
	return handover_say(tether->connection, type, 0, node_id, &fd, fd >= 0);
}

static bool is_lost(int error)
{
	return error == -EPIPE || error == -ECONNRESET || error == -ENOTCONN;
}

void tether_on_pin(uint64_t node_id, int fd, void *arg)
{
	struct tether *tether = arg;
	bool pinned = fd >= 0, first = false;
	int r = 0;

	KILL_POINT("link: pin changed, not said");
	pthread_mutex_lock(&tether->lock);
	if (tether->connection >= 0) {
		if (unsent_find(&tether->unsent, node_id))
			r = -EAGAIN;
		else
			r = say(tether, pinned ? HANDOVER_PIN : HANDOVER_UNPIN, node_id, fd);
		first = r < 0 && tether->unsent.n == 0;
		/* A lost connection is the thread's to find: the next anchor is told everything. */
		if (r < 0 && !is_lost(r) && unsent_put(&tether->unsent, node_id, pinned, !pinned) < 0)
			tether->resync = true;
	}
	pthread_mutex_unlock(&tether->lock);
	if (first)
		wake(tether);
	KILL_POINT("link: pin said");
}

/* --- what could not be said at once --- */

/* Under the filesystem's lock. */
static void note_pin(uint64_t node_id, int fd, void *arg)
{
	struct tether *tether = arg;

	(void)fd;
	pthread_mutex_lock(&tether->lock);
	if (unsent_put(&tether->unsent, node_id, true, false) < 0)
		tether->resync = true;
	pthread_mutex_unlock(&tether->lock);
}

/* Under the filesystem's lock: what is noted as pinned is. */
static void say_pin(uint64_t node_id, int fd, void *arg)
{
	struct tether *tether = arg;

	if (tether->full)
		return;
	pthread_mutex_lock(&tether->lock);
	const struct unsent_pin *pin = unsent_find(&tether->unsent, node_id);

	if (pin && pin->pinned) {
		KILL_POINT("link: a pin to be said again");
		int r = say(tether, HANDOVER_PIN, node_id, fd);

		tether->full = r < 0;
		if (r == 0)
			unsent_remove(&tether->unsent, node_id);
	}
	pthread_mutex_unlock(&tether->lock);
}

static bool say_unpin(struct unsent_pin *pin, void *arg)
{
	struct tether *tether = arg;

	if (pin->pinned) {
		/* Nobody has it, and it is not one that came since the pass. */
		if (!tether->full && pin->round != tether->unsent.round)
			unsent_remove(&tether->unsent, pin->node_id);
		return true;
	}
	tether->full = tether->full || say(tether, HANDOVER_UNPIN, pin->node_id, -1) < 0;
	if (!tether->full)
		unsent_remove(&tether->unsent, pin->node_id);
	return !tether->full;
}

/* False if there was nothing to be told anew. */
static bool begin_resync(struct tether *tether)
{
	pthread_mutex_lock(&tether->lock);
	bool due = tether->resync;

	/* From here on, changes are said or noted by those who make them; what there was before is noted next. */
	tether->full = due && say(tether, HANDOVER_UNPIN, 0, -1) < 0;
	if (due && !tether->full) {
		unsent_clear(&tether->unsent);
		tether->resync = false;
	}
	pthread_mutex_unlock(&tether->lock);
	return due && !tether->full;
}

static void flush(struct tether *tether)
{
	if (begin_resync(tether))
		fs_each_pin(tether->fs, note_pin, tether);
	pthread_mutex_lock(&tether->lock);
	bool any = tether->unsent.n;

	tether->unsent.round++;
	pthread_mutex_unlock(&tether->lock);
	if (!any || tether->full)
		return;
	fs_each_pin(tether->fs, say_pin, tether);
	pthread_mutex_lock(&tether->lock);
	unsent_each(&tether->unsent, say_unpin, tether);
	pthread_mutex_unlock(&tether->lock);
}

/* --- the connection --- */

static void set_connection(struct tether *tether, int fd)
{
	pthread_mutex_lock(&tether->lock);
	int old = tether->connection;

	tether->connection = fd;
	unsent_clear(&tether->unsent);
	tether->resync = false;
	pthread_mutex_unlock(&tether->lock);
	cleanup_close(&old);
}

static void go_down(struct tether *tether, int64_t delay_ms)
{
	set_connection(tether, -1);
	tether->state = STATE_DOWN;
	tether->told_serving = false;
	tether->retry_ms = delay_ms;
	tether->until_ms = clock_ms() + delay_ms;
}

/* An anchor that listens is handed everything. The pins follow at once: once they are in its queue, we may die. */
static void try_return(struct tether *tether)
{
	int64_t again_ms = tether->retry_ms * 2 < RETRY_MAX_MS ? tether->retry_ms * 2 : RETRY_MAX_MS;
	_cleanup_close_ int connection = sock_try_connect(tether->run, HANDOVER_SOCKET);

	if (connection >= 0) {
		KILL_POINT("link: connected, nothing returned");
		if (handover_say(connection, HANDOVER_RETURN, 0, 0, tether->fds, HANDOVER_FDS) == 0) {
			KILL_POINT("link: returned, without the pins");
			set_connection(tether, TAKE_FD(connection));
			tether->state = STATE_RETURNING;
			tether->until_ms = clock_ms() + ANSWER_MS;
			fs_each_pin(tether->fs, note_pin, tether);
			flush(tether);
			KILL_POINT("link: returned");
			return;
		}
	}
	tether->retry_ms = again_ms;
	tether->until_ms = clock_ms() + again_ms;
}

static void on_taken(struct tether *tether, int error)
{
	if (error == 0) {
		tether->state = STATE_UP;
		tether->refused = false;
		log_info("a new anchor took the mount from us");
		KILL_POINT("link: taken");
		return;
	}
	if (!tether->refused)
		log_error("the new anchor does not take the mount: %s; serving goes on without it", strerror(error));
	tether->refused = true;
	go_down(tether, REFUSED_MS);
}

/* With an error the anchor drops us and ends the connection, and serving ends with that. */
static void hear_mounted(struct tether *tether, int error)
{
	if (error) {
		log_error("the anchor does not let the mount appear: %s", strerror(error));
		return;
	}
	if (tether->mounted)
		return;
	KILL_POINT("link: mounted");
	tether->mounted = true;
	tether->on_mounted(tether->on_mounted_arg);
	notify_ready();
}

static void hear(struct tether *tether)
{
	struct handover_message message;
	size_t n_fds = 0;
	int none = -1, r = 1;

	while (tether->state != STATE_DOWN && r > 0) {
		r = handover_hear(tether->connection, &message, &none, 0, &n_fds);
		if (r > 0 && message.type == HANDOVER_TAKEN && tether->state == STATE_RETURNING)
			on_taken(tether, message.error);
		if (r > 0 && message.type == HANDOVER_MOUNTED && tether->state == STATE_UP)
			hear_mounted(tether, message.error);
	}
	if (r == -EAGAIN || tether->state == STATE_DOWN)
		return;
	if (tether->state == STATE_UP)
		log_warning("the anchor is gone; serving goes on, and everything is kept for the next");
	go_down(tether, r == 0 ? RETRY_MIN_MS : REFUSED_MS);
}

/* --- signs of life --- */

static int64_t alive_interval_ms(void)
{
	int64_t interval = notify_interval_ms();

	return interval && interval < HANDOVER_ALIVE_MS ? interval : HANDOVER_ALIVE_MS;
}

static void be_alive(struct tether *tether)
{
	int64_t now = clock_ms();

	if (now - tether->checked_ms < alive_interval_ms())
		return;
	tether->checked_ms = now;
	if (!fs_is_alive(tether->fs))
		return;
	notify_alive();
	if (tether->told_serving)
		(void)say(tether, HANDOVER_ALIVE, 0, -1); /* if it is full, there are some in it */
}

static void be_serving(struct tether *tether)
{
	struct fs_stats stats;

	if (!tether->serving) {
		fs_get_stats(tether->fs, &stats);
		if (!stats.serving)
			return;
		tether->serving = true;
		if (tether->mounted)
			notify_ready();
	}
	if (tether->state == STATE_UP && !tether->told_serving) {
		KILL_POINT("link: serving, not said");
		tether->told_serving = say(tether, HANDOVER_SERVING, 0, -1) == 0;
		KILL_POINT("link: serving said");
	}
}

static int next_timeout(const struct tether *tether, bool unsent)
{
	int64_t now = clock_ms(), until = tether->checked_ms + alive_interval_ms();

	if (!tether->serving)
		return SERVING_POLL_MS;
	if (tether->state != STATE_UP && tether->until_ms < until)
		until = tether->until_ms;
	if (unsent && now + UNSENT_RETRY_MS < until)
		until = now + UNSENT_RETRY_MS;
	return until > now ? (int)(until - now) : 0;
}

static void turn(struct tether *tether)
{
	bool late = clock_ms() >= tether->until_ms;

	if (tether->state == STATE_DOWN && late)
		try_return(tether);
	else if (tether->state == STATE_RETURNING && late)
		go_down(tether, RETRY_MIN_MS);
	be_serving(tether);
	be_alive(tether);
	if (tether->state != STATE_DOWN)
		flush(tether);
}

static bool is_stopping(struct tether *tether, bool *ret_unsent)
{
	pthread_mutex_lock(&tether->lock);
	bool stop = tether->stop;

	*ret_unsent = tether->state != STATE_DOWN && (tether->unsent.n || tether->resync);
	pthread_mutex_unlock(&tether->lock);
	return stop;
}

static void *tether_thread(void *arg)
{
	struct tether *tether = arg;
	bool unsent = false;

	while (!is_stopping(tether, &unsent)) {
		uint64_t count;

		turn(tether);
		(void)is_stopping(tether, &unsent);
		struct pollfd fds[2] = {
			{.fd = tether->wake_fd, .events = POLLIN}, {.fd = tether->connection, .events = POLLIN}};
		int timeout_ms = next_timeout(tether, unsent);

		if (poll(fds, ARRAY_SIZE(fds), timeout_ms) <= 0)
			continue;
		if (fds[0].revents) {
			ssize_t n = read(tether->wake_fd, &count, sizeof(count));
			(void)n;
		}
		if (fds[1].revents)
			hear(tether);
	}
	return NULL;
}

int tether_new(struct tether **ret, const char *run, struct grant *grant)
{
	struct tether *tether = calloc(1, sizeof(*tether));
	int r = 0;

	if (!tether)
		return -ENOMEM;
	*tether = (struct tether){.run = run,
		.fds = {-1, -1, -1},
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.connection = TAKE_FD(grant->connection),
		.mounted = grant->resumed,
		.retry_ms = RETRY_MIN_MS};
	tether->state = tether->connection >= 0 ? STATE_UP : STATE_DOWN;
	for (size_t i = 0; i < HANDOVER_FDS; i++) {
		tether->fds[i] = fcntl(grant->fds[i], F_DUPFD_CLOEXEC, 3);
		if (tether->fds[i] < 0)
			r = -errno;
	}
	if (tether->wake_fd < 0 || r < 0) {
		tether_free(tether);
		return r < 0 ? r : -EMFILE;
	}
	*ret = tether;
	return 0;
}

int tether_start(struct tether *tether, struct fs *fs, void (*on_mounted)(void *arg), void *on_mounted_arg)
{
	pthread_attr_t attr;

	tether->fs = fs;
	tether->on_mounted = on_mounted;
	tether->on_mounted_arg = on_mounted_arg;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	int r = -pthread_create(&tether->thread, &attr, tether_thread, tether);

	pthread_attr_destroy(&attr);
	if (r == 0)
		pthread_setname_np(tether->thread, "tether");
	return r;
}

void tether_free(struct tether *tether)
{
	if (!tether)
		return;
	pthread_mutex_lock(&tether->lock);
	tether->stop = true;
	pthread_mutex_unlock(&tether->lock);
	wake(tether);
	if (tether->thread)
		pthread_join(tether->thread, NULL);
	unsent_clear(&tether->unsent);
	for (size_t i = 0; i < HANDOVER_FDS; i++)
		cleanup_close(&tether->fds[i]);
	cleanup_close(&tether->wake_fd);
	free(tether);
}
