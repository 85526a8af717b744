/* The threads that serve. One of them, the leader, takes requests from the kernel and answers them itself; the others
 * sleep. When the leader is held up by one request for LEADER_PATIENCE_NS, the watch (the thread in fs_serve()) puts
 * another in its place; for calls that are known to wait for the disk it steps back by itself before it begins.
 *
 * Why not one blocked reader per thread: most requests take a few microseconds, less than it takes to wake a thread, and
 * the thread woken would run where the application is to go on. While requests come thick and fast, the leader asks for
 * the next one for a moment before it sleeps, which saves the wake-up that is most of a round trip.
 *
 * Nobody waits for a RELEASE. It is put aside while requests keep coming, and done in the time that the kernel takes to
 * wake the application with the answer to the next one; before anything that could come to depend on it (FORGET), and
 * before the leader sleeps or may be held up for long.
 *
 * Who is leader is decided by server.busy_since alone: the leader's compare-and-swap back to 0 fails when the watch's
 * came first, and it is leader no more. */
#include <errno.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fusefs/fs/caller.h"
#include "fusefs/fs/internal.h"
#include "uploader/base/killpoint.h"
#include "uploader/base/log.h"
#include "uploader/base/units.h"

#define THREAD_STACK_BYTES (256U << 10)
#define STOP_POLL_MS 20
#define STOP_NS (2 * NSEC_PER_SEC)
#define WAKE_SIGNAL SIGUSR2
#define LEADER_PATIENCE_NS 1000000
#define WATCH_MS 1
#define SPIN_NS 50000    /* asks this long for the next request before it sleeps */
#define ASIDE_NS 5000000 /* a RELEASE waits no longer than this for a quiet moment */
#define RELEASES_MAX 32
#define RELEASE_BYTES 64      /* header and struct fuse_release_in */
#define SPIN_IF_GAP_NS 200000 /* if the last one came that soon after the one before */

static __thread struct worker *self;

static void on_wake(int signal)
{
	(void)signal; /* only there to interrupt a read */
}

static void wake_watch(struct fs *fs)
{
	const uint64_t one = 1;
	/* Fails only when it was said 2^64 times already. */
	ssize_t n = write(fs->wake_fd, &one, sizeof(one));

	(void)n;
}

void fs_stop(struct fs *fs)
{
	atomic_store(&fs->stopping, true);
	wake_watch(fs);
}

static bool is_over(struct fs *fs)
{
	return atomic_load_explicit(&fs->stopping, memory_order_relaxed) || fuse_session_exited(fs->session);
}

static void begin_init(struct fs *fs, const struct fuse_buf *buf)
{
	if (table_save_init(&fs->table, buf->mem, buf->size) < 0)
		log_warning("FUSE_INIT of %zu bytes is longer than what can be kept", buf->size);
	KILL_POINT("init: saved");
}

static void end_init(struct fs *fs)
{
	KILL_POINT("init: answered");
	table_connection(&fs->table)->is_init_answered = 1;
	atomic_store(&fs->serving, true);
}

/* For a request that inflight_begin() was told of. */
static void process(struct fs *fs, struct fuse_buf *buf)
{
	fuse_session_process_buf(fs->session, buf);
	inflight_end(fs);
}

/* Nothing is answered to these, and they do not wait their turn behind resent ones. */
static bool is_out_of_turn(uint32_t opcode)
{
	return opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET || opcode == FUSE_INTERRUPT;
}

static void serve_one(struct fs *fs, struct fuse_buf *buf, uint32_t opcode)
{
	if (opcode == FUSE_INIT)
		begin_init(fs, buf);
	process(fs, buf);
	if (opcode == FUSE_INIT)
		end_init(fs);
}

static void vacate(struct fs *fs)
{
	pthread_mutex_lock(&fs->server.lock);
	fs->server.is_led = false;
	pthread_cond_signal(&fs->server.vacant);
	pthread_mutex_unlock(&fs->server.lock);
}

static bool waits_for_disk(uint32_t opcode)
{
	return opcode == FUSE_FSYNC || opcode == FUSE_FSYNCDIR || opcode == FUSE_FALLOCATE ||
	       opcode == FUSE_COPY_FILE_RANGE;
}

/* RELEASE requests that were put aside. */
struct aside {
	size_t n;
	int64_t since_ns; /* of the first */
	char requests[RELEASES_MAX][RELEASE_BYTES];
};

_Static_assert(sizeof(struct fuse_in_header) + sizeof(struct fuse_release_in) == RELEASE_BYTES, "of the protocol");

static bool put_aside(struct aside *aside, const struct fuse_buf *buf, uint32_t opcode)
{
	if (opcode != FUSE_RELEASE || buf->size != RELEASE_BYTES || aside->n == RELEASES_MAX)
		return false;
	if (aside->n == 0)
		aside->since_ns = clock_ns();
	memcpy(aside->requests[aside->n++], buf->mem, RELEASE_BYTES);
	return true;
}

static void do_aside(struct fs *fs, struct aside *aside)
{
	for (size_t i = 0; i < aside->n; i++) {
		struct fuse_buf buf = {.size = RELEASE_BYTES, .mem = aside->requests[i]};
		const struct fuse_in_header *in = buf.mem;

		inflight_begin(fs, in->unique, in->opcode);
		process(fs, &buf);
	}
	aside->n = 0;
}

/* The same under the watch. False: it took so long that another leads now. */
static bool do_aside_watched(struct fs *fs, struct aside *aside)
{
	int64_t mine = clock_ns();

	atomic_store_explicit(&self->busy_since, mine, memory_order_relaxed);
	atomic_store(&fs->server.busy_since, mine);
	if (atomic_exchange(&fs->server.watch_sleeps, false))
		wake_watch(fs);
	do_aside(fs, aside);
	atomic_store_explicit(&self->busy_since, 0, memory_order_relaxed);
	return atomic_compare_exchange_strong(&fs->server.busy_since, &mine, 0);
}

static bool comes_after_releases(uint32_t opcode)
{
	return opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET || opcode == FUSE_DESTROY ||
	       waits_for_disk(opcode);
}

static bool has_request(struct fs *fs)
{
	struct pollfd requests = {.fd = fuse_session_fd(fs->session), .events = POLLIN};

	return poll(&requests, 1, 0) != 0;
}

/* Asks for a moment whether there is a request. */
static void spin(struct fs *fs, int64_t last_ns)
{
	while (clock_ns() - last_ns < SPIN_NS && !has_request(fs))
		;
}

/* Serves for as long as it is the leader. False when there is nothing to serve any more. */
static bool lead_with(struct fs *fs, struct fuse_buf *buf, struct aside *aside)
{
	struct server *server = &fs->server;
	int64_t last_ns = 0, gap_ns = INT64_MAX;

	while (!is_over(fs)) {
		if (aside->n && (!has_request(fs) || clock_ns() - aside->since_ns > ASIDE_NS) &&
			!do_aside_watched(fs, aside))
			return true;
		if (gap_ns < SPIN_IF_GAP_NS && server->may_spin)
			spin(fs, last_ns);
		int n = fs_receive(fs, buf);

		if (n == -EINTR || n == -EAGAIN)
			continue;
		if (n <= 0)
			return false;
		const struct fuse_in_header *in = buf->mem;
		uint32_t opcode = in->opcode;
		int64_t since = clock_ns(), mine = since;

		KILL_POINT("serve: read");
		atomic_fetch_add_explicit(&server->taken, 1, memory_order_relaxed);
		if (!(in->unique & FUSE_UNIQUE_RESEND) && !is_out_of_turn(opcode))
			inflight_drop_unclaimed(fs);
		gap_ns = since - last_ns;
		if (put_aside(aside, buf, opcode)) {
			last_ns = since;
			continue;
		}
		bool leads = !comes_after_releases(opcode) || aside->n == 0 || do_aside_watched(fs, aside);
		/* While nobody else reads requests: the next leader's first that is not resent drops what is unclaimed. */
		inflight_begin(fs, in->unique, opcode);
		atomic_store_explicit(&self->busy_since, since, memory_order_relaxed);
		if (!leads || waits_for_disk(opcode)) {
			if (leads)
				vacate(fs);
			serve_one(fs, buf, opcode);
			atomic_store_explicit(&self->busy_since, 0, memory_order_relaxed);
			return true;
		}
		atomic_store(&server->busy_since, since);
		if (atomic_exchange(&server->watch_sleeps, false))
			wake_watch(fs);
		serve_one(fs, buf, opcode);
		atomic_store_explicit(&self->busy_since, 0, memory_order_relaxed);
		if (!atomic_compare_exchange_strong(&server->busy_since, &mine, 0))
			return true;
		last_ns = clock_ns();
	}
	return false;
}

static bool lead(struct fs *fs, struct fuse_buf *buf)
{
	struct aside aside = {0};
	bool going = lead_with(fs, buf, &aside);

	do_aside(fs, &aside);
	return going;
}

static void *serve(void *arg)
{
	self = arg;
	struct fs *fs = self->fs;
	struct server *server = &fs->server;
	struct fuse_buf buf = {0};
	bool going = true;

	atomic_store(&self->tid, gettid());
	caller_prepare_thread();
	while (going && !is_over(fs)) {
		pthread_mutex_lock(&server->lock);
		while (server->is_led && !is_over(fs))
			pthread_cond_wait(&server->vacant, &server->lock);
		server->is_led = true;
		pthread_mutex_unlock(&server->lock);
		going = (buf.mem || fs_receive_prepare(&buf) == 0) && lead(fs, &buf);
	}
	fs_receive_done(&buf);
	fs_stop(fs);
	return NULL;
}

static int start_threads(struct fs *fs, unsigned int *started)
{
	pthread_attr_t attr;
	int r = 0;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, THREAD_STACK_BYTES);
	for (*started = 0; r == 0 && *started < fs->options.threads;) {
		fs->workers[*started].fs = fs;
		r = -pthread_create(&fs->workers[*started].thread, &attr, serve, &fs->workers[*started]);
		*started += r == 0;
	}
	pthread_attr_destroy(&attr);
	return r;
}

static bool join_thread(struct fs *fs, struct worker *worker, int64_t until_ns)
{
	do {
		struct timespec deadline;

		clock_gettime(CLOCK_REALTIME, &deadline);
		deadline.tv_nsec += STOP_POLL_MS * 1000000L;
		deadline.tv_sec += deadline.tv_nsec / NSEC_PER_SEC;
		deadline.tv_nsec %= NSEC_PER_SEC;
		pthread_mutex_lock(&fs->server.lock);
		pthread_cond_broadcast(&fs->server.vacant);
		pthread_mutex_unlock(&fs->server.lock);
		/* Who has a request in hand looks by himself; what he does for it is not to be interrupted. */
		if (!atomic_load(&worker->busy_since))
			pthread_kill(worker->thread, WAKE_SIGNAL);
		if (pthread_timedjoin_np(worker->thread, NULL, &deadline) == 0)
			return true;
	} while (clock_ns() < until_ns);
	return false;
}

/* A thread may be about to read(2) when it is told to stop: it is told again until it has heard. One that waits for the
 * disk is left to the end of the process: meanwhile nobody serves, and what it has in hand is asked for again. */
static void join_threads(struct fs *fs, unsigned int started)
{
	int64_t until_ns = clock_ns() + STOP_NS;

	for (unsigned int i = 0; i < started; i++) {
		if (!join_thread(fs, &fs->workers[i], until_ns))
			fs->is_abandoned = true;
	}
}

/* Replaces a leader that is held up. Returns the time to sleep in ms: for ever when there was nothing to watch. */
static int watch(struct fs *fs, int64_t *last_seen)
{
	struct server *server = &fs->server;
	int64_t since = atomic_load(&server->busy_since);

	if (since && clock_ns() - since > LEADER_PATIENCE_NS &&
		atomic_compare_exchange_strong(&server->busy_since, &since, 0))
		vacate(fs);
	if (since != *last_seen) {
		*last_seen = since;
		return WATCH_MS;
	}
	if (since)
		return WATCH_MS;
	atomic_store(&server->watch_sleeps, true);
	/* One that came before that was said is not missed. */
	return atomic_load(&server->busy_since) ? WATCH_MS : -1;
}

int fs_serve(struct fs *fs)
{
	struct sigaction action = {.sa_handler = on_wake};
	struct pollfd wake = {.fd = fs->wake_fd, .events = POLLIN};
	int64_t last_seen = 0;
	unsigned int started = 0;

	sigaction(WAKE_SIGNAL, &action, NULL);
	fs->server.may_spin = sysconf(_SC_NPROCESSORS_ONLN) > 1;
	int r = fs_resume(fs);

	if (r == 0)
		r = start_threads(fs, &started);

	while (r == 0 && !atomic_load(&fs->stopping)) {
		uint64_t count;

		if (poll(&wake, 1, watch(fs, &last_seen)) > 0 && read(fs->wake_fd, &count, sizeof(count)) < 0)
			r = -errno;
	}
	fs_stop(fs);
	join_threads(fs, started);
	return r;
}
