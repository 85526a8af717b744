#include "uploader/worker/link.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "uploader/base/log.h"
#include "uploader/base/sock.h"
#include "uploader/base/units.h"

#define DELAY_MIN_MS 50
#define DELAY_MAX_MS 1000
#define STABLE_MS 5000 /* a connection that lived that long was no refusal */

void link_init(struct link *link, const char *directory, struct pool *pool)
{
	*link = (struct link){.directory = directory,
		.pool = pool,
		.fd = -1,
		.delay_ms = DELAY_MIN_MS,
		.message = {.max = JOB_MESSAGE_MAX}};
}

void link_done(struct link *link)
{
	if (link->fd >= 0)
		close(link->fd);
	link->fd = -1;
	buf_done(&link->message);
}

static void lose(struct link *link, const char *why)
{
	log_warning("lost ebbfs-fusefs: %s; jobs=%u forgotten", why, link->pool->n_tasks);
	pool_drop(link->pool);
	close(link->fd);
	link->fd = -1;
	link->waits = false;
	/* One that sends us away at once is asked again ever more seldom. */
	if (clock_ms() - link->since_ms > STABLE_MS)
		link->delay_ms = DELAY_MIN_MS;
	else
		link->delay_ms = link->delay_ms * 2 < DELAY_MAX_MS ? link->delay_ms * 2 : DELAY_MAX_MS;
	link->try_ms = clock_ms() + link->delay_ms;
}

static int greet(int fd, struct link *link)
{
	struct job_hello hello = {.capacity = link->pool->capacity};
	int r = fcntl(fd, F_SETFL, O_NONBLOCK) < 0 ? -errno : job_encode_hello(&link->message, &hello);

	return r < 0 ? r : sock_send(fd, link->message.data, link->message.length, NULL, 0);
}

static void try_connect(struct link *link)
{
	int64_t now = clock_ms();

	if (now < link->try_ms || link->draining)
		return;
	_cleanup_close_ int fd = sock_connect(link->directory, "jobs");
	int r = fd < 0 ? fd : greet(fd, link);

	if (r == 0) {
		link->fd = TAKE_FD(fd);
		link->since_ms = now;
		log_info("connected to ebbfs-fusefs: capacity=%u", link->pool->capacity);
		return;
	}
	/* Nobody there yet is how every start looks. */
	if (r != -ENOENT && r != -ECONNREFUSED)
		log_warning("cannot reach ebbfs-fusefs at %s/jobs: %s", link->directory, strerror(-r));
	link->try_ms = now + link->delay_ms;
	link->delay_ms = link->delay_ms * 2 < DELAY_MAX_MS ? link->delay_ms * 2 : DELAY_MAX_MS;
}

/* A request's descriptor is closed unless the pool takes it. */
static int take_request(struct link *link, size_t length, int *fd)
{
	struct job_request request;
	int r = job_decode_request(link->message.data, length, &request);

	if (r < 0)
		return r;
	if (*fd < 0)
		return -EBADMSG;
	/* Unanswered: the end of the connection gives it back. */
	if (link->draining)
		return 0;
	return pool_add(link->pool, &request, TAKE_FD(*fd));
}

static int take_message(struct link *link, size_t length, int *fd)
{
	uint64_t id;
	int type = job_decode_type(link->message.data, length);

	if (type == JOB_REQUEST)
		return take_request(link, length, fd);
	if (type == JOB_CANCEL) {
		int r = job_decode_cancel(link->message.data, length, &id);

		if (r == 0)
			pool_cancel(link->pool, id);
		return r;
	}
	return type < 0 ? type : -EBADMSG;
}

/* Until nothing is there. */
static void receive(struct link *link)
{
	static uint8_t room[JOB_MESSAGE_MAX];

	for (;;) {
		int fds[1] = {-1};
		size_t n_fds = 0;
		ssize_t length = sock_receive(link->fd, room, sizeof(room), fds, ARRAY_SIZE(fds), &n_fds);
		_cleanup_close_ int fd = n_fds ? fds[0] : -1;

		if (length == -EAGAIN)
			return;
		if (length == 0) {
			lose(link, "it closed the connection");
			return;
		}
		buf_reset(&link->message);
		int r = length < 0 ? (int)length : buf_put(&link->message, room, (size_t)length);

		if (r == 0)
			r = take_message(link, (size_t)length, &fd);
		if (r < 0) {
			lose(link, r == -EBADMSG ? "it sent what is no job" : strerror(-r));
			return;
		}
	}
}

static void log_result(const struct task *task)
{
	static const char *const outcomes[] = {
		[JOB_DONE] = "done", [JOB_CHANGED] = "changed", [JOB_RETRY] = "retry", [JOB_PARKED] = "parked"};
	static const char *const proofs[] = {[JOB_PROOF_NONE] = "none",
		[JOB_PROOF_SHA256] = "sha256",
		[JOB_PROOF_MD5_ETAG] = "md5-etag",
		[JOB_PROOF_READ_BACK] = "read-back"};
	static const char *const ways[] = {[JOB_WAY_NONE] = "none",
		[JOB_WAY_PUT] = "put",
		[JOB_WAY_PRESENT] = "present",
		[JOB_WAY_COPIED] = "copied"};
	const struct job_result *result = task_result(task);
	char key[LOG_QUOTE_MAX], text[LOG_QUOTE_MAX], sha256[2 * JOB_SHA256_BYTES + 1];

	log_quote(task_request(task)->key, key);
	hex_encode(result->sha256, JOB_SHA256_BYTES, sha256);
	if (result->outcome == JOB_DONE)
		log_info("done key=%s bytes=%llu ms=%u way=%s proof=%s sha256=%s", key,
			(unsigned long long)result->size, result->duration_ms, ways[result->way],
			proofs[result->proof], sha256);
	else if (result->outcome == JOB_CHANGED)
		log_info("changed key=%s ms=%u text=%s", key, result->duration_ms, log_quote(result->text, text));
	else
		log_warning("%s key=%s ms=%u status=%u text=%s", outcomes[result->outcome], key, result->duration_ms,
			result->http_status, log_quote(result->text, text));
}

static int send_result(void *arg, const struct task *task)
{
	struct link *link = arg;
	int r = job_encode_result(&link->message, task_result(task));

	if (r == 0)
		r = sock_send(link->fd, link->message.data, link->message.length, NULL, 0);
	if (r == 0)
		log_result(task);
	else if (r == -EAGAIN)
		link->waits = true;
	/* Any other error shows as the end of the connection at the next receive. */
	return r;
}

struct pollfd link_poll(const struct link *link, int *timeout_ms)
{
	int64_t left = link->try_ms - clock_ms();

	if (link->fd < 0 && !link->draining && left < *timeout_ms)
		*timeout_ms = left > 0 ? (int)left : 0;
	return (struct pollfd){.fd = link->fd, .events = (short)(POLLIN | (link->waits ? POLLOUT : 0))};
}

void link_turn(struct link *link)
{
	if (link->fd < 0)
		try_connect(link);
	if (link->fd >= 0)
		receive(link);
}

void link_flush(struct link *link)
{
	link->waits = false;
	if (link->fd >= 0)
		pool_collect(link->pool, send_result, link);
}
